//! A blocking socket that never blocks for longer than it may.
//!
//! Reads and writes wait in slices, between which the deadline and the abort are looked at; so an
//! aborted load ends within a slice, and no call outlives its time-out.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use super::Patience;

/// How long one system call may wait.
const SLICE: Duration = Duration::from_millis(50);

/// How long one attempt to connect may wait: longer than the first retransmission of a SYN.
const CONNECT: Duration = Duration::from_millis(1_200);

/// One connection, and how much was written to it.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    local: SocketAddr,
    written: u64,
}

impl Socket {
    /// Connects. A refusal is final at once; silence is waited out until the deadline.
    pub(super) fn connect(to: SocketAddr, patience: &Patience<'_>) -> io::Result<Socket> {
        loop {
            let left = patience.left().ok_or(io::ErrorKind::TimedOut)?;
            match TcpStream::connect_timeout(&to, left.min(CONNECT)) {
                Ok(stream) => {
                    // Batches are whole messages: waiting for more would only add latency.
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(SLICE))?;
                    stream.set_write_timeout(Some(SLICE))?;
                    let local = stream.local_addr()?;
                    return Ok(Socket {
                        stream,
                        local,
                        written: 0,
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the peer has neither ended nor reset the connection, as far as is known here. Asked
    /// before an idle connection is used again: bytes written to one that its peer has left would
    /// make a batch unknown of which nothing can have arrived.
    pub(super) fn is_alive(&self) -> bool {
        let peeked = self
            .stream
            .set_nonblocking(true)
            .and_then(|()| self.stream.peek(&mut [0]));
        let blocking = self.stream.set_nonblocking(false);
        match peeked {
            Ok(count) => count > 0 && blocking.is_ok(),
            Err(error) => is_slice(&error) && blocking.is_ok(),
        }
    }

    /// Our address on this connection, and how many bytes were written to it so far.
    pub(super) fn position(&self) -> (SocketAddr, u64) {
        (self.local, self.written)
    }

    /// Writes some of `bytes`; `None` if the slice passed without room for any.
    pub(super) fn write_some(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        match self.stream.write(bytes) {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                self.written += count as u64;
                Ok(Some(count))
            }
            Err(error) if is_slice(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes some of `bytes`, as [`Socket::write_some`]; `None` at once if there are none.
    pub(super) fn write_some_of(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        if bytes.is_empty() {
            Ok(None)
        } else {
            self.write_some(bytes)
        }
    }

    /// Writes all of `bytes`. [`Socket::position`] says how much of it was written on an error.
    pub(super) fn write_all(
        &mut self,
        mut bytes: &[u8],
        patience: &Patience<'_>,
    ) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write_some(bytes)? {
                Some(count) => bytes = bytes.get(count..).unwrap_or_default(),
                None => drop(patience.left().ok_or(io::ErrorKind::TimedOut)?),
            }
        }
        Ok(())
    }

    /// Reads what is there; `None` if the slice passed without any. An end of stream is an error.
    pub(super) fn read_some(&mut self, into: &mut [u8]) -> io::Result<Option<usize>> {
        match self.stream.read(into) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => Ok(Some(count)),
            Err(error) if is_slice(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads at least one byte.
    pub(super) fn read(&mut self, into: &mut [u8], patience: &Patience<'_>) -> io::Result<usize> {
        loop {
            if let Some(count) = self.read_some(into)? {
                return Ok(count);
            }
            patience.left().ok_or(io::ErrorKind::TimedOut)?;
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // The peer may be gone already, which is just as well.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

fn is_slice(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}
