//! `plan`.

use std::io::IsTerminal;
use std::process::ExitCode;

use flume_bench_reports::plan::show::terminal;
use flume_bench_reports::plan::sizing::Question;
use flume_bench_reports::record::Known;
use flume_bench_reports::show;
use flume_bench_scenarios::plan::{self, Asked};
use flume_bench_scenarios::runner::Options;
use flume_bench_scenarios::scenario::Overrides;
use flume_bench_scenarios::scenario::reader::Problem;
use flume_bench_scenarios::shipped;
use flume_bench_scenarios::text::{TextError, parse_duration, parse_rate, parse_size};

use super::{exit, interrupt, print, say, say_problems, tools};
use crate::args::Plan;

/// `flume-bench plan`.
pub(crate) fn plan(args: &Plan, command_line: Vec<String>) -> ExitCode {
    let asked = match asked(args) {
        Ok(asked) => asked,
        Err(problems) => return say_problems(&problems),
    };
    let options = Options {
        runs: args.runs.clone(),
        run_id: None,
        keep_going: true,
        quiet: true,
        command_line,
        tools: tools(),
        interrupted: interrupt::listen(&args.runs),
    };
    let tell = |line: &str| {
        if !args.quiet {
            say(line);
        }
    };
    let planned = match plan::plan(&asked, &options, &tell) {
        Ok(planned) => planned,
        Err(problems) => return say_problems(&problems),
    };
    let record = &planned.record;
    if args.quiet {
        let knee = match &record.knee {
            Known::Value(knee) => format!("{} events/s", show::count(knee.per_s)),
            Known::Unknown(why) => why.clone(),
        };
        print(&format!("{}: {knee}\n", record.conclusion.as_str()));
    } else {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        print(&terminal(record, 100, colour));
        say(&format!(
            "plan: {}, and plan.json, plan.md, plan.csv and plan.om beside it",
            planned.dir.join("plan.html").display()
        ));
    }
    exit(record.exit_code)
}

/// What is asked for, every wrong word at once.
fn asked(args: &Plan) -> Result<Asked, Vec<Problem>> {
    let mut problems = Vec::new();
    let path = shipped::find(&args.scenario);
    if let Err(error) = &path {
        problems.push(Problem::of_machine(
            format!(
                "the shipped scenario {} could not be written to the cache: {error}",
                args.scenario
            ),
            "set FLUME_BENCH_LIBS to a directory that can be written",
        ));
    }
    let rate = read("--rate", args.rate.as_deref(), parse_rate, &mut problems);
    let outage = read(
        "--outage",
        args.outage.as_deref(),
        parse_duration,
        &mut problems,
    );
    let budget = read(
        "--budget",
        args.budget.as_deref(),
        parse_size,
        &mut problems,
    );
    let length = args.probe_length.as_deref();
    let length = read("--probe-length", length, parse_duration, &mut problems);
    let question = rate.zip(outage).map(|(rate, outage)| Question {
        rate_per_s: rate.round().max(1.0) as u64,
        outage_us: outage.as_micros() as u64,
        budget_bytes: budget,
    });
    let path = match path {
        Ok(path) if problems.is_empty() => path,
        _ => return Err(problems),
    };
    let overriding = &args.overriding;
    Ok(Asked {
        path,
        overrides: Overrides {
            sut: overriding.sut.clone(),
            provider: overriding.provider.clone(),
            seed: overriding.seed,
            set: overriding.set.clone(),
        },
        probes: args.probes,
        probe_length: length,
        under_faults: args.under_faults,
        sizing: !args.no_sizing,
        question,
    })
}

/// The value of an option, if it is given and can be read.
fn read<T>(
    option: &str,
    text: Option<&str>,
    parse: fn(&str) -> Result<T, TextError>,
    problems: &mut Vec<Problem>,
) -> Option<T> {
    match parse(text?) {
        Ok(value) => Some(value),
        Err(error) => {
            problems.push(Problem::of_machine(
                format!("{option} {error}"),
                format!("correct {option}"),
            ));
            None
        }
    }
}
