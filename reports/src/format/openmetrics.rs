//! `openmetrics`: counts, indicators, latencies, faults and costs of a run for a time-series database.
//!
//! The format is that of [`crate::openmetrics`]. Latencies are those of steady, outside of every fault
//! window.

use super::{Error, Format, Input, Rendered};
use crate::openmetrics::Exposition;
use crate::record::{Known, RunRecord};

/// The format `openmetrics`.
#[derive(Debug)]
pub(super) struct OpenMetrics;

impl Format for OpenMetrics {
    fn name(&self) -> &'static str {
        "openmetrics"
    }

    fn summary(&self) -> &'static str {
        "numbers for a time-series database, as OpenMetrics text"
    }

    fn render(&self, input: &Input<'_>) -> Result<Vec<Rendered>, Error> {
        Ok(vec![Rendered {
            file_name: "report.om",
            text: text(input.record),
        }])
    }
}

fn text(record: &RunRecord) -> String {
    let mut all = Exposition::default();
    let known = |value: &Known<String>| value.value().cloned().unwrap_or_default();
    all.info(
        "run",
        "Which run.",
        &[
            ("run", &format!("{:016x}", record.identity.run.0)),
            ("scenario", &record.identity.scenario),
            ("driver", &record.sut.driver),
            ("version", &known(&record.sut.version)),
            ("store", &record.store.kind),
            ("provider", &record.store.provider),
            ("commit", &known(&record.identity.commit)),
            ("started", &record.identity.started),
        ],
    );
    all.verdict("run", record.verdict, record.exit_code);
    let mut checkers = all.gauge(
        "run_checker_passed",
        "",
        "1 where a checker passed, by checker.",
    );
    for checker in &record.checkers {
        let passed = checker.verdict == crate::verdict::Verdict::Pass;
        let labels = [
            ("checker", checker.name.as_str()),
            ("verdict", checker.verdict.as_str()),
        ];
        checkers.whole(&labels, u64::from(passed));
    }
    counts(record, &mut all);
    indicators(record, &mut all);
    latencies(record, &mut all);
    faults(record, &mut all);
    costs(record, &mut all);
    all.finish()
}

fn counts(record: &RunRecord, all: &mut Exposition) {
    let counts = &record.counts;
    let mut events = all.counter("run", "events", "Events by what became of them.");
    for (class, value) in [
        ("unsent", counts.unsent),
        ("issued", counts.issued),
        ("resent", counts.resent),
        ("owed", counts.owed),
        ("stored", counts.stored),
        ("published", counts.published),
        ("lost", counts.lost),
        ("unpublished", counts.unpublished),
        ("duplicated", counts.duplicated),
        ("duplicated_by_resends", counts.duplicated_by_resends),
        ("corrupted", counts.corrupted),
        ("malformed", counts.malformed),
        ("torn", counts.torn),
        ("unexpected", counts.unexpected),
        ("foreign", counts.foreign),
        ("reordered", counts.reordered),
    ] {
        events.whole(&[("class", class)], value);
    }
    for (class, value) in [
        ("acked", &counts.acked),
        ("refused", &counts.refused),
        ("unknown", &counts.unknown),
        ("recovered", &counts.recovered),
        ("stranded", &counts.stranded),
    ] {
        events.known(&[("class", class)], value);
    }
    let mut bytes = all.counter("run_body", "bytes", "Bytes of event bodies.");
    for (class, value) in [
        ("issued", &record.bytes.issued_bytes),
        ("acked", &record.bytes.acked_bytes),
        ("stored", &record.bytes.stored_bytes),
    ] {
        bytes.known(&[("class", class)], value);
    }
}

fn indicators(record: &RunRecord, all: &mut Exposition) {
    let indicators = &record.indicators;
    let mut success = all.gauge(
        "run_transfer_success",
        "ratio",
        "Stored, and published, of issued.",
    );
    success.ratio(&[("class", "stored")], indicators.transfer_success_stored);
    success.ratio(
        &[("class", "published")],
        indicators.transfer_success_published,
    );
    all.gauge("run_data_loss", "ratio", "Lost of owed.")
        .ratio(&[], indicators.data_loss);
    if let Some(delay) = indicators
        .transfer_delay_us
        .value()
        .and_then(|delay| delay.as_f64())
    {
        all.gauge(
            "run_transfer_delay",
            "seconds",
            "Wall time an issued event.",
        )
        .number(&[], delay / 1e6);
    }
    for (name, unit, help, ratio) in [
        (
            "run_transfer_rate",
            "events_per_second",
            "Events stored a second.",
            &indicators.transfer_rate_events,
        ),
        (
            "run_transfer_rate",
            "bytes_per_second",
            "Bytes of bodies stored a second.",
            &indicators.transfer_rate_bytes,
        ),
    ] {
        if let Some(rate) = ratio.value().and_then(|ratio| ratio.as_f64()) {
            all.gauge(name, unit, help).number(&[], rate * 1e6);
        }
    }
}

fn latencies(record: &RunRecord, all: &mut Exposition) {
    let mut family = all.summary(
        "run_latency",
        "seconds",
        "Latencies in steady, outside of fault windows, by word.",
    );
    for (word, latency) in record.latencies.words() {
        let set = &latency.steady;
        if set.count == 0 {
            continue;
        }
        for (quantile, value) in [
            ("0.5", &set.us_p50),
            ("0.9", &set.us_p90),
            ("0.99", &set.us_p99),
            ("0.999", &set.us_p999),
            ("0.9999", &set.us_p9999),
            ("1", &set.us_max),
        ] {
            family.known_seconds(&[("word", word), ("quantile", quantile)], value);
        }
        family.count(&[("word", word)], set.count);
    }
}

fn faults(record: &RunRecord, all: &mut Exposition) {
    let mut lasted = all.gauge(
        "run_fault_lasted",
        "seconds",
        "From a fault's injection to its heal.",
    );
    for fault in &record.faults {
        if let (Known::Value(from), Known::Value(to)) = (&fault.injected_us, &fault.healed_us) {
            let labels = [
                ("fault", fault.name.as_str()),
                ("kind", fault.kind.as_str()),
            ];
            lasted.seconds(&labels, to.saturating_sub(*from));
        }
    }
}

fn costs(record: &RunRecord, all: &mut Exposition) {
    let load = &record.indicators.system_load;
    all.counter("run_agent_cpu", "seconds", "CPU time of the agent.")
        .known_seconds(&[], &load.cpu_us);
    all.gauge(
        "run_agent_peak_memory",
        "bytes",
        "The most memory the agent had resident.",
    )
    .known(&[], &load.peak_rss_bytes);
    all.gauge(
        "run_agent_peak_disk",
        "bytes",
        "The most that the agent's directories held.",
    )
    .known(&[], &load.peak_disk_bytes);
    all.gauge(
        "run_channel_peak_fill",
        "ratio",
        "The fullest a channel was.",
    )
    .ppm(&[], &load.peak_channel_fill_ppm);
    let mut links = all.counter(
        "run_link",
        "bytes",
        "Bytes through each link, by direction.",
    );
    for proxy in &load.proxies {
        for (direction, bytes) in [
            ("forward", proxy.forward_bytes),
            ("backward", proxy.backward_bytes),
        ] {
            links.whole(&[("link", &proxy.link), ("direction", direction)], bytes);
        }
    }
}
