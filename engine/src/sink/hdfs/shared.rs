//! What the sink's thread, its workers, its timer and its recovery have in common.

use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::{debug, error};

use super::encode::Encoder;
use super::journal::{Entry, Journal};
use super::recovery::publish;
use super::settings::Settings;
use crate::clock::Clock;
use crate::hdfs::{Deadline, Hdfs, HdfsError, HdfsFile};
use crate::source::BoxError;

/// Names tried before a file is given up for lack of a free one.
const NAMES_TRIED: u32 = 20;

/// Common to all threads of a sink.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) hdfs: Arc<dyn Hdfs>,
    pub(super) clock: Arc<dyn Clock>,
    journal: Mutex<Journal>,
    /// Gone once recovery has to end.
    to_recovery: Mutex<Option<Sender<Entry>>>,
    /// Files that recovery looks after.
    pub(super) recovering: AtomicUsize,
    /// Until when calls and recovery go on, once the sink ends.
    ending: Mutex<Option<Instant>>,
    /// The number in the name of the last file.
    last_number: AtomicI64,
    pub(super) opened: AtomicU64,
    pub(super) closed: AtomicU64,
    pub(super) failed: AtomicU64,
}

/// Where the files of a bucket are: their directory, and how their names begin.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Key {
    pub(super) dir: String,
    pub(super) prefix: String,
}

/// A file that takes events.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) entry: Entry,
    pub(super) file: Box<dyn HdfsFile>,
    pub(super) encoder: Encoder,
    pub(super) events: u64,
    pub(super) body_bytes: u64,
    /// When it was begun: at its first event.
    pub(super) since: Option<Instant>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(
        settings: Settings,
        hdfs: Arc<dyn Hdfs>,
        clock: Arc<dyn Clock>,
        journal: Journal,
        to_recovery: Sender<Entry>,
    ) -> Self {
        Self {
            settings,
            hdfs,
            clock,
            journal: Mutex::new(journal),
            to_recovery: Mutex::new(Some(to_recovery)),
            recovering: AtomicUsize::new(0),
            ending: Mutex::default(),
            last_number: AtomicI64::new(0),
            opened: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// When a call that begins now must have ended. Once the sink ends, no call outlives its end:
    /// what is left open then is in the journal.
    pub(super) fn call_deadline(&self) -> Deadline {
        let limit = self.settings.call_timeout;
        let left = lock(&self.ending).map(|until| until.saturating_duration_since(Instant::now()));
        Deadline::after(left.map_or(limit, |left| left.min(limit)))
    }

    /// Gives a file whose writer is gone to recovery.
    pub(super) fn recover(&self, entry: Entry) {
        self.recovering.fetch_add(1, Relaxed);
        let sent = lock(&self.to_recovery)
            .as_ref()
            .is_some_and(|to| to.send(entry).is_ok());
        if !sent {
            // The thread has ended with the sink; the journal keeps the file for the next start.
            self.recovering.fetch_sub(1, Relaxed);
        }
    }

    /// Notes that a file has its final name, or is gone.
    pub(super) fn cross_out(&self, in_use: &str) {
        if let Err(error) = lock(&self.journal).remove(in_use) {
            // Harmless for the file; the next start looks at it once more.
            error!(%error, "a file could not be crossed out");
        }
    }

    /// The files in the journal.
    pub(super) fn listed(&self) -> Vec<Entry> {
        lock(&self.journal).entries()
    }

    /// Lets calls and recovery go on for `limit` and no longer.
    pub(super) fn end_after(&self, limit: Duration) {
        *lock(&self.ending) = Some(Instant::now() + limit);
    }

    /// Ends recovery.
    pub(super) fn end_recovery(&self) {
        self.end_after(Duration::ZERO);
        lock(&self.to_recovery).take();
    }

    pub(super) fn give_up_recovery(&self) -> bool {
        lock(&self.ending).is_some_and(|until| Instant::now() >= until)
    }

    /// A number for a name: the time in ms, or one more than the last number.
    fn next_number(&self) -> i64 {
        let now = self.clock.unix_millis();
        let next = |last: i64| Some(now.max(last + 1));
        let last = self
            .last_number
            .fetch_update(Relaxed, Relaxed, next)
            .unwrap_or(now);
        now.max(last + 1)
    }

    fn names(&self, key: &Key) -> Entry {
        let settings = &self.settings;
        let number = self.next_number();
        let name = format!("{}.{number}{}", key.prefix, settings.file_suffix);
        let dir = key.dir.trim_end_matches('/');
        Entry {
            in_use: format!(
                "{dir}/{}{name}{}",
                settings.in_use_prefix, settings.in_use_suffix
            ),
            published: format!("{dir}/{name}"),
        }
    }

    /// Makes the next file of a bucket, after noting its name.
    pub(super) fn open(&self, key: &Key) -> Result<OpenFile, BoxError> {
        let mut tried = 0;
        loop {
            let entry = self.names(key);
            lock(&self.journal).add(&entry)?;
            let error = match self.hdfs.create(&entry.in_use, self.call_deadline()) {
                Ok(file) => {
                    self.opened.fetch_add(1, Relaxed);
                    debug!(path = entry.in_use, "opened");
                    let encoder = Encoder::new(self.settings.codec, self.settings.newline);
                    let (events, body_bytes, since) = (0, 0, None);
                    return Ok(OpenFile {
                        entry,
                        file,
                        encoder,
                        events,
                        body_bytes,
                        since,
                    });
                }
                Err(error) => error,
            };
            tried += 1;
            if error.is_taken() && tried < NAMES_TRIED {
                // Somebody else's, so it is not to be found in our journal.
                self.cross_out(&entry.in_use);
                continue;
            }
            self.failed.fetch_add(1, Relaxed);
            match error {
                // A definite no: there is nothing to clean up.
                HdfsError::Remote { .. } | HdfsError::Config(_) => self.cross_out(&entry.in_use),
                // The file may come to be yet.
                _ => self.recover(entry),
            }
            return Err(error.into());
        }
    }

    /// Ends a file. On success all its bytes are safe, and it waits for its final name; on failure it
    /// is left to recovery.
    pub(super) fn close(&self, file: OpenFile) -> Result<Entry, BoxError> {
        let OpenFile {
            entry,
            mut file,
            mut encoder,
            ..
        } = file;
        let mut end = || -> Result<(), BoxError> {
            encoder.end_member()?;
            file.write(&encoder.take(), self.call_deadline())?;
            Ok(())
        };
        let closed = match end() {
            Ok(()) => file.close(self.call_deadline()).map_err(BoxError::from),
            Err(error) => Err(error),
        };
        match closed {
            Ok(()) => {
                self.closed.fetch_add(1, Relaxed);
                Ok(entry)
            }
            Err(error) => {
                self.failed.fetch_add(1, Relaxed);
                self.recover(entry);
                Err(error)
            }
        }
    }

    /// Gives a file that was closed its final name.
    pub(super) fn publish(&self, entry: Entry) {
        match publish(self, &entry) {
            Ok(name) => {
                debug!(path = name, "published");
                self.cross_out(&entry.in_use);
            }
            Err(error) => {
                debug!(path = entry.in_use, %error, "not renamed");
                self.recover(entry);
            }
        }
    }

    /// Removes a file that was opened ahead and not used.
    pub(super) fn discard(&self, file: OpenFile) {
        let entry = file.entry.clone();
        drop(file);
        // Deleting ends the lease as well, and the file has never had a byte.
        match self.hdfs.delete(&entry.in_use, self.call_deadline()) {
            Ok(_) => self.cross_out(&entry.in_use),
            Err(_) => self.recover(entry),
        }
    }
}
