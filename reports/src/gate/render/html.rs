//! One page that needs nothing else: the verdict, then each metric with its pairs as dots, the
//! interval of the change as a bar, and the margin as a line.
//!
//! Styles are those of the run's report. Everything from the record is escaped by the template
//! engine; only figures, which are drawn here from numbers, go in as markup.

use minijinja::{Value, context};

use super::{
    alarmed, arms, change, differences, done, margin, share, signed, slowest_pair, value, words,
};
use crate::format::Error;
use crate::format::html::frame::{self, Head, Page};
use crate::gate::metric::Class;
use crate::gate::record::{GateRecord, MetricResult, Outcome, ScenarioGate};
use crate::record::Known;
use crate::show;

const PAGE: Page = Page {
    name: "gate.html",
    template: include_str!("../../../templates/gate.html"),
    style: include_str!("../../../templates/gate.css"),
};

/// The record as a page.
///
/// # Errors
/// None that is not a defect of ours.
pub fn html(record: &GateRecord) -> Result<String, Error> {
    let scenarios: Vec<Value> = record.scenarios.iter().map(scenario).collect();
    let arm = |at: usize| {
        record.arms.get(at).map_or_else(
            || context! { name => "?", what => "", sha256 => "" },
            |arm| {
                let sha256 = arm.program.value().and_then(|file| file.sha256.value());
                context! { name => arm.name.clone(), what => arm.what.clone(), sha256 => sha256.cloned().unwrap_or_default() }
            },
        )
    };
    let body = context! {
        facts => [done(record), record.host_kind.clone()],
        arms => [arm(0), arm(1)],
        scenarios => scenarios,
        notes => record.notes.clone(),
        command => record.command_line.join(" "),
        rule => rule(record),
    };
    let head = Head {
        interrupted: record
            .interrupted
            .then_some("The gate was interrupted; what it has until then is here."),
        ..Head::new(
            "gate",
            &arms(record),
            &record.started,
            record.verdict.as_str(),
            &record.reasons,
        )
    };
    frame::render(&PAGE, head, body)
}

/// How the decision is made, for a reader who has not read the manual.
fn rule(record: &GateRecord) -> String {
    let looks: Vec<String> = record.plan.looks.iter().map(u64::to_string).collect();
    let how = match record.plan.at_once {
        true => {
            "Both arms are up at once in each pair and get the same load in turns; who has the first is drawn."
        }
        false => "Both arms run the same load in pairs, in an order that is drawn.",
    };
    format!(
        "{how} After {} pairs it is asked \
         of each metric whether the change is certainly below its margin: then it is fine. At the last \
         look, a change that is certainly above 0 and at least half of the margin is an alarm, and {} \
         fresh pairs must show it again. At most {} of gates of an unchanged build raise an alarm.",
        looks.join(" and "),
        record.plan.confirming,
        share(record.plan.alpha_ppm / 10)
    )
}

fn scenario(scenario: &ScenarioGate) -> Value {
    let metrics: Vec<Value> = scenario
        .metrics
        .iter()
        .filter(|one| one.outcome != Outcome::NotMeasured)
        .map(metric)
        .collect();
    let rest: Vec<Value> = scenario
        .metrics
        .iter()
        .filter(|one| one.outcome == Outcome::NotMeasured)
        .map(|one| context! { name => words(one).to_owned(), reason => one.reason.clone() })
        .collect();
    let why: Vec<String> = match alarmed(scenario) {
        true => differences(scenario)
            .into_iter()
            .chain(slowest_pair(scenario))
            .collect(),
        false => Vec::new(),
    };
    context! {
        name => scenario.name.clone(),
        left_out => scenario.left_out.clone().unwrap_or_default(),
        metrics => metrics,
        rest => rest,
        violations => scenario.violations.iter().map(|one| one.sentence.clone()).collect::<Vec<_>>(),
        why => why,
        spoiled => scenario.spoiled.iter().map(|one| format!("pair {}: {}", one.number, one.why)).collect::<Vec<_>>(),
    }
}

fn metric(one: &MetricResult) -> Value {
    let mark = match (one.class, one.outcome) {
        (_, Outcome::Regression) => "fail",
        (Class::Gating, Outcome::Fine | Outcome::Improved) => "pass",
        (Class::Gating, _) => "inconclusive",
        (Class::Watch, _) => "watch",
    };
    let resolves = match &one.resolution_ppm {
        Known::Value(ppm) => format!("{}, from {}", share(*ppm), one.resolution_from),
        Known::Unknown(why) => format!("{} ({why})", show::UNKNOWN),
    };
    context! {
        name => words(one).to_owned(),
        mark => mark,
        outcome => one.outcome.words(),
        reason => one.reason.clone(),
        baseline => value(one, &one.baseline),
        candidate => value(one, &one.candidate),
        change => change(&one.estimate_log_ppm),
        lower => change(&one.lower_log_ppm),
        upper => change(&one.upper_log_ppm),
        margin => margin(one),
        resolves => resolves,
        waived => one.waived.clone().unwrap_or_default(),
        figure => Value::from_safe_string(figure(one)),
        spoken => format!("{} pairs, change {}, margin {}", one.pairs_log_ppm.len(), change(&one.estimate_log_ppm), margin(one)),
    }
}

/// Labels nearer to each other than so many per cent of the width go apart.
const NEAR: f64 = 14.0;

/// Dots for pairs, a bar for the interval, a tick for the estimate, lines for 0 and M. Across it is
/// drawn in per cent of its width and upright in pixels, so that text and dots have the same size
/// however wide the page is.
fn figure(one: &MetricResult) -> String {
    let margin = (one.margin_ppm as f64 / 1e6).ln_1p();
    let known = |value: &Known<i64>| value.value().map(|ppm| *ppm as f64 / 1e6);
    let dots: Vec<f64> = one.pairs_log_ppm.iter().filter_map(known).collect();
    let bounds = [
        known(&one.lower_log_ppm),
        known(&one.estimate_log_ppm),
        known(&one.upper_log_ppm),
    ];
    let most = dots
        .iter()
        .copied()
        .chain(bounds.into_iter().flatten())
        .map(f64::abs)
        .fold(margin, f64::max)
        * 1.1;
    let x = |log: f64| (log / most + 1.0) / 2.0 * 100.0;
    let mut svg = "<svg aria-hidden=\"true\" focusable=\"false\">".to_owned();
    let mut line = |at: f64, stroke: &str, text: &str, anchor: (&str, i8)| {
        let (x, (side, dx)) = (x(at), anchor);
        svg.push_str(&format!(
            "<line x1=\"{x:.2}%\" y1=\"6\" x2=\"{x:.2}%\" y2=\"66\" {stroke}/>\
             <text x=\"{x:.2}%\" y=\"80\" dx=\"{dx}\" text-anchor=\"{side}\">{text}</text>"
        ));
    };
    // 0 is in the middle, and the margin right of it: apart where they are near, inside at the edge.
    let (of_zero, of_margin) = match x(margin) - x(0.0) {
        near if near < NEAR => (("end", -4), ("start", 4)),
        far if far > 50.0 - NEAR => (("middle", 0), ("end", 0)),
        _ => (("middle", 0), ("middle", 0)),
    };
    line(0.0, "stroke=\"var(--fig-7)\"", "0", of_zero);
    let dashed = "stroke=\"var(--fail)\" stroke-dasharray=\"4 3\"";
    let text = signed((margin * 1e6) as i64);
    line(margin, dashed, &text, of_margin);
    for (at, dot) in dots.iter().enumerate() {
        // In the order in which they were run, from top to bottom.
        let y = 10.0 + 30.0 * (at as f64 + 0.5) / dots.len() as f64;
        svg.push_str(&format!(
            "<circle cx=\"{:.2}%\" cy=\"{y:.1}\" r=\"3\" fill=\"var(--fig-3)\" fill-opacity=\"0.75\"/>",
            x(*dot)
        ));
    }
    if let [lower, Some(estimate), upper] = bounds {
        let (from, to) = (x(lower.unwrap_or(-most)), x(upper.unwrap_or(most)));
        svg.push_str(&format!(
            "<rect x=\"{from:.2}%\" y=\"49\" width=\"{:.2}%\" height=\"8\" rx=\"2\" fill=\"var(--fig-5)\" \
             fill-opacity=\"0.55\"/><line x1=\"{at:.2}%\" y1=\"45\" x2=\"{at:.2}%\" y2=\"61\" stroke=\"var(--ink)\" \
             stroke-width=\"3\"/>",
            (to - from).max(0.2),
            at = x(estimate)
        ));
    }
    svg.push_str("</svg>");
    svg
}
