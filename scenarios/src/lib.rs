//! Scenarios: what to do to a system, how to run it, and how to judge what happened.
//!
//! | module | what it holds |
//! |---|---|
//! | [`scenario`] | the scenario file, read and checked, every problem at once |
//! | [`sut`], [`store`], [`fault`] | drivers, stores and faults: one file a kind |
//! | [`proxy`], [`process`] | the links and the processes of a run |
//! | [`runner`] | the life of a run, and its history |
//! | [`checker`], [`judge`] | what is judged, from ledger and history alone |
//! | [`campaign`] | many trials of one scenario, and what they say together |
//! | [`plan`] | how much a system carries: probes, search, sizing |
//! | [`properties`] | Flume's configuration files, as far as a run must understand them |
//! | [`decoy`] | an agent that misbehaves on purpose |
//!
//! Nothing here imports the engine or the embedded stores: they are spawned, as every other
//! process is.

pub mod campaign;
pub mod checker;
pub mod decoy;
pub mod fault;
#[doc(hidden)]
pub mod fuzzing;
pub mod gate;
pub mod judge;
pub mod plan;
pub mod process;
pub mod properties;
pub mod proxy;
pub mod runner;
pub mod scenario;
pub mod shipped;
pub mod store;
pub mod sut;
pub mod text;
pub mod tools;
