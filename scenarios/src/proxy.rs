//! The fault proxy: a TCP proxy inside the run, one on every link, through which network faults
//! act.
//!
//! [`Proxies`] owns one thread that serves all proxies of a run. A [`Proxy`] listens on one or
//! several addresses and passes connections on to one server. A [`Link`] is what a fault acts on:
//! one or several proxies (data, IPC and HTTP port of a node are one link), narrowed where needed
//! to the connections that one role opened ([`owner`]).
//!
//! What it guarantees:
//!
//! - It connects to the server before it reads from the client. If the server refuses, the client
//!   is reset and not one of its bytes was taken.
//! - Half-close is kept: the end of one direction is passed on alone.
//! - It adds no waiting of its own: TCP_NODELAY on both sides.
//! - Bytes are delivered in order, or the connection is reset. It never loses some of them, and
//!   never makes any up.
//! - A change of conditions is one step for all ports of a link and all its connections, the
//!   living included; it takes effect within the time the thread needs to look at them.
//! - What became of every attempt is noted by the data path ([`evidence`]).
//!
//! What it cannot do: packets are not its business, so nothing is reordered or lost within a
//! stream; with [`Cut::Drop`] a new connection is accepted by the kernel and then hangs, where in
//! a real partition `connect` itself would hang; and a one-way cut leaves the acknowledgements of
//! the other way intact, where real TCP would stall both sooner or later.

mod connection;
pub mod evidence;
pub(crate) mod fuzzing;
pub mod owner;
#[cfg(test)]
pub(crate) mod ports;
mod pump;
pub mod rules;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use self::evidence::{Book, Conn};
use self::rules::{Rule, RuleSet};

pub use self::evidence::{Attempt, Fate, Silence, Traffic};
pub use self::owner::{Owner, Owners, RunOwners};
pub use self::rules::{Condition, Conditions, Cut, Direction, Directions, RuleId};

/// Bytes held for one direction of a connection before the sender feels back-pressure. Buffers of
/// the kernel come on top of it.
pub const HELD_BYTES: usize = 256 * 1024;

/// The same while a link is slow: bytes in flight take room, and a latency of 100 ms leaves
/// 40 MB/s to each connection.
pub const SLOWED_BYTES: usize = 4 * 1024 * 1024;

/// What went wrong with a proxy.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The thread that serves the proxies did not start.
    #[error("starting the thread of the fault proxies: {source}")]
    Start {
        /// What the system said.
        source: io::Error,
    },
    /// An address cannot be listened on.
    #[error("proxy {name}: listening on {address}: {source}; is the port taken?")]
    Listen {
        /// The proxy.
        name: String,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A proxy needs at least one address.
    #[error("proxy {name}: no address to listen on was given")]
    NoAddress {
        /// The proxy.
        name: String,
    },
}

/// What to open.
#[derive(Debug, Clone)]
pub struct ProxySpec {
    /// Name in evidence and reports, such as `agent->namenode`.
    pub name: String,
    /// Addresses to listen on. Port 0 lets the kernel choose; addresses after the first one that
    /// also have port 0 get the same number as the first.
    pub listen: Vec<SocketAddr>,
    /// The server.
    pub upstream: SocketAddr,
    /// Whether to look up who opened each connection. Needed where links share the listener; costs
    /// some milliseconds a connection.
    pub attribute: bool,
}

/// All proxies of a run, and the thread that serves them. When it is dropped every connection is
/// broken and every port is free.
pub struct Proxies {
    runtime: Option<Runtime>,
    shared: Arc<Shared>,
}

struct Shared {
    seed: u64,
    rules: watch::Sender<Arc<RuleSet>>,
    next_rule: AtomicU64,
    next_conn: AtomicU64,
    opened: Mutex<usize>,
    owners: Option<Arc<dyn Owners>>,
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxies")
            .field("rules", &self.shared.rules.borrow().rules)
            .finish_non_exhaustive()
    }
}

impl Proxies {
    /// Starts the thread. The seed decides the jitter; `owners` finds out who opened a connection,
    /// for the proxies that want to know.
    pub fn start(seed: u64, owners: Option<Arc<dyn Owners>>) -> Result<Self, ProxyError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("proxies")
            .enable_all()
            .build()
            .map_err(|source| ProxyError::Start { source })?;
        let shared = Arc::new(Shared {
            seed,
            rules: watch::Sender::new(Arc::default()),
            next_rule: AtomicU64::new(0),
            next_conn: AtomicU64::new(0),
            opened: Mutex::new(0),
            owners,
        });
        Ok(Self {
            runtime: Some(runtime),
            shared,
        })
    }

    /// Opens a proxy. It accepts connections when this returns, whether or not the server is up.
    pub fn open(&self, spec: &ProxySpec) -> Result<Proxy, ProxyError> {
        let mut listeners = Vec::new();
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for address in &spec.listen {
            let mut address = *address;
            if let Some(first) = addresses.first().filter(|_| address.port() == 0) {
                address.set_port(first.port());
            }
            let failed = |source| ProxyError::Listen {
                name: spec.name.clone(),
                address,
                source,
            };
            let listener = listening(address).map_err(failed)?;
            addresses.push(listener.local_addr().map_err(failed)?);
            listeners.push(listener);
        }
        let (Some(runtime), Some(first)) = (&self.runtime, addresses.first().copied()) else {
            return Err(ProxyError::NoAddress {
                name: spec.name.clone(),
            });
        };
        let mut opened = self
            .shared
            .opened
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let listening = Arc::new(Listening {
            number: *opened,
            seed: self.shared.seed,
            book: Book::new(&spec.name),
            upstream: Mutex::new(spec.upstream),
        });
        *opened += 1;
        drop(opened);
        let _inside = runtime.enter();
        for listener in listeners {
            let failed = |source| ProxyError::Listen {
                name: spec.name.clone(),
                address: first,
                source,
            };
            let listener = TcpListener::from_std(listener).map_err(failed)?;
            let owners = self.shared.owners.clone().filter(|_| spec.attribute);
            let (shared, listening) = (Arc::clone(&self.shared), Arc::clone(&listening));
            runtime.spawn(accept(shared, listening, listener, owners));
        }
        Ok(Proxy {
            listening,
            addresses,
        })
    }

    /// Makes a link of these proxies, of all their connections or of those one role opens.
    pub fn link(&self, name: &str, proxies: &[Proxy], owner: Option<&str>) -> Link {
        Link {
            inner: Arc::new(LinkInner {
                name: name.to_owned(),
                proxies: proxies.to_vec(),
                owner: owner.map(str::to_owned),
                shared: Arc::clone(&self.shared),
            }),
        }
    }

    /// Removes all rules: every link is whole.
    pub fn heal_all(&self) {
        self.shared.rules.send_replace(Arc::default());
    }
}

impl Drop for Proxies {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The part of a proxy that its tasks share.
#[derive(Debug)]
struct Listening {
    number: usize,
    seed: u64,
    book: Book,
    upstream: Mutex<SocketAddr>,
}

impl Listening {
    fn lock_upstream(&self) -> MutexGuard<'_, SocketAddr> {
        self.upstream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn upstream(&self) -> SocketAddr {
        *self.lock_upstream()
    }
}

/// One proxy; clones are handles to the same one. It lives as long as its [`Proxies`].
#[derive(Debug, Clone)]
pub struct Proxy {
    listening: Arc<Listening>,
    addresses: Vec<SocketAddr>,
}

impl Proxy {
    /// Where it listens, in the order that was asked for.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The first address.
    pub fn address(&self) -> SocketAddr {
        // `open` refuses a proxy without an address.
        self.addresses
            .first()
            .copied()
            .unwrap_or_else(|| self.listening.upstream())
    }

    /// Where connections made from now on go, for a server that came back on another port.
    pub fn set_upstream(&self, upstream: SocketAddr) {
        *self.listening.lock_upstream() = upstream;
    }

    /// Bytes written to the server for the latest connection from this client address, once the client
    /// has closed its end. `None` if none is known, either because it never arrived or because it ended
    /// many thousand connections ago; and while bytes that were held back, or not taken yet, may still be
    /// passed on. A connection that was closed before the proxy reached the server stays at 0.
    pub fn forwarded(&self, client: SocketAddr) -> Option<u64> {
        self.listening.book.forwarded(client)
    }

    /// Counts since it was opened.
    pub fn traffic(&self) -> Traffic {
        self.listening.book.traffic(None)
    }

    /// What became of the attempts that touch a window of time.
    pub fn attempts(&self, from: Instant, to: Instant) -> Vec<Attempt> {
        let mut attempts = self.listening.book.attempts(None, from, to);
        attempts.sort_by_key(|attempt| attempt.at);
        attempts
    }
}

/// What a network fault acts on; clones are handles to the same one.
#[derive(Clone)]
pub struct Link {
    inner: Arc<LinkInner>,
}

struct LinkInner {
    name: String,
    proxies: Vec<Proxy>,
    owner: Option<String>,
    shared: Arc<Shared>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("name", &self.inner.name)
            .field("owner", &self.inner.owner)
            .finish_non_exhaustive()
    }
}

impl Link {
    /// Its name, `from->to`.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The proxies it is made of.
    pub fn proxies(&self) -> &[Proxy] {
        &self.inner.proxies
    }

    /// Adds conditions, on all its ports and connections in one step.
    pub fn impose(&self, conditions: Conditions) -> RuleId {
        let shared = &self.inner.shared;
        let id = RuleId(shared.next_rule.fetch_add(1, Ordering::Relaxed));
        let proxies = self
            .inner
            .proxies
            .iter()
            .map(|proxy| proxy.listening.number)
            .collect();
        let rule = Arc::new(Rule::new(id, proxies, self.inner.owner.clone(), conditions));
        shared.rules.send_modify(|rules| {
            let mut next = RuleSet::clone(rules);
            next.rules.push(rule);
            *rules = Arc::new(next);
        });
        id
    }

    /// Removes conditions; does nothing if they have been removed before.
    pub fn lift(&self, id: RuleId) {
        self.inner.shared.rules.send_modify(|rules| {
            let mut next = RuleSet::clone(rules);
            next.rules.retain(|rule| rule.id != id);
            *rules = Arc::new(next);
        });
    }

    /// What became of the attempts over this link that touch a window of time, oldest first.
    pub fn attempts(&self, from: Instant, to: Instant) -> Vec<Attempt> {
        let role = self.inner.owner.as_deref();
        let books = self.inner.proxies.iter().map(|proxy| &proxy.listening.book);
        let mut attempts: Vec<Attempt> = books
            .flat_map(|book| book.attempts(role, from, to))
            .collect();
        attempts.sort_by_key(|attempt| attempt.at);
        attempts
    }

    /// Bytes of this link since it was opened. Where the listener is shared, the numbers of
    /// connections are those of all links that share it.
    pub fn traffic(&self) -> Traffic {
        let role = self.inner.owner.as_deref();
        let all = self
            .inner
            .proxies
            .iter()
            .map(|proxy| proxy.listening.book.traffic(role));
        all.fold(Traffic::default(), |sum, one| Traffic {
            accepted: sum.accepted + one.accepted,
            connected: sum.connected + one.connected,
            up_bytes: sum.up_bytes + one.up_bytes,
            down_bytes: sum.down_bytes + one.down_bytes,
        })
    }
}

/// Accepts connections as long as the proxies live.
async fn accept(
    shared: Arc<Shared>,
    proxy: Arc<Listening>,
    listener: TcpListener,
    owners: Option<Arc<dyn Owners>>,
) {
    loop {
        let Ok((client, address)) = listener.accept().await else {
            // Out of descriptors, or a client that was gone again: the listener itself is well.
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let (shared, proxy, owners) = (Arc::clone(&shared), Arc::clone(&proxy), owners.clone());
        tokio::spawn(async move {
            drop(client.set_nodelay(true));
            let owner = look_up(owners, &client, address).await;
            let id = shared.next_conn.fetch_add(1, Ordering::Relaxed);
            let conn = Arc::new(Conn::new(id, proxy.number, address, owner));
            proxy.book.enter(&conn);
            let rules = shared.rules.subscribe();
            drop(shared);
            connection::serve(proxy, conn, client, rules).await;
        });
    }
}

/// Asks for the owner where blocking is allowed: it reads `/proc`.
async fn look_up(
    owners: Option<Arc<dyn Owners>>,
    client: &TcpStream,
    address: SocketAddr,
) -> Option<Owner> {
    let (owners, server) = (owners?, client.local_addr().ok()?);
    tokio::task::spawn_blocking(move || owners.owner(address, server))
        .await
        .ok()?
}

/// A listening socket on this address, for use in an asynchronous runtime.
fn listening(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests;
