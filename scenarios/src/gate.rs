//! `flume-bench gate`: may this change go in?
//!
//! Two arms run the same scenario in pairs. Each run is an ordinary one ([`crate::runner`]), with
//! its own record; the gate changes its phases ([`variant`]) and the agent's program ([`arms`]).
//!
//! ```text
//! check everything → lock → pairs, each under the noise guard → look after 8, look after 12
//!                  → alarmed: 8 fresh pairs → decide → gate.json
//! ```
//!
//! The decision is [`flume_bench_reports::gate::decision`]'s; all gating metrics of all scenarios
//! share one false-alarm budget. What is lost, corrupted or invented is never compared, nor whether the
//! system lives and publishes: one such run of the candidate decides ([`HARD`]). Losses are noted as
//! each run ends, whatever becomes of the pair. Any other objective, a latency say, may be missed by
//! chance: an arm misses it when more than half of its runs do, and it is a regression when the
//! candidate misses it, the baseline does not, and Fisher's exact test tells the two apart at 1 %;
//! where it does not, the gate is inconclusive. Taking over at least 99 % of the planned load is such
//! an objective (`offered_load`), whether the scenario asks for it or not.
//!
//! A pair is run again when others used the CPUs, or when one of its runs proves too little (too few
//! events, a generator that could not keep its schedule). Too many of the former are an unfit host; of
//! the latter, three of the candidate with none of the baseline are the candidate's doing, and
//! `--on-inconclusive neutral` does not cover them.

pub mod arms;
pub mod baseline;
pub mod build;
pub mod calibration;
pub mod lock;
pub mod noise;
pub mod plan;
pub mod quarantine;
pub mod session;
pub mod variant;
mod verdict;
pub mod waivers;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use flume_bench_reports::gate::decision::Next;
use flume_bench_reports::gate::metric::METRICS;
use flume_bench_reports::gate::record::{self, GateRecord, SCHEMA_VERSION, ScenarioGate};
use flume_bench_reports::gate::suite::{Given, Suite};
use flume_bench_reports::record::Text64;
use flume_bench_reports::verdict::{ExitCode, Verdict};

use crate::judge;
use crate::runner;
use crate::scenario::reader::Problem;
use crate::scenario::{self, Overrides, Scenario};
use crate::tools::Tools;
use arms::{Arm, Placed};
use baseline::Against;
use plan::Planned;
use session::{Session, Stop, Subject};
use variant::{Change, Turns, Variant};
use waivers::Waiver;

/// What one run of the candidate decides: objectives, and the checker `liveness`.
pub const HARD: [&str; 6] = [
    "corrupted",
    "liveness",
    "lost",
    "malformed",
    "unexpected",
    "unpublished",
];
/// Those of them that no noise can cause: they count in a disturbed pair as well.
const LOSSES: [&str; 4] = ["corrupted", "lost", "malformed", "unexpected"];

/// Whether one run of the candidate with it decides.
fn is_hard(what: &str) -> bool {
    HARD.contains(&what)
}

fn is_loss(what: &str) -> bool {
    LOSSES.contains(&what)
}

/// A gate of these scenarios that has decided nothing yet.
#[cfg(test)]
fn record_of(scenarios: Vec<ScenarioGate>) -> GateRecord {
    let code = ExitCode::Inconclusive;
    GateRecord {
        schema_version: SCHEMA_VERSION,
        verdict: Verdict::Inconclusive,
        reasons: Vec::new(),
        exit_code: code,
        exit_code_given: code,
        interrupted: false,
        id: Text64(1),
        seed: Text64(1),
        command_line: Vec::new(),
        started: String::new(),
        took_us: 0,
        host: judge::host(),
        host_kind: host_kind(),
        arms: Vec::new(),
        plan: record::Plan::default(),
        host_unfit: false,
        scenarios,
        notes: Vec::new(),
    }
}

/// Bytes in hexadecimal.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// The scenarios' files.
    pub scenarios: Vec<PathBuf>,
    /// What the command line overrides in all of them.
    pub overrides: Overrides,
    /// Baseline and candidate.
    pub arms: [Arm; 2],
    /// The branch whose stored baseline stands in for the first arm.
    pub against: Option<String>,
    /// Time for one scenario, builds left out.
    pub budget: Duration,
    /// Pairs of the screen, if given.
    pub pairs: Option<usize>,
    /// Where orders and loads come from; drawn unless given.
    pub seed: Option<u64>,
    /// A metric that this host cannot resolve is inconclusive instead of demoted.
    pub strict: bool,
    /// `--on-inconclusive neutral`.
    pub neutral: bool,
    /// Where calibrations and baselines are kept.
    pub store: PathBuf,
    /// A committed file of waivers.
    pub waivers: Option<PathBuf>,
    /// The scenarios' own faults and phases stay.
    pub with_faults: bool,
    /// Directory under which the gate's own is made.
    pub runs: PathBuf,
    /// What the machine has.
    pub tools: Tools,
    /// The command line, for the record.
    pub command_line: Vec<String>,
    /// Set by a signal.
    pub interrupted: Arc<AtomicBool>,
}

/// A scenario that was checked.
#[derive(Debug)]
struct Checked {
    scenario: Scenario,
    given: Given,
    /// SHA-256 of what both arms run.
    sha256: String,
    /// The stored baseline, where that is what the candidate is compared with.
    stored: Option<Against>,
    /// Why it is left out, if it is.
    left_out: Option<String>,
}

/// What a gate came to.
#[derive(Debug)]
pub struct Outcome {
    /// The record, as written.
    pub record: GateRecord,
    /// The gate's directory.
    pub dir: PathBuf,
}

/// Name of the record in a gate's directory.
pub const RECORD: &str = "gate.json";

/// Runs a gate. `Err`: something was found wrong before anything was started.
///
/// # Errors
/// Every problem found.
pub fn run(request: &Request, say: &dyn Fn(&str)) -> Result<Outcome, Vec<Problem>> {
    let (checked, plan, waived) = check(request)?;
    let _lock = lock::Lock::take().map_err(|problem| vec![problem])?;
    let seed = request.seed.unwrap_or_else(rand::random);
    let id: u64 = rand::random();
    let dir = make_dir(&request.runs, id).map_err(|problem| vec![problem])?;
    let placed = place(request, &dir)?;
    let mut subjects = subjects(request, &checked, &placed)?;
    let given = checked.iter().map(|one| one.given.clone()).collect();
    say(&format!(
        "flume-bench: gate {} against {}, seed {seed}, in {}",
        request.arms[1].name,
        request.arms[0].name,
        dir.display()
    ));
    say(&plan.describe(checked.len()));

    let began = Instant::now();
    let started = jiff::Timestamp::now().to_string();
    let session = Session {
        dir: &dir,
        programs: placed.clone().map(|arm| arm.program),
        tools: &request.tools,
        command_line: &request.command_line,
        interrupted: &request.interrupted,
        spoiled_at_most: plan.rule.screen_pairs() / 3,
        say,
        random: session::random(seed),
    };
    let mut suite = Suite::new(plan.rule.clone(), request.strict, given);
    let stop = perform(&session, &mut subjects, &mut suite, say);

    let mut record = GateRecord {
        schema_version: SCHEMA_VERSION,
        verdict: Verdict::Inconclusive,
        reasons: Vec::new(),
        exit_code: ExitCode::Inconclusive,
        exit_code_given: ExitCode::Inconclusive,
        interrupted: stop == Some(Stop::Interrupted),
        id: Text64(id),
        seed: Text64(seed),
        command_line: request.command_line.clone(),
        started,
        took_us: began.elapsed().as_micros() as u64,
        host: judge::host(),
        host_kind: host_kind(),
        arms: placed.iter().map(Placed::used).collect(),
        plan: plan.for_record(request),
        host_unfit: matches!(stop, Some(Stop::Unfit(_))),
        scenarios: subjects
            .iter()
            .enumerate()
            .map(|(at, subject)| scenario_gate(subject, &suite, at))
            .collect(),
        notes: Vec::new(),
    };
    let today = jiff::Zoned::now().date();
    record.notes = waivers::apply(&waived, today, &mut record.scenarios);
    let notes = checked.iter().filter_map(|one| one.stored.as_ref());
    record.notes.extend(notes.map(|stored| stored.note.clone()));
    verdict::decide(&mut record, stop.as_ref(), request.neutral);
    if stop.is_none() {
        remember(request, &record, say);
    }
    write(&dir, &mut record, say);
    Ok(Outcome { record, dir })
}

/// Checks everything, and starts nothing.
fn check(request: &Request) -> Result<(Vec<Checked>, Planned, Vec<Waiver>), Vec<Problem>> {
    let mut problems = Vec::new();
    let waived = match request.waivers.as_deref().map(waivers::read).transpose() {
        Ok(waived) => waived.unwrap_or_default(),
        Err(found) => {
            problems.extend(found);
            Vec::new()
        }
    };
    let mut checked = Vec::new();
    for path in &request.scenarios {
        // The scenario as it stands, so that problems name its own lines; then each arm.
        let (scenario, found) = scenario::inspect(path, &request.overrides);
        let whole = found.is_empty();
        problems.extend(found);
        let Some(scenario) = scenario.filter(|_| whole) else {
            continue;
        };
        // A stored baseline is not run.
        let first = usize::from(request.against.is_some());
        for arm in &request.arms[first..] {
            problems.extend(check_arm(request, path, &scenario, arm));
        }
        match checked_one(request, scenario) {
            Ok(one) => checked.push(one),
            Err(found) => problems.extend(found),
        }
    }
    let plan = plan::of(request, checked.iter().map(|one| &one.scenario));
    match plan {
        Ok(plan) if problems.is_empty() => Ok((checked, plan, waived)),
        plan => {
            problems.extend(plan.err());
            problems.sort();
            problems.dedup();
            Err(problems)
        }
    }
}

/// What the store knows of a sound scenario.
fn checked_one(request: &Request, scenario: Scenario) -> Result<Checked, Vec<Problem>> {
    let one = |problem: Problem| vec![problem];
    if request.against.is_some() && turns(request, &scenario).is_some() {
        let path = &scenario.path;
        return Err(one(Problem::at(
            path,
            0,
            "gate.turns needs both arms at once, and a stored baseline is not run",
        )
        .remedy(
            "give two arms, or --set gate.turns=0s here and in the gate that was saved",
        )));
    }
    let sha256 = common(request, &scenario)?.sha256();
    let name = &scenario.name;
    let stored = request
        .against
        .as_deref()
        .map(|branch| baseline::against(&request.store, branch, name, &sha256))
        .transpose()
        .map_err(one)?;
    let now = jiff::Timestamp::now();
    let given = Given {
        name: name.clone(),
        margins: METRICS
            .iter()
            .map(|metric| scenario.gate.margin(metric))
            .map(|margin| (margin.ppm, margin.floor))
            .collect(),
        calibrated: calibration::stored(&request.store, &sha256).map_err(one)?,
        drift: stored.as_ref().map(|stored| stored.drift.clone()),
    };
    Ok(Checked {
        left_out: quarantine::reason(&request.store, &sha256, now).map_err(one)?,
        scenario,
        given,
        sha256,
        stored,
    })
}

/// How long a turn is, where both arms are up at once. Faults of a scenario would strike in one arm's
/// turn or the other's, so with them the arms run one after the other.
fn turns(request: &Request, scenario: &Scenario) -> Option<Duration> {
    scenario.gate.turns.filter(|_| !request.with_faults)
}

/// The scenario as both arms run it, without what makes them different.
fn common(request: &Request, scenario: &Scenario) -> Result<Variant, Vec<Problem>> {
    let change = Change {
        gate: &scenario.gate,
        with_faults: request.with_faults,
    };
    Variant::of(&scenario.path, &request.overrides, change)
}

fn check_arm(request: &Request, path: &Path, scenario: &Scenario, arm: &Arm) -> Vec<Problem> {
    let absolute = |path: &PathBuf| path.canonicalize().unwrap_or_else(|_| path.clone());
    let config = arm.config.as_ref().map(absolute);
    let overrides = arm.overrides(&request.overrides, config.as_deref());
    let change = Change {
        gate: &scenario.gate,
        with_faults: request.with_faults,
    };
    let named = |problem: Problem| Problem {
        message: format!("{}: {}", arm.name, problem.message),
        ..problem
    };
    let variant = Variant::of(path, &overrides, change).and_then(|variant| {
        let turns = turns(request, scenario).map(|turn| Turns {
            turn,
            second: false,
        });
        variant.in_turns(path, 0, turns)
    });
    let problems = match variant {
        Ok(scenario) => {
            let options = runner::Options {
                runs: request.runs.clone(),
                run_id: None,
                keep_going: true,
                quiet: true,
                command_line: Vec::new(),
                tools: request.tools.clone(),
                interrupted: Arc::default(),
            };
            runner::preflight(&scenario, &options)
        }
        Err(problems) => problems,
    };
    problems.into_iter().map(named).collect()
}

fn make_dir(runs: &Path, id: u64) -> Result<PathBuf, Problem> {
    let stamp = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S");
    let dir = runs.join(format!("{stamp}-gate-{id:016x}"));
    std::fs::create_dir_all(dir.join("runs"))
        .and_then(|()| dir.canonicalize())
        .map_err(|error| {
            Problem::of_machine(
                format!(
                    "the gate's directory {} cannot be made: {error}",
                    dir.display()
                ),
                "choose another place with --runs",
            )
        })
}

fn place(request: &Request, dir: &Path) -> Result<[Placed; 2], Vec<Problem>> {
    let put = |arm: &Arm, letter: char| {
        Placed::put(arm, dir, letter).map_err(|error| {
            vec![Problem::of_machine(
                format!("the files of {} cannot be copied: {error}", arm.name),
                "make room, or choose another place with --runs",
            )]
        })
    };
    let [baseline, candidate] = &request.arms;
    Ok([put(baseline, 'a')?, put(candidate, 'b')?])
}

fn subjects(
    request: &Request,
    checked: &[Checked],
    placed: &[Placed; 2],
) -> Result<Vec<Subject>, Vec<Problem>> {
    checked
        .iter()
        .map(|one| {
            let scenario = &one.scenario;
            let variant = |arm: &Placed| {
                let overrides = arm.arm.overrides(&request.overrides, arm.config.as_deref());
                let change = Change {
                    gate: &scenario.gate,
                    with_faults: request.with_faults,
                };
                Variant::of(&scenario.path, &overrides, change)
            };
            Ok(Subject {
                name: scenario.name.clone(),
                path: scenario.path.clone(),
                sha256: one.sha256.clone(),
                stored: one.stored.as_ref().map(|stored| stored.run.clone()),
                left_out: one.left_out.clone(),
                variants: [variant(&placed[0])?, variant(&placed[1])?],
                foreign_ppm: scenario.gate.foreign_ppm,
                turns: turns(request, scenario),
                pairs: Vec::new(),
                spoiled: Vec::new(),
                misses: Vec::new(),
                with_faults: request.with_faults,
                ended: [0; 2],
                judged: [0; 2],
                disturbed: 0,
                void: [0; 2],
            })
        })
        .collect()
}

/// Runs pairs until everything is decided; why it ended earlier, if it did.
fn perform(
    session: &Session<'_>,
    subjects: &mut [Subject],
    suite: &mut Suite,
    say: &dyn Fn(&str),
) -> Option<Stop> {
    loop {
        let next = suite.next();
        let (stage, until) = match &next {
            Next::Done => return None,
            Next::Look { pairs } => ("screen", *pairs as u64),
            Next::Confirm { pairs, .. } => ("confirm", *pairs as u64),
        };
        for number in 1..=until {
            for (at, subject) in subjects.iter_mut().enumerate() {
                let done = subject.pairs.iter().filter(|pair| pair.stage == stage);
                let over = !suite.wants(at) || subject.is_settled() || subject.left_out.is_some();
                if done.count() as u64 >= number || over {
                    continue;
                }
                say(&format!(
                    "{}: pair {number} of {until} ({stage})",
                    subject.name
                ));
                if let Err(stop) = session.pair(subject, number, stage) {
                    return Some(stop);
                }
            }
        }
        let over = |one: &Subject| one.left_out.is_some() || one.is_settled();
        if subjects.iter().all(over) {
            return None;
        }
        let pairs: Vec<&[record::Pair]> = subjects
            .iter()
            .map(|subject| subject.pairs.as_slice())
            .collect();
        if stage == "confirm" {
            suite.confirm(&pairs);
        } else if let Err(error) = suite.look(&pairs) {
            return Some(Stop::Failed(error.to_string()));
        }
    }
}

fn scenario_gate(subject: &Subject, suite: &Suite, at: usize) -> ScenarioGate {
    ScenarioGate {
        name: subject.name.clone(),
        sha256: subject.sha256.clone(),
        exit_code: ExitCode::Inconclusive,
        left_out: subject.left_out.clone(),
        metrics: suite.results(at, &subject.pairs),
        violations: verdict::violations(subject),
        pairs: subject.pairs.clone(),
        spoiled: subject.spoiled.clone(),
        differences: verdict::differences(&subject.pairs),
    }
}

/// Notes in the store what each scenario came to; not after a stop, which says nothing about most
/// of them.
fn remember(request: &Request, record: &GateRecord, say: &dyn Fn(&str)) {
    for one in record.scenarios.iter().filter(|one| one.left_out.is_none()) {
        let noted = quarantine::note(&request.store, &one.name, &one.sha256, one.exit_code);
        if let Err(problem) = noted {
            say(&problem.to_string());
        }
    }
}

/// Writes the record. A gate that leaves none has proved nothing to anybody.
fn write(dir: &Path, record: &mut GateRecord, say: &dyn Fn(&str)) {
    if let Err(error) = record::write(&dir.join(RECORD), record) {
        say(&error.to_string());
        record.verdict = Verdict::Inconclusive;
        record.exit_code = ExitCode::HarnessFailed;
        record.exit_code_given = ExitCode::HarnessFailed;
        let why = format!("The gate's record could not be written: {error}.");
        record.reasons.insert(0, why);
    }
}

/// What the machine is called in the store of baselines and calibrations: what of it decides how
/// fast things are, as far as it says so itself.
pub fn host_kind() -> String {
    let host = judge::host();
    let word = |text: &str| -> String {
        text.chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() {
                    c.to_ascii_lowercase()
                } else {
                    '-'
                }
            })
            .collect::<String>()
            .split('-')
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join("-")
    };
    let cpu = host
        .cpu_model
        .value()
        .map_or("unknown-cpu".to_owned(), |model| word(model));
    let cores = host.cores.value().copied().unwrap_or(0);
    // Rounded: a kernel keeps a little for itself, and not always the same.
    let gib = host
        .memory_bytes
        .value()
        .map_or(0, |bytes| (bytes + (1 << 29)) >> 30);
    format!("{cpu}-{cores}-cores-{gib}-gib")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_cannot_be_written_is_a_failure() {
        let mut record = record_of(Vec::new());
        record.exit_code_given = ExitCode::Pass;
        write(Path::new("/proc/nowhere"), &mut record, &|_| ());
        assert_eq!(record.exit_code_given, ExitCode::HarnessFailed);
        assert!(record.reasons[0].contains("could not be written"));
    }
}
