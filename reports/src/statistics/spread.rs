//! How much equal things differ: the median, and the variation within pairs.

use super::{Unable, middle, sorted, usable};

/// The middle value; the mean of the two middle ones where their number is even.
///
/// # Errors
///
/// No value, or one that is not finite.
pub fn median(values: &[f64]) -> Result<f64, Unable> {
    usable(values, 1)?;
    Ok(middle(&sorted(values)))
}

/// The standard deviation, with n − 1.
///
/// # Errors
///
/// Fewer than two values, or one that is not finite.
pub fn standard_deviation(values: &[f64]) -> Result<f64, Unable> {
    usable(values, 2)?;
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Ok((squares / (n - 1.0)).sqrt())
}

/// The coefficient of variation of one run within a pair, from the log-ratios of pairs: their
/// standard deviation ÷ √2, because a ratio carries the noise of both runs. As a share (0.03 is
/// 3 %); what shifts all pairs alike, a real difference of the arms, is not in it.
///
/// # Errors
///
/// As [`standard_deviation`].
pub fn within_pair_cv(log_ratios: &[f64]) -> Result<f64, Unable> {
    Ok(standard_deviation(log_ratios)? / std::f64::consts::SQRT_2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_odd_and_even_numbers_of_values() {
        assert!((median(&[3.0, 1.0, 2.0]).unwrap() - 2.0).abs() < 1e-12);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]).unwrap() - 2.5).abs() < 1e-12);
        assert!(median(&[]).is_err());
        assert!(median(&[f64::INFINITY]).is_err());
    }

    /// The first of NIST's certified data sets, `PiDigits`, starts 3 1 4 1 5; by hand: mean 2.8,
    /// squares 0.04 + 3.24 + 1.44 + 3.24 + 4.84 = 12.8, ÷ 4.
    #[test]
    fn the_deviation_divides_by_one_less() {
        let found = standard_deviation(&[3.0, 1.0, 4.0, 1.0, 5.0]).unwrap();
        assert!((found - 3.2_f64.sqrt()).abs() < 1e-12);
    }

    /// `NumAcc1` of NIST's Statistical Reference Datasets: 10000001, 10000003, 10000002; certified
    /// standard deviation 1.
    #[test]
    fn large_values_do_not_swallow_the_deviation() {
        let found = standard_deviation(&[10_000_001.0, 10_000_003.0, 10_000_002.0]).unwrap();
        assert!((found - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_common_shift_is_not_noise() {
        let pairs = [0.01, -0.02, 0.03, 0.0];
        let shifted = pairs.map(|ratio| ratio + 0.5);
        let cv = within_pair_cv(&pairs).unwrap();
        assert!((cv - within_pair_cv(&shifted).unwrap()).abs() < 1e-12);
        assert!(within_pair_cv(&[0.01]).is_err());
    }
}
