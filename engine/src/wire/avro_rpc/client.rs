//! The client's end of an Avro connection: [`Conversation`] without a socket, [`Client`] with one.
//!
//! One call is in flight at a time. The first call of a connection carries the handshake; should
//! the server answer that it does not know the protocol, the same call goes out once more with the
//! protocol's text.

use super::compression::{Deflater, Inflater};
use super::datum::{Reader, put_bytes, put_len, put_long};
use super::frame::{FrameDecoder, put_frame};
use super::{DEFAULT_FRAME_LIMIT, Malformed, Status, handshake};
use crate::wire::tcp;
use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Why a call did not end with an answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection came about.
    #[error(transparent)]
    Connect(#[from] tcp::ConnectError),
    /// The connection broke; whether the events arrived is unknown.
    #[error("cannot {doing} {peer}: {source}; the connection is dropped and the batch sent again")]
    Io {
        /// Sending to, or receiving from.
        doing: &'static str,
        /// Host and port.
        peer: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The peer closed the connection in the middle of a call.
    #[error("{peer} closed the connection before it answered; the batch is sent again")]
    Closed {
        /// Host and port.
        peer: String,
    },
    /// The answer did not come within the time allowed for a call.
    #[error("{peer} did not answer within {limit:?}; see request-timeout")]
    Timeout {
        /// Host and port.
        peer: String,
        /// The time allowed.
        limit: Duration,
    },
    /// The answer is not of this protocol.
    #[error("{peer} answered with malformed bytes: {source}")]
    Malformed {
        /// Host and port.
        peer: String,
        /// What is wrong.
        source: Malformed,
    },
    /// The server threw an exception.
    #[error("{peer} failed in the call: {text}")]
    Remote {
        /// Host and port.
        peer: String,
        /// The server's words.
        text: String,
    },
    /// The agent is stopping.
    #[error("the agent is stopping; the call to {peer} was given up")]
    Stopped {
        /// Host and port.
        peer: String,
    },
}

/// What a frame from the server turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Status(Status),
    Error(String),
    /// The handshake was refused: say it again, in full.
    Again,
}

/// One connection's protocol state.
#[derive(Debug)]
pub struct Conversation {
    decoder: FrameDecoder,
    inflater: Option<Inflater>,
    deflater: Option<Deflater>,
    established: bool,
    with_text: bool,
    serial: u32,
    /// Name and parameters of the call in flight, kept for sending it again.
    call: Vec<u8>,
    plain: Vec<u8>,
    wire: Vec<u8>,
}

impl Conversation {
    /// A new connection; with a compression level, both directions are zlib streams.
    pub fn new(compression_level: Option<u32>) -> Self {
        Self {
            decoder: FrameDecoder::new(DEFAULT_FRAME_LIMIT),
            inflater: compression_level.map(|_| Inflater::default()),
            deflater: compression_level.map(Deflater::new),
            established: false,
            with_text: false,
            serial: 0,
            call: Vec::new(),
            plain: Vec::new(),
            wire: Vec::new(),
        }
    }

    /// Makes the bytes of a call to `message`, whose parameters `fill` appends.
    pub fn request(
        &mut self,
        message: &[u8],
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> Result<&[u8], Malformed> {
        self.call.clear();
        put_bytes(&mut self.call, message);
        fill(&mut self.call);
        self.again()
    }

    /// Makes the bytes of the call in flight once more, under a new serial.
    fn again(&mut self) -> Result<&[u8], Malformed> {
        self.serial = self.serial.wrapping_add(1);
        let Self {
            established,
            with_text,
            call,
            plain,
            wire,
            ..
        } = self;
        plain.clear();
        put_frame(plain, self.serial, |out| {
            if !*established {
                handshake::put_request(out, *with_text);
            }
            put_long(out, 0);
            out.extend_from_slice(call);
        });
        let Some(deflater) = &mut self.deflater else {
            return Ok(plain);
        };
        wire.clear();
        deflater.deflate(plain, wire)?;
        Ok(wire)
    }

    /// Takes bytes from the server; gives the status once the answer is complete.
    ///
    /// For tests and simple peers; [`Client`] tells apart the other kinds of answer.
    pub fn receive(&mut self, input: &[u8]) -> Result<Option<Status>, Malformed> {
        match self.answer(input)? {
            Some(Answer::Status(status)) => Ok(Some(status)),
            Some(_) => Err(Malformed::Handshake),
            None => Ok(None),
        }
    }

    fn answer(&mut self, mut input: &[u8]) -> Result<Option<Answer>, Malformed> {
        let Self {
            decoder,
            inflater,
            established,
            serial,
            ..
        } = self;
        let Some(inflater) = inflater else {
            return read_answer(decoder, input, established, *serial);
        };
        loop {
            let plain = inflater.step(&mut input)?;
            if plain.is_empty() && input.is_empty() {
                return Ok(None);
            }
            if let Some(answer) = read_answer(decoder, plain, established, *serial)? {
                return Ok(Some(answer));
            }
        }
    }
}

fn read_answer(
    decoder: &mut FrameDecoder,
    mut input: &[u8],
    established: &mut bool,
    expected: u32,
) -> Result<Option<Answer>, Malformed> {
    while decoder.push(&mut input)? {
        let (serial, message) = decoder.frame();
        // The answer to a call given up earlier cannot occur, since such a connection is dropped. A
        // foreign serial is therefore not for us, whatever it says.
        if serial != expected {
            continue;
        }
        let mut reader = Reader::new(message);
        if !*established {
            if handshake::read_response(&mut reader)? == handshake::Match::None {
                return Ok(Some(Answer::Again));
            }
            *established = true;
        }
        reader.map("the metadata", |_, _| {})?;
        if !reader.boolean()? {
            return Status::from_index(reader.long()?).map(|status| Some(Answer::Status(status)));
        }
        return match reader.long()? {
            0 => Ok(Some(Answer::Error(
                String::from_utf8_lossy(reader.bytes("an error")?).into_owned(),
            ))),
            index => Err(Malformed::Union {
                what: "the error",
                index,
            }),
        };
    }
    Ok(None)
}

/// How to reach a server.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Limit for establishing the connection.
    pub connect_timeout: Duration,
    /// Limit for a call, from its first byte sent to its answer.
    pub request_timeout: Duration,
    /// zlib level 0–9, or no compression.
    pub compression_level: Option<u32>,
}

impl ClientOptions {
    fn peer(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// A connected client. After an error it must be dropped: the connection's state is unknown.
#[derive(Debug)]
pub struct Client {
    options: ClientOptions,
    stream: TcpStream,
    conversation: Conversation,
    input: Vec<u8>,
}

impl Client {
    /// Connects. `stopped` is asked now and then and ends the attempt when true.
    pub fn connect(
        options: ClientOptions,
        stopped: &dyn Fn() -> bool,
    ) -> Result<Self, ClientError> {
        let stream = tcp::connect(
            &options.host,
            options.port,
            options.connect_timeout,
            stopped,
        )?;
        let conversation = Conversation::new(options.compression_level);
        Ok(Self {
            options,
            stream,
            conversation,
            input: vec![0; 16 << 10],
        })
    }

    /// Sends `count` events, which `encode` appends by [`super::datum::put_event`], and waits for
    /// the answer.
    pub fn append_batch(
        &mut self,
        count: usize,
        encode: impl FnOnce(&mut Vec<u8>),
        stopped: &dyn Fn() -> bool,
    ) -> Result<Status, ClientError> {
        let limit = self.options.request_timeout;
        let deadline = Instant::now() + limit;
        let peer = self.options.peer();
        let malformed = |source| ClientError::Malformed {
            peer: peer.clone(),
            source,
        };
        let bytes = self.conversation.request(b"appendBatch", |out| {
            if count > 0 {
                put_len(out, count);
                encode(out);
            }
            put_len(out, 0);
        });
        send(
            &mut self.stream,
            bytes.map_err(malformed)?,
            deadline,
            stopped,
            &self.options,
        )?;
        loop {
            let len = receive(
                &mut self.stream,
                &mut self.input,
                deadline,
                stopped,
                &self.options,
            )?;
            match self
                .conversation
                .answer(&self.input[..len])
                .map_err(malformed)?
            {
                None => {}
                Some(Answer::Status(status)) => return Ok(status),
                Some(Answer::Error(text)) => return Err(ClientError::Remote { peer, text }),
                Some(Answer::Again) if self.conversation.with_text => {
                    return Err(malformed(Malformed::Handshake));
                }
                Some(Answer::Again) => {
                    self.conversation.with_text = true;
                    let bytes = self.conversation.again().map_err(malformed)?;
                    send(&mut self.stream, bytes, deadline, stopped, &self.options)?;
                }
            }
        }
    }
}

fn send(
    stream: &mut TcpStream,
    bytes: &[u8],
    deadline: Instant,
    stopped: &dyn Fn() -> bool,
    options: &ClientOptions,
) -> Result<(), ClientError> {
    tcp::write_all(stream, bytes, deadline, stopped)
        .map_err(|error| failure("send to", error, options))
}

fn receive(
    stream: &mut TcpStream,
    input: &mut [u8],
    deadline: Instant,
    stopped: &dyn Fn() -> bool,
    options: &ClientOptions,
) -> Result<usize, ClientError> {
    loop {
        match stream.read(input) {
            Ok(0) => {
                return Err(ClientError::Closed {
                    peer: options.peer(),
                });
            }
            Ok(len) => return Ok(len),
            Err(error) if tcp::is_pause(&error) => {
                tcp::may_wait(deadline, stopped)
                    .map_err(|error| failure("receive from", error, options))?;
            }
            Err(error) => return Err(failure("receive from", error, options)),
        }
    }
}

fn failure(doing: &'static str, source: std::io::Error, options: &ClientOptions) -> ClientError {
    let peer = options.peer();
    match source.kind() {
        ErrorKind::TimedOut => ClientError::Timeout {
            peer,
            limit: options.request_timeout,
        },
        ErrorKind::Interrupted => ClientError::Stopped { peer },
        _ => ClientError::Io {
            doing,
            peer,
            source,
        },
    }
}
