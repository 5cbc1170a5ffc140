//! The DataNode's HTTP server: `OPEN` of WebHDFS, and `/fault`.
//!
//! The NameNode says where the blocks are; a block that is not here is read from another DataNode. Of an open
//! file all bytes are served that were acknowledged, whatever length the NameNode knows.
//!
//! Fails: `CannotObtainBlockLengthException` when no DataNode can tell how long the last block of an open
//! file is, `BlockMissingException` when none has a block.

use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use flume_bench_hadoop::client_protocol::{
    CLIENT_DATANODE_PROTOCOL, GetBlockLocationsRequest, GetBlockLocationsResponse,
    GetReplicaVisibleLengthRequest, GetReplicaVisibleLengthResponse,
};
use flume_bench_hadoop::common::{LocatedBlock, LocatedBlocks};
use serde_json::json;

use super::replica::Readable;
use super::send::Remote;
use super::{DataNode, visible_length};
use crate::http::{Reply, Request};
use crate::ipc::Exception;
use crate::ipc::client::Client;
use crate::lock;
use crate::namenode::{WEBHDFS, number};

const LIMIT: Duration = Duration::from_secs(4);

/// A part of a block, ready to be sent.
enum Part {
    Here(Readable, Range<u64>),
    There(Remote),
    /// To be looked for when it is its turn.
    Later(Box<LocatedBlock>, Range<u64>),
}

impl DataNode {
    pub(super) fn web(self: &Arc<Self>, request: &Request) -> Reply {
        let outcome = match request.path.as_str() {
            "/fault" => self
                .orders
                .take(&request.query)
                .map(|()| Reply::Json(200, json!({"taken": true})))
                .map_err(|why| Exception::new("java.lang.IllegalArgumentException", why)),
            path => match path.strip_prefix(WEBHDFS) {
                Some(path)
                    if path.starts_with('/')
                        && request
                            .get("op")
                            .is_some_and(|op| op.eq_ignore_ascii_case("open")) =>
                {
                    self.open(path, request)
                }
                _ => Err(Exception::new(
                    "java.lang.IllegalArgumentException",
                    format!("{path}: a DataNode serves op=OPEN"),
                )),
            },
        };
        outcome.unwrap_or_else(|refused| Reply::refusal(&refused))
    }

    fn open(self: &Arc<Self>, path: &str, request: &Request) -> Result<Reply, Exception> {
        let located = self.locate(path)?;
        let open_length = if located.is_last_block_complete {
            0
        } else {
            located
                .last_block
                .as_ref()
                .map_or(Ok(0), |block| self.length_of(block))?
        };
        let total = located.file_length.saturating_add(open_length);
        let offset = number(request, "offset")?.unwrap_or(0);
        if offset > total {
            return Err(Exception::new(
                "java.io.EOFException",
                format!("Cannot seek to {offset} of {path}, which has {total} bytes"),
            ));
        }
        let end = total.min(offset.saturating_add(number(request, "length")?.unwrap_or(u64::MAX)));
        let mut parts = Vec::new();
        for block in &located.blocks {
            let is_open = !located.is_last_block_complete && block.offset == located.file_length;
            let size = if is_open {
                open_length
            } else {
                block.b.num_bytes()
            };
            let from = offset.max(block.offset);
            let to = end.min(block.offset.saturating_add(size));
            if from < to {
                parts.push(Part::Later(
                    Box::new(block.clone()),
                    from - block.offset..to - block.offset,
                ));
            }
        }
        // Once the answer has begun an error can only cut it off, so the first part is looked for now.
        if let Some(Part::Later(block, range)) = parts.first() {
            let found = self.part(block, range.clone()).map_err(|why| {
                Exception::new(
                    "org.apache.hadoop.hdfs.BlockMissingException",
                    format!(
                        "Could not obtain block: {} blk_{} file={path}: {why}",
                        block.b.pool_id, block.b.block_id
                    ),
                )
            })?;
            parts[0] = found;
        }
        let node = Arc::clone(self);
        Ok(Reply::Stream(
            end - offset,
            Box::new(move |out| parts.into_iter().try_for_each(|part| node.send(part, out))),
        ))
    }

    /// Asks the NameNode where the blocks of a file are.
    fn locate(&self, path: &str) -> Result<LocatedBlocks, Exception> {
        let mut client = lock(&self.clients).pop().unwrap_or_else(|| {
            Client::over(
                Arc::clone(&self.network),
                &self.namenode,
                flume_bench_hadoop::client_protocol::CLIENT_PROTOCOL,
                LIMIT,
            )
        });
        let request = GetBlockLocationsRequest {
            src: path.to_owned(),
            offset: 0,
            length: i64::MAX as u64,
        };
        let mut answer = client.call::<GetBlockLocationsResponse>("getBlockLocations", &request);
        if answer
            .as_ref()
            .is_err_and(|error| error.exception().is_none())
        {
            // The connection may have been of the NameNode's last life.
            answer = client.call("getBlockLocations", &request);
        }
        lock(&self.clients).push(client);
        let answer = answer.map_err(|error| {
            error
                .exception()
                .unwrap_or_else(|| Exception::new("java.net.ConnectException", error.to_string()))
        })?;
        answer.locations.ok_or_else(|| Exception::not_found(path))
    }

    /// The acknowledged length of a block that is being written.
    fn length_of(&self, block: &LocatedBlock) -> Result<u64, Exception> {
        if let Ok(length) = visible_length(&self.replicas, &block.b)
            && length != u64::MAX
        {
            return Ok(length);
        }
        if block.locs.is_empty() && block.b.num_bytes() == 0 {
            return Ok(0);
        }
        let mut nobody_has_it = !block.locs.is_empty();
        for node in block
            .locs
            .iter()
            .filter(|node| node.id.datanode_uuid != self.id.datanode_uuid)
        {
            let mut client = Client::over(
                Arc::clone(&self.network),
                &format!("{}:{}", node.id.host_name, node.id.ipc_port),
                CLIENT_DATANODE_PROTOCOL,
                LIMIT,
            );
            let request = GetReplicaVisibleLengthRequest {
                block: block.b.clone(),
            };
            match client
                .call::<GetReplicaVisibleLengthResponse>("getReplicaVisibleLength", &request)
            {
                Ok(answer) if answer.length != u64::MAX => return Ok(answer.length),
                Ok(_) => nobody_has_it = false,
                Err(error) => {
                    nobody_has_it &= error.exception().is_some_and(|exception| {
                        exception.class.ends_with("ReplicaNotFoundException")
                    })
                }
            }
        }
        // A replica here that cannot be read is a replica all the same.
        if nobody_has_it && self.replicas.read(block.b.block_id).is_err() {
            return Ok(0);
        }
        let why = format!(
            "Cannot obtain block length for LocatedBlock{{{}:blk_{}_{}; getBlockSize()={}; offset={}}}",
            block.b.pool_id,
            block.b.block_id,
            block.b.generation_stamp,
            block.b.num_bytes(),
            block.offset
        );
        Err(Exception::new(
            "org.apache.hadoop.hdfs.CannotObtainBlockLengthException",
            why,
        ))
    }

    /// Finds a range of a block: here, or with the first DataNode that gives it out.
    fn part(&self, block: &LocatedBlock, range: Range<u64>) -> Result<Part, String> {
        let mut why = "no DataNode has it".to_owned();
        match self.replicas.read(block.b.block_id) {
            Ok(here) if here.visible >= range.end => return Ok(Part::Here(here, range)),
            Ok(here) => why = format!("{} of {} bytes are here", here.visible, range.end),
            Err(_) => {}
        }
        for node in block
            .locs
            .iter()
            .filter(|node| node.id.datanode_uuid != self.id.datanode_uuid)
        {
            match Remote::open(&*self.network, node, &block.b, range.clone()) {
                Ok(remote) => return Ok(Part::There(remote)),
                Err(error) => why = format!("{}: {error}", super::address(node)),
            }
        }
        Err(why)
    }

    fn send(&self, part: Part, out: &mut dyn Write) -> io::Result<()> {
        match part {
            Part::Here(replica, range) => {
                let mut buffer = vec![0; (64 << 10).min(range.end - range.start) as usize];
                let mut at = range.start;
                while at < range.end {
                    let now = buffer.len().min((range.end - at) as usize);
                    replica.file.read_exact_at(&mut buffer[..now], at)?;
                    out.write_all(&buffer[..now])?;
                    at += now as u64;
                }
                Ok(())
            }
            Part::There(remote) => remote.copy_to(out),
            Part::Later(block, range) => {
                match self.part(&block, range).map_err(io::Error::other)? {
                    Part::Later(..) => Err(io::Error::other("a block was not looked for")),
                    found => self.send(found, out),
                }
            }
        }
    }
}
