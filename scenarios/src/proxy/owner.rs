//! Who opened a connection: the process behind a client address.
//!
//! Links that share a listener (agent → DataNode and DataNode → DataNode) are told apart by the
//! owner of the connecting socket. Its row in `/proc/net/tcp` (or `tcp6`: a JVM speaks IPv4
//! through IPv6 sockets) gives the inode, and the process that holds `socket:[inode]` open is the
//! owner. Only processes of the run are searched, so the cost is a few milliseconds at the most
//! and nothing is learned about strangers.
//!
//! An owner is not found if it has closed the socket before the look. Such a connection counts for
//! no role; it has nothing left to say on it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use crate::process::{Registry, Stat, procfs};

/// The process behind a client address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Process id of the one that holds the socket.
    pub pid: i32,
    /// The role of the process of the run that it is, or descends from.
    pub role: String,
}

/// Finds owners.
pub trait Owners: Send + Sync + 'static {
    /// The process that opened the connection from `client` to `server`.
    fn owner(&self, client: SocketAddr, server: SocketAddr) -> Option<Owner>;
}

/// Looks among the processes of a registry and the harness itself.
#[derive(Debug, Clone)]
pub struct RunOwners {
    registry: Registry,
    own_role: String,
}

impl RunOwners {
    /// `own_role` is what connections of the harness itself are called: `generator`.
    pub fn new(registry: Registry, own_role: impl Into<String>) -> Self {
        Self {
            registry,
            own_role: own_role.into(),
        }
    }
}

impl Owners for RunOwners {
    fn owner(&self, client: SocketAddr, server: SocketAddr) -> Option<Owner> {
        let inode = inode(client, server)?;
        let living = self.registry.living();
        // The processes that were spawned hold nearly all sockets: look there first.
        for process in &living {
            if holds(process.pid(), inode) {
                return Some(Owner {
                    pid: process.pid(),
                    role: process.role().to_owned(),
                });
            }
        }
        let own = std::process::id().cast_signed();
        if holds(own, inode) {
            return Some(Owner {
                pid: own,
                role: self.own_role.clone(),
            });
        }
        let everyone = procfs::all();
        for process in &living {
            let members = everyone
                .iter()
                .filter(|stat| belongs(stat, process.pid(), &everyone));
            if let Some(stat) = members.into_iter().find(|stat| holds(stat.pid, inode)) {
                return Some(Owner {
                    pid: stat.pid,
                    role: process.role().to_owned(),
                });
            }
        }
        None
    }
}

/// Whether a process is in the group of a leader or descends from it.
fn belongs(stat: &Stat, leader: i32, everyone: &[Stat]) -> bool {
    let mut current = *stat;
    // A family tree deeper than this is none of ours.
    for _ in 0..32 {
        if current.group == leader || current.parent == leader {
            return true;
        }
        match everyone.iter().find(|other| other.pid == current.parent) {
            Some(parent) => current = *parent,
            None => return false,
        }
    }
    false
}

/// The inode of the socket whose own end is `client` and whose far end is `server`.
fn inode(client: SocketAddr, server: SocketAddr) -> Option<u64> {
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .find_map(|table| {
            let text = fs::read_to_string(table).ok()?;
            text.lines().skip(1).find_map(|line| {
                let (own, far, inode) = row(line)?;
                (inode != 0 && same(own, client) && same(far, server)).then_some(inode)
            })
        })
}

fn same(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && a.ip().to_canonical() == b.ip().to_canonical()
}

/// Own address, far address and inode of one row; the fields are described in
/// `Documentation/networking/proc_net_tcp.rst` of the Linux kernel.
fn row(line: &str) -> Option<(SocketAddr, SocketAddr, u64)> {
    let mut fields = line.split_ascii_whitespace();
    let own = address(fields.nth(1)?)?;
    let far = address(fields.next()?)?;
    Some((own, far, fields.nth(6)?.parse().ok()?))
}

/// `0100007F:1F90` is 127.0.0.1:8080: the address in 32-bit words as they lie in memory, the port
/// as a number.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| -> Option<[u8; 4]> {
        Some(
            u32::from_str_radix(ip.get(at..at + 8)?, 16)
                .ok()?
                .to_ne_bytes(),
        )
    };
    let ip: IpAddr = match ip.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let mut bytes = [0; 16];
            bytes
                .iter_mut()
                .zip(words.as_flattened())
                .for_each(|(to, from)| *to = *from);
            Ipv6Addr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

fn holds(pid: i32, inode: u64) -> bool {
    let wanted = format!("socket:[{inode}]");
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    entries
        .flatten()
        .any(|entry| fs::read_link(entry.path()).is_ok_and(|link| link == Path::new(&wanted)))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn addresses_are_read_as_the_kernel_writes_them() {
        let text = "0100007F:1F90";
        if cfg!(target_endian = "little") {
            assert_eq!(address(text).unwrap(), "127.0.0.1:8080".parse().unwrap());
            let mapped = "0000000000000000FFFF00006600007F:0050";
            assert_eq!(address(mapped).unwrap(), "127.0.0.102:80".parse().unwrap());
        }
        for text in ["", "0100007F", "0100007F:", "01:02", "zzzzzzzz:0050"] {
            assert!(address(text).is_none(), "{text}");
        }
    }

    #[test]
    fn the_harness_is_found_behind_its_own_socket() {
        let directory = tempfile::tempdir().unwrap();
        let registry = Registry::create(directory.path()).unwrap();
        let owners = RunOwners::new(registry, "generator");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let client = TcpStream::connect(server).unwrap();
        let address = client.local_addr().unwrap();
        let owner = owners.owner(address, server).unwrap();
        assert_eq!(owner.role, "generator");
        assert_eq!(owner.pid, std::process::id().cast_signed());
        assert!(
            owners
                .owner(server, "127.0.0.1:1".parse().unwrap())
                .is_none()
        );
    }
}
