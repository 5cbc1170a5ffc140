//! What a file channel knows of its events while it is open.
//!
//! The log on the disk is the queue; this is a window on its front. Events are known by number, in
//! the order of the log. At any moment each is in one of these states:
//!
//! | state | kept as |
//! |---|---|
//! | not looked at since it was written, or since the start | at or behind `unread` in the log |
//! | ready to be taken | in `ready`; its batch is in `live` |
//! | taken, not committed | in `live` only: a rollback knows the numbers |
//! | taken and committed | in `taken`, until all before it are too |
//!
//! A record counts in full, against the channel's capacity and against memory, until its last event
//! is taken and committed. The window holds at most a stated number of bytes: what is put beyond is
//! only written to the log, and read back when its turn comes.

use std::collections::VecDeque;
use std::ops::Range;

use super::log::Cursor;
use super::ranges::Ranges;
use crate::event::{Batch, Slice};

/// A put record in the window.
#[derive(Debug)]
struct Entry {
    at: Cursor,
    events: u32,
    /// Events that are not yet taken and committed.
    remaining: u64,
    /// Bytes counted for it.
    bytes: u64,
    batches: Vec<Batch>,
}

impl Entry {
    fn range(&self) -> Range<u64> {
        self.at.event..self.at.event + u64::from(self.events)
    }
}

/// The window.
#[derive(Debug)]
pub(super) struct Queue {
    live: VecDeque<Entry>,
    ready: Ranges,
    taken: Ranges,
    /// First record that is not in the window though it may hold events; `None` if there is none.
    unread: Option<Cursor>,
    /// Events that count against the capacity.
    events: u64,
    /// Events that are not taken and committed.
    stored: u64,
    resident: u64,
    resident_limit: u64,
}

/// Memory counted per record on top of its bytes, so that small records are bounded too.
const ENTRY_BYTES: u64 = 256;

impl Queue {
    /// A queue whose events begin with the record at `head` and end before `end`, less those of
    /// `taken`.
    pub(super) fn new(head: Cursor, end: Cursor, taken: Ranges, resident_limit: u64) -> Self {
        Self {
            live: VecDeque::new(),
            ready: Ranges::default(),
            unread: (head.event < end.event).then_some(head),
            events: end.event - head.event,
            stored: end.event - head.event - taken.len(),
            taken,
            resident: 0,
            resident_limit,
        }
    }

    /// Events that count against the capacity.
    pub(super) fn events(&self) -> u64 {
        self.events
    }

    /// Events that are not taken and committed.
    pub(super) fn stored(&self) -> u64 {
        self.stored
    }

    /// Bytes of batches, and of bookkeeping, in memory.
    #[cfg(test)]
    pub(super) fn resident(&self) -> u64 {
        self.resident
    }

    /// Events that can be taken without reading the log.
    pub(super) fn ready(&self) -> u64 {
        self.ready.len()
    }

    /// Where reading has to go on when more events are wanted.
    pub(super) fn unread(&self) -> Option<Cursor> {
        self.unread
    }

    /// Whether reading on would stay within the bound on memory. Holding nothing that could be
    /// taken, the window always takes one more piece: else nothing would ever move.
    pub(super) fn may_load(&self) -> bool {
        self.unread.is_some() && (self.resident < self.resident_limit || self.ready.is_empty())
    }

    /// The first record that still holds events, if there is one.
    pub(super) fn head(&self) -> Option<Cursor> {
        self.live.front().map(|entry| entry.at).or(self.unread)
    }

    /// The committed takes behind the head.
    pub(super) fn taken(&self) -> &Ranges {
        &self.taken
    }

    /// The same, and the takes that are not committed yet: what no checkpoint may hold, but that of a
    /// defect planted on purpose.
    pub(super) fn taken_or_open(&self) -> Ranges {
        let mut taken = self.taken.clone();
        for entry in &self.live {
            for range in self.ready.gaps(entry.range()) {
                taken.insert(range);
            }
        }
        taken
    }

    /// A put that has become durable.
    pub(super) fn publish(&mut self, at: Cursor, events: u32, batches: Vec<Batch>) {
        self.events += u64::from(events);
        self.stored += u64::from(events);
        let bytes = size(&batches);
        let fits = self.live.is_empty() || self.resident + bytes <= self.resident_limit;
        if self.unread.is_none() && fits {
            self.push(at, events, bytes, batches);
        } else {
            self.unread.get_or_insert(at);
        }
    }

    /// A put record read back from the log.
    pub(super) fn load(&mut self, at: Cursor, events: u32, batches: Vec<Batch>) {
        let bytes = size(&batches);
        self.push(at, events, bytes, batches);
    }

    /// Reading went on up to `to`; `None` if there is nothing more.
    pub(super) fn loaded(&mut self, to: Option<Cursor>) {
        self.unread = to;
    }

    fn push(&mut self, at: Cursor, events: u32, bytes: u64, batches: Vec<Batch>) {
        let entry = Entry {
            at,
            events,
            remaining: 0,
            bytes,
            batches,
        };
        let open = self.taken.gaps(entry.range());
        let remaining = open.iter().map(|range| range.end - range.start).sum();
        if remaining == 0 {
            self.events -= u64::from(events);
            if self.live.is_empty() {
                self.taken.remove_below(entry.range().end);
            }
            return;
        }
        for range in open {
            self.ready.insert(range);
        }
        self.resident += bytes;
        self.live.push_back(Entry { remaining, ..entry });
    }

    /// Takes up to `max` events, the lowest numbers first.
    pub(super) fn take(&mut self, max: u64) -> Vec<Range<u64>> {
        self.ready.pop_front(max)
    }

    /// The events of `ranges` as slices of their batches.
    pub(super) fn slices(&self, ranges: &[Range<u64>]) -> Vec<Slice> {
        let mut slices = Vec::new();
        for range in ranges {
            let first = self
                .live
                .partition_point(|entry| entry.range().end <= range.start);
            for entry in self
                .live
                .range(first..)
                .take_while(|entry| entry.at.event < range.end)
            {
                let mut start = entry.at.event;
                for batch in &entry.batches {
                    let end = start + batch.len() as u64;
                    let (from, to) = (range.start.max(start), range.end.min(end));
                    if from < to {
                        slices.push(batch.slice((from - start) as usize..(to - start) as usize));
                    }
                    start = end;
                }
            }
        }
        slices
    }

    /// A take was rolled back: its events are the next to be taken again.
    pub(super) fn untake(&mut self, ranges: &[Range<u64>]) {
        for range in ranges {
            self.ready.insert(range.clone());
        }
    }

    /// A take has become durable. Answers how many events of capacity that freed.
    pub(super) fn commit_take(&mut self, ranges: &[Range<u64>]) -> u64 {
        let before = self.events;
        for range in ranges {
            let first = self
                .live
                .partition_point(|entry| entry.range().end <= range.start);
            for entry in self
                .live
                .range_mut(first..)
                .take_while(|entry| entry.at.event < range.end)
            {
                let own = entry.range();
                entry.remaining -= range.end.min(own.end) - range.start.max(own.start);
                if entry.remaining == 0 {
                    self.events -= u64::from(entry.events);
                    self.resident -= entry.bytes;
                    entry.batches = Vec::new();
                }
            }
            self.taken.insert(range.clone());
            self.stored -= range.end - range.start;
        }
        while let Some(entry) = self.live.front()
            && entry.remaining == 0
        {
            self.taken.remove_below(entry.range().end);
            self.live.pop_front();
        }
        before - self.events
    }
}

/// What a record's batches count in memory.
fn size(batches: &[Batch]) -> u64 {
    ENTRY_BYTES
        + batches
            .iter()
            .map(|batch| batch.as_bytes().len() as u64 + 64)
            .sum::<u64>()
}

/// The additions that the mutant needs whose puts can be taken before they are logged.
#[cfg(test)]
impl Queue {
    /// A put whose place is not known yet.
    pub(super) fn publish_early(&mut self, event: u64, events: u32, batches: Vec<Batch>) {
        self.publish(
            Cursor {
                event,
                ..Cursor::START
            },
            events,
            batches,
        );
    }

    /// Its place has become known.
    pub(super) fn settle(&mut self, at: Cursor) {
        if let Some(entry) = self
            .live
            .iter_mut()
            .find(|entry| entry.at.event == at.event)
        {
            entry.at = at;
        }
    }
}
