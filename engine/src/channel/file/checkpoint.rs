//! The checkpoint: where replay begins, and what was taken behind the head.
//!
//! A small file, replaced atomically: written under another name, synced, renamed, directory
//! synced. It holds positions only; the events are in the log. It saves time, and it is what allows
//! segments to be retired; a channel without one, or with a damaged one, replays its whole log.

use std::path::Path;

use super::error::FileError;
use super::log::Cursor;
use super::ranges::Ranges;
use super::record::{u32_at, u64_at};
use crate::fs::Fs;

/// Name of the file in `checkpointDir`.
pub(super) const NAME: &str = "checkpoint";
const NEW_NAME: &str = "checkpoint.new";
const MAGIC: [u8; 8] = *b"FBCKPT01";
/// Bytes before the ranges.
const PREFIX: usize = 88;

/// What a checkpoint says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Checkpoint {
    /// All records before this place were durable, and are covered.
    pub(super) end: Cursor,
    /// The first record that still held events; `end` if there was none.
    pub(super) head: Cursor,
    /// Committed takes of events at or behind the head.
    pub(super) taken: Ranges,
}

impl Checkpoint {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(PREFIX);
        bytes.extend_from_slice(&MAGIC);
        let ranges = self.taken.iter().count();
        bytes.extend_from_slice(&(ranges as u64).to_le_bytes());
        for cursor in [self.end, self.head] {
            for number in [cursor.epoch, cursor.offset, cursor.sequence, cursor.event] {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
        }
        // Covers what precedes it; the ranges have a CRC of their own behind them.
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&u64::from(crc).to_le_bytes());
        for range in self.taken.iter() {
            bytes.extend_from_slice(&range.start.to_le_bytes());
            bytes.extend_from_slice(&range.end.to_le_bytes());
        }
        let crc = crc32c::crc32c(&bytes[PREFIX..]);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < PREFIX + 4
            || bytes[..8] != MAGIC
            || u64::from(crc32c::crc32c(&bytes[..80])) != u64_at(bytes, 80)
        {
            return None;
        }
        let ranges = usize::try_from(u64_at(bytes, 8)).ok()?;
        let (body, crc) = bytes.split_at(bytes.len() - 4);
        if ranges.checked_mul(16)?.checked_add(PREFIX)? != body.len()
            || crc32c::crc32c(&body[PREFIX..]) != u32_at(crc, 0)
        {
            return None;
        }
        let cursor = |at| Cursor {
            epoch: u64_at(bytes, at),
            offset: u64_at(bytes, at + 8),
            sequence: u64_at(bytes, at + 16),
            event: u64_at(bytes, at + 24),
        };
        let mut taken = Ranges::default();
        for range in body[PREFIX..].chunks_exact(16) {
            taken.insert(u64_at(range, 0)..u64_at(range, 8));
        }
        Some(Self {
            end: cursor(16),
            head: cursor(48),
            taken,
        })
    }

    /// Puts this checkpoint in the place of the one before, durably.
    pub(super) fn write(&self, fs: &dyn Fs, dir: &Path) -> Result<(), FileError> {
        let (new, path) = (dir.join(NEW_NAME), dir.join(NAME));
        let file = fs.create(&new).map_err(FileError::io("create", &new))?;
        file.write_at(&self.encode(), 0)
            .map_err(FileError::io("write", &new))?;
        file.sync_data().map_err(FileError::io("sync", &new))?;
        fs.rename(&new, &path)
            .map_err(FileError::io("rename", &new))?;
        fs.sync_dir(dir).map_err(FileError::io("sync", dir))
    }

    /// Reads the checkpoint in `dir`; `None` if there is none, or none that is whole.
    pub(super) fn read(fs: &dyn Fs, dir: &Path) -> Result<Option<Self>, FileError> {
        let path = dir.join(NAME);
        let file = match fs.open(&path, true) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(FileError::io("open", &path))?,
        };
        let size = file.len().map_err(FileError::io("measure", &path))?;
        let mut bytes = vec![0; size as usize];
        let count = file
            .read_at(&mut bytes, 0)
            .map_err(FileError::io("read", &path))?;
        let checkpoint = Self::decode(&bytes[..count]);
        if checkpoint.is_none() {
            tracing::warn!(path = %path.display(), "the checkpoint is damaged; the whole log is replayed instead");
        }
        Ok(checkpoint)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// For all checkpoints, what is written is what is read; for all flips, it is refused.
        #[test]
        fn checkpoints_return(
            numbers in prop::array::uniform8(any::<u64>()),
            ranges in prop::collection::vec((0..1000u64, 1..50u64), 0..20),
            flip: prop::sample::Index,
        ) {
            let cursor = |n: &[u64]| Cursor { epoch: n[0], offset: n[1], sequence: n[2], event: n[3] };
            let mut taken = Ranges::default();
            for (start, count) in ranges {
                taken.insert(start..start + count);
            }
            let checkpoint = Checkpoint { end: cursor(&numbers[..4]), head: cursor(&numbers[4..]), taken };
            let mut bytes = checkpoint.encode();
            prop_assert_eq!(Checkpoint::decode(&bytes), Some(checkpoint));
            let bit = flip.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Checkpoint::decode(&bytes), None);
            prop_assert_eq!(Checkpoint::decode(&bytes[..bit / 8]), None);
        }
    }
}
