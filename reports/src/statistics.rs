//! Statistics behind the decisions: pure functions on numbers and counts, one method a file.
//!
//! Nothing here reads a file, a clock or a record. Everything that is drawn (bootstrap,
//! permutation) is drawn from a seed that is passed in. Each file names the source of its formula
//! and is held to a table or a worked example that somebody else published.
//!
//! | file | answers |
//! |---|---|
//! | [`clopper_pearson`] | k failing trials of n: what rate is still possible? |
//! | [`fisher`] | k of n in one arm against k of n in the other: more? |
//! | [`hodges_lehmann`] | by how much do two paired arms differ, and at most, at least? |
//! | [`holm`] | many metrics, one false-alarm budget |
//! | [`kaplan_meier`] | how long does recovery take, where some recoveries were never seen to end? |
//! | [`kendall`] | does it grow with age, where some values are only known to exceed something? |
//! | [`least_n`] | how many trials must pass for a claim? |
//! | [`mser`] | where does the warm-up end? |
//! | [`pettitt`] | did a series change its level at one point? |
//! | [`signed_rank`] | are the differences of pairs on one side of 0? |
//! | [`spread`] | how much do equal things differ: medians, and the variation within pairs |
//! | [`theil_sen`] | how steep is a line through points of which some are wild? |

pub mod clopper_pearson;
pub mod fisher;
pub mod hodges_lehmann;
pub mod holm;
pub mod kaplan_meier;
pub mod kendall;
pub mod least_n;
pub mod mser;
pub mod pettitt;
pub mod signed_rank;
pub mod spread;
pub mod theil_sen;

/// Why a statistic has no value. Never rounded to one.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum Unable {
    /// Fewer values than the method needs at this level.
    #[error("{have} values, and this needs at least {need}")]
    TooFew {
        /// How many there are.
        have: usize,
        /// How many there must be.
        need: usize,
    },
    /// A value is infinite or not a number.
    #[error("value {index} is not a finite number")]
    NotFinite {
        /// Which one, from 0.
        index: usize,
    },
    /// An argument that no data can make right: a level outside 0 to 1, k above n, …
    #[error("{what}")]
    Senseless {
        /// What is wrong with it.
        what: &'static str,
    },
}

/// `Ok` if there are `need` values and all are finite.
fn usable(values: &[f64], need: usize) -> Result<(), Unable> {
    if let Some(index) = values.iter().position(|value| !value.is_finite()) {
        return Err(Unable::NotFinite { index });
    }
    if values.len() < need {
        return Err(Unable::TooFew {
            have: values.len(),
            need,
        });
    }
    Ok(())
}

/// `Ok` if this is a level of error: above 0 and below 1.
fn level_is_sensible(level: f64) -> Result<(), Unable> {
    if level > 0.0 && level < 1.0 {
        return Ok(());
    }
    Err(Unable::Senseless {
        what: "a level is above 0 and below 1, such as 0.05",
    })
}

/// Sorted copy, in the order of the real numbers.
fn sorted(values: &[f64]) -> Vec<f64> {
    let mut copy = values.to_vec();
    copy.sort_unstable_by(f64::total_cmp);
    copy
}

/// The middle of sorted values; the mean of both where there are two. 0 of none: callers check.
fn middle(sorted: &[f64]) -> f64 {
    let n = sorted.len();
    match n {
        0 => 0.0,
        _ if n.is_multiple_of(2) => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
        _ => sorted[n / 2],
    }
}
