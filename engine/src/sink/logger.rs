//! `logger`: writes events to the agent's log. For trying things out.
//!
//! | key | default | meaning |
//! |---|---|---|
//! | `maxBytesToLog` | 16 | bytes of a body that are shown |
//!
//! A line of the log is an event as Flume shows it: its headers, its body in hexadecimal and, where
//! printable, in ASCII: `Event: { headers:{k=v} body: 68 69   hi }`.
//!
//! Guarantees: each event is logged once and in order, then it is gone. It cannot fail.

use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;

use tracing::info;

use super::{BoxError, BoxSink, Feed, Sink, Status, TAKE_WAIT};
use crate::context::{ConfigError, Context};
use crate::event::Event;
use crate::kind::{Form, Key, Kind};

/// The kind `logger`.
pub static KIND: Kind<BoxSink> = Kind {
    name: "logger",
    classes: &["org.apache.flume.sink.LoggerSink"],
    summary: "Write events to the agent's log.",
    keys: &[Key::or(
        "maxBytesToLog",
        Form::COUNT,
        "16",
        "Bytes of a body that are shown.",
    )],
    batch_key: None,
    example: "type = logger",
    build,
};

/// Events per transaction, where the channel allows as many.
const BATCH: usize = 100;

fn build(ctx: &Context) -> Result<BoxSink, ConfigError> {
    Ok(Box::new(Logger {
        name: ctx.name().to_owned(),
        max_bytes: ctx.number("maxBytesToLog", 16)?,
    }))
}

#[derive(Debug)]
struct Logger {
    name: String,
    max_bytes: usize,
}

impl Sink for Logger {
    fn open(&mut self) -> Result<(), BoxError> {
        Ok(())
    }

    fn process(&mut self, feed: &Feed<'_>) -> Result<Status, BoxError> {
        let wanted = BATCH.min(feed.channel.transaction_capacity());
        let take = feed.channel.take(wanted, TAKE_WAIT)?;
        let events = take.len();
        feed.counters.batch(events, wanted);
        feed.counters
            .event_drain_attempt
            .fetch_add(events as u64, Relaxed);
        let mut text = String::new();
        for event in take.slices().iter().flatten() {
            text.clear();
            describe(&mut text, event, self.max_bytes);
            info!(sink = self.name, "Event: {text}");
        }
        take.commit()?;
        feed.counters
            .event_drain_success
            .fetch_add(events as u64, Relaxed);
        Ok(if events == 0 {
            Status::Backoff
        } else {
            Status::Ready
        })
    }

    fn close(&mut self) -> Result<(), BoxError> {
        Ok(())
    }
}

/// Appends the event as Flume's logger sink shows it.
fn describe(out: &mut String, event: Event<'_>, max_bytes: usize) {
    out.push_str("{ headers:{");
    for (index, (key, value)) in event.headers().enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(out, "{separator}{key}={value}");
    }
    out.push_str("} body:");
    let body = event.body();
    for (index, line) in body[..body.len().min(max_bytes)].chunks(16).enumerate() {
        if index > 0 {
            let _ = write!(out, "\n{:08X}", index * 16);
        }
        out.push(' ');
        for place in 0..16 {
            let _ = match line.get(place) {
                Some(byte) => write!(out, "{byte:02X} "),
                None => write!(out, "   "),
            };
        }
        out.extend(line.iter().map(|&byte| {
            if (0x20..0x7f).contains(&byte) {
                byte as char
            } else {
                '.'
            }
        }));
    }
    out.push_str(" }");
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;
    use crate::event::BatchBuilder;

    #[test]
    fn events_look_as_in_flumes_log() {
        let mut builder = BatchBuilder::new();
        builder.push([("a", "1"), ("b", "2")], b"hello\r").unwrap();
        builder.push([], b"").unwrap();
        builder.push([], b"0123456789abcdefXY").unwrap();
        let shown: Vec<String> = builder
            .finish()
            .iter()
            .map(|event| {
                let mut text = String::new();
                describe(&mut text, event, 17);
                text
            })
            .collect();
        assert_eq!(
            shown[0],
            "{ headers:{a=1, b=2} body: 68 65 6C 6C 6F 0D                               hello. }"
        );
        assert_eq!(shown[1], "{ headers:{} body: }");
        assert!(
            shown[2].ends_with(
                "0123456789abcdef\n00000010 58                                              X }"
            ),
            "{}",
            shown[2]
        );
    }

    #[test]
    fn it_drains() {
        let bench = Bench::new();
        bench.put((0..250).map(|n| n.to_string()));
        let mut sink = build(&Context::from_example("k1", "type = logger")).unwrap();
        bench.drain(&mut sink);
        assert_eq!(bench.counters.event_drain_success.load(Relaxed), 250);
    }
}
