//! `avro`: calls `appendBatch` on Flume's Avro source, one batch a call, one call at a time.
//!
//! Settings: `address` (host:port, needed), `deflate` (default false: must equal the source's
//! `compression-type = deflate`).
//! Answers:   status OK is acked; FAILED, UNKNOWN and an error of the call are refused, because the
//!            source says that it did not take the batch. (Flume may have put it into the first of
//!            two channels by then: such events come out as recovered.)
//! Unknown:   a reset, an end, a time-out or a reply that is no Avro, after the first byte left.
//!
//! ```json
//! {"address": "127.0.0.1:4141", "deflate": true}
//! ```

use std::io;
use std::net::SocketAddr;

use serde::Deserialize;

use crate::observe::{Answer, Batch};
use crate::wire::avro::{AvroError, Connection, Outcome};

use super::socket::Socket;
use super::{Bodies, Generator, GeneratorError, Kind, Link, Part, Patience, settings};

/// The kind.
pub(super) const KIND: Kind = Kind {
    name: "avro",
    summary: "Flume's Avro RPC: one appendBatch call a batch, acked by status OK.",
    example: r#"{"address": "127.0.0.1:4141"}"#,
    build: |value| {
        Ok(Box::new(Avro {
            config: settings("avro", value)?,
        }))
    },
};

/// The settings of `avro`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the source, or the proxy before it, listens.
    pub address: SocketAddr,
    /// Whether both directions are zlib streams.
    #[serde(default)]
    pub deflate: bool,
}

/// The generator.
#[derive(Debug)]
pub struct Avro {
    config: Config,
}

impl Avro {
    /// A generator with these settings.
    pub fn new(config: Config) -> Avro {
        Avro { config }
    }
}

impl Generator for Avro {
    fn answers(&self) -> bool {
        true
    }

    fn link(&self) -> Box<dyn Link> {
        Box::new(AvroLink {
            config: self.config.clone(),
            open: None,
            position: None,
            count: 0,
            frame: Vec::new(),
            wire: Vec::new(),
        })
    }
}

/// One connection; its buffers outlive it, so that a batch costs no allocation.
struct AvroLink {
    config: Config,
    open: Option<(Socket, Connection)>,
    position: Option<(SocketAddr, u64)>,
    count: u32,
    frame: Vec<u8>,
    wire: Vec<u8>,
}

/// A call brought no answer. Which of the many reasons it was makes no difference to the events.
struct Silence;

impl From<io::Error> for Silence {
    fn from(_: io::Error) -> Silence {
        Silence
    }
}

impl From<AvroError> for Silence {
    fn from(_: AvroError) -> Silence {
        Silence
    }
}

impl AvroLink {
    fn call(&mut self, patience: &Patience<'_>) -> Result<Outcome, Silence> {
        let Some((socket, connection)) = &mut self.open else {
            return Err(Silence);
        };
        let mut buffer = [0; 4096];
        loop {
            self.wire.clear();
            connection.seal(&self.frame, &mut self.wire)?;
            socket.write_all(&self.wire, patience)?;
            let outcome = loop {
                if let Some(outcome) = connection.reply()? {
                    break outcome;
                }
                let count = socket.read(&mut buffer, patience)?;
                connection.feed(buffer.get(..count).unwrap_or_default())?;
            };
            // The server ran nothing, so this is still the same attempt. It can happen only once:
            // the second call carries the text, and a server that does not understand that errs.
            if outcome != Outcome::Again || !connection.again(&mut self.frame) {
                return Ok(outcome);
            }
        }
    }
}

impl Link for AvroLink {
    fn open(&mut self, patience: &Patience<'_>) -> io::Result<()> {
        if !self
            .open
            .as_ref()
            .is_some_and(|(socket, _)| socket.is_alive())
        {
            let socket = Socket::connect(self.config.address, patience)?;
            self.open = Some((socket, Connection::new(self.config.deflate)));
        }
        Ok(())
    }

    fn build(&mut self, batch: &Batch, bodies: &Bodies) -> Result<(), GeneratorError> {
        self.frame.clear();
        self.count = batch.count;
        if let Some((_, connection)) = &mut self.open {
            connection.append_batch(&mut self.frame, batch.count, |nth, out| {
                bodies.write(batch, nth, out);
            });
        }
        Ok(())
    }

    fn exchange(
        &mut self,
        patience: &Patience<'_>,
        parts: &mut Vec<Part>,
    ) -> Result<(), GeneratorError> {
        let answer = match self.call(patience) {
            Ok(Outcome::Ok) => Answer::Acked,
            Ok(Outcome::Failed | Outcome::Unknown | Outcome::Error(_) | Outcome::Again) => {
                Answer::Refused
            }
            Err(Silence) => Answer::Unknown,
        };
        parts.push(Part {
            count: self.count,
            answer,
            at: patience.clock.now(),
        });
        self.position = self.position();
        if answer != Answer::Acked {
            self.open = None;
        }
        Ok(())
    }

    fn position(&self) -> Option<(SocketAddr, u64)> {
        self.open
            .as_ref()
            .map(|(socket, _)| socket.position())
            .or(self.position)
    }

    fn close(&mut self) {
        self.open = None;
    }
}
