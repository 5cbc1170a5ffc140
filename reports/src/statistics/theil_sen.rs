//! The Theil–Sen slope: the median of the slopes between every two points, with bounds.
//!
//! The number of slopes above β is decided by Kendall's S of the residuals y − βx, whose
//! distribution is known: counted up to 60 points, by its normal approximation above. So the
//! ordered slopes, cut where that distribution says, are confidence bounds. They hold for
//! independent errors; a series that hangs together (a backlog from second to second) must be
//! thinned first, for instance to one value a cycle.
//!
//! Sources: H. Theil, Proceedings of the Royal Netherlands Academy of Sciences 53 (1950); P. K.
//! Sen, Journal of the American Statistical Association 63 (1968) 1379–1389.

use statrs::distribution::{ContinuousCDF, Normal};

use super::{Unable, level_is_sensible, middle, usable};

/// The ordered slopes between every two points.
#[derive(Debug, Clone, PartialEq)]
pub struct Slopes {
    ordered: Vec<f64>,
    points: usize,
}

/// Above this many points the distribution of S is taken as normal.
const EXACT: usize = 60;

impl Slopes {
    /// Of points (x, y). Two points at the same x have no slope and are left out of the count,
    /// which makes the bounds a little wide.
    ///
    /// # Errors
    ///
    /// Fewer than two different x, or a number that is not finite.
    pub fn of(points: &[(f64, f64)]) -> Result<Self, Unable> {
        let flat: Vec<f64> = points.iter().flat_map(|(x, y)| [*x, *y]).collect();
        usable(&flat, 4).map_err(|reason| match reason {
            Unable::NotFinite { index } => Unable::NotFinite { index: index / 2 },
            _ => Unable::TooFew {
                have: points.len(),
                need: 2,
            },
        })?;
        let mut ordered = Vec::with_capacity(points.len() * (points.len() - 1) / 2);
        for (i, (x0, y0)) in points.iter().enumerate() {
            for (x1, y1) in &points[i + 1..] {
                if x0 != x1 {
                    ordered.push((y1 - y0) / (x1 - x0));
                }
            }
        }
        if ordered.is_empty() {
            return Err(Unable::TooFew { have: 1, need: 2 });
        }
        ordered.sort_unstable_by(f64::total_cmp);
        Ok(Self {
            ordered,
            points: points.len(),
        })
    }

    /// The slope, in units of y per unit of x.
    #[must_use]
    pub fn estimate(&self) -> f64 {
        middle(&self.ordered)
    }

    /// The slope is above this, wrong with a chance of at most `level`.
    ///
    /// # Errors
    ///
    /// Too few points for this level, or a level outside 0 to 1.
    pub fn lower(&self, level: f64) -> Result<f64, Unable> {
        Ok(self.ordered[self.cut(level)?])
    }

    /// The slope is below this, wrong with a chance of at most `level`.
    ///
    /// # Errors
    ///
    /// As [`Slopes::lower`].
    pub fn upper(&self, level: f64) -> Result<f64, Unable> {
        Ok(self.ordered[self.ordered.len() - 1 - self.cut(level)?])
    }

    /// How many slopes lie outside on one side.
    fn cut(&self, level: f64) -> Result<usize, Unable> {
        level_is_sensible(level)?;
        let too_few = Unable::TooFew {
            have: self.points,
            need: least_points(level),
        };
        let cut = critical(self.points, level).ok_or(too_few)?;
        // With equal x there are fewer slopes than pairs.
        if 2 * cut >= self.ordered.len() {
            return Err(too_few);
        }
        Ok(cut)
    }
}

/// The fewest points that have a bound at `level`: 1 ÷ n! ≤ level.
fn least_points(level: f64) -> usize {
    let mut chance = 1.0;
    (2..=EXACT)
        .find(|n| {
            chance /= *n as f64;
            chance <= level
        })
        .unwrap_or(EXACT)
}

/// The largest k such that at most k of the n(n−1)/2 pairs are in the one order with a chance of
/// at most `level`; `None` where even k = 0 is likelier.
fn critical(n: usize, level: f64) -> Option<usize> {
    if n > EXACT {
        let pairs = (n * (n - 1) / 2) as f64;
        let sd = (n as f64 * (n as f64 - 1.0) * (2.0 * n as f64 + 5.0) / 72.0).sqrt();
        let z = Normal::standard().inverse_cdf(level);
        let k = (pairs / 2.0 + z * sd - 0.5).floor();
        return (k >= 0.0).then_some(k as usize);
    }
    let mut sum = 0.0;
    let below = inversions(n)
        .into_iter()
        .take_while(|chance| {
            sum += chance;
            sum <= level
        })
        .count();
    below.checked_sub(1)
}

/// The chance of each number of inversions in a random order of `n`.
fn inversions(n: usize) -> Vec<f64> {
    let mut chances = vec![1.0];
    for size in 2..=n {
        let mut next = vec![0.0; chances.len() + size - 1];
        for (inversions, chance) in chances.iter().enumerate() {
            for more in 0..size {
                next[inversions + more] += chance / size as f64;
            }
        }
        chances = next;
    }
    chances
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEN: [(f64, f64); 7] = [
        (1.0, 9.0),
        (2.0, 15.0),
        (3.0, 19.0),
        (4.0, 20.0),
        (10.0, 45.0),
        (12.0, 55.0),
        (18.0, 78.0),
    ];

    /// Sen's own example. The slope is 4, and the bounds published for these data are the fourth
    /// slope from either end, 26/7 = 3.71 and 35/8 = 4.38 (tests of scipy and of R's `deming`;
    /// Sen's list of slopes has a slip). Their authors reach them by the normal approximation at
    /// 93 %; by Kendall's table (n = 7, S ≥ 15: 0.015) the two enclose 97 %, and at 93 % (S ≥ 13:
    /// 0.035) one slope less on each side is enough.
    #[test]
    fn sens_example_has_the_published_slope_and_bounds() {
        let slopes = Slopes::of(&SEN).unwrap();
        assert!((slopes.estimate() - 4.0).abs() < 1e-12);
        assert!((slopes.lower(0.0155).unwrap() - 26.0 / 7.0).abs() < 1e-12);
        assert!((slopes.upper(0.0155).unwrap() - 35.0 / 8.0).abs() < 1e-12);
        assert!((slopes.lower(0.035).unwrap() - 15.0 / 4.0).abs() < 1e-12);
        assert!((slopes.upper(0.035).unwrap() - 46.0 / 11.0).abs() < 1e-12);
    }

    /// Upper-tail probabilities of Kendall's S, n = 4 and n = 8 (M. G. Kendall, Rank Correlation
    /// Methods, appendix table 1): n = 4: S ≥ 6 0.042, S ≥ 4 0.167; n = 8: S ≥ 16 0.031, S ≥ 18
    /// 0.016.
    #[test]
    fn tail_probabilities_are_those_of_kendalls_table() {
        for (n, s, tail) in [(4, 6, 0.042), (4, 4, 0.167), (8, 16, 0.031), (8, 18, 0.016)] {
            let pairs = n * (n - 1) / 2;
            let k = (pairs - s) / 2;
            let found: f64 = inversions(n)[..=k].iter().sum();
            assert!((found - tail).abs() < 5.1e-4, "n {n} S {s}: {found}");
        }
    }

    #[test]
    fn exact_and_approximate_meet() {
        for level in [0.01, 0.025, 0.1] {
            let exact = critical(60, level).unwrap() as f64;
            let sd = (60.0_f64 * 59.0 * 125.0 / 72.0).sqrt();
            let z = Normal::standard().inverse_cdf(level);
            assert!((exact - (885.0 + z * sd - 0.5)).abs() < 3.0, "{level}");
        }
    }

    #[test]
    fn three_points_have_a_slope_and_no_bound() {
        let slopes = Slopes::of(&SEN[..3]).unwrap();
        assert!((slopes.estimate() - 5.0).abs() < 1e-12);
        assert_eq!(
            slopes.upper(0.025),
            Err(Unable::TooFew { have: 3, need: 5 })
        );
        assert!(Slopes::of(&[(1.0, 2.0), (1.0, 3.0)]).is_err());
        assert!(Slopes::of(&[(1.0, 2.0)]).is_err());
    }
}
