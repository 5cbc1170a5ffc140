//! The statistics and the guard, on scripted figures; and that the README knows every row.

use std::collections::VecDeque;
use std::time::Duration;

use flume_bench_benches::guard::{Disturbance, Meter, Reading};
use flume_bench_benches::outcome::{BenchError, Limit, Outcome, Verdict};
use flume_bench_benches::pairs::{Arm, Plan, Ratio, Work, compare, undisturbed};
use flume_bench_benches::rows::ROWS;
use flume_bench_benches::show;
use flume_bench_benches::stats::Spread;

#[test]
fn the_median_is_the_middle_one_whatever_the_order() {
    let spread = Spread::of([9.0, 1.0, 5.0]).unwrap();
    assert_eq!((spread.median, spread.min, spread.max), (5.0, 1.0, 9.0));
    assert_eq!(Spread::of([4.0, 1.0, 2.0, 100.0]).unwrap().median, 3.0);
    assert_eq!(Spread::of([7.0]).unwrap().median, 7.0);
    assert_eq!(Spread::of([]), None);
    assert_eq!(Spread::of([1.0, f64::NAN]), None);
    assert_eq!(Spread::of([1.0, f64::INFINITY]), None);
}

#[test]
fn a_disturbance_is_dirty_beyond_the_limits_only() {
    let dirty = |others, steal| Disturbance { others, steal }.is_dirty();
    assert!(!dirty(0.12, 0.05));
    assert!(dirty(0.121, 0.0));
    assert!(dirty(0.0, 0.051));
}

/// A machine on which each step takes a second of two CPUs, of which others use what the script
/// says.
struct Script {
    now: Reading,
    others: VecDeque<f64>,
}

impl Script {
    fn new(others: &[f64]) -> Script {
        Script {
            now: Reading::default(),
            others: others.iter().copied().collect(),
        }
    }
}

impl Meter for Script {
    fn read(&mut self) -> Reading {
        // Two readings a pair: the one before it takes nothing from the script.
        let now = self.now;
        if let Some(others) = self.others.pop_front() {
            self.now.total += 2.0;
            self.now.own += 1.0;
            self.now.busy += 1.0 + 2.0 * others;
        }
        now
    }

    fn wait_for_quiet(&mut self, _: Duration) -> bool {
        true
    }
}

fn work(units: u64, millis: u64) -> Result<Work, BenchError> {
    Ok(Work {
        units,
        wall: Duration::from_millis(millis),
        cpu: Duration::from_millis(2 * millis),
    })
}

/// Seven pairs or more; the first arm takes what `millis` says, the second always 10 ms.
fn compared(
    others: &[f64],
    millis: &[u64],
    ratio: Ratio,
    limit: Limit,
) -> Result<Outcome, BenchError> {
    let mut outcome = Outcome::new("test");
    let mut times = millis.iter().cycle();
    let mut first = || work(1_000, times.next().copied().unwrap_or(1));
    let mut second = || work(1_000, 10);
    let plan = Plan {
        ratio,
        ..Plan::of_rates(7)
    };
    // Every pair reads twice; both readings see the same second begin.
    let script: Vec<f64> = others.iter().flat_map(|others| [*others, 0.0]).collect();
    let arms = (
        Arm {
            name: "one",
            run: &mut first,
        },
        Arm {
            name: "two",
            run: &mut second,
        },
    );
    compare(&mut outcome, &plan, limit, &mut Script::new(&script), arms)?;
    Ok(outcome)
}

#[test]
fn the_ratio_is_the_median_of_the_pairs_ratios() {
    let quiet = [0.0; 7];
    let times = [5, 4, 2, 5, 5, 10, 20];
    let outcome = compared(&quiet, &times, Ratio::Rates, Limit::AtLeast(2.0)).unwrap();
    let pairs = outcome.pairs.as_ref().unwrap();
    let ratio = pairs.ratio;
    assert_eq!((ratio.median, ratio.min, ratio.max), (2.0, 0.5, 5.0));
    assert_eq!((pairs.counted, pairs.repeated, pairs.dirty), (7, 0, false));
    assert_eq!(outcome.verdict(), Verdict::Pass);
    assert_eq!(outcome.arms[1].per_second.median, 100_000.0);
    assert_eq!(outcome.arms[1].cpu_ns.median, 20_000.0);
    let missed = compared(&quiet, &times, Ratio::Rates, Limit::AtLeast(2.01)).unwrap();
    assert_eq!(missed.verdict(), Verdict::Fail);
    let of_times = compared(&quiet, &times, Ratio::Times, Limit::AtMost(0.5)).unwrap();
    assert_eq!(of_times.pairs.as_ref().unwrap().ratio.median, 0.5);
    assert_eq!(of_times.verdict(), Verdict::Pass);
}

#[test]
fn disturbed_pairs_are_run_again_and_counted() {
    let mut others = vec![0.0, 0.5, 0.0, 0.13];
    others.extend([0.05; 5]);
    // The disturbed pairs, second and fourth, would have spoilt the ratio.
    let times = [10, 1, 10, 1, 10, 10, 10, 10, 10];
    let outcome = compared(&others, &times, Ratio::Rates, Limit::Within(1.0, 0.05)).unwrap();
    let pairs = outcome.pairs.as_ref().unwrap();
    assert_eq!((pairs.counted, pairs.repeated, pairs.dirty), (7, 2, false));
    assert_eq!((pairs.ratio.min, pairs.ratio.max), (1.0, 1.0));
    assert!((pairs.worst.others - 0.05).abs() < 1e-9);
    assert_eq!(outcome.verdict(), Verdict::Pass);
    assert!(show::outcome(&outcome).contains("2 repeated by the guard"));
}

#[test]
fn a_machine_that_is_never_quiet_gives_figures_and_no_verdict() {
    let limit = Limit::Within(1.0, 0.05);
    let outcome = compared(&[0.6; 40], &[10], Ratio::Rates, limit).unwrap();
    let pairs = outcome.pairs.as_ref().unwrap();
    assert_eq!((pairs.counted, pairs.dirty), (21, true));
    assert!(outcome.checks[0].is_met);
    assert_eq!(outcome.verdict(), Verdict::Void);
    assert!(outcome.void[0].contains("0 of 7"), "{:?}", outcome.void);
}

#[test]
fn few_pairs_prove_nothing() {
    let mut outcome = Outcome::new("test");
    let mut first = || work(1, 1);
    let mut second = || work(1, 1);
    let arms = (
        Arm {
            name: "one",
            run: &mut first,
        },
        Arm {
            name: "two",
            run: &mut second,
        },
    );
    let limit = Limit::Within(1.0, 0.05);
    compare(
        &mut outcome,
        &Plan::of_rates(3),
        limit,
        &mut Script::new(&[]),
        arms,
    )
    .unwrap();
    assert_eq!(outcome.verdict(), Verdict::Void);
}

#[test]
fn an_arm_that_does_nothing_is_an_error_and_no_result() {
    let mut outcome = Outcome::new("test");
    let mut first = || work(0, 1);
    let mut second = || work(0, 1);
    let arms = (
        Arm {
            name: "one",
            run: &mut first,
        },
        Arm {
            name: "two",
            run: &mut second,
        },
    );
    let limit = Limit::AtLeast(0.0);
    let plan = Plan::of_rates(7);
    let result = compare(&mut outcome, &plan, limit, &mut Script::new(&[]), arms);
    assert!(
        matches!(result, Err(BenchError::Wrong { .. })),
        "{result:?}"
    );
}

#[test]
fn without_a_second_arm_a_disturbed_run_is_repeated_until_a_quiet_one() {
    let mut runs = 0;
    let mut script = Script::new(&[0.9, 0.0, 0.9, 0.0, 0.0, 0.0]);
    let (result, disturbance, repeated) = undisturbed(5, &mut script, || {
        runs += 1;
        Ok(runs)
    })
    .unwrap();
    assert_eq!((result, repeated), (3, 2));
    assert!(!disturbance.is_dirty());
    let mut script = Script::new(&[0.9; 20]);
    let (_, disturbance, repeated) = undisturbed(4, &mut script, || Ok(())).unwrap();
    assert_eq!(repeated, 3);
    assert!(disturbance.is_dirty());
}

#[test]
fn a_limit_met_on_a_busy_machine_counts_and_one_missed_there_does_not() {
    let busy = Disturbance {
        others: 0.5,
        steal: 0.0,
    };
    let verdict = |figure, disturbance| {
        let mut outcome = Outcome::new("test");
        outcome.check_despite("time", figure, "s", Limit::AtMost(1.0), disturbance);
        outcome.verdict()
    };
    assert_eq!(verdict(0.9, busy), Verdict::Pass);
    assert_eq!(verdict(1.1, busy), Verdict::Void);
    assert_eq!(verdict(1.1, Disturbance::default()), Verdict::Fail);
    assert_eq!(verdict(f64::NAN, Disturbance::default()), Verdict::Fail);
}

#[test]
fn verdicts_are_ordered_as_the_exit_code_needs_and_nothing_is_rounded_to_a_pass() {
    let worst = [Verdict::Void, Verdict::Fail, Verdict::Pass]
        .into_iter()
        .max();
    assert_eq!(worst.map(Verdict::exit_code), Some(1));
    assert!(Verdict::Error > Verdict::Fail && Verdict::Void > Verdict::Pass);
    assert_eq!(Outcome::new("without a check").verdict(), Verdict::Void);
    let missing = BenchError::Missing {
        what: "Flume".to_owned(),
        remedy: "ci/setup flume brings it".to_owned(),
    };
    let outcome = Outcome::of_error("test", &missing);
    assert_eq!(outcome.verdict(), Verdict::Void);
    assert!(show::outcome(&outcome).contains("ci/setup flume"));
    let wrong = BenchError::wrong("do it")("it did not");
    assert_eq!(Outcome::of_error("test", &wrong).verdict(), Verdict::Error);
}

#[test]
fn the_table_is_sorted_and_the_readme_lists_every_row_with_its_limit() {
    assert!(ROWS.is_sorted_by(|a, b| a.name < b.name));
    assert_eq!(ROWS[0].name, flume_bench_benches::rows::AA);
    let readme = include_str!("../README.md");
    let lines: Vec<&str> = readme
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    for row in ROWS {
        let start = format!("| `{}` |", row.name);
        let line = lines.iter().find(|line| line.starts_with(&start));
        let line = line.unwrap_or_else(|| panic!("{} is not in benches/README.md", row.name));
        assert!(
            line.contains(row.limit),
            "the limit of {} differs",
            row.name
        );
        assert!(!row.question.is_empty());
    }
    assert_eq!(lines.len(), ROWS.len(), "README.md has rows that are gone");
}
