//! DataNodes: what they report, and the recovery of leases, which is done by them.
//!
//! A recovery runs while `recoverLease` answers false. All living DataNodes that may have the last block
//! freeze it and tell what they have; those with the best replica (an ended one before one that was being
//! written before one left over from a crash) cut it to the least length among them; then the file is
//! closed. A block of which no DataNode has a byte is removed. A recovery that has not moved for three
//! seconds is given up, and the next call begins another: the new generation stamp shuts out the old one.
//!
//! A last block that a DataNode has told to have, and that no living one has, is waited for.

use std::collections::BTreeMap;
use std::time::Instant;

use super::edits::Edit;
use super::state::{DEAD_AFTER, Holder, Node, State, now};
use super::tree::{Inode, RECOVERER};
use crate::ipc::Exception;
use crate::link::{self, Beat, Replica, ReplicaState};

/// A recovery on its way.
#[derive(Debug)]
pub(crate) struct Recovery {
    block: u64,
    stamp: u64,
    /// What each DataNode that was asked has found.
    found: BTreeMap<String, Option<(ReplicaState, u64)>>,
    sealing: bool,
    moved: Instant,
}

impl State {
    /// Takes in what a DataNode tells, and returns what it is to do.
    pub(crate) fn beat(&mut self, beat: &Beat) -> link::Orders {
        let uuid = &beat.node.datanode_uuid;
        let pool = self.tree.pool.clone();
        if !beat.pool.is_empty() && beat.pool != pool {
            tracing::warn!(
                uuid,
                theirs = beat.pool,
                ours = pool,
                "a DataNode of another file system is not let in"
            );
            return link::Orders {
                pool,
                ..link::Orders::default()
            };
        }
        let known = self.nodes.get(uuid).is_some_and(Node::alive);
        if !known && !beat.full {
            return link::Orders {
                pool,
                tell_all: true,
                ..link::Orders::default()
            };
        }
        if !known {
            tracing::info!(
                uuid,
                address = beat.node.ip_addr,
                port = beat.node.xfer_port,
                "a DataNode joins"
            );
        }
        let node = self.nodes.entry(uuid.clone()).or_insert_with(|| Node {
            id: beat.node.clone(),
            last: Instant::now(),
            used: 0,
            orders: link::Orders::default(),
        });
        node.id = beat.node.clone();
        node.last = Instant::now();
        node.used = beat.used;
        if beat.full {
            for holders in self.holders.values_mut() {
                // What is only expected may still be on its way there.
                holders.retain(|holder| holder.node != *uuid || !holder.told);
            }
        }
        for replica in &beat.replicas {
            self.reported(uuid, replica);
        }
        for found in &beat.frozen {
            self.frozen(uuid, found);
        }
        let files: Vec<u64> = self.recoveries.keys().copied().collect();
        files.into_iter().for_each(|file| self.go_on(file));
        let orders = self
            .nodes
            .get_mut(uuid)
            .map(|node| std::mem::take(&mut node.orders))
            .unwrap_or_default();
        link::Orders { pool, ..orders }
    }

    fn reported(&mut self, uuid: &str, replica: &Replica) {
        let found = self.tree.owner(replica.block).and_then(|inode| {
            let block = inode
                .file()?
                .blocks
                .iter()
                .find(|block| block.id == replica.block)?;
            Some((inode.id, *block))
        });
        let order = link::Recovery {
            block: replica.block,
            stamp: replica.stamp,
            ..link::Recovery::default()
        };
        let Some((file, block)) = found else {
            // Deleted while the DataNode was away.
            if let Some(node) = self
                .nodes
                .get_mut(uuid)
                .filter(|_| replica.state() != ReplicaState::Absent)
            {
                node.orders.delete.push(order);
            }
            return;
        };
        let holders = self.holders.entry(replica.block).or_default();
        holders.retain(|holder| holder.node != uuid);
        let stale = replica.stamp < block.stamp;
        if stale && block.committed && replica.state() != ReplicaState::Absent {
            // It was left behind by a pipeline or a recovery that went on without this DataNode.
            if let Some(node) = self.nodes.get_mut(uuid) {
                node.orders.delete.push(order);
            }
            return;
        }
        if stale || replica.state() == ReplicaState::Absent {
            // A stale one may lack bytes that were acknowledged since: it must not take part in a recovery.
            return;
        }
        holders.push(Holder {
            node: uuid.to_owned(),
            stamp: replica.stamp,
            length: replica.length,
            state: replica.state(),
            told: true,
        });
        if replica.state() != ReplicaState::Finalized {
            return;
        }
        if replica.stamp == block.stamp && replica.length >= block.length {
            self.unreported.remove(&block.id);
        }
        let sealed = self.recoveries.get(&file).is_some_and(|recovery| {
            recovery.sealing && recovery.block == replica.block && recovery.stamp == replica.stamp
        });
        if sealed {
            self.recoveries.remove(&file);
            self.commit(Edit::Block {
                file,
                block: block.id,
                stamp: replica.stamp,
                length: replica.length,
                committed: true,
            });
            self.close_recovered(file);
        }
    }

    fn close_recovered(&mut self, file: u64) {
        self.commit(Edit::Close { file, time: now() });
        tracing::info!(path = self.tree.path(file), "lease recovered");
    }

    /// Closes a file whose writer is gone: true when it is closed, false while that is under way.
    pub(crate) fn recover_lease(&mut self, path: &str) -> Result<bool, Exception> {
        self.writable(&format!("recover the lease of {path}"))?;
        let inode = self.find(path)?;
        let file = inode.id;
        let content = inode.file().ok_or_else(|| {
            Exception::new(
                "java.io.FileNotFoundException",
                format!("Path is not a file: {path}"),
            )
        })?;
        if content.holder.is_none() {
            return Ok(true);
        }
        let last = content.blocks.last().copied();
        if let Some(recovery) = self.recoveries.get(&file)
            && recovery.moved.elapsed() < DEAD_AFTER
        {
            return Ok(false);
        }
        let Some(last) = last.filter(|last| !self.is_complete(last)) else {
            self.close_recovered(file);
            return Ok(true);
        };
        let holders = self.holders.get(&last.id).cloned().unwrap_or_default();
        if holders.is_empty() && last.length == 0 {
            // As far as anybody knows, nothing was ever written to it.
            self.commit(Edit::DropBlock {
                file,
                block: last.id,
            });
            self.close_recovered(file);
            return Ok(true);
        }
        self.begin_recovery(file, last.id, holders);
        Ok(false)
    }

    /// Shuts out the old writer, and has those that live freeze the block.
    fn begin_recovery(&mut self, file: u64, block: u64, holders: Vec<Holder>) {
        let holders: Vec<String> = holders
            .into_iter()
            .map(|holder| holder.node)
            .filter(|node| self.nodes.get(node).is_some_and(Node::alive))
            .collect();
        let stamp = self.tree.last_stamp + 1;
        if !holders.is_empty()
            || self
                .tree
                .get(file)
                .and_then(Inode::file)
                .is_some_and(|content| content.holder.as_deref() != Some(RECOVERER))
        {
            // From here on the old writer is refused, whether or not a DataNode can be asked yet.
            self.commit(Edit::Recover { file, stamp });
        }
        if holders.is_empty() {
            return;
        }
        let mut found = BTreeMap::new();
        for holder in holders {
            let Some(node) = self.nodes.get_mut(&holder) else {
                continue;
            };
            node.orders.freeze.push(link::Recovery {
                block,
                stamp,
                ..link::Recovery::default()
            });
            found.insert(holder, None);
        }
        self.recoveries.insert(
            file,
            Recovery {
                block,
                stamp,
                found,
                sealing: false,
                moved: Instant::now(),
            },
        );
    }

    /// Takes down what a DataNode has found of a frozen block.
    fn frozen(&mut self, uuid: &str, told: &link::Recovery) {
        let recovery = self
            .recoveries
            .values_mut()
            .find(|recovery| recovery.block == told.block && recovery.stamp == told.stamp);
        if let Some(found) = recovery.and_then(|recovery| recovery.found.get_mut(uuid)) {
            *found = Some((told.state(), told.length));
        }
    }

    /// Decides on a recovery when all that live have told.
    fn go_on(&mut self, file: u64) {
        let Some(recovery) = self.recoveries.get(&file) else {
            return;
        };
        let deleted = self
            .tree
            .get(file)
            .and_then(Inode::file)
            .is_none_or(|content| content.holder.as_deref() != Some(RECOVERER));
        if deleted || recovery.moved.elapsed() >= DEAD_AFTER {
            self.recoveries.remove(&file);
            return;
        }
        let waits = recovery
            .found
            .iter()
            .any(|(uuid, found)| found.is_none() && self.nodes.get(uuid).is_some_and(Node::alive));
        if recovery.sealing || waits || recovery.found.is_empty() {
            return;
        }
        let there: Vec<(&String, ReplicaState, u64)> = recovery
            .found
            .iter()
            .filter_map(|(uuid, found)| found.map(|(state, length)| (uuid, state, length)))
            .filter(|(_, state, _)| *state != ReplicaState::Absent)
            .collect();
        // The states are numbered from the best to the worst.
        let best = there.iter().map(|(_, state, _)| *state).min();
        let best: Vec<_> = there
            .into_iter()
            .filter(|(_, state, _)| Some(*state) == best)
            .collect();
        let length = best.iter().map(|(_, _, length)| *length).min().unwrap_or(0);
        let (block, stamp) = (recovery.block, recovery.stamp);
        if length == 0 {
            let told = |holder: &Holder| holder.told && !recovery.found.contains_key(&holder.node);
            let awaited = self
                .holders
                .get(&block)
                .is_some_and(|holders| holders.iter().any(told));
            self.recoveries.remove(&file);
            if !awaited {
                self.commit(Edit::DropBlock { file, block });
                self.close_recovered(file);
            }
            return;
        }
        let keepers: Vec<String> = best.into_iter().map(|(uuid, ..)| uuid.clone()).collect();
        for uuid in keepers {
            if let Some(node) = self.nodes.get_mut(&uuid) {
                node.orders.seal.push(link::Recovery {
                    block,
                    stamp,
                    length,
                    ..link::Recovery::default()
                });
            }
        }
        if let Some(recovery) = self.recoveries.get_mut(&file) {
            recovery.sealing = true;
            recovery.moved = Instant::now();
        }
    }
}
