//! `gate`: arguments to a request, and the outcome to people.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use flume_bench_reports::gate::record::GateRecord;
use flume_bench_reports::gate::render;
use flume_bench_reports::verdict::ExitCode as Code;
use flume_bench_scenarios::gate::arms::Arm;
use flume_bench_scenarios::gate::calibration::{self, Until};
use flume_bench_scenarios::gate::session::Stop;
use flume_bench_scenarios::gate::{self, Request, arms, build};
use flume_bench_scenarios::scenario::Overrides;
use flume_bench_scenarios::scenario::reader::Problem;
use flume_bench_scenarios::shipped;
use flume_bench_scenarios::text::parse_duration;

use super::{exit, interrupt, print, say, say_problems, tools};
use crate::args::Gate;

/// `flume-bench gate`.
pub(crate) fn gate(args: &Gate, command_line: Vec<String>) -> ExitCode {
    let mut request = match request(args, command_line) {
        Ok(request) => request,
        Err(problems) => return say_problems(&problems),
    };
    if let Some(rev) = args.baseline_rev.as_ref().filter(|_| !needs_one_arm(args)) {
        match build::program(&request, Path::new("."), rev, &say) {
            Ok(program) => request.arms[0].program = Some(program),
            Err(problems) if request.interrupted.load(Ordering::Relaxed) => {
                say_problems(&problems);
                return exit(Code::Inconclusive);
            }
            Err(problems) => return say_problems(&problems),
        }
    }
    let quiet = args.quiet;
    if args.check_host || args.calibrate {
        return calibrate(args, &request);
    }
    let outcome = gate::run(&request, &|line| {
        if !quiet {
            say(line);
        }
    });
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(problems) => return say_problems(&problems),
    };
    show(&outcome.dir, &outcome.record, quiet);
    exit(outcome.record.exit_code_given)
}

/// `gate --check-host` and `gate --calibrate`.
fn calibrate(args: &Gate, request: &Request) -> ExitCode {
    let until = match args.calibrate {
        true => Until::Calibrated,
        false => Until::Checked,
    };
    let quiet = args.quiet;
    let said = |line: &str| {
        if !quiet {
            say(line);
        }
    };
    let (all, stop) = match calibration::run(request, until, &args.store, &said) {
        Ok(done) => done,
        Err(problems) => return say_problems(&problems),
    };
    for one in &all {
        print(&calibration::describe(one));
    }
    let code = match stop {
        // What a calibration stores is stored, whatever it says.
        None if args.check_host && !all.iter().all(calibration::Seen::can_gate) => {
            say("this host cannot decide whether anything got slower; see above");
            Code::Inconclusive
        }
        None => Code::Pass,
        Some(Stop::Interrupted) => Code::Inconclusive,
        Some(Stop::Unfit(why)) => {
            say(&format!("host unfit: {why}"));
            Code::Inconclusive
        }
        Some(Stop::Void { why, .. }) => {
            say(&format!("too many runs prove too little: {why}"));
            Code::Inconclusive
        }
        Some(Stop::Failed(why)) => {
            say(&format!("the harness or a store failed: {why}"));
            Code::HarnessFailed
        }
    };
    exit(code)
}

/// Prints the record, and writes every rendering beside it.
fn show(dir: &Path, record: &GateRecord, quiet: bool) {
    if quiet {
        print(&format!(
            "{}: {}\n",
            record.verdict.as_str(),
            record.reasons.first().map_or("", String::as_str)
        ));
    } else {
        let colour = std::io::stdout().is_terminal();
        print(&render::terminal(record, 120, colour));
    }
    let put = |name: &str, text: &str| {
        let path = dir.join(name);
        if let Err(error) = std::fs::write(&path, text) {
            say(&format!("{} could not be written: {error}", path.display()));
        }
    };
    put("gate.txt", &render::terminal(record, 120, false));
    put("gate.md", &render::markdown(record));
    put("gate.xml", &render::junit(record));
    put("gate.om", &render::openmetrics(record));
    match render::html(record) {
        Ok(page) => put("gate.html", &page),
        Err(error) => say(&format!("the page could not be made: {error}")),
    }
    github(record);
    if !quiet {
        say(&format!(
            "report: {} (gate.json, gate.md, gate.xml, gate.om and gate.txt beside it)",
            dir.join("gate.html").display()
        ));
    }
}

/// In a job of GitHub Actions: annotations on the output, the comment's text in the summary.
fn github(record: &GateRecord) {
    if std::env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true") {
        print(&render::annotations(record));
    }
    let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) else {
        return;
    };
    let appended = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(&path)
        .and_then(|mut file| file.write_all(render::markdown(record).as_bytes()));
    if let Err(error) = appended {
        say(&format!(
            "the step's summary {} could not be written: {error}",
            PathBuf::from(path).display()
        ));
    }
}

fn request(args: &Gate, command_line: Vec<String>) -> Result<Request, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut scenarios: Vec<PathBuf> = Vec::new();
    let quickstart = ["quickstart".to_owned()];
    let names = match args.scenarios.is_empty() {
        true => &quickstart[..],
        false => &args.scenarios[..],
    };
    for name in names {
        match shipped::find(name) {
            Ok(path) => scenarios.push(path),
            Err(error) => problems.push(Problem::of_machine(
                format!("the shipped scenario {name} could not be written to the cache: {error}"),
                "set FLUME_BENCH_LIBS to a directory that can be written",
            )),
        }
    }
    let budget = parse_duration(&args.budget).map_err(|error| {
        problems.push(Problem::of_machine(
            format!("--budget: {error}"),
            "write it like --budget 10m",
        ));
    });
    let arms = arms_of(args).map_err(|found| problems.extend(found));
    let (Ok(budget), Ok(arms), true) = (budget, arms, problems.is_empty()) else {
        return Err(problems);
    };
    Ok(Request {
        scenarios,
        overrides: Overrides {
            sut: args.overriding.sut.clone(),
            provider: args.overriding.provider.clone(),
            seed: None,
            set: args.overriding.set.clone(),
        },
        arms,
        against: args.against.clone(),
        budget,
        pairs: args.pairs,
        seed: args.overriding.seed,
        strict: args.strict,
        neutral: args.on_inconclusive == "neutral",
        with_faults: args.with_faults,
        waivers: args.waivers.clone(),
        store: args.store.clone(),
        interrupted: interrupt::listen(&args.runs),
        runs: args.runs.clone(),
        tools: tools(),
        command_line,
    })
}

/// Whether one arm is enough, because it is run against itself.
fn needs_one_arm(args: &Gate) -> bool {
    (args.check_host || args.calibrate) && args.arm.is_empty() && args.candidate.is_none()
}

/// The two arms. For a revision the candidate stands in until everything is checked and it is built.
fn arms_of(args: &Gate) -> Result<[Arm; 2], Vec<Problem>> {
    if needs_one_arm(args) {
        return arms::equal(args.baseline.clone());
    }
    let mut options = arms::Options {
        baseline: args.baseline.clone(),
        candidate: args.candidate.clone(),
        arms: args.arm.clone(),
    };
    if let Some(branch) = &args.against {
        return arms::against(branch, args.candidate.clone());
    }
    if args.baseline_rev.is_some() {
        let candidate = options.candidate.get_or_insert_with(|| tools().program);
        options.baseline = Some(candidate.clone());
    }
    arms::read(&options)
}
