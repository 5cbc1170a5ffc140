//! Keeps an eye on new files while the tailer waits for room in its channels.
//!
//! A tailer that waits looks at nothing. Were a file to come, be filled and be renamed out of sight
//! in that time, nobody would ever know of it. So while a delivery takes long, a thread of its own
//! looks for files and opens those that are new, or that were closed here and have grown; the tailer
//! takes them over when it goes on.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Finder, Found, Identity};
use crate::stop::Stop;

/// Time between two looks, and how long a delivery may take before there is one.
const INTERVAL: Duration = Duration::from_millis(100);
/// Files held open at most: more would eat the process's descriptors while the channel is full.
const MOST: usize = 256;

/// What tailer and thread share.
#[derive(Debug, Default)]
pub(super) struct Scout {
    /// Odd while the tailer is delivering; counts up at every begin and end.
    deliveries: AtomicU64,
    state: Mutex<State>,
}

/// How the tailer knows a file.
#[derive(Debug, Clone, Copy)]
pub(super) enum Known {
    /// Open: nothing of it can get lost.
    Open,
    /// Closed, all up to `pos` having been taken.
    AtRest { pos: u64 },
}

#[derive(Debug, Default)]
struct State {
    known: HashMap<Identity, Known>,
    sightings: Vec<Sighting>,
}

/// A file the tailer does not follow yet, or has closed too early.
#[derive(Debug)]
pub(super) struct Sighting {
    pub(super) identity: Identity,
    pub(super) found: Found,
    pub(super) file: File,
    pub(super) meta: Metadata,
}

impl Scout {
    /// Runs `delivery` under the scout's eye.
    pub(super) fn during<T>(&self, delivery: impl FnOnce() -> T) -> T {
        self.deliveries.fetch_add(1, Ordering::Relaxed);
        let outcome = delivery();
        self.deliveries.fetch_add(1, Ordering::Relaxed);
        outcome
    }

    /// Says which files are followed, and how.
    pub(super) fn know(&self, known: impl Iterator<Item = (Identity, Known)>) {
        let mut state = self.state();
        state.known.clear();
        state.known.extend(known);
    }

    /// Takes what was seen. The tailer may have come to follow some of it meanwhile.
    pub(super) fn sightings(&self) -> Vec<Sighting> {
        std::mem::take(&mut self.state().sightings)
    }

    /// Looks for files whenever a delivery takes long, until `done`.
    pub(super) fn patrol(&self, finder: &mut dyn Finder, done: &Stop) {
        let mut before = 0;
        while !done.wait(INTERVAL) {
            let now = self.deliveries.load(Ordering::Relaxed);
            let waiting = now % 2 == 1 && now == before;
            before = now;
            if waiting {
                self.look(finder);
            }
        }
    }

    /// Opens the files of which something could get lost.
    fn look(&self, finder: &mut dyn Finder) {
        for found in finder.find() {
            let Ok(meta) = std::fs::metadata(&found.path) else {
                continue;
            };
            if !meta.is_file() || !self.is_news(&meta) {
                continue;
            }
            // The name can mean another file than a moment ago: what was opened counts.
            let Ok(file) = File::open(&found.path) else {
                continue;
            };
            let Ok(meta) = file.metadata() else { continue };
            let identity = Identity::of(&meta);
            if self.is_news(&meta) {
                let mut state = self.state();
                state.known.insert(identity, Known::Open);
                state.sightings.push(Sighting {
                    identity,
                    found,
                    file,
                    meta,
                });
            }
        }
    }

    fn is_news(&self, meta: &Metadata) -> bool {
        let state = self.state();
        state.sightings.len() < MOST
            && match state.known.get(&Identity::of(meta)) {
                None => true,
                Some(Known::AtRest { pos }) => *pos != meta.len(),
                Some(Known::Open) => false,
            }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
