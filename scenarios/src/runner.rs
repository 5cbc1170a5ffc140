//! Runs a scenario: prepare, load with faults, heal, drain, probe, stop, scan, judge.
//!
//! ```text
//! prepare → start stores, proxies, agent → warm up → steady, with faults → load ends → heal → drain → probe
//!         → stop the agent → final scan → lease recovery → second scan → judge → report
//! ```
//!
//! Whatever happens, the run heals its faults, ends what it started, keeps what it recorded, and
//! judges that.

mod drain;
mod flow;
pub mod history;
mod links;
mod load;
pub mod place;
pub mod ports;
mod prepare;
mod progress;
pub mod sampler;
pub mod soak;
mod strikes;
mod together;
mod used;
pub mod world;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use flume_bench_loadgen::account::Account;
use flume_bench_loadgen::clock::Clock;
use flume_bench_reports::record::RunRecord;

use crate::judge;
use crate::scenario::Scenario;
use crate::scenario::reader::Problem;
use crate::tools::Tools;
use history::{Entry, History};
use place::RunDir;
use progress::Progress;
use world::World;

pub(crate) use load::schedule_of;
pub use prepare::preflight;
pub use together::Together;

/// How a run is to be done.
#[derive(Debug, Clone)]
pub struct Options {
    /// Directory under which the run's own is made.
    pub runs: PathBuf,
    /// The run id; fresh unless given.
    pub run_id: Option<u64>,
    /// Goes on when an objective is beyond recovery.
    pub keep_going: bool,
    /// Says nothing while it runs.
    pub quiet: bool,
    /// The command line, for the record.
    pub command_line: Vec<String>,
    /// What the machine has.
    pub tools: Tools,
    /// Set by a signal: the run is to end.
    pub interrupted: Arc<AtomicBool>,
}

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// The record, as written.
    pub record: RunRecord,
    /// The run's directory.
    pub dir: PathBuf,
}

/// Everything that the parts of a run share.
#[derive(Debug)]
struct Run<'a> {
    scenario: &'a Scenario,
    options: &'a Options,
    world: Arc<World>,
    /// Where its own files are: the world's directory, or that of one round of a soak.
    dir: RunDir,
    account: Arc<Account>,
    clock: Arc<Clock>,
    progress: Arc<Progress>,
    /// Where the agent serves its counters, once it does.
    metrics_port: OnceLock<u16>,
    /// The other run whose load begins with this one's.
    together: Option<&'a Together>,
}

impl Run<'_> {
    fn history(&self) -> &History {
        self.world.history()
    }

    fn phase(&self, name: &str) {
        self.history().note(Entry::Phase {
            name: name.to_owned(),
        });
        self.progress.phase(name);
    }
}

/// Runs a checked scenario. `Err`: something was found wrong before anything was started.
pub fn run(scenario: &Scenario, options: &Options) -> Result<Outcome, Vec<Problem>> {
    run_with(scenario, options, None)
}

/// The same with another run, in another thread, whose load is to begin at the same instant. Each thread
/// holds [`Together::leaves`], so that nobody waits for a run that never comes.
pub fn run_together(
    scenario: &Scenario,
    options: &Options,
    together: &Together,
) -> Result<Outcome, Vec<Problem>> {
    run_with(scenario, options, Some(together))
}

fn run_with(
    scenario: &Scenario,
    options: &Options,
    together: Option<&Together>,
) -> Result<Outcome, Vec<Problem>> {
    let problems = preflight(scenario, options);
    if !problems.is_empty() {
        return Err(problems);
    }
    let progress = Arc::new(Progress::new(options.quiet));
    for line in prepare::sweep(&options.runs) {
        progress.say(&line);
    }
    let run_id = options.run_id.unwrap_or_else(rand::random);
    let not_made = |error: String| {
        vec![Problem::of_machine(
            format!(
                "the run's directory cannot be made under {}: {error}",
                options.runs.display()
            ),
            "choose another with --runs",
        )]
    };
    let dir = RunDir::create(&options.runs, &scenario.name, run_id)
        .map_err(|error| not_made(error.to_string()))?;
    let history =
        History::create(&dir.path("history.jsonl")).map_err(|error| not_made(error.to_string()))?;
    let account = prepare::account(scenario, &dir).map_err(&not_made)?;
    let world = World::new(
        dir.clone(),
        history,
        scenario.seed,
        Arc::clone(&options.interrupted),
    )
    .map_err(not_made)?;
    let run = Run {
        scenario,
        options,
        world: Arc::new(world),
        dir: dir.clone(),
        account,
        clock: Arc::new(Clock::start()),
        progress,
        metrics_port: OnceLock::new(),
        together,
    };
    run.write_facts(run_id);
    run.history().note(Entry::Wall {
        clock: jiff::Timestamp::now().to_string(),
    });
    run.progress.say(&format!(
        "flume-bench: scenario {}, seed {}, run {run_id:016x}, in {}",
        scenario.name,
        scenario.seed,
        dir.root.display()
    ));

    let performed = run.perform();
    // Asked once: what comes after this finds a run that has done everything but the clean-up.
    let interrupted = run.world.interrupted();
    run.note_failure(performed, interrupted);
    run.end();
    if interrupted {
        run.progress.say(&format!(
            "interrupted: every fault is healed, every process of the run has ended; journal, history and record are in {}",
            dir.root.display()
        ));
    }
    Ok(finish(&run, dir))
}

impl Run<'_> {
    /// What is known of machine and command line, for the judge.
    fn write_facts(&self, run_id: u64) {
        let options = self.options;
        let facts = judge::gather(self.scenario, run_id, &options.command_line, &options.tools);
        if let Err(error) = facts.write(&self.world.dir().root) {
            self.progress
                .say(&format!("facts.json could not be written: {error}"));
        }
    }

    fn perform(&self) -> Result<(), String> {
        let place = prepare::write_inputs(self)?;
        self.phase("prepare");
        let store = self
            .scenario
            .store
            .start(&self.world, &self.options.tools)
            .map_err(|error| error.to_string())?;
        self.history().note(Entry::Store {
            version: store.version(),
        });
        let place = prepare::environment(self, place, store.as_ref())?;
        load::prepare_input(self, &place)?;
        if let Err(error) = prepare::start_agent(self, &place) {
            if self.world.interrupted() {
                return Err(error);
            }
            return self.never_ready(&error);
        }
        let mut loaded = load::run(self, &place, store.as_ref(), None)?;
        let drained = drain::heal_and_drain(self, &mut loaded);
        drain::try_again(self, &loaded);
        drain::finish(self, loaded, store.as_ref(), &place)?;
        drained
    }

    /// Notes what ended the run early. An interruption makes steps fail, so what failed after one is
    /// kept as a remark and not held against the harness.
    fn note_failure(&self, performed: Result<(), String>, interrupted: bool) {
        let error = performed.err();
        if let Some(error) = &error {
            self.progress.say(error);
        }
        match (interrupted, error) {
            (false, None) => {}
            (false, Some(error)) => self.history().note(Entry::HarnessFailed { error }),
            (true, error) => {
                self.history().note(Entry::Interrupted {
                    by: "signal".into(),
                });
                if let Some(text) = error {
                    self.history().note(Entry::Note { text });
                }
            }
        }
    }

    /// A system that never becomes ready fails; nothing was offered to it.
    fn never_ready(&self, error: &str) -> Result<(), String> {
        self.progress.say(error);
        self.history().note(Entry::Note {
            text: format!("never ready: {error}"),
        });
        Ok(())
    }

    /// Heals, ends every process, closes journal and history.
    fn end(&self) {
        self.world.links().heal_all();
        for link in self.world.links().all() {
            let traffic = link.traffic();
            self.history().note(Entry::Proxy {
                link: link.name().to_owned(),
                forward: traffic.up_bytes,
                backward: traffic.down_bytes,
                connections: traffic.accepted,
            });
        }
        for line in self.world.end_all() {
            self.progress.say(&line);
        }
        if let Err(error) = self.account.finish() {
            self.history().note(Entry::HarnessFailed {
                error: format!("the journal could not be closed: {error}"),
            });
        }
        if let Err(error) = self.history().close() {
            self.progress
                .say(&format!("the history could not be written: {error}"));
        }
        self.progress.finish();
    }
}

fn finish(run: &Run<'_>, dir: RunDir) -> Outcome {
    let record = judge::judge_and_write(&dir.root, run.scenario).unwrap_or_else(|error| {
        let mut record = RunRecord {
            exit_code: flume_bench_reports::verdict::ExitCode::HarnessFailed,
            ..RunRecord::default()
        };
        record
            .reasons
            .push(format!("the run could not be judged: {error}"));
        record
    });
    Outcome {
        record,
        dir: dir.root,
    }
}

/// Sleeps in slices until a time has passed or the run is interrupted; whether it was.
fn pause(world: &World, time: Duration) -> bool {
    let until = std::time::Instant::now() + time;
    while std::time::Instant::now() < until {
        if world.interrupted() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5).min(time));
    }
    world.interrupted()
}
