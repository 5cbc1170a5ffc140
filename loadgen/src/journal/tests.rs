//! The journal: what goes in comes out, and no damage goes unnoticed.

use std::fs;

use proptest::prelude::*;

use super::*;
use crate::observe::{Answer, Batch, Odd, OddKind};

const HEADER: Header = Header {
    run: u64::MAX - 5,
    seed: 7,
    owing: Owing::Acked,
    producers: 4,
    batch: 100,
};

fn any_batch() -> impl Strategy<Value = Batch> {
    (any::<u16>(), 0u64..1 << 48, any::<u32>(), any::<i64>()).prop_map(
        |(producer, first, count, intended)| Batch {
            producer,
            first,
            count,
            intended,
        },
    )
}

fn any_odd() -> impl Strategy<Value = Odd> {
    let kind = prop_oneof![
        Just(OddKind::CorruptIdentity),
        (any::<u16>(), any::<u64>()).prop_map(|(p, s)| OddKind::CorruptPayload(p, s)),
        Just(OddKind::Merged),
        Just(OddKind::Split),
        Just(OddKind::Foreign),
        Just(OddKind::Torn),
    ];
    let excerpt = prop::collection::vec(any::<u8>(), 0..200);
    (kind, any::<u64>(), any::<u32>(), excerpt).prop_map(|(kind, offset, after, excerpt)| Odd {
        kind,
        offset,
        after,
        excerpt,
    })
}

fn any_frame() -> impl Strategy<Value = Frame> {
    let answer = prop_oneof![
        Just(Answer::Refused),
        Just(Answer::Unknown),
        Just(Answer::Acked)
    ];
    let change = prop_oneof![
        ".*".prop_map(|path| FileChange::Appeared { path }),
        ".*".prop_map(|path| FileChange::Renamed { path }),
        Just(FileChange::Published),
        Just(FileChange::Withdrawn),
        Just(FileChange::Vanished),
    ];
    let lists = (
        prop::collection::vec(any_batch(), 0..5),
        prop::collection::vec(any_odd(), 0..3),
    );
    prop_oneof![
        (any::<u16>(), any::<u64>())
            .prop_map(|(producer, count)| Frame::Planned { producer, count }),
        (any_batch(), any::<u32>(), any::<i64>(), any::<i64>()).prop_map(
            |(batch, attempt, released, first_byte)| {
                Frame::Sent(Sent {
                    batch,
                    attempt,
                    released,
                    first_byte,
                })
            }
        ),
        (any_batch(), any::<u32>(), answer, any::<i64>()).prop_map(
            |(batch, attempt, answer, at)| {
                Frame::Answered(Answered {
                    batch,
                    attempt,
                    answer,
                    at,
                })
            }
        ),
        (
            any::<u32>(),
            any::<i64>(),
            any::<i64>(),
            any::<u64>(),
            lists
        )
            .prop_map(|(file, at, previous, offset, (found, odd))| {
                Frame::Read(Read {
                    file,
                    at,
                    previous,
                    offset,
                    found,
                    odd,
                })
            }),
        (any::<u32>(), any::<i64>(), change).prop_map(|(file, at, change)| Frame::File {
            file,
            at,
            change
        }),
        (any::<i64>(), any::<i64>()).prop_map(|(from, to)| Frame::Looked { from, to }),
        (any::<i64>(), any::<i64>(), ".*").prop_map(|(from, to, why)| Frame::Blind {
            from,
            to,
            why
        }),
    ]
}

fn put(writer: &mut Writer, frame: &Frame) {
    let done = match frame {
        Frame::Planned { producer, count } => writer.planned(*producer, *count),
        Frame::Sent(sent) => writer.sent(sent),
        Frame::Answered(answered) => writer.answered(answered),
        Frame::Read(read) => writer.read(read),
        Frame::File { file, at, change } => writer.file(*file, *at, change),
        Frame::Looked { from, to } => writer.looked(*from, *to),
        Frame::Blind { from, to, why } => writer.blind(*from, *to, why),
    };
    done.unwrap();
}

struct Written {
    dir: tempfile::TempDir,
    bytes: Vec<u8>,
}

impl Written {
    fn new(frames: &[Frame]) -> Written {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("whole");
        let mut writer = Writer::create(&path, &HEADER).unwrap();
        frames.iter().for_each(|frame| put(&mut writer, frame));
        writer.finish().unwrap();
        Written {
            bytes: fs::read(path).unwrap(),
            dir,
        }
    }

    /// What a reader makes of these bytes.
    fn read(&self, bytes: &[u8]) -> Result<(Vec<Frame>, Option<Tail>), JournalError> {
        let path = self.dir.path().join("changed");
        fs::write(&path, bytes).unwrap();
        let mut reader = Reader::open(&path)?;
        assert_eq!(*reader.header(), HEADER);
        let frames = reader.by_ref().collect::<Result<_, _>>()?;
        assert!(reader.next().is_none());
        Ok((frames, reader.tail()))
    }

    fn header_len(&self) -> usize {
        let len = u32::from_le_bytes(self.bytes[8..12].try_into().unwrap());
        MAGIC.len() + HEAD + len as usize
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_is_written_is_read(frames in prop::collection::vec(any_frame(), 0..30)) {
        let written = Written::new(&frames);
        let (read, tail) = written.read(&written.bytes).unwrap();
        prop_assert_eq!(read, frames);
        prop_assert_eq!(tail, Some(Tail::Clean));
    }

    #[test]
    fn whatever_is_cut_off_a_prefix_is_left(
        frames in prop::collection::vec(any_frame(), 0..10), cuts in prop::collection::vec(any::<prop::sample::Index>(), 8),
    ) {
        let written = Written::new(&frames);
        for cut in cuts {
            let cut = cut.index(written.bytes.len());
            match written.read(&written.bytes[..cut]) {
                Ok((read, tail)) => {
                    prop_assert!(frames.starts_with(&read));
                    let Some(Tail::Torn { at }) = tail else { panic!("{tail:?}") };
                    prop_assert!(at <= cut as u64);
                    // What is left up to the tear is all there was up to it.
                    let again = written.read(&written.bytes[..at as usize]).unwrap();
                    prop_assert_eq!(again, (read, Some(Tail::Torn { at })));
                }
                Err(error) => {
                    let no_journal = matches!(error, JournalError::NotAJournal { .. });
                    prop_assert!(no_journal, "{}", error);
                    prop_assert!(cut < written.header_len());
                }
            }
        }
    }

    #[test]
    fn no_changed_byte_goes_unnoticed(
        frames in prop::collection::vec(any_frame(), 1..10), at in any::<prop::sample::Index>(), change in 1u8..,
    ) {
        let written = Written::new(&frames);
        let mut bytes = written.bytes.clone();
        let at = at.index(bytes.len());
        bytes[at] ^= change;
        match written.read(&bytes) {
            // Only the end frame can be bad with nothing valid behind it.
            Ok((read, tail)) => {
                prop_assert!(at >= bytes.len() - HEAD);
                prop_assert_eq!(read, frames);
                prop_assert_eq!(tail, Some(Tail::Torn { at: (bytes.len() - HEAD) as u64 }));
            }
            Err(JournalError::Corrupt { at: found, .. }) => prop_assert!(found <= at as u64),
            Err(error) => prop_assert!(at < written.header_len(), "{}", error),
        }
    }

    #[test]
    fn garbage_is_an_error_and_no_panic(garbage in prop::collection::vec(any::<u8>(), 0..300)) {
        let written = Written::new(&[]);
        prop_assert!(written.read(&garbage).is_err());
        let whole = [&written.bytes[..], &garbage].concat();
        prop_assert_eq!(written.read(&whole).is_err(), !garbage.is_empty());
        let header = &written.bytes[..written.header_len()];
        let (read, tail) = written.read(&[header, &garbage].concat()).unwrap();
        prop_assert_eq!((read.len(), tail), (0, Some(Tail::Torn { at: header.len() as u64 })));
    }
}

#[test]
fn a_frame_is_valid_in_its_own_place_only() {
    let frame = Frame::Looked { from: 1, to: 2 };
    let written = Written::new(&[frame.clone(), Frame::Looked { from: 3, to: 4 }, frame]);
    let (start, len) = (written.header_len(), HEAD + 2);
    // The first and the last frame say the same, but exchanged they are out of place.
    let mut bytes = written.bytes.clone();
    let (first, last) = (start..start + len, start + 2 * len..start + 3 * len);
    assert_eq!(
        bytes[first.start + HEAD..first.end],
        bytes[last.start + HEAD..last.end]
    );
    bytes[first.clone()].copy_from_slice(&written.bytes[last]);
    assert!(matches!(
        written.read(&bytes),
        Err(JournalError::Corrupt { at, .. }) if at == first.start as u64
    ));
}

#[test]
fn a_journal_is_on_disk_when_it_is_flushed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.bin");
    let mut writer = Writer::create(&path, &HEADER).unwrap();
    writer.looked(1, 2).unwrap();
    writer.flush().unwrap();
    let mut reader = Reader::open(&path).unwrap();
    assert_eq!(
        reader.next().unwrap().unwrap(),
        Frame::Looked { from: 1, to: 2 }
    );
    assert!(reader.next().is_none());
    assert!(matches!(reader.tail(), Some(Tail::Torn { .. })));
    writer.finish().unwrap();
    assert!(writer.looked(3, 4).is_err() && writer.flush().is_err());
    assert_eq!(Reader::open(&path).unwrap().count(), 1);
}

#[test]
fn what_exists_is_not_overwritten_and_other_versions_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.bin");
    let mut writer = Writer::create(&path, &HEADER).unwrap();
    assert!(matches!(
        Writer::create(&path, &HEADER),
        Err(JournalError::Io { .. })
    ));
    writer.finish().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let start = MAGIC.len();
    bytes[start + HEAD] = 9;
    let len = u32::from_le_bytes(bytes[start..start + 4].try_into().unwrap()) as usize;
    let body = bytes[start + HEAD..start + HEAD + len].to_vec();
    let crc = code::crc(start as u64, &[kind::HEADER], &body);
    bytes[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    assert!(matches!(
        Reader::open(&path),
        Err(JournalError::Version { version: 9, .. })
    ));
}
