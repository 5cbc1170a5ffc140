//! Starts the processes and proxies of an HDFS, embedded or local.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Hdfs, JARS, RunningHdfs};
use crate::process::Spawn;
use crate::runner::ports::{free_port, free_port_on_both};
use crate::runner::world::{Ready, World};
use crate::tools::Tools;

/// Ports of one DataNode, bound on 127.0.0.1 and proxied on the announced address.
#[derive(Debug, Clone, Copy)]
struct DataNode {
    number: u8,
    announced: Ipv4Addr,
    data: u16,
    ipc: u16,
    http: u16,
}

#[derive(Debug, Clone, Copy)]
struct NameNode {
    rpc: u16,
    http: u16,
}

pub(super) fn start(hdfs: &Hdfs, world: &World, tools: &Tools) -> Result<RunningHdfs, String> {
    if let Some((rpc, http)) = &hdfs.external {
        return start_external(hdfs, world, tools, rpc, http);
    }
    let show = |error: io::Error| error.to_string();
    let namenode = NameNode {
        rpc: free_port().map_err(show)?,
        http: free_port().map_err(show)?,
    };
    let nodes: Vec<DataNode> = (1..=hdfs.datanodes)
        .map(data_node)
        .collect::<io::Result<_>>()
        .map_err(show)?;
    let local = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let proxied = world.add_link(
        "agent->namenode",
        &[SocketAddr::from(([127, 0, 0, 1], 0))],
        &[local(namenode.rpc)],
    )?;
    for node in &nodes {
        let ports = [node.data, node.ipc, node.http];
        let listen = ports.map(|port| SocketAddr::V4(SocketAddrV4::new(node.announced, port)));
        let upstream = ports.map(local);
        let others = nodes.iter().filter(|other| other.number != node.number);
        let mut peers = vec!["agent".to_owned()];
        peers.extend(others.map(|other| format!("datanode{}", other.number)));
        world.add_shared_link(
            &format!("datanode{}", node.number),
            &peers,
            &listen,
            &upstream,
        )?;
    }
    if hdfs.provider == "local" {
        start_jvms(hdfs, world, tools, namenode, &nodes)?;
    } else {
        start_embedded(hdfs, world, tools, namenode, &nodes)?;
    }
    let address = proxied.to_string();
    write_client_conf(hdfs, &world.dir().path("conf"), &address).map_err(show)?;
    let webhdfs = format!("127.0.0.1:{}", namenode.http);
    warm_up(&webhdfs)?;
    Ok(RunningHdfs {
        namenode: address,
        direct: format!("127.0.0.1:{}", namenode.rpc),
        version: version(&webhdfs),
        webhdfs,
        path: hdfs.path.clone(),
        under: "/".into(),
        owned: true,
        in_use_suffix: hdfs.in_use_suffix.clone(),
        program: tools.program.clone(),
        directory: Some(world.dir().path("store")),
    })
}

fn start_external(
    hdfs: &Hdfs,
    world: &World,
    tools: &Tools,
    rpc: &str,
    http: &str,
) -> Result<RunningHdfs, String> {
    use std::net::ToSocketAddrs;
    let upstream = rpc
        .to_socket_addrs()
        .map_err(|error| format!("{rpc}: {error}"))?
        .next()
        .ok_or_else(|| format!("{rpc} is no address"))?;
    let proxied = world.add_link(
        "agent->namenode",
        &[SocketAddr::from(([127, 0, 0, 1], 0))],
        &[upstream],
    )?;
    let address = proxied.to_string();
    write_client_conf(hdfs, &world.dir().path("conf"), &address)
        .map_err(|error| error.to_string())?;
    let path = format!(
        "{}/{:016x}",
        hdfs.path.trim_end_matches('/'),
        world.dir().run
    );
    Ok(RunningHdfs {
        namenode: address,
        direct: rpc.to_owned(),
        version: version(http),
        webhdfs: http.to_owned(),
        under: path.clone(),
        path,
        owned: false,
        in_use_suffix: hdfs.in_use_suffix.clone(),
        program: tools.program.clone(),
        directory: None,
    })
}

fn data_node(number: u8) -> io::Result<DataNode> {
    let announced = Ipv4Addr::new(127, 0, 0, 100 + number);
    Ok(DataNode {
        number,
        announced,
        data: free_port_on_both(announced)?,
        ipc: free_port_on_both(announced)?,
        http: free_port_on_both(announced)?,
    })
}

/// `core-site.xml` and `hdfs-site.xml` for the agent, Java's or ours.
fn write_client_conf(hdfs: &Hdfs, conf: &Path, namenode: &str) -> io::Result<()> {
    fs::write(
        conf.join("core-site.xml"),
        xml(&[("fs.defaultFS", format!("hdfs://{namenode}"))]),
    )?;
    let site = [
        ("dfs.replication", hdfs.replication.to_string()),
        ("dfs.client.use.datanode.hostname", "true".to_owned()),
    ];
    fs::write(conf.join("hdfs-site.xml"), xml(&site))
}

fn xml(properties: &[(&str, String)]) -> String {
    let mut text = String::from("<configuration>\n");
    for (name, value) in properties {
        text.push_str(&format!(
            "  <property><name>{name}</name><value>{value}</value></property>\n"
        ));
    }
    text + "</configuration>\n"
}

fn start_embedded(
    hdfs: &Hdfs,
    world: &World,
    tools: &Tools,
    namenode: NameNode,
    nodes: &[DataNode],
) -> Result<(), String> {
    let program = tools.program.to_string_lossy().into_owned();
    let directory = |role: &str| world.dir().path(&format!("store/{role}"));
    let words =
        |words: &[&str]| -> Vec<String> { words.iter().map(|word| (*word).to_owned()).collect() };
    let mut argv = vec![program.clone()];
    argv.extend(words(&[
        "store",
        "namenode",
        "--rpc",
        &namenode.rpc.to_string(),
        "--http",
        &namenode.http.to_string(),
        "--replication",
        &hdfs.replication.to_string(),
        "--dir",
    ]));
    argv.push(directory("namenode").to_string_lossy().into_owned());
    start_node(world, "namenode", argv, jmx_ready(namenode.http, 0))?;
    for node in nodes {
        let role = format!("datanode{}", node.number);
        let mut argv = vec![program.clone()];
        argv.extend(words(&[
            "store",
            "datanode",
            "--number",
            &node.number.to_string(),
            "--announce",
            &node.announced.to_string(),
        ]));
        argv.extend(words(&[
            "--data",
            &node.data.to_string(),
            "--ipc",
            &node.ipc.to_string(),
            "--http",
            &node.http.to_string(),
        ]));
        argv.extend(words(&[
            "--namenode",
            &format!("127.0.0.1:{}", namenode.rpc),
            "--dir",
        ]));
        argv.push(directory(&role).to_string_lossy().into_owned());
        start_node(world, &role, argv, node_ready(namenode.http, *node))?;
    }
    Ok(())
}

fn start_node(world: &World, role: &str, argv: Vec<String>, ready: Ready) -> Result<(), String> {
    let log = world.dir().path(&format!("store/{role}.log"));
    world.start(Spawn::new(role, argv, log), ready)
}

fn start_jvms(
    hdfs: &Hdfs,
    world: &World,
    tools: &Tools,
    namenode: NameNode,
    nodes: &[DataNode],
) -> Result<(), String> {
    let show = |error: io::Error| error.to_string();
    let conf = prepare_conf(hdfs, world, "namenode", namenode, None).map_err(show)?;
    let format = jvm(
        tools,
        &conf,
        "org.apache.hadoop.hdfs.server.namenode.NameNode",
        &["-format", "-force", "-nonInteractive"],
    );
    world.run_to_end(
        Spawn::new(
            "namenode-format",
            format,
            world.dir().path("store/format.log"),
        ),
        Duration::from_secs(90),
    )?;
    start_node(
        world,
        "namenode",
        jvm(
            tools,
            &conf,
            "org.apache.hadoop.hdfs.server.namenode.NameNode",
            &[],
        ),
        jmx_ready(namenode.http, 0),
    )?;
    for node in nodes {
        let role = format!("datanode{}", node.number);
        let conf = prepare_conf(hdfs, world, &role, namenode, Some(node)).map_err(show)?;
        let argv = jvm(
            tools,
            &conf,
            "org.apache.hadoop.hdfs.server.datanode.DataNode",
            &[],
        );
        start_node(world, &role, argv, node_ready(namenode.http, *node))?;
    }
    Ok(())
}

/// Small heaps and the quick compiler: a node must start fast and leave the processors to the
/// system under test.
fn jvm(tools: &Tools, conf: &Path, class: &str, arguments: &[&str]) -> Vec<String> {
    let mut argv: Vec<String> = [
        "java",
        "--add-opens=java.base/java.lang=ALL-UNNAMED",
        "-Djava.net.preferIPv4Stack=true",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-Xmx512m",
        "-cp",
    ]
    .map(str::to_owned)
    .into();
    argv.push(format!(
        "{}:{}/*",
        conf.display(),
        tools.jars(JARS).display()
    ));
    argv.push(class.to_owned());
    argv.extend(arguments.iter().map(|word| (*word).to_owned()));
    argv
}

const LOG4J: &str = "log4j.rootLogger=INFO,stderr\nlog4j.appender.stderr=org.apache.log4j.ConsoleAppender\nlog4j.appender.stderr.target=System.err\nlog4j.appender.stderr.layout=org.apache.log4j.PatternLayout\nlog4j.appender.stderr.layout.ConversionPattern=%d{ISO8601} %p %c{1}: %m%n\nlog4j.logger.org.apache.hadoop.hdfs.StateChange=WARN\nlog4j.logger.BlockStateChange=WARN\n";

/// The configuration directory of one node. Hadoop wants its (empty) web applications there too.
fn prepare_conf(
    hdfs: &Hdfs,
    world: &World,
    role: &str,
    namenode: NameNode,
    node: Option<&DataNode>,
) -> io::Result<PathBuf> {
    let conf = world.dir().path(&format!("store/{role}-conf"));
    for application in ["hdfs", "datanode", "static"] {
        let directory = conf.join("webapps").join(application).join("WEB-INF");
        fs::create_dir_all(&directory)?;
        fs::write(directory.join("web.xml"), "<web-app/>\n")?;
    }
    fs::write(conf.join("log4j.properties"), LOG4J)?;
    let data = world.dir().path("store");
    let core = [
        ("fs.defaultFS", format!("hdfs://127.0.0.1:{}", namenode.rpc)),
        (
            "hadoop.tmp.dir",
            data.join("tmp").to_string_lossy().into_owned(),
        ),
    ];
    fs::write(conf.join("core-site.xml"), xml(&core))?;
    let file = |part: &str| format!("file://{}", data.join(part).display());
    let mut site = vec![
        ("dfs.replication", hdfs.replication.to_string()),
        ("dfs.namenode.name.dir", file("namenode")),
        ("dfs.namenode.rpc-bind-host", "127.0.0.1".into()),
        (
            "dfs.namenode.http-address",
            format!("127.0.0.1:{}", namenode.http),
        ),
        // A DataNode serves WebHDFS with a client of its own, which must not go through the proxy.
        ("dfs.client.use.datanode.hostname", "false".into()),
        ("dfs.datanode.use.datanode.hostname", "true".into()),
        (
            "dfs.namenode.datanode.registration.ip-hostname-check",
            "false".into(),
        ),
        ("dfs.permissions.enabled", "false".into()),
        ("dfs.namenode.safemode.extension", "0".into()),
        ("dfs.heartbeat.interval", "1".into()),
        ("dfs.namenode.heartbeat.recheck-interval", "2000".into()),
    ];
    if let Some(node) = node {
        site.push(("dfs.datanode.data.dir", file(role)));
        for (name, port) in [
            ("dfs.datanode.address", node.data),
            ("dfs.datanode.ipc.address", node.ipc),
            ("dfs.datanode.http.address", node.http),
        ] {
            site.push((name, format!("127.0.0.1:{port}")));
        }
        site.push(("dfs.datanode.hostname", node.announced.to_string()));
    }
    fs::write(conf.join("hdfs-site.xml"), xml(&site))?;
    Ok(conf)
}

/// Ready when the NameNode counts this DataNode among the living, and it answers itself: for some
/// seconds after its death the NameNode still believes in it, which would make a restart look done
/// before it has begun.
fn node_ready(http: u16, node: DataNode) -> Ready {
    let counted = namenode_counts(http, usize::from(node.number));
    Ready::when(Duration::from_secs(60), move || {
        let answers = |port: u16| {
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
        };
        answers(node.data) && answers(node.http) && counted()
    })
}

/// Ready when the NameNode says that it works and knows so many living DataNodes.
fn jmx_ready(http: u16, live: usize) -> Ready {
    Ready::when(Duration::from_secs(60), namenode_counts(http, live))
}

fn namenode_counts(http: u16, live: usize) -> impl Fn() -> bool + Send + Sync + 'static {
    move || {
        let url = format!(
            "http://127.0.0.1:{http}/jmx?qry=Hadoop:service=NameNode,name=FSNamesystemState"
        );
        let Ok(text) = get(&url) else { return false };
        let Ok(value) = serde_json::from_str::<serde_json::Value>(&text) else {
            return false;
        };
        let bean = &value["beans"][0];
        bean["FSState"] == "Operational"
            && bean["NumLiveDataNodes"].as_u64().unwrap_or(0) >= live as u64
            || (live == 0 && bean["FSState"].is_string())
    }
}

/// Asks for a listing once. A JVM loads half its web server at the first question, and that must
/// not look like a store that cannot be read.
fn warm_up(webhdfs: &str) -> Result<(), String> {
    let url = format!("http://{webhdfs}/webhdfs/v1/?op=LISTSTATUS&user.name=flume");
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(60)))
        .build()
        .into();
    agent
        .get(&url)
        .call()
        .map(drop)
        .map_err(|error| format!("the NameNode does not answer {url}: {error}"))
}

fn get(url: &str) -> Result<String, ureq::Error> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(2)))
        .build()
        .into();
    agent.get(url).call()?.body_mut().read_to_string()
}

/// The server's own word on its version.
fn version(http: &str) -> Option<String> {
    let text = get(&format!(
        "http://{http}/jmx?qry=Hadoop:service=NameNode,name=NameNodeInfo"
    ))
    .ok()?;
    let value: serde_json::Value = serde_json::from_str(&text).ok()?;
    let version = value["beans"][0]["SoftwareVersion"].as_str()?;
    Some(version.to_owned())
}
