//! Workflow commands of GitHub Actions: `::error title=…::…`, one a finding.
//!
//! Source: GitHub's documentation, "Workflow commands for GitHub Actions". In the message `%`, CR
//! and LF are escaped, in a property also `:` and `,`.

use super::{arms, words};
use crate::gate::record::{GateRecord, Outcome};
use crate::verdict::{ExitCode, Verdict};

/// The lines that a workflow prints.
#[must_use]
pub fn annotations(record: &GateRecord) -> String {
    let mut text = String::new();
    let mut add = |level: &str, title: &str, message: &str| {
        text.push_str(&format!(
            "::{level} title={}::{}\n",
            property(title),
            escape(message)
        ));
    };
    for scenario in &record.scenarios {
        for one in &scenario.metrics {
            let title = format!("{}: {}", scenario.name, words(one));
            match one.outcome {
                Outcome::Regression => add("error", &title, &one.reason),
                Outcome::Worse | Outcome::Waived => add("warning", &title, &one.reason),
                _ => {}
            }
        }
        for one in &scenario.violations {
            let level = if one.exit_code == ExitCode::Pass {
                "notice"
            } else {
                "error"
            };
            add(
                level,
                &format!("{}: {}", scenario.name, one.what),
                &one.sentence,
            );
        }
    }
    let level = match record.verdict {
        Verdict::Pass => "notice",
        Verdict::Inconclusive => "warning",
        Verdict::Fail => "error",
    };
    let reason = record.reasons.first().map_or("", String::as_str);
    add(
        level,
        &format!("gate {}: {}", record.verdict, arms(record)),
        reason,
    );
    text
}

fn escape(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

fn property(text: &str) -> String {
    escape(text).replace(':', "%3A").replace(',', "%2C")
}
