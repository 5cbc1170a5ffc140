//! An observer of process states, independent of whoever sends signals.
//!
//! One thread reads `/proc/PID/stat` of every living process of a [`Registry`] each
//! [`Watcher::PERIOD`] and notes what it sees. A witness that a
//! process was stopped rests on these notes, not on the success of the call that sent SIGSTOP: a
//! signal may be sent to the wrong process, or be undone by somebody else at once.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{Identity, Registry, Stat, State};

/// The looks within a window of time that showed a process in one state without interruption.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// Who.
    pub identity: Identity,
    /// In which state.
    pub state: State,
    /// The first look.
    pub first: Instant,
    /// The last look.
    pub last: Instant,
    /// How many looks.
    pub looks: u32,
    /// CPU time the process used between first and last look.
    pub cpu: Duration,
}

/// The looks at a process for as long as its state did not change.
#[derive(Debug)]
struct Stretch {
    identity: Identity,
    state: State,
    /// When, and the CPU time used until then. Of the states of a healthy process only the first
    /// and the last look are kept; nobody asks for more.
    looks: Vec<(Instant, Duration)>,
}

/// Looks kept of one stretch: a stop of more than a minute is proven well before its end.
const LOOKS: usize = 4096;

impl Stretch {
    fn look(&mut self, now: Instant, cpu: Duration) {
        let full = self.looks.len() >= LOOKS;
        if (full || self.state == State::Sleeping) && self.looks.len() > 1 {
            self.looks.pop();
        }
        self.looks.push((now, cpu));
    }

    fn within(&self, from: Instant, to: Instant) -> Option<Seen> {
        let looks = self.looks.iter().filter(|(at, _)| *at >= from && *at <= to);
        let (first, before) = looks.clone().next()?;
        let (last, after) = looks.clone().next_back()?;
        Some(Seen {
            identity: self.identity,
            state: self.state,
            first: *first,
            last: *last,
            looks: u32::try_from(looks.count()).unwrap_or(u32::MAX),
            cpu: after.saturating_sub(*before),
        })
    }
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
    past: VecDeque<Stretch>,
    present: HashMap<Identity, Stretch>,
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

    /// What the looks between two instants showed of a process, oldest first.
    pub fn seen(&self, who: Identity, from: Instant, to: Instant) -> Vec<Seen> {
        let notes = self
            .shared
            .notes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let past = notes.past.iter().filter(|stretch| stretch.identity == who);
        past.chain(notes.present.get(&who))
            .filter_map(|stretch| stretch.within(from, to))
            .collect()
    }
}

impl Shared {
    fn note(&self, stat: &Stat, now: Instant) {
        let state = match stat.state {
            State::Running | State::Sleeping => State::Sleeping,
            other => other,
        };
        let identity = stat.identity();
        let mut guard = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let notes = &mut *guard;
        if let Some(present) = notes.present.get_mut(&identity)
            && present.state == state
        {
            present.look(now, stat.cpu);
            return;
        }
        let fresh = Stretch {
            identity,
            state,
            looks: vec![(now, stat.cpu)],
        };
        notes.past.extend(notes.present.insert(identity, fresh));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(stat: &Stat, state: State, cpu: u64) -> Stat {
        Stat {
            state,
            cpu: Duration::from_millis(cpu),
            ..*stat
        }
    }

    /// For all windows: only looks inside them count, even where a stretch began before.
    #[test]
    fn a_window_shows_its_own_looks() {
        let stat = Stat::read(std::process::id().cast_signed()).unwrap();
        let (shared, start) = (Shared::default(), Instant::now());
        let after = |ms| start + Duration::from_millis(ms);
        for (ms, state, cpu) in [
            (0, State::Running, 1),
            (20, State::Sleeping, 2),
            (40, State::Stopped, 3),
            (60, State::Stopped, 3),
            (80, State::Stopped, 4),
            (100, State::Running, 9),
        ] {
            shared.note(&at(&stat, state, cpu), after(ms));
        }
        let watcher = Watcher {
            shared: Arc::new(shared),
            thread: None,
        };
        let stopped = |from, to| {
            let seen = watcher.seen(stat.identity(), after(from), after(to));
            let stopped = seen.into_iter().find(|seen| seen.state == State::Stopped);
            stopped.map(|seen| (seen.looks, seen.cpu.as_millis()))
        };
        assert_eq!(stopped(0, 200), Some((3, 1)));
        assert_eq!(stopped(0, 70), Some((2, 0)));
        assert_eq!(stopped(61, 200), Some((1, 0)));
        assert_eq!(stopped(81, 200), None);
        let other = Identity {
            start: 0,
            ..stat.identity()
        };
        assert!(watcher.seen(other, after(0), after(200)).is_empty());
    }
}
