//! Tests of the channel as a whole. Those of power cuts are in `cuts.rs`.

use std::path::Path;

use super::*;
use crate::channel::conformance::{self, batch};
use crate::event::{Batch, BatchBuilder};

mod cuts;
mod faults;
mod model;
mod relaxed;

fn channel_in(dir: &Path, more: &str) -> FileChannel {
    let lines = format!(
        "checkpointDir = {0}/checkpoint\ndataDirs = {0}/data\nmaxFileSize = 262144\n\
         minimumRequiredSpace = 0\n{more}",
        dir.display()
    );
    FileChannel::new(&Context::from_example("c1", &lines), Arc::new(RealFs)).unwrap()
}

fn put(channel: &dyn Channel, batch: &Batch) -> Result<(), ChannelError> {
    let mut put = channel.put()?;
    put.add(batch.all())?;
    put.commit()
}

/// Takes up to `max` events and commits; answers their bodies.
fn take(channel: &dyn Channel, max: usize) -> Vec<String> {
    let take = channel.take(max, Duration::ZERO).unwrap();
    let bodies = take
        .slices()
        .iter()
        .flat_map(|slice| slice.iter().map(|event| text(event.body())));
    let bodies: Vec<String> = bodies.collect();
    take.commit().unwrap();
    bodies
}

fn text(body: &[u8]) -> String {
    String::from_utf8(body.to_vec()).unwrap()
}

fn expected(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

fn conforms_with(more: &str) {
    conformance::all(&|limits| {
        let dir = tempfile::tempdir().unwrap();
        let mut channel = channel_in(dir.path(), more);
        channel.settings.transaction_capacity = limits.transaction_capacity;
        channel.settings.keep_alive = limits.keep_alive;
        channel.options.capacity = limits.capacity as u64;
        channel.open().unwrap();
        (Arc::new(channel), Box::new(dir))
    });
}

#[test]
fn conforms() {
    conforms_with("checkpointInterval = 1000");
}

#[test]
fn conforms_without_a_sync_per_transaction_too() {
    conforms_with("fsyncPerTransaction = false\nfsyncInterval = 1");
}

#[test]
fn events_survive_a_restart_with_their_headers() {
    let dir = tempfile::tempdir().unwrap();
    {
        let channel = channel_in(dir.path(), "");
        channel.open().unwrap();
        put(&channel, &batch(0..100)).unwrap();
        assert_eq!(take(&channel, 30), expected(0..30));
        channel.close();
    }
    let channel = channel_in(dir.path(), "");
    channel.open().unwrap();
    assert_eq!(channel.fill().events, 70);
    let rest = channel.take(100, Duration::ZERO).unwrap();
    let event = rest.slices()[0].event(0).unwrap();
    assert_eq!(
        (event.header("n"), event.header("origin")),
        (Some("30"), Some("conformance"))
    );
    drop(rest);
    assert_eq!(take(&channel, 100), expected(30..100));
}

#[test]
fn the_checkpoint_is_only_a_shortcut() {
    for damage in ["none", "removed", "emptied", "garbled"] {
        let dir = tempfile::tempdir().unwrap();
        let channel = channel_in(dir.path(), "");
        channel.open().unwrap();
        for start in (0..2000).step_by(100) {
            put(&channel, &batch(start..start + 100)).unwrap();
        }
        assert_eq!(take(&channel, 1250), expected(0..1250));
        channel.close();
        drop(channel);
        let path = dir.path().join("checkpoint/checkpoint");
        match damage {
            "removed" => std::fs::remove_file(path).unwrap(),
            "emptied" => std::fs::write(path, b"").unwrap(),
            "garbled" => std::fs::write(path, [7; 300]).unwrap(),
            _ => {}
        }
        let channel = channel_in(dir.path(), "");
        channel.open().unwrap();
        assert_eq!(take(&channel, 2000), expected(1250..2000), "{damage}");
    }
}

#[test]
fn a_second_channel_on_the_same_directories_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (channel_in(dir.path(), ""), channel_in(dir.path(), ""));
    one.open().unwrap();
    let error = two.open().unwrap_err();
    assert!(
        error.to_string().contains("in use by another channel"),
        "{error}"
    );
    assert!(
        error.to_string().contains("checkpoint"),
        "the directory is named: {error}"
    );
    one.close();
    let three = channel_in(dir.path(), "");
    three.open().unwrap();
}

#[test]
fn a_log_of_apache_flume_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("data")).unwrap();
    std::fs::write(dir.path().join("data/log-1"), b"\x7f").unwrap();
    let error = channel_in(dir.path(), "").open().unwrap_err();
    assert!(
        error.to_string().contains("log of Apache Flume (log-1)"),
        "{error}"
    );
}

#[test]
fn segments_are_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let channel = channel_in(dir.path(), "");
    channel.open().unwrap();
    let store = Arc::clone(channel.store().unwrap());
    let mut most = 0;
    for start in (0..60_000).step_by(100) {
        put(&channel, &batch(start..start + 100)).unwrap();
        assert_eq!(take(&channel, 100), expected(start..start + 100));
        store.maintain().unwrap();
        let (used, spare) = store.segments();
        most = most.max(used + spare);
    }
    let last = std::fs::read_dir(dir.path().join("data")).unwrap().count() - 1;
    assert!(
        most <= 6 && last <= 6,
        "{most} segments at a time, {last} files at the end"
    );
    let written = std::fs::read_dir(dir.path().join("data"))
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name())
        .max();
    assert!(
        written.unwrap().to_str().unwrap() < "segment-0000000008",
        "few files were ever created"
    );
}

#[test]
fn a_backlog_larger_than_the_window_is_served_from_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut channel = channel_in(dir.path(), "");
    channel.options.resident_limit = 50_000;
    channel.open().unwrap();
    let store = Arc::clone(channel.store().unwrap());
    let (mut written, mut read) = (0, 0);
    // Ahead of the reader, caught up with, and ahead again.
    for (puts, takes) in [(200, 50), (10, 160), (30, 10), (1, 21)] {
        for _ in 0..puts {
            put(&channel, &batch(written..written + 100)).unwrap();
            written += 100;
            // One piece of the log may come on top of the bound.
            assert!(store.resident() <= 50_000 + 3_000_000);
        }
        for _ in 0..takes {
            assert_eq!(take(&channel, 100), expected(read..read + 100));
            read += 100;
        }
        assert!(store.resident() <= 50_000 + 3_000_000);
        assert_eq!(channel.fill().events, (written - read) as u64);
    }
    assert_eq!((written, read), (24_100, 24_100));
    assert!(channel.take(1, Duration::ZERO).unwrap().is_empty());
}

#[test]
fn a_record_larger_than_a_segment_gets_a_file_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let body = vec![b'x'; 1_000_000];
    {
        let channel = channel_in(dir.path(), "");
        channel.open().unwrap();
        let mut builder = BatchBuilder::new();
        builder.push([], &body).unwrap();
        put(&channel, &batch(0..10)).unwrap();
        put(&channel, &builder.finish()).unwrap();
        put(&channel, &batch(10..20)).unwrap();
    }
    let channel = channel_in(dir.path(), "");
    channel.open().unwrap();
    assert_eq!(take(&channel, 10), expected(0..10));
    let large = channel.take(1, Duration::ZERO).unwrap();
    assert_eq!(large.slices()[0].event(0).unwrap().body(), body);
    large.commit().unwrap();
    assert_eq!(take(&channel, 10), expected(10..20));
}

#[test]
fn stranded_events_are_those_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let channel = channel_in(dir.path(), "");
    channel.open().unwrap();
    put(&channel, &batch(0..50)).unwrap();
    put(&channel, &batch(50..80)).unwrap();
    assert_eq!(take(&channel, 20), expected(0..20));
    let held = channel.take(10, Duration::ZERO).unwrap();
    assert_eq!(take(&channel, 15), expected(30..45));
    drop(held);
    let (checkpoint, data) = channel.dirs();
    for closed in [false, true] {
        if closed {
            channel.close();
        }
        let bodies = stranded(&checkpoint, &data)
            .unwrap()
            .map(|body| text(&body.unwrap()));
        let bodies: Vec<String> = bodies.collect();
        assert_eq!(bodies, [expected(20..30), expected(45..80)].concat());
    }
}

#[test]
fn settings_are_floored_and_wrong_ones_refused() {
    let wrong = |line: &str| {
        let ctx = Context::from_example("c1", line);
        FileChannel::new(&ctx, Arc::new(RealFs)).unwrap_err()
    };
    assert_eq!(
        wrong("capacity = 5\ntransactionCapacity = 6").key,
        "transactionCapacity"
    );
    assert_eq!(wrong("capacity = many").key, "capacity");
    assert_eq!(wrong("dataDirs = ,").key, "dataDirs");
    let ctx = Context::from_example(
        "c1",
        "minimumRequiredSpace = 5\ncheckpointInterval = 3\ndataDirs = /a , /b",
    );
    let channel = FileChannel::new(&ctx, Arc::new(RealFs)).unwrap();
    assert_eq!(channel.options.minimum_space, 1 << 20);
    assert_eq!(channel.settings.checkpoint_interval, Duration::from_secs(1));
    assert_eq!(channel.options.data_dir, Path::new("/a"));
    assert_eq!(channel.settings.unused_dirs, ["/b"]);
}
