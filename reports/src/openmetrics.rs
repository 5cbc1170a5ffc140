//! OpenMetrics: numbers for whoever keeps them in a time-series database.
//!
//! [`Exposition`] writes the text format, version 1.0.0: families of metrics, each with its type, unit and
//! help, then `# EOF`. Every family is named `flume_bench_…`, ends with its unit (seconds, bytes,
//! ratio, events, …: base units only), and is written in one piece. What could not be known is left
//! out: a missing sample says so, a 0 would lie. No sample has a timestamp; whoever reads the file
//! knows when.
//!
//! Tests hold every rendering to the rules of the specification (`checker`).
//!
//! Source: OpenMetrics 1.0.0, <https://prometheus.io/docs/specs/om/open_metrics_spec/>; its draft is
//! draft-richih-opsawg-openmetrics-00.

#[cfg(test)]
pub(crate) mod checker;

use std::fmt::Write as _;

use crate::record::{Known, Ratio};
use crate::verdict::{ExitCode, Verdict};

/// The name that every family begins with.
const PREFIX: &str = "flume_bench_";

/// Labels of a sample, in their order.
pub(crate) type Labels<'a> = &'a [(&'a str, &'a str)];

/// A text that grows family by family.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    text: String,
}

/// One family: the samples that follow it belong to it.
pub(crate) struct Family<'e> {
    text: &'e mut String,
    name: String,
    /// What the names of its samples end with.
    suffix: &'static str,
    /// Its first lines, until there is a sample to write them for.
    head: Option<String>,
}

impl Exposition {
    fn family(&mut self, name: &str, kind: &str, unit: &str, help: &str) -> Family<'_> {
        let name = match unit {
            "" => format!("{PREFIX}{name}"),
            unit => format!("{PREFIX}{name}_{unit}"),
        };
        let mut head = format!("# TYPE {name} {kind}\n");
        if !unit.is_empty() {
            let _ = writeln!(head, "# UNIT {name} {unit}");
        }
        let _ = writeln!(head, "# HELP {name} {}", escaped(help));
        let suffix = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        Family {
            text: &mut self.text,
            name,
            suffix,
            head: Some(head),
        }
    }

    /// Values that may be anything; `unit` is part of the name, empty where there is none.
    pub(crate) fn gauge(&mut self, name: &str, unit: &str, help: &str) -> Family<'_> {
        self.family(name, "gauge", unit, help)
    }

    /// What was counted.
    pub(crate) fn counter(&mut self, name: &str, unit: &str, help: &str) -> Family<'_> {
        self.family(name, "counter", unit, help)
    }

    /// Percentiles: samples have a label `quantile`.
    pub(crate) fn summary(&mut self, name: &str, unit: &str, help: &str) -> Family<'_> {
        self.family(name, "summary", unit, help)
    }

    /// Words about the thing as a whole.
    pub(crate) fn info(&mut self, name: &str, help: &str, labels: Labels<'_>) {
        self.family(name, "info", "", help).whole(labels, 1);
    }

    /// The verdict as a set of states, and the exit code.
    pub(crate) fn verdict(&mut self, of: &str, verdict: Verdict, code: ExitCode) {
        let name = format!("{of}_verdict");
        let mut family = self.family(&name, "stateset", "", "What it came to.");
        let label = family.name.clone();
        for state in [Verdict::Pass, Verdict::Inconclusive, Verdict::Fail] {
            family.whole(&[(&label, state.as_str())], u64::from(state == verdict));
        }
        self.gauge(
            &format!("{of}_exit_code"),
            "",
            "The exit code of the program.",
        )
        .whole(&[], code.code().into());
    }

    /// The whole text.
    pub(crate) fn finish(mut self) -> String {
        self.text.push_str("# EOF\n");
        self.text
    }
}

impl Family<'_> {
    fn sample(&mut self, suffix: &str, labels: Labels<'_>, value: &str) {
        if let Some(head) = self.head.take() {
            self.text.push_str(&head);
        }
        let _ = write!(self.text, "{}{suffix}", self.name);
        for (i, (name, value)) in labels.iter().enumerate() {
            let open = if i == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{open}{name}=\"{}\"", escaped(value));
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{close} {value}");
    }

    /// A whole number.
    pub(crate) fn whole(&mut self, labels: Labels<'_>, value: u64) {
        self.sample(self.suffix, labels, &value.to_string());
    }

    /// A whole number, where it is known.
    pub(crate) fn known(&mut self, labels: Labels<'_>, value: &Known<u64>) {
        if let Some(value) = value.value() {
            self.whole(labels, *value);
        }
    }

    /// Any number that is finite.
    pub(crate) fn number(&mut self, labels: Labels<'_>, value: f64) {
        if value.is_finite() {
            self.sample(self.suffix, labels, &value.to_string());
        }
    }

    /// A ratio, where it exists.
    pub(crate) fn ratio(&mut self, labels: Labels<'_>, ratio: Ratio) {
        if let Some(value) = ratio.as_f64() {
            self.number(labels, value);
        }
    }

    /// Millionths, as a share of 1.
    pub(crate) fn ppm(&mut self, labels: Labels<'_>, value: &Known<u64>) {
        if let Some(ppm) = value.value() {
            self.number(labels, *ppm as f64 / 1e6);
        }
    }

    /// Microseconds, as seconds.
    pub(crate) fn seconds(&mut self, labels: Labels<'_>, us: u64) {
        self.number(labels, us as f64 / 1e6);
    }

    /// Microseconds, as seconds, where they are known.
    pub(crate) fn known_seconds(&mut self, labels: Labels<'_>, us: &Known<u64>) {
        if let Some(us) = us.value() {
            self.seconds(labels, *us);
        }
    }

    /// How many observations a summary rests on.
    pub(crate) fn count(&mut self, labels: Labels<'_>, value: u64) {
        self.sample("_count", labels, &value.to_string());
    }
}

/// A text as label values and help take it; other control characters are blanks.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_has_its_lines_its_samples_and_no_more() {
        let mut exposition = Exposition::default();
        exposition.info("run", "Which run.", &[("scenario", "a \"b\"\nc\\")]);
        let mut family = exposition.counter("run", "events", "Events, by class.");
        family.whole(&[("class", "lost")], 7);
        family.whole(&[("class", "stored")], 8);
        let mut family = exposition.gauge("never", "seconds", "Nobody knows.");
        family.known_seconds(&[], &Known::unknown("not measured"));
        family.number(&[], f64::NAN);
        exposition.verdict("run", Verdict::Fail, ExitCode::Missed);
        let text = exposition.finish();
        assert_eq!(checker::problems(&text), Vec::<String>::new(), "{text}");
        assert!(text.contains("flume_bench_run_events_total{class=\"lost\"} 7\n"));
        assert!(text.contains("scenario=\"a \\\"b\\\"\\nc\\\\\""), "{text}");
        assert!(!text.contains("never") && text.ends_with("\n# EOF\n"));
        assert!(text.contains("{flume_bench_run_verdict=\"fail\"} 1\n"));
    }
}
