//! The channel without its trait: transactions, group commit, checkpoints, upkeep.
//!
//! Group commit: [`commit`].
//!
//! Puts become visible to takes only after their sync, or, where syncs are relaxed, their write. So
//! the log never holds a take ahead of its put. A checkpoint is made of what is visible, after a sync
//! during which nothing is added where syncs are relaxed: it never covers what is not durable.

mod commit;
mod gather;

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::checkpoint::Checkpoint;
use super::error::FileError;
use super::log::{Cursor, Draft, Writer};
use super::mutant::Mutant;
use super::payload;
use super::queue::Queue;
use super::record::{Kind, MAX_PAYLOAD};
use super::recover::recover;
use super::scan::read_puts;
use super::segments::{Files, RESERVE};
use crate::defect::Defect;
use crate::event::{Batch, Slice};
use crate::fs::{Fs, Lock};
use gather::Gathering;

/// Bytes of the log that are read back at a time when the window moves on.
const PIECE: u64 = 2 << 20;
/// Name of the file whose lock says that a directory is in use; Flume's name.
const LOCK: &str = "in_use.lock";

/// How a store is set up.
#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) checkpoint_dir: PathBuf,
    pub(super) data_dir: PathBuf,
    /// Events it holds.
    pub(super) capacity: u64,
    /// Bytes of a segment's file.
    pub(super) segment_size: u64,
    /// Free segments kept.
    pub(super) spares: usize,
    /// Whether a commit returns only after a sync.
    pub(super) sync_each: bool,
    /// Bytes of events kept in memory.
    pub(super) resident_limit: u64,
    /// Puts are refused while the disk has fewer bytes free.
    pub(super) minimum_space: u64,
    pub(super) mutant: Mutant,
}

/// Why a transaction did not succeed.
#[derive(Debug, Clone)]
pub(super) enum StoreError {
    /// No room in the channel; try again later.
    Full,
    /// Less than `minimumRequiredSpace` is free on the disk; try again later.
    LowSpace,
    /// The log refused the record, and is as it was.
    Refused(FileError),
    /// Nothing is certain any more.
    Unhealthy(String),
    Closed,
}

/// What a pending record does once it is durable.
#[derive(Debug)]
enum Effect {
    Put { events: u32, batches: Vec<Batch> },
    Take { ranges: Vec<Range<u64>> },
}

#[derive(Debug)]
struct Pending {
    ticket: u64,
    draft: Draft,
    effect: Effect,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    /// The end of what is visible, and, unless syncs are relaxed, durable.
    end: Cursor,
    pending: Vec<Pending>,
    /// Events of pending puts: they have their room already.
    reserved: u64,
    next_ticket: u64,
    /// All tickets below have an outcome.
    settled: u64,
    /// Outcomes that are no success, until they are asked for.
    failures: HashMap<u64, StoreError>,
    /// Absent while somebody leads.
    writer: Option<Box<Writer>>,
    gathering: Gathering,
    /// Puts waiting for room, in the order in which they came.
    line: VecDeque<u64>,
    next_place: u64,
    loading: bool,
    low_space: bool,
    wants_spare: bool,
    failed: Option<String>,
    /// Takes wait for nothing.
    draining: bool,
    closed: bool,
}

/// An open store.
#[derive(Debug)]
pub(super) struct Store {
    options: Options,
    fs: Arc<dyn Fs>,
    files: Arc<Files>,
    state: Mutex<State>,
    /// The last checkpoint written; held while one is being written.
    checkpointed: Mutex<Option<Checkpoint>>,
    /// A commit has its outcome, or the writer is home again.
    settled: Condvar,
    /// There is something to take.
    filled: Condvar,
    /// There is room.
    freed: Condvar,
    /// The upkeep has something to do.
    upkeep: Condvar,
    locks: Mutex<Vec<Box<dyn Lock>>>,
}

/// Events that were taken and wait for commit or rollback.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) ranges: Vec<Range<u64>>,
    pub(super) slices: Vec<Slice>,
}

impl Store {
    /// Locks the directories and replays the log.
    pub(super) fn open(fs: Arc<dyn Fs>, options: Options) -> Result<Self, FileError> {
        let locks = lock(fs.as_ref(), &options)?;
        let checkpoint_dir = &options.checkpoint_dir;
        // A rename that a killed process made may be visible and not yet durable.
        fs.sync_dir(checkpoint_dir)
            .map_err(FileError::io("sync", checkpoint_dir))?;
        let checkpoint = Checkpoint::read(fs.as_ref(), checkpoint_dir)?;
        let files = Files::open(
            Arc::clone(&fs),
            &options.data_dir,
            options.segment_size,
            options.spares,
            false,
            options.mutant,
        )?;
        let files = Arc::new(files);
        let found = recover(&files, checkpoint.as_ref())?;
        tracing::debug!(records = found.records, end = ?found.end, head = ?found.head, "replayed the log");
        let mut writer = Writer::new(Arc::clone(&files), found.end, found.sealed);
        writer.rewrite_tail(found.doubtful)?;
        if writer.wants_spare()
            && let Err(error) = files.prepare_spare()
        {
            // On a full disk there is still a backlog to be taken.
            tracing::warn!(%error, "no free segment could be prepared");
        }
        let state = State {
            queue: Queue::new(found.head, found.end, found.taken, options.resident_limit),
            end: found.end,
            pending: Vec::new(),
            reserved: 0,
            next_ticket: 0,
            settled: 0,
            failures: HashMap::new(),
            writer: Some(Box::new(writer)),
            gathering: Gathering::default(),
            line: VecDeque::new(),
            next_place: 0,
            loading: false,
            low_space: false,
            wants_spare: false,
            failed: None,
            draining: false,
            closed: false,
        };
        let store = Self {
            options,
            fs,
            files,
            state: Mutex::new(state),
            checkpointed: Mutex::new(None),
            settled: Condvar::new(),
            filled: Condvar::new(),
            freed: Condvar::new(),
            upkeep: Condvar::new(),
            locks: Mutex::new(locks),
        };
        store.look_at_space();
        Ok(store)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Events in the channel: put and committed, not yet taken and committed.
    pub(super) fn stored(&self) -> u64 {
        self.state().queue.stored()
    }

    /// Whether transactions are possible.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        self.state().check()
    }

    /// Puts `batches` as one transaction, waiting up to `keep_alive` for room.
    pub(super) fn put(&self, batches: Vec<Batch>, keep_alive: Duration) -> Result<(), StoreError> {
        let (events, draft) = put_draft(&batches)?;
        let state = self.wait_for_room(u64::from(events), keep_alive)?;
        self.commit(state, draft, Effect::Put { events, batches })
    }

    /// Waits in line until `events` fit; the lock is held on return.
    fn wait_for_room(
        &self,
        events: u64,
        keep_alive: Duration,
    ) -> Result<MutexGuard<'_, State>, StoreError> {
        let mut state = self.state();
        let fits = |state: &State| {
            !state.low_space
                && state.queue.events() + state.reserved + events <= self.options.capacity
        };
        state.check()?;
        if state.line.is_empty() && fits(&state) {
            return Ok(state);
        }
        let place = state.next_place;
        state.next_place += 1;
        state.line.push_back(place);
        let deadline = Instant::now() + keep_alive;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let room = state.line.front() == Some(&place) && fits(&state);
            let outcome = match state.check() {
                Err(error) => Some(Err(error)),
                Ok(()) if room => Some(Ok(())),
                Ok(()) if left.is_zero() && state.low_space => Some(Err(StoreError::LowSpace)),
                Ok(()) if left.is_zero() => Some(Err(StoreError::Full)),
                Ok(()) => None,
            };
            if let Some(outcome) = outcome {
                state.line.retain(|waiting| *waiting != place);
                // Whoever is next in line may fit, or has become the first by this.
                self.freed.notify_all();
                return outcome.map(|()| state);
            }
            state = self
                .freed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Takes up to `max` events, waiting up to `wait` for the first one.
    pub(super) fn take(&self, max: u64, wait: Duration) -> Result<Taken, StoreError> {
        let mut state = self.state();
        let mut deadline = None;
        loop {
            state.check()?;
            if state.queue.ready() < max && state.queue.may_load() && !state.loading {
                state = self.load(state);
                continue;
            }
            let ranges = state.queue.take(max);
            if !ranges.is_empty() || max == 0 {
                let slices = state.queue.slices(&ranges);
                if state.queue.ready() > 0 || state.queue.unread().is_some() {
                    // What is left is another taker's: its wake-up may have been spent on this one.
                    self.filled.notify_one();
                }
                return Ok(Taken { ranges, slices });
            }
            if wait.is_zero() || state.draining {
                return Ok(Taken::default());
            }
            let now = Instant::now();
            let left = deadline
                .get_or_insert(now + wait)
                .saturating_duration_since(now);
            if left.is_zero() {
                return Ok(Taken::default());
            }
            state = self
                .filled
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Commits a take.
    pub(super) fn commit_take(&self, ranges: Vec<Range<u64>>) -> Result<(), StoreError> {
        let draft = take_draft(&ranges)?;
        let state = self.state();
        state.check()?;
        self.commit(state, draft, Effect::Take { ranges })
    }

    /// Rolls a take back.
    pub(super) fn untake(&self, ranges: &[Range<u64>]) {
        self.state().queue.untake(ranges);
        self.filled.notify_all();
    }

    /// Reads the next piece of the log into the window.
    fn load<'s>(&'s self, mut state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        let Some(from) = state.queue.unread() else {
            return state;
        };
        let end = state.end;
        state.loading = true;
        drop(state);
        let piece = read_puts(&self.files, from, end, PIECE);
        let mut state = self.state();
        state.loading = false;
        for (at, events, batches) in piece.puts {
            state.queue.load(at, events, batches);
        }
        let more = piece.next.sequence < state.end.sequence;
        state.queue.loaded(more.then_some(piece.next));
        if let Some(error) = piece.error {
            self.fail(&mut state, &error);
        }
        self.filled.notify_all();
        state
    }

    fn fail(&self, state: &mut State, error: &FileError) {
        if state.failed.is_none() {
            tracing::error!(%error, "the file channel takes and gives nothing any more");
            state.failed = Some(error.to_string());
        }
        self.settled.notify_all();
        self.filled.notify_all();
        self.freed.notify_all();
        self.upkeep.notify_all();
    }

    /// Writes a checkpoint if anything has changed since the last one, and retires the segments
    /// it leaves behind.
    pub(super) fn checkpoint(&self) -> Result<(), FileError> {
        let mut last = self
            .checkpointed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // What is visible is durable only where commits sync; else it is as far as a sync went.
        let checkpoint = if self.options.sync_each {
            self.state().checkpoint()
        } else {
            self.sync_and(State::checkpoint)?
        };
        let Some(checkpoint) = checkpoint else {
            return Ok(());
        };
        if last.as_ref() == Some(&checkpoint) {
            return Ok(());
        }
        checkpoint.write(self.fs.as_ref(), &self.options.checkpoint_dir)?;
        let bound = checkpoint.head.epoch;
        *last = Some(checkpoint);
        if let Err(error) = self.files.retire(bound) {
            // A segment whose header is in doubt is in doubt as a whole.
            self.fail(&mut self.state(), &error);
            return Err(error);
        }
        Ok(())
    }

    /// What has to be done now and then: a free segment kept ready, room on the disk watched.
    pub(super) fn maintain(&self) -> Result<(), FileError> {
        self.look_at_space();
        if !std::mem::take(&mut self.state().wants_spare) {
            return Ok(());
        }
        let (_, spares) = self.files.counts();
        let head = self.state().queue.head().map(|head| head.epoch);
        if spares <= RESERVE
            && self
                .files
                .first()
                .is_some_and(|first| head.is_none_or(|head| first.header.epoch < head))
        {
            // A segment that is done with costs a checkpoint; a new one costs its size in writes.
            self.checkpoint()?;
        }
        self.files.prepare_spare()
    }

    fn look_at_space(&self) {
        let low = match self.fs.free_space(&self.options.data_dir) {
            Ok(free) => free < self.options.minimum_space,
            // Unknown is not low: a disk that cannot tell says so on the next write.
            Err(_) => false,
        };
        let mut state = self.state();
        if low != state.low_space {
            state.low_space = low;
            let dir = self.options.data_dir.display();
            if low {
                tracing::warn!(%dir, "less than minimumRequiredSpace is free: puts are refused, takes go on");
            } else {
                tracing::info!(%dir, "there is room on the disk again");
                self.freed.notify_all();
            }
        }
    }

    /// Looks after the store until it is closed: a sync every `sync_interval` where commits do not
    /// sync, a checkpoint every `checkpoint_interval`. Failures of checkpoints are counted by
    /// `failed_checkpoint` and tried again.
    pub(super) fn run_upkeep(
        &self,
        sync_interval: Duration,
        checkpoint_interval: Duration,
        failed_checkpoint: &dyn Fn(),
    ) {
        let (mut synced, mut checkpointed) = (Instant::now(), Instant::now());
        let rest = if self.options.sync_each {
            Duration::from_secs(1)
        } else {
            sync_interval.min(Duration::from_secs(1))
        };
        loop {
            {
                let state = self.state();
                let idle = |state: &mut State| {
                    !state.closed && !state.wants_spare && state.failed.is_none()
                };
                let waited = self.upkeep.wait_timeout_while(state, rest, idle);
                let state = waited.unwrap_or_else(PoisonError::into_inner).0;
                if state.closed || state.failed.is_some() {
                    return;
                }
            }
            if let Err(error) = self.maintain() {
                tracing::warn!(%error, "no free segment could be prepared");
            }
            if !self.options.sync_each && synced.elapsed() >= sync_interval {
                synced = Instant::now();
                // A failure has made the store unhealthy already.
                let _ = self.sync();
            }
            if checkpointed.elapsed() >= checkpoint_interval {
                checkpointed = Instant::now();
                if let Err(error) = self.checkpoint() {
                    tracing::warn!(%error, "no checkpoint could be written; the log holds everything");
                    failed_checkpoint();
                }
            }
        }
    }

    /// Takes wait for nothing from now on.
    pub(super) fn stop_waiting(&self) {
        self.state().draining = true;
        self.filled.notify_all();
    }

    /// Refuses new transactions and lets go of the directories.
    pub(super) fn close(&self, with_checkpoint: bool) -> Result<(), FileError> {
        {
            let mut state = self.state();
            state.closed = true;
        }
        self.filled.notify_all();
        self.freed.notify_all();
        self.upkeep.notify_all();
        let outcome = self.sync().and_then(|()| {
            if with_checkpoint {
                self.checkpoint()
            } else {
                Ok(())
            }
        });
        self.locks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        outcome
    }
}

impl State {
    fn check(&self) -> Result<(), StoreError> {
        match &self.failed {
            _ if self.closed => Err(StoreError::Closed),
            Some(reason) => Err(StoreError::Unhealthy(reason.clone())),
            None => Ok(()),
        }
    }

    /// A checkpoint of what is visible; none after a failure, when memory may be ahead of the disk.
    fn checkpoint(&self) -> Option<Checkpoint> {
        self.failed.is_none().then(|| Checkpoint {
            end: self.end,
            head: self.queue.head().unwrap_or(self.end),
            taken: if Defect::FileCheckpointTooEarly.is_planted() {
                self.queue.taken_or_open()
            } else {
                self.queue.taken().clone()
            },
        })
    }

    /// Adds a record to the group; answers its ticket.
    fn enqueue(&mut self, draft: Draft, effect: Effect) -> u64 {
        if let Effect::Put { events, .. } = &effect {
            self.reserved += u64::from(*events);
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.pending.push(Pending {
            ticket,
            draft,
            effect,
        });
        ticket
    }

    /// How much longer the pending group should wait for others.
    fn left_to_gather(&mut self) -> Option<Duration> {
        let pending = self.pending.len();
        self.gathering.left(pending, Instant::now())
    }

    /// Gives all of a group the outcome `error`.
    fn refuse(&mut self, group: impl IntoIterator<Item = Pending>, error: &StoreError) {
        for pending in group {
            if let Effect::Put { events, .. } = pending.effect {
                self.reserved -= u64::from(events);
            }
            self.failures.insert(pending.ticket, error.clone());
            self.settled += 1;
        }
    }
}

/// The record of a put.
fn put_draft(batches: &[Batch]) -> Result<(u32, Draft), StoreError> {
    let events: usize = batches.iter().map(Batch::len).sum();
    let events = u32::try_from(events).unwrap_or(u32::MAX);
    let draft = Draft::new(Kind::Put, events, payload::put_parts(batches), MAX_PAYLOAD);
    draft
        .map(|draft| (events, draft))
        .map_err(StoreError::Refused)
}

/// The record of a take.
fn take_draft(ranges: &[Range<u64>]) -> Result<Draft, StoreError> {
    let events: u64 = ranges.iter().map(|range| range.end - range.start).sum();
    let events = u32::try_from(events).unwrap_or(u32::MAX);
    Draft::new(Kind::Take, events, payload::take_parts(ranges), MAX_PAYLOAD)
        .map_err(StoreError::Refused)
}

/// Creates the directories and takes their locks.
fn lock(fs: &dyn Fs, options: &Options) -> Result<Vec<Box<dyn Lock>>, FileError> {
    let mut dirs = vec![&options.checkpoint_dir];
    if options.data_dir != options.checkpoint_dir {
        dirs.push(&options.data_dir);
    }
    let mut locks = Vec::new();
    for dir in dirs {
        fs.create_dir_all(dir)
            .map_err(FileError::io("create", dir))?;
        locks.push(
            fs.lock(&dir.join(LOCK))
                .map_err(|error| match error.kind() {
                    std::io::ErrorKind::WouldBlock => FileError::InUse { path: dir.clone() },
                    _ => FileError::io("lock", dir)(error),
                })?,
        );
    }
    Ok(locks)
}

/// What the tests need to go step by step, and the mutants to go wrong.
#[cfg(test)]
impl Store {
    /// Adds a put to the pending group; answers its ticket.
    pub(super) fn enqueue_put(&self, batches: Vec<Batch>) -> u64 {
        let (events, draft) = put_draft(&batches).unwrap();
        let mut state = self.state();
        if self.options.mutant.logs_takes_first() {
            let event = state.end.event + state.reserved;
            state.queue.publish_early(event, events, batches.clone());
        }
        state.enqueue(draft, Effect::Put { events, batches })
    }

    /// Adds the commit of a take to the pending group; answers its ticket.
    pub(super) fn enqueue_take(&self, ranges: Vec<Range<u64>>) -> u64 {
        let draft = take_draft(&ranges).unwrap();
        self.state().enqueue(draft, Effect::Take { ranges })
    }

    /// Writes the pending group; answers the failures by ticket.
    pub(super) fn write_group(&self) -> HashMap<u64, StoreError> {
        let mut state = self.state();
        let writer = state.writer.take().unwrap();
        let mut state = self.lead(state, writer);
        std::mem::take(&mut state.failures)
    }

    pub(super) fn resident(&self) -> u64 {
        self.state().queue.resident()
    }

    pub(super) fn segments(&self) -> (usize, usize) {
        self.files.counts()
    }

    fn early_checkpoint(&self, places: &[Cursor], group: &VecDeque<Pending>, writer: &Writer) {
        if !self.options.mutant.checkpoints_before_data() {
            return;
        }
        let state = self.state();
        let mut taken = state.queue.taken().clone();
        let mut head = state.queue.head();
        for (pending, at) in group.iter().zip(places) {
            match &pending.effect {
                Effect::Take { ranges } => {
                    ranges.iter().for_each(|range| taken.insert(range.clone()))
                }
                Effect::Put { .. } => head = head.or(Some(*at)),
            }
        }
        let checkpoint = Checkpoint {
            end: writer.end(),
            head: head.unwrap_or(writer.end()),
            taken,
        };
        // Once the power is off the write fails; the sync that follows fails as well.
        let _ = checkpoint.write(self.fs.as_ref(), &self.options.checkpoint_dir);
    }
}
