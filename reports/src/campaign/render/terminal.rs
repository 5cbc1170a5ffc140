//! The reliability report as text of a fixed width.

use super::words;
use crate::campaign::analysis::Analysis;
use crate::campaign::{Outcome, Shrunk};
use crate::format::Page;
use crate::show::{count, duration};

/// Failing or void trials that are listed.
const LISTED: usize = 20;

pub(super) fn render(analysis: &Analysis<'_>, width: usize, colour: bool) -> String {
    let record = analysis.record;
    let mut page = Page::new(width, colour);
    page.heading(&format!(
        "{} · campaign of {} · {}",
        record.verdict.as_str().to_uppercase(),
        record.identity.scenario,
        record.identity.campaign
    ));
    for reason in &record.reasons {
        page.paragraph(2, reason);
    }
    page.heading("In short");
    for sentence in words::summary(analysis) {
        page.paragraph(2, &sentence);
    }
    page.heading("Trials");
    page.entry("planned", &words::size(analysis));
    page.entry("result", &words::k_of_n(analysis));
    page.entry(
        "events",
        &format!(
            "{} lost of {} owed, over all trials",
            count(analysis.lost),
            count(analysis.owed)
        ),
    );
    listed(&mut page, analysis);
    page.heading("Fault kinds and guarantees");
    for row in &analysis.rows {
        for cell in &row.cells {
            let guarantee = Analysis::guarantee(&cell.guarantee).split(':').next();
            page.entry(
                &row.kind,
                &format!("{}: {}", guarantee.unwrap_or(""), cell.words),
            );
        }
    }
    for shrunk in &record.shrunk {
        kept(&mut page, record.title(shrunk), shrunk);
    }
    page.heading("How it came back");
    for part in &analysis.parts {
        page.entry(
            part.key,
            &format!(
                "median {}; {} seen, {} cut off, {} never, {} not measured",
                part.median_words(),
                part.observed,
                part.censored,
                part.never,
                part.unknown
            ),
        );
    }
    for words in analysis.recovery_words() {
        page.paragraph(2, &words);
    }
    page.heading("What was not tried");
    for sentence in words::not_tried(analysis) {
        page.paragraph(2, &sentence);
    }
    page.heading("Again");
    page.paragraph(2, &record.repeat);
    page.text.trim_start().to_owned()
}

fn listed(page: &mut Page, analysis: &Analysis<'_>) {
    let odd: Vec<_> = analysis
        .record
        .trials
        .iter()
        .filter(|trial| trial.outcome != Outcome::Passed)
        .collect();
    for trial in odd.iter().take(LISTED) {
        page.entry(
            &format!("trial {} {}", trial.number, trial.outcome.as_str()),
            &format!("{} [{}]", words::result(trial), words::schedule(trial)),
        );
        for place in trial.failures.iter().flat_map(|failure| &failure.places) {
            let known = |known: &crate::record::Known<String>| match known.value() {
                Some(value) => value.clone(),
                None => format!("cannot be placed ({})", known.reason().unwrap_or("")),
            };
            page.entry(
                "",
                &format!(
                    "{} lost; hop: {}; window: {}; {}",
                    count(place.events),
                    known(&place.hop),
                    known(&place.window),
                    place.evidence
                ),
            );
        }
    }
    if odd.len() > LISTED {
        page.entry("", &format!("and {} more", odd.len() - LISTED));
    }
}

fn kept(page: &mut Page, title: &str, shrunk: &Shrunk) {
    page.heading(&format!("{title}: {}", shrunk.signature.class));
    page.entry("file", &shrunk.file);
    page.entry("result", &shrunk.sentence);
    page.entry(
        "from",
        &format!(
            "trial {}, which failed {} of {} replays with {} faults at {}; {} runs, {}",
            shrunk.trial,
            shrunk.replays[0],
            shrunk.replays[1],
            shrunk.faults_before,
            shrunk.rate_before,
            shrunk.runs,
            duration(shrunk.took_us)
        ),
    );
}
