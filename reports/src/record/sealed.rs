//! Records sealed with a digest, of any shape: written whole, read whole, or refused by name. The
//! form is that of a run's record ([`crate::record`]).

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::file::Error;

/// The key of the digest.
pub(super) const DIGEST_KEY: &str = "content_sha256";

/// Pretty JSON with its digest and a final newline.
///
/// # Errors
/// [`Error::Encode`], which only a defect of ours can cause.
pub(crate) fn to_text<T: Serialize>(record: &T) -> Result<String, Error> {
    let encode = |source| Error::Encode { source };
    let mut value = serde_json::to_value(record).map_err(encode)?;
    let digest = digest(&value);
    if let Value::Object(object) = &mut value {
        object.insert(DIGEST_KEY.to_owned(), Value::String(digest));
    }
    let mut text = serde_json::to_string_pretty(&value).map_err(encode)?;
    text.push('\n');
    Ok(text)
}

/// Writes a record, replacing what is there.
///
/// # Errors
/// [`Error::Write`] with the path; the old file is then still whole.
pub(crate) fn write<T: Serialize>(path: &Path, record: &T) -> Result<(), Error> {
    let text = to_text(record)?;
    let beside = path.with_extension("json.new");
    let put = || -> io::Result<()> {
        let mut file = fs::File::create(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        // The rename itself is on disk only when the directory is.
        match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => fs::File::open(parent)?.sync_all(),
            _ => fs::File::open(".")?.sync_all(),
        }
    };
    put().map_err(|source| Error::Write {
        path: path.to_owned(),
        source,
    })
}

/// Reads a record file of a version up to `newest`.
///
/// # Errors
/// All of [`Error`] but the ones of writing.
pub(crate) fn read<T: DeserializeOwned>(path: &Path, newest: u32) -> Result<T, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    read_str(&text, newest)
}

/// Reads the text of a record file.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_str<T: DeserializeOwned>(text: &str, newest: u32) -> Result<T, Error> {
    let value: Value = serde_json::from_str(text).map_err(|source| {
        if source.is_eof() {
            Error::CutOff {
                line: source.line(),
                column: source.column(),
            }
        } else {
            Error::NotARecord {
                reason: source.to_string(),
            }
        }
    })?;
    let Value::Object(mut object) = value else {
        return Err(Error::NotARecord {
            reason: "the outermost value is something else".into(),
        });
    };
    // First of all the version: another one may have another digest.
    match object.get("schema_version").and_then(Value::as_u64) {
        None => {
            let reason = "it has no schema_version".to_owned();
            return Err(Error::NotARecord { reason });
        }
        Some(found) if found > u64::from(newest) => return Err(Error::Newer { found, newest }),
        Some(_) => {}
    }
    let stated = match object.remove(DIGEST_KEY) {
        Some(Value::String(stated)) => stated,
        _ => String::new(),
    };
    let value = Value::Object(object);
    let actual = digest(&value);
    if stated != actual {
        return Err(Error::Edited { stated, actual });
    }
    serde_json::from_value(value).map_err(|source| Error::Shape { source })
}

/// The digest of a JSON value in its canonical form.
pub(super) fn digest(value: &Value) -> String {
    let mut canonical = String::new();
    canonical_form(value, &mut canonical);
    let hash = Sha256::digest(canonical.as_bytes());
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Appends the canonical form. The keys are sorted here, because the order in which a JSON map
/// keeps its keys depends on features that other crates of a build may switch on.
fn canonical_form(value: &Value, out: &mut String) {
    match value {
        Value::Object(object) => canonical_object(object, out),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                canonical_form(item, out);
            }
            out.push(']');
        }
        leaf => out.push_str(&leaf.to_string()),
    }
}

fn canonical_object(object: &Map<String, Value>, out: &mut String) {
    let mut entries: Vec<(&String, &Value)> = object.iter().collect();
    entries.sort_by_key(|(key, _)| *key);
    out.push('{');
    for (i, (key, value)) in entries.into_iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        out.push_str(&Value::String(key.clone()).to_string());
        out.push(':');
        canonical_form(value, out);
    }
    out.push('}');
}
