//! Disks that fail, fill up and decay.

use std::path::Path;

use super::super::record::{RECORD_HEADER, RecordHeader, SEGMENT_HEADER};
use super::super::segments::Files;
use super::*;
use crate::fs::sim::SimDisk;

const LINES: &str = "checkpointDir = /c\ndataDirs = /d\nmaxFileSize = 16384\nkeep-alive = 0\n";

fn channel_on(disk: &SimDisk, more: &str) -> FileChannel {
    let ctx = Context::from_example("c1", &format!("{LINES}{more}"));
    FileChannel::new(&ctx, Arc::new(disk.clone())).unwrap()
}

/// A channel on a new disk with ten puts of ten events each.
fn filled() -> (SimDisk, FileChannel) {
    let disk = SimDisk::new(1);
    let channel = channel_on(&disk, "");
    channel.open().unwrap();
    for start in (0..100).step_by(10) {
        put(&channel, &batch(start..start + 10)).unwrap();
    }
    (disk, channel)
}

/// The process dies, and a new one opens the channel.
fn reopened(disk: &SimDisk, channel: FileChannel) -> Result<FileChannel, ChannelError> {
    disk.kill_process();
    drop(channel);
    let channel = channel_on(disk, "");
    channel.open().map(|()| channel)
}

/// Where the records are in the first segment.
fn records(disk: &SimDisk) -> Vec<usize> {
    let fs = Arc::new(disk.clone());
    let files = Files::open(fs, Path::new("/d"), 0, 0, true, Mutant::None).unwrap();
    let segment = files.first().unwrap();
    let mut bytes = vec![0; segment.header.size as usize];
    segment.file.read_at(&mut bytes, 0).unwrap();
    let (mut at, mut places) = (SEGMENT_HEADER as usize, Vec::new());
    while let Some(header) = RecordHeader::decode(&bytes[at..], 1, Mutant::None) {
        places.push(at);
        at += RecordHeader::span(u64::from(header.length)) as usize;
    }
    places
}

/// The file that has `epoch`. Which one that is depends on how fast the upkeep was.
fn segment(disk: &SimDisk, epoch: u64) -> PathBuf {
    let fs = Arc::new(disk.clone());
    let files = Files::open(fs, Path::new("/d"), 0, 0, true, Mutant::None).unwrap();
    files.segment(epoch).unwrap().path.clone()
}

#[test]
fn a_failed_sync_is_the_end_and_is_not_tried_again() {
    let (disk, channel) = filled();
    disk.fail_sync_at(0);
    let error = put(&channel, &batch(100..110)).unwrap_err();
    assert!(
        matches!(&error, ChannelError::Unhealthy { reason, .. } if reason.contains("sync")),
        "{error}"
    );
    let operations = disk.operations();
    assert!(matches!(
        put(&channel, &batch(110..120)),
        Err(ChannelError::Unhealthy { .. })
    ));
    assert!(matches!(
        channel.take(10, Duration::ZERO).map(drop),
        Err(ChannelError::Unhealthy { .. })
    ));
    assert_eq!(disk.operations(), operations, "the disk is left alone");
    assert!(channel.extra_metrics().contains(&("Unhealthy", 1)));
    let channel = reopened(&disk, channel).unwrap();
    assert_eq!(take(&channel, 100), expected(0..100));
}

#[test]
fn a_take_whose_sync_failed_may_come_again_and_nothing_else() {
    let (disk, channel) = filled();
    assert_eq!(take(&channel, 10), expected(0..10));
    let open = channel.take(10, Duration::ZERO).unwrap();
    disk.fail_sync_at(0);
    assert!(matches!(open.commit(), Err(ChannelError::Unhealthy { .. })));
    let channel = reopened(&disk, channel).unwrap();
    let rest = take(&channel, 100);
    assert!(
        rest == expected(10..100) || rest == expected(20..100),
        "{rest:?}"
    );
}

#[test]
fn damage_in_the_middle_of_the_log_is_reported_wherever_it_is() {
    let places = records(&filled().0);
    assert_eq!(places.len(), 10);
    // In every record but the last: in its magic, length, sequence, and payload.
    for place in &places[..9] {
        for offset in [0, 8, 16, RECORD_HEADER + 20] {
            let (disk, channel) = filled();
            disk.flip(Path::new("/d/segment-0000000000"), place + offset)
                .unwrap();
            let error = reopened(&disk, channel).unwrap_err().to_string();
            assert!(
                error.contains("corrupt in /d/segment-0000000000"),
                "{error}"
            );
            assert!(
                error.contains(&format!("at byte {place}")),
                "the place is named: {error}"
            );
        }
    }
}

#[test]
fn damage_to_a_record_that_nothing_proves_durable_is_a_torn_tail() {
    let (disk, channel) = filled();
    let places = records(&disk);
    disk.flip(Path::new("/d/segment-0000000000"), places[9] + 20)
        .unwrap();
    let channel = reopened(&disk, channel).unwrap();
    assert_eq!(take(&channel, 100), expected(0..90));
}

#[test]
fn damage_to_the_backlog_is_reported_when_it_is_read() {
    let (disk, channel) = filled();
    let places = records(&disk);
    channel.close();
    disk.flip(
        Path::new("/d/segment-0000000000"),
        places[4] + RECORD_HEADER + 30,
    )
    .unwrap();
    let bodies = stranded_on(Arc::new(disk.clone()), Path::new("/c"), Path::new("/d")).unwrap();
    let bodies: Vec<_> = bodies.collect();
    assert_eq!(bodies.len(), 41, "what precedes the damage, and the error");
    assert!(bodies[40].is_err());
    let channel = reopened(&disk, channel).unwrap();
    let error = channel
        .take(100, Duration::ZERO)
        .map(drop)
        .and_then(|()| channel.take(100, Duration::ZERO).map(drop));
    assert!(
        matches!(error, Err(ChannelError::Unhealthy { .. })),
        "{error:?}"
    );
}

#[test]
fn a_damaged_or_missing_segment_is_reported() {
    let many = || {
        let disk = SimDisk::new(1);
        let channel = channel_on(&disk, "");
        channel.open().unwrap();
        for start in (0..2000).step_by(100) {
            put(&channel, &batch(start..start + 100)).unwrap();
        }
        (disk, channel)
    };
    let (disk, channel) = many();
    let path = segment(&disk, 2);
    disk.flip(&path, 10).unwrap();
    let error = reopened(&disk, channel).unwrap_err().to_string();
    assert!(
        error.contains(path.to_str().unwrap()) && error.contains("header is damaged"),
        "{error}"
    );
    let (disk, channel) = many();
    disk.remove(&segment(&disk, 2)).unwrap();
    let error = reopened(&disk, channel).unwrap_err().to_string();
    assert!(error.contains("missing"), "{error}");
    // The first ones cannot be missed by the rest, but a checkpoint knows them.
    let (disk, channel) = many();
    channel.close();
    disk.remove(&segment(&disk, 1)).unwrap();
    let error = reopened(&disk, channel).unwrap_err().to_string();
    assert!(
        error.contains("the checkpoint speaks of segment 1, which is missing"),
        "{error}"
    );
}

#[test]
fn a_full_disk_refuses_puts_and_keeps_everything() {
    let disk = SimDisk::new(1);
    let channel = channel_on(&disk, "minimumRequiredSpace = 0");
    channel.open().unwrap();
    // Room for the segments there are, a checkpoint, and nothing more.
    let used = u64::MAX - disk.free_space(Path::new("/d")).unwrap();
    disk.set_capacity(used + 6 * 16384);
    let mut put_in = 0;
    let error = loop {
        match put(&channel, &batch(put_in..put_in + 50)) {
            Ok(()) => put_in += 50,
            Err(error) => break error,
        }
        assert!(put_in < 10_000, "the disk is full long before");
    };
    assert!(error.is_retryable(), "{error}");
    assert!(error.to_string().contains("takes no puts"), "{error}");
    assert!(put(&channel, &batch(0..50)).is_err_and(|error| error.is_retryable()));
    // What is there can be taken, across a restart too.
    let taken = take(&channel, 50);
    assert_eq!(taken, expected(0..50));
    let channel = reopened(&disk, channel).unwrap();
    let mut rest = Vec::new();
    while rest.len() < put_in - 50 {
        rest.extend(take(&channel, 50));
    }
    assert_eq!(rest, expected(50..put_in));
}

#[test]
fn little_space_refuses_puts_but_not_takes() {
    let disk = SimDisk::new(1);
    disk.set_capacity(3 << 20);
    let channel = channel_on(&disk, "minimumRequiredSpace = 2097152");
    channel.open().unwrap();
    put(&channel, &batch(0..10)).unwrap();
    let (checkpoint, data) = channel.dirs();
    assert_eq!(
        (checkpoint.as_path(), data.as_path()),
        (Path::new("/c"), Path::new("/d"))
    );
    disk.set_capacity(2 << 20);
    channel.store().unwrap().maintain().unwrap();
    let error = put(&channel, &batch(10..20)).unwrap_err();
    assert!(error.is_retryable(), "{error}");
    let said = "the disk of /d is full up to minimumRequiredSpace (2097152 bytes)";
    assert!(error.to_string().contains(said), "{error}");
    assert_eq!(take(&channel, 10), expected(0..10));
    disk.set_capacity(3 << 20);
    channel.store().unwrap().maintain().unwrap();
    put(&channel, &batch(10..20)).unwrap();
    channel.close();
}
