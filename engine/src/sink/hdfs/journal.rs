//! The journal of in-use files: which files this sink may have left open.
//!
//! Before a file is made, its name goes into the journal, synced; after it has its final name, or is
//! gone, it is crossed out. What a new process finds there is what the old one left behind, and only
//! that is recovered: a file in the same directory with a matching name may belong to somebody else.
//!
//! Format: a text file, one JSON array a line: `["+", in-use path, final path]` or
//! `["-", in-use path]`. A line without its line feed was cut off by a crash and counts for nothing:
//! the file it names was never made. Nor does the beginning of a line count that a full disk cut off
//! and another line was written behind: that note failed too. (An append that fails is cut off the
//! journal again; this is for one that could not be.) A crossing-out that is lost costs one look at
//! the file at the next start. The journal is rewritten at each start and when most of it is crossed
//! out.
//!
//! A lock on the file `<journal>.lock` beside it, held by the process, keeps a second one out.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use thiserror::Error;
use tracing::warn;

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
    /// Bytes of whole lines.
    size: u64,
    /// Whether a part of a line may stand behind them.
    torn: bool,
    /// Whether a sync has failed: what this file holds may never reach the disk, whatever a later sync of it
    /// says, so it is written anew before the next line.
    suspect: bool,
    /// In-use path → final path.
    entries: BTreeMap<String, String>,
    _lock: Flock<File>,
    /// Bytes the disk still takes.
    #[cfg(test)]
    room: Option<usize>,
    /// The next sync fails.
    #[cfg(test)]
    sync_fails: bool,
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
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(io("reading")(source)),
        };
        // A line may have been cut off within a character.
        let entries =
            read(&String::from_utf8_lossy(&text)).map_err(|line| JournalError::Malformed {
                path: path.to_owned(),
                line,
            })?;
        let (file, size) = rewrite(path, &entries).map_err(io("writing"))?;
        sync_directory(path).map_err(io("writing"))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            size,
            torn: false,
            suspect: false,
            entries,
            _lock: lock,
            #[cfg(test)]
            room: None,
            #[cfg(test)]
            sync_fails: false,
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

    /// Notes a file that is about to be made. Returns when the note is on disk. On an error the file
    /// must not be made, and is not noted.
    pub(super) fn add(&mut self, entry: &Entry) -> Result<(), JournalError> {
        let line = serde_json::json!(["+", entry.in_use, entry.published]).to_string();
        self.append(line)
            .and_then(|()| self.sync())
            .map_err(|source| JournalError::Io {
                what: "writing",
                path: self.path.clone(),
                source,
            })?;
        self.entries
            .insert(entry.in_use.clone(), entry.published.clone());
        Ok(())
    }

    /// Crosses a file out. Not synced: see the module's documentation.
    pub(super) fn remove(&mut self, in_use: &str) -> Result<(), JournalError> {
        if self.entries.remove(in_use).is_none() {
            return Ok(());
        }
        let written = if self.size > REWRITE_BEYOND && self.entries.len() < 1000 {
            self.renew()
        } else {
            self.append(serde_json::json!(["-", in_use]).to_string())
        };
        written.map_err(|source| JournalError::Io {
            what: "writing",
            path: self.path.clone(),
            source,
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        crate::fs::count_sync();
        #[cfg(test)]
        if std::mem::take(&mut self.sync_fails) {
            self.suspect = true;
            return Err(io::ErrorKind::Other.into());
        }
        let synced = self.file.sync_data();
        self.suspect |= synced.is_err();
        synced
    }

    /// Writes another file with what is noted, in place of this one.
    fn renew(&mut self) -> io::Result<()> {
        let (file, size) = rewrite(&self.path, &self.entries)?;
        // The new one has the name now, whether or not that is durable yet.
        self.file = file;
        self.size = size;
        (self.torn, self.suspect) = (false, false);
        sync_directory(&self.path)
    }

    /// Adds a line, or nothing.
    fn append(&mut self, mut line: String) -> io::Result<()> {
        line.push('\n');
        if self.suspect {
            self.renew()?;
        }
        self.cut()?;
        let written = self.write(line.as_bytes());
        if written.is_ok() {
            self.size += line.len() as u64;
        } else {
            self.torn = true;
            // If it cannot be cut off now, it is before the next line.
            let _ = self.cut();
        }
        written
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        if let Some(room) = self.room.filter(|room| *room < line.len()) {
            self.file.write_all(&line[..room])?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write_all(line)
    }

    /// Cuts off what a failed append has left.
    fn cut(&mut self) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.size)?;
            self.file.seek(SeekFrom::Start(self.size))?;
            self.torn = false;
        }
        Ok(())
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
        let words = words(line).ok_or(index + 1)?;
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

/// What a line says; of one that begins with the part of another, what follows that part. In an entry
/// no name can look like the beginning of one: its quotation marks would be escaped.
fn words(line: &str) -> Option<Vec<String>> {
    let parse = |text: &str| serde_json::from_str::<Vec<String>>(text).ok();
    parse(line).or_else(|| {
        let whole = ["[\"+\",", "[\"-\","]
            .into_iter()
            .filter_map(|begin| line.rfind(begin))
            .max()
            .and_then(|at| parse(&line[at..]))?;
        warn!(
            line,
            "a part of a line in the journal of in-use files counts for nothing"
        );
        Some(whole)
    })
}

/// Replaces the journal by one that holds `entries` alone. At any moment either is there, whole;
/// which of them after a crash is certain after [`sync_directory`].
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
    Ok((file, text.len() as u64))
}

/// Makes it durable which file has the journal's name.
fn sync_directory(path: &Path) -> io::Result<()> {
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        crate::fs::count_sync();
        File::open(dir)?.sync_all()?;
    }
    Ok(())
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
    fn a_sync_that_failed_is_not_tried_again_on_the_same_file() {
        use std::os::unix::fs::MetadataExt as _;

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let mut journal = Journal::open(&path).unwrap();
        journal.add(&entry(0)).unwrap();
        let before = fs::metadata(&path).unwrap().ino();
        journal.sync_fails = true;
        journal.add(&entry(1)).unwrap_err();
        assert_eq!(journal.entries(), [entry(0)]);
        journal.add(&entry(2)).unwrap();
        assert_ne!(fs::metadata(&path).unwrap().ino(), before);
        drop(journal);
        let journal = Journal::open(&path).unwrap();
        assert_eq!(journal.entries(), [entry(0), entry(2)]);
    }

    /// What a full disk left before appends that fail were cut off.
    #[test]
    fn a_line_joined_to_a_part_of_another_counts_and_the_part_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let whole = |n| serde_json::json!(["+", entry(n).in_use, entry(n).published]).to_string();
        let crossed_out = serde_json::json!(["-", entry(0).in_use]).to_string();
        let (part, next) = (whole(1), whole(2));
        for cut in 0..=part.len() {
            // Also two of them, in front of either kind.
            let text = format!(
                "{}\n{1}{1}{next}\n{1}{crossed_out}\n",
                whole(0),
                &part[..cut]
            );
            fs::write(&path, text).unwrap();
            assert_eq!(Journal::open(&path).unwrap().entries(), [entry(2)], "{cut}");
        }
    }

    #[test]
    fn a_line_cut_off_within_a_character_counts_for_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        fs::write(&path, b"[\"+\",\"/a.tmp\",\"/a\"]\n[\"+\",\"/\xc3").unwrap();
        assert_eq!(Journal::open(&path).unwrap().entries().len(), 1);
    }

    #[test]
    fn a_full_disk_leaves_whole_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let mut journal = Journal::open(&path).unwrap();
        journal.add(&entry(1)).unwrap();
        for room in 0..30 {
            journal.room = Some(room);
            assert!(journal.add(&entry(2)).is_err());
            assert_eq!(journal.entries(), [entry(1)]);
            journal.room = None;
            journal.add(&entry(3)).unwrap();
            journal.room = Some(room.min(5));
            assert!(journal.remove(&entry(3).in_use).is_err());
            journal.room = None;
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.ends_with('\n') && text.lines().all(|line| words(line).is_some()));
            assert!(!text.contains("/2.tmp"), "{text}");
        }
        drop(journal);
        // The crossing-out did not get there: the file is looked at once more.
        let journal = Journal::open(&path).unwrap();
        assert_eq!(journal.entries(), [entry(1), entry(3)]);
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
