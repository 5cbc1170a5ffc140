//! The journal of in-use files: which files this sink may have left open.
//!
//! Before a file is made, its name goes into the journal, synced; after it has its final name, or is
//! gone, it is crossed out. What a new process finds there is what the old one left behind, and only
//! that is recovered: a file in the same directory with a matching name may belong to somebody else.
//!
//! Format: a text file, one JSON array a line: `["+", in-use path, final path]` or
//! `["-", in-use path]`. A line without its line feed was cut off by a crash and counts for nothing:
//! the file it names was never made. A crossing-out that is lost costs one look at the file at the
//! next start. The journal is rewritten at each start and when most of it is crossed out.
//!
//! A lock on the file `<journal>.lock` beside it, held by the process, keeps a second one out.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use thiserror::Error;

/// Size beyond which a journal with few names in it is rewritten, bytes.
const REWRITE_BEYOND: u64 = 1 << 20;

/// A file that is, or may be, in use.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    /// Where it is written.
    pub(super) in_use: String,
    /// Where it belongs.
    pub(super) published: String,
}

/// Why the journal cannot be used.
#[derive(Debug, Error)]
pub(super) enum JournalError {
    #[error(
        "journal {path} is in use by another process; an agent of the same name runs already, or \
         another sink has the same hdfs.inUseJournal: give this sink one of its own"
    )]
    Locked { path: PathBuf },
    #[error("{what} journal {path}: {source}; see to the disk, or set hdfs.inUseJournal elsewhere")]
    Io {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(
        "journal {path}, line {line}, is no entry; move the file away after a look at what it names"
    )]
    Malformed { path: PathBuf, line: usize },
}

/// An open journal.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    size: u64,
    /// In-use path → final path.
    entries: BTreeMap<String, String>,
    _lock: Flock<File>,
}

impl Journal {
    /// Opens the journal, making it if there is none; locks it and rewrites it.
    pub(super) fn open(path: &Path) -> Result<Self, JournalError> {
        let io = |what| {
            move |source| JournalError::Io {
                what,
                path: path.to_owned(),
                source,
            }
        };
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).map_err(io("making the directory of"))?;
        }
        let lock = beside(path, "lock");
        let opened = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock);
        let lock = Flock::lock(
            opened.map_err(io("locking"))?,
            FlockArg::LockExclusiveNonblock,
        )
        .map_err(|_| JournalError::Locked {
            path: path.to_owned(),
        })?;
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(io("reading")(source)),
        };
        let entries = read(&text).map_err(|line| JournalError::Malformed {
            path: path.to_owned(),
            line,
        })?;
        let (file, size) = rewrite(path, &entries).map_err(io("writing"))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            size,
            entries,
            _lock: lock,
        })
    }

    /// The files that are not crossed out.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let entry = |(in_use, published): (&String, &String)| Entry {
            in_use: in_use.clone(),
            published: published.clone(),
        };
        self.entries.iter().map(entry).collect()
    }

    /// Notes a file that is about to be made. Returns when the note is on disk.
    pub(super) fn add(&mut self, entry: &Entry) -> Result<(), JournalError> {
        self.entries
            .insert(entry.in_use.clone(), entry.published.clone());
        let line = serde_json::json!(["+", entry.in_use, entry.published]).to_string();
        self.append(line)
            .and_then(|()| {
                crate::fs::count_sync();
                self.file.sync_data()
            })
            .map_err(|source| JournalError::Io {
                what: "writing",
                path: self.path.clone(),
                source,
            })
    }

    /// Crosses a file out. Not synced: see the module's documentation.
    pub(super) fn remove(&mut self, in_use: &str) -> Result<(), JournalError> {
        if self.entries.remove(in_use).is_none() {
            return Ok(());
        }
        let written = if self.size > REWRITE_BEYOND && self.entries.len() < 1000 {
            rewrite(&self.path, &self.entries).map(|(file, size)| {
                self.file = file;
                self.size = size;
            })
        } else {
            self.append(serde_json::json!(["-", in_use]).to_string())
        };
        written.map_err(|source| JournalError::Io {
            what: "writing",
            path: self.path.clone(),
            source,
        })
    }

    fn append(&mut self, mut line: String) -> io::Result<()> {
        line.push('\n');
        self.size += line.len() as u64;
        self.file.write_all(line.as_bytes())
    }
}

/// The path with another ending after its own.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

/// The names in a journal's text that are not crossed out, or the number of a line that is no entry.
fn read(text: &str) -> Result<BTreeMap<String, String>, usize> {
    let mut entries = BTreeMap::new();
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let Some(line) = line.strip_suffix('\n') else {
            break;
        };
        let words: Vec<String> = serde_json::from_str(line).map_err(|_| index + 1)?;
        match words.as_slice() {
            [sign, in_use, published] if sign == "+" => {
                entries.insert(in_use.clone(), published.clone());
            }
            [sign, in_use] if sign == "-" => {
                entries.remove(in_use);
            }
            _ => return Err(index + 1),
        }
    }
    Ok(entries)
}

/// Replaces the journal by one that holds `entries` alone. At any moment either is there, whole.
fn rewrite(path: &Path, entries: &BTreeMap<String, String>) -> io::Result<(File, u64)> {
    let fresh = beside(path, "new");
    let mut text = String::new();
    for (in_use, published) in entries {
        text.push_str(&serde_json::json!(["+", in_use, published]).to_string());
        text.push('\n');
    }
    let mut file = File::options()
        .create(true)
        .write(true)
        .truncate(true)
        .open(&fresh)?;
    file.write_all(text.as_bytes())?;
    crate::fs::count_sync();
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        crate::fs::count_sync();
        File::open(dir)?.sync_all()?;
    }
    Ok((file, text.len() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: u32) -> Entry {
        Entry {
            in_use: format!("/d \"x\"/{n}.tmp"),
            published: format!("/d \"x\"/{n}"),
        }
    }

    #[test]
    fn what_was_not_crossed_out_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/journal");
        let mut journal = Journal::open(&path).unwrap();
        for n in 0..5 {
            journal.add(&entry(n)).unwrap();
        }
        journal.remove(&entry(1).in_use).unwrap();
        journal.remove(&entry(3).in_use).unwrap();
        journal.remove("/never/there").unwrap();
        drop(journal);
        // Twice: the rewritten journal says the same.
        for _ in 0..2 {
            let journal = Journal::open(&path).unwrap();
            assert_eq!(journal.entries(), [entry(0), entry(2), entry(4)]);
        }
    }

    #[test]
    fn a_cut_line_counts_for_nothing_and_a_strange_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        fs::write(
            &path,
            "[\"+\",\"/a.tmp\",\"/a\"]\n[\"+\",\"/b.tmp\",\"/b\"]",
        )
        .unwrap();
        let journal = Journal::open(&path).unwrap();
        assert_eq!(journal.entries().len(), 1);
        drop(journal);
        fs::write(&path, "[\"+\",\"/a.tmp\",\"/a\"]\nrubbish\n").unwrap();
        let error = Journal::open(&path).unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
    }

    #[test]
    fn a_second_process_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let journal = Journal::open(&path).unwrap();
        let error = Journal::open(&path).unwrap_err();
        assert!(matches!(error, JournalError::Locked { .. }), "{error}");
        drop(journal);
        assert!(Journal::open(&path).is_ok());
    }

    #[test]
    fn a_long_journal_is_rewritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let mut journal = Journal::open(&path).unwrap();
        journal.add(&entry(7)).unwrap();
        journal.size = REWRITE_BEYOND;
        journal.add(&entry(8)).unwrap();
        journal.remove(&entry(8).in_use).unwrap();
        assert!(journal.size < 100);
        journal.add(&entry(9)).unwrap();
        drop(journal);
        assert_eq!(
            Journal::open(&path).unwrap().entries(),
            [entry(7), entry(9)]
        );
    }
}
