//! Fuzzes the reader of a run's journal.
//!
//! Input and property: `loadgen/src/fuzzing.rs`. Corpus: `loadgen/tests/corpora/journal`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| flume_bench_loadgen::fuzzing::journal(input));
