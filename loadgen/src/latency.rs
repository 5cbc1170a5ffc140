//! Latency histograms: recorded with weights, merged, never averaged.
//!
//! | word | of | measured from → to |
//! |---|---|---|
//! | `slip` | a batch of the schedule | intended → released by the pacing thread |
//! | `ack_service` | an answer | first byte written → answer |
//! | `ack_response` | an answer | intended → answer |
//! | `stored_response` | first copies | intended → stored |
//! | `published_response` | first publication | intended → published |
//!
//! Values are microseconds with three significant digits, up to an hour; longer ones are counted at
//! the hour. Negative values, which only a wrong clock or a wrong token can give, are counted apart
//! and shown, and are in no percentile. A sample is weighed with its number of events.

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};

use crate::observe::Micros;

/// The longest latency that is told from longer ones, in µs.
pub const MAX_MICROS: u64 = 3_600_000_000;

const DIGITS: u8 = 3;

/// What a latency is of. See the module's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Measure {
    /// Released − intended.
    Slip,
    /// Answer − first byte.
    AckService,
    /// Answer − intended.
    AckResponse,
    /// Stored − intended.
    StoredResponse,
    /// Published − intended.
    PublishedResponse,
}

impl Measure {
    /// All of them, in the order of an event's life.
    pub const ALL: [Measure; 5] = [
        Measure::Slip,
        Measure::AckService,
        Measure::AckResponse,
        Measure::StoredResponse,
        Measure::PublishedResponse,
    ];

    /// Its name in records, scenarios and reports, without unit.
    pub fn name(self) -> &'static str {
        match self {
            Measure::Slip => "slip",
            Measure::AckService => "ack_service",
            Measure::AckResponse => "ack_response",
            Measure::StoredResponse => "stored_response",
            Measure::PublishedResponse => "published_response",
        }
    }
}

/// Why a stored histogram cannot be read, or a new one cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("failed to {what} a latency histogram: {why}; take the record from an unchanged run")]
pub struct LatencyError {
    what: &'static str,
    why: String,
}

impl LatencyError {
    fn new(what: &'static str, why: impl ToString) -> LatencyError {
        LatencyError {
            what,
            why: why.to_string(),
        }
    }
}

/// One histogram of latencies.
#[derive(Debug, Clone, PartialEq)]
pub struct Latency {
    histogram: Histogram<u64>,
    negative: u64,
    lowest: Micros,
}

impl Default for Latency {
    fn default() -> Self {
        Latency::new()
    }
}

impl Latency {
    /// An empty histogram.
    #[expect(
        clippy::expect_used,
        reason = "the bounds are constants, and a test makes one"
    )]
    pub fn new() -> Latency {
        let histogram = Histogram::new_with_bounds(1, MAX_MICROS, DIGITS)
            .expect("1 µs to an hour with three digits are valid bounds");
        Latency {
            histogram,
            negative: 0,
            lowest: 0,
        }
    }

    /// Records `count` events with this latency in µs.
    pub fn record(&mut self, micros: Micros, count: u64) {
        match u64::try_from(micros) {
            Ok(micros) => self
                .histogram
                .saturating_record_n(micros.min(MAX_MICROS), count),
            Err(_) => {
                self.negative += count;
                self.lowest = self.lowest.min(micros);
            }
        }
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Latency) -> Result<(), LatencyError> {
        let added = self.histogram.add(&other.histogram);
        added.map_err(|error| LatencyError::new("merge", error))?;
        self.negative += other.negative;
        self.lowest = self.lowest.min(other.lowest);
        Ok(())
    }

    /// How many samples there are, negative ones not among them.
    pub fn len(&self) -> u64 {
        self.histogram.len()
    }

    /// Whether there is no sample, negative ones not counted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many samples were negative.
    pub fn negative(&self) -> u64 {
        self.negative
    }

    /// The lowest sample if any was negative, else 0; µs.
    pub fn lowest_negative(&self) -> Micros {
        self.lowest
    }

    /// The highest sample in µs.
    pub fn max(&self) -> Option<u64> {
        (!self.is_empty()).then(|| self.histogram.max())
    }

    /// The lowest sample in µs, negative ones not among them.
    pub fn min(&self) -> Option<u64> {
        (!self.is_empty()).then(|| self.histogram.min())
    }

    /// The quantile q (0.99 for p99) in µs, if there are the samples it needs: 10 ÷ (1 − q). With
    /// fewer the figure would be one or two outliers, and is `None`. The highest sample is
    /// [`Latency::max`], not a quantile: q = 1 is `None`.
    pub fn quantile(&self, q: f64) -> Option<u64> {
        (self.len() >= samples_needed(q)?).then(|| self.histogram.value_at_quantile(q))
    }

    /// The quantile, however few samples there are: for plots, never for a verdict.
    pub fn quantile_unchecked(&self, q: f64) -> Option<u64> {
        (!self.is_empty()).then(|| self.histogram.value_at_quantile(q))
    }

    /// Every recorded value in µs with how many samples it has, ascending.
    pub fn counts(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.histogram
            .iter_recorded()
            .map(|step| (step.value_iterated_to(), step.count_at_value()))
    }

    /// The histogram in HdrHistogram's V2 encoding (not compressed; store it as base64). Negative
    /// samples are not in it: store [`Latency::negative`] and [`Latency::lowest_negative`] beside.
    pub fn encode(&self) -> Result<Vec<u8>, LatencyError> {
        let mut bytes = Vec::new();
        let written = V2Serializer::new().serialize(&self.histogram, &mut bytes);
        written.map_err(|error| LatencyError::new("encode", error))?;
        Ok(bytes)
    }

    /// Reads what [`Latency::encode`] wrote, with the negative samples that were stored beside it.
    pub fn decode(bytes: &[u8], negative: u64, lowest: Micros) -> Result<Latency, LatencyError> {
        let mut rest = bytes;
        let read = Deserializer::new().deserialize(&mut rest);
        let stored: Histogram<u64> = read.map_err(|error| LatencyError::new("decode", error))?;
        // Into one of our own bounds, so that it merges with others and has room for an hour.
        let mut latency = Latency {
            negative,
            lowest,
            ..Latency::new()
        };
        let added = latency.histogram.add(&stored);
        added.map_err(|error| LatencyError::new("decode", error))?;
        Ok(latency)
    }
}

/// How many samples the quantile q needs: 10 ÷ (1 − q). `None` unless 0 ≤ q < 1.
pub fn samples_needed(q: f64) -> Option<u64> {
    // 1 − 0.99 is not quite 0.01 in binary; p99 needs a thousand samples, not 1001.
    (0.0..1.0)
        .contains(&q)
        .then(|| (10.0 / (1.0 - q) - 1e-6).ceil() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_weighs_as_many_events_as_it_has() {
        let mut latency = Latency::new();
        latency.record(1_000, 900);
        latency.record(50_000, 100);
        assert_eq!(latency.len(), 1_000);
        assert_eq!(latency.quantile(0.5), Some(1_000));
        let p99 = latency.quantile(0.99).unwrap();
        assert!(p99.abs_diff(50_000) <= 50, "{p99}");
        assert_eq!(
            (latency.min(), latency.max().unwrap() / 100),
            (Some(1_000), 500)
        );
    }

    #[test]
    fn a_quantile_needs_its_samples() {
        for (q, needed) in [
            (0.0, 10),
            (0.5, 20),
            (0.9, 100),
            (0.99, 1_000),
            (0.999, 10_000),
            (0.9999, 100_000),
        ] {
            assert_eq!(samples_needed(q), Some(needed));
            let mut latency = Latency::new();
            latency.record(5, needed - 1);
            assert_eq!(latency.quantile(q), None);
            assert_eq!(latency.quantile_unchecked(q), Some(5));
            latency.record(5, 1);
            assert_eq!(latency.quantile(q), Some(5));
        }
        for q in [1.0, -0.1, 1.5, f64::NAN] {
            assert_eq!(samples_needed(q), None);
        }
        assert_eq!(Latency::new().quantile_unchecked(0.5), None);
    }

    #[test]
    fn negative_and_endless_values_are_not_dropped() {
        let mut latency = Latency::new();
        latency.record(-7, 3);
        latency.record(-2, 1);
        latency.record(Micros::MAX, 2);
        latency.record(0, 1);
        assert_eq!((latency.negative(), latency.lowest_negative()), (4, -7));
        assert_eq!(latency.len(), 3);
        assert!(latency.max().unwrap() >= MAX_MICROS);
    }

    #[test]
    fn merged_is_as_if_recorded_together() {
        let (mut left, mut right, mut both) = (Latency::new(), Latency::new(), Latency::new());
        for i in -50i64..2_000 {
            let half = if i % 3 == 0 { &mut left } else { &mut right };
            half.record(i * i * i, 2);
            both.record(i * i * i, 2);
        }
        left.merge(&right).unwrap();
        assert_eq!(left, both);
    }

    #[test]
    fn what_is_encoded_is_decoded_and_can_be_merged() {
        let mut latency = Latency::new();
        for i in 0..10_000 {
            latency.record(i * 37, 1);
        }
        latency.record(-1, 5);
        let bytes = latency.encode().unwrap();
        let mut decoded = Latency::decode(&bytes, 5, -1).unwrap();
        assert_eq!(decoded, latency);
        decoded.merge(&latency).unwrap();
        assert_eq!(decoded.len(), 20_000);
        assert!(decoded.counts().all(|(_, count)| count % 2 == 0));
        assert!(Latency::decode(&bytes[..20], 0, 0).is_err());
        assert!(Latency::decode(b"not a histogram at all", 0, 0).is_err());
    }
}
