//! The NameNode's HTTP server: `/jmx`, `/webhdfs/v1`, `/fault`.
//!
//! WebHDFS serves `GETFILESTATUS`, `LISTSTATUS`, `GETCONTENTSUMMARY`, `GET_BLOCK_LOCATIONS`,
//! `GETFILEBLOCKLOCATIONS` and `OPEN`. `OPEN` redirects to a DataNode that has the block of the offset, or, as
//! with Hadoop, refuses an offset beyond the length that the NameNode knows; of an open file that is the
//! length that was flushed first.
//!
//! Source: Hadoop 3.3's WebHDFS documentation, and the answers of a real cluster.

use flume_bench_hadoop::client_protocol::GetListingRequest;
use flume_bench_hadoop::common::{
    DatanodeInfo, FileType, HdfsFileStatus, LocatedBlock, LocatedBlocks,
};
use serde_json::{Value, json};

use super::NameNode;
use super::state::State;
use crate::http::{Reply, Request, escape};
use crate::ipc::Exception;
use crate::{VERSION, lock};

pub(crate) const WEBHDFS: &str = "/webhdfs/v1";

impl NameNode {
    pub(crate) fn web(&self, request: &Request) -> Reply {
        let outcome = match request.path.as_str() {
            "/jmx" => Ok(Reply::Json(
                200,
                jmx(&lock(&self.state), request.get("qry").unwrap_or_default()),
            )),
            "/fault" => self
                .orders
                .take(&request.query)
                .map(|()| Reply::Json(200, json!({"taken": true})))
                .map_err(|why| Exception::new("java.lang.IllegalArgumentException", why)),
            path => match path.strip_prefix(WEBHDFS) {
                Some(path) if path.is_empty() || path.starts_with('/') => {
                    self.webhdfs(if path.is_empty() { "/" } else { path }, request)
                }
                _ => Err(Exception::new(
                    "java.io.FileNotFoundException",
                    format!("{path}: there is /jmx, {WEBHDFS} and /fault"),
                )),
            },
        };
        outcome.unwrap_or_else(|refused| Reply::refusal(&refused))
    }

    fn webhdfs(&self, path: &str, request: &Request) -> Result<Reply, Exception> {
        let state = lock(&self.state);
        let operation = request.get("op").unwrap_or_default().to_ascii_uppercase();
        let value = match operation.as_str() {
            "GETFILESTATUS" => {
                let status = state
                    .file_info(path, false)
                    .ok_or_else(|| Exception::not_found(path))?;
                json!({"FileStatus": file_status(&status)})
            }
            "LISTSTATUS" => list(&state, path)?,
            "GETCONTENTSUMMARY" => {
                let sum = state.summary(path)?;
                json!({"ContentSummary": {"directoryCount": sum.directory_count, "fileCount": sum.file_count, "length": sum.length, "quota": -1, "spaceConsumed": sum.space_consumed, "spaceQuota": -1}})
            }
            "GET_BLOCK_LOCATIONS" => {
                json!({"LocatedBlocks": located_blocks(&range(&state, path, request)?)})
            }
            "GETFILEBLOCKLOCATIONS" => {
                let blocks: Vec<_> = range(&state, path, request)?
                    .blocks
                    .iter()
                    .map(block_location)
                    .collect();
                json!({"BlockLocations": {"BlockLocation": blocks}})
            }
            "OPEN" => return self.open(&state, path, request),
            other => {
                return Err(Exception::new(
                    "java.lang.IllegalArgumentException",
                    format!(
                        "Invalid value for webhdfs parameter \"op\": No enum constant org.apache.hadoop.hdfs.web.resources.GetOpParam.Op.{other}"
                    ),
                ));
            }
        };
        Ok(Reply::Json(200, value))
    }

    fn open(&self, state: &State, path: &str, request: &Request) -> Result<Reply, Exception> {
        let inode = state.find(path)?;
        let length = inode
            .file()
            .ok_or_else(|| {
                Exception::new(
                    "java.io.FileNotFoundException",
                    format!("Path is not a file: {path}"),
                )
            })?
            .length();
        let offset = number(request, "offset")?.unwrap_or(0);
        if offset >= length && length > 0 {
            return Err(Exception::io(format!(
                "Offset={offset} out of the range [0, {length}); OPEN, path={path}"
            )));
        }
        let located = state.block_locations(path, offset, 1)?;
        // A last block without a byte has no offset, and is asked for with the file's first one.
        let block = located
            .blocks
            .iter()
            .find(|block| block.offset.saturating_add(block.b.num_bytes()) > offset);
        let node = match block {
            Some(block) => block
                .locs
                .first()
                .cloned()
                .ok_or_else(|| Exception::io("No active nodes contain this block"))?,
            None => {
                let expected = located
                    .last_block
                    .and_then(|block| block.locs.into_iter().next());
                expected.or_else(|| state.live().next().map(|node| node.info())).ok_or_else(|| Exception::io("Failed to find datanode, suggest to check cluster health. excludeDatanodes=null"))?
            }
        };
        let mut to = format!(
            "http://{}:{}{WEBHDFS}{}?op=OPEN&user.name={}&namenoderpcaddress={}&offset={offset}",
            escape(&node.id.host_name),
            node.id.info_port,
            escape(path),
            escape(request.get("user.name").unwrap_or("flume-bench")),
            self.rpc,
        );
        if let Some(length) = number(request, "length")? {
            to.push_str(&format!("&length={length}"));
        }
        Ok(Reply::Redirect(to))
    }
}

/// A number among the parameters.
pub(crate) fn number(request: &Request, key: &str) -> Result<Option<u64>, Exception> {
    let Some(text) = request.get(key) else {
        return Ok(None);
    };
    let wrong = || {
        Exception::new(
            "java.lang.IllegalArgumentException",
            format!("Invalid value for webhdfs parameter \"{key}\": {text:?} is no number"),
        )
    };
    text.parse().map(Some).map_err(|_| wrong())
}

fn range(state: &State, path: &str, request: &Request) -> Result<LocatedBlocks, Exception> {
    let offset = number(request, "offset")?.unwrap_or(0);
    state.block_locations(path, offset, number(request, "length")?.unwrap_or(u64::MAX))
}

/// All of a directory. WebHDFS has no pages.
fn list(state: &State, path: &str) -> Result<Value, Exception> {
    let mut entries = Vec::new();
    let mut start_after = Vec::new();
    loop {
        let request = GetListingRequest {
            src: path.to_owned(),
            start_after,
            need_location: false,
        };
        let page = state
            .list(&request)
            .ok_or_else(|| Exception::not_found(path))?;
        entries.extend(page.partial_listing.iter().map(file_status));
        match page
            .partial_listing
            .last()
            .filter(|_| page.remaining_entries > 0)
        {
            Some(last) => start_after = last.path.clone(),
            None => return Ok(json!({"FileStatuses": {"FileStatus": entries}})),
        }
    }
}

fn file_status(status: &HdfsFileStatus) -> Value {
    json!({
        "accessTime": status.access_time,
        "blockSize": status.blocksize(),
        "childrenNum": status.children_num(),
        "fileId": status.file_id(),
        "group": status.group,
        "length": status.length,
        "modificationTime": status.modification_time,
        "owner": status.owner,
        "pathSuffix": String::from_utf8_lossy(&status.path),
        "permission": format!("{:o}", status.permission.perm),
        "replication": status.block_replication(),
        "storagePolicy": status.storage_policy(),
        "type": if status.file_type() == FileType::IsDir { "DIRECTORY" } else { "FILE" },
    })
}

fn located_blocks(located: &LocatedBlocks) -> Value {
    json!({
        "fileLength": located.file_length,
        "isLastBlockComplete": located.is_last_block_complete,
        "isUnderConstruction": located.under_construction,
        "lastLocatedBlock": located.last_block.as_ref().map(located_block),
        "locatedBlocks": located.blocks.iter().map(located_block).collect::<Vec<_>>(),
    })
}

fn located_block(block: &LocatedBlock) -> Value {
    json!({
        "block": {
            "blockId": block.b.block_id,
            "blockPoolId": block.b.pool_id,
            "generationStamp": block.b.generation_stamp,
            "numBytes": block.b.num_bytes(),
        },
        "blockToken": {"urlString": "AAAAAA"},
        "cachedLocations": [],
        "isCorrupt": false,
        "locations": block.locs.iter().map(location).collect::<Vec<_>>(),
        "startOffset": block.offset,
        "storageTypes": vec!["DISK"; block.locs.len()],
    })
}

fn location(node: &DatanodeInfo) -> Value {
    json!({
        "adminState": "NORMAL",
        "capacity": node.capacity(),
        "dfsUsed": node.dfs_used(),
        "hostName": node.id.host_name,
        "infoPort": node.id.info_port,
        "infoSecurePort": 0,
        "ipAddr": node.id.ip_addr,
        "ipcPort": node.id.ipc_port,
        "lastUpdate": node.last_update(),
        "name": format!("{}:{}", node.id.ip_addr, node.id.xfer_port),
        "networkLocation": node.location(),
        "remaining": node.remaining(),
        "storageID": node.id.datanode_uuid,
        "xceiverCount": node.xceiver_count(),
        "xferPort": node.id.xfer_port,
    })
}

fn block_location(block: &LocatedBlock) -> Value {
    let names: Vec<_> = block
        .locs
        .iter()
        .map(|node| format!("{}:{}", node.id.ip_addr, node.id.xfer_port))
        .collect();
    json!({
        "cachedHosts": [],
        "corrupt": false,
        "hosts": block.locs.iter().map(|node| node.id.host_name.clone()).collect::<Vec<_>>(),
        "length": block.b.num_bytes(),
        "names": names,
        "offset": block.offset,
        "storageTypes": vec!["DISK"; block.locs.len()],
        "topologyPaths": names.iter().map(|name| format!("/default-rack/{name}")).collect::<Vec<_>>(),
    })
}

/// The two beans that tell whether the file system works, and what it is.
fn jmx(state: &State, query: &str) -> Value {
    let live = state.live().count();
    let beans = [
        json!({
            "name": "Hadoop:service=NameNode,name=FSNamesystemState",
            "FSState": if state.in_safe_mode() { "safeMode" } else { "Operational" },
            "NumLiveDataNodes": live,
            "NumDeadDataNodes": state.nodes.len() - live,
            "BlocksTotal": state.tree.all().filter_map(|inode| inode.file()).map(|file| file.blocks.len()).sum::<usize>(),
        }),
        json!({
            "name": "Hadoop:service=NameNode,name=NameNodeInfo",
            "SoftwareVersion": VERSION,
            "Version": VERSION,
            "BlockPoolId": state.tree.pool,
        }),
    ];
    let asked = |bean: &Value| query.is_empty() || bean["name"] == query;
    json!({"beans": beans.into_iter().filter(asked).collect::<Vec<_>>()})
}
