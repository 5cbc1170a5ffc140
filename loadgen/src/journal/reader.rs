//! Reads a journal frame by frame.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use super::code::{self, Body};
use super::{HEAD, Header, JournalError, MAGIC, MAX_BODY, Tail, VERSION, kind};
use crate::journal::Frame;
use crate::ledger::Owing;
use crate::observe::{Answered, Read, Sent};

/// How far behind a bad frame a valid one is searched for, in bytes.
const SEARCH: u64 = 16 << 20;

/// Bodies up to this length, in bytes, are read into memory reserved on the word of their length.
const SMALL: usize = 64 << 10;

/// An iterator over the frames of a journal. After its last item, [`Reader::tail`] says how the
/// journal ends; after an error there are no further items.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    header: Header,
    at: u64,
    body: Vec<u8>,
    tail: Option<Tail>,
    failed: bool,
}

/// What stands at the reader's place.
enum Next {
    Frame(u8),
    /// Fewer bytes than the frame needs, or none.
    Short,
    Bad(&'static str),
}

impl Reader {
    /// Opens a journal and reads its header.
    pub fn open(path: &Path) -> Result<Reader, JournalError> {
        let io = |source| JournalError::Io {
            what: "open",
            path: path.to_owned(),
            source,
        };
        let file = BufReader::with_capacity(256 << 10, File::open(path).map_err(io)?);
        let header = Header {
            run: 0,
            seed: 0,
            owing: Owing::Acked,
            producers: 0,
            batch: 0,
        };
        let mut reader = Reader {
            path: path.to_owned(),
            file,
            header,
            at: MAGIC.len() as u64,
            body: Vec::new(),
            tail: None,
            failed: false,
        };
        let mut magic = [0; MAGIC.len()];
        let not_a_journal = || JournalError::NotAJournal {
            path: path.to_owned(),
        };
        match reader.file.read_exact(&mut magic) {
            Ok(()) if magic == *MAGIC => {}
            Ok(()) => return Err(not_a_journal()),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Err(not_a_journal()),
            Err(error) => return Err(io(error)),
        }
        let Next::Frame(kind::HEADER) = reader.advance()? else {
            return Err(not_a_journal());
        };
        let mut body = Body::new(&reader.body);
        match body.varint() {
            Some(VERSION) => {}
            Some(version) => {
                return Err(JournalError::Version {
                    path: path.to_owned(),
                    version,
                });
            }
            None => return Err(not_a_journal()),
        }
        reader.header = decode_header(&mut body).ok_or_else(not_a_journal)?;
        Ok(reader)
    }

    /// What the journal is about.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How the journal ends; `None` until the iterator has.
    pub fn tail(&self) -> Option<Tail> {
        self.tail
    }

    /// Reads the frame at the reader's place into `body` and steps behind it.
    fn advance(&mut self) -> Result<Next, JournalError> {
        let mut head = [0; HEAD];
        if self.fill(&mut head)? < HEAD {
            return Ok(Next::Short);
        }
        let len = word(&head[..4]) as usize;
        if len > MAX_BODY {
            return Ok(Next::Bad("impossible length"));
        }
        let mut body = std::mem::take(&mut self.body);
        body.clear();
        let read = if len <= SMALL {
            body.resize(len, 0);
            self.fill(&mut body)?
        } else {
            // What is really there bounds what is allocated, not what the length says.
            let read = self.file.by_ref().take(len as u64).read_to_end(&mut body);
            read.map_err(|source| self.io(source))?
        };
        self.body = body;
        if read < len {
            return Ok(Next::Short);
        }
        let crc = code::crc(self.at, &head[HEAD - 1..], &self.body);
        if crc != word(&head[4..8]) {
            return Ok(Next::Bad("wrong checksum"));
        }
        self.at += (HEAD + len) as u64;
        Ok(Next::Frame(head[HEAD - 1]))
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, JournalError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.io(error)),
            }
        }
        Ok(filled)
    }

    fn step(&mut self) -> Result<Option<Frame>, JournalError> {
        let start = self.at;
        let what = match self.advance()? {
            Next::Frame(kind::END) if self.body.is_empty() => {
                self.tail = Some(Tail::Clean);
                let mut more = [0];
                if self.fill(&mut more)? > 0 {
                    return Err(self.corrupt(self.at, "bytes behind the end"));
                }
                return Ok(None);
            }
            Next::Frame(kind) => {
                let mut body = Body::new(&self.body);
                let frame = decode(kind, &mut body).filter(|_| body.is_empty());
                return match frame {
                    Some(frame) => Ok(Some(frame)),
                    None => Err(self.corrupt(start, "right checksum, but no such content")),
                };
            }
            Next::Short => "incomplete",
            Next::Bad(what) => what,
        };
        // A tear, unless something valid stands behind it.
        if self.is_followed(start)? {
            return Err(self.corrupt(start, what));
        }
        self.tail = Some(Tail::Torn { at: start });
        Ok(None)
    }

    /// Whether a valid frame stands somewhere behind the bad one at `bad`.
    fn is_followed(&mut self, bad: u64) -> Result<bool, JournalError> {
        let mut rest = Vec::new();
        let path = &self.path;
        let io = |source| JournalError::Io {
            what: "read",
            path: path.clone(),
            source,
        };
        let mut file = File::open(path).map_err(io)?;
        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(bad + 1)).map_err(io)?;
        file.take(SEARCH).read_to_end(&mut rest).map_err(io)?;
        let is_frame = |start: usize| {
            let (Some(head), at) = (rest.get(start..start + HEAD), bad + 1 + start as u64) else {
                return false;
            };
            let end = start + HEAD + word(&head[..4]) as usize;
            (kind::HEADER..=kind::END).contains(&head[HEAD - 1])
                && end <= rest.len()
                && code::crc(at, &head[HEAD - 1..], &rest[start + HEAD..end]) == word(&head[4..8])
        };
        Ok((0..rest.len()).any(is_frame))
    }

    fn io(&self, source: std::io::Error) -> JournalError {
        JournalError::Io {
            what: "read",
            path: self.path.clone(),
            source,
        }
    }

    fn corrupt(&self, at: u64, what: &'static str) -> JournalError {
        JournalError::Corrupt {
            path: self.path.clone(),
            at,
            what,
        }
    }
}

impl Iterator for Reader {
    type Item = Result<Frame, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.tail.is_some() {
            return None;
        }
        let step = self.step();
        self.failed = step.is_err();
        step.transpose()
    }
}

fn word(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .rev()
        .fold(0, |word, byte| word << 8 | u32::from(*byte))
}

fn decode_header(body: &mut Body<'_>) -> Option<Header> {
    let (run, seed) = (body.fixed()?, body.fixed()?);
    let owing = match body.byte()? {
        0 => Owing::Acked,
        1 => Owing::Issued,
        _ => return None,
    };
    let header = Header {
        run,
        seed,
        owing,
        producers: body.number()?,
        batch: body.number()?,
    };
    body.is_empty().then_some(header)
}

fn decode(kind: u8, body: &mut Body<'_>) -> Option<Frame> {
    Some(match kind {
        kind::PLANNED => Frame::Planned {
            producer: body.number()?,
            count: body.varint()?,
        },
        kind::SENT => Frame::Sent(Sent {
            batch: body.batch()?,
            attempt: body.number()?,
            released: body.signed()?,
            first_byte: body.signed()?,
        }),
        kind::ANSWERED => Frame::Answered(Answered {
            batch: body.batch()?,
            attempt: body.number()?,
            answer: body.answer()?,
            at: body.signed()?,
        }),
        kind::READ => Frame::Read(Read {
            file: body.number()?,
            at: body.signed()?,
            previous: body.signed()?,
            offset: body.varint()?,
            found: body.list(Body::batch)?,
            odd: body.list(Body::odd)?,
        }),
        kind::FILE => Frame::File {
            file: body.number()?,
            at: body.signed()?,
            change: body.change()?,
        },
        kind::LOOKED => Frame::Looked {
            from: body.signed()?,
            to: body.signed()?,
        },
        kind::BLIND => Frame::Blind {
            from: body.signed()?,
            to: body.signed()?,
            why: body.string()?,
        },
        _ => return None,
    })
}
