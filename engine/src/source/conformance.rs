//! What every kind of source has to do, whatever it reads: nothing is lost or repeated because a
//! channel is full, and a stop ends the source soon, busy, waiting or idle.
//!
//! A new kind needs a [`Case`]; a test fails while it has none.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use super::testing::{Bench, DEADLINE, Running, bodies, wait_for};
use super::{BoxSource, KINDS};
use crate::context::Context;
use crate::kind::{Kind, named};
use crate::wire::avro_rpc::Status;
use crate::wire::avro_rpc::client::{Client, ClientOptions};
use crate::wire::avro_rpc::datum::put_event;

/// How one kind is set up and given the events 0 to [`EVENTS`].
struct Case {
    kind: &'static str,
    /// Settings; `{dir}` stands for a directory of the test.
    settings: &'static str,
    /// Called once the source is open; returns when all is said or the source is gone.
    feed: fn(&Path, &Running),
}

/// Events a case feeds; their bodies are their numbers.
const EVENTS: usize = 300;

const CASES: &[Case] = &[
    Case {
        kind: "avro",
        settings: "bind = 127.0.0.1\nport = 0",
        feed: feed_avro,
    },
    Case {
        kind: "exec",
        settings: "command = seq 0 299\nbatchSize = 3",
        feed: |_, _| {},
    },
    Case {
        kind: "file",
        settings: "filepath = {dir}/x\nbatchSize = 3",
        feed: feed_file,
    },
    Case {
        kind: "netcat",
        settings: "bind = 127.0.0.1\nport = 0",
        feed: feed_netcat,
    },
    Case {
        kind: "seq",
        settings: "totalEvents = 300\nbatchSize = 3",
        feed: |_, _| {},
    },
    Case {
        kind: "TAILDIR",
        settings: "filegroups = g\nfilegroups.g = {dir}/x\npositionFile = {dir}/p\nbatchSize = 3",
        feed: feed_file,
    },
];

fn kind(case: &Case) -> &'static Kind<BoxSource> {
    named(KINDS, case.kind).unwrap()
}

fn build(case: &Case, dir: &Path) -> BoxSource {
    let settings = case.settings.replace("{dir}", dir.to_str().unwrap());
    (kind(case).build)(&Context::from_example("r1", &settings)).unwrap()
}

fn feed_file(dir: &Path, _: &Running) {
    let lines: String = (0..EVENTS).map(|number| format!("{number}\n")).collect();
    fs::write(dir.join("x"), lines).unwrap();
}

/// Sends each event until it is answered OK.
fn feed_netcat(_: &Path, running: &Running) {
    let stream = running.connect();
    let mut answers = BufReader::new(stream.try_clone().unwrap()).lines();
    for number in 0..EVENTS {
        loop {
            if writeln!(&stream, "{number}").is_err() {
                return;
            }
            match answers.next() {
                Some(Ok(answer)) if answer == "OK" => break,
                Some(Ok(_)) => {}
                _ => return,
            }
        }
    }
}

fn feed_avro(_: &Path, running: &Running) {
    let options = ClientOptions {
        host: "127.0.0.1".to_owned(),
        port: running.port(),
        connect_timeout: DEADLINE,
        request_timeout: DEADLINE,
        compression_level: None,
    };
    let mut client = Client::connect(options, &|| false).unwrap();
    for first in (0..EVENTS).step_by(3) {
        let encode = |out: &mut Vec<u8>| {
            for number in first..first + 3 {
                put_event(out, std::iter::empty, number.to_string().as_bytes());
            }
        };
        loop {
            match client.append_batch(3, encode, &|| false) {
                Ok(Status::Ok) => break,
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[test]
fn every_kind_has_a_case() {
    for kind in KINDS {
        assert!(
            CASES.iter().any(|case| case.kind == kind.name),
            "{} has no case",
            kind.name
        );
    }
}

#[test]
fn a_channel_that_is_often_full_loses_and_repeats_nothing() {
    for case in CASES {
        let dir = tempfile::tempdir().unwrap();
        let bench = Bench::with_capacity(30);
        let running = bench.run(build(case, dir.path()));
        std::thread::scope(|scope| {
            scope.spawn(|| (case.feed)(dir.path(), &running));
            wait_for(case.kind, || bench.channel.fill().events >= 28);
            assert_eq!(
                bodies(&bench.take(EVENTS)),
                numbers(0..EVENTS),
                "{}",
                case.kind
            );
        });
        running.stop().unwrap();
        bench.assert_empty();
    }
}

#[test]
fn a_stop_ends_a_source_that_waits_for_room() {
    for case in CASES {
        let dir = tempfile::tempdir().unwrap();
        let bench = Bench::with_capacity(3);
        let running = bench.run(build(case, dir.path()));
        std::thread::scope(|scope| {
            let feeder = scope.spawn(|| (case.feed)(dir.path(), &running));
            wait_for(case.kind, || {
                use std::sync::atomic::Ordering::Relaxed;
                bench.out.counters().channel_write_fail.load(Relaxed) > 0
            });
            bench.stop.set();
            feeder.join().unwrap();
        });
        running.stop().unwrap();
        assert_eq!(bodies(&bench.take(3)), numbers(0..3), "{}", case.kind);
        bench.assert_empty();
    }
}

#[test]
fn a_stop_ends_an_idle_source() {
    for case in CASES {
        let dir = tempfile::tempdir().unwrap();
        let bench = Bench::new();
        let running = bench.run(build(case, dir.path()));
        running.stop().unwrap();
    }
}
