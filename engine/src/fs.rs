//! The calls on files that durable parts of the agent make, as a trait.
//!
//! There are two implementations: [`RealFs`], which is the operating system, and
//! [`sim::SimDisk`], a disk in memory that keeps what is durable apart from what is merely
//! written and loses its power on request. Code that takes an [`Fs`] can so be shown to survive
//! power cuts by the thousand.
//!
//! The trait promises no more than a careful reading of POSIX does:
//!
//! - bytes written are durable after [`File::sync_data`] returned `Ok`, and not before; a sync
//!   that failed leaves their state unknown, and asking again proves nothing;
//! - a name that was created, renamed or removed is so durably after [`Fs::sync_dir`] of its
//!   directory returned `Ok`, and not before; syncing the file itself says nothing about its name;
//! - a rename is atomic: a reader finds the old file or the new one, never none.

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub mod real;
pub mod sim;

pub use real::RealFs;

/// Calls of fsync and fdatasync of this process so far: a cost like CPU time, and like it of the
/// process as a whole. It decides nothing.
static SYNCS: AtomicU64 = AtomicU64::new(0);

/// Counts a sync that is about to be asked of the operating system.
pub fn count_sync() {
    SYNCS.fetch_add(1, Relaxed);
}

/// Syncs asked of the operating system since the process began.
#[must_use]
pub fn syncs() -> u64 {
    SYNCS.load(Relaxed)
}

/// A file system.
pub trait Fs: Debug + Send + Sync {
    /// Creates a directory and the ones above it; existing ones are left as they are.
    ///
    /// # Errors
    /// Those of the system.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Creates a file for reading and writing; one that exists is emptied.
    ///
    /// # Errors
    /// Those of the system.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Opens a file that exists, for reading and, unless `read_only`, writing.
    ///
    /// # Errors
    /// Those of the system; `NotFound` if there is no such file.
    fn open(&self, path: &Path, read_only: bool) -> io::Result<Arc<dyn File>>;

    /// Gives a file another name, replacing the file that had it.
    ///
    /// # Errors
    /// Those of the system.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// Those of the system; `NotFound` if there is no such file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// The files directly under a directory, sorted by name.
    ///
    /// # Errors
    /// Those of the system; `NotFound` if there is no such directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// Those of the system; what is durable is then unknown.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes the lock file at `path`, creating it if need be. The lock is held until the value is
    /// dropped or the process ends.
    ///
    /// # Errors
    /// `WouldBlock` if somebody holds it; otherwise those of the system.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>>;

    /// Bytes that an ordinary user can still write under `dir`.
    ///
    /// # Errors
    /// Those of the system.
    fn free_space(&self, dir: &Path) -> io::Result<u64>;
}

/// An open file.
#[expect(
    clippy::len_without_is_empty,
    reason = "a size in bytes, not a collection"
)]
pub trait File: Debug + Send + Sync {
    /// Writes all of `bytes` at `offset`, extending the file if need be.
    ///
    /// # Errors
    /// Those of the system; any part of the bytes may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Reads at `offset` until `buffer` is full or the file ends; answers how many bytes.
    ///
    /// # Errors
    /// Those of the system.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Makes the bytes written so far, and the size, durable.
    ///
    /// # Errors
    /// Those of the system. What was written since the last success is then in an unknown state.
    fn sync_data(&self) -> io::Result<()>;

    /// Cuts or extends (with zeros) the file.
    ///
    /// # Errors
    /// Those of the system.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Size in bytes.
    ///
    /// # Errors
    /// Those of the system.
    fn len(&self) -> io::Result<u64>;
}

/// A lock that is held; dropping it lets go.
pub trait Lock: Debug + Send + Sync {}
