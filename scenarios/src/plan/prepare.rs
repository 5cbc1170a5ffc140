//! What is fixed before the first probe: the agent's configuration as changed, how long a probe is and
//! why, and what the record says of both.

use std::path::{Path, PathBuf};
use std::time::Duration;

use flume_bench_reports::plan::Method;

use super::conf::{Conf, Period};
use super::probe::Manner;
use super::{Asked, CONFIG, CYCLES, LEAST_PROFILES, LEAST_STEADY, conf, variant};
use crate::runner::{self, Options};
use crate::scenario::reader::Problem;
use crate::scenario::{self, Overrides, Scenario};
use crate::text::show_duration;

/// What a plan begins with.
pub(super) struct Prepared {
    /// As it stands, without the changes to the agent's configuration.
    pub(super) base: Scenario,
    /// How it is probed.
    pub(super) manner: Manner,
    /// The agent's properties as changed.
    pub(super) text: String,
    /// What the record says of the manner.
    pub(super) method: Method,
}

/// Fixes it all, and has a first probe checked.
///
/// # Errors
/// A file that cannot be read or written, and everything that preflight finds.
pub(super) fn prepare(
    asked: &Asked,
    base: &Scenario,
    changes: &[(String, String)],
    dir: &Path,
    options: &Options,
) -> Result<Prepared, Vec<Problem>> {
    let (text, config) = configuration(base, changes, dir)?;
    let slowest = Conf::parse(&text, &base.sut.agent)
        .periods()
        .into_iter()
        .max_by_key(|period| period.every);
    let (manner, cycle_of) = manner(asked, base, slowest, config.clone());
    let (period, profiles) = (base.phases.steady, manner.profiles);
    // Read back with its copied configuration, so that the driver checks that as well.
    let change = variant::Change {
        rate: base.load.rate,
        warm_up: manner.warm_up,
        steady: manner.steady.max(period * profiles),
        repeat: asked.under_faults.then_some(period),
        drain: base.phases.drain_deadline,
        config,
        faults: (!asked.under_faults).then(Vec::new),
        ..variant::Change::default()
    };
    let probe = variant::write(base, &change, dir, "probe")?;
    let problems = runner::preflight(&probe, options);
    if !problems.is_empty() {
        return Err(problems);
    }
    let method = method(asked, base, changes, &manner, cycle_of);
    // The probes are made from the scenario as it stands, whose path the messages name.
    let overrides = Overrides {
        set: of_scenario(asked),
        ..asked.overrides.clone()
    };
    Ok(Prepared {
        base: scenario::load(&asked.path, &overrides)?,
        manner,
        text,
        method,
    })
}

/// The `--set` that change the scenario, not the agent's properties.
fn of_scenario(asked: &Asked) -> Vec<String> {
    let set = asked.overrides.set.iter();
    set.filter(|set| !set.starts_with(CONFIG))
        .cloned()
        .collect()
}

/// The agent's properties as changed, and the file they were written to where there is a change.
fn configuration(
    base: &Scenario,
    changes: &[(String, String)],
    dir: &Path,
) -> Result<(String, Option<PathBuf>), Vec<Problem>> {
    let wrong = |what: String| {
        vec![Problem::of_machine(
            what,
            "choose another place with --runs",
        )]
    };
    let Some(file) = &base.sut.config else {
        return Ok((String::new(), None));
    };
    let text = std::fs::read_to_string(file)
        .map_err(|error| wrong(format!("{} cannot be read: {error}", file.display())))?;
    if changes.is_empty() {
        return Ok((text, None));
    }
    let text = conf::changed(&text, changes);
    let path = dir.join(file.file_name().unwrap_or("agent.conf".as_ref()));
    std::fs::write(&path, &text)
        .map_err(|error| wrong(format!("{} cannot be written: {error}", path.display())))?;
    Ok((text, Some(path)))
}

/// How long a probe is: cycles of the slowest periodic work, unless it is asked to be shorter; and the words
/// for it.
fn manner(
    asked: &Asked,
    base: &Scenario,
    slowest: Option<Period>,
    config: Option<PathBuf>,
) -> (Manner, String) {
    let natural = slowest.as_ref().map_or(LEAST_STEADY, |period| {
        (period.every * CYCLES).max(LEAST_STEADY)
    });
    let steady = asked.probe_length.unwrap_or(natural);
    // Without periodic work a cycle is a tenth of the probe.
    let cycle = slowest
        .as_ref()
        .map_or(steady / CYCLES, |period| period.every);
    let period = base.phases.steady;
    let profiles = match asked.under_faults {
        true => LEAST_PROFILES.max(steady.div_duration_f64(period).ceil() as u32),
        false => 0,
    };
    let fits = steady >= cycle * (CYCLES - 2);
    let manner = Manner {
        cycle: if fits { cycle } else { steady / CYCLES },
        warm_up: cycle
            .clamp(Duration::from_secs(1), Duration::from_secs(5))
            .min(steady / 2),
        steady,
        profiles,
        config,
    };
    let of = slowest.map_or(
        "no periodic work is known: a tenth of the probe".to_owned(),
        |period| period.key,
    );
    let cycle_of = if fits {
        of
    } else {
        format!(
            "a tenth of the probe: {} cycles of {of} were asked not to be waited for",
            CYCLES - 2
        )
    };
    (manner, cycle_of)
}

/// What the record says of it.
fn method(
    asked: &Asked,
    base: &Scenario,
    changes: &[(String, String)],
    manner: &Manner,
    cycle_of: String,
) -> Method {
    let (period, profiles) = (base.phases.steady, manner.profiles);
    let steady = match profiles {
        0 => manner.steady,
        profiles => period * profiles,
    };
    let faults = if asked.under_faults {
        let times = format!(
            "all of them {profiles} times, each time after {}",
            show_duration(period)
        );
        let faults = base.faults.iter().map(scenario::FaultPlan::describe);
        faults.chain([times]).collect()
    } else {
        Vec::new()
    };
    let properties = changes
        .iter()
        .map(|(key, value)| format!("{key} = {value}"));
    Method {
        cycle_us: manner.cycle.as_micros() as u64,
        cycle_of,
        steady_us: steady.as_micros() as u64,
        warm_up_us: manner.warm_up.as_micros() as u64,
        most_probes: asked.probes,
        faults,
        changed: properties.chain(of_scenario(asked)).collect(),
    }
}
