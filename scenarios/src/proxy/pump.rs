//! The data path: one connection, and the two pumps that move its bytes.
//!
//! A pump owns what it has read and not yet written. Its rules:
//!
//! - whatever it has read is delivered, late perhaps, unless the connection itself is reset;
//! - order is kept: no piece of data is due before the one in front of it;
//! - the end of the stream is passed on alone, after the last byte, so half-close survives;
//! - every wait ends when the rules change, so live connections obey at once;
//! - what it holds is bounded; beyond that it stops reading, and the sender feels back-pressure.

use std::collections::VecDeque;
use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::evidence::{Conn, Fate, NoteId, Silence, Way};
use super::rules::{Cut, Direction, Effective, RuleId, RuleSet, Verdict};
use super::{HELD_BYTES, Listening, SLOWED_BYTES};

type Rules = watch::Receiver<Arc<RuleSet>>;

/// First size of a pump's buffer; it grows when a read fills it.
const FIRST_BYTES: usize = 32 * 1024;

/// Turns after which a busy pump lets the others run.
const TURNS: u32 = 8;

/// Serves one connection from accept to end.
pub(super) async fn serve(
    proxy: Arc<Listening>,
    conn: Arc<Conn>,
    client: TcpStream,
    mut rules: Rules,
) {
    if let Some(upstream) = reach(&proxy, &conn, &client, &mut rules).await {
        let ending = relay(&proxy, &conn, &client, &upstream, &mut rules).await;
        conn.is_now(Way::Over);
        finish(&conn, ending, client, upstream, &mut rules).await;
    } else {
        conn.is_now(Way::Over);
        reset(client);
    }
    proxy.book.leave(&conn, Instant::now());
}

/// Closes with RST: SO_LINGER 0 makes the kernel throw away what is unsent and say so.
fn reset(stream: TcpStream) {
    drop(SockRef::from(&stream).set_linger(Some(Duration::ZERO)));
}

/// Waits until the link lets a new connection pass and connects to the server, before anything is
/// read from the client. `None`: the client is to be reset.
///
/// A client that gives up while its connection hangs never reaches the server, as if its SYN had
/// been lost: nothing it sent in the meantime is delivered.
async fn reach(
    proxy: &Listening,
    conn: &Conn,
    client: &TcpStream,
    rules: &mut Rules,
) -> Option<TcpStream> {
    let mut hung: Option<NoteId> = None;
    loop {
        let verdict = rules.borrow_and_update().verdict(conn);
        if verdict.reset_client {
            proxy
                .book
                .note(conn, verdict.rules, Fate::Refused, Instant::now());
            return None;
        }
        if !verdict.hang {
            break;
        }
        let note = *hung.get_or_insert_with(|| {
            conn.is_now(Way::Hangs);
            proxy.book.note(
                conn,
                verdict.rules.clone(),
                Fate::Hung { bytes: 0 },
                Instant::now(),
            )
        });
        tokio::select! {
            changed = rules.changed() => if changed.is_err() { return None },
            () = tokio::time::sleep(Duration::from_millis(25)) => {
                let waiting = waiting_bytes(client)?;
                proxy.book.grow(note, Instant::now(), |fate| *fate = Fate::Hung { bytes: waiting });
            }
        }
    }
    if hung.is_some() {
        // Who asked before this had closed before this, and that is seen here.
        conn.is_now(Way::Open);
        waiting_bytes(client)?;
    }
    match TcpStream::connect(proxy.upstream()).await {
        Ok(upstream) => {
            drop(upstream.set_nodelay(true));
            proxy
                .book
                .note(conn, Vec::new(), Fate::Connected, Instant::now());
            Some(upstream)
        }
        Err(error) => {
            let fate = Fate::Unreachable {
                error: error.to_string(),
            };
            proxy.book.note(conn, Vec::new(), fate, Instant::now());
            None
        }
    }
}

/// Bytes a hanging client has sent, without taking them; `None` if it has given up. More than a
/// page of them is not told apart.
fn waiting_bytes(client: &TcpStream) -> Option<u64> {
    let socket = SockRef::from(client);
    let mut page = [std::mem::MaybeUninit::<u8>::uninit(); 4096];
    let bytes = match socket.peek(&mut page) {
        Ok(0) => return None,
        Ok(bytes) => bytes as u64,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        Err(_) => return None,
    };
    // Behind unread bytes a close is not seen by reading; the kernel's state of the socket knows.
    let closed = rustix::event::poll(
        &mut [rustix::event::PollFd::new(
            client,
            rustix::event::PollFlags::RDHUP,
        )],
        Some(&rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        }),
    );
    if closed.is_ok_and(|ready| ready > 0) {
        None
    } else {
        Some(bytes)
    }
}

/// Why a connection ends.
enum Ending {
    /// Both streams have ended.
    Clean,
    /// One side broke off; the other is to be reset.
    Broken,
    /// A rule resets it.
    ByRule(Verdict),
}

async fn relay(
    proxy: &Listening,
    conn: &Conn,
    client: &TcpStream,
    upstream: &TcpStream,
    rules: &mut Rules,
) -> Ending {
    let mut up = Pump::new(proxy, conn, Direction::Up, client, upstream, rules.clone());
    let mut down = Pump::new(
        proxy,
        conn,
        Direction::Down,
        upstream,
        client,
        rules.clone(),
    );
    tokio::select! {
        biased;
        verdict = resetting(conn, rules) => {
            let fate = if verdict.refuse { Fate::Refused } else { Fate::Reset };
            proxy.book.note(conn, verdict.rules.clone(), fate, Instant::now());
            Ending::ByRule(verdict)
        }
        ended = async { tokio::try_join!(up.run(), down.run()) } => match ended {
            Ok(_) => Ending::Clean,
            Err(_) => Ending::Broken,
        },
    }
}

/// Resolves when a rule wants the connection reset.
async fn resetting(conn: &Conn, rules: &mut Rules) -> Verdict {
    loop {
        let verdict = rules.borrow_and_update().verdict(conn);
        if verdict.reset_client || verdict.reset_upstream {
            return verdict;
        }
        if rules.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn finish(
    conn: &Conn,
    ending: Ending,
    client: TcpStream,
    upstream: TcpStream,
    rules: &mut Rules,
) {
    match ending {
        Ending::Clean => {}
        Ending::ByRule(verdict) if !(verdict.reset_client && verdict.reset_upstream) => {
            // One side learns of it now; the other hears nothing until the link is whole.
            let (now, later) = if verdict.reset_client {
                (client, upstream)
            } else {
                (upstream, client)
            };
            reset(now);
            while rules.borrow_and_update().verdict(conn).hang {
                if rules.changed().await.is_err() {
                    break;
                }
            }
            reset(later);
        }
        Ending::Broken | Ending::ByRule(_) => {
            reset(client);
            reset(upstream);
        }
    }
}

/// Data that was read while the link was slow: up to which byte, and when it may go on.
#[derive(Debug, Clone, Copy)]
struct Mark {
    begin: u64,
    end: u64,
    arrived: Instant,
    due: Instant,
}

/// One direction of a connection.
struct Pump<'a> {
    proxy: &'a Listening,
    conn: &'a Conn,
    direction: Direction,
    from: &'a TcpStream,
    to: &'a TcpStream,
    rules: Rules,
    effective: Effective,
    rng: ChaCha8Rng,
    /// What has been read and not written lies in `start..end`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes read and written since the connection began.
    read: u64,
    written: u64,
    marks: VecDeque<Mark>,
    /// Bytes that may be sent at an instant, where the bandwidth is limited.
    granted: Option<(usize, Instant)>,
    /// The stream has ended, and the end may be passed on from this instant.
    ended: Option<Instant>,
    broken: bool,
    held: Option<NoteId>,
    slowed: Option<NoteId>,
}

/// One side broke off.
struct Broken;

/// What a pump can do at this moment.
struct Step {
    /// Bytes that may be written.
    bytes: usize,
    /// When there will be more.
    wake: Option<Instant>,
}

impl<'a> Pump<'a> {
    fn new(
        proxy: &'a Listening,
        conn: &'a Conn,
        direction: Direction,
        from: &'a TcpStream,
        to: &'a TcpStream,
        rules: Rules,
    ) -> Self {
        let stream = conn.id * 2 + u64::from(direction == Direction::Down);
        let mut rng = ChaCha8Rng::seed_from_u64(proxy.seed);
        rng.set_stream(stream);
        let mut pump = Self {
            proxy,
            conn,
            direction,
            from,
            to,
            rules,
            effective: Effective::idle(direction),
            rng,
            buffer: vec![0; FIRST_BYTES],
            start: 0,
            end: 0,
            read: 0,
            written: 0,
            marks: VecDeque::new(),
            granted: None,
            ended: None,
            broken: false,
            held: None,
            slowed: None,
        };
        pump.obey();
        pump
    }

    /// Moves bytes until the stream has ended and all of it is delivered.
    async fn run(&mut self) -> Result<(), Broken> {
        let mut turns = 0_u32;
        loop {
            if self.rules.has_changed().unwrap_or(false) {
                self.obey();
            }
            let now = Instant::now();
            let holds = self.effective.cut != Cut::None;
            if self.broken && !holds {
                return Err(Broken);
            }
            let step = if holds {
                Step {
                    bytes: 0,
                    wake: None,
                }
            } else {
                self.step(now)
            };
            let wrote = step.bytes > 0 && self.write(step.bytes, now)?;
            if !holds && self.start == self.end && self.ended.is_some_and(|due| due <= now) {
                if self.direction == Direction::Up {
                    self.conn.is_now(Way::Over);
                }
                // If the other side is gone already it does not need to be told.
                drop(SockRef::from(self.to).shutdown(Shutdown::Write));
                return Ok(());
            }
            let reads = self.ended.is_none() && !self.broken && self.room();
            let got = reads && self.read(now);
            if wrote || got {
                turns += 1;
                if turns.is_multiple_of(TURNS) {
                    tokio::task::yield_now().await;
                }
                continue;
            }
            if self.broken && !holds {
                continue;
            }
            let end_due = self.ended.filter(|_| !holds && self.start == self.end);
            let wake = step.wake.or(end_due);
            self.wait(
                reads && self.ended.is_none() && !self.broken,
                step.bytes > 0,
                wake,
            )
            .await?;
        }
    }

    async fn wait(
        &mut self,
        reads: bool,
        writes: bool,
        wake: Option<Instant>,
    ) -> Result<(), Broken> {
        let alarm = async {
            match wake {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        let changed = tokio::select! {
            changed = self.rules.changed() => Some(changed),
            _ = self.from.readable(), if reads => None,
            _ = self.to.writable(), if writes => None,
            () = alarm => None,
        };
        match changed {
            Some(Ok(())) => self.obey(),
            // The proxies are being taken down.
            Some(Err(_)) => return Err(Broken),
            None => {}
        }
        Ok(())
    }

    /// Takes over the rules that hold now.
    fn obey(&mut self) {
        let rules = Arc::clone(&self.rules.borrow_and_update());
        self.effective = rules.effective(self.conn, self.direction);
        self.held = None;
        self.slowed = None;
        self.granted = None;
        if !self.effective.slows() {
            self.marks.clear();
            self.ended = self.ended.map(|due| due.min(Instant::now()));
        }
        // What is in our hands when the link is cut is on the wire: it does not arrive either.
        if self.effective.cut != Cut::None && self.end > self.start {
            self.note_held(self.end - self.start, Instant::now());
        }
    }

    /// How much may be written now, by due instants and bandwidth.
    fn step(&mut self, now: Instant) -> Step {
        let mut bytes = self.end - self.start;
        if let Some(mark) = self.marks.front() {
            let until = if mark.due > now { mark.begin } else { mark.end };
            bytes = bytes.min(usize::try_from(until.saturating_sub(self.written)).unwrap_or(bytes));
            if bytes == 0 {
                return Step {
                    bytes: 0,
                    wake: Some(mark.due),
                };
            }
        }
        if bytes == 0 || self.effective.bandwidth.is_none() {
            return Step { bytes, wake: None };
        }
        let (granted, at) = *self.granted.get_or_insert_with(|| {
            let portion = bytes.min(self.effective.quantum());
            (portion, self.effective.book(portion, now))
        });
        if at > now {
            return Step {
                bytes: 0,
                wake: Some(at),
            };
        }
        Step {
            bytes: bytes.min(granted),
            wake: None,
        }
    }

    /// Writes without waiting. `Ok(false)`: the other side takes nothing at the moment.
    fn write(&mut self, bytes: usize, now: Instant) -> Result<bool, Broken> {
        let written = match self
            .to
            .try_write(&self.buffer[self.start..self.start + bytes])
        {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(_) => {
                if self.direction == Direction::Up {
                    self.server_ended(true, now);
                }
                return Err(Broken);
            }
        };
        self.proxy
            .book
            .wrote(self.conn, self.direction, written, now);
        self.start += written;
        self.written += written as u64;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if let Some((granted, at)) = self.granted {
            self.granted = Some((granted - written.min(granted), at)).filter(|(left, _)| *left > 0);
        }
        self.note_slowed(written, now);
        while self
            .marks
            .front()
            .is_some_and(|mark| mark.end <= self.written)
        {
            self.marks.pop_front();
        }
        Ok(true)
    }

    /// Makes room in the buffer, as far as that is allowed, and says whether there is any.
    fn room(&mut self) -> bool {
        let limit = if self.effective.slows() {
            SLOWED_BYTES
        } else {
            HELD_BYTES
        };
        if self.end - self.start >= limit {
            return false;
        }
        if self.end == self.buffer.len() {
            if self.start > 0 {
                self.buffer.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            } else {
                self.buffer.resize((self.buffer.len() * 2).min(limit), 0);
            }
        }
        self.end < self.buffer.len()
    }

    /// Reads without waiting, and says whether anything came.
    fn read(&mut self, now: Instant) -> bool {
        match self.from.try_read(&mut self.buffer[self.end..]) {
            Ok(0) => {
                let due = self.due(now);
                self.ended = Some(due);
                if self.direction == Direction::Down {
                    self.server_ended(false, now);
                }
                true
            }
            Ok(bytes) => {
                self.took(bytes, now);
                true
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(_) => {
                self.broken = true;
                match self.direction {
                    Direction::Up => self.conn.is_now(Way::Over),
                    Direction::Down => self.server_ended(true, now),
                }
                false
            }
        }
    }

    fn took(&mut self, bytes: usize, now: Instant) {
        let full = self.start == 0 && self.end + bytes == self.buffer.len();
        if self.direction == Direction::Down {
            self.proxy
                .book
                .silence_ends(self.conn, Silence::Answered, now);
        }
        self.end += bytes;
        let begin = self.read;
        self.read += bytes as u64;
        if self.effective.slows() {
            let due = self.due(now);
            self.marks.push_back(Mark {
                begin,
                end: self.read,
                arrived: now,
                due,
            });
        }
        if self.effective.cut != Cut::None {
            self.note_held(bytes, now);
        } else if full && self.buffer.len() < HELD_BYTES {
            // The sender is faster than the buffer: fewer and larger pieces from now on.
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
    }

    /// When something that arrives now may go on.
    fn due(&mut self, now: Instant) -> Instant {
        let Effective {
            latency, jitter, ..
        } = self.effective;
        let low = latency.saturating_sub(jitter);
        let span = (latency + jitter).saturating_sub(low);
        let drawn = if span.is_zero() {
            0.0
        } else {
            self.rng.random::<f64>()
        };
        let due = now + low + span.mul_f64(drawn);
        self.marks.back().map_or(due, |before| due.max(before.due))
    }

    fn note_held(&mut self, bytes: usize, now: Instant) {
        let (bytes, direction) = (bytes as u64, self.direction);
        match self.held {
            Some(note) => self.proxy.book.grow(note, now, |fate| {
                if let Fate::Held { bytes: sum, .. } = fate {
                    *sum += bytes;
                }
            }),
            None => {
                let fate = Fate::Held { direction, bytes };
                self.held = Some(self.note(self.effective.cutting(), fate, now));
            }
        }
    }

    fn note_slowed(&mut self, written: usize, now: Instant) {
        let Some(mark) = self.marks.front().filter(|mark| mark.begin < self.written) else {
            return;
        };
        let waited = now.saturating_duration_since(mark.arrived);
        let (bytes, direction) = (written as u64, self.direction);
        match self.slowed {
            Some(note) => self.proxy.book.grow(note, now, |fate| {
                if let Fate::Slowed {
                    bytes: sum,
                    longest,
                    ..
                } = fate
                {
                    *sum += bytes;
                    *longest = (*longest).max(waited);
                }
            }),
            None => {
                let fate = Fate::Slowed {
                    direction,
                    bytes,
                    longest: waited,
                };
                self.slowed = Some(self.note(self.effective.slowing(), fate, now));
            }
        }
    }

    fn server_ended(&self, reset: bool, now: Instant) {
        self.proxy
            .book
            .silence_ends(self.conn, Silence::GivenUp, now);
        self.note(Vec::new(), Fate::Ended { reset }, now);
    }

    fn note(&self, rules: Vec<RuleId>, fate: Fate, now: Instant) -> NoteId {
        self.proxy.book.note(self.conn, rules, fate, now)
    }
}
