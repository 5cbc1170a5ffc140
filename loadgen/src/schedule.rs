//! The schedule: the instant at which each batch should be sent, fixed before the run starts.
//!
//! Open loop: nothing the system under test does changes it. One instant per batch; all events of
//! a batch carry it. Batches are dealt to the producers in turn (batch k goes to producer
//! k mod connections), each producer's sequence numbers are dense from 0, and only the very last
//! batch may be short. The whole plan follows from shape, duration, batch size, connections and
//! seed; the seed matters to `poisson` alone.
//!
//! | shape | batch k, which begins with event n = k × batch, is due at |
//! |---|---|
//! | constant | n ÷ rate |
//! | ramp | the t at which from × t + (to − from) × t² ÷ 2·duration reaches n |
//! | turns | the wall time at which its own turns add up to n ÷ rate |
//! | poisson | the sum of k + 1 exponential gaps with mean batch ÷ rate |
//!
//! Turns are for two loads at once, of which one rests while the other sends, in the order first,
//! second, second, first, and again: what drifts is then the same for both.
//!
//! Constant, ramp and turns are computed when asked for. Poisson's instants are drawn once and kept
//! (8 bytes a batch), so that the total is known before the start. Its logarithm is computed here
//! with additions, multiplications and divisions only: a library's may differ in the last bit
//! between machines, and then the same seed would not be the same run.

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::observe::{Batch, Micros};

/// The most batches a schedule may have (a poisson schedule keeps 8 bytes for each).
pub const MAX_BATCHES: u64 = 50_000_000;

/// How the rate runs over the duration. Rates are events per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// The same rate all along.
    Constant {
        /// Events per second.
        rate: f64,
    },
    /// From one rate to another, linearly; one of them may be 0.
    Ramp {
        /// Events per second at the start.
        from: f64,
        /// Events per second at the end.
        to: f64,
    },
    /// The same rate in every turn of one's own, nothing in the other's.
    Turns {
        /// Events per second in a turn.
        rate: f64,
        /// How long a turn is.
        turn: Duration,
        /// Whose turns: the second's, or the first's.
        second: bool,
    },
    /// Independent arrivals of batches; `rate` is the mean.
    Poisson {
        /// Events per second.
        rate: f64,
    },
}

/// What a schedule is made from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// How the rate runs.
    pub shape: Shape,
    /// How long the load lasts, from t0.
    pub duration: Duration,
    /// Events per batch, at least 1.
    pub batch: u32,
    /// Producers, at least 1.
    pub connections: u16,
    /// The run's seed.
    pub seed: u64,
}

/// Why there can be no such schedule.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ScheduleError {
    /// A rate that is negative, infinite or not a number, or 0 throughout.
    #[error("failed to plan the load: a rate of {0} events/s; give a positive, finite rate")]
    Rate(f64),
    /// A batch of 0 events, no connection, or turns of no length.
    #[error(
        "failed to plan the load: batch and connections must be at least 1, a turn longer than 0"
    )]
    Empty,
    /// Not one event falls due.
    #[error("failed to plan the load: no event is due within {0:?}; raise the rate or duration")]
    NoEvents(Duration),
    /// More batches than fit in memory.
    #[error(
        "failed to plan the load: {0} batches are more than {MAX_BATCHES}; \
         raise `batch`, or lower the rate or the duration"
    )]
    TooMany(u64),
}

/// The plan of the load. See the module's text.
#[derive(Debug, Clone)]
pub struct Schedule {
    settings: Settings,
    total: u64,
    batches: u64,
    /// Poisson only.
    instants: Vec<Micros>,
}

impl Schedule {
    /// Fixes the plan.
    pub fn new(settings: Settings) -> Result<Schedule, ScheduleError> {
        if settings.batch == 0 || settings.connections == 0 {
            return Err(ScheduleError::Empty);
        }
        let seconds = settings.duration.as_secs_f64();
        let batch = u64::from(settings.batch);
        let mean = match settings.shape {
            Shape::Constant { rate } | Shape::Poisson { rate } => positive(rate)?,
            Shape::Turns { turn, .. } if turn.is_zero() => return Err(ScheduleError::Empty),
            Shape::Turns { rate, .. } => positive(rate)?,
            Shape::Ramp { from, to } => positive((from + to) / 2.0).and_then(|mean| {
                if from < 0.0 || to < 0.0 {
                    bad(from.min(to))
                } else {
                    Ok(mean)
                }
            })?,
        };
        let own_seconds = match settings.shape {
            Shape::Turns { turn, second, .. } => own_of(seconds, turn.as_secs_f64(), second),
            _ => seconds,
        };
        let expected = (mean * own_seconds).round();
        if expected > (MAX_BATCHES * batch) as f64 {
            return Err(ScheduleError::TooMany((expected / batch as f64) as u64));
        }
        let mut schedule = Schedule {
            settings,
            total: expected as u64,
            batches: 0,
            instants: Vec::new(),
        };
        if let Shape::Poisson { rate } = settings.shape {
            schedule.instants = poisson(settings, rate / batch as f64);
            schedule.total = schedule.instants.len() as u64 * batch;
        }
        schedule.batches = schedule.total.div_ceil(batch);
        match schedule.total {
            0 => Err(ScheduleError::NoEvents(settings.duration)),
            _ => Ok(schedule),
        }
    }

    /// What it was made from.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Events in the plan.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Batches in the plan.
    pub fn batches(&self) -> u64 {
        self.batches
    }

    /// Events the plan gives to one producer.
    pub fn planned(&self, producer: u16) -> u64 {
        let (producer, connections) = (u64::from(producer), u64::from(self.settings.connections));
        if producer >= connections {
            return 0;
        }
        let batch = u64::from(self.settings.batch);
        let mine = (self.batches + connections - 1 - producer) / connections;
        let short = self.batches * batch - self.total;
        let has_last = (self.batches - 1) % connections == producer;
        mine * batch - if has_last { short } else { 0 }
    }

    /// Batch k. Beyond the plan there is none.
    pub fn batch(&self, k: u64) -> Option<Batch> {
        if k >= self.batches {
            return None;
        }
        let (batch, connections) = (
            u64::from(self.settings.batch),
            u64::from(self.settings.connections),
        );
        Some(Batch {
            producer: (k % connections) as u16,
            first: k / connections * batch,
            count: batch.min(self.total - k * batch) as u32,
            intended: self.instant(k),
        })
    }

    /// All batches, in the order of their instants.
    pub fn iter(&self) -> impl Iterator<Item = Batch> + '_ {
        (0..self.batches).filter_map(|k| self.batch(k))
    }

    fn instant(&self, k: u64) -> Micros {
        let n = (k * u64::from(self.settings.batch)) as f64;
        let seconds = match self.settings.shape {
            Shape::Constant { rate } => n / rate,
            Shape::Turns { rate, turn, second } => wall_of(n / rate, turn.as_secs_f64(), second),
            Shape::Ramp { from, to } => {
                // The stable form of the quadratic's root: it holds for a flat ramp too. Rounding
                // may push a falling ramp's discriminant below 0 at its very end.
                let slope = (to - from) / self.settings.duration.as_secs_f64();
                let root = (from * from + 2.0 * slope * n).max(0.0).sqrt();
                if n == 0.0 {
                    0.0
                } else {
                    2.0 * n / (from + root)
                }
            }
            Shape::Poisson { .. } => return self.instants.get(k as usize).copied().unwrap_or(0),
        };
        (seconds * 1e6).round() as Micros
    }
}

/// How much of the first so many seconds are one's own turns, each of so many seconds.
fn own_of(seconds: f64, turn: f64, second: bool) -> f64 {
    let rounds = (seconds / (4.0 * turn)).floor();
    let rest = seconds - rounds * 4.0 * turn;
    let of_rest = match second {
        false => rest.min(turn) + (rest - 3.0 * turn).max(0.0),
        true => (rest - turn).clamp(0.0, 2.0 * turn),
    };
    rounds * 2.0 * turn + of_rest
}

/// When one's own turns have lasted so many seconds.
fn wall_of(own: f64, turn: f64, second: bool) -> f64 {
    let rounds = (own / (2.0 * turn)).floor();
    let rest = own - rounds * 2.0 * turn;
    let of_rest = match second {
        false if rest < turn => rest,
        false => rest + 2.0 * turn,
        true => rest + turn,
    };
    rounds * 4.0 * turn + of_rest
}

fn positive(rate: f64) -> Result<f64, ScheduleError> {
    if rate.is_finite() && rate > 0.0 {
        Ok(rate)
    } else {
        bad(rate)
    }
}

fn bad(rate: f64) -> Result<f64, ScheduleError> {
    Err(ScheduleError::Rate(rate))
}

/// Arrivals within the duration at `rate` batches per second.
fn poisson(settings: Settings, rate: f64) -> Vec<Micros> {
    let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
    let end = settings.duration.as_secs_f64();
    let mut instants = Vec::with_capacity((rate * end * 1.05) as usize + 16);
    let mut at = 0.0;
    loop {
        // In (0, 1]: never the logarithm of 0.
        let uniform = ((rng.random::<u64>() >> 11) + 1) as f64 / (1u64 << 53) as f64;
        at += -ln(uniform) / rate;
        if at >= end || instants.len() as u64 >= MAX_BATCHES {
            return instants;
        }
        instants.push((at * 1e6) as Micros);
    }
}

/// Natural logarithm of a normal positive number, the same on every machine: x = m × 2^e with m in
/// [√½, √2), and ln m = 2·atanh((m − 1) ÷ (m + 1)) by its series, exact to about 1e-15.
fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut exponent = (bits >> 52) as i64 - 1023;
    let mut mantissa = f64::from_bits(bits & ((1 << 52) - 1) | 1023 << 52);
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa /= 2.0;
        exponent += 1;
    }
    let z = (mantissa - 1.0) / (mantissa + 1.0);
    let square = z * z;
    let series = (0..12)
        .rev()
        .fold(0.0, |sum, i| sum * square + 1.0 / f64::from(2 * i + 1));
    exponent as f64 * std::f64::consts::LN_2 + 2.0 * z * series
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn settings(shape: Shape, batch: u32, connections: u16, seed: u64) -> Settings {
        Settings {
            shape,
            duration: Duration::from_secs(10),
            batch,
            connections,
            seed,
        }
    }

    fn fingerprint(schedule: &Schedule) -> u32 {
        schedule.iter().fold(0, |crc, batch| {
            let crc = crc32c::crc32c_append(crc, &batch.producer.to_le_bytes());
            let crc = crc32c::crc32c_append(crc, &batch.first.to_le_bytes());
            let crc = crc32c::crc32c_append(crc, &batch.count.to_le_bytes());
            crc32c::crc32c_append(crc, &batch.intended.to_le_bytes())
        })
    }

    #[test]
    fn a_constant_rate_is_evenly_spaced() {
        let shape = Shape::Constant { rate: 1_000.0 };
        let schedule = Schedule::new(settings(shape, 100, 3, 1)).unwrap();
        assert_eq!((schedule.total(), schedule.batches()), (10_000, 100));
        let batches: Vec<_> = schedule.iter().collect();
        let due: Vec<_> = batches.iter().map(|batch| batch.intended).collect();
        assert_eq!(due, (0..100).map(|k| k * 100_000).collect::<Vec<_>>());
        assert_eq!(
            batches[4],
            Batch {
                producer: 1,
                first: 100,
                count: 100,
                intended: 400_000
            }
        );
        assert_eq!(schedule.batch(100), None);
    }

    #[test]
    fn a_ramp_has_the_area_under_its_line() {
        for (from, to) in [
            (0.0, 2_000.0),
            (2_000.0, 0.0),
            (500.0, 1_500.0),
            (1_000.0, 1_000.0),
        ] {
            let schedule = Schedule::new(settings(Shape::Ramp { from, to }, 1, 1, 1)).unwrap();
            assert_eq!(schedule.total(), 10_000, "{from} to {to}");
            let half = schedule
                .iter()
                .filter(|batch| batch.intended < 5_000_000)
                .count();
            let expected = 5.0 * (from + (from + to) / 2.0) / 2.0;
            assert!(
                (half as f64 - expected).abs() <= 2.0,
                "{from} to {to}: {half}"
            );
        }
    }

    #[test]
    fn two_loads_take_turns_and_each_is_as_long_as_the_other() {
        let turn = Duration::from_millis(250);
        let of = |second| {
            let shape = Shape::Turns {
                rate: 2_000.0,
                turn,
                second,
            };
            Schedule::new(settings(shape, 10, 2, 1)).unwrap()
        };
        let (first, second) = (of(false), of(true));
        assert_eq!((first.total(), second.total()), (10_000, 10_000));
        // first, second, second, first, …; the tenth second is the last of ten rounds.
        for (schedule, own) in [(&first, [0, 3]), (&second, [1, 2])] {
            let turns = || schedule.iter().map(|batch| batch.intended / 250_000);
            assert!(turns().all(|turn| own.contains(&(turn % 4))));
            assert_eq!(turns().max(), Some(36 + own[1]));
        }
        // A round that is cut off is cut off for both.
        let cut = |second| own_of(2.6, 0.25, second);
        assert!((cut(false) - 1.25).abs() < 1e-9 && (cut(true) - 1.35).abs() < 1e-9);
    }

    #[test]
    fn poisson_arrivals_have_the_mean_and_variance_of_their_law() {
        let shape = Shape::Poisson { rate: 5_000.0 };
        let schedule = Schedule::new(settings(shape, 1, 1, 42)).unwrap();
        let instants: Vec<_> = schedule.iter().map(|batch| batch.intended as f64).collect();
        let gaps: Vec<_> = instants.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // 50,000 gaps of mean 200 µs: the seed is fixed, so these hold or do not, for ever.
        assert!((mean - 200.0).abs() < 3.0, "{mean}");
        assert!(
            (variance.sqrt() / mean - 1.0).abs() < 0.02,
            "{}",
            variance.sqrt()
        );
    }

    #[test]
    fn the_same_seed_is_the_same_plan() {
        let plan = |shape, seed| fingerprint(&Schedule::new(settings(shape, 10, 4, seed)).unwrap());
        let poisson = Shape::Poisson { rate: 10_000.0 };
        assert_eq!(plan(poisson, 7), plan(poisson, 7));
        assert_ne!(plan(poisson, 7), plan(poisson, 8));
        // Changed on purpose only: every stored seed means another run then.
        let golden = [
            plan(Shape::Constant { rate: 20_000.0 }, 7),
            plan(
                Shape::Ramp {
                    from: 100.0,
                    to: 30_000.0,
                },
                7,
            ),
            plan(poisson, 7),
        ];
        assert_eq!(golden, [3_851_515_453, 978_917_284, 3_771_287_811]);
    }

    #[test]
    fn impossible_plans_are_refused() {
        let refused = |shape, batch, connections| {
            Schedule::new(settings(shape, batch, connections, 1)).unwrap_err()
        };
        let constant = |rate| Shape::Constant { rate };
        assert!(matches!(
            refused(constant(0.0), 1, 1),
            ScheduleError::Rate(_)
        ));
        assert!(matches!(
            refused(constant(f64::NAN), 1, 1),
            ScheduleError::Rate(_)
        ));
        assert!(matches!(
            refused(
                Shape::Ramp {
                    from: -1.0,
                    to: 9.0
                },
                1,
                1
            ),
            ScheduleError::Rate(_)
        ));
        assert_eq!(refused(constant(1.0), 0, 1), ScheduleError::Empty);
        assert_eq!(refused(constant(1.0), 1, 0), ScheduleError::Empty);
        assert!(matches!(
            refused(constant(0.001), 1, 1),
            ScheduleError::NoEvents(_)
        ));
        assert!(matches!(
            refused(constant(1e9), 1, 1),
            ScheduleError::TooMany(_)
        ));
    }

    #[test]
    fn the_logarithm_is_one() {
        for x in [1e-16, 1e-9, 0.1, 0.5, 0.706, 0.708, 0.999_999, 1.0] {
            assert!(
                (ln(x) - x.ln()).abs() <= 1e-14 * x.ln().abs().max(1e-2),
                "{x}"
            );
        }
    }

    fn any_shape() -> impl Strategy<Value = Shape> {
        prop_oneof![
            (1.0..3_000.0).prop_map(|rate| Shape::Constant { rate }),
            (0.0..3_000.0, 1.0..3_000.0).prop_map(|(from, to)| Shape::Ramp { from, to }),
            (1.0..3_000.0).prop_map(|rate| Shape::Poisson { rate }),
            (1.0..3_000.0, 1u64..4_000, any::<bool>()).prop_map(|(rate, ms, second)| {
                Shape::Turns {
                    rate,
                    turn: Duration::from_millis(ms),
                    second,
                }
            }),
        ]
    }

    proptest! {
        #[test]
        fn numbers_are_dense_and_instants_in_order(
            shape in any_shape(), batch in 1u32..40, connections in 1u16..9, seed in any::<u64>(),
        ) {
            let Ok(schedule) = Schedule::new(settings(shape, batch, connections, seed)) else {
                return Ok(());
            };
            let mut next = vec![0u64; usize::from(connections)];
            let mut last = 0;
            for batch in schedule.iter() {
                prop_assert_eq!(batch.first, next[usize::from(batch.producer)]);
                prop_assert!(batch.count > 0 && batch.intended >= last);
                prop_assert!(batch.intended <= 10_000_000);
                next[usize::from(batch.producer)] += u64::from(batch.count);
                last = batch.intended;
            }
            prop_assert_eq!(next.iter().sum::<u64>(), schedule.total());
            for (producer, planned) in next.iter().enumerate() {
                prop_assert_eq!(schedule.planned(producer as u16), *planned);
            }
            prop_assert_eq!(schedule.planned(connections), 0);
        }
    }
}
