//! `gen-pace`: does the generator send when its schedule says?
//!
//! 100,000 events/s of 512 bytes in batches of 100, lines over one connection to a peer that throws
//! them away. Slip is the time from the instant the schedule wants to the release of the batch by
//! the pacing thread. A generator that does not offer the whole rate has no slip worth looking at,
//! so that is a limit too.

use std::sync::Arc;
use std::time::Duration;

use flume_bench_loadgen::generator::discard::Discard;
use flume_bench_loadgen::generator::netcat::{Config, Netcat};
use flume_bench_loadgen::schedule::{Schedule, Settings, Shape};

use super::{Options, Row};
use crate::guard::Meter;
use crate::outcome::{BenchError, Limit, Outcome};
use crate::pairs::undisturbed;
use crate::work::load;

/// The row.
pub(super) static ROW: Row = Row {
    name: "gen-pace",
    question: "How late is the generator at 100,000 events/s into a socket that discards?",
    limit: "slip p99 ≤ 100 µs; achieved ÷ offered 1.000 ± 0.001",
    is_long: false,
    has_arms: false,
    run,
};

const RATE: f64 = 100_000.0;
const TRIES: usize = 3;

fn run(options: &Options, meter: &mut dyn Meter) -> Result<Outcome, BenchError> {
    let mut outcome = Outcome::new(ROW.name);
    // Ten times what an arm works: five seconds, or twenty.
    let duration = options.time * 10;
    let schedule = Schedule::new(Settings {
        shape: Shape::Constant { rate: RATE },
        duration,
        batch: 100,
        connections: 1,
        seed: 1,
    });
    let schedule = Arc::new(schedule.map_err(BenchError::wrong("plan the load"))?);
    let (seen, disturbance, repeated) = undisturbed(TRIES, meter, || {
        let peer = Discard::start().map_err(BenchError::system("start the peer"))?;
        let generator = Netcat::new(Config {
            address: peer.address(),
            ack_every_event: false,
        });
        load::run(&generator, schedule.clone(), Duration::from_secs(10))
    })?;
    let Some(p99) = seen.slip.quantile(0.99) else {
        outcome.void.push("too few batches for a p99".to_owned());
        return Ok(outcome);
    };
    let most = Limit::AtMost(100.0);
    outcome.check_despite("slip p99", p99 as f64, "µs", most, disturbance);
    let achieved = seen.slip.len() as f64 / schedule.total() as f64;
    let whole = Limit::Within(1.0, 0.001);
    outcome.check_despite("achieved ÷ offered", achieved, "", whole, disturbance);
    let took = seen.took.as_secs_f64() / duration.as_secs_f64();
    outcome.check_despite(
        "time taken ÷ planned",
        took,
        "",
        Limit::Within(1.0, 0.01),
        disturbance,
    );
    let figure = |q| seen.slip.quantile_unchecked(q).unwrap_or(0);
    outcome.notes.push(format!(
        "slip p50 {} µs, p99.9 {} µs, highest {} µs; real-time priority {}; {repeated} repeated by the guard",
        figure(0.5),
        figure(0.999),
        seen.slip.max().unwrap_or(0),
        if seen.realtime { "granted" } else { "refused" }
    ));
    Ok(outcome)
}
