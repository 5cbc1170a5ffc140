//! `html-10min`: is the page of a long run still a page?
//!
//! The HTML report of ten minutes at 20,000 events/s with twelve outages, sampled every 100 ms: the
//! sample run that the reports' own tests use, made by a small model. The slowest of three counts.

use std::time::Instant;

use flume_bench_reports::format::{self, Input};
use flume_bench_reports::record::Known;

use super::{Options, Row};
use crate::guard::Meter;
use crate::outcome::{BenchError, Limit, Outcome};
use crate::pairs::undisturbed;

#[path = "../../../reports/tests/samples/records.rs"]
#[expect(
    dead_code,
    clippy::unwrap_used,
    reason = "shared with the tests of the reports, which use all of it and may unwrap"
)]
mod records;

/// The row.
pub(super) static ROW: Row = Row {
    name: "html-10min",
    question: "How large is the page of a ten-minute run, and how long does it take to make?",
    limit: "≤ 5 MB, made in ≤ 2 s",
    is_long: false,
    has_arms: false,
    run,
};

const RUNS: usize = 3;

fn run(_options: &Options, meter: &mut dyn Meter) -> Result<Outcome, BenchError> {
    let mut outcome = Outcome::new(ROW.name);
    let html = format::find("html").ok_or_else(|| BenchError::Wrong {
        what: "find the format html",
        why: "there is none".to_owned(),
    })?;
    let run = records::long();
    let series = Known::Value(run.series);
    let input = Input::new(&run.record, &series);
    let ((slowest, bytes), disturbance, _) = undisturbed(3, meter, || {
        let (mut slowest, mut bytes) = (0.0_f64, 0);
        for _ in 0..RUNS {
            let start = Instant::now();
            let files = html
                .render(&input)
                .map_err(BenchError::wrong("make the page"))?;
            slowest = slowest.max(start.elapsed().as_secs_f64());
            bytes = files.iter().map(|file| file.text.len()).sum();
        }
        Ok((slowest, bytes))
    })?;
    let (megabytes, most) = (bytes as f64 / 1e6, Limit::AtMost(5.0));
    outcome.check("size", megabytes, "MB", most);
    let most = Limit::AtMost(2.0);
    outcome.check_despite("time", slowest, "s", most, disturbance);
    Ok(outcome)
}
