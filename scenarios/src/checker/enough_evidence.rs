//! `enough_evidence`: the run proves something.
//!
//! Inconclusive when fewer than 1,000 events are owed; when a fault was never injected, has no
//! witness or struck with nothing in flight; when the generator could not keep its schedule, or sent
//! too little to tell; when the store could not be read outside of an injected outage; when the journal is torn.

use std::time::Duration;

use flume_bench_loadgen::latency::samples_needed;
use flume_bench_reports::show::count;
use flume_bench_reports::verdict::Verdict;

use super::{Checker, Evidence, Finding, Strike};
use crate::runner::history::Entry;

pub(super) static CHECKER: Checker = Checker {
    name: "enough_evidence",
    summary: "the run proves something",
    check,
};

/// Conservation needs so many owed events.
const LEAST_OWED: u64 = 1_000;
/// After the heal of a store's outage the receiver may need so long to read again.
const RECEIVER_RECOVERS: i64 = 10_000_000;
/// A look at the store that a fault interrupts may have begun so long before it.
const LOOK_TAKES: i64 = 5_000_000;
/// A receiver may be blind for so long without anything being wrong: one slow look.
const BLIND_FOR: i64 = 1_000_000;

fn check(evidence: &Evidence<'_>) -> Finding {
    let mut doubts = Vec::new();
    if !evidence.whole {
        doubts.push("the journal or the history is torn".to_owned());
    }
    if evidence.totals.owed < LEAST_OWED {
        doubts.push(format!(
            "only {} events are owed, and conservation needs {}",
            count(evidence.totals.owed),
            count(LEAST_OWED)
        ));
    }
    doubts.extend(
        evidence
            .strikes
            .iter()
            .filter_map(|strike| Some(format!("{}: {}", strike.name, void(strike)?))),
    );
    doubts.extend(never_struck(evidence));
    if evidence.interrupted() {
        doubts.push("the run was interrupted".into());
    }
    doubts.extend(slip(evidence));
    doubts.extend(blindness(evidence));
    let (verdict, reason) = match doubts.first() {
        None => (
            Verdict::Pass,
            format!(
                "{} events are owed, every fault has a witness, and the generator kept its schedule.",
                count(evidence.totals.owed)
            ),
        ),
        Some(first) if doubts.len() == 1 => (
            Verdict::Inconclusive,
            format!("The run proves too little: {first}."),
        ),
        Some(_) => (
            Verdict::Inconclusive,
            format!("The run proves too little: {}.", doubts.join("; ")),
        ),
    };
    Finding {
        verdict,
        reason,
        expected: "enough events, witnessed faults, a kept schedule, a readable store".into(),
        seen: format!("{} doubts", doubts.len()),
    }
}

/// The faults of the scenario that left no strike: each must say why, and one that says nothing
/// proves nothing either.
fn never_struck(evidence: &Evidence<'_>) -> Vec<String> {
    let struck = |index| evidence.strikes.iter().any(|strike| strike.index == index);
    let faults = evidence.scenario.faults.iter();
    faults
        .filter(|plan| !struck(plan.index))
        .map(|plan| {
            let why = evidence.history.iter().find_map(|line| match &line.entry {
                Entry::NotStruck { index, why } if *index == plan.index => Some(why.as_str()),
                _ => None,
            });
            format!(
                "{}-{} never struck: {}",
                plan.kind,
                plan.index + 1,
                why.unwrap_or("nobody knows why, the history says nothing of it")
            )
        })
        .collect()
}

/// Why a strike proves nothing.
pub fn void(strike: &Strike) -> Option<String> {
    if let Some(error) = &strike.failed {
        return Some(format!("void: {error}"));
    }
    if strike.witness.is_none() {
        return Some("void: nobody but the injector saw it take effect".into());
    }
    (strike.in_flight == 0).then(|| "void: no event was in flight".into())
}

/// Slip p99 may be at most max(10 ms, 10 % of the percentile judged). It is taken over the whole load,
/// warm-up and fault windows included: what was sent late there is missing there.
fn slip(evidence: &Evidence<'_>) -> Option<String> {
    if evidence.slip.quantile(0.99).is_some() {
        return late(evidence);
    }
    Some(format!(
        "nobody can say whether the generator kept its schedule: its slip p99 needs {} samples, and there are {}",
        count(samples_needed(0.99).unwrap_or(u64::MAX)),
        count(evidence.slip.len())
    ))
}

/// The generator sent later than is allowed. Where there are too few samples for a p99, the greatest of them
/// stands for it: a source that takes next to nothing is not excused by how little was sent.
pub(super) fn late(evidence: &Evidence<'_>) -> Option<String> {
    let slip = &evidence.slip;
    let (name, seen) = match slip.quantile(0.99) {
        Some(p99) => ("slip p99", p99),
        None => ("greatest slip", slip.max()?),
    };
    let objectives = &evidence.scenario.objectives;
    let strictest = objectives
        .latencies
        .iter()
        .chain(&objectives.during)
        .map(|objective| objective.limit)
        .min();
    let allowed = strictest.map_or(Duration::from_millis(10), |limit| {
        (limit / 10).max(Duration::from_millis(10))
    });
    (u128::from(seen) > allowed.as_micros()).then(|| {
        format!(
            "the generator could not keep its schedule: its {name} is {:.1} ms, and {} ms are allowed",
            seen as f64 / 1e3,
            allowed.as_millis()
        )
    })
}

/// The receiver could not read for longer than a slow look, and no injected fault explains it.
pub fn unexplained_blindness<'e>(
    evidence: &'e Evidence<'_>,
) -> impl Iterator<Item = &'e (i64, i64, String)> {
    evidence.blind.iter().filter(|(from, to, _)| {
        let explained = evidence.strikes.iter().any(|strike| {
            let healed = strike.healed.unwrap_or(i64::MAX - RECEIVER_RECOVERS);
            let plan = evidence.scenario.faults.get(strike.index);
            let target = plan.and_then(|plan| plan.table.get("target")?.as_str());
            // What happens to the agent keeps nobody from reading the store.
            target.is_some_and(|target| target != "agent")
                && *from >= strike.injected - LOOK_TAKES
                && *to <= healed + RECEIVER_RECOVERS
        });
        to - from > BLIND_FOR && !explained
    })
}

pub(super) fn blindness(evidence: &Evidence<'_>) -> Option<String> {
    let (from, to, why) = unexplained_blindness(evidence).next()?;
    Some(format!(
        "the store could not be read from {:.1} s to {:.1} s ({why})",
        *from as f64 / 1e6,
        *to as f64 / 1e6
    ))
}
