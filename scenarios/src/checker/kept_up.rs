//! `kept_up`: the system took what was due.
//!
//! An event that was due and never tried, because the source blocked until the load was over, is
//! neither lost nor late for anybody who looks at what was issued. So it has a limit of its own:
//! `unsent`, 0 unless the scenario says otherwise. Inconclusive where the bench itself may not have
//! offered the load: an interrupted run, one that was given up, a failure of the bench, a torn journal, a
//! generator that could not keep its schedule. `refused` has a limit only where the scenario sets one.

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
    // The worse of the two is the checker's: what was never sent, or what was refused.
    match refused(evidence) {
        Some(refused) if refused.verdict > finding.verdict => refused,
        _ => finding,
    }
}

/// Where refusals have a limit, what is wrong with their number.
fn refused(evidence: &Evidence<'_>) -> Option<Finding> {
    let limit = evidence.scenario.objectives.limit("refused")?;
    let totals = &evidence.totals;
    match totals.refused {
        None => Some(Finding::unknown(
            "`refused` has a limit, but the source gives no answers, so nobody knows what it refused.",
        )),
        Some(refused) if refused > limit => Some(Finding {
            verdict: Verdict::Fail,
            reason: format!(
                "The source refused {} of {} issued events, and {} are allowed.",
                count(refused),
                count(totals.issued),
                count(limit)
            ),
            expected: format!("refused at most {limit}"),
            seen: refused.to_string(),
        }),
        Some(_) => None,
    }
}

/// Why what was not sent may not be the system's doing.
pub(super) fn doubt(evidence: &Evidence<'_>) -> Option<String> {
    if evidence.interrupted() {
        return Some("the run was interrupted".into());
    }
    let ended = evidence.history.iter().find_map(|line| match &line.entry {
        Entry::GaveUp { .. } => Some("the load was ended early".to_owned()),
        Entry::HarnessFailed { error } => Some(format!("the bench itself failed ({error})")),
        _ => None,
    });
    if ended.is_some() {
        return ended;
    }
    if !evidence.whole {
        return Some("the journal or the history is torn".into());
    }
    super::enough_evidence::late(evidence)
}
