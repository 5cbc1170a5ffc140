//! Whole gates with the real binary, on decoys: equal arms, a slow one, one that loses, two gates at
//! once, and input that must be refused.
//!
//! The runs are short and the guard is lenient, so that a busy machine does not decide; the rule's
//! rates are shown elsewhere, by simulation. Gates lock each other out, so the tests take turns.

#![expect(clippy::unwrap_used, clippy::panic, reason = "it is a test")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use flume_bench_reports::gate::record::SCHEMA;
use serde_json::Value;
use tempfile::TempDir;

#[path = "common/ends.rs"]
mod ends;
#[path = "common/turn.rs"]
mod turn;
#[path = "common/valid.rs"]
mod valid;

use ends::Ends;

const SCENARIO: &str = r#"
seed = 5
[sut]
driver = "decoy"
[load]
into = "netcat"
rate = "1000/s"
batch = 1
payload = "access_log"
[store]
kind = "files"
[phases]
steady = "2s"
[objectives]
lost = 0
[gate]
warm_up = "200ms"
steady = "1500ms"
foreign_cpu = "100 %"
"#;

struct Gated {
    code: i32,
    text: String,
    record: Value,
    dir: PathBuf,
}

fn desk(scenario: &str) -> (TempDir, PathBuf) {
    let desk = tempfile::tempdir().unwrap();
    let path = desk.path().join("small.toml");
    std::fs::write(&path, scenario).unwrap();
    (desk, path)
}

fn command(desk: &Path, scenario: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flume-bench"));
    command
        .arg("gate")
        .arg(scenario)
        .arg("--runs")
        .arg(desk.join("runs"))
        .args(arguments)
        .env_remove("GITHUB_ACTIONS")
        .env_remove("GITHUB_STEP_SUMMARY")
        .stdin(Stdio::null());
    command
}

/// Runs a gate; one of somebody else on this machine is waited for.
fn gate(desk: &Path, scenario: &Path, arguments: &[&str]) -> Gated {
    let until = Instant::now() + Duration::from_secs(300);
    loop {
        let output = command(desk, scenario, arguments).output().unwrap();
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        if text.contains("another gate runs") && Instant::now() < until {
            std::thread::sleep(Duration::from_secs(1));
            continue;
        }
        let code = output.status.code().unwrap_or(-1);
        let dir = std::fs::read_dir(desk.join("runs"))
            .unwrap_or_else(|error| panic!("no gate was made ({error}): {text}"))
            .map(|entry| entry.unwrap().path())
            .max()
            .unwrap_or_else(|| panic!("no gate was made: {text}"));
        return Gated {
            code,
            record: record(&dir, &text),
            text,
            dir,
        };
    }
}

/// A gate's record, which is what the published schema says, to the last key.
fn record(dir: &Path, text: &str) -> Value {
    let record = std::fs::read(dir.join("gate.json"))
        .unwrap_or_else(|error| panic!("no record ({error}): {text}"));
    let record = serde_json::from_slice(&record).unwrap();
    let problems = valid::problems(SCHEMA, &record);
    assert!(problems.is_empty(), "{problems:#?}\n{text}");
    record
}

#[test]
fn a_record_that_is_not_what_the_schema_says_is_noticed() {
    let gate = |verdict: &str| {
        let text = format!("{{\"schema_version\": 1, \"verdict\": \"{verdict}\"}}");
        valid::problems(SCHEMA, &serde_json::from_str(&text).unwrap())
    };
    let about = |problems: &[String], what: &str| problems.iter().any(|one| one.contains(what));
    let missing = gate("pass");
    assert!(
        about(&missing, "required") && !about(&missing, "verdict: "),
        "{missing:?}"
    );
    assert!(about(&gate("perhaps"), "/verdict"), "{:?}", gate("perhaps"));
}

impl Gated {
    fn metric(&self, name: &str) -> &Value {
        self.record["scenarios"][0]["metrics"]
            .as_array()
            .unwrap()
            .iter()
            .find(|metric| metric["name"] == name)
            .unwrap_or_else(|| panic!("no {name}: {}", self.text))
    }
}

#[test]
fn equal_arms_pass_or_say_why_not() {
    let _turn = turn::turn();
    let (desk, scenario) = desk(SCENARIO);
    let summary = desk.path().join("summary.md");
    let arms = [
        "--arm",
        "old=driver:decoy",
        "--arm",
        "new=driver:decoy",
        "--pairs",
        "6",
    ];
    let output = command(desk.path(), &scenario, &arms)
        .args(["--on-inconclusive", "neutral"])
        .env("GITHUB_ACTIONS", "true")
        .env("GITHUB_STEP_SUMMARY", &summary)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    // Neutral: whatever the host could not decide is 0, and the verdict says what it was.
    assert_eq!(output.status.code(), Some(0), "{text}");
    let dir = std::fs::read_dir(desk.path().join("runs")).unwrap();
    let dir = dir.map(|entry| entry.unwrap().path()).next().unwrap();
    let record = record(&dir, &text);
    let verdict = record["verdict"].as_str().unwrap();
    assert!(["pass", "inconclusive"].contains(&verdict), "{text}");
    assert_eq!(record["exit_code"], if verdict == "pass" { 0 } else { 3 });
    assert!(!record["reasons"][0].as_str().unwrap().is_empty());
    for name in ["gate.txt", "gate.md", "gate.xml", "gate.html"] {
        let text = std::fs::read_to_string(dir.join(name)).unwrap();
        assert!(text.contains("CPU per event"), "{name}: {text}");
    }
    let summary = std::fs::read_to_string(&summary).unwrap();
    assert!(
        summary.starts_with("<!-- flume-bench gate -->"),
        "{summary}"
    );
    assert!(text.contains("title=gate "), "{text}");
    if record["scenarios"][0]["pairs"].as_array().unwrap().len() == 6 {
        keeps_a_baseline(desk.path(), &scenario, &dir);
    }
}

/// What a gate measured can be kept, listed, promoted, and asked for by branch.
fn keeps_a_baseline(desk: &Path, scenario: &Path, gate: &Path) {
    let call = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_flume-bench"))
            .args(arguments)
            .current_dir(desk)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), text)
    };
    let gate = gate.to_str().unwrap();
    let (code, text) = call(&["baseline", "save", gate, "--branch", "topic/x"]);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = call(&["baseline", "promote", "--from", "topic/x", "--to", "main"]);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = call(&["baseline", "list"]);
    assert_eq!((code, text.lines().count()), (Some(0), 2), "{text}");
    let scenario = scenario.to_str().unwrap();
    let (code, text) = call(&["gate", scenario, "--against", "other", "--runs", "never"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("nothing is stored for it"), "{text}");
    // The same scenario with another load is another scenario.
    let against = ["gate", scenario, "--against", "main", "--runs", "never"];
    let (code, text) = call(&[&against[..], &["--set", "load.rate=900/s"]].concat());
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("another state of the scenario"), "{text}");
    assert!(!desk.join("never").exists());
    // One that was edited is named as such.
    let file = std::fs::read_dir(desk.join("gate-store/baselines/main")).unwrap();
    let file = file.map(|entry| entry.unwrap().path()).next().unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replacen("\"runs\": 6", "\"runs\": 60", 1)).unwrap();
    let (code, text) = call(&["baseline", "list"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("edited or damaged"), "{text}");
}

#[test]
fn both_arms_at_once_get_the_same_load_in_turns() {
    let _turn = turn::turn();
    let (desk, scenario) = desk(&SCENARIO.replace(
        "warm_up = \"200ms\"\nsteady = \"1500ms\"",
        "warm_up = \"400ms\"\nsteady = \"1600ms\"\nturns = \"100ms\"",
    ));
    let arms = ["--arm", "old=driver:decoy", "--arm", "new=driver:decoy"];
    let gated = gate(
        desk.path(),
        &scenario,
        &[&arms[..], &["--pairs", "6"]].concat(),
    );
    assert!([0, 3].contains(&gated.code), "{}", gated.text);
    assert!(
        gated.text.contains("both arms at once in turns"),
        "{}",
        gated.text
    );
    let pairs = gated.record["scenarios"][0]["pairs"].as_array().unwrap();
    assert!(!pairs.is_empty(), "{}", gated.text);
    for pair in pairs {
        let runs = [0, 1].map(|arm| {
            let dir = gated.dir.join(pair["runs"][arm]["dir"].as_str().unwrap());
            let record = std::fs::read(dir.join("record.json")).unwrap();
            serde_json::from_slice::<Value>(&record).unwrap()
        });
        for run in &runs {
            // Two seconds, of which half is the other's.
            assert_eq!(run["load"]["planned"], 1_000, "{run}");
            assert_eq!(run["load"]["schedule"], "turns", "{run}");
        }
        // At once: each began before the other had ended.
        for (one, other) in [(0, 1), (1, 0)] {
            let (began, ended) = (
                &runs[one]["identity"]["started"],
                &runs[other]["identity"]["ended"]["value"],
            );
            assert!(
                began.as_str().unwrap() < ended.as_str().unwrap(),
                "{began} {ended}"
            );
        }
    }
}

#[test]
fn a_machine_made_noisy_is_unfit_and_not_a_wrong_answer() {
    let _turn = turn::turn();
    let strict = SCENARIO.replace("foreign_cpu = \"100 %\"", "foreign_cpu = \"20 %\"");
    let (desk, scenario) = desk(&strict);
    let over = AtomicBool::new(false);
    let gated = std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        for _ in 0..cores {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let new = "new=set:sut.defect=burn";
        let arguments = ["--arm", "old=driver:decoy", "--arm", new, "--pairs", "6"];
        let gated = gate(desk.path(), &scenario, &arguments);
        over.store(true, Ordering::Relaxed);
        gated
    });
    assert_eq!(gated.code, 3, "{}", gated.text);
    assert_eq!(gated.record["host_unfit"], true, "{}", gated.text);
    assert!(
        gated.text.contains("Host unfit: 3 of 3 pairs"),
        "{}",
        gated.text
    );
}

#[test]
fn a_third_more_cpu_is_a_regression() {
    let _turn = turn::turn();
    let (desk, scenario) = desk(SCENARIO);
    let arguments = [
        "--arm",
        "old=set:sut.defect=burn",
        "--arm",
        "old=set:sut.n=200000",
        "--arm",
        "new=set:sut.defect=burn",
        "--arm",
        "new=set:sut.n=280000",
        "--pairs",
        "6",
        "--seed",
        "11",
    ];
    let gated = gate(desk.path(), &scenario, &arguments);
    assert_eq!(gated.code, 5, "{}", gated.text);
    let cpu = gated.metric("cpu_ns_per_event");
    assert_eq!(cpu["outcome"], "regression", "{}", gated.text);
    let change = cpu["estimate_log_ppm"]["value"].as_i64().unwrap();
    assert!(
        (150_000..450_000).contains(&change),
        "{change}: {}",
        gated.text
    );
    assert!(cpu["confirm_p_ppb"].is_u64(), "{}", gated.text);
    // Each arm went first at least once, and each pair had one load.
    let pairs = gated.record["scenarios"][0]["pairs"].as_array().unwrap();
    assert_eq!(pairs.len(), 12);
    for first in [0, 1] {
        assert!(pairs.iter().any(|pair| pair["first"] == first));
    }
    let run = pairs[0]["runs"][0]["dir"].as_str().unwrap();
    assert!(gated.dir.join(run).join("record.json").is_file());
    assert!(!gated.dir.join(run).join("store").exists(), "it takes room");
}

#[test]
fn one_loss_in_the_candidate_is_enough() {
    let _turn = turn::turn();
    let (desk, scenario) = desk(SCENARIO);
    let lossy = "set:sut.defect=lose_every";
    let new = format!("new={lossy}");
    let arguments = ["--arm", "old=driver:decoy", "--arm", &new, "--pairs", "6"];
    let gated = gate(desk.path(), &scenario, &arguments);
    assert_eq!(gated.code, 5, "{}", gated.text);
    assert_eq!(
        gated.record["scenarios"][0]["violations"][0]["what"],
        "lost"
    );
    assert!(
        gated.text.contains("the baseline in 0 of"),
        "{}",
        gated.text
    );
    // What both arms lose is no regression, and no pass either.
    let old = format!("old={lossy}");
    let gated = gate(
        desk.path(),
        &scenario,
        &["--arm", &old, "--arm", &new, "--pairs", "6"],
    );
    assert_eq!(gated.code, 1, "{}", gated.text);
}

#[test]
fn a_second_gate_is_refused_and_the_first_can_be_interrupted() {
    let _turn = turn::turn();
    let (desk, scenario) = desk(SCENARIO);
    let arms = ["--arm", "old=driver:decoy", "--arm", "new=driver:decoy"];
    let first = command(desk.path(), &scenario, &arms)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut first = Ends(first.unwrap());
    // The lock is held once the gate has its directory.
    let until = Instant::now() + Duration::from_secs(60);
    while std::fs::read_dir(desk.path().join("runs")).map_or(0, Iterator::count) == 0 {
        assert!(Instant::now() < until, "the first gate never began");
        std::thread::sleep(Duration::from_millis(20));
    }
    let second = command(&desk.path().join("second"), &scenario, &arms)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(2), "{text}");
    assert!(text.contains("another gate runs on this machine"), "{text}");
    assert!(!desk.path().join("second").exists());

    let pid = nix::unistd::Pid::from_raw(first.0.id().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    assert_eq!(first.0.wait().unwrap().code(), Some(3));
}

#[test]
fn bad_input_is_refused_at_once_with_all_its_problems() {
    let broken = SCENARIO.replace(
        "[gate]",
        "[gate]\ncpu_ns_per_event = \"5\"\nrecovery_us = \"10 %\"\np99 = \"1 %\"",
    );
    let (desk, scenario) = desk(&broken);
    let refused = |scenario: &Path, arguments: &[&str]| {
        let output = command(desk.path(), scenario, arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(!desk.path().join("runs").exists(), "{text}");
        text
    };
    let arms = ["--arm", "old=driver:decoy", "--arm", "new=driver:decoy"];
    let text = refused(&scenario, &arms);
    for wanted in [
        "\"5\" is not a margin",
        "has no [[fault]]",
        "no key `p99`",
        "3 problems",
    ] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    // Nothing is built for a scenario that cannot be used.
    let text = refused(&scenario, &["--baseline-rev", "HEAD"]);
    assert!(text.contains("\"5\" is not a margin"), "{text}");
    assert!(!text.contains("building it"), "{text}");
    let sound = desk.path().join("sound.toml");
    std::fs::write(&sound, SCENARIO).unwrap();
    let text = refused(&sound, &[&arms[..], &["--pairs", "4"]].concat());
    assert!(text.contains("4 pairs cannot decide"), "{text}");
    let text = refused(&sound, &[&arms[..], &["--budget", "20s"]].concat());
    assert!(
        text.contains("--budget") && text.contains("cannot decide"),
        "{text}"
    );
    let text = refused(&sound, &[]);
    assert!(text.contains("none is given"), "{text}");
    let text = refused(
        &sound,
        &["--baseline", "/nowhere", "--candidate", "/bin/sh"],
    );
    assert!(text.contains("/nowhere, is not a file"), "{text}");
}

/// The lines of each `run: |` of a workflow, under the step's name.
fn script_lines(workflow: &str) -> Vec<(String, String)> {
    let mut steps = Vec::new();
    let mut name = String::new();
    let mut lines = workflow.lines().peekable();
    while let Some(line) = lines.next() {
        let indent = line.len() - line.trim_start().len();
        if let Some(text) = line.trim_start().strip_prefix("- name: ") {
            name = text.to_owned();
        }
        if line.trim() != "run: |" {
            continue;
        }
        let mut script = String::new();
        while let Some(next) = lines.peek() {
            let deeper = next.len() - next.trim_start().len() > indent;
            if !deeper && !next.trim().is_empty() {
                break;
            }
            script.push_str(next.trim_start());
            script.push('\n');
            lines.next();
        }
        steps.push((name.clone(), script));
    }
    steps
}

/// A directory as the workflow finds it: a repository, the program where it was built, the baseline
/// where an earlier job built it, and doubles of `cargo` and `gh` that note how they were called.
fn checkout(desk: &Path) -> String {
    let sh = |script: &str| {
        let output = Command::new("bash")
            .args(["-euc", script])
            .current_dir(desk)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{script}: {text}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let commit = sh(
        "git init --quiet . && git -c user.name=t -c user.email=t@example.org commit \
                     --quiet --allow-empty -m one && git rev-parse HEAD",
    );
    let program = env!("CARGO_BIN_EXE_flume-bench");
    sh(&format!(
        "mkdir -p target/release libs/builds/{commit} doubles
         ln {program} target/release/flume-bench || cp {program} target/release/flume-bench
         cp {program} libs/builds/{commit}/flume-bench
         printf '#!/bin/sh\\necho \"$@\" >> cargo.calls\\n' > doubles/cargo
         printf '#!/bin/sh\\necho \"$@\" >> gh.calls\\ncase \"$*\" in *--paginate*) cat old-id 2>/dev/null || true;; esac\\n' > doubles/gh
         chmod +x doubles/*"
    ));
    commit
}

#[test]
fn the_lines_of_the_github_example_run() {
    let _turn = turn::turn();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let workflow = std::fs::read_to_string(root.join("ci/examples/github-gate.yml")).unwrap();
    let steps = script_lines(&workflow);
    let names: Vec<&str> = steps.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["build", "gate", "comment"]);

    let (desk, _scenario) = desk(SCENARIO);
    let commit = checkout(desk.path());
    let path = std::env::var("PATH").unwrap();
    let run = |script: &str| {
        let output = Command::new("bash")
            .args(["-e", "-o", "pipefail", "-c", script])
            .current_dir(desk.path())
            .env(
                "PATH",
                format!("{}:{path}", desk.path().join("doubles").display()),
            )
            .env("FLUME_BENCH_LIBS", desk.path().join("libs"))
            .env("SCENARIOS", "small.toml")
            .env("BUDGET", "80s")
            .env("BASE", &commit)
            .env("PR", "31")
            .env("GITHUB_REPOSITORY", "somebody/something")
            .env("GITHUB_ACTIONS", "true")
            .env("GITHUB_STEP_SUMMARY", desk.path().join("summary.md"))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{script}: {text}");
        text
    };
    for (_, script) in &steps {
        run(script);
    }
    let calls = |name: &str| std::fs::read_to_string(desk.path().join(name)).unwrap();
    assert!(calls("cargo.calls").contains("build --release --locked"));
    assert!(calls("summary.md").starts_with("<!-- flume-bench gate -->"));
    assert!(
        calls("gh.calls").contains("--method POST repos/somebody/something/issues/31/comments")
    );
    // With a comment there, it is replaced.
    std::fs::write(desk.path().join("old-id"), "4711\n").unwrap();
    run(&steps[2].1);
    assert!(
        calls("gh.calls").contains("--method PATCH repos/somebody/something/issues/comments/4711")
    );
}
