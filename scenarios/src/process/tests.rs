//! Real processes: `sleep`, `sh` and friends, each with a deadline.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::*;

const LONG: Duration = Duration::from_secs(20);

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {LONG:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn shell(directory: &Path, script: &str) -> Spawn {
    Spawn::new("agent", ["sh", "-c", script], directory.join("agent.log"))
}

#[test]
fn a_process_is_started_as_asked_and_its_end_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Registry::create(directory.path()).unwrap();
    let spec = shell(
        directory.path(),
        "pwd; echo $WORD >&2; cat /proc/self/stat; exit 7",
    )
    .env("WORD", "crow")
    .cwd(directory.path());
    let process = registry.spawn(&spec).unwrap();
    assert_eq!(process.wait(LONG).unwrap().exit, Exit::Code(7));
    assert!(!process.alive() && process.state().is_none() && process.usage().is_none());
    assert!(!process.signal(Signal::SIGKILL).unwrap());
    let log = fs::read_to_string(process.log()).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    let here = fs::canonicalize(directory.path()).unwrap();
    assert_eq!(lines[..2], [here.to_str().unwrap(), "crow"]);
    // Fields 5 (group) and 19 (niceness).
    let fields: Vec<&str> = lines[2]
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    assert_eq!(fields[2], process.pid().to_string());
    assert_eq!(fields[16], NICE.to_string());
}

#[test]
fn stopping_goes_on_and_killing_ends() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Registry::create(directory.path()).unwrap();
    let watcher = Watcher::start(&registry).unwrap();
    let from = Instant::now();
    let process = registry
        .spawn(&shell(directory.path(), "exec sleep 1000"))
        .unwrap();
    assert!(process.alive());
    // Between fork and exec a process has no memory of its own to speak of.
    until("resident", || process.usage().unwrap().rss_bytes > 0);
    process.signal_group(Signal::SIGSTOP).unwrap();
    until("stopped", || process.state() == Some(State::Stopped));
    until("seen by the observer", || {
        let seen = watcher.seen(process.identity(), from, Instant::now());
        seen.iter()
            .any(|s| s.state == State::Stopped && s.looks >= 2 && s.cpu.is_zero())
    });
    assert!(process.alive(), "stopped is not ended");
    process.signal_group(Signal::SIGCONT).unwrap();
    until("continued", || process.state() == Some(State::Sleeping));
    process.signal(Signal::SIGKILL).unwrap();
    assert_eq!(process.wait(LONG).unwrap().exit, Exit::Signal(9));
}

#[test]
fn the_group_is_reached_after_its_leader_has_ended() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Registry::create(directory.path()).unwrap();
    let process = registry
        .spawn(&shell(directory.path(), "sleep 1000 & exit 0"))
        .unwrap();
    assert_eq!(process.wait(LONG).unwrap().exit, Exit::Code(0));
    let left = procfs::members(process.pid());
    assert_eq!(left.len(), 1);
    assert!(process.signal_group(Signal::SIGKILL).unwrap());
    until("gone", || procfs::members(process.pid()).is_empty());
    assert!(!process.signal_group(Signal::SIGKILL).unwrap());
}

#[test]
fn a_stopped_process_and_a_deaf_one_are_ended_too() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Registry::create(directory.path()).unwrap();
    let stopped = registry
        .spawn(&shell(directory.path(), "exec sleep 1000"))
        .unwrap();
    stopped.signal(Signal::SIGSTOP).unwrap();
    assert_eq!(stopped.stop(LONG).unwrap().unwrap().exit, Exit::Signal(15));
    let script = "trap '' TERM; echo ready; while :; do sleep 0.1; done";
    let deaf = registry.spawn(&shell(directory.path(), script)).unwrap();
    until("ready", || {
        fs::read_to_string(deaf.log()).is_ok_and(|log| log.contains("ready"))
    });
    let ended = deaf.stop(Duration::from_millis(50)).unwrap().unwrap();
    assert_eq!(ended.exit, Exit::Signal(9));
}

#[test]
fn dropping_the_list_ends_everything_even_what_left_the_group() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Registry::create(directory.path()).unwrap();
    let script = "setsid sh -c 'echo $$ > far; sleep 1000' & sleep 1000";
    let spec = shell(directory.path(), script).cwd(directory.path());
    let near = registry.spawn(&spec).unwrap();
    let far = || {
        fs::read_to_string(directory.path().join("far"))
            .ok()?
            .trim()
            .parse()
            .ok()
    };
    until("the far one", || {
        far().is_some_and(|pid| Identity::of(pid).is_some())
    });
    let far = Identity::of(far().unwrap()).unwrap();
    assert!(
        !procfs::members(near.pid())
            .iter()
            .any(|stat| stat.identity() == far)
    );
    assert!(far.alive() && !procfs::descendants(near.pid()).is_empty());
    drop(registry);
    until("both gone", || !near.alive() && !far.alive());
}

#[test]
fn what_cannot_be_started_is_said_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Registry::create(directory.path()).unwrap();
    let log = directory.path().join("x.log");
    let missing = Spawn::new("agent", ["no-such-program-here"], &log);
    let error = registry.spawn(&missing).unwrap_err();
    assert!(matches!(error, ProcessError::NoProgram { .. }), "{error}");
    assert!(!log.exists());
    let empty = Spawn::new("agent", Vec::<String>::new(), &log);
    assert!(matches!(
        registry.spawn(&empty),
        Err(ProcessError::NoArguments { .. })
    ));
    let nowhere = Spawn::new("agent", ["true"], "/nowhere/at/all.log");
    assert!(matches!(
        registry.spawn(&nowhere),
        Err(ProcessError::Log { .. })
    ));
    assert!(registry.processes().is_empty());
}

/// Writes a list as a harness of the given identity would have left it.
fn leave_list(runs: &Path, harness: Identity, entries: &[(&str, Identity)]) {
    fs::create_dir_all(runs.join("1")).unwrap();
    let processes: Vec<_> = entries
        .iter()
        .map(|(role, identity)| serde_json::json!({"role": role, "argv": [], "identity": identity}))
        .collect();
    let list = serde_json::json!({
        "harness": harness, "boot_id": procfs::boot_id(), "mark": format!("{}", runs.display()),
        "closed": false, "processes": processes,
    });
    fs::write(runs.join("1").join(registry::FILE), list.to_string()).unwrap();
}

#[test]
fn a_sweep_ends_what_is_proven_to_be_of_a_dead_run_and_nothing_else() {
    let runs = tempfile::tempdir().unwrap();
    let mark = format!("{}", runs.path().display());
    let mut ours = Command::new("sleep").arg("1000").spawn().unwrap();
    let mut marked = Command::new("sleep")
        .arg("1000")
        .env(registry::MARK, &mark)
        .spawn()
        .unwrap();
    let mut stranger = Command::new("sleep").arg("1000").spawn().unwrap();
    let identity = |child: &Child| Identity::of(child.id().cast_signed()).unwrap();
    let (a, b, c) = (identity(&ours), identity(&marked), identity(&stranger));
    until("the mark", || {
        procfs::started_with(b.pid, &format!("{}={mark}", registry::MARK))
    });
    // The stranger has the number of a process of the run, but was started at another time.
    let reused = Identity {
        start: c.start + 1,
        ..c
    };
    let own = Identity::own().unwrap();
    let dead = Identity {
        start: own.start + 1,
        ..own
    };

    leave_list(runs.path(), own, &[("agent", a), ("store", reused)]);
    let found = sweep(runs.path());
    assert!(
        found[0].as_ref().unwrap().running,
        "the harness lives: nothing is touched"
    );
    assert!(a.alive() && b.alive());

    leave_list(runs.path(), dead, &[("agent", a), ("store", reused)]);
    let found = sweep(runs.path()).remove(0).unwrap();
    let ended: Vec<i32> = found.ended.iter().map(|(_, pid)| *pid).collect();
    assert_eq!(ended, [a.pid, b.pid]);
    assert!(found.left.is_empty() && c.alive());
    assert!(
        sweep(runs.path()).is_empty(),
        "a closed list is not swept again"
    );
    for child in [&mut ours, &mut marked, &mut stranger] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
