//! Fuzzes what a NameNode or a DataNode answers to the HDFS sink.
//!
//! Input and property: `engine/src/fuzzing.rs`. Corpus: `engine/tests/corpora/hdfs_answers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| flume_bench_engine::fuzzing::hdfs_answers(input));
