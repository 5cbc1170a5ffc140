//! Fuzzes what clients, and other servers, say to a DataNode of the embedded HDFS.
//!
//! Input and property: `scenarios/stores/src/fuzzing.rs`. Corpus: `scenarios/stores/tests/corpora/datanode`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| flume_bench_stores::fuzzing::datanode(input));
