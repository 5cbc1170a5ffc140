//! Overrides from the command line: `--set key=value`, `--sut`, `--provider`, `--seed`.

use std::path::Path;

use toml::de::DeValue;

use super::reader::Problem;

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

impl Overrides {
    /// The scenario's text with everything overridden in place, so that lines stay where they were
    /// wherever the key was already written.
    pub fn apply(&self, path: &Path, text: &str) -> Result<String, Vec<Problem>> {
        let mut all: Vec<(String, String)> = Vec::new();
        let quoted = |value: &str| format!("\"{value}\"");
        all.extend(
            self.sut
                .as_ref()
                .map(|sut| ("sut.driver".to_owned(), quoted(sut))),
        );
        all.extend(
            self.provider
                .as_ref()
                .map(|provider| ("store.provider".to_owned(), quoted(provider))),
        );
        all.extend(self.seed.map(|seed| ("seed".to_owned(), seed.to_string())));
        let mut problems = Vec::new();
        for set in &self.set {
            match set.split_once('=') {
                Some((key, value)) if !key.trim().is_empty() => {
                    all.push((key.trim().to_owned(), value.trim().to_owned()))
                }
                _ => problems.push(Problem::of_machine(
                    format!("--set {set} is not understood"),
                    "write --set key=value, such as --set load.rate=5000/s",
                )),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        if all.is_empty() {
            return Ok(text.to_owned());
        }
        // A file with syntax errors is reported by the reader, with all of them.
        let Ok(mut document) = text.parse::<toml_edit::DocumentMut>() else {
            return Ok(text.to_owned());
        };
        for (key, value) in &all {
            if let Err(message) = set(&mut document, key, value) {
                problems.push(Problem {
                    file: Some(path.to_owned()),
                    line: 0,
                    message: format!("--set {key}={value}: {message}"),
                    remedy: None,
                });
            }
        }
        if problems.is_empty() {
            Ok(document.to_string())
        } else {
            Err(problems)
        }
    }
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
        let changed = overrides.apply(Path::new("x.toml"), text).unwrap();
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
}
