//! Fuzzes what a record that was stored turns out to be.
//!
//! Input and property: `loadgen/src/fuzzing.rs`. Corpus: `loadgen/tests/corpora/token`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| flume_bench_loadgen::fuzzing::token(input));
