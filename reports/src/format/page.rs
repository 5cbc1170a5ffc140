//! Plain text of a fixed width: headings, labelled paragraphs, lists, tables, commands.

use comfy_table::{CellAlignment, Table, presets};

use crate::show;
use crate::verdict::Verdict;

/// Width of the left column of labels.
const LABEL: usize = 20;

/// Text that grows line by line.
pub(crate) struct Page {
    pub(crate) text: String,
    pub(super) width: usize,
    colour: bool,
}

impl Page {
    pub(crate) fn new(width: usize, colour: bool) -> Self {
        // Below this no label and value fit side by side.
        Self {
            text: String::new(),
            width: width.max(40),
            colour,
        }
    }

    /// A heading with an empty line before it.
    pub(crate) fn heading(&mut self, text: &str) {
        let text = self.paint("1", text);
        self.text.push_str(&format!("\n{text}\n"));
    }

    /// `text` in a graphic rendition, where colours are wanted.
    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    /// A paragraph: `label` in its column, `text` wrapped beside it.
    pub(crate) fn entry(&mut self, label: &str, text: &str) {
        let indent = LABEL + 2;
        let mut lines = wrap(&show::clean(text), self.width - indent).into_iter();
        let first = lines.next().unwrap_or_default();
        self.text
            .push_str(format!("  {label:<LABEL$}{first}").trim_end());
        self.text.push('\n');
        for line in lines {
            self.text.push_str(&format!("{:indent$}{line}\n", ""));
        }
    }

    /// A paragraph without a label.
    pub(crate) fn paragraph(&mut self, indent: usize, text: &str) {
        for line in wrap(&show::clean(text), self.width - indent) {
            self.text.push_str(&format!("{:indent$}{line}\n", ""));
        }
    }

    /// An entry of a list: a dash, and the text beside it.
    pub(super) fn item(&mut self, text: &str) {
        for (i, line) in wrap(&show::clean(text), self.width - 4)
            .into_iter()
            .enumerate()
        {
            let lead = if i == 0 { "  - " } else { "    " };
            self.text.push_str(&format!("{lead}{line}\n"));
        }
    }

    /// A table: the first column to the left, the others to the right.
    pub(crate) fn table(&mut self, header: &[&str], rows: &[Vec<String>]) {
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_header(header.to_vec());
        for row in rows {
            table.add_row(row.iter().map(|cell| show::clean(cell)).collect::<Vec<_>>());
        }
        for (i, column) in table.column_iter_mut().enumerate() {
            column.set_padding((if i == 0 { 2 } else { 1 }, 1));
            if i > 0 {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        for line in table.to_string().lines() {
            let line = line.trim_end();
            // A table that is too wide is cut, which shows, and not folded, which confuses.
            let cut: String = line.chars().take(self.width).collect();
            self.text.push_str(&cut);
            self.text.push('\n');
        }
    }

    pub(crate) fn verdict(&self, verdict: Verdict) -> String {
        let code = match verdict {
            Verdict::Pass => "1;32",
            Verdict::Inconclusive => "1;33",
            Verdict::Fail => "1;31",
        };
        self.paint(code, &verdict.as_str().to_uppercase())
    }
}

/// Breaks text at spaces into lines of at most `width` characters; longer words are cut.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > width {
            lines.push(String::new());
            used = 0;
        }
        for c in (used > 0).then_some(' ').into_iter().chain(word.chars()) {
            if used == width {
                lines.push(String::new());
                used = 0;
            }
            if let Some(line) = lines.last_mut() {
                line.push(c);
                used += 1;
            }
        }
    }
    lines
}

/// A command over several lines in the way a shell takes it. A word is never broken: a command
/// that is too wide for the page is worth more than one that cannot be pasted.
pub(super) fn command(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split(' ') {
        let full = lines.last().is_some_and(|line| {
            !line.trim().is_empty() && line.chars().count() + word.chars().count() + 3 > width
        });
        if full {
            lines.push("   ".to_owned());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    let last = lines.len() - 1;
    for line in &mut lines[..last] {
        line.push_str(" \\");
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_wrapped_at_spaces_and_long_words_are_cut() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(wrap("", 7), [""]);
    }

    #[test]
    fn a_command_can_be_pasted_back() {
        let text = "flume-bench run scenarios/x.toml --seed 7 --set load.rate=20000/s --sut engine";
        let lines = command(text, 40);
        assert!(lines.len() > 1 && lines.iter().all(|line| line.chars().count() <= 40));
        let pasted: Vec<&str> = lines
            .iter()
            .flat_map(|line| line.trim_end_matches('\\').split_whitespace())
            .collect();
        assert_eq!(pasted.join(" "), text);
    }
}
