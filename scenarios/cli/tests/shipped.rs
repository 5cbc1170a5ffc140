//! The shipped scenarios that take longer than the quick ones of `kinds.rs`, each as its comment says.
//! `hdfs` is not among them: it is the README's first command, which CI runs before the tests. What is
//! shown on Apache Flume is in `flume_findings.rs`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "it is a test, and says what it leaves out"
)]

#[path = "common/needs.rs"]
mod needs;
#[path = "common/shipped.rs"]
#[expect(dead_code, reason = "other tests use the rest of it")]
mod shipped;
#[path = "common/turn.rs"]
mod turn;

use flume_bench_scenarios::scenario::{self, Overrides};
use shipped::Ran;

/// What a scenario promises of a driver is kept, and nothing in the store is anything but what was sent.
/// None where something it needs is not here.
fn as_it_says(name: &str, driver: &str) -> Option<Ran> {
    let overrides = Overrides {
        sut: Some(driver.to_owned()),
        ..Overrides::default()
    };
    let scenario = scenario::load(&shipped::file(name), &overrides).unwrap();
    if needs::skip(&scenario) {
        return None;
    }
    let _turn = turn::turn();
    let ran = shipped::run(name, &["--sut", driver]);
    let expected = shipped::expected(name, driver);
    assert_eq!(ran.code, expected, "{}", ran.output);
    for count in ["corrupted", "malformed", "unexpected"] {
        assert_eq!(ran.count(count), 0, "{count}: {}", ran.output);
    }
    Some(ran)
}

/// All that was planned was issued, and all of it is stored and published.
fn whole(name: &str, driver: &str, events: u64) {
    let Some(ran) = as_it_says(name, driver) else {
        return;
    };
    for count in ["issued", "stored", "published"] {
        assert_eq!(ran.count(count), events, "{count}: {}", ran.output);
    }
}

#[test]
fn quickstart_stores_everything() {
    whole("quickstart", "engine", 20_000);
}

#[test]
fn a_followed_command_fills_hdfs_ten_lines_a_file() {
    whole("exec-hdfs", "engine", 30_000);
}

#[test]
fn the_lists_change_nothing() {
    whole("exec-hdfs-listed", "engine", 30_000);
}

#[test]
fn a_followed_file_fills_hdfs_ten_lines_a_file() {
    whole("file-hdfs", "engine", 30_000);
}

#[test]
fn rsyslog_is_judged_like_an_agent() {
    whole("files", "command", 20_000);
}

#[test]
fn the_link_between_datanodes_is_cut_both_ways() {
    whole("kinds/replication", "engine", 23_000);
}

/// The loss of a memory channel that is killed while it is full is its capacity, give or take a batch of
/// puts on each of two connections and one of takes.
#[test]
fn a_full_memory_channel_loses_its_capacity() {
    let Some(ran) = as_it_says("hdfs-memory", "engine") else {
        return;
    };
    let lost = ran.count("lost");
    assert!(
        (10_000 - 200..=10_000 + 1_000).contains(&lost),
        "{}",
        ran.output
    );
    assert_eq!(
        ran.count("owed"),
        ran.count("stored") + lost - ran.count("recovered")
    );
    // Each lost event has its window, and the kill is there.
    let losses = ran.record["losses"]["items"].as_array().unwrap();
    assert!(
        losses.iter().all(|loss| loss["fault"]
            .as_str()
            .is_some_and(|fault| fault.starts_with("kill"))),
        "{}",
        ran.output
    );
}

#[test]
fn what_flume_leaves_unreadable_the_engine_publishes() {
    for name in ["kinds/flume-datanode-kill", "kinds/flume-orphan"] {
        as_it_says(name, "engine");
    }
}

#[test]
fn where_flumes_exec_source_dies_the_engines_goes_on() {
    whole("kinds/flume-dead-exec", "engine", 8_000);
}

/// Capacity 5,000.
#[test]
fn a_memory_channel_forgets_in_the_engine_as_well() {
    if let Some(ran) = as_it_says("kinds/flume-memory-kill", "engine") {
        let lost = ran.count("lost");
        assert!((4_800..=5_200).contains(&lost), "{}", ran.output);
    }
}
