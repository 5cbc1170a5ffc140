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
//! | `trials/<run>/` | the runs; of those that did not fail, stored data and the agent's directory are taken away |
//! | `shrink/<run>/` | replays that failed |
//! | `smallest-1.toml`, … | the smallest failing scenarios, with the configuration beside them |
//!
//! A trial is noted as void before it begins and noted again when it has ended: whatever ends the
//! harness, what was under way counts as void, and nothing is tried twice under one number.

pub mod place;
pub mod schedule;
pub mod shrink;
mod smallest;
pub mod trial;
pub mod windows;

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use flume_bench_reports::campaign::conclude::{LEVEL, conclude};
use flume_bench_reports::campaign::{
    self as report, CampaignRecord, GUARANTEES, Identity, MenuEntry, Outcome, Plan, Size, Trial,
};
use flume_bench_reports::record::{Known, RunRecord, Text64};
use flume_bench_reports::statistics::least_n;
use sha2::{Digest as _, Sha256};

use crate::judge;
use crate::runner::{self, Options};
use crate::scenario::campaign::Campaign;
use crate::scenario::reader::Problem;
use crate::scenario::{Scenario, load_text};
use crate::text::show_duration;
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
    let (dir, record) = match &request.resume {
        Some(dir) => (dir.clone(), take_up(dir, scenario)?),
        None => begin(scenario, campaign, request, options, say)?,
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
        self.note(trial::pending(&assignment));
        match trial::run(self.scenario, self.campaign, &assignment, &self.options) {
            Ok((mut trial, record)) => {
                trial.run = format!("trials/{}", trial.run);
                self.learn(&record);
                (self.say)(&line(&trial, &self.state().record.plan));
                self.state().under_way -= 1;
                self.note(trial);
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
        if !state.problems.is_empty() {
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

    /// Writes a trial down, over what was there under its number.
    fn note(&self, trial: Trial) {
        let mut state = self.state();
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
        self.write(&state.record);
    }

    fn write(&self, record: &CampaignRecord) {
        if let Err(error) = report::write(&self.dir.join(RECORD), record) {
            (self.say)(&error.to_string());
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
        if !request.shrink_budget.is_zero() && !self.interrupted() {
            smallest::find(&self, request.shrink_budget);
        }
        let interrupted = self.interrupted();
        let Self {
            state, dir, say, ..
        } = self;
        let mut record = state
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .record;
        record.interrupted = interrupted;
        record.identity.ended = Known::Value(jiff::Timestamp::now().to_string());
        conclude(&mut record);
        if let Err(error) = report::write(&dir.join(RECORD), &record) {
            say(&error.to_string());
        }
        Ok(Done { record, dir })
    }
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

/// Fixes n, makes the directory, and writes the record for the first time.
fn begin(
    scenario: &Scenario,
    campaign: &Campaign,
    request: &Request,
    options: &Options,
    say: Say<'_>,
) -> Result<(PathBuf, CampaignRecord), Vec<Problem>> {
    let started = jiff::Timestamp::now();
    let mut hash = Sha256::new();
    hash.update(scenario.seed.to_le_bytes());
    hash.update(started.to_string());
    let id = format!(
        "{}-campaign-{}-{}",
        started.strftime("%Y%m%d-%H%M%S"),
        scenario.name,
        hash.finalize()[..4]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    );
    let dir = options.runs.join(&id);
    let not_made = |error: std::io::Error| {
        vec![Problem::of_machine(
            format!(
                "the campaign's directory {} cannot be made: {error}",
                dir.display()
            ),
            "choose another place with --runs",
        )]
    };
    std::fs::create_dir_all(dir.join("trials")).map_err(not_made)?;
    let dir = dir.canonicalize().map_err(not_made)?;
    let jobs = jobs_here(request.jobs, say);
    let size = match request.wanted {
        Wanted::Trials(trials) => Size::Trials { trials },
        Wanted::Budget(budget) => pilot(scenario, campaign, budget, jobs, &dir, options, say)?,
        Wanted::UntilUpper(upper) => Size::UntilUpper {
            upper_ppm: (upper * 1e6).round() as u32,
            boundaries: least_n::boundaries(upper, LEVEL, request.allow_failures.into())
                .map_err(|error| vec![Problem::of_machine(error.to_string(), "write \"5 %\"")])?
                .into_iter()
                .map(|n| n as u32)
                .collect(),
        },
    };
    let facts = judge::gather(scenario, 0, &options.command_line, &options.tools);
    let record = CampaignRecord {
        schema_version: report::SCHEMA_VERSION,
        repeat: facts.repeat.clone(),
        identity: Identity {
            campaign: id,
            scenario: scenario.name.clone(),
            scenario_path: scenario.path.display().to_string(),
            files: files(scenario),
            seed: Text64(scenario.seed),
            command_line: options.command_line.clone(),
            driver: scenario.sut.driver.name().into(),
            store: scenario.store.kind().into(),
            provider: scenario.store.provider().into(),
            host: facts.host,
            started: started.to_string(),
            ended: Known::unknown("it has not ended"),
            ..Identity::default()
        },
        plan: plan(scenario, campaign, request, size, jobs),
        reasons: vec!["The campaign has not ended; --resume goes on with it.".into()],
        interrupted: true,
        ..CampaignRecord::default()
    };
    report::write(&dir.join(RECORD), &record).map_err(|error| {
        vec![Problem::of_machine(
            error.to_string(),
            "choose another place with --runs",
        )]
    })?;
    Ok((dir, record))
}

/// Two trials at a time only where each has two cores of its own: otherwise they would slow each
/// other's generators, and be void.
fn jobs_here(wanted: u32, say: Say<'_>) -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if wanted > 1 && cores < 4 {
        say(&format!(
            "--jobs {wanted}: this machine has {cores} cores, and two trials want two each: one at a time"
        ));
        return 1;
    }
    wanted
}

/// One trial that counts for nothing, to see how long they take.
fn pilot(
    scenario: &Scenario,
    campaign: &Campaign,
    budget: Duration,
    jobs: u32,
    dir: &Path,
    options: &Options,
    say: Say<'_>,
) -> Result<Size, Vec<Problem>> {
    let began = Instant::now();
    let seed = trial_seed(scenario.seed, 0);
    let faults = draw(campaign, seed);
    let assignment = Assignment {
        number: 0,
        seed,
        faults: &faults,
        rate: None,
    };
    let options = Options {
        runs: dir.join("pilot"),
        run_id: None,
        quiet: true,
        ..options.clone()
    };
    say("a pilot trial, which counts for nothing, shows how long they take");
    trial::run(scenario, campaign, &assignment, &options)?;
    let took = began.elapsed();
    let left = budget.saturating_sub(took).as_secs_f64() * f64::from(jobs);
    let trials = (left / took.as_secs_f64().max(0.001)) as u32;
    Ok(Size::Budget {
        budget_us: budget.as_micros() as u64,
        pilot_us: took.as_micros() as u64,
        trials: trials.clamp(1, MOST),
    })
}

/// The scenario as it is run, and the files it names, with their SHA-256.
fn files(scenario: &Scenario) -> Vec<flume_bench_reports::record::FileUsed> {
    use flume_bench_reports::record::FileUsed;
    let hash = |bytes: &[u8]| -> String {
        Sha256::digest(bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    };
    let mut files = vec![FileUsed {
        role: "scenario, with overrides".into(),
        path: scenario.path.display().to_string(),
        sha256: Known::Value(hash(scenario.text.as_bytes())),
    }];
    for (role, path) in [
        ("configuration", &scenario.sut.config),
        ("replayed lines", &scenario.load.replay),
    ] {
        if let Some(path) = path {
            files.push(FileUsed {
                role: role.into(),
                path: path.display().to_string(),
                sha256: std::fs::read(path).map_or_else(
                    |error| Known::unknown(error.to_string()),
                    |bytes| Known::Value(hash(&bytes)),
                ),
            });
        }
    }
    files
}

fn plan(
    scenario: &Scenario,
    campaign: &Campaign,
    request: &Request,
    size: Size,
    jobs: u32,
) -> Plan {
    let us = |duration: Duration| duration.as_micros() as u64;
    let load = &scenario.load;
    Plan {
        size,
        allow_failures: request.allow_failures,
        jobs,
        warm_up_us: us(campaign.phases.warm_up),
        steady_us: us(campaign.phases.steady),
        drain_deadline_us: us(campaign.phases.drain_deadline),
        max_overlap: campaign.max_overlap as u32,
        max_faults: campaign.max_faults as u32,
        menu: campaign
            .menu
            .iter()
            .map(|item| MenuEntry {
                kind: item.kind.into(),
                targets: item.targets.clone(),
                at_us: [us(item.at.0), us(item.at.1)],
                for_us: [us(item.lasts.0), us(item.lasts.1)],
                settings: item
                    .settings
                    .iter()
                    .map(|(key, values)| {
                        let text = |value: &toml::Value| {
                            value
                                .as_str()
                                .map_or_else(|| value.to_string(), str::to_owned)
                        };
                        (key.clone(), values.iter().map(text).collect())
                    })
                    .collect(),
            })
            .collect(),
        left_out: crate::fault::KINDS
            .iter()
            .map(|kind| kind.name)
            .filter(|name| campaign.menu.iter().all(|item| item.kind != *name))
            .map(str::to_owned)
            .collect(),
        load: format!(
            "{} events/s into {}, batches of {}, {} connections, {} bodies of {} bytes",
            load.rate, load.into, load.batch, load.connections, load.payload, load.body
        ),
        objectives: objectives(scenario),
        guarantees: guarantees(scenario),
    }
}

fn objectives(scenario: &Scenario) -> Vec<String> {
    let objectives = &scenario.objectives;
    let counts = objectives
        .counts
        .iter()
        .map(|(name, limit)| format!("{name} at most {limit}"));
    let latencies = objectives
        .latencies
        .iter()
        .map(|one| format!("{} at most {}", one.key, show_duration(one.limit)));
    let during = objectives.during.iter().map(|one| {
        format!(
            "{} at most {} inside fault windows",
            one.key,
            show_duration(one.limit)
        )
    });
    let drained = objectives
        .drained_within
        .map(|limit| format!("drained within {}", show_duration(limit)));
    counts
        .chain(latencies)
        .chain(during)
        .chain(drained)
        .collect()
}

/// The guarantees that the scenario has an objective for.
fn guarantees(scenario: &Scenario) -> Vec<String> {
    let objectives = &scenario.objectives;
    let timed = !objectives.latencies.is_empty()
        || !objectives.during.is_empty()
        || objectives.drained_within.is_some();
    GUARANTEES
        .iter()
        .filter(|(key, _, classes)| match *key {
            "comes_back" => true,
            "objectives" => timed,
            _ => classes
                .iter()
                .any(|class| objectives.limit(class).is_some()),
        })
        .map(|(key, ..)| (*key).to_owned())
        .collect()
}

/// Reads the record of a campaign that is to be resumed, and refuses another one.
fn take_up(dir: &Path, scenario: &Scenario) -> Result<CampaignRecord, Vec<Problem>> {
    let record = report::read(&dir.join(RECORD)).map_err(|error| {
        vec![Problem::of_machine(
            error.to_string(),
            "--resume wants a campaign's directory, such as runs/20260101-120000-campaign-hdfs-…",
        )]
    })?;
    let changed = |what: &str| {
        vec![Problem::of_machine(
            format!("{}: {what} since this campaign began", dir.display()),
            "trials of different things do not add up: begin a new campaign, without --resume",
        )]
    };
    if record.identity.seed.0 != scenario.seed {
        return Err(changed("the seed is another one"));
    }
    let now = files(scenario);
    let same = |role: &str| {
        let of = |files: &[flume_bench_reports::record::FileUsed]| {
            let file = files.iter().find(|file| file.role == role);
            file.map(|file| file.sha256.clone())
        };
        of(&record.identity.files) == of(&now)
    };
    for file in &record.identity.files {
        if !same(&file.role) {
            return Err(changed(&format!("the {} has changed", file.role)));
        }
    }
    Ok(record)
}

#[cfg(test)]
mod tests;
