//! The fuzz target of a DataNode: operations of the data transfer, calls, HTTP requests, and what
//! the servers say that it connects to.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flume_bench_hadoop::common::DatanodeId;

use super::DataNode;
use super::replica::Replicas;
use crate::fuzzing::{Frames, Scratch, ask, connections};
use crate::ipc::client::Network;
use crate::link::{self, ReplicaState};
use crate::orders::Orders;
use crate::{ipc, lock};

/// Serves the connections of an input, on a DataNode without blocks.
///
/// Orders hold for no other connection than the one that brought them: some let a writer wait until
/// they are taken back.
pub fn datanode(input: &[u8]) {
    replicas_after(input);
}

/// The replicas that a conversation leaves.
fn replicas_after(input: &[u8]) -> Vec<link::Replica> {
    let scratch = Scratch::new();
    let node = Arc::new(DataNode {
        id: DatanodeId::default(),
        replicas: opened(&scratch),
        orders: Arc::new(Orders::default()),
        namenode: "namenode:8020".to_owned(),
        network: Arc::new(Others::of(input)),
        clients: Mutex::default(),
    });
    let clear = HashMap::from([("clear".to_owned(), "1".to_owned())]);
    for (port, bytes) in connections(input) {
        match port & 3 {
            0 => transfer(&node, bytes),
            1 => drop(ipc::converse(bytes, Frames, &*node, &node.orders)),
            2 => drop(ask(bytes, |request| node.web(request))),
            _ => {}
        }
        assert!(node.orders.take(&clear).is_ok(), "orders are taken back");
    }
    let left = sorted(&node.replicas);
    let sum: u64 = left.iter().map(|replica| replica.length).sum();
    assert!(sum <= input.len() as u64, "{sum} of {} bytes", input.len());
    drop(node);
    let expected: Vec<_> = left.iter().map(|replica| restarted(*replica)).collect();
    assert_eq!(sorted(&opened(&scratch)), expected, "after a restart");
    left
}

fn opened(scratch: &Scratch) -> Arc<Replicas> {
    match Replicas::open(scratch.path()) {
        Ok(replicas) => Arc::new(replicas),
        Err(error) => unreachable!("a directory of its own: {error}"),
    }
}

fn sorted(replicas: &Replicas) -> Vec<link::Replica> {
    let mut all = replicas.report();
    all.sort_unstable_by_key(|replica| replica.block);
    all
}

/// What becomes of a replica when the DataNode is killed.
fn restarted(replica: link::Replica) -> link::Replica {
    let state = match replica.state() {
        ReplicaState::Rbw => ReplicaState::Rwr,
        other => other,
    };
    link::Replica {
        state: state as i32,
        ..replica
    }
}

/// Serves one connection of the data transfer.
fn transfer(node: &Arc<DataNode>, bytes: &[u8]) {
    let (server, client) = pair();
    say(&client, bytes);
    std::thread::scope(|scope| {
        // A client that takes no answers would be waited for. It gets all until the connection's end.
        scope.spawn(|| io::copy(&mut &client, &mut io::sink()));
        node.transfer(&server);
    });
}

/// Both ends of a connection. Unix sockets do here what TCP would, and need no port.
fn pair() -> (TcpStream, UnixStream) {
    match UnixStream::pair() {
        Ok((one, other)) => (TcpStream::from(OwnedFd::from(one)), other),
        Err(error) => unreachable!("a pair of sockets: {error}"),
    }
}

/// Says all there is to say. At most 64 KiB: the socket takes them before anybody reads.
fn say(mut end: &UnixStream, bytes: &[u8]) {
    let said = end
        .write_all(bytes)
        .and_then(|()| end.shutdown(Shutdown::Write));
    assert!(said.is_ok(), "{said:?}");
}

/// The servers that the DataNode connects to, one after the other; none where the input has no more.
#[derive(Debug)]
struct Others {
    said: Mutex<VecDeque<Vec<u8>>>,
    /// Their ends, open until all is over.
    ends: Mutex<Vec<UnixStream>>,
}

impl Others {
    fn of(input: &[u8]) -> Self {
        let said = connections(input).filter(|(port, _)| port & 3 == 3);
        Self {
            said: Mutex::new(said.map(|(_, bytes)| bytes.to_vec()).collect()),
            ends: Mutex::default(),
        }
    }
}

impl Network for Others {
    fn connect(&self, _address: &str, _limit: Duration) -> io::Result<TcpStream> {
        let bytes = lock(&self.said).pop_front();
        let bytes = bytes.ok_or(io::ErrorKind::ConnectionRefused)?;
        let (stream, end) = pair();
        say(&end, &bytes);
        lock(&self.ends).push(end);
        Ok(stream)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Otherwise the mutations of it would be those of refusals.
    #[test]
    fn the_target_gets_to_a_block_that_a_java_client_wrote() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpora/datanode");
        let input = std::fs::read(corpus.join("java-put-and-cat")).unwrap();
        let left = replicas_after(&input);
        assert_eq!(left.len(), 1);
        assert_eq!(
            (left[0].length, left[0].state()),
            (750, ReplicaState::Finalized)
        );
    }
}
