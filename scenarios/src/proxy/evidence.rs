//! What the data path saw: the witness's evidence.
//!
//! These notes are made where bytes and connections are handled, never where a rule is added. A
//! rule that nobody ran into therefore leaves no note, and a note names the rules that caused it.
//! Each proxy keeps its latest [`KEPT`] notes and counts those it had to forget.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::owner::Owner;
use super::rules::{Direction, Rule, RuleId};

/// Notes kept per proxy. A client that tries again without pause against a reset link makes some
/// ten thousand a second; the latest few thousand prove as much as all of them.
pub const KEPT: usize = 4096;

/// Closed connections whose byte count is still known, per proxy.
const REMEMBERED: usize = 16_384;

/// A silence of the server shorter than this is not noted.
const SILENCE: Duration = Duration::from_millis(20);

/// What became of an attempt to use the link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// A new connection reached the server.
    Connected,
    /// The server could not be reached, and the client was reset.
    Unreachable {
        /// What the system said.
        error: String,
    },
    /// A new connection was reset because of a rule.
    Refused,
    /// A connection that existed was reset because of a rule.
    Reset,
    /// A new connection was given no answer because of a rule.
    Hung {
        /// Bytes the client had sent on it when last looked at.
        bytes: u64,
    },
    /// Bytes on a connection that existed were held back because of a rule.
    Held {
        /// Which way they were going.
        direction: Direction,
        /// How many.
        bytes: u64,
    },
    /// Bytes were passed on late because of a rule.
    Slowed {
        /// Which way they were going.
        direction: Direction,
        /// How many.
        bytes: u64,
        /// The longest any of them waited.
        longest: Duration,
    },
    /// The server ended a connection that the client had not ended.
    Ended {
        /// By RST rather than by a clean end of stream.
        reset: bool,
    },
    /// Bytes reached the server and nothing came back; `at` and `last` of the attempt say for how
    /// long. Noted from 20 ms on.
    Unanswered {
        /// What became of the silence.
        silence: Silence,
    },
}

/// How a silence of the server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// It still lasted when this was asked.
    Lasts,
    /// The server answered.
    Answered,
    /// The connection ended without an answer.
    GivenUp,
}

/// One attempt to use a link, and what became of it.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Name of the proxy.
    pub proxy: Arc<str>,
    /// Number of the connection, counted from 0 over all proxies.
    pub connection: u64,
    /// Address of the client's end.
    pub client: SocketAddr,
    /// Who opened the connection, where that is looked up.
    pub owner: Option<Owner>,
    /// When it began.
    pub at: Instant,
    /// When it was last seen to go on.
    pub last: Instant,
    /// The rules that decided its fate.
    pub rules: Vec<RuleId>,
    /// What became of it.
    pub fate: Fate,
}

impl Attempt {
    /// One line for the report.
    pub fn describe(&self) -> String {
        let who = match &self.owner {
            Some(owner) => format!("{} (pid {}, {})", self.client, owner.pid, owner.role),
            None => self.client.to_string(),
        };
        let lasted = self.last.saturating_duration_since(self.at);
        let what = match &self.fate {
            Fate::Connected => "reached the server".to_owned(),
            Fate::Unreachable { error } => format!("could not reach the server: {error}"),
            Fate::Refused => "was refused a connection".to_owned(),
            Fate::Reset => "had its connection reset".to_owned(),
            Fate::Hung { bytes } => {
                format!("tried to connect and got no answer ({bytes} bytes sent into the void)")
            }
            Fate::Held { direction, bytes } => {
                format!(
                    "had {bytes} bytes held back on the way {}",
                    direction.name()
                )
            }
            Fate::Slowed {
                direction,
                bytes,
                longest,
            } => {
                format!(
                    "had {bytes} bytes delayed by up to {longest:.1?} on the way {}",
                    direction.name()
                )
            }
            Fate::Ended { reset: true } => "had its connection reset by the server".to_owned(),
            Fate::Ended { reset: false } => "had its connection closed by the server".to_owned(),
            Fate::Unanswered { .. } => format!("got no answer for {lasted:.1?}"),
        };
        format!("{}: {who} {what}", self.proxy)
    }
}

/// Traffic counted by a proxy or a link since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Connections accepted from clients.
    pub accepted: u64,
    /// Connections that reached the server.
    pub connected: u64,
    /// Bytes written to the server.
    pub up_bytes: u64,
    /// Bytes written to clients.
    pub down_bytes: u64,
}

/// What may still become of bytes that a client has sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Way {
    /// They are passed on, now or later.
    Open,
    /// The connection hangs before the server: of a client that gives up now nothing will arrive.
    Hangs,
    /// No further byte is passed on.
    Over,
}

/// One connection, shared by the tasks that serve it and by those who ask.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) id: u64,
    pub(super) proxy: usize,
    pub(super) client: SocketAddr,
    pub(super) owner: Option<Owner>,
    epoch: Instant,
    up: AtomicU64,
    down: AtomicU64,
    /// Microseconds after `epoch`, plus 1, since which the server owes an answer; 0: it does not.
    owes: AtomicU64,
    /// A [`Way`].
    way: AtomicU8,
    closed: AtomicU64,
}

impl Conn {
    pub(super) fn new(id: u64, proxy: usize, client: SocketAddr, owner: Option<Owner>) -> Self {
        let zero = || AtomicU64::new(0);
        let epoch = Instant::now();
        Self {
            id,
            proxy,
            client,
            owner,
            epoch,
            up: zero(),
            down: zero(),
            owes: zero(),
            way: AtomicU8::new(Way::Open as u8),
            closed: zero(),
        }
    }

    /// Says what may become of the client's bytes from now on. Said before anything that the client can
    /// notice, so that whoever noticed it finds it said.
    pub(super) fn is_now(&self, way: Way) {
        self.way.store(way as u8, Ordering::SeqCst);
    }

    /// Bytes written to the server, once the client has closed its end; `None` while there may be more.
    fn forwarded(&self) -> Option<u64> {
        let open = self.way.load(Ordering::SeqCst) == Way::Open as u8;
        (!open).then(|| self.up.load(Ordering::Relaxed))
    }

    pub(super) fn is_under(&self, rule: &Rule) -> bool {
        rule.proxies.contains(&self.proxy) && self.is_of(rule.owner.as_deref())
    }

    /// Whether the connection was opened by this role; by anyone if none is asked for. One whose
    /// owner could not be found is nobody's.
    pub(super) fn is_of(&self, role: Option<&str>) -> bool {
        role.is_none_or(|role| self.owner.as_ref().is_some_and(|owner| owner.role == role))
    }

    fn written(&self, direction: Direction) -> &AtomicU64 {
        match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        }
    }

    /// Bytes went to the server: it owes an answer from now on, unless it already did.
    fn asked(&self, now: Instant) {
        let micros = now.saturating_duration_since(self.epoch).as_micros();
        let mark = u64::try_from(micros).unwrap_or(u64::MAX - 1) + 1;
        // Both ends of this are handled by one task, so there is no race to lose.
        if self.owes.load(Ordering::Relaxed) == 0 {
            self.owes.store(mark, Ordering::Relaxed);
        }
    }

    fn owes_since(&self) -> Option<Instant> {
        let mark = self.owes.load(Ordering::Relaxed);
        (mark > 0).then(|| self.epoch + Duration::from_micros(mark - 1))
    }
}

/// The notes and connections of one proxy.
#[derive(Debug)]
pub(super) struct Book {
    name: Arc<str>,
    accepted: AtomicU64,
    connected: AtomicU64,
    notes: Mutex<Notes>,
    connections: Mutex<Connections>,
}

#[derive(Debug, Default)]
struct Notes {
    kept: VecDeque<Attempt>,
    forgotten: u64,
}

#[derive(Debug, Default)]
struct Connections {
    by_client: HashMap<SocketAddr, Arc<Conn>>,
    order: VecDeque<Arc<Conn>>,
    /// Traffic of connections that are no longer remembered, by role.
    past: HashMap<Option<String>, (u64, u64)>,
}

/// A note that may still grow, by its running number.
#[derive(Debug, Clone, Copy)]
pub(super) struct NoteId(u64);

impl Book {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: Arc::from(name),
            accepted: AtomicU64::new(0),
            connected: AtomicU64::new(0),
            notes: Mutex::default(),
            connections: Mutex::default(),
        }
    }

    /// Enters a connection, and forgets the oldest closed ones when there are too many.
    pub(super) fn enter(&self, conn: &Arc<Conn>) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        let mut guard = self.connections();
        let all = &mut *guard;
        all.by_client.insert(conn.client, Arc::clone(conn));
        all.order.push_back(Arc::clone(conn));
        while all.order.len() > REMEMBERED {
            match all.order.pop_front() {
                Some(old) if old.closed.load(Ordering::Relaxed) > 0 => {
                    let role = old.owner.as_ref().map(|owner| owner.role.clone());
                    let past = all.past.entry(role).or_default();
                    past.0 += old.up.load(Ordering::Relaxed);
                    past.1 += old.down.load(Ordering::Relaxed);
                    if all
                        .by_client
                        .get(&old.client)
                        .is_some_and(|now| now.id == old.id)
                    {
                        all.by_client.remove(&old.client);
                    }
                }
                // A long-lived one: keep it, and look at the next when the next one comes.
                Some(old) => {
                    all.order.push_back(old);
                    break;
                }
                None => break,
            }
        }
    }

    pub(super) fn leave(&self, conn: &Conn, now: Instant) {
        self.silence_ends(conn, Silence::GivenUp, now);
        conn.closed.store(1, Ordering::Relaxed);
    }

    /// Adds a note.
    pub(super) fn note(&self, conn: &Conn, rules: Vec<RuleId>, fate: Fate, at: Instant) -> NoteId {
        self.note_span(conn, rules, fate, at, at)
    }

    fn note_span(
        &self,
        conn: &Conn,
        rules: Vec<RuleId>,
        fate: Fate,
        at: Instant,
        last: Instant,
    ) -> NoteId {
        if fate == Fate::Connected {
            self.connected.fetch_add(1, Ordering::Relaxed);
        }
        let attempt = self.attempt(conn, rules, fate, at, last);
        let mut notes = self.notes();
        notes.kept.push_back(attempt);
        if notes.kept.len() > KEPT {
            notes.kept.pop_front();
            notes.forgotten += 1;
        }
        NoteId(notes.forgotten + notes.kept.len() as u64 - 1)
    }

    /// Lets a note grow; one that has been forgotten stays so.
    pub(super) fn grow(&self, id: NoteId, at: Instant, change: impl FnOnce(&mut Fate)) {
        let mut notes = self.notes();
        let index =
            id.0.checked_sub(notes.forgotten)
                .and_then(|i| usize::try_from(i).ok());
        if let Some(attempt) = index.and_then(|index| notes.kept.get_mut(index)) {
            attempt.last = at;
            change(&mut attempt.fate);
        }
    }

    /// Bytes have been written to one side.
    pub(super) fn wrote(&self, conn: &Conn, direction: Direction, bytes: usize, now: Instant) {
        conn.written(direction)
            .fetch_add(bytes as u64, Ordering::Relaxed);
        if direction == Direction::Up {
            conn.asked(now);
        }
    }

    /// The server has sent something, or the connection is over: it no longer owes an answer.
    pub(super) fn silence_ends(&self, conn: &Conn, silence: Silence, now: Instant) {
        let since = conn.owes_since();
        conn.owes.store(0, Ordering::Relaxed);
        if let Some(since) = since.filter(|since| now.saturating_duration_since(*since) > SILENCE) {
            self.note_span(conn, Vec::new(), Fate::Unanswered { silence }, since, now);
        }
    }

    /// Bytes written to the server for the latest connection from this address, which the client has
    /// closed; `None` while there may be more.
    pub(super) fn forwarded(&self, client: SocketAddr) -> Option<u64> {
        self.connections().by_client.get(&client)?.forwarded()
    }

    /// Traffic of connections opened by this role, or of all. The numbers of connections are
    /// always those of the whole proxy.
    pub(super) fn traffic(&self, role: Option<&str>) -> Traffic {
        let connections = self.connections();
        let mut traffic = Traffic {
            accepted: self.accepted.load(Ordering::Relaxed),
            connected: self.connected.load(Ordering::Relaxed),
            ..Traffic::default()
        };
        for (owner, (up, down)) in &connections.past {
            if role.is_none() || role == owner.as_deref() {
                traffic.up_bytes += up;
                traffic.down_bytes += down;
            }
        }
        for conn in connections.order.iter().filter(|conn| conn.is_of(role)) {
            traffic.up_bytes += conn.up.load(Ordering::Relaxed);
            traffic.down_bytes += conn.down.load(Ordering::Relaxed);
        }
        traffic
    }

    /// Notes that touch the window, and silences that still last.
    pub(super) fn attempts(&self, role: Option<&str>, from: Instant, to: Instant) -> Vec<Attempt> {
        let matches = |attempt: &Attempt| {
            attempt.at <= to
                && attempt.last >= from
                && role.is_none_or(|role| attempt.owner.as_ref().is_some_and(|o| o.role == role))
        };
        let mut found: Vec<Attempt> = self
            .notes()
            .kept
            .iter()
            .filter(|attempt| matches(attempt))
            .cloned()
            .collect();
        let now = Instant::now();
        for conn in &self.connections().order {
            if let Some(since) = conn.owes_since()
                && now.saturating_duration_since(since) > SILENCE
            {
                let fate = Fate::Unanswered {
                    silence: Silence::Lasts,
                };
                let attempt = self.attempt(conn, Vec::new(), fate, since, now);
                if matches(&attempt) {
                    found.push(attempt);
                }
            }
        }
        found
    }

    fn attempt(
        &self,
        conn: &Conn,
        rules: Vec<RuleId>,
        fate: Fate,
        at: Instant,
        last: Instant,
    ) -> Attempt {
        Attempt {
            proxy: Arc::clone(&self.name),
            connection: conn.id,
            client: conn.client,
            owner: conn.owner.clone(),
            at,
            last,
            rules,
            fate,
        }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connections(&self) -> MutexGuard<'_, Connections> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
