//! Making batches: [`BatchBuilder`] and [`EventWriter`].

use std::fmt;
use std::sync::Arc;

use super::packed::{drop_repeated, find, word, write_header};
use super::{Batch, MAGIC, MAX_BYTES, PREFIX, Pool, Store, TooLong};

/// Up to so many headers of an event are compared with each other before they are written.
const FEW_HEADERS: usize = 8;

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

    pub(super) fn with_pool(pool: Arc<Pool>) -> Self {
        let mut builder = Self {
            bytes: pool.get(0),
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
    #[inline]
    pub fn push<'h>(
        &mut self,
        headers: impl IntoIterator<Item = (&'h str, &'h str)>,
        body: &[u8],
    ) -> Result<(), TooLong> {
        // Ordinary events have few headers, all different: their size is known before anything is
        // written, so there is one check and nothing to take back.
        let mut few = [("", ""); FEW_HEADERS];
        let (mut count, mut size) = (0, 0);
        let mut headers = headers.into_iter();
        for (key, value) in headers.by_ref() {
            let ordinary =
                count < FEW_HEADERS && few[..count].iter().all(|(other, _)| *other != key);
            if !ordinary {
                return self.push_any(&few[..count], (key, value), headers, body);
            }
            few[count] = (key, value);
            count += 1;
            size += 8 + key.len() + value.len();
        }
        // 4 bytes for the size of the headers, 4 for the index.
        let more = (8 + size).saturating_add(body.len());
        if self.bytes().saturating_add(more) > MAX_BYTES {
            return Err(TooLong);
        }
        let bytes = &mut self.bytes;
        bytes.reserve(more);
        bytes.extend_from_slice(&word(size));
        for (key, value) in &few[..count] {
            bytes.extend_from_slice(&word(key.len()));
            bytes.extend_from_slice(&word(value.len()));
            bytes.extend_from_slice(key.as_bytes());
            bytes.extend_from_slice(value.as_bytes());
        }
        bytes.extend_from_slice(body);
        self.body_bytes += body.len();
        self.index.push((self.bytes.len() - PREFIX) as u32);
        Ok(())
    }

    /// [`BatchBuilder::push`] for many headers, or for repeated ones.
    #[cold]
    fn push_any<'h>(
        &mut self,
        first: &[(&'h str, &'h str)],
        next: (&'h str, &'h str),
        rest: impl Iterator<Item = (&'h str, &'h str)>,
        body: &[u8],
    ) -> Result<(), TooLong> {
        let mut event = self.event();
        for (key, value) in first.iter().copied().chain([next]).chain(rest) {
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
            std::mem::replace(&mut self.bytes, self.pool.get(needed))
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
