//! `null`: takes events and forgets them.
//!
//! | key | default | meaning |
//! |---|---|---|
//! | `batchSize` | 100 | events per transaction |
//! | `logEveryNEvents` | 10000 | a line in the log each time so many events were taken; 0 for none |
//!
//! Guarantees: takes in order, commits each take. It cannot fail. Counts batches and drains under
//! Flume's names, where Flume's own leaves most of them at 0.

use std::sync::atomic::Ordering::Relaxed;

use tracing::info;

use super::{BoxError, BoxSink, Feed, Sink, Status, TAKE_WAIT};
use crate::context::{ConfigError, Context};
use crate::kind::{Form, Key, Kind};

/// The kind `null`.
pub static KIND: Kind<BoxSink> = Kind {
    name: "null",
    classes: &["org.apache.flume.sink.NullSink"],
    summary: "Take events and forget them.",
    keys: &[
        Key::or(
            "batchSize",
            Form::POSITIVE,
            "100",
            "Events per transaction.",
        ),
        Key::or(
            "logEveryNEvents",
            Form::COUNT,
            "10000",
            "Events between two lines in the log.",
        ),
    ],
    batch_key: Some("batchSize"),
    example: "type = null",
    build,
};

fn build(ctx: &Context) -> Result<BoxSink, ConfigError> {
    Ok(Box::new(Null {
        name: ctx.name().to_owned(),
        batch_size: ctx.number("batchSize", 100)?,
        log_every: ctx.number("logEveryNEvents", 10_000)?,
        taken: 0,
    }))
}

#[derive(Debug)]
struct Null {
    name: String,
    batch_size: usize,
    log_every: u64,
    taken: u64,
}

impl Sink for Null {
    fn open(&mut self) -> Result<(), BoxError> {
        Ok(())
    }

    fn process(&mut self, feed: &Feed<'_>) -> Result<Status, BoxError> {
        let take = feed.channel.take(self.batch_size, TAKE_WAIT)?;
        let events = take.len();
        feed.counters.batch(events, self.batch_size);
        feed.counters
            .event_drain_attempt
            .fetch_add(events as u64, Relaxed);
        take.commit()?;
        if events == 0 {
            return Ok(Status::Backoff);
        }
        feed.counters
            .event_drain_success
            .fetch_add(events as u64, Relaxed);
        let before = self.taken;
        self.taken += events as u64;
        if self.log_every > 0 && before / self.log_every < self.taken / self.log_every {
            info!(sink = self.name, events = self.taken, "taken so far");
        }
        Ok(Status::Ready)
    }

    fn close(&mut self) -> Result<(), BoxError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::conformance::batch;
    use crate::channel::memory;
    use crate::metrics::SinkCounters;
    use crate::stop::Stop;

    #[test]
    fn takes_everything_and_counts_it() {
        let channel = (memory::KIND.build)(&Context::from_example("c1", "")).unwrap();
        let mut put = channel.put().unwrap();
        put.add(batch(0..25).all()).unwrap();
        put.commit().unwrap();
        let mut sink = build(&Context::from_example("k1", "batchSize = 10")).unwrap();
        let (counters, stop) = (SinkCounters::default(), Stop::new());
        let feed = Feed {
            channel: channel.as_ref(),
            counters: &counters,
            stop: &stop,
        };
        for _ in 0..3 {
            assert_eq!(sink.process(&feed).unwrap(), Status::Ready);
        }
        assert_eq!(sink.process(&feed).unwrap(), Status::Backoff);
        assert_eq!(channel.fill().events, 0);
        let seen: Vec<u64> = [
            &counters.batch_complete,
            &counters.batch_underflow,
            &counters.batch_empty,
            &counters.event_drain_success,
        ]
        .map(|counter| counter.load(Relaxed))
        .into();
        assert_eq!(seen, [2, 1, 1, 25]);
    }
}
