//! Escapes in `hdfs.path` and `hdfs.filePrefix`: text that depends on the event and the time.
//!
//! | escape | becomes | | escape | becomes |
//! |---|---|---|---|---|
//! | `%{name}` | header, empty if missing | | `%j` | day of the year, 001–366 |
//! | `%[localhost]` `%[IP]` `%[FQDN]` | of this host | | `%k` `%H` | hour, 0–23, 00–23 |
//! | `%t` | ms since the epoch, never rounded | | `%l` `%I` | hour, 1–12, 01–12 |
//! | `%s` | s since the epoch | | `%n` `%m` | month, 1–12, 01–12 |
//! | `%a` `%A` | Mon, Monday | | `%M` `%S` | minute, second, two digits |
//! | `%b` `%h` `%B` | Jan, Jan, January | | `%p` | AM or PM |
//! | `%c` | Thu Mar 3 23:05:25 2005 | | `%y` `%Y` | year, two and four digits |
//! | `%e` `%d` | day, 1–31, 01–31 | | `%z` | +hhmm |
//! | `%D` | month/day/year: two more directories | | `%%` | % |
//!
//! Any other letter becomes nothing, as in Flume. All but the first two rows need a time: the event's
//! `timestamp` header in ms, rounded down if the settings say so. Text with a time is expanded once
//! for each second that occurs, not once for each event, unless it holds a header or `%t`.

use std::net::ToSocketAddrs;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::event::Event;

/// What times are rounded down to a multiple of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Second,
    Minute,
    Hour,
}

/// How times are shown.
#[derive(Debug, Clone)]
pub(super) struct Calendar {
    pub(super) zone: TimeZone,
    /// Rounding, with the multiple.
    pub(super) round: Option<(Unit, u32)>,
}

impl Calendar {
    /// The time to show for `millis` since the epoch. Times beyond the year 9999 are shown as 1970.
    fn at(&self, millis: i64) -> Zoned {
        let shown = |millis| {
            let time = Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH);
            time.to_zoned(self.zone.clone())
        };
        let time = shown(millis);
        let below_second = millis.rem_euclid(1000);
        let (second, minute) = (i64::from(time.second()), i64::from(time.minute()));
        let floor = |value: i64, multiple: u32| value % i64::from(multiple.max(1));
        match self.round {
            None => time,
            Some((Unit::Second, multiple)) => {
                shown(millis - floor(second, multiple) * 1000 - below_second)
            }
            Some((Unit::Minute, multiple)) => {
                shown(millis - (floor(minute, multiple) * 60 + second) * 1000 - below_second)
            }
            // By the clock on the wall, which daylight saving makes differ from elapsed hours.
            Some((Unit::Hour, multiple)) => {
                let hour = time.hour() - floor(i64::from(time.hour()), multiple) as i8;
                let rounded = time
                    .with()
                    .hour(hour)
                    .minute(0)
                    .second(0)
                    .subsec_nanosecond(0);
                rounded.build().unwrap_or(time)
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Header(String),
    /// `%t`.
    Millis,
    /// Any other letter.
    Time(char),
}

/// Text with escapes.
#[derive(Debug, Clone)]
pub(super) struct Template {
    pieces: Vec<Piece>,
    /// The second that `cached` was made for.
    cached_for: Option<i64>,
    cached: String,
}

impl Template {
    /// Takes text apart.
    ///
    /// # Errors
    /// For `%[…]` with another word, or a host without an address.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('%') {
            plain.push_str(before);
            let (piece, tail) = escape(after)?;
            match piece {
                Piece::Text(text) => plain.push_str(&text),
                piece => {
                    if !plain.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut plain)));
                    }
                    pieces.push(piece);
                }
            }
            rest = tail;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self {
            pieces,
            cached_for: None,
            cached: String::new(),
        })
    }

    /// Whether a time is needed.
    pub(super) fn needs_time(&self) -> bool {
        self.pieces
            .iter()
            .any(|piece| matches!(piece, Piece::Millis | Piece::Time(_)))
    }

    /// Whether the text is the same for all events of a second.
    fn is_by_second(&self) -> bool {
        self.pieces
            .iter()
            .all(|piece| matches!(piece, Piece::Text(_) | Piece::Time(_)))
    }

    /// The text for an event at a time (ms since the epoch).
    pub(super) fn expand(&mut self, event: &Event<'_>, millis: i64, calendar: &Calendar) -> &str {
        let second = millis.div_euclid(1000);
        if self.cached_for == Some(second) {
            return &self.cached;
        }
        let time = self.needs_time().then(|| calendar.at(millis));
        self.cached.clear();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => self.cached.push_str(text),
                Piece::Header(name) => self.cached.push_str(event.header(name).unwrap_or_default()),
                Piece::Millis => self.cached.push_str(&millis.to_string()),
                Piece::Time(letter) => {
                    if let Some(time) = &time {
                        self.cached.push_str(&shown(*letter, time));
                    }
                }
            }
        }
        self.cached_for = self.is_by_second().then_some(second);
        &self.cached
    }
}

/// The escape after a `%`, and what follows it. What is no escape stays as it is.
fn escape(after: &str) -> Result<(Piece, &str), String> {
    let literal = || Ok((Piece::Text("%".to_owned()), after));
    let named = |open: char, close: char| {
        after
            .strip_prefix(open)
            .and_then(|rest| rest.split_once(close))
    };
    if let Some((name, rest)) = named('{', '}') {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if name.is_empty() || !name.chars().all(plain) {
            return literal();
        }
        return Ok((Piece::Header(name.to_owned()), rest));
    }
    if let Some((word, rest)) = named('[', ']') {
        return Ok((Piece::Text(host(word)?), rest));
    }
    let mut rest = after.chars();
    Ok(match rest.next() {
        Some('%') => (Piece::Text("%".to_owned()), rest.as_str()),
        Some('t') => (Piece::Millis, rest.as_str()),
        Some(letter) if letter.is_ascii_alphanumeric() || letter == '_' => {
            (Piece::Time(letter), rest.as_str())
        }
        _ => return literal(),
    })
}

fn host(word: &str) -> Result<String, String> {
    let name = nix::sys::utsname::uname()
        .map(|names| names.nodename().to_string_lossy().into_owned())
        .map_err(|error| format!("the name of this host cannot be had: {error}"))?;
    match word.to_ascii_lowercase().as_str() {
        "localhost" | "fqdn" => Ok(name),
        "ip" => (name.as_str(), 0)
            .to_socket_addrs()
            .ok()
            .and_then(|mut found| found.next())
            .map(|address| address.ip().to_string())
            .ok_or_else(|| format!("this host's name {name:?} has no address; %[IP] needs one")),
        _ => Err(format!("%[{word}] is none of %[localhost], %[IP], %[FQDN]")),
    }
}

/// What a letter stands for.
fn shown(letter: char, time: &Zoned) -> String {
    let hour12 = (time.hour() + 11) % 12 + 1;
    let format = match letter {
        's' => return time.timestamp().as_second().to_string(),
        'k' => return time.hour().to_string(),
        'l' => return hour12.to_string(),
        'e' => return time.day().to_string(),
        'n' => return time.month().to_string(),
        'c' => {
            return format!(
                "{} {} {}",
                time.strftime("%a %b"),
                time.day(),
                time.strftime("%T %Y")
            );
        }
        'a' => "%a",
        'A' => "%A",
        'b' | 'h' => "%b",
        'B' => "%B",
        'd' => "%d",
        'D' => "%m/%d/%y",
        'H' => "%H",
        'I' => "%I",
        'j' => "%j",
        'm' => "%m",
        'M' => "%M",
        'S' => "%S",
        'p' => "%p",
        'y' => "%y",
        'Y' => "%Y",
        'z' => "%z",
        _ => return String::new(),
    };
    time.strftime(format).to_string()
}

/// A time zone by the names Java knows: of the IANA, `UTC`, `GMT+2`, `GMT-03:30`.
///
/// # Errors
/// When there is none of that name. (Java would take it for GMT.)
pub(super) fn zone(name: &str) -> Result<TimeZone, String> {
    let unknown = || format!("{name:?} is no time zone; use a name such as Europe/Berlin or GMT+2");
    let upper = name.to_ascii_uppercase();
    if ["UTC", "GMT", "Z"].contains(&upper.as_str()) {
        return Ok(TimeZone::UTC);
    }
    let Some(offset) = upper
        .strip_prefix("GMT")
        .or_else(|| upper.strip_prefix("UTC"))
    else {
        return TimeZone::get(name).map_err(|_| unknown());
    };
    let (sign, digits) = match offset.split_at_checked(1) {
        Some(("+", digits)) => (1, digits),
        Some(("-", digits)) => (-1, digits),
        _ => return Err(unknown()),
    };
    let (hours, minutes) = match digits.split_once(':') {
        Some(pair) => pair,
        None if digits.len() > 2 => digits.split_at(digits.len() - 2),
        None => (digits, "0"),
    };
    let number =
        |text: &str, limit: i32| text.parse::<i32>().ok().filter(|n| (0..=limit).contains(n));
    let seconds = number(hours, 23)
        .zip(number(minutes, 59))
        .map(|(hours, minutes)| sign * (hours * 3600 + minutes * 60))
        .ok_or_else(unknown)?;
    jiff::tz::Offset::from_seconds(seconds)
        .map(TimeZone::fixed)
        .map_err(|_| unknown())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Batch, BatchBuilder};

    /// 2005-03-03 23:05:07.890 UTC, a Thursday.
    const AT: i64 = 1_109_891_107_890;

    fn batch() -> Batch {
        let mut builder = BatchBuilder::new();
        builder
            .push([("host", "web.1"), ("k-e.y_", "v")], b"body")
            .unwrap();
        builder.finish()
    }

    fn expand(text: &str, round: Option<(Unit, u32)>, zone_name: &str, millis: i64) -> String {
        let batch = batch();
        let calendar = Calendar {
            zone: zone(zone_name).unwrap(),
            round,
        };
        let mut template = Template::parse(text).unwrap();
        template
            .expand(&batch.event(0).unwrap(), millis, &calendar)
            .to_owned()
    }

    #[test]
    fn letters_are_flumes() {
        for (text, expected) in [
            ("%t|%s", "1109891107890|1109891107"),
            ("%a %A %b %B %h", "Thu Thursday Mar March Mar"),
            ("%c", "Thu Mar 3 23:05:07 2005"),
            ("%d %e %D", "03 3 03/03/05"),
            ("%H %k %I %l %p", "23 23 11 11 PM"),
            ("%j %m %n %M %S", "062 03 3 05 07"),
            ("%y-%Y %z", "05-2005 +0000"),
            ("100%% %q|%_", "100% |"),
            ("plain", "plain"),
            ("%{host}/%{missing}/%{k-e.y_}", "web.1//v"),
            ("%{}%{a b} %", "%{}%{a b} %"),
        ] {
            assert_eq!(expand(text, None, "UTC", AT), expected, "{text}");
        }
        assert_eq!(expand("%H %z", None, "GMT-03:30", AT), "19 -0330");
        assert_eq!(expand("%k %l", None, "UTC", 0), "0 12");
    }

    #[test]
    fn times_are_rounded_down() {
        for (round, expected) in [
            ((Unit::Second, 5), "23:05:05 1109891105"),
            ((Unit::Minute, 10), "23:00:00 1109890800"),
            ((Unit::Minute, 1), "23:05:00 1109891100"),
            ((Unit::Hour, 6), "18:00:00 1109872800"),
        ] {
            assert_eq!(
                expand("%H:%M:%S %s", Some(round), "UTC", AT),
                expected,
                "{round:?}"
            );
        }
        assert_eq!(
            expand("%t", Some((Unit::Hour, 6)), "UTC", AT),
            AT.to_string()
        );
        assert_eq!(expand("%H", Some((Unit::Hour, 6)), "GMT+5", AT), "00");
    }

    #[test]
    fn a_second_later_the_text_differs() {
        let batch = batch();
        let event = batch.event(0).unwrap();
        let calendar = Calendar {
            zone: TimeZone::UTC,
            round: None,
        };
        let mut template = Template::parse("%S").unwrap();
        assert_eq!(template.expand(&event, AT, &calendar), "07");
        assert_eq!(template.expand(&event, AT + 100, &calendar), "07");
        assert_eq!(template.expand(&event, AT + 110, &calendar), "08");
    }

    #[test]
    fn hosts_and_zones_are_known_or_refused() {
        let name = expand("%[localhost]", None, "UTC", AT);
        assert!(!name.is_empty());
        assert_eq!(expand("%[FQDN]", None, "UTC", AT), name);
        assert!(Template::parse("%[nonsense]").is_err());
        assert!(!Template::parse("%{a}%[localhost]").unwrap().needs_time());
        assert!(Template::parse("%%%y").unwrap().needs_time());
        for good in ["UTC", "gmt", "GMT+2", "GMT-0330", "UTC+05:30"] {
            assert!(zone(good).is_ok(), "{good}");
        }
        for bad in ["Nowhere/Land", "GMT+99", "GMT2", "GMT+"] {
            assert!(zone(bad).is_err(), "{bad}");
        }
    }
}
