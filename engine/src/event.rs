//! Events and batches: what moves through the agent.
//!
//! An [`Event`] is a set of headers (text → text) and a body (bytes). Events never travel alone: a
//! [`Batch`] holds any number of them in *one* buffer, immutable and shared, so that an event costs
//! neither a map nor an allocation on its way from a source to a sink. A [`Slice`] is a range of a
//! batch's events; it splits without copying, which is how one put can serve many takes.
//!
//! # Layout
//!
//! The buffer is also the payload of a log record of the file channel, so the layout is a format.
//! All integers are little-endian `u32`; nothing is aligned.
//!
//! | offset | size | content |
//! |---|---|---|
//! | 0 | 4 | `FBB1` |
//! | 4 | 4 | `n`, the number of events |
//! | 8 | 4 | `e`, the size of the event region |
//! | 12 | 4 | `c`, the size of the common headers |
//! | 16 | `e` | the events, one after the other |
//! | 16 + `e` | 4 `n` | index: where each event *ends*, counted from offset 16; the last entry equals `e` |
//! | 16 + `e` + 4 `n` | `c` | headers common to all events |
//!
//! An event is `h` (4 bytes, the size of its headers), `h` bytes of headers, and the body up to its
//! end. Headers are a sequence of: size of the key, size of the value (4 bytes each), key, value;
//! both are UTF-8. An event's own header hides the common one of the same key; the builder writes a
//! key once per event, and of repeated keys in foreign bytes the first one counts.
//!
//! Index and common headers stand *behind* the events because both are known last: the index when
//! the builder is done, a common header when an interceptor adds it, which then is an append.
//!
//! # Limits and errors
//!
//! A buffer is at most [`MAX_BYTES`] long; the builder refuses the event that would exceed it and
//! keeps the others. [`Batch::from_bytes`] checks all of the above and answers [`Malformed`] for
//! anything else; after that check reading cannot fail.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use thiserror::Error;

mod builder;
mod packed;

pub use builder::{BatchBuilder, EventWriter};
use packed::{check, find, number, split_header, text, word, write_header};

/// Longest buffer of a batch, in bytes: 1 GiB. Well under `u32`, so offsets never overflow.
pub const MAX_BYTES: usize = 1 << 30;

const MAGIC: [u8; 4] = *b"FBB1";
/// Bytes before the first event.
const PREFIX: usize = 16;

/// Buffers a pool keeps at most, and their capacity in bytes taken together. Small on purpose: an
/// idle agent must stay small, and a pool only has to bridge the batches that are in flight.
const POOL_BUFFERS: usize = 64;
const POOL_BYTES: usize = 4 << 20;

/// The event does not fit into the batch any more; the batch is as it was before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "the event would make its batch longer than {MAX_BYTES} bytes; finish the batch first, or refuse the event"
)]
pub struct TooLong;

/// Bytes that are no batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a batch: {what} (at byte {at})")]
pub struct Malformed {
    /// What is wrong.
    pub what: &'static str,
    /// Offset in the buffer at which it was noticed.
    pub at: usize,
}

/// Where finished buffers wait until the thread that fills them needs one.
///
/// A buffer freed on another core than it was allocated on costs far more than the copy it holds;
/// handed back, it costs one short lock per *batch*.
#[derive(Default)]
struct Pool {
    free: Mutex<Free>,
}

#[derive(Default)]
struct Free {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

impl Pool {
    /// A buffer: one that was handed back, or else a new one of that capacity, because a buffer that
    /// grows to it step by step is copied as often.
    fn get(&self, capacity: usize) -> Vec<u8> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(buffer) = free.buffers.pop() else {
            drop(free);
            return Vec::with_capacity(capacity);
        };
        free.bytes -= buffer.capacity();
        buffer
    }

    fn put(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.buffers.len() < POOL_BUFFERS && free.bytes + buffer.capacity() <= POOL_BYTES {
            free.bytes += buffer.capacity();
            free.buffers.push(buffer);
        }
    }
}

/// The shared part of a batch.
struct Store {
    bytes: Vec<u8>,
    events: usize,
    /// Offset of the index.
    index: usize,
    /// Offset of the common headers; they reach to the end of the buffer.
    common: usize,
    /// Sum of the bodies' sizes.
    body_bytes: usize,
    pool: Option<Arc<Pool>>,
}

impl Clone for Store {
    fn clone(&self) -> Self {
        let mut bytes = self
            .pool
            .as_ref()
            .map(|pool| pool.get(self.bytes.len()))
            .unwrap_or_default();
        bytes.extend_from_slice(&self.bytes);
        Self {
            bytes,
            pool: self.pool.clone(),
            ..*self
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some(pool) = &self.pool {
            pool.put(std::mem::take(&mut self.bytes));
        }
    }
}

/// An immutable sequence of events in one shared buffer. Cloning shares the buffer.
#[derive(Clone)]
pub struct Batch {
    store: Arc<Store>,
}

impl Batch {
    /// A batch without events.
    #[must_use]
    pub fn empty() -> Self {
        BatchBuilder::new().finish()
    }

    /// Number of events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.store.events
    }

    /// Whether there is no event in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.store.events == 0
    }

    /// Sum of the sizes of all bodies, in bytes.
    #[must_use]
    pub fn body_bytes(&self) -> usize {
        self.store.body_bytes
    }

    /// The event at `position`, counted from 0.
    #[must_use]
    pub fn event(&self, position: usize) -> Option<Event<'_>> {
        (position < self.len()).then(|| {
            self.event_between(self.end(position.checked_sub(1)), self.end(Some(position)))
        })
    }

    /// All events in order.
    #[must_use]
    pub fn iter(&self) -> Events<'_> {
        self.events(0..self.len())
    }

    /// The headers that all events share, unless an event has its own of the same key.
    #[must_use]
    pub fn common_headers(&self) -> Headers<'_> {
        Headers {
            rest: self.common(),
        }
    }

    /// All events as a slice.
    #[must_use]
    pub fn all(&self) -> Slice {
        Slice {
            batch: self.clone(),
            start: 0,
            end: self.len(),
        }
    }

    /// The events of `range`, cut to those there are.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Slice {
        let end = range.end.min(self.len());
        Slice {
            batch: self.clone(),
            start: range.start.min(end),
            end,
        }
    }

    /// The buffer, in the layout of the module's documentation.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.store.bytes
    }

    /// Takes over a buffer that was written by [`Batch::as_bytes`], after checking all of it.
    ///
    /// # Errors
    /// [`Malformed`] if the bytes are not exactly one batch.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, Malformed> {
        let body_bytes = check(&bytes)?;
        let events = number(&bytes, 4);
        let index = PREFIX + number(&bytes, 8);
        let store = Store {
            events,
            index,
            common: index + 4 * events,
            body_bytes,
            pool: None,
            bytes,
        };
        Ok(Self {
            store: Arc::new(store),
        })
    }

    /// Gives all events the header `key` = `value`.
    ///
    /// With `preserve_existing`, events that have a header of that key keep it. The value is stored
    /// once. Nothing is copied unless the batch is shared, or events lose headers of their own.
    ///
    /// # Errors
    /// [`TooLong`] if the header does not fit; the batch is then unchanged.
    pub fn set_common_header(
        &mut self,
        key: &str,
        value: &str,
        preserve_existing: bool,
    ) -> Result<(), TooLong> {
        let exists = find(self.common(), key).is_some();
        if exists && preserve_existing {
            return Ok(());
        }
        let size = 8 + key.len() + value.len();
        if size > MAX_BYTES || self.store.bytes.len() + size > MAX_BYTES {
            return Err(TooLong);
        }
        if !preserve_existing && self.iter().any(|event| find(event.own, key).is_some()) {
            self.edit(|event, out| {
                out.push(
                    event.own_headers().filter(|(name, _)| *name != key),
                    event.body(),
                )
            })?;
        }
        let mut common = Vec::new();
        if exists {
            for (name, old) in self.common_headers().filter(|(name, _)| *name != key) {
                write_header(&mut common, name, old);
            }
        }
        let store = Arc::make_mut(&mut self.store);
        if exists {
            store.bytes.truncate(store.common);
            store.bytes.extend_from_slice(&common);
        }
        write_header(&mut store.bytes, key, value);
        let size = store.bytes.len() - store.common;
        store.bytes[12..16].copy_from_slice(&word(size));
        Ok(())
    }

    /// Replaces the events by those that `rewrite` pushes: none, one or several for each, in order.
    /// The common headers stay; `rewrite` therefore passes [`Event::own_headers`] on, not all.
    ///
    /// # Errors
    /// What `rewrite` answers; the batch is then unchanged.
    pub fn edit<E: From<TooLong>>(
        &mut self,
        mut rewrite: impl FnMut(Event<'_>, &mut BatchBuilder) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut builder = BatchBuilder::with_pool(self.store.pool.clone().unwrap_or_default());
        for (key, value) in self.common_headers() {
            builder.common_header(key, value)?;
        }
        for event in &*self {
            rewrite(event, &mut builder)?;
        }
        *self = builder.finish();
        Ok(())
    }

    fn common(&self) -> &[u8] {
        &self.store.bytes[self.store.common..]
    }

    /// Where the event at `position` ends, from the start of the event region; 0 for none.
    fn end(&self, position: Option<usize>) -> usize {
        position.map_or(0, |position| {
            number(&self.store.bytes, self.store.index + 4 * position)
        })
    }

    fn event_between(&self, start: usize, end: usize) -> Event<'_> {
        let bytes = &self.store.bytes[PREFIX + start..PREFIX + end];
        let (own, body) = bytes[4..].split_at(number(bytes, 0));
        Event {
            own,
            common: self.common(),
            body,
        }
    }

    fn events(&self, range: Range<usize>) -> Events<'_> {
        Events {
            batch: self,
            at: self.end(range.start.checked_sub(1)),
            range,
        }
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Bodies are people's data: they have no place in a log.
        f.debug_struct("Batch")
            .field("events", &self.len())
            .field("bytes", &self.store.bytes.len())
            .finish()
    }
}

impl PartialEq for Batch {
    /// Equal in content, not in layout: same events, each with the same headers in any order.
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().zip(other.iter()).all(|(one, two)| one == two)
    }
}

impl<'a> IntoIterator for &'a Batch {
    type Item = Event<'a>;
    type IntoIter = Events<'a>;

    fn into_iter(self) -> Events<'a> {
        self.iter()
    }
}

/// A range of the events of a batch: an entry of a channel, and what a take holds.
#[derive(Clone)]
pub struct Slice {
    batch: Batch,
    start: usize,
    end: usize,
}

impl Slice {
    /// Number of events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether there is no event in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The whole batch this is a part of.
    #[must_use]
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// Which events of the batch, counted from 0.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.start..self.end
    }

    /// The event at `position`, counted from the start of the slice.
    #[must_use]
    pub fn event(&self, position: usize) -> Option<Event<'_>> {
        if position < self.len() {
            self.batch.event(self.start + position)
        } else {
            None
        }
    }

    /// The events in order.
    #[must_use]
    pub fn iter(&self) -> Events<'_> {
        self.batch.events(self.range())
    }

    /// Sum of the sizes of the bodies, in bytes. Costs a walk unless the slice is the whole batch.
    #[must_use]
    pub fn body_bytes(&self) -> usize {
        if self.len() == self.batch.len() {
            return self.batch.body_bytes();
        }
        self.iter().map(|event| event.body().len()).sum()
    }

    /// Cuts off and answers the first `count` events (all, if there are fewer).
    pub fn split_front(&mut self, count: usize) -> Slice {
        let middle = self.start + count.min(self.len());
        let front = Slice {
            batch: self.batch.clone(),
            start: self.start,
            end: middle,
        };
        self.start = middle;
        front
    }

    /// Puts the events of `front` back before these, if they are their direct predecessors in the
    /// same batch; answers `front` otherwise.
    pub fn join_front(&mut self, front: Slice) -> Option<Slice> {
        if Arc::ptr_eq(&self.batch.store, &front.batch.store) && front.end == self.start {
            self.start = front.start;
            return None;
        }
        Some(front)
    }
}

impl fmt::Debug for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slice")
            .field("batch", &self.batch)
            .field("range", &self.range())
            .finish()
    }
}

impl From<Batch> for Slice {
    fn from(batch: Batch) -> Self {
        let end = batch.len();
        Self {
            batch,
            start: 0,
            end,
        }
    }
}

impl<'a> IntoIterator for &'a Slice {
    type Item = Event<'a>;
    type IntoIter = Events<'a>;

    fn into_iter(self) -> Events<'a> {
        self.iter()
    }
}

/// Iterator over the events of a batch or slice.
#[derive(Clone)]
pub struct Events<'a> {
    batch: &'a Batch,
    /// Where the next event starts in the event region.
    at: usize,
    range: Range<usize>,
}

impl<'a> Iterator for Events<'a> {
    type Item = Event<'a>;

    fn next(&mut self) -> Option<Event<'a>> {
        let end = self.batch.end(Some(self.range.next()?));
        let event = self.batch.event_between(self.at, end);
        self.at = end;
        Some(event)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.range.size_hint()
    }
}

impl ExactSizeIterator for Events<'_> {}

impl fmt::Debug for Events<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events")
            .field("range", &self.range)
            .finish()
    }
}

/// A look at one event inside its batch.
#[derive(Clone, Copy)]
pub struct Event<'a> {
    own: &'a [u8],
    common: &'a [u8],
    body: &'a [u8],
}

impl<'a> Event<'a> {
    /// The body.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// The value of a header: the event's own, else the common one.
    #[must_use]
    pub fn header(&self, key: &str) -> Option<&'a str> {
        find(self.own, key).or_else(|| find(self.common, key))
    }

    /// All headers: the event's own, then those common ones it does not hide.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let own = self.own;
        self.own_headers().chain(
            Headers { rest: self.common }
                .filter(move |(key, _)| own.is_empty() || find(own, key).is_none()),
        )
    }

    /// The headers that belong to this event alone.
    #[must_use]
    pub fn own_headers(&self) -> Headers<'a> {
        Headers { rest: self.own }
    }
}

impl PartialEq for Event<'_> {
    fn eq(&self, other: &Self) -> bool {
        let (mut one, mut two): (Vec<_>, Vec<_>) =
            (self.headers().collect(), other.headers().collect());
        one.sort_unstable();
        two.sort_unstable();
        self.body == other.body && one == two
    }
}

impl fmt::Debug for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("headers", &self.headers().count())
            .field("body_bytes", &self.body.len())
            .finish()
    }
}

/// Iterator over packed headers, as (key, value).
#[derive(Debug, Clone)]
pub struct Headers<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<(&'a str, &'a str)> {
        let (key, value, rest) = split_header(self.rest)?;
        self.rest = rest;
        // Checked when the batch was made; empty text stands for what cannot occur.
        Some((text(key), text(value)))
    }
}

#[cfg(test)]
mod tests;
