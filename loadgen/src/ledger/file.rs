//! What the ledger knows about one file of the store.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{CopySet, span};
use crate::observe::Batch;

/// One file (or partition, or table).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct File {
    /// Where it was seen last.
    pub(super) path: String,
    /// It was there and is not there now.
    pub(super) gone: bool,
    /// It is closed under its final name.
    pub(super) published: bool,
    /// All that was read from it, by producer.
    pub(super) held: BTreeMap<u16, CopySet>,
    /// What was read since it was last reported published, with intended instants.
    pub(super) fresh: Vec<Batch>,
    /// What had been published before the file was withdrawn.
    pub(super) withdrawn: BTreeMap<u16, CopySet>,
    /// Events stored after a later one of the same producer, first copies only.
    pub(super) reordered: u64,
    /// Behind the highest sequence number among the first copies, by producer.
    next: BTreeMap<u16, u64>,
}

impl File {
    /// Takes in what was read.
    pub(super) fn hold(&mut self, batch: &Batch, range: Range<u64>) {
        let count = range.end - range.start;
        self.held.entry(batch.producer).or_default().add(range);
        let batch = Batch {
            count: count as u32,
            ..*batch
        };
        if batch.count > 0 {
            self.fresh.push(batch);
        }
    }

    /// Counts what of a range of first copies stands behind a later event.
    pub(super) fn note_order(&mut self, producer: u16, first_copies: &Range<u64>) {
        let next = self.next.entry(producer).or_default();
        // The highest event itself is not in the range: it had its first copy before.
        self.reordered += first_copies
            .end
            .min(*next)
            .saturating_sub(first_copies.start);
        *next = first_copies.end.max(*next);
    }

    /// The copies that are published by this file: what it holds, but for the fresh part.
    pub(super) fn shown(&self) -> BTreeMap<u16, CopySet> {
        if !self.published {
            return BTreeMap::new();
        }
        let mut shown = self.held.clone();
        for batch in &self.fresh {
            shown
                .entry(batch.producer)
                .or_default()
                .subtract(span(batch));
        }
        shown
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let copies = self.held.values().chain(self.withdrawn.values());
        size_of::<File>()
            + self.path.capacity()
            + self.fresh.capacity() * size_of::<Batch>()
            + copies
                .map(|copies| size_of::<CopySet>() + 8 + copies.heap_bytes())
                .sum::<usize>()
            + self.next.len() * 16
    }
}
