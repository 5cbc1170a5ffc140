//! Buckets: for each directory and prefix the file that takes events now.
//!
//! A file is full after `rollCount` events or `rollSize` bytes of bodies and is then given to a
//! worker, which closes and renames it, while the next one, opened ahead by another worker, takes
//! the next events. Whoever commits a transaction first waits until each of its files is flushed, or
//! closed if it was full.
//!
//! `rollInterval` (from a file's first event), `idleTimeout` (from its last) and `maxOpenFiles`
//! (least recently used) close a file and forget the bucket. As in Flume they are off at 0. What was
//! opened ahead for a bucket that gets no more events is removed after 30 s, or `rollInterval` if that
//! is shorter: else every hour, or minute, of the path would keep an empty file, and its lease, for
//! good.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use tracing::{debug, warn};

use super::shared::{Key, OpenFile, Shared};
use super::workers::Workers;
use crate::defect::Defect;
use crate::event::Event;
use crate::source::BoxError;

/// Bytes that gather before they are handed to the file.
const WRITE_AT: usize = 64 * 1024;

/// Most files that are opened ahead for one bucket.
const MOST_AHEAD: u64 = 4;

/// What a worker will answer.
type Answer<T> = Receiver<Result<T, BoxError>>;

#[derive(Debug)]
struct Bucket {
    open: Option<OpenFile>,
    /// Files that are being opened for later.
    ahead: VecDeque<Answer<OpenFile>>,
    last_event: Instant,
    /// Whether the transaction under way has written to it.
    touched: bool,
}

/// All buckets of a sink.
#[derive(Debug)]
pub(super) struct Buckets {
    shared: Arc<Shared>,
    workers: Workers,
    buckets: HashMap<Key, Bucket>,
    /// Buckets of the transaction under way.
    touched: Vec<Key>,
    /// Files of the transaction under way that were full, or had to make room.
    closing: Vec<Answer<()>>,
}

impl Buckets {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let workers = Workers::new(shared.settings.workers);
        let (buckets, touched, closing) = Default::default();
        Self {
            shared,
            workers,
            buckets,
            touched,
            closing,
        }
    }

    /// Begins a transaction: what the last one left is not its business.
    pub(super) fn begin(&mut self) {
        self.closing.clear();
        for key in self.touched.drain(..) {
            if let Some(bucket) = self.buckets.get_mut(&key) {
                bucket.touched = false;
            }
        }
    }

    /// Adds an event. `coming` is how many more the transaction may have for this bucket.
    ///
    /// # Errors
    /// What failed; the file is with recovery then, and the next event gets a new one.
    pub(super) fn append(
        &mut self,
        key: &Key,
        event: &Event<'_>,
        coming: u64,
    ) -> Result<(), BoxError> {
        let now = Instant::now();
        if !self.buckets.contains_key(key) {
            self.make_room();
            let bucket = Bucket {
                open: None,
                ahead: VecDeque::new(),
                last_event: now,
                touched: false,
            };
            self.buckets.insert(key.clone(), bucket);
        }
        if self.is_due(key, now) {
            self.roll(key);
        }
        let shared = Arc::clone(&self.shared);
        let Some(bucket) = self.buckets.get_mut(key) else {
            return Ok(());
        };
        let file = match &mut bucket.open {
            Some(file) => file,
            none => none.insert(next_file(&shared, key, &mut bucket.ahead)?),
        };
        if !bucket.touched {
            bucket.touched = true;
            self.touched.push(key.clone());
        }
        bucket.last_event = now;
        file.since.get_or_insert(now);
        file.events += 1;
        file.body_bytes += event.body().len() as u64;
        let written = file
            .encoder
            .add(event)
            .map_err(BoxError::from)
            .and_then(|()| {
                if file.encoder.len() < WRITE_AT {
                    return Ok(());
                }
                let mut bytes = file.encoder.take();
                if Defect::EncoderCutsAtBorder.is_planted() {
                    bytes.truncate(bytes.len() - 9);
                }
                file.file
                    .write(&bytes, shared.call_deadline())
                    .map_err(BoxError::from)
            });
        if let Err(error) = written {
            self.fail(key);
            return Err(error);
        }
        let fill = shared.settings.fill(file.events, file.body_bytes);
        if fill >= 1.0 {
            self.roll(key);
        }
        self.open_ahead(key, fill, coming);
        Ok(())
    }

    /// Makes everything of the transaction safe.
    ///
    /// # Errors
    /// What failed first. The files concerned are with recovery.
    pub(super) fn flush(&mut self) -> Result<(), BoxError> {
        let shared = Arc::clone(&self.shared);
        // A mark that outlived a failed flush would keep its file from being flushed the next time.
        let touched = std::mem::take(&mut self.touched);
        for key in &touched {
            if let Some(bucket) = self.buckets.get_mut(key) {
                bucket.touched = false;
            }
        }
        for key in touched {
            let Some(bucket) = self.buckets.get_mut(&key) else {
                continue;
            };
            let Some(file) = &mut bucket.open else {
                continue;
            };
            let flushed = file
                .encoder
                .end_member()
                .map_err(BoxError::from)
                .and_then(|()| {
                    let bytes = file.encoder.take();
                    file.file.write(&bytes, shared.call_deadline())?;
                    if Defect::HdfsCommitBeforeFlush.is_planted() {
                        return Ok(());
                    }
                    Ok(file.file.hflush(shared.call_deadline())?)
                });
            if let Err(error) = flushed {
                self.fail(&key);
                if Defect::HdfsFailedFlushTaken.is_planted() {
                    continue;
                }
                return Err(error);
            }
        }
        for answer in self.closing.drain(..) {
            // A worker always answers, unless it panicked; every call it makes has a deadline.
            let closed = answer
                .recv()
                .map_err(|_| "a worker that closed a file has died")?;
            if !Defect::HdfsFailedCloseTaken.is_planted() {
                closed?;
            }
        }
        Ok(())
    }

    /// Closes what its timers say is over. Not to be called within a transaction.
    pub(super) fn tick(&mut self, now: Instant) {
        let settings = &self.shared.settings;
        let (idle, limit) = (settings.idle_timeout, settings.ahead_limit);
        let over: Vec<Key> = self
            .buckets
            .iter()
            .filter(|(key, bucket)| {
                let waiting = now.saturating_duration_since(bucket.last_event);
                let unused = bucket.open.is_none() && waiting >= limit;
                self.is_due(key, now) || idle.is_some_and(|idle| waiting >= idle) || unused
            })
            .map(|(key, _)| key.clone())
            .collect();
        for key in over {
            if Defect::HdfsLeavesIdleFile.is_planted() {
                self.buckets.remove(&key);
            } else {
                self.forget(&key);
            }
        }
        for bucket in self.buckets.values_mut() {
            if now.saturating_duration_since(bucket.last_event) >= limit {
                discard(&self.shared, &self.workers, bucket.ahead.drain(..));
            }
        }
        self.closing.clear();
    }

    /// Closes everything and waits for it.
    pub(super) fn close_all(&mut self) {
        let keys: Vec<Key> = self.buckets.keys().cloned().collect();
        self.closing.clear();
        for key in keys {
            self.forget(&key);
        }
        for answer in self.closing.drain(..) {
            if let Ok(Err(error)) = answer.recv() {
                warn!(%error, "a file was not closed; lease recovery closes it");
            }
        }
    }

    /// Whether the file of a bucket has been open for `rollInterval`.
    fn is_due(&self, key: &Key, now: Instant) -> bool {
        let since = self
            .buckets
            .get(key)
            .and_then(|bucket| bucket.open.as_ref()?.since);
        let age = since.map(|since| now.saturating_duration_since(since));
        age.zip(self.shared.settings.roll_interval)
            .is_some_and(|(age, limit)| age >= limit)
    }

    /// Has a worker close and publish the file of a bucket.
    fn roll(&mut self, key: &Key) {
        let file = self
            .buckets
            .get_mut(key)
            .and_then(|bucket| bucket.open.take());
        let Some(file) = file else { return };
        let shared = Arc::clone(&self.shared);
        let (sender, answer) = channel();
        self.closing.push(answer);
        self.workers.run(move || {
            if Defect::HdfsRenameBeforeClose.is_planted() {
                shared.publish(file.entry.clone());
            }
            match shared.close(file) {
                Ok(entry) => {
                    // The bytes are safe from here on; the name does not hold up the commit.
                    let _ = sender.send(Ok(()));
                    if !Defect::HdfsRenameBeforeClose.is_planted() {
                        shared.publish(entry);
                    }
                }
                Err(error) => {
                    debug!(%error, "close failed");
                    let _ = sender.send(Err(error));
                }
            }
        });
    }

    /// Gives the file of a bucket up.
    fn fail(&mut self, key: &Key) {
        if let Some(file) = self
            .buckets
            .get_mut(key)
            .and_then(|bucket| bucket.open.take())
        {
            self.shared
                .failed
                .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let entry = file.entry.clone();
            // Closes the connection, so that recovery does not have to wait for this writer.
            drop(file);
            if !Defect::HdfsNeverRecovers.is_planted() {
                self.shared.recover(entry);
            }
        }
    }

    /// Closes the file of a bucket, and removes those that were opened ahead.
    fn forget(&mut self, key: &Key) {
        self.roll(key);
        if let Some(bucket) = self.buckets.remove(key) {
            discard(&self.shared, &self.workers, bucket.ahead);
        }
    }

    /// Closes the least recently used bucket if there are as many as there may be.
    fn make_room(&mut self) {
        while self.buckets.len() >= self.shared.settings.max_open_files {
            let oldest = self
                .buckets
                .iter()
                .min_by_key(|(_, bucket)| bucket.last_event);
            let Some(key) = oldest.map(|(key, _)| key.clone()) else {
                return;
            };
            self.forget(&key);
        }
    }

    /// Has workers open the files that will be needed soon.
    fn open_ahead(&mut self, key: &Key, fill: f64, coming: u64) {
        let per_file = self.shared.settings.roll_count.unwrap_or(u64::MAX);
        let soon = if fill >= 0.75 { 1 } else { 0 };
        let wanted = (coming / per_file).max(soon).min(MOST_AHEAD);
        let Some(bucket) = self.buckets.get_mut(key) else {
            return;
        };
        while (bucket.ahead.len() as u64) < wanted {
            let shared = Arc::clone(&self.shared);
            let key = key.clone();
            let (sender, answer) = channel();
            bucket.ahead.push_back(answer);
            self.workers.run(move || {
                if let Err(unwanted) = sender.send(shared.open(&key))
                    && let Ok(file) = unwanted.0
                {
                    shared.discard(file);
                }
            });
        }
    }
}

/// Has workers remove files that were opened ahead.
fn discard(
    shared: &Arc<Shared>,
    workers: &Workers,
    ahead: impl IntoIterator<Item = Answer<OpenFile>>,
) {
    for answer in ahead {
        let shared = Arc::clone(shared);
        workers.run(move || {
            if let Ok(Ok(file)) = answer.recv() {
                shared.discard(file);
            }
        });
    }
}

/// The next file of a bucket: the first that was opened ahead, or a new one.
fn next_file(
    shared: &Shared,
    key: &Key,
    ahead: &mut VecDeque<Answer<OpenFile>>,
) -> Result<OpenFile, BoxError> {
    match ahead.pop_front() {
        Some(answer) => answer
            .recv()
            .map_err(|_| "a worker that opened a file has died")?,
        None => shared.open(key),
    }
}

/// How long the timer may sleep: short against the shortest of the two intervals, which are whole
/// seconds.
pub(super) const TICK: Duration = Duration::from_millis(250);
