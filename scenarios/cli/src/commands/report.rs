//! `report`, and what `run` shows at its end.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use flume_bench_reports::compare;
use flume_bench_reports::format::{self, Format, Input, Rendered};
use flume_bench_reports::record::{self, Known, RunRecord};
use flume_bench_reports::series::Table;
use flume_bench_reports::verdict::ExitCode as Code;
use flume_bench_scenarios::judge;
use flume_bench_scenarios::scenario::reader::did_you_mean;

use super::{exit, print, say};
use crate::args::{Report, Several};

/// Writes `report.html` beside the record; where it is.
pub(crate) fn write_all(dir: &Path, record: &RunRecord) -> Result<PathBuf, String> {
    let series = series_of(dir, record);
    let html = format::find("html").ok_or("there is no format html")?;
    let path = dir.join("report.html");
    for rendered in html
        .render(&Input::new(record, &series))
        .map_err(|error| error.to_string())?
    {
        std::fs::write(&path, rendered.text)
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(path)
}

/// Shows a record on standard output.
pub(crate) fn show(dir: &Path, record: &RunRecord) {
    let series = series_of(dir, record);
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let input = Input {
        colour,
        ..Input::new(record, &series)
    };
    match format::find("terminal").map(|terminal| terminal.render(&input)) {
        Some(Ok(all)) => all.iter().for_each(|one| print(&one.text)),
        Some(Err(error)) => say(&error.to_string()),
        None => {}
    }
}

fn series_of(dir: &Path, record: &RunRecord) -> Known<Table> {
    let path = dir.join(if record.series.path.is_empty() {
        "series.csv"
    } else {
        &record.series.path
    });
    Table::read(&path).map_or_else(|error| Known::unknown(error.to_string()), Known::Value)
}

/// `flume-bench report`.
pub(crate) fn report(args: &Report) -> ExitCode {
    let result = match &args.several {
        None => try_report(args),
        Some(Several::Compare(two)) => {
            let first = located(&two.first);
            first.and_then(|first| compared(&first, &two.second))
        }
        Some(Several::Trend(args)) => super::trend::trend(args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            say(&format!("error: {error}"));
            exit(Code::Unusable)
        }
    }
}

fn try_report(args: &Report) -> Result<ExitCode, String> {
    let name = match args.format.as_str() {
        "text" => "terminal",
        name => name,
    };
    if let Some(file) = args.run.as_deref().and_then(super::stored::find) {
        return of_stored(args, &file, name);
    }
    // Before anything is read or judged: that may take a while.
    let format = find_format(name)?;
    let (dir, file) = locate(args.run.as_deref())?;
    let shown = if args.judge {
        judge_again(&dir, &file)?
    } else {
        read(&dir, &file)?
    };
    if let Some(other) = &args.compare {
        return compared(&(dir, shown), other);
    }
    let series = series_of(&dir, &shown);
    let colour = args.output.is_none()
        && std::io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none();
    let rendered = format
        .render(&Input {
            colour,
            ..Input::new(&shown, &series)
        })
        .map_err(|error| error.to_string())?;
    put(&rendered, args.output.as_deref())?;
    Ok(exit(if args.judge {
        shown.exit_code
    } else {
        Code::Pass
    }))
}

/// The record of a campaign, a gate, a plan or a soak in a format.
fn of_stored(args: &Report, file: &Path, format: &str) -> Result<ExitCode, String> {
    if args.judge || args.compare.is_some() {
        return Err(format!(
            "{} is no run: only the runs that lie beside it can be judged again or compared",
            file.display()
        ));
    }
    let colour = args.output.is_none()
        && std::io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none();
    let rendered = super::stored::render(file, format, colour)?;
    put(&rendered, args.output.as_deref())?;
    Ok(exit(Code::Pass))
}

/// Prints files, or writes them: several into a directory.
fn put(rendered: &[Rendered], output: Option<&Path>) -> Result<(), String> {
    match output {
        None => rendered.iter().for_each(|one| print(&one.text)),
        Some(path) if rendered.len() == 1 => std::fs::write(path, &rendered[0].text)
            .map_err(|error| format!("failed to write {}: {error}", path.display()))?,
        Some(path) => {
            std::fs::create_dir_all(path)
                .map_err(|error| format!("failed to make {}: {error}", path.display()))?;
            for one in rendered {
                let file = path.join(one.file_name);
                std::fs::write(&file, &one.text)
                    .map_err(|error| format!("failed to write {}: {error}", file.display()))?;
            }
        }
    }
    Ok(())
}

/// A run's directory, and its record.
fn located(run: &Path) -> Result<(PathBuf, RunRecord), String> {
    let (dir, file) = locate(Some(run))?;
    let record = read(&dir, &file)?;
    Ok((dir, record))
}

fn compared(first: &(PathBuf, RunRecord), second: &Path) -> Result<ExitCode, String> {
    let second = located(second)?;
    let name = |dir: &Path| {
        dir.file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
    };
    print(&compare::terminal(
        &first.1,
        &second.1,
        [&name(&first.0), &name(&second.0)],
        100,
        std::io::stdout().is_terminal(),
    ));
    Ok(ExitCode::SUCCESS)
}

fn find_format(name: &str) -> Result<&'static dyn Format, String> {
    format::find(name).ok_or_else(|| {
        let names: Vec<&str> = format::KINDS.iter().map(|format| format.name()).collect();
        let hint = did_you_mean(name, names.iter().copied());
        format!(
            "there is no format {name}{hint} (there are: {})",
            names.join(", ")
        )
    })
}

/// Judges a run from its journal, and says whether that comes to what the record says.
fn judge_again(dir: &Path, file: &Path) -> Result<RunRecord, String> {
    if !dir.join("journal.bin").exists() {
        return Err(format!(
            "{} holds no journal.bin; is this the directory of a run?",
            dir.display()
        ));
    }
    let again = judge::judge_stored(dir)?;
    match stored(dir, file) {
        Ok(shown) => {
            let same = again.verdict == shown.verdict
                && again.counts == shown.counts
                && again.latencies == shown.latencies
                && again.checkers == shown.checkers;
            say(if same {
                "judged again: the same counts, latencies and verdict"
            } else {
                "judged again: NOT the same as the stored record"
            });
        }
        Err(error) => say(&format!("judged again, because {error}")),
    }
    Ok(again)
}

/// The run's directory and its record's file.
fn locate(run: Option<&Path>) -> Result<(PathBuf, PathBuf), String> {
    let path = match run {
        Some(path) => path.to_owned(),
        None => newest()?,
    };
    Ok(if path.is_dir() {
        (path.clone(), path.join(judge::RECORD))
    } else {
        (path.parent().unwrap_or(Path::new(".")).to_owned(), path)
    })
}

fn read(dir: &Path, file: &Path) -> Result<RunRecord, String> {
    if !file.exists() && dir.join("journal.bin").exists() {
        say(&format!(
            "{} has no record; judging it from its journal",
            dir.display()
        ));
        return judge::judge_stored(dir);
    }
    stored(dir, file)
}

fn stored(dir: &Path, file: &Path) -> Result<RunRecord, String> {
    record::read(file).map_err(|error| match error {
        record::Error::Read { .. } => error.to_string(),
        record::Error::CutOff { .. } | record::Error::Edited { .. } => format!(
            "{}: {error}: flume-bench report {} --judge",
            file.display(),
            dir.display()
        ),
        _ => format!("{}: {error}", file.display()),
    })
}

fn newest() -> Result<PathBuf, String> {
    let entries =
        std::fs::read_dir("runs").map_err(|_| "there are no runs here: name a run's directory")?;
    let all = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join("journal.bin").exists());
    all.max()
        .ok_or_else(|| "there are no runs under runs/: name a run's directory".into())
}
