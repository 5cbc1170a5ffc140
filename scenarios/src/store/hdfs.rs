//! `hdfs`: the Hadoop Distributed File System.
//!
//! | provider | what runs |
//! |---|---|
//! | `embedded` | `flume-bench store namenode` and `flume-bench store datanode` |
//! | `local` | Hadoop 3.3.6's NameNode and DataNodes, a JVM each (`ci/setup hdfs` brings the jars) |
//! | `external` | the cluster at `namenode`, read through WebHDFS at `webhdfs` |
//!
//! Every provider has the same links. The agent reaches the NameNode through a proxy on a port of
//! its own. DataNode N binds 127.0.0.1 and announces 127.0.0.(100+N), where a proxy listens on the
//! same ports, so data, IPC and HTTP of a node are one link; other DataNodes come through the same
//! listener and are told apart by the process that owns the connecting socket.
//!
//! It is read back through WebHDFS only, which shares no code with the agent's client and never
//! goes through a proxy.

mod launch;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use flume_bench_loadgen::receiver::{self, Receiver};

use super::{Kind, Lease, OpenFiles, Removed, Running, Store, StoreError};
use crate::runner::world::World;
use crate::scenario::Scenario;
use crate::scenario::reader::{Problem, Reader};
use crate::tools::Tools;

/// Directory of Hadoop's jars.
pub(crate) const JARS: &str = "hdfs-3.3.6";

pub(super) static KIND: Kind = Kind {
    name: "hdfs",
    summary: "the Hadoop Distributed File System",
    providers: &["embedded", "local", "external"],
    settings: &[
        ("datanodes", "how many DataNodes (1)"),
        ("replication", "copies of a block (1)"),
        (
            "in_use_suffix",
            "ending of names that are still being written (.tmp)",
        ),
        (
            "path",
            "directory under which the run writes (/flume-bench)",
        ),
        ("namenode", "external: host:port of the NameNode's RPC"),
        ("webhdfs", "external: host:port of the NameNode's HTTP"),
    ],
    read,
};

fn read(table: &Reader<'_, '_>, provider: &'static str) -> Option<Arc<dyn Store>> {
    let datanodes = table.number("datanodes", 1..=9).unwrap_or(1) as u8;
    let replication = table.number("replication", 1..=9).unwrap_or(1) as u8;
    let namenode = table.text("namenode");
    let webhdfs = table.text("webhdfs");
    let in_use_suffix = table.text("in_use_suffix").unwrap_or_else(|| ".tmp".into());
    let path = table.text("path").unwrap_or_else(|| "/flume-bench".into());
    if replication > datanodes && provider != "external" {
        table.problem(
            "replication",
            format!(
                "replication = {replication} needs as many DataNodes, and there are {datanodes}"
            ),
        );
        return None;
    }
    for key in ["namenode", "webhdfs"] {
        match table.raw(key) {
            None if provider == "external" => {
                table.missing(key, "provider = \"external\" needs the address, host:port");
            }
            Some(_) if provider != "external" => table.problem(
                key,
                format!(
                    "{key} has no meaning with provider = \"{provider}\": it goes with external"
                ),
            ),
            _ => {}
        }
    }
    let external = namenode.zip(webhdfs).filter(|_| provider == "external");
    if provider == "external" && external.is_none() {
        return None;
    }
    Some(Arc::new(Hdfs {
        provider,
        datanodes,
        replication,
        in_use_suffix,
        path,
        external,
    }))
}

#[derive(Debug)]
struct Hdfs {
    provider: &'static str,
    datanodes: u8,
    replication: u8,
    in_use_suffix: String,
    path: String,
    /// Addresses of the NameNode's RPC and HTTP.
    external: Option<(String, String)>,
}

impl Store for Hdfs {
    fn kind(&self) -> &'static str {
        KIND.name
    }
    fn provider(&self) -> &'static str {
        self.provider
    }
    fn links(&self) -> Vec<String> {
        let mut links = vec!["agent->namenode".to_owned()];
        if self.provider == "external" {
            return links;
        }
        for to in 1..=self.datanodes {
            links.push(format!("agent->datanode{to}"));
            links.extend(
                (1..=self.datanodes)
                    .filter(|from| *from != to)
                    .map(|from| format!("datanode{from}->datanode{to}")),
            );
        }
        links
    }
    fn nodes(&self) -> Vec<String> {
        if self.provider == "external" {
            return Vec::new();
        }
        let mut nodes = vec!["namenode".to_owned(), "store".to_owned()];
        nodes.extend((1..=self.datanodes).map(|n| format!("datanode{n}")));
        nodes
    }
    fn has_in_use_names(&self) -> bool {
        true
    }
    fn check(&self, _scenario: &Scenario, tools: &Tools) -> Vec<Problem> {
        match self.provider {
            "local" => tools
                .check_java()
                .into_iter()
                .chain(tools.check_jars(JARS, "Hadoop 3.3.6 (provider \"local\")"))
                .collect(),
            "external" => self
                .external
                .iter()
                .flat_map(|(rpc, http)| [("NameNode", rpc), ("WebHDFS", http)])
                .filter_map(|(what, address)| unreachable(what, address))
                .collect(),
            _ => Vec::new(),
        }
    }
    fn example_environment(&self) -> BTreeMap<String, String> {
        environment("127.0.0.1:9000", &self.path)
    }
    fn start(&self, world: &World, tools: &Tools) -> Result<Box<dyn Running>, StoreError> {
        let started = launch::start(self, world, tools).map_err(|why| StoreError {
            kind: format!("hdfs ({})", self.provider),
            why,
        })?;
        Ok(Box::new(started))
    }
}

/// A problem if nobody accepts connections at an address.
fn unreachable(what: &str, address: &str) -> Option<Problem> {
    use std::net::{TcpStream, ToSocketAddrs};
    let remedy = format!(
        "start it, or correct store.{}",
        if what == "WebHDFS" {
            "webhdfs"
        } else {
            "namenode"
        }
    );
    let mut addresses = match address.to_socket_addrs() {
        Ok(addresses) => addresses,
        Err(error) => {
            return Some(Problem::of_machine(
                format!("{what}: {address} is no address: {error}"),
                remedy,
            ));
        }
    };
    let reached = addresses.any(|address| {
        TcpStream::connect_timeout(&address, std::time::Duration::from_secs(3)).is_ok()
    });
    (!reached).then(|| {
        Problem::of_machine(
            format!("the store is not reachable: {what} at {address}"),
            remedy,
        )
    })
}

fn environment(namenode: &str, path: &str) -> BTreeMap<String, String> {
    [
        ("FB_NAMENODE".to_owned(), namenode.to_owned()),
        ("FB_STORE".to_owned(), format!("hdfs://{namenode}{path}")),
    ]
    .into()
}

#[derive(Debug)]
struct RunningHdfs {
    /// Where the agent finds the NameNode: the proxy.
    namenode: String,
    /// The NameNode itself, for lease recovery.
    direct: String,
    webhdfs: String,
    path: String,
    /// What the receiver reads: the whole of a store that is the run's own.
    under: String,
    owned: bool,
    in_use_suffix: String,
    version: Option<String>,
    program: PathBuf,
    directory: Option<PathBuf>,
}

impl Running for RunningHdfs {
    fn environment(&self) -> BTreeMap<String, String> {
        environment(&self.namenode, &self.path)
    }
    fn receiver(&self, run: u64) -> Result<Box<dyn Receiver + Send>, StoreError> {
        let config = receiver::webhdfs::Config {
            namenode: self.webhdfs.clone(),
            path: self.under.clone(),
            in_use_suffix: Some(self.in_use_suffix.clone()),
            in_use_prefix: None,
            owned: self.owned,
            rewrite_host: Some("127.0.0.1".into()).filter(|_| self.owned),
            user: "flume".into(),
            timeout_ms: 5_000,
        };
        Ok(Box::new(receiver::webhdfs::WebHdfs::new(config, run)))
    }
    fn version(&self) -> Option<String> {
        self.version.clone()
    }
    fn recover_leases(&self) -> Vec<Lease> {
        let argv = [
            "store",
            "recover-leases",
            "--namenode",
            &self.direct,
            "--under",
            &self.under,
        ]
        .map(str::to_owned);
        let output = match crate::tools::output(&self.program, &argv) {
            Ok(output) => output,
            Err(error) => {
                return vec![Lease {
                    path: self.under.clone(),
                    error: Some(error.to_string()),
                }];
            }
        };
        output.lines().filter_map(parse_lease).collect()
    }
    fn directory(&self) -> Option<PathBuf> {
        self.directory.clone()
    }
    fn remove_judged(&self, _open: &OpenFiles<'_>) -> Result<Removed, String> {
        // What is open the NameNode says, of each file that was listed, before it is removed.
        let argv = [
            "store",
            "remove-closed",
            "--namenode",
            &self.direct,
            "--under",
            &self.under,
            "--in-use-suffix",
            &self.in_use_suffix,
        ]
        .map(str::to_owned);
        let output =
            crate::tools::output(&self.program, &argv).map_err(|error| error.to_string())?;
        serde_json::from_str(output.trim())
            .map_err(|error| format!("what was removed from HDFS is not known: {error}"))
    }
}

/// `{"path": "/a/b.tmp", "error": null}`
fn parse_lease(line: &str) -> Option<Lease> {
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    Some(Lease {
        path: value.get("path")?.as_str()?.to_owned(),
        error: value
            .get("error")
            .and_then(|error| error.as_str())
            .map(str::to_owned),
    })
}
