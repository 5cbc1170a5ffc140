//! What follows from the trials beyond the verdict: the table of fault kinds and guarantees, the
//! ways back, ageing. Computed from the record alone, so every rendering says the same.

use super::conclude::{LEVEL, Tally, percent_up, upper_ppm};
use super::{CampaignRecord, GUARANTEES, Outcome, Recovery, Shrunk, Span, Trial, guarantee_of};
use crate::statistics::kaplan_meier::{self, Case, Median, Step};
use crate::statistics::kendall::{self, Aged, Trend};

/// Bootstrap samples behind an interval.
const DRAWS: usize = 2_000;
/// Permutations behind the p of a trend.
const PERMUTATIONS: u32 = 2_000;
/// Trials are reported as ageing from this p on.
const AGES_AT: f64 = 0.01;

/// Everything that renderings show.
#[derive(Debug)]
pub struct Analysis<'a> {
    /// The record.
    pub record: &'a CampaignRecord,
    /// How many trials count as what.
    pub tally: Tally,
    /// One row a kind of the menu.
    pub rows: Vec<Row>,
    /// The four parts of the way back.
    pub parts: Vec<Part>,
    /// Whether later windows of a trial took longer to drain, or why nobody knows.
    pub ageing: Result<Trend, String>,
    /// Events lost and owed, over all trials.
    pub lost: u64,
    /// Events owed over all trials.
    pub owed: u64,
    /// Events issued over all trials.
    pub issued: u64,
}

/// A kind of fault against each guarantee.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The kind.
    pub kind: String,
    /// Valid trials in which it was witnessed.
    pub trials: u32,
    /// One cell a guarantee of the plan.
    pub cells: Vec<Cell>,
}

/// What is known of a guarantee under a kind of fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// The guarantee's key.
    pub guarantee: String,
    /// Trials in which it was contradicted.
    pub failing: u32,
    /// How it stands.
    pub state: State,
    /// The same in words.
    pub words: String,
}

/// How a guarantee stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No valid trial had a witnessed fault of that kind.
    Untried,
    /// Not contradicted.
    Held,
    /// Contradicted in trials with that kind, and nobody knows whether because of it.
    Suspected,
    /// Contradicted in trials with that kind, and the smallest scenario fails without it.
    Cleared,
    /// Contradicted, and the smallest scenario contains that kind.
    Contradicted,
}

/// One part of the way back, over all windows of all valid trials.
#[derive(Debug)]
pub struct Part {
    /// Its key.
    pub key: &'static str,
    /// What it says.
    pub title: &'static str,
    /// Windows in which it was seen to end.
    pub observed: usize,
    /// Windows that were cut off before.
    pub censored: usize,
    /// Windows after which the system was dead for good.
    pub never: usize,
    /// Windows in which it could not be measured.
    pub unknown: usize,
    /// The Kaplan–Meier curve, seconds.
    pub curve: Vec<Step>,
    /// The median in seconds and its 95 % interval, by bootstrap over trials; or why there is none.
    pub median: Result<Median, String>,
}

/// Computes everything.
#[must_use]
pub fn analyse(record: &CampaignRecord) -> Analysis<'_> {
    let valid: Vec<&Trial> = record
        .trials
        .iter()
        .filter(|trial| trial.outcome != Outcome::Void)
        .collect();
    let sum = |of: fn(&Trial) -> u64| record.trials.iter().map(of).sum();
    Analysis {
        record,
        tally: Tally::of(&record.trials),
        rows: rows(record, &valid),
        parts: PARTS
            .iter()
            .map(|(key, title, of)| part(record, &valid, key, title, *of))
            .collect(),
        ageing: ageing(record, &valid),
        lost: sum(|trial| trial.counts.lost),
        owed: sum(|trial| trial.counts.owed),
        issued: sum(|trial| trial.counts.issued),
    }
}

fn rows(record: &CampaignRecord, valid: &[&Trial]) -> Vec<Row> {
    let mut kinds: Vec<&str> = record
        .plan
        .menu
        .iter()
        .map(|entry| entry.kind.as_str())
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
        .into_iter()
        .map(|kind| {
            let with: Vec<&Trial> = valid
                .iter()
                .copied()
                .filter(|trial| witnessed(trial, kind))
                .collect();
            Row {
                kind: kind.to_owned(),
                trials: with.len() as u32,
                cells: record
                    .plan
                    .guarantees
                    .iter()
                    .map(|guarantee| cell(record, kind, &with, guarantee))
                    .collect(),
            }
        })
        .collect()
}

/// Whether a trial had a fault of that kind that somebody saw take effect.
fn witnessed(trial: &Trial, kind: &str) -> bool {
    trial.schedule.iter().any(|strike| {
        strike.kind == kind && strike.void.is_none() && strike.witness.value().is_some()
    })
}

fn cell(record: &CampaignRecord, kind: &str, with: &[&Trial], guarantee: &str) -> Cell {
    let contradicts = |trial: &&&Trial| {
        trial
            .failures
            .iter()
            .any(|failure| failure.guarantee == guarantee)
    };
    // A trial that failed otherwise and is void besides may not have been judged for this guarantee.
    let judged = |trial: &&&Trial| trial.outcome == Outcome::Passed || trial.void.is_empty();
    let (n, failing) = (
        with.iter()
            .filter(|trial| contradicts(trial) || judged(trial))
            .count() as u32,
        with.iter().filter(contradicts).count() as u32,
    );
    let shrunk: Vec<&Shrunk> = record
        .shrunk
        .iter()
        .filter(|shrunk| {
            shrunk.complete
                && shrunk.reproduced()
                && guarantee_of(&shrunk.signature.class) == guarantee
        })
        .collect();
    let contains = |shrunk: &&&Shrunk| shrunk.schedule.iter().any(|strike| strike.kind == kind);
    let guilty = shrunk.iter().find(contains);
    let (state, words) = match (n, failing, guilty) {
        (0, ..) => (
            State::Untried,
            "not tried: never witnessed in a valid trial".to_owned(),
        ),
        (_, 0, _) => {
            let bound = upper_ppm(0, n);
            let bound = bound
                .value()
                .map_or_else(String::new, |ppm| percent_up(*ppm));
            let trials = crate::show::plural(u64::from(n), "trial");
            (
                State::Held,
                format!("not contradicted in {trials}, below {bound}"),
            )
        }
        (_, _, Some(guilty)) => (
            State::Contradicted,
            format!(
                "contradicted in {failing} of {n}: {} is the smallest scenario",
                guilty.file
            ),
        ),
        (_, _, None) if !shrunk.is_empty() => (
            State::Cleared,
            format!("contradicted in {failing} of {n}; the smallest scenario fails without it"),
        ),
        (_, _, None) => (
            State::Suspected,
            format!("contradicted in {failing} of {n}; not shrunk to the end, so not named guilty"),
        ),
    };
    Cell {
        guarantee: guarantee.to_owned(),
        failing,
        state,
        words,
    }
}

/// Key, title, and which span it is.
type PartOf = (&'static str, &'static str, fn(&Recovery) -> &Span);

const PARTS: [PartOf; 4] = [
    (
        "noticed",
        "from the fault to the first sign of trouble",
        |window| &window.noticed,
    ),
    (
        "first_stored",
        "from the heal to the first event stored",
        |window| &window.first_stored,
    ),
    (
        "drained",
        "from the heal to the drained backlog",
        |window| &window.drained,
    ),
    (
        "in_band",
        "from the heal to latency back in its band",
        |window| &window.in_band,
    ),
];

/// A span as a case for Kaplan and Meier, in seconds.
fn case(span: &Span) -> Option<Case> {
    let (time, ended) = match span {
        Span::Observed { us } => (*us as f64 / 1e6, true),
        Span::Censored { us } => (*us as f64 / 1e6, false),
        Span::Never => (f64::INFINITY, false),
        Span::Unknown { .. } => return None,
    };
    Some(Case { time, ended })
}

fn part(
    record: &CampaignRecord,
    valid: &[&Trial],
    key: &'static str,
    title: &'static str,
    of: fn(&Recovery) -> &Span,
) -> Part {
    let spans: Vec<&Span> = valid
        .iter()
        .flat_map(|trial| trial.windows.iter().map(of))
        .collect();
    let count = |is: fn(&Span) -> bool| spans.iter().filter(|span| is(span)).count();
    let clusters: Vec<Vec<Case>> = valid
        .iter()
        .map(|trial| {
            let cases = trial.windows.iter().map(of).filter_map(case);
            cases.collect::<Vec<Case>>()
        })
        .filter(|cases| !cases.is_empty())
        .collect();
    let all: Vec<Case> = clusters.iter().flatten().copied().collect();
    Part {
        key,
        title,
        observed: count(|span| matches!(span, Span::Observed { .. })),
        censored: count(|span| matches!(span, Span::Censored { .. })),
        never: count(|span| matches!(span, Span::Never)),
        unknown: count(|span| matches!(span, Span::Unknown { .. })),
        curve: kaplan_meier::curve(&all).unwrap_or_default(),
        median: kaplan_meier::median(&clusters, LEVEL, DRAWS, record.identity.seed.0)
            .map_err(|error| error.to_string()),
    }
}

/// Later windows of a trial against earlier ones of the same trial, by the time to drain.
fn ageing(record: &CampaignRecord, valid: &[&Trial]) -> Result<Trend, String> {
    let trials: Vec<Vec<Aged>> = valid
        .iter()
        .map(|trial| {
            trial
                .windows
                .iter()
                .filter_map(|window| {
                    Some(Aged {
                        age: window.healed_us as f64,
                        case: case(&window.drained)?,
                    })
                })
                .collect()
        })
        .collect();
    kendall::trend(&trials, PERMUTATIONS, record.identity.seed.0).map_err(|error| error.to_string())
}

impl Analysis<'_> {
    /// What the ageing comes to, as a sentence.
    fn ageing_words(&self) -> String {
        match &self.ageing {
            Err(why) => format!("Whether recovery slows down with age is not known: {why}."),
            Ok(trend) => {
                let p = trend.p_longer;
                let what = if p < AGES_AT {
                    "Later windows of a trial take longer to drain than earlier ones"
                } else {
                    "Nothing shows that later windows of a trial take longer to drain than earlier ones"
                };
                format!(
                    "{what} (Kendall's S {} over {} pairs, {} of them ordered, p = {p:.3}).",
                    trend.s, trend.pairs, trend.ordered
                )
            }
        }
    }

    /// What is to be known beside the table of the ways back: why latency was never seen back in
    /// its band, if so, and what the ageing comes to.
    #[must_use]
    pub fn recovery_words(&self) -> Vec<String> {
        let unseen =
            |part: &&Part| part.key == "in_band" && part.observed == 0 && part.censored > 0;
        let band = self.parts.iter().find(unseen).map(|_| {
            "Latency was never seen back in its band: that takes five seconds in a row at no more \
             than 1.1 times the latency before the fault, and the next fault or the end of the \
             load came first. A longer `steady` under [campaign] leaves more time."
                .to_owned()
        });
        band.into_iter().chain([self.ageing_words()]).collect()
    }

    /// The title of a guarantee.
    #[must_use]
    pub fn guarantee(key: &str) -> &'static str {
        GUARANTEES
            .iter()
            .find(|(known, ..)| *known == key)
            .map_or("", |(_, words, _)| words)
    }
}

impl Part {
    /// The median in words: `1.2 s (0.9 s to 1.6 s)`.
    #[must_use]
    pub fn median_words(&self) -> String {
        let time = |seconds: Option<f64>| {
            seconds.map_or_else(
                || "not reached".to_owned(),
                |seconds| crate::show::duration_f64(seconds * 1e6),
            )
        };
        match &self.median {
            Ok(median) => format!(
                "{} ({} to {})",
                time(median.estimate),
                time(median.low),
                time(median.high)
            ),
            Err(why) => {
                let estimate = kaplan_meier::time_at(&self.curve, 0.5);
                format!("{} (no interval: {why})", time(estimate))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::render::samples;
    use super::*;
    use crate::campaign::Signature;

    #[test]
    fn a_kind_counts_only_where_it_was_witnessed() {
        let mut record = samples::clean(40);
        for trial in record.trials.iter_mut().take(9) {
            trial.schedule[0].void = Some("void: nobody saw it".into());
        }
        let analysis = analyse(&record);
        let kill = analysis.rows.iter().find(|row| row.kind == "kill").unwrap();
        assert_eq!(kill.trials, 31);
        assert_eq!(
            kill.cells[0].words,
            "not contradicted in 31 trials, below 9.22 %"
        );
        let cut = analysis
            .rows
            .iter()
            .find(|row| row.kind == "cut_link")
            .unwrap();
        assert_eq!(cut.cells[0].state, State::Untried);
    }

    #[test]
    fn a_kind_is_guilty_only_if_the_smallest_schedule_still_contains_it() {
        let mut record = samples::losing();
        let state = |record: &CampaignRecord, kind: &str| {
            let analysis = analyse(record);
            let row = analysis.rows.iter().find(|row| row.kind == kind).unwrap();
            row.cells[0].state
        };
        assert_eq!(state(&record, "kill"), State::Contradicted);
        assert_eq!(state(&record, "cut_link"), State::Cleared);
        record.shrunk[0].confirmed = Some([0, 10]);
        assert_eq!(state(&record, "kill"), State::Suspected);
        record.shrunk[0].confirmed = Some([4, 10]);
        assert_eq!(
            state(&record, "kill"),
            State::Suspected,
            "fewer than wanted"
        );
        record.shrunk[0].confirmed = Some([7, 7]);
        assert_eq!(
            state(&record, "kill"),
            State::Suspected,
            "fewer than ten runs"
        );
        record.shrunk[0].confirmed = Some([9, 10]);
        record.shrunk[0].complete = false;
        assert_eq!(
            state(&record, "kill"),
            State::Suspected,
            "not shrunk to the end"
        );
        assert_eq!(state(&record, "cut_link"), State::Suspected);
        record.shrunk[0].complete = true;
        record.shrunk[0].signature = Signature {
            class: "unpublished".into(),
            hop: String::new(),
        };
        assert_eq!(state(&record, "kill"), State::Suspected);
    }

    #[test]
    fn a_trial_that_was_not_judged_for_a_guarantee_is_no_trial_of_it() {
        let mut record = samples::clean(40);
        let failing = |class: &str, guarantee: &str| crate::campaign::Failure {
            class: class.into(),
            guarantee: guarantee.into(),
            ..Default::default()
        };
        // Five fail in liveness and could not be judged for conservation, five could.
        for (i, trial) in record.trials.iter_mut().take(10).enumerate() {
            trial.outcome = Outcome::Failed;
            trial.failures = vec![failing("liveness", "comes_back")];
            if i < 5 {
                trial.void = vec!["the drain ended at its deadline with progress".into()];
            }
        }
        let words = |record: &CampaignRecord, cell: usize| {
            let analysis = analyse(record);
            let kill = analysis.rows.iter().find(|row| row.kind == "kill").unwrap();
            kill.cells[cell].words.clone()
        };
        assert!(words(&record, 0).starts_with("not contradicted in 35 trials, "));
        assert!(words(&record, 1).starts_with("contradicted in 10 of 40"));
        // A loss in a trial that is void besides contradicts all the same.
        record.trials[0]
            .failures
            .push(failing("lost", "at_least_once"));
        assert!(words(&record, 0).starts_with("contradicted in 1 of 36"));
    }

    #[test]
    fn censored_windows_are_not_dropped() {
        let mut record = samples::clean(10);
        for trial in &mut record.trials {
            trial.windows[0].drained = Span::Censored { us: 2_000_000 };
        }
        let analysis = analyse(&record);
        let drained = analysis
            .parts
            .iter()
            .find(|part| part.key == "drained")
            .unwrap();
        assert_eq!((drained.observed, drained.censored), (0, 10));
        assert_eq!(drained.median.as_ref().unwrap().estimate, None);
        assert!(drained.median_words().starts_with("not reached"));
        assert!(analysis.ageing.is_err());
    }

    #[test]
    fn a_band_that_was_never_seen_is_explained() {
        let mut record = samples::clean(10);
        for trial in &mut record.trials {
            trial.windows[0].in_band = Span::Censored { us: 2_000_000 };
        }
        assert!(analyse(&record).recovery_words()[0].starts_with("Latency was never seen back"));
        record.trials[0].windows[0].in_band = Span::Observed { us: 1_000_000 };
        assert_eq!(analyse(&record).recovery_words().len(), 1);
    }
}
