//! Where a loss happened: which hop, in which window, with what evidence. One that cannot be placed
//! says so.
//!
//! | hop | evidence |
//! |---|---|
//! | `channel` | the events were read back from the agent's own channel after its end; or the agent was killed while its channel held events, by its own count at the last look before |
//! | unknown | everything else: nobody saw the events after the source had answered, or the source gives no answers |
//!
//! `generator` and `source` cannot lose what is owed where the source answers; where it does not,
//! nobody knows whether the agent had the event. Between sink and store nobody looks. The agent's
//! own count places a loss; it never judges one.

use std::path::Path;

use flume_bench_reports::campaign::Place;
use flume_bench_reports::record::{Known, LossRange, OwedRule, RunRecord};
use flume_bench_reports::series::Table;

/// Places the losses of a run.
pub fn losses(root: &Path, record: &RunRecord) -> Vec<Place> {
    let lost = record.counts.lost;
    if lost == 0 {
        return Vec::new();
    }
    if let Some(stranded) = record.counts.stranded.value()
        && *stranded == lost
    {
        return vec![Place {
            events: lost,
            hop: Known::Value("channel".into()),
            window: window_of(&record.losses.items),
            evidence: "all of them were read back from the agent's own channel after its end: it holds them and did not deliver them".into(),
        }];
    }
    let fill = Table::read(&root.join("series.csv")).ok();
    let mut places: Vec<Place> = Vec::new();
    for range in &record.losses.items {
        let place = place(record, range, fill.as_ref());
        match places
            .iter_mut()
            .find(|known| known.hop == place.hop && known.window == place.window)
        {
            Some(known) => known.events += place.events,
            None => places.push(place),
        }
    }
    let placed: u64 = places.iter().map(|place| place.events).sum();
    if placed < lost {
        places.push(Place {
            events: lost - placed,
            hop: Known::unknown("their ranges are not in the record, which lists 200 at most"),
            window: Known::unknown("their ranges are not in the record"),
            evidence: "counted by the ledger".into(),
        });
    }
    places
}

/// The window that all ranges share.
fn window_of(ranges: &[LossRange]) -> Known<String> {
    let first = ranges.first().and_then(|range| range.fault.clone());
    match first {
        Some(name)
            if ranges
                .iter()
                .all(|range| range.fault.as_ref() == Some(&name)) =>
        {
            Known::Value(name)
        }
        Some(_) => Known::unknown("they were due in more than one window"),
        None => Known::unknown("they were due outside every fault window"),
    }
}

fn place(record: &RunRecord, range: &LossRange, series: Option<&Table>) -> Place {
    let window = range.fault.clone().map_or_else(
        || Known::unknown("due outside every fault window"),
        Known::Value,
    );
    let explanation = range.explanation.clone().unwrap_or_default();
    let killed = range.fault.as_ref().and_then(|name| {
        record
            .faults
            .iter()
            .find(|fault| &fault.name == name && fault.kind == "kill" && fault.target == "agent")
    });
    let (hop, evidence) = match (record.load.owed_rule, killed) {
        (OwedRule::Issued, _) => (
            Known::unknown("the source gives no answers: nobody knows whether the agent had them"),
            explanation,
        ),
        (OwedRule::Acked, Some(kill)) => {
            let at = kill.injected_us.value().copied().unwrap_or(0);
            match series.and_then(|series| last_fill(series, at)) {
                Some(ppm) if ppm > 0 => (
                    Known::Value("channel".to_owned()),
                    format!(
                        "{explanation}; its channel was {} full at the last look before, by the agent's own count",
                        flume_bench_reports::show::ppm(ppm)
                    ),
                ),
                _ => (
                    Known::unknown(
                        "inside the agent when it was killed: source, channel and sink cannot be told apart, because it reports no fill",
                    ),
                    explanation,
                ),
            }
        }
        (OwedRule::Acked, None) => (
            Known::unknown(
                "nobody saw them after the source had answered: channel, sink and store cannot be told apart",
            ),
            if explanation.is_empty() {
                "acknowledged by the source, and not in the store at the end".into()
            } else {
                explanation
            },
        ),
    };
    Place {
        events: range.events,
        hop,
        window,
        evidence,
    }
}

/// The fullest channel at the last sample before an instant, in millionths.
fn last_fill(series: &Table, before_us: u64) -> Option<u64> {
    series
        .points("channel_fill_ppm")?
        .into_iter()
        .take_while(|(at, _)| *at <= before_us)
        .filter_map(|(_, fill)| fill)
        .last()
}

#[cfg(test)]
mod tests {
    use super::*;
    use flume_bench_reports::record::{Fault, Listed};

    fn range(fault: Option<&str>, events: u64) -> LossRange {
        LossRange {
            events,
            fault: fault.map(str::to_owned),
            explanation: fault.map(|name| format!("due before {name}")),
            ..LossRange::default()
        }
    }

    fn record(ranges: Vec<LossRange>) -> RunRecord {
        let mut record = RunRecord::default();
        record.load.owed_rule = OwedRule::Acked;
        record.counts.lost = ranges.iter().map(|range| range.events).sum();
        record.losses = Listed::first(ranges, 200);
        record.faults = vec![Fault {
            name: "kill-1".into(),
            kind: "kill".into(),
            target: "agent".into(),
            injected_us: Known::Value(2_000_000),
            ..Fault::default()
        }];
        record
    }

    #[test]
    fn what_the_channel_still_holds_is_in_the_channel() {
        let directory = tempfile::tempdir().unwrap();
        let mut record = record(vec![range(Some("kill-1"), 7), range(Some("kill-1"), 3)]);
        record.counts.stranded = Known::Value(10);
        let places = losses(directory.path(), &record);
        assert_eq!(places.len(), 1);
        assert_eq!(places[0].hop, Known::Value("channel".into()));
        assert_eq!(
            (places[0].events, &places[0].window),
            (10, &Known::Value("kill-1".into()))
        );
    }

    #[test]
    fn a_channel_that_held_events_when_the_agent_was_killed_lost_them() {
        let directory = tempfile::tempdir().unwrap();
        let record = record(vec![range(Some("kill-1"), 7), range(None, 2)]);
        let places = losses(directory.path(), &record);
        assert!(
            places.iter().all(|place| place.hop.value().is_none()),
            "{places:?}"
        );
        let columns = flume_bench_reports::series::COLUMNS.join(",");
        let row = |at: u64, fill: &str| format!("{at},,,,,,,,,,,{fill},,,\n");
        let text = format!(
            "{columns}\n{}{}",
            row(1_900_000, "990000"),
            row(2_100_000, "0")
        );
        std::fs::write(directory.path().join("series.csv"), text).unwrap();
        let places = losses(directory.path(), &record);
        assert_eq!(places.len(), 2);
        assert_eq!(places[0].hop, Known::Value("channel".into()));
        assert!(places[0].evidence.contains("99 % full"), "{places:?}");
        assert!(places[1].hop.value().is_none() && places[1].window.value().is_none());
    }

    #[test]
    fn what_no_source_answered_is_placed_nowhere() {
        let directory = tempfile::tempdir().unwrap();
        let mut record = record(vec![range(Some("kill-1"), 7)]);
        record.load.owed_rule = OwedRule::Issued;
        let places = losses(directory.path(), &record);
        assert!(places[0].hop.reason().unwrap().contains("no answers"));
    }
}
