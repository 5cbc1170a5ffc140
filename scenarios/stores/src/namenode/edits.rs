//! The edit log: every change of the namespace, in order, on disk before anybody is told of it.
//!
//! ```text
//! line     8 hexadecimal digits: CRC32C of the JSON | space | JSON of one edit | newline
//! ```
//!
//! A line is written, in one write, while the namespace is locked, so what one client has seen outlives a
//! SIGKILL even before it is synced; it is synced before the call that made it is answered. Calls
//! that wait at the same time share one sync. A last line that is cut short or wrong is what was being
//! written when the process died: nobody was told of it, and it is cut off. A wrong line before the last is
//! damage, and refused.
//!
//! There is no checkpoint: the log is replayed whole, at some 200,000 edits a second, and a run makes a few
//! thousand.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::{StoreError, lock};

/// A change. Inodes, blocks and files go by their numbers; times are ms since the epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(crate) enum Edit {
    /// The first of each log.
    Format {
        pool: String,
    },
    Mkdir {
        parent: u64,
        name: String,
        id: u64,
        perm: u32,
        user: String,
        time: u64,
    },
    Create(Box<Create>),
    AddBlock {
        file: u64,
        block: u64,
        stamp: u64,
    },
    /// What is known of a block; once committed, the writer says nothing more of it.
    Block {
        file: u64,
        block: u64,
        stamp: u64,
        length: u64,
        committed: bool,
    },
    DropBlock {
        file: u64,
        block: u64,
    },
    /// A generation stamp was given out.
    Stamp {
        stamp: u64,
    },
    /// The NameNode takes the lease, to recover it.
    Recover {
        file: u64,
        stamp: u64,
    },
    Close {
        file: u64,
        time: u64,
    },
    Rename {
        id: u64,
        parent: u64,
        name: String,
        over: Option<u64>,
        time: u64,
        call: String,
    },
    Delete {
        id: u64,
        time: u64,
        call: String,
    },
    Attributes(Attributes),
}

/// A new file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Create {
    pub(crate) parent: u64,
    pub(crate) name: String,
    pub(crate) id: u64,
    pub(crate) perm: u32,
    pub(crate) user: String,
    /// The client that has the lease.
    pub(crate) holder: String,
    pub(crate) replication: u32,
    pub(crate) block_size: u64,
    pub(crate) time: u64,
    /// The file that gives way.
    pub(crate) over: Option<u64>,
    pub(crate) call: String,
}

/// New attributes; those that are absent stay.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Attributes {
    pub(crate) id: u64,
    pub(crate) perm: Option<u32>,
    pub(crate) owner: Option<String>,
    pub(crate) group: Option<String>,
    pub(crate) replication: Option<u32>,
    pub(crate) mtime: Option<u64>,
    pub(crate) atime: Option<u64>,
}

#[derive(Debug, Default)]
struct Progress {
    written: u64,
    synced: u64,
    syncing: bool,
}

/// The log.
#[derive(Debug)]
pub(crate) struct EditLog {
    file: File,
    progress: Mutex<Progress>,
    done: Condvar,
}

impl EditLog {
    /// Opens the log in a directory, makes one if there is none, and returns what it says.
    pub(crate) fn open(dir: &Path) -> Result<(Self, Vec<Edit>), StoreError> {
        std::fs::create_dir_all(dir).map_err(StoreError::io("making", dir.display()))?;
        let path = dir.join("edits");
        let name = path.display().to_string();
        let io = |what| StoreError::io(what, name.clone());
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(&path)
            .map_err(io("opening"))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io("reading"))?;
        let (edits, whole) = parse(&bytes).map_err(|(at, why)| StoreError::Damaged {
            file: name.clone(),
            at,
            why,
        })?;
        if whole < bytes.len() {
            tracing::warn!(
                file = name,
                bytes = bytes.len() - whole,
                "an edit that was never finished is cut off"
            );
            file.set_len(whole as u64).map_err(io("cutting"))?;
        }
        // The directory entry of a new log must last as well.
        file.sync_all().map_err(io("syncing"))?;
        File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(StoreError::io("syncing", dir.display()))?;
        Ok((
            Self {
                file,
                progress: Mutex::default(),
                done: Condvar::new(),
            },
            edits,
        ))
    }

    /// Writes an edit. The caller holds the namespace's lock, which keeps the order.
    pub(crate) fn write(&self, edit: &Edit) -> std::io::Result<()> {
        (&self.file).write_all(&line(edit)?)?;
        lock(&self.progress).written += 1;
        Ok(())
    }

    /// How many edits were written since the start.
    pub(crate) fn written(&self) -> u64 {
        lock(&self.progress).written
    }

    /// Returns when the first `count` edits are on disk.
    pub(crate) fn sync(&self, count: u64) -> std::io::Result<()> {
        let mut progress = lock(&self.progress);
        while progress.synced < count {
            if progress.syncing {
                progress = self
                    .done
                    .wait(progress)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            progress.syncing = true;
            let upto = progress.written;
            drop(progress);
            let outcome = self.file.sync_data();
            progress = lock(&self.progress);
            progress.syncing = false;
            self.done.notify_all();
            outcome?;
            progress.synced = progress.synced.max(upto);
        }
        Ok(())
    }
}

fn line(edit: &Edit) -> std::io::Result<Vec<u8>> {
    let json = serde_json::to_vec(edit)?;
    let mut line = format!("{:08x} ", crc32c::crc32c(&json)).into_bytes();
    line.extend_from_slice(&json);
    line.push(b'\n');
    Ok(line)
}

/// The edits, and how many bytes they take; or where the log is damaged, and how.
fn parse(bytes: &[u8]) -> Result<(Vec<Edit>, usize), (u64, String)> {
    let mut edits = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let Some(len) = bytes[at..].iter().position(|byte| *byte == b'\n') else {
            break;
        };
        match parse_line(&bytes[at..at + len]) {
            Ok(edit) => edits.push(edit),
            Err(_) if at + len + 1 == bytes.len() => break,
            Err(why) => return Err((at as u64, why)),
        }
        at += len + 1;
    }
    Ok((edits, at))
}

fn parse_line(line: &[u8]) -> Result<Edit, String> {
    let (sum, json) = line.split_at_checked(9).ok_or("a line that is too short")?;
    let sum = std::str::from_utf8(&sum[..8])
        .ok()
        .and_then(|sum| u32::from_str_radix(sum, 16).ok());
    if sum != Some(crc32c::crc32c(json)) {
        return Err("a line with a wrong checksum".to_owned());
    }
    serde_json::from_slice(json).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edits() -> Vec<Edit> {
        vec![
            Edit::Format {
                pool: "BP-1".into(),
            },
            Edit::Mkdir {
                parent: 1,
                name: "a\nb ä".into(),
                id: 2,
                perm: 0o755,
                user: "u".into(),
                time: 3,
            },
            Edit::Close { file: 9, time: 4 },
        ]
    }

    fn bytes() -> Vec<u8> {
        edits()
            .iter()
            .flat_map(|edit| line(edit).unwrap())
            .collect()
    }

    #[test]
    fn a_log_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let (log, none) = EditLog::open(dir.path()).unwrap();
        assert!(none.is_empty());
        for edit in edits() {
            log.write(&edit).unwrap();
        }
        log.sync(log.written()).unwrap();
        assert_eq!(EditLog::open(dir.path()).unwrap().1, edits());
    }

    #[test]
    fn a_torn_end_is_cut_off_wherever_it_is_torn() {
        let whole = bytes();
        let last = line(&edits()[2]).unwrap().len();
        for cut in 1..=last {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("edits"), &whole[..whole.len() - cut]).unwrap();
            let (log, replayed) = EditLog::open(dir.path()).unwrap();
            assert_eq!(replayed, edits()[..2]);
            log.write(&edits()[2]).unwrap();
            assert_eq!(EditLog::open(dir.path()).unwrap().1, edits());
        }
    }

    #[test]
    fn damage_before_the_end_is_refused() {
        let mut damaged = bytes();
        let first = line(&edits()[0]).unwrap().len();
        damaged[first + 20] ^= 1;
        assert_eq!(parse(&damaged).unwrap_err().0, first as u64);
    }
}
