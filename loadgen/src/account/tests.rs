//! The account: what is rebuilt from the journal is what was live, and samples are what happened.

use std::sync::Arc;
use std::thread;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::observe::{Answer, OddKind};

fn header(owing: Owing) -> Header {
    Header {
        run: 1,
        seed: 2,
        owing,
        producers: 3,
        batch: 10,
    }
}

fn batch(producer: u16, first: u64, count: u32) -> Batch {
    Batch {
        producer,
        first,
        count,
        intended: first as Micros * 100,
    }
}

fn sent(batch: Batch, attempt: u32) -> Sent {
    Sent {
        batch,
        attempt,
        released: batch.intended + 3,
        first_byte: batch.intended + 10,
    }
}

/// Adds up what a visitor sees.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sums {
    sent: u64,
    service: Vec<Option<Micros>>,
    stored: u64,
    published: u64,
    odd: u64,
    reads: u64,
    files: u64,
    looked: Vec<(Micros, Micros)>,
    blind: Vec<String>,
}

impl Visitor for Sums {
    fn sent(&mut self, sent: &Sent) {
        self.sent += u64::from(sent.batch.count);
    }
    fn answered(&mut self, answered: &Answered, first_byte: Option<Micros>) {
        self.service
            .push(first_byte.map(|first_byte| answered.at - first_byte));
    }
    fn stored(&mut self, stored: &Stored) {
        self.stored += u64::from(stored.batch.count);
    }
    fn published(&mut self, published: &Published) {
        self.published += u64::from(published.batch.count);
    }
    fn read(&mut self, _: &Read) {
        self.reads += 1;
    }
    fn odd(&mut self, _: FileId, _: Micros, _: &Odd) {
        self.odd += 1;
    }
    fn file(&mut self, _: FileId, _: Micros, _: &FileChange) {
        self.files += 1;
    }
    fn looked(&mut self, from: Micros, to: Micros) {
        self.looked.push((from, to));
    }
    fn blind(&mut self, _: Micros, _: Micros, why: &str) {
        self.blind.push(why.to_owned());
    }
}

/// A report to the observer, in random order: what was never sent may be answered and read.
#[derive(Debug, Clone)]
enum Report {
    Sent(u16, u64, u32),
    Answered(u16, u64, u32, Answer),
    Read(FileId, Vec<(u16, u64, u32)>, Option<OddKind>),
    File(FileId, FileChange),
    Looked,
    Blind,
}

fn any_report() -> impl Strategy<Value = Report> {
    let answer = prop_oneof![
        Just(Answer::Refused),
        Just(Answer::Unknown),
        Just(Answer::Acked)
    ];
    let change = prop_oneof![
        Just(FileChange::Appeared { path: "/a".into() }),
        Just(FileChange::Renamed { path: "/b".into() }),
        Just(FileChange::Published),
        Just(FileChange::Withdrawn),
        Just(FileChange::Vanished),
    ];
    let found = || (0u16..4, 0u64..300, 1u32..40);
    let odd = prop::option::of(prop_oneof![
        Just(OddKind::Split),
        Just(OddKind::CorruptPayload(1, 4)),
        Just(OddKind::Foreign),
    ]);
    prop_oneof![
        3 => found().prop_map(|(p, first, count)| Report::Sent(p, first, count)),
        3 => (found(), answer).prop_map(|((p, first, count), a)| Report::Answered(p, first, count, a)),
        3 => (0u32..4, prop::collection::vec(found(), 0..4), odd)
            .prop_map(|(file, found, odd)| Report::Read(file, found, odd)),
        2 => (0u32..4, change).prop_map(|(file, change)| Report::File(file, change)),
        1 => Just(Report::Looked),
        1 => Just(Report::Blind),
    ]
}

fn report(account: &Account, report: &Report, at: Micros) {
    match report {
        Report::Sent(producer, first, count) => {
            account.sent(&sent(batch(*producer, *first, *count), 0))
        }
        Report::Answered(producer, first, count, answer) => account.answered(&Answered {
            batch: batch(*producer, *first, *count),
            attempt: 0,
            answer: *answer,
            at,
        }),
        Report::Read(file, found, odd) => {
            let found = found
                .iter()
                .map(|(p, first, count)| batch(*p, *first, *count))
                .collect();
            let odd = odd.iter().map(|kind| Odd {
                kind: *kind,
                offset: 0,
                after: 0,
                excerpt: vec![1],
            });
            let odd = odd.collect();
            account.read(&Read {
                file: *file,
                at,
                previous: at - 1,
                offset: 0,
                found,
                odd,
            })
        }
        Report::File(file, change) => account.file(*file, at, change),
        Report::Looked => account.looked(at - 1, at),
        Report::Blind => account.blind(at - 1, at, "away"),
    }
    .unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn replay_is_live_in_any_order(
        reports in prop::collection::vec(any_report(), 0..80), answers in any::<bool>(), order in any::<Index>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.bin");
        let owing = if answers { Owing::Acked } else { Owing::Issued };
        let account = Account::create(&path, &header(owing)).unwrap();
        account.planned(1, 500).unwrap();
        let turn = if reports.is_empty() { 0 } else { order.index(reports.len()) };
        for (at, one) in reports[turn..].iter().chain(&reports[..turn]).enumerate() {
            report(&account, one, at as Micros);
        }
        let live = account.live();
        account.finish().unwrap();
        let mut sums = Sums::default();
        let replayed = replay(&path, &mut sums).unwrap();
        prop_assert_eq!((replayed.header, replayed.tail), (header(owing), Tail::Clean));
        account.with_ledger(|ledger| assert_eq!(*ledger, replayed.ledger));
        prop_assert_eq!(live.totals, replayed.ledger.totals());
        prop_assert_eq!(live.owed_not_stored, live.totals.lost);
        let reads = reports.iter().filter(|one| matches!(one, Report::Read(..))).count() as u64;
        prop_assert_eq!(sums.reads, reads);
    }

    #[test]
    fn answers_and_arrivals_commute(
        first in prop::collection::vec((0u64..100, 1u32..30), 1..6), order in any::<Index>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let totals = |name: &str, arrivals_first: bool| {
            let account = Account::create(&dir.path().join(name), &header(Owing::Acked)).unwrap();
            account.sent(&sent(batch(0, 0, 200), 0)).unwrap();
            let answers = first.iter().map(|(from, count)| {
                Report::Answered(0, *from, *count, if from % 3 == 0 { Answer::Refused } else { Answer::Acked })
            });
            let reads = first.iter().map(|(from, count)| Report::Read(1, vec![(0, from / 2, *count)], None));
            let (mut answers, mut reads): (Vec<_>, Vec<_>) = (answers.collect(), reads.collect());
            let middle = order.index(answers.len());
            answers.rotate_left(middle);
            if arrivals_first { reads.append(&mut answers) } else { reads.splice(0..0, answers).for_each(drop) }
            reads.iter().for_each(|one| report(&account, one, 5));
            account.totals()
        };
        prop_assert_eq!(totals("a", true), totals("b", false));
    }
}

#[test]
fn samples_tell_when_and_how_long() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.bin");
    let account = Account::create(&path, &header(Owing::Acked)).unwrap();
    let (all, answer) = (batch(0, 0, 10), Answer::Acked);
    account.sent(&sent(all, 0)).unwrap();
    // A source that answers line by line: two answers for parts, the rest never.
    for (first, count, at) in [(0, 4, 50), (4, 2, 70)] {
        let batch = Batch {
            intended: 0,
            ..batch(0, first, count)
        };
        account
            .answered(&Answered {
                batch,
                attempt: 0,
                answer,
                at,
            })
            .unwrap();
    }
    let unknown = Answered {
        batch: batch(0, 20, 1),
        attempt: 0,
        answer: Answer::Unknown,
        at: 1,
    };
    account.answered(&unknown).unwrap();
    let read = |first, count, at| Read {
        file: 1,
        at,
        previous: at - 20,
        found: vec![batch(0, first, count)],
        ..Read::default()
    };
    account.read(&read(0, 6, 100)).unwrap();
    account.read(&read(2, 8, 120)).unwrap();
    account.file(1, 130, &FileChange::Published).unwrap();
    account.looked(5, 6).unwrap();
    account.blind(7, 8, "NameNode away").unwrap();
    account.finish().unwrap();
    let mut sums = Sums::default();
    replay(&path, &mut sums).unwrap();
    let expected = Sums {
        sent: 10,
        service: vec![Some(40), Some(60), None],
        stored: 10,
        published: 10,
        reads: 2,
        files: 1,
        looked: vec![(5, 6)],
        blind: vec!["NameNode away".to_owned()],
        ..Sums::default()
    };
    assert_eq!(sums, expected);
}

#[test]
fn the_progress_line_knows_the_oldest_that_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let account = Account::create(&dir.path().join("j"), &header(Owing::Acked)).unwrap();
    assert_eq!(account.live().oldest_not_stored, None);
    for first in [0, 10, 20] {
        account.sent(&sent(batch(0, first, 10), 0)).unwrap();
        account.sent(&sent(batch(1, first, 10), 0)).unwrap();
    }
    // Nothing is owed before it is acknowledged.
    assert_eq!(
        (account.live().oldest_not_stored, account.live().unanswered),
        (None, 60)
    );
    for (producer, first) in [(0, 10), (0, 20), (1, 20)] {
        let batch = batch(producer, first, 10);
        let answered = Answered {
            batch,
            attempt: 0,
            answer: Answer::Acked,
            at: 1,
        };
        account.answered(&answered).unwrap();
    }
    assert_eq!(
        (account.live().oldest_not_stored, account.live().unanswered),
        (Some(1_000), 30)
    );
    report(
        &account,
        &Report::Read(1, vec![(0, 10, 10), (1, 20, 5)], None),
        77,
    );
    let live = account.live();
    assert_eq!(
        (live.oldest_not_stored, live.owed_not_stored),
        (Some(2_000), 15)
    );
    // All of the third batches: ten of the one producer, five of the other.
    assert_eq!(account.missing_before(2_000), 0);
    assert_eq!(account.missing_before(2_001), 15);
    assert_eq!(live.last_stored, Some(77));
    report(&account, &Report::Read(1, vec![(0, 10, 10)], None), 99);
    assert_eq!(
        account.live().last_stored,
        Some(77),
        "copies are nothing new"
    );
    report(
        &account,
        &Report::Read(1, vec![(0, 20, 10), (1, 25, 5)], None),
        100,
    );
    let live = account.live();
    assert_eq!((live.oldest_not_stored, live.owed_not_stored), (None, 0));
    // The first batch of producer 0 is acknowledged late: now it is owed, and the oldest.
    let late = Answered {
        batch: batch(0, 0, 10),
        attempt: 0,
        answer: Answer::Acked,
        at: 200,
    };
    account.answered(&late).unwrap();
    assert_eq!(account.live().oldest_not_stored, Some(0));
}

#[test]
fn what_waits_stays_bounded_when_nothing_is_stored() {
    let ledger = Ledger::new(Owing::Issued, 1);
    let mut pending = pending::Pending::default();
    for first in 0..300_000 {
        pending.push(&batch(0, first, 1));
    }
    assert!(pending.len() <= 1 << 16);
    assert_eq!(pending.oldest(0, &ledger), None, "the ledger owes nothing");
}

#[test]
fn lost_events_are_found_in_the_schedule_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.bin");
    let account = Account::create(&path, &header(Owing::Issued)).unwrap();
    for first in [0, 10, 20] {
        account.sent(&sent(batch(0, first, 10), 0)).unwrap();
    }
    account.sent(&sent(batch(0, 0, 10), 1)).unwrap();
    report(
        &account,
        &Report::Read(1, vec![(0, 0, 8), (0, 13, 17)], None),
        5,
    );
    account.finish().unwrap();
    let lost = account.with_ledger(Ledger::lost);
    assert_eq!(
        lost,
        [IdRange {
            producer: 0,
            first: 8,
            count: 5
        }]
    );
    let part = |first, count, of| Batch {
        intended: of,
        ..batch(0, first, count)
    };
    assert_eq!(
        locate(&path, &lost).unwrap(),
        [part(8, 2, 0), part(10, 3, 1_000)]
    );
}

#[test]
fn many_threads_are_one_history() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.bin");
    let account = Arc::new(Account::create(&path, &header(Owing::Acked)).unwrap());
    let threads: Vec<_> = (0..3u16)
        .map(|producer| {
            let account = Arc::clone(&account);
            thread::spawn(move || {
                for first in (0..2_000).step_by(10) {
                    let batch = batch(producer, first, 10);
                    account.sent(&sent(batch, 0)).unwrap();
                    report(
                        &account,
                        &Report::Read(u32::from(producer), vec![(producer, first, 9)], None),
                        3,
                    );
                    let answer = Answer::Acked;
                    account
                        .answered(&Answered {
                            batch,
                            attempt: 0,
                            answer,
                            at: 9,
                        })
                        .unwrap();
                }
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    account.finish().unwrap();
    let totals = account.totals();
    assert_eq!(
        (totals.issued, totals.acked, totals.lost),
        (6_000, Some(6_000), 600)
    );
    let (ledger, tail) = Ledger::from_journal(&path).unwrap();
    assert_eq!(tail, Tail::Clean);
    account.with_ledger(|live| assert_eq!(*live, ledger));
}

#[test]
fn what_cannot_be_written_is_not_counted() {
    let dir = tempfile::tempdir().unwrap();
    let account = Account::create(&dir.path().join("j"), &header(Owing::Acked)).unwrap();
    account.sent(&sent(batch(0, 0, 10), 0)).unwrap();
    account.finish().unwrap();
    assert!(account.sent(&sent(batch(0, 10, 10), 0)).is_err());
    assert!(account.planned(0, 5).is_err());
    assert_eq!((account.totals().issued, account.totals().planned), (10, 0));
}
