//! Two builds compared: what a gate decides from pairs of runs.
//!
//! [`decision`] is the rule, as arithmetic on log-ratios; it starts nothing and reads nothing.

pub mod decision;
