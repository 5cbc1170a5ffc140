//! A plan as one page: rate against percentiles, CPU and fill with the knee marked; the frontier.

use minijinja::{Value, context};

use super::{Table, facts, fit, headline, numbers, probes, remarks, slice};
use crate::format::Error;
use crate::format::html::charts::ready;
use crate::format::html::figure::{Axis, FIRST_LINE, Figure, Line, Shade};
use crate::format::html::frame::{self, Head, Page};
use crate::format::html::scale;
use crate::plan::sizing::Slice;
use crate::plan::{Conclusion, PlanRecord, Probe, ProbeKind};
use crate::record::Known;
use crate::show;

const PAGE: Page = Page {
    name: "plan.html",
    template: include_str!("../../../templates/plan.html"),
    style: "",
};

/// The page.
///
/// # Errors
/// [`Error::Page`] and [`Error::Figure`], which only a defect of ours can cause.
pub fn html(plan: &PlanRecord) -> Result<String, Error> {
    let verdict = match plan.conclusion {
        Conclusion::Found => "pass",
        Conclusion::BelowLowest => "fail",
        _ => "inconclusive",
    };
    let head = Head {
        word: "plan",
        headline: headline(plan),
        interrupted: plan
            .interrupted
            .then_some("The plan was interrupted; what there was until then is here."),
        ..Head::new(
            "plan",
            &plan.scenario,
            &plan.started,
            verdict,
            &plan.reasons,
        )
    };
    frame::render(&PAGE, head, body(plan)?)
}

fn body(plan: &PlanRecord) -> Result<Value, Error> {
    let mut figures = Vec::new();
    figures.extend(percentiles(plan)?);
    figures.extend(shares(plan)?);
    let (tables, frontiers) = match &plan.sizing {
        Known::Unknown(_) => (None, Vec::new()),
        Known::Value(sizing) => {
            let mut frontiers = Vec::new();
            for one in &sizing.frontier {
                frontiers.push(context! {
                    title => format!("Loss frontier: {} × outage, at {}", one.axis, one.at),
                    figure => frontier(one)?,
                    table => table(&slice(one)),
                });
            }
            (Some(table(&numbers(&sizing.numbers))), frontiers)
        }
    };
    let answer = plan.answer.as_ref().map(|answer| match answer {
        Known::Unknown(reason) => context! { says => vec![format!("No answer: {reason}.")] , table => (), properties => "" },
        Known::Value(answer) => context! {
            says => answer.says.clone(),
            table => table(&numbers(&answer.numbers)),
            properties => answer.properties.clone(),
        },
    });
    Ok(context! {
        facts => facts(plan).into_iter().map(|(name, text)| context! { name, text }).collect::<Vec<_>>(),
        figures,
        probes => table(&probes(plan)),
        remarks => remarks(plan),
        no_sizing => plan.sizing.reason().unwrap_or_default(),
        fit => fit(plan),
        numbers => tables,
        frontiers,
        answer,
        notes => plan.notes.clone(),
        command => plan.command_line.join(" "),
    })
}

fn table(table: &Table) -> Value {
    context! { head => table.head.clone(), rows => table.rows.clone() }
}

/// Bisection probes in the order of their rate.
fn by_rate(plan: &PlanRecord) -> Vec<&Probe> {
    let mut probes: Vec<&Probe> = plan
        .probes
        .iter()
        .filter(|probe| probe.kind == ProbeKind::Bisection)
        .collect();
    probes.sort_by_key(|probe| probe.offered_per_s);
    probes
}

/// A dot a probe, and a line through them.
fn line(
    name: &str,
    colour: usize,
    probes: &[&Probe],
    of: impl Fn(&Probe) -> Option<f64>,
) -> Option<Line> {
    let points: Vec<(f64, f64)> = probes
        .iter()
        .filter_map(|probe| Some((probe.offered_per_s as f64, of(probe)?)))
        .collect();
    if points.is_empty() {
        return None;
    }
    let mut segments: Vec<Vec<(f64, f64)>> = points.iter().map(|point| vec![*point]).collect();
    if points.len() > 1 {
        segments.push(points);
    }
    Some(Line {
        name: name.to_owned(),
        colour,
        segments,
    })
}

/// The knee's interval as a shade with the letter K.
fn knee_shade(plan: &PlanRecord) -> Vec<Shade> {
    plan.knee
        .value()
        .map(|knee| Shade {
            letter: "knee".to_owned(),
            at: [knee.low_per_s, knee.high_per_s, knee.high_per_s].map(|rate| rate as f64),
        })
        .into_iter()
        .collect()
}

/// The x axis of both figures over the rate.
fn rates(plan: &PlanRecord, probes: &[&Probe]) -> Axis {
    let ends = probes
        .iter()
        .map(|probe| probe.offered_per_s)
        .chain(plan.knee.value().map(|knee| knee.low_per_s))
        .chain(plan.knee.value().map(|knee| knee.high_per_s));
    let (least, most) = ends.fold((u64::MAX, 0), |(a, b), rate| (a.min(rate), b.max(rate)));
    Axis::Linear(least as f64 * 0.98, most as f64 * 1.02 + 1.0)
}

fn percentiles(plan: &PlanRecord) -> Result<Option<Value>, Error> {
    let probes = by_rate(plan);
    let us = |value: &Known<u64>| value.value().map(|us| (*us).max(1) as f64);
    let lines: Vec<Line> = [
        line("stored, p50", FIRST_LINE + 2, &probes, |probe| {
            us(&probe.stored_response_us_p50)
        }),
        line("stored, p99", FIRST_LINE, &probes, |probe| {
            us(&probe.stored_response_us_p99)
        }),
        line("stored, p99.9", FIRST_LINE + 3, &probes, |probe| {
            us(&probe.stored_response_us_p999)
        }),
    ]
    .into_iter()
    .flatten()
    .collect();
    if lines.is_empty() {
        return Ok(None);
    }
    let all = || lines.iter().flat_map(|line| line.segments.iter().flatten());
    let most = all().map(|point| point.1).fold(10.0, f64::max);
    let least = all().map(|point| point.1).fold(most, f64::min);
    let bottom = scale::floor_power(least);
    let figure = Figure {
        name: "rate and percentiles",
        x: rates(plan, &probes),
        x_text: show::compact,
        y: Axis::Log(bottom, scale::ceil_power(most).max(bottom * 10.0)),
        y_text: show::duration_f64,
        lines,
        shades: knee_shade(plan),
        tall: true,
    };
    let spoken =
        "Percentiles of the time to the store by offered rate; the table has the same numbers.";
    ready(
        &figure,
        "Time to the store by offered rate",
        "events/s to the right; the shade is the knee's interval",
        spoken,
    )
    .map(Some)
}

fn shares(plan: &PlanRecord) -> Result<Option<Value>, Error> {
    let probes = by_rate(plan);
    let percent = |value: &Known<u64>| value.value().map(|ppm| *ppm as f64 / 1e4);
    let lines: Vec<Line> = [
        line(
            "CPU of the agent, % of a core",
            FIRST_LINE + 3,
            &probes,
            |probe| percent(&probe.agent_cpu_ppm),
        ),
        line(
            "fill of the fullest channel, %",
            FIRST_LINE + 2,
            &probes,
            |probe| percent(&probe.channel_fill_ppm),
        ),
    ]
    .into_iter()
    .flatten()
    .collect();
    if lines.is_empty() {
        return Ok(None);
    }
    let most = lines
        .iter()
        .flat_map(|line| line.segments.iter().flatten())
        .map(|point| point.1)
        .fold(10.0, f64::max);
    let figure = Figure {
        name: "rate and shares",
        x: rates(plan, &probes),
        x_text: show::compact,
        y: Axis::Linear(0.0, most * 1.05),
        y_text: |value| show::decimal(value) + " %",
        lines,
        shades: knee_shade(plan),
        tall: false,
    };
    let spoken = "CPU of the agent and fill of its fullest channel by offered rate.";
    ready(
        &figure,
        "CPU and channel by offered rate",
        "events/s to the right",
        spoken,
    )
    .map(Some)
}

/// The boundary as a line, what was measured as dots.
fn frontier(slice: &Slice) -> Result<Value, Error> {
    let by_capacity = slice.axis != "rate";
    let least_us = 1.0;
    let boundary: Vec<(f64, f64)> = slice
        .boundary
        .iter()
        .filter(|point| point.outage_us > 0)
        .map(|point| (point.x as f64, (point.outage_us as f64).max(least_us)))
        .collect();
    let dots: Vec<(f64, f64)> = slice
        .measured
        .iter()
        .map(|point| (point.x as f64, (point.outage_us as f64).max(least_us)))
        .collect();
    let all = || boundary.iter().chain(&dots);
    let most_x = all().map(|point| point.0).fold(1.0, f64::max);
    let least_x = all().map(|point| point.0).fold(most_x, f64::min);
    let most = all().map(|point| point.1).fold(10.0, f64::max);
    let least = all().map(|point| point.1).fold(most, f64::min);
    let mut lines = vec![Line {
        name: "modelled: below it an outage is survived".to_owned(),
        colour: FIRST_LINE,
        segments: vec![boundary],
    }];
    lines.push(Line {
        name: "measured".to_owned(),
        colour: FIRST_LINE + 1,
        segments: dots.into_iter().map(|dot| vec![dot]).collect(),
    });
    let bottom = scale::floor_power(least);
    let figure = Figure {
        name: "frontier",
        x: if by_capacity {
            let left = scale::floor_power(least_x.max(1.0));
            Axis::Log(left, scale::ceil_power(most_x).max(left * 10.0))
        } else {
            Axis::Linear(0.0, most_x * 1.05)
        },
        x_text: show::compact,
        y: Axis::Log(bottom, scale::ceil_power(most).max(bottom * 10.0)),
        y_text: show::duration_f64,
        lines,
        shades: Vec::new(),
        tall: true,
    };
    let (title, unit) = if by_capacity {
        (
            "Longest outage by capacity",
            "events of capacity to the right",
        )
    } else {
        ("Longest outage by rate", "events/s to the right")
    };
    ready(
        &figure,
        title,
        unit,
        "The boundary of loss; the table has the same numbers.",
    )
}
