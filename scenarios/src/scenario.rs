//! A scenario file, read and checked: every problem at once, each with its line and a remedy,
//! before anything starts.
//!
//! The same file serves every system under test and every provider of the store; `--sut`,
//! `--provider` and `--set key=value` override it. [`load`] reads it, and what it returns is all
//! the runner ever sees.

pub mod objectives;
pub mod reader;
pub mod settings;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::fault;
use crate::store;
use crate::sut;
use crate::text::{parse_duration, parse_rate, parse_size, show_duration};
use objectives::Objectives;
use reader::{Problem, Reader, Source, unknown};
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
    /// Whether the deadline was raised to quiet + 5 s.
    pub drain_raised: bool,
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
    /// The line in the scenario.
    pub line: usize,
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

/// Reads and checks a scenario. `Err` holds every problem found.
pub fn load(path: &Path, overrides: &Overrides) -> Result<Scenario, Vec<Problem>> {
    let written = std::fs::read_to_string(path).map_err(|error| {
        vec![
            Problem::at(path, 0, format!("the scenario cannot be read: {error}"))
                .remedy("flume-bench list scenarios shows those that are shipped"),
        ]
    })?;
    let text = overrides.apply(path, &written)?;
    let source = Source::new(path, &text);
    let scenario = source
        .parse()
        .and_then(|table| read(&source, &Reader::root(&source, &table), path, &text));
    let problems = source.into_problems();
    match scenario {
        Some(scenario) if problems.is_empty() => Ok(scenario),
        _ => Err(problems),
    }
}

fn read(source: &Source<'_>, root: &Reader<'_, '_>, path: &Path, text: &str) -> Option<Scenario> {
    let seed = root.number("seed", 0..=u64::MAX);
    if !root.is_present() || root.raw("seed").is_none() {
        root.missing(
            "seed",
            "the one number all randomness comes from, such as seed = 7",
        );
    }
    let directory = path.parent().unwrap_or(Path::new("."));
    let sut = read_sut(&root.table("sut"), directory);
    let load = read_load(&root.table("load"), directory);
    let store = store::read(&root.table("store"));
    let quiet = sut
        .as_ref()
        .map_or(Duration::ZERO, |sut| sut.driver.quiet());
    let phases = read_phases(&root.table("phases"), quiet);
    let faults = read_faults(root, phases.as_ref());
    let objectives = objectives::read(&root.table("objectives"));
    let keep_going = root.flag("keep_going").unwrap_or(false);
    check_campaign(&root.table("campaign"));
    root.finish();
    let scenario = Scenario {
        name: path.file_stem().map_or_else(
            || "scenario".into(),
            |stem| stem.to_string_lossy().into_owned(),
        ),
        path: path.to_owned(),
        text: text.to_owned(),
        seed: seed?,
        sut: sut?,
        load: load?,
        store: store?,
        phases: phases?,
        faults: faults?,
        objectives: objectives?,
        keep_going,
    };
    check_together(source, root, &scenario);
    Some(scenario)
}

/// What only shows when two sections are seen together.
fn check_together(source: &Source<'_>, root: &Reader<'_, '_>, scenario: &Scenario) {
    let load = root.table("load");
    let driver = &scenario.sut.driver;
    if !driver.sources().contains(&scenario.load.into) {
        load.problem(
            "into",
            format!(
                "the driver {} cannot be given load into \"{}\" (it can: {})",
                driver.name(),
                scenario.load.into,
                driver.sources().join(", ")
            ),
        );
    }
    if !driver.stores().contains(&scenario.store.kind()) {
        root.table("sut").problem(
            "driver",
            format!(
                "the driver {} cannot deliver into the store {} (it can: {})",
                driver.name(),
                scenario.store.kind(),
                driver.stores().join(", ")
            ),
        );
    }
    let mut links = scenario.store.links();
    if matches!(scenario.load.into, "avro" | "netcat") {
        links.push("generator->agent".to_owned());
    }
    let mut targets = scenario.store.nodes();
    targets.push("agent".to_owned());
    for fault in &scenario.faults {
        let span_line = |message: String| source.problem_at_line(fault.line, message);
        if let Some(link) = fault.table.get("link").and_then(|v| v.as_str())
            && !links.iter().any(|known| known == link)
        {
            span_line(unknown("link", link, links.iter().map(String::as_str)));
        }
        if let Some(target) = fault.table.get("target").and_then(|v| v.as_str())
            && !targets.iter().any(|known| known == target)
        {
            span_line(unknown(
                "target",
                target,
                targets.iter().map(String::as_str),
            ));
        }
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
        && !config.is_file()
    {
        table.problem(
            "config",
            format!(
                "the configuration file {} does not exist (paths are relative to the scenario)",
                config.display()
            ),
        );
    }
    let env = table.table("env");
    let env = env
        .keys()
        .into_iter()
        .filter_map(|(key, _)| {
            Some((
                key.clone(),
                env.raw_of(&key)?.get_ref().as_str()?.to_owned(),
            ))
        })
        .collect();
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

fn read_load(table: &Reader<'_, '_>, directory: &Path) -> Option<Load> {
    for (key, what) in [
        ("into", "what the load goes into (avro, exec, netcat, tail)"),
        ("rate", "events per second, such as \"20000/s\""),
    ] {
        if table.raw(key).is_none() {
            table.missing(key, what);
        }
    }
    let into = table.word("into", INTO);
    let rate = table.parsed("rate", parse_rate);
    let ramp_to = table.parsed("ramp_to", parse_rate);
    let schedule = table
        .word("schedule", &["constant", "poisson"])
        .unwrap_or("constant");
    let payload = table.word("payload", PAYLOADS).unwrap_or("access_log");
    let replay = table.text("replay").map(|file| directory.join(file));
    match (&replay, payload) {
        (None, "replay") => table.missing("replay", "the file whose lines are replayed"),
        (Some(file), "replay") if !file.is_file() => table.problem(
            "replay",
            format!("the file {} does not exist", file.display()),
        ),
        (Some(_), other) if other != "replay" => {
            table.problem("replay", "replay is only read with payload = \"replay\"")
        }
        _ => {}
    }
    let rotate = table.word("rotate", &["rename", "copytruncate"]);
    let rotate_every = table.parsed("rotate_every", parse_size);
    if rotate.is_some() != rotate_every.is_some() {
        table.problem(
            if rotate.is_some() {
                "rotate"
            } else {
                "rotate_every"
            },
            "rotate and rotate_every go together: how, and after how many bytes",
        );
    }
    let load = Load {
        into: into.unwrap_or("avro"),
        rate: rate.unwrap_or(1.0),
        ramp_to,
        poisson: schedule == "poisson",
        batch: table
            .number("batch", 1..=100_000)
            .unwrap_or(if into == Some("avro") { 100 } else { 1 }) as u32,
        connections: table.number("connections", 1..=1_000).unwrap_or(1) as u16,
        payload,
        body: table.parsed("body", parse_size).unwrap_or(480) as usize,
        replay,
        retry_for: table
            .parsed("retry_for", parse_duration)
            .unwrap_or(Duration::from_secs(30)),
        timeout: table
            .parsed("timeout", parse_duration)
            .unwrap_or(Duration::from_secs(10)),
        deflate: table.flag("deflate").unwrap_or(false),
        answers: table.flag("answers").unwrap_or(true),
        rotate: rotate.zip(rotate_every),
    };
    if load.body < 96 {
        table.problem(
            "body",
            format!(
                "a body of {} bytes cannot hold the 64 characters that identify it: at least 96",
                load.body
            ),
        );
    }
    if matches!(load.into, "tail" | "exec") && load.connections > 1 {
        table.problem(
            "connections",
            "a file has one writer: connections must be 1 with tail and exec",
        );
    }
    if poisson_and_ramp(&load) {
        table.problem("ramp_to", "ramp_to goes with schedule = \"constant\" only");
    }
    table.finish();
    (into.is_some() && rate.is_some()).then_some(load)
}

fn poisson_and_ramp(load: &Load) -> bool {
    load.poisson && load.ramp_to.is_some()
}

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
    let written = table
        .parsed("drain_deadline", parse_duration)
        .unwrap_or(Duration::from_secs(20));
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
        drain_deadline: written.max(least),
        drain_raised: written < least,
    })
}

fn read_faults(root: &Reader<'_, '_>, phases: Option<&Phases>) -> Option<Vec<FaultPlan>> {
    let tables = root.tables("fault");
    let count = tables.len();
    let faults: Vec<FaultPlan> = tables
        .iter()
        .enumerate()
        .filter_map(|(index, table)| read_fault(table, index, phases))
        .collect();
    (faults.len() == count).then_some(faults)
}

fn read_fault(table: &Reader<'_, '_>, index: usize, phases: Option<&Phases>) -> Option<FaultPlan> {
    let names: Vec<&'static str> = fault::KINDS.iter().map(|kind| kind.name).collect();
    if table.raw("kind").is_none() {
        table.missing("kind", &format!("which fault ({})", names.join(", ")));
    }
    let name = table.word("kind", &names);
    let at = table.parsed("at", parse_duration);
    let when = table.text("when");
    let lasts = table.parsed("for", parse_duration);
    let every = table.parsed("every", parse_duration);
    if table.raw_of("for").is_none() {
        table.missing("for", "how long the fault lasts, such as for = \"8s\"");
    }
    let when = match (at, when) {
        (Some(at), None) => When::At(at),
        (None, Some(text)) => read_condition(table, &text)?,
        (Some(_), Some(_)) => {
            table.problem("when", "a fault has either `at` or `when`, not both");
            return None;
        }
        (None, None) if table.raw_of("at").is_none() => {
            table.missing("at", "when it strikes after the start of steady, such as at = \"10s\" (or when = \"channel.c1.fill > 0.8\")");
            return None;
        }
        _ => return None,
    };
    let (lasts, name) = (lasts?, name?);
    if let (Some(phases), When::At(at)) = (phases, &when)
        && *at + lasts > phases.steady
    {
        let message = format!(
            "the fault would end {} after the start of steady, which lasts {}: a fault must end within the load",
            show_duration(*at + lasts),
            show_duration(phases.steady)
        );
        table.problem(if *at >= phases.steady { "at" } else { "for" }, message);
        return None;
    }
    if every.is_some_and(|every| every <= lasts) {
        table.problem(
            "every",
            "a fault must have ended before it is repeated: every must be longer than for",
        );
        return None;
    }
    let own = own_settings(table)?;
    let kind = fault::KINDS.iter().find(|kind| kind.name == name)?;
    if let Err(error) = (kind.build)(own.clone()) {
        table.problem(
            &named_key(&error.to_string()).unwrap_or_else(|| "kind".into()),
            error.to_string(),
        );
        return None;
    }
    Some(FaultPlan {
        index,
        kind: kind.name,
        table: own,
        when,
        lasts,
        every,
        line: table.line(),
    })
}

/// The settings of the fault's own kind: all but those that every fault has.
fn own_settings(table: &Reader<'_, '_>) -> Option<toml::Table> {
    let mut own = toml::Table::new();
    for (key, _) in table.keys() {
        if !["kind", "at", "when", "for", "every"].contains(&key.as_str()) {
            let value = table.raw_of(&key)?.clone();
            own.insert(key, settings::plain(value.get_ref()));
        }
    }
    Some(own)
}

/// The first word in back-quotes of a serde message: the key it is about.
fn named_key(message: &str) -> Option<String> {
    message.split('`').nth(1).map(str::to_owned)
}

/// `channel.c1.fill > 0.8`
fn read_condition(table: &Reader<'_, '_>, text: &str) -> Option<When> {
    let parsed = text.split_once('>').and_then(|(left, right)| {
        let channel = left
            .trim()
            .strip_prefix("channel.")?
            .strip_suffix(".fill")?;
        let limit: f64 = right.trim().trim_start_matches('=').trim().parse().ok()?;
        Some(When::Observed {
            text: text.to_owned(),
            channel: channel.to_owned(),
            limit,
        })
    });
    if parsed.is_none() {
        table.problem(
            "when",
            format!("when = \"{text}\" is not understood: write \"channel.NAME.fill > 0.8\""),
        );
    }
    parsed
}

/// `[campaign]` is read by `campaign` itself; here only its keys are checked.
fn check_campaign(table: &Reader<'_, '_>) {
    for key in ["warm_up", "steady", "drain_deadline"] {
        table.parsed(key, parse_duration);
    }
    table.number("max_overlap", 1..=10);
    for menu in table.tables("menu") {
        let names: Vec<&'static str> = fault::KINDS.iter().map(|kind| kind.name).collect();
        menu.word("kind", &names);
    }
    table.finish();
}

/// Every key with its default, for people.
pub const DEFAULTS: &str = include_str!("../defaults.txt");
