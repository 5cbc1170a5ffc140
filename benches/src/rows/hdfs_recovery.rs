//! `hdfs-recovery`: how soon after a node of HDFS is back is the first event stored?
//!
//! `flume-bench run` of one scenario with each agent in turn, on a local HDFS of its own: 1,000
//! events/s through Avro and a file channel, the NameNode refuses connections for four seconds, later
//! the DataNode is killed and started again after four. The times are the record's, from the heal to
//! the first event stored; both arms of a pair have the same schedule of faults.

use std::cell::RefCell;
use std::time::Duration;

use super::{Options, Row};
use crate::guard::Meter;
use crate::outcome::{BenchError, Limit, Outcome};
use crate::pairs::{Plan, Ratio, Work};
use crate::stats::Spread;
use crate::work::runs;

/// The row.
pub(super) static ROW: Row = Row {
    name: "hdfs-recovery",
    question: "How soon is the first event stored after a NameNode and a DataNode are back, against Apache Flume?",
    limit: "≤ 1x Apache Flume, each",
    is_long: true,
    has_arms: true,
    run,
};

const SCENARIO: &str = r#"seed = 12
[sut]
driver = "engine"
config = "bench.conf"
[load]
into = "avro"
rate = "1000/s"
batch = 100
payload = "access_log"
[store]
kind = "hdfs"
[phases]
warm_up = "5s"
steady = "30s"
drain_deadline = "60s"
[[fault]]
kind = "outage"
target = "namenode"
how = "refuse"
at = "3s"
for = "4s"
[[fault]]
kind = "outage"
target = "datanode1"
how = "kill"
at = "18s"
for = "4s"
[objectives]
lost = 0
"#;

fn run(options: &Options, meter: &mut dyn Meter) -> Result<Outcome, BenchError> {
    let mut outcome = Outcome::new(ROW.name);
    let directory = options.scratch()?;
    let scenario = runs::write(directory.path(), SCENARIO, runs::AVRO_TO_HDFS)?;
    let datanodes: [RefCell<Vec<Duration>>; 2] = Default::default();
    let work = |sut, datanode: &RefCell<Vec<Duration>>| {
        let record = runs::run(directory.path(), &scenario, sut, &[])?;
        let after = runs::first_stored(&record, "datanode1")?;
        datanode.borrow_mut().push(after);
        let cpu = record.indicators.system_load.cpu_us.value();
        Ok(Work {
            units: 1,
            wall: runs::first_stored(&record, "namenode")?,
            cpu: Duration::from_micros(cpu.copied().unwrap_or(0)),
        })
    };
    let mut ours = || work(runs::ENGINE, &datanodes[0]);
    let mut theirs = || work(runs::FLUME, &datanodes[1]);
    let plan = Plan {
        ratio: Ratio::Times,
        unit: "recoveries",
        ..options.plan()
    };
    let limit = Limit::AtMost(1.0);
    runs::compare_agents(&mut outcome, &plan, limit, meter, &mut ours, &mut theirs)?;
    let [ours, theirs] = datanodes.map(RefCell::into_inner);
    let of = |times: &[Duration]| Spread::of(times.iter().map(Duration::as_secs_f64));
    let pairs = ours.iter().zip(&theirs);
    let ratios = pairs.map(|(ours, theirs)| ours.as_secs_f64() / theirs.as_secs_f64());
    let (Some(ours), Some(theirs), Some(ratio)) = (of(&ours), of(&theirs), Spread::of(ratios))
    else {
        return Ok(outcome);
    };
    outcome.check("ratio, DataNode", ratio.median, "x", Limit::AtMost(1.0));
    outcome.notes.push(format!(
        "DataNode, every pair that was run: our agent {:.2} s [{:.2}..{:.2}], Flume {:.2} s [{:.2}..{:.2}]",
        ours.median, ours.min, ours.max, theirs.median, theirs.min, theirs.max
    ));
    Ok(outcome)
}
