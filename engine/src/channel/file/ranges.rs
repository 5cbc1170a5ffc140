//! Sets of event numbers, kept as ranges.
//!
//! A channel hands its events out nearly in order, so a set of them is nearly always one range,
//! and the map below has nearly always one entry.

use std::collections::BTreeMap;
use std::ops::Range;

/// A set of `u64`, stored as disjoint ranges that do not touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ranges {
    /// First number → one past the last.
    map: BTreeMap<u64, u64>,
    len: u64,
}

impl Ranges {
    /// How many numbers are in the set.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// The ranges in ascending order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.map.iter().map(|(&start, &end)| start..end)
    }

    /// Adds the numbers of `range`, whether or not some are there already.
    pub(super) fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let (mut start, mut end) = (range.start, range.end);
        if let Some((&before, &before_end)) = self.map.range(..=start).next_back()
            && before_end >= start
        {
            start = before;
            end = end.max(before_end);
            self.len -= before_end - before;
            self.map.remove(&before);
        }
        while let Some((&after, &after_end)) = self.map.range(start..=end).next() {
            end = end.max(after_end);
            self.len -= after_end - after;
            self.map.remove(&after);
        }
        self.len += end - start;
        self.map.insert(start, end);
    }

    /// Removes and answers the lowest up to `count` numbers, as ranges in ascending order.
    pub(super) fn pop_front(&mut self, count: u64) -> Vec<Range<u64>> {
        let mut popped = Vec::new();
        let mut wanted = count;
        while wanted > 0
            && let Some((start, end)) = self.map.pop_first()
        {
            let middle = end.min(start.saturating_add(wanted));
            if middle < end {
                self.map.insert(middle, end);
            }
            wanted -= middle - start;
            popped.push(start..middle);
        }
        self.len -= count - wanted;
        popped
    }

    /// Removes all numbers below `bound`.
    pub(super) fn remove_below(&mut self, bound: u64) {
        while let Some((&start, &end)) = self.map.first_key_value()
            && start < bound
        {
            self.map.pop_first();
            self.len -= end.min(bound) - start;
            if end > bound {
                self.map.insert(bound, end);
            }
        }
    }

    /// The parts of `range` that are not in the set, in ascending order.
    pub(super) fn gaps(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut at = range.start;
        let first = self
            .map
            .range(..=range.start)
            .next_back()
            .map_or(range.start, |(&start, _)| start);
        for (&start, &end) in self.map.range(first..) {
            if start >= range.end || at >= range.end {
                break;
            }
            if start > at {
                gaps.push(at..start);
            }
            at = at.max(end);
        }
        if at < range.end {
            gaps.push(at..range.end);
        }
        gaps
    }

    /// The lowest number that is at least `from` and not in the set.
    pub(super) fn first_gap(&self, from: u64) -> u64 {
        match self.map.range(..=from).next_back() {
            Some((_, &end)) if end > from => end,
            _ => from,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// For all sequences of insertions, pops and cuts, the ranges are what a set of numbers is.
        #[test]
        fn behaves_like_a_set(steps in prop::collection::vec((0..3u8, 0..60u64, 0..12u64), 0..60)) {
            let mut ranges = Ranges::default();
            let mut model = BTreeSet::new();
            for (step, at, size) in steps {
                match step {
                    0 => {
                        ranges.insert(at..at + size);
                        model.extend(at..at + size);
                    }
                    1 => {
                        let popped: Vec<u64> = ranges.pop_front(size).into_iter().flatten().collect();
                        let expected: Vec<u64> = model.iter().copied().take(size as usize).collect();
                        for number in &expected {
                            model.remove(number);
                        }
                        prop_assert_eq!(popped, expected);
                    }
                    _ => {
                        ranges.remove_below(at);
                        model.retain(|number| *number >= at);
                    }
                }
                prop_assert_eq!(ranges.len(), model.len() as u64);
                prop_assert_eq!(ranges.is_empty(), model.is_empty());
                let all: Vec<u64> = ranges.iter().flatten().collect();
                prop_assert_eq!(&all, &model.iter().copied().collect::<Vec<_>>());
                let gaps: Vec<u64> = ranges.gaps(at..at + size).into_iter().flatten().collect();
                let expected: Vec<u64> = (at..at + size).filter(|number| !model.contains(number)).collect();
                prop_assert_eq!(gaps, expected);
                prop_assert_eq!(ranges.first_gap(at), (at..).find(|number| !model.contains(number)).unwrap());
            }
        }
    }
}
