//! The one clock of a run: CLOCK_MONOTONIC, counted in microseconds since t0.
//!
//! t0 is the instant at which the load starts. It is set once, and may lie a little in the future,
//! so that generators can be started before it. Only the run process keeps a clock, and no foreign
//! clock is ever subtracted from it. The wall clock is for the record's head and foot only.

use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::observe::Micros;

/// How long before its goal [`Clock::sleep_until`] stops sleeping and spins.
pub const SPIN: Duration = Duration::from_micros(150);

/// What [`Clock::now`] answers while t0 is not set: longer ago than any run, and far enough from
/// the end of the range that sums with it do not overflow.
pub const BEFORE_T0: Micros = Micros::MIN / 4;

/// The clock of a run. Share it as `Arc<Clock>`.
#[derive(Debug, Default)]
pub struct Clock {
    t0: OnceLock<Instant>,
}

impl Clock {
    /// A clock whose t0 is not set yet.
    pub fn start() -> Clock {
        Clock::default()
    }

    /// Sets t0. The first call wins; answers whether this was it.
    pub fn set_t0(&self, t0: Instant) -> bool {
        self.t0.set(t0).is_ok()
    }

    /// t0, once it is set.
    pub fn t0(&self) -> Option<Instant> {
        self.t0.get().copied()
    }

    /// The instant now, independent of t0: keep it, and convert it with [`Clock::at`] later.
    pub fn raw(&self) -> Instant {
        Instant::now()
    }

    /// Microseconds since t0 now, negative before it; [`BEFORE_T0`] while t0 is not set.
    pub fn now(&self) -> Micros {
        self.at(Instant::now())
    }

    /// Microseconds since t0 at `instant`, rounded down; [`BEFORE_T0`] while t0 is not set.
    pub fn at(&self, instant: Instant) -> Micros {
        let Some(t0) = self.t0.get() else {
            return BEFORE_T0;
        };
        match instant.checked_duration_since(*t0) {
            Some(since) => micros(since.as_nanos() / 1_000),
            None => -micros(t0.duration_since(instant).as_nanos().div_ceil(1_000)),
        }
    }

    /// The wall clock, for the record's head and foot.
    pub fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    /// Waits until `goal`: sleeps to within [`SPIN`] of it, then spins, because a sleep alone wakes
    /// up to a scheduler's tick late. Returns at once when the goal has passed or t0 is not set.
    pub fn sleep_until(&self, goal: Micros) {
        let Some(goal) = self.instant(goal) else {
            return;
        };
        loop {
            let left = goal.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            match left.checked_sub(SPIN) {
                Some(long) if !long.is_zero() => thread::sleep(long),
                _ => std::hint::spin_loop(),
            }
        }
    }

    fn instant(&self, at: Micros) -> Option<Instant> {
        let t0 = self.t0()?;
        let distance = Duration::from_micros(at.unsigned_abs());
        if at < 0 {
            t0.checked_sub(distance)
        } else {
            t0.checked_add(distance)
        }
    }
}

fn micros(micros: u128) -> Micros {
    Micros::try_from(micros).unwrap_or(Micros::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_count_from_t0_both_ways() {
        let clock = Clock::start();
        let t0 = clock.raw() + Duration::from_secs(1);
        assert_eq!(clock.at(t0), BEFORE_T0);
        assert!(clock.set_t0(t0));
        assert_eq!(clock.at(t0), 0);
        assert_eq!(clock.at(t0 + Duration::from_nanos(1_999)), 1);
        assert_eq!(clock.at(t0 - Duration::from_nanos(1_999)), -2);
        assert_eq!(clock.at(t0 - Duration::from_millis(1)), -1_000);
        assert!(clock.now() < 0, "t0 lies ahead");
    }

    #[test]
    fn t0_is_set_once() {
        let clock = Clock::start();
        let t0 = clock.raw();
        assert!(clock.set_t0(t0));
        assert!(!clock.set_t0(t0 + Duration::from_secs(9)));
        assert_eq!(clock.t0(), Some(t0));
    }

    #[test]
    fn a_sleep_never_ends_early() {
        let clock = Clock::start();
        clock.sleep_until(1_000_000); // t0 not set: nothing to wait for
        clock.set_t0(clock.raw());
        for goal in [0, 500, 3_000] {
            clock.sleep_until(goal);
            assert!(clock.now() >= goal);
        }
        clock.sleep_until(-5);
    }
}
