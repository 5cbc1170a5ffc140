//! `fixed`: plain words of exactly `size` bytes, the token in the middle.
//!
//! The cheapest text there is; for throughput, where the content should not matter.

use super::{Kind, MIN_SIZE, PayloadError, Pool, Settings, Text};
use crate::token;

pub(super) static KIND: Kind = Kind {
    name: "fixed",
    summary: "Plain words of exactly `size` bytes.",
    example: "payload = \"fixed\"",
    min_size: MIN_SIZE,
    fill,
};

fn fill(settings: &Settings, text: &mut Text, pool: &mut Pool) -> Result<(), PayloadError> {
    let payload = settings.size - token::LEN;
    while pool.has_room(settings, settings.size) {
        let (mut before, mut after) = (String::new(), String::from(" "));
        text.words(payload / 2 - 1, ' ', &mut before);
        before.push(' ');
        text.words(payload - payload / 2 - 1, ' ', &mut after);
        pool.push(before.as_bytes(), after.as_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Identity;

    #[test]
    fn the_token_stands_between_two_spaces() {
        let settings = Settings {
            size: 96,
            pool: 10_000,
            path: None,
        };
        let pool = Pool::new(KIND.name, &settings, 3).unwrap();
        let mut out = Vec::new();
        pool.write_event(
            &Identity {
                run: 1,
                producer: 0,
                sequence: 0,
                intended: 0,
            },
            &mut out,
        );
        assert_eq!(out[15..20], *b" fb1u");
        assert_eq!(out[80], b' ');
    }
}
