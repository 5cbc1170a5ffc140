//! `avro`: sends events to an avro source, ours or Flume's, by Flume's Avro RPC.
//!
//! | key | default | meaning |
//! |---|---|---|
//! | `hostname`, `port` | required | where the source listens |
//! | `batch-size` | 100 | events per transaction and per call |
//! | `connect-timeout` | 20000 ms | limit for connecting; values below 1000 count as the default |
//! | `request-timeout` | 20000 ms | limit for a call; likewise |
//! | `compression-type` | none | `none` or `deflate`; has to be the same on both ends |
//! | `compression-level` | 6 | zlib level 0–9 |
//! | `reset-connection-interval` | 0 s | age at which the connection is renewed; 0 for never |
//!
//! Guarantees: a transaction is committed when the source has answered `OK` to all of it. Any other
//! answer, or none, rolls it back, drops the connection and sends it again: at least once. A batch
//! whose answer was lost is doubled.
//!
//! Fails: a source that is away is tried again after 100 ms, then ever more slowly up to two
//! seconds, so that deliveries resume soon after it is back. (Flume waits up to five.) Failures are
//! logged when they begin, then at the 2nd, 4th, 8th … in a row.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use thiserror::Error;
use tracing::{info, warn};

use super::{BoxError, BoxSink, Feed, Sink, Status, TAKE_WAIT};
use crate::channel::Take;
use crate::context::{ConfigError, Context};
use crate::kind::{Form, Key, Kind};
use crate::wire::avro_rpc::client::{Client, ClientError, ClientOptions};
use crate::wire::avro_rpc::{self, datum::put_event};

/// The kind `avro`.
pub static KIND: Kind<BoxSink> = Kind {
    name: "avro",
    classes: &["org.apache.flume.sink.AvroSink"],
    summary: "Send events to an avro source.",
    keys: &[
        Key::required("hostname", Form::Text, "Host of the source."),
        Key::required("port", Form::Number(1, 65535), "Port of the source."),
        Key::or(
            "batch-size",
            Form::POSITIVE,
            "100",
            "Events per transaction and per call.",
        ),
        Key::or(
            "connect-timeout",
            Form::COUNT,
            "20000",
            "Milliseconds for connecting.",
        ),
        Key::or(
            "request-timeout",
            Form::COUNT,
            "20000",
            "Milliseconds for a call.",
        ),
        Key::or(
            "compression-type",
            Form::Choice(&["none", "deflate"]),
            "none",
            "Compression of both directions.",
        ),
        Key::or("compression-level", Form::Number(0, 9), "6", "zlib level."),
        Key::or(
            "reset-connection-interval",
            Form::COUNT,
            "0",
            "Seconds after which the connection is renewed.",
        ),
        Key::ignored("maxIoWorkers", "A sink has one connection and one thread."),
        Key::missing("ssl", Some("false"), "TLS is not offered."),
        Key::ignored("trust-all-certs", "TLS is not offered."),
        Key::ignored("truststore", "TLS is not offered."),
        Key::ignored("truststore-password", "TLS is not offered."),
        Key::ignored("truststore-type", "TLS is not offered."),
        Key::ignored("exclude-protocols", "TLS is not offered."),
        Key::ignored("include-protocols", "TLS is not offered."),
        Key::ignored("exclude-cipher-suites", "TLS is not offered."),
        Key::ignored("include-cipher-suites", "TLS is not offered."),
    ],
    batch_key: Some("batch-size"),
    example: "type = avro\nhostname = 127.0.0.1\nport = 41414",
    build,
};

/// The first and the longest pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

fn build(ctx: &Context) -> Result<BoxSink, ConfigError> {
    if ctx.flag("ssl", false) {
        return Err(ctx.error(
            "ssl",
            "TLS is not offered; remove ssl, or send through a TLS proxy",
        ));
    }
    let level = ctx.number("compression-level", 6_u32)?;
    if level > 9 {
        return Err(ctx.error("compression-level", format!("{level} is not within 0 to 9")));
    }
    let compression_level = match ctx.text_or("compression-type", "none") {
        text if text.eq_ignore_ascii_case("none") => None,
        text if text.eq_ignore_ascii_case("deflate") => Some(level),
        other => {
            return Err(ctx.error(
                "compression-type",
                format!("{other:?} is neither none nor deflate"),
            ));
        }
    };
    let reset = ctx.seconds("reset-connection-interval", 0)?;
    Ok(Box::new(Avro {
        name: ctx.name().to_owned(),
        options: ClientOptions {
            host: ctx.text("hostname")?.to_owned(),
            port: ctx.port("port")?,
            connect_timeout: timeout(ctx, "connect-timeout")?,
            request_timeout: timeout(ctx, "request-timeout")?,
            compression_level,
        },
        batch_size: ctx.number("batch-size", 100_usize)?.max(1),
        reset: (!reset.is_zero()).then_some(reset),
        connection: None,
        failures: 0,
    }))
}

/// Flume takes a time below a second for a mistake, and the default instead.
fn timeout(ctx: &Context, key: &str) -> Result<Duration, ConfigError> {
    let given = ctx.millis(key, 20_000)?;
    Ok(if given < Duration::from_secs(1) {
        Duration::from_secs(20)
    } else {
        given
    })
}

#[derive(Debug)]
struct Avro {
    name: String,
    options: ClientOptions,
    batch_size: usize,
    reset: Option<Duration>,
    connection: Option<Connection>,
    /// Failures since the last success.
    failures: u32,
}

#[derive(Debug)]
struct Connection {
    client: Client,
    since: Instant,
}

/// Why a batch was not taken by the other side.
#[derive(Debug, Error)]
enum SendError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("the source answered {0:?}: its channel is full or fails")]
    Refused(avro_rpc::Status),
}

impl Sink for Avro {
    fn open(&mut self) -> Result<(), BoxError> {
        // The connection is made when there is something to send: a source that is not up yet must
        // not keep the agent from starting.
        Ok(())
    }

    fn process(&mut self, feed: &Feed<'_>) -> Result<Status, BoxError> {
        self.drop_aged(feed);
        let take = feed.channel.take(self.batch_size, TAKE_WAIT)?;
        let events = take.len();
        feed.counters.batch(events, self.batch_size);
        if events == 0 {
            return Ok(Status::Backoff);
        }
        feed.counters
            .event_drain_attempt
            .fetch_add(events as u64, Relaxed);
        match self.send(take.as_ref(), feed) {
            Ok(()) => {
                take.commit()?;
                feed.counters
                    .event_drain_success
                    .fetch_add(events as u64, Relaxed);
                if self.failures > 0 {
                    info!(
                        sink = self.name,
                        failures = self.failures,
                        "the source takes events again"
                    );
                    self.failures = 0;
                }
                Ok(Status::Ready)
            }
            Err(error) => {
                // Back to the channel before the pause, for whoever else takes from it.
                drop(take);
                self.fail(&error, feed);
                Ok(Status::Ready)
            }
        }
    }

    fn close(&mut self) -> Result<(), BoxError> {
        self.connection = None;
        Ok(())
    }
}

impl Avro {
    fn drop_aged(&mut self, feed: &Feed<'_>) {
        let aged = |connection: &Connection| {
            self.reset
                .is_some_and(|age| connection.since.elapsed() >= age)
        };
        if self.connection.as_ref().is_some_and(aged) {
            self.connection = None;
            feed.counters.connection_closed.fetch_add(1, Relaxed);
        }
    }

    fn send(&mut self, take: &dyn Take, feed: &Feed<'_>) -> Result<(), SendError> {
        let stopped = || feed.stop.is_set();
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => {
                let client = Client::connect(self.options.clone(), &stopped)?;
                feed.counters.connection_created.fetch_add(1, Relaxed);
                none.insert(Connection {
                    client,
                    since: Instant::now(),
                })
            }
        };
        let encode = |out: &mut Vec<u8>| {
            for event in take.slices().iter().flatten() {
                put_event(out, || event.headers(), event.body());
            }
        };
        match connection
            .client
            .append_batch(take.len(), encode, &stopped)?
        {
            avro_rpc::Status::Ok => Ok(()),
            other => Err(SendError::Refused(other)),
        }
    }

    /// Notes a failure and waits.
    fn fail(&mut self, error: &SendError, feed: &Feed<'_>) {
        feed.counters.event_write_fail.fetch_add(1, Relaxed);
        if self.connection.take().is_some() {
            feed.counters.connection_closed.fetch_add(1, Relaxed);
        } else {
            feed.counters.connection_failed.fetch_add(1, Relaxed);
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures.is_power_of_two() {
            warn!(sink = self.name, %error, failures = self.failures, "a batch was not taken; it is sent again");
        }
        let pause = FIRST_PAUSE
            .saturating_mul(1 << (self.failures - 1).min(10))
            .min(LONGEST_PAUSE);
        feed.stop.wait(pause);
    }
}

#[cfg(test)]
mod tests;
