//! What one run says about each metric, from its record alone.
//!
//! CPU, bytes and syncs are taken from the begin of `steady` to the end of the drain, so that work
//! which an arm puts off is counted too, and divided by the events that it took over in that time
//! (acked; issued where the source gives no answers). Latencies are those of `steady` outside every
//! fault window.

use super::metric::METRICS;
use crate::record::{Cost, DrainFlow, Known, Ratio, RunRecord};
use crate::show;

/// The value of each metric of [`METRICS`], in their order.
#[must_use]
pub fn values(record: &RunRecord) -> Vec<Known<Ratio>> {
    METRICS
        .iter()
        .map(|metric| match metric.name {
            "cpu_ns_per_event" => per_event(record, |cost| &cost.cpu_ns),
            "written_bytes_per_event" => per_event(record, |cost| &cost.written_bytes),
            "syncs_per_event" => per_event(record, |cost| &cost.syncs),
            "peak_rss_bytes" => match record.costs.last() {
                Some(cost) => cost.peak_rss_bytes.map(|bytes| Ratio::new(*bytes, 1)),
                None => Known::unknown(NO_COSTS),
            },
            "drain_rate_events_per_s" => drain_rate(record),
            "recovery_us" => recovery(record),
            "duplicated" => Known::Value(Ratio::new(record.counts.duplicated, 1)),
            "stored_response_us_p50" => one(&record.latencies.stored_response.steady.us_p50),
            "stored_response_us_p99" => one(&record.latencies.stored_response.steady.us_p99),
            _ => one(&record.latencies.stored_response.steady.us_p999),
        })
        .collect()
}

const NO_COSTS: &str = "the run did not measure what the agent used";

fn one(value: &Known<u64>) -> Known<Ratio> {
    value.map(|value| Ratio::new(*value, 1))
}

/// A cost of `steady` and drain together, by event taken over.
fn per_event(record: &RunRecord, of: impl Fn(&Cost) -> &Known<u64>) -> Known<Ratio> {
    let windows: Vec<&Cost> = ["steady", "drain"]
        .iter()
        .filter_map(|name| record.costs.iter().find(|cost| cost.window == *name))
        .collect();
    if windows.len() < 2 {
        return Known::unknown(NO_COSTS);
    }
    let (mut used, mut events) = (0, 0);
    for cost in windows {
        match of(cost) {
            Known::Value(value) => used += value,
            Known::Unknown(why) => return Known::unknown(why.clone()),
        }
        events += cost.acked.value().copied().unwrap_or(cost.issued);
    }
    if events == 0 {
        return Known::unknown("no event was taken over in steady");
    }
    Known::Value(Ratio::new(used, events))
}

/// A shorter drain has no value: the store is read every 50 ms. Where that is so in both arms, the
/// metric is not measured; where one of them has a value, it is inconclusive, since the other is
/// faster by nobody knows how much.
const LEAST_DRAIN_US: u64 = 250_000;

/// A run that took over less of its load than this has not met it.
pub const MET_PERCENT: u64 = 99;

/// Whether a run took over less of the planned load than [`MET_PERCENT`]: owed ÷ planned, that is
/// acked, or issued where the source gives no answers.
#[must_use]
pub fn short_of_load(record: &RunRecord) -> bool {
    let (planned, owed) = (record.load.planned, record.counts.owed);
    u128::from(owed) * 100 < u128::from(planned) * u128::from(MET_PERCENT)
}

/// The interval must be so many times what its ends are known to: half of the default margin.
const RESOLVED: u64 = 25;

/// What the proxies saw, where they were read: the middle four fifths of the backlog by the time they
/// took. Otherwise events stored by the second from the end of the load, or from the heal of what
/// held the sink if that came later, until nothing was owed.
fn drain_rate(record: &RunRecord) -> Known<Ratio> {
    let Some(drain) = record.costs.iter().find(|cost| cost.window == "drain") else {
        return Known::unknown(NO_COSTS);
    };
    if record.faults.is_empty() {
        return Known::unknown(match short_of_load(record) {
            false => "not gated: offered load met, and nothing held the sink ([gate] hold)",
            true => "nothing held the sink ([gate] hold), and the offered load was not met",
        });
    }
    if let Some(flow) = &record.drain_flow {
        return rate_of(flow);
    }
    let healed = record
        .faults
        .iter()
        .filter_map(|fault| fault.healed_us.value().copied())
        .max()
        .unwrap_or(0);
    let took = drain.end_us.saturating_sub(drain.start_us.max(healed));
    if took < LEAST_DRAIN_US {
        return Known::unknown(format!(
            "not gated: the backlog was drained within {}, and the store is read every 50 ms",
            show::duration(took)
        ));
    }
    Known::Value(Ratio::new(drain.stored.saturating_mul(1_000_000), took))
}

fn rate_of(flow: &DrainFlow) -> Known<Ratio> {
    let took = flow.to_us.saturating_sub(flow.from_us);
    if took == 0 || took < flow.resolution_us.saturating_mul(RESOLVED) {
        return Known::unknown(format!(
            "not gated: the middle of a backlog of {} events left the agent within {}, and that is \
             known to {} only",
            show::count(flow.events),
            show::duration(took),
            show::duration(flow.resolution_us),
        ));
    }
    // Four fifths of the events.
    Known::Value(Ratio::new(
        flow.events.saturating_mul(4 * 1_000_000),
        took.saturating_mul(5),
    ))
}

/// From the last heal to the drained backlog; of several faults the longest.
fn recovery(record: &RunRecord) -> Known<Ratio> {
    if record.faults.is_empty() {
        return Known::unknown("no fault was injected");
    }
    let mut longest = 0;
    for fault in &record.faults {
        match &fault.recovery.drained_us {
            Known::Value(took) => longest = longest.max(*took),
            Known::Unknown(why) => return Known::unknown(why.clone()),
        }
    }
    Known::Value(Ratio::new(longest, 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::metric;
    use crate::record::Fault;

    fn record() -> RunRecord {
        let cost = |window: &str, from, to, acked, stored, cpu| Cost {
            window: window.into(),
            start_us: from,
            end_us: to,
            issued: acked,
            acked: Known::Value(acked),
            stored,
            cpu_ns: Known::Value(cpu),
            written_bytes: Known::Value(cpu / 10),
            syncs: Known::unknown("the agent does not count its syncs"),
            peak_rss_bytes: Known::Value(to),
            ..Cost::default()
        };
        RunRecord {
            costs: vec![
                cost("steady", 3_000_000, 10_000_000, 1_000, 900, 5_000_000),
                cost("drain", 10_000_000, 10_600_000, 0, 100, 500_000),
            ],
            ..RunRecord::default()
        }
    }

    fn value(record: &RunRecord, name: &str) -> Known<Ratio> {
        let at = metric::METRICS
            .iter()
            .position(|one| one.name == name)
            .unwrap();
        values(record)[at].clone()
    }

    #[test]
    fn costs_are_those_of_steady_and_drain_by_event_taken_over() {
        let cpu = value(&record(), "cpu_ns_per_event");
        assert_eq!(cpu, Known::Value(Ratio::new(5_500_000, 1_000)));
        let syncs = value(&record(), "syncs_per_event");
        assert_eq!(syncs.reason(), Some("the agent does not count its syncs"));
        let rss = value(&record(), "peak_rss_bytes");
        assert_eq!(rss, Known::Value(Ratio::new(10_600_000, 1)));
        assert!(
            value(&RunRecord::default(), "cpu_ns_per_event")
                .value()
                .is_none()
        );
    }

    #[test]
    fn a_drain_begins_with_the_heal_and_needs_something_that_held_the_sink() {
        let why = value(&record(), "drain_rate_events_per_s");
        assert!(
            why.reason()
                .unwrap()
                .starts_with("not gated: offered load met")
        );
        let mut short = record();
        short.load.planned = 1_000;
        short.counts.owed = 989;
        let why = value(&short, "drain_rate_events_per_s");
        assert!(why.reason().unwrap().contains("was not met"), "{why:?}");
        short.counts.owed = 990;
        let why = value(&short, "drain_rate_events_per_s");
        assert!(why.reason().unwrap().contains("load met"), "{why:?}");
        let mut held = record();
        held.faults.push(Fault {
            healed_us: Known::Value(10_100_000),
            ..Fault::default()
        });
        let rate = value(&held, "drain_rate_events_per_s");
        assert_eq!(rate.value().unwrap().as_f64(), Some(200.0));
        held.faults[0].healed_us = Known::Value(10_500_000);
        let why = value(&held, "drain_rate_events_per_s");
        assert!(
            why.reason().unwrap().contains("drained within 100"),
            "{why:?}"
        );
    }

    #[test]
    fn what_the_proxies_saw_counts_where_its_ends_are_known_well_enough() {
        let mut held = record();
        held.faults.push(Fault::default());
        held.drain_flow = Some(DrainFlow {
            events: 50_000,
            bytes: 25_000_000,
            from_us: 10_110_000,
            to_us: 10_190_000,
            resolution_us: 1_500,
            ..DrainFlow::default()
        });
        // 40,000 events in 80 ms.
        let rate = value(&held, "drain_rate_events_per_s");
        assert_eq!(rate.value().unwrap().as_f64(), Some(500_000.0));
        for (to, resolution) in [(10_190_000, 4_000), (10_110_000, 0), (10_100_000, 0)] {
            let flow = held.drain_flow.as_mut().unwrap();
            (flow.to_us, flow.resolution_us) = (to, resolution);
            let why = value(&held, "drain_rate_events_per_s");
            let why = why.reason().unwrap();
            assert!(
                why.contains("50,000 events") && why.contains("known to"),
                "{why}"
            );
        }
    }
}
