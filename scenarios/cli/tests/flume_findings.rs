//! Known findings on Apache Flume 1.11, found again by the whole run: Flume on a JVM, a real HDFS,
//! a thousand events a second.
//!
//! Needs Java and the jars of both (`ci/setup hdfs flume`). Without them the test says so and passes,
//! except in CI, where it fails.

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

use flume_bench_scenarios::scenario::{self, Overrides};
use serde_json::Value;
use shipped::Ran;

/// One after the other, for two of them at once are too much for two processors; but most of what the
/// third and the fourth take is waiting, for Flume's time-outs.
#[test]
fn the_judge_finds_what_is_known_of_apache_flume() {
    let scenario = scenario::load(&shipped::file("kinds/flume-orphan"), &Overrides::default());
    if needs::skip(&scenario.unwrap()) {
        return;
    }
    without_the_lists_nothing_is_started();
    what_a_memory_channel_holds_is_lost_in_a_kill();
    an_orphan_stays_under_its_in_use_name();
    std::thread::scope(|scope| {
        scope.spawn(a_file_is_renamed_although_its_close_failed);
        scope.spawn(the_exec_source_is_dead_after_the_first_full_channel);
    });
}

/// Both configurations of the appendix as they stand: the JVM stays up with nothing in it.
fn without_the_lists_nothing_is_started() {
    for name in ["exec-hdfs", "file-hdfs"] {
        let ran = shipped::run(name, &["--sut", "flume"]);
        assert_eq!(ran.code, shipped::expected(name, "flume"), "{}", ran.output);
        assert_eq!(checker(&ran, "liveness"), "fail", "{}", ran.output);
        assert_eq!(ran.count("issued"), 0, "{}", ran.output);
        assert!(ran.output.contains("never became ready"), "{}", ran.output);
    }
}

fn what_a_memory_channel_holds_is_lost_in_a_kill() {
    let ran = judged("kinds/flume-memory-kill", &[]);
    assert_eq!(checker(&ran, "conservation"), "fail", "{}", ran.output);
    // The capacity, give or take a batch of puts and a batch of takes.
    let lost = ran.count("lost");
    assert!((4_800..=5_200).contains(&lost), "{}", ran.output);
    // Every lost event is put down to the kill, after the source had answered.
    let losses = items(&ran.record["losses"]);
    assert_eq!(sum(losses), lost, "{}", ran.output);
    for loss in losses {
        assert_eq!(loss["fault"], "kill-2", "{loss}");
        assert_eq!(
            loss["hop"]["value"], "agent, after its source had answered",
            "{loss}"
        );
        let explanation = loss["explanation"].as_str().unwrap_or_default();
        assert!(
            explanation.contains("kill-2 ended the agent")
                && explanation.contains("the agent had it"),
            "{loss}"
        );
    }
    let full = |fault: &&Value| fault["name"] == "kill-2" && !fault["witness"]["value"].is_null();
    let faults = ran.record["faults"].as_array().unwrap();
    assert!(faults.iter().any(|fault| full(&fault)), "{}", ran.output);
    assert_eq!(checker(&ran, "liveness"), "pass", "{}", ran.output);
}

fn an_orphan_stays_under_its_in_use_name() {
    let ran = once_its_sink_works("kinds/flume-orphan");
    assert_eq!(checker(&ran, "publication"), "fail", "{}", ran.output);
    assert_eq!(checker(&ran, "conservation"), "pass", "{}", ran.output);
    assert_eq!(ran.count("lost"), 0, "{}", ran.output);
    let orphans = items(&ran.record["unpublished"]);
    assert_eq!(sum(orphans), ran.count("unpublished"), "{}", ran.output);
    for orphan in orphans {
        assert_eq!(orphan["cause"], "under an in-use name", "{orphan}");
        assert_eq!(orphan["fault"], "kill-1", "{orphan}");
        let file = orphan["file"].as_str().unwrap_or_default();
        assert!(file.ends_with(".tmp"), "{orphan}");
    }
}

fn a_file_is_renamed_although_its_close_failed() {
    let ran = once_its_sink_works("kinds/flume-datanode-kill");
    assert_eq!(checker(&ran, "publication"), "fail", "{}", ran.output);
    assert_eq!(ran.count("lost"), 0, "{}", ran.output);
    let all = items(&ran.record["unpublished"]);
    let renamed: Vec<&Value> = all
        .iter()
        .filter(|one| one["cause"] == "renamed without ever being closed")
        .collect();
    assert!(!renamed.is_empty(), "{}", ran.output);
    // Its name says that it is finished; what is in it was read only after its lease was recovered.
    let history = ran.text("history.jsonl");
    for one in renamed {
        let file = one["file"].as_str().unwrap_or_default();
        assert!(file.ends_with(".log"), "{one}");
        assert_eq!(one["fault"], "outage-1", "{one}");
        let recovered = history.lines().any(|line| {
            line.contains("\"what\":\"lease\"")
                && line.contains("\"recovered\":true")
                && line.contains(&format!("\"path\":\"{file}\""))
        });
        assert!(recovered, "{one}: {}", ran.output);
    }
    let log = ran.text("sut/agent.log");
    assert!(
        log.contains("failed. Will retry again in"),
        "no close failed: {}",
        ran.output
    );
}

fn the_exec_source_is_dead_after_the_first_full_channel() {
    let ran = judged("kinds/flume-dead-exec", &[]);
    assert_eq!(checker(&ran, "conservation"), "fail", "{}", ran.output);
    assert_eq!(checker(&ran, "liveness"), "fail", "{}", ran.output);
    // `tail -F` answers nothing, so every line is owed; what came through is what the channel held
    // and what the sink took meanwhile. The source puts twenty lines at a time: the channel of 1,000
    // is full for it when fewer fit.
    for count in ["acked", "refused", "unknown", "recovered"] {
        let known = &ran.record["counts"][count];
        assert!(known["value"].is_null(), "{count}: {}", ran.output);
        assert_eq!(known["reason"], "the source gives no answers", "{count}");
    }
    assert_eq!(ran.count("owed"), 8_000, "{}", ran.output);
    let stored = ran.count("stored");
    assert!((981..=2_500).contains(&stored), "{}", ran.output);
    assert_eq!(ran.count("lost"), 8_000 - stored, "{}", ran.output);
    // The last line is among the lost, and the process did not end before it was told to.
    let losses = items(&ran.record["losses"]);
    assert!(
        losses.iter().any(|loss| loss["last"] == 7_999),
        "{}",
        ran.output
    );
    let log = ran.text("sut/agent.log");
    assert!(log.contains("ChannelFullException"), "{}", ran.output);
}

/// The scenario's promise is kept, and nothing that was stored is anything but what was sent.
fn judged(name: &str, arguments: &[&str]) -> Ran {
    let ran = shipped::run(name, arguments);
    assert_eq!(ran.code, shipped::expected(name, "flume"), "{}", ran.output);
    for count in ["corrupted", "malformed", "unexpected"] {
        assert_eq!(ran.count(count), 0, "{count}: {}", ran.output);
    }
    ran
}

/// A fault shows nothing when it strikes before the sink has opened its first file, or between two
/// files. On a busy machine a JVM is that slow, so a run without the finding is done again with a
/// longer warm-up; a run that lost something never is.
fn once_its_sink_works(name: &str) -> Ran {
    for warm_up in ["15s", "31s"] {
        let ran = shipped::run(name, &["--set", &format!("phases.warm_up={warm_up}")]);
        assert_eq!(ran.count("lost"), 0, "{}", ran.output);
        if ran.code == shipped::expected(name, "flume") && ran.count("unpublished") > 0 {
            return ran;
        }
        eprintln!("once more, with a longer warm-up: {}", ran.output);
    }
    judged(name, &["--set", "phases.warm_up=47s"])
}

fn checker(ran: &Ran, name: &str) -> String {
    let all = ran.record["checkers"].as_array().unwrap();
    let found = all.iter().find(|checker| checker["name"] == name).unwrap();
    found["verdict"].as_str().unwrap().to_owned()
}

fn items(listed: &Value) -> &[Value] {
    listed["items"].as_array().map_or(&[], Vec::as_slice)
}

fn sum(items: &[Value]) -> u64 {
    let events = |item: &Value| item["events"].as_u64();
    items.iter().filter_map(events).sum()
}
