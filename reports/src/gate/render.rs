//! The ways to show a gate's record: text, Markdown, JUnit, annotations of GitHub, a page.
//!
//! Each reads the record and nothing else; the same record gives the same bytes.

mod annotations;
mod html;
mod junit;
mod markdown;
mod openmetrics;
mod terminal;

pub use annotations::annotations;
pub use html::html;
pub use junit::junit;
pub use markdown::{MARKER, markdown};
pub use openmetrics::openmetrics;
pub use terminal::terminal;

use super::metric;
use super::record::{Difference, GateRecord, MetricResult, Outcome, ScenarioGate};
use crate::record::{Known, Ratio};
use crate::show;

/// What people call a metric.
fn words(one: &MetricResult) -> &str {
    metric::find(&one.name).map_or(one.name.as_str(), |metric| metric.words)
}

/// A value in its metric's unit.
fn value(one: &MetricResult, value: &Known<Ratio>) -> String {
    let unit = metric::find(&one.name).map_or("", |metric| metric.unit);
    let Some(number) = value.value().and_then(|ratio| ratio.as_f64()) else {
        return show::UNKNOWN.to_owned();
    };
    match unit {
        "ns" if number >= 1e3 => format!("{} µs", show::decimal(number / 1e3)),
        "ns" => format!("{} ns", show::decimal(number)),
        "bytes" => show::bytes_f64(number),
        "us" => show::duration_f64(number),
        "events_per_s" => format!("{}/s", show::decimal(number)),
        _ => show::decimal(number),
    }
}

/// A bound or an estimate as a change.
fn change(known: &Known<i64>) -> String {
    match known {
        Known::Value(log_ppm) => signed(*log_ppm),
        Known::Unknown(_) => show::UNKNOWN.to_owned(),
    }
}

/// `+2.1 %`: above 0 is worse.
fn signed(log_ppm: i64) -> String {
    let percent = (log_ppm as f64 / 1e6).exp_m1() * 100.0;
    let digits = if percent.abs() < 10.0 { 1 } else { 0 };
    // A change that rounds to nothing has no direction.
    if percent.abs() < 0.05 {
        return "0 %".to_owned();
    }
    format!("{percent:+.digits$} %").replace('-', "−")
}

/// A share of ppm.
fn share(ppm: u64) -> String {
    format!("{} %", show::decimal(ppm as f64 / 1e4))
}

/// M in words, with its floor.
fn margin(one: &MetricResult) -> String {
    match &one.floor {
        Some(floor) => format!(
            "{} (at least {})",
            share(one.margin_ppm),
            show::quantity(floor)
        ),
        None => share(one.margin_ppm),
    }
}

/// The metrics that were measured, and those that were not.
fn split(scenario: &ScenarioGate) -> (Vec<&MetricResult>, Vec<&MetricResult>) {
    scenario
        .metrics
        .iter()
        .partition(|one| one.outcome != Outcome::NotMeasured)
}

/// What was compared, in one line.
fn arms(record: &GateRecord) -> String {
    let name = |at: usize| record.arms.get(at).map_or("?", |arm| arm.name.as_str());
    format!("{} against {}", name(1), name(0))
}

/// How it was done, in one line.
fn done(record: &GateRecord) -> String {
    let pairs: usize = record.scenarios.iter().map(|one| one.pairs.len()).sum();
    let spoiled: usize = record.scenarios.iter().map(|one| one.spoiled.len()).sum();
    format!(
        "{}{}, {} run again, {}, seed {}",
        show::plural(pairs as u64, "pair"),
        if record.plan.at_once { " in turns" } else { "" },
        spoiled,
        show::duration(record.took_us),
        record.seed
    )
}

/// Counters that explain an alarm, a line each; the ones that moved most.
fn differences(scenario: &ScenarioGate) -> Vec<String> {
    let per_event = |ratio: Ratio| ratio.as_f64().map_or("-".to_owned(), show::decimal);
    // Out of nothing there is no percentage.
    let by = |one: &Difference| match (one.baseline.as_f64(), one.candidate.as_f64()) {
        (Some(old), Some(new)) if old > 0.0 && new > 0.0 => {
            format!(" ({})", signed(((new / old).ln() * 1e6) as i64))
        }
        _ => String::new(),
    };
    scenario
        .differences
        .iter()
        .take(6)
        .map(|one| {
            format!(
                "{} per event: {} → {}{}",
                show::words(&one.name),
                per_event(one.baseline),
                per_event(one.candidate),
                by(one)
            )
        })
        .collect()
}

/// Whether there is something that asks for an explanation.
fn alarmed(scenario: &ScenarioGate) -> bool {
    let bad = |one: &MetricResult| {
        matches!(
            one.outcome,
            Outcome::Regression | Outcome::Worse | Outcome::Waived
        )
    };
    scenario.metrics.iter().any(bad)
}

/// The directories of the candidate's slowest run of an alarmed metric and of its partner.
fn slowest_pair(scenario: &ScenarioGate) -> Option<String> {
    let one = scenario
        .metrics
        .iter()
        .find(|one| one.outcome == Outcome::Regression)?;
    let worst = one
        .pairs_log_ppm
        .iter()
        .enumerate()
        .filter_map(|(at, log)| Some((at, *log.value()?)))
        .max_by_key(|(_, log)| *log)?;
    let dirs: Vec<&str> = scenario
        .pairs
        .get(worst.0)?
        .runs
        .iter()
        .map(|run| run.dir.as_str())
        .collect();
    Some(format!(
        "the pair with the largest change, {} ({}): {}",
        signed(worst.1),
        words(one),
        dirs.join(" and ")
    ))
}

#[cfg(test)]
pub(crate) mod tests;
