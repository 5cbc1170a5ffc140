//! The judge is judged: every decoy by the whole run. The decoy's own tally, the closed form and
//! the report agree to the event.

#![expect(clippy::unwrap_used, clippy::panic, reason = "it is a test")]

#[path = "common/bench.rs"]
mod bench;

use bench::{Bench, Ran};

/// Half a second at 4,000 events a second.
const EVENTS: u64 = 2_000;

fn scenario(defect: &str, n: u64, load: &str, rest: &str) -> String {
    format!(
        "seed = 3\n[sut]\ndriver = \"decoy\"\ndefect = \"{defect}\"\nn = {n}\n\
         [load]\ninto = \"netcat\"\nrate = \"4000/s\"\nbatch = 1\n{load}\n\
         [store]\nkind = \"files\"\nin_use_suffix = \".tmp\"\n[phases]\nsteady = \"500ms\"\n{rest}\n"
    )
}

/// Runs a decoy and checks what the report says against the closed form, and against the decoy's
/// own tally where that counts the same thing.
fn judged(
    defect: &str,
    n: u64,
    load: &str,
    rest: &str,
    code: i32,
    expected: &[(&str, u64)],
) -> Ran {
    let bench = Bench::new();
    let mut ran = bench.run(defect, &scenario(defect, n, load, rest), &["--keep-going"]);
    assert_eq!(ran.code, code, "{defect}: {}", ran.output);
    assert_eq!(ran.count("issued"), EVENTS, "{defect}: {}", ran.output);
    for (count, value) in expected {
        assert_eq!(
            ran.count(count),
            *value,
            "{defect}: {count}: {}",
            ran.output
        );
    }
    for count in [
        "lost",
        "corrupted",
        "malformed",
        "reordered",
        "unexpected",
        "extra_copies",
    ] {
        let wanted = expected
            .iter()
            .find(|(name, _)| *name == count)
            .map_or(0, |(_, value)| *value);
        assert_eq!(
            ran.count(count),
            wanted,
            "{defect}: {count}: {}",
            ran.output
        );
        // The probe, too, may be what a decoy keeps for itself; it enters no total.
        let own = ran.tally(count);
        assert!(
            own == wanted || (defect == "lose_tail" && own == wanted + 1),
            "{defect}: its own tally of {count} is {own}, the report says {wanted}"
        );
    }
    // Judging the stored run again comes to the same.
    let again = bench.call(&[
        "report",
        ran.dir.to_str().unwrap(),
        "--judge",
        "--format",
        "json",
    ]);
    assert!(
        String::from_utf8_lossy(&again.stderr).contains("the same counts, latencies and verdict"),
        "{defect}: {}",
        String::from_utf8_lossy(&again.stderr)
    );
    assert_eq!(again.status.code(), Some(code), "{defect}");
    ran.dir.clear();
    ran
}

const SEVENTH: u64 = EVENTS / 7;

#[test]
fn an_honest_decoy_passes() {
    let ran = judged(
        "honest",
        7,
        "",
        "",
        0,
        &[("stored", EVENTS), ("published", EVENTS), ("acked", EVENTS)],
    );
    assert_eq!(ran.record["verdict"], "pass");
}

/// It tells the generator nothing, so what it took is not known, and not 0.
#[test]
fn of_a_source_without_answers_nobody_knows_what_it_took() {
    let expected = &[("stored", EVENTS), ("owed", EVENTS)];
    let ran = judged("honest", 7, "answers = false", "", 0, expected);
    for count in ["acked", "refused", "unknown", "recovered"] {
        let known = &ran.record["counts"][count];
        assert_eq!(known["value"], serde_json::Value::Null, "{count}");
        assert_eq!(known["reason"], "the source gives no answers", "{count}");
    }
}

#[test]
fn losses_are_found_to_the_event() {
    let ran = judged(
        "lose_every",
        7,
        "",
        "",
        1,
        &[("lost", SEVENTH), ("stored", EVENTS - SEVENTH)],
    );
    assert_eq!(ran.checker("conservation"), "fail");
    // The probe pushes one more event out of the tail, and is itself held back.
    judged("lose_tail", 50, "", "", 1, &[("lost", 49)]);
}

#[test]
fn a_duplicate_hides_no_loss() {
    let ran = judged(
        "hide_loss",
        7,
        "",
        "",
        1,
        &[
            ("lost", SEVENTH),
            ("duplicated", SEVENTH),
            ("extra_copies", SEVENTH),
        ],
    );
    assert_eq!(ran.checker("conservation"), "fail");
}

#[test]
fn copies_are_counted_and_fail_only_where_they_are_limited() {
    let ran = judged(
        "repeat",
        7,
        "",
        "",
        0,
        &[("duplicated", SEVENTH), ("extra_copies", SEVENTH)],
    );
    // The list is of the copies, and not of all that the file holds twice.
    let items = ran.record["duplicates"]["items"].as_array().unwrap();
    let copies: u64 = items
        .iter()
        .filter_map(|item| item["extra_copies"].as_u64())
        .sum();
    assert_eq!(copies, SEVENTH, "{items:?}");
    let ran = judged(
        "repeat",
        7,
        "",
        "[objectives]\nduplicated = 0",
        1,
        &[("extra_copies", SEVENTH)],
    );
    assert_eq!(ran.checker("duplicates"), "fail");
    judged(
        "replay_old",
        100,
        "",
        "[objectives]\nduplicated = 0",
        1,
        &[("duplicated", 100), ("extra_copies", 100)],
    );
}

#[test]
fn corruption_is_never_stored() {
    judged(
        "corrupt_identity",
        7,
        "",
        "",
        1,
        &[("corrupted", SEVENTH), ("lost", SEVENTH)],
    );
    let ran = judged(
        "corrupt_payload",
        7,
        "",
        "",
        1,
        &[("corrupted", SEVENTH), ("lost", SEVENTH)],
    );
    assert_eq!(ran.checker("corruption"), "fail");
}

#[test]
fn merged_split_and_truncated_records_are_malformed_and_their_events_lost() {
    judged(
        "truncate",
        7,
        "",
        "",
        1,
        &[("malformed", SEVENTH), ("lost", SEVENTH)],
    );
    judged(
        "merge",
        7,
        "",
        "",
        1,
        &[("malformed", SEVENTH), ("lost", 2 * SEVENTH)],
    );
    judged(
        "split",
        7,
        "",
        "",
        1,
        &[("malformed", 2 * SEVENTH), ("lost", SEVENTH)],
    );
}

#[test]
fn order_is_told_and_limited_on_request() {
    judged("reorder", 7, "", "", 0, &[("reordered", SEVENTH)]);
    let ran = judged(
        "reorder",
        7,
        "",
        "[objectives]\nreordered = 0",
        1,
        &[("reordered", SEVENTH)],
    );
    assert_eq!(ran.checker("order"), "fail");
}

#[test]
fn invented_events_are_unexpected() {
    let ran = judged(
        "invent",
        7,
        "",
        "",
        1,
        &[("unexpected", SEVENTH), ("stored", EVENTS)],
    );
    assert_eq!(ran.checker("corruption"), "fail");
}

#[test]
fn a_refused_or_unanswered_event_that_is_stored_is_recovered_and_owed_to_nobody() {
    judged(
        "refuse_but_store",
        7,
        "retry_for = \"0s\"",
        "",
        0,
        &[
            ("refused", SEVENTH),
            ("recovered", SEVENTH),
            ("acked", EVENTS - SEVENTH),
        ],
    );
    judged(
        "never_answer",
        500,
        "retry_for = \"0s\"\ntimeout = \"200ms\"",
        "",
        0,
        &[("unknown", 4), ("recovered", 4), ("acked", EVENTS - 4)],
    );
}

/// It answers every event that it takes, and takes few: no loss, and no pass.
#[test]
fn a_source_that_blocks_most_of_the_load_fails() {
    let bench = Bench::new();
    let text = scenario("throttle", 4_000, "finish_within = \"100ms\"", "")
        .replace("4000/s", "8000/s")
        .replace("500ms", "2s");
    let ran = bench.run("throttle", &text, &[]);
    assert_eq!(ran.code, 1, "{}", ran.output);
    assert_eq!(
        (ran.count("lost"), ran.checker("kept_up")),
        (0, "fail".into())
    );
    assert!(ran.count("unsent") > 1_000, "{}", ran.output);
}

#[test]
fn a_stall_shows_in_the_latency_of_everything_that_waited() {
    let objective = "[objectives]\nstored_response_p99 = \"300ms\"";
    let ran = judged("stall", 1000, "", objective, 1, &[("stored", EVENTS)]);
    assert_eq!(ran.checker("objectives"), "fail");
    let slowest = ran.record["latencies"]["stored_response"]["steady"]["us_max"]["value"]
        .as_u64()
        .unwrap();
    assert!(
        slowest >= 650_000,
        "the slowest event waited {slowest} µs of a stall of 700 ms"
    );
}

#[test]
fn a_file_left_under_its_in_use_name_is_unpublished() {
    // The files of 700 and 700 events are published, the one of the last 600 (and the probe) is not.
    let ran = judged(
        "leave_in_use",
        700,
        "",
        "",
        1,
        &[
            ("unpublished", 600),
            ("published", 1400),
            ("stored", EVENTS),
        ],
    );
    assert_eq!(ran.checker("publication"), "fail");
    assert_eq!(
        ran.record["counts"]["unpublished_by_cause"][0]["cause"],
        "under an in-use name"
    );
}

#[test]
fn answering_before_storing_loses_in_a_kill_what_was_held() {
    let fault = "[[fault]]\nkind = \"kill\"\ntarget = \"agent\"\nat = \"200ms\"\nfor = \"50ms\"";
    let bench = Bench::new();
    let ran = bench.run(
        "answer_early",
        &scenario("answer_early", 700, "", fault),
        &[],
    );
    assert_eq!(ran.code, 1, "{}", ran.output);
    let missing = ran.tally("received") - ran.tally("stored");
    let (lost, resent) = (ran.count("lost"), ran.count("resent"));
    // An event that was being answered when the kill came is sent again, and received twice.
    assert!(
        lost > 0 && lost <= missing && lost + resent >= missing,
        "lost {lost}, resent {resent}, the decoy's own tally {missing}: {}",
        ran.output
    );
    assert_eq!(
        ran.record["losses"]["items"][0]["fault"], "kill-1",
        "{}",
        ran.record["losses"]
    );
    assert_eq!(ran.record["faults"][0]["void"], serde_json::Value::Null);
}

/// 100 clean runs, each with a seed of its own: not one false verdict.
#[test]
fn a_hundred_clean_runs_pass() {
    let runs = std::env::var("FLUME_BENCH_CLEAN_RUNS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(100u64);
    let next = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        // Beside the other tests of this file, which run at the same time.
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if seed >= runs {
                        return;
                    }
                    let bench = Bench::new();
                    let text =
                        scenario("honest", 7, "connections = 2", "").replace("500ms", "300ms");
                    let ran = bench.run("honest", &text, &["--seed", &seed.to_string()]);
                    // A machine too busy to keep the schedule may make a run inconclusive, and it says
                    // so; it may never make a clean run fail.
                    let kept = ran.record["reasons"][0]
                        .as_str()
                        .unwrap_or_default()
                        .contains("could not keep its schedule");
                    assert!(
                        ran.code == 0 || (ran.code == 3 && kept),
                        "seed {seed}: {}",
                        ran.output
                    );
                    assert_eq!(
                        (ran.count("lost"), ran.count("stored")),
                        (0, 1_200),
                        "seed {seed}"
                    );
                }
            });
        }
    });
}
