//! Searches for a known capacity, in virtual time. `FLUME_BENCH_SEARCHES` sets their number; with
//! fewer than 1,000 the limits give way by two standard deviations.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

/// A pipeline that carries `capacity` events/s, token by token, and whose backlog saws: it hands
/// over in files that close every `ROLL` seconds.
struct Decoy {
    capacity: f64,
    /// Spread of the capacity from probe to probe.
    cv: f64,
    /// How many probes have 20 % less.
    disturbed: f64,
    rng: ChaCha8Rng,
}

const ROLL: f64 = 2.0;
const TICK: f64 = 0.1;

impl Decoy {
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.rng.random::<f64>()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.rng.random::<f64>()).cos()
    }

    /// What it carries during one probe.
    fn today(&mut self) -> f64 {
        let noise = self.cv * self.normal();
        let less = if self.rng.random_bool(self.disturbed) {
            0.8
        } else {
            1.0
        };
        self.capacity * less * noise.exp()
    }

    /// A probe at a fixed rate: backlog, minima, verdict; extended once.
    fn probe(&mut self, rate: f64) -> Outcome {
        let capacity = self.today();
        let (mut waiting, mut unpublished) = (0.0, 0.0);
        let mut series = Vec::new();
        let mut seconds = 0.0;
        for end in [8.0 * ROLL, 16.0 * ROLL] {
            while seconds < end {
                // Arrivals jitter by a fifth of a tick's worth.
                let arrived = rate * TICK * (1.0 + 0.2 * (self.rng.random::<f64>() - 0.5));
                let served = (capacity * TICK).min(waiting + arrived);
                waiting += arrived - served;
                unpublished += served;
                if (seconds / ROLL).floor() != ((seconds + TICK) / ROLL).floor() {
                    unpublished = 0.0;
                }
                series.push((seconds, waiting + unpublished));
                seconds += TICK;
            }
            match backlog(&minima(&series, ROLL), rate).growth {
                Growth::Growing => return Outcome::Missed,
                Growth::Sustained => return Outcome::Held,
                Growth::Unknown => {}
            }
        }
        Outcome::Unknown
    }
}

struct Found {
    within: f64,
    covered: f64,
    probes: f64,
    unknown: f64,
    open: f64,
}

fn searches() -> usize {
    let asked = std::env::var("FLUME_BENCH_SEARCHES").ok();
    let default = if cfg!(debug_assertions) { 30 } else { 400 };
    asked.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Many searches. `excess` is how much more the decoy pumps in closed loop than it carries.
fn search(cv: f64, disturbed: f64, excess: f64) -> Found {
    // The noisy cells only show how wide the intervals must be.
    let n = if cv > 0.03 {
        searches() / 3
    } else {
        searches()
    };
    let mut found = Found {
        within: 0.0,
        covered: 0.0,
        probes: 0.0,
        unknown: 0.0,
        open: 0.0,
    };
    for seed in 0..n as u64 {
        let mut decoy = Decoy {
            capacity: 20_000.0 * (1.0 + seed as f64 / 7.0),
            cv,
            disturbed,
            rng: ChaCha8Rng::seed_from_u64(seed),
        };
        // By definition: what is offered may exceed what is carried by 1 %.
        let knee = decoy.capacity / (1.0 - TOLERATED_GROWTH);
        let saturation: Vec<f64> = (0..3).map(|_| decoy.today() * (1.0 + excess)).collect();
        let mut search = Search::new(&saturation).unwrap();
        while let Some(rate) = search.next_rate() {
            let outcome = decoy.probe(rate);
            found.unknown += f64::from(u8::from(outcome == Outcome::Unknown));
            search.probed(rate, outcome);
        }
        assert!(search.probes() <= MOST_PROBES);
        let answer = search.knee(0.9);
        found.open += f64::from(u8::from(!answer.bracketed));
        found.within += f64::from(u8::from((answer.rate / decoy.capacity - 1.0).abs() <= 0.05));
        found.covered += f64::from(u8::from((answer.low..=answer.high).contains(&knee)));
        found.probes += search.probes() as f64;
    }
    let n = n as f64;
    Found {
        within: found.within / n,
        covered: found.covered / n,
        probes: found.probes / n,
        unknown: found.unknown / n,
        open: found.open / n,
    }
}

#[test]
fn a_known_capacity_is_found() {
    let mut table =
        String::from("CV    disturbed  excess  within 5 %  90 % covers  probes  unknown  open\n");
    let mut wrong = String::new();
    let cells = [
        (0.01, 0.0, 0.0),
        (0.01, 0.05, 0.0),
        (0.03, 0.0, 0.0),
        (0.03, 0.05, 0.0),
        (0.03, 0.05, 0.3),
        (0.05, 0.0, 0.0),
        (0.05, 0.05, 0.0),
        (0.10, 0.0, 0.0),
        (0.10, 0.05, 0.0),
    ];
    let work = |parity: usize| -> Vec<Found> {
        let mine = cells.iter().skip(parity).step_by(2);
        mine.map(|(cv, disturbed, excess)| search(*cv, *disturbed, *excess))
            .collect()
    };
    let mut halves = std::thread::scope(|scope| {
        let odd = scope.spawn(|| work(1));
        [work(0).into_iter(), odd.join().unwrap().into_iter()]
    });
    for (index, (cv, disturbed, excess)) in cells.into_iter().enumerate() {
        let found = halves[index % 2].next().unwrap();
        let row = format!(
            "{cv:<5} {disturbed:<10} {excess:<7} {:.3}       {:.3}        {:.1}     {:.2}     {:.3}\n",
            found.within, found.covered, found.probes, found.unknown, found.open
        );
        table.push_str(&row);
        let at_least = |share: f64, limit: f64| {
            let n = searches() as f64;
            let slack = 2.0 * (limit * (1.0 - limit) / n).sqrt();
            share >= limit - if n < 1_000.0 { slack } else { 0.0 }
        };
        if (cv <= 0.03 && !at_least(found.within, 0.95)) || !at_least(found.covered, 0.85) {
            wrong.push_str(&row);
        }
    }
    println!("{table}");
    assert!(wrong.is_empty(), "{table}\nbroken:\n{wrong}");
}

#[test]
fn one_disturbed_probe_is_undone() {
    let mut search = Search::new(&[10_000.0, 10_100.0, 9_900.0]).unwrap();
    for probe in 0.. {
        let Some(rate) = search.next_rate() else {
            break;
        };
        // The second probe fails at whatever rate; the knee is at 9,000.
        let held = rate < 9_000.0 && probe != 1;
        search.probed(rate, if held { Outcome::Held } else { Outcome::Missed });
    }
    let knee = search.knee(0.9);
    assert!((knee.rate / 9_000.0 - 1.0).abs() < 0.05, "{knee:?}");
}

#[test]
fn a_knee_out_of_reach_is_said_to_be_out_of_reach() {
    let mut search = Search::new(&[10_000.0; 3]).unwrap();
    while let Some(rate) = search.next_rate() {
        search.probed(rate, Outcome::Missed);
    }
    let knee = search.knee(0.9);
    assert!(!knee.bracketed && knee.rate < 5_000.0, "{knee:?}");
    assert!(Search::new(&[]).is_err());
    assert!(Search::new(&[1.0, 0.0]).is_err());
}

#[test]
fn a_probe_that_told_nothing_moves_nothing() {
    let mut search = Search::new(&[10_000.0, 10_100.0, 9_900.0]).unwrap();
    let before = search.next_rate();
    search.probed(10_000.0, Outcome::Unknown);
    assert_eq!(search.next_rate(), before);
    assert_eq!(search.probes(), 4);
}

#[test]
fn a_saw_tooth_is_no_growth_and_a_slow_leak_is() {
    let saw = |leak: f64, cycles: usize| -> Vec<(f64, f64)> {
        (0..cycles * 20)
            .map(|i| {
                let t = i as f64 * TICK;
                (t, 5_000.0 * (t % ROLL) + leak * t + 40.0 * (t * 7.3).sin())
            })
            .collect()
    };
    let judge = |leak, cycles| backlog(&minima(&saw(leak, cycles), ROLL), 5_000.0);
    assert_eq!(judge(0.0, 8).growth, Growth::Sustained);
    assert_eq!(judge(100.0, 8).growth, Growth::Growing);
    assert_eq!(judge(50.0, 8).growth, Growth::Unknown);
    let short = judge(100.0, 7);
    assert_eq!((short.growth, short.cycles), (Growth::Unknown, 7));
    assert!(short.slope.is_some() && short.lower.is_none());
    assert_eq!(backlog(&[], 1.0).growth, Growth::Unknown);
}

#[test]
fn minima_are_those_of_whole_cycles() {
    let series: Vec<(f64, f64)> = (0..25).map(|i| (f64::from(i), f64::from(i % 10))).collect();
    assert_eq!(minima(&series, 10.0), [(0.0, 0.0), (10.0, 0.0)]);
    assert_eq!(minima(&series[..20], 10.0).len(), 2);
    assert!(minima(&[], 10.0).is_empty());
    assert!(minima(&series, 0.0).is_empty());
}
