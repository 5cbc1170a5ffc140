//! Processes of a run: the only place that spawns, signals and reaps.
//!
//! Every process is started through a [`Registry`], which writes to the run's directory who was
//! started, so that a later start of the harness can end what a killed one left behind
//! ([`sweep`]). Each gets
//!
//! - a process group of its own, so that clean-up reaches what it started itself;
//! - a niceness (+5 for systems under test and stores), so that the generator keeps its schedule;
//! - a log file that takes its standard output and standard error;
//! - no standard input;
//! - the variable `FLUME_BENCH_RUN` in its environment, by which its descendants are known for
//!   the run's even after they have left the group;
//! - where `setpriv` of util-linux is installed, the kernel's promise to kill it when the harness
//!   dies. The sweep is what guarantees the clean-up; this merely makes it early.
//!
//! A process that puts itself into the background cannot be followed: the one that was spawned
//! must be the one that is to be killed. Shell wrappers therefore end in `exec`.
//!
//! Signals never hit a stranger. A process is waited for without reaping it, and then reaped under
//! the lock that every signal takes: as long as signals are sent its number cannot belong to
//! anybody else.

pub mod costs;
pub mod procfs;
pub mod registry;
pub mod watch;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use std::{env, fmt, io, thread};

use nix::errno::Errno;
use nix::sys::signal;
pub use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

pub use self::costs::Costs;
pub use self::procfs::{Identity, Stat, State, Usage};
pub use self::registry::{Registry, Swept, end_own, sweep};
pub use self::watch::Watcher;

/// The niceness of systems under test and stores.
pub const NICE: i32 = 5;

/// What went wrong with a process.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// There is no such program.
    #[error(
        "starting {role}: no program \"{program}\" was found; install it or give its full path"
    )]
    NoProgram {
        /// Role of the process.
        role: String,
        /// The first word of the argument vector.
        program: String,
    },
    /// The argument vector is empty.
    #[error("starting {role}: the argument vector is empty; its first word must be the program")]
    NoArguments {
        /// Role of the process.
        role: String,
    },
    /// The log file cannot be opened.
    #[error("starting {role}: opening its log {}: {source}", path.display())]
    Log {
        /// Role of the process.
        role: String,
        /// The log file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system would not start it.
    #[error("starting {role} ({program}): {source}")]
    Spawn {
        /// Role of the process.
        role: String,
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// A signal could not be sent.
    #[error("sending {signal} to {role} (pid {pid}): {source}")]
    Signal {
        /// Role of the process.
        role: String,
        /// Its process id.
        pid: i32,
        /// The signal.
        signal: Signal,
        /// What the system said.
        source: Errno,
    },
    /// The list of processes could not be written or read.
    #[error("the list of processes {}: {what}: {source}", path.display())]
    Registry {
        /// The file.
        path: PathBuf,
        /// What was attempted.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// What to start.
#[derive(Debug, Clone)]
pub struct Spawn {
    /// Its part in the run: `agent`, `namenode`, `datanode1`, …
    pub role: String,
    /// Program and arguments. A program without a slash is looked for along `PATH`.
    pub argv: Vec<OsString>,
    /// Variables set on top of the inherited environment.
    pub env: Vec<(OsString, OsString)>,
    /// Working directory; `None`: that of the harness.
    pub cwd: Option<PathBuf>,
    /// File that standard output and standard error are appended to.
    pub log: PathBuf,
    /// Niceness, [`NICE`] unless set.
    pub nice: i32,
}

impl Spawn {
    /// A process with the usual niceness, the environment and the directory of the harness.
    pub fn new(
        role: impl Into<String>,
        argv: impl IntoIterator<Item = impl Into<OsString>>,
        log: impl Into<PathBuf>,
    ) -> Self {
        Self {
            role: role.into(),
            argv: argv.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            cwd: None,
            log: log.into(),
            nice: NICE,
        }
    }

    /// Sets one variable of the environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn cwd(mut self, directory: impl Into<PathBuf>) -> Self {
        self.cwd = Some(directory.into());
        self
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It returned this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, Some(signal)) => Self::Signal(signal),
            // A status that is neither does not come out of a wait for an ended process.
            (None, None) => Self::Code(-1),
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// How and when a process ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    /// How.
    pub exit: Exit,
    /// When the harness learned of it.
    pub at: Instant,
}

/// A process of this run; clones are handles to the same one. Dropping the last handle does not
/// end the process: the [`Registry`] does that.
#[derive(Clone)]
pub struct Process {
    inner: Arc<Inner>,
}

struct Inner {
    role: String,
    identity: Identity,
    /// `NAME=value` in the environment of everything that belongs to the run.
    marker: String,
    log: PathBuf,
    spawned: Instant,
    life: Mutex<Life>,
    ended: Condvar,
}

/// Behind the lock that reaping and signalling share.
#[derive(Debug, Default)]
struct Life {
    ended: Option<Ended>,
    /// Members of the group that outlived the process, noted just before it was reaped.
    orphans: Vec<Identity>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("role", &self.inner.role)
            .field("identity", &self.inner.identity)
            .field("ended", &self.ended())
            .finish_non_exhaustive()
    }
}

impl Process {
    /// Starts a process and the thread that will wait for it. `marker` is `NAME=value`.
    fn spawn(spec: &Spawn, marker: &str) -> Result<Self, ProcessError> {
        let role = spec.role.clone();
        let command = command(spec, marker)?;
        let program = spec.argv[0].to_string_lossy().into_owned();
        let failed = |source| ProcessError::Spawn {
            role: role.clone(),
            program,
            source,
        };
        let child = spawn_at(spec.nice, command).map_err(failed)?;
        let pid = child.id().cast_signed();
        // Nobody has waited for it yet, so even one that has already ended is still listed.
        let start = Stat::read(pid).map_or(0, |stat| stat.start);
        let process = Self {
            inner: Arc::new(Inner {
                role: spec.role.clone(),
                identity: Identity { pid, start },
                marker: marker.to_owned(),
                log: spec.log.clone(),
                spawned: Instant::now(),
                life: Mutex::default(),
                ended: Condvar::new(),
            }),
        };
        let reaper = process.clone();
        thread::Builder::new()
            .name(format!("reap-{pid}"))
            .spawn(move || reaper.reap(child))
            .map_err(|source| ProcessError::Spawn {
                role: spec.role.clone(),
                program: "its reaper thread".to_owned(),
                source,
            })?;
        Ok(process)
    }

    /// Its part in the run.
    pub fn role(&self) -> &str {
        &self.inner.role
    }

    /// Process id, which is also the id of its group.
    pub fn pid(&self) -> i32 {
        self.inner.identity.pid
    }

    /// Pid and start time.
    pub fn identity(&self) -> Identity {
        self.inner.identity
    }

    /// Where its output goes.
    pub fn log(&self) -> &Path {
        &self.inner.log
    }

    /// When it was started.
    pub fn spawned(&self) -> Instant {
        self.inner.spawned
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<Ended> {
        self.life().ended
    }

    /// Whether it has not ended. A stopped process is alive.
    pub fn alive(&self) -> bool {
        self.ended().is_none()
    }

    /// Its state by the kernel; `None` once it has ended.
    pub fn state(&self) -> Option<State> {
        let life = self.life();
        if life.ended.is_some() {
            None
        } else {
            Stat::read(self.pid()).map(|stat| stat.state)
        }
    }

    /// What it has used; `None` once it has ended.
    pub fn usage(&self) -> Option<Usage> {
        let life = self.life();
        if life.ended.is_some() {
            None
        } else {
            Usage::of(self.pid())
        }
    }

    /// What it and its living descendants have used. Reads all of `/proc`: about a millisecond on
    /// a machine with few processes.
    pub fn usage_tree(&self) -> Option<Usage> {
        let own = self.usage()?;
        let below = procfs::descendants(self.pid());
        Some(
            below
                .iter()
                .filter_map(|stat| Usage::of(stat.pid))
                .fold(own, Usage::plus),
        )
    }

    /// Waits until it has ended, at most so long.
    pub fn wait(&self, limit: Duration) -> Option<Ended> {
        let deadline = Instant::now() + limit;
        let mut life = self.life();
        while life.ended.is_none() {
            let left = deadline.checked_duration_since(Instant::now())?;
            let woken = self.inner.ended.wait_timeout(life, left);
            life = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        life.ended
    }

    /// Sends a signal to the process alone. `Ok(false)`: it had ended before.
    pub fn signal(&self, signal: Signal) -> Result<bool, ProcessError> {
        let life = self.life();
        if life.ended.is_some() {
            return Ok(false);
        }
        self.answer(signal, signal::kill(Pid::from_raw(self.pid()), signal))
    }

    /// Sends a signal to the whole group, also to what is left of it after the process has ended.
    /// `Ok(false)`: nobody was there.
    pub fn signal_group(&self, signal: Signal) -> Result<bool, ProcessError> {
        let life = self.life();
        if life.ended.is_none() {
            return self.answer(signal, signal::killpg(Pid::from_raw(self.pid()), signal));
        }
        // The group's number may be somebody else's by now: only those count that were there when
        // the leader ended, or carry the mark of the run.
        let mut any = false;
        for stat in procfs::members(self.pid()) {
            let known = life.orphans.contains(&stat.identity());
            if known || procfs::started_with(stat.pid, &self.inner.marker) {
                any |= registry::signal_exactly(stat.identity(), signal);
            }
        }
        Ok(any)
    }

    /// Ends it for good: SIGTERM, after `limit` SIGKILL, and whatever is left of its group with
    /// it. `None` if it would not even die of SIGKILL within five seconds.
    pub fn stop(&self, limit: Duration) -> Result<Option<Ended>, ProcessError> {
        // A stopped process cannot heed SIGTERM.
        self.signal(Signal::SIGTERM)?;
        self.signal(Signal::SIGCONT)?;
        if self.wait(limit).is_none() {
            self.signal_group(Signal::SIGKILL)?;
        }
        let ended = self.wait(Duration::from_secs(5));
        self.signal_group(Signal::SIGKILL)?;
        Ok(ended)
    }

    fn answer(&self, signal: Signal, sent: nix::Result<()>) -> Result<bool, ProcessError> {
        match sent {
            Ok(()) => Ok(true),
            Err(Errno::ESRCH) => Ok(false),
            Err(source) => Err(ProcessError::Signal {
                role: self.role().to_owned(),
                pid: self.pid(),
                signal,
                source,
            }),
        }
    }

    /// Waits for the end, notes who is left, and only then reaps, under the lock.
    fn reap(&self, mut child: Child) {
        let ended = || waitid(Id::Pid(Pid::from_raw(self.pid())), ENDED_UNREAPED);
        while ended() == Err(Errno::EINTR) {}
        let orphans = procfs::members(self.pid())
            .iter()
            .map(Stat::identity)
            .collect();
        let mut life = self.life();
        let exit = child.wait().map_or(Exit::Code(-1), Exit::from);
        *life = Life {
            ended: Some(Ended {
                exit,
                at: Instant::now(),
            }),
            orphans,
        };
        drop(life);
        self.inner.ended.notify_all();
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.inner
            .life
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wait for the end, but leave the zombie where it is.
const ENDED_UNREAPED: WaitPidFlag = WaitPidFlag::WEXITED.union(WaitPidFlag::WNOWAIT);

/// Builds the command with log, group, environment and, where possible, the death signal.
fn command(spec: &Spawn, marker: &str) -> Result<Command, ProcessError> {
    let role = || spec.role.clone();
    let Some(program) = spec.argv.first() else {
        return Err(ProcessError::NoArguments { role: role() });
    };
    let Some(path) = find_program(program) else {
        let program = program.to_string_lossy().into_owned();
        return Err(ProcessError::NoProgram {
            role: role(),
            program,
        });
    };
    let log_error = |source| ProcessError::Log {
        role: role(),
        path: spec.log.clone(),
        source,
    };
    let output = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&spec.log)
        .map_err(log_error)?;
    let errors = output.try_clone().map_err(log_error)?;
    let mut command = match death_signal_wrapper() {
        Some(wrapper) => {
            let mut command = Command::new(wrapper);
            command.args(["--pdeathsig", "KILL", "--"]).arg(path);
            command
        }
        None => Command::new(path),
    };
    command
        .args(&spec.argv[1..])
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors);
    command
        .process_group(0)
        .envs(spec.env.iter().map(|(name, value)| (name, value)));
    if let Some((name, value)) = marker.split_once('=') {
        command.env(name, value);
    }
    if let Some(directory) = &spec.cwd {
        command.current_dir(directory);
    }
    Ok(command)
}

/// Looks for a program as a shell would: a name with a slash is a path, others are along `PATH`.
pub fn find_program(program: &OsStr) -> Option<PathBuf> {
    let executable = |path: &Path| {
        fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    let given = PathBuf::from(program);
    if given.components().count() > 1 || given.is_absolute() {
        return executable(&given).then_some(given);
    }
    env::split_paths(&env::var_os("PATH")?)
        .map(|directory| directory.join(program))
        .find(|path| executable(path))
}

/// `setpriv`, if it is there and knows the option; tried once.
fn death_signal_wrapper() -> Option<&'static Path> {
    static WRAPPER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let tried = WRAPPER.get_or_init(|| {
        let path = find_program(OsStr::new("setpriv"))?;
        let mut trial = Command::new(&path);
        trial
            .args(["--pdeathsig", "KILL", "--"])
            .arg(find_program(OsStr::new("true"))?);
        trial
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        trial.status().ok()?.success().then_some(path)
    });
    tried.as_deref()
}

/// A command, and where the answer goes.
type Order = (Command, Sender<io::Result<Child>>);

/// Spawns from a thread that has the wanted niceness: a child inherits it, so there is no moment
/// at which it runs without, and nothing has to be set from outside afterwards. One thread per
/// niceness lives until the harness ends, because the death signal comes when the *thread* that
/// spawned dies.
fn spawn_at(nice: i32, command: Command) -> io::Result<Child> {
    static SPAWNERS: Mutex<BTreeMap<i32, Sender<Order>>> = Mutex::new(BTreeMap::new());
    let sender = {
        let mut spawners = SPAWNERS.lock().unwrap_or_else(PoisonError::into_inner);
        match spawners.get(&nice) {
            Some(sender) => sender.clone(),
            None => {
                let sender = start_spawner(nice)?;
                spawners.insert(nice, sender.clone());
                sender
            }
        }
    };
    let gone = || io::Error::other("the spawning thread has ended");
    let (answer, answered) = mpsc::channel();
    sender.send((command, answer)).map_err(|_| gone())?;
    answered.recv().map_err(|_| gone())?
}

fn start_spawner(nice: i32) -> io::Result<Sender<Order>> {
    let (sender, orders) = mpsc::channel::<Order>();
    let (ready, readied) = mpsc::channel();
    thread::Builder::new()
        .name(format!("spawn-nice{nice}"))
        .spawn(move || {
            // On Linux the priority of "oneself" is that of the calling thread alone. Lowering it needs
            // no privilege; 0 is what the thread has already.
            let set = match nice {
                0 => Ok(()),
                _ => rustix::process::setpriority_process(None, nice).map_err(io::Error::from),
            };
            let usable = set.is_ok();
            if ready.send(set).is_err() || !usable {
                return;
            }
            for (mut command, answer) in orders {
                // A caller that no longer listens has given up; its child is then left to the sweep.
                drop(answer.send(command.spawn()));
            }
        })?;
    readied
        .recv()
        .map_err(|_| io::Error::other("the spawning thread did not start"))??;
    Ok(sender)
}

#[cfg(test)]
mod tests;
