//! `json_lines`: one JSON object a line, exactly `size` bytes, the token as its string `id`.
//!
//! Bodies of 192 bytes and more have `time`, `level` and `service` too; shorter ones have only `id`
//! and `message`. All of it is ASCII without anything to escape, so any parser takes it.

use std::fmt::Write;

use super::{Kind, MIN_SIZE, PayloadError, Pool, Settings, Text};
use crate::token;

pub(super) static KIND: Kind = Kind {
    name: "json_lines",
    summary: "JSON objects, one a line, with the token as the string `id`.",
    example: "payload = \"json_lines\"",
    min_size: MIN_SIZE,
    fill,
};

/// From this size on there is room for all fields.
const FULL: usize = 192;

fn fill(settings: &Settings, text: &mut Text, pool: &mut Pool) -> Result<(), PayloadError> {
    while pool.has_room(settings, settings.size) {
        let before = "{\"id\":\"";
        let mut after = String::from("\",");
        if settings.size >= FULL {
            let (minute, second) = (text.below(60), text.below(60));
            let millis = text.below(1000);
            let level = text.pick(&["DEBUG", "INFO", "INFO", "INFO", "WARN", "ERROR"]);
            let service = text.word();
            // Writing to a string cannot fail.
            let _ = write!(
                after,
                "\"time\":\"2026-11-22T10:{minute:02}:{second:02}.{millis:03}Z\",\
                 \"level\":\"{level}\",\"service\":\"{service}\","
            );
        }
        after.push_str("\"message\":\"");
        let message = settings.size - token::LEN - before.len() - after.len() - 2;
        text.words(message, ' ', &mut after);
        after.push_str("\"}");
        pool.push(before.as_bytes(), after.as_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Identity;

    #[test]
    fn every_body_is_json_with_the_token_as_id() {
        for size in [MIN_SIZE, FULL - 1, FULL, 480] {
            let pool = Pool::new(
                KIND.name,
                &Settings {
                    size,
                    pool: 20_000,
                    path: None,
                },
                3,
            );
            let pool = pool.unwrap();
            for sequence in 0..pool.bodies() as u64 {
                let mut out = Vec::new();
                let identity = Identity {
                    run: 1,
                    producer: 0,
                    sequence,
                    intended: 0,
                };
                pool.write_event(&identity, &mut out);
                let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
                assert!(json["id"].as_str().unwrap().starts_with("fb1u"));
                assert_eq!(json.get("service").is_some(), size >= FULL);
            }
        }
    }
}
