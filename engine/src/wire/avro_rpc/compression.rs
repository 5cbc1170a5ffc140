//! `compression-type = deflate`: each direction of a connection is one zlib stream for the
//! connection's whole life.
//!
//! Format: RFC 1950. Every write ends with a sync flush (an empty stored block, `00 00 ff ff`), so
//! that the other side can read all of it at once. Flume's server compresses its answers at level 6
//! whatever the client's level; a reader takes any.

use super::Malformed;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// The bytes handed out per step of inflation. A small input can expand a thousandfold; working in
/// steps keeps the memory of a compressed bomb at one step plus the frame limit.
const STEP: usize = 64 << 10;

/// Inflates one direction of a connection.
#[derive(Debug)]
pub struct Inflater {
    stream: Decompress,
    step: Vec<u8>,
}

impl Default for Inflater {
    fn default() -> Self {
        Self {
            stream: Decompress::new(true),
            step: vec![0; STEP],
        }
    }
}

impl Inflater {
    /// Inflates some of `input`, moving it forward, and returns what came out: empty when `input`
    /// is used up.
    ///
    /// To be called until it returns nothing, because one input can make many steps.
    pub fn step(&mut self, input: &mut &[u8]) -> Result<&[u8], Malformed> {
        let (before_in, before_out) = (self.stream.total_in(), self.stream.total_out());
        let status = self
            .stream
            .decompress(input, &mut self.step, FlushDecompress::None);
        let consumed = (self.stream.total_in() - before_in) as usize;
        let produced = (self.stream.total_out() - before_out) as usize;
        *input = &input[consumed..];
        match status {
            Err(_) => Err(Malformed::Compression),
            // A peer never ends its stream; bytes after the end would loop without progress.
            Ok(Status::StreamEnd) if !input.is_empty() => Err(Malformed::Compression),
            Ok(_) if produced == 0 && consumed == 0 && !input.is_empty() => {
                Err(Malformed::Compression)
            }
            Ok(_) => Ok(&self.step[..produced]),
        }
    }
}

/// Deflates one direction of a connection.
#[derive(Debug)]
pub struct Deflater {
    stream: Compress,
}

impl Deflater {
    /// A stream at `level`, 0 (stored) to 9 (smallest).
    pub fn new(level: u32) -> Self {
        Self {
            stream: Compress::new(Compression::new(level.min(9)), true),
        }
    }

    /// Appends `input`, deflated and flushed, to `out`.
    pub fn deflate(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
        let start = self.stream.total_in();
        loop {
            let consumed = (self.stream.total_in() - start) as usize;
            out.reserve(STEP.min(input.len() / 2 + 64));
            self.stream
                .compress_vec(&input[consumed..], out, FlushCompress::Sync)
                .map_err(|_| Malformed::Compression)?;
            // The flush is complete when all went in and room was left over; asking again would
            // flush once more.
            if (self.stream.total_in() - start) as usize == input.len()
                && out.len() < out.capacity()
            {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn inflate(inflater: &mut Inflater, mut input: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut out = Vec::new();
        loop {
            let step = inflater.step(&mut input)?;
            if step.is_empty() && input.is_empty() {
                return Ok(out);
            }
            out.extend_from_slice(step);
        }
    }

    #[test]
    fn a_stream_starts_and_flushes_as_flume_expects() {
        let mut out = Vec::new();
        Deflater::new(6).deflate(b"hello", &mut out).unwrap();
        assert_eq!(out[..2], [0x78, 0x9c]);
        assert_eq!(out[out.len() - 4..], [0, 0, 0xff, 0xff]);
    }

    #[test]
    fn uncompressed_bytes_are_refused() {
        let mut input = &[0_u8, 0, 0, 1, 0, 0, 0, 2, 0, 0][..];
        assert_eq!(
            Inflater::default().step(&mut input),
            Err(Malformed::Compression)
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn writes_come_back_one_by_one(
            writes in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..2000), 1..6),
            level in 0_u32..10,
        ) {
            let (mut deflater, mut inflater) = (Deflater::new(level), Inflater::default());
            for write in &writes {
                let mut bytes = Vec::new();
                deflater.deflate(write, &mut bytes).unwrap();
                prop_assert_eq!(&inflate(&mut inflater, &bytes).unwrap(), write);
            }
        }

        #[test]
        fn garbage_ends(bytes: Vec<u8>) {
            let _ = inflate(&mut Inflater::default(), &bytes);
        }
    }

    #[test]
    fn large_writes_come_back() {
        let write: Vec<u8> = (0..1_000_000_u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        let mut bytes = Vec::new();
        Deflater::new(6).deflate(&write, &mut bytes).unwrap();
        assert!(inflate(&mut Inflater::default(), &bytes).unwrap() == write);
        let zeros = vec![0; 1_000_000];
        bytes.clear();
        Deflater::new(9).deflate(&zeros, &mut bytes).unwrap();
        assert!(inflate(&mut Inflater::default(), &bytes).unwrap() == zeros);
    }
}
