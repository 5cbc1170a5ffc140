//! `engine`: our own agent, `flume-bench agent`, as a process like any other.
//!
//! Its configuration is checked strictly before the run: what the agent alone would warn of and go
//! on, is an error here. Its `quiet` time is a back-off of 5 s and the longest call of its sinks:
//! 35 s, unless the HDFS sinks say otherwise with `hdfs.callTimeout`.

use std::sync::Arc;
use std::time::Duration;

use super::{Command, Driver, Kind, Place, Ready};
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
    /// A file channel is read by `flume-bench stranded`; what was in a memory channel is gone.
    fn stranded(&self, place: &Place, tools: &Tools) -> Result<Vec<Vec<u8>>, String> {
        let text = std::fs::read_to_string(&place.config)
            .map_err(|error| format!("{}: {error}", place.config.display()))?;
        let mut bodies = Vec::new();
        for (checkpoint, data) in file_channels(&text, place) {
            let arguments =
                ["stranded", "--checkpoint", &checkpoint, "--data", &data].map(str::to_owned);
            let output = crate::tools::output(tools.agent(), &arguments)
                .map_err(|error| format!("the channel in {data} could not be read: {error}"))?;
            bodies.extend(output.lines().map(|line| line.as_bytes().to_vec()));
        }
        Ok(bodies)
    }
}

/// Checkpoint and data directory of every channel whose configuration names them.
fn file_channels(text: &str, place: &Place) -> Vec<(String, String)> {
    let value = |key: &str| {
        let line = text.lines().find(|line| {
            line.split('=')
                .next()
                .is_some_and(|written| written.trim() == key)
        })?;
        let mut value = line.split_once('=')?.1.trim().to_owned();
        for (name, filled) in &place.env {
            value = value.replace(&format!("${{env:{name}}}"), filled);
        }
        Some(
            value
                .split(',')
                .next()
                .unwrap_or_default()
                .trim()
                .to_owned(),
        )
    };
    let channels = text.lines().filter_map(|line| {
        line.split('=')
            .next()?
            .trim()
            .strip_suffix(".checkpointDir")
    });
    channels
        .filter_map(|channel| {
            Some((
                value(&format!("{channel}.checkpointDir"))?,
                value(&format!("{channel}.dataDirs"))?,
            ))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::{Path, PathBuf};

    #[test]
    fn what_the_agent_keeps_at_home_stays_in_the_run() {
        let place = Place {
            run: PathBuf::from("/r"),
            data: PathBuf::from("/r/sut/data"),
            conf: PathBuf::from("/r/conf"),
            config: PathBuf::from("/r/conf/a.conf"),
            agent: "a1".into(),
            env: [("FB_DATA".to_owned(), "/r/sut/data".to_owned())].into(),
            source_port: 1,
            metrics_port: 2,
        };
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
        let text = "a1.channels.c1.checkpointDir = ${env:FB_DATA}/c\na1.channels.c1.dataDirs = ${env:FB_DATA}/d,/x\n";
        assert_eq!(
            file_channels(text, &place),
            [("/r/sut/data/c".to_owned(), "/r/sut/data/d".to_owned())]
        );
    }
}
