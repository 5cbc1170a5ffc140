//! A plan for a time-series database: the knee, each probe, the numbers of the sizing.

use crate::openmetrics::{Exposition, Labels};
use crate::plan::sizing::Number;
use crate::plan::{PlanRecord, Probe};
use crate::record::Known;

/// The text, in the format of OpenMetrics 1.0.0.
#[must_use]
pub fn openmetrics(plan: &PlanRecord) -> String {
    let mut all = Exposition::default();
    all.info(
        "plan",
        "Which plan.",
        &[
            ("plan", &plan.plan.to_string()),
            ("scenario", &plan.scenario),
            ("sut", &plan.sut),
            ("store", &plan.store),
            ("conclusion", plan.conclusion.as_str()),
            ("started", &plan.started),
        ],
    );
    all.gauge("plan_exit_code", "", "The exit code of the program.")
        .whole(&[], plan.exit_code.code().into());
    if let Known::Value(knee) = &plan.knee {
        let help = "The rate at which a probe holds every objective with probability one half.";
        let mut family = all.gauge("plan_knee", "events_per_second", help);
        family.whole(&[("bound", "estimate")], knee.per_s);
        family.whole(&[("bound", "lower")], knee.low_per_s);
        family.whole(&[("bound", "upper")], knee.high_per_s);
        family.known(&[("bound", "highest_held")], &knee.highest_held_per_s);
        family.known(&[("bound", "lowest_failed")], &knee.lowest_failed_per_s);
    }
    probes(plan, &mut all);
    if let Known::Value(sizing) = &plan.sizing {
        numbers(&sizing.numbers, "plan_sizing", &mut all);
        if let Known::Value(residual) = &sizing.residual
            && let Some(ppm) = residual.residual_ppm.value()
        {
            let help = "Measured against predicted, at a rate that was not used for fitting.";
            all.gauge("plan_sizing_residual", "ratio", help)
                .number(&[], *ppm as f64 / 1e6);
        }
    }
    if let Some(Known::Value(answer)) = &plan.answer {
        numbers(&answer.numbers, "plan_answer", &mut all);
    }
    all.finish()
}

fn probes(plan: &PlanRecord, all: &mut Exposition) {
    let names: Vec<String> = plan
        .probes
        .iter()
        .map(|probe| probe.number.to_string())
        .collect();
    let each = |put: &mut dyn FnMut(Labels<'_>, &Probe)| {
        for (probe, number) in plan.probes.iter().zip(&names) {
            put(&[("probe", number)], probe);
        }
    };
    let mut outcomes = all.gauge("plan_probe_outcome", "", "1 for what each probe said.");
    each(&mut |labels, probe| {
        let mut labels = labels.to_vec();
        labels.push(("outcome", probe.outcome.as_str()));
        outcomes.whole(&labels, 1);
    });
    let mut offered = all.gauge(
        "plan_probe_offered",
        "events_per_second",
        "Offered in each probe.",
    );
    each(&mut |labels, probe| offered.whole(labels, probe.offered_per_s));
    let mut stored = all.gauge(
        "plan_probe_stored",
        "events_per_second",
        "Stored in each probe.",
    );
    each(&mut |labels, probe| stored.known(labels, &probe.stored_per_s));
    let mut latency = all.summary(
        "plan_probe_latency",
        "seconds",
        "Time to the store in each probe.",
    );
    each(&mut |labels, probe| {
        for (quantile, value) in [
            ("0.5", &probe.stored_response_us_p50),
            ("0.99", &probe.stored_response_us_p99),
            ("0.999", &probe.stored_response_us_p999),
        ] {
            let mut labels = labels.to_vec();
            labels.push(("quantile", quantile));
            latency.known_seconds(&labels, value);
        }
    });
    let mut fill = all.gauge(
        "plan_probe_channel_fill",
        "ratio",
        "The fullest channel in each probe.",
    );
    each(&mut |labels, probe| fill.ppm(labels, &probe.channel_fill_ppm));
    let mut cpu = all.gauge(
        "plan_probe_agent_cpu",
        "ratio",
        "CPU of the agent, of one core.",
    );
    each(&mut |labels, probe| cpu.ppm(labels, &probe.agent_cpu_ppm));
    let mut lost = all.gauge("plan_probe_lost", "events", "Events lost in each probe.");
    each(&mut |labels, probe| lost.whole(labels, probe.lost));
}

/// A family for each unit, because a family has one.
fn numbers(numbers: &[Number], name: &str, all: &mut Exposition) {
    for (unit, base, scale) in [
        ("us", "seconds", 1e-6),
        ("bytes", "bytes", 1.0),
        ("events", "events", 1.0),
        ("events_per_s", "events_per_second", 1.0),
        ("ppm", "ratio", 1e-6),
    ] {
        let mut family = all.gauge(name, base, "Numbers of the sizing, by what they are.");
        for number in numbers {
            if let Some(quantity) = number.value.value().filter(|one| one.unit == unit) {
                let labels = [
                    ("number", number.name.as_str()),
                    ("basis", number.basis.as_str()),
                ];
                family.number(&labels, quantity.value as f64 * scale);
            }
        }
    }
    let mut family = all.gauge(
        name,
        "",
        "Numbers of the sizing without a unit of their own.",
    );
    for number in numbers {
        let known = ["us", "bytes", "events", "events_per_s", "ppm"];
        if let Some(quantity) = number
            .value
            .value()
            .filter(|one| !known.contains(&one.unit.as_str()))
        {
            let labels = [
                ("number", number.name.as_str()),
                ("basis", number.basis.as_str()),
                ("unit", quantity.unit.as_str()),
            ];
            family.whole(&labels, quantity.value);
        }
    }
}
