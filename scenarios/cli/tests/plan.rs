//! `plan` for real: a decoy of known capacity is found, and bad input is refused before anything
//! starts.
//!
//! One search is done in every test run; `FLUME_BENCH_PLAN_SEARCHES=3` does three, with probes of the
//! usual length.

#![expect(clippy::unwrap_used, clippy::panic, reason = "it is a test")]

#[path = "common/valid.rs"]
mod valid;

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// What the throttled decoy carries, events/s.
const CAPACITY: u64 = 1_500;

fn scenario(seed: u64) -> String {
    format!(
        "seed = {seed}\n[sut]\ndriver = \"decoy\"\ndefect = \"throttle\"\nn = {CAPACITY}\n\
         [load]\ninto = \"netcat\"\nrate = \"1000/s\"\nbatch = 1\nconnections = 2\n\
         [store]\nkind = \"files\"\n[phases]\nsteady = \"2s\"\n"
    )
}

/// Searches, and gives back the exit code, what was printed, and `plan.json`.
fn search(bench: &Path, seed: u64, more: &[&str]) -> (i32, String, Value) {
    let file = bench.join("throttle.toml");
    std::fs::write(&file, scenario(seed)).unwrap();
    let runs = bench.join(format!("plans-{seed}"));
    let (file, runs_text) = (file.to_str().unwrap(), runs.to_str().unwrap());
    let mut words = vec!["plan", file, "--runs", runs_text];
    words.extend(more);
    let output = Command::new(env!("CARGO_BIN_EXE_flume-bench"))
        .args(&words)
        .current_dir(bench)
        .output()
        .unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let plan = std::fs::read_dir(&runs)
        .ok()
        .and_then(|mut entries| entries.next()?.ok())
        .and_then(|dir| {
            for name in ["plan.html", "plan.md", "plan.csv", "plan.om"] {
                assert!(dir.path().join(name).is_file(), "no {name}: {text}");
            }
            std::fs::read(dir.path().join("plan.json")).ok()
        })
        .map_or(Value::Null, |bytes| serde_json::from_slice(&bytes).unwrap());
    (output.status.code().unwrap_or(-1), text, plan)
}

/// What is not as the decoy's capacity says.
fn problems_of(code: i32, plan: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    if code != 0 {
        wrong.push(format!("exit code {code}"));
    }
    match plan["knee"]["value"]["per_s"].as_u64() {
        Some(knee) if knee.abs_diff(CAPACITY) * 20 <= CAPACITY => {}
        knee => wrong.push(format!("{knee:?} instead of {CAPACITY}")),
    }
    let probes = plan["probes"].as_array().map_or(&[][..], Vec::as_slice);
    if probes.len() > 12 {
        wrong.push(format!("{} probes", probes.len()));
    }
    for probe in probes {
        let rate = probe["offered_per_s"].as_u64().unwrap_or(0);
        if probe["outcome"] == "fails" && rate * 100 < CAPACITY * 98 {
            wrong.push(format!("{rate} fails"));
        }
    }
    wrong
}

#[test]
fn a_decoy_of_known_capacity_is_found() {
    let asked = std::env::var("FLUME_BENCH_PLAN_SEARCHES").ok();
    let searches: u64 = asked.as_deref().map_or(1, |text| text.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let bench = directory.path();
    for seed in 1..=searches {
        let options: &[&str] = if asked.is_some() {
            &["--no-sizing"]
        } else {
            &["--no-sizing", "--probe-length", "6s", "--probes", "10"]
        };
        let (mut text, mut plan) = (String::new(), Value::Null);
        // A machine that others use may leave it unknown, or make a probe slower than the decoy is: it is
        // asked again then, twice.
        let mut wrong = Vec::new();
        for again in 0..3 {
            let code;
            (code, text, plan) = search(bench, 100 * again + seed, options);
            wrong = problems_of(code, &plan);
            if wrong.is_empty() {
                break;
            }
        }
        assert!(wrong.is_empty(), "{wrong:?}: {text}");
        // The claim is checked against the probes themselves.
        for probe in plan["probes"].as_array().unwrap() {
            let (rate, outcome) = (probe["offered_per_s"].as_u64().unwrap(), &probe["outcome"]);
            assert!(outcome != "holds" || rate * 100 <= CAPACITY * 102, "{text}");
            assert_eq!(probe["lost"], 0, "{text}");
        }
        assert_eq!(plan["schema_version"], 1);
        let problems = valid::problems(flume_bench_reports::plan::SCHEMA, &plan);
        assert_eq!(problems, Vec::<String>::new());
        assert!(text.contains("The knee is at"), "{text}");
        // The load is 1,000/s, so that the first probe offers thousands.
        let first = text.lines().find(|line| line.starts_with("probe  1: "));
        let offered = first.and_then(|line| line.split("/s").next()).unwrap();
        assert!(offered.contains(','), "{offered}");
    }
}

#[test]
fn everything_wrong_is_said_before_anything_starts() {
    let directory = tempfile::tempdir().unwrap();
    let bench = directory.path();
    let wrong = [
        "--probes",
        "20",
        "--set",
        "config.x=1",
        "--under-faults",
        "--probe-length",
        "10ms",
    ];
    let (code, text, plan) = search(bench, 9, &wrong);
    assert_eq!(code, 2, "{text}");
    for words in ["--probes 20", "config.…", "no fault", "shorter than 1s"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert_eq!(plan, Value::Null);
    assert!(!bench.join("plans-9").exists(), "something was left behind");

    let ramp = ["--set", "load.ramp_to=9000/s"];
    let turns = ["--set", "load.turns=250ms", "--set", "load.turn=first"];
    for (options, words) in [(&ramp[..], "ramp_to"), (&turns[..], "half the rate")] {
        let (code, text, _) = search(bench, 9, options);
        assert_eq!(code, 2, "{text}");
        assert!(text.contains(words), "{words}: {text}");
    }

    let options = ["--rate", "fast", "--outage", "3 moons", "--budget", "much"];
    let (code, text, _) = search(bench, 9, &options);
    assert_eq!(code, 2, "{text}");
    for words in [
        "--rate \"fast\"",
        "--outage \"3 moons\"",
        "--budget \"much\"",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let (code, text, _) = search(bench, 9, &["--budget", "1 GiB"]);
    assert_eq!(code, 2, "a budget without a rate: {text}");
}
