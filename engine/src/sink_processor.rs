//! Sink processors: how the sinks of a group share one thread.
//!
//! | kind | what it does |
//! |---|---|
//! | [`default`] | one sink, called again and again |
//!
//! One file per kind, one line in [`KINDS`]. A sink in no group has a default processor of its own.

use std::fmt::Debug;
use std::time::Duration;

use crate::kind::Kind;
use crate::sink::{BoxError, BoxSink, Feed, Status};

pub mod default;

/// All kinds of sink processors, sorted by name.
pub static KINDS: &[&Kind<ProcessorBuilder>] = &[&default::KIND];

/// Builds a processor around its sink.
pub type ProcessorBuilder = fn(BoxSink) -> BoxProcessor;

/// What a kind of sink processor builds in the end.
pub type BoxProcessor = Box<dyn SinkProcessor>;

/// Calls sinks, and says how long to wait before the next call.
pub trait SinkProcessor: Send + Debug {
    /// Opens the sinks.
    ///
    /// # Errors
    /// What a sink could not have; called again later.
    fn open(&mut self) -> Result<(), BoxError>;

    /// Moves up to one batch.
    ///
    /// # Errors
    /// What the sink answered.
    fn process(&mut self, feed: &Feed<'_>) -> Result<Status, BoxError>;

    /// How long the runner waits after `answer`; none for at once. `answer` is `None` after an error.
    fn pause(&mut self, answer: Option<Status>) -> Duration;

    /// Closes the sinks.
    ///
    /// # Errors
    /// What could not be ended well.
    fn close(&mut self) -> Result<(), BoxError>;
}
