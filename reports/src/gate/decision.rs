//! The rule by which a gate decides, metric by metric, from the log-ratios of pairs of runs.
//!
//! A pair is one run of each arm. Its log-ratio is ln(candidate ÷ baseline), turned so that above 0
//! is worse; M is the smallest change the gate must not miss, as a log-ratio too (5 % is ln 1.05).
//! The *screen* takes 12 pairs and looks at them twice; an alarm is confirmed on 8 fresh pairs.
//!
//! | answer | when |
//! |---|---|
//! | alarmed | at the last look only: "no slow-down" is rejected by the exact signed-rank test, Holm over all gating metrics at 10 %, and the Hodges–Lehmann estimate is ≥ M/2 |
//! | fine | not alarmed, and the one-sided upper bound of the change is below M: at 1 % after 8 pairs, at 2.5 % after 12. Once fine, it stays fine |
//! | improved | fine, and at the same look "no speed-up" is rejected, Holm at 5 %, and the estimate is ≤ −M/2. Shown, never confirmed |
//! | regression | alarmed, and both once more on the fresh pairs alone, Holm over the alarmed metrics |
//! | fine after all | alarmed, not confirmed, and the fresh pairs alone bound the change below M, at 1 % |
//! | demoted | nothing of that, and the host cannot resolve M |
//! | inconclusive | nothing of that |
//!
//! So 0 is tested against M: asking for an interval wholly beyond M would miss a change of M in
//! all but a few per cent of the cases, and a metric is never called fine because a test did not
//! reject.
//!
//! The alarm comes before "fine" at the last look. The other way round, a change of M would be
//! called fine there with a chance of 2.5 % although both hold, and the power at M = 2.25 CV falls
//! from 97 to 95 %. A metric that has gone through both looks and is slower without doubt, by more
//! than M/2, is worth eight more pairs.
//!
//! **Resolution** is 2.25 × the coefficient of variation of a run within its pair: the smallest
//! change that this screen finds nearly always. The variation is the calibrated one, where there
//! is one, else that of the screen's own pairs. It decides nothing before the last look, and takes
//! away no answer that the pairs do give: at a resolution of just M, over a third of the metrics
//! would be taken for too noisy after 8 pairs, and the changes they show would be lost. A demoted
//! metric cannot vouch for anything and keeps nothing from passing; but a change so large that it
//! shows through the noise is still an alarm, also where a calibration demoted the metric
//! beforehand. That costs no false alarms, since those are bounded at any noise. `strict` makes
//! inconclusive of demoted.
//!
//! **Rates.** By construction a change of M is called fine with a chance of at most 1 + 2.5 + 1 %,
//! and with no change at all an alarm is confirmed with a chance of at most 10 % × 10 %. The
//! simulation in `decision/simulation.rs` prints the rest, and fails where one of these does not
//! hold over 10,000 suites of five metrics: alarms without a change ≤1 % at any noise; a change of
//! M found in ≥95 %, and an unchanged build undecided in ≤5 %, where M ≥ 2.25 CV; a change of M
//! passed in ≤5 % at any noise; an unchanged build called improved in ≤5 %. CV is that of the time
//! in which the gate runs: of a recording with good and bad quarters of an hour, of which a gate
//! meets one, the two rates at 2.25 CV hold from 3 × its overall CV on.
//!
//! Sources: [`crate::statistics::signed_rank`], [`hodges_lehmann`], [`holm`].

use std::fmt;

use crate::statistics::{Unable, hodges_lehmann, holm, signed_rank, spread};

/// 2.25 × the variation within a pair is the resolution: at that ratio of M to variation, screen
/// and confirmation together find a change of M in 95 % of the cases.
pub const RESOLUTION: f64 = 2.25;

/// How many pairs, when to look, and at which levels.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The looks of the screen, in order.
    pub looks: Vec<Look>,
    /// Fresh pairs that confirm an alarm.
    pub fresh_pairs: usize,
    /// The level at which an alarm that was not confirmed is called fine on the fresh pairs.
    pub fresh_fine_level: f64,
    /// The chance of any false alarm over all gating metrics, at the screen; and again at the
    /// confirmation.
    pub suite_level: f64,
}

/// One look at the pairs so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Look {
    /// After how many pairs.
    pub pairs: usize,
    /// The level of the upper bound that calls a metric fine.
    pub fine_level: f64,
}

impl Default for Plan {
    fn default() -> Self {
        let look = |pairs, fine_level| Look { pairs, fine_level };
        Self {
            looks: vec![look(8, 0.01), look(12, 0.025)],
            fresh_pairs: 8,
            fresh_fine_level: 0.01,
            suite_level: 0.1,
        }
    }
}

impl Plan {
    /// For a screen of `pairs` pairs: the usual looks from 12 pairs on, the last at `pairs`; below
    /// that a single look, at 2.5 %. The fresh pairs are 8, or `pairs` if that is less.
    #[must_use]
    pub fn of_pairs(pairs: usize) -> Self {
        let mut plan = Self::default();
        let (first, last) = (plan.looks[0], plan.looks[1]);
        if pairs >= last.pairs {
            plan.looks = vec![first, Look { pairs, ..last }];
        } else {
            plan.looks = vec![Look { pairs, ..last }];
            plan.fresh_pairs = plan.fresh_pairs.min(pairs);
        }
        plan
    }

    /// The fewest pairs with which a screen of so many gating metrics can decide anything: the
    /// signed-rank test has no p below 2⁻ⁿ, and the smallest of m must reach the level ÷ m.
    #[must_use]
    pub fn least_pairs(&self, metrics: usize) -> usize {
        let finest = |level: f64| signed_rank::least_pairs(level).unwrap_or(usize::MAX);
        let alarm = finest(self.suite_level / metrics.max(1) as f64);
        let fine = self.looks.last().map_or(0.5, |look| look.fine_level);
        alarm.max(finest(fine))
    }

    /// Pairs of the whole screen.
    #[must_use]
    pub fn screen_pairs(&self) -> usize {
        self.looks.last().map_or(0, |look| look.pairs)
    }

    fn check(&self, metrics: usize) -> Result<(), Error> {
        let rising = self.looks.windows(2).all(|w| w[0].pairs < w[1].pairs);
        if !rising || self.looks.is_empty() {
            return Err(Error::Looks);
        }
        let need = self.least_pairs(metrics);
        for have in [self.screen_pairs(), self.fresh_pairs] {
            if have < need {
                return Err(Error::TooFewPairs {
                    have,
                    need,
                    metrics,
                });
            }
        }
        Ok(())
    }
}

/// What stands in the way of a decision, before any pair is run.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// The signed-rank test could never reject.
    #[error(
        "{have} pairs cannot decide over {metrics} metrics, whatever they show: no p is below \
         1 in 2^{have}; take at least {need} pairs"
    )]
    TooFewPairs {
        /// Pairs planned.
        have: usize,
        /// Pairs needed.
        need: usize,
        /// Gating metrics.
        metrics: usize,
    },
    /// The plan has no looks, or not in order.
    #[error("the looks of a screen must be at rising numbers of pairs, and there must be one")]
    Looks,
    /// A margin that is no change.
    #[error("the margin of {metric} must be above 0")]
    Margin {
        /// Whose.
        metric: String,
    },
}

/// A metric that gates.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// Its name, for messages.
    pub name: String,
    /// M as a log-ratio: `(1.05_f64).ln()` for 5 %.
    pub margin: f64,
    /// The coefficient of variation of a run within its pair, from a stored calibration of this
    /// host; without one the screen's own pairs are used.
    pub calibrated_cv: Option<f64>,
}

impl Metric {
    /// Whether the calibration says beforehand that this host cannot resolve the margin. `None`
    /// without calibration.
    #[must_use]
    pub fn too_noisy_by_calibration(&self) -> Option<bool> {
        self.calibrated_cv.map(|cv| RESOLUTION * cv > self.margin)
    }
}

/// Where a metric stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The next look is after so many pairs in all.
    NeedMore {
        /// Pairs in all, not on top.
        pairs: usize,
    },
    /// The change is below M.
    Fine,
    /// Fine, and faster (smaller, …) by at least M/2.
    Improved,
    /// Alarmed; so many fresh pairs will tell.
    NeedsConfirmation {
        /// Fresh pairs.
        pairs: usize,
    },
    /// Worse, twice.
    Regression,
    /// The pairs do not tell, although the host could resolve M; or `strict`; or there are no
    /// values.
    Inconclusive,
    /// The pairs do not tell, and this host cannot resolve M.
    Demoted,
}

impl State {
    /// The word of records and reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NeedMore { .. } => "need_more",
            Self::Fine => "fine",
            Self::Improved => "improved",
            Self::NeedsConfirmation { .. } => "needs_confirmation",
            Self::Regression => "regression",
            Self::Inconclusive => "inconclusive",
            Self::Demoted => "demoted",
        }
    }

    /// Whether nothing more will be asked about it.
    #[must_use]
    pub fn is_final(self) -> bool {
        !matches!(self, Self::NeedMore { .. } | Self::NeedsConfirmation { .. })
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What some pairs say about a metric. All numbers are log-ratios, above 0 worse.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evidence {
    /// How many pairs.
    pub pairs: usize,
    /// Hodges–Lehmann estimate of the change.
    pub estimate: f64,
    /// The change is above this, at [`Evidence::level`]; `None` where the pairs are too few.
    pub lower: Option<f64>,
    /// The change is below this, at [`Evidence::level`]; `None` where the pairs are too few.
    pub upper: Option<f64>,
    /// The level of each of the two bounds.
    pub level: f64,
    /// Exact one-sided p of "no slow-down", not adjusted.
    pub p_worse: f64,
    /// The same, adjusted by Holm over the metrics tested together; at a look before the last it
    /// is shown and decides nothing.
    pub p_worse_adjusted: f64,
    /// Exact one-sided p of "no speed-up", adjusted likewise.
    pub p_better_adjusted: f64,
    /// Coefficient of variation of a run within these pairs; `None` of a single pair.
    pub cv: Option<f64>,
    /// Drift of the host that a change must exceed, where the baseline is a stored one; else 0. The
    /// p of "no slow-down" is of the log-ratios less the drift, that of "no speed-up" of the
    /// log-ratios plus the drift; estimate and bounds are as measured.
    pub drift: f64,
}

impl Evidence {
    /// Of one metric alone, as for a metric that is only watched: no adjustment.
    ///
    /// # Errors
    ///
    /// No pair, or a log-ratio that is not finite.
    pub fn of(log_ratios: &[f64], level: f64) -> Result<Self, Unable> {
        let walsh = hodges_lehmann::Walsh::of(log_ratios)?;
        let p_worse = signed_rank::p_greater(log_ratios)?;
        Ok(Self {
            pairs: log_ratios.len(),
            estimate: walsh.estimate(),
            lower: walsh.lower(level).ok(),
            upper: walsh.upper(level).ok(),
            level,
            p_worse,
            p_worse_adjusted: p_worse,
            p_better_adjusted: signed_rank::p_less(log_ratios)?,
            cv: spread::within_pair_cv(log_ratios).ok(),
            drift: 0.0,
        })
    }

    /// Against a stored baseline, on a host that drifts by so much: it is taken off for the alarm,
    /// and added for the answer that nothing got worse. The log-ratio carries the noise of one run
    /// only, so nothing is divided by √2.
    ///
    /// # Errors
    ///
    /// As [`Evidence::of`].
    pub fn of_drifted(log_ratios: &[f64], level: f64, drift: f64) -> Result<Self, Unable> {
        let shifted = |by: f64| -> Vec<f64> { log_ratios.iter().map(|ratio| ratio + by).collect() };
        let p_worse = signed_rank::p_greater(&shifted(-drift))?;
        Ok(Self {
            p_worse,
            p_worse_adjusted: p_worse,
            p_better_adjusted: signed_rank::p_less(&shifted(drift))?,
            cv: spread::standard_deviation(log_ratios).ok(),
            drift,
            ..Self::of(log_ratios, level)?
        })
    }

    /// Of metrics tested together. `None` for one without values, or with one that is not finite;
    /// it stays in the family, as a hypothesis that is not rejected.
    fn together(log_ratios: &[(&[f64], Option<f64>)], level: f64) -> Vec<Option<Self>> {
        let mut all: Vec<Option<Self>> = log_ratios
            .iter()
            .map(|(ratios, drift)| match drift {
                Some(drift) => Self::of_drifted(ratios, level, *drift).ok(),
                None => Self::of(ratios, level).ok(),
            })
            .collect();
        let p = |of: &dyn Fn(&Self) -> f64| -> Vec<f64> {
            let all = all.iter();
            holm::adjusted(
                &all.map(|one| one.as_ref().map_or(1.0, of))
                    .collect::<Vec<_>>(),
            )
        };
        let worse = p(&|one| one.p_worse);
        let better = p(&|one| one.p_better_adjusted);
        for (index, one) in all.iter_mut().enumerate() {
            if let Some(one) = one {
                one.p_worse_adjusted = worse[index];
                one.p_better_adjusted = better[index];
            }
        }
        all
    }

    fn is_fine(&self, margin: f64) -> bool {
        self.upper.is_some_and(|upper| upper + self.drift < margin)
    }

    fn alarms(&self, margin: f64, level: f64) -> bool {
        self.p_worse_adjusted <= level && self.estimate - self.drift >= margin / 2.0
    }

    /// At half the level, because it is asked at every look and not confirmed.
    fn improves(&self, margin: f64, level: f64) -> bool {
        self.p_better_adjusted <= level / 2.0 && self.estimate + self.drift <= -margin / 2.0
    }
}

/// A metric, where it stands, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricState {
    /// Where it stands.
    pub state: State,
    /// What the screen's pairs say, at the look that settled it or the last one.
    pub screen: Option<Evidence>,
    /// What the fresh pairs say.
    pub fresh: Option<Evidence>,
    /// The smallest change that this host can see, as a log-ratio: from the calibration, else from
    /// the screen's pairs; `None` before two pairs.
    pub resolution: Option<f64>,
    /// Whether the resolution is the calibrated one.
    pub calibrated: bool,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Run pairs until there are so many in all, then [`Screen::look`].
    Look {
        /// Pairs in all.
        pairs: usize,
    },
    /// Run so many fresh pairs, then [`Screen::confirm`].
    Confirm {
        /// Fresh pairs.
        pairs: usize,
        /// The alarmed metrics, by index.
        metrics: Vec<usize>,
    },
    /// Every metric has its answer.
    Done,
}

/// A gate in progress: fed with log-ratios, asked what to do next.
///
/// ```
/// use flume_bench_reports::gate::decision::{Metric, Next, Plan, Screen, State};
///
/// let cpu = Metric { name: "CPU".into(), margin: 1.05_f64.ln(), calibrated_cv: None };
/// let mut screen = Screen::new(Plan::default(), vec![cpu], false)?;
/// assert_eq!(screen.next(), Next::Look { pairs: 8 });
/// let pairs = [0.004, -0.006, 0.011, -0.002, 0.007, -0.009, 0.001, 0.003];
/// screen.look(&[&pairs]);
/// assert_eq!(screen.metrics()[0].state, State::Fine);
/// assert_eq!(screen.next(), Next::Done);
/// # Ok::<(), flume_bench_reports::gate::decision::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Screen {
    plan: Plan,
    metrics: Vec<Metric>,
    strict: bool,
    states: Vec<MetricState>,
    /// Of each metric the host's drift, where the baseline is a stored one.
    drift: Vec<Option<f64>>,
    /// Looks taken.
    looked: usize,
}

impl Screen {
    /// For these gating metrics: one family, one false-alarm budget, also where they belong to
    /// several scenarios. `strict` makes inconclusive of demoted.
    ///
    /// # Errors
    ///
    /// Fewer pairs than the test can decide with, a margin that is not above 0.
    pub fn new(plan: Plan, metrics: Vec<Metric>, strict: bool) -> Result<Self, Error> {
        plan.check(metrics.len())?;
        if let Some(metric) = metrics
            .iter()
            .find(|m| m.margin.is_nan() || m.margin <= 0.0)
        {
            return Err(Error::Margin {
                metric: metric.name.clone(),
            });
        }
        let first = plan.looks.first().map_or(0, |look| look.pairs);
        let states = metrics
            .iter()
            .map(|metric| MetricState {
                state: State::NeedMore { pairs: first },
                screen: None,
                fresh: None,
                resolution: metric.calibrated_cv.map(|cv| RESOLUTION * cv),
                calibrated: metric.calibrated_cv.is_some(),
            })
            .collect();
        Ok(Self {
            plan,
            drift: vec![None; metrics.len()],
            metrics,
            strict,
            states,
            looked: 0,
        })
    }

    /// The same against stored baselines: of each metric the drift of the host as a log-ratio,
    /// `None` where both arms are run. What a host can see is then worse by its drift.
    #[must_use]
    pub fn with_drift(mut self, drift: Vec<Option<f64>>) -> Self {
        self.drift = drift;
        self.drift.resize(self.metrics.len(), None);
        for (state, drift) in self.states.iter_mut().zip(&self.drift) {
            state.resolution = state.resolution.map(|least| least + drift.unwrap_or(0.0));
        }
        self
    }

    /// Every metric, in the order given.
    #[must_use]
    pub fn metrics(&self) -> &[MetricState] {
        &self.states
    }

    /// What is to be done next.
    #[must_use]
    pub fn next(&self) -> Next {
        let more = self.states.iter().find_map(|metric| match metric.state {
            State::NeedMore { pairs } => Some(pairs),
            _ => None,
        });
        if let Some(pairs) = more {
            return Next::Look { pairs };
        }
        let metrics = self.alarmed();
        if metrics.is_empty() {
            return Next::Done;
        }
        Next::Confirm {
            pairs: self.plan.fresh_pairs,
            metrics,
        }
    }

    /// Takes the next look. `log_ratios` has one slice a metric, with all pairs so far; only as
    /// many as the look is planned for are used. A metric with fewer values than that, or with one
    /// that is not finite, is inconclusive at the last look. Without a look left it does nothing.
    pub fn look(&mut self, log_ratios: &[&[f64]]) -> &[MetricState] {
        let Some(look) = self.plan.looks.get(self.looked).copied() else {
            return &self.states;
        };
        self.looked += 1;
        let next = self.plan.looks.get(self.looked).map(|look| look.pairs);
        let pairs: Vec<(&[f64], Option<f64>)> = (0..self.metrics.len())
            .map(|index| {
                let all = log_ratios.get(index).copied().unwrap_or_default();
                (all.get(..look.pairs).unwrap_or_default(), self.drift[index])
            })
            .collect();
        let together = Evidence::together(&pairs, look.fine_level);
        for (index, evidence) in together.into_iter().enumerate() {
            if matches!(self.states[index].state, State::NeedMore { .. }) {
                self.settle(index, evidence, next);
            }
        }
        &self.states
    }

    /// One metric at one look; `next` is when the next look is, if there is one.
    fn settle(&mut self, index: usize, evidence: Option<Evidence>, next: Option<usize>) {
        let (metric, state) = (&self.metrics[index], &mut self.states[index]);
        let undecided = if self.strict {
            State::Inconclusive
        } else {
            State::Demoted
        };
        let Some(evidence) = evidence else {
            state.state = next.map_or(State::Inconclusive, |pairs| State::NeedMore { pairs });
            return;
        };
        state.screen = Some(evidence);
        if !state.calibrated {
            state.resolution = evidence.cv.map(|cv| RESOLUTION * cv + evidence.drift);
        }
        let too_noisy = state.resolution.is_none_or(|least| least > metric.margin);
        let level = self.plan.suite_level;
        state.state = if next.is_none() && evidence.alarms(metric.margin, level) {
            State::NeedsConfirmation {
                pairs: self.plan.fresh_pairs,
            }
        } else if evidence.is_fine(metric.margin) && evidence.improves(metric.margin, level) {
            State::Improved
        } else if evidence.is_fine(metric.margin) {
            State::Fine
        } else if let Some(pairs) = next {
            State::NeedMore { pairs }
        } else if too_noisy {
            undecided
        } else {
            State::Inconclusive
        };
    }

    /// Takes the fresh pairs. `log_ratios` has one slice a metric; only those of alarmed metrics
    /// are read, and only as many as are planned. An alarmed metric with fewer is inconclusive.
    pub fn confirm(&mut self, log_ratios: &[&[f64]]) -> &[MetricState] {
        let alarmed = self.alarmed();
        let pairs: Vec<(&[f64], Option<f64>)> = alarmed
            .iter()
            .map(|index| {
                let all = log_ratios.get(*index).copied().unwrap_or_default();
                let fresh = all.get(..self.plan.fresh_pairs).unwrap_or_default();
                (fresh, self.drift[*index])
            })
            .collect();
        let together = Evidence::together(&pairs, self.plan.fresh_fine_level);
        for (index, evidence) in alarmed.into_iter().zip(together) {
            let (metric, state) = (&self.metrics[index], &mut self.states[index]);
            state.fresh = evidence;
            let too_noisy = state.resolution.is_none_or(|least| least > metric.margin);
            state.state = match evidence {
                Some(fresh) if fresh.alarms(metric.margin, self.plan.suite_level) => {
                    State::Regression
                }
                Some(fresh) if fresh.is_fine(metric.margin) => State::Fine,
                Some(_) if too_noisy && !self.strict => State::Demoted,
                _ => State::Inconclusive,
            };
        }
        &self.states
    }

    fn alarmed(&self) -> Vec<usize> {
        (0..self.states.len())
            .filter(|index| matches!(self.states[*index].state, State::NeedsConfirmation { .. }))
            .collect()
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
