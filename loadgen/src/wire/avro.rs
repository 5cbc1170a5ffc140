//! The client's side of Flume's Avro RPC, as Flume 1.11's Avro source serves it.
//!
//! Settings: deflate (Flume's `compression-type = deflate`), off by default; both peers must agree.
//!
//! A frame, in both directions, big-endian: serial u32, count u32, then `count` buffers, each a
//! length u32 and its bytes. The buffers are one byte string; where it is cut means nothing, but
//! this encoder cuts where Flume's own client does, so that the two can be compared byte by byte.
//!
//! | request | bytes |
//! |---|---|
//! | handshake, until the connection is established | client hash (16), union client protocol, server hash (16), union meta |
//! | metadata | a map, empty: `00` |
//! | message | its name, a string |
//! | second buffer | one event (`append`) or an array of events (`appendBatch`) |
//!
//! An event is a map of header strings and a byte string; integers are zig-zag varints; arrays and
//! maps are blocks of a count and that many items, ended by a count of 0.
//!
//! | reply | bytes |
//! |---|---|
//! | handshake, if the request had one | match (0 both, 1 client, 2 none), union protocol, union hash, union meta |
//! | metadata | a map, in practice empty |
//! | error flag | `00`, then the status (0 OK, 1 FAILED, 2 UNKNOWN); or `01`, then a union with the message |
//!
//! A reply carries the serial of its request. A server that does not know our hash answers "none"
//! and runs nothing: [`Outcome::Again`], after which the call is made once more with the whole
//! protocol in it. Under deflate each direction is one zlib stream for the life of the connection,
//! flushed after every write, with the frames inside.
//!
//! Sources: the Avro specification 1.11 (protocol wire format), and recordings of Flume's Java
//! client against Flume's Avro source, kept in the tests.
//!
//! Fails: a reply that is no Avro, that is too large, or that answers another call is an
//! [`AvroError`]; the connection is then of no more use. Memory is bounded by [`MAX_REPLY`].

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use thiserror::Error;

/// The most bytes one reply may have, frame included. Flume's longest are error texts.
pub const MAX_REPLY: usize = 1 << 20;

/// The most buffers a reply may be cut into.
const MAX_BUFFERS: u32 = 4096;

/// The hash of the protocol text that Flume 1.11 was built with. Its sources know it, so that the
/// short handshake, without the text, is enough.
const FLUME_HASH: [u8; 16] = [
    0x86, 0xaa, 0xda, 0xe2, 0xc4, 0x54, 0x74, 0xc0, 0xfe, 0x93, 0xff, 0xd0, 0xf2, 0x35, 0x0a, 0x65,
];

/// The hash (MD5) of [`PROTOCOL`].
const PROTOCOL_HASH: [u8; 16] = [
    0x30, 0xda, 0x54, 0x05, 0x9d, 0xf7, 0x2d, 0x95, 0x84, 0xb8, 0x67, 0xd5, 0x20, 0x2e, 0x20, 0x69,
];

/// The protocol in Avro's compact JSON, for servers that do not know [`FLUME_HASH`].
const PROTOCOL: &str = concat!(
    r#"{"protocol":"AvroSourceProtocol","namespace":"org.apache.flume.source.avro","types":["#,
    r#"{"type":"enum","name":"Status","symbols":["OK","FAILED","UNKNOWN"]},"#,
    r#"{"type":"record","name":"AvroFlumeEvent","fields":["#,
    r#"{"name":"headers","type":{"type":"map","values":"string"}},{"name":"body","type":"bytes"}]}],"#,
    r#""messages":{"append":{"request":[{"name":"event","type":"AvroFlumeEvent"}],"response":"Status"},"#,
    r#""appendBatch":{"request":[{"name":"events","type":{"type":"array","items":"AvroFlumeEvent"}}],"#,
    r#""response":"Status"}}}"#,
);

/// What a reply said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Status OK: the source has put the events into its channels.
    Ok,
    /// Status FAILED: it has not.
    Failed,
    /// Status UNKNOWN, which the protocol allows and Flume never sends.
    Unknown,
    /// The call ended in an error of the server; its text.
    Error(String),
    /// The server did not know the protocol and ran nothing: make the call again.
    Again,
}

/// Why bytes from the server are of no use. The connection has to be given up.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AvroError {
    /// A length or count beyond the limits.
    #[error(
        "failed to read an Avro reply: {what} is {value}, more than {limit}; is an Avro source (with the same compression-type) listening there?"
    )]
    TooLarge {
        /// Which figure.
        what: &'static str,
        /// What it was.
        value: u64,
        /// What is allowed.
        limit: u64,
    },
    /// The reply ends too early, or holds what it must not.
    #[error("failed to read an Avro reply: {0}; is the peer Flume's Avro source?")]
    Malformed(&'static str),
    /// The reply belongs to another call.
    #[error("failed to match an Avro reply: it answers call {got}, but call {expected} is open")]
    Serial {
        /// The serial of the open call.
        expected: u32,
        /// The serial of the reply.
        got: u32,
    },
    /// The compressed stream is broken.
    #[error(
        "failed to inflate an Avro reply: the zlib stream is broken; set compression-type = deflate on both sides or on neither"
    )]
    Inflate,
    /// Our own compressor failed, which it does only out of memory.
    #[error("failed to deflate an Avro request")]
    Deflate,
}

/// The state of one connection to an Avro source.
///
/// ```
/// use flume_bench_loadgen::wire::avro::{Connection, Outcome};
///
/// let mut connection = Connection::new(false);
/// let mut request = Vec::new();
/// connection.append_batch(&mut request, 2, |nth, out| out.push(b'a' + nth as u8));
/// let mut wire = Vec::new();
/// connection.seal(&request, &mut wire)?;
/// // … write `wire`, read what comes …
/// connection.feed(&[0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0])?;
/// assert_eq!(connection.reply()?, Some(Outcome::Ok));
/// # Ok::<(), flume_bench_loadgen::wire::avro::AvroError>(())
/// ```
#[derive(Debug)]
pub struct Connection {
    /// Serial of the last request; the first one is 1, as in Flume's client.
    serial: u32,
    handshake: Handshake,
    /// Whether the open request carried a handshake, so that its reply does too.
    open_handshake: bool,
    zip: Option<Box<(Compress, Decompress)>>,
    /// Decoded bytes not yet consumed by [`Connection::reply`].
    inbox: Vec<u8>,
}

/// How much handshake the next request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Handshake {
    /// The hash alone, in the hope that the server knows it.
    Short,
    /// The hash and the text.
    Long,
    /// None: the connection is established.
    Done,
}

impl Connection {
    /// The state of a connection on which nothing has been sent yet.
    pub fn new(deflate: bool) -> Connection {
        let zip = deflate.then(|| {
            Box::new((
                Compress::new(Compression::new(6), true),
                Decompress::new(true),
            ))
        });
        Connection {
            serial: 0,
            handshake: Handshake::Short,
            open_handshake: false,
            zip,
            inbox: Vec::new(),
        }
    }

    /// Puts the request `append` of one event at the end of `out`, as a plain frame.
    pub fn append(&mut self, out: &mut Vec<u8>, headers: &[(&str, &str)], body: &[u8]) {
        let second = self.open_frame(out, "append");
        push_event(out, headers, |out| out.extend_from_slice(body));
        close_buffer(out, second);
    }

    /// Puts the request `appendBatch` of `count` events without headers at the end of `out`, as a
    /// plain frame. `body` appends the bytes of the event whose place in the batch it is given.
    pub fn append_batch(
        &mut self,
        out: &mut Vec<u8>,
        count: u32,
        mut body: impl FnMut(u32, &mut Vec<u8>),
    ) {
        let second = self.open_frame(out, "appendBatch");
        if count > 0 {
            push_long(out, i64::from(count));
        }
        for nth in 0..count {
            push_event(out, &[], |out| body(nth, out));
        }
        push_long(out, 0);
        close_buffer(out, second);
    }

    /// Makes the call in `frame` anew after [`Outcome::Again`], now with the protocol's text. False,
    /// and nothing done, if the text was in it already or it is no frame of ours.
    pub fn again(&mut self, frame: &mut Vec<u8>) -> bool {
        let old = std::mem::take(frame);
        // The first buffer ends with the message's name, the second is the call's parameter.
        let cut = 12 + word(&old, 8).unwrap_or(0) as usize;
        let (Some(head), Some(parameter)) = (old.get(..cut), old.get(cut + 4..)) else {
            return false;
        };
        let message = if head.ends_with(b"appendBatch") {
            "appendBatch"
        } else {
            "append"
        };
        if head.len() > PROTOCOL.len() {
            return false;
        }
        let second = self.open_frame(frame, message);
        frame.extend_from_slice(parameter);
        close_buffer(frame, second);
        true
    }

    /// Turns a frame into the bytes that go over the wire, at the end of `wire`.
    ///
    /// # Errors
    /// Out of memory in the compressor.
    pub fn seal(&mut self, frame: &[u8], wire: &mut Vec<u8>) -> Result<(), AvroError> {
        let Some(zip) = &mut self.zip else {
            wire.extend_from_slice(frame);
            return Ok(());
        };
        let start = zip.0.total_in();
        loop {
            // The flush is complete only when it leaves room: a full buffer may hide more.
            wire.reserve(frame.len() / 4 + 64);
            let done = usize::try_from(zip.0.total_in() - start).unwrap_or(usize::MAX);
            let rest = frame.get(done..).unwrap_or_default();
            zip.0
                .compress_vec(rest, wire, FlushCompress::Sync)
                .map_err(|_| AvroError::Deflate)?;
            let done = usize::try_from(zip.0.total_in() - start).unwrap_or(usize::MAX);
            if done >= frame.len() && wire.len() < wire.capacity() {
                return Ok(());
            }
        }
    }

    /// Takes bytes that came from the server.
    ///
    /// # Errors
    /// The compressed stream is broken, or more came than any reply may have.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), AvroError> {
        match &mut self.zip {
            None => self.inbox.extend_from_slice(bytes),
            Some(zip) => inflate(&mut zip.1, bytes, &mut self.inbox)?,
        }
        limit(
            "bytes waiting",
            self.inbox.len() as u64,
            2 * MAX_REPLY as u64,
        )
    }

    /// The reply to the last request, once all of it has come; `None` before that.
    ///
    /// # Errors
    /// What came is not a reply to that request.
    pub fn reply(&mut self) -> Result<Option<Outcome>, AvroError> {
        let Some((serial, body, end)) = frame(&self.inbox)? else {
            return Ok(None);
        };
        self.inbox.drain(..end);
        if serial != self.serial {
            return Err(AvroError::Serial {
                expected: self.serial,
                got: serial,
            });
        }
        let mut rest = Reader(&body);
        if self.open_handshake {
            if !rest.handshake()? {
                self.handshake = Handshake::Long;
                return Ok(Some(Outcome::Again));
            }
            self.handshake = Handshake::Done;
        }
        rest.outcome().map(Some)
    }

    /// Writes the head of a frame and its first buffer; answers where the second buffer's length is.
    fn open_frame(&mut self, out: &mut Vec<u8>, message: &str) -> usize {
        self.serial = self.serial.wrapping_add(1);
        self.open_handshake = self.handshake != Handshake::Done;
        out.extend_from_slice(&self.serial.to_be_bytes());
        out.extend_from_slice(&2u32.to_be_bytes());
        let first = out.len();
        out.extend_from_slice(&[0; 4]);
        match self.handshake {
            Handshake::Short => {
                out.extend_from_slice(&FLUME_HASH);
                out.push(0);
                out.extend_from_slice(&FLUME_HASH);
                out.extend_from_slice(&[2, 0]);
            }
            Handshake::Long => {
                out.extend_from_slice(&PROTOCOL_HASH);
                out.push(2);
                push_bytes(out, PROTOCOL.as_bytes());
                out.extend_from_slice(&PROTOCOL_HASH);
                out.extend_from_slice(&[2, 0]);
            }
            Handshake::Done => {}
        }
        out.push(0);
        push_bytes(out, message.as_bytes());
        close_buffer(out, first);
        let second = out.len();
        out.extend_from_slice(&[0; 4]);
        second
    }
}

/// Sets the length of the buffer that starts at `at` and ends here.
fn close_buffer(out: &mut [u8], at: usize) {
    let length = u32::try_from(out.len().saturating_sub(at + 4)).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(at..at + 4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

fn push_event(out: &mut Vec<u8>, headers: &[(&str, &str)], body: impl FnOnce(&mut Vec<u8>)) {
    if !headers.is_empty() {
        push_long(out, i64::try_from(headers.len()).unwrap_or(i64::MAX));
        for (key, value) in headers {
            push_bytes(out, key.as_bytes());
            push_bytes(out, value.as_bytes());
        }
    }
    push_long(out, 0);
    // The length stands before the bytes and is known only after them. Bodies of 64 bytes to
    // 8 KiB need two bytes of length, so the usual case moves nothing.
    const GUESS: usize = 2;
    let at = out.len();
    out.extend_from_slice(&[0; GUESS]);
    let start = out.len();
    body(out);
    let length = i64::try_from(out.len() - start).unwrap_or(i64::MAX);
    let mut varint = [0; 10];
    let used = put_long(&mut varint, length);
    let varint = varint.get(..used).unwrap_or_default();
    match out.get_mut(at..start) {
        Some(place) if used == GUESS => place.copy_from_slice(varint),
        _ => drop(out.splice(at..start, varint.iter().copied())),
    }
}

fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    push_long(out, i64::try_from(bytes.len()).unwrap_or(i64::MAX));
    out.extend_from_slice(bytes);
}

fn push_long(out: &mut Vec<u8>, value: i64) {
    let mut varint = [0; 10];
    let used = put_long(&mut varint, value);
    out.extend_from_slice(varint.get(..used).unwrap_or_default());
}

/// Zig-zag, then seven bits a byte, the lowest first; answers how many bytes were used.
fn put_long(place: &mut [u8; 10], value: i64) -> usize {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    let mut used = 0;
    for byte in place.iter_mut() {
        used += 1;
        let low = (rest & 0x7f) as u8;
        rest >>= 7;
        *byte = if rest == 0 { low } else { low | 0x80 };
        if rest == 0 {
            break;
        }
    }
    used
}

fn limit(what: &'static str, value: u64, limit: u64) -> Result<(), AvroError> {
    if value > limit {
        return Err(AvroError::TooLarge { what, value, limit });
    }
    Ok(())
}

/// Inflates all of `bytes` to the end of `out`, which never grows past the limit of two replies.
fn inflate(stream: &mut Decompress, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), AvroError> {
    let mut rest = bytes;
    loop {
        out.reserve(4096);
        let (before_in, before_out) = (stream.total_in(), stream.total_out());
        let status = stream
            .decompress_vec(rest, out, FlushDecompress::Sync)
            .map_err(|_| AvroError::Inflate)?;
        let took = usize::try_from(stream.total_in() - before_in).unwrap_or(usize::MAX);
        rest = rest.get(took..).unwrap_or_default();
        limit("bytes waiting", out.len() as u64, 2 * MAX_REPLY as u64)?;
        if status == Status::StreamEnd {
            // A server has no reason to end the stream before the connection.
            return if rest.is_empty() {
                Ok(())
            } else {
                Err(AvroError::Inflate)
            };
        }
        let stuck = took == 0 && stream.total_out() == before_out;
        // Output may wait inside the stream only while the buffer it was offered is full.
        if rest.is_empty() && (stuck || out.len() < out.capacity()) {
            return Ok(());
        }
        if stuck {
            return Err(AvroError::Inflate);
        }
    }
}

/// The first whole frame of `bytes`: its serial, its buffers joined, and where it ends.
fn frame(bytes: &[u8]) -> Result<Option<(u32, Vec<u8>, usize)>, AvroError> {
    let (Some(serial), Some(count)) = (word(bytes, 0), word(bytes, 4)) else {
        return Ok(None);
    };
    limit(
        "the number of buffers",
        u64::from(count),
        u64::from(MAX_BUFFERS),
    )?;
    let mut body = Vec::new();
    let mut at = 8;
    for _ in 0..count {
        let Some(length) = word(bytes, at) else {
            return Ok(None);
        };
        limit(
            "the length of a buffer",
            u64::from(length),
            MAX_REPLY as u64,
        )?;
        let end = at + 4 + length as usize;
        limit("the length of the frame", end as u64, MAX_REPLY as u64)?;
        let Some(buffer) = bytes.get(at + 4..end) else {
            return Ok(None);
        };
        body.extend_from_slice(buffer);
        at = end;
    }
    Ok(Some((serial, body, at)))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    four.try_into().ok().map(u32::from_be_bytes)
}

/// What is left of a reply.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], AvroError> {
        let (head, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(AvroError::Malformed("it ends too early"))?;
        self.0 = rest;
        Ok(head)
    }

    fn byte(&mut self) -> Result<u8, AvroError> {
        Ok(self.take(1)?.first().copied().unwrap_or_default())
    }

    fn long(&mut self) -> Result<i64, AvroError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        Err(AvroError::Malformed("an integer has more than 64 bits"))
    }

    fn bytes(&mut self) -> Result<&'a [u8], AvroError> {
        let length = usize::try_from(self.long()?)
            .map_err(|_| AvroError::Malformed("a length is negative"))?;
        self.take(length)
    }

    /// Skips a map whose values are byte strings.
    fn map(&mut self) -> Result<(), AvroError> {
        loop {
            let count = self.long()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                // A negative count is followed by the block's size in bytes.
                self.long()?;
            }
            // Every item takes two bytes or more, so that a lying count ends with the bytes.
            for _ in 0..count.unsigned_abs() {
                self.bytes()?;
                self.bytes()?;
            }
        }
    }

    /// Which branch of a union of null and something: whether the something follows.
    fn present(&mut self) -> Result<bool, AvroError> {
        match self.long()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(AvroError::Malformed("a union has no such branch")),
        }
    }

    /// Whether the server has agreed on the protocol.
    fn handshake(&mut self) -> Result<bool, AvroError> {
        let agreed = match self.long()? {
            // "Client" means that the server has another text than ours, and understood us. As the
            // schema is fixed, what it sends of its own is not needed.
            0 | 1 => true,
            2 => false,
            _ => {
                return Err(AvroError::Malformed(
                    "the handshake's match is none of the three",
                ));
            }
        };
        if self.present()? {
            self.bytes()?;
        }
        if self.present()? {
            self.take(16)?;
        }
        if self.present()? {
            self.map()?;
        }
        Ok(agreed)
    }

    fn outcome(&mut self) -> Result<Outcome, AvroError> {
        self.map()?;
        match self.byte()? {
            0 => match self.long()? {
                0 => Ok(Outcome::Ok),
                1 => Ok(Outcome::Failed),
                2 => Ok(Outcome::Unknown),
                _ => Err(AvroError::Malformed("the status is none of the three")),
            },
            1 => {
                if self.long()? != 0 {
                    return Err(AvroError::Malformed("an undeclared error"));
                }
                Ok(Outcome::Error(
                    String::from_utf8_lossy(self.bytes()?).into_owned(),
                ))
            }
            _ => Err(AvroError::Malformed("the error flag is neither 0 nor 1")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Flume's Java client (SDK 1.11) to a real Flume 1.11 Avro source: one `append` with header
    /// k=v and body `hello`, then an `appendBatch` of five in calls of at most three.
    const RECORDED: [(&str, &str); 3] = [
        (
            "00000001000000020000002b86aadae2c45474c0fe93ffd0f2350a650086aadae2c45474c0fe93ffd0f2350a650200000c617070656e640000000c02026b0276000a68656c6c6f",
            "000000010000000300000004000000000000000100000000020000",
        ),
        (
            "00000002000000020000000d0016617070656e6442617463680000000e0600046530000465310004653200",
            "0000000200000003000000000000000100000000020000",
        ),
        (
            "00000003000000020000000d0016617070656e6442617463680000000a04000465330004653400",
            "0000000300000003000000000000000100000000020000",
        ),
    ];

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    }

    fn numbered(first: u32) -> impl FnMut(u32, &mut Vec<u8>) {
        move |nth, out| out.extend_from_slice(format!("e{}", first + nth).as_bytes())
    }

    #[test]
    fn requests_are_those_of_the_java_client_byte_by_byte() {
        let mut connection = Connection::new(false);
        for (nth, (request, reply)) in RECORDED.iter().enumerate() {
            let mut out = Vec::new();
            match nth {
                0 => connection.append(&mut out, &[("k", "v")], b"hello"),
                1 => connection.append_batch(&mut out, 3, numbered(0)),
                _ => connection.append_batch(&mut out, 2, numbered(3)),
            }
            assert_eq!(out, hex(request), "request {nth}");
            // Byte by byte, so that every cut is tried.
            let reply = hex(reply);
            for (at, byte) in reply.iter().enumerate() {
                assert_eq!(connection.reply().unwrap(), None, "after {at} bytes");
                connection.feed(&[*byte]).unwrap();
            }
            assert_eq!(connection.reply().unwrap(), Some(Outcome::Ok));
        }
    }

    #[test]
    fn a_server_that_does_not_know_the_hash_gets_the_text() {
        let mut connection = Connection::new(false);
        let mut out = Vec::new();
        connection.append(&mut out, &[], b"x");
        // Match "none", a protocol text, a hash, no meta.
        let mut body = vec![4, 2, 4, b'{', b'}', 2];
        body.extend_from_slice(&[7; 16]);
        body.push(0);
        connection.feed(&framed(1, &body)).unwrap();
        assert_eq!(connection.reply().unwrap(), Some(Outcome::Again));
        assert!(connection.again(&mut out));
        let text = String::from_utf8_lossy(&out).into_owned();
        assert!(text.contains("AvroSourceProtocol"), "{text}");
        assert!(out.ends_with(&[
            12, b'a', b'p', b'p', b'e', b'n', b'd', 0, 0, 0, 3, 0, 2, b'x'
        ]));
        assert_eq!(
            frame(&out).unwrap().map(|(serial, _, end)| (serial, end)),
            Some((2, out.len()))
        );
        assert!(serde_json::from_str::<serde_json::Value>(PROTOCOL).is_ok());
        connection.feed(&framed(2, &[0, 0, 0, 0, 0, 0, 2])).unwrap();
        assert_eq!(connection.reply().unwrap(), Some(Outcome::Failed));
        let mut out = Vec::new();
        connection.append(&mut out, &[], b"x");
        assert_eq!(
            out,
            hex("000000030000000200000008000c617070656e6400000003000278")
        );
    }

    #[test]
    fn errors_statuses_and_strangers_are_told_apart() {
        let said = |body: &[u8]| {
            let mut connection = Connection::new(false);
            connection.append(&mut Vec::new(), &[], b"x");
            let mut whole = vec![0, 0, 0, 0];
            whole.extend_from_slice(body);
            connection.feed(&framed(1, &whole)).unwrap();
            connection.reply()
        };
        assert_eq!(said(&[0, 0, 4]), Ok(Some(Outcome::Unknown)));
        assert_eq!(
            said(b"\0\x01\0\x06bad"),
            Ok(Some(Outcome::Error("bad".into())))
        );
        assert_eq!(
            said(&[2, 2, b'a', 2, b'b', 0, 0, 0]),
            Ok(Some(Outcome::Ok)),
            "metadata"
        );
        assert!(matches!(said(&[0, 0, 6]), Err(AvroError::Malformed(_))));
        assert!(matches!(said(&[0, 2]), Err(AvroError::Malformed(_))));
        let mut connection = Connection::new(false);
        connection.append(&mut Vec::new(), &[], b"x");
        connection.feed(&framed(9, &[0; 7])).unwrap();
        assert_eq!(
            connection.reply(),
            Err(AvroError::Serial {
                expected: 1,
                got: 9
            })
        );
        connection
            .feed(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .unwrap();
        assert!(matches!(
            connection.reply(),
            Err(AvroError::TooLarge { .. })
        ));
    }

    #[test]
    fn deflate_is_one_stream_each_way_flushed_after_every_write() {
        let mut connection = Connection::new(true);
        let mut server = (
            Decompress::new(true),
            Compress::new(Compression::new(6), true),
        );
        for serial in 1..=3u32 {
            let (mut frame, mut wire) = (Vec::new(), Vec::new());
            connection.append_batch(&mut frame, 500, |nth, out| {
                out.extend_from_slice(format!("{serial} event {}", nth * nth).as_bytes());
            });
            connection.seal(&frame, &mut wire).unwrap();
            assert!(wire.len() < frame.len());
            assert_eq!(
                wire.get(..2) == Some(&[0x78, 0x9c]),
                serial == 1,
                "one zlib head"
            );
            assert!(wire.ends_with(&[0, 0, 0xff, 0xff]), "flushed");
            let mut seen = Vec::new();
            inflate(&mut server.0, &wire, &mut seen).unwrap();
            assert_eq!(seen, frame);
            let reply = if serial == 1 {
                framed(1, &[0; 7])
            } else {
                framed(serial, &[0; 3])
            };
            let mut back = Vec::with_capacity(100);
            server
                .1
                .compress_vec(&reply, &mut back, FlushCompress::Sync)
                .unwrap();
            connection.feed(&back).unwrap();
            assert_eq!(connection.reply().unwrap(), Some(Outcome::Ok));
        }
        assert_eq!(
            connection.feed(b"garbage in place of zlib"),
            Err(AvroError::Inflate)
        );
    }

    fn framed(serial: u32, body: &[u8]) -> Vec<u8> {
        let mut out = serial.to_be_bytes().to_vec();
        out.extend_from_slice(&1u32.to_be_bytes());
        out.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
        out.extend_from_slice(body);
        out
    }

    proptest! {
        #[test]
        fn garbage_never_panics(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..8), deflate: bool) {
            let mut connection = Connection::new(deflate);
            connection.append(&mut Vec::new(), &[], b"x");
            for chunk in chunks {
                if connection.feed(&chunk).is_err() || connection.reply().is_err() {
                    break;
                }
            }
        }

        #[test]
        fn a_damaged_reply_is_read_or_refused_but_never_waited_for_without_bound(
            at in 0usize..27, with: u8,
        ) {
            let mut reply = hex(RECORDED[0].1);
            reply[at] = with;
            let mut connection = Connection::new(false);
            connection.append(&mut Vec::new(), &[], b"x");
            connection.feed(&reply).unwrap();
            let first = connection.reply();
            // Whatever it waits for now is at most a reply's worth of bytes.
            if first == Ok(None) {
                prop_assert!(connection.feed(&vec![0; 2 * MAX_REPLY]).is_err() || connection.reply() != Ok(None));
            }
        }

        #[test]
        fn integers_round_trip(value: i64) {
            let mut out = Vec::new();
            push_long(&mut out, value);
            prop_assert_eq!(Reader(&out).long(), Ok(value));
        }

        #[test]
        fn bodies_of_any_length_are_framed(length in prop_oneof![0usize..200, 8_000usize..9_000]) {
            let mut out = Vec::new();
            push_event(&mut out, &[], |out| out.resize(out.len() + length, b'x'));
            let mut rest = Reader(&out);
            rest.map().unwrap();
            prop_assert_eq!(rest.bytes().unwrap().len(), length);
            prop_assert!(rest.0.is_empty());
        }
    }
}
