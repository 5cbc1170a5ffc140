//! Holm's step-down procedure: many hypotheses, one chance of any false rejection.
//!
//! The smallest p is multiplied by the number of hypotheses, the next by one less, and so on; no
//! adjusted p is smaller than the one before it. It asks nothing of how the metrics hang together.
//!
//! Source: S. Holm, Scandinavian Journal of Statistics 6 (1979) 65–70.

/// The adjusted p of each hypothesis, in the order given; rejected where it is ≤ the level of the
/// whole family. A p that is not a number counts as 1.
#[must_use]
pub fn adjusted(p: &[f64]) -> Vec<f64> {
    let clean: Vec<f64> = p
        .iter()
        .map(|p| if p.is_nan() { 1.0 } else { p.clamp(0.0, 1.0) })
        .collect();
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| clean[*a].total_cmp(&clean[*b]));
    let mut adjusted = vec![1.0; p.len()];
    let mut before: f64 = 0.0;
    for (step, index) in order.into_iter().enumerate() {
        let left = (p.len() - step) as f64;
        before = before.max((clean[index] * left).min(1.0));
        adjusted[index] = before;
    }
    adjusted
}

/// Which hypotheses are rejected when the chance of any false rejection may be `level`.
#[must_use]
pub fn rejected(p: &[f64], level: f64) -> Vec<bool> {
    adjusted(p).into_iter().map(|p| p <= level).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four hypotheses with p 0.01, 0.04, 0.03, 0.005 at 5 %: the fourth and the first are
    /// rejected, and there it stops (the example of the encyclopaedia's article on the method;
    /// adjusted values as of R's `p.adjust`).
    #[test]
    fn the_worked_example_of_four() {
        let p = [0.01, 0.04, 0.03, 0.005];
        assert_eq!(rejected(&p, 0.05), [true, false, false, true]);
        for (adjusted, published) in adjusted(&p).into_iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((adjusted - published).abs() < 1e-12);
        }
    }

    #[test]
    fn one_that_is_kept_keeps_all_after_it() {
        // 0.03 alone would pass 0.05 / 1, but 0.026 before it does not pass 0.05 / 2.
        assert_eq!(rejected(&[0.03, 0.026], 0.05), [false, false]);
        assert_eq!(rejected(&[0.03, 0.024], 0.05), [true, true]);
        assert_eq!(rejected(&[], 0.05), Vec::<bool>::new());
        assert_eq!(rejected(&[f64::NAN], 0.05), [false]);
    }
}
