//! Whether memory, descriptors, threads, files or disk grow over a soak.
//!
//! 1. The first fifth of the time is left out: a system fills its caches.
//! 2. The **life** of the agent that lasted longest is taken, where it is at least half of the rest;
//!    its lowest value in each round counts (of neighbouring rounds together, where there are more
//!    than 48; of 24 equal stretches of time, where there are fewer than ten rounds). A saw-tooth
//!    (files that roll, a heap that is collected) is so no growth.
//! 3. Where faults kill the agent more often than that, the *highest* value of each round counts: what
//!    a life leaks ends with it, and what is left is growth from round to round.
//! 4. The slope is Theil and Sen's, with bounds at 0.5 % on each side, so that all metrics together
//!    have a bound of 5 %. It *grows* if the lower bound, over the judged time, comes to more than
//!    what matters ([`Metric::matters`]), and the second half alone still has a lower bound above 0: a
//!    staircase that levels out is no leak. It is *level* if the upper bound comes to less than what
//!    matters; everything else is *open*, and the bounds are there to be read.
//!
//! The bounds hold for values that do not hang together, which memory does: a walk without a goal may
//! seem to have a direction. What matters, and the second half, guard against the small ones; a
//! cache that fills for longer than the soak lasts is called growth, rightly so far as the soak can
//! see.
//!
//! Source: [`crate::statistics::theil_sen`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::record::Known;
use crate::show;
use crate::statistics::theil_sen::Slopes;

/// In a soak that lasted so long, every metric that could be sampled is judged: there are at least a
/// hundred samples, and [`judge`] needs a dozen.
pub const LONG_ENOUGH_US: u64 = 60_000_000;

/// The part of the soak that is left out at its start, as 1 ÷ n.
const WARMING: u64 = 5;
/// The most values a slope is made from.
const MOST_POINTS: usize = 48;
/// With fewer rounds, stretches of time are taken instead.
const LEAST_ROUNDS: usize = 10;
/// So many stretches.
const STRETCHES: u64 = 24;
/// The fewest values.
const LEAST_POINTS: usize = 8;
/// The level of each bound.
const LEVEL: f64 = 0.005;
/// The level of the second half's bound.
const HALF_LEVEL: f64 = 0.05;
const HOUR_US: f64 = 3_600e6;

/// What is measured at one instant; `None` where it could not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Usage {
    /// Resident memory.
    pub memory_bytes: Option<u64>,
    /// Open file descriptors.
    pub descriptors: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Files in its own directory.
    pub files: Option<u64>,
    /// Bytes in its own directory.
    pub disk_bytes: Option<u64>,
}

/// One sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Sample {
    /// µs since the soak's load began.
    pub at_us: u64,
    /// The round.
    pub round: u32,
    /// The agent's process id, while it lives.
    pub pid: Option<i32>,
    /// The agent, all its processes.
    pub agent: Usage,
    /// The harness: this process, and the directory of the soak without the agent's and the store's.
    pub harness: Usage,
}

/// Whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Holder {
    /// The system under test.
    #[default]
    Agent,
    /// flume-bench itself.
    Harness,
}

impl Holder {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Harness => "harness",
        }
    }
}

/// What.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Resident memory, bytes.
    #[default]
    Memory,
    /// Open file descriptors.
    Descriptors,
    /// Threads.
    Threads,
    /// Files in its own directory.
    Files,
    /// Bytes in its own directory.
    Disk,
}

impl Metric {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Memory,
        Self::Descriptors,
        Self::Threads,
        Self::Files,
        Self::Disk,
    ];

    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Descriptors => "descriptors",
            Self::Threads => "threads",
            Self::Files => "files",
            Self::Disk => "disk",
        }
    }

    /// Its value in a sample.
    #[must_use]
    pub fn of(self, usage: &Usage) -> Option<u64> {
        match self {
            Self::Memory => usage.memory_bytes,
            Self::Descriptors => usage.descriptors,
            Self::Threads => usage.threads,
            Self::Files => usage.files,
            Self::Disk => usage.disk_bytes,
        }
    }

    /// Growth over the judged time from which on it is called so, at a usual value of `level`:
    /// memory 2 % and 4 MiB, disk 5 % and 16 MiB, descriptors, threads and files 4.
    #[must_use]
    pub fn matters(self, level: f64) -> f64 {
        match self {
            Self::Memory => (level * 0.02).max(4.0 * 1_048_576.0),
            Self::Disk => (level * 0.05).max(16.0 * 1_048_576.0),
            Self::Descriptors | Self::Threads | Self::Files => 4.0,
        }
    }

    /// A value as people read it.
    #[must_use]
    pub fn show(self, value: u64) -> String {
        match self {
            Self::Memory | Self::Disk => show::bytes(value),
            _ => show::count(value),
        }
    }

    /// A slope as people read it.
    #[must_use]
    pub fn show_slope(self, per_h: i64) -> String {
        let sign = match per_h {
            ..0 => "−",
            0 => "",
            1.. => "+",
        };
        format!("{sign}{}/h", self.show(per_h.unsigned_abs()))
    }
}

/// What became of one metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It surely grows, by more than what matters.
    Grows,
    /// It surely does not grow by what matters.
    Level,
    /// The samples show neither.
    Open,
    /// There are too few samples, or none.
    #[default]
    Unknown,
}

impl Outcome {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Grows => "grows",
            Self::Level => "level",
            Self::Open => "open",
            Self::Unknown => "unknown",
        }
    }
}

/// One metric over the soak.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Growth {
    /// Whose.
    pub holder: Holder,
    /// What.
    pub metric: Metric,
    /// What became of it.
    pub outcome: Outcome,
    /// The highest sample of the whole soak.
    pub most: Known<u64>,
    /// The slope an hour.
    pub slope_per_h: Known<Slope>,
    /// The time that was judged, µs.
    pub judged_us: u64,
    /// The values the slope is made from.
    pub points: u64,
    /// What they are.
    pub basis: String,
}

/// A slope with its bounds, in the metric's unit an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Slope {
    /// The estimate.
    pub estimate: i64,
    /// It is above this.
    pub low: i64,
    /// It is below this.
    pub high: i64,
}

impl Growth {
    /// It in one sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        let what = format!(
            "The {} of the {}",
            match self.metric {
                Metric::Descriptors => "number of open descriptors",
                Metric::Threads => "number of threads",
                Metric::Files => "number of files",
                Metric::Memory => "memory",
                Metric::Disk => "disk space",
            },
            self.holder.as_str()
        );
        match (&self.slope_per_h, self.outcome) {
            (Known::Value(slope), Outcome::Grows) => format!(
                "{what} grows: {} ({} at least), at most {} in all.",
                self.metric.show_slope(slope.estimate),
                self.metric.show_slope(slope.low),
                show::known(&self.most, |most| self.metric.show(*most))
            ),
            (Known::Value(slope), _) => format!(
                "{what} is {}: {} to {}.",
                self.outcome.as_str(),
                self.metric.show_slope(slope.low),
                self.metric.show_slope(slope.high)
            ),
            (Known::Unknown(why), _) => format!("{what} was not judged: {why}."),
        }
    }
}

/// Judges every metric of both.
#[must_use]
pub fn judge(samples: &[Sample]) -> Vec<Growth> {
    let mut all = Vec::new();
    for holder in [Holder::Agent, Holder::Harness] {
        for metric in Metric::ALL {
            all.push(one(samples, holder, metric));
        }
    }
    all
}

/// A value of a metric: when, in which round, how much.
#[derive(Debug, Clone, Copy)]
struct Point {
    at_us: u64,
    round: u32,
    pid: i32,
    value: u64,
}

fn one(samples: &[Sample], holder: Holder, metric: Metric) -> Growth {
    let points: Vec<Point> = samples
        .iter()
        .filter_map(|sample| {
            let (pid, usage) = match holder {
                Holder::Agent => (sample.pid?, &sample.agent),
                Holder::Harness => (0, &sample.harness),
            };
            Some(Point {
                at_us: sample.at_us,
                round: sample.round,
                pid,
                value: metric.of(usage)?,
            })
        })
        .collect();
    let most = points.iter().map(|point| point.value).max();
    let mut growth = Growth {
        holder,
        metric,
        most: most.map_or_else(|| Known::unknown("it was never sampled"), Known::Value),
        slope_per_h: Known::unknown("it was never sampled"),
        ..Growth::default()
    };
    let Some(kept) = warmed(samples, &points) else {
        return growth;
    };
    let (basis, values) = values(kept);
    growth.basis = basis;
    growth.points = values.len() as u64;
    if let (Some(first), Some(last)) = (values.first(), values.last()) {
        growth.judged_us = (last.0 - first.0) as u64;
    }
    match slope(&values, metric) {
        Ok((outcome, slope)) => {
            growth.outcome = outcome;
            growth.slope_per_h = Known::Value(slope);
        }
        Err(why) => growth.slope_per_h = Known::Unknown(why),
    }
    growth
}

/// The points after the first fifth of the soak.
fn warmed<'p>(samples: &[Sample], points: &'p [Point]) -> Option<&'p [Point]> {
    let (first, last) = (samples.first()?.at_us, samples.last()?.at_us);
    let from = first + (last - first) / WARMING;
    let begin = points.partition_point(|point| point.at_us < from);
    points.get(begin..).filter(|kept| !kept.is_empty())
}

/// The values that count, with their instants in µs, and what they are.
fn values(points: &[Point]) -> (String, Vec<(f64, f64)>) {
    let span = |points: &[Point]| match points {
        [first, .., last] => last.at_us - first.at_us,
        _ => 0,
    };
    let lives: Vec<&[Point]> = points.chunk_by(|a, b| a.pid == b.pid).collect();
    let longest = lives
        .iter()
        .copied()
        .max_by_key(|life| span(life))
        .unwrap_or(points);
    let through = lives.len() == 1;
    if through || span(longest) * 2 >= span(points) {
        let life = if through {
            String::new()
        } else {
            format!(", in its longest life of {}", show::duration(span(longest)))
        };
        let (what, values) = grouped(longest, u64::min);
        return (format!("lowest value of each {what}{life}"), values);
    }
    let (what, values) = grouped(points, u64::max);
    let basis = format!("highest value of each {what}, over {} lives", lives.len());
    (basis, values)
}

/// One value a round, a few rounds or a stretch of time.
fn grouped(points: &[Point], pick: fn(u64, u64) -> u64) -> (String, Vec<(f64, f64)>) {
    let Some(first) = points.first() else {
        return (String::new(), Vec::new());
    };
    let rounds = points.chunk_by(|a, b| a.round == b.round).count();
    let end = points.last().map_or(first.at_us, |last| last.at_us);
    let stretch = ((end - first.at_us) / STRETCHES).max(1);
    let together = rounds.div_ceil(MOST_POINTS).max(1);
    let by_round = rounds >= LEAST_ROUNDS;
    let mut groups: BTreeMap<u64, (u64, u64, u64)> = BTreeMap::new();
    for point in points {
        let key = if by_round {
            u64::from(point.round - first.round) / together as u64
        } else {
            ((point.at_us - first.at_us) / stretch).min(STRETCHES - 1)
        };
        let group = groups
            .entry(key)
            .or_insert((point.at_us, point.at_us, point.value));
        group.1 = point.at_us;
        group.2 = pick(group.2, point.value);
    }
    let what = match (by_round, together) {
        (true, 1) => "round".to_owned(),
        (true, n) => format!("{n} rounds"),
        (false, _) => show::duration(stretch),
    };
    let middle = |group: (u64, u64, u64)| ((group.0 + group.1) as f64 / 2.0, group.2 as f64);
    (what, groups.into_values().map(middle).collect())
}

fn slope(values: &[(f64, f64)], metric: Metric) -> Result<(Outcome, Slope), String> {
    if values.len() < LEAST_POINTS {
        return Err(format!(
            "{} values are too few, {LEAST_POINTS} are needed",
            values.len()
        ));
    }
    let hours: Vec<(f64, f64)> = values
        .iter()
        .map(|(at, value)| (at / HOUR_US, *value))
        .collect();
    let wrong = |error: crate::statistics::Unable| error.to_string();
    let slopes = Slopes::of(&hours).map_err(wrong)?;
    let (low, high) = (
        slopes.lower(LEVEL).map_err(wrong)?,
        slopes.upper(LEVEL).map_err(wrong)?,
    );
    let span = hours.last().map_or(0.0, |last| last.0) - hours.first().map_or(0.0, |first| first.0);
    let mut levels: Vec<f64> = hours.iter().map(|(_, value)| *value).collect();
    levels.sort_unstable_by(f64::total_cmp);
    let matters = metric.matters(levels.get(levels.len() / 2).copied().unwrap_or(0.0));
    let outcome = if low * span >= matters && still_grows(&hours) {
        Outcome::Grows
    } else if high * span < matters {
        Outcome::Level
    } else {
        Outcome::Open
    };
    let whole = |slope: f64| slope.round() as i64;
    Ok((
        outcome,
        Slope {
            estimate: whole(slopes.estimate()),
            low: whole(low),
            high: whole(high),
        },
    ))
}

/// Whether the second half alone has a direction.
fn still_grows(hours: &[(f64, f64)]) -> bool {
    let half = hours.get(hours.len() / 2..).unwrap_or_default();
    Slopes::of(half)
        .and_then(|slopes| slopes.lower(HALF_LEVEL))
        .is_ok_and(|low| low > 0.0)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const MIB: u64 = 1 << 20;

    /// Samples each second, rounds of `round` seconds, memory by `memory(second)`, a new life at each
    /// multiple of `life` seconds.
    fn samples(seconds: u64, round: u64, life: u64, memory: impl Fn(u64) -> u64) -> Vec<Sample> {
        (0..seconds)
            .map(|s| Sample {
                at_us: s * 1_000_000,
                round: (s / round + 1) as u32,
                pid: Some((s / life + 1) as i32),
                agent: Usage {
                    memory_bytes: Some(memory(s)),
                    descriptors: Some(12),
                    ..Usage::default()
                },
                harness: Usage::default(),
            })
            .collect()
    }

    fn memory(samples: &[Sample]) -> Growth {
        judge(samples).remove(0)
    }

    #[test]
    fn a_leak_grows_and_its_slope_is_that_of_the_leak() {
        let found = memory(&samples(180, 12, 1_000, |s| 20 * MIB + s * MIB / 10));
        assert_eq!(found.outcome, Outcome::Grows);
        let slope = found.slope_per_h.value().unwrap();
        assert!(
            (slope.estimate - 360 * MIB as i64).abs() < MIB as i64,
            "{slope:?}"
        );
        assert_eq!(found.basis, "lowest value of each round");
        assert_eq!(found.most, Known::Value(20 * MIB + 179 * MIB / 10));
    }

    #[test]
    fn a_saw_tooth_a_staircase_that_ends_and_a_warm_up_are_no_growth() {
        let tooth = memory(&samples(300, 20, 1_000, |s| 20 * MIB + s % 20 * MIB));
        assert_eq!(tooth.outcome, Outcome::Level, "{tooth:?}");
        let stairs = memory(&samples(300, 20, 1_000, |s| {
            20 * MIB + s.min(160) / 40 * 3 * MIB
        }));
        assert_ne!(stairs.outcome, Outcome::Grows, "{stairs:?}");
        let warm = memory(&samples(300, 20, 1_000, |s| 20 * MIB + s.min(50) * MIB));
        assert_eq!(warm.outcome, Outcome::Level, "{warm:?}");
    }

    #[test]
    fn an_agent_that_is_killed_each_round_is_judged_from_round_to_round() {
        let reset = memory(&samples(300, 20, 20, |s| 20 * MIB + s % 20 * MIB));
        assert_eq!(reset.outcome, Outcome::Level, "{reset:?}");
        assert!(
            reset.basis.contains("highest value of each round"),
            "{reset:?}"
        );
        let kept = memory(&samples(300, 20, 20, |s| 20 * MIB + s / 20 * 2 * MIB));
        assert_eq!(kept.outcome, Outcome::Grows, "{kept:?}");
    }

    #[test]
    fn one_kill_leaves_the_longer_life_to_be_judged() {
        let found = memory(&samples(300, 20, 200, |s| 20 * MIB + s % 200 * MIB / 5));
        assert_eq!(found.outcome, Outcome::Grows, "{found:?}");
        assert!(found.basis.contains("longest life"), "{}", found.basis);
    }

    #[test]
    fn what_was_not_sampled_or_too_briefly_is_unknown() {
        let all = judge(&samples(4, 2, 100, |_| MIB));
        assert!(all.iter().all(|growth| growth.outcome == Outcome::Unknown));
        assert_eq!(judge(&[]).len(), 10);
        let long = judge(&samples(300, 20, 1_000, |_| MIB));
        assert_eq!(long[1].outcome, Outcome::Level);
        assert_eq!(long[2].slope_per_h.reason(), Some("it was never sampled"));
    }

    #[test]
    fn noise_without_a_direction_is_rarely_growth() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut grows = 0;
        for _ in 0..400 {
            let noise: Vec<u64> = (0..300).map(|_| rng.random_range(0..8 * MIB)).collect();
            let found = memory(&samples(300, 20, 1_000, |s| 20 * MIB + noise[s as usize]));
            grows += u32::from(found.outcome == Outcome::Grows);
        }
        assert!(grows <= 4, "{grows} of 400");
    }
}
