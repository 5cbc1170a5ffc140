//! The avro source and the avro sink against Apache Flume 1.11 itself, plain and compressed: the
//! Java client of its SDK feeds our agent, our agent feeds a real Flume.
//!
//! Needs a JDK and Flume's jars (`ci/setup flume`). Without the jars the test says so and passes,
//! except in CI, where it fails.
//!
//! This test program runs itself again to be the agent: `agent_process` is the agent if the
//! environment says so, and passes at once otherwise.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "it is a test"
)]

#[path = "real/java.rs"]
mod java;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use java::wait_for;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Holds the agent's configuration file.
const CONFIGURATION: &str = "ENGINE_TEST_INTEROP_CONFIGURATION";
/// Events that the client sends over each of the two connections.
const EVENTS: usize = 2000;
/// A JVM that starts while all processors are busy takes its time.
const LONG: Duration = Duration::from_secs(90);

#[test]
fn agent_process() {
    let Some(file) = std::env::var_os(CONFIGURATION) else {
        return;
    };
    let arguments = ["-n", "a1", "-f"].map(OsString::from).into_iter();
    let code = flume_bench_engine::cli::main(arguments.chain([file]));
    // An ExitCode can be compared by what it prints, and not otherwise.
    let success = format!("{code:?}") == format!("{:?}", std::process::ExitCode::SUCCESS);
    std::process::exit(i32::from(!success));
}

/// A process that is killed when the test is over, however it ends, and the file with its output.
struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    fn start(mut command: Command, log: PathBuf) -> Self {
        let file = File::create(&log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("failed to start {command:?}: {error}"));
        Self { child, log }
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits for the end, which has to be a success.
    fn end(&mut self, what: &str) {
        let mut status = None;
        wait_for(what, LONG, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        let status = status.unwrap();
        assert!(status.success(), "{what}: {status}: {}", self.log());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail when it has ended already, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The processes of one test: directories, ports, and how each is started.
struct Stage {
    directory: tempfile::TempDir,
    jars: PathBuf,
    /// What the configurations mean by their `${env:…}`.
    environment: Vec<(&'static str, String)>,
}

impl Stage {
    fn set(jars: PathBuf) -> Self {
        let names = [
            "AGENT_PLAIN",
            "AGENT_DEFLATE",
            "FLUME_PLAIN",
            "FLUME_DEFLATE",
        ];
        // All ports are held until all are known, so that none is given out twice.
        let held = names.map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        let ports = held.map(|port| port.local_addr().unwrap().port().to_string());
        let directory = tempfile::tempdir().unwrap();
        for name in [
            "agent-plain",
            "agent-deflate",
            "flume-plain",
            "flume-deflate",
        ] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        let mut environment: Vec<_> = names.into_iter().zip(ports).collect();
        environment.push(("DIRECTORY", directory.path().display().to_string()));
        Self {
            directory,
            jars,
            environment,
        }
    }

    fn port(&self, name: &str) -> &str {
        let found = self.environment.iter().find(|(key, _)| *key == name);
        &found.unwrap().1
    }

    fn file(name: &str) -> PathBuf {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/flume");
        directory.join(name)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn java(&self) -> Command {
        let mut command = java::java();
        let class_path = format!("{}/*", self.jars.display());
        command.args(["-cp", &class_path]);
        command
    }

    fn flume(&self) -> Process {
        let mut command = self.java();
        command
            .args(["org.apache.flume.node.Application", "--no-reload-conf"])
            .args(["-n", "a1", "-f"])
            .arg(Self::file("receiver.conf"))
            .envs(self.environment.iter().cloned());
        Process::start(command, self.log("flume.log"))
    }

    fn agent(&self) -> Process {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "agent_process", "--nocapture"])
            .env(CONFIGURATION, Self::file("agent.conf"))
            .env_remove("RUST_LOG")
            .envs(self.environment.iter().cloned());
        Process::start(command, self.log("agent.log"))
    }

    fn client(&self) -> Process {
        let mut command = self.java();
        command
            .arg(Self::file("SendEvents.java"))
            .arg(EVENTS.to_string())
            .args(["none", self.port("AGENT_PLAIN")])
            .args(["deflate", self.port("AGENT_DEFLATE")]);
        Process::start(command, self.log("client.log"))
    }

    /// Waits until somebody listens on these ports.
    fn wait_listening(&self, ports: [&str; 2], process: &Process) {
        for name in ports {
            let port: u16 = self.port(name).parse().unwrap();
            let mut ready = false;
            for _ in 0..LONG.as_millis() / 100 {
                ready = TcpStream::connect(("127.0.0.1", port)).is_ok();
                if ready {
                    break;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            assert!(ready, "nobody listens on {name}: {}", process.log());
        }
    }

    /// The lines of all files in one of the directories.
    fn lines(&self, name: &str) -> Vec<String> {
        let mut lines = Vec::new();
        for entry in fs::read_dir(self.directory.path().join(name)).unwrap() {
            let bytes = fs::read(entry.unwrap().path()).unwrap();
            // A line that is being written counts when it is whole.
            let end = bytes.iter().rposition(|byte| *byte == b'\n');
            let whole = &bytes[..end.map_or(0, |end| end + 1)];
            let text = std::str::from_utf8(whole).expect("bodies are UTF-8");
            lines.extend(text.lines().map(str::to_owned));
        }
        lines
    }

    /// Waits for all events in a directory; answers the lines.
    fn arrived(&self, name: &str, process: &Process) -> Vec<String> {
        let mut lines = Vec::new();
        for _ in 0..LONG.as_millis() / 100 {
            lines = self.lines(name);
            if lines.len() >= EVENTS {
                return lines;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!(
            "{name}: {} of {EVENTS} events: {}",
            lines.len(),
            process.log()
        );
    }
}

/// The body of the client's event `n`.
fn body(n: usize) -> String {
    let length = if n % 500 == 499 {
        100_000
    } else {
        n * 37 % 1000
    };
    format!("{n} {}", "é".repeat(length))
}

/// The headers of the client's event `n`.
fn headers(n: usize) -> BTreeMap<String, String> {
    let mut headers = BTreeMap::new();
    if n % 3 >= 1 {
        headers.insert("n".to_owned(), n.to_string());
    }
    if n % 3 == 2 {
        let (key, value) = match n % 2 {
            0 => ("empty", String::new()),
            _ => ("größe", format!("日本 {n}")),
        };
        headers.insert(key.to_owned(), value);
    }
    headers
}

/// Takes a line of Flume's `HEADER_AND_TEXT` apart: `{key=value, key=value} body`.
fn split(line: &str) -> (BTreeMap<String, String>, &str) {
    let (map, body) = line
        .strip_prefix('{')
        .and_then(|line| line.split_once("} "))
        .unwrap_or_else(|| panic!("no headers: {line:.80}"));
    let pairs = map.split(", ").filter(|pair| !pair.is_empty());
    let headers = pairs.map(|pair| {
        let (key, value) = pair.split_once('=').unwrap();
        (key.to_owned(), value.to_owned())
    });
    (headers.collect(), body)
}

/// Each event's body is there once, and nothing else.
fn check_bodies<'a>(name: &str, bodies: impl Iterator<Item = &'a str>) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    bodies.for_each(|body| *counts.entry(body).or_default() += 1);
    for n in 0..EVENTS {
        let copies = counts.remove(body(n).as_str());
        assert_eq!(copies, Some(1), "{name}: event {n}");
    }
    let left: Vec<String> = counts.keys().map(|body| format!("{body:.40}")).collect();
    assert!(left.is_empty(), "{name}: nobody sent {left:?}");
}

#[test]
fn with_apache_flume_itself() {
    let Some(jars) = java::jars("flume-1.11.0", "flume-ng-sdk-1.11.0.jar") else {
        assert!(
            std::env::var_os("CI").is_none(),
            "Flume's jars are missing: run ci/setup flume"
        );
        eprintln!("SKIPPED: Flume's jars are missing; `ci/setup flume` brings them");
        return;
    };
    let stage = Stage::set(jars);
    let flume = stage.flume();
    let mut agent = stage.agent();
    stage.wait_listening(["AGENT_PLAIN", "AGENT_DEFLATE"], &agent);
    stage.wait_listening(["FLUME_PLAIN", "FLUME_DEFLATE"], &flume);
    // The client is content only if each of its calls was answered with OK.
    stage.client().end("Flume's Java client");
    for name in ["agent-plain", "agent-deflate"] {
        let lines = stage.arrived(name, &agent);
        check_bodies(name, lines.iter().map(String::as_str));
    }
    for name in ["flume-plain", "flume-deflate"] {
        let lines = stage.arrived(name, &flume);
        let events: Vec<_> = lines.iter().map(|line| split(line)).collect();
        check_bodies(name, events.iter().map(|(_, body)| *body));
        for (found, body) in &events {
            let (n, _) = body.split_once(' ').unwrap();
            assert_eq!(*found, headers(n.parse().unwrap()), "{name}: event {n}");
        }
    }
    kill(Pid::from_raw(agent.child.id() as i32), Signal::SIGTERM).unwrap();
    agent.end("the agent, after SIGTERM");
    // What was in flight at the end would be there now: still no event twice.
    for name in [
        "agent-plain",
        "agent-deflate",
        "flume-plain",
        "flume-deflate",
    ] {
        assert_eq!(stage.lines(name).len(), EVENTS, "{name}");
    }
}
