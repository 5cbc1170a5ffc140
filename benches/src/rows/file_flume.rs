//! `file-flume`: is the file channel faster than Apache Flume's, in transactions of 100?
//!
//! One source thread, one sink thread, both with a sync for every commit of a put and of a take: what
//! is committed survives a power cut. Both write to the same file system.
//!
//! With transactions so small the disk decides: a put and a take that share *one* sync cannot be
//! faster than a loop of one write of their bytes and one fdatasync. Where Flume is bound by its CPU
//! time per event and the disk is quick, that loop itself is hardly 12 times as fast as Flume;
//! `file-flume-1000` is the row in which the channels decide.

use super::{Options, Row};
use crate::guard::Meter;
use crate::outcome::{BenchError, Limit, Outcome};
use crate::pairs::{Arm, Work, compare};
use crate::work::TRANSACTION;
use crate::work::channel;
use crate::work::disk;
use crate::work::java::Flume;

/// The row.
pub(super) static ROW: Row = Row {
    name: "file-flume",
    question: "How fast is the file channel, put and take durable, against Apache Flume's, in transactions of 100?",
    limit: "≥ 6x Apache Flume",
    is_long: false,
    has_arms: true,
    run,
};

fn run(options: &Options, meter: &mut dyn Meter) -> Result<Outcome, BenchError> {
    side_by_side(ROW.name, TRANSACTION, Limit::AtLeast(6.0), options, meter)
}

/// Both channels in transactions of so many events.
pub(super) fn side_by_side(
    row: &'static str,
    transaction: usize,
    limit: Limit,
    options: &Options,
    meter: &mut dyn Meter,
) -> Result<Outcome, BenchError> {
    use flume_bench_engine::channel::Channel as _;

    let mut outcome = Outcome::new(row);
    let (ours, theirs) = (options.scratch()?, options.scratch()?);
    disk::note(ours.path(), &mut outcome)?;
    let mut flume = Flume::start("file", transaction, theirs.path(), 8)?;
    let file = channel::file(ours.path(), &[])?;
    // The first use of a segment writes it twice; a channel that has been used for a while recycles.
    channel::through(&file, transaction, options.time)?;
    let mut ours = || Work::measure(|| channel::through(&file, transaction, options.time));
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
    compare(&mut outcome, &options.plan(), limit, meter, arms)?;
    file.close();
    Ok(outcome)
}
