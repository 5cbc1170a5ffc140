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
    let expected = "ready, alive, the probe stored, and an end when asked".to_owned();
    let finding = |verdict, reason: String, seen: &str| Finding {
        verdict,
        reason,
        expected: expected.clone(),
        seen: seen.to_owned(),
    };
    let mut interrupted = false;
    for line in evidence.history {
        match &line.entry {
            Entry::Interrupted { .. } => interrupted = true,
            Entry::Note { text } if text.starts_with("never ready") => {
                return finding(
                    Verdict::Fail,
                    format!(
                        "The system under test never became ready ({}).",
                        text.trim_start_matches("never ready: ")
                            .lines()
                            .next()
                            .unwrap_or("")
                    ),
                    "never ready",
                );
            }
            Entry::HadToBeKilled { role, limit_us }
                if role == "agent" && !evidence.interrupted() =>
            {
                return finding(
                    Verdict::Fail,
                    format!(
                        "The agent did not end within {:.1} s of SIGTERM, and had to be killed.",
                        *limit_us as f64 / 1e6
                    ),
                    "killed at the stop",
                );
            }
            // A second signal to the bench kills what it had started, and so does its own death; who killed
            // the agent then is not known.
            Entry::Ended { exit, .. } if exit == "signal 9" && (interrupted || !evidence.whole) => {
            }
            Entry::Ended {
                role,
                exit,
                wanted: false,
                ..
            } if role == "agent" => {
                return finding(
                    Verdict::Fail,
                    format!("The agent ended on its own: {exit}."),
                    "ended",
                );
            }
            _ => {}
        }
    }
    let probe = evidence.history.iter().find_map(|line| match &line.entry {
        Entry::Probe {
            stored,
            took_us,
            error,
        } => Some((*stored, *took_us, error.clone())),
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
