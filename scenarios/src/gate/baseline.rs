//! Stored baselines: what a build needed, kept by branch, host kind and scenario.
//!
//! `baseline save` keeps the medians of one arm of a gate; `baseline promote` copies those of a
//! branch to another one; `gate --against BRANCH --candidate PATH` runs the candidate alone and
//! compares it with them. That is the weaker form: the two were measured at different times, and
//! machines drift. So each file keeps what was there before, and two entries of the *same* program,
//! saved from different gates, show how far this host has drifted. The change must be a regression
//! when it is taken for smaller by that drift, and it is fine only when it would be so if it were
//! larger by it. Without two such entries nothing is decided. A gate is saved once only: the same
//! figures again would show a drift of 0.

use std::path::{Path, PathBuf};

use flume_bench_reports::gate::metric::METRICS;
use flume_bench_reports::gate::record::{self, Baseline, GateRecord, RunOf, ScenarioGate, Stored};
use flume_bench_reports::record::Known;
use flume_bench_reports::verdict::ExitCode;

use super::host_kind;
use crate::scenario::reader::Problem;

/// Entries that are kept of a baseline.
const KEPT: usize = 10;
/// Fewer runs than this are no baseline.
const LEAST_RUNS: usize = 6;

/// The directory of a branch; its name becomes one part of a path.
fn directory(store: &Path, branch: &str) -> Result<PathBuf, Problem> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    if branch.is_empty() || !branch.chars().all(good) || branch.contains("..") {
        return Err(Problem::of_machine(
            format!("\"{branch}\" cannot be the name of a branch here"),
            "use letters, digits, -, _, . and /",
        ));
    }
    Ok(store.join("baselines").join(branch.replace('/', "~")))
}

fn file(store: &Path, branch: &str, host_kind: &str, sha256: &str) -> Result<PathBuf, Problem> {
    let short = sha256.get(..16).unwrap_or(sha256);
    Ok(directory(store, branch)?.join(format!("{host_kind}-{short}.json")))
}

/// Keeps one arm of a gate (0 is its baseline) as the baseline of a branch; the files written.
///
/// # Errors
/// A record that cannot be read or proves too little, and a store that cannot be written.
pub fn save(
    gate: &Path,
    arm: usize,
    branch: &str,
    store: &Path,
) -> Result<Vec<PathBuf>, Vec<Problem>> {
    let path = if gate.is_dir() {
        gate.join(super::RECORD)
    } else {
        gate.to_owned()
    };
    let one = |problem| vec![problem];
    let found =
        record::read(&path).map_err(|error| one(Problem::at(&path, 0, error.to_string())))?;
    refuse_what_missed(&found, arm, &path).map_err(one)?;
    let mut changed = Vec::new();
    for scenario in &found.scenarios {
        let at = file(store, branch, &found.host_kind, &scenario.sha256).map_err(one)?;
        let mut baseline = match at.exists() {
            true => read_file(&at).map_err(one)?,
            false => Baseline {
                schema_version: record::SCHEMA_VERSION,
                host_kind: found.host_kind.clone(),
                scenario: scenario.name.clone(),
                sha256: scenario.sha256.clone(),
                branch: branch.to_owned(),
                entries: Vec::new(),
            },
        };
        let new = entry(&found, scenario, arm, &path).map_err(one)?;
        add(&mut baseline, new, &path).map_err(one)?;
        changed.push((at, baseline));
    }
    // Nothing is written before everything is known to be sound.
    let mut written = Vec::new();
    for (at, baseline) in changed {
        put(&at, &baseline).map_err(one)?;
        written.push(at);
    }
    Ok(written)
}

/// A candidate is no baseline unless it passed.
fn refuse_what_missed(gate: &GateRecord, arm: usize, path: &Path) -> Result<(), Problem> {
    let bad = [
        ExitCode::HarnessFailed,
        ExitCode::Missed,
        ExitCode::Regression,
    ];
    if arm == 1 && bad.contains(&gate.exit_code) {
        return Err(Problem::at(
            path,
            0,
            format!(
                "the candidate of this gate did not pass: {}",
                gate.reasons.join(" ")
            ),
        )
        .remedy(
            "a baseline is what others are held to: save the arm `baseline`, or fix the candidate",
        ));
    }
    Ok(())
}

/// Adds an entry, unless it is of a gate that the baseline has already; the oldest ones go.
fn add(baseline: &mut Baseline, new: Stored, gate: &Path) -> Result<(), Problem> {
    if baseline.entries.iter().any(|old| old.same_gate(&new)) {
        return Err(Problem::at(
            gate,
            0,
            format!(
                "this gate is already in the baseline of {} for {}, and the same figures \
                 twice would show a host that never drifts",
                baseline.branch, baseline.scenario
            ),
        )
        .remedy("run another gate of the build, and save that one"));
    }
    baseline.entries.push(new);
    let surplus = baseline.entries.len().saturating_sub(KEPT);
    baseline.entries.drain(..surplus);
    Ok(())
}

fn entry(
    gate: &GateRecord,
    scenario: &ScenarioGate,
    arm: usize,
    path: &Path,
) -> Result<Stored, Problem> {
    if scenario.pairs.len() < LEAST_RUNS {
        return Err(Problem::at(
            path,
            0,
            format!(
                "{} has {} runs of each arm, and a baseline needs {LEAST_RUNS}",
                scenario.name,
                scenario.pairs.len()
            ),
        ));
    }
    let program = gate.arms.get(arm).and_then(|arm| arm.program.value());
    Ok(Stored {
        when: gate.started.clone(),
        gate: Some(gate.id),
        program_sha256: program.map_or_else(
            || Known::unknown("the arm had no program of its own"),
            |file| file.sha256.clone(),
        ),
        runs: scenario.pairs.len() as u64,
        values: scenario
            .metrics
            .iter()
            .map(|one| {
                if arm == 0 {
                    one.baseline.clone()
                } else {
                    one.candidate.clone()
                }
            })
            .collect(),
    })
}

fn read_file(path: &Path) -> Result<Baseline, Problem> {
    record::read_baseline(path).map_err(|error| {
        Problem::at(path, 0, error.to_string()).remedy("remove it, and save the baseline anew")
    })
}

fn put(path: &Path, baseline: &Baseline) -> Result<(), Problem> {
    let failed = |error: String| Problem::at(path, 0, error).remedy("choose another --store");
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|error| failed(error.to_string()))?;
    }
    record::write_baseline(path, baseline).map_err(|error| failed(error.to_string()))
}

/// All baselines of a store, or of one branch.
///
/// # Errors
/// Every file that cannot be read.
pub fn list(store: &Path, branch: Option<&str>) -> Result<Vec<Baseline>, Vec<Problem>> {
    let root = store.join("baselines");
    let mut directories: Vec<PathBuf> = match branch {
        Some(branch) => vec![directory(store, branch).map_err(|problem| vec![problem])?],
        None => entries(&root),
    };
    directories.sort();
    let (mut all, mut problems) = (Vec::new(), Vec::new());
    for path in directories.iter().flat_map(|one| entries(one)) {
        match read_file(&path) {
            Ok(baseline) => all.push(baseline),
            Err(problem) => problems.push(problem),
        }
    }
    match problems.is_empty() {
        true => Ok(all),
        false => Err(problems),
    }
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// Makes the baselines of one branch those of another; how many.
///
/// # Errors
/// No baselines, or files that cannot be read or written.
pub fn promote(store: &Path, from: &str, to: &str) -> Result<usize, Vec<Problem>> {
    let all = list(store, Some(from))?;
    if all.is_empty() {
        return Err(vec![Problem::of_machine(
            format!("the branch {from} has no baselines in {}", store.display()),
            "`flume-bench baseline save` makes one; `flume-bench baseline list` shows what there is",
        )]);
    }
    for baseline in &all {
        let at = file(store, to, &baseline.host_kind, &baseline.sha256)
            .map_err(|problem| vec![problem])?;
        let promoted = Baseline {
            branch: to.to_owned(),
            ..baseline.clone()
        };
        put(&at, &promoted).map_err(|problem| vec![problem])?;
    }
    Ok(all.len())
}

/// What a candidate is compared with: one run's worth of values, drift included, and a note.
#[derive(Debug, Clone)]
pub struct Against {
    /// The stored medians as they were measured.
    pub run: RunOf,
    /// By metric the drift measured on this host, as a log-ratio; `None` where none was.
    pub drift: Vec<Option<f64>>,
    /// What a reader must know about it.
    pub note: String,
}

/// The stored baseline of a branch for this scenario and host.
///
/// # Errors
/// None there, one of another host, or a file that cannot be read.
pub fn against(store: &Path, branch: &str, name: &str, sha256: &str) -> Result<Against, Problem> {
    let path = file(store, branch, &host_kind(), sha256)?;
    if !path.exists() {
        let others = list(store, Some(branch)).unwrap_or_default();
        let why = match others.iter().find(|one| one.scenario == name) {
            Some(one) if one.sha256 != sha256 => {
                "the one that is there is of another state of the scenario"
            }
            Some(_) => "the one that is there is of another kind of host",
            None => "nothing is stored for it",
        };
        return Err(Problem::of_machine(
            format!(
                "the branch {branch} has no baseline of {name} on {}: {why}",
                host_kind()
            ),
            "run a gate of the two builds on this host, and keep it with `flume-bench baseline save GATE --branch ...`",
        ));
    }
    let baseline = read_file(&path)?;
    let Some(last) = baseline.entries.last() else {
        return Err(Problem::at(&path, 0, "it has no entries").remedy("save it anew"));
    };
    if baseline.sha256 != sha256 || baseline.host_kind != host_kind() || baseline.branch != branch {
        return Err(
            Problem::at(&path, 0, "it is of another scenario, host or branch")
                .remedy("remove it, and save it anew"),
        );
    }
    let drift = drift(&baseline.entries);
    let missing = || Known::unknown("the stored baseline has no value");
    let values = (0..METRICS.len())
        .map(|at| last.values.get(at).cloned().unwrap_or_else(missing))
        .collect();
    let least = drift.iter().flatten().copied().fold(0.0, f64::max);
    let note = format!(
        "{name} is compared with the stored baseline of {branch} from {}: the weaker form. {}",
        flume_bench_reports::show::date(&last.when),
        match drift.iter().any(Option::is_some) {
            true => format!(
                "No change is called a regression that is smaller than the drift measured on this host, up to {:.1} %.",
                least.exp_m1() * 100.0
            ),
            false => "No drift has been measured on this host: save two gates of the same build."
                .to_owned(),
        }
    );
    Ok(Against {
        run: RunOf {
            dir: path.display().to_string(),
            exit_code: ExitCode::Pass,
            values,
            ..RunOf::default()
        },
        drift,
        note,
    })
}

/// By metric the largest difference between two entries of the same program from different gates, as a
/// log-ratio.
fn drift(entries: &[Stored]) -> Vec<Option<f64>> {
    let log = |a: &Stored, b: &Stored, at: usize| -> Option<f64> {
        let of = |one: &Stored| one.values.get(at)?.value().and_then(|ratio| ratio.as_f64());
        Some((of(b)? / of(a)?).ln().abs()).filter(|log| log.is_finite())
    };
    (0..METRICS.len())
        .map(|at| {
            let mut largest = None;
            for (i, one) in entries.iter().enumerate() {
                for other in &entries[..i] {
                    let same = one.program_sha256.value().is_some()
                        && one.program_sha256 == other.program_sha256
                        && !one.same_gate(other);
                    if let (true, Some(log)) = (same, log(one, other, at)) {
                        largest = Some(f64::max(largest.unwrap_or(0.0), log));
                    }
                }
            }
            largest
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use flume_bench_reports::record::{Ratio, Text64};

    use super::*;

    fn stored(program: &str, cpu: u64) -> Stored {
        // Each figure from a gate of its own.
        let mut values = vec![Known::unknown("not in this test"); METRICS.len()];
        values[0] = Known::Value(Ratio::new(cpu, 1_000));
        Stored {
            when: "2026-01-01T00:00:00Z".into(),
            gate: Some(Text64(cpu)),
            program_sha256: Known::Value(program.into()),
            runs: 12,
            values,
        }
    }

    fn baseline(entries: Vec<Stored>, branch: &str) -> Baseline {
        Baseline {
            schema_version: record::SCHEMA_VERSION,
            host_kind: host_kind(),
            scenario: "s".into(),
            sha256: "ab".repeat(32),
            branch: branch.into(),
            entries,
        }
    }

    #[test]
    fn drift_is_what_the_same_program_differed_by() {
        let entries = [stored("a", 5_000), stored("b", 9_000), stored("a", 5_500)];
        let drift = drift(&entries);
        assert!((drift[0].unwrap() - 1.1_f64.ln()).abs() < 1e-9);
        assert_eq!(drift[1], None);
        let again = [stored("a", 5_000), stored("a", 5_000)];
        assert_eq!(super::drift(&again)[0], None, "one gate, saved twice");
        let mut old = again;
        old.iter_mut().for_each(|one| one.gate = None);
        assert_eq!(super::drift(&old)[0], None, "one gate, by its instant");
    }

    #[test]
    fn a_gate_is_saved_once() {
        let desk = tempfile::tempdir().unwrap();
        let store = desk.path().join("store");
        let path = desk.path().join("gate.json");
        let scenario = ScenarioGate {
            sha256: "ab".repeat(32),
            pairs: vec![record::Pair::default(); LEAST_RUNS],
            ..ScenarioGate::default()
        };
        let mut gate = crate::gate::record_of(vec![scenario]);
        record::write(&path, &gate).unwrap();
        assert_eq!(save(&path, 0, "main", &store).unwrap().len(), 1);
        let refused = save(&path, 1, "main", &store).unwrap_err();
        assert!(
            refused[0].message.contains("already in the baseline"),
            "{refused:?}"
        );
        gate.id = Text64(2);
        record::write(&path, &gate).unwrap();
        save(&path, 0, "main", &store).unwrap();
        assert_eq!(list(&store, None).unwrap()[0].entries.len(), 2);
    }

    #[test]
    fn a_baseline_is_found_by_branch_host_and_scenario_and_can_be_promoted() {
        let store = tempfile::tempdir().unwrap();
        let (store, sha256) = (store.path(), "ab".repeat(32));
        let refused = against(store, "main", "s", &sha256).unwrap_err();
        assert!(refused.message.contains("nothing is stored"), "{refused}");
        let one = baseline(vec![stored("a", 5_000), stored("a", 5_100)], "topic/x");
        put(
            &file(store, "topic/x", &one.host_kind, &one.sha256).unwrap(),
            &one,
        )
        .unwrap();
        assert!(promote(store, "nowhere", "main").is_err());
        assert_eq!(promote(store, "topic/x", "main").unwrap(), 1);
        let found = against(store, "main", "s", &sha256).unwrap();
        // The record shows what was measured; the drift is beside it.
        assert_eq!(found.run.values[0], Known::Value(Ratio::new(5_100, 1_000)));
        assert!((found.drift[0].unwrap() - 1.02_f64.ln()).abs() < 1e-9);
        assert!(found.note.contains("up to 2.0 %"), "{}", found.note);
        let other = against(store, "main", "s", &"cd".repeat(32)).unwrap_err();
        assert!(other.message.contains("another state"), "{other}");
        assert_eq!(list(store, None).unwrap().len(), 2);
        for bad in ["", "../x", "a b"] {
            assert!(directory(store, bad).is_err(), "{bad}");
        }
    }
}
