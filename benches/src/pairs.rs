//! Alternation: A B A B …, each pair under the guard.
//!
//! A pair that others disturbed is run again, until there are as many clean ones as were asked for
//! or [`Plan::tries`] is used up. Then the dirty ones are shown all the same, and the row is void.
//! Before each pair the runner waits a little for the machine to be quiet.

use std::time::{Duration, Instant};

use crate::guard::{Disturbance, Meter, own_cpu};
use crate::outcome::{ArmFigures, BenchError, Limit, Outcome, PairFigures, busy};
use crate::stats::Spread;

/// Fewer pairs than this prove nothing.
pub const MIN_PAIRS: usize = 7;

/// What one run of one arm did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Work {
    /// How many events, or bytes.
    pub units: u64,
    /// How long it took.
    pub wall: Duration,
    /// CPU time of all threads, user and system.
    pub cpu: Duration,
}

impl Work {
    /// Does something in this process and measures it. `run` answers how many units it did.
    ///
    /// # Errors
    /// Those of `run`.
    pub fn measure(run: impl FnOnce() -> Result<u64, BenchError>) -> Result<Work, BenchError> {
        let (cpu, start) = (own_cpu(), Instant::now());
        let units = run()?;
        Ok(Work {
            units,
            wall: start.elapsed(),
            cpu: own_cpu().saturating_sub(cpu),
        })
    }

    /// Units per second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.units as f64 / self.wall.as_secs_f64()
    }

    /// CPU nanoseconds per unit.
    #[must_use]
    pub fn cpu_ns(&self) -> f64 {
        self.cpu.as_nanos() as f64 / self.units as f64
    }
}

/// One side of a comparison.
pub struct Arm<'a> {
    /// What it is called in the report.
    pub name: &'a str,
    /// Does the work once.
    pub run: &'a mut dyn FnMut() -> Result<Work, BenchError>,
}

/// How a comparison is made.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Pairs that must be clean.
    pub pairs: usize,
    /// Pairs that are run at most.
    pub tries: usize,
    /// How long to wait for a quiet machine before a pair.
    pub patience: Duration,
    /// What is compared.
    pub ratio: Ratio,
    /// What the arms count: `events`, `bytes`.
    pub unit: &'static str,
}

impl Plan {
    /// A comparison of rates, in events, with so many pairs, and up to three times as many tries.
    #[must_use]
    pub fn of_rates(pairs: usize) -> Plan {
        Plan {
            pairs,
            tries: pairs * 3,
            patience: Duration::from_secs(2),
            ratio: Ratio::Rates,
            unit: "events",
        }
    }
}

/// What is divided by what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ratio {
    /// The first arm's rate by the second's: more is better for the first.
    Rates,
    /// The first arm's time by the second's: less is better for the first.
    Times,
}

/// One pair.
#[derive(Debug, Clone, Copy)]
struct Pair {
    first: Work,
    second: Work,
    disturbance: Disturbance,
}

/// Runs both arms alternately, adds figures and the check of the ratio to `outcome`, and voids it
/// where too few pairs were clean.
///
/// # Errors
/// Those of the arms.
pub fn compare(
    outcome: &mut Outcome,
    plan: &Plan,
    limit: Limit,
    meter: &mut dyn Meter,
    arms: (Arm<'_>, Arm<'_>),
) -> Result<(), BenchError> {
    let (mut first, mut second) = arms;
    let (mut clean, mut dirty) = run_pairs(plan, meter, &mut first, &mut second)?;
    let repeated = dirty.len();
    let is_dirty = clean.len() < plan.pairs;
    if is_dirty {
        let found = clean.len();
        clean.append(&mut dirty);
        let worst = worst(&clean);
        outcome.void.push(format!(
            "only {found} of {} pairs were clean: {} at worst; run it on a quiet machine",
            plan.pairs,
            busy(worst)
        ));
    }
    if plan.pairs < MIN_PAIRS {
        outcome.void.push(format!(
            "{} pairs prove nothing; at least {MIN_PAIRS} are needed",
            plan.pairs
        ));
    }
    let figures = |name: &str, of: fn(&Pair) -> Work| {
        Some(ArmFigures {
            name: name.to_owned(),
            unit: plan.unit,
            per_second: Spread::of(clean.iter().map(|pair| of(pair).per_second()))?,
            cpu_ns: Spread::of(clean.iter().map(|pair| of(pair).cpu_ns()))?,
        })
    };
    let ratio = Spread::of(clean.iter().map(|pair| match plan.ratio {
        Ratio::Rates => pair.first.per_second() / pair.second.per_second(),
        Ratio::Times => pair.first.wall.as_secs_f64() / pair.second.wall.as_secs_f64(),
    }));
    let (Some(a), Some(b), Some(ratio)) = (
        figures(first.name, |pair| pair.first),
        figures(second.name, |pair| pair.second),
        ratio,
    ) else {
        return Err(BenchError::Wrong {
            what: "compare the arms",
            why: "an arm did nothing, or no pair was run".to_owned(),
        });
    };
    outcome.arms.extend([a, b]);
    outcome.check("ratio", ratio.median, "x", limit);
    outcome.pairs = Some(PairFigures {
        counted: clean.len(),
        repeated: if is_dirty { 0 } else { repeated },
        dirty: is_dirty,
        worst: worst(&clean),
        ratio,
    });
    Ok(())
}

/// Runs pairs until enough of them were clean or the tries are used up: the clean ones, and those
/// that others disturbed.
fn run_pairs(
    plan: &Plan,
    meter: &mut dyn Meter,
    first: &mut Arm<'_>,
    second: &mut Arm<'_>,
) -> Result<(Vec<Pair>, Vec<Pair>), BenchError> {
    let (mut clean, mut dirty) = (Vec::new(), Vec::new());
    while clean.len() < plan.pairs && clean.len() + dirty.len() < plan.tries.max(plan.pairs) {
        meter.wait_for_quiet(plan.patience);
        let before = meter.read();
        let pair = Pair {
            first: (first.run)()?,
            second: (second.run)()?,
            disturbance: Disturbance::between(&before, &meter.read()),
        };
        if pair.disturbance.is_dirty() {
            dirty.push(pair);
        } else {
            clean.push(pair);
        }
    }
    Ok((clean, dirty))
}

fn worst(pairs: &[Pair]) -> Disturbance {
    pairs.iter().fold(Disturbance::default(), |worst, pair| {
        worst.or(pair.disturbance)
    })
}

/// Does something without a second arm under the guard: up to `tries` times, until once the machine
/// was quiet. Answers the last result with the disturbance during it, and how often it was repeated.
///
/// # Errors
/// Those of `run`.
pub fn undisturbed<T>(
    tries: usize,
    meter: &mut dyn Meter,
    mut run: impl FnMut() -> Result<T, BenchError>,
) -> Result<(T, Disturbance, usize), BenchError> {
    let mut repeated = 0;
    loop {
        meter.wait_for_quiet(Duration::from_secs(2));
        let before = meter.read();
        let result = run()?;
        let disturbance = Disturbance::between(&before, &meter.read());
        if !disturbance.is_dirty() || repeated + 1 >= tries {
            return Ok((result, disturbance, repeated));
        }
        repeated += 1;
    }
}

impl std::fmt::Debug for Arm<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arm")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
