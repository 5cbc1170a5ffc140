//! `file-100`: how near is the file channel to what the disk can do at all?
//!
//! Both arms: one thread, by turns a put of 100 events and a take of 100, each committed durably.
//! The bare loop writes and syncs the same bytes as the channel: the record of the put, fdatasync,
//! the record of the take, fdatasync; in blocks of a file that have been written before, as the
//! channel's recycled segments have. It builds no events, computes no checksum and can read
//! nothing back.

use std::time::{Duration, Instant};

use flume_bench_engine::channel::Channel;
use flume_bench_engine::event::BatchBuilder;

use super::{Options, Row};
use crate::guard::Meter;
use crate::outcome::{BenchError, Limit, Outcome};
use crate::pairs::{Arm, Work, compare};
use crate::work::disk::{self, Bare};
use crate::work::{TRANSACTION, body, channel};

/// The row.
pub(super) static ROW: Row = Row {
    name: "file-100",
    question: "How near is the file channel to a bare loop of writes and syncs of the same bytes?",
    limit: "≥ 0.8x the bare loop of pwrite + two fdatasync",
    is_long: false,
    has_arms: true,
    run,
};

/// Size of the bare loop's file: that of the channel's segments.
const FILE: u64 = 16 << 20;
/// Header and padding of a put's record around its batch: 48 bytes, the number of batches, one
/// size. See the format in the documentation of the engine's file channel.
const AROUND_PUT: usize = 48 + 4 + 4;
/// A take's record: its header and one range.
const TAKE: usize = 48 + 16;

fn run(options: &Options, meter: &mut dyn Meter) -> Result<Outcome, BenchError> {
    let mut outcome = Outcome::new(ROW.name);
    let directory = options.scratch()?;
    disk::note(directory.path(), &mut outcome)?;
    let file = channel::file(directory.path(), &[])?;
    let (mut builder, body) = (BatchBuilder::new(), body());
    let put = (channel::batch(&mut builder, &body, TRANSACTION)?
        .as_bytes()
        .len()
        + AROUND_PUT)
        .next_multiple_of(8);
    let record: Vec<u8> = body.iter().copied().cycle().take(put).collect();
    let mut bare = Bare::create(&directory.path().join("bare"), FILE)?;
    let mut channel_turn = || {
        channel::put(&file, &channel::batch(&mut builder, &body, TRANSACTION)?)?;
        channel::take(&file, TRANSACTION, Duration::ZERO)
    };
    let mut bare_turn = || {
        bare.commit(&record)?;
        bare.commit(&record[..TAKE])?;
        Ok(TRANSACTION as u64)
    };
    // So that the channel works on segments it has used before, as it does in every life but the
    // first seconds.
    turns(options.time, &mut channel_turn)?;
    let mut ours = || Work::measure(|| turns(options.time, &mut channel_turn));
    let mut theirs = || Work::measure(|| turns(options.time, &mut bare_turn));
    let arms = (
        Arm {
            name: "file channel",
            run: &mut ours,
        },
        Arm {
            name: "bare loop",
            run: &mut theirs,
        },
    );
    let limit = Limit::AtLeast(0.8);
    compare(&mut outcome, &options.plan(), limit, meter, arms)?;
    file.close();
    Ok(outcome)
}

/// Repeats a turn for so long; answers how many events went through.
fn turns(
    time: Duration,
    turn: &mut dyn FnMut() -> Result<u64, BenchError>,
) -> Result<u64, BenchError> {
    let deadline = Instant::now() + time;
    let mut events = 0;
    while Instant::now() < deadline {
        events += turn()?;
    }
    Ok(events)
}
