//! The pacing thread, and the load as a whole: started, watched, stopped, finished.
//!
//! The pacing thread does nothing but wait and release. It sleeps until shortly before a batch is
//! due and spins the rest ([`Clock::sleep_until`]); it asks for real-time priority, so that a busy
//! machine does not make it late, and says in [`Finished`] whether it got it. When it is late all
//! the same, everything due is released at once, and the delay shows as slip.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::clock::Clock;
use crate::observe::{Answer, Batch};

use super::worker::{Due, Worker};
use super::{Generator, GeneratorError, Load};

/// How often a waiting thread looks whether the load was aborted.
const LOOK: Duration = Duration::from_millis(20);

/// What the threads of a load share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) stop: AtomicBool,
    /// Batches released and batches that a connection has done with.
    released: AtomicU64,
    pub(super) done: AtomicU64,
    realtime: AtomicBool,
}

/// A load under way. Dropping it aborts the load.
#[derive(Debug)]
pub struct Running {
    shared: Arc<Shared>,
    clock: Arc<Clock>,
    pacer: Option<JoinHandle<()>>,
    workers: Vec<JoinHandle<Result<(), GeneratorError>>>,
}

/// How a load ended.
#[derive(Debug)]
pub struct Finished {
    /// Whether the pacing thread had real-time priority.
    pub realtime: bool,
    /// Batches released and never done with, because the load was aborted or its grace ended.
    /// Batches that were not even released come on top of them; both are unsent.
    pub left: u64,
    /// What ended the load before its time, if anything did.
    pub failure: Option<GeneratorError>,
}

/// Starts a load: a thread for the pace and one for each connection. The clock's t0 must be set.
///
/// # Errors
/// A thread could not be started; none is left behind.
pub fn start(generator: &dyn Generator, load: &Load) -> Result<Running, GeneratorError> {
    let mut running = Running {
        shared: Arc::new(Shared::default()),
        clock: load.clock.clone(),
        pacer: None,
        workers: Vec::new(),
    };
    let mut queues = Vec::new();
    for producer in 0..load.schedule.settings().connections {
        let (queue, due) = mpsc::channel();
        queues.push(queue);
        let worker = Worker::new(
            generator.link(),
            generator.answers(),
            load.clone(),
            running.shared.clone(),
        );
        let thread = thread::Builder::new()
            .name(format!("load-{producer}"))
            .spawn(move || worker.run(&due))
            .map_err(GeneratorError::Thread)?;
        running.workers.push(thread);
    }
    let (pace, shared) = (load.clone(), running.shared.clone());
    running.pacer = Some(
        thread::Builder::new()
            .name("load-pace".to_owned())
            .spawn(move || release(&pace, &shared, &queues))
            .map_err(GeneratorError::Thread)?,
    );
    Ok(running)
}

/// Sends one batch through a connection of its own, with retries, and waits for the answer: the
/// best of all attempts and the worst of all events. `None` where the source does not answer.
///
/// # Errors
/// As for the load itself.
pub fn probe(
    generator: &dyn Generator,
    load: &Load,
    batch: Batch,
) -> Result<Option<Answer>, GeneratorError> {
    let shared = Arc::new(Shared::default());
    let mut worker = Worker::new(generator.link(), generator.answers(), load.clone(), shared);
    let answer = worker.deliver(batch, load.clock.now())?;
    Ok(generator.answers().then_some(answer))
}

impl Running {
    /// Aborts: nothing more is sent, and what was not sent stays unsent. Returns at once.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }

    /// Whether every batch of the schedule has been released, or the load was aborted.
    pub fn released_all(&self) -> bool {
        self.pacer.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Batches released and not done with: waiting in a queue, or with a connection.
    pub fn waiting(&self) -> u64 {
        let done = self.shared.done.load(Ordering::Relaxed);
        self.shared
            .released
            .load(Ordering::Relaxed)
            .saturating_sub(done)
    }

    /// Whether every thread has ended: the load is over, or has failed.
    pub fn is_over(&self) -> bool {
        self.released_all() && self.workers.iter().all(JoinHandle::is_finished)
    }

    /// Waits for the end of the schedule, then for the connections to empty their queues, but no
    /// longer than `grace`; what is still waiting then is aborted.
    pub fn finish(mut self, grace: Duration) -> Finished {
        while !self.released_all() {
            thread::sleep(LOOK.min(Duration::from_millis(2)));
        }
        let deadline = self.clock.raw() + grace;
        while !self.is_over() && self.clock.raw() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
        let failure = self.join();
        Finished {
            realtime: self.shared.realtime.load(Ordering::Relaxed),
            left: self.waiting(),
            failure,
        }
    }

    /// Ends what still runs; answers the first failure.
    fn join(&mut self) -> Option<GeneratorError> {
        self.stop();
        let mut failure = None;
        if self.pacer.take().is_some_and(|pacer| pacer.join().is_err()) {
            failure = Some(GeneratorError::Panicked);
        }
        for worker in self.workers.drain(..) {
            let ended = worker.join().unwrap_or(Err(GeneratorError::Panicked));
            failure = failure.or(ended.err());
        }
        failure
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.join();
    }
}

/// Releases every batch when it is due.
fn release(load: &Load, shared: &Shared, queues: &[Sender<Due>]) {
    shared.realtime.store(realtime(), Ordering::Relaxed);
    // Without real-time priority the kernel may round a sleep up by 50 µs unless told otherwise.
    let _ = nix::sys::prctl::set_timerslack(1);
    let far = i64::try_from(LOOK.as_micros()).unwrap_or(i64::MAX);
    for number in 0..load.schedule.batches() {
        let Some(batch) = load.schedule.batch(number) else {
            return;
        };
        while batch.intended.saturating_sub(load.clock.now()) > far {
            if shared.stop.load(Ordering::Relaxed) {
                return;
            }
            load.clock
                .sleep_until(load.clock.now().saturating_add(far / 2));
        }
        load.clock.sleep_until(batch.intended);
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        let due = Due {
            number,
            released: load.clock.now(),
        };
        shared.released.fetch_add(1, Ordering::Relaxed);
        // A connection's thread ends early only when the load is over.
        if queues
            .get(usize::from(batch.producer))
            .is_none_or(|queue| queue.send(due).is_err())
        {
            return;
        }
    }
}

/// Asks for the lowest real-time priority for this thread; whether it was granted.
#[expect(
    unsafe_code,
    reason = "the standard library cannot set a scheduling policy"
)]
fn realtime() -> bool {
    use nix::libc;
    let parameters = libc::sched_param { sched_priority: 1 };
    // SAFETY: the call reads one structure that outlives it, and 0 means the calling thread.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_RR, &raw const parameters) == 0 }
}
