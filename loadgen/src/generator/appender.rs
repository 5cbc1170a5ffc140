//! A file that is appended to and rotated, for the sources that follow one (`tail`, `exec`).
//!
//! All producers share one appender. A whole batch goes out in one write, so that a follower never
//! waits in the middle of a batch for longer than the kernel copies it.
//!
//! Rotation happens before the write that would take the file past `rotate_every_bytes`:
//!
//! - `rename`: the file becomes `<path>.<n>`, n counting up from 1 (no file is renamed twice and
//!   none is deleted), and a new one takes its place.
//! - `copy_truncate`: once the follower's position file covers the whole file, it is copied to
//!   `<path>.<n>` and emptied. Writers wait meanwhile, which is response time of what they hold,
//!   not slip; and they wait until the follower has noticed that the file is empty, or the burst
//!   that follows could hide from it that it ever was. Where the follower does not get that far
//!   within `cover_within_ms`, the rotation is put off until as much again has been written.
//!
//! A rotation by copying takes as long as the follower's habits: Flume writes its position file
//! every `writePosInterval` (3 s) and looks at a quiet file every `maxBackoffSleep` (5 s) at the
//! latest, so that a pause of 10 s was seen with its defaults. Set both low, or rotate seldom.
//!
//! The position file is Flume's: a JSON array of `{"inode", "pos", "file"}`, rewritten in place, so
//! that a read may find it empty or cut short, which counts as "not covered yet".

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde::Deserialize;

use crate::observe::{Answer, Batch};

use super::{Bodies, GeneratorError, Link, Part, Patience};

/// How often the position file is looked at.
const POLL: Duration = Duration::from_millis(20);

/// How a file is rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// It gets another name, and a new one takes its place.
    Rename,
    /// It is copied and emptied.
    CopyTruncate,
}

/// When and how to rotate.
#[derive(Debug, Clone)]
pub(super) struct Rotation {
    pub(super) every: u64,
    pub(super) how: How,
    /// The follower's position file and how long to wait for it; needed by `copy_truncate`.
    pub(super) positions: Option<(PathBuf, Duration)>,
}

/// The file, opened at the first write.
#[derive(Debug)]
pub(super) struct Appender {
    path: PathBuf,
    rotation: Option<Rotation>,
    open: Option<File>,
    size: u64,
    /// Size from which the next rotation is due.
    due: u64,
    rotated: u32,
}

/// One line of the position file; unknown keys are not ours to judge.
#[derive(Debug, Deserialize)]
struct Position {
    inode: u64,
    pos: u64,
}

impl Appender {
    pub(super) fn new(path: PathBuf, rotation: Option<Rotation>) -> Appender {
        let due = rotation
            .as_ref()
            .map_or(u64::MAX, |rotation| rotation.every);
        Appender {
            path,
            rotation,
            open: None,
            size: 0,
            due,
            rotated: 0,
        }
    }

    /// Makes the file if it is not there, and opens it.
    pub(super) fn file(&mut self) -> Result<&mut File, GeneratorError> {
        let file = match self.open.take() {
            Some(file) => file,
            None => {
                let opened = OpenOptions::new()
                    .append(true)
                    .create(true)
                    .open(&self.path);
                let file = opened.map_err(|error| self.error("open", error))?;
                self.size = file
                    .metadata()
                    .map_err(|error| self.error("look at", error))?
                    .len();
                file
            }
        };
        Ok(self.open.insert(file))
    }

    /// Appends a batch, after a rotation if one is due. An abort cuts the rotation short, but the
    /// batch is written all the same: it has been reported as sent.
    fn append(&mut self, lines: &[u8], patience: &Patience<'_>) -> Result<(), GeneratorError> {
        self.file()?;
        let after = self.size + lines.len() as u64;
        if self.size > 0 && after > self.due {
            self.rotate(patience)?;
        }
        let written = self.file()?.write_all(lines);
        written.map_err(|error| self.error("append to", error))?;
        self.size += lines.len() as u64;
        Ok(())
    }

    fn rotate(&mut self, patience: &Patience<'_>) -> Result<(), GeneratorError> {
        let Some(rotation) = self.rotation.clone() else {
            return Ok(());
        };
        let aside = self.aside()?;
        match (rotation.how, &rotation.positions) {
            (How::Rename, _) => {
                fs::rename(&self.path, &aside).map_err(|error| self.error("rename", error))?;
                self.open = None;
                self.file()?;
            }
            (How::CopyTruncate, Some((positions, within))) => {
                let inode = self.inode()?;
                let size = self.size;
                let covered = |pos: Option<u64>| pos.is_some_and(|pos| pos >= size);
                if !wait_for(positions, inode, *within, patience, covered) {
                    self.due = self.size.saturating_add(rotation.every);
                    return Ok(());
                }
                fs::copy(&self.path, &aside).map_err(|error| self.error("copy", error))?;
                let emptied = self.file()?.set_len(0);
                emptied.map_err(|error| self.error("truncate", error))?;
                self.size = 0;
                let noticed = |pos: Option<u64>| pos.is_none_or(|pos| pos == 0);
                wait_for(positions, inode, *within, patience, noticed);
            }
            (How::CopyTruncate, None) => return Ok(()),
        }
        self.due = rotation.every;
        Ok(())
    }

    /// The next name that is free.
    fn aside(&mut self) -> Result<PathBuf, GeneratorError> {
        loop {
            self.rotated = self.rotated.checked_add(1).ok_or_else(|| {
                self.error(
                    "find a free name beside",
                    io::ErrorKind::AlreadyExists.into(),
                )
            })?;
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{}", self.rotated));
            if !Path::new(&name).exists() {
                return Ok(name.into());
            }
        }
    }

    fn inode(&mut self) -> Result<u64, GeneratorError> {
        let metadata = self.file()?.metadata();
        Ok(metadata
            .map_err(|error| self.error("look at", error))?
            .ino())
    }

    fn error(&self, what: &'static str, source: io::Error) -> GeneratorError {
        GeneratorError::File {
            what,
            path: self.path.clone(),
            source,
        }
    }
}

/// Waits until the position of `inode` is as wanted; false if it was not within the time.
fn wait_for(
    positions: &Path,
    inode: u64,
    within: Duration,
    patience: &Patience<'_>,
    wanted: impl Fn(Option<u64>) -> bool,
) -> bool {
    let deadline = patience.clock.raw() + within;
    loop {
        // Read while it is being rewritten, the file is empty or cut: look again.
        let listed = fs::read(positions)
            .ok()
            .and_then(|text| serde_json::from_slice::<Vec<Position>>(&text).ok());
        if let Some(listed) = listed {
            let of_ours = listed.iter().find(|position| position.inode == inode);
            if wanted(of_ours.map(|position| position.pos)) {
                return true;
            }
        }
        let aborted = patience.stop.load(std::sync::atomic::Ordering::Relaxed);
        if aborted || patience.clock.raw() >= deadline {
            return false;
        }
        thread::sleep(POLL);
    }
}

/// A producer's way to the shared file.
pub(super) struct FileLink {
    pub(super) file: Arc<Mutex<Appender>>,
    pub(super) lines: Vec<u8>,
    pub(super) count: u32,
}

impl FileLink {
    pub(super) fn new(file: Arc<Mutex<Appender>>) -> FileLink {
        FileLink {
            file,
            lines: Vec::new(),
            count: 0,
        }
    }
}

/// Locks the appender; a thread that panicked while it held the lock has left a usable file.
pub(super) fn lock(file: &Mutex<Appender>) -> MutexGuard<'_, Appender> {
    file.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Link for FileLink {
    fn open(&mut self, _patience: &Patience<'_>) -> io::Result<()> {
        Ok(())
    }

    fn build(&mut self, batch: &Batch, bodies: &Bodies) -> Result<(), GeneratorError> {
        self.lines.clear();
        self.count = batch.count;
        bodies.write_lines(batch, &mut self.lines);
        Ok(())
    }

    fn exchange(
        &mut self,
        patience: &Patience<'_>,
        parts: &mut Vec<Part>,
    ) -> Result<(), GeneratorError> {
        lock(&self.file).append(&self.lines, patience)?;
        parts.push(Part {
            count: self.count,
            answer: Answer::Acked,
            at: patience.clock.now(),
        });
        Ok(())
    }

    fn position(&self) -> Option<(std::net::SocketAddr, u64)> {
        None
    }

    fn close(&mut self) {}
}
