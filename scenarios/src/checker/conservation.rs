//! `conservation`: nothing that is owed is lost.
//!
//! Fails when more is lost than the scenario allows. Inconclusive when the drain hit its deadline
//! while events were still being stored, when the store could not be read to its end (a failed scan, a
//! lease that our own recovery could not close), or when the journal is torn: then what is missing may
//! only not have been seen.

use flume_bench_reports::show::count;
use flume_bench_reports::verdict::Verdict;

use super::{Checker, Evidence, Finding};

pub(super) static CHECKER: Checker = Checker {
    name: "conservation",
    summary: "nothing that is owed is lost",
    check,
};

fn check(evidence: &Evidence<'_>) -> Finding {
    let totals = &evidence.totals;
    let limit = evidence.scenario.objectives.limit("lost");
    let mut finding = Finding::limited("lost", totals.lost, limit);
    finding.reason = match finding.verdict {
        Verdict::Fail => format!(
            "{} of {} owed events are lost ({} are allowed).",
            count(totals.lost),
            count(totals.owed),
            count(limit.unwrap_or(0))
        ),
        _ if totals.lost == 0 => format!("None of {} owed events is lost.", count(totals.owed)),
        _ => format!(
            "{} of {} owed events are lost, which the scenario allows.",
            count(totals.lost),
            count(totals.owed)
        ),
    };
    // Whatever else is doubtful can only have hidden events that are there: what is within the limit stays so.
    let doubt = match finding.verdict {
        Verdict::Fail => evidence.doubt(),
        _ => (!evidence.whole).then(|| "the journal or the history is torn".to_owned()),
    };
    if let Some(doubt) = doubt {
        finding.verdict = Verdict::Inconclusive;
        finding.reason = match totals.lost {
            0 => format!(
                "Nothing is missing of the {} owed events that are on record, but there may have been more: {doubt}.",
                count(totals.owed)
            ),
            lost => format!(
                "{} of {} owed events were not seen in the store, but that proves nothing: {doubt}.",
                count(lost),
                count(totals.owed)
            ),
        };
    }
    finding
}
