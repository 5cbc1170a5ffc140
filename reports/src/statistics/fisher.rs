//! Fisher's exact test on two arms of trials, one-sided.
//!
//! Given how many trials failed in both arms together, the number in one arm follows the
//! hypergeometric distribution if the arms are alike.
//!
//! Source: R. A. Fisher, The Design of Experiments (1935), chapter 2.

use super::Unable;

/// One-sided p for "the second arm fails more often than the first": the chance that it has as
/// many of the failing trials as it has, or more.
///
/// # Errors
///
/// An arm without trials, or with more failing trials than trials.
pub fn p_second_fails_more(first: (u64, u64), second: (u64, u64)) -> Result<f64, Unable> {
    let ((k1, n1), (k2, n2)) = (first, second);
    if n1 == 0 || n2 == 0 {
        return Err(Unable::TooFew { have: 0, need: 1 });
    }
    if k1 > n1 || k2 > n2 {
        return Err(Unable::Senseless {
            what: "more failing trials than trials",
        });
    }
    let failing = k1 + k2;
    let all = log_choose(n1 + n2, failing);
    let p: f64 = (k2..=failing.min(n2))
        .filter(|k| failing - k <= n1)
        .map(|k| (log_choose(n2, k) + log_choose(n1, failing - k) - all).exp())
        .sum();
    Ok(p.min(1.0))
}

fn log_choose(n: u64, k: u64) -> f64 {
    use statrs::function::factorial::ln_binomial;
    ln_binomial(n, k)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fisher's tea: four cups of eight had the milk first, three of them were named rightly:
    /// 17 of 70. All four: 1 of 70.
    #[test]
    fn the_lady_tasting_tea() {
        let p = p_second_fails_more((1, 4), (3, 4)).unwrap();
        assert!((p - 17.0 / 70.0).abs() < 1e-12, "{p}");
        let p = p_second_fails_more((0, 4), (4, 4)).unwrap();
        assert!((p - 1.0 / 70.0).abs() < 1e-12, "{p}");
    }

    /// Convictions of like-sexed twins of criminals, 2 of 17 dizygotic against 10 of 13
    /// monozygotic: one-sided p 0.00046518 (Fisher 1962; the example of R's `fisher.test`).
    #[test]
    fn the_twins_of_criminals() {
        let p = p_second_fails_more((2, 17), (10, 13)).unwrap();
        assert!((p - 4.651_8e-4).abs() < 5e-9, "{p}");
    }

    #[test]
    fn twenty_trials_an_arm_see_only_large_differences() {
        assert!(p_second_fails_more((0, 20), (4, 20)).unwrap() > 0.05);
        assert!(p_second_fails_more((0, 20), (6, 20)).unwrap() > 0.01);
        assert!(p_second_fails_more((0, 20), (7, 20)).unwrap() < 0.01);
        assert!(p_second_fails_more((0, 0), (4, 20)).is_err());
        assert!(p_second_fails_more((0, 20), (21, 20)).is_err());
    }
}
