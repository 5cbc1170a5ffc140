//! Pairs of made-up runs: what is noted, what is run again, and why it ends.

use std::cell::Cell;

use flume_bench_reports::record::{Counts, Known, Load, Quantity};

use super::*;
use crate::gate::variant::Change;
use crate::scenario::Overrides;
use crate::scenario::gate::Gate;

fn subject() -> Subject {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/quickstart.toml"));
    let gate = Gate::default();
    let change = Change {
        gate: &gate,
        with_faults: false,
    };
    let variant = Variant::of(path, &Overrides::default(), change).unwrap();
    Subject {
        name: "s".into(),
        path: path.into(),
        sha256: String::new(),
        variants: [variant.clone(), variant],
        stored: None,
        left_out: None,
        foreign_ppm: 100_000,
        turns: None,
        pairs: Vec::new(),
        spoiled: Vec::new(),
        misses: Vec::new(),
        with_faults: false,
        ended: [0; 2],
        judged: [0; 2],
        disturbed: 0,
        void: [0; 2],
    }
}

fn checker(name: &str, verdict: Verdict) -> Checker {
    Checker {
        name: name.into(),
        verdict,
        reason: format!("{name} says so."),
        ..Checker::default()
    }
}

fn objective(metric: &str, verdict: Verdict) -> Objective {
    Objective {
        metric: metric.into(),
        limit: Quantity::new(0, "events"),
        seen: Known::Value(Quantity::new(20, "events")),
        verdict,
        ..Objective::default()
    }
}

fn good() -> RunRecord {
    RunRecord {
        exit_code: ExitCode::Pass,
        load: Load {
            planned: 10_000,
            ..Load::default()
        },
        counts: Counts {
            owed: 10_000,
            ..Counts::default()
        },
        checkers: NEEDED.map(|name| checker(name, Verdict::Pass)).into(),
        ..RunRecord::default()
    }
}

/// As of an agent that never became ready: nothing is owed, and nothing is proved.
fn dead() -> RunRecord {
    let mut record = good();
    record.counts.owed = 0;
    record.exit_code = ExitCode::Missed;
    record.checkers = vec![
        checker("conservation", Verdict::Pass),
        checker("enough_evidence", Verdict::Inconclusive),
        checker("liveness", Verdict::Fail),
    ];
    record
}

fn void() -> RunRecord {
    let mut record = good();
    record.exit_code = ExitCode::Inconclusive;
    record.checkers = vec![checker("enough_evidence", Verdict::Inconclusive)];
    record
}

fn lossy() -> RunRecord {
    let mut record = good();
    record.exit_code = ExitCode::Missed;
    record.checkers = vec![checker("conservation", Verdict::Fail)];
    record.objectives = vec![objective("lost", Verdict::Fail)];
    record
}

/// Pairs in which each arm always gives the same record, under so much foreign CPU.
fn pairs(
    subject: &mut Subject,
    numbers: std::ops::RangeInclusive<u64>,
    arms: [&dyn Fn() -> Result<RunRecord, Stop>; 2],
    foreign: u64,
) -> Result<(), Stop> {
    let (dir, interrupted) = (PathBuf::new(), Arc::default());
    let tools = Tools {
        program: PathBuf::new(),
        agent_program: None,
        check_agent: |_, _, _| Vec::new(),
    };
    let session = Session {
        dir: &dir,
        programs: [None, None],
        tools: &tools,
        command_line: &[],
        interrupted: &interrupted,
        spoiled_at_most: 4,
        say: &|_| (),
        random: random(1),
    };
    let run = |_: &Subject, arm: usize, _: u64| {
        Ok(Done {
            run: RunOf::default(),
            record: Some(arms[arm]()?),
        })
    };
    let ticks = Cell::new(0);
    let reading = || {
        ticks.set(ticks.get() + 1_000);
        Some(Reading::of(ticks.get(), ticks.get() * foreign / 1_000))
    };
    numbers
        .into_iter()
        .try_for_each(|number| session.pair_of(subject, number, "screen", &run, &reading))
}

fn names(subject: &Subject, arm: usize) -> Vec<&str> {
    let own = subject.misses.iter().filter(|miss| miss.arm == arm);
    own.map(|miss| miss.what.as_str()).collect()
}

#[test]
fn a_candidate_that_never_starts_is_a_violation_and_no_unfit_host() {
    let mut one = subject();
    pairs(&mut one, 1..=1, [&|| Ok(good()), &|| Ok(dead())], 0).unwrap();
    assert!(one.is_settled(), "{one:?}");
    assert_eq!(one.judged, [3, 3]);
    assert!(names(&one, 1).contains(&"liveness") && names(&one, 0).is_empty());
    let violations = super::super::verdict::violations(&one);
    let of = |what: &str| violations.iter().find(|one| one.what == what).unwrap();
    assert_eq!(of("liveness").exit_code, ExitCode::Regression);
    assert_ne!(of(OFFERED_LOAD).exit_code, ExitCode::Pass);

    let mut both = subject();
    pairs(&mut both, 1..=1, [&|| Ok(dead()), &|| Ok(dead())], 0).unwrap();
    let violations = super::super::verdict::violations(&both);
    let liveness = violations.iter().find(|one| one.what == "liveness");
    assert_eq!(liveness.unwrap().exit_code, ExitCode::Missed);
}

#[test]
fn runs_of_the_candidate_that_prove_nothing_are_its_own_doing() {
    let mut one = subject();
    let stop = pairs(&mut one, 1..=1, [&|| Ok(good()), &|| Ok(void())], 0).unwrap_err();
    assert!(
        matches!(&stop, Stop::Void { candidate: true, why } if why.contains("3 runs of the candidate")),
        "{stop:?}"
    );
    let mut one = subject();
    let stop = pairs(&mut one, 1..=1, [&|| Ok(void()), &|| Ok(void())], 0).unwrap_err();
    assert!(
        matches!(
            &stop,
            Stop::Void {
                candidate: false,
                ..
            }
        ),
        "{stop:?}"
    );
    // Now and then one, in either arm: run again, and that is all.
    let mut one = subject();
    let turn = Cell::new(0);
    let sometimes = || {
        turn.set(turn.get() + 1);
        Ok(if turn.get() == 2 { void() } else { good() })
    };
    pairs(&mut one, 1..=4, [&|| Ok(good()), &sometimes], 0).unwrap();
    assert_eq!((one.pairs.len(), one.spoiled.len()), (4, 1));
}

#[test]
fn others_spoil_a_pair_and_then_only_losses_are_noted() {
    let mut one = subject();
    let stop = pairs(&mut one, 1..=1, [&|| Ok(good()), &|| Ok(dead())], 300).unwrap_err();
    assert!(
        matches!(&stop, Stop::Unfit(why) if why.starts_with("5 of 5 pairs")),
        "{stop:?}"
    );
    assert!(one.misses.is_empty(), "{one:?}");
    let mut one = subject();
    let stop = pairs(&mut one, 1..=1, [&|| Ok(good()), &|| Ok(lossy())], 300).unwrap_err();
    assert!(matches!(stop, Stop::Unfit(_)));
    assert_eq!((names(&one, 1).len(), one.ended), (5, [5, 5]));
}

#[test]
fn a_loss_that_was_seen_stays_when_the_other_arm_never_ends() {
    for stop in [Stop::Interrupted, Stop::Failed("the store".into())] {
        for other in 0..2 {
            let mut one = subject();
            let never = || Err(stop.clone());
            let seen = || Ok(lossy());
            let arms: [&dyn Fn() -> Result<RunRecord, Stop>; 2] = if other == 0 {
                [&never, &seen]
            } else {
                [&seen, &never]
            };
            // Which arm goes first is drawn: where it is the other one, nothing was seen yet.
            let mut ended = [0; 2];
            for _ in 0..20 {
                assert_eq!(pairs(&mut one, 1..=1, arms, 0), Err(stop.clone()));
                ended = one.ended;
            }
            assert_eq!(names(&one, 1 - other).len() as u64, ended[1 - other]);
        }
    }
    // The arm that goes first by this seed, so that one of the two is sure to have been seen.
    let mut one = subject();
    let turn = Cell::new(0);
    let first = || {
        turn.set(turn.get() + 1);
        match turn.get() {
            1 => Ok(lossy()),
            _ => Err(Stop::Interrupted),
        }
    };
    assert_eq!(
        pairs(&mut one, 1..=1, [&first, &first], 0),
        Err(Stop::Interrupted)
    );
    assert_eq!(one.misses.len(), 1);
    // So does what the interrupted run itself shows.
    let mut one = subject();
    let cut = || {
        let mut record = lossy();
        record.interrupted = true;
        Ok(record)
    };
    assert_eq!(
        pairs(&mut one, 1..=1, [&cut, &cut], 0),
        Err(Stop::Interrupted)
    );
    assert_eq!(one.misses.len(), 1);
}

#[test]
fn what_was_not_seen_is_lost_only_where_the_checker_says_so() {
    let names = |record: &RunRecord| -> Vec<String> {
        missed(record).into_iter().map(|(what, _)| what).collect()
    };
    assert_eq!(names(&lossy()), ["lost"]);
    let mut doubtful = lossy();
    doubtful.checkers = vec![checker("conservation", Verdict::Inconclusive)];
    assert!(names(&doubtful).is_empty());
    // A checker that fails is said, whatever else was missed.
    let mut several = lossy();
    several
        .objectives
        .push(objective("stored_response_us_p99", Verdict::Fail));
    several.checkers.extend([
        checker("liveness", Verdict::Fail),
        checker("objectives", Verdict::Fail),
        checker("publication", Verdict::Fail),
    ]);
    assert_eq!(
        names(&several),
        ["lost", "stored_response_us_p99", "liveness", "unpublished"]
    );
}

#[test]
fn what_was_refused_or_never_sent_is_missed_like_a_time() {
    let names = |record: &RunRecord| -> Vec<String> {
        missed(record).into_iter().map(|(what, _)| what).collect()
    };
    let mut record = good();
    record.objectives.push(objective("refused", Verdict::Fail));
    assert!(names(&record).is_empty(), "its checker has the last word");
    record.checkers.push(checker("kept_up", Verdict::Fail));
    assert_eq!(names(&record), ["refused"]);
    record.objectives.clear();
    assert_eq!(names(&record), ["unsent"]);
    // So much of it is said once.
    record.counts.owed = 9_899;
    assert_eq!(names(&record), [OFFERED_LOAD]);
}

#[test]
fn load_that_was_not_taken_over_is_missed() {
    let mut record = good();
    record.counts.owed = 9_900;
    assert!(missed(&record).is_empty());
    record.counts.owed = 9_899;
    assert_eq!(missed(&record)[0].0, OFFERED_LOAD);
    let slow = || {
        let mut record = good();
        record.counts.owed = 5_000;
        Ok(record)
    };
    let code = |arms, with_faults| {
        let mut one = subject();
        one.with_faults = with_faults;
        pairs(&mut one, 1..=8, arms, 0).unwrap();
        let violations = super::super::verdict::violations(&one);
        violations[0].exit_code
    };
    let fine = || Ok(good());
    assert_eq!(code([&fine, &slow], false), ExitCode::Regression);
    assert_eq!(code([&slow, &fine], false), ExitCode::Pass);
    assert_eq!(code([&slow, &slow], false), ExitCode::Inconclusive);
    assert_eq!(code([&slow, &slow], true), ExitCode::Pass);
}
