//! Two builds compared: what a gate decides from pairs of runs.
//!
//! [`decision`] is the rule, as arithmetic on log-ratios; it starts nothing and reads nothing.
//! [`metric`] lists what is compared, [`measure`] takes it from a run's record, [`suite`] puts
//! pairs, rule and record together; [`record`] is `gate.json`.

pub mod decision;
pub mod measure;
pub mod metric;
pub mod record;
pub mod render;
pub mod suite;
