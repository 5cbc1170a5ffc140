//! `file_roll`: writes events to files of one directory, a new file every so often.
//!
//! | key | default | meaning |
//! |---|---|---|
//! | `sink.directory` | required | where the files go; it has to exist |
//! | `sink.rollInterval` | 30 s | age at which a file is closed; 0 for never |
//! | `sink.batchSize` | 100 | events per transaction |
//! | `sink.pathManager` | DEFAULT | how files are named: `DEFAULT` or `ROLLTIME` |
//! | `sink.pathManager.prefix`, `.extension` | – | what a name begins and ends with |
//! | `sink.serializer` | TEXT | each event is its body |
//! | `sink.serializer.appendNewline` | true | and a line feed |
//!
//! Names: `DEFAULT` is `<prefix><ms of the sink's start>-<n>`, `ROLLTIME`
//! `<prefix><yyyyMMddHHmmss of the file's start, local>-<n>`, then `.<extension>` if there is one.
//! `n` counts from 1. An existing file is never written to; its number is skipped.
//!
//! Guarantees: a transaction is committed when all of it was written to the file. There is no sync,
//! as in Flume: a power cut loses what the system had not yet put on the disk; a killed agent loses
//! nothing. If a write fails, the file is cut back to where the batch began, so that trying again
//! neither repeats events nor leaves half of one; where even that fails, the file is left as it is
//! and the next one begun. Differs from Flume: a file comes to be with its first event, so an idle
//! sink leaves no empty ones.
//!
//! Fails: a directory that is not there is asked for again every 3 s; an error on writing rolls the
//! transaction back and is tried again after the runner's pause.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use thiserror::Error;
use tracing::warn;

use super::{BoxError, BoxSink, Feed, Sink, Status, TAKE_WAIT};
use crate::channel::Take;
use crate::clock::Clock;
use crate::context::{ConfigError, Context};
use crate::kind::{Form, Key, Kind};

/// The kind `file_roll`.
pub static KIND: Kind<BoxSink> = Kind {
    name: "file_roll",
    classes: &["org.apache.flume.sink.RollingFileSink"],
    summary: "Write events to files of one directory, a new one every so often.",
    keys: &[
        Key::required(
            "sink.directory",
            Form::Text,
            "Directory of the files; it has to exist.",
        ),
        Key::or(
            "sink.rollInterval",
            Form::COUNT,
            "30",
            "Seconds after which a file is closed; 0 for never.",
        ),
        Key::or(
            "sink.batchSize",
            Form::POSITIVE,
            "100",
            "Events per transaction.",
        ),
        Key::or(
            "sink.pathManager",
            Form::Choice(&["DEFAULT", "ROLLTIME"]),
            "DEFAULT",
            "How files are named.",
        ),
        Key::optional(
            "sink.pathManager.prefix",
            Form::Text,
            "What names begin with.",
        ),
        Key::optional(
            "sink.pathManager.extension",
            Form::Text,
            "What names end with, after a dot.",
        ),
        Key::or(
            "sink.serializer",
            Form::Choice(&["TEXT"]),
            "TEXT",
            "How an event is written.",
        ),
        Key::or(
            "sink.serializer.appendNewline",
            Form::Flag,
            "true",
            "Whether a line feed follows each body.",
        ),
    ],
    batch_key: Some("sink.batchSize"),
    example: "type = file_roll\nsink.directory = /var/log/flume",
    build,
};

/// A file, or the directory, cannot be used.
#[derive(Debug, Error)]
#[error("cannot {doing} {}: {source}; check that the directory exists, is writable and has room", path.display())]
pub struct FileRollError {
    /// Creating, writing, …
    doing: &'static str,
    /// The file or directory.
    path: PathBuf,
    /// The system's error.
    source: io::Error,
}

fn build(ctx: &Context) -> Result<BoxSink, ConfigError> {
    let roll_time = match ctx
        .text_or("sink.pathManager", "DEFAULT")
        .to_ascii_uppercase()
        .as_str()
    {
        "DEFAULT" => false,
        "ROLLTIME" => true,
        other => {
            return Err(ctx.error(
                "sink.pathManager",
                format!("{other:?} is neither DEFAULT nor ROLLTIME"),
            ));
        }
    };
    let serializer = ctx.text_or("sink.serializer", "TEXT");
    if !serializer.eq_ignore_ascii_case("TEXT") {
        return Err(ctx.error(
            "sink.serializer",
            format!("{serializer:?} is not offered; use TEXT"),
        ));
    }
    let seconds = ctx.seconds("sink.rollInterval", 30)?;
    Ok(Box::new(FileRoll {
        directory: ctx.expand_home(ctx.text("sink.directory")?),
        names: Names {
            prefix: ctx.text_or("sink.pathManager.prefix", "").to_owned(),
            extension: ctx.text_or("sink.pathManager.extension", "").to_owned(),
            roll_time,
            started: ctx.clock().unix_millis(),
            next: 1,
            clock: ctx.clock(),
        },
        roll_interval: (!seconds.is_zero()).then_some(seconds),
        batch_size: ctx.number("sink.batchSize", 100_usize)?.max(1),
        newline: ctx.flag("sink.serializer.appendNewline", true),
        current: None,
        text: Vec::new(),
    }))
}

#[derive(Debug)]
struct FileRoll {
    directory: PathBuf,
    names: Names,
    roll_interval: Option<Duration>,
    batch_size: usize,
    newline: bool,
    current: Option<Current>,
    /// The batch as it will stand in the file.
    text: Vec<u8>,
}

/// The file being written.
#[derive(Debug)]
struct Current {
    path: PathBuf,
    file: File,
    /// Its length up to the last committed batch.
    len: u64,
    opened: Instant,
}

/// Makes the names of files.
#[derive(Debug)]
struct Names {
    prefix: String,
    extension: String,
    roll_time: bool,
    started: i64,
    next: u64,
    clock: Arc<dyn Clock>,
}

impl Names {
    fn next(&mut self) -> String {
        let stamp = if self.roll_time {
            local_stamp(self.clock.unix_millis())
        } else {
            self.started.to_string()
        };
        let dot = if self.extension.is_empty() { "" } else { "." };
        let name = format!(
            "{}{stamp}-{}{dot}{}",
            self.prefix, self.next, self.extension
        );
        self.next += 1;
        name
    }
}

/// A time as `yyyyMMddHHmmss` of the local zone.
fn local_stamp(unix_millis: i64) -> String {
    let instant =
        jiff::Timestamp::from_millisecond(unix_millis).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    instant
        .to_zoned(jiff::tz::TimeZone::system())
        .strftime("%Y%m%d%H%M%S")
        .to_string()
}

impl Sink for FileRoll {
    fn open(&mut self) -> Result<(), BoxError> {
        let failed = |source| FileRollError {
            doing: "use the directory",
            path: self.directory.clone(),
            source,
        };
        if !std::fs::metadata(&self.directory).map_err(failed)?.is_dir() {
            return Err(failed(ErrorKind::NotADirectory.into()).into());
        }
        Ok(())
    }

    fn process(&mut self, feed: &Feed<'_>) -> Result<Status, BoxError> {
        self.roll_if_due(feed);
        let take = feed.channel.take(self.batch_size, TAKE_WAIT)?;
        let events = take.len();
        feed.counters.batch(events, self.batch_size);
        if events == 0 {
            return Ok(Status::Backoff);
        }
        feed.counters
            .event_drain_attempt
            .fetch_add(events as u64, Relaxed);
        self.serialize(take.as_ref());
        if let Err(error) = self.write(feed) {
            feed.counters.event_write_fail.fetch_add(1, Relaxed);
            return Err(error.into());
        }
        take.commit()?;
        feed.counters
            .event_drain_success
            .fetch_add(events as u64, Relaxed);
        Ok(Status::Ready)
    }

    fn close(&mut self) -> Result<(), BoxError> {
        self.current = None;
        Ok(())
    }
}

impl FileRoll {
    fn roll_if_due(&mut self, feed: &Feed<'_>) {
        let due = |current: &Current| {
            self.roll_interval
                .is_some_and(|age| current.opened.elapsed() >= age)
        };
        if self.current.as_ref().is_some_and(due) {
            self.current = None;
            feed.counters.connection_closed.fetch_add(1, Relaxed);
        }
    }

    fn serialize(&mut self, take: &dyn Take) {
        self.text.clear();
        for event in take.slices().iter().flatten() {
            self.text.extend_from_slice(event.body());
            if self.newline {
                self.text.push(b'\n');
            }
        }
    }

    /// Appends the batch to the current file, or leaves that file as it was.
    fn write(&mut self, feed: &Feed<'_>) -> Result<(), FileRollError> {
        let mut current = match self.current.take() {
            Some(current) => current,
            None => self
                .create()
                .inspect(|_| {
                    feed.counters.connection_created.fetch_add(1, Relaxed);
                })
                .inspect_err(|_| {
                    feed.counters.connection_failed.fetch_add(1, Relaxed);
                })?,
        };
        if let Err(source) = current.file.write_all(&self.text) {
            let error = FileRollError {
                doing: "write to",
                path: current.path.clone(),
                source,
            };
            // The file is opened for appending, so the next write goes to the new end.
            match current.file.set_len(current.len) {
                Ok(()) => self.current = Some(current),
                Err(error) => warn!(
                    file = %current.path.display(), %error,
                    "a batch was written in part and cannot be cut off; it is repeated in the next file"
                ),
            }
            return Err(error);
        }
        current.len += self.text.len() as u64;
        self.current = Some(current);
        Ok(())
    }

    fn create(&mut self) -> Result<Current, FileRollError> {
        loop {
            let path = self.directory.join(self.names.next());
            match create_new(&path) {
                Ok(file) => {
                    return Ok(Current {
                        path,
                        file,
                        len: 0,
                        opened: Instant::now(),
                    });
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(source) => {
                    return Err(FileRollError {
                        doing: "create",
                        path,
                        source,
                    });
                }
            }
        }
    }
}

fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create_new(true).open(path)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::testing::Bench;
    use super::*;
    use crate::clock::FixedClock;
    use crate::context::{Setting, Surroundings};

    fn sink(directory: &Path, settings: &str) -> BoxSink {
        let text = format!("sink.directory = {}\n{settings}", directory.display());
        let settings =
            text.lines()
                .filter_map(|line| line.split_once(" = "))
                .map(|(key, value)| {
                    (
                        key.to_owned(),
                        Setting {
                            value: value.to_owned(),
                            line: 1,
                        },
                    )
                });
        let clock = Arc::new(FixedClock::at(1_700_000_000_000));
        let surroundings = Surroundings {
            clock,
            ..Surroundings::default()
        };
        let mut sink = build(&Context::new("a1", "k1", settings.collect(), surroundings)).unwrap();
        sink.open().unwrap();
        sink
    }

    fn files(directory: &Path) -> Vec<(String, String)> {
        let mut files: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                (name, fs::read_to_string(&path).unwrap())
            })
            .collect();
        files.sort();
        files
    }

    #[test]
    fn batches_are_in_the_file_when_they_are_committed() {
        let dir = tempfile::tempdir().unwrap();
        let bench = Bench::new();
        let mut sink = sink(dir.path(), "sink.batchSize = 2");
        assert_eq!(bench.process(&mut sink).unwrap(), Status::Backoff);
        assert_eq!(files(dir.path()), [], "an idle sink leaves a file");
        bench.put(["a", "b", "c"]);
        assert_eq!(bench.process(&mut sink).unwrap(), Status::Ready);
        let name = "1700000000000-1".to_owned();
        assert_eq!(files(dir.path()), [(name.clone(), "a\nb\n".to_owned())]);
        bench.drain(&mut sink);
        assert_eq!(files(dir.path()), [(name, "a\nb\nc\n".to_owned())]);
        assert_eq!(bench.counters.event_drain_success.load(Relaxed), 3);
    }

    #[test]
    fn names_and_newlines_are_as_set_and_existing_files_untouched() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("p-1700000000000-1.log"), "mine").unwrap();
        let bench = Bench::new();
        let settings = "sink.pathManager.prefix = p-\nsink.pathManager.extension = log\nsink.serializer.appendNewline = false";
        let mut sink = sink(dir.path(), settings);
        bench.put(["a", "b"]);
        bench.drain(&mut sink);
        let expected = [
            ("p-1700000000000-1.log", "mine"),
            ("p-1700000000000-2.log", "ab"),
        ];
        assert_eq!(
            files(dir.path()),
            expected.map(|(name, text)| (name.to_owned(), text.to_owned()))
        );
    }

    #[test]
    fn roll_time_names_hold_the_local_time() {
        let dir = tempfile::tempdir().unwrap();
        let bench = Bench::new();
        let mut sink = sink(dir.path(), "sink.pathManager = rolltime");
        bench.put(["a"]);
        bench.drain(&mut sink);
        let name = files(dir.path()).remove(0).0;
        let expected = format!("{}-1", local_stamp(1_700_000_000_000));
        // 14 digits, and the day is right in every zone.
        assert_eq!((&name, name.len()), (&expected, 16));
        assert!(name.starts_with("202311"));
    }

    #[test]
    fn a_file_is_closed_when_it_is_old_enough_and_only_then() {
        let dir = tempfile::tempdir().unwrap();
        let bench = Bench::new();
        let mut sink = sink(dir.path(), "sink.rollInterval = 1");
        bench.put(["a"]);
        bench.drain(&mut sink);
        let deadline = Instant::now() + super::super::testing::DEADLINE;
        while bench.counters.connection_closed.load(Relaxed) == 0 {
            assert!(Instant::now() < deadline);
            bench.process(&mut sink).unwrap();
        }
        bench.put(["b"]);
        bench.drain(&mut sink);
        let texts: Vec<_> = files(dir.path())
            .into_iter()
            .map(|(_, text)| text)
            .collect();
        assert_eq!(texts, ["a\n", "b\n"]);
    }

    #[test]
    fn a_failed_write_rolls_back_and_nothing_is_lost_or_doubled() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("files");
        fs::create_dir(&place).unwrap();
        let bench = Bench::new();
        let mut sink = sink(&place, "");
        fs::remove_dir(&place).unwrap();
        bench.put(["a", "b"]);
        let error = bench.process(&mut sink).unwrap_err();
        assert!(error.to_string().contains("files"), "{error}");
        assert_eq!(bench.channel.fill().events, 2);
        fs::create_dir(&place).unwrap();
        bench.drain(&mut sink);
        assert_eq!(files(&place)[0].1, "a\nb\n");
    }

    #[test]
    fn a_missing_directory_and_unknown_serializers_are_refused() {
        let missing = Context::from_example("k1", "sink.directory = /no/such/directory");
        let error = build(&missing).unwrap().open().unwrap_err();
        assert!(error.to_string().contains("/no/such/directory"), "{error}");
        let unknown =
            Context::from_example("k1", "sink.directory = /tmp\nsink.serializer = AVRO_EVENT");
        assert_eq!(build(&unknown).unwrap_err().key, "sink.serializer");
    }
}
