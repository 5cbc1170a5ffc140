//! `objectives`: latencies, the time to drain, the share that must arrive.
//!
//! Limits of counts belong to the checkers of those counts. A quantile that has too few samples is
//! inconclusive, never a pass. An event that was due and never sent, answered, stored or published is
//! slower than any limit, in the scope that the instant belongs to at which it was due. A limit is missed
//! only where the bench is not to blame: with a generator that was late, a receiver that could not look,
//! or looks at the store so far apart that the limit lies between two of them, it is inconclusive.

use flume_bench_loadgen::latency::{Latency, Measure, samples_needed};
use flume_bench_loadgen::ledger::Owing;
use flume_bench_reports::record::{Known, NO_ANSWERS, Objective, Quantity, Scope};
use flume_bench_reports::show;
use flume_bench_reports::verdict::Verdict;

use super::{Checker, Due, Evidence, Finding};
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
    let counts = evidence
        .scenario
        .objectives
        .counts
        .iter()
        .map(|(name, limit)| {
            let seen = match *name {
                "refused" => match totals.refused {
                    Some(refused) => refused,
                    None => return unanswered(name, *limit),
                },
                "unsent" => totals.unsent,
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
                    true if count_doubt(evidence, name).is_some() => Verdict::Inconclusive,
                    true => Verdict::Fail,
                },
                reason: None,
            }
        });
    counts.chain(timed(evidence)).collect()
}

/// A limit on what was refused, where nobody is told what was.
fn unanswered(name: &str, limit: u64) -> Objective {
    let why = NO_ANSWERS;
    Objective {
        metric: name.to_owned(),
        scope: Scope::Steady,
        limit: Quantity::new(limit, "events"),
        seen: Known::unknown(why),
        verdict: Verdict::Inconclusive,
        reason: Some(why.to_owned()),
    }
}

/// Why a count that is beyond its limit proves nothing: what its checker says.
fn count_doubt(evidence: &Evidence<'_>, name: &str) -> Option<String> {
    match name {
        "lost" => evidence.doubt(),
        "unpublished" => evidence.publication_doubt(),
        "unsent" => super::kept_up::doubt(evidence),
        _ => None,
    }
}

fn timed(evidence: &Evidence<'_>) -> Vec<Objective> {
    let objectives = &evidence.scenario.objectives;
    let mut all = Vec::new();
    all.extend(
        objectives
            .latencies
            .iter()
            .map(|objective| latency(evidence, objective, Scope::Steady)),
    );
    all.extend(
        objectives
            .during
            .iter()
            .map(|objective| latency(evidence, objective, Scope::During)),
    );
    all.extend(drained_within(evidence));
    all.extend(success_rate(evidence));
    all
}

/// What became of a limit: the value, the verdict and why.
type Judged = (Known<Quantity>, Verdict, Option<String>);

fn latency(evidence: &Evidence<'_>, objective: &LatencyObjective, scope: Scope) -> Objective {
    let (seen, verdict, reason) = quantile(evidence, objective, scope);
    Objective {
        metric: objective.key.clone(),
        scope,
        limit: Quantity::new(objective.limit.as_micros() as u64, "us"),
        seen,
        verdict,
        reason,
    }
}

fn quantile(evidence: &Evidence<'_>, objective: &LatencyObjective, scope: Scope) -> Judged {
    let (histograms, due, place) = match scope {
        Scope::During => (
            &evidence.during,
            &evidence.due_during,
            " inside fault windows",
        ),
        _ => (&evidence.steady, &evidence.due_steady, ""),
    };
    let limit = objective.limit.as_micros() as u64;
    let empty = Latency::new();
    let histogram = histograms.named(objective.word).unwrap_or(&empty);
    let never = never(evidence, objective.word, due, histogram.len());
    let all = histogram.len() + never;
    let needed = samples_needed(objective.quantile).unwrap_or(u64::MAX);
    let key = &objective.key;
    if all < needed {
        let why = format!("{key}{place} needs {needed} samples, and there are {all}");
        return (
            Known::unknown(why.clone()),
            Verdict::Inconclusive,
            Some(why),
        );
    }
    let value = with_never(histogram, never, objective.quantile);
    if value.is_some_and(|value| value <= limit) {
        let value = Quantity::new(value.unwrap_or_default(), "us");
        return (Known::Value(value), Verdict::Pass, None);
    }
    let wanted = format!("{:.1} ms are allowed", limit as f64 / 1e3);
    let (seen, mut reason, mut doubt) = match value {
        Some(value) => (
            Known::Value(Quantity::new(value, "us")),
            format!("{key}{place} is {:.1} ms, and {wanted}", value as f64 / 1e3),
            None,
        ),
        None => {
            let why = format!(
                "{key}{place} is longer than any limit, because {} of {} events {}",
                show::count(never),
                show::count(all),
                if objective.word.starts_with("ack") {
                    "were never acknowledged"
                } else {
                    "never came so far"
                }
            );
            (
                Known::unknown(why.clone()),
                format!("{why}, and {wanted}"),
                evidence.doubt(),
            )
        }
    };
    let unsent = due.unsent.iter().any(|count| *count > 0);
    doubt = doubt
        .or_else(|| evidence.bench_was_late())
        .or_else(|| super::kept_up::doubt(evidence).filter(|_| unsent))
        .or_else(|| between_looks(objective, due, never, limit));
    let verdict = match doubt {
        Some(doubt) => {
            reason.push_str(&format!(", but that proves nothing: {doubt}"));
            Verdict::Inconclusive
        }
        None => Verdict::Fail,
    };
    (seen, verdict, Some(reason))
}

/// How many events that were due in a scope have no sample of this word.
fn never(evidence: &Evidence<'_>, word: &str, due: &Due, sampled: u64) -> u64 {
    let answers = word.starts_with("ack") && evidence.owing == Owing::Acked;
    if !answers && !matches!(word, "stored_response" | "published_response") {
        return 0;
    }
    let mut measures = Measure::ALL.iter();
    let Some(measure) = measures.find(|measure| measure.name() == word) else {
        return 0;
    };
    let measure = *measure as usize;
    // What was never sent was never served either.
    let unsent = match word {
        "ack_service" => 0,
        _ => due.unsent[measure],
    };
    due.issued[measure].saturating_sub(sampled) + unsent
}

/// A quantile of a histogram and of `never` events beyond its end; `None`: it is one of those.
fn with_never(histogram: &Latency, never: u64, quantile: f64) -> Option<u64> {
    let all = histogram.len() + never;
    let rank = (all as f64 * quantile).ceil();
    if rank > histogram.len() as f64 {
        return None;
    }
    if never == 0 {
        return histogram.quantile_unchecked(quantile);
    }
    histogram.quantile_unchecked(rank / histogram.len() as f64)
}

/// Whether the limit lies between two looks at the store: the last without the events, and the first
/// with them.
fn between_looks(
    objective: &LatencyObjective,
    due: &Due,
    never: u64,
    limit: u64,
) -> Option<String> {
    let least = match objective.word {
        "stored_response" => &due.stored_at_least,
        "published_response" => &due.published_at_least,
        _ => return None,
    };
    let least = with_never(least, never, objective.quantile)?;
    (least <= limit).then(|| {
        format!(
            "the looks at the store are so far apart that it may have been {:.1} ms",
            least as f64 / 1e3
        )
    })
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
            let (verdict, reason) =
                or_doubt(evidence, reason, drained_between_looks(evidence, limit));
            (
                Known::Value(Quantity::new(took as u64, "us")),
                verdict,
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
            let (verdict, reason) = or_doubt(evidence, reason, None);
            (Known::unknown(reason.clone()), verdict, Some(reason))
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

/// A limit is missed, unless the bench may be to blame.
fn or_doubt(evidence: &Evidence<'_>, reason: String, doubt: Option<String>) -> (Verdict, String) {
    match evidence.bench_was_late().or(doubt) {
        Some(doubt) => (
            Verdict::Inconclusive,
            format!("{reason}, but that proves nothing: {doubt}"),
        ),
        None => (Verdict::Fail, reason),
    }
}

/// Whether the backlog may have ended in time, between two looks at the store.
fn drained_between_looks(evidence: &Evidence<'_>, limit: u64) -> Option<String> {
    let (not_drained, since) = match evidence.strikes.iter().max_by_key(|strike| strike.healed) {
        Some(last) => (last.not_drained?, last.healed?),
        None => (evidence.not_drained?, evidence.load_end()?),
    };
    let least = (not_drained - since).max(0) as u64;
    (least <= limit).then(|| {
        format!(
            "the looks at the store are so far apart that it may have been drained after {:.1} s",
            least as f64 / 1e6
        )
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
    let doubt = evidence.doubt();
    let unsure = doubt.is_some();
    let reason = (!met).then(|| {
        format!(
            "{} of {} issued events are stored, less than {:.4} %{}",
            show::count(totals.stored),
            show::count(totals.issued),
            least * 100.0,
            doubt
                .map(|doubt| format!(", but that proves nothing: {doubt}"))
                .unwrap_or_default()
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
