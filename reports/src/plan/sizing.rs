//! What an outage of the store needs: a model of the channel, fitted to one outage that was
//! measured, tested on another.
//!
//! While the store is away, the channel fills by a share *a* of what is offered (1 where nothing
//! else buffers); after the heal it goes on filling for a delay *t* until the sink works again; then
//! the sink takes *μ* events/s, of which those that arrive meanwhile are no gain:
//!
//! ```text
//! level at its highest   Q(R, D) = b + a·R·(D + t)         b: what waits there without any outage
//! longest outage         D(R, Q) = (Q − b) ÷ (a·R) − t
//! catching up            T(R, D) = t + Q(R, D) ÷ (μ − R)   for R < μ
//! time to overflow       O(R, Q, s) = (Q − b) ÷ (a·R − s)  s: what still gets through; for a·R > s
//! ```
//!
//! It is a fluid model (inflow minus outflow), the usual one for a queue during an overload: L.
//! Kleinrock, Queueing Systems II (1976), chapter 2. Every number says whether it was measured or
//! comes from the model, and the model's residual at a rate that was not fitted is printed with it.

mod ask;
mod fit;

use serde::{Deserialize, Serialize};

use crate::record::{Known, Quantity};
pub use ask::{Answer, Components, Question, answer};
pub use fit::{crossing, fit};

/// Where a number comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Seen in a run.
    Measured,
    /// Computed by the model from what was seen.
    Modelled,
    /// Read from the configuration or the scenario.
    Configured,
}

impl Basis {
    /// As reports spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Modelled => "modelled",
            Self::Configured => "configured",
        }
    }
}

/// A number with its name, where it comes from, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Number {
    /// What it is.
    pub name: String,
    /// The number.
    pub value: Known<Quantity>,
    /// Where it comes from.
    pub basis: Basis,
    /// From which run, or by which formula.
    pub how: String,
}

/// The fitted model. Units are in the names; a rate is events/s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Model {
    /// *a*: the share of what is offered that waits in the channel, millionths.
    pub fill_ppm: u64,
    /// *t*: from the heal to the highest level, µs.
    pub resume_us: u64,
    /// *μ*: what the sink takes while it catches up.
    pub catch_up_per_s: u64,
    /// *b*: what waits in the channel without an outage, events.
    pub rest_events: u64,
}

impl Model {
    fn fill(&self) -> f64 {
        self.fill_ppm as f64 / 1e6
    }

    fn resume_s(&self) -> f64 {
        self.resume_us as f64 / 1e6
    }

    /// The highest level, in events, of an outage of `outage_s` seconds at `rate`.
    #[must_use]
    pub fn level(&self, rate: f64, outage_s: f64) -> f64 {
        self.rest_events as f64 + self.fill() * rate * (outage_s + self.resume_s())
    }

    /// The longest outage, in seconds, that a channel of `capacity` events survives at `rate`; 0
    /// where it survives none.
    #[must_use]
    pub fn longest_outage_s(&self, rate: f64, capacity: f64) -> f64 {
        let room = capacity - self.rest_events as f64;
        (room / (self.fill() * rate) - self.resume_s()).max(0.0)
    }

    /// Seconds from the heal until the backlog is drained; `None` where the sink is not faster than
    /// the load.
    #[must_use]
    pub fn catch_up_s(&self, rate: f64, outage_s: f64) -> Option<f64> {
        let gain = self.catch_up_per_s as f64 - rate;
        (gain > 0.0).then(|| self.resume_s() + self.level(rate, outage_s) / gain)
    }

    /// Seconds until a channel of `capacity` events is full, while `through` events/s still get
    /// to the store; `None` where it never is.
    #[must_use]
    pub fn overflow_s(&self, rate: f64, capacity: f64, through: f64) -> Option<f64> {
        let net = self.fill() * rate - through;
        (net > 0.0).then(|| (capacity - self.rest_events as f64).max(0.0) / net)
    }
}

/// The outage that the model was fitted to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Fitted {
    /// What was done: `outage of store (pause)`.
    pub what: String,
    /// Offered, events/s.
    pub rate_per_s: u64,
    /// From injection to heal, µs.
    pub outage_us: u64,
    /// The channel's level at its highest, events.
    pub level_events: u64,
    /// From the heal until the channel was back at rest, µs.
    pub drained_us: Known<u64>,
    /// The directory of the run.
    pub run: String,
}

/// The test of the model on a run that it was not fitted to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Residual {
    /// What was done: `bandwidth of agent->datanode1 limited to half of the load`.
    pub what: String,
    /// Whether something still got through; otherwise the outage was total, but another one.
    pub partial: bool,
    /// Offered, events/s.
    pub rate_per_s: u64,
    /// What got through meanwhile, as the model takes it, events/s.
    pub through_per_s: u64,
    /// The level that was to be reached, events.
    pub level_events: u64,
    /// Time to that level by the model, µs.
    pub predicted_us: u64,
    /// As measured, µs.
    pub measured_us: Known<u64>,
    /// (measured − predicted) ÷ predicted, millionths.
    pub residual_ppm: Known<i64>,
    /// The directory of the run.
    pub run: String,
}

/// A point of a frontier: at `x` everything up to `outage_us` is survived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FrontierPoint {
    /// Rate in events/s, or capacity in events.
    pub x: u64,
    /// The longest outage survived, µs, by the model.
    pub outage_us: u64,
}

/// A point that was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MeasuredPoint {
    /// Rate in events/s, or capacity in events.
    pub x: u64,
    /// How long the outage was, or how long it took to overflow, µs.
    pub outage_us: u64,
    /// What was seen: `survived`, `full`.
    pub seen: String,
}

/// One slice through the loss frontier. Everything below its boundary is survived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Slice {
    /// `rate` or `capacity`.
    pub axis: String,
    /// What is held constant: `capacity 1,000,000 events`.
    pub at: String,
    /// The boundary, by the model.
    pub boundary: Vec<FrontierPoint>,
    /// What was measured in this slice.
    pub measured: Vec<MeasuredPoint>,
}

/// What an outage needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Sizing {
    /// The channel: `c1 (file)`.
    pub channel: String,
    /// Its capacity in the scenario's configuration, events.
    pub capacity_events: u64,
    /// Bytes that an event takes in the channel's files.
    pub bytes_per_event: Known<u64>,
    /// How that was found.
    pub bytes_per_event_how: String,
    /// The model.
    pub model: Model,
    /// What it was fitted to.
    pub fitted: Fitted,
    /// How well it predicts another run.
    pub residual: Known<Residual>,
    /// The table.
    pub numbers: Vec<Number>,
    /// Rate × outage, capacity × outage.
    pub frontier: Vec<Slice>,
}

/// The frontier's boundary over rates, from a tenth of `most` to `most`.
#[must_use]
pub fn over_rates(model: &Model, capacity: f64, most: f64) -> Vec<FrontierPoint> {
    (1..=10)
        .map(|i| most * f64::from(i) / 10.0)
        .map(|rate| FrontierPoint {
            x: rate.round() as u64,
            outage_us: (model.longest_outage_s(rate, capacity) * 1e6).round() as u64,
        })
        .collect()
}

/// The frontier's boundary over capacities, in steps of 1, 2, 5 around `capacity`.
#[must_use]
pub fn over_capacities(model: &Model, rate: f64, capacity: f64) -> Vec<FrontierPoint> {
    [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| capacity * factor)
        .map(|events| FrontierPoint {
            x: events.round() as u64,
            outage_us: (model.longest_outage_s(rate, events) * 1e6).round() as u64,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: Model = Model {
        fill_ppm: 1_000_000,
        resume_us: 2_000_000,
        catch_up_per_s: 50_000,
        rest_events: 1_000,
    };

    /// By hand: 1,000 + 20,000 × (30 + 2) = 641,000; ÷ (50,000 − 20,000) = 21.37 s, and 2 s more.
    #[test]
    fn the_formulas_are_those_of_the_heading() {
        assert!((MODEL.level(20_000.0, 30.0) - 641_000.0).abs() < 1e-6);
        let catch_up = MODEL.catch_up_s(20_000.0, 30.0).unwrap();
        assert!((catch_up - (2.0 + 641.0 / 30.0)).abs() < 1e-9);
        assert!((MODEL.longest_outage_s(20_000.0, 641_000.0) - 30.0).abs() < 1e-9);
        assert_eq!(MODEL.catch_up_s(50_000.0, 1.0), None);
        assert_eq!(MODEL.overflow_s(20_000.0, 1e6, 20_000.0), None);
        let overflow = MODEL.overflow_s(20_000.0, 101_000.0, 10_000.0).unwrap();
        assert!((overflow - 10.0).abs() < 1e-9);
        assert!(MODEL.longest_outage_s(20_000.0, 500.0).abs() < 1e-9);
    }

    #[test]
    fn a_frontier_falls_with_the_rate_and_rises_with_the_capacity() {
        let rates = over_rates(&MODEL, 1e6, 40_000.0);
        assert!(rates.is_sorted_by(|a, b| a.x < b.x && a.outage_us > b.outage_us));
        let capacities = over_capacities(&MODEL, 20_000.0, 1e6);
        assert!(capacities.is_sorted_by(|a, b| a.x < b.x && a.outage_us < b.outage_us));
    }
}
