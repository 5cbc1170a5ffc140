//! `objectives`: latencies, the time to drain, the share that must arrive.
//!
//! Limits of counts belong to the checkers of those counts. A quantile that has too few samples is
//! inconclusive, never a pass.

use flume_bench_loadgen::latency::samples_needed;
use flume_bench_reports::record::{Known, Objective, Quantity, Scope};
use flume_bench_reports::show;
use flume_bench_reports::verdict::Verdict;

use super::{Checker, Evidence, Finding, Histograms};
use crate::runner::history::Drain;
use crate::scenario::objectives::LatencyObjective;

pub(super) static CHECKER: Checker = Checker {
    name: "objectives",
    summary: "latency, drain time and success rate are as asked",
    check,
};

fn check(evidence: &Evidence<'_>) -> Finding {
    let all = timed(evidence);
    let verdict = if all.is_empty() {
        Verdict::Pass
    } else {
        Verdict::merge_all(all.iter().map(|objective| objective.verdict))
    };
    let wrong: Vec<String> = all
        .iter()
        .filter(|objective| objective.verdict == verdict && verdict != Verdict::Pass)
        .filter_map(|objective| objective.reason.clone())
        .collect();
    let reason = match (verdict, all.len()) {
        (Verdict::Pass, 0) => "The scenario sets no objective on time or share.".to_owned(),
        (Verdict::Pass, _) => "Every objective on time and share is met.".to_owned(),
        _ => format!("{}.", wrong.join("; ")),
    };
    let met = all
        .iter()
        .filter(|objective| objective.verdict == Verdict::Pass)
        .count();
    Finding {
        verdict,
        reason,
        expected: format!("{} objectives met", all.len()),
        seen: format!("{met} met"),
    }
}

/// Every objective of the scenario with what became of it, counts included.
pub fn judge(evidence: &Evidence<'_>) -> Vec<Objective> {
    let totals = &evidence.totals;
    let unsure = evidence.interrupted() || !evidence.whole;
    let counts = evidence
        .scenario
        .objectives
        .counts
        .iter()
        .map(|(name, limit)| {
            let seen = match *name {
                "corrupted" => totals.corrupted,
                "duplicated" => totals.duplicated,
                "lost" => totals.lost,
                "malformed" => totals.malformed,
                "reordered" => totals.reordered,
                "unexpected" => totals.unexpected,
                _ => totals.unpublished,
            };
            Objective {
                metric: (*name).to_owned(),
                scope: Scope::Steady,
                limit: Quantity::new(*limit, "events"),
                seen: Known::Value(Quantity::new(seen, "events")),
                verdict: match seen > *limit {
                    false => Verdict::Pass,
                    true if unsure && matches!(*name, "lost" | "unpublished") => {
                        Verdict::Inconclusive
                    }
                    true => Verdict::Fail,
                },
                reason: None,
            }
        });
    counts.chain(timed(evidence)).collect()
}

fn timed(evidence: &Evidence<'_>) -> Vec<Objective> {
    let objectives = &evidence.scenario.objectives;
    let mut all = Vec::new();
    all.extend(
        objectives
            .latencies
            .iter()
            .map(|objective| latency(objective, Scope::Steady, &evidence.steady)),
    );
    all.extend(
        objectives
            .during
            .iter()
            .map(|objective| latency(objective, Scope::During, &evidence.during)),
    );
    all.extend(drained_within(evidence));
    all.extend(success_rate(evidence));
    all
}

fn latency(objective: &LatencyObjective, scope: Scope, histograms: &Histograms) -> Objective {
    let limit = objective.limit.as_micros() as u64;
    let histogram = histograms.named(objective.word);
    let count = histogram.map_or(0, |histogram| histogram.len());
    let needed = samples_needed(objective.quantile).unwrap_or(u64::MAX);
    let place = if scope == Scope::During {
        " inside fault windows"
    } else {
        ""
    };
    let (seen, verdict, reason) =
        match histogram.and_then(|histogram| histogram.quantile(objective.quantile)) {
            Some(seen) if seen > limit => {
                let reason = format!(
                    "{}{place} is {:.1} ms, and {:.1} ms are allowed",
                    objective.key,
                    seen as f64 / 1e3,
                    limit as f64 / 1e3
                );
                (
                    Known::Value(Quantity::new(seen, "us")),
                    Verdict::Fail,
                    Some(reason),
                )
            }
            Some(seen) => (Known::Value(Quantity::new(seen, "us")), Verdict::Pass, None),
            None => {
                let why = format!(
                    "{}{place} needs {needed} samples, and there are {count}",
                    objective.key
                );
                (
                    Known::unknown(why.clone()),
                    Verdict::Inconclusive,
                    Some(why),
                )
            }
        };
    Objective {
        metric: objective.key.clone(),
        scope,
        limit: Quantity::new(limit, "us"),
        seen,
        verdict,
        reason,
    }
}

fn drained_within(evidence: &Evidence<'_>) -> Option<Objective> {
    let limit = evidence.scenario.objectives.drained_within?.as_micros() as u64;
    let (seen, verdict, reason) = match evidence.drained() {
        Some((Drain::Complete, _, Some(took))) if took as u64 <= limit => (
            Known::Value(Quantity::new(took as u64, "us")),
            Verdict::Pass,
            None,
        ),
        Some((Drain::Complete, _, Some(took))) => {
            let reason = format!(
                "the backlog was drained {:.1} s after the last heal, and {:.1} s are allowed",
                took as f64 / 1e6,
                limit as f64 / 1e6
            );
            (
                Known::Value(Quantity::new(took as u64, "us")),
                Verdict::Fail,
                Some(reason),
            )
        }
        Some((Drain::Interrupted, ..)) | None => {
            let reason = "the run ended before its drain did".to_owned();
            (
                Known::unknown(reason.clone()),
                Verdict::Inconclusive,
                Some(reason),
            )
        }
        Some((outcome, missing, _)) => {
            let reason = format!(
                "the backlog was never drained: {missing} events were still owed ({outcome:?})"
            );
            (Known::unknown(reason.clone()), Verdict::Fail, Some(reason))
        }
    };
    Some(Objective {
        metric: "drained_within".into(),
        scope: Scope::Steady,
        limit: Quantity::new(limit, "us"),
        seen,
        verdict,
        reason,
    })
}

fn success_rate(evidence: &Evidence<'_>) -> Option<Objective> {
    let least = evidence.scenario.objectives.transfer_success_rate?;
    let totals = &evidence.totals;
    let limit = Quantity::new((least * 1e6).round() as u64, "ppm");
    if totals.issued == 0 {
        let reason = "no event was issued".to_owned();
        return Some(Objective {
            metric: "transfer_success_rate".into(),
            scope: Scope::Steady,
            limit,
            seen: Known::unknown(reason.clone()),
            verdict: Verdict::Inconclusive,
            reason: Some(reason),
        });
    }
    // Exact: stored / issued >= least, without rounding the share first.
    let met = totals.stored as f64 >= least * totals.issued as f64;
    let ppm = (u128::from(totals.stored) * 1_000_000 / u128::from(totals.issued)) as u64;
    // What was not seen to arrive in a run that was cut short may have been on its way.
    let unsure = evidence.cut_short() || !evidence.whole;
    let reason = (!met).then(|| {
        format!(
            "{} of {} issued events are stored, less than {:.4} %{}",
            show::count(totals.stored),
            show::count(totals.issued),
            least * 100.0,
            if unsure {
                ", but the run was cut short"
            } else {
                ""
            }
        )
    });
    Some(Objective {
        metric: "transfer_success_rate".into(),
        scope: Scope::Steady,
        limit,
        seen: Known::Value(Quantity::new(ppm, "ppm")),
        verdict: match (met, unsure) {
            (true, _) => Verdict::Pass,
            (false, true) => Verdict::Inconclusive,
            (false, false) => Verdict::Fail,
        },
        reason,
    })
}
