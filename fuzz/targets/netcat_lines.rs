//! Fuzzes the lines of the netcat source.
//!
//! Input and property: `engine/src/fuzzing.rs`. Corpus: `engine/tests/corpora/netcat_lines`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| flume_bench_engine::fuzzing::netcat_lines(input));
