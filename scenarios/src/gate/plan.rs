//! How many pairs fit the budget, found before anything is started.
//!
//! A run takes its warm-up, its measured load and at most 1.5 s for the rest. A screen of 12 pairs
//! and a confirmation of 8 are what the rule was made for; a smaller budget gives fewer of both, and
//! one that could not decide whatever the pairs show is refused.

use std::time::Duration;

use flume_bench_reports::gate::decision;
use flume_bench_reports::gate::metric::{Class, METRICS};
use flume_bench_reports::gate::record;

use super::Request;
use crate::scenario::Scenario;
use crate::scenario::reader::Problem;
use crate::text::show_duration;

/// What a run is planned to take besides its load.
const OVERHEAD: Duration = Duration::from_millis(1_500);

/// A plan that fits.
#[derive(Debug, Clone)]
pub struct Planned {
    /// Looks, fresh pairs, levels.
    pub rule: decision::Plan,
    /// Load before the measured one: of the longest scenario.
    pub warm_up: Duration,
    /// Measured load: of the longest scenario.
    pub steady: Duration,
    /// Foreign CPU that spoils a pair, ppm: of the most lenient scenario.
    pub foreign_ppm: u64,
    /// Whether every scenario has both arms up at once.
    pub at_once: bool,
}

impl Planned {
    fn run(&self) -> Duration {
        // With --with-faults the phases are the scenario's own, of any length.
        let load = self.warm_up.saturating_add(self.steady);
        load.saturating_add(OVERHEAD)
    }

    /// How long a pair takes.
    fn pair(&self) -> Duration {
        self.run().saturating_mul(if self.at_once { 1 } else { 2 })
    }

    /// One line for people.
    pub fn describe(&self, scenarios: usize) -> String {
        let looks: Vec<String> = self
            .rule
            .looks
            .iter()
            .map(|look| look.pairs.to_string())
            .collect();
        let pairs = self.rule.screen_pairs() as u32;
        let fresh = self.rule.fresh_pairs as u32;
        let of = |pairs: u32| show_duration(self.pair().saturating_mul(pairs * scenarios as u32));
        format!(
            "plan: looks after {} pairs, {fresh} fresh pairs on an alarm; a run {} (warm-up {}, \
             measured {}){}; at most {} without an alarm, {} with one",
            looks.join(" and "),
            show_duration(self.run()),
            show_duration(self.warm_up),
            show_duration(self.steady),
            if self.at_once {
                ", both arms at once in turns"
            } else {
                ""
            },
            of(pairs),
            of(pairs + fresh),
        )
    }

    /// The plan for the record.
    pub fn for_record(&self, request: &Request) -> record::Plan {
        let us = |duration: Duration| duration.as_micros() as u64;
        record::Plan {
            at_once: self.at_once,
            warm_up_us: us(self.warm_up),
            steady_us: us(self.steady),
            run_us: us(self.run()),
            budget_us: us(request.budget),
            looks: self
                .rule
                .looks
                .iter()
                .map(|look| look.pairs as u64)
                .collect(),
            confirming: self.rule.fresh_pairs as u64,
            alpha_ppm: (self.rule.suite_level * 1e6) as u64,
            with_faults: request.with_faults,
            strict: request.strict,
            on_inconclusive: if request.neutral { "neutral" } else { "fail" }.into(),
            foreign_limit_ppm: self.foreign_ppm,
        }
    }
}

/// The plan for these scenarios; the budget is for each of them.
///
/// # Errors
/// Fewer pairs than the test can decide with.
pub fn of<'a>(
    request: &Request,
    scenarios: impl Iterator<Item = &'a Scenario>,
) -> Result<Planned, Problem> {
    let mut planned = Planned {
        rule: decision::Plan::default(),
        warm_up: Duration::ZERO,
        steady: Duration::ZERO,
        foreign_ppm: 0,
        at_once: true,
    };
    let mut count = 0;
    for scenario in scenarios {
        let (warm_up, steady) = match request.with_faults {
            true => (scenario.phases.warm_up, scenario.phases.steady),
            false => (scenario.gate.warm_up, scenario.gate.steady),
        };
        planned.warm_up = planned.warm_up.max(warm_up);
        planned.steady = planned.steady.max(steady);
        planned.at_once &= super::turns(request, scenario).is_some();
        planned.foreign_ppm = planned.foreign_ppm.max(scenario.gate.foreign_ppm);
        count += 1;
    }
    let gating = METRICS.iter().filter(|one| one.class == Class::Gating);
    let metrics = gating.count() * count.max(1);
    let usual = decision::Plan::default();
    let whole = usual.screen_pairs() + usual.fresh_pairs;
    let fitting = (request.budget.as_secs_f64() / planned.pair().as_secs_f64()) as usize;
    planned.rule = match request.pairs {
        Some(pairs) => decision::Plan::of_pairs(pairs),
        None if fitting >= whole => usual,
        None => {
            decision::Plan::of_pairs((fitting / 2).max(fitting.saturating_sub(usual.fresh_pairs)))
        }
    };
    let have = planned.rule.screen_pairs().min(planned.rule.fresh_pairs);
    let need = planned.rule.least_pairs(metrics);
    if have < need {
        let budget = show_duration(planned.pair().saturating_mul(2 * need as u32));
        let message = format!(
            "{have} pairs cannot decide over {metrics} gating metrics, whatever they show: the \
             signed-rank test has no p below 1 in 2^{have}, and {need} pairs are the least"
        );
        let remedy = match request.pairs {
            Some(_) => format!("--pairs {need} or more"),
            None => format!(
                "--budget {budget} or more, or shorter runs: [gate] warm_up and steady in the scenario"
            ),
        };
        return Err(Problem::of_machine(message, remedy));
    }
    Ok(planned)
}
