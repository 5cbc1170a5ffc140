//! The naive arm: each event a `HashMap` and a `Vec`, in a queue behind a mutex.
//!
//! What a straightforward port of Flume's memory channel would be. It is meant to run on the
//! system's malloc, where the price of such events is that they are freed on another core than the
//! one that made them. The queue is bounded by [`CAPACITY`], and moved through in transactions of
//! 100 under one lock, so that it is the events that are slow and not the locking.

use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::{BODY, CAPACITY, HEADERS, TRANSACTION, WAIT};
use crate::outcome::BenchError;

struct Event {
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

#[derive(Default)]
struct Queue {
    events: Mutex<Events>,
    filled: Condvar,
    freed: Condvar,
}

#[derive(Default)]
struct Events {
    queue: VecDeque<Event>,
    is_over: bool,
}

impl Queue {
    fn put(&self, events: &mut Vec<Event>) {
        let mut inner = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        while inner.queue.len() + events.len() > CAPACITY {
            inner = self
                .freed
                .wait(inner)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let was_empty = inner.queue.is_empty();
        inner.queue.extend(events.drain(..));
        if was_empty {
            self.filled.notify_one();
        }
    }

    /// Empty when it is over.
    fn take(&self, events: &mut Vec<Event>) {
        let mut inner = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        while inner.queue.is_empty() && !inner.is_over {
            inner = self
                .filled
                .wait_timeout(inner, WAIT)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        let count = inner.queue.len().min(TRANSACTION);
        events.extend(inner.queue.drain(..count));
        self.freed.notify_one();
    }

    fn end(&self) {
        let mut inner = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        inner.is_over = true;
        self.filled.notify_one();
    }
}

/// One thread puts for as long as it is told, the calling one takes; answers how many events came
/// through.
///
/// # Errors
/// Events are missing: a defect.
pub fn through(time: Duration) -> Result<u64, BenchError> {
    let queue = Queue::default();
    thread::scope(|scope| {
        let source = scope.spawn(|| produce(&queue, time));
        let (mut taken, mut bytes) = (0, 0);
        let mut events = Vec::with_capacity(TRANSACTION);
        loop {
            queue.take(&mut events);
            if events.is_empty() {
                break;
            }
            taken += events.len() as u64;
            bytes += events.iter().map(|event| event.body.len()).sum::<usize>();
            events.clear();
        }
        let put = source.join().map_err(|_| BenchError::Wrong {
            what: "put events",
            why: "the source panicked".to_owned(),
        })?;
        if put != taken || bytes as u64 != taken * BODY as u64 {
            return Err(BenchError::Wrong {
                what: "take what was put",
                why: format!("{taken} events of {put} came through"),
            });
        }
        Ok(taken)
    })
}

fn produce(queue: &Queue, time: Duration) -> u64 {
    let body = super::body();
    let deadline = Instant::now() + time;
    let mut transaction = Vec::with_capacity(TRANSACTION);
    let mut put = 0;
    while Instant::now() < deadline {
        for _ in 0..TRANSACTION {
            let headers = HEADERS.iter().map(|(key, value)| {
                // What a source does that has read both from a wire.
                ((*key).to_owned(), (*value).to_owned())
            });
            transaction.push(Event {
                headers: headers.collect(),
                body: body.to_vec(),
            });
        }
        put += transaction
            .iter()
            .filter(|event| event.headers.len() == 2)
            .count() as u64;
        queue.put(&mut transaction);
    }
    queue.end();
    put
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_put_comes_through() {
        let events = through(Duration::from_millis(20)).unwrap();
        assert!(events >= 100 && events.is_multiple_of(100));
    }
}
