//! What the machine has: the program itself, a JVM, the jars of the real systems.
//!
//! `ci/setup` puts jars under `$FLUME_BENCH_LIBS`, by default `~/.cache/flume-bench`; nothing else
//! is looked for anywhere else.

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use crate::scenario::reader::Problem;

/// Checks an agent's configuration without starting anything: file, agent's name, environment.
/// The binary passes the engine's own check in; this crate never imports the engine.
pub type CheckAgent = fn(&Path, &str, &dyn Fn(&str) -> Option<String>) -> Vec<Problem>;

/// What the machine has.
#[derive(Debug, Clone)]
pub struct Tools {
    /// The running program, which also is agent, store and decoy.
    pub program: PathBuf,
    /// The program of the system under test where it is another one: an arm of a gate. Stores are
    /// always this program's.
    pub agent_program: Option<PathBuf>,
    /// Checks an agent's configuration.
    pub check_agent: CheckAgent,
}

impl Tools {
    /// The program that is started as agent or decoy.
    pub fn agent(&self) -> &Path {
        self.agent_program.as_deref().unwrap_or(&self.program)
    }

    /// Directory of the jars of one system, such as `flume-1.11.0`.
    pub fn jars(&self, name: &str) -> PathBuf {
        libs().join(name)
    }

    /// A problem if the jars of a system are not here.
    pub fn check_jars(&self, name: &str, what: &str) -> Option<Problem> {
        let directory = self.jars(name);
        let found = std::fs::read_dir(&directory).is_ok_and(|entries| {
            entries
                .flatten()
                .any(|entry| entry.path().extension().is_some_and(|e| e == "jar"))
        });
        (!found).then(|| {
            Problem::of_machine(
                format!("{what} is not here: no jars in {}", directory.display()),
                format!(
                    "ci/setup {} brings them (Maven and a JDK are needed)",
                    name.split('-').next().unwrap_or(name)
                ),
            )
        })
    }

    /// A problem if there is no JVM.
    pub fn check_java(&self) -> Option<Problem> {
        find_program("java").is_none().then(|| {
            Problem::of_machine(
                "no `java` on the PATH: this needs a JVM (17 is known to work)",
                "apt-get install openjdk-17-jre-headless",
            )
        })
    }
}

/// Where the jars are.
pub fn libs() -> PathBuf {
    match std::env::var_os("FLUME_BENCH_LIBS") {
        Some(path) if !path.is_empty() => path.into(),
        _ => std::env::var_os("HOME")
            .map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from)
            .join(".cache/flume-bench"),
    }
}

/// Why nothing can be kept in this directory, which need not exist yet; `None` if it can. Nothing
/// is made to find out.
pub fn unusable_directory(path: &Path) -> Option<String> {
    use nix::unistd::{AccessFlags, access};
    let there = nearest_there(path);
    if !there.is_dir() {
        return Some(format!("{} is not a directory", there.display()));
    }
    let mut wanted = AccessFlags::W_OK | AccessFlags::X_OK;
    if there == path {
        wanted |= AccessFlags::R_OK;
    }
    let error = access(there, wanted).err()?;
    Some(format!(
        "{} cannot be read and written: {}",
        there.display(),
        error.desc()
    ))
}

/// The path, or the nearest of its parents that exists.
pub fn nearest_there(path: &Path) -> &Path {
    path.ancestors()
        .map(|path| match path.as_os_str().is_empty() {
            true => Path::new("."),
            false => path,
        })
        .find(|path| path.symlink_metadata().is_ok())
        .unwrap_or(Path::new("/"))
}

/// Finds a program on the PATH (or, for root's programs, in the usual sbin directories).
pub fn find_program(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|path| path.is_file());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
}

/// Runs a short program to its end, at most a minute, and returns what it printed. An exit code
/// other than 0 is an error with the last line the program wrote on standard error.
pub fn output(program: &Path, arguments: &[String]) -> std::io::Result<String> {
    use std::io::{Error, Read};
    use std::process::{Command, Stdio};
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let read = |pipe: Option<Box<dyn Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.map_or(Ok(0), |mut pipe| pipe.read_to_end(&mut bytes))
                .map(|_| String::from_utf8_lossy(&bytes).into_owned())
        })
    };
    let printed = read(
        child
            .stdout
            .take()
            .map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
    );
    let said = read(
        child
            .stderr
            .take()
            .map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
    );
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if std::time::Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            return Err(Error::other(format!(
                "{} did not end within 60 s",
                program.display()
            )));
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    };
    let joined = |thread: std::thread::JoinHandle<std::io::Result<String>>| {
        thread
            .join()
            .map_err(|_| Error::other("the reader of its output panicked"))?
    };
    let (printed, said) = (joined(printed)?, joined(said)?);
    if status.success() {
        return Ok(printed);
    }
    Err(Error::other(format!(
        "{} ended with {status}: {}",
        program.display(),
        said.lines().last().unwrap_or("no message")
    )))
}
