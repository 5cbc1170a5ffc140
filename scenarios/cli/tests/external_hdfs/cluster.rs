//! Somebody's HDFS: one NameNode and one DataNode on the loopback interface, and its shell.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use flume_bench_scenarios::tools::{find_program, libs};

/// A JVM on a busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(120);

const NAMENODE: &str = "org.apache.hadoop.hdfs.server.namenode.NameNode";
const DATANODE: &str = "org.apache.hadoop.hdfs.server.datanode.DataNode";

/// Where Hadoop's jars are, if they are there, and Java with them.
pub(crate) fn jars() -> Option<PathBuf> {
    find_program("java")?;
    let jars = libs().join("hdfs-3.3.6");
    jars.join(".complete").exists().then_some(jars)
}

/// The cluster. Its processes end with it.
pub(crate) struct Cluster {
    dir: tempfile::TempDir,
    jars: PathBuf,
    pub(crate) rpc: u16,
    pub(crate) http: u16,
    nodes: Vec<Child>,
}

impl Cluster {
    /// Formats and starts it, and waits until it takes files.
    pub(crate) fn start(jars: PathBuf) -> Self {
        // All ports are held until all are known, so that none is given out twice.
        let held: Vec<TcpListener> = (0..5)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let ports: Vec<u16> = held
            .iter()
            .map(|port| port.local_addr().unwrap().port())
            .collect();
        drop(held);
        let mut cluster = Self {
            dir: tempfile::tempdir().unwrap(),
            jars,
            rpc: ports[0],
            http: ports[1],
            nodes: Vec::new(),
        };
        cluster.configure(&ports);
        let formatted = cluster
            .java("format", &[NAMENODE, "-format", "-force"])
            .status();
        assert!(formatted.unwrap().success(), "{}", cluster.log("format"));
        for (class, log) in [(NAMENODE, "namenode"), (DATANODE, "datanode")] {
            let node = cluster.java(log, &[class]).spawn().unwrap();
            cluster.nodes.push(node);
        }
        let deadline = Instant::now() + PATIENCE;
        while !cluster.is_ready() {
            assert!(
                Instant::now() < deadline,
                "the cluster is not ready: {}",
                cluster.log("namenode")
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        cluster
    }

    fn configure(&self, ports: &[u16]) {
        let conf = self.path("conf");
        for application in ["hdfs", "datanode", "static"] {
            let directory = conf.join("webapps").join(application).join("WEB-INF");
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("web.xml"), "<web-app/>\n").unwrap();
        }
        let file = |part: &str| format!("file://{}", self.path(part).display());
        let local = |port: u16| format!("127.0.0.1:{port}");
        let core = [
            ("fs.defaultFS", format!("hdfs://{}", local(ports[0]))),
            ("hadoop.tmp.dir", self.path("tmp").display().to_string()),
        ];
        let no = "false".to_owned();
        let site = [
            ("dfs.replication", "1".to_owned()),
            ("dfs.namenode.name.dir", file("name")),
            ("dfs.namenode.http-address", local(ports[1])),
            ("dfs.namenode.safemode.extension", "0".to_owned()),
            (
                "dfs.namenode.datanode.registration.ip-hostname-check",
                no.clone(),
            ),
            ("dfs.permissions.enabled", no),
            ("dfs.datanode.data.dir", file("data")),
            ("dfs.datanode.address", local(ports[2])),
            ("dfs.datanode.ipc.address", local(ports[3])),
            ("dfs.datanode.http.address", local(ports[4])),
            ("dfs.datanode.hostname", "127.0.0.1".to_owned()),
        ];
        fs::write(conf.join("core-site.xml"), xml(&core)).unwrap();
        fs::write(conf.join("hdfs-site.xml"), xml(&site)).unwrap();
    }

    fn java(&self, log: &str, arguments: &[&str]) -> Command {
        let class_path = format!("{}:{}/*", self.path("conf").display(), self.jars.display());
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.path(&format!("{log}.log")))
            .unwrap();
        let mut command = Command::new("java");
        command
            .args([
                "--add-opens=java.base/java.lang=ALL-UNNAMED",
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
                "-Xmx256m",
                "-Djava.net.preferIPv4Stack=true",
                "-cp",
                &class_path,
            ])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        command
    }

    fn path(&self, part: &str) -> PathBuf {
        self.dir.path().join(part)
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default()
    }

    fn is_ready(&self) -> bool {
        let path = "/jmx?qry=Hadoop:service=NameNode,name=FSNamesystemState";
        get(self.http, path).is_some_and(|answer| {
            let answer = answer.replace(' ', "");
            answer.contains("\"FSState\":\"Operational\"")
                && answer.contains("\"NumLiveDataNodes\":1,")
        })
    }

    /// Hadoop's file system shell, run to its end.
    pub(crate) fn shell(&self, arguments: &[&str]) {
        let mut all = vec!["org.apache.hadoop.fs.FsShell"];
        all.extend(arguments);
        let status = self.java("shell", &all).status().unwrap();
        assert!(status.success(), "{arguments:?}: {}", self.log("shell"));
    }

    /// A stranger who writes a file and has not closed it yet.
    pub(crate) fn stranger(&self, path: &str, first: &str) -> Stranger {
        let mut command = self.java(
            "stranger",
            &["org.apache.hadoop.fs.FsShell", "-put", "-d", "-", path],
        );
        let child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut stranger = Stranger { child };
        stranger.write(first);
        let (parent, name) = path.rsplit_once('/').unwrap();
        let listing = format!("/webhdfs/v1{parent}?op=LISTSTATUS&user.name=stranger");
        let deadline = Instant::now() + PATIENCE;
        while !get(self.http, &listing).is_some_and(|answer| answer.contains(name)) {
            assert!(Instant::now() < deadline, "{}", self.log("stranger"));
            std::thread::sleep(Duration::from_millis(50));
        }
        stranger
    }

    /// What the stranger was told.
    pub(crate) fn stranger_said(&self) -> String {
        self.log("stranger")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            let _ = node.kill();
            let _ = node.wait();
        }
    }
}

/// The writer of an open file.
pub(crate) struct Stranger {
    child: Child,
}

impl Stranger {
    fn write(&mut self, text: &str) {
        let mut stdin = self.child.stdin.as_ref().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
        stdin.flush().unwrap();
    }

    /// Writes the rest and closes the file: possible only while it still has the lease.
    pub(crate) fn finish(mut self, rest: &str) -> bool {
        self.write(rest);
        drop(self.child.stdin.take());
        self.child.wait().unwrap().success()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn xml(properties: &[(&str, String)]) -> String {
    let mut text = String::from("<configuration>\n");
    for (name, value) in properties {
        text.push_str(&format!(
            "<property><name>{name}</name><value>{value}</value></property>\n"
        ));
    }
    text + "</configuration>\n"
}

/// The whole answer to a GET.
fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.contains(" 200 ").then_some(answer)
}

/// Every file below a local directory, by its path in it.
pub(crate) fn files_below(root: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_none_or(|ending| ending != "crc") {
                let name = path.strip_prefix(root).unwrap().display().to_string();
                files.push((name, fs::read(&path).unwrap()));
            }
        }
    }
    files.sort();
    files
}
