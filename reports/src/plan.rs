//! How much a system carries, and what must be provided for it: what `plan` found.
//!
//! [`PlanRecord`] is everything a search says; it is `plan.json` ([`SCHEMA_VERSION`], integers
//! only, unknown values are null with a reason). The rules of the search itself are in
//! [`crate::capacity`]; [`backlog`] cuts off the warm-up and applies them to a probe's samples,
//! [`sizing`] is the model of an outage, [`show`] the ways to show a plan. Everything here is arithmetic on numbers and text: it
//! starts nothing and reads nothing.

pub mod backlog;
pub mod show;
pub mod sizing;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::record::{Error, Host, Known, Text64};
use crate::verdict::ExitCode;

/// The version of `plan.json`. Within one version keys are only added.
pub const SCHEMA_VERSION: u32 = 1;

/// The JSON schema of `plan.json`, as published beside the crate.
pub const SCHEMA: &str = include_str!("../schemas/plan.v1.json");

/// What a search for the knee came to, and everything it rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PlanRecord {
    /// The version of this shape.
    pub schema_version: u32,
    /// The plan's id.
    pub plan: Text64,
    /// The scenario's name.
    pub scenario: String,
    /// Driver of the system under test, and its version where that is known.
    pub sut: String,
    /// Kind and provider of the store.
    pub store: String,
    /// The machine.
    pub host: Host,
    /// The command line.
    pub command_line: Vec<String>,
    /// When it started, RFC 3339.
    pub started: String,
    /// Whether it was interrupted: then everything here is what there was until then.
    pub interrupted: bool,
    /// What it came to.
    pub conclusion: Conclusion,
    /// The exit code.
    pub exit_code: ExitCode,
    /// Why, most important first; whole sentences.
    pub reasons: Vec<String>,
    /// What a reader must know to use the numbers: shortened periods, what a channel can hide, …
    pub notes: Vec<String>,
    /// How the probes were done.
    pub method: Method,
    /// Every probe, in order.
    pub probes: Vec<Probe>,
    /// The knee; unknown with the reason where there is none.
    pub knee: Known<Knee>,
    /// What an outage of the store needs; unknown with the reason where it was not measured.
    pub sizing: Known<sizing::Sizing>,
    /// The answer to `--rate`, `--outage`, `--budget`, where they were given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Known<sizing::Answer>>,
}

/// How a plan ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Conclusion {
    /// The knee was found.
    Found,
    /// The objectives do not even hold at the lowest rate that was probed.
    BelowLowest,
    /// The generator or the harness was at its own limit before the system was.
    HarnessLimited,
    /// The probes do not show where the knee is.
    Unknown,
}

impl Conclusion {
    /// The exit code of a plan that ended in order.
    #[must_use]
    pub fn exit_code(self) -> ExitCode {
        match self {
            Self::Found => ExitCode::Pass,
            Self::BelowLowest => ExitCode::Missed,
            Self::HarnessLimited | Self::Unknown => ExitCode::Inconclusive,
        }
    }

    /// As reports spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::BelowLowest => "below the lowest probed rate",
            Self::HarnessLimited => "harness-limited",
            Self::Unknown => "unknown",
        }
    }
}

/// How the probes were done.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Method {
    /// The slowest periodic work of the system, µs.
    pub cycle_us: u64,
    /// What that is: `rollInterval of a1.sinks.k1`, …
    pub cycle_of: String,
    /// The judged part of a probe, µs.
    pub steady_us: u64,
    /// The part before it that is not judged, µs.
    pub warm_up_us: u64,
    /// Probes that were allowed.
    pub most_probes: u32,
    /// Faults of the scenario that are part of each probe; none unless asked for.
    pub faults: Vec<String>,
    /// Keys of the scenario and of the configuration that differ from the files, `key = value`.
    pub changed: Vec<String>,
}

/// What a probe is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ProbeKind {
    /// Far more is offered than can be carried, and the transfer rate is measured.
    Saturation,
    /// A rate is offered, and the objectives hold or do not.
    Bisection,
}

/// What a probe says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A saturation probe: the rate was measured.
    Measured,
    /// All objectives held, and the backlog was sustained.
    Holds,
    /// An objective was missed, or the backlog grew.
    Fails,
    /// It does not show either.
    Unknown,
    /// The generator could not keep its schedule, or the harness used too much of the machine.
    HarnessLimited,
}

impl Outcome {
    /// As reports spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Holds => "holds",
            Self::Fails => "fails",
            Self::Unknown => "unknown",
            Self::HarnessLimited => "harness-limited",
        }
    }
}

/// One probe: an ordinary run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Probe {
    /// Its number, from 1.
    pub number: u32,
    /// What it is for.
    pub kind: ProbeKind,
    /// What was offered.
    pub offered_per_s: u64,
    /// What arrived in the store in the judged part.
    pub stored_per_s: Known<u64>,
    /// What it says.
    pub outcome: Outcome,
    /// Why; a whole sentence.
    pub reason: String,
    /// How long the judged part was, µs.
    pub steady_us: u64,
    /// Whether it is a second, longer try of what a first one did not show.
    pub extended: bool,
    /// How the backlog moved; unknown in a saturation probe.
    pub backlog: Known<backlog::Movement>,
    /// Median of the time to the store, µs.
    pub stored_response_us_p50: Known<u64>,
    /// Its 99th percentile.
    pub stored_response_us_p99: Known<u64>,
    /// Its 99.9th percentile.
    pub stored_response_us_p999: Known<u64>,
    /// The generator's slip, 99th percentile, µs.
    pub slip_us_p99: Known<u64>,
    /// CPU of the agent, millionths of one core.
    pub agent_cpu_ppm: Known<u64>,
    /// CPU of the harness, millionths of all cores, in its busiest stretch as long as the load.
    pub harness_cpu_ppm: Known<u64>,
    /// The fullest channel, millionths of its capacity.
    pub channel_fill_ppm: Known<u64>,
    /// Events lost.
    pub lost: u64,
    /// The directory of the run.
    pub run: String,
}

impl Probe {
    /// A probe of which nothing is known yet.
    #[must_use]
    pub fn new(number: u32, kind: ProbeKind, offered_per_s: u64) -> Self {
        let unknown = || Known::unknown("not measured");
        Self {
            number,
            kind,
            offered_per_s,
            stored_per_s: unknown(),
            outcome: Outcome::Unknown,
            reason: "Nothing was measured.".to_owned(),
            steady_us: 0,
            extended: false,
            backlog: Known::unknown("not measured"),
            stored_response_us_p50: unknown(),
            stored_response_us_p99: unknown(),
            stored_response_us_p999: unknown(),
            slip_us_p99: unknown(),
            agent_cpu_ppm: unknown(),
            harness_cpu_ppm: unknown(),
            channel_fill_ppm: unknown(),
            lost: 0,
            run: String::new(),
        }
    }
}

/// The rate at which one probe holds all objectives with probability ½.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Knee {
    /// The median of the posterior, events/s.
    pub per_s: u64,
    /// The lower end of its 90 % interval, events/s.
    pub low_per_s: u64,
    /// The upper end, events/s.
    pub high_per_s: u64,
    /// How much equal probes differ, as measured: the median of the posterior, millionths.
    pub spread_ppm: u64,
    /// The greatest rate that a probe held, events/s.
    pub highest_held_per_s: Known<u64>,
    /// The smallest rate that a probe did not hold, events/s.
    pub lowest_failed_per_s: Known<u64>,
}

/// Reads `plan.json`.
///
/// # Errors
/// It cannot be read, was cut off, is no plan, or is of a newer version.
pub fn read(path: &Path) -> Result<PlanRecord, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    let plan: PlanRecord = serde_json::from_str(&text).map_err(|source| {
        if source.is_eof() {
            Error::CutOff {
                line: source.line(),
                column: source.column(),
            }
        } else {
            Error::NotARecord {
                reason: source.to_string(),
            }
        }
    })?;
    if plan.schema_version > SCHEMA_VERSION {
        return Err(Error::Newer {
            found: plan.schema_version.into(),
            newest: SCHEMA_VERSION,
        });
    }
    Ok(plan)
}
