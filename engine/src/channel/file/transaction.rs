//! The channel's open transactions: what is put or taken until its commit or rollback.

use std::sync::atomic::Ordering::Relaxed;

use super::FileChannel;
use super::store::{Store, StoreError, Taken};
use crate::channel::{ChannelError, Put, Take};
use crate::defect::Defect;
use crate::event::{Batch, BatchBuilder, Slice};

/// Events that wait for the commit of a put.
pub(super) struct FilePut<'c> {
    pub(super) channel: &'c FileChannel,
    pub(super) store: &'c Store,
    pub(super) batches: Vec<Batch>,
    pub(super) events: usize,
}

impl Put for FilePut<'_> {
    fn add(&mut self, events: Slice) -> Result<(), ChannelError> {
        let sum = self.events + events.len();
        if sum > self.channel.settings.transaction_capacity {
            return Err(self.channel.too_large(sum));
        }
        if !events.is_empty() {
            let batch = whole(&events).ok_or_else(|| self.channel.too_large(sum))?;
            self.batches.push(batch);
        }
        self.events = sum;
        Ok(())
    }

    fn commit(self: Box<Self>) -> Result<(), ChannelError> {
        let (counters, events) = (&self.channel.counters, self.events);
        counters.event_put_attempt.fetch_add(events as u64, Relaxed);
        if events == 0 {
            return Ok(());
        }
        match self
            .store
            .put(self.batches, self.channel.settings.keep_alive)
        {
            Ok(()) => {
                counters.event_put_success.fetch_add(events as u64, Relaxed);
                Ok(())
            }
            Err(error) => {
                if !matches!(
                    error,
                    StoreError::Full | StoreError::LowSpace | StoreError::Closed
                ) {
                    counters.event_put_error.fetch_add(1, Relaxed);
                }
                Err(self.channel.error(error, events))
            }
        }
    }
}

/// The events of a slice as a batch of their own; `None` if they do not fit one. A slice nearly
/// always is a whole batch, which costs nothing; only a part is copied.
fn whole(slice: &Slice) -> Option<Batch> {
    if slice.len() == slice.batch().len() {
        return Some(slice.batch().clone());
    }
    let mut builder = BatchBuilder::new();
    for (key, value) in slice.batch().common_headers() {
        builder.common_header(key, value).ok()?;
    }
    for event in slice {
        builder.push(event.own_headers(), event.body()).ok()?;
    }
    Some(builder.finish())
}

/// Events that were taken and return to the head unless the take is committed.
pub(super) struct FileTake<'c> {
    pub(super) channel: &'c FileChannel,
    pub(super) store: &'c Store,
    /// What was taken; without ranges once it was committed.
    pub(super) taken: Taken,
}

impl Take for FileTake<'_> {
    fn slices(&self) -> &[Slice] {
        &self.taken.slices
    }

    fn commit(mut self: Box<Self>) -> Result<(), ChannelError> {
        if self.taken.ranges.is_empty() {
            return Ok(());
        }
        let events = self.len();
        let counters = &self.channel.counters;
        match self.store.commit_take(self.taken.ranges.clone()) {
            Ok(()) => {
                self.taken.ranges.clear();
                counters
                    .event_take_success
                    .fetch_add(events as u64, Relaxed);
                Ok(())
            }
            // Dropping this value gives the events back.
            Err(error) => {
                counters.event_take_error.fetch_add(1, Relaxed);
                Err(self.channel.error(error, events))
            }
        }
    }
}

impl Drop for FileTake<'_> {
    fn drop(&mut self) {
        if !self.taken.ranges.is_empty() && !Defect::FileRollbackForgets.is_planted() {
            self.store.untake(&self.taken.ranges);
        }
    }
}
