//! `access_log`: lines of a web server's access log in the combined format, exactly `size` bytes.
//!
//! ```text
//! 198.51.100.7 - - [22/Nov/2026:10:31:07 +0000] "GET /order/stock?id=TOKEN HTTP/1.1" 200 5120 "https://www.example.com/…" "Mozilla/5.0 …"
//! ```
//!
//! The token is the query's `id`. Addresses are those reserved for documentation; the referrer is
//! filled with words until the line has its size.

use std::fmt::Write;

use super::{Kind, PayloadError, Pool, Settings, Text};
use crate::token;

pub(super) static KIND: Kind = Kind {
    name: "access_log",
    summary: "Lines of a web server's access log, with the token in the request.",
    example: "payload = \"access_log\"",
    min_size: 320,
    fill,
};

static AGENTS: &[&str] = &[
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/138.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5) AppleWebKit/605.1.15 Safari/605.1.15",
    "curl/8.14.1",
];

fn fill(settings: &Settings, text: &mut Text, pool: &mut Pool) -> Result<(), PayloadError> {
    while pool.has_room(settings, settings.size) {
        let (mut before, mut after) = (String::new(), String::new());
        let net = text.pick(&["192.0.2", "198.51.100", "203.0.113"]);
        let (host, hour) = (text.below(254) + 1, text.below(24));
        let (minute, second) = (text.below(60), text.below(60));
        let method = text.pick(&["GET", "GET", "GET", "POST", "HEAD"]);
        let (folder, page) = (text.word(), text.word());
        // Writing to a string cannot fail.
        let _ = write!(
            before,
            "{net}.{host} - - [22/Nov/2026:{hour:02}:{minute:02}:{second:02} +0000] \
             \"{method} /{folder}/{page}?id="
        );
        let status = text.pick(&["200", "200", "200", "200", "302", "304", "404", "500"]);
        let (bytes, agent) = (text.below(100_000), text.pick(AGENTS));
        let _ = write!(
            after,
            " HTTP/1.1\" {status} {bytes} \"https://www.example.com/"
        );
        let used = before.len() + token::LEN + after.len() + agent.len() + 4;
        text.words(settings.size.saturating_sub(used), '-', &mut after);
        let _ = write!(after, "\" \"{agent}\"");
        pool.push(before.as_bytes(), after.as_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Identity;

    #[test]
    fn a_line_has_the_fields_of_the_combined_format() {
        let pool = Pool::new(
            KIND.name,
            &Settings {
                pool: 50_000,
                ..Settings::default()
            },
            3,
        );
        let pool = pool.unwrap();
        for sequence in 0..pool.bodies() as u64 {
            let mut out = Vec::new();
            pool.write_event(
                &Identity {
                    run: 1,
                    producer: 0,
                    sequence,
                    intended: 0,
                },
                &mut out,
            );
            let line = String::from_utf8(out).unwrap();
            let quoted: Vec<_> = line.split('"').collect();
            assert_eq!(quoted.len(), 7, "{line}");
            assert!(
                quoted[1].contains("?id=fb1u") && quoted[1].ends_with(" HTTP/1.1"),
                "{line}"
            );
            assert!(quoted[3].starts_with("https://www.example.com/"), "{line}");
            let numbers: Vec<u32> = quoted[2]
                .split_whitespace()
                .map(|number| number.parse().unwrap())
                .collect();
            assert_eq!(numbers.len(), 2, "{line}");
        }
    }
}
