//! An outcome as text, for a terminal.

use std::fmt::Write;

use crate::outcome::{ArmFigures, Check, Limit, Outcome, PairFigures};
use crate::stats::Spread;

/// The outcome in a few lines, each ending in a newline.
#[must_use]
pub fn outcome(outcome: &Outcome) -> String {
    let mut text = format!("{:<5}  {}\n", outcome.verdict(), outcome.row);
    let mut line = |words: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "         {words}");
    };
    for one in &outcome.arms {
        line(&arm(one));
    }
    if let Some(one) = &outcome.pairs {
        line(&pairs(one));
    }
    for one in &outcome.checks {
        line(&check(one));
    }
    for note in &outcome.notes {
        line(&format!("note: {note}"));
    }
    for why in &outcome.void {
        line(&format!("void: {why}"));
    }
    if let Some(error) = &outcome.error {
        line(&format!("error: {error}"));
    }
    text
}

fn arm(arm: &ArmFigures) -> String {
    let spread = |spread: Spread, show: fn(f64) -> String| {
        format!(
            "{} [{}..{}]",
            show(spread.median),
            show(spread.min),
            show(spread.max)
        )
    };
    format!(
        "{:<22} {} {}/s, {} CPU-ns each",
        arm.name,
        spread(arm.per_second, big),
        arm.unit,
        spread(arm.cpu_ns, figure)
    )
}

fn pairs(pairs: &PairFigures) -> String {
    let state = if pairs.dirty {
        "too few of them clean".to_owned()
    } else {
        format!("{} repeated by the guard", pairs.repeated)
    };
    format!(
        "ratio {:.3} [{:.3}..{:.3}], {} pairs, {state}; others at most {:.0} %, steal {:.0} %",
        pairs.ratio.median,
        pairs.ratio.min,
        pairs.ratio.max,
        pairs.counted,
        pairs.worst.others * 100.0,
        pairs.worst.steal * 100.0
    )
}

fn check(check: &Check) -> String {
    let limit = match check.limit {
        Limit::AtLeast(least) => format!("at least {}", figure(least)),
        Limit::AtMost(most) => format!("at most {}", figure(most)),
        Limit::Within(centre, distance) => format!("{} ± {}", figure(centre), figure(distance)),
    };
    let met = if check.is_met { "met" } else { "MISSED" };
    let (what, seen, unit) = (&check.what, figure(check.figure), check.unit);
    if unit.is_empty() {
        format!("{what}: {seen}, limit {limit}: {met}")
    } else {
        format!("{what}: {seen} {unit}, limit {limit}: {met}")
    }
}

/// Three or four digits, and the whole part in any case.
fn figure(figure: f64) -> String {
    let whole = figure.abs();
    match whole {
        _ if whole >= 100.0 => format!("{figure:.0}"),
        _ if whole >= 10.0 => format!("{figure:.1}"),
        _ if whole >= 1.0 || whole == 0.0 => format!("{figure:.3}"),
        _ => format!("{figure:.4}"),
    }
}

fn big(figure: f64) -> String {
    match figure {
        _ if figure >= 1e9 => format!("{:.2} G", figure / 1e9),
        _ if figure >= 1e6 => format!("{:.2} M", figure / 1e6),
        _ if figure >= 1e3 => format!("{:.1} k", figure / 1e3),
        _ => format!("{figure:.0} "),
    }
}
