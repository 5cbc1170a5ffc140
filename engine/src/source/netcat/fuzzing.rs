//! The fuzz target of the netcat source: lines as they are cut out of what arrives.

use super::{Lines, Split};
use crate::event::BatchBuilder;

/// Cuts a connection's bytes into lines, in pieces as they might arrive, and compares with the
/// plain definition of a line. The input is described in [`crate::fuzzing`].
pub fn netcat_lines(input: &[u8]) {
    let [first, second, bytes @ ..] = input else {
        return;
    };
    let max_chars = 1 + usize::from(first & 0x0f);
    let piece = 1 + usize::from(first >> 4);
    let max_events = 1 + usize::from(*second);
    let (found, found_too_long) = cut(bytes, max_chars, max_events, piece);
    let (expected, too_long) = define(bytes, max_chars);
    assert_eq!(found, expected);
    assert_eq!(found_too_long, too_long);
}

/// What [`Lines::serve`] does with what it reads.
fn cut(bytes: &[u8], max_chars: usize, max: usize, piece: usize) -> (Vec<Vec<u8>>, bool) {
    let lines = Lines {
        max_chars,
        acks: true,
    };
    let (mut found, mut builder, mut held) = (Vec::new(), BatchBuilder::new(), Vec::new());
    for piece in bytes.chunks(piece) {
        held.extend_from_slice(piece);
        loop {
            let Ok((used, split)) = lines.split(&held, &mut builder, max) else {
                return (found, false);
            };
            held.drain(..used);
            assert!(builder.len() <= max, "a batch over the limit");
            if builder.is_empty() {
                if matches!(split, Split::TooLong) {
                    return (found, true);
                }
                break;
            }
            let batch = builder.finish();
            found.extend(batch.iter().map(|event| event.body().to_vec()));
        }
        // A character has four bytes at most, if it is one; what follows none is counted with it.
        assert!(
            chars(&held) < max_chars,
            "a line over the limit is held back"
        );
    }
    (found, false)
}

/// The lines of a connection, and whether it ends at one that is too long.
fn define(bytes: &[u8], max_chars: usize) -> (Vec<Vec<u8>>, bool) {
    let mut lines = Vec::new();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let (text, whole) = match line.strip_suffix(b"\n") {
            Some(text) => (text, true),
            None => (line, false),
        };
        if chars(text) >= max_chars {
            return (lines, true);
        }
        if whole {
            lines.push(text.to_vec());
        }
    }
    (lines, false)
}

/// Characters, counted by their first bytes.
fn chars(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte & 0xc0 != 0x80).count()
}
