//! Runs a shipped scenario with the real binary, and reads what it says and leaves.

#[path = "busy.rs"]
mod busy;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

/// What a run came to.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) output: String,
    pub(crate) record: Value,
    /// Its directory, as long as this lives.
    pub(crate) dir: PathBuf,
    _parent: TempDir,
}

/// The file of a scenario, such as `kinds/netcat`.
pub(crate) fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(format!("{name}.toml"))
}

/// `flume-bench run` on a shipped scenario; its whole output, and its record. Where the machine was too
/// busy for the generator, again.
pub(crate) fn run(name: &str, arguments: &[&str]) -> Ran {
    for _ in 1..busy::TRIES {
        let ran = once(name, arguments);
        if !busy::machine_was_busy(&ran.record, &ran.output) {
            return ran;
        }
    }
    once(name, arguments)
}

fn once(name: &str, arguments: &[&str]) -> Ran {
    let parent = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_flume-bench"))
        .arg("run")
        .arg(file(name))
        .args(["--quiet", "--runs"])
        .arg(parent.path())
        .args(arguments)
        .output()
        .unwrap();
    let text = format!(
        "{name}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let dir = std::fs::read_dir(parent.path())
        .unwrap()
        .next()
        .unwrap_or_else(|| panic!("no run was made: {text}"))
        .unwrap()
        .path();
    let record = std::fs::read(dir.join("record.json"))
        .unwrap_or_else(|error| panic!("no record ({error}): {text}"));
    Ran {
        code: output.status.code().unwrap_or(-1),
        output: text,
        record: serde_json::from_slice(&record).unwrap(),
        dir,
        _parent: parent,
    }
}

/// The exit code that a scenario's comment promises for a system: `# expect engine: exit 0`.
pub(crate) fn expected(name: &str, driver: &str) -> i32 {
    let text = std::fs::read_to_string(file(name)).unwrap();
    let promise = format!("# expect {driver}: exit ");
    text.lines()
        .find_map(|line| line.strip_prefix(&promise)?.chars().next()?.to_digit(10))
        .unwrap_or_else(|| panic!("{name} does not say what to expect of {driver}"))
        .try_into()
        .unwrap()
}

impl Ran {
    /// A count of the record.
    pub(crate) fn count(&self, name: &str) -> u64 {
        self.record["counts"][name]
            .as_u64()
            .unwrap_or_else(|| panic!("no count {name}: {}", self.output))
    }

    /// A file that the run left, such as `sut/agent.log`.
    pub(crate) fn text(&self, file: &str) -> String {
        let bytes = std::fs::read(self.dir.join(file)).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
