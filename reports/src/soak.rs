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
//! 1. The harness or the store failed: exit code 4.
//! 2. A round missed an objective, or something of the agent grows: `fail`.
//! 3. The soak was interrupted or ended before its time, a round left it open whether something is lost,
//!    or more than one round in ten proves too little: `inconclusive`.
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
    let mut codes = Vec::new();
    let mut reasons = Vec::new();
    let of_code = |code: ExitCode| {
        record
            .rounds
            .iter()
            .filter(move |one| one.exit_code == code)
    };
    let named = |round: &Round| format!("Round {}: {}", round.number, round.reason);
    for code in [ExitCode::HarnessFailed, ExitCode::Missed] {
        let count = of_code(code).count();
        if count > 0 {
            codes.push(code);
            reasons.extend(of_code(code).take(3).map(named));
            if count > 3 {
                reasons.push(format!("So did {} more rounds.", count - 3));
            }
        }
    }
    for growth in grown(record, Holder::Agent) {
        codes.push(ExitCode::Missed);
        reasons.push(growth.sentence());
    }
    let open = record
        .rounds
        .iter()
        .filter(|round| round.verdict == Verdict::Inconclusive && round.lost > 0);
    for round in open {
        codes.push(ExitCode::Inconclusive);
        reasons.push(named(round));
    }
    let inconclusive = record.with(Verdict::Inconclusive);
    if inconclusive * INCONCLUSIVE_ROUNDS > record.rounds.len() as u64 {
        codes.push(ExitCode::Inconclusive);
        reasons.push(format!(
            "{inconclusive} of {} rounds prove too little; more than one in ten is too many.",
            record.rounds.len()
        ));
    }
    if record.interrupted {
        codes.push(ExitCode::Inconclusive);
        reasons.push("The soak was interrupted; what there was until then is kept.".to_owned());
    }
    if let Some(why) = &record.ended_early {
        codes.push(ExitCode::Inconclusive);
        reasons.push(format!("The soak ended before its time: {why}."));
    }
    if record.rounds.is_empty() {
        codes.push(ExitCode::Inconclusive);
        reasons.push("No round came to its end.".to_owned());
    }
    if codes.is_empty() {
        codes.push(ExitCode::Pass);
        reasons.push(passed(record));
    }
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

/// What grows, of one holder.
fn grown(record: &SoakRecord, holder: Holder) -> impl Iterator<Item = &Growth> {
    record
        .growth
        .iter()
        .filter(move |growth| growth.holder == holder && growth.outcome == Outcome::Grows)
}

fn passed(record: &SoakRecord) -> String {
    let strikes = match record.sum(|round| round.faults) {
        0 => String::new(),
        1 => ", through one fault".to_owned(),
        n => format!(", through {} faults", words::count(n)),
    };
    format!(
        "All {} owed events of {} are stored{strikes}, in {}, and no growth of the agent was seen.",
        words::count(record.sum(|round| round.owed)),
        match record.rounds.len() {
            1 => "one round".to_owned(),
            n => format!("{} rounds", words::count(n as u64)),
        },
        words::duration(record.lasted_us)
    )
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
            started: "2026-01-01T00:00:00Z".into(),
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
