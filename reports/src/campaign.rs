//! The record of a campaign: many short runs of one scenario, each with faults of its own, and what
//! they say together.
//!
//! `campaign.json` is one JSON object under the same rules as a run's record ([`crate::record`]):
//! integers only, times in µs, 64-bit seeds as text, what could not be known null with its reason,
//! `content_sha256` over everything else. Its shape is [`CampaignRecord`]. A trial is kept as a
//! summary; the run's own record lies in its directory.
//!
//! What counts as what:
//!
//! - A trial **fails** when any objective was missed, void or not: a loss stays a loss.
//! - A trial is **void** when it does not fail and proves nothing: a fault without a witness, with
//!   nothing in flight, or that stopped nothing; a run that was interrupted or could not be judged.
//! - n = passing trials + failing trials; void ones are in neither. Over 10 % void of those tried:
//!   inconclusive.

pub mod analysis;
pub mod conclude;
mod file;
pub mod render;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::record::{FileUsed, Host, Known, Text64, VersionOf};
use crate::verdict::{ExitCode, Verdict};

pub use file::{Error, read, to_text, write};

/// The version this crate writes, and the newest it reads.
pub const SCHEMA_VERSION: u32 = 1;

/// The JSON schema of `campaign.json`, as published beside the crate.
pub const SCHEMA: &str = include_str!("../schemas/campaign.v1.json");

/// A campaign: what was planned, what each trial came to, what follows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CampaignRecord {
    /// The version of this shape.
    pub schema_version: u32,
    /// The verdict of the campaign.
    pub verdict: Verdict,
    /// The exit code of the campaign.
    pub exit_code: ExitCode,
    /// Why, most important first; whole sentences.
    pub reasons: Vec<String>,
    /// Whether it was interrupted; it can be resumed.
    pub interrupted: bool,
    /// The command that does it again.
    pub repeat: String,
    /// Which campaign this is.
    pub identity: Identity,
    /// What was fixed before the first trial.
    pub plan: Plan,
    /// The trials in the order of their numbers, from 1 without gaps.
    pub trials: Vec<Trial>,
    /// The smallest scenarios found, one a signature.
    pub shrunk: Vec<Shrunk>,
}

/// Which campaign, of what, where.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Identity {
    /// Its id: the name of its directory.
    pub campaign: String,
    /// The scenario's name.
    pub scenario: String,
    /// Where the scenario was read, as given.
    pub scenario_path: String,
    /// The scenario after overrides, then its configuration, with their SHA-256.
    pub files: Vec<FileUsed>,
    /// The seed that every trial's seed follows from.
    pub seed: Text64,
    /// The command line, one entry an argument.
    pub command_line: Vec<String>,
    /// The system under test: driver.
    pub driver: String,
    /// Its version.
    pub sut_version: Known<String>,
    /// The store: kind.
    pub store: String,
    /// Its provider.
    pub provider: String,
    /// Its server's version.
    pub store_version: Known<String>,
    /// The machine.
    pub host: Host,
    /// The commit this program was built from.
    pub commit: Known<String>,
    /// Versions of this program and of what it relied on.
    pub versions: Vec<VersionOf>,
    /// When it began, RFC 3339.
    pub started: String,
    /// When it ended, RFC 3339.
    pub ended: Known<String>,
}

/// How the number of trials was fixed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "rule", rename_all = "snake_case")]
pub enum Size {
    /// So many are tried.
    Trials {
        /// How many.
        trials: u32,
    },
    /// As many as fit into a time, computed after a pilot that counts for nothing.
    Budget {
        /// The time, µs.
        budget_us: u64,
        /// What one pilot trial took, µs.
        pilot_us: u64,
        /// How many that makes.
        trials: u32,
    },
    /// Until the upper bound is reached: so many valid trials with 0, 1, … failing.
    UntilUpper {
        /// The bound, in millionths.
        upper_ppm: u32,
        /// The valid trials wanted with 0, 1, … failing ones, up to those allowed.
        boundaries: Vec<u32>,
    },
}

impl Default for Size {
    fn default() -> Self {
        Self::Trials { trials: 0 }
    }
}

/// What was fixed before the first trial.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Plan {
    /// How many trials.
    pub size: Size,
    /// How many may fail.
    pub allow_failures: u32,
    /// How many run at the same time.
    pub jobs: u32,
    /// The phases of a trial, µs.
    pub warm_up_us: u64,
    /// Judged load, µs.
    pub steady_us: u64,
    /// The longest drain, µs.
    pub drain_deadline_us: u64,
    /// Faults at the same time, at most.
    pub max_overlap: u32,
    /// Faults of a trial, at most.
    pub max_faults: u32,
    /// What the faults were drawn from.
    pub menu: Vec<MenuEntry>,
    /// Kinds of faults that are known and not on the menu.
    pub left_out: Vec<String>,
    /// The load in words.
    pub load: String,
    /// Each objective in words.
    pub objectives: Vec<String>,
    /// What the scenario can be held to: the guarantees that it has an objective for.
    pub guarantees: Vec<String>,
}

/// One entry of the fault menu.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MenuEntry {
    /// The kind of fault.
    pub kind: String,
    /// What it may act on.
    pub targets: Vec<String>,
    /// Earliest and latest instant, µs after the start of steady.
    pub at_us: [u64; 2],
    /// Shortest and longest time, µs.
    pub for_us: [u64; 2],
    /// Other settings, each with the values to draw from.
    pub settings: BTreeMap<String, Vec<String>>,
}

/// What a trial came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Valid, and nothing was missed.
    Passed,
    /// An objective was missed.
    Failed,
    /// It proves nothing.
    #[default]
    Void,
}

impl Outcome {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Void => "void",
        }
    }
}

/// One trial.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Trial {
    /// Its number, from 1.
    pub number: u32,
    /// The seed of its run.
    pub seed: Text64,
    /// The run's directory, relative to the campaign's; empty where none was made.
    pub run: String,
    /// What it came to.
    pub outcome: Outcome,
    /// Why it is void, where it is; why it would be, where it fails all the same.
    pub void: Vec<String>,
    /// Its faults, in the order of their instants.
    pub schedule: Vec<Strike>,
    /// What became of the events.
    pub counts: Counts,
    /// What was missed.
    pub failures: Vec<Failure>,
    /// The fault windows and how the system came back from them.
    pub windows: Vec<Recovery>,
    /// Wall time of the whole trial, µs.
    pub took_us: u64,
    /// The part of it that was load and drain, µs.
    pub load_and_drain_us: u64,
}

/// One fault of a trial: as drawn, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Strike {
    /// Its name in the run.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// The link or process it acted on.
    pub target: String,
    /// Other settings.
    pub parameters: BTreeMap<String, String>,
    /// When, µs after the start of steady.
    pub at_us: u64,
    /// For how long, µs.
    pub for_us: u64,
    /// The evidence that it took effect, or why there is none.
    pub witness: Known<String>,
    /// Why its window is void, where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub void: Option<String>,
}

impl Strike {
    /// `kill agent, 1.2 s after the start for 500 ms`.
    #[must_use]
    pub fn describe(&self) -> String {
        let parameters: Vec<String> = self
            .parameters
            .iter()
            .map(|(key, value)| format!("{key} {value}"))
            .collect();
        let parameters = if parameters.is_empty() {
            String::new()
        } else {
            format!(" ({})", parameters.join(", "))
        };
        format!(
            "{} {}{parameters}, at {} for {}",
            self.kind,
            self.target,
            crate::show::duration(self.at_us),
            crate::show::duration(self.for_us)
        )
    }
}

/// What became of a trial's events; the classes are those of a run's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[expect(
    missing_docs,
    reason = "the classes are defined once, for the run's record"
)]
pub struct Counts {
    pub issued: u64,
    pub owed: u64,
    pub stored: u64,
    pub lost: u64,
    pub unpublished: u64,
    pub duplicated: u64,
    pub corrupted: u64,
    pub malformed: u64,
    pub unexpected: u64,
    pub reordered: u64,
}

/// One thing a trial missed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Failure {
    /// The class: `lost`, `corrupted`, …, `liveness`, or the objective's name.
    pub class: String,
    /// The guarantee it contradicts, by its key.
    pub guarantee: String,
    /// How many events, where events are counted.
    pub events: u64,
    /// What was missed; a sentence.
    pub sentence: String,
    /// Where it happened, for losses.
    pub places: Vec<Place>,
}

impl Failure {
    /// What makes two failures the same: class, and hop (empty where it is not known).
    #[must_use]
    pub fn signature(&self) -> Signature {
        let most = self.places.iter().max_by_key(|place| place.events);
        Signature {
            class: self.class.clone(),
            hop: most
                .and_then(|place| place.hop.value().cloned())
                .unwrap_or_default(),
        }
    }
}

/// Class and hop of a failure.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Signature {
    /// The class.
    pub class: String,
    /// The hop; empty where it could not be placed.
    pub hop: String,
}

/// Where events were lost.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Place {
    /// How many.
    pub events: u64,
    /// `generator`, `source`, `channel`, `sink` or `store`.
    pub hop: Known<String>,
    /// The fault in whose window.
    pub window: Known<String>,
    /// What shows it.
    pub evidence: String,
}

/// A stretch of time after a heal: it was seen to end, or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "end", rename_all = "snake_case")]
pub enum Span {
    /// It ended after so many µs.
    Observed {
        /// µs.
        us: u64,
    },
    /// It had not ended when the next fault, or the end of the trial, cut it off.
    Censored {
        /// µs watched.
        us: u64,
    },
    /// It never will: the system was dead for good.
    Never,
    /// It could not be measured.
    Unknown {
        /// Why.
        reason: String,
    },
}

impl Default for Span {
    fn default() -> Self {
        Self::Unknown {
            reason: "not recorded".into(),
        }
    }
}

/// One fault window, overlapping faults merged, and the four parts of the way back.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Recovery {
    /// The names of its faults.
    pub faults: Vec<String>,
    /// The first injection, µs since t0.
    pub injected_us: u64,
    /// The last heal, µs since t0.
    pub healed_us: u64,
    /// From the first injection to the first sign of trouble: a refusal, a second attempt, or an
    /// event that takes longer than any did before the trial's first fault.
    pub noticed: Span,
    /// From the last heal to the first event stored.
    pub first_stored: Span,
    /// From the last heal until everything that was owed and due by then was stored. What of it is
    /// lost was never stored: censored, or never where the system was dead at the end.
    pub drained: Span,
    /// From the last heal until the first of five seconds in a row whose p99 of `stored_response`
    /// is at most 1.1 times the median second before the trial's first fault.
    pub in_band: Span,
}

/// What became of one failure that was replayed and shrunk.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Shrunk {
    /// The trial it was found in.
    pub trial: u32,
    /// What made a replay count as the same failure.
    pub signature: Signature,
    /// Replays of the failing schedule as it was, and how many failed.
    pub replays: [u32; 2],
    /// Failures out of ten that a smaller schedule had to show; absent where nothing was shrunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<u32>,
    /// Whether the search came to its end: nothing smaller was left to try, and the fresh runs bear
    /// the smallest out. Only then does the schedule name who is guilty.
    #[serde(default)]
    pub complete: bool,
    /// Runs spent in all.
    pub runs: u32,
    /// The faults of the smallest schedule.
    pub schedule: Vec<Strike>,
    /// How many faults the failing schedule had.
    pub faults_before: u32,
    /// The rate of the load in the trial, as written.
    pub rate_before: String,
    /// The rate in the smallest scenario.
    pub rate_after: String,
    /// How many fresh runs of the smallest scenario failed, and how many there were; absent where
    /// there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<[u32; 2]>,
    /// The scenario file, relative to the campaign's directory; empty where none was written.
    pub file: String,
    /// How it ended; a sentence.
    pub sentence: String,
    /// Wall time, µs.
    pub took_us: u64,
}

/// Fresh runs behind "fails 9 of 10".
pub const FRESH_RUNS: u32 = 10;

impl Shrunk {
    /// Whether the schedule was shrunk and then failed in enough of [`FRESH_RUNS`] fresh runs.
    #[must_use]
    pub fn reproduced(&self) -> bool {
        match (self.wanted, self.confirmed) {
            (Some(wanted), Some([failing, runs])) => runs >= FRESH_RUNS && failing >= wanted,
            _ => false,
        }
    }
}

impl CampaignRecord {
    /// Whether its schedule is smaller than that of the trial it was found in.
    #[must_use]
    pub fn is_smaller(&self, shrunk: &Shrunk) -> bool {
        let time = |schedule: &[Strike]| schedule.iter().map(|strike| strike.for_us).sum::<u64>();
        let trial = self
            .trials
            .iter()
            .find(|trial| trial.number == shrunk.trial);
        shrunk.schedule.len() < shrunk.faults_before as usize
            || shrunk.rate_after != shrunk.rate_before
            || trial.is_some_and(|trial| time(&shrunk.schedule) < time(&trial.schedule))
    }

    /// What the scenario is that was kept of a failure: the smallest only where nothing smaller was
    /// left to try.
    #[must_use]
    pub fn title(&self, shrunk: &Shrunk) -> &'static str {
        match (shrunk.complete, self.is_smaller(shrunk)) {
            (true, _) => "Smallest scenario",
            (false, true) => "Smallest scenario so far",
            (false, false) => "Failing scenario, not shrunk",
        }
    }
}

/// The guarantees a campaign can contradict, in the order they are shown: key, what it says, the
/// classes of failures that contradict it.
pub const GUARANTEES: [(&str, &str, &[&str]); 9] = [
    (
        "at_least_once",
        "at least once: nothing owed is lost",
        &["lost"],
    ),
    (
        "intact",
        "intact: nothing is changed, merged or split",
        &["corrupted", "malformed"],
    ),
    ("nothing_invented", "nothing is invented", &["unexpected"]),
    (
        "published",
        "published: a normal reader gets what is stored",
        &["unpublished"],
    ),
    ("no_duplicates", "few enough duplicates", &["duplicated"]),
    ("ordered", "in order", &["reordered"]),
    (
        "taken",
        "takes what is due: nothing is left unsent or refused",
        &["unsent", "refused"],
    ),
    ("comes_back", "works again after every fault", &["liveness"]),
    (
        "objectives",
        "on time: latency, drain and rate objectives",
        &[],
    ),
];

/// The guarantee that a class of failure contradicts.
#[must_use]
pub fn guarantee_of(class: &str) -> &'static str {
    GUARANTEES
        .iter()
        .find(|(_, _, classes)| classes.contains(&class))
        .map_or("objectives", |(key, ..)| key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{published, schema};

    #[test]
    fn the_published_schema_is_that_of_the_types() {
        let generated =
            schema::generated::<CampaignRecord>("flume-bench campaign, schema_version 1");
        schema::is_published("campaign.v1.json", &generated);
        assert!(!generated.contains("\"format\": \"double\""));
    }

    #[test]
    fn what_is_written_is_what_the_schema_says() {
        for record in [
            CampaignRecord::default(),
            render::samples::clean(3),
            render::samples::losing(),
        ] {
            published::holds(SCHEMA, &to_text(&record).unwrap());
        }
    }
}
