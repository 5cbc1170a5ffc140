//! After the load: heal, drain, probe, stop the agent, scan, recover leases, scan again.

use std::collections::BTreeSet;
use std::io;
use std::time::{Duration, Instant};

use flume_bench_loadgen::account::Live;
use flume_bench_loadgen::generator;
use flume_bench_loadgen::ledger::Ledger;
use flume_bench_loadgen::observe::{
    Answer, Answered, Batch, FileChange, FileId, Micros, Observer, Read, Sent,
};
use flume_bench_loadgen::receiver::{Looked, Receiver, ReceiverError, final_scan, single_look};
use flume_bench_loadgen::token::{self, Examined};

use super::history::{Drain, Entry};
use super::load::{Loaded, show};
use super::{Run, pause, used};
use crate::store::Running;
use crate::sut::Place;

/// How long the probe may take to be seen.
const PROBE_WITHIN: Duration = Duration::from_secs(20);
/// Nothing stored for so long, at the deadline, means that nothing moves any more.
const STILL: Duration = Duration::from_secs(1);

/// How often the scan that publishes is tried, and the rest between two tries.
const SCANS: u32 = 3;
const SCAN_AGAIN: Duration = Duration::from_secs(1);

/// Heals every fault and waits for what is owed.
pub(super) fn heal_and_drain(run: &Run<'_>, loaded: &mut Loaded) -> Result<(), String> {
    run.phase("heal");
    let healed = loaded.strikes.finish();
    run.world.links().heal_all();
    run.phase("drain");
    let (outcome, live, ended) = drain(run, loaded);
    used::note(run, "drained");
    let clock = &run.clock;
    if let Some(entry) = (loaded.flow.take()).and_then(|flow| flow.finish(|at| clock.at(at))) {
        run.history().note(entry);
    }
    let since_heal = healed.unwrap_or(loaded.ended);
    let took_us = (outcome == Drain::Complete).then(|| {
        let last = live.last_stored.unwrap_or_else(|| run.clock.at(ended));
        (last - run.clock.at(since_heal)).max(0)
    });
    run.history().note_at(
        ended,
        Entry::Drained {
            outcome,
            missing: live.owed_not_stored,
            last_stored_us: live.last_stored,
            took_us,
        },
    );
    if outcome == Drain::Interrupted {
        Err("interrupted".into())
    } else {
        Ok(())
    }
}

fn drain(run: &Run<'_>, loaded: &Loaded) -> (Drain, Live, Instant) {
    let quiet = run.scenario.sut.driver.quiet();
    let deadline = Instant::now() + run.scenario.phases.drain_deadline;
    let mut moved = Instant::now();
    let mut last = run.account.live().last_stored;
    loop {
        let live = run.account.live();
        let now = Instant::now();
        if live.last_stored != last {
            (last, moved) = (live.last_stored, now);
        }
        show(run, loaded);
        let _ = run.account.flush();
        run.world.note_ends();
        let dead = run
            .world
            .process("agent")
            .is_none_or(|process| !process.alive());
        let outcome = if live.owed_not_stored == 0 {
            Some(Drain::Complete)
        } else if now.duration_since(moved) >= quiet {
            Some(if dead { Drain::Dead } else { Drain::Quiet })
        } else if dead && now.duration_since(moved) >= STILL.min(quiet) + STILL {
            Some(Drain::Dead)
        } else if now >= deadline {
            Some(if now.duration_since(moved) < STILL {
                Drain::StillMoving
            } else {
                Drain::Deadline
            })
        } else {
            None
        };
        if let Some(outcome) = outcome {
            return (outcome, live, now);
        }
        if pause(&run.world, Duration::from_millis(10)) {
            return (Drain::Interrupted, live, now);
        }
    }
}

/// The probe, unless somebody wants the run to end.
pub(super) fn try_again(run: &Run<'_>, loaded: &Loaded) {
    if !run.world.interrupted() {
        run.phase("probe");
        probe(run, loaded);
    }
}

/// Stop and scans. Goes on after a failure of one step with the next, so that as much is known as
/// can be.
pub(super) fn finish(
    run: &Run<'_>,
    loaded: Loaded,
    store: &dyn Running,
    place: &Place,
) -> Result<(), String> {
    run.phase("stop");
    let agent_ended = run
        .world
        .stop("agent", run.scenario.sut.driver.stop_within());
    if let Err(error) = &agent_ended {
        run.history().note(Entry::Note {
            text: format!("the agent could not be stopped: {error}"),
        });
    }
    run.phase("final_scan");
    let receiver = loaded.watch.stop();
    let series = loaded.sampler.finish();
    if let Err(error) = series {
        run.history().note(Entry::Note {
            text: format!("the series could not be written: {error}"),
        });
    }
    match receiver {
        Ok(receiver) => scan(run, receiver, store),
        Err(error) => run.history().note(Entry::FinalScan {
            number: 1,
            error: Some(error.to_string()),
        }),
    }
    stranded(run, place);
    Ok(())
}

/// One fresh event with a producer of its own: does the pipeline work again?
fn probe(run: &Run<'_>, loaded: &Loaded) {
    if run
        .world
        .process("agent")
        .is_none_or(|process| !process.alive())
    {
        run.history().note(Entry::Probe {
            stored: false,
            took_us: None,
            error: Some("the agent does not run".into()),
        });
        return;
    }
    let sent = run.clock.now();
    let batch = Batch {
        producer: run.scenario.load.connections,
        first: 0,
        count: 1,
        intended: sent,
    };
    let answer = generator::probe(&*loaded.generator, &loaded.load, batch);
    let error = match answer {
        Ok(None | Some(Answer::Acked)) => None,
        Ok(Some(answer)) => Some(format!("the answer was {answer:?}").to_lowercase()),
        Err(error) => Some(error.to_string()),
    };
    let deadline = Instant::now() + PROBE_WITHIN.min(run.scenario.sut.driver.quiet() * 2);
    let mut stored = false;
    while error.is_none()
        && !stored
        && Instant::now() < deadline
        && !pause(&run.world, Duration::from_millis(5))
    {
        stored = run.account.live().probe_stored == Some(true);
    }
    if !stored && error.is_none() && run.world.interrupted() {
        // Nobody waited for it long enough to say that the system no longer works.
        return;
    }
    let took_us = stored.then(|| run.clock.now() - sent);
    run.history().note(Entry::Probe {
        stored,
        took_us,
        error,
    });
}

/// Ends a round of a soak whose agent goes on: what was owed is stored and published, so one more
/// look finds all there is. No tail is given up, because its writer lives. The receiver goes on with the
/// next round.
pub(super) fn pause_reading(run: &Run<'_>, loaded: Loaded) -> Result<Box<dyn Receiver>, String> {
    run.phase("final_scan");
    let receiver = loaded.watch.stop();
    if let Err(error) = loaded.sampler.finish() {
        run.history().note(Entry::Note {
            text: format!("the series could not be written: {error}"),
        });
    }
    let looked = receiver.and_then(|mut receiver| {
        let look = || single_look(&mut *receiver, &*run.account, &run.clock);
        tries(look, || pause(&run.world, SCAN_AGAIN)).map(|_| receiver)
    });
    let looked = looked.map_err(|error| error.to_string());
    run.history().note(Entry::FinalScan {
        number: 1,
        error: looked.as_ref().err().cloned(),
    });
    looked
}

/// The final scan, lease recovery, and the second scan, which publishes nothing: what only our
/// recovery closed was never closed by the agent.
fn scan(run: &Run<'_>, mut receiver: Box<dyn Receiver>, store: &dyn Running) {
    let look = || final_scan(&mut *receiver, &*run.account, &run.clock);
    // The only one that publishes.
    let first = tries(look, || pause(&run.world, SCAN_AGAIN));
    let leases = store.recover_leases();
    // A file that nobody could read before the recovery may be read after it.
    let error = match leases.is_empty() {
        true => incomplete(first),
        false => first.err().map(|error| error.to_string()),
    };
    run.history().note(Entry::FinalScan { number: 1, error });
    if leases.is_empty() {
        return;
    }
    for lease in leases {
        run.history().note(Entry::Lease {
            recovered: lease.error.is_none(),
            path: lease.path,
            error: lease.error,
        });
    }
    let result = final_scan(&mut *receiver, &Unpublishing(&*run.account), &run.clock);
    run.history().note(Entry::FinalScan {
        number: 2,
        error: incomplete(result),
    });
}

/// A store that is ill for a moment gets another chance, [`SCANS`] in all. `rest` says between two of
/// them whether to give up.
fn tries<T, E>(
    mut look: impl FnMut() -> Result<T, E>,
    mut rest: impl FnMut() -> bool,
) -> Result<T, E> {
    let mut result = look();
    for _ in 1..SCANS {
        if result.is_ok() || rest() {
            break;
        }
        result = look();
    }
    result
}

/// Why a scan has not read everything there is.
fn incomplete(result: Result<Looked, ReceiverError>) -> Option<String> {
    match result {
        Err(error) => Some(error.to_string()),
        Ok(looked) => looked.unreadable.first().map(|(path, why)| {
            format!(
                "{} files could not be read, the first is {path}: {why}",
                looked.unreadable.len()
            )
        }),
    }
}

/// Hands on everything but `Published`.
struct Unpublishing<'a>(&'a dyn Observer);

impl Observer for Unpublishing<'_> {
    fn sent(&self, sent: &Sent) -> io::Result<()> {
        self.0.sent(sent)
    }
    fn answered(&self, answered: &Answered) -> io::Result<()> {
        self.0.answered(answered)
    }
    fn read(&self, read: &Read) -> io::Result<()> {
        self.0.read(read)
    }
    fn file(&self, file: FileId, at: Micros, change: &FileChange) -> io::Result<()> {
        if *change == FileChange::Published {
            Ok(())
        } else {
            self.0.file(file, at, change)
        }
    }
    fn looked(&self, from: Micros, to: Micros) -> io::Result<()> {
        self.0.looked(from, to)
    }
    fn blind(&self, from: Micros, to: Micros, why: &str) -> io::Result<()> {
        self.0.blind(from, to, why)
    }
}

/// Counts the lost events that the agent's channels still hold, where there is a reader for them.
fn stranded(run: &Run<'_>, place: &Place) {
    let lost = run.account.with_ledger(Ledger::lost);
    if lost.is_empty() {
        return;
    }
    let entry = match run.scenario.sut.driver.stranded(place, &run.options.tools) {
        Ok(bodies) => {
            let is_lost = |producer: u16, sequence: u64| {
                lost.iter().any(|range| {
                    range.producer == producer
                        && (range.first..range.first + range.count).contains(&sequence)
                })
            };
            let mut found: BTreeSet<(u16, u64)> = BTreeSet::new();
            for body in &bodies {
                if let Examined::One {
                    token,
                    payload_ok: true,
                } = token::examine(body, run.dir.run)
                    && is_lost(token.producer, token.sequence)
                {
                    found.insert((token.producer, token.sequence));
                }
            }
            Entry::Stranded {
                events: Some(found.len() as u64),
                reason: None,
            }
        }
        Err(reason) => Entry::Stranded {
            events: None,
            reason: Some(reason),
        },
    };
    run.history().note(entry);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_that_fails_is_tried_again_until_somebody_wants_the_end() {
        let after = |failures: u32, given_up: bool| {
            let mut looks = 0;
            let look = || {
                looks += 1;
                if looks > failures {
                    Ok(looks)
                } else {
                    Err(looks)
                }
            };
            tries(look, || given_up)
        };
        assert_eq!(after(0, false), Ok(1));
        assert_eq!(after(SCANS - 1, false), Ok(SCANS));
        assert_eq!(after(SCANS, false), Err(SCANS));
        assert_eq!(after(1, true), Err(1));
    }
}
