//! The command line of the agent: the options of `flume-ng agent`.
//!
//! | option | |
//! |---|---|
//! | `-n`, `--name NAME` | the agent; required |
//! | `-f`, `--conf-file FILE` | its configuration; may be repeated, later files replace keys of earlier ones |
//! | `-c`, `--conf DIR` | where `core-site.xml` and `hdfs-site.xml` are |
//! | `--no-reload-conf` | the configuration is read once; this agent never reads it again, and says so without the option |
//! | `-Dflume.monitoring.type=http` | serve metrics, on `-Dflume.monitoring.port` (41414; 0 for any) |
//! | `-Dflume.root.logger=LEVEL,…` | least important message to log; the environment's `RUST_LOG` goes first |
//! | `-Dflume.drain.seconds=N` | how long sinks may drain at the end (10); not in Flume |
//! | `--strict` | every problem of the configuration is fatal; not in Flume |
//! | `-C`, `-X…`, other `-D`, `--plugins-path`, `-d` | accepted, and said to be ignored |
//! | `-h`, `--help` | |
//!
//! Everything is written to standard error. `agent NAME is ready` is a line of its own once every
//! component is open. SIGTERM and SIGINT stop the agent as [`crate::agent`] says; a second one ends
//! the process at once.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | stopped by a signal, everything closed |
//! | 1 | stopped, and a component did not end in time |
//! | 2 | nothing was started: command line, configuration, a channel or the metrics' port; with `--strict` also a component that could not be opened |

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

use crate::agent::{Agent, DRAIN_LIMIT};
use crate::clock::SystemClock;
use crate::config::{self, Plan, Text};
use crate::context::Surroundings;
use crate::metrics::http::Server;
use crate::runner::Report;

mod options;

use options::{Asked, Options};

/// Runs the agent that `args` (without the program's name) ask for, until a signal ends it.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let options = match options::parse(args) {
        Ok(Asked::Run(options)) => options,
        Ok(Asked::Help) => {
            say(options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(errors) => {
            for error in errors {
                say(&format!("error: {error}"));
            }
            say("see --help");
            return ExitCode::from(2);
        }
    };
    start_logging(options.log_level.as_deref());
    match crate::defect::choose() {
        Ok(None) => {}
        Ok(Some(summary)) => say(&format!("planted on purpose: {summary}")),
        Err(error) => {
            say(&format!("error: {error}"));
            return ExitCode::from(2);
        }
    }
    let surroundings = Surroundings {
        conf_dir: options.conf_dir.clone(),
        ..Surroundings::default()
    };
    let Some(plan) = check(&options, &surroundings) else {
        return ExitCode::from(2);
    };
    match run(plan, &options) {
        Ok(code) => code,
        Err(message) => {
            say(&format!("error: {message}"));
            ExitCode::from(2)
        }
    }
}

/// Reads and checks the configuration and says what there is to say; `None` if nothing is to run.
fn check(options: &Options, surroundings: &Surroundings) -> Option<Plan> {
    for ignored in &options.ignored {
        say(&format!("notice: {ignored} is ignored here"));
    }
    let mut texts = Vec::new();
    for file in &options.conf_files {
        match Text::read(file) {
            Ok(text) => texts.push(text),
            Err(error) => {
                say(&format!("error: {error}"));
                return None;
            }
        }
    }
    let report = config::check(&texts, &options.name, surroundings, &|name| {
        std::env::var(name).ok()
    });
    let word = if options.strict || report.plan.is_none() {
        "error"
    } else {
        "warning"
    };
    for notice in &report.notices {
        say(&format!("notice: {notice}"));
    }
    if options.strict && !report.problems.is_empty() {
        for problem in report.causes() {
            say(&format!("{word}: {problem}"));
        }
        say(&format!(
            "error: nothing was started, because of {} above and --strict",
            count(report.causes().count(), "problem")
        ));
        return None;
    }
    for problem in &report.problems {
        say(&format!("{word}: {problem}"));
    }
    report.plan
}

fn run(plan: Plan, options: &Options) -> Result<ExitCode, String> {
    let stop_asked = crate::stop::Stop::new();
    catch_signals(&stop_asked).map_err(|error| format!("cannot catch signals: {error}"))?;
    if !options.no_reload {
        info!(
            "the configuration is not read again while the agent runs; start it again after a change"
        );
    }
    let mut agent = Agent::start(plan, Arc::new(SystemClock)).map_err(|error| error.to_string())?;
    let drain = options.drain.unwrap_or(DRAIN_LIMIT);
    let server = match options.monitoring_port {
        None => None,
        Some(port) => match Server::start(port, Arc::clone(agent.registry())) {
            Ok(server) => {
                say(&format!(
                    "metrics of agent {} on port {}",
                    agent.name(),
                    server.address().port()
                ));
                Some(server)
            }
            Err(error) => {
                agent.stop(Duration::ZERO);
                return Err(error.to_string());
            }
        },
    };
    while !agent.is_ready() && !stop_asked.is_set() {
        if let Some(Report::NotOpened { component, error }) =
            agent.next_report(Duration::from_millis(50))
            && options.strict
        {
            agent.stop(Duration::ZERO);
            return Err(format!("{component} cannot be opened: {error}"));
        }
    }
    if agent.is_ready() {
        say(&format!("agent {} is ready", agent.name()));
    }
    while !stop_asked.wait(Duration::from_secs(3600)) {}
    let ended = agent.stop(drain);
    drop(server);
    if ended.stuck.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    warn!(stuck = ended.stuck.join(", "), "not everything ended");
    Ok(ExitCode::from(1))
}

/// Sets `stop` at the first SIGTERM or SIGINT; the second one ends the process.
fn catch_signals(stop: &crate::stop::Stop) -> std::io::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT])?;
    let stop = stop.clone();
    // This thread ends with the process: a signal may come until then.
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                if stop.is_set() {
                    say("a second signal: ending at once; what the channels hold may be lost");
                    std::process::exit(128 + signal);
                }
                stop.set();
            }
        })?;
    Ok(())
}

fn start_logging(level: Option<&str>) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(level.unwrap_or("info")));
    let logging = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false);
    // Another logger may be installed already, when the agent is part of a larger program.
    let _ = logging.try_init();
}

/// One line to standard error. If even that is gone, nothing can be said about it.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

fn count(number: usize, what: &str) -> String {
    if number == 1 {
        format!("the {what}")
    } else {
        format!("the {number} {what}s")
    }
}
