//! The log: segments on the disk, and the one writer that appends to them.
//!
//! The layout is specified in the module documentation of [`super`]. The invariants kept here:
//!
//! - epochs have no gaps, and a segment's header is durable before any record of that epoch is
//!   written; so no epoch is ever used twice, whatever a power cut leaves;
//! - a segment is begun only when every record before it is durable;
//! - all bytes that one sync covers are in one segment;
//! - segments are retired oldest first, each durably before the next.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::{FileError, WriteError};
use super::mutant::Mutant;
use super::record::{FirstSector, Kind, RecordHeader, SEGMENT_HEADER, SegmentHeader};
use crate::defect::{self, Defect};
use crate::event::Batch;
use crate::fs::{File, Fs};

/// Bytes that are put into one write at most, unless a single record is longer. Enough that the
/// flush dominates, small enough that the buffer may stay allocated.
const STAGING: usize = 4 << 20;
/// Free segments that puts leave alone, so that takes can be logged when the disk is full: what
/// drains a channel must not need the room that only draining makes.
pub(super) const RESERVE: usize = 1;
/// Zeros are written in pieces of one page. Larger pieces cost no less, and ext4 (since Linux 6.16) keeps
/// them in memory as folios of up to 2 MiB; whoever later writes a few bytes into one is charged for all of
/// it in `/proc/PID/io`, 23 times what goes to the disk at 48 KB a record.
const ZEROS: usize = 4096;
/// What is read again is read in pieces of this many bytes.
const READ: usize = 1 << 20;

/// A place in the log: where a record is, or the next one will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Cursor {
    /// Segment, by epoch; 0 before the first one.
    pub(super) epoch: u64,
    /// Byte in the segment's file.
    pub(super) offset: u64,
    /// Sequence of the record at this place.
    pub(super) sequence: u64,
    /// Number of the first event put at or after this place.
    pub(super) event: u64,
}

impl Cursor {
    /// The start of a log without segments.
    pub(super) const START: Cursor = Cursor {
        epoch: 0,
        offset: SEGMENT_HEADER,
        sequence: 1,
        event: 0,
    };
}

/// A file of the log that is in use.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) file: Arc<dyn File>,
    pub(super) path: PathBuf,
    pub(super) header: SegmentHeader,
}

/// A file that waits to become a segment: first sector zero, every block written once.
#[derive(Debug)]
struct Spare {
    file: Arc<dyn File>,
    path: PathBuf,
    size: u64,
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
    fn take_spare(&self, size: u64, keep: usize) -> Result<Spare, FileError> {
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

/// A part of a payload.
#[derive(Debug, Clone)]
pub(super) enum Part {
    Bytes(Vec<u8>),
    Batch(Batch),
}

impl Part {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Part::Bytes(bytes) => bytes,
            Part::Batch(batch) => batch.as_bytes(),
        }
    }
}

/// A record before it has its place in the log. Its payload is not copied until it is written.
#[derive(Debug)]
pub(super) struct Draft {
    kind: Kind,
    events: u32,
    parts: Vec<Part>,
    length: u32,
    crc: u32,
}

impl Draft {
    /// A record of `events` events; `None` if the payload is longer than `limit`.
    pub(super) fn new(
        kind: Kind,
        events: u32,
        parts: Vec<Part>,
        limit: u64,
    ) -> Result<Self, FileError> {
        let bytes: u64 = parts.iter().map(|part| part.bytes().len() as u64).sum();
        if bytes > limit {
            return Err(FileError::TooLong { bytes, limit });
        }
        // Outside all locks: this is the larger half of what a commit costs the processor.
        let crc = parts
            .iter()
            .fold(0, |crc, part| crc32c::crc32c_append(crc, part.bytes()));
        Ok(Self {
            kind,
            events,
            parts,
            length: bytes as u32,
            crc,
        })
    }

    fn span(&self) -> u64 {
        RecordHeader::span(u64::from(self.length))
    }
}

/// Appends records. There is one per log; whoever holds it writes.
#[derive(Debug)]
pub(super) struct Writer {
    files: Arc<Files>,
    current: Option<Arc<Segment>>,
    /// Where the next record goes.
    end: Cursor,
    /// Highest sequence that a sync has covered.
    durable: u64,
    /// Nothing may be appended to the current segment any more: behind its end lie bytes that
    /// could pass for records.
    sealed: bool,
    staging: Vec<u8>,
}

impl Writer {
    /// A writer that goes on at `end`, all before which is durable.
    pub(super) fn new(files: Arc<Files>, end: Cursor, sealed: bool) -> Self {
        let current = files.segment(end.epoch);
        Self {
            files,
            current,
            end,
            durable: end.sequence - 1,
            sealed,
            staging: Vec::new(),
        }
    }

    /// Where the next record goes.
    pub(super) fn end(&self) -> Cursor {
        self.end
    }

    /// Whether written records wait for a sync.
    pub(super) fn is_dirty(&self) -> bool {
        self.durable + 1 < self.end.sequence
    }

    /// Whether more than half of the current segment is used, so that a free one should be ready.
    pub(super) fn wants_spare(&self) -> bool {
        self.sealed
            || self
                .current
                .as_ref()
                .is_none_or(|segment| self.end.offset > segment.header.size / 2)
    }

    /// Writes as many of `drafts` as one write takes, from the first on and at least one. Answers
    /// where each of them is. They are not durable before [`Writer::sync`].
    pub(super) fn write(&mut self, drafts: &[&Draft]) -> Result<Vec<Cursor>, WriteError> {
        let Some(first) = drafts.first() else {
            return Ok(Vec::new());
        };
        let room = |writer: &Self| match &writer.current {
            Some(segment) if !writer.sealed => {
                segment.header.size.saturating_sub(writer.end.offset)
            }
            _ => 0,
        };
        if room(self) < first.span() {
            let puts = drafts.iter().any(|draft| draft.kind == Kind::Put);
            self.roll(first.span(), if puts { RESERVE } else { 0 })?;
        }
        let Some(segment) = self.current.clone() else {
            return Ok(Vec::new());
        };
        let room = room(self);
        let mut staging = std::mem::take(&mut self.staging);
        staging.clear();
        let mut at = self.end;
        let mut places = Vec::new();
        for draft in drafts {
            let end = staging.len() as u64 + draft.span();
            if end > room || (!places.is_empty() && end > STAGING as u64) {
                break;
            }
            places.push(at);
            self.encode(draft, at, &mut staging);
            at.sequence += 1;
            at.offset = self.end.offset + staging.len() as u64;
            if draft.kind == Kind::Put {
                at.event += u64::from(draft.events);
            }
        }
        let written = if Defect::FileCommitBuffered.is_planted() {
            defect::write_late(&segment.file, &staging, self.end.offset)
        } else {
            segment.file.write_at(&staging, self.end.offset)
        };
        if staging.capacity() > 2 * STAGING {
            staging = Vec::new();
        }
        self.staging = staging;
        if let Err(error) = written {
            self.void(FileError::io("write", &segment.path)(error))?;
        }
        self.end = at;
        Ok(places)
    }

    fn encode(&self, draft: &Draft, at: Cursor, out: &mut Vec<u8>) {
        let header = RecordHeader {
            kind: draft.kind,
            length: draft.length,
            sequence: at.sequence,
            durable: self.durable,
            first_event: if draft.kind == Kind::Put { at.event } else { 0 },
            events: draft.events,
        };
        header.encode(at.epoch, draft.crc, self.files.mutant, out);
        for part in &draft.parts {
            out.extend_from_slice(part.bytes());
        }
        out.resize(out.len().next_multiple_of(super::record::ALIGN as usize), 0);
    }

    /// After a failed write: some records may be there in full, yet their callers are told that
    /// they are not. So the segment ends here, durably, by beginning the next one.
    fn void(&mut self, error: FileError) -> Result<(), WriteError> {
        match self.roll(0, 0) {
            Ok(()) => Err(WriteError::Refused(error)),
            Err(_) => Err(WriteError::Fatal(error)),
        }
    }

    /// Makes all that was written durable.
    pub(super) fn sync(&mut self) -> Result<(), WriteError> {
        if !self.is_dirty() {
            return Ok(());
        }
        if let Some(segment) = &self.current
            && !self.files.mutant.skips_sync()
        {
            segment
                .file
                .sync_data()
                .map_err(FileError::io("sync", &segment.path))
                .map_err(WriteError::Fatal)?;
        }
        self.durable = self.end.sequence - 1;
        Ok(())
    }

    /// Begins a new segment that has room for a record of `span` bytes, leaving `keep` free ones.
    fn roll(&mut self, span: u64, keep: usize) -> Result<(), WriteError> {
        if Defect::FileCommitBuffered.is_planted() {
            defect::write_now()
                .map_err(FileError::io("write", &self.files.dir))
                .map_err(WriteError::Fatal)?;
        }
        self.sync()?;
        let spare = self
            .files
            .take_spare(SEGMENT_HEADER + span, keep)
            .map_err(WriteError::Refused)?;
        let header = SegmentHeader {
            epoch: self.end.epoch + 1,
            base_sequence: self.end.sequence,
            base_event: self.end.event,
            size: spare.size,
        };
        spare
            .file
            .write_at(&header.encode(), 0)
            .map_err(FileError::io("begin", &spare.path))
            .map_err(WriteError::Fatal)?;
        if !self.files.mutant.skips_sync() {
            spare
                .file
                .sync_data()
                .map_err(FileError::io("sync", &spare.path))
                .map_err(WriteError::Fatal)?;
        }
        let segment = Arc::new(Segment {
            file: spare.file,
            path: spare.path,
            header,
        });
        self.files
            .inventory()
            .segments
            .insert(header.epoch, Arc::clone(&segment));
        self.current = Some(segment);
        self.end = Cursor {
            epoch: header.epoch,
            offset: SEGMENT_HEADER,
            ..self.end
        };
        self.sealed = false;
        Ok(())
    }

    /// Writes the bytes from `from` to the end once more and syncs them. They may be the work of
    /// a process whose last sync failed, after which a page cache calls them clean although the
    /// disk never got them; only a fresh write makes a sync mean something again.
    pub(super) fn rewrite_tail(&mut self, from: u64) -> Result<(), FileError> {
        let Some(segment) = self.current.clone() else {
            return Ok(());
        };
        let io = |attempted| FileError::io(attempted, &segment.path);
        segment
            .file
            .write_at(&segment.header.encode(), 0)
            .map_err(io("rewrite"))?;
        let mut at = from;
        let mut piece = Vec::new();
        while at < self.end.offset {
            piece.resize(READ.min((self.end.offset - at) as usize), 0);
            let count = segment.file.read_at(&mut piece, at).map_err(io("read"))?;
            if count < piece.len() {
                return Err(FileError::corrupt(
                    &segment.path,
                    at + count as u64,
                    "the file became shorter",
                ));
            }
            segment.file.write_at(&piece, at).map_err(io("rewrite"))?;
            at += count as u64;
        }
        segment.file.sync_data().map_err(io("sync"))
    }
}
