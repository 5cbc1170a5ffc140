//! An HDFS in memory that does what a script says, for tests of the sink's rules.
//!
//! It keeps what a file has flushed apart from what its writer merely holds, knows which files are
//! open, and notes what no sink may do: rename a file that is still open.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Deadline, FileStatus, Hdfs, HdfsError, HdfsFile};

/// A call that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Create,
    Write,
    Hflush,
    Close,
    Rename,
    RecoverLease,
    Delete,
    Status,
}

/// How it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// Nothing happens.
    Refused,
    /// It happens, but the answer is lost.
    Unanswered,
    /// Nothing happens, and the NameNode says so.
    Denied,
}

#[derive(Debug, Default)]
struct FakeFile {
    bytes: Vec<u8>,
    open: bool,
    /// Calls of `recover_lease` until it is closed.
    polls: u32,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, FakeFile>,
    /// Calls that fail: which, after how many good ones, how many, how.
    script: Vec<(Op, usize, usize, How)>,
    violations: Vec<String>,
    /// A mutant: `close` says yes and does nothing.
    closes_late: bool,
}

/// The file system. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct FakeHdfs {
    state: Arc<Mutex<State>>,
}

fn lost(what: &str, path: &str) -> HdfsError {
    let (what, path) = (what.to_owned(), path.to_owned());
    HdfsError::Timeout {
        what,
        path,
        last: "as the script says".to_owned(),
    }
}

fn remote(what: &str, path: &str, class: &str) -> HdfsError {
    HdfsError::Remote {
        what: what.to_owned(),
        path: path.to_owned(),
        class: format!("org.apache.hadoop.fs.{class}"),
        message: String::new(),
    }
}

impl FakeHdfs {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has `times` calls of `op` fail, after `skip` good ones.
    pub(crate) fn fail(&self, op: Op, skip: usize, times: usize, how: How) {
        self.lock().script.push((op, skip, times, how));
    }

    /// Has every `close` answer before the file is closed.
    pub(crate) fn close_late(&self) {
        self.lock().closes_late = true;
    }

    /// Puts a file there, as another writer would.
    pub(crate) fn put(&self, path: &str, bytes: &[u8], open: bool) {
        let file = FakeFile {
            bytes: bytes.to_vec(),
            open,
            polls: 2,
        };
        self.lock().files.insert(path.to_owned(), file);
    }

    /// Takes a file away, as its owner would.
    pub(crate) fn remove(&self, path: &str) {
        self.lock().files.remove(path);
    }

    /// Paths of all files.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.lock().files.keys().cloned().collect()
    }

    /// Flushed bytes of all files, at one moment.
    pub(crate) fn contents(&self) -> Vec<Vec<u8>> {
        self.lock()
            .files
            .values()
            .map(|file| file.bytes.clone())
            .collect()
    }

    /// Flushed bytes of a file.
    pub(crate) fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        self.lock().files.get(path).map(|file| file.bytes.clone())
    }

    /// Whether a file is open.
    pub(crate) fn is_open(&self, path: &str) -> bool {
        self.lock().files.get(path).is_some_and(|file| file.open)
    }

    /// What was done that may not be done.
    pub(crate) fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }

    /// What the script says of a call: fail before it, after it, or not at all.
    fn plan(&self, op: Op) -> Option<How> {
        for (scripted, skip, times, how) in &mut self.lock().script {
            if *scripted == op {
                if *skip > 0 {
                    *skip -= 1;
                } else if *times > 0 {
                    *times -= 1;
                    return Some(*how);
                }
            }
        }
        None
    }

    /// Makes a call under the script.
    fn call<T>(
        &self,
        op: Op,
        path: &str,
        act: impl FnOnce(&mut State) -> Result<T, HdfsError>,
    ) -> Result<T, HdfsError> {
        let name = format!("{op:?}");
        match self.plan(op) {
            Some(How::Refused) => Err(lost(&name, path)),
            Some(How::Denied) => Err(remote(&name, path, "AccessControlException")),
            Some(How::Unanswered) => {
                act(&mut self.lock())?;
                Err(lost(&name, path))
            }
            None => act(&mut self.lock()),
        }
    }
}

impl Hdfs for FakeHdfs {
    fn create(&self, path: &str, _: Deadline) -> Result<Box<dyn HdfsFile>, HdfsError> {
        self.call(Op::Create, path, |state| {
            if state.files.contains_key(path) {
                return Err(remote("create", path, "FileAlreadyExistsException"));
            }
            let file = FakeFile {
                bytes: Vec::new(),
                open: true,
                polls: 2,
            };
            state.files.insert(path.to_owned(), file);
            Ok(())
        })?;
        let (hdfs, path) = (self.clone(), path.to_owned());
        Ok(Box::new(FakeWriter {
            hdfs,
            path,
            held: Vec::new(),
            broken: false,
        }))
    }

    fn rename(&self, from: &str, to: &str, _: Deadline) -> Result<(), HdfsError> {
        self.call(Op::Rename, from, |state| {
            if state.files.contains_key(to) {
                return Err(remote("rename", from, "FileAlreadyExistsException"));
            }
            let Some(file) = state.files.remove(from) else {
                return Err(remote("rename", from, "FileNotFoundException"));
            };
            if file.open {
                state
                    .violations
                    .push(format!("{from} was renamed while it was open"));
            }
            state.files.insert(to.to_owned(), file);
            Ok(())
        })
    }

    fn recover_lease(&self, path: &str, _: Deadline) -> Result<bool, HdfsError> {
        self.call(Op::RecoverLease, path, |state| {
            let Some(file) = state.files.get_mut(path) else {
                return Err(remote("recoverLease", path, "FileNotFoundException"));
            };
            file.polls = file.polls.saturating_sub(1);
            file.open = file.open && file.polls > 0;
            Ok(!file.open)
        })
    }

    fn delete(&self, path: &str, _: Deadline) -> Result<bool, HdfsError> {
        self.call(Op::Delete, path, |state| {
            let gone = state.files.remove(path);
            if gone.as_ref().is_some_and(|file| !file.bytes.is_empty()) {
                state
                    .violations
                    .push(format!("{path} was deleted and not empty"));
            }
            Ok(gone.is_some())
        })
    }

    fn status(&self, path: &str, _: Deadline) -> Result<Option<FileStatus>, HdfsError> {
        self.call(Op::Status, path, |state| {
            Ok(state.files.get(path).map(|file| FileStatus {
                path: path.to_owned(),
                is_dir: false,
                length: file.bytes.len() as u64,
            }))
        })
    }

    fn mkdirs(&self, _: &str, _: Deadline) -> Result<(), HdfsError> {
        Ok(())
    }

    fn list(&self, path: &str, _: Deadline) -> Result<Vec<FileStatus>, HdfsError> {
        let below = format!("{path}/");
        let state = self.lock();
        let files = state
            .files
            .iter()
            .filter(|(name, _)| name.starts_with(&below));
        Ok(files
            .map(|(name, file)| FileStatus {
                path: name.clone(),
                is_dir: false,
                length: file.bytes.len() as u64,
            })
            .collect())
    }
}

/// A file being written. Bytes that are not flushed are lost with it.
#[derive(Debug)]
struct FakeWriter {
    hdfs: FakeHdfs,
    path: String,
    held: Vec<u8>,
    broken: bool,
}

impl FakeWriter {
    fn step(&mut self, op: Op, close: bool) -> Result<(), HdfsError> {
        if self.broken {
            return Err(HdfsError::Broken {
                path: self.path.clone(),
            });
        }
        let held = std::mem::take(&mut self.held);
        let done = self.hdfs.call(op, &self.path, |state| {
            let late = state.closes_late;
            match state.files.get_mut(&self.path).filter(|file| file.open) {
                Some(file) => {
                    file.bytes.extend_from_slice(&held);
                    file.open = !close || late;
                    Ok(())
                }
                None => Err(remote("flush", &self.path, "LeaseExpiredException")),
            }
        });
        self.broken = done.is_err();
        done
    }
}

impl HdfsFile for FakeWriter {
    fn write(&mut self, data: &[u8], _: Deadline) -> Result<(), HdfsError> {
        if self.hdfs.plan(Op::Write).is_some() {
            self.broken = true;
        }
        if self.broken {
            return Err(HdfsError::Broken {
                path: self.path.clone(),
            });
        }
        self.held.extend_from_slice(data);
        Ok(())
    }

    fn hflush(&mut self, _: Deadline) -> Result<(), HdfsError> {
        self.step(Op::Hflush, false)
    }

    fn close(mut self: Box<Self>, _: Deadline) -> Result<(), HdfsError> {
        self.step(Op::Close, true)
    }
}
