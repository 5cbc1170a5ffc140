//! The files of the log: which are segments in use, which are free, and how they change from one to
//! the other.
//!
//! The layout is specified in the module documentation of [`super`]. The invariants kept here:
//!
//! - a file has all its blocks, durably, before it is used;
//! - segments are retired oldest first, each durably before the next.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::FileError;
use super::log::Cursor;
use super::mutant::Mutant;
use super::record::{FirstSector, SEGMENT_HEADER, SegmentHeader};
use crate::fs::{File, Fs};

/// Free segments that puts leave alone, so that takes can be logged when the disk is full: what
/// drains a channel must not need the room that only draining makes.
pub(super) const RESERVE: usize = 1;
/// Zeros are written in pieces of one page. Larger pieces cost no less, and ext4 (since Linux 6.16) keeps
/// them in memory as folios of up to 2 MiB; whoever later writes a few bytes into one is charged for all of
/// it in `/proc/PID/io`, 23 times what goes to the disk at 48 KB a record.
const ZEROS: usize = 4096;

/// A file of the log that is in use.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) file: Arc<dyn File>,
    pub(super) path: PathBuf,
    pub(super) header: SegmentHeader,
}

/// A file that waits to become a segment: first sector zero, every block written once.
#[derive(Debug)]
pub(super) struct Spare {
    pub(super) file: Arc<dyn File>,
    pub(super) path: PathBuf,
    pub(super) size: u64,
}

#[derive(Debug, Default)]
struct Inventory {
    segments: BTreeMap<u64, Arc<Segment>>,
    spares: Vec<Spare>,
    next_number: u64,
}

/// The files of one log: what the writer, the readers and the upkeep share.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) fs: Arc<dyn Fs>,
    pub(super) dir: PathBuf,
    pub(super) segment_size: u64,
    /// Free segments kept for reuse; more are removed, so that a burst gives its space back.
    spares: usize,
    pub(super) mutant: Mutant,
    inventory: Mutex<Inventory>,
}

impl Files {
    /// Looks at all files of the log in `dir`. With `read_only` nothing is changed; otherwise what
    /// an interrupted creation or retirement left is brought to an end.
    pub(super) fn open(
        fs: Arc<dyn Fs>,
        dir: &Path,
        segment_size: u64,
        spares: usize,
        read_only: bool,
        mutant: Mutant,
    ) -> Result<Self, FileError> {
        let files = Self {
            fs,
            dir: dir.to_path_buf(),
            segment_size,
            spares,
            mutant,
            inventory: Mutex::new(Inventory::default()),
        };
        let mut removed = false;
        for path in files.fs.list(dir).map_err(FileError::io("list", dir))? {
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            if name
                .strip_prefix("log-")
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
            {
                return Err(FileError::Foreign {
                    path: dir.to_path_buf(),
                    file: name.to_owned(),
                });
            }
            let Some(number) = name
                .strip_prefix("segment-")
                .and_then(|number| number.parse::<u64>().ok())
            else {
                continue;
            };
            let mut inventory = files.inventory();
            inventory.next_number = inventory.next_number.max(number + 1);
            drop(inventory);
            removed |= files.open_file(path, read_only)?;
        }
        if !read_only {
            if removed {
                tracing::debug!(dir = %dir.display(), "removed unfinished segment files");
            }
            // Names that a killed process created or removed may be visible and not yet durable.
            files.fs.sync_dir(dir).map_err(FileError::io("sync", dir))?;
        }
        files.check_epochs()?;
        Ok(files)
    }

    /// Takes one file into the inventory; answers whether it was removed instead.
    fn open_file(&self, path: PathBuf, read_only: bool) -> Result<bool, FileError> {
        let file = self
            .fs
            .open(&path, read_only)
            .map_err(FileError::io("open", &path))?;
        let size = file.len().map_err(FileError::io("measure", &path))?;
        let mut sector = [0; SEGMENT_HEADER as usize];
        let count = file
            .read_at(&mut sector, 0)
            .map_err(FileError::io("read", &path))?;
        match SegmentHeader::decode(&sector[..count]) {
            FirstSector::Used(header) if !header.is_possible() => {
                let what = "the segment's header has numbers that no log reaches";
                return Err(FileError::corrupt(&path, 8, what));
            }
            FirstSector::Used(header) if header.size == size => {
                let epoch = header.epoch;
                let segment = Arc::new(Segment {
                    file,
                    path: path.clone(),
                    header,
                });
                if let Some(other) = self.inventory().segments.insert(epoch, segment) {
                    let what = format!(
                        "the segment claims the same epoch {epoch} as {}",
                        other.path.display()
                    );
                    return Err(FileError::corrupt(&path, 8, what));
                }
            }
            FirstSector::Used(header) => {
                let what = format!("the file has {size} bytes, its header says {}", header.size);
                return Err(FileError::corrupt(&path, size, what));
            }
            // A header lies in one sector and is durable before records follow: no power cut
            // leaves half of one.
            FirstSector::Bad => {
                return Err(FileError::corrupt(
                    &path,
                    0,
                    "the segment's header is damaged",
                ));
            }
            FirstSector::Free if read_only => {}
            FirstSector::Free if size == self.segment_size => {
                // It may have been zeroed by a process that was killed before its sync. Were that
                // zero lost later, an old segment would rise from the dead behind a gap.
                zero_header(file.as_ref(), &path)?;
                self.inventory().spares.push(Spare { file, path, size });
            }
            FirstSector::Free => {
                zero_header(file.as_ref(), &path)?;
                self.fs
                    .remove(&path)
                    .map_err(FileError::io("remove", &path))?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Segments are retired oldest first, so a gap means that a file was lost.
    fn check_epochs(&self) -> Result<(), FileError> {
        let inventory = self.inventory();
        let epochs: Vec<u64> = inventory.segments.keys().copied().collect();
        match epochs.windows(2).find(|pair| pair[0] + 1 != pair[1]) {
            Some(pair) => {
                let path = &inventory.segments[&pair[1]].path;
                let what = format!(
                    "the segments between epochs {} and {} are missing",
                    pair[0], pair[1]
                );
                Err(FileError::corrupt(path, 0, what))
            }
            None => Ok(()),
        }
    }

    fn inventory(&self) -> MutexGuard<'_, Inventory> {
        self.inventory
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a segment that has begun into the inventory.
    pub(super) fn add(&self, segment: Arc<Segment>) {
        let epoch = segment.header.epoch;
        self.inventory().segments.insert(epoch, segment);
    }

    /// The segment of `epoch`.
    pub(super) fn segment(&self, epoch: u64) -> Option<Arc<Segment>> {
        self.inventory().segments.get(&epoch).cloned()
    }

    /// The file in which `at` is, for messages; the directory if there is none.
    pub(super) fn path(&self, at: Cursor) -> PathBuf {
        self.segment(at.epoch)
            .map_or_else(|| self.dir.clone(), |segment| segment.path.clone())
    }

    pub(super) fn first(&self) -> Option<Arc<Segment>> {
        self.inventory()
            .segments
            .first_key_value()
            .map(|(_, segment)| Arc::clone(segment))
    }

    /// Number of segments in use and of free ones.
    pub(super) fn counts(&self) -> (usize, usize) {
        let inventory = self.inventory();
        (inventory.segments.len(), inventory.spares.len())
    }

    /// Prepares free segments if there are too few. Takes as long as writing them does; called by
    /// the upkeep, so that the writer seldom has to.
    pub(super) fn prepare_spare(&self) -> Result<(), FileError> {
        let (_, ready) = self.counts();
        for _ in ready..=RESERVE {
            let spare = self.create(self.segment_size)?;
            // At the far end: a retired file, whose blocks are known to the disk, goes first.
            self.inventory().spares.insert(0, spare);
        }
        Ok(())
    }

    /// Creates a file, writes all its blocks once, and makes it and its name durable. A file whose
    /// blocks exist commits about twice as fast as one that grows: no allocation, no journal.
    fn create(&self, size: u64) -> Result<Spare, FileError> {
        let number = {
            let mut inventory = self.inventory();
            inventory.next_number += 1;
            inventory.next_number - 1
        };
        let path = self.dir.join(format!("segment-{number:010}"));
        let attempt = || -> Result<Arc<dyn File>, FileError> {
            let file = self
                .fs
                .create(&path)
                .map_err(FileError::io("create", &path))?;
            let zeros = vec![0; ZEROS.min(size as usize)];
            let mut at = 0;
            while at < size {
                let piece = zeros.len().min((size - at) as usize);
                file.write_at(&zeros[..piece], at)
                    .map_err(FileError::io("pre-write", &path))?;
                at += piece as u64;
            }
            file.sync_data().map_err(FileError::io("sync", &path))?;
            self.fs
                .sync_dir(&self.dir)
                .map_err(FileError::io("sync", &self.dir))?;
            Ok(file)
        };
        match attempt() {
            Ok(file) => Ok(Spare { file, path, size }),
            Err(error) => {
                // Nothing refers to the file; on a full disk its space is what is missing most.
                let _ = self.fs.remove(&path);
                Err(error)
            }
        }
    }

    /// A free segment of at least `size` bytes; one that is new, rather than one of the last `keep`.
    pub(super) fn take_spare(&self, size: u64, keep: usize) -> Result<Spare, FileError> {
        if size <= self.segment_size {
            let mut inventory = self.inventory();
            if inventory.spares.len() > keep
                && let Some(spare) = inventory.spares.pop()
            {
                return Ok(spare);
            }
            drop(inventory);
            return self.create(self.segment_size);
        }
        self.create(size)
    }

    /// Retires all segments of epochs below `bound`, which a durable checkpoint must have left
    /// behind: their headers become zero, and they wait for their next use or are removed.
    pub(super) fn retire(&self, bound: u64) -> Result<usize, FileError> {
        let mut retired = 0;
        loop {
            let Some(segment) = self.first().filter(|segment| segment.header.epoch < bound) else {
                break;
            };
            zero_header(segment.file.as_ref(), &segment.path)?;
            retired += 1;
            let mut inventory = self.inventory();
            inventory.segments.remove(&segment.header.epoch);
            let size = segment.header.size;
            if size == self.segment_size && inventory.spares.len() < self.spares {
                let file = Arc::clone(&segment.file);
                inventory.spares.push(Spare {
                    file,
                    path: segment.path.clone(),
                    size,
                });
            } else {
                drop(inventory);
                self.fs
                    .remove(&segment.path)
                    .map_err(FileError::io("remove", &segment.path))?;
            }
        }
        Ok(retired)
    }
}

/// Makes a file free, durably.
fn zero_header(file: &dyn File, path: &Path) -> Result<(), FileError> {
    file.write_at(&[0; SEGMENT_HEADER as usize], 0)
        .map_err(FileError::io("free", path))?;
    file.sync_data().map_err(FileError::io("sync", path))
}
