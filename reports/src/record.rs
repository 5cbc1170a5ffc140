//! The run record: everything a run says, in one file, for people and programs.
//!
//! `record.json` is one JSON object. Its shape is [`RunRecord`]; the schema is
//! `schemas/run-record.v1.json` ([`SCHEMA`]). The rules:
//!
//! - **Integers only.** Counts are exact, ratios are pairs ([`Ratio`]), times are µs. There is no
//!   floating-point number in a record, so writing and reading it again gives the same bytes.
//! - **Time.** `*_at_us`, `start_us`, `end_us` and the like are µs since t0 on the run's own
//!   monotonic clock; the two wall-clock instants of [`Identity`] are RFC 3339 text.
//! - **Ids and seeds** of 64 bits are text ([`Text64`]).
//! - **What could not be known** is null with a reason ([`Known`]), never 0. What does not apply
//!   is an absent key. Counts that follow from answers are plain numbers where the source answers;
//!   older programs wrote 0 where it does not, and that is read as unknown.
//! - **Names.** Keys are spelled alike in TOML, JSON and Rust, with the unit and then the quantile
//!   at the end.
//! - **Versions.** Within one `schema_version` keys are only added, and a reader ignores the ones
//!   it does not know. A newer version is refused.
//! - **Whole or not at all.** `content_sha256` covers the canonical form of everything else; a
//!   file that was cut off or edited is refused by name ([`read`]).
//!
//! The types know no system under test, no fault kind and no protocol: names and numbers only, so
//! that old records stay readable.

mod costs;
mod counts;
mod environment;
mod faults;
mod file;
mod findings;
mod known;
mod latency;
#[cfg(test)]
pub(crate) mod published;
#[cfg(test)]
pub(crate) mod schema;
pub(crate) mod sealed;

use serde::{Deserialize, Serialize};

pub use costs::{Cost, Counter, DrainFlow};
pub use counts::{Bytes, Counts, Indicators, NO_ANSWERS, ProxyBytes, SystemLoad, UnpublishedCount};
pub use environment::{
    Artefact, FileUsed, Host, Identity, Load, Nice, OwedRule, Store, Sut, VersionOf,
};
pub use faults::{Fault, Planned, Recovery, Witness};
pub use file::{Error, read, read_str, to_text, write};
pub use findings::{
    Anomaly, Checker, Duplicates, LossRange, Objective, Scope, Unpublished, Warning,
};
pub use known::{Known, Listed, Quantity, Ratio, Text64};
pub use latency::{
    HistogramError, Latencies, Latency, LatencySet, NamedSet, QUANTILES, Quantile, Resolution,
    samples_needed,
};

use crate::verdict::{ExitCode, Verdict};

/// The version this crate writes, and the newest it reads.
pub const SCHEMA_VERSION: u32 = 1;

/// The JSON schema of the record, as published beside the crate.
pub const SCHEMA: &str = include_str!("../schemas/run-record.v1.json");

/// One run: what was done, under which circumstances, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RunRecord {
    /// The version of this shape.
    pub schema_version: u32,
    /// The verdict of the whole run.
    pub verdict: Verdict,
    /// Why, most important first; whole sentences. The first one heads every report.
    pub reasons: Vec<String>,
    /// The exit code of the run.
    pub exit_code: ExitCode,
    /// Whether the run was interrupted before its end.
    pub interrupted: bool,
    /// The command that repeats the run.
    pub repeat: String,
    /// Which run this is.
    pub identity: Identity,
    /// The machine.
    pub host: Host,
    /// The system under test.
    pub sut: Sut,
    /// The store that its data ended in.
    pub store: Store,
    /// The load that was planned.
    pub load: Load,
    /// The phases in order.
    pub phases: Vec<Window>,
    /// What became of the events.
    pub counts: Counts,
    /// Bytes offered, acknowledged and stored.
    pub bytes: Bytes,
    /// The five indicators.
    pub indicators: Indicators,
    /// What the agent used, by window; none in records of programs that did not measure it.
    #[serde(default)]
    pub costs: Vec<Cost>,
    /// How fast a backlog left the agent, where a fault lasted until the end of the load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_flow: Option<DrainFlow>,
    /// The five latencies.
    pub latencies: Latencies,
    /// The faults in order of their planned instant.
    pub faults: Vec<Fault>,
    /// When the receiver could not read, although no injected fault explains it.
    pub blind_windows: Vec<Window>,
    /// Where events were lost.
    pub losses: Listed<LossRange>,
    /// Which files hold stored events that a normal reader does not get.
    pub unpublished: Listed<Unpublished>,
    /// Which files hold copies.
    pub duplicates: Listed<Duplicates>,
    /// Corrupted, malformed, torn, unexpected and reordered records, by file.
    pub anomalies: Listed<Anomaly>,
    /// What each checker says.
    pub checkers: Vec<Checker>,
    /// What became of each objective.
    pub objectives: Vec<Objective>,
    /// Caveats, each with its remedy.
    pub warnings: Vec<Warning>,
    /// The time series.
    pub series: SeriesFile,
    /// The other files of the run.
    pub artefacts: Vec<Artefact>,
}

impl Default for RunRecord {
    /// An empty record of the current version: inconclusive, and everything unknown "not
    /// recorded".
    fn default() -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            verdict: Verdict::default(),
            reasons: Vec::new(),
            exit_code: ExitCode::default(),
            interrupted: false,
            repeat: String::new(),
            identity: Identity::default(),
            host: Host::default(),
            sut: Sut::default(),
            store: Store::default(),
            load: Load::default(),
            phases: Vec::new(),
            counts: Counts::default(),
            bytes: Bytes::default(),
            indicators: Indicators::default(),
            costs: Vec::new(),
            drain_flow: None,
            latencies: Latencies::default(),
            faults: Vec::new(),
            blind_windows: Vec::new(),
            losses: Listed::default(),
            unpublished: Listed::default(),
            duplicates: Listed::default(),
            anomalies: Listed::default(),
            checkers: Vec::new(),
            objectives: Vec::new(),
            warnings: Vec::new(),
            series: SeriesFile::default(),
            artefacts: Vec::new(),
        }
    }
}

impl RunRecord {
    /// The phase in which an instant (µs since t0) lies.
    #[must_use]
    pub fn phase_at(&self, at_us: u64) -> Option<&Window> {
        self.phases.iter().find(|phase| phase.contains(at_us))
    }

    /// The end of the run in µs since t0: the end of its last phase.
    #[must_use]
    pub fn end_us(&self) -> u64 {
        self.phases
            .iter()
            .map(|phase| phase.end_us)
            .max()
            .unwrap_or(0)
    }
}

/// A named stretch of time: a phase, a blind window.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Window {
    /// `warm_up`, `steady`, `drain`, …; for a blind window what could not be read.
    pub name: String,
    /// The first instant, µs since t0.
    pub start_us: u64,
    /// The first instant after it, µs since t0.
    pub end_us: u64,
}

impl Window {
    /// A window of this name.
    pub fn new(name: impl Into<String>, start_us: u64, end_us: u64) -> Self {
        Self {
            name: name.into(),
            start_us,
            end_us,
        }
    }

    /// Whether the instant lies inside; the end does not.
    #[must_use]
    pub fn contains(&self, at_us: u64) -> bool {
        (self.start_us..self.end_us).contains(&at_us)
    }
}

/// Where the time series is, and what it holds. Its format: [`crate::series`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SeriesFile {
    /// The file, relative to the record.
    pub path: String,
    /// Its columns in order.
    pub columns: Vec<String>,
    /// How many rows it has.
    pub rows: u64,
}

#[cfg(test)]
mod tests;
