//! The run record and every way to show it.
//!
//! A leaf: it knows no system under test, no fault kind and no protocol, only names and numbers.
//! [`record`] is what a run says, [`verdict`] how it ends.

pub mod record;
pub mod verdict;
