//! A gate for a time-series database: the verdict, and each metric of each scenario.

use super::super::record::{GateRecord, MetricResult};
use crate::gate::metric;
use crate::openmetrics::{Exposition, Family, Labels};
use crate::record::{Known, Ratio};

/// The text, in the format of OpenMetrics 1.0.0.
#[must_use]
pub fn openmetrics(record: &GateRecord) -> String {
    let mut all = Exposition::default();
    let arm = |at: usize| record.arms.get(at).map_or("", |arm| arm.name.as_str());
    all.info(
        "gate",
        "Which gate.",
        &[
            ("gate", &record.id.to_string()),
            ("baseline", arm(0)),
            ("candidate", arm(1)),
            ("host_kind", &record.host_kind),
            ("started", &record.started),
        ],
    );
    all.verdict("gate", record.verdict, record.exit_code);
    all.gauge("gate_took", "seconds", "How long it took, builds left out.")
        .seconds(&[], record.took_us);
    let mut pairs = all.gauge(
        "gate_pairs",
        "",
        "Pairs that count, and those that were run again.",
    );
    for one in &record.scenarios {
        let scenario = ("scenario", one.name.as_str());
        pairs.whole(&[scenario, ("kind", "counted")], one.pairs.len() as u64);
        pairs.whole(&[scenario, ("kind", "spoiled")], one.spoiled.len() as u64);
    }
    let mut violations = all.gauge(
        "gate_violation_runs",
        "",
        "Runs of each arm in which something was lost or missed, by what.",
    );
    for one in &record.scenarios {
        for violation in &one.violations {
            let labels = [
                ("scenario", one.name.as_str()),
                ("what", violation.what.as_str()),
            ];
            let [scenario, what] = labels;
            violations.whole(
                &[scenario, what, ("arm", "baseline")],
                violation.baseline_runs,
            );
            violations.whole(
                &[scenario, what, ("arm", "candidate")],
                violation.candidate_runs,
            );
        }
    }
    metrics(record, &mut all);
    all.finish()
}

fn metrics(record: &GateRecord, all: &mut Exposition) {
    let each = |put: &mut dyn FnMut(Labels<'_>, &MetricResult)| {
        for scenario in &record.scenarios {
            for one in &scenario.metrics {
                put(&[("scenario", &scenario.name), ("metric", &one.name)], one);
            }
        }
    };
    let mut outcomes = all.gauge("gate_metric_outcome", "", "1 for what each metric came to.");
    each(&mut |labels, one| {
        let mut labels = labels.to_vec();
        labels.push(("outcome", one.outcome.words()));
        outcomes.whole(&labels, 1);
    });
    let help = "The candidate's change against the baseline, above 0 is worse.";
    let mut changes = all.gauge("gate_metric_change", "ratio", help);
    each(&mut |labels, one| {
        for (bound, log_ppm) in [
            ("estimate", &one.estimate_log_ppm),
            ("lower", &one.lower_log_ppm),
            ("upper", &one.upper_log_ppm),
        ] {
            if let Some(log_ppm) = log_ppm.value() {
                let mut labels = labels.to_vec();
                labels.push(("bound", bound));
                changes.number(&labels, (*log_ppm as f64 / 1e6).exp_m1());
            }
        }
    });
    let mut margins = all.gauge(
        "gate_metric_margin",
        "ratio",
        "The change that must not be missed.",
    );
    each(&mut |labels, one| margins.number(labels, one.margin_ppm as f64 / 1e6));
    let help = "The smallest change that this host can see.";
    let mut resolutions = all.gauge("gate_metric_resolution", "ratio", help);
    each(&mut |labels, one| resolutions.ppm(labels, &one.resolution_ppm));
    // A family has one unit, so there is one for each unit that metrics have.
    for (unit, base, scale) in [
        ("ns", "seconds", 1e-9),
        ("us", "seconds", 1e-6),
        ("bytes", "bytes", 1.0),
        ("events", "events", 1.0),
        ("syncs", "syncs", 1.0),
        ("events_per_s", "events_per_second", 1.0),
    ] {
        let name = if unit == "ns" {
            "gate_metric_cpu"
        } else {
            "gate_metric_median"
        };
        let mut medians = all.gauge(name, base, "Median of each arm's runs.");
        each(&mut |labels, one| {
            if metric::find(&one.name).map_or("", |metric| metric.unit) == unit {
                arms(&mut medians, labels, one, scale);
            }
        });
    }
}

/// The medians of both arms.
fn arms(family: &mut Family<'_>, labels: &[(&str, &str)], one: &MetricResult, scale: f64) {
    let mut put = |arm: &str, value: &Known<Ratio>| {
        if let Some(value) = value.value().and_then(|ratio| ratio.as_f64()) {
            let mut labels = labels.to_vec();
            labels.push(("arm", arm));
            family.number(&labels, value * scale);
        }
    };
    put("baseline", &one.baseline);
    put("candidate", &one.candidate);
}
