//! A plan as Markdown.

use super::{Table, facts, fit, headline, numbers, probes, remarks, slice};
use crate::plan::PlanRecord;
use crate::record::Known;
use crate::show;

/// The plan as one Markdown document.
#[must_use]
pub fn markdown(plan: &PlanRecord) -> String {
    let mut text = format!(
        "# Plan of {}\n\n**{}**\n\n",
        cell(&plan.scenario),
        cell(&headline(plan))
    );
    for reason in plan.reasons.iter().skip(1) {
        text += &format!("{}\n\n", cell(reason));
    }
    for (name, fact) in facts(plan) {
        text += &format!("- {name}: {}\n", cell(&fact));
    }
    text += "\n## Probes\n\n";
    text += &set(&probes(plan));
    text += &list(&remarks(plan));
    text += "\n## Sizing\n\n";
    match &plan.sizing {
        Known::Unknown(reason) => text += &format!("Not measured: {}.\n", cell(reason)),
        Known::Value(sizing) => {
            text += &list(&fit(plan));
            text.push('\n');
            text += &set(&numbers(&sizing.numbers));
            for one in &sizing.frontier {
                let heading = format!("Loss frontier: {} × outage, at {}", one.axis, one.at);
                text += &format!("\n### {}\n\n", cell(&heading));
                text += &set(&slice(one));
            }
        }
    }
    match &plan.answer {
        None => {}
        Some(Known::Unknown(reason)) => {
            text += &format!("\n## Asked\n\nNo answer: {}.\n", cell(reason));
        }
        Some(Known::Value(answer)) => {
            text += "\n## Asked\n\n";
            text += &list(&answer.says);
            text.push('\n');
            text += &set(&numbers(&answer.numbers));
            text += &format!("\n```properties\n{}```\n", answer.properties);
        }
    }
    if !plan.notes.is_empty() {
        text += "\n## To know\n\n";
        text += &list(&plan.notes);
    }
    text
}

fn list(lines: &[String]) -> String {
    lines
        .iter()
        .map(|line| format!("- {}\n", cell(line)))
        .collect()
}

fn set(table: &Table) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut text = line(table.head.iter().map(|head| (*head).to_owned()).collect());
    text += &line(table.head.iter().map(|_| "---".to_owned()).collect());
    for row in &table.rows {
        text += &line(row.iter().map(|one| cell(one)).collect());
    }
    text
}

/// Text that steers neither a table nor the page around it.
fn cell(text: &str) -> String {
    show::clean(text)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('|', "\\|")
}
