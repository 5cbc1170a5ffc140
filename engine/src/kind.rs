//! What a kind of component says about itself: its names, its keys, how it is built.
//!
//! One `static KIND` per component file, one line in the parent's sorted table. The configuration
//! check reads the keys (unknown ones, missing ones, wrong numbers) before it builds anything; the
//! command line prints them.

use crate::context::{ConfigError, Context};

/// A kind of component; `B` is what building one yields.
#[derive(Debug)]
pub struct Kind<B> {
    /// The `type`, as Flume spells it; compared without regard to case.
    pub name: &'static str,
    /// Full class names under which Flume knows it, accepted as `type` as well.
    pub classes: &'static [&'static str],
    /// One sentence.
    pub summary: &'static str,
    /// All keys it understands besides `type`, `channel(s)`, `interceptors…` and `selector…`.
    pub keys: &'static [Key],
    /// The key that holds the events per transaction, compared with `transactionCapacity`.
    pub batch_key: Option<&'static str>,
    /// The smallest working settings, one `key = value` a line, without the component's prefix.
    pub example: &'static str,
    /// Builds the component from its settings. Starts nothing: no port, no file, no thread; that
    /// is what `open` is for, so a configuration can be checked by building all of it.
    pub build: fn(&Context) -> Result<B, ConfigError>,
}

impl<B> Kind<B> {
    /// Whether `text` is one of this kind's names.
    #[must_use]
    pub fn is_named(&self, text: &str) -> bool {
        self.name.eq_ignore_ascii_case(text) || self.classes.contains(&text)
    }

    /// The key that stands for `name`, which may be a pattern such as `filegroups.*`.
    #[must_use]
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.matches(name))
    }
}

/// The kind in `table` that is called `text`.
#[must_use]
pub fn named<'t, B>(table: &[&'t Kind<B>], text: &str) -> Option<&'t Kind<B>> {
    table.iter().find(|kind| kind.is_named(text)).copied()
}

/// A key that a component understands.
#[derive(Debug)]
pub struct Key {
    /// Its name without the component's prefix; one ending in `.*` stands for all that begin so.
    pub name: &'static str,
    /// What its value looks like.
    pub form: Form,
    /// Whether the component cannot do without it.
    pub required: bool,
    /// The value that holds where it is not given; `None` if there is none, or if it is computed.
    pub default: Option<&'static str>,
    /// A sentence with the unit.
    pub doc: &'static str,
    /// Whether it does anything here.
    pub support: Support,
}

impl Key {
    /// A key that may be left out and has no default.
    #[must_use]
    pub const fn optional(name: &'static str, form: Form, doc: &'static str) -> Self {
        Self {
            name,
            form,
            required: false,
            default: None,
            doc,
            support: Support::Full,
        }
    }

    /// A key with a default.
    #[must_use]
    pub const fn or(
        name: &'static str,
        form: Form,
        default: &'static str,
        doc: &'static str,
    ) -> Self {
        Self {
            name,
            form,
            required: false,
            default: Some(default),
            doc,
            support: Support::Full,
        }
    }

    /// A key that has to be there.
    #[must_use]
    pub const fn required(name: &'static str, form: Form, doc: &'static str) -> Self {
        Self {
            name,
            form,
            required: true,
            default: None,
            doc,
            support: Support::Full,
        }
    }

    /// A key of Flume's that is accepted, does nothing here and harms nothing by that (a notice).
    #[must_use]
    pub const fn ignored(name: &'static str, why: &'static str) -> Self {
        Self {
            name,
            form: Form::Text,
            required: false,
            default: None,
            doc: why,
            support: Support::Ignored,
        }
    }

    /// A key of Flume's that is not offered, where going without it changes what the user gets (a
    /// warning, unless its value is `harmless`).
    #[must_use]
    pub const fn missing(
        name: &'static str,
        harmless: Option<&'static str>,
        why: &'static str,
    ) -> Self {
        Self {
            name,
            form: Form::Text,
            required: false,
            default: harmless,
            doc: why,
            support: Support::Missing,
        }
    }

    /// Whether `name` is this key, or falls under its pattern.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        match self.name.strip_suffix('*') {
            Some(prefix) => name.len() > prefix.len() && name.starts_with(prefix),
            None => self.name == name,
        }
    }
}

/// Whether a key does anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// It does what Flume's does, or what its sentence says.
    Full,
    /// Accepted without effect and without harm.
    Ignored,
    /// Not offered.
    Missing,
}

/// The shape of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Any text.
    Text,
    /// Words separated by white space.
    List,
    /// `true` or `false` (Flume takes any other word for false).
    Flag,
    /// A whole number within these bounds.
    Number(i64, i64),
    /// A TCP or UDP port; 0 lets the system choose.
    Port,
    /// One of these words, without regard to case.
    Choice(&'static [&'static str]),
}

impl Form {
    /// A number of at least 0.
    pub const COUNT: Form = Form::Number(0, i64::MAX);
    /// A number of at least 1.
    pub const POSITIVE: Form = Form::Number(1, i64::MAX);

    /// What is wrong with `value`, if anything.
    #[must_use]
    pub fn objection(self, value: &str) -> Option<String> {
        match self {
            Form::Text | Form::List => None,
            Form::Flag => (!value.eq_ignore_ascii_case("true")
                && !value.eq_ignore_ascii_case("false"))
            .then(|| format!("{value:?} is neither true nor false, and counts as false")),
            Form::Number(low, high) => number(value, low, high),
            Form::Port => number(value, 0, 65535),
            Form::Choice(words) => (!words.iter().any(|word| word.eq_ignore_ascii_case(value)))
                .then(|| format!("{value:?} is none of {}", words.join(", "))),
        }
    }
}

fn number(value: &str, low: i64, high: i64) -> Option<String> {
    match value.parse::<i64>() {
        Err(_) => Some(format!("{value:?} is not a whole number")),
        Ok(number) if number < low => Some(format!("{number} is less than {low}")),
        Ok(number) if number > high => Some(format!("{number} is more than {high}")),
        Ok(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_object_to_what_they_cannot_be() {
        assert_eq!(Form::Port.objection("41414"), None);
        assert!(
            Form::Port
                .objection("70000")
                .is_some_and(|text| text.contains("65535"))
        );
        assert!(Form::POSITIVE.objection("0").is_some());
        assert!(
            Form::COUNT
                .objection("1e3")
                .is_some_and(|text| text.contains("whole number"))
        );
        assert_eq!(Form::Flag.objection("TRUE"), None);
        assert!(Form::Flag.objection("yes").is_some());
        assert!(
            Form::Choice(&["a", "b"])
                .objection("c")
                .is_some_and(|text| text.contains("a, b"))
        );
    }

    #[test]
    fn patterns_cover_what_follows_their_dot() {
        let key = Key::optional("filegroups.*", Form::Text, "");
        assert!(
            key.matches("filegroups.f1")
                && !key.matches("filegroups.")
                && !key.matches("filegroups")
        );
    }
}
