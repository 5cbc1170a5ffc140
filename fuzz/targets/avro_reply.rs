//! Fuzzes what an Avro source answers to the load.
//!
//! Input and property: `loadgen/src/fuzzing.rs`. Corpus: `loadgen/tests/corpora/avro_reply`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| flume_bench_loadgen::fuzzing::avro_reply(input));
