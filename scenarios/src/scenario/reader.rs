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

/// The nearest of `allowed` to `written`, when it is near enough to be a slip of the pen.
pub fn nearest<'a>(written: &str, allowed: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    allowed
        .into_iter()
        .map(|word| {
            (
                strsim::damerau_levenshtein(&written.to_lowercase(), &word.to_lowercase()),
                word,
            )
        })
        .filter(|(distance, word)| *distance <= 1 + word.len().max(written.len()) / 4)
        .min()
        .map(|(_, word)| word)
}

/// A file of TOML with the problems found in it so far.
#[derive(Debug)]
pub struct Source<'a> {
    path: &'a Path,
    text: &'a str,
    problems: RefCell<Vec<Problem>>,
}

impl<'a> Source<'a> {
    /// A source without problems yet.
    pub fn new(path: &'a Path, text: &'a str) -> Self {
        Self {
            path,
            text,
            problems: RefCell::new(Vec::new()),
        }
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
        let problem = Problem::at(self.path, self.line(span.start), message);
        self.problems.borrow_mut().push(problem);
    }

    /// Notes a problem at a line.
    pub fn problem_at_line(&self, line: usize, message: impl Into<String>) {
        self.problems
            .borrow_mut()
            .push(Problem::at(self.path, line, message));
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
    span: Range<usize>,
    table: Option<&'s DeTable<'a>>,
    asked: RefCell<Vec<&'static str>>,
}

impl<'s, 'a> Reader<'s, 'a> {
    /// Reads the root table.
    pub fn root(source: &'s Source<'a>, table: &'s DeTable<'a>) -> Self {
        Self {
            source,
            name: String::new(),
            span: 0..0,
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
            format!("{}.{key}", self.name)
        }
    }

    /// Where this table begins.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// The 1-based line at which this table begins.
    pub fn line(&self) -> usize {
        self.source.line(self.span.start)
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
        let span = self
            .table
            .and_then(|table| table.iter().find(|(name, _)| name.get_ref() == key))
            .map_or(self.span.clone(), |(name, _)| name.span());
        self.source.problem_at(span, message);
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
            span: raw.map_or(self.span.clone(), Spanned::span),
            table,
            asked: RefCell::default(),
        }
    }

    /// An array of tables, `[[key]]`.
    pub fn tables(&self, key: &'static str) -> Vec<Reader<'s, 'a>> {
        let Some(raw) = self.raw(key) else {
            return Vec::new();
        };
        let Some(items) = raw.get_ref().as_array() else {
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
                span: item.span(),
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
        self.source.problem_at(
            self.span.clone(),
            format!("{} lacks {key}: {what}", self.place()),
        );
    }

    /// A text that a parser turns into a value: duration, size, rate.
    pub fn parsed<T, E: fmt::Display>(
        &self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
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
                self.source
                    .problem_at(raw.span(), format!("{} must be {allowed}", self.join(key)));
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
        let asked = self.asked.borrow();
        for (key, span) in self.keys() {
            if !asked.contains(&key.as_str()) {
                let mut allowed = asked.clone();
                allowed.sort_unstable();
                allowed.dedup();
                let hint = nearest(&key, allowed.iter().copied())
                    .map(|word| format!("; did you mean `{word}`?"))
                    .unwrap_or_default();
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

    /// The span of a value, for messages about it.
    pub fn span_of(&self, key: &str) -> Range<usize> {
        self.raw_of(key).map_or(self.span.clone(), Spanned::span)
    }

    /// The source this table stands in.
    pub fn source(&self) -> &'s Source<'a> {
        self.source
    }

    /// The whole table, to be read by somebody else (a fault's own configuration). All its keys
    /// count as asked for.
    pub fn whole(&self) -> Option<&'s DeTable<'a>> {
        self.table
    }
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
    format!(
        "{what} = \"{written}\" is not known{hint} (allowed: {})",
        all.join(", ")
    )
}
