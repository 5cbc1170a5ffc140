//! Faults: what is done to a running system, how it is undone, and how it is known to have
//! happened.
//!
//! One kind, one file, one line in [`KINDS`]. A [`Fault`] has three duties:
//!
//! - **inject** it. Twice in a row is as good as once.
//! - **heal** it, always: after a failed or half-done injection, twice, and while the run is being
//!   aborted. What cannot be healed is an error, never a panic.
//! - find a **witness**: evidence, taken by somebody else than the injector, that it took effect on
//!   the system under test. The data path of a proxy saw what became of an attempt; the kernel told
//!   the reaper of "signal 9"; an observer saw state T. Without a witness the trial is void.
//!
//! A fault acts on a [`World`]: links, processes, and a way to start them again, by the names that
//! the scenario uses. When a fault strikes, for how long and how often is not its business; the
//! runner decides that.

mod cut_link;
pub mod evidence;
mod kill;
mod outage;
mod pause;
mod slow_link;

#[cfg(test)]
mod conformance;

use std::fmt::Debug;
use std::time::Instant;

use serde::de::DeserializeOwned;

use crate::process::{Process, ProcessError, Signal, Watcher};
use crate::proxy::{Conditions, Link, RuleId};

/// A kind of fault.
#[derive(Debug)]
pub struct Kind {
    /// Name, as in `[[fault]] kind = "…"`.
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// Its own keys, each with its meaning, unit and default; for `list`.
    pub settings: &'static [(&'static str, &'static str)],
    /// The smallest settings that work, in TOML.
    pub example: &'static str,
    /// What it needs of the machine, in words.
    pub needs: &'static str,
    /// Makes one from its own keys, those that all faults share taken out.
    pub build: fn(toml::Table) -> Result<Box<dyn Fault>, FaultError>,
}

/// Every kind, by name.
pub static KINDS: &[&Kind] = &[
    &cut_link::KIND,
    &kill::KIND,
    &outage::KIND,
    &pause::KIND,
    &slow_link::KIND,
];

/// What went wrong with a fault.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// Its settings are wrong. Names the key in back-quotes.
    #[error("{message}")]
    Config {
        /// What is wrong, and what is allowed.
        message: String,
    },
    /// There is no such link in this run.
    #[error("there is no link \"{link}\" in this run to inject {kind} on")]
    NoLink {
        /// Kind of the fault.
        kind: &'static str,
        /// The link.
        link: String,
    },
    /// There is no such process in this run.
    #[error("there is no process \"{target}\" in this run to inject {kind} on")]
    NoTarget {
        /// Kind of the fault.
        kind: &'static str,
        /// The target.
        target: String,
    },
    /// The target had ended by itself before the fault struck.
    #[error("{target} is not running, so {kind} cannot strike it; look into its log {log}")]
    NotRunning {
        /// Kind of the fault.
        kind: &'static str,
        /// The target.
        target: String,
        /// Its log file.
        log: String,
    },
    /// A signal could not be sent.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// What was killed could not be started again.
    #[error("starting {role} again after {kind}: {why}")]
    Restart {
        /// Kind of the fault.
        kind: &'static str,
        /// The process.
        role: String,
        /// What went wrong.
        why: String,
    },
}

/// Evidence that a fault took effect on the system under test.
#[derive(Debug, Clone)]
pub struct Witness {
    /// What sort of evidence it is: `bytes held back`, `signal 9 and a new pid`, …
    pub what: String,
    /// The evidence itself: who, where, how much.
    pub evidence: String,
    /// When it was seen.
    pub at: Instant,
}

/// The names in a scenario that a fault acts on, to be checked before anything starts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Touches {
    /// Links, `from->to`.
    pub links: Vec<String>,
    /// Targets: a role, or `store` for all its nodes.
    pub targets: Vec<String>,
}

/// One fault. It can strike again after it has been healed.
pub trait Fault: Debug + Send {
    /// Name of its kind.
    fn kind(&self) -> &'static str;

    /// What it acts on.
    fn touches(&self) -> Touches;

    /// Makes it happen. Does nothing if it is happening.
    ///
    /// # Errors
    /// When what it acts on is not there or not running. Part of it may then have happened: heal.
    fn inject(&mut self, world: &dyn World) -> Result<(), FaultError>;

    /// Undoes it, and does all it can even if a part fails. Does nothing if it is not happening.
    ///
    /// # Errors
    /// The first thing that failed. It may be tried again.
    fn heal(&mut self, world: &dyn World) -> Result<(), FaultError>;

    /// Evidence about the latest strike. Best asked for after healing; kinds that do not need to
    /// see the recovery may have it earlier.
    fn witness(&self, world: &dyn World) -> Option<Witness>;
}

/// What faults act on. The runner implements it.
///
/// The last three are the hands of the injector and have one right implementation; only doubles
/// that do nothing, in tests, have another.
pub trait World: Send + Sync {
    /// The role of the system under test: `agent`.
    fn sut(&self) -> &str {
        "agent"
    }

    /// A link by name, `from->to`.
    fn link(&self, name: &str) -> Option<Link>;

    /// The links that lead to a process: how others would notice that it is gone.
    fn links_to(&self, role: &str) -> Vec<Link>;

    /// The roles of the processes that make up a target: `store` is all its nodes in the order in
    /// which they are to be started, a role is itself. Empty: unknown, or not a process of ours.
    fn roles(&self, target: &str) -> Vec<String>;

    /// The process that has this role now, ended or not.
    fn process(&self, role: &str) -> Option<Process>;

    /// The observer of process states.
    fn watcher(&self) -> &Watcher;

    /// The end of this process is wanted from now on, until it is started again.
    fn expect_end(&self, role: &str);

    /// Starts what was killed again; returns when it is under way, and may wait until it is ready.
    ///
    /// # Errors
    /// Why it could not be started.
    fn restart(&self, role: &str) -> Result<(), String>;

    /// Adds conditions to a link.
    fn impose(&self, link: &Link, conditions: Conditions) -> RuleId {
        link.impose(conditions)
    }

    /// Removes conditions from a link.
    fn lift(&self, link: &Link, rule: RuleId) {
        link.lift(rule);
    }

    /// Sends a signal to a process, or to its whole group.
    ///
    /// # Errors
    /// When the system refuses; a process that has ended is `Ok(false)`.
    fn signal(&self, process: &Process, to: Reach, signal: Signal) -> Result<bool, ProcessError> {
        match to {
            Reach::Process => process.signal(signal),
            Reach::Group => process.signal_group(signal),
        }
    }
}

/// Whom a signal is sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The process alone.
    Process,
    /// Everyone in its group.
    Group,
}

/// The time over which a fault holds.
#[derive(Debug, Clone, Copy)]
struct Window {
    from: Instant,
    to: Option<Instant>,
}

impl Window {
    fn open() -> Self {
        Self {
            from: Instant::now(),
            to: None,
        }
    }

    fn close(&mut self) {
        self.to.get_or_insert_with(Instant::now);
    }

    fn is_open(&self) -> bool {
        self.to.is_none()
    }

    /// Its end, or now while it is open.
    fn until(&self) -> Instant {
        self.to.unwrap_or_else(Instant::now)
    }
}

/// Reads the settings of a kind.
fn configured<T: DeserializeOwned>(table: toml::Table) -> Result<T, FaultError> {
    table.try_into().map_err(|error: toml::de::Error| {
        // The second line of the message says in which key; people read one line.
        let lines: Vec<&str> = error.message().trim().lines().map(str::trim).collect();
        FaultError::Config {
            message: lines.join(" "),
        }
    })
}

/// The link of that name.
fn find_link(world: &dyn World, kind: &'static str, name: &str) -> Result<Link, FaultError> {
    world.link(name).ok_or_else(|| FaultError::NoLink {
        kind,
        link: name.to_owned(),
    })
}

/// The living processes that make up a target.
fn find_living(
    world: &dyn World,
    kind: &'static str,
    target: &str,
) -> Result<Vec<Process>, FaultError> {
    let no_target = || FaultError::NoTarget {
        kind,
        target: target.to_owned(),
    };
    let roles = world.roles(target);
    let found: Vec<Process> = roles
        .iter()
        .filter_map(|role| world.process(role))
        .collect();
    if found.is_empty() || found.len() < roles.len() {
        return Err(no_target());
    }
    if let Some(ended) = found.iter().find(|process| !process.alive()) {
        return Err(FaultError::NotRunning {
            kind,
            target: ended.role().to_owned(),
            log: ended.log().display().to_string(),
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_unique_and_every_example_builds() {
        let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
        for kind in KINDS {
            let fault = (kind.build)(toml::from_str(kind.example).unwrap()).unwrap();
            assert_eq!(fault.kind(), kind.name);
            let touches = fault.touches();
            assert!(
                touches.links.len() + touches.targets.len() == 1,
                "{touches:?}"
            );
            assert!(!kind.summary.is_empty() && !kind.needs.is_empty());
        }
    }

    /// The list shown to people is the list that is accepted.
    #[test]
    fn settings_are_exactly_the_keys_that_are_read() {
        for kind in KINDS {
            let mut table: toml::Table = toml::from_str(kind.example).unwrap();
            table.insert("no_such_key".to_owned(), "x".into());
            let message = (kind.build)(table).unwrap_err().to_string();
            assert!(message.contains("unknown field `no_such_key`"), "{message}");
            let mut accepted: Vec<&str> = message.split('`').skip(3).step_by(2).collect();
            let mut listed: Vec<&str> = kind.settings.iter().map(|(name, _)| *name).collect();
            accepted.sort_unstable();
            listed.sort_unstable();
            assert_eq!(accepted, listed, "{}: {message}", kind.name);
        }
    }

    #[test]
    fn wrong_settings_name_the_key_and_what_is_allowed() {
        let cases = [
            ("cut_link", "how = 'drop'", "missing field `link`"),
            (
                "cut_link",
                "link = 'a->b'\nhow = 'snip'",
                "unknown variant `snip`, expected `drop` or `reset`",
            ),
            (
                "cut_link",
                "link = 7",
                "invalid type: integer `7`, expected a string",
            ),
            (
                "outage",
                "target = 'store'\nhow = 'fire'",
                "unknown variant `fire`",
            ),
            (
                "slow_link",
                "link = 'a->b'",
                "at least one of `latency`, `jitter` and `bandwidth`",
            ),
            (
                "slow_link",
                "link = 'a->b'\nlatency = '5'",
                "\"5\" is not a duration",
            ),
            (
                "slow_link",
                "link = 'a->b'\nlatency = '5ms'\njitter = '6ms'",
                "`jitter`",
            ),
            (
                "slow_link",
                "link = 'a->b'\nbandwidth = '1 MB'",
                "such as \"1 MB/s\"",
            ),
            (
                "slow_link",
                "link = 'a->b'\nbandwidth = '0/s'",
                "such as \"1 MB/s\"",
            ),
        ];
        for (kind, text, expected) in cases {
            let kind = KINDS.iter().find(|known| known.name == kind).unwrap();
            let message = (kind.build)(toml::from_str(text).unwrap())
                .unwrap_err()
                .to_string();
            assert!(message.contains(expected), "{message}");
            assert!(!message.contains('\n'), "{message}");
        }
    }
}
