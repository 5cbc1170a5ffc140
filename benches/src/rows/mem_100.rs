//! `mem-100`: what does one buffer per batch gain over a map and a vector per event?
//!
//! Both arms: one source thread, one sink thread, transactions of 100 events of 512 bytes with two
//! headers, 10,000 events of capacity, on the system's malloc (this program sets no allocator; the
//! program `flume-bench` itself uses mimalloc). The naive arm is void below 0.6 million events/s on
//! two cores: it is then slower than what it stands for, and beating it proves nothing.

use super::{Options, Row};
use crate::guard::{Disturbance, Meter};
use crate::outcome::{BenchError, Limit, Outcome};
use crate::pairs::{Arm, Work, compare};
use crate::work::{TRANSACTION, channel, naive};

/// The row.
pub(super) static ROW: Row = Row {
    name: "mem-100",
    question: "How fast is the memory channel against events made of a map and a vector?",
    limit: "≥ 12x the naive arm (void if that is below 0.6 M events/s); ≤ 120 CPU-ns per event",
    is_long: false,
    has_arms: true,
    run,
};

/// What the naive arm must reach for the row to count, in events per second.
const NAIVE_LEAST: f64 = 600_000.0;

fn run(options: &Options, meter: &mut dyn Meter) -> Result<Outcome, BenchError> {
    let mut outcome = Outcome::new(ROW.name);
    let memory = channel::memory();
    let mut ours = || Work::measure(|| channel::through(&memory, TRANSACTION, options.time));
    let mut naive = || Work::measure(|| naive::through(options.time));
    let arms = (
        Arm {
            name: "memory channel",
            run: &mut ours,
        },
        Arm {
            name: "naive queue",
            run: &mut naive,
        },
    );
    let limit = Limit::AtLeast(12.0);
    compare(&mut outcome, &options.plan(), limit, meter, arms)?;
    outcome
        .notes
        .push("both arms on the system's malloc".to_owned());
    if let [ours, naive] = outcome.arms.as_slice() {
        let (cpu, rate) = (ours.cpu_ns.median, naive.per_second.median);
        let worst = outcome
            .pairs
            .as_ref()
            .map_or(Disturbance::default(), |pairs| pairs.worst);
        let most = Limit::AtMost(120.0);
        outcome.check_despite("CPU time", cpu, "CPU-ns/event", most, worst);
        if rate < NAIVE_LEAST {
            outcome.void.push(format!(
                "the naive arm made {:.2} M events/s; below {:.1} M it is no measure",
                rate / 1e6,
                NAIVE_LEAST / 1e6
            ));
        }
    }
    Ok(outcome)
}
