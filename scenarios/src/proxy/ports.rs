//! Ports of the tests, on several addresses of the loopback network at once, that stay theirs.
//!
//! A run takes its ports elsewhere ([`crate::runner::ports`]): it starts programs of which nobody knows
//! whether they set `SO_REUSEADDR`. In tests, a [`Reservation`] keeps a socket bound, but not listening, on each of the
//! addresses. Linux lets a server bind beside it as long as both set `SO_REUSEADDR` (the JVM, Rust
//! and Go do), while nobody else is given the number: neither a listener that asks for any port,
//! nor an outgoing connection, which would otherwise sooner or later sit on the port of a store
//! that a fault has just killed.

use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

/// Attempts to find a number that is free on every address.
const TRIES: usize = 200;

/// One port number on several addresses, ours until this is dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    port: u16,
    sockets: Vec<Socket>,
}

impl Reservation {
    /// The number.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// How many addresses it is held on.
    pub(crate) fn addresses(&self) -> usize {
        self.sockets.len()
    }
}

/// Takes one port number, chosen by the kernel, on all of these addresses.
pub(crate) fn reserve(addresses: &[IpAddr]) -> io::Result<Reservation> {
    let mut last = io::Error::new(io::ErrorKind::InvalidInput, "no address to take a port on");
    for _ in 0..TRIES {
        match attempt(addresses, 0) {
            Ok(reservation) => return Ok(reservation),
            Err(error) => last = error,
        }
        if addresses.is_empty() || last.kind() != io::ErrorKind::AddrInUse {
            break;
        }
    }
    Err(last)
}

/// Takes this very port number on all of these addresses.
pub(crate) fn reserve_port(addresses: &[IpAddr], port: u16) -> io::Result<Reservation> {
    attempt(addresses, port)
}

fn attempt(addresses: &[IpAddr], mut port: u16) -> io::Result<Reservation> {
    let mut sockets = Vec::with_capacity(addresses.len());
    for address in addresses {
        let socket = bound(SocketAddr::new(*address, port))?;
        if let Some(local) = socket.local_addr()?.as_socket() {
            port = local.port();
        }
        sockets.push(socket);
    }
    if sockets.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "no address to take a port on",
        ));
    }
    Ok(Reservation { port, sockets })
}

fn bound(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // Without a chosen number the kernel must look for one nobody has; asking for reuse would let
    // it hand out a number that somebody else merely reserves. It is asked for afterwards, and
    // counts from then on.
    socket.set_reuse_address(address.port() != 0)?;
    socket.bind(&address.into())?;
    socket.set_reuse_address(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_reserved_port_serves_both_addresses_again_and_again() {
        let near = IpAddr::from(Ipv4Addr::LOCALHOST);
        let far = IpAddr::from(Ipv4Addr::new(127, 0, 0, 101));
        let reservation = reserve(&[near, far]).unwrap();
        assert_eq!(reservation.addresses(), 2);
        let port = reservation.port();
        // As a server that is killed and started again while connections linger.
        for _ in 0..3 {
            let server = TcpListener::bind((near, port)).unwrap();
            let proxy = TcpListener::bind((far, port)).unwrap();
            let client = TcpStream::connect((near, port)).unwrap();
            drop((server.accept().unwrap(), client, proxy));
        }
        assert!(
            TcpStream::connect((near, port)).is_err(),
            "held, but nobody listens"
        );
    }

    #[test]
    fn a_reserved_port_is_given_to_nobody_else() {
        let near = IpAddr::from(Ipv4Addr::LOCALHOST);
        let first = reserve(&[near]).unwrap();
        let others: Vec<Reservation> = (0..50).map(|_| reserve(&[near]).unwrap()).collect();
        assert!(others.iter().all(|other| other.port() != first.port()));
        let taken = TcpListener::bind((near, 0)).unwrap();
        let error = reserve_port(&[near], taken.local_addr().unwrap().port()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(
            reserve(&[]).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
    }
}
