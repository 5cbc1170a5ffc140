//! `corruption`: no record has a wrong checksum, is merged or split, or was never sent.
//!
//! Corrupted, malformed and unexpected records stay what they are: no doubt about the rest of the
//! run takes them back.

use flume_bench_reports::verdict::Verdict;

use super::{Checker, Evidence, Finding};

pub(super) static CHECKER: Checker = Checker {
    name: "corruption",
    summary: "no record is corrupted, malformed or invented",
    check,
};

fn check(evidence: &Evidence<'_>) -> Finding {
    let totals = &evidence.totals;
    let counts = [
        ("corrupted", totals.corrupted),
        ("malformed", totals.malformed),
        ("unexpected", totals.unexpected),
    ];
    let beyond: Vec<String> = counts
        .iter()
        .filter(|(name, seen)| {
            evidence
                .scenario
                .objectives
                .limit(name)
                .is_some_and(|limit| *seen > limit)
        })
        .map(|(name, seen)| format!("{seen} {name}"))
        .collect();
    let all: Vec<String> = counts
        .iter()
        .map(|(name, seen)| format!("{name} {seen}"))
        .collect();
    let expected = counts
        .iter()
        .filter_map(|(name, _)| {
            Some(format!(
                "{name} at most {}",
                evidence.scenario.objectives.limit(name)?
            ))
        })
        .collect::<Vec<_>>()
        .join(", ");
    let (verdict, reason) = if beyond.is_empty() {
        (
            Verdict::Pass,
            "Every record read was one that was sent, unchanged, or within the limits.".to_owned(),
        )
    } else {
        (
            Verdict::Fail,
            format!("Records are not what was sent: {}.", beyond.join(", ")),
        )
    };
    Finding {
        verdict,
        reason,
        expected,
        seen: all.join(", "),
    }
}
