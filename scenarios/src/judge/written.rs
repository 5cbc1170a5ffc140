//! When events of a file were due, and when they were read there: what the lists of files need to name
//! the fault that events fell into. One pass over the journal, made only where there is something to list.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use flume_bench_loadgen::idset::IdSet;
use flume_bench_loadgen::journal::{Frame, Reader};
use flume_bench_loadgen::ledger::InFile;
use flume_bench_loadgen::observe::{FileId, Micros};

/// Events of one batch in one file, as one read returned them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) file: FileId,
    pub(super) producer: u16,
    pub(super) ids: Range<u64>,
    /// When they were due.
    pub(super) intended: Micros,
    /// When they were read, so written by then.
    pub(super) at: Micros,
}

/// Calls `each` with every piece of the wanted events, in the order in which they were read.
fn pieces(journal: &Path, wanted: &[InFile], mut each: impl FnMut(Piece)) {
    let mut in_file = BTreeMap::<(FileId, u16), IdSet>::new();
    for InFile { file, range, .. } in wanted {
        let ids = in_file.entry((*file, range.producer)).or_default();
        ids.insert_range(range.first..range.first.saturating_add(range.count));
    }
    if in_file.is_empty() {
        return;
    }
    // It was read from end to end before, so what it holds beyond an error is nothing.
    let frames = Reader::open(journal).into_iter().flatten();
    for frame in frames.map_while(Result::ok) {
        let Frame::Read(read) = frame else { continue };
        for batch in &read.found {
            let Some(ids) = in_file.get(&(read.file, batch.producer)) else {
                continue;
            };
            let whole = batch.first..batch.first.saturating_add(u64::from(batch.count));
            ids.parts_within(&whole, |ids| {
                each(Piece {
                    file: read.file,
                    producer: batch.producer,
                    ids,
                    intended: batch.intended,
                    at: read.at,
                })
            });
        }
    }
}

/// For each file, what was written last of the wanted events: when it was due and when it was read.
pub(super) fn last(journal: &Path, wanted: &[InFile]) -> BTreeMap<FileId, (Micros, Micros)> {
    let mut files = BTreeMap::new();
    pieces(journal, wanted, |piece| {
        let last = files
            .entry(piece.file)
            .or_insert((piece.at, piece.intended));
        *last = (*last).max((piece.at, piece.intended));
    });
    files
        .into_iter()
        .map(|(file, (at, intended))| (file, (intended, at)))
        .collect()
}

/// The copies beyond the first of events that files hold together: the first is the one that was read
/// first.
pub(super) fn extra_copies(journal: &Path, wanted: &[InFile]) -> Vec<Piece> {
    let mut seen = BTreeMap::<u16, IdSet>::new();
    let mut extra = Vec::new();
    pieces(journal, wanted, |piece| {
        let seen = seen.entry(piece.producer).or_default();
        let again = seen.insert_range(piece.ids.clone()).unchanged;
        extra.extend(again.into_iter().map(|ids| Piece {
            ids,
            ..piece.clone()
        }));
    });
    extra
}
