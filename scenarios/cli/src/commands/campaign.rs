//! `campaign`: parses what it is asked for, runs it, shows what it came to.

use std::process::ExitCode;
use std::time::Duration;

use flume_bench_reports::campaign::render;
use flume_bench_scenarios::campaign::{self, Request, Wanted};
use flume_bench_scenarios::runner::Options;
use flume_bench_scenarios::scenario::reader::Problem;
use flume_bench_scenarios::text::parse_duration;

use super::run::load;
use super::stored::Made;
use super::{exit, interrupt, say, say_problems, tools};
use crate::args::Campaign;

/// The trials of a campaign for which no rule is given: enough for "below 5 %".
const TRIALS: u32 = 59;

/// `flume-bench campaign`.
pub(crate) fn campaign(args: &Campaign, command_line: Vec<String>) -> ExitCode {
    // A campaign that is resumed has its runs in its own directory, wherever that is.
    let interrupted = interrupt::listen(args.resume.as_deref().unwrap_or(&args.runs));
    let options = Options {
        runs: args.runs.clone(),
        run_id: None,
        keep_going: true,
        quiet: true,
        command_line,
        tools: tools(),
        interrupted,
    };
    let request = request(args);
    let loaded = load(&args.scenario, &args.overriding, &options);
    let (scenario, request) = match (loaded, request) {
        (Ok(scenario), Ok(request)) => (scenario, request),
        (loaded, request) => {
            let mut problems = request.err().unwrap_or_default();
            problems.extend(loaded.err().unwrap_or_default());
            return say_problems(&problems);
        }
    };
    let quiet = args.quiet;
    let tell = |text: &str| {
        if !quiet {
            say(text);
        }
    };
    match campaign::run(&scenario, &request, &options, &tell) {
        Ok(done) => {
            let record = &done.record;
            let made = Made {
                dir: &done.dir,
                page: "reliability.html",
                formats: &render::FORMATS,
                render: |format: &str, width, colour| render::render(record, format, width, colour),
                verdict: record.verdict,
                reasons: &record.reasons,
            };
            made.show(quiet);
            exit(done.record.exit_code)
        }
        Err(problems) => say_problems(&problems),
    }
}

fn request(args: &Campaign) -> Result<Request, Vec<Problem>> {
    let mut problems = Vec::new();
    let wrong = |option: &str, error: String, remedy: &str| {
        Problem::of_machine(format!("{option}: {error}"), remedy)
    };
    let mut duration = |option: &str, text: &str| -> Duration {
        parse_duration(text).unwrap_or_else(|error| {
            problems.push(wrong(option, error.to_string(), "such as 20m"));
            Duration::ZERO
        })
    };
    let shrink_budget = duration("--shrink-budget", &args.shrink_budget);
    let budget = args
        .budget
        .as_deref()
        .map(|text| duration("--budget", text));
    let upper = args.until_upper.as_deref().map(|text| {
        parse_share(text).unwrap_or_else(|| {
            problems.push(wrong(
                "--until-upper",
                format!("\"{text}\" is not a share"),
                "write \"5 %\" or 0.05",
            ));
            0.05
        })
    });
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Request {
        wanted: match (budget, upper) {
            (Some(budget), _) => Wanted::Budget(budget),
            (_, Some(upper)) => Wanted::UntilUpper(upper),
            _ => Wanted::Trials(args.trials.unwrap_or(TRIALS)),
        },
        allow_failures: args.allow_failures,
        jobs: args.jobs,
        resume: args.resume.clone(),
        shrink_budget,
    })
}

/// `5 %`, `5%` or `0.05`, as a share of 1.
fn parse_share(text: &str) -> Option<f64> {
    let text = text.trim();
    let share = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().ok()? / 100.0,
        None => text.parse().ok()?,
    };
    (share > 0.0 && share < 1.0).then_some(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_as_people_write_them() {
        assert_eq!(parse_share("5 %"), Some(0.05));
        assert_eq!(parse_share("1%"), Some(0.01));
        assert_eq!(parse_share("0.05"), Some(0.05));
        for wrong in ["", "0 %", "100 %", "five", "-1 %", "5"] {
            assert_eq!(parse_share(wrong), None, "{wrong}");
        }
    }
}
