//! Before the load: checks, directories, configuration, the agent's start.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use flume_bench_loadgen::account::Account;
use flume_bench_loadgen::journal::Header;
use flume_bench_loadgen::ledger::Owing;

use super::history::Entry;
use super::place::RunDir;
use super::ports::free_port;
use super::world::Ready;
use super::{Options, Run};
use crate::process::{Spawn, sweep as sweep_runs};
use crate::scenario::Scenario;
use crate::scenario::reader::Problem;
use crate::store::Running;
use crate::sut::Place;
use crate::tools::{nearest_there, unusable_directory};

/// Free space that a run wants, on top of what it will store.
const SPARE_BYTES: u64 = 512 << 20;

/// Everything that is wrong with the machine or the configuration, found without starting anything.
pub fn preflight(scenario: &Scenario, options: &Options) -> Vec<Problem> {
    let mut problems = scenario.sut.driver.check(scenario, &options.tools);
    problems.extend(scenario.store.check(scenario, &options.tools));
    match unusable_directory(&options.runs) {
        Some(why) => problems.push(Problem::of_machine(
            format!(
                "the runs cannot be kept under {}: {why}",
                options.runs.display()
            ),
            "choose another place with --runs",
        )),
        None => {
            let load = scenario.phases.warm_up + scenario.phases.steady;
            problems.extend(check_disk(scenario, &options.runs, load));
        }
    }
    problems
}

/// Room for the load three times over (input or channel, store, copies) and some to spare.
pub(super) fn check_disk(scenario: &Scenario, runs: &Path, load: Duration) -> Option<Problem> {
    let there = nearest_there(runs);
    let stat = nix::sys::statvfs::statvfs(there).ok()?;
    let free = stat.blocks_available() as u64 * stat.fragment_size() as u64;
    let seconds = load.as_secs_f64();
    let rate = scenario.load.rate.max(scenario.load.ramp_to.unwrap_or(0.0));
    let wanted = (seconds * rate * scenario.load.body as f64 * 3.0) as u64 + SPARE_BYTES;
    let mib = |bytes: u64| bytes >> 20;
    (free < wanted).then(|| {
        Problem::of_machine(
            format!(
                "not enough disk: {} has {} MiB free, and this run wants {} MiB",
                there.display(),
                mib(free),
                mib(wanted)
            ),
            "free some, choose another place with --runs, or offer less with --set load.rate=…",
        )
    })
}

/// Ends what earlier runs of a killed harness left behind; a line for each.
pub(super) fn sweep(runs: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for swept in sweep_runs(runs) {
        match swept {
            Ok(swept) => {
                let run = swept.list.parent().unwrap_or(runs).display().to_string();
                let name = |(role, pid): &(String, i32)| format!("{role} (pid {pid})");
                lines.extend(
                    swept.ended.iter().map(|ended| {
                        format!("ended {}, left by the killed run {run}", name(ended))
                    }),
                );
                lines.extend(swept.left.iter().map(|left| {
                    format!("could not end {}, left by the killed run {run}", name(left))
                }));
            }
            Err(error) => lines.push(error.to_string()),
        }
    }
    lines
}

/// Opens the journal and the account.
pub(super) fn account(scenario: &Scenario, dir: &RunDir) -> Result<Arc<Account>, String> {
    let header = Header {
        run: dir.run,
        seed: scenario.seed,
        owing: if scenario.load.owes_issued() {
            Owing::Issued
        } else {
            Owing::Acked
        },
        producers: scenario.load.connections,
        batch: scenario.load.batch,
    };
    Account::create(&dir.path("journal.bin"), &header)
        .map(Arc::new)
        .map_err(|error| error.to_string())
}

/// Copies scenario and configuration into the run's directory.
pub(super) fn write_inputs(run: &Run<'_>) -> Result<Place, String> {
    let dir = run.world.dir();
    let show = |error: std::io::Error| {
        format!(
            "failed to write the run's inputs under {}: {error}",
            dir.root.display()
        )
    };
    std::fs::write(dir.path("conf/scenario.toml"), &run.scenario.text).map_err(show)?;
    let mut config = dir.path("conf/agent.conf");
    if let Some(original) = &run.scenario.sut.config {
        config = dir
            .path("conf")
            .join(original.file_name().unwrap_or("agent.conf".as_ref()));
        std::fs::copy(original, &config).map_err(show)?;
    }
    Ok(Place {
        run: dir.root.clone(),
        data: dir.path("sut/data"),
        conf: dir.path("conf"),
        config,
        agent: run.scenario.sut.agent.clone(),
        env: BTreeMap::new(),
        source_port: free_port().map_err(show)?,
        metrics_port: free_port().map_err(show)?,
    })
}

/// Fills in the environment, which the store has a part in.
pub(super) fn environment(
    run: &Run<'_>,
    mut place: Place,
    store: &dyn Running,
) -> Result<Place, String> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    place.env.extend(store.environment());
    place
        .env
        .insert("FB_SOURCE_PORT".into(), place.source_port.to_string());
    place.env.insert("FB_DATA".into(), text(&place.data));
    place.env.insert(
        "FB_LOG".into(),
        text(&run.world.dir().path("input/input.log")),
    );
    place.env.extend(run.scenario.sut.env.clone());
    run.scenario
        .sut
        .driver
        .prepare(&place, &run.options.tools)
        .map_err(|error| {
            format!(
                "failed to prepare {}: {error}",
                run.scenario.sut.driver.name()
            )
        })?;
    Ok(place)
}

/// Starts the agent and waits until it is ready.
pub(super) fn start_agent(run: &Run<'_>, place: &Place) -> Result<(), String> {
    let driver = &run.scenario.sut.driver;
    let command = driver.command(place, &run.options.tools);
    let mut spawn =
        Spawn::new("agent", command.argv, run.world.dir().path("sut/agent.log")).cwd(&place.data);
    for (name, value) in place
        .env
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .chain(command.env)
    {
        spawn = spawn.env(name, value);
    }
    let wanted = driver.ready(run.scenario.load.into);
    let address = SocketAddr::from(([127, 0, 0, 1], place.source_port));
    let port = wanted.port;
    let ready = Ready::when(wanted.within, move || {
        !port || TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
    })
    .with_log(wanted.log, wanted.hopeless);
    let started = run.world.start(spawn, ready);
    if started.is_ok() {
        run.history().note(Entry::Note {
            text: format!("the source listens on {address}"),
        });
    }
    started
}
