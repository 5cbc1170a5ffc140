//! `files`: a directory on this machine into which the agent writes.
//!
//! The run makes it anew (`FB_STORE`), so it owns every file in it: a record without a token is
//! malformed. Where `in_use_suffix` or `in_use_prefix` is given, a file is published once it is
//! seen without it; otherwise what is stored is published.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flume_bench_loadgen::receiver::{self, Receiver};

use super::{Inode, Kind, Lease, OpenFiles, Removed, Running, Store, StoreError};
use crate::runner::world::World;
use crate::scenario::Scenario;
use crate::scenario::reader::{Problem, Reader};
use crate::tools::Tools;

pub(super) static KIND: Kind = Kind {
    name: "files",
    summary: "a directory on this machine",
    providers: &["embedded"],
    settings: &[
        (
            "in_use_suffix",
            "ending of names that are still being written (none)",
        ),
        (
            "in_use_prefix",
            "beginning of names that are still being written (none)",
        ),
    ],
    read,
};

fn read(table: &Reader<'_, '_>, provider: &'static str) -> Option<Arc<dyn Store>> {
    let in_use_suffix = table.text("in_use_suffix").filter(|text| !text.is_empty());
    let in_use_prefix = table.text("in_use_prefix").filter(|text| !text.is_empty());
    Some(Arc::new(Files {
        provider,
        in_use_suffix,
        in_use_prefix,
    }))
}

#[derive(Debug)]
struct Files {
    provider: &'static str,
    in_use_suffix: Option<String>,
    in_use_prefix: Option<String>,
}

impl Store for Files {
    fn kind(&self) -> &'static str {
        KIND.name
    }
    fn provider(&self) -> &'static str {
        self.provider
    }
    fn links(&self) -> Vec<String> {
        Vec::new()
    }
    fn nodes(&self) -> Vec<String> {
        Vec::new()
    }
    fn has_in_use_names(&self) -> bool {
        self.in_use_suffix.is_some() || self.in_use_prefix.is_some()
    }
    fn check(&self, _scenario: &Scenario, _tools: &Tools) -> Vec<Problem> {
        Vec::new()
    }
    fn example_environment(&self) -> BTreeMap<String, String> {
        [(
            "FB_STORE".to_owned(),
            std::env::temp_dir().to_string_lossy().into_owned(),
        )]
        .into()
    }
    fn start(&self, world: &World, _tools: &Tools) -> Result<Box<dyn Running>, StoreError> {
        let directory = world.dir().path("store/files");
        std::fs::create_dir_all(&directory).map_err(|error| StoreError {
            kind: "files".into(),
            why: format!("{}: {error}", directory.display()),
        })?;
        Ok(Box::new(RunningFiles {
            directory,
            in_use_suffix: self.in_use_suffix.clone(),
            in_use_prefix: self.in_use_prefix.clone(),
        }))
    }
}

#[derive(Debug)]
struct RunningFiles {
    directory: PathBuf,
    in_use_suffix: Option<String>,
    in_use_prefix: Option<String>,
}

impl Running for RunningFiles {
    fn environment(&self) -> BTreeMap<String, String> {
        [(
            "FB_STORE".to_owned(),
            self.directory.to_string_lossy().into_owned(),
        )]
        .into()
    }
    fn receiver(&self, run: u64) -> Result<Box<dyn Receiver + Send>, StoreError> {
        Ok(Box::new(receiver::files::Files::new(
            receiver::files::Config {
                path: self.directory.clone(),
                in_use_suffix: self.in_use_suffix.clone(),
                in_use_prefix: self.in_use_prefix.clone(),
                owned: true,
            },
            run,
        )))
    }
    fn version(&self) -> Option<String> {
        None
    }
    fn recover_leases(&self) -> Vec<Lease> {
        Vec::new()
    }
    fn directory(&self) -> Option<PathBuf> {
        Some(self.directory.clone())
    }
    fn remove_judged(&self, open: &OpenFiles<'_>) -> Result<Removed, String> {
        let listed = self.not_in_use()?;
        let open = open()?;
        let mut removed = Removed::default();
        for (path, metadata) in listed {
            if open.contains(&Inode::from(&metadata)) {
                continue;
            }
            if unless_gone(&path, "removed", std::fs::remove_file(&path))?.is_some() {
                removed.files += 1;
                removed.bytes += metadata.len();
            }
        }
        Ok(removed)
    }
}

impl RunningFiles {
    /// All files without an in-use name.
    fn not_in_use(&self) -> Result<Vec<(PathBuf, Metadata)>, String> {
        let mut found = Vec::new();
        let mut directories = vec![self.directory.clone()];
        while let Some(directory) = directories.pop() {
            let entries = unless_gone(&directory, "listed", std::fs::read_dir(&directory))?;
            for entry in entries.into_iter().flatten() {
                let entry = entry.map_err(|error| failed(&directory, "listed", &error))?;
                let path = entry.path();
                match unless_gone(&path, "looked at", entry.metadata())? {
                    Some(metadata) if metadata.is_dir() => directories.push(path),
                    Some(metadata) if metadata.is_file() && !self.in_use(&path) => {
                        found.push((path, metadata));
                    }
                    _ => {}
                }
            }
        }
        Ok(found)
    }

    /// Whether a file has the name of one that is being written.
    fn in_use(&self, path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let suffix = self.in_use_suffix.as_deref();
        let prefix = self.in_use_prefix.as_deref();
        suffix.is_some_and(|suffix| name.ends_with(suffix))
            || prefix.is_some_and(|prefix| name.starts_with(prefix))
    }
}

fn failed(path: &Path, what: &str, error: &std::io::Error) -> String {
    format!("{} could not be {what}: {error}", path.display())
}

/// The agent may take a file away as it likes.
fn unless_gone<T>(
    path: &Path,
    what: &str,
    result: std::io::Result<T>,
) -> Result<Option<T>, String> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path, what, &error)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_is_opened_while_files_are_removed_stays_and_so_does_all_where_that_is_unknown() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let store = RunningFiles {
            directory: directory.path().to_owned(),
            in_use_suffix: None,
            in_use_prefix: None,
        };
        for name in ["closed", "opened", "gone"] {
            std::fs::write(at(name), name).unwrap();
        }
        let unknown = store.remove_judged(&|| Err("nobody may look".into()));
        assert_eq!(unknown, Err("nobody may look".into()));
        assert!(at("closed").exists() && at("opened").exists());
        // The agent opens one, makes another, and takes a third away.
        let busy = || {
            std::fs::write(at("made"), "new").unwrap();
            std::fs::remove_file(at("gone")).unwrap();
            let opened = std::fs::metadata(at("opened")).unwrap();
            Ok([Inode::from(&opened)].into())
        };
        let removed = store.remove_judged(&busy).unwrap();
        assert_eq!((removed.files, removed.bytes), (1, 6));
        assert!(!at("closed").exists() && at("opened").exists() && at("made").exists());
        let none = store.remove_judged(&|| Ok(BTreeSet::new())).unwrap();
        assert_eq!(none.files, 2);
    }

    #[test]
    fn only_closed_files_without_an_in_use_name_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("day")).unwrap();
        for name in ["a.log", "b.log.tmp", "c.log", "day/d.log"] {
            std::fs::write(directory.path().join(name), name).unwrap();
        }
        let store = RunningFiles {
            directory: directory.path().to_owned(),
            in_use_suffix: Some(".tmp".into()),
            in_use_prefix: None,
        };
        let open = std::fs::metadata(directory.path().join("c.log")).unwrap();
        let removed = store.remove_judged(&|| Ok([Inode::from(&open)].into()));
        let removed = removed.unwrap();
        assert_eq!(
            removed,
            Removed {
                files: 2,
                bytes: 14
            }
        );
        for (name, there) in [
            ("a.log", false),
            ("b.log.tmp", true),
            ("c.log", true),
            ("day/d.log", false),
        ] {
            assert_eq!(directory.path().join(name).exists(), there, "{name}");
        }
    }
}
