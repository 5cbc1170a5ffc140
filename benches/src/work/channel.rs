//! Events put into and taken out of a channel of the engine.
//!
//! Headers are written with every event, though the interceptors that set them would write them
//! once per batch: the naive arm and Flume have them in every event, too.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use flume_bench_engine::channel::file::FileChannel;
use flume_bench_engine::channel::memory::{Limits, MemoryChannel};
use flume_bench_engine::channel::{Channel, Take};
use flume_bench_engine::context::Context;
use flume_bench_engine::event::{Batch, BatchBuilder};
use flume_bench_engine::fs::RealFs;

use super::{BODY, CAPACITY, HEADERS, TRANSACTION, WAIT};
use crate::outcome::BenchError;

/// A memory channel of [`CAPACITY`] events.
#[must_use]
pub fn memory() -> MemoryChannel {
    let limits = Limits {
        capacity: CAPACITY,
        transaction_capacity: TRANSACTION,
        body_bytes: u64::MAX,
        keep_alive: Duration::from_secs(3),
    };
    MemoryChannel::new("c1", limits)
}

/// An open file channel under `directory`, with more settings than its directories, each `key =
/// value`.
///
/// # Errors
/// It could not be opened.
pub fn file(directory: &Path, settings: &[&str]) -> Result<FileChannel, BenchError> {
    let channel = closed_file(directory, settings)?;
    channel
        .open()
        .map_err(BenchError::wrong("open the file channel"))?;
    Ok(channel)
}

/// The same, not opened yet.
///
/// # Errors
/// The settings make no sense.
pub fn closed_file(directory: &Path, settings: &[&str]) -> Result<FileChannel, BenchError> {
    let lines = format!(
        "checkpointDir = {0}/checkpoint\ndataDirs = {0}/data\ncapacity = 10000000\n{1}",
        directory.display(),
        settings.join("\n")
    );
    FileChannel::new(&Context::from_example("c1", &lines), Arc::new(RealFs))
        .map_err(BenchError::wrong("set up the file channel"))
}

/// One batch of so many events, built from scratch.
///
/// # Errors
/// Never: the events fit.
pub fn batch(
    builder: &mut BatchBuilder,
    body: &[u8],
    transaction: usize,
) -> Result<Batch, BenchError> {
    for _ in 0..transaction {
        builder
            .push(HEADERS, body)
            .map_err(BenchError::wrong("build a batch"))?;
    }
    Ok(builder.finish())
}

/// Puts one transaction.
///
/// # Errors
/// The channel refused it.
pub fn put(channel: &dyn Channel, batch: &Batch) -> Result<(), BenchError> {
    let mut put = channel.put().map_err(BenchError::wrong("begin a put"))?;
    put.add(batch.all())
        .map_err(BenchError::wrong("put events"))?;
    put.commit().map_err(BenchError::wrong("commit a put"))
}

/// Takes one transaction of at most so many events, looks at every event of it, commits; answers how many there were.
///
/// # Errors
/// The channel failed, or an event is not what was put.
pub fn take(channel: &dyn Channel, transaction: usize, wait: Duration) -> Result<u64, BenchError> {
    let take = channel
        .take(transaction, wait)
        .map_err(BenchError::wrong("begin a take"))?;
    let events = look(&*take)?;
    take.commit().map_err(BenchError::wrong("commit a take"))?;
    Ok(events)
}

fn look(take: &dyn Take) -> Result<u64, BenchError> {
    let (mut events, mut bytes) = (0, 0);
    for slice in take.slices() {
        for event in slice.iter() {
            events += 1;
            bytes += event.body().len();
        }
    }
    if bytes != events * BODY {
        let why = format!("{events} events have {bytes} bytes");
        return Err(BenchError::Wrong {
            what: "take what was put",
            why,
        });
    }
    Ok(events as u64)
}

/// One thread puts for as long as it is told, one takes, both in transactions of so many events;
/// answers how many events came through. All that was put is taken.
///
/// # Errors
/// The channel failed, or events are missing.
pub fn through(
    channel: &dyn Channel,
    transaction: usize,
    time: Duration,
) -> Result<u64, BenchError> {
    among(channel, 1, transaction, time)
}

/// The same with so many threads on either side.
///
/// # Errors
/// The channel failed, or events are missing.
pub fn among(
    channel: &dyn Channel,
    threads: usize,
    transaction: usize,
    time: Duration,
) -> Result<u64, BenchError> {
    let (put_all, at_work) = (AtomicU64::new(0), AtomicUsize::new(threads));
    let taken = thread::scope(|scope| {
        let sources: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let result = produce(channel, transaction, time, &put_all);
                    at_work.fetch_sub(1, Ordering::Release);
                    result
                })
            })
            .collect();
        let sinks: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| drain(channel, transaction, &at_work)))
            .collect();
        for source in sources {
            joined(source)?;
        }
        sinks.into_iter().map(joined).sum::<Result<u64, _>>()
    })?;
    let put = put_all.load(Ordering::Relaxed);
    if put != taken {
        return Err(BenchError::Wrong {
            what: "take what was put",
            why: format!("{taken} events of {put} came through"),
        });
    }
    Ok(taken)
}

fn joined<T>(thread: ScopedJoinHandle<'_, Result<T, BenchError>>) -> Result<T, BenchError> {
    thread.join().unwrap_or_else(|_| {
        Err(BenchError::Wrong {
            what: "put and take events",
            why: "a thread panicked".to_owned(),
        })
    })
}

/// Takes until no source is at work and nothing is left.
fn drain(
    channel: &dyn Channel,
    transaction: usize,
    at_work: &AtomicUsize,
) -> Result<u64, BenchError> {
    let mut taken = 0;
    loop {
        // Looked at before the take: an empty take after the end means that all is taken.
        let was_over = at_work.load(Ordering::Acquire) == 0;
        let events = take(channel, transaction, WAIT)?;
        taken += events;
        if events == 0 && was_over {
            return Ok(taken);
        }
    }
}

fn produce(
    channel: &dyn Channel,
    transaction: usize,
    time: Duration,
    put_all: &AtomicU64,
) -> Result<(), BenchError> {
    let (mut builder, body) = (BatchBuilder::new(), super::body());
    let deadline = Instant::now() + time;
    while Instant::now() < deadline {
        put(channel, &batch(&mut builder, &body, transaction)?)?;
        put_all.fetch_add(transaction as u64, Ordering::Relaxed);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_put_comes_through_both_channels() {
        let events = through(&memory(), TRANSACTION, Duration::from_millis(20)).unwrap();
        assert!(events >= 100 && events.is_multiple_of(100));
        let directory = tempfile::tempdir().unwrap();
        let channel = file(directory.path(), &["minimumRequiredSpace = 1048576"]).unwrap();
        let events = through(&channel, TRANSACTION, Duration::from_millis(20)).unwrap();
        assert!(events >= 100);
        let events = among(&channel, 4, TRANSACTION, Duration::from_millis(20)).unwrap();
        assert!(events >= 400);
        channel.close();
    }
}
