//! How many trials a claim needs.
//!
//! "Fails in fewer than 5 % of the trials", wrong with a chance of at most 5 %, needs 59 trials
//! without a failing one: (1 − 0.05)^59 ≤ 0.05. Who may go on after a failing trial and stop as
//! soon as the bound allows looks more than once, and each look is a chance to be wrong. So the
//! looks share the level: there is one level a, the same for every look, such that stopping with k
//! failing of nₖ trials, nₖ the least number whose Clopper–Pearson bound at level a is below the
//! claim, is wrong with a total chance of at most the level asked for. That chance is computed
//! exactly, trial by trial, at the worst rate the claim excludes; a is the largest that holds.

use statrs::distribution::{Binomial, DiscreteCDF};

use super::{Unable, level_is_sensible};

/// The trials to be run for the claim "the rate is below `rate`", wrong with a chance of at most
/// `level`: element k is the number of trials after which k failing ones are still few enough. The
/// campaign stops at the first element it satisfies, and the claim fails after the last.
///
/// `boundaries(0.05, 0.05, 0)` is `[59]`, `boundaries(0.05, 0.05, 2)` is `[72, 109, 141]`.
///
/// # Errors
///
/// A rate or level outside 0 to 1; a rate below 0.0001; more than 20 allowed failures.
pub fn boundaries(rate: f64, level: f64, allowed_failures: u64) -> Result<Vec<u64>, Unable> {
    level_is_sensible(level)?;
    if !(1e-4..1.0).contains(&rate) {
        return Err(Unable::Senseless {
            what: "a rate is at least 0.0001 and below 1, such as 0.05",
        });
    }
    if allowed_failures > 20 {
        return Err(Unable::Senseless {
            what: "at most 20 failures can be allowed",
        });
    }
    // All looks at the level asked for are too many, unless there is only one.
    let (mut holds, mut too_much) = (level / (allowed_failures as f64 + 1.0), level);
    let at_level = at_each(rate, level, allowed_failures);
    if wrong_claims(rate, &at_level) <= level {
        return Ok(at_level);
    }
    let mut found = at_each(rate, holds, allowed_failures);
    for _ in 0..30 {
        let half = f64::midpoint(holds, too_much);
        let boundaries = at_each(rate, half, allowed_failures);
        if wrong_claims(rate, &boundaries) <= level {
            (holds, found) = (half, boundaries);
        } else {
            too_much = half;
        }
    }
    Ok(found)
}

/// The chance that a campaign which stops at these boundaries makes its claim although the true
/// rate is `rate`.
#[must_use]
pub fn wrong_claims(rate: f64, boundaries: &[u64]) -> f64 {
    // chances[k]: still running, with k failing trials so far.
    let mut chances = vec![0.0; boundaries.len()];
    if let Some(first) = chances.first_mut() {
        *first = 1.0;
    }
    let (mut wrong, mut trials) = (0.0, 0);
    for (allowed, boundary) in boundaries.iter().enumerate() {
        while trials < *boundary {
            trials += 1;
            for k in (0..chances.len()).rev() {
                let from_below = if k > 0 { chances[k - 1] * rate } else { 0.0 };
                chances[k] = chances[k] * (1.0 - rate) + from_below;
            }
        }
        for chance in &mut chances[..=allowed] {
            wrong += *chance;
            *chance = 0.0;
        }
    }
    wrong
}

/// For each k, the least n with P(X ≤ k) ≤ `level` at `rate`: a single look at that level.
fn at_each(rate: f64, level: f64, most: u64) -> Vec<u64> {
    let mut least = 1;
    (0..=most)
        .map(|k| {
            // Doubling, then halving: the chance falls with n.
            let enough = |n: u64| Binomial::new(rate, n).is_ok_and(|b| n > k && b.cdf(k) <= level);
            let mut high = least.max(k + 1);
            while !enough(high) && high < 1 << 40 {
                high *= 2;
            }
            let mut low = least;
            while low < high {
                let half = u64::midpoint(low, high);
                if enough(half) {
                    high = half;
                } else {
                    low = half + 1;
                }
            }
            least = low;
            low
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Success-run sample sizes, as in every table of zero-failure test plans (for example
    /// NIST/SEMATECH e-Handbook §8): 59 for 95 %/95 %, 299 for 99 %/95 %, 22 for 90 %/90 %.
    #[test]
    fn without_failures_it_is_the_table_of_success_runs() {
        assert_eq!(boundaries(0.05, 0.05, 0).unwrap(), [59]);
        assert_eq!(boundaries(0.01, 0.05, 0).unwrap(), [299]);
        assert_eq!(boundaries(0.1, 0.1, 0).unwrap(), [22]);
        assert_eq!(boundaries(0.001, 0.05, 0).unwrap(), [2_995]);
    }

    #[test]
    fn up_to_two_failures_have_corrected_boundaries() {
        assert_eq!(boundaries(0.05, 0.05, 2).unwrap(), [72, 109, 141]);
        assert_eq!(boundaries(0.01, 0.05, 2).unwrap(), [365, 553, 717]);
    }

    /// Uncorrected stopping at a true 5 %: wrong in 4.9 % if only 0 failures may stop it, 7.5 % up
    /// to one, 10.6 % up to three, 15.9 % up to ten.
    #[test]
    fn looking_again_and_again_costs_what_the_correction_takes_back() {
        for (most, wrong) in [(0, 0.049), (1, 0.075), (3, 0.106), (10, 0.159)] {
            let found = wrong_claims(0.05, &at_each(0.05, 0.05, most));
            assert!((found - wrong).abs() < 6e-4, "{most}: {found}");
        }
        for (rate, allowed) in [(0.05, 1), (0.05, 2), (0.01, 2), (0.05, 5)] {
            let boundaries = boundaries(rate, 0.05, allowed).unwrap();
            let wrong = wrong_claims(rate, &boundaries);
            assert!(wrong <= 0.05 && wrong > 0.046, "{boundaries:?}: {wrong}");
        }
    }

    #[test]
    fn senseless_claims_are_refused() {
        assert!(boundaries(0.0, 0.05, 0).is_err());
        assert!(boundaries(0.05, 1.0, 0).is_err());
        assert!(boundaries(0.05, 0.05, 21).is_err());
        assert!(wrong_claims(0.05, &[]).abs() < 1e-12);
    }
}
