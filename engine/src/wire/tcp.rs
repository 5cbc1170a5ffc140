//! Blocking TCP with deadlines and a way to stop, shared by the sources and sinks that speak over a
//! socket.
//!
//! A socket blocks for at most [`TICK`] at a time. Between two ticks the caller's deadline and its
//! stop token are looked at, so nothing waits longer for a silent peer than it may, and every
//! thread ends soon after it is told to.

use std::io::{Error, ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tracing::warn;

/// The longest time for which a socket call blocks.
pub const TICK: Duration = Duration::from_millis(200);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name has no address.
    #[error("cannot find the address of {host}: {source}; check the hostname")]
    Resolve {
        /// The name.
        host: String,
        /// The resolver's error.
        source: Error,
    },
    /// None of the addresses took the connection.
    #[error("cannot connect to {host}:{port}: {source}; is the receiver running there?")]
    Connect {
        /// The name.
        host: String,
        /// The port.
        port: u16,
        /// The error of the last address tried; `TimedOut` or `Interrupted` when given up.
        source: Error,
    },
}

/// Why a port could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address}: {source}; is the port in use, or the address not of this machine?"
)]
pub struct ListenError {
    /// What was asked for, host and port.
    pub address: String,
    /// The system's error.
    pub source: Error,
}

/// Connects to the first address of `host` that accepts, within `timeout` for all of them together.
pub fn connect(
    host: &str,
    port: u16,
    timeout: Duration,
    stopped: &dyn Fn() -> bool,
) -> Result<TcpStream, ConnectError> {
    let deadline = Instant::now() + timeout;
    let addresses = (host, port)
        .to_socket_addrs()
        .map_err(|source| ConnectError::Resolve {
            host: host.to_owned(),
            source,
        })?;
    let mut last = Error::new(ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match connect_one(address, deadline, stopped) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(ConnectError::Connect {
        host: host.to_owned(),
        port,
        source: last,
    })
}

/// Connects without blocking, because a blocking connect to a host that drops packets could not be
/// stopped.
fn connect_one(
    address: SocketAddr,
    deadline: Instant,
    stopped: &dyn Fn() -> bool,
) -> Result<TcpStream, Error> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    if let Err(error) = socket.connect(&address.into()) {
        // EINPROGRESS has no ErrorKind of its own.
        if error.kind() != ErrorKind::WouldBlock
            && error.raw_os_error() != Some(nix::libc::EINPROGRESS)
        {
            return Err(error);
        }
    }
    let mut pause = Duration::from_micros(50);
    loop {
        if let Some(error) = socket.take_error()? {
            return Err(error);
        }
        match socket.peer_addr() {
            Ok(_) => break,
            Err(error) if error.kind() == ErrorKind::NotConnected => {}
            Err(error) => return Err(error),
        }
        may_wait(deadline, stopped)?;
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
    socket.set_nonblocking(false)?;
    let stream = TcpStream::from(socket);
    set_ticks(&stream)?;
    Ok(stream)
}

/// Makes reads and writes return after a [`TICK`], and small answers leave at once.
pub fn set_ticks(stream: &TcpStream) -> Result<(), Error> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TICK))?;
    stream.set_write_timeout(Some(TICK))
}

/// Listens on `host` and `port`; port 0 takes a free one. `accept` on the listener returns after a
/// [`TICK`] at most, with an error of which [`is_pause`] is true.
pub fn listen(host: &str, port: u16) -> Result<TcpListener, ListenError> {
    let failed = |source| ListenError {
        address: format!("{host}:{port}"),
        source,
    };
    let mut last = Error::new(ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs().map_err(failed)? {
        match TcpListener::bind(address) {
            Ok(listener) => {
                // Linux heeds the receive timeout in accept too.
                SockRef::from(&listener)
                    .set_read_timeout(Some(TICK))
                    .map_err(failed)?;
                return Ok(listener);
            }
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

/// Writes all of `bytes`, or fails with `TimedOut` after `deadline` and with `Interrupted` once
/// `stopped`.
pub fn write_all(
    stream: &mut TcpStream,
    mut bytes: &[u8],
    deadline: Instant,
    stopped: &dyn Fn() -> bool,
) -> Result<(), Error> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(len) => bytes = &bytes[len..],
            Err(error) if is_pause(&error) => may_wait(deadline, stopped)?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// True for the errors that only say that a tick is over.
pub fn is_pause(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

/// Fails when there is no more time (`TimedOut`) or no more point (`Interrupted`) in waiting.
pub fn may_wait(deadline: Instant, stopped: &dyn Fn() -> bool) -> Result<(), Error> {
    if stopped() {
        Err(ErrorKind::Interrupted.into())
    } else if Instant::now() >= deadline {
        Err(ErrorKind::TimedOut.into())
    } else {
        Ok(())
    }
}

/// Connections served at a time, unless there is reason to differ. Each has a thread, of which the
/// kernel commits only what it touches.
pub const MAX_CONNECTIONS: usize = 1024;

/// Accepts connections until `stopped`, each served by `serve` on a thread of its own, and returns
/// when the last of these has ended; `serve` has to look at `stopped` between two ticks as well.
///
/// A connection that says nothing, or half of something, keeps only its own thread waiting. Beyond
/// `limit` connections new ones are closed at once: a client then sees an error and not a silence.
pub fn serve(
    listener: &TcpListener,
    limit: usize,
    stopped: &(dyn Fn() -> bool + Sync),
    serve: &(dyn Fn(TcpStream, SocketAddr) + Sync),
) {
    let open = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        while !stopped() {
            let (stream, peer) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if is_pause(&error) => continue,
                Err(error) => {
                    // Out of descriptors, most likely: existing connections go on meanwhile.
                    warn!(%error, "cannot accept a connection; trying on");
                    std::thread::sleep(TICK);
                    continue;
                }
            };
            if open.load(Ordering::Relaxed) >= limit {
                warn!(%peer, limit, "too many connections; this one is closed");
                continue;
            }
            if let Err(error) = set_ticks(&stream).and_then(|()| notice_dead_peers(&stream)) {
                warn!(%peer, %error, "a connection broke before it was used");
                continue;
            }
            open.fetch_add(1, Ordering::Relaxed);
            let open = &open;
            let thread = std::thread::Builder::new().name(format!("serve {peer}"));
            let spawned = thread.spawn_scoped(scope, move || {
                serve(stream, peer);
                open.fetch_sub(1, Ordering::Relaxed);
            });
            if let Err(error) = spawned {
                open.fetch_sub(1, Ordering::Relaxed);
                warn!(%peer, %error, "no thread for a connection; it is closed");
            }
        }
    });
}

/// Lets the kernel find out about peers that vanished without a word, within about two minutes.
fn notice_dead_peers(stream: &TcpStream) -> Result<(), Error> {
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(20));
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_connection_names_host_and_port() {
        let port = listen("127.0.0.1", 0).unwrap().local_addr().unwrap().port();
        let error = connect("127.0.0.1", port, Duration::from_secs(5), &|| false).unwrap_err();
        assert!(
            error.to_string().contains(&format!("127.0.0.1:{port}")),
            "{error}"
        );
    }

    #[test]
    fn accept_returns_without_a_client() {
        let listener = listen("127.0.0.1", 0).unwrap();
        assert!(is_pause(&listener.accept().unwrap_err()));
    }

    #[test]
    fn a_peer_that_reads_nothing_cannot_hold_the_writer() {
        let listener = listen("127.0.0.1", 0).unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut stream = connect("127.0.0.1", port, Duration::from_secs(5), &|| false).unwrap();
        let bytes = vec![0; 64 << 20];
        let error = write_all(&mut stream, &bytes, Instant::now(), &|| false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let error = write_all(
            &mut stream,
            &bytes,
            Instant::now() + Duration::from_secs(60),
            &|| true,
        )
        .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Interrupted);
    }
}
