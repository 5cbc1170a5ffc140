//! `flume`: Apache Flume 1.11 on a JVM, with the very same properties file.
//!
//! Needs a JVM and Flume's jars (`ci/setup flume`). Its `quiet` time is 40 s: the HDFS sink's call
//! timeout of 30 s (a longer `hdfs.callTimeout` counts, a shorter one does not bound its client's own
//! retries), its back-off of 5 s, and 5 s for a restart of the JVM. It is ready when its log
//! says that the source has started, and its port is open (netcat: its port alone, for it logs no such
//! line). A configuration of which Flume takes no
//! part leaves a JVM that never is.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{Command, Driver, Kind, Place, Ready};
use crate::scenario::Scenario;
use crate::scenario::reader::{Problem, Reader};
use crate::tools::Tools;

/// Directory of its jars.
pub(crate) const JARS: &str = "flume-1.11.0";

pub(super) static KIND: Kind = Kind {
    name: "flume",
    summary: "Apache Flume 1.11 on a JVM, with the very same properties file",
    settings: &[
        ("agent", "its name in the configuration (a1)"),
        ("config", "Flume properties, relative to the scenario"),
        ("heap", "the JVM's -Xmx (1g)"),
        ("ready_within", "how long the start may take (60s)"),
    ],
    read,
};

fn read(table: &Reader<'_, '_>, config: Option<&Path>) -> Option<Arc<dyn Driver>> {
    let heap = table.text("heap").unwrap_or_else(|| "1g".into());
    let within = table
        .parsed("ready_within", crate::text::parse_duration)
        .unwrap_or(Duration::from_secs(60));
    if config.is_none() {
        table.missing("config", "the agent's Flume properties");
        return None;
    }
    let call = super::longest_call(config).max(super::CALL_TIMEOUT);
    Some(Arc::new(Flume {
        heap,
        within,
        quiet: Duration::from_secs(10) + call,
    }))
}

#[derive(Debug)]
struct Flume {
    heap: String,
    within: Duration,
    quiet: Duration,
}

const LOG4J2: &str = r#"<Configuration status="ERROR">
  <Appenders>
    <Console name="stderr" target="SYSTEM_ERR">
      <PatternLayout pattern="%d{ISO8601} %-5p [%t] %c{1}: %m%n%ex{5}"/>
    </Console>
  </Appenders>
  <Loggers>
    <Logger name="org.apache.flume" level="INFO"/>
    <Root level="WARN"><AppenderRef ref="stderr"/></Root>
  </Loggers>
</Configuration>
"#;

impl Driver for Flume {
    fn name(&self) -> &'static str {
        KIND.name
    }
    fn sources(&self) -> &'static [&'static str] {
        &["avro", "exec", "netcat", "tail"]
    }
    fn stores(&self) -> &'static [&'static str] {
        &["files", "hdfs"]
    }
    fn quiet(&self) -> Duration {
        self.quiet
    }
    fn stop_within(&self) -> Duration {
        Duration::from_secs(90)
    }
    fn version(&self, _tools: &Tools) -> Option<String> {
        Some("Apache Flume 1.11.0".into())
    }
    fn check(&self, scenario: &Scenario, tools: &Tools) -> Vec<Problem> {
        tools
            .check_java()
            .into_iter()
            .chain(tools.check_jars(JARS, "Apache Flume"))
            .chain(super::check_places(scenario))
            .collect()
    }
    fn prepare(&self, place: &Place, _tools: &Tools) -> std::io::Result<()> {
        std::fs::write(place.conf.join("log4j2.xml"), LOG4J2)
    }
    fn command(&self, place: &Place, tools: &Tools) -> Command {
        let argv = [
            "java".into(),
            format!("-Xmx{}", self.heap),
            "-Dflume.monitoring.type=http".into(),
            format!("-Dflume.monitoring.port={}", place.metrics_port),
            format!("-Duser.home={}", place.data.display()),
            "-cp".into(),
            format!("{}:{}/*", place.conf.display(), tools.jars(JARS).display()),
            "org.apache.flume.node.Application".into(),
            "-n".into(),
            place.agent.clone(),
            "-f".into(),
            place.config.to_string_lossy().into_owned(),
            "--no-reload-conf".into(),
        ];
        Command {
            argv: argv.into(),
            env: vec![("HADOOP_USER_NAME".into(), "flume".into())],
        }
    }
    fn ready(&self, into: &str) -> Ready {
        let port = matches!(into, "avro" | "netcat");
        // Its netcat source has no counters, and so no such line: its port has to do.
        let log = (into != "netcat").then(|| "Component type: SOURCE, name: ".to_owned());
        Ready {
            port,
            log,
            hopeless: Some("No configuration found for this host".into()),
            within: self.within,
        }
    }
    fn has_metrics(&self) -> bool {
        true
    }
}
