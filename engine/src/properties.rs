//! The grammar of Java properties files, which Flume's configuration is written in.
//!
//! | what | rule |
//! |---|---|
//! | characters | UTF-8; a file that is not UTF-8 is read as Latin-1 |
//! | line ends | `\n`, `\r`, `\r\n` |
//! | blank | space, tab, form feed |
//! | comment | a line whose first character that is not blank is `#` or `!` |
//! | continuation | an odd number of `\` at the end joins the next line, whose leading blanks go |
//! | key | up to the first `=`, `:` or blank that has no `\` before it |
//! | value | after the blanks that follow, one `=` or `:`, and blanks again; trailing blanks belong to it |
//! | escapes | `\t` `\n` `\r` `\f` `\uXXXX` (UTF-16); `\` before anything else is dropped |
//!
//! Source: the documentation of `java.util.Properties.load`. Every pair is kept in its order with
//! the line its key is on; what becomes of repeated keys is the caller's business.

use std::borrow::Cow;

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The key, without escapes.
    pub key: String,
    /// The value, without escapes.
    pub value: String,
    /// The line on which the key stands, counted from 1.
    pub line: usize,
}

/// A line that is no pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// Its number, counted from 1.
    pub line: usize,
    /// What is wrong with it, and what to do about it.
    pub message: String,
}

/// Reads the bytes of a properties file: the pairs, and the lines that are none.
#[must_use]
pub fn parse(bytes: &[u8]) -> (Vec<Pair>, Vec<BadLine>) {
    let text = decode(bytes);
    let mut lines = natural_lines(&text).zip(1..);
    let (mut pairs, mut bad) = (Vec::new(), Vec::new());
    while let Some((first, line)) = lines.next() {
        let first = first.trim_start_matches(is_blank);
        if first.is_empty() || first.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = first.to_owned();
        while ends_open(&logical) {
            logical.pop();
            let Some((next, _)) = lines.next() else { break };
            logical.push_str(next.trim_start_matches(is_blank));
        }
        let (key, value) = split(&logical);
        match (unescape(key), unescape(value)) {
            (Ok(key), Ok(value)) => pairs.push(Pair { key, value, line }),
            (Err(message), _) | (_, Err(message)) => bad.push(BadLine { line, message }),
        }
    }
    (pairs, bad)
}

/// What became of the variables of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Substituted {
    /// The value with its variables replaced; one that cannot be replaced stays as it is.
    pub value: String,
    /// One complaint for each that could not be replaced.
    pub complaints: Vec<String>,
}

/// Replaces `${env:NAME}` and `${env:NAME:-default}` by what `env` knows.
pub fn substitute(value: &str, env: &dyn Fn(&str) -> Option<String>) -> Substituted {
    let mut out = Substituted {
        value: String::new(),
        complaints: Vec::new(),
    };
    let mut rest = value;
    while let Some(start) = rest.find("${") {
        out.value.push_str(&rest[..start]);
        let Some(length) = rest[start..].find('}') else {
            out.complaints
                .push("${ without a closing }; add it".to_owned());
            rest = &rest[start..];
            break;
        };
        let variable = &rest[start..=start + length];
        let name = &variable[2..variable.len() - 1];
        match replacement(name, env) {
            Ok(text) => out.value.push_str(&text),
            Err(complaint) => {
                out.value.push_str(variable);
                out.complaints.push(complaint);
            }
        }
        rest = &rest[start + length + 1..];
    }
    out.value.push_str(rest);
    out
}

fn replacement(name: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let Some(name) = name.strip_prefix("env:") else {
        return Err(format!(
            "${{{name}}} stays as it is: only ${{env:NAME}} is replaced here"
        ));
    };
    let (name, default) = name
        .split_once(":-")
        .map_or((name, None), |(name, default)| (name, Some(default)));
    env(name)
        .or_else(|| default.map(str::to_owned))
        .ok_or_else(|| {
            format!("the environment has no {name}; set it, or write ${{env:{name}:-default}}")
        })
}

fn decode(bytes: &[u8]) -> Cow<'_, str> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        // Latin-1 is the first 256 characters of Unicode.
        Err(_) => Cow::Owned(bytes.iter().map(|byte| char::from(*byte)).collect()),
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\x0c')
}

/// Lines without their ends. A `\r\n` is one end.
fn natural_lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.find(['\n', '\r']) else {
            return rest.take();
        };
        let after = &text[end..];
        rest = Some(after.strip_prefix("\r\n").unwrap_or(&after[1..]));
        Some(&text[..end])
    })
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

fn unescape(text: &str) -> Result<String, String> {
    if !text.contains('\\') {
        return Ok(text.to_owned());
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    // Consecutive \u escapes are decoded together: they may be the halves of one character.
    let mut units: Vec<u16> = Vec::new();
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("\\u") {
            let digits = after
                .get(..4)
                .filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
            let unit = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok());
            let Some(unit) = unit else {
                return Err(
                    "\\u needs four hexadecimal digits behind it; write \\\\u for a \
                            backslash and a u"
                        .to_owned(),
                );
            };
            units.push(unit);
            rest = &after[4..];
            continue;
        }
        flush(&mut units, &mut out);
        rest = &rest[c.len_utf8()..];
        if c != '\\' {
            out.push(c);
        } else if let Some(escaped) = rest.chars().next() {
            rest = &rest[escaped.len_utf8()..];
            out.push(match escaped {
                't' => '\t',
                'n' => '\n',
                'r' => '\r',
                'f' => '\x0c',
                other => other,
            });
        }
    }
    flush(&mut units, &mut out);
    Ok(out)
}

fn flush(units: &mut Vec<u16>, out: &mut String) {
    if !units.is_empty() {
        out.push_str(&String::from_utf16_lossy(units));
        units.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(text: &str) -> Vec<(String, String, usize)> {
        let (pairs, bad) = parse(text.as_bytes());
        assert_eq!(bad, []);
        pairs
            .into_iter()
            .map(|pair| (pair.key, pair.value, pair.line))
            .collect()
    }

    fn pair(key: &str, value: &str, line: usize) -> (String, String, usize) {
        (key.to_owned(), value.to_owned(), line)
    }

    #[test]
    fn separators_and_blanks() {
        for text in [
            "a.b=c d",
            "a.b = c d",
            " \t a.b:c d",
            "a.b c d",
            "a.b \t=\x0c c d",
            "a.b\tc d",
        ] {
            assert_eq!(pairs(text), [pair("a.b", "c d", 1)], "{text:?}");
        }
        assert_eq!(pairs("a==b"), [pair("a", "=b", 1)]);
        assert_eq!(pairs("a = b "), [pair("a", "b ", 1)]);
        assert_eq!(pairs("a"), [pair("a", "", 1)]);
        assert_eq!(pairs("= b"), [pair("", "b", 1)]);
        assert_eq!(pairs("hdfs://nn:9000/x"), [pair("hdfs", "//nn:9000/x", 1)]);
    }

    #[test]
    fn comments_line_ends_and_continuations() {
        let text =
            "# one\r\n! two\r\r\n  # three\n\na = 1\\\n  ,2\\\r\n\t# no comment\nb = \\\\\nc = x\\";
        assert_eq!(
            pairs(text),
            [
                pair("a", "1,2# no comment", 6),
                pair("b", "\\", 9),
                pair("c", "x", 10)
            ]
        );
    }

    #[test]
    fn escapes() {
        assert_eq!(
            pairs(r"a\=b\:c\ d = \tx\q\\"),
            [pair("a=b:c d", "\txq\\", 1)]
        );
        assert_eq!(
            pairs(r"a = \u00e9\uD83D\uDE00\ud83d."),
            [pair("a", "é😀\u{fffd}.", 1)]
        );
        let (kept, bad) = parse(b"a = 1\nb = \\u12g4\nc = \\u12");
        assert_eq!(kept.len(), 1);
        assert_eq!(bad.iter().map(|bad| bad.line).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn repeated_keys_are_all_kept() {
        assert_eq!(
            pairs("a=1\nb=2\na=3"),
            [pair("a", "1", 1), pair("b", "2", 2), pair("a", "3", 3)]
        );
    }

    #[test]
    fn latin_1_where_it_is_not_utf_8() {
        let (pairs, _) = parse(b"a = \xe9");
        assert_eq!(pairs[0].value, "é");
        let (pairs, _) = parse("\u{feff}a = é".as_bytes());
        assert_eq!((pairs[0].key.as_str(), pairs[0].value.as_str()), ("a", "é"));
    }

    #[test]
    fn only_the_environment_is_substituted() {
        let env = |name: &str| (name == "PORT").then(|| "4141".to_owned());
        let done = substitute("x${env:PORT}y${env:PORT}", &env);
        assert_eq!(
            (done.value.as_str(), done.complaints.len()),
            ("x4141y4141", 0)
        );
        assert_eq!(substitute("${env:NO:-7}", &env).value, "7");
        for kept in ["${env:NO}", "${sys:user.home}", "${other}", "${env:PORT"] {
            let done = substitute(kept, &env);
            assert_eq!((done.value.as_str(), done.complaints.len()), (kept, 1));
        }
        assert_eq!(substitute("%{host}$x", &env).complaints.len(), 0);
    }

    /// Writes a pair the way Java would, so that reading has to undo all of it.
    fn escape(text: &str) -> String {
        let escape = |c: char| match c {
            '\n' => "\\n".to_owned(),
            '\r' => "\\r".to_owned(),
            '\x0c' => "\\f".to_owned(),
            '\t' => "\\t".to_owned(),
            ' ' | '=' | ':' | '#' | '!' | '\\' => format!("\\{c}"),
            c if c.is_ascii() => c.to_string(),
            c => c
                .encode_utf16(&mut [0; 2])
                .iter()
                .map(|unit| format!("\\u{unit:04X}"))
                .collect(),
        };
        text.chars().map(escape).collect()
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(wanted in prop::collection::vec((any::<String>(), any::<String>()), 0..8)) {
            // An empty key and value would be an empty line.
            let wanted: Vec<_> = wanted.into_iter().map(|(k, v)| (format!("k{k}"), v)).collect();
            let text: String = wanted.iter().map(|(k, v)| format!("{}={}\n", escape(k), escape(v))).collect();
            let (read, bad) = parse(text.as_bytes());
            prop_assert_eq!(bad, []);
            let lines: Vec<_> = read.iter().map(|pair| pair.line).collect();
            prop_assert_eq!(lines, (1..=wanted.len()).collect::<Vec<_>>());
            let read: Vec<_> = read.into_iter().map(|pair| (pair.key, pair.value)).collect();
            prop_assert_eq!(read, wanted);
        }

        #[test]
        fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[\\\\u0-9a= :\n\r#${}envé]{0,60}") {
            let lines = bytes.len() + text.len() + 1;
            for input in [bytes.as_slice(), text.as_bytes()] {
                let (pairs, bad) = parse(input);
                prop_assert!(pairs.iter().all(|pair| (1..=lines).contains(&pair.line)));
                prop_assert!(bad.iter().all(|bad| (1..=lines).contains(&bad.line)));
            }
            substitute(&text, &|_| None);
        }
    }
}
