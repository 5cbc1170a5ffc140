//! Avro's binary encoding, as far as Flume's protocol uses it, and the events encoded in it.
//!
//! Format: Avro 1.11 specification, "Binary Encoding". `int` and `long` are zig-zag variable-length
//! numbers, `string` and `bytes` a length and the bytes, a map or an array a sequence of blocks: a
//! count, the items, and a block of count 0 at the end; a negative count is followed by the block's
//! size in bytes, which a reader may use to skip it.
//!
//! [`Reader`] borrows from the frame: decoding an event allocates nothing. A hostile count costs
//! nothing either, because every item takes at least one byte, and a count beyond the bytes that
//! are left is refused at once.

use super::Malformed;

/// A cursor over the bytes of one message.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte of `message`.
    pub fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// Bytes not read yet.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Reads a zig-zag number of at most 64 bits.
    pub fn long(&mut self) -> Result<i64, Malformed> {
        let mut value = 0_u64;
        for (index, &byte) in self.rest.iter().enumerate() {
            // The tenth byte holds the one bit that is left of 64.
            if index == 9 && byte > 1 {
                return Err(Malformed::Number);
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[index + 1..];
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        Err(Malformed::Truncated { what: "a number" })
    }

    /// Reads exactly `len` bytes.
    pub fn fixed(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], Malformed> {
        let (head, tail) = self
            .rest
            .split_at_checked(len)
            .ok_or(Malformed::Truncated { what })?;
        self.rest = tail;
        Ok(head)
    }

    /// Reads `bytes`, or a `string` without looking at its characters.
    pub fn bytes(&mut self, what: &'static str) -> Result<&'a [u8], Malformed> {
        let claimed = self.long()?;
        let len = usize::try_from(claimed)
            .ok()
            .filter(|&len| len <= self.rest.len())
            .ok_or(Malformed::Length {
                what,
                claimed,
                left: self.rest.len(),
            })?;
        self.fixed(len, what)
    }

    /// Reads a `string`.
    pub fn string(&mut self, what: &'static str) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes(what)?).map_err(|_| Malformed::Utf8 { what })
    }

    /// Reads a boolean.
    pub fn boolean(&mut self) -> Result<bool, Malformed> {
        match self.fixed(1, "a boolean")?[0] {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(Malformed::Boolean(other)),
        }
    }

    /// Reads the branch of a union of `null` and something: true if something follows.
    pub fn optional(&mut self, what: &'static str) -> Result<bool, Malformed> {
        match self.long()? {
            0 => Ok(false),
            1 => Ok(true),
            index => Err(Malformed::Union { what, index }),
        }
    }

    /// Reads the head of the next block of a map or an array: its number of items, 0 at the end.
    pub fn block(&mut self, what: &'static str) -> Result<usize, Malformed> {
        let claimed = self.long()?;
        if claimed < 0 {
            // The block's size is of no use to a reader that skips nothing.
            self.long()?;
        }
        usize::try_from(claimed.unsigned_abs())
            .ok()
            .filter(|&count| count <= self.rest.len())
            .ok_or(Malformed::Length {
                what,
                claimed,
                left: self.rest.len(),
            })
    }

    /// Walks over a map of strings or bytes, giving each entry to `visit`.
    pub fn map(
        &mut self,
        what: &'static str,
        mut visit: impl FnMut(&'a [u8], &'a [u8]),
    ) -> Result<(), Malformed> {
        loop {
            let count = self.block(what)?;
            if count == 0 {
                return Ok(());
            }
            for _ in 0..count {
                visit(self.bytes("a map's key")?, self.bytes("a map's value")?);
            }
        }
    }

    /// Reads one `AvroFlumeEvent`.
    pub fn event(&mut self) -> Result<WireEvent<'a>, Malformed> {
        let headers = *self;
        let mut count = 0;
        let mut utf8 = true;
        // Checking once here lets `WireEvent::headers` hand out text without a way to fail. Flume
        // writes plain ASCII nearly always, for which this check is a few nanoseconds.
        self.map("headers", |key, value| {
            count += 1;
            utf8 &= std::str::from_utf8(key).is_ok() && std::str::from_utf8(value).is_ok();
        })?;
        if !utf8 {
            return Err(Malformed::Utf8 { what: "a header" });
        }
        Ok(WireEvent {
            headers,
            count,
            body: self.bytes("an event's body")?,
        })
    }

    /// Fails unless every byte was read.
    ///
    /// Left-over bytes mean that sender and reader disagree about the schema; an OK would then
    /// vouch for events that were misread.
    pub fn finish(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Malformed::Trailing(self.rest.len()))
        }
    }
}

/// One event, still lying in the frame.
#[derive(Debug, Clone, Copy)]
pub struct WireEvent<'a> {
    headers: Reader<'a>,
    count: usize,
    body: &'a [u8],
}

impl<'a> WireEvent<'a> {
    /// The event's payload.
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// Number of header entries.
    pub fn header_count(&self) -> usize {
        self.count
    }

    /// Header names and values in the order sent. A name can occur twice; the last one counts.
    pub fn headers(&self) -> Headers<'a> {
        Headers {
            reader: self.headers,
            left_in_block: 0,
            done: false,
        }
    }
}

/// Iterator over the headers of a [`WireEvent`].
#[derive(Debug, Clone)]
pub struct Headers<'a> {
    reader: Reader<'a>,
    left_in_block: usize,
    done: bool,
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        if self.left_in_block == 0 {
            self.left_in_block = self.reader.block("headers").unwrap_or(0);
            if self.left_in_block == 0 {
                self.done = true;
                return None;
            }
        }
        self.left_in_block -= 1;
        // `Reader::event` has walked over these bytes before, so neither read can fail.
        let name = self.reader.string("a header").ok()?;
        let value = self.reader.string("a header").ok()?;
        Some((name, value))
    }
}

/// Appends a zig-zag number to `out`.
pub fn put_long(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Appends a length as Avro writes it.
pub fn put_len(out: &mut Vec<u8>, len: usize) {
    // A slice is never longer than isize::MAX.
    put_long(out, len as i64);
}

/// Appends `bytes`, or a `string`.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_len(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Appends one `AvroFlumeEvent`. `headers` is asked twice, because a map begins with its number of
/// entries.
pub fn put_event<'h, I>(out: &mut Vec<u8>, headers: impl Fn() -> I, body: &[u8])
where
    I: Iterator<Item = (&'h str, &'h str)>,
{
    let count = headers().count();
    if count > 0 {
        put_len(out, count);
        for (name, value) in headers() {
            put_bytes(out, name.as_bytes());
            put_bytes(out, value.as_bytes());
        }
    }
    put_len(out, 0);
    put_bytes(out, body);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn events_are_written_as_flume_writes_them() {
        let mut out = Vec::new();
        put_event(&mut out, std::iter::empty, b"tttt");
        assert_eq!(out, [0x00, 0x08, 0x74, 0x74, 0x74, 0x74]);
        out.clear();
        put_event(&mut out, || [("k", "v")].into_iter(), b"hi");
        assert_eq!(out, [0x02, 0x02, 0x6b, 0x02, 0x76, 0x00, 0x04, 0x68, 0x69]);
    }

    #[test]
    fn a_map_in_sized_blocks_is_read() {
        // Two blocks, the first with a negative count and its size in bytes.
        let bytes = [
            0x01, 0x08, 0x02, b'a', 0x02, b'b', 0x02, 0x02, b'c', 0x02, b'd', 0x00, 0x02, b'x',
        ];
        let event = Reader::new(&bytes).event().unwrap();
        assert_eq!(
            event.headers().collect::<Vec<_>>(),
            [("a", "b"), ("c", "d")]
        );
        assert_eq!((event.body(), event.header_count()), (&b"x"[..], 2));
    }

    #[test]
    fn hostile_lengths_are_refused() {
        let mut huge = Vec::new();
        put_long(&mut huge, i64::MAX);
        assert!(matches!(
            Reader::new(&huge).bytes("x"),
            Err(Malformed::Length { .. })
        ));
        let mut least = Vec::new();
        put_long(&mut least, i64::MIN);
        least.push(0);
        assert!(matches!(
            Reader::new(&least).block("x"),
            Err(Malformed::Length { .. })
        ));
        assert!(matches!(
            Reader::new(&[0xff; 11]).long(),
            Err(Malformed::Number)
        ));
        assert!(matches!(
            Reader::new(&[0x80]).long(),
            Err(Malformed::Truncated { .. })
        ));
        assert!(matches!(
            Reader::new(&[2, 2, 0xff, 2, 0x61, 0, 0]).event(),
            Err(Malformed::Utf8 { .. })
        ));
    }

    proptest! {
        #[test]
        fn numbers_come_back(value: i64) {
            let mut out = Vec::new();
            put_long(&mut out, value);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.long().unwrap(), value);
            reader.finish().unwrap();
        }

        #[test]
        fn events_come_back(headers in proptest::collection::vec((".{0,8}", ".{0,8}"), 0..5), body: Vec<u8>) {
            let mut out = Vec::new();
            put_event(&mut out, || headers.iter().map(|(k, v)| (k.as_str(), v.as_str())), &body);
            let mut reader = Reader::new(&out);
            let event = reader.event().unwrap();
            let back: Vec<_> = event.headers().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
            prop_assert_eq!(back, headers);
            prop_assert_eq!(event.body(), &body[..]);
            reader.finish().unwrap();
        }

        #[test]
        fn garbage_gives_an_error_or_an_event(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            while let Ok(event) = reader.event() {
                prop_assert_eq!(event.headers().count(), event.header_count());
            }
        }
    }
}
