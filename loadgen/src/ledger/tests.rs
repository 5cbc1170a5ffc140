//! The ledger against hand-written histories, against itself with one rule broken, and against a
//! model that keeps every single copy.

mod model;

use super::*;
use crate::observe::{Micros, Odd};

fn batch(producer: u16, ids: Range<u64>) -> Batch {
    let count = (ids.end - ids.start) as u32;
    Batch {
        producer,
        first: ids.start,
        count,
        intended: ids.start as Micros * 10,
    }
}

fn send(ledger: &mut Ledger, ids: Range<u64>, attempt: u32) {
    let batch = batch(0, ids);
    ledger.sent(&Sent {
        batch,
        attempt,
        released: 0,
        first_byte: 1,
    });
}

fn answer(ledger: &mut Ledger, ids: Range<u64>, attempt: u32, answer: Answer) {
    ledger.answered(&Answered {
        batch: batch(0, ids),
        attempt,
        answer,
        at: 2,
    });
}

fn ack(ledger: &mut Ledger, ids: Range<u64>) {
    answer(ledger, ids, 0, Answer::Acked);
}

fn store(ledger: &mut Ledger, file: FileId, ids: Range<u64>) {
    let found = vec![batch(0, ids)];
    ledger.read(
        &Read {
            file,
            found,
            ..Read::default()
        },
        |_| {},
    );
}

fn change(ledger: &mut Ledger, file: FileId, change: FileChange) {
    ledger.file(file, &change, |_| {});
}

fn odd(ledger: &mut Ledger, kind: OddKind) {
    let odd = vec![Odd {
        kind,
        offset: 0,
        after: 0,
        excerpt: Vec::new(),
    }];
    ledger.read(
        &Read {
            file: 1,
            odd,
            ..Read::default()
        },
        |_| {},
    );
}

fn expand(ranges: impl IntoIterator<Item = IdRange>) -> Vec<u64> {
    ranges
        .into_iter()
        .flat_map(|range| range.first..range.first + range.count)
        .collect()
}

fn ids(found: &[InFile]) -> Vec<(FileId, u64)> {
    let each = found.iter().flat_map(|found| {
        expand([found.range])
            .into_iter()
            .map(move |id| (found.file, id))
    });
    each.collect()
}

/// A rule, and a check that holds where the rule does.
type Check = (Rule, fn(Ledger) -> bool);

/// One check for each rule. The check must hold for the ledger, and fail where the rule is broken.
static CHECKS: &[Check] = &[
    (Rule::DuplicatesNeverNet, |mut ledger| {
        send(&mut ledger, 0..10, 0);
        ack(&mut ledger, 0..10);
        store(&mut ledger, 1, 0..9);
        store(&mut ledger, 2, 0..1);
        let totals = ledger.totals();
        (totals.lost, totals.duplicated, totals.extra_copies) == (1, 1, 1)
    }),
    (Rule::LateAnswersCount, |mut ledger| {
        // One answer comes after its events were stored, one after they were sent again.
        send(&mut ledger, 0..10, 0);
        store(&mut ledger, 1, 0..10);
        ack(&mut ledger, 0..10);
        send(&mut ledger, 10..20, 0);
        send(&mut ledger, 10..20, 1);
        ack(&mut ledger, 10..20);
        let totals = ledger.totals();
        (totals.acked, totals.recovered, totals.lost) == (Some(20), Some(0), 10)
    }),
    (Rule::AckOutranksRefusal, |mut ledger| {
        send(&mut ledger, 0..10, 0);
        send(&mut ledger, 0..10, 1);
        answer(&mut ledger, 0..10, 1, Answer::Acked);
        answer(&mut ledger, 0..10, 0, Answer::Refused);
        let totals = ledger.totals();
        (totals.acked, totals.refused, totals.lost) == (Some(10), Some(0), 10)
    }),
    (Rule::CorruptedIsNotStored, |mut ledger| {
        send(&mut ledger, 0..10, 0);
        ack(&mut ledger, 0..10);
        store(&mut ledger, 1, 0..7);
        odd(&mut ledger, OddKind::CorruptPayload(0, 7));
        odd(&mut ledger, OddKind::CorruptIdentity);
        odd(&mut ledger, OddKind::Merged);
        let totals = ledger.totals();
        (
            totals.stored,
            totals.lost,
            totals.corrupted,
            totals.malformed,
        ) == (7, 3, 2, 1)
            && expand(ledger.corrupted()) == [7]
    }),
    (Rule::RetryKeepsTheObligation, |mut ledger| {
        send(&mut ledger, 0..10, 0);
        answer(&mut ledger, 0..10, 0, Answer::Unknown);
        send(&mut ledger, 0..10, 1);
        answer(&mut ledger, 0..10, 1, Answer::Acked);
        store(&mut ledger, 1, 0..10);
        let totals = ledger.totals();
        (totals.issued, totals.resends, totals.owed, totals.lost) == (10, 10, 10, 0)
    }),
    (Rule::OnlyClosedIsPublished, |mut ledger| {
        send(&mut ledger, 0..10, 0);
        ack(&mut ledger, 0..10);
        store(&mut ledger, 1, 0..6);
        store(&mut ledger, 2, 6..10);
        change(&mut ledger, 2, FileChange::Published);
        let totals = ledger.totals();
        (totals.stored, totals.published, totals.unpublished) == (10, 4, 6)
            && ids(&ledger.unpublished_by_file()) == (0..6).map(|id| (1, id)).collect::<Vec<_>>()
    }),
    (Rule::ResentCopiesCountApart, |mut ledger| {
        send(&mut ledger, 0..10, 0);
        send(&mut ledger, 5..10, 1);
        store(&mut ledger, 1, 0..10);
        store(&mut ledger, 1, 4..7);
        let totals = ledger.totals();
        (totals.duplicated, totals.duplicated_resent) == (1, 2)
            && (totals.extra_copies, totals.extra_copies_resent) == (1, 2)
            && ids(&ledger.duplicates_by_file(false)) == [(1, 4)]
            && ids(&ledger.duplicates_by_file(true)) == [(1, 5), (1, 6)]
    }),
    (Rule::RangesAreWhole, |mut ledger| {
        send(&mut ledger, 0..1, 0);
        send(&mut ledger, 1..10, 0);
        ack(&mut ledger, 0..10);
        store(&mut ledger, 1, 0..10);
        let totals = ledger.totals();
        (totals.issued, totals.stored, totals.lost) == (10, 10, 0)
    }),
];

#[test]
fn every_rule_has_a_check_that_its_mutant_fails() {
    for (rule, check) in CHECKS {
        let ledger = Ledger::new(Owing::Acked, 1);
        assert!(check(ledger.clone()), "{rule:?} does not hold");
        assert!(
            !check(ledger.breaking(*rule)),
            "nobody notices that {rule:?} is broken"
        );
    }
    let all = [
        Rule::DuplicatesNeverNet,
        Rule::LateAnswersCount,
        Rule::AckOutranksRefusal,
        Rule::CorruptedIsNotStored,
        Rule::RetryKeepsTheObligation,
        Rule::OnlyClosedIsPublished,
        Rule::ResentCopiesCountApart,
        Rule::RangesAreWhole,
    ];
    assert!(CHECKS.iter().map(|(rule, _)| *rule).eq(all));
}

#[test]
fn the_best_answer_counts() {
    use Answer::{Acked, Refused, Unknown};
    let classes = |answers: &[Option<Answer>]| {
        let mut ledger = Ledger::new(Owing::Acked, 1);
        for (attempt, given) in (0..).zip(answers) {
            send(&mut ledger, 0..1, attempt);
            if let Some(given) = given {
                answer(&mut ledger, 0..1, attempt, *given);
            }
        }
        let totals = ledger.totals();
        [totals.acked, totals.unknown, totals.refused].map(|class| class == Some(1))
    };
    let (acked, unknown, refused) = (
        [true, false, false],
        [false, true, false],
        [false, false, true],
    );
    assert_eq!(classes(&[None]), unknown);
    assert_eq!(classes(&[Some(Unknown)]), unknown);
    assert_eq!(classes(&[Some(Refused)]), refused);
    assert_eq!(classes(&[Some(Refused), Some(Refused)]), refused);
    assert_eq!(classes(&[Some(Unknown), Some(Refused)]), unknown);
    assert_eq!(classes(&[Some(Refused), None]), unknown);
    assert_eq!(classes(&[Some(Refused), Some(Acked)]), acked);
    assert_eq!(classes(&[Some(Acked), Some(Unknown)]), acked);
    assert_eq!(classes(&[Some(Acked), Some(Refused)]), acked);
}

#[test]
fn recovered_is_stored_without_a_yes() {
    let mut ledger = Ledger::new(Owing::Acked, 1);
    send(&mut ledger, 0..30, 0);
    ack(&mut ledger, 0..10);
    answer(&mut ledger, 10..20, 0, Answer::Refused);
    store(&mut ledger, 1, 5..25);
    let totals = ledger.totals();
    assert_eq!((totals.owed, totals.lost), (10, 5));
    assert_eq!((totals.recovered, totals.unexpected), (Some(15), 0));
}

#[test]
fn without_answers_everything_issued_is_owed() {
    let mut ledger = Ledger::new(Owing::Issued, 1);
    ledger.planned(0, 15);
    send(&mut ledger, 0..10, 0);
    store(&mut ledger, 1, 0..8);
    let totals = ledger.totals();
    assert_eq!(
        (totals.planned, totals.unsent, totals.owed, totals.lost),
        (15, 5, 10, 2)
    );
    assert_eq!(
        [
            totals.acked,
            totals.refused,
            totals.unknown,
            totals.recovered
        ],
        [None; 4]
    );
    assert_eq!(expand(ledger.lost()), [8, 9]);
}

#[test]
fn what_was_never_issued_is_unexpected_and_not_stored() {
    let mut ledger = Ledger::new(Owing::Acked, 1);
    send(&mut ledger, 0..10, 0);
    ack(&mut ledger, 0..10);
    store(&mut ledger, 1, 0..12);
    store(&mut ledger, 1, 11..12);
    let invented = vec![batch(77, 5..6)];
    ledger.read(
        &Read {
            file: 1,
            found: invented,
            ..Read::default()
        },
        |_| {},
    );
    let totals = ledger.totals();
    assert_eq!((totals.stored, totals.unexpected, totals.lost), (10, 3, 0));
    assert_eq!((totals.duplicated, totals.extra_copies), (0, 0));
    assert_eq!(expand(ledger.unexpected()), [10, 11, 5]);
}

#[test]
fn the_probe_enters_no_total() {
    let mut ledger = Ledger::new(Owing::Acked, 1);
    assert_eq!(ledger.probe_stored(), None);
    let probe = batch(1, 0..1);
    ledger.sent(&Sent {
        batch: probe,
        attempt: 0,
        released: 0,
        first_byte: 0,
    });
    assert_eq!(ledger.probe_stored(), Some(false));
    ledger.answered(&Answered {
        batch: probe,
        attempt: 0,
        answer: Answer::Acked,
        at: 1,
    });
    assert_eq!(
        (ledger.totals(), ledger.owed_not_stored()),
        (
            Totals {
                acked: Some(0),
                refused: Some(0),
                unknown: Some(0),
                recovered: Some(0),
                ..Totals::default()
            },
            0
        )
    );
    ledger.read(
        &Read {
            file: 1,
            found: vec![probe],
            ..Read::default()
        },
        |_| {},
    );
    assert_eq!(ledger.probe_stored(), Some(true));
    assert_eq!(ledger.totals().stored, 0);
    assert!(ledger.unpublished_by_file().is_empty());
}

#[test]
fn order_is_judged_within_a_file_and_by_first_copies() {
    let mut ledger = Ledger::new(Owing::Acked, 1);
    send(&mut ledger, 0..100, 0);
    store(&mut ledger, 1, 0..10);
    store(&mut ledger, 1, 20..30);
    store(&mut ledger, 1, 10..15); // five behind 20..30
    store(&mut ledger, 2, 15..20); // another file: in order
    store(&mut ledger, 2, 0..10); // copies: no disorder, and none made by them
    store(&mut ledger, 2, 30..40);
    store(&mut ledger, 2, 35..45); // 35..40 are copies, 40..45 in order
    assert_eq!(ledger.totals().reordered, 5);
    change(&mut ledger, 1, FileChange::Renamed { path: "/a".into() });
    assert_eq!(ledger.reordered_by_file(), [(1, "/a".to_owned(), 5)]);
}

#[test]
fn a_file_that_vanishes_takes_its_copies_with_it() {
    let mut ledger = Ledger::new(Owing::Acked, 1);
    send(&mut ledger, 0..10, 0);
    ack(&mut ledger, 0..10);
    store(&mut ledger, 1, 0..10);
    change(&mut ledger, 1, FileChange::Published);
    // Rewritten elsewhere before it goes: a duplicate for a while, none in the end.
    store(&mut ledger, 2, 0..6);
    assert_eq!(ledger.totals().extra_copies, 6);
    change(&mut ledger, 1, FileChange::Vanished);
    change(&mut ledger, 1, FileChange::Vanished);
    let totals = ledger.totals();
    assert_eq!((totals.stored, totals.published, totals.lost), (6, 0, 4));
    assert_eq!((totals.duplicated, totals.extra_copies), (0, 0));
    assert_eq!(expand(ledger.lost()), [6, 7, 8, 9]);
    // Seen again: as if it had never been gone.
    change(&mut ledger, 1, FileChange::Renamed { path: "/b".into() });
    let totals = ledger.totals();
    assert_eq!(
        (totals.stored, totals.published, totals.extra_copies),
        (10, 10, 6)
    );
}

#[test]
fn a_withdrawn_file_takes_back_what_no_other_publishes() {
    let mut ledger = Ledger::new(Owing::Acked, 1);
    send(&mut ledger, 0..10, 0);
    store(&mut ledger, 1, 0..10);
    store(&mut ledger, 2, 8..10);
    change(&mut ledger, 1, FileChange::Published);
    change(&mut ledger, 2, FileChange::Published);
    change(&mut ledger, 1, FileChange::Withdrawn);
    assert_eq!(ledger.totals().published, 2);
    change(&mut ledger, 1, FileChange::Withdrawn);
    change(&mut ledger, 1, FileChange::Published);
    assert_eq!(ledger.totals().published, 10);
}

#[test]
fn samples_are_first_copies_and_first_publications_only() {
    let mut ledger = Ledger::new(Owing::Acked, 1);
    send(&mut ledger, 0..10, 0);
    let mut stored = Vec::new();
    for (file, range) in [(1, 0..6), (2, 4..9), (2, 9..12)] {
        let found = vec![batch(0, range)];
        ledger.read(
            &Read {
                file,
                found,
                ..Read::default()
            },
            |part| stored.push(part),
        );
    }
    let part = |ids: Range<u64>, of: u64| Batch {
        intended: of as Micros * 10,
        ..batch(0, ids)
    };
    // 10 and 11 were never issued.
    assert_eq!(stored, [part(0..6, 0), part(6..9, 4), part(9..10, 9)]);
    let mut published = Vec::new();
    for file in [2, 1, 1] {
        ledger.file(file, &FileChange::Published, |part| published.push(part));
    }
    ledger.file(2, &FileChange::Withdrawn, |part| published.push(part));
    ledger.file(2, &FileChange::Published, |part| published.push(part));
    assert_eq!(published, [part(4..9, 4), part(9..10, 9), part(0..4, 0)]);
}

#[test]
fn fifty_of_a_thousand_are_five_percent() {
    let mut ledger = Ledger::new(Owing::Acked, 1);
    send(&mut ledger, 0..1_000, 0);
    ack(&mut ledger, 0..1_000);
    store(&mut ledger, 1, 0..950);
    let totals = ledger.totals();
    assert_eq!((totals.stored, totals.lost, totals.owed), (950, 50, 1_000));
    assert_eq!(
        ledger.lost(),
        [IdRange {
            producer: 0,
            first: 950,
            count: 50
        }]
    );
}

#[test]
fn a_hundred_million_with_every_second_lost_fit_in_64_mib() {
    // Four producers of 25 million, every second event stored in one of four published files.
    let chunks = 382;
    let mut comb = IdSet::new();
    for id in (0..65_536).step_by(2) {
        comb.insert_range(id..id + 1);
    }
    comb.repeat_first_chunk(chunks);
    let mut ledger = Ledger::new(Owing::Acked, 4);
    for number in 0..4 {
        let whole = 0..u64::from(chunks) * 65_536;
        let producer = ledger.producers.entry(number).or_default();
        producer.issued.insert_range(whole.clone());
        producer.acked.insert_range(whole.clone());
        producer.open.add(whole);
        producer.stored = CopySet::of(comb.clone());
        producer.published = CopySet::of(comb.clone());
        let file = ledger.files.entry(number.into()).or_default();
        file.held.insert(number, CopySet::of(comb.clone()));
    }
    let totals = ledger.totals();
    assert!(totals.issued >= 100_000_000);
    assert_eq!(
        (totals.lost, totals.stored),
        (totals.issued / 2, totals.issued / 2)
    );
    assert!(ledger.heap_bytes() <= 64 << 20, "{}", ledger.heap_bytes());
}
