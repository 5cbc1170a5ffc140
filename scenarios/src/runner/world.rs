//! The world of one run: its processes and its links, by the names that scenarios give them.
//!
//! Everything the run starts goes through here, so that everything can be found again: by a fault
//! (`kill agent`), by the clean-up, and by a later start of the harness after this one was killed.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::history::{Entry, History};
use super::links::Links;
use super::place::RunDir;
use crate::fault;
use crate::process::{Exit, Process, Registry, Signal, Spawn, Watcher};
use crate::proxy::Link;

/// How a process shows that it is ready.
#[derive(Clone)]
pub struct Ready {
    check: Arc<dyn Fn() -> bool + Send + Sync>,
    log: Option<String>,
    hopeless: Option<String>,
    within: Duration,
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ready")
            .field("log", &self.log)
            .field("within", &self.within)
            .finish_non_exhaustive()
    }
}

impl Ready {
    /// Ready as soon as the check says so.
    pub fn when(within: Duration, check: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self {
            check: Arc::new(check),
            log: None,
            hopeless: None,
            within,
        }
    }

    /// And, on top, when a line with this text stands in its log.
    #[must_use]
    pub fn with_log(mut self, log: Option<String>, hopeless: Option<String>) -> Self {
        self.log = log;
        self.hopeless = hopeless;
        self
    }
}

#[derive(Debug, Clone)]
struct Managed {
    spawn: Spawn,
    ready: Ready,
    process: Process,
    /// Whether the run itself has asked for its end.
    ending: bool,
    noted: bool,
}

/// Processes and links of one run.
#[derive(Debug)]
pub struct World {
    dir: RunDir,
    history: History,
    registry: Registry,
    watcher: Watcher,
    links: Links,
    processes: Mutex<BTreeMap<String, Managed>>,
    interrupted: Arc<AtomicBool>,
}

impl World {
    /// An empty world.
    pub fn new(
        dir: RunDir,
        history: History,
        seed: u64,
        interrupted: Arc<AtomicBool>,
    ) -> Result<Self, String> {
        let registry = Registry::create(&dir.root).map_err(|error| error.to_string())?;
        let links = Links::new(seed, &registry)?;
        let watcher = Watcher::start(&registry).map_err(|error| error.to_string())?;
        Ok(Self {
            dir,
            history,
            registry,
            watcher,
            links,
            processes: Mutex::default(),
            interrupted,
        })
    }

    /// The run's directories.
    pub fn dir(&self) -> &RunDir {
        &self.dir
    }

    /// The run's history.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The list of everything that was started.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The links.
    pub fn links(&self) -> &Links {
        &self.links
    }

    /// Whether somebody wants the run to end.
    pub fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    fn processes(&self) -> MutexGuard<'_, BTreeMap<String, Managed>> {
        self.processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a process and waits until it is ready.
    pub fn start(&self, spawn: Spawn, ready: Ready) -> Result<(), String> {
        let log_from = std::fs::metadata(&spawn.log).map_or(0, |metadata| metadata.len());
        let process = self
            .registry
            .spawn(&spawn)
            .map_err(|error| error.to_string())?;
        let role = spawn.role.clone();
        let argv = spawn
            .argv
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        self.history.note(Entry::Started {
            role: role.clone(),
            pid: process.pid(),
            argv,
        });
        let managed = Managed {
            spawn,
            ready: ready.clone(),
            process: process.clone(),
            ending: false,
            noted: false,
        };
        self.processes().insert(role.clone(), managed);
        self.wait_ready(&role, &process, &ready, log_from)
    }

    fn wait_ready(
        &self,
        role: &str,
        process: &Process,
        ready: &Ready,
        log_from: u64,
    ) -> Result<(), String> {
        let deadline = Instant::now() + ready.within;
        loop {
            let said = |text: &Option<String>| {
                text.as_ref()
                    .is_none_or(|text| log_contains(process.log(), log_from, text))
            };
            if said(&ready.log) && (ready.check)() {
                let took_us = process.spawned().elapsed().as_micros() as i64;
                self.history.note(Entry::Ready {
                    role: role.to_owned(),
                    took_us,
                });
                return Ok(());
            }
            let log = process.log().display();
            if let Some(ended) = process.ended() {
                return Err(format!(
                    "{role} ended ({}) before it was ready; its log: {log}{}",
                    ended.exit,
                    last_lines(process.log())
                ));
            }
            if ready.hopeless.is_some() && said(&ready.hopeless) {
                return Err(format!(
                    "{role} says that it will never be ready; its log: {log}{}",
                    last_lines(process.log())
                ));
            }
            if Instant::now() > deadline {
                return Err(format!(
                    "{role} was not ready within {} s; its log: {log}{}",
                    ready.within.as_secs(),
                    last_lines(process.log())
                ));
            }
            if self.interrupted() {
                return Err(format!("interrupted while {role} was starting"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts a process again as it was started before, and waits until it is ready.
    pub fn restart(&self, role: &str) -> Result<(), String> {
        self.note_ends();
        let managed = self
            .processes()
            .get(role)
            .cloned()
            .ok_or_else(|| format!("there is no process {role}"))?;
        if managed.process.alive() {
            return Ok(());
        }
        self.start(managed.spawn, managed.ready)
    }

    /// Runs a program to its end; anything but exit code 0 is an error.
    pub fn run_to_end(&self, spawn: Spawn, within: Duration) -> Result<(), String> {
        let role = spawn.role.clone();
        let process = self
            .registry
            .spawn(&spawn)
            .map_err(|error| error.to_string())?;
        let deadline = Instant::now() + within;
        let ended = loop {
            let ended = process.wait(Duration::from_millis(20));
            if ended.is_some() || Instant::now() >= deadline {
                break ended;
            }
            if self.interrupted() {
                let _ = process.stop(Duration::from_secs(1));
                return Err(format!("interrupted while {role} ran"));
            }
        };
        match ended {
            Some(ended) if ended.exit == Exit::Code(0) => Ok(()),
            Some(ended) => Err(format!(
                "{role}: {}; its log: {}{}",
                ended.exit,
                process.log().display(),
                last_lines(process.log())
            )),
            None => {
                let _ = process.stop(Duration::from_secs(1));
                Err(format!(
                    "{role} did not end within {} s; its log: {}",
                    within.as_secs(),
                    process.log().display()
                ))
            }
        }
    }

    /// The process in a role, alive or not.
    pub fn process(&self, role: &str) -> Option<Process> {
        self.processes()
            .get(role)
            .map(|managed| managed.process.clone())
    }

    /// Every role with its process.
    pub fn roles(&self) -> Vec<(String, Process)> {
        self.processes()
            .iter()
            .map(|(role, managed)| (role.clone(), managed.process.clone()))
            .collect()
    }

    /// From now on the end of this process is wanted.
    pub fn expect_end(&self, role: &str) {
        if let Some(managed) = self.processes().get_mut(role) {
            managed.ending = true;
        }
    }

    /// Notes every end that has not been noted yet, and returns the roles that ended unwanted.
    pub fn note_ends(&self) -> Vec<String> {
        let mut unwanted = Vec::new();
        for (role, managed) in self.processes().iter_mut() {
            if let Some(ended) = managed.process.ended()
                && !managed.noted
            {
                managed.noted = true;
                let entry = Entry::Ended {
                    role: role.clone(),
                    pid: managed.process.pid(),
                    exit: ended.exit.to_string(),
                    wanted: managed.ending,
                };
                self.history.note_at(ended.at, entry);
                if !managed.ending {
                    unwanted.push(role.clone());
                }
            }
        }
        unwanted
    }

    /// Asks a process to end, kills it after the limit, and waits. How it ended. One that had ended
    /// before it was asked has ended on its own; that it had to be killed is noted.
    pub fn stop(&self, role: &str, limit: Duration) -> Result<Option<String>, String> {
        self.note_ends();
        self.expect_end(role);
        let Some(process) = self.process(role) else {
            return Ok(None);
        };
        let ran = process.alive();
        let asked = Instant::now();
        let _ = process.signal_group(Signal::SIGCONT);
        let ended = process.stop(limit).map_err(|error| error.to_string())?;
        self.note_ends();
        // Killed before the limit it was killed by somebody else: a second signal to the bench, say.
        let waited = asked.elapsed() >= limit;
        if ran && waited && ended.is_none_or(|ended| ended.exit == Exit::Signal(9)) {
            self.history.note(Entry::HadToBeKilled {
                role: role.to_owned(),
                limit_us: limit.as_micros() as i64,
            });
        }
        Ok(ended.map(|ended| ended.exit.to_string()))
    }

    /// Ends everything that was started. What could not be ended, a line each.
    pub fn end_all(&self) -> Vec<String> {
        self.note_ends();
        for (role, _) in self.roles() {
            self.expect_end(&role);
        }
        let notes = self.registry.end_all(Duration::from_secs(5));
        self.note_ends();
        notes
    }

    /// A link of its own: a proxy on each address (port 0: any), and where it came to listen first.
    pub fn add_link(
        &self,
        name: &str,
        listen: &[SocketAddr],
        upstream: &[SocketAddr],
    ) -> Result<SocketAddr, String> {
        self.links.add(name, listen, upstream)
    }

    /// The listener of a node that several peers share: `agent->node`, `other->node`.
    pub fn add_shared_link(
        &self,
        node: &str,
        peers: &[String],
        listen: &[SocketAddr],
        upstream: &[SocketAddr],
    ) -> Result<(), String> {
        self.links.add_shared(node, peers, listen, upstream)
    }
}

impl fault::World for World {
    fn link(&self, name: &str) -> Option<Link> {
        self.links.get(name)
    }

    fn links_to(&self, role: &str) -> Vec<Link> {
        let ending = format!("->{role}");
        self.links
            .all()
            .into_iter()
            .filter(|link| link.name().ends_with(&ending))
            .collect()
    }

    fn roles(&self, target: &str) -> Vec<String> {
        let all: Vec<String> = self.processes().keys().cloned().collect();
        if target != "store" {
            return all.into_iter().filter(|role| role == target).collect();
        }
        // The NameNode is started before the DataNodes.
        let mut nodes: Vec<String> = all.into_iter().filter(|role| role != "agent").collect();
        nodes.sort_by_key(|role| (role != "namenode", role.clone()));
        nodes
    }

    fn process(&self, role: &str) -> Option<Process> {
        World::process(self, role)
    }

    fn watcher(&self) -> &Watcher {
        &self.watcher
    }

    fn expect_end(&self, role: &str) {
        World::expect_end(self, role);
    }

    fn restart(&self, role: &str) -> Result<(), String> {
        World::restart(self, role)
    }
}

fn log_contains(log: &Path, from: u64, text: &str) -> bool {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(4 << 20).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().is_ok_and(|bytes| {
        bytes
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    })
}

/// The last lines of a log, for an error message.
fn last_lines(log: &Path) -> String {
    let text = std::fs::read(log)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(4).collect();
    lines
        .iter()
        .rev()
        .map(|line| format!("\n      {}", line.chars().take(300).collect::<String>()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::history;

    const LONG: Duration = Duration::from_secs(20);

    /// Starts a shell script as the agent, waits for `until`, stops it, and hands back the history.
    fn stopped(script: &str, limit: Duration, until: impl Fn(&Process) -> bool) -> Vec<Entry> {
        let directory = tempfile::tempdir().unwrap();
        let dir = RunDir::create(directory.path(), "x", 1).unwrap();
        let path = dir.path("history.jsonl");
        let history = History::create(&path).unwrap();
        let world = World::new(dir, history.clone(), 1, Arc::default()).unwrap();
        let log = directory.path().join("agent.log");
        let said = log.clone();
        let ready = Ready::when(LONG, move || log_contains(&said, 0, "up"));
        let spawn = Spawn::new("agent", ["sh", "-c", script], log);
        world.start(spawn, ready).unwrap();
        let deadline = Instant::now() + LONG;
        let process = world.process("agent").unwrap();
        while !until(&process) {
            assert!(Instant::now() < deadline, "{script}");
            std::thread::sleep(Duration::from_millis(5));
        }
        world.stop("agent", limit).unwrap();
        world.end_all();
        history.close().unwrap();
        let (lines, _) = history::read(&path).unwrap();
        lines.into_iter().map(|line| line.entry).collect()
    }

    #[test]
    fn an_end_before_the_stop_is_nobodys_wish() {
        let script = "echo up; exit 77";
        let entries = stopped(script, LONG, |process| !process.alive());
        let ended = entries.iter().find_map(|entry| match entry {
            Entry::Ended { exit, wanted, .. } => Some((exit.as_str(), *wanted)),
            _ => None,
        });
        assert_eq!(ended, Some(("exit code 77", false)), "{entries:?}");
        let killed = |entry: &Entry| matches!(entry, Entry::HadToBeKilled { .. });
        assert!(!entries.iter().any(killed), "{entries:?}");
    }

    #[test]
    fn an_agent_that_heeds_no_sigterm_is_told_from_one_that_ends() {
        let killed = |entries: &[Entry]| {
            entries
                .iter()
                .any(|entry| matches!(entry, Entry::HadToBeKilled { role, .. } if role == "agent"))
        };
        let deaf = "trap '' TERM; echo up; while :; do sleep 0.05; done";
        let entries = stopped(deaf, Duration::from_millis(300), |_| true);
        assert!(killed(&entries), "{entries:?}");
        let good = "trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done";
        let entries = stopped(good, LONG, |_| true);
        assert!(!killed(&entries), "{entries:?}");
        let wanted = |entry: &Entry| matches!(entry, Entry::Ended { wanted: true, .. });
        assert!(entries.iter().any(wanted), "{entries:?}");
    }
}
