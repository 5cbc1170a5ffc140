//! `idle-agent`: how much memory does an agent hold that has nothing to do?
//!
//! The program `flume-bench agent` with a netcat source, a memory channel of Flume's default size
//! and a null sink, two seconds after its source listens. Resident memory as the kernel counts it,
//! the pages of the program file included.

use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::{Options, Row};
use crate::guard::{Meter, resident};
use crate::outcome::{BenchError, Limit, Outcome};
use crate::work::binary;

/// The row.
pub(super) static ROW: Row = Row {
    name: "idle-agent",
    question: "How much memory does an idle agent hold?",
    limit: "≤ 20 MiB resident",
    is_long: false,
    has_arms: false,
    run,
};

/// How long the agent may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long it idles before it is looked at.
const IDLE: Duration = Duration::from_secs(2);

fn run(options: &Options, _meter: &mut dyn Meter) -> Result<Outcome, BenchError> {
    let mut outcome = Outcome::new(ROW.name);
    let (directory, port) = (options.scratch()?, super::free_port()?);
    let configuration = format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
         a1.sources.r1.type = netcat\na1.sources.r1.bind = 127.0.0.1\na1.sources.r1.port = {port}\n\
         a1.sources.r1.channels = c1\na1.channels.c1.type = memory\n\
         a1.sinks.k1.type = null\na1.sinks.k1.channel = c1\n"
    );
    let mut agent = binary::agent(directory.path(), &configuration)?;
    let start = Instant::now();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    while TcpStream::connect_timeout(&address, Duration::from_millis(100)).is_err() {
        if start.elapsed() > PATIENCE || !agent.runs() {
            let log = directory.path().join("agent.log");
            let log = std::fs::read_to_string(log).unwrap_or_default();
            return Err(BenchError::Wrong {
                what: "see the agent listen",
                why: super::tail(&log),
            });
        }
        thread::sleep(Duration::from_millis(5));
    }
    thread::sleep(IDLE);
    let Some((now, _)) = resident(&agent.id().to_string()) else {
        return Err(BenchError::Wrong {
            what: "read the memory of the agent",
            why: "it has ended, or /proc is not there".to_owned(),
        });
    };
    let mebibytes = now as f64 / f64::from(1 << 20);
    outcome.check("resident", mebibytes, "MiB", Limit::AtMost(20.0));
    Ok(outcome)
}
