//! Calls about open files: create, blocks, lengths, close; and where blocks are.
//!
//! A call goes by the file's number where the client gives one, so that a file renamed while it is open can
//! still be written and closed, as with Hadoop.

use flume_bench_hadoop::client_protocol::{
    AbandonBlockRequest, AddBlockRequest, CompleteRequest, CreateFlag, CreateRequest, FsyncRequest,
    GetAdditionalDatanodeRequest, UpdateBlockForPipelineRequest, UpdatePipelineRequest,
};
use flume_bench_hadoop::common::{
    DatanodeInfo, ExtendedBlock, HdfsFileStatus, LocatedBlock, LocatedBlocks, StorageType,
};

use super::edits::{Create, Edit};
use super::state::{Holder, Node, State, now};
use super::tree::{Block, Content, Inode, total};
use crate::ipc::Exception;
use crate::link::ReplicaState;

/// Least size of a block, bytes: Hadoop's default.
const MIN_BLOCK: u64 = 1 << 20;

impl State {
    pub(crate) fn create(
        &mut self,
        request: &CreateRequest,
        user: &str,
        call: String,
    ) -> Result<HdfsFileStatus, Exception> {
        let path = &request.src;
        if self.tree.knows_call(&call)
            && let Some(status) = self.file_info(path, false)
        {
            return Ok(status);
        }
        let (parent, name) = self.split(path)?;
        self.writable(&format!("create file{path}"))?;
        if request.block_size < MIN_BLOCK {
            return Err(Exception::io(format!(
                "Specified block size is less than configured minimum value (dfs.namenode.fs-limits.min-block-size): {} < {MIN_BLOCK}",
                request.block_size
            )));
        }
        let has = |flag: CreateFlag| request.create_flag & flag as u32 != 0;
        let over = match self.tree.at(path) {
            Some(there) => Some(giving_way(
                there,
                path,
                &request.client_name,
                has(CreateFlag::Overwrite),
            )?),
            None if has(CreateFlag::Create) => None,
            None => {
                return Err(Exception::new(
                    "java.io.FileNotFoundException",
                    format!("Can't overwrite non-existent {path} for client"),
                ));
            }
        };
        // Directories that are made on the way let the owner in, as Hadoop has it.
        let make = request.create_parent.then_some(request.masked.perm | 0o300);
        let parent = self.directory(parent, user, make)?;
        let id = self.tree.last_id + 1;
        self.commit(Edit::Create(Box::new(Create {
            parent,
            name: name.to_owned(),
            id,
            perm: request.masked.perm,
            user: user.to_owned(),
            holder: request.client_name.clone(),
            replication: request.replication.max(1),
            block_size: request.block_size,
            time: now(),
            over,
            call,
        })));
        self.file_info(path, false)
            .ok_or_else(|| Exception::not_found(path))
    }

    /// The file that a client writes.
    fn leased(
        &self,
        path: &str,
        id: Option<u64>,
        holder: &str,
    ) -> Result<(&Inode, &Content), Exception> {
        let expired = |why: String| {
            Exception::new(
                "org.apache.hadoop.hdfs.server.namenode.LeaseExpiredException",
                why,
            )
        };
        let inode = match id.filter(|id| *id != 0) {
            Some(id) => self.tree.get(id),
            None => self.tree.at(path),
        };
        let missing = || {
            Exception::new(
                "java.io.FileNotFoundException",
                format!(
                    "File does not exist: {path} (inode {}) Holder {holder} does not have any open files.",
                    id.unwrap_or(0)
                ),
            )
        };
        let inode = inode.ok_or_else(missing)?;
        let content = inode
            .file()
            .ok_or_else(|| expired(format!("INode is not a regular file: {path}")))?;
        match &content.holder {
            None => Err(expired(format!(
                "File is not open for writing: {path} (inode {}) Holder {holder} does not have any open files.",
                inode.id
            ))),
            Some(other) if other != holder => Err(expired(format!(
                "Client (={holder}) is not the lease owner (={other}: {path} (inode {}))",
                inode.id
            ))),
            Some(_) => Ok((inode, content)),
        }
    }

    /// Takes down what a writer says of its last block.
    fn commit_last(&mut self, file: u64, blocks: &[Block], told: &ExtendedBlock) {
        let length = told.num_bytes();
        if let Some(last) = blocks
            .last()
            .filter(|last| last.id == told.block_id && !last.committed)
        {
            self.commit(Edit::Block {
                file,
                block: last.id,
                stamp: told.generation_stamp.max(last.stamp),
                length,
                committed: true,
            });
        }
    }

    pub(crate) fn add_block(
        &mut self,
        request: &AddBlockRequest,
    ) -> Result<LocatedBlock, Exception> {
        let path = &request.src;
        self.writable(&format!("add block to {path}"))?;
        let (inode, content) = self.leased(path, request.file_id, &request.client_name)?;
        let (file, blocks) = (inode.id, content.blocks.clone());
        let last = blocks.last();
        let previous = request.previous.as_ref().map(|block| block.block_id);
        if previous != last.map(|block| block.id) {
            let before = blocks.len().checked_sub(2).map(|at| blocks[at].id);
            return match last {
                // The answer to the first request was lost.
                Some(last) if previous == before && last.length == 0 && !last.committed => {
                    Ok(self.located_block(last, offset_of(&blocks, last.id)))
                }
                Some(last) if previous == before => Err(Exception::io(format!(
                    "Request looked like a retry to allocate block blk_{} but it already contains {} bytes",
                    last.id, last.length
                ))),
                _ => Err(Exception::io(format!(
                    "Cannot allocate block in {path}: passed 'previous' block {previous:?} does not match actual last block in file"
                ))),
            };
        }
        let earlier = blocks.len().saturating_sub(1);
        if !blocks[..earlier]
            .iter()
            .all(|block| self.is_complete(block) || self.unreported.contains(&block.id))
        {
            return Err(Exception::new(
                "org.apache.hadoop.hdfs.server.namenode.NotReplicatedYetException",
                format!("Not replicated yet: {path}"),
            ));
        }
        let wanted = content.replication as usize;
        let targets = self.place(path, wanted, &request.exclude_nodes)?;
        if let Some(previous) = &request.previous {
            self.commit_last(file, &blocks, previous);
        }
        let (block, stamp) = (self.tree.last_block + 1, self.tree.last_stamp + 1);
        self.commit(Edit::AddBlock { file, block, stamp });
        self.expect(block, stamp, &targets);
        let offset = self
            .tree
            .get(file)
            .and_then(Inode::file)
            .map_or(0, Content::length);
        let block = Block {
            id: block,
            stamp,
            length: 0,
            committed: false,
        };
        Ok(self.located_block(&block, offset))
    }

    /// Notes who is going to have a block.
    fn expect(&mut self, block: u64, stamp: u64, nodes: &[String]) {
        let holder = |node: &String| Holder {
            node: node.clone(),
            stamp,
            length: 0,
            state: ReplicaState::Rbw,
            told: false,
        };
        self.holders
            .insert(block, nodes.iter().map(holder).collect());
    }

    /// Chooses up to `wanted` DataNodes that live and are not excluded, in turns.
    fn place(
        &mut self,
        path: &str,
        wanted: usize,
        excluded: &[DatanodeInfo],
    ) -> Result<Vec<String>, Exception> {
        let is_excluded = |node: &Node| {
            excluded
                .iter()
                .any(|other| other.id.datanode_uuid == node.id.datanode_uuid)
        };
        let running = self.live().count();
        let able: Vec<String> = self
            .live()
            .filter(|node| !is_excluded(node))
            .map(|node| node.id.datanode_uuid.clone())
            .collect();
        if able.is_empty() {
            let out = if excluded.is_empty() {
                "no".to_owned()
            } else {
                excluded.len().to_string()
            };
            return Err(Exception::io(format!(
                "File {path} could only be written to 0 of the 1 minReplication nodes. There are {running} datanode(s) running and {out} node(s) are excluded in this operation."
            )));
        }
        self.turn = self.turn.wrapping_add(1);
        let from = self.turn % able.len();
        Ok((0..wanted.min(able.len()))
            .map(|step| able[(from + step) % able.len()].clone())
            .collect())
    }

    pub(crate) fn abandon_block(&mut self, request: &AbandonBlockRequest) -> Result<(), Exception> {
        self.writable(&format!("abandon block of {}", request.src))?;
        let (inode, content) = self.leased(&request.src, request.file_id, &request.holder)?;
        let (file, last) = (inode.id, content.blocks.last().copied());
        if let Some(last) = last.filter(|last| last.id == request.b.block_id) {
            self.commit(Edit::DropBlock {
                file,
                block: last.id,
            });
        }
        Ok(())
    }

    /// Ends a file; false while its blocks are not reported.
    pub(crate) fn complete(&mut self, request: &CompleteRequest) -> Result<bool, Exception> {
        self.writable(&format!("complete file {}", request.src))?;
        let (file, blocks) = match self.leased(&request.src, request.file_id, &request.client_name)
        {
            Ok((inode, content)) => (inode.id, content.blocks.clone()),
            Err(refused) => return self.was_completed(request).then_some(true).ok_or(refused),
        };
        match (&request.last, blocks.last()) {
            (Some(told), Some(last)) if told.block_id != last.id => {
                return Err(Exception::io(format!(
                    "Commit or complete block blk_{} whereas the last block of {} is blk_{}",
                    told.block_id, request.src, last.id
                )));
            }
            (Some(told), _) => self.commit_last(file, &blocks, told),
            (None, Some(last)) if !last.committed => {
                return Err(Exception::io(format!(
                    "The last block of {} was not named",
                    request.src
                )));
            }
            (None, _) => {}
        }
        let done = self
            .tree
            .get(file)
            .and_then(Inode::file)
            .is_some_and(|content| content.blocks.iter().all(|block| self.is_complete(block)));
        if done {
            self.commit(Edit::Close { file, time: now() });
        }
        Ok(done)
    }

    /// Whether a request to end a file is a repetition of one that was carried out.
    fn was_completed(&self, request: &CompleteRequest) -> bool {
        let inode = match request.file_id.filter(|id| *id != 0) {
            Some(id) => self.tree.get(id),
            None => self.tree.at(&request.src),
        };
        let closed = inode
            .and_then(Inode::file)
            .filter(|content| content.holder.is_none());
        closed.is_some_and(|content| match (&request.last, content.blocks.last()) {
            (Some(told), Some(last)) => {
                told.block_id == last.id && told.generation_stamp == last.stamp
            }
            (None, None) => true,
            _ => false,
        })
    }

    pub(crate) fn fsync(&mut self, request: &FsyncRequest) -> Result<(), Exception> {
        self.writable(&format!("fsync file {}", request.src))?;
        let (inode, content) = self.leased(&request.src, request.file_id, &request.client)?;
        let (file, last) = (inode.id, content.blocks.last().copied());
        let length = request
            .last_block_length
            .and_then(|length| u64::try_from(length).ok())
            .filter(|length| *length > 0);
        if let (Some(last), Some(length)) = (last.filter(|last| !last.committed), length) {
            self.commit(Edit::Block {
                file,
                block: last.id,
                stamp: last.stamp,
                length,
                committed: false,
            });
        }
        Ok(())
    }

    /// The open block of a client, with its file.
    fn open_block(&self, told: &ExtendedBlock, holder: &str) -> Result<(u64, Block), Exception> {
        let inode = self.tree.owner(told.block_id).ok_or_else(|| {
            Exception::io(format!(
                "blk_{} does not exist or is not under construction",
                told.block_id
            ))
        })?;
        let path = self.tree.path(inode.id);
        let (inode, content) = self.leased(&path, Some(inode.id), holder)?;
        match content
            .blocks
            .last()
            .filter(|last| last.id == told.block_id && !last.committed)
        {
            Some(block) => Ok((inode.id, *block)),
            None => Err(Exception::io(format!(
                "blk_{} of {path} is not under construction",
                told.block_id
            ))),
        }
    }

    pub(crate) fn update_block_for_pipeline(
        &mut self,
        request: &UpdateBlockForPipelineRequest,
    ) -> Result<LocatedBlock, Exception> {
        self.writable("get a new generation stamp")?;
        let (_, mut block) = self.open_block(&request.block, &request.client_name)?;
        let stamp = self.tree.last_stamp + 1;
        self.commit(Edit::Stamp { stamp });
        block.stamp = stamp;
        block.length = request.block.num_bytes();
        let mut located = self.located_block(&block, 0);
        (
            located.locs,
            located.storage_ids,
            located.storage_types,
            located.is_cached,
        ) = Default::default();
        Ok(located)
    }

    pub(crate) fn update_pipeline(
        &mut self,
        request: &UpdatePipelineRequest,
    ) -> Result<(), Exception> {
        self.writable("update a pipeline")?;
        let (file, block) = self.open_block(&request.old_block, &request.client_name)?;
        let new = &request.new_block;
        if new.generation_stamp <= block.stamp || new.num_bytes() < block.length {
            return Err(Exception::io(format!(
                "Update of blk_{} from stamp {} and {} bytes to stamp {} and {} bytes is refused",
                block.id,
                block.stamp,
                block.length,
                new.generation_stamp,
                new.num_bytes()
            )));
        }
        self.commit(Edit::Block {
            file,
            block: block.id,
            stamp: new.generation_stamp,
            length: new.num_bytes(),
            committed: false,
        });
        let nodes: Vec<String> = request
            .new_nodes
            .iter()
            .map(|node| node.datanode_uuid.clone())
            .collect();
        self.expect(block.id, new.generation_stamp, &nodes);
        Ok(())
    }

    pub(crate) fn additional_datanode(
        &mut self,
        request: &GetAdditionalDatanodeRequest,
    ) -> Result<LocatedBlock, Exception> {
        self.writable(&format!("find another DataNode for {}", request.src))?;
        let (_, block) = self.open_block(&request.blk, &request.client_name)?;
        let excluded = [request.existings.as_slice(), &request.excludes].concat();
        let found = self
            .place(
                &request.src,
                request.num_additional_nodes as usize,
                &excluded,
            )
            .unwrap_or_default();
        let mut located = self.located_block(&block, 0);
        let found: Vec<&Node> = found
            .iter()
            .filter_map(|node| self.nodes.get(node))
            .collect();
        located.locs = request
            .existings
            .iter()
            .cloned()
            .chain(found.iter().map(|node| node.info()))
            .collect();
        located.storage_ids = request
            .existing_storage_uuids
            .iter()
            .cloned()
            .chain(found.iter().map(|node| node.storage()))
            .collect();
        located.storage_types = vec![StorageType::Disk as i32; located.locs.len()];
        located.is_cached = vec![false; located.locs.len()];
        Ok(located)
    }

    /// A block and who has it. Of a block that is being written those count that are expected to, dead or
    /// alive, for nobody has told yet who does.
    pub(crate) fn located_block(&self, block: &Block, offset: u64) -> LocatedBlock {
        let complete = self.is_complete(block);
        let counts = |holder: &&Holder| {
            !complete || holder.state == ReplicaState::Finalized && holder.stamp == block.stamp
        };
        let holders = self
            .holders
            .get(&block.id)
            .into_iter()
            .flatten()
            .filter(counts);
        let nodes: Vec<&Node> = holders
            .filter_map(|holder| self.nodes.get(&holder.node))
            .filter(|node| !complete || node.alive())
            .collect();
        LocatedBlock {
            b: ExtendedBlock {
                pool_id: self.tree.pool.clone(),
                block_id: block.id,
                generation_stamp: block.stamp,
                num_bytes: Some(block.length),
            },
            offset,
            locs: nodes.iter().map(|node| node.info()).collect(),
            corrupt: false,
            is_cached: vec![false; nodes.len()],
            storage_types: vec![StorageType::Disk as i32; nodes.len()],
            storage_ids: nodes.iter().map(|node| node.storage()).collect(),
            ..LocatedBlock::default()
        }
    }

    /// The blocks of a part of a file. The length leaves out a last block that is still being written: the
    /// DataNodes know better.
    pub(crate) fn located(&self, content: &Content, offset: u64, length: u64) -> LocatedBlocks {
        let open = content.holder.is_some();
        let mut blocks = Vec::new();
        let mut at = 0_u64;
        for block in &content.blocks {
            let end = at.saturating_add(block.length);
            if at < offset.saturating_add(length) && (end > offset || at >= offset) {
                blocks.push(self.located_block(block, at));
            }
            at = end;
        }
        let last = content.blocks.last();
        let last_is_complete = last.is_none_or(|last| !open || self.is_complete(last));
        let behind = last
            .filter(|_| !last_is_complete)
            .map_or(0, |last| last.length);
        LocatedBlocks {
            file_length: at - behind,
            blocks,
            under_construction: open,
            last_block: last.map(|last| self.located_block(last, at - last.length)),
            is_last_block_complete: last_is_complete,
        }
    }

    pub(crate) fn block_locations(
        &self,
        path: &str,
        offset: u64,
        length: u64,
    ) -> Result<LocatedBlocks, Exception> {
        let inode = self.find(path)?;
        let content = inode.file().ok_or_else(|| {
            Exception::new(
                "java.io.FileNotFoundException",
                format!("Path is not a file: {path}"),
            )
        })?;
        let located = self.located(content, offset, length);
        if self.in_safe_mode() && located.blocks.iter().any(|block| block.locs.is_empty()) {
            return Err(self.safe_mode(&format!("locate blocks: Zero blocklocations for {path}")));
        }
        Ok(located)
    }
}

/// The number of a file that gives way to a new one, or why it does not.
fn giving_way(there: &Inode, path: &str, client: &str, overwrite: bool) -> Result<u64, Exception> {
    let taken = |why: String| {
        Err(Exception::new(
            "org.apache.hadoop.fs.FileAlreadyExistsException",
            why,
        ))
    };
    let Some(content) = there.file() else {
        return taken(format!("{path} already exists as a directory"));
    };
    match &content.holder {
        _ if overwrite => Ok(there.id),
        Some(holder) => {
            let why = if holder == client {
                "because current leaseholder is trying to recreate file".to_owned()
            } else {
                format!("because this file lease is currently owned by {holder}")
            };
            Err(Exception::hdfs(
                "AlreadyBeingCreatedException",
                format!("Failed to CREATE_FILE {path} for {client} {why}"),
            ))
        }
        None => taken(format!("{path} for client {client} already exists")),
    }
}

/// Where a block begins within its file.
fn offset_of(blocks: &[Block], id: u64) -> u64 {
    total(blocks.iter().take_while(|block| block.id != id))
}
