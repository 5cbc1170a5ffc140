//! `netcat`: newline-terminated lines to Flume's netcat source, one batch a write.
//!
//! Settings: `address` (host:port, needed), `ack_every_event` (default true, as in Flume: must
//! equal the source's `ack-every-event`).
//! Answers:   one line an event, in order: `OK` is acked, anything else (`FAILED: …`) is refused.
//!            Without `ack_every_event` there are none, and everything issued is owed.
//! Unknown:   events still without a line when the connection fails or time is up.
//! Beware:    Flume's source cuts at 512 characters unless `max-line-length` says otherwise.
//!
//! ```json
//! {"address": "127.0.0.1:6666", "ack_every_event": false}
//! ```

use std::io;
use std::net::SocketAddr;

use serde::Deserialize;

use crate::observe::{Answer, Batch};

use super::socket::Socket;
use super::{Bodies, Generator, GeneratorError, Kind, Link, Part, Patience, settings};

/// The kind.
pub(super) const KIND: Kind = Kind {
    name: "netcat",
    summary: "Lines over TCP; with ack_every_event each is acked by a line OK.",
    example: r#"{"address": "127.0.0.1:6666"}"#,
    build: |value| {
        Ok(Box::new(Netcat {
            config: settings("netcat", value)?,
        }))
    },
};

/// An answer longer than this is read as several. Flume's longest quotes an exception.
const MAX_ANSWER: usize = 64 << 10;

/// The settings of `netcat`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the source, or the proxy before it, listens.
    pub address: SocketAddr,
    /// Whether the source answers each line.
    #[serde(default = "yes")]
    pub ack_every_event: bool,
}

fn yes() -> bool {
    true
}

/// The generator.
#[derive(Debug)]
pub struct Netcat {
    config: Config,
}

impl Netcat {
    /// A generator with these settings.
    pub fn new(config: Config) -> Netcat {
        Netcat { config }
    }
}

impl Generator for Netcat {
    fn answers(&self) -> bool {
        self.config.ack_every_event
    }

    fn link(&self) -> Box<dyn Link> {
        Box::new(NetcatLink {
            config: self.config.clone(),
            socket: None,
            position: None,
            count: 0,
            lines: Vec::new(),
            answer: Vec::new(),
        })
    }
}

struct NetcatLink {
    config: Config,
    socket: Option<Socket>,
    position: Option<(SocketAddr, u64)>,
    count: u32,
    lines: Vec<u8>,
    /// The beginning of an answer whose end has not come yet.
    answer: Vec<u8>,
}

impl NetcatLink {
    /// Writes the lines and collects answers until there is one for each.
    fn converse(&mut self, patience: &Patience<'_>, parts: &mut Vec<Part>) -> io::Result<()> {
        let socket = self.socket.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        if !self.config.ack_every_event {
            socket.write_all(&self.lines, patience)?;
            push(
                parts,
                Part {
                    count: self.count,
                    answer: Answer::Acked,
                    at: patience.clock.now(),
                },
            );
            return Ok(());
        }
        let mut unwritten = self.lines.as_slice();
        let mut waiting = self.count;
        let mut buffer = [0; 4096];
        while waiting > 0 {
            if let Some(written) = socket.write_some_of(unwritten)? {
                unwritten = unwritten.get(written..).unwrap_or_default();
                continue;
            }
            // All is written, or the source does not read before its answers are taken.
            let Some(count) = socket.read_some(&mut buffer)? else {
                patience.left().ok_or(io::ErrorKind::TimedOut)?;
                continue;
            };
            let at = patience.clock.now();
            for byte in buffer.get(..count).unwrap_or_default() {
                if *byte != b'\n' && self.answer.len() < MAX_ANSWER {
                    self.answer.push(*byte);
                    continue;
                }
                let line = self.answer.strip_suffix(b"\r").unwrap_or(&self.answer);
                let answer = if line == b"OK" {
                    Answer::Acked
                } else {
                    Answer::Refused
                };
                self.answer.clear();
                if waiting > 0 {
                    waiting -= 1;
                    push(
                        parts,
                        Part {
                            count: 1,
                            answer,
                            at,
                        },
                    );
                }
            }
        }
        Ok(())
    }
}

/// Appends a part, merged into the last one where they say the same.
fn push(parts: &mut Vec<Part>, part: Part) {
    match parts.last_mut() {
        Some(last) if last.answer == part.answer && last.at == part.at => last.count += part.count,
        _ => parts.push(part),
    }
}

impl Link for NetcatLink {
    fn open(&mut self, patience: &Patience<'_>) -> io::Result<()> {
        if !self.socket.as_ref().is_some_and(Socket::is_alive) {
            self.answer.clear();
            self.socket = Some(Socket::connect(self.config.address, patience)?);
        }
        Ok(())
    }

    fn build(&mut self, batch: &Batch, bodies: &Bodies) -> Result<(), GeneratorError> {
        self.lines.clear();
        self.count = batch.count;
        bodies.write_lines(batch, &mut self.lines);
        Ok(())
    }

    fn exchange(
        &mut self,
        patience: &Patience<'_>,
        parts: &mut Vec<Part>,
    ) -> Result<(), GeneratorError> {
        let failed = self.converse(patience, parts).is_err();
        let settled: u32 = parts.iter().map(|part| part.count).sum();
        let left = self.count.saturating_sub(settled);
        if left > 0 {
            push(
                parts,
                Part {
                    count: left,
                    answer: Answer::Unknown,
                    at: patience.clock.now(),
                },
            );
        }
        self.position = self.position();
        if failed {
            self.socket = None;
        }
        Ok(())
    }

    fn position(&self) -> Option<(SocketAddr, u64)> {
        self.socket.as_ref().map(Socket::position).or(self.position)
    }

    fn close(&mut self) {
        self.socket = None;
    }
}
