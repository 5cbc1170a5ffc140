//! The server's end of an Avro connection, without a socket: bytes in, calls out, answers back.
//!
//! A connection begins unestablished; the handshake in front of its first call establishes it, and
//! from then on no handshake may follow. Requests are answered in the order they came, each under
//! its own serial.

use super::compression::{Deflater, Inflater};
use super::datum::{Reader, WireEvent, put_bytes, put_long};
use super::frame::{FrameDecoder, put_frame};
use super::{Malformed, Status, handshake};

/// The level at which Flume's server compresses its answers.
const ANSWER_LEVEL: u32 = 6;

/// The state of one connection.
#[derive(Debug)]
pub struct ServerConnection {
    decoder: FrameDecoder,
    inflater: Option<Inflater>,
    calls: Calls,
}

/// What outlives a frame on the way from a message to its answer.
#[derive(Debug)]
struct Calls {
    established: bool,
    deflater: Option<Deflater>,
    answer: Vec<u8>,
}

/// Which of the protocol's two messages a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `append`: exactly one event.
    Append,
    /// `appendBatch`: any number of events.
    AppendBatch,
}

/// A call's events, still lying in the frame.
#[derive(Debug)]
pub struct Events<'a> {
    reader: Reader<'a>,
    method: Method,
    left_in_block: usize,
    done: bool,
}

impl<'a> Events<'a> {
    fn new(reader: Reader<'a>, method: Method) -> Self {
        Self {
            reader,
            method,
            left_in_block: usize::from(method == Method::Append),
            done: false,
        }
    }

    /// Which message carried them.
    pub fn method(&self) -> Method {
        self.method
    }

    /// Decodes the next event; `None` once all were decoded and the message ended where it should.
    ///
    /// An error may come after good events: what was built from them has to be dropped.
    pub fn next_event(&mut self) -> Result<Option<WireEvent<'a>>, Malformed> {
        if self.done {
            return Ok(None);
        }
        if self.left_in_block == 0 {
            if self.method == Method::AppendBatch {
                self.left_in_block = self.reader.block("the events")?;
            }
            if self.left_in_block == 0 {
                self.done = true;
                self.reader.finish()?;
                return Ok(None);
            }
        }
        self.left_in_block -= 1;
        self.reader.event().map(Some)
    }
}

/// What the source says to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A regular answer.
    Status(Status),
    /// An error of the remote procedure, which the client throws as an exception.
    Error(String),
}

impl ServerConnection {
    /// A connection that has not seen a byte. Messages over `frame_limit` bytes are refused.
    pub fn new(frame_limit: usize, compressed: bool) -> Self {
        Self {
            decoder: FrameDecoder::new(frame_limit),
            inflater: compressed.then(Inflater::default),
            calls: Calls {
                established: false,
                deflater: compressed.then(|| Deflater::new(ANSWER_LEVEL)),
                answer: Vec::new(),
            },
        }
    }

    /// Takes bytes from the client, gives each complete call to `handle`, and appends the bytes of
    /// the answers to `out`. After an error nothing but closing the connection makes sense; `out`
    /// may hold answers to send before.
    pub fn receive(
        &mut self,
        mut input: &[u8],
        out: &mut Vec<u8>,
        handle: &mut dyn FnMut(Events<'_>) -> Result<Reply, Malformed>,
    ) -> Result<(), Malformed> {
        let Self {
            decoder,
            inflater,
            calls,
        } = self;
        let Some(inflater) = inflater else {
            return calls.frames(decoder, input, out, handle);
        };
        loop {
            let plain = inflater.step(&mut input)?;
            if plain.is_empty() && input.is_empty() {
                return Ok(());
            }
            calls.frames(decoder, plain, out, handle)?;
        }
    }

    /// Memory held for the request that is arriving, in bytes.
    pub fn held(&self) -> usize {
        self.decoder.held()
    }

    /// True if the client may close now without cutting a request in two.
    pub fn is_idle(&self) -> bool {
        self.decoder.is_idle()
    }
}

impl Calls {
    fn frames(
        &mut self,
        decoder: &mut FrameDecoder,
        mut input: &[u8],
        out: &mut Vec<u8>,
        handle: &mut dyn FnMut(Events<'_>) -> Result<Reply, Malformed>,
    ) -> Result<(), Malformed> {
        while decoder.push(&mut input)? {
            let (serial, message) = decoder.frame();
            match &mut self.deflater {
                None => answer(&mut self.established, serial, message, out, handle)?,
                Some(deflater) => {
                    self.answer.clear();
                    answer(
                        &mut self.established,
                        serial,
                        message,
                        &mut self.answer,
                        handle,
                    )?;
                    deflater.deflate(&self.answer, out)?;
                }
            }
        }
        Ok(())
    }
}

/// Executes one request and appends the frame that answers it.
fn answer(
    established: &mut bool,
    serial: u32,
    message: &[u8],
    out: &mut Vec<u8>,
    handle: &mut dyn FnMut(Events<'_>) -> Result<Reply, Malformed>,
) -> Result<(), Malformed> {
    let mut reader = Reader::new(message);
    let shake = if *established {
        None
    } else {
        Some(handshake::Request::read(&mut reader)?.answer())
    };
    reader.map("the metadata", |_, _| {})?;
    let name = reader.bytes("the message's name")?;
    let reply = match name {
        // A handshake alone, sent to see whether somebody is there.
        b"" => None,
        b"append" => Some(handle(Events::new(reader, Method::Append))?),
        b"appendBatch" => Some(handle(Events::new(reader, Method::AppendBatch))?),
        other => Some(Reply::Error(format!(
            "no such message: {}",
            String::from_utf8_lossy(other)
        ))),
    };
    *established = true;
    put_frame(out, serial, |out| {
        if let Some(shake) = shake {
            handshake::put_response(out, shake);
        }
        if let Some(reply) = &reply {
            put_reply(out, reply);
        }
    });
    Ok(())
}

fn put_reply(out: &mut Vec<u8>, reply: &Reply) {
    put_long(out, 0);
    match reply {
        Reply::Status(status) => {
            out.push(0);
            put_long(out, status.index());
        }
        Reply::Error(text) => {
            out.push(1);
            put_long(out, 0);
            put_bytes(out, text.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::client::Conversation;
    use super::super::datum::put_event;
    use super::*;
    use proptest::prelude::*;

    type Seen = Vec<(Vec<(String, String)>, Vec<u8>)>;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
            .collect()
    }

    fn collect(mut events: Events<'_>, seen: &mut Seen) -> Result<Reply, Malformed> {
        while let Some(event) = events.next_event()? {
            let headers = event
                .headers()
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .collect();
            seen.push((headers, event.body().to_vec()));
        }
        Ok(Reply::Status(Status::Ok))
    }

    /// Recorded between the default Java client of Flume's SDK 1.11 (one `append`, then a batch of
    /// five in calls of three) and Flume's source. `>` is the client.
    const RECORDED: [(&str, &str); 3] = [
        (
            "00000001000000020000002b86aadae2c45474c0fe93ffd0f2350a650086aadae2c45474c0fe93ffd0f2350a650200000c\
             617070656e640000000c02026b0276000a68656c6c6f",
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

    /// The message within recorded frames, buffers joined: two servers may cut them differently.
    fn messages(bytes: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let mut decoder = FrameDecoder::new(1 << 20);
        let (mut rest, mut out) = (bytes, Vec::new());
        while decoder.push(&mut rest).unwrap() {
            let (serial, message) = decoder.frame();
            out.push((serial, message.to_vec()));
        }
        out
    }

    #[test]
    fn a_recorded_java_client_is_answered_as_flume_answers() {
        let mut connection = ServerConnection::new(1 << 20, false);
        let mut seen = Seen::new();
        for (request, answer) in RECORDED {
            let mut out = Vec::new();
            let request = hex(&request.replace(' ', ""));
            connection
                .receive(&request, &mut out, &mut |events| collect(events, &mut seen))
                .unwrap();
            assert_eq!(messages(&out), messages(&hex(answer)));
            assert!(connection.is_idle());
        }
        let bodies: Vec<_> = seen
            .iter()
            .map(|(_, body)| String::from_utf8_lossy(body).into_owned())
            .collect();
        assert_eq!(bodies, ["hello", "e0", "e1", "e2", "e3", "e4"]);
        assert_eq!(seen[0].0, [("k".to_owned(), "v".to_owned())]);
    }

    #[test]
    fn our_client_sends_what_the_recorded_one_sent() {
        let mut conversation = Conversation::new(None);
        let sent = conversation
            .request(b"append", |out| {
                put_event(out, || [("k", "v")].into_iter(), b"hello")
            })
            .unwrap();
        assert_eq!(
            messages(sent),
            messages(&hex(&RECORDED[0].0.replace(' ', "")))
        );
        assert_eq!(
            conversation.receive(&hex(RECORDED[0].1)).unwrap(),
            Some(Status::Ok)
        );
        let batch = |out: &mut Vec<u8>| {
            put_long(out, 3);
            for body in ["e0", "e1", "e2"] {
                put_event(out, std::iter::empty, body.as_bytes());
            }
            put_long(out, 0);
        };
        let sent = conversation.request(b"appendBatch", batch).unwrap();
        assert_eq!(messages(sent), messages(&hex(RECORDED[1].0)));
    }

    #[test]
    fn requests_in_flight_and_cuts_anywhere_make_no_difference() {
        let all: Vec<u8> = RECORDED
            .iter()
            .flat_map(|(request, _)| hex(&request.replace(' ', "")))
            .collect();
        let mut connection = ServerConnection::new(1 << 20, false);
        let (mut seen, mut out) = (Seen::new(), Vec::new());
        for byte in &all {
            let byte = std::slice::from_ref(byte);
            connection
                .receive(byte, &mut out, &mut |events| collect(events, &mut seen))
                .unwrap();
        }
        assert_eq!((seen.len(), messages(&out).len()), (6, 3));
    }

    #[test]
    fn unknown_messages_get_an_error_and_pings_a_bare_handshake() {
        let mut connection = ServerConnection::new(1 << 20, false);
        let mut out = Vec::new();
        let mut ping = Vec::new();
        put_frame(&mut ping, 1, |out| {
            handshake::put_request(out, false);
            out.extend_from_slice(&[0, 0]);
        });
        connection
            .receive(&ping, &mut out, &mut |_| panic!("a ping is no call"))
            .unwrap();
        assert_eq!(messages(&out), [(1, vec![0, 0, 0, 0])]);
        out.clear();
        let mut unknown = Vec::new();
        put_frame(&mut unknown, 2, |out| {
            out.push(0);
            put_bytes(out, b"take");
        });
        connection
            .receive(&unknown, &mut out, &mut |_| panic!("not for the source"))
            .unwrap();
        assert_eq!(messages(&out)[0].1[..3], [0, 1, 0]);
    }

    #[test]
    fn a_client_with_another_idea_of_the_server_is_answered_and_served() {
        let mut connection = ServerConnection::new(1 << 20, false);
        let mut request = Vec::new();
        put_frame(&mut request, 9, |out| {
            out.extend_from_slice(&[1; 16]);
            out.push(0);
            out.extend_from_slice(&[2; 16]);
            out.extend_from_slice(&[0, 0]);
            put_bytes(out, b"append");
            put_event(out, std::iter::empty, b"x");
        });
        let (mut seen, mut out) = (Seen::new(), Vec::new());
        connection
            .receive(&request, &mut out, &mut |events| collect(events, &mut seen))
            .unwrap();
        let message = &messages(&out)[0].1;
        let mut reader = Reader::new(message);
        assert_eq!(
            handshake::read_response(&mut reader).unwrap(),
            handshake::Match::Client
        );
        assert_eq!(seen.len(), 1);
    }

    #[test]
    fn bytes_after_the_last_event_are_malformed() {
        let mut connection = ServerConnection::new(1 << 20, false);
        let mut request = hex(&RECORDED[0].0.replace(' ', ""));
        // One more byte in the last buffer.
        let at = request.len() - 13;
        assert_eq!(request[at], 0x0c);
        request[at] += 1;
        request.push(0);
        let outcome = connection.receive(&request, &mut Vec::new(), &mut |events| {
            collect(events, &mut Seen::new())
        });
        assert_eq!(outcome, Err(Malformed::Trailing(1)));
    }

    #[test]
    fn a_compressed_bomb_takes_bounded_memory() {
        // 200 MB of zeros in one buffer, announced as such: refused at the announcement.
        let mut plain = vec![0, 0, 0, 1, 0, 0, 0, 1];
        plain.extend_from_slice(&200_000_000_u32.to_be_bytes());
        let mut bytes = Vec::new();
        Deflater::new(9).deflate(&plain, &mut bytes).unwrap();
        let mut connection = ServerConnection::new(super::super::DEFAULT_FRAME_LIMIT, true);
        let outcome = connection.receive(&bytes, &mut Vec::new(), &mut |_| panic!("no call"));
        assert!(matches!(outcome, Err(Malformed::TooLarge { .. })));
    }

    proptest! {
        #[test]
        fn both_ends_agree_plain_and_compressed(
            batches in proptest::collection::vec(proptest::collection::vec(any::<Vec<u8>>(), 0..5), 1..4),
            level in proptest::option::of(0_u32..10),
        ) {
            let mut connection = ServerConnection::new(1 << 20, level.is_some());
            let mut conversation = Conversation::new(level);
            let mut seen = Seen::new();
            for batch in &batches {
                let sent = conversation.request(b"appendBatch", |out| {
                    if !batch.is_empty() {
                        put_long(out, batch.len() as i64);
                        for body in batch {
                            put_event(out, || [("h", "w")].into_iter(), body);
                        }
                    }
                    put_long(out, 0);
                }).unwrap().to_vec();
                let mut out = Vec::new();
                connection.receive(&sent, &mut out, &mut |events| collect(events, &mut seen)).unwrap();
                prop_assert_eq!(conversation.receive(&out).unwrap(), Some(Status::Ok));
            }
            let got: Vec<_> = seen.into_iter().map(|(_, body)| body).collect();
            prop_assert_eq!(got, batches.concat());
        }

        #[test]
        fn garbage_never_panics(bytes: Vec<u8>, compressed: bool, after_handshake: bool) {
            let mut connection = ServerConnection::new(10_000, compressed);
            connection.calls.established = after_handshake;
            let mut out = Vec::new();
            let _ = connection.receive(&bytes, &mut out, &mut |events| collect(events, &mut Seen::new()));
            let mut framed = Vec::new();
            put_frame(&mut framed, 1, |out| out.extend_from_slice(&bytes));
            let mut connection = ServerConnection::new(10_000, false);
            connection.calls.established = after_handshake;
            let _ = connection.receive(&framed, &mut out, &mut |events| collect(events, &mut Seen::new()));
        }

        #[test]
        fn damaged_requests_never_panic(at in 0_usize..71, value: u8) {
            let mut request = hex(&RECORDED[0].0.replace(' ', ""));
            request[at] = value;
            let mut connection = ServerConnection::new(10_000, false);
            let _ = connection.receive(&request, &mut Vec::new(), &mut |events| collect(events, &mut Seen::new()));
        }
    }
}
