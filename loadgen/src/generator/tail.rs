//! `tail`: appends lines to a file that the system follows (Flume's TAILDIR source), and rotates it.
//!
//! Settings: `path` (needed), `rotate_every_bytes` (default none: never), `how` (`rename`, the
//! default, or `copy_truncate`), `position_file` (needed by `copy_truncate`),
//! `cover_within_ms` (default 30,000: how long a copy waits for the position file).
//! Answers:   none; everything issued is owed.
//! Fails:     when the file cannot be written or rotated, which ends the load.
//! Beware:    a renamed file that still matches the source's pattern is read again from its start
//!            by Flume.
//!
//! ```json
//! {"path": "/var/log/app.log", "rotate_every_bytes": 1048576, "how": "rename"}
//! ```

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Deserialize;

pub use super::appender::How;
use super::appender::{Appender, FileLink, Rotation, lock};
use super::{Generator, GeneratorError, Kind, Link, settings};

/// The kind.
pub(super) const KIND: Kind = Kind {
    name: "tail",
    summary: "Lines appended to a file that is followed by TAILDIR, with rotation.",
    example: r#"{"path": "app.log"}"#,
    build: |value| Ok(Box::new(Tail::new(settings("tail", value)?)?)),
};

/// The settings of `tail`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The file.
    pub path: PathBuf,
    /// Size past which it is rotated, in bytes; never if not given.
    pub rotate_every_bytes: Option<u64>,
    /// How it is rotated.
    #[serde(default = "rename")]
    pub how: How,
    /// The position file of the source that follows it.
    pub position_file: Option<PathBuf>,
    /// How long a rotation waits for the position file, in milliseconds.
    #[serde(default = "cover_within_ms")]
    pub cover_within_ms: u64,
}

fn rename() -> How {
    How::Rename
}

fn cover_within_ms() -> u64 {
    30_000
}

/// The generator.
#[derive(Debug)]
pub struct Tail {
    file: Arc<Mutex<Appender>>,
}

impl Tail {
    /// A generator with these settings.
    ///
    /// # Errors
    /// `copy_truncate` without a position file.
    pub fn new(config: Config) -> Result<Tail, GeneratorError> {
        if config.how == How::CopyTruncate && config.position_file.is_none() {
            let why = "how = copy_truncate needs position_file, the positionFile of the source; without it a copy could take lines away unread";
            return Err(GeneratorError::Unfit { kind: "tail", why });
        }
        let within = Duration::from_millis(config.cover_within_ms);
        let positions = config.position_file.map(|file| (file, within));
        let rotation = config.rotate_every_bytes.map(|every| Rotation {
            every,
            how: config.how,
            positions,
        });
        Ok(Tail {
            file: Arc::new(Mutex::new(Appender::new(config.path, rotation))),
        })
    }
}

impl Generator for Tail {
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
