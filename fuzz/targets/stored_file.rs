//! Fuzzes a file of the store as the receiver reads it.
//!
//! Input and property: `loadgen/src/fuzzing.rs`. Corpus: `loadgen/tests/corpora/stored_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| flume_bench_loadgen::fuzzing::stored_file(input));
