//! What every receiver must do, against stores inside the test.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use super::*;
use crate::observe::{Answered, FileChange, FileId, OddKind, Read, Sent};
use crate::token::{Token, payload_crc};

const RUN: u64 = 99;

/// Everything that was reported, in words.
#[derive(Debug, Default)]
struct Recorder(Mutex<Vec<String>>);

impl Recorder {
    fn say(&self, text: String) -> io::Result<()> {
        self.0.lock().unwrap().push(text);
        Ok(())
    }

    /// What was said since the last time.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Observer for Recorder {
    fn sent(&self, _: &Sent) -> io::Result<()> {
        unreachable!("a receiver sends nothing")
    }
    fn answered(&self, _: &Answered) -> io::Result<()> {
        unreachable!("a receiver answers nothing")
    }
    fn read(&self, read: &Read) -> io::Result<()> {
        assert!(read.previous <= read.at, "{read:?}");
        let found: Vec<_> = read
            .found
            .iter()
            .map(|b| format!("{}+{}", b.first, b.count))
            .collect();
        let odd: Vec<_> = read.odd.iter().map(|odd| odd.kind).collect();
        let odd = if odd.is_empty() {
            String::new()
        } else {
            format!(" odd {odd:?}")
        };
        self.say(format!(
            "{} read [{}] at {}{odd}",
            read.file,
            found.join(" "),
            read.offset
        ))
    }
    fn file(&self, file: FileId, _: Micros, change: &FileChange) -> io::Result<()> {
        let name = |path: &str| path.rsplit('/').next().unwrap().to_owned();
        self.say(match change {
            FileChange::Appeared { path } => format!("{file} appeared {}", name(path)),
            FileChange::Renamed { path } => format!("{file} renamed {}", name(path)),
            FileChange::Published => format!("{file} published"),
            FileChange::Withdrawn => format!("{file} withdrawn"),
            FileChange::Vanished => format!("{file} vanished"),
        })
    }
    fn looked(&self, from: Micros, to: Micros) -> io::Result<()> {
        assert!(from <= to);
        self.say("looked".to_owned())
    }
    fn blind(&self, from: Micros, to: Micros, why: &str) -> io::Result<()> {
        assert!(from <= to);
        self.say(format!("blind: {why}"))
    }
}

fn clock() -> Clock {
    let clock = Clock::start();
    clock.set_t0(clock.raw());
    clock
}

/// The lines of some events.
fn lines(sequences: std::ops::Range<u64>) -> Vec<u8> {
    lines_of(RUN, sequences)
}

fn lines_of(run: u64, sequences: std::ops::Range<u64>) -> Vec<u8> {
    let (before, after) = (
        b"before ".as_slice(),
        b" and what comes after the token".as_slice(),
    );
    let mut out = Vec::new();
    for sequence in sequences {
        let token = Token {
            run,
            producer: 0,
            sequence,
            intended: 5,
            before: before.len() as u32,
            after: after.len() as u32,
            payload_crc: payload_crc(before, after),
        };
        out.extend([before, &token.encode(), after, b"\n"].concat());
    }
    out
}

/// Length of one line.
fn one() -> u64 {
    lines(0..1).len() as u64
}

/// A receiver under test, and what it says.
struct Bench {
    receiver: Box<dyn Receiver>,
    said: Recorder,
    clock: Clock,
}

impl Bench {
    fn new(kind: &str, settings: Value) -> Bench {
        let receiver = (super::kind(kind).unwrap().build)(settings, RUN).unwrap();
        Bench {
            receiver,
            said: Recorder::default(),
            clock: clock(),
        }
    }

    #[track_caller]
    fn look(&mut self, expected: &[&str]) -> Looked {
        let looked = self.receiver.look(&self.said, &self.clock).unwrap();
        assert_eq!(self.said.take(), expected);
        looked
    }

    #[track_caller]
    fn finish(&mut self, expected: &[&str]) -> Looked {
        let looked = self.receiver.finish(&self.said, &self.clock).unwrap();
        assert_eq!(self.said.take(), expected);
        looked
    }
}

#[test]
fn kinds_are_sorted_and_their_examples_build() {
    assert!(KINDS.is_sorted_by(|a, b| a.name < b.name));
    for kind in KINDS {
        let example: Value = serde_json::from_str(kind.example).unwrap();
        assert!((kind.build)(example.clone(), RUN).is_ok(), "{}", kind.name);
        let mut wrong = example;
        wrong["pfad"] = json!(1);
        let error = (kind.build)(wrong, RUN).unwrap_err().to_string();
        assert!(
            error.contains("pfad") && error.contains(kind.name),
            "{error}"
        );
        assert!(super::kind(kind.name).is_some());
    }
}

fn append(path: &std::path::Path, bytes: &[u8]) {
    let mut file = fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .unwrap();
    file.write_all(bytes).unwrap();
}

#[test]
fn a_growing_file_is_read_on_from_where_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep/down/out.log");
    let mut bench = Bench::new("files", json!({"path": directory.path()}));
    bench.look(&[]);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    append(&path, &lines(0..3));
    let looked = bench.look(&["0 appeared out.log", "0 read [0+3] at 0", "0 published"]);
    assert_eq!(
        (looked.files, looked.bytes, looked.events),
        (1, 3 * one(), 3)
    );
    bench.look(&[]);
    let more = lines(3..5);
    append(&path, &more[..more.len() - 1]);
    bench.look(&[&format!("0 read [3+1] at {}", 3 * one()), "0 published"]);
    append(&path, b"\n");
    bench.look(&[&format!("0 read [4+1] at {}", 4 * one()), "0 published"]);
}

#[test]
fn a_single_file_that_is_not_there_yet_is_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out.log");
    let mut bench = Bench::new("files", json!({"path": path}));
    bench.look(&[]);
    append(&path, &lines(0..1));
    append(&directory.path().join("other"), &lines(1..2));
    bench.look(&["0 appeared out.log", "0 read [0+1] at 0", "0 published"]);
}

#[test]
fn a_file_is_published_under_its_final_name_only() {
    let directory = tempfile::tempdir().unwrap();
    let (tmp, done) = (
        directory.path().join("a.log.tmp"),
        directory.path().join("a.log"),
    );
    let mut bench = Bench::new(
        "files",
        json!({"path": directory.path(), "in_use_suffix": ".tmp"}),
    );
    append(&tmp, &lines(0..2));
    let looked = bench.look(&["0 appeared a.log.tmp", "0 read [0+2] at 0"]);
    assert_eq!(looked.unpublished, [tmp.to_string_lossy()]);
    append(&tmp, &lines(2..3));
    fs::rename(&tmp, &done).unwrap();
    bench.look(&[
        "0 renamed a.log",
        &format!("0 read [2+1] at {}", 2 * one()),
        "0 published",
    ]);
    bench.look(&[]);
    fs::rename(&done, &tmp).unwrap();
    bench.look(&["0 renamed a.log.tmp", "0 withdrawn"]);
    let mut prefixed = Bench::new(
        "files",
        json!({"path": directory.path(), "in_use_prefix": "a."}),
    );
    prefixed.look(&["0 appeared a.log.tmp", "0 read [0+3] at 0"]);
}

#[test]
fn a_file_that_was_emptied_is_another_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out.log");
    append(&path, &lines(0..3));
    let mut bench = Bench::new("files", json!({"path": directory.path()}));
    bench.look(&["0 appeared out.log", "0 read [0+3] at 0", "0 published"]);
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(0)
        .unwrap();
    append(&path, &lines(3..4));
    bench.look(&[
        "0 vanished",
        "1 appeared out.log",
        "1 read [3+1] at 0",
        "1 published",
    ]);
}

#[test]
fn a_file_that_is_gone_is_reported_by_the_second_listing_or_the_final_scan() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        append(&directory.path().join(name), &lines(0..1));
    }
    let mut bench = Bench::new("files", json!({"path": directory.path()}));
    bench.receiver.look(&bench.said, &bench.clock).unwrap();
    bench.said.take();
    fs::remove_file(directory.path().join("a")).unwrap();
    bench.look(&[]);
    bench.look(&["0 vanished"]);
    fs::remove_file(directory.path().join("b")).unwrap();
    bench.finish(&["1 vanished"]);
}

#[test]
fn the_final_scan_reports_torn_tails_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out.log");
    append(&path, &lines(0..2)[..one() as usize + 30]);
    let mut bench = Bench::new("files", json!({"path": directory.path()}));
    bench.look(&["0 appeared out.log", "0 read [0+1] at 0", "0 published"]);
    bench.finish(&[&format!("0 read [] at {} odd [Torn]", one())]);
    bench.finish(&[]);
    append(&path, b"\n");
    bench.finish(&[
        &format!("0 read [] at {} odd [{:?}]", one(), OddKind::Split),
        "0 published",
    ]);
}

#[test]
fn gzip_files_are_read_through_however_much_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out.gz");
    let mut bench = Bench::new("files", json!({"path": directory.path()}));
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&lines(0..4)).unwrap();
    encoder.flush().unwrap();
    append(&path, encoder.get_ref());
    let flushed = encoder.get_ref().len();
    bench.look(&["0 appeared out.gz", "0 read [0+4] at 0", "0 published"]);
    encoder.write_all(&lines(4..6)).unwrap();
    append(&path, &encoder.finish().unwrap()[flushed..]);
    bench.look(&[&format!("0 read [4+2] at {}", 4 * one()), "0 published"]);
}

#[test]
fn a_directory_that_cannot_be_read_is_blindness() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    append(&file, b"");
    let mut bench = Bench::new("files", json!({"path": file.join("below a file")}));
    let error = bench.receiver.look(&bench.said, &bench.clock).unwrap_err();
    assert!(matches!(error, ReceiverError::Store { .. }), "{error}");
}

/// A receiver whose looks go as the script says.
#[derive(Debug)]
struct Scripted(Arc<AtomicU64>);

impl Receiver for Scripted {
    fn look(&mut self, _: &dyn Observer, clock: &Clock) -> Result<Looked, ReceiverError> {
        let from = clock.now();
        if self.0.fetch_add(1, Ordering::SeqCst) == 1 {
            let (what, on, why) = ("list", "there".to_owned(), "nobody home".to_owned());
            return Err(ReceiverError::Store { what, on, why });
        }
        Ok(Looked {
            from,
            to: clock.now(),
            ..Looked::default()
        })
    }
    fn finish(&mut self, observer: &dyn Observer, clock: &Clock) -> Result<Looked, ReceiverError> {
        self.look(observer, clock)
    }
    fn turn(&mut self, _: u64) {}
}

#[test]
fn the_next_round_is_told_of_every_file_and_reads_on_where_it_stands() {
    let directory = tempfile::tempdir().unwrap();
    let (open, closed) = (
        directory.path().join("open"),
        directory.path().join("closed"),
    );
    append(&open, &lines(0..3));
    append(&closed, &lines(3..5));
    let mut bench = Bench::new("files", json!({"path": directory.path()}));
    bench.look(&[
        "0 appeared closed",
        "0 read [3+2] at 0",
        "0 published",
        "1 appeared open",
        "1 read [0+3] at 0",
        "1 published",
    ]);
    fs::remove_file(&closed).unwrap();
    bench.receiver.turn(RUN + 1);
    // Another clock, whose instants begin anew.
    bench.clock = clock();
    append(&open, &lines(3..4));
    append(&open, &lines_of(RUN + 1, 0..2));
    // Found from the fourth record on: the one before it is of the earlier round.
    let at = 4 * one();
    bench.look(&[
        "0 appeared open",
        &format!("0 read [0+2] at {at} odd [Foreign]"),
        "0 published",
    ]);
    // What vanished between the rounds was never there for this one.
    bench.look(&[]);
    bench.look(&[]);
}

#[test]
fn the_watch_looks_until_it_is_told_to_stop_and_says_when_it_is_blind() {
    let (said, clock) = (Arc::new(Recorder::default()), Arc::new(clock()));
    let looks = Arc::new(AtomicU64::new(0));
    let receiver = Box::new(Scripted(looks.clone()));
    let watch = Watch::start(
        receiver,
        Duration::from_millis(1),
        said.clone(),
        clock.clone(),
    )
    .unwrap();
    let deadline = clock.raw() + Duration::from_secs(20);
    while looks.load(Ordering::SeqCst) < 4 && clock.raw() < deadline {
        thread::yield_now();
    }
    assert!(!watch.has_failed());
    let mut receiver = watch.stop().unwrap();
    let mut heard = said.take();
    assert!(heard.len() >= 3, "{heard:?}");
    heard.truncate(3);
    assert_eq!(
        heard,
        [
            "looked",
            "blind: failed to list there: nobody home",
            "looked"
        ]
    );
    final_scan(&mut *receiver, &*said, &clock).unwrap();
    assert_eq!(said.take(), ["looked"]);
}

/// A file of the in-test HDFS.
#[derive(Debug, Clone)]
struct HdfsFile {
    id: u64,
    path: &'static str,
    bytes: Vec<u8>,
    /// What the listing shows.
    length: u64,
    open: bool,
    /// Nobody may read it.
    unreadable: bool,
}

impl HdfsFile {
    fn new(id: u64, path: &'static str, bytes: Vec<u8>) -> HdfsFile {
        HdfsFile {
            id,
            path,
            length: bytes.len() as u64,
            bytes,
            open: false,
            unreadable: false,
        }
    }
}

/// Answers as a NameNode and a DataNode (Hadoop 3.3.6) were recorded to answer.
struct Hdfs {
    files: Mutex<Vec<HdfsFile>>,
    datanode: Mutex<String>,
    asked: Mutex<Vec<String>>,
}

impl Hdfs {
    fn start(files: Vec<HdfsFile>) -> (Arc<Hdfs>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // The DataNode announces an address where nobody listens: a fault proxy's.
        let hdfs = Arc::new(Hdfs {
            files: Mutex::new(files),
            datanode: Mutex::new(format!("127.0.0.101:{}", address.port())),
            asked: Mutex::default(),
        });
        let serving = hdfs.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                serving.serve(stream.unwrap());
            }
        });
        (hdfs, address.to_string())
    }

    fn edit(&self, id: u64, change: impl FnOnce(&mut HdfsFile)) {
        change(
            self.files
                .lock()
                .unwrap()
                .iter_mut()
                .find(|file| file.id == id)
                .unwrap(),
        );
    }

    fn serve(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut request = String::new();
        reader.read_line(&mut request).unwrap();
        let mut header = String::new();
        while reader.read_line(&mut header).is_ok_and(|got| got > 2) {
            header.clear();
        }
        let target = request.split(' ').nth(1).unwrap().to_owned();
        self.asked.lock().unwrap().push(target.clone());
        let (status, location, body) = self.answer(&target);
        let location = location
            .map(|to| format!("Location: {to}\r\n"))
            .unwrap_or_default();
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n{location}Connection: close\r\n\r\n",
            body.len()
        );
        let _ = stream.write_all(&[head.as_bytes(), &body].concat());
    }

    fn answer(&self, target: &str) -> (u16, Option<String>, Vec<u8>) {
        let (path, query) = target.split_once('?').unwrap();
        let path = path
            .strip_prefix("/webhdfs/v1")
            .unwrap()
            .replace("%20", " ");
        let of = |key: &str| query.split('&').find_map(|part| part.strip_prefix(key));
        assert_eq!(of("user.name="), Some("flume-bench"));
        let files = self.files.lock().unwrap();
        let refused = |status, exception: &str, message: &str| {
            let text = json!({"RemoteException": {"exception": exception, "javaClassName": "x", "message": message}});
            (status, None, text.to_string().into_bytes())
        };
        let file = files.iter().find(|file| file.path == path);
        let offset = of("offset=").map_or(0, |text| text.parse::<u64>().unwrap());
        match (of("op=").unwrap(), file) {
            ("LISTSTATUS", None) => {
                let below: Vec<_> = files
                    .iter()
                    .filter_map(|file| Some((file.path.strip_prefix(&format!("{path}/"))?, file)))
                    .map(|(name, file)| match name.split_once('/') {
                        Some((directory, _)) => json!({"fileId": 1, "length": 0, "modificationTime": 3, "pathSuffix": directory, "type": "DIRECTORY", "owner": "root"}),
                        None => json!({"fileId": file.id, "length": file.length, "modificationTime": 3, "pathSuffix": name, "type": "FILE", "owner": "root"}),
                    })
                    .collect();
                if below.is_empty() {
                    return refused(404, "FileNotFoundException", "File does not exist.");
                }
                let text = json!({"FileStatuses": {"FileStatus": below}}).to_string();
                (200, None, text.into_bytes())
            }
            (_, None) => refused(404, "FileNotFoundException", "File does not exist."),
            ("GET_BLOCK_LOCATIONS", Some(file)) => {
                let text = json!({"LocatedBlocks": {"fileLength": file.length, "isLastBlockComplete": !file.open, "isUnderConstruction": file.open, "locatedBlocks": []}});
                (200, None, text.to_string().into_bytes())
            }
            ("OPEN", Some(file)) if of("namenoderpcaddress=").is_none() => {
                if offset > file.length {
                    return refused(400, "IOException", "Offset is out of the range");
                }
                let (host, path) = (self.datanode.lock().unwrap(), path.replace(' ', "%20"));
                let to = format!(
                    "http://{host}/webhdfs/v1{path}?op=OPEN&user.name=flume-bench&namenoderpcaddress=127.0.0.1:9000&offset=0"
                );
                (307, Some(to), Vec::new())
            }
            ("OPEN", Some(file)) if file.unreadable => {
                let why = "Cannot obtain block length for LocatedBlock{x}";
                refused(403, "CannotObtainBlockLengthException", why)
            }
            ("OPEN", Some(file)) => {
                let length = of("length=").unwrap().parse::<usize>().unwrap();
                let rest = &file.bytes[offset as usize..];
                (200, None, rest[..length.min(rest.len())].to_vec())
            }
            other => panic!("{other:?}"),
        }
    }
}

fn hdfs(files: Vec<HdfsFile>) -> (Arc<Hdfs>, Bench) {
    let (hdfs, namenode) = Hdfs::start(files);
    let settings = json!({"namenode": namenode, "path": "/out", "rewrite_host": "127.0.0.1", "timeout_ms": 20_000});
    (hdfs, Bench::new("webhdfs", settings))
}

#[test]
fn an_open_file_is_read_beyond_its_listed_length_and_published_when_closed() {
    let (hdfs, mut bench) = hdfs(Vec::new());
    bench.look(&[]);
    hdfs.files.lock().unwrap().push(HdfsFile {
        length: one(),
        open: true,
        ..HdfsFile::new(7, "/out/day 1/a.log.tmp", lines(0..3))
    });
    bench.look(&["0 appeared a.log.tmp", "0 read [0+3] at 0"]);
    hdfs.edit(7, |file| file.bytes = lines(0..5));
    bench.look(&[&format!("0 read [3+2] at {}", 3 * one())]);
    // Renamed, although its close failed: not published, but what it holds is stored.
    hdfs.edit(7, |file| {
        file.path = "/out/day 1/a.log";
        file.bytes = lines(0..6);
    });
    bench.look(&["0 renamed a.log", &format!("0 read [5+1] at {}", 5 * one())]);
    hdfs.edit(7, |file| {
        file.open = false;
        file.length = 6 * one();
    });
    bench.look(&["0 published"]);
    hdfs.asked.lock().unwrap().clear();
    bench.look(&[]);
    let asked = hdfs.asked.lock().unwrap().clone();
    assert!(
        asked.iter().all(|target| target.contains("LISTSTATUS")),
        "closed and read: {asked:?}"
    );
}

#[test]
fn a_file_longer_than_a_read_and_a_short_one_are_read_whole() {
    let count = (9 << 20) / one();
    let (_hdfs, mut bench) = hdfs(vec![
        HdfsFile::new(1, "/out/a", lines(0..count)),
        HdfsFile::new(2, "/out/b", lines(count..count + 1)),
    ]);
    let looked = bench.receiver.look(&bench.said, &bench.clock).unwrap();
    assert_eq!((looked.files, looked.events), (2, count + 1));
    let said = bench.said.take();
    assert_eq!(
        said.iter()
            .filter(|text| text.ends_with("published"))
            .count(),
        2,
        "{said:?}"
    );
    bench.finish(&[]);
}

#[test]
fn a_file_that_the_store_does_not_give_out_is_named_and_is_no_blindness() {
    let (hdfs, mut bench) = hdfs(vec![
        HdfsFile {
            unreadable: true,
            open: true,
            ..HdfsFile::new(1, "/out/a.log", lines(0..2))
        },
        HdfsFile::new(2, "/out/b.log", lines(2..3)),
    ]);
    let looked = bench.look(&[
        "0 appeared a.log",
        "1 appeared b.log",
        "1 read [2+1] at 0",
        "1 published",
    ]);
    assert_eq!(looked.unreadable.len(), 1);
    assert_eq!(looked.unreadable[0].0, "/out/a.log");
    assert_eq!(looked.unpublished, ["/out/a.log"]);
    assert_eq!(bench.finish(&[]).unreadable.len(), 1);
    // Lease recovery closes it with half a line.
    hdfs.edit(1, |file| {
        (file.unreadable, file.open) = (false, false);
        file.bytes.truncate(one() as usize + 9);
        file.length = one() + 9;
    });
    bench.finish(&[
        "0 read [0+1] at 0",
        "0 published",
        &format!("0 read [] at {} odd [Torn]", one()),
    ]);
}

#[test]
fn a_namenode_that_is_away_is_blindness_and_so_is_a_datanode() {
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let mut bench = Bench::new("webhdfs", json!({"namenode": nobody, "path": "/out"}));
    assert!(bench.receiver.look(&bench.said, &bench.clock).is_err());

    let (hdfs, mut bench) = hdfs(vec![HdfsFile::new(1, "/out/a", lines(0..1))]);
    let there = std::mem::replace(&mut *hdfs.datanode.lock().unwrap(), nobody);
    let error = bench
        .receiver
        .look(&bench.said, &bench.clock)
        .unwrap_err()
        .to_string();
    assert!(error.contains("ask"), "{error}");
    assert_eq!(bench.said.take(), ["0 appeared a"]);
    *hdfs.datanode.lock().unwrap() = there;
    bench.look(&["0 read [0+1] at 0", "0 published"]);
}

#[test]
fn a_datanode_that_moved_is_asked_for_anew() {
    let (hdfs, mut bench) = hdfs(vec![HdfsFile {
        open: true,
        ..HdfsFile::new(1, "/out/a.tmp", lines(0..1))
    }]);
    bench.look(&["0 appeared a.tmp", "0 read [0+1] at 0"]);
    // The rename makes the known address stale; so would a DataNode on another port.
    hdfs.edit(1, |file| {
        (file.path, file.bytes) = ("/out/b.tmp", lines(0..2))
    });
    bench.look(&["0 renamed b.tmp", &format!("0 read [1+1] at {}", one())]);
    hdfs.files.lock().unwrap().clear();
    bench.finish(&["0 vanished"]);
}
