//! Cutting a part of a file into lines.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use tracing::warn;

use super::Options;
use crate::event::{BatchBuilder, TooLong};

/// Bytes read at a time.
const CHUNK: usize = 64 << 10;
/// A line longer than this is cut into several events, so that a file without line feeds cannot
/// take all memory.
const MAX_LINE: usize = 16 << 20;
/// A batch is closed when it has this many bytes, however few lines they are.
const MAX_BATCH_BYTES: usize = 8 << 20;

/// A part of a file in memory.
#[derive(Debug, Default)]
pub(super) struct Window {
    pub(super) bytes: Vec<u8>,
    /// Offset in the file of the first byte.
    pub(super) start: u64,
}

/// Puts the next complete lines before offset `end` into the batch; answers the offset behind them.
/// The window begins there afterwards.
pub(super) fn fill(
    file: &File,
    window: &mut Window,
    end: u64,
    builder: &mut BatchBuilder,
    options: &Options,
) -> Result<u64, io::Error> {
    let too_long = |error| io::Error::other(error);
    loop {
        let mut used = 0;
        while builder.len() < options.batch_size && builder.bytes() < MAX_BATCH_BYTES {
            let Some(len) = memchr::memchr(b'\n', &window.bytes[used..]) else {
                break;
            };
            let line = &window.bytes[used..used + len];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            push(builder, window.start + used as u64, line, options).map_err(too_long)?;
            used += len + 1;
        }
        let full = builder.len() >= options.batch_size || builder.bytes() >= MAX_BATCH_BYTES;
        window.start += used as u64;
        window.bytes.drain(..used);
        if full {
            return Ok(window.start);
        }
        if window.bytes.len() >= MAX_LINE {
            warn!(
                source = options.source,
                bytes = window.bytes.len(),
                "a line is too long; it is cut into several events"
            );
            push(builder, window.start, &window.bytes, options).map_err(too_long)?;
            window.start += window.bytes.len() as u64;
            window.bytes.clear();
            return Ok(window.start);
        }
        let have = window.bytes.len();
        let read_at = window.start + have as u64;
        // As much again as is there, so that a long line is not searched over and over.
        let want = (CHUNK.max(have) as u64).min(end.saturating_sub(read_at)) as usize;
        window.bytes.resize(have + want, 0);
        let got = if want == 0 {
            0
        } else {
            file.read_at(&mut window.bytes[have..], read_at)?
        };
        window.bytes.truncate(have + got);
        if got == 0 {
            return Ok(window.start);
        }
    }
}

/// Adds a line, which begins at `offset`, to the batch.
pub(super) fn push(
    builder: &mut BatchBuilder,
    offset: u64,
    line: &[u8],
    options: &Options,
) -> Result<(), TooLong> {
    let mut event = builder.event();
    if options.byte_offset_header {
        event.header("byteoffset", &offset.to_string());
    }
    event.body(line);
    event.end()
}
