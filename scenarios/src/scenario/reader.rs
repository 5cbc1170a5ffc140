//! Reads a TOML table key by key and keeps every problem, each with its line.
//!
//! serde stops at the first mistake; a person who wrote three wants to hear of three. So each
//! section asks for its keys one after the other; what nobody asked for is an unknown key, and the
//! nearest of those that were asked for is offered.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One thing that is wrong with the input, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file; `None` for the command line or the machine.
    pub file: Option<PathBuf>,
    /// 1-based line; 0 when the problem is about the file as a whole.
    pub line: usize,
    /// What is wrong and what is allowed.
    pub message: String,
    /// What to do about it, if there is something to say beyond the message.
    pub remedy: Option<String>,
}

impl Problem {
    /// A problem of the machine or the command line, which has no place in a file.
    pub fn of_machine(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            file: None,
            line: 0,
            message: message.into(),
            remedy: Some(remedy.into()),
        }
    }

    /// A problem at a place.
    pub fn at(file: &Path, line: usize, message: impl Into<String>) -> Self {
        Self {
            file: Some(file.to_owned()),
            line,
            message: message.into(),
            remedy: None,
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line) {
            (Some(file), 0) => write!(f, "{}: ", file.display())?,
            (Some(file), line) => write!(f, "{}:{line}: ", file.display())?,
            (None, _) => {}
        }
        write!(f, "{}", self.message)?;
        if let Some(remedy) = &self.remedy {
            write!(f, "\n    {remedy}")?;
        }
        Ok(())
    }
}

/// The nearest of `allowed` to `written`, when it is near enough to be a slip of the pen, or one
/// begins with the other (`slow` for `slow_link`).
pub fn nearest<'a>(written: &str, allowed: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written = written.to_lowercase();
    allowed
        .into_iter()
        .map(|word| {
            let other = word.to_lowercase();
            let (short, long) = if other.len() < written.len() {
                (&other, &written)
            } else {
                (&written, &other)
            };
            let distance = if short.len() >= 3 && long.starts_with(short.as_str()) {
                1
            } else {
                strsim::damerau_levenshtein(&written, &other)
            };
            (distance, word)
        })
        .filter(|(distance, word)| *distance <= 1 + word.len().max(written.len()) / 4)
        .min()
        .map(|(_, word)| word)
}

/// `; did you mean …?` for a key, or nothing.
pub fn did_you_mean<'a>(written: &str, allowed: impl IntoIterator<Item = &'a str>) -> String {
    nearest(written, allowed)
        .map(|word| format!("; did you mean `{word}`?"))
        .unwrap_or_default()
}

/// Where a line of a scenario comes from, once the command line has changed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The file, at this 1-based line.
    Line(usize),
    /// The command line, by these words.
    Words(String),
}

/// A file of TOML with the problems found in it so far.
#[derive(Debug)]
pub struct Source<'a> {
    path: &'a Path,
    text: &'a str,
    /// Where each line comes from; empty: all from the file, as they stand.
    origins: &'a [Origin],
    /// Whether the files that are named must be there.
    wants_files: bool,
    problems: RefCell<Vec<Problem>>,
}

impl<'a> Source<'a> {
    /// A source without problems yet.
    pub fn new(path: &'a Path, text: &'a str) -> Self {
        Self {
            path,
            text,
            origins: &[],
            wants_files: true,
            problems: RefCell::new(Vec::new()),
        }
    }

    /// Says where each line comes from, so that problems name the place a person wrote at.
    #[must_use]
    pub fn with_origins(mut self, origins: &'a [Origin]) -> Self {
        self.origins = origins;
        self
    }

    /// Does not look for the files that are named: the run they were for is over.
    #[must_use]
    pub fn without_files(mut self) -> Self {
        self.wants_files = false;
        self
    }

    /// Whether the files that are named must be there.
    pub fn wants_files(&self) -> bool {
        self.wants_files
    }

    /// Parses the text; every syntax error becomes a problem.
    pub fn parse(&self) -> Option<DeTable<'a>> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            self.problem_at(error.span().unwrap_or(0..0), error.message().to_owned());
        }
        errors.is_empty().then(|| table.into_inner())
    }

    /// 1-based line of a byte position.
    pub fn line(&self, position: usize) -> usize {
        1 + self.text.as_bytes()[..position.min(self.text.len())]
            .iter()
            .filter(|b| **b == b'\n')
            .count()
    }

    /// Notes a problem at a span.
    pub fn problem_at(&self, span: Range<usize>, message: impl Into<String>) {
        let problem = self.placed(&span, message);
        self.problems.borrow_mut().push(problem);
    }

    /// Notes that the value of a key at a span lacks a unit, and how it is written with one.
    fn lacks_unit(&self, span: Range<usize>, key: &str, value: &str, message: String) {
        let remedy = match self.origin(&span) {
            // There is no need of quotes on the command line.
            Some(Origin::Words(words)) => {
                let name = words
                    .split_once('=')
                    .map_or(words.as_str(), |(name, _)| name);
                format!("write {name}={value}")
            }
            _ => format!("write {key} = \"{value}\""),
        };
        let problem = self.placed(&span, message).remedy(remedy);
        self.problems.borrow_mut().push(problem);
    }

    fn origin(&self, span: &Range<usize>) -> Option<&Origin> {
        self.origins.get(self.line(span.start) - 1)
    }

    /// A problem with the place that a person wrote at.
    fn placed(&self, span: &Range<usize>, message: impl Into<String>) -> Problem {
        match self.origin(span) {
            None => Problem::at(self.path, self.line(span.start), message),
            Some(Origin::Line(line)) => Problem::at(self.path, *line, message),
            Some(Origin::Words(words)) => Problem {
                file: None,
                line: 0,
                message: format!("{words}: {}", message.into()),
                remedy: None,
            },
        }
    }

    /// Notes a problem about the file as a whole.
    pub fn problem(&self, message: impl Into<String>) {
        self.problems
            .borrow_mut()
            .push(Problem::at(self.path, 0, message));
    }

    /// All problems, in the order of their lines.
    pub fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort();
        problems.dedup();
        problems
    }
}

/// One table of a [`Source`], read key by key.
#[derive(Debug)]
pub struct Reader<'s, 'a> {
    source: &'s Source<'a>,
    name: String,
    /// Where it begins; `None` if it does not stand in the file.
    span: Option<Range<usize>>,
    table: Option<&'s DeTable<'a>>,
    asked: RefCell<Vec<&'static str>>,
}

impl<'s, 'a> Reader<'s, 'a> {
    /// Reads the root table.
    pub fn root(source: &'s Source<'a>, table: &'s DeTable<'a>) -> Self {
        Self {
            source,
            name: String::new(),
            span: None,
            table: Some(table),
            asked: RefCell::default(),
        }
    }

    /// How the table is called in messages: `[load]`, or "the top of the file".
    fn place(&self) -> String {
        if self.name.is_empty() {
            "the top of the file".to_owned()
        } else {
            format!("[{}]", self.name)
        }
    }

    fn join(&self, key: &str) -> String {
        if self.name.is_empty() {
            key.to_owned()
        } else {
            // `[[fault]]` is called `[fault]` here, so that its place has both brackets.
            format!("{}.{key}", self.name.trim_matches(['[', ']']))
        }
    }

    /// Notes a problem about the table itself, or about the file where it has no such table.
    pub fn problem_here(&self, message: impl Into<String>) {
        match &self.span {
            Some(span) => self.source.problem_at(span.clone(), message),
            None => self.source.problem(message),
        }
    }

    /// Whether the table stands in the file at all.
    pub fn is_present(&self) -> bool {
        self.table.is_some()
    }

    /// The raw value of a key.
    pub fn raw(&self, key: &'static str) -> Option<&'s Spanned<DeValue<'a>>> {
        self.asked.borrow_mut().push(key);
        self.table?.get(key)
    }

    /// The keys that stand in the table.
    pub fn keys(&self) -> Vec<(String, Range<usize>)> {
        let table = self.table.into_iter().flat_map(|table| table.keys());
        table
            .map(|key| (key.get_ref().to_string(), key.span()))
            .collect()
    }

    /// The value of a key of any name, for tables whose keys are open (objectives).
    pub fn raw_of(&self, key: &str) -> Option<&'s Spanned<DeValue<'a>>> {
        self.table?.get(key)
    }

    /// Notes a problem at the place of a key, or of the table where the key is absent.
    pub fn problem(&self, key: &str, message: impl Into<String>) {
        let found = self
            .table
            .and_then(|table| table.iter().find(|(name, _)| name.get_ref() == key));
        match found {
            Some((name, _)) => self.source.problem_at(name.span(), message),
            None => self.problem_here(message),
        }
    }

    /// A sub-table; absent tables read as empty, so that defaults apply.
    pub fn table(&self, key: &'static str) -> Reader<'s, 'a> {
        let raw = self.raw(key);
        let table = raw.and_then(|value| value.get_ref().as_table());
        if let (Some(value), None) = (raw, table) {
            let message = format!(
                "{} must be a table, not {}",
                self.join(key),
                value.get_ref().type_str()
            );
            self.source.problem_at(value.span(), message);
        }
        Reader {
            source: self.source,
            name: self.join(key),
            span: raw.map(Spanned::span),
            table,
            asked: RefCell::default(),
        }
    }

    /// An array of tables, `[[key]]`.
    pub fn tables(&self, key: &'static str) -> Vec<Reader<'s, 'a>> {
        let Some(raw) = self.raw(key) else {
            return Vec::new();
        };
        let items = raw.get_ref().as_array();
        let Some(items) =
            items.filter(|items| items.iter().all(|item| item.get_ref().as_table().is_some()))
        else {
            let message = format!(
                "{} must be written as [[{}]]",
                self.join(key),
                self.join(key)
            );
            self.source.problem_at(raw.span(), message);
            return Vec::new();
        };
        items
            .iter()
            .map(|item| Reader {
                source: self.source,
                name: format!("[{}]", self.join(key)),
                span: Some(item.span()),
                table: item.get_ref().as_table(),
                asked: RefCell::default(),
            })
            .collect()
    }

    /// A text.
    pub fn text(&self, key: &'static str) -> Option<String> {
        let raw = self.raw(key)?;
        match raw.get_ref().as_str() {
            Some(text) => Some(text.to_owned()),
            None => {
                let kind = raw.get_ref().type_str();
                self.source.problem_at(
                    raw.span(),
                    format!("{} must be text in quotes, not {kind}", self.join(key)),
                );
                None
            }
        }
    }

    /// A text that must be there.
    pub fn required_text(&self, key: &'static str, what: &str) -> Option<String> {
        if self.raw(key).is_none() {
            self.missing(key, what);
            return None;
        }
        self.text(key)
    }

    /// Notes that a key is missing.
    pub fn missing(&self, key: &str, what: &str) {
        self.problem_here(format!("{} lacks {key}: {what}", self.place()));
    }

    /// A text that a parser turns into a value: duration, size, rate.
    pub fn parsed<T, E: fmt::Display>(
        &self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        let raw = self.raw(key)?;
        if let Some(value) = with_unit(raw.get_ref(), &parse) {
            let message = format!("{} has no unit", self.join(key));
            self.source.lacks_unit(raw.span(), key, &value, message);
            return None;
        }
        let text = self.text(key)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(error) => {
                self.problem(key, format!("{}: {error}", self.join(key)));
                None
            }
        }
    }

    /// A whole number within bounds.
    pub fn number(&self, key: &'static str, bounds: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let raw = self.raw(key)?;
        let number = raw
            .get_ref()
            .as_integer()
            .and_then(|i| u64::from_str_radix(&i.as_str().replace('_', ""), i.radix()).ok());
        match number {
            Some(number) if bounds.contains(&number) => Some(number),
            _ => {
                let (low, high) = (bounds.start(), bounds.end());
                let allowed = if *high == u64::MAX {
                    format!("a whole number of at least {low}")
                } else {
                    format!("a whole number from {low} to {high}")
                };
                let kind = raw.get_ref().type_str();
                let written = if kind == "integer" {
                    String::new()
                } else {
                    format!(", not {kind}")
                };
                self.source.problem_at(
                    raw.span(),
                    format!("{} must be {allowed}{written}", self.join(key)),
                );
                None
            }
        }
    }

    /// `true` or `false`.
    pub fn flag(&self, key: &'static str) -> Option<bool> {
        let raw = self.raw(key)?;
        let flag = raw.get_ref().as_bool();
        if flag.is_none() {
            self.source.problem_at(
                raw.span(),
                format!("{} must be true or false", self.join(key)),
            );
        }
        flag
    }

    /// A list of texts.
    pub fn texts(&self, key: &'static str) -> Option<Vec<String>> {
        let raw = self.raw(key)?;
        let items = raw.get_ref().as_array().map(|items| {
            items
                .iter()
                .map(|item| item.get_ref().as_str().map(str::to_owned))
                .collect::<Option<Vec<_>>>()
        });
        match items.flatten() {
            Some(items) => Some(items),
            None => {
                self.source.problem_at(
                    raw.span(),
                    format!("{} must be a list of texts, [\"…\", \"…\"]", self.join(key)),
                );
                None
            }
        }
    }

    /// One word of a fixed set.
    pub fn word(&self, key: &'static str, allowed: &[&'static str]) -> Option<&'static str> {
        let text = self.text(key)?;
        let found = allowed.iter().find(|word| **word == text);
        if found.is_none() {
            self.problem(
                key,
                unknown(&self.join(key), &text, allowed.iter().copied()),
            );
        }
        found.copied()
    }

    /// Notes every key that nobody asked for. Call it last.
    pub fn finish(&self) {
        let mut allowed = self.asked.borrow().clone();
        allowed.sort_unstable();
        allowed.dedup();
        for (key, span) in self.keys() {
            if !allowed.contains(&key.as_str()) {
                let hint = did_you_mean(&key, allowed.iter().copied());
                self.source.problem_at(
                    span,
                    format!(
                        "{} has no key `{key}`{hint} (allowed: {})",
                        self.place(),
                        allowed.join(", ")
                    ),
                );
            }
        }
    }

    /// The source this table stands in.
    pub fn source(&self) -> &'s Source<'a> {
        self.source
    }
}

/// A bare number with the unit that makes it what `parse` understands, if it is one.
fn with_unit<T, E>(value: &DeValue<'_>, parse: impl Fn(&str) -> Result<T, E>) -> Option<String> {
    let number = match value {
        DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
        DeValue::Float(number) => number.as_str(),
        _ => return None,
    };
    ["/s", "s", "B", " %"]
        .into_iter()
        .map(|unit| format!("{number}{unit}"))
        .find(|text| parse(text).is_ok())
}

/// The message for a word that is not one of those allowed.
pub fn unknown<'a>(
    what: &str,
    written: &str,
    allowed: impl IntoIterator<Item = &'a str> + Clone,
) -> String {
    let hint = nearest(written, allowed.clone())
        .map(|word| format!("; did you mean \"{word}\"?"))
        .unwrap_or_default();
    let all: Vec<_> = allowed.into_iter().collect();
    let allowed = if all.is_empty() {
        "there is none here".to_owned()
    } else {
        format!("allowed: {}", all.join(", "))
    };
    format!("{what} = \"{written}\" is not known{hint} ({allowed})")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of a text after `ask` has asked for its keys.
    fn said(text: &str, ask: impl FnOnce(&Reader<'_, '_>)) -> Vec<String> {
        let source = Source::new(Path::new("x.toml"), text);
        if let Some(table) = source.parse() {
            let root = Reader::root(&source, &table);
            ask(&root);
            root.finish();
        }
        source
            .into_problems()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn problems_come_in_the_order_of_their_lines_and_once() {
        let path = Path::new("x.toml");
        let source = Source::new(path, "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\n");
        for position in [20, 4, 4, 2] {
            source.problem_at(position..position + 1, "wrong");
        }
        source.problem("wrong as a whole");
        let said: Vec<String> = source
            .into_problems()
            .iter()
            .map(ToString::to_string)
            .collect();
        // As numbers: 11 comes after 2.
        assert_eq!(
            said,
            [
                "x.toml: wrong as a whole",
                "x.toml:2: wrong",
                "x.toml:3: wrong",
                "x.toml:11: wrong"
            ]
        );
    }

    #[test]
    fn a_problem_of_an_overridden_line_names_the_words() {
        let origins = [
            Origin::Line(1),
            Origin::Words("--set b=1".to_owned()),
            Origin::Line(2),
        ];
        let source = Source::new(Path::new("x.toml"), "a = 1\nb = 1\nc = 1\n");
        let source = source.with_origins(&origins);
        for position in [0, 6, 12, 18] {
            source.problem_at(position..position + 1, "wrong");
        }
        let said: Vec<String> = source
            .into_problems()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            said,
            [
                "--set b=1: wrong",
                "x.toml:1: wrong",
                "x.toml:2: wrong",
                // The line after the last, of which nothing is known.
                "x.toml:4: wrong",
            ]
        );
    }

    #[test]
    fn the_nearest_spelling_is_offered_and_a_far_one_is_not() {
        let words = ["cut_link", "kill", "outage", "slow_link"];
        for (written, expected) in [
            ("kil", Some("kill")),
            ("KILL", Some("kill")),
            ("slow", Some("slow_link")),
            ("slow_lnik", Some("slow_link")),
            ("outages", Some("outage")),
            ("earthquake", None),
            ("", None),
            ("k", None),
        ] {
            assert_eq!(nearest(written, words), expected, "{written}");
        }
        assert_eq!(nearest("kill", []), None);
        assert_eq!(did_you_mean("kil", words), "; did you mean `kill`?");
        assert_eq!(did_you_mean("earthquake", words), "");
        assert_eq!(
            unknown("link", "a->b", []),
            "link = \"a->b\" is not known (there is none here)"
        );
    }

    #[test]
    fn every_type_is_asked_for_by_name_and_line() {
        let text = "text = 1\nnumber = \"1\"\nlarge = 10\nflag = 1\ntexts = [\"a\", 1]\n\
                    word = \"on\"\ntable = 1\ntables = [1]\n";
        let said = said(text, |root| {
            assert_eq!(root.text("text"), None);
            assert_eq!(root.number("number", 0..=9), None);
            assert_eq!(root.number("large", 0..=9), None);
            assert_eq!(root.flag("flag"), None);
            assert_eq!(root.texts("texts"), None);
            assert_eq!(root.word("word", &["one", "two"]), None);
            assert!(!root.table("table").is_present());
            assert!(root.tables("tables").is_empty());
        });
        assert_eq!(
            said,
            [
                "x.toml:1: text must be text in quotes, not integer",
                "x.toml:2: number must be a whole number from 0 to 9, not string",
                "x.toml:3: large must be a whole number from 0 to 9",
                "x.toml:4: flag must be true or false",
                "x.toml:5: texts must be a list of texts, [\"…\", \"…\"]",
                "x.toml:6: word = \"on\" is not known; did you mean \"one\"? (allowed: one, two)",
                "x.toml:7: table must be a table, not integer",
                "x.toml:8: tables must be written as [[tables]]",
            ]
        );
    }

    #[test]
    fn what_is_right_is_read_and_nothing_is_said() {
        let text = "number = 0x1_0\ntexts = [\"a\"]\nflag = true\n[[t]]\nw = \"two\"\n[[t]]\n";
        let said = said(text, |root| {
            assert_eq!(root.number("number", 0..=u64::MAX), Some(16));
            assert_eq!(root.texts("texts"), Some(vec!["a".to_owned()]));
            assert_eq!(root.flag("flag"), Some(true));
            let tables = root.tables("t");
            assert_eq!(tables.len(), 2);
            assert_eq!(tables[0].word("w", &["one", "two"]), Some("two"));
            assert_eq!(tables[1].text("w"), None);
            let absent = root.table("absent");
            assert_eq!(absent.text("anything"), None);
            absent.finish();
        });
        assert!(said.is_empty(), "{said:?}");
    }

    #[test]
    fn a_number_without_its_unit_is_answered_with_the_unit() {
        use crate::text::{parse_duration, parse_rate, parse_size};
        let text = "rate = 5000\nat = 1.5\nbody = 512\nfor = -1\nevery = true\n";
        let origins = [
            Origin::Words("--set load.rate=5000".to_owned()),
            Origin::Line(2),
            Origin::Line(3),
            Origin::Line(4),
            Origin::Line(5),
        ];
        let source = Source::new(Path::new("x.toml"), text).with_origins(&origins);
        let table = source.parse().unwrap();
        let root = Reader::root(&source, &table);
        assert_eq!(root.parsed("rate", parse_rate), None);
        assert_eq!(root.parsed("body", parse_size), None);
        for key in ["at", "for", "every"] {
            assert_eq!(root.parsed(key, parse_duration), None);
        }
        let said: Vec<String> = source
            .into_problems()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            said,
            [
                "--set load.rate=5000: rate has no unit\n    \
                 write --set load.rate=5000/s",
                "x.toml:2: at has no unit\n    write at = \"1.5s\"",
                "x.toml:3: body has no unit\n    write body = \"512B\"",
                "x.toml:4: for must be text in quotes, not integer",
                "x.toml:5: every must be text in quotes, not boolean",
            ]
        );
    }

    #[test]
    fn what_nobody_asked_for_is_unknown_and_what_is_missing_has_the_best_place() {
        let text = "\n[here]\nlink = 1\nlnk = 2\n[[list]]\nx = 1\n";
        let said = said(text, |root| {
            let here = root.table("here");
            here.raw("link");
            here.required_text("must", "a text");
            here.finish();
            let absent = root.table("absent");
            absent.missing("must", "a text");
            for item in root.tables("list") {
                item.required_text("name", "a text");
                item.finish();
            }
        });
        assert_eq!(
            said,
            [
                "x.toml: [absent] lacks must: a text",
                "x.toml:2: [here] lacks must: a text",
                "x.toml:4: [here] has no key `lnk`; did you mean `link`? (allowed: link, must)",
                "x.toml:5: [[list]] lacks name: a text",
                "x.toml:6: [[list]] has no key `x` (allowed: name)",
            ]
        );
    }

    #[test]
    fn every_syntax_error_has_its_line() {
        let said = said("a = \nb = 1\n[c\nd = 1\n", |_| {
            panic!("a broken file is not read")
        });
        assert!(said.len() >= 2, "{said:?}");
        assert!(said[0].starts_with("x.toml:1: "), "{said:?}");
        assert!(said[1].starts_with("x.toml:3: "), "{said:?}");
    }
}
