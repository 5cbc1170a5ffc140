//! The run record and every way to show it.
//!
//! A leaf: it knows no system under test, no fault kind and no protocol, only names and numbers.
//! [`record`] is what a run says, [`series`] how it went over time, [`verdict`] how it ends;
//! [`mod@format`] shows one run, [`compare`] two, [`trend`] many; [`show`] spells numbers. [`statistics`] is the
//! arithmetic behind decisions, [`gate`] and [`capacity`] are decisions; [`plan`] is what a search
//! for the capacity found, [`soak`] what hours under load showed.

pub mod campaign;
pub mod capacity;
pub mod compare;
pub mod format;
pub mod gate;
mod openmetrics;
pub mod plan;
pub mod record;
pub mod series;
pub mod show;
pub mod soak;
pub mod statistics;
pub mod trend;
pub mod verdict;
