//! `[objectives]`: what must hold for a run to pass.
//!
//! `lost`, `corrupted`, `malformed` and `unexpected` are 0 everywhere unless the scenario says
//! otherwise; `unpublished` is 0 for every store. `unsent` is 0 too: what was due is to be taken while the
//! load lasts, or in its `finish_within`. `refused` has no limit unless one is set. Latency objectives judge events whose intended
//! instant is in `steady` and outside every fault window; those under `[objectives.during]` judge
//! the ones inside. A window begins where the oldest event was due that the fault caught on its way
//! (at most the objective's limit before the strike) and ends with the drained backlog, at most
//! `drained_within` after the heal.

use std::time::Duration;

use super::reader::{Reader, did_you_mean};
use crate::text::parse_duration;

/// Counts that can be limited, with their default limit.
pub const COUNTS: &[(&str, Option<u64>)] = &[
    ("corrupted", Some(0)),
    ("duplicated", None),
    ("lost", Some(0)),
    ("malformed", Some(0)),
    ("refused", None),
    ("reordered", None),
    ("unexpected", Some(0)),
    ("unpublished", Some(0)),
    ("unsent", Some(0)),
];

/// The objectives that are neither counts nor latencies.
pub const OTHERS: &[&str] = &["drained_within", "during", "transfer_success_rate"];

/// The latency words.
pub const LATENCIES: &[&str] = &[
    "ack_response",
    "ack_service",
    "published_response",
    "slip",
    "stored_response",
];

/// The quantiles, as they are spelled at the end of a key.
pub const QUANTILES: &[(&str, f64)] = &[
    ("p50", 0.5),
    ("p90", 0.9),
    ("p95", 0.95),
    ("p99", 0.99),
    ("p999", 0.999),
    ("p9999", 0.9999),
];

/// One objective on latency.
#[derive(Debug, Clone, PartialEq)]
pub struct LatencyObjective {
    /// The key as written: `stored_response_p99`.
    pub key: String,
    /// One of [`LATENCIES`].
    pub word: &'static str,
    /// The quantile, 0 to 1.
    pub quantile: f64,
    /// The limit.
    pub limit: Duration,
}

/// Everything under `[objectives]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Objectives {
    /// Limits of counts: name and the most that is allowed. A count without a limit is only shown.
    pub counts: Vec<(&'static str, u64)>,
    /// Latencies outside of fault windows.
    pub latencies: Vec<LatencyObjective>,
    /// Latencies inside of fault windows.
    pub during: Vec<LatencyObjective>,
    /// From the last heal until all that is owed is stored.
    pub drained_within: Option<Duration>,
    /// Share of issued events that must be stored, 0 to 1.
    pub transfer_success_rate: Option<f64>,
}

impl Objectives {
    /// The limit of a count, if it has one.
    pub fn limit(&self, count: &str) -> Option<u64> {
        self.counts
            .iter()
            .find(|(name, _)| *name == count)
            .map(|(_, limit)| *limit)
    }
}

/// Reads the table; what is wrong in it is left out.
pub fn read(table: &Reader<'_, '_>) -> Objectives {
    let mut counts = Vec::new();
    for (name, default) in COUNTS {
        match table.raw(name) {
            Some(_) => counts.extend(table.number(name, 0..=u64::MAX).map(|limit| (*name, limit))),
            None => counts.extend(default.map(|limit| (*name, limit))),
        }
    }
    let drained_within = table.parsed("drained_within", parse_duration);
    let transfer_success_rate = table.parsed("transfer_success_rate", parse_percent);
    let during = table.table("during");
    let latencies = read_latencies(table, OTHERS);
    let during = read_latencies(&during, &[]);
    Objectives {
        counts,
        latencies,
        during,
        drained_within,
        transfer_success_rate,
    }
}

fn parse_percent(text: &str) -> Result<f64, String> {
    let number = text
        .trim()
        .strip_suffix('%')
        .and_then(|number| number.trim().parse::<f64>().ok());
    match number {
        Some(number) if (0.0..=100.0).contains(&number) => Ok(number / 100.0),
        _ => Err(format!(
            "\"{text}\" is not a share: write it in percent, such as \"99.9 %\""
        )),
    }
}

fn read_latencies(table: &Reader<'_, '_>, others: &[&str]) -> Vec<LatencyObjective> {
    let mut found = Vec::new();
    for (key, _) in table.keys() {
        if others.contains(&key.as_str())
            || (!others.is_empty() && COUNTS.iter().any(|(name, _)| *name == key))
        {
            continue;
        }
        let Some((word, quantile)) = split_key(&key) else {
            table.problem(&key, no_such_objective(&key, !others.is_empty()));
            continue;
        };
        let Some(value) = table.raw_of(&key) else {
            continue;
        };
        let limit = match value.get_ref().as_str() {
            Some(text) => parse_duration(text).map_err(|error| format!("{key}: {error}")),
            None => Err(format!(
                "{key} must be text in quotes, such as \"250ms\", not {}",
                value.get_ref().type_str()
            )),
        };
        match limit {
            Ok(limit) => found.push(LatencyObjective {
                key,
                word,
                quantile,
                limit,
            }),
            Err(message) => {
                table.problem(&key, message);
            }
        }
    }
    found
}

/// What is said of an unknown key. Inside fault windows only latencies are judged.
fn no_such_objective(key: &str, with_counts: bool) -> String {
    let allowed = allowed_keys(with_counts);
    let hint = did_you_mean(key, allowed.iter().map(String::as_str));
    let counts: Vec<&str> = COUNTS.iter().map(|(name, _)| *name).collect();
    let others = if with_counts {
        format!(
            "counts: {}; drained_within; transfer_success_rate; ",
            counts.join(", ")
        )
    } else {
        String::new()
    };
    format!(
        "there is no objective `{key}`{hint} ({others}latencies: {} with _p50 … _p9999)",
        LATENCIES.join(", ")
    )
}

fn split_key(key: &str) -> Option<(&'static str, f64)> {
    let (word, quantile) = key.rsplit_once('_')?;
    let word = LATENCIES.iter().find(|known| **known == word)?;
    let (_, quantile) = QUANTILES.iter().find(|(name, _)| *name == quantile)?;
    Some((word, *quantile))
}

fn allowed_keys(with_counts: bool) -> Vec<String> {
    let mut keys: Vec<String> = LATENCIES
        .iter()
        .flat_map(|word| {
            QUANTILES
                .iter()
                .map(move |(quantile, _)| format!("{word}_{quantile}"))
        })
        .collect();
    if with_counts {
        keys.extend(COUNTS.iter().map(|(name, _)| (*name).to_owned()));
        keys.push("drained_within".to_owned());
        keys.push("transfer_success_rate".to_owned());
    }
    keys
}
