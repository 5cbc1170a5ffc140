//! The Kaplan–Meier curve: how long something takes, where some cases were never seen to end.
//!
//! A case that was cut off (by the next fault, by the end of the run) is *censored*: all that is
//! known is that it took longer. It counts as at risk up to its time, and is then left out; it is
//! neither dropped from the start nor taken as finished. What never ends is censored at infinity.
//! Where a case ends and another is censored at the same instant, the censored one was still at
//! risk.
//!
//! The interval of the median is a percentile bootstrap over *clusters*: whole trials are drawn
//! with replacement, because windows of one trial resemble each other.
//!
//! Source: E. L. Kaplan and P. Meier, Journal of the American Statistical Association 53 (1958)
//! 457–481; bootstrap of clusters: A. C. Davison and D. V. Hinkley, Bootstrap Methods and their
//! Application (1997), §3.8.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::Unable;

/// One case: how long it took, or how long it was watched without having ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Case {
    /// In any unit, not negative. `f64::INFINITY` with `ended: false` is "never".
    pub time: f64,
    /// Whether the end was seen. If not, the case is censored at `time`.
    pub ended: bool,
}

/// The curve from an instant at which cases ended until the next one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// When cases ended.
    pub time: f64,
    /// How many were still being watched just before.
    pub at_risk: usize,
    /// How many ended.
    pub ended: usize,
    /// The share that takes longer than this.
    pub longer: f64,
}

/// The curve: a step for each instant at which at least one case ended, in order.
///
/// # Errors
///
/// A time that is negative or not a number, or an end at infinity.
pub fn curve(cases: &[Case]) -> Result<Vec<Step>, Unable> {
    for (index, case) in cases.iter().enumerate() {
        if case.time.is_nan() || case.time < 0.0 || (case.ended && case.time.is_infinite()) {
            return Err(Unable::NotFinite { index });
        }
    }
    let mut ordered = cases.to_vec();
    ordered.sort_unstable_by(|a, b| a.time.total_cmp(&b.time));
    Ok(steps(&ordered))
}

/// Of cases that are in order.
fn steps(ordered: &[Case]) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut longer = 1.0;
    let mut first = 0;
    while let Some(case) = ordered.get(first) {
        let same = ordered[first..].partition_point(|other| other.time <= case.time);
        let at_risk = ordered.len() - first;
        let ended = ordered[first..first + same]
            .iter()
            .filter(|c| c.ended)
            .count();
        if ended > 0 {
            longer *= (at_risk - ended) as f64 / at_risk as f64;
            steps.push(Step {
                time: case.time,
                at_risk,
                ended,
                longer,
            });
        }
        first += same;
    }
    steps
}

/// The first instant at which no more than `share` take longer: 0.5 gives the median, 0.1 the time
/// within which nine of ten end. `None` where the curve never falls that far.
#[must_use]
pub fn time_at(curve: &[Step], share: f64) -> Option<f64> {
    // A share reached by multiplication may miss it by the last digit.
    curve
        .iter()
        .find(|step| step.longer <= share + 1e-12)
        .map(|step| step.time)
}

/// A median with its interval. `None` is "not reached": longer than what was watched.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Median {
    /// The median of all cases.
    pub estimate: Option<f64>,
    /// The lower end of the interval.
    pub low: Option<f64>,
    /// The upper end.
    pub high: Option<f64>,
}

/// The median over all cases, with an interval that leaves out `level` (0.05 for 95 %), from
/// `draws` bootstrap samples of whole clusters. The same seed gives the same interval. With few
/// clusters it is narrower than it should be: eight are the least it is given for.
///
/// # Errors
///
/// As [`curve`]; fewer than eight clusters that have a case; a level outside 0 to 1.
pub fn median(
    clusters: &[Vec<Case>],
    level: f64,
    draws: usize,
    seed: u64,
) -> Result<Median, Unable> {
    const CLUSTERS: usize = 8;
    super::level_is_sensible(level)?;
    let all: Vec<Case> = clusters.iter().flatten().copied().collect();
    let estimate = time_at(&curve(&all)?, 0.5);
    let clusters: Vec<&Vec<Case>> = clusters.iter().filter(|c| !c.is_empty()).collect();
    if clusters.len() < CLUSTERS {
        return Err(Unable::TooFew {
            have: clusters.len(),
            need: CLUSTERS,
        });
    }
    if draws == 0 {
        return Err(Unable::Senseless {
            what: "a bootstrap needs at least one draw",
        });
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut medians = Vec::with_capacity(draws);
    let mut sample = Vec::with_capacity(all.len() * 2);
    for _ in 0..draws {
        sample.clear();
        for _ in 0..clusters.len() {
            sample.extend_from_slice(clusters[rng.random_range(0..clusters.len())]);
        }
        sample.sort_unstable_by(|a, b| a.time.total_cmp(&b.time));
        medians.push(time_at(&steps(&sample), 0.5).unwrap_or(f64::INFINITY));
    }
    medians.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| {
        let index = ((share * (draws - 1) as f64).round() as usize).min(draws - 1);
        Some(medians[index]).filter(|time| time.is_finite())
    };
    Ok(Median {
        estimate,
        low: at(level / 2.0),
        high: at(1.0 - level / 2.0),
    })
}

#[cfg(test)]
pub(in crate::statistics) mod tests {
    use super::*;

    fn ended(times: &[f64]) -> Vec<Case> {
        times
            .iter()
            .map(|time| Case {
                time: *time,
                ended: true,
            })
            .collect()
    }

    fn censored(times: &[f64]) -> Vec<Case> {
        times
            .iter()
            .map(|time| Case {
                time: *time,
                ended: false,
            })
            .collect()
    }

    /// Weeks of remission of leukaemia under 6-mercaptopurine, 21 children (Freireich et al., Blood
    /// 21 (1963) 699–716).
    pub(in crate::statistics) fn mercaptopurine() -> Vec<Case> {
        let mut cases = ended(&[6.0, 6.0, 6.0, 7.0, 10.0, 13.0, 16.0, 22.0, 23.0]);
        cases.extend(censored(&[
            6.0, 9.0, 10.0, 11.0, 17.0, 19.0, 20.0, 25.0, 32.0, 32.0, 34.0, 35.0,
        ]));
        cases
    }

    /// The 21 children under placebo of the same study, all relapsed.
    pub(in crate::statistics) fn placebo() -> Vec<Case> {
        ended(&[
            1.0, 1.0, 2.0, 2.0, 3.0, 4.0, 4.0, 5.0, 5.0, 8.0, 8.0, 8.0, 8.0, 11.0, 11.0, 12.0,
            12.0, 15.0, 17.0, 22.0, 23.0,
        ])
    }

    /// The curve as printed in D. R. Cox and D. Oakes, Analysis of Survival Data (1984), table 1.2
    /// and elsewhere: 0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448; median 23 against 8.
    #[test]
    fn the_leukaemia_trial_has_the_published_curve() {
        let found = curve(&mercaptopurine()).unwrap();
        let published = [
            (6.0, 21, 3, 0.857),
            (7.0, 17, 1, 0.807),
            (10.0, 15, 1, 0.753),
            (13.0, 12, 1, 0.690),
            (16.0, 11, 1, 0.627),
            (22.0, 7, 1, 0.538),
            (23.0, 6, 1, 0.448),
        ];
        assert_eq!(found.len(), published.len());
        for (step, (time, at_risk, ended, longer)) in found.iter().zip(published) {
            assert_eq!((step.at_risk, step.ended), (at_risk, ended), "{step:?}");
            assert!((step.time - time).abs() < 1e-12);
            assert!((step.longer - longer).abs() < 5.1e-4, "{step:?}");
        }
        assert_eq!(time_at(&found, 0.5), Some(23.0));
        assert_eq!(time_at(&found, 0.25), None);
        assert_eq!(time_at(&curve(&placebo()).unwrap(), 0.5), Some(8.0));
    }

    #[test]
    fn what_never_ends_stays_at_risk() {
        let mut cases = ended(&[1.0, 2.0]);
        cases.extend(censored(&[f64::INFINITY, f64::INFINITY, f64::INFINITY]));
        let curve = curve(&cases).unwrap();
        assert!((curve[1].longer - 0.6).abs() < 1e-12);
        assert_eq!(time_at(&curve, 0.5), None);
        assert!(super::curve(&ended(&[f64::INFINITY])).is_err());
        assert!(super::curve(&censored(&[-1.0])).is_err());
    }

    #[test]
    fn the_interval_follows_from_the_seed_and_widens_with_clusters_that_differ() {
        // Twelve trials of four windows: alike within a trial, different between trials.
        let clustered: Vec<Vec<Case>> = (0..12)
            .map(|trial| ended(&[1.0, 1.01, 1.02, 1.03].map(|t| t + f64::from(trial))))
            .collect();
        // The same windows, dealt so that every trial has a bit of each.
        let mut mixed = vec![Vec::new(); 12];
        for (index, case) in clustered.iter().flatten().enumerate() {
            mixed[index % 12].push(*case);
        }
        let width = |clusters: &[Vec<Case>]| {
            let median = median(clusters, 0.05, 500, 7).unwrap();
            median.high.unwrap() - median.low.unwrap()
        };
        assert!(width(&clustered) > 1.3 * width(&mixed));
        let a = median(&clustered, 0.05, 500, 7).unwrap();
        assert_eq!(a, median(&clustered, 0.05, 500, 7).unwrap());
        assert!(a.low <= a.estimate && a.estimate <= a.high);
        assert_eq!(
            median(&clustered[..7], 0.05, 500, 7),
            Err(Unable::TooFew { have: 7, need: 8 })
        );
    }

    #[test]
    fn an_interval_may_have_no_upper_end() {
        let clusters: Vec<Vec<Case>> = (0..10)
            .map(|trial| {
                if trial < 5 {
                    ended(&[1.0])
                } else {
                    censored(&[2.0])
                }
            })
            .collect();
        let median = median(&clusters, 0.05, 400, 1).unwrap();
        assert_eq!(median.low, Some(1.0));
        assert_eq!(median.high, None);
    }
}
