//! What the page says, as text: the template only arranges it.

use minijinja::{Value, context};

use super::super::terminal::{fault_lines, latency_row};
use super::super::{Error, Input};
use super::frame::Head;
use super::{band, charts, findings};
use crate::record::{Known, OwedRule, Ratio, RunRecord, Scope};
use crate::show;
use crate::verdict::Verdict;

/// What stands on top.
pub(super) fn head(record: &RunRecord) -> Head<'_> {
    Head {
        interrupted: record
            .interrupted
            .then_some("The run was interrupted; what it recorded until then is here."),
        ..Head::new(
            "report",
            &record.identity.scenario,
            &record.identity.started,
            record.verdict.as_str(),
            &record.reasons,
        )
    }
}

/// Everything else that the template asks for.
pub(super) fn body(input: &Input<'_>) -> Result<Value, Error> {
    let record = input.record;
    let no_series = input.series.reason().map(str::to_owned);
    let figures = charts::over_time(input)?;
    let percentiles = charts::by_percentile(record)?;
    Ok(context! {
        description => record.identity.description.clone(),
        facts => facts(record),
        indicators => indicators(record),
        band => band::context(record),
        figures,
        no_series,
        percentiles,
        latency_rows => latency_rows(record),
        resolutions => resolutions(record),
        faults => faults(record),
        accounts => accounts(record),
        owed => owed(record),
        losses => findings::losses(record),
        unpublished => findings::unpublished(record),
        duplicates => findings::duplicates(record),
        anomalies => findings::anomalies(record),
        objectives => objectives(record),
        checkers => checkers(record),
        blind => record.blind_windows.iter().map(blind).collect::<Vec<_>>(),
        warnings => warnings(record),
        setup => setup(record),
        files => files(record),
        artefacts => artefacts(record),
        repeat => record.repeat.clone(),
        run => format!("{:016x}", record.identity.run.0),
        seed => record.identity.seed.to_string(),
        exit_code => record.exit_code.code(),
        exit_meaning => record.exit_code.meaning(),
        schema_version => record.schema_version,
    })
}

/// One line under the headline: what was tested, into what, with which load.
fn facts(record: &RunRecord) -> Vec<String> {
    let (sut, store, load) = (&record.sut, &record.store, &record.load);
    let version =
        |known: &Known<String>| known.value().map(|v| format!(" {v}")).unwrap_or_default();
    let mut facts = Vec::new();
    if !sut.name.is_empty() {
        facts.push(format!("{}{}", sut.name, version(&sut.version)));
    }
    if !store.kind.is_empty() {
        let server = version(&store.server_version);
        facts.push(format!("{}, {}{server}", store.kind, store.provider));
    }
    if !load.rate.is_empty() {
        facts.push(format!("{} into {}", load.rate, load.into));
    }
    if record.end_us() > 0 {
        facts.push(show::duration(record.end_us()));
    }
    facts
}

fn indicators(record: &RunRecord) -> Vec<Value> {
    let seen = &record.indicators;
    let tile = |name: &str, value: String, unit: &str, lines: Vec<String>, alarm: bool| {
        context! { name, value, unit, lines, alarm }
    };
    let of = |ratio: Ratio, noun: &str| {
        format!(
            "{} of {} {noun}",
            show::count(ratio.part),
            show::count(ratio.whole)
        )
    };
    let stored = seen.transfer_success_stored;
    let published = seen.transfer_success_published;
    let success = vec![
        of(stored, "issued are stored"),
        format!("{} published", published.percent()),
    ];
    let delay = seen.transfer_delay_us.map(|ratio| ratio.as_f64());
    let (delay_value, delay_unit) = match delay.value().copied().flatten() {
        Some(us) => split(&show::duration_f64(us)),
        None => (show::UNKNOWN.to_owned(), String::new()),
    };
    let delay_line = show::known_or_why(&seen.transfer_delay_us, |ratio| {
        format!(
            "{} ÷ {} issued",
            show::duration(ratio.part),
            show::count(ratio.whole)
        )
    });
    let hours = seen
        .transfer_delay_us
        .value()
        .and_then(|ratio| show::delay_hours(*ratio));
    let per_event = hours.map_or("per event".to_owned(), |hours| {
        format!("= {hours} per event")
    });
    let delay_lines = vec![per_event, delay_line];
    let (rate_value, rate_unit) = split(&show::known(&seen.transfer_rate_events, |rate| {
        show::events_rate(*rate)
    }));
    let rate_lines = vec![show::known_or_why(&seen.transfer_rate_bytes, |r| {
        show::bytes_rate(*r)
    })];
    let load = &seen.system_load;
    let cpu = load
        .cpu_us_per_event
        .value()
        .and_then(|ratio| ratio.as_f64());
    let (cpu_value, cpu_unit) = cpu.map_or((show::UNKNOWN.to_owned(), String::new()), |us| {
        split(&show::duration_f64(us))
    });
    let mut load_lines = vec![
        "of CPU per event".to_owned(),
        format!(
            "{} resident at most",
            show::known(&load.peak_rss_bytes, |b| show::bytes(*b))
        ),
    ];
    if let Known::Value(fill) = load.peak_channel_fill_ppm {
        load_lines.push(format!("channel up to {} full", show::ppm(fill)));
    }
    let (success_value, success_unit) = split(&stored.percent());
    let (loss_value, loss_unit) = split(&seen.data_loss.percent());
    let lost = record.counts.lost > 0;
    vec![
        tile(
            "Transfer success",
            success_value,
            &success_unit,
            success,
            false,
        ),
        tile(
            "Data loss",
            loss_value,
            &loss_unit,
            vec![of(seen.data_loss, "owed are lost")],
            lost,
        ),
        tile(
            "Transfer delay",
            delay_value,
            &delay_unit,
            delay_lines,
            false,
        ),
        tile("Transfer rate", rate_value, &rate_unit, rate_lines, false),
        tile("System load", cpu_value, &cpu_unit, load_lines, false),
    ]
}

/// A number and its unit, which is set smaller.
fn split(text: &str) -> (String, String) {
    let (value, unit) = text.split_once(' ').unwrap_or((text, ""));
    (value.to_owned(), unit.to_owned())
}

fn latency_rows(record: &RunRecord) -> Vec<Value> {
    let mut rows = Vec::new();
    for (word, latency) in record.latencies.words() {
        if latency.steady.count > 0 {
            let cells = latency_row(&show::words(word), &latency.steady);
            rows.push(context! { cells, inner => false });
        }
        for named in latency.faults.iter().filter(|named| named.set.count > 0) {
            let letter = record
                .faults
                .iter()
                .position(|fault| fault.name == named.name);
            let name = letter.map_or_else(|| named.name.clone(), show::letter);
            let cells = latency_row(&format!("during {name}"), &named.set);
            rows.push(context! { cells, inner => true });
        }
    }
    rows
}

fn resolutions(record: &RunRecord) -> Vec<String> {
    let mut lines = Vec::new();
    for (word, latency) in record.latencies.words() {
        if let Known::Value(width) = &latency.resolution {
            let (p50, p99) = (show::duration(width.us_p50), show::duration(width.us_p99));
            lines.push(format!(
                "{}: {p50} at the median, {p99} at p99",
                show::words(word)
            ));
        }
    }
    lines
}

fn faults(record: &RunRecord) -> Vec<Value> {
    let mut faults = Vec::new();
    for (i, fault) in record.faults.iter().enumerate() {
        let mut lines: Vec<(String, String)> = Vec::new();
        for (label, text) in fault_lines(fault) {
            lines.push((label.to_owned(), text));
        }
        let parameters: Vec<String> = fault
            .parameters
            .iter()
            .map(|(key, value)| format!("{} {value}", show::words(key)))
            .collect();
        faults.push(context! {
            letter => show::letter(i),
            kind => show::words(&fault.kind),
            target => fault.target.clone(),
            parameters => parameters.join(", "),
            planned => planned(&fault.planned),
            void => fault.void.is_some(),
            lines,
        });
    }
    faults
}

fn planned(planned: &crate::record::Planned) -> String {
    let mut parts = Vec::new();
    if let Some(at) = planned.at_us {
        parts.push(format!("{} into steady", show::duration(at)));
    }
    if let Some(when) = &planned.when {
        parts.push(format!("when {when}"));
    }
    if let Some(length) = planned.for_us {
        parts.push(format!("for {}", show::duration(length)));
    }
    parts.join(", ")
}

/// All counts with what they mean, in the order of an event's life.
fn accounts(record: &RunRecord) -> Vec<Value> {
    let counts = &record.counts;
    let mut rows: Vec<Value> = Vec::new();
    let mut row = |name: &str, value: String, meaning: &str, alarm: bool| {
        rows.push(context! { name, value, meaning, alarm });
    };
    let n = show::count;
    row("unsent", n(counts.unsent), "due and never tried", false);
    row("issued", n(counts.issued), "tried at least once", false);
    row("resent", n(counts.resent), "tried more than once", false);
    for (name, count, meaning) in [
        ("acked", &counts.acked, "the source took responsibility"),
        ("refused", &counts.refused, "the source said no"),
        ("unknown", &counts.unknown, "the source never answered"),
    ] {
        let (value, meaning) = told(count, meaning);
        row(name, value, meaning, false);
    }
    row("owed", n(counts.owed), "what the system answers for", false);
    row(
        "stored",
        n(counts.stored),
        "read back with the right checksums",
        false,
    );
    row(
        "published",
        n(counts.published),
        "under a final name, in a closed file",
        false,
    );
    row(
        "lost",
        n(counts.lost),
        "owed and not stored",
        counts.lost > 0,
    );
    let (value, meaning) = told(
        &counts.stranded,
        "the part of lost still readable in the channel",
    );
    row("stranded", value, meaning, false);
    let causes: Vec<String> = counts
        .unpublished_by_cause
        .iter()
        .map(|part| format!("{} {}", n(part.events), show::words(&part.cause)))
        .collect();
    let causes = if causes.is_empty() {
        "stored and not published".to_owned()
    } else {
        causes.join(", ")
    };
    row(
        "unpublished",
        n(counts.unpublished),
        &causes,
        counts.unpublished > 0,
    );
    let copies = format!(
        "stored more than once; {} extra copies",
        n(counts.extra_copies)
    );
    row("duplicated", n(counts.duplicated), &copies, false);
    let copies = format!(
        "the generator sent them twice; {} extra copies",
        n(counts.extra_copies_by_resends)
    );
    row(
        "by resends",
        n(counts.duplicated_by_resends),
        &copies,
        false,
    );
    let (value, meaning) = told(&counts.recovered, "stored although refused or unanswered");
    row("recovered", value, meaning, false);
    row(
        "corrupted",
        n(counts.corrupted),
        "wrong checksum",
        counts.corrupted > 0,
    );
    row(
        "malformed",
        n(counts.malformed),
        "merged, split or foreign lines",
        counts.malformed > 0,
    );
    row(
        "torn",
        n(counts.torn),
        "unterminated last record of a dead writer",
        false,
    );
    row(
        "unexpected",
        n(counts.unexpected),
        "never issued",
        counts.unexpected > 0,
    );
    row("foreign", n(counts.foreign), "of another run", false);
    row(
        "reordered",
        n(counts.reordered),
        "stored after a later one of its producer",
        false,
    );
    rows
}

/// A count and what it means; of one that is not known, why.
fn told<'a>(count: &'a Known<u64>, meaning: &'a str) -> (String, &'a str) {
    let value = show::known(count, |count| show::count(*count));
    (value, count.reason().unwrap_or(meaning))
}

fn owed(record: &RunRecord) -> String {
    let rule = match record.load.owed_rule {
        OwedRule::Acked => "What was acked is owed.",
        OwedRule::Issued => "Everything issued is owed.",
    };
    format!("{rule} {}", record.load.owed_reason)
        .trim_end()
        .to_owned()
}

fn objectives(record: &RunRecord) -> Vec<Value> {
    let one = |objective: &crate::record::Objective| {
        let scope = match objective.scope {
            Scope::Steady => "",
            Scope::During => "during faults",
        };
        context! {
            metric => objective.metric.clone(),
            scope,
            limit => show::quantity(&objective.limit),
            seen => show::known_or_why(&objective.seen, show::quantity),
            verdict => objective.verdict.as_str(),
            reason => objective.reason.clone(),
        }
    };
    record.objectives.iter().map(one).collect()
}

fn checkers(record: &RunRecord) -> Vec<Value> {
    let one = |checker: &crate::record::Checker| {
        context! {
            name => show::words(&checker.name),
            verdict => checker.verdict.as_str(),
            reason => checker.reason.clone(),
            expected => checker.expected.clone(),
            seen => checker.seen.clone(),
            passed => checker.verdict == Verdict::Pass,
        }
    };
    record.checkers.iter().map(one).collect()
}

fn warnings(record: &RunRecord) -> Vec<Value> {
    let one = |warning: &crate::record::Warning| {
        context! { message => warning.message.clone(), remedy => warning.remedy.clone() }
    };
    record.warnings.iter().map(one).collect()
}

fn blind(window: &crate::record::Window) -> String {
    let (from, to) = (show::instant(window.start_us), show::instant(window.end_us));
    format!(
        "The receiver could not read {} from {from} to {to}.",
        window.name
    )
}

/// Configuration, versions and machine as pairs.
fn setup(record: &RunRecord) -> Vec<(String, String)> {
    let (sut, store, load, host) = (&record.sut, &record.store, &record.load, &record.host);
    let text = |known: &Known<String>| show::known_or_why(known, Clone::clone);
    let mut rows = vec![
        (
            "system under test",
            format!("{}, version {}", sut.name, text(&sut.version)),
        ),
        (
            "driver",
            format!(
                "{}, quiet after {}",
                sut.driver,
                show::duration(sut.quiet_us)
            ),
        ),
        (
            "store",
            format!("{}, provider {}", store.kind, store.provider),
        ),
        ("store's version", text(&store.server_version)),
        ("load", load_text(record)),
        (
            "payload",
            format!(
                "{}, {}",
                load.payload,
                show::known(&load.body_bytes, |b| show::bytes(*b))
            ),
        ),
        ("tries", tries(load.retry_for_us)),
        ("planned", show::plural(load.planned, "event")),
        ("kernel", text(&host.kernel)),
        (
            "CPU",
            format!(
                "{}, {} cores",
                text(&host.cpu_model),
                show::known(&host.cores, |n| show::count(*n))
            ),
        ),
        (
            "memory",
            show::known_or_why(&host.memory_bytes, |b| show::bytes(*b)),
        ),
    ];
    if !host.nice.is_empty() {
        let nice: Vec<String> = host
            .nice
            .iter()
            .map(|one| format!("{} {:+}", show::words(&one.process), one.nice))
            .collect();
        rows.push(("priorities", nice.join(", ")));
    }
    rows.push(("commit", text(&record.identity.commit)));
    let versions: Vec<String> = record
        .identity
        .versions
        .iter()
        .map(|one| format!("{} {}", one.name, show::known(&one.version, Clone::clone)))
        .collect();
    rows.push(("versions", versions.join(", ")));
    rows.push((
        "ended",
        show::known_or_why(&record.identity.ended, |at| show::date(at)),
    ));
    let owned = |(name, value): (&str, String)| (name.to_owned(), value);
    let mut rows: Vec<(String, String)> = rows.into_iter().map(owned).collect();
    for (key, value) in &load.settings {
        rows.push((show::words(key), value.clone()));
    }
    for proxy in &record.indicators.system_load.proxies {
        let (to, back) = (
            show::bytes(proxy.forward_bytes),
            show::bytes(proxy.backward_bytes),
        );
        let connections = show::plural(proxy.connections, "connection");
        rows.push((
            proxy.link.clone(),
            format!("{to}, back {back}, {connections}"),
        ));
    }
    rows
}

fn load_text(record: &RunRecord) -> String {
    let load = &record.load;
    let connections = show::plural(load.connections, "connection");
    let batch = show::count(load.batch);
    format!(
        "{} {} into {}, batches of {batch}, {connections}",
        load.rate, load.schedule, load.into
    )
}

fn tries(retry_for_us: u64) -> String {
    match retry_for_us {
        0 => "once".to_owned(),
        us => format!("again for {}", show::duration(us)),
    }
}

fn files(record: &RunRecord) -> Vec<Value> {
    let config = record.sut.config.value();
    let listed = |file: &crate::record::FileUsed| {
        record
            .identity
            .files
            .iter()
            .any(|other| other.path == file.path)
    };
    record
        .identity
        .files
        .iter()
        .chain(config.filter(|file| !listed(file)))
        .map(|file| {
            context! {
                role => show::words(&file.role),
                path => file.path.clone(),
                sha256 => show::known_or_why(&file.sha256, Clone::clone),
            }
        })
        .collect()
}

fn artefacts(record: &RunRecord) -> Vec<(String, String)> {
    let mut rows: Vec<(String, String)> = record
        .artefacts
        .iter()
        .map(|one| (show::words(&one.what), one.path.clone()))
        .collect();
    if !record.series.path.is_empty() {
        rows.push(("time series".to_owned(), record.series.path.clone()));
    }
    rows
}
