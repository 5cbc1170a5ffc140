//! Attempts that wait for their answer, so that an answer finds its first byte.

use std::collections::{BTreeMap, HashMap};

use crate::ledger::Owing;
use crate::observe::{Answered, Micros, Sent};

/// The open attempts of a run. An answer may be for a part of an attempt (a source that answers
/// line by line), so an attempt is kept until all of its events are answered.
#[derive(Debug)]
pub(super) struct Attempts {
    answers: bool,
    open: HashMap<(u16, u32), BTreeMap<u64, Attempt>>,
}

#[derive(Debug)]
struct Attempt {
    end: u64,
    unanswered: u64,
    first_byte: Micros,
}

impl Attempts {
    pub(super) fn new(owing: Owing) -> Attempts {
        // Where no answers come nothing needs to wait for them.
        Attempts {
            answers: owing == Owing::Acked,
            open: HashMap::new(),
        }
    }

    pub(super) fn sent(&mut self, sent: &Sent) {
        if !self.answers {
            return;
        }
        let count = u64::from(sent.batch.count);
        let end = sent.batch.first.saturating_add(count);
        let attempt = Attempt {
            end,
            unanswered: count,
            first_byte: sent.first_byte,
        };
        let open = self
            .open
            .entry((sent.batch.producer, sent.attempt))
            .or_default();
        open.insert(sent.batch.first, attempt);
    }

    /// The first byte of the attempt that is answered.
    pub(super) fn answered(&mut self, answered: &Answered) -> Option<Micros> {
        let batch = answered.batch;
        let open = self.open.get_mut(&(batch.producer, answered.attempt))?;
        let (first, attempt) = open.range_mut(..=batch.first).next_back()?;
        let (first, first_byte) = (*first, attempt.first_byte);
        let count = u64::from(batch.count);
        if batch.first.saturating_add(count) > attempt.end {
            return None;
        }
        attempt.unanswered = attempt.unanswered.saturating_sub(count);
        if attempt.unanswered == 0 {
            open.remove(&first);
        }
        Some(first_byte)
    }
}
