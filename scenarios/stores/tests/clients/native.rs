//! The embedded HDFS under `hdfs-native`, a client in Rust that shares no code with ours.

use std::time::Duration;

use hdfs_native::client::WriteOptions;
use hdfs_native::{Client, ClientBuilder};
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::bytes;
use crate::cluster::{Cluster, wait_for};

/// No call may take longer. `hdfs-native` itself can wait for ever for a sync whose connection broke.
const LIMIT: Duration = Duration::from_secs(20);

fn client(cluster: &Cluster) -> Client {
    ClientBuilder::new()
        .with_url(format!("hdfs://127.0.0.1:{}", cluster.rpc))
        .with_user("test")
        .build()
        .unwrap()
}

/// What the client answers, within [`LIMIT`].
fn wait<T>(runtime: &Runtime, what: &str, call: impl Future<Output = hdfs_native::Result<T>>) -> T {
    let answer = runtime.block_on(async { timeout(LIMIT, call).await });
    let answer = answer.unwrap_or_else(|_| panic!("no answer to {what} within {LIMIT:?}"));
    answer.unwrap_or_else(|error| panic!("{what}: {error}"))
}

fn read(runtime: &Runtime, client: &Client, path: &str) -> Vec<u8> {
    let mut reader = wait(runtime, "open", client.read(path));
    let length = reader.file_length();
    wait(runtime, "read", reader.read_bytes(length)).to_vec()
}

#[test]
fn what_it_synced_is_seen_before_it_closes() {
    let (runtime, cluster) = (Runtime::new().unwrap(), Cluster::start(2));
    let client = client(&cluster);
    wait(&runtime, "mkdirs", client.mkdirs("/a/b", 0o755, true));
    let options = WriteOptions::default().replication(2).block_size(1 << 20);
    let create = client.create("/a/b/events.tmp", options);
    let mut writer = wait(&runtime, "create", create);
    // Sizes at which the syncs fall into the middle of the chunks that have a checksum.
    let mut expected = Vec::new();
    for size in [700, 1, 511, 512, 4_097, 65_537] {
        let piece = bytes(size);
        expected.extend_from_slice(&piece);
        wait(&runtime, "write", writer.write_bytes(piece.into()));
        wait(&runtime, "hsync", writer.hsync());
        assert_eq!(cluster.read("/a/b/events.tmp"), Some(expected.clone()));
    }
    wait(&runtime, "close", writer.close());
    let rename = client.rename("/a/b/events.tmp", "/a/b/events", false);
    wait(&runtime, "rename", rename);
    assert_eq!(read(&runtime, &client, "/a/b/events"), expected);
    let listed = wait(&runtime, "list", client.list_status("/a", true));
    let mut listed: Vec<_> = listed
        .iter()
        .map(|file| (&*file.path, file.length))
        .collect();
    listed.sort_unstable();
    assert_eq!(listed, [("/a/b", 0), ("/a/b/events", expected.len())]);
    assert!(wait(&runtime, "delete", client.delete("/a", true)));
    assert_eq!(cluster.read("/a/b/events"), None);
}

#[test]
fn many_blocks_come_back_as_they_were_written() {
    let (runtime, cluster) = (Runtime::new().unwrap(), Cluster::start(2));
    let client = client(&cluster);
    let data = bytes(5 * (1 << 20) + 12_345);
    let options = WriteOptions::default().block_size(1 << 20);
    let mut writer = wait(&runtime, "create", client.create("/big", options));
    wait(&runtime, "write", writer.write_bytes(data.clone().into()));
    wait(&runtime, "close", writer.close());
    assert_eq!(read(&runtime, &client, "/big"), data);
    assert_eq!(cluster.read("/big"), Some(data), "and through WebHDFS");
}

#[test]
fn a_file_whose_writer_died_is_recovered() {
    let (runtime, cluster) = (Runtime::new().unwrap(), Cluster::start(1));
    let client = client(&cluster);
    let create = client.create("/left", WriteOptions::default());
    let mut writer = wait(&runtime, "create", create);
    let first = bytes(1_000);
    wait(&runtime, "write", writer.write_bytes(first.clone().into()));
    wait(&runtime, "hsync", writer.hsync());
    drop(writer);
    wait_for("the lease to be recovered", LIMIT, || {
        wait(&runtime, "recover the lease", client.recover_lease("/left"))
    });
    assert_eq!(read(&runtime, &client, "/left"), first);
    // A limit of the embedded HDFS, said in words.
    let refused = runtime.block_on(client.append("/left")).err().unwrap();
    assert!(refused.to_string().contains("does not append"), "{refused}");
}

#[test]
fn only_closed_files_without_an_in_use_name_are_removed() {
    let (runtime, cluster) = (Runtime::new().unwrap(), Cluster::start(1));
    let client = client(&cluster);
    let removed = |files: u64, bytes: u64| vec![json!({"files": files, "bytes": bytes})];
    assert_eq!(cluster.remove_closed("/none", ".tmp"), removed(0, 0));
    let written = |path: &str, data: Vec<u8>| {
        let create = client.create(path, WriteOptions::default());
        let mut writer = wait(&runtime, "create", create);
        wait(&runtime, "write", writer.write_bytes(data.into()));
        wait(&runtime, "hsync", writer.hsync());
        writer
    };
    let mut writers = Vec::new();
    for path in ["/a/open", "/a/day/closed", "/a/closed.tmp", "/b/beside"] {
        let mut writer = written(path, bytes(1_000));
        if path != "/a/open" {
            wait(&runtime, "close", writer.close());
        }
        writers.push(writer);
    }
    assert_eq!(cluster.remove_closed("/a", ".tmp"), removed(1, 1_000));
    assert_eq!(cluster.read("/a/day/closed"), None);
    for path in ["/a/open", "/a/closed.tmp", "/b/beside"] {
        assert_eq!(cluster.read(path), Some(bytes(1_000)), "{path}");
    }
    // Its writer goes on, and closes it; then it may go.
    let open = &mut writers[0];
    wait(&runtime, "write", open.write_bytes(bytes(10).into()));
    wait(&runtime, "close", open.close());
    assert_eq!(cluster.remove_closed("/a", ".tmp"), removed(1, 1_010));
    // Without a suffix every closed file is one.
    assert_eq!(cluster.remove_closed("/a", ""), removed(1, 1_000));
    assert_eq!(cluster.read("/b/beside"), Some(bytes(1_000)));
}
