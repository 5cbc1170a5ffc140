//! What is known about a run besides events and history: machine, command line, versions, files.
//! Written to `facts.json` when the run begins, so that a later judgement finds it.

use std::collections::BTreeMap;
use std::path::Path;

use flume_bench_reports::record::{
    FileUsed, Host, Identity, Known, Load, Nice, Store, Sut, Text64, VersionOf,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::runner::history::{Entry, Line};
use crate::scenario::Scenario;
use crate::text::show_duration;
use crate::tools::Tools;

/// Name of the file in a run's directory.
pub(crate) const FILE: &str = "facts.json";

/// What is known when a run begins.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Facts {
    /// The run id.
    pub run: Text64,
    /// The scenario's name.
    #[serde(default)]
    pub scenario: String,
    /// The command line.
    pub command_line: Vec<String>,
    /// The command that repeats the run.
    pub repeat: String,
    /// The scenario's first comment.
    pub description: String,
    /// Scenario and configuration, as used.
    pub files: Vec<FileUsed>,
    /// Version of the system under test, if it could be known without starting it.
    pub sut_version: Option<String>,
    /// The machine.
    pub host: Host,
}

/// What a record says of its surroundings.
pub(super) struct Environment {
    pub(super) identity: Identity,
    pub(super) host: Host,
    pub(super) sut: Sut,
    pub(super) store: Store,
}

/// Gathers what is known now.
pub fn gather(scenario: &Scenario, run: u64, command_line: &[String], tools: &Tools) -> Facts {
    let mut files = vec![used("scenario", &scenario.path)];
    files.extend(
        scenario
            .sut
            .config
            .iter()
            .map(|config| used("configuration", config)),
    );
    files.extend(
        scenario
            .load
            .replay
            .iter()
            .map(|replay| used("replayed lines", replay)),
    );
    Facts {
        run: Text64(run),
        scenario: scenario.name.clone(),
        command_line: command_line.to_vec(),
        repeat: repeat(scenario, command_line),
        description: description(&scenario.text),
        files,
        sut_version: scenario.sut.driver.version(tools),
        host: host(),
    }
}

impl Facts {
    /// Reads them back; a run that ended before they were written has none.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        match std::fs::read_to_string(path) {
            Ok(text) => serde_json::from_str(&text).map_err(|error| {
                format!("{} is not what flume-bench wrote: {error}", path.display())
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(format!("failed to read {}: {error}", path.display())),
        }
    }

    /// Writes them.
    pub fn write(&self, root: &Path) -> std::io::Result<()> {
        std::fs::write(root.join(FILE), serde_json::to_vec_pretty(self)?)
    }

    pub(super) fn environment(&self, scenario: &Scenario, lines: &[Line]) -> Environment {
        let server = lines.iter().find_map(|line| match &line.entry {
            Entry::Store { version } => Some(version.clone()),
            _ => None,
        });
        let config = self
            .files
            .iter()
            .find(|file| file.role == "configuration")
            .cloned();
        Environment {
            identity: self.identity(scenario, lines),
            host: self.host.clone(),
            sut: Sut {
                driver: scenario.sut.driver.name().into(),
                name: scenario.sut.agent.clone(),
                version: known(self.sut_version.clone(), "it does not say"),
                config: config.map_or_else(|| Known::unknown("it has none"), Known::Value),
                quiet_us: scenario.sut.driver.quiet().as_micros() as u64,
            },
            store: Store {
                kind: scenario.store.kind().into(),
                provider: scenario.store.provider().into(),
                server_version: known(server.flatten(), "it has none, or did not say"),
            },
        }
    }

    /// Which run it is, of what, made with what, and when.
    fn identity(&self, scenario: &Scenario, lines: &[Line]) -> Identity {
        let walls: Vec<&String> = lines
            .iter()
            .filter_map(|line| match &line.entry {
                Entry::Wall { clock } => Some(clock),
                _ => None,
            })
            .collect();
        let versions = [
            ("flume-bench", Some(env!("CARGO_PKG_VERSION").to_owned())),
            ("system under test", self.sut_version.clone()),
        ];
        let versions = versions.into_iter().map(|(name, version)| VersionOf {
            name: name.into(),
            version: known(version, "it does not say"),
        });
        Identity {
            run: self.run,
            scenario: if self.scenario.is_empty() {
                scenario.name.clone()
            } else {
                self.scenario.clone()
            },
            description: self.description.clone(),
            files: self.files.clone(),
            seed: Text64(scenario.seed),
            command_line: self.command_line.clone(),
            commit: known(
                option_env!("FLUME_BENCH_COMMIT").map(str::to_owned),
                "built outside of a git repository",
            ),
            versions: versions.collect(),
            started: walls
                .first()
                .map(|clock| (*clock).clone())
                .unwrap_or_default(),
            ended: known(
                (walls.len() > 1)
                    .then(|| walls.last().map(|clock| (*clock).clone()))
                    .flatten(),
                "the run was killed",
            ),
        }
    }

    pub(super) fn load(&self, scenario: &Scenario) -> Load {
        let load = &scenario.load;
        let (owed_rule, owed_reason) = super::owed_rule(scenario);
        let mut settings = BTreeMap::new();
        if load.deflate {
            settings.insert("deflate".into(), "true".into());
        }
        if let Some((how, every)) = load.rotate {
            settings.insert("rotate".into(), format!("{how}, every {every} bytes"));
        }
        let rate = match (load.ramp_to, load.turns) {
            (Some(to), _) => format!("{}/s to {to}/s", load.rate),
            (None, Some((turn, _))) => format!(
                "{}/s in turns of {}",
                load.rate,
                crate::text::show_duration(turn)
            ),
            (None, None) => format!("{}/s", load.rate),
        };
        Load {
            into: load.into.into(),
            rate,
            schedule: if load.poisson {
                "poisson"
            } else if load.ramp_to.is_some() {
                "ramp"
            } else if load.turns.is_some() {
                "turns"
            } else {
                "constant"
            }
            .into(),
            batch: load.batch.into(),
            connections: load.connections.into(),
            payload: load.payload.into(),
            body_bytes: if load.payload == "replay" {
                Known::unknown("the lines of a replayed file differ in length")
            } else {
                Known::Value(load.body as u64)
            },
            retry_for_us: load.retry_for.as_micros() as u64,
            planned: 0,
            owed_rule,
            owed_reason,
            settings,
        }
    }
}

fn known(value: Option<String>, reason: &str) -> Known<String> {
    value.map_or_else(|| Known::unknown(reason), Known::Value)
}

fn used(role: &str, path: &Path) -> FileUsed {
    let sha256 = match std::fs::read(path) {
        Ok(bytes) => Known::Value(
            Sha256::digest(&bytes)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        ),
        Err(error) => Known::unknown(error.to_string()),
    };
    FileUsed {
        role: role.into(),
        path: path.display().to_string(),
        sha256,
    }
}

/// The command line with the seed pinned.
fn repeat(scenario: &Scenario, command_line: &[String]) -> String {
    let quote = |word: &String| {
        if word
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_./=:,%+@".contains(c))
        {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    };
    let mut words: Vec<String> = command_line.iter().skip(1).map(quote).collect();
    if !words
        .iter()
        .any(|word| word == "--seed" || word.starts_with("--seed="))
    {
        words.push(format!("--seed {}", scenario.seed));
    }
    format!("flume-bench {}", words.join(" "))
}

fn description(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map_while(|line| line.strip_prefix('#'))
        .map(str::trim)
        .take_while(|line| !line.is_empty() && !line.starts_with("expect "))
        .collect();
    lines.join(" ")
}

/// The machine this runs on.
pub fn host() -> Host {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let field = |text: &str, key: &str| {
        text.lines()
            .find_map(|line| Some(line.strip_prefix(key)?.split_once(':')?.1.trim().to_owned()))
    };
    let cpuinfo = read("/proc/cpuinfo").unwrap_or_default();
    let memory = read("/proc/meminfo")
        .and_then(|text| field(&text, "MemTotal"))
        .and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
    Host {
        kernel: known(
            read("/proc/sys/kernel/osrelease").map(|text| format!("Linux {}", text.trim())),
            "/proc does not say",
        ),
        cpu_model: known(field(&cpuinfo, "model name"), "/proc/cpuinfo does not say"),
        cores: std::thread::available_parallelism().map_or_else(
            |error| Known::unknown(error.to_string()),
            |cores| Known::Value(cores.get() as u64),
        ),
        memory_bytes: memory.map_or_else(
            || Known::unknown("/proc/meminfo does not say"),
            |kib| Known::Value(kib * 1024),
        ),
        nice: vec![
            Nice {
                process: "harness".into(),
                nice: 0,
            },
            Nice {
                process: "system under test and stores".into(),
                nice: crate::process::NICE as i8,
            },
        ],
    }
}

/// The settings of a phase in words, for warnings.
pub(super) fn raised(scenario: &Scenario) -> Option<String> {
    scenario.phases.drain_raised.then(|| {
        format!(
            "drain_deadline was raised to {}: the driver's quiet time and 5 s",
            show_duration(scenario.phases.drain_deadline)
        )
    })
}
