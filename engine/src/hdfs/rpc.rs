//! Calls to the NameNode.
//!
//! One call occupies one connection; idle connections wait for the next call. That needs no thread
//! of its own, and a call that hangs holds up no other. A call is repeated until its deadline when
//! the connection fails or stalls, when the NameNode is in safe mode, or on standby (then at the
//! next address); always under the same call id, with which the NameNode recognises a call that it
//! has carried out already. Any other exception is the answer.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use flume_bench_hadoop::client_protocol::CLIENT_PROTOCOL;
use flume_bench_hadoop::frame::{
    FrameError, MAX_RPC_FRAME, RPC_PREAMBLE, SASL_CALL_ID, call_frame, context_frame, read_frame,
    request_header, take_delimited,
};
use flume_bench_hadoop::rpc::{
    IpcConnectionContext, RpcResponseHeader, RpcStatus, UserInformation,
};
use prost::Message;

use super::{Deadline, HdfsError};

/// Idle connections that are kept.
const MAX_IDLE: usize = 16;

/// First and longest wait before a call is repeated. The longest bounds how late a NameNode that is
/// back is noticed.
const RETRY_FIRST: Duration = Duration::from_millis(20);
const RETRY_LONGEST: Duration = Duration::from_millis(250);

/// How long an answer may take before the call is sent again on a new connection. A connection
/// through which bytes were dropped never recovers, so waiting for the deadline would be too long;
/// and a repeated call is harmless.
const STALL_FIRST: Duration = Duration::from_secs(2);
const STALL_LONGEST: Duration = Duration::from_secs(5);

/// A client of one NameNode, or of several of which one is active.
#[derive(Debug)]
pub(super) struct Rpc {
    addresses: Vec<String>,
    /// Which address to use; counted on without end, modulo the number of addresses.
    current: AtomicUsize,
    user: String,
    client_id: [u8; 16],
    next_call: AtomicI32,
    idle: Mutex<Vec<Connection>>,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    address: usize,
}

/// Why one attempt failed.
enum Failure {
    /// The connection; whether it had been used before.
    Link { error: HdfsError, reused: bool },
    /// The NameNode threw an exception.
    Exception { class: String, message: String },
    /// The answer makes no sense; trying again would not help.
    Final(HdfsError),
}

impl Rpc {
    pub(super) fn new(addresses: Vec<String>, user: String, client_id: [u8; 16]) -> Self {
        Self {
            addresses,
            current: AtomicUsize::new(0),
            user,
            client_id,
            next_call: AtomicI32::new(0),
            idle: Mutex::default(),
        }
    }

    /// Calls a method of `ClientProtocol`.
    pub(super) fn call<A: Message + Default>(
        &self,
        method: &str,
        path: &str,
        request: &impl Message,
        deadline: Deadline,
    ) -> Result<A, HdfsError> {
        let id = self.next_call.fetch_add(1, Ordering::Relaxed) & i32::MAX;
        let mut pause = RETRY_FIRST;
        let mut stall = STALL_FIRST;
        for retry in 0.. {
            let head = request_header(id, &self.client_id, retry);
            let bytes = call_frame(&head, CLIENT_PROTOCOL, method, request);
            let failure = match self.attempt(id, &bytes, deadline.at_most(stall)) {
                Ok(answer) => {
                    return take_delimited(&mut answer.as_slice(), "an answer")
                        .map_err(|source| self.frame_error(source));
                }
                Err(failure) => failure,
            };
            let last = match failure {
                Failure::Final(error) => return Err(error),
                // A connection that had waited may have been closed meanwhile: no reason to pause.
                Failure::Link { reused: true, .. } if !deadline.passed() => {
                    self.forget_idle();
                    continue;
                }
                Failure::Link { error, .. } => {
                    self.forget_idle();
                    self.current.fetch_add(1, Ordering::Relaxed);
                    error.to_string()
                }
                Failure::Exception { class, message } if is_passing(&class, &message) => {
                    self.current.fetch_add(1, Ordering::Relaxed);
                    format!("{class}: {message}")
                }
                Failure::Exception { class, message } => {
                    return Err(HdfsError::Remote {
                        what: method.to_owned(),
                        path: path.to_owned(),
                        class,
                        message,
                    });
                }
            };
            if deadline.left() <= pause {
                return Err(HdfsError::Timeout {
                    what: method.to_owned(),
                    path: path.to_owned(),
                    last,
                });
            }
            deadline.sleep(pause);
            pause = (pause * 2).min(RETRY_LONGEST);
            stall = (stall + Duration::from_secs(1)).min(STALL_LONGEST);
        }
        Err(HdfsError::Config(
            "the retry counter is exhausted".to_owned(),
        ))
    }

    fn address(&self, index: usize) -> &str {
        &self.addresses[index % self.addresses.len()]
    }

    fn frame_error(&self, source: FrameError) -> HdfsError {
        let target = self.address(self.current.load(Ordering::Relaxed));
        HdfsError::Frame {
            target: format!("NameNode {target}"),
            source,
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes what waits: it leads to a NameNode that has just failed.
    fn forget_idle(&self) {
        self.idle().clear();
    }

    /// Sends a call once and returns its result, still encoded.
    fn attempt(&self, id: i32, call: &[u8], deadline: Deadline) -> Result<Vec<u8>, Failure> {
        let current = self.current.load(Ordering::Relaxed) % self.addresses.len();
        let idle = self.idle().pop();
        let idle = idle.filter(|connection| connection.address == current);
        let reused = idle.is_some();
        let link = |error| Failure::Link { error, reused };
        let (connection, opening) = match idle {
            Some(connection) => (connection, Vec::new()),
            None => (self.open(current, deadline).map_err(link)?, self.opening()),
        };
        let target = || format!("NameNode {}", self.address(current));
        let mut stream = Timed {
            stream: &connection.stream,
            deadline,
        };
        // Preamble, context and call in one write: a new connection costs no round trip.
        stream
            .write_all(&[&opening, call].concat())
            .map_err(|source| {
                link(HdfsError::Io {
                    what: "sending a call to",
                    target: target(),
                    source,
                })
            })?;
        let answer = read_frame(&mut stream, MAX_RPC_FRAME).map_err(|source| {
            let broken = matches!(source, FrameError::Io { .. });
            let error = HdfsError::Frame {
                target: target(),
                source,
            };
            if broken {
                link(error)
            } else {
                Failure::Final(error)
            }
        })?;
        self.result(id, &answer, connection)
    }

    /// The result in an answer to call `id`, still encoded. `connection` goes on where the NameNode
    /// does not close it.
    fn result(&self, id: i32, answer: &[u8], connection: Connection) -> Result<Vec<u8>, Failure> {
        let target = || format!("NameNode {}", self.address(connection.address));
        let mut rest = answer;
        let header: RpcResponseHeader = take_delimited(&mut rest, "the header of an answer")
            .map_err(|source| {
                Failure::Final(HdfsError::Frame {
                    target: target(),
                    source,
                })
            })?;
        let answered = header.call_id as i32;
        if answered == SASL_CALL_ID {
            return Err(Failure::Final(HdfsError::Config(format!(
                "{} insists on SASL; only simple authentication is offered",
                target()
            ))));
        }
        if header.status() == RpcStatus::Success && answered == id {
            let result = rest.to_vec();
            let mut idle = self.idle();
            if idle.len() < MAX_IDLE {
                idle.push(connection);
            }
            return Ok(result);
        }
        let class = header
            .exception_class_name
            .unwrap_or_else(|| "an error".to_owned());
        let message = header.error_msg.unwrap_or_default();
        let message = message.lines().next().unwrap_or_default().to_owned();
        if header.status == RpcStatus::Error as i32 && answered == id {
            self.idle().push(connection);
        }
        Err(Failure::Exception { class, message })
    }

    fn open(&self, index: usize, deadline: Deadline) -> Result<Connection, HdfsError> {
        let stream = connect(self.address(index), deadline).map_err(|source| HdfsError::Io {
            what: "connecting to",
            target: format!("NameNode {}", self.address(index)),
            source,
        })?;
        Ok(Connection {
            stream,
            address: index,
        })
    }

    /// What a new connection begins with.
    fn opening(&self) -> Vec<u8> {
        let context = IpcConnectionContext {
            user_info: Some(UserInformation {
                effective_user: Some(self.user.clone()),
                real_user: None,
            }),
            protocol: Some(CLIENT_PROTOCOL.to_owned()),
        };
        [
            RPC_PREAMBLE.to_vec(),
            context_frame(&self.client_id, &context),
        ]
        .concat()
    }
}

/// Whether an exception says "not now" or "not here".
fn is_passing(class: &str, message: &str) -> bool {
    let class = class.rsplit(['.', '$']).next().unwrap_or(class);
    [
        "RetriableException",
        "StandbyException",
        "SafeModeException",
        "ObserverRetryOnActiveException",
    ]
    .contains(&class)
        || message.contains("SafeModeException")
}

/// Connects to `host:port`, trying each address of the host, with small packets sent at once.
pub(super) fn connect(address: &str, deadline: Deadline) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in address.to_socket_addrs()? {
        let left = deadline.left();
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A connection whose every read and write ends at the deadline.
pub(super) struct Timed<'a> {
    pub(super) stream: &'a TcpStream,
    pub(super) deadline: Deadline,
}

impl Timed<'_> {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.deadline.left();
        // The system takes a time-out of zero for none at all.
        if left.is_zero() {
            Err(io::ErrorKind::TimedOut.into())
        } else {
            Ok(Some(left))
        }
    }
}

/// The system calls an expired time-out "would block", which tells nobody anything.
fn named(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::Error::new(io::ErrorKind::TimedOut, "no answer in time"),
        _ => error,
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer).map_err(named)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(buffer).map_err(named)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
