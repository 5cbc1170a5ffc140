//! What the page says about losses, unpublished files, copies and strange records.

use minijinja::{Value, context};

use super::super::terminal::loss;
use crate::record::RunRecord;
use crate::show;

pub(super) fn losses(record: &RunRecord) -> Value {
    let rows: Vec<Value> = record
        .losses
        .items
        .iter()
        .map(|range| {
            let from = range.intended_from_us.value().map(|us| show::instant(*us));
            let to = range.intended_to_us.value().map(|us| show::instant(*us));
            context! {
                events => show::count(range.events),
                range => format!("producer {}, {}–{}", range.producer, show::count(range.first), show::count(range.last)),
                due => from.zip(to).map_or_else(|| show::UNKNOWN.to_owned(), |(a, b)| format!("{a} – {b}")),
                window => window(record, range.fault.as_deref(), range.phase.as_deref()),
                file => show::known(&range.file, Clone::clone),
                hop => show::known(&range.hop, Clone::clone),
                explanation => range.explanation.clone(),
                sentence => loss(range),
            }
        })
        .collect();
    context! {
        rows,
        not_listed => not_listed(record.losses.not_listed),
        total => record.counts.lost,
        owed => show::count(record.counts.owed),
        text => show::plural(record.counts.lost, "event"),
        stranded => show::known_or_why(&record.counts.stranded, |n| show::count(*n)),
    }
}

/// How many entries a cut list lacks; empty where none.
fn not_listed(entries: u64) -> String {
    if entries == 0 {
        String::new()
    } else {
        show::count(entries)
    }
}

/// The window something fell into: the fault's letter and name, or the phase.
fn window(record: &RunRecord, fault: Option<&str>, phase: Option<&str>) -> String {
    let lettered = fault.map(|name| {
        let at = record.faults.iter().position(|fault| fault.name == name);
        at.map_or_else(
            || name.to_owned(),
            |i| format!("{} · {name}", show::letter(i)),
        )
    });
    lettered
        .or_else(|| phase.map(show::words))
        .unwrap_or_else(|| "no fault".to_owned())
}

pub(super) fn unpublished(record: &RunRecord) -> Value {
    let rows: Vec<Value> = record
        .unpublished
        .items
        .iter()
        .map(|file| {
            context! {
                file => file.file.clone(),
                events => show::count(file.events),
                cause => show::words(&file.cause),
                window => window(record, file.fault.as_deref(), None),
            }
        })
        .collect();
    context! {
        rows,
        not_listed => not_listed(record.unpublished.not_listed),
        total => record.counts.unpublished,
        text => show::plural(record.counts.unpublished, "event"),
    }
}

pub(super) fn duplicates(record: &RunRecord) -> Value {
    let rows: Vec<Value> = record
        .duplicates
        .items
        .iter()
        .map(|file| {
            context! {
                file => file.file.clone(),
                events => show::count(file.ids),
                copies => show::count(file.extra_copies),
                window => window(record, file.fault.as_deref(), None),
            }
        })
        .collect();
    context! { rows, not_listed => not_listed(record.duplicates.not_listed) }
}

pub(super) fn anomalies(record: &RunRecord) -> Value {
    let rows: Vec<Value> = record
        .anomalies
        .items
        .iter()
        .map(|anomaly| {
            context! {
                class => anomaly.class.clone(),
                file => anomaly.file.clone(),
                at => show::known(&anomaly.first_offset_bytes, |at| show::count(*at)),
                records => show::count(anomaly.records),
                detail => anomaly.detail.clone(),
            }
        })
        .collect();
    context! { rows, not_listed => not_listed(record.anomalies.not_listed) }
}
