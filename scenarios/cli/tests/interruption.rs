//! A run that is interrupted heals, ends what it started, and keeps what it recorded; a harness that
//! is killed leaves nothing that the next one does not end.
//!
//! Whether anything is left is asked of `/proc`: everything a run starts carries the run's mark in
//! its environment, so what is found here was looked for in another way than the harness's own.

#![expect(clippy::unwrap_used, clippy::panic, reason = "it is a test")]

#[path = "interruption/harness.rs"]
mod harness;

use harness::{Bench, Harness, eventually, left_of, state_of};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_flume-bench");

/// Ten seconds of load, of which the first two are warm-up, with the agent stopped for most of them.
fn scenario(defect: &str) -> String {
    format!(
        "seed = 5\n[sut]\ndriver = \"decoy\"\ndefect = \"{defect}\"\nn = 7\n{LOAD}\
         [phases]\nwarm_up = \"2s\"\nsteady = \"8s\"\n\
         [[fault]]\nkind = \"pause\"\ntarget = \"agent\"\nat = \"500ms\"\nfor = \"7s\"\n"
    )
}

const LOAD: &str =
    "[load]\ninto = \"netcat\"\nrate = \"1000/s\"\nbatch = 1\n[store]\nkind = \"files\"\n";

/// The record of a run that was ended in good order, after checking that it was.
fn ended_in_good_order(bench: &Bench, harness: &mut Harness, code: i32) -> Value {
    assert_eq!(harness.code(), code, "{}", harness.said());
    assert!(
        harness
            .said()
            .contains("interrupted: every fault is healed"),
        "{}",
        harness.said()
    );
    let run = harness.run();
    assert_eq!(left_of(&run), Vec::<String>::new());
    for kept in ["journal.bin", "history.jsonl", "record.json", "report.html"] {
        assert!(run.join(kept).is_file(), "{kept} is not kept");
    }
    let record: Value =
        serde_json::from_slice(&std::fs::read(run.join("record.json")).unwrap()).unwrap();
    assert_eq!(record["interrupted"], true);
    assert!(record["verdict"] != "pass", "{}", record["verdict"]);
    let again = bench.call(&["report", run.to_str().unwrap(), "--judge"]);
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(
        said.contains("judged again: the same counts, latencies and verdict"),
        "{said}"
    );
    assert_eq!(again.status.code(), Some(code), "{said}");
    record
}

/// Starts a run, waits until it says a line, sends a signal.
fn interrupted_at(bench: &Bench, text: &str, line: &str, signal: &str) -> Harness {
    let harness = Harness::start(bench, text, &[]);
    harness.wait_until_it_says(line);
    harness.signal(signal);
    harness
}

#[test]
fn interrupted_in_warm_up() {
    let bench = Bench::new();
    let mut harness = interrupted_at(&bench, &scenario("honest"), "phase warm_up", "INT");
    let record = ended_in_good_order(&bench, &mut harness, 3);
    assert_eq!(record["verdict"], "inconclusive");
    assert!(harness.said().contains("SIGINT"), "{}", harness.said());
    // Nothing was ever offered in steady, and the rest of the schedule is not held to be lost.
    assert!(record["counts"]["unsent"].as_u64().unwrap() > 8_000);
}

#[test]
fn interrupted_while_a_fault_holds() {
    let bench = Bench::new();
    let mut harness = Harness::start(&bench, &scenario("honest"), &[]);
    harness.wait_until_it_says("fault pause-1");
    let agent = harness.pid_of("agent");
    eventually("the agent to stand still", || state_of(agent) == Some('T'));
    harness.signal("TERM");
    let record = ended_in_good_order(&bench, &mut harness, 3);
    assert!(harness.said().contains("SIGTERM"), "{}", harness.said());
    assert!(
        harness.said().contains("pause-1 healed"),
        "{}",
        harness.said()
    );
    let healed = &record["faults"][0]["healed_us"];
    assert!(
        healed.as_i64().or(healed["value"].as_i64()).is_some(),
        "{}",
        record["faults"][0]
    );
    assert_eq!(
        harness.entry("ended")["exit"],
        "exit code 0",
        "the agent was let go on, and then ended on request"
    );
}

#[test]
fn interrupted_in_the_drain() {
    let bench = Bench::new();
    // An agent that drops each seventh event, and a drain that waits half a minute for them.
    let text = format!(
        "seed = 5\n[sut]\ndriver = \"command\"\nquiet = \"30s\"\ncommand = [\"{PROGRAM}\", \"decoy\", \
         \"--defect\", \"lose_every\", \"--every\", \"7\", \"--port\", \"{{port}}\", \"--out\", \"{{store}}\", \
         \"--tally\", \"{{data}}/tally.json\"]\n{LOAD}[phases]\nsteady = \"2s\"\n\
         [objectives]\ntransfer_success_rate = \"99 %\"\n"
    );
    let mut harness = interrupted_at(&bench, &text, "phase drain", "INT");
    let record = ended_in_good_order(&bench, &mut harness, 3);
    assert_eq!(harness.entry("drained")["outcome"], "interrupted");
    // What is missing may have been on its way: counted, and held against nobody.
    assert!(record["counts"]["lost"].as_u64().unwrap() > 200);
    let conservation = checker(&record, "conservation");
    assert_eq!(conservation, "inconclusive");
    assert_eq!(checker(&record, "objectives"), "inconclusive");
}

fn checker<'a>(record: &'a Value, name: &str) -> &'a str {
    let all = record["checkers"].as_array().unwrap();
    all.iter().find(|checker| checker["name"] == name).unwrap()["verdict"]
        .as_str()
        .unwrap()
}

#[test]
fn what_was_missed_for_good_before_the_interruption_stays_missed() {
    let bench = Bench::new();
    let mut harness = Harness::start(&bench, &scenario("corrupt_payload"), &["--keep-going"]);
    harness.wait_until_it_says("fault pause-1");
    harness.signal("INT");
    let record = ended_in_good_order(&bench, &mut harness, 1);
    assert_eq!(record["verdict"], "fail");
    assert_eq!(checker(&record, "corruption"), "fail");
    assert!(record["counts"]["corrupted"].as_u64().unwrap() > 0);
}

#[test]
fn a_second_signal_ends_at_once() {
    let bench = Bench::new();
    // An agent that does not heed SIGTERM, and is given a minute to: the first signal takes long.
    let text = format!(
        "seed = 5\n[sut]\ndriver = \"command\"\nstop_within = \"60s\"\ncommand = [\"sh\", \"-c\", \
         \"trap '' TERM; {PROGRAM} decoy --port {{port}} --out {{store}} --tally {{data}}/tally.json & \
         while :; do sleep 1; done\"]\n{LOAD}[phases]\nsteady = \"10s\"\n"
    );
    let mut harness = Harness::start(&bench, &text, &[]);
    harness.wait_until_events_flow();
    harness.signal("INT");
    harness.wait_until_it_says("once more ends at once");
    harness.wait_until_it_says("phase stop");
    assert!(!left_of(&harness.run()).is_empty());
    harness.signal("INT");
    assert_eq!(harness.code(), 3, "{}", harness.said());
    assert!(
        harness.said().contains("SIGINT again"),
        "{}",
        harness.said()
    );
    let run = harness.run();
    eventually("everything of the run to be gone", || {
        left_of(&run).is_empty()
    });
    // It had no time to judge; its journal is judged as it stands.
    assert!(!run.join("record.json").exists());
    judged_from_a_torn_journal(&bench, &harness);
}

/// `report` on a run without a record: from the torn journal, and inconclusive.
fn judged_from_a_torn_journal(bench: &Bench, harness: &Harness) {
    let run = harness.run();
    let shown = bench.call(&["report", run.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&shown.stderr).into_owned();
    assert_eq!(shown.status.code(), Some(0), "{said}");
    assert!(said.contains("judging it from its journal"), "{said}");
    let json = bench.call(&[
        "report",
        run.to_str().unwrap(),
        "--judge",
        "--format",
        "json",
    ]);
    let record: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(record["verdict"], "inconclusive", "{}", record["reasons"]);
    assert_eq!(json.status.code(), Some(3));
    assert!(record["counts"]["issued"].as_u64().unwrap() > 0);
    assert!(
        record["reasons"].to_string().contains("torn"),
        "{}",
        record["reasons"]
    );
}

/// A run of the same bench that is over in a second; what it said.
fn next_run(bench: &Bench) -> String {
    let text = format!("seed = 6\n[sut]\ndriver = \"decoy\"\n{LOAD}[phases]\nsteady = \"1s\"\n");
    let mut next = Harness::start(bench, &text, &[]);
    next.code();
    next.said()
}

#[test]
fn what_a_killed_harness_left_is_ended_by_the_next_run() {
    let bench = Bench::new();
    // Where there is no setpriv, the kernel does not kill the agent with its harness.
    let text = format!("seed = 5\n[sut]\ndriver = \"decoy\"\n{LOAD}[phases]\nsteady = \"60s\"\n");
    let mut harness = Harness::start_with(&bench, &text, &[], |command| {
        command.env("PATH", "/nonexistent");
    });
    harness.wait_until_events_flow();
    let agent = harness.pid_of("agent");
    harness.signal("KILL");
    harness.code();
    let run = harness.run();
    assert!(!left_of(&run).is_empty(), "the agent was to be left");
    judged_from_a_torn_journal(&bench, &harness);
    let said = next_run(&bench);
    assert!(
        said.contains(&format!(
            "ended agent (pid {agent}), left by the killed run {}",
            run.display()
        )),
        "{said}"
    );
    assert_eq!(left_of(&run), Vec::<String>::new());
    // Said once: nothing of that run is left to be ended.
    let said = next_run(&bench);
    assert!(!said.contains("left by the killed run"), "{said}");
}

#[test]
fn a_killed_harness_with_an_agent_that_has_children_leaves_nothing_either() {
    let bench = Bench::new();
    // `exec` makes the agent start a process of its own, which no death signal reaches.
    bench.write(
        "exec.conf",
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1\na1.sources.r1.type = exec\n\
         a1.sources.r1.command = tail -F ${env:FB_LOG}\na1.sources.r1.channels = c1\n\
         a1.channels.c1.type = memory\na1.channels.c1.capacity = 10000\n\
         a1.sinks.k1.type = file_roll\na1.sinks.k1.sink.directory = ${env:FB_STORE}\n\
         a1.sinks.k1.channel = c1\n",
    );
    let text = "seed = 5\n[sut]\ndriver = \"engine\"\nconfig = \"exec.conf\"\n\
                [load]\ninto = \"exec\"\nrate = \"1000/s\"\n[store]\nkind = \"files\"\n\
                [phases]\nsteady = \"20s\"\n";
    let mut harness = Harness::start(&bench, text, &[]);
    harness.wait_until_it_says("phase steady");
    let run = harness.run();
    eventually("the agent's tail to run", || {
        left_of(&run).iter().any(|argv| argv.contains("tail -F"))
    });
    harness.signal("KILL");
    harness.code();
    // By the death signal or by the next run: afterwards nothing is there.
    next_run(&bench);
    assert_eq!(left_of(&run), Vec::<String>::new());
}

#[test]
fn interrupted_before_anything_is_ready() {
    let bench = Bench::new();
    let text = format!(
        "seed = 5\n[sut]\ndriver = \"command\"\nready_within = \"60s\"\ncommand = [\"sleep\", \"100\"]\n\
         {LOAD}[phases]\nsteady = \"10s\"\n"
    );
    let mut harness = Harness::start(&bench, &text, &[]);
    harness.wait_until_it_says("phase prepare");
    let run = harness.run();
    eventually("the agent to be started", || !left_of(&run).is_empty());
    harness.signal("INT");
    let record = ended_in_good_order(&bench, &mut harness, 3);
    assert_eq!(record["counts"]["issued"], 0);
}
