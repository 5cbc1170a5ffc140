//! Shrinks what failed in a campaign with real runs, and writes the smallest scenarios.
//!
//! One search a signature (class, hop), for the first trial that failed so, at most [`SIGNATURES`].
//! Of the budget, what ten runs take is kept back for the last ten, from which "fails 9 of 10" comes.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use flume_bench_reports::campaign::{
    CampaignRecord, GUARANTEES, Outcome, Shrunk, Signature, Strike, Trial,
};

use super::Work;
use super::schedule::{Drawn, draw, show_rate, text_of, trial_seed};
use super::shrink::{self, Candidate, LEAST, RUNS, Replay};
use super::trial::{self, Assignment};
use crate::runner::Options;

/// Signatures that are shrunk in one campaign.
const SIGNATURES: usize = 3;

/// Finds the smallest scenario of each signature, the gravest first, each within its share of the
/// budget that is left.
pub(super) fn find(work: &Work<'_>, budget: Duration) {
    let deadline = Instant::now() + budget;
    let todo = signatures(&work.state().record);
    let left = todo.len() as u32;
    for (i, (signature, trial)) in todo.into_iter().enumerate() {
        if work.options.interrupted.load(Ordering::Relaxed) {
            return;
        }
        let file = format!("smallest-{}.toml", work.state().record.shrunk.len() + 1);
        let share = deadline.saturating_duration_since(Instant::now()) / (left - i as u32);
        let shrunk = one(work, &trial, signature, file, Instant::now() + share);
        (work.say)(&format!("trial {}: {}", trial.number, shrunk.sentence));
        let mut state = work.state();
        state.record.shrunk.push(shrunk);
        work.write(&state.record);
    }
}

/// What is to be shrunk: each signature with the first trial that failed so, in the order of the
/// guarantees, those left out that have been shrunk already.
fn signatures(record: &CampaignRecord) -> Vec<(Signature, Trial)> {
    let mut found: Vec<(usize, Signature, Trial)> = Vec::new();
    for trial in &record.trials {
        if trial.outcome != Outcome::Failed {
            continue;
        }
        for failure in &trial.failures {
            let signature = failure.signature();
            let done = record.shrunk.iter().any(|one| one.signature == signature);
            if !done && found.iter().all(|(_, known, _)| *known != signature) {
                let rank = GUARANTEES
                    .iter()
                    .position(|(key, ..)| *key == failure.guarantee);
                found.push((rank.unwrap_or(usize::MAX), signature, trial.clone()));
            }
        }
    }
    found.sort_by_key(|(rank, ..)| *rank);
    found
        .into_iter()
        .take(SIGNATURES.saturating_sub(record.shrunk.len()))
        .map(|(_, signature, trial)| (signature, trial))
        .collect()
}

/// Runs behind the search.
struct Runs<'a> {
    work: &'a Work<'a>,
    options: Options,
    trial: &'a Trial,
    signature: &'a Signature,
    file: &'a str,
    deadline: Instant,
    /// Runs that must still be possible when this one has ended.
    reserved: u32,
    longest: Duration,
    runs: u32,
    /// The directory of a run that failed, which is kept.
    shown: Option<PathBuf>,
    error: Option<String>,
}

impl Replay for Runs<'_> {
    fn replay(&mut self, candidate: &Candidate) -> Option<bool> {
        let needed = self.longest * (self.reserved + 1);
        if Instant::now() + needed > self.deadline
            || self.options.interrupted.load(Ordering::Relaxed)
            || self.error.is_some()
        {
            return None;
        }
        self.runs += 1;
        let began = Instant::now();
        let assignment = Assignment {
            number: 0,
            seed: trial_seed(self.trial.seed.0, self.runs),
            faults: &candidate.faults,
            rate: Some(candidate.rate),
        };
        let ran = trial::run(
            self.work.scenario,
            self.work.campaign,
            &assignment,
            &self.options,
        );
        self.longest = self.longest.max(began.elapsed());
        match ran {
            Ok((trial, _)) => {
                let fails = trial
                    .failures
                    .iter()
                    .any(|failure| &failure.signature() == self.signature);
                self.keep_one(self.options.runs.join(&trial.run), fails);
                Some(fails)
            }
            Err(problems) => {
                self.error = problems.first().map(ToString::to_string);
                None
            }
        }
    }

    fn improved(&mut self, candidate: &Candidate) {
        (self.work.say)(&format!(
            "  fails with {} at {}",
            describe(&candidate.faults),
            show_rate(candidate.rate)
        ));
        self.write(candidate, "The best so far: the search had not ended.");
    }
}

fn describe(faults: &[Drawn]) -> String {
    let all: Vec<String> = faults
        .iter()
        .enumerate()
        .map(|(i, fault)| fault.as_planned(i).describe())
        .collect();
    if all.is_empty() {
        return "no fault at all".into();
    }
    all.join("; ")
}

impl Runs<'_> {
    /// Of all replays the directory of the latest one that failed is kept.
    fn keep_one(&mut self, dir: PathBuf, fails: bool) {
        let gone = if fails {
            self.shown.replace(dir)
        } else {
            Some(dir)
        };
        if let Some(gone) = gone {
            let _ = std::fs::remove_dir_all(gone);
        }
    }

    /// Writes a scenario file, with its configuration beside it.
    fn write(&mut self, candidate: &Candidate, remark: &str) {
        if let Err(error) = self.try_write(candidate, remark) {
            (self.work.say)(&error);
        }
    }

    fn try_write(&self, candidate: &Candidate, remark: &str) -> Result<(), String> {
        let scenario = self.work.scenario;
        let text = text_of(
            scenario,
            self.work.campaign,
            &candidate.faults,
            trial_seed(self.trial.seed.0, 1),
            Some(candidate.rate),
        )?;
        let mut document: toml_edit::DocumentMut =
            text.parse().map_err(|error| format!("{error}"))?;
        let failed = |what: &str, error: std::io::Error| {
            format!(
                "{what} could not be written into {}: {error}",
                self.work.dir.display()
            )
        };
        if let Some(config) = &scenario.sut.config {
            let name = config.file_name().unwrap_or("agent.conf".as_ref());
            std::fs::copy(config, self.work.dir.join(name))
                .map_err(|error| failed("the configuration", error))?;
            document["sut"]["config"] = toml_edit::value(name.to_string_lossy().into_owned());
        }
        if let Some(replay) = &scenario.load.replay {
            let replay = replay.canonicalize().unwrap_or_else(|_| replay.clone());
            document["load"]["replay"] = toml_edit::value(replay.display().to_string());
        }
        let hop = match self.signature.hop.as_str() {
            "" => String::new(),
            hop => format!(" in the {hop}"),
        };
        let head = format!(
            "# The smallest scenario found that fails as trial {} of the campaign did ({}{hop}).\n# {remark}\n#\n# expect {}: exit 1\n",
            self.trial.number,
            self.signature.class,
            scenario.sut.driver.name(),
        );
        let body = document.to_string();
        // The comments at the head of the scenario are about the scenario.
        let body: String = body
            .lines()
            .skip_while(|line| line.starts_with('#') || line.is_empty())
            .map(|line| format!("{line}\n"))
            .collect();
        std::fs::write(self.work.dir.join(self.file), head + &body)
            .map_err(|error| failed(self.file, error))
    }
}

fn one(
    work: &Work<'_>,
    trial: &Trial,
    signature: Signature,
    file: String,
    deadline: Instant,
) -> Shrunk {
    let began = Instant::now();
    let failing = Candidate {
        faults: draw(work.campaign, trial.seed.0),
        rate: work.scenario.load.rate,
    };
    (work.say)(&format!(
        "trial {} failed ({}): replaying it {RUNS} times",
        trial.number, signature.class
    ));
    let mut runs = Runs {
        work,
        options: Options {
            runs: work.dir.join("shrink"),
            ..work.options.clone()
        },
        trial,
        signature: &signature,
        file: &file,
        deadline,
        reserved: 0,
        longest: Duration::from_micros(trial.took_us),
        runs: 0,
        shown: None,
        error: None,
    };
    runs.write(&failing, "Its schedule as it was: it has not been shrunk.");
    let searched = search(&mut runs, &failing);
    let (schedule, rate) = (planned(&searched.smallest.faults), searched.smallest.rate);
    let runs_spent = runs.runs;
    if let Some(error) = &runs.error {
        (work.say)(error);
    }
    Shrunk {
        trial: trial.number,
        replays: [searched.k, searched.replayed],
        wanted: searched.wanted,
        runs: runs_spent,
        faults_before: failing.faults.len() as u32,
        schedule,
        rate_before: show_rate(failing.rate),
        rate_after: show_rate(rate),
        confirmed: searched.confirmed,
        sentence: searched.sentence,
        took_us: began.elapsed().as_micros() as u64,
        signature,
        file,
    }
}

fn planned(faults: &[Drawn]) -> Vec<Strike> {
    faults
        .iter()
        .enumerate()
        .map(|(i, fault)| fault.as_planned(i))
        .collect()
}

/// What a search came to.
struct Searched {
    smallest: Candidate,
    k: u32,
    replayed: u32,
    wanted: Option<u32>,
    confirmed: Option<[u32; 2]>,
    sentence: String,
}

fn search(runs: &mut Runs<'_>, failing: &Candidate) -> Searched {
    let (mut k, mut replayed) = (0, 0);
    while replayed < RUNS {
        match runs.replay(failing) {
            Some(fails) => k += u32::from(fails),
            None => break,
        }
        replayed += 1;
    }
    let unshrunk = |sentence: String| Searched {
        smallest: failing.clone(),
        k,
        replayed,
        wanted: None,
        confirmed: None,
        sentence,
    };
    if replayed < RUNS {
        return unshrunk(format!(
            "fails {k} of {replayed}, not shrunk: the budget ended before {RUNS} replays"
        ));
    }
    if k < LEAST {
        return unshrunk(format!(
            "fails {k} of {RUNS}, not shrunk: too seldom to tell a culprit"
        ));
    }
    let wanted = shrink::wanted(k);
    runs.reserved = RUNS;
    let shrunk = shrink::shrink(runs, failing, wanted);
    runs.reserved = 0;
    let (mut confirmed, mut fresh) = (0, 0);
    while fresh < RUNS {
        match runs.replay(&shrunk.smallest) {
            Some(fails) => confirmed += u32::from(fails),
            None => break,
        }
        fresh += 1;
    }
    let ended = if shrunk.complete {
        "nothing smaller fails"
    } else {
        "the budget ended the search, this is the best so far"
    };
    let sentence = format!(
        "fails {confirmed} of {fresh} fresh runs with {} at {}: {ended}",
        describe(&shrunk.smallest.faults),
        show_rate(shrunk.smallest.rate)
    );
    runs.write(
        &shrunk.smallest,
        &format!("It failed {confirmed} of {fresh} fresh runs; {ended}."),
    );
    Searched {
        smallest: shrunk.smallest,
        k,
        replayed,
        wanted: Some(wanted),
        confirmed: Some([confirmed, fresh]),
        sentence,
    }
}
