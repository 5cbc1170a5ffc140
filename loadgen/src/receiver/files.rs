//! `files`: a directory tree, or one file, on this machine's file system.
//!
//! Settings: `path` (needed: a directory or a file, which need not exist yet), `in_use_suffix` and
//! `in_use_prefix` (default none: then published = stored), `owned` (default true: only the run
//! writes there, so that a line without a token is a malformed one).
//! Identity:  device, inode and birth; so a renamed file stays the same file. A file shorter than
//!            what was read from it was emptied and is read anew, as another file; one that was
//!            emptied and has outgrown its old length between two looks cannot be told from one
//!            that grew.
//! Published: first look under a name that is not in use, and again with each new content.
//! Fails:     a directory or file that cannot be read makes the receiver blind, except that what
//!            is not there is nothing.
//!
//! ```json
//! {"path": "/tmp/out", "in_use_suffix": ".tmp"}
//! ```

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::Deserialize;

use crate::clock::Clock;
use crate::observe::Observer;

use super::track::{InUse, Track, Tracks};
use super::{Kind, Looked, Receiver, ReceiverError, settings};

/// The kind.
pub(super) const KIND: Kind = Kind {
    name: "files",
    summary: "A directory tree or a file on this machine, followed through renames.",
    example: r#"{"path": "/tmp/out"}"#,
    build: |value, run| Ok(Box::new(Files::new(settings("files", value)?, run))),
};

/// How much one read returns at most, in bytes.
const CHUNK: usize = 256 << 10;

/// The settings of `files`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A directory, which is looked through with all below it, or a file.
    pub path: PathBuf,
    /// What the names of files end with while they are being written.
    pub in_use_suffix: Option<String>,
    /// What they begin with.
    pub in_use_prefix: Option<String>,
    /// Whether only the run writes there.
    #[serde(default = "yes")]
    pub owned: bool,
}

fn yes() -> bool {
    true
}

/// Device, inode, and the nanosecond of birth where the file system knows it: an inode number is
/// soon used again.
type Key = (u64, u64, Option<u128>);

/// The receiver.
#[derive(Debug)]
pub struct Files {
    root: PathBuf,
    in_use: InUse,
    tracks: Tracks<Key>,
    buffer: Vec<u8>,
}

impl Files {
    /// A receiver of what `run` brings forth.
    pub fn new(config: Config, run: u64) -> Files {
        Files {
            root: config.path,
            in_use: InUse {
                prefix: config.in_use_prefix,
                suffix: config.in_use_suffix,
            },
            tracks: Tracks::new(run, config.owned),
            buffer: vec![0; CHUNK],
        }
    }

    /// Lists and reads; files that vanished are reported by the second listing without them.
    fn pass(
        &mut self,
        observer: &dyn Observer,
        clock: &Clock,
        looked: &mut Looked,
    ) -> Result<(), ReceiverError> {
        let from = clock.now();
        let listed = list(&self.root)?;
        let at = clock.now();
        looked.files = listed.len() as u64;
        let mut failed = None;
        for (path, metadata) in listed {
            let name = path.to_string_lossy();
            let key = key(&metadata);
            let track = self
                .tracks
                .meet(&key, &name, metadata.len(), at, observer)?;
            let read = if metadata.len() == track.offset {
                // Thousands of files at rest need not be opened at every look.
                track.caught_up(from);
                Ok(true)
            } else {
                let buffer = &mut self.buffer;
                catch_up(track, &key, &path, buffer, observer, clock, looked)
            };
            match read {
                Ok(true) => track.publish(!self.in_use.covers(&name), at, observer)?,
                Ok(false) => {}
                Err(error @ ReceiverError::Observer(_)) => return Err(error),
                // The other files can be read all the same.
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        self.tracks.sweep(from, at, observer)?;
        failed.map_or(Ok(()), Err)
    }
}

impl Receiver for Files {
    fn look(&mut self, observer: &dyn Observer, clock: &Clock) -> Result<Looked, ReceiverError> {
        let mut looked = Looked {
            from: clock.now(),
            ..Looked::default()
        };
        self.pass(observer, clock, &mut looked)?;
        looked.unpublished = self.tracks.unpublished();
        looked.to = clock.now();
        Ok(looked)
    }

    fn finish(&mut self, observer: &dyn Observer, clock: &Clock) -> Result<Looked, ReceiverError> {
        let mut looked = Looked {
            from: clock.now(),
            ..Looked::default()
        };
        self.pass(observer, clock, &mut looked)?;
        self.pass(observer, clock, &mut looked)?;
        for track in self.tracks.iter_mut() {
            track.end(clock.now(), observer)?;
        }
        looked.unpublished = self.tracks.unpublished();
        looked.to = clock.now();
        Ok(looked)
    }

    fn turn(&mut self, run: u64) {
        self.tracks.turn(run);
    }
}

/// Reads what is new in one file, up to the length it has now; false if it is no longer there.
fn catch_up(
    track: &mut Track,
    expected: &Key,
    path: &Path,
    buffer: &mut [u8],
    observer: &dyn Observer,
    clock: &Clock,
    looked: &mut Looked,
) -> Result<bool, ReceiverError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        // Renamed or deleted since the listing: the next one shows which.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed("open", path, &error)),
    };
    let since = clock.now();
    let metadata = file
        .metadata()
        .map_err(|error| failed("look at", path, &error))?;
    if key(&metadata) != *expected || metadata.len() < track.offset {
        return Ok(false);
    }
    file.seek(SeekFrom::Start(track.offset))
        .map_err(|error| failed("read", path, &error))?;
    // A file that grows as fast as it is read must not hold up the look at the others.
    let mut left = metadata.len() - track.offset;
    while left > 0 {
        let wanted = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let piece = buffer.get_mut(..wanted).unwrap_or_default();
        let count = match file.read(piece) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed("read", path, &error)),
        };
        left -= count as u64;
        track.take(
            piece.get(..count).unwrap_or_default(),
            clock.now(),
            observer,
            looked,
        )?;
    }
    track.caught_up(since);
    Ok(true)
}

/// All regular files at or below `root`, in the order of their paths. Links are not followed, but
/// the root may be one.
fn list(root: &Path) -> Result<Vec<(PathBuf, fs::Metadata)>, ReceiverError> {
    let mut files = Vec::new();
    let mut directories = Vec::new();
    match fs::metadata(root) {
        Ok(metadata) if metadata.is_dir() => directories.push(root.to_path_buf()),
        Ok(metadata) => files.push((root.to_path_buf(), metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("look at", root, &error)),
    }
    while let Some(directory) = directories.pop() {
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed("list", &directory, &error)),
        };
        for entry in entries {
            let entry = entry.map_err(|error| failed("list", &directory, &error))?;
            let path = entry.path();
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => directories.push(path),
                Ok(metadata) if metadata.is_file() => files.push((path, metadata)),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed("look at", &path, &error)),
            }
        }
    }
    files.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(files)
}

fn key(metadata: &fs::Metadata) -> Key {
    let birth = metadata
        .created()
        .ok()
        .and_then(|birth| birth.duration_since(UNIX_EPOCH).ok());
    (
        metadata.dev(),
        metadata.ino(),
        birth.map(|birth| birth.as_nanos()),
    )
}

fn failed(what: &'static str, path: &Path, error: &io::Error) -> ReceiverError {
    ReceiverError::Store {
        what,
        on: path.display().to_string(),
        why: error.to_string(),
    }
}
