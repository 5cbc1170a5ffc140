//! A gzip stream, decoded as it grows.
//!
//! A file that a sink compresses comes in pieces that end anywhere, and a sink that flushes may
//! write one member (RFC 1952) after another. What can be decoded is given out at once; what is
//! incomplete waits for more. A member's checksum and length are verified when its end has come.
//!
//! The library's own writer for such streams unwraps inside its flush, and these bytes come from
//! the system under test; hence the few lines of header parsing here.

use flate2::{Crc, Decompress, FlushDecompress, Status};

/// A header longer than this (they hold a name and a comment) is not believed.
const MAX_HEADER: usize = 64 << 10;

/// What gzip streams begin with.
pub(super) const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The state of one stream.
#[derive(Debug)]
pub(super) struct Gunzip {
    at: At,
    /// The beginning of a header or trailer that has not come as a whole.
    held: Vec<u8>,
    inflate: Decompress,
    crc: Crc,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Header,
    Body,
    Trailer,
}

impl Gunzip {
    pub(super) fn new() -> Gunzip {
        Gunzip {
            at: At::Header,
            held: Vec::new(),
            inflate: Decompress::new(false),
            crc: Crc::new(),
        }
    }

    /// Decodes more of the stream to the end of `out`, but stops as soon as `out` holds `enough`;
    /// answers how many bytes it took. Call again with the rest, until nothing is left.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        enough: usize,
    ) -> Result<usize, &'static str> {
        let mut rest = bytes;
        while !rest.is_empty() && out.len() < enough {
            rest = match self.at {
                At::Header => self.header(rest)?,
                At::Body => self.body(rest, out)?,
                At::Trailer => self.trailer(rest)?,
            };
        }
        Ok(bytes.len() - rest.len())
    }

    /// Whether the stream may end here.
    pub(super) fn is_whole(&self) -> bool {
        self.at == At::Header && self.held.is_empty()
    }

    fn header<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], &'static str> {
        let before = self.held.len();
        self.held.extend_from_slice(bytes);
        if !MAGIC.starts_with(self.held.get(..2).unwrap_or(&self.held)) {
            return Err("something that is not gzip follows a gzip member");
        }
        match header_length(&self.held) {
            Some(length) => {
                self.held.clear();
                self.inflate.reset(false);
                self.crc.reset();
                self.at = At::Body;
                Ok(bytes
                    .get(length.saturating_sub(before)..)
                    .unwrap_or_default())
            }
            None if self.held.len() > MAX_HEADER => Err("a gzip header has no end"),
            None => Ok(&[]),
        }
    }

    fn body<'a>(&mut self, bytes: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], &'static str> {
        out.reserve(64 << 10);
        let (start, before) = (out.len(), self.inflate.total_in());
        let status = self
            .inflate
            .decompress_vec(bytes, out, FlushDecompress::Sync)
            .map_err(|_| "the deflate stream is broken")?;
        self.crc.update(out.get(start..).unwrap_or_default());
        let took = usize::try_from(self.inflate.total_in() - before).unwrap_or(usize::MAX);
        if status == Status::StreamEnd {
            self.at = At::Trailer;
        } else if took == 0 && out.len() == start {
            return Err("the deflate stream does not go on");
        }
        Ok(bytes.get(took..).unwrap_or_default())
    }

    fn trailer<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], &'static str> {
        let wanted = 8usize.saturating_sub(self.held.len()).min(bytes.len());
        let (mine, rest) = bytes.split_at(wanted);
        self.held.extend_from_slice(mine);
        if let Some((crc, length)) = self.held.split_first_chunk::<4>()
            && let Some(length) = length.first_chunk::<4>()
        {
            let right = u32::from_le_bytes(*crc) == self.crc.sum()
                && u32::from_le_bytes(*length) == self.crc.amount();
            if !right {
                return Err("a gzip member's checksum is wrong");
            }
            self.held.clear();
            self.at = At::Header;
        }
        Ok(rest)
    }
}

/// The length of the gzip header at the start of `bytes`, once all of it is there.
fn header_length(bytes: &[u8]) -> Option<usize> {
    let (header_crc, extra, name, comment) = (2, 4, 8, 16);
    let flags = *bytes.get(3)?;
    let mut at = 10;
    if flags & extra != 0 {
        let low = *bytes.get(at)?;
        let high = *bytes.get(at + 1)?;
        at += 2 + usize::from(u16::from_le_bytes([low, high]));
    }
    for text in [name, comment] {
        if flags & text != 0 {
            at += memchr::memchr(0, bytes.get(at..)?)? + 1;
        }
    }
    if flags & header_crc != 0 {
        at += 2;
    }
    (bytes.len() >= at).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, GzBuilder, write::GzEncoder};
    use proptest::prelude::*;
    use std::io::Write;

    fn member(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn all(stream: &mut Gunzip, mut bytes: &[u8]) -> Result<Vec<u8>, &'static str> {
        let mut out = Vec::new();
        while !bytes.is_empty() {
            let mut piece = Vec::new();
            let took = stream.feed(bytes, &mut piece, 1000)?;
            bytes = &bytes[took..];
            out.extend(piece);
        }
        Ok(out)
    }

    proptest! {
        #[test]
        fn members_cut_anywhere_decode_to_their_texts(
            texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..4), size in 1usize..40,
        ) {
            let bytes: Vec<u8> = texts.iter().flat_map(|text| member(text)).collect();
            let mut stream = Gunzip::new();
            let mut out = Vec::new();
            for piece in bytes.chunks(size) {
                out.extend(all(&mut stream, piece).unwrap());
            }
            prop_assert_eq!(out, texts.concat());
            prop_assert!(stream.is_whole());
        }

        #[test]
        fn garbage_is_an_error_or_a_wait_and_never_a_panic(mut bytes in prop::collection::vec(any::<u8>(), 2..400), at in 0usize..60, with: u8) {
            let _ = all(&mut Gunzip::new(), &bytes);
            bytes = member(&bytes);
            let at = at % bytes.len();
            bytes[at] = with;
            let _ = all(&mut Gunzip::new(), &bytes);
        }
    }

    #[test]
    fn headers_with_everything_in_them_are_skipped() {
        let mut encoder = GzBuilder::new()
            .filename("name")
            .comment("comment")
            .extra(vec![1, 2, 3])
            .write(Vec::new(), Compression::fast());
        encoder.write_all(b"text").unwrap();
        let bytes = encoder.finish().unwrap();
        let mut stream = Gunzip::new();
        let out: Vec<u8> = bytes
            .iter()
            .flat_map(|byte| all(&mut stream, &[*byte]).unwrap())
            .collect();
        assert_eq!(out, b"text");
    }

    #[test]
    fn a_flushed_part_comes_out_before_the_end_and_a_wrong_checksum_is_noticed() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(b"first").unwrap();
        encoder.flush().unwrap();
        let mut stream = Gunzip::new();
        assert_eq!(all(&mut stream, encoder.get_ref()).unwrap(), b"first");
        assert!(!stream.is_whole());
        let mut bytes = member(b"text");
        let at = bytes.len() - 8;
        bytes[at] ^= 1;
        assert_eq!(
            all(&mut Gunzip::new(), &bytes),
            Err("a gzip member's checksum is wrong")
        );
    }
}
