//! Scenarios: drivers, stores, faults, runner, checkers.

pub mod text;
