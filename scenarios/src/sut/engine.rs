//! `engine`: our own agent, `flume-bench agent`, as a process like any other.
//!
//! Its configuration is checked strictly before the run: what the agent alone would warn of and go
//! on, is an error here. Its `quiet` time is a back-off of 5 s and the longest call of its sinks:
//! 35 s, unless the HDFS sinks say otherwise with `hdfs.callTimeout`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{Command, Driver, Kind, Place, Ready};
use crate::properties::{Properties, substitute};
use crate::scenario::Scenario;
use crate::scenario::reader::Problem;
use crate::tools::Tools;

pub(super) static KIND: Kind = Kind {
    name: "engine",
    summary: "our own agent, `flume-bench agent`",
    settings: &[
        ("agent", "its name in the configuration (a1)"),
        ("config", "Flume properties, relative to the scenario"),
    ],
    read: |table, config| {
        if config.is_none() {
            table.missing("config", "the agent's Flume properties");
            return None;
        }
        Some(Arc::new(Engine {
            quiet: LONGEST_PAUSE + super::longest_call(config),
        }))
    },
};

/// The other names of the two kinds of channel that the engine has.
const FILE_CLASS: &str = "org.apache.flume.channel.file.FileChannel";
const MEMORY_CLASS: &str = "org.apache.flume.channel.MemoryChannel";

/// The longest pause of a sink or source before it tries again.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Engine {
    quiet: Duration,
}

impl Driver for Engine {
    fn name(&self) -> &'static str {
        KIND.name
    }
    fn sources(&self) -> &'static [&'static str] {
        &["avro", "exec", "netcat", "tail"]
    }
    fn stores(&self) -> &'static [&'static str] {
        &["files", "hdfs"]
    }
    fn quiet(&self) -> Duration {
        self.quiet
    }
    fn stop_within(&self) -> Duration {
        Duration::from_secs(30)
    }
    fn version(&self, _tools: &Tools) -> Option<String> {
        Some(format!("flume-bench {}", env!("CARGO_PKG_VERSION")))
    }
    fn check(&self, scenario: &Scenario, tools: &Tools) -> Vec<Problem> {
        // One that is not there has been said by the scenario, with the line that names it.
        let Some(config) = scenario.sut.config.as_ref().filter(|file| file.is_file()) else {
            return Vec::new();
        };
        let own = crate::runner::place::example_environment(scenario);
        let mut problems = (tools.check_agent)(config, &scenario.sut.agent, &|name: &str| {
            own.get(name).cloned().or_else(|| std::env::var(name).ok())
        });
        problems.extend(super::check_places(scenario));
        problems.sort();
        problems
    }
    fn command(&self, place: &Place, tools: &Tools) -> Command {
        let argv = [
            tools.agent().to_string_lossy().into_owned(),
            "agent".into(),
            "--strict".into(),
            "-n".into(),
            place.agent.clone(),
            "-c".into(),
            place.conf.to_string_lossy().into_owned(),
            "-f".into(),
            place.config.to_string_lossy().into_owned(),
            "--no-reload-conf".into(),
            "-Dflume.monitoring.type=http".into(),
            format!("-Dflume.monitoring.port={}", place.metrics_port),
        ];
        Command {
            argv: argv.into(),
            // What the agent keeps under `~/.flume` belongs to the run: the next run's agent must
            // not find the files that this one left open in another HDFS.
            env: vec![("HOME".into(), place.data.to_string_lossy().into_owned())],
        }
    }
    fn ready(&self, _into: &str) -> Ready {
        Ready {
            port: false,
            log: Some("is ready".into()),
            hopeless: None,
            within: Duration::from_secs(30),
        }
    }
    fn has_metrics(&self) -> bool {
        true
    }
    /// A file channel is read by `flume-bench stranded`; what was in a memory channel is gone. A file
    /// channel that was never made cannot be read, and then nobody can tell.
    fn stranded(&self, place: &Place, tools: &Tools) -> Result<Vec<Vec<u8>>, String> {
        let properties = Properties::read(&place.config)
            .map_err(|error| format!("{}: {error}", place.config.display()))?;
        let mut bodies = Vec::new();
        for (checkpoint, data) in file_channels(&properties, place)? {
            let text = |path: &Path| path.to_string_lossy().into_owned();
            let arguments = [
                "stranded".to_owned(),
                "--checkpoint".to_owned(),
                text(&checkpoint),
                "--data".to_owned(),
                text(&data),
            ];
            let output = crate::tools::output(tools.agent(), &arguments).map_err(|error| {
                format!(
                    "the channel in {} could not be read: {error}",
                    data.display()
                )
            })?;
            bodies.extend(output.lines().map(|line| line.as_bytes().to_vec()));
        }
        Ok(bodies)
    }
}

/// Checkpoint and data directory of every file channel of the agent, by Flume's defaults where the
/// configuration names none.
///
/// # Errors
/// Why one of them cannot be known, or that there is a channel which nobody here can read.
fn file_channels(
    properties: &Properties,
    place: &Place,
) -> Result<Vec<(PathBuf, PathBuf)>, String> {
    let mut channels = Vec::new();
    for name in properties.components(&place.agent, "channels") {
        let key = |key: &str| format!("{}.channels.{name}.{key}", place.agent);
        let kind = properties.get(&key("type")).unwrap_or_default();
        if kind.eq_ignore_ascii_case("memory") || kind == MEMORY_CLASS {
            continue;
        }
        if !kind.eq_ignore_ascii_case("file") && kind != FILE_CLASS {
            return Err(format!(
                "there is no reader for channel {name}, which is of type {kind:?}"
            ));
        }
        let directory = |key: String, default: &str| {
            let written = properties.get(&key).unwrap_or(default);
            // The engine takes the first of several.
            let first = written.split(',').next().unwrap_or_default().trim();
            let path = substitute(first, |name| environment(place, name)).map_err(|variable| {
                format!(
                    "{key} names {variable}, which nobody knows, so channel {name} cannot be found"
                )
            })?;
            Ok::<_, String>(place.data.join(match path.strip_prefix("~/") {
                Some(below) => place.data.join(below),
                None => PathBuf::from(path),
            }))
        };
        channels.push((
            directory(key("checkpointDir"), "~/.flume/file-channel/checkpoint")?,
            directory(key("dataDirs"), "~/.flume/file-channel/data")?,
        ));
    }
    Ok(channels)
}

/// A variable as the agent saw it. Its home is its own directory, and so is the one it is started in.
fn environment(place: &Place, name: &str) -> Option<String> {
    match name {
        "HOME" => Some(place.data.to_string_lossy().into_owned()),
        _ => place
            .env
            .get(name)
            .cloned()
            .or_else(|| std::env::var(name).ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place {
            run: PathBuf::from("/r"),
            data: PathBuf::from("/r/sut/data"),
            conf: PathBuf::from("/r/conf"),
            config: PathBuf::from("/r/conf/a.conf"),
            agent: "a1".into(),
            env: [("FB_DATA".to_owned(), "/r/sut/data".to_owned())].into(),
            source_port: 1,
            metrics_port: 2,
        }
    }

    #[test]
    fn what_the_agent_keeps_at_home_stays_in_the_run() {
        let place = place();
        let tools = Tools {
            program: PathBuf::from("flume-bench"),
            agent_program: None,
            check_agent: |_, _, _| Vec::new(),
        };
        let engine = Engine {
            quiet: LONGEST_PAUSE,
        };
        let command = engine.command(&place, &tools);
        let home = command
            .env
            .iter()
            .find(|(name, _)| name == "HOME")
            .map(|(_, value)| Path::new(value));
        assert!(
            home.is_some_and(|home| home.starts_with(&place.run)),
            "{:?}",
            command.env
        );
    }

    /// Where the file channels of a configuration are.
    fn channels(text: &str) -> Result<Vec<(String, String)>, String> {
        let text_of = |path: PathBuf| path.to_string_lossy().into_owned();
        let found = file_channels(&Properties::parse(text), &place())?;
        Ok(found
            .into_iter()
            .map(|(checkpoint, data)| (text_of(checkpoint), text_of(data)))
            .collect())
    }

    #[test]
    fn a_file_channel_is_found_however_it_is_written() {
        let home = "/r/sut/data/.flume/file-channel";
        for (text, checkpoint, data) in [
            (
                "a1.channels.c1.type = file\na1.channels.c1.checkpointDir = ${env:FB_DATA}/c\na1.channels.c1.dataDirs = ${env:FB_DATA}/d,/x\n",
                "/r/sut/data/c",
                "/r/sut/data/d",
            ),
            (
                "a1.channels c1\na1.channels.c1.type:FILE\na1.channels.c1.checkpointDir /c\na1.channels.c1.dataDirs : \\\n   /d\n",
                "/c",
                "/d",
            ),
            (
                "a1.channels.c1.type = file\n",
                &format!("{home}/checkpoint"),
                &format!("{home}/data"),
            ),
            (
                "a1.channels.c1.type = org.apache.flume.channel.file.FileChannel\na1.channels.c1.checkpointDir = here\na1.channels.c1.dataDirs = ~/there\n",
                "/r/sut/data/here",
                "/r/sut/data/there",
            ),
        ] {
            assert_eq!(
                channels(text),
                Ok(vec![(checkpoint.to_owned(), data.to_owned())]),
                "{text}"
            );
        }
    }

    #[test]
    fn a_channel_that_cannot_be_read_is_never_an_empty_one() {
        assert_eq!(channels("a1.channels.c1.type = memory"), Ok(Vec::new()));
        let unknown =
            channels("a1.channels.c1.type = file\na1.channels.c1.dataDirs = ${env:FB_NO_SUCH}/d");
        assert!(unknown.unwrap_err().contains("${env:FB_NO_SUCH}"));
        let other = channels(
            "a1.channels = c0 c1\na1.channels.c0.type = memory\na1.channels.c1.type = jdbc",
        );
        assert!(other.unwrap_err().contains("\"jdbc\""));
        let engine = Engine {
            quiet: LONGEST_PAUSE,
        };
        let tools = Tools {
            program: PathBuf::from("/bin/false"),
            agent_program: None,
            check_agent: |_, _, _| Vec::new(),
        };
        assert!(engine.stranded(&place(), &tools).is_err(), "no such file");
    }
}
