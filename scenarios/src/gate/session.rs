//! Runs in pairs: the same load for both arms, one right after the other, which of them goes first
//! drawn from the seed. With `[gate] turns` both are up at once and get their load in turns, so that
//! what drifts is the same for both; which of them has the first turn is drawn. A pair that others disturbed is run again, and that is decided before its
//! results are looked at.

mod launch;

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use flume_bench_reports::gate::measure;
use flume_bench_reports::gate::record::{Pair, RunOf, Spoiled};
use flume_bench_reports::record::{Checker, Objective, RunRecord};
use flume_bench_reports::show;
use flume_bench_reports::verdict::{ExitCode, Verdict};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::noise::{Foreign, Reading};
use super::variant::Variant;
use crate::tools::Tools;
use launch::Launch;

/// After a hard miss, runs of each arm before the gate says whether the baseline has it too.
const RUNS_AFTER_LOSS: u64 = 3;
/// So many void runs of the candidate, and none of the baseline, are no chance.
const VOID_OF_ONE_ARM: u64 = 3;
/// What a run has missed that took over less.
pub const OFFERED_LOAD: &str = "offered_load";

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
    /// How long a turn is, where both arms are up at once.
    pub turns: Option<Duration>,
    /// The pairs that count.
    pub pairs: Vec<Pair>,
    /// The ones that did not.
    pub spoiled: Vec<Spoiled>,
    /// The objectives and checkers that each arm's runs missed.
    pub misses: Vec<Miss>,
    /// Whether the scenario's own faults strike.
    pub with_faults: bool,
    /// Runs of each arm that came to an end.
    pub ended: [u64; 2],
    /// Those of them that others did not disturb.
    pub judged: [u64; 2],
    /// Pairs that others disturbed.
    pub disturbed: usize,
    /// Runs of each arm that proved too little to be counted.
    pub void: [u64; 2],
}

impl Subject {
    /// Whether the candidate has lost something (or does not live, …), and enough of its runs are
    /// over to say whether the baseline has it too.
    pub fn is_settled(&self) -> bool {
        let over = match self.stored {
            Some(_) => self.judged[1],
            None => self.judged[0].min(self.judged[1]),
        };
        let hard = |miss: &Miss| miss.arm == 1 && super::is_hard(&miss.what);
        over >= RUNS_AFTER_LOSS && self.misses.iter().any(hard)
    }
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
    /// Others disturbed too many pairs.
    Unfit(String),
    /// Too many runs proved too little to be counted.
    Void {
        /// Which, and why.
        why: String,
        /// Whether they are the candidate's: then it is not the host's doing.
        candidate: bool,
    },
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
    /// None of a stored baseline.
    record: Option<RunRecord>,
}

impl Session<'_> {
    /// Runs one pair that counts, and as many as it takes.
    ///
    /// # Errors
    /// Why there will be no more.
    pub fn pair(&self, subject: &mut Subject, number: u64, stage: &str) -> Result<(), Stop> {
        let launch = self.launch();
        match subject.turns {
            Some(turn) => self.pair_by(
                subject,
                number,
                stage,
                &|subject, first, seed| launch.at_once(subject, number, first, seed, turn),
                &Reading::now,
            ),
            None => {
                let run = |subject: &Subject, arm, seed| launch.run(subject, arm, seed, None);
                self.pair_of(subject, number, stage, &run, &Reading::now)
            }
        }
    }

    /// A pair, one run after the other, with what runs an arm and what reads the machine.
    fn pair_of(
        &self,
        subject: &mut Subject,
        number: u64,
        stage: &str,
        run: &Run<'_>,
        reading: &dyn Fn() -> Option<Reading>,
    ) -> Result<(), Stop> {
        let ran = |subject: &mut Subject, first, seed| {
            both(subject, number, first, &|subject, arm| {
                run(subject, arm, seed)
            })
        };
        self.pair_by(subject, number, stage, &ran, reading)
    }

    /// A pair with what runs both arms and what reads the machine.
    fn pair_by(
        &self,
        subject: &mut Subject,
        number: u64,
        stage: &str,
        run: &RunBoth<'_>,
        reading: &dyn Fn() -> Option<Reading>,
    ) -> Result<(), Stop> {
        loop {
            let (first, seed) = {
                let mut random = self.random.borrow_mut();
                (usize::from(random.random::<bool>()), random.random::<u32>())
            };
            let before = reading();
            let ran = run(subject, first, seed.into());
            let foreign = match (before, reading()) {
                (Some(before), Some(after)) => after.since(&before),
                _ => return Err(Stop::Failed("/proc/stat cannot be read".into())),
            };
            // Before anything of the results is looked at.
            let disturbed = foreign.spoils(subject.foreign_ppm);
            let (done, stop) = ran;
            if disturbed.is_none() {
                note_judged(subject, &done, number);
            }
            if let Some(stop) = stop {
                return Err(stop);
            }
            let Some(why) = self.set_aside(subject, &done, disturbed, number, foreign)? else {
                return self.keep(subject, done, number, stage, first, foreign);
            };
            (self.say)(&format!("{}: pair {number} again: {why}", subject.name));
            if subject.is_settled() {
                return Ok(());
            }
        }
    }

    /// Why a pair does not count, if it does not.
    fn set_aside(
        &self,
        subject: &mut Subject,
        done: &[Option<Done>; 2],
        disturbed: Option<String>,
        number: u64,
        foreign: Foreign,
    ) -> Result<Option<String>, Stop> {
        let void = done.each_ref().map(|one| void(one.as_ref()));
        let by_others = disturbed.is_some();
        if !by_others {
            for (arm, one) in void.iter().enumerate() {
                subject.void[arm] += u64::from(one.is_some());
            }
        }
        let of_arm = |arm: usize, name: &str| {
            let why = void[arm].as_ref()?;
            Some(format!("a run of the {name} does not count: {why}"))
        };
        let Some(why) = disturbed
            .or_else(|| of_arm(1, "candidate"))
            .or_else(|| of_arm(0, "baseline"))
        else {
            return Ok(None);
        };
        subject.disturbed += usize::from(by_others);
        subject.spoiled.push(Spoiled {
            number,
            why: why.clone(),
            foreign_ppm: foreign.used_ppm,
        });
        if !subject.is_settled() {
            too_many(subject, self.spoiled_at_most, &why)?;
        }
        Ok(Some(why))
    }

    fn keep(
        &self,
        subject: &mut Subject,
        done: [Option<Done>; 2],
        number: u64,
        stage: &str,
        first: usize,
        foreign: Foreign,
    ) -> Result<(), Stop> {
        let [Some(baseline), Some(candidate)] = done else {
            return Err(Stop::Failed("a run of the pair is missing".into()));
        };
        for (arm, one) in [&baseline, &candidate].into_iter().enumerate() {
            note(subject, arm, one, number, |what| {
                what != OFFERED_LOAD && !super::is_hard(what)
            });
        }
        subject.pairs.push(Pair {
            number,
            stage: stage.to_owned(),
            first: first as u64,
            foreign_ppm: foreign.used_ppm,
            runs: vec![baseline.run, candidate.run],
        });
        Ok(())
    }

    fn launch(&self) -> Launch<'_> {
        Launch {
            dir: self.dir,
            programs: &self.programs,
            tools: self.tools,
            command_line: self.command_line,
            interrupted: self.interrupted,
        }
    }
}

/// What runs an arm.
type Run<'a> = dyn Fn(&Subject, usize, u64) -> Result<Done, Stop> + 'a;

/// Both runs of a pair, as far as they are to be had, and why they are not both there.
type Ran = ([Option<Done>; 2], Option<Stop>);

/// What runs both arms: which of them is first, and the seed.
type RunBoth<'a> = dyn Fn(&mut Subject, usize, u64) -> Ran + 'a;

/// Both runs of a pair, as far as they are to be had, and why they are not both there. What is lost,
/// corrupted or invented is noted as each run ends.
fn both(
    subject: &mut Subject,
    number: u64,
    first: usize,
    run: &dyn Fn(&Subject, usize) -> Result<Done, Stop>,
) -> Ran {
    // A stored baseline was run at another time; it has missed nothing.
    let stored = subject.stored.clone().map(|run| Done { run, record: None });
    let mut done = [stored, None];
    for arm in [first, 1 - first] {
        if done[arm].is_some() {
            continue;
        }
        let result = run(subject, arm);
        if let Some(stop) = take(subject, number, arm, result, &mut done) {
            return (done, Some(stop));
        }
    }
    (done, None)
}

/// Takes what came of a run; why no more are to follow, if none are.
fn take(
    subject: &mut Subject,
    number: u64,
    arm: usize,
    result: Result<Done, Stop>,
    done: &mut [Option<Done>; 2],
) -> Option<Stop> {
    let one = match result {
        Ok(one) => one,
        Err(stop) => return Some(stop),
    };
    subject.ended[arm] += 1;
    // What was lost was lost, whoever else used the machine and however the pair ends.
    note(subject, arm, &one, number, super::is_loss);
    let stop = stop_of(&one);
    if stop.is_none() {
        done[arm] = Some(one);
    }
    stop
}

/// Why nothing more is run after this run, if nothing is.
fn stop_of(done: &Done) -> Option<Stop> {
    let record = done.record.as_ref()?;
    if record.interrupted {
        return Some(Stop::Interrupted);
    }
    let why = || {
        record
            .reasons
            .first()
            .map_or("the run failed", String::as_str)
    };
    (record.exit_code == ExitCode::HarnessFailed)
        .then(|| Stop::Failed(format!("{} (its run is in {})", why(), done.run.dir)))
}

/// Notes what a run missed, as far as it is asked for.
fn note(subject: &mut Subject, arm: usize, done: &Done, pair: u64, asked: fn(&str) -> bool) {
    let Some(record) = &done.record else { return };
    for (what, why) in missed(record) {
        if asked(&what) {
            subject.misses.push(Miss {
                arm,
                what,
                why,
                dir: done.run.dir.clone(),
                pair,
            });
        }
    }
}

/// Notes of runs that nobody disturbed what noise might have caused, and void runs show as well.
fn note_judged(subject: &mut Subject, done: &[Option<Done>; 2], pair: u64) {
    for (arm, one) in done.iter().enumerate() {
        let Some(one) = one.as_ref().filter(|one| one.record.is_some()) else {
            continue;
        };
        subject.judged[arm] += 1;
        note(subject, arm, one, pair, |what| {
            what == OFFERED_LOAD || super::is_hard(what) && !super::is_loss(what)
        });
    }
}

/// Whether so many pairs were set aside that there is no point in going on.
fn too_many(subject: &Subject, at_most: usize, last: &str) -> Result<(), Stop> {
    let all = subject.spoiled.len() + subject.pairs.len();
    if subject.disturbed > at_most && subject.disturbed * 3 > all {
        return Err(Stop::Unfit(format!(
            "{} of {all} pairs of {} were spoiled; the last because {last}",
            subject.disturbed, subject.name,
        )));
    }
    let [baseline, candidate] = subject.void;
    let alone = candidate >= VOID_OF_ONE_ARM && baseline == 0;
    if alone || subject.spoiled.len() - subject.disturbed > at_most {
        return Err(Stop::Void {
            why: format!(
                "{}: {candidate} runs of the candidate and {baseline} of the baseline proved too \
                 little to be counted; {last}",
                subject.name
            ),
            candidate: candidate > 2 * baseline,
        });
    }
    Ok(())
}

/// Why a run proves too little to be counted.
fn void(done: Option<&Done>) -> Option<String> {
    let record = done?.record.as_ref()?;
    let doubtful = |checker: &&Checker| {
        NEEDED.contains(&checker.name.as_str()) && checker.verdict == Verdict::Inconclusive
    };
    let checker = record.checkers.iter().find(doubtful)?;
    Some(checker.reason.trim_end_matches('.').to_owned())
}

/// The checker that has the last word on an objective, if it is not `objectives`.
fn checker_of(objective: &str) -> Option<&'static str> {
    Some(match objective {
        "lost" => "conservation",
        "corrupted" | "malformed" | "unexpected" => "corruption",
        "duplicated" => "duplicates",
        "reordered" => "order",
        "refused" | "unsent" => "kept_up",
        "unpublished" => "publication",
        _ => return None,
    })
}

/// What a run missed: objectives by name, and checkers that no missed objective stands for.
fn missed(record: &RunRecord) -> Vec<(String, String)> {
    let failed = |name: &str| {
        let mut checkers = record.checkers.iter();
        checkers.any(|one| one.name == name && one.verdict == Verdict::Fail)
    };
    let mut missed = Vec::new();
    let short = load_not_taken_over(record);
    // What the system did not take is what `OFFERED_LOAD` says, where it is that much.
    let mut covered: Vec<&str> = short.iter().map(|_| "kept_up").collect();
    for objective in &record.objectives {
        let checker = checker_of(&objective.metric).unwrap_or("objectives");
        if checker == "kept_up" && short.is_some() {
            continue;
        }
        // A count says how many were not seen; whether that proves anything, its checker says.
        let counts = checker == "objectives" || failed(checker);
        if objective.verdict == Verdict::Fail && counts {
            covered.push(checker);
            missed.push((objective.metric.clone(), by_how_much(objective)));
        }
    }
    let checkers = record.checkers.iter();
    for one in checkers.filter(|one| one.verdict == Verdict::Fail) {
        if !covered.contains(&one.name.as_str()) {
            let what = match one.name.as_str() {
                "conservation" => "lost",
                "corruption" => "corrupted",
                "kept_up" => "unsent",
                "publication" => "unpublished",
                name => name,
            };
            missed.push((what.to_owned(), one.reason.clone()));
        }
    }
    missed.extend(short.map(|why| (OFFERED_LOAD.to_owned(), why)));
    missed
}

fn by_how_much(objective: &Objective) -> String {
    let seen = objective
        .seen
        .value()
        .map_or_else(|| "unknown".to_owned(), show::quantity);
    let limit = show::quantity(&objective.limit);
    format!("{seen}; the limit is {limit}")
}

/// How much of its load a run took over, where that is too little.
fn load_not_taken_over(record: &RunRecord) -> Option<String> {
    let (planned, owed) = (record.load.planned, record.counts.owed);
    measure::short_of_load(record).then(|| {
        format!(
            "{} of {} planned events were taken over",
            show::count(owed),
            show::count(planned)
        )
    })
}

#[cfg(test)]
mod tests;
