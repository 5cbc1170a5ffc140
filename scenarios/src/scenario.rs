//! A scenario file, read and checked: every problem at once, each with its line and a remedy,
//! before anything starts.
//!
//! The same file serves every system under test and every provider of the store; `--sut`,
//! `--provider` and `--set key=value` override it. [`load`] reads it, and what it returns is all
//! the runner ever sees.

pub mod campaign;
mod faults;
pub mod gate;
mod load;
pub mod objectives;
pub mod reader;
pub mod settings;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::shipped;
use crate::store;
use crate::sut;
use crate::text::{parse_duration, show_duration};
use objectives::Objectives;
use reader::{Problem, Reader, Source, nearest};
pub use settings::Overrides;

/// What load goes into, with the words allowed for `into`.
pub const INTO: &[&str] = &["avro", "exec", "netcat", "tail"];
/// The kinds of payload.
pub const PAYLOADS: &[&str] = &["access_log", "fixed", "json_lines", "replay"];

/// A checked scenario.
#[derive(Debug)]
pub struct Scenario {
    /// Name: the file's stem.
    pub name: String,
    /// Where it was read.
    pub path: PathBuf,
    /// The text after overrides, as it is kept in the record.
    pub text: String,
    /// The one seed of all randomness.
    pub seed: u64,
    /// The system under test.
    pub sut: Sut,
    /// The load.
    pub load: Load,
    /// The store's kind and provider.
    pub store: Arc<dyn store::Store>,
    /// How long each phase lasts.
    pub phases: Phases,
    /// Faults in the order of the file.
    pub faults: Vec<FaultPlan>,
    /// What must hold.
    pub objectives: Objectives,
    /// Whether the run ends as soon as an objective is beyond recovery.
    pub keep_going: bool,
    /// How a gate compares it.
    pub gate: gate::Gate,
    /// What a campaign draws its trials from, where the scenario has such a section.
    pub campaign: Option<campaign::Campaign>,
}

/// `[sut]`.
#[derive(Debug)]
pub struct Sut {
    /// The driver that runs it.
    pub driver: Arc<dyn sut::Driver>,
    /// The agent's name in its configuration.
    pub agent: String,
    /// Its configuration file, resolved against the scenario's directory.
    pub config: Option<PathBuf>,
    /// Environment variables of the user's own, on top of those the runner sets.
    pub env: BTreeMap<String, String>,
}

/// `[load]`.
#[derive(Debug, Clone)]
pub struct Load {
    /// Which protocol: one of [`INTO`].
    pub into: &'static str,
    /// Events a second at the beginning.
    pub rate: f64,
    /// Events a second at the end; the same unless `ramp_to` was given.
    pub ramp_to: Option<f64>,
    /// Poisson arrivals instead of even ones.
    pub poisson: bool,
    /// Sends in its own turns only: how long a turn is, and whether they are the second's. Two loads
    /// that run at once send in the order first, second, second, first.
    pub turns: Option<(Duration, bool)>,
    /// Events in a batch.
    pub batch: u32,
    /// Connections, each a producer of its own.
    pub connections: u16,
    /// Kind of payload: one of [`PAYLOADS`].
    pub payload: &'static str,
    /// Bytes of a body.
    pub body: usize,
    /// The file that `payload = "replay"` takes its lines from.
    pub replay: Option<PathBuf>,
    /// How long a batch is tried again after its first attempt.
    pub retry_for: Duration,
    /// How long connections may take to finish their queues after the last batch is due; `retry_for`
    /// and 12 s where it is not given.
    pub finish_within: Option<Duration>,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// Deflate on the wire (avro).
    pub deflate: bool,
    /// Whether the source answers each line (netcat).
    pub answers: bool,
    /// Rotation of the tailed file: how and after how many bytes.
    pub rotate: Option<(&'static str, u64)>,
}

impl Load {
    /// Whether everything issued is owed, because the source gives no answer.
    pub fn owes_issued(&self) -> bool {
        matches!(self.into, "tail" | "exec") || (self.into == "netcat" && !self.answers)
    }
}

/// `[phases]`.
#[derive(Debug, Clone, Copy)]
pub struct Phases {
    /// Load that no objective on latency judges.
    pub warm_up: Duration,
    /// Load that is judged.
    pub steady: Duration,
    /// How long the drain may take, at least quiet + 5 s.
    pub drain_deadline: Duration,
    /// Whether a deadline that the scenario gives was raised to quiet + 5 s.
    pub drain_raised: bool,
}

impl Phases {
    /// Stands where the section is wrong.
    const NONE: Self = Self {
        warm_up: Duration::ZERO,
        steady: Duration::ZERO,
        drain_deadline: Duration::ZERO,
        drain_raised: false,
    };
}

/// When a fault strikes.
#[derive(Debug, Clone, PartialEq)]
pub enum When {
    /// At this time after the start of `steady`.
    At(Duration),
    /// As soon as an observed value passes a limit.
    Observed {
        /// The condition as written.
        text: String,
        /// The channel whose fill is watched.
        channel: String,
        /// The limit, 0 to 1.
        limit: f64,
    },
}

/// One `[[fault]]`.
#[derive(Debug)]
pub struct FaultPlan {
    /// Its number in the file, from 0.
    pub index: usize,
    /// Kind, as in the table of faults.
    pub kind: &'static str,
    /// Its own settings.
    pub table: toml::Table,
    /// When it strikes.
    pub when: When,
    /// How long it lasts.
    pub lasts: Duration,
    /// How often it is repeated, if at all.
    pub every: Option<Duration>,
}

impl FaultPlan {
    /// One line for people: `cut_link agent->namenode (drop), at 10s for 8s`.
    pub fn describe(&self) -> String {
        let words: Vec<String> = self
            .table
            .iter()
            .map(|(key, value)| match value.as_str() {
                Some(text) => format!("{key} {text}"),
                None => format!("{key} {value}"),
            })
            .collect();
        let when = match &self.when {
            When::At(at) => format!("at {}", show_duration(*at)),
            When::Observed { text, .. } => format!("when {text}"),
        };
        let every = self
            .every
            .map(|every| format!(", every {}", show_duration(every)))
            .unwrap_or_default();
        format!(
            "{} {}, {when} for {}{every}",
            self.kind,
            words.join(", "),
            show_duration(self.lasts)
        )
    }
}

/// The longest file that is taken for a scenario.
const MAX_BYTES: u64 = 1 << 20;

/// Reads and checks a scenario. `Err` holds every problem found.
pub fn load(path: &Path, overrides: &Overrides) -> Result<Scenario, Vec<Problem>> {
    match inspect(path, overrides) {
        (Some(scenario), problems) if problems.is_empty() => Ok(scenario),
        (_, problems) => Err(problems),
    }
}

/// As [`load`], and the scenario as far as it could be understood in spite of its problems, so that
/// what it names can be looked at, too: all problems are to be said at once. It is not to be run
/// unless there are none.
pub fn inspect(path: &Path, overrides: &Overrides) -> (Option<Scenario>, Vec<Problem>) {
    let applied = read_text(path)
        .map_err(|problem| vec![problem])
        .and_then(|written| overrides.apply(path, &written));
    match applied {
        Ok(applied) => {
            let source = Source::new(path, &applied.text).with_origins(&applied.origins);
            understand(source, path, &applied.text)
        }
        Err(problems) => (None, problems),
    }
}

/// The text of a scenario with everything overridden, unchecked.
///
/// # Errors
/// A file that cannot be read, and every override that is not understood.
pub fn text_of(path: &Path, overrides: &Overrides) -> Result<String, Vec<Problem>> {
    let written = read_text(path).map_err(|problem| vec![problem])?;
    overrides.apply(path, &written).map(|applied| applied.text)
}

/// Checks a text as if it stood in the file of that path: what is named is looked for beside it, and
/// the scenario has its name. For trials, whose texts are made from a scenario's.
///
/// # Errors
/// Every problem found.
pub fn load_text(path: &Path, text: &str) -> Result<Scenario, Vec<Problem>> {
    match understand(Source::new(path, text), path, text) {
        (Some(scenario), problems) if problems.is_empty() => Ok(scenario),
        (_, problems) => Err(problems),
    }
}

/// Reads the scenario of a run that is over: the files that it names need not be there any more.
pub fn load_stored(path: &Path) -> Result<Scenario, Vec<Problem>> {
    let text = read_text(path).map_err(|problem| vec![problem])?;
    match understand(Source::new(path, &text).without_files(), path, &text) {
        (Some(scenario), problems) if problems.is_empty() => Ok(scenario),
        (_, problems) => Err(problems),
    }
}

/// The scenario of a stored run, to be run again: from the text and the configuration in the run's
/// directory. `place` is that directory, or a file in it.
///
/// # Errors
/// Every problem found; a directory that holds no run.
pub fn of_run(place: &Path) -> Result<Scenario, Vec<Problem>> {
    if !place.exists() {
        return Err(vec![Problem::at(place, 0, "is not there").remedy(
            "name the directory of a run, or its record.json, such as runs/…/trials/…",
        )]);
    }
    let dir = if place.is_dir() {
        place
    } else {
        place.parent().unwrap_or(Path::new("."))
    };
    let path = dir.join("conf/scenario.toml");
    if !path.is_file() {
        return Err(vec![
            Problem::at(&path, 0, "is not there: this is not the directory of a run")
                .remedy("name the directory of a run, or its record.json, such as runs/…/trials/…"),
        ]);
    }
    let text = read_text(&path).map_err(|problem| vec![problem])?;
    let mut problems = Vec::new();
    let text = match text.parse::<toml_edit::DocumentMut>() {
        Ok(mut document) => {
            // The configuration was copied beside it, under its own name.
            let name = document
                .get("sut")
                .and_then(|sut| sut.get("config")?.as_str())
                .and_then(|config| Path::new(config).file_name())
                .map(|name| name.to_string_lossy().into_owned());
            if let Some(name) = name {
                document["sut"]["config"] = toml_edit::value(name);
            }
            document.to_string()
        }
        Err(error) => {
            problems.push(Problem::at(&path, 0, error.to_string()));
            text
        }
    };
    let mut scenario = load_text(&path, &text)?;
    if let Ok(record) = flume_bench_reports::record::read(&dir.join("record.json")) {
        scenario.name = record.identity.scenario;
    }
    if problems.is_empty() {
        Ok(scenario)
    } else {
        Err(problems)
    }
}

fn understand(source: Source<'_>, path: &Path, text: &str) -> (Option<Scenario>, Vec<Problem>) {
    let scenario = source
        .parse()
        .and_then(|table| read(&Reader::root(&source, &table), path, text));
    (scenario, source.into_problems())
}

/// The text of the file, if it can be one: whatever else is given instead of a scenario, a
/// directory, a device, a core dump, has an answer and not an endless wait.
fn read_text(path: &Path) -> Result<String, Problem> {
    let failed = |error: &std::io::Error| {
        let problem = Problem::at(path, 0, format!("the scenario cannot be read: {error}"));
        let name = path.to_string_lossy();
        let shipped = shipped::summaries();
        match nearest(&name, shipped.iter().map(|(name, _)| *name)) {
            Some(word) if error.kind() == std::io::ErrorKind::NotFound => {
                problem.remedy(format!("did you mean `{word}`?"))
            }
            _ => problem.remedy(
                "name a file, or one of the shipped scenarios (flume-bench list scenarios)",
            ),
        }
    };
    let file = std::fs::File::open(path).map_err(|error| failed(&error))?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| failed(&error))?;
    let line = |position: usize| 1 + bytes[..position].iter().filter(|b| **b == b'\n').count();
    let no_text = |position: usize, what: &str| {
        Problem::at(path, line(position), what).remedy("a scenario is a TOML file in UTF-8")
    };
    if let Some(position) = bytes.iter().position(|byte| *byte == 0) {
        return Err(no_text(position, "a NUL byte: this is no text"));
    }
    if bytes.len() as u64 > MAX_BYTES {
        return Err(
            Problem::at(path, 0, format!("longer than {} KiB", MAX_BYTES >> 10))
                .remedy("a scenario is a short TOML file: is this the right one?"),
        );
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(error) => {
            let position = error.utf8_error().valid_up_to();
            let bytes = error.as_bytes();
            let line = 1 + bytes[..position].iter().filter(|b| **b == b'\n').count();
            Err(Problem::at(path, line, "a byte that is no UTF-8")
                .remedy("a scenario is a TOML file in UTF-8"))
        }
    }
}

fn read(root: &Reader<'_, '_>, path: &Path, text: &str) -> Option<Scenario> {
    let seed = root.number("seed", 0..=u64::MAX);
    if root.raw("seed").is_none() {
        root.missing(
            "seed",
            "the one number all randomness comes from, such as seed = 7",
        );
    }
    let directory = path.parent().unwrap_or(Path::new("."));
    let sut = read_sut(&root.table("sut"), directory);
    let load = load::read(&root.table("load"), directory);
    let store = store::read(&root.table("store"));
    let quiet = sut
        .as_ref()
        .map_or(Duration::ZERO, |sut| sut.driver.quiet());
    let phases = read_phases(&root.table("phases"), quiet);
    let there = faults::There::new(
        sut.as_ref().map(|sut| sut.driver.as_ref()),
        load.as_ref(),
        store.as_deref(),
    );
    let faults = faults::read(root, phases.as_ref(), &there);
    let objectives = objectives::read(&root.table("objectives"));
    let keep_going = root.flag("keep_going").unwrap_or(false);
    let holdable = store
        .as_deref()
        .is_none_or(|store| !store.nodes().is_empty() && store.provider() != "external");
    let gate = gate::read(&root.table("gate"), !faults.is_empty(), holdable);
    let campaign = campaign::read(&root.table("campaign"), phases.as_ref(), quiet, &there);
    root.finish();
    if let Some(sut) = &sut {
        check_driver(root, sut.driver.as_ref(), load.as_ref(), store.as_deref());
    }
    Some(Scenario {
        name: path.file_stem().map_or_else(
            || "scenario".into(),
            |stem| stem.to_string_lossy().into_owned(),
        ),
        path: path.to_owned(),
        text: text.to_owned(),
        // Where one of these is wrong, that has been said, and nothing will be run with it.
        seed: seed.unwrap_or_default(),
        sut: sut?,
        load: load?,
        store: store?,
        phases: phases.unwrap_or(Phases::NONE),
        faults,
        objectives,
        keep_going,
        gate,
        campaign,
    })
}

/// Whether the driver can be given that load and that store.
fn check_driver(
    root: &Reader<'_, '_>,
    driver: &dyn sut::Driver,
    load: Option<&Load>,
    store: Option<&dyn store::Store>,
) {
    if let Some(load) = load
        && !driver.sources().contains(&load.into)
    {
        root.table("load").problem(
            "into",
            format!(
                "the driver {} cannot be given load into \"{}\" (it can: {})",
                driver.name(),
                load.into,
                driver.sources().join(", ")
            ),
        );
    }
    if let Some(store) = store
        && !driver.stores().contains(&store.kind())
    {
        root.table("sut").problem(
            "driver",
            format!(
                "the driver {} cannot deliver into the store {} (it can: {})",
                driver.name(),
                store.kind(),
                driver.stores().join(", ")
            ),
        );
    }
}

fn read_sut(table: &Reader<'_, '_>, directory: &Path) -> Option<Sut> {
    let names: Vec<&'static str> = sut::KINDS.iter().map(|kind| kind.name).collect();
    if table.raw("driver").is_none() {
        table.missing(
            "driver",
            &format!(
                "which driver runs the system under test ({})",
                names.join(", ")
            ),
        );
    }
    let name = table.word("driver", &names);
    let agent = table.text("agent").unwrap_or_else(|| "a1".to_owned());
    let config = table.text("config").map(|file| directory.join(file));
    if let Some(config) = &config
        && table.source().wants_files()
        && !config.is_file()
    {
        let what = if config.exists() {
            "is not a file"
        } else {
            "does not exist"
        };
        table.problem(
            "config",
            format!(
                "the configuration file {} {what} (paths are relative to the scenario)",
                config.display()
            ),
        );
    }
    let env = read_env(&table.table("env"));
    let kind = sut::KINDS.iter().find(|kind| Some(kind.name) == name)?;
    let driver = (kind.read)(table, config.as_deref());
    table.finish();
    Some(Sut {
        driver: driver?,
        agent,
        config,
        env,
    })
}

/// `[sut.env]`: names of the user's own, each with a text.
fn read_env(table: &Reader<'_, '_>) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    for (key, _) in table.keys() {
        let value = table.raw_of(&key).map(|value| value.get_ref());
        match value.and_then(|value| value.as_str()) {
            // They are what the run's own ports and directories are called; whoever changes them
            // sends the load past the agent.
            Some(_) if sut::OWN_ENVIRONMENT.contains(&key.as_str()) => table.problem(
                &key,
                format!("{key} is set by the run itself: choose another name"),
            ),
            Some(text) => {
                env.insert(key, text.to_owned());
            }
            None => table.problem(
                &key,
                format!(
                    "sut.env.{key} must be text in quotes, not {}",
                    value.map_or("nothing", |value| value.type_str())
                ),
            ),
        }
    }
    env
}

/// How long a drain may take unless the scenario says so, or the driver needs longer.
const DRAIN_DEADLINE: Duration = Duration::from_secs(20);

fn read_phases(table: &Reader<'_, '_>, quiet: Duration) -> Option<Phases> {
    if table.raw("steady").is_none() {
        table.missing(
            "steady",
            "how long the judged load lasts, such as steady = \"55s\"",
        );
    }
    let steady = table.parsed("steady", parse_duration);
    let warm_up = table
        .parsed("warm_up", parse_duration)
        .unwrap_or(Duration::ZERO);
    let written = table.parsed("drain_deadline", parse_duration);
    table.finish();
    let least = quiet + Duration::from_secs(5);
    let steady = steady?;
    if steady.is_zero() {
        table.problem("steady", "steady must be longer than 0");
        return None;
    }
    if steady + warm_up > Duration::from_secs(24 * 3600) {
        table.problem("steady", "warm_up and steady together may last 24h at most");
        return None;
    }
    Some(Phases {
        warm_up,
        steady,
        drain_deadline: written.unwrap_or(DRAIN_DEADLINE).max(least),
        drain_raised: written.is_some_and(|written| written < least),
    })
}

/// Every key with its default, for people.
pub const DEFAULTS: &str = include_str!("../defaults.txt");

#[cfg(test)]
mod tests;
