//! One gate on a machine at a time: two of them would measure each other.
//!
//! The lock is a socket in the kernel's abstract name space. It needs no file that somebody else's
//! permissions could be in the way of, and it ends with the process, however that ends. Containers
//! with a network of their own do not see each other's; the noise guard does.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use crate::scenario::reader::Problem;

/// The name of the socket.
const NAME: &str = "flume-bench-gate";

/// Held while a gate measures.
#[derive(Debug)]
pub struct Lock {
    _listener: UnixListener,
}

impl Lock {
    /// Takes it, or says that somebody else has it.
    ///
    /// # Errors
    /// Another gate runs on this machine.
    pub fn take() -> Result<Self, Problem> {
        Self::named(NAME)
    }

    fn named(name: &str) -> Result<Self, Problem> {
        SocketAddr::from_abstract_name(name)
            .and_then(|address| UnixListener::bind_addr(&address))
            .map(|listener| Self {
                _listener: listener,
            })
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::AddrInUse => Problem::of_machine(
                    "another gate runs on this machine, and the two would measure each other",
                    "wait until it has ended",
                ),
                _ => Problem::of_machine(
                    format!("the lock that keeps gates apart cannot be taken: {error}"),
                    "gates need Linux and its abstract sockets",
                ),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_until_the_first_has_ended() {
        let name = format!("flume-bench-gate-test-{}", std::process::id());
        let first = Lock::named(&name).unwrap();
        let refused = Lock::named(&name).unwrap_err();
        assert!(refused.message.contains("another gate"), "{refused}");
        drop(first);
        Lock::named(&name).unwrap();
    }
}
