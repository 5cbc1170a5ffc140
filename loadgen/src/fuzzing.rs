//! Entry points for fuzzing: one function for each place where the judge reads what a system under
//! test, or a store, or a broken disk may have made up.
//!
//! Not an interface for anybody else. Each function takes any bytes whatever, and panics if the
//! judge does what it must not. Beyond "it does not panic", each holds a property:
//!
//! | target | input | property |
//! |---|---|---|
//! | [`avro_reply`] | mode, then the bytes a server answers; mode: bit 0 compressed, the rest the length of pieces − 1 | cuts make no difference |
//! | [`journal`] | flags, then a journal; see there | a tear is where it is said to be; what is read can be written, and read again |
//! | [`stored_file`] | mode, then a file's bytes; mode: bit 0 the run owns it, bit 1 a recipe as for [`token`], the rest the length of pieces − 1 | cuts make no difference |
//! | [`token`] | a record, or a recipe for one; see there | what is said of a record agrees with its bytes |
//!
//! The functions are called by the fuzz targets in `fuzz/` and, for the recorded corpora and
//! mutations of them, by an ordinary test.

use crate::observe::OddKind;
use crate::receiver::scanner::Scanner;
use crate::token::{Examined, LEN, MARKER, Token, examine, payload_crc};
use crate::wire::avro::{AvroError, Connection, Outcome};

pub use crate::journal::fuzzing::journal;

/// A target: bytes in, panic if something is wrong.
pub type Target = fn(&[u8]);

/// All targets, by name.
pub static TARGETS: &[(&str, Target)] = &[
    ("avro_reply", avro_reply),
    ("journal", journal),
    ("stored_file", stored_file),
    ("token", token),
];

/// Calls made on a connection of [`avro_reply`] at most.
const CALLS: usize = 64;

/// The load's end of an Avro connection: what the server answers.
pub fn avro_reply(input: &[u8]) {
    let Some((&mode, bytes)) = input.split_first() else {
        return;
    };
    let deflate = mode & 1 == 1;
    let whole = converse(bytes, bytes.len(), deflate);
    let pieces = converse(bytes, 1 + usize::from(mode >> 1), deflate);
    // In pieces, replies are read before the next piece comes; in one, more may be waiting than
    // is allowed, and damage may come before replies that are there already.
    if whole.1.is_none() {
        assert_eq!(whole, pieces, "cuts decide what the bytes mean");
    } else if !deflate {
        assert_eq!(whole.0, pieces.0, "cuts decide what the bytes mean");
    }
}

/// Makes calls while replies come; answers the outcomes, and how it ended.
fn converse(bytes: &[u8], piece: usize, deflate: bool) -> (Vec<Outcome>, Option<AvroError>) {
    let mut connection = Connection::new(deflate);
    let (mut outcomes, mut frame) = (Vec::new(), Vec::new());
    connection.append_batch(&mut frame, 2, |nth, out| out.push(b'a' + nth as u8));
    for piece in bytes.chunks(piece.max(1)) {
        if let Err(error) = connection.feed(piece) {
            return (outcomes, Some(error));
        }
        while outcomes.len() < CALLS {
            let outcome = match connection.reply() {
                Ok(Some(outcome)) => outcome,
                Ok(None) => break,
                Err(error) => return (outcomes, Some(error)),
            };
            // As the generator does: the same call with the text of the protocol, or the next one.
            let again = outcome == Outcome::Again && connection.again(&mut frame);
            if !again {
                frame.clear();
                connection.append(&mut frame, &[], b"next");
            }
            outcomes.push(outcome);
        }
    }
    (outcomes, None)
}

/// A file of the store as the receiver reads it, plain or gzip.
pub fn stored_file(input: &[u8]) {
    let Some((&mode, bytes)) = input.split_first() else {
        return;
    };
    let made = if mode & 2 != 0 {
        follow(bytes)
    } else {
        bytes.to_vec()
    };
    let whole = scan(&made, made.len(), mode & 1 == 1);
    let pieces = scan(&made, 1 + usize::from(mode >> 2), mode & 1 == 1);
    assert_eq!(whole, pieces, "cuts decide what the file holds");
}

/// What a file holds: the events, in their order, and what is odd, with its place.
#[derive(Debug, Default, PartialEq, Eq)]
struct Held {
    events: Vec<(u16, u64, i64)>,
    odd: Vec<(OddKind, u64, usize)>,
}

fn scan(bytes: &[u8], piece: usize, owned: bool) -> Held {
    let mut scanner = Scanner::new(RUN, owned);
    let mut held = Held::default();
    let mut pieces = bytes.chunks(piece.max(1));
    loop {
        let piece = pieces.next();
        let finding = match piece {
            Some(piece) => scanner.feed(piece),
            None => scanner.end(),
        };
        let mut odd = finding.odd.iter().peekable();
        let mut events = 0;
        for (nth, batch) in finding.found.iter().enumerate() {
            let after = |odd: &&crate::observe::Odd| odd.after as usize <= nth;
            while let Some(odd) = odd.next_if(after) {
                held.odd.push((odd.kind, odd.offset, held.events.len()));
            }
            for nth in 0..u64::from(batch.count) {
                held.events
                    .push((batch.producer, batch.first + nth, batch.intended));
                events += 1;
            }
        }
        for odd in odd {
            held.odd.push((odd.kind, odd.offset, held.events.len()));
        }
        assert_eq!(events, finding.events, "events and batches disagree");
        if piece.is_none() {
            return held;
        }
    }
}

/// The run whose tokens are nobody else's in [`token`].
const RUN: u64 = 0x0123_4567_89ab_cdef;

/// What a record turns out to be.
///
/// The first byte says what the rest is: even, the record itself; odd, a recipe, so that mutations
/// get past the checksums. A recipe is a list of: an even byte and as many bytes as its half says,
/// taken as they are; or an odd byte and a token from the next 30 bytes. Of that odd byte, bit 1:
/// the run is `RUN`, bits 2 and 3: lengths and checksum of the payload are made right.
pub fn token(input: &[u8]) {
    let Some((&mode, bytes)) = input.split_first() else {
        return;
    };
    if mode & 1 == 0 {
        judge(bytes);
    } else {
        judge(&follow(bytes));
    }
}

/// Makes the record of a recipe.
fn follow(mut recipe: &[u8]) -> Vec<u8> {
    let (mut record, mut tokens) = (Vec::new(), Vec::new());
    while let Some((&what, rest)) = recipe.split_first() {
        let wanted = if what & 1 == 0 {
            usize::from(what >> 1)
        } else {
            30
        };
        let (taken, rest) = rest.split_at(wanted.min(rest.len()));
        recipe = rest;
        if what & 1 == 0 {
            record.extend_from_slice(taken);
        } else if taken.len() == 30 {
            tokens.push((record.len(), what, taken));
            record.extend_from_slice(&[b'-'; LEN]);
        }
    }
    for (at, what, fields) in tokens {
        let number = |from: usize, to: usize| {
            let bytes = fields.iter().take(to).skip(from);
            bytes.fold(0u64, |number, byte| number << 8 | u64::from(*byte))
        };
        // The payload is that of the line in which the token stands.
        let (before, after) = (record.get(..at), record.get(at + LEN..));
        let is_end = |byte: &u8| *byte == b'\n';
        let before = before.and_then(|before| before.rsplit(is_end).next());
        let after = after.and_then(|after| after.split(is_end).next());
        let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
        let right_lengths = what & 4 != 0;
        let token = Token {
            run: if what & 2 != 0 { RUN } else { number(0, 8) },
            producer: number(8, 10) as u16,
            sequence: number(10, 16),
            intended: number(16, 20) as i64,
            before: if right_lengths {
                before.len() as u32
            } else {
                number(20, 23) as u32
            },
            after: if right_lengths {
                after.len() as u32
            } else {
                number(23, 26) as u32
            },
            payload_crc: if what & 8 != 0 {
                payload_crc(before, after)
            } else {
                number(26, 30) as u32
            },
        };
        let text = token.encode();
        assert_eq!(Token::decode(&text).ok(), Some(token), "a token reads back");
        if let Some(place) = record.get_mut(at..at + LEN) {
            place.copy_from_slice(&text);
        }
    }
    record
}

/// Examines a record, and checks the answer against a plain reading of its bytes.
fn judge(record: &[u8]) {
    let places = || {
        (0..record.len()).filter(|at| {
            record
                .get(*at..)
                .is_some_and(|rest| rest.starts_with(MARKER))
        })
    };
    let right = places().filter_map(|at| {
        let text = record.get(at..)?.first_chunk::<LEN>()?;
        Some((at, Token::decode(text).ok()?))
    });
    let right: Vec<(usize, Token)> = right.collect();
    match examine(record, RUN) {
        Examined::None => assert_eq!(places().count(), 0),
        Examined::Partial => {
            assert!(places().count() > 0 && places().all(|at| at + LEN > record.len()));
        }
        Examined::CorruptIdentity => {
            assert!(right.is_empty() && places().any(|at| at + LEN <= record.len()));
        }
        Examined::Foreign(token) => {
            assert!(token.run != RUN && right.iter().any(|(_, found)| *found == token));
        }
        Examined::Many { tokens, broken } => {
            assert!(
                tokens
                    .iter()
                    .map(|(token, _)| token)
                    .eq(right.iter().map(|(_, token)| token))
            );
            assert_eq!(tokens.len() + broken as usize, places().count());
        }
        Examined::One { token, payload_ok } => {
            assert!(
                token.run == RUN
                    && right.len() == 1
                    && right.iter().all(|(_, found)| *found == token)
            );
            let at = right.first().map_or(0, |(at, _)| *at);
            let (before, after) = record.split_at(at);
            let after = after.get(LEN..).unwrap_or_default();
            let whole = before.len() == token.before as usize
                && after.len() == token.after as usize
                && payload_crc(before, after) == token.payload_crc;
            assert_eq!(payload_ok, whole, "{token:?} in {} bytes", record.len());
        }
    }
}
