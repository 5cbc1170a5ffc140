//! `csv`: tables for spreadsheets and plotting programs.
//!
//! - `series.csv`: the time series as it was recorded ([`crate::series`]); left out where the run
//!   has none.
//! - `latency.csv`: every histogram as a percentile table, one row a step: `latency`, `window_kind`
//!   (`steady`, `phase` or `fault`), `window`, `percentile`, `inverse` (1 ÷ (1 − q); empty for the
//!   greatest sample), `value_us`, `count_to` (samples up to this value), `count`. The steps halve
//!   the distance to 100 % at every fifth row.
//! - `counts.csv`: `count`, `value`, `reason`, under the keys of the record; a value that could not
//!   be known is empty and has a reason.

use serde_json::Value;

use super::{Error, Format, Input, Rendered};
use crate::record::{Counts, LatencySet, RunRecord};

/// Rows to each halving of the distance to 100 %.
const STEPS_PER_HALVING: u32 = 5;

/// The format `csv`.
#[derive(Debug)]
pub(super) struct Csv;

impl Format for Csv {
    fn name(&self) -> &'static str {
        "csv"
    }

    fn summary(&self) -> &'static str {
        "time series, percentile tables and counts, for spreadsheets"
    }

    fn render(&self, input: &Input<'_>) -> Result<Vec<Rendered>, Error> {
        let mut files = Vec::new();
        if let Some(series) = input.series.value() {
            files.push(Rendered {
                file_name: "series.csv",
                text: series.to_csv(),
            });
        }
        files.push(Rendered {
            file_name: "latency.csv",
            text: latencies(input.record)?,
        });
        files.push(Rendered {
            file_name: "counts.csv",
            text: counts(&input.record.counts)?,
        });
        Ok(files)
    }
}

fn latencies(record: &RunRecord) -> Result<String, Error> {
    let header = [
        "latency",
        "window_kind",
        "window",
        "percentile",
        "inverse",
        "value_us",
        "count_to",
        "count",
    ];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for (word, latency) in record.latencies.words() {
        steps(word, "steady", "", &latency.steady, &mut rows)?;
        for (kind, sets) in [("phase", &latency.phases), ("fault", &latency.faults)] {
            for named in sets {
                steps(word, kind, &named.name, &named.set, &mut rows)?;
            }
        }
    }
    text(&rows)
}

/// Appends the percentile table of one histogram.
fn steps(
    word: &str,
    kind: &str,
    window: &str,
    set: &LatencySet,
    rows: &mut Vec<Vec<String>>,
) -> Result<(), Error> {
    let Some(histogram) = set.to_histogram()? else {
        return Ok(());
    };
    for step in histogram.iter_quantiles(STEPS_PER_HALVING) {
        let quantile = step.quantile_iterated_to();
        let inverse = if quantile < 1.0 {
            format!("{:.6}", 1.0 / (1.0 - quantile))
        } else {
            String::new()
        };
        let value = step.value_iterated_to().min(histogram.max());
        rows.push(vec![
            word.to_owned(),
            kind.to_owned(),
            window.to_owned(),
            format!("{:.9}", quantile * 100.0),
            inverse,
            value.to_string(),
            histogram.count_between(0, value).to_string(),
            histogram.len().to_string(),
        ]);
    }
    Ok(())
}

/// The counts under their own keys, so that this table cannot forget one.
fn counts(counts: &Counts) -> Result<String, Error> {
    let value = serde_json::to_value(counts).map_err(|e| Error::Csv {
        reason: e.to_string(),
    })?;
    let mut rows = vec![["count", "value", "reason"].map(str::to_owned).to_vec()];
    let mut push = |name: String, value: &Value, reason: &Value| {
        let plain = |value: &Value| match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        rows.push(vec![name, plain(value), plain(reason)]);
    };
    for (key, value) in value.as_object().into_iter().flatten() {
        match value {
            Value::Object(known) => push(
                key.clone(),
                &known["value"],
                value.get("reason").unwrap_or(&Value::Null),
            ),
            Value::Array(causes) => {
                for cause in causes {
                    let name = format!("{key}.{}", cause["cause"].as_str().unwrap_or_default());
                    push(name, &cause["events"], &Value::Null);
                }
            }
            number => push(key.clone(), number, &Value::Null),
        }
    }
    text(&rows)
}

fn text(rows: &[Vec<String>]) -> Result<String, Error> {
    let wrong = |reason: String| Error::Csv { reason };
    let mut writer = ::csv::WriterBuilder::new().from_writer(Vec::new());
    for row in rows {
        writer
            .write_record(row)
            .map_err(|source| wrong(source.to_string()))?;
    }
    let bytes = writer
        .into_inner()
        .map_err(|source| wrong(source.to_string()))?;
    String::from_utf8(bytes).map_err(|source| wrong(source.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Known, NamedSet};
    use hdrhistogram::Histogram;

    #[test]
    fn every_count_is_there_and_an_unknown_one_has_its_reason() {
        let mut record = RunRecord::default();
        record.counts.lost = 5;
        record.counts.stranded = Known::unknown("no reader, \"none\"");
        let table = counts(&record.counts).unwrap();
        assert!(table.contains("\nlost,5,\n"), "{table}");
        assert!(
            table.contains("\nstranded,,\"no reader, \"\"none\"\"\"\n"),
            "{table}"
        );
        assert!(table.lines().count() > 20);
    }

    #[test]
    fn a_histogram_becomes_a_percentile_table() {
        let mut histogram = Histogram::<u64>::new_with_bounds(1, 3_600_000_000, 3).unwrap();
        (1..=1_000).for_each(|us| histogram.record(us).unwrap());
        let set = LatencySet::from_histogram(&histogram, 0).unwrap();
        let mut record = RunRecord::default();
        let named = NamedSet {
            name: "cut".into(),
            set: set.clone(),
        };
        record.latencies.ack_response.faults.push(named);
        record.latencies.slip.steady = set;
        let table = latencies(&record).unwrap();
        let rows: Vec<&str> = table.lines().collect();
        assert!(rows.contains(&"slip,steady,,50.000000000,2.000000,500,500,1000"));
        let last = "ack_response,fault,cut,100.000000000,,1000,1000,1000";
        assert_eq!(rows.last(), Some(&last));
    }
}
