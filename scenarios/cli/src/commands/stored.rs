//! The stored records of campaigns, gates, plans and soaks, in each of their formats: what `report` shows
//! of them, and how a record that was just made is shown.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use flume_bench_reports::campaign;
use flume_bench_reports::format::{Error, Rendered};
use flume_bench_reports::gate::{record as gate, render as of_gate};
use flume_bench_reports::plan::{self, show as of_plan};
use flume_bench_reports::soak;
use flume_bench_reports::verdict::Verdict;
use flume_bench_scenarios::scenario::reader::did_you_mean;

use super::{print, say};

/// A kind of record.
struct Kind {
    /// The name of its file.
    file: &'static str,
    /// What it is of.
    what: &'static str,
    /// Its formats.
    formats: &'static [&'static str],
    /// Reads it and renders it, for so many columns, with colours or not; in one of its formats.
    render: fn(&Path, &str, bool) -> Result<Vec<Rendered>, String>,
}

/// Every kind, by the name of its file.
static KINDS: &[Kind] = &[
    Kind {
        file: "campaign.json",
        what: "campaign",
        formats: &campaign::render::FORMATS,
        render: of_campaign,
    },
    Kind {
        file: "gate.json",
        what: "gate",
        formats: &[
            "html",
            "json",
            "junit",
            "markdown",
            "openmetrics",
            "terminal",
        ],
        render: gated,
    },
    Kind {
        file: "plan.json",
        what: "plan",
        formats: &["csv", "html", "json", "markdown", "openmetrics", "terminal"],
        render: planned,
    },
    Kind {
        file: "soak.json",
        what: "soak",
        formats: &soak::show::FORMATS,
        render: soaked,
    },
];

const WIDTH: usize = 100;

/// The record that a path names, or that lies in the directory it names, if it is of one of these
/// kinds.
pub(super) fn find(path: &Path) -> Option<PathBuf> {
    let inside = |kind: &Kind| path.join(kind.file);
    if path.is_dir() {
        return KINDS.iter().map(inside).find(|file| file.exists());
    }
    let named = |kind: &Kind| path.ends_with(kind.file);
    KINDS.iter().any(named).then(|| path.to_owned())
}

/// It in a format.
pub(super) fn render(file: &Path, format: &str, colour: bool) -> Result<Vec<Rendered>, String> {
    let kind = KINDS
        .iter()
        .find(|kind| file.ends_with(kind.file))
        .ok_or_else(|| format!("{} is no record of ours", file.display()))?;
    if !kind.formats.contains(&format) {
        return Err(format!(
            "a {} has no format {format}{} (there are: {})",
            kind.what,
            did_you_mean(format, kind.formats.iter().copied()),
            kind.formats.join(", ")
        ));
    }
    (kind.render)(file, format, colour)
}

fn one(file_name: &'static str, text: String) -> Vec<Rendered> {
    vec![Rendered { file_name, text }]
}

fn none() -> String {
    "there is no such format".to_owned()
}

fn of_campaign(file: &Path, format: &str, colour: bool) -> Result<Vec<Rendered>, String> {
    let record = campaign::read(file).map_err(|error| error.to_string())?;
    campaign::render::render(&record, format, WIDTH, colour)
        .ok_or_else(none)?
        .map_err(|error| error.to_string())
}

fn soaked(file: &Path, format: &str, colour: bool) -> Result<Vec<Rendered>, String> {
    let record = soak::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    soak::show::render(&record, format, WIDTH, colour)
        .ok_or_else(none)?
        .map_err(|error| error.to_string())
}

fn gated(file: &Path, format: &str, colour: bool) -> Result<Vec<Rendered>, String> {
    let record = gate::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(match format {
        "html" => one(
            "gate.html",
            of_gate::html(&record).map_err(|e| e.to_string())?,
        ),
        "json" => one("gate.json", text(file)?),
        "junit" => one("gate.xml", of_gate::junit(&record)),
        "markdown" => one("gate.md", of_gate::markdown(&record)),
        "openmetrics" => one("gate.om", of_gate::openmetrics(&record)),
        _ => one("gate.txt", of_gate::terminal(&record, WIDTH, colour)),
    })
}

fn planned(file: &Path, format: &str, colour: bool) -> Result<Vec<Rendered>, String> {
    let record = plan::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let shown = |result: Result<String, Error>| result.map_err(|error| error.to_string());
    Ok(match format {
        "csv" => one("plan.csv", shown(of_plan::csv(&record))?),
        "html" => one("plan.html", shown(of_plan::html(&record))?),
        "json" => one("plan.json", shown(of_plan::json(&record))?),
        "markdown" => one("plan.md", of_plan::markdown(&record)),
        "openmetrics" => one("plan.om", of_plan::openmetrics(&record)),
        _ => one("plan.txt", of_plan::terminal(&record, WIDTH, colour)),
    })
}

fn text(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file)
        .map_err(|error| format!("failed to read {}: {error}", file.display()))
}

/// A record that was just made: how it is shown.
pub(super) struct Made<'a, F> {
    /// Its directory.
    pub(super) dir: &'a Path,
    /// The page that is named in the end.
    pub(super) page: &'static str,
    /// All its formats; `json` is the record itself, which is there already.
    pub(super) formats: &'static [&'static str],
    /// It in a format, for so many columns, with colours or not.
    pub(super) render: F,
    /// Its verdict.
    pub(super) verdict: Verdict,
    /// Its reasons, the first of them the weightiest.
    pub(super) reasons: &'a [String],
}

impl<F> Made<'_, F>
where
    F: Fn(&str, usize, bool) -> Option<Result<Vec<Rendered>, Error>>,
{
    /// Writes each format beside the record, and prints one of them; with `quiet` a line.
    pub(super) fn show(&self, quiet: bool) {
        for format in self.formats.iter().filter(|format| **format != "json") {
            if let Err(error) = self.write(format) {
                say(&format!("the report could not be written: {error}"));
            }
        }
        if quiet {
            let reason = self.reasons.first().map_or("", String::as_str);
            print(&format!("{}: {reason}\n", self.verdict.as_str()));
            return;
        }
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        match (self.render)("terminal", WIDTH, colour) {
            Some(Ok(all)) => all.iter().for_each(|one| print(&one.text)),
            Some(Err(error)) => say(&error.to_string()),
            None => {}
        }
        say(&format!("report: {}", self.dir.join(self.page).display()));
    }

    fn write(&self, format: &str) -> Result<(), String> {
        let rendered = (self.render)(format, WIDTH, false)
            .ok_or("there is no such format")?
            .map_err(|error| error.to_string())?;
        for one in rendered {
            let path = self.dir.join(one.file_name);
            std::fs::write(&path, one.text)
                .map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_sorted_and_found_by_file_and_by_directory() {
        assert!(KINDS.is_sorted_by(|a, b| a.file < b.file));
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(find(directory.path()), None);
        for kind in KINDS {
            assert!(kind.formats.is_sorted() && kind.formats.contains(&"openmetrics"));
            let inside = directory.path().join(kind.what);
            std::fs::create_dir(&inside).unwrap();
            let file = inside.join(kind.file);
            std::fs::write(&file, "{").unwrap();
            assert_eq!(find(&inside).as_ref(), Some(&file));
            assert_eq!(find(&file).as_ref(), Some(&file));
            for format in kind.formats {
                assert!(render(&file, format, false).is_err(), "{format}");
            }
            let error = render(&file, "pdf", false).unwrap_err();
            assert!(error.contains("openmetrics"), "{error}");
        }
    }
}
