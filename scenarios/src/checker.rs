//! Checkers judge ledger and history, nothing else, so a stored run can be judged again.
//!
//! Each answers pass, fail or inconclusive, with a reason, what it expected and what it saw. Where
//! several answer, fail beats inconclusive beats pass. One file a checker, one line in
//! [`CHECKERS`].

mod conservation;
mod corruption;
mod duplicates;
mod enough_evidence;
mod kept_up;
mod liveness;
mod objectives;
mod order;
mod publication;

use flume_bench_loadgen::latency::{Latency, Measure};
use flume_bench_loadgen::ledger::{Owing, Totals};
use flume_bench_reports::record;
use flume_bench_reports::verdict::Verdict;

use crate::runner::history::{Drain, Entry, Line};
use crate::scenario::Scenario;

/// What a checker says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its answer.
    pub verdict: Verdict,
    /// A whole sentence.
    pub reason: String,
    /// What it wanted to see.
    pub expected: String,
    /// What it saw.
    pub seen: String,
}

impl Finding {
    /// A finding from a limit on a count.
    fn limited(what: &str, seen: u64, limit: Option<u64>) -> Self {
        let (verdict, reason) = match limit {
            Some(limit) if seen > limit => (
                Verdict::Fail,
                format!("{what} is {seen}, and {limit} is the most that is allowed."),
            ),
            Some(limit) => (
                Verdict::Pass,
                format!("{what} is {seen}, within the limit of {limit}."),
            ),
            None => (
                Verdict::Pass,
                format!("{what} is {seen}; the scenario sets no limit."),
            ),
        };
        let expected =
            limit.map_or_else(|| "no limit".to_owned(), |limit| format!("at most {limit}"));
        Self {
            verdict,
            reason,
            expected,
            seen: seen.to_string(),
        }
    }

    /// Nothing can be said.
    fn unknown(reason: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Inconclusive,
            reason: reason.into(),
            expected: String::new(),
            seen: String::new(),
        }
    }
}

/// A checker: its name, and its judgement.
#[derive(Debug)]
pub struct Checker {
    /// Name: the property it checks.
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// The judgement.
    pub check: fn(&Evidence<'_>) -> Finding,
}

/// Every checker, by name.
pub static CHECKERS: &[&Checker] = &[
    &conservation::CHECKER,
    &corruption::CHECKER,
    &duplicates::CHECKER,
    &enough_evidence::CHECKER,
    &kept_up::CHECKER,
    &liveness::CHECKER,
    &objectives::CHECKER,
    &order::CHECKER,
    &publication::CHECKER,
];

/// One strike of a fault, as the history tells it.
#[derive(Debug, Clone)]
pub struct Strike {
    /// Its name in this run.
    pub name: String,
    /// Number of the `[[fault]]`.
    pub index: usize,
    /// When it was injected, µs since t0.
    pub injected: i64,
    /// When it was healed.
    pub healed: Option<i64>,
    /// What somebody else saw of it: kind, evidence, instant.
    pub witness: Option<(String, String, i64)>,
    /// Events in flight when it struck, and those sent while it held.
    pub in_flight: u64,
    /// Why it could not be injected or healed.
    pub failed: Option<String>,
    /// First copy of anything stored after the heal.
    pub first_stored: Option<i64>,
    /// When all that was due by the heal, and is stored at all, was stored.
    pub drained: Option<i64>,
    /// Events due by the heal and first stored after it.
    pub backlog: u64,
    /// The last look at the store before that: it was not all stored yet.
    pub not_drained: Option<i64>,
}

impl Strike {
    /// The end of the window in which latency objectives do not hold: when the backlog is drained, at
    /// most `limit` µs after the heal.
    pub fn window_end(&self, end: i64, limit: i64) -> i64 {
        let healed = self.healed.unwrap_or(end);
        let drained = self.drained.unwrap_or(healed).max(healed);
        drained.min(healed.saturating_add(limit))
    }
}

/// The histograms of one scope.
#[derive(Debug, Clone)]
pub struct Histograms(pub [Latency; 5]);

impl Default for Histograms {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Latency::new()))
    }
}

impl Histograms {
    /// The histogram of one measure.
    pub fn of(&self, measure: Measure) -> &Latency {
        &self.0[measure as usize]
    }

    /// The histogram of a measure by its name.
    pub fn named(&self, name: &str) -> Option<&Latency> {
        Measure::ALL
            .iter()
            .find(|measure| measure.name() == name)
            .map(|measure| self.of(*measure))
    }
}

/// The events that are due in one scope, with or without a sample.
#[derive(Debug, Clone, Default)]
pub struct Due {
    /// Events issued, by latency: a window begins where the oldest event was due that it caught, and
    /// that is another instant for each of them.
    pub issued: [u64; Measure::ALL.len()],
    /// Events that were due and never sent, likewise.
    pub unsent: [u64; Measure::ALL.len()],
    /// The least that `stored_response` may have been: up to the last look without the event.
    pub stored_at_least: Latency,
    /// The same of `published_response`.
    pub published_at_least: Latency,
}

/// All that a checker may look at.
#[derive(Debug)]
pub struct Evidence<'a> {
    /// What was asked.
    pub scenario: &'a Scenario,
    /// Totals of the ledger.
    pub totals: Totals,
    /// What is owed.
    pub owing: Owing,
    /// The history.
    pub history: &'a [Line],
    /// Whether journal and history end as they should.
    pub whole: bool,
    /// The strikes in order.
    pub strikes: Vec<Strike>,
    /// Latencies in `steady`, outside of every fault window.
    pub steady: Histograms,
    /// Latencies inside of fault windows.
    pub during: Histograms,
    /// What was due in `steady`, outside of every fault window.
    pub due_steady: Due,
    /// What was due inside of fault windows.
    pub due_during: Due,
    /// Slip of everything that was issued, in `steady` or not, inside a fault window or not.
    pub slip: Latency,
    /// The last look at the store at which something was missing that the drain saw come.
    pub not_drained: Option<i64>,
    /// When the store could not be read: from, to, why.
    pub blind: Vec<(i64, i64, String)>,
}

impl Evidence<'_> {
    /// How the drain ended: outcome, missing, and how long the backlog took from the last heal, or
    /// from the end of the load where there was no fault.
    fn drained(&self) -> Option<(Drain, u64, Option<i64>)> {
        let healed = self.strikes.iter().max_by_key(|strike| strike.healed);
        let since_heal = healed.map(|strike| {
            let drained = strike.drained.or(strike.healed);
            drained
                .zip(strike.healed)
                .map(|(drained, healed)| (drained - healed).max(0))
        });
        self.history.iter().find_map(|line| match &line.entry {
            Entry::Drained {
                outcome,
                missing,
                took_us,
                ..
            } => {
                let took = if *outcome == Drain::Complete {
                    since_heal.unwrap_or(*took_us)
                } else {
                    None
                };
                Some((*outcome, *missing, took))
            }
            _ => None,
        })
    }

    /// When the load was over, for a run without faults: the drain counts from there.
    fn load_end(&self) -> Option<i64> {
        self.history.iter().find_map(|line| match line.entry {
            Entry::Drained {
                last_stored_us: Some(last),
                took_us: Some(took),
                ..
            } => Some(last - took),
            _ => None,
        })
    }

    /// Whether the run was cut short by somebody.
    fn interrupted(&self) -> bool {
        self.history
            .iter()
            .any(|line| matches!(line.entry, Entry::Interrupted { .. }))
    }

    /// Whether the run was interrupted before its drain had come to an end of its own: what is
    /// missing then may only not have arrived yet.
    fn cut_short(&self) -> bool {
        let drained = !matches!(self.drained(), None | Some((Drain::Interrupted, ..)));
        self.interrupted() && !drained
    }

    fn scans(&self) -> impl DoubleEndedIterator<Item = Option<&str>> {
        self.history.iter().filter_map(|line| match &line.entry {
            Entry::FinalScan { error, .. } => Some(error.as_deref()),
            _ => None,
        })
    }

    /// Why events that were not seen in the store may be there all the same, or may only not have
    /// arrived yet. Every checker that judges what is missing asks this.
    fn doubt(&self) -> Option<String> {
        if !self.whole {
            return Some("the journal or the history is torn".into());
        }
        if self.cut_short() {
            return Some("the run was interrupted before its drain had ended".into());
        }
        let last = self.scans().next_back();
        if let Some(error) = last.unwrap_or(Some("there was none")) {
            return Some(format!("the final scan is not complete ({error})"));
        }
        let lease = self.history.iter().find_map(|line| match &line.entry {
            Entry::Lease {
                path,
                error: Some(error),
                ..
            } => Some(format!(
                "what {path} holds beyond its last closed block could not be read, because its lease was not recovered ({error})"
            )),
            _ => None,
        });
        if lease.is_some() {
            return lease;
        }
        match self.drained() {
            Some((Drain::StillMoving, ..)) => {
                Some("events were still being stored when the drain hit its deadline".into())
            }
            _ => None,
        }
    }

    /// Why events that were not seen published may be so all the same. The scan after the lease
    /// recovery publishes nothing, so it makes up for none before it that failed.
    fn publication_doubt(&self) -> Option<String> {
        if !self.whole {
            return Some("the journal or the history is torn".into());
        }
        if self.interrupted() {
            return Some("the run was cut short".into());
        }
        match self.scans().find(Option::is_some).flatten() {
            Some(error) => Some(format!("a final scan is not complete ({error})")),
            None => self
                .scans()
                .next()
                .is_none()
                .then(|| "the store was not scanned".into()),
        }
    }

    /// Why a time that is too long may be the fault of the bench: a generator that sent late, or a
    /// receiver that could not look.
    fn bench_was_late(&self) -> Option<String> {
        enough_evidence::late(self).or_else(|| enough_evidence::blindness(self))
    }
}

/// Lets every checker judge.
pub fn check_all(evidence: &Evidence<'_>) -> Vec<record::Checker> {
    CHECKERS
        .iter()
        .map(|checker| {
            let finding = (checker.check)(evidence);
            record::Checker {
                name: checker.name.into(),
                verdict: finding.verdict,
                reason: finding.reason,
                expected: finding.expected,
                seen: finding.seen,
            }
        })
        .collect()
}

pub use enough_evidence::{unexplained_blindness, void};
pub use objectives::judge as judge_objectives;

#[cfg(test)]
mod tests;
