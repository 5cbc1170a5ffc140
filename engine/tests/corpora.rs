//! Recorded inputs, and mutations of them, through the functions that read what strangers and broken disks
//! made up.

#![expect(clippy::unwrap_used, clippy::panic, reason = "it is a test")]

use flume_bench_engine::fuzzing::TARGETS;

#[path = "../../fuzz/replay.rs"]
mod replay;
