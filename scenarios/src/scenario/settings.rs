//! Overrides from the command line: `--set key=value`, `--sut`, `--provider`, `--seed`.

use std::path::Path;

use toml::de::DeValue;

use super::reader::{Origin, Problem};

/// What the command line changes about a scenario.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--sut NAME`: the driver.
    pub sut: Option<String>,
    /// `--provider NAME`: the store's provider.
    pub provider: Option<String>,
    /// `--seed N`.
    pub seed: Option<u64>,
    /// `--set key=value`, in order; the value is TOML, or text when it is no TOML.
    pub set: Vec<String>,
}

/// A scenario's text with everything overridden.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The text.
    pub text: String,
    /// Where each of its lines comes from; empty where nothing was overridden.
    pub origins: Vec<Origin>,
}

/// One change: key, value, and the words of the command line that ask for it.
struct Change {
    key: String,
    value: String,
    words: String,
}

impl Overrides {
    /// The scenario's text with everything overridden in place. Each line knows where it comes
    /// from, so that a problem names the line in the file, or the words of the command line.
    ///
    /// # Errors
    /// Every override that is not understood.
    pub fn apply(&self, path: &Path, text: &str) -> Result<Applied, Vec<Problem>> {
        let mut problems = Vec::new();
        let changes = self.changes(&mut problems);
        let unchanged = Applied {
            text: text.to_owned(),
            origins: Vec::new(),
        };
        // A file with syntax errors is reported by the reader, with all of them.
        let document = text.parse::<toml_edit::DocumentMut>();
        if let (Ok(mut document), false) = (document, changes.is_empty()) {
            let mut applied = Applied {
                origins: (1..=lines(text).len()).map(Origin::Line).collect(),
                ..unchanged
            };
            for change in &changes {
                match set(&mut document, &change.key, &change.value) {
                    Ok(()) => applied.follow(document.to_string(), &change.words),
                    Err(message) => problems.push(Problem::of_machine(
                        format!("{}: {message}", change.words),
                        format!("look into {} for what can be set", path.display()),
                    )),
                }
            }
            return if problems.is_empty() {
                Ok(applied)
            } else {
                Err(problems)
            };
        }
        if problems.is_empty() {
            Ok(unchanged)
        } else {
            Err(problems)
        }
    }

    fn changes(&self, problems: &mut Vec<Problem>) -> Vec<Change> {
        let mut all = Vec::new();
        let mut add = |key: &str, value: String, words: String| {
            all.push(Change {
                key: key.to_owned(),
                value,
                words,
            });
        };
        if let Some(sut) = &self.sut {
            add("sut.driver", format!("\"{sut}\""), format!("--sut {sut}"));
        }
        if let Some(provider) = &self.provider {
            let words = format!("--provider {provider}");
            add("store.provider", format!("\"{provider}\""), words);
        }
        if let Some(seed) = self.seed {
            add("seed", seed.to_string(), format!("--seed {seed}"));
        }
        for set in &self.set {
            match set.split_once('=') {
                Some((key, value)) if !key.trim().is_empty() => {
                    add(
                        key.trim(),
                        value.trim().to_owned(),
                        format!("--set {}", set.trim()),
                    );
                }
                _ => problems.push(Problem::of_machine(
                    format!("--set {set} is not understood"),
                    "write --set key=value, such as --set load.rate=5000/s",
                )),
            }
        }
        all
    }
}

impl Applied {
    /// Takes over the text after one more change. What stands between the lines that are the same
    /// at the beginning and those that are the same at the end is what the change wrote.
    fn follow(&mut self, changed: String, words: &str) {
        let (before, after) = (lines(&self.text), lines(&changed));
        let most = before.len().min(after.len());
        let same = |(a, b): &(&&str, &&str)| a == b;
        let head = before.iter().zip(&after).take_while(same).count();
        let tail = before.iter().rev().zip(after.iter().rev());
        let tail = tail.take(most - head).take_while(same).count();
        let written = vec![Origin::Words(words.to_owned()); after.len() - head - tail];
        self.origins.splice(head..before.len() - tail, written);
        self.text = changed;
    }
}

/// Lines as the reader counts them: one more than there are line feeds.
fn lines(text: &str) -> Vec<&str> {
    text.split('\n').collect()
}

fn set(document: &mut toml_edit::DocumentMut, key: &str, value: &str) -> Result<(), String> {
    let value: toml_edit::Value = value
        .parse()
        .unwrap_or_else(|_| toml_edit::Value::from(value));
    let parts: Vec<&str> = key.split('.').collect();
    let (last, tables) = parts.split_last().ok_or("an empty key")?;
    let mut item: &mut toml_edit::Item = document.as_item_mut();
    for part in tables {
        if *part == "fault" {
            return set_in_fault(item, &parts, value);
        }
        let table = item
            .as_table_like_mut()
            .ok_or_else(|| format!("{part} is no table"))?;
        item = table.entry(part).or_insert(toml_edit::table());
    }
    let table = item
        .as_table_like_mut()
        .ok_or_else(|| format!("{key} is not inside a table"))?;
    match table.get_mut(last).and_then(|old| old.as_value_mut()) {
        Some(old) => {
            let decor = old.decor().clone();
            *old = value;
            *old.decor_mut() = decor;
        }
        None => {
            table.insert(last, toml_edit::Item::Value(value));
        }
    }
    Ok(())
}

/// `fault.0.at=5s`: the first fault of the file has the number 0.
fn set_in_fault(
    root: &mut toml_edit::Item,
    parts: &[&str],
    value: toml_edit::Value,
) -> Result<(), String> {
    let [_, index, key] = parts else {
        return Err("write fault.NUMBER.key".to_owned());
    };
    let index: usize = index
        .parse()
        .map_err(|_| "write fault.NUMBER.key, counted from 0".to_owned())?;
    let faults = root
        .as_table_like_mut()
        .and_then(|table| table.get_mut("fault"))
        .and_then(|item| item.as_array_of_tables_mut())
        .ok_or("the scenario has no [[fault]]")?;
    let count = faults.len();
    let fault = faults
        .get_mut(index)
        .ok_or_else(|| format!("the scenario has {count} faults, counted from 0"))?;
    fault[*key] = toml_edit::Item::Value(value);
    Ok(())
}

/// A spanned TOML value as a plain one.
pub fn plain(value: &DeValue<'_>) -> toml::Value {
    match value {
        DeValue::String(text) => toml::Value::String(text.to_string()),
        DeValue::Integer(number) => {
            i64::from_str_radix(&number.as_str().replace('_', ""), number.radix()).map_or_else(
                |_| toml::Value::String(number.as_str().to_owned()),
                toml::Value::Integer,
            )
        }
        DeValue::Float(number) => number.as_str().replace('_', "").parse().map_or_else(
            |_| toml::Value::String(number.as_str().to_owned()),
            toml::Value::Float,
        ),
        DeValue::Boolean(flag) => toml::Value::Boolean(*flag),
        DeValue::Datetime(datetime) => toml::Value::Datetime(*datetime),
        DeValue::Array(items) => {
            toml::Value::Array(items.iter().map(|item| plain(item.get_ref())).collect())
        }
        DeValue::Table(table) => toml::Value::Table(
            table
                .iter()
                .map(|(key, value)| (key.get_ref().to_string(), plain(value.get_ref())))
                .collect(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_keep_the_lines() {
        let text = "seed = 7\n[sut]\ndriver = \"engine\" # ours\n[[fault]]\nat = \"1s\"\n";
        let overrides = Overrides {
            sut: Some("flume".into()),
            seed: Some(9),
            set: vec!["fault.0.at=2s".into(), "sut.agent=a2".into()],
            ..Overrides::default()
        };
        let applied = overrides.apply(Path::new("x.toml"), text).unwrap();
        let changed = applied.text;
        assert!(
            changed.contains("seed = 9\n[sut]\ndriver = \"flume\" # ours\n"),
            "{changed}"
        );
        assert!(
            changed.contains("at = \"2s\"") && changed.contains("agent = \"a2\""),
            "{changed}"
        );
        let wrong = Overrides {
            set: vec!["fault.3.at=2s".into()],
            ..Overrides::default()
        };
        assert!(
            wrong.apply(Path::new("x.toml"), text).unwrap_err()[0]
                .message
                .contains("1 faults")
        );
    }

    #[test]
    fn every_line_knows_where_it_comes_from() {
        let text = "seed = 7\n[load]\nrate = \"1/s\"\n\n[store]\nkind = \"files\"\n";
        let overrides = Overrides {
            set: vec![
                "load.deflate=true".into(),
                "load.rate=2/s".into(),
                "phases.steady=1s".into(),
            ],
            ..Overrides::default()
        };
        let applied = overrides.apply(Path::new("x.toml"), text).unwrap();
        assert_eq!(applied.origins.len(), lines(&applied.text).len());
        for (line, origin) in lines(&applied.text).iter().zip(&applied.origins) {
            match origin {
                Origin::Line(number) => assert_eq!(*line, lines(text)[number - 1]),
                Origin::Words(words) if line.contains("deflate") => {
                    assert_eq!(words, "--set load.deflate=true");
                }
                Origin::Words(words) if line.contains("rate") => {
                    assert_eq!(words, "--set load.rate=2/s");
                }
                Origin::Words(words) => assert_eq!(words, "--set phases.steady=1s", "{line}"),
            }
        }
        let kept = |origin: &&Origin| matches!(origin, Origin::Line(_));
        assert_eq!(applied.origins.iter().filter(kept).count(), 6);
    }

    #[test]
    fn nothing_set_leaves_the_text_alone() {
        let text = "seed = 7 # mine\n";
        let applied = Overrides::default()
            .apply(Path::new("x.toml"), text)
            .unwrap();
        assert_eq!((applied.text.as_str(), applied.origins.len()), (text, 0));
        for set in ["load.rate", "=5", "seed.x=1"] {
            let wrong = Overrides {
                set: vec![set.into()],
                ..Overrides::default()
            };
            let problems = wrong.apply(Path::new("x.toml"), text).unwrap_err();
            assert!(
                problems[0].message.starts_with(&format!("--set {set}")),
                "{problems:?}"
            );
        }
    }
}
