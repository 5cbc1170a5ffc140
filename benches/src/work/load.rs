//! A load without a run around it: what the generator itself reports, in histograms.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use flume_bench_loadgen::clock::Clock;
use flume_bench_loadgen::generator::{self, Bodies, Generator, Load};
use flume_bench_loadgen::latency::Latency;
use flume_bench_loadgen::observe::{
    Answer, Answered, FileChange, FileId, Micros, Observer, Read, Sent,
};
use flume_bench_loadgen::payload::{Pool, Settings};
use flume_bench_loadgen::schedule::Schedule;

use super::BODY;
use crate::outcome::BenchError;

/// What a load did.
#[derive(Debug, Default)]
pub struct Watched {
    /// Released − intended, of first attempts.
    pub slip: Latency,
    /// Answer − intended, of what was acked.
    pub response: Latency,
    /// Answer − first byte, of what was acked: what a closed loop would have reported.
    pub service: Latency,
    /// From t0 to the end of the last exchange.
    pub took: Duration,
    /// Whether the pacing thread had real-time priority.
    pub realtime: bool,
}

/// Runs the whole schedule against `generator`, on a clock that starts in a moment.
///
/// # Errors
/// The load failed, or was not all sent and answered.
pub fn run(
    generator: &dyn Generator,
    schedule: Arc<Schedule>,
    grace: Duration,
) -> Result<Watched, BenchError> {
    let clock = Arc::new(Clock::start());
    clock.set_t0(Instant::now() + Duration::from_millis(100));
    run_on(clock, generator, schedule, grace)
}

/// The same on a clock whose t0 is set.
///
/// # Errors
/// As for [`run`].
pub fn run_on(
    clock: Arc<Clock>,
    generator: &dyn Generator,
    schedule: Arc<Schedule>,
    grace: Duration,
) -> Result<Watched, BenchError> {
    let settings = Settings {
        size: BODY,
        ..Settings::default()
    };
    let pool = Pool::new("fixed", &settings, 1).map_err(BenchError::wrong("make the payloads"))?;
    let watch = Arc::new(Watch::default());
    let load = Load {
        schedule,
        bodies: Bodies {
            run: 1,
            pool: Arc::new(pool),
        },
        clock: clock.clone(),
        observer: watch.clone(),
        forwarded: Arc::new(|_| None),
        retry_for: Duration::ZERO,
        call_timeout: Duration::from_secs(10),
    };
    let running =
        generator::start(generator, &load).map_err(BenchError::wrong("start the load"))?;
    let finished = running.finish(grace);
    let took = Duration::from_micros(u64::try_from(clock.now()).unwrap_or(0));
    if let Some(failure) = finished.failure {
        return Err(BenchError::wrong("send the load")(failure));
    }
    let mut seen = watch.seen.lock().unwrap_or_else(PoisonError::into_inner);
    let watched = std::mem::take(&mut *seen);
    Ok(Watched {
        took,
        realtime: finished.realtime,
        ..watched
    })
}

#[derive(Debug, Default)]
struct Watch {
    seen: Mutex<Watched>,
    /// When the attempt left that each producer is busy with; it has one at a time.
    left: Mutex<BTreeMap<u16, Micros>>,
}

impl Observer for Watch {
    fn sent(&self, sent: &Sent) -> io::Result<()> {
        if sent.attempt == 0 {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let (late, count) = (sent.released - sent.batch.intended, sent.batch.count.into());
            seen.slip.record(late, count);
        }
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.insert(sent.batch.producer, sent.first_byte);
        Ok(())
    }

    fn answered(&self, answered: &Answered) -> io::Result<()> {
        if answered.answer == Answer::Acked {
            let (batch, count) = (answered.batch, answered.batch.count.into());
            let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
            let first_byte = left.get(&batch.producer).copied();
            drop(left);
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.response.record(answered.at - batch.intended, count);
            if let Some(first_byte) = first_byte {
                seen.service.record(answered.at - first_byte, count);
            }
        }
        Ok(())
    }

    fn read(&self, _: &Read) -> io::Result<()> {
        Ok(())
    }

    fn file(&self, _: FileId, _: Micros, _: &FileChange) -> io::Result<()> {
        Ok(())
    }

    fn looked(&self, _: Micros, _: Micros) -> io::Result<()> {
        Ok(())
    }

    fn blind(&self, _: Micros, _: Micros, _: &str) -> io::Result<()> {
        Ok(())
    }
}
