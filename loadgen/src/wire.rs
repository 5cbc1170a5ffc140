//! Wire formats the load speaks, each held to bytes recorded from real peers.
//!
//! The codecs do no input or output: they turn calls into bytes and bytes into answers, so that
//! a connection's deadlines and the instants that are reported stay in one place, the generator.

pub mod avro;
