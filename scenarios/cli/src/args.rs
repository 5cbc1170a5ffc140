//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Tells what happens to the data of an event pipeline when things break, and how much load it
/// carries before it does.
#[derive(Debug, Parser)]
#[command(name = "flume-bench", version, max_term_width = 100, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "Exit codes:
  0  pass
  1  an objective was missed: loss, latency, recovery, …
  2  the scenario or the command line is wrong, or something needed is not here
  3  inconclusive: void fault, too few samples, interrupted
  4  the harness or a store failed
  5  regression against the baseline";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a scenario and judge what happened
    Run(Run),
    /// Check a scenario, print its timeline, start nothing
    Check(Check),
    /// List what there is: scenarios, kinds with their settings, defaults
    List(List),
    /// Show a stored run again, in any format; with --judge judge it again
    Report(Report),
    /// Is everything here that a scenario needs? If not, which command brings it?
    Doctor(Doctor),
    /// Run an agent alone: `flume-bench agent -n a1 -c conf -f flume.conf`
    #[command(disable_help_flag = true)]
    Agent(Rest),
    /// Print the events that a closed file channel still holds, a line each
    Stranded(Stranded),
    /// Run a part of an embedded store (the runner does that)
    #[command(disable_help_flag = true)]
    Store(Rest),
    /// Run a decoy: an agent with a planted defect (the runner does that)
    Decoy(Decoy),
}

#[derive(Debug, Args)]
pub(crate) struct Overriding {
    /// Run this driver instead of the scenario's
    #[arg(long, value_name = "DRIVER")]
    pub(crate) sut: Option<String>,
    /// Use this provider of the store instead of the scenario's
    #[arg(long)]
    pub(crate) provider: Option<String>,
    /// Use this seed instead of the scenario's
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Override a key of the scenario: --set load.rate=5000/s, --set fault.0.at=2s
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// A scenario's file, or the name of a shipped one
    pub(crate) scenario: String,
    #[command(flatten)]
    pub(crate) overriding: Overriding,
    /// Go on when an objective is beyond recovery
    #[arg(long)]
    pub(crate) keep_going: bool,
    /// The run id that every event carries, 16 hexadecimal digits (fresh unless given)
    #[arg(long, value_name = "HEX")]
    pub(crate) run_id: Option<String>,
    /// Where runs are kept
    #[arg(long, value_name = "DIRECTORY", default_value = "runs")]
    pub(crate) runs: PathBuf,
    /// Print nothing but the verdict's line
    #[arg(long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// A scenario's file, or the name of a shipped one
    pub(crate) scenario: String,
    #[command(flatten)]
    pub(crate) overriding: Overriding,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// What to list
    #[arg(value_parser = ["scenarios", "kinds", "defaults"], default_value = "scenarios")]
    pub(crate) what: String,
}

#[derive(Debug, Args)]
pub(crate) struct Report {
    /// A run's directory, or its record.json (default: the newest under runs/)
    pub(crate) run: Option<PathBuf>,
    /// A second run, to show both side by side
    #[arg(long, value_name = "RUN")]
    pub(crate) compare: Option<PathBuf>,
    /// Judge again from the journal and the history
    #[arg(long)]
    pub(crate) judge: bool,
    /// Which format
    #[arg(long, default_value = "terminal")]
    pub(crate) format: String,
    /// Write it to this file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// A scenario's file or name; without one, everything is looked for
    pub(crate) scenario: Option<String>,
    #[command(flatten)]
    pub(crate) overriding: Overriding,
}

#[derive(Debug, Args)]
pub(crate) struct Rest {
    /// Options, handed on as they are
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) rest: Vec<std::ffi::OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct Stranded {
    /// The channel's checkpointDir
    #[arg(long)]
    pub(crate) checkpoint: PathBuf,
    /// The first of the channel's dataDirs
    #[arg(long)]
    pub(crate) data: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Decoy {
    /// What it does wrong
    #[arg(long, default_value = "honest")]
    pub(crate) defect: String,
    /// The n of the defect
    #[arg(long, default_value_t = 100)]
    pub(crate) every: u64,
    /// Port on 127.0.0.1
    #[arg(long)]
    pub(crate) port: u16,
    /// Directory of its output
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// File of its tally
    #[arg(long)]
    pub(crate) tally: PathBuf,
}
