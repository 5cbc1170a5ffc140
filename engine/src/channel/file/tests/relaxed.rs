//! `fsyncPerTransaction = false`, with commits and checkpoints at the same time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use super::super::Mutant;
use super::super::store::{Options, Store};
use super::*;
use crate::fs::sim::SimDisk;

/// A store whose commits do not sync.
fn open(disk: &SimDisk) -> Store {
    let options = Options {
        checkpoint_dir: "/checkpoint".into(),
        data_dir: "/data".into(),
        capacity: 1 << 40,
        segment_size: 4096,
        spares: 2,
        sync_each: false,
        resident_limit: 1 << 20,
        minimum_space: 0,
        mutant: Mutant::None,
    };
    Store::open(Arc::new(disk.clone()), options).unwrap()
}

/// For all seeds: whatever is committed while a checkpoint is made, a power cut behind it leaves a
/// channel that opens, with a first part of what was put, and all that was put before the checkpoint.
#[test]
fn a_checkpoint_amid_commits_covers_what_is_durable_and_no_more() {
    for seed in 0..150 {
        let disk = SimDisk::new(seed);
        let store = open(&disk);
        let (done, committed) = (AtomicBool::new(false), AtomicU64::new(0));
        let before = std::thread::scope(|scope| {
            scope.spawn(|| {
                for id in 0_u64.. {
                    let batch = batch([id as usize]);
                    if done.load(Ordering::Relaxed)
                        || store.put(vec![batch], Duration::ZERO).is_err()
                    {
                        return;
                    }
                    committed.store(id + 1, Ordering::Release);
                }
            });
            // Commits wait for the writer while the checkpoint syncs, and go on right behind it.
            let mut before = 0;
            for _ in 0..3 {
                let deadline = Instant::now() + Duration::from_secs(60);
                while committed.load(Ordering::Acquire) == before {
                    assert!(Instant::now() < deadline, "seed {seed}: no commit returns");
                    std::thread::yield_now();
                }
                before = committed.load(Ordering::Acquire);
                store.checkpoint().unwrap();
            }
            disk.cut_power();
            done.store(true, Ordering::Relaxed);
            before
        });
        drop(store);
        disk.power_on();
        let store = open(&disk);
        let mut found = Vec::new();
        loop {
            let taken = store.take(1000, Duration::ZERO).unwrap();
            if taken.ranges.is_empty() {
                break;
            }
            let events = taken.slices.iter().flatten();
            found.extend(events.map(|event| text(event.body())));
        }
        assert_eq!(found, expected(0..found.len()), "seed {seed}");
        assert!(
            found.len() as u64 >= before,
            "seed {seed}: {} of {before} events",
            found.len()
        );
    }
}
