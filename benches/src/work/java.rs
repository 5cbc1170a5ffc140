//! Apache Flume's channels in a JVM, driven by `benches/java/Channels.java`.
//!
//! One JVM per row: it is warmed up once, then does a round whenever it is asked to and waits in
//! between. The jars are those that `ci/setup flume` brings, in `flume-1.11.0` under
//! `$FLUME_BENCH_LIBS` (by default `~/.cache/flume-bench`).

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use super::binary::{Process, readable};
use crate::outcome::BenchError;
use crate::pairs::Work;

const DRIVER: &str = include_str!("../../java/Channels.java");
/// How long a JVM may take to start, or for a round beyond all reason.
const PATIENCE: Duration = Duration::from_secs(120);

/// A JVM with one of Flume's channels.
#[derive(Debug)]
pub struct Flume {
    // Before the process, so that it sees the end of its input and ends by itself.
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    _process: Process,
}

impl Flume {
    /// Starts a JVM with `memory` or, keeping its files in `directory`, `file`, to be used by
    /// so many sources and as many sinks in transactions of so many events; warms it up with rounds
    /// of half a second.
    ///
    /// # Errors
    /// No jars or no JVM: [`BenchError::Missing`]. Others if the driver does not run.
    pub fn start(
        kind: &str,
        threads: usize,
        transaction: usize,
        directory: &Path,
        warm_up: u32,
    ) -> Result<Flume, BenchError> {
        let jars = jars()?;
        let driver = directory.join("Channels.java");
        std::fs::write(&driver, DRIVER).map_err(BenchError::file("write", &driver))?;
        let log = directory.join("driver.log");
        let errors = std::fs::File::create(&log).map_err(BenchError::file("create", &log))?;
        let mut command = Command::new("java");
        command
            .args(["-Xms1g", "-Xmx2g", "-Dlog4j2.level=ERROR", "-cp"])
            .arg(jars.join("*"))
            .arg(&driver)
            .arg(kind)
            .arg(threads.to_string())
            .arg(transaction.to_string())
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors);
        let mut process = Process::start(&mut command).map_err(|_| missing("a JVM (java)"))?;
        let (Some(input), Some(output)) = process.pipes() else {
            return Err(BenchError::Wrong {
                what: "talk to the JVM",
                why: "it has no pipes".to_owned(),
            });
        };
        let mut flume = Flume {
            input,
            output: BufReader::new(output),
            _process: process,
        };
        let first = flume.line()?;
        if first != "ready" {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            let why = format!(
                "it said {first:?}; {}",
                log.lines().take(3).collect::<String>()
            );
            return Err(BenchError::Wrong {
                what: "start Flume's channel",
                why,
            });
        }
        for _ in 0..warm_up {
            flume.round(Duration::from_millis(500))?;
        }
        Ok(flume)
    }

    /// Puts for so long, takes all of it.
    ///
    /// # Errors
    /// The driver failed.
    pub fn round(&mut self, time: Duration) -> Result<Work, BenchError> {
        writeln!(self.input, "{}", time.as_millis())
            .and_then(|()| self.input.flush())
            .map_err(BenchError::system("ask the JVM for a round"))?;
        let line = self.line()?;
        let figures: Vec<u64> = line
            .split(' ')
            .filter_map(|figure| figure.parse().ok())
            .collect();
        let [units, wall, cpu] = figures.as_slice() else {
            return Err(BenchError::Wrong {
                what: "read a round of the JVM",
                why: format!("it said {line:?}"),
            });
        };
        Ok(Work {
            units: *units,
            wall: Duration::from_nanos(*wall),
            cpu: Duration::from_nanos(*cpu),
        })
    }

    fn line(&mut self) -> Result<String, BenchError> {
        // A line is the answer to a question, so nothing is left in the buffer from the one before.
        if !readable(self.output.get_ref(), PATIENCE) {
            return Err(BenchError::Wrong {
                what: "wait for the JVM",
                why: format!("it said nothing for {PATIENCE:?}"),
            });
        }
        let mut line = String::new();
        self.output
            .read_line(&mut line)
            .map_err(BenchError::system("read from the JVM"))?;
        Ok(line.trim_end().to_owned())
    }
}

fn jars() -> Result<PathBuf, BenchError> {
    let libs = match std::env::var_os("FLUME_BENCH_LIBS") {
        Some(libs) => PathBuf::from(libs),
        None => {
            let home = std::env::var_os("HOME").map_or_else(PathBuf::new, PathBuf::from);
            home.join(".cache/flume-bench")
        }
    };
    let jars = libs.join("flume-1.11.0");
    if jars.join("flume-ng-core-1.11.0.jar").exists() {
        Ok(jars)
    } else {
        Err(missing(&format!("Apache Flume 1.11 in {}", jars.display())))
    }
}

fn missing(what: &str) -> BenchError {
    BenchError::Missing {
        what: what.to_owned(),
        remedy: "`ci/setup flume` brings it".to_owned(),
    }
}
