//! `seq`: counts. Each event's body is a number in ASCII, from 0 upwards.
//!
//! | key | default | meaning |
//! |---|---|---|
//! | `batchSize` | 1 | events per batch |
//! | `totalEvents` | unlimited | events after which the source stays idle |
//!
//! Guarantees: every number once and in order while the agent runs; a full channel makes it wait.
//! A restart begins at 0. It fails only where its channels fail for good.

use super::{BoxError, BoxSource, Source, stop_is_no_failure};
use crate::context::{ConfigError, Context};
use crate::event::BatchBuilder;
use crate::kind::{Form, Key, Kind};
use crate::processor::ChannelProcessor;
use crate::stop::Stop;

/// The kind `seq`.
pub static KIND: Kind<BoxSource> = Kind {
    name: "seq",
    classes: &["org.apache.flume.source.SequenceGeneratorSource"],
    summary: "Count from 0 upwards.",
    keys: &[
        Key::or("batchSize", Form::POSITIVE, "1", "Events per batch."),
        Key::optional(
            "totalEvents",
            Form::COUNT,
            "Events after which the source stays idle.",
        ),
        Key::ignored(
            "backoffSleepIncrement",
            "The source waits for room in the channel and needs no back-off.",
        ),
        Key::ignored(
            "maxBackoffSleep",
            "The source waits for room in the channel and needs no back-off.",
        ),
    ],
    batch_key: Some("batchSize"),
    example: "type = seq",
    build,
};

fn build(ctx: &Context) -> Result<BoxSource, ConfigError> {
    let total = ctx.number("totalEvents", u64::MAX)?;
    let batch_size = ctx.number("batchSize", 1_u64)?.max(1);
    Ok(Box::new(Seq {
        next: 0,
        total,
        batch_size,
        builder: BatchBuilder::new(),
    }))
}

#[derive(Debug)]
struct Seq {
    /// The first number that is not in the channels yet.
    next: u64,
    total: u64,
    batch_size: u64,
    builder: BatchBuilder,
}

impl Source for Seq {
    fn open(&mut self) -> Result<(), BoxError> {
        Ok(())
    }

    fn run(&mut self, out: &ChannelProcessor, stop: &Stop) -> Result<(), BoxError> {
        stop_is_no_failure(self.count(out, stop))
    }
}

impl Seq {
    fn count(&mut self, out: &ChannelProcessor, stop: &Stop) -> Result<(), BoxError> {
        let mut digits = Vec::with_capacity(20);
        while self.next < self.total && !stop.is_set() {
            let end = self.next.saturating_add(self.batch_size).min(self.total);
            self.builder.clear();
            for number in self.next..end {
                digits.clear();
                put_decimal(&mut digits, number);
                self.builder.push([], &digits)?;
            }
            out.deliver(self.builder.finish(), stop)?;
            self.next = end;
        }
        Ok(())
    }
}

fn put_decimal(out: &mut Vec<u8>, mut number: u64) {
    let start = out.len();
    loop {
        out.push(b'0' + (number % 10) as u8);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out[start..].reverse();
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, bodies};
    use super::*;

    #[test]
    fn it_counts_to_the_end_through_a_channel_that_is_often_full() {
        let bench = Bench::with_capacity(10);
        let source = build(&Context::from_example(
            "r1",
            "batchSize = 3\ntotalEvents = 25",
        ))
        .unwrap();
        let running = bench.run(source);
        let got = bench.take(25);
        running.join_finished();
        assert_eq!(
            bodies(&got),
            (0..25).map(|number| number.to_string()).collect::<Vec<_>>()
        );
    }
}
