//! A soak: one system under load for hours, judged round by round, and whether it grows.
//!
//! [`SoakRecord`] is everything a soak says; it is `soak.json` ([`SCHEMA_VERSION`], integers only,
//! unknown values are null with a reason, sealed with a digest as a run's record is). A **round** is
//! load with the scenario's faults, heal, drain, probe and a judgement of its own; agent and store live
//! through all of them. [`growth`] is the rule by which memory, descriptors, threads, files and disk
//! are judged over the whole soak, [`show`] the ways to show it.
//!
//! [`conclude`] decides, in this order:
//!
//! 1. The harness or the store failed, the sampler included: exit code 4.
//! 2. A round missed an objective, or something of the agent grows: `fail`.
//! 3. The soak was interrupted or ended before its time; a round left it open whether something is lost
//!    or unpublished; copies came rounds late, and more than may be duplicated; a metric of the agent
//!    could not be judged in a soak of a minute or more ([`growth::LONG_ENOUGH_US`]); or more than one
//!    round in ten proves too little: `inconclusive`.
//! 4. Otherwise `pass`. Nothing is said about growth that the samples do not show: each metric has its
//!    bounds beside it.

pub mod growth;
pub mod show;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::record::{self, Host, Known, Text64, sealed};
use crate::show as words;
use crate::verdict::{ExitCode, Verdict};
use growth::{Growth, Holder, Outcome};

/// The version of `soak.json`. Within one version keys are only added.
pub const SCHEMA_VERSION: u32 = 1;

/// The JSON schema of `soak.json`, as published beside the crate.
pub const SCHEMA: &str = include_str!("../schemas/soak.v1.json");

/// One round in so many may prove too little (a slip of the generator, a void fault).
const INCONCLUSIVE_ROUNDS: u64 = 10;

/// So many rounds are named for one reason.
const NAMED: usize = 3;

/// What a soak came to, and everything it rests on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SoakRecord {
    /// The version of this shape.
    pub schema_version: u32,
    /// The soak's id; that of its first round, too.
    pub soak: Text64,
    /// The scenario's name.
    pub scenario: String,
    /// The system under test, with its version where that is known.
    pub sut: String,
    /// Kind and provider of the store.
    pub store: String,
    /// The machine.
    pub host: Host,
    /// The command line.
    pub command_line: Vec<String>,
    /// When it started, RFC 3339.
    pub started: String,
    /// How long the load was to go on, µs.
    pub asked_us: u64,
    /// How long it went on, from the first event due to the end of the last round's load, µs.
    pub lasted_us: u64,
    /// The load of one round, warm-up included, µs.
    pub round_us: u64,
    /// Whether it was interrupted: then everything here is what there was until then.
    pub interrupted: bool,
    /// Why it ended before its time, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_early: Option<String>,
    /// What of the harness failed beside the rounds, if something did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// The most events of a round that may be stored more than once, where the scenario sets a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicated_limit: Option<u64>,
    /// The verdict.
    pub verdict: Verdict,
    /// The exit code.
    pub exit_code: ExitCode,
    /// Why, most important first; whole sentences.
    pub reasons: Vec<String>,
    /// What a reader must know to use the numbers.
    pub notes: Vec<String>,
    /// The rounds in order.
    pub rounds: Vec<Round>,
    /// Whether anything grows.
    pub growth: Vec<Growth>,
    /// The samples behind it, thinned for figures to at most 600.
    pub samples: Vec<growth::Sample>,
    /// The file with all of them, relative to the record.
    pub samples_file: String,
    /// Files that were taken out of the store after they had been judged.
    pub removed_files: u64,
    /// Their bytes.
    pub removed_bytes: u64,
}

/// One round.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Round {
    /// Its number, from 1.
    pub number: u32,
    /// When its load began, µs since that of the first round.
    pub start_us: u64,
    /// What it says.
    pub verdict: Verdict,
    /// The exit code that a run of its own would have had.
    pub exit_code: ExitCode,
    /// Why, in one sentence.
    pub reason: String,
    /// Events that the generator tried to send.
    pub issued: u64,
    /// Events owed.
    pub owed: u64,
    /// Events stored.
    pub stored: u64,
    /// Owed and not stored at its end.
    pub lost: u64,
    /// Stored and not published at its end.
    pub unpublished: u64,
    /// Events stored more than once within the round.
    pub duplicated: u64,
    /// Records of earlier rounds, or of others, that arrived in it: copies that came late.
    pub late: u64,
    /// Strikes of faults.
    pub faults: u64,
    /// 99th percentile of the time to the store, outside of fault windows, µs.
    pub stored_response_us_p99: Known<u64>,
    /// Time from the last heal, or the end of the load, to the end of the backlog, µs.
    pub drained_us: Known<u64>,
    /// Its directory, relative to the record, where something of it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<String>,
}

impl Round {
    /// Why it says what it says, with its number.
    fn named(&self) -> String {
        format!("Round {}: {}", self.number, self.reason)
    }
}

impl SoakRecord {
    /// The sum over all rounds.
    pub fn sum(&self, of: impl Fn(&Round) -> u64) -> u64 {
        self.rounds.iter().map(of).sum()
    }

    /// How many rounds have this verdict.
    #[must_use]
    pub fn with(&self, verdict: Verdict) -> u64 {
        self.rounds
            .iter()
            .filter(|round| round.verdict == verdict)
            .count() as u64
    }
}

/// Decides verdict, exit code and reasons from the rest of the record.
pub fn conclude(record: &mut SoakRecord) {
    let mut found = bad_rounds(record);
    if let Some(why) = &record.failed {
        found.insert(
            0,
            (
                ExitCode::HarnessFailed,
                format!("The harness failed: {why}."),
            ),
        );
    }
    let grown_of_agent = grown(record, Holder::Agent);
    found.extend(grown_of_agent.map(|growth| (ExitCode::Missed, growth.sentence())));
    let open = doubts(record).into_iter();
    found.extend(open.map(|why| (ExitCode::Inconclusive, why)));
    if found.is_empty() {
        found.push((ExitCode::Pass, passed(record)));
    }
    let (codes, mut reasons): (Vec<_>, Vec<_>) = found.into_iter().unzip();
    record.exit_code = ExitCode::decide(codes);
    record.verdict = match record.exit_code {
        ExitCode::Pass => Verdict::Pass,
        ExitCode::Missed => Verdict::Fail,
        _ => Verdict::Inconclusive,
    };
    reasons.extend(
        grown(record, Holder::Harness)
            .map(|growth| format!("{} It is not held against the system.", growth.sentence())),
    );
    record.reasons = reasons;
}

/// The rounds in which the harness failed or an objective was missed, the first three of each by name.
fn bad_rounds(record: &SoakRecord) -> Vec<(ExitCode, String)> {
    let mut found = Vec::new();
    for code in [ExitCode::HarnessFailed, ExitCode::Missed] {
        let all: Vec<&Round> = record
            .rounds
            .iter()
            .filter(|round| round.exit_code == code)
            .collect();
        found.extend(all.iter().take(NAMED).map(|round| (code, round.named())));
        if all.len() > NAMED {
            let more = all.len() - NAMED;
            found.push((code, format!("So did {more} more rounds.")));
        }
    }
    found
}

/// Everything that keeps a soak from passing and is no failure.
fn doubts(record: &SoakRecord) -> Vec<String> {
    let mut doubts: Vec<String> = record
        .rounds
        .iter()
        .filter(|round| round.verdict == Verdict::Inconclusive)
        .filter(|round| round.lost > 0 || round.unpublished > 0)
        .map(Round::named)
        .collect();
    doubts.extend(late_copies(record));
    let inconclusive = record.with(Verdict::Inconclusive);
    if inconclusive * INCONCLUSIVE_ROUNDS > record.rounds.len() as u64 {
        doubts.push(format!(
            "{inconclusive} of {} rounds prove too little; more than one in ten is too many.",
            record.rounds.len()
        ));
    }
    if record.interrupted {
        doubts.push("The soak was interrupted; what there was until then is kept.".to_owned());
    }
    if let Some(why) = &record.ended_early {
        doubts.push(format!("The soak ended before its time: {why}."));
    }
    if record.rounds.is_empty() {
        doubts.push("No round came to its end.".to_owned());
    }
    if record.lasted_us >= growth::LONG_ENOUGH_US {
        doubts.extend(unknown(record).map(Growth::sentence));
        if !record.growth.iter().any(|one| one.holder == Holder::Agent) {
            doubts.push("Nothing of the agent was sampled.".to_owned());
        }
    }
    doubts
}

/// Why copies that came in later rounds may be more than the scenario allows. Whose copies they are is
/// not known: each may belong to any round before, and be the second or the third of one event.
fn late_copies(record: &SoakRecord) -> Option<String> {
    let limit = record.duplicated_limit?;
    let mut later = 0;
    let mut beyond = false;
    for round in record.rounds.iter().rev() {
        beyond |= later > 0 && round.duplicated.saturating_add(later) > limit;
        later += round.late;
    }
    beyond.then(|| {
        format!(
            "{} records came in later rounds than their own; which events they repeat is not known, so it is not shown that no round has more than {} duplicated events (objectives.duplicated).",
            words::count(later),
            words::count(limit)
        )
    })
}

/// What grows, of one holder.
fn grown(record: &SoakRecord, holder: Holder) -> impl Iterator<Item = &Growth> {
    record
        .growth
        .iter()
        .filter(move |growth| growth.holder == holder && growth.outcome == Outcome::Grows)
}

/// The metrics of the agent that were not judged.
fn unknown(record: &SoakRecord) -> impl Iterator<Item = &Growth> {
    record
        .growth
        .iter()
        .filter(|growth| growth.holder == Holder::Agent && growth.outcome == Outcome::Unknown)
}

fn passed(record: &SoakRecord) -> String {
    let strikes = match record.sum(|round| round.faults) {
        0 => String::new(),
        1 => ", through one fault".to_owned(),
        n => format!(", through {} faults", words::count(n)),
    };
    let (owed, lost) = (
        record.sum(|round| round.owed),
        record.sum(|round| round.lost),
    );
    let unpublished = record.sum(|round| round.unpublished);
    let short: Vec<String> = [(lost, "lost"), (unpublished, "unpublished")]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{} {word}", words::count(count)))
        .collect();
    format!(
        "{} owed events of {} are stored{strikes}, in {}{}, and {}.",
        match lost {
            0 => format!("All {}", words::count(owed)),
            _ => format!(
                "{} of {}",
                words::count(owed.saturating_sub(lost)),
                words::count(owed)
            ),
        },
        match record.rounds.len() {
            1 => "one round".to_owned(),
            n => format!("{} rounds", words::count(n as u64)),
        },
        words::duration(record.lasted_us),
        match short.is_empty() {
            true => String::new(),
            false => format!(" ({}, which the scenario allows)", short.join(", ")),
        },
        no_growth(record)
    )
}

/// What a soak that passed says of the agent's growth.
fn no_growth(record: &SoakRecord) -> String {
    let missing: Vec<&str> = unknown(record).map(|one| one.metric.as_str()).collect();
    let all = record
        .growth
        .iter()
        .filter(|one| one.holder == Holder::Agent)
        .count();
    if missing.len() == all {
        "growth of the agent was not judged".to_owned()
    } else if missing.is_empty() {
        "no growth of the agent was seen".to_owned()
    } else {
        format!(
            "no growth of the agent was seen (not judged: {})",
            missing.join(", ")
        )
    }
}

/// Writes the record whole, replacing what is there.
///
/// # Errors
/// It cannot be written; what was there is then still whole.
pub fn write(path: &Path, record: &SoakRecord) -> Result<(), record::Error> {
    sealed::write(path, record)
}

/// Reads a record whole, or refuses it by name.
///
/// # Errors
/// It cannot be read, was cut off or edited, or is of a newer version.
pub fn read(path: &Path) -> Result<SoakRecord, record::Error> {
    sealed::read(path, SCHEMA_VERSION)
}

/// The text of the file.
///
/// # Errors
/// Only by a defect of ours.
pub fn to_text(record: &SoakRecord) -> Result<String, record::Error> {
    sealed::to_text(record)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::growth::{Sample, Usage};
    use super::*;
    use crate::record::{published, schema};

    /// Twelve rounds of ten seconds; `leak` bytes more a second.
    pub(crate) fn sample(leak: u64) -> SoakRecord {
        let samples: Vec<Sample> = (0..240)
            .map(|i| {
                let usage = |memory: u64| Usage {
                    memory_bytes: Some(memory + i % 3 * 4096),
                    descriptors: Some(20 + i % 2),
                    threads: Some(9),
                    files: Some(3),
                    disk_bytes: Some(1 << 20),
                };
                Sample {
                    at_us: i * 500_000,
                    round: (i / 20 + 1) as u32,
                    pid: Some(7),
                    agent: usage((20 << 20) + i * leak / 2),
                    harness: usage(60 << 20),
                }
            })
            .collect();
        let rounds = (1..=12).map(|number| Round {
            number,
            start_us: u64::from(number - 1) * 10_000_000,
            verdict: Verdict::Pass,
            exit_code: ExitCode::Pass,
            reason: "All is stored.".into(),
            issued: 20_000,
            owed: 20_000,
            stored: 20_000,
            faults: 1,
            stored_response_us_p99: Known::Value(40_000 + u64::from(number)),
            drained_us: Known::Value(30_000),
            ..Round::default()
        });
        let mut record = SoakRecord {
            schema_version: SCHEMA_VERSION,
            soak: Text64(7),
            scenario: "quickstart <b>".into(),
            sut: "decoy leak_memory".into(),
            store: "files (embedded)".into(),
            command_line: vec!["flume-bench".into(), "run".into(), "quickstart".into()],
            started: "2026-01-01T12:30:45.123456789Z".into(),
            asked_us: 120_000_000,
            lasted_us: 121_000_000,
            round_us: 9_000_000,
            rounds: rounds.collect(),
            growth: growth::judge(&samples),
            samples,
            samples_file: "soak.csv".into(),
            ..SoakRecord::default()
        };
        conclude(&mut record);
        record
    }

    #[test]
    fn a_leak_of_the_agent_fails_and_nothing_else_does() {
        let (clean, leaking) = (sample(0), sample(1 << 20));
        assert_eq!(clean.exit_code, ExitCode::Pass, "{:?}", clean.reasons);
        assert_eq!(leaking.exit_code, ExitCode::Missed);
        assert!(
            leaking.reasons[0].contains("memory of the agent grows"),
            "{:?}",
            leaking.reasons
        );
    }

    #[test]
    fn the_published_schema_is_that_of_the_types_and_a_soak_is_what_it_says() {
        let generated = schema::generated::<SoakRecord>("flume-bench soak, schema_version 1");
        schema::is_published("soak.v1.json", &generated);
        assert!(!generated.contains("\"format\": \"double\""));
        for record in [SoakRecord::default(), sample(0)] {
            published::holds(SCHEMA, &to_text(&record).unwrap());
        }
    }

    #[test]
    fn nothing_is_rounded_to_a_pass() {
        let changed = |change: &dyn Fn(&mut SoakRecord)| {
            let mut record = sample(0);
            change(&mut record);
            conclude(&mut record);
            record.exit_code
        };
        let inconclusive = |round: &mut Round, lost: u64| {
            round.verdict = Verdict::Inconclusive;
            round.exit_code = ExitCode::Inconclusive;
            round.lost = lost;
        };
        assert_eq!(changed(&|_| {}), ExitCode::Pass);
        assert_eq!(changed(&|it| it.rounds.clear()), ExitCode::Inconclusive);
        assert_eq!(changed(&|it| it.interrupted = true), ExitCode::Inconclusive);
        let early = |it: &mut SoakRecord| it.ended_early = Some("the disk is full".into());
        assert_eq!(changed(&early), ExitCode::Inconclusive);
        // One round in twelve may prove too little, two may not, and none that leaves a loss open.
        assert_eq!(
            changed(&|it| inconclusive(&mut it.rounds[3], 0)),
            ExitCode::Pass
        );
        assert_eq!(
            changed(&|it| inconclusive(&mut it.rounds[3], 1)),
            ExitCode::Inconclusive
        );
        let unpublished = |it: &mut SoakRecord| {
            inconclusive(&mut it.rounds[3], 0);
            it.rounds[3].unpublished = 1;
        };
        assert_eq!(changed(&unpublished), ExitCode::Inconclusive);
        // One metric of the agent that nobody could read, all of them, and too short a soak to tell.
        let unread = |it: &mut SoakRecord, metrics: usize| {
            for growth in &mut it.growth[..metrics] {
                growth.outcome = Outcome::Unknown;
                growth.slope_per_h = Known::unknown("it was never sampled");
            }
        };
        assert_eq!(changed(&|it| unread(it, 1)), ExitCode::Inconclusive);
        assert_eq!(changed(&|it| unread(it, 5)), ExitCode::Inconclusive);
        assert_eq!(changed(&|it| it.growth.clear()), ExitCode::Inconclusive);
        let brief = |it: &mut SoakRecord| {
            unread(it, 5);
            it.lasted_us = 8_000_000;
        };
        assert_eq!(changed(&brief), ExitCode::Pass);
        let sampler = |it: &mut SoakRecord| it.failed = Some("the disk is full".into());
        assert_eq!(changed(&sampler), ExitCode::HarnessFailed);
        let two = |it: &mut SoakRecord| it.rounds[3..5].iter_mut().for_each(|r| inconclusive(r, 0));
        assert_eq!(changed(&two), ExitCode::Inconclusive);
        let missed = |it: &mut SoakRecord| {
            it.interrupted = true;
            it.rounds[1].verdict = Verdict::Fail;
            it.rounds[1].exit_code = ExitCode::Missed;
        };
        assert_eq!(changed(&missed), ExitCode::Missed);
        let failed = |it: &mut SoakRecord| {
            missed(it);
            it.rounds[2].exit_code = ExitCode::HarnessFailed;
        };
        assert_eq!(changed(&failed), ExitCode::HarnessFailed);
    }

    #[test]
    fn copies_that_come_rounds_late_are_held_to_the_limit() {
        let with = |limit: Option<u64>, own: u64, late: [u64; 2]| {
            let mut record = sample(0);
            record.duplicated_limit = limit;
            record.rounds[2].duplicated = own;
            (record.rounds[3].late, record.rounds[7].late) = (late[0], late[1]);
            conclude(&mut record);
            (record.exit_code, record.reasons.remove(0))
        };
        assert_eq!(with(None, 0, [5, 5]).0, ExitCode::Pass);
        assert_eq!(with(Some(0), 0, [0, 0]).0, ExitCode::Pass);
        assert_eq!(with(Some(5), 2, [1, 2]).0, ExitCode::Pass);
        let (code, why) = with(Some(5), 2, [1, 3]);
        assert_eq!(code, ExitCode::Inconclusive);
        assert!(why.starts_with("4 records came in later rounds"), "{why}");
        // What came late belongs to rounds before.
        let mut record = sample(0);
        record.duplicated_limit = Some(5);
        (record.rounds[3].late, record.rounds[4].duplicated) = (3, 5);
        conclude(&mut record);
        assert_eq!(record.exit_code, ExitCode::Pass, "{:?}", record.reasons);
    }

    #[test]
    fn a_pass_says_what_is_lost_by_permission_and_what_was_not_judged() {
        let said = |change: &dyn Fn(&mut SoakRecord)| {
            let mut record = sample(0);
            record.lasted_us = 8_000_000;
            change(&mut record);
            conclude(&mut record);
            assert_eq!(record.exit_code, ExitCode::Pass);
            record.reasons.remove(0)
        };
        assert_eq!(
            said(&|_| {}),
            "All 240,000 owed events of 12 rounds are stored, through 12 faults, in 8 s, and no growth of the agent was seen."
        );
        let lossy = said(&|it| (it.rounds[1].lost, it.rounds[2].unpublished) = (7, 3));
        assert!(
            lossy.starts_with("239,993 of 240,000 owed events")
                && lossy.contains("(7 lost, 3 unpublished, which the scenario allows)"),
            "{lossy}"
        );
        let unread = |it: &mut SoakRecord, metrics: usize| {
            let first = it.growth[..metrics].iter_mut();
            first.for_each(|growth| growth.outcome = Outcome::Unknown);
        };
        let partly = said(&|it| unread(it, 1));
        assert!(
            partly.ends_with("was seen (not judged: memory)."),
            "{partly}"
        );
        let none = said(&|it| unread(it, 5));
        assert!(
            none.ends_with("and growth of the agent was not judged."),
            "{none}"
        );
    }

    #[test]
    fn a_record_comes_back_as_it_went_and_an_edited_one_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("soak.json");
        let record = sample(0);
        write(&path, &record).unwrap();
        assert_eq!(read(&path).unwrap(), record);
        let edited = to_text(&record).unwrap().replacen("20000", "20001", 1);
        std::fs::write(&path, edited).unwrap();
        assert!(matches!(read(&path), Err(record::Error::Edited { .. })));
    }
}
