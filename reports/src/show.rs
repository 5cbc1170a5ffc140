//! Numbers as people read them, the same in every rendering.
//!
//! Records hold exact integers; here, and only here, they are shortened. A number is given with
//! three or four significant digits and its unit, counts of events in full.

use crate::record::{Known, Quantity, Ratio};

/// What stands where a value is unknown; the reason goes beside it where there is room.
pub const UNKNOWN: &str = "unknown";

const US_PER_HOUR: u64 = 3_600_000_000;

/// An exact count with thousands separated: `1,199,600`.
#[must_use]
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number with about three significant digits, trailing zeros left out: `14.2`, `0.0031`,
/// `19,940`.
#[must_use]
pub fn decimal(value: f64) -> String {
    if !value.is_finite() {
        return "-".to_owned();
    }
    let size = value.abs();
    if size >= 100.0 {
        let sign = if value < 0.0 { "-" } else { "" };
        return format!("{sign}{}", count(size.round() as u64));
    }
    if size == 0.0 {
        return "0".to_owned();
    }
    let digits = (2 - size.log10().floor() as i32).clamp(0, 12) as usize;
    let text = format!("{value:.digits$}");
    if text.contains('.') {
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    text
}

/// A number for the tick of an axis: `500`, `20k`, `1.5M`.
#[must_use]
pub fn compact(value: f64) -> String {
    match value.abs() {
        1e9.. => decimal(value / 1e9) + "G",
        1e6.. => decimal(value / 1e6) + "M",
        1e3.. => decimal(value / 1e3) + "k",
        _ => decimal(value),
    }
}

/// An instant of the calendar as people write it: `1 January 2026, 12:30 UTC`; as it stands where it
/// is none.
#[must_use]
pub fn date(text: &str) -> String {
    let parsed: Result<jiff::Timestamp, _> = text.parse();
    parsed.map_or_else(
        |_| text.to_owned(),
        |at| at.strftime("%-d %B %Y, %H:%M UTC").to_string(),
    )
}

/// A duration given in µs: `850 µs`, `12.3 ms`, `1.93 s`, `2 min 5 s`, `2 h`.
#[must_use]
pub fn duration(us: u64) -> String {
    // Below a minute three digits are enough, above it two units.
    let two = |unit: u64, big: &str, part: u64, small: &str| {
        let parts = us / part;
        let (whole, rest) = (parts / (unit / part), parts % (unit / part));
        if rest == 0 {
            format!("{whole} {big}")
        } else {
            format!("{whole} {big} {rest} {small}")
        }
    };
    match us {
        US_PER_HOUR.. => two(US_PER_HOUR, "h", 60_000_000, "min"),
        60_000_000.. => two(60_000_000, "min", 1_000_000, "s"),
        _ => duration_f64(us as f64),
    }
}

/// A duration in µs that may be a fraction, as a time per event is.
#[must_use]
pub fn duration_f64(us: f64) -> String {
    // The limits are where three digits would round up to the next unit.
    if us == 0.0 {
        "0 µs".to_owned()
    } else if us < 0.9995 {
        format!("{} ns", decimal(us * 1e3))
    } else if us < 999.5 {
        format!("{} µs", decimal(us))
    } else if us < 999_500.0 {
        format!("{} ms", decimal(us / 1e3))
    } else {
        format!("{} s", decimal(us / 1e6))
    }
}

/// An instant given in µs since t0: `15.003 s`.
#[must_use]
pub fn instant(us: u64) -> String {
    let text = format!("{}.{:03}", us / 1_000_000, us % 1_000_000 / 1_000);
    format!("{} s", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Bytes in binary units: `212 MiB`.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    bytes_f64(bytes as f64)
}

/// Bytes that may be a fraction, as a rate is.
#[must_use]
pub fn bytes_f64(bytes: f64) -> String {
    let mut scaled = bytes;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if scaled < 1_000.0 {
            break;
        }
        scaled /= 1_024.0;
        unit = next;
    }
    format!("{} {unit}", decimal(scaled))
}

/// Millionths as a percentage: `82.5 %`.
#[must_use]
pub fn ppm(ppm: u64) -> String {
    Ratio::new(ppm, 1_000_000).percent()
}

/// A quantity in its own unit.
#[must_use]
pub fn quantity(quantity: &Quantity) -> String {
    let value = quantity.value;
    match quantity.unit.as_str() {
        "us" => duration(value),
        "bytes" => bytes(value),
        "ppm" => ppm(value),
        "events_per_s" => format!("{} events/s", count(value)),
        "" => count(value),
        "events" => plural(value, "event"),
        other => format!("{} {other}", count(value)),
    }
}

/// A known value through `show`, or the word for an unknown one.
pub fn known<T>(value: &Known<T>, show: impl FnOnce(&T) -> String) -> String {
    value.value().map_or_else(|| UNKNOWN.to_owned(), show)
}

/// A known value through `show`, or the word for an unknown one with its reason.
pub fn known_or_why<T>(value: &Known<T>, show: impl FnOnce(&T) -> String) -> String {
    match value {
        Known::Value(value) => show(value),
        Known::Unknown(reason) => format!("{UNKNOWN} ({reason})"),
    }
}

/// The transfer delay, a time per event: `50.1 µs`, and in hours where the run took hours.
#[must_use]
pub fn delay(delay: Ratio) -> String {
    let Some(us) = delay.as_f64() else {
        return "-".to_owned();
    };
    let per_event = duration_f64(us);
    match delay_hours(delay) {
        Some(hours) => format!("{per_event} ({hours}) per event"),
        None => format!("{per_event} per event"),
    }
}

/// The transfer delay in hours, where the run took hours: `0.002 h`.
#[must_use]
pub fn delay_hours(delay: Ratio) -> Option<String> {
    let us = delay.as_f64().filter(|_| delay.part >= US_PER_HOUR)?;
    Some(decimal(us / US_PER_HOUR as f64) + " h")
}

/// A rate in events a second from events ÷ µs.
#[must_use]
pub fn events_rate(rate: Ratio) -> String {
    rate.as_f64().map_or_else(
        || "-".to_owned(),
        |per_us| decimal(per_us * 1e6) + " events/s",
    )
}

/// A rate in bytes a second from bytes ÷ µs.
#[must_use]
pub fn bytes_rate(rate: Ratio) -> String {
    rate.as_f64()
        .map_or_else(|| "-".to_owned(), |per_us| bytes_f64(per_us * 1e6) + "/s")
}

/// `1 event`, `2 events`.
#[must_use]
pub fn plural(value: u64, noun: &str) -> String {
    format!(
        "{} {noun}{}",
        count(value),
        if value == 1 { "" } else { "s" }
    )
}

/// The letter of the i-th fault, by which figures and tables refer to it: A, B, …, Z, AA, …
#[must_use]
pub fn letter(i: usize) -> String {
    let last = char::from(b'A' + (i % 26) as u8);
    if i < 26 {
        last.to_string()
    } else {
        letter(i / 26 - 1) + &last.to_string()
    }
}

/// A key as words: `stored_response` → `stored response`.
#[must_use]
pub fn words(key: &str) -> String {
    key.replace('_', " ")
}

/// Text from outside with everything made visible that could steer a terminal.
#[must_use]
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(' '),
            // Control characters, and those that turn the direction of writing around.
            c if c.is_control()
                || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
            {
                out.extend(c.escape_unicode());
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_exact_and_grouped() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(count(u64::MAX), "18,446,744,073,709,551,615");
    }

    #[test]
    fn durations_have_the_unit_that_fits() {
        let shown: Vec<String> = [
            0,
            1,
            850,
            999,
            1_000,
            12_345,
            999_400,
            999_600,
            1_930_000,
            59_990_000,
            125_000_000,
        ]
        .into_iter()
        .map(duration)
        .collect();
        let expected = [
            "0 µs",
            "1 µs",
            "850 µs",
            "999 µs",
            "1 ms",
            "12.3 ms",
            "999 ms",
            "1 s",
            "1.93 s",
            "60 s",
            "2 min 5 s",
        ];
        assert_eq!(shown, expected);
        assert_eq!(duration(2 * US_PER_HOUR), "2 h");
        assert_eq!(duration_f64(0.25), "250 ns");
    }

    #[test]
    fn an_instant_is_a_date_with_its_minute() {
        let shown = date("2026-03-05T06:07:08.123456789Z");
        assert_eq!(shown, "5 March 2026, 06:07 UTC");
        assert_eq!(date("2026-03-05T06:07:08+02:00"), "5 March 2026, 04:07 UTC");
        assert_eq!(date("not known"), "not known");
        assert_eq!(date(""), "");
    }

    #[test]
    fn bytes_and_rates() {
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(212 << 20), "212 MiB");
        assert_eq!(
            events_rate(Ratio::new(1_200_000, 60_000_000)),
            "20,000 events/s"
        );
        assert_eq!(bytes_rate(Ratio::new(60 << 20, 60_000_000)), "1 MiB/s");
    }

    #[test]
    fn a_delay_of_a_long_run_is_given_in_hours_too() {
        assert_eq!(
            delay(Ratio::new(2 * US_PER_HOUR, 1_000)),
            "7.2 s (0.002 h) per event"
        );
        assert_eq!(delay(Ratio::new(60_000_000, 1_200_000)), "50 µs per event");
    }

    #[test]
    fn small_numbers_keep_their_digits() {
        assert_eq!(decimal(0.003_14), "0.00314");
        assert_eq!(decimal(20.0), "20");
        assert_eq!(decimal(99.96), "100");
        assert_eq!(decimal(f64::NAN), "-");
    }

    #[test]
    fn ticks_are_short() {
        let shown = [0.0, 500.0, 20_000.0, 150_000.0, 1.5e6, 2e9].map(compact);
        assert_eq!(shown, ["0", "500", "20k", "150k", "1.5M", "2G"]);
    }

    #[test]
    fn letters_go_on_after_z() {
        let some: Vec<String> = [0, 25, 26, 701, 702].into_iter().map(letter).collect();
        assert_eq!(some, ["A", "Z", "AA", "ZZ", "AAA"]);
    }

    #[test]
    fn nothing_from_outside_steers_a_terminal() {
        assert_eq!(clean("a\u{1b}[31mb\nc"), "a\\u{1b}[31mb c");
        assert!(!clean("\u{202e}").contains('\u{202e}'));
    }
}
