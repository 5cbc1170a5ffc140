//! Text for people and for the logs of a CI job.

use super::{alarmed, arms, change, differences, done, share, slowest_pair, split, value, words};
use crate::format::Page;
use crate::gate::metric::Class;
use crate::gate::record::{GateRecord, MetricResult, Outcome, ScenarioGate};
use crate::record::Known;
use crate::show;

/// The record as text of at most `width` columns.
#[must_use]
pub fn terminal(record: &GateRecord, width: usize, colour: bool) -> String {
    let mut page = Page::new(width, colour);
    let reason = record
        .reasons
        .first()
        .map_or("no reason was recorded", String::as_str);
    let verdict = page.verdict(record.verdict);
    page.text.push_str(&format!("{verdict}\n"));
    page.paragraph(2, reason);
    for reason in record.reasons.iter().skip(1) {
        page.paragraph(2, reason);
    }
    page.entry("compared", &arms(record));
    for arm in &record.arms {
        if !arm.what.is_empty() {
            page.entry(&format!("  {}", arm.name), &arm.what);
        }
    }
    page.entry("done", &done(record));
    page.entry("host", &record.host_kind);
    for scenario in &record.scenarios {
        of_scenario(&mut page, scenario);
    }
    if !record.notes.is_empty() {
        page.heading("Notes");
        for note in &record.notes {
            page.paragraph(2, note);
        }
    }
    page.text
}

fn of_scenario(page: &mut Page, scenario: &ScenarioGate) {
    page.heading(&scenario.name);
    if let Some(why) = &scenario.left_out {
        page.entry("left out", why);
        return;
    }
    let (measured, rest) = split(scenario);
    metrics(page, &measured);
    for one in measured {
        if one.class == Class::Gating || one.outcome == Outcome::Demoted {
            let line = format!("{}: {}, {}", words(one), one.outcome.words(), one.reason);
            page.paragraph(2, &line);
        }
        if let Some(waiver) = &one.waived {
            page.paragraph(4, &format!("waived: {waiver}"));
        }
    }
    for one in rest {
        page.paragraph(2, &format!("{}: not measured, {}", words(one), one.reason));
    }
    for violation in &scenario.violations {
        page.entry("missed", &violation.sentence);
        if let Some(dir) = violation.seen_in.first() {
            page.entry("", &format!("seen in {dir}"));
        }
    }
    if alarmed(scenario) {
        for line in differences(scenario) {
            page.entry("why", &line);
        }
        if let Some(line) = slowest_pair(scenario) {
            page.entry("look at", &line);
        }
    }
    for spoiled in &scenario.spoiled {
        page.entry(
            "run again",
            &format!("pair {}: {}", spoiled.number, spoiled.why),
        );
    }
}

/// What was measured, a row a metric.
fn metrics(page: &mut Page, measured: &[&MetricResult]) {
    let rows: Vec<Vec<String>> = measured
        .iter()
        .map(|one| {
            let class = match one.class {
                Class::Gating => one.outcome.words().to_owned(),
                Class::Watch => format!("({})", one.outcome.words()),
            };
            vec![
                words(one).to_owned(),
                class,
                value(one, &one.baseline),
                value(one, &one.candidate),
                change(&one.estimate_log_ppm),
                change(&one.upper_log_ppm),
                share(one.margin_ppm),
                match &one.resolution_ppm {
                    Known::Value(ppm) => share(*ppm),
                    Known::Unknown(_) => show::UNKNOWN.into(),
                },
            ]
        })
        .collect();
    if !rows.is_empty() {
        let header = [
            "metric",
            "outcome",
            "baseline",
            "candidate",
            "change",
            "at most",
            "margin",
            "resolves",
        ];
        page.table(&header, &rows);
    }
}
