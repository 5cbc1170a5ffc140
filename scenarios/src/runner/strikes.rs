//! Strikes the faults when their time has come, heals them, and asks for their witnesses.
//!
//! Each `[[fault]]` has a thread of its own, so that overlapping faults do not wait for each other.
//! Whatever ends the run, a fault that was injected is healed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use flume_bench_loadgen::account::Account;
use flume_bench_reports::show;

use super::history::{Entry, History};
use super::progress::Progress;
use super::sampler::Observed;
use super::world::World;
use crate::fault::{self, Fault};
use crate::scenario::{FaultPlan, Scenario, When};

/// Everything that waits to strike.
#[derive(Debug)]
pub(super) struct Strikes {
    stop: Arc<AtomicBool>,
    history: History,
    threads: Vec<JoinHandle<Option<Instant>>>,
}

/// What one `[[fault]]` needs.
struct Striker {
    index: usize,
    kind: &'static str,
    when: When,
    lasts: Duration,
    every: Option<Duration>,
    describe: String,
    fault: Box<dyn Fault>,
    world: Arc<World>,
    account: Arc<Account>,
    progress: Arc<Progress>,
    observed: Arc<Mutex<Observed>>,
    stop: Arc<AtomicBool>,
    steady: Instant,
    end: Instant,
}

impl Strikes {
    /// Starts the threads; `steady` is when `at = "0s"` is.
    pub(super) fn start(
        scenario: &Scenario,
        world: Arc<World>,
        account: Arc<Account>,
        progress: Arc<Progress>,
        observed: Arc<Mutex<Observed>>,
        steady: Instant,
    ) -> Result<Self, String> {
        let stop = Arc::new(AtomicBool::new(false));
        let history = world.history().clone();
        let mut threads = Vec::new();
        for plan in &scenario.faults {
            let striker = Striker {
                index: plan.index,
                kind: plan.kind,
                when: plan.when.clone(),
                lasts: plan.lasts,
                every: plan.every,
                describe: plan.describe(),
                fault: build(plan)?,
                world: Arc::clone(&world),
                account: Arc::clone(&account),
                progress: Arc::clone(&progress),
                observed: Arc::clone(&observed),
                stop: Arc::clone(&stop),
                steady,
                end: steady + scenario.phases.steady,
            };
            let name = format!("fault-{}", plan.index);
            threads.push(
                std::thread::Builder::new()
                    .name(name)
                    .spawn(move || striker.run())
                    .map_err(|error| error.to_string())?,
            );
        }
        Ok(Self {
            stop,
            history,
            threads,
        })
    }

    /// Ends what has not struck yet, waits until everything is healed, and says when the last heal
    /// was. A thread that panicked is a failure of the harness: nobody knows whether its fault struck.
    pub(super) fn finish(&mut self) -> Option<Instant> {
        self.stop.store(true, Ordering::Relaxed);
        let mut last = None;
        for thread in self.threads.drain(..) {
            let name = thread.thread().name().unwrap_or("a fault").to_owned();
            match thread.join() {
                Ok(healed) => last = last.max(healed),
                Err(_) => self.history.note(Entry::HarnessFailed {
                    error: format!(
                        "the thread of {name} panicked; this is a defect of flume-bench"
                    ),
                }),
            }
        }
        last
    }
}

impl Drop for Strikes {
    fn drop(&mut self) {
        self.finish();
    }
}

fn build(plan: &FaultPlan) -> Result<Box<dyn Fault>, String> {
    let kind = fault::KINDS
        .iter()
        .find(|kind| kind.name == plan.kind)
        .ok_or_else(|| format!("there is no fault {}", plan.kind))?;
    (kind.build)(plan.table.clone()).map_err(|error| error.to_string())
}

impl Striker {
    /// The last heal, if it struck at all.
    fn run(mut self) -> Option<Instant> {
        let mut healed = None;
        let mut at = match self.when {
            When::At(at) => self.steady + at,
            When::Observed { .. } => self.steady,
        };
        let mut round = 0;
        loop {
            if !self.wait(at) {
                if round == 0 {
                    let why = match &self.when {
                        When::At(_) => "the run ended before".to_owned(),
                        When::Observed { text, .. } => format!("{text} was never observed"),
                    };
                    self.world.history().note(Entry::NotStruck {
                        index: self.index,
                        why,
                    });
                }
                return healed;
            }
            let suffix = if self.every.is_some() {
                format!(".{}", round + 1)
            } else {
                String::new()
            };
            healed = Some(self.strike(&format!("{}-{}{suffix}", self.kind, self.index + 1)));
            round += 1;
            match self.every {
                Some(every) if at + every + self.lasts <= self.end => at += every,
                _ => return healed,
            }
        }
    }

    /// Waits until it is time; `false` if the run ends before.
    fn wait(&self, at: Instant) -> bool {
        loop {
            if self.stop.load(Ordering::Relaxed) || self.world.interrupted() {
                return false;
            }
            let now = Instant::now();
            let due = match &self.when {
                When::At(_) => now >= at,
                When::Observed { channel, limit, .. } => {
                    now >= at && self.observed_twice(channel, *limit)
                }
            };
            if due {
                return true;
            }
            std::thread::sleep(
                at.saturating_duration_since(now)
                    .clamp(Duration::from_micros(500), Duration::from_millis(10)),
            );
        }
    }

    /// Two samples in a row beyond the limit, and equal: the value stands there.
    fn observed_twice(&self, channel: &str, limit: f64) -> bool {
        let observed = self.observed.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, before) = (
            observed.fill.get(channel),
            observed.fill_before.get(channel),
        );
        matches!((now, before), (Some(now), Some(before)) if now > &limit && now == before)
    }

    /// Injects, waits, heals, asks for the witness. A panic in a fault's code is a failure of that
    /// fault, and it is healed all the same.
    fn strike(&mut self, name: &str) -> Instant {
        let history = self.world.history().clone();
        let in_flight = self.account.live().owed_not_stored + self.account.live().unanswered;
        let world = Arc::clone(&self.world);
        self.progress
            .fault(name, true, &format!("fault {name}: {}", self.describe));
        let injecting = Instant::now();
        history.note_at(
            injecting,
            Entry::Injected {
                fault: name.to_owned(),
                index: self.index,
                in_flight,
            },
        );
        let failed = |error: String| Entry::FaultFailed {
            fault: name.to_owned(),
            error,
        };
        let injected = catch_unwind(AssertUnwindSafe(|| self.fault.inject(&*world)));
        match injected {
            Ok(Ok(())) => self.hold(injecting + self.lasts),
            Ok(Err(error)) => history.note(failed(error.to_string())),
            Err(_) => history.note(failed(
                "injecting it panicked; this is a defect of flume-bench".into(),
            )),
        }
        let healing = catch_unwind(AssertUnwindSafe(|| self.fault.heal(&*world)));
        let healed = Instant::now();
        history.note_at(
            healed,
            Entry::Healed {
                fault: name.to_owned(),
            },
        );
        match healing {
            Ok(Ok(())) => {}
            Ok(Err(error)) => history.note(failed(error.to_string())),
            Err(_) => history.note(failed(
                "healing it panicked; this is a defect of flume-bench".into(),
            )),
        }
        self.progress.fault(
            name,
            false,
            &format!(
                "fault {name} healed after {}",
                show::duration(healed.duration_since(injecting).as_micros() as u64)
            ),
        );
        if let Ok(Some(witness)) = catch_unwind(AssertUnwindSafe(|| self.fault.witness(&*world))) {
            history.note_at(
                witness.at,
                Entry::Witness {
                    fault: name.to_owned(),
                    saw: witness.what,
                    evidence: witness.evidence,
                },
            );
        }
        healed
    }

    fn hold(&self, until: Instant) {
        while Instant::now() < until
            && !self.world.interrupted()
            && !self.stop.load(Ordering::Relaxed)
        {
            let left = until.saturating_duration_since(Instant::now());
            std::thread::sleep(left.min(Duration::from_millis(10)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::history;

    #[test]
    fn a_striker_that_panics_is_a_failure_of_the_harness() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history.jsonl");
        let history = History::create(&path).unwrap();
        let thread = std::thread::Builder::new()
            .name("fault-1".into())
            .spawn(|| -> Option<Instant> { panic!("on purpose") })
            .unwrap();
        let mut strikes = Strikes {
            stop: Arc::default(),
            history: history.clone(),
            threads: vec![thread],
        };
        assert_eq!(strikes.finish(), None);
        history.close().unwrap();
        let (lines, _) = history::read(&path).unwrap();
        let failed = |line: &history::Line| matches!(&line.entry, Entry::HarnessFailed { error } if error.contains("fault-1"));
        assert!(lines.iter().any(failed), "{lines:?}");
    }
}
