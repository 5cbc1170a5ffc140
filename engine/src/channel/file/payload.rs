//! What records carry: the batches of a put, the ranges of a take. The layout is specified in the
//! module documentation of [`super`].

use std::ops::Range;

use super::log::Part;
use super::record::{u32_at, u64_at};
use crate::event::Batch;

/// The payload of a put.
pub(super) fn put_parts(batches: &[Batch]) -> Vec<Part> {
    let mut table = Vec::with_capacity(4 + 4 * batches.len());
    table.extend_from_slice(&(batches.len() as u32).to_le_bytes());
    for batch in batches {
        table.extend_from_slice(&(batch.as_bytes().len() as u32).to_le_bytes());
    }
    let mut parts = Vec::with_capacity(1 + batches.len());
    parts.push(Part::Bytes(table));
    parts.extend(batches.iter().cloned().map(Part::Batch));
    parts
}

/// The batches of a put of `events` events; otherwise what is wrong with the bytes.
pub(super) fn put_batches(payload: &[u8], events: u32) -> Result<Vec<Batch>, String> {
    if payload.len() < 4 || u32_at(payload, 0) as usize > payload.len() / 4 - 1 {
        return Err(String::from(
            "the table of batches is longer than the payload",
        ));
    }
    let count = u32_at(payload, 0) as usize;
    let mut batches = Vec::with_capacity(count);
    let mut at = 4 + 4 * count;
    for position in 0..count {
        let length = u32_at(payload, 4 + 4 * position) as usize;
        let Some(bytes) = payload.get(at..at + length) else {
            return Err(format!("batch {position} reaches beyond the payload"));
        };
        batches.push(
            Batch::from_bytes(bytes.to_vec())
                .map_err(|error| format!("batch {position}: {error}"))?,
        );
        at += length;
    }
    let found: usize = batches.iter().map(Batch::len).sum();
    if at != payload.len() || found != events as usize {
        return Err(format!(
            "{found} events in {at} bytes, expected {events} in {}",
            payload.len()
        ));
    }
    Ok(batches)
}

/// The payload of a take.
pub(super) fn take_parts(ranges: &[Range<u64>]) -> Vec<Part> {
    let mut bytes = Vec::with_capacity(16 * ranges.len());
    for range in ranges {
        bytes.extend_from_slice(&range.start.to_le_bytes());
        bytes.extend_from_slice(&range.end.to_le_bytes());
    }
    vec![Part::Bytes(bytes)]
}

/// The ranges of a take, all of events below `next_event`; otherwise what is wrong.
pub(super) fn take_ranges(payload: &[u8], next_event: u64) -> Result<Vec<Range<u64>>, String> {
    if !payload.len().is_multiple_of(16) {
        return Err(format!("{} bytes are no list of ranges", payload.len()));
    }
    let ranges = payload
        .chunks_exact(16)
        .map(|bytes| u64_at(bytes, 0)..u64_at(bytes, 8));
    ranges
        .map(|range| match range {
            range if range.start >= range.end => Err(format!("the range {range:?} is empty")),
            range if range.end > next_event => Err(format!(
                "events {range:?} are taken, but only those below {next_event} were put"
            )),
            range => Ok(range),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::BatchBuilder;

    fn joined(parts: &[Part]) -> Vec<u8> {
        parts
            .iter()
            .flat_map(|part| part.bytes().to_vec())
            .collect()
    }

    #[expect(
        clippy::single_range_in_vec_init,
        reason = "a list of ranges that has one entry"
    )]
    #[test]
    fn ranges_return_and_wrong_ones_are_refused() {
        let bytes = joined(&take_parts(&[3..5, 9..10]));
        assert_eq!(take_ranges(&bytes, 10).unwrap(), [3..5, 9..10]);
        assert!(
            take_ranges(&bytes, 9)
                .unwrap_err()
                .contains("only those below 9")
        );
        assert!(take_ranges(&bytes[1..], 10).is_err());
        assert!(take_ranges(&joined(&take_parts(&[3..3])), 10).is_err());
    }

    proptest! {
        /// For all batches, what is written is what is read.
        #[test]
        fn batches_return(bodies in prop::collection::vec(prop::collection::vec("[a-z]{0,9}", 0..5), 0..4)) {
            let batches: Vec<Batch> = bodies.iter().map(|bodies| {
                let mut builder = BatchBuilder::new();
                for body in bodies {
                    builder.push([("k", "v")], body.as_bytes()).unwrap();
                }
                builder.finish()
            }).collect();
            let events = bodies.iter().map(Vec::len).sum::<usize>() as u32;
            let bytes = joined(&put_parts(&batches));
            prop_assert_eq!(put_batches(&bytes, events).unwrap(), batches);
            prop_assert!(put_batches(&bytes, events + 1).is_err());
        }

        /// For all bytes, reading answers an error or batches, and does not panic.
        #[test]
        fn hostile_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = put_batches(&bytes, 1);
            let _ = take_ranges(&bytes, u64::MAX);
        }
    }
}
