//! One chunk of an [`IdSet`](super::IdSet): 65,536 places in the smallest form that holds them.

use std::ops::Range;

/// Places in a chunk.
pub(super) const SIZE: u32 = 1 << 16;

const WORDS: usize = 1024;
/// With this many runs (4 bytes each) a list is no smaller than the bitmap (8 KiB).
const MAX_RUNS: usize = 2048;

type Words = [u64; WORDS];

/// The places of a chunk that are set. The form is a function of the content: every change ends in
/// [`Chunk::settle`] or in an equal shortcut.
#[derive(Debug, Clone)]
pub(super) enum Chunk {
    /// Sorted, not touching each other; fewer than [`MAX_RUNS`]. Empty only in passing.
    Runs(Vec<Run>),
    /// At least [`MAX_RUNS`] runs.
    Bits(Box<Bitmap>),
    /// All places.
    Full,
}

/// First and last place of a run; both are in it, so that a whole chunk could be said in 16 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    first: u16,
    last: u16,
}

#[derive(Debug, Clone)]
pub(super) struct Bitmap {
    words: Words,
    len: u32,
    runs: u32,
}

impl Default for Chunk {
    fn default() -> Self {
        Chunk::Runs(Vec::new())
    }
}

impl Run {
    fn range(self) -> Range<u32> {
        u32::from(self.first)..u32::from(self.last) + 1
    }

    fn of(range: Range<u32>) -> Run {
        Run {
            first: range.start as u16,
            last: (range.end - 1) as u16,
        }
    }
}

impl Chunk {
    pub(super) fn len(&self) -> u32 {
        match self {
            Chunk::Runs(runs) => runs.iter().map(|run| run.range().len() as u32).sum(),
            Chunk::Bits(bits) => bits.len,
            Chunk::Full => SIZE,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Chunk::Runs(runs) if runs.is_empty())
    }

    pub(super) fn contains(&self, at: u32) -> bool {
        match self {
            Chunk::Runs(runs) => {
                let next = runs.partition_point(|run| run.range().end <= at);
                runs.get(next).is_some_and(|run| run.range().start <= at)
            }
            Chunk::Bits(bits) => bits.words[at as usize / 64] >> (at % 64) & 1 == 1,
            Chunk::Full => true,
        }
    }

    /// Calls `each` with the maximal runs inside `range`, clipped to it, ascending.
    pub(super) fn runs_within(&self, range: Range<u32>, mut each: impl FnMut(Range<u32>)) {
        match self {
            Chunk::Runs(runs) => {
                let first = runs.partition_point(|run| run.range().end <= range.start);
                for run in runs[first..].iter().map(|run| run.range()) {
                    if run.start >= range.end {
                        break;
                    }
                    each(run.start.max(range.start)..run.end.min(range.end));
                }
            }
            Chunk::Bits(bits) => runs_of(&bits.words, range, each),
            Chunk::Full => each(range),
        }
    }

    /// All maximal runs, ascending.
    pub(super) fn runs(&self) -> Vec<Range<u32>> {
        let mut runs = Vec::new();
        self.runs_within(0..SIZE, |run| runs.push(run));
        runs
    }

    /// The first place from `at` on that is not set.
    pub(super) fn first_gap(&self, at: u32) -> Option<u32> {
        let gap = match self {
            Chunk::Full => SIZE,
            Chunk::Bits(bits) => seek(&bits.words, at, SIZE, false),
            Chunk::Runs(runs) => {
                // Runs do not touch each other, so the end of one is a gap.
                let next = runs.partition_point(|run| run.range().end <= at);
                let run = runs.get(next).map(|run| run.range());
                run.filter(|run| run.start <= at).map_or(at, |run| run.end)
            }
        };
        (gap < SIZE).then_some(gap)
    }

    /// The first place from `at` on that is set.
    pub(super) fn first_from(&self, at: u32) -> Option<u32> {
        match self {
            Chunk::Full => Some(at),
            Chunk::Bits(bits) => {
                Some(seek(&bits.words, at, SIZE, true)).filter(|found| *found < SIZE)
            }
            Chunk::Runs(runs) => {
                let next = runs.partition_point(|run| run.range().end <= at);
                runs.get(next).map(|run| run.range().start.max(at))
            }
        }
    }

    pub(super) fn set(&mut self, range: Range<u32>) {
        match self {
            Chunk::Full => return,
            Chunk::Runs(runs) => {
                // Everything that overlaps or touches the range becomes one run with it.
                let from = runs.partition_point(|run| run.range().end < range.start);
                let to = from + runs[from..].partition_point(|run| run.range().start <= range.end);
                let mut all = range;
                if from < to {
                    all.start = all.start.min(runs[from].range().start);
                    all.end = all.end.max(runs[to - 1].range().end);
                }
                runs.splice(from..to, [Run::of(all)]);
            }
            Chunk::Bits(bits) => bits.set(range),
        }
        self.settle();
    }

    pub(super) fn clear(&mut self, range: Range<u32>) {
        // Removals are rare (a file was withdrawn or has vanished): by way of the bitmap.
        let mut words = self.words();
        mask(range, |word, mask| words[word] &= !mask);
        *self = Chunk::from_words(&words);
    }

    pub(super) fn union_with(&mut self, other: &Chunk) {
        match (&*self, other) {
            (Chunk::Full, _) => {}
            (_, Chunk::Full) => *self = Chunk::Full,
            (_, Chunk::Runs(runs)) if runs.len() <= 8 => {
                runs.iter().for_each(|run| self.set(run.range()));
            }
            _ => {
                let (mut words, theirs) = (self.words(), other.words());
                words
                    .iter_mut()
                    .zip(theirs)
                    .for_each(|(word, other)| *word |= other);
                *self = Chunk::from_words(&words);
            }
        }
    }

    /// The runs that are in this chunk and not in `other`.
    pub(super) fn without(&self, other: &Chunk) -> Vec<Range<u32>> {
        match (self, other) {
            (_, Chunk::Full) => Vec::new(),
            _ => self.combine(other, |word, other| word & !other),
        }
    }

    /// The runs that are in both chunks.
    pub(super) fn within(&self, other: &Chunk) -> Vec<Range<u32>> {
        match (self, other) {
            (_, Chunk::Full) => self.runs(),
            (Chunk::Full, _) => other.runs(),
            _ => self.combine(other, |word, other| word & other),
        }
    }

    /// How many places are in both chunks.
    pub(super) fn common(&self, other: &Chunk) -> u32 {
        match (self, other) {
            (_, Chunk::Full) => self.len(),
            (Chunk::Full, _) => other.len(),
            _ => self
                .within(other)
                .into_iter()
                .map(|run| run.end - run.start)
                .sum(),
        }
    }

    fn combine(&self, other: &Chunk, with: impl Fn(u64, u64) -> u64) -> Vec<Range<u32>> {
        let (mut words, theirs) = (self.words(), other.words());
        words
            .iter_mut()
            .zip(theirs)
            .for_each(|(word, other)| *word = with(*word, other));
        let mut runs = Vec::new();
        runs_of(&words, 0..SIZE, |run| runs.push(run));
        runs
    }

    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Chunk::Runs(runs) => runs.capacity() * size_of::<Run>(),
            Chunk::Bits(_) => size_of::<Bitmap>(),
            Chunk::Full => 0,
        }
    }

    fn words(&self) -> Words {
        match self {
            Chunk::Full => [!0; WORDS],
            Chunk::Bits(bits) => bits.words,
            Chunk::Runs(runs) => {
                let mut words = [0; WORDS];
                for run in runs {
                    mask(run.range(), |word, mask| words[word] |= mask);
                }
                words
            }
        }
    }

    fn from_words(words: &Words) -> Chunk {
        let mut bits = Box::new(Bitmap {
            words: *words,
            len: 0,
            runs: 0,
        });
        bits.count();
        let mut chunk = Chunk::Bits(bits);
        chunk.settle();
        chunk
    }

    /// Takes the smallest form.
    fn settle(&mut self) {
        match self {
            Chunk::Runs(runs)
                if matches!(
                    runs[..],
                    [Run {
                        first: 0,
                        last: u16::MAX
                    }]
                ) =>
            {
                *self = Chunk::Full;
            }
            Chunk::Runs(runs) if runs.len() >= MAX_RUNS => {
                let mut bits = Box::new(Bitmap {
                    words: self.words(),
                    len: 0,
                    runs: 0,
                });
                bits.count();
                *self = Chunk::Bits(bits);
            }
            Chunk::Bits(bits) if bits.len == SIZE => *self = Chunk::Full,
            Chunk::Bits(bits) if (bits.runs as usize) < MAX_RUNS => {
                // The list has room for exactly what is in it, as the bitmap's successor does not
                // grow as a rule.
                let mut runs = Vec::with_capacity(bits.runs as usize);
                runs_of(&bits.words, 0..SIZE, |run| runs.push(Run::of(run)));
                *self = Chunk::Runs(runs);
            }
            Chunk::Runs(_) | Chunk::Bits(_) | Chunk::Full => {}
        }
    }
}

impl Bitmap {
    fn count(&mut self) {
        self.len = self.words.iter().map(|word| word.count_ones()).sum();
        self.runs = starts(&self.words, 0..WORDS);
    }

    /// Sets a range, and keeps both counts by looking at the words it touches only.
    fn set(&mut self, range: Range<u32>) {
        // One word more, because the run behind the range may begin right after it.
        let touched = range.start as usize / 64..(range.end as usize / 64 + 1).min(WORDS);
        let ones = |words: &Words| -> u32 {
            words[touched.clone()]
                .iter()
                .map(|word| word.count_ones())
                .sum()
        };
        let before = (ones(&self.words), starts(&self.words, touched.clone()));
        mask(range, |word, mask| self.words[word] |= mask);
        self.len = self.len - before.0 + ones(&self.words);
        self.runs = self.runs - before.1 + starts(&self.words, touched);
    }
}

/// How many runs begin in these words.
fn starts(words: &Words, range: Range<usize>) -> u32 {
    let mut carry = match range.start {
        0 => 0,
        start => words[start - 1] >> 63,
    };
    let mut count = 0;
    for word in &words[range] {
        count += (word & !(word << 1 | carry)).count_ones();
        carry = word >> 63;
    }
    count
}

/// Calls `each` with every word that a range touches, and the bits of the range in it.
fn mask(range: Range<u32>, mut each: impl FnMut(usize, u64)) {
    let mut at = range.start;
    while at < range.end {
        let word = at / 64;
        let end = range.end.min((word + 1) * 64);
        let bits = end - at;
        let ones = if bits == 64 { !0 } else { (1 << bits) - 1 };
        each(word as usize, ones << (at % 64));
        at = end;
    }
}

/// The first place from `at` on whose bit is `set`; `end` if there is none before it. Looks at no
/// word behind `end`, so that a small range in a large gap stays cheap.
fn seek(words: &Words, at: u32, end: u32, set: bool) -> u32 {
    let (mut word, mut keep) = (at as usize / 64, !0u64 << (at % 64));
    while word < (end as usize).div_ceil(64) {
        let bits = if set { words[word] } else { !words[word] } & keep;
        if bits != 0 {
            return (word as u32 * 64 + bits.trailing_zeros()).min(end);
        }
        (word, keep) = (word + 1, !0);
    }
    end
}

fn runs_of(words: &Words, range: Range<u32>, mut each: impl FnMut(Range<u32>)) {
    let mut at = range.start;
    while at < range.end {
        let start = seek(words, at, range.end, true);
        if start == range.end {
            break;
        }
        at = seek(words, start, range.end, false);
        each(start..at);
    }
}
