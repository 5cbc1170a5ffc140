//! `duplicates`: how many events are stored more than once, against the scenario's limit. Without a limit it is shown only.

use super::{Checker, Evidence, Finding};

pub(super) static CHECKER: Checker = Checker {
    name: "duplicates",
    summary: "how many events are stored more than once",
    check,
};

fn check(evidence: &Evidence<'_>) -> Finding {
    Finding::limited(
        "duplicated",
        evidence.totals.duplicated,
        evidence.scenario.objectives.limit("duplicated"),
    )
}
