//! The events that are still in a channel, read from its directories while no agent runs.
//!
//! Nothing is written, created or locked. A damaged log yields what precedes the damage, and then
//! the error: an answer that is not complete says so.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use super::checkpoint::Checkpoint;
use super::error::FileError;
use super::log::Cursor;
use super::mutant::Mutant;
use super::ranges::Ranges;
use super::recover::recover;
use super::scan::read_puts;
use super::segments::Files;
use crate::event::{Batch, Slice};
use crate::fs::{Fs, RealFs};

/// Bytes of the log read at a time.
const PIECE: u64 = 2 << 20;

/// The bodies of the events that are still in the file channel with these directories, in order:
/// those whose put was committed and whose take was not.
///
/// The agent must not be running: an open channel changes its files at any time.
///
/// # Errors
/// [`FileError`] if the directories cannot be read, or the log is damaged in the part that tells
/// which events were taken. An item is an error if the log is damaged at that place; it is the last.
pub fn stranded(checkpoint_dir: &Path, data_dir: &Path) -> Result<Stranded, FileError> {
    stranded_on(Arc::new(RealFs), checkpoint_dir, data_dir)
}

/// [`stranded`] on a file system of choice.
///
/// # Errors
/// As [`stranded`].
pub fn stranded_on(
    fs: Arc<dyn Fs>,
    checkpoint_dir: &Path,
    data_dir: &Path,
) -> Result<Stranded, FileError> {
    Stranded::open(fs, checkpoint_dir, data_dir, Mutant::NONE)
}

/// Iterator over event bodies; see [`stranded`].
#[derive(Debug)]
pub struct Stranded {
    files: Files,
    at: Cursor,
    end: Cursor,
    taken: Ranges,
    /// Events read and not yet handed out.
    ready: VecDeque<Slice>,
    error: Option<FileError>,
}

impl Stranded {
    pub(super) fn open(
        fs: Arc<dyn Fs>,
        checkpoint_dir: &Path,
        data_dir: &Path,
        mutant: Mutant,
    ) -> Result<Self, FileError> {
        let checkpoint = Checkpoint::read(fs.as_ref(), checkpoint_dir)?;
        let files = Files::open(fs, data_dir, 0, 0, true, mutant)?;
        let found = recover(&files, checkpoint.as_ref())?;
        let (ready, error) = (VecDeque::new(), None);
        Ok(Self {
            files,
            at: found.head,
            end: found.end,
            taken: found.taken,
            ready,
            error,
        })
    }
}

impl Iterator for Stranded {
    type Item = Result<Vec<u8>, FileError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() && self.error.is_none() && self.at.sequence < self.end.sequence
        {
            let piece = read_puts(&self.files, self.at, self.end, PIECE);
            for (at, _, batches) in piece.puts {
                open_events(&batches, at.event, &self.taken, &mut self.ready);
            }
            self.at = piece.next;
            self.error = piece.error;
        }
        let Some(slice) = self.ready.front_mut() else {
            self.at = self.end;
            return self.error.take().map(Err);
        };
        let front = slice.split_front(1);
        if slice.is_empty() {
            self.ready.pop_front();
        }
        front.event(0).map(|event| Ok(event.body().to_vec()))
    }
}

/// Adds the events of a record that are not taken.
fn open_events(batches: &[Batch], first: u64, taken: &Ranges, out: &mut VecDeque<Slice>) {
    let mut start = first;
    for batch in batches {
        let end = start + batch.len() as u64;
        for gap in taken.gaps(start..end) {
            out.push_back(batch.slice((gap.start - start) as usize..(gap.end - start) as usize));
        }
        start = end;
    }
}
