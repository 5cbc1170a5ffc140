//! The campaign's record as a file: sealed as a run's record is.

use std::path::{Path, PathBuf};

use super::{CampaignRecord, SCHEMA_VERSION};
use crate::record::{self, sealed};

/// Why a campaign's record could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is cut off.
    #[error(
        "the campaign's record {path} is cut off at line {line}: nothing of it is used; the records \
         of its trials lie beside it under trials/"
    )]
    CutOff {
        /// The file.
        path: PathBuf,
        /// Its last line.
        line: usize,
    },
    /// Its content does not match its digest.
    #[error(
        "the campaign's record {path} was edited or damaged (content_sha256 does not match): nothing \
         of it is used; the records of its trials lie beside it under trials/"
    )]
    Edited {
        /// The file.
        path: PathBuf,
    },
    /// Anything else.
    #[error("the campaign's record {path}: {source}")]
    Other {
        /// The file.
        path: PathBuf,
        /// What.
        source: record::Error,
    },
}

fn of(path: &Path, error: record::Error) -> Error {
    let path = path.to_owned();
    match error {
        record::Error::CutOff { line, .. } => Error::CutOff { path, line },
        record::Error::Edited { .. } => Error::Edited { path },
        source => Error::Other { path, source },
    }
}

/// The text of the file.
///
/// # Errors
/// Only by a defect of ours.
pub fn to_text(record: &CampaignRecord) -> Result<String, Error> {
    sealed::to_text(record).map_err(|error| of(Path::new("campaign.json"), error))
}

/// Writes it whole, replacing what is there.
///
/// # Errors
/// [`Error::Other`]: the file cannot be written; what was there is still whole.
pub fn write(path: &Path, record: &CampaignRecord) -> Result<(), Error> {
    sealed::write(path, record).map_err(|error| of(path, error))
}

/// Reads it whole, or refuses it by name.
///
/// # Errors
/// [`Error`]
pub fn read(path: &Path) -> Result<CampaignRecord, Error> {
    sealed::read(path, SCHEMA_VERSION).map_err(|error| of(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_damaged_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("campaign.json");
        let mut record = CampaignRecord {
            schema_version: SCHEMA_VERSION,
            ..CampaignRecord::default()
        };
        record.trials.push(super::super::Trial {
            number: 1,
            ..Default::default()
        });
        write(&path, &record).unwrap();
        assert_eq!(read(&path).unwrap(), record);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() / 2]).unwrap();
        assert!(matches!(read(&path), Err(Error::CutOff { .. })));
        std::fs::write(&path, text.replacen("\"number\": 1", "\"number\": 2", 1)).unwrap();
        assert!(matches!(read(&path), Err(Error::Edited { .. })));
        let newer = text.replacen("\"schema_version\": 1", "\"schema_version\": 2", 1);
        std::fs::write(&path, newer).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("schema_version is 2"), "{error}");
    }
}
