//! Scenarios: drivers, stores, faults, runner, checkers.

pub mod process;
pub mod proxy;
pub mod text;
