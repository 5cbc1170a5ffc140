//! `terminal`: the report as text, for people and for the logs of a CI job.
//!
//! Verdict and reason come first, then the five indicators, what was lost, the faults with their
//! witnesses, latencies, objectives, caveats, files, and the command that repeats the run. No line
//! is wider than the width given. Colours appear only where the caller says so; without them no
//! information is missing. Text from outside is cleaned of control characters.

use std::collections::BTreeMap;

use super::page::{Page, command, wrap};
use super::{Error, Format, Input, Rendered};
use crate::record::{Counts, Fault, Known, LatencySet, LossRange, RunRecord, Warning};
use crate::show;
use crate::verdict::Verdict;

/// The format `terminal`.
#[derive(Debug)]
pub(super) struct Terminal;

impl Format for Terminal {
    fn name(&self) -> &'static str {
        "terminal"
    }

    fn summary(&self) -> &'static str {
        "text: verdict, indicators, losses, faults, latencies"
    }

    fn render(&self, input: &Input<'_>) -> Result<Vec<Rendered>, Error> {
        let mut page = Page::new(input.width, input.colour);
        let record = input.record;
        head(&mut page, record);
        indicators(&mut page, record);
        findings(&mut page, record);
        faults(&mut page, record);
        latencies(&mut page, record);
        judgements(&mut page, record);
        caveats(&mut page, record, input);
        files(&mut page, record);
        Ok(vec![Rendered {
            file_name: "report.txt",
            text: page.text,
        }])
    }
}

/// How many entries of a list are shown; the record and the page have more.
const SHOWN: usize = 8;

fn head(page: &mut Page, record: &RunRecord) {
    let verdict = page.verdict(record.verdict);
    let plain = record.verdict.as_str().len();
    let reason = record
        .reasons
        .first()
        .map_or("no reason was recorded", String::as_str);
    let mut lines = wrap(&show::clean(reason), page.width - plain - 2).into_iter();
    let first = lines.next().unwrap_or_default();
    page.text.push_str(format!("{verdict}  {first}").trim_end());
    page.text.push('\n');
    for line in lines {
        page.text
            .push_str(&format!("{:width$}{line}\n", "", width = plain + 2));
    }
    for reason in record.reasons.iter().skip(1) {
        page.paragraph(plain + 2, reason);
    }
    if record.interrupted {
        page.paragraph(
            plain + 2,
            "The run was interrupted; what it recorded until then is here.",
        );
    }
    page.text.push('\n');
    let (sut, store) = (&record.sut, &record.store);
    page.entry("scenario", &record.identity.scenario);
    let version = show::known(&sut.version, Clone::clone);
    page.entry(
        "system under test",
        &format!("{} {version} (driver {})", sut.name, sut.driver),
    );
    let server = show::known(&store.server_version, Clone::clone);
    page.entry(
        "store",
        &format!(
            "{}, provider {}, server {server}",
            store.kind, store.provider
        ),
    );
    page.entry(
        "run",
        &format!(
            "{:016x}, seed {}",
            record.identity.run.0, record.identity.seed
        ),
    );
}

fn indicators(page: &mut Page, record: &RunRecord) {
    let (counts, seen) = (&record.counts, &record.indicators);
    page.heading("Indicators");
    let stored = seen.transfer_success_stored;
    page.entry(
        "transfer success",
        &format!(
            "{} stored ({} of {} issued), {} published",
            stored.percent(),
            show::count(stored.part),
            show::count(stored.whole),
            seen.transfer_success_published.percent(),
        ),
    );
    let loss = seen.data_loss;
    let (lost, owed) = (show::count(loss.part), show::count(loss.whole));
    page.entry(
        "data loss",
        &format!("{} ({lost} of {owed} owed)", loss.percent()),
    );
    let delay = show::known_or_why(&seen.transfer_delay_us, |delay| show::delay(*delay));
    page.entry("transfer delay", &delay);
    let events = show::known_or_why(&seen.transfer_rate_events, |rate| show::events_rate(*rate));
    let bytes = show::known(&seen.transfer_rate_bytes, |rate| show::bytes_rate(*rate));
    page.entry("transfer rate", &format!("{events}, {bytes}"));
    page.entry("system load", &system_load(record));
    // What is not known is said in a line of its own.
    let known = |count: &Known<u64>| count.value().copied().unwrap_or(0);
    let fates = [
        ("unsent", counts.unsent),
        ("resent", counts.resent),
        ("refused", known(&counts.refused)),
        ("unanswered", known(&counts.unknown)),
        ("recovered", known(&counts.recovered)),
        ("duplicated", counts.duplicated),
        ("duplicated by resends", counts.duplicated_by_resends),
        ("unpublished", counts.unpublished),
        ("corrupted", counts.corrupted),
        ("malformed", counts.malformed),
        ("torn", counts.torn),
        ("unexpected", counts.unexpected),
        ("foreign", counts.foreign),
        ("reordered", counts.reordered),
    ];
    let present: Vec<String> = fates
        .iter()
        .filter(|(_, value)| *value > 0)
        .map(|(name, value)| format!("{} {name}", show::count(*value)))
        .collect();
    page.entry("accounts", &answers(counts));
    if !present.is_empty() {
        page.entry("", &present.join(", "));
    }
}

/// What the source said: `1,000 acked`, or which counts are not known, and why.
fn answers(counts: &Counts) -> String {
    let mut parts: Vec<String> = Vec::new();
    if let Known::Value(acked) = counts.acked {
        parts.push(format!("{} acked", show::count(acked)));
    }
    let mut unknown: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, count) in [
        ("acked", &counts.acked),
        ("refused", &counts.refused),
        ("unanswered", &counts.unknown),
        ("recovered", &counts.recovered),
    ] {
        if let Some(reason) = count.reason() {
            unknown.entry(reason).or_default().push(name);
        }
    }
    let unknown = unknown.into_iter();
    parts.extend(
        unknown.map(|(reason, names)| format!("{} {} ({reason})", names.join(", "), show::UNKNOWN)),
    );
    parts.join("; ")
}

fn system_load(record: &RunRecord) -> String {
    let load = &record.indicators.system_load;
    let per_event = load
        .cpu_us_per_event
        .map(|ratio| ratio.as_f64().unwrap_or(f64::NAN));
    let mut parts = vec![
        format!(
            "{} CPU per event",
            show::known(&per_event, |us| show::duration_f64(*us))
        ),
        format!(
            "peak {} resident",
            show::known(&load.peak_rss_bytes, |b| show::bytes(*b))
        ),
        format!(
            "peak {} on disk",
            show::known(&load.peak_disk_bytes, |b| show::bytes(*b))
        ),
    ];
    if let Known::Value(fill) = load.peak_channel_fill_ppm {
        parts.push(format!("channel up to {} full", show::ppm(fill)));
    }
    for proxy in &load.proxies {
        let (to, back) = (
            show::bytes(proxy.forward_bytes),
            show::bytes(proxy.backward_bytes),
        );
        parts.push(format!("{} {to} (back {back})", proxy.link));
    }
    parts.join(", ")
}

fn findings(page: &mut Page, record: &RunRecord) {
    let counts = &record.counts;
    if counts.lost > 0 || !record.losses.is_empty() {
        page.heading("Lost");
        let stranded = show::known_or_why(&counts.stranded, |n| show::count(*n));
        let lost = show::plural(counts.lost, "event");
        page.paragraph(
            2,
            &format!("{lost}; still readable in the agent's own channel: {stranded}"),
        );
        for range in record.losses.items.iter().take(SHOWN) {
            page.item(&loss(range));
        }
        rest(
            page,
            record.losses.items.len(),
            record.losses.not_listed,
            "range",
        );
    }
    if counts.unpublished > 0 || !record.unpublished.is_empty() {
        page.heading("Stored and not published");
        for file in record.unpublished.items.iter().take(SHOWN) {
            let (events, cause) = (show::plural(file.events, "event"), show::words(&file.cause));
            let during = during(file.fault.as_deref());
            page.item(&format!("{}: {events}, {cause}{during}", file.file));
        }
        rest(
            page,
            record.unpublished.items.len(),
            record.unpublished.not_listed,
            "file",
        );
    }
    if !record.duplicates.is_empty() {
        page.heading("Copies");
        for file in record.duplicates.items.iter().take(SHOWN) {
            let copies = show::count(file.extra_copies);
            let of = show::plural(file.ids, "event");
            let during = during(file.fault.as_deref());
            page.item(&format!("{}: {copies} extra of {of}{during}", file.file));
        }
        rest(
            page,
            record.duplicates.items.len(),
            record.duplicates.not_listed,
            "file",
        );
    }
    if !record.anomalies.is_empty() {
        page.heading("Records that are not as they should be");
        for anomaly in record.anomalies.items.iter().take(SHOWN) {
            let records = show::plural(anomaly.records, "record");
            let at = show::known(&anomaly.first_offset_bytes, |at| show::count(*at));
            let (class, detail) = (&anomaly.class, &anomaly.detail);
            let file = &anomaly.file;
            page.item(&format!(
                "{file}: {records} {class}, first at byte {at}: {detail}"
            ));
        }
        rest(
            page,
            record.anomalies.items.len(),
            record.anomalies.not_listed,
            "file",
        );
    }
}

/// Says how much of a list is not shown.
fn rest(page: &mut Page, listed: usize, not_listed: u64, noun: &str) {
    let hidden = listed.saturating_sub(SHOWN) as u64 + not_listed;
    if hidden > 0 {
        page.paragraph(
            2,
            &format!(
                "… and {} more {noun}{}",
                show::count(hidden),
                if hidden == 1 { "" } else { "s" }
            ),
        );
    }
}

fn during(fault: Option<&str>) -> String {
    fault
        .map(|name| format!(", during {name}"))
        .unwrap_or_default()
}

/// One range of lost events as a sentence; the page uses it too.
pub(crate) fn loss(range: &LossRange) -> String {
    let mut text = format!(
        "producer {}, {} to {}: {}",
        range.producer,
        show::count(range.first),
        show::count(range.last),
        show::plural(range.events, "event"),
    );
    let (from, to) = (range.intended_from_us.value(), range.intended_to_us.value());
    if let (Some(from), Some(to)) = (from, to) {
        text += &format!(", due {} to {}", show::instant(*from), show::instant(*to));
    }
    text += &during(range.fault.as_deref());
    if let Known::Value(hop) = &range.hop {
        text += &format!("; last seen: {hop}");
    }
    if let Known::Value(file) = &range.file {
        text += &format!("; neighbours in {file}");
    }
    if let Some(explanation) = &range.explanation {
        text += &format!("; {explanation}");
    }
    text
}

fn faults(page: &mut Page, record: &RunRecord) {
    if record.faults.is_empty() {
        return;
    }
    page.heading("Faults");
    for (i, fault) in record.faults.iter().enumerate() {
        let parameters: Vec<String> = fault
            .parameters
            .iter()
            .map(|(key, value)| format!("{key} {value}"))
            .collect();
        let parameters = if parameters.is_empty() {
            String::new()
        } else {
            format!(" ({})", parameters.join(", "))
        };
        let title = format!(
            "{}  {} {}{parameters}",
            show::letter(i),
            fault.kind,
            fault.target
        );
        page.paragraph(2, &title);
        for (label, text) in fault_lines(fault) {
            page.entry(&format!("   {label}"), &text);
        }
    }
}

/// What there is to say about a fault, label by label; the page uses it too.
pub(crate) fn fault_lines(fault: &Fault) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if let Some(void) = &fault.void {
        lines.push(("void", void.trim_start_matches("void: ").to_owned()));
    }
    let injected = show::known_or_why(&fault.injected_us, |at| {
        format!("at {}", show::instant(*at))
    });
    let healed = show::known_or_why(&fault.healed_us, |at| format!("at {}", show::instant(*at)));
    let length = match (&fault.injected_us, &fault.healed_us) {
        (Known::Value(from), Known::Value(to)) => {
            format!(", {} long", show::duration(to.saturating_sub(*from)))
        }
        _ => String::new(),
    };
    lines.push((
        "in effect",
        format!("injected {injected}, healed {healed}{length}"),
    ));
    let witness = match &fault.witness {
        Known::Value(witness) => {
            let what = show::words(&witness.what);
            format!(
                "{what} at {}: {}",
                show::instant(witness.at_us),
                witness.evidence
            )
        }
        Known::Unknown(reason) => format!("none: {reason}"),
    };
    lines.push(("witness", witness));
    lines.push((
        "in flight",
        show::known_or_why(&fault.in_flight, |n| show::plural(*n, "event")),
    ));
    let first = show::known_or_why(&fault.recovery.first_stored_us, |us| show::duration(*us));
    let drained = show::known_or_why(&fault.recovery.drained_us, |us| show::duration(*us));
    let recovery =
        format!("first event stored {first} after the heal, all of the backlog {drained}");
    lines.push(("recovery", recovery));
    lines
}

fn latencies(page: &mut Page, record: &RunRecord) {
    page.heading("Latency, steady and outside faults");
    let header = [
        "", "p50", "p90", "p99", "p99.9", "p99.99", "max", "samples", "negative",
    ];
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (word, latency) in record.latencies.words() {
        if latency.steady.count > 0 {
            rows.push(latency_row(&show::words(word), &latency.steady));
        }
        for named in &latency.faults {
            if word == "stored_response" && named.set.count > 0 {
                rows.push(latency_row(&format!("· during {}", named.name), &named.set));
            }
        }
    }
    if rows.is_empty() {
        page.paragraph(2, "No samples were recorded.");
        return;
    }
    page.table(&header, &rows);
    for (word, latency) in record.latencies.words() {
        if let Known::Value(width) = &latency.resolution {
            let (p50, p99) = (show::duration(width.us_p50), show::duration(width.us_p99));
            let word = show::words(word);
            page.paragraph(
                2,
                &format!("resolution of {word}: {p50} (p50), {p99} (p99)"),
            );
        }
    }
}

/// The cells of one set of samples; `-` where it has too few for a percentile.
pub(crate) fn latency_row(name: &str, set: &LatencySet) -> Vec<String> {
    let mut row = vec![name.to_owned()];
    let cell = |value: &Known<u64>| {
        value
            .value()
            .map_or("-".to_owned(), |us| show::duration(*us))
    };
    row.extend(set.percentiles().iter().map(|(_, value)| cell(value)));
    row.push(cell(&set.us_max));
    row.push(show::count(set.count));
    row.push(show::count(set.negative));
    row
}

fn judgements(page: &mut Page, record: &RunRecord) {
    if !record.objectives.is_empty() {
        page.heading("Objectives");
        for objective in &record.objectives {
            let seen = show::known_or_why(&objective.seen, show::quantity);
            let limit = show::quantity(&objective.limit);
            let metric = &objective.metric;
            let reason = objective
                .reason
                .as_ref()
                .map(|reason| format!("; {reason}"))
                .unwrap_or_default();
            let text = format!("{metric}: {seen}, limit {limit}{reason}");
            page.entry(objective.verdict.as_str(), &text);
        }
    }
    if !record.checkers.is_empty() {
        page.heading("Checkers");
        for checker in &record.checkers {
            page.entry(
                checker.verdict.as_str(),
                &format!("{}: {}", checker.name, checker.reason),
            );
            if checker.verdict != Verdict::Pass {
                let text = format!("expected {}; seen {}", checker.expected, checker.seen);
                page.entry("", &text);
            }
        }
    }
}

fn caveats(page: &mut Page, record: &RunRecord, input: &Input<'_>) {
    let mut all: Vec<Warning> = record.warnings.clone();
    if input.series.value().is_some_and(|series| series.torn) {
        all.push(Warning {
            code: "series_torn".to_owned(),
            message: "The last line of the time series is torn and was left out.".to_owned(),
            remedy: "Nothing; counts and verdict do not use it.".to_owned(),
        });
    }
    if all.is_empty() && record.blind_windows.is_empty() {
        return;
    }
    page.heading("Caveats");
    for window in &record.blind_windows {
        let (from, to) = (show::instant(window.start_us), show::instant(window.end_us));
        page.item(&format!(
            "The receiver could not read {} {from} to {to}.",
            window.name
        ));
    }
    for warning in &all {
        page.item(&format!(
            "{}: {}",
            warning.message.trim_end_matches('.'),
            warning.remedy
        ));
    }
}

fn files(page: &mut Page, record: &RunRecord) {
    page.heading("Files");
    for artefact in &record.artefacts {
        page.entry(&show::words(&artefact.what), &artefact.path);
    }
    if !record.series.path.is_empty() {
        page.entry("time series", &record.series.path);
    }
    page.heading("Repeat");
    for line in command(&show::clean(&record.repeat), page.width - 2) {
        page.text.push_str(&format!("  {line}\n"));
    }
}
