//! The rows: one question each. One file per row, one line in [`ROWS`].

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use crate::guard::Meter;
use crate::outcome::{BenchError, Outcome};
use crate::pairs::Plan;

mod aa;
mod file_100;
mod file_backlog;
mod file_flume;
mod file_flume_1000;
mod file_flume_4;
mod file_replay;
mod gen_omission;
mod gen_pace;
mod hdfs_avro;
mod hdfs_exec;
mod hdfs_recovery;
mod html_10min;
mod idle_agent;
mod ledger_1e8;
mod mem_100;
mod mem_flume;
mod start;

/// All rows, sorted by name. `aa` comes first, and without it no ratio has a verdict.
pub static ROWS: &[&Row] = &[
    &aa::ROW,
    &file_100::ROW,
    &file_backlog::ROW,
    &file_flume::ROW,
    &file_flume_1000::ROW,
    &file_flume_4::ROW,
    &file_replay::ROW,
    &gen_omission::ROW,
    &gen_pace::ROW,
    &hdfs_avro::ROW,
    &hdfs_exec::ROW,
    &hdfs_recovery::ROW,
    &html_10min::ROW,
    &idle_agent::ROW,
    &ledger_1e8::ROW,
    &mem_100::ROW,
    &mem_flume::ROW,
    &start::ROW,
];

/// The name of the row that compares the machine with itself.
pub const AA: &str = "aa";

/// The first argument of this program when it is started as a child of itself, to measure the
/// memory of something in a process of its own.
pub const CHILD: &str = "child";

/// Does what a child is started for: writes its result to standard output.
#[must_use]
pub fn child(task: Option<&str>, argument: Option<&str>) -> ExitCode {
    match task {
        Some(task) if task == ledger_1e8::ROW.name => ledger_1e8::child(argument),
        _ => ExitCode::from(2),
    }
}

/// A row.
#[derive(Debug)]
pub struct Row {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it answers, in one sentence.
    pub question: &'static str,
    /// Its limits, in words.
    pub limit: &'static str,
    /// Whether `all` runs it only with `--long`.
    pub is_long: bool,
    /// Whether two arms are compared, so that it needs `aa` to pass.
    pub has_arms: bool,
    /// Answers it.
    pub run: fn(&Options, &mut dyn Meter) -> Result<Outcome, BenchError>,
}

/// What the command line says about how to run rows.
#[derive(Debug, Clone)]
pub struct Options {
    /// Clean pairs that a comparison needs.
    pub pairs: usize,
    /// How long an arm works in one pair.
    pub time: Duration,
    /// Where files are written.
    pub directory: PathBuf,
    /// How much smaller than its name says the work is; 1 unless in a test. A row that is made
    /// smaller is void where its limit is about the whole.
    pub shrink: u32,
}

impl Options {
    /// A comparison of rates as these options want it.
    #[must_use]
    pub fn plan(&self) -> Plan {
        Plan::of_rates(self.pairs)
    }

    /// A directory of its own for one row, removed when it is dropped.
    ///
    /// # Errors
    /// It could not be made.
    pub fn scratch(&self) -> Result<tempfile::TempDir, BenchError> {
        tempfile::Builder::new()
            .prefix("flume-bench-")
            .tempdir_in(&self.directory)
            .map_err(BenchError::file("make a directory in", &self.directory))
    }

    /// `whole`, made smaller; at least `least`. Notes in `outcome` that it proves nothing then.
    pub fn part_of(&self, whole: u64, least: u64, outcome: &mut Outcome) -> u64 {
        if self.shrink > 1 {
            outcome
                .void
                .push(format!("the work was made {} times smaller", self.shrink));
        }
        (whole / u64::from(self.shrink.max(1))).max(least)
    }
}

/// The row of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Row> {
    ROWS.iter().copied().find(|row| row.name == name)
}

/// A port of 127.0.0.1 that nobody listens on at the moment.
fn free_port() -> Result<u16, BenchError> {
    std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(BenchError::system("find a free port"))
}

/// The last lines of a log, for an error.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let last = lines.get(lines.len().saturating_sub(3)..);
    last.unwrap_or_default().join("; ")
}
