//! `file-flume-4`: the same as `file-flume`, with four sources and four sinks.
//!
//! So a channel is used by an agent with four connections and, as is advised where one sink does not
//! keep up, several sinks. Who commits at the same time can share a sync.

use super::{Options, Row, file_flume};
use crate::guard::Meter;
use crate::outcome::{BenchError, Limit, Outcome};
use crate::work::TRANSACTION;

/// The row.
pub(super) static ROW: Row = Row {
    name: "file-flume-4",
    question: "How fast is the file channel under four sources and four sinks, put and take durable, against Apache Flume's, in transactions of 100?",
    limit: "≥ 12x Apache Flume",
    is_long: false,
    has_arms: true,
    run,
};

fn run(options: &Options, meter: &mut dyn Meter) -> Result<Outcome, BenchError> {
    file_flume::side_by_side(&ROW, 4, TRANSACTION, Limit::AtLeast(12.0), options, meter)
}
