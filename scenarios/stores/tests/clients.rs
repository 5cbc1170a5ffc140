//! The embedded HDFS under clients that are not ours: Hadoop's shell, its Java API and `DebugAdmin`,
//! Flume's sink, and `hdfs-native`.
//!
//! Those of Java need a JDK and the jars (`ci/setup`). Without them their tests say so and pass, except in
//! CI, where they fail. One JVM runs at a time.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "these are tests, which end with a panic, and say so when they are skipped"
)]

#[path = "clients/cluster.rs"]
mod cluster;
#[path = "clients/native.rs"]
mod native;

use std::fs;
use std::io::Write;
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cluster::{Cluster, get, hadoop_jars, jars, wait_for};

/// Not a test of anything: the process that the others start, see `cluster::store_process`.
#[test]
fn store_process() -> ExitCode {
    cluster::store_process().unwrap_or(ExitCode::SUCCESS)
}

/// One JVM at a time.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes that do not repeat in any block's rhythm.
fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|i| (i * 31 + i / 997) as u8).collect()
}

#[test]
fn the_shell() {
    let _turn = turn();
    let Some(jars) = hadoop_jars() else { return };
    let mut cluster = Cluster::start(2);
    let mut java = cluster.java(&jars, &[("dfs.replication", "1")]);
    let local = |name: &str| cluster.dir.path().join(name).display().to_string();
    let (big, gz, back) = (local("big"), local("lines.gz"), local("back"));
    let data = bytes(3 * 1_000_000 + 17);
    fs::write(&big, &data).unwrap();
    let mut lines = flate2::write::GzEncoder::new(
        fs::File::create(&gz).unwrap(),
        flate2::Compression::default(),
    );
    lines.write_all(b"one\ntwo\n").unwrap();
    lines.finish().unwrap();

    java.fs(&["-mkdir", "-p", "/a/b/c"]).well();
    java.fs(&["-mkdir", "/a"]).refused("File exists");
    java.fs(&["-put", &big, &gz, "/a/b"]).well();
    java.fs(&["-put", &big, "/a/b/big"]).refused("File exists");
    java.fs(&["-put", "-f", &big, "/a/b/big"]).well();
    let listed = java.fs(&["-ls", "-R", "/"]).well().text();
    for part in ["/a/b/c", "/a/b/big", "/a/b/lines.gz", "3000017"] {
        assert!(listed.contains(part), "{part} in {listed}");
    }
    assert_eq!(
        java.fs(&["-cat", "/a/b/big"]).well().out,
        data,
        "four blocks read back"
    );
    assert_eq!(
        cluster.read("/a/b/big"),
        Some(data.clone()),
        "and through WebHDFS"
    );
    java.fs(&["-get", "/a/b/big", &back]).well();
    assert_eq!(fs::read(&back).unwrap(), data);
    assert_eq!(
        java.fs(&["-text", "/a/b/lines.gz"]).well().text(),
        "one\ntwo\n"
    );
    assert_eq!(
        java.fs(&["-tail", "/a/b/big"]).well().out,
        data[data.len() - 1024..]
    );
    assert!(
        java.fs(&["-du", "-s", "/a/b"])
            .well()
            .text()
            .starts_with("3000")
    );
    assert!(
        java.fs(&["-count", "/a"])
            .well()
            .text()
            .split_whitespace()
            .take(2)
            .eq(["3", "2"])
    );
    assert_eq!(
        java.fs(&["-stat", "%b %r %o %F", "/a/b/big"])
            .well()
            .text()
            .trim(),
        "3000017 1 1048576 regular file"
    );
    java.fs(&["-test", "-d", "/a/b"]).well();
    java.fs(&["-chmod", "600", "/a/b/big"]).well();
    java.fs(&["-chown", "me:us", "/a/b/big"]).well();
    java.fs(&["-setrep", "2", "/a/b/big"]).well();
    let listed = java.fs(&["-ls", "/a/b/big"]).well().text();
    assert!(
        listed.starts_with("-rw-------   2 me us    3000017"),
        "{listed}"
    );
    java.fs(&["-touchz", "/a/empty"]).well();
    assert!(java.fs(&["-cat", "/a/empty"]).well().out.is_empty());
    assert!(
        java.fs(&["-df", "/"])
            .well()
            .text()
            .contains("hdfs://127.0.0.1")
    );

    java.fs(&["-mv", "/a/b/big", "/a/moved"]).well();
    java.fs(&["-mv", "/a/moved", "/a/b/lines.gz"])
        .refused("File exists");
    java.fs(&["-mv", "/a/nothing", "/a/b"])
        .refused("No such file or directory");
    java.fs(&["-cat", "/a/b/big"])
        .refused("No such file or directory");
    java.fs(&["-appendToFile", &gz, "/a/moved"])
        .refused("does not append");
    java.fs(&["-rm", "/a"]).refused("Is a directory");
    java.fs(&["-rmdir", "/a/b"]).refused("not empty");
    java.fs(&["-rm", "-r", "/a/b"]).well();

    // What was told survives a SIGKILL of the NameNode, blocks included.
    cluster.kill_namenode();
    cluster.start_namenode();
    cluster.wait_ready(2);
    java.notice_restart();
    assert_eq!(java.fs(&["-cat", "/a/moved"]).well().out, data);
    java.fs(&["-test", "-e", "/a/b"]).refused("");
    java.fs(&["-rm", "-r", "/a"]).well();
    wait_for(
        "the DataNodes to delete the blocks",
        Duration::from_secs(10),
        || {
            (0..2).all(|n| {
                fs::read_dir(cluster.dir.path().join(format!("datanode{n}/finalized")))
                    .unwrap()
                    .count()
                    == 0
            })
        },
    );
}

#[test]
fn open_files() {
    let _turn = turn();
    let Some(jars) = hadoop_jars() else { return };
    let mut cluster = Cluster::start(2);
    let mut java = cluster.java(&jars, &[("dfs.replication", "1")]);
    let read = |java: &mut cluster::Java, path: &str| java.run(&["read", path]).well().text();

    // The first flush tells the NameNode a length, later ones do not; the DataNode knows all.
    java.run(&["create", "/open/one", "1"]).well();
    java.run(&["write", "/open/one", "first "]).well();
    java.run(&["write", "/open/one", "second "]).well();
    assert_eq!(read(&mut java, "/open/one"), "first second ");
    let (_, status) = cluster.webhdfs("/open/one", "op=GETFILESTATUS");
    assert_eq!(status["FileStatus"]["length"], 6);
    let (_, located) = cluster.webhdfs("/open/one", "op=GET_BLOCK_LOCATIONS&offset=0&length=1");
    assert_eq!(located["LocatedBlocks"]["isUnderConstruction"], true);
    let (code, refused) = cluster.webhdfs("/open/one", "op=OPEN&offset=7");
    assert_eq!(
        (code, refused["RemoteException"]["exception"].as_str()),
        (403, Some("IOException"))
    );
    assert!(
        refused["RemoteException"]["message"]
            .as_str()
            .unwrap()
            .contains("out of the range")
    );
    let (port, target) = cluster.redirect("/open/one").unwrap();
    let at = |offset: u32| {
        get(
            port,
            &target.replace("offset=0", &format!("offset={offset}")),
        )
        .unwrap()
    };
    assert_eq!(at(6).2, b"second ");
    assert_eq!((at(13).0, at(13).2.len()), (200, 0));
    assert_eq!(at(14).0, 403);
    java.fs(&["-put", "/dev/null", "/open/one"])
        .refused("File exists");
    java.run(&["create", "/open/one", "1"])
        .refused("AlreadyBeingCreatedException");

    // A rename does not disturb the writer, nor does the death of the NameNode.
    java.fs(&["-mv", "/open/one", "/open/renamed"]).well();
    java.run(&["write", "/open/one", "third "]).well();
    cluster.kill_namenode();
    java.run(&["write", "/open/one", "fourth "]).well();
    cluster.start_namenode();
    cluster.wait_ready(2);
    java.notice_restart();
    java.run(&["sync", "/open/one", "fifth "]).well();
    assert_eq!(
        read(&mut java, "/open/renamed"),
        "first second third fourth fifth "
    );
    java.run(&["close", "/open/one"]).well();
    assert_eq!(
        cluster.webhdfs("/open/renamed", "op=GETFILESTATUS").1["FileStatus"]["length"],
        32
    );

    // Deleted under its writer.
    java.run(&["create", "/open/two", "1"]).well();
    java.run(&["write", "/open/two", "x"]).well();
    java.fs(&["-rm", "/open/two"]).well();
    java.run(&["close", "/open/two"])
        .refused("FileNotFoundException");
}

#[test]
fn writers_and_datanodes_die() {
    let _turn = turn();
    let Some(jars) = hadoop_jars() else { return };
    let mut cluster = Cluster::start(1);
    let mut java = cluster.java(&jars, &[("dfs.replication", "1")]);

    // The DataNode dies after a flush: unreadable until the lease is recovered, and then all is there.
    java.run(&["create", "/dead/one", "1"]).well();
    java.run(&["write", "/dead/one", "flushed "]).well();
    java.run(&["write", "/dead/one", "twice"]).well();
    cluster.kill_datanode(0);
    java.run(&["write", "/dead/one", "never"])
        .refused("All datanodes");
    wait_for("the DataNode to be dead", Duration::from_secs(10), || {
        cluster.webhdfs("/", "op=LISTSTATUS").0 == 200
            && get(cluster.http, "/jmx").is_some_and(|(_, _, body)| {
                String::from_utf8_lossy(&body).contains("\"NumLiveDataNodes\":0")
            })
    });
    java.fs(&["-touchz", "/dead/nothing"]).well();
    java.fs(&["-put", "/etc/hostname", "/dead/nowhere"])
        .refused("could only be written to 0 of the 1 minReplication nodes");
    cluster.start_datanode(0);
    cluster.wait_ready(1);
    java.run(&["read", "/dead/one"])
        .refused("CannotObtainBlockLength");
    let (port, target) = cluster.redirect("/dead/one").unwrap();
    let (code, _, body) = get(port, &target).unwrap();
    assert_eq!(code, 403);
    assert!(String::from_utf8_lossy(&body).contains("CannotObtainBlockLengthException"));
    java.run(&[
        "debug",
        "recoverLease",
        "-path",
        "/dead/one",
        "-retries",
        "8",
    ])
    .well();
    assert_eq!(
        java.run(&["read", "/dead/one"]).well().text(),
        "flushed twice"
    );
    assert_eq!(
        cluster.read("/dead/one").as_deref(),
        Some(&b"flushed twice"[..])
    );
    java.run(&[
        "debug",
        "recoverLease",
        "-path",
        "/dead/one",
        "-retries",
        "1",
    ])
    .well();
    java.run(&[
        "debug",
        "recoverLease",
        "-path",
        "/dead/not",
        "-retries",
        "1",
    ])
    .refused("File does not exist");

    // Our own client recovers what is open, and says nothing of what is closed.
    for (path, text) in [("/left/a.tmp", "a"), ("/left/below/b.tmp", "bb")] {
        java.run(&["create", path, "1"]).well();
        java.run(&["write", path, text]).well();
    }
    java.run(&["create", "/left/empty.tmp", "1"]).well();
    let mut recovered = cluster.recover_leases("/left");
    recovered.sort_by_key(|line| line["path"].as_str().unwrap().to_owned());
    let expected = ["/left/a.tmp", "/left/below/b.tmp", "/left/empty.tmp"]
        .map(|path| serde_json::json!({"path": path, "error": null}));
    assert_eq!(recovered, expected);
    assert!(cluster.recover_leases("/").is_empty());
    assert!(cluster.recover_leases("/not/there").is_empty());
    assert_eq!(java.run(&["read", "/left/below/b.tmp"]).well().text(), "bb");
    // The writer from before is shut out.
    java.run(&["write", "/left/a.tmp", "late"]).refused("");
    java.run(&["close", "/left/a.tmp"]).refused("");
    assert_eq!(java.run(&["read", "/left/a.tmp"]).well().text(), "a");

    // Files under construction survive the NameNode, and can be recovered after it.
    java.run(&["create", "/left/c.tmp", "1"]).well();
    java.run(&["write", "/left/c.tmp", "c"]).well();
    cluster.kill_namenode();
    cluster.start_namenode();
    cluster.wait_ready(1);
    java.notice_restart();
    assert_eq!(cluster.recover_leases("/").len(), 1);
    assert_eq!(java.run(&["read", "/left/c.tmp"]).well().text(), "c");
}

#[test]
fn pipelines_of_several() {
    let _turn = turn();
    let Some(jars) = hadoop_jars() else { return };
    // Java does not take a DataNode that has failed it into the same file again: two may fail, two are left.
    let mut cluster = Cluster::start(4);
    let site = [
        ("dfs.replication", "2"),
        (
            "dfs.client.block.write.replace-datanode-on-failure.policy",
            "ALWAYS",
        ),
    ];
    let mut java = cluster.java(&jars, &site);
    java.run(&["create", "/many/one", "2"]).well();
    java.run(&["write", "/many/one", "both "]).well();
    let (_, located) = cluster.webhdfs("/many/one", "op=GET_BLOCK_LOCATIONS&offset=0&length=1");
    let nodes = located["LocatedBlocks"]["lastLocatedBlock"]["locations"]
        .as_array()
        .unwrap()
        .clone();
    assert_eq!(nodes.len(), 2);
    // Each in turn: first the one behind, then the one before. A third takes the place of the first.
    for (which, text) in [(1, "one died "), (0, "two died")] {
        let n = cluster
            .ports
            .iter()
            .position(|ports| nodes[which]["xferPort"] == ports[0])
            .unwrap();
        cluster.kill_datanode(n);
        java.run(&["write", "/many/one", text]).well();
        assert_eq!(
            java.run(&["read", "/many/one"]).well().text(),
            if which == 1 {
                "both one died "
            } else {
                "both one died two died"
            }
        );
        cluster.start_datanode(n);
        cluster.wait_ready(4);
    }
    java.run(&["close", "/many/one"]).well();
    assert_eq!(
        java.run(&["read", "/many/one"]).well().text(),
        "both one died two died"
    );
    assert_eq!(
        cluster.read("/many/one").as_deref(),
        Some(&b"both one died two died"[..])
    );

    // Both replicas of a longer file are whole: it is read with either of the two gone.
    let big = cluster.dir.path().join("big");
    let data = bytes(2_500_000);
    fs::write(&big, &data).unwrap();
    java.fs(&["-put", &big.display().to_string(), "/many/big"])
        .well();
    for n in 0..4 {
        cluster.kill_datanode(n);
        assert!(
            java.fs(&["-cat", "/many/big"]).well().out == data,
            "without DataNode {n}"
        );
        cluster.start_datanode(n);
        cluster.wait_ready(4);
    }
}

#[test]
fn misbehaviour_on_order() {
    let _turn = turn();
    let Some(jars) = hadoop_jars() else { return };
    let cluster = Cluster::start(1);
    let site = [
        ("dfs.replication", "1"),
        ("dfs.client.socket-timeout", "1500"),
        ("dfs.client.block.write.retries", "1"),
        // A client of one NameNode repeats nothing unless it is told to.
        ("dfs.client.retry.policy.enabled", "true"),
        ("dfs.client.retry.policy.spec", "100,10"),
    ];
    let mut java = cluster.java(&jars, &site);
    let file = cluster.dir.path().join("file");
    fs::write(&file, "contents").unwrap();
    let file = file.display().to_string();
    let datanode = cluster.ports[0][2];

    java.fs(&["-mkdir", "/m"]).well();
    // The NameNode throws what it is told to, at the call it is told to.
    cluster.order(cluster.http, "method=create&class=org.apache.hadoop.hdfs.protocol.NSQuotaExceededException&message=on+order&skip=1");
    java.fs(&["-put", &file, "/m/1"]).well();
    java.fs(&["-put", &file, "/m/2"]).refused("on order");
    java.fs(&["-put", &file, "/m/2"]).well();
    // Half an answer and none: the client calls again, and the NameNode knows the call.
    cluster.order(cluster.http, "method=create&do=half");
    cluster.order(cluster.http, "method=rename2&do=half");
    cluster.order(cluster.http, "method=addBlock&do=hang_up");
    cluster.order(cluster.http, "method=complete&do=half");
    java.fs(&["-put", &file, "/m/3"]).well();
    assert_eq!(java.fs(&["-cat", "/m/3"]).well().text(), "contents");
    cluster.order(cluster.http, "method=getFileInfo&do=stall&ms=1000");
    java.fs(&["-test", "-e", "/m/3"]).well();
    // Safe mode.
    cluster.order(cluster.http, "safe_mode=on");
    java.fs(&["-mkdir", "/m/d"])
        .refused("Name node is in safe mode");
    assert_eq!(java.fs(&["-cat", "/m/3"]).well().text(), "contents");
    cluster.order(cluster.http, "safe_mode=off");
    java.fs(&["-mkdir", "/m/d"]).well();
    // The DataNode refuses pipelines, resets them, or keeps its acknowledgements to itself.
    for (order, outcome) in [
        ("set_up=refuse", "1 node(s) are excluded in this operation"),
        ("packets=reset", "are bad. Aborting"),
        ("acks=stall", "are bad. Aborting"),
    ] {
        cluster.order(datanode, order);
        java.fs(&["-put", &file, "/m/4"]).refused(outcome);
        cluster.order(datanode, "clear=1");
        java.fs(&["-put", "-f", &file, "/m/4"]).well();
        java.fs(&["-rm", "/m/4"]).well();
    }
    assert_eq!(get(cluster.http, "/fault?method=create").unwrap().0, 400);
}

#[test]
fn flumes_sink() {
    let _turn = turn();
    let Some(jars) = jars("flume-1.11.0", "flume-hdfs-sink-1.11.0.jar") else {
        return;
    };
    let cluster = Cluster::start(1);
    let conf = cluster.dir.path().join("flume");
    fs::create_dir_all(&conf).unwrap();
    let agent = format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
         a1.sources.r1.type = seq\na1.sources.r1.totalEvents = 5000\na1.sources.r1.channels = c1\n\
         a1.channels.c1.type = memory\na1.channels.c1.capacity = 10000\n\
         a1.sinks.k1.type = hdfs\na1.sinks.k1.channel = c1\n\
         a1.sinks.k1.hdfs.path = hdfs://127.0.0.1:{}/flume/%Y\na1.sinks.k1.hdfs.useLocalTimeStamp = true\n\
         a1.sinks.k1.hdfs.fileType = DataStream\na1.sinks.k1.hdfs.writeFormat = Text\n\
         a1.sinks.k1.hdfs.rollInterval = 0\na1.sinks.k1.hdfs.rollSize = 0\na1.sinks.k1.hdfs.rollCount = 1200\n\
         a1.sinks.k1.hdfs.minBlockReplicas = 1\n",
        cluster.rpc
    );
    fs::write(conf.join("flume.conf"), agent).unwrap();
    let site = "<configuration><property><name>dfs.replication</name><value>1</value></property></configuration>";
    fs::write(conf.join("hdfs-site.xml"), site).unwrap();
    let flume = cluster.flume(&jars, &conf);
    let year = cluster::find_directory(&cluster, "/flume");
    let files = || {
        cluster.webhdfs(&year, "op=LISTSTATUS").1["FileStatuses"]["FileStatus"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    };
    let lines = |name: &str| -> Vec<u32> {
        let text = String::from_utf8(cluster.read(&format!("{year}/{name}")).unwrap()).unwrap();
        text.lines().map(|line| line.parse().unwrap()).collect()
    };
    let names = || -> Vec<String> {
        files()
            .iter()
            .map(|file| file["pathSuffix"].as_str().unwrap().to_owned())
            .collect()
    };
    // Four files of 1,200 events, and the last one, which stays open and is read as far as it was flushed.
    wait_for("Flume to write everything", Duration::from_secs(60), || {
        let names = names();
        names.len() == 5
            && names.iter().filter(|name| name.ends_with(".tmp")).count() == 1
            && names.iter().map(|name| lines(name).len()).sum::<usize>() == 5000
    });
    let mut all: Vec<u32> = names().iter().flat_map(|name| lines(name)).collect();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..5000), "every event once");
    // Flume dies; what it left open is recovered, and reads as before.
    drop(flume);
    let recovered = cluster.recover_leases("/flume");
    assert_eq!(recovered.len(), 1, "{recovered:?}");
    assert_eq!(recovered[0]["error"], serde_json::Value::Null);
    assert_eq!(
        names().iter().map(|name| lines(name).len()).sum::<usize>(),
        5000
    );
}
