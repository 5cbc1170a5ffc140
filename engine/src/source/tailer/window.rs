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

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn options(batch_size: usize) -> Options {
        Options {
            source: "r1".to_owned(),
            position_file: None,
            write_interval: Duration::ZERO,
            batch_size,
            max_batches: 1,
            idle_timeout: Duration::ZERO,
            skip_to_end: false,
            byte_offset_header: true,
            path_header: None,
            longest_pause: Duration::ZERO,
        }
    }

    proptest! {
        #[test]
        fn lines_and_offsets_are_those_of_the_plain_definition(
            text in "[a\r\n]{0,60}",
            batch_size in 1_usize..5,
            cut in 0_usize..60,
        ) {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            let end = cut.min(text.len());
            let mut expected = Vec::new();
            let mut offset = 0;
            for line in text[..end].split_inclusive('\n') {
                if let Some(line) = line.strip_suffix('\n') {
                    let body = line.strip_suffix('\r').unwrap_or(line);
                    expected.push((offset.to_string(), body.to_owned()));
                    offset += line.len() + 1;
                }
            }
            let (mut window, mut builder) = (Window::default(), BatchBuilder::new());
            let mut got = Vec::new();
            loop {
                let next = fill(&file, &mut window, end as u64, &mut builder, &options(batch_size)).unwrap();
                prop_assert_eq!(next, window.start);
                if builder.is_empty() {
                    prop_assert_eq!(next, offset as u64);
                    break;
                }
                prop_assert!(builder.len() <= batch_size);
                for event in &builder.finish() {
                    let body = String::from_utf8(event.body().to_vec()).unwrap();
                    got.push((event.header("byteoffset").unwrap().to_owned(), body));
                }
            }
            prop_assert_eq!(got, expected);
        }
    }
}
