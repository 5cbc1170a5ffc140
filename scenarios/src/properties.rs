//! The properties of a Flume configuration, as far as a run must understand them: which channels an
//! agent has and where they are kept, how long a call may take, what is done periodically.
//!
//! The grammar is that of `java.util.Properties.load`, which Flume reads its files with:
//!
//! | what | rule |
//! |---|---|
//! | comment | a line whose first character that is not blank is `#` or `!` |
//! | continuation | an odd number of `\` at the end joins the next line, whose leading blanks go |
//! | key | up to the first `=`, `:` or blank that has no `\` before it |
//! | value | after the blanks that follow, one `=` or `:`, and blanks again; Flume trims it |
//! | escapes | `\t` `\n` `\r` `\f` `\uXXXX` (UTF-16); `\` before anything else is dropped |
//! | a key twice | the last one counts |
//!
//! The engine has a reader of its own. This one belongs to the judge, which shares nothing with it; it
//! complains of nothing, because the driver checks the file.

use std::collections::BTreeMap;
use std::path::Path;

/// The pairs of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties {
    pairs: BTreeMap<String, String>,
}

impl Properties {
    /// Reads the text of a file.
    pub fn parse(text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut lines = text.split("\r\n").flat_map(|part| part.split(['\n', '\r']));
        let mut pairs = BTreeMap::new();
        while let Some(first) = lines.next() {
            let first = first.trim_start_matches(is_blank);
            if first.is_empty() || first.starts_with(['#', '!']) {
                continue;
            }
            let mut line = first.to_owned();
            while ends_open(&line) {
                line.pop();
                let Some(next) = lines.next() else { break };
                line.push_str(next.trim_start_matches(is_blank));
            }
            let (key, value) = split(&line);
            pairs.insert(unescape(key), unescape(value).trim().to_owned());
        }
        Self { pairs }
    }

    /// Reads a file. One that is not UTF-8 is Latin-1.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(path: &Path) -> std::io::Result<Self> {
        let text = String::from_utf8(std::fs::read(path)?).unwrap_or_else(|error| {
            let bytes = error.into_bytes();
            bytes.into_iter().map(char::from).collect()
        });
        Ok(Self::parse(&text))
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs.get(key).map(String::as_str)
    }

    /// All keys with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The names of an agent's `sources`, `channels` or `sinks`: those that the list names, or, for an
    /// agent without any of the three lists, all that have a type.
    pub fn components(&self, agent: &str, part: &str) -> Vec<&str> {
        let list = |part: &str| self.get(&format!("{agent}.{part}"));
        if ["sources", "channels", "sinks"]
            .iter()
            .any(|part| list(part).is_some())
        {
            return list(part)
                .map(|names| names.split_whitespace().collect())
                .unwrap_or_default();
        }
        let prefix = format!("{agent}.{part}.");
        self.pairs
            .keys()
            .filter_map(|key| key.strip_prefix(&prefix)?.strip_suffix(".type"))
            .filter(|name| !name.contains('.'))
            .collect()
    }
}

/// A value with each `${env:NAME}` and `${env:NAME:-default}` replaced by what `env` knows.
///
/// # Errors
/// The variable that nobody knows, or that is not of the environment.
pub fn substitute(value: &str, env: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = value;
    while let Some(start) = rest.find("${") {
        let end = rest[start..].find('}').map(|length| start + length);
        let Some(end) = end else { break };
        let (variable, name) = (&rest[start..=end], &rest[start + 2..end]);
        let (name, default) = name
            .split_once(":-")
            .map_or((name, None), |(name, default)| (name, Some(default)));
        let known = name
            .strip_prefix("env:")
            .and_then(|name| env(name).or_else(|| default.map(str::to_owned)));
        out.push_str(&rest[..start]);
        out.push_str(&known.ok_or_else(|| variable.to_owned())?);
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\x0c')
}

/// Whether the line goes on in the next one: it ends in an odd number of `\`.
fn ends_open(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// Key and value, both with their escapes.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.find(|c: char| {
        let ends = !escaped && (matches!(c, '=' | ':') || is_blank(c));
        escaped = c == '\\' && !escaped;
        ends
    });
    let (key, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start_matches(is_blank);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, rest.trim_start_matches(is_blank))
}

/// A `\u` without four digits is left as it is: Java refuses the file.
fn unescape(text: &str) -> String {
    // As UTF-16, because two neighbouring \u may be the halves of one character.
    let mut out: Vec<u16> = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.extend(c.encode_utf16(&mut [0; 2]).iter());
            continue;
        }
        let rest = chars.as_str();
        let unit = rest
            .strip_prefix('u')
            .and_then(|digits| digits.get(..4))
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .and_then(|digits| u16::from_str_radix(digits, 16).ok());
        if let Some(unit) = unit {
            out.push(unit);
            chars = rest[5..].chars();
            continue;
        }
        let escaped = match chars.next() {
            Some('t') => '\t',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('f') => '\x0c',
            Some(other) => other,
            None => break,
        };
        out.extend(escaped.encode_utf16(&mut [0; 2]).iter());
    }
    String::from_utf16_lossy(&out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(text: &str) -> (String, String) {
        let properties = Properties::parse(text);
        assert_eq!(properties.pairs.len(), 1, "{text:?}");
        properties.pairs.into_iter().next().unwrap()
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn every_way_to_write_a_pair_is_read() {
        for text in [
            "a.b=c d",
            "a.b = c d",
            " \t a.b:c d",
            "a.b c d",
            "a.b \t=\x0c c d ",
            "a.b\tc d\r\n",
            "# x = y\n! x = y\n\n   # x\na.b = c \\\n    d",
            "a.\\\n  b c \\\r\n\td",
            "a.b = x\na.b = c d",
            "\u{feff}a.b = c\\ d",
            "a\\u002eb = c\\u0020d",
        ] {
            assert_eq!(one(text), pair("a.b", "c d"), "{text:?}");
        }
        assert_eq!(one("a==b"), pair("a", "=b"));
        assert_eq!(one("a"), pair("a", ""));
        assert_eq!(one(r"a\=b\:c\ d = x\ty\q\\"), pair("a=b:c d", "x\tyq\\"));
        assert_eq!(one(r"a = \u00e9\uD83D\uDE00"), pair("a", "é😀"));
        assert_eq!(one("a = b\\\\\n").1, "b\\");
    }

    #[test]
    fn a_file_in_latin_1_is_read_too() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"a = \xe9").unwrap();
        assert_eq!(Properties::read(file.path()).unwrap().get("a"), Some("é"));
    }

    #[test]
    fn components_are_those_of_the_list_or_all_where_there_is_no_list() {
        let typed = "a1.channels.c1.type = file\na1.channels.c2.type memory\na2.channels.c3.type:x\n\
                     a1.channels.c2.encryption.type = y\n";
        let all = Properties::parse(typed);
        assert_eq!(all.components("a1", "channels"), ["c1", "c2"]);
        let listed = Properties::parse(&format!("{typed}a1.channels = c2 c9"));
        assert_eq!(listed.components("a1", "channels"), ["c2", "c9"]);
        let other = Properties::parse(&format!("{typed}a1.sources = r1"));
        assert!(other.components("a1", "channels").is_empty());
    }

    #[test]
    fn only_the_environment_is_substituted() {
        let env = |name: &str| (name == "DIR").then(|| "/d".to_owned());
        let done = |value: &str| substitute(value, env);
        assert_eq!(done("${env:DIR}/x${env:DIR}"), Ok("/d/x/d".into()));
        assert_eq!(done("${env:NO:-7}"), Ok("7".into()));
        assert_eq!(done("a${b"), Ok("a${b".into()));
        assert_eq!(done("x${env:NO}"), Err("${env:NO}".into()));
        assert_eq!(done("${sys:user.home}/x"), Err("${sys:user.home}".into()));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "[\\\\u0-9a= :\n\r#${}envé😀]{0,80}") {
            for (_, value) in Properties::parse(&text).iter() {
                let _ = substitute(value, |_| None);
            }
        }
    }
}
