//! Runs in pairs: the same load for both arms, one right after the other, which of them goes first
//! drawn from the seed. A pair that others disturbed is run again, and that is decided before its
//! results are looked at.

use std::cell::RefCell;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use flume_bench_reports::gate::measure;
use flume_bench_reports::gate::record::{Pair, RunOf, Spoiled};
use flume_bench_reports::record::{Counter, RunRecord};
use flume_bench_reports::verdict::{ExitCode, Verdict};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::noise::{Foreign, Reading};
use super::variant::Variant;
use crate::runner;
use crate::tools::Tools;

/// Checkers without which a run shows nothing, whatever it measured.
const NEEDED: [&str; 3] = ["conservation", "corruption", "enough_evidence"];

/// One scenario, in both arms.
#[derive(Debug)]
pub struct Subject {
    /// Its name.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
    /// SHA-256 of what both arms run, the arms' own changes left out.
    pub sha256: String,
    /// Its text for each arm, baseline first.
    pub variants: [Variant; 2],
    /// The stored baseline that stands in for the first arm's runs.
    pub stored: Option<RunOf>,
    /// Why it is not run at all, if it is not.
    pub left_out: Option<String>,
    /// Foreign CPU above which a pair is spoiled, ppm.
    pub foreign_ppm: u64,
    /// The pairs that count.
    pub pairs: Vec<Pair>,
    /// The ones that did not.
    pub spoiled: Vec<Spoiled>,
    /// The objectives and checkers that each arm's runs missed.
    pub misses: Vec<Miss>,
}

/// A run that missed something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Miss {
    /// 0 is the baseline.
    pub arm: usize,
    /// `lost`, `stored_response_us_p99`, …
    pub what: String,
    /// The sentence of the run's own report.
    pub why: String,
    /// The run's directory.
    pub dir: String,
    /// Number of the pair.
    pub pair: u64,
}

/// Why no more pairs are run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// Somebody asked for it.
    Interrupted,
    /// Too many pairs were spoiled.
    Unfit(String),
    /// The harness or a store failed.
    Failed(String),
}

/// What all pairs of a gate share.
pub struct Session<'a> {
    /// The gate's own directory.
    pub dir: &'a Path,
    /// The program of each arm.
    pub programs: [Option<PathBuf>; 2],
    /// What the machine has.
    pub tools: &'a Tools,
    /// The command line, for the records.
    pub command_line: &'a [String],
    /// Set by a signal.
    pub interrupted: &'a Arc<AtomicBool>,
    /// More spoiled pairs than this: the host is unfit.
    pub spoiled_at_most: usize,
    /// Says what is going on.
    pub say: &'a dyn Fn(&str),
    /// Orders and loads.
    pub random: RefCell<ChaCha8Rng>,
}

impl fmt::Debug for Session<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("dir", &self.dir)
            .field("programs", &self.programs)
            .finish_non_exhaustive()
    }
}

/// A generator of orders and loads.
pub fn random(seed: u64) -> RefCell<ChaCha8Rng> {
    RefCell::new(ChaCha8Rng::seed_from_u64(seed))
}

/// A run with what is needed of it.
struct Done {
    run: RunOf,
    record: RunRecord,
}

impl Session<'_> {
    /// Runs one pair that counts, and as many as it takes.
    ///
    /// # Errors
    /// Why there will be no more.
    pub fn pair(&self, subject: &mut Subject, number: u64, stage: &str) -> Result<(), Stop> {
        loop {
            let (first, seed) = {
                let mut random = self.random.borrow_mut();
                (usize::from(random.random::<bool>()), random.random::<u32>())
            };
            let before = Reading::now();
            // A stored baseline was run at another time; it has missed nothing.
            let stored = subject.stored.clone().map(|run| Done {
                run,
                record: RunRecord::default(),
            });
            let mut done = [stored, None];
            for arm in [first, 1 - first] {
                if done[arm].is_none() {
                    done[arm] = Some(self.run(subject, arm, seed.into())?);
                }
            }
            let foreign = match (before, Reading::now()) {
                (Some(before), Some(after)) => after.since(&before),
                _ => return Err(Stop::Failed("/proc/stat cannot be read".into())),
            };
            let [Some(baseline), Some(candidate)] = done else {
                return Err(Stop::Failed("a run of the pair is missing".into()));
            };
            let done = [baseline, candidate];
            // Before anything of the results is looked at.
            let spoiled = foreign.spoils(subject.foreign_ppm).or_else(|| void(&done));
            let Some(why) = spoiled else {
                self.keep(subject, done, number, stage, first, foreign);
                return Ok(());
            };
            (self.say)(&format!("{}: pair {number} again: {why}", subject.name));
            subject.spoiled.push(Spoiled {
                number,
                why,
                foreign_ppm: foreign.used_ppm,
            });
            // What was lost was lost, whoever else used the machine.
            self.note_misses(subject, &done, number, true);
            if subject.spoiled.len() > self.spoiled_at_most {
                return Err(Stop::Unfit(format!(
                    "{} of {} pairs of {} were spoiled; the last because {}",
                    subject.spoiled.len(),
                    subject.spoiled.len() + subject.pairs.len(),
                    subject.name,
                    subject.spoiled.last().map_or("", |last| last.why.as_str())
                )));
            }
        }
    }

    fn keep(
        &self,
        subject: &mut Subject,
        done: [Done; 2],
        number: u64,
        stage: &str,
        first: usize,
        foreign: Foreign,
    ) {
        self.note_misses(subject, &done, number, false);
        let [baseline, candidate] = done;
        subject.pairs.push(Pair {
            number,
            stage: stage.to_owned(),
            first: first as u64,
            foreign_ppm: foreign.used_ppm,
            runs: vec![baseline.run, candidate.run],
        });
    }

    /// Of a spoiled pair only what no noise can cause: losses, corruption, invented events.
    fn note_misses(&self, subject: &mut Subject, done: &[Done; 2], pair: u64, hard_only: bool) {
        for (arm, one) in done.iter().enumerate() {
            for (what, why) in missed(&one.record) {
                if !hard_only || super::is_hard(&what) {
                    subject.misses.push(Miss {
                        arm,
                        what,
                        why,
                        dir: one.run.dir.clone(),
                        pair,
                    });
                }
            }
        }
    }

    fn run(&self, subject: &Subject, arm: usize, seed: u64) -> Result<Done, Stop> {
        let said = |problems: Vec<crate::scenario::reader::Problem>| {
            let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
            Stop::Failed(all.join("; "))
        };
        let scenario = subject.variants[arm]
            .with_seed(&subject.path, seed)
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
        let outcome = runner::run(&scenario, &options).map_err(said)?;
        let took = began.elapsed();
        if self.interrupted.load(Ordering::Relaxed) || outcome.record.interrupted {
            return Err(Stop::Interrupted);
        }
        let record = outcome.record;
        if record.exit_code == ExitCode::HarnessFailed {
            return Err(Stop::Failed(format!(
                "{} (its run is in {})",
                record
                    .reasons
                    .first()
                    .map_or("the run failed", String::as_str),
                outcome.dir.display()
            )));
        }
        if record.exit_code != ExitCode::Missed {
            thin(&outcome.dir);
        }
        Ok(Done {
            run: summary(&record, &outcome.dir, self.dir, took),
            record,
        })
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

/// Why the runs of a pair prove too little to be counted.
fn void(done: &[Done; 2]) -> Option<String> {
    done.iter().find_map(|one| {
        one.record
            .checkers
            .iter()
            .find(|checker| {
                NEEDED.contains(&checker.name.as_str()) && checker.verdict == Verdict::Inconclusive
            })
            .map(|checker| checker.reason.trim_end_matches('.').to_owned())
    })
}

/// What a run missed: objectives by name, and checkers that no objective stands for.
fn missed(record: &RunRecord) -> Vec<(String, String)> {
    let mut missed: Vec<(String, String)> = record
        .objectives
        .iter()
        .filter(|objective| objective.verdict == Verdict::Fail)
        .map(|objective| {
            let seen = objective
                .seen
                .value()
                .map_or_else(|| "unknown".to_owned(), flume_bench_reports::show::quantity);
            let limit = flume_bench_reports::show::quantity(&objective.limit);
            (
                objective.metric.clone(),
                format!("{seen}, and {limit} is allowed"),
            )
        })
        .collect();
    if missed.is_empty() {
        missed.extend(
            record
                .checkers
                .iter()
                .filter(|checker| checker.verdict == Verdict::Fail)
                .map(|checker| (checker.name.clone(), checker.reason.clone())),
        );
    }
    missed
}
