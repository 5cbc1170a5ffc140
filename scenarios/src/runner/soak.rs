//! A soak, `run --for`: rounds of the scenario within one life of agent and store.
//!
//! ```text
//! prepare → start → ┌ round: load with faults → heal → drain → probe → all published? → judge → fold ┐ …
//!                   └──────────────────────────────────────────────────────────────────────────────┘
//!         → the last round: … probe → stop the agent → final scan → lease recovery → second scan → judge
//! ```
//!
//! A **round** is the scenario as it stands: warm-up, steady with its faults, drain, probe. It has a run
//! id, a clock, a journal, a ledger and a history of its own under `rounds/N`, and is judged from them as
//! every run is, by the same code. Processes, proxies and store are those of the whole soak.
//!
//! - **Whole or the last.** A round ends a soak early, and as a run ends (stop, final scan, leases), when
//!   not all that is owed is stored and published, the probe did not come through, the agent has died, or
//!   a count is beyond recovery. So nothing is ever written off as lost while the agent lives that might
//!   still come, and nothing is judged that later rounds could change. A round whose latency missed its
//!   objective is whole, and the soak goes on.
//! - **Published.** A round waits for it as long as for its drain. A sink that closes its files by size
//!   only may need longer: the soak ends, and says so.
//! - **Disk.** `fold` removes what has been judged; the disk of one round must be free before it begins.
//!   A file that the load is appended to (`tail`, `exec`) is not folded: there must be room for all of it.
//! - **A copy that comes rounds later** carries another run's id there: it is foreign, no duplicate of its
//!   own round any more, and counted as late. The receiver goes on from round to round where it stands.
//! - **Memory, descriptors, threads, files** are sampled all the while by `usage`, and judged by
//!   [`flume_bench_reports::soak::growth`]. A soak that can no longer be sampled ends with its round.
//! - **Over** it is with the first round whose load ends when the time asked for has passed.

mod fold;
mod usage;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use flume_bench_loadgen::clock::Clock;
use flume_bench_loadgen::receiver::Receiver;
use flume_bench_reports::record::{Known, RunRecord, Text64};
use flume_bench_reports::soak::{self, Round, SoakRecord, growth};
use flume_bench_reports::verdict::ExitCode;

use super::history::{self, Entry, History};
use super::load::Loaded;
use super::place::RunDir;
use super::progress::Progress;
use super::world::World;
use super::{Options, Run, drain, load, pause, preflight, prepare};
use crate::judge;
use crate::scenario::Scenario;
use crate::scenario::reader::Problem;
use crate::store::Running;
use crate::sut::Place;
use crate::text::show_duration;
use fold::Fold;
use usage::Sampler;

/// Name of the record in a soak's directory.
pub const RECORD: &str = "soak.json";
/// Samples that go into the record.
const THINNED: usize = 600;
/// Loads that are appended to a file, which nobody folds.
const INPUTS: [&str; 2] = ["exec", "tail"];

/// What a soak came to.
#[derive(Debug)]
pub struct Soaked {
    /// The record, as written.
    pub record: SoakRecord,
    /// The soak's directory.
    pub dir: PathBuf,
}

/// Runs rounds of a checked scenario until `lasts` is over.
///
/// # Errors
/// Something was found wrong before anything was started.
pub fn run(
    scenario: &Scenario,
    options: &Options,
    lasts: Duration,
) -> Result<Soaked, Vec<Problem>> {
    let mut problems = preflight(scenario, options);
    if INPUTS.contains(&scenario.load.into) {
        problems.extend(prepare::check_disk(scenario, &options.runs, lasts));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let progress = Arc::new(Progress::new(options.quiet));
    for line in prepare::sweep(&options.runs) {
        progress.say(&line);
    }
    let id = options.run_id.unwrap_or_else(rand::random);
    let not_made = |error: String| {
        vec![Problem::of_machine(
            format!(
                "the soak's directory cannot be made under {}: {error}",
                options.runs.display()
            ),
            "choose another with --runs",
        )]
    };
    let name = format!("soak-{}", scenario.name);
    let root = RunDir::create(&options.runs, &name, id).map_err(|e| not_made(e.to_string()))?;
    let first = round_dir(&root, 1).map_err(|error| not_made(error.to_string()))?;
    let history =
        History::create(&first.path("history.jsonl")).map_err(|e| not_made(e.to_string()))?;
    let world = World::new(
        root.clone(),
        history,
        scenario.seed,
        Arc::clone(&options.interrupted),
    )
    .map_err(&not_made)?;
    let account = prepare::account(scenario, &first).map_err(not_made)?;
    let round = Run {
        scenario,
        options,
        world: Arc::new(world),
        dir: first,
        account,
        clock: Arc::new(Clock::start()),
        progress: Arc::clone(&progress),
        metrics_port: OnceLock::new(),
        together: None,
    };
    progress.say(&format!(
        "flume-bench: soak of {} for {}, rounds of {}, seed {}, run {id:016x}, in {}",
        scenario.name,
        show_duration(lasts),
        show_duration(round_of(scenario)),
        scenario.seed,
        root.root.display()
    ));
    let mut soak = Soak::new(scenario, options, lasts, root);
    soak.facts(&round);
    soak.perform(round);
    Ok(soak.finish(&progress))
}

/// The load of one round.
fn round_of(scenario: &Scenario) -> Duration {
    scenario.phases.warm_up + scenario.phases.steady
}

/// Makes the directory of a round; its run id is that of the soak, counted up.
fn round_dir(root: &RunDir, number: u32) -> std::io::Result<RunDir> {
    let dir = root.path(&format!("rounds/{number:05}"));
    std::fs::create_dir_all(dir.join("conf"))?;
    Ok(RunDir {
        root: dir,
        run: root.run.wrapping_add(u64::from(number) - 1),
    })
}

/// Where the agent is, and the store that runs.
type Started = (Place, Box<dyn Running>);

/// How a round left the soak.
enum Left {
    /// Everything runs, and the next round can begin, with this receiver.
    Running(Box<dyn Receiver>),
    /// The agent was stopped, or never ran. Why that was before its time, if it was.
    Ended(Option<String>),
}

/// A soak under way.
struct Soak<'a> {
    scenario: &'a Scenario,
    options: &'a Options,
    lasts: Duration,
    root: RunDir,
    began: Instant,
    /// End of the load of the last round.
    loaded_until: Instant,
    sampler: Option<Sampler>,
    fold: Fold,
    /// Bytes through each link before this round.
    traffic: BTreeMap<String, (u64, u64, u64)>,
    /// Versions that each history repeats.
    store_version: Option<String>,
    record: SoakRecord,
}

impl<'a> Soak<'a> {
    fn new(scenario: &'a Scenario, options: &'a Options, lasts: Duration, root: RunDir) -> Self {
        let now = Instant::now();
        let facts = judge::gather(scenario, root.run, &options.command_line, &options.tools);
        let driver = &scenario.sut.driver;
        let record = SoakRecord {
            schema_version: soak::SCHEMA_VERSION,
            soak: Text64(root.run),
            scenario: scenario.name.clone(),
            sut: facts
                .sut_version
                .unwrap_or_else(|| driver.name().to_owned()),
            store: format!("{} ({})", scenario.store.kind(), scenario.store.provider()),
            host: facts.host,
            command_line: options.command_line.clone(),
            started: jiff::Timestamp::now().to_string(),
            asked_us: lasts.as_micros() as u64,
            round_us: round_of(scenario).as_micros() as u64,
            duplicated_limit: scenario.objectives.limit("duplicated"),
            samples_file: "soak.csv".into(),
            ..SoakRecord::default()
        };
        Self {
            scenario,
            options,
            lasts,
            root,
            began: now,
            loaded_until: now,
            sampler: None,
            fold: Fold::default(),
            traffic: BTreeMap::new(),
            store_version: None,
            record,
        }
    }

    /// What a judgement of this round needs besides journal and history.
    fn facts(&self, round: &Run<'_>) {
        let line = &self.options.command_line;
        let facts = judge::gather(self.scenario, round.dir.run, line, &self.options.tools);
        let written = facts.write(&round.dir.root).and_then(|()| {
            std::fs::write(round.dir.path("conf/scenario.toml"), &self.scenario.text)
        });
        if let Err(error) = written {
            round
                .progress
                .say(&format!("facts of the round could not be written: {error}"));
        }
        round.history().note(Entry::Wall {
            clock: jiff::Timestamp::now().to_string(),
        });
    }

    /// All rounds, the first one with the start of everything before it.
    fn perform(&mut self, first: Run<'a>) {
        let mut round = first;
        let started = self.start(&round);
        let (place, store) = match started {
            Ok(Some(started)) => started,
            Ok(None) => return self.close(&round, Ok(()), true),
            Err(error) => return self.close(&round, Err(error), true),
        };
        let mut receiver = None;
        loop {
            self.copy_inputs(&round);
            let (performed, left) = self.one(&round, &place, store.as_ref(), receiver.take());
            let last = matches!(left, Left::Ended(_));
            self.close(&round, performed, last);
            match left {
                Left::Ended(why) => {
                    self.record.ended_early = why;
                    return;
                }
                Left::Running(kept) => {
                    receiver = Some(kept);
                    self.fold.store(&round.world, store.as_ref());
                }
            }
            match self.next(&round) {
                Ok(next) => round = next,
                Err(error) => {
                    round.progress.say(&error);
                    self.record.ended_early = Some(error);
                    // Nothing is owed any more: the agent may be ended without ado.
                    for line in round.world.end_all() {
                        round.progress.say(&line);
                    }
                    return;
                }
            }
        }
    }

    /// Starts store and agent, as a run does. `None`: the agent never became ready.
    fn start(&mut self, run: &Run<'_>) -> Result<Option<Started>, String> {
        let place = prepare::write_inputs(run)?;
        run.phase("prepare");
        let store = self
            .scenario
            .store
            .start(&run.world, &self.options.tools)
            .map_err(|error| error.to_string())?;
        self.store_version = store.version();
        run.history().note(Entry::Store {
            version: store.version(),
        });
        let place = prepare::environment(run, place, store.as_ref())?;
        load::prepare_input(run, &place)?;
        if let Err(error) = prepare::start_agent(run, &place) {
            if run.world.interrupted() {
                return Err(error);
            }
            run.never_ready(&error)?;
            return Ok(None);
        }
        self.began = Instant::now();
        self.loaded_until = self.began;
        let every = usage::period(self.lasts);
        let sampler = Sampler::start(Arc::clone(&run.world), self.began, every)
            .map_err(|error| format!("soak.csv could not be written: {error}"))?;
        self.sampler = Some(sampler);
        Ok(Some((place, store)))
    }

    /// Scenario and configuration beside the round's journal, so that it can be judged alone.
    fn copy_inputs(&self, round: &Run<'_>) {
        let copied = || -> std::io::Result<()> {
            for entry in std::fs::read_dir(self.root.path("conf"))? {
                let entry = entry?;
                if entry.metadata()?.is_file() {
                    std::fs::copy(entry.path(), round.dir.path("conf").join(entry.file_name()))?;
                }
            }
            Ok(())
        };
        if let Err(error) = copied() {
            round
                .progress
                .say(&format!("the round's inputs could not be copied: {error}"));
        }
    }

    /// One round: what went wrong, and how it left everything.
    fn one(
        &mut self,
        run: &Run<'_>,
        place: &Place,
        store: &dyn Running,
        receiver: Option<Box<dyn Receiver>>,
    ) -> (Result<(), String>, Left) {
        let mut loaded = match load::run(run, place, store, receiver) {
            Ok(loaded) => loaded,
            Err(error) => return (Err(error), Left::Ended(None)),
        };
        self.loaded_until = loaded.ended;
        let drained = drain::heal_and_drain(run, &mut loaded);
        drain::try_again(run, &loaded);
        let lasted = self.loaded_until.saturating_duration_since(self.began);
        let over = lasted >= self.lasts || run.world.interrupted();
        let why = if over || drained.is_err() {
            None
        } else {
            match self.unfit(run, &loaded) {
                None => return self.pause(run, loaded),
                why => why.filter(|_| !run.world.interrupted()),
            }
        };
        let finished = drain::finish(run, loaded, store, place);
        (finished.and(drained), Left::Ended(why))
    }

    /// Ends a whole round with the agent alive.
    fn pause(&self, run: &Run<'_>, loaded: Loaded) -> (Result<(), String>, Left) {
        match drain::pause_reading(run, loaded) {
            Ok(receiver) => (Ok(()), Left::Running(receiver)),
            Err(error) => {
                let limit = self.scenario.sut.driver.stop_within();
                let _ = run.world.stop("agent", limit);
                let why = format!("the store could not be read at a round's end: {error}");
                (Ok(()), Left::Ended(Some(why)))
            }
        }
    }

    /// Why this round cannot be followed by another one.
    fn unfit(&self, run: &Run<'_>, loaded: &Loaded) -> Option<String> {
        let agent = run.world.process("agent");
        if agent.is_none_or(|agent| !agent.alive()) {
            return Some("the agent has ended".into());
        }
        let live = run.account.live();
        if live.owed_not_stored > 0 {
            return Some(format!(
                "{} owed events were not stored when the drain had ended",
                live.owed_not_stored
            ));
        }
        if live.probe_stored != Some(true) {
            return Some("the fresh event after the drain was not stored".into());
        }
        if !(self.options.keep_going || self.scenario.keep_going)
            && let Some((name, count)) = load::beyond(run)
        {
            return Some(format!("{name} is {count}, which no later round can mend"));
        }
        if self.sampler.as_ref().is_some_and(Sampler::failed) {
            return Some("what the agent holds could no longer be sampled".into());
        }
        if let Some(problem) =
            prepare::check_disk(self.scenario, &self.options.runs, round_of(self.scenario))
        {
            return Some(problem.message);
        }
        self.unpublished(run, loaded)
    }

    /// Waits until all that is stored is published, at most as long as a drain may take.
    fn unpublished(&self, run: &Run<'_>, loaded: &Loaded) -> Option<String> {
        let within = self.scenario.phases.drain_deadline;
        let deadline = Instant::now() + within;
        loop {
            let totals = run.account.totals();
            if totals.unpublished == 0 {
                return None;
            }
            let agent = run.world.process("agent");
            let dead = agent.is_none_or(|agent| !agent.alive());
            if dead || Instant::now() >= deadline || pause(&run.world, Duration::from_millis(20)) {
                return Some(format!(
                    "{} stored events were not published within {} (phases.drain_deadline) of a round's end; a sink that closes its files by time, such as hdfs.rollInterval, can be soaked for longer",
                    totals.unpublished,
                    show_duration(within)
                ));
            }
            load::show(run, loaded);
            let _ = run.account.flush();
        }
    }

    /// Ends a round: closes journal and history, judges, folds. The last one ends every process.
    fn close(&mut self, run: &Run<'_>, performed: Result<(), String>, last: bool) {
        let interrupted = run.world.interrupted();
        self.record.interrupted |= interrupted;
        run.note_failure(performed, interrupted);
        self.note_traffic(run);
        if last {
            run.world.links().heal_all();
            for line in run.world.end_all() {
                run.progress.say(&line);
            }
        }
        if let Err(error) = run.account.finish() {
            run.history().note(Entry::HarnessFailed {
                error: format!("the journal could not be closed: {error}"),
            });
        }
        if let Err(error) = run.history().close() {
            run.progress
                .say(&format!("the history could not be written: {error}"));
        }
        let judged = super::finish(run, run.dir.clone()).record;
        let number = self.record.rounds.len() as u32 + 1;
        let round = self.sum_up(run, number, &judged);
        run.progress.say(&format!(
            "round {number}: {}: {}",
            round.verdict, round.reason
        ));
        self.fold.round(&run.dir.root, judged.verdict);
        self.record.rounds.push(round);
    }

    /// Bytes through each link in this round.
    fn note_traffic(&mut self, run: &Run<'_>) {
        for link in run.world.links().all() {
            let traffic = link.traffic();
            let now = (traffic.up_bytes, traffic.down_bytes, traffic.accepted);
            let before = self
                .traffic
                .insert(link.name().to_owned(), now)
                .unwrap_or_default();
            run.history().note(Entry::Proxy {
                link: link.name().to_owned(),
                forward: now.0 - before.0,
                backward: now.1 - before.1,
                connections: now.2 - before.2,
            });
        }
    }

    fn sum_up(&self, run: &Run<'_>, number: u32, judged: &RunRecord) -> Round {
        let since = |t0: Instant| t0.saturating_duration_since(self.began).as_micros() as u64;
        Round {
            number,
            start_us: run.clock.t0().map_or(0, since),
            verdict: judged.verdict,
            exit_code: judged.exit_code,
            reason: judged.reasons.first().cloned().unwrap_or_default(),
            issued: judged.counts.issued,
            owed: judged.counts.owed,
            stored: judged.counts.stored,
            lost: judged.counts.lost,
            unpublished: judged.counts.unpublished,
            duplicated: judged.counts.duplicated,
            late: if number > 1 { judged.counts.foreign } else { 0 },
            faults: judged.faults.len() as u64,
            stored_response_us_p99: judged.latencies.stored_response.steady.us_p99.clone(),
            drained_us: drained(judged, &run.dir.path("history.jsonl")),
            kept: Some(format!("rounds/{number:05}")),
        }
    }

    /// The next round, with a journal, a clock and a history of its own.
    fn next(&self, before: &Run<'a>) -> Result<Run<'a>, String> {
        let number = self.record.rounds.len() as u32 + 1;
        let failed = |what: &str, error: String| format!("{what} of round {number}: {error}");
        let dir = round_dir(&self.root, number)
            .map_err(|error| failed("the directory", error.to_string()))?;
        before
            .history()
            .turn(&dir.path("history.jsonl"))
            .map_err(|error| failed("the history", error.to_string()))?;
        let account =
            prepare::account(self.scenario, &dir).map_err(|error| failed("the journal", error))?;
        let next = Run {
            scenario: before.scenario,
            options: before.options,
            world: Arc::clone(&before.world),
            dir,
            account,
            clock: Arc::new(Clock::start()),
            progress: Arc::clone(&before.progress),
            metrics_port: OnceLock::new(),
            together: None,
        };
        if let Some(sampler) = &self.sampler {
            sampler.round(number);
        }
        self.facts(&next);
        next.history().note(Entry::Store {
            version: self.store_version.clone(),
        });
        Ok(next)
    }

    /// Judges growth, concludes, and writes the record.
    fn finish(mut self, progress: &Progress) -> Soaked {
        let mut record = self.record;
        if let Some(sampler) = self.sampler.take() {
            let (samples, error) = sampler.finish();
            record.growth = growth::judge(&samples);
            let step = samples.len().div_ceil(THINNED).max(1);
            record.samples = samples.into_iter().step_by(step).collect();
            record.failed = error.map(|error| format!("soak.csv could not be written: {error}"));
        }
        let lasted = self.loaded_until.saturating_duration_since(self.began);
        record.lasted_us = lasted.as_micros() as u64;
        record.removed_files = self.fold.removed.files;
        record.removed_bytes = self.fold.removed.bytes;
        for round in &mut record.rounds {
            round.kept = round
                .kept
                .take()
                .filter(|kept| self.root.path(kept).exists());
        }
        record.notes.extend(
            self.fold
                .troubles
                .iter()
                .map(|why| format!("Not everything could be folded: {why}.")),
        );
        soak::conclude(&mut record);
        if let Err(error) = soak::write(&self.root.path(RECORD), &record) {
            record.exit_code = ExitCode::decide([record.exit_code, ExitCode::HarnessFailed]);
            progress.say(&error.to_string());
        }
        progress.finish();
        Soaked {
            record,
            dir: self.root.root,
        }
    }
}

/// How long the backlog lasted: from the last heal, as it was judged; without faults from the end of the
/// load, as the history says.
fn drained(judged: &RunRecord, history: &Path) -> Known<u64> {
    let healed = judged
        .faults
        .iter()
        .filter_map(|fault| Some((*fault.healed_us.value()?, fault)));
    if let Some((_, last)) = healed.max_by_key(|(at, _)| *at) {
        return last.recovery.drained_us.clone();
    }
    let took = history::read(history).ok().and_then(|(lines, _)| {
        lines.iter().find_map(|line| match &line.entry {
            Entry::Drained { took_us, .. } => Some(*took_us),
            _ => None,
        })
    });
    match took {
        Some(Some(took)) => Known::Value(took.max(0) as u64),
        Some(None) => Known::unknown("the backlog was not drained"),
        None => Known::unknown("there was no drain"),
    }
}
