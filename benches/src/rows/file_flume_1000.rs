//! `file-flume-1000`: the same as `file-flume`, in transactions of 1,000.
//!
//! Large enough that not the disk's sync decides but what a channel does for each event.

use super::{Options, Row, file_flume};
use crate::guard::Meter;
use crate::outcome::{BenchError, Limit, Outcome};

/// The row.
pub(super) static ROW: Row = Row {
    name: "file-flume-1000",
    question: "How fast is the file channel, put and take durable, against Apache Flume's, in transactions of 1,000?",
    limit: "≥ 12x Apache Flume",
    is_long: false,
    has_arms: true,
    run,
};

fn run(options: &Options, meter: &mut dyn Meter) -> Result<Outcome, BenchError> {
    file_flume::side_by_side(&ROW, 1, 1_000, Limit::AtLeast(12.0), options, meter)
}
