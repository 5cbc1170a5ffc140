//! A soak as one page: memory, descriptors, threads, files and disk over time, and each round's p99.

use minijinja::{Value, context};

use super::{Table, bases, facts, growth, kept, rounds};
use crate::format::Error;
use crate::format::html::charts::ready;
use crate::format::html::figure::{Axis, FIRST_LINE, Figure, Line};
use crate::format::html::frame::{self, Head, Page};
use crate::show;
use crate::soak::SoakRecord;
use crate::soak::growth::{Holder, Metric, Sample};

const PAGE: Page = Page {
    name: "soak.html",
    template: include_str!("../../../templates/soak.html"),
    style: "",
};

/// The page.
pub(super) fn html(record: &SoakRecord) -> Result<String, Error> {
    let head = Head::new(
        "run --for",
        &record.scenario,
        &record.started,
        record.verdict.as_str(),
        &record.reasons,
    );
    frame::render(&PAGE, head, body(record)?)
}

fn body(record: &SoakRecord) -> Result<Value, Error> {
    let mut figures = Vec::new();
    for metric in Metric::ALL {
        figures.extend(over_time(record, metric)?);
    }
    let (all, left) = rounds(record);
    Ok(context! {
        facts => facts(record).into_iter().map(|(name, text)| context! { name, text }).collect::<Vec<_>>(),
        growth => table(&growth(record)),
        bases => bases(record),
        figures,
        p99 => per_round(record)?,
        rounds => table(&all),
        left,
        kept => kept(record),
        notes => record.notes.clone(),
        command => record.command_line.join(" "),
    })
}

fn table(table: &Table) -> Value {
    context! { head => table.head.clone(), rows => table.rows.clone() }
}

/// The agent's and the harness's values of a metric; `None` where nobody has one.
fn over_time(record: &SoakRecord, metric: Metric) -> Result<Option<Value>, Error> {
    let end = record.samples.last().map_or(0, |sample| sample.at_us);
    let of = |holder: Holder| -> Vec<(f64, f64)> {
        let value = |sample: &Sample| {
            metric.of(match holder {
                Holder::Agent => &sample.agent,
                Holder::Harness => &sample.harness,
            })
        };
        record
            .samples
            .iter()
            .filter_map(|sample| Some((sample.at_us as f64, value(sample)? as f64)))
            .collect()
    };
    let lines: Vec<Line> = [(Holder::Agent, 0), (Holder::Harness, 1)]
        .into_iter()
        .map(|(holder, colour)| Line {
            name: holder.as_str().to_owned(),
            colour: FIRST_LINE + colour,
            segments: vec![of(holder)],
        })
        .filter(|line| line.segments.iter().any(|points| points.len() > 1))
        .collect();
    if lines.is_empty() || end == 0 {
        return Ok(None);
    }
    let (name, unit) = match metric {
        Metric::Memory => ("Memory", "resident"),
        Metric::Descriptors => ("Descriptors", "open"),
        Metric::Threads => ("Threads", "alive"),
        Metric::Files => ("Files", "in its own directory"),
        Metric::Disk => ("Disk", "in its own directory"),
    };
    let bytes = matches!(metric, Metric::Memory | Metric::Disk);
    let figure = if bytes {
        figure(metric.as_str(), lines, end, Axis::Bytes, show::bytes_f64)
    } else {
        figure(metric.as_str(), lines, end, from_zero, show::decimal)
    }?;
    let spoken = format!("{name} over time; the table above has slopes and bounds.");
    ready(&figure, name, unit, &spoken).map(Some)
}

/// Each round's 99th percentile of the time to the store.
fn per_round(record: &SoakRecord) -> Result<Option<Value>, Error> {
    let points: Vec<(f64, f64)> = record
        .rounds
        .iter()
        .filter_map(|round| {
            let p99 = round.stored_response_us_p99.value()?;
            Some((round.start_us as f64, *p99 as f64))
        })
        .collect();
    let end = record.rounds.last().map_or(0, |round| round.start_us);
    if points.len() < 2 || end == 0 {
        return Ok(None);
    }
    let line = Line {
        name: "stored, p99".to_owned(),
        colour: FIRST_LINE + 2,
        segments: vec![points],
    };
    let figure = figure(
        "p99 of each round",
        vec![line],
        end,
        from_zero,
        show::duration_f64,
    )?;
    ready(
        &figure,
        "Time to the store, round by round",
        "99th percentile, outside of fault windows",
        "The 99th percentile of the time to the store of each round.",
    )
    .map(Some)
}

fn from_zero(top: f64) -> Axis {
    Axis::Linear(0.0, top)
}

/// Lines over time, on an upright axis that ends a little above them.
fn figure(
    name: &'static str,
    mut lines: Vec<Line>,
    end: u64,
    axis: fn(f64) -> Axis,
    y_text: fn(f64) -> String,
) -> Result<Figure, Error> {
    let most = lines
        .iter()
        .flat_map(|line| line.segments.iter().flatten())
        .map(|point| point.1)
        .fold(1.0, f64::max);
    for line in &mut lines {
        line.segments.retain(|points| !points.is_empty());
    }
    Ok(Figure {
        name,
        x: Axis::Time(end as f64),
        x_text: show::compact,
        y: axis(most * 1.1),
        y_text,
        lines,
        shades: Vec::new(),
        tall: false,
    })
}
