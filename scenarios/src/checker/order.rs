//! `order`: how many events are stored after a later one of the same producer, against the scenario's limit. Without a limit it is shown only.

use super::{Checker, Evidence, Finding};

pub(super) static CHECKER: Checker = Checker {
    name: "order",
    summary: "how many events are stored after a later one of the same producer",
    check,
};

fn check(evidence: &Evidence<'_>) -> Finding {
    Finding::limited(
        "reordered",
        evidence.totals.reordered,
        evidence.scenario.objectives.limit("reordered"),
    )
}
