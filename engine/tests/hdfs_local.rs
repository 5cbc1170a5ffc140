//! The HDFS client and the HDFS sink on a real HDFS 3.3.6, started by the test.
//!
//! Needs Java and Hadoop's jars (`ci/setup hdfs`). Without them the test says so and passes, except
//! in CI, where it fails.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "it is a test, and says what it measured"
)]

#[path = "hdfs/cluster.rs"]
mod cluster;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cluster::{Cluster, wait_for};
use flume_bench_engine::channel::{ArcChannel, memory};
use flume_bench_engine::context::Context;
use flume_bench_engine::event::BatchBuilder;
use flume_bench_engine::hdfs::conf::Conf;
use flume_bench_engine::hdfs::{Deadline, Hdfs, connect};
use flume_bench_engine::metrics::SinkCounters;
use flume_bench_engine::sink::{BoxSink, Feed, hdfs};
use flume_bench_engine::stop::Stop;
use nix::sys::signal::Signal;

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(30))
}

fn client(cluster: &Cluster) -> Arc<dyn Hdfs> {
    let address = format!("127.0.0.1:{}", cluster.namenode_port);
    connect(&Conf::default(), Some(&address)).unwrap()
}

#[test]
fn on_a_real_cluster() {
    let Some(jars) = cluster::jars() else {
        assert!(
            std::env::var_os("CI").is_none(),
            "Hadoop's jars are missing: run ci/setup hdfs"
        );
        eprintln!("SKIPPED: Hadoop's jars are missing; `ci/setup hdfs` brings them");
        return;
    };
    let mut cluster = Cluster::start(jars, 2);
    flushed_bytes_are_seen_before_close(&cluster);
    blocks_and_chunks_of_all_lengths(&cluster);
    many_small_files(&cluster);
    namenode_stopped(&cluster);
    datanode_killed(&mut cluster);
    sink_of_many_small_files(&mut cluster);
    sink_of_gzip(&mut cluster);
    sink_under_faults(&mut cluster);
    sink_after_a_crash(&cluster);
}

fn flushed_bytes_are_seen_before_close(cluster: &Cluster) {
    let hdfs = client(cluster);
    let mut file = hdfs.create("/flush/a.tmp", soon()).unwrap();
    let mut expected = Vec::new();
    for length in [1, 511, 1, 700, 512, 3000, 5] {
        let part = vec![b'a' + (length % 26) as u8; length];
        file.write(&part, soon()).unwrap();
        expected.extend_from_slice(&part);
        file.hflush(soon()).unwrap();
        assert_eq!(
            cluster.read("/flush/a.tmp").as_ref(),
            Some(&expected),
            "after {length}"
        );
    }
    file.close(soon()).unwrap();
    hdfs.rename("/flush/a.tmp", "/flush/a", soon()).unwrap();
    assert_eq!(cluster.read("/flush/a"), Some(expected.clone()));
    let listed = hdfs.list("/flush", soon()).unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (listed[0].path.as_str(), listed[0].length),
        ("/flush/a", expected.len() as u64)
    );
    assert!(hdfs.create("/flush/a", soon()).unwrap_err().is_taken());
    assert!(
        hdfs.rename("/flush/no", "/flush/b", soon())
            .unwrap_err()
            .is_not_found()
    );
    assert!(hdfs.delete("/flush/a", soon()).unwrap());
    assert!(!hdfs.delete("/flush/a", soon()).unwrap());
    assert_eq!(hdfs.status("/flush/a", soon()).unwrap(), None);
    assert!(
        hdfs.recover_lease("/flush/a", soon())
            .unwrap_err()
            .is_not_found()
    );
}

fn blocks_and_chunks_of_all_lengths(cluster: &Cluster) {
    let hdfs = client(cluster);
    for (n, (length, step)) in [
        (0, 1),
        (1 << 20, 100_000),
        (3_500_000, 65_537),
        ((2 << 20) + 1, 512),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/blocks/{n}");
        let data: Vec<u8> = (0..length)
            .map(|i: usize| (i * 31 + i / 1000) as u8)
            .collect();
        let mut file = hdfs.create(&path, soon()).unwrap();
        for (i, part) in data.chunks(step).enumerate() {
            file.write(part, soon()).unwrap();
            if i % 3 == 0 {
                file.hflush(soon()).unwrap();
            }
        }
        file.close(soon()).unwrap();
        assert!(
            cluster.read(&path) == Some(data),
            "{path} reads differently"
        );
    }
}

fn many_small_files(cluster: &Cluster) {
    let hdfs = client(cluster);
    let mut took = Vec::new();
    let data = vec![b'x'; 5000];
    for n in 0..200 {
        let started = Instant::now();
        let mut file = hdfs.create(&format!("/small/{n}.tmp"), soon()).unwrap();
        file.write(&data, soon()).unwrap();
        file.hflush(soon()).unwrap();
        file.close(soon()).unwrap();
        hdfs.rename(&format!("/small/{n}.tmp"), &format!("/small/{n}"), soon())
            .unwrap();
        took.push(started.elapsed());
    }
    took.sort();
    eprintln!(
        "create + 5 kB + hflush + close + rename: p50 {:?}, p90 {:?}",
        took[100], took[180]
    );
    let listed = hdfs.list("/small", soon()).unwrap();
    assert_eq!(listed.len(), 200);
    assert!(listed.iter().all(|file| file.length == 5000));
}

/// Flushes go on while the NameNode stands still; calls to it wait, and are carried out once.
fn namenode_stopped(cluster: &Cluster) {
    let hdfs = client(cluster);
    let mut file = hdfs.create("/stopped/a.tmp", soon()).unwrap();
    file.write(b"one ", soon()).unwrap();
    file.hflush(soon()).unwrap();
    cluster.signal_namenode(Signal::SIGSTOP);
    for _ in 0..10 {
        file.write(b"more ", soon()).unwrap();
        file.hflush(soon()).unwrap();
    }
    let failed = hdfs.create("/stopped/b", Deadline::after(Duration::from_millis(300)));
    assert!(failed.is_err());
    let waiting = std::thread::spawn({
        let hdfs = Arc::clone(&hdfs);
        move || hdfs.create("/stopped/c", soon()).map(drop)
    });
    // Longer than a call waits before it is sent again.
    std::thread::sleep(Duration::from_secs(3));
    cluster.signal_namenode(Signal::SIGCONT);
    waiting.join().unwrap().unwrap();
    file.close(soon()).unwrap();
    assert_eq!(cluster.read("/stopped/a.tmp").unwrap().len(), 4 + 50);
}

/// A killed DataNode fails the file at once; what was flushed is there after lease recovery.
fn datanode_killed(cluster: &mut Cluster) {
    let hdfs = client(cluster);
    let mut file = hdfs.create("/killed/a.tmp", soon()).unwrap();
    file.write(b"flushed", soon()).unwrap();
    file.hflush(soon()).unwrap();
    for n in 0..2 {
        cluster.kill_datanode(n);
    }
    let started = Instant::now();
    file.write(b" lost", soon()).unwrap();
    assert!(file.hflush(soon()).is_err());
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    assert!(file.write(b"x", soon()).is_err());
    drop(file);
    // A file that is begun while no DataNode is there waits for one.
    let waiting = std::thread::spawn({
        let hdfs = Arc::clone(&hdfs);
        move || {
            let mut file = hdfs.create("/killed/b", soon())?;
            file.write(b"patience", soon())?;
            file.hflush(soon())?;
            file.close(soon())
        }
    });
    for n in 0..2 {
        cluster.start_datanode(n);
    }
    wait_for("the lease to be recovered", Duration::from_secs(60), || {
        hdfs.recover_lease("/killed/a.tmp", soon()).unwrap()
    });
    let read = cluster.read("/killed/a.tmp").unwrap();
    assert!(read.starts_with(b"flushed"), "{read:?}");
    waiting.join().unwrap().unwrap();
    assert_eq!(cluster.read("/killed/b").unwrap(), b"patience");
}

fn sink(cluster: &Cluster, state: &Path, dir: &str, lines: &str) -> BoxSink {
    let lines = format!(
        "hdfs.path = hdfs://127.0.0.1:{}{dir}\nhdfs.fileType = DataStream\n\
         hdfs.inUseJournal = {}\n{lines}",
        cluster.namenode_port,
        state.join("journal").display()
    );
    let mut sink = (hdfs::KIND.build)(&Context::from_example("k1", &lines)).unwrap();
    wait_for("the journal", Duration::from_secs(10), || {
        sink.open().is_ok()
    });
    sink
}

fn channel() -> ArcChannel {
    let lines = "capacity = 100000\ntransactionCapacity = 1000";
    let channel = (memory::KIND.build)(&Context::from_example("c1", lines)).unwrap();
    channel.open().unwrap();
    channel
}

fn put(channel: &ArcChannel, events: std::ops::Range<usize>) {
    let mut builder = BatchBuilder::new();
    for n in events {
        builder
            .push(
                [("h", "v")],
                format!("event {n} {}", "x".repeat(100)).as_bytes(),
            )
            .unwrap();
    }
    let mut put = channel.put().unwrap();
    put.add(builder.finish().all()).unwrap();
    put.commit().unwrap();
}

/// Puts events at a rate while the sink takes them; meanwhile, half-way, something is done to the
/// cluster.
/// Returns how long it took, and the sink.
fn run_sink(
    cluster: &mut Cluster,
    mut sink: BoxSink,
    events: usize,
    per_second: usize,
    disturb: impl FnOnce(&mut Cluster),
) -> (Duration, BoxSink) {
    let channel = channel();
    let all_put = Arc::new(AtomicBool::new(false));
    let started = Instant::now();
    let taker = std::thread::spawn({
        let (channel, all_put) = (Arc::clone(&channel), Arc::clone(&all_put));
        move || {
            let (counters, stop) = (SinkCounters::default(), Stop::new());
            let feed = Feed {
                channel: channel.as_ref(),
                counters: &counters,
                stop: &stop,
            };
            while !all_put.load(Ordering::Acquire) || channel.fill().events > 0 {
                assert!(
                    started.elapsed() < Duration::from_secs(120),
                    "{:?}",
                    channel.fill()
                );
                sink.process(&feed).unwrap();
            }
            (started.elapsed(), sink)
        }
    });
    let putter = std::thread::spawn(move || {
        for first in (0..events).step_by(100) {
            let due = Duration::from_secs_f64(first as f64 / per_second as f64);
            std::thread::sleep(due.saturating_sub(started.elapsed()));
            put(&channel, first..events.min(first + 100));
        }
        all_put.store(true, Ordering::Release);
    });
    let half = Duration::from_secs_f64(events as f64 / per_second as f64 / 2.0);
    std::thread::sleep(half.saturating_sub(started.elapsed()));
    disturb(cluster);
    putter.join().unwrap();
    taker.join().unwrap()
}

/// All files below a directory are closed under their final names and hold exactly these events;
/// answers how many files there are, and how many events are there twice.
fn check_published(cluster: &Cluster, dir: &str, events: usize) -> (usize, usize) {
    let hdfs = client(cluster);
    let files = hdfs.list(dir, soon()).unwrap();
    let mut seen = BTreeSet::new();
    let mut lines = 0;
    for file in &files {
        assert!(!file.path.ends_with(".tmp"), "{} is in use", file.path);
        // Of an open file this would begin a recovery, and answer false.
        assert!(
            hdfs.recover_lease(&file.path, soon()).unwrap(),
            "{} is open",
            file.path
        );
        // A DataNode that was killed serves its blocks again only once it has reported them.
        let mut read = None;
        wait_for("the file to be readable", Duration::from_secs(60), || {
            read = cluster.read(&file.path);
            read.is_some()
        });
        let text = String::from_utf8(read.unwrap()).unwrap();
        assert_eq!(text.len() as u64, file.length, "{}", file.path);
        for line in text.lines() {
            seen.insert(line.split(' ').nth(1).unwrap().parse::<usize>().unwrap());
            lines += 1;
        }
    }
    assert_eq!(seen, (0..events).collect(), "{dir}");
    (files.len(), lines - events)
}

fn sink_of_many_small_files(cluster: &mut Cluster) {
    let state = tempfile::tempdir().unwrap();
    let lines = "hdfs.rollCount = 10\nhdfs.rollSize = 10485760\nhdfs.fileSuffix = .log";
    let sink = sink(cluster, state.path(), "/sink-small", lines);
    let (took, mut sink) = run_sink(cluster, sink, 3000, 1_000_000, |_| {});
    sink.close().unwrap();
    assert_eq!(check_published(cluster, "/sink-small", 3000), (300, 0));
    eprintln!(
        "a file for every ten events: {:.0} events/s",
        3000.0 / took.as_secs_f64()
    );
}

fn sink_of_gzip(cluster: &mut Cluster) {
    let state = tempfile::tempdir().unwrap();
    let lines = "hdfs.fileType = CompressedStream\nhdfs.codeC = gzip\nhdfs.rollCount = 0\n\
                 hdfs.rollSize = 0";
    let sink = sink(cluster, state.path(), "/sink-gzip", lines);
    let (_, mut sink) = run_sink(cluster, sink, 1000, 1_000_000, |_| {});
    sink.close().unwrap();
    let files = client(cluster).list("/sink-gzip", soon()).unwrap();
    assert_eq!(files.len(), 1);
    assert!(files[0].path.ends_with(".gz"));
    let text = String::from_utf8(cluster.text(&files[0].path)).unwrap();
    let events = text
        .lines()
        .filter(|line| line.starts_with("event "))
        .count();
    assert_eq!(events, 1000);
}

/// Nothing is lost, and nothing stays in use, whatever happens to the cluster.
fn sink_under_faults(cluster: &mut Cluster) {
    type Fault = fn(&mut Cluster);
    let faults: [(&str, Fault); 5] = [
        ("namenode-stopped", |cluster| {
            cluster.signal_namenode(Signal::SIGSTOP);
            std::thread::sleep(Duration::from_secs(10));
            cluster.signal_namenode(Signal::SIGCONT);
        }),
        ("namenode-killed", |cluster| {
            cluster.kill_namenode();
            std::thread::sleep(Duration::from_secs(1));
            cluster.start_namenode();
        }),
        ("datanodes-stopped", |cluster| {
            (0..2).for_each(|n| cluster.signal_datanode(n, Signal::SIGSTOP));
            std::thread::sleep(Duration::from_secs(3));
            (0..2).for_each(|n| cluster.signal_datanode(n, Signal::SIGCONT));
        }),
        ("datanode-killed", |cluster| {
            cluster.kill_datanode(0);
            std::thread::sleep(Duration::from_secs(2));
            cluster.start_datanode(0);
        }),
        ("datanodes-killed", |cluster| {
            (0..2).for_each(|n| cluster.kill_datanode(n));
            std::thread::sleep(Duration::from_secs(2));
            (0..2).for_each(|n| cluster.start_datanode(n));
        }),
    ];
    for (name, fault) in faults {
        cluster.wait_ready(2);
        let state = tempfile::tempdir().unwrap();
        let dir = format!("/sink-{name}");
        let lines = "hdfs.rollCount = 300\nhdfs.rollSize = 0\nhdfs.callTimeout = 10000";
        let sink = sink(cluster, state.path(), &dir, lines);
        let (took, mut sink) = run_sink(cluster, sink, 4000, 2000, fault);
        // What recovery has not finished when the sink ends, the next one finishes.
        sink.close().unwrap();
        drop(sink);
        let mut next = self::sink(cluster, state.path(), &dir, "");
        let journal = state.path().join("journal");
        wait_for("recovery", Duration::from_secs(60), || {
            journal_is_empty(&journal)
        });
        next.close().unwrap();
        let (files, twice) = check_published(cluster, &dir, 4000);
        eprintln!("{name}: 4000 events in {took:?}, {files} files, {twice} events twice");
    }
}

/// Whether each entry of a journal is crossed out.
fn journal_is_empty(journal: &Path) -> bool {
    let text = std::fs::read_to_string(journal).unwrap();
    text.matches("[\"+\"").count() == text.matches("[\"-\"").count()
}

/// What a dead agent left is published by the next one; what somebody else writes is left alone.
fn sink_after_a_crash(cluster: &Cluster) {
    let state = tempfile::tempdir().unwrap();
    let lines = "hdfs.rollCount = 0\nhdfs.rollSize = 0";
    let mut dead = sink(cluster, state.path(), "/sink-crash", lines);
    let channel = channel();
    put(&channel, 0..100);
    let (counters, stop) = (SinkCounters::default(), Stop::new());
    let feed = Feed {
        channel: channel.as_ref(),
        counters: &counters,
        stop: &stop,
    };
    dead.process(&feed).unwrap();
    assert_eq!(channel.fill().events, 0);
    drop(dead);
    let hdfs = client(cluster);
    let mut stranger = hdfs.create("/sink-crash/FlumeData.1.tmp", soon()).unwrap();
    stranger.write(b"still at it", soon()).unwrap();
    stranger.hflush(soon()).unwrap();

    let mut next = sink(cluster, state.path(), "/sink-crash", lines);
    let journal = state.path().join("journal");
    wait_for("recovery", Duration::from_secs(60), || {
        journal_is_empty(&journal)
    });
    next.close().unwrap();
    stranger.write(b" and done", soon()).unwrap();
    stranger.close(soon()).unwrap();
    let read = cluster.read("/sink-crash/FlumeData.1.tmp").unwrap();
    assert_eq!(read, b"still at it and done");
    hdfs.delete("/sink-crash/FlumeData.1.tmp", soon()).unwrap();
    assert_eq!(check_published(cluster, "/sink-crash", 100), (1, 0));
}
