//! Recovers the leases of files whose writers died: a client of its own, which works on any HDFS.
//!
//! Settings: `--namenode` host:port of the RPC, `--under` the directory, listed with all below it; a path that
//! does not exist has no files.
//! Prints: one line of JSON for each file that was open, `{"path": "/a/b.tmp", "error": null}`; nothing for
//! those that were closed. The exit code is 0, whatever the lines say; 4 if the directory cannot be listed.
//! Fails: a file that is not recovered within 30 s says so in `error`.
//!
//! All files are asked for in turn, every 100 ms, so many take no longer than one.

use std::io::Write;
use std::time::{Duration, Instant};

use flume_bench_hadoop::client_protocol::{
    CLIENT_PROTOCOL, GetBlockLocationsRequest, GetBlockLocationsResponse, GetListingRequest,
    GetListingResponse, RecoverLeaseRequest, RecoverLeaseResponse,
};
use flume_bench_hadoop::common::FileType;
use serde_json::json;

use crate::ipc::client::{CallError, Client};
use crate::{LeaseArguments, StoreError};

pub(crate) const CALL_LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);
const FILE_LIMIT: Duration = Duration::from_secs(30);

/// Does it.
pub(crate) fn recover(arguments: &LeaseArguments, out: &mut impl Write) -> Result<(), StoreError> {
    let mut client = Client::new(&arguments.namenode, CLIENT_PROTOCOL, CALL_LIMIT);
    let mut open = Vec::new();
    for path in files_under(&mut client, &arguments.under)? {
        if is_open(&mut client, &path)? {
            open.push(path);
        }
    }
    let began = Instant::now();
    while !open.is_empty() {
        let late = began.elapsed() >= FILE_LIMIT;
        let mut waiting = Vec::new();
        for path in open {
            match recovered(&mut client, &path) {
                Ok(false) if !late => waiting.push(path),
                Ok(false) => print(
                    out,
                    &path,
                    Some("the NameNode still recovers it after 30 s".to_owned()),
                )?,
                Ok(true) => print(out, &path, None)?,
                // A server that is away or in safe mode may come back in time.
                Err(error) if !late && passes(&error) => waiting.push(path),
                Err(error) => print(out, &path, Some(error.to_string()))?,
            }
        }
        open = waiting;
        if !open.is_empty() {
            std::thread::sleep(POLL);
        }
    }
    Ok(())
}

fn passes(error: &CallError) -> bool {
    error.exception().is_none_or(|exception| {
        [
            "SafeModeException",
            "RetriableException",
            "StandbyException",
        ]
        .iter()
        .any(|class| exception.class.ends_with(class))
    })
}

fn print(out: &mut impl Write, path: &str, error: Option<String>) -> Result<(), StoreError> {
    writeln!(out, "{}", json!({"path": path, "error": error}))
        .map_err(StoreError::io("writing to", "standard output"))
}

pub(crate) fn files_under(client: &mut Client, root: &str) -> Result<Vec<String>, CallError> {
    let root = root.trim_end_matches('/');
    let mut files = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        let mut start_after = Vec::new();
        loop {
            let src = if directory.is_empty() {
                "/".to_owned()
            } else {
                directory.clone()
            };
            let request = GetListingRequest {
                src,
                start_after,
                need_location: false,
            };
            let Some(page) = client
                .call::<GetListingResponse>("getListing", &request)?
                .dir_list
            else {
                break;
            };
            for status in &page.partial_listing {
                let name = String::from_utf8_lossy(&status.path);
                // A file lists itself, without a name.
                let path = if name.is_empty() {
                    directory.clone()
                } else {
                    format!("{directory}/{name}")
                };
                match status.file_type() {
                    FileType::IsDir => directories.push(path),
                    FileType::IsFile => files.push(path),
                    FileType::IsSymlink => {}
                }
            }
            match page
                .partial_listing
                .last()
                .filter(|_| page.remaining_entries > 0)
            {
                Some(last) => start_after = last.path.clone(),
                None => break,
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Whether a file is open; one that is gone meanwhile is not.
fn is_open(client: &mut Client, path: &str) -> Result<bool, CallError> {
    let request = GetBlockLocationsRequest {
        src: path.to_owned(),
        offset: 0,
        length: 1,
    };
    match client.call::<GetBlockLocationsResponse>("getBlockLocations", &request) {
        Ok(answer) => Ok(answer
            .locations
            .is_some_and(|blocks| blocks.under_construction)),
        Err(error) if is_gone(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

fn recovered(client: &mut Client, path: &str) -> Result<bool, CallError> {
    let request = RecoverLeaseRequest {
        src: path.to_owned(),
        client_name: format!("flume-bench_leases_{}", std::process::id()),
    };
    match client.call::<RecoverLeaseResponse>("recoverLease", &request) {
        Ok(answer) => Ok(answer.result),
        Err(error) if is_gone(&error) => Ok(true),
        Err(error) => Err(error),
    }
}

pub(crate) fn is_gone(error: &CallError) -> bool {
    error
        .exception()
        .is_some_and(|exception| exception.class.ends_with("FileNotFoundException"))
}
