//! The run record and every way to show it.
