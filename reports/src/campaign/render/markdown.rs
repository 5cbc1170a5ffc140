//! The reliability report as Markdown, for a wiki, a merge request or a summary of a CI job.

use super::words;
use crate::campaign::analysis::Analysis;
use crate::campaign::{Outcome, Trial};
use crate::show::{clean, count, duration};

/// Text inside a table's cell.
fn cell(text: &str) -> String {
    clean(text)
        .replace('|', "\\|")
        .replace('<', "&lt;")
        .replace('\n', " ")
}

pub(super) fn render(analysis: &Analysis<'_>) -> String {
    let record = analysis.record;
    let mut text = format!(
        "# {}: reliability of {}\n\n",
        record.verdict.as_str(),
        cell(&record.identity.scenario)
    );
    let mut line = |words: &str| text.push_str(&format!("{words}\n"));
    for reason in &record.reasons {
        line(&format!("**{}**\n", cell(reason)));
    }
    for sentence in words::summary(analysis) {
        line(&format!("{}\n", cell(&sentence)));
    }
    trials(analysis, &mut line);
    guarantees(analysis, &mut line);
    recovery(analysis, &mut line);
    line("## What was not tried\n");
    for sentence in words::not_tried(analysis) {
        line(&format!("- {}", cell(&sentence)));
    }
    line(&format!(
        "\n`{}` (seed {}, {})",
        cell(&record.repeat),
        record.identity.seed,
        duration(record.trials.iter().map(|trial| trial.took_us).sum())
    ));
    text
}

/// How many trials there were, and each that did not pass.
fn trials(analysis: &Analysis<'_>, mut line: impl FnMut(&str)) {
    line("## Trials\n");
    line(&format!("- planned: {}", cell(&words::size(analysis))));
    line(&format!("- result: {}", words::k_of_n(analysis)));
    line(&format!(
        "- events: {} lost of {} owed, over all trials\n",
        count(analysis.lost),
        count(analysis.owed)
    ));
    line("| trial | outcome | faults | lost | why |\n|---:|---|---|---:|---|");
    let odd = |trial: &&Trial| trial.outcome != Outcome::Passed;
    for trial in analysis.record.trials.iter().filter(odd) {
        line(&format!(
            "| {} | {} | {} | {} | {} |",
            trial.number,
            trial.outcome.as_str(),
            cell(&words::schedule(trial)),
            count(trial.counts.lost),
            cell(&words::result(trial))
        ));
    }
    line(&format!(
        "\n{} trials passed and are not listed.\n",
        analysis.tally.passing
    ));
}

/// What each kind of fault did to each guarantee, and the smallest scenarios that show it.
fn guarantees(analysis: &Analysis<'_>, mut line: impl FnMut(&str)) {
    line("## Fault kinds and guarantees\n\n| fault | guarantee | |\n|---|---|---|");
    for row in &analysis.rows {
        for one in &row.cells {
            line(&format!(
                "| {} | {} | {} |",
                cell(&row.kind),
                Analysis::guarantee(&one.guarantee),
                cell(&one.words)
            ));
        }
    }
    for shrunk in &analysis.record.shrunk {
        line(&format!(
            "\n{}: {}, `{}` {}.",
            analysis.record.title(shrunk),
            cell(&shrunk.signature.class),
            shrunk.file,
            cell(&shrunk.sentence)
        ));
    }
}

/// The parts of recovery, and whether it ages.
fn recovery(analysis: &Analysis<'_>, mut line: impl FnMut(&str)) {
    line(
        "\n## How it came back\n\n| | median (95 %) | seen | cut off | never |\n|---|---|---:|---:|---:|",
    );
    for part in &analysis.parts {
        line(&format!(
            "| {} | {} | {} | {} | {} |",
            part.title,
            cell(&part.median_words()),
            part.observed,
            part.censored,
            part.never
        ));
    }
    for words in analysis.recovery_words() {
        line(&format!("\n{}", cell(&words)));
    }
    line("");
}
