//! Fuzzes the configuration of an agent.
//!
//! Input and property: `engine/src/fuzzing.rs`. Corpus: `engine/tests/corpora/configuration`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| flume_bench_engine::fuzzing::configuration(input));
