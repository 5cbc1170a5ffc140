//! The namespace: directories and files under numbers that a rename keeps, and the blocks of files.
//!
//! It changes by edits only, so that a replay of the log makes the same tree. Whoever makes an edit has
//! checked that it is possible; an edit that is not, from a damaged log, changes nothing.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use super::edits::{Attributes, Create, Edit};

/// Number of the root, as in Hadoop.
pub(crate) const ROOT: u64 = 16385;

/// Holder of a lease that is being recovered.
pub(crate) const RECOVERER: &str = "HDFS_NameNode";

/// How many calls that were carried out are remembered.
const MAX_CALLS: usize = 65_536;

/// A block of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) id: u64,
    pub(crate) stamp: u64,
    /// Bytes, as far as the writer has told.
    pub(crate) length: u64,
    /// The writer has ended it.
    pub(crate) committed: bool,
}

/// A file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Content {
    pub(crate) replication: u32,
    pub(crate) block_size: u64,
    pub(crate) blocks: Vec<Block>,
    /// Who has the lease, while the file is open.
    pub(crate) holder: Option<String>,
}

impl Content {
    pub(crate) fn length(&self) -> u64 {
        total(&self.blocks)
    }
}

/// Bytes of all these blocks. Writers tell the lengths, and may tell any.
pub(crate) fn total<'a>(blocks: impl IntoIterator<Item = &'a Block>) -> u64 {
    let lengths = blocks.into_iter().map(|block| block.length);
    lengths.fold(0, u64::saturating_add)
}

/// What an inode is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Directory(BTreeMap<String, u64>),
    File(Content),
}

/// A file or directory.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Inode {
    pub(crate) id: u64,
    pub(crate) parent: u64,
    pub(crate) name: String,
    pub(crate) perm: u32,
    pub(crate) owner: String,
    pub(crate) group: String,
    pub(crate) mtime: u64,
    pub(crate) atime: u64,
    pub(crate) kind: Kind,
}

impl Inode {
    pub(crate) fn file(&self) -> Option<&Content> {
        match &self.kind {
            Kind::File(content) => Some(content),
            Kind::Directory(_) => None,
        }
    }

    pub(crate) fn entries(&self) -> Option<&BTreeMap<String, u64>> {
        match &self.kind {
            Kind::Directory(entries) => Some(entries),
            Kind::File(_) => None,
        }
    }
}

/// The namespace.
#[derive(Debug, PartialEq)]
pub(crate) struct Tree {
    pub(crate) pool: String,
    inodes: HashMap<u64, Inode>,
    /// The file of each block.
    owners: HashMap<u64, u64>,
    pub(crate) last_id: u64,
    pub(crate) last_block: u64,
    pub(crate) last_stamp: u64,
    calls: HashSet<String>,
    calls_in_order: VecDeque<String>,
}

impl Default for Tree {
    fn default() -> Self {
        let root = Inode {
            id: ROOT,
            parent: ROOT,
            name: String::new(),
            perm: 0o755,
            owner: "hdfs".into(),
            group: GROUP.into(),
            mtime: 0,
            atime: 0,
            kind: Kind::Directory(BTreeMap::new()),
        };
        Self {
            pool: String::new(),
            inodes: [(ROOT, root)].into(),
            owners: HashMap::new(),
            last_id: ROOT,
            // Where Hadoop begins to count.
            last_block: 1 << 30,
            last_stamp: 1000,
            calls: HashSet::new(),
            calls_in_order: VecDeque::new(),
        }
    }
}

/// The group of everything.
const GROUP: &str = "supergroup";

impl Tree {
    pub(crate) fn get(&self, id: u64) -> Option<&Inode> {
        self.inodes.get(&id)
    }

    /// Every inode.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Inode> {
        self.inodes.values()
    }

    /// The file that a block belongs to.
    pub(crate) fn owner(&self, block: u64) -> Option<&Inode> {
        self.inodes.get(self.owners.get(&block)?)
    }

    /// What is at a path, which begins with a slash.
    pub(crate) fn at(&self, path: &str) -> Option<&Inode> {
        parts(path).try_fold(&self.inodes[&ROOT], |inode, name| {
            self.inodes.get(inode.entries()?.get(name)?)
        })
    }

    /// The path of an inode.
    pub(crate) fn path(&self, id: u64) -> String {
        let mut names = Vec::new();
        let mut at = self.inodes.get(&id);
        while let Some(inode) = at.filter(|inode| inode.id != ROOT) {
            names.push(inode.name.as_str());
            at = self.inodes.get(&inode.parent);
        }
        names
            .iter()
            .rev()
            .fold(String::new(), |path, name| path + "/" + name)
    }

    /// Whether `id` is `above` or lies below it.
    pub(crate) fn is_below(&self, id: u64, above: u64) -> bool {
        let mut at = id;
        while at != above && at != ROOT {
            at = self.inodes.get(&at).map_or(ROOT, |inode| inode.parent);
        }
        at == above
    }

    /// Whether a call, by the name its client gives it, was carried out already.
    pub(crate) fn knows_call(&self, call: &str) -> bool {
        self.calls.contains(call)
    }

    /// Carries out an edit. Returns the blocks that belong to nobody any more.
    pub(crate) fn apply(&mut self, edit: &Edit) -> Vec<Block> {
        match edit {
            Edit::Format { pool } => self.pool.clone_from(pool),
            Edit::Mkdir {
                parent,
                name,
                id,
                perm,
                user,
                time,
            } => {
                self.insert(
                    *parent,
                    name,
                    *id,
                    *perm,
                    user,
                    *time,
                    Kind::Directory(BTreeMap::new()),
                );
            }
            Edit::Create(create) => return self.create(create),
            Edit::Rename {
                id,
                parent,
                name,
                over,
                time,
                call,
            } => {
                let gone = over
                    .map(|over| self.remove(over, *time))
                    .unwrap_or_default();
                self.rename(*id, *parent, name, *time);
                self.remember(call);
                return gone;
            }
            Edit::Delete { id, time, call } => {
                self.remember(call);
                return self.remove(*id, *time);
            }
            Edit::Attributes(attributes) => self.change(attributes),
            Edit::AddBlock { .. }
            | Edit::Block { .. }
            | Edit::DropBlock { .. }
            | Edit::Stamp { .. }
            | Edit::Recover { .. }
            | Edit::Close { .. } => return self.apply_to_open(edit),
        }
        Vec::new()
    }

    /// Carries out an edit of a file that is open.
    fn apply_to_open(&mut self, edit: &Edit) -> Vec<Block> {
        match edit {
            Edit::AddBlock { file, block, stamp } => {
                self.last_block = self.last_block.max(*block);
                self.last_stamp = self.last_stamp.max(*stamp);
                self.owners.insert(*block, *file);
                if let Some(content) = self.content(*file) {
                    content.blocks.push(Block {
                        id: *block,
                        stamp: *stamp,
                        length: 0,
                        committed: false,
                    });
                }
            }
            Edit::Block {
                file,
                block,
                stamp,
                length,
                committed,
            } => {
                let known = Block {
                    id: *block,
                    stamp: *stamp,
                    length: *length,
                    committed: *committed,
                };
                let blocks = self.content(*file).map(|content| content.blocks.iter_mut());
                if let Some(found) = blocks
                    .into_iter()
                    .flatten()
                    .find(|found| found.id == *block)
                {
                    *found = known;
                }
            }
            Edit::DropBlock { file, block } => {
                self.owners.remove(block);
                if let Some(content) = self.content(*file) {
                    let dropped = content
                        .blocks
                        .iter()
                        .filter(|found| found.id == *block)
                        .copied()
                        .collect();
                    content.blocks.retain(|found| found.id != *block);
                    return dropped;
                }
            }
            Edit::Stamp { stamp } => self.last_stamp = self.last_stamp.max(*stamp),
            Edit::Recover { file, stamp } => {
                self.last_stamp = self.last_stamp.max(*stamp);
                if let Some(content) = self.content(*file) {
                    content.holder = Some(RECOVERER.to_owned());
                }
            }
            Edit::Close { file, time } => self.close(*file, *time),
            // The others are `apply`'s own.
            _ => {}
        }
        Vec::new()
    }

    fn close(&mut self, file: u64, time: u64) {
        if let Some(content) = self.content(file) {
            content.holder = None;
            for block in &mut content.blocks {
                block.committed = true;
            }
        }
        if let Some(inode) = self.inodes.get_mut(&file) {
            inode.mtime = time;
        }
    }

    fn create(&mut self, create: &Create) -> Vec<Block> {
        let gone = create
            .over
            .map(|over| self.remove(over, create.time))
            .unwrap_or_default();
        let content = Content {
            replication: create.replication,
            block_size: create.block_size,
            blocks: Vec::new(),
            holder: Some(create.holder.clone()),
        };
        self.insert(
            create.parent,
            &create.name,
            create.id,
            create.perm,
            &create.user,
            create.time,
            Kind::File(content),
        );
        self.remember(&create.call);
        gone
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "they are an inode's fields, and it is called twice"
    )]
    fn insert(
        &mut self,
        parent: u64,
        name: &str,
        id: u64,
        perm: u32,
        owner: &str,
        time: u64,
        kind: Kind,
    ) {
        self.last_id = self.last_id.max(id);
        if !self.link(parent, name, id, time) {
            return;
        }
        let atime = if matches!(kind, Kind::File(_)) {
            time
        } else {
            0
        };
        let inode = Inode {
            id,
            parent,
            name: name.to_owned(),
            perm,
            owner: owner.to_owned(),
            group: GROUP.into(),
            mtime: time,
            atime,
            kind,
        };
        self.inodes.insert(id, inode);
    }

    /// Enters a name into a directory; false if it is none.
    fn link(&mut self, parent: u64, name: &str, id: u64, time: u64) -> bool {
        let Some(Inode {
            kind: Kind::Directory(entries),
            mtime,
            ..
        }) = self.inodes.get_mut(&parent)
        else {
            return false;
        };
        entries.insert(name.to_owned(), id);
        *mtime = time;
        true
    }

    fn unlink(&mut self, id: u64, time: u64) {
        let Some((parent, name)) = self
            .inodes
            .get(&id)
            .map(|inode| (inode.parent, inode.name.clone()))
        else {
            return;
        };
        if let Some(Inode {
            kind: Kind::Directory(entries),
            mtime,
            ..
        }) = self.inodes.get_mut(&parent)
        {
            entries.remove(&name);
            *mtime = time;
        }
    }

    fn rename(&mut self, id: u64, parent: u64, name: &str, time: u64) {
        self.unlink(id, time);
        if self.link(parent, name, id, time)
            && let Some(inode) = self.inodes.get_mut(&id)
        {
            inode.parent = parent;
            name.clone_into(&mut inode.name);
        }
    }

    /// Removes an inode with all below it.
    fn remove(&mut self, id: u64, time: u64) -> Vec<Block> {
        self.unlink(id, time);
        let mut gone = Vec::new();
        let mut doomed = vec![id];
        while let Some(id) = doomed.pop() {
            match self.inodes.remove(&id).map(|inode| inode.kind) {
                Some(Kind::Directory(entries)) => doomed.extend(entries.into_values()),
                Some(Kind::File(content)) => gone.extend(content.blocks),
                None => {}
            }
        }
        for block in &gone {
            self.owners.remove(&block.id);
        }
        gone
    }

    fn change(&mut self, new: &Attributes) {
        let Some(inode) = self.inodes.get_mut(&new.id) else {
            return;
        };
        inode.perm = new.perm.unwrap_or(inode.perm);
        inode.mtime = new.mtime.unwrap_or(inode.mtime);
        inode.atime = new.atime.unwrap_or(inode.atime);
        if let Some(owner) = &new.owner {
            inode.owner.clone_from(owner);
        }
        if let Some(group) = &new.group {
            inode.group.clone_from(group);
        }
        if let (Kind::File(content), Some(replication)) = (&mut inode.kind, new.replication) {
            content.replication = replication;
        }
    }

    fn remember(&mut self, call: &str) {
        if call.is_empty() || !self.calls.insert(call.to_owned()) {
            return;
        }
        self.calls_in_order.push_back(call.to_owned());
        if self.calls_in_order.len() > MAX_CALLS
            && let Some(oldest) = self.calls_in_order.pop_front()
        {
            self.calls.remove(&oldest);
        }
    }

    fn content(&mut self, id: u64) -> Option<&mut Content> {
        match &mut self.inodes.get_mut(&id)?.kind {
            Kind::File(content) => Some(content),
            Kind::Directory(_) => None,
        }
    }
}

/// The names of a path.
pub(crate) fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty())
}
