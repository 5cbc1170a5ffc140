//! Files whose writer is gone: closed by lease recovery, then published or deleted.
//!
//! One thread looks after all of them. A file comes here when a write, a flush or a close of it has
//! failed, when its rename has failed, or from the journal at start. Steps, each repeated until it
//! succeeds, with growing pauses:
//!
//! 1. `recover_lease` until it answers that the file is closed. A file that does not exist is done:
//!    it was never made, or has its final name already.
//! 2. An empty file is deleted, any other gets its final name. Where that is taken, `.1`, `.2`, … is
//!    appended: nothing is ever replaced.
//! 3. The journal crosses it out.
//!
//! Events keep flowing meanwhile: they go to a new file. After `closeTries` failures (0: never) the
//! file is left as it is, and stays in the journal for the next start.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::journal::Entry;
use super::shared::Shared;
use crate::hdfs::{Deadline, HdfsError};

/// Longest pause; `hdfs.retryInterval` may make it shorter.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Names tried where the final one is taken.
const OTHER_NAMES: u32 = 100;

/// A file that is looked after.
#[derive(Debug)]
struct Patient {
    entry: Entry,
    due: Instant,
    pause: Duration,
    /// Failures, not counting "not yet".
    failures: u32,
}

/// How a step went.
enum Step {
    Done,
    NotYet,
    Failed(HdfsError),
}

/// The thread: ends when the sink is gone, or has said that it ends and its patience is over.
pub(super) fn run(shared: &Weak<Shared>, incoming: &Receiver<Entry>) {
    let mut patients: Vec<Patient> = Vec::new();
    loop {
        let next = patients.iter().map(|patient| patient.due).min();
        let wait = next.map_or(Duration::from_millis(500), |due| {
            due.saturating_duration_since(Instant::now())
                .min(Duration::from_millis(500))
        });
        match incoming.recv_timeout(wait) {
            Ok(entry) => patients.push(Patient {
                entry,
                due: Instant::now(),
                pause: Duration::ZERO,
                failures: 0,
            }),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let Some(shared) = shared.upgrade() else {
            return;
        };
        if shared.give_up_recovery() {
            return;
        }
        let now = Instant::now();
        patients.retain_mut(|patient| patient.due > now || !look_after(&shared, patient));
    }
}

/// Takes a step for a file; answers whether it is discharged.
fn look_after(shared: &Arc<Shared>, patient: &mut Patient) -> bool {
    let path = &patient.entry.in_use;
    let first = shared.settings.first_pause;
    let longest = LONGEST_PAUSE.min(shared.settings.retry_interval).max(first);
    match step(shared, &patient.entry) {
        Step::Done => {
            shared.recovering.fetch_sub(1, Relaxed);
            return true;
        }
        // The DataNodes need a heartbeat or two.
        Step::NotYet => {
            patient.pause = (patient.pause * 3 / 2).clamp(first, Duration::from_secs(1))
        }
        Step::Failed(error) => {
            patient.failures += 1;
            let tries = shared.settings.close_tries;
            if tries > 0 && patient.failures >= tries {
                warn!(path, %error, tries, "giving up; the next start of the agent tries again");
                shared.recovering.fetch_sub(1, Relaxed);
                return true;
            }
            if patient.failures.is_power_of_two() {
                warn!(path, %error, failures = patient.failures, "not recovered; trying again");
            }
            patient.pause = (patient.pause * 2).clamp(first, longest);
        }
    }
    patient.due = Instant::now() + patient.pause;
    false
}

fn step(shared: &Shared, entry: &Entry) -> Step {
    let closed = shared
        .hdfs
        .recover_lease(&entry.in_use, shared.call_deadline());
    let done = match closed {
        Ok(false) => return Step::NotYet,
        Ok(true) => settle(shared, entry),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error),
    };
    match done {
        Ok(()) => {
            shared.cross_out(&entry.in_use);
            Step::Done
        }
        Err(error) => Step::Failed(error),
    }
}

/// Deletes or publishes a file that is closed.
fn settle(shared: &Shared, entry: &Entry) -> Result<(), HdfsError> {
    let status = shared.hdfs.status(&entry.in_use, shared.call_deadline())?;
    match status {
        None => Ok(()),
        Some(status) if status.length == 0 => {
            shared.hdfs.delete(&entry.in_use, shared.call_deadline())?;
            info!(path = entry.in_use, "deleted: its writer had left it empty");
            Ok(())
        }
        Some(status) => {
            let name = publish(shared, entry)?;
            info!(
                path = name,
                bytes = status.length,
                "published after lease recovery"
            );
            Ok(())
        }
    }
}

/// Gives a *closed* file its final name, or the next free one like it; answers which.
pub(super) fn publish(shared: &Shared, entry: &Entry) -> Result<String, HdfsError> {
    if entry.in_use == entry.published {
        return Ok(entry.published.clone());
    }
    let mut name = entry.published.clone();
    for other in 1.. {
        let deadline: Deadline = shared.call_deadline();
        match shared.hdfs.rename(&entry.in_use, &name, deadline) {
            Ok(()) => break,
            Err(error) if error.is_taken() && other < OTHER_NAMES => {
                name = format!("{}.{other}", entry.published);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(name)
}
