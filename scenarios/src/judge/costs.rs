//! What the agent used in `steady` and in the drain, from the readings in the history.

use flume_bench_reports::record::{Cost, Counter, Known, NO_ANSWERS};

use crate::process::Costs;
use crate::runner::history::{Entry, Line};

/// One reading of the history.
struct Reading<'a> {
    at_us: i64,
    pid: i32,
    issued: u64,
    acked: Option<u64>,
    stored: u64,
    syncs: Option<u64>,
    costs: &'a Costs,
}

/// The windows that have a reading at both ends.
pub(super) fn costs(lines: &[Line]) -> Vec<Cost> {
    let find = |name: &str| {
        lines.iter().find_map(|line| match &line.entry {
            Entry::Used {
                at,
                pid,
                issued,
                acked,
                stored,
                syncs,
                costs,
            } if at == name => Some(Reading {
                at_us: line.at_us,
                pid: *pid,
                issued: *issued,
                acked: *acked,
                stored: *stored,
                syncs: *syncs,
                costs,
            }),
            _ => None,
        })
    };
    [
        ("steady", "steady", "load_end"),
        ("drain", "load_end", "drained"),
    ]
    .into_iter()
    .filter_map(|(window, from, to)| Some(between(window, &find(from)?, &find(to)?)))
    .collect()
}

fn between(window: &str, from: &Reading<'_>, to: &Reading<'_>) -> Cost {
    let same_life = from.pid == to.pid;
    let grown = |a: Option<u64>, b: Option<u64>, why: &str| match (a, b) {
        _ if !same_life => Known::unknown("the agent was started anew in this window"),
        (Some(a), Some(b)) => Known::Value(b.saturating_sub(a)),
        _ => Known::unknown(why),
    };
    let counters = to.costs.counters.iter().filter(|_| same_life);
    let counters = counters.filter_map(|(name, value)| {
        let before = from.costs.counters.get(name)?;
        Some(Counter {
            name: name.clone(),
            value: value.saturating_sub(*before),
        })
    });
    Cost {
        window: window.to_owned(),
        start_us: from.at_us.max(0) as u64,
        end_us: to.at_us.max(0) as u64,
        issued: to.issued.saturating_sub(from.issued),
        acked: from.acked.zip(to.acked).map_or_else(
            || Known::unknown(NO_ANSWERS),
            |(from, to)| Known::Value(to.saturating_sub(from)),
        ),
        stored: to.stored.saturating_sub(from.stored),
        cpu_ns: grown(
            from.costs.cpu_ns,
            to.costs.cpu_ns,
            "the kernel does not say",
        ),
        written_bytes: grown(
            from.costs.written_bytes,
            to.costs.written_bytes,
            "the kernel does not say",
        ),
        syncs: grown(from.syncs, to.syncs, "the agent does not count its syncs"),
        peak_rss_bytes: to
            .costs
            .peak_rss_bytes
            .map_or_else(|| Known::unknown("the kernel does not say"), Known::Value),
        counters: counters.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at: &str, at_us: i64, pid: i32, cpu: u64) -> Line {
        Line {
            at_us,
            entry: Entry::Used {
                at: at.into(),
                pid,
                issued: cpu / 10,
                acked: None,
                stored: cpu / 20,
                syncs: Some(cpu / 100),
                costs: Costs {
                    cpu_ns: Some(cpu),
                    written_bytes: None,
                    peak_rss_bytes: Some(7),
                    counters: [("minor_faults".to_owned(), cpu)].into(),
                },
            },
        }
    }

    #[test]
    fn windows_are_differences_and_lives_are_not_mixed() {
        let lines = [
            line("steady", 0, 5, 1_000),
            line("load_end", 9, 5, 4_000),
            line("drained", 10, 6, 200),
        ];
        let costs = costs(&lines);
        assert_eq!(costs.len(), 2);
        let steady = &costs[0];
        assert_eq!(steady.cpu_ns, Known::Value(3_000));
        assert_eq!((steady.issued, steady.stored), (300, 150));
        assert_eq!(steady.syncs, Known::Value(30));
        assert_eq!(steady.counters[0].value, 3_000);
        assert!(steady.written_bytes.reason().is_some() && steady.acked.reason().is_some());
        assert!(
            costs[1]
                .cpu_ns
                .reason()
                .is_some_and(|why| why.contains("anew"))
        );
        assert_eq!(super::costs(&lines[..1]), []);
    }
}
