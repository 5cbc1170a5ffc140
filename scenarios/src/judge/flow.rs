//! How fast a backlog left the agent, from the proxies' readings in the history.
//!
//! The middle four fifths of the bytes are timed, from a tenth to nine tenths: how long a sink takes
//! to notice that its store is back, and what it does when nothing is left, are not its rate.

use flume_bench_reports::record::DrainFlow;

use crate::checker::Strike;
use crate::runner::history::{Entry, Line};

/// The drain after the last heal, where proxies were read during it and something drained.
pub(super) fn flow(lines: &[Line], strikes: &[Strike]) -> Option<DrainFlow> {
    let points = lines.iter().find_map(|line| match &line.entry {
        Entry::Flow { points, .. } => Some(points.as_slice()),
        _ => None,
    })?;
    let (healed, events) = strikes
        .iter()
        .filter_map(|strike| Some((strike.healed?, strike.backlog)))
        .max()?;
    timed(points, healed, events)
}

fn timed(points: &[(i64, u64)], healed: i64, events: u64) -> Option<DrainFlow> {
    let at_heal = points
        .iter()
        .rposition(|(at, _)| *at <= healed)
        .unwrap_or(0);
    let after = points.get(at_heal..)?;
    let (begin, end) = (after.first()?.1, after.last()?.1);
    let bytes = end.checked_sub(begin).filter(|bytes| *bytes > 0)?;
    if events == 0 {
        return None;
    }
    // The first reading with so many tenths of the bytes, and the time since the one before it.
    let tenth = |tenths: u64| {
        let wanted = begin + (u128::from(bytes) * u128::from(tenths) / 10) as u64;
        let at = after.iter().position(|(_, bytes)| *bytes >= wanted)?;
        let instant = after[at].0;
        Some((instant, instant - after[at.saturating_sub(1)].0))
    };
    let ((from, before_from), (to, before_to)) = (tenth(1)?, tenth(9)?);
    let us = |instant: i64| instant.max(0) as u64;
    Some(DrainFlow {
        healed_us: us(healed),
        events,
        bytes,
        from_us: us(from),
        to_us: us(to),
        resolution_us: us(before_from.max(before_to)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_a_backlog_is_timed_from_the_heal_on() {
        // 900 bytes passed before the heal at 5 ms; 1,000 bytes then pass at 10 bytes a ms, from 50 ms on.
        let mut points = vec![(0, 0), (4_000, 900)];
        points.extend((0..=100).map(|ms| (50_000 + ms * 1_000, 900 + ms as u64 * 10)));
        points.push((900_000, 1_900));
        let flow = timed(&points, 5_000, 500).unwrap();
        assert_eq!((flow.events, flow.bytes), (500, 1_000));
        assert_eq!((flow.from_us, flow.to_us), (60_000, 140_000));
        assert_eq!(flow.resolution_us, 1_000);
    }

    #[test]
    fn a_jump_between_two_readings_is_a_coarse_resolution() {
        let flow = timed(&[(0, 0), (30_000, 5), (80_000, 1_000)], 1_000, 10).unwrap();
        assert_eq!((flow.from_us, flow.to_us), (80_000, 80_000));
        assert_eq!(flow.resolution_us, 50_000);
    }

    #[test]
    fn nothing_that_passed_is_no_drain() {
        assert_eq!(timed(&[(0, 7), (9, 7)], 0, 10), None);
        assert_eq!(timed(&[(0, 7), (9, 9)], 0, 0), None);
        assert_eq!(timed(&[], 0, 10), None);
    }
}
