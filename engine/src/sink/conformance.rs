//! What every kind of sink has to do, wherever it writes: everything in order and counted, nothing
//! removed from the channel that the store did not take, and no call that does not end.
//!
//! A new kind needs a [`Case`], or a suite of its own; a test fails while it has neither.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::testing::Bench;
use super::{BoxSink, KINDS, Status};
use crate::channel::{ArcChannel, memory};
use crate::context::Context;
use crate::kind::named;
use crate::processor::ChannelProcessor;
use crate::source::{self, BoxSource};
use crate::stop::Stop;

/// Kinds whose stores are servers, with suites of their own.
const ELSEWHERE: &[&str] = &["hdfs"];

/// How one kind is set up.
struct Case {
    kind: &'static str,
    /// Settings; `{dir}` stands for a directory of the test, `{port}` for the port of an avro
    /// source.
    settings: &'static str,
    /// What is in the store afterwards, if that can be told.
    stored: fn(&Path, &Receiver) -> Option<Vec<String>>,
    /// Whether the sink fails while there is no store.
    can_fail: bool,
}

const CASES: &[Case] = &[
    Case {
        kind: "avro",
        settings: "hostname = 127.0.0.1\nport = {port}\nbatch-size = 7",
        stored: |_, receiver| Some(receiver.bodies()),
        can_fail: true,
    },
    Case {
        kind: "file_roll",
        settings: "sink.directory = {dir}/store\nsink.batchSize = 7\nsink.rollInterval = 0",
        stored: |dir, _| {
            let file = fs::read_dir(dir.join("store"))
                .unwrap()
                .next()
                .unwrap()
                .unwrap();
            Some(
                fs::read_to_string(file.path())
                    .unwrap()
                    .lines()
                    .map(str::to_owned)
                    .collect(),
            )
        },
        can_fail: true,
    },
    Case {
        kind: "logger",
        settings: "type = logger",
        stored: |_, _| None,
        can_fail: false,
    },
    Case {
        kind: "null",
        settings: "batchSize = 7",
        stored: |_, _| None,
        can_fail: false,
    },
];

/// An avro source and its channel.
struct Receiver {
    channel: ArcChannel,
    stop: Stop,
    port: u16,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Receiver {
    fn start(port: u16) -> Self {
        let settings = "capacity = 10000\ntransactionCapacity = 10000";
        let channel = (memory::KIND.build)(&Context::from_example("c2", settings)).unwrap();
        let out = ChannelProcessor::replicating("r1", vec![Arc::clone(&channel)]);
        let settings = format!("bind = 127.0.0.1\nport = {port}");
        let mut source: BoxSource =
            (source::avro::KIND.build)(&Context::from_example("r1", &settings)).unwrap();
        source.open().unwrap();
        let port = source.local_address().unwrap().port();
        let stop = Stop::new();
        let token = stop.clone();
        let thread = std::thread::spawn(move || source.run(&out, &token).unwrap());
        Self {
            channel,
            stop,
            port,
            thread: Some(thread),
        }
    }

    fn bodies(&self) -> Vec<String> {
        let take = self
            .channel
            .take(10_000, std::time::Duration::ZERO)
            .unwrap();
        let text = |body: &[u8]| String::from_utf8_lossy(body).into_owned();
        take.slices()
            .iter()
            .flatten()
            .map(|event| text(event.body()))
            .collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop.set();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn build(case: &Case, dir: &Path, port: u16) -> BoxSink {
    let dir = dir.to_str().unwrap();
    let settings = case
        .settings
        .replace("{dir}", dir)
        .replace("{port}", &port.to_string());
    let kind = named(KINDS, case.kind).unwrap();
    let mut sink = (kind.build)(&Context::from_example("k1", &settings)).unwrap();
    sink.open().unwrap();
    sink
}

#[test]
fn every_kind_has_a_case_or_a_suite() {
    for kind in KINDS {
        let covered = CASES.iter().any(|case| case.kind == kind.name);
        assert!(
            covered || ELSEWHERE.contains(&kind.name),
            "{} has neither",
            kind.name
        );
    }
}

#[test]
fn everything_is_stored_in_order_and_counted() {
    for case in CASES {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("store")).unwrap();
        let receiver = Receiver::start(0);
        let bench = Bench::new();
        let mut sink = build(case, dir.path(), receiver.port);
        // An empty channel is no error.
        assert_eq!(
            bench.process(&mut sink).unwrap(),
            Status::Backoff,
            "{}",
            case.kind
        );
        let bodies: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        bench.put(&bodies);
        bench.drain(&mut sink);
        sink.close().unwrap();
        let counters = &bench.counters;
        assert_eq!(
            counters.event_drain_attempt.load(Relaxed),
            100,
            "{}",
            case.kind
        );
        assert_eq!(
            counters.event_drain_success.load(Relaxed),
            100,
            "{}",
            case.kind
        );
        assert!(counters.batch_empty.load(Relaxed) >= 1, "{}", case.kind);
        if let Some(stored) = (case.stored)(dir.path(), &receiver) {
            assert_eq!(stored, bodies, "{}", case.kind);
        }
    }
}

#[test]
fn what_the_store_did_not_take_stays_in_the_channel() {
    for case in CASES.iter().filter(|case| case.can_fail) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("store")).unwrap();
        let port = Receiver::start(0).port;
        let bench = Bench::new();
        let mut sink = build(case, dir.path(), port);
        fs::remove_dir(dir.path().join("store")).unwrap();
        bench.put(["a", "b"]);
        let _ = bench.process(&mut sink);
        assert_eq!(bench.channel.fill().events, 2, "{}", case.kind);
        assert_eq!(
            bench.counters.event_write_fail.load(Relaxed),
            1,
            "{}",
            case.kind
        );
        // The store comes back.
        fs::create_dir(dir.path().join("store")).unwrap();
        let receiver = Receiver::start(port);
        bench.drain(&mut sink);
        assert_eq!(
            (case.stored)(dir.path(), &receiver).unwrap(),
            ["a", "b"],
            "{}",
            case.kind
        );
    }
}

#[test]
fn a_call_ends_though_the_stop_is_set_and_the_store_away() {
    for case in CASES {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("store")).unwrap();
        let port = Receiver::start(0).port;
        let bench = Bench::new();
        let mut sink = build(case, dir.path(), port);
        fs::remove_dir(dir.path().join("store")).unwrap();
        bench.put(["a"]);
        bench.stop.set();
        let _ = bench.process(&mut sink);
        sink.close().unwrap();
    }
}
