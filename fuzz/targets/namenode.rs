//! Fuzzes what clients and DataNodes say to the NameNode of the embedded HDFS.
//!
//! Input and property: `scenarios/stores/src/fuzzing.rs`. Corpus: `scenarios/stores/tests/corpora/namenode`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| flume_bench_stores::fuzzing::namenode(input));
