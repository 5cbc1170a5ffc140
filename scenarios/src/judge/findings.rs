//! Where things happened: losses, unpublished and duplicated events, faults with their recovery.

use std::collections::BTreeMap;
use std::path::Path;

use flume_bench_loadgen::account;
use flume_bench_loadgen::idset::IdSet;
use flume_bench_loadgen::ledger::{InFile, Ledger, Owing};
use flume_bench_loadgen::observe::{Batch, FileId, Micros, OddKind};
use flume_bench_reports::record::{
    Anomaly, Duplicates, Fault, Known, Listed, LossRange, Planned, ProxyBytes, Recovery,
    Unpublished, Warning, Window, Witness,
};

use super::samples::Samples;
use super::written;
use crate::checker::{Evidence, Strike};
use crate::runner::history::{Drain, Entry, Line};
use crate::scenario::{Scenario, When};

/// The longest list that a record holds of anything.
const LISTED: usize = 200;

/// The strikes, each with its witness and its recovery.
pub(super) fn faults(evidence: &Evidence<'_>) -> Vec<Fault> {
    let struck = evidence
        .strikes
        .iter()
        .map(|strike| fault(evidence, strike));
    let never = evidence
        .history
        .iter()
        .filter_map(|line| match &line.entry {
            Entry::NotStruck { index, why } => {
                let plan = evidence.scenario.faults.get(*index)?;
                let mut fault = described(
                    evidence.scenario,
                    *index,
                    &format!("{}-{}", plan.kind, index + 1),
                );
                fault.void = Some(format!("void: it never struck ({why})"));
                fault.injected_us = Known::unknown("it never struck");
                Some(fault)
            }
            _ => None,
        });
    struck.chain(never).collect()
}

fn described(scenario: &Scenario, index: usize, name: &str) -> Fault {
    let Some(plan) = scenario.faults.get(index) else {
        return Fault {
            name: name.into(),
            ..Fault::default()
        };
    };
    let text = |value: &toml::Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    let target = ["link", "target"]
        .iter()
        .find_map(|key| plan.table.get(*key))
        .map(text)
        .unwrap_or_default();
    let parameters = plan
        .table
        .iter()
        .filter(|(key, _)| !["link", "target"].contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), text(value)));
    Fault {
        name: name.into(),
        kind: plan.kind.into(),
        target,
        parameters: parameters.collect(),
        planned: Planned {
            at_us: match &plan.when {
                When::At(at) => Some(at.as_micros() as u64),
                When::Observed { .. } => None,
            },
            for_us: Some(plan.lasts.as_micros() as u64),
            when: match &plan.when {
                When::At(_) => None,
                When::Observed { text, .. } => Some(text.clone()),
            },
        },
        ..Fault::default()
    }
}

fn fault(evidence: &Evidence<'_>, strike: &Strike) -> Fault {
    let at = |instant: i64| instant.max(0) as u64;
    let since_heal = |instant: Option<i64>, what: &str| match (instant, strike.healed) {
        (Some(instant), Some(healed)) => Known::Value((instant - healed).max(0) as u64),
        (_, None) => Known::unknown("it was never healed"),
        (None, _) => Known::unknown(what),
    };
    Fault {
        injected_us: Known::Value(at(strike.injected)),
        healed_us: strike.healed.map_or_else(
            || Known::unknown("it was never healed"),
            |healed| Known::Value(at(healed)),
        ),
        witness: match &strike.witness {
            Some((what, evidence, seen)) => Known::Value(Witness {
                what: what.clone(),
                evidence: evidence.clone(),
                at_us: at(*seen),
            }),
            None => Known::unknown("nobody but the injector saw it take effect"),
        },
        void: crate::checker::void(strike),
        in_flight: Known::Value(strike.in_flight),
        recovery: Recovery {
            first_stored_us: since_heal(strike.first_stored, "nothing was stored after the heal"),
            drained_us: since_heal(
                strike.drained,
                "nothing that was due by the heal was stored after it",
            ),
        },
        ..described(evidence.scenario, strike.index, &strike.name)
    }
}

/// The lost events, each with when it was to be sent, and what happened to the agent after that.
pub(super) fn losses(
    journal: &Path,
    evidence: &Evidence<'_>,
    ledger: &Ledger,
    phases: &[Window],
) -> Listed<LossRange> {
    let lost = ledger.lost();
    if lost.is_empty() {
        return Listed::default();
    }
    let batches = account::locate(journal, &lost).unwrap_or_default();
    let merged = merge(batches);
    Listed::first(
        merged
            .into_iter()
            .map(|(first, last)| loss(evidence, phases, first, last)),
        LISTED,
    )
}

/// Neighbouring batches of a producer as one range: its first and its last batch.
fn merge(batches: Vec<Batch>) -> Vec<(Batch, Batch)> {
    let mut by_producer: Vec<Batch> = batches;
    by_producer.sort_by_key(|batch| (batch.producer, batch.first));
    let mut merged: Vec<(Batch, Batch)> = Vec::new();
    for batch in by_producer {
        match merged.last_mut() {
            Some((_, last))
                if last.producer == batch.producer
                    && last.first + u64::from(last.count) == batch.first =>
            {
                *last = batch
            }
            _ => merged.push((batch, batch)),
        }
    }
    merged.sort_by_key(|(first, _)| (first.intended, first.producer));
    merged
}

fn loss(evidence: &Evidence<'_>, phases: &[Window], first: Batch, last: Batch) -> LossRange {
    let at = |instant: i64| instant.max(0) as u64;
    let (from, to) = (first.intended, last.intended);
    // An event that is lost was somewhere inside when the agent died next after it was due.
    let died = evidence.history.iter().find(|line| {
        line.at_us >= to && matches!(&line.entry, Entry::Ended { role, .. } if role == "agent")
    });
    let killed = died.and_then(|death| {
        let mut strikes = evidence.strikes.iter();
        let strike = strikes.find(|strike| {
            touches(strike, death.at_us, death.at_us) && kind(evidence, strike) == "kill"
        })?;
        Some((strike, death.at_us))
    });
    let culprit = killed
        .map(|(strike, _)| strike)
        .or_else(|| struck(evidence, from, to));
    let explanation = match (killed, culprit) {
        (Some((strike, death)), _) => {
            let age = (death - to) as f64 / 1e6;
            let place = match evidence.owing {
                Owing::Acked => ": the agent had it, or had lost it before",
                // It may just as well not have been read from its file yet, and be skipped later.
                Owing::Issued => "; whether the agent had taken it nobody knows",
            };
            Some(format!(
                "due {age:.1} s or more before {} ended the agent, and not stored by then{place}",
                strike.name
            ))
        }
        (None, Some(strike)) => Some(format!("due while {} lasted", strike.name)),
        (None, None) => None,
    };
    let hop = match (evidence.owing, &explanation) {
        (Owing::Acked, _) => Known::Value("agent, after its source had answered".to_owned()),
        (Owing::Issued, _) => {
            Known::unknown("the source gives no answers, so nobody knows whether the agent had it")
        }
    };
    LossRange {
        producer: first.producer,
        first: first.first,
        last: last.first + u64::from(last.count) - 1,
        events: last.first + u64::from(last.count) - first.first,
        intended_from_us: Known::Value(at(from)),
        intended_to_us: Known::Value(at(to)),
        phase: phases
            .iter()
            .find(|phase| phase.contains(at(from)))
            .map(|phase| phase.name.clone()),
        fault: culprit.map(|strike| strike.name.clone()),
        file: Known::unknown("a lost event is in no file"),
        hop,
        explanation,
    }
}

/// Whether a fault held at some instant between these two.
fn touches(strike: &Strike, from: Micros, to: Micros) -> bool {
    strike.injected <= to && from <= strike.healed.unwrap_or(i64::MAX)
}

/// The first fault that held between these two instants: when events were due, and when they were due
/// last or written.
fn struck<'e>(evidence: &'e Evidence<'_>, from: Micros, to: Micros) -> Option<&'e Strike> {
    let mut strikes = evidence.strikes.iter();
    strikes.find(|strike| touches(strike, from, to))
}

fn kind<'a>(evidence: &Evidence<'a>, strike: &Strike) -> &'a str {
    evidence
        .scenario
        .faults
        .get(strike.index)
        .map_or("", |fault| fault.kind)
}

/// File, its path and how many events: neighbouring ranges of a file added up.
fn by_file(ranges: &[InFile]) -> Vec<(FileId, &str, u64)> {
    let mut files: BTreeMap<FileId, (&str, u64)> = BTreeMap::new();
    for in_file in ranges {
        let entry = files.entry(in_file.file).or_insert((&in_file.path, 0));
        entry.1 += in_file.range.count;
    }
    files
        .into_iter()
        .map(|(file, (path, events))| (file, path, events))
        .collect()
}

/// Why a file's content is not published.
fn cause(samples: &Samples, scenario: &Scenario, file: u32) -> String {
    if !scenario.store.has_in_use_names() {
        return "in a file that was published no more".into();
    }
    if samples.renamed.contains_key(&file) {
        "renamed without ever being closed".into()
    } else {
        "under an in-use name".into()
    }
}

/// The files with unpublished events. What a file holds last tells where its writer gave it up: in a
/// fault that held when it was due or written, or in the next one. That one caught it on its way from
/// stored to published, unless it had been due for longer than `on_its_way`.
pub(super) fn unpublished(
    journal: &Path,
    evidence: &Evidence<'_>,
    ledger: &Ledger,
    samples: &Samples,
    on_its_way: Micros,
) -> Listed<Unpublished> {
    let given_up = |intended: Micros, at: Micros| {
        let caught = |strike: &&Strike| (0..=on_its_way).contains(&(strike.injected - intended));
        struck(evidence, intended, at).or_else(|| evidence.strikes.iter().find(caught))
    };
    let ranges = ledger.unpublished_by_file();
    let last = written::last(journal, &ranges);
    let files = by_file(&ranges).into_iter();
    Listed::first(
        files.map(|(file, path, events)| Unpublished {
            file: path.to_owned(),
            events,
            cause: cause(samples, evidence.scenario, file),
            fault: last
                .get(&file)
                .and_then(|(intended, at)| given_up(*intended, *at))
                .map(|strike| strike.name.clone()),
        }),
        LISTED,
    )
}

pub(super) fn unpublished_by_cause(
    ledger: &Ledger,
    samples: &Samples,
    scenario: &Scenario,
) -> Vec<(String, u64)> {
    let mut causes: BTreeMap<String, u64> = BTreeMap::new();
    for (file, _, events) in by_file(&ledger.unpublished_by_file()) {
        *causes.entry(cause(samples, scenario, file)).or_default() += events;
    }
    causes.into_iter().collect()
}

/// The files with extra copies, and for each the windows in which they were due or written.
pub(super) fn duplicates(
    journal: &Path,
    evidence: &Evidence<'_>,
    ledger: &Ledger,
) -> Listed<Duplicates> {
    type Ids = BTreeMap<u16, IdSet>;
    let ranges = ledger.duplicates_by_file(false);
    let mut places: BTreeMap<(FileId, Option<&str>), (Ids, u64)> = BTreeMap::new();
    for piece in written::extra_copies(journal, &ranges) {
        let fault = struck(evidence, piece.intended, piece.at).map(|strike| strike.name.as_str());
        let (ids, copies) = places.entry((piece.file, fault)).or_default();
        *copies += piece.ids.end - piece.ids.start;
        ids.entry(piece.producer)
            .or_default()
            .insert_range(piece.ids);
    }
    Listed::first(
        places
            .into_iter()
            .map(|((file, fault), (ids, extra_copies))| Duplicates {
                file: ledger.path(file).unwrap_or_default().to_owned(),
                ids: ids.values().map(IdSet::len).sum(),
                extra_copies,
                fault: fault.map(str::to_owned),
            }),
        LISTED,
    )
}

pub(super) fn anomalies(ledger: &Ledger, samples: &Samples) -> Listed<Anomaly> {
    let mut all: BTreeMap<(String, u32), Anomaly> = BTreeMap::new();
    for (file, odd) in &samples.odd {
        let class = match odd.kind {
            OddKind::CorruptIdentity | OddKind::CorruptPayload(..) => "corrupted",
            OddKind::Merged | OddKind::Split => "malformed",
            OddKind::Foreign => "foreign",
            OddKind::Torn => "torn",
        };
        let path = samples.paths.get(file).cloned().unwrap_or_default();
        let excerpt = String::from_utf8_lossy(&odd.excerpt).into_owned();
        let anomaly = all
            .entry((class.to_owned(), *file))
            .or_insert_with(|| Anomaly {
                class: class.into(),
                file: path,
                first_offset_bytes: Known::Value(odd.offset),
                records: 0,
                detail: format!(
                    "{:?}: {}",
                    odd.kind,
                    excerpt.chars().take(120).collect::<String>()
                ),
            });
        anomaly.records += 1;
    }
    let reordered = ledger
        .reordered_by_file()
        .into_iter()
        .map(|(_, file, records)| Anomaly {
            class: "reordered".into(),
            file,
            first_offset_bytes: Known::unknown("not recorded"),
            records,
            detail: "stored after a later event of the same producer".into(),
        });
    let unexpected = ledger.unexpected().into_iter().map(|range| Anomaly {
        class: "unexpected".into(),
        file: String::new(),
        first_offset_bytes: Known::unknown("not recorded"),
        records: range.count,
        detail: format!(
            "producer {}, sequence {} to {}: never issued",
            range.producer,
            range.first,
            range.first + range.count - 1
        ),
    });
    let mut listed = Listed::first(all.into_values().chain(reordered).chain(unexpected), LISTED);
    listed.not_listed += samples.odd_left_out;
    listed
}

pub(super) fn proxies(lines: &[Line]) -> Vec<ProxyBytes> {
    lines
        .iter()
        .filter_map(|line| match &line.entry {
            Entry::Proxy {
                link,
                forward,
                backward,
                connections,
            } => Some(ProxyBytes {
                link: link.clone(),
                forward_bytes: *forward,
                backward_bytes: *backward,
                connections: *connections,
            }),
            _ => None,
        })
        .collect()
}

/// Caveats that a reader must know of, each with what to do about it.
pub(super) fn warnings(scenario: &Scenario, evidence: &Evidence<'_>) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut warn = |code: &str, message: String, remedy: &str| {
        warnings.push(Warning {
            code: code.into(),
            message,
            remedy: remedy.into(),
        })
    };
    if scenario.load.owes_issued() {
        warn(
            "owed_is_issued",
            super::owed_rule(scenario).1,
            "use a source that answers, such as avro, to know what the agent has taken",
        );
    }
    if let Some(raised) = super::facts::raised(scenario) {
        warn(
            "drain_raised",
            raised,
            "give a longer drain_deadline in [phases]",
        );
    }
    if scenario.store.provider() == "embedded" && scenario.store.kind() != "files" {
        warn(
            "embedded_store",
            format!(
                "the store is flume-bench's own {}, not the real server",
                scenario.store.kind()
            ),
            "run with --provider local for evidence about the real one",
        );
    }
    let priority = evidence.history.iter().any(|line| matches!(&line.entry, Entry::Note { text } if text.contains("real-time priority: false")));
    if priority {
        warn(
            "no_realtime_priority",
            "the pacing thread had no real-time priority".into(),
            "run as root, or with CAP_SYS_NICE, if the slip is high",
        );
    }
    for line in evidence.history {
        if let Some((code, message, remedy)) = caveat(&line.entry) {
            warn(code, message, remedy);
        }
    }
    warnings
}

/// What a line of the history shows to be incomplete: a code, a message, a remedy.
fn caveat(entry: &Entry) -> Option<(&'static str, String, &'static str)> {
    Some(match entry {
        Entry::Lease {
            path,
            error: Some(error),
            ..
        } => (
            "lease_not_recovered",
            format!("the lease of {path} could not be recovered: {error}"),
            "what the file holds beyond its last closed block was not read",
        ),
        Entry::FinalScan {
            error: Some(error),
            number,
        } => (
            "scan_incomplete",
            format!("scan {number} of the store is not complete: {error}"),
            "look into the store's log",
        ),
        Entry::Drained {
            outcome: Drain::Deadline | Drain::StillMoving,
            missing,
            ..
        } => (
            "drain_deadline",
            format!("the drain hit its deadline with {missing} events still owed"),
            "give a longer drain_deadline in [phases]",
        ),
        _ => return None,
    })
}
