//! Recorded inputs, and mutations of them, through the functions that handle what passes between a load, a
//! system under test and a store.

#![expect(clippy::unwrap_used, clippy::panic, reason = "it is a test")]

use flume_bench_scenarios::fuzzing::TARGETS;

#[path = "../../fuzz/replay.rs"]
mod replay;
