//! From a source to its channels: interceptors, selector, one put transaction per channel.
//!
//! Required channels are served in the order in which they are listed; the first failure is the
//! answer to the source, and channels that had committed before stay committed. Then each optional
//! channel is tried; its failure is logged and otherwise forgotten. There is no atomicity across
//! channels, as in Flume; but where this processor itself tries again ([`ChannelProcessor::deliver`])
//! it goes on where it stopped and duplicates nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use thiserror::Error;
use tracing::warn;

use crate::channel::{ArcChannel, Channel, ChannelError};
use crate::event::{Batch, Slice, TooLong};
use crate::interceptor::BoxInterceptor;
use crate::metrics::SourceCounters;
use crate::selector::{BoxSelector, Route};
use crate::stop::Stop;

/// Pause between two tries on a full channel whose keep-alive is (almost) nothing.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Why a batch was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProcessError {
    /// A required channel refused it.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// An interceptor's header does not fit into the batch.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// The agent stops, and a required channel was still full.
    #[error("stopped while waiting for room in channel {channel}")]
    Stopped {
        /// The channel's name.
        channel: String,
    },
}

impl ProcessError {
    /// Whether the same batch may be taken later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, ProcessError::Channel(error) if error.is_retryable())
    }
}

/// What a source hands its batches to. Shared by all threads of the source.
#[derive(Debug)]
pub struct ChannelProcessor {
    source: String,
    interceptors: Vec<BoxInterceptor>,
    selector: BoxSelector,
    channels: Vec<ArcChannel>,
    counters: Arc<SourceCounters>,
}

impl ChannelProcessor {
    /// A processor for `source`; the selector's routes are positions in `channels`.
    #[must_use]
    pub fn new(
        source: &str,
        interceptors: Vec<BoxInterceptor>,
        selector: BoxSelector,
        channels: Vec<ArcChannel>,
        counters: Arc<SourceCounters>,
    ) -> Self {
        Self {
            source: source.to_owned(),
            interceptors,
            selector,
            channels,
            counters,
        }
    }

    /// A processor without interceptors that puts everything into all `channels`: for tests.
    #[must_use]
    pub fn replicating(source: &str, channels: Vec<ArcChannel>) -> Self {
        let selector = crate::selector::replicating::all_required(channels.len());
        Self::new(source, Vec::new(), selector, channels, Arc::default())
    }

    /// The source's counters. The processor itself counts events received and accepted and failed
    /// channel writes; calls, connections and read failures are the source's to count.
    #[must_use]
    pub fn counters(&self) -> &Arc<SourceCounters> {
        &self.counters
    }

    /// The source's channels.
    #[must_use]
    pub fn channels(&self) -> &[ArcChannel] {
        &self.channels
    }

    /// The largest batch that [`ChannelProcessor::process`] can place, in events.
    #[must_use]
    pub fn max_batch(&self) -> usize {
        self.channels
            .iter()
            .map(|channel| channel.transaction_capacity())
            .min()
            .unwrap_or(usize::MAX)
    }

    /// Takes responsibility for the batch, or says why not: for sources that answer their client.
    /// Waits for room no longer than the channels' keep-alive.
    ///
    /// # Errors
    /// The first refusal. Channels before the refusing one keep the batch; sent again, it is
    /// duplicated there.
    pub fn process(&self, batch: Batch) -> Result<(), ProcessError> {
        let events = batch.len() as u64;
        self.counters.event_received.fetch_add(events, Relaxed);
        let routes = self.route(batch)?;
        for route in routes.iter().filter(|route| route.required) {
            let channel = self.channels[route.channel].as_ref();
            put(channel, route.events.clone()).inspect_err(|_| self.count_failure())?;
        }
        self.put_optional(&routes);
        self.counters.event_accepted.fetch_add(events, Relaxed);
        Ok(())
    }

    /// Takes responsibility for the batch, waiting for room as long as it takes: for sources that
    /// have nobody to refuse to. Batches larger than a channel's transaction capacity are put in
    /// several transactions.
    ///
    /// # Errors
    /// [`ProcessError::Stopped`] if `stop` is set and there is still no room; else what no waiting
    /// mends. Parts of the batch may have been taken by then.
    pub fn deliver(&self, batch: Batch, stop: &Stop) -> Result<(), ProcessError> {
        let events = batch.len() as u64;
        self.counters.event_received.fetch_add(events, Relaxed);
        let routes = self.route(batch)?;
        for route in routes.iter().filter(|route| route.required) {
            let channel = self.channels[route.channel].as_ref();
            let mut rest = route.events.clone();
            while !rest.is_empty() {
                let part = rest.split_front(channel.transaction_capacity());
                self.put_patiently(channel, part, stop)?;
            }
        }
        self.put_optional(&routes);
        self.counters.event_accepted.fetch_add(events, Relaxed);
        Ok(())
    }

    fn route(&self, mut batch: Batch) -> Result<Vec<Route>, ProcessError> {
        for interceptor in &self.interceptors {
            interceptor.intercept(&mut batch)?;
        }
        // A batch of which nothing is left is a success, and never reaches a channel.
        Ok(if batch.is_empty() {
            Vec::new()
        } else {
            self.selector.select(&batch)
        })
    }

    fn put_patiently(
        &self,
        channel: &dyn Channel,
        part: Slice,
        stop: &Stop,
    ) -> Result<(), ProcessError> {
        let mut tries: u64 = 0;
        loop {
            match put(channel, part.clone()) {
                Err(error) if error.is_retryable() => {
                    self.count_failure();
                    // Once, then ever more rarely: a long outage must not fill the log.
                    if tries.is_power_of_two() || tries == 0 {
                        warn!(source = self.source, %error, tries, "waiting for room");
                    }
                    tries += 1;
                    if stop.is_set() || stop.wait(RETRY_PAUSE) {
                        return Err(ProcessError::Stopped {
                            channel: channel.name().to_owned(),
                        });
                    }
                }
                Err(error) => {
                    self.count_failure();
                    return Err(error.into());
                }
                Ok(()) => return Ok(()),
            }
        }
    }

    fn put_optional(&self, routes: &[Route]) {
        for route in routes.iter().filter(|route| !route.required) {
            let channel = self.channels[route.channel].as_ref();
            if let Err(error) = put(channel, route.events.clone()) {
                warn!(source = self.source, %error, "an optional channel did not take a batch; it is lost there");
            }
        }
    }

    fn count_failure(&self) {
        self.counters.channel_write_fail.fetch_add(1, Relaxed);
    }
}

fn put(channel: &dyn Channel, events: Slice) -> Result<(), ChannelError> {
    let mut put = channel.put()?;
    put.add(events)?;
    put.commit()
}
