//! What a receiver remembers of each file, whatever kind of store it is in.
//!
//! A file is known by an identity that survives renaming (inode, fileId), and keeps its [`FileId`]
//! for as long as that identity is listed and the file only grows. A file that is missing from one
//! listing may have been renamed while the listing was made; it has vanished when it is missing
//! from two in a row.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::observe::{FileChange, FileId, Micros, Observer, Read};

use super::scanner::{Finding, Scanner};
use super::{Looked, ReceiverError};

/// How the files are named that are still being written.
#[derive(Debug, Clone, Default)]
pub(super) struct InUse {
    pub(super) prefix: Option<String>,
    pub(super) suffix: Option<String>,
}

impl InUse {
    /// Whether this path is an in-use name; never where the store has none.
    pub(super) fn covers(&self, path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or(path);
        let has = |affix: &Option<String>, found: fn(&str, &str) -> bool| {
            affix
                .as_deref()
                .is_some_and(|affix| !affix.is_empty() && found(name, affix))
        };
        has(&self.prefix, |name, affix| name.starts_with(affix))
            || has(&self.suffix, |name, affix| name.ends_with(affix))
    }
}

/// One file.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) id: FileId,
    pub(super) path: String,
    /// Bytes of the file, as it is in the store, that have been read.
    pub(super) offset: u64,
    scanner: Scanner,
    /// The beginning of the last read (or listing) that would have shown more, had there been more.
    previous: Micros,
    /// When something was last read.
    last: Micros,
    /// It has been reported as published, and nothing was read from it since.
    published: bool,
    /// It has been reported as published and not withdrawn since.
    public: bool,
    /// How many listings in a row came without it.
    missing: u8,
    listed: bool,
    /// Whether the present observer has been told of it.
    known: bool,
}

impl Track {
    /// A file that was listed for the first time at `at`, and was not there at `previous`.
    fn new(id: FileId, path: String, scanner: Scanner, previous: Micros, at: Micros) -> Self {
        Self {
            id,
            path,
            offset: 0,
            scanner,
            previous,
            last: at,
            published: false,
            public: false,
            missing: 0,
            listed: true,
            known: true,
        }
    }

    /// Goes on for another observer, to which the file is new at `at`. What was read stays read.
    fn turn(&mut self, id: FileId, path: &str, at: Micros) {
        self.id = id;
        path.clone_into(&mut self.path);
        (self.previous, self.last) = (at, at);
        (self.published, self.public) = (false, false);
        self.known = true;
    }

    /// Takes the next bytes, which a read returned that was complete at `at`.
    pub(super) fn take(
        &mut self,
        bytes: &[u8],
        at: Micros,
        observer: &dyn Observer,
        looked: &mut Looked,
    ) -> Result<(), ReceiverError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let finding = self.scanner.feed(bytes);
        self.offset += bytes.len() as u64;
        looked.bytes += bytes.len() as u64;
        looked.events += finding.events;
        self.published = false;
        self.last = at;
        self.report(finding, at, observer)
    }

    /// Notes that there was no more than has been read when its end was looked for, at or after
    /// `since`: what comes later became readable later than that.
    pub(super) fn caught_up(&mut self, since: Micros) {
        self.previous = since;
    }

    /// Notes whether a normal reader gets the file now; `at` is when that was seen.
    pub(super) fn publish(
        &mut self,
        public: bool,
        at: Micros,
        observer: &dyn Observer,
    ) -> Result<(), ReceiverError> {
        let change = match (public, self.published, self.public) {
            // What was read after the listing was published no earlier than it was stored.
            (true, false, _) => (FileChange::Published, at.max(self.last)),
            (false, _, true) => (FileChange::Withdrawn, at),
            _ => return Ok(()),
        };
        self.published = public;
        self.public = public;
        observer
            .file(self.id, change.1, &change.0)
            .map_err(ReceiverError::Observer)
    }

    /// The writer is dead: reports what will never be whole.
    pub(super) fn end(&mut self, at: Micros, observer: &dyn Observer) -> Result<(), ReceiverError> {
        let finding = self.scanner.end();
        self.report(finding, at, observer)
    }

    fn report(
        &self,
        finding: Finding,
        at: Micros,
        observer: &dyn Observer,
    ) -> Result<(), ReceiverError> {
        if finding.is_empty() {
            return Ok(());
        }
        let Finding {
            offset, found, odd, ..
        } = finding;
        let read = Read {
            file: self.id,
            at,
            previous: self.previous,
            offset,
            found,
            odd,
        };
        observer.read(&read).map_err(ReceiverError::Observer)
    }
}

/// All files of a store, by identity.
#[derive(Debug)]
pub(super) struct Tracks<K> {
    files: BTreeMap<K, Track>,
    next: FileId,
    run: u64,
    owned: bool,
    /// When the last listing began.
    listing: Option<Micros>,
}

impl<K: Ord + Clone> Tracks<K> {
    pub(super) fn new(run: u64, owned: bool) -> Tracks<K> {
        Tracks {
            files: BTreeMap::new(),
            next: 0,
            run,
            owned,
            listing: None,
        }
    }

    /// The file that was listed with this identity at `at`. `length` is what can be read of it at
    /// least: less than was read means that it was cut and begins anew, as another file.
    pub(super) fn meet(
        &mut self,
        key: &K,
        path: &str,
        length: u64,
        at: Micros,
        observer: &dyn Observer,
    ) -> Result<&mut Track, ReceiverError> {
        let told = |id, change| {
            observer
                .file(id, at, &change)
                .map_err(ReceiverError::Observer)
        };
        let path_of = || path.to_owned();
        let cut = self
            .files
            .get(key)
            .is_some_and(|track| length < track.offset);
        if let Some(old) = if cut { self.files.remove(key) } else { None }
            && old.known
        {
            told(old.id, FileChange::Vanished)?;
        }
        let track = match self.files.entry(key.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let id = self.next;
                self.next = self.next.wrapping_add(1);
                told(id, FileChange::Appeared { path: path_of() })?;
                let previous = self.listing.unwrap_or(at);
                let scanner = Scanner::new(self.run, self.owned);
                new.insert(Track::new(id, path_of(), scanner, previous, at))
            }
        };
        if !track.known {
            track.turn(self.next, path, at);
            self.next = self.next.wrapping_add(1);
            told(track.id, FileChange::Appeared { path: path_of() })?;
        }
        if track.path != path {
            path.clone_into(&mut track.path);
            told(track.id, FileChange::Renamed { path: path_of() })?;
        }
        track.listed = true;
        Ok(track)
    }

    /// Forgets what the observer was told, and that it had a clock: another one follows, for another
    /// run. What was read stays read.
    pub(super) fn turn(&mut self, run: u64) {
        self.run = run;
        self.next = 0;
        self.listing = None;
        for track in self.files.values_mut() {
            track.scanner.turn(run);
            track.known = false;
        }
    }

    /// The file with this identity, if it is known.
    pub(super) fn get(&self, key: &K) -> Option<&Track> {
        self.files.get(key)
    }

    /// All files.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Track> {
        self.files.values_mut()
    }

    /// The paths of all files that a normal reader does not get.
    pub(super) fn unpublished(&self) -> Vec<String> {
        self.files
            .values()
            .filter(|track| !track.public)
            .map(|track| track.path.clone())
            .collect()
    }

    /// Ends a listing that began at `from` and was complete at `at`, after every file in it was met: reports what has
    /// vanished, and forgets it.
    pub(super) fn sweep(
        &mut self,
        from: Micros,
        at: Micros,
        observer: &dyn Observer,
    ) -> Result<Vec<K>, ReceiverError> {
        self.listing = Some(from);
        let mut gone = Vec::new();
        for (key, track) in &mut self.files {
            track.missing = if track.listed { 0 } else { track.missing + 1 };
            track.listed = false;
            if track.missing >= 2 && !track.known {
                gone.push(key.clone());
            } else if track.missing >= 2 {
                gone.push(key.clone());
                let told = observer.file(track.id, at, &FileChange::Vanished);
                told.map_err(ReceiverError::Observer)?;
            }
        }
        for key in &gone {
            self.files.remove(key);
        }
        Ok(gone)
    }
}
