//! `campaign`: many short trials of one scenario, each with faults drawn from its menu; how many
//! fail, how sure that makes one, how the system came back, and the smallest scenario that fails.
//!
//! ```text
//! fix n → trial 1 … n: draw → run → judge → sum up → campaign.json → shrink what failed → conclude
//! ```
//!
//! A trial is an ordinary run ([`crate::runner`]) of a text made from the scenario's: fresh
//! directory, fresh store, its own seed, judged by the same judge. The seed of trial i follows from
//! the campaign's seed and i alone, so a campaign that is resumed goes on with the same list.
//!
//! In the campaign's directory, `runs/<time>-campaign-<scenario>-<seed>/`:
//!
//! | file | what it is |
//! |---|---|
//! | `campaign.json` | the record ([`flume_bench_reports::campaign`]), written anew before and after each trial |
//! | `lock` | locked while a process works at the campaign |
//! | `pilot/<run>/` | with a budget: the trial that showed how long one takes, and counts for nothing |
//! | `trials/<run>/` | the runs; of those that did not fail, stored data and the agent's directory are taken away |
//! | `shrink/<run>/` | replays that failed |
//! | `smallest-1.toml`, … | the smallest failing scenarios, with the configuration beside them; `failing-1.toml` where one was not shrunk |
//!
//! A trial is noted as void before it begins and noted again when it has ended: whatever ends the
//! harness, what was under way counts as void, and nothing is tried twice under one number.

mod begin;
pub mod place;
pub mod schedule;
pub mod shrink;
mod smallest;
pub mod trial;
pub mod windows;

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use flume_bench_reports::campaign::conclude::{LEVEL, conclude};
use flume_bench_reports::campaign::{self as report, CampaignRecord, Outcome, Plan, Size, Trial};
use flume_bench_reports::record::{Known, RunRecord};
use flume_bench_reports::statistics::least_n;
use flume_bench_reports::verdict::{ExitCode, Verdict};

use crate::runner::{self, Options};
use crate::scenario::campaign::Campaign;
use crate::scenario::reader::Problem;
use crate::scenario::{Scenario, load_text};
use begin::{Lock, begin, take_up};
use schedule::{draw, text_of, trial_seed};
use trial::Assignment;

/// Name of the record in a campaign's directory.
pub const RECORD: &str = "campaign.json";
/// The most trials a campaign may have.
pub const MOST: u32 = 10_000;

/// How the number of trials is to be fixed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Wanted {
    /// So many.
    Trials(u32),
    /// As many as fit into this time, after a pilot.
    Budget(Duration),
    /// Until the share of failing trials is below this, 0 to 1, at 95 %.
    UntilUpper(f64),
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// How many trials.
    pub wanted: Wanted,
    /// How many of them may fail.
    pub allow_failures: u32,
    /// How many run at the same time.
    pub jobs: u32,
    /// The campaign to go on with.
    pub resume: Option<PathBuf>,
    /// How long failures may be shrunk; zero: not at all.
    pub shrink_budget: Duration,
}

/// What a campaign came to.
#[derive(Debug)]
pub struct Done {
    /// The record, as written.
    pub record: CampaignRecord,
    /// The campaign's directory.
    pub dir: PathBuf,
}

/// Says how it goes, a line at a time.
pub type Say<'a> = &'a (dyn Fn(&str) + Sync);

/// Everything that is wrong with a campaign, found before anything is started.
pub fn check(scenario: &Scenario, request: &Request, options: &Options) -> Vec<Problem> {
    let mut problems = Vec::new();
    match request.wanted {
        Wanted::Trials(trials) if !(1..=MOST).contains(&trials) => {
            problems.push(Problem::of_machine(
                format!("--trials {trials} cannot be done"),
                format!("from 1 to {MOST}; 59 without a failure show \"below 5 %\""),
            ));
        }
        Wanted::Budget(budget) if budget.is_zero() => problems.push(Problem::of_machine(
            "--budget 0 leaves time for no trial",
            "write a duration, such as --budget 20m",
        )),
        Wanted::UntilUpper(upper) => {
            if let Err(error) = least_n::boundaries(upper, LEVEL, request.allow_failures.into()) {
                problems.push(Problem::of_machine(
                    format!("--until-upper cannot be reached: {error}"),
                    "write a share such as \"5 %\" or \"1 %\", and --allow-failures from 0 to 20",
                ));
            }
        }
        _ => {}
    }
    if !(1..=2).contains(&request.jobs) {
        problems.push(Problem::of_machine(
            format!("--jobs {} cannot be done", request.jobs),
            "one trial at a time, or two",
        ));
    }
    match &scenario.campaign {
        None => problems.push(
            Problem::at(
                &scenario.path,
                0,
                "has no [campaign]: there is no menu to draw faults from",
            )
            .remedy(
                "add [campaign] with at least one [[campaign.menu]]: kind, targets, at and for; scenarios/hdfs.toml has one",
            ),
        ),
        Some(campaign) => problems.extend(first_trial(scenario, campaign, options).err().unwrap_or_default()),
    }
    problems
}

/// The first trial's scenario must be one.
fn first_trial(
    scenario: &Scenario,
    campaign: &Campaign,
    options: &Options,
) -> Result<(), Vec<Problem>> {
    let seed = trial_seed(scenario.seed, 1);
    let text = text_of(scenario, campaign, &draw(campaign, seed), seed, None).map_err(|error| {
        vec![Problem::of_machine(
            error,
            "this is a defect, please report it",
        )]
    })?;
    let trial = load_text(&scenario.path, &text)?;
    let problems = runner::preflight(&trial, options);
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems)
    }
}

/// Runs a campaign, or goes on with one. `Err`: something was found wrong before anything was
/// started.
///
/// # Errors
/// Every problem of scenario, request and machine; a campaign to be resumed that is another one.
pub fn run(
    scenario: &Scenario,
    request: &Request,
    options: &Options,
    say: Say<'_>,
) -> Result<Done, Vec<Problem>> {
    let problems = check(scenario, request, options);
    let campaign = match &scenario.campaign {
        Some(campaign) if problems.is_empty() => campaign,
        _ => return Err(problems),
    };
    let (dir, record, _lock) = match &request.resume {
        Some(dir) => {
            // Where there is no record it is no campaign, and gets no lock.
            let is_one = dir.join(RECORD).is_file();
            let lock = is_one.then(|| Lock::take(dir)).transpose()?;
            (dir.clone(), take_up(dir, scenario, &options.tools)?, lock)
        }
        None => {
            let (dir, record) = begin(scenario, campaign, request, options, say)?;
            let lock = Lock::take(&dir)?;
            (dir, record, Some(lock))
        }
    };
    let work = Work {
        scenario,
        campaign,
        options: Options {
            runs: dir.join("trials"),
            run_id: None,
            quiet: true,
            ..options.clone()
        },
        dir,
        state: Mutex::new(State {
            record,
            under_way: 0,
            problems: Vec::new(),
            unwritten: None,
        }),
        say,
    };
    work.announce();
    work.trials();
    work.end(request)
}

/// A campaign under way.
struct Work<'a> {
    scenario: &'a Scenario,
    campaign: &'a Campaign,
    options: Options,
    dir: PathBuf,
    state: Mutex<State>,
    say: Say<'a>,
}

struct State {
    record: CampaignRecord,
    under_way: u32,
    problems: Vec<Problem>,
    /// Why the record could not be written, which ends the campaign.
    unwritten: Option<String>,
}

impl Work<'_> {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn interrupted(&self) -> bool {
        self.options.interrupted.load(Ordering::Relaxed)
    }

    fn announce(&self) {
        let state = self.state();
        let plan = &state.record.plan;
        let many = match &plan.size {
            Size::Trials { trials } => format!("{trials} trials"),
            Size::Budget {
                trials, pilot_us, ..
            } => format!(
                "{trials} trials (the pilot took {})",
                flume_bench_reports::show::duration(*pilot_us)
            ),
            Size::UntilUpper { boundaries, .. } => format!(
                "{} valid trials without a failure",
                boundaries.first().copied().unwrap_or(0)
            ),
        };
        let done = match state.record.trials.len() {
            0 => String::new(),
            done => format!(", {done} of them done"),
        };
        (self.say)(&format!(
            "flume-bench: campaign of {}, seed {}, {many}{done}, in {}",
            self.scenario.name,
            self.scenario.seed,
            self.dir.display()
        ));
    }

    /// Tries until the plan is done or the campaign is interrupted.
    fn trials(&self) {
        let jobs = self.state().record.plan.jobs;
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| while self.one() {});
            }
        });
    }

    /// One trial; `false` when no more is to be tried.
    fn one(&self) -> bool {
        let Some(number) = self.next() else {
            return false;
        };
        let seed = trial_seed(self.scenario.seed, number);
        let faults = draw(self.campaign, seed);
        let assignment = Assignment {
            number,
            seed,
            faults: &faults,
            rate: None,
        };
        self.note(trial::pending(&assignment), false);
        match trial::run(self.scenario, self.campaign, &assignment, &self.options) {
            Ok((mut trial, record)) => {
                trial.run = format!("trials/{}", trial.run);
                self.learn(&record);
                (self.say)(&line(&trial, &self.state().record.plan));
                self.note(trial, true);
                true
            }
            Err(problems) => {
                let mut state = self.state();
                state.under_way -= 1;
                state.problems.extend(problems);
                false
            }
        }
    }

    /// The number of the next trial, from now on under way.
    fn next(&self) -> Option<u32> {
        if self.interrupted() {
            return None;
        }
        let mut state = self.state();
        if !state.problems.is_empty() || state.unwritten.is_some() {
            return None;
        }
        let State {
            record, under_way, ..
        } = &mut *state;
        let number = record.plan.next(&record.trials, *under_way)?;
        // The place is taken at once, so that nobody else takes it.
        record.trials.push(Trial {
            number,
            ..Trial::default()
        });
        *under_way += 1;
        Some(number)
    }

    /// Writes a trial down, over what was there under its number. One that has ended is no longer
    /// under way from the same moment on.
    fn note(&self, trial: Trial, ended: bool) {
        let mut state = self.state();
        state.under_way -= u32::from(ended);
        let number = trial.number;
        match state
            .record
            .trials
            .iter_mut()
            .find(|known| known.number == number)
        {
            Some(known) => *known = trial,
            None => state.record.trials.push(trial),
        }
        self.write(&mut state);
    }

    fn write(&self, state: &mut State) {
        if let Err(error) = report::write(&self.dir.join(RECORD), &state.record) {
            let error = error.to_string();
            (self.say)(&error);
            state.unwritten.get_or_insert(error);
        }
    }

    /// Takes over what only a run knows, from the first one.
    fn learn(&self, record: &RunRecord) {
        let identity = &mut self.state().record.identity;
        if identity.versions.is_empty() {
            identity.versions.clone_from(&record.identity.versions);
            identity.commit.clone_from(&record.identity.commit);
            identity.host.clone_from(&record.host);
            identity.sut_version.clone_from(&record.sut.version);
            identity
                .store_version
                .clone_from(&record.store.server_version);
        }
    }

    /// Shrinks what failed, concludes, writes.
    fn end(self, request: &Request) -> Result<Done, Vec<Problem>> {
        {
            let mut state = self.state();
            let problems = std::mem::take(&mut state.problems);
            // Something the first trial had and a later one has not: a full disk, a port. What was
            // done is kept.
            if !problems.is_empty() && state.record.trials.len() <= 1 {
                return Err(problems);
            }
            for problem in problems {
                (self.say)(&problem.to_string());
            }
        }
        let unwritten = self.state().unwritten.is_some();
        if !request.shrink_budget.is_zero() && !self.interrupted() && !unwritten {
            smallest::find(&self, request.shrink_budget);
        }
        let interrupted = self.interrupted();
        let Self {
            state, dir, say, ..
        } = self;
        let State {
            mut record,
            mut unwritten,
            ..
        } = state.into_inner().unwrap_or_else(PoisonError::into_inner);
        record.interrupted = interrupted;
        record.identity.ended = Known::Value(jiff::Timestamp::now().to_string());
        conclude(&mut record);
        if let Some(error) = &unwritten {
            stopped(&mut record, error);
        }
        if let Err(error) = report::write(&dir.join(RECORD), &record) {
            say(&error.to_string());
            if unwritten.is_none() {
                stopped(&mut record, unwritten.insert(error.to_string()));
            }
        }
        Ok(Done { record, dir })
    }
}

/// A campaign whose record cannot be written is the harness's failure: 4 stands above all that was
/// found, which is said beside it.
fn stopped(record: &mut CampaignRecord, error: &str) {
    record.exit_code = ExitCode::decide([record.exit_code, ExitCode::HarnessFailed]);
    if record.verdict == Verdict::Pass {
        record.verdict = Verdict::Inconclusive;
    }
    let reason = format!("The campaign's record could not be written: {error}");
    record.reasons.insert(0, reason);
}

/// `trial 12 of 59: passed, 14.2 s (kill agent, at 1.2 s for 500 ms; …)`
fn line(trial: &Trial, plan: &Plan) -> String {
    let of = plan.wanted(0).unwrap_or(0);
    let why = match trial.outcome {
        Outcome::Passed => String::new(),
        Outcome::Failed => trial
            .failures
            .first()
            .map(|failure| format!(": {}", failure.sentence))
            .unwrap_or_default(),
        Outcome::Void => trial
            .void
            .first()
            .map(|why| format!(": {why}"))
            .unwrap_or_default(),
    };
    let faults: Vec<String> = trial
        .schedule
        .iter()
        .map(report::Strike::describe)
        .collect();
    format!(
        "trial {} of {of}: {} after {}{why} [{}]",
        trial.number,
        trial.outcome.as_str(),
        flume_bench_reports::show::duration(trial.took_us),
        faults.join("; ")
    )
}

#[cfg(test)]
mod tests;
