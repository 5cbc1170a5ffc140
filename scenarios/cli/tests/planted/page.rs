//! The page that shows what was found: written by the tests, kept in the repository.
//!
//! A test replaces the rows of what it looked for and keeps the others, each of which says when and
//! from which commit it was made. Rows made on another machine are not kept.

use std::collections::BTreeMap;
use std::io::{Read as _, Seek as _, Write as _};

use super::search::{Found, classes, failure, seconds};
use super::table::{PLANTED, Planted};
use super::variable;

/// A table of the page: its heading, and the head of its rows.
pub(crate) enum Table {
    Defects,
    Shares,
    Clean,
}

const DEFECTS: &str = "\
| defect | agent | scenario | found in trial | failed as | lost, extra or wrong events | placed in | faults of that trial | seconds until found | made |
|---|---|---|---|---|---|---|---|---|---|
";
const SHARES: &str = "\
| defect | agent | scenario | trials | failed as planted | void | seconds | made |
|---|---|---|---|---|---|---|---|
";
const CLEAN: &str = "\
| scenario | agent | trials | passed | void | failed | events owed | lost | seconds | made |
|---|---|---|---|---|---|---|---|---|---|
";

/// The row of a defect that was found in the `first`-th trial.
pub(crate) fn defect_row(planted: &Planted, found: &Found, first: usize) -> String {
    let trial = &found.trials()[first - 1];
    let of_class = failure(trial, planted.classes[0]).unwrap();
    let hop = of_class["places"][0]["hop"]["value"].as_str();
    let kinds: Vec<&str> = trial["schedule"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
        .iter()
        .filter_map(|strike| strike["kind"].as_str())
        .collect();
    format!(
        "| `{}` | {} | {} | {first} | {} | {} | {} | {} | {:.0} | {} |",
        planted.name,
        agent(planted),
        planted.scenario,
        classes(trial).join(", "),
        of_class["events"].as_u64().unwrap_or(0),
        hop.unwrap_or("–"),
        kinds.join(", "),
        seconds(&found.trials()[..first]),
        made(found)
    )
}

/// The row of a defect that so many trials were tried on, whether they failed or not.
pub(crate) fn share_row(planted: &Planted, found: &Found) -> String {
    format!(
        "| `{}` | {} | {} | {} | {} | {} | {:.0} | {} |",
        planted.name,
        agent(planted),
        planted.scenario,
        found.trials().len(),
        found.hits(planted.classes[0]),
        found.of("void"),
        seconds(found.trials()),
        made(found)
    )
}

/// The row of a scenario's clean trials.
pub(crate) fn clean_row(planted: &Planted, found: &Found) -> String {
    format!(
        "| `{}` | {} | {} | {} | {} | {} | {} | {} | {:.0} | {} |",
        planted.scenario,
        agent(planted),
        found.trials().len(),
        found.of("passed"),
        found.of("void"),
        found.of("failed"),
        found.sum(|trial| &trial["counts"]["owed"]),
        found.sum(|trial| &trial["counts"]["lost"]),
        seconds(found.trials()),
        made(found)
    )
}

fn agent(planted: &Planted) -> &'static str {
    if planted.n.is_some() {
        "decoy"
    } else {
        "engine"
    }
}

/// When, and from which commit.
fn made(found: &Found) -> String {
    let identity = &found.record["identity"];
    let day = identity["started"].as_str().unwrap_or_default();
    let commit = identity["commit"]["value"].as_str().unwrap_or("unknown");
    format!(
        "{}, {}",
        day.get(..10).unwrap_or_default(),
        commit.get(..10).unwrap_or(commit)
    )
}

/// `Linux 6.1, Some CPU, 2 cores, 8 GiB`.
fn host(found: &Found) -> String {
    let host = &found.record["identity"]["host"];
    let word = |key: &str| host[key]["value"].as_str().unwrap_or("unknown").to_owned();
    let number = |key: &str| host[key]["value"].as_u64().unwrap_or(0);
    format!(
        "{}, {}, {} cores, {} GiB",
        word("kernel"),
        word("cpu_model"),
        number("cores"),
        number("memory_bytes") >> 30
    )
}

/// Puts a row into the page, where one is asked for.
pub(crate) fn write(table: &Table, row: &str, found: &Found) {
    let Some(path) = variable("FLUME_BENCH_PLANTED_PAGE") else {
        return;
    };
    let mut file = std::fs::File::options()
        .create(true)
        .read(true)
        .write(true)
        .truncate(false)
        .open(path)
        .unwrap();
    // Another process may have rows for the same page.
    file.lock().unwrap();
    let mut before = String::new();
    file.read_to_string(&mut before).unwrap();
    let after = page(&before, table, row, &host(found));
    file.set_len(0).unwrap();
    file.rewind().unwrap();
    file.write_all(after.as_bytes()).unwrap();
}

/// The rows of a page between two headings, by their first cell.
fn rows_of(page: &str, head: &str) -> BTreeMap<String, String> {
    let after = page.split_once(head).map_or("", |(_, after)| after);
    let rows = after.lines().take_while(|line| line.starts_with("| `"));
    rows.filter_map(|row| Some((row.split('`').nth(1)?.to_owned(), row.to_owned())))
        .collect()
}

fn page(before: &str, table: &Table, row: &str, host: &str) -> String {
    let host = format!("Machine: {host}.\n");
    let before = if before.contains(&host) { before } else { "" };
    let mut defects = rows_of(before, DEFECTS);
    let mut shares = rows_of(before, SHARES);
    let mut clean = rows_of(before, CLEAN);
    let into = match table {
        Table::Defects => &mut defects,
        Table::Shares => &mut shares,
        Table::Clean => &mut clean,
    };
    into.extend(
        row.split('`')
            .nth(1)
            .map(|key| (key.to_owned(), row.to_owned())),
    );
    // What is no longer planted is no longer shown.
    for of_defects in [&mut defects, &mut shares] {
        of_defects.retain(|name, _| PLANTED.iter().any(|planted| planted.name == name));
    }
    clean.retain(|name, _| PLANTED.iter().any(|planted| planted.scenario == name));
    let joined = |rows: &BTreeMap<String, String>| {
        let rows: Vec<&str> = rows.values().map(String::as_str).collect();
        rows.join("\n")
    };
    let number = |row: &String, column: usize| -> u64 {
        let cell = row.split('|').nth(column).unwrap_or_default();
        cell.trim().parse().unwrap_or(0)
    };
    let sum = |column| clean.values().map(|row| number(row, column)).sum::<u64>();
    let latest = defects.values().map(|row| number(row, 4)).max();
    format!(
        "# Planted defects\n\n\
         Written by `scenarios/cli/tests/planted.rs`, which keeps the rows it did not make anew; not edited by hand.\n\
         What each defect does is said in `engine/src/defect.rs` and `scenarios/src/decoy/defects.rs`, the scenarios\n\
         are in `scenarios/cli/tests/planted/`. Commands:\n\n\
         ```sh\n\
         export FLUME_BENCH_PLANTED_PAGE=$PWD/docs/planted-defects.md\n\
         FLUME_BENCH_PLANTED=all cargo test --release -p flume-bench --test planted planted_defects\n\
         FLUME_BENCH_CLEAN_TRIALS=1000 cargo test --release -p flume-bench --test planted clean_trials\n\
         ```\n\n\
         {host}\n\
         ## Looked for by campaigns of up to 59 trials\n\n\
         {} of {} found, the last one in trial {}.\n\n\
         {DEFECTS}{}\n\n\
         ## How often they are hit\n\n\
         Of those that were looked at closer: `FLUME_BENCH_PLANTED_TRIALS=59`, and no stop at the first failure.\n\n\
         {SHARES}{}\n\n\
         ## The same scenarios without a defect\n\n\
         {} trials: {} passed, {} proved nothing (void), {} failed.\n\n\
         {CLEAN}{}\n",
        defects.len(),
        PLANTED.len(),
        latest.unwrap_or(0),
        joined(&defects),
        joined(&shares),
        sum(3),
        sum(4),
        sum(5),
        sum(6),
        joined(&clean),
    )
}

#[test]
fn a_page_keeps_the_rows_that_are_not_made_anew() {
    let row = |name: &str, trial: u32| format!("| `{name}` | engine | files | {trial} | … |");
    let add = |before: &str, row: &str| page(before, &Table::Defects, row, "here");
    let first = add(
        &add(&add("", &row("late_kill_lose", 3)), &row("gone", 1)),
        &row("after_kill_lose", 8),
    );
    assert!(first.contains("\n2 of ") && first.contains("in trial 8."));
    let clean = "| `files` | engine | 7 | 6 | 1 | 0 | … |";
    let second = page(&first, &Table::Clean, clean, "here");
    assert!(second.contains("7 trials: 6 passed, 1 proved nothing (void), 0 failed."));
    let third = add(&second, &row("late_kill_lose", 9));
    assert!(
        third.contains(&row("late_kill_lose", 9)) && !third.contains(&row("late_kill_lose", 3))
    );
    assert!(third.contains(&row("after_kill_lose", 8)) && third.contains(clean));
    let share = "| `late_kill_lose` | decoy | decoy | 59 | 20 | 0 | … |";
    let fourth = page(&third, &Table::Shares, share, "here");
    assert!(fourth.contains(share) && fourth.contains(&row("late_kill_lose", 9)));
    let elsewhere = page(
        &third,
        &Table::Defects,
        &row("file-commit-buffered", 1),
        "elsewhere",
    );
    assert!(!elsewhere.contains("late_kill_lose") && !elsewhere.contains(clean));
}
