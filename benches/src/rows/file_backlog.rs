//! `file-backlog`: how soon after the start does an agent with a backlog deliver?
//!
//! 100,000 events wait in the file channel of an agent that was killed: there is no checkpoint. The
//! time runs from the opening of the channel to the first take of a transaction of 100; where the
//! program `flume-bench` is built, also from its start to the first byte in the file of a
//! `file_roll` sink.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use flume_bench_engine::channel::Channel;
use flume_bench_engine::event::BatchBuilder;

use super::{Options, Row};
use crate::guard::Meter;
use crate::outcome::{BenchError, Limit, Outcome};
use crate::pairs::undisturbed;
use crate::work::{TRANSACTION, binary, body, channel};

/// The row.
pub(super) static ROW: Row = Row {
    name: "file-backlog",
    question: "How soon after the start is the first event of a backlog of 100,000 taken?",
    limit: "first event taken ≤ 1 s after the start",
    is_long: false,
    has_arms: false,
    run,
};

const BACKLOG: u64 = 100_000;
const TRIES: usize = 3;
/// How long the agent may take before the row gives up.
const PATIENCE: Duration = Duration::from_secs(20);

const KILLED: [&str; 2] = ["checkpointOnClose = false", "fsyncPerTransaction = false"];

fn run(options: &Options, meter: &mut dyn Meter) -> Result<Outcome, BenchError> {
    let mut outcome = Outcome::new(ROW.name);
    let events = options.part_of(BACKLOG, 1_000, &mut outcome);
    let limit = Limit::AtMost(1.0);
    let directory = options.scratch()?;
    fill(directory.path(), events)?;
    let (seconds, disturbance, _) = undisturbed(TRIES, meter, || {
        let file = channel::closed_file(directory.path(), &KILLED)?;
        let start = Instant::now();
        file.open()
            .map_err(BenchError::wrong("open the file channel"))?;
        let taken = file
            .take(TRANSACTION, Duration::ZERO)
            .map_err(BenchError::wrong("take the first events"))?;
        let seconds = start.elapsed().as_secs_f64();
        // Dropped, and so rolled back: the backlog is whole again for the next try.
        let count = taken.len();
        drop(taken);
        file.close();
        if count == TRANSACTION {
            return Ok(seconds);
        }
        Err(BenchError::Wrong {
            what: "take the first events",
            why: format!("{count} of {TRANSACTION} came"),
        })
    })?;
    outcome.check_despite("open and take", seconds, "s", limit, disturbance);
    if binary::flume_bench().is_err() {
        outcome
            .notes
            .push("flume-bench is not built; the channel alone was measured".to_owned());
        return Ok(outcome);
    }
    let (seconds, disturbance, _) = undisturbed(TRIES, meter, || {
        // The agent takes for good, so each try has a backlog of its own.
        let directory = options.scratch()?;
        fill(directory.path(), events)?;
        deliver(directory.path())
    })?;
    outcome.check_despite("whole agent", seconds, "s", limit, disturbance);
    Ok(outcome)
}

fn fill(directory: &Path, events: u64) -> Result<(), BenchError> {
    let file = channel::file(directory, &KILLED)?;
    let (mut builder, body) = (BatchBuilder::new(), body());
    for _ in 0..events.div_ceil(TRANSACTION as u64) {
        channel::put(&file, &channel::batch(&mut builder, &body, TRANSACTION)?)?;
    }
    file.close();
    Ok(())
}

/// Starts an agent on the channel; answers after how many seconds it has delivered something.
fn deliver(directory: &Path) -> Result<f64, BenchError> {
    let out = directory.join("out");
    std::fs::create_dir_all(&out).map_err(BenchError::file("create", &out))?;
    let configuration = format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
         a1.sources.r1.type = netcat\na1.sources.r1.bind = 127.0.0.1\na1.sources.r1.port = {}\n\
         a1.sources.r1.channels = c1\n\
         a1.channels.c1.type = file\na1.channels.c1.checkpointDir = {1}/checkpoint\n\
         a1.channels.c1.dataDirs = {1}/data\n\
         a1.sinks.k1.type = file_roll\na1.sinks.k1.channel = c1\n\
         a1.sinks.k1.sink.directory = {1}/out\n",
        super::free_port()?,
        directory.display()
    );
    let start = Instant::now();
    let mut agent = binary::agent(directory, &configuration)?;
    while start.elapsed() < PATIENCE && agent.runs() {
        let entries = std::fs::read_dir(&out).map_err(BenchError::file("list", &out))?;
        let has_bytes =
            |entry: std::fs::DirEntry| entry.metadata().is_ok_and(|file| file.len() > 0);
        if entries.flatten().any(has_bytes) {
            return Ok(start.elapsed().as_secs_f64());
        }
        thread::sleep(Duration::from_millis(1));
    }
    let log = std::fs::read_to_string(directory.join("agent.log")).unwrap_or_default();
    Err(BenchError::Wrong {
        what: "see the agent deliver its backlog",
        why: format!("it did not within {PATIENCE:?}: {}", super::tail(&log)),
    })
}
