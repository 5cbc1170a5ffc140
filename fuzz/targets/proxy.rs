//! Fuzzes the fault proxy.
//!
//! Input and property: `scenarios/src/fuzzing.rs`. Corpus: `scenarios/tests/corpora/proxy`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| flume_bench_scenarios::fuzzing::proxy(input));
