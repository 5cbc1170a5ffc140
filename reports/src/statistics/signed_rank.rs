//! The signed-rank test on paired differences, exact.
//!
//! Under "no difference" every difference is as likely to be positive as negative, whatever its
//! size. The absolute differences are ranked, and the statistic is the sum of the ranks of the
//! positive ones. Its distribution over all 2ⁿ assignments of signs is counted, not approximated:
//! by adding one rank after the other to a table of sums. Equal absolute values get the mean of
//! their ranks (kept doubled, so that they stay integers); a zero keeps its rank, and belongs to
//! neither side. So with ties and zeros the answer is the permutation distribution given the ranks
//! at hand.
//!
//! Sources: F. Wilcoxon, Biometrics Bulletin 1 (1945) 80–83; J. W. Pratt, Journal of the American
//! Statistical Association 54 (1959) 655–667 on zeros; tables: R. L. McCornack, the same journal 60
//! (1965) 864–871.

use std::sync::OnceLock;

use super::{Unable, level_is_sensible, usable};

/// The smallest p that `n` pairs can give: 2⁻ⁿ, when all differences are on the same side.
#[must_use]
pub fn smallest_p(n: usize) -> f64 {
    0.5_f64.powi(i32::try_from(n).unwrap_or(i32::MAX))
}

/// The fewest pairs with which the test can reject at `level`, one-sided: 2⁻ⁿ ≤ level.
///
/// # Errors
///
/// A level outside 0 to 1.
pub fn least_pairs(level: f64) -> Result<usize, Unable> {
    level_is_sensible(level)?;
    Ok((1..1_074)
        .find(|n| smallest_p(*n) <= level)
        .unwrap_or(1_074))
}

/// One-sided p for "the differences lie above 0": the share of the assignments of signs with a
/// rank sum at least as large as the one seen. 1 if all differences are 0.
///
/// # Errors
///
/// No difference at all, or one that is not finite.
pub fn p_greater(differences: &[f64]) -> Result<f64, Unable> {
    usable(differences, 1)?;
    let mut ordered = differences.to_vec();
    ordered.sort_unstable_by(|a, b| a.abs().total_cmp(&b.abs()));
    let n = ordered.len();
    // Doubled midranks of the differences that are not 0, and the sum of those above it.
    let mut ranks = Vec::with_capacity(n);
    let mut positive = 0;
    let mut ties = false;
    let mut first = 0;
    while first < n {
        let size = ordered[first].abs();
        let equal = ordered[first..].iter().take_while(|d| d.abs() == size);
        let next = first + equal.count();
        ties |= size == 0.0 || next - first > 1;
        let doubled = first + 1 + next;
        for difference in ordered[first..next].iter().filter(|d| **d != 0.0) {
            ranks.push(doubled);
            positive += if *difference > 0.0 { doubled } else { 0 };
        }
        first = next;
    }
    if !ties && n < TABLES {
        // Symmetric: P(W ≥ w) = P(W ≤ total − w).
        let total = n * (n + 1) / 2;
        return Ok(table(n).get(total - positive / 2).copied().unwrap_or(1.0));
    }
    let chances = chances(&ranks);
    Ok(chances[positive..].iter().sum::<f64>().min(1.0))
}

/// One-sided p for "the differences lie below 0". As [`p_greater`], mirrored.
///
/// # Errors
///
/// As [`p_greater`].
pub fn p_less(differences: &[f64]) -> Result<f64, Unable> {
    let mirrored: Vec<f64> = differences.iter().map(|d| -d).collect();
    p_greater(&mirrored)
}

/// P(W ≤ w) for `n` pairs without ties, W the sum of the ranks on one side.
#[must_use]
pub fn at_most(n: usize, w: usize) -> f64 {
    let all = n * (n + 1) / 2;
    if w >= all {
        return 1.0;
    }
    if n < TABLES {
        return table(n)[w];
    }
    cumulative(n)[w]
}

/// The largest w with P(W ≤ w) ≤ `level` for `n` pairs without ties; `None` where 2⁻ⁿ > level.
#[must_use]
pub fn critical(n: usize, level: f64) -> Option<usize> {
    let below = if n < TABLES {
        table(n).partition_point(|p| *p <= level)
    } else {
        cumulative(n).partition_point(|p| *p <= level)
    };
    below.checked_sub(1)
}

/// Distributions for fewer pairs than this are counted once and kept.
const TABLES: usize = 64;

fn table(n: usize) -> &'static [f64] {
    static KEPT: [OnceLock<Vec<f64>>; TABLES] = [const { OnceLock::new() }; TABLES];
    KEPT[n].get_or_init(|| cumulative(n))
}

fn cumulative(n: usize) -> Vec<f64> {
    let ranks: Vec<usize> = (1..=n).collect();
    let mut sum = 0.0;
    chances(&ranks)
        .into_iter()
        .map(|chance| {
            sum += chance;
            sum
        })
        .collect()
}

/// The chance of each sum when every rank is in it or not, half and half. Halves and sums of
/// halves: exact in f64 up to 52 ranks, and to the last digits above.
fn chances(ranks: &[usize]) -> Vec<f64> {
    let total: usize = ranks.iter().sum();
    let mut chances = vec![0.0; total + 1];
    chances[0] = 1.0;
    let mut reach = 0;
    for rank in ranks {
        reach += rank;
        for sum in (0..=reach).rev() {
            let with = if sum >= *rank {
                chances[sum - rank]
            } else {
                0.0
            };
            chances[sum] = 0.5 * (chances[sum] + with);
        }
    }
    chances
}

#[cfg(test)]
pub(in crate::statistics) mod tests {
    use super::*;

    /// One-sided critical values, n = 5 to 25 (McCornack 1965; reprinted in most textbooks): the
    /// largest W whose lower tail does not exceed the level.
    #[test]
    fn critical_values_are_those_of_the_published_table() {
        let at_5_percent = [
            0, 2, 3, 5, 8, 10, 13, 17, 21, 25, 30, 35, 41, 47, 53, 60, 67, 75, 83, 91, 100,
        ];
        for (n, w) in (5..=25).zip(at_5_percent) {
            assert_eq!(critical(n, 0.05), Some(w), "n {n} at 5 %");
        }
        let at_2_5_percent = [
            0, 2, 3, 5, 8, 10, 13, 17, 21, 25, 29, 34, 40, 46, 52, 58, 65, 73, 81, 89,
        ];
        for (n, w) in (6..=25).zip(at_2_5_percent) {
            assert_eq!(critical(n, 0.025), Some(w), "n {n} at 2.5 %");
        }
        let at_half_a_percent = [0, 1, 3, 5, 7, 9, 12, 15, 19, 23, 27, 32, 37];
        for (n, w) in (8..=20).zip(at_half_a_percent) {
            assert_eq!(critical(n, 0.005), Some(w), "n {n} at 0.5 %");
        }
        assert_eq!(critical(4, 0.05), None);
    }

    /// Hamilton's depression scale before and after a tranquilliser, nine patients: W = 40,
    /// p = 0.01953 (Hollander & Wolfe, Nonparametric Statistical Methods, example 3.1; also the
    /// example of R's `wilcox.test`).
    pub(in crate::statistics) const DEPRESSION: [f64; 9] = [
        1.83 - 0.878,
        0.50 - 0.647,
        1.62 - 0.598,
        2.48 - 2.05,
        1.68 - 1.06,
        1.88 - 1.29,
        1.55 - 1.06,
        -0.08,
        1.30 - 1.29,
    ];

    #[test]
    fn the_depression_example_has_the_published_p() {
        let p = p_greater(&DEPRESSION).unwrap();
        assert!((p - 0.019_53).abs() < 5e-6, "{p}");
        let mirrored = p_less(&DEPRESSION.map(|d| -d)).unwrap();
        assert_eq!(p.to_bits(), mirrored.to_bits());
    }

    /// All 2ⁿ signs, one after the other: slow, and without a table.
    fn by_enumeration(differences: &[f64]) -> f64 {
        let rank = |d: f64| {
            let below = differences.iter().filter(|o| o.abs() < d.abs()).count();
            let equal = differences.iter().filter(|o| o.abs() == d.abs()).count();
            below as f64 + (equal as f64 + 1.0) / 2.0
        };
        let ranks: Vec<f64> = differences
            .iter()
            .map(|d| if *d == 0.0 { 0.0 } else { rank(*d) })
            .collect();
        let seen: f64 = ranks
            .iter()
            .zip(differences)
            .filter(|(_, d)| **d > 0.0)
            .map(|(rank, _)| rank)
            .sum();
        let n = differences.len();
        let as_large = (0..1_u32 << n)
            .filter(|signs| {
                let sum: f64 = (0..n)
                    .filter(|i| signs >> i & 1 == 1)
                    .map(|i| ranks[i])
                    .sum();
                sum >= seen
            })
            .count();
        as_large as f64 / f64::from(1_u32 << n)
    }

    #[test]
    fn ties_and_zeros_are_counted_over_all_signs() {
        for differences in [
            vec![1.0, 1.0, -1.0, 2.0, 0.0, 3.0, -2.0, 4.0],
            vec![0.0, 0.0, 0.0, 5.0, 6.0],
            vec![1.0; 9],
            vec![-1.0, 2.0, -3.0, 4.0, 5.0, 6.0, 7.5, 7.5, 0.5, -0.25],
            vec![0.0; 6],
        ] {
            let p = p_greater(&differences).unwrap();
            let slow = by_enumeration(&differences);
            assert!((p - slow).abs() < 1e-12, "{differences:?}: {p} {slow}");
        }
    }

    #[test]
    fn nothing_falls_below_two_to_the_minus_n() {
        for n in [1, 5, 8, 12, 40, 70] {
            let all: Vec<f64> = (1..=n).map(|i| i as f64).collect();
            let p = p_greater(&all).unwrap();
            assert!((p / smallest_p(n) - 1.0).abs() < 1e-9, "{n}: {p}");
        }
        assert_eq!(least_pairs(0.05).unwrap(), 5);
        assert_eq!(least_pairs(0.02).unwrap(), 6);
        assert!((smallest_p(8) - 0.003_906_25).abs() < 1e-15);
        assert!(least_pairs(0.0).is_err());
    }

    #[test]
    fn what_cannot_be_ranked_is_refused() {
        assert_eq!(p_greater(&[]), Err(Unable::TooFew { have: 0, need: 1 }));
        assert_eq!(
            p_greater(&[1.0, f64::NAN]),
            Err(Unable::NotFinite { index: 1 })
        );
    }
}
