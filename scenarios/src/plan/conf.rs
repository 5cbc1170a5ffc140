//! What a plan reads from an agent's Flume properties: names, periods, capacities; and how it
//! changes single keys in a copy.
//!
//! The driver checks the copy as it checks any other configuration.

use std::time::Duration;

use flume_bench_reports::plan::sizing::Components;

use crate::properties::Properties;

/// The properties of one agent's file.
#[derive(Debug, Clone, Default)]
pub struct Conf {
    agent: String,
    keys: Properties,
}

/// A periodic work and its period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Period {
    /// The key that sets it, or whose default it is.
    pub key: String,
    /// How long it is.
    pub every: Duration,
}

/// A channel as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: String,
    /// Its capacity in events.
    pub capacity: u64,
}

impl Conf {
    /// Reads the text of a file for the agent of this name.
    pub fn parse(text: &str, agent: &str) -> Self {
        Self {
            agent: agent.to_owned(),
            keys: Properties::parse(text),
        }
    }

    fn get(&self, part: &str, name: &str, key: &str) -> Option<&str> {
        self.keys
            .get(&format!("{}.{part}.{name}.{key}", self.agent))
    }

    fn names(&self, part: &str) -> Vec<String> {
        let names = self.keys.components(&self.agent, part).into_iter();
        names.map(str::to_owned).collect()
    }

    /// The work that the agent does periodically, with Flume's defaults: file rolls by time and
    /// checkpoints of the file channel. A period of 0 is none.
    pub fn periods(&self) -> Vec<Period> {
        let mut found = Vec::new();
        let mut add = |part: &str, name: &str, key: &str, unit: Duration, default: u32| {
            let every = self
                .get(part, name, key)
                .map_or(Some(default), |text| text.parse().ok());
            if let Some(every) = every.filter(|every| *every > 0) {
                found.push(Period {
                    key: format!("{}.{part}.{name}.{key}", self.agent),
                    every: unit * every,
                });
            }
        };
        let second = Duration::from_secs(1);
        for sink in self.names("sinks") {
            match self.get("sinks", &sink, "type").map(str::to_lowercase) {
                Some(kind) if kind == "hdfs" => {
                    add("sinks", &sink, "hdfs.rollInterval", second, 30)
                }
                Some(kind) if kind == "file_roll" => {
                    add("sinks", &sink, "sink.rollInterval", second, 30);
                }
                _ => {}
            }
        }
        for channel in self.channels() {
            if channel.kind == "file" {
                let name = &channel.name;
                add(
                    "channels",
                    name,
                    "checkpointInterval",
                    Duration::from_millis(1),
                    30_000,
                );
            }
        }
        found
    }

    /// The channels with their capacities, or Flume's default ones.
    pub fn channels(&self) -> Vec<Channel> {
        self.names("channels")
            .into_iter()
            .map(|name| {
                let kind = self
                    .get("channels", &name, "type")
                    .unwrap_or("")
                    .to_lowercase();
                let default = if kind == "file" { 1_000_000 } else { 100 };
                let capacity = self
                    .get("channels", &name, "capacity")
                    .and_then(|text| text.parse().ok())
                    .unwrap_or(default);
                Channel {
                    name,
                    kind,
                    capacity,
                }
            })
            .collect()
    }

    /// The names for a fragment of properties: the first channel and its first sink.
    pub fn components(&self, source_batch: u64) -> Components {
        let channel = self
            .names("channels")
            .into_iter()
            .next()
            .unwrap_or_default();
        let sink = self
            .names("sinks")
            .into_iter()
            .find(|sink| self.get("sinks", sink, "channel") == Some(&channel))
            .unwrap_or_default();
        let batch_key = match self.get("sinks", &sink, "type") {
            Some("hdfs") => "hdfs.batchSize",
            Some("file_roll") => "sink.batchSize",
            Some("avro") => "batch-size",
            _ => "",
        };
        Components {
            agent: self.agent.clone(),
            channel,
            sink,
            batch_key: batch_key.to_owned(),
            source_batch,
        }
    }
}

/// The text with keys changed in place, or added at its end.
pub fn changed(text: &str, changes: &[(String, String)]) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for (key, value) in changes {
        let same = |line: &String| {
            let line = line.trim_start();
            !line.starts_with(['#', '!'])
                && line
                    .split_once(['=', ':'])
                    .is_some_and(|(written, _)| written.trim() == key)
        };
        let line = format!("{key} = {value}");
        match lines.iter().position(same) {
            Some(at) => lines[at] = line,
            None => lines.push(line),
        }
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    const HDFS: &str = include_str!("../../hdfs.conf");

    #[test]
    fn the_shipped_configuration_is_understood() {
        let conf = Conf::parse(HDFS, "a1");
        let periods = conf.periods();
        let every: Vec<(&str, u64)> = periods
            .iter()
            .map(|period| (period.key.as_str(), period.every.as_secs()))
            .collect();
        assert_eq!(
            every,
            [
                ("a1.sinks.k1.hdfs.rollInterval", 2),
                ("a1.channels.c1.checkpointInterval", 30)
            ]
        );
        let channels = conf.channels();
        assert_eq!(
            (channels[0].kind.as_str(), channels[0].capacity),
            ("file", 1_000_000)
        );
        let names = conf.components(100);
        assert_eq!(
            (names.sink.as_str(), names.batch_key.as_str()),
            ("k1", "hdfs.batchSize")
        );
    }

    #[test]
    fn keys_are_changed_in_place_or_added() {
        let changes = [
            ("a1.channels.c1.capacity".to_owned(), "40000".to_owned()),
            (
                "a1.channels.c1.checkpointInterval".to_owned(),
                "2000".to_owned(),
            ),
        ];
        let text = changed(HDFS, &changes);
        assert_eq!(text.matches("capacity = ").count(), 1);
        let conf = Conf::parse(&text, "a1");
        assert_eq!(conf.channels()[0].capacity, 40_000);
        assert_eq!(conf.periods()[1].every, Duration::from_secs(2));
        assert!(Conf::parse(HDFS, "a2").periods().is_empty());
    }
}
