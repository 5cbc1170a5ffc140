//! Whether a backlog grows or is sustained.
//!
//! The backlog is what was due and is not yet stored, wherever it waits: in the generator, in the
//! agent's channel, in an open file. The warm-up is cut off by MSER-5, then the rule of
//! [`crate::capacity`] is applied to the troughs of its cycles.
//!
//! MSER-5 looks at the backlog less its own slope: the standard error of a ramp is smallest when next
//! to nothing of it is left, so what grows would always be cut past the middle. A cut past the middle
//! says that there is no steady state, and the probe is extended, unless the whole probe grows: then
//! it does not hold either way.
//!
//! The slope is a median of troughs and does not see what happens only in the last cycle. So a backlog
//! that is higher on the mean of the last cycle than of the first, by more than growth of 1 % would
//! have made of it, is not called sustained: a longer probe tells whether it was a jump or the
//! beginning of growth.

use serde::{Deserialize, Serialize};

use crate::capacity::{self, Growth};
use crate::statistics::{Unable, mser, theil_sen::Slopes};

/// With fewer samples MSER-5 finds nothing, and is left out.
pub const LEAST_SAMPLES: usize = 300;
/// What the backlog does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Trend {
    /// The lower bound of its slope is above 1 % of the offered rate.
    Growing,
    /// The upper bound is below 1 %.
    Sustained,
    /// Neither.
    Unknown,
}

/// How a backlog moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Movement {
    /// What it does.
    pub trend: Trend,
    /// The slope in millionths of the offered rate.
    pub slope_ppm: i64,
    /// Its lower bound.
    pub slope_ppm_low: i64,
    /// Its upper bound.
    pub slope_ppm_high: i64,
    /// Whole cycles whose troughs were used.
    pub cycles: u64,
    /// Samples that MSER-5 cut off at the start; 0 also where there were fewer than 300.
    pub cut_samples: u64,
    /// The cut lies past the middle: the probe is too short to tell.
    pub beyond_middle: bool,
}

/// Judges samples of a backlog.
///
/// `samples`: events at equal steps of `step_s` seconds; `cycle_s`: the slowest periodic work;
/// `offered`: events/s.
///
/// # Errors
///
/// Too few cycles for bounds, or a value that is not finite.
pub fn judge(samples: &[f64], step_s: f64, cycle_s: f64, offered: f64) -> Result<Movement, Unable> {
    let all: Vec<(f64, f64)> = samples
        .iter()
        .enumerate()
        .map(|(i, events)| (i as f64 * step_s, *events))
        .collect();
    let whole = moved(&all, cycle_s, offered, 0);
    if samples.len() < LEAST_SAMPLES {
        return whole;
    }
    let slope = Slopes::of(&capacity::minima(&all, cycle_s))?.estimate();
    let level: Vec<f64> = all.iter().map(|(t, events)| events - slope * t).collect();
    let cut = mser::cut(&level)?;
    let rest = moved(&all[cut.values..], cycle_s, offered, cut.values);
    match (whole, rest) {
        (_, Ok(rest)) if !cut.beyond_middle => Ok(rest),
        // Growth over the whole probe needs no steady state to be seen.
        (Ok(whole), _) if whole.trend == Trend::Growing => Ok(whole),
        (Ok(whole), _) => Ok(Movement {
            trend: Trend::Unknown,
            cut_samples: cut.values as u64,
            beyond_middle: true,
            ..whole
        }),
        (Err(unable), _) => Err(unable),
    }
}

/// The rule of [`capacity`] on what is left after a cut.
fn moved(kept: &[(f64, f64)], cycle_s: f64, offered: f64, cut: usize) -> Result<Movement, Unable> {
    let troughs = capacity::minima(kept, cycle_s);
    let judged = capacity::backlog(&troughs, offered);
    let (Some(slope), Some(low), Some(high)) = (judged.slope, judged.lower, judged.upper) else {
        return Err(Unable::TooFew {
            have: judged.cycles,
            need: capacity::LEAST_CYCLES,
        });
    };
    let ppm = |slope: f64| (slope / offered * 1e6).round() as i64;
    Ok(Movement {
        trend: match judged.growth {
            Growth::Growing => Trend::Growing,
            Growth::Sustained if rose(kept, cycle_s, offered) => Trend::Unknown,
            Growth::Sustained => Trend::Sustained,
            Growth::Unknown => Trend::Unknown,
        },
        slope_ppm: ppm(slope),
        slope_ppm_low: ppm(low),
        slope_ppm_high: ppm(high),
        cycles: judged.cycles as u64,
        cut_samples: cut as u64,
        beyond_middle: false,
    })
}

/// Whether the mean of the last cycle is above that of the first by more than the growth that is
/// allowed.
fn rose(kept: &[(f64, f64)], cycle_s: f64, offered: f64) -> bool {
    let (Some((first, _)), Some((last, _))) = (kept.first(), kept.last()) else {
        return false;
    };
    let mean = |from: f64, to: f64| {
        let within: Vec<f64> = kept
            .iter()
            .filter(|(t, _)| (from..=to).contains(t))
            .map(|(_, events)| *events)
            .collect();
        within.iter().sum::<f64>() / within.len().max(1) as f64
    };
    let higher = mean(last - cycle_s, *last) - mean(*first, first + cycle_s);
    higher > capacity::TOLERATED_GROWTH * offered * (last - first - cycle_s)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const RATE: f64 = 10_000.0;
    const STEP: f64 = 0.05;
    const CYCLE: f64 = 2.0;

    /// Ten cycles of a saw-tooth (an open file that is seen when it is rolled) with correlated
    /// noise and a growth of `share` of the rate.
    fn saw(seed: u64, share: f64) -> Vec<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut noise = 0.0;
        (0..400)
            .map(|i| {
                let t = f64::from(i) * STEP;
                noise = 0.8 * noise + rng.random_range(-100.0..100.0);
                RATE * (0.1 + 0.5 * (t % CYCLE)) + noise + share * RATE * t
            })
            .collect()
    }

    #[test]
    fn a_saw_tooth_is_sustained_and_a_two_percent_overload_grows() {
        let mut right = (0, 0);
        for seed in 0..100 {
            let steady = judge(&saw(seed, 0.0), STEP, CYCLE, RATE).unwrap();
            assert_ne!(steady.trend, Trend::Growing, "seed {seed}: {steady:?}");
            right.0 += u32::from(steady.trend == Trend::Sustained);
            let over = judge(&saw(seed, 0.02), STEP, CYCLE, RATE).unwrap();
            assert_ne!(over.trend, Trend::Sustained, "seed {seed}: {over:?}");
            right.1 += u32::from(over.trend == Trend::Growing);
        }
        assert!(right.0 >= 95 && right.1 >= 95, "{right:?}");
    }

    #[test]
    fn one_percent_is_not_told_either_way() {
        let told = (0..50)
            .filter(|seed| {
                judge(&saw(*seed, 0.01), STEP, CYCLE, RATE).unwrap().trend != Trend::Unknown
            })
            .count();
        assert!(told <= 10, "{told}");
    }

    #[test]
    fn a_late_change_is_said_to_be_beyond_the_middle() {
        let mut late = saw(1, 0.0);
        for value in &mut late[..260] {
            *value += 1e6;
        }
        let found = judge(&late, STEP, CYCLE, RATE).unwrap();
        assert!(found.beyond_middle, "{found:?}");
    }

    /// Growth in the last tenth only, too little of the probe for a median.
    #[test]
    fn what_begins_to_grow_at_the_end_is_not_sustained() {
        for seed in 0..20 {
            let mut late = saw(seed, 0.0);
            for (i, value) in late[360..].iter_mut().enumerate() {
                *value += RATE * STEP * i as f64;
            }
            let found = judge(&late, STEP, CYCLE, RATE).unwrap();
            assert_ne!(found.trend, Trend::Sustained, "seed {seed}: {found:?}");
        }
    }

    /// A ramp without noise, the worst case for MSER-5 without the slope taken out.
    #[test]
    fn a_plain_ramp_grows() {
        let ramp: Vec<f64> = (0..400).map(|i| f64::from(i) * STEP * 300.0).collect();
        assert_eq!(
            judge(&ramp, STEP, CYCLE, RATE).unwrap().trend,
            Trend::Growing
        );
    }

    #[test]
    fn too_few_cycles_are_refused() {
        assert!(judge(&saw(1, 0.0)[..120], STEP, CYCLE, RATE).is_err());
    }
}
