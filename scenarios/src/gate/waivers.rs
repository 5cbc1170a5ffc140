//! Waivers: regressions that somebody has decided to live with, in a file that is committed.
//!
//! ```toml
//! [[waiver]]
//! metric = "cpu_ns_per_event"
//! scenario = "quickstart"          # all scenarios unless given
//! limit = "10 %"                   # worse than this is a regression all the same
//! reason = "checksums in every frame, issue 31"
//! until = "2026-03-01"             # the last day on which it holds
//! ```
//!
//! The limit holds for the estimate of the screen's pairs and for that of the fresh pairs that confirmed
//! the regression. All but `scenario` must be given: a waiver without an end would be a new margin. One that has
//! expired is ignored, and named in every report until somebody removes it.

use std::path::Path;

use flume_bench_reports::gate::metric;
use flume_bench_reports::gate::record::{Outcome, ScenarioGate};
use jiff::civil::Date;

use crate::scenario::gate::parse_percent;
use crate::scenario::reader::{Problem, Reader, Source, did_you_mean};

/// One waiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiver {
    /// The metric.
    metric: String,
    /// The scenario; all of them without one.
    scenario: Option<String>,
    /// A change up to this is waived, ppm.
    limit_ppm: u64,
    /// Why.
    reason: String,
    /// The last day on which it holds.
    until: Date,
}

/// Reads a file of waivers.
///
/// # Errors
/// Every problem found.
pub fn read(path: &Path) -> Result<Vec<Waiver>, Vec<Problem>> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        vec![
            Problem::at(path, 0, format!("the waivers cannot be read: {error}"))
                .remedy("name a file with --waivers, or leave the option out"),
        ]
    })?;
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<Vec<Waiver>, Vec<Problem>> {
    let source = Source::new(path, text);
    let mut waivers = Vec::new();
    if let Some(table) = source.parse() {
        let root = Reader::root(&source, &table);
        for table in root.tables("waiver") {
            waivers.extend(one(&table));
        }
        root.finish();
    }
    match source.into_problems() {
        problems if problems.is_empty() => Ok(waivers),
        problems => Err(problems),
    }
}

fn one(table: &Reader<'_, '_>) -> Option<Waiver> {
    let name = table.required_text("metric", "what is waived, such as \"cpu_ns_per_event\"");
    let known = name.as_deref().is_none_or(|name| {
        let known = metric::find(name).is_some();
        if !known {
            let names = metric::METRICS.iter().map(|metric| metric.name);
            let hint = did_you_mean(name, names);
            table.problem("metric", format!("there is no metric `{name}`{hint}"));
        }
        known
    });
    if table.raw("limit").is_none() {
        table.missing("limit", "how much worse is waived, such as \"10 %\"");
    }
    let limit_ppm = table.parsed("limit", parse_percent);
    let reason = table.required_text("reason", "why, for whoever finds it later");
    if table.raw("until").is_none() {
        table.missing(
            "until",
            "the last day on which it holds, such as \"2026-03-01\": a waiver without an end is a new margin",
        );
    }
    let until = table.parsed("until", |text| {
        text.parse::<Date>()
            .map_err(|_| format!("\"{text}\" is not a day: write it like \"2026-03-01\""))
    });
    let scenario = table.text("scenario");
    table.finish();
    Some(Waiver {
        metric: name.filter(|_| known)?,
        scenario,
        limit_ppm: limit_ppm?,
        reason: reason?,
        until: until?,
    })
}

/// Waives what is covered, and names what has expired.
pub fn apply(waivers: &[Waiver], today: Date, scenarios: &mut [ScenarioGate]) -> Vec<String> {
    let mut notes = Vec::new();
    for waiver in waivers {
        if waiver.until < today {
            notes.push(format!(
                "The waiver for {} ({}) expired on {} and is ignored: remove it.",
                waiver.metric, waiver.reason, waiver.until
            ));
            continue;
        }
        let covered = scenarios.iter_mut().filter(|one| {
            waiver
                .scenario
                .as_ref()
                .is_none_or(|name| *name == one.name)
        });
        let metrics = covered.flat_map(|scenario| &mut scenario.metrics);
        for one in metrics.filter(|one| one.name == waiver.metric) {
            let limit = (waiver.limit_ppm as f64 / 1e6).ln_1p() * 1e6;
            // Of the screen's pairs, and of the fresh ones: both are what the change may be.
            let fresh = one.confirm_estimate_log_ppm;
            let within = one
                .estimate_log_ppm
                .value()
                .is_some_and(|log| (*log).max(fresh.unwrap_or(*log)) as f64 <= limit);
            if one.outcome == Outcome::Regression && within {
                one.outcome = Outcome::Waived;
                one.waived = Some(format!("{}, until {}", waiver.reason, waiver.until));
            }
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use flume_bench_reports::gate::record::MetricResult;
    use flume_bench_reports::record::Known;

    const GOOD: &str = "[[waiver]]\nmetric = \"cpu_ns_per_event\"\nlimit = \"10 %\"\nreason = \"r\"\nuntil = \"2026-03-01\"\n";

    fn regression(log_ppm: i64) -> Vec<ScenarioGate> {
        vec![ScenarioGate {
            name: "s".into(),
            metrics: vec![MetricResult {
                name: "cpu_ns_per_event".into(),
                outcome: Outcome::Regression,
                estimate_log_ppm: Known::Value(log_ppm),
                ..MetricResult::default()
            }],
            ..ScenarioGate::default()
        }]
    }

    #[test]
    fn a_waiver_must_hold_for_the_fresh_pairs_too() {
        let waivers = parse(Path::new("w.toml"), GOOD).unwrap();
        let mut scenarios = regression(90_000);
        scenarios[0].metrics[0].confirm_estimate_log_ppm = Some(120_000);
        apply(&waivers, "2026-01-01".parse().unwrap(), &mut scenarios);
        assert_eq!(scenarios[0].metrics[0].outcome, Outcome::Regression);
        scenarios[0].metrics[0].confirm_estimate_log_ppm = Some(94_000);
        apply(&waivers, "2026-01-01".parse().unwrap(), &mut scenarios);
        assert_eq!(scenarios[0].metrics[0].outcome, Outcome::Waived);
    }

    fn outcome(text: &str, today: &str, log_ppm: i64) -> (Outcome, usize) {
        let waivers = parse(Path::new("w.toml"), text).unwrap();
        let mut scenarios = regression(log_ppm);
        let notes = apply(&waivers, today.parse().unwrap(), &mut scenarios);
        (scenarios[0].metrics[0].outcome, notes.len())
    }

    #[test]
    fn a_waiver_holds_up_to_its_limit_and_its_last_day() {
        assert_eq!(outcome(GOOD, "2026-03-01", 90_000), (Outcome::Waived, 0));
        assert_eq!(
            outcome(GOOD, "2026-03-01", 110_000),
            (Outcome::Regression, 0)
        );
        assert_eq!(
            outcome(GOOD, "2026-03-02", 90_000),
            (Outcome::Regression, 1)
        );
        let other = format!("{GOOD}scenario = \"other\"\n");
        assert_eq!(
            outcome(&other, "2026-01-01", 90_000),
            (Outcome::Regression, 0)
        );
    }

    #[test]
    fn without_an_end_it_is_refused_and_all_is_said_at_once() {
        let bad = "[[waiver]]\nmetric = \"cpu\"\nlimit = \"10\"\n\n[[waiver]]\nmetric = \"peak_rss_bytes\"\nlimit = \"5 %\"\nreason = \"r\"\n";
        let problems = parse(Path::new("w.toml"), bad).unwrap_err();
        let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let text = text.join("\n");
        assert_eq!(problems.len(), 5, "{text}");
        assert!(
            text.contains("new margin") && text.contains("no metric `cpu`"),
            "{text}"
        );
    }
}
