//! Tells the program which commit it was built from, where that can be known.

use std::path::Path;
use std::process::Command;

fn main() {
    if let Some(commit) = git(&["rev-parse", "HEAD"]) {
        println!("cargo::rustc-env=FLUME_BENCH_COMMIT={commit}");
    }
    // Asked for, since in a work tree it lies elsewhere; a file that is not there would mean to build
    // anew each time.
    match git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        Some(log) if Path::new(&log).exists() => println!("cargo::rerun-if-changed={log}"),
        _ => println!("cargo::rerun-if-changed=build.rs"),
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(said)
}
