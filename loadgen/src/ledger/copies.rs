//! Copies of events: a set that counts, because copies come and go with the files that hold them.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::idset::IdSet;

/// How many copies are kept in sets; further ones are counted one by one.
const DEPTH: usize = 8;

/// How many copies there are of each id.
///
/// Layer n holds the ids with more than n copies. As a rule there is one layer and nothing else;
/// what is repeated costs no more than the ids that are repeated. Beyond eight copies (a system
/// that sends the same thing for ever) each id is counted in a map.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CopySet {
    layers: Vec<IdSet>,
    beyond: BTreeMap<u64, u64>,
}

static EMPTY: IdSet = IdSet::empty();

impl CopySet {
    /// The ids with more than `copies` copies; 0 gives all there are, 7 at most.
    pub fn more_than(&self, copies: usize) -> &IdSet {
        self.layers.get(copies).unwrap_or(&EMPTY)
    }

    /// The ids with at least one copy.
    pub fn ids(&self) -> &IdSet {
        self.more_than(0)
    }

    /// Whether there is a copy of this id.
    pub fn contains(&self, id: u64) -> bool {
        self.ids().contains(id)
    }

    /// Adds a copy of each id of `range`; answers the parts that had none before.
    pub fn add(&mut self, range: Range<u64>) -> Vec<Range<u64>> {
        if range.is_empty() {
            return Vec::new();
        }
        if self.layers.is_empty() {
            self.layers.push(IdSet::new());
        }
        let split = self.layers[0].insert_range(range);
        let mut again = split.unchanged;
        for depth in 1..DEPTH {
            if again.is_empty() {
                break;
            }
            if self.layers.len() == depth {
                self.layers.push(IdSet::new());
            }
            let layer = &mut self.layers[depth];
            again = again
                .into_iter()
                .flat_map(|piece| layer.insert_range(piece).unchanged)
                .collect();
        }
        for id in again.into_iter().flatten() {
            *self.beyond.entry(id).or_default() += 1;
        }
        split.changed
    }

    /// Takes one copy of each id of `range` away; answers the parts of which none is left.
    pub fn subtract(&mut self, range: Range<u64>) -> Vec<Range<u64>> {
        let mut left = vec![range.clone()];
        if self.beyond.range(range.clone()).next().is_some() {
            left = self.subtract_beyond(range);
        }
        // From the topmost layer down: an id is taken out of the last layer it is in.
        for depth in (0..self.layers.len()).rev() {
            let layer = &mut self.layers[depth];
            let mut gone = Vec::new();
            let mut rest = Vec::new();
            for piece in left {
                let split = layer.remove_range(piece);
                gone.extend(split.changed);
                rest.extend(split.unchanged);
            }
            if layer.is_empty() && depth + 1 == self.layers.len() {
                self.layers.pop();
            }
            if depth == 0 {
                return gone;
            }
            left = rest;
        }
        Vec::new()
    }

    /// Takes from the counted copies what can be taken there; answers the other parts of `range`.
    fn subtract_beyond(&mut self, range: Range<u64>) -> Vec<Range<u64>> {
        let counted: Vec<u64> = self
            .beyond
            .range(range.clone())
            .map(|(id, _)| *id)
            .collect();
        let mut left = Vec::new();
        let mut start = range.start;
        for id in counted {
            if start < id {
                left.push(start..id);
            }
            start = id + 1;
            if let Some(count) = self.beyond.get_mut(&id) {
                *count -= 1;
                if *count == 0 {
                    self.beyond.remove(&id);
                }
            }
        }
        if start < range.end {
            left.push(start..range.end);
        }
        left
    }

    /// Calls `each` with ranges of ids, once for every copy.
    pub fn each_copy(&self, mut each: impl FnMut(Range<u64>)) {
        for layer in &self.layers {
            layer.ranges().for_each(&mut each);
        }
        for (id, count) in &self.beyond {
            for _ in 0..*count {
                each(*id..*id + 1);
            }
        }
    }

    /// Copies beyond the first of the ids that are in `of`.
    pub fn extra_within(&self, of: &IdSet) -> u64 {
        let layers: u64 = self
            .layers
            .iter()
            .skip(1)
            .map(|layer| layer.common(of))
            .sum();
        let beyond: u64 = self
            .beyond
            .iter()
            .filter(|(id, _)| of.contains(**id))
            .map(|(_, count)| count)
            .sum();
        layers + beyond
    }

    /// Bytes on the heap, the map's own nodes estimated.
    pub fn heap_bytes(&self) -> usize {
        self.layers.capacity() * size_of::<IdSet>()
            + self.layers.iter().map(IdSet::heap_bytes).sum::<usize>()
            + self.beyond.len() * 24
    }

    #[cfg(test)]
    pub(crate) fn of(set: IdSet) -> CopySet {
        CopySet {
            layers: vec![set],
            beyond: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn expand(ranges: Vec<Range<u64>>) -> Vec<u64> {
        ranges.into_iter().flatten().collect()
    }

    proptest! {
        #[test]
        fn it_counts(
            steps in prop::collection::vec((0u64..40, 1u64..30, any::<bool>()), 1..60),
            of in prop::collection::vec(0u64..70, 0..30),
        ) {
            let (mut copies, mut model) = (CopySet::default(), BTreeMap::<u64, u64>::new());
            for (start, len, add) in steps {
                let range = start..start + len;
                let mut changed = if add {
                    expand(copies.add(range.clone()))
                } else {
                    expand(copies.subtract(range.clone()))
                };
                changed.sort_unstable();
                let mut expected = Vec::new();
                for id in range {
                    let count = model.entry(id).or_default();
                    let before = *count;
                    *count = if add { before + 1 } else { before.saturating_sub(1) };
                    if (before == 0) != (*count == 0) {
                        expected.push(id);
                    }
                }
                prop_assert_eq!(changed, expected);
            }
            let mut counted = BTreeMap::<u64, u64>::new();
            copies.each_copy(|range| range.for_each(|id| *counted.entry(id).or_default() += 1));
            model.retain(|_, count| *count > 0);
            prop_assert_eq!(&counted, &model);
            for copies_of in 0..DEPTH {
                let more = model.values().filter(|count| **count > copies_of as u64).count();
                prop_assert_eq!(copies.more_than(copies_of).len(), more as u64);
            }
            let of: IdSet = of.into_iter().map(|id| id..id + 1).collect();
            let extra: u64 =
                model.iter().filter(|(id, _)| of.contains(**id)).map(|(_, count)| count - 1).sum();
            prop_assert_eq!(copies.extra_within(&of), extra);
        }
    }

    #[test]
    fn copies_beyond_the_layers_are_counted_too() {
        let mut copies = CopySet::default();
        for _ in 0..DEPTH + 5 {
            copies.add(3..6);
        }
        let all: IdSet = std::iter::once(0..10).collect();
        assert_eq!(copies.extra_within(&all), 3 * (DEPTH as u64 + 4));
        for _ in 0..DEPTH + 4 {
            assert!(copies.subtract(3..6).is_empty());
        }
        assert_eq!(expand(copies.subtract(0..10)), [3, 4, 5]);
        assert_eq!(copies, CopySet::default());
    }
}
