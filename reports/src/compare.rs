//! Two records side by side: counts, indicators, percentiles.
//!
//! Nothing here is called better, worse or a regression. Two runs are one observation each, and
//! what separates a difference from noise needs many; the columns say only what was seen.

use crate::format::Page;
use crate::record::{Counts, Indicators, Known, LatencySet, Ratio, RunRecord};
use crate::show;

/// A name that is longer does not head a column.
const HEAD: usize = 24;

/// Shows two records side by side as text. `names` head the columns; long ones stand above the tables.
#[must_use]
pub fn terminal(
    first: &RunRecord,
    second: &RunRecord,
    names: [&str; 2],
    width: usize,
    colour: bool,
) -> String {
    let mut page = Page::new(width, colour);
    let both = [first, second];
    page.heading("Runs");
    let mut heads = names;
    if names.iter().any(|name| name.chars().count() > HEAD) {
        heads = ["first", "second"];
        for (head, name) in heads.iter().zip(names) {
            page.paragraph(2, &format!("{head}: {name}"));
        }
        page.text.push('\n');
    }
    let mut rows = Vec::new();
    let mut row = |name: &str, of: &dyn Fn(&RunRecord) -> String| {
        let cells = both.map(of);
        if cells[0] != cells[1] || !matches!(name, "seed" | "cores" | "kernel") {
            rows.push([vec![name.to_owned()], cells.to_vec()].concat());
        }
    };
    row("verdict", &|record| record.verdict.to_string());
    row("scenario", &|record| record.identity.scenario.clone());
    row("system", &|record| {
        format!(
            "{} {}",
            record.sut.name,
            show::known(&record.sut.version, Clone::clone)
        )
    });
    row("store", &|record| {
        format!("{} ({})", record.store.kind, record.store.provider)
    });
    row("rate", &|record| record.load.rate.clone());
    row("seed", &|record| record.identity.seed.to_string());
    row("cores", &|record| {
        show::known(&record.host.cores, |n| show::count(*n))
    });
    row("kernel", &|record| {
        show::known(&record.host.kernel, Clone::clone)
    });
    let [one, other] = heads;
    page.table(&["", one, other], &rows);

    page.heading("Indicators");
    page.table(&["", one, other, "second ÷ first"], &indicators(both));
    page.heading("Counts");
    page.table(
        &["", one, other, "difference"],
        &counts(&first.counts, &second.counts),
    );
    page.heading("Latency, steady and outside faults");
    page.table(&["", one, other, "second ÷ first"], &latencies(both));
    page.text
}

/// The files whose content differs between two runs although their role is the same: what to
/// look at before comparing numbers.
#[must_use]
pub fn files_that_differ(first: &RunRecord, second: &RunRecord) -> Vec<String> {
    let mut different = Vec::new();
    for file in &first.identity.files {
        let other = second
            .identity
            .files
            .iter()
            .find(|other| other.role == file.role);
        if other.is_none_or(|other| other.sha256.value() != file.sha256.value()) {
            different.push(file.role.clone());
        }
    }
    different
}

/// `second ÷ first` as a factor; empty where it does not exist.
fn factor(first: Option<f64>, second: Option<f64>) -> String {
    match (first, second) {
        (Some(first), Some(second)) if first > 0.0 => {
            format!("× {}", show::decimal(second / first))
        }
        _ => String::new(),
    }
}

/// A row of a figure that both runs may have, with the factor between the two.
fn figure<T: Copy>(
    name: &str,
    [a, b]: [Known<T>; 2],
    number: impl Fn(T) -> Option<f64>,
    show: impl Fn(T) -> String,
) -> Vec<String> {
    let value = |known: &Known<T>| known.value().and_then(|value| number(*value));
    let cell = |known: &Known<T>| show::known(known, |value| show(*value));
    vec![
        name.to_owned(),
        cell(&a),
        cell(&b),
        factor(value(&a), value(&b)),
    ]
}

fn indicators(both: [&RunRecord; 2]) -> Vec<Vec<String>> {
    let both = both.map(|record| &record.indicators);
    let ratio =
        |name: &str, of: fn(&Indicators) -> Known<Ratio>, show: &dyn Fn(Ratio) -> String| {
            figure(name, both.map(of), Ratio::as_f64, show)
        };
    let bytes = |name: &str, of: fn(&Indicators) -> Known<u64>| {
        figure(name, both.map(of), |n| Some(n as f64), show::bytes)
    };
    let time = |ratio: Ratio| {
        ratio
            .as_f64()
            .map_or_else(|| "-".to_owned(), show::duration_f64)
    };
    vec![
        ratio(
            "transfer success, stored",
            |seen| seen.transfer_success_stored.into(),
            &Ratio::percent,
        ),
        ratio(
            "transfer success, published",
            |seen| seen.transfer_success_published.into(),
            &Ratio::percent,
        ),
        ratio("data loss", |seen| seen.data_loss.into(), &Ratio::percent),
        ratio(
            "transfer delay",
            |seen| seen.transfer_delay_us.clone(),
            &show::delay,
        ),
        ratio(
            "transfer rate",
            |seen| seen.transfer_rate_events.clone(),
            &show::events_rate,
        ),
        ratio(
            "",
            |seen| seen.transfer_rate_bytes.clone(),
            &show::bytes_rate,
        ),
        ratio(
            "CPU per event",
            |seen| seen.system_load.cpu_us_per_event.clone(),
            &time,
        ),
        bytes("peak memory", |seen| {
            seen.system_load.peak_rss_bytes.clone()
        }),
        bytes("peak disk", |seen| seen.system_load.peak_disk_bytes.clone()),
    ]
}

fn counts(first: &Counts, second: &Counts) -> Vec<Vec<String>> {
    // Through JSON, so that a count that is added to the record is compared too.
    let numbers = |counts: &Counts| {
        let value = serde_json::to_value(counts).unwrap_or_default();
        let object = value.as_object().cloned().unwrap_or_default();
        object.into_iter().collect::<Vec<_>>()
    };
    let mut rows = Vec::new();
    for ((key, a), (_, b)) in numbers(first).into_iter().zip(numbers(second)) {
        let number = |value: &serde_json::Value| {
            value
                .as_u64()
                .or_else(|| value.get("value").and_then(serde_json::Value::as_u64))
        };
        if a.is_array() {
            continue;
        }
        let cell = |value: Option<u64>| value.map_or_else(|| show::UNKNOWN.to_owned(), show::count);
        let difference = match (number(&a), number(&b)) {
            (Some(a), Some(b)) if a > b => format!("−{}", show::count(a - b)),
            (Some(a), Some(b)) if b > a => format!("+{}", show::count(b - a)),
            _ => String::new(),
        };
        rows.push(vec![
            show::words(&key),
            cell(number(&a)),
            cell(number(&b)),
            difference,
        ]);
    }
    rows
}

fn latencies(both: [&RunRecord; 2]) -> Vec<Vec<String>> {
    let [first, second] = both.map(|record| record.latencies.words());
    let mut rows = Vec::new();
    for ((word, a), (_, b)) in first.into_iter().zip(second) {
        let lines = |set: &LatencySet| {
            let mut lines: Vec<(&str, Option<u64>)> = set
                .percentiles()
                .map(|(quantile, value)| (quantile.name, value.value().copied()))
                .to_vec();
            lines.push(("max", set.us_max.value().copied()));
            lines
        };
        for ((name, a), (_, b)) in lines(&a.steady).into_iter().zip(lines(&b.steady)) {
            if a.is_none() && b.is_none() {
                continue;
            }
            let cell = |us: Option<u64>| us.map_or_else(|| "-".to_owned(), show::duration);
            let value = |us: Option<u64>| us.map(|us| us as f64);
            let name = format!("{} {name}", show::words(word));
            rows.push(vec![name, cell(a), cell(b), factor(value(a), value(b))]);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::FileUsed;

    #[test]
    fn differences_are_shown_and_not_judged() {
        let mut first = RunRecord::default();
        first.counts.lost = 7;
        first.indicators.data_loss = Ratio::new(7, 1_000);
        let mut second = first.clone();
        second.counts.lost = 5;
        second.indicators.data_loss = Ratio::new(5, 1_000);
        let text = terminal(&first, &second, ["before", "after"], 100, false);
        let lost = text
            .lines()
            .find(|line| line.trim_start().starts_with("lost"))
            .unwrap();
        assert_eq!(
            lost.split_whitespace().collect::<Vec<_>>(),
            ["lost", "7", "5", "−2"]
        );
        assert!(text.contains("× 0.714"), "{text}");
        // Names of directories are longer than a column.
        let long = [
            "20261123-044157-exec-hdfs-listed-a8c8f1e2d3c4b5a6",
            "second-with-a-very-long-name-of-its-own",
        ];
        let text = terminal(&first, &second, long, 100, false);
        assert!(
            text.contains("× 0.714") && text.contains(long[0]) && text.contains(long[1]),
            "{text}"
        );
        assert!(text.lines().all(|line| line.chars().count() <= 100));
        for word in ["regression", "better", "worse", "faster", "slower"] {
            assert!(!text.contains(word), "{text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 100));
    }

    #[test]
    fn files_are_compared_by_content() {
        let file = |sha: &str| FileUsed {
            role: "scenario".into(),
            path: "x.toml".into(),
            sha256: Known::Value(sha.into()),
        };
        let mut first = RunRecord::default();
        first.identity.files.push(file("aa"));
        let mut second = first.clone();
        assert!(files_that_differ(&first, &second).is_empty());
        second.identity.files[0] = file("bb");
        assert_eq!(files_that_differ(&first, &second), ["scenario"]);
    }
}
