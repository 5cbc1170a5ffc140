//! Side-by-side comparisons with a guard, one row each.
//!
//! A row asks one question and has one or more limits. Where there is something to compare with,
//! both arms run alternately (A B A B …) in one process tree, and what counts is the median of the
//! ratios of the pairs, never an absolute figure: a ratio survives a slow machine. Where there is
//! nothing to compare with, the limit is absolute.
//!
//! | module | what it holds |
//! |---|---|
//! | [`rows`] | the table of rows, one file for each |
//! | [`pairs`] | alternation, repetition, the ratio |
//! | [`guard`] | what others did to the machine meanwhile |
//! | [`stats`] | median and range |
//! | [`outcome`] | limits, verdicts, what a row answers |
//! | [`show`] | an outcome as text |
//! | [`work`] | the work that several rows share |

pub mod guard;
pub mod outcome;
pub mod pairs;
pub mod rows;
pub mod show;
pub mod stats;
pub mod work;
