//! What the system under test used in one stretch of a run, exact enough to divide by events.

use serde::{Deserialize, Serialize};

use super::known::Known;

/// What the agent, with all its processes, used between two instants.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Cost {
    /// `steady` (from its begin to the end of the load) or `drain` (from there to the end of the
    /// drain).
    pub window: String,
    /// The first instant, µs since t0.
    pub start_us: u64,
    /// The first instant after it, µs since t0.
    pub end_us: u64,
    /// Events issued in it.
    pub issued: u64,
    /// Events acked in it; unknown where the source gives no answers.
    pub acked: Known<u64>,
    /// Events first seen in the store in it.
    pub stored: u64,
    /// CPU time, user and system.
    pub cpu_ns: Known<u64>,
    /// Bytes it sent towards a disk, as the kernel counts them: whole pages, when they get dirty.
    pub written_bytes: Known<u64>,
    /// Calls of fsync and fdatasync, as the agent itself counts them.
    pub syncs: Known<u64>,
    /// The most memory that was resident from the agent's start to the end of the window.
    pub peak_rss_bytes: Known<u64>,
    /// Other counters of the kernel, each by its name: they explain, and decide nothing.
    pub counters: Vec<Counter>,
}

/// How fast the agent handed over what had piled up behind a fault that lasted until the end of the
/// load, by the bytes that the proxies on its links passed on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DrainFlow {
    /// The last heal, µs since t0.
    pub healed_us: u64,
    /// Events due by the heal and first seen in the store after it.
    pub events: u64,
    /// Bytes that left the agent from the heal to the end of the drain.
    pub bytes: u64,
    /// When a tenth of them had left it, µs since t0.
    pub from_us: u64,
    /// When nine tenths of them had left it, µs since t0.
    pub to_us: u64,
    /// How late either instant may be: the time since the reading before it.
    pub resolution_us: u64,
}

/// One counter of the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Counter {
    /// `voluntary_switches`, `write_calls`, …
    pub name: String,
    /// By how much it grew.
    pub value: u64,
}
