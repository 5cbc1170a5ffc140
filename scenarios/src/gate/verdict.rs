//! From metrics and misses to verdict, exit code and reasons.

use flume_bench_reports::gate::metric::{self, Class};
use flume_bench_reports::gate::record::{
    Difference, GateRecord, MetricResult, Outcome, Pair, ScenarioGate, Violation,
};
use flume_bench_reports::gate::suite;
use flume_bench_reports::record::Ratio;
use flume_bench_reports::statistics::fisher;
use flume_bench_reports::verdict::{ExitCode, Verdict};

use super::session::{Miss, OFFERED_LOAD, Stop, Subject};
use super::{is_hard, is_loss};

/// The level at which the misses of two arms are told apart.
const MISSES_LEVEL: f64 = 0.01;
/// Counters that differ by less than this are not named, ppm.
const NAMED_FROM_PPM: f64 = 0.05;

/// What the runs of both arms missed.
pub(super) fn violations(subject: &Subject) -> Vec<Violation> {
    let mut names: Vec<&str> = subject
        .misses
        .iter()
        .map(|miss| miss.what.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .map(|what| {
            let of = |arm: usize| -> Vec<&Miss> {
                let own = subject.misses.iter();
                own.filter(|miss| miss.arm == arm && miss.what == what)
                    .collect()
            };
            // Of a pair that was run again, losses count all the same; so does what void runs show.
            let runs = match what {
                _ if is_loss(what) => subject.ended,
                _ if is_hard(what) || what == OFFERED_LOAD => subject.judged,
                _ => [subject.pairs.len() as u64; 2],
            };
            let mut found = violation(what, &of(0), &of(1), runs);
            if what == OFFERED_LOAD && found.exit_code == ExitCode::Missed {
                both_overloaded(&mut found, subject.with_faults);
            }
            found
        })
        .collect()
}

/// What neither arm carries is not a promise that either broke; but which of the two carries more
/// of it is not known then. Where faults strike, they may be what keeps both from it.
fn both_overloaded(found: &mut Violation, with_faults: bool) {
    if with_faults {
        found.exit_code = ExitCode::Pass;
        return;
    }
    found.exit_code = ExitCode::Inconclusive;
    found.sentence.push_str(
        " Which of them carries more is not compared: lower load.rate until both carry it.",
    );
}

fn violation(what: &str, baseline: &[&Miss], candidate: &[&Miss], runs: [u64; 2]) -> Violation {
    let (exit_code, sentence) = weigh(what, baseline, candidate, runs);
    let mut seen_in: Vec<String> = candidate
        .iter()
        .chain(baseline)
        .map(|miss| miss.dir.clone())
        .collect();
    seen_in.truncate(5);
    Violation {
        what: what.to_owned(),
        baseline_runs: baseline.len() as u64,
        candidate_runs: candidate.len() as u64,
        runs: runs[0].max(runs[1]),
        sentence,
        exit_code,
        seen_in,
    }
}

/// What the misses of both arms mean. Some count at once, the others where most runs have them.
fn weigh(
    what: &str,
    baseline: &[&Miss],
    candidate: &[&Miss],
    runs: [u64; 2],
) -> (ExitCode, String) {
    let counts = |misses: &[&Miss], runs: u64| match is_hard(what) {
        true => !misses.is_empty(),
        false => misses.len() as u64 * 2 > runs,
    };
    let (old, new) = (counts(baseline, runs[0]), counts(candidate, runs[1]));
    let seen = |misses: &[&Miss]| {
        misses
            .first()
            .map_or_else(String::new, |miss| format!(" ({})", miss.why))
    };
    let of_runs = |misses: &[&Miss], runs: u64| format!("{} of {runs} runs", misses.len());
    let in_baseline = of_runs(baseline, runs[0]);
    let in_candidate = of_runs(candidate, runs[1]);
    let in_both = format!(
        "{in_candidate}{}, the baseline in {in_baseline}",
        seen(candidate)
    );
    match (old, new) {
        (false, true) if !is_hard(what) && !told_apart(baseline, candidate, runs) => (
            ExitCode::Inconclusive,
            format!(
                "{what}: the candidate missed it in {in_both}, and so few runs do not tell the two apart."
            ),
        ),
        (false, true) => (
            ExitCode::Regression,
            format!("{what}: the candidate missed it in {in_both}."),
        ),
        (true, true) => (
            ExitCode::Missed,
            format!("{what}: both arms missed it, the candidate in {in_both}."),
        ),
        (true, false) => (
            ExitCode::Pass,
            format!(
                "{what}: only the baseline missed it, in {in_baseline}{}.",
                seen(baseline)
            ),
        ),
        (false, false) => (
            ExitCode::Pass,
            format!(
                "{what}: missed in {in_candidate} of the candidate and {in_baseline} of the baseline: \
                 not in most of either's runs."
            ),
        ),
    }
}

/// Whether the candidate misses more often, by Fisher's exact test.
fn told_apart(baseline: &[&Miss], candidate: &[&Miss], runs: [u64; 2]) -> bool {
    let (old, new) = (baseline.len() as u64, candidate.len() as u64);
    fisher::p_second_fails_more((old, runs[0]), (new, runs[1])).is_ok_and(|p| p <= MISSES_LEVEL)
}

/// Kernel counters by event, as far as the arms' medians differ; the largest ratio first.
pub(super) fn differences(pairs: &[Pair]) -> Vec<Difference> {
    let mut names: Vec<&str> = pairs
        .iter()
        .flat_map(|pair| &pair.runs)
        .flat_map(|run| &run.counters)
        .map(|counter| counter.name.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    let median = |arm: usize, name: &str| -> Option<Ratio> {
        let mut values: Vec<Ratio> = pairs
            .iter()
            .filter_map(|pair| pair.runs.get(arm))
            .filter_map(|run| {
                let counter = run.counters.iter().find(|one| one.name == name)?;
                Some(Ratio::new(counter.value, run.events))
            })
            .collect();
        let key = |ratio: &Ratio| ratio.as_f64().unwrap_or(0.0);
        values.sort_by(|a, b| key(a).total_cmp(&key(b)));
        values.get(values.len().checked_sub(1)? / 2).copied()
    };
    let log = |one: &Difference| {
        let of = |ratio: Ratio| (ratio.part as f64 + 1.0) / ratio.whole.max(1) as f64;
        (of(one.candidate) / of(one.baseline)).ln().abs()
    };
    let mut all: Vec<Difference> = names
        .into_iter()
        .filter_map(|name| {
            Some(Difference {
                name: name.to_owned(),
                baseline: median(0, name)?,
                candidate: median(1, name)?,
            })
        })
        .filter(|one| log(one) >= NAMED_FROM_PPM)
        .collect();
    all.sort_by(|a, b| log(b).total_cmp(&log(a)));
    all
}

/// Fills in verdict, exit codes and reasons.
pub(super) fn decide(record: &mut GateRecord, stop: Option<&Stop>, neutral: bool) {
    let many = record.scenarios.len() > 1;
    let mut reasons: Vec<(ExitCode, String)> = Vec::new();
    let all_left_out = record.scenarios.iter().all(|one| one.left_out.is_some());
    let mut left_out = Vec::new();
    for scenario in &mut record.scenarios {
        let name = if many {
            format!("{}: ", scenario.name)
        } else {
            String::new()
        };
        let mut own = of_scenario(scenario, stop.is_some());
        scenario.exit_code = ExitCode::decide(own.iter().map(|(code, _)| *code));
        // What was not run says nothing about the others.
        if scenario.left_out.is_some() && !all_left_out {
            left_out.extend(own.drain(..).map(|(_, why)| format!("{name}{why}")));
        }
        reasons.extend(
            own.drain(..)
                .map(|(code, why)| (code, format!("{name}{why}"))),
        );
    }
    match stop {
        Some(Stop::Interrupted) => reasons.push((
            ExitCode::Inconclusive,
            "The gate was interrupted; what it has is shown.".into(),
        )),
        Some(Stop::Unfit(why)) => {
            reasons.push((ExitCode::Inconclusive, format!("Host unfit: {why}.")));
        }
        Some(Stop::Void { why, candidate }) => {
            let whose = if *candidate {
                "The candidate's runs prove too little"
            } else {
                "Too many runs prove too little"
            };
            reasons.push((ExitCode::Inconclusive, format!("{whose}: {why}.")));
        }
        Some(Stop::Failed(why)) => {
            reasons.push((
                ExitCode::HarnessFailed,
                format!("The harness or a store failed: {why}."),
            ));
        }
        None => {}
    }
    let code = ExitCode::decide(reasons.iter().map(|(code, _)| *code));
    let rank = |code: &ExitCode| ExitCode::PRECEDENCE.iter().position(|one| one == code);
    reasons.sort_by_key(|(code, _)| rank(code));
    record.exit_code = code;
    record.verdict = match code {
        ExitCode::Pass => Verdict::Pass,
        ExitCode::Missed | ExitCode::Regression => Verdict::Fail,
        _ => Verdict::Inconclusive,
    };
    record.exit_code_given = match code {
        ExitCode::Inconclusive if neutral && may_be_neutral(stop) => ExitCode::Pass,
        _ => code,
    };
    record.reasons = reasons.into_iter().map(|(_, why)| why).collect();
    record.reasons.extend(left_out);
}

/// Whether an inconclusive gate is the host's doing, as far as can be told. Who interrupts a gate has
/// no answer, and a candidate whose runs prove nothing must not pass because of it.
fn may_be_neutral(stop: Option<&Stop>) -> bool {
    !matches!(
        stop,
        Some(
            Stop::Interrupted
                | Stop::Void {
                    candidate: true,
                    ..
                }
        )
    )
}

/// What a scenario comes to, with the reasons; empty only where the gate was stopped.
fn of_scenario(scenario: &ScenarioGate, stopped: bool) -> Vec<(ExitCode, String)> {
    let mut reasons: Vec<(ExitCode, String)> = scenario
        .violations
        .iter()
        .filter(|violation| violation.exit_code != ExitCode::Pass)
        .map(|violation| (violation.exit_code, violation.sentence.clone()))
        .collect();
    if let Some(why) = &scenario.left_out {
        return vec![(ExitCode::Inconclusive, why.clone())];
    }
    let violated = !reasons.is_empty();
    for one in scenario
        .metrics
        .iter()
        .filter(|one| one.class == Class::Gating)
    {
        let words = metric::find(&one.name).map_or(one.name.as_str(), |metric| metric.words);
        match one.outcome {
            Outcome::Regression => {
                reasons.push((ExitCode::Regression, format!("{words} is {}.", one.reason)))
            }
            // After a loss the pairs end early, and nothing more is asked of them.
            Outcome::Inconclusive if !violated && !stopped => reasons.push((
                ExitCode::Inconclusive,
                format!("{words} is inconclusive: {}.", one.reason),
            )),
            _ => {}
        }
    }
    if !violated && !stopped && !scenario.metrics.iter().any(decides_speed) {
        let why: Vec<String> = scenario
            .metrics
            .iter()
            .filter(|one| metric::find(&one.name).is_some_and(|metric| metric.is_speed))
            .map(|one| format!("{}: {}", one.name, one.reason))
            .collect();
        reasons.push((
            ExitCode::Inconclusive,
            format!(
                "No speed metric can decide on this host ({}).",
                why.join("; ")
            ),
        ));
    }
    if reasons.is_empty() && !stopped {
        reasons.push((ExitCode::Pass, passed(&scenario.metrics)));
    }
    reasons
}

fn decides_speed(one: &MetricResult) -> bool {
    one.class == Class::Gating
        && one.outcome != Outcome::NotMeasured
        && metric::find(&one.name).is_some_and(|metric| metric.is_speed)
}

fn passed(metrics: &[MetricResult]) -> String {
    let decided: Vec<String> = metrics
        .iter()
        .filter(|one| one.class == Class::Gating && one.outcome != Outcome::NotMeasured)
        .map(|one| {
            let words = metric::find(&one.name).map_or(one.name.as_str(), |metric| metric.words);
            format!("{words}{}", bounded(one))
        })
        .collect();
    format!(
        "Nothing is lost, and nothing got worse by its margin: {}.",
        decided.join(", ")
    )
}

/// What a metric is certainly not worse than: ` (at most 1.2 % worse)`.
fn bounded(one: &MetricResult) -> String {
    let Some(upper) = one.upper_log_ppm.value() else {
        return String::new();
    };
    let side = if *upper > 0 { "most" } else { "least" };
    match suite::change(*upper as f64 / 1e6).as_str() {
        "unchanged" => " (unchanged)".to_owned(),
        by => format!(" (at {side} {by})"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::record_of;
    use super::*;

    fn miss(arm: usize, what: &str) -> Miss {
        Miss {
            arm,
            what: what.into(),
            why: "20 events; the limit is 0 events".into(),
            dir: "runs/x".into(),
            pair: 1,
        }
    }

    fn code(what: &str, baseline: usize, candidate: usize) -> ExitCode {
        let (old, new) = (miss(0, what), miss(1, what));
        violation(what, &vec![&old; baseline], &vec![&new; candidate], [8, 8]).exit_code
    }

    #[test]
    fn one_loss_decides_and_a_late_percentile_needs_most_runs() {
        assert_eq!(code("lost", 0, 1), ExitCode::Regression);
        assert_eq!(code("lost", 1, 1), ExitCode::Missed);
        assert_eq!(code("lost", 1, 0), ExitCode::Pass);
        assert_eq!(code("stored_response_us_p99", 0, 4), ExitCode::Pass);
        assert_eq!(code("stored_response_us_p99", 0, 5), ExitCode::Inconclusive);
        assert_eq!(code("stored_response_us_p99", 0, 6), ExitCode::Regression);
        assert_eq!(code("stored_response_us_p99", 4, 8), ExitCode::Inconclusive);
        assert_eq!(code("stored_response_us_p99", 5, 5), ExitCode::Missed);
    }

    fn metric_of(name: &str, outcome: Outcome) -> MetricResult {
        MetricResult {
            name: name.into(),
            outcome,
            reason: "30 % worse".into(),
            class: match outcome {
                Outcome::Demoted => Class::Watch,
                _ => Class::Gating,
            },
            ..MetricResult::default()
        }
    }

    fn codes(metrics: Vec<MetricResult>) -> ExitCode {
        let scenario = ScenarioGate {
            metrics,
            ..ScenarioGate::default()
        };
        ExitCode::decide(
            of_scenario(&scenario, false)
                .into_iter()
                .map(|(code, _)| code),
        )
    }

    #[test]
    fn the_code_follows_the_metrics() {
        let cpu = |outcome| metric_of("cpu_ns_per_event", outcome);
        assert_eq!(codes(vec![cpu(Outcome::Fine)]), ExitCode::Pass);
        assert_eq!(codes(vec![cpu(Outcome::Regression)]), ExitCode::Regression);
        assert_eq!(
            codes(vec![cpu(Outcome::Inconclusive)]),
            ExitCode::Inconclusive
        );
        // Memory alone cannot vouch for speed.
        let rss = metric_of("peak_rss_bytes", Outcome::Fine);
        assert_eq!(
            codes(vec![cpu(Outcome::Demoted), rss.clone()]),
            ExitCode::Inconclusive
        );
        let worse = metric_of("peak_rss_bytes", Outcome::Regression);
        assert_eq!(
            codes(vec![cpu(Outcome::Demoted), worse]),
            ExitCode::Regression
        );
        assert_eq!(codes(vec![cpu(Outcome::Improved), rss]), ExitCode::Pass);
    }

    fn passing() -> ScenarioGate {
        ScenarioGate {
            metrics: vec![metric_of("cpu_ns_per_event", Outcome::Fine)],
            ..ScenarioGate::default()
        }
    }

    #[test]
    fn neutral_is_for_the_hosts_doing_only() {
        let given = |stop: Stop| {
            let mut record = record_of(vec![passing()]);
            decide(&mut record, Some(&stop), true);
            assert_eq!(record.exit_code, ExitCode::Inconclusive, "{stop:?}");
            record.exit_code_given
        };
        let void = |candidate| Stop::Void {
            why: "x".into(),
            candidate,
        };
        assert_eq!(given(Stop::Unfit("busy".into())), ExitCode::Pass);
        assert_eq!(given(void(false)), ExitCode::Pass);
        assert_eq!(given(void(true)), ExitCode::Inconclusive);
        assert_eq!(given(Stop::Interrupted), ExitCode::Inconclusive);
    }

    #[test]
    fn what_is_in_quarantine_decides_only_when_nothing_else_is_there() {
        let left_out = || ScenarioGate {
            left_out: Some("It is in quarantine.".into()),
            ..ScenarioGate::default()
        };
        let mut some = record_of(vec![passing(), left_out()]);
        decide(&mut some, None, false);
        assert_eq!(some.exit_code, ExitCode::Pass);
        assert!(some.reasons[1].contains("quarantine"), "{:?}", some.reasons);
        let mut none = record_of(vec![left_out(), left_out()]);
        decide(&mut none, None, false);
        assert_eq!(none.exit_code, ExitCode::Inconclusive);
    }
}
