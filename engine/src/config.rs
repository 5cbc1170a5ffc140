//! The configuration of an agent: Flume's properties, Flume's rules, every problem at once.
//!
//! [`check`] reads the text, finds the agent in it, drops every part that is not valid and builds
//! the rest into a [`Plan`]. It starts nothing: no port is bound, no directory created. An agent
//! runs the plan; whoever only wants to check throws it away.
//!
//! Rules, after Flume 1.11 (where they differ, it is said so):
//!
//! - A part that is not valid is left out, and what depends on it too; the rest runs. Nothing runs
//!   without a valid channel, or without any source and sink.
//! - Flume takes unknown keys in silence; here each is a problem with the nearest spelling.
//! - Flume starts nothing if an agent has none of the lists `sources`, `channels`, `sinks`; here
//!   all components configured under its name are taken, and a notice says so.
//! - A number that is too small counts as not given where the key has a default.
//!
//! A *problem* means that the agent does something else than the text seems to ask for; with
//! `--strict` each is fatal. A *notice* is worth a line and never more.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use crate::channel::ArcChannel;
use crate::context::Surroundings;
use crate::metrics::{SinkCounters, SourceCounters};
use crate::processor::ChannelProcessor;
use crate::sink::BoxSink;
use crate::source::BoxSource;

mod assemble;
mod layout;
mod spelling;

/// Something to say about a place in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The file.
    pub file: PathBuf,
    /// The line, counted from 1; 0 if it concerns the file as a whole.
    pub line: usize,
    /// The whole key, or the part of keys that is meant; may be empty.
    pub key: String,
    /// What is wrong and what follows from it.
    pub message: String,
    /// What may have been meant.
    pub suggestion: Option<String>,
    /// Whether it only says what follows from another problem: worth knowing where the rest runs,
    /// and noise where nothing does.
    pub follows: bool,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, "; did you mean {suggestion}?"),
            None => Ok(()),
        }
    }
}

/// A configuration file in memory.
#[derive(Debug, Clone)]
pub struct Text {
    /// Where it comes from, for findings.
    pub file: PathBuf,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The configuration file cannot be read.
#[derive(Debug, Error)]
#[error("cannot read the configuration file {}: {source}; name an existing file with --conf-file", file.display())]
pub struct ReadError {
    /// The file.
    pub file: PathBuf,
    /// What the system says.
    pub source: std::io::Error,
}

impl Text {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(file: &Path) -> Result<Self, ReadError> {
        match std::fs::read(file) {
            Ok(bytes) => Ok(Self {
                file: file.to_owned(),
                bytes,
            }),
            Err(source) => Err(ReadError {
                file: file.to_owned(),
                source,
            }),
        }
    }
}

/// What came out of a check.
#[derive(Debug)]
pub struct Report {
    /// Parts that are not valid, and what became of them; by file and line.
    pub problems: Vec<Finding>,
    /// What is worth saying, and no more; by file and line.
    pub notices: Vec<Finding>,
    /// What can be started; `None` if nothing can.
    pub plan: Option<Plan>,
}

impl Report {
    /// The problems that are nobody else's consequence: what is to be mended.
    pub fn causes(&self) -> impl Iterator<Item = &Finding> {
        self.problems.iter().filter(|problem| !problem.follows)
    }
}

/// An agent, built and not started.
#[derive(Debug)]
pub struct Plan {
    /// The agent's name.
    pub agent: String,
    /// The channels somebody uses.
    pub channels: Vec<ChannelPart>,
    /// The sources.
    pub sources: Vec<SourcePart>,
    /// The sinks.
    pub sinks: Vec<SinkPart>,
}

/// A channel of a plan.
#[derive(Debug)]
pub struct ChannelPart {
    /// Its name in the configuration.
    pub name: String,
    /// The name of its kind.
    pub kind: &'static str,
    /// The channel, not open.
    pub channel: ArcChannel,
}

/// A source of a plan.
#[derive(Debug)]
pub struct SourcePart {
    /// Its name in the configuration.
    pub name: String,
    /// The name of its kind.
    pub kind: &'static str,
    /// The source, not open.
    pub source: BoxSource,
    /// Its interceptors, selector and channels.
    pub processor: ChannelProcessor,
    /// Its counters, which the processor shares.
    pub counters: Arc<SourceCounters>,
}

/// A sink of a plan.
#[derive(Debug)]
pub struct SinkPart {
    /// Its name in the configuration.
    pub name: String,
    /// The name of its kind.
    pub kind: &'static str,
    /// The sink, not open.
    pub sink: BoxSink,
    /// Its channel.
    pub channel: ArcChannel,
    /// Its counters.
    pub counters: Arc<SinkCounters>,
}

/// Checks the configuration of `agent` in `texts` (later ones replace keys of earlier ones) and
/// builds what is valid. Starts nothing.
#[must_use]
pub fn check(
    texts: &[Text],
    agent: &str,
    surroundings: &Surroundings,
    env: &dyn Fn(&str) -> Option<String>,
) -> Report {
    let mut findings = Findings {
        files: texts.iter().map(|text| text.file.clone()).collect(),
        problems: Vec::new(),
        notices: Vec::new(),
    };
    let layout = layout::read(texts, agent, env, &mut findings);
    let plan =
        layout.and_then(|layout| assemble::assemble(&layout, agent, surroundings, &mut findings));
    let Findings {
        mut problems,
        mut notices,
        ..
    } = findings;
    problems.sort();
    problems.dedup();
    notices.sort();
    notices.dedup();
    Report {
        problems,
        notices,
        plan,
    }
}

/// Collects what there is to say.
#[derive(Debug)]
struct Findings {
    files: Vec<PathBuf>,
    problems: Vec<Finding>,
    notices: Vec<Finding>,
}

/// A place in the texts.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    /// Position in the list of texts.
    file: usize,
    line: usize,
}

/// A value and its place.
#[derive(Debug, Clone)]
struct Placed {
    value: String,
    place: Place,
}

impl Findings {
    fn problem(
        &mut self,
        place: Place,
        key: &str,
        message: impl Into<String>,
        suggestion: Option<&str>,
    ) {
        let finding = self.finding(place, key, message.into(), suggestion);
        self.problems.push(finding);
    }

    fn notice(&mut self, place: Place, key: &str, message: impl Into<String>) {
        let finding = self.finding(place, key, message.into(), None);
        self.notices.push(finding);
    }

    fn finding(
        &self,
        place: Place,
        key: &str,
        message: String,
        suggestion: Option<&str>,
    ) -> Finding {
        Finding {
            file: self.files.get(place.file).cloned().unwrap_or_default(),
            line: place.line,
            key: key.to_owned(),
            message,
            suggestion: suggestion.map(str::to_owned),
            follows: false,
        }
    }

    /// A problem that only follows from another one, unless `root` says that there is none.
    fn consequence(&mut self, place: Place, key: &str, message: impl Into<String>, root: bool) {
        let finding = self.finding(place, key, message.into(), None);
        self.problems.push(Finding {
            follows: !root,
            ..finding
        });
    }
}

/// The settings of one component as they stand in the text.
#[derive(Debug, Clone, Default)]
struct Component {
    /// What its keys begin with, without the last dot: `a1.sinks.k1`.
    prefix: String,
    name: String,
    settings: BTreeMap<String, Placed>,
    /// The place of its first key.
    place: Place,
}

impl Component {
    fn get(&self, key: &str) -> Option<&Placed> {
        self.settings.get(key)
    }

    /// The place of `key`, or of the component where the key is not given.
    fn place_of(&self, key: &str) -> Place {
        self.get(key).map_or(self.place, |placed| placed.place)
    }

    fn full(&self, key: &str) -> String {
        if key.is_empty() {
            self.prefix.clone()
        } else {
            format!("{}.{key}", self.prefix)
        }
    }

    /// The settings below `group.`, as a component of their own.
    fn below(&self, group: &str, name: &str) -> Component {
        let dotted = format!("{group}.");
        let below = self.settings.iter().filter_map(|(key, placed)| {
            Some((key.strip_prefix(&dotted)?.to_owned(), placed.clone()))
        });
        let settings: BTreeMap<_, _> = below.collect();
        let place = settings
            .values()
            .map(|placed| placed.place)
            .min_by_key(|place| place.line);
        Component {
            prefix: self.full(group),
            name: name.to_owned(),
            settings,
            place: place.unwrap_or(self.place),
        }
    }
}

#[cfg(test)]
mod tests;
