//! Removes the closed files under a path: the same client as that of the leases, which works on any
//! HDFS. A soak takes out of the store what has been read and judged.
//!
//! Settings: `--namenode` host:port of the RPC, `--under` the directory, `--in-use-suffix` ending of the names
//! that are left alone; open files are left alone whatever their name.
//! Whether a file is open is asked after all were listed, and right before it is removed.
//! Prints: one line of JSON, `{"files": 3, "bytes": 1024}`.
//! Fails: a file that cannot be looked at or removed ends it with exit code 4; those before it are gone.

use std::io::Write;

use flume_bench_hadoop::client_protocol::{
    CLIENT_PROTOCOL, DeleteRequest, DeleteResponse, GetBlockLocationsRequest,
    GetBlockLocationsResponse,
};
use serde_json::json;

use crate::ipc::client::{CallError, Client};
use crate::leases::{CALL_LIMIT, files_under, is_gone};
use crate::{RemovalArguments, StoreError};

/// Does it.
pub(crate) fn remove(arguments: &RemovalArguments, out: &mut impl Write) -> Result<(), StoreError> {
    let mut client = Client::new(&arguments.namenode, CLIENT_PROTOCOL, CALL_LIMIT);
    let (mut files, mut bytes) = (0_u64, 0_u64);
    for path in files_under(&mut client, &arguments.under)? {
        let suffix = &arguments.in_use_suffix;
        if !suffix.is_empty() && path.ends_with(suffix.as_str()) {
            continue;
        }
        let Some(length) = closed_length(&mut client, &path)? else {
            continue;
        };
        let request = DeleteRequest {
            src: path,
            recursive: false,
        };
        if client.call::<DeleteResponse>("delete", &request)?.result {
            files += 1;
            bytes += length;
        }
    }
    writeln!(out, "{}", json!({"files": files, "bytes": bytes}))
        .map_err(StoreError::io("writing to", "standard output"))
}

/// The length of a file that is closed; `None` of one that is open or gone.
fn closed_length(client: &mut Client, path: &str) -> Result<Option<u64>, CallError> {
    let request = GetBlockLocationsRequest {
        src: path.to_owned(),
        offset: 0,
        length: 1,
    };
    match client.call::<GetBlockLocationsResponse>("getBlockLocations", &request) {
        Ok(answer) => Ok(answer
            .locations
            .filter(|blocks| !blocks.under_construction)
            .map(|blocks| blocks.file_length)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}
