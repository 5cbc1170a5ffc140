//! The formats on one plan, made of numbers that were never measured.

use super::*;
use crate::plan::backlog::{Movement, Trend};
use crate::plan::sizing::{
    Basis, Fitted, MeasuredPoint, Model, Number, Residual, Sizing, Slice, over_capacities,
    over_rates,
};
use crate::plan::{Knee, Method, SCHEMA_VERSION, read};
use crate::record::Error as RecordError;
use crate::record::{Host, Quantity, Text64, published, schema};
use crate::verdict::ExitCode;

fn probe(number: u32, rate: u64, kind: ProbeKind, outcome: Outcome) -> Probe {
    Probe {
        number,
        kind,
        offered_per_s: rate,
        stored_per_s: Known::Value(rate.min(50_000)),
        outcome,
        reason: format!("because of {number} <b>"),
        steady_us: 20_000_000,
        extended: false,
        backlog: if kind == ProbeKind::Saturation {
            Known::unknown("a saturation probe")
        } else {
            Known::Value(Movement {
                trend: Trend::Sustained,
                slope_ppm: 120,
                slope_ppm_low: -300,
                slope_ppm_high: 700,
                cycles: 10,
                cut_samples: 5,
                beyond_middle: false,
            })
        },
        stored_response_us_p50: Known::Value(80_000),
        stored_response_us_p99: Known::Value(rate * 10),
        stored_response_us_p999: Known::unknown("too few samples"),
        slip_us_p99: Known::Value(90),
        agent_cpu_ppm: Known::Value(rate * 20),
        harness_cpu_ppm: Known::Value(200_000),
        channel_fill_ppm: Known::Value(rate),
        lost: 0,
        run: format!("probe-{number}"),
    }
}

fn sizing() -> Sizing {
    let model = Model {
        fill_ppm: 1_000_000,
        resume_us: 1_500_000,
        catch_up_per_s: 60_000,
        rest_events: 400,
    };
    let measured = MeasuredPoint {
        x: 25_000,
        outage_us: 8_000_000,
        seen: "survived".into(),
    };
    Sizing {
        channel: "c1 (file)".into(),
        capacity_events: 1_000_000,
        bytes_per_event: Known::Value(560),
        bytes_per_event_how: "bytes that the agent wrote ÷ events".into(),
        model,
        fitted: Fitted {
            what: "outage of store (pause)".into(),
            rate_per_s: 25_000,
            outage_us: 8_000_000,
            level_events: 238_000,
            drained_us: Known::Value(7_000_000),
            run: "fit".into(),
        },
        residual: Known::Value(Residual {
            what: "bandwidth of agent->datanode1 limited".into(),
            partial: true,
            rate_per_s: 12_000,
            through_per_s: 6_000,
            level_events: 40_000,
            predicted_us: 6_600_000,
            measured_us: Known::Value(6_800_000),
            residual_ppm: Known::Value(30_303),
            run: "test".into(),
        }),
        numbers: vec![Number {
            name: "capacity for 30 min".into(),
            value: Known::Value(Quantity::new(36_000_000, "events")),
            basis: Basis::Modelled,
            how: "b + a·R·(D + t)".into(),
        }],
        frontier: vec![
            Slice {
                axis: "rate".into(),
                at: "capacity 1,000,000 events".into(),
                boundary: over_rates(&model, 1e6, 48_000.0),
                measured: vec![measured.clone()],
            },
            Slice {
                axis: "capacity".into(),
                at: "20,000 events/s".into(),
                boundary: over_capacities(&model, 20_000.0, 1e6),
                measured: vec![MeasuredPoint {
                    x: 1_000_000,
                    ..measured
                }],
            },
        ],
    }
}

pub(crate) fn sample() -> PlanRecord {
    PlanRecord {
        schema_version: SCHEMA_VERSION,
        plan: Text64(7),
        scenario: "hdfs".into(),
        sut: "engine".into(),
        store: "hdfs (embedded)".into(),
        host: Host::default(),
        command_line: vec!["flume-bench".into(), "plan".into(), "hdfs.toml".into()],
        started: "2026-01-01T12:30:45.123456789Z".into(),
        interrupted: false,
        conclusion: Conclusion::Found,
        exit_code: ExitCode::Pass,
        reasons: vec!["The knee was found.".into()],
        notes: vec!["The channel hides an overload of 5 % for 400 s.".into()],
        method: Method {
            cycle_us: 2_000_000,
            cycle_of: "rollInterval of a1.sinks.k1".into(),
            steady_us: 20_000_000,
            warm_up_us: 2_000_000,
            most_probes: 12,
            faults: Vec::new(),
            changed: vec!["load.rate".into()],
        },
        probes: vec![
            probe(1, 160_000, ProbeKind::Saturation, Outcome::Measured),
            probe(2, 50_000, ProbeKind::Bisection, Outcome::Fails),
            probe(3, 48_000, ProbeKind::Bisection, Outcome::Holds),
        ],
        knee: Known::Value(Knee {
            per_s: 49_000,
            low_per_s: 48_200,
            high_per_s: 49_900,
            spread_ppm: 15_000,
            highest_held_per_s: Known::Value(48_000),
            lowest_failed_per_s: Known::Value(50_000),
        }),
        sizing: Known::Value(sizing()),
        answer: None,
    }
}

#[test]
fn json_comes_back_as_it_went() {
    let plan = sample();
    let text = json(&plan).unwrap();
    assert_eq!(serde_json::from_str::<PlanRecord>(&text).unwrap(), plan);
    assert!(text.contains("\"schema_version\": 1") && !text.contains("NaN"));
}

#[test]
fn every_format_says_the_knee_the_residual_and_where_numbers_come_from() {
    let plan = sample();
    for text in [
        terminal(&plan, 100, false),
        markdown(&plan),
        html(&plan).unwrap(),
    ] {
        let plain = text
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .replace("&#x2f;", "/");
        for words in [
            "49,000 events/s",
            "+3.03 %",
            "modelled",
            "measured",
            "hides an overload",
        ] {
            assert!(plain.contains(words), "{words} is not in {plain}");
        }
        assert!(!text.contains("<b>") || text.contains("&lt;b&gt;") || !text.contains("<html"));
    }
}

#[test]
fn the_page_says_when_as_that_of_a_run_does() {
    let page = html(&sample()).unwrap();
    assert!(page.contains("<span>1 January 2026, 12:30 UTC</span>"));
    assert!(!page.contains("2026-01-01T"), "{page}");
}

#[test]
fn what_is_from_outside_is_escaped() {
    let page = html(&sample()).unwrap();
    assert!(page.contains("because of 2 &lt;b&gt;") && !page.contains("because of 2 <b>"));
    assert!(markdown(&sample()).contains("because of 2 &lt;b>"));
}

#[test]
fn the_page_marks_the_knee_and_the_measured_points() {
    let page = html(&sample()).unwrap();
    assert!(
        page.contains("knee</text>") || page.contains(">knee"),
        "no mark"
    );
    assert!(page.matches("<circle").count() >= 4);
    if let Some(file) = std::env::var_os("FLUME_BENCH_PLAN_PAGE") {
        std::fs::write(file, &page).unwrap();
    }
}

#[test]
fn csv_has_a_line_a_probe_and_empty_cells_for_unknowns() {
    let text = csv(&sample()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4);
    assert!(lines[1].starts_with("1,saturation,160000,50000,measured,20000000,,,,80000,"));
    assert!(lines.iter().all(|line| line.matches(',').count() == 17));
}

#[test]
fn a_plan_without_a_knee_says_why() {
    let plan = PlanRecord {
        knee: Known::unknown("the generator was at its limit"),
        conclusion: Conclusion::HarnessLimited,
        sizing: Known::unknown("there is no knee"),
        ..sample()
    };
    let text = terminal(&plan, 100, false);
    assert!(
        text.contains("No knee: the generator was at its limit."),
        "{text}"
    );
    assert!(text.contains("Not measured: there is no knee."), "{text}");
    assert!(html(&plan).unwrap().contains("No knee"));
}

#[test]
fn open_metrics_keep_to_their_rules_and_say_the_knee() {
    let text = openmetrics(&sample());
    assert_eq!(
        crate::openmetrics::checker::problems(&text),
        [""; 0],
        "{text}"
    );
    assert!(
        text.contains("plan_knee_events_per_second{bound=\"estimate\"} 49000"),
        "{text}"
    );
    assert!(
        text.contains("flume_bench_plan_sizing_residual_ratio 0.0303"),
        "{text}"
    );
    assert!(
        text.contains("flume_bench_plan_probe_lost_events{probe=\"3\"}"),
        "{text}"
    );
}

#[test]
fn the_published_schema_is_that_of_the_types_and_a_plan_is_what_it_says() {
    let generated = published::generated_plain::<PlanRecord>("flume-bench plan, schema_version 1");
    schema::is_published("plan.v1.json", &generated);
    assert!(!generated.contains("\"format\": \"double\""));
    published::holds(crate::plan::SCHEMA, &json(&sample()).unwrap());
    let without = PlanRecord {
        knee: Known::unknown("the generator was at its limit"),
        sizing: Known::unknown("there is no knee"),
        answer: Some(Known::unknown("there is no knee")),
        ..sample()
    };
    published::holds(crate::plan::SCHEMA, &json(&without).unwrap());
}

#[test]
fn a_plan_is_read_whole_or_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("plan.json");
    let text = json(&sample()).unwrap();
    std::fs::write(&path, &text).unwrap();
    assert_eq!(read(&path).unwrap(), sample());
    std::fs::write(&path, &text[..text.len() / 2]).unwrap();
    assert!(matches!(read(&path), Err(RecordError::CutOff { .. })));
    let newer = text.replacen("\"schema_version\": 1", "\"schema_version\": 2", 1);
    std::fs::write(&path, newer).unwrap();
    assert!(matches!(
        read(&path),
        Err(RecordError::Newer { found: 2, .. })
    ));
    std::fs::write(&path, "[]").unwrap();
    assert!(matches!(read(&path), Err(RecordError::NotARecord { .. })));
}
