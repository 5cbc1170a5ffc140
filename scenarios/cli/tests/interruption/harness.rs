//! A harness in the background: what it says, what it started, what is left of it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Nothing here takes longer than a few seconds, except on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory for one test, and the runs in it.
pub(crate) struct Bench(tempfile::TempDir);

impl Bench {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file into the test's directory.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Calls the program and waits for its end.
    pub(crate) fn call(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_flume-bench"))
            .args(arguments)
            .current_dir(self.path())
            .output()
            .unwrap()
    }
}

/// `flume-bench run`, running. It is killed when the test fails before its end.
pub(crate) struct Harness {
    child: Child,
    said: Arc<Mutex<String>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Harness {
    pub(crate) fn start(bench: &Bench, scenario: &str, arguments: &[&str]) -> Self {
        Self::start_with(bench, scenario, arguments, |_| {})
    }

    /// All runs of a bench are kept in one directory, as those of a user are.
    pub(crate) fn start_with(
        bench: &Bench,
        scenario: &str,
        arguments: &[&str],
        adjust: impl FnOnce(&mut Command),
    ) -> Self {
        let file = bench.write("interruption.toml", scenario);
        let mut command = Command::new(env!("CARGO_BIN_EXE_flume-bench"));
        command
            .arg("run")
            .arg(file)
            .arg("--runs")
            .arg(bench.path().join("runs"))
            .args(arguments)
            .current_dir(bench.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        adjust(&mut command);
        let mut child = command.spawn().unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let kept = Arc::clone(&said);
        let reader = std::thread::spawn(move || {
            for line in stderr.lines() {
                let Ok(line) = line else { return };
                kept.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        Self {
            child,
            said,
            reader: Some(reader),
        }
    }

    /// All of its standard error so far.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    pub(crate) fn wait_until_it_says(&self, text: &str) {
        let said = || self.said();
        eventually_or(&format!("`{text}`"), said, || self.said().contains(text));
    }

    /// Until some hundreds of events stand in the journal.
    pub(crate) fn wait_until_events_flow(&self) {
        let journal = self.run().join("journal.bin");
        let length = || std::fs::metadata(&journal).map_or(0, |metadata| metadata.len());
        eventually("events to flow", || length() > 16 << 10);
    }

    /// Sends a signal to the harness alone, by its name without SIG.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for its end; -1 if a signal ended it.
    pub(crate) fn code(&mut self) -> i32 {
        let mut status = None;
        let said = Arc::clone(&self.said);
        let child = &mut self.child;
        eventually_or(
            "the harness to end",
            || said.lock().unwrap().clone(),
            || {
                status = child.try_wait().unwrap();
                status.is_some()
            },
        );
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        status.and_then(|status| status.code()).unwrap_or(-1)
    }

    /// The run's directory, from its first line.
    pub(crate) fn run(&self) -> PathBuf {
        self.wait_until_it_says("flume-bench: scenario");
        let said = self.said();
        let line = said
            .lines()
            .find(|line| line.starts_with("flume-bench: scenario"))
            .unwrap();
        PathBuf::from(line.rsplit_once(", in ").unwrap().1)
    }

    /// The process id of a role, from the list that a later start would read.
    pub(crate) fn pid_of(&self, role: &str) -> i32 {
        let text = std::fs::read(self.run().join("processes.json")).unwrap();
        let list: Value = serde_json::from_slice(&text).unwrap();
        let all = list["processes"].as_array().unwrap();
        let entry = all.iter().find(|entry| entry["role"] == role).unwrap();
        entry["identity"]["pid"].as_i64().unwrap() as i32
    }

    /// The first entry of a kind in the history.
    pub(crate) fn entry(&self, what: &str) -> Value {
        let text = std::fs::read_to_string(self.run().join("history.jsonl")).unwrap();
        text.lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .find(|entry| entry["what"] == what)
            .unwrap_or_else(|| panic!("no {what} in the history: {text}"))
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for a condition.
pub(crate) fn eventually(what: &str, is_so: impl FnMut() -> bool) {
    eventually_or(what, String::new, is_so);
}

fn eventually_or(what: &str, otherwise: impl Fn() -> String, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(
            Instant::now() < deadline,
            "waited in vain for {what}; {}",
            otherwise()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The command lines of all living processes that carry the mark of a run.
pub(crate) fn left_of(run: &Path) -> Vec<String> {
    let ending = format!("-{}", run.display());
    let marked = |variable: &[u8]| {
        variable.starts_with(b"FLUME_BENCH_RUN=") && variable.ends_with(ending.as_bytes())
    };
    let mut found = Vec::new();
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let environ = std::fs::read(process.path().join("environ")).unwrap_or_default();
        if environ.split(|byte| *byte == 0).any(marked) {
            let argv = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            found.push(String::from_utf8_lossy(&argv).replace('\0', " "));
        }
    }
    found
}

/// The kernel's letter for the state of a process.
pub(crate) fn state_of(pid: i32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}
