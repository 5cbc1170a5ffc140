//! The NameNode of the embedded HDFS.
//!
//! Speaks: Hadoop's RPC with `ClientProtocol` (`--rpc`), HTTP with WebHDFS and `/jmx` (`--http`), both on
//! 127.0.0.1.
//! Keeps:  the namespace, in an edit log under `--dir`; a SIGKILL loses nothing that anybody was told of.
//! Learns: where blocks are, from the DataNodes, which join within a second of a start.
//! Leaves out: append, truncate, snapshots, quotas, permissions (everybody may do everything), the
//! expiry of leases, and making new copies of blocks when a DataNode dies.
//!
//! | module | what |
//! |---|---|
//! | `calls` | the methods of `ClientProtocol`, a table |
//! | `edits` | the log of changes |
//! | `tree` | directories, files and their blocks |
//! | `state` | the tree, the DataNodes, safe mode |
//! | `names`, `files` | calls about names, and about files that are being written |
//! | `recovery` | what DataNodes report, and lease recovery |
//! | `web` | the HTTP server |
//!
//! ```text
//! flume-bench store namenode --rpc 9000 --http 9870 --replication 1 --dir /tmp/namenode
//! ```
//!
//! Fails: exit code 4 when a port is taken, the directory cannot be written, or the log is damaged.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use tracing::info;

use self::edits::EditLog;
use self::state::State;
use crate::orders::Orders;
use crate::{NameNodeArguments, StoreError, http, ipc, listen, serve};

mod calls;
mod edits;
mod files;
pub(crate) mod fuzzing;
mod names;
mod recovery;
mod state;
mod tree;
mod web;

#[cfg(test)]
mod tests;

pub(crate) use web::{WEBHDFS, number};

/// The NameNode.
#[derive(Debug)]
struct NameNode {
    /// Its own RPC address, for redirects.
    rpc: String,
    state: Mutex<State>,
    log: Arc<EditLog>,
    /// Notified whenever a DataNode has told something.
    reported: Condvar,
    /// How long a call waits for that.
    report_wait: Duration,
    orders: Arc<Orders>,
}

/// Starts the servers; they run until the process ends.
pub(crate) fn start(arguments: &NameNodeArguments) -> Result<(), StoreError> {
    // The ports first: a second NameNode must not touch the log of the first.
    let (rpc, web) = (listen(arguments.rpc)?, listen(arguments.http)?);
    let orders = Arc::new(Orders::default());
    let state = State::open(
        &arguments.dir,
        arguments.replication,
        arguments.block_size,
        Arc::clone(&orders),
    )?;
    let namenode = Arc::new(NameNode {
        rpc: format!("127.0.0.1:{}", arguments.rpc),
        log: Arc::clone(&state.log),
        state: Mutex::new(state),
        reported: Condvar::new(),
        report_wait: calls::REPORT_WAIT,
        orders: Arc::clone(&orders),
    });
    serve(
        rpc,
        "namenode-rpc",
        ipc::server(Arc::clone(&namenode) as Arc<dyn ipc::Service>, orders),
    )?;
    serve(web, "namenode-http", move |stream| {
        http::serve(&stream, |request| namenode.web(request))
    })?;
    info!(
        rpc = arguments.rpc,
        http = arguments.http,
        "the NameNode serves"
    );
    Ok(())
}
