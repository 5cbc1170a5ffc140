//! What a system carries: the search for its knee, and whether a backlog grows.
//!
//! **Knee**: the rate at which one probe holds all objectives with probability ½. The capacity at
//! the time of a probe is taken as knee × exp(σ·z), z normal: a probe at rate r holds with
//! probability Φ((ln knee − ln r) ÷ σ). Both knee and σ are unknown; [`Search`] keeps a posterior
//! over both on a grid, so the interval of the knee is as wide as the *measured* spread makes it.
//!
//! 1. Three saturation probes in closed loop give rates y near the knee, or above it: a system may
//!    pump more than it can carry within its objectives. The excess is unknown too: 45 % of the
//!    weight on none to speak of (normal around −0.5 %, sd 1 %: see below for why the knee may be
//!    the higher of the two), 45 % on an exponential with mean 15 %, 10 % on anything up to
//!    fivefold. What the three have in common tells where to begin, what they differ in tells
//!    about σ.
//! 2. Each further probe is made at the posterior's median: a bisection. But it revises itself.
//!    One probe in twenty is expected to be disturbed (a neighbour, a flush of dirty pages: 20 %
//!    less capacity, give or take), so a failed probe among held ones is outvoted, and the next
//!    probes go back up.
//! 3. It ends after 12 probes in all, or when at least one probe held, at least one did not, and
//!    the interval at 98 % lies within ±3 %. A probe that told nothing counts as a probe.
//!
//! Priors: ln knee uniform from a fifth of the middle saturation rate to 1.6 times it; ln σ
//! uniform from 0.3 % to 30 %.
//!
//! **Backlog.** A saw-tooth (files that roll, checkpoints) is no growth, and neighbouring seconds
//! of a backlog hang together. So only the lowest point of each cycle of the slowest periodic work
//! counts, eight cycles or more: *growing* if the lower bound of their Theil–Sen slope is above 1 %
//! of the offered rate, *sustained* if the upper bound is below, each at 2.5 %; otherwise unknown.
//! It follows that an overload of up to 1 % counts as carried; that much the knee is high.
//!
//! Held to simulation in virtual time in `capacity/tests.rs`: a token bucket of known capacity and
//! CV ≤3 % is found within ±5 % in ≥95 % of the searches, also when one probe in twenty has 20 %
//! less and when it pumps 30 % more in closed loop than it carries; the 90 % interval covers the
//! knee in ≥85 %, up to a CV of 10 %.
//!
//! Sources: the posterior bisection is that of stochastic root finding (R. Waeber, P. I.
//! Frazier and S. G. Henderson, SIAM Journal on Control and Optimization 51 (2013) 2261–2279) with
//! a probit response; bounds: [`theil_sen`].

use std::sync::LazyLock;

use statrs::distribution::{ContinuousCDF, Normal};

use crate::statistics::{Unable, theil_sen};

/// The most probes of a search, saturation probes and repeats included.
pub const MOST_PROBES: usize = 12;

/// Growth below this part of the offered rate counts as carried.
pub const TOLERATED_GROWTH: f64 = 0.01;

/// The fewest cycles of the slowest periodic work that a backlog is judged by.
pub const LEAST_CYCLES: usize = 8;

/// How one probe ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All objectives held.
    Held,
    /// At least one did not.
    Missed,
    /// It cannot be said, or the harness was the limit.
    Unknown,
}

/// The knee, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Knee {
    /// The posterior's median, in the unit of the rates given.
    pub rate: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// How much of the posterior the interval holds, such as 0.9.
    pub held: f64,
    /// The median of the spread of capacity from probe to probe (0.03 is 3 %).
    pub spread: f64,
    /// Whether at least one probe held and at least one did not. If not, the knee may lie beyond
    /// what was probed, and the interval means nothing.
    pub bracketed: bool,
}

/// A search in progress.
///
/// ```
/// use flume_bench_reports::capacity::{Outcome, Search};
///
/// let mut search = Search::new(&[10_050.0, 9_900.0, 10_010.0])?;
/// while let Some(rate) = search.next_rate() {
///     let held = rate < 10_000.0; // where the probe would run
///     search.probed(rate, if held { Outcome::Held } else { Outcome::Missed });
/// }
/// assert!((search.knee(0.9).rate / 10_000.0 - 1.0).abs() < 0.05);
/// # Ok::<(), flume_bench_reports::statistics::Unable>(())
/// ```
#[derive(Debug, Clone)]
pub struct Search {
    /// Middle saturation rate; the grid's ln rates are relative to it.
    centre: f64,
    /// Posterior, a row of [`KNEES`] for each of [`SPREADS`]; sums to 1.
    posterior: Vec<f64>,
    probes: usize,
    held: usize,
    missed: usize,
}

/// Points of the grid over ln knee, and their distance.
const KNEES: usize = 520;
const STEP: f64 = 0.004;
/// ln of the lowest knee, relative to the centre: a fifth.
const LOWEST: f64 = -1.61;
/// Points over ln σ.
const SPREADS: usize = 14;
const SMALLEST_SPREAD: f64 = 0.003;
const LARGEST_SPREAD: f64 = 0.3;

/// How often a probe is expected to be disturbed, by how much (ln), and how surely.
const DISTURBED: f64 = 0.05;
const DISTURBANCE: f64 = -0.22;
const DISTURBANCE_SD: f64 = 0.15;

impl Search {
    /// Begins with the rates that the saturation probes reached, three of them as a rule.
    ///
    /// # Errors
    ///
    /// No rate, or one that is not a finite number above 0.
    pub fn new(saturation: &[f64]) -> Result<Self, Unable> {
        if let Some(index) = saturation.iter().position(|y| !(y.is_finite() && *y > 0.0)) {
            return Err(Unable::NotFinite { index });
        }
        let centre = crate::statistics::spread::median(saturation)?;
        let rates: Vec<f64> = saturation.iter().map(|y| (y / centre).ln()).collect();
        let mut posterior = Vec::with_capacity(KNEES * SPREADS);
        for spread in 0..SPREADS {
            let sigma = sigma(spread);
            // Chance of the rates if knee and excess together are at s.
            let at = |s: f64| -> f64 {
                let one = |y: &f64| {
                    let wide = sigma.hypot(DISTURBANCE_SD);
                    (1.0 - DISTURBED) * density(y - s, sigma)
                        + DISTURBED * density(y - s - DISTURBANCE, wide)
                };
                rates.iter().map(one).product()
            };
            let table: Vec<f64> = (0..2 * KNEES)
                .map(|i| at(ln_knee(i) - STEP * LESS as f64))
                .collect();
            for knee in 0..KNEES {
                let excess = |steps: usize| table.get(knee + steps).copied().unwrap_or(0.0);
                let chance: f64 = EXCESSES
                    .iter()
                    .map(|(steps, weight)| weight * excess(*steps))
                    .sum();
                posterior.push(chance);
            }
        }
        let mut search = Self {
            centre,
            posterior,
            probes: saturation.len(),
            held: 0,
            missed: 0,
        };
        search.normalise();
        Ok(search)
    }

    /// The rate of the next probe; `None` when the search has ended.
    #[must_use]
    pub fn next_rate(&self) -> Option<f64> {
        if self.probes >= MOST_PROBES {
            return None;
        }
        let knee = self.knee(0.98);
        let narrow = knee.high / knee.rate < 1.03 && knee.low / knee.rate > 0.97;
        (!narrow || !knee.bracketed).then_some(knee.rate)
    }

    /// Takes what a probe at `rate` showed.
    pub fn probed(&mut self, rate: f64, outcome: Outcome) {
        self.probes += 1;
        let missed = match outcome {
            Outcome::Held => false,
            Outcome::Missed => true,
            Outcome::Unknown => return,
        };
        self.held += usize::from(!missed);
        self.missed += usize::from(missed);
        let standard = Normal::standard();
        let at = (rate / self.centre).ln();
        for spread in 0..SPREADS {
            let sigma = sigma(spread);
            let wide = sigma.hypot(DISTURBANCE_SD);
            for knee in 0..KNEES {
                let above = ln_knee(knee) - at;
                let held = (1.0 - DISTURBED) * standard.cdf(above / sigma)
                    + DISTURBED * standard.cdf((above + DISTURBANCE) / wide);
                self.posterior[spread * KNEES + knee] *= if missed { 1.0 - held } else { held };
            }
        }
        self.normalise();
    }

    /// Probes so far, those included that told nothing.
    #[must_use]
    pub fn probes(&self) -> usize {
        self.probes
    }

    /// The knee, with the interval that holds `held` of the posterior, as much on either side.
    #[must_use]
    pub fn knee(&self, held: f64) -> Knee {
        let mut knees = vec![0.0; KNEES];
        let mut spreads = vec![0.0; SPREADS];
        for (index, chance) in self.posterior.iter().enumerate() {
            knees[index % KNEES] += chance;
            spreads[index / KNEES] += chance;
        }
        let at = |share: f64| self.centre * (LOWEST + STEP * quantile(&knees, share)).exp();
        let outside = (1.0 - held.clamp(0.0, 1.0)) / 2.0;
        let spread = quantile(&spreads, 0.5) / (SPREADS - 1) as f64;
        Knee {
            rate: at(0.5),
            low: at(outside),
            high: at(1.0 - outside),
            held,
            spread: SMALLEST_SPREAD * (LARGEST_SPREAD / SMALLEST_SPREAD).powf(spread),
            bracketed: self.held > 0 && self.missed > 0,
        }
    }

    fn normalise(&mut self) {
        let sum: f64 = self.posterior.iter().sum();
        if sum > 0.0 && sum.is_finite() {
            self.posterior.iter_mut().for_each(|chance| *chance /= sum);
        } else {
            // Answers that contradict every point of the grid: all is possible again.
            let even = 1.0 / self.posterior.len() as f64;
            self.posterior.fill(even);
        }
    }
}

/// By how many steps of the grid the saturation rate may lie below the knee.
const LESS: usize = 8;

/// By how many steps of the grid, counted from [`LESS`] below, the saturation rate may exceed the
/// knee, with weights.
static EXCESSES: LazyLock<Vec<(usize, f64)>> = LazyLock::new(|| {
    let ln = |at: usize| STEP * (at as f64 - LESS as f64);
    let kinds: [(f64, Vec<(usize, f64)>); 3] = [
        (
            0.45,
            (0..=5).map(|at| (at, density(ln(at), 0.01))).collect(),
        ),
        (
            0.45,
            (LESS..240)
                .step_by(3)
                .map(|at| (at, (-ln(at) / 0.15).exp()))
                .collect(),
        ),
        (0.1, (LESS..=400).step_by(10).map(|at| (at, 1.0)).collect()),
    ];
    let mut all = Vec::new();
    for (part, weights) in kinds {
        let sum: f64 = weights.iter().map(|(_, weight)| weight).sum();
        all.extend(
            weights
                .into_iter()
                .map(|(at, weight)| (at, part * weight / sum)),
        );
    }
    all
});

fn ln_knee(index: usize) -> f64 {
    LOWEST + STEP * index as f64
}

fn sigma(index: usize) -> f64 {
    let along = index as f64 / (SPREADS - 1) as f64;
    SMALLEST_SPREAD * (LARGEST_SPREAD / SMALLEST_SPREAD).powf(along)
}

fn density(off: f64, sigma: f64) -> f64 {
    (-0.5 * (off / sigma).powi(2)).exp() / sigma
}

/// Where the running sum of `chances` reaches `share`, in cells, between two of them.
fn quantile(chances: &[f64], share: f64) -> f64 {
    let mut sum = 0.0;
    for (index, chance) in chances.iter().enumerate() {
        if sum + chance >= share {
            let part = if *chance > 0.0 {
                (share - sum) / chance
            } else {
                0.5
            };
            return index as f64 + part - 0.5;
        }
        sum += chance;
    }
    (chances.len() - 1) as f64
}

/// Whether a backlog is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Growth {
    /// It grows by more than 1 % of what is offered.
    Growing,
    /// It does not.
    Sustained,
    /// The bounds are on both sides of 1 %, or there are too few cycles: extend the probe once.
    Unknown,
}

/// A backlog's growth, with what it was judged by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backlog {
    /// The answer.
    pub growth: Growth,
    /// Cycles counted.
    pub cycles: usize,
    /// Theil–Sen slope of the cycles' minima, events/s; `None` of fewer than two cycles.
    pub slope: Option<f64>,
    /// Its lower bound at 2.5 %; `None` where there are too few cycles.
    pub lower: Option<f64>,
    /// Its upper bound at 2.5 %.
    pub upper: Option<f64>,
}

/// The lowest point of each whole cycle: (time, value) of `series`, whose times rise; `cycle` in
/// the unit of the times. A cycle without any point is left out.
#[must_use]
pub fn minima(series: &[(f64, f64)], cycle: f64) -> Vec<(f64, f64)> {
    let (Some(first), Some(last)) = (series.first(), series.last()) else {
        return Vec::new();
    };
    if cycle.is_nan() || cycle <= 0.0 {
        return Vec::new();
    }
    // The last point closes a cycle also where sampling ends a moment before it.
    let gap = (last.0 - first.0) / (series.len().max(2) - 1) as f64;
    let whole = ((last.0 - first.0 + 1.5 * gap) / cycle).floor() as usize;
    let mut lowest: Vec<Option<(f64, f64)>> = vec![None; whole];
    for point in series {
        let index = ((point.0 - first.0) / cycle).floor() as usize;
        if let Some(slot) = lowest.get_mut(index)
            && slot.is_none_or(|lowest| point.1 < lowest.1)
        {
            *slot = Some(*point);
        }
    }
    lowest.into_iter().flatten().collect()
}

/// Judges a backlog by the minima of its cycles, (seconds, events), against the rate offered in
/// events/s. See the module's documentation.
#[must_use]
pub fn backlog(minima: &[(f64, f64)], offered: f64) -> Backlog {
    const LEVEL: f64 = 0.025;
    let slopes = theil_sen::Slopes::of(minima).ok();
    let bounded = slopes.as_ref().filter(|_| minima.len() >= LEAST_CYCLES);
    let lower = bounded.and_then(|slopes| slopes.lower(LEVEL).ok());
    let upper = bounded.and_then(|slopes| slopes.upper(LEVEL).ok());
    let limit = TOLERATED_GROWTH * offered;
    let growth = match (lower, upper) {
        (Some(lower), _) if lower > limit => Growth::Growing,
        (_, Some(upper)) if upper < limit => Growth::Sustained,
        _ => Growth::Unknown,
    };
    Backlog {
        growth,
        cycles: minima.len(),
        slope: slopes.map(|slopes| slopes.estimate()),
        lower,
        upper,
    }
}

#[cfg(test)]
mod tests;
