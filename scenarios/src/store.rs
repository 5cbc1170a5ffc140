//! Stores and their providers: what the data ends in, and how it is read back.
//!
//! | provider | what it is |
//! |---|---|
//! | `embedded` | the store's protocol, served by child processes of the run; needs nothing |
//! | `local` | the real server, started as processes of this machine |
//! | `external` | somebody's server, by address; faults only on links the run can stand in |
//!
//! One file a kind; one line in [`KINDS`] registers it.

mod files;
mod hdfs;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use flume_bench_loadgen::receiver::Receiver;

use crate::runner::world::World;
use crate::scenario::Scenario;
use crate::scenario::reader::{Problem, Reader};
use crate::tools::Tools;

/// A kind of store.
#[derive(Debug)]
pub struct Kind {
    /// Name, as in `[store] kind = "…"`.
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// Its providers, the default first.
    pub providers: &'static [&'static str],
    /// Its own keys, for `list`.
    pub settings: &'static [(&'static str, &'static str)],
    read: fn(&Reader<'_, '_>, &'static str) -> Option<Arc<dyn Store>>,
}

/// Every kind, by name.
pub static KINDS: &[&Kind] = &[&files::KIND, &hdfs::KIND];

/// Reads `[store]`.
pub fn read(table: &Reader<'_, '_>) -> Option<Arc<dyn Store>> {
    let names: Vec<&'static str> = KINDS.iter().map(|kind| kind.name).collect();
    if table.raw("kind").is_none() {
        table.missing(
            "kind",
            &format!("what the data ends in ({})", names.join(", ")),
        );
    }
    let name = table.word("kind", &names);
    let kind = KINDS.iter().find(|kind| Some(kind.name) == name)?;
    // Where the word is wrong, that has been said, and the rest can be read with the default.
    let provider = table
        .word("provider", kind.providers)
        .unwrap_or(kind.providers[0]);
    let store = (kind.read)(table, provider);
    table.finish();
    store
}

/// What a failed start of a store says.
#[derive(Debug, thiserror::Error)]
#[error("failed to start the store {kind}: {why}")]
pub struct StoreError {
    /// The store's kind and provider.
    pub kind: String,
    /// What went wrong, with the file to look into.
    pub why: String,
}

/// A store as the scenario names it.
pub trait Store: Debug + Send + Sync {
    /// The kind's name.
    fn kind(&self) -> &'static str;
    /// The provider's name.
    fn provider(&self) -> &'static str;
    /// The links a fault may act on, `from->to`.
    fn links(&self) -> Vec<String>;
    /// The nodes a fault may act on, and `store` for all of them.
    fn nodes(&self) -> Vec<String>;
    /// Whether files have another name while they are written.
    fn has_in_use_names(&self) -> bool;
    /// What is wrong with the machine.
    fn check(&self, scenario: &Scenario, tools: &Tools) -> Vec<Problem>;
    /// The environment's variables as they would be.
    fn example_environment(&self) -> BTreeMap<String, String>;
    /// Starts it: processes, proxies, files for the agent's configuration directory.
    fn start(&self, world: &World, tools: &Tools) -> Result<Box<dyn Running>, StoreError>;
}

/// A store that runs.
pub trait Running: Debug + Send {
    /// Variables for the agent's environment.
    fn environment(&self) -> BTreeMap<String, String>;
    /// What the run reads it back with.
    fn receiver(&self, run: u64) -> Result<Box<dyn Receiver + Send>, StoreError>;
    /// Version of the server, if it is known.
    fn version(&self) -> Option<String>;
    /// Recovers the leases of files that were left open. What was done, a line a file.
    fn recover_leases(&self) -> Vec<Lease>;
    /// Directory that the store's data is in, when it is on this machine.
    fn directory(&self) -> Option<PathBuf>;
    /// Removes the files that are closed and have no in-use name; `open` looks which ones processes of
    /// the agent have open. It is asked after the files were listed: what is opened later is no file
    /// that was listed closed. For a soak, whose rounds have been read and judged; no receiver reads
    /// meanwhile.
    ///
    /// # Errors
    /// It is not known what is open, and nothing was removed; or some files could not be. The sentence
    /// says which, and why.
    fn remove_judged(&self, open: &OpenFiles<'_>) -> Result<Removed, String>;
}

/// Looks which files processes of the agent have open, or says why that cannot be known.
pub type OpenFiles<'a> = dyn Fn() -> Result<BTreeSet<Inode>, String> + 'a;

/// A file whatever its path: through links and renames it stays the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Inode {
    device: u64,
    number: u64,
}

impl From<&Metadata> for Inode {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            number: metadata.ino(),
        }
    }
}

/// What was removed from a store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
pub struct Removed {
    /// How many files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What became of the lease of one file.
#[derive(Debug, Clone)]
pub struct Lease {
    /// The file.
    pub path: String,
    /// Why it is still open; `None` when it is closed now.
    pub error: Option<String>,
}
