//! What this host can see: pairs of equal arms, and how much their runs differ.
//!
//! `gate --check-host` runs them for a minute and prints the resolution, 2.25 × the variation of a
//! run within its pair, for each metric. `gate --calibrate` runs 40 pairs and stores the variation,
//! under the host's kind and the scenario's hash; later gates cite it. Both need one arm only.
//!
//! The file is sealed like every record: one that was cut off or edited is refused by name.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use flume_bench_reports::gate::decision::RESOLUTION;
use flume_bench_reports::gate::metric::{Class, METRICS};
use flume_bench_reports::gate::record::{self, Calibration, Variation};
use flume_bench_reports::gate::suite;
use flume_bench_reports::record::Known;

use super::session::{self, Session, Stop, Subject};
use super::{Request, host_kind};
use crate::scenario::reader::Problem;

/// Pairs of a calibration.
pub const PAIRS: u64 = 40;
/// How long `--check-host` takes, but for the pair that is then running.
const CHECK: Duration = Duration::from_secs(60);
/// Fewer pairs say nothing about a variation.
const LEAST_PAIRS: usize = 3;

/// How long to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// A minute, and nothing is stored.
    Checked,
    /// 40 pairs, and the result is stored.
    Calibrated,
}

/// What pairs of equal arms showed of a scenario.
#[derive(Debug, Clone)]
pub struct Seen {
    /// What each metric varies by.
    pub calibration: Calibration,
    /// The scenario's margin of each metric as a log-ratio, floors included.
    margins: Vec<f64>,
}

impl Seen {
    /// Whether this host resolves the margin of at least one metric of speed. Where it does not, a
    /// gate of the scenario decides nothing.
    pub fn can_gate(&self) -> bool {
        let mut all = METRICS.iter().enumerate();
        all.any(|(at, metric)| {
            metric.class == Class::Gating && metric.is_speed && self.resolves(at) == Some(true)
        })
    }

    /// `None` where the variation is not known.
    fn resolves(&self, at: usize) -> Option<bool> {
        let ppm = self.calibration.variations.get(at)?.cv_ppm.value()?;
        Some(RESOLUTION * *ppm as f64 / 1e6 <= *self.margins.get(at)?)
    }
}

/// Runs pairs of equal arms, the baseline's, and says what each metric varies by.
///
/// # Errors
/// Something was found wrong before anything was started.
pub fn run(
    request: &Request,
    until: Until,
    store: &Path,
    say: &dyn Fn(&str),
) -> Result<(Vec<Seen>, Option<Stop>), Vec<Problem>> {
    let (checked, _plan, _waived) = super::check(request)?;
    let _lock = super::lock::Lock::take().map_err(|problem| vec![problem])?;
    let seed = request.seed.unwrap_or_else(rand::random);
    let dir = super::make_dir(&request.runs, rand::random()).map_err(|problem| vec![problem])?;
    let placed = super::place(request, &dir)?;
    let mut subjects = super::subjects(request, &checked, &placed)?;
    say(&format!(
        "flume-bench: equal arms, seed {seed}, in {}",
        dir.display()
    ));
    let session = Session {
        dir: &dir,
        programs: placed.map(|arm| arm.program),
        tools: &request.tools,
        command_line: &request.command_line,
        interrupted: &request.interrupted,
        spoiled_at_most: match until {
            Until::Checked => LEAST_PAIRS,
            Until::Calibrated => PAIRS as usize / 3,
        },
        say,
        random: session::random(seed),
    };
    let stop = pairs(&session, &mut subjects, until, say);
    let seen = |(subject, checked): (&Subject, &super::Checked)| Seen {
        calibration: of(subject),
        margins: (checked.given.margins.iter().enumerate())
            .map(|(at, margin)| suite::margin_log(*margin, &subject.pairs, at))
            .collect(),
    };
    let all: Vec<Seen> = subjects.iter().zip(&checked).map(seen).collect();
    if until == Until::Calibrated && stop.is_none() {
        for one in all.iter().map(|seen| &seen.calibration) {
            let path = path(store, one);
            let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
            let written = made
                .map_err(|error| error.to_string())
                .and_then(|()| record::write_calibration(&path, one).map_err(|e| e.to_string()));
            match written {
                Ok(()) => say(&format!("stored in {}", path.display())),
                Err(error) => return Ok((all, Some(Stop::Failed(error)))),
            }
        }
    }
    Ok((all, stop))
}

fn pairs(
    session: &Session<'_>,
    subjects: &mut [Subject],
    until: Until,
    say: &dyn Fn(&str),
) -> Option<Stop> {
    let began = Instant::now();
    for number in 1..=PAIRS {
        for subject in &mut *subjects {
            say(&format!("{}: pair {number}", subject.name));
            if let Err(stop) = session.pair(subject, number, "screen") {
                return Some(stop);
            }
        }
        let enough = number as usize >= LEAST_PAIRS && began.elapsed() >= CHECK;
        if until == Until::Checked && enough {
            break;
        }
    }
    let mut subjects = subjects.iter();
    subjects.find_map(|one| over_a_third(&one.name, one.disturbed, one.pairs.len()))
}

/// The host is unfit where others disturbed over a third of the pairs that were run.
fn over_a_third(name: &str, disturbed: usize, kept: usize) -> Option<Stop> {
    let all = disturbed + kept;
    (disturbed * 3 > all)
        .then(|| Stop::Unfit(format!("{disturbed} of {all} pairs of {name} were spoiled")))
}

fn of(subject: &Subject) -> Calibration {
    let variations = suite::variations(&subject.pairs);
    Calibration {
        schema_version: record::SCHEMA_VERSION,
        host_kind: host_kind(),
        scenario: subject.name.clone(),
        sha256: subject.sha256.clone(),
        when: jiff::Timestamp::now().to_string(),
        pairs: subject.pairs.len() as u64,
        spoiled: subject.spoiled.len() as u64,
        variations: METRICS
            .iter()
            .zip(variations)
            .map(|(metric, cv)| Variation {
                name: metric.name.to_owned(),
                cv_ppm: cv.map(|cv| (cv * 1e6).round() as u64),
            })
            .collect(),
    }
}

/// Where the calibration of a host and a scenario is.
fn path(store: &Path, one: &Calibration) -> PathBuf {
    file(store, &one.host_kind, &one.sha256)
}

fn file(store: &Path, host_kind: &str, sha256: &str) -> PathBuf {
    let short = sha256.get(..16).unwrap_or(sha256);
    store
        .join("calibrations")
        .join(format!("{host_kind}-{short}.json"))
}

/// The variation of each metric from the stored calibration of this host and scenario, if there is
/// one.
///
/// # Errors
/// One that is cut off, edited, or of something else.
pub fn stored(store: &Path, sha256: &str) -> Result<Vec<Option<f64>>, Problem> {
    let none = vec![None; METRICS.len()];
    let path = file(store, &host_kind(), sha256);
    if !path.exists() {
        return Ok(none);
    }
    let refused = |why: String| {
        Problem::at(&path, 0, why).remedy("remove it, or make a new one with gate --calibrate")
    };
    let found = record::read_calibration(&path).map_err(|error| refused(error.to_string()))?;
    if found.sha256 != sha256 || found.host_kind != host_kind() {
        return Err(refused("it is of another scenario or another host".into()));
    }
    Ok(METRICS
        .iter()
        .map(|metric| {
            let of = found
                .variations
                .iter()
                .find(|one| one.name == metric.name)?;
            of.cv_ppm.value().map(|ppm| *ppm as f64 / 1e6)
        })
        .collect())
}

/// What a host resolves, as lines for people; measured by the scenario's margins.
pub fn describe(seen: &Seen) -> String {
    let one = &seen.calibration;
    let mut text = format!(
        "{}: {} pairs of equal arms ({} run again) on {}\n",
        one.scenario, one.pairs, one.spoiled, one.host_kind
    );
    for (at, (metric, variation)) in METRICS.iter().zip(&one.variations).enumerate() {
        let margin = seen.margins.get(at).map_or(0.0, |log| log.exp_m1() * 100.0);
        let line = match &variation.cv_ppm {
            Known::Value(ppm) => {
                let least = (RESOLUTION * *ppm as f64 / 1e6).exp_m1() * 100.0;
                let fits = match (seen.resolves(at), metric.class) {
                    (Some(true), Class::Gating) => "can decide",
                    (_, Class::Gating) => "cannot decide",
                    (_, Class::Watch) => "only watched",
                };
                format!("resolves {least:.1} %, margin {margin:.0} %: {fits}")
            }
            Known::Unknown(why) => format!("unknown: {why}"),
        };
        text.push_str(&format!("  {:<32} {line}\n", metric.words));
    }
    if !seen.can_gate() {
        text.push_str("  No metric of speed can decide here: gates of it are inconclusive.\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_calibration_is_found_by_host_and_scenario_and_refused_when_edited() {
        let store = tempfile::tempdir().unwrap();
        let sha256 = "ab".repeat(32);
        let none = stored(store.path(), &sha256).unwrap();
        assert!(none.iter().all(Option::is_none));
        let calibration = Calibration {
            schema_version: record::SCHEMA_VERSION,
            host_kind: host_kind(),
            sha256: sha256.clone(),
            pairs: 40,
            variations: vec![Variation {
                name: "cpu_ns_per_event".into(),
                cv_ppm: Known::Value(12_000),
            }],
            ..Calibration::default()
        };
        let at = path(store.path(), &calibration);
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        record::write_calibration(&at, &calibration).unwrap();
        assert_eq!(stored(store.path(), &sha256).unwrap()[0], Some(0.012));
        let other = stored(store.path(), &"cd".repeat(32)).unwrap();
        assert!(other.iter().all(Option::is_none));
        let text = std::fs::read_to_string(&at).unwrap();
        std::fs::write(&at, text.replace("12000", "1200")).unwrap();
        let refused = stored(store.path(), &sha256).unwrap_err();
        assert!(refused.message.contains("edited"), "{refused}");
    }

    #[test]
    fn a_host_that_resolves_no_speed_cannot_gate_and_the_scenarios_margins_decide() {
        let seen = |cpu_ppm: u64, margin: f64| Seen {
            calibration: Calibration {
                variations: METRICS
                    .iter()
                    .map(|metric| Variation {
                        name: metric.name.to_owned(),
                        cv_ppm: match metric.name {
                            "cpu_ns_per_event" => Known::Value(cpu_ppm),
                            "peak_rss_bytes" => Known::Value(1),
                            _ => Known::unknown("not in this test"),
                        },
                    })
                    .collect(),
                ..Calibration::default()
            },
            margins: METRICS.iter().map(|_| margin.ln_1p()).collect(),
        };
        assert!(seen(20_000, 0.05).can_gate());
        // Memory alone cannot vouch for speed.
        let noisy = seen(30_000, 0.05);
        assert!(!noisy.can_gate());
        assert!(describe(&noisy).contains("No metric of speed"));
        let lenient = seen(30_000, 0.2);
        assert!(lenient.can_gate());
        assert!(describe(&lenient).contains("margin 20 %: can decide"));
    }

    #[test]
    fn over_a_third_is_of_the_pairs_that_were_run() {
        assert!(over_a_third("s", 2, 3).is_some());
        assert!(over_a_third("s", 1, 2).is_none());
        assert!(over_a_third("s", 0, 0).is_none());
    }
}
