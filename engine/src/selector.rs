//! Channel selectors: which channels of its source an event goes to.
//!
//! | kind | what it does |
//! |---|---|
//! | [`replicating`] | all channels get all events |
//!
//! One file per kind, one line in [`KINDS`].

use std::fmt::Debug;

use crate::context::ConfigError;
use crate::event::{Batch, Slice};

pub mod replicating;

/// What a kind of selector builds.
pub type BoxSelector = Box<dyn Selector>;

/// All kinds of selectors, sorted by name.
pub static KINDS: &[&crate::kind::Kind<SelectorBuilder>] = &[&replicating::KIND];

/// Building a selector takes one thing more than its settings: the source's channels by name.
pub type SelectorBuilder = Box<dyn Fn(&[&str]) -> Result<BoxSelector, ConfigError>>;

/// Events and the channel they go to.
#[derive(Debug, Clone)]
pub struct Route {
    /// Position in the source's list of channels.
    pub channel: usize,
    /// The events.
    pub events: Slice,
    /// Whether the source is refused when this channel refuses.
    pub required: bool,
}

/// A selector. All threads of its source share it.
pub trait Selector: Send + Sync + Debug {
    /// The routes of a batch, required ones in the order of the source's list.
    fn select(&self, batch: &Batch) -> Vec<Route>;
}
