//! The token: how one event is recognised again, wherever and however it comes out.
//!
//! A token is 64 characters, letters and digits only, so that it survives every text format, URL
//! and shell on its way. It stands inside an event's body:
//!
//! ```text
//! body    = before ‖ token ‖ after              (delimiters such as the newline belong to neither)
//! token   = "fb1u" ‖ base32(37 bytes)           4 + 60 characters
//! base32  = lower-case Crockford, 0123456789abcdefghjkmnpqrstvwxyz, most significant bit first;
//!           296 bits fill 59 characters and one bit, the last four bits are zero
//!
//! byte  0       version, 1
//! byte  1..9    run id                          all integers are big-endian
//! byte  9..11   producer
//! byte 11..17   sequence number
//! byte 17..23   intended instant, µs since t0
//! byte 23..26   length of `before`, bytes
//! byte 26..29   length of `after`, bytes
//! byte 29..33   CRC32C of before ‖ after
//! byte 33..37   CRC32C of "fb1u" ‖ bytes 0..33
//! ```
//!
//! The alphabet has no `u`, so the marker cannot occur inside a token, and every `fb1u` in a record
//! is the beginning of something that claims to be one. Two checksums, so that a corrupt payload
//! (whose event is known) is told from a corrupt identity (which is attributed to nobody).
//!
//! The decoder is strict: upper case, Crockford's aliases (`o` for `0`, `i` and `l` for `1`) and
//! set padding bits are errors. One identity has one spelling.

use std::sync::LazyLock;

use memchr::memmem::Finder;

/// Length of a token in bytes (all of them ASCII).
pub const LEN: usize = 64;

/// What every token begins with.
pub const MARKER: &[u8; 4] = b"fb1u";

/// The largest sequence number, and the largest intended instant in µs: 48 bits.
pub const MAX_U48: u64 = (1 << 48) - 1;

/// The largest length of payload before or after a token, in bytes: 24 bits.
pub const MAX_PAYLOAD: u32 = (1 << 24) - 1;

const VERSION: u8 = 1;
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const BYTES: usize = 37;
const SIGNED: usize = 33;

/// Value of each character, 0xff where it is not in the alphabet.
static VALUES: [u8; 256] = {
    let mut values = [0xff; 256];
    let mut i = 0;
    while i < 32 {
        values[ALPHABET[i] as usize] = i as u8;
        i += 1;
    }
    values
};

static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(MARKER));

/// The identity of one event, and what its payload must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token {
    /// The run that made the event.
    pub run: u64,
    /// Which producer of the run.
    pub producer: u16,
    /// Sequence number within the producer, dense from 0; at most [`MAX_U48`].
    pub sequence: u64,
    /// When the schedule wanted it sent, µs since t0; 0 to [`MAX_U48`].
    pub intended: i64,
    /// Payload bytes before the token; at most [`MAX_PAYLOAD`].
    pub before: u32,
    /// Payload bytes after the token, delimiter excluded; at most [`MAX_PAYLOAD`].
    pub after: u32,
    /// CRC32C of the payload, before ‖ after ([`payload_crc`]).
    pub payload_crc: u32,
}

/// Why 64 bytes are not a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It does not begin with the marker.
    #[error("failed to decode a token: it does not begin with \"fb1u\"")]
    Marker,
    /// A character that is not in the alphabet (upper case and aliases are not).
    #[error("failed to decode a token: byte {at} is not a lower-case Crockford character")]
    Character {
        /// Position in the token, from 0.
        at: usize,
    },
    /// The four bits at the end are not zero.
    #[error("failed to decode a token: its last four bits are not zero")]
    Padding,
    /// The identity's checksum is wrong.
    #[error("failed to decode a token: the checksum of the identity is wrong")]
    Checksum,
    /// The checksum is right, but the layout is that of another version.
    #[error("failed to decode a token of version {0}: this program knows version 1 only")]
    Version(u8),
}

/// CRC32C of a payload that has a token in its middle.
pub fn payload_crc(before: &[u8], after: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(before), after)
}

impl Token {
    /// The 64 characters. Fields beyond their width are clamped to it (a negative `intended` is
    /// written as 0); the schedule and the pool keep well below the limits.
    pub fn encode(&self) -> [u8; LEN] {
        let mut raw = [0u8; BYTES + 3];
        raw[0] = VERSION;
        raw[1..9].copy_from_slice(&self.run.to_be_bytes());
        raw[9..11].copy_from_slice(&self.producer.to_be_bytes());
        raw[11..17].copy_from_slice(&self.sequence.min(MAX_U48).to_be_bytes()[2..]);
        let intended = u64::try_from(self.intended).unwrap_or(0).min(MAX_U48);
        raw[17..23].copy_from_slice(&intended.to_be_bytes()[2..]);
        raw[23..26].copy_from_slice(&self.before.min(MAX_PAYLOAD).to_be_bytes()[1..]);
        raw[26..29].copy_from_slice(&self.after.min(MAX_PAYLOAD).to_be_bytes()[1..]);
        raw[29..33].copy_from_slice(&self.payload_crc.to_be_bytes());
        let crc = identity_crc(&raw[..SIGNED]);
        raw[33..37].copy_from_slice(&crc.to_be_bytes());

        let mut out = [0u8; LEN];
        out[..4].copy_from_slice(MARKER);
        // Five bytes are eight characters; the three zero bytes after the 37 fill the last group,
        // of which only the first four characters are kept.
        let mut at = 4;
        for group in raw.chunks_exact(5) {
            let bits = group
                .iter()
                .fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
            for i in 0..8.min(LEN - at) {
                out[at + i] = ALPHABET[(bits >> (35 - 5 * i) & 31) as usize];
            }
            at = (at + 8).min(LEN);
        }
        out
    }

    /// Reads a token back; strict (see the module's text).
    pub fn decode(text: &[u8; LEN]) -> Result<Token, TokenError> {
        if &text[..4] != MARKER {
            return Err(TokenError::Marker);
        }
        let mut raw = [0u8; BYTES + 3];
        for (group, (start, chars)) in raw
            .chunks_exact_mut(5)
            .zip((4..).step_by(8).zip(text[4..].chunks(8)))
        {
            let mut bits = 0u64;
            for (i, character) in chars.iter().enumerate() {
                let value = VALUES[usize::from(*character)];
                if value == 0xff {
                    return Err(TokenError::Character { at: start + i });
                }
                bits |= u64::from(value) << (35 - 5 * i);
            }
            group.copy_from_slice(&bits.to_be_bytes()[3..]);
        }
        if raw[BYTES..] != [0; 3] {
            return Err(TokenError::Padding);
        }
        if identity_crc(&raw[..SIGNED]).to_be_bytes() != raw[SIGNED..BYTES] {
            return Err(TokenError::Checksum);
        }
        if raw[0] != VERSION {
            return Err(TokenError::Version(raw[0]));
        }
        Ok(Token {
            run: number(&raw[1..9]),
            producer: number(&raw[9..11]) as u16,
            sequence: number(&raw[11..17]),
            intended: number(&raw[17..23]) as i64,
            before: number(&raw[23..26]) as u32,
            after: number(&raw[26..29]) as u32,
            payload_crc: number(&raw[29..33]) as u32,
        })
    }

    /// Whether a record that has this token at `at` holds its whole payload around it, unharmed.
    fn payload_within(&self, record: &[u8], at: usize) -> bool {
        let (before, after) = (self.before as usize, self.after as usize);
        let end = at + LEN + after;
        before <= at
            && end <= record.len()
            && payload_crc(&record[at - before..at], &record[at + LEN..end]) == self.payload_crc
    }

    /// Whether the lengths in the token make up exactly this record.
    fn covers(&self, record: &[u8], at: usize) -> bool {
        self.before as usize == at && at + LEN + self.after as usize == record.len()
    }
}

fn identity_crc(signed: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(MARKER), signed)
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// What a record turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Examined {
    /// One right token of this run. `payload_ok` is false when a checksum or a length around it is
    /// wrong: the event is known, and it is corrupt.
    One {
        /// The token.
        token: Token,
        /// The payload has the right length before and after, and the right checksum.
        payload_ok: bool,
    },
    /// No marker at all: a foreign line, or the tail of a split one.
    None,
    /// A marker with fewer than 60 characters after it, all cut off by the end of the record.
    Partial,
    /// A marker with 60 bytes after it which are not a right token. Attributed to nobody.
    CorruptIdentity,
    /// More than one token, or a whole one and a piece of another: lines that ran together.
    /// A merged record is malformed, and none of its tokens counts as stored, however well its
    /// original came through: a reader of the store gets one record where there were several.
    Many {
        /// The right tokens in it, of whichever run, in their order, each with whether its own
        /// payload can be cut out unharmed by the lengths it carries.
        tokens: Vec<(Token, bool)>,
        /// Markers in it that are not right tokens.
        broken: u32,
    },
    /// One right token of another run.
    Foreign(Token),
}

/// Looks at every marker in a record (without its delimiter) and says what the record is.
///
/// A right token whose lengths make up the whole record makes it that event's record, even if
/// damage to the payload happens to spell another marker. Otherwise a marker more makes it merged.
pub fn examine(record: &[u8], run: u64) -> Examined {
    let mut first: Option<(Token, usize)> = None;
    let mut more: Vec<(Token, usize)> = Vec::new();
    let (mut broken, mut cut) = (0u32, 0u32);
    for at in FINDER.find_iter(record) {
        let Some(text) = record[at..].first_chunk::<LEN>() else {
            cut += 1;
            continue;
        };
        match Token::decode(text) {
            Ok(token) if first.is_none() => first = Some((token, at)),
            Ok(token) => more.push((token, at)),
            Err(_) => broken += 1,
        }
    }
    let Some((token, at)) = first else {
        return match (broken, cut) {
            (0, 0) => Examined::None,
            (0, _) => Examined::Partial,
            _ => Examined::CorruptIdentity,
        };
    };
    let covers = token.covers(record, at);
    if !more.is_empty() || (broken + cut > 0 && !covers) {
        let tokens = std::iter::once((token, at)).chain(more);
        return Examined::Many {
            tokens: tokens
                .map(|(token, at)| (token, token.payload_within(record, at)))
                .collect(),
            broken: broken + cut,
        };
    }
    if token.run != run {
        return Examined::Foreign(token);
    }
    Examined::One {
        token,
        payload_ok: covers && token.payload_within(record, at),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token_for(before: &[u8], after: &[u8], sequence: u64) -> Token {
        Token {
            run: 0x0123_4567_89ab_cdef,
            producer: 3,
            sequence,
            intended: 1_000_000,
            before: before.len() as u32,
            after: after.len() as u32,
            payload_crc: payload_crc(before, after),
        }
    }

    fn record(before: &[u8], after: &[u8], sequence: u64) -> Vec<u8> {
        let token = token_for(before, after, sequence);
        [before, token.encode().as_slice(), after].concat()
    }

    const RUN: u64 = 0x0123_4567_89ab_cdef;

    #[test]
    fn a_token_is_spelled_as_the_design_says() {
        let token = Token {
            run: 1,
            producer: 2,
            sequence: 3,
            intended: 4,
            before: 5,
            after: 6,
            payload_crc: 7,
        };
        // Worked out by hand: the set bits are 7, 71, 86, 134 and 135.
        let text = String::from_utf8(token.encode().to_vec()).unwrap();
        assert!(
            text.starts_with("fb1u040000000000008008000000001g"),
            "{text}"
        );
        assert_eq!(text.len(), LEN);
        assert_eq!(Token::decode(&token.encode()), Ok(token));
    }

    #[test]
    fn the_decoder_knows_one_spelling_only() {
        let good = token_for(b"a", b"b", 9).encode();
        let upper: [u8; LEN] = good.to_ascii_uppercase().try_into().unwrap();
        assert_eq!(Token::decode(&upper), Err(TokenError::Marker));
        let letter = 4 + good[4..].iter().position(u8::is_ascii_lowercase).unwrap();
        let mut one_upper = good;
        one_upper[letter].make_ascii_uppercase();
        assert_eq!(
            Token::decode(&one_upper),
            Err(TokenError::Character { at: letter })
        );
        let zero = 4 + good[4..].iter().position(|c| *c == b'0').unwrap();
        for alias in *b"oOiIlLuU-" {
            let mut aliased = good;
            aliased[zero] = alias;
            assert_eq!(
                Token::decode(&aliased),
                Err(TokenError::Character { at: zero })
            );
        }
        let mut padded = good;
        let value = VALUES[usize::from(padded[LEN - 1])];
        padded[LEN - 1] = ALPHABET[usize::from(value | 1)];
        assert_eq!(Token::decode(&padded), Err(TokenError::Padding));
    }

    #[test]
    fn records_are_told_apart() {
        let one = record(b"GET /?id=", b" 200", 1);
        let two = record(b"GET /x?id=", b" 404", 2);
        let ok = |record: &[u8]| {
            matches!(
                examine(record, RUN),
                Examined::One {
                    payload_ok: true,
                    ..
                }
            )
        };
        assert!(ok(&one) && ok(&two));
        assert_eq!(examine(b"no token here", RUN), Examined::None);
        assert_eq!(examine(b"", RUN), Examined::None);
        assert_eq!(examine(&one[..40], RUN), Examined::Partial);
        assert_eq!(examine(&one[40..], RUN), Examined::None);
        assert_eq!(
            examine(&one, 5),
            Examined::Foreign(token_for(b"GET /?id=", b" 200", 1))
        );
        // Truncated behind the token, and something stuck to it: known event, corrupt payload.
        for bad in [&one[..one.len() - 2], &[&one[..], b"x"].concat()] {
            assert!(matches!(
                examine(bad, RUN),
                Examined::One {
                    payload_ok: false,
                    ..
                }
            ));
        }
    }

    #[test]
    fn a_merged_record_shows_its_originals() {
        let merged = [record(b"a ", b" b", 1), record(b"c ", b" d", 2)].concat();
        let Examined::Many { tokens, broken } = examine(&merged, RUN) else {
            panic!("not merged")
        };
        let seen: Vec<_> = tokens
            .iter()
            .map(|(token, ok)| (token.sequence, *ok))
            .collect();
        assert_eq!((seen, broken), (vec![(1, true), (2, true)], 0));
        // A whole line and the first half of the next: merged too, never "corrupt payload of 1".
        let half = &merged[..merged.len() - 30];
        let Examined::Many { tokens, broken } = examine(half, RUN) else {
            panic!("not merged")
        };
        assert_eq!((tokens.len(), tokens[0].1, broken), (1, true, 1));
    }

    #[test]
    fn damage_that_spells_a_marker_does_not_make_a_record_merged() {
        let mut bytes = record(b"GET /fb1v-and-then-some-more-text?", b" x", 1);
        bytes[8] = b'u';
        assert!(matches!(
            examine(&bytes, RUN),
            Examined::One {
                payload_ok: false,
                ..
            }
        ));
    }

    fn any_token() -> impl Strategy<Value = Token> {
        (
            any::<u64>(),
            any::<u16>(),
            0..=MAX_U48,
            0..=MAX_U48,
            any::<u32>(),
        )
            .prop_flat_map(|(run, producer, sequence, intended, payload_crc)| {
                (0..=MAX_PAYLOAD, 0..=MAX_PAYLOAD).prop_map(move |(before, after)| Token {
                    run,
                    producer,
                    sequence,
                    intended: intended as i64,
                    before,
                    after,
                    payload_crc,
                })
            })
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(token in any_token()) {
            let text = token.encode();
            prop_assert!(text.iter().all(u8::is_ascii_alphanumeric));
            prop_assert_eq!(Token::decode(&text), Ok(token));
        }

        #[test]
        fn any_changed_byte_is_noticed(
            before in "[ -~]{0,60}", after in "[ -~]{0,60}", at in any::<prop::sample::Index>(),
            change in 1u8..,
        ) {
            let mut bytes = record(before.as_bytes(), after.as_bytes(), 77);
            let at = at.index(bytes.len());
            bytes[at] ^= change;
            let intact = matches!(examine(&bytes, RUN), Examined::One { payload_ok: true, .. });
            prop_assert!(!intact);
        }

        #[test]
        fn garbage_is_no_event_and_no_panic(
            pieces in prop::collection::vec(
                prop_oneof![
                    Just(b"fb1u".to_vec()),
                    Just(b"0123456789abcdefghjkmnpqrstvwxyz".to_vec()),
                    prop::collection::vec(any::<u8>(), 0..40),
                ], 0..8),
        ) {
            let bytes = pieces.concat();
            let event = matches!(examine(&bytes, RUN), Examined::One { .. });
            prop_assert!(!event);
        }
    }
}
