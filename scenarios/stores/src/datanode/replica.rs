//! Replicas: block files, and who may write and read them.
//!
//! ```text
//! DIR/uuid                       identifier of this DataNode
//! DIR/pool                       block pool its blocks belong to
//! DIR/rbw/blk_ID_STAMP           being written
//! DIR/finalized/blk_ID_STAMP     ended
//! ```
//!
//! A packet's bytes are in the file before they are acknowledged, so a SIGKILL leaves them in the page cache
//! and the file. Readers see what was acknowledged and no more. After a restart a block that was being
//! written waits for its recovery: it has a length, but cannot be read, as with Hadoop.
//!
//! Each writer has a ticket. Cutting a writer off takes its ticket away; what its thread still tries fails,
//! so nobody has to wait for it. Checksums are not kept: they are computed anew for each reader, over the same
//! chunks.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::link::{self, ReplicaState};
use crate::{StoreError, lock};

const RBW: &str = "rbw";
const FINALIZED: &str = "finalized";

#[derive(Debug)]
struct Inner {
    stamp: u64,
    state: ReplicaState,
    file: Arc<File>,
    path: PathBuf,
    /// Bytes in the file.
    length: u64,
    /// Bytes that readers may see.
    visible: u64,
    /// Ticket of the present writer; 0 for none.
    ticket: u64,
    /// The writer's connection, to cut it off.
    writer: Option<TcpStream>,
    /// Stamp of the last recovery; older ones come too late.
    fence: u64,
}

impl Inner {
    fn cut_off(&mut self) {
        self.ticket = 0;
        if let Some(writer) = self.writer.take() {
            let _ = writer.shutdown(Shutdown::Both);
        }
    }
}

/// A replica.
#[derive(Debug)]
pub(crate) struct Replica {
    id: u64,
    inner: Mutex<Inner>,
}

/// What is to be told to the NameNode.
#[derive(Debug, Default)]
pub(crate) struct News {
    pub(crate) replicas: Vec<link::Replica>,
    pub(crate) frozen: Vec<link::Recovery>,
}

/// All replicas of a DataNode.
#[derive(Debug)]
pub(crate) struct Replicas {
    dir: PathBuf,
    pub(crate) uuid: String,
    all: Mutex<HashMap<u64, Arc<Replica>>>,
    tickets: std::sync::atomic::AtomicU64,
    news: Mutex<News>,
    told: Condvar,
}

/// What a reader gets.
#[derive(Clone, Debug)]
pub(crate) struct Readable {
    pub(crate) file: Arc<File>,
    pub(crate) visible: u64,
    pub(crate) stamp: u64,
    pub(crate) state: ReplicaState,
}

fn other(why: impl Into<String>) -> io::Error {
    io::Error::other(why.into())
}

impl Replicas {
    /// Finds what is in a directory; makes it if it is not there.
    pub(crate) fn open(dir: &Path) -> Result<Self, StoreError> {
        for part in [RBW, FINALIZED] {
            let part = dir.join(part);
            fs::create_dir_all(&part).map_err(StoreError::io("making", part.display()))?;
        }
        let uuid = identity(dir)?;
        let mut all = HashMap::new();
        for (part, state) in [
            (FINALIZED, ReplicaState::Finalized),
            (RBW, ReplicaState::Rwr),
        ] {
            let part = dir.join(part);
            let entries = fs::read_dir(&part).map_err(StoreError::io("listing", part.display()))?;
            for entry in entries {
                let path = entry
                    .map_err(StoreError::io("listing", part.display()))?
                    .path();
                let Some((id, stamp)) = parse_name(&path) else {
                    continue;
                };
                let file = open_file(&path).map_err(StoreError::io("opening", path.display()))?;
                let length = file
                    .metadata()
                    .map_err(StoreError::io("looking at", path.display()))?
                    .len();
                let visible = if state == ReplicaState::Finalized {
                    length
                } else {
                    0
                };
                let inner = Inner {
                    stamp,
                    state,
                    file: Arc::new(file),
                    path,
                    length,
                    visible,
                    ticket: 0,
                    writer: None,
                    fence: 0,
                };
                all.insert(
                    id,
                    Arc::new(Replica {
                        id,
                        inner: Mutex::new(inner),
                    }),
                );
            }
        }
        Ok(Self {
            dir: dir.to_owned(),
            uuid,
            all: Mutex::new(all),
            tickets: std::sync::atomic::AtomicU64::new(0),
            news: Mutex::default(),
            told: Condvar::new(),
        })
    }

    /// The pool that the blocks belong to; empty before the first time a NameNode was met.
    pub(crate) fn pool(&self) -> String {
        fs::read_to_string(self.dir.join("pool")).unwrap_or_default()
    }

    pub(crate) fn set_pool(&self, pool: &str) -> io::Result<()> {
        fs::write(self.dir.join("pool"), pool)
    }

    fn get(&self, id: u64) -> io::Result<Arc<Replica>> {
        lock(&self.all)
            .get(&id)
            .cloned()
            .ok_or_else(|| other(format!("there is no replica of blk_{id}")))
    }

    fn ticket(&self) -> u64 {
        1 + self
            .tickets
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed)
    }

    /// Begins a new replica.
    pub(crate) fn create(
        self: &Arc<Self>,
        id: u64,
        stamp: u64,
        writer: &TcpStream,
    ) -> io::Result<Writing> {
        let ticket = self.ticket();
        let mut all = lock(&self.all);
        if all.contains_key(&id) {
            return Err(other(format!("there already is a replica of blk_{id}")));
        }
        let path = self.dir.join(RBW).join(name(id, stamp));
        let file = OpenOptions::new()
            .create_new(true)
            .read(true)
            .write(true)
            .open(&path)?;
        let inner = Inner {
            stamp,
            state: ReplicaState::Rbw,
            file: Arc::new(file),
            path,
            length: 0,
            visible: 0,
            ticket,
            writer: Some(writer.try_clone()?),
            fence: 0,
        };
        let replica = Arc::new(Replica {
            id,
            inner: Mutex::new(inner),
        });
        all.insert(id, Arc::clone(&replica));
        drop(all);
        self.tell(&replica);
        Ok(Writing {
            replicas: Arc::clone(self),
            replica,
            ticket,
        })
    }

    /// Takes over a replica for a pipeline that is set up again under a new stamp. What was not acknowledged
    /// is cut off: the client sends it again.
    pub(crate) fn take_over(
        self: &Arc<Self>,
        id: u64,
        stamp: u64,
        least: u64,
        most: u64,
        writer: &TcpStream,
    ) -> io::Result<Writing> {
        let ticket = self.ticket();
        let replica = self.get(id)?;
        let mut inner = lock(&replica.inner);
        if inner.state != ReplicaState::Rbw || stamp <= inner.stamp.max(inner.fence) {
            return Err(other(format!(
                "blk_{id} is {:?} under stamp {}, and is not taken over under {stamp}",
                inner.state, inner.stamp
            )));
        }
        if inner.visible < least || inner.visible > most {
            return Err(other(format!(
                "blk_{id} has {} acknowledged bytes, the pipeline wants {least} to {most}",
                inner.visible
            )));
        }
        inner.cut_off();
        inner.file.set_len(inner.visible)?;
        inner.length = inner.visible;
        self.restamp(id, &mut inner, stamp, RBW)?;
        inner.ticket = ticket;
        inner.writer = Some(writer.try_clone()?);
        drop(inner);
        self.tell(&replica);
        Ok(Writing {
            replicas: Arc::clone(self),
            replica,
            ticket,
        })
    }

    /// Ends a replica whose pipeline broke while it was being closed.
    pub(crate) fn take_over_closed(&self, id: u64, stamp: u64, length: u64) -> io::Result<()> {
        let replica = self.get(id)?;
        let mut inner = lock(&replica.inner);
        if inner.state == ReplicaState::Rwr || inner.length != length || stamp <= inner.fence {
            return Err(other(format!(
                "blk_{id} is {:?} with {} bytes, and is not closed with {length}",
                inner.state, inner.length
            )));
        }
        inner.cut_off();
        self.restamp(id, &mut inner, stamp, FINALIZED)?;
        inner.state = ReplicaState::Finalized;
        inner.visible = length;
        drop(inner);
        self.tell(&replica);
        Ok(())
    }

    fn restamp(&self, id: u64, inner: &mut Inner, stamp: u64, part: &str) -> io::Result<()> {
        let path = self.dir.join(part).join(name(id, stamp));
        fs::rename(&inner.path, &path)?;
        inner.path = path;
        inner.stamp = stamp;
        Ok(())
    }

    /// A replica for reading.
    pub(crate) fn read(&self, id: u64) -> io::Result<Readable> {
        let replica = self.get(id)?;
        let inner = lock(&replica.inner);
        Ok(Readable {
            file: Arc::clone(&inner.file),
            visible: inner.visible,
            stamp: inner.stamp,
            state: inner.state,
        })
    }

    /// Cuts off the writer for the recovery with this stamp, and says what is there.
    pub(crate) fn freeze(&self, id: u64, stamp: u64) -> (ReplicaState, u64) {
        let Ok(replica) = self.get(id) else {
            return (ReplicaState::Absent, 0);
        };
        let mut inner = lock(&replica.inner);
        if stamp > inner.fence {
            inner.cut_off();
            inner.fence = stamp;
        }
        (inner.state, inner.length)
    }

    /// Ends a frozen replica: cuts it to a length, under the stamp of its recovery.
    pub(crate) fn seal(&self, id: u64, stamp: u64, length: u64) -> io::Result<()> {
        let replica = self.get(id)?;
        let mut inner = lock(&replica.inner);
        if inner.fence != stamp || inner.length < length {
            return Err(other(format!(
                "blk_{id} with {} bytes is not sealed with {length} under {stamp}: the last recovery is {}",
                inner.length, inner.fence
            )));
        }
        inner.file.set_len(length)?;
        inner.length = length;
        inner.visible = length;
        self.restamp(id, &mut inner, stamp, FINALIZED)?;
        inner.state = ReplicaState::Finalized;
        drop(inner);
        self.tell(&replica);
        Ok(())
    }

    /// Deletes a replica, unless it has a newer stamp.
    pub(crate) fn delete(&self, id: u64, stamp: u64) -> io::Result<()> {
        let mut all = lock(&self.all);
        let Some(replica) = all.get(&id).cloned() else {
            return Ok(());
        };
        let mut inner = lock(&replica.inner);
        if inner.stamp > stamp {
            return Ok(());
        }
        all.remove(&id);
        inner.cut_off();
        fs::remove_file(&inner.path)
    }

    /// Every replica.
    pub(crate) fn report(&self) -> Vec<link::Replica> {
        let all: Vec<_> = lock(&self.all).values().cloned().collect();
        all.iter().map(|replica| replica.describe()).collect()
    }

    /// Bytes that all replicas take.
    pub(crate) fn used(&self) -> u64 {
        let all: Vec<_> = lock(&self.all).values().cloned().collect();
        all.iter().map(|replica| lock(&replica.inner).length).sum()
    }

    fn tell(&self, replica: &Replica) {
        let news = replica.describe();
        lock(&self.news).replicas.push(news);
        self.told.notify_all();
    }

    pub(crate) fn tell_frozen(&self, frozen: link::Recovery) {
        lock(&self.news).frozen.push(frozen);
        self.told.notify_all();
    }

    /// Takes the news, waiting for some for at most `limit`.
    pub(crate) fn news(&self, limit: Duration) -> News {
        let mut news = lock(&self.news);
        if news.replicas.is_empty() && news.frozen.is_empty() {
            news = match self.told.wait_timeout(news, limit) {
                Ok((news, _)) => news,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        std::mem::take(&mut news)
    }

    /// Puts back news that could not be told.
    pub(crate) fn untold(&self, mut old: News) {
        let mut news = lock(&self.news);
        old.replicas.append(&mut news.replicas);
        old.frozen.append(&mut news.frozen);
        *news = old;
    }
}

impl Replica {
    fn describe(&self) -> link::Replica {
        let inner = lock(&self.inner);
        link::Replica {
            block: self.id,
            stamp: inner.stamp,
            length: inner.length,
            state: inner.state as i32,
        }
    }
}

/// A replica that is being written, as long as the ticket holds.
#[derive(Debug)]
pub(crate) struct Writing {
    replicas: Arc<Replicas>,
    replica: Arc<Replica>,
    ticket: u64,
}

impl Writing {
    fn hold(&self) -> io::Result<std::sync::MutexGuard<'_, Inner>> {
        let inner = lock(&self.replica.inner);
        if inner.ticket == self.ticket {
            Ok(inner)
        } else {
            Err(other(format!(
                "another writer, or a recovery, has taken over blk_{}",
                self.replica.id
            )))
        }
    }

    /// Bytes in the file.
    pub(crate) fn length(&self) -> u64 {
        lock(&self.replica.inner).length
    }

    /// Puts the data of a packet where it belongs; it may repeat bytes that are there, but leave no hole.
    pub(crate) fn write(&self, offset: u64, data: &[u8], sync: bool) -> io::Result<()> {
        let mut inner = self.hold()?;
        if offset > inner.length {
            return Err(other(format!(
                "a packet for byte {offset} of blk_{}, which has {} bytes",
                self.replica.id, inner.length
            )));
        }
        inner.file.write_all_at(data, offset)?;
        inner.length = inner.length.max(offset + data.len() as u64);
        let file = sync.then(|| Arc::clone(&inner.file));
        drop(inner);
        file.map_or(Ok(()), |file| file.sync_data())
    }

    /// Lets readers see what is about to be acknowledged.
    pub(crate) fn show(&self, visible: u64) -> io::Result<()> {
        let mut inner = self.hold()?;
        inner.visible = inner.visible.max(visible.min(inner.length));
        Ok(())
    }

    /// Ends the replica.
    pub(crate) fn finalize(&self) -> io::Result<()> {
        let mut inner = self.hold()?;
        let stamp = inner.stamp;
        self.replicas
            .restamp(self.replica.id, &mut inner, stamp, FINALIZED)?;
        inner.state = ReplicaState::Finalized;
        inner.visible = inner.length;
        (inner.ticket, inner.writer) = (0, None);
        drop(inner);
        self.replicas.tell(&self.replica);
        Ok(())
    }

    /// Takes back a replica whose pipeline could not be set up.
    pub(crate) fn discard(&self) {
        let stamp = match self.hold() {
            Ok(mut inner) if inner.length == 0 => {
                // Its connection still has to carry the refusal.
                inner.writer = None;
                inner.stamp
            }
            _ => return,
        };
        if let Err(error) = self.replicas.delete(self.replica.id, stamp) {
            tracing::warn!(%error, block = self.replica.id, "an empty replica stays");
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        // The connection must not be kept open by the copy that is kept of it.
        if let Ok(mut inner) = self.hold() {
            inner.writer = None;
        }
    }
}

fn name(id: u64, stamp: u64) -> String {
    format!("blk_{id}_{stamp}")
}

fn parse_name(path: &Path) -> Option<(u64, u64)> {
    let (id, stamp) = path
        .file_name()?
        .to_str()?
        .strip_prefix("blk_")?
        .split_once('_')?;
    Some((id.parse().ok()?, stamp.parse().ok()?))
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

/// The identifier of a DataNode, made at its first start.
fn identity(dir: &Path) -> Result<String, StoreError> {
    let path = dir.join("uuid");
    if let Ok(known) = fs::read_to_string(&path)
        && !known.is_empty()
    {
        return Ok(known);
    }
    let number = u128::from_be_bytes(crate::ipc::client::client_id());
    let hex = format!("{number:032x}");
    let uuid = format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    );
    fs::write(&path, &uuid).map_err(StoreError::io("writing", path.display()))?;
    Ok(uuid)
}
