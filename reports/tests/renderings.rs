//! Every rendering of the sample runs and of the worked example.
#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test may unwrap as it does itself"
)]

use flume_bench_reports::compare;
use flume_bench_reports::format::{Input, find};
use flume_bench_reports::record::{self, Known, Listed, RunRecord, Text64};
use flume_bench_reports::series::Table;

#[cfg(test)]
#[path = "samples/records.rs"]
mod records;

#[cfg(test)]
#[path = "../src/openmetrics/checker.rs"]
mod checker;

fn rendered(record: &RunRecord, series: &Known<Table>, format: &str, file: &str) -> String {
    let files = find(format)
        .unwrap()
        .render(&Input::new(record, series))
        .unwrap();
    files
        .into_iter()
        .find(|one| one.file_name == file)
        .unwrap()
        .text
}

fn terminal(run: &records::Run) -> String {
    rendered(
        &run.record,
        &Known::Value(run.series.clone()),
        "terminal",
        "report.txt",
    )
}

fn html(run: &records::Run) -> String {
    rendered(
        &run.record,
        &Known::Value(run.series.clone()),
        "html",
        "report.html",
    )
}

fn all() -> [records::Run; 3] {
    [
        records::passing(),
        records::failing(),
        records::inconclusive(),
    ]
}

/// The words of a page without its markup, white space collapsed.
fn words(page: &str) -> String {
    let body = &page[page.find("<body").unwrap()..];
    let mut text = String::new();
    for part in body.split('<').skip(1) {
        text.push(' ');
        text.push_str(part.split_once('>').unwrap().1);
    }
    unescaped(&text)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

fn unescaped(text: &str) -> String {
    let plain = [
        ("&#x2f;", "/"),
        ("&gt;", ">"),
        ("&lt;", "<"),
        ("&quot;", "\""),
        ("&amp;", "&"),
    ];
    plain
        .iter()
        .fold(text.to_owned(), |text, (escaped, plain)| {
            text.replace(escaped, plain)
        })
}

#[test]
fn the_worked_example_is_the_same_in_every_rendering() {
    let record = records::worked_example();
    let none = Known::unknown("nothing was sampled");
    let text = rendered(&record, &none, "terminal", "report.txt");
    assert!(
        text.contains("transfer success    95 % stored (950 of 1,000 issued)"),
        "{text}"
    );
    assert!(
        text.contains("data loss           5 % (50 of 1,000 owed)"),
        "{text}"
    );
    assert!(
        text.contains("transfer delay      7.2 s (0.002 h) per event"),
        "{text}"
    );

    let page = words(&rendered(&record, &none, "html", "report.html"));
    assert!(
        page.contains("Transfer success 95 % 950 of 1,000 issued are stored"),
        "{page}"
    );
    assert!(
        page.contains("Data loss 5 % 50 of 1,000 owed are lost"),
        "{page}"
    );
    assert!(
        page.contains("Transfer delay 7.2 s = 0.002 h per event 2 h ÷ 1,000 issued"),
        "{page}"
    );

    let json = rendered(&record, &none, "json", "record.json");
    let read = record::read_str(&json).unwrap();
    assert_eq!(read, record);
    let counts = rendered(&record, &none, "csv", "counts.csv");
    for line in ["issued,1000,", "stored,950,", "lost,50,"] {
        assert!(counts.lines().any(|one| one == line), "{counts}");
    }
}

#[test]
fn a_failing_run_in_a_terminal() {
    insta::assert_snapshot!(terminal(&records::failing()));
}

#[test]
fn a_terminal_begins_with_verdict_and_reason_and_keeps_its_width() {
    for (run, verdict) in all().iter().zip(["PASS", "FAIL", "INCONCLUSIVE"]) {
        let text = terminal(run);
        assert!(text.starts_with(verdict), "{text}");
        assert!(!text.contains('\u{1b}'), "colours without being asked");
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
    }
}

#[test]
fn a_narrow_terminal_is_kept_as_well() {
    let run = records::failing();
    let series = Known::Value(run.series);
    let input = Input {
        width: 60,
        colour: false,
        ..Input::new(&run.record, &series)
    };
    let text = find("terminal")
        .unwrap()
        .render(&input)
        .unwrap()
        .remove(0)
        .text;
    for line in text.lines() {
        assert!(line.chars().count() <= 60, "{line}");
    }
}

#[test]
fn colours_change_nothing_but_the_colours() {
    let run = records::failing();
    let series = Known::Value(run.series.clone());
    let input = Input {
        colour: true,
        ..Input::new(&run.record, &series)
    };
    let coloured = find("terminal")
        .unwrap()
        .render(&input)
        .unwrap()
        .remove(0)
        .text;
    assert!(coloured.contains("\u{1b}[1;31mFAIL\u{1b}[0m"));
    let mut plain = String::new();
    let mut rest = coloured.as_str();
    while let Some(at) = rest.find('\u{1b}') {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        rest = &rest[rest.find('m').unwrap() + 1..];
    }
    plain.push_str(rest);
    assert_eq!(plain, terminal(&run));
}

#[test]
fn a_record_file_gives_the_same_record() {
    let directory = tempfile::tempdir().unwrap();
    for run in all() {
        let path = directory.path().join("record.json");
        record::write(&path, &run.record).unwrap();
        assert_eq!(record::read(&path).unwrap(), run.record);
        for (_, latency) in run.record.latencies.words() {
            assert_eq!(
                latency.steady.to_histogram().unwrap().unwrap().len(),
                latency.steady.count
            );
        }
    }
}

#[test]
fn a_page_needs_nothing_from_outside() {
    for run in all() {
        let page = html(&run);
        let lower = page.to_lowercase();
        for outside in [
            "<script", "<link", "<img", "<iframe", "<object", "<base", " src=", "href=", "url(",
            "@import", "http:", "https:", "onload", "onclick",
        ] {
            assert!(!lower.contains(outside), "{outside}");
        }
        assert!(page.contains("default-src 'none'"));
    }
}

#[test]
fn a_page_says_the_important_things_first() {
    let page = words(&html(&records::failing()));
    let order = [
        "fail 100,000 acked events are lost",
        "Transfer success 83.33 %",
        "Data loss 16.67 %",
        "Transfer delay",
        "Transfer rate",
        "System load",
        "Faults warm_up",
        "Throughput",
        "Latency",
        "Channel fill",
        "CPU of the agent",
        "Memory and disk of the agent",
        "Latency by percentile",
        "Faults and their witnesses",
        "pid 41207 ended by signal 9",
        "100,000 events lost",
        "1,840 events stored and not published",
        "Objectives",
        "Checkers",
        "Every event accounted for",
        "How to repeat it",
        "flume-bench run hdfs-memory.toml --seed 7",
    ];
    let mut from = 0;
    for part in order {
        let part = part.replace("warm_up", "warm up");
        let at = page[from..].find(&part);
        from += at.unwrap_or_else(|| panic!("{part:?} is missing or too late"));
    }
}

#[test]
fn losses_name_the_window_and_the_file_they_fell_in() {
    let run = records::failing();
    let page = words(&html(&run));
    let row = "25,000 B · kill_agent 12.01 s – 16.99 s producer 0, 61,400–86,399";
    assert!(page.contains(row), "{page}");
    assert!(page.contains("/flume_data/26-11-22/events.1795370531204.log"));
    assert!(page.contains("And 3 more that are not listed"));
    assert!(page.contains("1,840 B · kill_agent in use name /flume_data/26-11-22/events"));
}

#[test]
fn a_void_fault_is_called_void() {
    let run = records::inconclusive();
    let page = words(&html(&run));
    assert!(
        page.contains("void no attempt was made in the window"),
        "{page}"
    );
    assert!(
        page.contains("witness none: no attempt on the link in the window"),
        "{page}"
    );
    let text = terminal(&run);
    assert!(
        text.contains("void             no attempt was made in the window"),
        "{text}"
    );
}

#[test]
fn nothing_from_a_record_becomes_markup() {
    let mut run = records::failing();
    let evil = "</style><script>alert(1)</script><b onload='x'>&amp;\"";
    let text = || evil.to_owned();
    let record = &mut run.record;
    record.reasons = vec![text(), text()];
    record.repeat = text();
    record.identity.scenario = text();
    record.identity.description = text();
    record.identity.started = text();
    record.sut.name = text();
    record.store.kind = text();
    record.load.settings.insert(text(), text());
    record.load.owed_reason = text();
    record.phases[0].name = text();
    record.faults[0].kind = text();
    record.faults[0].target = text();
    record.faults[0].parameters.insert(text(), text());
    record.faults[1].witness = Known::unknown(text());
    record.losses.items[0].explanation = Some(text());
    record.losses.items[0].file = Known::Value(text());
    record.unpublished.items[0].file = text();
    record.anomalies.items[0].detail = text();
    record.checkers[0].reason = text();
    record.objectives[0].metric = text();
    record.artefacts[0].path = text();
    record.latencies.slip.faults[0].name = text();
    let page = html(&run);
    assert!(!page.contains("<script") && !page.contains("<b onload"));
    assert_eq!(page.matches("</style>").count(), 1);
    assert!(page.matches("&lt;script&gt;alert(1)").count() >= 20);
}

#[test]
fn figures_have_a_caption_and_words_for_those_who_do_not_see_them() {
    let page = unescaped(&html(&records::passing()));
    let charts: Vec<&str> = page.split("<figure class=\"chart\"").skip(1).collect();
    assert_eq!(charts.len(), 7);
    for chart in charts {
        let chart = chart.split("</figure>").next().unwrap();
        assert!(chart.contains("<figcaption>") && chart.contains("role=\"img\" aria-label=\""));
        assert!(chart.contains("class=\"wide\"") && chart.contains("class=\"narrow\""));
    }
    let throughput = "Throughput over time, in events/s. offered: 0 to 20k.";
    assert!(page.contains(throughput), "{page}");
    assert!(page.contains("Fault A from 15.002 s to 23.001 s."));
}

#[test]
fn a_page_does_not_grow_with_the_length_of_the_series() {
    let run = records::passing();
    let short = html(&run).len();
    // The same run, sampled twenty times as often.
    let csv = run.series.to_csv();
    let mut dense = csv.lines().next().unwrap().to_owned() + "\n";
    for line in csv.lines().skip(1) {
        let (t, rest) = line.split_once(',').unwrap();
        let t: u64 = t.parse().unwrap();
        for i in 0..20 {
            dense += &format!("{},{rest}\n", t - 100_000 + (i + 1) * 5_000);
        }
    }
    let series = Table::parse(&dense).unwrap();
    assert_eq!(series.len(), 20 * run.series.len());
    let long = html(&records::Run { series, ..run }).len();
    assert!(
        long < 3 * short && long < 1_000_000,
        "{short} → {long} bytes"
    );
}

#[test]
fn a_page_of_ten_minutes_is_small() {
    let run = records::long();
    assert_eq!(run.series.len(), 6_060);
    let page = html(&run);
    assert!(page.len() < 5_000_000, "{} bytes", page.len());
    assert!(words(&page).contains("L outage datanode1"));
}

#[test]
fn a_page_without_a_series_says_why() {
    let run = records::passing();
    let none = Known::unknown("series.csv is not there");
    let page = words(&rendered(&run.record, &none, "html", "report.html"));
    assert!(
        page.contains("There is no time series to draw: series.csv is not there."),
        "{page}"
    );
}

#[test]
fn lists_that_were_cut_say_so_and_counts_are_never_cut() {
    let mut run = records::failing();
    let one = run.record.losses.items[0].clone();
    run.record.losses = Listed::first(std::iter::repeat_n(one, 50_000), 50);
    let text = terminal(&run);
    assert!(text.contains("… and 49,992 more ranges"), "{text}");
    assert!(words(&html(&run)).contains("And 49,950 more that are not listed"));
}

#[test]
fn what_a_source_without_answers_never_said_is_unknown_everywhere() {
    let mut run = records::passing();
    let answering = run.record.clone();
    let counts = &mut run.record.counts;
    for count in [
        &mut counts.acked,
        &mut counts.refused,
        &mut counts.unknown,
        &mut counts.recovered,
    ] {
        *count = Known::unknown(record::NO_ANSWERS);
    }
    let read = record::read_str(&record::to_text(&run.record).unwrap()).unwrap();
    assert_eq!(read, run.record);
    let text = terminal(&run);
    let line = "acked, refused, unanswered, recovered unknown (the source gives no answers)";
    assert!(text.contains(line) && !text.contains("0 acked"), "{text}");
    let page = words(&html(&run));
    for row in ["acked", "refused", "unknown", "recovered"] {
        let row = format!("{row} unknown the source gives no answers");
        assert!(page.contains(&row), "{row}: {page}");
    }
    let series = Known::Value(run.series.clone());
    let table = rendered(&run.record, &series, "csv", "counts.csv");
    assert!(
        table.contains("\nacked,,the source gives no answers\n"),
        "{table}"
    );
    let metrics = rendered(&run.record, &series, "openmetrics", "report.om");
    assert!(!metrics.contains("class=\"refused\""), "{metrics}");
    let both = compare::terminal(&answering, &run.record, ["one", "two"], 100, false);
    let row = both
        .lines()
        .find(|line| line.trim_start().starts_with("recovered"));
    let cells: Vec<&str> = row.unwrap().split_whitespace().collect();
    assert_eq!(cells, ["recovered", "200", "unknown"]);
}

#[test]
fn two_runs_stand_side_by_side() {
    let (first, second) = (records::passing().record, records::failing().record);
    let text = compare::terminal(&first, &second, ["with a file", "in memory"], 100, false);
    let line = |start: &str| {
        let found = text
            .lines()
            .find(|line| line.trim_start().starts_with(start));
        found.unwrap_or_else(|| panic!("no {start} in {text}"))
    };
    let cells = |start: &str| {
        line(start)
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        cells("issued"),
        ["issued", "1,200,000", "600,000", "−600,000"]
    );
    assert_eq!(cells("lost"), ["lost", "0", "100,000", "+100,000"]);
    assert_eq!(cells("stranded"), ["stranded", "0", "unknown"]);
    assert!(line("verdict").contains("pass") && line("verdict").contains("fail"));
    assert!(text.contains("stored response p99"));
    assert!(
        text.lines().all(|line| line.chars().count() <= 100),
        "{text}"
    );
}

#[test]
fn seeds_above_two_to_the_53_survive() {
    let mut record = records::worked_example();
    record.identity.seed = Text64(u64::MAX);
    let text = record::to_text(&record).unwrap();
    assert!(text.contains("\"seed\": \"18446744073709551615\""));
    assert_eq!(
        record::read_str(&text).unwrap().identity.seed,
        Text64(u64::MAX)
    );
}

#[test]
fn open_metrics_keep_to_their_rules_and_say_what_the_record_says() {
    for run in all() {
        let series = Known::unknown("not needed");
        let text = rendered(&run.record, &series, "openmetrics", "report.om");
        assert_eq!(checker::problems(&text), [""; 0], "{text}");
        let counts = &run.record.counts;
        for (class, value) in [("issued", counts.issued), ("lost", counts.lost)] {
            let line = format!("flume_bench_run_events_total{{class=\"{class}\"}} {value}\n");
            assert!(text.contains(&line), "{line}: {text}");
        }
        let verdict = run.record.verdict.as_str();
        assert!(text.contains(&format!("{{flume_bench_run_verdict=\"{verdict}\"}} 1\n")));
        assert!(text.contains(
            "flume_bench_run_latency_seconds{word=\"stored_response\",quantile=\"0.99\"} "
        ));
    }
}
