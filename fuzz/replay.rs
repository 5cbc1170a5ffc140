//! Every recorded input, and thousands of mutations of it, through a crate's targets: what its test
//! `corpora` consists of, beside the targets themselves.
//!
//! A corpus is a directory of `tests/corpora`, named after its target; its files were recorded from
//! real peers or written by hand for a case, as their names say. The mutations follow from a seed, so a
//! failure can be had again: it names target, file and mutation. How many are made of each file is
//! taken from `FLUME_BENCH_MUTATIONS`, 300 unless given. Fuzzing proper is in `fuzz/`.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::TARGETS;

/// Most bytes that one input may take at a time: several times the largest message that the
/// targets admit, and far below what a length that lies could ask for.
const MEMORY: isize = 16 << 20;

/// The system's allocator; counts what each thread holds, and the most it held.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn count(change: isize) {
    // While a thread ends there is nothing left to count with.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + change);
        let _ = MOST.try_with(|most| most.set(most.get().max(held.get())));
    });
}

#[expect(unsafe_code, reason = "an allocator cannot be written without")]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.draw() % bound.max(1) as u64) as usize
    }
}

/// Changes an input in one to four places, the way broken peers and disks do.
fn mutate(input: &mut Vec<u8>, other: &[u8], chance: &mut Chance) {
    for _ in 0..=chance.below(4) {
        let at = chance.below(input.len());
        let length = 1 + chance.below(16);
        let end = (at + length).min(input.len());
        match chance.below(8) {
            _ if input.is_empty() => input.push(chance.draw() as u8),
            0 => input[at] ^= 1 << chance.below(8),
            1 => input[at] = [0, 1, 0x7f, 0x80, 0xfe, 0xff][chance.below(6)],
            2 => input[at..end].fill([0, 0xff][chance.below(2)]),
            3 => input.truncate(at),
            4 => drop(input.drain(at..end)),
            5 => {
                let piece = input[at..end].to_vec();
                input.splice(at..at, piece);
            }
            6 => {
                let random: Vec<u8> = (0..length).map(|_| chance.draw() as u8).collect();
                input.splice(at..end, random);
            }
            _ => {
                let from = chance.below(other.len());
                let piece = other[from..(from + 8 * length).min(other.len())].to_vec();
                input.splice(at..end, piece);
            }
        }
    }
}

/// Gives an input to a target; answers the most bytes that it held meanwhile.
fn run(target: fn(&[u8]), input: &[u8], what: &str) -> isize {
    HELD.set(0);
    MOST.set(0);
    let outcome = catch_unwind(AssertUnwindSafe(|| target(input)));
    let most = MOST.get();
    assert!(outcome.is_ok(), "{what}: {input:02x?}");
    assert!(most <= MEMORY, "{what}: {most} bytes held: {input:02x?}");
    most
}

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpora")
}

/// The files of a corpus by name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let directory = corpora().join(target);
    let entries = std::fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<_> = entries
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read(path).unwrap())
        })
        .collect();
    files.sort();
    files
}

fn mutations() -> u64 {
    std::env::var("FLUME_BENCH_MUTATIONS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(300)
}

#[test]
fn nothing_panics_and_memory_is_bounded() {
    for (name, target) in TARGETS {
        let files = corpus(name);
        assert!(files.len() >= 4, "{name} has {} files only", files.len());
        let mut most = 0;
        for (nth, (file, bytes)) in files.iter().enumerate() {
            most = most.max(run(*target, bytes, &format!("{name}/{file}")));
            let (_, other) = &files[(nth + 1) % files.len()];
            for mutation in 0..mutations() {
                let mut chance = Chance(mutation);
                let mut input = bytes.clone();
                mutate(&mut input, other, &mut chance);
                let what = format!("{name}/{file}, mutation {mutation}");
                most = most.max(run(*target, &input, &what));
            }
        }
        println!("{name}: {} files, {most} bytes held at most", files.len());
    }
}

#[test]
fn each_corpus_belongs_to_a_target() {
    let directories: BTreeSet<String> = std::fs::read_dir(corpora())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(directories, targets);
}
