//! `publication`: what is stored is where a normal reader gets it.
//!
//! Unpublished are events in a file that kept its in-use name, or in one that was renamed without
//! ever being closed. Closing a file by our own lease recovery publishes nothing. Inconclusive where the
//! store could not be scanned, or where events that nobody saw may lie in a file that nobody could read.

use flume_bench_reports::show::count;
use flume_bench_reports::verdict::Verdict;

use super::{Checker, Evidence, Finding};

pub(super) static CHECKER: Checker = Checker {
    name: "publication",
    summary: "what is stored is where a normal reader gets it",
    check,
};

fn check(evidence: &Evidence<'_>) -> Finding {
    let totals = &evidence.totals;
    let mut finding = Finding::limited(
        "unpublished",
        totals.unpublished,
        evidence.scenario.objectives.limit("unpublished"),
    );
    if totals.unpublished > 0 {
        finding.reason = format!(
            "{} of {} stored events are in no file that is closed under its final name.",
            count(totals.unpublished),
            count(totals.stored)
        );
    }
    if finding.verdict == Verdict::Fail
        && let Some(doubt) = evidence.publication_doubt()
    {
        finding.verdict = Verdict::Inconclusive;
        finding.reason.push_str(&format!(
            " That proves nothing: {doubt}, so they may be published all the same."
        ));
    }
    // What was not seen at all may be stored, and published nowhere.
    if finding.verdict == Verdict::Pass
        && totals.lost > 0
        && evidence.scenario.objectives.limit("unpublished").is_some()
        && let Some(doubt) = evidence.doubt()
    {
        finding.verdict = Verdict::Inconclusive;
        finding.reason.push_str(&format!(
            " But {} more were not seen in the store, and {doubt}.",
            count(totals.lost)
        ));
    }
    finding
}
