//! Channels: where events wait, between a source's put and a sink's take.
//!
//! | kind | where the events are | after a crash |
//! |---|---|---|
//! | [`mod@file`] | on disk | all there |
//! | [`memory`] | in memory | lost |
//!
//! One file per kind, one line in [`KINDS`]; every kind passes the suite in `conformance.rs`.
//!
//! A transaction is a value: `commit` consumes it, dropping it rolls back. There is no state to get
//! wrong, and a `?` on the way out is a rollback.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::event::Slice;
use crate::kind::Kind;
use crate::metrics::ChannelCounters;

#[cfg(test)]
pub(crate) mod conformance;
pub mod file;
pub mod memory;

/// What a kind of channel builds.
pub type ArcChannel = Arc<dyn Channel>;

/// All kinds of channels, sorted by name without regard to case.
pub static KINDS: &[&Kind<ArcChannel>] = &[&file::KIND, &memory::KIND];

/// Why a channel did not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChannelError {
    /// No room within keep-alive. Trying again makes sense.
    #[error(
        "channel {channel} is full: no room for {events} events within {waited:?}; \
         its sinks are slower than its sources, or stand still"
    )]
    Full {
        /// The channel's name.
        channel: String,
        /// How many events wanted in.
        events: usize,
        /// How long the put waited (keep-alive).
        waited: Duration,
    },
    /// The disk has no room for the put. Trying again makes sense: what empties the channel frees its
    /// disk, and so may somebody else.
    #[error("channel {channel} takes no puts: {reason}")]
    NoSpace {
        /// The channel's name.
        channel: String,
        /// What was refused, and what to do about it.
        reason: String,
    },
    /// The transaction can never fit.
    #[error(
        "a transaction of {events} events exceeds the {limit} of channel {channel}; raise {key} or send smaller batches"
    )]
    TooLarge {
        /// The channel's name.
        channel: String,
        /// How many events (or bytes, for `byteCapacity`) the transaction has.
        events: usize,
        /// How many it may have.
        limit: usize,
        /// The key that sets the limit.
        key: &'static str,
    },
    /// The channel no longer trusts itself: its disk failed, its log is corrupt. It stays so until
    /// the agent is started again.
    #[error("channel {channel} is unhealthy: {reason}")]
    Unhealthy {
        /// The channel's name.
        channel: String,
        /// What happened and what to do about it.
        reason: String,
    },
    /// The channel is not open, or not any more.
    #[error("channel {channel} is closed")]
    Closed {
        /// The channel's name.
        channel: String,
    },
}

impl ChannelError {
    /// Whether the same transaction may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            ChannelError::Full { .. } | ChannelError::NoSpace { .. }
        )
    }
}

/// How full a channel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fill {
    /// Events in the channel: committed by a put, not yet by a take.
    pub events: u64,
    /// Events it can hold.
    pub capacity: u64,
}

/// A channel: a queue with transactions, used by any number of threads at once.
///
/// First in, first out, in the order of the commits of the puts. Events of a put become visible
/// together. `take` hands out what is there without waiting for a full batch.
pub trait Channel: Send + Sync + Debug {
    /// Its name in the configuration.
    fn name(&self) -> &str;

    /// Takes hold of the outside: directories, locks; replays. Called once, before any other use. A
    /// channel that needs nothing does nothing.
    ///
    /// # Errors
    /// [`ChannelError::Unhealthy`]; the agent then does not start.
    fn open(&self) -> Result<(), ChannelError>;

    /// Begins a put transaction.
    ///
    /// # Errors
    /// [`ChannelError::Closed`], [`ChannelError::Unhealthy`].
    fn put(&self) -> Result<Box<dyn Put + '_>, ChannelError>;

    /// Begins a take transaction of up to `max` events, the oldest first. If there is none, waits
    /// up to `wait` for one, and then answers an empty transaction.
    ///
    /// # Errors
    /// [`ChannelError::TooLarge`] if `max` exceeds the transaction capacity;
    /// [`ChannelError::Closed`], [`ChannelError::Unhealthy`].
    fn take(&self, max: usize, wait: Duration) -> Result<Box<dyn Take + '_>, ChannelError>;

    /// How full it is.
    fn fill(&self) -> Fill;

    /// The largest transaction, in events.
    fn transaction_capacity(&self) -> usize;

    /// Its counters.
    fn counters(&self) -> &ChannelCounters;

    /// Numbers beyond the counters that all channels have, under Flume's names (`Unhealthy`, …).
    fn extra_metrics(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    /// From now on takes wait for nothing, those that wait now included: nothing more will be put, and
    /// sinks end when the channel is empty. Called once, when sources have ended.
    fn stop_waiting(&self);

    /// Ends all waits and refuses new transactions. Called once, when sources and sinks have ended.
    fn close(&self);
}

/// A put transaction. Dropping it rolls back: nothing of it is ever seen.
pub trait Put: Send {
    /// Adds events to the transaction. They are shared, not copied.
    ///
    /// # Errors
    /// [`ChannelError::TooLarge`]; the transaction is as before and may still be committed.
    fn add(&mut self, events: Slice) -> Result<(), ChannelError>;

    /// Makes the events part of the channel, waiting for room up to the channel's keep-alive.
    ///
    /// # Errors
    /// [`ChannelError::Full`] if there is none; nothing was put then. Any other error likewise,
    /// except that after [`ChannelError::Unhealthy`] events may turn out to be there after a restart.
    fn commit(self: Box<Self>) -> Result<(), ChannelError>;
}

/// A take transaction. Dropping it rolls back: the events return to the head, in their order.
pub trait Take: Send {
    /// The events, as slices of the batches they came in.
    fn slices(&self) -> &[Slice];

    /// Removes the events from the channel for good.
    ///
    /// # Errors
    /// [`ChannelError::Unhealthy`]: the events may be delivered again after a restart.
    fn commit(self: Box<Self>) -> Result<(), ChannelError>;

    /// Number of events.
    fn len(&self) -> usize {
        self.slices().iter().map(Slice::len).sum()
    }

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.slices().is_empty()
    }
}
