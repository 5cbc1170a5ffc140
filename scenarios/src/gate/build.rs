//! `--baseline-rev REV`: a revision of this repository, built once and kept by commit.
//!
//! The revision is checked out into a git work tree of its own under the cache directory
//! (`$FLUME_BENCH_LIBS/builds`), built there with `cargo build --release --locked`, and the program
//! is copied to `builds/<commit>/flume-bench`. The next gate against the same commit takes that.
//! Building is outside of the budget: it begins when everything else was found in order and no other
//! gate runs on the machine, and it ends before the first pair. A signal ends it. Work trees that
//! builds have left behind which were killed are removed by the next one.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::Request;
use super::lock::Lock;
use crate::scenario::reader::Problem;

/// The package that is built.
const PACKAGE: &str = "flume-bench";

/// How often a build is asked whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The program of a revision of the repository that `directory` is in, for a gate whose other arm
/// stands in for it in the request so far.
///
/// # Errors
/// Everything that is wrong with the request; no repository, no such revision, another gate, or it
/// cannot be built.
pub fn program(
    request: &Request,
    directory: &Path,
    rev: &str,
    say: &dyn Fn(&str),
) -> Result<PathBuf, Vec<Problem>> {
    let mut problems = super::check(request).err().unwrap_or_default();
    let commit = match (commit(directory, rev), problems.is_empty()) {
        (Ok(commit), true) => commit,
        (found, _) => {
            problems.extend(found.err());
            return Err(problems);
        }
    };
    let one = |problem| vec![problem];
    let _lock = Lock::take().map_err(one)?;
    built(directory, rev, &commit, &request.interrupted, say).map_err(one)
}

fn built(
    directory: &Path,
    rev: &str,
    commit: &str,
    interrupted: &AtomicBool,
    say: &dyn Fn(&str),
) -> Result<PathBuf, Problem> {
    let builds = crate::tools::libs().join("builds");
    let kept = builds.join(commit).join(PACKAGE);
    if kept.is_file() {
        say(&format!("{rev} is {commit}, built before"));
        return Ok(kept);
    }
    say(&format!("{rev} is {commit}: building it"));
    let tree = builds.join(format!("tree-{}", std::process::id()));
    remove_stale(directory, &builds);
    let built = build(directory, commit, &builds, &tree, &kept, interrupted);
    let removed = git(directory, &["worktree", "remove", "--force", &text(&tree)]);
    built?;
    if let Err(error) = removed {
        say(&format!("the work tree {} stays: {error}", tree.display()));
    }
    Ok(kept)
}

fn commit(directory: &Path, rev: &str) -> Result<String, Problem> {
    // What begins with a dash would be an option.
    let wanted = format!("{rev}^{{commit}}");
    git(
        directory,
        &[
            "rev-parse",
            "--verify",
            "--quiet",
            "--end-of-options",
            &wanted,
        ],
    )
    .map_err(|_| {
        Problem::of_machine(
            format!(
                "--baseline-rev {rev}: there is no such revision in {}",
                directory.display()
            ),
            "name a commit, a tag or a branch of the repository you are in (git log --oneline)",
        )
    })
}

fn build(
    directory: &Path,
    commit: &str,
    builds: &Path,
    tree: &Path,
    kept: &Path,
    interrupted: &AtomicBool,
) -> Result<(), Problem> {
    let failed = |what: String| {
        Problem::of_machine(
            format!("the baseline {commit} cannot be built: {what}"),
            "build it yourself and give it as --baseline PATH",
        )
    };
    fs::create_dir_all(builds).map_err(|error| failed(error.to_string()))?;
    git(
        directory,
        &["worktree", "add", "--detach", &text(tree), commit],
    )
    .map_err(failed)?;
    let target = builds.join("target");
    let status = Command::new("cargo")
        .args(["build", "--release", "--locked", "--package", PACKAGE])
        .current_dir(tree)
        .env("CARGO_TARGET_DIR", &target)
        .stdin(Stdio::null())
        // A group of its own, so that its compilers end with it.
        .process_group(0)
        .spawn()
        .map_err(|error| format!("cargo: {error}"))
        .and_then(|child| wait(child, interrupted))
        .map_err(failed)?;
    if !status.success() {
        return Err(failed(format!("cargo build ended with {status}")));
    }
    let put = || -> std::io::Result<()> {
        if let Some(parent) = kept.parent() {
            fs::create_dir_all(parent)?;
        }
        // Under another name first: a copy that was cut off must not be taken for the program.
        let beside = kept.with_extension("new");
        fs::copy(target.join("release").join(PACKAGE), &beside)?;
        fs::rename(beside, kept)
    };
    put().map_err(|error| failed(error.to_string()))
}

/// Waits for a process that leads its group; a signal to us ends all of it.
fn wait(mut child: Child, interrupted: &AtomicBool) -> Result<ExitStatus, String> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if !interrupted.load(Ordering::Relaxed) => std::thread::sleep(LOOK_EVERY),
            looked => {
                if let Ok(group) = i32::try_from(child.id()) {
                    // It may have ended meanwhile.
                    let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
                }
                let _ = child.wait();
                return Err(looked
                    .err()
                    .map_or_else(|| "it was interrupted".to_owned(), |e| e.to_string()));
            }
        }
    }
}

/// Removes the work trees of builds that are no more.
fn remove_stale(directory: &Path, builds: &Path) {
    let entries = fs::read_dir(builds).into_iter().flatten().flatten();
    for tree in entries.map(|entry| entry.path()) {
        let name = tree.file_name().and_then(|name| name.to_str());
        let pid = name.and_then(|name| name.strip_prefix("tree-")?.parse::<u32>().ok());
        let Some(pid) = pid else { continue };
        let lives = Path::new("/proc").join(pid.to_string()).exists();
        if lives && pid != std::process::id() {
            continue;
        }
        if git(directory, &["worktree", "remove", "--force", &text(&tree)]).is_err() {
            // Of another repository, or half made: what stays takes room, and that is all.
            let _ = fs::remove_dir_all(&tree);
        }
    }
    let _ = git(directory, &["worktree", "prune"]);
}

/// The first line that git prints.
fn git(directory: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(directory)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("git: {error}"))?;
    if output.status.success() {
        let text = String::from_utf8_lossy(&output.stdout);
        return Ok(text.lines().next().unwrap_or_default().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "git {} ended with {}: {}",
        arguments.first().unwrap_or(&""),
        output.status,
        said.lines().last().unwrap_or("no message")
    ))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_is_named_or_refused() {
        let directory = tempfile::tempdir().unwrap();
        let here = directory.path();
        if git(here, &["init", "--quiet"]).is_err() {
            eprintln!("SKIPPED: no git here");
            return;
        }
        let author = ["-c", "user.name=t", "-c", "user.email=t@example.org"];
        let words = [
            &author[..],
            &["commit", "--quiet", "--allow-empty", "-m", "one"],
        ]
        .concat();
        git(here, &words).unwrap();
        assert_eq!(commit(here, "HEAD").unwrap().len(), 40);
        for wrong in ["nowhere", "--all", ""] {
            let refused = commit(here, wrong).unwrap_err();
            assert!(refused.message.contains("no such revision"), "{refused}");
        }
    }

    #[test]
    fn a_signal_ends_what_is_being_built() {
        let start = |script: &str| {
            let mut command = Command::new("sh");
            command
                .args(["-c", script])
                .process_group(0)
                .spawn()
                .unwrap()
        };
        let interrupted = AtomicBool::new(false);
        assert!(wait(start("exit 0"), &interrupted).unwrap().success());
        interrupted.store(true, Ordering::Relaxed);
        let began = std::time::Instant::now();
        let refused = wait(start("sleep 600 & sleep 600"), &interrupted).unwrap_err();
        assert!(refused.contains("interrupted"), "{refused}");
        assert!(began.elapsed() < Duration::from_secs(300));
    }

    #[test]
    fn work_trees_of_builds_that_are_no_more_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let builds = directory.path().join("builds");
        // No process has this number; the first process lives.
        let stale = builds.join("tree-999999999");
        let living = builds.join("tree-1");
        let kept = builds.join("target");
        for one in [&stale, &living, &kept] {
            fs::create_dir_all(one.join("x")).unwrap();
        }
        remove_stale(directory.path(), &builds);
        assert_eq!(
            [stale.exists(), living.exists(), kept.exists()],
            [false, true, true]
        );
    }
}
