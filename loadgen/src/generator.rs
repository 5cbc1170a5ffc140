//! Generators: how load gets into the system under test.
//!
//! The load is an open loop. A pacing thread releases each batch at the instant its schedule wants,
//! whether or not the system keeps up, into the queue of its producer's connection; a thread per
//! connection builds the bytes just before they leave, and notes the answer. A system that pushes
//! back makes the queue grow, and every event in it keeps its intended instant: waiting is response
//! time, and nothing is omitted because the sender was held up.
//!
//! A batch is tried until it is acked or `retry_for` has passed since its first attempt; events
//! keep their ids over retries, and every attempt is reported: `sent` before its first byte leaves,
//! `answered` afterwards. What an attempt is worth:
//!
//! | what happened | answer |
//! |---|---|
//! | the source took responsibility | acked |
//! | the source said no; no connection; no byte accepted by the operating system | refused |
//! | the proxy on the link knows that it forwarded no byte of the attempt ([`Forwarded`]) | refused |
//! | anything else: a reset, an end, a time-out after the first byte | unknown |
//!
//! Between attempts stand 100 ms, doubling to 1 s, and the next one has a fresh connection. So has
//! the first, if the peer has ended the connection while it was idle. A producer sends one batch at
//! a time, in order.
//!
//! A kind is one file in `generator/` and one line in [`KINDS`]; it says how a [`Link`] opens,
//! builds and exchanges, and leaves pace, retries and reports to this module.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::clock::Clock;
use crate::observe::{Answer, Batch, Micros, Observer};
use crate::payload::{Identity, Pool};
use crate::schedule::Schedule;

mod appender;
pub mod avro;
pub mod discard;
pub mod exec;
pub mod netcat;
mod pace;
mod socket;
pub mod tail;
mod worker;

pub use pace::{Finished, Running, probe, start};

/// A kind of generator.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// Its name in a scenario's `into`.
    pub name: &'static str,
    /// One sentence for lists.
    pub summary: &'static str,
    /// The smallest settings that work, as JSON.
    pub example: &'static str,
    /// Makes one from its settings; an unknown key is an error. Touches nothing outside.
    pub build: fn(serde_json::Value) -> Result<Box<dyn Generator>, GeneratorError>,
}

/// All kinds, by name.
pub static KINDS: &[Kind] = &[avro::KIND, exec::KIND, netcat::KIND, tail::KIND];

/// The kind of that name.
pub fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

/// One way into a system under test.
pub trait Generator: fmt::Debug + Send + Sync {
    /// Whether the source answers. Where it does not, nothing is ever reported as answered, and
    /// everything issued is owed.
    fn answers(&self) -> bool;

    /// Makes what the system needs to find at its start, such as the file it follows.
    ///
    /// # Errors
    /// The file system refused.
    fn prepare(&self) -> Result<(), GeneratorError> {
        Ok(())
    }

    /// A connection, not opened yet; each producer has one of its own.
    fn link(&self) -> Box<dyn Link>;
}

/// The connection of one producer, over its whole life: it may be closed and opened again.
pub trait Link: Send {
    /// Opens the connection unless it is open.
    ///
    /// # Errors
    /// It could not be opened; no byte has left.
    fn open(&mut self, patience: &Patience<'_>) -> io::Result<()>;

    /// Builds the bytes of an attempt for the open connection, and sends none of them.
    ///
    /// # Errors
    /// The bytes cannot be made at all, which ends the load.
    fn build(&mut self, batch: &Batch, bodies: &Bodies) -> Result<(), GeneratorError>;

    /// Sends what was built, waits for the answer, and puts what became of the batch into `parts`:
    /// the events in their order, every one of them. A connection that is of no more use is closed.
    ///
    /// # Errors
    /// Something that no retry mends, such as a full disk, which ends the load.
    fn exchange(
        &mut self,
        patience: &Patience<'_>,
        parts: &mut Vec<Part>,
    ) -> Result<(), GeneratorError>;

    /// Where the proxy saw this connection come from, and how many bytes were written to it.
    /// `None` where there is no connection to speak of. Still known after the connection failed.
    fn position(&self) -> Option<(SocketAddr, u64)>;

    /// Gives the connection up; the next [`Link::open`] makes a fresh one.
    fn close(&mut self);
}

/// What became of some neighbouring events of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// How many events; never 0.
    pub count: u32,
    /// What became of them. Of a source that does not answer: `Acked` when the operating system
    /// took the bytes, which is not reported, but ends the retries.
    pub answer: Answer,
    /// When that was known.
    pub at: Micros,
}

/// How long an attempt may take.
#[derive(Debug)]
pub struct Patience<'a> {
    /// The run's clock.
    pub clock: &'a Clock,
    /// When the call times out.
    pub deadline: Instant,
    /// Set when the load is aborted.
    pub stop: &'a AtomicBool,
}

impl Patience<'_> {
    /// What is left; `None` when time is up or the load is being aborted.
    pub fn left(&self) -> Option<Duration> {
        if self.stop.load(Ordering::Relaxed) {
            return None;
        }
        let left = self.deadline.saturating_duration_since(self.clock.raw());
        (!left.is_zero()).then_some(left)
    }
}

/// Makes the bodies of events: the run's payloads with the run's identities in them.
#[derive(Debug, Clone)]
pub struct Bodies {
    /// The run whose events they are.
    pub run: u64,
    /// The payloads.
    pub pool: Arc<Pool>,
}

impl Bodies {
    /// Appends the body of one event of `batch`, no delimiter, to `out`.
    fn write(&self, batch: &Batch, nth: u32, out: &mut Vec<u8>) {
        let identity = Identity {
            run: self.run,
            producer: batch.producer,
            sequence: batch.first + u64::from(nth),
            intended: batch.intended,
        };
        self.pool.write_event(&identity, out);
    }

    /// Appends the bodies of a whole batch, each followed by a newline.
    fn write_lines(&self, batch: &Batch, out: &mut Vec<u8>) {
        for nth in 0..batch.count {
            self.write(batch, nth, out);
            out.push(b'\n');
        }
    }
}

/// What a proxy between generator and source knows.
pub trait Forwarded: Send + Sync {
    /// How many bytes it has passed on, towards the source, of the connection that came from
    /// `local`, since that was accepted; `None` if it does not know, or still holds bytes that it
    /// may pass on later. It is asked after the connection was closed on our side.
    fn forwarded(&self, local: SocketAddr) -> Option<u64>;
}

impl<F: Fn(SocketAddr) -> Option<u64> + Send + Sync> Forwarded for F {
    fn forwarded(&self, local: SocketAddr) -> Option<u64> {
        self(local)
    }
}

/// What a generator is to do, and with what.
#[derive(Clone)]
pub struct Load {
    /// When each batch is due, and whose it is.
    pub schedule: Arc<Schedule>,
    /// What the events hold.
    pub bodies: Bodies,
    /// The run's clock; its t0 is set before the load starts.
    pub clock: Arc<Clock>,
    /// Who is told.
    pub observer: Arc<dyn Observer>,
    /// The proxy on the link; `Arc::new(|_| None)` where there is none.
    pub forwarded: Arc<dyn Forwarded>,
    /// How long after its first attempt a batch is tried again.
    pub retry_for: Duration,
    /// When a call is given up: connecting, writing and the answer together. Usually 10 s.
    pub call_timeout: Duration,
}

impl fmt::Debug for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Load")
            .field("retry_for", &self.retry_for)
            .field("call_timeout", &self.call_timeout)
            .finish_non_exhaustive()
    }
}

/// Why a generator cannot be made, or had to end the load.
#[derive(Debug, Error)]
pub enum GeneratorError {
    /// The settings do not fit the kind.
    #[error("failed to read the settings of generator {kind}: {source}")]
    Settings {
        /// The kind.
        kind: &'static str,
        /// What is wrong, and with which key.
        source: serde_json::Error,
    },
    /// Settings that exclude each other.
    #[error("failed to set up generator {kind}: {why}")]
    Unfit {
        /// The kind.
        kind: &'static str,
        /// What does not fit, and what to do about it.
        why: &'static str,
    },
    /// A file could not be made, written or rotated.
    #[error("failed to {what} {}: {source}; check its directory, the rights and the space", path.display())]
    File {
        /// What was attempted.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What was seen could not be recorded, so that the run is over.
    #[error("failed to record what the generator saw: {0}")]
    Observer(#[source] io::Error),
    /// A thread could not be started.
    #[error("failed to start a thread of the generator: {0}; lower the number of connections")]
    Thread(#[source] io::Error),
    /// A request could not be encoded.
    #[error(transparent)]
    Avro(#[from] crate::wire::avro::AvroError),
    /// A thread of the generator panicked: a defect of this program.
    #[error("failed to finish the load: a thread of the generator panicked; this is a defect")]
    Panicked,
}

/// Reads the settings of a kind.
fn settings<T: serde::de::DeserializeOwned>(
    kind: &'static str,
    value: serde_json::Value,
) -> Result<T, GeneratorError> {
    serde_json::from_value(value).map_err(|source| GeneratorError::Settings { kind, source })
}

#[cfg(test)]
mod tests;
