//! The load and what goes on while it lasts: generator, receiver, sampler, faults.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flume_bench_loadgen::generator::{
    self, Forwarded, Generator, Load as GeneratorLoad, Running as RunningLoad,
};
use flume_bench_loadgen::observe::{Micros, Observer};
use flume_bench_loadgen::payload::{self, Pool};
use flume_bench_loadgen::receiver::{Receiver, Watch};
use flume_bench_loadgen::schedule::{self, Schedule, Shape};
use serde_json::json;

use super::flow::Flow;
use super::history::Entry;
use super::progress::Shown;
use super::sampler::{Sampler, Subject};
use super::strikes::Strikes;
use super::{Run, pause, used};
use crate::proxy::{Link, Proxy};
use crate::scenario::Load;
use crate::store::Running;
use crate::sut::Place;

/// How often the store is read.
const LOOK: Duration = Duration::from_millis(50);
/// How long connections may take to finish their queues after the last batch is due, on top of
/// the time a batch is retried.
const GRACE: Duration = Duration::from_secs(12);

/// What runs while the load does, and after.
pub(super) struct Loaded {
    pub(super) generator: Box<dyn Generator>,
    pub(super) load: GeneratorLoad,
    pub(super) watch: Watch,
    pub(super) sampler: Sampler,
    pub(super) strikes: Strikes,
    /// What leaves the agent in the drain, where a fault lasts until the end of the load.
    pub(super) flow: Option<Flow>,
    /// End of the load.
    pub(super) ended: Instant,
}

/// Makes the files that the system must find when it starts.
pub(super) fn prepare_input(run: &Run<'_>, place: &Place) -> Result<(), String> {
    generator_of(
        &run.scenario.load,
        place,
        "127.0.0.1:1".parse().map_err(|_| "no address")?,
    )?
    .prepare()
    .map_err(|error| error.to_string())
}

fn generator_of(
    load: &Load,
    place: &Place,
    address: SocketAddr,
) -> Result<Box<dyn Generator>, String> {
    let log = place.env.get("FB_LOG").cloned().unwrap_or_default();
    let rotate = load.rotate.map(|(_, every)| every);
    let settings = match load.into {
        "avro" => json!({ "address": address, "deflate": load.deflate }),
        "netcat" => json!({ "address": address, "ack_every_event": load.answers }),
        "exec" => json!({ "path": log, "rotate_every_bytes": rotate }),
        _ => json!({
            "path": log,
            "rotate_every_bytes": rotate,
            "how": match load.rotate {
                Some(("copytruncate", _)) => "copy_truncate",
                _ => "rename",
            },
            "position_file": place.data.join("positions.json"),
        }),
    };
    let kind =
        generator::kind(load.into).ok_or_else(|| format!("there is no generator {}", load.into))?;
    (kind.build)(settings).map_err(|error| error.to_string())
}

/// The schedule of the whole load, warm-up included.
pub(crate) fn schedule_of(scenario: &crate::scenario::Scenario) -> Result<Schedule, String> {
    let load = &scenario.load;
    let rate = load.rate;
    let shape = match (load.turns, load.ramp_to, load.poisson) {
        (Some((turn, second)), ..) => Shape::Turns { rate, turn, second },
        (None, Some(to), _) => Shape::Ramp { from: rate, to },
        (None, None, true) => Shape::Poisson { rate },
        (None, None, false) => Shape::Constant { rate },
    };
    let duration = scenario.phases.warm_up + scenario.phases.steady;
    Schedule::new(schedule::Settings {
        shape,
        duration,
        batch: load.batch,
        connections: load.connections,
        seed: scenario.seed,
    })
    .map_err(|error| error.to_string())
}

fn pool_of(scenario: &crate::scenario::Scenario) -> Result<Pool, String> {
    let load = &scenario.load;
    let settings = payload::Settings {
        size: load.body,
        path: load.replay.clone(),
        ..payload::Settings::default()
    };
    Pool::new(load.payload, &settings, scenario.seed).map_err(|error| error.to_string())
}

/// Asks the proxy on the link from the generator.
struct ThroughProxy(Link);

/// How long a proxy may take to notice that a connection was closed. Beyond that it holds something back.
const NOTICES: Duration = Duration::from_millis(20);

impl Forwarded for ThroughProxy {
    fn forwarded(&self, local: SocketAddr) -> Option<u64> {
        let until = Instant::now() + NOTICES;
        loop {
            let mut proxies = self.0.proxies().iter();
            let known = proxies.find_map(|proxy| proxy.forwarded(local));
            if known.is_some() || Instant::now() >= until {
                return known;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Where the load goes: through a proxy where the source is spoken to over the network; and who knows which
/// of its bytes were passed on.
fn way_in(run: &Run<'_>, place: &Place) -> Result<(SocketAddr, Arc<dyn Forwarded>), String> {
    const LINK: &str = "generator->agent";
    let source = SocketAddr::from(([127, 0, 0, 1], place.source_port));
    if !matches!(run.scenario.load.into, "avro" | "netcat") {
        return Ok((source, Arc::new(|_| None)));
    }
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let address = match run.world.links().get(LINK) {
        // A later round of a soak finds the link of the first one.
        Some(link) => link.proxies().first().map_or(source, Proxy::address),
        None => run.world.add_link(LINK, &[any], &[source])?,
    };
    Ok(match run.world.links().get(LINK) {
        Some(link) => (address, Arc::new(ThroughProxy(link))),
        None => (address, Arc::new(|_| None)),
    })
}

/// Starts the looks at the store.
fn watch(
    run: &Run<'_>,
    store: &dyn Running,
    receiver: Option<Box<dyn Receiver>>,
    observer: &Arc<dyn Observer>,
) -> Result<Watch, String> {
    let receiver = match receiver {
        Some(mut receiver) => {
            receiver.turn(run.dir.run);
            receiver
        }
        None => store
            .receiver(run.dir.run)
            .map_err(|error| error.to_string())?,
    };
    Watch::start(receiver, LOOK, Arc::clone(observer), Arc::clone(&run.clock))
        .map_err(|error| error.to_string())
}

/// Starts to sample what the system uses, and its own metrics where it has any.
fn sample(run: &Run<'_>, place: &Place) -> Result<Sampler, String> {
    let has_metrics = run.scenario.sut.driver.has_metrics();
    let metrics_port = has_metrics.then_some(place.metrics_port);
    if let Some(port) = metrics_port {
        let _ = run.metrics_port.set(port);
    }
    let subject = Subject {
        account: Arc::clone(&run.account),
        clock: Arc::clone(&run.clock),
        metrics_port,
        data: place.data.clone(),
    };
    Sampler::start(&run.dir.path("series.csv"), subject, Arc::clone(&run.world))
        .map_err(|error| error.to_string())
}

/// Runs warm-up and steady, faults included, until the load has ended.
///
/// `receiver` is what the round of a soak before this one read the store with; a fresh one unless given.
pub(super) fn run(
    run: &Run<'_>,
    place: &Place,
    store: &dyn Running,
    receiver: Option<Box<dyn Receiver>>,
) -> Result<Loaded, String> {
    let scenario = run.scenario;
    let (address, forwarded) = way_in(run, place)?;
    let generator = generator_of(&scenario.load, place, address)?;
    let schedule = Arc::new(schedule_of(scenario)?);
    let pool = Arc::new(pool_of(scenario)?);
    for producer in 0..scenario.load.connections {
        run.account
            .planned(producer, schedule.planned(producer))
            .map_err(|error| error.to_string())?;
    }
    // A moment from now, so that everything is in place when the first batch is due.
    let t0 = match run.together {
        Some(together) => together.meet(|| run.world.interrupted()),
        None => Instant::now() + Duration::from_millis(50),
    };
    run.clock.set_t0(t0);
    run.history().set_t0(t0);
    let observer: Arc<dyn Observer> = Arc::clone(&run.account) as Arc<dyn Observer>;
    let watch = watch(run, store, receiver, &observer)?;
    let sampler = sample(run, place)?;
    let load = GeneratorLoad {
        schedule,
        bodies: generator::Bodies {
            run: run.dir.run,
            pool,
        },
        clock: Arc::clone(&run.clock),
        observer,
        forwarded,
        retry_for: scenario.load.retry_for,
        call_timeout: scenario.load.timeout,
    };
    let steady_from = t0 + scenario.phases.warm_up;
    let strikes = Strikes::start(
        scenario,
        Arc::clone(&run.world),
        Arc::clone(&run.account),
        Arc::clone(&run.progress),
        sampler.handle(),
        steady_from,
    )?;
    let flow = Flow::start(scenario, &run.world, steady_from + scenario.phases.steady)
        .map_err(|error| error.to_string())?;
    let running = generator::start(&*generator, &load).map_err(|error| error.to_string())?;
    let mut loaded = Loaded {
        generator,
        load,
        watch,
        sampler,
        strikes,
        flow,
        ended: t0,
    };
    follow(run, &mut loaded, running, t0)?;
    Ok(loaded)
}

/// Waits for the end of the load, and says how it goes.
fn follow(
    run: &Run<'_>,
    loaded: &mut Loaded,
    running: RunningLoad,
    t0: Instant,
) -> Result<(), String> {
    let phases = run.scenario.phases;
    let steady_at = t0 + phases.warm_up;
    let end_at = steady_at + phases.steady;
    let mut in_steady = phases.warm_up.is_zero();
    enter(run, if in_steady { "steady" } else { "warm_up" }, t0);
    let mut stopped = false;
    while Instant::now() < end_at && !stopped {
        if !in_steady && Instant::now() >= steady_at {
            in_steady = true;
            enter(run, "steady", steady_at);
        }
        show(run, loaded);
        run.account
            .flush()
            .map_err(|error| format!("the journal could not be written: {error}"))?;
        // Not beyond the end: what the agent has used is read there.
        let left = end_at.saturating_duration_since(Instant::now());
        stopped = pause(&run.world, left.min(Duration::from_millis(50)))
            || give_up(run)
            || loaded.watch.has_failed();
        for role in run.world.note_ends() {
            run.progress
                .say(&format!("{role} ended although nobody asked it to"));
        }
    }
    used::note(run, "load_end");
    if stopped {
        running.stop();
    }
    let grace = if stopped {
        Duration::ZERO
    } else {
        let load = &run.scenario.load;
        let usual = load.retry_for.min(Duration::from_secs(120)) + GRACE;
        load.finish_within.unwrap_or(usual)
    };
    let finished = running.finish(grace);
    loaded.ended = Instant::now();
    run.phase("load_end");
    run.history().note(Entry::Note {
        text: format!(
            "load ended; pacing thread at real-time priority: {}; batches left: {}",
            finished.realtime, finished.left
        ),
    });
    match finished.failure {
        Some(failure) => Err(format!("the load ended early: {failure}")),
        None if loaded.watch.has_failed() => Err("the receiver's thread ended early".into()),
        None => Ok(()),
    }
}

/// Notes that a phase of the load began at `at`, and what the agent has used before `steady`.
fn enter(run: &Run<'_>, phase: &str, at: Instant) {
    run.history()
        .note_at(at, Entry::Phase { name: phase.into() });
    run.progress.phase(phase);
    if phase == "steady" {
        used::note(run, phase);
    }
}

/// Draws the progress line.
pub(super) fn show(run: &Run<'_>, loaded: &Loaded) {
    if !run.progress.is_due() {
        return;
    }
    let (now, quiet) = (run.clock.now(), run.scenario.sut.driver.quiet());
    let overdue = now.saturating_sub(Micros::try_from(quiet.as_micros()).unwrap_or(Micros::MAX));
    run.progress.show(&Shown {
        live: run.account.live(),
        now,
        rate: loaded.sampler.observed().stored_per_s,
        lost: run.account.missing_before(overdue),
    });
}

/// Whether an objective is beyond recovery: what was corrupted, malformed or invented stays so.
fn give_up(run: &Run<'_>) -> bool {
    if run.options.keep_going || run.scenario.keep_going {
        return false;
    }
    let beyond = beyond(run);
    if let Some((name, count)) = beyond {
        let why = format!(
            "{name} is {count}, which no drain can mend; the load ends here (--keep-going goes on)"
        );
        run.progress.say(&why);
        run.history().note(Entry::GaveUp { why });
    }
    beyond.is_some()
}

/// The objective that no drain can mend any more, and its count.
pub(super) fn beyond(run: &Run<'_>) -> Option<(&'static str, u64)> {
    let totals = run.account.totals();
    [
        ("corrupted", totals.corrupted),
        ("malformed", totals.malformed),
        ("unexpected", totals.unexpected),
    ]
    .into_iter()
    .find(|(name, count)| {
        run.scenario
            .objectives
            .limit(name)
            .is_some_and(|limit| *count > limit)
    })
}
