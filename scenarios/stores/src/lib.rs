//! Embedded stores, run as child processes.
