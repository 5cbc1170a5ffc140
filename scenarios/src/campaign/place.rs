//! Where a loss happened: which hop, in which window, with what evidence. One that cannot be placed
//! says so.
//!
//! | hop | evidence |
//! |---|---|
//! | `channel` | the events were read back from the agent's own channel after its end; or the agent was killed, and half a second before at most its only channel, one in memory, held, by its own count, at least as many events as were lost in that window |
//! | unknown | everything else: nobody saw the events after the source had answered, or the source gives no answers |
//!
//! `generator` and `source` cannot lose what is owed where the source answers; where it does not,
//! nobody knows whether the agent had the event. Between sink and store nobody looks. A channel on
//! disk has after a kill what it held before; what is lost then, the source may have answered too
//! early, or the sink may have taken too early. The agent's own count places a loss; it never judges
//! one.

use std::path::Path;

use flume_bench_reports::campaign::Place;
use flume_bench_reports::record::{Fault, Known, LossRange, OwedRule, RunRecord};
use flume_bench_reports::series::Table;

use crate::plan::conf::Conf;

/// A look at the channel says something of an instant no later than this after it, µs: two periods of
/// the sampler.
const FRESH: u64 = 500_000;

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
    let looks = Looks::read(root, record);
    let mut places: Vec<Place> = Vec::new();
    for range in &record.losses.items {
        let place = place(record, range, looks.as_ref());
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

fn place(record: &RunRecord, range: &LossRange, looks: Option<&Looks>) -> Place {
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
            let (hop, seen) = in_agent(record, kill, looks);
            (hop, [explanation, seen].join("; "))
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

/// What is known of the agent's channel over time.
struct Looks {
    /// When it was looked at (µs since t0), and how full the fullest channel was, in millionths.
    fills: Vec<(u64, Option<u64>)>,
    /// Its capacity in events, where the agent has one channel only.
    capacity: Option<u64>,
    /// Whether that channel loses what it holds when the agent is killed.
    forgets: bool,
}

impl Looks {
    fn read(root: &Path, record: &RunRecord) -> Option<Self> {
        let series = Table::read(&root.join("series.csv")).ok()?;
        let config = record.sut.config.value();
        let text = config.and_then(|config| std::fs::read_to_string(&config.path).ok());
        let mut channels = text.map_or_else(Vec::new, |text| {
            Conf::parse(&text, &record.sut.name).channels()
        });
        let only = channels.pop().filter(|_| channels.is_empty());
        Some(Self {
            fills: series.points("channel_fill_ppm")?,
            capacity: only.as_ref().map(|channel| channel.capacity),
            forgets: only.is_some_and(|channel| channel.kind.contains("memory")),
        })
    }

    /// How many events the channel held at the last look before an instant, and how long before.
    fn held(&self, at: u64) -> Result<(u64, u64), &'static str> {
        let capacity = self
            .capacity
            .ok_or("the capacity of its one channel is not known")?;
        let before = self.fills.iter().take_while(|(look, _)| *look <= at);
        match before.last() {
            Some((look, Some(ppm))) if at - look <= FRESH => {
                // Rounded down.
                Ok((
                    (u128::from(*ppm) * u128::from(capacity) / 1_000_000) as u64,
                    at - look,
                ))
            }
            _ => Err("nobody saw how full its channel was just before"),
        }
    }
}

/// Where an agent that was killed had what it lost: hop and evidence.
fn in_agent(record: &RunRecord, kill: &Fault, looks: Option<&Looks>) -> (Known<String>, String) {
    let apart = |why: &str| {
        Known::unknown(format!(
            "inside the agent when it was killed: source, channel and sink cannot be told apart, because {why}"
        ))
    };
    let Some(looks) = looks else {
        return (apart("it reports no fill"), "the agent was killed".into());
    };
    let at = kill.injected_us.value().copied().unwrap_or(0);
    // What the record does not list may belong to this window too.
    let elsewhere: u64 = record
        .losses
        .items
        .iter()
        .filter(|range| range.fault.as_ref() != Some(&kill.name))
        .map(|range| range.events)
        .sum();
    let lost = record.counts.lost.saturating_sub(elsewhere);
    match looks.held(at) {
        Ok((held, before)) => {
            let seen = format!(
                "its channel held {held} events {} before it was killed, by the agent's own count; {lost} were lost",
                flume_bench_reports::show::duration(before)
            );
            if held < lost {
                (apart("its channel held fewer than were lost"), seen)
            } else if looks.forgets {
                (Known::Value("channel".into()), seen)
            } else {
                (
                    apart("its channel keeps through a kill what it holds"),
                    seen,
                )
            }
        }
        Err(why) => (apart(why), "the agent was killed".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flume_bench_reports::record::{FileUsed, Listed};

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
    fn a_channel_that_held_as_many_when_the_agent_was_killed_lost_them() {
        let directory = tempfile::tempdir().unwrap();
        let mut record = record(vec![range(Some("kill-1"), 7), range(None, 2)]);
        let places = losses(directory.path(), &record);
        assert!(
            places.iter().all(|place| place.hop.value().is_none()),
            "{places:?}"
        );
        let conf = directory.path().join("agent.conf");
        let text =
            "a1.channels = c1\na1.channels.c1.type = memory\na1.channels.c1.capacity = 1000\n";
        std::fs::write(&conf, text).unwrap();
        record.sut.name = "a1".into();
        record.sut.config = Known::Value(FileUsed {
            path: conf.display().to_string(),
            ..FileUsed::default()
        });
        let columns = flume_bench_reports::series::COLUMNS.join(",");
        // A look some time before the kill at 2 s, and one after it.
        let seen = |at: u64, fill: &str| {
            let row = |at: u64, fill: &str| format!("{at},,,,,,,,,,,{fill},,,\n");
            let text = format!("{columns}\n{}{}", row(at, fill), row(2_100_000, "0"));
            std::fs::write(directory.path().join("series.csv"), text).unwrap();
            losses(directory.path(), &record)
        };
        let places = seen(1_900_000, "7000");
        assert_eq!(places.len(), 2);
        assert_eq!(places[0].hop, Known::Value("channel".into()));
        assert!(places[0].evidence.contains("held 7 events"), "{places:?}");
        assert!(places[1].hop.value().is_none() && places[1].window.value().is_none());
        for (at, fill, why) in [
            (1_900_000, "6000", "fewer than were lost"),
            (1_400_000, "990000", "nobody saw"),
            (1_900_000, "", "nobody saw"),
        ] {
            let places = seen(at, fill);
            let said = places[0].hop.reason().unwrap_or_default();
            assert!(said.contains(why), "{at} {fill}: {said}");
        }
        // A channel on disk has what it held after the kill as well: an acknowledgement before the
        // put, or a commit before the flush, loses as much.
        std::fs::write(&conf, text.replace("memory", "file")).unwrap();
        let places = seen(1_900_000, "990000");
        let said = places[0].hop.reason().unwrap_or_default();
        assert!(said.contains("through a kill"), "{places:?}");
        assert!(places[0].evidence.contains("held 990 events"), "{places:?}");
        std::fs::write(&conf, text.replacen("c1\n", "c1 c2\n", 1)).unwrap();
        assert!(seen(1_900_000, "7000")[0].hop.value().is_none());
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
