//! Latencies: histograms as they were recorded, and the percentiles that they can bear.
//!
//! A histogram is kept in the V2 encoding of HdrHistogram (the uncompressed one, cookie
//! `0x1c849303`; the format is described in the `V2` part of the HdrHistogram project's encoding
//! classes) as standard base64 with padding. Histograms of several runs or windows can thus be
//! merged; percentiles never are.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};
use serde::{Deserialize, Serialize};

use super::known::Known;

/// A quantile that records and reports print.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantile {
    /// As in a key: `p99`.
    pub name: &'static str,
    /// As a number between 0 and 1.
    pub value: f64,
    /// How many samples it needs, 10 ÷ (1 − q).
    pub samples_needed: u64,
}

/// The quantiles of a [`LatencySet`], in order.
pub const QUANTILES: [Quantile; 5] = [
    Quantile {
        name: "p50",
        value: 0.5,
        samples_needed: 20,
    },
    Quantile {
        name: "p90",
        value: 0.9,
        samples_needed: 100,
    },
    Quantile {
        name: "p99",
        value: 0.99,
        samples_needed: 1_000,
    },
    Quantile {
        name: "p999",
        value: 0.999,
        samples_needed: 10_000,
    },
    Quantile {
        name: "p9999",
        value: 0.9999,
        samples_needed: 100_000,
    },
];

/// How many samples a quantile between 0 and 1 needs before it is printed: 10 ÷ (1 − q).
#[must_use]
pub fn samples_needed(quantile: f64) -> u64 {
    // The small subtraction keeps 10 ÷ (1 − 0.9) = 100.00000000000001 from becoming 101.
    (10.0 / (1.0 - quantile) - 1e-6).ceil() as u64
}

/// The five latencies of a run. Each is a word of its own, none is derived from another.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Latencies {
    /// Released by the pacing thread − intended.
    pub slip: Latency,
    /// Answer − first byte written.
    pub ack_service: Latency,
    /// Answer − intended.
    pub ack_response: Latency,
    /// Stored − intended.
    pub stored_response: Latency,
    /// Published − intended.
    pub published_response: Latency,
}

impl Latencies {
    /// All five with their names, in the order of an event's life.
    #[must_use]
    pub fn words(&self) -> [(&'static str, &Latency); 5] {
        [
            ("slip", &self.slip),
            ("ack_service", &self.ack_service),
            ("ack_response", &self.ack_response),
            ("stored_response", &self.stored_response),
            ("published_response", &self.published_response),
        ]
    }
}

/// One latency in all its windows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Latency {
    /// Events whose intended instant is in steady and outside every fault window, which begins where
    /// the oldest event was due that the fault caught on its way.
    pub steady: LatencySet,
    /// By phase of the intended instant.
    pub phases: Vec<NamedSet>,
    /// By fault window of the intended instant, under the fault's name.
    pub faults: Vec<NamedSet>,
    /// How exact a sample is: the time between the last look without the event and the first with
    /// it. Unknown for latencies that are not taken by looking.
    pub resolution: Known<Resolution>,
}

/// The width of the intervals in which samples lie.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Resolution {
    /// The median width.
    pub us_p50: u64,
    /// Its 99th percentile.
    pub us_p99: u64,
}

/// A set of samples with the name of its window.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NamedSet {
    /// The phase's or the fault's name.
    pub name: String,
    /// The samples.
    pub set: LatencySet,
}

/// Samples of one latency in one window, in µs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LatencySet {
    /// The histogram in the V2 encoding as base64; unknown where nothing was recorded.
    pub histogram: Known<String>,
    /// How many samples, the negative ones included.
    pub count: u64,
    /// How many of them were negative. They are in the histogram as 0.
    pub negative: u64,
    /// The median.
    pub us_p50: Known<u64>,
    /// 90th percentile.
    pub us_p90: Known<u64>,
    /// 99th percentile.
    pub us_p99: Known<u64>,
    /// 99.9th percentile.
    pub us_p999: Known<u64>,
    /// 99.99th percentile.
    pub us_p9999: Known<u64>,
    /// The greatest sample.
    pub us_max: Known<u64>,
}

impl LatencySet {
    /// Encodes a histogram of µs and reads the percentiles off it that it has enough samples for.
    /// `negative` samples are in it as 0 and are counted by the caller.
    ///
    /// # Errors
    /// The encoder's, which for a histogram in memory means that it outgrew the format.
    pub fn from_histogram(
        histogram: &Histogram<u64>,
        negative: u64,
    ) -> Result<Self, HistogramError> {
        let mut bytes = Vec::new();
        V2Serializer::new()
            .serialize(histogram, &mut bytes)
            .map_err(|source| HistogramError::Encode {
                reason: source.to_string(),
            })?;
        let count = histogram.len();
        let at = |quantile: &Quantile| {
            if count >= quantile.samples_needed {
                Known::Value(histogram.value_at_quantile(quantile.value))
            } else {
                Known::Unknown(format!(
                    "too few samples: {count} of at least {}",
                    quantile.samples_needed
                ))
            }
        };
        let [us_p50, us_p90, us_p99, us_p999, us_p9999] = QUANTILES.each_ref().map(at);
        let us_max = match count {
            0 => Known::unknown("no samples"),
            _ => Known::Value(histogram.max()),
        };
        let histogram = Known::Value(BASE64.encode(bytes));
        Ok(Self {
            histogram,
            count,
            negative,
            us_p50,
            us_p90,
            us_p99,
            us_p999,
            us_p9999,
            us_max,
        })
    }

    /// The histogram again; `None` where nothing was recorded.
    ///
    /// # Errors
    /// [`HistogramError::Decode`] where the text is no base64 of a V2 histogram, or its number of
    /// samples is not `count`.
    pub fn to_histogram(&self) -> Result<Option<Histogram<u64>>, HistogramError> {
        let Known::Value(text) = &self.histogram else {
            return Ok(None);
        };
        let bytes = BASE64
            .decode(text)
            .map_err(|source| HistogramError::Decode {
                reason: source.to_string(),
            })?;
        let histogram: Histogram<u64> = Deserializer::new()
            .deserialize(&mut bytes.as_slice())
            .map_err(|source| HistogramError::Decode {
                reason: source.to_string(),
            })?;
        if histogram.len() == self.count {
            return Ok(Some(histogram));
        }
        let reason = format!("it has {} samples and not {}", histogram.len(), self.count);
        Err(HistogramError::Decode { reason })
    }

    /// The percentiles with their quantiles, in order.
    #[must_use]
    pub fn percentiles(&self) -> [(Quantile, &Known<u64>); 5] {
        let [p50, p90, p99, p999, p9999] = QUANTILES;
        [
            (p50, &self.us_p50),
            (p90, &self.us_p90),
            (p99, &self.us_p99),
            (p999, &self.us_p999),
            (p9999, &self.us_p9999),
        ]
    }
}

/// A histogram that could not be kept or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HistogramError {
    /// It does not go into the format.
    #[error("failed to encode a latency histogram: {reason}")]
    Encode {
        /// What the encoder said.
        reason: String,
    },
    /// The record holds something else.
    #[error("failed to read a latency histogram of the record: {reason}; judge the run again")]
    Decode {
        /// What the decoder said.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(samples: impl IntoIterator<Item = u64>) -> Histogram<u64> {
        let mut histogram = Histogram::new_with_bounds(1, 3_600_000_000, 3).unwrap();
        for sample in samples {
            histogram.record(sample).unwrap();
        }
        histogram
    }

    #[test]
    fn a_histogram_survives_and_can_be_merged() {
        let (low, high) = (histogram(0..1_000), histogram(1_000..2_000));
        let low = LatencySet::from_histogram(&low, 0).unwrap();
        let high = LatencySet::from_histogram(&high, 0).unwrap();
        let mut merged = low.to_histogram().unwrap().unwrap();
        merged.add(high.to_histogram().unwrap().unwrap()).unwrap();
        assert_eq!(merged.len(), 2_000);
        assert_eq!(merged.value_at_quantile(0.5), 999);
    }

    #[test]
    fn a_percentile_needs_its_samples() {
        let set = LatencySet::from_histogram(&histogram(0..999), 3).unwrap();
        assert!(set.us_p90.value().is_some());
        assert_eq!(
            set.us_p99.reason(),
            Some("too few samples: 999 of at least 1000")
        );
        assert_eq!((set.count, set.negative), (999, 3));
        let empty = LatencySet::from_histogram(&histogram([]), 0).unwrap();
        assert_eq!(empty.us_max.value(), None);
    }

    #[test]
    fn samples_needed_are_ten_by_one_minus_q() {
        for quantile in QUANTILES {
            assert_eq!(samples_needed(quantile.value), quantile.samples_needed);
        }
        assert_eq!(samples_needed(0.95), 200);
    }

    #[test]
    fn a_count_that_does_not_fit_is_noticed() {
        let mut set = LatencySet::from_histogram(&histogram(0..30), 0).unwrap();
        set.count = 31;
        assert!(matches!(
            set.to_histogram(),
            Err(HistogramError::Decode { .. })
        ));
        set.histogram = Known::Value("AAAA".to_owned());
        assert!(matches!(
            set.to_histogram(),
            Err(HistogramError::Decode { .. })
        ));
    }
}
