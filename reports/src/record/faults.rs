//! What was done to the system, the evidence that it took effect, and how it recovered.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::known::Known;

/// One fault of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Fault {
    /// Its name within the run, unique: what losses and latencies refer to.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// What it acted on: a link, a process, a directory.
    pub target: String,
    /// Its other settings as written.
    pub parameters: BTreeMap<String, String>,
    /// When it was to happen.
    pub planned: Planned,
    /// When it was injected, µs since t0.
    pub injected_us: Known<u64>,
    /// When it was healed, µs since t0.
    pub healed_us: Known<u64>,
    /// The evidence that it took effect.
    pub witness: Known<Witness>,
    /// Why the trial is void, where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub void: Option<String>,
    /// Events that were owed and not yet stored when it was injected.
    pub in_flight: Known<u64>,
    /// How the system came back.
    pub recovery: Recovery,
}

impl Fault {
    /// From the injection to the end of the backlog (or the heal, while the former is unknown), in
    /// µs since t0. `None` for a fault that never happened.
    #[must_use]
    pub fn window_us(&self) -> Option<(u64, u64)> {
        let start = *self.injected_us.value()?;
        let healed = self.healed_us.value().copied().unwrap_or(start).max(start);
        let backlog = self.recovery.drained_us.value().copied().unwrap_or(0);
        Some((start, healed.saturating_add(backlog)))
    }
}

/// The plan of a fault.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Planned {
    /// When, in µs since the start of the steady phase; absent where a trigger decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_us: Option<u64>,
    /// For how long, in µs; absent where it has no duration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_us: Option<u64>,
    /// The condition that triggers it, as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
}

/// Evidence, not taken by the injector itself, that a fault took effect.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Witness {
    /// What kind of evidence: `connection_refused`, `wait_status`, …
    pub what: String,
    /// The evidence itself, as text.
    pub evidence: String,
    /// When it was seen, µs since t0.
    pub at_us: u64,
}

/// How long the system took after the heal.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Recovery {
    /// µs from the heal to the first event stored after it.
    pub first_stored_us: Known<u64>,
    /// µs from the heal until the backlog was stored.
    pub drained_us: Known<u64>,
}
