//! `exec`: appends lines to a file that a command of the system follows (`tail -F path`).
//!
//! Settings: `path` (needed), `rotate_every_bytes` (default none: never; by renaming, because
//! `tail -F` keeps no position that could be asked).
//! Answers:   none; everything issued is owed.
//! Fails:     when the file cannot be written or rotated, which ends the load.
//!
//! The file is made before the system starts, so that `tail -F` begins with its first line.
//!
//! ```json
//! {"path": "/var/log/app.log"}
//! ```

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde::Deserialize;

use super::appender::{Appender, FileLink, How, Rotation, lock};
use super::{Generator, GeneratorError, Kind, Link, settings};

/// The kind.
pub(super) const KIND: Kind = Kind {
    name: "exec",
    summary: "Lines appended to a file that a command such as tail -F follows.",
    example: r#"{"path": "app.log"}"#,
    build: |value| Ok(Box::new(Exec::new(settings("exec", value)?))),
};

/// The settings of `exec`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The file.
    pub path: PathBuf,
    /// Size past which it is renamed, in bytes; never if not given.
    pub rotate_every_bytes: Option<u64>,
}

/// The generator.
#[derive(Debug)]
pub struct Exec {
    file: Arc<Mutex<Appender>>,
}

impl Exec {
    /// A generator with these settings.
    pub fn new(config: Config) -> Exec {
        let rotation = config.rotate_every_bytes.map(|every| Rotation {
            every,
            how: How::Rename,
            positions: None,
        });
        Exec {
            file: Arc::new(Mutex::new(Appender::new(config.path, rotation))),
        }
    }
}

impl Generator for Exec {
    fn answers(&self) -> bool {
        false
    }

    fn prepare(&self) -> Result<(), GeneratorError> {
        lock(&self.file).file().map(drop)
    }

    fn link(&self) -> Box<dyn Link> {
        Box::new(FileLink::new(self.file.clone()))
    }
}
