//! A real HDFS for tests: a NameNode and DataNodes as processes on the loopback interface.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[path = "../real/java.rs"]
mod java;

pub(crate) use java::wait_for;

/// Where the jars of Hadoop 3.3.6 are, if they are there.
pub(crate) fn jars() -> Option<PathBuf> {
    java::jars("hdfs-3.3.6", "hadoop-hdfs-3.3.6.jar")
}

struct Ports {
    data: u16,
    ipc: u16,
    http: u16,
}

/// The cluster. Its processes end with it.
pub(crate) struct Cluster {
    dir: tempfile::TempDir,
    jars: PathBuf,
    pub(crate) namenode_port: u16,
    http_port: u16,
    datanode_ports: Vec<Ports>,
    namenode: Option<Child>,
    datanodes: Vec<Option<Child>>,
}

impl Cluster {
    /// Formats and starts a cluster, and waits until it takes files.
    pub(crate) fn start(jars: PathBuf, datanodes: usize) -> Self {
        // All ports are held until all are known, so that none is given out twice.
        let held: Vec<_> = (0..2 + 3 * datanodes)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let ports: Vec<_> = held
            .iter()
            .map(|port| port.local_addr().unwrap().port())
            .collect();
        drop(held);
        let mut cluster = Self {
            dir: tempfile::tempdir().unwrap(),
            jars,
            namenode_port: ports[0],
            http_port: ports[1],
            datanode_ports: ports[2..]
                .chunks(3)
                .map(|p| Ports {
                    data: p[0],
                    ipc: p[1],
                    http: p[2],
                })
                .collect(),
            namenode: None,
            datanodes: (0..datanodes).map(|_| None).collect(),
        };
        let format = [
            "org.apache.hadoop.hdfs.server.namenode.NameNode",
            "-format",
            "-force",
        ];
        let status = cluster.java(0, "format", &format).wait().unwrap();
        assert!(status.success(), "format failed: {}", cluster.log("format"));
        cluster.start_namenode();
        for n in 0..datanodes {
            cluster.start_datanode(n);
        }
        cluster.wait_ready(datanodes);
        cluster
    }

    fn java(&self, n: usize, log: &str, arguments: &[&str]) -> Child {
        let conf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hdfs/conf");
        let class_path = format!("{}:{}/*", conf.display(), self.jars.display());
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join(format!("{log}.log")))
            .unwrap();
        let none = Ports {
            data: 0,
            ipc: 0,
            http: 0,
        };
        let ports = self.datanode_ports.get(n).unwrap_or(&none);
        java::java()
            .arg(format!("-Dtest.dir={}", self.dir.path().display()))
            .arg(format!("-Dtest.nn={}", self.namenode_port))
            .arg(format!("-Dtest.nnhttp={}", self.http_port))
            .arg(format!("-Dtest.n={n}"))
            .arg(format!("-Dtest.dn={}", ports.data))
            .arg(format!("-Dtest.dnipc={}", ports.ipc))
            .arg(format!("-Dtest.dnhttp={}", ports.http))
            .args(["-cp", &class_path])
            .args(arguments)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("java is needed for these tests")
    }

    pub(crate) fn log(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(format!("{name}.log"))).unwrap_or_default()
    }

    pub(crate) fn start_namenode(&mut self) {
        let class = "org.apache.hadoop.hdfs.server.namenode.NameNode";
        self.namenode = Some(self.java(0, "namenode", &[class]));
    }

    pub(crate) fn start_datanode(&mut self, n: usize) {
        let class = "org.apache.hadoop.hdfs.server.datanode.DataNode";
        self.datanodes[n] = Some(self.java(n, &format!("datanode{n}"), &[class]));
    }

    pub(crate) fn wait_ready(&self, datanodes: usize) {
        let path = "/jmx?qry=Hadoop:service=NameNode,name=FSNamesystemState";
        wait_for("the cluster to be ready", Duration::from_secs(90), || {
            let Some((_, _, body)) = get(self.http_port, path) else {
                return false;
            };
            let body = String::from_utf8_lossy(&body).replace(' ', "");
            body.contains("\"FSState\":\"Operational\"")
                && body.contains(&format!("\"NumLiveDataNodes\":{datanodes},"))
        });
    }

    pub(crate) fn signal_namenode(&self, signal: Signal) {
        send(self.namenode.as_ref(), signal);
    }

    pub(crate) fn signal_datanode(&self, n: usize, signal: Signal) {
        send(self.datanodes[n].as_ref(), signal);
    }

    pub(crate) fn kill_namenode(&mut self) {
        end(&mut self.namenode);
    }

    pub(crate) fn kill_datanode(&mut self, n: usize) {
        end(&mut self.datanodes[n]);
    }

    /// The content of a file by WebHDFS, be it open or closed. The NameNode's redirect is followed.
    pub(crate) fn read(&self, path: &str) -> Option<Vec<u8>> {
        let url = format!("/webhdfs/v1{path}?op=OPEN&user.name=test");
        let (status, headers, _) = get(self.http_port, &url)?;
        if status != 307 {
            return None;
        }
        let location = headers.lines().find_map(|line| {
            line.to_ascii_lowercase()
                .starts_with("location:")
                .then(|| line[9..].trim().to_owned())
        })?;
        let (authority, rest) = location.strip_prefix("http://")?.split_once('/')?;
        let port = authority.rsplit_once(':')?.1.parse().ok()?;
        let (status, _, body) = get(port, &format!("/{rest}"))?;
        (status == 200).then_some(body)
    }

    /// What `hdfs dfs -text` prints of a path.
    pub(crate) fn text(&self, path: &str) -> Vec<u8> {
        let log = "shell-out";
        let _ = fs::remove_file(self.dir.path().join(format!("{log}.log")));
        let arguments = ["org.apache.hadoop.fs.FsShell", "-text", path];
        let status = self.java(99, log, &arguments).wait().unwrap();
        let text = fs::read(self.dir.path().join(format!("{log}.log"))).unwrap();
        assert!(status.success(), "{}", String::from_utf8_lossy(&text));
        text
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        end(&mut self.namenode);
        self.datanodes.iter_mut().for_each(end);
    }
}

fn send(child: Option<&Child>, signal: Signal) {
    let pid = child.unwrap().id();
    kill(Pid::from_raw(pid as i32), signal).unwrap();
    if signal == Signal::SIGSTOP {
        // On a busy machine a process runs on for a while after it was told to stop.
        wait_for("the process to stop", Duration::from_secs(20), || {
            let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
            tasks.flatten().all(|task| {
                let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
                stat.rsplit(')')
                    .next()
                    .is_none_or(|rest| rest.trim_start().starts_with('T'))
            })
        });
    }
}

fn end(child: &mut Option<Child>) {
    if let Some(mut child) = child.take() {
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Status, headers and body of a GET.
fn get(port: u16, path: &str) -> Option<(u16, String, Vec<u8>)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let split = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let headers = String::from_utf8_lossy(&answer[..split]).into_owned();
    let status = headers.split(' ').nth(1)?.parse().ok()?;
    let body = answer[split + 4..].to_vec();
    let chunked = headers
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked");
    Some((
        status,
        headers,
        if chunked { unchunk(&body)? } else { body },
    ))
}

fn unchunk(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        let line = body.windows(2).position(|window| window == b"\r\n")?;
        let size =
            usize::from_str_radix(std::str::from_utf8(&body[..line]).ok()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(out);
        }
        out.extend_from_slice(body.get(line + 2..line + 2 + size)?);
        body = body.get(line + 2 + size + 2..)?;
    }
}
