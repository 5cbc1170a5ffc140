//! `command`: any program, as an argument vector with placeholders.
//!
//! `{config}`, `{data}`, `{store}`, `{port}` and `{log}` stand for the copy of the configuration
//! file, the program's own directory, the store's address or directory, the port the load goes to
//! and the file the load is appended to. In the copy of the configuration file `${env:NAME}` is
//! replaced, because most programs cannot do that themselves. The program must stay in the
//! foreground; it is ready when its port is open (load over TCP) and, if `ready_log` is given, when
//! that text stands in its output. Its end is asked for by SIGTERM.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{Command, Driver, Kind, Place, Ready};
use crate::scenario::Scenario;
use crate::scenario::reader::{Problem, Reader};
use crate::text::parse_duration;
use crate::tools::{Tools, find_program};

pub(super) static KIND: Kind = Kind {
    name: "command",
    summary: "any program: an argument vector with placeholders",
    settings: &[
        (
            "command",
            "program and arguments; {config} {data} {store} {port} {log} are replaced",
        ),
        (
            "config",
            "a configuration file in which ${env:NAME} is replaced",
        ),
        (
            "install",
            "the command that brings the program, said when it is not here",
        ),
        ("quiet", "longest silence while it works (10s)"),
        ("ready_log", "text in its output that says it is ready"),
        ("ready_within", "how long the start may take (30s)"),
        (
            "stop_within",
            "how long it may take to end after SIGTERM (10s)",
        ),
        ("version", "arguments that make it print its version"),
    ],
    read,
};

fn read(table: &Reader<'_, '_>, _config: Option<&Path>) -> Option<Arc<dyn Driver>> {
    if table.raw("command").is_none() {
        table.missing(
            "command",
            "program and arguments, such as command = [\"rsyslogd\", \"-n\", \"-f\", \"{config}\"]",
        );
    }
    let command = table.texts("command");
    let driver = Program {
        command: command.clone().unwrap_or_default(),
        install: table.text("install"),
        quiet: table
            .parsed("quiet", parse_duration)
            .unwrap_or(Duration::from_secs(10)),
        ready_log: table.text("ready_log"),
        ready_within: table
            .parsed("ready_within", parse_duration)
            .unwrap_or(Duration::from_secs(30)),
        stop_within: table
            .parsed("stop_within", parse_duration)
            .unwrap_or(Duration::from_secs(10)),
        version: table.texts("version").unwrap_or_default(),
    };
    match command {
        Some(command) if command.is_empty() => {
            table.problem(
                "command",
                "command is empty: name the program and its arguments",
            );
            None
        }
        Some(_) => Some(Arc::new(driver)),
        None => None,
    }
}

#[derive(Debug)]
struct Program {
    command: Vec<String>,
    install: Option<String>,
    quiet: Duration,
    ready_log: Option<String>,
    ready_within: Duration,
    stop_within: Duration,
    version: Vec<String>,
}

impl Driver for Program {
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
        self.stop_within
    }
    fn version(&self, _tools: &Tools) -> Option<String> {
        if self.version.is_empty() {
            return None;
        }
        let program = find_program(self.command.first()?)?;
        let output = crate::tools::output(&program, &self.version).ok()?;
        Some(output.lines().next()?.trim().to_owned())
    }
    fn check(&self, _scenario: &Scenario, _tools: &Tools) -> Vec<Problem> {
        let program = self.command.first().map(String::as_str).unwrap_or_default();
        let remedy = self
            .install
            .clone()
            .unwrap_or_else(|| "install it, or give its full path in sut.command".into());
        match find_program(program) {
            Some(_) => Vec::new(),
            None => vec![Problem::of_machine(
                format!("the program `{program}` is not here"),
                remedy,
            )],
        }
    }
    fn prepare(&self, place: &Place, _tools: &Tools) -> std::io::Result<()> {
        let Ok(text) = std::fs::read_to_string(&place.config) else {
            return Ok(());
        };
        let mut filled = text;
        for (name, value) in &place.env {
            filled = filled.replace(&format!("${{env:{name}}}"), value);
        }
        std::fs::write(&place.config, filled)
    }
    fn command(&self, place: &Place, _tools: &Tools) -> Command {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let fill = |word: &String| {
            word.replace("{config}", &text(&place.config))
                .replace("{data}", &text(&place.data))
                .replace("{port}", &place.source_port.to_string())
                .replace(
                    "{store}",
                    place.env.get("FB_STORE").map_or("", String::as_str),
                )
                .replace("{log}", place.env.get("FB_LOG").map_or("", String::as_str))
        };
        let mut argv: Vec<String> = self.command.iter().map(fill).collect();
        if let Some(program) = argv.first().and_then(|name| find_program(name)) {
            argv[0] = text(&program);
        }
        Command {
            argv,
            env: Vec::new(),
        }
    }
    fn ready(&self, into: &str) -> Ready {
        Ready {
            port: matches!(into, "avro" | "netcat"),
            log: self.ready_log.clone(),
            hopeless: None,
            within: self.ready_within,
        }
    }
}
