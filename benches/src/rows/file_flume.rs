//! `file-flume`: is the file channel faster than Apache Flume's, in transactions of 100?
//!
//! One source thread, one sink thread, both with a sync for every commit of a put and of a take: what
//! is committed survives a power cut. Both write to the same file system.
//!
//! With transactions so small the disk decides: a put and a take that share *one* sync cannot be
//! faster than a loop of one write of their bytes and one fdatasync. Where Flume is bound by its CPU
//! time per event and the disk is quick, that loop itself is hardly 12 times as fast as Flume;
//! `file-flume-1000` is the row in which the channels decide.

use std::path::Path;
use std::time::Instant;

use flume_bench_engine::event::BatchBuilder;

use super::{Options, Row};
use crate::guard::Meter;
use crate::outcome::{BenchError, Limit, Outcome};
use crate::pairs::{Arm, Work, compare};
use crate::work::disk::{self, Bare};
use crate::work::java::Flume;
use crate::work::{TRANSACTION, body, channel};

/// The row.
pub(super) static ROW: Row = Row {
    name: "file-flume",
    question: "How fast is the file channel, put and take durable, against Apache Flume's, in transactions of 100?",
    limit: "≥ 6x Apache Flume",
    is_long: false,
    has_arms: true,
    run,
};

/// Size of the bare loop's file: that of the channel's segments.
const BARE: u64 = 16 << 20;

fn run(options: &Options, meter: &mut dyn Meter) -> Result<Outcome, BenchError> {
    side_by_side(&ROW, 1, TRANSACTION, Limit::AtLeast(6.0), options, meter)
}

/// Both channels with so many sources, as many sinks, in transactions of so many events.
pub(super) fn side_by_side(
    row: &'static Row,
    threads: usize,
    transaction: usize,
    limit: Limit,
    options: &Options,
    meter: &mut dyn Meter,
) -> Result<Outcome, BenchError> {
    use flume_bench_engine::channel::Channel as _;

    let mut outcome = Outcome::new(row.name);
    let (scratch, theirs) = (options.scratch()?, options.scratch()?);
    let directory = scratch.path().to_owned();
    disk::note(&directory, &mut outcome)?;
    let mut flume = Flume::start("file", threads, transaction, theirs.path(), 8)?;
    let file = channel::file(&directory, &[])?;
    // The first use of a segment writes it twice; a channel that has been used for a while recycles.
    channel::among(&file, threads, transaction, options.time)?;
    let mut ours = || Work::measure(|| channel::among(&file, threads, transaction, options.time));
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
    if threads == 1 {
        note_ceiling(transaction, options, &directory, &mut outcome)?;
    }
    Ok(outcome)
}

/// What no channel can exceed whose puts and takes are durable one after the other: a loop of one
/// write of both records and one fdatasync.
fn note_ceiling(
    transaction: usize,
    options: &Options,
    directory: &Path,
    outcome: &mut Outcome,
) -> Result<(), BenchError> {
    let (mut builder, body) = (BatchBuilder::new(), body());
    let batch = channel::batch(&mut builder, &body, transaction)?;
    let mut bare = Bare::create(&directory.join("bare"), BARE)?;
    let (start, mut commits) = (Instant::now(), 0_u32);
    while start.elapsed() < options.time {
        bare.commit(batch.as_bytes())?;
        commits += 1;
    }
    let events = f64::from(commits) * transaction as f64;
    outcome.notes.push(format!(
        "one write and one fdatasync for a put and its take would carry {:.0} k events/s here",
        events / start.elapsed().as_secs_f64() / 1e3
    ));
    Ok(())
}
