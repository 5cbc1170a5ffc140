//! What the tests of sinks share: a memory channel with events in it, and a sink that drains it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{BoxError, BoxSink, Feed, Status};
use crate::channel::{ArcChannel, memory};
use crate::context::Context;
use crate::event::BatchBuilder;
use crate::metrics::SinkCounters;
use crate::stop::Stop;

/// Longest wait for anything that has to happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A memory channel, counters and a stop token.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) channel: ArcChannel,
    pub(crate) counters: Arc<SinkCounters>,
    pub(crate) stop: Stop,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let settings = "capacity = 100000\ntransactionCapacity = 10000\nkeep-alive = 0";
        let channel = (memory::KIND.build)(&Context::from_example("c1", settings)).unwrap();
        channel.open().unwrap();
        Self {
            channel,
            counters: Arc::default(),
            stop: Stop::new(),
        }
    }

    /// Puts events with the header `k` = `v` into the channel.
    pub(crate) fn put<B: AsRef<[u8]>>(&self, bodies: impl IntoIterator<Item = B>) {
        let mut builder = BatchBuilder::new();
        for body in bodies {
            builder.push([("k", "v")], body.as_ref()).unwrap();
        }
        let mut put = self.channel.put().unwrap();
        put.add(builder.finish().all()).unwrap();
        put.commit().unwrap();
    }

    /// Calls the sink once.
    pub(crate) fn process(&self, sink: &mut BoxSink) -> Result<Status, BoxError> {
        let feed = Feed {
            channel: self.channel.as_ref(),
            counters: &self.counters,
            stop: &self.stop,
        };
        sink.process(&feed)
    }

    /// Calls the sink until the channel is empty, errors or not.
    pub(crate) fn drain(&self, sink: &mut BoxSink) {
        let deadline = Instant::now() + DEADLINE;
        while self.channel.fill().events > 0 {
            assert!(Instant::now() < deadline, "{:?}", self.channel.fill());
            let _ = self.process(sink);
        }
    }
}
