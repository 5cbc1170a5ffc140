//! Judges a run from what it left on disk: `journal.bin`, `history.jsonl`, `conf/scenario.toml`.
//!
//! The running run and `report --judge` go through the same code, so a stored run gives the same
//! counts, classes, latencies and verdict again. CPU, memory and fill come from `series.csv`; what
//! is known about machine and command line, from `facts.json`.

mod costs;
mod facts;
mod findings;
mod flow;
mod samples;
#[cfg(test)]
mod synthetic;
mod timeline;
mod written;

use std::path::Path;

use flume_bench_loadgen::account::{self, Replayed};
use flume_bench_loadgen::journal::Tail;
use flume_bench_loadgen::latency::{Latency as Histogram, Measure};
use flume_bench_loadgen::ledger::{Owing, Totals};
use flume_bench_reports::record::{
    self, Artefact, Bytes, Checker, Counts, Indicators, Known, Latencies, Latency, LatencySet,
    NO_ANSWERS, NamedSet, OwedRule, Ratio, RunRecord, SeriesFile, SystemLoad, UnpublishedCount,
    Window,
};
use flume_bench_reports::series::Table;
use flume_bench_reports::show;
use flume_bench_reports::verdict::{ExitCode, Verdict};

use crate::checker::{self, Evidence, Histograms};
use crate::runner::history::{self, Entry};
use crate::runner::schedule_of;
use crate::scenario::Scenario;
pub use facts::{Facts, gather, host};
use samples::{Samples, Windows};
use timeline::{drained, phases, strikes};

/// Name of the record in a run's directory.
pub const RECORD: &str = "record.json";

/// Judges a run that has just ended, and writes `record.json` and the latencies in `series.csv`.
pub fn judge_and_write(root: &Path, scenario: &Scenario) -> Result<RunRecord, String> {
    let judged = judge(root, scenario)?;
    record::write(&root.join(RECORD), &judged).map_err(|error| error.to_string())?;
    Ok(judged)
}

/// Judges a stored run again from its directory alone.
pub fn judge_stored(root: &Path) -> Result<RunRecord, String> {
    let path = root.join("conf/scenario.toml");
    let scenario = crate::scenario::load_stored(&path).map_err(|problems| {
        problems
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    })?;
    judge(root, &scenario)
}

/// Judges a run.
pub fn judge(root: &Path, scenario: &Scenario) -> Result<RunRecord, String> {
    let facts = Facts::read(&root.join(facts::FILE))?;
    let (lines, history_torn) = history::read(&root.join("history.jsonl"))
        .map_err(|error| format!("failed to read the history: {error}"))?;
    let journal = root.join("journal.bin");
    let phases = phases(&lines);
    let mut strikes = strikes(&lines);
    // The first pass finds where each window begins and ends, the second puts every sample into its
    // scope.
    let mut recovery = samples::Recovery::new(&mut strikes, caught_limits(scenario));
    account::replay(&journal, &mut recovery).map_err(|error| error.to_string())?;
    let since = recovery.since();
    let windows = Windows::new(&phases, &strikes, since, drained_limit(scenario));
    let mut samples = Samples::new(windows, scenario.load.connections, drained(&lines));
    let replayed = account::replay(&journal, &mut samples).map_err(|error| error.to_string())?;
    let totals = replayed.ledger.totals();
    if totals.unsent > 0 {
        place_unsent(&mut samples, scenario, &totals);
    }
    let whole = replayed.tail == Tail::Clean && !history_torn;
    let evidence = Evidence {
        scenario,
        totals,
        owing: replayed.ledger.owing(),
        history: &lines,
        whole,
        strikes,
        steady: std::mem::take(&mut samples.steady),
        during: std::mem::take(&mut samples.during),
        due_steady: std::mem::take(&mut samples.due_steady),
        due_during: std::mem::take(&mut samples.due_during),
        slip: std::mem::take(&mut samples.slip),
        not_drained: samples.not_drained,
        blind: std::mem::take(&mut samples.blind),
    };
    let record = Assembly {
        root,
        scenario,
        facts,
        evidence: &evidence,
        replayed: &replayed,
        samples: &samples,
        phases,
    }
    .record()?;
    Ok(record)
}

/// Puts what was never sent where it was due. Of a load that the scenario does not make like this any
/// more nobody knows when that was; it counts with `steady` then, where a load ends as a rule.
fn place_unsent(samples: &mut Samples, scenario: &Scenario, totals: &Totals) {
    match schedule_of(scenario) {
        Ok(schedule) if schedule.total() == totals.planned => samples.unsent(&schedule),
        _ => samples.due_steady.unsent = [totals.unsent; Measure::ALL.len()],
    }
}

/// How long after a heal a backlog may count as part of its window.
fn drained_limit(scenario: &Scenario) -> i64 {
    scenario
        .objectives
        .drained_within
        .unwrap_or(scenario.phases.drain_deadline)
        .as_micros() as i64
}

/// How long ago an event may have been due that a strike caught on its way and that counts as inside
/// of its window: the limit of its latency. One that was due longer ago had missed it before the
/// strike. Where no objective sets a limit nothing is judged, and the bound is that of the other end.
fn caught_limits(scenario: &Scenario) -> samples::PerMeasure<i64> {
    Measure::ALL.map(|measure| {
        scenario
            .objectives
            .latencies
            .iter()
            .filter(|objective| objective.word == measure.name())
            .map(|objective| objective.limit.as_micros() as i64)
            .max()
            .unwrap_or_else(|| drained_limit(scenario))
    })
}

/// All that a record is made from.
struct Assembly<'a> {
    root: &'a Path,
    scenario: &'a Scenario,
    facts: Facts,
    evidence: &'a Evidence<'a>,
    replayed: &'a Replayed,
    samples: &'a Samples,
    phases: Vec<Window>,
}

/// What a run comes to.
struct Conclusion {
    verdict: Verdict,
    reasons: Vec<String>,
    exit_code: ExitCode,
    interrupted: bool,
}

impl Assembly<'_> {
    fn record(self) -> Result<RunRecord, String> {
        let checkers = checker::check_all(self.evidence);
        let objectives = checker::judge_objectives(self.evidence);
        let conclusion = self.conclusion(&checkers);
        let totals = self.evidence.totals;
        let counts = self.counts(&totals);
        let bytes = self.bytes(&totals);
        let table = Table::read(&self.root.join("series.csv"));
        let system_load = self.system_load(table.as_ref().ok(), &totals);
        let indicators = Indicators::from_counts(&counts, &bytes, &self.wall(), system_load);
        let series = self.series(table.ok())?;
        let environment = self.facts.environment(self.scenario, self.evidence.history);
        let journal = self.root.join("journal.bin");
        let ledger = &self.replayed.ledger;
        let mut load = self.facts.load(self.scenario);
        load.planned = totals.planned;
        Ok(RunRecord {
            verdict: conclusion.verdict,
            reasons: conclusion.reasons,
            exit_code: conclusion.exit_code,
            interrupted: conclusion.interrupted,
            repeat: self.facts.repeat.clone(),
            identity: environment.identity,
            host: environment.host,
            sut: environment.sut,
            store: environment.store,
            load,
            counts,
            bytes,
            indicators,
            costs: costs::costs(self.evidence.history),
            drain_flow: flow::flow(self.evidence.history, &self.evidence.strikes),
            latencies: self.latencies(),
            faults: findings::faults(self.evidence),
            blind_windows: self.blind_windows(),
            losses: findings::losses(&journal, self.evidence, ledger, &self.phases),
            unpublished: findings::unpublished(
                &journal,
                self.evidence,
                ledger,
                self.samples,
                caught_limits(self.scenario)[Measure::PublishedResponse as usize],
            ),
            duplicates: findings::duplicates(&journal, self.evidence, ledger),
            anomalies: findings::anomalies(ledger, self.samples),
            checkers,
            objectives,
            warnings: findings::warnings(self.scenario, self.evidence),
            series,
            artefacts: artefacts(self.root),
            phases: self.phases,
            ..RunRecord::default()
        })
    }

    /// What the checkers, and the way the run ended, come to.
    fn conclusion(&self, checkers: &[Checker]) -> Conclusion {
        let interrupted = self
            .find(|entry| matches!(entry, Entry::Interrupted { .. }).then_some(()))
            .is_some();
        let failed = self.find(|entry| match entry {
            Entry::HarnessFailed { error } => Some(error.clone()),
            _ => None,
        });
        let mut reasons: Vec<String> = failed
            .iter()
            .map(|error| format!("The harness or a store failed: {error}."))
            .collect();
        for wanted in [Verdict::Fail, Verdict::Inconclusive] {
            reasons.extend(
                checkers
                    .iter()
                    .filter(|checker| checker.verdict == wanted)
                    .map(|checker| checker.reason.clone()),
            );
        }
        if reasons.is_empty() {
            let evidence = self.evidence;
            reasons.push(passed(
                &evidence.totals,
                evidence.owing,
                evidence.strikes.len(),
            ));
        }
        let judged = Verdict::merge_all(checkers.iter().map(|checker| checker.verdict));
        let mut holding = vec![judged.exit_code()];
        holding.extend(failed.map(|_| ExitCode::HarnessFailed));
        holding.extend(interrupted.then_some(ExitCode::Inconclusive));
        let exit_code = ExitCode::decide(holding);
        Conclusion {
            verdict: match exit_code {
                ExitCode::Pass => Verdict::Pass,
                ExitCode::Missed => Verdict::Fail,
                _ => Verdict::Inconclusive,
            },
            reasons,
            exit_code,
            interrupted,
        }
    }

    /// When the store could not be read although no fault kept it from that.
    fn blind_windows(&self) -> Vec<Window> {
        checker::unexplained_blindness(self.evidence)
            .map(|(from, to, why)| {
                Window::new(
                    format!("the store ({why})"),
                    (*from).max(0) as u64,
                    (*to).max(0) as u64,
                )
            })
            .collect()
    }

    fn find<T>(&self, look: impl Fn(&Entry) -> Option<T>) -> Option<T> {
        self.evidence
            .history
            .iter()
            .find_map(|line| look(&line.entry))
    }

    fn counts(&self, totals: &Totals) -> Counts {
        let stranded = self.find(|entry| match entry {
            Entry::Stranded {
                events: Some(events),
                ..
            } => Some(Known::Value(*events)),
            Entry::Stranded {
                reason: Some(reason),
                ..
            } => Some(Known::unknown(reason.clone())),
            _ => None,
        });
        let stranded = if totals.lost == 0 {
            Known::Value(0)
        } else {
            stranded.unwrap_or_else(|| {
                Known::unknown("the run ended before the channels could be read")
            })
        };
        let told =
            |count: Option<u64>| count.map_or_else(|| Known::unknown(NO_ANSWERS), Known::Value);
        let by_cause =
            findings::unpublished_by_cause(&self.replayed.ledger, self.samples, self.scenario);
        Counts {
            unsent: totals.unsent,
            issued: totals.issued,
            resent: totals.resent,
            acked: told(totals.acked),
            refused: told(totals.refused),
            unknown: told(totals.unknown),
            owed: totals.owed,
            stored: totals.stored,
            published: totals.published,
            lost: totals.lost,
            stranded,
            unpublished: totals.unpublished,
            unpublished_by_cause: by_cause
                .into_iter()
                .map(|(cause, events)| UnpublishedCount { cause, events })
                .collect(),
            duplicated: totals.duplicated,
            extra_copies: totals.extra_copies,
            duplicated_by_resends: totals.duplicated_resent,
            extra_copies_by_resends: totals.extra_copies_resent,
            recovered: told(totals.recovered),
            corrupted: totals.corrupted,
            malformed: totals.malformed,
            torn: totals.torn,
            unexpected: totals.unexpected,
            foreign: totals.foreign,
            reordered: totals.reordered,
        }
    }

    /// Bodies of one fixed size; a replayed file's lines differ, and then nobody has added them up.
    fn bytes(&self, totals: &Totals) -> Bytes {
        if self.scenario.load.payload == "replay" {
            let unknown = || Known::unknown("the lines of a replayed file differ in length");
            return Bytes {
                issued_bytes: unknown(),
                acked_bytes: unknown(),
                stored_bytes: unknown(),
            };
        }
        let size = self.scenario.load.body as u64;
        let acked = totals.acked.map_or_else(
            || Known::unknown(NO_ANSWERS),
            |acked| Known::Value(acked * size),
        );
        Bytes {
            issued_bytes: Known::Value(totals.issued * size),
            acked_bytes: acked,
            stored_bytes: Known::Value(totals.stored * size),
        }
    }

    /// First issued to last stored.
    fn wall(&self) -> Known<u64> {
        match (self.samples.first_sent, self.samples.last_stored) {
            (Some(first), Some(last)) => Known::Value((last - first).max(0) as u64),
            (None, _) => Known::unknown("nothing was issued"),
            (_, None) => Known::unknown("nothing was stored"),
        }
    }

    fn system_load(&self, table: Option<&Table>, totals: &Totals) -> SystemLoad {
        let column = |name: &str| -> Option<Vec<u64>> {
            let points = table?.points(name)?;
            let known: Vec<u64> = points.into_iter().filter_map(|(_, value)| value).collect();
            (!known.is_empty()).then_some(known)
        };
        let known = |value: Option<u64>, what: &str| {
            value.map_or_else(
                || Known::unknown(format!("{what} was never sampled")),
                Known::Value,
            )
        };
        let cpu = column("cpu_us").map(|all| all.iter().sum::<u64>());
        let most = |name: &str| column(name).and_then(|all| all.into_iter().max());
        SystemLoad {
            cpu_us: known(cpu, "CPU time"),
            cpu_us_per_event: known(cpu, "CPU time").map(|cpu| Ratio::new(*cpu, totals.stored)),
            peak_rss_bytes: known(most("rss_bytes"), "memory"),
            peak_disk_bytes: known(most("disk_bytes"), "disk"),
            written_disk_bytes: Known::unknown("not recorded"),
            peak_channel_fill_ppm: most("channel_fill_ppm").map_or_else(
                || Known::unknown("the system reports no channel fill"),
                Known::Value,
            ),
            proxies: findings::proxies(self.evidence.history),
        }
    }

    fn latencies(&self) -> Latencies {
        let of = |measure: Measure| Latency {
            steady: set(self.evidence.steady.of(measure)),
            phases: named(&self.samples.by_phase, measure),
            faults: named(&self.samples.by_strike, measure),
            resolution: match measure {
                Measure::StoredResponse => self.samples.resolution(),
                _ => Known::unknown("one instant, not an interval"),
            },
        };
        Latencies {
            slip: of(Measure::Slip),
            ack_service: of(Measure::AckService),
            ack_response: of(Measure::AckResponse),
            stored_response: of(Measure::StoredResponse),
            published_response: of(Measure::PublishedResponse),
        }
    }

    /// Fills the latencies into the series, which the sampler could not know.
    fn series(&self, table: Option<Table>) -> Result<SeriesFile, String> {
        let Some(table) = table else {
            return Ok(SeriesFile {
                path: "series.csv".into(),
                ..SeriesFile::default()
            });
        };
        let path = self.root.join("series.csv");
        let text = self.samples.fill_series(&table);
        std::fs::write(&path, text)
            .map_err(|error| format!("failed to write {}: {error}", path.display()))?;
        Ok(SeriesFile {
            path: "series.csv".into(),
            columns: table.columns().to_vec(),
            rows: table.len() as u64,
        })
    }
}

/// The headline of a pass, made from the totals: what was allowed is said all the same.
fn passed(totals: &Totals, owing: Owing, faults: usize) -> String {
    let owed = match owing {
        Owing::Acked => "acknowledged",
        Owing::Issued => "issued",
    };
    let faults = match faults {
        0 => String::new(),
        1 => ", through one fault".to_owned(),
        n => format!(", through {n} faults"),
    };
    let stored = match totals.lost {
        0 => format!(
            "All {} {owed} events are stored{faults}",
            show::count(totals.owed)
        ),
        lost => format!(
            "{} of {} {owed} events are stored{faults}, {} are lost",
            show::count(totals.owed - lost),
            show::count(totals.owed),
            show::count(lost)
        ),
    };
    let others: Vec<String> = [
        ("unsent", totals.unsent),
        ("refused", totals.refused.unwrap_or(0)),
        ("unpublished", totals.unpublished),
        ("corrupted", totals.corrupted),
        ("malformed", totals.malformed),
        ("unexpected", totals.unexpected),
    ]
    .into_iter()
    .filter(|(_, count)| *count > 0)
    .map(|(what, events)| format!(", {} are {what}", show::count(events)))
    .collect();
    let allowed = match totals.lost > 0 || !others.is_empty() {
        true => ", which the scenario allows",
        false => "",
    };
    format!(
        "{stored}{}{allowed}, and every objective is met.",
        others.concat()
    )
}

fn named(all: &[(String, Histograms)], measure: Measure) -> Vec<NamedSet> {
    all.iter()
        .map(|(name, histograms)| NamedSet {
            name: name.clone(),
            set: set(histograms.of(measure)),
        })
        .collect()
}

/// A histogram as the record keeps it.
fn set(histogram: &Histogram) -> LatencySet {
    use base64::Engine as _;
    let known = |q: f64| {
        let needed = flume_bench_loadgen::latency::samples_needed(q).unwrap_or(0);
        histogram.quantile(q).map_or_else(
            || {
                Known::unknown(format!(
                    "too few samples: {} of at least {needed}",
                    histogram.len()
                ))
            },
            Known::Value,
        )
    };
    let encoded = histogram.encode().map_or_else(
        |error| Known::unknown(error.to_string()),
        |bytes| Known::Value(base64::engine::general_purpose::STANDARD.encode(bytes)),
    );
    LatencySet {
        histogram: encoded,
        count: histogram.len(),
        negative: histogram.negative(),
        us_p50: known(0.5),
        us_p90: known(0.9),
        us_p99: known(0.99),
        us_p999: known(0.999),
        us_p9999: known(0.9999),
        us_max: histogram
            .max()
            .map_or_else(|| Known::unknown("no samples"), Known::Value),
    }
}

fn artefacts(root: &Path) -> Vec<Artefact> {
    [
        ("journal", "journal.bin"),
        ("history", "history.jsonl"),
        ("inputs", "conf"),
        ("agent's log", "sut/agent.log"),
    ]
    .into_iter()
    .filter(|(_, path)| root.join(path).exists())
    .map(|(what, path)| Artefact {
        what: what.into(),
        path: path.into(),
    })
    .collect()
}

/// What the rule of what is owed says in words.
fn owed_rule(scenario: &Scenario) -> (OwedRule, String) {
    if scenario.load.owes_issued() {
        (
            OwedRule::Issued,
            format!("A source fed by {} gives no answers.", scenario.load.into),
        )
    } else {
        (
            OwedRule::Acked,
            "The source took responsibility for that.".to_owned(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headline_of_a_pass_says_what_was_allowed() {
        let mut totals = Totals {
            owed: 10_000,
            ..Totals::default()
        };
        assert_eq!(
            passed(&totals, Owing::Acked, 1),
            "All 10,000 acknowledged events are stored, through one fault, and every objective is met."
        );
        totals.lost = 700;
        totals.unsent = 26_230;
        assert_eq!(
            passed(&totals, Owing::Issued, 0),
            "9,300 of 10,000 issued events are stored, 700 are lost, 26,230 are unsent, which the scenario allows, and every objective is met."
        );
    }
}
