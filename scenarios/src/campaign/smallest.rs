//! Shrinks what failed in a campaign with real runs, and writes the smallest scenarios.
//!
//! One search a signature (class, hop), for the first trial that failed so, at most [`SIGNATURES`].
//! Of the budget, what ten runs take is kept back for the last ten, from which "fails 9 of 10" comes.
//! The scenario is called `smallest-1.toml` once it is smaller than what failed in the trial, or nothing
//! smaller fails; until then `failing-1.toml`.
//!
//! A replay that was interrupted, or in which the harness failed, is no answer. A search that ends so
//! is not noted, so that `--resume` does it again; its best so far stays as a file.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use flume_bench_reports::campaign::{
    CampaignRecord, GUARANTEES, Outcome, Shrunk, Signature, Strike, Trial,
};
use flume_bench_reports::record::RunRecord;
use flume_bench_reports::verdict::ExitCode;

use super::Work;
use super::schedule::{Drawn, draw, show_rate, text_of, trial_seed};
use super::shrink::{self, Candidate, Ended, RUNS, Replay, Searched};
use super::trial::{self, Assignment};
use crate::runner::Options;

/// Signatures that are shrunk in one campaign.
const SIGNATURES: usize = 3;
/// So many replays in a row in which the harness failed end a search.
const SPOILED: u32 = 3;

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
        let number = work.state().record.shrunk.len() + 1;
        let share = deadline.saturating_duration_since(Instant::now()) / (left - i as u32);
        let shrunk = match one(work, &trial, signature, number, Instant::now() + share) {
            Ok(shrunk) => shrunk,
            Err(why) => {
                (work.say)(&format!(
                    "trial {}: the search for the smallest scenario was given up, --resume does it again: {why}",
                    trial.number
                ));
                return;
            }
        };
        (work.say)(&format!("trial {}: {}", trial.number, shrunk.sentence));
        let mut state = work.state();
        state.record.shrunk.push(shrunk);
        work.write(&mut state);
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
            let done = record
                .shrunk
                .iter()
                .any(|one| same(&one.signature, &signature));
            if !done && found.iter().all(|(_, known, _)| !same(known, &signature)) {
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

/// Whether two failures are the same: the class, and the hop where both could be placed. Whether a
/// loss can be placed depends on when the channel was last looked at, not on what was lost.
fn same(one: &Signature, other: &Signature) -> bool {
    let hop = one.hop == other.hop || one.hop.is_empty() || other.hop.is_empty();
    one.class == other.class && hop
}

/// Runs behind the search.
struct Runs<'a> {
    work: &'a Work<'a>,
    options: Options,
    trial: &'a Trial,
    signature: &'a Signature,
    /// Of the scenario that is kept.
    number: usize,
    deadline: Instant,
    /// Runs that must still be possible when this one has ended.
    reserved: u32,
    longest: Duration,
    runs: u32,
    /// The directory of a run that failed, which is kept.
    shown: Option<PathBuf>,
    /// Why the latest replay was no answer.
    spoiled: Option<String>,
    /// Why no more is to be tried.
    error: Option<String>,
}

impl Replay for Runs<'_> {
    fn replay(&mut self, candidate: &Candidate) -> Option<bool> {
        for _ in 0..SPOILED {
            let needed = self.longest * (self.reserved + 1);
            if Instant::now() + needed > self.deadline
                || self.options.interrupted.load(Ordering::Relaxed)
                || self.error.is_some()
            {
                return None;
            }
            match self.once(candidate) {
                Ok(fails) => {
                    self.spoiled = None;
                    return Some(fails);
                }
                Err(Spoiled::Interrupted) => return None,
                Err(Spoiled::Harness(why)) => self.spoiled = Some(why),
            }
        }
        self.error = self.spoiled.take();
        None
    }

    fn improved(&mut self, candidate: &Candidate) {
        (self.work.say)(&format!(
            "  fails with {} at {}",
            describe(&candidate.faults),
            show_rate(candidate.rate)
        ));
        self.write(candidate, &BEST_SO_FAR);
    }

    fn reserve(&mut self, runs: u32) {
        self.reserved = runs;
    }
}

/// What is said of a scenario that is kept.
struct Kept<'a> {
    /// Whether it is the smallest there is, and not what failed in the trial as it was.
    shrunk: bool,
    remark: &'a str,
    /// Whether fresh runs bear out that it fails: only then does the file say so.
    borne_out: bool,
}

const AS_IT_WAS: Kept<'static> = Kept {
    shrunk: false,
    remark: "Its schedule as it was: it has not been shrunk.",
    borne_out: false,
};
const BEST_SO_FAR: Kept<'static> = Kept {
    shrunk: true,
    remark: "The best so far: the search had not ended.",
    borne_out: false,
};

/// The name of a scenario that is kept.
fn file_of(number: usize, shrunk: bool) -> String {
    let what = if shrunk { "smallest" } else { "failing" };
    format!("{what}-{number}.toml")
}

/// Why a replay is no answer.
#[derive(Debug, PartialEq, Eq)]
enum Spoiled {
    Interrupted,
    Harness(String),
}

/// Whether a run failed in the way that is looked for.
fn answer(trial: &Trial, record: &RunRecord, signature: &Signature) -> Result<bool, Spoiled> {
    if record.interrupted {
        return Err(Spoiled::Interrupted);
    }
    let fails = trial
        .failures
        .iter()
        .any(|failure| same(&failure.signature(), signature));
    if !fails && record.exit_code == ExitCode::HarnessFailed {
        let why = record.reasons.first().cloned();
        return Err(Spoiled::Harness(why.unwrap_or_default()));
    }
    Ok(fails)
}

impl Runs<'_> {
    /// One run.
    fn once(&mut self, candidate: &Candidate) -> Result<bool, Spoiled> {
        self.runs += 1;
        let began = Instant::now();
        let assignment = Assignment {
            number: 0,
            seed: trial_seed(self.trial.seed.0, self.runs),
            faults: &candidate.faults,
            rate: self.rate(candidate),
        };
        let ran = trial::run(
            self.work.scenario,
            self.work.campaign,
            &assignment,
            &self.options,
        );
        self.longest = self.longest.max(began.elapsed());
        match ran {
            Ok((trial, record)) => {
                let answer = answer(&trial, &record, self.signature);
                self.keep_one(self.options.runs.join(&trial.run), answer == Ok(true));
                answer
            }
            Err(problems) => {
                let why = problems.first().map(ToString::to_string);
                Err(Spoiled::Harness(why.unwrap_or_default()))
            }
        }
    }

    /// The rate where it is another than the scenario's.
    fn rate(&self, candidate: &Candidate) -> Option<f64> {
        (candidate.rate != self.work.scenario.load.rate).then_some(candidate.rate)
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

    /// Writes a scenario file, with its configuration beside it, in place of the one there was.
    fn write(&mut self, candidate: &Candidate, kept: &Kept<'_>) {
        if let Err(error) = self.try_write(candidate, kept) {
            (self.work.say)(&error);
        }
    }

    fn try_write(&self, candidate: &Candidate, kept: &Kept<'_>) -> Result<(), String> {
        let scenario = self.work.scenario;
        let text = text_of(
            scenario,
            self.work.campaign,
            &candidate.faults,
            trial_seed(self.trial.seed.0, 1),
            self.rate(candidate),
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
        let body = document.to_string();
        // The comments at the head of the scenario are about the scenario.
        let body: String = body
            .lines()
            .skip_while(|line| line.starts_with('#') || line.is_empty())
            .map(|line| format!("{line}\n"))
            .collect();
        let file = file_of(self.number, kept.shrunk);
        std::fs::write(self.work.dir.join(&file), self.head(kept) + &body)
            .map_err(|error| failed(&file, error))?;
        let _ = std::fs::remove_file(self.work.dir.join(file_of(self.number, !kept.shrunk)));
        Ok(())
    }

    /// The comment at the head of the file.
    fn head(&self, kept: &Kept<'_>) -> String {
        let hop = match self.signature.hop.as_str() {
            "" => String::new(),
            hop => format!(" in the {hop}"),
        };
        let what = match kept.shrunk {
            true => "The smallest scenario found",
            false => "A scenario",
        };
        let expect = match kept.borne_out {
            true => format!(
                "#\n# expect {}: exit 1\n",
                self.work.scenario.sut.driver.name()
            ),
            false => String::new(),
        };
        format!(
            "# {what} that fails as trial {} of the campaign did ({}{hop}).\n# {}\n{expect}",
            self.trial.number, self.signature.class, kept.remark
        )
    }
}

fn one(
    work: &Work<'_>,
    trial: &Trial,
    signature: Signature,
    number: usize,
    deadline: Instant,
) -> Result<Shrunk, String> {
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
        number,
        deadline,
        reserved: 0,
        longest: Duration::from_micros(trial.took_us),
        runs: 0,
        shown: None,
        spoiled: None,
        error: None,
    };
    runs.write(&failing, &AS_IT_WAS);
    let searched = shrink::search(&mut runs, &failing);
    if work.interrupted() {
        return Err("it was interrupted".into());
    }
    if let Some(error) = runs.error.take() {
        return Err(error);
    }
    let sentence = sentence(&searched, &failing);
    let is_smallest = searched.ended == Ended::Complete || searched.smallest != failing;
    let (schedule, rate) = (planned(&searched.smallest.faults), searched.smallest.rate);
    let shrunk = Shrunk {
        trial: trial.number,
        replays: [searched.k, searched.replayed],
        wanted: searched.wanted,
        runs: runs.runs,
        faults_before: failing.faults.len() as u32,
        schedule,
        rate_before: show_rate(failing.rate),
        rate_after: show_rate(rate),
        confirmed: searched.confirmed,
        complete: searched.ended == Ended::Complete,
        sentence,
        took_us: began.elapsed().as_micros() as u64,
        signature: signature.clone(),
        file: file_of(number, is_smallest),
    };
    let kept = Kept {
        shrunk: is_smallest,
        remark: &format!("What came of it: {}.", shrunk.sentence),
        borne_out: shrunk.reproduced(),
    };
    runs.write(&searched.smallest, &kept);
    Ok(shrunk)
}

fn planned(faults: &[Drawn]) -> Vec<Strike> {
    faults
        .iter()
        .enumerate()
        .map(|(i, fault)| fault.as_planned(i))
        .collect()
}

/// How a search ended, as a sentence; `failing` is what failed in the trial.
fn sentence(searched: &Searched, failing: &Candidate) -> String {
    let (k, replayed) = (searched.k, searched.replayed);
    let what = format!(
        "with {} at {}",
        describe(&searched.smallest.faults),
        show_rate(searched.smallest.rate)
    );
    let fails = searched
        .confirmed
        .map(|[failed, fresh]| format!("fails {failed} of {fresh} fresh runs {what}"));
    match (searched.ended, fails) {
        (Ended::NotReplayed, _) if replayed == 0 => format!(
            "not shrunk: the budget ended before the first of {RUNS} replays, with {RUNS} runs kept back to bear out the result"
        ),
        (Ended::NotReplayed, _) => format!(
            "fails {k} of {replayed}, not shrunk: the budget ended before {RUNS} replays, with {RUNS} runs kept back to bear out the result"
        ),
        (Ended::TooSeldom, _) => {
            format!("fails {k} of {RUNS}, not shrunk: too seldom to tell a culprit")
        }
        (Ended::Complete, Some(fails)) => format!("{fails}: nothing smaller fails"),
        (Ended::BestSoFar, Some(fails)) if searched.smallest == *failing => format!(
            "{fails}: not shrunk, the budget ended before anything smaller was found to fail"
        ),
        (Ended::BestSoFar, Some(fails)) => {
            format!("{fails}: the budget ended the search, this is the best so far")
        }
        (Ended::NotReproduced(first), Some(fails)) => format!(
            "{fails}; a smaller one failed in only {first} of {RUNS} fresh runs and was given up"
        ),
        (Ended::NotReproduced(first), None) => format!(
            "not reproduced: the smallest schedule found failed in only {first} of {RUNS} fresh runs; kept is the schedule as it was, which failed {k} of {RUNS} replays"
        ),
        (_, Some(fails)) => format!("{fails}: the budget ended before {RUNS} of them"),
        (_, None) => format!("not borne out: the budget ended before the fresh runs {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flume_bench_reports::campaign::Failure;

    fn signature() -> Signature {
        Signature {
            class: "lost".into(),
            hop: String::new(),
        }
    }

    #[test]
    fn a_replay_that_was_not_judged_is_no_answer() {
        let clean = Trial::default();
        let losing = Trial {
            failures: vec![Failure {
                class: "lost".into(),
                ..Failure::default()
            }],
            ..Trial::default()
        };
        let record = |interrupted: bool, exit_code: ExitCode| RunRecord {
            interrupted,
            exit_code,
            reasons: vec!["the disk is full".into()],
            ..RunRecord::default()
        };
        let of = |trial: &Trial, record: &RunRecord| answer(trial, record, &signature());
        let passed = record(false, ExitCode::Pass);
        assert_eq!(of(&clean, &passed), Ok(false));
        assert_eq!(of(&losing, &record(false, ExitCode::Missed)), Ok(true));
        // Interrupted before its drain, it seems to lose what was under way.
        assert_eq!(
            of(&losing, &record(true, ExitCode::Missed)),
            Err(Spoiled::Interrupted)
        );
        assert_eq!(
            of(&clean, &record(true, ExitCode::Inconclusive)),
            Err(Spoiled::Interrupted)
        );
        assert_eq!(
            of(&clean, &record(false, ExitCode::HarnessFailed)),
            Err(Spoiled::Harness("the disk is full".into()))
        );
        assert_eq!(
            of(&losing, &record(false, ExitCode::HarnessFailed)),
            Ok(true)
        );
        let other = Signature {
            class: "unpublished".into(),
            hop: String::new(),
        };
        assert_eq!(
            answer(&losing, &record(false, ExitCode::Missed), &other),
            Ok(false)
        );
    }

    #[test]
    fn a_hop_that_could_not_be_placed_contradicts_none() {
        let signature = |class: &str, hop: &str| Signature {
            class: class.into(),
            hop: hop.into(),
        };
        let lost = signature("lost", "channel");
        assert!(same(&lost, &signature("lost", "")) && same(&signature("lost", ""), &lost));
        assert!(!same(&lost, &signature("lost", "sink")));
        assert!(!same(&lost, &signature("unpublished", "channel")));
    }

    #[test]
    fn a_sentence_says_what_was_borne_out() {
        let searched = |ended, confirmed| Searched {
            smallest: Candidate {
                faults: Vec::new(),
                rate: 500.0,
            },
            k: 6,
            replayed: RUNS,
            wanted: Some(3),
            confirmed,
            ended,
        };
        let whole = Candidate {
            faults: Vec::new(),
            rate: 2_000.0,
        };
        let sentence = |searched: &Searched| sentence(searched, &whole);
        let said = sentence(&searched(Ended::Complete, Some([9, 10])));
        assert_eq!(
            said,
            "fails 9 of 10 fresh runs with no fault at all at 500/s: nothing smaller fails"
        );
        let said = sentence(&searched(Ended::NotReproduced(0), None));
        assert!(said.starts_with("not reproduced") && said.contains("6 of 10 replays"));
        let said = sentence(&searched(Ended::NotReproduced(1), Some([8, 10])));
        assert!(said.starts_with("fails 8 of 10") && said.contains("only 1 of 10"));
        assert!(sentence(&searched(Ended::NotConfirmed, None)).starts_with("not borne out"));
        let mut none = searched(Ended::NotReplayed, None);
        (none.k, none.replayed) = (3, 4);
        assert!(sentence(&none).starts_with("fails 3 of 4, not shrunk: the budget"));
        (none.k, none.replayed) = (0, 0);
        assert!(sentence(&none).starts_with("not shrunk: the budget"));
        let mut best = searched(Ended::BestSoFar, Some([9, 10]));
        assert!(sentence(&best).ends_with("this is the best so far"));
        best.smallest = whole.clone();
        let said = sentence(&best);
        assert!(said.contains("not shrunk, the budget ended"), "{said}");
    }
}
