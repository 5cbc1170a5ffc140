//! What `TAILDIR` and `file` share: following files that grow, are renamed, truncated and deleted.
//!
//! A file is known by device, inode and time of creation, not by its name; the time of creation
//! tells a file from a later one that was given the same inode number. The name matters only for
//! finding files. So a renamed file keeps its position whether or not the new name is looked for,
//! and the rest of a file that was rotated away is still read: it stays open until it has been
//! quiet for the idle timeout. Files that come and go while the channels are full are noticed too
//! ([`scout`]). If the agent was down during the rotation, the file is looked for by
//! inode in the directory it was in.
//!
//! A position advances once the channels have committed the lines before it, never earlier, and
//! reaches the position file some time later: after a crash, lines since the last write of that
//! file are sent again; none is lost. A line is complete when its line feed is there; the rest of a
//! file without one is sent when the file has been quiet for the idle timeout.
//!
//! What is lost, because nothing can see it: bytes of a file that is truncated, or that is deleted or
//! renamed out of sight while not open here, before they were read; and if a file is truncated and grows beyond the old
//! position between two looks, its new start.

use std::collections::HashMap;
use std::fmt::Debug;
use std::fs::{self, File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tracing::{info, warn};

use super::{BoxError, stop_is_no_failure};
use crate::defect::Defect;
use crate::event::BatchBuilder;
use crate::processor::ChannelProcessor;
use crate::stop::Stop;
use position::{Position, Saved};
use scout::{Known, Scout};
use tail::Tail;
use window::{Window, fill};

pub(crate) mod position;
mod scout;
mod tail;
#[cfg(test)]
mod tests;
mod window;

/// The first pause when nothing was read; it doubles up to the limit in the settings.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// A file to be followed.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Headers of every event from it.
    pub(crate) headers: Arc<[(String, String)]>,
}

/// Knows which files are to be followed.
pub(crate) trait Finder: Send + Debug {
    /// The files there are now. Called before every look at the files.
    fn find(&mut self) -> Vec<Found>;

    /// Another one like it, for another thread.
    fn another(&self) -> Box<dyn Finder>;
}

/// The settings of a tailer.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// The source's name, for the log.
    pub(crate) source: String,
    /// Where positions are kept; without it, in memory only.
    pub(crate) position_file: Option<PathBuf>,
    /// Time between two writes of the position file.
    pub(crate) write_interval: Duration,
    /// Events per batch.
    pub(crate) batch_size: usize,
    /// Batches taken from one file before the next one has its turn.
    pub(crate) max_batches: u64,
    /// A file quiet for so long is closed.
    pub(crate) idle_timeout: Duration,
    /// Whether files found at the start that have no position begin at their end.
    pub(crate) skip_to_end: bool,
    /// Whether each event gets the header `byteoffset`.
    pub(crate) byte_offset_header: bool,
    /// Header that holds the file's path, if any.
    pub(crate) path_header: Option<String>,
    /// The longest pause between two looks at files that do not grow.
    pub(crate) longest_pause: Duration,
}

/// What makes a file the same file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Identity {
    device: u64,
    inode: u64,
    /// `None` where the file system does not keep it.
    created: Option<SystemTime>,
}

impl Identity {
    fn of(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            created: meta.created().ok(),
        }
    }
}

/// What a look at a file brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Yield {
    /// It has not grown by a whole line.
    Nothing,
    /// All there was, which did not fill a batch.
    LastLines,
    /// At least one full batch; there may be more.
    FullBatches,
}

/// Follows files and delivers their lines.
#[derive(Debug)]
pub(crate) struct Tailer {
    options: Options,
    finder: Box<dyn Finder>,
    tails: HashMap<Identity, Tail>,
    saved: Saved,
    first_look: bool,
    builder: BatchBuilder,
    window: Window,
    scout: Arc<Scout>,
    last_write: Instant,
    written: Vec<Position>,
}

impl Tailer {
    /// A tailer that has not looked at anything yet.
    pub(crate) fn new(options: Options, finder: Box<dyn Finder>) -> Self {
        Self {
            options,
            finder,
            tails: HashMap::new(),
            saved: Saved::default(),
            first_look: true,
            builder: BatchBuilder::new(),
            window: Window::default(),
            scout: Arc::default(),
            last_write: Instant::now(),
            written: Vec::new(),
        }
    }

    /// Reads the position file and makes sure that it can be written.
    ///
    /// # Errors
    /// If it can be neither read nor written.
    pub(crate) fn open(&mut self) -> Result<(), BoxError> {
        let Some(path) = &self.options.position_file else {
            return Ok(());
        };
        if self.first_look {
            position::prepare(path)?;
            self.saved = position::load(path)?;
            self.written = self.saved.positions.clone();
        }
        Ok(())
    }

    /// Follows the files until `stop` is set.
    ///
    /// # Errors
    /// If the channels fail for good. Positions stay where the channels have committed.
    pub(crate) fn run(&mut self, out: &ChannelProcessor, stop: &Stop) -> Result<(), BoxError> {
        let (scout, mut finder) = (Arc::clone(&self.scout), self.finder.another());
        let done = Stop::new();
        let outcome = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name(format!("{} scout", self.options.source));
            thread.spawn_scoped(scope, || scout.patrol(finder.as_mut(), &done))?;
            let outcome = self.follow(out, stop);
            done.set();
            outcome
        });
        self.write_positions(true);
        stop_is_no_failure(outcome)
    }

    fn follow(&mut self, out: &ChannelProcessor, stop: &Stop) -> Result<(), BoxError> {
        let mut pause = FIRST_PAUSE;
        while !stop.is_set() {
            self.look();
            let mut yielded = Yield::Nothing;
            for identity in self.in_order() {
                yielded = yielded.max(self.visit(identity, out, stop)?);
                if stop.is_set() {
                    return Ok(());
                }
            }
            self.close_quiet(out, stop)?;
            self.write_positions(false);
            match yielded {
                Yield::FullBatches => pause = FIRST_PAUSE,
                // A file that grows line by line would otherwise be put line by line, and each put
                // costs a durable channel a sync.
                Yield::LastLines => {
                    stop.wait(FIRST_PAUSE);
                    pause = FIRST_PAUSE;
                }
                Yield::Nothing => {
                    stop.wait(pause);
                    pause = (pause * 2).min(self.options.longest_pause);
                }
            }
        }
        Ok(())
    }

    /// Brings the followed files in line with those there are.
    fn look(&mut self) {
        for tail in self.tails.values_mut() {
            tail.wanted = false;
        }
        for found in self.finder.find() {
            // A file can vanish between being listed and being looked at; then it is not there.
            if let Ok(meta) = fs::metadata(&found.path)
                && meta.is_file()
            {
                self.see(found, &meta);
            }
        }
        if self.first_look {
            self.look_for_rotated();
            self.first_look = false;
            self.saved = Saved::default();
        }
        self.take_sightings();
        // Still open means that it may hold unread lines, whatever its name is now.
        let keeps_open = !Defect::TaildirForgetsRenamed.is_planted();
        self.tails
            .retain(|_, tail| tail.wanted || keeps_open && tail.file.is_some());
        let known = self.tails.iter().map(|(identity, tail)| {
            let known = match tail.file {
                Some(_) => Known::Open,
                None => Known::AtRest { pos: tail.pos },
            };
            (*identity, known)
        });
        self.scout.know(known);
    }

    /// Takes over what the scout has opened. Comes after the files that have their names yet, whose
    /// positions are known better.
    fn take_sightings(&mut self) {
        for sighting in self.scout.sightings() {
            if !self.tails.contains_key(&sighting.identity) {
                self.follow_new(sighting.identity, sighting.found, 0, &sighting.meta);
                if let Some(tail) = self.tails.get_mut(&sighting.identity) {
                    tail.wanted = false;
                }
            }
            if let Some(tail) = self.tails.get_mut(&sighting.identity)
                && tail.file.is_none()
            {
                tail.file = Some(sighting.file);
                tail.changed = Instant::now();
            }
        }
    }

    fn see(&mut self, found: Found, meta: &Metadata) {
        let identity = Identity::of(meta);
        if let Some(tail) = self.tails.get_mut(&identity) {
            if tail.wanted {
                // Two groups name the same file: the first one has it.
                return;
            }
            if tail.path != found.path {
                info!(source = self.options.source, from = %tail.path.display(), to = %found.path.display(),
                    "a followed file was renamed; it goes on where it was");
                tail.path = found.path;
            }
            tail.headers = found.headers;
            tail.wanted = true;
            tail.modified = meta.modified().ok();
            return;
        }
        let saved = self.saved_position(&identity, &found.path);
        let pos = match saved {
            Some(_) if Defect::TaildirStartsAtEnd.is_planted() => meta.len(),
            Some(pos) if pos <= meta.len() => pos,
            Some(pos) => {
                warn!(source = self.options.source, file = %found.path.display(), pos, len = meta.len(),
                    "the file is shorter than its saved position; it is read from its start");
                0
            }
            None if self.options.skip_to_end && self.first_look => meta.len(),
            None => 0,
        };
        self.follow_new(identity, found, pos, meta);
    }

    fn follow_new(&mut self, identity: Identity, found: Found, pos: u64, meta: &Metadata) {
        let tail = Tail {
            path: found.path,
            headers: found.headers,
            file: None,
            pos,
            exhausted_at: pos,
            len: pos,
            changed: Instant::now(),
            modified: meta.modified().ok(),
            wanted: true,
            failing: false,
        };
        // Whoever is followed already keeps its position.
        self.tails.entry(identity).or_insert(tail);
    }

    /// The saved position of a file: by inode, preferring an entry that has the path right too.
    fn saved_position(&self, identity: &Identity, path: &Path) -> Option<u64> {
        if let (Some(created), Some(written)) = (identity.created, self.saved.written) {
            // An inode number that was given away again since the positions were written.
            if created > written {
                return None;
            }
        }
        let same = || {
            self.saved
                .positions
                .iter()
                .filter(|entry| entry.inode == identity.inode)
        };
        same()
            .find(|entry| entry.file == path)
            .or_else(|| same().next())
            .map(|entry| entry.pos)
    }

    /// Finds saved files that were renamed out of sight while nobody was looking.
    fn look_for_rotated(&mut self) {
        let known: Vec<u64> = self.tails.keys().map(|identity| identity.inode).collect();
        let missing: Vec<Position> = self.saved.positions.clone();
        for entry in missing
            .into_iter()
            .filter(|entry| !known.contains(&entry.inode))
        {
            let Some(siblings) = entry.file.parent().and_then(|dir| fs::read_dir(dir).ok()) else {
                continue;
            };
            for sibling in siblings.flatten() {
                let Ok(meta) = sibling.metadata() else {
                    continue;
                };
                let identity = Identity::of(&meta);
                let is_it = meta.is_file()
                    && meta.ino() == entry.inode
                    && meta.len() > entry.pos
                    && self.saved_position(&identity, &entry.file).is_some();
                if !is_it {
                    continue;
                }
                info!(source = self.options.source, from = %entry.file.display(), to = %sibling.path().display(),
                    "a followed file was renamed while the agent was down; its rest is read");
                let found = Found {
                    path: sibling.path(),
                    headers: Arc::from([]),
                };
                let headers = self.finder_headers(&entry.file);
                self.follow_new(identity, found, entry.pos, &meta);
                if let Some(tail) = self.tails.get_mut(&identity) {
                    tail.headers = headers;
                    tail.file = File::open(&tail.path).ok();
                    tail.wanted = false;
                }
            }
        }
    }

    /// The headers of the file that now has the name `path`, which are those of its predecessor.
    fn finder_headers(&self, path: &Path) -> Arc<[(String, String)]> {
        let namesake = self.tails.values().find(|tail| tail.path == path);
        namesake.map_or_else(|| Arc::from([]), |tail| Arc::clone(&tail.headers))
    }

    /// Rotated files first, then as Flume does: by time of modification, the oldest first.
    fn in_order(&self) -> Vec<Identity> {
        let mut order: Vec<_> = self
            .tails
            .iter()
            .map(|(identity, tail)| (tail.wanted, tail.modified, *identity))
            .collect();
        order.sort_unstable_by_key(|(wanted, modified, identity)| {
            (*wanted, *modified, identity.inode)
        });
        order.into_iter().map(|(_, _, identity)| identity).collect()
    }

    /// Takes what one file has to give now.
    fn visit(
        &mut self,
        identity: Identity,
        out: &ChannelProcessor,
        stop: &Stop,
    ) -> Result<Yield, BoxError> {
        let Some(tail) = self.tails.get_mut(&identity) else {
            return Ok(Yield::Nothing);
        };
        let len = match tail.measure(&identity, self.options.idle_timeout) {
            Ok(Some(len)) => len,
            Ok(None) => return Ok(Yield::Nothing),
            Err(error) => {
                tail.fail(&error, &self.options, out);
                return Ok(Yield::Nothing);
            }
        };
        if len < tail.pos && !Defect::TaildirTruncationUnseen.is_planted() {
            warn!(
                source = self.options.source, file = %tail.path.display(), pos = tail.pos, len,
                "the file was truncated; it is read from its start"
            );
            tail.pos = 0;
            tail.exhausted_at = 0;
        }
        if len <= tail.exhausted_at {
            return Ok(Yield::Nothing);
        }
        self.window.bytes.clear();
        self.window.start = tail.pos;
        let mut yielded = Yield::Nothing;
        for _ in 0..self.options.max_batches {
            let lines = self.next_batch(identity, len, out, stop)?;
            if lines == 0 {
                break;
            }
            let full = lines >= self.options.batch_size;
            yielded = yielded.max(if full {
                Yield::FullBatches
            } else {
                Yield::LastLines
            });
            self.write_positions(false);
            if stop.is_set() {
                break;
            }
        }
        Ok(yielded)
    }

    /// Delivers the next batch of complete lines before offset `end`; answers how many.
    fn next_batch(
        &mut self,
        identity: Identity,
        end: u64,
        out: &ChannelProcessor,
        stop: &Stop,
    ) -> Result<usize, BoxError> {
        let Self {
            tails,
            window,
            builder,
            options,
            ..
        } = self;
        let Some(tail) = tails.get_mut(&identity) else {
            return Ok(0);
        };
        let Some(file) = &tail.file else { return Ok(0) };
        builder.clear();
        let next = match fill(file, window, end, builder, options) {
            Ok(next) => next,
            Err(error) => {
                tail.fail(&error, options, out);
                return Ok(0);
            }
        };
        tail.failing = false;
        let lines = builder.len();
        if lines == 0 {
            tail.exhausted_at = end;
            return Ok(0);
        }
        if Defect::TaildirPositionAhead.is_planted() {
            tail.pos = next;
            self.write_positions(true);
            std::thread::sleep(Duration::from_millis(50));
        }
        let Self {
            tails,
            builder,
            options,
            scout,
            ..
        } = self;
        let Some(tail) = tails.get_mut(&identity) else {
            return Ok(0);
        };
        scout.during(|| tail.deliver(builder, options, out, stop))?;
        tail.pos = next;
        tail.exhausted_at = next;
        Ok(lines)
    }

    /// Closes files that have been quiet for the idle timeout, sending what is left in them.
    ///
    /// A delivery, of this file or another one, may have waited since the file was measured, and the
    /// file may have grown and lost its name meanwhile. So what counts is its length now: only a file
    /// that has been taken to its end is closed.
    fn close_quiet(&mut self, out: &ChannelProcessor, stop: &Stop) -> Result<(), BoxError> {
        let Self {
            tails,
            window,
            builder,
            options,
            scout,
            ..
        } = self;
        for tail in tails.values_mut() {
            if tail.file.is_none() || tail.changed.elapsed() < options.idle_timeout {
                continue;
            }
            match tail.last_line(window, builder, options) {
                Ok(None) => {}
                Ok(Some(next)) => {
                    scout.during(|| tail.deliver(builder, options, out, stop))?;
                    tail.pos = next;
                    tail.exhausted_at = next;
                }
                Err(error) => {
                    tail.fail(&error, options, out);
                    continue;
                }
            }
            tail.close_at_end();
        }
        Ok(())
    }

    /// Writes the position file if it is time to and anything has changed.
    ///
    /// A failure is reported and tried again at the next interval: it costs repeated events after a
    /// crash, while ending the source would cost more.
    fn write_positions(&mut self, now: bool) {
        let Some(path) = &self.options.position_file else {
            return;
        };
        if !now && self.last_write.elapsed() < self.options.write_interval {
            return;
        }
        self.last_write = Instant::now();
        if self.first_look {
            // Nothing has been looked at: what was saved stays saved.
            return;
        }
        let mut positions: Vec<Position> = self
            .tails
            .iter()
            .map(|(identity, tail)| Position {
                inode: identity.inode,
                pos: tail.pos,
                file: tail.path.clone(),
            })
            .collect();
        positions.sort_unstable_by(|one, two| one.file.cmp(&two.file));
        if positions == self.written {
            return;
        }
        match position::store(path, &positions) {
            Ok(()) => self.written = positions,
            Err(error) => {
                warn!(source = self.options.source, %error, "positions not written; tried again")
            }
        }
    }
}
