//! The calls that a program makes on the simulated disk: of the file system, of a file, of a lock.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Inode, NameChange, SimDisk, Waiting};
use crate::fs::{File, Fs, Lock};

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    inode: u64,
    boot: u64,
}

#[derive(Debug)]
struct SimLock {
    disk: SimDisk,
    path: PathBuf,
    boot: u64,
}

impl Fs for SimDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        let boot = state.boot;
        state.alive(boot)?;
        // Directories are taken for durable: an agent's are made once, long before it matters.
        state.dirs.insert(dir.to_path_buf());
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut state = self.state();
        let boot = state.boot;
        state.alive(boot)?;
        if let Some(inode) = state.names.get(path).copied() {
            drop(state);
            let file = Arc::new(SimFile {
                disk: self.clone(),
                inode,
                boot,
            });
            file.set_len(0)?;
            return Ok(file);
        }
        let inode = state.next_inode;
        state.next_inode += 1;
        state.inodes.insert(inode, Inode::default());
        drop(state);
        self.rename_like(
            "create",
            NameChange::Create {
                path: path.to_path_buf(),
                inode,
            },
        )?;
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            inode,
            boot,
        }))
    }

    fn open(&self, path: &Path, _read_only: bool) -> io::Result<Arc<dyn File>> {
        let state = self.state();
        state.alive(state.boot)?;
        let inode = state
            .names
            .get(path)
            .copied()
            .ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            inode,
            boot: state.boot,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let state = self.state();
        state.alive(state.boot)?;
        let inode = state
            .names
            .get(from)
            .copied()
            .ok_or(io::ErrorKind::NotFound)?;
        drop(state);
        self.rename_like(
            "rename",
            NameChange::Rename {
                from: from.to_path_buf(),
                to: to.to_path_buf(),
                inode,
            },
        )
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let state = self.state();
        state.alive(state.boot)?;
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        drop(state);
        self.rename_like(
            "remove",
            NameChange::Remove {
                path: path.to_path_buf(),
            },
        )
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let state = self.state();
        state.alive(state.boot)?;
        if !state.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(state
            .names
            .keys()
            .filter(|path| path.parent() == Some(dir))
            .cloned()
            .collect())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.alive(state.boot)?;
        let cut = state.step("sync_dir");
        if !cut || state.draw() & 1 == 0 {
            let waiting = std::mem::take(&mut state.waiting_names);
            let (now, later): (Vec<_>, Vec<_>) =
                waiting.into_iter().partition(|change| change.is_in(dir));
            for change in now {
                change.apply(&mut state.durable_names);
            }
            state.waiting_names = later;
        }
        if cut { Err(state.cut()) } else { Ok(()) }
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let mut state = self.state();
        let boot = state.boot;
        state.alive(boot)?;
        if !state.locks.insert(path.to_path_buf()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimLock {
            disk: self.clone(),
            path: path.to_path_buf(),
            boot,
        }))
    }

    fn free_space(&self, _dir: &Path) -> io::Result<u64> {
        let state = self.state();
        state.alive(state.boot)?;
        Ok(state.capacity.saturating_sub(state.used()))
    }
}

impl File for SimFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.alive(self.boot)?;
        let cut = state.step("write");
        state.change(
            self.inode,
            Waiting::Write {
                offset: offset as usize,
                bytes: bytes.to_vec(),
            },
        )?;
        if cut { Err(state.cut()) } else { Ok(()) }
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.state();
        state.alive(self.boot)?;
        let Some(file) = state.inodes.get(&self.inode) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let start = (offset as usize).min(file.visible.len());
        let count = buffer.len().min(file.visible.len() - start);
        buffer[..count].copy_from_slice(&file.visible[start..start + count]);
        Ok(count)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.alive(self.boot)?;
        let cut = state.step("sync");
        if state.fail_sync_at.is_some_and(|at| state.operations >= at) {
            state.fail_sync_at = None;
            state.decide(self.inode);
            return Err(if cut {
                state.cut()
            } else {
                io::Error::from_raw_os_error(5)
            });
        }
        if (!cut || state.draw() & 1 == 0)
            && let Some(file) = state.inodes.get_mut(&self.inode)
        {
            // Replaying the list, not copying what is visible: after a failed sync the two differ.
            for change in std::mem::take(&mut file.waiting) {
                change.apply(&mut file.durable, || true);
            }
        }
        if cut { Err(state.cut()) } else { Ok(()) }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.alive(self.boot)?;
        let cut = state.step("set_len");
        state.change(self.inode, Waiting::SetLen(len as usize))?;
        if cut { Err(state.cut()) } else { Ok(()) }
    }

    fn len(&self) -> io::Result<u64> {
        let state = self.disk.state();
        state.alive(self.boot)?;
        state
            .inodes
            .get(&self.inode)
            .map(|file| file.visible.len() as u64)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Lock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.boot == self.boot {
            state.locks.remove(&self.path);
        }
    }
}
