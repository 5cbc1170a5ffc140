//! The record as a file: written whole, read whole, or refused by name. [`sealed`] does the same for
//! records of other shapes.
//!
//! The file is the JSON object of [`RunRecord`] with one key more, `content_sha256`: the SHA-256,
//! in lower-case hexadecimal, of the canonical form of all other keys. Canonical is: keys sorted
//! by their UTF-8 bytes at every depth, no white space, strings escaped as `serde_json` does. It
//! is taken over the JSON value and not over our types, so keys that a later writer added are
//! covered too, and formatting the file anew does no harm.
//!
//! Writing goes to a file beside it, which is synced and renamed: at any instant the record is
//! the old one, the new one, or none.

use std::io;
use std::path::{Path, PathBuf};

use super::{OwedRule, RunRecord, SCHEMA_VERSION, sealed};

/// Why a record could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read.
    #[error("failed to read the record {path}: {source}; is this the directory of a run?")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file could not be written.
    #[error("failed to write the record {path}: {source}; make room or choose another --out")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The record does not go into JSON.
    #[error("failed to put the record into JSON: {source}; this is a defect, please report it")]
    Encode {
        /// What the encoder said.
        source: serde_json::Error,
    },
    /// The JSON ends in the middle.
    #[error(
        "failed to read the record: it is cut off at line {line}, column {column}; \
         judge the run again from its journal"
    )]
    CutOff {
        /// The last line.
        line: usize,
        /// Its last column.
        column: usize,
    },
    /// It is no JSON, or not an object.
    #[error("failed to read the record: it is no JSON object ({reason}); is it the right file?")]
    NotARecord {
        /// What is wrong.
        reason: String,
    },
    /// A later program wrote it.
    #[error(
        "failed to read the record: its schema_version is {found} and this program reads up to \
         {newest}; use a newer flume-bench"
    )]
    Newer {
        /// Its version.
        found: u64,
        /// The newest that is read.
        newest: u32,
    },
    /// The content does not match the digest.
    #[error(
        "failed to read the record: it was edited or damaged (content_sha256 says {stated}, the \
         content is {actual}); judge the run again from its journal"
    )]
    Edited {
        /// The digest it carries; empty where it carries none.
        stated: String,
        /// The digest of what it holds.
        actual: String,
    },
    /// The digest is right and the shape is not.
    #[error("failed to read the record: {source}; it was written by another program")]
    Shape {
        /// The key and what is wrong with it.
        source: serde_json::Error,
    },
}

/// The text of a record file: pretty JSON with its digest and a final newline.
///
/// # Errors
/// [`Error::Encode`], which only a defect of ours can cause.
pub fn to_text(record: &RunRecord) -> Result<String, Error> {
    sealed::to_text(record)
}

/// Writes a record, replacing what is there.
///
/// # Errors
/// [`Error::Write`] with the path; the old file is then still whole.
pub fn write(path: &Path, record: &RunRecord) -> Result<(), Error> {
    sealed::write(path, record)
}

/// Reads a record file.
///
/// # Errors
/// All of [`Error`] but the ones of writing.
pub fn read(path: &Path) -> Result<RunRecord, Error> {
    sealed::read(path, SCHEMA_VERSION).map(understood)
}

/// Reads the text of a record file.
///
/// # Errors
/// As [`read`].
pub fn read_str(text: &str) -> Result<RunRecord, Error> {
    sealed::read_str(text, SCHEMA_VERSION).map(understood)
}

/// What older programs wrote, in the words of this one.
fn understood(mut record: RunRecord) -> RunRecord {
    if record.load.owed_rule == OwedRule::Issued {
        record.counts.without_answers();
    }
    record
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::Value;

    use super::super::sealed::{DIGEST_KEY, digest};
    use super::super::{Known, NO_ANSWERS};
    use super::*;

    fn text() -> String {
        let mut record = RunRecord {
            repeat: "flume-bench run x.toml".into(),
            ..Default::default()
        };
        record.counts.issued = 1_000;
        to_text(&record).unwrap()
    }

    #[test]
    fn a_record_comes_back_and_gives_the_same_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record.json");
        let record = read_str(&text()).unwrap();
        write(&path, &record).unwrap();
        assert_eq!(read(&path).unwrap(), record);
        assert_eq!(fs::read_to_string(&path).unwrap(), text());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn every_cut_is_named() {
        let text = text();
        let whole = text.trim_end().len();
        for end in 1..whole {
            if !text.is_char_boundary(end) {
                continue;
            }
            let error = read_str(&text[..end]).unwrap_err();
            assert!(
                matches!(error, Error::CutOff { .. }),
                "cut at {end}: {error}"
            );
        }
    }

    #[test]
    fn every_edited_number_is_named() {
        let edited = text().replace("\"issued\": 1000", "\"issued\": 1001");
        assert!(matches!(read_str(&edited), Err(Error::Edited { .. })));
        let bare = text().replace("content_sha256", "content_sha257");
        assert!(matches!(read_str(&bare), Err(Error::Edited { .. })));
    }

    #[test]
    fn formatting_anew_does_no_harm() {
        let value: Value = serde_json::from_str(&text()).unwrap();
        assert_eq!(
            read_str(&value.to_string()).unwrap(),
            read_str(&text()).unwrap()
        );
    }

    #[test]
    fn a_newer_version_is_refused_before_anything_else() {
        let newer = text().replace("\"schema_version\": 1", "\"schema_version\": 2");
        let error = read_str(&newer).unwrap_err();
        assert!(matches!(error, Error::Newer { found: 2, .. }), "{error}");
        assert!(error.to_string().contains("use a newer flume-bench"));
    }

    #[test]
    fn keys_that_were_added_are_covered_and_ignored() {
        let mut value: Value = serde_json::from_str(&text()).unwrap();
        let object = value.as_object_mut().unwrap();
        object.insert("added_later".into(), 1.into());
        assert!(matches!(
            read_str(&value.to_string()),
            Err(Error::Edited { .. })
        ));

        let object = value.as_object_mut().unwrap();
        object.remove(DIGEST_KEY);
        let digest = digest(&value);
        let object = value.as_object_mut().unwrap();
        object.insert(DIGEST_KEY.into(), digest.into());
        assert_eq!(read_str(&value.to_string()).unwrap().counts.issued, 1_000);
    }

    /// Seals a value as an older program would have.
    fn sealed(mut value: Value) -> String {
        let digest = digest(&value);
        let object = value.as_object_mut().unwrap();
        object.insert(DIGEST_KEY.into(), digest.into());
        value.to_string()
    }

    #[test]
    fn counts_that_follow_from_answers_are_numbers_or_null_with_a_reason() {
        let mut record = RunRecord::default();
        record.counts.acked = Known::Value(7);
        let written = to_text(&record).unwrap();
        assert!(written.contains("\"acked\": 7"), "{written}");
        let value: Value = serde_json::from_str(&written).unwrap();
        assert_eq!(value["counts"]["refused"]["value"], Value::Null);
        assert_eq!(value["counts"]["refused"]["reason"], "not recorded");
        assert_eq!(read_str(&written).unwrap(), record);
    }

    #[test]
    fn an_old_records_zeros_are_known_only_where_the_source_answered() {
        let read = |rule: OwedRule| {
            let mut record = RunRecord::default();
            record.load.owed_rule = rule;
            let mut value = serde_json::to_value(&record).unwrap();
            let counts = value["counts"].as_object_mut().unwrap();
            for count in ["acked", "refused", "unknown", "recovered"] {
                counts.insert(count.into(), 0.into());
            }
            read_str(&sealed(value)).unwrap().counts
        };
        let (answering, silent) = (read(OwedRule::Acked), read(OwedRule::Issued));
        assert_eq!(answering.recovered, Known::Value(0));
        let unknown = Known::unknown(NO_ANSWERS);
        for count in [
            silent.acked,
            silent.refused,
            silent.unknown,
            silent.recovered,
        ] {
            assert_eq!(count, unknown);
        }
    }

    #[test]
    fn a_missing_key_is_never_read_as_zero() {
        let mut value: Value = serde_json::from_str(&text()).unwrap();
        let object = value.as_object_mut().unwrap();
        object.remove(DIGEST_KEY);
        object["counts"].as_object_mut().unwrap().remove("lost");
        let digest = digest(&value);
        value
            .as_object_mut()
            .unwrap()
            .insert(DIGEST_KEY.into(), digest.into());
        let error = read_str(&value.to_string()).unwrap_err();
        assert!(error.to_string().contains("lost"), "{error}");
    }
}
