//! Fuzzes the file channel's replay of its log.
//!
//! Input and property: `engine/src/fuzzing.rs`. Corpus: `engine/tests/corpora/channel_log`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| flume_bench_engine::fuzzing::channel_log(input));
