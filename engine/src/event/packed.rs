//! The bytes inside a batch: numbers, headers, and the check of foreign bytes.

use super::{MAGIC, MAX_BYTES, Malformed, PREFIX};

/// `size` as the four bytes of the format. Sizes are below [`MAX_BYTES`] by construction.
pub(super) fn word(size: usize) -> [u8; 4] {
    (size as u32).to_le_bytes()
}

/// The number at offset `at`; the caller knows that it is there.
pub(super) fn number(bytes: &[u8], at: usize) -> usize {
    number_at(bytes, at).unwrap_or_default()
}

pub(super) fn number_at(bytes: &[u8], at: usize) -> Option<usize> {
    let word = bytes.get(at..at.checked_add(4)?)?.first_chunk()?;
    Some(u32::from_le_bytes(*word) as usize)
}

pub(super) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

pub(super) fn write_header(bytes: &mut Vec<u8>, key: &str, value: &str) {
    bytes.reserve(8 + key.len() + value.len());
    bytes.extend_from_slice(&word(key.len()));
    bytes.extend_from_slice(&word(value.len()));
    bytes.extend_from_slice(key.as_bytes());
    bytes.extend_from_slice(value.as_bytes());
}

/// Key and value of the first of packed headers, and the rest.
pub(super) fn split_header(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (key, value) = (number_at(bytes, 0)?, number_at(bytes, 4)?);
    let (key, rest) = bytes[8..].split_at_checked(key)?;
    let (value, rest) = rest.split_at_checked(value)?;
    Some((key, value, rest))
}

/// The value of the header of that key; of the first, where foreign bytes repeat a key.
pub(super) fn find<'a>(mut bytes: &'a [u8], key: &str) -> Option<&'a str> {
    while let Some((name, value, rest)) = split_header(bytes) {
        if name == key.as_bytes() {
            return Some(text(value));
        }
        bytes = rest;
    }
    None
}

/// Removes all but the last header of each key from the headers that start at `first`.
pub(super) fn drop_repeated(bytes: &mut Vec<u8>, first: usize) {
    let packed = &bytes[first..];
    let mut seen: Vec<(&[u8], usize)> = Vec::new();
    let mut rest = packed;
    let mut count = 0;
    // The few headers of an ordinary event are compared pairwise, without allocating.
    let mut repeated = false;
    while let Some((key, _, after)) = split_header(rest) {
        if count < 16 && !repeated {
            let mut other = packed;
            while other.len() > rest.len() {
                let Some((name, _, next)) = split_header(other) else {
                    break;
                };
                repeated |= name == key;
                other = next;
            }
        }
        count += 1;
        rest = after;
    }
    if !repeated && count <= 16 {
        return;
    }
    // Many headers, or a repetition: sort by key and keep the last of each, in the old order.
    let mut rest = packed;
    while let Some((key, _, after)) = split_header(rest) {
        seen.push((key, packed.len() - rest.len()));
        rest = after;
    }
    seen.sort_unstable();
    let mut kept: Vec<usize> = Vec::with_capacity(seen.len());
    for (position, (key, at)) in seen.iter().enumerate() {
        if seen.get(position + 1).is_none_or(|(next, _)| next != key) {
            kept.push(*at);
        }
    }
    kept.sort_unstable();
    let mut clean = Vec::with_capacity(packed.len());
    for at in kept {
        if let Some((_, _, after)) = split_header(&packed[at..]) {
            clean.extend_from_slice(&packed[at..packed.len() - after.len()]);
        }
    }
    bytes.truncate(first);
    bytes.extend_from_slice(&clean);
}

/// Checks that `bytes` are one batch; answers the sum of the bodies' sizes.
pub(super) fn check(bytes: &[u8]) -> Result<usize, Malformed> {
    let wrong = |what, at| Err(Malformed { what, at });
    if bytes.len() < PREFIX || bytes.len() > MAX_BYTES {
        return wrong("its length is impossible", 0);
    }
    if bytes[..4] != MAGIC {
        return wrong("it does not begin with FBB1", 0);
    }
    let (events, region, common) = (number(bytes, 4), number(bytes, 8), number(bytes, 12));
    // In u64, where three u32 cannot overflow.
    let sum = PREFIX as u64 + region as u64 + 4 * events as u64 + common as u64;
    if sum != bytes.len() as u64 {
        return wrong("its parts do not add up to its length", 4);
    }
    let index = PREFIX + region;
    let mut start = 0;
    let mut body_bytes = 0;
    for position in 0..events {
        let end = number(bytes, index + 4 * position);
        if end > region || end < start || end - start < 4 {
            return wrong(
                "an event ends before it begins, or too late",
                index + 4 * position,
            );
        }
        let event = &bytes[PREFIX + start..PREFIX + end];
        let Some(headers) = event.get(4..4 + number(event, 0)) else {
            return wrong(
                "the headers of an event are longer than the event",
                PREFIX + start,
            );
        };
        check_headers(headers, PREFIX + start + 4)?;
        body_bytes += event.len() - 4 - headers.len();
        start = end;
    }
    if start != region {
        return wrong("bytes that belong to no event", PREFIX + start);
    }
    check_headers(&bytes[index + 4 * events..], index + 4 * events)?;
    Ok(body_bytes)
}

fn check_headers(headers: &[u8], at: usize) -> Result<(), Malformed> {
    let mut rest = headers;
    while !rest.is_empty() {
        let at = at + headers.len() - rest.len();
        let Some((key, value, after)) = split_header(rest) else {
            return Err(Malformed {
                what: "a header is longer than the headers",
                at,
            });
        };
        if std::str::from_utf8(key).is_err() || std::str::from_utf8(value).is_err() {
            return Err(Malformed {
                what: "a header is not UTF-8",
                at,
            });
        }
        rest = after;
    }
    Ok(())
}
