//! Bounds the disk of a soak: what was judged and is whole is folded.
//!
//! - The store: files that the agent has closed and whose events are all judged are removed. A file that
//!   a process of the agent has open, or that has an in-use name, stays. Nothing is in flight then, so
//!   everything in a closed file belongs to a round that was judged.
//! - The rounds: of one that passed, the record alone is kept, for the last [`RECORDS`]. Of the first
//!   [`WHOLE`] that did not pass everything is kept, journal included, so they can be judged again; of
//!   later ones record and history.

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

use flume_bench_reports::verdict::Verdict;

use crate::process::procfs;
use crate::runner::world::World;
use crate::store::{Removed, Running};

/// Rounds that passed, of which the record is kept.
const RECORDS: usize = 10;
/// Rounds that did not pass, of which everything is kept.
const WHOLE: usize = 5;

/// What was folded so far.
#[derive(Debug, Default)]
pub(super) struct Fold {
    passed: VecDeque<PathBuf>,
    others: usize,
    /// What was removed from the store.
    pub(super) removed: Removed,
    /// What could not be, a line each, without repetitions.
    pub(super) troubles: BTreeSet<String>,
}

impl Fold {
    /// Removes what has been judged from the store.
    pub(super) fn store(&mut self, world: &World, store: &dyn Running) {
        match store.remove_judged(&open_files(world)) {
            Ok(removed) => {
                self.removed.files += removed.files;
                self.removed.bytes += removed.bytes;
            }
            Err(why) => {
                self.troubles.insert(why);
            }
        }
    }

    /// Folds the directory of a round that has been judged.
    pub(super) fn round(&mut self, directory: &Path, verdict: Verdict) {
        let result = if verdict == Verdict::Pass {
            self.passed.push_back(directory.to_owned());
            let oldest = if self.passed.len() > RECORDS {
                self.passed.pop_front()
            } else {
                None
            };
            thin(directory, &["record.json"])
                .and_then(|()| oldest.map_or(Ok(()), fs::remove_dir_all))
        } else {
            self.others += 1;
            if self.others > WHOLE {
                thin(directory, &["record.json", "history.jsonl"])
            } else {
                Ok(())
            }
        };
        if let Err(error) = result {
            self.troubles
                .insert(format!("{}: {error}", directory.display()));
        }
    }
}

/// Removes everything else from a directory.
fn thin(directory: &Path, keep: &[&str]) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if keep.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        if entry.metadata()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The files that processes of the agent have open.
fn open_files(world: &World) -> BTreeSet<PathBuf> {
    let Some(agent) = world.process("agent").filter(|process| process.alive()) else {
        return BTreeSet::new();
    };
    let mut pids = vec![agent.pid()];
    pids.extend(procfs::descendants(agent.pid()).iter().map(|stat| stat.pid));
    pids.iter()
        .flat_map(|pid| {
            fs::read_dir(format!("/proc/{pid}/fd"))
                .into_iter()
                .flatten()
        })
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(root: &Path, number: usize) -> PathBuf {
        let directory = root.join(number.to_string());
        fs::create_dir_all(directory.join("conf")).unwrap();
        for file in ["record.json", "history.jsonl", "journal.bin", "conf/a"] {
            fs::write(directory.join(file), "x").unwrap();
        }
        directory
    }

    fn names(directory: &Path) -> BTreeSet<String> {
        fs::read_dir(directory)
            .map(|entries| {
                let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
                entries
                    .map(|entry| name(entry).to_string_lossy().into_owned())
                    .collect()
            })
            .unwrap_or_default()
    }

    #[test]
    fn passed_rounds_leave_a_record_and_others_all_they_have() {
        let root = tempfile::tempdir().unwrap();
        let mut fold = Fold::default();
        for number in 0..30 {
            let verdict = if number % 2 == 0 {
                Verdict::Pass
            } else {
                Verdict::Fail
            };
            fold.round(&round(root.path(), number), verdict);
        }
        let of = |number: usize| names(&root.path().join(number.to_string()));
        assert!(fold.troubles.is_empty(), "{:?}", fold.troubles);
        assert!(of(0).is_empty() && of(8).is_empty());
        assert_eq!(of(10), ["record.json".to_owned()].into());
        assert_eq!(of(28), ["record.json".to_owned()].into());
        assert_eq!(of(1).len(), 4);
        assert_eq!(of(9).len(), 4);
        assert_eq!(of(11).len(), 2);
    }
}
