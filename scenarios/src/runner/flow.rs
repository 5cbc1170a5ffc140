//! How fast the agent empties its channels once what held its sink is gone: the bytes that the
//! proxies passed on from it, read every millisecond.
//!
//! The store itself is read every 50 ms, and an engine that has 40,000 events to hand over is done
//! by then. The proxies see each byte, so their readings are fine enough. It runs only where a fault
//! lasts until the end of the load or longer, begins just before that, and ends with the drain.
//!
//! [`KEPT`] readings are kept; when there are more, every second one is dropped and the period is
//! doubled, so a drain of minutes takes no more room than one of seconds.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::history::Entry;
use super::world::World;
use crate::proxy::Link;
use crate::scenario::{Scenario, When};

/// How often it reads.
const PERIOD: Duration = Duration::from_millis(1);
/// It begins so long before the end of the load: what is healed then may be early by a little.
const BEFORE: Duration = Duration::from_millis(50);
/// Readings that are kept.
const KEPT: usize = 4096;

/// Readings of the bytes that have left an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Readings {
    period: Duration,
    points: Vec<(Instant, u64)>,
    kept: usize,
}

impl Readings {
    fn new(kept: usize) -> Self {
        Self {
            period: PERIOD,
            points: Vec::new(),
            kept: kept.max(2),
        }
    }

    /// Takes a reading; of a silence only the first and the last one are kept.
    fn take(&mut self, at: Instant, bytes: u64) {
        if let [.., before, last] = self.points.as_mut_slice()
            && before.1 == bytes
            && last.1 == bytes
        {
            last.0 = at;
            return;
        }
        if self.points.len() >= self.kept {
            let mut odd = false;
            self.points.retain(|_| {
                odd = !odd;
                odd
            });
            self.period *= 2;
        }
        self.points.push((at, bytes));
    }
}

/// The thread that reads.
#[derive(Debug)]
pub(super) struct Flow {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Readings>>,
    links: Vec<String>,
}

impl Flow {
    /// Starts it where there will be something to read: a fault that lasts until `end`, the end of
    /// the load, and a link from the agent.
    pub(super) fn start(
        scenario: &Scenario,
        world: &World,
        end: Instant,
    ) -> io::Result<Option<Self>> {
        let links: Vec<Link> = world
            .links()
            .all()
            .into_iter()
            .filter(|link| link.name().starts_with("agent->"))
            .collect();
        if links.is_empty() || !held_until_the_end(scenario) {
            return Ok(None);
        }
        let names = links.iter().map(|link| link.name().to_owned()).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let from = end.checked_sub(BEFORE).unwrap_or(end);
        let thread = std::thread::Builder::new()
            .name("flow".to_owned())
            .spawn(move || {
                let mut readings = Readings::new(KEPT);
                while !stopped.load(Ordering::Relaxed) {
                    let now = Instant::now();
                    if now < from {
                        std::thread::sleep((from - now).min(Duration::from_millis(20)));
                        continue;
                    }
                    let bytes = links.iter().map(|link| link.traffic().up_bytes).sum();
                    readings.take(Instant::now(), bytes);
                    std::thread::sleep(readings.period);
                }
                readings
            })?;
        Ok(Some(Self {
            stop,
            thread: Some(thread),
            links: names,
        }))
    }

    /// Ends it: what it read, for the history.
    pub(super) fn finish(mut self, since: impl Fn(Instant) -> i64) -> Option<Entry> {
        self.stop.store(true, Ordering::Relaxed);
        let readings = self.thread.take()?.join().ok()?;
        Some(Entry::Flow {
            links: std::mem::take(&mut self.links),
            points: readings
                .points
                .iter()
                .map(|(at, bytes)| (since(*at), *bytes))
                .collect(),
        })
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Whether a fault is planned to be healed at the end of the load or later.
fn held_until_the_end(scenario: &Scenario) -> bool {
    scenario.faults.iter().any(|fault| match fault.when {
        When::At(at) => at + fault.lasts >= scenario.phases.steady,
        When::Observed { .. } => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silences_take_two_readings_and_many_readings_get_coarser() {
        let begin = Instant::now();
        let at = |ms: u64| begin + Duration::from_millis(ms);
        let mut silent = Readings::new(100);
        for ms in 0..50 {
            silent.take(at(ms), 7);
        }
        silent.take(at(50), 9);
        assert_eq!(silent.points, [(at(0), 7), (at(49), 7), (at(50), 9)]);

        let mut many = Readings::new(8);
        for ms in 0..40 {
            many.take(at(ms), ms);
        }
        assert!(many.points.len() <= 8 && many.period > PERIOD, "{many:?}");
        assert_eq!(many.points.first(), Some(&(at(0), 0)));
        assert_eq!(many.points.last(), Some(&(at(39), 39)));
        assert!(many.points.is_sorted());
    }
}
