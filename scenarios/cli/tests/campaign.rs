//! Campaigns with real runs of decoys: an honest one is not contradicted, one that a kill makes lose
//! is, and the smallest scenario is the kill; what is interrupted is gone on with.

#![expect(clippy::unwrap_used, clippy::panic, reason = "it is a test")]

#[path = "common/bench.rs"]
#[expect(dead_code, reason = "other tests use the rest of it")]
mod bench;
#[path = "common/ends.rs"]
mod ends;
#[path = "common/turn.rs"]
mod turn;
#[path = "common/valid.rs"]
mod valid;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bench::Bench;
use ends::Ends;
use serde_json::Value;

/// A decoy with a menu of two kinds; the steady load is 1.2 s.
fn scenario(defect: &str, n: u32) -> String {
    format!(
        r#"seed = 7
[sut]
driver = "decoy"
defect = "{defect}"
n = {n}
[load]
into = "netcat"
rate = "2000/s"
retry_for = "5s"
[store]
kind = "files"
[phases]
steady = "2s"
[objectives]
lost = 0
[campaign]
warm_up = "100ms"
steady = "1200ms"
max_faults = 2
[[campaign.menu]]
kind = "kill"
targets = ["agent"]
at = ["200ms", "800ms"]
for = ["100ms", "200ms"]
[[campaign.menu]]
kind = "slow_link"
links = ["generator->agent"]
latency = ["5ms", "20ms"]
at = ["200ms", "900ms"]
for = ["100ms", "300ms"]
"#
    )
}

/// The record, which is what the published schema says.
fn record(dir: &Path) -> Value {
    let record =
        serde_json::from_slice(&std::fs::read(dir.join("campaign.json")).unwrap()).unwrap();
    let problems = valid::problems(flume_bench_reports::campaign::SCHEMA, &record);
    assert_eq!(problems, Vec::<String>::new());
    record
}

/// The only directory in `runs`.
fn campaign_in(runs: &Path) -> PathBuf {
    std::fs::read_dir(runs)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path()
}

fn campaign(bench: &Bench, text: &str, arguments: &[&str]) -> (i32, String, PathBuf) {
    let file = bench.write("decoy.toml", text);
    let mut all = vec!["campaign", file.to_str().unwrap(), "--runs", "runs"];
    all.extend(arguments);
    let output = bench.call(&all);
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let dir = campaign_in(&bench.path().join("runs"));
    (output.status.code().unwrap_or(-1), said, dir)
}

#[test]
fn an_honest_decoy_is_not_contradicted() {
    let bench = Bench::new();
    let _turn = turn::turn();
    let (code, said, dir) = campaign(&bench, &scenario("honest", 1), &["--trials", "3"]);
    let record = record(&dir);
    let trials = record["trials"].as_array().unwrap();
    assert_eq!(trials.len(), 3, "{said}");
    // On a busy machine a trial may prove nothing, and that is said; it never speaks against it.
    let void = trials.iter().any(|trial| trial["outcome"] == "void");
    assert_eq!(code, if void { 3 } else { 0 }, "{said}");
    for trial in trials {
        let outcome = trial["outcome"].as_str().unwrap();
        assert!(matches!(outcome, "passed" | "void"), "{trial}");
        assert!(trial["counts"]["owed"].as_u64().unwrap() > 1000);
        assert!(!trial["windows"].as_array().unwrap().is_empty());
        let run = dir.join(trial["run"].as_str().unwrap());
        // The run can be judged again; what it stored is gone.
        assert!(run.join("journal.bin").exists() && !run.join("store").exists());
    }
    for report in [
        "reliability.html",
        "reliability.md",
        "junit.xml",
        "trials.csv",
    ] {
        assert!(dir.join(report).exists(), "{report}");
    }
}

/// It answers early and stores fifty events together: a kill loses what it holds, a slow link nothing.
/// The last event, the probe, is never stored either: that is another failure, which needs no fault.
#[test]
fn a_decoy_that_loses_when_killed_is_contradicted_and_shrunk_to_the_kill() {
    let bench = Bench::new();
    let _turn = turn::turn();
    let arguments = ["--trials", "4", "--seed", "11", "--shrink-budget", "300s"];
    let (code, said, dir) = campaign(&bench, &scenario("answer_early", 50), &arguments);
    assert_eq!(code, 1, "{said}");
    let record = record(&dir);
    let lost = record["shrunk"]
        .as_array()
        .unwrap()
        .iter()
        .find(|shrunk| shrunk["signature"]["class"] == "lost")
        .unwrap_or_else(|| panic!("no loss was shrunk: {said}"));
    let schedule = lost["schedule"].as_array().unwrap();
    assert_eq!(schedule.len(), 1, "{lost}");
    assert_eq!(schedule[0]["kind"], "kill", "{lost}");
    let name = lost["file"].as_str().unwrap();
    assert!(name.starts_with("smallest-"), "{name}");
    assert!(!dir.join(name.replace("smallest", "failing")).exists());
    let file = dir.join(name);
    // The smallest scenario is one: it loses.
    let output = bench.call(&["run", file.to_str().unwrap(), "--quiet", "--runs", "again"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let run = campaign_in(&bench.path().join("again"));
    let output = bench.call(&[
        "replay",
        run.to_str().unwrap(),
        "--quiet",
        "--runs",
        "replayed",
    ]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

/// The budget is shorter than ten replays and the ten that are kept back: the scenario fails, and is not
/// called the smallest one.
#[test]
fn a_failure_that_was_not_shrunk_is_called_so() {
    let bench = Bench::new();
    let _turn = turn::turn();
    let arguments = ["--trials", "1", "--shrink-budget", "1s"];
    let (code, said, dir) = campaign(&bench, &scenario("lose_every", 100), &arguments);
    assert_eq!(code, 1, "{said}");
    let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "Failing scenario, not shrunk: lost",
        "not shrunk: the budget ended",
    ] {
        assert!(words.contains(part), "{said}");
    }
    assert!(!words.contains("Smallest scenario"), "{said}");
    let record = record(&dir);
    assert_eq!(record["shrunk"][0]["file"], "failing-1.toml", "{record}");
    assert!(!dir.join("smallest-1.toml").exists());
    let text = std::fs::read_to_string(dir.join("failing-1.toml")).unwrap();
    assert!(
        text.starts_with("# A scenario that fails as trial 1"),
        "{text}"
    );
    assert!(!text.contains("# expect"), "{text}");
}

#[test]
fn what_is_interrupted_is_kept_and_gone_on_with() {
    let _turn = turn::turn();
    let bench = Bench::new();
    let file = bench.write("decoy.toml", &scenario("honest", 1));
    let runs = bench.path().join("runs");
    let child = Command::new(env!("CARGO_BIN_EXE_flume-bench"))
        .args([
            "campaign",
            file.to_str().unwrap(),
            "--trials",
            "12",
            "--runs",
            "runs",
        ])
        .current_dir(bench.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut child = Ends(child.unwrap());
    let deadline = Instant::now() + Duration::from_secs(60);
    // One trial has ended and another one is under way.
    let under_way = || {
        let Ok(mut entries) = std::fs::read_dir(&runs) else {
            return false;
        };
        // The directory of runs is made first, the campaign's within it a moment later.
        let Some(Ok(entry)) = entries.next() else {
            return false;
        };
        let text = std::fs::read(entry.path().join("campaign.json")).unwrap_or_default();
        let record: Value = serde_json::from_slice(&text).unwrap_or(Value::Null);
        record["trials"]
            .as_array()
            .is_some_and(|trials| trials.len() == 2)
    };
    while !under_way() {
        assert!(Instant::now() < deadline, "no second trial");
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = nix::unistd::Pid::from_raw(child.0.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    assert_eq!(child.0.wait().unwrap().code(), Some(3));
    let dir = campaign_in(&runs);
    let before = record(&dir);
    assert_eq!(before["interrupted"], true);
    assert_eq!(
        before["trials"][1]["outcome"], "void",
        "{}",
        before["trials"][1]
    );
    let resume = [
        "campaign",
        file.to_str().unwrap(),
        "--runs",
        "runs",
        "--quiet",
        "--resume",
    ];
    let output = bench.call(&[&resume[..], &[dir.to_str().unwrap()]].concat());
    let after = record(&dir);
    let trials = after["trials"].as_array().unwrap();
    assert_eq!(trials.len(), 12);
    let void = trials.iter().filter(|trial| trial["outcome"] == "void");
    // The interrupted one alone is within the one in ten; a busy machine may add another.
    let code = if void.count() * 10 > trials.len() {
        3
    } else {
        0
    };
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    // What was done stays done, and the void one stays void.
    assert_eq!(after["trials"][0], before["trials"][0]);
    assert_eq!(after["trials"][1], before["trials"][1]);
    // Another scenario is another campaign.
    std::fs::write(&file, scenario("honest", 2)).unwrap();
    let output = bench.call(&[&resume[..], &[dir.to_str().unwrap()]].concat());
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("has changed"));
}
