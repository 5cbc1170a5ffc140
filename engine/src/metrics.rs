//! Counters under Flume's names.
//!
//! Each component has one struct of atomic counters. The names are those of Flume 1.11's monitored
//! counter groups, so dashboards made for Flume keep working; a counter that a component never
//! moves stays 0, as it does there.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Defines a struct of counters, and lists them under Flume's names in Flume's order.
macro_rules! counters {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident = $key:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: AtomicU64,)*
        }

        impl $name {
            /// Flume's name and the present value of each counter.
            #[must_use]
            pub fn entries(&self) -> Vec<(&'static str, u64)> {
                vec![$(($key, self.$field.load(Relaxed)),)*]
            }
        }
    };
}

counters! {
    /// Counters of a source.
    SourceCounters {
        /// Events that arrived.
        event_received = "EventReceivedCount",
        /// Events that all required channels have taken.
        event_accepted = "EventAcceptedCount",
        /// Calls with one event.
        append_received = "AppendReceivedCount",
        /// Calls with one event that were answered OK.
        append_accepted = "AppendAcceptedCount",
        /// Batches that arrived.
        append_batch_received = "AppendBatchReceivedCount",
        /// Batches that all required channels have taken.
        append_batch_accepted = "AppendBatchAcceptedCount",
        /// Connections open now.
        open_connections = "OpenConnectionCount",
        /// Events or files that could not be read.
        event_read_fail = "EventReadFail",
        /// Batches a channel did not take.
        channel_write_fail = "ChannelWriteFail",
        /// Failures of any other sort.
        generic_processing_fail = "GenericProcessingFail",
    }
}

counters! {
    /// Counters of a channel.
    ChannelCounters {
        /// Events that a put transaction asked to commit.
        event_put_attempt = "EventPutAttemptCount",
        /// Events of committed puts.
        event_put_success = "EventPutSuccessCount",
        /// Takes that were begun, empty ones included.
        event_take_attempt = "EventTakeAttemptCount",
        /// Events of committed takes.
        event_take_success = "EventTakeSuccessCount",
        /// Puts that failed otherwise than by a full channel.
        event_put_error = "EventPutErrorCount",
        /// Takes that failed.
        event_take_error = "EventTakeErrorCount",
        /// Checkpoints that could not be written.
        checkpoint_write_error = "CheckpointWriteErrorCount",
    }
}

counters! {
    /// Counters of a sink.
    SinkCounters {
        /// Connections made, or files opened.
        connection_created = "ConnectionCreatedCount",
        /// Connections or files closed.
        connection_closed = "ConnectionClosedCount",
        /// Connections or files that could not be had, or broke.
        connection_failed = "ConnectionFailedCount",
        /// Takes without an event.
        batch_empty = "BatchEmptyCount",
        /// Takes with fewer events than asked for.
        batch_underflow = "BatchUnderflowCount",
        /// Takes with as many events as asked for.
        batch_complete = "BatchCompleteCount",
        /// Events the sink tried to store.
        event_drain_attempt = "EventDrainAttemptCount",
        /// Events the store has taken.
        event_drain_success = "EventDrainSuccessCount",
        /// Batches the store did not take.
        event_write_fail = "EventWriteFail",
        /// Takes that failed in the channel.
        channel_read_fail = "ChannelReadFail",
    }
}

impl SinkCounters {
    /// Counts a take of `events` where `wanted` were asked for.
    pub fn batch(&self, events: usize, wanted: usize) {
        let counter = match events {
            0 => &self.batch_empty,
            _ if events < wanted => &self.batch_underflow,
            _ => &self.batch_complete,
        };
        counter.fetch_add(1, Relaxed);
    }
}
