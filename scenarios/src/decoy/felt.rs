//! What a decoy feels of faults, and which events its defect strikes because of them.
//!
//! It is told nothing: a kill shows as files of an earlier life, a stop as a sleep that took too long,
//! a cut as a connection that ends in the middle or as time without an event. So its defect is hit by
//! whatever has that effect, and by nothing else.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use super::Tally;
use super::defects::When;

/// A sleep of 5 ms that takes longer than this was no sleep.
pub(super) const STOOD_STILL: Duration = Duration::from_millis(150);
/// Time without an event that counts as a gap where the defect has no limit of its own.
const GAP: Duration = Duration::from_millis(200);
/// Events that come within this time after a gap are its backlog.
const BURST: Duration = Duration::from_millis(100);
/// Events that are struck where the defect has no number of its own.
const STRUCK: u64 = 20;
/// One event in so many is struck where the defect has no number of its own.
const EVERY: u64 = 10;

/// What was felt.
#[derive(Debug)]
pub(super) struct Felt {
    when: When,
    n: u64,
    /// Which life this is, from 1.
    life: u32,
    began: Instant,
    /// Time from the last event of the life before to the begin of this one.
    since_last_life: Duration,
    /// Events received in the lives before.
    before: u64,
    last_event: Option<Instant>,
    /// When the last gap ended, and how many events have come since.
    burst: Option<(Instant, u64)>,
    /// Events that are still to be struck.
    left: u64,
}

impl Felt {
    /// A new life. `tally` is that of the lives before, last written to `file`.
    pub(super) fn new(when: When, n: u64, file: &Path, tally: &Tally, life: u32) -> Self {
        let written = std::fs::metadata(file).and_then(|meta| meta.modified());
        let since_last_life = written
            .ok()
            .and_then(|written| SystemTime::now().duration_since(written).ok())
            .unwrap_or_default();
        Self {
            when,
            n,
            life,
            began: Instant::now(),
            since_last_life,
            before: tally.received,
            last_event: None,
            burst: None,
            left: 0,
        }
    }

    /// A connection ended in the middle.
    pub(super) fn broke(&mut self) {
        if self.when == When::Broken {
            self.left = self.n;
        }
    }

    /// The process did not run for so long.
    pub(super) fn stood_still(&mut self, time: Duration) {
        let n = Duration::from_millis(self.n);
        let struck = match self.when {
            When::Paused => time > n,
            When::PausedAfterKill => self.life > 1 && self.began.elapsed() < n + time,
            _ => false,
        };
        if struck {
            self.left = STRUCK;
        }
    }

    /// Whether the event that comes now, the `received`-th of all lives, is struck.
    pub(super) fn strikes(&mut self, received: u64) -> bool {
        let now = Instant::now();
        let gap = self.last_event.map_or(Duration::ZERO, |last| now - last);
        self.last_event = Some(now);
        let n = Duration::from_millis(self.n);
        match self.when {
            When::Nth => return received.is_multiple_of(self.n),
            When::Killed => return self.life > 1 && received.is_multiple_of(self.n),
            When::KilledTwice => return self.life > 2 && received.is_multiple_of(self.n),
            When::KilledLate => {
                let late = self.life > 1 && self.before >= self.n;
                return late && received.is_multiple_of(EVERY);
            }
            When::KilledInGap => {
                let in_gap = self.life > 1 && self.since_last_life > n;
                return in_gap && received.is_multiple_of(EVERY);
            }
            When::Backlog => return self.is_late_in_burst(now, gap),
            When::Gap if gap > n => self.left = STRUCK,
            When::Gap | When::Broken | When::Paused | When::PausedAfterKill => {}
        }
        let struck = self.left > 0;
        self.left = self.left.saturating_sub(1);
        struck
    }

    fn is_late_in_burst(&mut self, now: Instant, gap: Duration) -> bool {
        if gap > GAP {
            self.burst = Some((now, 0));
        }
        let Some((began, events)) = &mut self.burst else {
            return false;
        };
        *events += 1;
        now - *began < BURST && *events > self.n
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn felt(when: When, n: u64, life: u32, before: u64) -> Felt {
        let tally = Tally {
            received: before,
            ..Tally::default()
        };
        Felt::new(when, n, Path::new("/does/not/exist"), &tally, life)
    }

    fn struck(felt: &mut Felt, events: u64) -> u64 {
        (1..=events).filter(|&event| felt.strikes(event)).count() as u64
    }

    #[test]
    fn without_a_fault_only_the_nth_is_struck() {
        assert_eq!(struck(&mut felt(When::Nth, 7, 1, 0), 100), 14);
        for when in [
            When::Backlog,
            When::Broken,
            When::Gap,
            When::Killed,
            When::KilledInGap,
            When::KilledLate,
            When::KilledTwice,
            When::Paused,
            When::PausedAfterKill,
        ] {
            // An hour: on a busy machine, too, no gap is as long.
            let n = if when == When::Gap { 3_600_000 } else { 10_000 };
            assert_eq!(struck(&mut felt(when, n, 1, 0), 100), 0, "{when:?}");
        }
    }

    #[test]
    fn kills_are_told_by_the_lives_before() {
        for (when, n, life, before, expected) in [
            (When::Killed, 7, 2, 0, 14),
            (When::KilledTwice, 7, 2, 0, 0),
            (When::KilledTwice, 7, 3, 0, 14),
            (When::KilledLate, 500, 2, 499, 0),
            (When::KilledLate, 500, 2, 500, 10),
        ] {
            let mut felt = felt(when, n, life, before);
            assert_eq!(struck(&mut felt, 100), expected, "{when:?} {life}");
        }
    }

    #[test]
    fn what_broke_and_what_stood_still_strikes_a_number_of_events() {
        let mut broken = felt(When::Broken, 7, 1, 0);
        broken.broke();
        assert_eq!(struck(&mut broken, 100), 7);
        let mut paused = felt(When::Paused, 400, 1, 0);
        paused.stood_still(Duration::from_millis(300));
        assert_eq!(struck(&mut paused, 100), 0);
        paused.stood_still(Duration::from_millis(500));
        assert_eq!(struck(&mut paused, 100), STRUCK);
        let mut first = felt(When::PausedAfterKill, 60_000, 1, 0);
        first.stood_still(Duration::from_millis(500));
        assert_eq!(struck(&mut first, 100), 0);
        let mut second = felt(When::PausedAfterKill, 60_000, 2, 0);
        second.stood_still(Duration::from_millis(500));
        assert_eq!(struck(&mut second, 100), STRUCK);
    }

    #[test]
    fn gaps_and_what_comes_upon_them() {
        let mut gap = felt(When::Gap, 100, 1, 0);
        gap.last_event = Instant::now().checked_sub(Duration::from_millis(101));
        assert_eq!(struck(&mut gap, 19), 19);
        let mut backlog = felt(When::Backlog, 5, 1, 0);
        let now = Instant::now();
        assert!(!backlog.is_late_in_burst(now, GAP * 2));
        let late = (0..9)
            .filter(|_| backlog.is_late_in_burst(now, Duration::ZERO))
            .count();
        assert_eq!(late, 5);
        assert!(!backlog.is_late_in_burst(now + BURST, Duration::ZERO));
    }

    #[test]
    fn a_kill_in_a_gap_is_told_by_the_age_of_the_tally() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("tally");
        std::fs::write(&file, "{}").unwrap();
        let long_ago = SystemTime::now() - Duration::from_secs(3600);
        let handle = std::fs::File::options().write(true).open(&file).unwrap();
        handle.set_modified(long_ago).unwrap();
        let tally = Tally::default();
        let mut felt = Felt::new(When::KilledInGap, 1000, &file, &tally, 2);
        assert_eq!(struck(&mut felt, 100), 10);
    }
}
