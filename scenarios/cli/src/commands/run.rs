//! `run`, `replay`, `check` and `doctor`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use flume_bench_reports::verdict::Verdict;
use flume_bench_scenarios::runner::{self, Options};
use flume_bench_scenarios::scenario::campaign::Campaign;
use flume_bench_scenarios::scenario::reader::Problem;
use flume_bench_scenarios::scenario::{self, Overrides, Scenario, When};
use flume_bench_scenarios::text::show_duration;
use flume_bench_scenarios::{shipped, store, sut};

use super::{exit, interrupt, print, report, say, say_problems, soak, tools};
use crate::args::{Check, Doctor, Overriding, Replay, Run};

/// The scenario, checked together with what the machine has for it: whatever is wrong is said at
/// once.
pub(super) fn load(
    name: &str,
    overriding: &Overriding,
    options: &Options,
) -> Result<Scenario, Vec<Problem>> {
    let path = shipped::find(name).map_err(|error| {
        vec![Problem::of_machine(
            format!("the shipped scenario {name} could not be written to the cache: {error}"),
            "set FLUME_BENCH_LIBS to a directory that can be written",
        )]
    })?;
    let overrides = Overrides {
        sut: overriding.sut.clone(),
        provider: overriding.provider.clone(),
        seed: overriding.seed,
        set: overriding.set.clone(),
    };
    let (scenario, mut problems) = scenario::inspect(&path, &overrides);
    if let Some(scenario) = &scenario {
        problems.extend(runner::preflight(scenario, options));
    }
    match scenario {
        Some(scenario) if problems.is_empty() => Ok(scenario),
        _ => Err(problems),
    }
}

/// `--run-id`: up to 16 hexadecimal digits.
fn parse_run_id(text: &str) -> Result<u64, Problem> {
    let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(text, 16)
        .ok()
        .filter(|_| digits)
        .ok_or_else(|| {
            Problem::of_machine(
                format!("--run-id {text} is not understood"),
                "write up to 16 hexadecimal digits",
            )
        })
}

/// `flume-bench run`.
pub(crate) fn run(args: &Run, command_line: Vec<String>) -> ExitCode {
    let interrupted = interrupt::listen(&args.runs);
    let run_id = args.run_id.as_deref().map(parse_run_id).transpose();
    let options = Options {
        runs: args.runs.clone(),
        run_id: run_id.as_ref().ok().copied().flatten(),
        keep_going: args.keep_going,
        quiet: args.quiet,
        command_line,
        tools: tools(),
        interrupted,
    };
    let soaking = soak::asked(args);
    let overriding = match &soaking {
        Ok(Some((_, overriding))) => overriding,
        _ => &args.overriding,
    };
    let loaded = load(&args.scenario, overriding, &options);
    match (run_id, loaded, &soaking) {
        (Ok(_), Ok(scenario), Ok(None)) => perform(&scenario, &options),
        (Ok(_), Ok(scenario), Ok(Some((lasts, _)))) => soak::perform(&scenario, &options, *lasts),
        (run_id, loaded, _) => {
            let mut problems: Vec<Problem> = run_id.err().into_iter().collect();
            problems.extend(soaking.err().unwrap_or_default());
            problems.extend(loaded.err().unwrap_or_default());
            say_problems(&problems)
        }
    }
}

/// Runs a checked scenario and shows what it came to.
fn perform(scenario: &Scenario, options: &Options) -> ExitCode {
    let outcome = match runner::run(scenario, options) {
        Ok(outcome) => outcome,
        Err(problems) => return say_problems(&problems),
    };
    let html = report::write_all(&outcome.dir, &outcome.record);
    if options.quiet {
        print(&format!(
            "{}: {}\n",
            outcome.record.verdict.as_str(),
            outcome.record.reasons.first().map_or("", String::as_str)
        ));
    } else {
        report::show(&outcome.dir, &outcome.record);
        match html {
            Ok(path) => say(&format!("report: {}", path.display())),
            Err(error) => say(&format!("the report could not be written: {error}")),
        }
    }
    debug_assert!(outcome.record.verdict != Verdict::Pass || outcome.record.exit_code.code() == 0);
    exit(outcome.record.exit_code)
}

/// `flume-bench replay`: the scenario that a stored run was made of, as it lies in its directory.
pub(crate) fn replay(args: &Replay, command_line: Vec<String>) -> ExitCode {
    let interrupted = interrupt::listen(&args.runs);
    let options = Options {
        runs: args.runs.clone(),
        run_id: None,
        keep_going: false,
        quiet: args.quiet,
        command_line,
        tools: tools(),
        interrupted,
    };
    match scenario::of_run(&args.record) {
        Ok(scenario) => perform(&scenario, &options),
        Err(problems) => say_problems(&problems),
    }
}

/// `flume-bench check`.
pub(crate) fn check(args: &Check) -> ExitCode {
    match load(&args.scenario, &args.overriding, &options_for_check()) {
        Ok(scenario) => {
            print(&timeline(&scenario));
            ExitCode::SUCCESS
        }
        Err(problems) => say_problems(&problems),
    }
}

fn options_for_check() -> Options {
    Options {
        runs: PathBuf::from("runs"),
        run_id: None,
        keep_going: false,
        quiet: true,
        command_line: Vec::new(),
        tools: tools(),
        interrupted: Arc::default(),
    }
}

/// What would happen when.
fn timeline(scenario: &Scenario) -> String {
    let mut text = String::new();
    let mut line = |words: String| text.push_str(&(words + "\n"));
    let load = &scenario.load;
    line(format!(
        "scenario   {} (seed {})",
        scenario.name, scenario.seed
    ));
    line(format!(
        "system     {} into {} ({})",
        scenario.sut.driver.name(),
        scenario.store.kind(),
        scenario.store.provider()
    ));
    line(format!(
        "load       {}/s into {}, batches of {}, {} connections, {} bodies of {} bytes",
        load.rate, load.into, load.batch, load.connections, load.payload, load.body
    ));
    let warm_up = scenario.phases.warm_up;
    line(format!("{:>9}  warm_up", "0s"));
    line(format!("{:>9}  steady", show_duration(warm_up)));
    let mut faults: Vec<_> = scenario.faults.iter().collect();
    faults.sort_by_key(|fault| match fault.when {
        When::At(at) => at,
        When::Observed { .. } => std::time::Duration::MAX,
    });
    for fault in faults {
        let at = match &fault.when {
            When::At(at) => show_duration(warm_up + *at),
            When::Observed { .. } => "when".to_owned(),
        };
        line(format!("{at:>9}    {}", fault.describe()));
    }
    line(format!(
        "{:>9}  load ends; drain, at most {}",
        show_duration(warm_up + scenario.phases.steady),
        show_duration(scenario.phases.drain_deadline)
    ));
    objectives(scenario, &mut line);
    if let Some(campaign) = &scenario.campaign {
        menu(campaign, &mut line);
    }
    text
}

fn objectives(scenario: &Scenario, line: &mut impl FnMut(String)) {
    for (name, limit) in &scenario.objectives.counts {
        line(format!("objective  {name} at most {limit}"));
    }
    for objective in &scenario.objectives.latencies {
        line(format!(
            "objective  {} at most {}",
            objective.key,
            show_duration(objective.limit)
        ));
    }
    for objective in &scenario.objectives.during {
        line(format!(
            "objective  {} at most {} inside fault windows",
            objective.key,
            show_duration(objective.limit)
        ));
    }
    if let Some(limit) = scenario.objectives.drained_within {
        line(format!(
            "objective  drained within {}",
            show_duration(limit)
        ));
    }
}

/// What a trial of a campaign is, and what its faults are drawn from.
fn menu(campaign: &Campaign, line: &mut impl FnMut(String)) {
    let phases = campaign.phases;
    line(format!(
        "campaign   a trial: {} of warm_up, {} of steady, drain at most {}; at most {} faults, {} at a time",
        show_duration(phases.warm_up),
        show_duration(phases.steady),
        show_duration(phases.drain_deadline),
        campaign.max_faults,
        campaign.max_overlap
    ));
    for item in &campaign.menu {
        line(format!("menu       {}", item.describe()));
    }
}

/// `flume-bench doctor`.
pub(crate) fn doctor(args: &Doctor) -> ExitCode {
    match &args.scenario {
        Some(name) => match load(name, &args.overriding, &options_for_check()) {
            Ok(scenario) => {
                print(&format!(
                    "everything that {} needs is here\n",
                    scenario.name
                ));
                ExitCode::SUCCESS
            }
            Err(problems) => say_problems(&problems),
        },
        None => doctor_all(),
    }
}

/// Looks for everything that any shipped scenario could need.
fn doctor_all() -> ExitCode {
    let tools = tools();
    let found = |name: &str, problem: Option<Problem>| match problem {
        None => print(&format!("here     {name}\n")),
        Some(problem) => print(&format!(
            "missing  {name}: {}\n",
            problem.remedy.unwrap_or(problem.message)
        )),
    };
    print(&format!(
        "here     drivers {}\n",
        sut::KINDS
            .iter()
            .map(|kind| kind.name)
            .collect::<Vec<_>>()
            .join(", ")
    ));
    print(&format!(
        "here     stores {}\n",
        store::KINDS
            .iter()
            .map(|kind| kind.name)
            .collect::<Vec<_>>()
            .join(", ")
    ));
    found("a JVM", tools.check_java());
    found(
        "Hadoop 3.3.6 (hdfs, provider local)",
        tools.check_jars("hdfs-3.3.6", "Hadoop"),
    );
    found(
        "Apache Flume 1.11 (driver flume)",
        tools.check_jars("flume-1.11.0", "Apache Flume"),
    );
    let rsyslog = flume_bench_scenarios::tools::find_program("rsyslogd")
        .is_none()
        .then(|| {
            Problem::of_machine(
                "no rsyslogd",
                "apt-get install rsyslog, or ci/setup rsyslog",
            )
        });
    found("rsyslog (files.toml)", rsyslog);
    ExitCode::SUCCESS
}
