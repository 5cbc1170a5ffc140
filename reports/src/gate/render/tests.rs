//! One record in all renderings.

use super::*;
use crate::gate::metric::Class;
use crate::gate::record::{ArmUsed, Difference, Pair, Plan, RunOf, Violation};
use crate::record::{Host, Text64};
use crate::verdict::{ExitCode, Verdict};

/// A gate with a regression, a demoted metric, a watched one and a loss.
pub(crate) fn sample() -> GateRecord {
    let metric = |name: &str, class, outcome, estimate: i64| MetricResult {
        name: name.into(),
        class,
        outcome,
        reason: "30 % worse, <confirmed> on fresh pairs".into(),
        margin_ppm: 50_000,
        baseline: Known::Value(Ratio::new(5_300_000, 1_000)),
        candidate: Known::Value(Ratio::new(6_900_000, 1_000)),
        estimate_log_ppm: Known::Value(estimate),
        lower_log_ppm: Known::Value(estimate - 20_000),
        upper_log_ppm: Known::Value(estimate + 20_000),
        p_ppb: Known::Value(244_141),
        resolution_ppm: Known::Value(31_000),
        resolution_from: "the screen's own pairs".into(),
        pairs_log_ppm: (0..12)
            .map(|at| Known::Value(estimate + at * 3_000))
            .collect(),
        ..MetricResult::default()
    };
    let run = |dir: &str| RunOf {
        dir: dir.into(),
        ..RunOf::default()
    };
    let pair = Pair {
        number: 1,
        stage: "screen".into(),
        runs: vec![run("runs/a"), run("runs/b")],
        ..Pair::default()
    };
    let scenario = ScenarioGate {
        name: "quick|start".into(),
        exit_code: ExitCode::Regression,
        metrics: vec![
            metric(
                "cpu_ns_per_event",
                Class::Gating,
                Outcome::Regression,
                262_364,
            ),
            metric("peak_rss_bytes", Class::Watch, Outcome::Demoted, -2_000),
            metric("stored_response_us_p50", Class::Watch, Outcome::Fine, 100),
            MetricResult {
                name: "recovery_us".into(),
                class: Class::Watch,
                outcome: Outcome::NotMeasured,
                reason: "no fault was injected".into(),
                ..MetricResult::default()
            },
        ],
        violations: vec![Violation {
            what: "lost".into(),
            candidate_runs: 1,
            runs: 12,
            sentence: "lost: the candidate missed it in 1 of 12 runs.".into(),
            exit_code: ExitCode::Regression,
            seen_in: vec!["runs/b".into()],
            ..Violation::default()
        }],
        pairs: vec![pair; 12],
        differences: vec![Difference {
            name: "write_calls".into(),
            baseline: Ratio::new(50, 1_000),
            candidate: Ratio::new(100, 1_000),
        }],
        ..ScenarioGate::default()
    };
    let arm = |name: &str| ArmUsed {
        name: name.into(),
        what: format!("program /{name}"),
        program: Known::unknown("a test"),
    };
    GateRecord {
        schema_version: crate::gate::record::SCHEMA_VERSION,
        verdict: Verdict::Fail,
        reasons: vec!["CPU per event is 30 % worse, confirmed on fresh pairs.".into()],
        exit_code: ExitCode::Regression,
        exit_code_given: ExitCode::Regression,
        interrupted: false,
        id: Text64(1),
        seed: Text64(7),
        command_line: vec!["flume-bench".into(), "gate".into()],
        started: "2026-01-01T12:30:45.123456789Z".into(),
        took_us: 300_000_000,
        host: Host::default(),
        host_kind: "a-cpu-2-cores-8-gib".into(),
        arms: vec![arm("baseline"), arm("candidate")],
        plan: Plan {
            looks: vec![8, 12],
            confirming: 8,
            alpha_ppm: 100_000,
            ..Plan::default()
        },
        host_unfit: false,
        scenarios: vec![scenario],
        notes: vec!["a waiver has expired".into()],
    }
}

#[test]
fn the_text_says_verdict_numbers_and_why() {
    let text = terminal(&sample(), 100, false);
    for wanted in [
        "FAIL",
        "5.3 µs",
        "6.9 µs",
        "+30 %",
        "(demoted to watch)",
        "write calls per event: 0.05 → 0.1",
        "no fault was injected",
        "a waiver has expired",
        "runs/a and runs/b",
    ] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    assert!(
        text.lines().all(|line| line.chars().count() <= 100),
        "{text}"
    );
}

#[test]
fn a_comment_begins_with_its_marker_and_keeps_its_table() {
    let text = markdown(&sample());
    assert!(text.starts_with(MARKER), "{text}");
    assert!(text.contains("quick\\|start"), "{text}");
    assert!(
        text.contains("**regression**") && text.contains("fine, watch"),
        "{text}"
    );
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
    assert_eq!(rows.len(), 5, "{text}");
    assert!(
        rows.iter().all(|row| row.matches('|').count() == 9),
        "{rows:?}"
    );
}

#[test]
fn junit_skips_what_is_watched_and_fails_what_regressed() {
    let text = junit(&sample());
    assert!(
        text.contains("tests=\"5\" failures=\"2\" errors=\"0\" skipped=\"3\""),
        "{text}"
    );
    assert!(
        text.contains("&lt;confirmed&gt;") && !text.contains("<confirmed>"),
        "{text}"
    );
    assert_eq!(
        text.matches("<testsuite ").count(),
        text.matches("</testsuite>").count()
    );
    let mut passed = sample();
    passed.exit_code = ExitCode::Pass;
    assert_eq!(junit(&passed).matches("<testsuite ").count(), 1);
}

#[test]
fn annotations_are_one_line_each() {
    let text = annotations(&sample());
    assert!(
        text.starts_with("::error title=quick|start%3A CPU per event::30 %25 worse"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 3, "{text}");
}

#[test]
fn the_page_is_whole_and_escapes_what_it_is_given() {
    let text = html(&sample()).unwrap();
    assert!(text.contains("&lt;confirmed&gt;") && !text.contains("<confirmed>"));
    assert_eq!(text.matches("<div class=\"plot\"").count(), 3);
    for outside in ["http://", "https://", "<script", "@import", "url("] {
        assert!(!text.contains(outside), "{outside}");
    }
    assert_eq!(html(&sample()).unwrap(), text);
}

/// Scaled with the page, as by a view box, labels and dots would be larger than those of other figures.
#[test]
fn the_plots_keep_the_size_of_their_text() {
    let text = html(&sample()).unwrap();
    let plots = text.split("<div class=\"plot\"").skip(1);
    for plot in plots.map(|plot| plot.split("</svg>").next().unwrap()) {
        assert!(!plot.contains("viewBox"), "{plot}");
        for place in ["x1", "x2", "cx", "x", "width"] {
            for value in plot.split(&format!(" {place}=\"")).skip(1) {
                let value = value.split('"').next().unwrap();
                let share: f64 = value.strip_suffix('%').unwrap().parse().unwrap();
                assert!((0.0..=100.0).contains(&share), "{place}: {plot}");
            }
        }
    }
}

#[test]
fn the_page_says_when_as_that_of_a_run_does() {
    let text = html(&sample()).unwrap();
    assert!(text.contains("<span>1 January 2026, 12:30 UTC</span>"));
    assert!(!text.contains("2026-01-01T"), "{text}");
}

#[test]
fn a_record_is_read_as_it_was_written_and_an_edited_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gate.json");
    crate::gate::record::write(&path, &sample()).unwrap();
    assert_eq!(crate::gate::record::read(&path).unwrap(), sample());
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"exit_code\": 5", "\"exit_code\": 0")).unwrap();
    let refused = crate::gate::record::read(&path).unwrap_err().to_string();
    assert!(refused.contains("edited"), "{refused}");
    std::fs::write(&path, &text[..text.len() / 2]).unwrap();
    let refused = crate::gate::record::read(&path).unwrap_err().to_string();
    assert!(refused.contains("cut off"), "{refused}");
}

#[test]
fn open_metrics_keep_to_their_rules_and_have_every_metric() {
    let record = sample();
    let text = openmetrics(&record);
    assert_eq!(
        crate::openmetrics::checker::problems(&text),
        [""; 0],
        "{text}"
    );
    for metric in &record.scenarios[0].metrics {
        assert!(
            text.contains(&format!("metric=\"{}\"", metric.name)),
            "{text}"
        );
    }
    assert!(text.contains("arm=\"candidate\"} 1\n"), "{text}");
}
