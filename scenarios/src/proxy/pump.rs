//! The data path: a pump moves the bytes of one direction of a connection.
//!
//! It owns what it has read and not yet written. Its rules:
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
use std::time::Instant;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::evidence::{Conn, Fate, NoteId, Silence, Way};
use super::rules::{Cut, Direction, Effective, RuleId, RuleSet};
use super::{HELD_BYTES, Listening, SLOWED_BYTES};

/// The rules as they change.
pub(super) type Rules = watch::Receiver<Arc<RuleSet>>;

/// First size of a pump's buffer; it grows when a read fills it.
const FIRST_BYTES: usize = 32 * 1024;

/// Turns after which a busy pump lets the others run.
const TURNS: u32 = 8;

/// Data that was read while the link was slow: up to which byte, and when it may go on.
#[derive(Debug, Clone, Copy)]
struct Mark {
    begin: u64,
    end: u64,
    arrived: Instant,
    due: Instant,
}

/// One direction of a connection.
pub(super) struct Pump<'a> {
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
pub(super) struct Broken;

/// What a pump can do at this moment.
struct Step {
    /// Bytes that may be written.
    bytes: usize,
    /// When there will be more.
    wake: Option<Instant>,
}

impl<'a> Pump<'a> {
    pub(super) fn new(
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
    pub(super) async fn run(&mut self) -> Result<(), Broken> {
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
