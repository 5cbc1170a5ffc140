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
use crate::defect::{self, Defect};
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
                    if Defect::GivesUpWhenFull.is_planted() {
                        return Ok(());
                    }
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
    for (defect, percent) in [(Defect::Burn5, 5), (Defect::Burn30, 30)] {
        if defect.is_planted() {
            defect::burn(percent);
        }
    }
    let mut put = channel.put()?;
    if Defect::LoseOneIn100000.is_planted() {
        for part in defect::without_the_lost(&events, 100_000) {
            put.add(part)?;
        }
    } else {
        put.add(events)?;
    }
    put.commit()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::memory::{Limits, MemoryChannel};
    use crate::context::Context;
    use crate::event::BatchBuilder;
    use crate::kind::Kind;

    fn channel(name: &str, capacity: usize) -> Arc<MemoryChannel> {
        let keep_alive = Duration::from_millis(2);
        let transaction_capacity = capacity.min(10);
        let limits = Limits {
            capacity,
            transaction_capacity,
            body_bytes: u64::MAX,
            keep_alive,
        };
        Arc::new(MemoryChannel::new(name, limits))
    }

    fn batch(events: usize) -> Batch {
        let mut builder = BatchBuilder::new();
        for number in 0..events {
            builder.push([], number.to_string().as_bytes()).unwrap();
        }
        builder.finish()
    }

    fn processor(
        channels: &[&Arc<MemoryChannel>],
        optional: &str,
        interceptors: &[(&Kind<BoxInterceptor>, &str)],
    ) -> ChannelProcessor {
        let names: Vec<&str> = channels.iter().map(|channel| channel.name()).collect();
        let ctx = Context::from_example("selector", &format!("optional = {optional}"));
        let selector = (crate::selector::replicating::KIND.build)(&ctx).unwrap()(&names).unwrap();
        let build = |(kind, lines): &(&Kind<BoxInterceptor>, &str)| {
            (kind.build)(&Context::from_example("i", lines)).unwrap()
        };
        let interceptors = interceptors.iter().map(build).collect();
        let channels = channels
            .iter()
            .map(|channel| Arc::clone(*channel) as ArcChannel)
            .collect();
        ChannelProcessor::new("r1", interceptors, selector, channels, Arc::default())
    }

    fn counter(processor: &ChannelProcessor, name: &str) -> u64 {
        processor
            .counters()
            .entries()
            .iter()
            .find(|(key, _)| *key == name)
            .unwrap()
            .1
    }

    #[test]
    fn every_channel_gets_every_event_after_the_interceptors_in_their_order() {
        let (one, two) = (channel("c1", 20), channel("c2", 20));
        let set = |value| format!("key = k\nvalue = {value}\npreserveExisting = false");
        let kind = &crate::interceptor::static_::KIND;
        let processor = processor(
            &[&one, &two],
            "",
            &[(kind, &set("first")), (kind, &set("last"))],
        );
        processor.process(batch(3)).unwrap();
        for channel in [one, two] {
            let take = channel.take(10, Duration::ZERO).unwrap();
            let seen: Vec<_> = take
                .slices()
                .iter()
                .flatten()
                .map(|event| (event.body(), event.header("k")))
                .collect();
            assert_eq!(
                seen,
                [
                    (&b"0"[..], Some("last")),
                    (b"1", Some("last")),
                    (b"2", Some("last"))
                ]
            );
        }
        assert_eq!(counter(&processor, "EventAcceptedCount"), 3);
    }

    #[test]
    fn a_required_channel_refuses_for_all_and_an_optional_one_for_itself() {
        let (small, large) = (channel("c1", 4), channel("c2", 100));
        let required = processor(&[&small, &large], "", &[]);
        let refused = required.process(batch(5)).unwrap_err();
        assert!(
            matches!(
                &refused,
                ProcessError::Channel(ChannelError::TooLarge { limit: 4, .. })
            ),
            "{refused}"
        );
        assert_eq!(large.fill().events, 0, "later channels are not tried");
        assert_eq!(counter(&required, "ChannelWriteFail"), 1);
        assert_eq!(counter(&required, "EventAcceptedCount"), 0);
        let optional = processor(&[&small, &large], "c1", &[]);
        optional.process(batch(5)).unwrap();
        assert_eq!((small.fill().events, large.fill().events), (0, 5));
        assert_eq!(required.max_batch(), 4);
    }

    #[test]
    fn waiting_for_one_channel_duplicates_nothing_in_another() {
        let (large, small) = (channel("c1", 100), channel("c2", 4));
        let processor = Arc::new(processor(&[&large, &small], "", &[]));
        // 10 events through a channel of 4: three transactions there, one here.
        let delivery = {
            let processor = Arc::clone(&processor);
            std::thread::spawn(move || processor.deliver(batch(10), &Stop::new()))
        };
        let mut seen = Vec::new();
        while seen.len() < 10 {
            let take = small.take(4, Duration::from_secs(20)).unwrap();
            assert!(!take.is_empty(), "events stopped coming");
            seen.extend(
                take.slices()
                    .iter()
                    .flatten()
                    .map(|event| event.body().to_vec()),
            );
            take.commit().unwrap();
        }
        delivery.join().unwrap().unwrap();
        let expected: Vec<_> = (0..10)
            .map(|number| number.to_string().into_bytes())
            .collect();
        assert_eq!(seen, expected);
        assert_eq!(large.fill().events, 10);
    }

    #[test]
    fn a_stop_ends_the_wait_for_room() {
        let full = channel("c1", 4);
        let processor = processor(&[&full], "", &[]);
        processor.process(batch(4)).unwrap();
        let stop = Stop::new();
        stop.set();
        let stopped = processor.deliver(batch(1), &stop).unwrap_err();
        assert_eq!(
            stopped,
            ProcessError::Stopped {
                channel: "c1".to_owned()
            }
        );
        assert!(!stopped.is_retryable());
        full.close();
        let closed = processor.deliver(batch(1), &Stop::new()).unwrap_err();
        assert!(
            matches!(closed, ProcessError::Channel(ChannelError::Closed { .. })),
            "{closed}"
        );
    }

    #[test]
    fn a_batch_of_which_nothing_is_left_is_a_success() {
        let closed = channel("c1", 4);
        closed.close();
        let processor = processor(&[&closed], "", &[]);
        processor.process(Batch::empty()).unwrap();
        assert!(processor.process(batch(1)).is_err());
    }
}
