//! An embedded HDFS as processes, and Java's clients of it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

/// Carries the words of a store process, separated by newlines. The process is this very program, told to
/// run only the test that is the store: tests of this package have no other program at hand.
const WORDS: &str = "FLUME_BENCH_TEST_STORE";

/// Runs the store if this process is to be one.
pub(crate) fn store_process() -> Option<ExitCode> {
    let words = std::env::var(WORDS).ok()?;
    Some(flume_bench_stores::main(
        words
            .lines()
            .map(OsString::from)
            .collect::<Vec<_>>()
            .into_iter(),
    ))
}

fn store_command(words: &[String]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "store_process", "--nocapture"])
        .env(WORDS, words.join("\n"))
        .stdin(Stdio::null());
    command
}

/// Directories of the jars of Hadoop and Flume, if they are there.
pub(crate) fn jars(name: &str, probe: &str) -> Option<PathBuf> {
    let libs = match std::env::var_os("FLUME_BENCH_LIBS") {
        Some(libs) => PathBuf::from(libs),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".cache/flume-bench"),
    };
    let jars = libs.join(name);
    if jars.join(probe).exists() {
        return Some(jars);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "{probe} is missing: run ci/setup"
    );
    eprintln!("SKIPPED: {probe} is missing; ci/setup brings it");
    None
}

pub(crate) fn hadoop_jars() -> Option<PathBuf> {
    jars("hdfs-3.3.6", "hadoop-hdfs-3.3.6.jar")
}

/// Waits until `condition` holds; panics with `what` after `limit`.
pub(crate) fn wait_for(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < limit, "waited {limit:?} for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The cluster. Its processes end with it.
pub(crate) struct Cluster {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) rpc: u16,
    pub(crate) http: u16,
    /// data, IPC and HTTP of each DataNode.
    pub(crate) ports: Vec<[u16; 3]>,
    namenode: Option<Child>,
    datanodes: Vec<Option<Child>>,
}

impl Cluster {
    pub(crate) fn start(datanodes: usize) -> Self {
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
            rpc: ports[0],
            http: ports[1],
            ports: ports[2..].chunks(3).map(|p| [p[0], p[1], p[2]]).collect(),
            namenode: None,
            datanodes: (0..datanodes).map(|_| None).collect(),
        };
        cluster.start_namenode();
        for n in 0..datanodes {
            cluster.start_datanode(n);
        }
        cluster.wait_ready(datanodes);
        cluster
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// The log that all processes of this name append to.
    fn log_file(&self, name: &str) -> File {
        File::options()
            .create(true)
            .append(true)
            .open(self.path(&format!("{name}.log")))
            .unwrap()
    }

    fn spawn(&self, name: &str, words: &[String]) -> Child {
        store_command(words)
            .stdout(Stdio::null())
            .stderr(self.log_file(name))
            .spawn()
            .unwrap()
    }

    pub(crate) fn start_namenode(&mut self) {
        let (rpc, http, dir) = (self.rpc, self.http, self.path("namenode"));
        let words = format!("namenode --rpc {rpc} --http {http} --replication 1 --dir {dir}");
        self.namenode = Some(self.spawn("namenode", &split(&words)));
    }

    pub(crate) fn start_datanode(&mut self, n: usize) {
        let ([data, ipc, http], rpc, dir) =
            (self.ports[n], self.rpc, self.path(&format!("datanode{n}")));
        let words = format!(
            "datanode --number {n} --announce 127.0.0.1 --data {data} --ipc {ipc} --http {http} --namenode 127.0.0.1:{rpc} --dir {dir}"
        );
        self.datanodes[n] = Some(self.spawn(&format!("datanode{n}"), &split(&words)));
        wait_for("the DataNode's ports", Duration::from_secs(20), || {
            TcpStream::connect(("127.0.0.1", http)).is_ok()
        });
    }

    pub(crate) fn kill_namenode(&mut self) {
        end(&mut self.namenode);
    }

    pub(crate) fn kill_datanode(&mut self, n: usize) {
        end(&mut self.datanodes[n]);
    }

    pub(crate) fn log(&self, name: &str) -> String {
        fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default()
    }

    pub(crate) fn wait_ready(&self, datanodes: usize) {
        wait_for("the cluster to be ready", Duration::from_secs(20), || {
            let path = "/jmx?qry=Hadoop:service=NameNode,name=FSNamesystemState";
            let Some((200, _, body)) = get(self.http, path) else {
                return false;
            };
            let state: serde_json::Value = serde_json::from_slice(&body).unwrap();
            state["beans"][0]["FSState"] == "Operational"
                && state["beans"][0]["NumLiveDataNodes"] == datanodes
        });
    }

    /// An answer of the NameNode's WebHDFS.
    pub(crate) fn webhdfs(&self, path: &str, query: &str) -> (u16, serde_json::Value) {
        let (status, _, body) = get(
            self.http,
            &format!("/webhdfs/v1{path}?{query}&user.name=test"),
        )
        .unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    /// Where the NameNode sends a reader of a file: port and target.
    pub(crate) fn redirect(&self, path: &str) -> Option<(u16, String)> {
        let (status, headers, _) = get(
            self.http,
            &format!("/webhdfs/v1{path}?op=OPEN&user.name=test&offset=0"),
        )?;
        let location = headers
            .lines()
            .find_map(|line| line.strip_prefix("Location: "))?;
        assert_eq!(status, 307);
        let (authority, target) = location.strip_prefix("http://")?.split_once('/')?;
        Some((
            authority.rsplit_once(':')?.1.parse().ok()?,
            format!("/{target}"),
        ))
    }

    /// Content of a file through WebHDFS.
    pub(crate) fn read(&self, path: &str) -> Option<Vec<u8>> {
        let (port, target) = self.redirect(path)?;
        let (status, _, body) = get(port, &target)?;
        (status == 200).then_some(body)
    }

    /// Gives an order to a server.
    pub(crate) fn order(&self, port: u16, query: &str) {
        assert_eq!(
            get(port, &format!("/fault?{query}")).unwrap().0,
            200,
            "{query}"
        );
    }

    /// What `recover-leases` prints.
    pub(crate) fn recover_leases(&self, under: &str) -> Vec<serde_json::Value> {
        self.printed("recover-leases", &["--under", under])
    }

    /// What `remove-closed` prints.
    pub(crate) fn remove_closed(&self, under: &str, suffix: &str) -> Vec<serde_json::Value> {
        // An empty word must not be the last one: see `WORDS`.
        let more = ["--in-use-suffix", suffix, "--under", under];
        self.printed("remove-closed", &more)
    }

    /// The lines that a part of the store prints before it ends well.
    fn printed(&self, part: &str, more: &[&str]) -> Vec<serde_json::Value> {
        let namenode = format!("127.0.0.1:{}", self.rpc);
        let words = [&[part, "--namenode", &namenode], more].concat();
        let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
        let Output {
            status,
            stdout,
            stderr,
        } = store_command(&words).output().unwrap();
        assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
        // The test runner around it prints lines of its own.
        String::from_utf8(stdout)
            .unwrap()
            .lines()
            .filter(|line| line.starts_with('{'))
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// An agent of Apache Flume, which runs `a1` of `flume.conf` in a directory.
    pub(crate) fn flume(&self, jars: &Path, conf: &Path) -> Process {
        let log = self.log_file("java");
        let log4j2 = "<Configuration><Appenders><Console name=\"c\" target=\"SYSTEM_ERR\"><PatternLayout pattern=\"%d %p %c{1} %m%n\"/></Console></Appenders><Loggers><Root level=\"info\"><AppenderRef ref=\"c\"/></Root></Loggers></Configuration>";
        fs::write(conf.join("log4j2.xml"), log4j2).unwrap();
        let child = java_command(conf, jars)
            .args([
                "org.apache.flume.node.Application",
                "-n",
                "a1",
                "--no-reload-conf",
                "-f",
            ])
            .arg(conf.join("flume.conf"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("java is needed for these tests");
        Process(Some(child))
    }

    pub(crate) fn java(&self, jars: &Path, site: &[(&str, &str)]) -> Java {
        Java::start(self, jars, site)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        end(&mut self.namenode);
        self.datanodes.iter_mut().for_each(end);
        if std::thread::panicking() {
            for name in ["namenode", "datanode0", "datanode1", "datanode2", "java"] {
                eprintln!("--- {name}\n{}", self.log(name));
            }
        }
    }
}

/// Waits for a directory below a path, and returns it.
pub(crate) fn find_directory(cluster: &Cluster, path: &str) -> String {
    let mut found = String::new();
    wait_for("a directory", Duration::from_secs(60), || {
        let listed = cluster.webhdfs(path, "op=LISTSTATUS").1;
        let name = listed["FileStatuses"]["FileStatus"][0]["pathSuffix"]
            .as_str()
            .unwrap_or_default();
        found = format!("{path}/{name}");
        !name.is_empty()
    });
    found
}

fn split(words: &str) -> Vec<String> {
    words.split(' ').map(str::to_owned).collect()
}

fn end(child: &mut Option<Child>) {
    if let Some(mut child) = child.take() {
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// A process that ends, by SIGKILL, with its owner.
pub(crate) struct Process(Option<Child>);

impl Drop for Process {
    fn drop(&mut self) {
        end(&mut self.0);
    }
}

/// Status, headers and body of a GET.
pub(crate) fn get(port: u16, path: &str) -> Option<(u16, String, Vec<u8>)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let split = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let headers = String::from_utf8_lossy(&answer[..split]).into_owned();
    let status = headers.split(' ').nth(1)?.parse().ok()?;
    Some((status, headers, answer[split + 4..].to_vec()))
}

/// What a command of Java's has done.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl Done {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }

    pub(crate) fn well(self) -> Self {
        assert_eq!(self.code, 0, "{} {}", self.text(), self.err);
        self
    }

    /// Asserts that it failed, and says why.
    pub(crate) fn refused(self, why: &str) {
        assert!(
            self.code != 0 && self.err.contains(why),
            "expected {why:?}: {} {} {}",
            self.code,
            self.text(),
            self.err
        );
    }
}

/// A JVM that starts fast and stays small, with a configuration and jars to run.
fn java_command(conf: &Path, jars: &Path) -> Command {
    let mut command = Command::new("java");
    command
        .args([
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-Xmx256m",
            "-Djava.net.preferIPv4Stack=true",
            "-cp",
        ])
        .arg(format!("{}:{}/*", conf.display(), jars.display()));
    command
}

/// A JVM with Hadoop's clients.
pub(crate) struct Java {
    child: Child,
    to: Option<ChildStdin>,
    from: ChildStdout,
}

impl Java {
    fn start(cluster: &Cluster, jars: &Path, site: &[(&str, &str)]) -> Self {
        let conf = cluster.dir.path().join("conf");
        fs::create_dir_all(&conf).unwrap();
        let name = format!("hdfs://127.0.0.1:{}", cluster.rpc);
        fs::write(conf.join("core-site.xml"), xml(&[("fs.defaultFS", &name)])).unwrap();
        let standard = [
            ("dfs.client.use.datanode.hostname", "true"),
            ("dfs.blocksize", "1048576"),
        ];
        fs::write(conf.join("hdfs-site.xml"), xml(&[&standard, site].concat())).unwrap();
        let log4j = "log4j.rootLogger=WARN,stderr\nlog4j.appender.stderr=org.apache.log4j.ConsoleAppender\nlog4j.appender.stderr.target=System.err\nlog4j.appender.stderr.layout=org.apache.log4j.SimpleLayout\n";
        fs::write(conf.join("log4j.properties"), log4j).unwrap();
        let driver = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/Driver.java");
        let mut child = java_command(&conf, jars)
            .arg(driver)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(cluster.log_file("java"))
            .spawn()
            .expect("a JDK is needed for these tests");
        Self {
            to: child.stdin.take(),
            from: child.stdout.take().unwrap(),
            child,
        }
    }

    /// Runs a command to its end.
    pub(crate) fn run(&mut self, words: &[&str]) -> Done {
        self.begin(words);
        self.finish()
    }

    /// Hands over a command.
    pub(crate) fn begin(&mut self, words: &[&str]) {
        let mut bytes = (words.len() as u32).to_be_bytes().to_vec();
        for word in words {
            bytes.extend_from_slice(&(word.len() as u32).to_be_bytes());
            bytes.extend_from_slice(word.as_bytes());
        }
        let to = self.to.as_mut().unwrap();
        to.write_all(&bytes).unwrap();
        to.flush().unwrap();
    }

    /// Waits for the end of the command that was handed over.
    pub(crate) fn finish(&mut self) -> Done {
        let code = self.number() as i32;
        let out = self.bytes();
        let err = String::from_utf8_lossy(&self.bytes()).into_owned();
        Done { code, out, err }
    }

    pub(crate) fn fs(&mut self, words: &[&str]) -> Done {
        self.run(&[&["fs"], words].concat())
    }

    /// Makes a call that may fail: a Java client that has an idle connection to a NameNode notices only with its
    /// next call that the NameNode has been restarted.
    pub(crate) fn notice_restart(&mut self) {
        self.fs(&["-test", "-d", "/"]);
    }

    fn number(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.from.read_exact(&mut bytes).expect("the JVM has ended");
        u32::from_be_bytes(bytes)
    }

    fn bytes(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; self.number() as usize];
        self.from.read_exact(&mut bytes).unwrap();
        bytes
    }
}

impl Drop for Java {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn xml(properties: &[(&str, &str)]) -> String {
    let properties: String = properties
        .iter()
        .map(|(name, value)| {
            format!("<property><name>{name}</name><value>{value}</value></property>\n")
        })
        .collect();
    format!("<configuration>\n{properties}</configuration>\n")
}
