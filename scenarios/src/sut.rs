//! Systems under test: a driver knows how to prepare, start, find ready and stop one kind of
//! system, where its logs and metrics are, how long it may be silent while it still works
//! (`quiet`), and which sources and stores it can be given.
//!
//! Each driver is one file; one line in [`KINDS`] registers it. A driver only describes; the
//! runner spawns, signals and reaps.

mod command;
mod decoy;
mod engine;
mod flume;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::properties::Properties;
use crate::scenario::Scenario;
use crate::scenario::reader::{Problem, Reader};
use crate::tools::Tools;

/// Makes a driver from `[sut]` and the configuration file; problems go to the reader.
pub type ReadDriver = fn(&Reader<'_, '_>, Option<&Path>) -> Option<Arc<dyn Driver>>;

/// A kind of driver.
#[derive(Debug)]
pub struct Kind {
    /// Name, as in `[sut] driver = "…"`.
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// Its own keys under `[sut]`, for `list`.
    pub settings: &'static [(&'static str, &'static str)],
    /// Reads the driver's own keys; problems go to the reader.
    pub read: ReadDriver,
}

/// Every driver, by name.
pub static KINDS: &[&Kind] = &[&command::KIND, &decoy::KIND, &engine::KIND, &flume::KIND];

/// The variables that the run itself sets for a system under test; `runner::place` says what each
/// stands for.
pub const OWN_ENVIRONMENT: &[&str] = &[
    "FB_DATA",
    "FB_LOG",
    "FB_NAMENODE",
    "FB_SOURCE_PORT",
    "FB_STORE",
];

/// Where a system under test lives during one run.
#[derive(Debug, Clone)]
pub struct Place {
    /// `runs/<id>`.
    pub run: PathBuf,
    /// The system's own directory (channels, positions, pid files): `runs/<id>/sut/data`.
    pub data: PathBuf,
    /// The directory given by `-c`: `core-site.xml`, `hdfs-site.xml`, …
    pub conf: PathBuf,
    /// Its configuration file, a copy in the run's directory.
    pub config: PathBuf,
    /// The agent's name.
    pub agent: String,
    /// The environment: `FB_SOURCE_PORT`, `FB_STORE`, `FB_DATA`, …
    pub env: BTreeMap<String, String>,
    /// The port its source is told to listen on.
    pub source_port: u16,
    /// The port for its metrics.
    pub metrics_port: u16,
}

/// What is to be started.
#[derive(Debug, Clone)]
pub struct Command {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Environment on top of the place's.
    pub env: Vec<(String, String)>,
}

/// How a system shows that it is ready. All that is named must hold.
#[derive(Debug, Clone, Default)]
pub struct Ready {
    /// Something accepts connections on the source's port.
    pub port: bool,
    /// A line with this text stands in its log (since the last start).
    pub log: Option<String>,
    /// A line with this text says that it never will be.
    pub hopeless: Option<String>,
    /// The longest it may take.
    pub within: Duration,
}

/// What is wrong with Flume properties that do not name the places which the run makes up: the load
/// would go past the agent, or what it writes would never be seen.
fn check_places(scenario: &Scenario) -> Vec<Problem> {
    let Some((config, text)) = scenario
        .sut
        .config
        .as_ref()
        .and_then(|config| Some((config, std::fs::read_to_string(config).ok()?)))
    else {
        return Vec::new();
    };
    let is_comment = |line: &str| line.trim_start().starts_with(['#', '!']);
    let settings: Vec<&str> = text.lines().filter(|line| !is_comment(line)).collect();
    let settings = settings.join("\n");
    let into = scenario.load.into;
    let (source, remedy) = match into {
        "avro" | "netcat" => ("FB_SOURCE_PORT", "write port = ${env:FB_SOURCE_PORT}"),
        _ => (
            "FB_LOG",
            "write ${env:FB_LOG} where the source names its file",
        ),
    };
    let mut wanted = vec![(
        source,
        format!("no source takes the load into \"{into}\""),
        remedy,
    )];
    if scenario.store.kind() == "files" {
        wanted.push((
            "FB_STORE",
            "no sink writes into the store".to_owned(),
            "write sink.directory = ${env:FB_STORE}",
        ));
    }
    let missing = wanted
        .into_iter()
        .filter(|(name, ..)| !settings.contains(&format!("${{env:{name}")))
        .map(|(name, what, remedy)| {
            Problem::at(config, 0, format!("{what}: nothing refers to {name}")).remedy(remedy)
        });
    missing
        .chain(speaks_otherwise(scenario, config, &text))
        .collect()
}

/// What load over the network can speak.
const SPOKEN: [&str; 2] = ["avro", "netcat"];

/// The source that the load is sent to speaks another protocol: what it makes of the bytes would be held
/// against the agent.
fn speaks_otherwise(scenario: &Scenario, config: &Path, text: &str) -> Option<Problem> {
    let into = scenario.load.into;
    if !SPOKEN.contains(&into) {
        return None;
    }
    let properties = Properties::parse(text);
    let sources = properties.components(&scenario.sut.agent, "sources");
    sources.into_iter().find_map(|source| {
        let of =
            |key: &str| properties.get(&format!("{}.sources.{source}.{key}", scenario.sut.agent));
        let kind = of("type")?.to_lowercase();
        // A class of Flume's has the name within its own: org.apache.flume.source.AvroSource. What is
        // neither of them is said by the agent, or is somebody's own.
        let spoken = SPOKEN.into_iter().find(|spoken| kind.contains(spoken))?;
        let other = of("port")?.contains("${env:FB_SOURCE_PORT") && spoken != into;
        other.then(|| {
            let what = format!(
                "source {source} takes the load, which goes into \"{into}\", and is of type {spoken}"
            );
            Problem::at(config, 0, what).remedy(format!("write type = {into}"))
        })
    })
}

/// What a call of a sink may take where nothing else is written: `hdfs.callTimeout` of Flume.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// What `hdfs.callTimeout = 0`, no limit, comes to.
const NO_CALL_TIMEOUT: Duration = Duration::from_secs(600);

/// The longest that a call of a sink in these Flume properties may take: `hdfs.callTimeout` of its
/// HDFS sinks, and what is usual for a sink of another kind, or where that is not written as a plain
/// number.
fn longest_call(config: Option<&Path>) -> Duration {
    config
        .and_then(|config| Properties::read(config).ok())
        .map_or(CALL_TIMEOUT, |settings| longest_call_in(&settings))
}

fn longest_call_in(settings: &Properties) -> Duration {
    let calls = settings.iter().filter_map(|(key, kind)| {
        let sink = key.strip_suffix(".type")?;
        sink.split('.').nth(1).filter(|part| *part == "sinks")?;
        let is_hdfs = kind.eq_ignore_ascii_case("hdfs") || kind.ends_with(".HDFSEventSink");
        let written = settings
            .get(&format!("{sink}.hdfs.callTimeout"))
            .filter(|_| is_hdfs)
            .and_then(|millis| millis.parse().ok());
        Some(match written {
            None => CALL_TIMEOUT,
            Some(0) => NO_CALL_TIMEOUT,
            Some(millis) => Duration::from_millis(millis),
        })
    });
    calls.max().unwrap_or(CALL_TIMEOUT)
}

/// One kind of system under test.
pub trait Driver: Debug + Send + Sync {
    /// The kind's name.
    fn name(&self) -> &'static str;
    /// The words of `load.into` that it can be given.
    fn sources(&self) -> &'static [&'static str];
    /// The kinds of store that it can deliver into.
    fn stores(&self) -> &'static [&'static str];
    /// Longest silence of a working system: its longest back-off and call timeout together.
    fn quiet(&self) -> Duration;
    /// How long it may take to end after SIGTERM before it is killed.
    fn stop_within(&self) -> Duration;
    /// Name and version, as far as they can be known without starting it.
    fn version(&self, tools: &Tools) -> Option<String>;
    /// What is wrong with the machine or the configuration, found without starting anything.
    fn check(&self, scenario: &Scenario, tools: &Tools) -> Vec<Problem>;
    /// Makes files that must be there before the start.
    fn prepare(&self, _place: &Place, _tools: &Tools) -> std::io::Result<()> {
        Ok(())
    }
    /// What to start.
    fn command(&self, place: &Place, tools: &Tools) -> Command;
    /// How it shows that it is ready.
    fn ready(&self, into: &str) -> Ready;
    /// Whether it serves Flume's counters as JSON on the place's metrics port.
    fn has_metrics(&self) -> bool {
        false
    }
    /// The bodies of the events that its channels still hold after its end. `Err`: nobody can tell,
    /// and why.
    fn stranded(&self, _place: &Place, _tools: &Tools) -> Result<Vec<Vec<u8>>, String> {
        Err(format!(
            "there is no reader for the channels of {}",
            self.name()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_call_is_that_of_the_slowest_sink() {
        let sink = |name: &str, kind: &str, timeout: &str| {
            let timeout = match timeout {
                "" => String::new(),
                millis => format!("a1.sinks.{name}.hdfs.callTimeout = {millis}\n"),
            };
            format!("a1.sinks.{name}.type = {kind}\n{timeout}")
        };
        let class = "org.apache.flume.sink.hdfs.HDFSEventSink";
        for (text, seconds) in [
            (String::new(), 30),
            (sink("k1", "hdfs", ""), 30),
            (sink("k1", "hdfs", "5000"), 5),
            (sink("k1", class, "60000"), 60),
            (sink("k1", "hdfs", "0"), 600),
            (sink("k1", "hdfs", "${env:TIMEOUT}"), 30),
            (sink("k1", "hdfs", "5000") + &sink("k2", "hdfs", ""), 30),
            (sink("k1", "hdfs", "5000") + &sink("k2", "avro", ""), 30),
            // Another kind does not know the key; a comment says nothing.
            (sink("k1", "avro", "5000"), 30),
            (
                sink("k1", "hdfs", "5000") + "# a1.sinks.k1.hdfs.callTimeout = 9000",
                5,
            ),
            (sink("k1", "hdfs", "5000") + "a1.sources.r1.type = avro", 5),
            (sink("k1", "hdfs", "60000").replace(" = ", ":"), 60),
        ] {
            assert_eq!(
                longest_call_in(&Properties::parse(&text)),
                Duration::from_secs(seconds),
                "{text}"
            );
        }
    }
}
