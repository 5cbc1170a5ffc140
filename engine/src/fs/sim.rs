//! A disk in memory that tells written from durable, and loses its power.
//!
//! Each file has two contents: what readers see, and what would survive a power cut. A write
//! changes the first at once and waits in a list for [`File::sync_data`] to reach the second; a
//! directory operation waits likewise for [`Fs::sync_dir`]. When the power goes, each waiting
//! write is on its own kept, dropped, or torn: every 512-byte sector it touches is then kept or
//! dropped by itself. Each waiting creation, rename and removal has happened or not, also on its
//! own. All of it is decided by the seed, so a failing cut can be run again.
//!
//! This is harsher than real disks, which order more than they promise: code that passes here
//! relies on nothing but syncs. Two assumptions are shared with real disks: a sector is written
//! whole or not at all, and a write does not change bytes outside itself.
//!
//! # Faults
//!
//! - [`SimDisk::cut_power_at`]: the power goes at the n-th operation that changes anything (write,
//!   size, sync, create, rename, remove, sync of a directory). A write is then on its way (kept,
//!   dropped or torn like the others); a sync has had its effect or none, which its caller does
//!   not learn. Every call fails until [`SimDisk::power_on`].
//! - [`SimDisk::fail_sync_at`]: that operation, or the first sync after it, answers `EIO`. The writes it was to cover
//!   stay visible but are decided as in a power cut, and *no later sync covers them*: that is
//!   what a page cache does which marks failed pages clean.
//! - [`SimDisk::set_capacity`]: writes that need more bytes than the disk has answer `ENOSPC`.
//! - [`SimDisk::kill_process`]: handles die and locks fall, but the page cache lives on.
//!
//! [`File::sync_data`]: super::File::sync_data
//! [`Fs::sync_dir`]: super::Fs::sync_dir

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

mod calls;

/// Bytes that are written whole or not at all.
pub const SECTOR: usize = 512;

/// A write, or change of size, that no sync has covered yet.
#[derive(Debug, Clone)]
enum Waiting {
    Write { offset: usize, bytes: Vec<u8> },
    SetLen(usize),
}

/// A change of names that no sync of the directory has covered yet.
#[derive(Debug, Clone)]
enum NameChange {
    Create {
        path: PathBuf,
        inode: u64,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
        inode: u64,
    },
    Remove {
        path: PathBuf,
    },
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Create { path, inode } => {
                names.insert(path.clone(), *inode);
            }
            Self::Rename { from, to, inode } => {
                // The source name goes only if it still means this file: an independent change
                // before this one may have been lost, and with it the file under that name.
                if names.get(from) == Some(inode) {
                    names.remove(from);
                }
                names.insert(to.clone(), *inode);
            }
            Self::Remove { path } => {
                names.remove(path);
            }
        }
    }

    fn is_in(&self, dir: &Path) -> bool {
        match self {
            Self::Create { path, .. } | Self::Remove { path } => path.parent() == Some(dir),
            Self::Rename { to, .. } => to.parent() == Some(dir),
        }
    }
}

#[derive(Debug, Default)]
struct Inode {
    /// What readers see.
    visible: Vec<u8>,
    /// What a power cut would leave, before the waiting changes are decided.
    durable: Vec<u8>,
    waiting: Vec<Waiting>,
}

impl Waiting {
    /// Applies the change; of a write only the sectors for which `keep` says so.
    fn apply(&self, content: &mut Vec<u8>, mut keep: impl FnMut() -> bool) {
        match self {
            Self::SetLen(len) => {
                if keep() {
                    content.resize(*len, 0);
                }
            }
            Self::Write { offset, bytes } => {
                let mut at = *offset;
                let end = offset + bytes.len();
                while at < end {
                    let sector_end = ((at / SECTOR + 1) * SECTOR).min(end);
                    if keep() {
                        if content.len() < sector_end {
                            content.resize(sector_end, 0);
                        }
                        content[at..sector_end]
                            .copy_from_slice(&bytes[at - offset..sector_end - offset]);
                    }
                    at = sector_end;
                }
            }
        }
    }
}

#[derive(Debug)]
struct State {
    random: u64,
    inodes: HashMap<u64, Inode>,
    next_inode: u64,
    /// Names readers see, and names a power cut would leave.
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    waiting_names: Vec<NameChange>,
    dirs: HashSet<PathBuf>,
    locks: HashSet<PathBuf>,
    /// Handles and locks of an earlier boot are dead.
    boot: u64,
    powered: bool,
    operations: u64,
    cut_at: Option<u64>,
    fail_sync_at: Option<u64>,
    capacity: u64,
    trace: Vec<&'static str>,
}

impl State {
    /// SplitMix64: small, and the same everywhere.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn alive(&self, boot: u64) -> io::Result<()> {
        if !self.powered {
            return Err(io::Error::other("the simulated power is off"));
        }
        if boot != self.boot {
            return Err(io::Error::other(
                "a file handle from before the simulated restart",
            ));
        }
        Ok(())
    }

    /// Counts an operation; answers whether the power goes during it.
    fn step(&mut self, name: &'static str) -> bool {
        self.operations += 1;
        self.trace.push(name);
        self.cut_at.is_some_and(|at| self.operations >= at)
    }

    /// Decides what a file keeps of its waiting changes.
    fn decide(&mut self, inode: u64) {
        let Some(mut file) = self.inodes.remove(&inode) else {
            return;
        };
        for change in std::mem::take(&mut file.waiting) {
            match self.draw() % 3 {
                0 => {}
                1 => change.apply(&mut file.durable, || true),
                _ => change.apply(&mut file.durable, || self.draw() & 1 == 0),
            }
        }
        self.inodes.insert(inode, file);
    }

    fn cut(&mut self) -> io::Error {
        self.powered = false;
        self.cut_at = None;
        let mut inodes: Vec<u64> = self.inodes.keys().copied().collect();
        // The map's order differs from run to run, the seed's meaning must not.
        inodes.sort_unstable();
        for inode in inodes {
            self.decide(inode);
        }
        for change in std::mem::take(&mut self.waiting_names) {
            if self.draw() & 1 == 0 {
                change.apply(&mut self.durable_names);
            }
        }
        io::Error::other("the simulated power was cut")
    }

    fn used(&self) -> u64 {
        self.names
            .values()
            .filter_map(|inode| self.inodes.get(inode))
            .map(|file| file.visible.len() as u64)
            .sum()
    }

    fn change(&mut self, inode: u64, change: Waiting) -> io::Result<()> {
        let grown = match &change {
            Waiting::Write { offset, bytes } => offset + bytes.len(),
            Waiting::SetLen(len) => *len,
        };
        let used = self.used();
        let Some(file) = self.inodes.get_mut(&inode) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if grown > file.visible.len() && used + (grown - file.visible.len()) as u64 > self.capacity
        {
            return Err(io::ErrorKind::StorageFull.into());
        }
        change.apply(&mut file.visible, || true);
        file.waiting.push(change);
        Ok(())
    }
}

/// The disk. Clones share it.
#[derive(Debug, Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

impl SimDisk {
    /// An empty disk without bounds whose decisions follow from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            random: seed,
            inodes: HashMap::new(),
            next_inode: 0,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            waiting_names: Vec::new(),
            dirs: HashSet::new(),
            locks: HashSet::new(),
            boot: 0,
            powered: true,
            operations: 0,
            cut_at: None,
            fail_sync_at: None,
            capacity: u64::MAX,
            trace: Vec::new(),
        })))
    }

    /// Operations so far that change something.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// The names of the operations since power came on, in order.
    #[must_use]
    pub fn trace(&self) -> Vec<&'static str> {
        self.state().trace.clone()
    }

    /// Cuts the power at operation number `operation`, counted as by [`SimDisk::operations`].
    pub fn cut_power_at(&self, operation: u64) {
        self.state().cut_at = Some(operation);
    }

    /// Cuts the power now.
    pub fn cut_power(&self) {
        let mut state = self.state();
        if state.powered {
            state.cut();
        }
    }

    /// Lets the first sync of a file at or after operation number `operation` fail with `EIO`.
    pub fn fail_sync_at(&self, operation: u64) {
        self.state().fail_sync_at = Some(operation);
    }

    /// Bytes all files may have together.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity = bytes;
    }

    /// Whether the power is on.
    #[must_use]
    pub fn is_powered(&self) -> bool {
        self.state().powered
    }

    /// Starts the machine again: readers see what was durable; faults that were ordered are off.
    pub fn power_on(&self) {
        let mut state = self.state();
        if state.powered {
            state.cut();
        }
        state.powered = true;
        state.names = state.durable_names.clone();
        let live: HashSet<u64> = state.names.values().copied().collect();
        state.inodes.retain(|inode, _| live.contains(inode));
        for file in state.inodes.values_mut() {
            file.visible.clone_from(&file.durable);
        }
        state.end_process();
    }

    /// Ends the process but not the machine: handles die, locks fall, written bytes stay visible.
    pub fn kill_process(&self) {
        let mut state = self.state();
        state.cut_at = None;
        state.end_process();
    }

    /// Changes a byte of a file, visibly and durably: what decay, or a hand, does.
    ///
    /// # Errors
    /// `NotFound` if there is no such file, or no such byte in it.
    pub fn flip(&self, path: &Path, offset: usize) -> io::Result<()> {
        let mut state = self.state();
        let inode = state
            .names
            .get(path)
            .copied()
            .ok_or(io::ErrorKind::NotFound)?;
        let file = state
            .inodes
            .get_mut(&inode)
            .ok_or(io::ErrorKind::NotFound)?;
        *file
            .visible
            .get_mut(offset)
            .ok_or(io::ErrorKind::NotFound)? ^= 0x40;
        if let Some(byte) = file.durable.get_mut(offset) {
            *byte ^= 0x40;
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A change of names: counted, seen at once, durable later.
    fn rename_like(&self, name: &'static str, change: NameChange) -> io::Result<()> {
        let mut state = self.state();
        let cut = state.step(name);
        change.apply(&mut state.names);
        state.waiting_names.push(change);
        if cut { Err(state.cut()) } else { Ok(()) }
    }
}

impl State {
    fn end_process(&mut self) {
        self.boot += 1;
        self.locks.clear();
        self.fail_sync_at = None;
        self.trace.clear();
    }
}

#[cfg(test)]
mod tests;
