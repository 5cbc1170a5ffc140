//! `liveness`: the system works again once everything is healed.
//!
//! It must have become ready, must not have ended on its own, must deliver the probe, one fresh event
//! sent after the drain, and must end within its driver's limit when it is asked to (SIGTERM). The last
//! is not held against it where the run was interrupted.

use flume_bench_reports::verdict::Verdict;

use super::{Checker, Evidence, Finding};
use crate::runner::history::Entry;

pub(super) static CHECKER: Checker = Checker {
    name: "liveness",
    summary: "the system works again once everything is healed",
    check,
};

fn check(evidence: &Evidence<'_>) -> Finding {
    died(evidence).unwrap_or_else(|| probed(evidence))
}

fn finding(verdict: Verdict, reason: String, seen: &str) -> Finding {
    Finding {
        verdict,
        reason,
        expected: "ready, alive, the probe stored, and an end when asked".to_owned(),
        seen: seen.to_owned(),
    }
}

/// The first sign that it was never ready, ended on its own, or did not end when asked.
fn died(evidence: &Evidence<'_>) -> Option<Finding> {
    let mut interrupted = false;
    evidence.history.iter().find_map(|line| match &line.entry {
        Entry::Interrupted { .. } => {
            interrupted = true;
            None
        }
        Entry::Note { text } if text.starts_with("never ready") => {
            let why = text.trim_start_matches("never ready: ").lines().next();
            Some(finding(
                Verdict::Fail,
                format!(
                    "The system under test never became ready ({}).",
                    why.unwrap_or("")
                ),
                "never ready",
            ))
        }
        Entry::HadToBeKilled { role, limit_us } if role == "agent" && !evidence.interrupted() => {
            Some(finding(
                Verdict::Fail,
                format!(
                    "The agent did not end within {:.1} s of SIGTERM, and had to be killed.",
                    *limit_us as f64 / 1e6
                ),
                "killed at the stop",
            ))
        }
        // A second signal to the bench kills what it had started, and so does its own death; who killed
        // the agent then is not known.
        Entry::Ended { exit, .. } if exit == "signal 9" && (interrupted || !evidence.whole) => None,
        Entry::Ended {
            role,
            exit,
            wanted: false,
            ..
        } if role == "agent" => Some(finding(
            Verdict::Fail,
            format!("The agent ended on its own: {exit}."),
            "ended",
        )),
        _ => None,
    })
}

/// What became of the probe.
fn probed(evidence: &Evidence<'_>) -> Finding {
    let probe = evidence.history.iter().find_map(|line| match &line.entry {
        Entry::Probe {
            stored,
            took_us,
            error,
        } => Some((*stored, *took_us, error.as_deref())),
        _ => None,
    });
    match probe {
        Some((true, took, _)) => finding(
            Verdict::Pass,
            format!(
                "The probe was stored after {:.2} s.",
                took.unwrap_or(0) as f64 / 1e6
            ),
            "probe stored",
        ),
        Some((false, _, Some(error))) => finding(
            Verdict::Fail,
            format!("The probe could not be delivered: {error}."),
            "no probe",
        ),
        Some((false, _, None)) => finding(
            Verdict::Fail,
            "A fresh event sent after the drain was never stored: the system no longer works."
                .into(),
            "probe not stored",
        ),
        None => Finding::unknown("The run ended before a probe could be sent."),
    }
}
