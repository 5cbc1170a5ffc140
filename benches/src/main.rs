//! `flume-bench-benches`: runs rows, prints what they answer, exits with the verdict.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use flume_bench_benches::guard::Machine;
use flume_bench_benches::outcome::{Outcome, Verdict};
use flume_bench_benches::pairs::MIN_PAIRS;
use flume_bench_benches::rows::{self, Options, ROWS, Row};
use flume_bench_benches::show;

/// Side-by-side comparisons and limits, one row each.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES)]
struct Cli {
    /// Rows to run, `all`, or `list`
    #[arg(required = true, value_name = "ROW|all|list")]
    rows: Vec<String>,
    /// Eleven pairs instead of seven, four times as much work in each, and with `all` the long rows
    #[arg(long)]
    long: bool,
    /// Pairs of each comparison; fewer than 7 prove nothing
    #[arg(long, value_name = "N")]
    pairs: Option<usize>,
    /// Write the outcomes to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where the rows write their files; a real disk, not one in memory
    #[arg(long, value_name = "DIRECTORY")]
    dir: Option<PathBuf>,
}

const EXIT_CODES: &str = "Exit codes:
  0  every row passed
  1  a limit was missed
  2  no such row
  3  a row is void: its figures prove nothing
  4  a row could not be carried out";

fn main() -> ExitCode {
    let mut arguments = std::env::args();
    if arguments.nth(1).as_deref() == Some(rows::CHILD) {
        return rows::child(arguments.next().as_deref(), arguments.next().as_deref());
    }
    let cli = Cli::parse();
    if cli.rows == ["list"] {
        for row in ROWS {
            let long = if row.is_long { " (long)" } else { "" };
            say(&format!("{:<14}{}{long}\n", row.name, row.question));
            say(&format!("{:<14}{}\n", "", row.limit));
        }
        return ExitCode::SUCCESS;
    }
    let chosen = match choose(&cli) {
        Ok(chosen) => chosen,
        Err(unknown) => {
            say(&format!(
                "there is no row {unknown}; `list` shows what there is\n"
            ));
            return ExitCode::from(2);
        }
    };
    let outcomes = run(&chosen, &options(&cli));
    if let Some(path) = &cli.json
        && let Err(error) = write_json(path, &outcomes)
    {
        say(&format!(
            "failed to write {}: {error}; give --json another file\n",
            path.display()
        ));
        return ExitCode::from(Verdict::Error.exit_code());
    }
    let worst = outcomes.iter().map(Outcome::verdict).max();
    ExitCode::from(worst.unwrap_or(Verdict::Void).exit_code())
}

fn options(cli: &Cli) -> Options {
    let pairs = if cli.long { 11 } else { MIN_PAIRS };
    Options {
        pairs: cli.pairs.unwrap_or(pairs).max(1),
        time: Duration::from_millis(if cli.long { 2_000 } else { 500 }),
        directory: cli.dir.clone().unwrap_or_else(std::env::temp_dir),
        shrink: 1,
    }
}

/// The rows to run, in the table's order; the name that there is none of.
fn choose(cli: &Cli) -> Result<Vec<&'static Row>, String> {
    for name in &cli.rows {
        if name != "all" && rows::find(name).is_none() {
            return Err(name.clone());
        }
    }
    let all = cli.rows.iter().any(|name| name == "all");
    let is_chosen = |row: &&&'static Row| {
        cli.rows.iter().any(|name| name == row.name) || (all && (cli.long || !row.is_long))
    };
    let chosen: Vec<_> = ROWS.iter().filter(is_chosen).copied().collect();
    for row in ROWS.iter().filter(|row| all && !is_chosen(row)) {
        say(&format!(
            "left out {}: long, it runs with --long\n",
            row.name
        ));
    }
    Ok(chosen)
}

/// Runs the rows, `aa` before the first that compares, and prints each outcome when it is there.
fn run(chosen: &[&'static Row], options: &Options) -> Vec<Outcome> {
    let compares = chosen.iter().any(|row| row.has_arms);
    let first = ROWS.iter().filter(|row| compares && row.name == rows::AA);
    let rest = chosen.iter().filter(|row| row.name != rows::AA);
    let mut machine = Machine::new();
    let mut outcomes: Vec<Outcome> = Vec::new();
    let mut is_equal = true;
    for row in first.chain(rest) {
        let mut outcome = (row.run)(options, &mut machine)
            .unwrap_or_else(|error| Outcome::of_error(row.name, &error));
        if cfg!(debug_assertions) {
            outcome
                .void
                .push("this is a debug build; run it with --release".to_owned());
        }
        if row.name == rows::AA {
            is_equal = outcome.verdict() == Verdict::Pass;
        } else if row.has_arms && !is_equal {
            outcome
                .void
                .push("aa did not pass: this machine measures nothing now".to_owned());
        }
        say(&show::outcome(&outcome));
        outcomes.push(outcome);
    }
    outcomes
}

fn write_json(path: &PathBuf, outcomes: &[Outcome]) -> Result<(), Box<dyn std::error::Error>> {
    let rows: Vec<_> = outcomes
        .iter()
        .map(|outcome| {
            let mut value = serde_json::to_value(outcome)?;
            value["verdict"] = serde_json::to_value(outcome.verdict())?;
            Ok::<_, serde_json::Error>(value)
        })
        .collect::<Result<_, _>>()?;
    std::fs::write(path, serde_json::to_string_pretty(&rows)? + "\n")?;
    Ok(())
}

/// To standard output, as far as somebody reads it.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
