//! A small RPC client: one connection, one call at a time, a time-out for each.
//!
//! A call that fails ends the connection; the next one opens another. Nothing is repeated here.

use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use flume_bench_hadoop::frame::{
    FrameError, RPC_PREAMBLE, SASL_CALL_ID, call_frame, context_frame, read_frame, request_header,
    take_delimited,
};
use flume_bench_hadoop::rpc::{
    IpcConnectionContext, RpcResponseHeader, RpcStatus, UserInformation,
};
use prost::Message;
use thiserror::Error;

use super::Exception;

const MAX_ANSWER: usize = 64 << 20;

/// Why a call failed.
#[derive(Debug, Error)]
pub(crate) enum CallError {
    #[error("{method} at {address}: {source}; is the server there?")]
    Io {
        method: String,
        address: String,
        source: io::Error,
    },
    #[error("{method} at {address}: {source}")]
    Frame {
        method: String,
        address: String,
        source: FrameError,
    },
    #[error("{class}: {message}")]
    Remote { class: String, message: String },
    #[error("{address} insists on SASL, and only simple authentication is offered")]
    Sasl { address: String },
}

impl CallError {
    /// The server's own word, or nothing if it gave none.
    pub(crate) fn exception(&self) -> Option<Exception> {
        match self {
            Self::Remote { class, message } => Some(Exception::new(class, message.as_str())),
            _ => None,
        }
    }
}

/// Where connections lead to; handed in, so that a test can be the other side.
pub(crate) trait Network: std::fmt::Debug + Send + Sync {
    /// Connects to `host:port`. Nothing on the connection takes longer than the limit.
    fn connect(&self, address: &str, limit: Duration) -> io::Result<TcpStream>;
}

/// The real one.
#[derive(Debug)]
pub(crate) struct Tcp;

impl Network for Tcp {
    /// Takes the first address of the host that answers.
    fn connect(&self, address: &str, limit: Duration) -> io::Result<TcpStream> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for address in address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, limit) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(limit))?;
                    stream.set_write_timeout(Some(limit))?;
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// A client of one protocol at one address.
#[derive(Debug)]
pub(crate) struct Client {
    network: Arc<dyn Network>,
    address: String,
    protocol: &'static str,
    user: String,
    id: [u8; 16],
    next: i32,
    limit: Duration,
    stream: Option<TcpStream>,
}

impl Client {
    pub(crate) fn new(address: &str, protocol: &'static str, limit: Duration) -> Self {
        Self::over(Arc::new(Tcp), address, protocol, limit)
    }

    /// A client that connects through this network.
    pub(crate) fn over(
        network: Arc<dyn Network>,
        address: &str,
        protocol: &'static str,
        limit: Duration,
    ) -> Self {
        Self {
            network,
            address: address.to_owned(),
            protocol,
            user: "flume-bench".to_owned(),
            id: client_id(),
            next: 0,
            limit,
            stream: None,
        }
    }

    /// Calls a method.
    pub(crate) fn call<A: Message + Default>(
        &mut self,
        method: &str,
        request: &impl Message,
    ) -> Result<A, CallError> {
        let outcome = self.attempt(method, request);
        if !matches!(outcome, Ok(_) | Err(CallError::Remote { .. })) {
            self.stream = None;
        }
        outcome
    }

    fn attempt<A: Message + Default>(
        &mut self,
        method: &str,
        request: &impl Message,
    ) -> Result<A, CallError> {
        let io = |source| CallError::Io {
            method: method.to_owned(),
            address: self.address.clone(),
            source,
        };
        let frame = |source| CallError::Frame {
            method: method.to_owned(),
            address: self.address.clone(),
            source,
        };
        let mut bytes = Vec::new();
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                bytes.extend_from_slice(&RPC_PREAMBLE);
                bytes.extend_from_slice(&context_frame(&self.id, &self.context()));
                let connected = self.network.connect(&self.address, self.limit);
                connected.map_err(io)?
            }
        };
        self.next = (self.next + 1) & i32::MAX;
        bytes.extend_from_slice(&call_frame(
            &request_header(self.next, &self.id, 0),
            self.protocol,
            method,
            request,
        ));
        stream.write_all(&bytes).map_err(io)?;
        let answer = read_frame(&mut stream, MAX_ANSWER).map_err(frame)?;
        let mut rest = answer.as_slice();
        let header: RpcResponseHeader =
            take_delimited(&mut rest, "the header of an answer").map_err(frame)?;
        if header.call_id as i32 == SASL_CALL_ID {
            return Err(CallError::Sasl {
                address: self.address.clone(),
            });
        }
        if header.status() != RpcStatus::Success {
            if header.status() == RpcStatus::Error {
                self.stream = Some(stream);
            }
            let message = header.error_msg.unwrap_or_default();
            let message = message.lines().next().unwrap_or_default().to_owned();
            return Err(CallError::Remote {
                class: header.exception_class_name.unwrap_or_default(),
                message,
            });
        }
        let answer = take_delimited(&mut rest, "an answer").map_err(frame)?;
        self.stream = Some(stream);
        Ok(answer)
    }

    fn context(&self) -> IpcConnectionContext {
        IpcConnectionContext {
            user_info: Some(UserInformation {
                effective_user: Some(self.user.clone()),
                real_user: None,
            }),
            protocol: Some(self.protocol.to_owned()),
        }
    }
}

/// Sixteen bytes that no other client has. The standard library seeds its hashers by chance, which is
/// all the chance that is needed.
pub(crate) fn client_id() -> [u8; 16] {
    use std::hash::BuildHasher;
    let chance = || std::collections::hash_map::RandomState::new().hash_one(std::process::id());
    let mut id = [0; 16];
    id[..8].copy_from_slice(&chance().to_be_bytes());
    id[8..].copy_from_slice(&chance().to_be_bytes());
    id
}
