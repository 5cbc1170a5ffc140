//! Sets of sequence numbers, small where events behave and never large where they do not.
//!
//! A set is chunks of 65,536 numbers. A chunk is absent (empty), full, a sorted list of runs (4
//! bytes each), or a bitmap of 8 KiB. Which of them follows from its content alone: runs while they
//! are smaller than the bitmap, the bitmap otherwise. So a set costs O(gaps) normally and never
//! more than one bit per number of the chunks it touches.
//!
//! Everything is answered in ranges, because events come and go in ranges: inserting a range tells
//! which parts of it were new, and differences are iterated as maximal ranges.

mod chunk;

use std::collections::BTreeMap;
use std::ops::Range;

use chunk::{Chunk, SIZE};

/// A set of sequence numbers below 2⁴⁸.
#[derive(Debug, Clone, Default)]
pub struct IdSet {
    chunks: BTreeMap<u32, Chunk>,
    len: u64,
}

/// What an insertion or removal did to the range it was given: both lists are maximal ranges in
/// ascending order, and together they are the range.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Split {
    /// Newly inserted, or really removed.
    pub changed: Vec<Range<u64>>,
    /// Already there, or already absent.
    pub unchanged: Vec<Range<u64>>,
}

impl Split {
    fn push(&mut self, range: Range<u64>, changed: bool) {
        let list = if changed {
            &mut self.changed
        } else {
            &mut self.unchanged
        };
        match list.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => list.push(range),
        }
    }
}

impl IdSet {
    /// The empty set.
    pub fn new() -> IdSet {
        IdSet::empty()
    }

    /// The empty set, for statics.
    pub const fn empty() -> IdSet {
        IdSet {
            chunks: BTreeMap::new(),
            len: 0,
        }
    }

    /// How many numbers are in it.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is none in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether this number is in it.
    pub fn contains(&self, id: u64) -> bool {
        let (key, at) = place(id);
        self.chunks
            .get(&key)
            .is_some_and(|chunk| chunk.contains(at))
    }

    /// Inserts all of `range`, and says which parts were new and which were there before.
    pub fn insert_range(&mut self, range: Range<u64>) -> Split {
        self.change(range, true)
    }

    /// Removes all of `range`, and says which parts were there and which were not.
    pub fn remove_range(&mut self, range: Range<u64>) -> Split {
        self.change(range, false)
    }

    /// Sets or clears a range, chunk by chunk.
    fn change(&mut self, range: Range<u64>, set: bool) -> Split {
        let mut split = Split::default();
        let mut start = range.start;
        while start < range.end {
            let (key, from) = place(start);
            let base = start - u64::from(from);
            let end = range.end.min(base + u64::from(SIZE));
            let to = (end - base) as u32;
            let chunk = self.chunks.entry(key).or_default();
            let mut held = 0;
            // The pieces of the range that are set now, and the gaps between them.
            let mut next = from;
            chunk.runs_within(from..to, |run| {
                if next < run.start {
                    split.push(base + u64::from(next)..base + u64::from(run.start), set);
                }
                split.push(base + u64::from(run.start)..base + u64::from(run.end), !set);
                held += run.end - run.start;
                next = run.end;
            });
            if next < to {
                split.push(base + u64::from(next)..end, set);
            }
            if set {
                chunk.set(from..to);
                self.len += u64::from(to - from - held);
            } else {
                chunk.clear(from..to);
                self.len -= u64::from(held);
                if chunk.is_empty() {
                    self.chunks.remove(&key);
                }
            }
            start = end;
        }
        split
    }

    /// Calls `each` with the parts of `range` that are in the set, ascending. A part that crosses the
    /// border of a chunk may come in two pieces.
    pub fn parts_within(&self, range: &Range<u64>, mut each: impl FnMut(Range<u64>)) {
        if range.is_empty() {
            return;
        }
        let (first, last) = (place(range.start).0, place(range.end - 1).0);
        for (key, chunk) in self.chunks.range(first..=last) {
            let base = u64::from(*key) * u64::from(SIZE);
            let from = range.start.saturating_sub(base) as u32;
            let to = (range.end - base).min(u64::from(SIZE)) as u32;
            chunk.runs_within(from..to, |run| {
                each(base + u64::from(run.start)..base + u64::from(run.end));
            });
        }
    }

    /// Puts all of `other` in.
    pub fn union_with(&mut self, other: &IdSet) {
        for (key, theirs) in &other.chunks {
            let chunk = self.chunks.entry(*key).or_default();
            let before = chunk.len();
            chunk.union_with(theirs);
            self.len += u64::from(chunk.len() - before);
        }
    }

    /// The maximal ranges in it, ascending.
    pub fn ranges(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        Joined::new(
            self.chunks
                .iter()
                .flat_map(|(key, chunk)| absolute(*key, chunk.runs())),
        )
    }

    /// What is in this set and not in `other`, as maximal ranges, ascending.
    pub fn difference<'a>(&'a self, other: &'a IdSet) -> impl Iterator<Item = Range<u64>> + 'a {
        Joined::new(self.chunks.iter().flat_map(move |(key, chunk)| {
            let runs = match other.chunks.get(key) {
                Some(theirs) => chunk.without(theirs),
                None => chunk.runs(),
            };
            absolute(*key, runs)
        }))
    }

    /// What is in both sets, as maximal ranges, ascending.
    pub fn intersection<'a>(&'a self, other: &'a IdSet) -> impl Iterator<Item = Range<u64>> + 'a {
        Joined::new(self.chunks.iter().flat_map(move |(key, chunk)| {
            let runs = match other.chunks.get(key) {
                Some(theirs) => chunk.within(theirs),
                None => Vec::new(),
            };
            absolute(*key, runs)
        }))
    }

    /// How many numbers are in both sets.
    pub fn common(&self, other: &IdSet) -> u64 {
        let (few, many) = if self.chunks.len() <= other.chunks.len() {
            (self, other)
        } else {
            (other, self)
        };
        let shared = few.chunks.iter().filter_map(|(key, chunk)| {
            many.chunks
                .get(key)
                .map(|theirs| u64::from(chunk.common(theirs)))
        });
        shared.sum()
    }

    /// The smallest number, at least `from`, that is *not* in the set.
    pub fn first_gap(&self, from: u64) -> u64 {
        let (mut key, mut at) = place(from);
        loop {
            let Some(chunk) = self.chunks.get(&key) else {
                return u64::from(key) * u64::from(SIZE) + u64::from(at);
            };
            match chunk.first_gap(at) {
                Some(gap) => return u64::from(key) * u64::from(SIZE) + u64::from(gap),
                None => (key, at) = (key + 1, 0),
            }
        }
    }

    /// The smallest number, at least `from`, that is in the set.
    pub fn first_from(&self, from: u64) -> Option<u64> {
        let (key, at) = place(from);
        self.chunks.range(key..).find_map(|(found, chunk)| {
            let first = chunk.first_from(if *found == key { at } else { 0 })?;
            Some(u64::from(*found) * u64::from(SIZE) + u64::from(first))
        })
    }

    /// Bytes on the heap, the map's own nodes estimated.
    pub fn heap_bytes(&self) -> usize {
        let entry = size_of::<(u32, Chunk)>() * 3 / 2;
        self.chunks
            .values()
            .map(|chunk| entry + chunk.heap_bytes())
            .sum()
    }

    /// Copies the first chunk to the first `count` places: 10⁸ numbers without 10⁸ insertions.
    #[cfg(test)]
    pub(crate) fn repeat_first_chunk(&mut self, count: u32) {
        let first = self.chunks[&0].clone();
        self.chunks = (0..count).map(|key| (key, first.clone())).collect();
        self.len = u64::from(first.len()) * u64::from(count);
    }
}

impl PartialEq for IdSet {
    fn eq(&self, other: &IdSet) -> bool {
        self.len == other.len && self.ranges().eq(other.ranges())
    }
}

impl Eq for IdSet {}

impl FromIterator<Range<u64>> for IdSet {
    fn from_iter<I: IntoIterator<Item = Range<u64>>>(ranges: I) -> IdSet {
        let mut set = IdSet::new();
        for range in ranges {
            set.insert_range(range);
        }
        set
    }
}

/// Which chunk a number belongs to, and where in it. Numbers have 48 bits, so keys have 32.
fn place(id: u64) -> (u32, u32) {
    ((id / u64::from(SIZE)) as u32, (id % u64::from(SIZE)) as u32)
}

fn absolute(key: u32, runs: Vec<Range<u32>>) -> impl Iterator<Item = Range<u64>> {
    let base = u64::from(key) * u64::from(SIZE);
    runs.into_iter()
        .map(move |run| base + u64::from(run.start)..base + u64::from(run.end))
}

/// Joins ranges that touch, as those on both sides of a chunk's border do.
struct Joined<I> {
    ranges: I,
    pending: Option<Range<u64>>,
}

impl<I> Joined<I> {
    fn new(ranges: I) -> Joined<I> {
        Joined {
            ranges,
            pending: None,
        }
    }
}

impl<I: Iterator<Item = Range<u64>>> Iterator for Joined<I> {
    type Item = Range<u64>;

    fn next(&mut self) -> Option<Range<u64>> {
        for range in self.ranges.by_ref() {
            match &mut self.pending {
                Some(pending) if pending.end == range.start => pending.end = range.end,
                pending => {
                    if let Some(done) = pending.replace(range) {
                        return Some(done);
                    }
                }
            }
        }
        self.pending.take()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn expand(ranges: impl IntoIterator<Item = Range<u64>>) -> Vec<u64> {
        ranges.into_iter().flatten().collect()
    }

    #[test]
    fn ranges_join_over_the_borders_of_chunks() {
        let mut set = IdSet::new();
        set.insert_range(65_530..65_536);
        set.insert_range(65_536..200_000);
        assert!(set.ranges().eq(std::iter::once(65_530..200_000)));
        assert_eq!(set.len(), 200_000 - 65_530);
        assert_eq!(set.first_gap(65_530), 200_000);
        assert_eq!(set.first_gap(5), 5);
        let split = set.insert_range(0..300_000);
        assert_eq!(split.changed, [0..65_530, 200_000..300_000]);
        assert_eq!(split.unchanged, std::slice::from_ref(&(65_530..200_000)));
    }

    #[test]
    fn an_empty_range_changes_nothing() {
        let mut set = IdSet::new();
        assert_eq!(set.insert_range(7..7), Split::default());
        assert!(set.is_empty() && set.heap_bytes() == 0);
    }

    #[test]
    fn the_form_follows_from_the_content_alone() {
        // Odd numbers first, then the even ones: through runs and bitmap to full.
        let mut set = IdSet::new();
        for id in (1..65_536).step_by(2) {
            set.insert_range(id..id + 1);
        }
        assert!(
            set.heap_bytes() > 8_000 && set.heap_bytes() < 8_400,
            "{}",
            set.heap_bytes()
        );
        for id in (0..65_536).step_by(2) {
            set.insert_range(id..id + 1);
        }
        assert!(set.heap_bytes() < 100, "{}", set.heap_bytes());
        set.remove_range(10..11);
        assert!(set.heap_bytes() < 100, "{}", set.heap_bytes());
        set.remove_range(0..65_536);
        assert_eq!((set.len(), set.heap_bytes()), (0, 0));
    }

    #[test]
    fn the_last_possible_number_has_a_place() {
        let mut set = IdSet::new();
        let last = (1 << 48) - 1;
        set.insert_range(last..last + 1);
        assert!(set.contains(last) && !set.contains(last - 1));
    }

    #[test]
    fn a_hundred_million_with_every_second_missing_take_a_bit_each() {
        let mut set = IdSet::new();
        for id in (0..65_536).step_by(2) {
            set.insert_range(id..id + 1);
        }
        set.repeat_first_chunk(1_526);
        assert_eq!(set.len(), 1_526 * 32_768);
        assert!(set.heap_bytes() <= 12_800_000, "{}", set.heap_bytes());
    }

    /// Ranges near borders, long and short, and isolated numbers that make bitmaps.
    fn any_range() -> impl Strategy<Value = Range<u64>> {
        prop_oneof![
            8 => (0u64..140_000, 0u64..300).prop_map(|(start, len)| start..start + len),
            4 => (65_400u64..65_600, 0u64..300).prop_map(|(start, len)| start..start + len),
            1 => (65_400u64..65_600, 0u64..70_000).prop_map(|(start, len)| start..start + len),
            4 => (0u64..140_000).prop_map(|start| start..start + 1),
        ]
    }

    fn model(ranges: &[Range<u64>]) -> BTreeSet<u64> {
        ranges.iter().cloned().flatten().collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn it_is_a_set(
            steps in prop::collection::vec((any_range(), any::<bool>()), 1..40),
            comb in prop::option::of((0u64..70_000, 2usize..5)),
        ) {
            let (mut set, mut model) = (IdSet::new(), BTreeSet::new());
            if let Some((start, step)) = comb {
                for id in (start..start + 20_000).step_by(step) {
                    set.insert_range(id..id + 1);
                    model.insert(id);
                }
            }
            for (range, insert) in steps {
                let split = if insert {
                    set.insert_range(range.clone())
                } else {
                    set.remove_range(range.clone())
                };
                let there: Vec<u64> = model.range(range.clone()).copied().collect();
                let (changed, unchanged) = (expand(split.changed), expand(split.unchanged));
                let (held, other) =
                    if insert { (&unchanged, &changed) } else { (&changed, &unchanged) };
                prop_assert_eq!(held, &there);
                prop_assert_eq!((held.len() + other.len()) as u64, range.end - range.start);
                prop_assert!(other.iter().all(|id| !model.contains(id) && range.contains(id)));
                for id in range {
                    if insert { model.insert(id) } else { model.remove(&id) };
                }
                prop_assert_eq!(set.len(), model.len() as u64);
            }
            prop_assert_eq!(expand(set.ranges()), model.iter().copied().collect::<Vec<_>>());
            for range in [0..1, 100..65_536, 65_530..65_540, 3..140_000] {
                let mut parts = Vec::new();
                set.parts_within(&range, |part| parts.push(part));
                let there: Vec<u64> = model.range(range).copied().collect();
                prop_assert_eq!(expand(parts), there);
            }
            for from in [5, 65_535, 65_536, 70_000] {
                let gap = (from..).find(|id| !model.contains(id)).unwrap();
                prop_assert_eq!(set.first_gap(from), gap);
            }
            let gap = (0..).find(|id| !model.contains(id)).unwrap();
            prop_assert_eq!(set.first_gap(0), gap);
            prop_assert!(!set.contains(gap));
            for from in [0, 1, 65_535, 65_536, 100_000] {
                prop_assert_eq!(set.first_from(from), model.range(from..).next().copied());
            }
        }

        #[test]
        fn sets_combine_as_sets_do(
            left in prop::collection::vec(any_range(), 0..20),
            right in prop::collection::vec(any_range(), 0..20),
            comb in any::<bool>(),
        ) {
            let mut right = right;
            if comb {
                right.extend((0..10_000).map(|i| 3 * i..3 * i + 1));
            }
            let a: IdSet = left.iter().cloned().collect();
            let b: IdSet = right.iter().cloned().collect();
            let (model_a, model_b) = (model(&left), model(&right));
            let without: Vec<u64> = model_a.difference(&model_b).copied().collect();
            let both: Vec<u64> = model_a.intersection(&model_b).copied().collect();
            prop_assert_eq!(a.common(&b), both.len() as u64);
            prop_assert_eq!(expand(a.difference(&b)), without);
            prop_assert_eq!(expand(a.intersection(&b)), both);
            let mut union = a.clone();
            union.union_with(&b);
            let model_union: Vec<u64> = model_a.union(&model_b).copied().collect();
            prop_assert_eq!(union.len(), model_union.len() as u64);
            prop_assert_eq!(expand(union.ranges()), model_union);
            let mut other_way = b.clone();
            other_way.union_with(&a);
            prop_assert_eq!(union, other_way);
        }
    }
}
