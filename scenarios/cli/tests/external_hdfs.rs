//! Provider `external`: a run on somebody's HDFS leaves alone what is not its own, judges only what
//! is, and offers only the faults that it can stand in for.
//!
//! Needs Java and Hadoop's jars (`ci/setup hdfs`). Without them the test says so and passes, except
//! in CI, where it fails.

#![expect(clippy::unwrap_used, reason = "it is a test")]

#[path = "common/busy.rs"]
mod busy;
#[path = "external_hdfs/cluster.rs"]
mod cluster;

use std::path::Path;
use std::process::{Command, Output};

use cluster::{Cluster, files_below};
use serde_json::Value;

const CONF: &str = "\
a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = netcat
a1.sources.r1.bind = 127.0.0.1
a1.sources.r1.port = ${env:FB_SOURCE_PORT}
a1.sources.r1.channels = c1
a1.channels.c1.type = file
a1.channels.c1.checkpointDir = ${env:FB_DATA}/checkpoint
a1.channels.c1.dataDirs = ${env:FB_DATA}/log
a1.channels.c1.capacity = 100000
a1.channels.c1.transactionCapacity = 1000
a1.sinks.k1.type = hdfs
a1.sinks.k1.channel = c1
a1.sinks.k1.hdfs.path = ${env:FB_STORE}/%Y
a1.sinks.k1.hdfs.useLocalTimeStamp = true
a1.sinks.k1.hdfs.fileType = DataStream
a1.sinks.k1.hdfs.writeFormat = Text
a1.sinks.k1.hdfs.rollInterval = 1
a1.sinks.k1.hdfs.rollSize = 0
a1.sinks.k1.hdfs.rollCount = 0
";

/// The address of a store, and one fault.
fn scenario(cluster: &Cluster, fault: &str) -> String {
    format!(
        "seed = 9\n[sut]\ndriver = \"engine\"\nconfig = \"external.conf\"\n\
         [load]\ninto = \"netcat\"\nrate = \"400/s\"\nbatch = 1\n\
         [store]\nkind = \"hdfs\"\nprovider = \"external\"\n\
         namenode = \"127.0.0.1:{}\"\nwebhdfs = \"127.0.0.1:{}\"\n\
         [phases]\nwarm_up = \"2s\"\nsteady = \"8s\"\ndrain_deadline = \"40s\"\n\
         [[fault]]\n{fault}\nat = \"2s\"\nfor = \"3s\"\n[objectives]\nlost = 0\nunpublished = 0\n",
        cluster.rpc, cluster.http
    )
}

fn call(directory: &Path, arguments: &[&str]) -> (i32, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_flume-bench"))
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap();
    let text = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (status.code().unwrap_or(-1), text.concat())
}

#[test]
fn what_belongs_to_others_is_left_alone() {
    let Some(jars) = cluster::jars() else {
        assert!(
            std::env::var_os("CI").is_none(),
            "Java or Hadoop's jars are missing: run ci/setup hdfs"
        );
        eprintln!("SKIPPED: Java or Hadoop's jars are missing; `ci/setup hdfs` brings them");
        return;
    };
    let cluster = Cluster::start(jars);
    let place = tempfile::tempdir().unwrap();
    let directory = place.path();
    std::fs::write(directory.join("external.conf"), CONF).unwrap();

    faults_on_a_node_are_refused(&cluster, directory);

    // Another run's directory beside ours, with what a judge would hold against it: an in-use name
    // nobody finished, and lines that are no events. And a stranger in the middle of a file.
    let other = directory.join("others/00000000000000aa/2026");
    std::fs::create_dir_all(&other).unwrap();
    std::fs::write(other.join("FlumeData.1.tmp"), "not an event\n").unwrap();
    std::fs::write(other.join("FlumeData.2"), "fb1unot an event\n").unwrap();
    let others = directory.join("others");
    cluster.shell(&["-put", others.to_str().unwrap(), "/flume-bench"]);
    let before = files_below(&others);
    let stranger = cluster.stranger("/flume-bench/FlumeData.3.tmp", "half a line, ");

    let run = a_partition_is_survived(&cluster, directory);

    // Its lease was not taken, its file neither renamed nor deleted: it can finish it.
    assert!(
        stranger.finish("and the rest\n"),
        "{}",
        cluster.stranger_said()
    );
    let after = directory.join("after");
    cluster.shell(&["-get", "/flume-bench", after.to_str().unwrap()]);
    // What an earlier try left is none of the others' either.
    let (all_of_ours, mut left): (Vec<_>, Vec<_>) = files_below(&after)
        .into_iter()
        .partition(|(path, _)| RUNS.iter().any(|run| path.starts_with(&directory_of(run))));
    let ours: Vec<_> = all_of_ours
        .iter()
        .filter(|(path, _)| path.starts_with(&directory_of(run)))
        .collect();
    assert!(ours.len() >= 3, "{ours:?}");
    assert!(ours.iter().all(|(path, _)| !path.ends_with(".tmp")));
    let finished = (
        "FlumeData.3.tmp".to_owned(),
        b"half a line, and the rest\n".to_vec(),
    );
    let stood = left.iter().position(|file| *file == finished);
    left.remove(stood.expect("the stranger's file is not what it wrote"));
    assert_eq!(left, before);
}

fn faults_on_a_node_are_refused(cluster: &Cluster, directory: &Path) {
    for (fault, word) in [
        ("kind = \"outage\"\ntarget = \"datanode1\"", "datanode1"),
        ("kind = \"kill\"\ntarget = \"namenode\"", "namenode"),
        (
            "kind = \"cut_link\"\nlink = \"agent->datanode1\"",
            "agent->datanode1",
        ),
    ] {
        let file = directory.join("refused.toml");
        std::fs::write(&file, scenario(cluster, fault)).unwrap();
        for command in ["check", "run"] {
            let (code, said) = call(directory, &[command, "refused.toml"]);
            assert_eq!(code, 2, "{command}, {fault}: {said}");
            assert!(
                said.contains("refused.toml:") && said.contains(word),
                "{said}"
            );
        }
    }
    assert!(!directory.join("runs").exists(), "a run was begun");
}

/// The ids of the runs: one a try.
const RUNS: [&str; busy::TRIES] = ["ba", "bb", "bc"];

/// Where the agent of a run writes, below the place that the scenario names.
fn directory_of(run: &str) -> String {
    format!("00000000000000{run}/")
}

/// One run with that id: its exit code, what it said and its record.
fn partitioned(directory: &Path, id: &str) -> (i32, String, Value) {
    let runs = format!("runs-{id}");
    let arguments = ["run", "external.toml", "--run-id", id, "--runs", &runs];
    let (code, said) = call(directory, &arguments);
    let run = std::fs::read_dir(directory.join(runs)).unwrap().next();
    let record = std::fs::read(run.unwrap().unwrap().path().join("record.json")).unwrap();
    (code, said, serde_json::from_slice(&record).unwrap())
}

/// The id of the run that says so.
fn a_partition_is_survived(cluster: &Cluster, directory: &Path) -> &'static str {
    let fault = "kind = \"cut_link\"\nlink = \"agent->namenode\"\nhow = \"reset\"";
    std::fs::write(directory.join("external.toml"), scenario(cluster, fault)).unwrap();
    let [first, more @ ..] = RUNS;
    let (mut id, mut ran) = (first, partitioned(directory, first));
    for again in more {
        if busy::machine_was_busy(&ran.2, &ran.1) {
            (id, ran) = (again, partitioned(directory, again));
        }
    }
    let (code, said, record) = ran;
    assert_eq!(code, 0, "{said}");
    assert_eq!(record["store"]["provider"], "external");
    assert_eq!(record["store"]["server_version"]["value"], "3.3.6");
    let counts = &record["counts"];
    assert_eq!(counts["issued"], 4_000);
    assert_eq!(counts["published"], counts["stored"]);
    for nothing in [
        "lost",
        "malformed",
        "foreign",
        "unexpected",
        "unpublished",
        "torn",
    ] {
        assert_eq!(counts[nothing], 0, "{nothing}: {counts}");
    }
    assert!(
        !record["faults"][0]["witness"]["value"].is_null(),
        "{}",
        record["faults"][0]
    );
    id
}
