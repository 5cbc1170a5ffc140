//! What an agent's configuration wants of this machine, looked at before anything starts: ports
//! that can be listened on, directories that can be used.
//!
//! The engine's own check never looks at the machine, and an agent finds out when it opens its
//! components: too late for a run, which is to find everything before its first child. Values that
//! name the run's own places are left alone, because those are made for it.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;

use flume_bench_engine::config::Text;
use flume_bench_engine::properties;
use flume_bench_scenarios::scenario::reader::Problem;
use flume_bench_scenarios::sut::OWN_ENVIRONMENT;
use flume_bench_scenarios::tools::unusable_directory;

/// Keys that hold directories: section, type, key.
const DIRECTORIES: &[(&str, &str, &str)] = &[
    ("channels", "file", "checkpointDir"),
    ("channels", "file", "dataDirs"),
    ("sinks", "file_roll", "sink.directory"),
];

/// Types of sources that listen.
const LISTENERS: &[&str] = &["avro", "netcat"];

/// A value and its line.
struct Placed {
    value: String,
    line: usize,
}

/// The problems of one agent's configuration with this machine.
pub(super) fn check(
    text: &Text,
    agent: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Vec<Problem> {
    let (pairs, _) = properties::parse(&text.bytes);
    let own = |value: &str| OWN_ENVIRONMENT.iter().any(|name| value.contains(name));
    let settings: BTreeMap<String, Placed> = pairs
        .into_iter()
        .filter_map(|pair| {
            let key = pair.key.trim().strip_prefix(agent)?.strip_prefix('.')?;
            let value = properties::substitute(&pair.value, env).value;
            let value = if own(&pair.value) {
                String::new()
            } else {
                value.trim().to_owned()
            };
            let line = pair.line;
            Some((key.to_owned(), Placed { value, line }))
        })
        .filter(|(_, placed)| !placed.value.is_empty())
        .collect();
    let of_type = |section: &str, name: &str, kinds: &[&str]| {
        let kind = settings.get(&format!("{section}.{name}.type"));
        kind.is_some_and(|kind| {
            kinds
                .iter()
                .any(|other| kind.value.eq_ignore_ascii_case(other))
        })
    };
    let mut problems = Vec::new();
    for (full, placed) in &settings {
        let mut parts = full.splitn(3, '.');
        let (Some(section), Some(name), Some(key)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let wrong = if section == "sources" && key == "port" && of_type(section, name, LISTENERS) {
            let bind = settings.get(&format!("sources.{name}.bind"));
            port_in_use(bind.map(|bind| bind.value.as_str()), &placed.value)
        } else if DIRECTORIES.iter().any(|(of, kind, of_key)| {
            section == *of && key == *of_key && of_type(of, name, &[kind])
        }) {
            unusable(&placed.value)
        } else {
            None
        };
        problems.extend(wrong.map(|(message, remedy)| {
            let message = format!("{agent}.{full}: {message}");
            Problem::at(&text.file, placed.line, message).remedy(remedy)
        }));
    }
    problems
}

/// Tries to listen, for as long as it takes to know.
fn port_in_use(bind: Option<&str>, port: &str) -> Option<(String, &'static str)> {
    let bind = bind.unwrap_or("127.0.0.1");
    let port: u16 = port.parse().ok().filter(|port| *port > 0)?;
    let error = TcpListener::bind((bind, port)).err()?;
    Some((
        format!("nobody can listen on port {port} of {bind}: {error}"),
        "stop who does already (ss -ltnp shows who it is), or write port = ${env:FB_SOURCE_PORT} in a scenario",
    ))
}

/// Of several `dataDirs` the first is used; `~` is the user's home, as the engine has it.
fn unusable(directories: &str) -> Option<(String, &'static str)> {
    let first = directories.split(',').next()?.trim();
    let directory = match (first.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => first.into(),
    };
    Some((
        unusable_directory(&directory)?,
        "name a directory of the agent's own, such as ${env:FB_DATA}/log in a scenario",
    ))
}
