//! Hadoop's RPC, version 9, as a server with simple authentication.
//!
//! A connection's calls are answered in the order in which they came, however many are in flight. Pings
//! are swallowed. A client that begins with SASL is told, as a NameNode without security tells it, to go
//! on without. Frames are limited to 32 MiB.
//!
//! Fails: a frame that is none ends the connection; an unknown method answers
//! `RpcNoSuchMethodException`, a request that cannot be decoded `RpcServerException`.
//!
//! Source: Hadoop 3.3.6's `ipc.Server`; the frames are described in `flume_bench_hadoop::frame`.

use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use flume_bench_hadoop::frame::{
    CONTEXT_CALL_ID, FrameError, PING_CALL_ID, SASL_CALL_ID, put_delimited, read_frame,
    take_delimited,
};
use flume_bench_hadoop::rpc::{
    IpcConnectionContext, RequestHeader, RpcErrorCode, RpcRequestHeader, RpcResponseHeader,
    RpcSasl, RpcStatus, SaslState,
};
use prost::Message;
use tracing::{debug, warn};

use crate::orders::{Deed, Orders};

pub(crate) mod client;

const MAX_FRAME: usize = 32 << 20;

/// How long a connection may say nothing. Clients ping, or leave after ten seconds.
const IDLE: Duration = Duration::from_secs(300);

/// One call.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) protocol: &'a str,
    pub(crate) method: &'a str,
    pub(crate) user: &'a str,
    /// Client and number: the same in each repetition.
    pub(crate) id: (&'a [u8], i32),
    request: &'a [u8],
}

impl Call<'_> {
    /// The request, decoded.
    pub(crate) fn request<M: Message + Default>(&self) -> Result<M, Exception> {
        M::decode(self.request).map_err(|error| {
            Exception::new(
                "org.apache.hadoop.ipc.RpcServerException",
                format!("{}: {error}", self.method),
            )
        })
    }

    /// The answer to a method that is not served.
    pub(crate) fn unknown(&self) -> Exception {
        warn!(
            method = self.method,
            protocol = self.protocol,
            "unknown method called"
        );
        Exception::new(
            NO_SUCH_METHOD,
            format!(
                "Unknown method {} called on {} protocol.",
                self.method, self.protocol
            ),
        )
    }
}

const NO_SUCH_METHOD: &str = "org.apache.hadoop.ipc.RpcNoSuchMethodException";

/// An exception, as Java's clients rebuild it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exception {
    pub(crate) class: String,
    pub(crate) message: String,
}

impl Exception {
    pub(crate) fn new(class: &str, message: impl Into<String>) -> Self {
        Self {
            class: class.to_owned(),
            message: message.into(),
        }
    }

    pub(crate) fn io(message: impl Into<String>) -> Self {
        Self::new("java.io.IOException", message)
    }

    pub(crate) fn not_found(path: &str) -> Self {
        Self::new(
            "java.io.FileNotFoundException",
            format!("File does not exist: {path}"),
        )
    }

    /// An exception of the package of HDFS's own ones.
    pub(crate) fn hdfs(class: &str, message: impl Into<String>) -> Self {
        Self::new(&format!("org.apache.hadoop.hdfs.protocol.{class}"), message)
    }
}

/// An encoded answer.
pub(crate) type Answer = Result<Vec<u8>, Exception>;

/// Encodes an answer.
pub(crate) fn answer(message: &impl Message) -> Answer {
    let mut out = Vec::with_capacity(message.encoded_len() + 5);
    put_delimited(&mut out, message);
    Ok(out)
}

/// What answers calls.
pub(crate) trait Service: Send + Sync + 'static {
    fn call(&self, call: &Call<'_>) -> Answer;
}

/// Serves one connection to its end.
pub(crate) fn serve(stream: TcpStream, service: &dyn Service, orders: &Orders) {
    let outcome = stream
        .set_read_timeout(Some(IDLE))
        .map_err(io("a connection's time-out"))
        .and_then(|()| converse(&stream, &stream, service, orders));
    if let Err(error) = outcome {
        debug!(%error, "an RPC connection ended");
    }
    let _ = stream.shutdown(Shutdown::Both);
}

/// Answers what comes from a client, until it ends or makes no sense.
pub(crate) fn converse(
    from: impl Read,
    to: impl Write,
    service: &dyn Service,
    orders: &Orders,
) -> Result<(), FrameError> {
    let connection = Connection {
        to,
        user: String::new(),
    };
    connection.run(from, service, orders)
}

/// The function that [`crate::serve`] wants.
pub(crate) fn server(
    service: Arc<dyn Service>,
    orders: Arc<Orders>,
) -> impl Fn(TcpStream) + Clone + Send + 'static {
    move |stream| serve(stream, &*service, &orders)
}

struct Connection<W> {
    to: W,
    user: String,
}

fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> FrameError {
    move |source| FrameError::Io { what, source }
}

impl<W: Write> Connection<W> {
    fn run(
        mut self,
        from: impl Read,
        service: &dyn Service,
        orders: &Orders,
    ) -> Result<(), FrameError> {
        let mut reader = BufReader::with_capacity(16 << 10, from);
        let mut preamble = [0; 7];
        reader
            .read_exact(&mut preamble)
            .map_err(io("the preamble"))?;
        if &preamble[..5] != b"hrpc\x09" {
            return Err(FrameError::Malformed {
                what: "the preamble",
                reason: format!("{preamble:02x?} is not Hadoop's RPC, version 9"),
            });
        }
        loop {
            let frame = read_frame(&mut reader, MAX_FRAME)?;
            let mut rest = frame.as_slice();
            let header: RpcRequestHeader = take_delimited(&mut rest, "the header of a call")?;
            match header.call_id {
                CONTEXT_CALL_ID => {
                    let context: IpcConnectionContext =
                        take_delimited(&mut rest, "the connection's context")?;
                    self.user = context
                        .user_info
                        .and_then(|info| info.effective_user)
                        .unwrap_or_default();
                }
                PING_CALL_ID => {}
                SASL_CALL_ID => self.switch_to_simple(&header, rest)?,
                _ => {
                    if !self.answer(&header, rest, service, orders)? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Answers a client's offer to negotiate with "not needed".
    fn switch_to_simple(
        &mut self,
        header: &RpcRequestHeader,
        mut rest: &[u8],
    ) -> Result<(), FrameError> {
        let offer: RpcSasl = take_delimited(&mut rest, "a step of SASL")?;
        if offer.state() != SaslState::Negotiate {
            let refusal = Exception::new(
                "org.apache.hadoop.security.AccessControlException",
                "SASL is not enabled: only simple authentication is offered",
            );
            return self.send(&failure(header, &refusal));
        }
        let done = RpcSasl {
            state: SaslState::Success as i32,
            ..RpcSasl::default()
        };
        let mut body = Vec::new();
        put_delimited(&mut body, &done);
        self.send(&success(header, &body))
    }

    /// Answers one call; false when the connection is to end.
    fn answer(
        &mut self,
        header: &RpcRequestHeader,
        mut rest: &[u8],
        service: &dyn Service,
        orders: &Orders,
    ) -> Result<bool, FrameError> {
        let head: RequestHeader = take_delimited(&mut rest, "the method of a call")?;
        let mut request = rest;
        let len = prost::decode_length_delimiter(&mut request).map_err(|error| {
            FrameError::Malformed {
                what: "a request",
                reason: error.to_string(),
            }
        })?;
        let request = request.get(..len).ok_or_else(|| FrameError::Malformed {
            what: "a request",
            reason: "it is cut short".into(),
        })?;
        let call = Call {
            protocol: &head.declaring_class_protocol_name,
            method: &head.method_name,
            user: &self.user,
            id: (&header.client_id, header.call_id),
            request,
        };
        let deed = orders.on_call(call.method);
        let outcome = match &deed {
            Some(Deed::Throw(exception)) => Err(exception.clone()),
            Some(Deed::HangUp) => return Ok(false),
            Some(Deed::Stall(time)) => {
                std::thread::sleep(*time);
                service.call(&call)
            }
            Some(Deed::Half) | None => service.call(&call),
        };
        let bytes = match outcome {
            Ok(body) => success(header, &body),
            Err(exception) => {
                debug!(
                    method = call.method,
                    class = exception.class,
                    message = exception.message,
                    "refused"
                );
                failure(header, &exception)
            }
        };
        if deed == Some(Deed::Half) {
            self.send(&bytes[..bytes.len() / 2])?;
            return Ok(false);
        }
        self.send(&bytes)?;
        Ok(true)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), FrameError> {
        self.to
            .write_all(bytes)
            .map_err(io("the way back to a client"))
    }
}

fn response(header: &RpcRequestHeader, status: RpcStatus) -> RpcResponseHeader {
    RpcResponseHeader {
        call_id: header.call_id as u32,
        status: status as i32,
        server_ipc_version_num: Some(9),
        client_id: Some(header.client_id.clone()),
        retry_count: header.retry_count,
        ..RpcResponseHeader::default()
    }
}

fn success(header: &RpcRequestHeader, body: &[u8]) -> Vec<u8> {
    frame(&response(header, RpcStatus::Success), body)
}

fn failure(header: &RpcRequestHeader, exception: &Exception) -> Vec<u8> {
    let detail = if exception.class == NO_SUCH_METHOD {
        RpcErrorCode::ErrorNoSuchMethod
    } else {
        RpcErrorCode::ErrorApplication
    };
    let header = RpcResponseHeader {
        exception_class_name: Some(exception.class.clone()),
        error_msg: Some(exception.message.clone()),
        error_detail: Some(detail as i32),
        ..response(header, RpcStatus::Error)
    };
    frame(&header, &[])
}

fn frame(header: &RpcResponseHeader, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 4];
    put_delimited(&mut out, header);
    out.extend_from_slice(body);
    let len = (out.len() - 4) as u32;
    out[..4].copy_from_slice(&len.to_be_bytes());
    out
}
