//! `run --for`: a soak.

use std::process::ExitCode;
use std::time::Duration;

use flume_bench_reports::soak::show;
use flume_bench_scenarios::runner::{self, Options};
use flume_bench_scenarios::scenario::Scenario;
use flume_bench_scenarios::scenario::reader::Problem;
use flume_bench_scenarios::text::parse_duration;

use super::stored::Made;
use super::{exit, say_problems};
use crate::args::{Overriding, Run};

/// How long a soak is to last, where one is asked for, and what `--judge-every` changes in the
/// scenario.
pub(super) fn asked(args: &Run) -> Result<Option<(Duration, Overriding)>, Vec<Problem>> {
    let Some(lasts) = args.lasts.as_deref() else {
        return Ok(None);
    };
    let every = args.judge_every.as_deref();
    let lasts = duration_of("--for", lasts);
    let checked = every.map(|every| duration_of("--judge-every", every));
    let checked = checked.transpose();
    let lasts = match (lasts, checked) {
        (Ok(lasts), Ok(_)) => lasts,
        (lasts, checked) => return Err(lasts.err().into_iter().chain(checked.err()).collect()),
    };
    let overriding = &args.overriding;
    let mut set = overriding.set.clone();
    set.extend(every.map(|every| format!("phases.steady={every}")));
    Ok(Some((
        lasts,
        Overriding {
            sut: overriding.sut.clone(),
            provider: overriding.provider.clone(),
            seed: overriding.seed,
            set,
        },
    )))
}

/// The duration that an option gives; 0 is none.
fn duration_of(option: &str, text: &str) -> Result<Duration, Problem> {
    parse_duration(text)
        .ok()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| {
            Problem::of_machine(
                format!("{option} {text} is not understood"),
                "write a duration, such as 10m or 8h",
            )
        })
}

/// Runs it and shows what it came to.
pub(super) fn perform(scenario: &Scenario, options: &Options, lasts: Duration) -> ExitCode {
    let soaked = match runner::soak::run(scenario, options, lasts) {
        Ok(soaked) => soaked,
        Err(problems) => return say_problems(&problems),
    };
    let record = &soaked.record;
    let made = Made {
        dir: &soaked.dir,
        page: "soak.html",
        formats: &show::FORMATS,
        render: |format: &str, width, colour| show::render(record, format, width, colour),
        verdict: record.verdict,
        reasons: &record.reasons,
    };
    made.show(options.quiet);
    exit(record.exit_code)
}
