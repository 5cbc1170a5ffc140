//! Schedule, payload, token, account and ledger together: an event's whole life without a network.
//! A planned load is written as text, some of its lines are harmed in known ways, and what is read
//! back must be told apart to the event, live and from the journal.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use flume_bench_loadgen::account::{Account, replay};
use flume_bench_loadgen::journal::{Header, Tail};
use flume_bench_loadgen::ledger::{Owing, Totals};
use flume_bench_loadgen::observe::{
    Answer, Answered, Batch, FileChange, Observer, Odd, OddKind, Read, Sent,
};
use flume_bench_loadgen::payload::{Identity, KINDS, Pool, Settings};
use flume_bench_loadgen::schedule::{self, Schedule, Shape};
use flume_bench_loadgen::token::{Examined, examine};

const RUN: u64 = 99;

/// Harms the lines whose number ends in 7, each in the next way of these.
fn harm(lines: Vec<Vec<u8>>) -> (Vec<Vec<u8>>, BTreeMap<&'static str, u64>) {
    let (mut out, mut done) = (Vec::<Vec<u8>>::new(), BTreeMap::new());
    let ways = ["lose", "repeat", "corrupt", "truncate", "merge"];
    let mut ways = ways.into_iter().cycle();
    for (number, mut line) in lines.into_iter().enumerate() {
        if number % 10 != 7 {
            out.push(line);
            continue;
        }
        let Some(way) = ways.next() else { continue };
        *done.entry(way).or_default() += 1;
        match way {
            "lose" => {}
            "repeat" => out.extend([line.clone(), line]),
            "corrupt" => {
                line[3] ^= 1;
                out.push(line);
            }
            "truncate" => {
                line.truncate(line.len() - 5);
                out.push(line);
            }
            _ => match out.last_mut() {
                Some(last) => last.append(&mut line),
                None => out.push(line),
            },
        }
    }
    (out, done)
}

fn read_back(lines: &[Vec<u8>]) -> Read {
    let mut read = Read {
        file: 1,
        at: 20_000_000,
        ..Read::default()
    };
    for line in lines {
        let kind = match examine(line, RUN) {
            Examined::One {
                token,
                payload_ok: true,
            } => {
                let (producer, first) = (token.producer, token.sequence);
                read.found.push(Batch {
                    producer,
                    first,
                    count: 1,
                    intended: token.intended,
                });
                continue;
            }
            Examined::One { token, .. } => OddKind::CorruptPayload(token.producer, token.sequence),
            Examined::Many { .. } => OddKind::Merged,
            Examined::Partial => OddKind::Split,
            other => panic!("{other:?}: {}", String::from_utf8_lossy(line)),
        };
        read.odd.push(Odd {
            kind,
            offset: 0,
            after: read.found.len() as u32,
            excerpt: vec![],
        });
    }
    read
}

fn life(kind: &str, dir: &std::path::Path) -> (Totals, BTreeMap<&'static str, u64>) {
    let settings = schedule::Settings {
        shape: Shape::Poisson { rate: 1_000.0 },
        duration: Duration::from_secs(5),
        batch: 10,
        connections: 3,
        seed: 5,
    };
    let schedule = Schedule::new(settings).unwrap();
    let log = dir.join("log");
    std::fs::write(&log, "a first line\nand a second, somewhat longer line\n").unwrap();
    let settings = Settings {
        pool: 100_000,
        path: Some(log),
        ..Settings::default()
    };
    let pool = Pool::new(kind, &settings, 5).unwrap();
    let header = Header {
        run: RUN,
        seed: 5,
        owing: Owing::Acked,
        producers: 3,
        batch: 10,
    };
    let journal = dir.join(kind);
    let account = Account::create(&journal, &header).unwrap();
    for producer in 0..3 {
        account
            .planned(producer, schedule.planned(producer))
            .unwrap();
    }
    let mut lines = Vec::new();
    for batch in schedule.iter() {
        let (released, first_byte) = (batch.intended, batch.intended + 1);
        account
            .sent(&Sent {
                batch,
                attempt: 0,
                released,
                first_byte,
            })
            .unwrap();
        for identity in Identity::of(RUN, batch) {
            let mut line = Vec::new();
            pool.write_event(&identity, &mut line);
            lines.push(line);
        }
        let answer = Answer::Acked;
        account
            .answered(&Answered {
                batch,
                attempt: 0,
                answer,
                at: first_byte + 5,
            })
            .unwrap();
    }
    assert_eq!(lines.len() as u64, schedule.total());
    let (lines, done) = harm(lines);
    account.read(&read_back(&lines)).unwrap();
    account.file(1, 21_000_000, &FileChange::Published).unwrap();
    account.finish().unwrap();
    let replayed = replay(&journal, &mut ()).unwrap();
    assert_eq!(
        (replayed.tail, replayed.ledger.totals()),
        (Tail::Clean, account.totals())
    );
    (account.totals(), done)
}

#[test]
fn every_harm_is_told_apart_to_the_event() {
    let dir = tempfile::tempdir().unwrap();
    for kind in KINDS {
        let (totals, done) = life(kind.name, dir.path());
        assert!(
            done.len() == 5 && done.values().all(|count| *count > 50),
            "{done:?}"
        );
        // A replayed line ends with its token, so a truncated one holds a part of a token only.
        let split = if kind.name == "replay" {
            done["truncate"]
        } else {
            0
        };
        let corrupt = done["corrupt"] + done["truncate"] - split;
        // A merged record costs both its events.
        let lost = done["lose"] + corrupt + split + 2 * done["merge"];
        let expected = Totals {
            planned: totals.issued,
            issued: totals.issued,
            acked: Some(totals.issued),
            refused: Some(0),
            unknown: Some(0),
            recovered: Some(0),
            owed: totals.issued,
            stored: totals.issued - lost,
            published: totals.issued - lost,
            lost,
            duplicated: done["repeat"],
            extra_copies: done["repeat"],
            corrupted: corrupt,
            corrupt_payload: corrupt,
            malformed: done["merge"] + split,
            merged: done["merge"],
            split,
            ..Totals::default()
        };
        assert_eq!(totals, expected, "{}", kind.name);
    }
}
