//! `gate.json`: everything that a gate says, in one file, for people and programs.
//!
//! The rules are those of the run record ([`crate::record`]): integers only, ids and seeds as text,
//! what could not be known is null with a reason, within a version keys are only added, and a
//! digest over all of it. The schema is `schemas/gate.v1.json` ([`SCHEMA`]). Ratios of the arms are kept as logarithms in millionths (`*_log_ppm`),
//! turned so that above 0 is worse; levels and p-values in thousand-millionths (`*_ppb`).

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::metric::Class;
use crate::record::{Counter, Error, FileUsed, Host, Known, Quantity, Ratio, Text64, sealed};
use crate::verdict::{ExitCode, Verdict};

/// The version this crate writes, and the newest it reads.
pub const SCHEMA_VERSION: u32 = 1;

/// The JSON schema of `gate.json`, as published beside the crate.
pub const SCHEMA: &str = include_str!("../../schemas/gate.v1.json");

/// One gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GateRecord {
    /// The version of this shape.
    pub schema_version: u32,
    /// The verdict of the whole gate.
    pub verdict: Verdict,
    /// Why, most important first; whole sentences.
    pub reasons: Vec<String>,
    /// The exit code, before `--on-inconclusive neutral` made a 0 of a 3.
    pub exit_code: ExitCode,
    /// The exit code that the program ended with.
    pub exit_code_given: ExitCode,
    /// Whether the gate was interrupted before its end.
    pub interrupted: bool,
    /// Which gate this is.
    pub id: Text64,
    /// The seed from which orders and loads came.
    pub seed: Text64,
    /// The command line, one entry an argument.
    pub command_line: Vec<String>,
    /// When it began, RFC 3339.
    pub started: String,
    /// How long it took, builds left out.
    pub took_us: u64,
    /// The machine.
    pub host: Host,
    /// What the machine is called in the store of baselines and calibrations.
    pub host_kind: String,
    /// Baseline first, candidate second.
    pub arms: Vec<ArmUsed>,
    /// How it was done.
    pub plan: Plan,
    /// Whether the machine was too busy to decide anything.
    pub host_unfit: bool,
    /// The scenarios in the order of the command line.
    pub scenarios: Vec<ScenarioGate>,
    /// What a person should know besides: waivers that expired, scenarios left out, …
    pub notes: Vec<String>,
}

/// One arm.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ArmUsed {
    /// `baseline`, `candidate`, or the name it was given.
    pub name: String,
    /// What makes it this arm, in words.
    pub what: String,
    /// Its program; unknown where it is a stored baseline.
    pub program: Known<FileUsed>,
}

/// How the gate was done.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Plan {
    /// Whether both arms were up at once and got their load in turns.
    #[serde(default)]
    pub at_once: bool,
    /// Load before the measured one, µs.
    pub warm_up_us: u64,
    /// Measured load, µs.
    pub steady_us: u64,
    /// Time that a run is planned to take in all, µs.
    pub run_us: u64,
    /// The budget, µs.
    pub budget_us: u64,
    /// Pairs at each look of the screen.
    pub looks: Vec<u64>,
    /// Fresh pairs that confirm an alarm.
    pub confirming: u64,
    /// False alarms that the whole gate may give, ppm.
    pub alpha_ppm: u64,
    /// Whether the scenarios' faults were left in.
    pub with_faults: bool,
    /// Whether a metric that this host cannot resolve is inconclusive instead of demoted.
    pub strict: bool,
    /// `fail` or `neutral`.
    pub on_inconclusive: String,
    /// Foreign CPU above which a pair is spoiled, ppm of all CPUs.
    pub foreign_limit_ppm: u64,
}

/// What became of one scenario.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ScenarioGate {
    /// Its name.
    pub name: String,
    /// SHA-256 of what was run: the scenario without seed, with its phases, the baseline's
    /// configuration left out.
    pub sha256: String,
    /// What it alone comes to.
    pub exit_code: ExitCode,
    /// Why it was left out, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<String>,
    /// The metrics, in the order of their table.
    pub metrics: Vec<MetricResult>,
    /// Losses and missed objectives: they are never compared.
    pub violations: Vec<Violation>,
    /// The pairs that count.
    pub pairs: Vec<Pair>,
    /// The pairs that were repeated, and why.
    pub spoiled: Vec<Spoiled>,
    /// Counters that differ between the arms, where there was an alarm; the largest ratio first.
    pub differences: Vec<Difference>,
}

/// What a metric came to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MetricResult {
    /// Its name in [`super::metric::METRICS`].
    pub name: String,
    /// Whether it decided.
    pub class: Class,
    /// The decision.
    pub outcome: Outcome,
    /// Why that, as a sentence fragment.
    pub reason: String,
    /// M with the floor in it, ppm of the baseline's value.
    pub margin_ppm: u64,
    /// The floor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<Quantity>,
    /// Median of the baseline's runs.
    pub baseline: Known<Ratio>,
    /// Median of the candidate's runs.
    pub candidate: Known<Ratio>,
    /// Hodges–Lehmann estimate of the change, above 0 is worse.
    pub estimate_log_ppm: Known<i64>,
    /// One-sided bounds of it at the level of the last look.
    pub lower_log_ppm: Known<i64>,
    /// As above.
    pub upper_log_ppm: Known<i64>,
    /// Exact one-sided signed-rank test against "no slow-down", on the screen's pairs.
    pub p_ppb: Known<u64>,
    /// The same on the fresh pairs of the confirmation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_p_ppb: Option<u64>,
    /// Hodges–Lehmann estimate of the change on those fresh pairs alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_estimate_log_ppm: Option<i64>,
    /// What this host can see: 2.25 × the variation within pairs, ppm.
    pub resolution_ppm: Known<u64>,
    /// Whether the resolution is from a stored calibration or from the screen's own pairs.
    pub resolution_from: String,
    /// The log-ratio of each counted pair, in their order.
    pub pairs_log_ppm: Vec<Known<i64>>,
    /// The waiver that covers it, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waived: Option<String>,
}

/// The decision on a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// No slow-down as large as the margin.
    Fine,
    /// Better by more than nothing.
    Improved,
    /// Worse, found twice.
    Regression,
    /// Worse, and covered by a waiver.
    Waived,
    /// Worse, of a metric that decides nothing.
    Worse,
    /// The pairs do not tell, and this host cannot see a change as small as the margin: it decides
    /// nothing.
    Demoted,
    /// The pairs do not show which.
    #[default]
    Inconclusive,
    /// Nothing to compare: no run of either arm has a value, or all have 0.
    NotMeasured,
}

impl Outcome {
    /// The word in reports.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Improved => "improved",
            Self::Regression => "regression",
            Self::Waived => "waived",
            Self::Worse => "worse",
            Self::Demoted => "demoted to watch",
            Self::Inconclusive => "inconclusive",
            Self::NotMeasured => "not measured",
        }
    }
}

/// A loss, a corruption, an invented event, a missed objective.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Violation {
    /// `lost`, `corrupted`, `stored_response_us_p99`, …
    pub what: String,
    /// Runs of the baseline in which it was seen.
    pub baseline_runs: u64,
    /// Runs of the candidate in which it was seen.
    pub candidate_runs: u64,
    /// Runs of each arm.
    pub runs: u64,
    /// What it means, as a sentence.
    pub sentence: String,
    /// Code 5 where only the candidate has it, 1 where both have, 0 where only the baseline has.
    pub exit_code: ExitCode,
    /// Run directories that show it.
    pub seen_in: Vec<String>,
}

/// Two runs of the same load, one an arm.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Pair {
    /// From 1.
    pub number: u64,
    /// `screen` or `confirm`.
    pub stage: String,
    /// Which arm went first: 0 is the baseline.
    pub first: u64,
    /// CPU of others while it ran, ppm of all CPUs.
    pub foreign_ppm: u64,
    /// Baseline, candidate.
    pub runs: Vec<RunOf>,
}

/// One run of a pair.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RunOf {
    /// Its directory, beside the gate's record.
    pub dir: String,
    /// Its own exit code.
    pub exit_code: ExitCode,
    /// How long it took from begin to end, µs.
    pub took_us: u64,
    /// Value of each metric, in the order of their table.
    pub values: Vec<Known<Ratio>>,
    /// Kernel counters from the begin of steady to the end of the drain.
    pub counters: Vec<Counter>,
    /// Events taken over in that time.
    pub events: u64,
}

/// A pair that was run again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Spoiled {
    /// The pair that it should have been.
    pub number: u64,
    /// Why.
    pub why: String,
    /// CPU of others while it ran, ppm of all CPUs.
    pub foreign_ppm: u64,
}

/// A counter by event in both arms.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Difference {
    /// The counter.
    pub name: String,
    /// Of the baseline, median run.
    pub baseline: Ratio,
    /// Of the candidate, median run.
    pub candidate: Ratio,
}

/// Writes a gate's record, replacing what is there.
///
/// # Errors
/// Those of writing; the old file is then still whole.
pub fn write(path: &Path, record: &GateRecord) -> Result<(), Error> {
    sealed::write(path, record)
}

/// Reads a gate's record.
///
/// # Errors
/// A file that is cut off, edited, newer, or something else is named as such.
pub fn read(path: &Path) -> Result<GateRecord, Error> {
    sealed::read(path, SCHEMA_VERSION)
}

/// How much runs of equal arms differ on a host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Calibration {
    /// The version of this shape.
    pub schema_version: u32,
    /// The machine.
    pub host_kind: String,
    /// The scenario's name.
    pub scenario: String,
    /// As [`ScenarioGate::sha256`].
    pub sha256: String,
    /// When it was made, RFC 3339.
    pub when: String,
    /// Pairs of equal arms.
    pub pairs: u64,
    /// Pairs that were repeated.
    pub spoiled: u64,
    /// Of each metric.
    pub variations: Vec<Variation>,
}

/// How much a metric varies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variation {
    /// The metric.
    pub name: String,
    /// Coefficient of variation of a run within its pair, ppm.
    pub cv_ppm: Known<u64>,
}

/// Writes a calibration, replacing what is there.
///
/// # Errors
/// Those of writing.
pub fn write_calibration(path: &Path, calibration: &Calibration) -> Result<(), Error> {
    sealed::write(path, calibration)
}

/// Reads a calibration.
///
/// # Errors
/// A file that is cut off, edited, newer, or something else is named as such.
pub fn read_calibration(path: &Path) -> Result<Calibration, Error> {
    sealed::read(path, SCHEMA_VERSION)
}

/// What builds of a branch needed on a kind of host, newest last.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Baseline {
    /// The version of this shape.
    pub schema_version: u32,
    /// The machine.
    pub host_kind: String,
    /// The scenario's name.
    pub scenario: String,
    /// As [`ScenarioGate::sha256`].
    pub sha256: String,
    /// The branch.
    pub branch: String,
    /// What was saved.
    pub entries: Vec<Stored>,
}

/// The medians of one arm of a gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// When the gate began, RFC 3339.
    pub when: String,
    /// The gate that it was saved from; files of earlier versions do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<Text64>,
    /// The arm's program.
    pub program_sha256: Known<String>,
    /// Runs behind each median.
    pub runs: u64,
    /// Of each metric, in the order of their table.
    pub values: Vec<Known<Ratio>>,
}

impl Stored {
    /// Whether both were measured by the same gate.
    #[must_use]
    pub fn same_gate(&self, other: &Self) -> bool {
        match (&self.gate, &other.gate) {
            (Some(one), Some(other)) => one == other,
            _ => self.when == other.when,
        }
    }
}

/// Writes a baseline, replacing what is there.
///
/// # Errors
/// Those of writing.
pub fn write_baseline(path: &Path, baseline: &Baseline) -> Result<(), Error> {
    sealed::write(path, baseline)
}

/// Reads a baseline.
///
/// # Errors
/// A file that is cut off, edited, newer, or something else is named as such.
pub fn read_baseline(path: &Path) -> Result<Baseline, Error> {
    sealed::read(path, SCHEMA_VERSION)
}

/// What a scenario's gates came to on a kind of host, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct History {
    /// The version of this shape.
    pub schema_version: u32,
    /// The scenario's name.
    pub scenario: String,
    /// Each gate.
    pub past: Vec<Past>,
}

/// One gate of a scenario.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// When it ended, RFC 3339.
    pub when: String,
    /// What the scenario came to.
    pub exit_code: ExitCode,
}

/// Writes a history, replacing what is there.
///
/// # Errors
/// Those of writing.
pub fn write_history(path: &Path, history: &History) -> Result<(), Error> {
    sealed::write(path, history)
}

/// Reads a history.
///
/// # Errors
/// A file that is cut off, edited, newer, or something else is named as such.
pub fn read_history(path: &Path) -> Result<History, Error> {
    sealed::read(path, SCHEMA_VERSION)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::schema;

    #[test]
    fn the_published_schema_is_that_of_the_types() {
        let generated = schema::generated::<GateRecord>("flume-bench gate, schema_version 1");
        schema::is_published("gate.v1.json", &generated);
        assert!(!generated.contains("\"format\": \"double\""));
    }
}
