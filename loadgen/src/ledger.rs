//! The ledger: what became of every event. THE definition of loss; checkers and reports quote it.
//!
//! | class | meaning | here |
//! |---|---|---|
//! | planned | what the schedule held | reported before the load |
//! | unsent | was due and never tried, because the load ended or was aborted | planned − issued |
//! | issued | the generator tried to send it; a retry is the same event | set |
//! | resent | tried more than once | set |
//! | acked | at least one attempt was answered with yes | set |
//! | refused | *every* attempt was answered with no, or never left the proxy | issued − acked − open |
//! | unknown | not acked, and some attempt was never answered | (issued ∩ open) − acked |
//! | owed | acked; all that is issued where the source gives no answers | set |
//! | stored | read from the store with right checksums, in a file that is still there | set |
//! | published | stored in a file that is closed under its final name | set |
//! | **lost** | owed − stored | set |
//! | recovered | stored although refused or unknown | (stored ∩ issued) − acked |
//! | unpublished | stored − published | set |
//! | duplicated | ids with more than one copy; *extra copies* = copies − 1, summed | copies |
//! | duplicated, resent | the same for ids that the generator itself sent twice: counted apart | copies |
//! | unexpected | right token of this run, right checksums, never issued | stored − issued |
//! | reordered | stored after a later event of the same producer, in one file, first copies of issued events only | count |
//! | corrupted | a record with a wrong checksum: of the identity, or of the payload | count |
//! | malformed | a record with several tokens, or with none or a part of one in the run's own file | count |
//! | foreign | a right token of another run; held against nobody | count |
//! | torn | the unterminated last record of a file whose writer died; neither stored nor corrupted | count |
//!
//! *Open* are attempts not answered with a no. Rules, each of which has a mutant in the tests:
//!
//! - The best answer counts: acked over unknown over refused, in whatever order they come, and
//!   however late. Answers and arrivals commute.
//! - A retry creates no new obligation.
//! - Duplicates never net against losses: sets are subtracted, not numbers.
//! - A record with a wrong checksum is stored by nobody; its original stays owed. So do the
//!   originals in a merged record.
//! - Content is published when the file that holds it is reported published; what is read later
//!   from the same file waits for the next such report. A file that is withdrawn takes its content
//!   back, unless another published file holds it too.
//! - An id is there if a copy of it is there *now*. A file that vanishes takes its copies with it:
//!   an agent that deletes its own output has lost it, and one that rewrites it elsewhere has not
//!   duplicated it. If the file is seen again, so are its copies. Renaming changes nothing. What was
//!   wrong with its records (corrupted, malformed, …) was seen, and stays counted.
//! - Ids of the probe, whose producer is the one after the load's, enter no total but `unexpected`.

mod copies;
mod file;
mod report;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Range;

pub use copies::CopySet;
pub use report::{IdRange, InFile, Totals};

use crate::idset::IdSet;
use crate::observe::{Answer, Answered, Batch, FileChange, FileId, OddKind, Read, Sent};
use file::File;

/// What is owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Owing {
    /// What the source has acknowledged.
    Acked,
    /// Everything issued, because the source gives no answers.
    Issued,
}

/// The account of every event of a run. See the module's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    owing: Owing,
    probe: u16,
    producers: BTreeMap<u16, Producer>,
    files: BTreeMap<FileId, File>,
    odd: OddCounts,
    broken: Option<Rule>,
}

/// What is known about one producer's events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Producer {
    planned: u64,
    issued: IdSet,
    resent: IdSet,
    /// Attempts beyond the first of each event.
    resends: u64,
    acked: IdSet,
    /// Attempts that were not answered with a no.
    open: CopySet,
    /// Copies in files that are there.
    stored: CopySet,
    /// Copies in files that are there, closed, under their final name.
    published: CopySet,
    /// Ids of which a copy with a corrupt payload was seen.
    corrupted: IdSet,
}

/// Records that are not simply one right token of this run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct OddCounts {
    corrupt_identity: u64,
    corrupt_payload: u64,
    merged: u64,
    split: u64,
    foreign: u64,
    torn: u64,
}

/// The decisive rules. Outside this crate's tests all of them hold; a test can break one, to show
/// that the checks would notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Broken: an extra copy makes up for a missing event.
    DuplicatesNeverNet,
    /// Broken: an answer that comes after the event was stored or sent again is dropped.
    LateAnswersCount,
    /// Broken: a no to one attempt takes back the yes to another.
    AckOutranksRefusal,
    /// Broken: a record with a corrupt payload is stored.
    CorruptedIsNotStored,
    /// Broken: every attempt is owed on its own.
    RetryKeepsTheObligation,
    /// Broken: what is read is published at once.
    OnlyClosedIsPublished,
    /// Broken: copies of what the generator sent twice are the system's duplicates.
    ResentCopiesCountApart,
    /// Broken: the last id of every range is forgotten.
    RangesAreWhole,
}

impl Ledger {
    /// An empty ledger for a load of `producers` producers, numbered from 0; the number after them
    /// is the probe's.
    pub fn new(owing: Owing, producers: u16) -> Ledger {
        Ledger {
            owing,
            probe: producers,
            producers: BTreeMap::new(),
            files: BTreeMap::new(),
            odd: OddCounts::default(),
            broken: None,
        }
    }

    /// The same with one rule broken.
    #[cfg(test)]
    fn breaking(self, rule: Rule) -> Ledger {
        Ledger {
            broken: Some(rule),
            ..self
        }
    }

    fn holds(&self, rule: Rule) -> bool {
        !cfg!(test) || self.broken != Some(rule)
    }

    /// What is owed.
    pub fn owing(&self) -> Owing {
        self.owing
    }

    /// The schedule holds this many events for a producer.
    pub fn planned(&mut self, producer: u16, count: u64) {
        self.producers.entry(producer).or_default().planned += count;
    }

    /// An attempt is being made.
    pub fn sent(&mut self, sent: &Sent) {
        let range = self.range(&sent.batch);
        let producer = self.producers.entry(sent.batch.producer).or_default();
        let split = producer.issued.insert_range(range.clone());
        for again in split.unchanged {
            producer.resends += again.end - again.start;
            producer.resent.insert_range(again);
        }
        producer.open.add(range);
    }

    /// An attempt has been answered.
    pub fn answered(&mut self, answered: &Answered) {
        let range = self.range(&answered.batch);
        let (keep_late, keep_ack) = (
            self.holds(Rule::LateAnswersCount),
            self.holds(Rule::AckOutranksRefusal),
        );
        let producer = self.producers.entry(answered.batch.producer).or_default();
        let is_late = producer.stored.contains(range.start)
            || (answered.attempt == 0 && producer.resent.contains(range.start));
        if is_late && !keep_late {
            return;
        }
        match answered.answer {
            Answer::Acked => {
                producer.acked.insert_range(range);
            }
            Answer::Refused => {
                if !keep_ack {
                    producer.acked.remove_range(range.clone());
                }
                producer.open.subtract(range);
            }
            // It stays open, as it was.
            Answer::Unknown => {}
        }
    }

    /// A read has returned records. `first` is called with each part of them that is a first copy
    /// of events that were issued.
    pub fn read(&mut self, read: &Read, mut first: impl FnMut(Batch)) {
        self.bring_back(read.file);
        let at_once = !self.holds(Rule::OnlyClosedIsPublished);
        for batch in &read.found {
            let range = self.range(batch);
            let file = self.files.entry(read.file).or_default();
            let producer = self.producers.entry(batch.producer).or_default();
            let added = producer.stored.add(range.clone());
            file.hold(batch, range.clone());
            for piece in added {
                // An event that was never issued has no place in the order of those that were.
                producer.issued.parts_within(&piece, |piece| {
                    file.note_order(batch.producer, &piece);
                    first(part(batch, &piece));
                });
            }
            if at_once {
                producer.published.add(range);
            }
        }
        for odd in &read.odd {
            self.odd(odd.kind);
        }
    }

    fn odd(&mut self, kind: OddKind) {
        let odd = &mut self.odd;
        match kind {
            OddKind::CorruptIdentity => odd.corrupt_identity += 1,
            OddKind::Merged => odd.merged += 1,
            OddKind::Split => odd.split += 1,
            OddKind::Foreign => odd.foreign += 1,
            OddKind::Torn => odd.torn += 1,
            OddKind::CorruptPayload(producer, sequence) => {
                odd.corrupt_payload += 1;
                let is_stored = !self.holds(Rule::CorruptedIsNotStored);
                let producer = self.producers.entry(producer).or_default();
                producer.corrupted.insert_range(sequence..sequence + 1);
                if is_stored {
                    producer.stored.add(sequence..sequence + 1);
                }
            }
        }
    }

    /// Something has changed about a file. `published` is called with each part of what is thereby
    /// published for the first time.
    pub fn file(&mut self, id: FileId, change: &FileChange, mut published: impl FnMut(Batch)) {
        if *change != FileChange::Vanished {
            self.bring_back(id);
        }
        let file = self.files.entry(id).or_default();
        match change {
            FileChange::Appeared { path } | FileChange::Renamed { path } => {
                file.path.clone_from(path);
            }
            FileChange::Published => {
                for (producer, quiet) in std::mem::take(&mut file.withdrawn) {
                    let all = &mut self.producers.entry(producer).or_default().published;
                    quiet.each_copy(|range| {
                        all.add(range);
                    });
                }
                file.published = true;
                for batch in std::mem::take(&mut file.fresh) {
                    let producer = self.producers.entry(batch.producer).or_default();
                    for piece in producer.published.add(span(&batch)) {
                        let issued = &producer.issued;
                        issued.parts_within(&piece, |piece| published(part(&batch, &piece)));
                    }
                }
            }
            FileChange::Withdrawn if file.published => {
                let shown = file.shown();
                file.published = false;
                for (producer, copies) in &shown {
                    let all = &mut self.producers.entry(*producer).or_default().published;
                    copies.each_copy(|range| {
                        all.subtract(range);
                    });
                }
                file.withdrawn = shown;
            }
            FileChange::Withdrawn => {}
            FileChange::Vanished => self.take_away(id),
        }
    }

    /// A file is gone: its copies are no longer there.
    fn take_away(&mut self, id: FileId) {
        let Some(file) = self.files.get_mut(&id).filter(|file| !file.gone) else {
            return;
        };
        file.gone = true;
        for (producer, copies) in &file.held {
            let stored = &mut self.producers.entry(*producer).or_default().stored;
            copies.each_copy(|range| {
                stored.subtract(range);
            });
        }
        for (producer, copies) in file.shown() {
            let published = &mut self.producers.entry(producer).or_default().published;
            copies.each_copy(|range| {
                published.subtract(range);
            });
        }
    }

    /// A file that was gone is there again.
    fn bring_back(&mut self, id: FileId) {
        let Some(file) = self.files.get_mut(&id).filter(|file| file.gone) else {
            return;
        };
        file.gone = false;
        for (producer, copies) in &file.held {
            let stored = &mut self.producers.entry(*producer).or_default().stored;
            copies.each_copy(|range| {
                stored.add(range);
            });
        }
        for (producer, copies) in file.shown() {
            let published = &mut self.producers.entry(producer).or_default().published;
            copies.each_copy(|range| {
                published.add(range);
            });
        }
    }

    /// Bytes on the heap, the maps' own nodes estimated.
    pub fn heap_bytes(&self) -> usize {
        let producers = self.producers.values().map(|producer| {
            let sets = [
                &producer.issued,
                &producer.resent,
                &producer.acked,
                &producer.corrupted,
            ];
            let copies = [&producer.open, &producer.stored, &producer.published];
            size_of::<Producer>()
                + sets.iter().map(|set| set.heap_bytes()).sum::<usize>()
                + copies.iter().map(|set| set.heap_bytes()).sum::<usize>()
        });
        producers.sum::<usize>() + self.files.values().map(File::heap_bytes).sum::<usize>()
    }

    /// The ids of a batch.
    fn range(&self, batch: &Batch) -> Range<u64> {
        let mut range = span(batch);
        if !self.holds(Rule::RangesAreWhole) {
            range.end -= 1;
        }
        range
    }
}

/// The ids of a batch. A sequence number has 48 bits, so nothing overflows.
fn span(batch: &Batch) -> Range<u64> {
    batch.first..batch.first.saturating_add(u64::from(batch.count))
}

/// The part of a batch that a range of its ids is.
fn part(batch: &Batch, piece: &Range<u64>) -> Batch {
    Batch {
        first: piece.start,
        count: (piece.end - piece.start) as u32,
        ..*batch
    }
}
