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
    /// Compare two builds, configurations or drivers: may this change go in?
    Gate(Box<Gate>),
    /// Keep what a build needed, for `gate --against`
    Baseline(Baseline),
    /// How much does it carry, and what must be provided for an outage of the store?
    Plan(Plan),
    /// Check a scenario, print its timeline, start nothing
    Check(Check),
    /// Many short trials with faults drawn from the scenario's menu: how sure is it that nothing is lost?
    Campaign(Campaign),
    /// Run a stored run's schedule again, under the seed it had
    Replay(Replay),
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
    /// Soak it: rounds of the scenario, each judged, for so long in one life of the system, such as 8h
    #[arg(long = "for", value_name = "DURATION")]
    pub(crate) lasts: Option<String>,
    /// Sets phases.steady of a soak's rounds, the part of their load in which the faults strike; the warm-up is on top
    #[arg(long, value_name = "DURATION", requires = "lasts")]
    pub(crate) judge_every: Option<String>,
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
pub(crate) struct Gate {
    /// Scenarios' files, or names of shipped ones; quickstart for --check-host and --calibrate
    #[arg(required_unless_present_any = ["check_host", "calibrate"])]
    pub(crate) scenarios: Vec<String>,
    #[command(flatten)]
    pub(crate) overriding: Overriding,
    /// The program that is known to be good: its agent is the baseline
    #[arg(long, value_name = "PATH")]
    pub(crate) baseline: Option<PathBuf>,
    /// The program with the change: its agent is the candidate
    #[arg(long, value_name = "PATH")]
    pub(crate) candidate: Option<PathBuf>,
    /// A git revision as the baseline, built once and kept by commit; the candidate is this program
    /// unless --candidate is given
    #[arg(long, value_name = "REV", conflicts_with_all = ["baseline", "arm"])]
    pub(crate) baseline_rev: Option<String>,
    /// Compare with the stored baseline of this branch: the weaker form, see `baseline`
    #[arg(long, value_name = "BRANCH", conflicts_with_all = ["baseline", "baseline_rev", "arm"])]
    pub(crate) against: Option<String>,
    /// An arm by name: FILE.conf, driver:NAME, set:KEY=VALUE or program:PATH; the first is the baseline
    #[arg(long, value_name = "NAME=WHAT")]
    pub(crate) arm: Vec<String>,
    /// Time for one scenario, builds left out
    #[arg(long, default_value = "10m", value_name = "DURATION")]
    pub(crate) budget: String,
    /// Pairs of the screen, instead of what the budget allows (12 at most)
    #[arg(long, value_name = "N")]
    pub(crate) pairs: Option<usize>,
    /// Keep the scenario's own faults and phases
    #[arg(long)]
    pub(crate) with_faults: bool,
    /// A metric that this host cannot resolve is inconclusive, instead of demoted to watch
    #[arg(long)]
    pub(crate) strict: bool,
    /// What an inconclusive gate exits with: fail is 3, neutral is 0; the verdict stays
    #[arg(long, value_parser = ["fail", "neutral"], default_value = "fail", value_name = "HOW")]
    pub(crate) on_inconclusive: String,
    /// Say what this host can see: pairs of equal arms for a minute
    #[arg(long, conflicts_with = "calibrate")]
    pub(crate) check_host: bool,
    /// Measure and store how much equal arms differ on this host: 40 pairs
    #[arg(long)]
    pub(crate) calibrate: bool,
    /// Where calibrations are kept
    #[arg(long, value_name = "DIRECTORY", default_value = "gate-store")]
    pub(crate) store: PathBuf,
    /// A file of waivers: metric, limit, reason and last day of each
    #[arg(long, value_name = "FILE")]
    pub(crate) waivers: Option<PathBuf>,
    /// Where the gate and its runs are kept
    #[arg(long, value_name = "DIRECTORY", default_value = "runs")]
    pub(crate) runs: PathBuf,
    /// Print nothing but the verdict's line
    #[arg(long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Baseline {
    #[command(subcommand)]
    pub(crate) what: BaselineCommand,
    /// Where baselines are kept
    #[arg(
        long,
        value_name = "DIRECTORY",
        default_value = "gate-store",
        global = true
    )]
    pub(crate) store: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BaselineCommand {
    /// Keep one arm of a gate as the baseline of a branch
    Save {
        /// A gate's directory, or its gate.json
        gate: PathBuf,
        /// The branch
        #[arg(long)]
        branch: String,
        /// Which arm
        #[arg(long, value_parser = ["baseline", "candidate"], default_value = "candidate")]
        arm: String,
    },
    /// Make the baselines of one branch those of another
    Promote {
        /// The branch they are taken from
        #[arg(long)]
        from: String,
        /// The branch they are given to
        #[arg(long)]
        to: String,
    },
    /// List the baselines
    List {
        /// Of this branch only
        #[arg(long)]
        branch: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Campaign {
    /// A scenario's file, or the name of a shipped one; it needs a `[campaign]` section
    pub(crate) scenario: String,
    /// How many trials (59 unless another rule is given; 59 without a failure show "below 5 %")
    #[arg(long, value_name = "N", conflicts_with_all = ["budget", "until_upper"])]
    pub(crate) trials: Option<u32>,
    /// As many trials as fit into this time, fixed after a pilot that counts for nothing
    #[arg(long, value_name = "TIME", conflicts_with = "until_upper")]
    pub(crate) budget: Option<String>,
    /// As many valid trials as show that fewer than this share fail, such as "5 %"
    #[arg(long, value_name = "SHARE")]
    pub(crate) until_upper: Option<String>,
    /// So many trials may fail
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) allow_failures: u32,
    /// Trials at the same time, where the machine allows it
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) jobs: u32,
    /// Go on with this campaign, with the same list of seeds
    #[arg(long, value_name = "DIRECTORY", conflicts_with_all = ["trials", "budget", "until_upper"])]
    pub(crate) resume: Option<PathBuf>,
    /// How long failures may be shrunk to the smallest scenario; 0 leaves them as they are
    #[arg(long, value_name = "TIME", default_value = "30m")]
    pub(crate) shrink_budget: String,
    #[command(flatten)]
    pub(crate) overriding: Overriding,
    /// Where the campaign is kept
    #[arg(long, value_name = "DIRECTORY", default_value = "runs")]
    pub(crate) runs: PathBuf,
    /// Print nothing but the verdict's line
    #[arg(long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// A run's directory, or its record.json: of a run, of a trial, of a smallest scenario's run
    pub(crate) record: PathBuf,
    /// Where the new run is kept
    #[arg(long, value_name = "DIRECTORY", default_value = "runs")]
    pub(crate) runs: PathBuf,
    /// Print nothing but the verdict's line
    #[arg(long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// A scenario's file, or the name of a shipped one
    pub(crate) scenario: String,
    #[command(flatten)]
    pub(crate) overriding: Overriding,
    /// At most so many probes, 4 to 12, saturation and repeats included
    #[arg(long, default_value_t = 12)]
    pub(crate) probes: u32,
    /// How long the judged part of a probe is (default: ten cycles of the slowest periodic work)
    #[arg(long, value_name = "DURATION")]
    pub(crate) probe_length: Option<String>,
    /// Search with the scenario's faults and phases in each probe
    #[arg(long)]
    pub(crate) under_faults: bool,
    /// Search for the knee only: take the store away from nobody
    #[arg(long)]
    pub(crate) no_sizing: bool,
    /// Asks what this load needs, all agents together: --rate 20000/s (with --outage)
    #[arg(long, requires = "outage")]
    pub(crate) rate: Option<String>,
    /// How long the store may be away: --outage 30min (with --rate)
    #[arg(long, value_name = "DURATION", requires = "rate")]
    pub(crate) outage: Option<String>,
    /// Disk for the channel of each agent: --budget "64 GiB" (with --rate)
    #[arg(long, value_name = "SIZE", requires = "rate")]
    pub(crate) budget: Option<String>,
    /// Where plans are kept
    #[arg(long, value_name = "DIRECTORY", default_value = "runs")]
    pub(crate) runs: PathBuf,
    /// Print nothing but the result's line
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
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Report {
    #[command(subcommand)]
    pub(crate) several: Option<Several>,
    /// The directory or the record of a run, a campaign, a gate, a plan or a soak (default: the newest run
    /// under runs/)
    pub(crate) run: Option<PathBuf>,
    /// A second run, to show both side by side
    #[arg(long, value_name = "RUN")]
    pub(crate) compare: Option<PathBuf>,
    /// Judge again from the journal and the history
    #[arg(long)]
    pub(crate) judge: bool,
    /// Which format, as `list kinds` has them; text is another word for terminal
    #[arg(long, default_value = "terminal")]
    pub(crate) format: String,
    /// Write it to this file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// Reports on more than one run.
#[derive(Debug, Subcommand)]
pub(crate) enum Several {
    /// Show two runs side by side
    Compare(Compare),
    /// Did a metric change its level over the stored runs, and when?
    Trend(Trend),
}

#[derive(Debug, Args)]
pub(crate) struct Compare {
    /// A run's directory, or its record.json
    pub(crate) first: PathBuf,
    /// Another one
    pub(crate) second: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Trend {
    /// Where the runs are, a directory each
    #[arg(default_value = "runs")]
    pub(crate) runs: PathBuf,
    /// Which format
    #[arg(long, default_value = "terminal", value_parser = ["terminal", "text", "json"])]
    pub(crate) format: String,
    /// The seed of the permutation test
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
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
