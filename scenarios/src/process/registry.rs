//! The list of everything a run has started, on disk before and after each start.
//!
//! `processes.json` in the run's directory holds the identity of the harness, the boot of the
//! machine, and one entry per process: role, argument vector, pid, start time. It is replaced as a
//! whole (written beside, then renamed), so a reader sees one state or the next. An entry is
//! written without a pid before the process is started and completed after: a harness killed
//! between the two leaves a process that is still found, by the mark in its environment.
//!
//! [`sweep`] ends what a killed harness left. It touches a process only if pid *and* start time
//! match an entry, or if it was started with the mark of that very run; the signal goes through a
//! process descriptor, which cannot change hands between the look and the kill. A run whose
//! harness is alive is left alone.
//!
//! Limits: a descendant that leaves the group *and* clears its environment is not found.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::procfs::{self, Identity};
use super::{Process, ProcessError, Signal, Spawn};

/// Name of the list inside a run's directory.
pub const FILE: &str = "processes.json";

/// The variable whose value marks everything a run has started.
pub const MARK: &str = "FLUME_BENCH_RUN";

/// So many levels below the runs' own directory, runs are still looked for.
const DEEPER: u32 = 2;

/// The list as it stands on disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct List {
    harness: Identity,
    boot_id: String,
    mark: String,
    /// Whether everything on it has been ended.
    closed: bool,
    processes: Vec<Entry>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    role: String,
    argv: Vec<String>,
    /// `None` while the process is being started, or if it could not be.
    identity: Option<Identity>,
}

/// All processes of one run; clones are handles to the same list. When the last handle is dropped
/// everything is killed that has not been ended before.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    book: Mutex<Book>,
}

struct Book {
    list: List,
    processes: Vec<Process>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("path", &self.inner.path)
            .finish_non_exhaustive()
    }
}

impl Registry {
    /// Begins the list of a run in its directory, which must exist.
    pub fn create(directory: &Path) -> Result<Self, ProcessError> {
        let path = directory.join(FILE);
        let harness = Identity::own().ok_or_else(|| ProcessError::Registry {
            path: path.clone(),
            what: "reading /proc about this process",
            source: io::ErrorKind::NotFound.into(),
        })?;
        let boot_id = procfs::boot_id();
        // The path is in the mark because one process may have several runs, as the tests do.
        let full = fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
        let mark = format!("{}-{}-{}", harness.pid, harness.start, full.display());
        let list = List {
            harness,
            boot_id,
            mark,
            closed: false,
            processes: Vec::new(),
        };
        save(&path, &list)?;
        let book = Mutex::new(Book {
            list,
            processes: Vec::new(),
        });
        Ok(Self {
            inner: Arc::new(Inner { path, book }),
        })
    }

    /// Starts a process and puts it on the list.
    pub fn spawn(&self, spec: &Spawn) -> Result<Process, ProcessError> {
        let mut book = self.inner.book();
        let argv = spec
            .argv
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let entry = Entry {
            role: spec.role.clone(),
            argv,
            identity: None,
        };
        let index = book.list.processes.len();
        book.list.processes.push(entry);
        save(&self.inner.path, &book.list)?;
        let process = Process::spawn(spec, &marker(&book.list))?;
        book.list.processes[index].identity = Some(process.identity());
        book.processes.push(process.clone());
        if let Err(error) = save(&self.inner.path, &book.list) {
            // What cannot be found again must not be left running.
            drop(process.signal_group(Signal::SIGKILL));
            return Err(error);
        }
        Ok(process)
    }

    /// Everything that was started, in order, ended or not.
    pub fn processes(&self) -> Vec<Process> {
        self.inner.book().processes.clone()
    }

    /// What has not ended.
    pub fn living(&self) -> Vec<Process> {
        let book = self.inner.book();
        book.processes
            .iter()
            .filter(|process| process.alive())
            .cloned()
            .collect()
    }

    /// The process that was last started in this role.
    pub fn latest(&self, role: &str) -> Option<Process> {
        let book = self.inner.book();
        book.processes
            .iter()
            .rev()
            .find(|process| process.role() == role)
            .cloned()
    }

    /// Ends everything: SIGTERM, SIGKILL after `limit`, groups and marked descendants included,
    /// and closes the list. Answers who had to be killed or outlived even that.
    pub fn end_all(&self, limit: Duration) -> Vec<String> {
        self.inner.end_all(limit)
    }
}

impl Inner {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end_all(&self, limit: Duration) -> Vec<String> {
        let mut book = self.book();
        let mut notes = Vec::new();
        let living: Vec<Process> = book
            .processes
            .iter()
            .filter(|p| p.alive())
            .cloned()
            .collect();
        if !limit.is_zero() {
            for process in &living {
                // Failures show below, where the process is found to be still there.
                drop(process.signal_group(Signal::SIGTERM));
                drop(process.signal_group(Signal::SIGCONT));
            }
        }
        let deadline = Instant::now() + limit;
        for process in &living {
            let left = deadline.saturating_duration_since(Instant::now());
            if process.wait(left).is_none() && !limit.is_zero() {
                notes.push(format!(
                    "{} (pid {}) had to be killed",
                    process.role(),
                    process.pid()
                ));
            }
        }
        for process in &book.processes {
            drop(process.signal_group(Signal::SIGKILL));
        }
        for process in &living {
            if process.wait(Duration::from_secs(5)).is_none() {
                notes.push(format!(
                    "{} (pid {}) outlived SIGKILL",
                    process.role(),
                    process.pid()
                ));
            }
        }
        end_marked(&book.list);
        book.list.closed = true;
        if let Err(error) = save(&self.path, &book.list) {
            notes.push(error.to_string());
        }
        notes
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if !self.book().list.closed {
            for note in self.end_all(Duration::ZERO) {
                tracing::warn!("{note}");
            }
        }
    }
}

/// What [`sweep`] found about one run.
#[derive(Debug, Clone)]
pub struct Swept {
    /// The list.
    pub list: PathBuf,
    /// The harness of that run is alive; nothing was touched.
    pub running: bool,
    /// Processes that were ended: what they were (a role, or the mark of the run), and pid.
    pub ended: Vec<(String, i32)>,
    /// Processes that were to be ended and are still there.
    pub left: Vec<(String, i32)>,
}

/// Ends what killed runs have left, for every list found in the directories below `runs`. Lists
/// that were closed are not mentioned. A list that cannot be read is an error of its own entry and
/// keeps nobody from the others.
pub fn sweep(runs: &Path) -> Vec<Result<Swept, ProcessError>> {
    let mut runs = directories(runs, DEEPER);
    runs.sort();
    runs.into_iter()
        .map(|run| run.join(FILE))
        .filter_map(|path| sweep_one(path).transpose())
        .collect()
}

/// The directories of runs below a directory: those that hold a list. The runs of a campaign lie in
/// the campaign's directory, `runs/<campaign>/trials/<run>`.
fn directories(below: &Path, deeper: u32) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(below) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.join(FILE).is_file() {
            found.push(path);
        } else if deeper > 0 && path.is_dir() {
            found.extend(directories(&path, deeper - 1));
        }
    }
    found
}

fn sweep_one(path: PathBuf) -> Result<Option<Swept>, ProcessError> {
    let failed = |source| ProcessError::Registry {
        path: path.clone(),
        what: "reading it",
        source,
    };
    let text = fs::read_to_string(&path).map_err(failed)?;
    let mut list: List =
        serde_json::from_str(&text).map_err(|source| failed(io::Error::other(source)))?;
    if list.closed {
        return Ok(None);
    }
    let mut swept = Swept {
        list: path.clone(),
        running: false,
        ended: Vec::new(),
        left: Vec::new(),
    };
    // After a reboot nothing of that run can be alive, and its start times mean others.
    if list.boot_id == procfs::boot_id() {
        if list.harness.alive() {
            swept.running = true;
            return Ok(Some(swept));
        }
        let mut found: Vec<(String, Identity)> = Vec::new();
        for entry in &list.processes {
            if let Some(identity) = entry.identity.filter(|identity| identity.alive()) {
                found.push((entry.role.clone(), identity));
            }
        }
        let known: BTreeSet<i32> = found.iter().map(|(_, identity)| identity.pid).collect();
        let marked = marked(&list)
            .into_iter()
            .filter(|identity| !known.contains(&identity.pid));
        found.extend(marked.map(|identity| ("started by the run".to_owned(), identity)));
        for (_, identity) in &found {
            signal_exactly(*identity, Signal::SIGKILL);
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        for (what, identity) in found {
            // They are not our children, so there is no status to wait for; we look.
            while identity.alive() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
            let place = if identity.alive() {
                &mut swept.left
            } else {
                &mut swept.ended
            };
            place.push((what, identity.pid));
        }
    }
    if swept.left.is_empty() {
        list.closed = true;
        save(&path, &list)?;
    }
    Ok(Some(swept))
}

/// Ends at once what this very process has started in runs below `runs` that are not over, and
/// answers the directories of those runs. For a harness that is told a second time to end: nothing
/// of the running run is asked, so nothing in it can be in the way. The lists stay open, so a later
/// [`sweep`] looks once more.
pub fn end_own(runs: &Path) -> Vec<PathBuf> {
    let Some(own) = Identity::own() else {
        return Vec::new();
    };
    let mut ended = Vec::new();
    for directory in directories(runs, DEEPER) {
        let list = fs::read(directory.join(FILE))
            .ok()
            .and_then(|text| serde_json::from_slice::<List>(&text).ok());
        if let Some(list) = list
            && !list.closed
            && list.harness == own
        {
            end_marked(&list);
            ended.push(directory);
        }
    }
    ended
}

/// Sends a signal to exactly this process, or to nobody.
pub(super) fn signal_exactly(who: Identity, signal: Signal) -> bool {
    use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};
    let Some(signal) = rustix::process::Signal::from_named_raw(signal as i32) else {
        return false;
    };
    let Some(descriptor) =
        Pid::from_raw(who.pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
    else {
        return false;
    };
    // Checked after opening: from here on the descriptor means this process and no later one.
    who.alive() && pidfd_send_signal(&descriptor, signal).is_ok()
}

fn marker(list: &List) -> String {
    format!("{MARK}={}", list.mark)
}

fn marked(list: &List) -> Vec<Identity> {
    let marker = marker(list);
    let everyone = procfs::all()
        .into_iter()
        .filter(|stat| !stat.state.has_ended());
    everyone
        .filter(|stat| procfs::started_with(stat.pid, &marker))
        .map(|stat| stat.identity())
        .collect()
}

/// Kills what carries the mark, again until nobody does: one that is just forking may leave a
/// child behind each time. Bounded, because an unkillable one must not hang the harness.
fn end_marked(list: &List) {
    for _ in 0..20 {
        let found = marked(list);
        if found.is_empty() {
            return;
        }
        for identity in found {
            signal_exactly(identity, Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn save(path: &Path, list: &List) -> Result<(), ProcessError> {
    let failed = |source| ProcessError::Registry {
        path: path.to_owned(),
        what: "writing it; is the disk full, or the directory gone?",
        source,
    };
    let text = serde_json::to_vec_pretty(list).map_err(|e| failed(io::Error::other(e)))?;
    let beside = path.with_extension("json.new");
    fs::write(&beside, text).map_err(failed)?;
    fs::rename(&beside, path).map_err(failed)
}
