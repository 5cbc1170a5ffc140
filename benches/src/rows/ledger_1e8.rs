//! `ledger-1e8`: does the ledger stay small when everything goes wrong?
//!
//! 100 million events of one producer, all acked in batches of 100, every second one stored, in
//! files of 100,000 events that are published when they are full: the worst there is for a set that
//! is made of ranges. The memory is that of a process of its own: the most it ever held, less what
//! it held before. The counts must be right to the event.

use std::io::Write;
use std::process::{Command, ExitCode};

use flume_bench_loadgen::ledger::{Ledger, Owing};
use flume_bench_loadgen::observe::{Answer, Answered, Batch, FileChange, Read, Sent};

use super::{CHILD, Options, Row};
use crate::guard::{Meter, resident};
use crate::outcome::{BenchError, Limit, Outcome};

/// The row.
pub(super) static ROW: Row = Row {
    name: "ledger-1e8",
    question: "How much memory does it take to judge 10⁸ events of which every second one is lost?",
    limit: "≤ 64 MiB",
    is_long: true,
    has_arms: false,
    run,
};

const EVENTS: u64 = 100_000_000;
const BATCH: u64 = 100;
/// Events of a read: what a receiver gets from 1 MiB.
const READ: u64 = 2_000;
/// Events of a file.
const FILE: u64 = 100_000;

fn run(options: &Options, _meter: &mut dyn Meter) -> Result<Outcome, BenchError> {
    let mut outcome = Outcome::new(ROW.name);
    let events = options.part_of(EVENTS, FILE, &mut outcome) / FILE * FILE;
    let program = std::env::current_exe().map_err(BenchError::system("find this program"))?;
    let output = Command::new(program)
        .args([CHILD, ROW.name, &events.to_string()])
        .output()
        .map_err(BenchError::system("start a child of this program"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let figures: Vec<u64> = said
        .split_whitespace()
        .filter_map(|figure| figure.parse().ok())
        .collect();
    let [grown, heap, lost] = figures.as_slice() else {
        return Err(BenchError::Wrong {
            what: "measure the ledger in a child",
            why: format!("it said {said:?}, {}", output.status),
        });
    };
    if *lost != events / 2 {
        return Err(BenchError::Wrong {
            what: "judge the events",
            why: format!("{lost} of {events} are called lost"),
        });
    }
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let most = Limit::AtMost(64.0);
    outcome.check("memory grown by", mebibytes(*grown), "MiB", most);
    outcome.notes.push(format!(
        "{events} events, {lost} lost; the ledger itself counts {:.1} MiB",
        mebibytes(*heap)
    ));
    Ok(outcome)
}

/// The child: builds the ledger, prints by how many bytes the process has grown at most, what the
/// ledger says it holds, and how many events are lost.
pub(super) fn child(events: Option<&str>) -> ExitCode {
    let Some(events) = events.and_then(|events| events.parse::<u64>().ok()) else {
        return ExitCode::from(2);
    };
    let before = resident("self").map_or(0, |(now, _)| now);
    let ledger = build(events);
    let lost = ledger.totals().lost;
    let after = resident("self").map_or(0, |(_, peak)| peak);
    let (grown, heap) = (after.saturating_sub(before), ledger.heap_bytes());
    let said = writeln!(std::io::stdout().lock(), "{grown} {heap} {lost}");
    ExitCode::from(u8::from(said.is_err()))
}

fn build(events: u64) -> Ledger {
    let mut ledger = Ledger::new(Owing::Acked, 1);
    ledger.planned(0, events);
    for first in (0..events).step_by(BATCH as usize) {
        let batch = of(first, BATCH);
        let (released, first_byte) = (batch.intended, batch.intended);
        ledger.sent(&Sent {
            batch,
            attempt: 0,
            released,
            first_byte,
        });
        ledger.answered(&Answered {
            batch,
            attempt: 0,
            answer: Answer::Acked,
            at: batch.intended,
        });
        if (first + BATCH).is_multiple_of(FILE) {
            store(&mut ledger, first + BATCH - FILE);
        }
    }
    ledger
}

/// A file with every second event from `start` on, published when it is full.
fn store(ledger: &mut Ledger, start: u64) {
    let file = (start / FILE) as u32;
    let path = format!("/flume_data/events.{file}");
    ledger.file(file, &FileChange::Appeared { path }, |_| ());
    for from in (start..start + FILE).step_by(READ as usize) {
        let found = (from..from + READ).step_by(2).map(|id| of(id, 1)).collect();
        let read = Read {
            file,
            found,
            ..Read::default()
        };
        ledger.read(&read, |_| ());
    }
    ledger.file(file, &FileChange::Published, |_| ());
}

fn of(first: u64, count: u64) -> Batch {
    Batch {
        producer: 0,
        first,
        count: count as u32,
        intended: (first / BATCH * BATCH) as i64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_second_event_is_lost_and_the_rest_published() {
        let totals = build(2 * FILE).totals();
        assert_eq!((totals.owed, totals.lost), (2 * FILE, FILE));
        assert_eq!((totals.stored, totals.unpublished), (FILE, 0));
    }
}
