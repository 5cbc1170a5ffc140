//! `[[fault]]`: what strikes, when, for how long.

use std::time::Duration;

use super::reader::{Reader, did_you_mean, nearest, unknown};
use super::{FaultPlan, Load, Phases, When, settings};
use crate::fault;
use crate::store::Store;
use crate::sut::Driver;
use crate::text::{parse_duration, show_duration};

/// The keys that every fault has.
const OF_ALL: [&str; 5] = ["kind", "at", "when", "for", "every"];

/// What there is for a fault to act on; `None` where the section that decides it is wrong itself.
#[derive(Debug)]
pub(super) struct There {
    links: Option<Vec<String>>,
    targets: Option<Vec<String>>,
    has_metrics: bool,
}

impl There {
    pub(super) fn new(
        driver: Option<&dyn Driver>,
        load: Option<&Load>,
        store: Option<&dyn Store>,
    ) -> Self {
        let links = load.zip(store).map(|(load, store)| {
            let mut links = store.links();
            if matches!(load.into, "avro" | "netcat") {
                links.push("generator->agent".to_owned());
            }
            links
        });
        let targets = store.map(|store| {
            let mut targets = store.nodes();
            targets.push("agent".to_owned());
            targets
        });
        Self {
            links,
            targets,
            has_metrics: driver.is_none_or(Driver::has_metrics),
        }
    }

    /// What the key `link` or `target` may name; `None` where that is not known.
    pub(super) fn names(&self, key: &str) -> Option<&[String]> {
        match key {
            "link" => self.links.as_deref(),
            _ => self.targets.as_deref(),
        }
    }
}

/// Reads every fault; those that are wrong are left out.
pub(super) fn read(
    root: &Reader<'_, '_>,
    phases: Option<&Phases>,
    there: &There,
) -> Vec<FaultPlan> {
    root.tables("fault")
        .iter()
        .enumerate()
        .filter_map(|(index, table)| read_fault(table, index, phases, there))
        .collect()
}

fn read_fault(
    table: &Reader<'_, '_>,
    index: usize,
    phases: Option<&Phases>,
    there: &There,
) -> Option<FaultPlan> {
    let names: Vec<&'static str> = fault::KINDS.iter().map(|kind| kind.name).collect();
    if table.raw("kind").is_none() {
        table.missing("kind", &format!("which fault ({})", names.join(", ")));
    }
    let name = table.word("kind", &names);
    let when = read_when(table, there);
    let lasts = table.parsed("for", parse_duration);
    let every = table.parsed("every", parse_duration);
    if table.raw("for").is_none() {
        table.missing("for", "how long the fault lasts, such as for = \"8s\"");
    }
    if let Some(lasts) = lasts {
        check_times(table, when.as_ref(), lasts, every, phases);
    }
    let kind = fault::KINDS.iter().find(|kind| Some(kind.name) == name)?;
    let own = own_settings(table);
    let built = build(table, kind, &own);
    check_names(table, "link", there.links.as_deref(), &own);
    check_names(table, "target", there.targets.as_deref(), &own);
    built.then_some(())?;
    Some(FaultPlan {
        index,
        kind: kind.name,
        table: own,
        when: when?,
        lasts: lasts?,
        every,
    })
}

fn read_when(table: &Reader<'_, '_>, there: &There) -> Option<When> {
    let at = table.parsed("at", parse_duration);
    let when = table.text("when");
    match (table.raw("at"), table.raw("when")) {
        (Some(_), Some(_)) => {
            table.problem("when", "a fault has either `at` or `when`, not both");
            None
        }
        (None, None) => {
            table.missing("at", "when it strikes after the start of steady, such as at = \"10s\" (or when = \"channel.c1.fill > 0.8\")");
            None
        }
        (Some(_), None) => at.map(When::At),
        (None, Some(_)) => read_condition(table, &when?, there),
    }
}

/// `channel.c1.fill > 0.8`
fn read_condition(table: &Reader<'_, '_>, text: &str, there: &There) -> Option<When> {
    let parsed = text.split_once('>').and_then(|(left, right)| {
        let channel = left
            .trim()
            .strip_prefix("channel.")?
            .strip_suffix(".fill")?;
        let limit: f64 = right.trim().trim_start_matches('=').trim().parse().ok()?;
        Some((channel.to_owned(), limit))
    });
    let Some((channel, limit)) = parsed else {
        table.problem(
            "when",
            format!("when = \"{text}\" is not understood: write \"channel.NAME.fill > 0.8\""),
        );
        return None;
    };
    if !(0.0..1.0).contains(&limit) {
        table.problem(
            "when",
            format!("when = \"{text}\" never comes true: a fill goes from 0 to 1"),
        );
        return None;
    }
    if !there.has_metrics {
        table.problem(
            "when",
            "this driver serves no metrics, so nobody sees how full a channel is: write at = \"…\"",
        );
        return None;
    }
    Some(When::Observed {
        text: text.to_owned(),
        channel,
        limit,
    })
}

fn check_times(
    table: &Reader<'_, '_>,
    when: Option<&When>,
    lasts: Duration,
    every: Option<Duration>,
    phases: Option<&Phases>,
) {
    if lasts.is_zero() {
        table.problem("for", "a fault must last longer than 0");
    }
    if let (Some(phases), Some(When::At(at))) = (phases, when)
        && *at + lasts > phases.steady
    {
        let message = format!(
            "the fault would end {} after the start of steady, which lasts {}: a fault must end within the load",
            show_duration(*at + lasts),
            show_duration(phases.steady)
        );
        table.problem(if *at >= phases.steady { "at" } else { "for" }, message);
    }
    if every.is_some_and(|every| every <= lasts) {
        table.problem(
            "every",
            "a fault must have ended before it is repeated: every must be longer than for",
        );
    }
}

/// The settings of the fault's own kind: all but those that every fault has.
fn own_settings(table: &Reader<'_, '_>) -> toml::Table {
    let mut own = toml::Table::new();
    for (key, _) in table.keys() {
        if !OF_ALL.contains(&key.as_str())
            && let Some(value) = table.raw_of(&key)
        {
            own.insert(key, settings::plain(value.get_ref()));
        }
    }
    own
}

/// Whether the kind can be made from its own settings.
pub(super) fn build(table: &Reader<'_, '_>, kind: &fault::Kind, own: &toml::Table) -> bool {
    let known: Vec<&str> = kind.settings.iter().map(|(name, _)| *name).collect();
    let unknown: Vec<&String> = own
        .keys()
        .filter(|key| !known.contains(&key.as_str()))
        .collect();
    for key in &unknown {
        let allowed: Vec<&str> = known.iter().copied().chain(OF_ALL).collect();
        let hint = did_you_mean(key, allowed.iter().copied());
        let message = format!(
            "a fault of kind {} has no key `{key}`{hint} (allowed: {})",
            kind.name,
            allowed.join(", ")
        );
        table.problem(key, message);
    }
    let mut rest = own.clone();
    rest.retain(|key, _| known.contains(&key));
    let Err(error) = (kind.build)(rest) else {
        return unknown.is_empty();
    };
    let message = error.to_string();
    let quoted: Vec<&str> = message.split(['`', '"']).skip(1).step_by(2).collect();
    let Some(key) = key_of(own, &quoted) else {
        let missing = quoted
            .first()
            .filter(|_| message.starts_with("missing field"));
        let meaning = missing.and_then(|key| kind.settings.iter().find(|(name, _)| name == key));
        match meaning {
            // What is missing may be what was misspelt, and that has been said.
            _ if !unknown.is_empty() => {}
            Some((key, meaning)) => table.missing(key, meaning),
            None => table.problem_here(format!("fault of kind {}: {message}", kind.name)),
        }
        return false;
    };
    let words = quoted.get(1..).unwrap_or_default().iter().copied();
    let hint = match quoted.first().and_then(|word| nearest(word, words)) {
        Some(word) if message.starts_with("unknown variant") => {
            format!("; did you mean \"{word}\"?")
        }
        _ => String::new(),
    };
    table.problem(&key, format!("{key}: {message}{hint}"));
    false
}

/// The key that a message is about: it quotes either its name or its value.
fn key_of(own: &toml::Table, quoted: &[&str]) -> Option<String> {
    let first = quoted.first()?;
    let is_value = |value: &toml::Value| match value.as_str() {
        Some(text) => text == *first,
        None => value.to_string() == *first,
    };
    let by_value = own.iter().find(|(_, value)| is_value(value));
    let by_name = || own.iter().find(|(key, _)| quoted.contains(&key.as_str()));
    by_value.or_else(by_name).map(|(key, _)| key.clone())
}

fn check_names(table: &Reader<'_, '_>, key: &str, there: Option<&[String]>, own: &toml::Table) {
    let name = own.get(key).and_then(|value| value.as_str());
    if let (Some(name), Some(there)) = (name, there)
        && !there.iter().any(|known| known == name)
    {
        table.problem(key, unknown(key, name, there.iter().map(String::as_str)));
    }
}
