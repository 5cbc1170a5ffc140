//! Numbers, texts and batches of the journal's layout, both ways.

use crate::observe::{Answer, Batch, FileChange, Odd, OddKind};

/// Checksum of a frame: its place, its kind, its body.
pub(super) fn crc(at: u64, kind: &[u8], body: &[u8]) -> u32 {
    let place = crc32c::crc32c(&at.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(place, kind), body)
}

pub(super) fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(super) fn put_signed(out: &mut Vec<u8>, number: i64) {
    put_varint(out, (number << 1 ^ number >> 63) as u64);
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text);
}

pub(super) fn put_batch(out: &mut Vec<u8>, batch: &Batch) {
    put_varint(out, batch.producer.into());
    put_varint(out, batch.first);
    put_varint(out, batch.count.into());
    put_signed(out, batch.intended);
}

pub(super) fn answer_code(answer: Answer) -> u8 {
    match answer {
        Answer::Refused => 0,
        Answer::Unknown => 1,
        Answer::Acked => 2,
    }
}

pub(super) fn put_odd(out: &mut Vec<u8>, odd: &Odd) {
    match odd.kind {
        OddKind::CorruptIdentity => out.push(0),
        OddKind::CorruptPayload(producer, sequence) => {
            out.push(1);
            put_varint(out, producer.into());
            put_varint(out, sequence);
        }
        OddKind::Merged => out.push(2),
        OddKind::Split => out.push(3),
        OddKind::Foreign => out.push(4),
        OddKind::Torn => out.push(5),
    }
    put_varint(out, odd.offset);
    put_varint(out, odd.after.into());
    put_text(out, &odd.excerpt);
}

pub(super) fn put_change(out: &mut Vec<u8>, change: &FileChange) {
    match change {
        FileChange::Appeared { path } => {
            out.push(0);
            put_text(out, path.as_bytes());
        }
        FileChange::Renamed { path } => {
            out.push(1);
            put_text(out, path.as_bytes());
        }
        FileChange::Published => out.push(2),
        FileChange::Withdrawn => out.push(3),
        FileChange::Vanished => out.push(4),
    }
}

/// Reads a body from its beginning. `None` from any of these means that it is not what it should
/// be, which a frame with a right checksum never is.
#[derive(Debug)]
pub(super) struct Body<'a> {
    left: &'a [u8],
}

impl<'a> Body<'a> {
    pub(super) fn new(body: &'a [u8]) -> Body<'a> {
        Body { left: body }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        let (first, left) = self.left.split_first()?;
        self.left = left;
        Some(*first)
    }

    pub(super) fn fixed(&mut self) -> Option<u64> {
        let (bytes, left) = self.left.split_first_chunk::<8>()?;
        self.left = left;
        Some(u64::from_le_bytes(*bytes))
    }

    pub(super) fn varint(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    pub(super) fn number<T: TryFrom<u64>>(&mut self) -> Option<T> {
        T::try_from(self.varint()?).ok()
    }

    pub(super) fn signed(&mut self) -> Option<i64> {
        let number = self.varint()?;
        Some((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    pub(super) fn text(&mut self) -> Option<Vec<u8>> {
        let len = self.number()?;
        let (text, left) = self.left.split_at_checked(len)?;
        self.left = left;
        Some(text.to_vec())
    }

    pub(super) fn string(&mut self) -> Option<String> {
        String::from_utf8(self.text()?).ok()
    }

    pub(super) fn batch(&mut self) -> Option<Batch> {
        Some(Batch {
            producer: self.number()?,
            first: self.varint()?,
            count: self.number()?,
            intended: self.signed()?,
        })
    }

    pub(super) fn answer(&mut self) -> Option<Answer> {
        match self.byte()? {
            0 => Some(Answer::Refused),
            1 => Some(Answer::Unknown),
            2 => Some(Answer::Acked),
            _ => None,
        }
    }

    pub(super) fn odd(&mut self) -> Option<Odd> {
        let kind = match self.byte()? {
            0 => OddKind::CorruptIdentity,
            1 => OddKind::CorruptPayload(self.number()?, self.varint()?),
            2 => OddKind::Merged,
            3 => OddKind::Split,
            4 => OddKind::Foreign,
            5 => OddKind::Torn,
            _ => return None,
        };
        let (offset, after) = (self.varint()?, self.number()?);
        Some(Odd {
            kind,
            offset,
            after,
            excerpt: self.text()?,
        })
    }

    pub(super) fn change(&mut self) -> Option<FileChange> {
        match self.byte()? {
            0 => Some(FileChange::Appeared {
                path: self.string()?,
            }),
            1 => Some(FileChange::Renamed {
                path: self.string()?,
            }),
            2 => Some(FileChange::Published),
            3 => Some(FileChange::Withdrawn),
            4 => Some(FileChange::Vanished),
            _ => None,
        }
    }

    /// As many as the count in front says. Nothing is reserved on the word of that count alone.
    pub(super) fn list<T>(&mut self, one: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count: usize = self.number()?;
        if count > self.left.len() {
            return None;
        }
        (0..count).map(|_| one(self)).collect()
    }
}
