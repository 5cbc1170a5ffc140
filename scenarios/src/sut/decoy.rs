//! `decoy`: an agent with a planted defect, `flume-bench decoy`: the test of the judge.
//!
//! It takes lines over TCP, answers each, and writes files under `FB_STORE`. Its tally is
//! `tally.json` in its data directory. Its `quiet` time is 0.5 s.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{Command, Driver, Kind, Place, Ready};
use crate::decoy::DEFECTS;
use crate::scenario::Scenario;
use crate::scenario::reader::{Problem, Reader};
use crate::tools::Tools;

pub(super) static KIND: Kind = Kind {
    name: "decoy",
    summary: "an agent with a planted defect, to test the judge",
    settings: &[
        ("defect", "what it does wrong (honest)"),
        ("n", "the n of the defect (100)"),
    ],
    read,
};

fn read(table: &Reader<'_, '_>, _config: Option<&Path>) -> Option<Arc<dyn Driver>> {
    let names: Vec<&'static str> = DEFECTS.iter().map(|defect| defect.name).collect();
    let written = table.raw("defect").is_some();
    let defect = table.word("defect", &names);
    let every = table.number("n", 1..=u64::MAX).unwrap_or(100);
    if written && defect.is_none() {
        return None;
    }
    Some(Arc::new(Decoy {
        defect: defect.unwrap_or("honest"),
        every,
    }))
}

#[derive(Debug)]
struct Decoy {
    defect: &'static str,
    every: u64,
}

impl Driver for Decoy {
    fn name(&self) -> &'static str {
        KIND.name
    }
    fn sources(&self) -> &'static [&'static str] {
        &["netcat"]
    }
    fn stores(&self) -> &'static [&'static str] {
        &["files"]
    }
    fn quiet(&self) -> Duration {
        Duration::from_millis(500)
    }
    fn stop_within(&self) -> Duration {
        Duration::from_secs(5)
    }
    fn version(&self, _tools: &Tools) -> Option<String> {
        Some(format!(
            "decoy {} of flume-bench {}",
            self.defect,
            env!("CARGO_PKG_VERSION")
        ))
    }
    fn check(&self, _scenario: &Scenario, _tools: &Tools) -> Vec<Problem> {
        Vec::new()
    }
    fn command(&self, place: &Place, tools: &Tools) -> Command {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let argv = [
            text(tools.agent()),
            "decoy".into(),
            "--defect".into(),
            self.defect.into(),
            "--every".into(),
            self.every.to_string(),
            "--port".into(),
            place.source_port.to_string(),
            "--out".into(),
            place.env.get("FB_STORE").cloned().unwrap_or_default(),
            "--tally".into(),
            text(&place.data.join("tally.json")),
        ];
        Command {
            argv: argv.into(),
            env: Vec::new(),
        }
    }
    fn ready(&self, _into: &str) -> Ready {
        Ready {
            port: true,
            log: None,
            hopeless: None,
            within: Duration::from_secs(10),
        }
    }
}
