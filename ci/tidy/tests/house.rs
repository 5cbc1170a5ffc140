//! The rules of the house that a compiler does not see.

#![expect(clippy::unwrap_used, reason = "it is a test")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
        .to_owned()
}

/// Edges between our own crates: from, to, kind (`normal`, `dev`, `build`).
fn edges() -> BTreeSet<(String, String, String)> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let ours: BTreeSet<&str> = packages
        .iter()
        .map(|package| package["name"].as_str().unwrap())
        .collect();
    let short = |name: &str| {
        name.strip_prefix("flume-bench-")
            .unwrap_or("cli")
            .to_owned()
    };
    let mut edges = BTreeSet::new();
    for package in packages {
        for dependency in package["dependencies"].as_array().unwrap() {
            let name = dependency["name"].as_str().unwrap();
            if ours.contains(name) {
                let kind = dependency["kind"].as_str().unwrap_or("normal");
                edges.insert((
                    short(package["name"].as_str().unwrap()),
                    short(name),
                    kind.to_owned(),
                ));
            }
        }
    }
    edges
}

/// The engine is a leaf, the judge shares no code with it, and only the binary knows both.
#[test]
fn crates_depend_on_each_other_only_as_the_design_says() {
    let allowed: BTreeSet<(&str, &str)> = [
        ("benches", "engine"),
        ("benches", "loadgen"),
        ("benches", "reports"),
        ("cli", "engine"),
        ("cli", "loadgen"),
        ("cli", "reports"),
        ("cli", "scenarios"),
        ("cli", "stores"),
        ("engine", "hadoop"),
        ("scenarios", "loadgen"),
        ("scenarios", "reports"),
        ("stores", "hadoop"),
    ]
    .into();
    let edges = edges();
    assert!(edges.len() >= 8, "cargo metadata showed only {edges:?}");
    for (from, to, kind) in &edges {
        assert!(
            allowed.contains(&(from.as_str(), to.as_str())),
            "{from} -> {to} ({kind}) is an edge that ARCHITECTURE.md does not know"
        );
    }
}

fn rust_files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') && name != "runs" {
            rust_files(&path, found);
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_module_says_what_it_is_and_none_is_called_mod() {
    let mut files = Vec::new();
    rust_files(&root(), &mut files);
    assert!(files.len() > 50);
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let name = file.strip_prefix(root()).unwrap().display().to_string();
        assert!(
            !name.ends_with("/mod.rs"),
            "{name}: write foo.rs beside foo/"
        );
        assert!(
            text.starts_with("//!"),
            "{name} does not begin with a sentence that says what it is"
        );
    }
}

#[test]
fn every_script_can_be_run_and_stops_at_the_first_failure() {
    use std::os::unix::fs::PermissionsExt;
    for entry in std::fs::read_dir(root().join("ci")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && path.extension().is_none() {
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(
                text.starts_with("#!/usr/bin/env bash\n#"),
                "{}: bash, then a sentence",
                path.display()
            );
            assert!(text.contains("set -eu"), "{}", path.display());
            assert_ne!(
                path.metadata().unwrap().permissions().mode() & 0o111,
                0,
                "{} is not executable",
                path.display()
            );
        }
    }
}
