//! Planted defects: each is found by a campaign within 59 trials, and what has none is contradicted
//! by no trial.
//!
//! The engine's defects are in a program of its own, `flume-bench-planted`, built with the feature
//! `planted-defects`; the tests build it where it is missing or old. The defects and their scenarios
//! are in `planted/`; `docs/planted-defects.md` shows what was found.
//!
//! A short version runs always. The long ones:
//!
//! | variable | |
//! |---|---|
//! | `FLUME_BENCH_PLANTED` | `all`, or names separated by commas, instead of the few |
//! | `FLUME_BENCH_PLANTED_TRIALS` | so many trials of each, also after it was found: how often it is hit |
//! | `FLUME_BENCH_PLANTED_JOBS` | campaigns at the same time (2: those that wait need no core) |
//! | `FLUME_BENCH_PLANTED_PAGE` | the page that gets the rows of what was run |
//! | `FLUME_BENCH_PLANTED_RUNS` | a directory in which the campaigns stay |
//! | `FLUME_BENCH_CLEAN_TRIALS` | trials without a defect, shared by all scenarios (one of each of the few's) |
//! | `FLUME_BENCH_CLEAN_SCENARIOS` | the scenarios, separated by commas, instead of all |

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "it is a test"
)]

#[path = "planted/page.rs"]
mod page;
#[path = "planted/search.rs"]
mod search;
#[path = "planted/table.rs"]
mod table;

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use page::Table;
use search::{Found, campaign, failure, program, seconds, unexplained};
use table::{FEW, PLANTED, Planted};

/// So many trials find what is hit in 11 % of them, in all but one campaign of a thousand.
const TRIALS: usize = 59;

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn number(name: &str) -> Option<u64> {
    variable(name).map(|text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number"))
    })
}

fn planted(name: &str) -> &'static Planted {
    let found = PLANTED.iter().find(|planted| planted.name == name);
    found.unwrap_or_else(|| panic!("no defect is called {name}"))
}

/// Looks for a defect; answers its row and the row's table, or why it was not found.
fn look_for(planted: &Planted) -> Result<(Table, String, Found), String> {
    let mut arguments = vec!["--shrink-budget", "0s"];
    let fixed = number("FLUME_BENCH_PLANTED_TRIALS").map(|trials| trials.to_string());
    match &fixed {
        Some(trials) => arguments.extend(["--trials", trials]),
        // The first failure ends the claim, and with it the campaign.
        None => arguments.extend(["--until-upper", "5 %"]),
    }
    let found = campaign(planted, &arguments);
    let class = planted.classes[0];
    let place = found
        .trials()
        .iter()
        .position(|trial| failure(trial, class).is_some());
    let Some(first) = place.map(|place| place + 1) else {
        return Err(format!(
            "{}: no {class} in {} trials: {}",
            planted.name,
            found.trials().len(),
            found.reasons()
        ));
    };
    if first > TRIALS {
        return Err(format!(
            "{}: found by trial {first} only, {TRIALS} must do",
            planted.name
        ));
    }
    for trial in found.trials() {
        let others = unexplained(planted, trial);
        if !others.is_empty() {
            return Err(format!(
                "{}: also said to be {others:?}, which it is not: {}",
                planted.name,
                found.reasons()
            ));
        }
    }
    eprintln!(
        "{}: {class} in trial {first}, after {:.0} s; in {} of {}",
        planted.name,
        seconds(&found.trials()[..first]),
        found.hits(class),
        found.trials().len()
    );
    // Of fixed trials it is the share that counts.
    let (table, row) = match fixed {
        Some(_) => (Table::Shares, page::share_row(planted, &found)),
        None => (Table::Defects, page::defect_row(planted, &found, first)),
    };
    Ok((table, row, found))
}

/// Does the work for each, a few at the same time, and hands back the answers in order.
fn side_by_side<T: Send, W: Sync>(work: &[W], job: impl Fn(&W) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let jobs = number("FLUME_BENCH_PLANTED_JOBS").unwrap_or(2);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(one) = work.get(place) else { return };
                    let answer = job(one);
                    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                    done.push((place, answer));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, answer)| answer).collect()
}

/// One test at a time: campaigns want the machine for themselves. Rows go onto the page as they come.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn only_the_build_with_defects_heeds_the_variable() {
    let heeds = |program: &Path| {
        let bytes = std::fs::read(program).unwrap();
        let name = b"FLUME_BENCH_DEFECT";
        bytes.windows(name.len()).any(|window| window == name)
    };
    assert!(heeds(program()));
    assert!(!heeds(Path::new(env!("CARGO_BIN_EXE_flume-bench"))));
}

#[test]
fn planted_defects_are_found_within_59_trials() {
    let _turn = turn();
    let wanted = variable("FLUME_BENCH_PLANTED");
    let wanted: Vec<&Planted> = match wanted.as_deref() {
        Some("all") => PLANTED.iter().collect(),
        Some(names) => names.split(',').map(|name| planted(name.trim())).collect(),
        None => FEW.iter().map(|name| planted(name)).collect(),
    };
    let writing = Mutex::new(());
    let answers = side_by_side(&wanted, |planted| {
        let answer = look_for(planted);
        let _one = writing.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Ok((table, row, found)) => {
                page::write(&table, &row, &found);
                None
            }
            Err(why) => {
                eprintln!("{why}");
                Some(why)
            }
        }
    });
    let missed: Vec<String> = answers.into_iter().flatten().collect();
    println!("{} of {} found", wanted.len() - missed.len(), wanted.len());
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn there_are_forty_and_the_few_are_among_them() {
    assert!(PLANTED.len() >= 40, "{}", PLANTED.len());
    assert!(PLANTED.windows(2).all(|pair| pair[0].name < pair[1].name));
    let few: Vec<&Planted> = FEW.iter().map(|name| planted(name)).collect();
    assert!(few.iter().any(|planted| planted.n.is_some()));
    assert!(few.iter().any(|planted| planted.n.is_none()));
}

/// The scenarios of defects, without one.
fn without_defects<'a>(defects: impl Iterator<Item = &'a Planted>) -> Vec<Planted> {
    let mut clean: Vec<Planted> = defects
        .map(|planted| Planted {
            name: "honest",
            n: planted.n.map(|_| 1),
            scenario: planted.scenario,
            classes: &[],
        })
        .collect();
    clean.sort_unstable_by_key(|planted| planted.scenario);
    clean.dedup_by_key(|planted| planted.scenario);
    clean
}

/// Trials without a defect: none fails.
#[test]
fn clean_trials_are_contradicted_by_none() {
    let _turn = turn();
    let mut clean = match number("FLUME_BENCH_CLEAN_TRIALS") {
        Some(_) => without_defects(PLANTED.iter()),
        None => without_defects(FEW.iter().map(|name| planted(name))),
    };
    if let Some(names) = variable("FLUME_BENCH_CLEAN_SCENARIOS") {
        let wanted: Vec<&str> = names.split(',').map(str::trim).collect();
        clean.retain(|planted| wanted.contains(&planted.scenario));
        assert_eq!(clean.len(), wanted.len(), "{names}: not all are scenarios");
    }
    let trials = number("FLUME_BENCH_CLEAN_TRIALS").unwrap_or(0);
    let each = trials.div_ceil(clean.len() as u64).max(1).to_string();
    let writing = Mutex::new(());
    let answers = side_by_side(&clean, |planted| {
        let found = campaign(planted, &["--shrink-budget", "0s", "--trials", &each]);
        let _one = writing.lock().unwrap_or_else(PoisonError::into_inner);
        eprintln!(
            "{}: {} passed, {} void, {} failed",
            planted.scenario,
            found.of("passed"),
            found.of("void"),
            found.of("failed")
        );
        page::write(&Table::Clean, &page::clean_row(planted, &found), &found);
        found
    });
    let mut all = 0;
    for (planted, found) in clean.iter().zip(&answers) {
        let scenario = planted.scenario;
        assert_eq!(found.of("failed"), 0, "{scenario}: {}", found.said);
        // On a busy machine a trial may prove nothing, which is said; it is never held against it.
        assert!(matches!(found.code, 0 | 3), "{scenario}: {}", found.said);
        all += found.trials().len();
    }
    println!("{all} clean trials, none contradicted");
}

/// The program that is handed out has no defects and does not know the variable.
#[test]
fn the_usual_build_ignores_the_variable() {
    let usual = Path::new(env!("CARGO_BIN_EXE_flume-bench"));
    let knows = |program: &Path| {
        let bytes = std::fs::read(program).unwrap();
        let name = b"FLUME_BENCH_DEFECT";
        bytes.windows(name.len()).any(|part| part == name)
    };
    assert!(knows(program()), "the test would see nothing");
    assert!(!knows(usual), "the usual build knows planted defects");
    // A name that there is not: the planted build refuses it, the usual one does not look.
    let says = |program: &Path| {
        let output = Command::new(program)
            .args(["agent", "-n", "a1", "-f", "/does/not/exist"])
            .env("FLUME_BENCH_DEFECT", "no-such-defect")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(says(program()).contains("names no defect"));
    assert!(!says(usual).contains("defect"));
}
