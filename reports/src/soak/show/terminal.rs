//! A soak as text of a fixed width.

use super::{Table, bases, facts, growth, kept, rounds};
use crate::format::Page;
use crate::soak::SoakRecord;

/// The soak in `width` columns.
pub(super) fn terminal(record: &SoakRecord, width: usize, colour: bool) -> String {
    let mut page = Page::new(width, colour);
    let verdict = page.verdict(record.verdict);
    page.text.push_str(&format!("{verdict}  soak of "));
    page.text.push_str(&crate::show::clean(&record.scenario));
    page.text.push('\n');
    for reason in &record.reasons {
        page.paragraph(2, reason);
    }
    page.text.push('\n');
    for (name, text) in facts(record) {
        page.entry(name, &text);
    }
    page.heading("Growth");
    set(&mut page, &growth(record));
    for basis in bases(record) {
        page.paragraph(2, &basis);
    }
    page.heading("Rounds");
    let (table, left) = rounds(record);
    set(&mut page, &table);
    if left > 0 {
        page.paragraph(
            2,
            &format!("{left} more rounds, which passed, are in soak.json."),
        );
    }
    for line in kept(record) {
        page.paragraph(2, &line);
    }
    if !record.notes.is_empty() {
        page.heading("To know");
        for note in &record.notes {
            page.paragraph(2, note);
        }
    }
    page.text
}

fn set(page: &mut Page, table: &Table) {
    page.table(&table.head, &table.rows);
}
