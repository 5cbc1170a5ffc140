//! Whole runs: `flume-bench run` of a scenario, and the record it leaves.
//!
//! Rows that compare systems under test read their figures from the records of two runs of the same
//! scenario. The record is the judge's; nothing is measured here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use flume_bench_reports::record::{self, RunRecord};

use super::binary;
use crate::guard::Meter;
use crate::outcome::{BenchError, Limit, Outcome};
use crate::pairs::{Arm, Plan, Work, compare};

/// Both systems under test, by their drivers.
pub const ENGINE: &str = "engine";
/// Apache Flume.
pub const FLUME: &str = "flume";
/// The configuration of `scenarios/hdfs.toml`: Avro, file channel, HDFS.
pub const AVRO_TO_HDFS: &str = include_str!("../../../scenarios/hdfs.conf");

/// Compares our agent with Apache Flume, each by what its closure reads from a run.
///
/// # Errors
/// Those of the arms.
pub fn compare_agents(
    outcome: &mut Outcome,
    plan: &Plan,
    limit: Limit,
    meter: &mut dyn Meter,
    ours: &mut dyn FnMut() -> Result<Work, BenchError>,
    theirs: &mut dyn FnMut() -> Result<Work, BenchError>,
) -> Result<(), BenchError> {
    let arms = (
        Arm {
            name: "our agent",
            run: ours,
        },
        Arm {
            name: "Apache Flume",
            run: theirs,
        },
    );
    compare(outcome, plan, limit, meter, arms)
}

/// Writes a scenario and its configuration, `bench.toml` and `bench.conf`; answers the scenario's
/// path.
///
/// # Errors
/// They could not be written.
pub fn write(directory: &Path, scenario: &str, config: &str) -> Result<PathBuf, BenchError> {
    let conf = directory.join("bench.conf");
    fs::write(&conf, config).map_err(BenchError::file("write", &conf))?;
    let path = directory.join("bench.toml");
    fs::write(&path, scenario).map_err(BenchError::file("write", &path))?;
    Ok(path)
}

/// Runs a scenario on the local HDFS; its directory goes when its record has been read.
///
/// # Errors
/// Something is not installed ([`BenchError::Missing`]), or the run left no record, or its harness
/// failed.
pub fn run(
    directory: &Path,
    scenario: &Path,
    sut: &str,
    set: &[&str],
) -> Result<RunRecord, BenchError> {
    let runs = directory.join("runs");
    let mut command = Command::new(binary::flume_bench()?);
    command
        .arg("run")
        .arg(scenario)
        .args(["--provider", "local", "--quiet", "--sut", sut, "--runs"])
        .arg(&runs)
        .args(set.iter().flat_map(|change| ["--set", *change]))
        .stdin(Stdio::null());
    let output = command
        .output()
        .map_err(BenchError::system("start flume-bench run"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0 | 1 | 3) => {}
        Some(2) => {
            return Err(BenchError::Missing {
                what: format!("what the scenario needs ({})", first_lines(&said)),
                remedy: "`ci/setup hdfs flume` brings it".to_owned(),
            });
        }
        other => {
            // What a harness or a store that failed has to say is in the report, and the run is kept.
            let report = String::from_utf8_lossy(&output.stdout);
            let kept = std::env::temp_dir().join(format!("{sut}-failed-{}", std::process::id()));
            let kept = fs::rename(&runs, &kept).map_or(runs, |()| kept);
            return Err(BenchError::Wrong {
                what: "run a scenario",
                why: format!(
                    "with {sut} it ended with {other:?}: {}; {}; kept as {}",
                    first_lines(&said),
                    first_lines(&report),
                    kept.display()
                ),
            });
        }
    }
    let record = record_below(&runs)?;
    fs::remove_dir_all(&runs).map_err(BenchError::file("remove", &runs))?;
    Ok(record)
}

fn first_lines(said: &str) -> String {
    said.lines().take(3).collect::<Vec<_>>().join("; ")
}

fn record_below(runs: &Path) -> Result<RunRecord, BenchError> {
    let dirs = fs::read_dir(runs).map_err(BenchError::file("read", runs))?;
    let path = dirs
        .flatten()
        .map(|dir| dir.path().join("record.json"))
        .find(|path| path.is_file())
        .ok_or_else(|| BenchError::Wrong {
            what: "find the record of a run",
            why: format!("there is none below {}", runs.display()),
        })?;
    record::read(&path).map_err(|error| BenchError::Wrong {
        what: "read the record of a run",
        why: error.to_string(),
    })
}

/// Events stored from the first one issued to the last one stored, with the agent's CPU time.
///
/// # Errors
/// Nothing was stored.
pub fn stored(record: &RunRecord) -> Result<Work, BenchError> {
    let load = &record.indicators.system_load;
    let (Some(rate), Some(cpu)) = (
        record.indicators.transfer_rate_events.value(),
        load.cpu_us.value(),
    ) else {
        return Err(BenchError::Wrong {
            what: "read the rate of a run",
            why: "its record does not know it".to_owned(),
        });
    };
    Ok(Work {
        units: record.counts.stored,
        wall: Duration::from_micros(rate.whole),
        cpu: Duration::from_micros(*cpu),
    })
}

/// The same, where all that was issued has been stored.
///
/// # Errors
/// Something is missing.
pub fn all_stored(record: &RunRecord) -> Result<Work, BenchError> {
    let counts = &record.counts;
    if counts.stored != counts.issued {
        return Err(BenchError::Wrong {
            what: "compare two runs",
            why: format!(
                "{} of {} events were stored by {}",
                counts.stored, counts.issued, record.sut.driver
            ),
        });
    }
    stored(record)
}

/// From the heal of the run's fault of that target to the first event stored after it. Where none
/// was, the rest of the run: it took at least as long.
///
/// # Errors
/// The fault did not take place.
pub fn first_stored(record: &RunRecord, target: &str) -> Result<Duration, BenchError> {
    let fault = record.faults.iter().find(|fault| fault.target == target);
    let healed = fault.and_then(|fault| fault.healed_us.value());
    let (Some(fault), Some(healed)) = (fault, healed) else {
        return Err(BenchError::Wrong {
            what: "read a recovery",
            why: format!("there was no outage of {target}, or it was never healed"),
        });
    };
    let rest = record.end_us().saturating_sub(*healed);
    let first = fault.recovery.first_stored_us.value().copied();
    Ok(Duration::from_micros(first.unwrap_or(rest)))
}
