//! What the NameNode knows: the namespace, which is kept, and the DataNodes with their replicas, which are
//! learned anew after each start.
//!
//! Safe mode: after a start with blocks in the log, nothing may be changed until every ended block was
//! reported by a DataNode. A DataNode that never comes back keeps the file system in safe mode, as it does
//! with Hadoop.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use flume_bench_hadoop::common::{DatanodeId, DatanodeInfo};

use super::edits::{Edit, EditLog};
use super::recovery::Recovery;
use super::tree::{Block, Tree};
use crate::StoreError;
use crate::ipc::Exception;
use crate::link;
use crate::orders::Orders;

/// A DataNode that was silent for so long is dead.
pub(crate) const DEAD_AFTER: Duration = Duration::from_secs(3);

/// What each DataNode says it has room for, bytes.
const CAPACITY: u64 = 1 << 40;

/// A DataNode.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: DatanodeId,
    pub(crate) last: Instant,
    pub(crate) used: u64,
    /// What it is told with the next answer.
    pub(crate) orders: link::Orders,
}

impl Node {
    pub(crate) fn alive(&self) -> bool {
        self.last.elapsed() < DEAD_AFTER
    }

    pub(crate) fn info(&self) -> DatanodeInfo {
        DatanodeInfo {
            id: self.id.clone(),
            capacity: Some(CAPACITY),
            dfs_used: Some(self.used),
            remaining: Some(CAPACITY.saturating_sub(self.used)),
            block_pool_used: Some(self.used),
            last_update: Some(now().saturating_sub(self.last.elapsed().as_millis() as u64)),
            location: Some("/default-rack".to_owned()),
            ..DatanodeInfo::default()
        }
    }

    pub(crate) fn storage(&self) -> String {
        format!("DS-{}", self.id.datanode_uuid)
    }
}

/// A replica, as its DataNode told; or one that is expected from it.
#[derive(Clone, Debug)]
pub(crate) struct Holder {
    /// Identifier of the DataNode.
    pub(crate) node: String,
    pub(crate) stamp: u64,
    pub(crate) length: u64,
    pub(crate) state: link::ReplicaState,
    pub(crate) told: bool,
}

/// All of it.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) tree: Tree,
    pub(crate) log: Arc<EditLog>,
    pub(crate) nodes: BTreeMap<String, Node>,
    pub(crate) holders: HashMap<u64, Vec<Holder>>,
    /// Lease recoveries, by file.
    pub(crate) recoveries: HashMap<u64, Recovery>,
    /// Ended blocks that no DataNode has reported since the start.
    pub(crate) unreported: HashSet<u64>,
    /// Counts placements, so that the DataNodes take turns.
    pub(crate) turn: usize,
    pub(crate) replication: u32,
    pub(crate) block_size: u64,
    pub(crate) orders: Arc<Orders>,
}

impl State {
    pub(crate) fn open(
        dir: &Path,
        replication: u32,
        block_size: u64,
        orders: Arc<Orders>,
    ) -> Result<Self, StoreError> {
        let (log, edits) = EditLog::open(dir)?;
        let mut tree = Tree::default();
        for edit in &edits {
            tree.apply(edit);
        }
        let unreported = tree
            .all()
            .filter_map(|inode| inode.file())
            .flat_map(|file| &file.blocks)
            .filter(|block| block.committed)
            .map(|block| block.id)
            .collect();
        let mut state = Self {
            tree,
            log: Arc::new(log),
            nodes: BTreeMap::new(),
            holders: HashMap::new(),
            recoveries: HashMap::new(),
            unreported,
            turn: 0,
            replication,
            block_size,
            orders,
        };
        if edits.is_empty() {
            let id = crate::ipc::client::client_id();
            let number = u32::from_be_bytes([id[0], id[1], id[2], id[3]]);
            state.commit(Edit::Format {
                pool: format!("BP-{number}-127.0.0.1-{}", now()),
            });
        }
        tracing::info!(
            edits = edits.len(),
            blocks = state.unreported.len(),
            pool = state.tree.pool,
            "the namespace is loaded"
        );
        Ok(state)
    }

    /// Writes an edit to the log and carries it out. The caller has it synced before it answers.
    pub(crate) fn commit(&mut self, edit: Edit) {
        if let Err(error) = self.log.write(&edit) {
            give_up(&error);
        }
        let gone = self.tree.apply(&edit);
        self.forget(&gone);
    }

    /// Has the replicas of blocks deleted that belong to no file any more.
    pub(crate) fn forget(&mut self, gone: &[Block]) {
        for block in gone {
            self.unreported.remove(&block.id);
            for holder in self.holders.remove(&block.id).unwrap_or_default() {
                if let Some(node) = self.nodes.get_mut(&holder.node) {
                    node.orders.delete.push(link::Recovery {
                        block: block.id,
                        stamp: u64::MAX,
                        ..link::Recovery::default()
                    });
                }
            }
        }
    }

    /// Whether a block is ended, and a DataNode has said so.
    pub(crate) fn is_complete(&self, block: &Block) -> bool {
        let finalized = |holder: &Holder| {
            holder.state == link::ReplicaState::Finalized
                && holder.stamp == block.stamp
                && holder.length >= block.length
        };
        block.committed
            && self
                .holders
                .get(&block.id)
                .is_some_and(|holders| holders.iter().any(finalized))
    }

    pub(crate) fn in_safe_mode(&self) -> bool {
        !self.unreported.is_empty() || self.orders.safe_mode.load(Ordering::Acquire)
    }

    /// Refuses to `what` while in safe mode.
    pub(crate) fn writable(&self, what: &str) -> Result<(), Exception> {
        if !self.in_safe_mode() {
            return Ok(());
        }
        Err(self.safe_mode(what))
    }

    pub(crate) fn safe_mode(&self, what: &str) -> Exception {
        let why = match self.unreported.len() {
            0 => "It was turned on by hand.".to_owned(),
            missing => format!("{missing} blocks have not been reported by any DataNode."),
        };
        Exception::new(
            "org.apache.hadoop.hdfs.server.namenode.SafeModeException",
            format!("Cannot {what}. Name node is in safe mode.\n{why}"),
        )
    }

    pub(crate) fn live(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values().filter(|node| node.alive())
    }
}

/// Ends the process, because what cannot be written must not be promised. Hadoop's NameNode does the same.
pub(crate) fn give_up(error: &std::io::Error) -> ! {
    tracing::error!(%error, "the edit log cannot be written; the NameNode ends");
    std::process::exit(4)
}

/// Milliseconds since the epoch.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |time| time.as_millis() as u64)
}
