//! The thread of one connection: takes what is due, tries it until it is settled, reports.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::observe::{Answer, Answered, Batch, Micros, Sent};

use super::pace::Shared;
use super::{GeneratorError, Link, Load, Part, Patience};

/// The pause after the first failed attempt, and the longest.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// How long a wait may last before the abort is looked at.
const SLICE: Duration = Duration::from_millis(20);

/// A batch that has been released.
#[derive(Debug, Clone, Copy)]
pub(super) struct Due {
    /// Its number in the schedule.
    pub(super) number: u64,
    pub(super) released: Micros,
}

/// One connection and what it needs.
pub(super) struct Worker {
    link: Box<dyn Link>,
    answers: bool,
    load: Load,
    shared: Arc<Shared>,
    /// Kept for its memory: what became of the events of the current attempt.
    parts: Vec<Part>,
}

impl Worker {
    pub(super) fn new(
        link: Box<dyn Link>,
        answers: bool,
        load: Load,
        shared: Arc<Shared>,
    ) -> Worker {
        Worker {
            link,
            answers,
            load,
            shared,
            parts: Vec::new(),
        }
    }

    /// Works until the queue is closed and empty, or the load is aborted.
    pub(super) fn run(mut self, queue: &Receiver<Due>) -> Result<(), GeneratorError> {
        while !self.stopped() {
            let due = match queue.recv_timeout(SLICE) {
                Ok(due) => due,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if self.stopped() {
                break;
            }
            let Some(batch) = self.load.schedule.batch(due.number) else {
                continue;
            };
            if let Err(error) = self.deliver(batch, due.released) {
                // The other connections must not go on with a run that can no longer be judged.
                self.shared.stop.store(true, Ordering::Relaxed);
                return Err(error);
            }
            self.shared.done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Tries a batch until all of it is acked, `retry_for` has passed, or the load is aborted.
    /// Answers the worst, over its events, of the best answer that each has got.
    pub(super) fn deliver(
        &mut self,
        batch: Batch,
        released: Micros,
    ) -> Result<Answer, GeneratorError> {
        let first = self.load.clock.raw();
        let mut pause = BACK_OFF.0;
        let mut todo = vec![(batch, Answer::Refused)];
        for attempt in 0.. {
            let mut again = Vec::new();
            for (part, best) in todo {
                self.attempt(part, best, attempt, released, &mut again)?;
            }
            todo = again;
            if todo.is_empty() {
                return Ok(Answer::Acked);
            }
            self.link.close();
            let spent = self.load.clock.raw().saturating_duration_since(first);
            let left = self.load.retry_for.saturating_sub(spent);
            // The last attempt is made when the time is up, however long the pause was to be.
            if left.is_zero() || !self.rest(pause.min(left)) {
                break;
            }
            pause = (pause * 2).min(BACK_OFF.1);
        }
        Ok(todo
            .iter()
            .map(|(_, best)| *best)
            .min()
            .unwrap_or(Answer::Acked))
    }

    /// One attempt on neighbouring events; what has to be tried again goes to the end of `again`.
    fn attempt(
        &mut self,
        batch: Batch,
        best: Answer,
        attempt: u32,
        released: Micros,
        again: &mut Vec<(Batch, Answer)>,
    ) -> Result<(), GeneratorError> {
        let began = self.load.clock.now();
        let deadline = self.load.clock.raw() + self.load.call_timeout;
        let (clock, shared) = (self.load.clock.clone(), self.shared.clone());
        let patience = Patience {
            clock: &clock,
            deadline,
            stop: &shared.stop,
        };
        self.parts.clear();
        let sent = |first_byte| Sent {
            batch,
            attempt,
            released,
            first_byte,
        };
        if self.link.open(&patience).is_ok() {
            self.link.build(&batch, &self.load.bodies)?;
            let before = self.link.position().map_or(0, |(_, written)| written);
            self.sent(&sent(clock.now()))?;
            self.link.exchange(&patience, &mut self.parts)?;
            self.exonerate(before);
        } else {
            self.sent(&sent(began))?;
            self.parts.push(Part {
                count: batch.count,
                answer: Answer::Refused,
                at: clock.now(),
            });
        }
        self.report(batch, best, attempt, again)
    }

    /// Turns unknown into refused where not one byte of the attempt can have arrived: none was
    /// written, or the proxy passed nothing on beyond what was written `before`.
    fn exonerate(&mut self, before: u64) {
        if self.parts.iter().any(|part| part.answer == Answer::Acked)
            || self.parts.iter().all(|part| part.answer == Answer::Refused)
        {
            return;
        }
        let Some((local, written)) = self.link.position() else {
            return;
        };
        let none = written <= before
            || self
                .load
                .forwarded
                .forwarded(local)
                .is_some_and(|passed| passed <= before);
        if none {
            for part in &mut self.parts {
                part.answer = Answer::Refused;
            }
        }
    }

    /// Reports the parts of an attempt.
    fn report(
        &self,
        batch: Batch,
        best: Answer,
        attempt: u32,
        again: &mut Vec<(Batch, Answer)>,
    ) -> Result<(), GeneratorError> {
        let mut rest = batch;
        for part in &self.parts {
            let count = part.count.min(rest.count);
            if count == 0 {
                continue;
            }
            let piece = Batch { count, ..rest };
            rest.first += u64::from(count);
            rest.count -= count;
            if self.answers {
                let answered = Answered {
                    batch: piece,
                    attempt,
                    answer: part.answer,
                    at: part.at,
                };
                self.load
                    .observer
                    .answered(&answered)
                    .map_err(GeneratorError::Observer)?;
            }
            if part.answer != Answer::Acked {
                again.push((piece, best.max(part.answer)));
            }
        }
        Ok(())
    }

    fn sent(&self, sent: &Sent) -> Result<(), GeneratorError> {
        self.load
            .observer
            .sent(sent)
            .map_err(GeneratorError::Observer)
    }

    /// Waits between attempts; false if the load was aborted meanwhile.
    fn rest(&self, pause: Duration) -> bool {
        let until = self.load.clock.raw() + pause;
        loop {
            if self.stopped() {
                return false;
            }
            let left = until.saturating_duration_since(self.load.clock.raw());
            if left.is_zero() {
                return true;
            }
            thread::sleep(left.min(SLICE));
        }
    }

    fn stopped(&self) -> bool {
        self.shared.stop.load(Ordering::Relaxed)
    }
}
