//! The ways to show a record. Each is one file, and one line in [`KINDS`].
//!
//! A format reads the record and the time series and nothing else: no clock, no network, no other
//! file. The same input gives the same bytes.

mod csv;
pub(crate) mod html;
mod json;
mod openmetrics;
mod page;
mod terminal;

use std::fmt::Debug;

use crate::record::{self, HistogramError, Known, RunRecord};
use crate::series::Table;
pub(crate) use page::Page;

/// What a format is given.
#[derive(Debug, Clone)]
pub struct Input<'a> {
    /// The record.
    pub record: &'a RunRecord,
    /// The time series, or why there is none.
    pub series: &'a Known<Table>,
    /// Columns that a text rendering may fill; 100 unless the terminal is narrower.
    pub width: usize,
    /// Whether text may be coloured. The caller knows whether it goes to a terminal.
    pub colour: bool,
}

impl<'a> Input<'a> {
    /// Input for a rendering that goes to a file: 100 columns, no colours.
    #[must_use]
    pub fn new(record: &'a RunRecord, series: &'a Known<Table>) -> Self {
        Self {
            record,
            series,
            width: 100,
            colour: false,
        }
    }
}

/// One file that a format makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The name it should get beside the record.
    pub file_name: &'static str,
    /// Its content.
    pub text: String,
}

/// Why a rendering could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The record does not go into its own form.
    #[error(transparent)]
    Record(#[from] record::Error),
    /// A histogram of the record cannot be read.
    #[error(transparent)]
    Histogram(#[from] HistogramError),
    /// The CSV writer failed.
    #[error("failed to write a table as CSV: {reason}; this is a defect, please report it")]
    Csv {
        /// What it said.
        reason: String,
    },
    /// A figure could not be drawn.
    #[error("failed to draw the figure {figure}: {reason}; this is a defect, please report it")]
    Figure {
        /// Which one.
        figure: String,
        /// What the drawing library said.
        reason: String,
    },
    /// The page could not be put together.
    #[error("failed to fill in the page: {reason}; this is a defect, please report it")]
    Page {
        /// What the template engine said.
        reason: String,
    },
}

/// A way to show a record.
pub trait Format: Debug + Sync {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// One line for `list`.
    fn summary(&self) -> &'static str;

    /// Shows the record.
    ///
    /// # Errors
    /// A record whose histograms cannot be decoded; everything else is a defect.
    fn render(&self, input: &Input<'_>) -> Result<Vec<Rendered>, Error>;
}

/// All formats, sorted by name.
pub static KINDS: [&dyn Format; 5] = [
    &csv::Csv,
    &html::Html,
    &json::Json,
    &openmetrics::OpenMetrics,
    &terminal::Terminal,
];

/// The format of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static dyn Format> {
    KINDS.into_iter().find(|format| format.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_found_by_name() {
        assert!(KINDS.is_sorted_by(|a, b| a.name() < b.name()));
        for format in KINDS {
            assert_eq!(find(format.name()).unwrap().name(), format.name());
            assert!(!format.summary().is_empty());
        }
        assert!(find("pdf").is_none());
    }

    #[test]
    fn every_format_shows_an_empty_record_and_the_same_twice() {
        let record = RunRecord::default();
        let series = Known::unknown("the run kept none");
        let input = Input::new(&record, &series);
        for format in KINDS {
            let rendered = format.render(&input).unwrap();
            assert!(
                rendered.iter().all(|one| !one.text.is_empty()),
                "{}",
                format.name()
            );
            assert_eq!(
                format.render(&input).unwrap(),
                rendered,
                "{}",
                format.name()
            );
        }
    }
}
