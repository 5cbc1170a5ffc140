//! Recorded inputs, and mutations of them, through the functions that read what clients of the embedded
//! HDFS, and its other parts, made up.

#![expect(clippy::unwrap_used, clippy::panic, reason = "it is a test")]

use flume_bench_stores::fuzzing::TARGETS;

#[path = "../../../fuzz/replay.rs"]
mod replay;
