//! `file-flume`: is the file channel faster than Apache Flume's?
//!
//! One source thread, one sink thread, transactions of 100, both with a sync for every commit of a
//! put and of a take: what is committed survives a power cut. Both write to the same file system.

use super::{Options, Row};
use crate::guard::Meter;
use crate::outcome::{BenchError, Limit, Outcome};
use crate::pairs::{Arm, Work, compare};
use crate::work::channel;
use crate::work::disk;
use crate::work::java::Flume;

/// The row.
pub(super) static ROW: Row = Row {
    name: "file-flume",
    question: "How fast is the file channel, put and take durable, against Apache Flume's?",
    limit: "≥ 12x Apache Flume",
    is_long: false,
    has_arms: true,
    run,
};

fn run(options: &Options, meter: &mut dyn Meter) -> Result<Outcome, BenchError> {
    use flume_bench_engine::channel::Channel as _;

    let mut outcome = Outcome::new(ROW.name);
    let (ours, theirs) = (options.scratch()?, options.scratch()?);
    disk::note(ours.path(), &mut outcome)?;
    let mut flume = Flume::start("file", theirs.path(), 8)?;
    let file = channel::file(ours.path(), &[])?;
    // The first use of a segment writes it twice; a channel that has been used for a while recycles.
    channel::through(&file, options.time)?;
    let mut ours = || Work::measure(|| channel::through(&file, options.time));
    let mut theirs = || flume.round(options.time);
    let arms = (
        Arm {
            name: "file channel",
            run: &mut ours,
        },
        Arm {
            name: "Flume's FileChannel",
            run: &mut theirs,
        },
    );
    let limit = Limit::AtLeast(12.0);
    compare(&mut outcome, &options.plan(), limit, meter, arms)?;
    file.close();
    Ok(outcome)
}
