//! `exec`: runs a command and makes an event of each line it prints.
//!
//! | key | default | meaning |
//! |---|---|---|
//! | `command` | required | program and arguments, separated by white space; no quoting |
//! | `shell` | – | e.g. `/bin/sh -c`: gets the whole command as one argument |
//! | `restart` | false | whether the command is run again when it ends |
//! | `restartThrottle` | 10000 ms | wait before that |
//! | `logStdErr` | false | whether its standard error goes to the agent's log |
//! | `batchSize` | 20 | lines per batch |
//! | `batchTimeout` | 3000 ms | a batch is put when its first line is that old |
//!
//! `charset` is ignored: bodies are the bytes printed, which is what Flume makes of them too. A
//! line ends with a line feed; a carriage return before it is removed.
//!
//! Guarantees: none across a crash, as nothing remembers what was read. While the agent runs,
//! nothing that was read is dropped: a full channel makes the source wait, the pipe fills, and the
//! command waits in turn. (Flume's source ends there and then, without a restart.) On a stop the
//! command's process group gets SIGTERM, what it had printed in whole lines is put if there is
//! room, and after half a second SIGKILL.
//!
//! Fails: a command that cannot be started is tried again, after `restartThrottle` with `restart`,
//! else after the runner's pause. Its end is logged with its status; without `restart` the source
//! stays idle then.

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tracing::{info, warn};

use super::{BoxError, BoxSource, Source, stop_is_no_failure};
use crate::context::{ConfigError, Context};
use crate::defect::Defect;
use crate::event::{BatchBuilder, TooLong};
use crate::kind::{Form, Key, Kind};
use crate::processor::ChannelProcessor;
use crate::stop::Stop;

/// The kind `exec`.
pub static KIND: Kind<BoxSource> = Kind {
    name: "exec",
    classes: &["org.apache.flume.source.ExecSource"],
    summary: "Run a command; each line it prints is an event.",
    keys: &[
        Key::required(
            "command",
            Form::Text,
            "Program and arguments, separated by white space.",
        ),
        Key::optional(
            "shell",
            Form::Text,
            "Shell that gets the command as one argument, e.g. /bin/sh -c.",
        ),
        Key::or(
            "restart",
            Form::Flag,
            "false",
            "Whether the command is run again when it ends.",
        ),
        Key::or(
            "restartThrottle",
            Form::COUNT,
            "10000",
            "Milliseconds before it is run again.",
        ),
        Key::or(
            "logStdErr",
            Form::Flag,
            "false",
            "Whether its standard error goes to the agent's log.",
        ),
        Key::or("batchSize", Form::POSITIVE, "20", "Lines per batch."),
        Key::or(
            "batchTimeout",
            Form::COUNT,
            "3000",
            "Milliseconds a line waits for its batch to fill.",
        ),
        Key::ignored(
            "charset",
            "Bodies are the bytes printed, in whatever encoding.",
        ),
    ],
    batch_key: Some("batchSize"),
    example: "type = exec\ncommand = tail -F /var/log/app.log",
    build,
};

/// Bytes read at a time: what a pipe holds.
const CHUNK: usize = 64 << 10;
/// A line longer than this is cut into several events.
const MAX_LINE: usize = 16 << 20;
/// The longest wait without a look at the stop token.
const TICK: Duration = Duration::from_millis(100);
/// Time a command has between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_millis(500);

fn build(ctx: &Context) -> Result<BoxSource, ConfigError> {
    let command = ctx.text("command")?;
    let mut words: Vec<String> = match ctx.get("shell") {
        None => command.split_whitespace().map(str::to_owned).collect(),
        Some(shell) => shell
            .split_whitespace()
            .map(str::to_owned)
            .chain([command.to_owned()])
            .collect(),
    };
    if words.is_empty() {
        return Err(ctx.error("command", "the command is empty; name a program"));
    }
    Ok(Box::new(Exec {
        source: ctx.name().to_owned(),
        program: words.remove(0),
        arguments: words,
        restart: ctx.flag("restart", false),
        throttle: ctx.millis("restartThrottle", 10_000)?,
        log_stderr: ctx.flag("logStdErr", false),
        batch_size: ctx.number("batchSize", 20_usize)?.max(1),
        batch_timeout: ctx.millis("batchTimeout", 3000)?,
    }))
}

#[derive(Debug)]
struct Exec {
    source: String,
    program: String,
    arguments: Vec<String>,
    restart: bool,
    throttle: Duration,
    log_stderr: bool,
    batch_size: usize,
    batch_timeout: Duration,
}

impl Source for Exec {
    fn open(&mut self) -> Result<(), BoxError> {
        Ok(())
    }

    fn run(&mut self, out: &ChannelProcessor, stop: &Stop) -> Result<(), BoxError> {
        while !stop.is_set() {
            match self.run_once(out, stop) {
                Ok(status) if !stop.is_set() => {
                    info!(source = self.source, command = self.program, %status, "the command ended");
                }
                Ok(_) => return Ok(()),
                Err(Failure::Start(error)) if self.restart => {
                    warn!(source = self.source, command = self.program, %error, "cannot start the command; tried again");
                }
                Err(Failure::Start(error)) => {
                    return Err(format!(
                        "cannot start {}: {error}; check that it exists and may be run",
                        self.program
                    )
                    .into());
                }
                Err(Failure::Other(error)) => return stop_is_no_failure(Err(error)),
            }
            if !self.restart {
                return Ok(());
            }
            stop.wait(self.throttle);
        }
        Ok(())
    }
}

#[derive(Debug)]
enum Failure {
    /// There is no such program, or no more processes.
    Start(std::io::Error),
    /// The pipe or the channels.
    Other(BoxError),
}

impl From<BoxError> for Failure {
    fn from(error: BoxError) -> Self {
        Failure::Other(error)
    }
}

impl Exec {
    /// Runs the command to its end, or to the agent's.
    fn run_once(&self, out: &ChannelProcessor, stop: &Stop) -> Result<ExitStatus, Failure> {
        let stderr = if self.log_stderr {
            Stdio::piped()
        } else {
            Stdio::null()
        };
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            // A group of its own, so that a stop reaches what a shell has started.
            .process_group(0)
            .spawn()
            .map_err(Failure::Start)?;
        let mut group = Group { child, ended: None };
        let (Some(stdout), stderr) = (group.child.stdout.take(), group.child.stderr.take()) else {
            return Err(Failure::Other("the command has no standard output".into()));
        };
        let mut pump = Pump::new(self, out, stop);
        pump.run(stdout, stderr, &mut group)?;
        group
            .end(stop)
            .map_err(|error| Failure::Other(error.into()))
    }
}

/// A child and all it started. Dropping it ends them.
#[derive(Debug)]
struct Group {
    child: Child,
    ended: Option<ExitStatus>,
}

impl Group {
    fn signal(&self, signal: Signal) {
        // The group can have ended by itself.
        let _ = killpg(Pid::from_raw(self.child.id().cast_signed()), signal);
    }

    /// Waits for the command, which has closed its output, to end by itself or by the agent's stop.
    fn end(&mut self, stop: &Stop) -> std::io::Result<ExitStatus> {
        let mut limit: Option<Instant> = None;
        loop {
            if let Some(status) = self.child.try_wait()? {
                self.ended = Some(status);
                if stop.is_set() {
                    // Members of the group that outlived the command and heed no SIGTERM.
                    self.signal(Signal::SIGKILL);
                }
                return Ok(status);
            }
            match limit {
                None if stop.is_set() => {
                    self.signal(Signal::SIGTERM);
                    limit = Some(Instant::now() + GRACE);
                }
                Some(limit) if Instant::now() >= limit => self.signal(Signal::SIGKILL),
                _ => {}
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.signal(Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

/// Moves lines from the command's output into the channels.
#[derive(Debug)]
struct Pump<'a> {
    exec: &'a Exec,
    out: &'a ChannelProcessor,
    stop: &'a Stop,
    builder: BatchBuilder,
    /// Since when the batch has a line.
    since: Option<Instant>,
    /// Bytes after the last line feed.
    rest: Vec<u8>,
    /// The same of standard error.
    error_rest: Vec<u8>,
}

impl<'a> Pump<'a> {
    fn new(exec: &'a Exec, out: &'a ChannelProcessor, stop: &'a Stop) -> Self {
        let builder = BatchBuilder::new();
        Self {
            exec,
            out,
            stop,
            builder,
            since: None,
            rest: Vec::new(),
            error_rest: Vec::new(),
        }
    }

    fn run(
        &mut self,
        mut stdout: ChildStdout,
        mut stderr: Option<ChildStderr>,
        group: &mut Group,
    ) -> Result<(), BoxError> {
        let mut buffer = vec![0; CHUNK];
        // Set once the command was told to end: how long its last lines are waited for.
        let mut give_up: Option<Instant> = None;
        loop {
            if self.stop.is_set() && give_up.is_none() {
                group.signal(Signal::SIGTERM);
                give_up = Some(Instant::now() + GRACE);
            }
            if give_up.is_some_and(|limit| Instant::now() >= limit) {
                group.signal(Signal::SIGKILL);
                break;
            }
            if self
                .since
                .is_some_and(|since| since.elapsed() >= self.exec.batch_timeout)
            {
                self.drop_partial();
                self.flush()?;
            }
            let (readable, error_readable) = wait(&stdout, stderr.as_ref(), self.patience())?;
            if error_readable && let Some(pipe) = &mut stderr {
                let got = pipe.read(&mut buffer)?;
                self.log(&buffer[..got]);
                if got == 0 {
                    stderr = None;
                }
            }
            if readable {
                let got = stdout.read(&mut buffer)?;
                if got == 0 {
                    break;
                }
                self.lines(&buffer[..got])?;
            }
        }
        // A last line without line feed is whole if the command ended by itself; if it was told to,
        // the line may have been cut.
        if give_up.is_none() && !self.rest.is_empty() {
            let rest = std::mem::take(&mut self.rest);
            self.line(&rest)?;
        }
        self.drop_partial();
        self.flush()
    }

    /// Before a batch is put that is not full: what no source may do, but for a defect planted on
    /// purpose.
    fn drop_partial(&mut self) {
        if Defect::ExecDropsLastBatch.is_planted() {
            self.builder.clear();
        }
    }

    /// How long to wait for output.
    fn patience(&self) -> Duration {
        match self.since {
            Some(since) => self
                .exec
                .batch_timeout
                .saturating_sub(since.elapsed())
                .min(TICK),
            None => TICK,
        }
    }

    fn lines(&mut self, mut bytes: &[u8]) -> Result<(), BoxError> {
        while let Some(len) = memchr::memchr(b'\n', bytes) {
            let (line, after) = bytes.split_at(len);
            bytes = &after[1..];
            if self.rest.is_empty() {
                self.line(line)?;
            } else {
                let mut whole = std::mem::take(&mut self.rest);
                whole.extend_from_slice(line);
                self.line(&whole)?;
                // Its memory serves the next line that is cut by a read.
                whole.clear();
                self.rest = whole;
            }
        }
        self.rest.extend_from_slice(bytes);
        if self.rest.len() > MAX_LINE {
            warn!(
                source = self.exec.source,
                bytes = self.rest.len(),
                "a line is too long; it is cut into several events"
            );
            self.out.counters().event_read_fail.fetch_add(1, Relaxed);
            let piece = std::mem::take(&mut self.rest);
            self.line(&piece)?;
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8]) -> Result<(), BoxError> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Err(TooLong) = self.builder.push([], line) {
            self.flush()?;
            self.builder.push([], line)?;
        }
        self.since.get_or_insert_with(Instant::now);
        if self.builder.len() >= self.exec.batch_size {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), BoxError> {
        self.since = None;
        if self.builder.is_empty() {
            return Ok(());
        }
        let lines = self.builder.len();
        self.out
            .deliver(self.builder.finish(), self.stop)
            .inspect_err(|_| {
                warn!(
                    source = self.exec.source,
                    lines, "lines that were read are lost: the agent stops and the channel is full"
                );
            })?;
        Ok(())
    }

    /// Logs whole lines of standard error.
    fn log(&mut self, bytes: &[u8]) {
        self.error_rest.extend_from_slice(bytes);
        while let Some(len) = memchr::memchr(b'\n', &self.error_rest) {
            let line: Vec<u8> = self.error_rest.drain(..=len).collect();
            let line = String::from_utf8_lossy(&line);
            info!(
                source = self.exec.source,
                command = self.exec.program,
                stderr = line.trim_end()
            );
        }
        if bytes.is_empty() || self.error_rest.len() > CHUNK {
            let line = String::from_utf8_lossy(&self.error_rest);
            if !line.is_empty() {
                info!(
                    source = self.exec.source,
                    command = self.exec.program,
                    stderr = line.trim_end()
                );
            }
            self.error_rest.clear();
        }
    }
}

/// Waits until one of the pipes has something, or its end, to read.
fn wait(
    stdout: &ChildStdout,
    stderr: Option<&ChildStderr>,
    limit: Duration,
) -> Result<(bool, bool), nix::Error> {
    let mut pipes = vec![PollFd::new(stdout.as_fd(), PollFlags::POLLIN)];
    pipes.extend(stderr.map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)));
    // Rounded up: a wait of 0 ms would spin until the last millisecond is over.
    let limit = limit.as_micros().div_ceil(1000).min(60_000) as u16;
    match poll(&mut pipes, PollTimeout::from(limit)) {
        Ok(_) | Err(nix::Error::EINTR) => {}
        Err(error) => return Err(error),
    }
    let ready = |pipe: &PollFd<'_>| pipe.revents().is_some_and(|events| !events.is_empty());
    Ok((ready(&pipes[0]), pipes.get(1).is_some_and(ready)))
}

#[cfg(test)]
mod tests;
