//! The time series of a run: `series.csv`.
//!
//! Plain CSV with one header line, comma, LF, no quotes. Every cell is a non-negative integer; an
//! empty cell is a value that was not known then (the agent was down, no channel reports a fill).
//! The first column is `t_us`. A row describes the time since the row before it:
//!
//! | column | unit | meaning |
//! |---|---|---|
//! | `t_us` | µs since t0 | end of the interval |
//! | `offered_per_s` | events/s | intended in the interval |
//! | `acked_per_s` | events/s | acknowledged |
//! | `stored_per_s` | events/s | first seen in the store |
//! | `published_per_s` | events/s | first seen under a final name |
//! | `in_flight` | events | owed and not yet stored, at the end |
//! | `oldest_us` | µs | age of the oldest of them |
//! | `ack_response_us_p99` | µs | of the answers in the interval |
//! | `stored_response_us_p50` | µs | of the arrivals in the interval |
//! | `stored_response_us_p99` | µs | of the arrivals in the interval |
//! | `stored_response_us_max` | µs | of the arrivals in the interval |
//! | `channel_fill_ppm` | 10⁻⁶ of the capacity | the fullest channel, at the end |
//! | `cpu_us` | µs | CPU time of the agent in the interval |
//! | `rss_bytes` | bytes | resident memory of the agent, at the end |
//! | `disk_bytes` | bytes | what its directories held when they were measured last, every 2 s |
//!
//! Further columns (one channel's fill, …) may follow. A last line without its LF was torn by a
//! crash and is left out.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The columns that every series has, in order.
pub const COLUMNS: [&str; 15] = [
    "t_us",
    "offered_per_s",
    "acked_per_s",
    "stored_per_s",
    "published_per_s",
    "in_flight",
    "oldest_us",
    "ack_response_us_p99",
    "stored_response_us_p50",
    "stored_response_us_p99",
    "stored_response_us_max",
    "channel_fill_ppm",
    "cpu_us",
    "rss_bytes",
    "disk_bytes",
];

/// One row; units and meanings as in the module's table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the table above says it once for all of them")]
pub struct Sample {
    pub t_us: u64,
    pub offered_per_s: Option<u64>,
    pub acked_per_s: Option<u64>,
    pub stored_per_s: Option<u64>,
    pub published_per_s: Option<u64>,
    pub in_flight: Option<u64>,
    pub oldest_us: Option<u64>,
    pub ack_response_us_p99: Option<u64>,
    pub stored_response_us_p50: Option<u64>,
    pub stored_response_us_p99: Option<u64>,
    pub stored_response_us_max: Option<u64>,
    pub channel_fill_ppm: Option<u64>,
    pub cpu_us: Option<u64>,
    pub rss_bytes: Option<u64>,
    pub disk_bytes: Option<u64>,
}

impl Sample {
    /// The cells in the order of [`COLUMNS`].
    fn cells(&self) -> [Option<u64>; COLUMNS.len()] {
        [
            Some(self.t_us),
            self.offered_per_s,
            self.acked_per_s,
            self.stored_per_s,
            self.published_per_s,
            self.in_flight,
            self.oldest_us,
            self.ack_response_us_p99,
            self.stored_response_us_p50,
            self.stored_response_us_p99,
            self.stored_response_us_max,
            self.channel_fill_ppm,
            self.cpu_us,
            self.rss_bytes,
            self.disk_bytes,
        ]
    }
}

/// Writes a series row by row, each with a single call of the writer, so that a crash tears at
/// most the last line.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    columns: Vec<String>,
    rows: u64,
    line: String,
}

impl<W: Write> Writer<W> {
    /// Writes the header: [`COLUMNS`], then the further columns. Their names may hold letters,
    /// digits, `_`, `.` and `-`; anything else becomes `_`.
    ///
    /// # Errors
    /// The writer's.
    pub fn new(mut out: W, further: &[&str]) -> io::Result<Self> {
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() || "_.-".contains(c) {
                c
            } else {
                '_'
            }
        };
        let further = further.iter().map(|name| name.chars().map(plain).collect());
        let columns: Vec<String> = COLUMNS
            .iter()
            .map(|&name| name.to_owned())
            .chain(further)
            .collect();
        out.write_all((columns.join(",") + "\n").as_bytes())?;
        Ok(Self {
            out,
            columns,
            rows: 0,
            line: String::new(),
        })
    }

    /// Writes a row. Of `further`, missing cells are empty and supernumerary ones left out.
    ///
    /// # Errors
    /// The writer's.
    pub fn push(&mut self, sample: &Sample, further: &[Option<u64>]) -> io::Result<()> {
        self.line.clear();
        let cells = sample.cells();
        let wanted = self.columns.len() - cells.len();
        let further = further
            .iter()
            .copied()
            .chain(std::iter::repeat(None))
            .take(wanted);
        for (i, cell) in cells.into_iter().chain(further).enumerate() {
            if i > 0 {
                self.line.push(',');
            }
            if let Some(cell) = cell {
                self.line.push_str(&cell.to_string());
            }
        }
        self.line.push('\n');
        self.out.write_all(self.line.as_bytes())?;
        self.rows += 1;
        Ok(())
    }

    /// Flushes, and gives back what the record says about the series: its columns and rows.
    ///
    /// # Errors
    /// The writer's.
    pub fn finish(mut self) -> io::Result<(Vec<String>, u64)> {
        self.out.flush()?;
        Ok((self.columns, self.rows))
    }
}

/// Why a series could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read.
    #[error("failed to read the time series {path}: {source}; charts need it, counts do not")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line is not as the format has it.
    #[error("failed to read the time series at line {line}: {reason}; it was edited or damaged")]
    Line {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
}

/// A series in memory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<Option<u64>>>,
    /// Whether a torn last line was left out.
    pub torn: bool,
}

impl Table {
    /// Reads a series file.
    ///
    /// # Errors
    /// [`Error`]
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text)
    }

    /// Reads the text of a series file.
    ///
    /// # Errors
    /// [`Error::Line`] with the first line that is wrong.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |line: usize, reason: String| Error::Line { line, reason };
        let torn = !text.is_empty() && !text.ends_with('\n');
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let mut lines = whole.split('\n');
        let columns: Vec<String> = lines
            .next()
            .unwrap_or_default()
            .split(',')
            .map(str::to_owned)
            .collect();
        if columns.first().map(String::as_str) != Some(COLUMNS[0]) {
            return Err(wrong(1, format!("the first column is not {}", COLUMNS[0])));
        }
        let mut rows: Vec<Vec<Option<u64>>> = Vec::new();
        for (i, line) in lines.enumerate() {
            let at = i + 2;
            let row: Vec<Option<u64>> = line
                .split(',')
                .map(|cell| match cell {
                    "" => Ok(None),
                    digits => digits.parse().map(Some),
                })
                .collect::<Result<_, _>>()
                .map_err(|source: std::num::ParseIntError| wrong(at, source.to_string()))?;
            if row.len() != columns.len() {
                let reason = format!("{} cells under {} columns", row.len(), columns.len());
                return Err(wrong(at, reason));
            }
            let instant = row.first().copied().flatten();
            let Some(instant) = instant else {
                return Err(wrong(at, "no instant".to_owned()));
            };
            if rows.last().is_some_and(|before| before[0] >= Some(instant)) {
                return Err(wrong(at, "the time does not go forward".to_owned()));
            }
            rows.push(row);
        }
        Ok(Self {
            columns,
            rows,
            torn,
        })
    }

    /// The names of the columns.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// One column as points (µs since t0, value); `None` where there is no such column or none of
    /// its cells holds a value.
    #[must_use]
    pub fn points(&self, column: &str) -> Option<Vec<(u64, Option<u64>)>> {
        let at = self.columns.iter().position(|name| name == column)?;
        let point = |row: &Vec<Option<u64>>| (row[0].unwrap_or(0), row[at]);
        let points: Vec<_> = self.rows.iter().map(point).collect();
        points
            .iter()
            .any(|(_, value)| value.is_some())
            .then_some(points)
    }

    /// The series again as CSV, as it is in the file.
    #[must_use]
    pub fn to_csv(&self) -> String {
        let mut out = self.columns.join(",") + "\n";
        for row in &self.rows {
            let cells: Vec<String> = row
                .iter()
                .map(|cell| cell.map(|v| v.to_string()).unwrap_or_default())
                .collect();
            out.push_str(&cells.join(","));
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(samples: &[Sample]) -> String {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, &["channel_fill_ppm.c1", "bad,name"]).unwrap();
        for sample in samples {
            writer.push(sample, &[Some(7)]).unwrap();
        }
        let (columns, rows) = writer.finish().unwrap();
        assert_eq!(
            (columns.len(), rows),
            (COLUMNS.len() + 2, samples.len() as u64)
        );
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let first = Sample {
            t_us: 10,
            in_flight: Some(3),
            ..Sample::default()
        };
        let second = Sample {
            t_us: 20,
            cpu_us: Some(u64::MAX),
            ..Sample::default()
        };
        let text = written(&[first, second]);
        let table = Table::parse(&text).unwrap();
        assert_eq!(
            table.points("in_flight").unwrap(),
            [(10, Some(3)), (20, None)]
        );
        assert_eq!(table.points("cpu_us").unwrap()[1].1, Some(u64::MAX));
        assert_eq!(table.points("channel_fill_ppm.c1").unwrap()[0].1, Some(7));
        assert_eq!(table.points("bad_name"), None);
        assert_eq!(table.points("rss_bytes"), None);
        assert_eq!(table.to_csv(), text);
    }

    #[test]
    fn a_torn_last_line_is_left_out_and_said() {
        let text = written(&[
            Sample {
                t_us: 10,
                ..Sample::default()
            },
            Sample {
                t_us: 20,
                ..Sample::default()
            },
        ]);
        let table = Table::parse(&text[..text.len() - 1]).unwrap();
        assert_eq!((table.len(), table.torn), (1, true));
    }

    #[test]
    fn damage_is_named_with_its_line() {
        for (text, line) in [
            ("x\n", 1),
            ("t_us,a\n1,2\n3\n", 3),
            ("t_us\nx\n", 2),
            ("t_us\n5\n5\n", 3),
        ] {
            let Err(Error::Line { line: found, .. }) = Table::parse(text) else {
                panic!("{text:?} was read");
            };
            assert_eq!(found, line, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_cut_loses_whole_rows_only(times in proptest::collection::btree_set(0_u64.., 1..20), cut in 0_usize..2_000) {
            let samples: Vec<Sample> =
                times.into_iter().map(|t_us| Sample { t_us, ..Sample::default() }).collect();
            let text = written(&samples);
            let header = text.find('\n').unwrap();
            let cut = (header + 1 + cut).min(text.len());
            let table = Table::parse(&text[..cut]).unwrap();
            let read: Vec<u64> = table.points("t_us").unwrap_or_default().iter().map(|p| p.0).collect();
            let whole: Vec<u64> = samples.iter().map(|s| s.t_us).take(read.len()).collect();
            prop_assert_eq!(read, whole);
            prop_assert_eq!(table.torn, !text[..cut].ends_with('\n'));
        }
    }
}
