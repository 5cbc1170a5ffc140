//! The journal: everything the observer saw, on disk before it is in memory.
//!
//! The journal alone rebuilds the ledger and every latency sample ([`account`](crate::account)), so
//! a stored run can be judged again.
//!
//! # Layout
//!
//! ```text
//! file     = "fbjournl" ‖ header frame ‖ frame* ‖ end frame
//! frame    = length u32 ‖ crc u32 ‖ kind u8 ‖ body            (little-endian; length is body's)
//! crc      = CRC32C of the frame's offset in the file (u64, little-endian) ‖ kind ‖ body
//!
//! varint   = LEB128, 7 bits a byte, lowest first, at most 10 bytes
//! signed   = varint of (n << 1) ^ (n >> 63)
//! text     = length varint ‖ bytes
//! batch    = producer varint ‖ first varint ‖ count varint ‖ intended signed
//!
//! kind  body
//!  1 header    version varint (1) ‖ run u64 ‖ seed u64 ‖ owing (0 acked, 1 issued) u8
//!              ‖ producers varint ‖ batch size varint
//!  2 planned   producer varint ‖ count varint
//!  3 sent      batch ‖ attempt varint ‖ released signed ‖ first byte signed
//!  4 answered  batch ‖ attempt varint ‖ answer (0 refused, 1 unknown, 2 acked) u8 ‖ at signed
//!  5 read      file varint ‖ at signed ‖ previous signed ‖ offset varint
//!              ‖ count varint ‖ batch* ‖ count varint ‖ odd*
//!    odd       kind u8 (0 corrupt identity, 1 corrupt payload ‖ producer varint ‖ sequence varint,
//!              2 merged, 3 split, 4 foreign, 5 torn) ‖ offset varint ‖ after varint ‖ excerpt text
//!  6 file      file varint ‖ at signed ‖ change (0 appeared ‖ path text, 1 renamed ‖ path text,
//!              2 published, 3 withdrawn, 4 vanished) u8
//!  7 looked    from signed ‖ to signed
//!  8 blind     from signed ‖ to signed ‖ why text
//!  9 end       empty: the run has closed the journal
//! ```
//!
//! Instants are microseconds since t0. A body is at most 64 MiB.
//!
//! # Writing
//!
//! Append-only. Frames are gathered in memory and written when 64 KiB are there, or with the first
//! frame that comes 50 ms after the last write, and when asked; the run asks at least every 100 ms.
//! What a killed run loses is therefore a short tail. After a failed write nothing is written any
//! more: every later call fails too, and the run ends.
//!
//! # Reading
//!
//! The offset is part of the checksum, so a frame is valid in its own place only. A journal that
//! does not end in the end frame is *torn*: whoever reads it gets all whole frames before the tear
//! and its place, and the run is inconclusive. A bad frame with a valid one behind it is no tear
//! but corruption, and an error; so is anything behind the end frame.

mod code;
pub(crate) mod fuzzing;
mod reader;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use reader::Reader;

use crate::ledger::Owing;
use crate::observe::{Answered, FileChange, FileId, Micros, Read, Sent};
use code::{put_batch, put_odd, put_signed, put_text, put_varint};

/// What every journal begins with.
pub const MAGIC: &[u8; 8] = b"fbjournl";
/// The version of the layout.
pub const VERSION: u64 = 1;
/// The largest body of a frame, in bytes.
pub const MAX_BODY: usize = 64 << 20;

/// Length, checksum and kind.
const HEAD: usize = 9;
const FLUSH_BYTES: usize = 64 << 10;
const FLUSH_AFTER: Duration = Duration::from_millis(50);

/// Kinds of frames, as numbered in the layout.
mod kind {
    pub(super) const HEADER: u8 = 1;
    pub(super) const PLANNED: u8 = 2;
    pub(super) const SENT: u8 = 3;
    pub(super) const ANSWERED: u8 = 4;
    pub(super) const READ: u8 = 5;
    pub(super) const FILE: u8 = 6;
    pub(super) const LOOKED: u8 = 7;
    pub(super) const BLIND: u8 = 8;
    pub(super) const END: u8 = 9;
}

/// What a journal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The run id in the tokens.
    pub run: u64,
    /// The seed of payload and schedule.
    pub seed: u64,
    /// What is owed.
    pub owing: Owing,
    /// Producers of the load; the number after theirs is the probe's.
    pub producers: u16,
    /// Events per batch of the schedule.
    pub batch: u32,
}

/// One thing that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// What the schedule holds for a producer, in events.
    Planned {
        /// The producer.
        producer: u16,
        /// Events.
        count: u64,
    },
    /// An attempt.
    Sent(Sent),
    /// An answer.
    Answered(Answered),
    /// Records in the store.
    Read(Read),
    /// A file has changed.
    File {
        /// The file.
        file: FileId,
        /// When that was seen.
        at: Micros,
        /// What has changed.
        change: FileChange,
    },
    /// A pass over the store has ended.
    Looked {
        /// From when.
        from: Micros,
        /// To when.
        to: Micros,
    },
    /// The store could not be read.
    Blind {
        /// From when.
        from: Micros,
        /// To when.
        to: Micros,
        /// Why.
        why: String,
    },
}

/// How a journal ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// With the end frame.
    Clean,
    /// Without: the run was killed, or the disk was full. The run proves nothing.
    Torn {
        /// Bytes of whole frames before the tear.
        at: u64,
    },
}

/// Why a journal cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The system refused.
    #[error("failed to {what} the journal {}: {source}", path.display())]
    Io {
        /// What was attempted.
        what: &'static str,
        /// The journal.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is something else, or too short to have a header.
    #[error(
        "failed to read {}: it is not a journal, or was torn before its header was written; \
         give the journal.bin of a run", path.display()
    )]
    NotAJournal {
        /// The file.
        path: PathBuf,
    },
    /// Another version wrote it.
    #[error(
        "failed to read the journal {}: its layout is version {version}, this program reads \
         version {VERSION}; use the program that wrote it", path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u64,
    },
    /// A bad frame with valid ones behind it.
    #[error(
        "failed to read the journal {}: the frame at byte {at} is corrupt ({what}); \
         the file was changed after the run, take it from a backup", path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where the bad frame begins.
        at: u64,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// Writes a journal.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    file: File,
    buffer: Vec<u8>,
    /// Offset in the file of the buffer's first byte.
    offset: u64,
    written: Instant,
    failed: bool,
}

impl Writer {
    /// Begins a journal in a file that must not exist yet.
    pub fn create(path: &Path, header: &Header) -> Result<Writer, JournalError> {
        let failed = |source| JournalError::Io {
            what: "create",
            path: path.to_owned(),
            source,
        };
        let file = File::options()
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(failed)?;
        let mut writer = Writer {
            path: path.to_owned(),
            file,
            buffer: Vec::with_capacity(2 * FLUSH_BYTES),
            offset: 0,
            written: Instant::now(),
            failed: false,
        };
        writer.buffer.extend_from_slice(MAGIC);
        let pushed = writer.push(kind::HEADER, |out| {
            put_varint(out, VERSION);
            out.extend_from_slice(&header.run.to_le_bytes());
            out.extend_from_slice(&header.seed.to_le_bytes());
            out.push(match header.owing {
                Owing::Acked => 0,
                Owing::Issued => 1,
            });
            put_varint(out, header.producers.into());
            put_varint(out, header.batch.into());
        });
        pushed.and_then(|()| writer.flush()).map_err(failed)?;
        Ok(writer)
    }

    /// What the schedule holds for a producer, in events.
    pub fn planned(&mut self, producer: u16, count: u64) -> io::Result<()> {
        self.push(kind::PLANNED, |out| {
            put_varint(out, producer.into());
            put_varint(out, count);
        })
    }

    /// An attempt.
    pub fn sent(&mut self, sent: &Sent) -> io::Result<()> {
        self.push(kind::SENT, |out| {
            put_batch(out, &sent.batch);
            put_varint(out, sent.attempt.into());
            put_signed(out, sent.released);
            put_signed(out, sent.first_byte);
        })
    }

    /// An answer.
    pub fn answered(&mut self, answered: &Answered) -> io::Result<()> {
        self.push(kind::ANSWERED, |out| {
            put_batch(out, &answered.batch);
            put_varint(out, answered.attempt.into());
            out.push(code::answer_code(answered.answer));
            put_signed(out, answered.at);
        })
    }

    /// Records in the store.
    pub fn read(&mut self, read: &Read) -> io::Result<()> {
        self.push(kind::READ, |out| {
            put_varint(out, read.file.into());
            put_signed(out, read.at);
            put_signed(out, read.previous);
            put_varint(out, read.offset);
            put_varint(out, read.found.len() as u64);
            read.found.iter().for_each(|batch| put_batch(out, batch));
            put_varint(out, read.odd.len() as u64);
            read.odd.iter().for_each(|odd| put_odd(out, odd));
        })
    }

    /// A file has changed.
    pub fn file(&mut self, file: FileId, at: Micros, change: &FileChange) -> io::Result<()> {
        self.push(kind::FILE, |out| {
            put_varint(out, file.into());
            put_signed(out, at);
            code::put_change(out, change);
        })
    }

    /// A pass over the store has ended.
    pub fn looked(&mut self, from: Micros, to: Micros) -> io::Result<()> {
        self.push(kind::LOOKED, |out| {
            put_signed(out, from);
            put_signed(out, to);
        })
    }

    /// The store could not be read.
    pub fn blind(&mut self, from: Micros, to: Micros, why: &str) -> io::Result<()> {
        self.push(kind::BLIND, |out| {
            put_signed(out, from);
            put_signed(out, to);
            put_text(out, why.as_bytes());
        })
    }

    /// Writes what is gathered.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.failed {
            return Err(self.error(io::Error::other("an earlier write has failed")));
        }
        self.written = Instant::now();
        if let Err(error) = self.file.write_all(&self.buffer) {
            // Part of the buffer may be in the file; anything written now would be misplaced.
            self.failed = true;
            return Err(self.error(error));
        }
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Closes the journal: end frame, write, sync. Nothing may be written afterwards.
    pub fn finish(&mut self) -> io::Result<()> {
        self.push(kind::END, |_| {})?;
        self.flush()?;
        self.failed = true;
        self.file.sync_data().map_err(|error| self.error(error))
    }

    fn push(&mut self, kind: u8, body: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        if self.failed {
            return Err(self.error(io::Error::other("it is closed, or an earlier write failed")));
        }
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&[0; HEAD]);
        body(&mut self.buffer);
        let len = self.buffer.len() - start - HEAD;
        if len > MAX_BODY {
            self.buffer.truncate(start);
            return Err(self.error(io::Error::other(format!("a frame of {len} bytes"))));
        }
        self.buffer[start + HEAD - 1] = kind;
        let body = &self.buffer[start + HEAD..];
        let crc = code::crc(self.offset + start as u64, &[kind], body);
        self.buffer[start..start + 4].copy_from_slice(&(len as u32).to_le_bytes());
        self.buffer[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
        if self.buffer.len() >= FLUSH_BYTES || self.written.elapsed() >= FLUSH_AFTER {
            self.flush()?;
        }
        Ok(())
    }

    fn error(&self, source: io::Error) -> io::Error {
        let error = JournalError::Io {
            what: "write",
            path: self.path.clone(),
            source,
        };
        io::Error::other(error)
    }
}
