//! One function a subcommand; [`dispatch`] chooses.

mod baseline;
mod campaign;
mod gate;
mod interrupt;
mod list;
mod machine;
mod plan;
mod report;
mod run;
mod soak;
mod stored;
mod trend;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use flume_bench_engine::config;
use flume_bench_engine::context::Surroundings;
use flume_bench_reports::verdict::ExitCode as Code;
use flume_bench_scenarios::decoy;
use flume_bench_scenarios::scenario::reader::Problem;
use flume_bench_scenarios::tools::Tools;

use crate::args::{Cli, Command, Decoy, Stranded};

/// Parses and calls. `args` begins with the program's name.
pub(crate) fn dispatch(args: Vec<OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => {
            let wrong = error.use_stderr();
            let _ = error.print();
            return if wrong {
                exit(Code::Unusable)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let words: Vec<String> = args
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    match cli.command {
        Command::Run(args) => run::run(&args, words),
        Command::Baseline(args) => baseline::baseline(&args),
        Command::Gate(args) => gate::gate(&args, words),
        Command::Campaign(args) => campaign::campaign(&args, words),
        Command::Replay(args) => run::replay(&args, words),
        Command::Plan(args) => plan::plan(&args, words),
        Command::Check(args) => run::check(&args),
        Command::Doctor(args) => run::doctor(&args),
        Command::List(args) => list::list(&args.what),
        Command::Report(args) => report::report(&args),
        Command::Agent(args) => flume_bench_engine::cli::main(args.rest.into_iter()),
        Command::Stranded(args) => stranded(&args),
        Command::Store(args) => flume_bench_stores::main(args.rest.into_iter()),
        Command::Decoy(args) => run_decoy(args),
    }
}

/// Prints what a closed file channel holds; what is damaged is said, and is exit code 4.
fn stranded(args: &Stranded) -> ExitCode {
    let events = match flume_bench_engine::channel::file::stranded(&args.checkpoint, &args.data) {
        Ok(events) => events,
        Err(error) => {
            say(&format!("error: {error}"));
            return exit(Code::HarnessFailed);
        }
    };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for event in events {
        match event {
            Ok(body) => {
                if out
                    .write_all(&body)
                    .and_then(|()| out.write_all(b"\n"))
                    .is_err()
                {
                    return ExitCode::SUCCESS;
                }
            }
            Err(error) => {
                say(&format!("error: {error}"));
                return exit(Code::HarnessFailed);
            }
        }
    }
    ExitCode::SUCCESS
}

fn run_decoy(args: Decoy) -> ExitCode {
    let options = decoy::Options {
        defect: args.defect,
        every: args.every,
        port: args.port,
        out: args.out,
        tally: args.tally,
    };
    match decoy::run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("the decoy failed: {error}"));
            exit(Code::HarnessFailed)
        }
    }
}

/// What this machine has; the engine's own check is handed in here, because only the binary knows
/// both.
pub(crate) fn tools() -> Tools {
    let program = std::env::current_exe().unwrap_or_else(|_| "flume-bench".into());
    Tools {
        program,
        agent_program: None,
        check_agent,
    }
}

fn check_agent(file: &Path, agent: &str, env: &dyn Fn(&str) -> Option<String>) -> Vec<Problem> {
    let text = match config::Text::read(file) {
        Ok(text) => text,
        Err(error) => return vec![Problem::at(file, 0, error.to_string())],
    };
    let machine = machine::check(&text, agent, env);
    let report = config::check(&[text], agent, &Surroundings::default(), env);
    let problem = |finding: &config::Finding| {
        let hint = finding
            .suggestion
            .as_ref()
            .map(|word| format!("; did you mean {word}?"))
            .unwrap_or_default();
        let key = if finding.key.is_empty() {
            String::new()
        } else {
            format!("{}: ", finding.key)
        };
        Problem::at(
            &finding.file,
            finding.line,
            format!("{key}{}{hint}", finding.message),
        )
    };
    let mut problems: Vec<Problem> = report.causes().map(problem).collect();
    problems.extend(machine);
    problems.sort();
    problems
}

/// A line on standard error.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Text on standard output; a closed pipe is nobody's mistake.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

/// Says every problem, and how many there are.
pub(crate) fn say_problems(problems: &[Problem]) -> ExitCode {
    for problem in problems {
        say(&format!("error: {problem}"));
    }
    if problems.len() > 1 {
        say(&format!("{} problems; nothing was started", problems.len()));
    }
    exit(Code::Unusable)
}

/// The process's exit code.
pub(crate) fn exit(code: Code) -> ExitCode {
    ExitCode::from(code.code())
}
