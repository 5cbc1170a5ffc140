//! Following files through renames, truncation, restarts and a full channel.

use std::fs::OpenOptions;
use std::io::Write;
use std::sync::atomic::Ordering::Relaxed;

use super::super::testing::{Bench, Got, Running, bodies, wait_for};
use super::super::{file, taildir};
use super::position::load;
use super::*;
use crate::context::Context;

struct Logs {
    dir: tempfile::TempDir,
}

impl Logs {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("logs")).unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("logs").join(name)
    }

    fn append(&self, name: &str, text: &str) {
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path(name))
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    fn positions(&self) -> PathBuf {
        self.dir.path().join("state/positions.json")
    }

    /// A source that follows the files whose name matches `pattern`.
    fn taildir(&self, bench: &Bench, pattern: &str, settings: &str) -> Running {
        let settings = format!(
            "filegroups = g\nfilegroups.g = {}\npositionFile = {}\nwritePosInterval = 10\n{settings}",
            self.path(pattern).display(),
            self.positions().display()
        );
        bench.run((taildir::KIND.build)(&Context::from_example("r1", &settings)).unwrap())
    }

    fn saved(&self, name: &str) -> Option<u64> {
        let path = self.path(name);
        load(&self.positions())
            .unwrap()
            .positions
            .into_iter()
            .find(|entry| entry.file == path)
            .map(|entry| entry.pos)
    }
}

fn numbers(range: std::ops::Range<usize>) -> (String, Vec<String>) {
    let lines: Vec<String> = range.map(|n| format!("line {n}")).collect();
    (lines.join("\n") + "\n", lines)
}

fn header<'a>(got: &'a Got, key: &str) -> Option<&'a str> {
    got.headers
        .iter()
        .find(|(name, _)| name == key)
        .map(|(_, value)| value.as_str())
}

#[test]
fn lines_become_events_with_headers_and_a_restart_goes_on_where_it_was() {
    let logs = Logs::new();
    logs.append("a.log", "one\r\n\nthree\nunfin");
    let settings = "headers.g.kind = x\nfileHeader = true\nfileHeaderKey = path\nbyteOffsetHeader = true\nbatchSize = 2";
    let bench = Bench::new();
    let running = logs.taildir(&bench, ".*\\.log", settings);
    let got = bench.take(3);
    assert_eq!(bodies(&got), ["one", "", "three"]);
    let offsets: Vec<_> = got
        .iter()
        .map(|event| header(event, "byteoffset").unwrap())
        .collect();
    assert_eq!(offsets, ["0", "5", "6"]);
    assert_eq!(header(&got[2], "kind"), Some("x"));
    assert_eq!(
        header(&got[2], "path"),
        Some(logs.path("a.log").to_str().unwrap())
    );
    running.stop().unwrap();
    assert_eq!(logs.saved("a.log"), Some(12));

    logs.append("a.log", "ished\nfive\n");
    let bench = Bench::new();
    let running = logs.taildir(&bench, ".*\\.log", settings);
    let got = bench.take(2);
    assert_eq!(bodies(&got), ["unfinished", "five"]);
    assert_eq!(header(&got[0], "byteoffset"), Some("12"));
    running.stop().unwrap();
    bench.assert_empty();
}

#[test]
fn rotation_within_the_pattern_loses_and_repeats_nothing() {
    let logs = Logs::new();
    let bench = Bench::new();
    let running = logs.taildir(&bench, "app.log.*", "");
    let mut all = Vec::new();
    for round in 0..20 {
        let (text, lines) = numbers(100 * round..100 * round + 60);
        logs.append("app.log", &text);
        all.extend(lines);
        // A writer that still holds the renamed file goes on writing to it.
        let mut writer = OpenOptions::new()
            .append(true)
            .open(logs.path("app.log"))
            .unwrap();
        logs.rename("app.log", &format!("app.log.{round}"));
        let (text, lines) = numbers(100 * round + 60..100 * round + 100);
        writer.write_all(text.as_bytes()).unwrap();
        all.extend(lines);
    }
    let mut got = bodies(&bench.take(all.len()));
    got.sort();
    all.sort();
    assert_eq!(got, all);
    running.stop().unwrap();
    bench.assert_empty();
}

#[test]
fn rotation_out_of_the_pattern_or_deletion_loses_nothing_of_a_file_that_was_seen() {
    let logs = Logs::new();
    let bench = Bench::new();
    let running = logs.taildir(&bench, "app.log", "");
    for delete in [false, true] {
        logs.append("app.log", "seen\n");
        assert_eq!(bodies(&bench.take(1)), ["seen"]);
        let (text, lines) = numbers(0..300);
        let mut writer = OpenOptions::new()
            .append(true)
            .open(logs.path("app.log"))
            .unwrap();
        if delete {
            fs::remove_file(logs.path("app.log")).unwrap();
        } else {
            logs.rename("app.log", "old");
        }
        writer.write_all(text.as_bytes()).unwrap();
        assert_eq!(bodies(&bench.take(300)), lines);
    }
    running.stop().unwrap();
    bench.assert_empty();
}

#[test]
fn files_that_come_and_go_while_the_channel_is_full_are_read() {
    let logs = Logs::new();
    let bench = Bench::with_capacity(2);
    logs.append("app.log", "a\nb\nc\nd\n");
    let running = logs.taildir(&bench, "app.log", "batchSize = 2");
    wait_for("a full channel", || {
        bench.out.counters().channel_write_fail.load(Relaxed) > 0
    });
    for round in 0..3 {
        logs.rename("app.log", &format!("old.{round}"));
        logs.append("app.log", &format!("e{round}\nf{round}\n"));
        wait_for("the file to be noticed", || is_open(&logs.path("app.log")));
    }
    logs.rename("app.log", "old.last");
    let mut got = bodies(&bench.take(10));
    got.sort();
    assert_eq!(
        got,
        ["a", "b", "c", "d", "e0", "e1", "e2", "f0", "f1", "f2"]
    );
    running.stop().unwrap();
    bench.assert_empty();
}

/// Waits until a delivery has been refused so often that it has surely waited for some time.
fn wait_for_refusals(bench: &Bench) {
    let refused = || bench.out.counters().channel_write_fail.load(Relaxed);
    let before = refused();
    wait_for("refused puts", || refused() >= before + 3);
}

#[test]
fn a_file_that_grows_and_is_renamed_while_its_delivery_waits_is_read_to_its_end() {
    let logs = Logs::new();
    let bench = Bench::with_capacity(10);
    // Whatever is delivered, the file has been quiet for longer than this when it is.
    let settings = "batchSize = 10\nidleTimeout = 1";
    let running = logs.taildir(&bench, "app.log", settings);
    let (text, lines) = numbers(0..100);
    let texts: Vec<&str> = text.split_inclusive('\n').collect();
    logs.append("app.log", &texts[..5].concat());
    wait_for("the first lines", || bench.channel.fill().events == 5);
    logs.append("app.log", &texts[5..15].concat());
    wait_for_refusals(&bench);
    logs.append("app.log", &texts[15..].concat());
    logs.rename("app.log", "old");
    logs.append("app.log", "new\n");
    wait_for_refusals(&bench);
    let got = bodies(&bench.take(101));
    let old: Vec<_> = got.iter().filter(|body| *body != "new").collect();
    assert_eq!(old, lines.iter().collect::<Vec<_>>());
    running.stop().unwrap();
    bench.assert_empty();
}

#[test]
fn a_quiet_file_with_whole_lines_that_had_no_turn_yet_stays_open() {
    let logs = Logs::new();
    let (text, lines) = numbers(0..20);
    logs.append("app.log", &text);
    let bench = Bench::with_capacity(2);
    let settings = "batchSize = 2\nmaxBatchCount = 1\nidleTimeout = 1";
    let running = logs.taildir(&bench, "app.log", settings);
    wait_for_refusals(&bench);
    logs.rename("app.log", "old");
    assert_eq!(bodies(&bench.take(20)), lines);
    running.stop().unwrap();
    bench.assert_empty();
}

#[test]
fn a_full_channel_at_the_first_look_does_not_send_files_again_from_their_start() {
    let logs = Logs::new();
    logs.append("a.log", "1\n2\n");
    let bench = Bench::new();
    let running = logs.taildir(&bench, ".*\\.log", "");
    bench.take(2);
    running.stop().unwrap();
    logs.append("a.log", "3\n4\n5\n6\n");
    let bench = Bench::with_capacity(2);
    let running = logs.taildir(&bench, ".*\\.log", "batchSize = 2");
    // The second one comes into being after a whole look at the directory.
    for name in ["b.log", "c.log"] {
        wait_for_refusals(&bench);
        logs.append(name, &format!("{name}\n"));
        wait_for("the file to be noticed", || is_open(&logs.path(name)));
    }
    let mut got = bodies(&bench.take(6));
    got.sort();
    assert_eq!(got, ["3", "4", "5", "6", "b.log", "c.log"]);
    running.stop().unwrap();
    bench.assert_empty();
    assert_eq!(logs.saved("a.log"), Some(12));
}

#[test]
fn a_file_at_rest_that_grows_and_is_renamed_while_the_channel_is_full_is_read() {
    let logs = Logs::new();
    logs.append("rest.log", "a\n");
    let bench = Bench::with_capacity(2);
    let running = logs.taildir(&bench, ".*\\.log", "batchSize = 2\nidleTimeout = 1");
    assert_eq!(bodies(&bench.take(1)), ["a"]);
    wait_for("the file to be closed", || !is_open(&logs.path("rest.log")));
    logs.append("busy.log", "b\nc\nd\ne\n");
    wait_for_refusals(&bench);
    logs.append("rest.log", "late\n");
    wait_for("the file to be noticed", || is_open(&logs.path("rest.log")));
    logs.rename("rest.log", "old");
    let mut got = bodies(&bench.take(5));
    got.sort();
    assert_eq!(got, ["b", "c", "d", "e", "late"]);
    running.stop().unwrap();
    bench.assert_empty();
}

/// Whether this process has the file open.
fn is_open(path: &Path) -> bool {
    let path = path.canonicalize().unwrap();
    let descriptors = fs::read_dir("/proc/self/fd").unwrap().flatten();
    descriptors
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .any(|target| target == path)
}

#[test]
fn a_file_renamed_while_the_agent_was_down_is_not_read_again_and_its_rest_is_not_lost() {
    for (pattern, rotated) in [("app.log.*", "app.log.1"), ("app.log", "app.log.1")] {
        let logs = Logs::new();
        logs.append("app.log", "a\nb\n");
        let bench = Bench::new();
        let running = logs.taildir(&bench, pattern, "headers.g.k = v");
        bench.take(2);
        running.stop().unwrap();
        logs.append("app.log", "c\n");
        logs.rename("app.log", rotated);
        logs.append("app.log", "d\n");
        let bench = Bench::new();
        let running = logs.taildir(&bench, pattern, "headers.g.k = v");
        let got = bench.take(2);
        assert_eq!(bodies(&got), ["c", "d"], "{pattern}");
        assert_eq!(header(&got[0], "k"), Some("v"));
        running.stop().unwrap();
        bench.assert_empty();
    }
}

#[test]
fn a_truncated_file_is_read_from_its_start_running_or_not() {
    let logs = Logs::new();
    logs.append("a.log", "one\ntwo\n");
    let bench = Bench::new();
    let running = logs.taildir(&bench, "a.log", "");
    assert_eq!(bodies(&bench.take(2)), ["one", "two"]);
    // Copy-truncate: the same inode, shorter.
    OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(logs.path("a.log"))
        .unwrap();
    logs.append("a.log", "new\n");
    assert_eq!(bodies(&bench.take(1)), ["new"]);
    running.stop().unwrap();
    OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(logs.path("a.log"))
        .unwrap();
    logs.append("a.log", "x\n");
    let bench = Bench::new();
    let running = logs.taildir(&bench, "a.log", "");
    assert_eq!(bodies(&bench.take(1)), ["x"]);
    running.stop().unwrap();
}

#[test]
fn an_inode_given_to_a_new_file_does_not_inherit_the_position() {
    let logs = Logs::new();
    logs.append("a.log", "new and longer than the old one\n");
    let inode = fs::metadata(logs.path("a.log")).unwrap().ino();
    let positions = logs.positions();
    position::prepare(&positions).unwrap();
    let entry = Position {
        inode,
        pos: 9,
        file: logs.path("a.log"),
    };
    position::store(&positions, &[entry]).unwrap();
    // The position file is older than the file it seems to speak of.
    let old = SystemTime::now() - Duration::from_secs(3600);
    File::options()
        .write(true)
        .open(&positions)
        .unwrap()
        .set_modified(old)
        .unwrap();
    let bench = Bench::new();
    let running = logs.taildir(&bench, "a.log", "");
    let expected = if fs::metadata(logs.path("a.log")).unwrap().created().is_ok() {
        "new and longer than the old one"
    } else {
        "longer than the old one"
    };
    assert_eq!(bodies(&bench.take(1)), [expected]);
    running.stop().unwrap();
}

#[test]
fn positions_wait_for_the_channel_and_a_full_one_loses_nothing() {
    let logs = Logs::new();
    let (text, lines) = numbers(0..1000);
    logs.append("a.log", &text);
    let bench = Bench::with_capacity(10);
    let running = logs.taildir(&bench, "a.log", "batchSize = 10");
    wait_for("a refused put", || {
        bench.out.counters().channel_write_fail.load(Relaxed) > 0
    });
    let first: u64 = lines[..10].iter().map(|line| line.len() as u64 + 1).sum();
    assert!(
        logs.saved("a.log").unwrap_or(0) <= first,
        "a position ran ahead of the channel"
    );
    let got = bodies(&bench.take(500));
    assert_eq!(got, lines[..500]);
    // Stopped while the channel is full: the rest is read by the next one.
    wait_for("a full channel", || bench.channel.fill().events == 10);
    running.stop().unwrap();
    assert_eq!(bodies(&bench.take(10)), lines[500..510]);
    let bench = Bench::with_capacity(100);
    let running = logs.taildir(&bench, "a.log", "");
    assert_eq!(bodies(&bench.take(490)), lines[510..]);
    running.stop().unwrap();
}

#[test]
fn quiet_files_give_up_their_last_line_and_are_followed_again_when_they_grow() {
    let logs = Logs::new();
    logs.append("a.log", "whole\npart");
    let bench = Bench::new();
    let running = logs.taildir(&bench, "a.log", "idleTimeout = 1");
    assert_eq!(bodies(&bench.take(2)), ["whole", "part"]);
    logs.append("a.log", " of another\n");
    assert_eq!(bodies(&bench.take(1)), [" of another"]);
    running.stop().unwrap();
}

#[test]
fn files_without_a_position_can_begin_at_their_end() {
    let logs = Logs::new();
    logs.append("old.log", "old\n");
    let bench = Bench::new();
    let running = logs.taildir(&bench, ".*", "skipToEnd = true");
    wait_for("the first look", || logs.saved("old.log").is_some());
    logs.append("old.log", "more\n");
    assert_eq!(bodies(&bench.take(1)), ["more"]);
    // Only files that were there at the start.
    logs.append("new.log", "first\n");
    assert_eq!(bodies(&bench.take(1)), ["first"]);
    running.stop().unwrap();
}

#[test]
fn one_busy_file_does_not_shut_out_the_others() {
    let logs = Logs::new();
    let (text, _) = numbers(0..10);
    logs.append("a.log", &text);
    File::options()
        .write(true)
        .open(logs.path("a.log"))
        .unwrap()
        .set_modified(SystemTime::UNIX_EPOCH)
        .unwrap();
    logs.append("b.log", "b\n");
    let bench = Bench::new();
    let running = logs.taildir(&bench, ".*", "batchSize = 2\nmaxBatchCount = 2");
    let got = bodies(&bench.take(11));
    assert_eq!(got.iter().position(|body| body == "b"), Some(4), "{got:?}");
    running.stop().unwrap();
}

#[test]
fn a_missing_file_is_waited_for_and_followed_across_its_rotation() {
    let logs = Logs::new();
    let bench = Bench::new();
    let settings = format!("filepath = {}", logs.path("x.log").display());
    let running = bench.run((file::KIND.build)(&Context::from_example("r1", &settings)).unwrap());
    logs.append("x.log", "a\n");
    assert_eq!(bodies(&bench.take(1)), ["a"]);
    logs.append("x.log", "b\n");
    logs.rename("x.log", "x.log.1");
    logs.append("x.log", "c\n");
    logs.append("x.log.1", "late\n");
    let mut got = bodies(&bench.take(3));
    got.sort();
    assert_eq!(got, ["b", "c", "late"]);
    running.stop().unwrap();
    bench.assert_empty();
}

#[test]
fn long_lines_arrive_whole_up_to_the_limit() {
    let logs = Logs::new();
    let long = "x".repeat(1_000_000);
    logs.append("a.log", &format!("{long}\nshort\n"));
    let bench = Bench::new();
    let running = logs.taildir(&bench, "a.log", "");
    let got = bodies(&bench.take(2));
    assert!(got[0] == long && got[1] == "short");
    running.stop().unwrap();
}
