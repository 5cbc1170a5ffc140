//! Counters under Flume's names.
//!
//! Each component has one struct of atomic counters. The names are those of Flume 1.11's monitored
//! counter groups, so dashboards made for Flume keep working; a counter that a component never
//! moves stays 0, as it does there.
//!
//! [`Registry::json`] is Flume's own form: an object of `TYPE.name`, all values text. One group is
//! not Flume's: `PROCESS.agent`, with `FileSyncCount`, the calls of fsync and fdatasync so far.
//! [`Registry::prometheus`] has one family per counter, `Flume_<name>`, with `_total` behind what
//! only grows, and the labels `component` (`CHANNEL`) and `name` (`c1`).

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use crate::channel::ArcChannel;

pub mod http;

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

/// What a group of counters belongs to.
#[derive(Debug)]
pub enum Group {
    /// A source.
    Source(Arc<SourceCounters>),
    /// A channel.
    Channel(ArcChannel),
    /// A sink.
    Sink(Arc<SinkCounters>),
}

impl Group {
    /// Flume's word for it.
    fn word(&self) -> &'static str {
        match self {
            Group::Source(_) => "SOURCE",
            Group::Channel(_) => "CHANNEL",
            Group::Sink(_) => "SINK",
        }
    }
}

/// A component's counters, with the times at which it was started and stopped.
#[derive(Debug)]
pub struct Member {
    name: String,
    group: Group,
    started: AtomicI64,
    stopped: AtomicI64,
}

impl Member {
    /// The counters of component `name`, not started yet.
    #[must_use]
    pub fn new(name: &str, group: Group) -> Self {
        let (started, stopped) = (AtomicI64::new(0), AtomicI64::new(0));
        Self {
            name: name.to_owned(),
            group,
            started,
            stopped,
        }
    }

    /// Notes that the component runs since `unix_millis`.
    pub fn note_start(&self, unix_millis: i64) {
        self.started.store(unix_millis, Relaxed);
    }

    /// Notes that the component ended at `unix_millis`.
    pub fn note_stop(&self, unix_millis: i64) {
        self.stopped.store(unix_millis, Relaxed);
    }

    /// All values under Flume's names; the second part says whether a value only grows.
    fn values(&self) -> Vec<(&'static str, bool, String)> {
        let counters = match &self.group {
            Group::Source(counters) => counters.entries(),
            Group::Channel(channel) => channel
                .counters()
                .entries()
                .into_iter()
                .chain(channel.extra_metrics())
                .collect(),
            Group::Sink(counters) => counters.entries(),
        };
        let counter = |(name, value): (&'static str, u64)| {
            (
                name,
                name.ends_with("Count") && name != "OpenConnectionCount" || name.ends_with("Fail"),
                value.to_string(),
            )
        };
        let mut values: Vec<_> = counters.into_iter().map(counter).collect();
        if let Group::Channel(channel) = &self.group {
            let fill = channel.fill();
            let percentage = fill.events as f64 / (fill.capacity.max(1) as f64) * 100.0;
            values.push(("ChannelSize", false, fill.events.to_string()));
            values.push(("ChannelCapacity", false, fill.capacity.to_string()));
            values.push(("ChannelFillPercentage", false, format!("{percentage:?}")));
        }
        values.push(("StartTime", false, self.started.load(Relaxed).to_string()));
        values.push(("StopTime", false, self.stopped.load(Relaxed).to_string()));
        values
    }
}

/// The counters of all components of an agent.
#[derive(Debug, Default)]
pub struct Registry {
    members: Vec<Arc<Member>>,
}

impl Registry {
    /// A registry of `members`, shown in this order.
    #[must_use]
    pub fn new(members: Vec<Arc<Member>>) -> Self {
        Self { members }
    }

    /// What Flume answers at `/metrics`.
    #[must_use]
    pub fn json(&self) -> String {
        let mut all = serde_json::Map::new();
        for member in &self.members {
            let mut object = serde_json::Map::new();
            for (name, _, value) in member.values() {
                object.insert(name.to_owned(), value.into());
            }
            object.insert("Type".to_owned(), member.group.word().into());
            all.insert(
                format!("{}.{}", member.group.word(), member.name),
                object.into(),
            );
        }
        if !self.members.is_empty() {
            let process = serde_json::json!({
                "Type": "PROCESS",
                "FileSyncCount": crate::fs::syncs().to_string(),
            });
            all.insert("PROCESS.agent".to_owned(), process);
        }
        serde_json::Value::Object(all).to_string()
    }

    /// The same numbers in the text format of Prometheus (version 0.0.4).
    #[must_use]
    pub fn prometheus(&self) -> String {
        let mut families: std::collections::BTreeMap<(&str, bool), String> = Default::default();
        for member in &self.members {
            for (name, grows, value) in member.values() {
                let samples = families.entry((name, grows)).or_default();
                let suffix = if grows { "_total" } else { "" };
                // Writing to a String cannot fail.
                let _ = writeln!(
                    samples,
                    "Flume_{name}{suffix}{{component=\"{}\",name=\"{}\"}} {value}",
                    member.group.word(),
                    member.name.replace('\\', "\\\\").replace('"', "\\\""),
                );
            }
        }
        let mut text = String::new();
        for ((name, grows), samples) in families {
            let (suffix, sort) = if grows {
                ("_total", "counter")
            } else {
                ("", "gauge")
            };
            let _ = write!(text, "# TYPE Flume_{name}{suffix} {sort}\n{samples}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Context;

    fn registry() -> Registry {
        let channel =
            (crate::channel::memory::KIND.build)(&Context::from_example("c1", "")).unwrap();
        let source = Arc::new(SourceCounters::default());
        source.event_received.fetch_add(12, Relaxed);
        let source = Member::new("r1", Group::Source(source));
        source.note_start(1_700_000_000_000);
        let sink = Member::new("k1", Group::Sink(Arc::default()));
        let channel = Member::new("c1", Group::Channel(channel));
        Registry::new([source, channel, sink].map(Arc::new).into())
    }

    #[test]
    fn json_is_flumes() {
        let json: serde_json::Value = serde_json::from_str(&registry().json()).unwrap();
        assert_eq!(json["SOURCE.r1"]["EventReceivedCount"], "12");
        assert_eq!(json["SOURCE.r1"]["StartTime"], "1700000000000");
        assert_eq!(json["SOURCE.r1"]["Type"], "SOURCE");
        assert_eq!(json["CHANNEL.c1"]["ChannelCapacity"], "100");
        assert_eq!(json["CHANNEL.c1"]["ChannelFillPercentage"], "0.0");
        assert_eq!(json["SINK.k1"]["BatchEmptyCount"], "0");
        let syncs: u64 = json["PROCESS.agent"]["FileSyncCount"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        crate::fs::count_sync();
        let later: serde_json::Value = serde_json::from_str(&registry().json()).unwrap();
        let later: u64 = later["PROCESS.agent"]["FileSyncCount"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        assert!(later > syncs);
        assert!(
            json["SINK.k1"]
                .as_object()
                .unwrap()
                .values()
                .all(serde_json::Value::is_string)
        );
    }

    #[test]
    fn prometheus_groups_by_family() {
        let text = registry().prometheus();
        assert!(text.contains(
            "# TYPE Flume_EventReceivedCount_total counter\n\
             Flume_EventReceivedCount_total{component=\"SOURCE\",name=\"r1\"} 12\n"
        ));
        assert!(text.contains("# TYPE Flume_ChannelSize gauge\n"));
        assert_eq!(text.matches("# TYPE Flume_StartTime ").count(), 1);
        assert_eq!(text.matches("\nFlume_StartTime{").count(), 3);
    }
}
