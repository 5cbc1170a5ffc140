//! The contents of one file: from bytes, as they come, to what they are.
//!
//! Bytes (inflated first if the file begins like gzip) are cut into newline-terminated records, and
//! each record is examined for tokens. What it is worth:
//!
//! | record | reported as |
//! |---|---|
//! | one right token of this run, payload right | found |
//! | one right token of this run, payload wrong | odd: corrupt payload, with its id |
//! | a token whose own checksum is wrong | odd: corrupt identity |
//! | more than one token | odd: merged; none of its tokens is found |
//! | a right token of another run | odd: foreign |
//! | a piece of a token, cut off by the record's end | odd: split |
//! | no token, in a file that the run owns | odd: split |
//! | no token, in any other file | nothing |
//! | longer than 1 MiB | each MiB odd: merged if it holds several tokens, otherwise split |
//! | a gzip stream that cannot be decoded any further | once: odd, split, with the reason as excerpt |
//! | unterminated when the writer is dead ([`Scanner::end`]) | odd: torn |
//!
//! Offsets count in the decoded stream. Memory is bounded by the longest record and one read.

use crate::observe::{Batch, Odd, OddKind};
use crate::token::{Examined, examine};

use super::gunzip::{Gunzip, MAGIC};

/// The longest record, in bytes.
pub const MAX_RECORD: usize = 1 << 20;

/// How much of a record is kept for the report, in bytes.
pub const EXCERPT: usize = 200;

/// How much a compressed stream may give out before it is cut into records, in bytes.
const PIECE: usize = 256 << 10;

/// What some bytes of a file turned out to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Finding {
    /// Offset of the first record of `found`, or where the scan stood if there is none.
    pub offset: u64,
    /// Records of this run, neighbours merged.
    pub found: Vec<Batch>,
    /// All that is not simply that.
    pub odd: Vec<Odd>,
    /// How many events `found` makes.
    pub events: u64,
}

impl Finding {
    /// Whether there is anything to report.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty() && self.odd.is_empty()
    }
}

/// Where the scan of one file stands.
#[derive(Debug)]
pub struct Scanner {
    run: u64,
    owned: bool,
    form: Form,
    /// The beginning of a record whose end has not come.
    carry: Vec<u8>,
    /// Offset of the next record's first byte (of `carry`, if that is not empty).
    offset: u64,
    /// The present record is too long; its rest comes in pieces.
    overlong: bool,
    /// What [`Scanner::end`] has reported already, as offset and length.
    torn: Option<(u64, usize)>,
}

#[derive(Debug)]
enum Form {
    /// Not enough bytes to tell; what there is.
    Unknown(Vec<u8>),
    Plain,
    Gzip(Box<Gunzip>),
    /// A stream that was gzip and cannot be decoded any further.
    Broken,
}

impl Scanner {
    /// A scan from the start of a file. `owned`: only this run writes it.
    pub fn new(run: u64, owned: bool) -> Scanner {
        Scanner {
            run,
            owned,
            form: Form::Unknown(Vec::new()),
            carry: Vec::new(),
            offset: 0,
            overlong: false,
            torn: None,
        }
    }

    /// Tokens of another run are looked for from the next record on.
    pub fn turn(&mut self, run: u64) {
        self.run = run;
    }

    /// Takes the next bytes of the file and says what they hold.
    pub fn feed(&mut self, bytes: &[u8]) -> Finding {
        let mut finding = Finding {
            offset: self.offset,
            ..Finding::default()
        };
        let joined;
        let mut bytes = bytes;
        if let Form::Unknown(held) = &mut self.form {
            held.extend_from_slice(bytes);
            if held.len() < MAGIC.len() && MAGIC.starts_with(held) {
                return finding;
            }
            joined = std::mem::take(held);
            bytes = &joined;
            self.form = if bytes.starts_with(&MAGIC) {
                Form::Gzip(Box::new(Gunzip::new()))
            } else {
                Form::Plain
            };
        }
        match &self.form {
            Form::Plain => self.records(bytes, &mut finding),
            Form::Gzip(_) => self.inflate(bytes, &mut finding),
            Form::Unknown(_) | Form::Broken => {}
        }
        finding
    }

    /// The writer is dead: what of the file will never be whole. Reported once, unless more came.
    pub fn end(&mut self) -> Finding {
        let mut finding = Finding {
            offset: self.offset,
            ..Finding::default()
        };
        let held = match &self.form {
            Form::Unknown(held) => held.clone(),
            _ => Vec::new(),
        };
        let tail = if held.is_empty() { &self.carry } else { &held };
        let cut = matches!(&self.form, Form::Gzip(stream) if !stream.is_whole());
        if tail.is_empty() && !cut {
            return finding;
        }
        let torn = Some((self.offset, tail.len()));
        if self.torn != torn {
            let excerpt = if tail.is_empty() {
                b"an unfinished gzip member"
            } else {
                tail.as_slice()
            };
            finding
                .odd
                .push(odd(OddKind::Torn, self.offset, 0, excerpt));
            self.torn = torn;
        }
        finding
    }

    fn inflate(&mut self, mut bytes: &[u8], finding: &mut Finding) {
        let mut piece = Vec::new();
        loop {
            piece.clear();
            let Form::Gzip(stream) = &mut self.form else {
                return;
            };
            let taken = stream.feed(bytes, &mut piece, PIECE);
            // What came before the damage is as good as ever.
            self.records(&piece, finding);
            match taken {
                Ok(took) => bytes = bytes.get(took..).unwrap_or_default(),
                Err(why) => {
                    self.form = Form::Broken;
                    let text = format!("the file cannot be read on: {why}");
                    let after = count(finding);
                    finding
                        .odd
                        .push(odd(OddKind::Split, self.offset, after, text.as_bytes()));
                    return;
                }
            }
            if bytes.is_empty() {
                return;
            }
        }
    }

    fn records(&mut self, bytes: &[u8], finding: &mut Finding) {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (record, after) = rest.split_at(end);
            rest = after.get(1..).unwrap_or_default();
            if self.carry.is_empty() && !self.overlong && record.len() < MAX_RECORD {
                self.judge(record, finding);
                self.offset += record.len() as u64 + 1;
                continue;
            }
            self.hold(record, finding);
            let carry = std::mem::take(&mut self.carry);
            if self.overlong {
                self.piece(&carry, finding);
            } else {
                self.judge(&carry, finding);
            }
            self.offset += carry.len() as u64 + 1;
            self.overlong = false;
            self.carry = carry;
            self.carry.clear();
        }
        self.hold(rest, finding);
    }

    /// Keeps the beginning of a record; hands over what is longer than a record may be.
    fn hold(&mut self, mut bytes: &[u8], finding: &mut Finding) {
        while self.carry.len() + bytes.len() >= MAX_RECORD {
            let (now, later) = bytes.split_at(MAX_RECORD - self.carry.len());
            bytes = later;
            let mut piece = std::mem::take(&mut self.carry);
            piece.extend_from_slice(now);
            self.piece(&piece, finding);
            self.offset += piece.len() as u64;
            self.overlong = true;
        }
        self.carry.extend_from_slice(bytes);
    }

    /// A piece of a record that is too long.
    fn piece(&self, piece: &[u8], finding: &mut Finding) {
        if piece.is_empty() {
            return;
        }
        let kind = match examine(piece, self.run) {
            Examined::Many { .. } => OddKind::Merged,
            _ => OddKind::Split,
        };
        finding
            .odd
            .push(odd(kind, self.offset, count(finding), piece));
    }

    fn judge(&self, record: &[u8], finding: &mut Finding) {
        let kind = match examine(record, self.run) {
            Examined::One {
                token,
                payload_ok: true,
            } => {
                if finding.found.is_empty() {
                    finding.offset = self.offset;
                }
                finding.events += 1;
                return push(finding, token.producer, token.sequence, token.intended);
            }
            Examined::One {
                token,
                payload_ok: false,
            } => OddKind::CorruptPayload(token.producer, token.sequence),
            Examined::CorruptIdentity => OddKind::CorruptIdentity,
            Examined::Many { .. } => OddKind::Merged,
            Examined::Foreign(_) => OddKind::Foreign,
            Examined::Partial => OddKind::Split,
            Examined::None if self.owned => OddKind::Split,
            Examined::None => return,
        };
        finding
            .odd
            .push(odd(kind, self.offset, count(finding), record));
    }
}

/// How many of `found` stand before an odd record.
fn count(finding: &Finding) -> u32 {
    u32::try_from(finding.found.len()).unwrap_or(u32::MAX)
}

fn odd(kind: OddKind, offset: u64, after: u32, record: &[u8]) -> Odd {
    let excerpt = record.get(..EXCERPT).unwrap_or(record).to_vec();
    Odd {
        kind,
        offset,
        after,
        excerpt,
    }
}

/// Adds one event at the end, merged into the last batch if it continues it and nothing odd stands
/// between them.
fn push(finding: &mut Finding, producer: u16, sequence: u64, intended: i64) {
    let parted = finding
        .odd
        .last()
        .is_some_and(|odd| odd.after == count(finding));
    if let Some(last) = finding.found.last_mut().filter(|_| !parted) {
        let next = last.first + u64::from(last.count);
        let same = (last.producer, last.intended, next) == (producer, intended, sequence);
        if let Some(more) = last.count.checked_add(1).filter(|_| same) {
            last.count = more;
            return;
        }
    }
    finding.found.push(Batch {
        producer,
        first: sequence,
        count: 1,
        intended,
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{Token, payload_crc};
    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;
    use std::io::Write;

    const RUN: u64 = 7;

    fn body(run: u64, sequence: u64) -> Vec<u8> {
        let (before, after) = (
            b"GET /".as_slice(),
            b" HTTP/1.1 and some more text".as_slice(),
        );
        let token = Token {
            run,
            producer: 1,
            sequence,
            intended: (sequence / 4 * 1000) as i64,
            before: before.len() as u32,
            after: after.len() as u32,
            payload_crc: payload_crc(before, after),
        };
        [before, &token.encode(), after].concat()
    }

    fn lines(sequences: impl IntoIterator<Item = u64>) -> Vec<u8> {
        sequences
            .into_iter()
            .flat_map(|n| [body(RUN, n), b"\n".to_vec()].concat())
            .collect()
    }

    fn kinds(finding: &Finding) -> Vec<OddKind> {
        finding.odd.iter().map(|odd| odd.kind).collect()
    }

    /// All that a scan finds in pieces: events in order, and odd kinds with their offsets.
    fn scan(bytes: &[u8], size: usize) -> (Vec<u64>, Vec<(OddKind, u64)>) {
        let mut scanner = Scanner::new(RUN, true);
        let (mut events, mut odds) = (Vec::new(), Vec::new());
        for piece in bytes.chunks(size) {
            let finding = scanner.feed(piece);
            let counted: u64 = finding.found.iter().map(|b| u64::from(b.count)).sum();
            assert_eq!(counted, finding.events);
            events.extend(
                finding
                    .found
                    .iter()
                    .flat_map(|b| b.first..b.first + u64::from(b.count)),
            );
            odds.extend(finding.odd.iter().map(|odd| (odd.kind, odd.offset)));
        }
        (events, odds)
    }

    #[test]
    fn neighbours_of_one_instant_are_one_batch() {
        let finding = Scanner::new(RUN, true).feed(&lines([0, 1, 2, 3, 4, 5, 9, 9]));
        let short: Vec<_> = finding
            .found
            .iter()
            .map(|b| (b.first, b.count, b.intended))
            .collect();
        assert_eq!(short, [(0, 4, 0), (4, 2, 1000), (9, 1, 2000), (9, 1, 2000)]);
        assert_eq!(
            (finding.offset, finding.odd.len(), finding.events),
            (0, 0, 8)
        );
    }

    #[test]
    fn each_oddity_has_its_name_place_and_excerpt() {
        let good = body(RUN, 1);
        let cases: [(&str, Vec<u8>, OddKind); 7] = [
            (
                "payload",
                good.iter().rev().skip(1).rev().copied().collect(),
                OddKind::CorruptPayload(1, 1),
            ),
            (
                "identity",
                [&good[..20], b"z", &good[21..]].concat(),
                OddKind::CorruptIdentity,
            ),
            (
                "merged",
                [good.clone(), body(RUN, 2)].concat(),
                OddKind::Merged,
            ),
            ("foreign", body(8, 1), OddKind::Foreign),
            ("partial", good[..40].to_vec(), OddKind::Split),
            ("rest", good[40..].to_vec(), OddKind::Split),
            ("empty", Vec::new(), OddKind::Split),
        ];
        for (name, record, kind) in cases {
            let file = [lines([0]), record.clone(), b"\n".to_vec(), lines([5])].concat();
            let finding = Scanner::new(RUN, true).feed(&file);
            assert_eq!(kinds(&finding), [kind], "{name}");
            assert_eq!(finding.odd[0].offset, lines([0]).len() as u64, "{name}");
            assert_eq!(finding.odd[0].after, 1, "{name}");
            assert_eq!(
                finding.odd[0].excerpt,
                record[..record.len().min(EXCERPT)],
                "{name}"
            );
            assert_eq!(finding.events, 2, "{name}");
        }
        let foreign = Scanner::new(RUN, false).feed(b"somebody else's line\n\n");
        assert!(
            foreign.is_empty(),
            "a file that the run shares: {foreign:?}"
        );
    }

    #[test]
    fn a_torn_tail_is_reported_once_and_completed_if_more_comes() {
        let whole = lines([0, 1]);
        let mut scanner = Scanner::new(RUN, true);
        assert_eq!(scanner.feed(&whole[..whole.len() - 1]).events, 1);
        let torn = scanner.end();
        assert_eq!(kinds(&torn), [OddKind::Torn]);
        assert_eq!(torn.odd[0].offset, lines([0]).len() as u64);
        assert!(scanner.end().is_empty());
        assert_eq!(
            scanner.feed(b"\n").found,
            [Batch {
                producer: 1,
                first: 1,
                count: 1,
                intended: 0
            }]
        );
        assert!(scanner.end().is_empty());
        let mut scanner = Scanner::new(RUN, true);
        scanner.feed(&MAGIC[..1]);
        assert_eq!(kinds(&scanner.end()), [OddKind::Torn]);
    }

    #[test]
    fn an_endless_record_is_cut_with_bounded_memory() {
        let mut scanner = Scanner::new(RUN, true);
        let mut odd = Vec::new();
        for _ in 0..50 {
            odd.extend(scanner.feed(&[b'x'; 100_000]).odd);
            assert!(scanner.carry.capacity() <= 2 * MAX_RECORD);
        }
        let last = scanner.feed(&[b"\n".to_vec(), lines([0])].concat());
        odd.extend(last.odd.clone());
        assert_eq!(odd.len(), 5, "4 whole MiB and the rest");
        assert!(odd.iter().all(|odd| odd.kind == OddKind::Split));
        assert_eq!(odd[1].offset, MAX_RECORD as u64);
        assert_eq!((last.events, last.offset), (1, 5_000_001));
    }

    #[test]
    fn gzip_members_are_read_as_they_grow_and_damage_is_said_once() {
        let mut file = Vec::new();
        for part in [0u64..3, 3..4] {
            let mut encoder = GzEncoder::new(&mut file, Compression::fast());
            encoder.write_all(&lines(part)).unwrap();
            encoder.finish().unwrap();
        }
        for size in [1, 7, 10_000] {
            assert_eq!(
                scan(&file, size),
                (vec![0, 1, 2, 3], vec![]),
                "pieces of {size}"
            );
        }
        let mut scanner = Scanner::new(RUN, true);
        scanner.feed(&file[..file.len() - 3]);
        assert_eq!(
            kinds(&scanner.end()),
            [OddKind::Torn],
            "an unfinished member"
        );
        let mut damaged = file.clone();
        damaged.extend_from_slice(b"not gzip at all");
        damaged.extend_from_slice(&file);
        let (events, odd) = scan(&damaged, 50);
        assert_eq!((events.len(), odd.len()), (4, 1), "{odd:?}");
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_give_the_same_as_the_whole(
            records in prop::collection::vec(prop_oneof![
                4 => (0u64..50).prop_map(|n| body(RUN, n)),
                1 => prop::collection::vec(any::<u8>(), 0..80),
                1 => Just(body(9, 1)),
                1 => (1usize..97).prop_map(|cut| body(RUN, 3)[cut..].to_vec()),
            ], 0..12),
            size in 1usize..300,
        ) {
            let file: Vec<u8> = records.iter().flat_map(|r| [r.as_slice(), b"\n"].concat()).collect();
            prop_assert_eq!(scan(&file, size), scan(&file, usize::MAX));
        }
    }
}
