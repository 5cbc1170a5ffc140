//! Batches: round trips, hostile bytes, slices, copy-on-write.

use proptest::prelude::*;

use super::*;

type Plain = (Vec<(String, String)>, Vec<u8>);

fn plain(batch: &Batch) -> Vec<Plain> {
    batch
        .iter()
        .map(|event| {
            let mut headers: Vec<_> = event
                .headers()
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .collect();
            headers.sort();
            (headers, event.body().to_vec())
        })
        .collect()
}

fn build(events: &[Plain]) -> Batch {
    let mut builder = BatchBuilder::new();
    for (headers, body) in events {
        builder
            .push(headers.iter().map(|(k, v)| (k.as_str(), v.as_str())), body)
            .unwrap();
    }
    builder.finish()
}

fn model() -> impl Strategy<Value = Vec<Plain>> {
    let header = ("[a-cä]{0,2}", "[ -~é]{0,5}");
    let event = (
        prop::collection::vec(header, 0..4),
        prop::collection::vec(any::<u8>(), 0..40),
    );
    prop::collection::vec(event, 0..12)
}

/// What a map of the headers would hold, in the order of the keys.
fn as_map(events: &[Plain]) -> Vec<Plain> {
    events
        .iter()
        .map(|(headers, body)| {
            let map: std::collections::BTreeMap<_, _> = headers.iter().cloned().collect();
            (map.into_iter().collect(), body.clone())
        })
        .collect()
}

proptest! {
    #[test]
    fn a_batch_gives_back_what_was_pushed(events in model()) {
        let batch = build(&events);
        prop_assert_eq!(plain(&batch), as_map(&events));
        prop_assert_eq!(batch.body_bytes(), events.iter().map(|(_, body)| body.len()).sum::<usize>());
        let again = Batch::from_bytes(batch.as_bytes().to_vec()).unwrap();
        prop_assert_eq!(&again, &batch);
        prop_assert_eq!(again.body_bytes(), batch.body_bytes());
        for position in 0..batch.len() {
            prop_assert_eq!(batch.event(position), batch.iter().nth(position));
        }
        prop_assert!(batch.event(batch.len()).is_none());
    }

    #[test]
    fn common_headers_behave_like_a_map(
        events in model(), key in "[a-cä]{0,2}", value in "[x-z]{0,3}", preserve: bool, shared: bool, twice: bool,
    ) {
        let mut batch = build(&events);
        let before = plain(&batch);
        let keep = shared.then(|| batch.clone());
        batch.set_common_header(&key, &value, preserve).unwrap();
        if twice {
            batch.set_common_header(&key, "second", preserve).unwrap();
        }
        let mut expected = as_map(&events);
        for (headers, _) in &mut expected {
            let mut map: std::collections::BTreeMap<_, _> = headers.drain(..).collect();
            for value in [value.as_str()].into_iter().chain(twice.then_some("second")) {
                if !(preserve && map.contains_key(&key)) {
                    map.insert(key.clone(), value.to_owned());
                }
            }
            headers.extend(map);
        }
        prop_assert_eq!(plain(&batch), expected);
        prop_assert!(Batch::from_bytes(batch.as_bytes().to_vec()).is_ok());
        if let Some(keep) = keep {
            prop_assert_eq!(plain(&keep), before, "the other owner must not see the edit");
        }
    }

    #[test]
    fn hostile_bytes_are_refused_or_readable(events in model(), at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
        let mut bytes = build(&events).as_bytes().to_vec();
        let position = at.index(bytes.len());
        bytes[position] = byte;
        if let Ok(batch) = Batch::from_bytes(bytes.clone()) {
            // Whatever was accepted reads without a panic and survives a second trip.
            plain(&batch);
            prop_assert!(Batch::from_bytes(batch.as_bytes().to_vec()).is_ok());
        }
        bytes.truncate(cut.index(bytes.len()));
        prop_assert!(Batch::from_bytes(bytes).is_err(), "a batch cut short is no batch");
    }

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut framed = b"FBB1".to_vec();
        framed.extend_from_slice(&bytes);
        for bytes in [bytes, framed] {
            if let Ok(batch) = Batch::from_bytes(bytes) {
                plain(&batch);
            }
        }
    }

    #[test]
    fn slices_split_and_join(events in model(), cuts in prop::collection::vec(0usize..5, 0..6)) {
        let batch = build(&events);
        let mut rest = batch.all();
        let mut parts: Vec<Slice> = cuts.iter().map(|cut| rest.split_front(*cut)).collect();
        let mut seen: Vec<Vec<u8>> = parts.iter().flat_map(|part| part.iter().map(|e| e.body().to_vec())).collect();
        seen.extend(rest.iter().map(|event| event.body().to_vec()));
        prop_assert_eq!(seen, events.iter().map(|(_, body)| body.clone()).collect::<Vec<_>>());
        while let Some(part) = parts.pop() {
            prop_assert!(rest.join_front(part).is_none());
        }
        prop_assert_eq!(rest.range(), 0..batch.len());
        prop_assert_eq!(rest.body_bytes(), batch.body_bytes());
    }
}

/// The format is written down: these bytes are not to change within a version.
#[test]
fn the_layout_is_the_documented_one() {
    let mut builder = BatchBuilder::new();
    builder.push([("k", "vw")], b"body").unwrap();
    builder.push([], b"").unwrap();
    builder.common_header("c", "").unwrap();
    let expected: &[u8] = b"FBB1\x02\0\0\0\x17\0\0\0\x09\0\0\0\
        \x0b\0\0\0\x01\0\0\0\x02\0\0\0kvwbody\
        \0\0\0\0\
        \x13\0\0\0\x17\0\0\0\
        \x01\0\0\0\0\0\0\0c";
    assert_eq!(builder.finish().as_bytes(), expected);
}

#[test]
fn an_abandoned_event_leaves_no_trace() {
    let mut builder = BatchBuilder::new();
    builder.push([], b"first").unwrap();
    let before = builder.bytes();
    let mut event = builder.event();
    event.header("half", "written");
    event.body(b"gone");
    drop(event);
    assert_eq!((builder.len(), builder.bytes()), (1, before));
}

#[test]
fn an_event_in_pieces_equals_the_whole() {
    let mut builder = BatchBuilder::new();
    let mut event = builder.event();
    event.header("a", "1");
    event.body(b"bo");
    event.body(b"dy");
    event.end().unwrap();
    builder.push([("a", "1")], b"body").unwrap();
    let batch = builder.finish();
    assert_eq!(batch.event(0), batch.event(1));
}

#[test]
fn many_headers_are_told_apart() {
    let names: Vec<String> = (0..5000).map(|n| format!("h{}", n % 4000)).collect();
    let values: Vec<String> = (0..5000).map(|n| n.to_string()).collect();
    let mut builder = BatchBuilder::new();
    builder
        .push(
            names
                .iter()
                .zip(&values)
                .map(|(k, v)| (k.as_str(), v.as_str())),
            b"",
        )
        .unwrap();
    let batch = builder.finish();
    let event = batch.event(0).unwrap();
    assert_eq!(event.headers().count(), 4000);
    assert_eq!(event.header("h7"), Some("4007"));
    assert_eq!(event.header("h3999"), Some("3999"));
}

#[test]
fn buffers_come_back_to_their_builder() {
    let mut builder = BatchBuilder::new();
    let body = vec![7u8; 20_000];
    builder.push([], &body).unwrap();
    let first = builder.finish();
    let address = first.as_bytes().as_ptr();
    // The builder asked the pool before the first batch came home; the one after next gets it.
    let elsewhere = std::thread::spawn(move || drop(first));
    elsewhere.join().unwrap();
    builder.push([], &body).unwrap();
    drop(builder.finish());
    builder.push([], &body).unwrap();
    let third = builder.finish();
    assert_eq!(third.as_bytes().as_ptr(), address);
}

#[test]
fn a_small_batch_does_not_pin_a_big_buffer() {
    let mut builder = BatchBuilder::new();
    builder.push([], &vec![0; 1 << 20]).unwrap();
    builder.clear();
    builder.push([], b"small").unwrap();
    let batch = builder.finish();
    assert!(batch.store.bytes.capacity() < 4096);
}

#[test]
fn debug_does_not_show_bodies() {
    let mut builder = BatchBuilder::new();
    builder
        .push([("key", "secretheader")], b"secretbody")
        .unwrap();
    let batch = builder.finish();
    let shown = format!("{batch:?} {:?} {:?}", batch.all(), batch.event(0));
    assert!(!shown.contains("secret"), "{shown}");
}
