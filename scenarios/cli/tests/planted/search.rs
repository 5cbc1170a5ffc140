//! A campaign for one defect, or for none, and what its record says.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use super::table::Planted;
use super::variable;

/// The program whose engine can have a defect, beside the one that is tested.
pub(crate) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let profile = Path::new(env!("CARGO_BIN_EXE_flume-bench"))
            .parent()
            .unwrap();
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        cargo
            // Of the whole workspace, as the tests are built: all that has no defects is there already.
            .args(["build", "--quiet", "--workspace", "--bin"])
            .args(["flume-bench-planted", "--features"])
            .arg("flume-bench/planted-defects")
            .arg("--target-dir")
            .arg(profile.parent().unwrap())
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        let built = cargo.status().unwrap();
        assert!(built.success(), "flume-bench-planted could not be built");
        profile.join("flume-bench-planted")
    })
}

/// What a campaign came to.
pub(crate) struct Found {
    /// The record.
    pub(crate) record: Value,
    pub(crate) code: i32,
    pub(crate) said: String,
}

impl Found {
    pub(crate) fn trials(&self) -> &[Value] {
        self.record["trials"].as_array().unwrap()
    }

    /// What the campaign concluded, in words.
    pub(crate) fn reasons(&self) -> String {
        let reasons = self.record["reasons"].as_array().unwrap().iter();
        let reasons: Vec<&str> = reasons.filter_map(Value::as_str).collect();
        reasons.join(" ")
    }

    /// How many trials came to this.
    pub(crate) fn of(&self, outcome: &str) -> usize {
        let is = |trial: &&Value| trial["outcome"] == outcome;
        self.trials().iter().filter(is).count()
    }

    /// How many trials failed with a class.
    pub(crate) fn hits(&self, class: &str) -> usize {
        let hit = |trial: &&Value| failure(trial, class).is_some();
        self.trials().iter().filter(hit).count()
    }

    /// The sum of a number over all trials.
    pub(crate) fn sum(&self, number: impl Fn(&Value) -> &Value) -> u64 {
        let all = self.trials().iter();
        all.filter_map(|trial| number(trial).as_u64()).sum()
    }
}

/// How long trials took, in seconds.
pub(crate) fn seconds(trials: &[Value]) -> f64 {
    let took = trials.iter().filter_map(|trial| trial["took_us"].as_u64());
    took.sum::<u64>() as f64 / 1e6
}

/// A trial's failure of a class.
pub(crate) fn failure<'a>(trial: &'a Value, class: &str) -> Option<&'a Value> {
    let of_class = |failure: &&Value| failure["class"] == class;
    trial["failures"].as_array()?.iter().find(of_class)
}

/// The classes of a trial's failures.
pub(crate) fn classes(trial: &Value) -> Vec<&str> {
    let all = trial["failures"].as_array().map(Vec::as_slice);
    let all = all.unwrap_or_default().iter();
    all.filter_map(|failure| failure["class"].as_str())
        .collect()
}

/// The classes of its failures that the defect does not explain: verdicts that are false.
pub(crate) fn unexplained<'a>(planted: &Planted, trial: &'a Value) -> Vec<&'a str> {
    let mut classes = classes(trial);
    classes.retain(|class| !planted.classes.contains(class));
    classes
}

/// The text of a scenario, with a defect in it.
fn text(planted: &Planted) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/planted")
        .join(format!("{}.toml", planted.scenario));
    let text = std::fs::read_to_string(path).unwrap();
    if planted.name == "honest" {
        return text;
    }
    match planted.n {
        Some(n) => {
            let defect = format!("defect = \"{}\"\nn = {n}", planted.name);
            let with = text.replace("defect = \"honest\"\nn = 1", &defect);
            assert!(with != text, "{} is no decoy's", planted.scenario);
            with
        }
        None => format!(
            "{text}\n[sut.env]\nFLUME_BENCH_DEFECT = \"{}\"\n",
            planted.name
        ),
    }
}

/// Where the campaign's directory goes: away afterwards, unless it is asked for.
enum Place {
    Kept(PathBuf),
    Passing(tempfile::TempDir),
}

impl Place {
    fn of(planted: &Planted) -> Self {
        let Some(runs) = variable("FLUME_BENCH_PLANTED_RUNS") else {
            return Self::Passing(tempfile::tempdir().unwrap());
        };
        let path = Path::new(&runs).join(format!("{}-{}", planted.name, planted.scenario));
        // Whatever an earlier test left there is not this one's.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self::Kept(path)
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Passing(directory) => directory.path(),
        }
    }
}

/// Runs a campaign of a defect's scenario.
pub(crate) fn campaign(planted: &Planted, arguments: &[&str]) -> Found {
    let place = Place::of(planted);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/planted");
    for entry in std::fs::read_dir(beside).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "conf") {
            std::fs::copy(&path, place.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    let file = format!("{}.toml", planted.scenario);
    std::fs::write(place.path().join(&file), text(planted)).unwrap();
    let output = Command::new(program())
        .args(["campaign", &file, "--runs", "runs"])
        .args(arguments)
        .current_dir(place.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let runs = std::fs::read_dir(place.path().join("runs"));
    let dir = runs
        .ok()
        .and_then(|mut entries| Some(entries.next()?.ok()?.path()))
        .unwrap_or_else(|| panic!("{}: no campaign: {said}", planted.name));
    let record = std::fs::read(dir.join("campaign.json")).unwrap();
    Found {
        record: serde_json::from_slice(&record).unwrap(),
        code: output.status.code().unwrap_or(-1),
        said,
    }
}
