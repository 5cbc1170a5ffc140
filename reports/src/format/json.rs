//! `json`: the record itself, as it is in `record.json`, with its digest.
//!
//! The schema is [`crate::record::SCHEMA`].

use super::{Error, Format, Input, Rendered};
use crate::record;

/// The format `json`.
#[derive(Debug)]
pub(super) struct Json;

impl Format for Json {
    fn name(&self) -> &'static str {
        "json"
    }

    fn summary(&self) -> &'static str {
        "the record itself, with a published schema"
    }

    fn render(&self, input: &Input<'_>) -> Result<Vec<Rendered>, Error> {
        let text = record::to_text(input.record)?;
        Ok(vec![Rendered {
            file_name: "record.json",
            text,
        }])
    }
}
