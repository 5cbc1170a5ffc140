//! The sink's rules, on an HDFS in memory.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::*;
use crate::channel::ArcChannel;
use crate::clock::FixedClock;
use crate::event::BatchBuilder;
use crate::hdfs::fake::{FakeHdfs, How, Op};
use crate::sink::testing::{Bench, DEADLINE};

const NOW: i64 = 1_700_000_000_000;

/// A sink on a fake file system, with a channel in front.
struct Rig {
    hdfs: FakeHdfs,
    bench: Bench,
    sink: BoxSink,
    dir: Arc<tempfile::TempDir>,
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn journal_of(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("journal")
}

fn sink(hdfs: &FakeHdfs, dir: &tempfile::TempDir, lines: &str) -> BoxSink {
    sink_with(hdfs, dir, lines, |_| {})
}

fn sink_with(
    hdfs: &FakeHdfs,
    dir: &tempfile::TempDir,
    lines: &str,
    change: impl FnOnce(&mut All),
) -> BoxSink {
    let lines = format!(
        "hdfs.path = hdfs://nn:9000/d\nhdfs.fileType = DataStream\nhdfs.timeZone = UTC\n\
         hdfs.rollInterval = 0\nhdfs.rollSize = 0\nhdfs.rollCount = 0\n\
         hdfs.inUseJournal = {}\n{lines}",
        journal_of(dir).display()
    );
    let mut all = All::parse(&Context::from_example("k1", &lines)).unwrap();
    all.settings.first_pause = Duration::from_millis(1);
    change(&mut all);
    let clock = Arc::new(FixedClock::at(NOW));
    Box::new(HdfsSink::new("k1", all, Arc::new(hdfs.clone()), clock))
}

impl Rig {
    fn new(lines: &str) -> Self {
        Self::on(FakeHdfs::default(), lines)
    }

    fn on(hdfs: FakeHdfs, lines: &str) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let mut sink = sink(&hdfs, &dir, lines);
        sink.open().unwrap();
        Self {
            hdfs,
            bench: Bench::new(),
            sink,
            dir,
        }
    }

    fn run(&mut self, bodies: impl IntoIterator<Item = String>) {
        self.bench.put(bodies);
        self.bench.drain(&mut self.sink);
    }

    /// Closes the sink and checks what must hold at the end of every test: nothing in use, nothing
    /// renamed while open, nothing left in the journal.
    fn finish(mut self) -> FakeHdfs {
        self.sink.close().unwrap();
        assert_eq!(self.hdfs.violations(), Vec::<String>::new());
        for path in self.hdfs.paths() {
            assert!(
                !path.ends_with(".tmp") && !self.hdfs.is_open(&path),
                "{path} is in use"
            );
        }
        assert_eq!(Journal::open(&journal_of(&self.dir)).unwrap().entries(), []);
        self.hdfs
    }
}

fn bodies(range: std::ops::Range<usize>) -> impl Iterator<Item = String> {
    range.map(|n| format!("e{n}"))
}

/// The lines of each file.
fn lines(hdfs: &FakeHdfs) -> Vec<Vec<String>> {
    let lines = |bytes: Vec<u8>| {
        String::from_utf8(bytes)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    };
    hdfs.contents().into_iter().map(lines).collect()
}

fn all_lines(hdfs: &FakeHdfs) -> BTreeSet<String> {
    lines(hdfs).into_iter().flatten().collect()
}

fn put(channel: &ArcChannel, headers: &[(&str, &str)], body: &str) {
    let mut builder = BatchBuilder::new();
    builder
        .push(headers.iter().copied(), body.as_bytes())
        .unwrap();
    let mut put = channel.put().unwrap();
    put.add(builder.finish().all()).unwrap();
    put.commit().unwrap();
}

#[test]
fn the_example_builds() {
    let sink = (KIND.build)(&Context::from_example("k1", KIND.example)).unwrap();
    assert!(format!("{sink:?}").contains("127.0.0.1"));
}

#[test]
fn a_file_for_every_ten_events() {
    let mut rig = Rig::new("hdfs.rollCount = 10\nhdfs.fileSuffix = .log");
    rig.run(bodies(0..1000));
    let bench = rig.bench.counters.entries();
    let hdfs = rig.finish();
    let files = lines(&hdfs);
    assert_eq!(files.len(), 100);
    assert!(files.iter().all(|lines| lines.len() == 10));
    assert_eq!(all_lines(&hdfs), bodies(0..1000).collect());
    for path in hdfs.paths() {
        assert!(
            path.starts_with("/d/FlumeData.17000000") && path.ends_with(".log"),
            "{path}"
        );
    }
    assert!(
        bench.contains(&("EventDrainSuccessCount", 1000)),
        "{bench:?}"
    );
}

#[test]
fn files_roll_by_the_size_of_the_bodies() {
    let mut rig = Rig::new("hdfs.rollSize = 300");
    rig.run((0..1000).map(|n| format!("{n:03}")));
    let files = lines(&rig.finish());
    assert_eq!(files.iter().map(Vec::len).collect::<Vec<_>>(), [100; 10]);
}

#[test]
fn a_committed_event_is_seen_before_its_file_is_closed() {
    let mut rig = Rig::new("");
    rig.run(bodies(0..3));
    let paths = rig.hdfs.paths();
    assert_eq!(paths, [format!("/d/FlumeData.{NOW}.tmp")]);
    assert_eq!(rig.hdfs.bytes(&paths[0]).unwrap(), b"e0\ne1\ne2\n");
    assert!(rig.hdfs.is_open(&paths[0]));
    rig.run(bodies(3..4));
    assert_eq!(rig.hdfs.paths(), paths);
    assert_eq!(rig.finish().paths(), [format!("/d/FlumeData.{NOW}")]);
}

#[test]
fn timers_close_files() {
    type Change = fn(&mut All);
    let interval: Change = |all| all.settings.roll_interval = Some(Duration::from_millis(50));
    let idle: Change = |all| all.settings.idle_timeout = Some(Duration::from_millis(50));
    for change in [interval, idle] {
        let hdfs = FakeHdfs::default();
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let mut sink = sink_with(&hdfs, &dir, "", change);
        sink.open().unwrap();
        let mut rig = Rig {
            hdfs,
            bench: Bench::new(),
            sink,
            dir,
        };
        rig.run(bodies(0..3));
        let hdfs = rig.hdfs.clone();
        wait_for("the timer", || {
            hdfs.paths() == [format!("/d/FlumeData.{NOW}")]
        });
        // The next event gets a new file.
        rig.run(bodies(3..4));
        assert_eq!(lines(&rig.finish()), [vec!["e0", "e1", "e2"], vec!["e3"]]);
    }
}

/// A bucket that gets no more events, like an hour that has passed, keeps nothing in HDFS.
#[test]
fn what_was_opened_ahead_does_not_outlive_its_bucket() {
    let hdfs = FakeHdfs::default();
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let settings = "hdfs.path = /d/%{host}\nhdfs.rollCount = 10";
    let mut sink = sink_with(&hdfs, &dir, settings, |all| {
        all.settings.ahead_limit = Duration::from_millis(50);
    });
    sink.open().unwrap();
    let bench = Bench::new();
    let mut rig = Rig {
        hdfs,
        bench,
        sink,
        dir,
    };
    // The eighth of ten events has the next file opened.
    for (host, events) in [("a", 10), ("b", 10), ("c", 8)] {
        for _ in 0..events {
            put(&rig.bench.channel, &[("host", host)], "x");
        }
        rig.bench.drain(&mut rig.sink);
    }
    let journal = journal_of(&rig.dir);
    wait_for("three files removed and two published", || {
        let text = std::fs::read_to_string(&journal).unwrap();
        text.matches("[\"+\"").count() == 6 && text.matches("[\"-\"").count() == 5
    });
    let in_use: Vec<_> = rig
        .hdfs
        .paths()
        .into_iter()
        .filter(|path| path.ends_with(".tmp"))
        .collect();
    assert!(
        matches!(in_use.as_slice(), [path] if path.starts_with("/d/c/")),
        "{in_use:?}"
    );
    // Buckets that were forgotten, and one that lost its next file, go on.
    for host in ["a", "c", "c", "c"] {
        put(&rig.bench.channel, &[("host", host)], "x");
    }
    rig.bench.drain(&mut rig.sink);
    let mut sizes: Vec<_> = lines(&rig.finish()).iter().map(Vec::len).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 1, 10, 10, 10]);
}

/// Each call fails once, refused or unanswered, early or later: no committed event is lost, nothing
/// stays in use, nothing is renamed before it is closed.
#[test]
fn no_failure_of_a_call_loses_an_event() {
    let ops = [
        Op::Create,
        Op::Write,
        Op::Hflush,
        Op::Close,
        Op::Rename,
        Op::RecoverLease,
        Op::Delete,
        Op::Status,
    ];
    for op in ops {
        for how in [How::Refused, How::Unanswered, How::Denied] {
            for (skip, roll) in [
                (0, "hdfs.rollCount = 10"),
                (2, "hdfs.rollCount = 7\nhdfs.batchSize = 9"),
                (7, "hdfs.rollCount = 10\nhdfs.threadsPoolSize = 1"),
            ] {
                let hdfs = FakeHdfs::default();
                hdfs.fail(op, skip, 2, how);
                // Something for recovery to do, whatever `op` is.
                hdfs.fail(Op::Close, 4, 1, How::Refused);
                let mut rig = Rig::on(hdfs, roll);
                for part in 0..5 {
                    rig.run(bodies(part * 30..part * 30 + 30));
                    // What is committed is flushed or closed, not merely written.
                    assert_eq!(all_lines(&rig.hdfs), bodies(0..part * 30 + 30).collect());
                }
                assert_eq!(
                    all_lines(&rig.finish()),
                    bodies(0..150).collect(),
                    "{op:?} {how:?} {skip} {roll}"
                );
            }
        }
    }
}

/// A flush that fails for one file leaves none of the others without a flush the next time.
#[test]
fn every_file_of_a_transaction_is_flushed_before_its_commit() {
    for skip in 0..4 {
        let hdfs = FakeHdfs::default();
        hdfs.fail(Op::Hflush, skip, 1, How::Refused);
        let mut rig = Rig::on(hdfs, "hdfs.path = /d/%{host}");
        for round in 0..3 {
            let channel = Arc::clone(&rig.bench.channel);
            for host in ["a", "b", "c"] {
                put(&channel, &[("host", host)], &format!("{host}{round}"));
            }
            rig.bench.drain(&mut rig.sink);
            // Nothing is closed yet, so only what was flushed is there.
            assert_eq!(
                all_lines(&rig.hdfs).len(),
                3 * (round + 1),
                "{skip}, round {round}"
            );
        }
        assert_eq!(all_lines(&rig.finish()).len(), 9);
    }
}

/// The checks above catch a sink that renames first.
#[test]
fn a_rename_before_the_close_is_noticed() {
    let hdfs = FakeHdfs::default();
    hdfs.close_late();
    let mut rig = Rig::on(hdfs.clone(), "hdfs.rollCount = 10");
    rig.run(bodies(0..10));
    rig.sink.close().unwrap();
    assert_eq!(hdfs.violations().len(), 1, "{:?}", hdfs.violations());
}

/// A rolled-back transaction is delivered again, in order, into a new file.
#[test]
fn a_failed_flush_goes_on_in_a_new_file() {
    let hdfs = FakeHdfs::default();
    hdfs.fail(Op::Hflush, 1, 1, How::Refused);
    let mut rig = Rig::on(hdfs, "");
    rig.run(bodies(0..3));
    rig.run(bodies(3..6));
    assert!(
        rig.bench
            .counters
            .entries()
            .contains(&("EventWriteFail", 1))
    );
    assert_eq!(
        lines(&rig.finish()),
        [["e0", "e1", "e2"], ["e3", "e4", "e5"]]
    );
}

#[test]
fn what_a_dead_agent_left_is_recovered_and_nothing_else_is_touched() {
    let hdfs = FakeHdfs::default();
    let mut rig = Rig::on(hdfs.clone(), "hdfs.rollCount = 4");
    rig.run(bodies(0..7));
    let dir = Arc::clone(&rig.dir);
    // A crash: nothing is closed. Three of four events also had the next file opened, empty.
    drop(rig.sink);
    wait_for("the lock", || Journal::open(&journal_of(&dir)).is_ok());
    wait_for("the next file", || hdfs.paths().len() == 3);
    let stranger = "/d/FlumeData.1.tmp";
    hdfs.put(stranger, b"not ours", true);

    let mut next = sink(&hdfs, &dir, "");
    next.open().unwrap();
    let journal = journal_of(&dir);
    wait_for("recovery", || {
        let text = std::fs::read_to_string(&journal).unwrap();
        text.matches("[\"-\"").count() == 2
    });
    assert!(hdfs.is_open(stranger));
    hdfs.remove(stranger);
    let rig = Rig {
        hdfs,
        bench: Bench::new(),
        sink: next,
        dir,
    };
    assert_eq!(
        lines(&rig.finish()),
        [vec!["e0", "e1", "e2", "e3"], vec!["e4", "e5", "e6"]]
    );
}

#[test]
fn new_events_do_not_wait_for_recovery() {
    let hdfs = FakeHdfs::default();
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let mut journal = Journal::open(&journal_of(&dir)).unwrap();
    let left = journal::Entry {
        in_use: "/d/old.tmp".to_owned(),
        published: "/d/old".to_owned(),
    };
    journal.add(&left).unwrap();
    drop(journal);
    hdfs.put("/d/old.tmp", b"old\n", true);
    hdfs.fail(Op::RecoverLease, 0, usize::MAX, How::Refused);
    let mut sink = sink(&hdfs, &dir, "hdfs.rollCount = 1");
    sink.open().unwrap();
    let mut rig = Rig {
        hdfs,
        bench: Bench::new(),
        sink,
        dir,
    };
    rig.run(bodies(0..1));
    // The file after it may have been opened ahead by then, under its in-use name.
    wait_for("the new file", || {
        rig.hdfs.paths().contains(&format!("/d/FlumeData.{NOW}"))
    });
    assert!(rig.hdfs.is_open("/d/old.tmp"));
    assert!(rig.hdfs.bytes("/d/old").is_none());
}

#[test]
fn a_taken_name_is_left_alone() {
    let hdfs = FakeHdfs::default();
    let foreign = format!("/d/FlumeData.{NOW}.tmp");
    hdfs.put(&foreign, b"", true);
    hdfs.put(&format!("/d/FlumeData.{}", NOW + 1), b"older\n", false);
    let mut rig = Rig::on(hdfs.clone(), "");
    rig.run(bodies(0..1));
    rig.sink.close().unwrap();
    assert!(hdfs.is_open(&foreign));
    let next = format!("/d/FlumeData.{}", NOW + 1);
    assert_eq!(hdfs.bytes(&next).unwrap(), b"older\n");
    assert_eq!(hdfs.bytes(&format!("{next}.1")).unwrap(), b"e0\n");
    assert_eq!(Journal::open(&journal_of(&rig.dir)).unwrap().entries(), []);
}

#[test]
fn a_second_sink_on_the_journal_is_refused() {
    let rig = Rig::new("");
    let mut second = sink(&rig.hdfs, &rig.dir, "");
    let error = second.open().unwrap_err();
    assert!(error.to_string().contains("hdfs.inUseJournal"), "{error}");
    rig.finish();
    // Free again.
}

#[test]
fn paths_follow_headers_and_time() {
    let mut rig = Rig::new(
        "hdfs.path = hdfs://nn:9000/d//%{host}/%y-%m-%d/\nhdfs.filePrefix = p%H\n\
         hdfs.inUsePrefix = _\nhdfs.maxOpenFiles = 2",
    );
    let channel = Arc::clone(&rig.bench.channel);
    for host in ["a", "b", "c"] {
        put(
            &channel,
            &[("host", host), ("timestamp", "1109891107890")],
            host,
        );
    }
    put(&channel, &[("host", "d")], "local time");
    put(
        &channel,
        &[("host", "d"), ("timestamp", "nonsense")],
        "local time too",
    );
    rig.bench.drain(&mut rig.sink);
    let used = rig
        .hdfs
        .paths()
        .iter()
        .filter(|path| path.contains("/_"))
        .count();
    assert!(used <= 2, "{:?}", rig.hdfs.paths());
    let hdfs = rig.finish();
    let expected = [
        ("/d/a/05-03-03/p23.", "a\n"),
        ("/d/b/05-03-03/p23.", "b\n"),
        ("/d/c/05-03-03/p23.", "c\n"),
        ("/d/d/23-11-14/p22.", "local time\nlocal time too\n"),
    ];
    let paths = hdfs.paths();
    assert_eq!(paths.len(), expected.len());
    for (path, (start, text)) in paths.iter().zip(expected) {
        assert!(path.starts_with(start), "{path}");
        assert_eq!(hdfs.bytes(path).unwrap(), text.as_bytes());
    }
}

#[test]
fn the_local_time_may_be_demanded() {
    let mut rig = Rig::new("hdfs.path = /d/%Y\nhdfs.useLocalTimeStamp = true");
    put(&rig.bench.channel, &[("timestamp", "0")], "x");
    rig.bench.drain(&mut rig.sink);
    assert_eq!(rig.finish().paths(), [format!("/d/2023/FlumeData.{NOW}")]);
}

#[test]
fn gzip_is_named_and_flushed_by_members() {
    let mut rig = Rig::new("hdfs.fileType = CompressedStream\nhdfs.codeC = gzip");
    rig.run(bodies(0..2));
    rig.run(bodies(2..3));
    let flushed = rig
        .hdfs
        .bytes(&format!("/d/FlumeData.{NOW}.gz.tmp"))
        .unwrap();
    let hdfs = rig.finish();
    assert_eq!(hdfs.paths(), [format!("/d/FlumeData.{NOW}.gz")]);
    let mut text = String::new();
    let mut reader = flate2::read::MultiGzDecoder::new(flushed.as_slice());
    std::io::Read::read_to_string(&mut reader, &mut text).unwrap();
    assert_eq!(text, "e0\ne1\ne2\n");
}

#[test]
fn recovery_gives_up_after_close_tries_and_the_journal_remembers() {
    let hdfs = FakeHdfs::default();
    hdfs.fail(Op::Close, 0, 1, How::Refused);
    hdfs.fail(Op::RecoverLease, 0, usize::MAX, How::Refused);
    let mut rig = Rig::on(hdfs, "hdfs.closeTries = 2");
    rig.run(bodies(0..1));
    let started = Instant::now();
    rig.sink.close().unwrap();
    assert!(started.elapsed() < END_LIMIT);
    assert_eq!(
        Journal::open(&journal_of(&rig.dir))
            .unwrap()
            .entries()
            .len(),
        1
    );
}
