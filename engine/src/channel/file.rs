//! `file`: a queue on disk. A commit returns when its data would survive a power cut.
//!
//! | key | default | meaning |
//! |---|---|---|
//! | `checkpointDir` | `~/.flume/file-channel/checkpoint` | where the checkpoint is kept |
//! | `dataDirs` | `~/.flume/file-channel/data` | where the log is kept; of several, separated by commas, the first is used |
//! | `capacity` | 1,000,000 events | what it holds |
//! | `transactionCapacity` | 10,000 events | most events per transaction |
//! | `keep-alive` | 3 s | how long a put waits for room |
//! | `checkpointInterval` | 30,000 ms, at least 1,000 | time between checkpoints |
//! | `checkpointOnClose` | true | whether closing writes one |
//! | `maxFileSize` | 1,623,195,647 bytes | most bytes of a log file; see *Segments* |
//! | `minimumRequiredSpace` | 524,288,000 bytes, at least 1 MiB | puts are refused while less is free; takes go on |
//! | `fsyncPerTransaction` | true | whether each commit waits for the disk |
//! | `fsyncInterval` | 5 s | time between syncs where commits do not wait |
//!
//! Flume's other keys are accepted: those about its way of replay do nothing here, those about
//! copies and encryption are not offered, which is said when the configuration is checked.
//!
//! # Guarantees
//!
//! First in, first out by the commits of the puts; a rollback returns events to the head in order. After `commit` of a put returned, its events are delivered
//! whatever happens to the process or the power; after `commit` of a take returned, its events are
//! not delivered again. A commit that did not return may have happened or not. With
//! `fsyncPerTransaction = false` all this holds for the death of the process; a power cut may undo
//! the commits of the last `fsyncInterval`.
//!
//! A backlog of any size is served with a bounded window in memory (32 MiB of events, and what
//! is in open transactions); the rest stays in the log and is read back when its turn comes.
//!
//! # Failures
//!
//! - A full channel: [`ChannelError::Full`] after keep-alive. A disk with less than
//!   `minimumRequiredSpace`: [`ChannelError::NoSpace`] after keep-alive. A put that the disk refuses
//!   (`ENOSPC`) fails likewise, at once; nothing of it remains.
//! - A sync that fails: [`ChannelError::Unhealthy`], for good. It is never tried again, because a
//!   page cache forgets what it could not write and calls the rest a success. Restart the agent
//!   when the disk is well.
//! - Corruption: an error with file and byte, at the start or, for events of the backlog, when
//!   they are read. Nothing is skipped.
//! - Directories used by another channel: an error at the start. A log of Apache Flume in
//!   `dataDirs`: likewise; its format is another one.
//!
//! # Format
//!
//! All integers are little-endian. CRCs are CRC32C.
//!
//! **Segments.** The log is a sequence of files `segment-NNNNNNNNNN` in the data directory, numbered
//! in the order of their creation, all of the same size: the smaller of `maxFileSize` and 16 MiB. A
//! record that fits none gets a larger file of its own. A file is written once in full when it is
//! created, because overwriting existing blocks commits twice as fast as extending a file. Its first
//! 512 bytes, one sector, say what it is at present; all zeros: it is free.
//!
//! | offset | size | content |
//! |---|---|---|
//! | 0 | 8 | `FBSEG001` |
//! | 8 | 8 | epoch: number of this use among all uses of all files; from 1, without gaps |
//! | 16 | 8 | sequence of the first record; all records below it are durable |
//! | 24 | 8 | number of the first event put here |
//! | 32 | 8 | size of the file |
//! | 40 | 4 | CRC of the 40 bytes before |
//! | 44 | 468 | zeros |
//!
//! **Records** follow from byte 512 on, each at a multiple of 8, padded with zeros. One record is
//! one transaction, so it is there as a whole or not at all.
//!
//! | offset | size | content |
//! |---|---|---|
//! | 0 | 4 | `FBr1` |
//! | 4 | 1 | 1 put, 2 take |
//! | 5 | 3 | zeros |
//! | 8 | 4 | bytes of payload, at most 2 GiB − 1 MiB |
//! | 12 | 4 | CRC of: payload, epoch (8 bytes), record bytes 0..12, record bytes 16..44 |
//! | 16 | 8 | sequence: one more than the record's before, also over the ends of segments |
//! | 24 | 8 | highest sequence known durable when this was written |
//! | 32 | 8 | put: number of its first event; take: 0 |
//! | 40 | 4 | how many events are put or taken |
//! | 44 | 4 | CRC of: epoch (8 bytes), record bytes 0..44 |
//! | 48 | | payload |
//!
//! Events are numbered from 0 in the order of the log. The payload of a put is: the number *n* of
//! batches (4 bytes), *n* sizes (4 bytes each), the batches in the layout of [`crate::event`]. The
//! payload of a take is a list of ranges of event numbers: first, one past the last (8 bytes each).
//!
//! The epoch is in both CRCs because a file that is used again is full of *valid old records*.
//!
//! **Checkpoint.** A file `checkpoint` in its directory; written as `checkpoint.new` and renamed.
//!
//! | offset | size | content |
//! |---|---|---|
//! | 0 | 8 | `FBCKPT01` |
//! | 8 | 8 | number of ranges |
//! | 16 | 32 | end of the log: epoch, byte in the segment, sequence and event that come next |
//! | 48 | 32 | the same of the first record that still holds events; equal to the end if none does |
//! | 80 | 8 | CRC of the 80 bytes before |
//! | 88 | 16 each | ranges of events behind the head that are taken: first, one past the last |
//! | end | 4 | CRC of the ranges |
//!
//! # Paths
//!
//! **Write.** Commits that arrive together form a group. One thread writes the group's records, as
//! far as they fit into the segment, with one call, syncs, makes them visible, and wakes the
//! others. When a record does not fit, the next segment begins: its header is written and synced
//! *before* any record, so an epoch is never used twice.
//!
//! **Read.** What is put stays in the window in memory until it is taken and committed. When the
//! window is full, puts go to the log only; takes then read on from there, two megabytes at a time,
//! until they have caught up.
//!
//! **Recycle.** A checkpoint notes the first record that still holds events. When it is durable, the
//! segments before that record are retired, the oldest first: zero header, sync; then they wait for
//! their next use. Three are kept, more are removed; the last one is reserved for takes, so that a full
//! disk can be drained.
//!
//! **Replay.** From the checkpoint's end, or, without a valid checkpoint, from the oldest
//! segment. Each record must have the expected sequence, its epoch and both CRCs. The first place in
//! the last segment that has no such record is the end, if nothing shows that there was one. A
//! record at *x* was durable, and its absence is corruption, if a later segment begins above *x*, if
//! the checkpoint ends above *x*, or if a valid record further on knew a sequence ≥ *x* durable. If
//! there are valid records behind the end (of a write that was torn), the segment is left and the
//! log goes on in a new one, so that they can never follow a new record. What no record proves
//! durable is written once more and synced before it is believed: the process before may have
//! ended because its sync failed.
//!
//! **Crash.** A sector is assumed to be written whole or not at all, and a write not to change
//! bytes outside itself. Nothing is assumed about the order of writes between two syncs.

use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use self::mutant::Mutant;
use self::store::{Options, Store, StoreError};
use self::transaction::{FilePut, FileTake};
use super::{ArcChannel, Channel, ChannelError, Fill, Put, Take};
use crate::context::{ConfigError, Context};
use crate::fs::{Fs, RealFs};
use crate::kind::{Form, Key, Kind};
use crate::metrics::ChannelCounters;

mod checkpoint;
mod error;
pub(crate) mod fuzzing;
mod log;
mod mutant;
mod payload;
mod queue;
mod ranges;
mod record;
mod recover;
mod scan;
mod segments;
mod store;
mod stranded;
mod transaction;

pub use self::error::FileError;
pub use self::stranded::{Stranded, stranded, stranded_on};

/// The kind `file`.
pub static KIND: Kind<ArcChannel> = Kind {
    name: "file",
    classes: &["org.apache.flume.channel.file.FileChannel"],
    summary: "A queue on disk; what is committed survives a power cut.",
    keys: KEYS,
    batch_key: None,
    example: "type = file\ncheckpointDir = /var/lib/flume/c1/checkpoint\ndataDirs = /var/lib/flume/c1/data",
    build,
};

static KEYS: &[Key] = &[
    Key::or(
        "checkpointDir",
        Form::Text,
        "~/.flume/file-channel/checkpoint",
        "Directory of the checkpoint.",
    ),
    Key::or(
        "dataDirs",
        Form::Text,
        "~/.flume/file-channel/data",
        "Directory of the log; of several the first is used.",
    ),
    Key::or("capacity", Form::POSITIVE, "1000000", "Events it holds."),
    Key::or(
        "transactionCapacity",
        Form::POSITIVE,
        "10000",
        "Events per transaction.",
    ),
    Key::or(
        "keep-alive",
        Form::COUNT,
        "3",
        "Seconds a put waits for room.",
    ),
    Key::or(
        "checkpointInterval",
        Form::COUNT,
        "30000",
        "Milliseconds between checkpoints, at least 1000.",
    ),
    Key::or(
        "checkpointOnClose",
        Form::Flag,
        "true",
        "Whether closing writes a checkpoint.",
    ),
    Key::or(
        "maxFileSize",
        Form::POSITIVE,
        "1623195647",
        "Bytes of a log file at most; 16 MiB are used at most.",
    ),
    Key::or(
        "minimumRequiredSpace",
        Form::COUNT,
        "524288000",
        "Bytes that must be free on the disk for puts, at least 1048576.",
    ),
    Key::or(
        "fsyncPerTransaction",
        Form::Flag,
        "true",
        "Whether each commit waits for the disk.",
    ),
    Key::or(
        "fsyncInterval",
        Form::POSITIVE,
        "5",
        "Seconds between syncs where commits do not wait.",
    ),
    Key::ignored(
        "use-log-replay-v1",
        "Replay here has one way, which needs no choice.",
    ),
    Key::ignored(
        "use-fast-replay",
        "Replay here has one way, which needs no choice.",
    ),
    Key::ignored(
        "useDualCheckpoints",
        "Without a valid checkpoint the whole log is replayed; a second copy only saves time.",
    ),
    Key::ignored("backupCheckpointDir", "There is no second checkpoint."),
    Key::ignored("compressBackupCheckpoint", "There is no second checkpoint."),
    Key::missing(
        "encryption.*",
        None,
        "Encryption of the log is not offered; use an encrypted file system.",
    ),
];

/// Segments are at most this long: zeroing one takes a moment, and space returns by segments.
const SEGMENT_LIMIT: u64 = 16 << 20;
/// Smallest segment: one sector of header and room for small records.
const SEGMENT_FLOOR: u64 = 4 << 10;
/// Free segments kept for their next use.
const SPARES: usize = 3;
/// Bytes of events kept in memory. Half of what the channel may use: buffers for reading and
/// writing, and batches in open transactions, come on top.
const RESIDENT_LIMIT: u64 = 32 << 20;

fn build(ctx: &Context) -> Result<ArcChannel, ConfigError> {
    Ok(Arc::new(FileChannel::new(ctx, Arc::new(RealFs))?))
}

/// Settings that are the channel's own; those of the log are in [`Options`].
#[derive(Debug)]
struct Settings {
    transaction_capacity: usize,
    keep_alive: Duration,
    checkpoint_interval: Duration,
    checkpoint_on_close: bool,
    sync_interval: Duration,
    /// Directories given and not used.
    unused_dirs: Vec<String>,
}

/// The file channel.
#[derive(Debug)]
pub struct FileChannel {
    name: String,
    settings: Settings,
    options: Options,
    fs: Arc<dyn Fs>,
    store: OnceLock<Arc<Store>>,
    upkeep: Mutex<Option<JoinHandle<()>>>,
    counters: Arc<ChannelCounters>,
}

impl FileChannel {
    /// A channel on `fs` with the settings of `ctx`. Touches nothing before it is opened.
    ///
    /// # Errors
    /// [`ConfigError`] if a setting makes no sense.
    pub fn new(ctx: &Context, fs: Arc<dyn Fs>) -> Result<Self, ConfigError> {
        let capacity = ctx.number("capacity", 1_000_000u64)?;
        let transaction_capacity = ctx.number("transactionCapacity", 10_000usize)?;
        if transaction_capacity as u64 > capacity {
            let message = format!(
                "transactionCapacity {transaction_capacity} is more than the capacity {capacity}; lower it or raise capacity"
            );
            return Err(ctx.error("transactionCapacity", message));
        }
        let mut dirs = ctx
            .text_or("dataDirs", "~/.flume/file-channel/data")
            .split(',')
            .map(str::trim);
        let data_dir = match dirs.next() {
            Some(dir) if !dir.is_empty() => ctx.expand_home(dir),
            _ => {
                return Err(ctx.error(
                    "dataDirs",
                    "dataDirs names no directory; give one, or leave the key out",
                ));
            }
        };
        let max_file_size = ctx.number("maxFileSize", 1_623_195_647u64)?;
        let options = Options {
            checkpoint_dir: ctx
                .expand_home(ctx.text_or("checkpointDir", "~/.flume/file-channel/checkpoint")),
            data_dir,
            capacity,
            segment_size: (max_file_size / 512 * 512).clamp(SEGMENT_FLOOR, SEGMENT_LIMIT),
            spares: SPARES,
            sync_each: ctx.flag("fsyncPerTransaction", true),
            resident_limit: RESIDENT_LIMIT,
            minimum_space: ctx
                .number("minimumRequiredSpace", 524_288_000u64)?
                .max(1 << 20),
            mutant: Mutant::NONE,
        };
        let settings = Settings {
            transaction_capacity,
            keep_alive: ctx.seconds("keep-alive", 3)?,
            checkpoint_interval: ctx
                .millis("checkpointInterval", 30_000)?
                .max(Duration::from_secs(1)),
            checkpoint_on_close: ctx.flag("checkpointOnClose", true),
            sync_interval: ctx.seconds("fsyncInterval", 5)?,
            unused_dirs: dirs
                .filter(|dir| !dir.is_empty())
                .map(str::to_owned)
                .collect(),
        };
        Ok(Self {
            name: ctx.name().to_owned(),
            settings,
            options,
            fs,
            store: OnceLock::new(),
            upkeep: Mutex::new(None),
            counters: Arc::default(),
        })
    }

    /// The directories it uses: that of the checkpoint and that of the log.
    #[must_use]
    pub fn dirs(&self) -> (PathBuf, PathBuf) {
        (
            self.options.checkpoint_dir.clone(),
            self.options.data_dir.clone(),
        )
    }

    fn store(&self) -> Result<&Arc<Store>, ChannelError> {
        self.store.get().ok_or_else(|| self.closed())
    }

    fn closed(&self) -> ChannelError {
        ChannelError::Closed {
            channel: self.name.clone(),
        }
    }

    fn unhealthy(&self, reason: impl ToString) -> ChannelError {
        ChannelError::Unhealthy {
            channel: self.name.clone(),
            reason: reason.to_string(),
        }
    }

    fn too_large(&self, events: usize) -> ChannelError {
        ChannelError::TooLarge {
            channel: self.name.clone(),
            events,
            limit: self.settings.transaction_capacity,
            key: "transactionCapacity",
        }
    }

    fn no_space(&self, reason: String) -> ChannelError {
        ChannelError::NoSpace {
            channel: self.name.clone(),
            reason,
        }
    }

    fn error(&self, error: StoreError, events: usize) -> ChannelError {
        match error {
            StoreError::Full => ChannelError::Full {
                channel: self.name.clone(),
                events,
                waited: self.settings.keep_alive,
            },
            StoreError::LowSpace => self.no_space(format!(
                "the disk of {} is full up to minimumRequiredSpace ({} bytes); make room there",
                self.options.data_dir.display(),
                self.options.minimum_space
            )),
            StoreError::Refused(error @ FileError::TooLong { .. }) => {
                tracing::error!(channel = self.name, %error, "the put is refused");
                self.too_large(events)
            }
            StoreError::Refused(error) => {
                // The disk is full, or near it: what frees a channel frees a disk, so it is worth
                // trying again, and this is the error that says so.
                tracing::warn!(channel = self.name, %error, "the log could not grow");
                self.no_space(format!("its log could not grow: {error}; make room there"))
            }
            StoreError::Unhealthy(reason) => self.unhealthy(reason),
            StoreError::Closed => self.closed(),
        }
    }

    fn start_upkeep(&self, store: &Arc<Store>) -> Result<(), ChannelError> {
        let (store, counters) = (Arc::clone(store), Arc::clone(&self.counters));
        let (sync, checkpoint) = (
            self.settings.sync_interval,
            self.settings.checkpoint_interval,
        );
        let failed = move || {
            counters.checkpoint_write_error.fetch_add(1, Relaxed);
        };
        let thread = std::thread::Builder::new()
            .name(format!("{}-upkeep", self.name))
            .spawn(move || store.run_upkeep(sync, checkpoint, &failed))
            .map_err(|error| {
                self.unhealthy(format!("could not start its upkeep thread: {error}"))
            })?;
        *self.upkeep.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(())
    }
}

impl Channel for FileChannel {
    fn name(&self) -> &str {
        &self.name
    }

    fn open(&self) -> Result<(), ChannelError> {
        if !self.settings.unused_dirs.is_empty() {
            let (used, unused) = (self.options.data_dir.display(), &self.settings.unused_dirs);
            tracing::warn!(channel = self.name, %used, ?unused, "of several dataDirs only the first is used");
        }
        let store = Store::open(Arc::clone(&self.fs), self.options.clone())
            .map_err(|error| self.unhealthy(error))?;
        let store = Arc::new(store);
        self.start_upkeep(&store)?;
        self.store
            .set(store)
            .map_err(|_| self.unhealthy("it was opened twice"))
    }

    fn put(&self) -> Result<Box<dyn Put + '_>, ChannelError> {
        let store = self.store()?;
        store.check().map_err(|error| self.error(error, 0))?;
        Ok(Box::new(FilePut {
            channel: self,
            store,
            batches: Vec::new(),
            events: 0,
        }))
    }

    fn take(&self, max: usize, wait: Duration) -> Result<Box<dyn Take + '_>, ChannelError> {
        let store = self.store()?;
        if max > self.settings.transaction_capacity {
            return Err(self.too_large(max));
        }
        self.counters.event_take_attempt.fetch_add(1, Relaxed);
        match store.take(max as u64, wait) {
            Ok(taken) => Ok(Box::new(FileTake {
                channel: self,
                store,
                taken,
            })),
            Err(error) => {
                if !matches!(error, StoreError::Closed) {
                    self.counters.event_take_error.fetch_add(1, Relaxed);
                }
                Err(self.error(error, max))
            }
        }
    }

    fn fill(&self) -> Fill {
        let events = self.store.get().map_or(0, |store| store.stored());
        Fill {
            events,
            capacity: self.options.capacity,
        }
    }

    fn transaction_capacity(&self) -> usize {
        self.settings.transaction_capacity
    }

    fn counters(&self) -> &ChannelCounters {
        &self.counters
    }

    fn extra_metrics(&self) -> Vec<(&'static str, u64)> {
        let health = self.store.get().map(|store| store.check());
        let closed = matches!(health, None | Some(Err(StoreError::Closed)));
        let unhealthy = matches!(health, Some(Err(StoreError::Unhealthy(_))));
        vec![
            ("Open", u64::from(!closed)),
            ("Closed", u64::from(closed)),
            ("Unhealthy", u64::from(unhealthy)),
        ]
    }

    fn stop_waiting(&self) {
        if let Some(store) = self.store.get() {
            store.stop_waiting();
        }
    }

    fn close(&self) {
        let Some(store) = self.store.get() else {
            return;
        };
        if let Err(error) = store.close(self.settings.checkpoint_on_close) {
            tracing::warn!(channel = self.name, %error, "closed without a checkpoint; the next start replays more");
            self.counters.checkpoint_write_error.fetch_add(1, Relaxed);
        }
        let thread = self
            .upkeep
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!(channel = self.name, "its upkeep thread had panicked");
        }
    }
}

impl Drop for FileChannel {
    fn drop(&mut self) {
        // Not a shutdown: whoever wants a checkpoint calls `close`. Only the thread must end.
        if let Some(thread) = self
            .upkeep
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            if let Some(store) = self.store.get() {
                let _ = store.close(false);
            }
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
