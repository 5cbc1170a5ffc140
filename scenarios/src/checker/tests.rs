//! Checkers on evidence made by hand: each test plants one thing, and the rest is in order.

use std::path::Path;

use super::*;

const SCENARIO: &str = r#"seed = 7
[sut]
driver = "decoy"
[load]
into = "netcat"
rate = "1000/s"
[store]
kind = "files"
[phases]
steady = "10s"
[[fault]]
kind = "kill"
target = "agent"
at = "2s"
for = "1s"
[objectives]
stored_response_p99 = "2s"
drained_within = "5s"
"#;

fn scenario(changes: &[(&str, &str)]) -> Scenario {
    let mut text = SCENARIO.to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    crate::scenario::load_text(Path::new("x.toml"), &text).unwrap()
}

fn histogram(micros: i64, count: u64) -> Latency {
    let mut histogram = Latency::new();
    histogram.record(micros, count);
    histogram
}

fn line(at_us: i64, entry: Entry) -> Line {
    Line { at_us, entry }
}

/// The history of a run in which everything went well.
fn history() -> Vec<Line> {
    vec![
        line(
            11_000_000,
            Entry::Drained {
                outcome: Drain::Complete,
                missing: 0,
                last_stored_us: Some(10_100_000),
                took_us: Some(100_000),
            },
        ),
        line(
            11_500_000,
            Entry::Probe {
                stored: true,
                took_us: Some(1_000),
                error: None,
            },
        ),
        line(
            12_000_000,
            Entry::FinalScan {
                number: 1,
                error: None,
            },
        ),
    ]
}

/// 10,000 events, all of them stored, through one kill.
fn evidence<'a>(scenario: &'a Scenario, history: &'a [Line]) -> Evidence<'a> {
    let mut steady = Histograms::default();
    steady.0[Measure::StoredResponse as usize] = histogram(50_000, 9_000);
    steady.0[Measure::Slip as usize] = histogram(100, 9_000);
    Evidence {
        scenario,
        totals: Totals {
            planned: 10_000,
            issued: 10_000,
            acked: Some(10_000),
            refused: Some(0),
            unknown: Some(0),
            owed: 10_000,
            stored: 10_000,
            published: 10_000,
            recovered: Some(0),
            ..Totals::default()
        },
        owing: Owing::Acked,
        history,
        whole: true,
        strikes: vec![Strike {
            name: "kill-1".into(),
            index: 0,
            injected: 2_000_000,
            healed: Some(3_000_000),
            witness: Some(("exit".into(), "signal 9".into(), 2_000_100)),
            in_flight: 10,
            failed: None,
            first_stored: Some(3_100_000),
            drained: Some(3_200_000),
            backlog: 100,
            not_drained: Some(3_190_000),
        }],
        steady,
        during: Histograms::default(),
        due_steady: Due {
            issued: [9_000; Measure::ALL.len()],
            unsent: [0; Measure::ALL.len()],
            stored_at_least: histogram(30_000, 9_000),
            published_at_least: Latency::new(),
        },
        due_during: Due::default(),
        slip: histogram(100, 10_000),
        not_drained: None,
        blind: Vec::new(),
    }
}

/// The verdict and the reason of one checker.
fn judged(evidence: &Evidence<'_>, name: &str) -> (Verdict, String) {
    let all = check_all(evidence);
    let one = all.into_iter().find(|checker| checker.name == name);
    one.map(|checker| (checker.verdict, checker.reason))
        .unwrap()
}

#[test]
fn a_run_in_order_passes_every_checker() {
    let (scenario, history) = (scenario(&[]), history());
    for checker in check_all(&evidence(&scenario, &history)) {
        assert_eq!(checker.verdict, Verdict::Pass, "{checker:?}");
    }
}

#[test]
fn an_agent_that_ends_after_the_drain_or_must_be_killed_fails() {
    let scenario = scenario(&[]);
    let with = |entry| {
        let mut history = history();
        history.push(line(11_600_000, entry));
        judged(&evidence(&scenario, &history), "liveness")
    };
    let (verdict, reason) = with(Entry::Ended {
        role: "agent".into(),
        pid: 7,
        exit: "exit code 77".into(),
        wanted: false,
    });
    assert_eq!(verdict, Verdict::Fail);
    assert!(reason.contains("exit code 77"), "{reason}");
    let killed = |role: &str| {
        with(Entry::HadToBeKilled {
            role: role.into(),
            limit_us: 5_000_000,
        })
    };
    assert_eq!(killed("agent").0, Verdict::Fail);
    assert!(killed("agent").1.contains("5.0 s"), "{:?}", killed("agent"));
    assert_eq!(killed("namenode").0, Verdict::Pass);
}

/// The bench kills what it has started when it is told to stop a second time.
#[test]
fn who_killed_the_agent_of_an_interrupted_run_is_not_known() {
    let scenario = scenario(&[]);
    let ended = |exit: &str, interrupted: bool| {
        let mut history = history();
        if interrupted {
            history.push(line(
                11_500_000,
                Entry::Interrupted {
                    by: "SIGINT".into(),
                },
            ));
        }
        let entry = Entry::Ended {
            role: "agent".into(),
            pid: 7,
            exit: exit.into(),
            wanted: false,
        };
        history.push(line(11_600_000, entry));
        judged(&evidence(&scenario, &history), "liveness").0
    };
    assert_eq!(ended("signal 9", false), Verdict::Fail);
    assert_ne!(ended("signal 9", true), Verdict::Fail);
    assert_eq!(ended("exit code 1", true), Verdict::Fail);
}

#[test]
fn slip_is_judged_over_the_whole_load_and_too_few_samples_are_a_doubt() {
    let (scenario, history) = (scenario(&[]), history());
    let with = |steady: Latency, all: Latency| {
        let mut evidence = evidence(&scenario, &history);
        evidence.steady.0[Measure::Slip as usize] = steady;
        evidence.slip = all;
        judged(&evidence, "enough_evidence")
    };
    let mut late = histogram(100, 9_000);
    late.record(900_000, 1_000);
    let (verdict, reason) = with(histogram(100, 900), late);
    assert_eq!(verdict, Verdict::Inconclusive);
    assert!(reason.contains("could not keep its schedule"), "{reason}");
    let (verdict, reason) = with(histogram(100, 900), histogram(100, 999));
    assert_eq!(verdict, Verdict::Inconclusive);
    assert!(reason.contains("needs 1,000 samples"), "{reason}");
    assert_eq!(
        with(histogram(100, 900), histogram(100, 1_000)).0,
        Verdict::Pass
    );
}

#[test]
fn a_fault_without_any_outcome_is_a_doubt() {
    let (scenario, mut history) = (scenario(&[]), history());
    let void = |history: &[Line]| {
        let mut evidence = evidence(&scenario, history);
        evidence.strikes.clear();
        judged(&evidence, "enough_evidence")
    };
    let (verdict, reason) = void(&history);
    assert_eq!(verdict, Verdict::Inconclusive);
    assert!(reason.contains("kill-1 never struck"), "{reason}");
    history.push(line(
        10_000_000,
        Entry::NotStruck {
            index: 0,
            why: "the run ended before".into(),
        },
    ));
    let (_, reason) = void(&history);
    assert!(reason.contains("the run ended before"), "{reason}");
}

#[test]
fn what_was_never_sent_fails_unless_it_is_allowed_or_the_bench_was_late() {
    let with = |objective: &str, change: &dyn Fn(&mut Evidence<'_>)| {
        let objectives = format!("drained_within = \"5s\"\n{objective}");
        let scenario = scenario(&[("drained_within = \"5s\"", &objectives)]);
        let history = history();
        let mut evidence = evidence(&scenario, &history);
        evidence.totals.unsent = 2_000;
        evidence.totals.planned = 12_000;
        change(&mut evidence);
        judged(&evidence, "kept_up")
    };
    let (verdict, reason) = with("", &|_| {});
    assert_eq!(verdict, Verdict::Fail);
    assert!(reason.contains("2,000 of 12,000 planned"), "{reason}");
    assert_eq!(with("unsent = 2000", &|_| {}).0, Verdict::Pass);
    let late = |evidence: &mut Evidence<'_>| evidence.slip = histogram(500_000, 10_000);
    assert_eq!(with("", &late).0, Verdict::Inconclusive);
    let refused = |evidence: &mut Evidence<'_>| {
        evidence.totals.unsent = 0;
        evidence.totals.refused = Some(3);
    };
    assert_eq!(with("", &refused).0, Verdict::Pass);
    assert_eq!(with("refused = 2", &refused).0, Verdict::Fail);
    let silent = |evidence: &mut Evidence<'_>| evidence.totals.refused = None;
    assert_eq!(
        with("unsent = 2000\nrefused = 2", &silent).0,
        Verdict::Inconclusive
    );
    // What is not known of refusals hides no miss of the other.
    let (verdict, reason) = with("refused = 2", &silent);
    assert_eq!(verdict, Verdict::Fail);
    assert!(reason.contains("never sent"), "{reason}");
    // A source that takes next to nothing leaves few samples of slip, and those are in order.
    let few = |evidence: &mut Evidence<'_>| evidence.slip = histogram(100, 400);
    assert_eq!(with("", &few).0, Verdict::Fail);
    let few_and_late = |evidence: &mut Evidence<'_>| evidence.slip = histogram(500_000, 400);
    assert_eq!(with("", &few_and_late).0, Verdict::Inconclusive);
}

#[test]
fn what_was_not_sent_because_the_bench_failed_is_held_against_nobody() {
    let scenario = scenario(&[]);
    let failed = Entry::HarnessFailed {
        error: "no thread".into(),
    };
    let mut history = history();
    history.push(line(9_000_000, failed));
    let mut evidence = evidence(&scenario, &history);
    evidence.totals.unsent = 2_000;
    evidence.due_steady.unsent = [2_000; Measure::ALL.len()];
    let (verdict, reason) = judged(&evidence, "kept_up");
    assert_eq!(verdict, Verdict::Inconclusive);
    assert!(reason.contains("no thread"), "{reason}");
    // Nor do they make the others slow.
    assert_eq!(judged(&evidence, "objectives").0, Verdict::Inconclusive);
}

#[test]
fn answers_that_never_came_are_slow_answers() {
    let scenario = scenario(&[("stored_response_p99 = \"2s\"", "ack_service_p90 = \"1s\"")]);
    let history = history();
    let with = |answered: u64| {
        let mut evidence = evidence(&scenario, &history);
        evidence.steady.0[Measure::AckService as usize] = histogram(1_000, answered);
        judged(&evidence, "objectives")
    };
    assert_eq!(with(9_000).0, Verdict::Pass);
    let (verdict, reason) = with(6_000);
    assert_eq!(verdict, Verdict::Fail);
    assert!(reason.contains("3,000 of 9,000"), "{reason}");
    assert!(reason.contains("never acknowledged"), "{reason}");
}

#[test]
fn a_loss_within_its_limit_stays_within_it_whatever_was_not_read() {
    let scenario = scenario(&[("drained_within", "lost = 10\ndrained_within")]);
    let lease = Entry::Lease {
        path: "/a.tmp".into(),
        recovered: false,
        error: Some("timeout".into()),
    };
    let mut history = history();
    history.insert(2, line(11_900_000, lease));
    let mut evidence = evidence(&scenario, &history);
    evidence.totals.lost = 10;
    assert_eq!(judged(&evidence, "conservation").0, Verdict::Pass);
    evidence.totals.lost = 11;
    assert_eq!(judged(&evidence, "conservation").0, Verdict::Inconclusive);
}

#[test]
fn events_that_never_came_are_slower_than_any_limit() {
    let (scenario, history) = (scenario(&[]), history());
    let with = |issued: u64, unsent: u64| {
        let mut evidence = evidence(&scenario, &history);
        evidence.due_steady.issued = [issued; Measure::ALL.len()];
        evidence.due_steady.unsent = [unsent; Measure::ALL.len()];
        evidence.totals.unsent = unsent;
        judged(&evidence, "objectives")
    };
    // 1 % of all may be slower.
    assert_eq!(with(9_080, 0).0, Verdict::Pass);
    let (verdict, reason) = with(9_200, 0);
    assert_eq!(verdict, Verdict::Fail);
    assert!(
        reason.contains("200 of 9,200 events never came"),
        "{reason}"
    );
    assert_eq!(with(9_000, 200).0, Verdict::Fail);
    // Due while a fault lasted, they say nothing of steady.
    let mut evidence = evidence(&scenario, &history);
    evidence.totals.unsent = 200;
    evidence.due_during.unsent = [200; Measure::ALL.len()];
    assert_eq!(judged(&evidence, "objectives").0, Verdict::Pass);
}

#[test]
fn a_time_that_the_bench_may_have_spoiled_is_no_miss() {
    let (scenario, history) = (scenario(&[]), history());
    let with = |change: &dyn Fn(&mut Evidence<'_>)| {
        let mut evidence = evidence(&scenario, &history);
        evidence.steady.0[Measure::StoredResponse as usize] = histogram(3_000_000, 9_000);
        evidence.due_steady.stored_at_least = histogram(2_500_000, 9_000);
        change(&mut evidence);
        judged(&evidence, "objectives")
    };
    assert_eq!(with(&|_| {}).0, Verdict::Fail);
    let (verdict, reason) = with(&|evidence| {
        evidence.due_steady.stored_at_least = histogram(1_500_000, 9_000);
    });
    assert_eq!(verdict, Verdict::Inconclusive);
    assert!(reason.contains("looks at the store"), "{reason}");
    let late = |evidence: &mut Evidence<'_>| evidence.slip = histogram(500_000, 10_000);
    assert_eq!(with(&late).0, Verdict::Inconclusive);
    let blind = |evidence: &mut Evidence<'_>| {
        evidence.blind = vec![(6_000_000, 9_000_000, "x".into())];
    };
    assert_eq!(with(&blind).0, Verdict::Inconclusive);
    // The same for the time to drain.
    let drained = |between: i64, slip: i64| {
        let mut evidence = evidence(&scenario, &history);
        evidence.strikes[0].drained = Some(9_000_000);
        evidence.strikes[0].not_drained = Some(between);
        evidence.slip = histogram(slip, 10_000);
        judged(&evidence, "objectives").0
    };
    assert_eq!(drained(8_900_000, 100), Verdict::Fail);
    assert_eq!(drained(7_900_000, 100), Verdict::Inconclusive);
    assert_eq!(drained(8_900_000, 500_000), Verdict::Inconclusive);
}

#[test]
fn a_drain_without_faults_is_bounded_by_the_looks_too() {
    let (plan, rest) = SCENARIO.split_once("[[fault]]").unwrap();
    let objectives = rest.split_once("[objectives]").unwrap().1;
    let text = format!("{plan}[objectives]{objectives}").replace("\"5s\"", "\"99ms\"");
    let scenario = crate::scenario::load_text(Path::new("x.toml"), &text).unwrap();
    // The load ended at 10 s, and the last event was seen 100 ms later.
    let history = history();
    let drained = |not_drained| {
        let mut evidence = evidence(&scenario, &history);
        evidence.strikes.clear();
        evidence.not_drained = not_drained;
        judged(&evidence, "objectives")
    };
    assert_eq!(drained(None).0, Verdict::Fail);
    assert_eq!(drained(Some(10_099_500)).0, Verdict::Fail);
    let (verdict, reason) = drained(Some(10_050_000));
    assert_eq!(verdict, Verdict::Inconclusive);
    assert!(reason.contains("looks at the store"), "{reason}");
}

#[test]
fn a_torn_record_with_nothing_missing_says_so_in_words() {
    let (scenario, history) = (scenario(&[]), history());
    let mut evidence = evidence(&scenario, &history);
    evidence.whole = false;
    let (verdict, reason) = judged(&evidence, "conservation");
    assert_eq!(verdict, Verdict::Inconclusive);
    assert_eq!(
        reason,
        "Nothing is missing of the 10,000 owed events that are on record, but there may have been more: the journal or the history is torn."
    );
    evidence.totals.lost = 5;
    let (_, reason) = judged(&evidence, "conservation");
    assert!(
        reason.starts_with("5 of 10,000 owed events were not seen"),
        "{reason}"
    );
}

#[test]
fn what_we_could_not_read_is_held_against_nobody() {
    let scenario = scenario(&[]);
    let with = |entry: Entry, change: &dyn Fn(&mut Totals)| {
        let mut history = history();
        history.insert(2, line(11_900_000, entry));
        let mut evidence = evidence(&scenario, &history);
        change(&mut evidence.totals);
        let objectives = judge_objectives(&evidence);
        let objective = |name: &str| {
            let mut all = objectives.iter();
            all.find(|one| one.metric == name).unwrap().verdict
        };
        let (lost, unpublished) = (objective("lost"), objective("unpublished"));
        let conservation = judged(&evidence, "conservation").0;
        let publication = judged(&evidence, "publication").0;
        assert_eq!(lost, conservation);
        (conservation, publication, unpublished)
    };
    let (pass, fail, doubt) = (Verdict::Pass, Verdict::Fail, Verdict::Inconclusive);
    let failed_scan = || Entry::FinalScan {
        number: 1,
        error: Some("the NameNode was away".into()),
    };
    let lease = || Entry::Lease {
        path: "/a.tmp".into(),
        recovered: false,
        error: Some("timeout".into()),
    };
    let note = || Entry::Note {
        text: String::new(),
    };
    let lost = |totals: &mut Totals| totals.lost = 5;
    let unpublished = |totals: &mut Totals| totals.unpublished = 5;
    assert_eq!(with(note(), &lost), (fail, pass, pass));
    assert_eq!(with(note(), &unpublished), (pass, fail, fail));
    // The scan before the lease recovery is the only one that publishes.
    assert_eq!(with(failed_scan(), &unpublished), (pass, doubt, doubt));
    assert_eq!(with(failed_scan(), &lost).0, fail);
    // A lease matters only where something was not seen.
    assert_eq!(with(lease(), &|_| {}), (pass, pass, pass));
    assert_eq!(with(lease(), &lost), (doubt, doubt, pass));
}
