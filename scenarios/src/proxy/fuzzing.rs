//! The fuzz target of the proxy: one connection through it, over real sockets.
//!
//! The bytes that pass mean nothing to a proxy; what matters is when they come, how the streams end, and
//! which rules hold meanwhile. So an input is what client, server and nemesis do, one after the
//! other: a byte each, what it is in its low half, how much in its high one.

use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::{Condition, Conditions, Cut, Directions, Link, Proxies, Proxy, ProxySpec, RuleId};

/// Deeds that are done, and bytes that are sent by either end, at most.
const DEEDS: usize = 256;
const BYTES: u64 = 2 << 20;

/// Everything is over by then, or it hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// Has a connection go through what an input says, then heals the link and lets both ends finish.
pub fn proxy(input: &[u8]) {
    let _ = arrived(input);
}

/// The bytes that arrived at client and server.
fn arrived(input: &[u8]) -> (u64, u64) {
    let mut talk = Talk::new();
    for deed in input.iter().take(DEEDS) {
        talk.go_on(deed & 15, deed >> 4);
        talk.pass();
    }
    talk.end()
}

/// How a stream ended for its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Clean,
    Broken,
}

/// One end of the connection. Which byte is sent follows from its place, so none needs to be kept.
#[derive(Debug)]
struct End {
    /// Salt of the bytes that it sends.
    salt: u8,
    stream: Option<TcpStream>,
    wanted: u64,
    sent: u64,
    received: u64,
    /// It has nothing to send any more; and that has been said.
    closing: bool,
    closed: bool,
    ended: Option<Ended>,
}

fn byte(salt: u8, place: u64) -> u8 {
    (place as u8).wrapping_add((place >> 8) as u8) ^ salt
}

impl End {
    fn new(salt: u8) -> Self {
        Self {
            salt,
            stream: None,
            wanted: 0,
            sent: 0,
            received: 0,
            closing: false,
            closed: false,
            ended: None,
        }
    }

    fn want(&mut self, bytes: u64) {
        if !self.closing {
            self.wanted = (self.wanted + bytes).min(BYTES);
        }
    }

    /// Closes with RST.
    fn break_off(&mut self) {
        if let Some(stream) = self.stream.take() {
            drop(SockRef::from(&stream).set_linger(Some(Duration::ZERO)));
            self.ended = Some(Ended::Broken);
        }
    }

    /// Sends and receives what can be without waiting; whether anything was.
    fn pass(&mut self, salt: u8, sent: u64) -> bool {
        let (written, before) = (self.sent, self.received);
        self.send();
        self.receive(salt, sent);
        self.sent > written || self.received > before
    }

    fn send(&mut self) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        while self.sent < self.wanted {
            let until = self.wanted.min(self.sent + (32 << 10));
            let piece: Vec<u8> = (self.sent..until).map(|at| byte(self.salt, at)).collect();
            match stream.write(&piece) {
                Ok(bytes) => self.sent += bytes as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // Reading will say how it ended.
                Err(_) => self.wanted = self.sent,
            }
        }
        if self.closing && !self.closed {
            self.closed = true;
            drop(stream.shutdown(Shutdown::Write));
        }
    }

    /// Receives what the other end has sent, up to now `sent` bytes with this salt.
    fn receive(&mut self, salt: u8, sent: u64) {
        let mut piece = [0; 32 << 10];
        while let Some(stream) = self.stream.as_mut().filter(|_| self.ended.is_none()) {
            match stream.read(&mut piece) {
                Ok(0) => self.ended = Some(Ended::Clean),
                Ok(bytes) => {
                    let places = self.received..;
                    let right = places
                        .zip(&piece[..bytes])
                        .all(|(at, got)| byte(salt, at) == *got);
                    self.received += bytes as u64;
                    assert!(
                        right && self.received <= sent,
                        "bytes that were not sent: {self:?}"
                    );
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.ended = Some(Ended::Broken),
            }
        }
    }
}

/// The connection, and all that has to do with it.
struct Talk {
    proxy: Proxy,
    link: Link,
    proxies: Proxies,
    rules: Vec<RuleId>,
    listener: Option<TcpListener>,
    client: End,
    address: Option<SocketAddr>,
    server: End,
    began: Instant,
    /// Something may have broken the connection.
    may_break: bool,
}

fn ready<T, E: std::fmt::Debug>(outcome: Result<T, E>) -> T {
    match outcome {
        Ok(ready) => ready,
        Err(error) => unreachable!("sockets of this machine: {error:?}"),
    }
}

impl Talk {
    fn new() -> Self {
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = ready(TcpListener::bind(anywhere));
        ready(listener.set_nonblocking(true));
        let proxies = ready(Proxies::start(7, None));
        let proxy = ready(proxies.open(&ProxySpec {
            name: "client->server".to_owned(),
            listen: vec![anywhere],
            upstream: ready(listener.local_addr()),
            attribute: false,
        }));
        Self {
            link: proxies.link("client->server", std::slice::from_ref(&proxy), None),
            proxy,
            proxies,
            rules: Vec::new(),
            listener: Some(listener),
            client: End::new(0x5a),
            address: None,
            server: End::new(0xa5),
            began: Instant::now(),
            may_break: false,
        }
    }

    /// Does one deed.
    fn go_on(&mut self, deed: u8, much: u8) {
        let directions =
            [Directions::Both, Directions::Up, Directions::Down][usize::from(much % 3)];
        let cut = |cut| Condition {
            cut,
            ..Condition::default()
        };
        let much = u64::from(much);
        match deed {
            0 => self.client.want(1 << (much + much / 4)),
            1 => self.server.want(1 << (much + much / 4)),
            2 => self.client.closing = true,
            3 => self.server.closing = true,
            4 => self.break_off(true),
            5 => self.break_off(false),
            6 => self.impose(directions, cut(Cut::Drop)),
            7 => self.impose(directions, cut(Cut::Reset)),
            8 => self.impose(directions, cut(Cut::Refuse)),
            9 => {
                let slow = Condition {
                    latency: Duration::from_micros(200 * much),
                    jitter: Duration::from_micros(100 * much),
                    ..Condition::default()
                };
                self.impose(directions, slow);
            }
            10 => {
                let slow = Condition {
                    bandwidth: Some(1024 << much),
                    ..Condition::default()
                };
                self.impose(directions, slow);
            }
            11 => {
                if let Some(rule) = self.rules.pop() {
                    self.link.lift(rule);
                }
            }
            12 => std::thread::sleep(Duration::from_micros(100 * much)),
            13 => {
                self.may_break |= self.server.stream.is_none();
                self.listener = None;
            }
            _ => self.connect(),
        }
    }

    fn impose(&mut self, directions: Directions, condition: Condition) {
        self.may_break |= condition.cut > Cut::Drop;
        let conditions = Conditions::towards(directions, condition);
        self.rules.push(self.link.impose(conditions));
    }

    fn break_off(&mut self, client: bool) {
        self.may_break = true;
        let end = if client {
            &mut self.client
        } else {
            &mut self.server
        };
        end.break_off();
    }

    /// Connects the client, once. Where no rule holds, waits for it to arrive.
    fn connect(&mut self) {
        if self.address.is_some() {
            return;
        }
        let stream = ready(TcpStream::connect(self.proxy.address()));
        ready(stream.set_nonblocking(true));
        self.address = Some(ready(stream.local_addr()));
        self.client.stream = Some(stream);
        if self.rules.is_empty() && !self.may_break {
            self.wait_until("the server is reached", |talk| talk.server.stream.is_some());
        }
    }

    /// Has both ends pass what they can; whether that was anything.
    fn pass(&mut self) -> bool {
        if self.server.stream.is_none() && self.server.ended.is_none() {
            let accepted = self.listener.as_ref().map(TcpListener::accept);
            if let Some(Ok((stream, _))) = accepted {
                ready(stream.set_nonblocking(true));
                self.server.stream = Some(stream);
            }
        }
        // A client that ends while its connection hangs has given up: it never arrives.
        self.may_break |= self.client.closing && self.server.stream.is_none();
        let up = self.client.pass(self.server.salt, self.server.sent);
        let down = self.server.pass(self.client.salt, self.client.sent);
        up || down
    }

    fn wait_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            if !self.pass() {
                assert!(
                    Instant::now() < deadline,
                    "not within {PATIENCE:?}: {what}; {:?} {:?}",
                    self.client,
                    self.server
                );
                std::thread::sleep(Duration::from_micros(20));
            }
        }
    }

    /// Heals the link, lets both ends finish, and checks what became of all.
    fn end(mut self) -> (u64, u64) {
        self.proxies.heal_all();
        self.rules.clear();
        self.connect();
        self.wait_until("the server is reached, or cannot be", |talk| {
            talk.server.stream.is_some()
                || talk.client.ended.is_some()
                || talk.server.ended.is_some()
        });
        (self.client.closing, self.server.closing) = (true, true);
        self.wait_until("both ends know that it is over", |talk| {
            talk.client.ended.is_some()
                && (talk.server.ended.is_some() || talk.server.stream.is_none())
        });
        let (client, server) = (&self.client, &self.server);
        if !self.may_break {
            assert_eq!(
                (client.ended, server.ended),
                (Some(Ended::Clean), Some(Ended::Clean))
            );
            assert_eq!(
                (client.sent, client.received),
                (server.received, server.sent)
            );
        }
        let address = self.address;
        let said = |talk: &Self| talk.proxy.forwarded(address?);
        let first = Cell::new(None);
        // A client that has given up is looked for once more when its hanging connection may go on.
        self.wait_until("the proxy says again what it has forwarded", |talk| {
            first.set(first.get().or(said(talk)));
            first.get().is_some() && said(talk) == first.get()
        });
        let forwarded = first.get();
        let (sent, received) = (self.client.sent, self.server.received);
        let right = |bytes: u64| {
            received <= bytes && bytes <= sent && (self.may_break || bytes == received)
        };
        assert!(
            forwarded.is_some_and(right),
            "{forwarded:?} of {sent}, {received} arrived"
        );
        let traffic = self.proxy.traffic();
        assert_eq!((traffic.accepted, Some(traffic.up_bytes)), (1, forwarded));
        for attempt in self.link.attempts(self.began, Instant::now()) {
            assert_eq!(Some(attempt.client), address, "{}", attempt.describe());
        }
        (self.client.received, self.server.received)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Otherwise the mutations of it would be those of nothing.
    #[test]
    fn the_target_gets_bytes_through_healed_cuts_and_slow_links() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpora/proxy");
        for (name, expected) in [
            ("there-and-back", (1 << 15 | 1 << 11 | 1 << 6, 1 << 12 | 1)),
            ("half-close-while-slow", (1 << 17, 1 << 13)),
            (
                "cut-with-bytes-on-the-way",
                (1 << 16 | 2 << 18, (3 << 18) + 8),
            ),
            ("server-gone", (0, 0)),
        ] {
            let input = std::fs::read(corpus.join(name)).unwrap();
            assert_eq!(arrived(&input), expected, "{name}");
        }
    }
}
