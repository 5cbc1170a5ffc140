//! From pairs of runs to decisions: which metrics there are, their log-ratios, the screen over all
//! scenarios at once, and what the record says of each.
//!
//! All gating metrics of all scenarios are one family with one false-alarm budget. Which of them
//! this gate has is known at the first look: one that a scenario does not produce is not in it. A
//! floor (8 MiB, 2 ms) becomes part of the margin there: M is then the larger of the percentage and
//! the floor by the baseline's median.

use super::decision::{Error, Evidence, MetricState, Next, Plan, Screen, State};
use super::metric::{Class, METRICS, Metric};
use super::record::{MetricResult, Outcome, Pair};
use crate::record::{Known, Ratio};
use crate::show;

/// The level of the bounds that are shown for metrics which decide nothing.
const WATCH_LEVEL: f64 = 0.025;

/// What is known of a scenario's metrics before the first pair.
#[derive(Debug, Clone, PartialEq)]
pub struct Given {
    /// The scenario's name.
    pub name: String,
    /// Margin (ppm) and floor of each metric of [`METRICS`].
    pub margins: Vec<(u64, u64)>,
    /// Variation within a pair from a stored calibration, by metric.
    pub calibrated: Vec<Option<f64>>,
    /// Where the baseline is a stored one: the drift measured on this host by metric, as a
    /// log-ratio. A metric whose drift is not known decides nothing and does not pass.
    pub drift: Option<Vec<Option<f64>>>,
}

impl Given {
    /// A scenario with the default margins, not calibrated.
    #[must_use]
    pub fn defaults(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            margins: METRICS
                .iter()
                .map(|metric| (metric.margin_ppm, metric.floor))
                .collect(),
            calibrated: vec![None; METRICS.len()],
            drift: None,
        }
    }
}

/// All metrics of a gate.
#[derive(Debug, Clone)]
pub struct Suite {
    plan: Plan,
    strict: bool,
    given: Vec<Given>,
    /// Scenario and metric of each member of the screen.
    members: Vec<(usize, usize)>,
    screen: Option<Screen>,
}

impl Suite {
    /// Before the first pair.
    #[must_use]
    pub fn new(plan: Plan, strict: bool, given: Vec<Given>) -> Self {
        Self {
            plan,
            strict,
            given,
            members: Vec::new(),
            screen: None,
        }
    }

    /// What is to be done next.
    #[must_use]
    pub fn next(&self) -> Next {
        match &self.screen {
            Some(screen) => screen.next(),
            None => Next::Look {
                pairs: self.plan.looks.first().map_or(0, |look| look.pairs),
            },
        }
    }

    /// Whether a scenario's pairs are still asked for.
    #[must_use]
    pub fn wants(&self, scenario: usize) -> bool {
        let Some(screen) = &self.screen else {
            return true;
        };
        let mut own = self.members.iter().zip(screen.metrics());
        own.any(|((of, _), state)| *of == scenario && !state.state.is_final())
    }

    /// Takes the next look at the pairs of each scenario.
    ///
    /// # Errors
    /// Fewer pairs than the test can decide with.
    pub fn look(&mut self, pairs: &[&[Pair]]) -> Result<(), Error> {
        if self.screen.is_none() {
            self.begin(pairs)?;
        }
        let ratios = self.ratios(pairs, "screen");
        if let Some(screen) = &mut self.screen {
            screen.look(&slices(&ratios));
        }
        Ok(())
    }

    /// Takes the fresh pairs of the alarmed metrics.
    pub fn confirm(&mut self, pairs: &[&[Pair]]) {
        let ratios = self.ratios(pairs, "confirm");
        if let Some(screen) = &mut self.screen {
            screen.confirm(&slices(&ratios));
        }
    }

    fn begin(&mut self, pairs: &[&[Pair]]) -> Result<(), Error> {
        let mut metrics = Vec::new();
        for (scenario, pairs) in pairs.iter().enumerate() {
            for (at, metric) in METRICS.iter().enumerate() {
                if metric.class == Class::Gating && produced(pairs, at).is_ok() {
                    self.members.push((scenario, at));
                    metrics.push(super::decision::Metric {
                        name: format!("{}: {}", self.given[scenario].name, metric.name),
                        margin: self.margin(scenario, at, pairs),
                        calibrated_cv: self.given[scenario].calibrated[at],
                    });
                }
            }
        }
        let drift = self
            .members
            .iter()
            .map(|(of, at)| self.drift(*of, *at).ok()?);
        let drift = drift.collect();
        let screen = Screen::new(self.plan.clone(), metrics, self.strict)?;
        self.screen = Some(screen.with_drift(drift));
        Ok(())
    }

    /// The drift that a change of a metric must exceed: none where both arms are run. An error where
    /// it would have to be known.
    fn drift(&self, scenario: usize, at: usize) -> Result<Option<f64>, &'static str> {
        match &self.given[scenario].drift {
            None => Ok(None),
            Some(drift) => match drift.get(at).copied().flatten() {
                Some(drift) => Ok(Some(drift)),
                None => Err(
                    "no drift of it has been measured on this host: save two gates of the same build",
                ),
            },
        }
    }

    /// M as a log-ratio, with the floor in it.
    fn margin(&self, scenario: usize, at: usize, pairs: &[Pair]) -> f64 {
        margin_log(self.given[scenario].margins[at], pairs, at)
    }

    fn ratios(&self, pairs: &[&[Pair]], stage: &str) -> Vec<Vec<f64>> {
        self.members
            .iter()
            .map(|(scenario, at)| {
                if self.drift(*scenario, *at).is_err() {
                    return Vec::new();
                }
                let of_stage = pairs[*scenario].iter().filter(|pair| pair.stage == stage);
                // One value that is missing leaves the metric short, and so inconclusive.
                of_stage.filter_map(|pair| log_ratio(pair, *at)).collect()
            })
            .collect()
    }

    /// What the record says of each metric of a scenario.
    #[must_use]
    pub fn results(&self, scenario: usize, pairs: &[Pair]) -> Vec<MetricResult> {
        METRICS
            .iter()
            .enumerate()
            .map(|(at, metric)| {
                let member = self.members.iter().position(|one| *one == (scenario, at));
                let state = member
                    .zip(self.screen.as_ref())
                    .map(|(member, screen)| &screen.metrics()[member]);
                self.result(scenario, at, metric, state, pairs)
            })
            .collect()
    }

    fn result(
        &self,
        scenario: usize,
        at: usize,
        metric: &Metric,
        state: Option<&MetricState>,
        pairs: &[Pair],
    ) -> MetricResult {
        let margin = self.margin(scenario, at, pairs);
        let unknown = |why: &str| Known::unknown(why);
        let mut result = MetricResult {
            name: metric.name.to_owned(),
            class: metric.class,
            margin_ppm: (margin.exp_m1() * 1e6).round() as u64,
            floor: metric
                .floor_quantity()
                .filter(|_| self.given[scenario].margins[at].1 > 0),
            baseline: median(pairs, 0, at).map_or_else(|| unknown_of(pairs, 0, at), Known::Value),
            candidate: median(pairs, 1, at).map_or_else(|| unknown_of(pairs, 1, at), Known::Value),
            pairs_log_ppm: pairs
                .iter()
                .map(|pair| {
                    log_ratio(pair, at)
                        .map_or_else(|| unknown("a value is missing"), |x| Known::Value(ppm(x)))
                })
                .collect(),
            resolution_from: "the screen's own pairs".into(),
            estimate_log_ppm: unknown("not compared"),
            lower_log_ppm: unknown("not compared"),
            upper_log_ppm: unknown("not compared"),
            p_ppb: Known::unknown("not compared"),
            resolution_ppm: Known::unknown("not compared"),
            ..MetricResult::default()
        };
        let produced = produced(pairs, at);
        match (state, produced) {
            // What was decided stays, whatever a later run could not measure.
            (Some(state), _) => {
                of_state(&mut result, state, margin, self.strict);
                let unknown = self.drift(scenario, at).err().map(str::to_owned);
                let why = missing(pairs, at).or(unknown);
                if let (State::Inconclusive, Some(why)) = (state.state, why) {
                    result.reason = why;
                }
            }
            (None, Err(why)) => {
                result.outcome = Outcome::NotMeasured;
                result.reason = why;
            }
            (None, Ok(())) if metric.class == Class::Gating => {
                of_watch(&mut result, pairs, at, margin);
                result.outcome = Outcome::Inconclusive;
                result.reason =
                    missing(pairs, at).unwrap_or_else(|| "the pairs ended too early".into());
            }
            (None, Ok(())) => of_watch(&mut result, pairs, at, margin),
        }
        result
    }
}

/// A margin (ppm) and its floor as a log-ratio: M is the larger of the two by the baseline's median.
#[must_use]
pub fn margin_log((ppm, floor): (u64, u64), pairs: &[Pair], at: usize) -> f64 {
    let part = ppm as f64 / 1e6;
    let baseline = median(pairs, 0, at).and_then(Ratio::as_f64).unwrap_or(0.0);
    let by_floor = if baseline > 0.0 {
        floor as f64 / baseline
    } else {
        0.0
    };
    part.max(by_floor).ln_1p()
}

fn slices(ratios: &[Vec<f64>]) -> Vec<&[f64]> {
    ratios.iter().map(Vec::as_slice).collect()
}

fn ppm(log: f64) -> i64 {
    (log * 1e6).round() as i64
}

/// Whether a scenario produces a metric, or why not: no run of either arm has a value, or all have
/// 0. A value that only some runs have is produced; the others are then missing, and a gate that
/// misses them does not pass because of it.
fn produced(pairs: &[Pair], at: usize) -> Result<(), String> {
    if pairs.is_empty() {
        return Err("no pair was run".into());
    }
    let values = || {
        pairs
            .iter()
            .flat_map(|pair| &pair.runs)
            .filter_map(|run| run.values.get(at))
    };
    let reason = values().find_map(Known::reason);
    if values().all(|value| value.value().is_none()) {
        return Err(reason.unwrap_or("no run has a value").to_owned());
    }
    let zeros = values().all(|value| value.value().is_some_and(|ratio| ratio.part == 0));
    match zeros {
        true => Err("0 in every run of both arms".into()),
        false => Ok(()),
    }
}

/// What is missing of a metric that is produced: in how many runs of which arm, and why.
fn missing(pairs: &[Pair], at: usize) -> Option<String> {
    let of = |arm: usize, name: &str| {
        let runs = pairs
            .iter()
            .filter_map(|pair| pair.runs.get(arm)?.values.get(at));
        let reasons: Vec<&str> = runs.filter_map(Known::reason).collect();
        let first = reasons.first()?;
        Some(format!(
            "{} of {} runs of the {name} have no value ({first})",
            reasons.len(),
            pairs.len()
        ))
    };
    let said: Vec<String> = [of(0, "baseline"), of(1, "candidate")]
        .into_iter()
        .flatten()
        .collect();
    (!said.is_empty()).then(|| said.join("; "))
}

fn unknown_of(pairs: &[Pair], arm: usize, at: usize) -> Known<Ratio> {
    let reasons = pairs.iter().filter_map(|pair| pair.runs.get(arm));
    let reason = reasons
        .filter_map(|run| run.values.get(at)?.reason())
        .next();
    Known::unknown(reason.unwrap_or("no pair was run"))
}

/// ln(candidate ÷ baseline), turned so that above 0 is worse. Where either is 0, one is added to
/// both counts, so that something out of nothing is much, and not infinitely much.
fn log_ratio(pair: &Pair, at: usize) -> Option<f64> {
    let value = |arm: usize| pair.runs.get(arm)?.values.get(at)?.value().copied();
    let (baseline, candidate) = (value(0)?, value(1)?);
    let one = u64::from(baseline.part == 0 || candidate.part == 0);
    let of = |ratio: Ratio| Ratio::new(ratio.part + one, ratio.whole).as_f64();
    let log = (of(candidate)? / of(baseline)?).ln();
    log.is_finite().then(|| match METRICS[at].less_is_better {
        true => log,
        false => -log,
    })
}

/// The run with the median value; of an even number the lower one of the middle two.
fn median(pairs: &[Pair], arm: usize, at: usize) -> Option<Ratio> {
    let mut values: Vec<Ratio> = pairs
        .iter()
        .filter_map(|pair| pair.runs.get(arm)?.values.get(at)?.value().copied())
        .collect();
    let key = |ratio: &Ratio| ratio.as_f64().unwrap_or(0.0);
    values.sort_by(|a, b| key(a).total_cmp(&key(b)));
    values.get(values.len().saturating_sub(1) / 2).copied()
}

fn fill(result: &mut MetricResult, evidence: &Evidence) {
    let few = || Known::unknown("too few pairs for this level");
    result.estimate_log_ppm = Known::Value(ppm(evidence.estimate));
    result.lower_log_ppm = evidence
        .lower
        .map_or_else(few, |bound| Known::Value(ppm(bound)));
    result.upper_log_ppm = evidence
        .upper
        .map_or_else(few, |bound| Known::Value(ppm(bound)));
    result.p_ppb = Known::Value((evidence.p_worse * 1e9).round() as u64);
}

/// The change in words: `2.1 % worse`, `0.3 % better`.
#[must_use]
pub fn change(log: f64) -> String {
    let percent = log.abs().exp_m1() * 100.0;
    match log {
        _ if percent < 0.05 => "unchanged".to_owned(),
        _ if log > 0.0 => format!("{} % worse", show::decimal(percent)),
        _ => format!("{} % better", show::decimal(-(-log.abs()).exp_m1() * 100.0)),
    }
}

/// A share in words.
#[must_use]
pub fn percent(log: f64) -> String {
    format!("{} %", show::decimal(log.exp_m1() * 100.0))
}

fn of_state(result: &mut MetricResult, state: &MetricState, margin: f64, strict: bool) {
    let evidence = state.fresh.as_ref().or(state.screen.as_ref());
    if let Some(screen) = &state.screen {
        fill(result, screen);
    }
    result.confirm_p_ppb = state
        .fresh
        .map(|fresh| (fresh.p_worse * 1e9).round() as u64);
    result.confirm_estimate_log_ppm = state.fresh.map(|fresh| ppm(fresh.estimate));
    result.resolution_ppm = state.resolution.map_or_else(
        || Known::unknown("too few pairs"),
        |least| Known::Value((least.exp_m1() * 1e6).round() as u64),
    );
    if state.calibrated {
        result.resolution_from = "the stored calibration".into();
    }
    let by = evidence.map_or_else(String::new, |evidence| change(evidence.estimate));
    let resolution = state
        .resolution
        .map_or_else(|| "unknown".to_owned(), percent);
    let below = format!("estimated {by}, less than {} worse", percent(margin));
    let noisy = format!(
        "this host resolves {resolution}, and the margin is {}",
        percent(margin)
    );
    (result.outcome, result.reason) = match state.state {
        State::Fine if state.fresh.is_some() => (
            Outcome::Fine,
            format!("{below}; an alarm was not confirmed"),
        ),
        State::Fine => (Outcome::Fine, below),
        State::Improved => (Outcome::Improved, by),
        State::Regression => (
            Outcome::Regression,
            match &state.screen {
                Some(screen) => format!(
                    "{}, confirmed on fresh pairs ({by})",
                    change(screen.estimate)
                ),
                None => format!("{by}, confirmed on fresh pairs"),
            },
        ),
        State::Demoted => (Outcome::Demoted, noisy),
        State::NeedsConfirmation { .. } => (
            Outcome::Inconclusive,
            format!("{by}; the alarm could not be confirmed or refuted"),
        ),
        State::NeedMore { .. } => (Outcome::Inconclusive, "the pairs ended too early".into()),
        State::Inconclusive if evidence.is_none() => {
            (Outcome::Inconclusive, "too few pairs have a value".into())
        }
        State::Inconclusive if strict => (Outcome::Inconclusive, format!("{by}; {noisy}")),
        State::Inconclusive => (
            Outcome::Inconclusive,
            format!(
                "estimated {by}; the pairs show neither that it is worse nor that it is less than {} worse",
                percent(margin)
            ),
        ),
    };
    if result.outcome == Outcome::Demoted {
        result.class = Class::Watch;
    }
}

/// A metric that is only watched: the same figures, and no decision.
fn of_watch(result: &mut MetricResult, pairs: &[Pair], at: usize, margin: f64) {
    let ratios: Vec<f64> = pairs
        .iter()
        .filter_map(|pair| log_ratio(pair, at))
        .collect();
    let Ok(evidence) = Evidence::of(&ratios, WATCH_LEVEL) else {
        result.outcome = Outcome::NotMeasured;
        result.reason = "no pair has a value in both arms".into();
        return;
    };
    fill(result, &evidence);
    result.resolution_ppm = evidence.cv.map_or_else(
        || Known::unknown("too few pairs"),
        |cv| Known::Value(((super::decision::RESOLUTION * cv).exp_m1() * 1e6).round() as u64),
    );
    let by = change(evidence.estimate);
    let worse =
        evidence.lower.is_some_and(|lower| lower > 0.0) && evidence.estimate >= margin / 2.0;
    let better =
        evidence.upper.is_some_and(|upper| upper < 0.0) && evidence.estimate <= -margin / 2.0;
    (result.outcome, result.reason) = if worse {
        (
            Outcome::Worse,
            format!("{by}; it is watched and does not decide"),
        )
    } else if better {
        (Outcome::Improved, by)
    } else if evidence.upper.is_some_and(|upper| upper < margin) {
        (
            Outcome::Fine,
            format!("estimated {by}, less than {} worse", percent(margin)),
        )
    } else {
        (
            Outcome::Inconclusive,
            format!("{by}; the pairs do not tell more"),
        )
    };
}

/// Coefficient of variation of a run within its pair, by metric, from pairs of equal arms.
#[must_use]
pub fn variations(pairs: &[Pair]) -> Vec<Known<f64>> {
    (0..METRICS.len())
        .map(|at| {
            if let Some(why) = produced(pairs, at).err().or_else(|| missing(pairs, at)) {
                return Known::unknown(why);
            }
            let ratios: Vec<f64> = pairs
                .iter()
                .filter_map(|pair| log_ratio(pair, at))
                .collect();
            crate::statistics::spread::within_pair_cv(&ratios)
                .map_or_else(|error| Known::unknown(error.to_string()), Known::Value)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::record::RunOf;
    use super::*;

    /// Pairs in which CPU of the candidate is the baseline's times these, and memory is given.
    fn pairs(stage: &str, cpu: &[f64], rss: (u64, u64)) -> Vec<Pair> {
        let run = |ns: f64, rss: u64| RunOf {
            values: METRICS
                .iter()
                .map(|metric| match metric.name {
                    "cpu_ns_per_event" => Known::Value(Ratio::new((ns * 1e6) as u64, 1_000)),
                    "peak_rss_bytes" => Known::Value(Ratio::new(rss, 1)),
                    "syncs_per_event" => Known::Value(Ratio::new(0, 1_000)),
                    "duplicated" => Known::Value(Ratio::new(0, 1)),
                    _ => Known::unknown("not in this test"),
                })
                .collect(),
            ..RunOf::default()
        };
        let pair = |(at, factor): (usize, &f64)| Pair {
            number: at as u64 + 1,
            stage: stage.to_owned(),
            runs: vec![run(5.0, rss.0), run(5.0 * factor, rss.1 + at as u64)],
            ..Pair::default()
        };
        cpu.iter().enumerate().map(pair).collect()
    }

    const NOISE: [f64; 12] = [
        1.004, 0.994, 1.011, 0.998, 1.007, 0.991, 1.001, 1.003, 0.997, 1.002, 0.995, 1.006,
    ];

    fn suite() -> Suite {
        Suite::new(Plan::default(), false, vec![Given::defaults("s")])
    }

    fn outcome(results: &[MetricResult], name: &str) -> (Outcome, String) {
        let one = results.iter().find(|one| one.name == name).unwrap();
        (one.outcome, one.reason.clone())
    }

    #[test]
    fn an_unchanged_build_is_fine_at_the_first_look() {
        let pairs = pairs("screen", &NOISE[..8], (20 << 20, 21 << 20));
        let mut suite = suite();
        assert_eq!(suite.next(), Next::Look { pairs: 8 });
        suite.look(&[&pairs]).unwrap();
        assert_eq!(suite.next(), Next::Done);
        assert!(!suite.wants(0));
        let results = suite.results(0, &pairs);
        assert_eq!(outcome(&results, "cpu_ns_per_event").0, Outcome::Fine);
        // 5 % more, and only 1 MiB: the floor of 8 MiB is not reached.
        assert_eq!(outcome(&results, "peak_rss_bytes").0, Outcome::Fine);
        let (state, why) = outcome(&results, "syncs_per_event");
        assert_eq!(
            (state, why.contains("0 in every")),
            (Outcome::NotMeasured, true)
        );
        let (state, why) = outcome(&results, "stored_response_us_p50");
        assert_eq!(
            (state, why.as_str()),
            (Outcome::NotMeasured, "not in this test")
        );
    }

    fn unknown(pairs: &mut [Pair], arm: usize, name: &str) {
        let at = METRICS.iter().position(|one| one.name == name).unwrap();
        for pair in pairs {
            pair.runs[arm].values[at] = Known::unknown("it could not be read");
        }
    }

    #[test]
    fn what_only_some_runs_measure_is_inconclusive_and_does_not_pass() {
        for (arm, which) in [(1, 0..12), (0, 0..12), (1, 3..4), (0, 11..12)] {
            let mut all = pairs("screen", &NOISE, (20 << 20, 20 << 20));
            let runs = which.len();
            unknown(&mut all[which], arm, "cpu_ns_per_event");
            let mut suite = suite();
            suite.look(&[&all[..8]]).unwrap();
            suite.look(&[&all]).unwrap();
            let results = suite.results(0, &all);
            let (state, why) = outcome(&results, "cpu_ns_per_event");
            // Once fine after 8 pairs, it stays fine.
            if arm == 0 && runs == 1 {
                assert_eq!(state, Outcome::Fine, "{why}");
                continue;
            }
            assert_eq!(state, Outcome::Inconclusive, "{why}");
            let said = format!(
                "{runs} of 12 runs of the {}",
                ["baseline", "candidate"][arm]
            );
            assert!(
                why.contains(&said) && why.contains("could not be read"),
                "{why}"
            );
        }
    }

    #[test]
    fn against_a_stored_baseline_the_drift_is_taken_off_and_added() {
        let drifted = |drift: Option<f64>, factor: f64| {
            let mut drifts = vec![None; METRICS.len()];
            drifts[0] = drift.map(f64::ln_1p);
            let given = Given {
                drift: Some(drifts),
                ..Given::defaults("s")
            };
            let slower: Vec<f64> = NOISE.iter().map(|noise| noise * factor).collect();
            let mut all = pairs("screen", &slower, (20 << 20, 20 << 20));
            let mut suite = Suite::new(Plan::default(), false, vec![given]);
            suite.look(&[&all[..8]]).unwrap();
            suite.look(&[&all]).unwrap();
            all.extend(pairs("confirm", &slower[..8], (20 << 20, 20 << 20)));
            suite.confirm(&[&all]);
            let results = suite.results(0, &all);
            let (outcome, why) = outcome(&results, "cpu_ns_per_event");
            (outcome, why, results[0].baseline.clone())
        };
        // 10 % slower, on a host that drifts by 2 %: slower all the same; by 9 %: not said.
        assert_eq!(drifted(Some(0.02), 1.10).0, Outcome::Regression);
        assert_eq!(drifted(Some(0.09), 1.10).0, Outcome::Demoted);
        // Unchanged: fine on a quiet host, not on one whose drift could hide a change of 5 %.
        assert_eq!(drifted(Some(0.01), 1.0).0, Outcome::Fine);
        assert_ne!(drifted(Some(0.06), 1.0).0, Outcome::Fine);
        let (outcome, why, baseline) = drifted(None, 1.10);
        assert_eq!(outcome, Outcome::Inconclusive);
        assert!(why.contains("no drift"), "{why}");
        assert_eq!(baseline, Known::Value(Ratio::new(5_000_000, 1_000)));
    }

    #[test]
    fn an_alarm_outlives_a_value_that_is_missing_afterwards() {
        let slower: Vec<f64> = NOISE.iter().map(|noise| noise * 1.3).collect();
        let mut all = pairs("screen", &slower, (20 << 20, 20 << 20));
        let mut suite = suite();
        suite.look(&[&all[..8]]).unwrap();
        suite.look(&[&all]).unwrap();
        let mut fresh = pairs("confirm", &slower[..8], (20 << 20, 20 << 20));
        unknown(&mut fresh[7..], 1, "cpu_ns_per_event");
        all.extend(fresh);
        let mut confirmed = suite.clone();
        confirmed.confirm(&[&all]);
        let (state, why) = outcome(&confirmed.results(0, &all), "cpu_ns_per_event");
        assert_eq!(state, Outcome::Inconclusive, "{why}");
        all.truncate(12);
        all.extend(pairs("confirm", &slower[..8], (20 << 20, 20 << 20)));
        suite.confirm(&[&all]);
        all.extend(pairs("confirm", &slower[..1], (20 << 20, 20 << 20)));
        unknown(&mut all[20..], 1, "cpu_ns_per_event");
        let (state, why) = outcome(&suite.results(0, &all), "cpu_ns_per_event");
        assert_eq!(state, Outcome::Regression, "{why}");
    }

    #[test]
    fn a_slower_build_is_a_regression_only_when_confirmed() {
        let slower: Vec<f64> = NOISE.iter().map(|noise| noise * 1.3).collect();
        let mut all = pairs("screen", &slower, (20 << 20, 20 << 20));
        let mut suite = suite();
        suite.look(&[&all[..8]]).unwrap();
        assert_eq!(suite.next(), Next::Look { pairs: 12 });
        suite.look(&[&all]).unwrap();
        assert!(matches!(suite.next(), Next::Confirm { pairs: 8, .. }));
        assert!(suite.wants(0));
        all.extend(pairs("confirm", &slower[..8], (20 << 20, 20 << 20)));
        suite.confirm(&[&all]);
        assert_eq!(suite.next(), Next::Done);
        let results = suite.results(0, &all);
        let (state, why) = outcome(&results, "cpu_ns_per_event");
        assert_eq!(state, Outcome::Regression);
        assert!(why.starts_with("30"), "{why}");
        assert_eq!(results[0].pairs_log_ppm.len(), 20);
        assert!(results[0].confirm_p_ppb.unwrap() < 100_000_000);
    }

    #[test]
    fn what_the_host_cannot_see_is_demoted_and_says_so() {
        let noisy: Vec<f64> = NOISE
            .iter()
            .map(|noise| 1.0 + (noise - 1.0) * 30.0)
            .collect();
        let pairs = pairs("screen", &noisy, (20 << 20, 20 << 20));
        let mut suite = suite();
        suite.look(&[&pairs[..8]]).unwrap();
        suite.look(&[&pairs]).unwrap();
        let results = suite.results(0, &pairs);
        let (state, why) = outcome(&results, "cpu_ns_per_event");
        assert_eq!(state, Outcome::Demoted, "{why}");
        assert!(why.contains("resolves") && why.contains("5 %"), "{why}");
        assert_eq!(results[0].class, Class::Watch);
    }

    #[test]
    fn changes_are_said_by_their_direction() {
        assert_eq!(change(1.3_f64.ln()), "30 % worse");
        assert_eq!(change(0.5_f64.ln()), "50 % better");
        assert_eq!(change(0.0001), "unchanged");
    }
}
