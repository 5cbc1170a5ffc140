//! Entry points for fuzzing: one function for each place where the harness handles bytes that a
//! system under test, or a load, may have made up.
//!
//! Not an interface for anybody else. Each function takes any bytes whatever, and panics if the
//! harness does what it must not:
//!
//! | target | input | property |
//! |---|---|---|
//! | [`proxy`] | what client, server and nemesis do, a byte each; see there | bytes arrive in order, all of them unless the connection was broken; both ends learn of its end; the count is right |
//!
//! The functions are called by the fuzz targets in `fuzz/` and, for the recorded corpora and
//! mutations of them, by an ordinary test.

pub use crate::proxy::fuzzing::proxy;

/// A target: bytes in, panic if something is wrong.
pub type Target = fn(&[u8]);

/// All targets, by name.
pub static TARGETS: &[(&str, Target)] = &[("proxy", proxy)];
