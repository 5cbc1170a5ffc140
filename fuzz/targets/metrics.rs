//! Fuzzes the server of the metrics.
//!
//! Input and property: `engine/src/fuzzing.rs`. Corpus: `engine/tests/corpora/metrics`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| flume_bench_engine::fuzzing::metrics(input));
