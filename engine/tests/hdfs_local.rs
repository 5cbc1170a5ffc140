//! The HDFS client and the HDFS sink on a real HDFS 3.3.6, started by the test.
//!
//! Needs Java and Hadoop's jars (`ci/setup hdfs`). Without them the test says so and passes, except
//! in CI, where it fails.

#[path = "hdfs/cluster.rs"]
mod cluster;

use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster::{Cluster, wait_for};
use flume_bench_engine::hdfs::conf::Conf;
use flume_bench_engine::hdfs::{Deadline, Hdfs, connect};
use nix::sys::signal::Signal;

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(30))
}

fn client(cluster: &Cluster) -> Arc<dyn Hdfs> {
    let address = format!("127.0.0.1:{}", cluster.namenode_port);
    connect(&Conf::default(), Some(&address)).unwrap()
}

#[test]
fn on_a_real_cluster() {
    let Some(jars) = cluster::jars() else {
        assert!(
            std::env::var_os("CI").is_none(),
            "Hadoop's jars are missing: run ci/setup hdfs"
        );
        eprintln!("SKIPPED: Hadoop's jars are missing; `ci/setup hdfs` brings them");
        return;
    };
    let mut cluster = Cluster::start(jars, 2);
    flushed_bytes_are_seen_before_close(&cluster);
    blocks_and_chunks_of_all_lengths(&cluster);
    many_small_files(&cluster);
    namenode_stopped(&cluster);
    datanode_killed(&mut cluster);
}

fn flushed_bytes_are_seen_before_close(cluster: &Cluster) {
    let hdfs = client(cluster);
    let mut file = hdfs.create("/flush/a.tmp", soon()).unwrap();
    let mut expected = Vec::new();
    for length in [1, 511, 1, 700, 512, 3000, 5] {
        let part = vec![b'a' + (length % 26) as u8; length];
        file.write(&part, soon()).unwrap();
        expected.extend_from_slice(&part);
        file.hflush(soon()).unwrap();
        assert_eq!(
            cluster.read("/flush/a.tmp").as_ref(),
            Some(&expected),
            "after {length}"
        );
    }
    file.close(soon()).unwrap();
    hdfs.rename("/flush/a.tmp", "/flush/a", soon()).unwrap();
    assert_eq!(cluster.read("/flush/a"), Some(expected.clone()));
    let listed = hdfs.list("/flush", soon()).unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (listed[0].path.as_str(), listed[0].length),
        ("/flush/a", expected.len() as u64)
    );
    assert!(hdfs.create("/flush/a", soon()).unwrap_err().is_taken());
    assert!(
        hdfs.rename("/flush/no", "/flush/b", soon())
            .unwrap_err()
            .is_not_found()
    );
    assert!(hdfs.delete("/flush/a", soon()).unwrap());
    assert!(!hdfs.delete("/flush/a", soon()).unwrap());
    assert_eq!(hdfs.status("/flush/a", soon()).unwrap(), None);
    assert!(
        hdfs.recover_lease("/flush/a", soon())
            .unwrap_err()
            .is_not_found()
    );
}

fn blocks_and_chunks_of_all_lengths(cluster: &Cluster) {
    let hdfs = client(cluster);
    for (n, (length, step)) in [
        (0, 1),
        (1 << 20, 100_000),
        (3_500_000, 65_537),
        ((2 << 20) + 1, 512),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/blocks/{n}");
        let data: Vec<u8> = (0..length)
            .map(|i: usize| (i * 31 + i / 1000) as u8)
            .collect();
        let mut file = hdfs.create(&path, soon()).unwrap();
        for (i, part) in data.chunks(step).enumerate() {
            file.write(part, soon()).unwrap();
            if i % 3 == 0 {
                file.hflush(soon()).unwrap();
            }
        }
        file.close(soon()).unwrap();
        assert!(
            cluster.read(&path) == Some(data),
            "{path} reads differently"
        );
    }
}

fn many_small_files(cluster: &Cluster) {
    let hdfs = client(cluster);
    let mut took = Vec::new();
    let data = vec![b'x'; 5000];
    for n in 0..200 {
        let started = Instant::now();
        let mut file = hdfs.create(&format!("/small/{n}.tmp"), soon()).unwrap();
        file.write(&data, soon()).unwrap();
        file.hflush(soon()).unwrap();
        file.close(soon()).unwrap();
        hdfs.rename(&format!("/small/{n}.tmp"), &format!("/small/{n}"), soon())
            .unwrap();
        took.push(started.elapsed());
    }
    took.sort();
    eprintln!(
        "create + 5 kB + hflush + close + rename: p50 {:?}, p90 {:?}",
        took[100], took[180]
    );
    let listed = hdfs.list("/small", soon()).unwrap();
    assert_eq!(listed.len(), 200);
    assert!(listed.iter().all(|file| file.length == 5000));
}

/// Flushes go on while the NameNode stands still; calls to it wait, and are carried out once.
fn namenode_stopped(cluster: &Cluster) {
    let hdfs = client(cluster);
    let mut file = hdfs.create("/stopped/a.tmp", soon()).unwrap();
    file.write(b"one ", soon()).unwrap();
    file.hflush(soon()).unwrap();
    cluster.signal_namenode(Signal::SIGSTOP);
    for _ in 0..10 {
        file.write(b"more ", soon()).unwrap();
        file.hflush(soon()).unwrap();
    }
    let failed = hdfs.create("/stopped/b", Deadline::after(Duration::from_millis(300)));
    assert!(failed.is_err());
    let waiting = std::thread::spawn({
        let hdfs = Arc::clone(&hdfs);
        move || hdfs.create("/stopped/c", soon()).map(drop)
    });
    std::thread::sleep(Duration::from_secs(5));
    cluster.signal_namenode(Signal::SIGCONT);
    waiting.join().unwrap().unwrap();
    file.close(soon()).unwrap();
    assert_eq!(cluster.read("/stopped/a.tmp").unwrap().len(), 4 + 50);
}

/// A killed DataNode fails the file at once; what was flushed is there after lease recovery.
fn datanode_killed(cluster: &mut Cluster) {
    let hdfs = client(cluster);
    let mut file = hdfs.create("/killed/a.tmp", soon()).unwrap();
    file.write(b"flushed", soon()).unwrap();
    file.hflush(soon()).unwrap();
    for n in 0..2 {
        cluster.kill_datanode(n);
    }
    let started = Instant::now();
    file.write(b" lost", soon()).unwrap();
    assert!(file.hflush(soon()).is_err());
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    assert!(file.write(b"x", soon()).is_err());
    drop(file);
    // A file that is begun while no DataNode is there waits for one.
    let waiting = std::thread::spawn({
        let hdfs = Arc::clone(&hdfs);
        move || {
            let mut file = hdfs.create("/killed/b", soon())?;
            file.write(b"patience", soon())?;
            file.hflush(soon())?;
            file.close(soon())
        }
    });
    for n in 0..2 {
        cluster.start_datanode(n);
    }
    wait_for("the lease to be recovered", Duration::from_secs(60), || {
        hdfs.recover_lease("/killed/a.tmp", soon()).unwrap()
    });
    let read = cluster.read("/killed/a.tmp").unwrap();
    assert!(read.starts_with(b"flushed"), "{read:?}");
    waiting.join().unwrap().unwrap();
    assert_eq!(cluster.read("/killed/b").unwrap(), b"patience");
}
