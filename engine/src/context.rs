//! A component's settings, with typed access.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::clock::{Clock, SystemClock};

/// A value of the configuration file and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The value, trimmed and with its variables replaced.
    pub value: String,
    /// The line its key is on, counted from 1; 0 where it does not come from a file.
    pub line: usize,
}

/// A component cannot be built from its settings.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct ConfigError {
    /// The key at fault, without the component's prefix; empty if it is none in particular.
    pub key: String,
    /// What is wrong, and what to do about it.
    pub message: String,
}

/// What is around an agent: handed to every component through its [`Context`].
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The directory given by `--conf`, where Hadoop's `core-site.xml` and `hdfs-site.xml` are.
    pub conf_dir: Option<PathBuf>,
    /// The user's home directory, below which Flume keeps state by default (`~/.flume`).
    pub home: PathBuf,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
}

impl Default for Surroundings {
    fn default() -> Self {
        let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
        Self {
            conf_dir: None,
            home,
            clock: Arc::new(SystemClock),
        }
    }
}

/// The settings of one component. Keys lack the component's prefix (`hdfs.path`, not
/// `a1.sinks.k1.hdfs.path`).
#[derive(Debug, Clone, Default)]
pub struct Context {
    agent: String,
    name: String,
    settings: BTreeMap<String, Setting>,
    surroundings: Surroundings,
}

impl Context {
    /// The settings of component `name` of `agent`.
    #[must_use]
    pub fn new(
        agent: &str,
        name: &str,
        settings: BTreeMap<String, Setting>,
        surroundings: Surroundings,
    ) -> Self {
        Self {
            agent: agent.to_owned(),
            name: name.to_owned(),
            settings,
            surroundings,
        }
    }

    /// Settings as they would be read from lines `key = value`: for tests and for the examples of
    /// the kinds.
    #[must_use]
    pub fn from_example(name: &str, lines: &str) -> Self {
        let pairs = lines.lines().enumerate().filter_map(|(position, line)| {
            let (key, value) = line.split_once('=')?;
            let setting = Setting {
                value: value.trim().to_owned(),
                line: position + 1,
            };
            Some((key.trim().to_owned(), setting))
        });
        Self::new("a1", name, pairs.collect(), Surroundings::default())
    }

    /// The agent's name.
    #[must_use]
    pub fn agent(&self) -> &str {
        &self.agent
    }

    /// The component's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is around the agent.
    #[must_use]
    pub fn surroundings(&self) -> &Surroundings {
        &self.surroundings
    }

    /// The directory given by `--conf`.
    #[must_use]
    pub fn conf_dir(&self) -> Option<&Path> {
        self.surroundings.conf_dir.as_deref()
    }

    /// The time of day.
    #[must_use]
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.surroundings.clock)
    }

    /// `path` with a leading `~` replaced by the home directory.
    #[must_use]
    pub fn expand_home(&self, path: &str) -> PathBuf {
        match path
            .strip_prefix('~')
            .map(|rest| rest.strip_prefix('/').unwrap_or(rest))
        {
            Some(rest) if path == "~" || path.starts_with("~/") => {
                self.surroundings.home.join(rest)
            }
            _ => PathBuf::from(path),
        }
    }

    /// The value of `key`, if it is given.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.settings.get(key).map(|setting| setting.value.as_str())
    }

    /// All settings, sorted by key.
    pub fn settings(&self) -> impl Iterator<Item = (&str, &Setting)> {
        self.settings
            .iter()
            .map(|(key, setting)| (key.as_str(), setting))
    }

    /// The settings whose key begins with `prefix`, as (rest of the key, value), sorted by key.
    pub fn with_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.settings().filter_map(move |(key, setting)| {
            Some((key.strip_prefix(prefix)?, setting.value.as_str()))
        })
    }

    /// The settings below `prefix` as a context of their own, called `name`.
    #[must_use]
    pub fn below(&self, prefix: &str, name: &str) -> Context {
        let settings = self.settings.iter().filter_map(|(key, setting)| {
            Some((key.strip_prefix(prefix)?.to_owned(), setting.clone()))
        });
        Self::new(
            &self.agent,
            name,
            settings.collect(),
            self.surroundings.clone(),
        )
    }

    /// The text of `key`.
    ///
    /// # Errors
    /// If it is not given.
    pub fn text(&self, key: &str) -> Result<&str, ConfigError> {
        self.get(key)
            .ok_or_else(|| self.error(key, format!("{key} is required; add it")))
    }

    /// The text of `key`, or `default`.
    #[must_use]
    pub fn text_or<'a>(&'a self, key: &str, default: &'a str) -> &'a str {
        self.get(key).unwrap_or(default)
    }

    /// The number of `key`, or `default`.
    ///
    /// # Errors
    /// If it is given and is no number of that type.
    pub fn number<N: FromStr>(&self, key: &str, default: N) -> Result<N, ConfigError> {
        Ok(self.optional_number(key)?.unwrap_or(default))
    }

    /// The number of `key`, if it is given.
    ///
    /// # Errors
    /// If it is no number of that type.
    pub fn optional_number<N: FromStr>(&self, key: &str) -> Result<Option<N>, ConfigError> {
        let Some(text) = self.get(key) else {
            return Ok(None);
        };
        let number = text.parse().map_err(|_| {
            let kind = std::any::type_name::<N>();
            self.error(
                key,
                format!("{text:?} is not a number that fits here ({kind}); correct it"),
            )
        })?;
        Ok(Some(number))
    }

    /// The truth of `key`, or `default`. As in Flume, any word but `true` is false.
    #[must_use]
    pub fn flag(&self, key: &str, default: bool) -> bool {
        self.get(key)
            .map_or(default, |text| text.eq_ignore_ascii_case("true"))
    }

    /// The port of `key`.
    ///
    /// # Errors
    /// If it is not given or not within 0 to 65535.
    pub fn port(&self, key: &str) -> Result<u16, ConfigError> {
        self.text(key)?;
        self.number(key, 0)
    }

    /// The duration of `key`, which is a number of milliseconds.
    ///
    /// # Errors
    /// If it is given and is no whole number ≥ 0.
    pub fn millis(&self, key: &str, default: u64) -> Result<Duration, ConfigError> {
        Ok(Duration::from_millis(self.number(key, default)?))
    }

    /// The duration of `key`, which is a number of seconds.
    ///
    /// # Errors
    /// If it is given and is no whole number ≥ 0.
    pub fn seconds(&self, key: &str, default: u64) -> Result<Duration, ConfigError> {
        Ok(Duration::from_secs(self.number(key, default)?))
    }

    /// The words of `key`, separated by white space; none if it is not given.
    #[must_use]
    pub fn list(&self, key: &str) -> Vec<&str> {
        self.get(key)
            .map(|text| text.split_whitespace().collect())
            .unwrap_or_default()
    }

    /// A complaint about `key`.
    #[must_use]
    pub fn error(&self, key: &str, message: impl Into<String>) -> ConfigError {
        ConfigError {
            key: key.to_owned(),
            message: message.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_types() {
        let ctx = Context::from_example(
            "r1",
            "port = 41414\nssl = TRUE\nlate = 15\ngroups = a  b\nx.y = 1\nx.z = 2\nbad = 1k",
        );
        assert_eq!(ctx.port("port"), Ok(41414));
        assert!(ctx.flag("ssl", false) && !ctx.flag("groups", true) && ctx.flag("absent", true));
        assert_eq!(ctx.millis("late", 3), Ok(Duration::from_millis(15)));
        assert_eq!(ctx.seconds("absent", 3), Ok(Duration::from_secs(3)));
        assert_eq!(ctx.list("groups"), ["a", "b"]);
        assert_eq!(
            ctx.with_prefix("x.").collect::<Vec<_>>(),
            [("y", "1"), ("z", "2")]
        );
        assert_eq!(ctx.below("x.", "x").get("z"), Some("2"));
        assert!(
            ctx.number("bad", 0u32)
                .is_err_and(|error| error.key == "bad")
        );
        assert!(
            ctx.port("absent")
                .is_err_and(|error| error.message.contains("required"))
        );
        assert!(ctx.text("absent").is_err());
    }

    #[test]
    fn a_tilde_is_the_home_directory() {
        let mut ctx = Context::default();
        ctx.surroundings.home = PathBuf::from("/home/u");
        assert_eq!(ctx.expand_home("~/.flume/x"), Path::new("/home/u/.flume/x"));
        assert_eq!(ctx.expand_home("/a/~b"), Path::new("/a/~b"));
        assert_eq!(ctx.expand_home("~other/x"), Path::new("~other/x"));
    }
}
