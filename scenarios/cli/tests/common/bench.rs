//! Runs the real binary on a scenario of the test's own, and reads what it left.

#[path = "busy.rs"]
mod busy;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// A directory for one test, and the runs in it.
pub(crate) struct Bench {
    directory: tempfile::TempDir,
}

/// What a run came to.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) output: String,
    pub(crate) dir: PathBuf,
    pub(crate) record: Value,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a file into the test's directory.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Calls the program.
    pub(crate) fn call(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_flume-bench"))
            .args(arguments)
            .current_dir(self.path())
            .output()
            .unwrap()
    }

    /// `flume-bench run` on a text, with its record. Where the machine was too busy for the generator,
    /// again.
    pub(crate) fn run(&self, name: &str, scenario: &str, arguments: &[&str]) -> Ran {
        for _ in 1..busy::TRIES {
            let ran = self.once(name, scenario, arguments);
            if !busy::machine_was_busy(&ran.record, &ran.output) {
                return ran;
            }
            std::fs::remove_dir_all(self.path().join(format!("runs-{name}"))).unwrap();
        }
        self.once(name, scenario, arguments)
    }

    fn once(&self, name: &str, scenario: &str, arguments: &[&str]) -> Ran {
        let file = self.write(&format!("{name}.toml"), scenario);
        let runs = self.path().join(format!("runs-{name}"));
        let mut all = vec![
            "run",
            file.to_str().unwrap(),
            "--quiet",
            "--runs",
            runs.to_str().unwrap(),
        ];
        all.extend(arguments);
        let output = self.call(&all);
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        let dir = std::fs::read_dir(&runs)
            .map(|mut entries| entries.next().unwrap().unwrap().path())
            .unwrap_or_default();
        let record = std::fs::read(dir.join("record.json"))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or(Value::Null);
        Ran {
            code: output.status.code().unwrap_or(-1),
            output: text,
            dir,
            record,
        }
    }
}

impl Ran {
    /// A count of the record.
    pub(crate) fn count(&self, name: &str) -> u64 {
        self.record["counts"][name]
            .as_u64()
            .unwrap_or_else(|| panic!("no count {name}: {}", self.output))
    }

    /// The verdict of one checker.
    pub(crate) fn checker(&self, name: &str) -> String {
        let all = self.record["checkers"]
            .as_array()
            .unwrap_or_else(|| panic!("no checkers: {}", self.output));
        all.iter().find(|checker| checker["name"] == name).unwrap()["verdict"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// The decoy's own tally.
    pub(crate) fn tally(&self, name: &str) -> u64 {
        let text = std::fs::read_to_string(self.dir.join("sut/data/tally.json")).unwrap();
        let tally: Value = serde_json::from_str(text.trim()).unwrap();
        tally[name].as_u64().unwrap()
    }
}
