//! Calls about names: look, list, make, move, delete, change.

use std::ops::Bound;

use flume_bench_hadoop::client_protocol::{
    DeleteRequest, GetListingRequest, MkdirsRequest, Rename2Request, RenameRequest,
};
use flume_bench_hadoop::common::{
    ContentSummary, DirectoryListing, FileType, FsPermission, HdfsFileStatus,
};

use super::edits::{Attributes, Edit};
use super::state::{State, now};
use super::tree::{Inode, Kind, ROOT, parts};
use crate::ipc::Exception;

/// Entries in one answer to a listing.
const PAGE: usize = 1000;

/// Most bytes and names of a path that something is made at, as in Hadoop. A directory takes much more
/// memory than its name.
const MAX_PATH: usize = 8000;
const MAX_DEPTH: usize = 1000;

impl State {
    /// What is at a path.
    pub(crate) fn find(&self, path: &str) -> Result<&Inode, Exception> {
        self.tree.at(path).ok_or_else(|| Exception::not_found(path))
    }

    /// The status of an inode; `name` is how the answer calls it: empty for the path that was asked for.
    pub(crate) fn status(&self, inode: &Inode, name: &str, located: bool) -> HdfsFileStatus {
        let mut status = HdfsFileStatus {
            file_type: FileType::IsDir as i32,
            path: name.as_bytes().to_vec(),
            permission: FsPermission { perm: inode.perm },
            owner: inode.owner.clone(),
            group: inode.group.clone(),
            modification_time: inode.mtime,
            access_time: inode.atime,
            file_id: Some(inode.id),
            children_num: Some(inode.entries().map_or(0, |entries| entries.len() as i32)),
            storage_policy: Some(0),
            ..HdfsFileStatus::default()
        };
        if let Kind::File(content) = &inode.kind {
            status.file_type = FileType::IsFile as i32;
            status.length = content.length();
            status.block_replication = Some(content.replication);
            status.blocksize = Some(content.block_size);
            status.locations = located.then(|| self.located(content, 0, u64::MAX));
        }
        status
    }

    pub(crate) fn file_info(&self, path: &str, located: bool) -> Option<HdfsFileStatus> {
        self.tree
            .at(path)
            .map(|inode| self.status(inode, "", located))
    }

    /// A part of a listing: the entries after a name. Nothing if the path does not exist.
    pub(crate) fn list(&self, request: &GetListingRequest) -> Option<DirectoryListing> {
        let inode = self.tree.at(&request.src)?;
        let Some(entries) = inode.entries() else {
            let only = self.status(inode, "", request.need_location);
            return Some(DirectoryListing {
                partial_listing: vec![only],
                remaining_entries: 0,
            });
        };
        let after = String::from_utf8_lossy(&request.start_after).into_owned();
        let from = if after.is_empty() {
            Bound::Unbounded
        } else {
            Bound::Excluded(after)
        };
        let mut rest = entries.range((from, Bound::Unbounded));
        let page = rest.by_ref().take(PAGE).filter_map(|(name, id)| {
            Some(self.status(self.tree.get(*id)?, name, request.need_location))
        });
        let partial_listing = page.collect();
        Some(DirectoryListing {
            partial_listing,
            remaining_entries: rest.count() as u32,
        })
    }

    /// Checks a path's form, and returns the directory and the last name.
    pub(crate) fn split<'a>(&self, path: &'a str) -> Result<(&'a str, &'a str), Exception> {
        if path.len() > MAX_PATH || parts(path).count() > MAX_DEPTH {
            return Err(Exception::io(format!(
                "Pathname too long. Limit {MAX_PATH} characters, {MAX_DEPTH} levels."
            )));
        }
        let bad = !path.starts_with('/')
            || parts(path).any(|part| part == "." || part == ".." || part.contains(':'));
        let path = path.trim_end_matches('/');
        match path.rsplit_once('/') {
            Some((parent, name)) if !bad => Ok((parent, name)),
            _ if bad => Err(Exception::new(
                "org.apache.hadoop.fs.InvalidPathException",
                format!("Invalid path name {path}"),
            )),
            _ => Ok(("", "")),
        }
    }

    /// The directory at a path; made, with those above it, where it is missing and `make` says how.
    pub(crate) fn directory(
        &mut self,
        path: &str,
        user: &str,
        make: Option<u32>,
    ) -> Result<u64, Exception> {
        let mut at = ROOT;
        for name in parts(path) {
            let entries = self.tree.get(at).and_then(Inode::entries);
            let Some(entries) = entries else {
                let file = self.tree.path(at);
                return Err(Exception::new(
                    "org.apache.hadoop.fs.ParentNotDirectoryException",
                    format!("{file} (is not a directory)"),
                ));
            };
            at = match (entries.get(name), make) {
                (Some(id), _) => *id,
                (None, None) => {
                    return Err(Exception::new(
                        "java.io.FileNotFoundException",
                        format!("Parent directory doesn't exist: {path}"),
                    ));
                }
                (None, Some(perm)) => {
                    let id = self.tree.last_id + 1;
                    self.commit(Edit::Mkdir {
                        parent: at,
                        name: name.to_owned(),
                        id,
                        perm,
                        user: user.to_owned(),
                        time: now(),
                    });
                    id
                }
            };
        }
        match self.tree.get(at).and_then(Inode::entries) {
            Some(_) => Ok(at),
            None => Err(Exception::new(
                "org.apache.hadoop.fs.ParentNotDirectoryException",
                format!("{path} (is not a directory)"),
            )),
        }
    }

    pub(crate) fn mkdirs(
        &mut self,
        request: &MkdirsRequest,
        user: &str,
    ) -> Result<bool, Exception> {
        let path = &request.src;
        let (parent, _) = self.split(path)?;
        match self.tree.at(path).map(|inode| inode.file().is_some()) {
            Some(false) => return Ok(true),
            Some(true) => {
                let taken = format!("Path is not a directory: {path}");
                return Err(Exception::new(
                    "org.apache.hadoop.fs.FileAlreadyExistsException",
                    taken,
                ));
            }
            None => self.writable(&format!("create directory {path}"))?,
        }
        if !request.create_parent {
            self.directory(parent, user, None)?;
        }
        self.directory(path, user, Some(request.masked.perm))
            .map(|_| true)
    }

    pub(crate) fn delete(
        &mut self,
        request: &DeleteRequest,
        call: String,
    ) -> Result<bool, Exception> {
        if self.tree.knows_call(&call) {
            return Ok(true);
        }
        self.writable(&format!("delete {}", request.src))?;
        let Some(inode) = self.tree.at(&request.src).filter(|inode| inode.id != ROOT) else {
            return Ok(false);
        };
        if !request.recursive && inode.entries().is_some_and(|entries| !entries.is_empty()) {
            let why = format!("{} is non empty': Directory is not empty", request.src);
            return Err(Exception::new(
                "org.apache.hadoop.fs.PathIsNotEmptyDirectoryException",
                format!("`{why}"),
            ));
        }
        let id = inode.id;
        self.commit(Edit::Delete {
            id,
            time: now(),
            call,
        });
        Ok(true)
    }

    /// The rename that says no where something is in its way, and moves *into* a directory that exists.
    pub(crate) fn rename(
        &mut self,
        request: &RenameRequest,
        call: String,
    ) -> Result<bool, Exception> {
        if self.tree.knows_call(&call) {
            return Ok(true);
        }
        self.writable(&format!("rename {}", request.src))?;
        let Some(from) = self.tree.at(&request.src) else {
            return Ok(false);
        };
        let (id, own_name) = (from.id, from.name.clone());
        let into = self
            .tree
            .at(&request.dst)
            .filter(|inode| inode.entries().is_some());
        let dst = match into {
            Some(into) if into.id != id => format!("{}/{own_name}", self.tree.path(into.id)),
            _ => request.dst.clone(),
        };
        if let Some(there) = self.tree.at(&dst) {
            // Onto itself is fine for a file, and changes nothing.
            return Ok(there.id == id && there.file().is_some());
        }
        let (parent, name) = self.split(&dst)?;
        let Some(parent) = self
            .tree
            .at(parent)
            .filter(|inode| inode.entries().is_some())
        else {
            return Ok(false);
        };
        if id == ROOT || self.tree.is_below(parent.id, id) {
            return Ok(false);
        }
        let edit = Edit::Rename {
            id,
            parent: parent.id,
            name: name.to_owned(),
            over: None,
            time: now(),
            call,
        };
        self.commit(edit);
        Ok(true)
    }

    /// The rename that says why not.
    pub(crate) fn rename2(
        &mut self,
        request: &Rename2Request,
        call: String,
    ) -> Result<(), Exception> {
        if self.tree.knows_call(&call) {
            return Ok(());
        }
        let (src, dst) = (&request.src, &request.dst);
        self.writable(&format!("rename {src}"))?;
        let from = self.tree.at(src).ok_or_else(|| {
            Exception::new(
                "java.io.FileNotFoundException",
                format!("rename source {src} is not found."),
            )
        })?;
        let id = from.id;
        let over = self.replaced(from, request)?;
        let (parent, name) = self.split(dst)?;
        let missing = || {
            Exception::new(
                "java.io.FileNotFoundException",
                format!("rename destination parent {dst} not found."),
            )
        };
        let parent = self.tree.at(parent).ok_or_else(missing)?;
        if parent.file().is_some() {
            return Err(Exception::new(
                "org.apache.hadoop.fs.ParentNotDirectoryException",
                format!("rename destination parent {dst} is a file."),
            ));
        }
        if id == ROOT || self.tree.is_below(parent.id, id) {
            return Err(Exception::io(format!(
                "Rename destination {dst} is a directory or file under source {src}"
            )));
        }
        let edit = Edit::Rename {
            id,
            parent: parent.id,
            name: name.to_owned(),
            over,
            time: now(),
            call,
        };
        self.commit(edit);
        Ok(())
    }

    /// What the rename of `from` replaces, if something is there that may be replaced.
    fn replaced(&self, from: &Inode, request: &Rename2Request) -> Result<Option<u64>, Exception> {
        let (src, dst) = (&request.src, &request.dst);
        let Some(there) = self.tree.at(dst) else {
            return Ok(None);
        };
        let taken =
            |why: String| Exception::new("org.apache.hadoop.fs.FileAlreadyExistsException", why);
        if there.id == from.id {
            return Err(taken(format!(
                "The source {src} and destination {dst} are the same"
            )));
        }
        if there.file().is_some() != from.file().is_some() {
            return Err(Exception::io(format!(
                "Source {src} and destination {dst} must both be files or both be directories"
            )));
        }
        if !request.overwrite_dest {
            return Err(taken(format!("rename destination {dst} already exists")));
        }
        if there.entries().is_some_and(|entries| !entries.is_empty()) {
            return Err(Exception::io(format!(
                "rename destination directory is not empty: {dst}"
            )));
        }
        Ok(Some(there.id))
    }

    /// Changes attributes of what is at a path.
    pub(crate) fn change(&mut self, path: &str, new: Attributes) -> Result<(), Exception> {
        self.writable(&format!("set attributes of {path}"))?;
        let id = self.find(path)?.id;
        self.commit(Edit::Attributes(Attributes { id, ..new }));
        Ok(())
    }

    pub(crate) fn summary(&self, path: &str) -> Result<ContentSummary, Exception> {
        let mut sum = ContentSummary {
            quota: u64::MAX,
            space_quota: u64::MAX,
            ..ContentSummary::default()
        };
        let mut waiting = vec![self.find(path)?];
        while let Some(inode) = waiting.pop() {
            match &inode.kind {
                Kind::Directory(entries) => {
                    sum.directory_count += 1;
                    waiting.extend(entries.values().filter_map(|id| self.tree.get(*id)));
                }
                Kind::File(content) => {
                    sum.file_count += 1;
                    let length = content.length();
                    let space = length.saturating_mul(content.replication.into());
                    sum.length = sum.length.saturating_add(length);
                    sum.space_consumed = sum.space_consumed.saturating_add(space);
                }
            }
        }
        Ok(sum)
    }
}
