//! Every kind there is has a shipped scenario that uses it, and every shipped scenario ends as its
//! comment says. The quick ones are run here; those that take longer have tests of their own.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "it is a test, and says what it leaves out"
)]

#[path = "common/needs.rs"]
mod needs;
#[path = "common/shipped.rs"]
mod shipped;

use std::collections::BTreeSet;
use std::process::Command;

use flume_bench_engine::{channel, interceptor, selector, sink, sink_processor, source};
use flume_bench_loadgen::{generator, payload};
use flume_bench_scenarios::scenario::{self, Overrides, Scenario};
use flume_bench_scenarios::shipped::SHIPPED;
use flume_bench_scenarios::{fault, store, sut};

/// Every shipped scenario, by its name.
fn all() -> Vec<(&'static str, Scenario)> {
    let names = SHIPPED
        .iter()
        .filter_map(|(file, _)| file.strip_suffix(".toml"));
    names
        .map(|name| {
            let scenario = scenario::load(&shipped::file(name), &Overrides::default());
            (name, scenario.unwrap_or_else(|all| panic!("{all:?}")))
        })
        .collect()
}

/// What the scenarios use: `fault kill`, `source avro`, `outage how pause`, …
fn used() -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    let mut add = |what: &str, name: &str| used.insert(format!("{what} {}", name.to_lowercase()));
    for (_, scenario) in all() {
        let load = &scenario.load;
        add("driver", scenario.sut.driver.name());
        add("store", scenario.store.kind());
        add("load into", load.into);
        add("payload", load.payload);
        let schedule = match (load.ramp_to, load.poisson) {
            (Some(_), _) => "ramp",
            (None, true) => "poisson",
            (None, false) => "constant",
        };
        add("schedule", schedule);
        load.rotate.map(|(how, _)| add("rotate", how));
        for fault in &scenario.faults {
            add("fault", fault.kind);
            let how = fault.table.get("how").and_then(|how| how.as_str());
            how.map(|how| add(fault.kind, how));
        }
        // Any program may have a configuration; these two have Flume's.
        let flumes = ["engine", "flume"].contains(&scenario.sut.driver.name());
        let Some(config) = scenario.sut.config.filter(|_| flumes) else {
            continue;
        };
        let text = std::fs::read_to_string(config).unwrap();
        for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
            let parts: Vec<&str> = key.trim().split('.').collect();
            let what = match parts[..] {
                [_, "sources", _, "type"] => "source",
                [_, "channels", _, "type"] => "channel",
                [_, "sinks", _, "type"] => "sink",
                [_, "sources", _, "interceptors", _, "type"] => "interceptor",
                [_, "sources", _, "selector", "type"] => "selector",
                [_, "sinkgroups", _, "processor", "type"] => "sink processor",
                _ => continue,
            };
            add(what, value.trim());
        }
    }
    used
}

#[test]
fn every_kind_is_used_by_a_shipped_scenario() {
    let mut there: Vec<(&str, &str)> = Vec::new();
    there.extend(sut::KINDS.iter().map(|kind| ("driver", kind.name)));
    there.extend(store::KINDS.iter().map(|kind| ("store", kind.name)));
    there.extend(fault::KINDS.iter().map(|kind| ("fault", kind.name)));
    there.extend(generator::KINDS.iter().map(|kind| ("load into", kind.name)));
    there.extend(payload::KINDS.iter().map(|kind| ("payload", kind.name)));
    there.extend(source::KINDS.iter().map(|kind| ("source", kind.name)));
    there.extend(channel::KINDS.iter().map(|kind| ("channel", kind.name)));
    there.extend(sink::KINDS.iter().map(|kind| ("sink", kind.name)));
    there.extend(
        interceptor::KINDS
            .iter()
            .map(|kind| ("interceptor", kind.name)),
    );
    there.extend(selector::KINDS.iter().map(|kind| ("selector", kind.name)));
    there.extend(
        sink_processor::KINDS
            .iter()
            .map(|kind| ("sink processor", kind.name)),
    );
    there.extend(["constant", "poisson", "ramp"].map(|name| ("schedule", name)));
    there.extend(["rename", "copytruncate"].map(|name| ("rotate", name)));
    there.extend(["drop", "reset"].map(|name| ("cut_link", name)));
    there.extend(["kill", "pause", "refuse"].map(|name| ("outage", name)));

    let used = used();
    let unused: Vec<String> = there
        .iter()
        .map(|(what, name)| format!("{what} {}", name.to_lowercase()))
        .filter(|kind| !used.contains(kind))
        .collect();
    assert!(unused.is_empty(), "no shipped scenario uses {unused:?}");
}

#[test]
fn every_shipped_scenario_is_found_in_order() {
    for (name, scenario) in all() {
        if needs::skip(&scenario) {
            continue;
        }
        let output = Command::new(env!("CARGO_BIN_EXE_flume-bench"))
            .arg("check")
            .arg(shipped::file(name))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{name}: {said}");
    }
}

/// Whether a scenario is run by this file: nothing real is started for it, and it is short.
fn is_quick(scenario: &Scenario) -> bool {
    let own = ["engine", "decoy"].contains(&scenario.sut.driver.name());
    let phases = scenario.phases;
    own && scenario.store.provider() == "embedded"
        && phases.warm_up + phases.steady <= std::time::Duration::from_secs(8)
}

fn ends_as_it_says(name: &str) {
    let scenario = scenario::load(&shipped::file(name), &Overrides::default()).unwrap();
    let ran = shipped::run(name, &[]);
    let expected = shipped::expected(name, scenario.sut.driver.name());
    assert_eq!(ran.code, expected, "{}", ran.output);
    for count in ["corrupted", "malformed", "unexpected"] {
        assert_eq!(ran.count(count), 0, "{count}: {}", ran.output);
    }
    // Every fault took effect, whatever the verdict.
    for fault in ran.record["faults"].as_array().unwrap() {
        assert!(!fault["witness"]["value"].is_null(), "{}", ran.output);
    }
    let issued = ran.text("history.jsonl");
    assert!(issued.contains("load ended"), "{}", ran.output);
}

macro_rules! quick {
    ($($test:ident: $name:literal),* $(,)?) => {
        /// Those that have a test below.
        const QUICK: &[&str] = &[$($name),*];
        $(
            #[test]
            fn $test() {
                ends_as_it_says($name);
            }
        )*
    };
}

quick! {
    decoy_ends_as_it_says: "kinds/decoy",
    fan_out_ends_as_it_says: "kinds/fan-out",
    netcat_ends_as_it_says: "kinds/netcat",
    outages_ends_as_it_says: "kinds/outages",
    poisson_ends_as_it_says: "kinds/poisson",
    ramp_ends_as_it_says: "kinds/ramp",
    tail_copytruncate_ends_as_it_says: "kinds/tail-copytruncate",
    tail_rename_ends_as_it_says: "kinds/tail-rename",
}

#[test]
fn every_quick_scenario_is_run() {
    let quick: Vec<&str> = all()
        .iter()
        .filter(|(_, scenario)| is_quick(scenario))
        .map(|(name, _)| *name)
        .collect();
    assert_eq!(quick, QUICK);
}
