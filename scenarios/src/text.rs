//! Durations, sizes and rates as people write them: `"250ms"`, `"64 MiB"`, `"20000/s"`.
//!
//! Each parser takes the text exactly as it stands in a scenario and answers with a sentence that
//! names the text, what is wrong with it and what is allowed. The `serde` modules of the same
//! names serve `#[serde(deserialize_with = "…")]`.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// A text that could not be read as a duration, a size or a rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not {expected}")]
pub struct TextError {
    /// What was written.
    pub text: String,
    /// What is allowed.
    pub expected: &'static str,
}

const DURATION: &str =
    "a duration: write a number and a unit of us, ms, s, min or h, such as \"250ms\" or \"1.5s\"";
const SIZE: &str =
    "a size: write a number and a unit of B, KiB, MiB or GiB (or kB, MB, GB), such as \"64 MiB\"";
const RATE: &str = "a rate: write events per second, such as \"20000/s\" (also /ms, /min, /h)";

/// Splits `"1.5 s"` into 1.5 and `"s"`. The number must be finite and not negative.
fn number_and_unit(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_'))
        .unwrap_or(text.len());
    let number: f64 = text[..end].replace('_', "").parse().ok()?;
    number.is_finite().then_some((number, text[end..].trim()))
}

/// Reads `"250ms"`, `"1.5 s"`, `"2min"`, `"1h"`. `"0"` needs no unit.
pub fn parse_duration(text: &str) -> Result<Duration, TextError> {
    let error = || TextError {
        text: text.to_owned(),
        expected: DURATION,
    };
    let (number, unit) = number_and_unit(text).ok_or_else(error)?;
    let seconds = match unit {
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "" if number == 0.0 => 1.0,
        _ => return Err(error()),
    };
    Duration::try_from_secs_f64(number * seconds).map_err(|_| error())
}

/// Reads `"64 MiB"`, `"10kB"`, `"512"` (bytes) into bytes.
pub fn parse_size(text: &str) -> Result<u64, TextError> {
    let error = || TextError {
        text: text.to_owned(),
        expected: SIZE,
    };
    let (number, unit) = number_and_unit(text).ok_or_else(error)?;
    let factor = match unit {
        "" | "B" => 1.0,
        "kB" | "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        "GiB" => 1024.0 * 1024.0 * 1024.0,
        _ => return Err(error()),
    };
    let bytes = number * factor;
    if bytes > 9e15 {
        Err(error())
    } else {
        Ok(bytes.round() as u64)
    }
}

/// Reads `"20000/s"`, `"50/ms"`, `"600/min"` into events per second; the rate must be above 0.
pub fn parse_rate(text: &str) -> Result<f64, TextError> {
    let error = || TextError {
        text: text.to_owned(),
        expected: RATE,
    };
    let (number, unit) = number_and_unit(text).ok_or_else(error)?;
    let per_second = match unit {
        "/s" => 1.0,
        "/ms" => 1e3,
        "/min" => 1.0 / 60.0,
        "/h" => 1.0 / 3600.0,
        _ => return Err(error()),
    };
    if number > 0.0 {
        Ok(number * per_second)
    } else {
        Err(error())
    }
}

/// Writes a duration the way it would be written in a scenario: `"1.5s"`, `"250ms"`.
pub fn show_duration(duration: Duration) -> String {
    let micros = duration.as_micros();
    if micros == 0 {
        "0s".to_owned()
    } else if !micros.is_multiple_of(1_000) {
        format!("{micros}us")
    } else if micros < 1_000_000 {
        format!("{}ms", micros / 1_000)
    } else if micros.is_multiple_of(60_000_000) && micros >= 120_000_000 {
        format!("{}min", micros / 60_000_000)
    } else {
        format!("{}s", micros as f64 / 1e6)
    }
}

/// `#[serde(with = "text::duration")]`-style reading of a duration.
pub fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse_duration(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

/// As [`duration`], for a key that may be absent (with `#[serde(default)]`).
pub fn duration_option<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

/// Reads a size in bytes.
pub fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    parse_size(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

/// As [`size`], for a key that may be absent (with `#[serde(default)]`).
pub fn size_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    size(deserializer).map(Some)
}

/// Reads a rate in events per second.
pub fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    parse_rate(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_shown() {
        for (text, micros) in [
            ("250ms", 250_000),
            ("1.5 s", 1_500_000),
            ("2min", 120_000_000),
            ("0", 0),
            ("7us", 7),
        ] {
            assert_eq!(
                parse_duration(text).unwrap(),
                Duration::from_micros(micros),
                "{text}"
            );
        }
        for text in ["", "5", "-1s", "1 fortnight", "s", "1e400s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        for text in ["250ms", "1.5s", "2min", "8s", "90s"] {
            assert_eq!(show_duration(parse_duration(text).unwrap()), text);
        }
    }

    #[test]
    fn sizes_and_rates_are_read() {
        assert_eq!(parse_size("64 MiB").unwrap(), 64 << 20);
        assert_eq!(parse_size("10kB").unwrap(), 10_000);
        assert!(parse_size("10 stones").is_err());
        assert_eq!(parse_rate("20000/s").unwrap(), 20_000.0);
        assert_eq!(parse_rate("60/min").unwrap(), 1.0);
        assert!(parse_rate("20000").is_err());
        assert!(parse_rate("0/s").is_err());
    }
}
