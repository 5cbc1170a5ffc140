//! What generators and receivers see, in the words they report it.
//!
//! A generator reports each batch it tries to send and each answer; a receiver reports what each
//! read of the store returned. One [`Observer`] takes all of it: in a run that is the account,
//! which writes the journal first and the ledger second. Reports commute: an arrival may come
//! before the answer of the batch it belongs to.

use std::io;

/// Microseconds since t0, the instant at which the load starts. Negative before t0.
pub type Micros = i64;

/// A run of consecutive events of one producer that share their intended instant.
///
/// Sequence numbers are dense per producer, from 0; all of `first..first + count` are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Batch {
    /// The producer: one per connection of the generator, and one more for the probe.
    pub producer: u16,
    /// Sequence number of the first event (below 2⁴⁸).
    pub first: u64,
    /// How many events; never 0.
    pub count: u32,
    /// When the schedule wanted it sent.
    pub intended: Micros,
}

/// One attempt to send a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// What was sent.
    pub batch: Batch,
    /// 0 for the first attempt, 1 for the first retry, …
    pub attempt: u32,
    /// When the pacing thread released the batch (the same for every attempt).
    pub released: Micros,
    /// When the first byte of this attempt was handed to the operating system.
    pub first_byte: Micros,
}

/// What the source said to one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Answer {
    /// It said no, or the proxy forwarded no byte of the attempt.
    Refused,
    /// It never answered: a time-out, a reset, an end of stream.
    Unknown,
    /// It took responsibility.
    Acked,
}

/// The answer to one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// What was sent.
    pub batch: Batch,
    /// The attempt that was answered.
    pub attempt: u32,
    /// What became of it.
    pub answer: Answer,
    /// When that was known.
    pub at: Micros,
}

/// A file of the store, as the receiver numbers it; it keeps its number when it is renamed.
/// A topic's partition or a table is a "file" too.
pub type FileId = u32;

/// What one read of one file returned, whole records only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Read {
    /// The file.
    pub file: FileId,
    /// Completion of the read that first returned these records.
    pub at: Micros,
    /// Completion of the last read of this file (or listing, if the file is new) without them.
    pub previous: Micros,
    /// Byte offset (in the decoded stream) of the first record of `found`.
    pub offset: u64,
    /// Whole records of this run, in the order of the file. Neighbours are merged into one batch
    /// while producer and intended instant are equal and sequence numbers are consecutive.
    pub found: Vec<Batch>,
    /// Records that are not simply one right token of this run.
    pub odd: Vec<Odd>,
}

/// A record that is not simply one right token of this run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Odd {
    /// What is wrong with it.
    pub kind: OddKind,
    /// Byte offset of the record in the decoded stream.
    pub offset: u64,
    /// How many of `found` stand before it in the file.
    pub after: u32,
    /// The first bytes of the record, for the report (at most 200).
    pub excerpt: Vec<u8>,
}

/// What can be wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OddKind {
    /// A token whose identity checksum is wrong. Attributed to nobody.
    CorruptIdentity,
    /// A right token of this run around which the payload's checksum is wrong: producer, sequence.
    CorruptPayload(u16, u64),
    /// A record with more than one token; whether those are also `found` is said there.
    Merged,
    /// A record without a token, or with part of one, in a file that the run owns.
    Split,
    /// A right token of another run.
    Foreign,
    /// The unterminated last record of a file whose writer has died (reported by the final scan).
    Torn,
}

/// Something that changed about a file as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileChange {
    /// Seen for the first time under this name.
    Appeared {
        /// Path in the store.
        path: String,
    },
    /// Seen under another name.
    Renamed {
        /// Its new path.
        path: String,
    },
    /// First look that shows the final name on a closed file: all it holds is published. Content
    /// found later in the same file is published when this is reported again.
    Published,
    /// It had its final name, but is open again or was never closed: a normal reader may not get it.
    Withdrawn,
    /// No longer there. What was read from it stays stored only if it was seen elsewhere;
    /// the checkers decide.
    Vanished,
}

/// Takes all that is seen. Calls come from many threads; an error means that the journal could not
/// be written, and ends the run.
pub trait Observer: Send + Sync {
    /// An attempt is about to be written to the socket; called *before* the first byte leaves.
    fn sent(&self, sent: &Sent) -> io::Result<()>;
    /// An attempt has been answered.
    fn answered(&self, answered: &Answered) -> io::Result<()>;
    /// A read has returned whole records.
    fn read(&self, read: &Read) -> io::Result<()>;
    /// A file has appeared, moved, been published, …
    fn file(&self, file: FileId, at: Micros, change: &FileChange) -> io::Result<()>;
    /// A pass over the store has ended: from here until the next one, what is there has been seen.
    fn looked(&self, from: Micros, to: Micros) -> io::Result<()>;
    /// The store could not be read between these instants.
    fn blind(&self, from: Micros, to: Micros, why: &str) -> io::Result<()>;
}
