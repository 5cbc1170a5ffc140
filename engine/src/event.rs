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
    fn get(&self) -> Vec<u8> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let buffer = free.buffers.pop().unwrap_or_default();
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
            .map(|pool| pool.get())
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

/// Fills one batch after the other.
///
/// The builder belongs to the thread that makes events; the buffers of its finished batches come
/// back to it when their last user is done with them, wherever that is.
pub struct BatchBuilder {
    bytes: Vec<u8>,
    /// End of each event, from the start of the event region.
    index: Vec<u32>,
    common: Vec<u8>,
    body_bytes: usize,
    pool: Arc<Pool>,
}

impl BatchBuilder {
    /// A builder with a pool of its own.
    #[must_use]
    pub fn new() -> Self {
        Self::with_pool(Arc::default())
    }

    fn with_pool(pool: Arc<Pool>) -> Self {
        let mut builder = Self {
            bytes: pool.get(),
            index: Vec::new(),
            common: Vec::new(),
            body_bytes: 0,
            pool,
        };
        builder.clear();
        builder
    }

    /// Number of events so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether no event was pushed yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Size of the batch as it would be now, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len() + 4 * self.index.len() + self.common.len()
    }

    /// Forgets all events and common headers.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.resize(PREFIX, 0);
        self.index.clear();
        self.common.clear();
        self.body_bytes = 0;
    }

    /// Adds an event. Of repeated keys the last one counts.
    ///
    /// # Errors
    /// [`TooLong`] if the batch would exceed [`MAX_BYTES`]; it then stays as it was.
    pub fn push<'h>(
        &mut self,
        headers: impl IntoIterator<Item = (&'h str, &'h str)>,
        body: &[u8],
    ) -> Result<(), TooLong> {
        let mut event = self.event();
        for (key, value) in headers {
            event.header(key, value);
        }
        event.body(body);
        event.end()
    }

    /// Begins an event that is written piece by piece; see [`EventWriter`].
    pub fn event(&mut self) -> EventWriter<'_> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        EventWriter {
            builder: self,
            start,
            headers: 0,
            body: None,
            too_long: false,
        }
    }

    /// Adds a header that all events of this batch share, unless they have their own.
    ///
    /// # Errors
    /// [`TooLong`] as for [`BatchBuilder::push`].
    pub fn common_header(&mut self, key: &str, value: &str) -> Result<(), TooLong> {
        if self
            .bytes()
            .saturating_add(8)
            .saturating_add(key.len())
            .saturating_add(value.len())
            > MAX_BYTES
        {
            return Err(TooLong);
        }
        let repeated = find(&self.common, key).is_some();
        write_header(&mut self.common, key, value);
        if repeated {
            drop_repeated(&mut self.common, 0);
        }
        Ok(())
    }

    /// Closes the batch; the builder is empty again and ready for the next.
    pub fn finish(&mut self) -> Batch {
        let index = self.bytes.len();
        let events = self.index.len();
        let needed = self.bytes();
        // A recycled buffer that is far too big would pin memory for as long as the batch waits in
        // a channel. Such a batch is small, so it is copied and the buffer stays here.
        let mut bytes = if self.bytes.capacity() > 2 * needed + 4096 {
            let mut tight = Vec::with_capacity(needed);
            tight.extend_from_slice(&self.bytes);
            tight
        } else {
            std::mem::replace(&mut self.bytes, self.pool.get())
        };
        bytes.reserve_exact(needed - bytes.len());
        for end in &self.index {
            bytes.extend_from_slice(&end.to_le_bytes());
        }
        let common = bytes.len();
        bytes.extend_from_slice(&self.common);
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&word(events));
        bytes[8..12].copy_from_slice(&word(index - PREFIX));
        bytes[12..16].copy_from_slice(&word(self.common.len()));
        let pool = Some(Arc::clone(&self.pool));
        let store = Store {
            bytes,
            events,
            index,
            common,
            body_bytes: self.body_bytes,
            pool,
        };
        self.clear();
        Batch {
            store: Arc::new(store),
        }
    }
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for BatchBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchBuilder")
            .field("events", &self.len())
            .field("bytes", &self.bytes())
            .finish()
    }
}

/// An event being written: headers first, then the body in any number of pieces, then
/// [`EventWriter::end`]. Dropped without `end`, it leaves no trace, so a decoder may stop half-way.
pub struct EventWriter<'b> {
    builder: &'b mut BatchBuilder,
    start: usize,
    headers: usize,
    /// Where the body starts, once it has.
    body: Option<usize>,
    too_long: bool,
}

impl EventWriter<'_> {
    /// Adds a header. Ignored once the body has begun, where it could not be stored any more.
    pub fn header(&mut self, key: &str, value: &str) {
        debug_assert!(self.body.is_none(), "headers come before the body");
        if self.body.is_some()
            || self.overflows(8usize.saturating_add(key.len()).saturating_add(value.len()))
        {
            return;
        }
        write_header(&mut self.builder.bytes, key, value);
        self.headers += 1;
    }

    /// Appends to the body.
    pub fn body(&mut self, piece: &[u8]) {
        self.begin_body();
        if !self.overflows(piece.len()) {
            self.builder.bytes.extend_from_slice(piece);
        }
    }

    /// Makes the event part of the batch.
    ///
    /// # Errors
    /// [`TooLong`] if it does not fit; the batch then stays as it was before this event.
    pub fn end(mut self) -> Result<(), TooLong> {
        let body = self.begin_body();
        // 4 more for the index entry.
        if self.overflows(4) {
            return Err(TooLong);
        }
        let end = self.builder.bytes.len();
        self.builder.body_bytes += end - body;
        self.builder.index.push((end - PREFIX) as u32);
        self.start = end;
        Ok(())
    }

    /// Closes the headers and answers where the body starts.
    fn begin_body(&mut self) -> usize {
        if let Some(body) = self.body {
            return body;
        }
        let first = self.start + 4;
        let bytes = &mut self.builder.bytes;
        if self.headers > 1 {
            drop_repeated(bytes, first);
        }
        let size = bytes.len() - first;
        bytes[self.start..first].copy_from_slice(&word(size));
        self.body = Some(bytes.len());
        bytes.len()
    }

    fn overflows(&mut self, more: usize) -> bool {
        self.too_long |= self.builder.bytes().saturating_add(more) > MAX_BYTES;
        self.too_long
    }
}

impl Drop for EventWriter<'_> {
    fn drop(&mut self) {
        self.builder.bytes.truncate(self.start);
    }
}

impl fmt::Debug for EventWriter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventWriter")
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}

/// `size` as the four bytes of the format. Sizes are below [`MAX_BYTES`] by construction.
fn word(size: usize) -> [u8; 4] {
    (size as u32).to_le_bytes()
}

/// The number at offset `at`; the caller knows that it is there.
fn number(bytes: &[u8], at: usize) -> usize {
    number_at(bytes, at).unwrap_or_default()
}

fn number_at(bytes: &[u8], at: usize) -> Option<usize> {
    let word = bytes.get(at..at.checked_add(4)?)?.first_chunk()?;
    Some(u32::from_le_bytes(*word) as usize)
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

fn write_header(bytes: &mut Vec<u8>, key: &str, value: &str) {
    bytes.reserve(8 + key.len() + value.len());
    bytes.extend_from_slice(&word(key.len()));
    bytes.extend_from_slice(&word(value.len()));
    bytes.extend_from_slice(key.as_bytes());
    bytes.extend_from_slice(value.as_bytes());
}

/// Key and value of the first of packed headers, and the rest.
fn split_header(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (key, value) = (number_at(bytes, 0)?, number_at(bytes, 4)?);
    let (key, rest) = bytes[8..].split_at_checked(key)?;
    let (value, rest) = rest.split_at_checked(value)?;
    Some((key, value, rest))
}

/// The value of the header of that key; of the first, where foreign bytes repeat a key.
fn find<'a>(mut bytes: &'a [u8], key: &str) -> Option<&'a str> {
    while let Some((name, value, rest)) = split_header(bytes) {
        if name == key.as_bytes() {
            return Some(text(value));
        }
        bytes = rest;
    }
    None
}

/// Removes all but the last header of each key from the headers that start at `first`.
fn drop_repeated(bytes: &mut Vec<u8>, first: usize) {
    let packed = &bytes[first..];
    let mut seen: Vec<(&[u8], usize)> = Vec::new();
    let mut rest = packed;
    let mut count = 0;
    // The few headers of an ordinary event are compared pairwise, without allocating.
    let mut repeated = false;
    while let Some((key, _, after)) = split_header(rest) {
        if count < 16 && !repeated {
            let mut other = packed;
            while other.len() > rest.len() {
                let Some((name, _, next)) = split_header(other) else {
                    break;
                };
                repeated |= name == key;
                other = next;
            }
        }
        count += 1;
        rest = after;
    }
    if !repeated && count <= 16 {
        return;
    }
    // Many headers, or a repetition: sort by key and keep the last of each, in the old order.
    let mut rest = packed;
    while let Some((key, _, after)) = split_header(rest) {
        seen.push((key, packed.len() - rest.len()));
        rest = after;
    }
    seen.sort_unstable();
    let mut kept: Vec<usize> = Vec::with_capacity(seen.len());
    for (position, (key, at)) in seen.iter().enumerate() {
        if seen.get(position + 1).is_none_or(|(next, _)| next != key) {
            kept.push(*at);
        }
    }
    kept.sort_unstable();
    let mut clean = Vec::with_capacity(packed.len());
    for at in kept {
        if let Some((_, _, after)) = split_header(&packed[at..]) {
            clean.extend_from_slice(&packed[at..packed.len() - after.len()]);
        }
    }
    bytes.truncate(first);
    bytes.extend_from_slice(&clean);
}

/// Checks that `bytes` are one batch; answers the sum of the bodies' sizes.
fn check(bytes: &[u8]) -> Result<usize, Malformed> {
    let wrong = |what, at| Err(Malformed { what, at });
    if bytes.len() < PREFIX || bytes.len() > MAX_BYTES {
        return wrong("its length is impossible", 0);
    }
    if bytes[..4] != MAGIC {
        return wrong("it does not begin with FBB1", 0);
    }
    let (events, region, common) = (number(bytes, 4), number(bytes, 8), number(bytes, 12));
    // In u64, where three u32 cannot overflow.
    let sum = PREFIX as u64 + region as u64 + 4 * events as u64 + common as u64;
    if sum != bytes.len() as u64 {
        return wrong("its parts do not add up to its length", 4);
    }
    let index = PREFIX + region;
    let mut start = 0;
    let mut body_bytes = 0;
    for position in 0..events {
        let end = number(bytes, index + 4 * position);
        if end > region || end < start || end - start < 4 {
            return wrong(
                "an event ends before it begins, or too late",
                index + 4 * position,
            );
        }
        let event = &bytes[PREFIX + start..PREFIX + end];
        let Some(headers) = event.get(4..4 + number(event, 0)) else {
            return wrong(
                "the headers of an event are longer than the event",
                PREFIX + start,
            );
        };
        check_headers(headers, PREFIX + start + 4)?;
        body_bytes += event.len() - 4 - headers.len();
        start = end;
    }
    if start != region {
        return wrong("bytes that belong to no event", PREFIX + start);
    }
    check_headers(&bytes[index + 4 * events..], index + 4 * events)?;
    Ok(body_bytes)
}

fn check_headers(headers: &[u8], at: usize) -> Result<(), Malformed> {
    let mut rest = headers;
    while !rest.is_empty() {
        let at = at + headers.len() - rest.len();
        let Some((key, value, after)) = split_header(rest) else {
            return Err(Malformed {
                what: "a header is longer than the headers",
                at,
            });
        };
        if std::str::from_utf8(key).is_err() || std::str::from_utf8(value).is_err() {
            return Err(Malformed {
                what: "a header is not UTF-8",
                at,
            });
        }
        rest = after;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
