//! `mem-flume`: is the memory channel faster than Apache Flume's?
//!
//! The work of `mem-100` on both sides; Flume's in a JVM that is warmed up for four seconds first.
//! The CPU time of the JVM includes its garbage collector and compiler.

use super::{Options, Row};
use crate::guard::Meter;
use crate::outcome::{BenchError, Limit, Outcome};
use crate::pairs::{Arm, Work, compare};
use crate::work::java::Flume;
use crate::work::{TRANSACTION, channel};

/// The row.
pub(super) static ROW: Row = Row {
    name: "mem-flume",
    question: "How fast is the memory channel against Apache Flume's?",
    limit: "≥ 2x Apache Flume",
    is_long: false,
    has_arms: true,
    run,
};

fn run(options: &Options, meter: &mut dyn Meter) -> Result<Outcome, BenchError> {
    let mut outcome = Outcome::new(ROW.name);
    let directory = options.scratch()?;
    let mut flume = Flume::start("memory", 1, TRANSACTION, directory.path(), 8)?;
    let memory = channel::memory();
    let mut ours = || Work::measure(|| channel::through(&memory, TRANSACTION, options.time));
    let mut theirs = || flume.round(options.time);
    let arms = (
        Arm {
            name: "memory channel",
            run: &mut ours,
        },
        Arm {
            name: "Flume's MemoryChannel",
            run: &mut theirs,
        },
    );
    let limit = Limit::AtLeast(2.0);
    compare(&mut outcome, &options.plan(), limit, meter, arms)?;
    Ok(outcome)
}
