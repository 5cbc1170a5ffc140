//! Pettitt's test: did a series change its level at one point, and where?
//!
//! For each place t the Mann–Whitney statistic compares the values up to t with those after it;
//! K is the largest in absolute value, and the change lies there. p is the share of drawn orders
//! of the same values whose K is at least as large: exact in expectation, at any length and with
//! ties. It asks for independent values; runs on separate occasions come near enough.
//!
//! Source: A. N. Pettitt, Applied Statistics 28 (1979) 126–135.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::{Unable, usable};

/// The fewest values for which any p below 5 % ÷ 6 is possible: five on each side.
pub const LEAST: usize = 10;

/// The most likely point of change.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// How many values lie before it; the first of several places with the same K.
    pub before: usize,
    /// The statistic: the largest absolute sum of signs.
    pub k: u64,
    /// The share of drawn orders with a K at least as large, the series at hand counted among
    /// them.
    pub p: f64,
}

/// Looks for one change in `series`, in the order of time. The same seed gives the same p, and p
/// is never below 1 ÷ (permutations + 1).
///
/// # Errors
///
/// Fewer than [`LEAST`] values, or one that is not finite.
pub fn change(series: &[f64], permutations: u32, seed: u64) -> Result<Change, Unable> {
    usable(series, LEAST)?;
    let n = series.len() as i64;
    // Twice the midrank, less n + 1: sums of it are the sums of signs.
    let mut scores: Vec<i64> = series
        .iter()
        .map(|value| {
            let below = series.iter().filter(|other| *other < value).count() as i64;
            let equal = series.iter().filter(|other| *other == value).count() as i64;
            2 * below + equal + 1 - (n + 1)
        })
        .collect();
    let (before, k) = largest(&scores);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut as_large = 0_u32;
    for _ in 0..permutations {
        scores.shuffle(&mut rng);
        as_large += u32::from(largest(&scores).1 >= k);
    }
    Ok(Change {
        before,
        k,
        p: (f64::from(as_large) + 1.0) / (f64::from(permutations) + 1.0),
    })
}

/// After how many values the running sum is farthest from 0, and how far.
fn largest(scores: &[i64]) -> (usize, u64) {
    let (mut sum, mut best) = (0, (1, 0));
    for (index, score) in scores[..scores.len() - 1].iter().enumerate() {
        sum += score;
        if i64::unsigned_abs(sum) > best.1 {
            best = (index + 1, i64::unsigned_abs(sum));
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Page's series of 40 values, as Pettitt himself tests it (table 1 of his paper): K = 232
    /// after the 17th value; his approximation gives p = 0.014.
    const PAGE: [f64; 40] = [
        -1.05, 0.96, 1.22, 0.58, -0.98, -0.03, -1.54, -0.71, -0.35, 0.66, 0.44, 0.91, -0.02, -1.42,
        1.26, -1.02, -0.81, 1.66, 1.05, 0.97, 2.14, 1.22, -0.24, 1.60, 0.72, -0.12, 0.44, 0.03,
        0.66, 0.56, 1.37, 1.66, 0.10, 0.80, 1.29, 0.49, -0.07, 1.18, 3.29, 1.84,
    ];

    #[test]
    fn pages_series_changes_where_pettitt_says() {
        let change = change(&PAGE, 20_000, 7).unwrap();
        assert_eq!((change.before, change.k), (17, 232));
        let n: f64 = 40.0;
        let approximate = 2.0 * (-6.0 * 232.0_f64.powi(2) / (n.powi(3) + n.powi(2))).exp();
        assert!((approximate - 0.0146).abs() < 5e-5);
        // The approximation is known to be on the large side.
        assert!((0.005..0.0146).contains(&change.p), "{change:?}");
    }

    #[test]
    fn a_series_without_change_has_none_and_ties_do_no_harm() {
        let up_and_down: Vec<f64> = (0..30).map(|i| f64::from(i % 3)).collect();
        assert!(change(&up_and_down, 2_000, 7).unwrap().p > 0.3);
        let constant = change(&[2.0; 12], 500, 7).unwrap();
        assert_eq!(constant.k, 0);
        assert!((constant.p - 1.0).abs() < 1e-12);
    }

    #[test]
    fn false_alarms_are_as_rare_as_the_level_says() {
        use rand::RngExt;
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let mut alarms = 0;
        for seed in 0..400 {
            let series: Vec<f64> = (0..15).map(|_| rng.random::<f64>()).collect();
            alarms += u32::from(change(&series, 199, seed).unwrap().p <= 0.05);
        }
        // 5 % of 400, and three standard deviations more.
        assert!((5..=33).contains(&alarms), "{alarms}");
    }

    #[test]
    fn nine_values_are_too_few() {
        assert_eq!(
            change(&PAGE[..9], 100, 7),
            Err(Unable::TooFew { have: 9, need: 10 })
        );
    }
}
