//! `[gate]`: how a scenario is compared by `flume-bench gate`.
//!
//! ```toml
//! [gate]
//! warm_up = "3s"                       # load before the measured one
//! steady = "7s"                        # measured load
//! hold = "2s"                          # store frozen at the end of steady: the drain rate; hdfs only.
//!                                      # Objectives on time are not asked then
//! turns = "250ms"                      # both arms up at once, load in turns: steadier figures per event,
//!                                      # in half the time; not with hold
//! foreign_cpu = "10 %"                 # a pair in which others used more is run again
//! cpu_ns_per_event = "5 %"             # margins, by metric, each with its unit
//! peak_rss_bytes = "10 % and 8 MiB"    # a change counts when it exceeds both
//! stored_response_us_p99 = "50 % and 2ms"
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use flume_bench_reports::gate::metric::{self, METRICS};

use super::reader::Reader;
use crate::text::{parse_duration, parse_size};

/// The smallest change of a metric that the gate must not miss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Margin {
    /// Part of the baseline's value, ppm.
    pub ppm: u64,
    /// And at least so much, in the metric's unit; 0 for none.
    pub floor: u64,
}

/// The section, with its defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct Gate {
    /// Load before the measured one.
    pub warm_up: Duration,
    /// Measured load.
    pub steady: Duration,
    /// How long the store is frozen at the end of steady, so that a drain can be measured.
    pub hold: Duration,
    /// How long a turn is, where both arms are up at once and the load goes to one at a time.
    pub turns: Option<Duration>,
    /// Part of all CPUs that others may use during a pair, ppm.
    pub foreign_ppm: u64,
    /// Margins other than the defaults.
    pub margins: BTreeMap<&'static str, Margin>,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            warm_up: Duration::from_secs(3),
            steady: Duration::from_secs(7),
            hold: Duration::ZERO,
            turns: None,
            foreign_ppm: 100_000,
            margins: BTreeMap::new(),
        }
    }
}

impl Gate {
    /// The margin of a metric: the scenario's, or the default.
    pub fn margin(&self, metric: &metric::Metric) -> Margin {
        self.margins.get(metric.name).copied().unwrap_or(Margin {
            ppm: metric.margin_ppm,
            floor: metric.floor,
        })
    }
}

/// Shorter than this, a run measures its own begin and end.
const LEAST_STEADY: Duration = Duration::from_secs(1);

/// Longer than this, no run of a gate is.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// A length of time that a run can have.
fn bounded(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text).map_err(|error| error.to_string())?;
    if duration > LONGEST {
        return Err(format!(
            "\"{text}\" is too long for a run of a gate: 24h at most"
        ));
    }
    Ok(duration)
}

pub(super) fn read(table: &Reader<'_, '_>, faults: bool, holdable: bool) -> Gate {
    let mut gate = Gate::default();
    if let Some(warm_up) = table.parsed("warm_up", bounded) {
        gate.warm_up = warm_up;
    }
    if let Some(steady) = table.parsed("steady", bounded) {
        gate.steady = steady;
        if steady < LEAST_STEADY {
            table.problem(
                "steady",
                "gate.steady must be at least 1s: a shorter run measures its own begin and end",
            );
        }
    }
    if let Some(hold) = table.parsed("hold", bounded) {
        gate.hold = hold;
        if hold * 2 > gate.steady {
            table.problem("hold", "gate.hold may be half of gate.steady at most");
        }
        if !hold.is_zero() && !holdable {
            table.problem(
                "hold",
                "gate.hold freezes the store's processes, and this store has none of the run's: \
                 leave it out",
            );
        }
    }
    read_turns(table, &mut gate);
    if let Some(foreign) = table.parsed("foreign_cpu", parse_percent) {
        gate.foreign_ppm = foreign;
        if foreign == 0 || foreign > 1_000_000 {
            table.problem(
                "foreign_cpu",
                "gate.foreign_cpu must be above 0 % and at most 100 %",
            );
        }
    }
    for metric in METRICS {
        let Some(text) = table.text(metric.name) else {
            continue;
        };
        let margin = match margin(&text, metric.unit) {
            Ok(margin) => margin,
            Err(wanted) => {
                table.problem(
                    metric.name,
                    format!("gate.{}: \"{text}\" is not a margin: {wanted}", metric.name),
                );
                continue;
            }
        };
        if metric.name == "recovery_us" && !faults {
            table.problem(
                metric.name,
                "gate.recovery_us: this scenario has no [[fault]], so nothing recovers: leave the \
                 margin out, or add a fault",
            );
        }
        gate.margins.insert(metric.name, margin);
    }
    table.finish();
    gate
}

fn read_turns(table: &Reader<'_, '_>, gate: &mut Gate) {
    // 0 takes back what the scenario says: --set gate.turns=0s.
    let turns = table.parsed("turns", bounded);
    gate.turns = turns.filter(|turn| !turn.is_zero());
    if let Some(turn) = gate.turns {
        let round = 4 * turn;
        let whole = |time: Duration| time.as_nanos().is_multiple_of(round.as_nanos());
        if !whole(gate.warm_up) || !whole(gate.steady) {
            table.problem(
                "turns",
                "gate.turns: warm_up and steady must be whole rounds of four turns, so that both \
                 arms get the same load",
            );
        }
        if !gate.hold.is_zero() {
            table.problem(
                "turns",
                "gate.turns and gate.hold exclude each other: two channels that drain at once share \
                 the machine",
            );
        }
    }
}

/// `"5 %"` in ppm.
pub(crate) fn parse_percent(text: &str) -> Result<u64, String> {
    let wrong = || format!("\"{text}\" is not a share: write a number and %, such as \"10 %\"");
    let number = text.trim().strip_suffix('%').ok_or_else(wrong)?.trim();
    let percent: f64 = number.parse().map_err(|_| wrong())?;
    if !(0.0..=100_000.0).contains(&percent) {
        return Err(wrong());
    }
    Ok((percent * 10_000.0).round() as u64)
}

/// `"5 %"`, or `"10 % and 8 MiB"` with a floor in the metric's unit.
fn margin(text: &str, unit: &str) -> Result<Margin, String> {
    let example = match unit {
        "us" => "\"50 %\" or \"50 % and 2ms\"",
        "bytes" => "\"10 %\" or \"10 % and 8 MiB\"",
        _ => "\"5 %\"",
    };
    let (percent, floor) = match text.split_once(" and ") {
        Some((percent, floor)) => (percent, Some(floor.trim())),
        None => (text, None),
    };
    let wanted = || format!("write a percentage with its sign, such as {example}");
    let ppm = parse_percent(percent).map_err(|_| wanted())?;
    if ppm == 0 {
        return Err("it must be above 0 %: no number of pairs shows that nothing changed".into());
    }
    let floor = match (floor, unit) {
        (None, _) => 0,
        (Some(floor), "us") => parse_duration(floor)
            .map_err(|error| error.to_string())?
            .as_micros() as u64,
        // A bare number has no unit, and a margin without one is refused.
        (Some(floor), "bytes") if floor.ends_with('B') => {
            parse_size(floor).map_err(|error| error.to_string())?
        }
        (Some(_), _) => return Err(wanted()),
    };
    Ok(Margin { ppm, floor })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_no_run_can_have_are_ordinary_problems() {
        use crate::scenario::reader::Source;
        for key in ["hold", "steady", "warm_up"] {
            for (time, good) in [
                ("1h", true),
                ("10000000000000000000s", false),
                ("25h", false),
            ] {
                let rest = if key == "hold" { "steady = \"3h\"" } else { "" };
                let text = format!("{key} = \"{time}\"\n{rest}");
                let source = Source::new(std::path::Path::new("s.toml"), &text);
                let table = source.parse().unwrap();
                let gate = read(&Reader::root(&source, &table), false, true);
                let problems = source.into_problems();
                assert_eq!(problems.is_empty(), good, "{text}: {problems:?}");
                assert!(gate.hold + gate.steady + gate.warm_up < LONGEST);
                if !good {
                    assert!(problems[0].message.contains("24h at most"), "{problems:?}");
                }
            }
        }
    }

    #[test]
    fn turns_are_whole_rounds_and_not_with_a_hold() {
        use crate::scenario::reader::Source;
        for (text, good) in [
            ("turns = \"250ms\"", true),
            ("turns = \"0s\"\nhold = \"2s\"", true),
            ("turns = \"250ms\"\nhold = \"2s\"", false),
            ("turns = \"300ms\"", false),
            ("turns = \"250ms\"\nsteady = \"1500ms\"", false),
        ] {
            let source = Source::new(std::path::Path::new("s.toml"), text);
            let table = source.parse().unwrap();
            let gate = read(&Reader::root(&source, &table), false, true);
            let problems = source.into_problems();
            assert_eq!(problems.is_empty(), good, "{text}: {problems:?}");
            assert_eq!(gate.turns.is_some(), !text.contains("0s\"\n"), "{text}");
        }
    }

    #[test]
    fn margins_have_units() {
        assert_eq!(
            margin("5 %", "ns"),
            Ok(Margin {
                ppm: 50_000,
                floor: 0
            })
        );
        let memory = margin("10 % and 8 MiB", "bytes").unwrap();
        assert_eq!((memory.ppm, memory.floor), (100_000, 8 << 20));
        let latency = margin("12.5% and 2ms", "us").unwrap();
        assert_eq!((latency.ppm, latency.floor), (125_000, 2_000));
        for (text, unit) in [
            ("5", "ns"),
            ("0.05", "ns"),
            ("0 %", "ns"),
            ("-5 %", "ns"),
            ("5 % and 3", "ns"),
            ("10 % and 8", "bytes"),
            ("50 % and 2", "us"),
            ("many %", "us"),
        ] {
            assert!(margin(text, unit).is_err(), "{text}");
        }
    }
}
