//! `--baseline-rev REV`: a revision of this repository, built once and kept by commit.
//!
//! The revision is checked out into a git work tree of its own under the cache directory
//! (`$FLUME_BENCH_LIBS/builds`), built there with `cargo build --release --locked`, and the program
//! is copied to `builds/<commit>/flume-bench`. The next gate against the same commit takes that.
//! Building is outside of the budget: it ends before the first pair.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::scenario::reader::Problem;

/// The package that is built.
const PACKAGE: &str = "flume-bench";

/// The program of a revision of the repository that `directory` is in.
///
/// # Errors
/// No repository, no such revision, or it cannot be built.
pub fn program(directory: &Path, rev: &str, say: &dyn Fn(&str)) -> Result<PathBuf, Problem> {
    let commit = commit(directory, rev)?;
    let builds = crate::tools::libs().join("builds");
    let kept = builds.join(&commit).join(PACKAGE);
    if kept.is_file() {
        say(&format!("{rev} is {commit}, built before"));
        return Ok(kept);
    }
    say(&format!("{rev} is {commit}: building it"));
    let tree = builds.join(format!("tree-{}", std::process::id()));
    let built = build(directory, &commit, &builds, &tree, &kept);
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
        .status()
        .map_err(|error| failed(format!("cargo: {error}")))?;
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
}
