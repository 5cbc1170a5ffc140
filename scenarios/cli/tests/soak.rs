//! Soaks, `run --for`: rounds in one life of the system, growth that is found, nothing written off.

#![expect(clippy::unwrap_used, clippy::panic, reason = "it is a test")]

#[path = "common/bench.rs"]
#[expect(dead_code, reason = "a soak has a record of its own")]
mod bench;
#[path = "common/valid.rs"]
mod valid;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bench::Bench;
use flume_bench_reports::soak::{self, SoakRecord};
use serde_json::Value;

fn decoy(defect: &str, n: u64, rest: &str) -> String {
    format!(
        "seed = 3\n[sut]\ndriver = \"decoy\"\ndefect = \"{defect}\"\nn = {n}\n\
         [load]\ninto = \"netcat\"\nrate = \"2000/s\"\nbatch = 1\n\
         [store]\nkind = \"files\"\n[phases]\nsteady = \"1s\"\n{rest}\n"
    )
}

struct Soaked {
    code: i32,
    output: String,
    dir: PathBuf,
    record: SoakRecord,
}

fn soaked(bench: &Bench, name: &str, scenario: &str, arguments: &[&str]) -> Soaked {
    let file = bench.write(&format!("{name}.toml"), scenario);
    let runs = bench.path().join(format!("runs-{name}"));
    let mut all = vec![
        "run",
        file.to_str().unwrap(),
        "--runs",
        runs.to_str().unwrap(),
    ];
    all.extend(arguments);
    let output = bench.call(&all);
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let dir = std::fs::read_dir(&runs)
        .unwrap_or_else(|error| panic!("{error}: {text}"))
        .next()
        .unwrap()
        .unwrap()
        .path();
    Soaked {
        code: output.status.code().unwrap_or(-1),
        record: soak::read(&dir.join("soak.json"))
            .unwrap_or_else(|error| panic!("{error}: {text}")),
        output: text,
        dir,
    }
}

/// Whether the machine was too busy for the generator in some round: then it is tried again.
fn busy(soaked: &Soaked) -> bool {
    soaked.record.rounds.iter().any(|round| {
        round.reason.contains("could not keep its schedule")
            || round.reason.contains("could not be read")
    })
}

fn tried(bench: &Bench, name: &str, scenario: &str, arguments: &[&str]) -> Soaked {
    for _ in 0..2 {
        let soaked = soaked(bench, name, scenario, arguments);
        if !busy(&soaked) {
            return soaked;
        }
        std::fs::remove_dir_all(bench.path().join(format!("runs-{name}"))).unwrap();
    }
    soaked(bench, name, scenario, arguments)
}

#[test]
fn an_honest_decoy_passes_in_rounds_of_one_life_and_its_files_are_folded() {
    let bench = Bench::new();
    let ran = tried(&bench, "honest", &decoy("honest", 7, ""), &["--for", "16s"]);
    assert_eq!(ran.code, 0, "{}", ran.output);
    let record = &ran.record;
    assert!(
        record.rounds.len() >= 5 && record.lasted_us >= 16_000_000,
        "{}",
        ran.output
    );
    let pids: std::collections::BTreeSet<i32> = record
        .samples
        .iter()
        .filter_map(|sample| sample.pid)
        .collect();
    assert_eq!(pids.len(), 1, "more lives than one");
    for round in &record.rounds {
        assert_eq!(
            (round.issued, round.stored, round.lost),
            (2_000, 2_000, 0),
            "{round:?}"
        );
    }
    // Each round had its own ids, and the store was not read twice.
    let tally = std::fs::read_to_string(ran.dir.join("sut/data/tally.json")).unwrap();
    let tally: Value = serde_json::from_str(tally.trim()).unwrap();
    let probes = record.rounds.len() as u64;
    assert_eq!(
        tally["stored"].as_u64(),
        Some(record.sum(|round| round.stored) + probes)
    );
    assert!(
        !ran.dir.join("rounds/00001/journal.bin").exists(),
        "a passed round keeps its journal"
    );
    assert!(ran.dir.join("soak.html").exists() && ran.dir.join("soak.csv").exists());
    let text = std::fs::read_to_string(ran.dir.join("soak.json")).unwrap();
    let value = serde_json::from_str(&text).unwrap();
    assert_eq!(valid::problems(soak::SCHEMA, &value), Vec::<String>::new());
    let shown = bench.call(&[
        "report",
        ran.dir.to_str().unwrap(),
        "--format",
        "openmetrics",
    ]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("flume_bench_soak_verdict=\"pass\"} 1") && shown.ends_with("# EOF\n"));
}

#[test]
fn leaks_of_memory_and_of_descriptors_are_found() {
    let bench = Bench::new();
    for (defect, n, sentence) in [
        ("leak_memory", 2_000, "The memory of the agent grows"),
        (
            "leak_descriptors",
            100,
            "The number of open descriptors of the agent grows",
        ),
    ] {
        let scenario = decoy(defect, n, "");
        let mut ran = tried(&bench, defect, &scenario, &["--for", "20s"]);
        // Where the machine is slow there are too few rounds to judge by them.
        let by_round = |ran: &Soaked| ran.record.growth[0].basis.ends_with("each round");
        if !by_round(&ran) {
            ran = tried(
                &bench,
                &format!("{defect}-long"),
                &scenario,
                &["--for", "60s"],
            );
        }
        assert_eq!(ran.code, 1, "{}", ran.output);
        assert!(
            ran.record.reasons[0].starts_with(sentence),
            "{}",
            ran.output
        );
        assert!(
            ran.record.rounds.iter().all(|round| round.lost == 0),
            "{}",
            ran.output
        );
    }
}

#[test]
fn the_first_loss_ends_it_as_a_run_ends_and_everything_of_that_round_is_kept() {
    let bench = Bench::new();
    let scenario = decoy("lose_every", 5_000, "");
    let ran = tried(&bench, "loses", &scenario, &["--for", "60s"]);
    assert_eq!(ran.code, 1, "{}", ran.output);
    let rounds = &ran.record.rounds;
    // The 5,000th event is in the third round, probes counted.
    assert_eq!(rounds.len(), 3, "{}", ran.output);
    assert_eq!(rounds[2].lost, 1, "{}", ran.output);
    assert!(
        ran.record
            .ended_early
            .as_ref()
            .is_some_and(|why| why.contains("not stored"))
    );
    let kept = ran.dir.join(rounds[2].kept.as_ref().unwrap());
    let again = bench.call(&[
        "report",
        kept.to_str().unwrap(),
        "--judge",
        "--format",
        "json",
    ]);
    assert_eq!(again.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&again.stderr).contains("the same counts"),
        "{again:?}"
    );
}

#[test]
fn the_engine_is_soaked_through_faults_that_come_again_in_each_round() {
    let bench = Bench::new();
    bench.write("files.conf", include_str!("../../quickstart.conf"));
    let scenario = "seed = 5\n[sut]\ndriver = \"engine\"\nconfig = \"files.conf\"\n\
        [load]\ninto = \"avro\"\nrate = \"2000/s\"\nbatch = 20\n[store]\nkind = \"files\"\n\
        [phases]\nsteady = \"2s\"\n[[fault]]\nkind = \"cut_link\"\nlink = \"generator->agent\"\n\
        how = \"reset\"\nat = \"500ms\"\nfor = \"500ms\"\n";
    let ran = tried(
        &bench,
        "engine",
        scenario,
        &["--for", "14s", "--judge-every", "3s"],
    );
    assert_eq!(ran.code, 0, "{}", ran.output);
    let record = &ran.record;
    assert_eq!(record.round_us, 3_000_000);
    assert!(record.rounds.len() >= 2, "{}", ran.output);
    assert!(
        record.rounds.iter().all(|round| round.faults == 1),
        "{}",
        ran.output
    );
    // file_roll closes a file each five seconds, long before the last round begins: it is taken out.
    assert!(record.removed_files > 0, "{}", ran.output);
}

#[test]
fn what_was_judged_is_taken_out_of_hdfs() {
    let bench = Bench::new();
    bench.write("hdfs.conf", include_str!("../../hdfs.conf"));
    let scenario = "seed = 5\n[sut]\ndriver = \"engine\"\nconfig = \"hdfs.conf\"\n\
        [load]\ninto = \"avro\"\nrate = \"2000/s\"\nbatch = 20\n[store]\nkind = \"hdfs\"\n\
        [phases]\nsteady = \"3s\"\n";
    let ran = tried(&bench, "hdfs", scenario, &["--for", "14s"]);
    assert_eq!(ran.code, 0, "{}", ran.output);
    let record = &ran.record;
    assert!(record.rounds.len() >= 2, "{}", ran.output);
    assert!(
        record.rounds.iter().all(|round| round.unpublished == 0),
        "{}",
        ran.output
    );
    let of_a_round = record.rounds[0].stored * 480;
    assert!(
        record.removed_files > 0 && record.removed_bytes >= of_a_round,
        "{}",
        ran.output
    );
}

/// Ends a child that is still there when a test fails.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_interrupted_soak_keeps_its_rounds() {
    let bench = Bench::new();
    let file = bench.write("stop.toml", &decoy("honest", 7, ""));
    let runs = bench.path().join("runs");
    let child = Command::new(env!("CARGO_BIN_EXE_flume-bench"))
        .args(["run", file.to_str().unwrap(), "--for", "1h", "--runs"])
        .arg(&runs)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut child = Ends(child);
    let deadline = Instant::now() + Duration::from_secs(60);
    let second = || {
        let mut soaks = std::fs::read_dir(&runs).into_iter().flatten().flatten();
        soaks.any(|soak| soak.path().join("rounds/00002/history.jsonl").exists())
    };
    while !second() {
        assert!(Instant::now() < deadline, "there was no second round");
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.0.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let status = child.0.wait().unwrap();
    assert_eq!(status.code(), Some(3));
    let dir = std::fs::read_dir(&runs)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let record = soak::read(&dir.join("soak.json")).unwrap();
    assert!(
        record.interrupted && !record.rounds.is_empty(),
        "{record:?}"
    );
    assert!(dir.join("soak.html").exists());
}

#[test]
fn what_is_no_duration_is_refused_before_anything_starts() {
    let bench = Bench::new();
    let file = bench.write("x.toml", &decoy("honest", 7, ""));
    for wrong in [
        &["--for", "soon"][..],
        &["--for", "0s"],
        &["--for", "1h", "--judge-every", "2 parsecs"],
        &["--judge-every", "2s"],
    ] {
        let mut all = vec!["run", file.to_str().unwrap(), "--runs", "r"];
        all.extend(wrong);
        let output = bench.call(&all);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {output:?}");
        assert!(!bench.path().join("r").exists());
    }
    let both = ["--for", "soon", "--judge-every", "often"];
    let output = bench.call(&[&["run", file.to_str().unwrap()][..], &both].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("--for soon") && said.contains("--judge-every often"),
        "{said}"
    );
}
