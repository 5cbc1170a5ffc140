//! `gen-omission`: does a stall show in the percentiles in full?
//!
//! A server that answers at once, but does nothing for the first 200 ms of every second. Events
//! that are due evenly over the second then wait for what is left of the stall: the response time
//! exceeds r ms for a part 0.2 − r ÷ 1000 of them, so the quantile q is (q − 0.8) × 1000 ms for
//! q > 0.8. A tester that waits for an answer before it sends again would have sent nothing during
//! the stall, and reported a service time; the row shows that figure beside.
//!
//! Batches are due 96.618 times a second: few enough that the backlog of a stall takes no time
//! worth a percent, and in such a ratio to the second that they fall evenly on all its parts.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use flume_bench_loadgen::clock::Clock;
use flume_bench_loadgen::generator::netcat::{Config, Netcat};
use flume_bench_loadgen::observe::Micros;
use flume_bench_loadgen::schedule::{Schedule, Settings, Shape};

use super::{Options, Row};
use crate::guard::Meter;
use crate::outcome::{BenchError, Limit, Outcome};
use crate::pairs::undisturbed;
use crate::work::load::{self, Watched};

/// The row.
pub(super) static ROW: Row = Row {
    name: "gen-omission",
    question: "Do the percentiles show a stall of 200 ms each second in full?",
    limit: "p90, p95, p99, p99.9 within 1 % of the closed form",
    is_long: false,
    has_arms: false,
    run,
};

const SECOND: Micros = 1_000_000;
const STALL: Micros = 200_000;
const BATCH: u32 = 10;
const BATCHES_PER_SECOND: f64 = 96.618;
const TRIES: usize = 3;

fn run(options: &Options, meter: &mut dyn Meter) -> Result<Outcome, BenchError> {
    let mut outcome = Outcome::new(ROW.name);
    // Whole seconds: 20, or 80. Fewer have too few instants in a stall for a percent.
    let seconds = (options.time.as_millis() as u64 / 25).max(2);
    let schedule = Schedule::new(Settings {
        shape: Shape::Constant {
            rate: BATCHES_PER_SECOND * f64::from(BATCH),
        },
        duration: Duration::from_secs(seconds),
        batch: BATCH,
        connections: 4,
        seed: 1,
    });
    let schedule = Arc::new(schedule.map_err(BenchError::wrong("plan the load"))?);
    let (seen, disturbance, repeated) = undisturbed(TRIES, meter, || measure(&schedule))?;
    for (name, q) in [("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p99.9", 0.999)] {
        let Some(micros) = seen.response.quantile(q) else {
            outcome.void.push(format!("too few events for {name}"));
            continue;
        };
        let ratio = micros as f64 / closed_form(q);
        let what = format!("{name} ÷ closed form");
        outcome.check_despite(&what, ratio, "", Limit::Within(1.0, 0.01), disturbance);
    }
    let closed = seen.service.quantile_unchecked(0.9).unwrap_or(0);
    outcome.notes.push(format!(
        "service p90 {closed} µs: what a tester that omits would call the response; \
         {repeated} repeated by the guard"
    ));
    Ok(outcome)
}

/// The quantile q of the response time in µs, for q > 0.8.
fn closed_form(q: f64) -> f64 {
    (q - 1.0) * SECOND as f64 + STALL as f64
}

fn measure(schedule: &Arc<Schedule>) -> Result<Watched, BenchError> {
    let clock = Arc::new(Clock::start());
    clock.set_t0(Instant::now() + Duration::from_millis(100));
    let server = Server::start(&clock)?;
    let generator = Netcat::new(Config {
        address: server.address,
        ack_every_event: true,
    });
    load::run_on(clock, &generator, schedule.clone(), Duration::from_secs(10))
}

/// A server that speaks Flume's netcat, and stalls. Dropping it ends it.
#[derive(Debug)]
struct Server {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    listener: Option<JoinHandle<()>>,
}

impl Server {
    fn start(clock: &Arc<Clock>) -> Result<Server, BenchError> {
        let start = || {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let address = listener.local_addr()?;
            let over = Arc::new(AtomicBool::new(false));
            let (clock, ends) = (clock.clone(), over.clone());
            let thread = thread::Builder::new()
                .name("stalling".to_owned())
                .spawn(move || accept(&listener, &clock, &ends))?;
            Ok(Server {
                address,
                over,
                listener: Some(thread),
            })
        };
        start().map_err(BenchError::system("start the stalling server"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // A connection of our own wakes the thread up that waits for one.
        let woken = TcpStream::connect_timeout(&self.address, Duration::from_secs(1)).is_ok();
        if let Some(listener) = self.listener.take().filter(|_| woken) {
            // Nothing in that thread panics, and nobody would be left to tell.
            let _ = listener.join();
        }
    }
}

/// Serves until it is over. The connections end when the generator closes them.
fn accept(listener: &TcpListener, clock: &Arc<Clock>, over: &AtomicBool) {
    let mut threads = Vec::new();
    for stream in listener.incoming() {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let clock = clock.clone();
        threads.extend(stream.map(|stream| thread::spawn(move || serve(stream, &clock))));
    }
    for thread in threads {
        let _ = thread.join();
    }
}

fn serve(mut stream: TcpStream, clock: &Clock) {
    let mut buffer = vec![0; 64 << 10];
    let _ = stream.set_nodelay(true);
    while let Ok(count) = stream.read(&mut buffer) {
        let bytes = buffer.get(..count).unwrap_or_default();
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
        if count == 0 {
            return;
        }
        let now = clock.now();
        if now >= 0 && now % SECOND < STALL {
            clock.sleep_until(now - now % SECOND + STALL);
        }
        if stream.write_all("OK\n".repeat(lines).as_bytes()).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closed_form_is_what_an_even_schedule_gives() {
        // One event for each of 100,000 instants of the second.
        let mut waits: Vec<f64> = (0..100_000)
            .map(|at| (200_000.0 - f64::from(at) * 10.0).max(0.0))
            .collect();
        waits.sort_by(f64::total_cmp);
        for q in [0.9, 0.95, 0.99, 0.999] {
            let wait = waits[(q * 100_000.0) as usize];
            assert!((wait - closed_form(q)).abs() < 20.0, "{q}: {wait}");
        }
    }
}
