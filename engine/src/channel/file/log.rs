//! The log: places in it, records on their way into it, and the one writer that appends them.
//!
//! The layout is specified in the module documentation of [`super`]. The invariants kept here:
//!
//! - epochs have no gaps, and a segment's header is durable before any record of that epoch is
//!   written; so no epoch is ever used twice, whatever a power cut leaves;
//! - a segment is begun only when every record before it is durable;
//! - all bytes that one sync covers are in one segment.

use std::sync::Arc;

use super::error::{FileError, WriteError};
use super::record::{Kind, RecordHeader, SEGMENT_HEADER, SegmentHeader};
use super::segments::{Files, RESERVE, Segment};
use crate::defect::{self, Defect};
use crate::event::Batch;

/// Bytes that are put into one write at most, unless a single record is longer. Enough that the
/// flush dominates, small enough that the buffer may stay allocated.
const STAGING: usize = 4 << 20;
/// What is read again is read in pieces of this many bytes.
const READ: usize = 1 << 20;

/// A place in the log: where a record is, or the next one will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Cursor {
    /// Segment, by epoch; 0 before the first one.
    pub(super) epoch: u64,
    /// Byte in the segment's file.
    pub(super) offset: u64,
    /// Sequence of the record at this place.
    pub(super) sequence: u64,
    /// Number of the first event put at or after this place.
    pub(super) event: u64,
}

impl Cursor {
    /// The start of a log without segments.
    pub(super) const START: Cursor = Cursor {
        epoch: 0,
        offset: SEGMENT_HEADER,
        sequence: 1,
        event: 0,
    };
}

/// A part of a payload.
#[derive(Debug, Clone)]
pub(super) enum Part {
    Bytes(Vec<u8>),
    Batch(Batch),
}

impl Part {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Part::Bytes(bytes) => bytes,
            Part::Batch(batch) => batch.as_bytes(),
        }
    }
}

/// A record before it has its place in the log. Its payload is not copied until it is written.
#[derive(Debug)]
pub(super) struct Draft {
    kind: Kind,
    events: u32,
    parts: Vec<Part>,
    length: u32,
    crc: u32,
}

impl Draft {
    /// A record of `events` events; `None` if the payload is longer than `limit`.
    pub(super) fn new(
        kind: Kind,
        events: u32,
        parts: Vec<Part>,
        limit: u64,
    ) -> Result<Self, FileError> {
        let bytes: u64 = parts.iter().map(|part| part.bytes().len() as u64).sum();
        if bytes > limit {
            return Err(FileError::TooLong { bytes, limit });
        }
        // Outside all locks: this is the larger half of what a commit costs the processor.
        let crc = parts
            .iter()
            .fold(0, |crc, part| crc32c::crc32c_append(crc, part.bytes()));
        Ok(Self {
            kind,
            events,
            parts,
            length: bytes as u32,
            crc,
        })
    }

    fn span(&self) -> u64 {
        RecordHeader::span(u64::from(self.length))
    }
}

/// Appends records. There is one per log; whoever holds it writes.
#[derive(Debug)]
pub(super) struct Writer {
    files: Arc<Files>,
    current: Option<Arc<Segment>>,
    /// Where the next record goes.
    end: Cursor,
    /// Highest sequence that a sync has covered.
    durable: u64,
    /// Nothing may be appended to the current segment any more: behind its end lie bytes that
    /// could pass for records.
    sealed: bool,
    staging: Vec<u8>,
}

impl Writer {
    /// A writer that goes on at `end`, all before which is durable.
    pub(super) fn new(files: Arc<Files>, end: Cursor, sealed: bool) -> Self {
        let current = files.segment(end.epoch);
        Self {
            files,
            current,
            end,
            durable: end.sequence - 1,
            sealed,
            staging: Vec::new(),
        }
    }

    /// Where the next record goes.
    pub(super) fn end(&self) -> Cursor {
        self.end
    }

    /// Whether written records wait for a sync.
    pub(super) fn is_dirty(&self) -> bool {
        self.durable + 1 < self.end.sequence
    }

    /// Whether more than half of the current segment is used, so that a free one should be ready.
    pub(super) fn wants_spare(&self) -> bool {
        self.sealed
            || self
                .current
                .as_ref()
                .is_none_or(|segment| self.end.offset > segment.header.size / 2)
    }

    /// Writes as many of `drafts` as one write takes, from the first on and at least one. Answers
    /// where each of them is. They are not durable before [`Writer::sync`].
    pub(super) fn write(&mut self, drafts: &[&Draft]) -> Result<Vec<Cursor>, WriteError> {
        let Some(first) = drafts.first() else {
            return Ok(Vec::new());
        };
        let room = |writer: &Self| match &writer.current {
            Some(segment) if !writer.sealed => {
                segment.header.size.saturating_sub(writer.end.offset)
            }
            _ => 0,
        };
        if room(self) < first.span() {
            let puts = drafts.iter().any(|draft| draft.kind == Kind::Put);
            self.roll(first.span(), if puts { RESERVE } else { 0 })?;
        }
        let Some(segment) = self.current.clone() else {
            return Ok(Vec::new());
        };
        let room = room(self);
        let mut staging = std::mem::take(&mut self.staging);
        staging.clear();
        let mut at = self.end;
        let mut places = Vec::new();
        for draft in drafts {
            let end = staging.len() as u64 + draft.span();
            if end > room || (!places.is_empty() && end > STAGING as u64) {
                break;
            }
            places.push(at);
            self.encode(draft, at, &mut staging);
            at.sequence += 1;
            at.offset = self.end.offset + staging.len() as u64;
            if draft.kind == Kind::Put {
                at.event += u64::from(draft.events);
            }
        }
        let written = if Defect::FileCommitBuffered.is_planted() {
            defect::write_late(&segment.file, &staging, self.end.offset)
        } else {
            segment.file.write_at(&staging, self.end.offset)
        };
        if staging.capacity() > 2 * STAGING {
            staging = Vec::new();
        }
        self.staging = staging;
        if let Err(error) = written {
            self.void(FileError::io("write", &segment.path)(error))?;
        }
        self.end = at;
        Ok(places)
    }

    fn encode(&self, draft: &Draft, at: Cursor, out: &mut Vec<u8>) {
        let header = RecordHeader {
            kind: draft.kind,
            length: draft.length,
            sequence: at.sequence,
            durable: self.durable,
            first_event: if draft.kind == Kind::Put { at.event } else { 0 },
            events: draft.events,
        };
        header.encode(at.epoch, draft.crc, self.files.mutant, out);
        for part in &draft.parts {
            out.extend_from_slice(part.bytes());
        }
        out.resize(out.len().next_multiple_of(super::record::ALIGN as usize), 0);
    }

    /// After a failed write: some records may be there in full, yet their callers are told that
    /// they are not. So the segment ends here, durably, by beginning the next one.
    fn void(&mut self, error: FileError) -> Result<(), WriteError> {
        match self.roll(0, 0) {
            Ok(()) => Err(WriteError::Refused(error)),
            Err(_) => Err(WriteError::Fatal(error)),
        }
    }

    /// Makes all that was written durable.
    pub(super) fn sync(&mut self) -> Result<(), WriteError> {
        if !self.is_dirty() {
            return Ok(());
        }
        if let Some(segment) = &self.current
            && !self.files.mutant.skips_sync()
        {
            segment
                .file
                .sync_data()
                .map_err(FileError::io("sync", &segment.path))
                .map_err(WriteError::Fatal)?;
        }
        self.durable = self.end.sequence - 1;
        Ok(())
    }

    /// Begins a new segment that has room for a record of `span` bytes, leaving `keep` free ones.
    fn roll(&mut self, span: u64, keep: usize) -> Result<(), WriteError> {
        if Defect::FileCommitBuffered.is_planted() {
            defect::write_now()
                .map_err(FileError::io("write", &self.files.dir))
                .map_err(WriteError::Fatal)?;
        }
        self.sync()?;
        let spare = self
            .files
            .take_spare(SEGMENT_HEADER + span, keep)
            .map_err(WriteError::Refused)?;
        let header = SegmentHeader {
            epoch: self.end.epoch + 1,
            base_sequence: self.end.sequence,
            base_event: self.end.event,
            size: spare.size,
        };
        spare
            .file
            .write_at(&header.encode(), 0)
            .map_err(FileError::io("begin", &spare.path))
            .map_err(WriteError::Fatal)?;
        if !self.files.mutant.skips_sync() {
            spare
                .file
                .sync_data()
                .map_err(FileError::io("sync", &spare.path))
                .map_err(WriteError::Fatal)?;
        }
        let segment = Arc::new(Segment {
            file: spare.file,
            path: spare.path,
            header,
        });
        self.files.add(Arc::clone(&segment));
        self.current = Some(segment);
        self.end = Cursor {
            epoch: header.epoch,
            offset: SEGMENT_HEADER,
            ..self.end
        };
        self.sealed = false;
        Ok(())
    }

    /// Writes the bytes from `from` to the end once more and syncs them. They may be the work of
    /// a process whose last sync failed, after which a page cache calls them clean although the
    /// disk never got them; only a fresh write makes a sync mean something again.
    pub(super) fn rewrite_tail(&mut self, from: u64) -> Result<(), FileError> {
        let Some(segment) = self.current.clone() else {
            return Ok(());
        };
        let io = |attempted| FileError::io(attempted, &segment.path);
        segment
            .file
            .write_at(&segment.header.encode(), 0)
            .map_err(io("rewrite"))?;
        let mut at = from;
        let mut piece = Vec::new();
        while at < self.end.offset {
            piece.resize(READ.min((self.end.offset - at) as usize), 0);
            let count = segment.file.read_at(&mut piece, at).map_err(io("read"))?;
            if count < piece.len() {
                return Err(FileError::corrupt(
                    &segment.path,
                    at + count as u64,
                    "the file became shorter",
                ));
            }
            segment.file.write_at(&piece, at).map_err(io("rewrite"))?;
            at += count as u64;
        }
        segment.file.sync_data().map_err(io("sync"))
    }
}
