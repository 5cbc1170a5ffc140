//! How long a group of commits waits for those that will be there in a moment.
//!
//! A source and a sink that commit by turns would each pay a sync of their own: while one's is under
//! way the other's record waits, and the first is only back with its next one when the other's has
//! begun. So whoever finds the writer at home looks at who was there a moment ago: the members of
//! the last group, and those that came while it was written. It waits for as many, at most for
//! [`Gathering::patience`]; the last to come leads, so nobody has to be woken for that.
//!
//! A commit that is alone waits for nobody. If the others stay away, one group has waited in vain,
//! and the next expects only those that came.

use std::time::{Duration, Instant};

/// Longest wait, whatever a sync takes.
const MOST: Duration = Duration::from_micros(200);

/// Who is expected in the next group.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    expected: usize,
    /// When the group that is being gathered began to wait.
    since: Option<Instant>,
    /// What writing the last group took.
    took: Duration,
}

impl Gathering {
    /// How much longer the pending group should wait; `None`: it should be written.
    pub(super) fn left(&mut self, pending: usize, now: Instant) -> Option<Duration> {
        if pending >= self.expected {
            return None;
        }
        let waited = now.saturating_duration_since(*self.since.get_or_insert(now));
        self.patience()
            .checked_sub(waited)
            .filter(|left| !left.is_zero())
    }

    /// Half of what the last group took: a wait in vain costs less than the sync it might save.
    fn patience(&self) -> Duration {
        (self.took / 2).min(MOST)
    }

    /// A group of `members` was written in `took`; `pending` others came meanwhile.
    pub(super) fn written(&mut self, members: usize, pending: usize, took: Duration) {
        self.expected = members + pending;
        self.since = None;
        self.took = took;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYNC: Duration = Duration::from_micros(100);

    #[test]
    fn one_that_is_alone_waits_for_nobody() {
        let mut gathering = Gathering::default();
        let now = Instant::now();
        for _ in 0..3 {
            assert_eq!(gathering.left(1, now), None);
            gathering.written(1, 0, SYNC);
        }
    }

    #[test]
    fn two_that_commit_by_turns_come_together_and_stay_so() {
        let mut gathering = Gathering::default();
        let now = Instant::now();
        // The second came while the first was written.
        gathering.written(1, 1, SYNC);
        assert_eq!(gathering.left(1, now), Some(SYNC / 2));
        assert_eq!(gathering.left(2, now + SYNC / 4), None);
        gathering.written(2, 0, SYNC);
        assert_eq!(gathering.left(1, now), Some(SYNC / 2));
    }

    #[test]
    fn who_stays_away_is_waited_for_once() {
        let mut gathering = Gathering::default();
        let now = Instant::now();
        gathering.written(2, 0, SYNC);
        assert_eq!(gathering.left(1, now), Some(SYNC / 2));
        assert_eq!(gathering.left(1, now + SYNC / 4), Some(SYNC / 4));
        assert_eq!(gathering.left(1, now + SYNC), None);
        gathering.written(1, 0, SYNC);
        assert_eq!(gathering.left(1, now), None);
    }

    #[test]
    fn a_slow_disk_makes_nobody_wait_for_long() {
        let mut gathering = Gathering::default();
        gathering.written(2, 0, Duration::from_secs(1));
        assert_eq!(gathering.left(1, Instant::now()), Some(MOST));
    }
}
