//! A soak for a time-series database: rounds, events, and each metric's slope with its bounds.

use crate::openmetrics::Exposition;
use crate::soak::SoakRecord;
use crate::soak::growth::{Growth, Metric};
use crate::verdict::Verdict;

/// The text, as [`crate::openmetrics`] describes it.
pub(super) fn openmetrics(record: &SoakRecord) -> String {
    let mut all = Exposition::default();
    all.info(
        "soak",
        "Which soak.",
        &[
            ("soak", &record.soak.to_string()),
            ("scenario", &record.scenario),
            ("sut", &record.sut),
            ("store", &record.store),
            ("started", &record.started),
        ],
    );
    all.verdict("soak", record.verdict, record.exit_code);
    all.gauge("soak_lasted", "seconds", "How long the load went on.")
        .seconds(&[], record.lasted_us);
    let mut rounds = all.gauge("soak_rounds", "", "Rounds by verdict.");
    for verdict in [Verdict::Pass, Verdict::Inconclusive, Verdict::Fail] {
        rounds.whole(&[("verdict", verdict.as_str())], record.with(verdict));
    }
    let mut events = all.counter(
        "soak",
        "events",
        "Events of all rounds, by what became of them.",
    );
    for (class, count) in [
        ("issued", record.sum(|round| round.issued)),
        ("owed", record.sum(|round| round.owed)),
        ("stored", record.sum(|round| round.stored)),
        ("lost", record.sum(|round| round.lost)),
        ("unpublished", record.sum(|round| round.unpublished)),
        ("duplicated", record.sum(|round| round.duplicated)),
        ("late", record.sum(|round| round.late)),
    ] {
        events.whole(&[("class", class)], count);
    }
    all.gauge("soak_faults", "", "Strikes of faults.")
        .whole(&[], record.sum(|round| round.faults));
    for metric in Metric::ALL {
        growth(record, metric, &mut all);
    }
    all.finish()
}

fn growth(record: &SoakRecord, metric: Metric, all: &mut Exposition) {
    let unit = match metric {
        Metric::Memory | Metric::Disk => "bytes",
        _ => "",
    };
    let of = || {
        record
            .growth
            .iter()
            .filter(|growth| growth.metric == metric)
    };
    let name = format!("soak_{}", metric.as_str());
    let holder = |growth: &Growth| ("holder", growth.holder.as_str());
    let mut most = all.gauge(
        &format!("{name}_most"),
        unit,
        "The highest sample, by holder.",
    );
    for growth in of() {
        most.known(&[holder(growth)], &growth.most);
    }
    let per_hour = if unit.is_empty() {
        "per_hour"
    } else {
        "bytes_per_hour"
    };
    let help = "The slope with its bounds, by holder.";
    let mut slopes = all.gauge(&format!("{name}_slope"), per_hour, help);
    for growth in of() {
        if let Some(slope) = growth.slope_per_h.value() {
            for (bound, value) in [
                ("estimate", slope.estimate),
                ("lower", slope.low),
                ("upper", slope.high),
            ] {
                slopes.number(&[holder(growth), ("bound", bound)], value as f64);
            }
        }
    }
}
