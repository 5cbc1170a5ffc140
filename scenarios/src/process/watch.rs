//! An observer of process states, independent of whoever sends signals.
//!
//! One thread reads `/proc/PID/stat` of every living process of a [`Registry`] each
//! [`Watcher::PERIOD`] and notes when a state begins and how long it is seen. A witness that a
//! process was stopped rests on these notes, not on the success of the call that sent SIGSTOP: a
//! signal may be sent to the wrong process, or be undone by somebody else at once.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{Identity, Registry, Stat, State};

/// A stretch of time over which a process was seen in one state at every look.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// Who.
    pub identity: Identity,
    /// In which state.
    pub state: State,
    /// The first look that showed it.
    pub first: Instant,
    /// The last look that showed it.
    pub last: Instant,
    /// How many looks.
    pub looks: u32,
    /// CPU time the process used between first and last look.
    pub cpu: Duration,
}

/// Stretches kept; older ones are forgotten. Sleeping and running take turns quickly, so these two
/// are noted as one and the number lasts for any run.
const KEPT: usize = 4096;

/// The observer. Ends with its thread when dropped.
#[derive(Debug)]
pub struct Watcher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    notes: Mutex<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    past: VecDeque<Seen>,
    present: HashMap<Identity, (Seen, Duration)>,
}

impl Watcher {
    /// Time between two looks: short against any pause worth injecting, and cheap (about 20 µs of
    /// work per process and look).
    pub const PERIOD: Duration = Duration::from_millis(20);

    /// Starts to look at all processes of the registry, those of later included.
    pub fn start(registry: &Registry) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (registry, inner) = (registry.clone(), Arc::clone(&shared));
        let thread = thread::Builder::new()
            .name("watch-processes".to_owned())
            .spawn(move || {
                while !inner.stop.load(Ordering::Relaxed) {
                    for process in registry.living() {
                        if let Some(stat) = Stat::read(process.pid()) {
                            inner.note(&stat, Instant::now());
                        }
                    }
                    thread::sleep(Self::PERIOD);
                }
            })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// What was seen of a process between two instants, oldest first.
    pub fn seen(&self, who: Identity, from: Instant, to: Instant) -> Vec<Seen> {
        let notes = self
            .shared
            .notes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let present = notes.present.get(&who).map(|(seen, _)| seen);
        let all = notes
            .past
            .iter()
            .filter(|seen| seen.identity == who)
            .chain(present);
        all.filter(|seen| seen.first <= to && seen.last >= from)
            .copied()
            .collect()
    }
}

impl Shared {
    fn note(&self, stat: &Stat, now: Instant) {
        let state = match stat.state {
            State::Running | State::Sleeping => State::Sleeping,
            other => other,
        };
        let mut guard = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let notes = &mut *guard;
        let fresh = Seen {
            identity: stat.identity(),
            state,
            first: now,
            last: now,
            looks: 1,
            cpu: Duration::ZERO,
        };
        let (seen, cpu) = notes
            .present
            .entry(fresh.identity)
            .or_insert((fresh, stat.cpu));
        if seen.state == state {
            if seen.last != now {
                seen.last = now;
                seen.looks += 1;
                seen.cpu = stat.cpu.saturating_sub(*cpu);
            }
            return;
        }
        notes.past.push_back(*seen);
        (*seen, *cpu) = (fresh, stat.cpu);
        if notes.past.len() > KEPT {
            notes.past.pop_front();
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the observer has been printed already, and there is nothing to undo.
            drop(thread.join());
        }
    }
}
