//! Makes load, receives what comes out, and keeps the ledger.
//!
//! Nothing here knows the engine: the codecs are this crate's own, so that a mistake made in both
//! places cannot cancel out.

pub mod account;
pub mod clock;
#[doc(hidden)]
pub mod fuzzing;
pub mod generator;
pub mod idset;
pub mod journal;
pub mod latency;
pub mod ledger;
pub mod observe;
pub mod payload;
pub mod receiver;
pub mod schedule;
pub mod token;
pub mod wire;
