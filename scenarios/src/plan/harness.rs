//! What the harness itself uses of the machine while a probe runs.
//!
//! CPU time of this process (generator, proxies, receiver, ledger), read every 200 ms, and of that
//! the busiest stretch as long as the load: what comes before and after a load, making payloads or
//! judging, is not held against it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

/// Above this share of all cores, in millionths, a probe that does not hold says nothing about the
/// system.
pub const LIMIT_PPM: u64 = 500_000;
/// Time between two readings.
const PERIOD: Duration = Duration::from_millis(200);

/// A reading: when, and CPU time so far.
type Reading = (Instant, Duration);

/// Reads until it is asked.
#[derive(Debug)]
pub struct Harness {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Reading>>>,
}

impl Harness {
    /// Starts reading; where no thread can be had, nothing will be known.
    pub fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("harness-cpu".into())
            .spawn(move || {
                let mut readings = Vec::new();
                while !stopped.load(Ordering::Relaxed) {
                    readings.extend(used().map(|used| (Instant::now(), used)));
                    std::thread::sleep(PERIOD);
                }
                readings.extend(used().map(|used| (Instant::now(), used)));
                readings
            })
            .ok();
        Self { stop, thread }
    }

    /// Millionths of all cores in the busiest stretch of `length`; `None` where it was not read for
    /// so long.
    pub fn busiest_ppm(mut self, length: Duration) -> Option<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let readings = self.thread.take()?.join().ok()?;
        let cores = std::thread::available_parallelism().ok()?.get() as f64;
        busiest(&readings, length).map(|share| (share / cores * 1e6) as u64)
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// CPU time of this process so far, without its children.
fn used() -> Option<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let of = |time: nix::sys::time::TimeVal| {
        Duration::from_secs(time.tv_sec() as u64) + Duration::from_micros(time.tv_usec() as u64)
    };
    Some(of(usage.user_time()) + of(usage.system_time()))
}

/// Cores used in the busiest stretch of at least `length`.
fn busiest(readings: &[Reading], length: Duration) -> Option<f64> {
    let mut from = readings.iter().peekable();
    let mut most: Option<f64> = None;
    for (at, used) in readings {
        // The latest reading that lies at least `length` before this one.
        let mut begin = None;
        while let Some(reading) = from.peek() {
            if at.duration_since(reading.0) < length {
                break;
            }
            begin = from.next();
        }
        if let Some((since, before)) = begin {
            let share = (*used - *before).as_secs_f64() / at.duration_since(*since).as_secs_f64();
            most = Some(most.map_or(share, |most| most.max(share)));
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_stretch_is_found() {
        let t0 = Instant::now();
        // A tenth of a core, then two seconds of 1.5 cores, then a tenth.
        let mut used = Duration::ZERO;
        let readings: Vec<Reading> = (0..50)
            .map(|i| {
                let reading = (t0 + PERIOD * i, used);
                used += PERIOD.mul_f64(if (20..30).contains(&i) { 1.5 } else { 0.1 });
                reading
            })
            .collect();
        let two = busiest(&readings, Duration::from_secs(2)).unwrap();
        assert!((two - 1.5).abs() < 1e-6, "{two}");
        let four = busiest(&readings, Duration::from_secs(4)).unwrap();
        assert!((four - 0.8).abs() < 1e-6, "{four}");
        assert_eq!(busiest(&readings, Duration::from_secs(60)), None);
    }

    #[test]
    fn a_thread_that_spins_is_seen() {
        let harness = Harness::start();
        let until = Instant::now() + Duration::from_millis(900);
        let mut sum = 0_u64;
        while Instant::now() < until {
            sum = sum.wrapping_add(std::hint::black_box(1));
        }
        let ppm = harness.busiest_ppm(Duration::from_millis(400)).unwrap();
        assert!(ppm > 0 && sum > 0, "{ppm}");
    }
}
