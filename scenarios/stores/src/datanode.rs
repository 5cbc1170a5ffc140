//! A DataNode of the embedded HDFS.
//!
//! Speaks: the data transfer protocol (`--data`), `ClientDatanodeProtocol` for readers of open files
//! (`--ipc`), WebHDFS's `OPEN` (`--http`), all on 127.0.0.1. It announces another address, where a fault
//! proxy listens, and goes to other DataNodes at the addresses that they announce.
//! Keeps:  block files under `--dir`. Acknowledged bytes survive a SIGKILL.
//! Leaves out: short-circuit reads, checksums of whole blocks, encryption.
//!
//! | module | what |
//! |---|---|
//! | `replica` | block files, writers, what readers may see |
//! | `receive` | pipelines |
//! | `send` | reads, copies |
//! | `web` | the HTTP server |
//!
//! ```text
//! flume-bench store datanode --number 1 --announce 127.0.0.101 --data 9866 --ipc 9867 --http 9864 \
//!     --namenode 127.0.0.1:9000 --dir /tmp/datanode1
//! ```
//!
//! Fails: exit code 4 when a port is taken or the directory cannot be used. A NameNode that is away is waited
//! for; one of another file system is refused, and the log says so, until the directory is deleted.

use std::io::{self, BufReader, Read};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flume_bench_hadoop::client_protocol::{
    GetReplicaVisibleLengthRequest, GetReplicaVisibleLengthResponse,
};
use flume_bench_hadoop::common::{DatanodeId, DatanodeInfo, ExtendedBlock};
use flume_bench_hadoop::frame::{MAX_TRANSFER_MESSAGE, OpCode, TRANSFER_VERSION, read_delimited};
use tracing::{debug, info, warn};

use self::replica::{News, Replicas};
use crate::ipc::client::{Client, Network, Tcp};
use crate::ipc::{Answer, Call, Exception, Service, answer};
use crate::link::{self, Beat, ReplicaState};
use crate::orders::Orders;
use crate::{DataNodeArguments, StoreError, http, ipc, listen, serve, spawn};

pub(crate) mod fuzzing;
mod receive;
mod replica;
mod send;
mod web;

#[cfg(test)]
mod tests;

/// How often the NameNode hears of a DataNode that has nothing to tell.
const BEAT_EVERY: Duration = Duration::from_millis(500);

/// How long the NameNode may take to answer.
const BEAT_LIMIT: Duration = Duration::from_secs(2);

/// How long a connection may wait for its next operation: somewhat longer than Java's clients keep one.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// The DataNode.
#[derive(Debug)]
struct DataNode {
    id: DatanodeId,
    replicas: Arc<Replicas>,
    orders: Arc<Orders>,
    namenode: String,
    /// The way to the NameNode and to other DataNodes.
    network: Arc<dyn Network>,
    /// Idle connections to the NameNode.
    clients: Mutex<Vec<Client>>,
}

/// Where a DataNode is reached: at what it announces.
fn address(node: &DatanodeInfo) -> String {
    format!("{}:{}", node.id.host_name, node.id.xfer_port)
}

/// Starts the servers and the reports; they run until the process ends.
pub(crate) fn start(arguments: &DataNodeArguments) -> Result<(), StoreError> {
    let (data, ipc, web) = (
        listen(arguments.data)?,
        listen(arguments.ipc)?,
        listen(arguments.http)?,
    );
    let replicas = Arc::new(Replicas::open(&arguments.dir)?);
    let orders = Arc::new(Orders::default());
    let announced = arguments.announce.to_string();
    let node = Arc::new(DataNode {
        id: DatanodeId {
            ip_addr: announced.clone(),
            host_name: announced,
            datanode_uuid: replicas.uuid.clone(),
            xfer_port: arguments.data.into(),
            info_port: arguments.http.into(),
            ipc_port: arguments.ipc.into(),
            info_secure_port: Some(0),
        },
        replicas,
        orders: Arc::clone(&orders),
        namenode: arguments.namenode.clone(),
        network: Arc::new(Tcp),
        clients: Mutex::default(),
    });
    let at = |node: &Arc<DataNode>| Arc::clone(node);
    serve(data, "datanode-data", {
        let node = at(&node);
        move |stream| node.transfer(&stream)
    })?;
    serve(
        ipc,
        "datanode-ipc",
        ipc::server(at(&node) as Arc<dyn Service>, orders),
    )?;
    serve(web, "datanode-http", {
        let node = at(&node);
        move |stream| http::serve(&stream, |request| node.web(request))
    })?;
    info!(
        number = arguments.number,
        uuid = node.id.datanode_uuid,
        announced = node.id.host_name,
        data = arguments.data,
        "a DataNode serves"
    );
    spawn("datanode-beat", move || node.report())
}

impl DataNode {
    /// Serves one connection of the data transfer.
    fn transfer(self: &Arc<Self>, stream: &TcpStream) {
        if let Err(error) = self.operations(stream) {
            debug!(%error, "a data connection ended");
        }
        let _ = stream.shutdown(std::net::Shutdown::Both);
    }

    fn operations(self: &Arc<Self>, stream: &TcpStream) -> io::Result<()> {
        let mut reader = BufReader::with_capacity(128 << 10, stream.try_clone()?);
        stream.set_write_timeout(Some(Duration::from_secs(60)))?;
        loop {
            reader.get_ref().set_read_timeout(Some(KEEP_ALIVE))?;
            let mut head = [0; 3];
            reader.read_exact(&mut head)?;
            let version = u16::from_be_bytes([head[0], head[1]]);
            let code = OpCode::from_byte(head[2]).filter(|_| version == TRANSFER_VERSION);
            let code = code.ok_or_else(|| {
                io::Error::other(format!(
                    "operation {} of version {version} is not served",
                    head[2]
                ))
            })?;
            const WHAT: &str = "an operation";
            match code {
                OpCode::WriteBlock => {
                    let request = read_delimited(&mut reader, MAX_TRANSFER_MESSAGE, WHAT)
                        .map_err(io::Error::other)?;
                    return receive::write_block(self, stream, &mut reader, &request);
                }
                OpCode::ReadBlock => {
                    let request = read_delimited(&mut reader, MAX_TRANSFER_MESSAGE, WHAT)
                        .map_err(io::Error::other)?;
                    send::read_block(self, stream, &mut reader, &request)?;
                }
                OpCode::TransferBlock => {
                    let request = read_delimited(&mut reader, MAX_TRANSFER_MESSAGE, WHAT)
                        .map_err(io::Error::other)?;
                    return send::transfer_block(self, stream, &request);
                }
                OpCode::BlockChecksum => {
                    return Err(io::Error::other("checksums of blocks are not served"));
                }
            }
        }
    }

    /// Tells the NameNode what there is, and does what it says, without end.
    fn report(&self) {
        let mut client = Client::over(
            Arc::clone(&self.network),
            &self.namenode,
            link::PROTOCOL,
            BEAT_LIMIT,
        );
        let mut full = true;
        let mut away = false;
        let mut pool = self.replicas.pool();
        let mut used = 0;
        loop {
            let news = self
                .replicas
                .news(if full { Duration::ZERO } else { BEAT_EVERY });
            if full || news.replicas.is_empty() {
                // Not with every block that ends: there may be thousands.
                used = self.replicas.used();
            }
            let beat = Beat {
                node: self.id.clone(),
                full,
                // A full report holds the news as well, and is taken after them.
                replicas: if full {
                    self.replicas.report()
                } else {
                    news.replicas.clone()
                },
                frozen: news.frozen.clone(),
                pool: pool.clone(),
                used,
            };
            match client.call::<link::Orders>(link::BEAT, &beat) {
                Ok(orders) => {
                    if std::mem::take(&mut away) {
                        info!("the NameNode is back");
                    }
                    full = self.obey(&orders, &mut pool);
                    if full {
                        self.replicas.untold(News {
                            replicas: Vec::new(),
                            frozen: news.frozen,
                        });
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut away, true) {
                        warn!(%error, "the NameNode does not answer; trying on");
                    }
                    self.replicas.untold(news);
                    // It may have been restarted, and then knows nothing.
                    full = true;
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        }
    }

    /// Does what the NameNode says; true if it wants to be told everything.
    fn obey(&self, orders: &link::Orders, pool: &mut String) -> bool {
        if pool.is_empty() {
            pool.clone_from(&orders.pool);
            if let Err(error) = self.replicas.set_pool(&orders.pool) {
                warn!(%error, "the block pool cannot be written down");
            }
        } else if *pool != orders.pool {
            warn!(
                ours = *pool,
                theirs = orders.pool,
                "these blocks belong to another file system: delete this DataNode's directory"
            );
            std::thread::sleep(Duration::from_secs(1));
        }
        for order in &orders.delete {
            if let Err(error) = self.replicas.delete(order.block, order.stamp) {
                warn!(%error, block = order.block, "a block is not deleted");
            }
        }
        for order in &orders.freeze {
            let (state, length) = self.replicas.freeze(order.block, order.stamp);
            info!(block = order.block, ?state, length, "frozen for recovery");
            self.replicas.tell_frozen(link::Recovery {
                state: state as i32,
                length,
                ..*order
            });
        }
        for order in &orders.seal {
            if let Err(error) = self.replicas.seal(order.block, order.stamp, order.length) {
                warn!(%error, "a block is not sealed");
            }
        }
        orders.tell_all
    }
}

impl Service for DataNode {
    fn call(&self, call: &Call<'_>) -> Answer {
        if call.method != "getReplicaVisibleLength" {
            return Err(call.unknown());
        }
        let request: GetReplicaVisibleLengthRequest = call.request()?;
        answer(&GetReplicaVisibleLengthResponse {
            length: visible_length(&self.replicas, &request.block)?,
        })
    }
}

/// How much of a replica may be read. One that waits for its recovery answers -1, as Hadoop's does.
fn visible_length(replicas: &Replicas, block: &ExtendedBlock) -> Result<u64, Exception> {
    let missing = |error: io::Error| {
        Exception::new(
            "org.apache.hadoop.hdfs.server.datanode.ReplicaNotFoundException",
            error.to_string(),
        )
    };
    let replica = replicas.read(block.block_id).map_err(missing)?;
    if replica.stamp < block.generation_stamp {
        return Err(Exception::io(format!(
            "blk_{} has stamp {}, and {} is asked for",
            block.block_id, replica.stamp, block.generation_stamp
        )));
    }
    Ok(if replica.state == ReplicaState::Rwr {
        u64::MAX
    } else {
        replica.visible
    })
}
