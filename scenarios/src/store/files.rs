//! `files`: a directory on this machine into which the agent writes.
//!
//! The run makes it anew (`FB_STORE`), so it owns every file in it: a record without a token is
//! malformed. Where `in_use_suffix` or `in_use_prefix` is given, a file is published once it is
//! seen without it; otherwise what is stored is published.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flume_bench_loadgen::receiver::{self, Receiver};

use super::{Kind, Lease, Removed, Running, Store, StoreError};
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
    fn remove_judged(&self, open: &BTreeSet<PathBuf>) -> Result<Removed, String> {
        let mut removed = Removed::default();
        let mut directories = vec![self.directory.clone()];
        let failed = |path: &Path, error: std::io::Error| {
            format!("{} could not be removed: {error}", path.display())
        };
        while let Some(directory) = directories.pop() {
            let entries =
                std::fs::read_dir(&directory).map_err(|error| failed(&directory, error))?;
            for entry in entries {
                let entry = entry.map_err(|error| failed(&directory, error))?;
                let path = entry.path();
                let metadata = entry.metadata().map_err(|error| failed(&path, error))?;
                if metadata.is_dir() {
                    directories.push(path);
                } else if metadata.is_file() && !open.contains(&path) && !self.in_use(&path) {
                    std::fs::remove_file(&path).map_err(|error| failed(&path, error))?;
                    removed.files += 1;
                    removed.bytes += metadata.len();
                }
            }
        }
        Ok(removed)
    }
}

impl RunningFiles {
    /// Whether a file has the name of one that is being written.
    fn in_use(&self, path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let suffix = self.in_use_suffix.as_deref();
        let prefix = self.in_use_prefix.as_deref();
        suffix.is_some_and(|suffix| name.ends_with(suffix))
            || prefix.is_some_and(|prefix| name.starts_with(prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let open = [directory.path().join("c.log")].into();
        let removed = store.remove_judged(&open).unwrap();
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
