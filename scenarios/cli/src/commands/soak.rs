//! `run --for`: a soak.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use flume_bench_reports::soak::{SoakRecord, show};
use flume_bench_scenarios::runner::{self, Options};
use flume_bench_scenarios::scenario::Scenario;
use flume_bench_scenarios::scenario::reader::Problem;
use flume_bench_scenarios::text::parse_duration;

use super::{exit, print, say, say_problems};
use crate::args::{Overriding, Run};

/// How long a soak is to last, where one is asked for, and what `--judge-every` changes in the
/// scenario.
pub(super) fn asked(args: &Run) -> Result<Option<(Duration, Overriding)>, Vec<Problem>> {
    let wrong = |option: &str, text: &str| {
        parse_duration(text)
            .ok()
            .filter(|duration| !duration.is_zero())
            .ok_or_else(|| {
                Problem::of_machine(
                    format!("{option} {text} is not understood"),
                    "write a duration, such as 10m or 8h",
                )
            })
    };
    let Some(lasts) = args.lasts.as_deref() else {
        return Ok(None);
    };
    let every = args.judge_every.as_deref();
    let checked = every.map(|every| wrong("--judge-every", every)).transpose();
    let problems = |one: Problem| vec![one];
    let (lasts, _) = (
        wrong("--for", lasts).map_err(problems)?,
        checked.map_err(problems)?,
    );
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

/// Runs it and shows what it came to.
pub(super) fn perform(scenario: &Scenario, options: &Options, lasts: Duration) -> ExitCode {
    let soaked = match runner::soak::run(scenario, options, lasts) {
        Ok(soaked) => soaked,
        Err(problems) => return say_problems(&problems),
    };
    let record = &soaked.record;
    for format in show::FORMATS.into_iter().filter(|format| *format != "json") {
        if let Err(error) = write(&soaked.dir, record, format) {
            say(&format!("the report could not be written: {error}"));
        }
    }
    if options.quiet {
        print(&format!(
            "{}: {}\n",
            record.verdict.as_str(),
            record.reasons.first().map_or("", String::as_str)
        ));
    } else {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        match show::render(record, "terminal", 100, colour) {
            Some(Ok(all)) => all.iter().for_each(|one| print(&one.text)),
            Some(Err(error)) => say(&error.to_string()),
            None => {}
        }
        say(&format!(
            "report: {}",
            soaked.dir.join("soak.html").display()
        ));
    }
    exit(record.exit_code)
}

/// Writes one rendering beside the record.
fn write(dir: &Path, record: &SoakRecord, format: &str) -> Result<(), String> {
    let rendered = show::render(record, format, 100, false)
        .ok_or("there is no such format")?
        .map_err(|error| error.to_string())?;
    for one in rendered {
        let path = dir.join(one.file_name);
        std::fs::write(&path, one.text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}
