//! `baseline save | promote | list`.

use std::process::ExitCode;

use flume_bench_reports::show;
use flume_bench_scenarios::gate::baseline;
use flume_bench_scenarios::scenario::reader::Problem;

use super::{print, say_problems};
use crate::args::{Baseline, BaselineCommand};

/// `flume-bench baseline`.
pub(crate) fn baseline(args: &Baseline) -> ExitCode {
    match done(args) {
        Ok(text) => {
            print(&text);
            ExitCode::SUCCESS
        }
        Err(problems) => say_problems(&problems),
    }
}

fn done(args: &Baseline) -> Result<String, Vec<Problem>> {
    match &args.what {
        BaselineCommand::Save { gate, branch, arm } => {
            let arm = usize::from(arm == "candidate");
            let written = baseline::save(gate, arm, branch, &args.store)?;
            let lines = written
                .iter()
                .map(|path| format!("saved {}\n", path.display()));
            Ok(lines.collect())
        }
        BaselineCommand::Promote { from, to } => {
            let count = baseline::promote(&args.store, from, to)?;
            Ok(format!("{count} of {from} are now those of {to}\n"))
        }
        BaselineCommand::List { branch } => {
            let all = baseline::list(&args.store, branch.as_deref())?;
            let lines = all.iter().map(|one| {
                format!(
                    "{:<20} {:<24} {:<40} {} entries, the last of {}\n",
                    one.branch,
                    one.scenario,
                    one.host_kind,
                    one.entries.len(),
                    one.entries
                        .last()
                        .map_or_else(|| "never".to_owned(), |last| show::date(&last.when))
                )
            });
            Ok(lines.collect())
        }
    }
}
