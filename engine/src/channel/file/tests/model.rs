//! The channel against a plain queue, step by step, on the simulated disk and on the real one's
//! terms: no faults here but restarts.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::super::store::{Options, Store, Taken};
use super::*;
use crate::fs::sim::SimDisk;

/// One thing to do.
#[derive(Debug, Clone)]
enum Step {
    /// Put so many events, in two batches if asked, of so many bytes each.
    Put {
        events: usize,
        split: bool,
        size: usize,
    },
    /// Begin a take of up to so many events.
    Take(u64),
    /// Commit one of the open takes.
    Commit(usize),
    /// Roll one back.
    Rollback(usize),
    Checkpoint,
    Maintain,
    /// Close, with a checkpoint or not, and open again.
    Reopen {
        checkpoint: bool,
    },
    /// The process dies; the new one starts.
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1..6usize, any::<bool>(), 0..500usize)
            .prop_map(|(events, split, size)| Step::Put { events, split, size }),
        5 => (1..12u64).prop_map(Step::Take),
        4 => any::<usize>().prop_map(Step::Commit),
        2 => any::<usize>().prop_map(Step::Rollback),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Maintain),
        1 => any::<bool>().prop_map(|checkpoint| Step::Reopen { checkpoint }),
        1 => Just(Step::Kill),
    ]
}

/// The events that are there, in order, each with whether it is in an open take.
type Model = VecDeque<(u64, bool)>;

fn body(id: u64, size: usize) -> Vec<u8> {
    let mut body = id.to_string().into_bytes();
    body.resize(body.len() + size, b'.');
    body
}

fn ids(taken: &Taken) -> Vec<u64> {
    let id = |event: crate::event::Event<'_>| {
        std::str::from_utf8(event.body())
            .unwrap()
            .trim_end_matches('.')
            .parse()
            .unwrap()
    };
    taken.slices.iter().flatten().map(id).collect()
}

fn batches(next: &mut u64, events: usize, split: bool, size: usize) -> Vec<Batch> {
    let mut builder = BatchBuilder::new();
    let mut batches = Vec::new();
    for position in 0..events {
        builder.push([], &body(*next, size)).unwrap();
        *next += 1;
        if split && position == events / 2 {
            batches.push(builder.finish());
        }
    }
    if !builder.is_empty() {
        batches.push(builder.finish());
    }
    batches
}

fn run(steps: Vec<Step>, resident_limit: u64, sync_each: bool) {
    let disk = SimDisk::new(1);
    let options = Options {
        checkpoint_dir: "/c".into(),
        data_dir: "/d".into(),
        capacity: 1 << 40,
        segment_size: 4096,
        spares: 2,
        sync_each,
        resident_limit,
        minimum_space: 0,
        mutant: Mutant::None,
    };
    let open = || Store::open(Arc::new(disk.clone()), options.clone()).unwrap();
    let mut store = open();
    let (mut model, mut next) = (Model::new(), 0);
    let mut takes: Vec<Taken> = Vec::new();
    for step in steps {
        match step {
            Step::Put {
                events,
                split,
                size,
            } => {
                let first = next;
                store
                    .put(batches(&mut next, events, split, size), Duration::ZERO)
                    .unwrap();
                model.extend((first..next).map(|id| (id, false)));
            }
            Step::Take(max) => {
                let taken = store.take(max, Duration::ZERO).unwrap();
                let free: Vec<u64> = model
                    .iter()
                    .filter(|(_, held)| !held)
                    .map(|(id, _)| *id)
                    .collect();
                let found = ids(&taken);
                assert_eq!(found, free[..found.len()]);
                assert_eq!(found.is_empty(), free.is_empty());
                model
                    .iter_mut()
                    .filter(|(id, _)| found.contains(id))
                    .for_each(|(_, held)| *held = true);
                takes.push(taken);
            }
            Step::Commit(which) if !takes.is_empty() => {
                let taken = takes.remove(which % takes.len());
                let found = ids(&taken);
                if !found.is_empty() {
                    store.commit_take(taken.ranges).unwrap();
                }
                model.retain(|(id, _)| !found.contains(id));
            }
            Step::Rollback(which) if !takes.is_empty() => {
                let taken = takes.remove(which % takes.len());
                let found = ids(&taken);
                store.untake(&taken.ranges);
                model
                    .iter_mut()
                    .filter(|(id, _)| found.contains(id))
                    .for_each(|(_, held)| *held = false);
            }
            Step::Commit(_) | Step::Rollback(_) => {}
            Step::Checkpoint => store.checkpoint().unwrap(),
            Step::Maintain => store.maintain().unwrap(),
            Step::Reopen { .. } | Step::Kill => {
                takes.clear();
                model.iter_mut().for_each(|(_, held)| *held = false);
                if let Step::Reopen { checkpoint } = step {
                    store.close(checkpoint).unwrap();
                }
                drop(store);
                disk.kill_process();
                store = open();
            }
        }
        assert_eq!(store.stored(), model.len() as u64);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// For all sequences of steps, the channel is a queue.
    #[test]
    fn behaves_like_a_queue(
        steps in prop::collection::vec(step(), 0..80),
        resident_limit in prop::sample::select(vec![0u64, 2000, 1 << 20]),
        sync_each: bool,
    ) {
        run(steps, resident_limit, sync_each);
    }
}
