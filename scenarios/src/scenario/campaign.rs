//! `[campaign]`: the phases of a trial and the menu that its faults are drawn from.
//!
//! ```toml
//! [campaign]
//! warm_up = "1s"            # as in [phases], for every trial; each the scenario's own unless given
//! steady = "8s"
//! drain_deadline = "10s"
//! max_overlap = 2           # faults that hold at the same time, at most (1)
//! max_faults = 4            # faults of a trial, at most (4)
//! [[campaign.menu]]
//! kind = "cut_link"
//! links = ["agent->namenode", "agent->datanode1"]   # or targets, as for processes
//! how = ["drop", "reset"]   # a setting of the kind: one value, or a list to draw from
//! at = ["1s", "5s"]         # drawn between the two; one text is that instant
//! for = ["500ms", "3s"]
//! ```
//!
//! A fault ends within the load: where a drawn length would not fit behind a drawn instant, the
//! instant is drawn from what is left of its range.

use std::time::Duration;

use super::faults::{There, build};
use super::reader::{Reader, did_you_mean, unknown};
use super::{Phases, settings};
use crate::fault;
use crate::text::{parse_duration, show_duration};

/// `[campaign]`, checked.
#[derive(Debug, Clone)]
pub struct Campaign {
    /// The phases of each trial.
    pub phases: Phases,
    /// How many faults may hold at the same time.
    pub max_overlap: usize,
    /// How many faults a trial has at most.
    pub max_faults: usize,
    /// What may strike; never empty.
    pub menu: Vec<MenuItem>,
}

/// One `[[campaign.menu]]`.
#[derive(Debug, Clone)]
pub struct MenuItem {
    /// The kind of fault.
    pub kind: &'static str,
    /// The key of the kind that names what it acts on: `link` or `target`.
    pub acts_on: &'static str,
    /// The links or targets to draw from; never empty.
    pub targets: Vec<String>,
    /// Earliest and latest instant after the start of steady.
    pub at: (Duration, Duration),
    /// Shortest and longest time it holds.
    pub lasts: (Duration, Duration),
    /// The kind's other settings, each with the values to draw from.
    pub settings: Vec<(String, Vec<toml::Value>)>,
}

impl MenuItem {
    /// One line for people: `cut_link agent->datanode1 (how drop or reset), at 1s to 6s for 500ms to 3s`.
    pub fn describe(&self) -> String {
        let value = |value: &toml::Value| match value.as_str() {
            Some(text) => text.to_owned(),
            None => value.to_string(),
        };
        let settings: Vec<String> = self
            .settings
            .iter()
            .map(|(key, values)| {
                let values: Vec<String> = values.iter().map(value).collect();
                format!("{key} {}", values.join(" or "))
            })
            .collect();
        let settings = match settings.is_empty() {
            true => String::new(),
            false => format!(" ({})", settings.join(", ")),
        };
        let range = |(from, to): (Duration, Duration)| match from == to {
            true => show_duration(from),
            false => format!("{} to {}", show_duration(from), show_duration(to)),
        };
        format!(
            "{} {}{settings}, at {} for {}",
            self.kind,
            self.targets.join(" or "),
            range(self.at),
            range(self.lasts)
        )
    }
}

/// The keys of a menu's entry beside those of the kind.
const OF_ALL: [&str; 5] = ["at", "for", "kind", "links", "targets"];

/// Reads the section; `None` where it is absent or wrong, and what is wrong has been said.
pub(super) fn read(
    table: &Reader<'_, '_>,
    own: Option<&Phases>,
    quiet: Duration,
    there: &There,
) -> Option<Campaign> {
    let phases = read_phases(table, own, quiet);
    let max_overlap = table.number("max_overlap", 1..=10).unwrap_or(1) as usize;
    let max_faults = table.number("max_faults", 1..=20).unwrap_or(4) as usize;
    let items = table.tables("menu");
    let steady = phases.map(|phases| phases.steady);
    let menu: Vec<Option<MenuItem>> = items
        .iter()
        .map(|item| read_item(item, steady, there))
        .collect();
    table.finish();
    if !table.is_present() {
        return None;
    }
    if items.is_empty()
        && table
            .raw("menu")
            .is_none_or(|menu| menu.get_ref().is_array())
    {
        table.problem_here(
            "[campaign] has a fault menu without faults: write at least one [[campaign.menu]] with kind, targets (or links), at and for",
        );
        return None;
    }
    Some(Campaign {
        phases: phases?,
        max_overlap,
        max_faults,
        menu: menu.into_iter().collect::<Option<Vec<_>>>()?,
    })
}

fn read_phases(table: &Reader<'_, '_>, own: Option<&Phases>, quiet: Duration) -> Option<Phases> {
    let warm_up = table.parsed("warm_up", parse_duration);
    let steady = table.parsed("steady", parse_duration);
    let written = table.parsed("drain_deadline", parse_duration);
    let own = own?;
    let steady = steady.unwrap_or(own.steady);
    if steady.is_zero() {
        table.problem("steady", "steady must be longer than 0");
        return None;
    }
    let least = quiet + Duration::from_secs(5);
    let deadline = written.unwrap_or(own.drain_deadline);
    Some(Phases {
        warm_up: warm_up.unwrap_or(own.warm_up),
        steady,
        drain_deadline: deadline.max(least),
        drain_raised: deadline < least,
    })
}

fn read_item(table: &Reader<'_, '_>, steady: Option<Duration>, there: &There) -> Option<MenuItem> {
    let names: Vec<&'static str> = fault::KINDS.iter().map(|kind| kind.name).collect();
    if table.raw("kind").is_none() {
        table.missing("kind", &format!("which fault ({})", names.join(", ")));
    }
    let name = table.word("kind", &names);
    let at = read_range(table, "at", "when it may strike after the start of steady");
    let lasts = read_range(table, "for", "how long it may last");
    if let (Some(at), Some(lasts)) = (at, lasts) {
        check_times(table, at, lasts, steady);
    }
    for key in ["when", "every"] {
        if table.raw(key).is_some() {
            let message = format!(
                "a campaign draws its instants: {key} has no meaning in a menu, leave it out"
            );
            table.problem(key, message);
        }
    }
    let kind = fault::KINDS.iter().find(|kind| Some(kind.name) == name)?;
    let acts_on = acts_on(kind);
    let targets = read_targets(table, acts_on, there);
    let settings = read_settings(table, kind, acts_on, targets.as_deref());
    Some(MenuItem {
        kind: kind.name,
        acts_on,
        targets: targets?,
        at: at?,
        lasts: lasts?,
        settings: settings?,
    })
}

/// The key of a kind that names what it acts on.
fn acts_on(kind: &fault::Kind) -> &'static str {
    if kind.settings.iter().any(|(name, _)| *name == "link") {
        "link"
    } else {
        "target"
    }
}

/// `["1s", "6s"]`, or one text where there is nothing to draw.
fn read_range(
    table: &Reader<'_, '_>,
    key: &'static str,
    what: &str,
) -> Option<(Duration, Duration)> {
    let Some(raw) = table.raw(key) else {
        table.missing(key, &format!("{what}, such as {key} = [\"1s\", \"6s\"]"));
        return None;
    };
    if !raw.get_ref().is_array() {
        return table.parsed(key, parse_duration).map(|one| (one, one));
    }
    let texts = table.texts(key)?;
    let [from, to] = texts.as_slice() else {
        table.problem(
            key,
            format!(
                "{key} must be two durations, the least and the most, such as [\"1s\", \"6s\"]"
            ),
        );
        return None;
    };
    let parse = |text: &str| {
        parse_duration(text)
            .map_err(|error| table.problem(key, format!("{key}: {error}")))
            .ok()
    };
    let (from, to) = (parse(from), parse(to));
    let (from, to) = (from?, to?);
    if from > to {
        let message = format!(
            "{key} = [\"{}\", \"{}\"] holds nothing: the least stands first",
            show_duration(from),
            show_duration(to)
        );
        table.problem(key, message);
        return None;
    }
    Some((from, to))
}

fn check_times(
    table: &Reader<'_, '_>,
    at: (Duration, Duration),
    lasts: (Duration, Duration),
    steady: Option<Duration>,
) {
    if lasts.0.is_zero() {
        table.problem("for", "a fault must last longer than 0");
    }
    let Some(steady) = steady else { return };
    if at.1 >= steady {
        let message = format!(
            "a fault could strike {} after the start of steady, which lasts {}: at must end before that",
            show_duration(at.1),
            show_duration(steady)
        );
        table.problem("at", message);
    } else if at.0 + lasts.1 > steady {
        let message = format!(
            "a fault of {} does not fit into steady, which lasts {}, even at its earliest, {}: shorten `for` or lengthen steady",
            show_duration(lasts.1),
            show_duration(steady),
            show_duration(at.0)
        );
        table.problem("for", message);
    }
}

fn read_targets(table: &Reader<'_, '_>, acts_on: &str, there: &There) -> Option<Vec<String>> {
    let key = match (table.raw("targets"), table.raw("links")) {
        (Some(_), Some(_)) => {
            table.problem(
                "links",
                "an entry has either `targets` or `links`, not both",
            );
            return None;
        }
        (None, Some(_)) if acts_on == "target" => {
            table.problem(
                "links",
                "this kind acts on processes: write targets = [\"agent\"]",
            );
            return None;
        }
        (None, Some(_)) => "links",
        (Some(_), None) => "targets",
        (None, None) => {
            let example = if acts_on == "link" {
                "links = [\"agent->namenode\"]"
            } else {
                "targets = [\"agent\"]"
            };
            table.missing("targets", &format!("what it may act on, such as {example}"));
            return None;
        }
    };
    let names = table.texts(key)?;
    if names.is_empty() {
        table.problem(key, format!("{key} names nothing to act on"));
        return None;
    }
    let known = there.names(acts_on);
    let mut right = true;
    for (i, name) in names.iter().enumerate() {
        if names[..i].contains(name) {
            table.problem(key, format!("{key} names \"{name}\" twice"));
            right = false;
        }
        if let Some(known) = known
            && !known.contains(name)
        {
            let message = unknown(acts_on, name, known.iter().map(String::as_str));
            table.problem(key, message);
            right = false;
        }
    }
    right.then_some(names)
}

/// The kind's own settings; each value is tried with the first values of the others.
fn read_settings(
    table: &Reader<'_, '_>,
    kind: &'static fault::Kind,
    acts_on: &str,
    targets: Option<&[String]>,
) -> Option<Vec<(String, Vec<toml::Value>)>> {
    let mut read = Vec::new();
    let mut right = true;
    let known: Vec<&'static str> = kind
        .settings
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| *name != acts_on)
        .collect();
    for (key, _) in table.keys() {
        if OF_ALL.contains(&key.as_str()) || ["when", "every"].contains(&key.as_str()) {
            continue;
        }
        if !known.contains(&key.as_str()) {
            let allowed: Vec<&str> = known.iter().copied().chain(OF_ALL).collect();
            let hint = did_you_mean(&key, allowed.iter().copied());
            let message = format!(
                "a menu of kind {} has no key `{key}`{hint} (allowed: {})",
                kind.name,
                allowed.join(", ")
            );
            table.problem(&key, message);
            right = false;
            continue;
        }
        let value = table.raw_of(&key).map(|raw| settings::plain(raw.get_ref()));
        let values = match value {
            Some(toml::Value::Array(values)) => values,
            Some(value) => vec![value],
            None => continue,
        };
        if values.is_empty() {
            table.problem(&key, format!("{key} has nothing to draw from"));
            right = false;
            continue;
        }
        read.push((key, values));
    }
    let first_target = targets.and_then(|targets| targets.first());
    let target = first_target.map_or_else(|| "agent".to_owned(), Clone::clone);
    let firsts: toml::Table = read
        .iter()
        .map(|(key, values)| (key.clone(), values[0].clone()))
        .chain([(acts_on.to_owned(), toml::Value::String(target))])
        .collect();
    right = right && build(table, kind, &firsts);
    for (key, values) in &read {
        for value in values.iter().skip(1) {
            let mut own = firsts.clone();
            own.insert(key.clone(), value.clone());
            right = right && build(table, kind, &own);
        }
    }
    right.then_some(read)
}
