//! How often the rule is right, by simulation: 10,000 suites a cell.
//!
//! A suite is a whole gate: five gating metrics whose noise hangs together (correlation 0.5), a
//! screen of up to 12 pairs, and 8 fresh pairs where it alarms. CV is that of a run within its
//! pair, M = 1 throughout. Nothing is calibrated: the resolution comes from the screen's own pairs.
//!
//! `FLUME_BENCH_SUITES` sets the number of suites. With 10,000 the limits are held to the letter;
//! with fewer, by three standard deviations more.
//!
//! ```sh
//! cargo test --release -p flume-bench-reports --lib simulation -- --nocapture
//! ```

use std::fmt::Write as _;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

const METRICS: usize = 5;

/// How runs differ although nothing changed. Every kind has variance 1 for a run within its pair.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Noise {
    /// Normal.
    Normal,
    /// Student's t with three degrees of freedom: now and then a run far off, on either side.
    Heavy,
    /// One run in ten is slower, in all metrics together, by four times the usual noise.
    Bursts,
    /// Pairs of neighbours from a recording, each from anywhere in it.
    Recorded,
    /// A stretch of neighbours from the recording, so that a gate may fall into a bad quarter of an
    /// hour, in which the variation is a multiple of that of the whole recording.
    Stretch,
}

const NOISES: [Noise; 5] = [
    Noise::Normal,
    Noise::Heavy,
    Noise::Bursts,
    Noise::Recorded,
    Noise::Stretch,
];

/// Draws pairs.
struct Source {
    rng: ChaCha8Rng,
    noise: Noise,
    recorded: Vec<[f64; METRICS]>,
    /// Where in the recording the next pair is.
    place: usize,
    /// A normal deviate left over.
    spare: Option<f64>,
}

impl Source {
    fn new(noise: Noise, seed: u64) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            noise,
            recorded: recording(),
            place: 0,
            spare: None,
        }
    }

    fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = (-2.0 * (1.0 - self.rng.random::<f64>()).ln()).sqrt();
        let angle = std::f64::consts::TAU * self.rng.random::<f64>();
        self.spare = Some(radius * angle.sin());
        radius * angle.cos()
    }

    /// Student's t with three degrees of freedom, scaled to variance 1.
    fn heavy(&mut self) -> f64 {
        let squares: f64 = (0..3).map(|_| self.normal().powi(2)).sum();
        self.normal() / squares.sqrt()
    }

    /// One run: its metrics, each with variance 1.
    fn run(&mut self) -> [f64; METRICS] {
        let half = 0.5_f64.sqrt();
        match self.noise {
            Noise::Normal => {
                let common = self.normal();
                std::array::from_fn(|_| half * (common + self.normal()))
            }
            Noise::Heavy => {
                let common = self.heavy();
                std::array::from_fn(|_| half * (common + self.heavy()))
            }
            Noise::Bursts => {
                // 1 + 0.1 × 0.9 × 4² is the variance with the bursts.
                let burst = if self.rng.random_bool(0.1) { 4.0 } else { 0.0 };
                let common = self.normal();
                let scale = (1.0 + 0.09 * 16.0_f64).sqrt();
                std::array::from_fn(|_| (half * (common + self.normal()) + burst) / scale)
            }
            Noise::Recorded | Noise::Stretch => {
                let run = self.recorded[self.place % self.recorded.len()];
                self.place += 1;
                run
            }
        }
    }

    /// The log-ratios of `pairs` pairs, one list a metric, the first shifted.
    fn pairs(&mut self, pairs: usize, cv: f64, shift: f64) -> [Vec<f64>; METRICS] {
        let mut lists: [Vec<f64>; METRICS] = std::array::from_fn(|_| Vec::with_capacity(pairs));
        self.place = self.rng.random_range(0..self.recorded.len());
        for _ in 0..pairs {
            if self.noise == Noise::Recorded {
                self.place = self.rng.random_range(0..self.recorded.len() - 1);
            }
            let (mut a, mut b) = (self.run(), self.run());
            // The order of the arms is drawn.
            if self.rng.random_bool(0.5) {
                (a, b) = (b, a);
            }
            for metric in 0..METRICS {
                let by = if metric == 0 { shift } else { 0.0 };
                lists[metric].push(by + cv * (b[metric] - a[metric]));
            }
        }
        lists
    }
}

/// The recording, as deviations in log units with variance 1 within pairs of neighbours: 240 runs
/// of half a second on a machine with two cores that others used too: CPU time an event of a pipe,
/// its rate, p50 and p99, and the rate of synced appends.
fn recording() -> Vec<[f64; METRICS]> {
    let rows: Vec<[f64; METRICS]> = include_str!("noise.csv")
        .lines()
        .filter(|line| !line.starts_with(|c: char| c.is_ascii_alphabetic()))
        .map(|line| {
            let mut cells = line
                .split(',')
                .map(|cell| cell.parse::<f64>().unwrap().ln());
            std::array::from_fn(|_| cells.next().unwrap())
        })
        .collect();
    let scales: [f64; METRICS] = std::array::from_fn(|metric| {
        let differences: Vec<f64> = rows
            .windows(2)
            .map(|w| w[1][metric] - w[0][metric])
            .collect();
        spread::within_pair_cv(&differences).unwrap()
    });
    rows.into_iter()
        .map(|row| std::array::from_fn(|metric| row[metric] / scales[metric]))
        .collect()
}

/// What became of the suites of a cell, as shares.
#[derive(Debug, Clone, Copy, Default)]
struct Rates {
    /// Any metric: regression.
    any_regression: f64,
    /// The first metric: regression.
    found: f64,
    /// The first metric: fine or improved.
    passed: f64,
    /// The first metric: demoted.
    demoted: f64,
    /// Any metric inconclusive or demoted, and none a regression.
    undecided: f64,
    /// Any metric improved.
    improved: f64,
    /// Any metric alarmed in the screen.
    alarmed: f64,
    /// Mean pairs, fresh ones included.
    pairs: f64,
}

fn gate(source: &mut Source, cv: f64, shift: f64, rates: &mut Rates) {
    let metrics = (0..METRICS)
        .map(|_| Metric {
            name: String::new(),
            margin: 1.0,
            calibrated_cv: None,
        })
        .collect();
    let mut screen = Screen::new(Plan::default(), metrics, false).unwrap();
    let pairs = source.pairs(12, cv, shift);
    let slices: [&[f64]; METRICS] = std::array::from_fn(|metric| pairs[metric].as_slice());
    while let Next::Look { pairs } = screen.next() {
        screen.look(&slices);
        if !matches!(screen.next(), Next::Look { .. }) {
            rates.pairs += pairs as f64;
        }
    }
    if let Next::Confirm { pairs, .. } = screen.next() {
        rates.alarmed += 1.0;
        rates.pairs += pairs as f64;
        let fresh = source.pairs(pairs, cv, shift);
        let slices: [&[f64]; METRICS] = std::array::from_fn(|metric| fresh[metric].as_slice());
        screen.confirm(&slices);
    }
    assert_eq!(screen.next(), Next::Done);
    let is = |state| screen.metrics().iter().any(|metric| metric.state == state);
    let first = screen.metrics()[0].state;
    let one = |yes: bool| f64::from(u8::from(yes));
    rates.any_regression += one(is(State::Regression));
    rates.found += one(first == State::Regression);
    rates.passed += one(matches!(first, State::Fine | State::Improved));
    rates.demoted += one(first == State::Demoted);
    let undecided = is(State::Inconclusive) || is(State::Demoted);
    rates.undecided += one(undecided && !is(State::Regression));
    rates.improved += one(is(State::Improved));
}

fn suites() -> usize {
    let asked = std::env::var("FLUME_BENCH_SUITES").ok();
    let default = if cfg!(debug_assertions) { 400 } else { 10_000 };
    asked.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// One cell, in two threads with a seed each.
fn cell(noise: Noise, ratio: f64, shift: f64) -> Rates {
    let half = suites() / 2;
    let work = |seed| {
        let mut source = Source::new(noise, seed);
        let mut rates = Rates::default();
        for _ in 0..half {
            gate(&mut source, 1.0 / ratio, shift, &mut rates);
        }
        rates
    };
    let (a, b) = std::thread::scope(|scope| {
        let other = scope.spawn(|| work(8));
        (work(7), other.join().unwrap())
    });
    let n = (2 * half) as f64;
    Rates {
        any_regression: (a.any_regression + b.any_regression) / n,
        found: (a.found + b.found) / n,
        passed: (a.passed + b.passed) / n,
        demoted: (a.demoted + b.demoted) / n,
        undecided: (a.undecided + b.undecided) / n,
        improved: (a.improved + b.improved) / n,
        alarmed: (a.alarmed + b.alarmed) / n,
        pairs: (a.pairs + b.pairs) / n,
    }
}

/// Whether a share is no larger than a limit, as far as this many suites can say.
fn within(share: f64, limit: f64) -> bool {
    let n = suites() as f64;
    let slack = if n >= 10_000.0 {
        0.0
    } else {
        3.0 * (limit * (1.0 - limit) / n).sqrt()
    };
    share <= limit + slack
}

/// The ratio of M to CV from which on a gate must decide. A stretch may be much noisier than the
/// whole recording that its CV is taken from.
fn resolved(noise: Noise) -> f64 {
    if noise == Noise::Stretch {
        3.0
    } else {
        RESOLUTION
    }
}

#[test]
fn demoting_by_eight_own_pairs_would_lose_much_of_what_can_be_seen() {
    let mut source = Source::new(Noise::Normal, 7);
    let too_noisy = (0..2_000)
        .filter(|_| {
            let pairs = source.pairs(8, 1.0 / RESOLUTION, 1.0);
            RESOLUTION * spread::within_pair_cv(&pairs[0]).unwrap() > 1.0
        })
        .count();
    assert!(too_noisy > 2_000 / 3, "{too_noisy} of 2,000");
}

#[test]
fn an_unchanged_build_is_hardly_ever_alarmed_and_hardly_ever_left_open() {
    let mut table = String::from("A/A       M/CV  alarm  screen  open  improved  pairs\n");
    let mut wrong = String::new();
    for noise in NOISES {
        for ratio in [0.5, 1.0, 1.5, 2.25, 3.0, 5.0] {
            let rates = cell(noise, ratio, 0.0);
            let row = format!(
                "{:<9} {ratio:<5} {:.4} {:.4}  {:.3} {:.3}     {:.1}\n",
                format!("{noise:?}"),
                rates.any_regression,
                rates.alarmed,
                rates.undecided,
                rates.improved,
                rates.pairs
            );
            table.push_str(&row);
            let open = ratio >= resolved(noise) && !within(rates.undecided, 0.05);
            let praised = !within(rates.improved, 0.05);
            if !within(rates.any_regression, 0.01) || open || praised {
                wrong.push_str(&row);
            }
        }
    }
    println!("{table}");
    assert!(wrong.is_empty(), "{table}\nbroken:\n{wrong}");
}

#[test]
fn a_change_of_the_margin_is_found_and_hardly_ever_passed() {
    let mut table = String::from("shift M   M/CV  found  passed  demoted  pairs\n");
    let mut wrong = String::new();
    for noise in NOISES {
        for ratio in [0.5, 1.0, 1.5, 2.25, 3.0, 5.0] {
            let rates = cell(noise, ratio, 1.0);
            let mut row = String::new();
            let _ = writeln!(
                row,
                "{:<9} {ratio:<5} {:.4} {:.4}  {:.4}   {:.1}",
                format!("{noise:?}"),
                rates.found,
                rates.passed,
                rates.demoted,
                rates.pairs
            );
            table.push_str(&row);
            let missed = ratio >= resolved(noise) && !within(1.0 - rates.found, 0.05);
            if !within(rates.passed, 0.05) || missed {
                wrong.push_str(&row);
            }
        }
    }
    println!("{table}");
    assert!(wrong.is_empty(), "{table}\nbroken:\n{wrong}");
}
