//! Sinks: what takes events out of the agent.
//!
//! | kind | where it writes |
//! |---|---|
//! | [`avro`] | to an avro source, by Flume's Avro RPC |
//! | [`file_roll`] | to files of a local directory |
//! | [`hdfs`] | to files in HDFS |
//! | [`logger`] | to the agent's log |
//! | [`null`] | nowhere |
//!
//! One file per kind, one line in [`KINDS`].

use std::fmt::Debug;
use std::time::Duration;

use crate::channel::Channel;
use crate::kind::Kind;
use crate::metrics::SinkCounters;
pub use crate::source::BoxError;
use crate::stop::Stop;

pub mod avro;
#[cfg(test)]
mod conformance;
pub mod file_roll;
pub mod hdfs;
pub mod logger;
pub mod null;
#[cfg(test)]
pub(crate) mod testing;

/// What a kind of sink builds.
pub type BoxSink = Box<dyn Sink>;

/// All kinds of sinks, sorted by name without regard to case.
pub static KINDS: &[&Kind<BoxSink>] = &[
    &avro::KIND,
    &file_roll::KIND,
    &hdfs::KIND,
    &logger::KIND,
    &null::KIND,
];

/// How long a sink waits for the first event of a take: long enough that an idle agent costs nothing.
/// An agent that stops does not wait for it, see [`Channel::stop_waiting`].
pub const TAKE_WAIT: Duration = Duration::from_millis(500);

/// Whether the sink wants to be called again at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Events were moved.
    Ready,
    /// Nothing to do, or not now. The runner waits before the next call unless the channel is
    /// empty, where the take has waited already.
    Backoff,
}

/// What a call of [`Sink::process`] works with.
#[derive(Debug, Clone, Copy)]
pub struct Feed<'a> {
    /// The sink's channel.
    pub channel: &'a dyn Channel,
    /// The sink's counters.
    pub counters: &'a SinkCounters,
    /// Set when the sink is to give up what it is doing. A stop of the agent comes in two steps:
    /// first sources end and sinks drain, this token still unset; it is set when the limit of the
    /// drain is reached.
    pub stop: &'a Stop,
}

/// A sink. It lives on a thread of its own, which calls it again and again.
///
/// The duties of an implementation:
/// - Per call at most one take transaction, committed only when the store has taken responsibility;
///   returning early (`?`) rolls it back, and the events return to the head of the channel.
/// - Every wait is bounded and ends soon after `stop` is set.
pub trait Sink: Send + Debug {
    /// Takes hold of the outside. Called again after 3 seconds if it fails, as Flume does. A sink
    /// that connects when it first has something to send does nothing here.
    ///
    /// # Errors
    /// What could not be had, and what to do about it.
    fn open(&mut self) -> Result<(), BoxError>;

    /// Moves up to one batch from the channel to the store.
    ///
    /// # Errors
    /// What went wrong; the runner logs it and waits before the next call, 1 s at first, 5 s after
    /// ten errors in a row ([`sink_processor::default`](crate::sink_processor::default)). A sink that
    /// knows a better time waits itself ([`Stop::wait`]) and answers [`Status::Ready`] to be called
    /// again at once.
    fn process(&mut self, feed: &Feed<'_>) -> Result<Status, BoxError>;

    /// Called once after the last `process`: closes files and connections, ends threads.
    ///
    /// # Errors
    /// What could not be ended well; it is logged.
    fn close(&mut self) -> Result<(), BoxError>;
}
