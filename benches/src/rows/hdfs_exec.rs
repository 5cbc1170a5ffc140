//! `hdfs-exec`: how fast does the HDFS sink drain a channel when it begins a file for every ten events?
//!
//! The shipped scenario `exec-hdfs-listed` with each agent in turn, on a local HDFS of its own, for
//! three seconds at 2,000 lines/s. The rate is the record's: events stored by the time from the first
//! one issued to the last one stored. Apache Flume's exec source ends when the channel of 1,000 is full,
//! so what it stores is that channel, drained by its sink alone. Ours must store all 6,000; it is held
//! back by the load.

use std::path::Path;

use super::{Options, Row};
use crate::guard::Meter;
use crate::outcome::{BenchError, Limit, Outcome};
use crate::work::runs;

/// The row.
pub(super) static ROW: Row = Row {
    name: "hdfs-exec",
    question: "How fast is a full channel drained into a real HDFS, with a file for every ten events, against Apache Flume?",
    limit: "≥ 15x Apache Flume",
    is_long: true,
    has_arms: true,
    run,
};

/// Long enough to fill the channel three times over before Flume's sink has emptied a tenth of it.
const LOAD: &[&str] = &["phases.steady=3s"];

fn run(options: &Options, meter: &mut dyn Meter) -> Result<Outcome, BenchError> {
    let mut outcome = Outcome::new(ROW.name);
    let directory = options.scratch()?;
    let scenario = Path::new("exec-hdfs-listed");
    let run = |sut| runs::run(directory.path(), scenario, sut, LOAD);
    let mut ours = || runs::all_stored(&run(runs::ENGINE)?);
    let mut theirs = || runs::stored(&run(runs::FLUME)?);
    let (plan, limit) = (options.plan(), Limit::AtLeast(15.0));
    runs::compare_agents(&mut outcome, &plan, limit, meter, &mut ours, &mut theirs)?;
    Ok(outcome)
}
