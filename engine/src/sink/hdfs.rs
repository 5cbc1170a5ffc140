//! `hdfs`: files in HDFS.
//!
//! | key | default | meaning |
//! |---|---|---|
//! | `hdfs.path` | required | directory; `hdfs://host:port/…`, or `/…` on `fs.defaultFS`; escapes |
//! | `hdfs.filePrefix` | FlumeData | how names begin; escapes |
//! | `hdfs.fileSuffix` | none | how names end; `.gz` where nothing else is said and it fits |
//! | `hdfs.inUsePrefix`, `hdfs.inUseSuffix` | none, `.tmp` | around the name while it is written |
//! | `hdfs.emptyInUseSuffix` | false | no in-use suffix |
//! | `hdfs.rollInterval` | 30 s | age at which a file is closed; 0 off |
//! | `hdfs.rollSize` | 1024 bytes | bytes of bodies after which it is; 0 off |
//! | `hdfs.rollCount` | 10 | events after which it is; 0 off |
//! | `hdfs.idleTimeout` | 0 s | time without an event after which it is; 0 off |
//! | `hdfs.batchSize` | 100 | events per transaction |
//! | `hdfs.fileType` | SequenceFile | DataStream or CompressedStream; SequenceFile is not offered |
//! | `hdfs.codeC` | none | gzip, for CompressedStream |
//! | `hdfs.maxOpenFiles` | 5000 | beyond, the least recently used one is closed |
//! | `hdfs.callTimeout` | 30000 ms | limit of each call; 0 is ten minutes |
//! | `hdfs.retryInterval` | 180 s | longest pause between attempts to recover a file (never over 5 s) |
//! | `hdfs.closeTries` | 0 | attempts to recover a file; 0 unlimited |
//! | `hdfs.threadsPoolSize` | 10 | threads that open and close files |
//! | `hdfs.round`, `hdfs.roundValue`, `hdfs.roundUnit` | false, 1, second | round times down |
//! | `hdfs.timeZone` | local | of the escapes |
//! | `hdfs.useLocalTimeStamp` | false | the clock instead of the `timestamp` header |
//! | `hdfs.inUseJournal` | `~/.flume/hdfs-sink/AGENT-SINK/in-use.journal` | the sink's own journal |
//! | `serializer`, `serializer.appendNewline` | TEXT, true | body, and a line feed |
//!
//! Escapes: the module `escape`. An event without a usable `timestamp` header gets the local time where the
//! path needs one; that is said once. Writing settings are Hadoop's own: [`crate::hdfs::conf`].
//!
//! **Guarantees.** A transaction is committed when every file it wrote to is flushed to all DataNodes
//! of its pipeline, or closed. A file gets its final name only after a successful close or a completed
//! lease recovery. It is never appended to and never replaced. So nothing committed is lost while one
//! replica of each block survives, and nothing stays under an in-use name for ever: what a dead agent
//! leaves is recovered by the next one, from the journal (module `journal`), in the background.
//!
//! **How it fails.** Any error rolls the transaction back. The file concerned goes to recovery (module `recovery`), the
//! events to a new file, at once at first, then after 0.2 s, 0.4 s, … 5 s. Events that the failed file
//! has got already are then there twice: delivery is at least once. A call that hangs when the agent
//! is told to stop ends with `hdfs.callTimeout`, or with the agent; closing takes no more than 4 s.

use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::{BoxError, BoxSink, Feed, Sink, Status, TAKE_WAIT};
use crate::channel::Take;
use crate::clock::Clock;
use crate::context::{ConfigError, Context};
use crate::defect::Defect;
use crate::event::Event;
use crate::hdfs::conf::Conf;
use crate::hdfs::{Hdfs, connect};
use crate::kind::{Form, Key as Setting, Kind};
use crate::metrics::SinkCounters;
use crate::stop::Stop;

mod bucket;
mod encode;
pub(crate) mod escape;
pub(crate) mod journal;
pub(crate) mod recovery;
mod settings;
mod shared;
mod workers;

use bucket::{Buckets, TICK};
use journal::Journal;
use settings::All;
use shared::{Key, Shared};

/// Longest pause after transactions that failed.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long the end of the sink may take: to close its files, and to wait for those that are being
/// recovered. Less than the agent's [`GRACE`](crate::agent::GRACE), so that the sink itself says what
/// is left. The next start goes on with it.
const END_LIMIT: Duration = Duration::from_secs(4);

const NOT_NEEDED: &str = "Not needed: a pool is shared by all timers.";
const NO_KERBEROS: &str = "Only simple authentication is offered.";

/// The kind `hdfs`.
pub static KIND: Kind<BoxSink> = Kind {
    name: "hdfs",
    classes: &["org.apache.flume.sink.hdfs.HDFSEventSink"],
    summary: "Write files in HDFS.",
    keys: &[
        Setting::required(
            "hdfs.path",
            Form::Text,
            "Directory; hdfs://host:port/… or /…; escapes.",
        ),
        Setting::or(
            "hdfs.filePrefix",
            Form::Text,
            "FlumeData",
            "How names begin; escapes.",
        ),
        Setting::optional(
            "hdfs.fileSuffix",
            Form::Text,
            "How names end, dot included.",
        ),
        Setting::optional(
            "hdfs.inUsePrefix",
            Form::Text,
            "Before the name while it is written.",
        ),
        Setting::or(
            "hdfs.inUseSuffix",
            Form::Text,
            ".tmp",
            "After the name while it is written.",
        ),
        Setting::or(
            "hdfs.emptyInUseSuffix",
            Form::Flag,
            "false",
            "No in-use suffix.",
        ),
        Setting::or(
            "hdfs.rollInterval",
            Form::COUNT,
            "30",
            "Seconds a file is open; 0 off.",
        ),
        Setting::or(
            "hdfs.rollSize",
            Form::COUNT,
            "1024",
            "Bytes of bodies in a file; 0 off.",
        ),
        Setting::or(
            "hdfs.rollCount",
            Form::COUNT,
            "10",
            "Events in a file; 0 off.",
        ),
        Setting::or(
            "hdfs.idleTimeout",
            Form::COUNT,
            "0",
            "Seconds without an event; 0 off.",
        ),
        Setting::or(
            "hdfs.batchSize",
            Form::POSITIVE,
            "100",
            "Events per transaction.",
        ),
        Setting::or(
            "hdfs.fileType",
            Form::Choice(&["SequenceFile", "DataStream", "CompressedStream"]),
            "SequenceFile",
            "DataStream or CompressedStream; SequenceFile is not offered.",
        ),
        Setting::optional("hdfs.codeC", Form::Text, "gzip, for CompressedStream."),
        Setting::or(
            "hdfs.maxOpenFiles",
            Form::POSITIVE,
            "5000",
            "Files open at once.",
        ),
        Setting::or(
            "hdfs.callTimeout",
            Form::COUNT,
            "30000",
            "Limit of a call, ms; 0: 10 min.",
        ),
        Setting::or(
            "hdfs.retryInterval",
            ANY,
            "180",
            "Longest pause of recovery, s; at most 5.",
        ),
        Setting::or(
            "hdfs.closeTries",
            ANY,
            "0",
            "Attempts to recover a file; 0 unlimited.",
        ),
        Setting::or(
            "hdfs.threadsPoolSize",
            Form::POSITIVE,
            "10",
            "Threads that open and close.",
        ),
        Setting::or("hdfs.round", Form::Flag, "false", "Round times down."),
        Setting::or(
            "hdfs.roundValue",
            Form::Number(1, 60),
            "1",
            "To a multiple of this.",
        ),
        Setting::or(
            "hdfs.roundUnit",
            Form::Choice(&["second", "minute", "hour"]),
            "second",
            "Unit of hdfs.roundValue.",
        ),
        Setting::optional(
            "hdfs.timeZone",
            Form::Text,
            "Time zone of escapes; default local.",
        ),
        Setting::or(
            "hdfs.useLocalTimeStamp",
            Form::Flag,
            "false",
            "The clock, not the header.",
        ),
        Setting::optional(
            "hdfs.inUseJournal",
            Form::Text,
            "File of the sink's own journal.",
        ),
        Setting::or("serializer", Form::Text, "TEXT", "TEXT: the body."),
        Setting::or(
            "serializer.appendNewline",
            Form::Flag,
            "true",
            "A line feed after each.",
        ),
        Setting::ignored("hdfs.writeFormat", "Of SequenceFile only."),
        Setting::ignored(
            "hdfs.minBlockReplicas",
            "A broken pipeline always begins a new file.",
        ),
        Setting::ignored("hdfs.rollTimerPoolSize", NOT_NEEDED),
        Setting::missing("hdfs.kerberosPrincipal", None, NO_KERBEROS),
        Setting::missing("hdfs.kerberosKeytab", None, NO_KERBEROS),
        Setting::missing("hdfs.proxyUser", None, NO_KERBEROS),
    ],
    batch_key: Some("hdfs.batchSize"),
    example: "type = hdfs\nhdfs.path = hdfs://127.0.0.1:9000/events\nhdfs.fileType = DataStream",
    build,
};

/// Any whole number: Flume takes those below 1 as "no limit" or "once".
const ANY: Form = Form::Number(i64::MIN, i64::MAX);

fn build(ctx: &Context) -> Result<BoxSink, ConfigError> {
    let all = All::parse(ctx)?;
    let to_error = |error: crate::hdfs::HdfsError| ctx.error("hdfs.path", error.to_string());
    let conf = Conf::read(ctx.conf_dir()).map_err(to_error)?;
    let hdfs = connect(&conf, all.authority.as_deref()).map_err(to_error)?;
    Ok(Box::new(HdfsSink::new(ctx.name(), all, hdfs, ctx.clock())))
}

#[derive(Debug)]
struct HdfsSink {
    name: String,
    all: All,
    hdfs: Arc<dyn Hdfs>,
    clock: Arc<dyn Clock>,
    running: Option<Running>,
    /// Where the last event went; most events go where the last one went.
    key: Key,
    expanded: (String, String),
    said_local_time: bool,
    pause: Option<Duration>,
}

/// What exists between `open` and `close`.
#[derive(Debug)]
struct Running {
    shared: Arc<Shared>,
    buckets: Arc<Mutex<Buckets>>,
    ended: Stop,
    timer: JoinHandle<()>,
    recovery: JoinHandle<()>,
}

impl HdfsSink {
    fn new(name: &str, all: All, hdfs: Arc<dyn Hdfs>, clock: Arc<dyn Clock>) -> Self {
        Self {
            name: name.to_owned(),
            all,
            hdfs,
            clock,
            running: None,
            key: Key::default(),
            expanded: Default::default(),
            said_local_time: false,
            pause: None,
        }
    }

    fn start(&self, path: &Path) -> Result<Running, BoxError> {
        let journal = Journal::open(path)?;
        let left = journal.entries().len();
        let (sender, incoming) = channel();
        let (hdfs, clock) = (Arc::clone(&self.hdfs), Arc::clone(&self.clock));
        let settings = self.all.settings.clone();
        let shared = Arc::new(Shared::new(settings, hdfs, clock, journal, sender));
        if left > 0 {
            info!(
                sink = self.name,
                files = left,
                "recovering files that were left in use"
            );
        }
        let listed = if Defect::HdfsForgetsJournal.is_planted() {
            Vec::new()
        } else {
            shared.listed()
        };
        listed.into_iter().for_each(|entry| shared.recover(entry));
        let weak = Arc::downgrade(&shared);
        let recovery = std::thread::Builder::new()
            .name("hdfs-recovery".to_owned())
            .spawn(move || recovery::run(&weak, &incoming))?;
        let buckets = Arc::new(Mutex::new(Buckets::new(Arc::clone(&shared))));
        let ended = Stop::new();
        let (timed, until) = (Arc::clone(&buckets), ended.clone());
        let timer = std::thread::Builder::new()
            .name("hdfs-timer".to_owned())
            .spawn(move || {
                while !until.wait(TICK) {
                    timed
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .tick(Instant::now());
                }
            })?;
        Ok(Running {
            shared,
            buckets,
            ended,
            timer,
            recovery,
        })
    }

    /// Writes a transaction and makes it safe.
    fn store(&mut self, take: &dyn Take) -> Result<(), BoxError> {
        let Some(running) = &self.running else {
            return Err("the sink is not open".into());
        };
        let buckets = Arc::clone(&running.buckets);
        let mut buckets = buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.begin();
        let mut coming = take.len() as u64;
        for event in take.slices().iter().flatten() {
            coming -= 1;
            self.locate(&event);
            buckets.append(&self.key, &event, coming)?;
            if Defect::HdfsRetryWritesTwice.is_planted() && self.pause.is_some() {
                buckets.append(&self.key, &event, coming)?;
            }
        }
        buckets.flush()
    }

    /// Finds the bucket of an event.
    fn locate(&mut self, event: &Event<'_>) {
        let all = &mut self.all;
        let millis = if all.path.needs_time() || all.prefix.needs_time() {
            let header = event
                .header("timestamp")
                .and_then(|text| text.trim().parse().ok());
            match header.filter(|_| !all.use_local_time) {
                Some(millis) => millis,
                None => {
                    if !all.use_local_time && !self.said_local_time {
                        self.said_local_time = true;
                        info!(
                            sink = self.name,
                            "an event without a timestamp header: the local time stands for it, \
                             here and from now on"
                        );
                    }
                    self.clock.unix_millis()
                }
            }
        } else {
            0
        };
        let path = all.path.expand(event, millis, &all.calendar);
        let prefix = all.prefix.expand(event, millis, &all.calendar);
        if (path, prefix) != (self.expanded.0.as_str(), self.expanded.1.as_str()) {
            self.key = Key {
                dir: tidy(path),
                prefix: prefix.to_owned(),
            };
            self.expanded = (path.to_owned(), prefix.to_owned());
        }
    }

    fn count(&self, counters: &SinkCounters) {
        let Some(running) = &self.running else { return };
        let shared = &running.shared;
        counters
            .connection_created
            .fetch_add(shared.opened.swap(0, Relaxed), Relaxed);
        counters
            .connection_closed
            .fetch_add(shared.closed.swap(0, Relaxed), Relaxed);
        counters
            .connection_failed
            .fetch_add(shared.failed.swap(0, Relaxed), Relaxed);
    }
}

impl Drop for HdfsSink {
    /// Ends the timer of a sink that was not closed; its files are abandoned, as by a crash.
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.ended.set();
        }
    }
}

/// A path without doubled slashes, and without one at its end.
fn tidy(path: &str) -> String {
    let mut out = String::with_capacity(path.len() + 1);
    for part in path.split('/').filter(|part| !part.is_empty()) {
        out.push('/');
        out.push_str(part);
    }
    out
}

impl Sink for HdfsSink {
    fn open(&mut self) -> Result<(), BoxError> {
        if self.running.is_none() {
            self.running = Some(self.start(&self.all.journal)?);
        }
        Ok(())
    }

    fn process(&mut self, feed: &Feed<'_>) -> Result<Status, BoxError> {
        let take = feed.channel.take(self.all.batch_size, TAKE_WAIT)?;
        let events = take.len();
        feed.counters.batch(events, self.all.batch_size);
        if events == 0 {
            take.commit()?;
            self.count(feed.counters);
            return Ok(Status::Backoff);
        }
        feed.counters
            .event_drain_attempt
            .fetch_add(events as u64, Relaxed);
        let stored = self.store(take.as_ref());
        self.count(feed.counters);
        if let Err(error) = stored {
            // Back to the channel first: the pause must not hold the events.
            drop(take);
            feed.counters.event_write_fail.fetch_add(1, Relaxed);
            let first = self.all.settings.first_pause;
            let pause = self
                .pause
                .map_or(first, |pause| (pause * 2).min(LONGEST_PAUSE));
            warn!(sink = self.name, %error, events, ?pause, "not stored; trying again in a new file");
            self.pause = Some(pause);
            feed.stop.wait(pause);
            return Ok(Status::Ready);
        }
        if !Defect::HdfsRetryWritesTwice.is_planted() {
            self.pause = None;
        }
        take.commit()?;
        feed.counters
            .event_drain_success
            .fetch_add(events as u64, Relaxed);
        Ok(Status::Ready)
    }

    fn close(&mut self) -> Result<(), BoxError> {
        let Some(running) = self.running.take() else {
            return Ok(());
        };
        let Running {
            shared,
            buckets,
            ended,
            timer,
            recovery,
        } = running;
        ended.set();
        shared.end_after(END_LIMIT);
        let _ = timer.join();
        buckets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .close_all();
        // Ends the workers, after the renames they are at.
        drop(buckets);
        while shared.recovering.load(Relaxed) > 0 && !recovery.is_finished() {
            std::thread::sleep(Duration::from_millis(20));
        }
        let left = shared.listed().len();
        if left > 0 {
            warn!(
                sink = self.name,
                files = left,
                "left in use; the next start recovers them"
            );
        }
        shared.end_recovery();
        let _ = recovery.join();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
