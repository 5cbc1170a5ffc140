//! Where a run lives: its directory, its ports, and the environment its configuration sees.
//!
//! | variable | stands for |
//! |---|---|
//! | `FB_SOURCE_PORT` | the port of 127.0.0.1 on which the agent's source listens |
//! | `FB_STORE` | the store: a directory, or `hdfs://host:port/path` |
//! | `FB_NAMENODE` | `host:port` of the NameNode, for configurations with a path of their own |
//! | `FB_DATA` | the agent's own directory: channels, positions, state |
//! | `FB_LOG` | the file that the load is appended to (`tail`, `exec`) |

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::scenario::Scenario;

/// The directories of one run.
#[derive(Debug, Clone)]
pub struct RunDir {
    /// `runs/<id>`.
    pub root: PathBuf,
    /// The run id that every token carries.
    pub run: u64,
}

impl RunDir {
    /// Makes `parent/<time>-<scenario>-<run id>` with its sub-directories.
    pub fn create(parent: &Path, scenario: &str, run: u64) -> io::Result<Self> {
        let stamp = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string();
        let root = parent.join(format!("{stamp}-{scenario}-{run:016x}"));
        for part in ["conf", "sut/data", "store", "input"] {
            std::fs::create_dir_all(root.join(part))?;
        }
        let root = root.canonicalize()?;
        Ok(Self { root, run })
    }

    /// A path inside.
    pub fn path(&self, part: &str) -> PathBuf {
        self.root.join(part)
    }
}

/// The variables as they would be, for checking a configuration before anything runs.
pub fn example_environment(scenario: &Scenario) -> BTreeMap<String, String> {
    let mut env: BTreeMap<String, String> = scenario.store.example_environment();
    env.insert("FB_SOURCE_PORT".into(), "41414".into());
    env.insert(
        "FB_DATA".into(),
        std::env::temp_dir()
            .join("flume-bench-data")
            .to_string_lossy()
            .into_owned(),
    );
    env.insert(
        "FB_LOG".into(),
        std::env::temp_dir()
            .join("flume-bench-input.log")
            .to_string_lossy()
            .into_owned(),
    );
    env.extend(scenario.sut.env.clone());
    env
}
