//! Under which circumstances a run took place: who, where, with what.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::known::{Known, Text64};

/// Which run this is, and all it takes to run it again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Identity {
    /// The run's id, as it stands in every token.
    pub run: Text64,
    /// The scenario's name.
    pub scenario: String,
    /// One sentence that says what the scenario is about; may be empty.
    pub description: String,
    /// Every file that was used, the scenario first.
    pub files: Vec<FileUsed>,
    /// The seed from which all randomness came.
    pub seed: Text64,
    /// The command line, one entry an argument.
    pub command_line: Vec<String>,
    /// The commit this program was built from.
    pub commit: Known<String>,
    /// Versions of this program and of what it relied on.
    pub versions: Vec<VersionOf>,
    /// When t0 was, RFC 3339 with the zone.
    pub started: String,
    /// When the run ended, RFC 3339 with the zone.
    pub ended: Known<String>,
}

/// A file that had a part in the run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FileUsed {
    /// What it was used as: `scenario`, `agent_config`, `replay`, …
    pub role: String,
    /// Its path as given.
    pub path: String,
    /// SHA-256 of its bytes, lower-case hexadecimal.
    pub sha256: Known<String>,
}

/// The version of one program or library.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct VersionOf {
    /// `flume-bench`, `java`, …
    pub name: String,
    /// Its version in its own spelling.
    pub version: Known<String>,
}

/// The machine and the priorities on it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Host {
    /// The kernel's name and release.
    pub kernel: Known<String>,
    /// The CPU's model name.
    pub cpu_model: Known<String>,
    /// Cores the run could use.
    pub cores: Known<u64>,
    /// Memory the run could use.
    pub memory_bytes: Known<u64>,
    /// Priorities that differ from the usual.
    pub nice: Vec<Nice>,
}

/// The priority of one kind of process.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Nice {
    /// `sut`, `stores`, `pacing_thread`, …
    pub process: String,
    /// The nice value, −20 to 19.
    pub nice: i8,
}

/// The system under test.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Sut {
    /// The driver that ran it.
    pub driver: String,
    /// Its name.
    pub name: String,
    /// Its version in its own spelling.
    pub version: Known<String>,
    /// The configuration it was given.
    pub config: Known<FileUsed>,
    /// How long it may stay silent before the drain is called finished.
    pub quiet_us: u64,
}

/// The store that the data ended in.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Store {
    /// The store's kind.
    pub kind: String,
    /// Who provided it: `embedded`, `local`, `container` or `external`.
    pub provider: String,
    /// The server's version in its own spelling.
    pub server_version: Known<String>,
}

/// The load as planned.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Load {
    /// The protocol or file it went into.
    pub into: String,
    /// The rate as written in the scenario, for example `20000/s`.
    pub rate: String,
    /// Shape of the schedule: `constant`, `ramp`, `poisson`.
    pub schedule: String,
    /// Events a batch.
    pub batch: u64,
    /// Connections.
    pub connections: u64,
    /// The payload's kind.
    pub payload: String,
    /// Bytes of one event's body.
    pub body_bytes: Known<u64>,
    /// How long a batch is tried again; 0 is once.
    pub retry_for_us: u64,
    /// Events that the schedule holds, warm-up included.
    pub planned: u64,
    /// Which events the system owes.
    pub owed_rule: OwedRule,
    /// Why that rule, as a sentence for the report.
    pub owed_reason: String,
    /// Further settings as written.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
}

/// What is owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OwedRule {
    /// What the source acknowledged.
    #[default]
    Acked,
    /// Everything issued, because the source gives no answers.
    Issued,
}

/// Another file of the run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Artefact {
    /// What it is: `journal`, `history`, `sut_log`, …
    pub what: String,
    /// Its path, relative to the record.
    pub path: String,
}
