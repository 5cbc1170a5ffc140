//! MSER-5: where the warm-up of a series ends.
//!
//! The series is cut into batches of five, and the cut is the one after which the batch means have
//! the smallest standard error: too early a cut keeps the transient, too late a one wastes values.
//! It truncates; it does not show that what is left is steady. A cut in the second half says that
//! the series was too short to tell.
//!
//! Source: K. P. White, Simulation 69 (1997) 323–334; K. P. White, M. J. Cobb and S. C. Spratt,
//! Proceedings of the Winter Simulation Conference 2000, 755–760.

use super::{Unable, usable};

/// Values a batch.
pub const BATCH: usize = 5;

/// Where a series is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// How many values to leave out at the start; a multiple of [`BATCH`].
    pub values: usize,
    /// The cut lies in the second half: the series must be longer before it can be used.
    pub beyond_middle: bool,
}

/// The cut of a series of equally spaced values. Use at least 300 of them: with 30 it finds
/// nothing.
///
/// # Errors
///
/// Fewer than two batches, or a value that is not finite.
pub fn cut(series: &[f64]) -> Result<Cut, Unable> {
    usable(series, 2 * BATCH)?;
    let means: Vec<f64> = series
        .chunks_exact(BATCH)
        .map(|batch| batch.iter().sum::<f64>() / BATCH as f64)
        .collect();
    let n = means.len();
    // From the end: mean and sum of squares of the last batches, by Welford's update. The last
    // batches alone always agree with each other, so at least five, or half of a few, are kept.
    let least = 5.min(n / 2).max(1);
    let (mut mean, mut squares) = (0.0, 0.0);
    let mut best = (f64::INFINITY, 0);
    for (kept, value) in means.iter().rev().enumerate() {
        let kept = kept + 1;
        let off = value - mean;
        mean += off / kept as f64;
        squares += off * (value - mean);
        let error = squares / (kept as f64 * kept as f64);
        if kept >= least && error <= best.0 {
            best = (error, n - kept);
        }
    }
    Ok(Cut {
        values: best.1 * BATCH,
        beyond_middle: 2 * best.1 > n,
    })
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn noise(n: usize, seed: u64) -> Vec<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..n).map(|_| rng.random_range(-1.0..1.0)).collect()
    }

    /// The definition, term by term: sum of squares ÷ (n − d)².
    fn by_definition(means: &[f64], least: usize) -> usize {
        let error = |d: usize| {
            let kept = &means[d..];
            let mean = kept.iter().sum::<f64>() / kept.len() as f64;
            kept.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (kept.len() as f64).powi(2)
        };
        (0..=means.len() - least)
            .min_by(|a, b| error(*a).total_cmp(&error(*b)))
            .unwrap()
    }

    #[test]
    fn the_fast_sum_is_the_definition() {
        for seed in 0..50 {
            let mut series = noise(400, seed);
            for (i, value) in series.iter_mut().enumerate() {
                *value += 8.0 * (-(i as f64) / (5.0 + seed as f64)).exp();
            }
            let means: Vec<f64> = series
                .chunks_exact(BATCH)
                .map(|batch| batch.iter().sum::<f64>() / 5.0)
                .collect();
            let cut = cut(&series).unwrap();
            assert_eq!(cut.values, BATCH * by_definition(&means, 5), "seed {seed}");
        }
    }

    #[test]
    fn a_warm_up_is_cut_off_and_a_steady_series_is_kept() {
        let mut series = noise(300, 7);
        assert!(cut(&series).unwrap().values <= 150);
        for value in &mut series[..60] {
            *value += 10.0;
        }
        let found = cut(&series).unwrap();
        assert!((60..=120).contains(&found.values), "{found:?}");
        assert!(!found.beyond_middle);
    }

    #[test]
    fn a_series_that_never_settles_is_cut_past_its_middle() {
        let ramp: Vec<f64> = noise(300, 7)
            .iter()
            .enumerate()
            .map(|(i, noise)| i as f64 + noise)
            .collect();
        // A straight ramp has its smallest standard error with everything in: MSER must not be
        // taken for a test of steadiness. A level that rises ever faster is cut late.
        let steep: Vec<f64> = ramp.iter().map(|v| (v / 30.0).exp()).collect();
        let falling: Vec<f64> = steep.iter().rev().copied().collect();
        assert!(cut(&falling).unwrap().values > 0);
        let late: Vec<f64> = noise(300, 3)
            .iter()
            .enumerate()
            .map(|(i, noise)| noise + if i < 220 { 50.0 } else { 0.0 })
            .collect();
        assert!(cut(&late).unwrap().beyond_middle);
        assert!(cut(&series_of(9)).is_err());
    }

    fn series_of(n: usize) -> Vec<f64> {
        vec![1.0; n]
    }
}
