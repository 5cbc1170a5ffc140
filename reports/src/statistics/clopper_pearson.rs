//! Exact bounds for a rate, from k failing of n trials.
//!
//! The upper bound is the rate at which k or fewer failing trials would have a chance of exactly
//! `level`; the lower bound, k or more. Both are quantiles of beta distributions. They never cover
//! less than they say, and are a little wide for it.
//!
//! Source: C. J. Clopper and E. S. Pearson, Biometrika 26 (1934) 404–413.

use statrs::distribution::{Beta, ContinuousCDF};

use super::{Unable, level_is_sensible};

/// The rate is below this, wrong with a chance of at most `level` (one-sided). 1 if all failed.
///
/// # Errors
///
/// No trial, k above n, or a level outside 0 to 1.
pub fn upper(failing: u64, trials: u64, level: f64) -> Result<f64, Unable> {
    checked(failing, trials, level)?;
    if failing == trials {
        return Ok(1.0);
    }
    if failing == 0 {
        return Ok(-(level.ln() / trials as f64).exp_m1());
    }
    quantile(failing + 1, trials - failing, 1.0 - level)
}

/// The rate is above this, wrong with a chance of at most `level` (one-sided). 0 if none failed.
///
/// # Errors
///
/// As [`upper`].
pub fn lower(failing: u64, trials: u64, level: f64) -> Result<f64, Unable> {
    checked(failing, trials, level)?;
    if failing == 0 {
        return Ok(0.0);
    }
    if failing == trials {
        return Ok((level.ln() / trials as f64).exp());
    }
    quantile(failing, trials - failing + 1, level)
}

/// Both bounds, each at half of `level`: the rate is outside with a chance of at most `level`.
///
/// # Errors
///
/// As [`upper`].
pub fn interval(failing: u64, trials: u64, level: f64) -> Result<(f64, f64), Unable> {
    Ok((
        lower(failing, trials, level / 2.0)?,
        upper(failing, trials, level / 2.0)?,
    ))
}

fn checked(failing: u64, trials: u64, level: f64) -> Result<(), Unable> {
    level_is_sensible(level)?;
    if trials == 0 {
        return Err(Unable::TooFew { have: 0, need: 1 });
    }
    if failing > trials {
        return Err(Unable::Senseless {
            what: "more failing trials than trials",
        });
    }
    Ok(())
}

/// The quantile of the beta distribution, by halving: its distribution function is monotone.
fn quantile(a: u64, b: u64, p: f64) -> Result<f64, Unable> {
    let beta = Beta::new(a as f64, b as f64).map_err(|_| Unable::Senseless {
        what: "counts that make no beta distribution",
    })?;
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let half = f64::midpoint(low, high);
        if beta.cdf(half) < p {
            low = half;
        } else {
            high = half;
        }
    }
    Ok(f64::midpoint(low, high))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two-sided 95 %: 682 of 925 as in the example of R's `binom.test` (after Conover 1971), and
    /// entries of the usual tables for n = 10 and n = 20.
    #[test]
    fn two_sided_bounds_are_those_of_the_published_tables() {
        let (low, high) = interval(682, 925, 0.05).unwrap();
        assert!((low - 0.707_668_3).abs() < 5e-8, "{low}");
        assert!((high - 0.765_406_6).abs() < 5e-8, "{high}");
        for (k, n, low, high) in [
            (0, 10, 0.0, 0.3085),
            (1, 10, 0.0025, 0.4450),
            (5, 10, 0.1871, 0.8129),
            (10, 10, 0.6915, 1.0),
            (5, 20, 0.0866, 0.4910),
        ] {
            let found = interval(k, n, 0.05).unwrap();
            assert!((found.0 - low).abs() < 5.1e-5, "{k} of {n}: {found:?}");
            assert!((found.1 - high).abs() < 5.1e-5, "{k} of {n}: {found:?}");
        }
    }

    /// The table for no failure at all, one-sided 95 %: 1 − 0.05^(1/n), near the "rule of three"
    /// (J. A. Hanley and A. Lippman-Hand, JAMA 249 (1983) 1743–1745).
    #[test]
    fn none_of_n_is_an_upper_bound_and_not_zero() {
        for (n, percent) in [
            (10, 25.9),
            (20, 13.9),
            (30, 9.5),
            (59, 4.95),
            (100, 2.95),
            (299, 1.00),
            (1_000, 0.30),
        ] {
            let bound = 100.0 * upper(0, n, 0.05).unwrap();
            assert!((bound - percent).abs() < 0.05, "{n}: {bound}");
        }
        assert_eq!(lower(0, 59, 0.05).unwrap().to_bits(), 0.0_f64.to_bits());
    }

    #[test]
    fn a_bound_is_where_the_tail_has_the_level() {
        // P(X ≤ 3) of 31 at the upper bound, added up term by term.
        let rate = upper(3, 31, 0.05).unwrap();
        let mut term = (1.0 - rate).powi(31);
        let mut tail = term;
        for k in 0..3 {
            term *= (31.0 - f64::from(k)) / (f64::from(k) + 1.0) * rate / (1.0 - rate);
            tail += term;
        }
        assert!((tail - 0.05).abs() < 1e-9, "{tail}");
    }

    #[test]
    fn senseless_counts_are_refused() {
        assert!(upper(0, 0, 0.05).is_err());
        assert!(upper(3, 2, 0.05).is_err());
        assert!(upper(1, 2, 0.0).is_err());
    }
}
