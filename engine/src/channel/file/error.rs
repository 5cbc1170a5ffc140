//! What can go wrong with a file channel's directories and log.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

/// Why a file channel could not do something.
#[derive(Debug, Clone, Error)]
pub enum FileError {
    /// A call of the file system failed.
    #[error("could not {attempted} {}: {source}", path.display())]
    Io {
        /// What was attempted, as a verb.
        attempted: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// The system's answer.
        source: Arc<io::Error>,
    },
    /// Another channel, of this agent or another, uses the directory.
    #[error(
        "{} is in use by another channel or agent; give each channel a checkpointDir and dataDirs of its own, \
         or stop the other agent",
        path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// Bytes that were durable have changed, or files are missing.
    #[error(
        "the log is corrupt in {} at byte {offset}: {what}; restore the file from a copy, or move the channel's \
         directories away to begin empty", path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where in the file.
        offset: u64,
        /// What is wrong, and how that is known.
        what: String,
    },
    /// The directory holds files of Apache Flume's own file channel.
    #[error(
        "{} holds a log of Apache Flume ({file}), whose format this channel does not read; drain it with Flume \
         first, or name an empty directory", path.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// One of the files.
        file: String,
    },
    /// A record longer than the format allows.
    #[error(
        "a transaction of {bytes} bytes exceeds the log's limit of {limit}; send smaller batches"
    )]
    TooLong {
        /// Bytes of the record's payload.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
}

impl FileError {
    pub(super) fn io(attempted: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
        move |source| FileError::Io {
            attempted,
            path: path.to_path_buf(),
            source: Arc::new(source),
        }
    }

    pub(super) fn corrupt(path: &Path, offset: u64, what: impl Into<String>) -> Self {
        FileError::Corrupt {
            path: path.to_path_buf(),
            offset,
            what: what.into(),
        }
    }
}

/// How an attempt to write to the log ended, when it did not succeed.
#[derive(Debug)]
pub(super) enum WriteError {
    /// Nothing was written and nothing is in doubt: the same may succeed later.
    Refused(FileError),
    /// What is on the disk is in doubt. Nothing may be written any more.
    Fatal(FileError),
}
