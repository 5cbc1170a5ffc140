//! Sources: what brings events into the agent.
//!
//! | kind | what it reads |
//! |---|---|
//! | [`avro`] | Flume's Avro RPC |
//! | [`exec`] | the output of a command |
//! | [`mod@file`] | one file that grows |
//! | [`netcat`] | lines on a TCP port |
//! | [`seq`] | nothing: it counts |
//! | [`taildir`] | the files of some directories |
//!
//! One file per kind, one line in [`KINDS`].

use std::fmt::Debug;

use crate::kind::Kind;
use crate::processor::{ChannelProcessor, ProcessError};
use crate::stop::Stop;

pub mod avro;
#[cfg(test)]
mod conformance;
pub mod exec;
pub mod file;
pub mod netcat;
pub mod seq;
pub mod taildir;
mod tailer;
#[cfg(test)]
pub(crate) mod testing;

/// Any error of a component; each component has its own type, the runner only prints it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What a kind of source builds.
pub type BoxSource = Box<dyn Source>;

/// All kinds of sources, sorted by name without regard to case.
pub static KINDS: &[&Kind<BoxSource>] = &[
    &avro::KIND,
    &exec::KIND,
    &file::KIND,
    &netcat::KIND,
    &seq::KIND,
    &taildir::KIND,
];

/// Takes a delivery that the agent's stop cut short for what it is: an ordinary end of `run`, not a
/// failure. What was not delivered is the source's to report, or still where it was read from.
pub(crate) fn stop_is_no_failure(outcome: Result<(), BoxError>) -> Result<(), BoxError> {
    match outcome {
        Err(error) if matches!(error.downcast_ref(), Some(ProcessError::Stopped { .. })) => Ok(()),
        other => other,
    }
}

/// A source. It lives on a thread of its own, which opens it, then runs it until the agent stops.
///
/// The duties of an implementation:
/// - It takes responsibility for an event (answers OK, moves its position) only after the processor
///   has taken the batch.
/// - A full channel pushes back: the source waits ([`ChannelProcessor::deliver`]) or refuses
///   ([`ChannelProcessor::process`]), and never ends because of it.
/// - It returns from `run` soon after `stop` is set (well under a second), with every thread it
///   started joined and every process it started ended.
pub trait Source: Send + Debug {
    /// Takes hold of the outside: binds the port, opens the files. Called again after 3 seconds if
    /// it fails, as Flume does; the agent is ready when it has succeeded.
    ///
    /// # Errors
    /// What could not be had, and what to do about it.
    fn open(&mut self) -> Result<(), BoxError>;

    /// Makes events until `stop` is set, or until there is nothing more to come (then `Ok`, and the
    /// source stays idle).
    ///
    /// # Errors
    /// What went wrong; the runner logs it, waits 5 seconds, and opens and runs the source again.
    fn run(&mut self, out: &ChannelProcessor, stop: &Stop) -> Result<(), BoxError>;

    /// The address a listening source is bound to once it is open: with port 0 in the
    /// configuration, the only way to learn it. The agent logs it.
    fn local_address(&self) -> Option<std::net::SocketAddr> {
        None
    }
}
