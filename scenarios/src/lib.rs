//! Scenarios: drivers, stores, faults, runner, checkers.
