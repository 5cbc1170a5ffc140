//! How a campaign begins: n is fixed, the directory made, the record written for the first time; or
//! one that was interrupted is taken up, if it is the same one and nobody else works at it.

use std::fs::{File, TryLockError};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use flume_bench_reports::campaign::conclude::LEVEL;
use flume_bench_reports::campaign::{
    self as report, CampaignRecord, GUARANTEES, Identity, MenuEntry, Outcome, Plan, Size, Trial,
};
use flume_bench_reports::record::{FileUsed, Known, RunRecord, Text64};
use flume_bench_reports::statistics::least_n;
use sha2::{Digest as _, Sha256};

use super::schedule::{draw, trial_seed};
use super::trial::{self, Assignment};
use super::{MOST, RECORD, Request, Say, Wanted};
use crate::judge;
use crate::runner::Options;
use crate::scenario::Scenario;
use crate::scenario::campaign::Campaign;
use crate::scenario::reader::Problem;
use crate::text::show_duration;
use crate::tools::Tools;

/// Pilots that are tried before nothing is known of how long a trial takes.
const PILOTS: u32 = 3;
/// Name of the file that is locked while somebody works at a campaign.
const LOCK: &str = "lock";

/// Held while a process works at a campaign; ends with the process, however that ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes it, or says that somebody else has it.
    pub(super) fn take(dir: &Path) -> Result<Self, Vec<Problem>> {
        let problem = |what: String, remedy: &str| vec![Problem::of_machine(what, remedy)];
        let unusable = |error: std::io::Error| {
            problem(
                format!("{}: its lock cannot be taken: {error}", dir.display()),
                "the campaign's directory must be writable",
            )
        };
        let file = File::create(dir.join(LOCK)).map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(problem(
                format!("{}: another process works at this campaign", dir.display()),
                "wait until it has ended",
            )),
            Err(TryLockError::Error(error)) => Err(unusable(error)),
        }
    }
}

/// Fixes n, makes the directory, and writes the record for the first time.
pub(super) fn begin(
    scenario: &Scenario,
    campaign: &Campaign,
    request: &Request,
    options: &Options,
    say: Say<'_>,
) -> Result<(PathBuf, CampaignRecord), Vec<Problem>> {
    let started = jiff::Timestamp::now();
    let id = id_of(scenario, started);
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
        Wanted::UntilUpper(upper) => until_upper(upper, request.allow_failures)?,
    };
    let facts = judge::gather(scenario, 0, &options.command_line, &options.tools);
    let record = CampaignRecord {
        schema_version: report::SCHEMA_VERSION,
        repeat: facts.repeat.clone(),
        identity: Identity {
            campaign: id,
            scenario: scenario.name.clone(),
            scenario_path: scenario.path.display().to_string(),
            files: files(scenario, &options.tools),
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

/// The campaign's name: when it began, of what, and four bytes that tell two such apart.
fn id_of(scenario: &Scenario, started: jiff::Timestamp) -> String {
    let mut hash = Sha256::new();
    hash.update(scenario.seed.to_le_bytes());
    hash.update(started.to_string());
    format!(
        "{}-campaign-{}-{}",
        started.strftime("%Y%m%d-%H%M%S"),
        scenario.name,
        hex(&hash.finalize()[..4])
    )
}

/// As many trials as the claim needs, for each number of failures that is allowed.
fn until_upper(upper: f64, allow_failures: u32) -> Result<Size, Vec<Problem>> {
    let boundaries = least_n::boundaries(upper, LEVEL, allow_failures.into())
        .map_err(|error| vec![Problem::of_machine(error.to_string(), "write \"5 %\"")])?;
    Ok(Size::UntilUpper {
        upper_ppm: (upper * 1e6).round() as u32,
        boundaries: boundaries.into_iter().map(|n| n as u32).collect(),
    })
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

/// Trials that count for nothing, to see how long one takes: one, unless it is void.
fn pilot(
    scenario: &Scenario,
    campaign: &Campaign,
    budget: Duration,
    jobs: u32,
    dir: &Path,
    options: &Options,
    say: Say<'_>,
) -> Result<Size, Vec<Problem>> {
    let options = Options {
        runs: dir.join("pilot"),
        run_id: None,
        quiet: true,
        ..options.clone()
    };
    let size = |took: Duration, trials: u32| Size::Budget {
        budget_us: budget.as_micros() as u64,
        pilot_us: took.as_micros() as u64,
        trials,
    };
    say("a pilot trial, which counts for nothing, shows how long they take");
    let all = Instant::now();
    for again in 0..PILOTS {
        let began = Instant::now();
        // Numbers that no trial has.
        let number = if again == 0 { 0 } else { u32::MAX - again };
        let seed = trial_seed(scenario.seed, number);
        let assignment = Assignment {
            number: 0,
            seed,
            faults: &draw(campaign, seed),
            rate: None,
        };
        let (trial, record) = trial::run(scenario, campaign, &assignment, &options)?;
        let took = began.elapsed();
        let interrupted = options.interrupted.load(Ordering::Relaxed);
        match told(&trial, &record, interrupted) {
            Told::Time(remark) => {
                remark.iter().for_each(|remark| say(remark));
                let left = budget.saturating_sub(all.elapsed());
                return Ok(size(took, fit(left, took, jobs)));
            }
            Told::Nothing(why) => say(&why),
            Told::Interrupted => break,
        }
    }
    say("no number of trials was fixed, so none is tried: begin a new campaign, or say --trials");
    Ok(size(Duration::ZERO, 0))
}

/// What a pilot tells.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    /// How long a trial takes, and what must be said of it.
    Time(Option<String>),
    /// Nothing, and why.
    Nothing(String),
    /// Nothing, and no other is to be tried.
    Interrupted,
}

fn told(trial: &Trial, record: &RunRecord, interrupted: bool) -> Told {
    if interrupted || record.interrupted {
        return Told::Interrupted;
    }
    match trial.outcome {
        Outcome::Passed => Told::Time(None),
        Outcome::Failed => Told::Time(Some(format!(
            "the pilot failed and counts for nothing all the same; it is kept in pilot/{}: {}",
            trial.run,
            trial
                .failures
                .first()
                .map_or("", |failure| failure.sentence.as_str())
        ))),
        Outcome::Void => Told::Nothing(format!(
            "the pilot is void and tells nothing: {}",
            trial.void.first().map_or("", String::as_str)
        )),
    }
}

/// How many trials fit into what is left.
fn fit(left: Duration, took: Duration, jobs: u32) -> u32 {
    let trials = left.as_secs_f64() * f64::from(jobs) / took.as_secs_f64().max(0.001);
    (trials as u32).clamp(1, MOST)
}

/// The SHA-256 of a file, read a piece at a time.
fn sha256(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut piece = vec![0; 1 << 16];
    loop {
        match file.read(&mut piece)? {
            0 => break,
            read => hash.update(&piece[..read]),
        }
    }
    Ok(hex(&hash.finalize()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The scenario as it is run, the files it names, and the programs that run it, with their SHA-256.
fn files(scenario: &Scenario, tools: &Tools) -> Vec<FileUsed> {
    let mut files = vec![FileUsed {
        role: "scenario, with overrides".into(),
        path: scenario.path.display().to_string(),
        sha256: Known::Value(hex(&Sha256::digest(scenario.text.as_bytes()))),
    }];
    for (role, path) in [
        ("configuration", scenario.sut.config.as_ref()),
        ("replayed lines", scenario.load.replay.as_ref()),
        ("program", Some(&tools.program)),
        ("agent's program", tools.agent_program.as_ref()),
    ] {
        if let Some(path) = path {
            files.push(FileUsed {
                role: role.into(),
                path: path.display().to_string(),
                sha256: sha256(path)
                    .map_or_else(|error| Known::unknown(error.to_string()), Known::Value),
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
pub(super) fn take_up(
    dir: &Path,
    scenario: &Scenario,
    tools: &Tools,
) -> Result<CampaignRecord, Vec<Problem>> {
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
    let now = files(scenario, tools);
    let same = |role: &str| {
        let of = |files: &[FileUsed]| {
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
mod tests {
    use super::*;
    use flume_bench_reports::campaign::Failure;

    #[test]
    fn only_a_pilot_that_was_judged_tells_the_time() {
        let trial = |outcome| Trial {
            outcome,
            run: "r1".into(),
            void: vec!["kill-1: nobody saw it".into()],
            failures: vec![Failure {
                sentence: "3 are lost.".into(),
                ..Failure::default()
            }],
            ..Trial::default()
        };
        let record = RunRecord::default();
        let of = |outcome| told(&trial(outcome), &record, false);
        assert_eq!(of(Outcome::Passed), Told::Time(None));
        let Told::Time(Some(said)) = of(Outcome::Failed) else {
            panic!("a failing pilot is said");
        };
        assert!(
            said.contains("pilot/r1") && said.contains("3 are lost"),
            "{said}"
        );
        let Told::Nothing(said) = of(Outcome::Void) else {
            panic!("a void pilot tells nothing");
        };
        assert!(said.contains("nobody saw it"), "{said}");
        let interrupted = RunRecord {
            interrupted: true,
            ..RunRecord::default()
        };
        for outcome in [Outcome::Passed, Outcome::Failed, Outcome::Void] {
            assert_eq!(
                told(&trial(outcome), &interrupted, false),
                Told::Interrupted
            );
            assert_eq!(told(&trial(outcome), &record, true), Told::Interrupted);
        }
    }

    #[test]
    fn as_many_trials_as_fit() {
        let seconds = Duration::from_secs;
        assert_eq!(fit(seconds(100), seconds(10), 1), 10);
        assert_eq!(fit(seconds(100), seconds(10), 2), 20);
        assert_eq!(fit(seconds(1), seconds(10), 1), 1);
        assert_eq!(fit(seconds(1_000_000), Duration::ZERO, 1), MOST);
    }

    #[test]
    fn two_processes_do_not_work_at_one_campaign() {
        let directory = tempfile::tempdir().unwrap();
        let first = Lock::take(directory.path()).unwrap();
        let refused = Lock::take(directory.path()).unwrap_err();
        assert!(refused[0].to_string().contains("another process"));
        drop(first);
        Lock::take(directory.path()).unwrap();
    }
}
