//! Wall-clock time, passed in so that tests decide what time it is.

use std::fmt::Debug;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Tells the time of day.
pub trait Clock: Send + Sync + Debug {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    fn unix_millis(&self) -> i64;
}

/// The clock of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn unix_millis(&self) -> i64 {
        // A clock before 1970 is a broken clock; its events are stamped 1970.
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}

/// A clock that stands still until it is set.
#[derive(Debug, Default)]
pub struct FixedClock(AtomicI64);

impl FixedClock {
    /// A clock that shows `unix_millis`.
    #[must_use]
    pub fn at(unix_millis: i64) -> Self {
        Self(AtomicI64::new(unix_millis))
    }

    /// Sets the clock.
    pub fn set(&self, unix_millis: i64) {
        self.0.store(unix_millis, Ordering::Relaxed);
    }
}

impl Clock for FixedClock {
    fn unix_millis(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}
