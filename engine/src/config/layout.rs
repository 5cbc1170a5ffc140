//! From lines to components: which keys belong to which part of the agent.

use std::collections::{BTreeMap, BTreeSet};

use super::spelling::nearest;
use super::{Component, Findings, Place, Placed, Text};
use crate::properties;

/// What can stand behind the agent's name.
const SECTIONS: [&str; 5] = [
    "sources",
    "channels",
    "sinks",
    "sinkgroups",
    "configfilters",
];

/// One section of an agent, such as its sinks.
#[derive(Debug, Default)]
pub(super) struct Section {
    /// The value of the list key.
    pub(super) list: Option<Placed>,
    /// The components in the order in which they first occur.
    pub(super) components: Vec<Component>,
}

/// The keys of one agent.
#[derive(Debug)]
pub(super) struct Layout {
    sections: BTreeMap<&'static str, Section>,
    /// The place of the agent's first key.
    pub(super) place: Place,
}

impl Layout {
    /// The components of a section that are to be started, in the order of the list.
    pub(super) fn members(
        &self,
        section: &'static str,
        agent: &str,
        findings: &mut Findings,
    ) -> Vec<&Component> {
        let Some(Section { list, components }) = self.sections.get(section) else {
            return Vec::new();
        };
        let key = format!("{agent}.{section}");
        let Some(list) = list else {
            if self.is_without_lists() {
                return components.iter().collect();
            }
            for component in components {
                let message = format!(
                    "left out, because there is no list {key}; add {key} = {}",
                    component.name
                );
                findings.problem(component.place, &component.prefix, message, None);
            }
            return Vec::new();
        };
        let names = || components.iter().map(|component| component.name.as_str());
        let mut members: Vec<&Component> = Vec::new();
        for name in list.value.split_whitespace() {
            let found = components.iter().find(|component| component.name == name);
            match found {
                Some(component) if !members.iter().any(|member| member.name == name) => {
                    members.push(component)
                }
                Some(_) => {
                    findings.problem(list.place, &key, format!("{name} is listed twice"), None)
                }
                None => {
                    let message =
                        format!("{name} is listed, but nothing is configured under {key}.{name}");
                    findings.problem(list.place, &key, message, nearest(name, names()));
                }
            }
        }
        for component in components {
            if !members.iter().any(|member| member.name == component.name) {
                let message = format!("configured, but not in the list {key}; left out");
                findings.problem(component.place, &component.prefix, message, None);
            }
        }
        members
    }

    /// Whether the agent has none of the three lists.
    pub(super) fn is_without_lists(&self) -> bool {
        ["sources", "channels", "sinks"].iter().all(|section| {
            self.sections
                .get(section)
                .is_none_or(|section| section.list.is_none())
        })
    }
}

/// Reads all texts and finds the agent; `None` if it is in none of them.
pub(super) fn read(
    texts: &[Text],
    agent: &str,
    env: &dyn Fn(&str) -> Option<String>,
    findings: &mut Findings,
) -> Option<Layout> {
    let mut settings: BTreeMap<String, Placed> = BTreeMap::new();
    let mut order = Vec::new();
    for (file, text) in texts.iter().enumerate() {
        for (key, placed) in read_text(file, text, findings) {
            if !settings.contains_key(&key) {
                order.push(key.clone());
            }
            settings.insert(key, placed);
        }
    }
    let mut agents = BTreeSet::new();
    let mut layout = Layout {
        sections: BTreeMap::new(),
        place: Place::default(),
    };
    for key in &order {
        let Some(mut placed) = settings.get(key).cloned() else {
            continue;
        };
        let Some((first, rest)) = key.split_once('.') else {
            findings.problem(
                placed.place,
                key,
                "the agent's name is missing; write it in front, with a dot",
                None,
            );
            continue;
        };
        agents.insert(first);
        if first != agent {
            continue;
        }
        let substituted = properties::substitute(&placed.value, env);
        for complaint in substituted.complaints {
            findings.problem(placed.place, key, complaint, None);
        }
        placed.value = substituted.value.trim().to_owned();
        if layout.place.line == 0 {
            layout.place = placed.place;
        }
        layout.add(agent, key, rest, placed, findings);
    }
    if agents.contains(agent) {
        return Some(layout);
    }
    let known: Vec<&str> = agents.iter().copied().collect();
    let message = match known.as_slice() {
        [] => format!("there is no agent in it at all; its keys must begin with {agent}."),
        names => format!(
            "there is no agent {agent} in it; there is: {}",
            names.join(", ")
        ),
    };
    findings.problem(
        Place::default(),
        "",
        message,
        nearest(agent, known.iter().copied()),
    );
    None
}

impl Layout {
    /// Files one key under its component.
    fn add(&mut self, agent: &str, key: &str, rest: &str, placed: Placed, findings: &mut Findings) {
        let (word, property) = rest
            .split_once('.')
            .map_or((rest, None), |(word, rest)| (word, Some(rest)));
        let Some(section) = SECTIONS.iter().find(|section| **section == word) else {
            let message = format!(
                "{word} is no part of an agent; ignored (parts are {})",
                SECTIONS.join(", ")
            );
            findings.problem(placed.place, key, message, nearest(word, SECTIONS));
            return;
        };
        if placed.value.is_empty() {
            findings.problem(placed.place, key, "has no value; ignored", None);
            return;
        }
        let section = self.sections.entry(section).or_default();
        let Some(property) = property else {
            section.list = Some(placed);
            return;
        };
        let Some((name, property)) = property.split_once('.') else {
            let message =
                format!("names a component and no property of it; ignored (write {key}.type = …)");
            findings.problem(placed.place, key, message, None);
            return;
        };
        let position = section
            .components
            .iter()
            .position(|component| component.name == name);
        let position = position.unwrap_or_else(|| {
            section.components.push(Component {
                prefix: format!("{agent}.{word}.{name}"),
                name: name.to_owned(),
                settings: BTreeMap::new(),
                place: placed.place,
            });
            section.components.len() - 1
        });
        section.components[position]
            .settings
            .insert(property.to_owned(), placed);
    }
}

/// The keys of one text. A key that is repeated counts with its last value.
fn read_text(file: usize, text: &Text, findings: &mut Findings) -> Vec<(String, Placed)> {
    let (pairs, bad) = properties::parse(&text.bytes);
    for bad in bad {
        findings.problem(
            Place {
                file,
                line: bad.line,
            },
            "",
            format!("{}; the line is ignored", bad.message),
            None,
        );
    }
    let mut read: Vec<(String, Placed)> = Vec::with_capacity(pairs.len());
    let mut positions: BTreeMap<String, usize> = BTreeMap::new();
    for pair in pairs {
        let placed = Placed {
            value: pair.value.trim().to_owned(),
            place: Place {
                file,
                line: pair.line,
            },
        };
        let key = pair.key.trim().to_owned();
        let Some(position) = positions.get(&key) else {
            positions.insert(key.clone(), read.len());
            read.push((key, placed));
            continue;
        };
        let first = &mut read[*position].1;
        let line = first.place.line;
        if first.value == placed.value {
            findings.notice(placed.place, &key, format!("repeats line {line}"));
        } else {
            let message = format!(
                "replaces line {line}, which says {:?}; delete one of the two",
                first.value
            );
            findings.problem(placed.place, &key, message, None);
            *first = placed;
        }
    }
    read
}
