//! What the disk under a row is worth, and the bare loop that durable rows are compared with.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::outcome::{BenchError, Outcome};
use crate::stats::Spread;

/// An empty sync that takes less is a disk in memory.
const REAL: Duration = Duration::from_micros(5);

/// Notes what an empty fdatasync costs, so that a reader can judge the disk; voids the outcome
/// where it costs nothing.
///
/// # Errors
/// The directory cannot be written.
pub fn note(directory: &Path, outcome: &mut Outcome) -> Result<(), BenchError> {
    let path = directory.join("empty");
    let file = File::create(&path).map_err(BenchError::file("create", &path))?;
    let mut times = Vec::new();
    for _ in 0..50 {
        let start = Instant::now();
        file.sync_data().map_err(BenchError::file("sync", &path))?;
        times.push(start.elapsed().as_secs_f64());
    }
    let cost = Spread::of(times).map_or(0.0, |spread| spread.median);
    outcome.notes.push(format!(
        "an empty fdatasync takes {:.0} µs here; a commit survives a power cut as far as the disk keeps its word",
        cost * 1e6
    ));
    if cost < REAL.as_secs_f64() {
        outcome.void.push(format!(
            "{} is no disk; --dir names another place",
            directory.display()
        ));
    }
    Ok(())
}

/// A file of which every block has been written once, and the loop over it.
#[derive(Debug)]
pub struct Bare {
    file: File,
    len: u64,
    at: u64,
}

impl Bare {
    /// A file of `len` bytes, written and synced.
    ///
    /// # Errors
    /// It could not be written.
    pub fn create(path: &Path, len: u64) -> Result<Bare, BenchError> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(path)
            .map_err(BenchError::file("create", path))?;
        let zeros = vec![0; 1 << 20];
        let mut at = 0;
        while at < len {
            file.write_all_at(&zeros, at)
                .map_err(BenchError::file("write", path))?;
            at += zeros.len() as u64;
        }
        file.sync_all().map_err(BenchError::file("sync", path))?;
        Ok(Bare { file, len, at: 0 })
    }

    /// Writes the bytes behind what was written last, or from the start where the file ends, and
    /// syncs them.
    ///
    /// # Errors
    /// Those of the system.
    pub fn commit(&mut self, bytes: &[u8]) -> Result<(), BenchError> {
        if self.at + bytes.len() as u64 > self.len {
            self.at = 0;
        }
        self.file
            .write_all_at(bytes, self.at)
            .and_then(|()| self.file.sync_data())
            .map_err(BenchError::system("write and sync the bare file"))?;
        self.at += bytes.len() as u64;
        Ok(())
    }
}
