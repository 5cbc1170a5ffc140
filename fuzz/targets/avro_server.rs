//! Fuzzes the avro source's end of a connection.
//!
//! Input and property: `engine/src/fuzzing.rs`. Corpus: `engine/tests/corpora/avro_server`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| flume_bench_engine::fuzzing::avro_server(input));
