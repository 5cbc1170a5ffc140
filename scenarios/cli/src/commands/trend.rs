//! `report trend`: did a metric change its level over the stored runs?

use std::io::IsTerminal;
use std::process::ExitCode;

use flume_bench_reports::record;
use flume_bench_reports::trend::{self, LeftOut, Stored};
use flume_bench_scenarios::judge;

use super::print;
use crate::args::Trend;

/// Reads every record directly under the directory. One that is cut off, edited or missing is
/// named, and left out.
pub(super) fn trend(args: &Trend) -> Result<ExitCode, String> {
    let dir = &args.runs;
    let entries = std::fs::read_dir(dir)
        .map_err(|error| format!("failed to look for runs in {}: {error}", dir.display()))?;
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    let (mut records, mut left_out) = (Vec::new(), Vec::new());
    for name in names {
        let run = dir.join(&name);
        let file = run.join(judge::RECORD);
        if !file.exists() && !run.join("journal.bin").exists() {
            continue;
        }
        match record::read(&file) {
            Ok(record) => records.push(Stored { name, record }),
            Err(error) => left_out.push(LeftOut {
                run: name,
                reason: error.to_string(),
            }),
        }
    }
    if records.is_empty() {
        let unread: Vec<String> = left_out
            .iter()
            .map(|one| format!("; {}: {}", one.run, one.reason))
            .collect();
        return Err(format!(
            "{} holds no run with a record: name the directory that holds the runs' directories{}",
            dir.display(),
            unread.concat()
        ));
    }
    let found = trend::of(records, left_out, args.seed);
    if args.format == "json" {
        print(&found.json().map_err(|error| error.to_string())?);
    } else {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        print(&found.terminal(100, colour));
    }
    Ok(ExitCode::SUCCESS)
}
