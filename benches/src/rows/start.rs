//! `start`: how long does a user look at an empty screen?
//!
//! From the start of the program `flume-bench run quickstart` to its first line, on standard output
//! or error. The run is then interrupted; three of them, and the slowest counts.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{Options, Row};
use crate::guard::Meter;
use crate::outcome::{BenchError, Limit, Outcome};
use crate::pairs::undisturbed;
use crate::work::binary::{self, Process};

/// The row.
pub(super) static ROW: Row = Row {
    name: "start",
    question: "How soon does `flume-bench run quickstart` print its first line?",
    limit: "≤ 1 s after the program starts",
    is_long: false,
    has_arms: false,
    run,
};

const RUNS: usize = 3;
/// How long the first line may take before the row gives up.
const PATIENCE: Duration = Duration::from_secs(20);

fn run(options: &Options, meter: &mut dyn Meter) -> Result<Outcome, BenchError> {
    let mut outcome = Outcome::new(ROW.name);
    let (slowest, disturbance, _) = undisturbed(2, meter, || {
        let mut slowest = 0.0_f64;
        for _ in 0..RUNS {
            slowest = slowest.max(first_line(options)?);
        }
        Ok(slowest)
    })?;
    let limit = Limit::AtMost(1.0);
    outcome.check_despite("first line", slowest, "s", limit, disturbance);
    Ok(outcome)
}

fn first_line(options: &Options) -> Result<f64, BenchError> {
    let directory = options.scratch()?;
    let program = binary::flume_bench()?;
    // Output and error in one pipe: a user sees both on one screen.
    let (mut reader, writer) = std::io::pipe().map_err(BenchError::system("make a pipe"))?;
    let second = writer
        .try_clone()
        .map_err(BenchError::system("make a pipe"))?;
    let mut command = Command::new(program);
    command
        .args(["run", "quickstart", "--runs", "runs"])
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(second);
    let start = Instant::now();
    let mut process =
        Process::start(&mut command).map_err(BenchError::system("start flume-bench"))?;
    // Our own ends of the pipe go with it, so that the pipe ends when the child does.
    drop(command);
    let (mut line, mut bytes) = (Vec::new(), [0; 512]);
    while !line.contains(&b'\n') {
        let left = PATIENCE.saturating_sub(start.elapsed());
        let count = if binary::readable(&reader, left) {
            reader
                .read(&mut bytes)
                .map_err(BenchError::system("read from flume-bench"))?
        } else {
            0
        };
        if count == 0 {
            return Err(BenchError::Wrong {
                what: "see the first line of a run",
                why: format!("none within {:?}", start.elapsed()),
            });
        }
        line.extend_from_slice(bytes.get(..count).unwrap_or_default());
    }
    let seconds = start.elapsed().as_secs_f64();
    // It heals and ends what it started. The pipe holds what it says meanwhile: it is closed later,
    // because a run that cannot say a thing any more might end in another way.
    process.stop(Signal::SIGINT);
    drop(reader);
    Ok(seconds)
}
