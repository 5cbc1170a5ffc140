//! `list`: scenarios, kinds with their settings, defaults.

use std::process::ExitCode;

use flume_bench_engine::{channel, interceptor, selector, sink, sink_processor, source};
use flume_bench_loadgen::{generator, payload, receiver};
use flume_bench_reports::format;
use flume_bench_scenarios::{checker, decoy, fault, scenario, shipped, store, sut};

use super::print;

/// `flume-bench list`.
pub(crate) fn list(what: &str) -> ExitCode {
    let text = match what {
        "kinds" => kinds(),
        "defaults" => defaults(),
        _ => scenarios(),
    };
    print(&text);
    ExitCode::SUCCESS
}

fn scenarios() -> String {
    shipped::summaries()
        .iter()
        .map(|(name, summary)| format!("{name:<22} {summary}\n"))
        .collect()
}

/// A heading and its entries.
fn section(text: &mut String, title: &str, entries: impl IntoIterator<Item = (String, String)>) {
    text.push_str(&format!("\n{title}\n"));
    for (name, summary) in entries {
        text.push_str(&format!("  {name:<20} {summary}\n"));
    }
}

fn settings(text: &mut String, settings: &[(&str, &str)]) {
    for (name, meaning) in settings {
        text.push_str(&format!("      {name:<16} {meaning}\n"));
    }
}

fn kinds() -> String {
    let mut text = String::from("drivers of systems under test  ([sut] driver)\n");
    for kind in sut::KINDS {
        text.push_str(&format!("  {:<20} {}\n", kind.name, kind.summary));
        settings(&mut text, kind.settings);
    }
    text.push_str("\nstores  ([store] kind)\n");
    for kind in store::KINDS {
        text.push_str(&format!(
            "  {:<20} {} (providers: {})\n",
            kind.name,
            kind.summary,
            kind.providers.join(", ")
        ));
        settings(&mut text, kind.settings);
    }
    text.push_str("\nfaults  ([[fault]] kind)\n");
    for kind in fault::KINDS {
        text.push_str(&format!(
            "  {:<20} {} Needs {}\n",
            kind.name, kind.summary, kind.needs
        ));
        settings(&mut text, kind.settings);
    }
    let pair = |name: &str, summary: &str| (name.to_owned(), summary.to_owned());
    macro_rules! list {
        ($title:literal, $kinds:expr) => {
            let entries = $kinds.iter().map(|kind| pair(kind.name, kind.summary));
            section(&mut text, $title, entries);
        };
    }
    list!("load goes into  ([load] into)", generator::KINDS);
    list!("payloads  ([load] payload)", payload::KINDS);
    list!("receivers", receiver::KINDS);
    list!("checkers", checker::CHECKERS);
    section(
        &mut text,
        "report formats  (report --format)",
        format::KINDS
            .iter()
            .map(|kind| pair(kind.name(), kind.summary())),
    );
    list!("decoys  ([sut] defect)", decoy::DEFECTS);
    list!("the agent's sources", source::KINDS);
    list!("the agent's channels", channel::KINDS);
    list!("the agent's sinks", sink::KINDS);
    list!("the agent's interceptors", interceptor::KINDS);
    list!("the agent's selectors", selector::KINDS);
    list!("the agent's sink processors", sink_processor::KINDS);
    text
}

fn defaults() -> String {
    scenario::DEFAULTS.to_owned()
}
