//! A few threads for calls that nobody has to wait for: opening the next file, closing the last one.
//!
//! Threads are started when there is more to do than idle threads, up to a limit; they end when the
//! pool is dropped, after what was given to them.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    idle: usize,
    ending: bool,
}

#[derive(Default)]
struct Pool {
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                drop(queue);
                job();
                queue = self.lock();
                continue;
            }
            if queue.ending {
                return;
            }
            queue.idle += 1;
            queue = self
                .changed
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
        }
    }
}

/// The pool.
pub(super) struct Workers {
    pool: Arc<Pool>,
    limit: usize,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl Workers {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            pool: Arc::default(),
            limit: limit.max(1),
            threads: Mutex::default(),
        }
    }

    /// Has `job` done soon; here and now if no thread can be had.
    pub(super) fn run(&self, job: impl FnOnce() + Send + 'static) {
        let mut queue = self.pool.lock();
        queue.jobs.push_back(Box::new(job));
        let wanting = queue.jobs.len() > queue.idle;
        drop(queue);
        self.pool.changed.notify_one();
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if wanting && threads.len() < self.limit {
            let pool = Arc::clone(&self.pool);
            let thread = std::thread::Builder::new().name("hdfs-worker".to_owned());
            match thread.spawn(move || pool.work()) {
                Ok(thread) => threads.push(thread),
                Err(_) if threads.is_empty() => {
                    let job = self.pool.lock().jobs.pop_front();
                    job.into_iter().for_each(|job| job());
                }
                Err(_) => {}
            }
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.pool.lock().ending = true;
        self.pool.changed.notify_all();
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            // The last owner may be a job on one of these threads, which cannot wait for itself.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn jobs_run_side_by_side_up_to_the_limit_and_all_are_done() {
        let workers = Workers::new(3);
        let (sender, receiver) = mpsc::channel();
        let meeting = Arc::new(std::sync::Barrier::new(3));
        for _ in 0..3 {
            let (sender, meeting) = (sender.clone(), Arc::clone(&meeting));
            // Ends only if three jobs run at once.
            workers.run(move || {
                meeting.wait();
                let _ = sender.send(());
            });
        }
        for _ in 0..20 {
            let sender = sender.clone();
            workers.run(move || {
                let _ = sender.send(());
            });
        }
        assert!(workers.threads.lock().unwrap().len() <= 3);
        drop(workers);
        assert_eq!(receiver.try_iter().count(), 23);
    }
}
