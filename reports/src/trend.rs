//! Many records in the order of time: did a metric change its level, and when?
//!
//! Records are compared where they measured the same thing: same scenario name, system, store,
//! rate and machine. For each metric of such a group one change is looked for by
//! [`pettitt`], Holm over the group's metrics at 5 %. A group needs ten records; inconclusive ones
//! are named and left out. One change a
//! metric is all this finds; of a slow drift it names the middle. It says when and how much, and
//! what else changed between the two runs at that point; it decides nothing.

use serde::Serialize;

use crate::compare;
use crate::format::Page;
use crate::record::{Known, Ratio, RunRecord};
use crate::show;
use crate::statistics::{holm, pettitt, spread};
use crate::verdict::Verdict;

/// The chance of any false change in a group of records.
pub const LEVEL: f64 = 0.05;

/// Orders drawn for each p.
const PERMUTATIONS: u32 = 9_999;

/// A record, and what its run is called.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The run's directory name.
    pub name: String,
    /// What it says.
    pub record: RunRecord,
}

/// What many records show. Integers only, as in a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trend {
    /// The version of this shape.
    pub schema_version: u32,
    /// The seed of the drawn orders.
    pub seed: String,
    /// Records that measured the same thing, by scenario, system, store, rate and machine.
    pub groups: Vec<Group>,
    /// Records that were not used, with the reason.
    pub left_out: Vec<LeftOut>,
}

/// A record that was not used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Which.
    pub run: String,
    /// Why.
    pub reason: String,
}

/// Records that measured the same thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// The scenario's name.
    pub scenario: String,
    /// The system under test, by name.
    pub system: String,
    /// The store's kind and provider.
    pub store: String,
    /// The rate as the scenario writes it.
    pub rate: String,
    /// Processor and cores.
    pub machine: String,
    /// How many records.
    pub runs: u64,
    /// When the first run began, RFC 3339.
    pub first: String,
    /// When the last run began.
    pub last: String,
    /// Each metric that the records know.
    pub metrics: Vec<Metric>,
}

/// One metric over the records of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Metric {
    /// Its name, with its unit.
    pub name: String,
    /// How many records know it.
    pub values: u64,
    /// The median over all of them.
    pub median: u64,
    /// The most likely change; unknown of too few records.
    pub change: Known<Change>,
}

/// A change of level.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Whether it is more than chance, at 5 % for the whole group.
    pub found: bool,
    /// p of this metric alone, in millionths.
    pub p_ppm: u64,
    /// p after Holm's correction over the group's metrics.
    pub p_adjusted_ppm: u64,
    /// The last run before the change.
    pub before_run: String,
    /// The first run after it.
    pub after_run: String,
    /// When that one began.
    pub after_started: String,
    /// Median of the runs before.
    pub before_median: u64,
    /// Median of the runs after.
    pub after_median: u64,
    /// What else differs between the two runs at the change: files by role, commit, kernel,
    /// system's version.
    pub also_changed: Vec<String>,
}

/// A metric's value in a record, if it is known.
type Value = fn(&RunRecord) -> Option<f64>;

/// The metrics, named with their unit.
static METRICS: [(&str, Value); 6] = [
    ("cpu_ns_per_event", |record| {
        let us = ratio(&record.indicators.system_load.cpu_us_per_event)?;
        Some(us * 1_000.0)
    }),
    ("extra_copies", |record| {
        Some(record.counts.extra_copies as f64)
    }),
    ("peak_rss_bytes", |record| {
        count(&record.indicators.system_load.peak_rss_bytes)
    }),
    ("stored_response_us_p50", |record| {
        count(&record.latencies.stored_response.steady.us_p50)
    }),
    ("stored_response_us_p99", |record| {
        count(&record.latencies.stored_response.steady.us_p99)
    }),
    ("transfer_rate_events_per_s", |record| {
        let per_us = ratio(&record.indicators.transfer_rate_events)?;
        Some(per_us * 1e6)
    }),
];

fn ratio(known: &Known<Ratio>) -> Option<f64> {
    known.value().and_then(|ratio| ratio.as_f64())
}

fn count(known: &Known<u64>) -> Option<f64> {
    known.value().map(|count| *count as f64)
}

/// Looks for changes in `records`, in any order. The same seed gives the same answer.
#[must_use]
pub fn of(records: Vec<Stored>, mut left_out: Vec<LeftOut>, seed: u64) -> Trend {
    let mut dated: Vec<(Key, jiff::Timestamp, Stored)> = Vec::new();
    for stored in records {
        match usable(&stored.record) {
            Ok(started) => dated.push((Key::of(&stored.record), started, stored)),
            Err(reason) => left_out.push(LeftOut {
                run: stored.name,
                reason,
            }),
        }
    }
    dated.sort_by(|a, b| (&a.0, a.1, &a.2.name).cmp(&(&b.0, b.1, &b.2.name)));
    let groups = dated
        .chunk_by(|a, b| a.0 == b.0)
        .map(|group| {
            let runs: Vec<&Stored> = group.iter().map(|(_, _, stored)| stored).collect();
            group_of(&group[0].0, &runs, seed)
        })
        .collect();
    Trend {
        schema_version: 1,
        seed: seed.to_string(),
        groups,
        left_out,
    }
}

/// When the run began; or why its numbers are not used. An inconclusive run did not measure what it
/// was to measure; a failed one did.
fn usable(record: &RunRecord) -> Result<jiff::Timestamp, String> {
    if record.verdict == Verdict::Inconclusive {
        let why = record
            .reasons
            .first()
            .map_or("no reason given", String::as_str);
        return Err(format!("inconclusive: {why}"));
    }
    let started = &record.identity.started;
    let unreadable = |_| format!("it does not say when it began: \"{started}\"");
    started.parse().map_err(unreadable)
}

/// What must be alike for records to be compared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    scenario: String,
    system: String,
    store: String,
    rate: String,
    machine: String,
}

impl Key {
    fn of(record: &RunRecord) -> Self {
        let host = &record.host;
        Self {
            scenario: record.identity.scenario.clone(),
            system: record.sut.name.clone(),
            store: format!("{} ({})", record.store.kind, record.store.provider),
            rate: record.load.rate.clone(),
            machine: format!(
                "{}, cores: {}",
                show::known(&host.cpu_model, Clone::clone),
                show::known(&host.cores, |cores| show::count(*cores))
            ),
        }
    }
}

fn group_of(key: &Key, runs: &[&Stored], seed: u64) -> Group {
    let started = |run: Option<&&Stored>| {
        run.map(|stored| stored.record.identity.started.clone())
            .unwrap_or_default()
    };
    let mut metrics: Vec<Metric> = METRICS
        .iter()
        .filter_map(|(name, value)| metric_of(name, *value, runs, seed))
        .collect();
    let p: Vec<f64> = metrics
        .iter()
        .filter_map(|metric| Some(metric.change.value()?.p_ppm as f64 / 1e6))
        .collect();
    let mut adjusted = holm::adjusted(&p).into_iter();
    for metric in &mut metrics {
        if let Known::Value(change) = &mut metric.change
            && let Some(p) = adjusted.next()
        {
            change.found = p <= LEVEL;
            change.p_adjusted_ppm = ppm(p);
        }
    }
    Group {
        scenario: key.scenario.clone(),
        system: key.system.clone(),
        store: key.store.clone(),
        rate: key.rate.clone(),
        machine: key.machine.clone(),
        runs: runs.len() as u64,
        first: started(runs.first()),
        last: started(runs.last()),
        metrics,
    }
}

/// `None` where no record knows it.
fn metric_of(name: &str, value: Value, runs: &[&Stored], seed: u64) -> Option<Metric> {
    let known: Vec<(&Stored, f64)> = runs
        .iter()
        .filter_map(|run| Some((*run, value(&run.record)?)))
        .collect();
    if known.is_empty() {
        return None;
    }
    let series: Vec<f64> = known.iter().map(|(_, value)| *value).collect();
    let median = |values: &[f64]| spread::median(values).unwrap_or(0.0).round() as u64;
    let change = match pettitt::change(&series, PERMUTATIONS, seed) {
        Ok(change) => {
            let (before, after) = (known[change.before - 1].0, known[change.before].0);
            Known::Value(Change {
                found: false,
                p_ppm: ppm(change.p),
                p_adjusted_ppm: ppm(1.0),
                before_run: before.name.clone(),
                after_run: after.name.clone(),
                after_started: after.record.identity.started.clone(),
                before_median: median(&series[..change.before]),
                after_median: median(&series[change.before..]),
                also_changed: also_changed(&before.record, &after.record),
            })
        }
        Err(reason) => Known::unknown(reason.to_string()),
    };
    Some(Metric {
        name: name.to_owned(),
        values: series.len() as u64,
        median: median(&series),
        change,
    })
}

fn also_changed(before: &RunRecord, after: &RunRecord) -> Vec<String> {
    let mut different = compare::files_that_differ(before, after);
    let mut also = |name: &str, same: bool| {
        if !same {
            different.push(name.to_owned());
        }
    };
    also("commit", before.identity.commit == after.identity.commit);
    also(
        "versions",
        before.identity.versions == after.identity.versions,
    );
    also(
        "version of the system",
        before.sut.version == after.sut.version,
    );
    also("kernel", before.host.kernel == after.host.kernel);
    different
}

fn ppm(share: f64) -> u64 {
    (share * 1e6).round() as u64
}

impl Trend {
    /// As JSON, for programs.
    ///
    /// # Errors
    ///
    /// None that is known: the shape has no maps with other keys than text, and no numbers but
    /// integers.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        Ok(text)
    }

    /// As text of `width` columns.
    #[must_use]
    pub fn terminal(&self, width: usize, colour: bool) -> String {
        let mut page = Page::new(width, colour);
        for group in &self.groups {
            page.heading(&format!("{}, {}", group.scenario, group.system));
            page.entry("store, rate", &format!("{}, {}", group.store, group.rate));
            page.entry("machine", &group.machine);
            page.entry(
                "runs",
                &format!(
                    "{}, {} to {}",
                    group.runs,
                    show::date(&group.first),
                    show::date(&group.last)
                ),
            );
            if group.runs < pettitt::LEAST as u64 {
                let need = pettitt::LEAST;
                page.entry("change", &format!("unknown: too few runs, it takes {need}"));
                continue;
            }
            let rows: Vec<Vec<String>> = group.metrics.iter().map(row).collect();
            page.table(&["", "runs", "median", "p", "change"], &rows);
            for metric in &group.metrics {
                sentence(&mut page, metric);
            }
        }
        if !self.left_out.is_empty() {
            page.heading("Left out");
            for one in &self.left_out {
                page.paragraph(2, &format!("{}: {}", one.run, one.reason));
            }
        }
        page.text.push('\n');
        page.paragraph(
            0,
            "One change a metric is looked for, by Pettitt's test, p adjusted by Holm over the \
             metrics of a group; a change is one with p of 5 % or less.",
        );
        page.text
    }
}

fn row(metric: &Metric) -> Vec<String> {
    let mut cells = vec![
        show::words(&metric.name),
        show::count(metric.values),
        show::count(metric.median),
    ];
    match metric.change.value() {
        None => cells.extend(["", "unknown"].map(str::to_owned)),
        Some(change) => cells.extend([
            show::decimal(change.p_adjusted_ppm as f64 / 1e6),
            if change.found { "yes" } else { "none seen" }.to_owned(),
        ]),
    }
    cells
}

/// What stands below the table about a metric that changed.
fn sentence(page: &mut Page, metric: &Metric) {
    let Some(change) = metric.change.value().filter(|change| change.found) else {
        return;
    };
    let by = match change.before_median {
        0 => String::new(),
        before => format!(
            ", × {}",
            show::decimal(change.after_median as f64 / before as f64)
        ),
    };
    let also = if change.also_changed.is_empty() {
        "nothing that the records know of".to_owned()
    } else {
        change.also_changed.join(", ")
    };
    page.entry(
        &show::words(&metric.name),
        &format!(
            "from {} to {}{by}, between {} and {} ({}). Between these two also changed: {also}.",
            show::count(change.before_median),
            show::count(change.after_median),
            change.before_run,
            change.after_run,
            show::date(&change.after_started),
        ),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a day apart; `cpu` in ns an event.
    fn runs(scenario: &str, cpu: &[u64]) -> Vec<Stored> {
        let one = |(day, cpu): (usize, &u64)| {
            let mut record = RunRecord {
                verdict: Verdict::Pass,
                ..RunRecord::default()
            };
            record.identity.scenario = scenario.into();
            record.indicators.transfer_rate_events = Known::Value(Ratio::new(30, 1_500));
            record.identity.started = format!("2026-03-{:02}T10:00:00+01:00", day + 1);
            record.identity.commit = Known::Value(if day < 8 { "aaaa" } else { "bbbb" }.into());
            record.indicators.system_load.cpu_us_per_event = Known::Value(Ratio::new(*cpu, 1_000));
            Stored {
                name: format!("run-{day:02}"),
                record,
            }
        };
        cpu.iter().enumerate().map(one).collect()
    }

    const STEP: [u64; 16] = [
        905, 890, 910, 899, 904, 893, 908, 901, 1003, 990, 1012, 998, 1007, 995, 1001, 1009,
    ];

    #[test]
    fn a_step_is_found_where_it_is_and_what_else_changed_is_named() {
        let mut records = runs("hdfs", &STEP);
        records.reverse();
        let trend = of(records, Vec::new(), 7);
        let group = &trend.groups[0];
        assert_eq!((trend.groups.len(), group.runs), (1, 16));
        let cpu = &group.metrics[0];
        assert_eq!(cpu.name, "cpu_ns_per_event");
        let change = cpu.change.value().unwrap();
        assert!(change.found, "{change:?}");
        assert_eq!(
            (change.before_run.as_str(), change.after_run.as_str()),
            ("run-07", "run-08")
        );
        assert_eq!((change.before_median, change.after_median), (903, 1_002));
        assert_eq!(change.also_changed, ["commit"]);
        let copies = &group.metrics[1];
        assert!(!copies.change.value().unwrap().found);
        let rate = &group.metrics[2];
        assert_eq!(
            (rate.name.as_str(), rate.median),
            ("transfer_rate_events_per_s", 20_000)
        );
        let text = trend.terminal(100, false);
        assert!(text.contains("between run-07 and run-08"), "{text}");
        assert!(text.contains("also changed: commit"), "{text}");
        assert!(text.contains("× 1.11"), "{text}");
        assert!(text.contains("1 March 2026, 09:00 UTC"), "{text}");
        assert!(!text.contains("2026-03"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 100));
        assert_eq!(
            of(runs("hdfs", &STEP), Vec::new(), 7).json().unwrap(),
            trend.json().unwrap()
        );
    }

    #[test]
    fn a_level_series_has_no_change() {
        let level: Vec<u64> = (0..16).map(|i| 900 + (i * 7) % 16).collect();
        let trend = of(runs("hdfs", &level), Vec::new(), 7);
        for metric in &trend.groups[0].metrics {
            assert!(!metric.change.value().unwrap().found, "{metric:?}");
        }
    }

    #[test]
    fn different_scenarios_are_not_mixed_and_few_runs_say_nothing() {
        let mut records = runs("hdfs", &STEP);
        records.extend(runs("files", &STEP[..9]));
        records.push(Stored {
            name: "void".into(),
            record: RunRecord::default(),
        });
        records.push(Stored {
            name: "undated".into(),
            record: RunRecord {
                verdict: Verdict::Fail,
                ..RunRecord::default()
            },
        });
        let trend = of(records, Vec::new(), 7);
        let sizes: Vec<(&str, u64)> = trend
            .groups
            .iter()
            .map(|group| (group.scenario.as_str(), group.runs))
            .collect();
        assert_eq!(sizes, [("files", 9), ("hdfs", 16)]);
        assert!(trend.groups[0].metrics[0].change.value().is_none());
        let left_out: Vec<&str> = trend.left_out.iter().map(|one| one.run.as_str()).collect();
        assert_eq!(left_out, ["void", "undated"]);
        let text = trend.terminal(100, false);
        assert!(text.contains("too few runs, it takes 10"), "{text}");
        assert!(text.contains("undated"), "{text}");
    }
}
