//! Power cuts, by the thousand.
//!
//! For all seeds: whatever is done to the channel, and wherever the power goes, the channel holds
//! after the restart exactly the events whose put was committed and whose take was not, in order;
//! of the transactions whose commit had not returned, those of the last group, a first part in the
//! order of the log may have happened and the rest has not.
//!
//! A trial is a disk and a sequence of lives of the channel on it. A life ends by a power cut, which
//! may come during its start, by the death of the process alone, by a failed sync or by a close. All
//! follows from the trial's seed, which a failure names. In every other trial commits do not sync
//! (`fsyncPerTransaction = false`): there a power cut, and a failed sync, may undo commits since the
//! last sync, the last one first; the death of the process undoes none. The number of cuts is taken
//! from `FLUME_BENCH_CUTS`, 5,000 unless given.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::super::Mutant;
use super::super::store::{Options, Store, StoreError, Taken};
use super::*;
use crate::fs::sim::SimDisk;

const CHECKPOINT: &str = "/checkpoint";
const DATA: &str = "/data";

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

    fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }
}

/// How long bodies are.
#[derive(Debug, Clone, Copy)]
enum Sizes {
    /// Up to so many bytes more than the number takes.
    Any(u64),
    /// Such that records are multiples of 64 bytes, a take being one such unit. Only so do records
    /// of different uses of a segment begin at the same places often enough to be confused.
    Grid,
}

/// The body of event `id`: its number, and a filler whose length follows from the number.
fn body(id: u64, sizes: Sizes) -> Vec<u8> {
    let mut body = format!("{id} ").into_bytes();
    let length = match sizes {
        Sizes::Any(filler) => body.len() as u64 + Chance(id).below(filler.max(1)),
        // 48 bytes of record header, 8 of table, 24 of batch and event.
        Sizes::Grid => 64 * units(id) - 80,
    };
    body.resize(length as usize, b'a' + (id % 26) as u8);
    body
}

/// The 64-byte units of a record on the grid; the number says it.
fn units(id: u64) -> u64 {
    2 + id % 8
}

/// What a commit whose fate is open was about.
#[derive(Debug, Clone)]
enum Op {
    Put(Vec<u64>),
    Take(Vec<u64>),
}

impl Op {
    fn apply(&self, live: &mut BTreeSet<u64>) {
        match self {
            Op::Put(ids) => live.extend(ids),
            Op::Take(ids) => live.retain(|id| !ids.contains(id)),
        }
    }
}

/// How often what was met, so that a pass is known to mean something.
#[derive(Debug, Default)]
struct Tally {
    cuts: u64,
    kills: u64,
    closes: u64,
    failed_syncs: u64,
    /// Cuts by the operation they struck, and by what the channel was doing.
    struck: BTreeMap<&'static str, u64>,
    during: BTreeMap<&'static str, u64>,
    /// Restarts at which some, but not all, of the open commits had happened.
    partial: u64,
    events: u64,
}

/// One disk, the channel on it, and what must be in the channel.
struct Trial {
    disk: SimDisk,
    chance: Chance,
    options: Options,
    sizes: Sizes,
    live: BTreeSet<u64>,
    /// What was in the channel when all of it was last known durable, and the commits since. Of use
    /// only where commits do not sync.
    durable: BTreeSet<u64>,
    unsynced: Vec<Op>,
    /// The commits of the last group, in the order of the log, whose fate is open.
    open: Vec<Op>,
    next_id: u64,
    held: Vec<(Taken, Vec<u64>)>,
    /// Taken by a commit that was refused, and not given back.
    refused: Vec<u64>,
    /// On the grid: whether this life writes small records in large groups, or the reverse.
    small: bool,
    doing: &'static str,
}

fn is_failed_sync(error: &FileError) -> bool {
    matches!(error, FileError::Io { source, .. } if source.raw_os_error() == Some(5))
}

type Outcome<T> = Result<T, String>;

/// A commit failed, or the power is off: the life is over.
struct Over;

impl Trial {
    fn new(seed: u64, mutant: Mutant) -> Self {
        let mut chance = Chance(seed);
        let grid = chance.one_in(2);
        let options = Options {
            checkpoint_dir: CHECKPOINT.into(),
            data_dir: DATA.into(),
            capacity: 1 << 40,
            segment_size: match grid {
                true => [1536, 2048][chance.below(2) as usize],
                false => [1024, 1536, 2048, 4096, 8192][chance.below(5) as usize],
            },
            spares: 1 + chance.below(8) as usize,
            sync_each: seed.is_multiple_of(2),
            resident_limit: match chance.below(3) {
                // The mutant's events have no place in the log yet from which to be read back.
                _ if mutant == Mutant::TakeBeforePut => 1 << 20,
                0 => 0,
                1 => 1000,
                _ => 1 << 20,
            },
            minimum_space: 0,
            mutant,
        };
        Self {
            disk: SimDisk::new(seed),
            sizes: if grid {
                Sizes::Grid
            } else {
                Sizes::Any([1, 40, 300, 700][chance.below(4) as usize])
            },
            chance,
            options,
            live: BTreeSet::new(),
            durable: BTreeSet::new(),
            unsynced: Vec::new(),
            open: Vec::new(),
            next_id: 0,
            held: Vec::new(),
            refused: Vec::new(),
            small: false,
            doing: "",
        }
    }

    /// Opens the channel and compares what is in it; `None` if the power went meanwhile.
    fn start(&mut self, tally: &mut Tally) -> Outcome<Option<Store>> {
        self.held.clear();
        self.refused.clear();
        self.doing = "start";
        let store = match Store::open(Arc::new(self.disk.clone()), self.options.clone()) {
            // It also opens if only the free segments could not be prepared.
            Ok(_) if !self.disk.is_powered() => return Ok(None),
            Ok(store) => store,
            Err(error) if !self.disk.is_powered() || is_failed_sync(&error) => return Ok(None),
            Err(error) => return Err(format!("the channel does not open: {error}")),
        };
        let found = self.content(&store)?;
        let mut expected = self.live.clone();
        let open = std::mem::take(&mut self.open);
        let mut happened = 0;
        while !expected.iter().eq(found.iter()) {
            let Some(op) = open.get(happened) else {
                let missing: Vec<_> = self.live.iter().filter(|id| !found.contains(id)).collect();
                let extra: Vec<_> = found.iter().filter(|id| !self.live.contains(id)).collect();
                return Err(format!(
                    "missing {missing:?}, too many {extra:?}, open commits {open:?}"
                ));
            };
            op.apply(&mut expected);
            happened += 1;
        }
        tally.partial += u64::from(happened > 0 && happened < open.len());
        self.live = expected;
        // What a start does not know to be durable it writes again, and syncs.
        self.synced();
        Ok(Some(store))
    }

    /// All that is committed has become durable.
    fn synced(&mut self) {
        self.durable.clone_from(&self.live);
        self.unsynced.clear();
    }

    /// The first `count` open commits have returned.
    fn committed(&mut self, count: usize) {
        for op in self.open.drain(..count) {
            op.apply(&mut self.live);
            if !self.options.sync_each {
                self.unsynced.push(op);
            }
        }
    }

    /// The power went, or a sync failed: what was not synced may have happened or not.
    fn fall_back(&mut self) {
        if !self.options.sync_each {
            self.live.clone_from(&self.durable);
            let open = std::mem::take(&mut self.open);
            self.open = std::mem::take(&mut self.unsynced);
            self.open.extend(open);
        }
    }

    /// What is in the channel, by the offline reader.
    fn offline(&self) -> Outcome<Vec<u64>> {
        let disk = Arc::new(self.disk.clone());
        let offline = Stranded::open(
            disk,
            Path::new(CHECKPOINT),
            Path::new(DATA),
            self.options.mutant,
        )
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| format!("the offline reader fails: {error}"))?;
        offline.iter().map(|body| self.id(body)).collect()
    }

    /// What is in the channel, by the offline reader and by taking everything.
    fn content(&self, store: &Store) -> Outcome<Vec<u64>> {
        let offline = self.offline()?;
        let (mut online, mut taken) = (Vec::new(), Vec::new());
        loop {
            let piece = store
                .take(7, Duration::ZERO)
                .map_err(|error| format!("a take fails: {error:?}"))?;
            if piece.ranges.is_empty() {
                break;
            }
            online.extend(self.ids(&piece)?);
            taken.push(piece);
        }
        // Rolled back in any order, they come back in theirs.
        for piece in &taken {
            store.untake(&piece.ranges);
        }
        if online != offline || store.stored() != online.len() as u64 {
            return Err(format!(
                "taken {online:?}, read offline {offline:?}, counted {}",
                store.stored()
            ));
        }
        Ok(online)
    }

    fn id(&self, bytes: &[u8]) -> Outcome<u64> {
        let text = String::from_utf8_lossy(bytes);
        let id = text.split(' ').next().and_then(|id| id.parse().ok());
        match id {
            Some(id) if body(id, self.sizes) == bytes => Ok(id),
            _ => Err(format!("no event was ever {text:?}")),
        }
    }

    fn ids(&self, taken: &Taken) -> Outcome<Vec<u64>> {
        taken
            .slices
            .iter()
            .flatten()
            .map(|event| self.id(event.body()))
            .collect()
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        match self.sizes {
            Sizes::Any(_) => self.next_id,
            // Confusion takes new records that are larger than the old ones beneath them.
            Sizes::Grid if self.small => 8 * self.next_id,
            Sizes::Grid => 8 * self.next_id + self.chance.below(8),
        }
    }

    fn add_put(&mut self, store: &Store, tickets: &mut Vec<u64>) {
        let mut ids = Vec::new();
        let mut batches = Vec::new();
        // On the grid a record is one event.
        let (batches_more, events_more) = match self.sizes {
            Sizes::Grid => (1, 1),
            Sizes::Any(_) => (2, 3),
        };
        for _ in 0..=self.chance.below(batches_more) {
            let mut builder = BatchBuilder::new();
            for _ in 0..=self.chance.below(events_more) {
                let id = self.new_id();
                builder.push([], &body(id, self.sizes)).unwrap();
                ids.push(id);
            }
            batches.push(builder.finish());
        }
        self.open.push(Op::Put(ids));
        tickets.push(store.enqueue_put(batches));
    }

    /// Takes some events; what may come is what is live or about to be, lowest first.
    fn take(&mut self, store: &Store) -> Outcome<()> {
        let Ok(taken) = store.take(1 + self.chance.below(9), Duration::ZERO) else {
            return Ok(());
        };
        let ids = self.ids(&taken)?;
        let mut there = self.live.clone();
        self.open.iter().for_each(|op| op.apply(&mut there));
        for (_, held) in &self.held {
            there.retain(|id| !held.contains(id));
        }
        there.retain(|id| !self.refused.contains(id));
        if !there.iter().take(ids.len()).eq(ids.iter()) {
            return Err(format!("took {ids:?} of {there:?}"));
        }
        if !ids.is_empty() {
            self.held.push((taken, ids));
        }
        Ok(())
    }

    /// One group of commits.
    fn group(&mut self, store: &Store) -> Outcome<Result<(), Over>> {
        self.doing = "commit";
        let mut tickets = Vec::new();
        let most = match self.sizes {
            Sizes::Any(_) => 5,
            Sizes::Grid => 1,
        };
        for _ in 0..=self.chance.below(most) {
            if self.chance.one_in(3) {
                self.take(store)?;
            }
            if !self.held.is_empty() && self.chance.one_in(2) {
                let position = self.chance.below(self.held.len() as u64) as usize;
                let (taken, ids) = self.held.remove(position);
                self.open.push(Op::Take(ids));
                tickets.push(store.enqueue_take(taken.ranges));
            } else {
                self.add_put(store, &mut tickets);
            }
        }
        self.write(store, &tickets)
    }

    /// A large group of small puts, with the power going in the middle of it: it leaves whole
    /// records behind a torn one.
    fn burst(&mut self, store: &Store) -> Outcome<Result<(), Over>> {
        self.doing = "commit";
        let mut tickets = Vec::new();
        for _ in 0..8 + self.chance.below(8) {
            self.add_put(store, &mut tickets);
        }
        let at = self.disk.operations() + 1 + self.chance.below(6);
        self.disk.cut_power_at(at);
        self.write(store, &tickets)
    }

    fn write(&mut self, store: &Store, tickets: &[u64]) -> Outcome<Result<(), Over>> {
        let failures = store.write_group();
        let acked = tickets
            .iter()
            .take_while(|ticket| !failures.contains_key(ticket))
            .count();
        self.committed(acked);
        if failures
            .values()
            .all(|error| matches!(error, StoreError::Refused(_)))
        {
            // A promise too: what was refused has not happened and never will.
            for op in self.open.drain(..) {
                if let Op::Take(ids) = op {
                    self.refused.extend(ids);
                }
            }
        }
        Ok(if self.disk.is_powered() && store.check().is_ok() {
            Ok(())
        } else {
            Err(Over)
        })
    }

    /// Takes and commits all there is and frees its segments: so files are used again soon.
    fn turn_around(&mut self, store: &Store) -> Outcome<Result<(), Over>> {
        self.doing = "commit";
        let (mut ranges, mut ids) = (Vec::new(), Vec::new());
        while let Ok(taken) = store.take(1000, Duration::ZERO)
            && !taken.ranges.is_empty()
        {
            ids.extend(self.ids(&taken)?);
            ranges.extend(taken.ranges);
        }
        if !ranges.is_empty() {
            self.open.push(Op::Take(ids));
            store.enqueue_take(ranges);
            let failures = store.write_group();
            if failures.is_empty() {
                self.committed(self.open.len());
            } else if failures
                .values()
                .all(|error| matches!(error, StoreError::Refused(_)))
                && let Some(Op::Take(ids)) = self.open.pop()
            {
                self.refused.extend(ids);
            }
        }
        self.checkpoint(store)?;
        Ok(if self.disk.is_powered() && store.check().is_ok() {
            Ok(())
        } else {
            Err(Over)
        })
    }

    fn checkpoint(&mut self, store: &Store) -> Outcome<()> {
        self.doing = "checkpoint";
        let outcome = store.checkpoint();
        if outcome.is_ok() && self.disk.is_powered() && store.check().is_ok() {
            self.synced();
        }
        self.excuse(outcome)
    }

    /// A put of one event and its take, so that the log moves on while the channel stays empty and
    /// its files come round.
    fn step_on_grid(&mut self, store: &Store) -> Outcome<Result<(), Over>> {
        if self.small {
            return Ok(self.turn_around(store)?.and(self.burst(store)?));
        }
        let mut tickets = Vec::new();
        self.add_put(store, &mut tickets);
        for pair in 0..2 {
            let outcome = if pair == 0 {
                self.write(store, &tickets)?
            } else {
                self.turn_around(store)?
            };
            if outcome.is_err() {
                return Ok(Err(Over));
            }
            self.look()?;
        }
        Ok(Ok(()))
    }

    /// Between commits the offline reader sees what is committed and nothing else.
    fn look(&self) -> Outcome<()> {
        let found = self.offline()?;
        if self.live.iter().eq(found.iter()) {
            return Ok(());
        }
        Err(format!(
            "the offline reader finds {found:?}, committed are {:?}",
            self.live
        ))
    }

    /// One thing to do.
    fn step(&mut self, store: &Store) -> Outcome<Result<(), Over>> {
        match self.chance.below(12) {
            0..6 => return self.group(store),
            6..8 => self.take(store)?,
            8 if !self.held.is_empty() => {
                let position = self.chance.below(self.held.len() as u64) as usize;
                let (taken, _) = self.held.remove(position);
                store.untake(&taken.ranges);
            }
            8 | 9 => {
                self.doing = "upkeep";
                self.excuse(store.maintain())?;
            }
            10 if !self.options.sync_each => {
                self.doing = "upkeep";
                let outcome = store.sync();
                if outcome.is_ok() && self.disk.is_powered() && store.check().is_ok() {
                    self.synced();
                }
                self.excuse(outcome)?;
            }
            _ => self.checkpoint(store)?,
        }
        Ok(if self.disk.is_powered() && store.check().is_ok() {
            Ok(())
        } else {
            Err(Over)
        })
    }

    /// Only a cut or a failed sync excuses a failure.
    fn excuse(&self, outcome: Result<(), FileError>) -> Outcome<()> {
        match outcome {
            Err(error) if self.disk.is_powered() && !is_failed_sync(&error) => {
                Err(format!("{} fails: {error}", self.doing))
            }
            _ => Ok(()),
        }
    }

    /// A life of the channel, and its end.
    fn live(&mut self, tally: &mut Tally) -> Outcome<()> {
        // Syncs fail in some lives only: a life that ends by one meets no cut.
        let end = self.chance.below(10);
        let grid = matches!(self.sizes, Sizes::Grid);
        let bound = if self.chance.one_in(if grid { 8 } else { 4 }) {
            8
        } else {
            60
        };
        let at = self.disk.operations() + 1 + self.chance.below(bound);
        match end {
            0..8 => self.disk.cut_power_at(at),
            8 => self.disk.fail_sync_at(at + 20),
            _ => {}
        }
        // By turns: what one life leaves torn, the next one writes over.
        self.small = grid && !self.small;
        let mut store = self.start(tally)?;
        if let Some(store) = &store
            && !(grid && !self.small && self.turn_around(store)?.is_err())
        {
            for _ in 0..self.chance.below(40) + 1 {
                let outcome = if grid && (self.small || self.chance.one_in(2)) {
                    self.step_on_grid(store)?
                } else {
                    self.step(store)?
                };
                if outcome.is_err() {
                    break;
                }
            }
        }
        tally.events = tally.events.max(self.next_id);
        if !self.disk.is_powered() {
            *tally
                .struck
                .entry(self.disk.trace().last().copied().unwrap_or(""))
                .or_default() += 1;
            *tally.during.entry(self.doing).or_default() += 1;
        } else if store.as_ref().is_some_and(|store| store.check().is_err()) {
            // The sync failed. The process ends, and sometimes the machine with it.
            tally.failed_syncs += 1;
            self.fall_back();
            if self.chance.one_in(2) {
                drop(store);
                self.disk.kill_process();
                return Ok(());
            }
        } else if self.chance.one_in(4) {
            tally.kills += 1;
            drop(store);
            self.disk.kill_process();
            return Ok(());
        } else if self.chance.one_in(4) && end >= 8 {
            tally.closes += 1;
            if let Some(store) = store.take() {
                self.doing = "close";
                let with_checkpoint = self.chance.one_in(2);
                let outcome = store.close(with_checkpoint);
                if outcome.is_ok() && self.disk.is_powered() {
                    self.synced();
                }
                self.excuse(outcome)?;
            }
            self.disk.kill_process();
            return Ok(());
        }
        tally.cuts += 1;
        drop(store);
        self.disk.power_on();
        self.fall_back();
        Ok(())
    }
}

/// Runs trials from `seed` on until there were `cuts` power cuts.
fn suite(mutant: Mutant, seed: u64, cuts: u64) -> Result<Tally, String> {
    let mut tally = Tally::default();
    let mut trial_seed = seed;
    while tally.cuts < cuts {
        let mut trial = Trial::new(trial_seed, mutant);
        for life in 0..12 {
            trial.live(&mut tally).map_err(|what| {
                format!(
                    "seed {trial_seed}, life {life}, {} byte segments, after {} cuts: {what}",
                    trial.options.segment_size, tally.cuts
                )
            })?;
        }
        // The last cut's damage is judged too.
        trial.start(&mut tally).map_err(|what| {
            format!(
                "seed {trial_seed}, last start, after {} cuts: {what}",
                tally.cuts
            )
        })?;
        trial_seed += 1;
    }
    Ok(tally)
}

fn cuts() -> u64 {
    std::env::var("FLUME_BENCH_CUTS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(5_000)
}

#[test]
fn no_power_cut_loses_or_invents_an_event() {
    let tally = suite(Mutant::None, 1, cuts()).unwrap();
    println!("{tally:?}");
    // A pass means something only if the cuts fell everywhere.
    let share = tally.cuts / 200;
    for operation in ["create", "rename", "sync", "sync_dir", "write"] {
        assert!(
            tally
                .struck
                .get(operation)
                .is_some_and(|count| *count > share),
            "{operation}: {tally:?}"
        );
    }
    for phase in ["start", "commit", "upkeep", "checkpoint"] {
        assert!(
            tally.during.get(phase).is_some_and(|count| *count > share),
            "{phase}: {tally:?}"
        );
    }
    assert!(
        tally.partial > share && tally.kills > share && tally.closes > share,
        "{tally:?}"
    );
    assert!(tally.failed_syncs > share, "{tally:?}");
}

/// Asserts that the suite, with as many cuts as usual, fails for a mutant.
fn is_caught(mutant: Mutant) {
    let cuts = cuts();
    let failure = suite(mutant, 1, cuts).expect_err("the suite does not see the defect");
    println!("{mutant:?}: {failure}");
}

#[test]
fn a_channel_without_syncs_is_caught() {
    is_caught(Mutant::NoSync);
}

#[test]
fn a_checkpoint_before_its_data_is_caught() {
    is_caught(Mutant::CheckpointBeforeData);
}

#[test]
fn a_crc_without_the_epoch_is_caught() {
    is_caught(Mutant::NoEpochInCrc);
}

#[test]
fn a_take_logged_before_its_put_is_caught() {
    is_caught(Mutant::TakeBeforePut);
}
