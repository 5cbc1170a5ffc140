//! Tables for spreadsheets: `trials.csv`, one row a trial; `strikes.csv`, one row a fault;
//! `windows.csv`, one row a fault window, each part of the way back as its µs and how it ended
//! (`observed`, `censored`, `never`, `unknown`).

use crate::campaign::Span;
use crate::campaign::analysis::Analysis;
use crate::format::{Error, Rendered};

pub(super) fn render(analysis: &Analysis<'_>) -> Result<Vec<Rendered>, Error> {
    let files = [
        ("trials.csv", trials(analysis)),
        ("strikes.csv", strikes(analysis)),
        ("windows.csv", windows(analysis)),
    ];
    files
        .into_iter()
        .map(|(file_name, rows)| {
            Ok(Rendered {
                file_name,
                text: text(&rows)?,
            })
        })
        .collect()
}

fn text(rows: &[Vec<String>]) -> Result<String, Error> {
    let wrong = |reason: String| Error::Csv { reason };
    let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
    for row in rows {
        writer
            .write_record(row)
            .map_err(|error| wrong(error.to_string()))?;
    }
    let bytes = writer
        .into_inner()
        .map_err(|error| wrong(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| wrong(error.to_string()))
}

fn header(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn trials(analysis: &Analysis<'_>) -> Vec<Vec<String>> {
    let mut rows = vec![header(&[
        "trial",
        "seed",
        "outcome",
        "faults",
        "issued",
        "owed",
        "stored",
        "lost",
        "unpublished",
        "duplicated",
        "corrupted",
        "malformed",
        "unexpected",
        "reordered",
        "failures",
        "void",
        "took_us",
        "load_and_drain_us",
        "run",
    ])];
    for trial in &analysis.record.trials {
        let counts = &trial.counts;
        let classes: Vec<&str> = trial
            .failures
            .iter()
            .map(|failure| failure.class.as_str())
            .collect();
        let mut row = vec![
            trial.number.to_string(),
            trial.seed.to_string(),
            trial.outcome.as_str().to_owned(),
            trial.schedule.len().to_string(),
        ];
        row.extend(
            [
                counts.issued,
                counts.owed,
                counts.stored,
                counts.lost,
                counts.unpublished,
                counts.duplicated,
                counts.corrupted,
                counts.malformed,
                counts.unexpected,
                counts.reordered,
            ]
            .map(|count| count.to_string()),
        );
        row.extend([
            classes.join(" "),
            trial.void.join("; "),
            trial.took_us.to_string(),
            trial.load_and_drain_us.to_string(),
            trial.run.clone(),
        ]);
        rows.push(row);
    }
    rows
}

fn strikes(analysis: &Analysis<'_>) -> Vec<Vec<String>> {
    let mut rows = vec![header(&[
        "trial", "fault", "kind", "target", "at_us", "for_us", "witness", "void",
    ])];
    for trial in &analysis.record.trials {
        for strike in &trial.schedule {
            rows.push(vec![
                trial.number.to_string(),
                strike.name.clone(),
                strike.kind.clone(),
                strike.target.clone(),
                strike.at_us.to_string(),
                strike.for_us.to_string(),
                strike.witness.value().cloned().unwrap_or_default(),
                strike.void.clone().unwrap_or_default(),
            ]);
        }
    }
    rows
}

fn span(span: &Span) -> [String; 2] {
    match span {
        Span::Observed { us } => [us.to_string(), "observed".into()],
        Span::Censored { us } => [us.to_string(), "censored".into()],
        Span::Never => [String::new(), "never".into()],
        Span::Unknown { .. } => [String::new(), "unknown".into()],
    }
}

fn windows(analysis: &Analysis<'_>) -> Vec<Vec<String>> {
    let mut rows = vec![header(&[
        "trial",
        "faults",
        "injected_us",
        "healed_us",
        "noticed_us",
        "noticed",
        "first_stored_us",
        "first_stored",
        "drained_us",
        "drained",
        "in_band_us",
        "in_band",
    ])];
    for trial in &analysis.record.trials {
        for window in &trial.windows {
            let mut row = vec![
                trial.number.to_string(),
                window.faults.join(" "),
                window.injected_us.to_string(),
                window.healed_us.to_string(),
            ];
            for part in [
                &window.noticed,
                &window.first_stored,
                &window.drained,
                &window.in_band,
            ] {
                row.extend(span(part));
            }
            rows.push(row);
        }
    }
    rows
}
