//! Children: the program `flume-bench` where it is built, and any process that must not outlive us.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::outcome::BenchError;

/// How long a child has to end after it was asked to.
const PATIENCE: Duration = Duration::from_secs(30);

/// The program `flume-bench`: what `$FLUME_BENCH_BIN` names, else the one that is built beside this
/// program.
///
/// # Errors
/// [`BenchError::Missing`].
pub fn flume_bench() -> Result<PathBuf, BenchError> {
    let built = std::env::current_exe()
        .ok()
        .and_then(|own| Some(own.parent()?.join("flume-bench")));
    std::env::var_os("FLUME_BENCH_BIN")
        .map(PathBuf::from)
        .or(built)
        .filter(|path| path.is_file())
        .ok_or_else(|| BenchError::Missing {
            what: "the program flume-bench".to_owned(),
            remedy: "`cargo build --release` builds it; $FLUME_BENCH_BIN names another".to_owned(),
        })
}

/// Waits until there is something to read from a pipe, or it has ended. Whether there is.
pub fn readable(pipe: &impl AsFd, patience: Duration) -> bool {
    let mut wanted = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::ZERO);
    poll(&mut wanted, timeout).is_ok_and(|ready| ready > 0)
}

/// A child. Dropped, it is asked to end, and ended if it does not.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts it.
    ///
    /// # Errors
    /// Those of the system.
    pub fn start(command: &mut Command) -> io::Result<Process> {
        Ok(Process {
            child: command.spawn()?,
        })
    }

    /// Its input and output, if they are pipes and nobody has taken them yet.
    pub fn pipes(&mut self) -> (Option<ChildStdin>, Option<ChildStdout>) {
        (self.child.stdin.take(), self.child.stdout.take())
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks it to end by `signal` and waits for it; ends it if it does not.
    pub fn stop(&mut self, signal: Signal) {
        if !self.runs() {
            return;
        }
        if let Ok(id) = i32::try_from(self.child.id()) {
            // It may have ended by itself meanwhile, which is all that is wanted.
            let _ = kill(Pid::from_raw(id), signal);
        }
        let deadline = Instant::now() + PATIENCE;
        while self.runs() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        if self.runs() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop(Signal::SIGTERM);
    }
}

/// Starts `flume-bench agent` with this configuration, in `directory`, its output in a log there.
///
/// # Errors
/// The program is not there, or a file cannot be written.
pub fn agent(directory: &Path, configuration: &str) -> Result<Process, BenchError> {
    let (conf, log) = (directory.join("flume.conf"), directory.join("agent.log"));
    std::fs::write(&conf, configuration).map_err(BenchError::file("write", &conf))?;
    let out = std::fs::File::create(&log).map_err(BenchError::file("create", &log))?;
    let err = out
        .try_clone()
        .map_err(BenchError::file("open twice", &log))?;
    let arguments = ["agent", "-n", "a1", "-c"].map(OsStr::new);
    let mut command = Command::new(flume_bench()?);
    command.args(arguments).arg(directory).arg("-f").arg(&conf);
    Process::start(command.stdout(out).stderr(err)).map_err(BenchError::system("start the agent"))
}
