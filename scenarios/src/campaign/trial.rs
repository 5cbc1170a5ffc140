//! One trial: an ordinary run with faults of its own, in a directory of its own, judged by the same
//! judge; then a summary of it.

use std::path::Path;
use std::time::Instant;

use flume_bench_reports::campaign::{Counts, Failure, Outcome, Strike, Trial, guarantee_of};
use flume_bench_reports::record::{Checker, Fault, Known, RunRecord, Text64};
use flume_bench_reports::verdict::{ExitCode, Verdict};

use super::schedule::{Drawn, text_of};
use super::{place, windows};
use crate::runner::{self, Options};
use crate::scenario::campaign::Campaign;
use crate::scenario::reader::Problem;
use crate::scenario::{Scenario, load_text};

/// What a trial is made of.
#[derive(Debug, Clone)]
pub struct Assignment<'a> {
    /// Its number; 0 for replays, which are nobody's trial.
    pub number: u32,
    /// The seed of the run.
    pub seed: u64,
    /// The faults.
    pub faults: &'a [Drawn],
    /// The rate of the load, where it is not the scenario's.
    pub rate: Option<f64>,
}

/// A summary of a trial that has not ended: what it is to be, and void until it comes to more.
pub fn pending(assignment: &Assignment<'_>) -> Trial {
    Trial {
        number: assignment.number,
        seed: Text64(assignment.seed),
        outcome: Outcome::Void,
        void: vec!["it was interrupted before it was judged".into()],
        schedule: assignment
            .faults
            .iter()
            .enumerate()
            .map(|(i, fault)| fault.as_planned(i))
            .collect(),
        ..Trial::default()
    }
}

/// Runs a trial and sums it up. The run's record is handed back for what is the same in all trials.
///
/// # Errors
/// What the scenario or the machine cannot do, found before anything was started.
pub fn run(
    scenario: &Scenario,
    campaign: &Campaign,
    assignment: &Assignment<'_>,
    options: &Options,
) -> Result<(Trial, RunRecord), Vec<Problem>> {
    let began = Instant::now();
    let text = text_of(
        scenario,
        campaign,
        assignment.faults,
        assignment.seed,
        assignment.rate,
    )
    .map_err(|error| {
        vec![Problem::of_machine(
            error,
            "this is a defect, please report it",
        )]
    })?;
    let own = load_text(&scenario.path, &text)?;
    let outcome = runner::run(&own, options)?;
    let seen = windows::look(&outcome.dir, &outcome.record);
    let mut trial = summarise(&outcome.dir, &outcome.record, pending(assignment), seen);
    trial.run = outcome
        .dir
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    if trial.outcome != Outcome::Failed {
        tidy(&outcome.dir);
    }
    trial.took_us = began.elapsed().as_micros() as u64;
    Ok((trial, outcome.record))
}

/// Takes away what a trial that failed nothing need not keep: the stored data, the agent's own
/// directory, the input. Journal, history, record, logs and inputs stay, so it can be judged again.
fn tidy(root: &Path) {
    for part in ["store", "sut/data", "input"] {
        // What cannot be removed costs disk and nothing else.
        let _ = std::fs::remove_dir_all(root.join(part));
    }
}

/// What a run's record, and what its journal shows of its windows, come to as a trial.
fn summarise(
    root: &Path,
    record: &RunRecord,
    planned: Trial,
    seen: Result<windows::Seen, String>,
) -> Trial {
    let counts = &record.counts;
    let mut void = doubts(record);
    let mut schedule = planned.schedule;
    for strike in &mut schedule {
        let fault = record.faults.iter().find(|fault| fault.name == strike.name);
        match fault {
            Some(fault) => witness(strike, fault, seen.as_ref().ok()),
            None => strike.void = Some("void: it never struck".into()),
        }
        if let Some(why) = &strike.void {
            void.push(format!(
                "{}: {}",
                strike.name,
                why.trim_start_matches("void: ")
            ));
        }
    }
    let windows = seen.map_or_else(
        |error| {
            void.push(format!(
                "its journal could not be read for its windows: {error}"
            ));
            Vec::new()
        },
        |seen| seen.windows,
    );
    let failures = failures(root, record);
    let outcome = if !failures.is_empty() {
        Outcome::Failed
    } else if void.is_empty() {
        Outcome::Passed
    } else {
        Outcome::Void
    };
    Trial {
        outcome,
        void,
        schedule,
        counts: Counts {
            issued: counts.issued,
            owed: counts.owed,
            stored: counts.stored,
            lost: counts.lost,
            unpublished: counts.unpublished,
            duplicated: counts.duplicated,
            corrupted: counts.corrupted,
            malformed: counts.malformed,
            unexpected: counts.unexpected,
            reordered: counts.reordered,
        },
        failures,
        windows,
        load_and_drain_us: record
            .phases
            .iter()
            .filter(|phase| phase.name == "drain")
            .map(|phase| phase.end_us)
            .max()
            .unwrap_or(0),
        ..planned
    }
}

/// Why a run proves nothing, apart from its faults; empty where it passed or failed.
fn doubts(record: &RunRecord) -> Vec<String> {
    let mut doubts = Vec::new();
    if record.interrupted {
        doubts.push("the run was interrupted".to_owned());
    }
    if record.exit_code == ExitCode::HarnessFailed {
        doubts.extend(record.reasons.first().cloned());
    }
    let faults_void = record.faults.iter().any(|fault| fault.void.is_some());
    for checker in &record.checkers {
        // Void faults are named one by one, with their windows.
        let named = checker.name == "enough_evidence" && faults_void;
        if checker.verdict == Verdict::Inconclusive && !named {
            doubts.push(checker.reason.clone());
        }
    }
    if doubts.is_empty() && record.verdict == Verdict::Inconclusive && !faults_void {
        doubts.extend(record.reasons.first().cloned());
    }
    doubts
}

/// Kinds that stop the flow, which somebody must have felt.
fn stops_the_flow(strike: &Strike) -> bool {
    match strike.kind.as_str() {
        "kill" | "outage" | "pause" => true,
        "cut_link" => carries_data(&strike.target),
        _ => false,
    }
}

/// Whether events travel over a link: all but those to a NameNode, which are asked for names only.
fn carries_data(link: &str) -> bool {
    !link.ends_with("->namenode")
}

fn witness(strike: &mut Strike, fault: &Fault, seen: Option<&windows::Seen>) {
    strike.witness = fault
        .witness
        .map(|witness| format!("{}: {}", witness.what, witness.evidence));
    strike.void.clone_from(&fault.void);
    let felt = seen.is_some_and(|seen| seen.disturbed.contains(&fault.name));
    if strike.void.is_none() && stops_the_flow(strike) && !felt {
        strike.void = Some(
            "void: nothing was retried, refused or kept waiting longer than usual while it held"
                .into(),
        );
    }
}

/// Everything the run missed, one a class.
fn failures(root: &Path, record: &RunRecord) -> Vec<Failure> {
    let mut failures: Vec<Failure> = record
        .checkers
        .iter()
        .filter(|checker| checker.verdict == Verdict::Fail)
        .flat_map(|checker| missed(record, checker))
        .map(|(class, events, sentence)| Failure {
            class: class.to_owned(),
            guarantee: guarantee_of(class).to_owned(),
            events,
            sentence: sentence.to_owned(),
            places: Vec::new(),
        })
        .collect();
    if let Some(lost) = failures.iter_mut().find(|failure| failure.class == "lost") {
        lost.places = place::losses(root, record);
    }
    failures
}

/// A class that was missed, its events, and a sentence.
type Miss<'r> = (&'r str, u64, &'r str);

/// What a checker that fails has missed.
fn missed<'r>(record: &'r RunRecord, checker: &'r Checker) -> Vec<Miss<'r>> {
    let counts = &record.counts;
    let reason = checker.reason.as_str();
    let one = |class: &'r str, events: u64| vec![(class, events, reason)];
    match checker.name.as_str() {
        "conservation" => one("lost", counts.lost),
        "publication" => one("unpublished", counts.unpublished),
        // Without an objective that is recorded as missed, it is what was never sent.
        "kept_up" if is_missed(record, "refused") && !is_missed(record, "unsent") => {
            one("refused", counts.refused.value().copied().unwrap_or(0))
        }
        "kept_up" => one("unsent", counts.unsent),
        "duplicates" => one("duplicated", counts.duplicated),
        "order" => one("reordered", counts.reordered),
        "corruption" => not_intact(record)
            .into_iter()
            .map(|(class, events)| (class, events, reason))
            .collect(),
        "objectives" => record
            .objectives
            .iter()
            .filter(|one| one.verdict == Verdict::Fail && !COUNTED.contains(&one.metric.as_str()))
            .map(|one| {
                let own = one.reason.as_deref().filter(|own| !own.is_empty());
                (one.metric.as_str(), 0, own.unwrap_or(reason))
            })
            .collect(),
        other => one(other, 0),
    }
}

/// The classes of what is not as it was sent, with their events: those of which an objective is
/// recorded as missed, or else those that are there at all.
fn not_intact(record: &RunRecord) -> Vec<(&'static str, u64)> {
    let counts = &record.counts;
    let all = [
        ("corrupted", counts.corrupted),
        ("malformed", counts.malformed),
        ("unexpected", counts.unexpected),
    ];
    let judged: Vec<_> = all
        .into_iter()
        .filter(|(class, _)| is_missed(record, class))
        .collect();
    if judged.is_empty() {
        all.into_iter().filter(|(_, events)| *events > 0).collect()
    } else {
        judged
    }
}

/// Whether an objective on this metric is recorded as missed.
fn is_missed(record: &RunRecord, metric: &str) -> bool {
    record
        .objectives
        .iter()
        .any(|objective| objective.metric == metric && objective.verdict == Verdict::Fail)
}

/// Metrics that have a checker of their own.
const COUNTED: [&str; 9] = [
    "corrupted",
    "duplicated",
    "lost",
    "malformed",
    "refused",
    "reordered",
    "unexpected",
    "unpublished",
    "unsent",
];

/// What is not known of a strike whose trial had no end.
pub fn unfinished(strike: &mut Strike) {
    strike.witness = Known::unknown("the trial did not come to its end");
}

#[cfg(test)]
mod tests {
    use super::*;
    use flume_bench_reports::record::{Objective, Witness};

    fn strike(kind: &str, target: &str) -> Strike {
        Strike {
            name: format!("{kind}-1"),
            kind: kind.into(),
            target: target.into(),
            ..Strike::default()
        }
    }

    /// A run in which that fault was witnessed, and nothing is wrong.
    fn clean(strike: &Strike) -> RunRecord {
        RunRecord {
            verdict: Verdict::Pass,
            exit_code: ExitCode::Pass,
            faults: vec![Fault {
                name: strike.name.clone(),
                kind: strike.kind.clone(),
                target: strike.target.clone(),
                witness: Known::Value(Witness {
                    what: "wait_status".into(),
                    evidence: "signal 9".into(),
                    at_us: 1,
                }),
                ..Fault::default()
            }],
            checkers: vec![checker("conservation", Verdict::Pass, "")],
            ..RunRecord::default()
        }
    }

    fn checker(name: &str, verdict: Verdict, reason: &str) -> Checker {
        Checker {
            name: name.into(),
            verdict,
            reason: reason.into(),
            ..Checker::default()
        }
    }

    #[test]
    fn what_was_refused_is_no_event_that_was_never_sent() {
        let mut record = clean(&strike("kill", "agent"));
        record.checkers = vec![checker("kept_up", Verdict::Fail, "refused")];
        let class = |record: &RunRecord| failures(Path::new("/nowhere"), record)[0].class.clone();
        assert_eq!(class(&record), "unsent");
        let missed = |metric: &str| Objective {
            metric: metric.into(),
            verdict: Verdict::Fail,
            ..Objective::default()
        };
        record.objectives = vec![missed("refused")];
        assert_eq!(class(&record), "refused");
        record.objectives.push(missed("unsent"));
        assert_eq!(class(&record), "unsent");
    }

    fn trial(strike: &Strike, record: &RunRecord, felt: bool) -> Trial {
        let planned = Trial {
            schedule: vec![strike.clone()],
            ..Trial::default()
        };
        let seen = windows::Seen {
            windows: Vec::new(),
            disturbed: felt.then(|| strike.name.clone()).into_iter().collect(),
        };
        summarise(Path::new("/nowhere"), record, planned, Ok(seen))
    }

    #[test]
    fn a_trial_passes_only_where_its_fault_was_seen_and_felt() {
        for (kind, target, felt, outcome) in [
            ("kill", "agent", true, Outcome::Passed),
            ("kill", "agent", false, Outcome::Void),
            ("outage", "store", false, Outcome::Void),
            ("pause", "agent", false, Outcome::Void),
            ("cut_link", "agent->datanode1", false, Outcome::Void),
            // Over this link no events travel, and a slow link stops nothing.
            ("cut_link", "agent->namenode", false, Outcome::Passed),
            ("slow_link", "generator->agent", false, Outcome::Passed),
        ] {
            let strike = strike(kind, target);
            let trial = trial(&strike, &clean(&strike), felt);
            assert_eq!(trial.outcome, outcome, "{kind} {target} {felt}");
            assert_eq!(trial.void.is_empty(), outcome == Outcome::Passed);
            assert!(trial.schedule[0].witness.value().is_some());
        }
    }

    #[test]
    fn what_proves_nothing_is_void_and_says_why() {
        let kill = strike("kill", "agent");
        type Spoil = fn(&mut RunRecord);
        let cases: [(&str, Spoil); 6] = [
            ("nobody saw it", |record| {
                record.faults[0].void = Some("void: nobody saw it".into());
            }),
            ("it never struck", |record| record.faults.clear()),
            ("the run was interrupted", |record| {
                record.interrupted = true
            }),
            ("the disk is full", |record| {
                record.exit_code = ExitCode::HarnessFailed;
                record.reasons = vec!["the disk is full".into()];
            }),
            ("its deadline", |record| {
                let reason = "the drain ended at its deadline";
                record.checkers[0] = checker("conservation", Verdict::Inconclusive, reason);
            }),
            ("too few events", |record| {
                record.verdict = Verdict::Inconclusive;
                record.reasons = vec!["too few events".into()];
            }),
        ];
        for (why, spoil) in cases {
            let mut record = clean(&kill);
            spoil(&mut record);
            let void = trial(&kill, &record, true);
            assert_eq!(void.outcome, Outcome::Void, "{why}");
            assert!(
                void.void.iter().any(|said| said.contains(why)),
                "{:?}",
                void.void
            );
            // A loss stays a loss.
            record.counts.lost = 3;
            record
                .checkers
                .push(checker("conservation", Verdict::Fail, "3 are lost."));
            let failed = trial(&kill, &record, true);
            assert_eq!(failed.outcome, Outcome::Failed, "{why}");
            assert_eq!(failed.void, void.void, "it keeps its doubts");
        }
        let planned = Trial {
            schedule: vec![kill.clone()],
            ..Trial::default()
        };
        let unread = summarise(Path::new("/"), &clean(&kill), planned, Err("torn".into()));
        assert_eq!(unread.outcome, Outcome::Void);
        assert!(unread.void.iter().any(|said| said.contains("torn")));
    }

    #[test]
    fn each_checker_that_fails_is_a_class_of_its_own() {
        let kill = strike("kill", "agent");
        let missed = |metric: &str| Objective {
            metric: metric.into(),
            verdict: Verdict::Fail,
            ..Objective::default()
        };
        for (name, objective, class, guarantee, events) in [
            ("conservation", Some("lost"), "lost", "at_least_once", 1),
            (
                "publication",
                Some("unpublished"),
                "unpublished",
                "published",
                2,
            ),
            (
                "duplicates",
                Some("duplicated"),
                "duplicated",
                "no_duplicates",
                3,
            ),
            ("order", Some("reordered"), "reordered", "ordered", 4),
            ("corruption", Some("malformed"), "malformed", "intact", 6),
            (
                "corruption",
                Some("unexpected"),
                "unexpected",
                "nothing_invented",
                7,
            ),
            ("liveness", None, "liveness", "comes_back", 0),
            (
                "objectives",
                Some("drained_within"),
                "drained_within",
                "objectives",
                0,
            ),
        ] {
            let mut record = clean(&kill);
            let counts = &mut record.counts;
            (counts.lost, counts.unpublished, counts.duplicated) = (1, 2, 3);
            (counts.reordered, counts.corrupted) = (4, 5);
            (counts.malformed, counts.unexpected) = (6, 7);
            record.checkers = vec![checker(name, Verdict::Fail, "missed.")];
            record.objectives = objective.map(missed).into_iter().collect();
            let trial = trial(&kill, &record, true);
            assert_eq!(trial.failures.len(), 1, "{name}: {:?}", trial.failures);
            let failure = &trial.failures[0];
            assert_eq!(
                (
                    failure.class.as_str(),
                    failure.guarantee.as_str(),
                    failure.events
                ),
                (class, guarantee, events)
            );
            assert_eq!(failure.places.is_empty(), class != "lost");
        }
    }
}
