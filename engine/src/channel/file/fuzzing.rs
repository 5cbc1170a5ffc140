//! The fuzz target of the file channel: directories as a broken disk may have left them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::mutant::Mutant;
use super::store::{Options, Store};
use super::stranded_on;
use crate::event::BatchBuilder;
use crate::fs::Fs;
use crate::fs::sim::SimDisk;

const CHECKPOINT: &str = "/checkpoint";
const DATA: &str = "/data";
/// Size of new segments; small, so that the fuzzer meets their ends.
const SEGMENT: u64 = 1024;
/// Bytes of a segment's or a record's header that a CRC covers, and the alignment of records.
const SEGMENT_CRC_AT: usize = 40;
const FIRST_RECORD: usize = 512;
const RECORD_HEADER: usize = 48;
const CHECKPOINT_CRC_AT: usize = 80;
const CHECKPOINT_RANGES_AT: usize = 88;

/// Opens a channel on an image of its directories. If it opens, what it holds is what
/// [`super::stranded`] reads without opening it, and is there again after another event was put and
/// the channel was opened anew.
///
/// The image is a byte of flags and then files, each a byte of name, two bytes of length (little
/// endian; what is missing is not there) and the content. Names below 128 are segments, by number;
/// 128 is the checkpoint, others are checkpoints that were not finished. Flag 1: checksums and
/// sizes are put right before the channel sees them, so that mutations reach the code behind them.
pub fn channel_log(input: &[u8]) {
    let _ = events_of(input);
}

/// How many events an image holds; `None` if the channel does not open, or meets damage.
fn events_of(input: &[u8]) -> Option<usize> {
    let (&flags, image) = input.split_first()?;
    let disk = SimDisk::new(1);
    lay_out(&disk, image, flags & 1 == 1);
    let fs: Arc<dyn Fs> = Arc::new(disk.clone());
    let stranded = stranded_on(Arc::clone(&fs), Path::new(CHECKPOINT), Path::new(DATA));
    let store = Store::open(Arc::clone(&fs), options()).ok()?;
    let mut held = drain(&store)?;
    let events = held.len();
    let read: Option<Vec<Vec<u8>>> = match stranded {
        Ok(events) => events.collect::<Result<_, _>>().ok(),
        Err(_) => None,
    };
    assert_eq!(
        read.as_ref(),
        Some(&held),
        "the channel and a reader of its files disagree"
    );

    let mut builder = BatchBuilder::new();
    let added = b"one more".to_vec();
    assert!(builder.push([], &added).is_ok(), "a small event fits");
    let put = store.put(vec![builder.finish()], Duration::ZERO);
    assert!(put.is_ok(), "a channel that opened takes events: {put:?}");
    held.push(added);
    drop(store);
    disk.kill_process();
    let again = Store::open(fs, options()).map(|store| drain(&store));
    assert!(
        matches!(&again, Ok(Some(events)) if *events == held),
        "it held {held:?} and holds, after a restart, {again:?}"
    );
    Some(events)
}

fn options() -> Options {
    Options {
        checkpoint_dir: CHECKPOINT.into(),
        data_dir: DATA.into(),
        capacity: 1 << 40,
        segment_size: SEGMENT,
        spares: 2,
        sync_each: true,
        resident_limit: 1000,
        minimum_space: 0,
        mutant: Mutant::NONE,
    }
}

/// The bodies of all events, in order; `None` if damage was met on the way.
fn drain(store: &Store) -> Option<Vec<Vec<u8>>> {
    let mut bodies = Vec::new();
    let mut ranges = Vec::new();
    loop {
        let taken = store.take(7, Duration::ZERO).ok()?;
        if taken.ranges.is_empty() {
            break;
        }
        let events = taken.slices.iter().flatten();
        bodies.extend(events.map(|event| event.body().to_vec()));
        ranges.extend(taken.ranges);
    }
    store.untake(&ranges);
    store.check().ok().map(|()| bodies)
}

/// Writes the files of an image.
fn lay_out(disk: &SimDisk, mut image: &[u8], repair: bool) {
    let made = disk.create_dir_all(Path::new(CHECKPOINT));
    let made = made.and_then(|()| disk.create_dir_all(Path::new(DATA)));
    assert!(made.is_ok(), "the simulated disk has no faults here");
    while let [name, low, high, rest @ ..] = image {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (content, behind) = rest.split_at(length);
        image = behind;
        let mut content = content.to_vec();
        let path: PathBuf = match name {
            0..=127 => {
                if repair {
                    repair_segment(&mut content);
                }
                format!("{DATA}/segment-{name:010}").into()
            }
            128 => {
                if repair {
                    repair_checkpoint(&mut content);
                }
                format!("{CHECKPOINT}/checkpoint").into()
            }
            _ => format!("{CHECKPOINT}/checkpoint.new").into(),
        };
        let written = disk
            .create(&path)
            .and_then(|file| file.write_at(&content, 0));
        assert!(written.is_ok(), "the simulated disk has no faults here");
    }
}

fn repair_segment(bytes: &mut [u8]) {
    let size = bytes.len();
    if size < FIRST_RECORD || bytes.starts_with(&[0; 8]) {
        return;
    }
    bytes[32..40].copy_from_slice(&(size as u64).to_le_bytes());
    put_crc(bytes, 0, SEGMENT_CRC_AT);
    let epoch: [u8; 8] = std::array::from_fn(|at| bytes[8 + at]);
    let mut at = FIRST_RECORD;
    // Where lengths lead nowhere, the next multiple of 8 is looked at, as the scanner does.
    while at + RECORD_HEADER <= size {
        let length = usize::from(u16::from_le_bytes([bytes[at + 8], bytes[at + 9]]));
        if !bytes[at..].starts_with(b"FBr1") || at + RECORD_HEADER + length > size {
            at += 8;
            continue;
        }
        let (head, payload) = bytes[at..at + RECORD_HEADER + length].split_at_mut(RECORD_HEADER);
        let crc = crc32c::crc32c_append(crc32c::crc32c(payload), &epoch);
        let crc = crc32c::crc32c_append(crc, &head[..12]);
        let crc = crc32c::crc32c_append(crc, &head[16..44]);
        head[12..16].copy_from_slice(&crc.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&epoch), &head[..44]);
        head[44..48].copy_from_slice(&crc.to_le_bytes());
        at += (RECORD_HEADER + length).next_multiple_of(8);
    }
}

fn repair_checkpoint(bytes: &mut [u8]) {
    let Some(end) = bytes.len().checked_sub(4) else {
        return;
    };
    if end < CHECKPOINT_RANGES_AT {
        return;
    }
    let ranges = (end - CHECKPOINT_RANGES_AT) / 16;
    bytes[8..16].copy_from_slice(&(ranges as u64).to_le_bytes());
    put_crc(bytes, 0, CHECKPOINT_CRC_AT);
    bytes[CHECKPOINT_CRC_AT + 4..CHECKPOINT_RANGES_AT].fill(0);
    put_crc(bytes, CHECKPOINT_RANGES_AT, end);
}

/// Writes the CRC of the bytes `from..at` to `at`.
fn put_crc(bytes: &mut [u8], from: usize, at: usize) {
    let crc = crc32c::crc32c(&bytes[from..at]);
    bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The image of a disk. `SimDisk` lists files in the order of their names.
    fn image(disk: &SimDisk) -> Vec<u8> {
        let mut image = vec![0];
        for dir in [CHECKPOINT, DATA] {
            for path in disk.list(Path::new(dir)).unwrap() {
                let name = path.file_name().unwrap().to_str().unwrap();
                let code = match name.strip_prefix("segment-") {
                    Some(number) => number.parse().unwrap(),
                    None if name == "checkpoint" => 128,
                    None => continue,
                };
                let file = disk.open(&path, true).unwrap();
                let mut content = vec![0; file.len().unwrap() as usize];
                file.read_at(&mut content, 0).unwrap();
                image.push(code);
                image.extend_from_slice(&(content.len() as u16).to_le_bytes());
                image.extend_from_slice(&content);
            }
        }
        image
    }

    /// A channel after `puts` of three events each, of which `takes` were taken, with a checkpoint
    /// after the first half.
    fn living(puts: usize, takes: usize) -> SimDisk {
        let disk = SimDisk::new(1);
        lay_out(&disk, &[], false);
        let store = Store::open(Arc::new(disk.clone()), options()).unwrap();
        let mut builder = BatchBuilder::new();
        for n in 0..puts {
            for event in 0..3 {
                let body = format!("put {n}, event {event}");
                builder.push([("n", "1")], body.as_bytes()).unwrap();
            }
            store.put(vec![builder.finish()], Duration::ZERO).unwrap();
            if n == puts / 2 {
                let taken = store.take(takes as u64, Duration::ZERO).unwrap();
                store.commit_take(taken.ranges).unwrap();
                store.checkpoint().unwrap();
            }
        }
        drop(store);
        disk.kill_process();
        disk
    }

    #[test]
    fn the_target_gets_to_the_events_of_a_living_channel() {
        for (puts, takes) in [(0, 0), (1, 0), (5, 4), (20, 30)] {
            let mut image = image(&living(puts, takes));
            let expected = Some(3 * puts - takes.min(3 * (puts / 2 + 1)));
            assert_eq!(events_of(&image), expected, "{puts} puts");
            if puts == 0 {
                continue;
            }
            // A checksum that is wrong makes a difference, unless it is put right again.
            let record = image.windows(4).rposition(|four| four == b"FBr1").unwrap();
            image[record + 12] ^= 1;
            assert_ne!(events_of(&image), expected);
            image[0] = 1;
            assert_eq!(events_of(&image), expected);
        }
    }

    /// The numbers in front of the names say how many events were in the channel. A change of the
    /// format shows here: agents that are upgraded find logs of the format before.
    #[test]
    fn logs_written_before_are_read() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpora/channel_log");
        let mut files = 0;
        for entry in std::fs::read_dir(corpus).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let Some((events, _)) = name.split_once("-events") else {
                continue;
            };
            let image = std::fs::read(&path).unwrap();
            assert_eq!(events_of(&image), Some(events.parse().unwrap()), "{name}");
            files += 1;
        }
        assert!(files >= 3, "the corpus has only {files} logs");
    }
}
