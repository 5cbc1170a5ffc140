//! `files`: a directory on this machine into which the agent writes.
//!
//! The run makes it anew (`FB_STORE`), so it owns every file in it: a record without a token is
//! malformed. Where `in_use_suffix` or `in_use_prefix` is given, a file is published once it is
//! seen without it; otherwise what is stored is published.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use flume_bench_loadgen::receiver::{self, Receiver};

use super::{Kind, Lease, Running, Store, StoreError};
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
}
