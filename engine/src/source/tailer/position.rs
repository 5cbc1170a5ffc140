//! The position file: how far each tailed file has been taken, across restarts.
//!
//! Format (Flume 1.11, `TaildirSource`): one JSON array of objects `{"inode": integer, "pos":
//! bytes, "file": "absolute path"}`. Flume rewrites it in place, so that a crash or a full disk
//! leaves a cut or empty file behind and everything is read again. Here it is replaced: written
//! under a temporary name, synced, renamed, and the directory synced. A reader finds the old one or
//! the new one. Unknown keys are ignored.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// How far one file has been taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    /// The file's inode number.
    pub(crate) inode: u64,
    /// Offset in bytes of the first byte not taken yet.
    pub(crate) pos: u64,
    /// The absolute path at which it was last seen.
    pub(crate) file: PathBuf,
}

/// The content of a position file.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Saved {
    /// One entry a file, in no particular order.
    pub(crate) positions: Vec<Position>,
    /// When the file was written; a tailed file created later cannot be meant by it.
    pub(crate) written: Option<SystemTime>,
}

/// The position file cannot be used.
#[derive(Debug, Error)]
#[error("cannot {doing} the position file {}: {source}; check the directory and its permissions", path.display())]
pub(crate) struct PositionError {
    /// Reading, writing, …
    pub(crate) doing: &'static str,
    /// The file.
    pub(crate) path: PathBuf,
    /// The system's error.
    pub(crate) source: io::Error,
}

/// Reads the positions; none if there is no such file.
///
/// # Errors
/// If the file exists and cannot be read. Unreadable *content* is no error, as in Flume: it is
/// reported, and every file is read from its start.
pub(crate) fn load(path: &Path) -> Result<Saved, PositionError> {
    let failed = |source| PositionError {
        doing: "read",
        path: path.to_owned(),
        source,
    };
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Saved::default()),
        Err(error) => return Err(failed(error)),
    };
    let written = fs::metadata(path).and_then(|meta| meta.modified()).ok();
    // Flume leaves an empty file where it tracks nothing.
    if text.is_empty() {
        return Ok(Saved {
            positions: Vec::new(),
            written,
        });
    }
    match serde_json::from_slice(&text) {
        Ok(positions) => Ok(Saved { positions, written }),
        Err(error) => {
            tracing::error!(
                file = %path.display(), %error,
                "the position file is damaged; all files are read from their start, which repeats events"
            );
            Ok(Saved::default())
        }
    }
}

/// Replaces the position file.
///
/// # Errors
/// If any step fails; the old file is then still there.
pub(crate) fn store(path: &Path, positions: &[Position]) -> Result<(), PositionError> {
    let failed = |source| PositionError {
        doing: "write",
        path: path.to_owned(),
        source,
    };
    let text = serde_json::to_vec(positions).map_err(|error| failed(error.into()))?;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(&text)?;
        crate::fs::count_sync();
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        crate::fs::count_sync();
        File::open(directory(path))?.sync_all()
    };
    write().map_err(failed)
}

/// Makes the directory of the position file, as Flume does.
///
/// # Errors
/// If it cannot be made.
pub(crate) fn prepare(path: &Path) -> Result<(), PositionError> {
    fs::create_dir_all(directory(path)).map_err(|source| PositionError {
        doing: "make the directory of",
        path: path.to_owned(),
        source,
    })
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_flumes_format_and_is_loaded_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/positions.json");
        assert_eq!(load(&path).unwrap(), Saved::default());
        prepare(&path).unwrap();
        let positions = vec![Position {
            inode: 42,
            pos: u64::from(u32::MAX) + 7,
            file: "/log/a \"b\"".into(),
        }];
        store(&path, &positions).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            r#"[{"inode":42,"pos":4294967302,"file":"/log/a \"b\""}]"#
        );
        let saved = load(&path).unwrap();
        assert_eq!(saved.positions, positions);
        assert!(saved.written.is_some());
        assert_eq!(
            fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1,
            "a temporary file stays"
        );
    }

    #[test]
    fn damage_and_emptiness_mean_no_positions_and_unknown_keys_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.json");
        for text in ["", "[{\"inode\":1,\"pos\":", "{}", "[{\"inode\":1}]"] {
            fs::write(&path, text).unwrap();
            assert_eq!(load(&path).unwrap().positions, [], "{text}");
        }
        fs::write(
            &path,
            r#"[ {"file": "/a", "pos": 3, "inode": 9, "host": "x"} ]"#,
        )
        .unwrap();
        assert_eq!(load(&path).unwrap().positions.len(), 1);
    }

    #[test]
    fn a_failed_store_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.json");
        store(&path, &[]).unwrap();
        fs::create_dir(dir.path().join("p.json.tmp")).unwrap();
        assert!(
            store(
                &path,
                &[Position {
                    inode: 1,
                    pos: 1,
                    file: "/a".into()
                }]
            )
            .is_err()
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "[]");
    }
}
