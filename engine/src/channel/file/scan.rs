//! Reading the log: record after record, over the ends of segments.

use std::sync::Arc;

use super::error::FileError;
use super::log::Cursor;
use super::payload;
use super::record::{ALIGN, Kind, RECORD_HEADER, RECORD_MAGIC, RecordHeader, SEGMENT_HEADER};
use super::segments::{Files, Segment};
use crate::event::Batch;

/// Bytes read at a time.
const CHUNK: usize = 1 << 20;

/// A record that was found, with its payload where it was asked for.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) at: Cursor,
    pub(super) header: RecordHeader,
    pub(super) payload: &'a [u8],
}

/// What lies behind a place at which no valid record is.
#[derive(Debug, Default)]
pub(super) struct Beyond {
    /// Whether any valid record of this use of the segment lies there.
    pub(super) any: bool,
    /// The highest sequence that such a record knew durable.
    pub(super) durable: u64,
}

/// Reads records in order from a cursor on.
#[derive(Debug)]
pub(super) struct Scanner<'a> {
    files: &'a Files,
    segment: Option<Arc<Segment>>,
    at: Cursor,
    buffer: Vec<u8>,
    /// Offset in the file of the buffer's first byte.
    buffer_at: u64,
    /// Bytes of the buffer that are filled.
    filled: usize,
    /// Whether payloads are read and checked.
    payloads: bool,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(files: &'a Files, at: Cursor) -> Self {
        let segment = files.segment(at.epoch);
        Self {
            files,
            segment,
            at,
            buffer: Vec::new(),
            buffer_at: 0,
            filled: 0,
            payloads: true,
        }
    }

    /// A scanner that looks at headers only, and so passes over long payloads quickly.
    pub(super) fn headers(files: &'a Files, at: Cursor) -> Self {
        Self {
            payloads: false,
            ..Self::new(files, at)
        }
    }

    /// Where the next record is expected.
    pub(super) fn at(&self) -> Cursor {
        self.at
    }

    /// The next record; `None` where the last segment has no valid one at this place.
    ///
    /// # Errors
    /// [`FileError::Corrupt`] if there is none although a later segment shows there was.
    pub(super) fn next(&mut self) -> Result<Option<Found<'_>>, FileError> {
        // A segment ends where the next one says it begins, whatever bytes follow there.
        let mut following = self.files.segment(self.at.epoch + 1);
        while let Some(segment) =
            following.take_if(|next| next.header.base_sequence == self.at.sequence)
        {
            self.at = Cursor {
                epoch: segment.header.epoch,
                offset: SEGMENT_HEADER,
                ..self.at
            };
            self.segment = Some(segment);
            self.filled = 0;
            following = self.files.segment(self.at.epoch + 1);
        }
        let Some(segment) = self.segment.clone() else {
            return Ok(None);
        };
        let at = self.at;
        let Some(header) = self.valid_record(&segment)? else {
            return match following {
                Some(next) => Err(FileError::corrupt(
                    &segment.path,
                    at.offset,
                    format!(
                        "record {} is damaged, but was durable when {} began with record {}",
                        at.sequence,
                        next.path.display(),
                        next.header.base_sequence
                    ),
                )),
                None => Ok(None),
            };
        };
        let length = if self.payloads {
            header.length as usize
        } else {
            0
        };
        let start = (at.offset - self.buffer_at) as usize + RECORD_HEADER;
        self.at.offset += RecordHeader::span(u64::from(header.length));
        self.at.sequence += 1;
        if header.kind == Kind::Put {
            if header.first_event != at.event {
                let what = format!(
                    "the record's first event is {}, expected {}",
                    header.first_event, at.event
                );
                return Err(FileError::corrupt(&segment.path, at.offset, what));
            }
            self.at.event += u64::from(header.events);
        }
        Ok(Some(Found {
            at,
            header,
            payload: &self.buffer[start..start + length],
        }))
    }

    /// The header of the record at the cursor, if that is valid and the one expected.
    fn valid_record(&mut self, segment: &Segment) -> Result<Option<RecordHeader>, FileError> {
        let (offset, mutant) = (self.at.offset, self.files.mutant);
        if !self.fill(segment, RECORD_HEADER)? {
            return Ok(None);
        }
        let start = (offset - self.buffer_at) as usize;
        let Some(header) =
            RecordHeader::decode(&self.buffer[start..self.filled], self.at.epoch, mutant)
        else {
            return Ok(None);
        };
        if header.sequence != self.at.sequence
            || offset + RecordHeader::span(u64::from(header.length)) > segment.header.size
        {
            return Ok(None);
        }
        if !self.payloads {
            return Ok(Some(header));
        }
        let whole = RECORD_HEADER + header.length as usize;
        if !self.fill(segment, whole)? {
            return Ok(None);
        }
        let start = (offset - self.buffer_at) as usize;
        let (head, payload) = self.buffer[start..start + whole].split_at(RECORD_HEADER);
        Ok(RecordHeader::is_valid(head, payload, self.at.epoch, mutant).then_some(header))
    }

    /// Makes `count` bytes from the cursor on available; `false` if the file ends before.
    fn fill(&mut self, segment: &Segment, count: usize) -> Result<bool, FileError> {
        let offset = self.at.offset;
        let end = self.buffer_at + self.filled as u64;
        if self.filled > 0 && offset >= self.buffer_at && offset + count as u64 <= end {
            return Ok(true);
        }
        if offset + count as u64 > segment.header.size {
            return Ok(false);
        }
        // What is left of the last read moves to the front; the rest is read behind it.
        let kept = if self.filled > 0 && offset >= self.buffer_at && offset < end {
            let start = (offset - self.buffer_at) as usize;
            self.buffer.copy_within(start..self.filled, 0);
            self.filled - start
        } else {
            0
        };
        // Headers alone are far apart: reading ahead would read the payloads after all.
        let ahead = if self.payloads { CHUNK } else { 0 };
        let wanted = count
            .max(ahead)
            .min((segment.header.size - offset) as usize);
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        }
        let read = segment
            .file
            .read_at(
                &mut self.buffer[kept..wanted.max(kept)],
                offset + kept as u64,
            )
            .map_err(FileError::io("read", &segment.path))?;
        self.buffer_at = offset;
        self.filled = kept + read;
        Ok(self.filled >= count)
    }

    /// Searches the rest of the last segment for valid records, after [`Scanner::next`] found
    /// none at the cursor.
    pub(super) fn beyond(&self) -> Result<Beyond, FileError> {
        let mut beyond = Beyond::default();
        let Some(segment) = &self.segment else {
            return Ok(beyond);
        };
        let finder = memchr::memmem::Finder::new(&RECORD_MAGIC);
        let mut piece = Vec::new();
        let mut at = self.at.offset;
        while at < segment.header.size {
            piece.resize(CHUNK.min((segment.header.size - at) as usize), 0);
            let count = segment
                .file
                .read_at(&mut piece, at)
                .map_err(FileError::io("read", &segment.path))?;
            for hit in finder.find_iter(&piece[..count]) {
                let offset = at + hit as u64;
                if offset.is_multiple_of(ALIGN)
                    && let Some(header) = self.record_at(segment, offset)?
                {
                    beyond.any = true;
                    beyond.durable = beyond.durable.max(header.durable);
                }
            }
            if count < piece.len() {
                break;
            }
            // Records begin at multiples of 8 and so do pieces: no magic lies across two.
            at += count as u64;
        }
        Ok(beyond)
    }

    /// The header of a valid record at `offset`, whatever its sequence.
    fn record_at(&self, segment: &Segment, offset: u64) -> Result<Option<RecordHeader>, FileError> {
        let (epoch, mutant) = (segment.header.epoch, self.files.mutant);
        let mut head = [0; RECORD_HEADER];
        let count = segment
            .file
            .read_at(&mut head, offset)
            .map_err(FileError::io("read", &segment.path))?;
        let Some(header) = RecordHeader::decode(&head[..count], epoch, mutant) else {
            return Ok(None);
        };
        let length = u64::from(header.length);
        if offset + RecordHeader::span(length) > segment.header.size {
            return Ok(None);
        }
        let mut payload = vec![0; header.length as usize];
        let count = segment
            .file
            .read_at(&mut payload, offset + RECORD_HEADER as u64)
            .map_err(FileError::io("read", &segment.path))?;
        let valid =
            count == payload.len() && RecordHeader::is_valid(&head, &payload, epoch, mutant);
        Ok(valid.then_some(header))
    }
}

/// Puts read back from a part of the log.
#[derive(Debug)]
pub(super) struct Piece {
    /// Where each is, its number of events, and its batches.
    pub(super) puts: Vec<(Cursor, u32, Vec<Batch>)>,
    /// Where to go on.
    pub(super) next: Cursor,
    /// Why it cannot go on there.
    pub(super) error: Option<FileError>,
}

/// Reads the puts from `from` on, until about `bytes` bytes are read or `end` is reached.
pub(super) fn read_puts(files: &Files, from: Cursor, end: Cursor, bytes: u64) -> Piece {
    let mut piece = Piece {
        puts: Vec::new(),
        next: from,
        error: None,
    };
    let mut scanner = Scanner::new(files, from);
    let mut read = 0;
    while read < bytes && piece.next.sequence < end.sequence && piece.error.is_none() {
        match read_put(&mut scanner, files) {
            Ok((length, put)) => {
                read += length;
                piece.puts.extend(put);
                piece.next = scanner.at();
            }
            Err(error) => piece.error = Some(error),
        }
    }
    piece
}

/// Reads one record that is known to be there; answers its length, and what it put.
#[expect(
    clippy::type_complexity,
    reason = "the triple of `Piece`, for one record"
)]
fn read_put(
    scanner: &mut Scanner<'_>,
    files: &Files,
) -> Result<(u64, Option<(Cursor, u32, Vec<Batch>)>), FileError> {
    let at = scanner.at();
    let Some(found) = scanner.next()? else {
        let what = format!("record {} is damaged, which was whole once", at.sequence);
        return Err(FileError::corrupt(&files.path(at), at.offset, what));
    };
    let length = found.payload.len() as u64;
    if found.header.kind != Kind::Put {
        return Ok((length, None));
    }
    let batches = payload::put_batches(found.payload, found.header.events)
        .map_err(|what| FileError::corrupt(&files.path(found.at), found.at.offset, what))?;
    Ok((length, Some((found.at, found.header.events, batches))))
}
