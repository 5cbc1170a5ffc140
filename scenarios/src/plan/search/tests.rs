//! Searches in virtual time, through the interface of the real ones.

use flume_bench_loadgen::schedule::{Schedule, Settings, Shape};
use flume_bench_reports::plan::ProbeKind;
use flume_bench_reports::plan::backlog::{self, Trend};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::time::Duration;

use super::*;

/// Token buckets of known capacity in virtual time.
struct Buckets {
    rng: ChaCha8Rng,
    capacity: f64,
    servers: usize,
    cv: f64,
    /// The harness cannot offer more.
    harness: f64,
    /// Stops after so many probes.
    interrupt_after: u32,
}

impl Buckets {
    fn new(seed: u64, servers: usize, cv: f64) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            capacity: 10_000.0,
            servers,
            cv,
            harness: f64::INFINITY,
            interrupt_after: u32::MAX,
        }
    }

    /// What each server carries during one probe, events/s.
    fn today(&mut self) -> Vec<f64> {
        let (u, v): (f64, f64) = (self.rng.random(), self.rng.random());
        let normal = (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos();
        let all = self.capacity * (self.cv * normal).exp();
        vec![all / self.servers as f64; self.servers]
    }

    /// 20 s at 50 ms: what is due and not stored, each arrival with the server that has least to do.
    fn backlog(&mut self, rate: f64) -> Vec<f64> {
        let step = 0.05;
        let servers = self.today();
        let mut waiting = vec![0.0; servers.len()];
        (0..400)
            .map(|_| {
                let arriving = rate * step * (1.0 + 0.2 * (self.rng.random::<f64>() - 0.5));
                for (queue, carries) in waiting.iter_mut().zip(&servers) {
                    *queue += arriving / servers.len() as f64;
                    *queue -= f64::min(*queue, carries * step);
                }
                waiting.iter().sum()
            })
            .collect()
    }
}

impl Prober for Buckets {
    fn saturate(&mut self, number: u32) -> Result<Probe, Stopped> {
        let stored: f64 = self.today().iter().sum();
        Ok(Probe {
            stored_per_s: Known::Value(stored.round() as u64),
            outcome: Outcome::Measured,
            ..Probe::new(number, ProbeKind::Saturation, 80_000)
        })
    }

    fn probe(&mut self, number: u32, rate: f64, longer: bool) -> Result<Probe, Stopped> {
        if number > self.interrupt_after {
            return Err(Stopped::Interrupted);
        }
        let samples = self.backlog(rate);
        let moved = backlog::judge(&samples, 0.05, 2.0, rate);
        let outcome = match moved.as_ref().map(|moved| moved.trend) {
            _ if rate > self.harness => Outcome::HarnessLimited,
            Ok(Trend::Sustained) => Outcome::Holds,
            Ok(Trend::Growing) => Outcome::Fails,
            _ => Outcome::Unknown,
        };
        Ok(Probe {
            outcome,
            extended: longer,
            ..Probe::new(number, ProbeKind::Bisection, rate.round() as u64)
        })
    }
}

#[test]
fn a_token_bucket_is_found_within_five_percent_in_ninety_five_of_a_hundred_searches() {
    for servers in [1, 2] {
        for cv in [0.01, 0.03] {
            let first = search(&mut Buckets::new(0, servers, cv), 12);
            let told: Vec<(u64, Outcome)> = first
                .probes
                .iter()
                .map(|probe| (probe.offered_per_s, probe.outcome))
                .collect();
            let within = (0..100)
                .filter(|seed| {
                    let found = search(&mut Buckets::new(*seed, servers, cv), 12);
                    assert!(found.probes.len() <= 12, "{}", found.probes.len());
                    let Known::Value(knee) = &found.knee else {
                        return false;
                    };
                    (9_500..=10_500).contains(&knee.per_s)
                })
                .count();
            assert!(
                within >= 95,
                "{servers} servers, CV {cv}: {within} of 100; the first: {:?}, {told:?}",
                first.knee
            );
        }
    }
}

/// Why there is no knee; its rates are written as everywhere else.
fn reason(found: &Found) -> &str {
    let reason = found.knee.reason().unwrap();
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let long = reason
        .split_whitespace()
        .find(|word| word.len() > 3 && digits(word.trim_end_matches([',', ':', '.'])));
    assert_eq!(long, None, "{reason}");
    let separated = |three: &[u8]| three[1] == b',' && three[2].is_ascii_digit();
    assert!(reason.as_bytes().windows(3).any(separated), "{reason}");
    reason
}

#[test]
fn a_harness_that_gives_way_first_is_said_and_gives_no_knee() {
    let mut buckets = Buckets {
        harness: 6_000.0,
        ..Buckets::new(1, 1, 0.02)
    };
    let found = search(&mut buckets, 12);
    assert_eq!(found.conclusion, Conclusion::HarnessLimited);
    assert!(reason(&found).contains("harness-limited"));
    assert_eq!(found.conclusion.exit_code().code(), 3);
}

#[test]
fn an_interruption_keeps_what_there_is() {
    let mut buckets = Buckets {
        interrupt_after: 5,
        ..Buckets::new(1, 1, 0.02)
    };
    let found = search(&mut buckets, 12);
    assert_eq!(found.probes.len(), 5);
    assert_eq!(found.stopped, Some(Stopped::Interrupted));
    assert!(
        found
            .knee
            .reason()
            .unwrap()
            .contains("interrupted after 5 probes")
    );
}

/// What comes to the same at every rate.
struct Always(Outcome);

impl Prober for Always {
    fn saturate(&mut self, number: u32) -> Result<Probe, Stopped> {
        Buckets::new(1, 1, 0.01).saturate(number)
    }
    fn probe(&mut self, number: u32, rate: f64, _: bool) -> Result<Probe, Stopped> {
        Ok(Probe {
            outcome: self.0,
            ..Probe::new(number, ProbeKind::Bisection, rate as u64)
        })
    }
}

#[test]
fn objectives_that_never_hold_are_a_missed_objective() {
    let found = search(&mut Always(Outcome::Fails), 12);
    assert_eq!(found.probes.len(), 12);
    assert_eq!(found.conclusion, Conclusion::BelowLowest);
    assert_eq!(found.conclusion.exit_code().code(), 1);
    assert!(reason(&found).contains("the lowest rate that was probed"));
}

#[test]
fn where_every_probe_holds_the_knee_is_above() {
    let found = search(&mut Always(Outcome::Holds), 12);
    assert_eq!(found.conclusion, Conclusion::Unknown);
    assert!(reason(&found).contains("the knee is above"));
}

/// The mean wait before service of single events at a server that takes `service` seconds each, by
/// Lindley's recursion over the instants of the schedule that a run would have.
fn mean_wait(rate: f64, service: f64, events: f64, seed: u64) -> f64 {
    let schedule = Schedule::new(Settings {
        shape: Shape::Poisson { rate },
        duration: Duration::from_secs_f64(events / rate),
        batch: 1,
        connections: 1,
        seed,
    })
    .unwrap();
    let (mut wait, mut before, mut sum, mut count) = (0.0_f64, 0.0, 0.0, 0.0);
    for batch in schedule.iter() {
        let at = batch.intended as f64 / 1e6;
        if count > 0.0 {
            wait = (wait + service - (at - before)).max(0.0);
        }
        before = at;
        sum += wait;
        count += 1.0;
    }
    sum / count
}

/// M/D/1 (Pollaczek and Khinchine, with a constant service time S): mean wait ρ·S ÷ (2·(1 − ρ)).
#[test]
fn single_events_at_random_wait_as_m_d_1_says() {
    let service = 100e-6;
    for (rho, events) in [(0.3, 1e5), (0.6, 1e5), (0.8, 1e5), (0.9, 4e5)] {
        let expected = rho * service / (2.0 * (1.0 - rho));
        let waited = mean_wait(rho / service, service, events, 7);
        let off = waited / expected - 1.0;
        assert!(off.abs() <= 0.1, "ρ {rho}: {waited} instead of {expected}");
    }
}
