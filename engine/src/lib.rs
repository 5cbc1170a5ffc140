//! An agent compatible with Apache Flume: sources, channels, sinks.
//!
//! A source makes batches of events and hands them to a [`processor::ChannelProcessor`], which runs
//! the interceptors, asks the selector for the channels and puts one transaction into each. A sink
//! runner takes transactions out of a channel and gives them to its sink. Everything a component
//! may know of the outside (its settings, the clock, the stop token) is handed to it.
//!
//! | module | what it holds |
//! |---|---|
//! | [`event`] | batches, slices, events, and their byte format |
//! | [`channel`], [`source`], [`sink`] | the three traits and the table of kinds of each |
//! | [`context`], [`kind`] | a component's settings, and what a kind says about the keys it knows |
//! | [`metrics`], [`stop`], [`clock`] | counters under Flume's names, the end of an agent, time |

pub mod agent;
pub mod channel;
pub mod cli;
pub mod clock;
pub mod config;
pub mod context;
mod defect;
pub mod event;
pub mod fs;
#[doc(hidden)]
pub mod fuzzing;
pub mod hdfs;
pub mod interceptor;
pub mod kind;
pub mod metrics;
pub mod processor;
pub mod properties;
pub mod runner;
pub mod selector;
pub mod sink;
pub mod sink_processor;
pub mod source;
pub mod stop;
pub mod wire;
