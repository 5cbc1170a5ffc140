//! The account of a run: journal first, ledger second, and what is read from them.
//!
//! [`Account`] is the run's [`Observer`]. Each report goes into the journal, then into the ledger,
//! under one lock, so the journal's order is the ledger's. [`replay`] goes through a journal in the
//! same way and with the same code, and calls a [`Visitor`] for every sample; a ledger rebuilt
//! from the journal equals the live one.

mod attempts;
mod pending;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::idset::IdSet;
use crate::journal::{Frame, Header, JournalError, Reader, Tail, Writer};
use crate::ledger::{IdRange, Ledger, Owing, Totals};
use crate::observe::{Answered, Batch, FileChange, FileId, Micros, Observer, Odd, Read, Sent};
use attempts::Attempts;
use pending::Pending;

/// Journal and ledger of a running run. Share it as `Arc<Account>`.
#[derive(Debug)]
pub struct Account {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    writer: Writer,
    ledger: Ledger,
    pending: BTreeMap<u16, Pending>,
    producers: u16,
    /// Events in attempts without an answer yet.
    unanswered: u64,
    last_stored: Option<Micros>,
}

/// Figures for the progress line and the drain, as of one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Live {
    /// Everything that is counted.
    pub totals: Totals,
    /// Owed and not stored: lost so far, or on its way.
    pub owed_not_stored: u64,
    /// Intended instant of the oldest event that is owed and not stored.
    pub oldest_not_stored: Option<Micros>,
    /// When something was stored last.
    pub last_stored: Option<Micros>,
    /// Events in attempts that have no answer yet; 0 where the source gives none.
    pub unanswered: u64,
    /// Whether the probe's event is stored; `None` before it is sent.
    pub probe_stored: Option<bool>,
}

impl Account {
    /// Begins the account of a run in a journal that must not exist yet.
    pub fn create(journal: &Path, header: &Header) -> Result<Account, JournalError> {
        let inner = Inner {
            writer: Writer::create(journal, header)?,
            ledger: Ledger::new(header.owing, header.producers),
            pending: BTreeMap::new(),
            producers: header.producers,
            unanswered: 0,
            last_stored: None,
        };
        Ok(Account {
            inner: Mutex::new(inner),
        })
    }

    /// What the schedule holds for a producer, in events; before the load starts.
    pub fn planned(&self, producer: u16, count: u64) -> io::Result<()> {
        let mut inner = self.lock();
        inner.writer.planned(producer, count)?;
        inner.ledger.planned(producer, count);
        Ok(())
    }

    /// Writes what the journal has gathered. Call it at least every 100 ms.
    pub fn flush(&self) -> io::Result<()> {
        self.lock().writer.flush()
    }

    /// Closes the journal. Later reports are errors.
    pub fn finish(&self) -> io::Result<()> {
        self.lock().writer.finish()
    }

    /// The totals as of now.
    pub fn totals(&self) -> Totals {
        self.lock().ledger.totals()
    }

    /// The figures of the progress line as of now.
    pub fn live(&self) -> Live {
        let mut inner = self.lock();
        let Inner {
            ledger, pending, ..
        } = &mut *inner;
        let oldest = pending
            .iter_mut()
            .filter_map(|(id, batches)| batches.oldest(*id, ledger));
        Live {
            oldest_not_stored: oldest.min(),
            totals: inner.ledger.totals(),
            owed_not_stored: inner.ledger.owed_not_stored(),
            last_stored: inner.last_stored,
            unanswered: inner.unanswered,
            probe_stored: inner.ledger.probe_stored(),
        }
    }

    /// How many events that were intended before `instant` are owed and not stored.
    pub fn missing_before(&self, instant: Micros) -> u64 {
        let inner = self.lock();
        let missing = inner.pending.iter().map(|(id, batches)| {
            let range = batches.before(instant);
            inner.ledger.missing_within(*id, &range)
        });
        missing.sum()
    }

    /// Looks at the ledger. Nothing is recorded meanwhile, so be brief.
    pub fn with_ledger<T>(&self, look: impl FnOnce(&Ledger) -> T) -> T {
        look(&self.lock().ledger)
    }

    /// A report that panicked half-way has left whole sets behind; the record goes on.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Account {
    fn sent(&self, sent: &Sent) -> io::Result<()> {
        let mut inner = self.lock();
        inner.writer.sent(sent)?;
        inner.ledger.sent(sent);
        if inner.ledger.owing() == Owing::Acked {
            inner.unanswered += u64::from(sent.batch.count);
        }
        if sent.attempt == 0 && sent.batch.producer < inner.producers {
            inner
                .pending
                .entry(sent.batch.producer)
                .or_default()
                .push(&sent.batch);
        }
        Ok(())
    }

    fn answered(&self, answered: &Answered) -> io::Result<()> {
        let mut inner = self.lock();
        inner.writer.answered(answered)?;
        inner.ledger.answered(answered);
        inner.unanswered = inner.unanswered.saturating_sub(answered.batch.count.into());
        Ok(())
    }

    fn read(&self, read: &Read) -> io::Result<()> {
        let mut inner = self.lock();
        inner.writer.read(read)?;
        let mut is_new = false;
        inner.ledger.read(read, |_| is_new = true);
        if is_new {
            inner.last_stored = inner.last_stored.max(Some(read.at));
        }
        Ok(())
    }

    fn file(&self, file: FileId, at: Micros, change: &FileChange) -> io::Result<()> {
        let mut inner = self.lock();
        inner.writer.file(file, at, change)?;
        inner.ledger.file(file, change, |_| {});
        Ok(())
    }

    fn looked(&self, from: Micros, to: Micros) -> io::Result<()> {
        self.lock().writer.looked(from, to)
    }

    fn blind(&self, from: Micros, to: Micros, why: &str) -> io::Result<()> {
        self.lock().writer.blind(from, to, why)
    }
}

/// First copies of a range of events in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// The events; all have the same intended instant.
    pub batch: Batch,
    /// The file.
    pub file: FileId,
    /// Completion of the last look without them: they were stored after this, …
    pub previous: Micros,
    /// … and no later than this.
    pub at: Micros,
}

/// A range of events that a normal reader gets from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// The events; all have the same intended instant.
    pub batch: Batch,
    /// The file.
    pub file: FileId,
    /// First look that showed it.
    pub at: Micros,
}

/// Sees what a journal holds, in its order. Every method does nothing unless it is written.
///
/// The events of the probe are shown too; their producer is [`Header::producers`].
pub trait Visitor {
    /// An attempt. Slip is `released − intended`; it belongs to attempt 0.
    fn sent(&mut self, sent: &Sent) {
        let _ = sent;
    }

    /// An answer. `ack_response` is `at − intended`; `ack_service` is `at − first_byte`, which is
    /// `None` if the journal does not hold the attempt.
    fn answered(&mut self, answered: &Answered, first_byte: Option<Micros>) {
        let _ = (answered, first_byte);
    }

    /// First copies in the store, only of events that were issued.
    fn stored(&mut self, stored: &Stored) {
        let _ = stored;
    }

    /// Events published for the first time. One that is withdrawn and published again is not shown
    /// twice.
    fn published(&mut self, published: &Published) {
        let _ = published;
    }

    /// All that a read returned, copies included, after its `stored` calls.
    fn read(&mut self, read: &Read) {
        let _ = read;
    }

    /// A record that is not simply one right token of this run.
    fn odd(&mut self, file: FileId, at: Micros, odd: &Odd) {
        let _ = (file, at, odd);
    }

    /// A file has changed.
    fn file(&mut self, file: FileId, at: Micros, change: &FileChange) {
        let _ = (file, at, change);
    }

    /// A pass over the store has ended.
    fn looked(&mut self, from: Micros, to: Micros) {
        let _ = (from, to);
    }

    /// The store could not be read.
    fn blind(&mut self, from: Micros, to: Micros, why: &str) {
        let _ = (from, to, why);
    }
}

/// Sees nothing: for those who want the ledger only.
impl Visitor for () {}

/// What a journal amounts to.
#[derive(Debug, Clone)]
pub struct Replayed {
    /// What the journal is about.
    pub header: Header,
    /// The ledger after its last frame.
    pub ledger: Ledger,
    /// How the journal ends.
    pub tail: Tail,
}

/// Goes through a journal once, in a stream, and rebuilds the ledger from it alone.
pub fn replay(journal: &Path, visitor: &mut impl Visitor) -> Result<Replayed, JournalError> {
    let mut reader = Reader::open(journal)?;
    let header = *reader.header();
    let mut ledger = Ledger::new(header.owing, header.producers);
    let mut attempts = Attempts::new(header.owing);
    for frame in &mut reader {
        apply(&frame?, &mut ledger, &mut attempts, visitor);
    }
    let tail = reader.tail().unwrap_or(Tail::Torn { at: 0 });
    Ok(Replayed {
        header,
        ledger,
        tail,
    })
}

fn apply(frame: &Frame, ledger: &mut Ledger, attempts: &mut Attempts, visitor: &mut impl Visitor) {
    match frame {
        Frame::Planned { producer, count } => ledger.planned(*producer, *count),
        Frame::Sent(sent) => {
            ledger.sent(sent);
            attempts.sent(sent);
            visitor.sent(sent);
        }
        Frame::Answered(answered) => {
            ledger.answered(answered);
            visitor.answered(answered, attempts.answered(answered));
        }
        Frame::Read(read) => {
            let Read {
                file, at, previous, ..
            } = *read;
            ledger.read(read, |batch| {
                visitor.stored(&Stored {
                    batch,
                    file,
                    previous,
                    at,
                })
            });
            visitor.read(read);
            read.odd.iter().for_each(|odd| visitor.odd(file, at, odd));
        }
        Frame::File { file, at, change } => {
            let (file, at) = (*file, *at);
            ledger.file(file, change, |batch| {
                visitor.published(&Published { batch, file, at })
            });
            visitor.file(file, at, change);
        }
        Frame::Looked { from, to } => visitor.looked(*from, *to),
        Frame::Blind { from, to, why } => visitor.blind(*from, *to, why),
    }
}

impl Ledger {
    /// The ledger that a journal amounts to, and how the journal ends.
    pub fn from_journal(journal: &Path) -> Result<(Ledger, Tail), JournalError> {
        replay(journal, &mut ()).map(|replayed| (replayed.ledger, replayed.tail))
    }
}

/// Finds when events were to be sent: the parts of the batches in the journal that are in `ranges`,
/// in the order of their first attempts. Goes through the journal once.
pub fn locate(journal: &Path, ranges: &[IdRange]) -> Result<Vec<Batch>, JournalError> {
    let mut wanted = BTreeMap::<u16, IdSet>::new();
    for range in ranges {
        let end = range.first.saturating_add(range.count);
        wanted
            .entry(range.producer)
            .or_default()
            .insert_range(range.first..end);
    }
    let mut found = Vec::new();
    for frame in Reader::open(journal)? {
        let Frame::Sent(Sent {
            batch, attempt: 0, ..
        }) = frame?
        else {
            continue;
        };
        let Some(wanted) = wanted.get_mut(&batch.producer) else {
            continue;
        };
        let split = wanted.remove_range(batch.first..batch.first + u64::from(batch.count));
        found.extend(split.changed.into_iter().map(|piece| Batch {
            first: piece.start,
            count: (piece.end - piece.start) as u32,
            ..batch
        }));
    }
    Ok(found)
}
