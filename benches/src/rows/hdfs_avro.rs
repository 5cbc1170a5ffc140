//! `hdfs-avro`: how fast does the durable way into a real HDFS carry events?
//!
//! `flume-bench run` of one scenario with each agent in turn, on a local HDFS of its own: more events
//! than either can carry are sent through Avro into a file channel, and stored by the HDFS sink. The
//! rate is the record's: events stored by the time from the first one issued to the last one stored.

use super::{Options, Row};
use crate::guard::Meter;
use crate::outcome::{BenchError, Limit, Outcome};
use crate::work::runs;

/// The row.
pub(super) static ROW: Row = Row {
    name: "hdfs-avro",
    question: "How fast is Avro → file channel → HDFS, with a real HDFS, against Apache Flume?",
    limit: "≥ 3x Apache Flume",
    is_long: true,
    has_arms: true,
    run,
};

const SCENARIO: &str = r#"seed = 11
[sut]
driver = "engine"
config = "bench.conf"
[load]
into = "avro"
rate = "100000/s"
batch = 100
connections = 4
payload = "access_log"
timeout = "60s"
retry_for = "120s"
[store]
kind = "hdfs"
[phases]
steady = "2s"
drain_deadline = "180s"
[objectives]
lost = 0
"#;

fn run(options: &Options, meter: &mut dyn Meter) -> Result<Outcome, BenchError> {
    let mut outcome = Outcome::new(ROW.name);
    let directory = options.scratch()?;
    let scenario = runs::write(directory.path(), SCENARIO, runs::AVRO_TO_HDFS)?;
    let work = |sut| runs::all_stored(&runs::run(directory.path(), &scenario, sut, &[])?);
    let (mut ours, mut theirs) = (|| work(runs::ENGINE), || work(runs::FLUME));
    let (plan, limit) = (options.plan(), Limit::AtLeast(3.0));
    runs::compare_agents(&mut outcome, &plan, limit, meter, &mut ours, &mut theirs)?;
    Ok(outcome)
}
