//! The settings of one component, held against the keys of its kind.

use std::collections::BTreeMap;

use super::Assembler;
use crate::channel::ArcChannel;
use crate::config::spelling::nearest;
use crate::config::{Component, Placed};
use crate::context::{Context, Setting};
use crate::kind::{Form, Key, Support};

/// What becomes of a setting.
enum Fate {
    /// The component sees it.
    Kept,
    /// The component goes without it, so the default holds.
    Dropped,
    /// The component cannot go on.
    Fatal,
}

impl Assembler<'_> {
    /// Checks the keys; answers the settings unless one of them keeps the component from working.
    pub(super) fn settings(
        &mut self,
        component: &Component,
        what: &str,
        keys: &'static [Key],
        frame: &[&str],
    ) -> Option<Context> {
        let mut settings = BTreeMap::new();
        let mut valid = true;
        for (name, placed) in &component.settings {
            let fate = match keys.iter().find(|key| key.matches(name)) {
                Some(key) => self.setting(component, name, placed, key),
                None => {
                    self.not_of_kind(component, name, what, keys, frame);
                    Fate::Kept
                }
            };
            match fate {
                Fate::Kept => {
                    let setting = Setting {
                        value: placed.value.clone(),
                        line: placed.place.line,
                    };
                    settings.insert(name.clone(), setting);
                }
                Fate::Dropped => {}
                Fate::Fatal => valid = false,
            }
        }
        for key in keys.iter().filter(|key| key.required) {
            if !component.settings.keys().any(|name| key.matches(name)) {
                let message = format!("required by {what}, which is left out; add it. {}", key.doc);
                self.findings
                    .problem(component.place, &component.full(key.name), message, None);
                valid = false;
            }
        }
        valid.then(|| {
            Context::new(
                self.agent,
                &component.name,
                settings,
                self.surroundings.clone(),
            )
        })
    }

    /// A key that the kind does not have: it belongs to the frame around it, or nothing knows it.
    fn not_of_kind(
        &mut self,
        component: &Component,
        name: &str,
        what: &str,
        keys: &'static [Key],
        frame: &[&str],
    ) {
        let framed = frame.iter().any(|frame| match frame.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => *frame == name,
        });
        if !framed {
            let candidates = keys.iter().map(|key| key.name).chain(frame.iter().copied());
            let suggestion = nearest(name, candidates.filter(|name| !name.ends_with('*')));
            self.findings.problem(
                component.place_of(name),
                &component.full(name),
                format!("unknown key of {what}; ignored"),
                suggestion,
            );
        }
    }

    /// A key that the kind has, though this agent may not offer it.
    fn setting(&mut self, component: &Component, name: &str, placed: &Placed, key: &Key) -> Fate {
        let full = component.full(name);
        match key.support {
            Support::Ignored => {
                self.findings
                    .notice(placed.place, &full, format!("ignored: {}", key.doc));
                Fate::Kept
            }
            Support::Missing => {
                let harmless = key
                    .default
                    .is_some_and(|harmless| harmless.eq_ignore_ascii_case(&placed.value));
                if !harmless {
                    let message = format!("not offered here, ignored: {}", key.doc);
                    self.findings.problem(placed.place, &full, message, None);
                }
                Fate::Kept
            }
            Support::Full => self.value(component, name, key, &placed.value),
        }
    }

    /// Checks one value.
    fn value(&mut self, component: &Component, name: &str, key: &Key, value: &str) -> Fate {
        let Some(objection) = key.form.objection(value) else {
            return Fate::Kept;
        };
        let (place, full) = (component.place_of(name), component.full(name));
        let too_small =
            matches!(key.form, Form::Number(low, _) if value.parse::<i64>().is_ok_and(|n| n < low));
        match (key.form, key.default) {
            (Form::Flag, _) => {
                self.findings.problem(place, &full, objection, None);
                Fate::Kept
            }
            (Form::Number(..), Some(default)) if too_small => {
                self.findings.problem(
                    place,
                    &full,
                    format!("{objection}, so the default {default} holds"),
                    None,
                );
                Fate::Dropped
            }
            (form, _) => {
                let suggestion = match form {
                    Form::Choice(words) => nearest(value, words.iter().copied()),
                    _ => None,
                };
                let message = format!("{objection}; {} is left out", component.prefix);
                self.findings.problem(place, &full, message, suggestion);
                Fate::Fatal
            }
        }
    }

    /// Flume leaves out a component whose batch is larger than a transaction of its channel.
    pub(super) fn check_batch(
        &mut self,
        component: &Component,
        batch_key: Option<&str>,
        keys: &[Key],
        ctx: &Context,
        channels: &[ArcChannel],
    ) -> Option<()> {
        let Some(name) = batch_key else {
            return Some(());
        };
        let default = keys
            .iter()
            .find(|key| key.name == name)
            .and_then(|key| key.default);
        let Some(batch) = ctx
            .get(name)
            .or(default)
            .and_then(|text| text.parse::<usize>().ok())
        else {
            return Some(());
        };
        let mut fits = true;
        for channel in channels {
            let limit = channel.transaction_capacity();
            if batch > limit {
                let default = if ctx.get(name).is_none() {
                    " (the default)"
                } else {
                    ""
                };
                let message = format!(
                    "{batch}{default} is more than transactionCapacity {limit} of channel {}; {} is left out. \
                     Lower it, or raise {}.channels.{}.transactionCapacity",
                    channel.name(),
                    component.prefix,
                    self.agent,
                    channel.name(),
                );
                self.findings.problem(
                    component.place_of(name),
                    &component.full(name),
                    message,
                    None,
                );
                fits = false;
            }
        }
        fits.then_some(())
    }
}
