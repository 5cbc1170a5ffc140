//! What a row answers: figures, limits, and a verdict.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use thiserror::Error;

use crate::guard::Disturbance;
use crate::stats::Spread;

/// How a row ends. Ordered by what the program's exit code follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every limit is met.
    Pass,
    /// The figures prove nothing, and the row says why.
    Void,
    /// A limit is missed.
    Fail,
    /// The row could not be carried out: a defect of the bench or of what it measures.
    Error,
}

impl Verdict {
    /// The exit code of a program that ends so.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Verdict::Pass => 0,
            Verdict::Fail => 1,
            Verdict::Void => 3,
            Verdict::Error => 4,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::Pass => "pass",
            Verdict::Void => "void",
            Verdict::Fail => "FAIL",
            Verdict::Error => "ERROR",
        })
    }
}

/// What a figure must be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
    /// No further than the second from the first.
    Within(f64, f64),
}

impl Limit {
    /// Whether `figure` is as it must be. What is no number is not.
    #[must_use]
    pub fn is_met(self, figure: f64) -> bool {
        match self {
            Limit::AtLeast(least) => figure >= least,
            Limit::AtMost(most) => figure <= most,
            Limit::Within(centre, distance) => (figure - centre).abs() <= distance,
        }
    }
}

/// One figure held against its limit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// What the figure is of.
    pub what: String,
    /// The figure.
    pub figure: f64,
    /// Its unit: `x` for ratios, `CPU-ns/event`, `MiB`, `s`, …
    pub unit: &'static str,
    /// What it must be.
    pub limit: Limit,
    /// Whether it is.
    pub is_met: bool,
}

/// What one arm did, over all pairs that count.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ArmFigures {
    /// The arm.
    pub name: String,
    /// What `per_second` counts: events, bytes.
    pub unit: &'static str,
    /// Rate, in units per second.
    pub per_second: Spread,
    /// CPU time, user and system, of all threads, in nanoseconds per unit.
    pub cpu_ns: Spread,
}

/// How the pairs of a row went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PairFigures {
    /// Pairs that count.
    pub counted: usize,
    /// Pairs that were run again because the machine was disturbed.
    pub repeated: usize,
    /// Whether the pairs that count are dirty themselves, because too few clean ones came.
    pub dirty: bool,
    /// The worst disturbance during a pair that counts.
    pub worst: Disturbance,
    /// The ratio of the two arms.
    pub ratio: Spread,
}

/// What a row answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// The row.
    pub row: &'static str,
    /// Both arms, where there are two.
    pub arms: Vec<ArmFigures>,
    /// How the pairs went, where there were some.
    pub pairs: Option<PairFigures>,
    /// Figures against limits.
    pub checks: Vec<Check>,
    /// What a reader must know to use the figures.
    pub notes: Vec<String>,
    /// Why the figures prove nothing. Empty if they do.
    pub void: Vec<String>,
    /// What went wrong, if the row could not be carried out.
    pub error: Option<String>,
}

impl Outcome {
    /// An outcome without figures.
    #[must_use]
    pub fn new(row: &'static str) -> Outcome {
        Outcome {
            row,
            arms: Vec::new(),
            pairs: None,
            checks: Vec::new(),
            notes: Vec::new(),
            void: Vec::new(),
            error: None,
        }
    }

    /// The outcome of a row that answered an error. Something that is not there makes it void.
    #[must_use]
    pub fn of_error(row: &'static str, error: &BenchError) -> Outcome {
        let mut outcome = Outcome::new(row);
        match error {
            BenchError::Missing { .. } => outcome.void.push(error.to_string()),
            _ => outcome.error = Some(error.to_string()),
        }
        outcome
    }

    /// Holds a figure against a limit.
    pub fn check(&mut self, what: &str, figure: f64, unit: &'static str, limit: Limit) {
        self.checks.push(Check {
            what: what.to_owned(),
            figure,
            unit,
            limit,
            is_met: limit.is_met(figure),
        });
    }

    /// Holds a figure against a limit that a disturbed machine can only make harder to meet: met
    /// it counts in any case, missed it proves nothing if the machine was disturbed.
    pub fn check_despite(
        &mut self,
        what: &str,
        figure: f64,
        unit: &'static str,
        limit: Limit,
        disturbance: Disturbance,
    ) {
        self.check(what, figure, unit, limit);
        if disturbance.is_dirty() {
            let busy = busy(disturbance);
            if limit.is_met(figure) {
                self.notes
                    .push(format!("{what}: met although the machine was busy: {busy}"));
            } else {
                self.void
                    .push(format!("{what} was missed on a busy machine: {busy}"));
            }
        }
    }

    /// The verdict: void beats a missed limit, because what proves nothing proves no failure.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if self.error.is_some() {
            Verdict::Error
        } else if !self.void.is_empty() || self.checks.is_empty() {
            Verdict::Void
        } else if self.checks.iter().all(|check| check.is_met) {
            Verdict::Pass
        } else {
            Verdict::Fail
        }
    }
}

/// A disturbance in words.
#[must_use]
pub fn busy(disturbance: Disturbance) -> String {
    format!(
        "others used {:.0} % of the CPUs, {:.0} % were stolen",
        disturbance.others * 100.0,
        disturbance.steal * 100.0
    )
}

/// Why a row could not be carried out.
#[derive(Debug, Error)]
pub enum BenchError {
    /// Something that the row needs is not on this machine. The row is void.
    #[error("{what} is not here; {remedy}")]
    Missing {
        /// What.
        what: String,
        /// Which command brings it.
        remedy: String,
    },
    /// A file or directory.
    #[error("failed to {what} {}: {source}; check the rights and the space", path.display())]
    File {
        /// What was attempted.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A socket, thread or process.
    #[error("failed to {what}: {source}")]
    System {
        /// What was attempted.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Something that was measured did not do what it should: a defect.
    #[error("failed to {what}: {why}; this is a defect of the bench or of what it measures")]
    Wrong {
        /// What was attempted.
        what: &'static str,
        /// What happened instead.
        why: String,
    },
}

impl BenchError {
    /// For `map_err` of calls on files.
    pub fn file(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BenchError {
        let path = path.to_owned();
        move |source| BenchError::File { what, path, source }
    }

    /// For `map_err` of other calls on the system.
    pub fn system(what: &'static str) -> impl FnOnce(io::Error) -> BenchError {
        move |source| BenchError::System { what, source }
    }

    /// For `map_err` where what was measured failed.
    pub fn wrong<E: ToString>(what: &'static str) -> impl FnOnce(E) -> BenchError {
        move |why| BenchError::Wrong {
            what,
            why: why.to_string(),
        }
    }
}
