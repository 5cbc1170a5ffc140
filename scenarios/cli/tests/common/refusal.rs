//! Calls the real binary with input that it must refuse, and looks for traces of anything it started.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

/// A refusal takes milliseconds; whoever needs longer than this has started something.
const DEADLINE: Duration = Duration::from_secs(60);

/// A directory for one test.
pub(crate) struct Desk {
    root: tempfile::TempDir,
}

/// What the program said.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// One entry for each `error: `, with the indented lines that follow it.
    pub(crate) errors: Vec<String>,
    /// All that it said.
    pub(crate) text: String,
}

/// What came of a call.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) code: i32,
    pub(crate) out: String,
    /// What stood on standard error.
    pub(crate) text: String,
    pub(crate) had_children: bool,
}

impl Desk {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for part in ["work", "home", "tmp", "said"] {
            fs::create_dir(root.path().join(part)).unwrap();
        }
        Self { root }
    }

    /// The directory that the program is called in.
    pub(crate) fn path(&self) -> PathBuf {
        self.root.path().join("work")
    }

    /// Writes a file into that directory.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path().join(name), text).unwrap();
    }

    /// Calls the program, which must refuse: exit code 2, nothing on standard output, no process, no
    /// port and no directory left or ever made.
    pub(crate) fn refuse(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Refusal {
        let what = arguments.join(" ");
        let before = self.listing();
        let Call {
            code,
            out,
            text,
            had_children,
        } = self.call(arguments, environment);
        assert_eq!(code, 2, "{what}: {text}");
        assert_eq!(out, "", "{what}: on standard output");
        assert!(!had_children, "{what}: it had a child: {text}");
        // Nor is one left that it had not waited for; and a port needs a process.
        assert_eq!(living(&self.home()), Vec::<String>::new(), "{what}: left");
        assert_eq!(self.listing(), before, "{what}: files were made: {text}");
        Refusal {
            errors: errors(&text),
            text,
        }
    }

    fn home(&self) -> String {
        self.root.path().join("home").display().to_string()
    }

    /// Calls the program to its end.
    pub(crate) fn call(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Call {
        let said = |name: &str| self.root.path().join("said").join(name);
        let mut child = Command::new(env!("CARGO_BIN_EXE_flume-bench"))
            .args(arguments)
            .current_dir(self.path())
            .env("HOME", self.home())
            .env("TMPDIR", self.root.path().join("tmp"))
            .env_remove("FLUME_BENCH_LIBS")
            .env_remove("RUST_LOG")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(fs::File::create(said("out")).unwrap())
            .stderr(fs::File::create(said("err")).unwrap())
            .spawn()
            .unwrap();
        let ended = ended(child.id());
        if ended.is_none() {
            child.kill().unwrap();
        }
        let had_children = had_children(child.id());
        child.wait().unwrap();
        let text = fs::read_to_string(said("err")).unwrap();
        let what = arguments.join(" ");
        Call {
            code: ended.unwrap_or_else(|| panic!("{what}: no end after {DEADLINE:?}: {text}")),
            out: fs::read_to_string(said("out")).unwrap(),
            text,
            had_children,
        }
    }

    /// Every file with its length, and every directory with the instant of its last change, which
    /// shows what was made in it and removed again.
    pub(crate) fn listing(&self) -> BTreeMap<PathBuf, (u64, Option<SystemTime>)> {
        let mut listing = BTreeMap::new();
        let mut open: Vec<PathBuf> = ["work", "home", "tmp"]
            .map(|part| self.root.path().join(part))
            .into();
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(&directory).unwrap() {
                let entry = entry.unwrap();
                let meta = entry.metadata().unwrap();
                if meta.is_dir() {
                    open.push(entry.path());
                } else {
                    listing.insert(entry.path(), (meta.len(), None));
                }
            }
            let changed = fs::metadata(&directory).unwrap().modified().unwrap();
            listing.insert(directory, (0, Some(changed)));
        }
        listing
    }
}

impl Refusal {
    /// The only error there is.
    pub(crate) fn only(&self) -> &str {
        assert_eq!(self.errors.len(), 1, "{}", self.text);
        &self.errors[0]
    }
}

/// The errors in what was said, each with the lines that belong to it.
fn errors(text: &str) -> Vec<String> {
    let mut errors: Vec<String> = Vec::new();
    for line in text.lines() {
        if let Some(error) = line.strip_prefix("error: ") {
            errors.push(error.to_owned());
        } else if let (true, Some(last)) = (line.starts_with("    "), errors.last_mut()) {
            last.push('\n');
            last.push_str(line);
        }
    }
    // The agent's last word counts the ones above.
    errors.retain(|error| !error.starts_with("nothing was started"));
    errors
}

/// Waits for the end of a child without reaping it; its exit code.
fn ended(pid: u32) -> Option<i32> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::WNOHANG;
    let until = Instant::now() + DEADLINE;
    while Instant::now() < until {
        match waitid(Id::Pid(Pid::from_raw(pid as i32)), flags).unwrap() {
            WaitStatus::Exited(_, code) => return Some(code),
            WaitStatus::Signaled(_, signal, _) => panic!("ended by {signal}"),
            _ => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    None
}

/// Whether a process, not reaped yet, has waited for a child: each leaves its minor page faults with
/// its parent, and none lives without.
fn had_children(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    // The state is the third field, the faults of the children the eleventh (proc_pid_stat(5)).
    fields.split_whitespace().nth(11 - 3).unwrap() != "0"
}

/// Processes with this home directory.
fn living(home: &str) -> Vec<String> {
    let wanted = format!("HOME={home}");
    let has_it = |process: &Path| {
        fs::read(process.join("environ")).is_ok_and(|environ| {
            environ
                .split(|byte| *byte == 0)
                .any(|variable| variable == wanted.as_bytes())
        })
    };
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .filter(|process| has_it(process))
        .map(|process| process.display().to_string())
        .collect()
}
