//! The metrics that a gate compares: names, units, directions, and the smallest change that must
//! not be missed.
//!
//! The margin M is a part of the baseline's value; where a floor is given, a change must exceed
//! both. Statistics run on the logarithm of the ratio of the two arms of a pair, so a margin of
//! 5 % is ln 1.05.

use crate::record::Quantity;

/// Whether a metric decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// It decides.
    #[default]
    Gating,
    /// It is shown and named, and decides nothing.
    Watch,
}

/// One metric.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its key in `[gate]` and in the record.
    pub name: &'static str,
    /// What people call it.
    pub words: &'static str,
    /// The unit of its values: `ns`, `bytes`, `syncs`, `us`, `events`, `events_per_s`.
    pub unit: &'static str,
    /// Whether less is better.
    pub less_is_better: bool,
    /// Whether it says how fast the system is: a gate without any such metric decides nothing.
    pub is_speed: bool,
    /// Whether it decides.
    pub class: Class,
    /// M, in millionths of the baseline's value.
    pub margin_ppm: u64,
    /// The least absolute change that counts, in the unit of the values; 0 for none.
    pub floor: u64,
}

impl Metric {
    /// The floor with its unit, if there is one.
    #[must_use]
    pub fn floor_quantity(&self) -> Option<Quantity> {
        (self.floor > 0).then(|| Quantity::new(self.floor, self.unit))
    }
}

/// Every metric, gating ones first.
pub static METRICS: &[Metric] = &[
    Metric {
        name: "cpu_ns_per_event",
        words: "CPU per event",
        unit: "ns",
        less_is_better: true,
        is_speed: true,
        class: Class::Gating,
        margin_ppm: 50_000,
        floor: 0,
    },
    Metric {
        name: "drain_rate_events_per_s",
        words: "drain rate of a filled channel",
        unit: "events_per_s",
        less_is_better: false,
        is_speed: true,
        class: Class::Gating,
        margin_ppm: 80_000,
        floor: 0,
    },
    Metric {
        name: "written_bytes_per_event",
        words: "bytes written per event",
        unit: "bytes",
        less_is_better: true,
        is_speed: false,
        class: Class::Gating,
        margin_ppm: 30_000,
        floor: 0,
    },
    Metric {
        name: "syncs_per_event",
        words: "syncs per event",
        unit: "syncs",
        less_is_better: true,
        is_speed: false,
        class: Class::Gating,
        margin_ppm: 50_000,
        floor: 0,
    },
    Metric {
        name: "peak_rss_bytes",
        words: "peak memory",
        unit: "bytes",
        less_is_better: true,
        is_speed: false,
        class: Class::Gating,
        margin_ppm: 100_000,
        floor: 8 << 20,
    },
    Metric {
        name: "stored_response_us_p50",
        words: "stored p50",
        unit: "us",
        less_is_better: true,
        is_speed: false,
        class: Class::Watch,
        margin_ppm: 150_000,
        floor: 0,
    },
    Metric {
        name: "stored_response_us_p99",
        words: "stored p99",
        unit: "us",
        less_is_better: true,
        is_speed: false,
        class: Class::Watch,
        margin_ppm: 500_000,
        floor: 2_000,
    },
    Metric {
        name: "stored_response_us_p999",
        words: "stored p99.9",
        unit: "us",
        less_is_better: true,
        is_speed: false,
        class: Class::Watch,
        margin_ppm: 1_000_000,
        floor: 0,
    },
    Metric {
        name: "recovery_us",
        words: "recovery",
        unit: "us",
        less_is_better: true,
        is_speed: false,
        class: Class::Watch,
        margin_ppm: 250_000,
        floor: 1_000_000,
    },
    Metric {
        name: "duplicated",
        words: "duplicates",
        unit: "events",
        less_is_better: true,
        is_speed: false,
        class: Class::Watch,
        margin_ppm: 1_000_000,
        floor: 0,
    },
];

/// The metric of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_rule() {
        let percent = |name| find(name).unwrap().margin_ppm / 10_000;
        assert_eq!(percent("cpu_ns_per_event"), 5);
        assert_eq!(percent("drain_rate_events_per_s"), 8);
        assert_eq!(percent("written_bytes_per_event"), 3);
        assert_eq!(percent("syncs_per_event"), 5);
        assert_eq!(percent("peak_rss_bytes"), 10);
        assert_eq!(percent("stored_response_us_p99"), 50);
        assert_eq!(find("recovery_us").unwrap().floor, 1_000_000);
        let gating = METRICS.iter().filter(|one| one.class == Class::Gating);
        assert_eq!(gating.count(), 5);
        assert!(find("p99").is_none());
    }
}
