//! JUnit XML: a suite with a case a guarantee, and one with a case a trial; void trials are skipped,
//! and so are, in an inconclusive campaign, all guarantees that were not contradicted.

use super::words;
use crate::campaign::Outcome;
use crate::campaign::analysis::{Analysis, State};
use crate::verdict::Verdict;

fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(' '),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// One case.
struct Case {
    name: String,
    seconds: f64,
    failed: Option<String>,
    skipped: Option<String>,
}

pub(super) fn render(analysis: &Analysis<'_>) -> String {
    let record = analysis.record;
    let guarantees: Vec<Case> = record
        .plan
        .guarantees
        .iter()
        .map(|key| guarantee(analysis, key))
        .collect();
    // A failing trial that may fail is shown, and does not turn a passing campaign red.
    let allowed = analysis.tally.failing <= record.plan.allow_failures;
    let trials: Vec<Case> = record
        .trials
        .iter()
        .map(|trial| {
            let result = || words::result(trial);
            let failed = trial.outcome == Outcome::Failed;
            Case {
                name: format!("trial {}: {}", trial.number, words::schedule(trial)),
                seconds: trial.took_us as f64 / 1e6,
                failed: (failed && !allowed).then(result),
                skipped: match trial.outcome {
                    Outcome::Void => Some(result()),
                    Outcome::Failed if allowed => Some(format!("failed, as it may: {}", result())),
                    _ => None,
                },
            }
        })
        .collect();
    let name = &record.identity.scenario;
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"{}\">\n{}{}</testsuites>\n",
        escape(&format!("campaign of {name}")),
        suite(&format!("{name}: guarantees"), &guarantees),
        suite(&format!("{name}: trials"), &trials)
    )
}

fn guarantee(analysis: &Analysis<'_>, key: &str) -> Case {
    let record = analysis.record;
    let failing: Vec<String> = record
        .trials
        .iter()
        .filter(|trial| {
            trial
                .failures
                .iter()
                .any(|failure| failure.guarantee == key)
        })
        .map(|trial| trial.number.to_string())
        .collect();
    let kept: String = record
        .shrunk
        .iter()
        .filter(|shrunk| crate::campaign::guarantee_of(&shrunk.signature.class) == key)
        .map(|shrunk| {
            let title = record.title(shrunk);
            format!("; {title}: {} {}", shrunk.file, shrunk.sentence)
        })
        .collect();
    let tried = analysis
        .rows
        .iter()
        .flat_map(|row| &row.cells)
        .any(|cell| cell.guarantee == key && cell.state != State::Untried);
    let skipped = if record.verdict == Verdict::Inconclusive {
        let why = record.reasons.first();
        Some(why.map_or_else(|| "inconclusive".to_owned(), Clone::clone))
    } else {
        (failing.is_empty() && !tried).then(|| "no valid trial tried it".to_owned())
    };
    let too_many = analysis.tally.failing > record.plan.allow_failures;
    Case {
        name: Analysis::guarantee(key).to_owned(),
        seconds: 0.0,
        failed: (!failing.is_empty() && too_many)
            .then(|| format!("contradicted in trial {}{kept}", failing.join(", "))),
        skipped,
    }
}

fn suite(name: &str, cases: &[Case]) -> String {
    let failures = cases.iter().filter(|case| case.failed.is_some()).count();
    let skipped = cases.iter().filter(|case| case.skipped.is_some()).count();
    let mut text = format!(
        "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\" skipped=\"{skipped}\" errors=\"0\">\n",
        escape(name),
        cases.len()
    );
    for case in cases {
        let head = format!(
            "    <testcase classname=\"flume-bench.campaign\" name=\"{}\" time=\"{:.3}\"",
            escape(&case.name),
            case.seconds
        );
        let inner = match (&case.failed, &case.skipped) {
            (Some(why), _) => format!("<failure message=\"{}\"/>", escape(why)),
            (None, Some(why)) => format!("<skipped message=\"{}\"/>", escape(why)),
            (None, None) => {
                text.push_str(&format!("{head}/>\n"));
                continue;
            }
        };
        text.push_str(&format!("{head}>{inner}</testcase>\n"));
    }
    text + "  </testsuite>\n"
}
