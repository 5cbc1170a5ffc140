//! The metrics over HTTP: `-Dflume.monitoring.type=http -Dflume.monitoring.port=41414`.
//!
//! | request | answer |
//! |---|---|
//! | `GET /metrics` | Flume's JSON |
//! | `GET /metrics/prometheus` | the same for Prometheus |
//! | `GET /` | a page that links to both |
//! | a request beyond 8 KiB, or not there in time | 400 |
//! | `TRACE`, `OPTIONS` | 403, as in Flume |
//! | any other path | 404 |
//! | any other method | 405 |
//!
//! One request per connection. A request has 8 KiB and 2 seconds; at most 16 are served at a time,
//! so that slow clients cost little and hold up nobody. Written by hand, because a runtime and a
//! framework would cost more memory than the rest of an idle agent.

use std::io::ErrorKind::{TimedOut, WouldBlock};
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use thiserror::Error;
use tracing::debug;

use super::Registry;
use crate::stop::Stop;

/// Longest request, in bytes.
const LONGEST_REQUEST: usize = 8 * 1024;
/// What comes behind an answered request is read and thrown away up to so many bytes.
const MOST_BEHIND: u64 = 1024 * 1024;
/// Behind the last header of a request.
const END: &[u8] = b"\r\n\r\n";
/// Time for a request to come in, and for its answer to go out.
const TIME_LIMIT: Duration = Duration::from_secs(2);
/// Requests served at a time.
const MOST_CLIENTS: usize = 16;

/// The port cannot be had.
#[derive(Debug, Error)]
#[error(
    "cannot serve metrics on port {port}: {source}; choose another flume.monitoring.port (0 for any)"
)]
pub struct BindError {
    /// The port.
    pub port: u16,
    /// What the system says.
    pub source: io::Error,
}

/// Serves metrics until it is stopped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Begins to serve `registry` on `port` of all addresses; port 0 lets the system choose.
    ///
    /// # Errors
    /// If the port cannot be had.
    pub fn start(port: u16, registry: Arc<Registry>) -> Result<Self, BindError> {
        let failed = |source| BindError { port, source };
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let stop = Stop::new();
        let token = stop.clone();
        let thread = thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(move || serve(&listener, &registry, &token))
            .map_err(failed)?;
        Ok(Self {
            address,
            stop,
            thread: Some(thread),
        })
    }

    /// The address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.set();
        // The thread waits for a connection; this is the last one it gets.
        let loopback = match self.address.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        let address = SocketAddr::new(loopback, self.address.port());
        let woken = TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok();
        if let Some(thread) = self.thread.take()
            && woken
        {
            // A panic there has been printed and changes nothing here.
            let _ = thread.join();
        }
    }
}

fn serve(listener: &TcpListener, registry: &Arc<Registry>, stop: &Stop) {
    let clients = Arc::new(AtomicUsize::new(0));
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    while !stop.is_set() {
        let Ok((stream, peer)) = listener.accept() else {
            // Out of descriptors, most likely: let some be closed first.
            stop.wait(Duration::from_millis(100));
            continue;
        };
        threads.retain(|thread| !thread.is_finished());
        if stop.is_set() || clients.load(SeqCst) >= MOST_CLIENTS {
            continue;
        }
        clients.fetch_add(1, SeqCst);
        let (registry, counter) = (Arc::clone(registry), Arc::clone(&clients));
        let spawned = thread::Builder::new()
            .name("metrics-client".to_owned())
            .spawn(move || {
                if let Err(error) = answer(stream, &registry) {
                    debug!(%peer, %error, "a client of the metrics was not served");
                }
                counter.fetch_sub(1, SeqCst);
            });
        match spawned {
            Ok(thread) => threads.push(thread),
            Err(_) => {
                clients.fetch_sub(1, SeqCst);
            }
        }
    }
    for thread in threads {
        // Ends within the time limit; a panic has been printed.
        let _ = thread.join();
    }
}

fn answer(stream: TcpStream, registry: &Registry) -> io::Result<()> {
    stream.set_write_timeout(Some(TIME_LIMIT))?;
    let deadline = Instant::now() + TIME_LIMIT;
    let mut timed = Timed {
        stream: &stream,
        deadline,
    };
    converse(&mut timed, &stream, registry)?;
    // To close a connection with bytes unread is to reset it, and the answer may be lost.
    stream.shutdown(Shutdown::Write)?;
    io::copy(&mut timed.take(MOST_BEHIND), &mut io::sink())?;
    Ok(())
}

/// A connection that is read up to an instant only.
struct Timed<'a> {
    stream: &'a TcpStream,
    deadline: Instant,
}

impl io::Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        self.stream.read(buffer)
    }
}

/// Answers the request that comes from a client. Where one side ends, or breaks, nothing is left to be
/// said.
pub(crate) fn converse(
    mut from: impl io::Read,
    to: impl io::Write,
    registry: &Registry,
) -> io::Result<()> {
    let mut request = Vec::new();
    let mut piece = [0; 1024];
    while !request.ends_with(END) {
        let room = piece.len().min(LONGEST_REQUEST - request.len());
        if room == 0 {
            return refuse(to, "the request is too long");
        }
        let size = match from.read(&mut piece[..room]) {
            Ok(0) => return Ok(()),
            Ok(size) => size,
            Err(error) if matches!(error.kind(), TimedOut | WouldBlock) => {
                return refuse(to, "no request in time");
            }
            Err(error) => return Err(error),
        };
        // The end may lie across two pieces. What comes behind it is not looked at.
        let before = request.len().saturating_sub(3);
        request.extend_from_slice(&piece[..size]);
        let mut ends = request[before..].windows(END.len());
        if let Some(at) = ends.position(|end| end == END) {
            request.truncate(before + at + END.len());
        }
    }
    reply(&request, to, registry)
}

fn refuse(to: impl io::Write, why: &str) -> io::Result<()> {
    respond(to, "400 Bad Request", "text/plain", why)
}

fn reply(request: &[u8], to: impl io::Write, registry: &Registry) -> io::Result<()> {
    let line = request
        .split(|byte| *byte == b'\r')
        .next()
        .unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    let (method, target) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let path = target.split('?').next().unwrap_or_default();
    match (method, path) {
        ("TRACE" | "OPTIONS", _) => respond(to, "403 Forbidden", "text/plain", "forbidden"),
        ("GET", "/metrics") => respond(
            to,
            "200 OK",
            "application/json;charset=utf-8",
            &registry.json(),
        ),
        ("GET", "/metrics/prometheus") => {
            let form = "text/plain; version=0.0.4; charset=utf-8";
            respond(to, "200 OK", form, &registry.prometheus())
        }
        ("GET", "/") => {
            let page = "<!doctype html><title>metrics</title><a href=\"/metrics\">JSON</a> \
                        <a href=\"/metrics/prometheus\">Prometheus</a>";
            respond(to, "200 OK", "text/html;charset=utf-8", page)
        }
        ("GET", _) => respond(to, "404 Not Found", "text/plain", "not found"),
        _ => respond(to, "405 Method Not Allowed", "text/plain", "only GET"),
    }
}

fn respond(mut to: impl io::Write, status: &str, form: &str, body: &str) -> io::Result<()> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {form}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    to.write_all(head.as_bytes())?;
    to.write_all(body.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn request_of(bytes: usize) -> String {
        let (head, end) = ("GET / HTTP/1.1\r\nX: ", "\r\n\r\n");
        let value = "x".repeat(bytes - head.len() - end.len());
        format!("{head}{value}{end}")
    }

    fn ask(server: &Server, request: &str) -> String {
        let mut stream =
            TcpStream::connect((Ipv4Addr::LOCALHOST, server.address().port())).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Closed with bytes unread, a connection is reset, and the client may never see the answer.
    #[test]
    fn a_request_that_is_much_too_long_gets_its_answer() {
        let server = Server::start(0, Arc::default()).unwrap();
        for _ in 0..50 {
            let answer = ask(&server, &request_of(40 * LONGEST_REQUEST));
            assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        }
    }

    #[test]
    fn answers_as_documented() {
        let server = Server::start(0, Arc::default()).unwrap();
        // A client that says nothing holds nobody up.
        let _silent = TcpStream::connect((Ipv4Addr::LOCALHOST, server.address().port())).unwrap();
        let json = ask(&server, "GET /metrics?x HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(
            json.starts_with("HTTP/1.1 200 OK\r\n") && json.ends_with("\r\n\r\n{}"),
            "{json}"
        );
        let text = ask(&server, "GET /metrics/prometheus HTTP/1.1\r\n\r\n");
        assert!(text.starts_with("HTTP/1.1 200 OK"), "{text}");
        for (request, status) in [
            ("OPTIONS /metrics HTTP/1.1\r\n\r\n", "403"),
            ("TRACE / HTTP/1.1\r\n\r\n", "403"),
            ("GET /other HTTP/1.1\r\n\r\n", "404"),
            ("POST /metrics HTTP/1.1\r\n\r\n", "405"),
            ("GET / HTTP/1.0\r\n\r\n", "200"),
            // Neither counts what comes behind the end.
            ("GET / HTTP/1.1\r\n\r\nGET /other HTTP/1.1\r\n\r\n", "200"),
            (&request_of(LONGEST_REQUEST), "200"),
            (&request_of(LONGEST_REQUEST + 1), "400"),
        ] {
            let answer = ask(&server, request);
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status}")),
                "{request}: {answer}"
            );
        }
    }

    #[test]
    fn a_taken_port_is_said_to_be_so() {
        let server = Server::start(0, Arc::default()).unwrap();
        let port = server.address().port();
        let error = Server::start(port, Arc::default()).unwrap_err();
        assert!(error.to_string().contains(&port.to_string()));
        drop(server);
        Server::start(port, Arc::default()).unwrap();
    }
}
