//! `file-replay`: how long does a start take with a log of 1 GiB?
//!
//! The log is what a killed agent leaves at worst: half of the events are taken, but not the oldest
//! ones, which a sink still holds, so that no segment is done with; and there is no checkpoint, which
//! is removed before every start.
//! The other arm reads the same files from end to end, a megabyte at a time, and computes their
//! CRC32C. Both find the files in the page cache. Each start is of a process that was killed, so
//! nothing is put in order between two of them but what a start itself puts in order.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flume_bench_engine::channel::Channel;
use flume_bench_engine::event::BatchBuilder;

use super::{Options, Row};
use crate::guard::Meter;
use crate::outcome::{BenchError, Limit, Outcome};
use crate::pairs::{Arm, Plan, Ratio, Work, compare};
use crate::work::{TRANSACTION, body, channel};

/// The row.
pub(super) static ROW: Row = Row {
    name: "file-replay",
    question: "How long does a restart with a log of 1 GiB take, against reading and checksumming it?",
    limit: "≤ 2x reading and checksumming the same bytes",
    is_long: true,
    has_arms: true,
    run,
};

/// Bytes of log.
const LOG: u64 = 1 << 30;

/// No checkpoint ever, and no wait for the disk while the log is made.
const KILLED: [&str; 3] = [
    "checkpointOnClose = false",
    "checkpointInterval = 86400000",
    "fsyncPerTransaction = false",
];

fn run(options: &Options, meter: &mut dyn Meter) -> Result<Outcome, BenchError> {
    let mut outcome = Outcome::new(ROW.name);
    let directory = options.scratch()?;
    let log = options.part_of(LOG, 1 << 20, &mut outcome);
    let left = fill(directory.path(), log)?;
    let files = files(&directory.path().join("data"))?;
    let bytes = read(&files)?;
    let mut open = || {
        forget(directory.path())?;
        let file = channel::closed_file(directory.path(), &KILLED)?;
        let work = Work::measure(|| {
            file.open()
                .map_err(BenchError::wrong("open the file channel"))?;
            Ok(bytes)
        })?;
        let events = file.fill().events;
        file.close();
        if events == left {
            return Ok(work);
        }
        Err(BenchError::Wrong {
            what: "replay the log",
            why: format!("{events} events of {left} are there"),
        })
    };
    let mut checksum = || Work::measure(|| read(&files));
    let arms = (
        Arm {
            name: "restart",
            run: &mut open,
        },
        Arm {
            name: "read and checksum",
            run: &mut checksum,
        },
    );
    let plan = Plan {
        ratio: Ratio::Times,
        unit: "bytes",
        ..options.plan()
    };
    compare(&mut outcome, &plan, Limit::AtMost(2.0), meter, arms)?;
    outcome.notes.push(format!(
        "{} MiB in {} files, {left} events left in them",
        bytes >> 20,
        files.len()
    ));
    Ok(outcome)
}

/// Puts `log` bytes of events and takes every second transaction but the first; answers how many
/// events are left.
fn fill(directory: &Path, log: u64) -> Result<u64, BenchError> {
    let file = channel::file(directory, &KILLED)?;
    let (mut builder, body) = (BatchBuilder::new(), body());
    let (mut written, mut left) = (0, TRANSACTION as u64);
    channel::put(&file, &channel::batch(&mut builder, &body, TRANSACTION)?)?;
    let held = file
        .take(TRANSACTION, Duration::ZERO)
        .map_err(BenchError::wrong("take the oldest events"))?;
    while written < log {
        for _ in 0..2 {
            let batch = channel::batch(&mut builder, &body, TRANSACTION)?;
            written += batch.as_bytes().len() as u64;
            channel::put(&file, &batch)?;
            left += TRANSACTION as u64;
        }
        left -= channel::take(&file, TRANSACTION, Duration::ZERO)?;
    }
    drop(held);
    file.close();
    Ok(left)
}

/// Removes the checkpoint.
fn forget(directory: &Path) -> Result<(), BenchError> {
    let path = directory.join("checkpoint/checkpoint");
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(BenchError::file("remove", &path)(error))
        }
        _ => Ok(()),
    }
}

/// The files of the log, without its lock.
fn files(directory: &Path) -> Result<Vec<PathBuf>, BenchError> {
    let entries = std::fs::read_dir(directory).map_err(BenchError::file("list", directory))?;
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with("segment-"))
        })
        .collect();
    files.sort();
    Ok(files)
}

/// Reads and checksums all files; answers how many bytes they have.
fn read(files: &[PathBuf]) -> Result<u64, BenchError> {
    let (mut buffer, mut bytes, mut crc) = (vec![0; 1 << 20], 0, 0);
    for path in files {
        let mut file = File::open(path).map_err(BenchError::file("open", path))?;
        loop {
            let count = file
                .read(&mut buffer)
                .map_err(BenchError::file("read", path))?;
            if count == 0 {
                break;
            }
            bytes += count as u64;
            crc = crc32c::crc32c_append(crc, buffer.get(..count).unwrap_or_default());
        }
    }
    std::hint::black_box(crc);
    Ok(bytes)
}
