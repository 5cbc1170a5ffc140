//! What is derived from the ledger: totals, and the ranges behind them.

use std::ops::Range;

use serde::Serialize;

use super::{Ledger, Owing, Producer, Rule};
use crate::idset::IdSet;
use crate::observe::FileId;

/// A run of consecutive events of one producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct IdRange {
    /// The producer.
    pub producer: u16,
    /// Sequence number of the first.
    pub first: u64,
    /// How many.
    pub count: u64,
}

/// A range of events, and a file that holds them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct InFile {
    /// The file's number.
    pub file: FileId,
    /// Where it was seen last.
    pub path: String,
    /// The events.
    pub range: IdRange,
}

/// The totals of a ledger, in events unless said otherwise. Each is defined by the table at the
/// head of [`ledger`](crate::ledger).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// What the schedule held; 0 if it was not reported.
    pub planned: u64,
    /// Planned and never tried.
    pub unsent: u64,
    /// Tried.
    pub issued: u64,
    /// Tried more than once.
    pub resent: u64,
    /// Attempts beyond the first of each event.
    pub resends: u64,
    /// Answered yes; `None` where the source gives no answers.
    pub acked: Option<u64>,
    /// Every attempt answered no; `None` where the source gives no answers.
    pub refused: Option<u64>,
    /// Neither; `None` where the source gives no answers.
    pub unknown: Option<u64>,
    /// What the system has to deliver.
    pub owed: u64,
    /// Issued events that are in the store.
    pub stored: u64,
    /// Issued events that a normal reader gets.
    pub published: u64,
    /// Owed and not stored.
    pub lost: u64,
    /// Stored although refused or unknown; `None` where the source gives no answers.
    pub recovered: Option<u64>,
    /// Stored and not published.
    pub unpublished: u64,
    /// Ids stored more than once which the generator sent once.
    pub duplicated: u64,
    /// Their copies beyond the first.
    pub extra_copies: u64,
    /// Ids stored more than once which the generator itself sent more than once.
    pub duplicated_resent: u64,
    /// Their copies beyond the first.
    pub extra_copies_resent: u64,
    /// Stored and never issued.
    pub unexpected: u64,
    /// Stored after a later event of the same producer in the same file.
    pub reordered: u64,
    /// Records with a wrong checksum, of either kind.
    pub corrupted: u64,
    /// Records with a wrong checksum of the identity.
    pub corrupt_identity: u64,
    /// Records with a wrong checksum or length of the payload.
    pub corrupt_payload: u64,
    /// Records that are merged or split.
    pub malformed: u64,
    /// Records with more than one token.
    pub merged: u64,
    /// Records with no token or a part of one, in files the run owns.
    pub split: u64,
    /// Records with a token of another run.
    pub foreign: u64,
    /// Unterminated last records of files whose writer died.
    pub torn: u64,
}

impl Ledger {
    /// The totals as of now. Costs time in proportion to the chunks of the sets, not to the events.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        let answers = self.owing == Owing::Acked;
        let (mut acked, mut refused, mut recovered) = (0, 0, 0);
        for producer in self.counted() {
            let stored = producer.stored.ids();
            let (issued, stored_issued) = (&producer.issued, stored.common(&producer.issued));
            totals.planned += producer.planned;
            totals.unsent += producer.planned.saturating_sub(issued.len());
            totals.issued += issued.len();
            totals.resent += producer.resent.len();
            totals.resends += producer.resends;
            totals.stored += stored_issued;
            totals.published += producer.published.ids().common(issued);
            let mut not_refused = producer.open.ids().clone();
            not_refused.union_with(&producer.acked);
            acked += producer.acked.len();
            refused += issued.len() - issued.common(&not_refused);
            recovered += stored_issued.saturating_sub(stored.common(&producer.acked));
            self.add_owed(producer, &mut totals);
            self.add_duplicates(producer, &mut totals);
        }
        if answers {
            totals.acked = Some(acked);
            totals.refused = Some(refused);
            totals.unknown = Some((totals.issued - refused).saturating_sub(acked));
            totals.recovered = Some(recovered);
        }
        totals.unpublished = totals.stored.saturating_sub(totals.published);
        for producer in self.producers.values() {
            let stored = producer.stored.ids();
            totals.unexpected += stored.len() - stored.common(&producer.issued);
        }
        totals.reordered = self
            .files
            .values()
            .filter(|file| !file.gone)
            .map(|file| file.reordered)
            .sum();
        totals.corrupt_identity = self.odd.corrupt_identity;
        totals.corrupt_payload = self.odd.corrupt_payload;
        totals.corrupted = self.odd.corrupt_identity + self.odd.corrupt_payload;
        totals.merged = self.odd.merged;
        totals.split = self.odd.split;
        totals.malformed = self.odd.merged + self.odd.split;
        totals.foreign = self.odd.foreign;
        totals.torn = self.odd.torn;
        totals
    }

    fn add_owed(&self, producer: &Producer, totals: &mut Totals) {
        let (owed, stored) = (self.owed_of(producer), producer.stored.ids());
        let mut count = owed.len();
        let mut lost = count - owed.common(stored);
        if !self.holds(Rule::RetryKeepsTheObligation) {
            count += producer.resends;
            lost += producer.resends;
        }
        if !self.holds(Rule::DuplicatesNeverNet) {
            lost = lost.saturating_sub(producer.stored.extra_within(&producer.issued));
        }
        totals.owed += count;
        totals.lost += lost;
    }

    fn add_duplicates(&self, producer: &Producer, totals: &mut Totals) {
        let twice = producer.stored.more_than(1);
        if twice.is_empty() {
            return;
        }
        let nothing = IdSet::new();
        let apart = if self.holds(Rule::ResentCopiesCountApart) {
            &producer.resent
        } else {
            &nothing
        };
        let (ids, copies) = (
            twice.common(&producer.issued),
            producer.stored.extra_within(&producer.issued),
        );
        let (ids_apart, copies_apart) = (twice.common(apart), producer.stored.extra_within(apart));
        totals.duplicated += ids - ids_apart;
        totals.extra_copies += copies - copies_apart;
        totals.duplicated_resent += ids_apart;
        totals.extra_copies_resent += copies_apart;
    }

    /// The lost events, ascending by producer and sequence number.
    pub fn lost(&self) -> Vec<IdRange> {
        let lost = self.with_number().flat_map(|(number, producer)| {
            let ranges = self.owed_of(producer).difference(producer.stored.ids());
            ranges
                .map(move |range| id_range(number, range))
                .collect::<Vec<_>>()
        });
        lost.collect()
    }

    /// The stored events that were never issued.
    pub fn unexpected(&self) -> Vec<IdRange> {
        let unexpected = self.producers.iter().flat_map(|(number, producer)| {
            let ranges = producer.stored.ids().difference(&producer.issued);
            ranges.map(|range| id_range(*number, range))
        });
        unexpected.collect()
    }

    /// The ids of which a copy with a corrupt payload was seen.
    pub fn corrupted(&self) -> Vec<IdRange> {
        let corrupted = self.producers.iter().flat_map(|(number, producer)| {
            producer
                .corrupted
                .ranges()
                .map(|range| id_range(*number, range))
        });
        corrupted.collect()
    }

    /// Stored events that no file publishes, with every file that holds them.
    pub fn unpublished_by_file(&self) -> Vec<InFile> {
        self.by_file(|producer, held| {
            let left: IdSet = held.difference(producer.published.ids()).collect();
            left.intersection(&producer.issued).collect()
        })
    }

    /// Events with more than one copy, with every file that holds one. `resent` chooses between
    /// those that the generator sent more than once and those that it did not.
    pub fn duplicates_by_file(&self, resent: bool) -> Vec<InFile> {
        self.by_file(|producer, held| {
            let twice: IdSet = held.intersection(producer.stored.more_than(1)).collect();
            let twice: IdSet = twice.intersection(&producer.issued).collect();
            if resent {
                twice.intersection(&producer.resent).collect()
            } else {
                twice.difference(&producer.resent).collect()
            }
        })
    }

    /// Files with reordered events, and how many there are in each.
    pub fn reordered_by_file(&self) -> Vec<(FileId, String, u64)> {
        let files = self
            .files
            .iter()
            .filter(|(_, file)| !file.gone && file.reordered > 0);
        files
            .map(|(id, file)| (*id, file.path.clone(), file.reordered))
            .collect()
    }

    /// Where a file was seen last.
    pub fn path(&self, file: FileId) -> Option<&str> {
        self.files.get(&file).map(|file| file.path.as_str())
    }

    /// Whether the first event of the probe is stored; `None` if there was no probe.
    pub fn probe_stored(&self) -> Option<bool> {
        let probe = self.producers.get(&self.probe)?;
        let first = probe.issued.ranges().next()?.start;
        Some(probe.stored.contains(first))
    }

    /// How many owed events are not stored yet.
    pub fn owed_not_stored(&self) -> u64 {
        let left = |producer| {
            let owed = self.owed_of(producer);
            owed.len() - owed.common(producer.stored.ids())
        };
        self.counted().map(left).sum()
    }

    /// The first event of a producer, at or behind `from`, that is not stored.
    pub(crate) fn stored_to(&self, producer: u16, from: u64) -> u64 {
        let account = self.producers.get(&producer);
        account.map_or(from, |account| account.stored.ids().first_gap(from))
    }

    /// The first event of a producer that is owed and not stored, at or behind `from`.
    pub(crate) fn first_missing(&self, producer: u16, from: u64) -> Option<u64> {
        let account = self
            .producers
            .get(&producer)
            .filter(|_| producer != self.probe)?;
        let (owed, stored) = (self.owed_of(account), account.stored.ids());
        // Almost always the gap is the missing event; where events are stored that are not owed
        // yet, or owed beyond a gap that is not, the search goes on from there.
        let mut at = from;
        loop {
            let gap = stored.first_gap(at);
            if owed.contains(gap) {
                return Some(gap);
            }
            let next = owed.first_from(gap)?;
            if !stored.contains(next) {
                return Some(next);
            }
            at = next;
        }
    }

    /// How many events of a producer within `range` are owed and not stored.
    pub(crate) fn missing_within(&self, producer: u16, range: &Range<u64>) -> u64 {
        let account = self.producers.get(&producer);
        let Some(account) = account.filter(|_| producer != self.probe) else {
            return 0;
        };
        let mut missing = 0;
        self.owed_of(account).parts_within(range, |part| {
            missing += part.end - part.start;
            let stored = account.stored.ids();
            stored.parts_within(&part, |part| missing -= part.end - part.start);
        });
        missing
    }

    fn by_file(&self, of: impl Fn(&Producer, &IdSet) -> Vec<Range<u64>>) -> Vec<InFile> {
        let mut found = Vec::new();
        for (id, file) in self.files.iter().filter(|(_, file)| !file.gone) {
            for (number, held) in file
                .held
                .iter()
                .filter(|(number, _)| **number != self.probe)
            {
                let Some(producer) = self.producers.get(number) else {
                    continue;
                };
                found.extend(of(producer, held.ids()).into_iter().map(|range| InFile {
                    file: *id,
                    path: file.path.clone(),
                    range: id_range(*number, range),
                }));
            }
        }
        found
    }

    fn owed_of<'a>(&self, producer: &'a Producer) -> &'a IdSet {
        match self.owing {
            Owing::Acked => &producer.acked,
            Owing::Issued => &producer.issued,
        }
    }

    fn with_number(&self) -> impl Iterator<Item = (u16, &Producer)> {
        let probe = self.probe;
        self.producers
            .iter()
            .map(|(id, of)| (*id, of))
            .filter(move |(id, _)| *id != probe)
    }

    /// The producers that enter the totals.
    fn counted(&self) -> impl Iterator<Item = &Producer> {
        self.with_number().map(|(_, producer)| producer)
    }
}

fn id_range(producer: u16, range: Range<u64>) -> IdRange {
    IdRange {
        producer,
        first: range.start,
        count: range.end - range.start,
    }
}
