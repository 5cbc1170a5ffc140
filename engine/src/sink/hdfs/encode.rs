//! Events as bytes of a file: text, plain or compressed.
//!
//! `TEXT` writes the body and, unless `serializer.appendNewline` is false, a line feed. With gzip each
//! flush ends the member that was begun, so that what was flushed can be read although the file is
//! still open; a file is a sequence of members, which every reader of gzip takes for one stream.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::defect::{self, Defect};
use crate::event::Event;

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    None,
    Gzip,
}

impl Codec {
    /// The suffix of a file whose name has none.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
        }
    }
}

/// Turns the events of one file into bytes.
#[derive(Debug)]
pub(super) struct Encoder {
    newline: bool,
    codec: Codec,
    /// Bytes that are ready.
    ready: Vec<u8>,
    /// The member that is being compressed; it holds `ready` while it exists.
    member: Option<GzEncoder<Vec<u8>>>,
}

impl Encoder {
    pub(super) fn new(codec: Codec, newline: bool) -> Self {
        Self {
            newline,
            codec,
            ready: Vec::new(),
            member: None,
        }
    }

    /// Adds an event.
    ///
    /// # Errors
    /// None in practice: the bytes go to memory.
    pub(super) fn add(&mut self, event: &Event<'_>) -> io::Result<()> {
        let end: &[u8] = if self.newline { b"\n" } else { b"" };
        if self.codec == Codec::None {
            self.ready.extend_from_slice(event.body());
            if Defect::EncoderWrongByte.is_planted()
                && defect::is_the_one(event.body(), 2_000)
                && let Some(last) = self.ready.last_mut()
            {
                *last ^= 1;
            }
            self.ready.extend_from_slice(end);
            return Ok(());
        }
        let ready = &mut self.ready;
        let member = self
            .member
            .get_or_insert_with(|| GzEncoder::new(std::mem::take(ready), Compression::default()));
        member.write_all(event.body())?;
        member.write_all(end)
    }

    /// How many bytes could be taken.
    pub(super) fn len(&self) -> usize {
        self.member
            .as_ref()
            .map_or(self.ready.len(), |member| member.get_ref().len())
    }

    /// Hands out the bytes so far. A member that was begun goes on.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let ready = self
            .member
            .as_mut()
            .map_or(&mut self.ready, |member| member.get_mut());
        std::mem::take(ready)
    }

    /// Ends what was begun, so that the bytes up to here can be read.
    ///
    /// # Errors
    /// None in practice: the bytes go to memory.
    pub(super) fn end_member(&mut self) -> io::Result<()> {
        if let Some(member) = self.member.take() {
            self.ready = member.finish()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::MultiGzDecoder;

    use super::*;
    use crate::event::BatchBuilder;

    fn encoded(codec: Codec, newline: bool, flush_each: bool) -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        for body in ["one", "", "three"] {
            builder.push([("h", "v")], body.as_bytes()).unwrap();
        }
        let mut encoder = Encoder::new(codec, newline);
        let mut out = Vec::new();
        for event in &builder.finish() {
            encoder.add(&event).unwrap();
            if flush_each {
                encoder.end_member().unwrap();
            }
            out.extend(encoder.take());
        }
        encoder.end_member().unwrap();
        out.extend(encoder.take());
        assert_eq!(encoder.len(), 0);
        out
    }

    #[test]
    fn bodies_are_lines() {
        assert_eq!(encoded(Codec::None, true, true), b"one\n\nthree\n");
        assert_eq!(encoded(Codec::None, false, false), b"onethree");
    }

    #[test]
    fn members_of_gzip_read_as_one_stream() {
        for flush_each in [true, false] {
            let bytes = encoded(Codec::Gzip, true, flush_each);
            let members = bytes
                .windows(3)
                .filter(|window| window == b"\x1f\x8b\x08")
                .count();
            assert_eq!(members, if flush_each { 3 } else { 1 });
            let mut text = String::new();
            MultiGzDecoder::new(bytes.as_slice())
                .read_to_string(&mut text)
                .unwrap();
            assert_eq!(text, "one\n\nthree\n");
        }
    }
}
