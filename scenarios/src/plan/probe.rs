//! Probes as ordinary runs, each in a directory of its own under the plan's.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use flume_bench_reports::plan::backlog::{self, Trend};
use flume_bench_reports::plan::{Outcome, Probe, ProbeKind};
use flume_bench_reports::record::{Fault, Known, RunRecord};
use flume_bench_reports::show;
use flume_bench_reports::verdict::{ExitCode, Verdict};

use super::harness::{self, Harness};
use super::measure::{self, Arrivals, STEP_US};
use super::search::{Prober, Stopped};
use super::variant::{self, Change};
use crate::runner::{self, Options};
use crate::scenario::Scenario;

/// The first saturation probe offers so many times the scenario's rate; one that was met is
/// repeated with as many times that.
const FAR_ABOVE: f64 = 4.0;
/// What arrives at more than this share of what is offered is no saturation.
const MET: f64 = 0.85;
/// Drains may take so long, or longer where the scenario says so.
const DRAIN: Duration = Duration::from_secs(60);
/// The slip that is allowed in any case.
const SLIP: Duration = Duration::from_millis(10);

/// How probes are done.
#[derive(Debug, Clone)]
pub struct Manner {
    /// The slowest periodic work.
    pub cycle: Duration,
    /// The part that is not judged.
    pub warm_up: Duration,
    /// The part that is.
    pub steady: Duration,
    /// How often the scenario's faults, all of them, are part of each probe, its `steady` being the time
    /// that they take with what drains after them; 0 where they are left out.
    pub profiles: u32,
    /// The agent's configuration, if keys of it were changed.
    pub config: Option<PathBuf>,
}

impl std::fmt::Debug for Runs<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runs")
            .field("manner", self.manner)
            .field("offered", &self.offered)
            .finish_non_exhaustive()
    }
}

/// A run that is over.
pub(super) struct Done {
    pub(super) record: RunRecord,
    pub(super) dir: PathBuf,
    pub(super) harness_ppm: Option<u64>,
}

/// Does probes for real.
pub struct Runs<'a> {
    /// The scenario.
    pub base: &'a Scenario,
    /// As for an ordinary run; `runs` is the plan's directory.
    pub options: &'a Options,
    /// How probes are done.
    pub manner: &'a Manner,
    /// Told a line about each probe.
    pub say: &'a dyn Fn(&str),
    /// What the next saturation probe offers.
    offered: f64,
}

impl<'a> Runs<'a> {
    /// A prober for the scenario.
    pub fn new(
        base: &'a Scenario,
        options: &'a Options,
        manner: &'a Manner,
        say: &'a dyn Fn(&str),
    ) -> Self {
        Self {
            base,
            options,
            manner,
            say,
            offered: base.load.rate * FAR_ABOVE,
        }
    }

    fn told(&self, probe: &Probe) {
        let held = probe.outcome.as_str();
        (self.say)(&format!(
            "probe {:>2}: offered {:>9}/s, stored {:>9}/s: {held}; {}",
            probe.number,
            show::count(probe.offered_per_s),
            probe
                .stored_per_s
                .value()
                .map_or("?".to_owned(), |rate| show::count(*rate)),
            probe.reason
        ));
    }
}

/// Runs a variant of the scenario.
pub(super) fn run(
    base: &Scenario,
    options: &Options,
    change: &Change,
    name: &str,
) -> Result<Done, Stopped> {
    if options.interrupted.load(Ordering::Relaxed) {
        return Err(Stopped::Interrupted);
    }
    let failed = |problems: Vec<crate::scenario::reader::Problem>| {
        let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Stopped::Failed(format!(
            "the probe {name} could not be started: {}",
            all.join("; ")
        ))
    };
    let scenario = variant::write(base, change, &options.runs, name).map_err(failed)?;
    let harness = Harness::start();
    let outcome = runner::run(&scenario, options).map_err(failed)?;
    let load = scenario.phases.warm_up + scenario.phases.steady;
    let done = Done {
        harness_ppm: harness.busiest_ppm(load),
        record: outcome.record,
        dir: outcome.dir,
    };
    if done.record.interrupted || options.interrupted.load(Ordering::Relaxed) {
        return Err(Stopped::Interrupted);
    }
    if done.record.exit_code == ExitCode::HarnessFailed {
        let why = done.record.reasons.first().cloned().unwrap_or_default();
        return Err(Stopped::Failed(format!("{name}: {why}")));
    }
    Ok(done)
}

/// What every probe says, from its record.
fn filled(number: u32, kind: ProbeKind, rate: f64, steady: Duration, done: &Done) -> Probe {
    let record = &done.record;
    let stored = &record.latencies.stored_response.steady;
    let used = record.costs.iter().find(|cost| cost.window == "steady");
    let from = record.phases.iter().find(|phase| phase.name == "steady");
    let fill = measure::fill(&done.dir)
        .into_iter()
        .filter(|(at, _)| from.is_some_and(|phase| phase.contains((at * 1e6) as u64)))
        .map(|(_, share)| (share * 1e6) as u64)
        .max();
    Probe {
        steady_us: steady.as_micros() as u64,
        stored_response_us_p50: stored.us_p50.clone(),
        stored_response_us_p99: stored.us_p99.clone(),
        stored_response_us_p999: stored.us_p999.clone(),
        slip_us_p99: record.latencies.slip.steady.us_p99.clone(),
        agent_cpu_ppm: match used {
            None => Known::unknown("the agent's CPU time was not read"),
            Some(cost) => cost.cpu_ns.map(|ns| {
                let us = cost.end_us.saturating_sub(cost.start_us).max(1);
                (u128::from(*ns) * 1_000 / u128::from(us)) as u64
            }),
        },
        harness_cpu_ppm: done.harness_ppm.map_or_else(
            || Known::unknown("the run was too short to read it"),
            Known::Value,
        ),
        channel_fill_ppm: fill
            .map_or_else(|| Known::unknown("the agent reports no fill"), Known::Value),
        lost: record.counts.lost,
        run: done
            .dir
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
        ..Probe::new(number, kind, rate.round() as u64)
    }
}

impl Prober for Runs<'_> {
    fn saturate(&mut self, number: u32) -> Result<Probe, Stopped> {
        let manner = self.manner;
        let rate = self.offered;
        let change = Change {
            rate,
            warm_up: manner.warm_up,
            steady: manner.steady,
            drain: DRAIN.max(self.base.phases.drain_deadline),
            finish_within: Some(Duration::ZERO),
            config: manner.config.clone(),
            faults: Some(Vec::new()),
            ..Change::default()
        };
        let done = run(
            self.base,
            self.options,
            &change,
            &format!("p{number:02}-saturation"),
        )?;
        let mut probe = filled(number, ProbeKind::Saturation, rate, manner.steady, &done);
        let from = manner.warm_up.as_micros() as i64;
        let to = from + manner.steady.as_micros() as i64;
        let stored = Arrivals::of(&done.dir)
            .map_err(Stopped::Failed)?
            .rate(from, to);
        if stored >= MET * rate {
            self.offered *= FAR_ABOVE;
            probe.stored_per_s = Known::unknown(format!(
                "{} events/s of {} were stored: that is no saturation",
                show::count(stored.round() as u64),
                show::count(rate.round() as u64)
            ));
            probe.reason = "What was offered was carried: the next one offers more.".to_owned();
        } else {
            probe.stored_per_s = Known::Value(stored.round() as u64);
            probe.outcome = Outcome::Measured;
            probe.reason = "Far more was offered than was carried.".to_owned();
        }
        self.told(&probe);
        keep_or_forget(&probe, &done.dir);
        Ok(probe)
    }

    fn probe(&mut self, number: u32, rate: f64, longer: bool) -> Result<Probe, Stopped> {
        let manner = self.manner;
        let (under_faults, period) = (manner.profiles > 0, self.base.phases.steady);
        let steady = match (under_faults, longer) {
            (true, true) => period * manner.profiles * 2,
            (true, false) => period * manner.profiles,
            (false, true) => manner.steady * 2,
            (false, false) => manner.steady,
        };
        let warm_up = if under_faults {
            self.base.phases.warm_up
        } else {
            manner.warm_up
        };
        let change = Change {
            rate,
            warm_up,
            steady,
            drain: DRAIN.max(self.base.phases.drain_deadline),
            config: manner.config.clone(),
            faults: (!under_faults).then(Vec::new),
            repeat: under_faults.then_some(period),
            ..Change::default()
        };
        let done = run(self.base, self.options, &change, &format!("p{number:02}"))?;
        let mut probe = filled(number, ProbeKind::Bisection, rate, steady, &done);
        probe.extended = longer;
        let from = warm_up.as_micros() as i64;
        let to = from + steady.as_micros() as i64;
        let arrivals = Arrivals::of(&done.dir).map_err(Stopped::Failed)?;
        probe.stored_per_s = Known::Value(arrivals.rate(from, to).round() as u64);
        if !under_faults {
            let samples = arrivals.backlog(rate, from, to);
            let moved = backlog::judge(
                &samples,
                STEP_US as f64 / 1e6,
                manner.cycle.as_secs_f64(),
                rate,
            );
            probe.backlog = moved.map_or_else(|why| Known::unknown(why.to_string()), Known::Value);
        }
        (probe.outcome, probe.reason) = judge(&probe, &done.record, self.base, under_faults);
        self.told(&probe);
        keep_or_forget(&probe, &done.dir);
        Ok(probe)
    }
}

/// A probe that lost something keeps everything.
fn keep_or_forget(probe: &Probe, dir: &Path) {
    if probe.lost == 0 {
        measure::forget_bulk(dir);
    }
}

/// What a bisection probe says, and why.
fn judge(
    probe: &Probe,
    record: &RunRecord,
    base: &Scenario,
    under_faults: bool,
) -> (Outcome, String) {
    let strictest = base
        .objectives
        .latencies
        .iter()
        .map(|objective| objective.limit)
        .min();
    let allowed = strictest
        .map_or(SLIP, |limit| (limit / 10).max(SLIP))
        .as_micros() as u64;
    if let Some(slip) = probe.slip_us_p99.value().filter(|slip| **slip > allowed) {
        return (
            Outcome::HarnessLimited,
            format!(
                "The generator could not keep its schedule: its slip p99 is {}, and {} are allowed.",
                show::duration(*slip),
                show::duration(allowed)
            ),
        );
    }
    let (outcome, reason) = held(probe, record, under_faults);
    // Where everything holds, it does not matter what the harness used.
    match probe.harness_cpu_ppm.value() {
        Some(ppm)
            if outcome == Outcome::Fails
                && record.counts.lost == 0
                && *ppm > harness::LIMIT_PPM =>
        {
            (
                Outcome::HarnessLimited,
                format!(
                    "The harness used {} % of all cores, more than {} %, so this says nothing about the system ({reason})",
                    ppm / 10_000,
                    harness::LIMIT_PPM / 10_000
                ),
            )
        }
        _ => (outcome, reason),
    }
}

/// Whether the objectives hold and the backlog is sustained.
fn held(probe: &Probe, record: &RunRecord, under_faults: bool) -> (Outcome, String) {
    let first = || record.reasons.first().cloned().unwrap_or_default();
    if under_faults && record.counts.lost > 0 {
        return (
            Outcome::Fails,
            format!("{} owed events were lost.", show::count(record.counts.lost)),
        );
    }
    if let Some(why) = undrained(&record.faults).filter(|_| under_faults) {
        return (Outcome::Fails, why);
    }
    let trend = match &probe.backlog {
        // Sustained from profile to profile: each backlog was drained before the next fault.
        _ if under_faults => Trend::Sustained,
        Known::Unknown(why) => {
            return (
                Outcome::Unknown,
                format!("The backlog cannot be judged: {why}."),
            );
        }
        Known::Value(moved) if moved.beyond_middle => {
            return (
                Outcome::Unknown,
                "No steady state: the warm-up ends past the middle of the probe.".to_owned(),
            );
        }
        Known::Value(moved) => moved.trend,
    };
    match (record.verdict, trend) {
        (Verdict::Fail, _) => (Outcome::Fails, first()),
        (_, Trend::Growing) => (
            Outcome::Fails,
            "The backlog grows by more than 1 % of what is offered.".to_owned(),
        ),
        (_, Trend::Unknown) => (
            Outcome::Unknown,
            "The backlog may grow by 1 % of what is offered, or not.".to_owned(),
        ),
        (Verdict::Inconclusive, _) => (Outcome::Unknown, first()),
        (Verdict::Pass, Trend::Sustained) => (
            Outcome::Holds,
            "All objectives hold, and the backlog is sustained.".to_owned(),
        ),
    }
}

/// Why the backlog of a fault was still there when the next one struck. Faults that overlap are one
/// window, from the first injection to the last heal.
fn undrained(faults: &[Fault]) -> Option<String> {
    struct Window<'f> {
        last: &'f Fault,
        healed: u64,
        drained: u64,
    }
    let mut struck: Vec<(u64, u64, &Fault)> = faults
        .iter()
        .filter_map(|fault| {
            Some((
                *fault.injected_us.value()?,
                *fault.healed_us.value()?,
                fault,
            ))
        })
        .collect();
    struck.sort_by_key(|(injected, ..)| *injected);
    let mut window: Option<Window<'_>> = None;
    for (injected, healed, fault) in struck {
        // Nothing is lost in a probe that comes here: where nothing due by the heal was stored after it,
        // there was no backlog.
        let drained = healed + fault.recovery.drained_us.value().unwrap_or(&0);
        match &mut window {
            Some(before) if injected < before.healed => {
                if healed >= before.healed {
                    (before.last, before.healed, before.drained) = (fault, healed, drained);
                }
                continue;
            }
            Some(before) if before.drained > injected => {
                return Some(format!(
                    "The backlog of {} was not drained when {} struck.",
                    before.last.name, fault.name
                ));
            }
            _ => {}
        }
        window = Some(Window {
            last: fault,
            healed,
            drained,
        });
    }
    None
}

#[cfg(test)]
mod tests {
    use flume_bench_reports::record::Recovery;

    use super::*;

    fn fault(name: &str, injected_s: u64, healed_s: u64, drained_ms: Option<u64>) -> Fault {
        Fault {
            name: name.into(),
            injected_us: Known::Value(injected_s * 1_000_000),
            healed_us: Known::Value(healed_s * 1_000_000),
            recovery: Recovery {
                drained_us: drained_ms.map_or_else(
                    || Known::unknown("the backlog was never drained"),
                    |ms| Known::Value(ms * 1_000),
                ),
                ..Recovery::default()
            },
            ..Fault::default()
        }
    }

    #[test]
    fn a_backlog_must_be_drained_before_the_next_fault() {
        let last = fault("kill-1.2", 12, 13, None);
        let drained = [fault("kill-1.1", 2, 3, Some(8_900)), last.clone()];
        assert_eq!(undrained(&drained), None);
        let late = [last.clone(), fault("kill-1.1", 2, 3, Some(9_100))];
        let why = undrained(&late).unwrap();
        assert!(
            why.contains("kill-1.1") && why.contains("kill-1.2"),
            "{why}"
        );
        let no_backlog = [fault("kill-1.1", 2, 3, None), last.clone()];
        assert_eq!(undrained(&no_backlog), None);
        assert_eq!(undrained(&[last]), None);
    }

    #[test]
    fn faults_that_overlap_are_one_window() {
        let cut = fault("cut_link-2", 4, 8, Some(500));
        // The first one's backlog waits for the second one's heal.
        let overlapping = [
            fault("kill-1", 2, 6, Some(2_500)),
            cut,
            fault("kill-3", 9, 10, None),
        ];
        assert_eq!(undrained(&overlapping), None);
    }
}
