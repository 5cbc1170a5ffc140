//! The ways to show a plan: text for a terminal, Markdown, CSV, JSON, and a page with figures.
//!
//! All of them are made from the same sentences and tables, which are here; a format only sets
//! them. The same plan gives the same bytes.

mod csv;
mod html;
mod markdown;
mod openmetrics;
mod terminal;

use super::sizing::{Number, Slice};
use super::{Conclusion, Outcome, PlanRecord, Probe, ProbeKind};
use crate::format::Error;
use crate::record::Known;
use crate::show;

pub use csv::csv;
pub use html::html;
pub use markdown::markdown;
pub use openmetrics::openmetrics;
pub use terminal::terminal;

/// `plan.json`: the record, indented, with a final newline.
///
/// # Errors
/// [`Error::Page`], which only a defect of ours can cause.
pub fn json(plan: &PlanRecord) -> Result<String, Error> {
    let mut text = serde_json::to_string_pretty(plan).map_err(|source| Error::Page {
        reason: source.to_string(),
    })?;
    text.push('\n');
    Ok(text)
}

/// A table: its heading, and its rows.
pub(super) struct Table {
    pub(super) head: Vec<&'static str>,
    pub(super) rows: Vec<Vec<String>>,
}

/// The one sentence above everything.
fn headline(plan: &PlanRecord) -> String {
    match (&plan.knee, plan.conclusion) {
        (Known::Value(knee), Conclusion::Found) => format!(
            "The knee is at {} events/s (90 % interval {} to {}).",
            show::count(knee.per_s),
            show::count(knee.low_per_s),
            show::count(knee.high_per_s)
        ),
        (Known::Unknown(reason), _) => format!("No knee: {reason}."),
        (Known::Value(_), other) => format!("No knee: {}.", other.as_str()),
    }
}

/// Pairs of words about the plan as a whole.
fn facts(plan: &PlanRecord) -> Vec<(&'static str, String)> {
    let method = &plan.method;
    let mut facts = vec![
        ("conclusion", plan.conclusion.as_str().to_owned()),
        ("system", format!("{} into {}", plan.sut, plan.store)),
        (
            "probes",
            format!(
                "{} of at most {}, {} judged after {} of warm-up",
                plan.probes.len(),
                method.most_probes,
                show::duration(method.steady_us),
                show::duration(method.warm_up_us)
            ),
        ),
        (
            "slowest cycle",
            format!("{} ({})", show::duration(method.cycle_us), method.cycle_of),
        ),
    ];
    if let Known::Value(knee) = &plan.knee {
        let rate = |rate: &u64| format!("{} events/s", show::count(*rate));
        facts.push(("spread of probes", show::ppm(knee.spread_ppm)));
        facts.push((
            "held, not held",
            format!(
                "highest that held {}, lowest that did not {}",
                show::known(&knee.highest_held_per_s, rate),
                show::known(&knee.lowest_failed_per_s, rate)
            ),
        ));
    }
    if !method.faults.is_empty() {
        facts.push(("faults in each probe", method.faults.join("; ")));
    }
    if !method.changed.is_empty() {
        facts.push(("changed for it", method.changed.join(", ")));
    }
    facts
}

/// One row a probe.
fn probes(plan: &PlanRecord) -> Table {
    let head = vec![
        "probe",
        "offered/s",
        "stored/s",
        "outcome",
        "backlog",
        "p50",
        "p99",
        "p99.9",
        "CPU",
        "fill",
    ];
    let row = |probe: &Probe| {
        let us = |value: &Known<u64>| show::known(value, |us| show::duration(*us));
        vec![
            match (probe.kind, probe.extended) {
                (ProbeKind::Saturation, _) => format!("{} saturation", probe.number),
                (_, true) => format!("{} longer", probe.number),
                (_, false) => probe.number.to_string(),
            },
            show::count(probe.offered_per_s),
            show::known(&probe.stored_per_s, |rate| show::count(*rate)),
            probe.outcome.as_str().to_owned(),
            match &probe.backlog {
                Known::Value(moved) => percent(moved.slope_ppm),
                Known::Unknown(_) => "-".to_owned(),
            },
            us(&probe.stored_response_us_p50),
            us(&probe.stored_response_us_p99),
            us(&probe.stored_response_us_p999),
            show::known(&probe.agent_cpu_ppm, |ppm| show::ppm(*ppm)),
            show::known(&probe.channel_fill_ppm, |ppm| show::ppm(*ppm)),
        ]
    };
    Table {
        head,
        rows: plan.probes.iter().map(row).collect(),
    }
}

/// Millionths with a sign, as per cent: `+1.25 %`.
fn percent(ppm: i64) -> String {
    format!("{:+.2} %", ppm as f64 / 1e4)
}

/// A table of numbers, each with where it comes from.
fn numbers(numbers: &[Number]) -> Table {
    Table {
        head: vec!["number", "value", "basis", "how"],
        rows: numbers
            .iter()
            .map(|number| {
                vec![
                    number.name.clone(),
                    show::known_or_why(&number.value, show::quantity),
                    number.basis.as_str().to_owned(),
                    number.how.clone(),
                ]
            })
            .collect(),
    }
}

/// The boundary of a slice, and what was measured in it.
fn slice(slice: &Slice) -> Table {
    let unit = if slice.axis == "rate" {
        "events/s"
    } else {
        "capacity"
    };
    let mut rows: Vec<Vec<String>> = slice
        .boundary
        .iter()
        .map(|point| {
            vec![
                show::count(point.x),
                show::duration(point.outage_us),
                "modelled: the longest that is survived".to_owned(),
            ]
        })
        .collect();
    rows.extend(slice.measured.iter().map(|point| {
        vec![
            show::count(point.x),
            show::duration(point.outage_us),
            format!("measured: {}", point.seen),
        ]
    }));
    Table {
        head: vec![unit, "outage", "basis"],
        rows,
    }
}

/// Sentences about the fit and its residual.
fn fit(plan: &PlanRecord) -> Vec<String> {
    let Known::Value(sizing) = &plan.sizing else {
        return Vec::new();
    };
    let fitted = &sizing.fitted;
    let mut says = vec![format!(
        "Fitted to {} for {} at {} events/s: {} events waited at most, and the channel was back at rest {} after the heal.",
        fitted.what,
        show::duration(fitted.outage_us),
        show::count(fitted.rate_per_s),
        show::count(fitted.level_events),
        show::known_or_why(&fitted.drained_us, |us| show::duration(*us))
    )];
    says.push(match &sizing.residual {
        Known::Unknown(reason) => format!("The model was not tested: {reason}."),
        Known::Value(test) => format!(
            "Tested on {} at {} events/s, which was not used for fitting: {} events were to be reached after {}, and were after {}. Residual: {}.",
            test.what,
            show::count(test.rate_per_s),
            show::count(test.level_events),
            show::duration(test.predicted_us),
            show::known_or_why(&test.measured_us, |us| show::duration(*us)),
            show::known_or_why(&test.residual_ppm, |ppm| percent(*ppm))
        ),
    });
    says
}

/// Why a probe did not hold, where that is not plain from the table.
fn remarks(plan: &PlanRecord) -> Vec<String> {
    plan.probes
        .iter()
        .filter(|probe| !matches!(probe.outcome, Outcome::Holds | Outcome::Measured))
        .map(|probe| format!("probe {}: {}", probe.number, probe.reason))
        .collect()
}

#[cfg(test)]
mod tests;
