//! `default`: one sink, called again and again.
//!
//! No settings. Waits are Flume's: none after [`Status::Ready`]; 1 s, 2 s, … up to 5 s after the
//! first, second, … [`Status::Backoff`] in a row; 5 s after an error. One is shorter: the first ten
//! errors in a row are followed by 1 s each, so that a store that was away for some seconds is not
//! left alone for five more. The runner skips the wait after a back-off while the channel is empty,
//! because the take has waited there already.

use std::time::Duration;

use super::{BoxProcessor, ProcessorBuilder, SinkProcessor};
use crate::context::{ConfigError, Context};
use crate::kind::Kind;
use crate::sink::{BoxError, BoxSink, Feed, Status};

/// The kind `default`.
pub static KIND: Kind<ProcessorBuilder> = Kind {
    name: "default",
    classes: &["org.apache.flume.sink.DefaultSinkProcessor"],
    summary: "One sink, called again and again.",
    keys: &[],
    batch_key: None,
    example: "type = default",
    build,
};

/// Longest wait.
const LONGEST: Duration = Duration::from_secs(5);
/// The wait after an error, so many times in a row; the longest after that.
const SOON: (Duration, u32) = (Duration::from_secs(1), 10);

fn build(_: &Context) -> Result<ProcessorBuilder, ConfigError> {
    Ok(around)
}

/// A default processor around `sink`.
#[must_use]
pub fn around(sink: BoxSink) -> BoxProcessor {
    Box::new(Default {
        sink,
        backoffs: 0,
        errors: 0,
    })
}

#[derive(Debug)]
struct Default {
    sink: BoxSink,
    /// Back-offs in a row.
    backoffs: u32,
    /// Errors in a row.
    errors: u32,
}

impl SinkProcessor for Default {
    fn open(&mut self) -> Result<(), BoxError> {
        self.sink.open()
    }

    fn process(&mut self, feed: &Feed<'_>) -> Result<Status, BoxError> {
        self.sink.process(feed)
    }

    fn pause(&mut self, answer: Option<Status>) -> Duration {
        self.errors = match answer {
            Some(_) => 0,
            None => self.errors.saturating_add(1),
        };
        self.backoffs = match answer {
            Some(Status::Ready) => 0,
            Some(Status::Backoff) => self.backoffs.saturating_add(1),
            None if self.errors <= SOON.1 => return SOON.0,
            None => return LONGEST,
        };
        Duration::from_secs(1)
            .saturating_mul(self.backoffs)
            .min(LONGEST)
    }

    fn close(&mut self) -> Result<(), BoxError> {
        self.sink.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_flumes_but_for_the_first_errors() {
        let sink = (crate::sink::null::KIND.build)(&Context::from_example("k1", "")).unwrap();
        let mut processor = around(sink);
        let mut wait = |answer| processor.pause(answer).as_secs();
        assert_eq!(wait(Some(Status::Ready)), 0);
        let backoffs: Vec<_> = (0..7).map(|_| wait(Some(Status::Backoff))).collect();
        assert_eq!(backoffs, [1, 2, 3, 4, 5, 5, 5]);
        let errors: Vec<_> = (0..12).map(|_| wait(None)).collect();
        assert_eq!(errors, [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 5, 5]);
        assert_eq!(wait(Some(Status::Ready)), 0);
        assert_eq!(wait(Some(Status::Backoff)), 1);
    }
}
