//! The Hodges–Lehmann estimate of a shift in paired differences, with exact one-sided bounds.
//!
//! The estimate is the median of all n(n+1)/2 Walsh averages, (dᵢ + dⱼ)/2 with i ≤ j. The number of
//! Walsh averages above θ is the signed-rank statistic of the differences minus θ; so the ordered
//! averages, cut where the exact distribution of that statistic says, are confidence bounds. With
//! ties the true confidence is no smaller than the one asked for.
//!
//! Source: J. L. Hodges and E. L. Lehmann, Annals of Mathematical Statistics 34 (1963) 598–611;
//! J. W. Tukey's bounds as in Hollander & Wolfe, Nonparametric Statistical Methods, §3.2 and §3.3.

use super::{Unable, level_is_sensible, middle, signed_rank, usable};

/// The ordered Walsh averages of some differences.
#[derive(Debug, Clone, PartialEq)]
pub struct Walsh {
    averages: Vec<f64>,
    values: usize,
}

impl Walsh {
    /// Of `differences`, in any order. O(n² log n).
    ///
    /// # Errors
    ///
    /// No difference at all, or one that is not finite.
    pub fn of(differences: &[f64]) -> Result<Self, Unable> {
        usable(differences, 1)?;
        let n = differences.len();
        let mut averages = Vec::with_capacity(n * (n + 1) / 2);
        for (i, first) in differences.iter().enumerate() {
            for second in &differences[i..] {
                averages.push(f64::midpoint(*first, *second));
            }
        }
        averages.sort_unstable_by(f64::total_cmp);
        Ok(Self {
            averages,
            values: n,
        })
    }

    /// The estimate of the shift: the median of the Walsh averages.
    #[must_use]
    pub fn estimate(&self) -> f64 {
        middle(&self.averages)
    }

    /// The shift is above this, wrong with a chance of at most `level`.
    ///
    /// # Errors
    ///
    /// Too few differences for this level (2⁻ⁿ > level), or a level outside 0 to 1.
    pub fn lower(&self, level: f64) -> Result<f64, Unable> {
        Ok(self.averages[self.cut(level)?])
    }

    /// The shift is below this, wrong with a chance of at most `level`.
    ///
    /// # Errors
    ///
    /// As [`Walsh::lower`].
    pub fn upper(&self, level: f64) -> Result<f64, Unable> {
        Ok(self.averages[self.averages.len() - 1 - self.cut(level)?])
    }

    /// How many averages lie outside on one side.
    fn cut(&self, level: f64) -> Result<usize, Unable> {
        level_is_sensible(level)?;
        let need = signed_rank::least_pairs(level)?;
        signed_rank::critical(self.values, level).ok_or(Unable::TooFew {
            have: self.values,
            need,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::signed_rank::tests::DEPRESSION;
    use super::*;

    /// Hollander & Wolfe, examples 3.3 and 3.4 (with the sign turned): estimate 0.46, and 0.010 to
    /// 0.786 with two-sided confidence 96.1 %, which is 1.95 % on each side.
    #[test]
    fn the_depression_example_has_the_published_estimate_and_bounds() {
        let walsh = Walsh::of(&DEPRESSION).unwrap();
        assert!((walsh.estimate() - 0.46).abs() < 1e-9);
        assert!((walsh.lower(0.02).unwrap() - 0.010).abs() < 1e-9);
        assert!((walsh.upper(0.02).unwrap() - 0.786).abs() < 5e-4);
    }

    #[test]
    fn too_few_pairs_have_no_bound() {
        let walsh = Walsh::of(&[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        assert_eq!(walsh.upper(0.01), Err(Unable::TooFew { have: 5, need: 7 }));
        assert!((walsh.upper(0.05).unwrap() - 5.0).abs() < 1e-12);
        assert!(walsh.upper(1.0).is_err());
    }

    /// A bound at `level` is exactly the point up to which the test at that level rejects.
    #[test]
    fn bounds_and_test_agree() {
        let differences = [0.31, -0.12, 0.07, 0.55, 0.21, -0.02, 0.4, 0.18, 0.09, -0.3];
        let walsh = Walsh::of(&differences).unwrap();
        for level in [0.01, 0.025, 0.1] {
            let bound = walsh.lower(level).unwrap();
            let p_at = |shift: f64| {
                let moved: Vec<f64> = differences.iter().map(|d| d - shift).collect();
                signed_rank::p_greater(&moved).unwrap()
            };
            assert!(p_at(bound - 1e-9) <= level);
            assert!(p_at(bound + 1e-9) > level);
        }
    }
}
