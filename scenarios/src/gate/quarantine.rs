//! Quarantine: a scenario that was void or inconclusive in 3 of its last 10 stored gates is named
//! and left out, for two weeks after the last of them.
//!
//! Where a store is in use (its directory exists), each gate notes there what every scenario came to,
//! by host kind and scenario hash: a changed scenario starts anew. What is left out is not run, so
//! the quarantine ends by itself, and the scenario has to prove itself again.

use std::path::{Path, PathBuf};

use flume_bench_reports::gate::record::{self, History, Past};
use flume_bench_reports::verdict::ExitCode;
use jiff::{SignedDuration, Timestamp};

use super::host_kind;
use crate::scenario::reader::Problem;

/// So many of the last [`LOOKED_AT`] make a quarantine.
const TOO_MANY: usize = 3;
const LOOKED_AT: usize = 10;
/// How long it lasts.
const LASTS: SignedDuration = SignedDuration::from_hours(14 * 24);

fn file(store: &Path, sha256: &str) -> PathBuf {
    let short = sha256.get(..16).unwrap_or(sha256);
    store
        .join("history")
        .join(format!("{}-{short}.json", host_kind()))
}

fn read(path: &Path) -> Result<History, Problem> {
    if !path.exists() {
        return Ok(History {
            schema_version: record::SCHEMA_VERSION,
            ..History::default()
        });
    }
    record::read_history(path).map_err(|error| {
        Problem::at(path, 0, error.to_string()).remedy("remove it: the scenario starts anew")
    })
}

/// Why a scenario is left out now, if it is.
///
/// # Errors
/// A history that cannot be read.
pub fn reason(store: &Path, sha256: &str, now: Timestamp) -> Result<Option<String>, Problem> {
    let history = read(&file(store, sha256))?;
    let skip = history.past.len().saturating_sub(LOOKED_AT);
    let bad: Vec<&Past> = history.past[skip..]
        .iter()
        .filter(|one| one.exit_code == ExitCode::Inconclusive)
        .collect();
    let last = bad
        .last()
        .and_then(|last| last.when.parse::<Timestamp>().ok());
    let Some(until) = last.and_then(|last| last.checked_add(LASTS).ok()) else {
        return Ok(None);
    };
    Ok((bad.len() >= TOO_MANY && now < until).then(|| {
        format!(
            "It is in quarantine until {}: void or inconclusive in {} of its last {} gates on this \
             host. Make it decide (a longer [gate] steady, wider margins), or wait.",
            until.strftime("%Y-%m-%d"),
            bad.len(),
            history.past.len().min(LOOKED_AT)
        )
    }))
}

/// Notes what a scenario came to. Without a store nothing is noted.
///
/// # Errors
/// A history that cannot be read or written.
pub fn note(store: &Path, name: &str, sha256: &str, code: ExitCode) -> Result<(), Problem> {
    if !store.is_dir() {
        return Ok(());
    }
    let path = file(store, sha256);
    let mut history = read(&path)?;
    history.scenario = name.to_owned();
    history.past.push(Past {
        when: Timestamp::now().to_string(),
        exit_code: code,
    });
    let surplus = history.past.len().saturating_sub(LOOKED_AT * 10);
    history.past.drain(..surplus);
    let failed = |error: String| Problem::at(&path, 0, error).remedy("choose another --store");
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|error| failed(error.to_string()))?;
    }
    record::write_history(&path, &history).map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_of_ten_are_too_many_until_two_weeks_have_passed() {
        let store = tempfile::tempdir().unwrap();
        let (store, sha256) = (store.path(), "ab".repeat(32));
        let now = Timestamp::now();
        let add = |code| note(store, "s", &sha256, code).unwrap();
        add(ExitCode::Inconclusive);
        add(ExitCode::Pass);
        add(ExitCode::Inconclusive);
        assert_eq!(reason(store, &sha256, now).unwrap(), None);
        add(ExitCode::Inconclusive);
        let why = reason(store, &sha256, now).unwrap().unwrap();
        assert!(why.contains("3 of its last 4"), "{why}");
        let later = now
            .checked_add(LASTS)
            .unwrap()
            .checked_add(SignedDuration::from_secs(60));
        assert_eq!(reason(store, &sha256, later.unwrap()).unwrap(), None);
        // Ten good ones push them out.
        for _ in 0..10 {
            add(ExitCode::Pass);
        }
        assert_eq!(reason(store, &sha256, now).unwrap(), None);
        assert_eq!(reason(store, &"cd".repeat(32), now).unwrap(), None);
    }

    #[test]
    fn without_a_store_nothing_is_written() {
        let parent = tempfile::tempdir().unwrap();
        let store = parent.path().join("none");
        note(&store, "s", "ab", ExitCode::Pass).unwrap();
        assert!(!store.exists());
    }
}
