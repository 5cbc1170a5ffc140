//! A comment for a pull request, and the same for `$GITHUB_STEP_SUMMARY`.
//!
//! The first line is [`MARKER`], invisible to people: whoever posts the comment looks for an older
//! one that begins with it and replaces that.

use super::{alarmed, arms, change, differences, done, margin, slowest_pair, split, value, words};
use crate::gate::metric::Class;
use crate::gate::record::{GateRecord, ScenarioGate};
use crate::record::Known;
use crate::show;
use crate::verdict::Verdict;

/// The first line of the comment.
pub const MARKER: &str = "<!-- flume-bench gate -->";

/// The record as Markdown.
#[must_use]
pub fn markdown(record: &GateRecord) -> String {
    let mut text = format!("{MARKER}\n");
    let sign = match record.verdict {
        Verdict::Pass => "✅",
        Verdict::Inconclusive => "❔",
        Verdict::Fail => "❌",
    };
    let mut line = |words: &str| {
        text.push_str(words);
        text.push('\n');
    };
    line(&format!(
        "### {sign} gate: {} ({})",
        record.verdict,
        escape(&arms(record))
    ));
    line("");
    for reason in &record.reasons {
        line(&format!("- {}", escape(reason)));
    }
    for scenario in &record.scenarios {
        line("");
        line(&of_scenario(scenario));
    }
    for note in &record.notes {
        line(&format!("> {}", escape(note)));
    }
    line("");
    line(&format!(
        "<sub>{}; host {}; above 0 is worse; at most {} of gates of an unchanged build raise an alarm. Same \
         seed, same load: <code>{}</code></sub>",
        escape(&done(record)),
        escape(&record.host_kind),
        super::share(record.plan.alpha_ppm / 10),
        escape(&record.command_line.join(" "))
    ));
    text
}

fn of_scenario(scenario: &ScenarioGate) -> String {
    let mut text = format!("#### {}\n\n", escape(&scenario.name));
    if let Some(why) = &scenario.left_out {
        return text + &escape(why) + "\n";
    }
    let (measured, rest) = split(scenario);
    if !measured.is_empty() {
        text.push_str(
            "| metric | outcome | baseline | candidate | change | at most | margin | host resolves |\n\
             |---|---|--:|--:|--:|--:|--:|--:|\n",
        );
    }
    for one in measured {
        let outcome = match one.class {
            Class::Gating => format!("**{}**", one.outcome.words()),
            Class::Watch => format!("{}, watch", one.outcome.words()),
        };
        let resolves = match &one.resolution_ppm {
            Known::Value(ppm) => super::share(*ppm),
            Known::Unknown(_) => show::UNKNOWN.to_owned(),
        };
        text.push_str(&format!(
            "| {} | {outcome} | {} | {} | {} | {} | {} | {resolves} |\n",
            escape(words(one)),
            value(one, &one.baseline),
            value(one, &one.candidate),
            change(&one.estimate_log_ppm),
            change(&one.upper_log_ppm),
            margin(one),
        ));
    }
    for violation in &scenario.violations {
        text.push_str(&format!("\n⚠️ {}\n", escape(&violation.sentence)));
    }
    if alarmed(scenario) {
        let lines = differences(scenario)
            .into_iter()
            .chain(slowest_pair(scenario));
        text.push_str("\nWhat else differs:\n\n");
        for line in lines {
            text.push_str(&format!("- {}\n", escape(&line)));
        }
    }
    let rest: Vec<String> = rest
        .into_iter()
        .map(|one| format!("{}: {}", words(one), one.reason))
        .collect();
    if !rest.is_empty() {
        text.push_str(&format!(
            "\n<details><summary>Not measured</summary>\n\n{}\n\n</details>\n",
            escape(&rest.join("; "))
        ));
    }
    text
}

/// Text from outside in Markdown: no markup, no table cells, one line.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in show::clean(text).chars() {
        match c {
            '\n' | '\r' => out.push(' '),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' | '#' | '@' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}
