//! `replay`: the lines of a real log file, in their order, again and again.
//!
//! Each body is the line, a space and the token. A line that would be shorter than 96 bytes with
//! them is padded with spaces in front of the token. `size` does not apply. Left out, and counted:
//! empty lines, lines longer than 64 KiB, and lines with a marker or a carriage return inside (a
//! return at the end belongs to the delimiter), because readers of lines cut there. The file is
//! read up to the pool's size.
//!
//! The token ends the body: a record that lost its end holds a part of a token only, and counts as
//! split (malformed) where other kinds would show a known event with a corrupt payload.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use super::{Kind, MIN_SIZE, PayloadError, Pool, Settings, Text};
use crate::token;

pub(super) static KIND: Kind = Kind {
    name: "replay",
    summary: "The lines of a real log file, with the token at their end.",
    example: "payload = \"replay\"\nreplay_path = \"access.log\"",
    min_size: MIN_SIZE,
    fill,
};

/// The longest line that is replayed, in bytes.
const MAX_LINE: u64 = 64 << 10;

fn fill(settings: &Settings, _: &mut Text, pool: &mut Pool) -> Result<(), PayloadError> {
    let path = settings.path.clone().ok_or(PayloadError::NoPath)?;
    let failed = |source| PayloadError::File {
        path: path.clone(),
        source,
    };
    let mut file = BufReader::new(File::open(&path).map_err(failed)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        if file
            .by_ref()
            .take(MAX_LINE + 1)
            .read_until(b'\n', &mut line)
            .map_err(failed)?
            == 0
        {
            break;
        }
        if line.last() != Some(&b'\n') && line.len() as u64 > MAX_LINE {
            file.skip_until(b'\n').map_err(failed)?;
            pool.left_out += 1;
            continue;
        }
        while matches!(line.last(), Some(b'\n' | b'\r')) {
            line.pop();
        }
        if line.is_empty() {
            pool.left_out += 1;
            continue;
        }
        line.push(b' ');
        line.resize(line.len().max(MIN_SIZE - token::LEN), b' ');
        if !pool.has_room(settings, line.len() + token::LEN) {
            break;
        }
        pool.push(&line, b"");
    }
    if pool.bodies.is_empty() {
        Err(PayloadError::NoLine { path })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Identity;

    #[test]
    fn lines_come_in_their_order_and_the_unusable_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let long = "x".repeat(MAX_LINE as usize + 5);
        std::fs::write(&path, format!("one\n\n{long}\na\rb\nfb1u\ntwo\r\nthree")).unwrap();
        let settings = Settings {
            path: Some(path),
            ..Settings::default()
        };
        let pool = Pool::new(KIND.name, &settings, 1).unwrap();
        assert_eq!((pool.bodies(), pool.left_out()), (3, 4));
        let mut lines = Vec::new();
        for sequence in 0..3 {
            let mut out = Vec::new();
            pool.write_event(
                &Identity {
                    run: 1,
                    producer: 0,
                    sequence,
                    intended: 0,
                },
                &mut out,
            );
            assert_eq!(out.len(), MIN_SIZE);
            lines.push(
                String::from_utf8(out[..32].to_vec())
                    .unwrap()
                    .trim()
                    .to_owned(),
            );
        }
        assert_eq!(lines, ["one", "two", "three"]);
    }
}
