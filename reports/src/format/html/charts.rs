//! Which figures a page has: six over time, one by percentile.

use minijinja::{Value, context};

use super::super::{Error, Input};
use super::figure::{Axis, FIRST_LINE, Figure, Line, NARROW, Shade, WIDE};
use super::scale::{self, Segment};
use crate::record::{Known, RunRecord};
use crate::series::Table;
use crate::show;

/// A figure over time: its words, and the columns it shows.
struct OverTime {
    name: &'static str,
    title: &'static str,
    unit: &'static str,
    /// Column, name in the legend, colour.
    lines: &'static [(&'static str, &'static str, usize)],
    /// From the number in the file to the number on the axis.
    divide: f64,
    /// Whether by powers of ten.
    log: bool,
    /// The greatest value of the axis, where that is fixed.
    top: Option<f64>,
    y_text: fn(f64) -> String,
}

const BLUE: usize = FIRST_LINE;
const ORANGE: usize = FIRST_LINE + 1;
const TEAL: usize = FIRST_LINE + 2;
const PURPLE: usize = FIRST_LINE + 3;
const GREY: usize = FIRST_LINE + 4;

const OVER_TIME: [OverTime; 6] = [
    OverTime {
        name: "throughput",
        title: "Throughput",
        unit: "events/s",
        lines: &[
            ("offered_per_s", "offered", GREY),
            ("acked_per_s", "acked", ORANGE),
            ("stored_per_s", "stored", BLUE),
        ],
        divide: 1.0,
        log: false,
        top: None,
        y_text: show::compact,
    },
    OverTime {
        name: "latency",
        title: "Latency",
        unit: "from the intended instant",
        lines: &[
            ("ack_response_us_p99", "answered, p99", ORANGE),
            ("stored_response_us_p50", "stored, p50", TEAL),
            ("stored_response_us_p99", "stored, p99", BLUE),
        ],
        divide: 1.0,
        log: true,
        top: None,
        y_text: show::duration_f64,
    },
    OverTime {
        name: "in_flight",
        title: "Owed and not yet stored",
        unit: "events",
        lines: &[("in_flight", "in flight", BLUE)],
        divide: 1.0,
        log: false,
        top: None,
        y_text: show::compact,
    },
    OverTime {
        name: "channel_fill",
        title: "Channel fill",
        unit: "% of the capacity, the fullest channel",
        lines: &[("channel_fill_ppm", "fill", TEAL)],
        divide: 10_000.0,
        log: false,
        top: Some(100.0),
        y_text: |value| show::decimal(value) + " %",
    },
    OverTime {
        name: "cpu",
        title: "CPU of the agent",
        unit: "cores",
        lines: &[("cpu_us", "CPU", PURPLE)],
        divide: 1.0,
        log: false,
        top: None,
        y_text: show::compact,
    },
    OverTime {
        name: "memory",
        title: "Memory and disk of the agent",
        unit: "MiB",
        lines: &[
            ("disk_bytes", "on disk", GREY),
            ("rss_bytes", "resident memory", PURPLE),
        ],
        divide: 1_048_576.0,
        log: false,
        top: None,
        y_text: show::compact,
    },
];

/// The figures over time, ready for the page; empty where there is no series.
pub(super) fn over_time(input: &Input<'_>) -> Result<Vec<Value>, Error> {
    let Known::Value(table) = input.series else {
        return Ok(Vec::new());
    };
    let mut figures = Vec::new();
    for plan in &OVER_TIME {
        if let Some(figure) = plan.figure(input.record, table) {
            figures.push(ready(
                &figure,
                plan.title,
                plan.unit,
                &plan.spoken(&figure),
            )?);
        }
    }
    Ok(figures)
}

impl OverTime {
    fn figure(&self, record: &RunRecord, table: &Table) -> Option<Figure> {
        let times = table.points("t_us")?;
        let end = times.last().map_or(1, |point| point.0).max(record.end_us());
        let mut lines = Vec::new();
        for &(column, name, colour) in self.lines {
            let Some(points) = table.points(column) else {
                continue;
            };
            let points = if column == "cpu_us" {
                cores(&points)
            } else {
                points
            };
            let mut segments = scale::reduce(&points, 0, end, WIDE.width as usize);
            let divide = if column == "cpu_us" { 1e6 } else { self.divide };
            for (_, y) in segments.iter_mut().flatten() {
                *y /= divide;
            }
            lines.push(Line {
                name: name.to_owned(),
                colour,
                segments,
            });
        }
        if lines.is_empty() {
            return None;
        }
        let all = || lines.iter().flat_map(|line| line.segments.iter().flatten());
        let most = all().map(|point| point.1).fold(0.0, f64::max);
        let y = if self.log {
            let least = all()
                .map(|point| point.1)
                .filter(|y| *y > 0.0)
                .fold(most, f64::min);
            let least = scale::floor_power(least.max(1.0));
            Axis::Log(least, scale::ceil_power(most.max(1.0)).max(least * 10.0))
        } else {
            Axis::Linear(
                0.0,
                self.top
                    .unwrap_or(if most > 0.0 { most * 1.05 } else { 1.0 }),
            )
        };
        Some(Figure {
            name: self.name,
            x: Axis::Time(end.max(1) as f64),
            x_text: show::decimal,
            y,
            y_text: self.y_text,
            lines,
            shades: shades(record),
            tall: false,
        })
    }

    /// What the figure shows, for those who do not see it.
    fn spoken(&self, figure: &Figure) -> String {
        let mut text = format!("{} over time, in {}.", self.title, self.unit);
        for line in &figure.lines {
            let values = || line.segments.iter().flatten().map(|point| point.1);
            let least = (self.y_text)(values().fold(f64::INFINITY, f64::min));
            let most = (self.y_text)(values().fold(0.0, f64::max));
            text += &format!(" {}: {least} to {most}.", line.name);
        }
        for shade in &figure.shades {
            let [from, to, _] = shade.at.map(|us| show::instant(us as u64));
            text += &format!(" Fault {} from {from} to {to}.", shade.letter);
        }
        text
    }
}

/// CPU time of each interval as millionths of a core: what was used ÷ how long it took.
fn cores(points: &[(u64, Option<u64>)]) -> Vec<(u64, Option<u64>)> {
    let mut before = None;
    let mut out = Vec::with_capacity(points.len());
    for &(at, used) in points {
        let length = before
            .map(|before| at.saturating_sub(before))
            .filter(|length| *length > 0);
        let share =
            |used: u64, length: u64| (u128::from(used) * 1_000_000 / u128::from(length)) as u64;
        out.push((
            at,
            used.zip(length).map(|(used, length)| share(used, length)),
        ));
        before = Some(at);
    }
    out
}

/// The fault windows on the time axis.
fn shades(record: &RunRecord) -> Vec<Shade> {
    let mut shades = Vec::new();
    for (i, fault) in record.faults.iter().enumerate() {
        let Some((from, drained)) = fault.window_us() else {
            continue;
        };
        let healed = fault.healed_us.value().copied().unwrap_or(drained);
        let at = [from, healed, drained].map(|us| us as f64);
        shades.push(Shade {
            letter: show::letter(i),
            at,
        });
    }
    shades
}

/// Latency by percentile: the words that events were counted for, outside faults, and the time to
/// the store within them. `None` where nothing was recorded.
pub(super) fn by_percentile(record: &RunRecord) -> Result<Option<Value>, Error> {
    let words = &record.latencies;
    let sets = [
        ("slip of the generator", GREY, &words.slip.steady),
        ("answered", ORANGE, &words.ack_response.steady),
        ("stored", BLUE, &words.stored_response.steady),
        ("published", TEAL, &words.published_response.steady),
    ];
    let mut lines = Vec::new();
    for (name, colour, set) in sets {
        if let Some(histogram) = set
            .to_histogram()?
            .filter(|histogram| !histogram.is_empty())
        {
            lines.push(Line {
                name: name.to_owned(),
                colour,
                segments: vec![steps(&histogram)],
            });
        }
    }
    let mut during: Option<hdrhistogram::Histogram<u64>> = None;
    for named in &words.stored_response.faults {
        let Some(histogram) = named.set.to_histogram()? else {
            continue;
        };
        match &mut during {
            None => during = Some(histogram),
            // Histograms are merged, never averaged. A sample too large for the first is left out
            // of the figure; the tables have it.
            Some(all) => all.add(&histogram).unwrap_or_default(),
        }
    }
    if let Some(histogram) = during.filter(|histogram| !histogram.is_empty()) {
        let name = "stored, intended during faults".to_owned();
        lines.push(Line {
            name,
            colour: PURPLE,
            segments: vec![steps(&histogram)],
        });
    }
    if lines.is_empty() {
        return Ok(None);
    }
    let all = || lines.iter().flat_map(|line| line.segments.iter().flatten());
    let right = all().map(|point| point.0).fold(10.0, f64::max);
    let most = all().map(|point| point.1).fold(10.0, f64::max);
    let least = all().map(|point| point.1).fold(most, f64::min);
    let bottom = scale::floor_power(least);
    let figure = Figure {
        name: "percentiles",
        x: Axis::Log(1.0, right),
        x_text: percentile,
        y: Axis::Log(bottom, scale::ceil_power(most).max(bottom * 10.0)),
        y_text: show::duration_f64,
        lines,
        shades: Vec::new(),
        tall: true,
    };
    let spoken = "Latency by percentile on a scale of one by one minus q; the table below has the \
                  same numbers.";
    let unit = "to the right ten times rarer";
    ready(&figure, "Latency by percentile", unit, spoken).map(Some)
}

/// The percentile of 1 ÷ (1 − q): 1 → 0 %, 10 → 90 %, 1,000 → 99.9 %.
fn percentile(inverse: f64) -> String {
    let nines = inverse.log10().round() as usize;
    match nines {
        0 => "0 %".to_owned(),
        1 => "90 %".to_owned(),
        2 => "99 %".to_owned(),
        more => format!("99.{} %", "9".repeat(more - 2)),
    }
}

/// The points of a percentile figure: as far to the right as the samples reach, as they bear.
fn steps(histogram: &hdrhistogram::Histogram<u64>) -> Segment {
    // The rarest percentile with ten samples beyond it, the rule for the tables as well.
    let right = (histogram.len() as f64 / 10.0).max(2.0);
    let mut points: Segment = Vec::new();
    let count = 240;
    for i in 0..=count {
        let inverse = right.powf(f64::from(i) / f64::from(count));
        let value = histogram.value_at_quantile(1.0 - 1.0 / inverse).max(1) as f64;
        points.push((inverse, value));
    }
    points
}

/// A figure with its words, both sizes drawn.
pub(crate) fn ready(
    figure: &Figure,
    title: &str,
    unit: &str,
    spoken: &str,
) -> Result<Value, Error> {
    let legend: Vec<Value> = figure
        .lines
        .iter()
        .map(|line| context! { name => line.name.clone(), colour => line.colour })
        .collect();
    Ok(context! {
        title,
        unit,
        spoken,
        legend,
        wide => Value::from_safe_string(figure.draw(WIDE)?),
        narrow => Value::from_safe_string(figure.draw(NARROW)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_named_by_their_nines() {
        let shown: Vec<String> = [1.0, 10.0, 100.0, 1_000.0, 100_000.0]
            .into_iter()
            .map(percentile)
            .collect();
        assert_eq!(shown, ["0 %", "90 %", "99 %", "99.9 %", "99.999 %"]);
    }

    #[test]
    fn cpu_is_time_used_by_time_passed() {
        let points = [
            (100, Some(5)),
            (300, Some(100)),
            (500, None),
            (600, Some(200)),
        ];
        let expected = [
            (100, None),
            (300, Some(500_000)),
            (500, None),
            (600, Some(2_000_000)),
        ];
        assert_eq!(cores(&points), expected);
    }
}
