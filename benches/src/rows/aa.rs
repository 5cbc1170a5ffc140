//! `aa`: does the machine measure the same work as equally fast?
//!
//! Both arms are the work of `mem-100`. If it is not its own equal within 5 %, no ratio of this
//! hour means anything, and every row with two arms is void.

use super::{Options, Row};
use crate::guard::Meter;
use crate::outcome::{BenchError, Limit, Outcome};
use crate::pairs::{Arm, Work, compare};
use crate::work::{TRANSACTION, channel};

/// The row.
pub(super) static ROW: Row = Row {
    name: "aa",
    question: "Is the same work as fast as itself on this machine, at this hour?",
    limit: "1.00 ± 0.05, else no row with two arms has a verdict",
    is_long: false,
    has_arms: true,
    run,
};

fn run(options: &Options, meter: &mut dyn Meter) -> Result<Outcome, BenchError> {
    let mut outcome = Outcome::new(ROW.name);
    let memory = channel::memory();
    let work = || Work::measure(|| channel::through(&memory, TRANSACTION, options.time));
    let (mut first, mut second) = (work, work);
    let arms = (
        Arm {
            name: "memory channel",
            run: &mut first,
        },
        Arm {
            name: "the same",
            run: &mut second,
        },
    );
    let limit = Limit::Within(1.0, 0.05);
    compare(&mut outcome, &options.plan(), limit, meter, arms)?;
    Ok(outcome)
}
