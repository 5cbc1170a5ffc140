//! Recorded inputs, and mutations of them, through the functions that read what systems under test
//! answer and store, and the journal.

#![expect(clippy::unwrap_used, clippy::panic, reason = "it is a test")]

use flume_bench_loadgen::fuzzing::TARGETS;

#[path = "../../fuzz/replay.rs"]
mod replay;
