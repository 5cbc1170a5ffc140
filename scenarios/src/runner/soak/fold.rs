//! Bounds the disk of a soak: what was judged and is whole is folded.
//!
//! - The store: files that the agent has closed and whose events are all judged are removed. A file that
//!   a process of the agent has open, or that has an in-use name, stays; all of them do where it cannot
//!   be known what is open. Nothing is in flight then, so everything in a closed file belongs to a round
//!   that was judged.
//! - The rounds: of one that passed, the record alone is kept, for the last [`RECORDS`]. Of the first
//!   [`WHOLE`] that did not pass everything is kept, journal included, so they can be judged again; of
//!   later ones record and history, for the last [`RECORDS`] of those too.

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use flume_bench_reports::verdict::Verdict;

use crate::process::procfs::{self, Stat};
use crate::runner::world::World;
use crate::store::{Inode, Removed, Running};

/// Rounds that passed of which the record is kept, and of the others beyond [`WHOLE`].
const RECORDS: usize = 10;
/// Rounds that did not pass, of which everything is kept.
const WHOLE: usize = 5;

/// What was folded so far.
#[derive(Debug, Default)]
pub(super) struct Fold {
    passed: VecDeque<PathBuf>,
    /// Those that did not pass: how many are whole, and the later ones.
    whole: usize,
    others: VecDeque<PathBuf>,
    /// What was removed from the store.
    pub(super) removed: Removed,
    /// What could not be, a line each, without repetitions.
    pub(super) troubles: BTreeSet<String>,
}

impl Fold {
    /// Removes what has been judged from the store.
    pub(super) fn store(&mut self, world: &World, store: &dyn Running) {
        match store.remove_judged(&|| open_files(world)) {
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
        let (rounds, keep): (_, &[&str]) = if verdict == Verdict::Pass {
            (&mut self.passed, &["record.json"])
        } else if self.whole < WHOLE {
            self.whole += 1;
            return;
        } else {
            (&mut self.others, &["record.json", "history.jsonl"])
        };
        rounds.push_back(directory.to_owned());
        let oldest = if rounds.len() > RECORDS {
            rounds.pop_front()
        } else {
            None
        };
        let result = thin(directory, keep).and_then(|()| oldest.map_or(Ok(()), fs::remove_dir_all));
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
fn open_files(world: &World) -> Result<BTreeSet<Inode>, String> {
    let agent = world.process("agent").filter(|process| process.alive());
    let agent = agent.ok_or("the agent has ended, and who writes its files is not known")?;
    let mut pids = vec![agent.pid()];
    pids.extend(procfs::descendants(agent.pid()).iter().map(|stat| stat.pid));
    open_by(&pids, |pid| PathBuf::from(format!("/proc/{pid}/fd")))
}

/// The files that processes have open, which `descriptors` lists of each.
fn open_by(pids: &[i32], descriptors: impl Fn(i32) -> PathBuf) -> Result<BTreeSet<Inode>, String> {
    let mut open = BTreeSet::new();
    for pid in pids {
        if let Err(error) = add_open(&descriptors(*pid), &mut open)
            && Stat::read(*pid).is_some_and(|stat| !stat.state.has_ended())
        {
            return Err(format!(
                "which files the agent has open cannot be known, so none was removed: {error}"
            ));
        }
    }
    Ok(open)
}

/// What one process has open; a descriptor that is closed meanwhile is none.
fn add_open(descriptors: &Path, open: &mut BTreeSet<Inode>) -> io::Result<()> {
    for entry in fs::read_dir(descriptors)? {
        match fs::metadata(entry?.path()) {
            Ok(metadata) => {
                open.insert(Inode::from(&metadata));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
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
        // Of the ten that did not pass after them the last ten are kept, which are all.
        assert_eq!(of(11).len(), 2);
        for number in 30..34 {
            fold.round(&round(root.path(), number), Verdict::Inconclusive);
        }
        assert!(of(11).is_empty() && of(17).is_empty(), "without bound");
        assert_eq!(
            of(19),
            ["history.jsonl".to_owned(), "record.json".to_owned()].into()
        );
        assert_eq!((of(9).len(), of(33).len()), (4, 2));
    }

    #[test]
    fn a_file_is_open_by_whatever_name_and_what_cannot_be_looked_at_is_no_empty_answer() {
        let root = tempfile::tempdir().unwrap();
        let [held, closed, renamed] = ["held", "closed", "renamed"].map(|it| root.path().join(it));
        let handle = fs::File::create(&held).unwrap();
        fs::write(&closed, "x").unwrap();
        fs::rename(&held, &renamed).unwrap();
        let own = [i32::try_from(std::process::id()).unwrap()];
        let of = |pid: i32| PathBuf::from(format!("/proc/{pid}/fd"));
        let open = open_by(&own, of).unwrap();
        let inode = |path: &Path| Inode::from(&fs::metadata(path).unwrap());
        assert!(open.contains(&inode(&renamed)) && !open.contains(&inode(&closed)));
        drop(handle);
        // A process that lives and whose descriptors nobody lists; one that there is not.
        assert!(open_by(&own, |_| closed.clone()).is_err());
        assert_eq!(open_by(&[i32::MAX], of), Ok(BTreeSet::new()));
    }
}
