//! JUnit XML: a suite a scenario, a case a metric. A watched metric is skipped, a regression is a
//! failure, an inconclusive gating metric an error.
//!
//! The shape is the one that GitLab, Jenkins and GitHub's test reporters read: `testsuites`,
//! `testsuite` with counts, `testcase` with `failure`, `error` or `skipped`.

use super::words;
use crate::gate::metric::Class;
use crate::gate::record::{GateRecord, MetricResult, Outcome, ScenarioGate};
use crate::show;
use crate::verdict::ExitCode;

/// The record as JUnit XML.
#[must_use]
pub fn junit(record: &GateRecord) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    text.push_str(&format!(
        "<testsuites name=\"flume-bench gate\" time=\"{:.3}\">\n",
        record.took_us as f64 / 1e6
    ));
    for scenario in &record.scenarios {
        text.push_str(&suite(scenario));
    }
    // What concerns no metric, such as an unfit host, must not look like a pass.
    if record.exit_code != ExitCode::Pass {
        let kind = match record.exit_code {
            ExitCode::Missed | ExitCode::Regression => "failure",
            _ => "error",
        };
        text.push_str(&format!(
            "  <testsuite name=\"gate\" tests=\"1\" failures=\"{}\" errors=\"{}\" skipped=\"0\">\n    \
             <testcase classname=\"gate\" name=\"verdict\">\n      <{kind} message=\"{}\"/>\n    \
             </testcase>\n  </testsuite>\n",
            u8::from(kind == "failure"),
            u8::from(kind == "error"),
            escape(&record.reasons.join(" "))
        ));
    }
    text.push_str("</testsuites>\n");
    text
}

/// The element inside a case, if it needs one.
fn inner(one: &MetricResult) -> Option<&'static str> {
    match (one.class, one.outcome) {
        (_, Outcome::NotMeasured) | (Class::Watch, _) => Some("skipped"),
        (_, Outcome::Regression) => Some("failure"),
        (_, Outcome::Inconclusive) => Some("error"),
        _ => None,
    }
}

fn suite(scenario: &ScenarioGate) -> String {
    let count = |kind: &str| {
        let of = scenario
            .metrics
            .iter()
            .filter(|one| inner(one) == Some(kind));
        of.count()
    };
    let broken = scenario
        .violations
        .iter()
        .filter(|one| one.exit_code != ExitCode::Pass);
    let mut text = format!(
        "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\">\n",
        escape(&scenario.name),
        scenario.metrics.len() + scenario.violations.len(),
        count("failure") + broken.count(),
        count("error"),
        count("skipped"),
    );
    let name = escape(&scenario.name);
    for one in &scenario.metrics {
        let case = format!(
            "    <testcase classname=\"{name}\" name=\"{}\"",
            escape(words(one))
        );
        let message = escape(&format!("{}: {}", one.outcome.words(), one.reason));
        text.push_str(&match inner(one) {
            Some(kind) => {
                format!("{case}>\n      <{kind} message=\"{message}\"/>\n    </testcase>\n")
            }
            None => format!("{case}>\n      <system-out>{message}</system-out>\n    </testcase>\n"),
        });
    }
    for one in &scenario.violations {
        let case = format!(
            "    <testcase classname=\"{name}\" name=\"{}\"",
            escape(&one.what)
        );
        text.push_str(&match one.exit_code {
            ExitCode::Pass => format!("{case}/>\n"),
            _ => format!(
                "{case}>\n      <failure message=\"{}\"/>\n    </testcase>\n",
                escape(&one.sentence)
            ),
        });
    }
    text.push_str("  </testsuite>\n");
    text
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in show::clean(text).chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            // XML 1.0 has no other control characters at all.
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
