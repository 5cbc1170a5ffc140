//! What the judge found: losses, copies, strange records, verdicts, and caveats.

use serde::{Deserialize, Serialize};

use super::known::{Known, Quantity};
use crate::verdict::Verdict;

/// A dense range of lost events of one producer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LossRange {
    /// The producer.
    pub producer: u16,
    /// The first sequence number.
    pub first: u64,
    /// The last sequence number, included.
    pub last: u64,
    /// How many of them are lost: last − first + 1 unless the range was joined with its neighbours.
    pub events: u64,
    /// When the first should have been sent, µs since t0.
    pub intended_from_us: Known<u64>,
    /// When the last should have been sent, µs since t0.
    pub intended_to_us: Known<u64>,
    /// The phase in which they fell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// The name of the fault in whose window they fell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// The file in which their neighbours are.
    pub file: Known<String>,
    /// Where they were last seen, for example `acked by the source`.
    pub hop: Known<String>,
    /// What is known of the reason; a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<String>,
}

/// A file with events that a normal reader does not get.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Unpublished {
    /// The file's path in the store.
    pub file: String,
    /// Events in it.
    pub events: u64,
    /// Why, for example `in_use_name` or `never_closed`.
    pub cause: String,
    /// The name of the fault in whose window the last of them was due or written, or that caught it on
    /// its way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// Extra copies in a file, of one window: a file may be listed for several.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Duplicates {
    /// The file's path in the store.
    pub file: String,
    /// Ids of which it holds an extra copy.
    pub ids: u64,
    /// Extra copies. The first copy of an event, wherever it is, is none.
    pub extra_copies: u64,
    /// The name of the fault in whose window they were due or written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// Records of one file that are not as they should be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Anomaly {
    /// `corrupted`, `malformed`, `torn`, `unexpected`, `reordered` or `foreign`.
    pub class: String,
    /// The file's path in the store.
    pub file: String,
    /// Where the first is, in bytes from the start of the file.
    pub first_offset_bytes: Known<u64>,
    /// How many.
    pub records: u64,
    /// What is wrong with the first, as a fragment.
    pub detail: String,
}

/// The answer of one checker.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Checker {
    /// The property it checks.
    pub name: String,
    /// What it says.
    pub verdict: Verdict,
    /// Why; a sentence.
    pub reason: String,
    /// What would have been right.
    pub expected: String,
    /// What was seen.
    pub seen: String,
}

/// When an objective applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// To the whole run, or, for latencies, to steady outside every fault window.
    #[default]
    Steady,
    /// To what fell into a fault window.
    During,
}

/// One objective and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Objective {
    /// The metric as spelled in the scenario.
    pub metric: String,
    /// When it applies.
    pub scope: Scope,
    /// The most (or, for a metric that says so, the least) it may be.
    pub limit: Quantity,
    /// What it was.
    pub seen: Known<Quantity>,
    /// Whether it was met.
    pub verdict: Verdict,
    /// Why not, where it was not; a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A caveat with its remedy.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Warning {
    /// A word for programs, for example `drain_deadline_raised`.
    pub code: String,
    /// What was noticed; a sentence.
    pub message: String,
    /// What to do about it; a sentence.
    pub remedy: String,
}
