//! Two runs whose loads begin at the same instant.
//!
//! Each of them prepares by itself; the first one that is ready waits for the other, at most
//! [`AT_MOST`]. One that ends before it was ready leaves, and the other goes on alone: what it is
//! worth without its partner, whoever started the two must know.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// From the moment at which both are ready to the first batch.
const SOON: Duration = Duration::from_millis(50);
/// How long one waits for the other.
const AT_MOST: Duration = Duration::from_secs(60);

/// Where two runs meet.
#[derive(Debug, Default)]
pub struct Together {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    ready: u8,
    left: u8,
    begin: Option<Instant>,
}

impl Together {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that one is ready, and waits for the other: when the load begins.
    pub(super) fn meet(&self, interrupted: impl Fn() -> bool) -> Instant {
        let mut state = self.state();
        state.ready += 1;
        self.changed.notify_all();
        let until = Instant::now() + AT_MOST;
        loop {
            if let Some(begin) = state.begin {
                return begin;
            }
            let now = Instant::now();
            if state.ready + state.left >= 2 || now >= until || interrupted() {
                let begin = now + SOON;
                state.begin = Some(begin);
                self.changed.notify_all();
                return begin;
            }
            let nap = Duration::from_millis(20).min(until - now);
            state = self
                .changed
                .wait_timeout(state, nap)
                .map_or_else(|poisoned| poisoned.into_inner().0, |(state, _)| state);
        }
    }

    /// Waits until one is ready, or has ended without ever being so.
    pub fn wait_for_one(&self) {
        let mut state = self.state();
        while state.ready + state.left == 0 {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Says, when what is returned goes, that one has ended. The other does not wait for it then.
    pub fn leaves(&self) -> Leaves<'_> {
        Leaves(self)
    }

    fn leave(&self) {
        self.state().left += 1;
        self.changed.notify_all();
    }
}

/// One of the two, which leaves however it ends.
#[derive(Debug)]
pub struct Leaves<'a>(&'a Together);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn two_begin_at_the_same_instant() {
        let together = Arc::new(Together::default());
        let other = Arc::clone(&together);
        let other = std::thread::spawn(move || other.meet(|| false));
        together.wait_for_one();
        let before = Instant::now();
        let begin = together.meet(|| false);
        assert_eq!(other.join().unwrap(), begin);
        assert!(begin >= before + SOON);
    }

    #[test]
    fn nobody_waits_for_one_that_left_or_for_ever() {
        let together = Together::default();
        drop(together.leaves());
        together.wait_for_one();
        assert!(together.meet(|| false) <= Instant::now() + SOON);
        assert!(Together::default().meet(|| true) <= Instant::now() + SOON);
    }
}
