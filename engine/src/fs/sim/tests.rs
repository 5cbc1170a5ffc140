//! The simulated disk keeps what was synced, and only that is sure to be kept.

use super::*;
use crate::fs::{File, Fs};

fn read(disk: &SimDisk, path: &str) -> Vec<u8> {
    let file = disk.open(Path::new(path), true).unwrap();
    let mut buffer = vec![0; file.len().unwrap() as usize];
    file.read_at(&mut buffer, 0).unwrap();
    buffer
}

/// A disk with a durable file `/d/f` of four sectors of ones.
fn disk(seed: u64) -> (SimDisk, Arc<dyn File>) {
    let disk = SimDisk::new(seed);
    disk.create_dir_all(Path::new("/d")).unwrap();
    let file = disk.create(Path::new("/d/f")).unwrap();
    file.write_at(&[1; 4 * SECTOR], 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    (disk, file)
}

#[test]
fn what_was_synced_survives_every_cut() {
    for seed in 0..50 {
        let (disk, _) = disk(seed);
        disk.power_on();
        assert_eq!(read(&disk, "/d/f"), [1; 4 * SECTOR]);
    }
}

#[test]
fn an_unsynced_write_is_kept_dropped_or_torn_at_sectors() {
    let (mut kept, mut dropped, mut torn) = (0, 0, 0);
    for seed in 0..200 {
        let (disk, file) = disk(seed);
        file.write_at(&[2; 3 * SECTOR], 100).unwrap();
        disk.power_on();
        let content = read(&disk, "/d/f");
        let twos = content.iter().filter(|&&byte| byte == 2).count();
        match twos {
            0 => dropped += 1,
            n if n == 3 * SECTOR => kept += 1,
            _ => torn += 1,
        }
        for sector in content.chunks(SECTOR) {
            let inner = &sector[100..];
            assert!(
                inner.iter().all(|byte| *byte == inner[0])
                    || sector[..100].iter().all(|b| *b == sector[0])
            );
        }
    }
    assert!(
        kept > 20 && dropped > 20 && torn > 20,
        "{kept} {dropped} {torn}"
    );
}

#[test]
fn names_may_be_lost_until_the_directory_is_synced() {
    let (mut old, mut new) = (0, 0);
    for seed in 0..100 {
        let (disk, _) = disk(seed);
        disk.rename(Path::new("/d/f"), Path::new("/d/g")).unwrap();
        let synced = seed % 2 == 0;
        if synced {
            disk.sync_dir(Path::new("/d")).unwrap();
        }
        disk.power_on();
        let names = disk.list(Path::new("/d")).unwrap();
        assert_eq!(names.len(), 1, "a rename leaves one name, never none");
        if names[0].ends_with("g") {
            new += 1
        } else {
            old += 1
        }
        assert!(!synced || names[0].ends_with("g"));
    }
    assert!(old > 10 && new > 60, "{old} {new}");
}

#[test]
fn a_failed_sync_is_not_mended_by_the_next_one() {
    let mut lost = 0;
    for seed in 0..50 {
        let (disk, file) = disk(seed);
        file.write_at(&[2; 10], 0).unwrap();
        disk.fail_sync_at(0);
        assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(5));
        file.sync_data().unwrap();
        assert_eq!(read(&disk, "/d/f")[0], 2, "the page cache still shows it");
        disk.power_on();
        lost += usize::from(read(&disk, "/d/f")[0] == 1);
    }
    assert!(lost > 10, "{lost}");
}

#[test]
fn the_cut_comes_at_its_number_and_ends_old_handles() {
    let (disk, file) = disk(3);
    disk.cut_power_at(disk.operations() + 2);
    file.write_at(&[2], 0).unwrap();
    assert!(file.write_at(&[3], 1).is_err());
    assert!(!disk.is_powered());
    assert!(disk.list(Path::new("/d")).is_err());
    disk.power_on();
    assert!(file.len().is_err(), "a handle does not survive its machine");
}

#[test]
fn a_killed_process_loses_locks_but_no_bytes() {
    let (disk, file) = disk(4);
    file.write_at(&[2], 0).unwrap();
    let lock = disk.lock(Path::new("/d/lock")).unwrap();
    assert!(disk.lock(Path::new("/d/lock")).is_err());
    disk.kill_process();
    assert_eq!(read(&disk, "/d/f")[0], 2);
    let again = disk.lock(Path::new("/d/lock")).unwrap();
    drop(lock);
    assert!(
        disk.lock(Path::new("/d/lock")).is_err(),
        "a dead lock's drop frees nothing"
    );
    drop(again);
}

#[test]
fn a_full_disk_says_so() {
    let (disk, file) = disk(5);
    disk.set_capacity(4 * SECTOR as u64 + 10);
    file.write_at(&[2; 20], 0).unwrap();
    assert_eq!(
        file.write_at(&[2; 20], 4 * SECTOR as u64)
            .unwrap_err()
            .kind(),
        io::ErrorKind::StorageFull
    );
    assert_eq!(disk.free_space(Path::new("/d")).unwrap(), 10);
}

#[test]
fn the_same_seed_decides_the_same() {
    let run = |seed| {
        let (disk, file) = disk(seed);
        for offset in 0..4 {
            file.write_at(&[7; 700], offset * 300).unwrap();
        }
        disk.power_on();
        read(&disk, "/d/f")
    };
    assert_eq!(run(11), run(11));
    assert!((0..20).any(|seed| run(seed) != run(seed + 100)));
}
