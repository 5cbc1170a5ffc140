//! `kept_up`: the system took what was due.
//!
//! An event that was due and never tried, because the source blocked until the load was over, is
//! neither lost nor late for anybody who looks at what was issued. So it has a limit of its own:
//! `unsent`, 0 unless the scenario says otherwise. Inconclusive where the bench itself may not have
//! offered the load: an interrupted run, one that was given up, a torn journal, a generator that could
//! not keep its schedule. `refused` has a limit only where the scenario sets one.

use flume_bench_reports::show::count;
use flume_bench_reports::verdict::Verdict;

use super::{Checker, Evidence, Finding};
use crate::runner::history::Entry;

pub(super) static CHECKER: Checker = Checker {
    name: "kept_up",
    summary: "the system took what was due",
    check,
};

fn check(evidence: &Evidence<'_>) -> Finding {
    let totals = &evidence.totals;
    let limit = |name| evidence.scenario.objectives.limit(name);
    let mut finding = Finding::limited("unsent", totals.unsent, limit("unsent"));
    finding.reason = match (totals.unsent, finding.verdict) {
        (0, _) => format!(
            "All {} planned events were offered to the system.",
            count(totals.planned)
        ),
        (unsent, verdict) => format!(
            "{} of {} planned events were never sent, because the system did not take them in time{}.",
            count(unsent),
            count(totals.planned),
            match verdict {
                Verdict::Fail => "",
                _ => "; the scenario allows it",
            }
        ),
    };
    if finding.verdict == Verdict::Fail
        && let Some(doubt) = doubt(evidence)
    {
        finding.verdict = Verdict::Inconclusive;
        finding.reason = format!(
            "{} of {} planned events were never sent, but that proves nothing: {doubt}.",
            count(totals.unsent),
            count(totals.planned)
        );
    }
    match (totals.refused, limit("refused")) {
        (None, Some(_)) => Finding::unknown(
            "`refused` has a limit, but the source gives no answers, so nobody knows what it refused.",
        ),
        (Some(refused), Some(limit)) if refused > limit => Finding {
            verdict: Verdict::Fail,
            reason: format!(
                "The source refused {} of {} issued events, and {} are allowed.",
                count(refused),
                count(totals.issued),
                count(limit)
            ),
            expected: format!("refused at most {limit}"),
            seen: refused.to_string(),
        },
        _ => finding,
    }
}

/// Why what was not sent may not be the system's doing.
pub(super) fn doubt(evidence: &Evidence<'_>) -> Option<String> {
    if evidence.interrupted() {
        return Some("the run was interrupted".into());
    }
    let given_up = |entry: &Entry| matches!(entry, Entry::GaveUp { .. });
    if evidence.history.iter().any(|line| given_up(&line.entry)) {
        return Some("the load was ended early".into());
    }
    if !evidence.whole {
        return Some("the journal or the history is torn".into());
    }
    super::enough_evidence::slip(evidence)
}
