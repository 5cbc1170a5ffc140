//! The reliability report as one page that needs nothing else, under the rules of the run's page: no
//! script, no font, no address. It reads as a document: in short, what was claimed, tried, seen, how
//! it came back, how sure that is, what was not tried, how to do it again. It prints well.
//!
//! Everything from the record is escaped by the template engine; only the figure, which is drawn
//! here from numbers, goes in as markup.

use minijinja::{Value, context};

use super::words;
use crate::campaign::analysis::{Analysis, Part, State};
use crate::campaign::conclude::{claim_ppm, lower_ppm, percent_down, percent_up};
use crate::campaign::{Outcome, Place, Strike, Trial};
use crate::format::Error;
use crate::format::html::frame::{self, Head, Page};
use crate::record::Known;
use crate::show::{count, date, duration, duration_f64, known_or_why};
use crate::statistics::kaplan_meier::Step;

const PAGE: Page = Page {
    name: "reliability.html",
    template: include_str!("../../../templates/reliability.html"),
    style: include_str!("../../../templates/reliability.css"),
};

pub(super) fn render(analysis: &Analysis<'_>) -> Result<String, Error> {
    let record = analysis.record;
    let head = Head {
        interrupted: record
            .interrupted
            .then_some("The campaign was interrupted; what it had done until then is here."),
        ..Head::new(
            "reliability report",
            &record.identity.scenario,
            &record.identity.started,
            record.verdict.as_str(),
            &record.reasons,
        )
    };
    frame::render(&PAGE, head, body(analysis))
}

fn body(analysis: &Analysis<'_>) -> Value {
    let record = analysis.record;
    let identity = &record.identity;
    context! {
        summary => words::summary(analysis),
        figures => figures(analysis),
        claimed => claimed(analysis),
        objectives => record.plan.objectives.clone(),
        tried => tried(analysis),
        menu => menu(analysis),
        strip => strip(&record.trials),
        k_of_n => words::k_of_n(analysis),
        kinds => kinds(analysis),
        odd => record.trials.iter().filter(|trial| trial.outcome != Outcome::Passed).map(odd).collect::<Vec<_>>(),
        shrunk => shrunk(analysis),
        parts => analysis.parts.iter().enumerate().map(part).collect::<Vec<_>>(),
        survival => Value::from_safe_string(survival(&analysis.parts)),
        recovery_notes => analysis.recovery_words(),
        sure => sure(analysis),
        not_tried => words::not_tried(analysis),
        repeat => record.repeat.clone(),
        setup => setup(analysis),
        files => identity.files.iter().map(|file| context! {
            role => file.role.clone(),
            path => file.path.clone(),
            sha256 => match file.sha256.value() { Some(hash) => hash.clone(), None => "unknown".into() },
        }).collect::<Vec<_>>(),
        trials => record.trials.iter().map(row).collect::<Vec<_>>(),
    }
}

/// The four figures at the top.
fn figures(analysis: &Analysis<'_>) -> Vec<Value> {
    let tally = analysis.tally;
    let contradicted = tally.failing > analysis.record.plan.allow_failures;
    let unknown = || "unknown".to_owned();
    // Of what fails too often the interesting end is the other one.
    let bound = if contradicted {
        let lower = lower_ppm(tally.failing, tally.valid());
        context! { name => "fail at least", value => lower.value().map_or_else(unknown, |ppm| percent_down(*ppm)),
        unit => "", line => "of such trials, surely (95 %, this side)", alarm => true }
    } else {
        let upper = claim_ppm(&analysis.record.plan, tally);
        context! { name => "can be failing at most", value => upper.value().map_or_else(unknown, |ppm| percent_up(*ppm)),
        unit => "", line => upper.reason().map_or_else(|| words::rule(&analysis.record.plan).to_owned(), str::to_owned), alarm => false }
    };
    vec![
        context! { name => "failing trials", value => count(u64::from(tally.failing)), unit => format!("of {} valid", tally.valid()),
        line => format!("{} void, {} tried", tally.void, tally.tried), alarm => contradicted },
        bound,
        context! { name => "events lost", value => count(analysis.lost), unit => "",
        line => format!("of {} owed, over all trials", count(analysis.owed)), alarm => analysis.lost > 0 },
        context! { name => "backlog drained", value => drained(analysis), unit => "",
        line => "median, from the heal", alarm => false },
    ]
}

fn drained(analysis: &Analysis<'_>) -> String {
    let part = analysis.parts.iter().find(|part| part.key == "drained");
    part.map_or_else(String::new, |part| {
        let words = part.median_words();
        words.split(" (").next().unwrap_or_default().to_owned()
    })
}

fn claimed(analysis: &Analysis<'_>) -> Vec<&'static str> {
    let keys = &analysis.record.plan.guarantees;
    keys.iter().map(|key| Analysis::guarantee(key)).collect()
}

fn tried(analysis: &Analysis<'_>) -> Vec<(&'static str, String)> {
    let record = analysis.record;
    let (plan, identity) = (&record.plan, &record.identity);
    let faults: usize = record.trials.iter().map(|trial| trial.schedule.len()).sum();
    vec![
        ("trials", words::size(analysis)),
        (
            "faults",
            format!(
                "{faults} in all; at most {} a trial, at most {} at a time; each trial leaves some kinds out and weights the others wildly",
                plan.max_faults, plan.max_overlap
            ),
        ),
        ("load", plan.load.clone()),
        (
            "a trial",
            format!(
                "{} warm-up, {} load with faults, then heal, drain (at most {}), probe, stop, judge; everything fresh",
                duration(plan.warm_up_us),
                duration(plan.steady_us),
                duration(plan.drain_deadline_us)
            ),
        ),
        (
            "system",
            format!("{}, {}", identity.driver, known(&identity.sut_version)),
        ),
        (
            "store",
            format!(
                "{} ({}), {}",
                identity.store,
                identity.provider,
                known(&identity.store_version)
            ),
        ),
    ]
}

fn known(value: &Known<String>) -> String {
    match value {
        Known::Value(value) => value.clone(),
        Known::Unknown(reason) => format!("unknown ({reason})"),
    }
}

fn menu(analysis: &Analysis<'_>) -> Vec<Value> {
    let range = |[from, to]: [u64; 2]| {
        if from == to {
            duration(from)
        } else {
            format!("{} to {}", duration(from), duration(to))
        }
    };
    let entries = analysis.record.plan.menu.iter();
    entries
        .map(|entry| {
            let settings: Vec<String> = entry
                .settings
                .iter()
                .map(|(key, values)| format!("{key} {}", values.join(" or ")))
                .collect();
            context! {
                kind => entry.kind.clone(),
                targets => entry.targets.join(", "),
                at => range(entry.at_us),
                lasts => range(entry.for_us),
                settings => settings.join(", "),
            }
        })
        .collect()
}

/// A square a trial.
fn strip(trials: &[Trial]) -> Vec<Value> {
    trials
        .iter()
        .map(|trial| {
            context! {
                outcome => trial.outcome.as_str(),
                number => trial.number,
                title => format!("trial {}: {}", trial.number, trial.outcome.as_str()),
            }
        })
        .collect()
}

fn kinds(analysis: &Analysis<'_>) -> Vec<Value> {
    let rows = analysis.rows.iter();
    rows.map(|row| {
        let cells: Vec<Value> = row
            .cells
            .iter()
            .map(|cell| {
                let class = match cell.state {
                    State::Untried => "untried",
                    State::Held => "held",
                    State::Suspected | State::Cleared => "suspected",
                    State::Contradicted => "contradicted",
                };
                context! {
                    guarantee => Analysis::guarantee(&cell.guarantee),
                    words => cell.words.clone(),
                    class,
                }
            })
            .collect();
        context! { kind => row.kind.clone(), trials => row.trials, cells }
    })
    .collect()
}

fn place(place: &Place) -> Value {
    let or_why = |known: &Known<String>| match known {
        Known::Value(value) => value.clone(),
        Known::Unknown(why) => format!("cannot be placed: {why}"),
    };
    context! {
        events => count(place.events),
        hop => or_why(&place.hop),
        window => or_why(&place.window),
        evidence => place.evidence.clone(),
    }
}

/// A trial that failed or is void, in full.
fn odd(trial: &Trial) -> Value {
    context! {
        number => trial.number,
        outcome => trial.outcome.as_str(),
        result => words::result(trial),
        void => if trial.outcome == Outcome::Failed { trial.void.join("; ") } else { String::new() },
        strikes => trial.schedule.iter().map(strike).collect::<Vec<_>>(),
        places => trial.failures.iter().flat_map(|failure| &failure.places).map(place).collect::<Vec<_>>(),
        run => trial.run.clone(),
    }
}

fn strike(strike: &Strike) -> Value {
    context! {
        what => strike.describe(),
        witness => known(&strike.witness),
        void => strike.void.clone().unwrap_or_default(),
    }
}

fn shrunk(analysis: &Analysis<'_>) -> Vec<Value> {
    let all = analysis.record.shrunk.iter();
    all.map(|one| {
        context! {
            title => analysis.record.title(one),
            class => one.signature.class.clone(),
            hop => one.signature.hop.clone(),
            trial => one.trial,
            file => one.file.clone(),
            sentence => one.sentence.clone(),
            schedule => one.schedule.iter().map(Strike::describe).collect::<Vec<_>>(),
            before => one.faults_before,
            rate_before => one.rate_before.clone(),
            rate_after => one.rate_after.clone(),
            replays => format!("{} of {}", one.replays[0], one.replays[1]),
            wanted => one.wanted.map_or_else(|| "not shrunk".into(), |wanted| format!("{wanted} of 10")),
            runs => one.runs,
            took => duration(one.took_us),
        }
    })
    .collect()
}

fn part((i, part): (usize, &Part)) -> Value {
    context! {
        title => part.title,
        median => part.median_words(),
        observed => part.observed,
        censored => part.censored,
        never => part.never,
        unknown => part.unknown,
        colour => i + 3,
    }
}

/// What the bounds mean.
fn sure(analysis: &Analysis<'_>) -> Vec<String> {
    let tally = analysis.tally;
    let plan = &analysis.record.plan;
    let lower = lower_ppm(tally.failing, tally.valid());
    let above = lower
        .value()
        .filter(|_| tally.failing > 0)
        .map_or_else(String::new, |lower| {
            format!(
                " With the same confidence it is above {} (exact one-sided Clopper–Pearson bound).",
                percent_down(*lower)
            )
        });
    let failed = format!(
        "{} of {} valid trials failed.",
        tally.failing,
        tally.valid()
    );
    let mut all = vec![match claim_ppm(plan, tally) {
        Known::Value(upper) => format!(
            "{failed} For schedules drawn from this menu, the share that fails is below {} with 95 % confidence ({}).{above}",
            percent_up(upper),
            words::rule(plan)
        ),
        Known::Unknown(why) => {
            format!("{failed} No upper bound for the share that fails is given: {why}.{above}")
        }
    }];
    all.push("A trial is one observation, however many events went through it: the events of a trial stand or fall together, so their number says nothing about the share of runs that fail.".into());
    all.push("Each kind of fault was left out of about half of the trials, so less is known of each kind than of the whole; the table above gives the bound for each.".into());
    if tally.void > 0 {
        all.push(format!(
            "{} of {} trials are void: they neither passed nor failed, because a fault was not seen to take effect, or stopped nothing, or the run could not be judged. A loss in such a trial would have counted as a failure.",
            tally.void, tally.tried
        ));
    }
    all
}

fn setup(analysis: &Analysis<'_>) -> Vec<(&'static str, String)> {
    let record = analysis.record;
    let identity = &record.identity;
    let host = &identity.host;
    let cores = host
        .cores
        .value()
        .map_or_else(|| "unknown".into(), |cores| cores.to_string());
    vec![
        ("campaign", identity.campaign.clone()),
        ("seed", identity.seed.to_string()),
        ("exit code", record.exit_code.code().to_string()),
        ("began", date(&identity.started)),
        ("ended", known_or_why(&identity.ended, |at| date(at))),
        (
            "host",
            format!(
                "{}, {cores} cores, {}",
                known(&host.cpu_model),
                known(&host.kernel)
            ),
        ),
        ("commit", known(&identity.commit)),
        ("trials at a time", record.plan.jobs.to_string()),
    ]
}

fn row(trial: &Trial) -> Value {
    context! {
        number => trial.number,
        outcome => trial.outcome.as_str(),
        faults => words::schedule(trial),
        owed => count(trial.counts.owed),
        lost => count(trial.counts.lost),
        duplicated => count(trial.counts.duplicated),
        took => duration(trial.took_us),
    }
}

/// Width and height of the figure, and where its axes are, in its own units.
const SIZE: [f64; 2] = [1000.0, 250.0];
const LEFT: f64 = 52.0;
const BOTTOM: f64 = 222.0;
const TOP: f64 = 10.0;
const RIGHT: f64 = 986.0;

/// The share of windows that have not come so far yet, against time.
fn survival(parts: &[Part]) -> String {
    let longest = parts
        .iter()
        .filter_map(|part| part.curve.last())
        .map(|step| step.time)
        .fold(0.0, f64::max);
    let end = if longest > 0.0 { longest * 1.05 } else { 1.0 };
    let x = |seconds: f64| LEFT + (RIGHT - LEFT) * (seconds / end).min(1.0);
    let y = |share: f64| BOTTOM - (BOTTOM - TOP) * share;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {} {}\" class=\"survival\" aria-hidden=\"true\">",
        SIZE[0], SIZE[1]
    );
    for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let at = y(share);
        svg.push_str(&format!(
            "<line x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"var(--fig-0)\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{:.0} %</text>",
            LEFT - 8.0,
            at + 4.0,
            share * 100.0
        ));
    }
    for i in 0..=4 {
        let seconds = end * f64::from(i) / 4.0;
        svg.push_str(&format!(
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"{}\">{}</text>",
            x(seconds),
            BOTTOM + 20.0,
            if i == 4 { "end" } else { "middle" },
            duration_f64(seconds * 1e6)
        ));
    }
    for (i, part) in parts.iter().enumerate() {
        svg.push_str(&format!(
            "<polyline fill=\"none\" stroke=\"var(--fig-{})\" stroke-width=\"2\" points=\"{}\"/>",
            i + 3,
            steps(&part.curve, x, y)
        ));
    }
    svg + "</svg>"
}

/// The points of a curve that goes down in steps.
fn steps(curve: &[Step], x: impl Fn(f64) -> f64, y: impl Fn(f64) -> f64) -> String {
    let mut share = 1.0;
    let mut points = format!("{:.1},{:.1}", x(0.0), y(share));
    for step in curve {
        points.push_str(&format!(" {:.1},{:.1}", x(step.time), y(share)));
        share = step.longer;
        points.push_str(&format!(" {:.1},{:.1}", x(step.time), y(share)));
    }
    if let Some(last) = curve.last() {
        points.push_str(&format!(" {:.1},{:.1}", x(last.time * 1.05), y(share)));
    }
    points
}
