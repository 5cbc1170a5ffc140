//! `timestamp`: gives each event the time at which the agent took it.
//!
//! | key | default | meaning |
//! |---|---|---|
//! | `headerName` | `timestamp` | the header |
//! | `preserveExisting` | false | events that have the header keep theirs |
//!
//! The value is milliseconds since 1970 in decimal. The clock is read once per batch, so all events
//! of a batch have the same time, and the header is stored once.

use std::sync::Arc;

use super::{BoxInterceptor, Interceptor};
use crate::clock::Clock;
use crate::context::{ConfigError, Context};
use crate::event::{Batch, TooLong};
use crate::kind::{Form, Key, Kind};

/// The kind `timestamp`.
pub static KIND: Kind<BoxInterceptor> = Kind {
    name: "timestamp",
    classes: &["org.apache.flume.interceptor.TimestampInterceptor$Builder"],
    summary: "Give each event the time at which the agent took it.",
    keys: &[
        Key::or("headerName", Form::Text, "timestamp", "The header."),
        Key::or(
            "preserveExisting",
            Form::Flag,
            "false",
            "Events that have the header keep theirs.",
        ),
    ],
    batch_key: None,
    example: "type = timestamp",
    build,
};

fn build(ctx: &Context) -> Result<BoxInterceptor, ConfigError> {
    Ok(Box::new(Timestamp {
        header: ctx.text_or("headerName", "timestamp").to_owned(),
        preserve_existing: ctx.flag("preserveExisting", false),
        clock: ctx.clock(),
    }))
}

#[derive(Debug)]
struct Timestamp {
    header: String,
    preserve_existing: bool,
    clock: Arc<dyn Clock>,
}

impl Interceptor for Timestamp {
    fn intercept(&self, batch: &mut Batch) -> Result<(), TooLong> {
        let now = self.clock.unix_millis().to_string();
        batch.set_common_header(&self.header, &now, self.preserve_existing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::FixedClock;
    use crate::event::BatchBuilder;

    #[test]
    fn the_clock_decides_and_existing_headers_may_stay() {
        for (preserve_existing, expected) in [(true, "17"), (false, "1234")] {
            let interceptor = Timestamp {
                header: "timestamp".to_owned(),
                preserve_existing,
                clock: Arc::new(FixedClock::at(1234)),
            };
            let mut builder = BatchBuilder::new();
            builder.push([("timestamp", "17")], b"old").unwrap();
            builder.push([], b"new").unwrap();
            let mut batch = builder.finish();
            interceptor.intercept(&mut batch).unwrap();
            let stamps: Vec<_> = batch
                .iter()
                .map(|event| event.header("timestamp"))
                .collect();
            assert_eq!(stamps, [Some(expected), Some("1234")]);
        }
    }
}
