//! Replay: from the files to the state of the channel, without changing anything.
//!
//! It begins where the checkpoint says, or with the first segment, and reads every record to the
//! end of the log: puts move the end, takes add to the set of taken events. Payloads of puts are
//! checked but not kept; the queue reads them again when their turn comes.
//!
//! **The end of the log** is the first place in the last segment without a valid record. It is the
//! torn tail of a power cut unless something shows that the record there was durable: the next
//! segment, the checkpoint, or a valid record further on that knew it durable. Then it is corruption,
//! and replay stops with an error instead of skipping what was promised to be kept.

use std::collections::VecDeque;

use super::checkpoint::Checkpoint;
use super::error::FileError;
use super::log::Cursor;
use super::payload;
use super::ranges::Ranges;
use super::record::{ALIGN, Kind, MAX_NUMBER, SEGMENT_HEADER};
use super::scan::Scanner;
use super::segments::Files;
use crate::defect::Defect;

/// A position is noted once in so many bytes of log, so that the head is found again without
/// keeping one for each record.
const NOTE_EVERY: u64 = 1 << 20;

/// The state of a channel as its files tell it.
#[derive(Debug)]
pub(super) struct Recovered {
    /// Where the log goes on.
    pub(super) end: Cursor,
    /// The first record that holds events; `end` if there is none.
    pub(super) head: Cursor,
    /// Events at or behind the head that were taken.
    pub(super) taken: Ranges,
    /// Behind the end lie valid records that are not part of the log.
    pub(super) sealed: bool,
    /// First byte of the last segment of which no record proves that it is durable.
    pub(super) doubtful: u64,
    /// Records read.
    pub(super) records: u64,
}

/// Reads the log. `checkpoint` is what [`Checkpoint::read`] found.
pub(super) fn recover(
    files: &Files,
    checkpoint: Option<&Checkpoint>,
) -> Result<Recovered, FileError> {
    let mut start = match files.first() {
        Some(segment) => Cursor {
            epoch: segment.header.epoch,
            offset: SEGMENT_HEADER,
            sequence: segment.header.base_sequence,
            event: segment.header.base_event,
        },
        None => Cursor::START,
    };
    let mut head = start;
    let mut taken = Ranges::default();
    if let Some(checkpoint) = checkpoint.filter(|checkpoint| !is_outlived(files, checkpoint)) {
        check(files, checkpoint)?;
        (start, head, taken) = (checkpoint.end, checkpoint.head, checkpoint.taken.clone());
    }
    let mut replay = Replay {
        taken,
        notes: Vec::new(),
        doubtful: VecDeque::new(),
        records: 0,
    };
    let mut scanner = Scanner::new(files, start);
    replay.run(files, &mut scanner)?;
    let end = scanner.at();
    let beyond = scanner.beyond()?;
    if beyond.durable >= end.sequence {
        let what = format!(
            "record {} is damaged, but a later one knew {} durable",
            end.sequence, beyond.durable
        );
        return Err(FileError::corrupt(&files.path(end), end.offset, what));
    }
    let doubtful = match replay.doubtful.front() {
        Some(&(place, _)) if place.epoch == end.epoch => place.offset,
        _ => end.offset,
    };
    let head = replay.find_head(files, head, start, end)?;
    let mut taken = replay.taken;
    taken.remove_below(head.event);
    Ok(Recovered {
        end,
        head,
        taken,
        sealed: beyond.any,
        doubtful,
        records: replay.records,
    })
}

/// What has been learnt while reading on.
#[derive(Debug)]
struct Replay {
    taken: Ranges,
    /// Places of some of the puts, in order.
    notes: Vec<Cursor>,
    /// Records that are not known durable, with the place of each.
    doubtful: VecDeque<(Cursor, u64)>,
    records: u64,
}

impl Replay {
    fn run(&mut self, files: &Files, scanner: &mut Scanner<'_>) -> Result<(), FileError> {
        let mut last_put = 0..0;
        while let Some(found) = scanner.next()? {
            let at = found.at;
            self.records += 1;
            while self
                .doubtful
                .front()
                .is_some_and(|(_, sequence)| *sequence <= found.header.durable)
            {
                self.doubtful.pop_front();
            }
            self.doubtful.push_back((at, at.sequence));
            match found.header.kind {
                Kind::Put => {
                    let far = |note: &Cursor| {
                        note.epoch != at.epoch || at.offset - note.offset >= NOTE_EVERY
                    };
                    if self.notes.last().is_none_or(far) {
                        self.notes.push(at);
                    }
                    last_put = at.event..at.event + u64::from(found.header.events);
                }
                Kind::Take if Defect::FileReplayForgetsTakes.is_planted() => {}
                Kind::Take => {
                    let ranges = payload::take_ranges(found.payload, at.event)
                        .map_err(|what| FileError::corrupt(&files.path(at), at.offset, what))?;
                    for range in ranges {
                        self.taken.insert(range);
                    }
                }
            }
        }
        if Defect::FileReplaySkipsLast.is_planted() && !last_put.is_empty() {
            self.taken.insert(last_put);
        }
        Ok(())
    }

    /// The record that holds the first event which is not taken. The search begins at the last
    /// place known not to be behind it: the old head, or a note.
    fn find_head(
        &self,
        files: &Files,
        old: Cursor,
        start: Cursor,
        end: Cursor,
    ) -> Result<Cursor, FileError> {
        let event = self.taken.first_gap(old.event);
        if event >= end.event {
            return Ok(end);
        }
        let mut from = if event < start.event { old } else { start };
        if let Some(note) = self.notes.iter().rev().find(|note| note.event <= event) {
            from = *note;
        }
        let mut scanner = Scanner::headers(files, from);
        while let Some(found) = scanner.next()? {
            let holds = found.header.kind == Kind::Put
                && event < found.at.event + u64::from(found.header.events);
            if holds {
                return Ok(found.at);
            }
        }
        let at = scanner.at();
        Err(FileError::corrupt(
            &files.path(at),
            at.offset,
            format!("the record of event {event} is damaged or missing"),
        ))
    }
}

/// Whether the log began anew right behind a checkpoint of an empty channel. That happens when the
/// segments are removed and the checkpoint is not: the channel opens, because nothing was in it, and
/// goes on with the next epoch. The segments tell everything then.
fn is_outlived(files: &Files, checkpoint: &Checkpoint) -> bool {
    let end = checkpoint.end;
    checkpoint.head == end
        && files.segment(end.epoch).is_none()
        && files.first().is_some_and(|first| {
            first.header.epoch.checked_sub(1) == Some(end.epoch)
                && first.header.base_sequence == end.sequence
                && first.header.base_event == end.event
        })
}

/// Whether a channel can have been in the state that the checkpoint describes. The checksums say
/// that it was written so; that is no reason to compute with whatever it says.
fn is_possible(checkpoint: &Checkpoint) -> bool {
    let (head, end) = (checkpoint.head, checkpoint.end);
    let place = |at: Cursor| (at.epoch, at.offset, at.sequence, at.event);
    let ordered = head.epoch <= end.epoch
        && head.sequence <= end.sequence
        && head.event <= end.event
        && (head.epoch != end.epoch || head.offset <= end.offset);
    let bounded = [place(head), place(end)]
        .iter()
        .all(|(epoch, offset, sequence, event)| {
            *offset >= SEGMENT_HEADER
                && offset.is_multiple_of(ALIGN)
                && [epoch, sequence, event]
                    .iter()
                    .all(|number| **number < MAX_NUMBER)
                && *sequence >= 1
        });
    // What was taken in front of the head is of no more interest, and may still be listed.
    let mut taken = checkpoint.taken.iter();
    ordered && bounded && taken.all(|range| range.end <= end.event)
}

/// Whether the files that the checkpoint speaks of are there.
fn check(files: &Files, checkpoint: &Checkpoint) -> Result<(), FileError> {
    let (head, end) = (checkpoint.head, checkpoint.end);
    let missing = |what: String| {
        let what =
            format!("{what}; if files were removed on purpose, remove the checkpoint as well");
        Err(FileError::corrupt(&files.dir, 0, what))
    };
    if !is_possible(checkpoint) {
        let what = "the checkpoint contradicts itself; remove it, and the whole log is replayed";
        return Err(FileError::corrupt(&files.dir, 0, what));
    }
    if head.event == end.event && files.first().is_none() {
        // Nothing was in the channel, so nothing is missing.
        return Ok(());
    }
    for cursor in [head, end] {
        match files.segment(cursor.epoch) {
            Some(segment)
                if segment.header.base_sequence <= cursor.sequence
                    && cursor.offset <= segment.header.size => {}
            Some(segment) => {
                return Err(FileError::corrupt(
                    &segment.path,
                    cursor.offset,
                    "the checkpoint belongs to another log; give it back its own, or remove it",
                ));
            }
            // An empty log has a checkpoint too, which speaks of no segment.
            None if cursor.epoch == 0
                && files.first().is_none_or(|first| first.header.epoch == 1) => {}
            None => {
                return missing(format!(
                    "the checkpoint speaks of segment {}, which is missing",
                    cursor.epoch
                ));
            }
        }
    }
    Ok(())
}
