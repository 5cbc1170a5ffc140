//! HDFS as the sink sees it: about ten calls, each with a deadline.
//!
//! The sink speaks to the traits [`Hdfs`] and [`HdfsFile`]. [`connect`] makes the implementation that
//! talks to a real cluster (or to anything that speaks its protocols): RPC with simple
//! authentication, a write path of its own, no pipeline rebuild. What that buys, and what it costs:
//!
//! - No call outlives its deadline, whatever the other side does: refuses, stalls, answers half.
//! - A call to a NameNode that is away is repeated until the deadline, under the same call id, so
//!   that the NameNode's retry cache answers a repeated `create` or `rename` with the first result.
//! - A file fails as a whole: after any error of a [`HdfsFile`] nothing more can be written to it.
//!   Its flushed bytes are safe; [`Hdfs::recover_lease`] closes it, and the writer goes on in a new
//!   file. Java would rebuild the pipeline instead; the new file does the same with less state.
//!
//! | module | what |
//! |---|---|
//! | [`conf`] | `core-site.xml`, `hdfs-site.xml`, the address in `hdfs.path` |
//! | `rpc` | calls to the NameNode |
//! | `native` | the calls of [`Hdfs`], leases, heartbeats |
//! | `file` | blocks and packets of a file that is written |
//! | `pipeline` | one connection to the DataNodes of a block |

use std::fmt::Debug;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flume_bench_hadoop::frame::FrameError;
use thiserror::Error;

pub mod conf;
#[cfg(test)]
pub(crate) mod fake;
mod file;
mod native;
mod pipeline;
mod rpc;

/// When a call must have ended.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    /// This long from now.
    #[must_use]
    pub fn after(limit: Duration) -> Self {
        Self(Instant::now() + limit)
    }

    /// What is left; zero once it has passed.
    #[must_use]
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether it has passed.
    #[must_use]
    pub fn passed(self) -> bool {
        self.left().is_zero()
    }

    /// This deadline, or `limit` from now if that is earlier.
    #[must_use]
    pub fn at_most(self, limit: Duration) -> Self {
        Self(self.0.min(Instant::now() + limit))
    }

    /// Sleeps for `limit`, but not beyond the deadline.
    fn sleep(self, limit: Duration) {
        std::thread::sleep(limit.min(self.left()));
    }
}

/// Why a call did not do what it was asked to.
#[derive(Debug, Error)]
pub enum HdfsError {
    /// The deadline passed. Whether the call has had an effect is not known.
    #[error(
        "{what} {path}: no answer in time ({last}); is the NameNode or DataNode down or stalled?"
    )]
    Timeout {
        /// What was attempted.
        what: String,
        /// On which path.
        path: String,
        /// What happened last.
        last: String,
    },
    /// The NameNode refused.
    #[error("{what} {path}: the NameNode answered {class}: {message}")]
    Remote {
        /// What was attempted.
        what: String,
        /// On which path.
        path: String,
        /// Java class of the exception.
        class: String,
        /// First line of its message.
        message: String,
    },
    /// A DataNode of the pipeline refused, went away or said something strange.
    #[error("writing {path} by DataNode {datanode}: {reason}; the file has to be recovered")]
    Pipeline {
        /// The file.
        path: String,
        /// The DataNode, `host:port`.
        datanode: String,
        /// What happened.
        reason: String,
    },
    /// The file has failed before.
    #[error("{path} has failed and takes no more; recover its lease and write a new file")]
    Broken {
        /// The file.
        path: String,
    },
    /// The connection failed.
    #[error("{what} {target}: {source}")]
    Io {
        /// What was attempted.
        what: &'static str,
        /// With whom.
        target: String,
        /// What the system said.
        source: io::Error,
    },
    /// The other side does not speak the protocol.
    #[error("talking to {target}: {source}")]
    Frame {
        /// With whom.
        target: String,
        /// What was wrong.
        source: FrameError,
    },
    /// The configuration does not do.
    #[error("{0}")]
    Config(String),
}

impl HdfsError {
    fn is_class(&self, name: &str) -> bool {
        matches!(self, Self::Remote { class, .. } if class.rsplit(['.', '$']).next() == Some(name))
    }

    /// Whether the NameNode says that there is no such file.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.is_class("FileNotFoundException")
    }

    /// Whether the NameNode says that the name is taken, be it by a file that is being written.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        ["FileAlreadyExistsException", "AlreadyBeingCreatedException"]
            .iter()
            .any(|name| self.is_class(name))
    }
}

/// What is known of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStatus {
    /// Absolute path.
    pub path: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Length in bytes. Of a file that is being written: what the NameNode knows of it, which is
    /// less than has been flushed.
    pub length: u64,
}

/// A file system that files can be written to. Used by several threads at once.
pub trait Hdfs: Send + Sync + Debug {
    /// Makes a file, and its directories, and takes the lease on it. Never replaces one.
    ///
    /// # Errors
    /// [`HdfsError::is_taken`] if the name is taken. After any other error the file may exist.
    fn create(&self, path: &str, deadline: Deadline) -> Result<Box<dyn HdfsFile>, HdfsError>;

    /// Gives a file another name. Never replaces one.
    ///
    /// # Errors
    /// [`HdfsError::is_taken`], [`HdfsError::is_not_found`] and others.
    fn rename(&self, from: &str, to: &str, deadline: Deadline) -> Result<(), HdfsError>;

    /// Asks that a file be closed whose writer is gone; answers whether it is closed. To be repeated
    /// until it is: the DataNodes take some seconds to agree on the length.
    ///
    /// # Errors
    /// [`HdfsError::is_not_found`] and others.
    fn recover_lease(&self, path: &str, deadline: Deadline) -> Result<bool, HdfsError>;

    /// Removes a file, or an empty directory; answers whether there was one.
    ///
    /// # Errors
    /// Those of the call.
    fn delete(&self, path: &str, deadline: Deadline) -> Result<bool, HdfsError>;

    /// What a path names; `None` if it names nothing.
    ///
    /// # Errors
    /// Those of the call.
    fn status(&self, path: &str, deadline: Deadline) -> Result<Option<FileStatus>, HdfsError>;

    /// Makes a directory and those above it.
    ///
    /// # Errors
    /// Those of the call.
    fn mkdirs(&self, path: &str, deadline: Deadline) -> Result<(), HdfsError>;

    /// The entries of a directory, sorted by name.
    ///
    /// # Errors
    /// [`HdfsError::is_not_found`] and others.
    fn list(&self, path: &str, deadline: Deadline) -> Result<Vec<FileStatus>, HdfsError>;
}

/// A file that is being written. Dropping it abandons it: what was flushed stays, the lease too.
pub trait HdfsFile: Send + Debug {
    /// Adds bytes. They may wait in memory until the next flush.
    ///
    /// # Errors
    /// Any; the file is broken from then on.
    fn write(&mut self, data: &[u8], deadline: Deadline) -> Result<(), HdfsError>;

    /// Returns when every DataNode of the pipeline has all bytes, so that new readers see them and a
    /// killed writer or NameNode loses none.
    ///
    /// # Errors
    /// Any; the file is broken from then on.
    fn hflush(&mut self, deadline: Deadline) -> Result<(), HdfsError>;

    /// Writes what is left and ends the file.
    ///
    /// # Errors
    /// Any; the file may be open still, and its lease has to be recovered.
    fn close(self: Box<Self>, deadline: Deadline) -> Result<(), HdfsError>;
}

/// The file system at `authority` (`host:port` or a name service; `None` for the configured default).
///
/// Connects to nothing yet: the first call does.
///
/// # Errors
/// [`HdfsError::Config`] where the configuration names no NameNode or demands Kerberos.
pub fn connect(conf: &conf::Conf, authority: Option<&str>) -> Result<Arc<dyn Hdfs>, HdfsError> {
    Ok(Arc::new(native::Native::new(conf.client(authority)?)))
}
