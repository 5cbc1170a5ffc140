//! Bodies of events, made from the seed before the run, with a place for the token in each.
//!
//! A pool holds a few thousand finished bodies in one buffer. Sending an event is one copy of a
//! body and 64 bytes patched in place: the checksum of the payload around the token belongs to the
//! body and was computed with it. Which body an event gets follows from its producer and sequence
//! number, so the same seed and run id give the same bytes.
//!
//! Settings, for every kind:
//!
//! | key | unit | default | meaning |
//! |---|---|---|---|
//! | `size` | bytes | 480 | length of a body, delimiter excluded; at least the kind's minimum. 480, because Flume's netcat source cuts lines at 512. `replay` takes lines as they are |
//! | `pool` | bytes | 8 MiB | how much is made; at most 64 MiB |
//! | `path` | – | – | `replay` only: the file to replay |
//!
//! Guarantees, checked for every body that enters a pool: at least 96 bytes with its token, no
//! newline or carriage return in it, the marker nowhere but where the token stands (not even across
//! the token's end), valid JSON where the kind says JSON.

mod access_log;
mod fixed;
mod json_lines;
mod replay;

use std::path::PathBuf;

use memchr::memmem;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::observe::{Batch, Micros};
use crate::token::{self, MARKER, MAX_PAYLOAD, Token, payload_crc};

/// The least length of a body, token included, in bytes.
pub const MIN_SIZE: usize = 96;
/// The length of a body where nothing is said, in bytes.
pub const DEFAULT_SIZE: usize = 480;
/// The size of a pool where nothing is said, in bytes.
pub const DEFAULT_POOL: usize = 8 << 20;
/// The most a pool may hold, in bytes.
pub const MAX_POOL: usize = 64 << 20;

/// The kinds of payload, sorted by name.
pub static KINDS: &[&Kind] = &[
    &access_log::KIND,
    &fixed::KIND,
    &json_lines::KIND,
    &replay::KIND,
];

/// One kind of payload.
#[derive(Debug)]
pub struct Kind {
    /// Its name in a scenario.
    pub name: &'static str,
    /// What it is, in one sentence.
    pub summary: &'static str,
    /// The smallest working example, as it stands in a scenario.
    pub example: &'static str,
    /// The least `size`, in bytes.
    pub min_size: usize,
    fill: fn(&Settings, &mut Text, &mut Pool) -> Result<(), PayloadError>,
}

/// What a pool is made from. See the module's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Length of a body in bytes.
    pub size: usize,
    /// Bytes to make.
    pub pool: usize,
    /// The file to replay.
    pub path: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            size: DEFAULT_SIZE,
            pool: DEFAULT_POOL,
            path: None,
        }
    }
}

/// Why there can be no such pool.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// No kind has this name.
    #[error("failed to make payloads of kind \"{name}\": no such kind; there are {known}")]
    Kind {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// The bodies would be too short or too long.
    #[error(
        "failed to make payloads of kind \"{kind}\" with {size} bytes: \
         set `size` between {min} and {max}"
    )]
    Size {
        /// The kind.
        kind: &'static str,
        /// The size asked for, in bytes.
        size: usize,
        /// The least, in bytes.
        min: usize,
        /// The most, in bytes.
        max: usize,
    },
    /// The pool would be too large.
    #[error("failed to make a pool of {0} bytes: set `pool` to {MAX_POOL} at most")]
    Pool(usize),
    /// `replay` without a file.
    #[error("failed to replay a file: none is given; set `path`")]
    NoPath,
    /// The file could not be read.
    #[error("failed to read {} for replay: {source}; check `path`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file has no usable line.
    #[error(
        "failed to replay {}: it has no usable line; empty lines, and lines with a token or a \
         carriage return in them, are left out", path.display()
    )]
    NoLine {
        /// The file.
        path: PathBuf,
    },
}

/// Which event a body is written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The run.
    pub run: u64,
    /// The producer.
    pub producer: u16,
    /// The sequence number within the producer.
    pub sequence: u64,
    /// When the schedule wants it sent.
    pub intended: Micros,
}

impl Identity {
    /// The identities of a batch's events, in their order.
    pub fn of(run: u64, batch: Batch) -> impl Iterator<Item = Identity> {
        (batch.first..batch.first + u64::from(batch.count)).map(move |sequence| Identity {
            run,
            producer: batch.producer,
            sequence,
            intended: batch.intended,
        })
    }
}

/// Finished bodies, each with a gap of 64 bytes for the token.
#[derive(Debug, Clone, Default)]
pub struct Pool {
    bytes: Vec<u8>,
    bodies: Vec<Body>,
    left_out: u64,
}

#[derive(Debug, Clone, Copy)]
struct Body {
    start: u32,
    before: u32,
    after: u32,
    crc: u32,
}

impl Pool {
    /// Makes a pool of the kind with this name.
    pub fn new(kind: &str, settings: &Settings, seed: u64) -> Result<Pool, PayloadError> {
        let Some(kind) = KINDS.iter().find(|known| known.name == kind) else {
            let known: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
            return Err(PayloadError::Kind {
                name: kind.to_owned(),
                known: known.join(", "),
            });
        };
        let (min, max) = (kind.min_size, MAX_PAYLOAD as usize);
        if !(min..=max).contains(&settings.size) {
            return Err(PayloadError::Size {
                kind: kind.name,
                size: settings.size,
                min,
                max,
            });
        }
        if settings.pool > MAX_POOL {
            return Err(PayloadError::Pool(settings.pool));
        }
        let mut pool = Pool::default();
        (kind.fill)(settings, &mut Text::new(seed), &mut pool)?;
        Ok(pool)
    }

    /// Appends the body of an event, without a delimiter. The copy and the patch are all it does.
    pub fn write_event(&self, identity: &Identity, out: &mut Vec<u8>) {
        let body = self.body(identity.producer, identity.sequence);
        let (start, before) = (body.start as usize, body.before as usize);
        let end = start + before + token::LEN + body.after as usize;
        let token = Token {
            run: identity.run,
            producer: identity.producer,
            sequence: identity.sequence,
            intended: identity.intended,
            before: body.before,
            after: body.after,
            payload_crc: body.crc,
        };
        let at = out.len() + before;
        out.extend_from_slice(&self.bytes[start..end]);
        out[at..at + token::LEN].copy_from_slice(&token.encode());
    }

    /// Length of the body of an event, in bytes.
    pub fn event_len(&self, producer: u16, sequence: u64) -> usize {
        let body = self.body(producer, sequence);
        body.before as usize + token::LEN + body.after as usize
    }

    /// How many different bodies there are; never 0.
    pub fn bodies(&self) -> usize {
        self.bodies.len()
    }

    /// Lines of the replayed file that were left out (see [`PayloadError::NoLine`]).
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// The mean length of a body, in bytes.
    pub fn mean_len(&self) -> f64 {
        self.bytes.len() as f64 / self.bodies.len().max(1) as f64
    }

    fn body(&self, producer: u16, sequence: u64) -> Body {
        // Producers start at different places, so that they do not all send the same line at once.
        let spread = u64::from(producer).wrapping_mul(0x9e37_79b9);
        self.bodies[(sequence.wrapping_add(spread) % self.bodies.len() as u64) as usize]
    }

    /// Whether another body of this length still fits into the pool.
    fn has_room(&self, settings: &Settings, len: usize) -> bool {
        self.bodies.is_empty() || self.bytes.len() + len <= settings.pool
    }

    /// Takes a body in, if it keeps the module's promises.
    fn push(&mut self, before: &[u8], after: &[u8]) -> bool {
        let len = before.len() + token::LEN + after.len();
        if len < MIN_SIZE || len > MAX_PAYLOAD as usize || !clean(before) || !clean(after) {
            self.left_out += 1;
            return false;
        }
        // A token may end in "fb1", "fb" or "f"; the payload must not complete a marker.
        if [&b"u"[..], b"1u", b"b1u"]
            .iter()
            .any(|rest| after.starts_with(rest))
        {
            self.left_out += 1;
            return false;
        }
        self.bodies.push(Body {
            start: self.bytes.len() as u32,
            before: before.len() as u32,
            after: after.len() as u32,
            crc: payload_crc(before, after),
        });
        self.bytes.extend_from_slice(before);
        self.bytes.extend_from_slice(&[b'0'; token::LEN]);
        self.bytes.extend_from_slice(after);
        true
    }
}

fn clean(payload: &[u8]) -> bool {
    memchr::memchr2(b'\n', b'\r', payload).is_none() && memmem::find(payload, MARKER).is_none()
}

/// Seeded plain text. Draws only whole random words: what a range method of the random crate makes
/// of them may change between its versions, and the fingerprints with it.
#[derive(Debug)]
struct Text {
    rng: ChaCha8Rng,
}

static WORDS: &[&str] = &[
    "alert",
    "archive",
    "basket",
    "billing",
    "cache",
    "catalog",
    "checkout",
    "cluster",
    "commit",
    "customer",
    "delivery",
    "device",
    "document",
    "export",
    "failover",
    "gateway",
    "history",
    "image",
    "index",
    "invoice",
    "journal",
    "ledger",
    "login",
    "market",
    "media",
    "metric",
    "news",
    "node",
    "offset",
    "order",
    "partition",
    "payment",
    "pipeline",
    "product",
    "profile",
    "query",
    "record",
    "region",
    "report",
    "request",
    "retry",
    "route",
    "search",
    "sensor",
    "session",
    "shard",
    "stock",
    "stream",
    "summary",
    "ticket",
    "token",
    "topic",
    "update",
    "user",
    "video",
    "volume",
    "window",
    "worker",
    "zone",
    "zulu",
];

impl Text {
    fn new(seed: u64) -> Text {
        Text {
            rng: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// A number below `end`.
    fn below(&mut self, end: u32) -> u32 {
        ((u64::from(self.rng.random::<u32>()) * u64::from(end)) >> 32) as u32
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len() as u32) as usize]
    }

    fn word(&mut self) -> &'static str {
        self.pick(WORDS)
    }

    /// Appends exactly `len` characters of words with `between` between them.
    fn words(&mut self, len: usize, between: char, out: &mut String) {
        let end = out.len() + len;
        while out.len() < end {
            out.push_str(self.word());
            out.push(between);
        }
        out.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::token::{Examined, examine};

    const LOG: &[u8] =
        b"short\n\n2026-11-22 10:00:00 INFO a line that is long enough for itself\r\n\
        an old fb1u in it\nbroken\rline\nlast line without newline";

    fn settings(kind: &Kind, dir: &tempfile::TempDir) -> Settings {
        let path = dir.path().join("log");
        std::fs::File::create(&path)
            .unwrap()
            .write_all(LOG)
            .unwrap();
        let path = (kind.name == "replay").then_some(path);
        Settings {
            pool: 200_000,
            path,
            ..Settings::default()
        }
    }

    fn event(pool: &Pool, producer: u16, sequence: u64) -> Vec<u8> {
        let mut out = Vec::new();
        pool.write_event(
            &Identity {
                run: 9,
                producer,
                sequence,
                intended: 5,
            },
            &mut out,
        );
        out
    }

    fn fingerprint(pool: &Pool) -> u32 {
        (0..1_000).fold(0, |crc, sequence| {
            crc32c::crc32c_append(crc, &event(pool, 1, sequence))
        })
    }

    #[test]
    fn the_table_is_sorted_and_its_names_unique() {
        assert!(KINDS.windows(2).all(|pair| pair[0].name < pair[1].name));
        for kind in KINDS {
            assert!(
                kind.example
                    .contains(&format!("payload = \"{}\"", kind.name))
            );
            assert!(kind.min_size >= MIN_SIZE && kind.min_size <= DEFAULT_SIZE);
        }
    }

    #[test]
    fn every_event_of_every_kind_is_examined_as_itself() {
        let dir = tempfile::tempdir().unwrap();
        for kind in KINDS {
            let usual = settings(kind, &dir);
            for size in [kind.min_size, kind.min_size + 1, DEFAULT_SIZE] {
                let settings = Settings {
                    size,
                    ..usual.clone()
                };
                let pool = Pool::new(kind.name, &settings, 7).unwrap();
                for sequence in 0..pool.bodies() as u64 {
                    let body = event(&pool, 1, sequence);
                    let Examined::One {
                        token,
                        payload_ok: true,
                    } = examine(&body, 9)
                    else {
                        panic!("{}: {}", kind.name, String::from_utf8_lossy(&body));
                    };
                    assert_eq!(
                        (token.producer, token.sequence, token.intended),
                        (1, sequence, 5)
                    );
                    assert!(body.len() >= MIN_SIZE && body.len() == pool.event_len(1, sequence));
                    assert!(kind.name == "replay" || body.len() == size);
                    assert!(!body.contains(&b'\n') && !body.contains(&b'\r'));
                }
            }
        }
    }

    #[test]
    fn the_same_seed_is_the_same_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let print = |kind: &&Kind, seed| {
            fingerprint(&Pool::new(kind.name, &settings(kind, &dir), seed).unwrap())
        };
        let golden: Vec<_> = KINDS
            .iter()
            .map(|kind| (kind.name, print(kind, 7)))
            .collect();
        // Changed on purpose only: every stored seed means other bytes then.
        assert_eq!(
            golden,
            [
                ("access_log", 2_372_104_706),
                ("fixed", 734_975_772),
                ("json_lines", 591_275_915),
                ("replay", 899_655_617)
            ]
        );
        for kind in KINDS.iter().filter(|kind| kind.name != "replay") {
            assert_ne!(print(kind, 7), print(kind, 8), "{}", kind.name);
        }
    }

    #[test]
    fn a_pool_stays_within_its_size_and_varies() {
        let pool = Pool::new(
            "fixed",
            &Settings {
                pool: 100_000,
                ..Settings::default()
            },
            1,
        );
        let pool = pool.unwrap();
        assert_eq!(pool.bodies(), 100_000 / DEFAULT_SIZE);
        assert_ne!(event(&pool, 0, 0), event(&pool, 0, 1));
        assert_eq!(pool.mean_len(), DEFAULT_SIZE as f64);
    }

    #[test]
    fn a_body_that_could_be_mistaken_is_not_taken_in() {
        let mut pool = Pool::default();
        let long = [b'x'; 64];
        for (before, after) in [
            (&b"fb1u"[..], &long[..]),
            (&long, b" fb1u"),
            (&long, b"u"),
            (&long, b"1u"),
            (&long, b"b1u"),
            (&long, b"a\nb"),
            (b"a\rb", &long),
            (b"", b"too short"),
        ] {
            assert!(!pool.push(before, after), "{before:?} {after:?}");
        }
        assert!(pool.push(&long, b""));
        assert_eq!((pool.bodies(), pool.left_out()), (1, 8));
    }

    #[test]
    fn impossible_settings_are_refused() {
        let error = |kind: &str, settings: Settings| Pool::new(kind, &settings, 1).unwrap_err();
        let with = |size, pool| Settings {
            size,
            pool,
            path: None,
        };
        let message = error("acess_log", with(480, 1)).to_string();
        assert!(message.contains("access_log, fixed"), "{message}");
        assert!(matches!(
            error("fixed", with(95, 1)),
            PayloadError::Size { min: 96, .. }
        ));
        assert!(matches!(
            error("fixed", with(480, MAX_POOL + 1)),
            PayloadError::Pool(_)
        ));
        assert!(matches!(
            error("replay", with(480, 1)),
            PayloadError::NoPath
        ));
        let missing = Settings {
            path: Some("/no/such/file".into()),
            ..with(480, 1)
        };
        assert!(matches!(
            error("replay", missing),
            PayloadError::File { .. }
        ));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("empty");
        std::fs::write(&path, "\n\n").unwrap();
        let empty = Settings {
            path: Some(path),
            ..with(480, 1)
        };
        assert!(matches!(
            error("replay", empty),
            PayloadError::NoLine { .. }
        ));
    }
}
