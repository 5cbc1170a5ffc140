//! A plan as text of a fixed width.

use super::{Table, facts, fit, headline, numbers, probes, remarks, slice};
use crate::format::Page;
use crate::plan::PlanRecord;
use crate::record::Known;
use crate::show;

/// The plan in `width` columns.
#[must_use]
pub fn terminal(plan: &PlanRecord, width: usize, colour: bool) -> String {
    let mut page = Page::new(width, colour);
    page.heading(&format!("plan of {}", plan.scenario));
    page.paragraph(2, &headline(plan));
    for reason in plan.reasons.iter().skip(1) {
        page.paragraph(2, reason);
    }
    for (name, text) in facts(plan) {
        page.entry(name, &text);
    }
    page.heading("Probes");
    set(&mut page, &probes(plan));
    for remark in remarks(plan) {
        page.paragraph(2, &remark);
    }
    page.heading("Sizing");
    match &plan.sizing {
        Known::Unknown(reason) => page.paragraph(2, &format!("Not measured: {reason}.")),
        Known::Value(sizing) => {
            for sentence in fit(plan) {
                page.paragraph(2, &sentence);
            }
            for number in &sizing.numbers {
                let value = show::known_or_why(&number.value, show::quantity);
                page.paragraph(2, &format!("{}: {value}", number.name));
                page.paragraph(6, &format!("{}; {}", number.basis.as_str(), number.how));
            }
            for one in &sizing.frontier {
                page.heading(&format!(
                    "Loss frontier: {} × outage, at {}",
                    one.axis, one.at
                ));
                set(&mut page, &slice(one));
            }
        }
    }
    match &plan.answer {
        None => {}
        Some(Known::Unknown(reason)) => {
            page.heading("Asked");
            page.paragraph(2, &format!("No answer: {reason}."));
        }
        Some(Known::Value(answer)) => {
            page.heading("Asked");
            for sentence in &answer.says {
                page.paragraph(2, sentence);
            }
            for row in numbers(&answer.numbers).rows {
                page.entry(
                    "",
                    &format!("{}: {} ({}; {})", row[0], row[1], row[2], row[3]),
                );
            }
            page.heading("Properties to change");
            for line in answer.properties.lines() {
                page.text.push_str(&format!("{}\n", show::clean(line)));
            }
        }
    }
    if !plan.notes.is_empty() {
        page.heading("To know");
        for note in &plan.notes {
            page.paragraph(2, note);
        }
    }
    page.text
}

fn set(page: &mut Page, table: &Table) {
    page.table(&table.head, &table.rows);
}
