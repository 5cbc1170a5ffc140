//! Batches of one producer from the oldest that is not stored: for the progress line.

use std::collections::VecDeque;
use std::ops::Range;

use crate::ledger::Ledger;
use crate::observe::{Batch, Micros};

/// With this many batches, neighbours are joined in pairs: then the oldest instant is known a
/// little less exactly (too old by one batch), but memory stays bounded even when nothing is stored.
const MAX: usize = 1 << 16;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// First sequence number and intended instant, ascending. Each reaches up to the next.
    batches: VecDeque<(u64, Micros)>,
    end: u64,
}

impl Pending {
    pub(super) fn push(&mut self, batch: &Batch) {
        if self.batches.len() >= MAX {
            let mut odd = false;
            self.batches.retain(|_| {
                odd = !odd;
                odd
            });
        }
        self.batches.push_back((batch.first, batch.intended));
        self.end = batch.first + u64::from(batch.count);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.batches.len()
    }

    /// The events known here that were intended before `instant`, as sequence numbers.
    pub(super) fn before(&self, instant: Micros) -> Range<u64> {
        let first = self.batches.front().map_or(self.end, |(first, _)| *first);
        let younger = self
            .batches
            .partition_point(|(_, intended)| *intended < instant);
        first
            ..self
                .batches
                .get(younger)
                .map_or(self.end, |(first, _)| *first)
    }

    /// The intended instant of the first event that is owed and not stored.
    pub(super) fn oldest(&mut self, producer: u16, ledger: &Ledger) -> Option<Micros> {
        let stored_to = ledger.stored_to(producer, self.batches.front()?.0);
        while !self.batches.is_empty() {
            let end = self.batches.get(1).map_or(self.end, |(first, _)| *first);
            if end > stored_to {
                break;
            }
            self.batches.pop_front();
        }
        let missing = ledger.first_missing(producer, self.batches.front()?.0)?;
        let next = self.batches.partition_point(|(first, _)| *first <= missing);
        self.batches
            .get(next.checked_sub(1)?)
            .map(|(_, intended)| *intended)
    }
}
