//! Kendall's S for "later takes longer", with values of which some are only known to exceed
//! something, and with a permutation p.
//!
//! Every two cases of a trial are compared: +1 if the later one took longer, −1 if it took less.
//! A pair that cannot be ordered counts as a tie, 0: equal times, equal ages, both censored, or one
//! censored before the other ended. Pairs are formed within a trial only, and their sum is taken
//! over all trials; ages are permuted within trials, so differences between trials are no trend.
//!
//! Sources: M. G. Kendall, Biometrika 30 (1938) 81–93; the rule for censored pairs is that of
//! E. A. Gehan, Biometrika 52 (1965) 203–223, whose two-sample statistic is S with the group as
//! age.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::Unable;
use super::kaplan_meier::Case;

/// A case, and when in its trial it came.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Aged {
    /// Place in the order, or time: only greater and smaller matter.
    pub age: f64,
    /// How long it took, or how long it was watched.
    pub case: Case,
}

/// What the pairs say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trend {
    /// Pairs in which the later took longer, minus pairs in which it took less.
    pub s: i64,
    /// Pairs compared, ties included.
    pub pairs: u64,
    /// Pairs that could be ordered.
    pub ordered: u64,
    /// S ÷ pairs, from −1 to 1.
    pub tau: f64,
    /// The share of permutations whose S is at least as large, the data at hand counted among
    /// them: a one-sided p for "later takes longer".
    pub p_longer: f64,
}

/// S over trials, with a p from `permutations` drawn orders. The same seed gives the same p, and
/// p is never below 1 ÷ (permutations + 1).
///
/// # Errors
///
/// An age or a time that is not a number, an end at infinity, or no two cases in any trial.
pub fn trend(trials: &[Vec<Aged>], permutations: u32, seed: u64) -> Result<Trend, Unable> {
    let cases = trials.iter().flatten();
    for (index, aged) in cases.enumerate() {
        let Case { time, ended } = aged.case;
        if !aged.age.is_finite() || time.is_nan() || (ended && time.is_infinite()) {
            return Err(Unable::NotFinite { index });
        }
    }
    let mut trials: Vec<Trial> = trials.iter().map(|trial| Trial::of(trial)).collect();
    let pairs: u64 = trials.iter().map(|trial| trial.orders.len() as u64).sum();
    if pairs == 0 {
        let have = trials.iter().map(|trial| trial.ages.len()).max();
        return Err(Unable::TooFew {
            have: have.unwrap_or(0),
            need: 2,
        });
    }
    let s: i64 = trials.iter().map(Trial::s).sum();
    let ordered = trials.iter().map(Trial::ordered).sum();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut as_large = 0_u32;
    for _ in 0..permutations {
        for trial in &mut trials {
            trial.ages.shuffle(&mut rng);
        }
        as_large += u32::from(trials.iter().map(Trial::s).sum::<i64>() >= s);
    }
    Ok(Trend {
        s,
        pairs,
        ordered,
        tau: s as f64 / pairs as f64,
        p_longer: (f64::from(as_large) + 1.0) / (f64::from(permutations) + 1.0),
    })
}

/// The ages, and for every two cases which one took longer.
struct Trial {
    ages: Vec<f64>,
    /// Row after row of the pairs i < j: 1 if j took longer, −1 if i did, 0 if unknown.
    orders: Vec<i8>,
}

impl Trial {
    fn of(cases: &[Aged]) -> Self {
        let mut orders = Vec::new();
        for (i, first) in cases.iter().enumerate() {
            for second in &cases[i + 1..] {
                orders.push(longer(first.case, second.case));
            }
        }
        Self {
            ages: cases.iter().map(|aged| aged.age).collect(),
            orders,
        }
    }

    fn pairs(&self) -> impl Iterator<Item = i64> {
        let later = self.ages.iter().enumerate().flat_map(|(i, first)| {
            self.ages[i + 1..]
                .iter()
                .map(move |second| i64::from(second > first) - i64::from(second < first))
        });
        later
            .zip(&self.orders)
            .map(|(later, longer)| later * i64::from(*longer))
    }

    fn s(&self) -> i64 {
        self.pairs().sum()
    }

    fn ordered(&self) -> u64 {
        self.pairs().map(i64::unsigned_abs).sum()
    }
}

/// 1 if the second took longer, −1 if the first did, 0 if it cannot be known.
fn longer(first: Case, second: Case) -> i8 {
    match (first.ended, second.ended) {
        (true, true) => i8::from(second.time > first.time) - i8::from(second.time < first.time),
        // What was still going on when the other ended took longer.
        (true, false) => i8::from(second.time >= first.time),
        (false, true) => -i8::from(first.time >= second.time),
        (false, false) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::kaplan_meier::tests::{mercaptopurine, placebo};
    use super::*;

    fn ended(points: &[(f64, f64)]) -> Vec<Aged> {
        let aged = |(age, time): &(f64, f64)| Aged {
            age: *age,
            case: Case {
                time: *time,
                ended: true,
            },
        };
        points.iter().map(aged).collect()
    }

    /// Canned tuna, lightness against a panel's score, nine lots: tau 0.4444, one-sided p 0.05972
    /// (Hollander & Wolfe, example 8.1; also the example of R's `cor.test`, T = 26).
    #[test]
    fn the_tuna_example_has_the_published_tau_and_p() {
        let lots = ended(&[
            (44.4, 2.6),
            (45.9, 3.1),
            (41.9, 2.5),
            (53.3, 5.0),
            (44.7, 3.6),
            (44.1, 4.0),
            (50.7, 5.2),
            (45.2, 2.8),
            (60.1, 3.8),
        ]);
        let trend = trend(&[lots], 40_000, 7).unwrap();
        assert_eq!((trend.s, trend.pairs, trend.ordered), (16, 36, 36));
        assert!((trend.tau - 0.4444).abs() < 5e-5);
        // Four standard deviations of the share of 40,000 drawn orders are 0.0048.
        assert!((trend.p_longer - 0.059_72).abs() < 0.005, "{trend:?}");
    }

    /// The leukaemia trial with the treatment as "age": Gehan's statistic, published as W = 271.
    #[test]
    fn with_two_groups_it_is_gehans_statistic() {
        let group =
            |age: f64, cases: Vec<Case>| cases.into_iter().map(move |case| Aged { age, case });
        let all: Vec<Aged> = group(0.0, placebo())
            .chain(group(1.0, mercaptopurine()))
            .collect();
        let trend = trend(&[all], 2_000, 7).unwrap();
        assert_eq!(trend.s, 271);
        assert!(trend.p_longer < 0.001, "{trend:?}");
    }

    #[test]
    fn dropping_the_censored_hides_what_keeping_them_shows() {
        // The latest cases are the longest, and they are the ones that were cut off.
        let cases: Vec<Aged> = (0..12)
            .map(|i| Aged {
                age: f64::from(i),
                case: Case {
                    time: [3.0, 1.0, 2.0, 4.0, 2.5, 3.5, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0][i as usize],
                    ended: i < 6,
                },
            })
            .collect();
        let seen = trend(std::slice::from_ref(&cases), 5_000, 1).unwrap();
        let dropped = trend(&[cases[..6].to_vec()], 5_000, 1).unwrap();
        assert!(seen.p_longer < 0.01, "{seen:?}");
        assert!(dropped.p_longer > 0.1, "{dropped:?}");
    }

    #[test]
    fn a_difference_between_trials_is_no_trend() {
        // The second trial is slower as a whole and its ages are higher; within each nothing grows.
        let first = ended(&[(0.0, 1.0), (1.0, 1.2), (2.0, 1.1), (3.0, 0.9)]);
        let second = ended(&[(10.0, 5.0), (11.0, 5.2), (12.0, 5.1), (13.0, 4.9)]);
        let within = trend(&[first.clone(), second.clone()], 5_000, 1).unwrap();
        assert!(within.p_longer > 0.4, "{within:?}");
        let pooled = trend(&[[first, second].concat()], 5_000, 1).unwrap();
        assert!(pooled.p_longer < 0.1, "{pooled:?}");
    }

    #[test]
    fn one_case_a_trial_has_no_trend() {
        let trials: Vec<Vec<Aged>> = (0..5).map(|i| ended(&[(f64::from(i), 1.0)])).collect();
        assert_eq!(
            trend(&trials, 100, 1),
            Err(Unable::TooFew { have: 1, need: 2 })
        );
    }
}
