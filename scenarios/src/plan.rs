//! How much a system carries and what must be provided for it: `flume-bench plan`.
//!
//! | module | what it holds |
//! |---|---|
//! | [`search`] | three saturation probes, then bisection by the posterior; the trait of probes |
//! | [`probe`] | probes as ordinary runs, and when one holds |
//! | `outage` | the two runs behind the sizing |
//! | `prepare` | how long a probe is and why, fixed before the first |
//! | [`conf`] | what is read from, and changed in, an agent's properties |
//! | [`variant`] | a scenario changed for one probe |
//! | [`measure`], [`harness`] | arrivals and fill of a run; CPU of this process |
//!
//! A probe is an ordinary run of the scenario with another rate, without its faults, as long as ten
//! cycles of the slowest periodic work (eight at least count after the warm-up is cut off). It
//! *holds* when every objective of the scenario holds and the backlog is sustained. Under faults
//! (`--under-faults`) the scenario's faults strike again each `steady`, twice at least; such a probe holds
//! when nothing is lost, every objective holds, and each backlog was drained before the next fault
//! struck. Everything is
//! kept under one directory, `plan.json` first of all; of a probe that lost nothing, the store's
//! files and the agent's own are removed.

pub mod conf;
pub mod harness;
pub mod measure;
mod outage;
mod prepare;
pub mod probe;
pub mod search;
pub mod variant;

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use flume_bench_reports::capacity::MOST_PROBES;
use flume_bench_reports::plan::sizing::{Answer, Question, Sizing, answer};
use flume_bench_reports::plan::{Conclusion, Method, Outcome, PlanRecord, SCHEMA_VERSION};
use flume_bench_reports::record::{Known, Text64};
use flume_bench_reports::show;
use flume_bench_reports::verdict::ExitCode;

use crate::judge;
use crate::runner::{self, Options};
use crate::scenario::reader::Problem;
use crate::scenario::{self, Overrides, Scenario};
use crate::text::show_duration;
use conf::Conf;
use outage::{Outages, Without};
use prepare::prepare;
use probe::{Manner, Runs};
use search::{Found, Stopped};

/// Cycles of the slowest periodic work in a probe: eight must be left after a cut.
const CYCLES: u32 = 10;
/// The shortest probe with 300 samples, one each 50 ms.
const LEAST_STEADY: Duration = Duration::from_secs(16);
/// A fault profile is repeated at least so often in a probe.
const LEAST_PROFILES: u32 = 2;
/// The beginning of a `--set` that changes the agent's configuration.
const CONFIG: &str = "config.";

/// What is asked of a plan.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The scenario's file.
    pub path: PathBuf,
    /// What the command line changes; `config.KEY=VALUE` in `set` changes the agent's properties.
    pub overrides: Overrides,
    /// Probes in all, at most twelve.
    pub probes: u32,
    /// The judged part of a probe, where it is not to follow from the periodic work.
    pub probe_length: Option<Duration>,
    /// Whether the scenario's faults are part of each probe.
    pub under_faults: bool,
    /// Whether the outages are measured.
    pub sizing: bool,
    /// `--rate`, `--outage`, `--budget`.
    pub question: Option<Question>,
}

/// What a plan came to.
#[derive(Debug)]
pub struct Planned {
    /// The record, as written.
    pub record: PlanRecord,
    /// The plan's directory.
    pub dir: PathBuf,
}

/// Searches, measures, and writes `plan.json`, `plan.md`, `plan.csv`, `plan.html`.
///
/// # Errors
/// Everything that is wrong with the scenario, the command line or the machine, found before
/// anything was started.
pub fn plan(asked: &Asked, options: &Options, say: &dyn Fn(&str)) -> Result<Planned, Vec<Problem>> {
    let (base, changes) = checked(asked, options)?;
    let dir = make_directory(&base, options)?;
    let prepared = prepare(asked, &base, &changes, &dir, options).inspect_err(|_| {
        // Nothing was started: nothing is left behind.
        let _ = std::fs::remove_dir_all(&dir);
    })?;
    let inner = Options {
        runs: dir.clone(),
        run_id: None,
        keep_going: true,
        quiet: true,
        ..options.clone()
    };
    let plan = Plan {
        asked,
        base: &prepared.base,
        inner: &inner,
        manner: &prepared.manner,
        text: prepared.text,
        method: prepared.method,
        say,
    };
    let record = plan.perform();
    write(&dir, &record, say);
    Ok(Planned { record, dir })
}

/// Keys of the agent's configuration with their new values.
type Changes = Vec<(String, String)>;

/// The scenario as overridden, everything checked.
fn checked(asked: &Asked, options: &Options) -> Result<(Scenario, Changes), Vec<Problem>> {
    let (of_config, of_scenario): (Vec<String>, Vec<String>) = asked
        .overrides
        .set
        .iter()
        .cloned()
        .partition(|set| set.starts_with(CONFIG));
    let overrides = Overrides {
        set: of_scenario,
        ..asked.overrides.clone()
    };
    let (scenario, mut problems) = scenario::inspect(&asked.path, &overrides);
    let mut changes = Vec::new();
    for set in &of_config {
        match set.trim_start_matches(CONFIG).split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                changes.push((key.trim().to_owned(), value.trim().to_owned()));
            }
            _ => problems.push(Problem::of_machine(
                format!("--set {set} is not understood"),
                "write --set config.KEY=VALUE, such as --set config.a1.sinks.k1.hdfs.rollInterval=2",
            )),
        }
    }
    if !(4..=MOST_PROBES as u32).contains(&asked.probes) {
        problems.push(Problem::of_machine(
            format!("--probes {} cannot be: three saturate, and the search is calibrated for {MOST_PROBES} in all", asked.probes),
            format!("write a number from 4 to {MOST_PROBES}"),
        ));
    }
    if asked
        .probe_length
        .is_some_and(|length| length < Duration::from_secs(1))
    {
        problems.push(Problem::of_machine(
            "--probe-length is shorter than 1s: the backlog is read every 50 ms",
            "write a longer one, such as --probe-length 20s",
        ));
    }
    let Some(scenario) = scenario else {
        return Err(problems);
    };
    problems.extend(unsuited(asked, &scenario, !changes.is_empty()));
    problems.extend(runner::preflight(&scenario, options));
    if problems.is_empty() {
        Ok((scenario, changes))
    } else {
        Err(problems)
    }
}

/// What a plan cannot do with a scenario that a run could.
fn unsuited(asked: &Asked, scenario: &Scenario, changes: bool) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut add = |message: String, remedy: &str| {
        problems.push(Problem::at(&scenario.path, 0, message).remedy(remedy))
    };
    if changes && scenario.sut.config.is_none() {
        add(
            format!(
                "--set config.… changes the agent's configuration, and the driver {} has none",
                scenario.sut.driver.name()
            ),
            "leave it out",
        );
    }
    if scenario.load.ramp_to.is_some() {
        add(
            "a load with ramp_to has no rate that could hold".to_owned(),
            "remove ramp_to: plan itself varies the rate",
        );
    }
    if scenario.load.turns.is_some() {
        add(
            "a load that is sent in turns has half the rate that plan asks for".to_owned(),
            "remove turns and turn: plan probes one agent alone",
        );
    }
    if asked.under_faults && scenario.faults.is_empty() {
        add(
            "--under-faults, and the scenario has no fault".to_owned(),
            "leave it out, or add a [[fault]]",
        );
    }
    if asked.question.is_some() && !asked.sizing {
        problems.push(Problem::of_machine(
            "--rate and --outage need the sizing that --no-sizing leaves out",
            "remove --no-sizing",
        ));
    }
    problems
}

fn make_directory(base: &Scenario, options: &Options) -> Result<PathBuf, Vec<Problem>> {
    let stamp = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S");
    let id = options.run_id.unwrap_or_else(rand::random);
    let dir = options
        .runs
        .join(format!("{stamp}-plan-{}-{id:016x}", base.name));
    std::fs::create_dir_all(&dir)
        .and_then(|()| dir.canonicalize())
        .map_err(|error| {
            vec![Problem::of_machine(
                format!(
                    "the plan's directory {} cannot be made: {error}",
                    dir.display()
                ),
                "choose another place with --runs",
            )]
        })
}

/// A plan that is being carried out.
struct Plan<'a> {
    asked: &'a Asked,
    base: &'a Scenario,
    inner: &'a Options,
    manner: &'a Manner,
    text: String,
    method: Method,
    say: &'a dyn Fn(&str),
}

impl Plan<'_> {
    fn perform(&self) -> PlanRecord {
        let started = jiff::Timestamp::now().to_string();
        let each = self.manner.warm_up + self.manner.steady + Duration::from_secs(5);
        (self.say)(&format!(
            "plan of {}: at most {} probes of {}, about {} in all",
            self.base.name,
            self.asked.probes,
            show_duration(self.manner.steady),
            show::duration((each * self.asked.probes).as_micros() as u64)
        ));
        let mut runs = Runs::new(self.base, self.inner, self.manner, self.say);
        let found = search::search(&mut runs, self.asked.probes);
        let conf = Conf::parse(&self.text, &self.base.sut.agent);
        let carries = carries(&found);
        let (sizing, stopped) = self.sizing(&found, &conf, carries);
        let answer = self
            .asked
            .question
            .map(|question| self.answer(&question, &sizing, carries, &conf));
        let stopped = found.stopped.clone().or(stopped);
        let interrupted = stopped == Some(Stopped::Interrupted);
        let mut codes = vec![found.conclusion.exit_code()];
        if let Some(Stopped::Failed(_)) = &stopped {
            codes.push(ExitCode::HarnessFailed);
        }
        if interrupted {
            codes.push(ExitCode::Inconclusive);
        }
        let facts = judge::gather(self.base, 0, &self.inner.command_line, &self.inner.tools);
        PlanRecord {
            schema_version: SCHEMA_VERSION,
            plan: Text64(id_of(&self.inner.runs)),
            scenario: self.base.name.clone(),
            sut: self
                .base
                .sut
                .driver
                .version(&self.inner.tools)
                .unwrap_or_else(|| self.base.sut.driver.name().to_owned()),
            store: format!(
                "{} ({})",
                self.base.store.kind(),
                self.base.store.provider()
            ),
            host: facts.host,
            command_line: self.inner.command_line.clone(),
            started,
            interrupted,
            conclusion: found.conclusion,
            exit_code: ExitCode::decide(codes),
            reasons: reasons(&found, &stopped),
            notes: self.notes(&conf, carries),
            method: self.method.clone(),
            probes: found.probes,
            knee: found.knee,
            sizing,
            answer,
        }
    }

    fn sizing(
        &self,
        found: &Found,
        conf: &Conf,
        carries: Option<u64>,
    ) -> (Known<Sizing>, Option<Stopped>) {
        if !self.asked.sizing {
            return (Known::unknown("--no-sizing left it out"), None);
        }
        if found.stopped.is_some() || self.inner.interrupted.load(Ordering::Relaxed) {
            return (Known::unknown("the search was stopped before"), None);
        }
        let Some(carries) = carries else {
            return (
                Known::unknown("no rate is known that the system carries"),
                None,
            );
        };
        let outages = Outages {
            base: self.base,
            options: self.inner,
            manner: self.manner,
            text: &self.text,
            conf,
            carries: carries as f64,
            say: self.say,
        };
        match outages.measure() {
            Ok(sizing) => (Known::Value(sizing), None),
            Err(Without::Reason(why)) => (Known::Unknown(why), None),
            Err(Without::Stopped(stopped)) => {
                let why = match &stopped {
                    Stopped::Interrupted => "interrupted".to_owned(),
                    Stopped::Failed(why) => why.clone(),
                };
                (Known::Unknown(why), Some(stopped))
            }
        }
    }

    fn answer(
        &self,
        question: &Question,
        sizing: &Known<Sizing>,
        carries: Option<u64>,
        conf: &Conf,
    ) -> Known<Answer> {
        match (sizing, carries) {
            (Known::Value(sizing), Some(carries)) => {
                let names = conf.components(u64::from(self.base.load.batch));
                Known::Value(answer(question, sizing, carries, &names))
            }
            (Known::Unknown(why), _) => Known::unknown(format!("the sizing is not known: {why}")),
            (_, None) => Known::unknown("no rate is known that the system carries"),
        }
    }

    /// What a reader must know to use the numbers.
    fn notes(&self, conf: &Conf, carries: Option<u64>) -> Vec<String> {
        let mut notes = Vec::new();
        let manner = self.manner;
        if manner.steady < LEAST_STEADY {
            notes.push(format!(
                "A probe of {} has fewer than 300 samples: its warm-up was not cut off by MSER-5, only the {} before it are left out.",
                show_duration(manner.steady),
                show_duration(manner.warm_up)
            ));
        }
        if manner.steady < manner.cycle * (CYCLES - 2)
            || self.method.cycle_of.starts_with("a tenth of the probe:")
        {
            notes.push(format!(
                "The probes are shorter than {} cycles of the slowest periodic work ({}): what it costs may be missing from the knee.",
                CYCLES - 2,
                self.method.cycle_of
            ));
        }
        if !self.method.changed.is_empty() {
            notes.push(format!(
                "The scenario or the configuration was changed for this plan ({}): the knee is that of the changed one.",
                self.method.changed.join(", ")
            ));
        }
        if let (Some(channel), Some(carries)) = (conf.channels().first(), carries) {
            let fills = channel.capacity as f64 / (0.05 * carries as f64).max(1.0);
            if fills > manner.steady.as_secs_f64() {
                notes.push(format!(
                    "The channel {} ({} events) hides an overload of 5 % from the source for {}, longer than a probe: the source's answers show no overload. So the backlog is counted from what was due and is not stored, the channel included.",
                    channel.name,
                    show::count(channel.capacity),
                    show::duration((fills * 1e6) as u64)
                ));
            }
        }
        if self.asked.sizing {
            notes.push("The delay from the heal until the sink works was measured after a short outage: a back-off that grows with the outage can make it longer.".to_owned());
        }
        notes.push("Load, store and system shared one machine: on machines of their own the knee may be higher.".to_owned());
        notes
    }
}

/// What one agent surely carries: the lower end of the knee's interval, or without a knee the highest
/// rate that held.
fn carries(found: &Found) -> Option<u64> {
    match &found.knee {
        Known::Value(knee) => Some(knee.low_per_s),
        Known::Unknown(_) => found
            .probes
            .iter()
            .filter(|probe| probe.outcome == Outcome::Holds)
            .map(|probe| probe.offered_per_s)
            .max(),
    }
}

fn reasons(found: &Found, stopped: &Option<Stopped>) -> Vec<String> {
    let mut reasons = Vec::new();
    match (&found.knee, found.conclusion) {
        (Known::Value(knee), Conclusion::Found) => reasons.push(format!(
            "A probe at {} events/s holds with probability ½.",
            show::count(knee.per_s)
        )),
        (Known::Unknown(why), _) => reasons.push(format!("There is no knee: {why}.")),
        (Known::Value(_), other) => reasons.push(format!("There is no knee: {}.", other.as_str())),
    }
    match stopped {
        Some(Stopped::Interrupted) => {
            reasons.push("The plan was interrupted; what there was until then is kept.".to_owned())
        }
        Some(Stopped::Failed(why)) => {
            reasons.push(format!("The harness or a store failed: {why}."))
        }
        None => {}
    }
    reasons
}

/// The id at the end of the directory's name.
fn id_of(dir: &Path) -> u64 {
    dir.file_name()
        .and_then(|name| name.to_str()?.rsplit('-').next().map(str::to_owned))
        .and_then(|id| u64::from_str_radix(&id, 16).ok())
        .unwrap_or(0)
}

/// Writes every format; what cannot be written is said.
fn write(dir: &Path, record: &PlanRecord, say: &dyn Fn(&str)) {
    use flume_bench_reports::plan::show as formats;
    let all = [
        ("plan.json", formats::json(record)),
        ("plan.md", Ok(formats::markdown(record))),
        ("plan.csv", formats::csv(record)),
        ("plan.om", Ok(formats::openmetrics(record))),
        ("plan.html", formats::html(record)),
    ];
    for (name, text) in all {
        let written = text.map_err(|error| error.to_string()).and_then(|text| {
            std::fs::write(dir.join(name), text).map_err(|error| error.to_string())
        });
        if let Err(error) = written {
            say(&format!("{name} could not be written: {error}"));
        }
    }
}
