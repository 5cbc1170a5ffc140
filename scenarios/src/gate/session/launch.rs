//! Starts the runs of a pair: one arm by itself, or both at once in turns.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use flume_bench_reports::gate::measure;
use flume_bench_reports::gate::record::RunOf;
use flume_bench_reports::record::{Counter, RunRecord};
use flume_bench_reports::verdict::ExitCode;

use super::super::variant::Turns;
use super::{Done, Ran, Stop, Subject, take};
use crate::runner::{self, Together};
use crate::tools::Tools;

/// What of a session a run needs; threads can share it.
pub(super) struct Launch<'a> {
    pub(super) dir: &'a Path,
    pub(super) programs: &'a [Option<PathBuf>; 2],
    pub(super) tools: &'a Tools,
    pub(super) command_line: &'a [String],
    pub(super) interrupted: &'a Arc<AtomicBool>,
}

impl Launch<'_> {
    /// Runs an arm, alone or in turns with the other.
    pub(super) fn run(
        &self,
        subject: &Subject,
        arm: usize,
        seed: u64,
        turns: Option<(Turns, &Together)>,
    ) -> Result<Done, Stop> {
        let said = |problems: Vec<crate::scenario::reader::Problem>| {
            let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
            Stop::Failed(all.join("; "))
        };
        let scenario = subject.variants[arm]
            .in_turns(&subject.path, seed, turns.map(|(turns, _)| turns))
            .map_err(said)?;
        let tools = Tools {
            agent_program: self.programs[arm].clone(),
            ..self.tools.clone()
        };
        let options = runner::Options {
            runs: self.dir.join("runs"),
            run_id: None,
            keep_going: true,
            quiet: true,
            command_line: self.command_line.to_vec(),
            tools,
            interrupted: Arc::clone(self.interrupted),
        };
        let began = Instant::now();
        let outcome = match turns {
            Some((_, together)) => runner::run_together(&scenario, &options, together),
            None => runner::run(&scenario, &options),
        };
        let outcome = outcome.map_err(said)?;
        let took = began.elapsed();
        let mut record = outcome.record;
        record.interrupted |= self.interrupted.load(Ordering::Relaxed);
        if record.exit_code != ExitCode::Missed {
            thin(&outcome.dir);
        }
        Ok(Done {
            run: summary(&record, &outcome.dir, self.dir, took),
            record: Some(record),
        })
    }

    /// Runs both arms at once, in turns; the first one prepares before the other does, so that they
    /// do not look for free ports at the same time.
    pub(super) fn at_once(
        &self,
        subject: &mut Subject,
        number: u64,
        first: usize,
        seed: u64,
        turn: Duration,
    ) -> Ran {
        let together = Together::default();
        let one = |arm: usize, second: bool| {
            let _leaves = together.leaves();
            let turns = Turns { turn, second };
            self.run(subject, arm, seed, Some((turns, &together)))
        };
        let results = std::thread::scope(|scope| {
            let early = scope.spawn(|| one(first, false));
            together.wait_for_one();
            let late = one(1 - first, true);
            let panicked = |_| {
                Err(Stop::Failed(
                    "a run panicked; this is a defect of flume-bench".into(),
                ))
            };
            [early.join().unwrap_or_else(panicked), late]
        });
        let mut done = [None, None];
        let mut stop = None;
        for (arm, result) in [first, 1 - first].into_iter().zip(results) {
            let stopped = take(subject, number, arm, result, &mut done);
            stop = stop.or(stopped);
        }
        (done, stop)
    }
}

/// Removes what takes room and proves nothing: a gate leaves dozens of runs.
fn thin(dir: &Path) {
    for part in ["store", "input", "sut/data"] {
        // What stays takes room, and that is all.
        let _ = fs::remove_dir_all(dir.join(part));
    }
}

fn summary(record: &RunRecord, dir: &Path, gate: &Path, took: Duration) -> RunOf {
    let mut counters: Vec<Counter> = Vec::new();
    let mut events = 0;
    for cost in &record.costs {
        events += cost.acked.value().copied().unwrap_or(cost.issued);
        for counter in &cost.counters {
            match counters.iter_mut().find(|one| one.name == counter.name) {
                Some(one) => one.value += counter.value,
                None => counters.push(counter.clone()),
            }
        }
    }
    let gate = gate.canonicalize().unwrap_or_else(|_| gate.to_owned());
    RunOf {
        dir: dir.strip_prefix(&gate).unwrap_or(dir).display().to_string(),
        exit_code: record.exit_code,
        took_us: took.as_micros() as u64,
        values: measure::values(record),
        counters,
        events,
    }
}
