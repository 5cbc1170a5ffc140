//! The judge on made-up runs: thousands of journals and histories, written as a run writes them, of a
//! world of which everything is known. A clean one must pass with the very counts of that world; one
//! with a planted fault must not.
//!
//! A world has one to four producers, a kill of the agent or none, refusals, attempts that nobody
//! answered and that were stored or not, answers that come after the event was seen, events that were
//! given up, files that grow side by side, are renamed and published, and reads that cut batches
//! anywhere. How many worlds: `FLUME_BENCH_HISTORIES` (200).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use flume_bench_loadgen::account::Account;
use flume_bench_loadgen::journal::Header;
use flume_bench_loadgen::ledger::Owing;
use flume_bench_loadgen::observe::{
    Answer, Answered, Batch, FileChange, FileId, Micros, Observer, Odd, OddKind, Read, Sent,
};
use flume_bench_reports::record::RunRecord;
use flume_bench_reports::verdict::Verdict;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::runner::history::{Drain, Entry, Line};
use crate::scenario::{Scenario, load_text};

const MS: Micros = 1_000;
const S: Micros = 1_000_000;
/// The load lasts so long.
const LOAD: Micros = 2 * S;

/// What is planted into a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// So many owed events are in no file.
    Loss(usize),
    /// The file that was begun last keeps its in-use name.
    Unpublished,
    /// A record's payload is damaged, and its event is nowhere else.
    Corrupted,
    /// A record carries a token that nobody issued.
    Invented,
}

/// One event: producer and sequence number.
type Id = (u16, u64);

/// A copy of a batch in the store: when it was written, and what of it.
struct Copied {
    at: Micros,
    batch: Batch,
}

/// What is reported, and when.
enum Report {
    Sent(Sent),
    Answered(Answered),
    Read(Read),
    File(FileId, FileChange),
    Looked(Micros),
}

/// A world as it was, in the making.
struct World {
    rng: ChaCha8Rng,
    producers: u16,
    owing: Owing,
    kill: Option<(Micros, Micros)>,
    reports: Vec<(Micros, Report)>,
    copies: Vec<Copied>,
    planned: BTreeMap<u16, u64>,
    issued: u64,
    acked: BTreeSet<Id>,
    stored: BTreeMap<Id, u64>,
    /// Events of files that were never published.
    hidden: BTreeSet<Id>,
    seen: BTreeSet<Id>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let producers = rng.random_range(1..=4);
        let kill = rng.random_bool(0.7).then(|| {
            let at = rng.random_range(LOAD / 10..LOAD * 7 / 10);
            (at, at + rng.random_range(50 * MS..400 * MS))
        });
        Self {
            rng,
            producers,
            owing: Owing::Acked,
            kill,
            reports: Vec::new(),
            copies: Vec::new(),
            planned: BTreeMap::new(),
            issued: 0,
            acked: BTreeSet::new(),
            stored: BTreeMap::new(),
            hidden: BTreeSet::new(),
            seen: BTreeSet::new(),
        }
    }

    fn chance(&mut self, probability: f64) -> bool {
        self.rng.random_bool(probability)
    }

    fn within(&mut self, from: Micros, to: Micros) -> Micros {
        self.rng.random_range(from..to)
    }

    fn report(&mut self, at: Micros, report: Report) {
        self.reports.push((at, report));
    }

    /// The load of all producers.
    fn load(&mut self) {
        for producer in 0..self.producers {
            let size = self.rng.random_range(1..=50u32);
            let batches = (1_600 / u64::from(size) / u64::from(self.producers)).max(1);
            for number in 0..batches {
                let batch = Batch {
                    producer,
                    first: number * u64::from(size),
                    count: size,
                    intended: LOAD * number as Micros / batches as Micros,
                };
                self.send(batch);
                *self.planned.entry(producer).or_default() += u64::from(size);
            }
        }
    }

    /// One batch with its attempts, until it is taken or given up.
    fn send(&mut self, batch: Batch) {
        self.issued += u64::from(batch.count);
        let released = batch.intended + self.within(0, 500);
        let mut first_byte = released + self.within(1, 300);
        for attempt in 0..40 {
            let sent = Sent {
                batch,
                attempt,
                released,
                first_byte,
            };
            self.report(first_byte, Report::Sent(sent));
            let (answer, at) = self.outcome(first_byte);
            let written = match answer {
                Answer::Acked => true,
                Answer::Unknown => self.chance(0.5),
                Answer::Refused => false,
            };
            if written {
                let at = at + self.within(-MS, 30 * MS);
                self.copies.push(Copied { at, batch });
            }
            let answered = Answered {
                batch,
                attempt,
                answer,
                at,
            };
            self.report(at, Report::Answered(answered));
            if answer == Answer::Acked {
                let ids = (batch.first..).take(batch.count as usize);
                self.acked.extend(ids.map(|id| (batch.producer, id)));
                return;
            }
            // One in a hundred is given up: owed to nobody, stored or not.
            if self.chance(0.01) {
                return;
            }
            first_byte = at + self.within(10 * MS, 60 * MS);
        }
    }

    /// What an attempt comes to, and when that is known.
    fn outcome(&mut self, first_byte: Micros) -> (Answer, Micros) {
        let soon = first_byte + self.within(100, 3 * MS);
        let (refused, silent) = (self.chance(0.02), self.chance(0.02));
        let late = soon + self.within(0, 200 * MS);
        match self.kill {
            Some((kill, up)) if (kill..up).contains(&first_byte) => (Answer::Refused, soon),
            Some((kill, _)) if first_byte < kill && soon >= kill => (Answer::Unknown, soon),
            _ if refused => (Answer::Refused, soon),
            _ if silent => (Answer::Unknown, late),
            _ => (Answer::Acked, soon),
        }
    }

    /// Puts the copies into files, and lets the receiver read them.
    fn store(&mut self, fault: Option<Fault>) {
        self.copies.sort_by_key(|copy| copy.at);
        let victims = self.victims(fault);
        let copies = std::mem::take(&mut self.copies);
        let side_by_side = self.rng.random_range(1..=3usize);
        let per_file = self.rng.random_range(20..200usize);
        let files = copies.len().div_ceil(per_file * side_by_side).max(1);
        let mut open: Vec<Vec<Copied>> = Vec::new();
        for _ in 0..files * side_by_side {
            open.push(Vec::new());
        }
        for (number, copy) in copies.into_iter().enumerate() {
            let generation = number / (per_file * side_by_side);
            let place = self.rng.random_range(0..side_by_side);
            open[generation * side_by_side + place].push(copy);
        }
        open.retain(|file| !file.is_empty());
        let last = open.len().saturating_sub(1);
        for (number, copies) in open.into_iter().enumerate() {
            let hidden = fault == Some(Fault::Unpublished) && number == last;
            self.file(number as FileId, copies, &victims, hidden);
        }
        let damage = match fault {
            Some(Fault::Corrupted) => victims
                .first()
                .map(|(producer, id)| OddKind::CorruptPayload(*producer, *id)),
            _ => None,
        };
        if let Some(kind) = damage {
            self.odd(kind);
        }
        if fault == Some(Fault::Invented) {
            let nobody = Batch {
                producer: 0,
                first: 1 << 40,
                count: 1,
                intended: 0,
            };
            self.read(0, vec![nobody], LOAD + 50 * MS, 1 << 30);
        }
    }

    /// The owed events that are to be missing.
    fn victims(&mut self, fault: Option<Fault>) -> BTreeSet<Id> {
        let wanted = match fault {
            Some(Fault::Loss(events)) => events,
            Some(Fault::Corrupted) => 1,
            _ => 0,
        };
        let owed: Vec<Id> = self.acked.iter().copied().collect();
        let mut victims = BTreeSet::new();
        while victims.len() < wanted {
            victims.insert(owed[self.rng.random_range(0..owed.len())]);
        }
        victims
    }

    /// One file: appears, is read piece by piece, is renamed and published.
    fn file(&mut self, file: FileId, copies: Vec<Copied>, victims: &BTreeSet<Id>, hidden: bool) {
        let mut at = copies.first().map_or(0, |copy| copy.at);
        let appeared = FileChange::Appeared {
            path: format!("/out-{file}.tmp"),
        };
        self.report(at, Report::File(file, appeared));
        let mut runs: Vec<Batch> = Vec::new();
        let mut offset = 0;
        for copy in copies {
            at = at.max(copy.at);
            for id in copy.batch.first..copy.batch.first + u64::from(copy.batch.count) {
                let event = (copy.batch.producer, id);
                if victims.contains(&event) {
                    continue;
                }
                *self.stored.entry(event).or_default() += 1;
                if hidden {
                    self.hidden.insert(event);
                } else {
                    self.seen.insert(event);
                }
                match runs.last_mut() {
                    Some(run)
                        if run.producer == event.0
                            && run.intended == copy.batch.intended
                            && run.first + u64::from(run.count) == id =>
                    {
                        run.count += 1;
                    }
                    _ => runs.push(Batch {
                        first: id,
                        count: 1,
                        ..copy.batch
                    }),
                }
                // A look may end behind any record.
                if self.chance(0.01) {
                    offset += self.read(file, std::mem::take(&mut runs), at, offset);
                }
            }
        }
        if !runs.is_empty() {
            self.read(file, runs, at, offset);
        }
        let closed = at + self.within(30 * MS, 300 * MS);
        if !hidden {
            let path = format!("/out-{file}");
            self.report(closed, Report::File(file, FileChange::Renamed { path }));
            self.report(closed + 1, Report::File(file, FileChange::Published));
        }
    }

    /// A read of what was written by `at`; answers how many bytes it returned.
    fn read(&mut self, file: FileId, found: Vec<Batch>, at: Micros, offset: u64) -> u64 {
        let bytes = found.iter().map(|run| u64::from(run.count) * 481).sum();
        let at = at + self.within(MS, 25 * MS);
        let read = Read {
            file,
            at,
            previous: at - 25 * MS,
            offset,
            found,
            odd: Vec::new(),
        };
        self.report(at, Report::Read(read));
        bytes
    }

    fn odd(&mut self, kind: OddKind) {
        let odd = Odd {
            kind,
            offset: 1 << 30,
            after: 0,
            excerpt: b"damaged".to_vec(),
        };
        let at = LOAD + 50 * MS;
        let read = Read {
            file: 0,
            at,
            previous: at - 25 * MS,
            offset: 1 << 30,
            found: Vec::new(),
            odd: vec![odd],
        };
        self.report(at, Report::Read(read));
    }

    /// Writes the journal, in the order in which things were noticed: nearly that of their instants.
    fn write_journal(&mut self, path: &Path) {
        for look in 0..30 {
            self.report(look * 100 * MS, Report::Looked(look * 100 * MS));
        }
        let header = Header {
            run: 1,
            seed: 2,
            owing: self.owing,
            producers: self.producers,
            batch: 10,
        };
        let account = Account::create(path, &header).unwrap();
        for (producer, count) in &self.planned {
            account.planned(*producer, *count).unwrap();
        }
        // What is noticed by several threads is noted in any order; a send is noted before it happens.
        let rng = &mut self.rng;
        self.reports
            .sort_by_cached_key(|(at, report)| match report {
                Report::Sent(_) => *at,
                _ => *at + rng.random_range(1..5 * MS),
            });
        for (at, report) in std::mem::take(&mut self.reports) {
            match report {
                Report::Sent(sent) => account.sent(&sent),
                Report::Answered(answered) => account.answered(&answered),
                Report::Read(read) => account.read(&read),
                Report::File(file, change) => account.file(file, at, &change),
                Report::Looked(from) => account.looked(from, at),
            }
            .unwrap();
        }
        self.probe(&account);
        account.finish().unwrap();
    }

    fn probe(&self, account: &Account) {
        let (at, file) = (LOAD + S, 1 << 20);
        let batch = Batch {
            producer: self.producers,
            first: 0,
            count: 1,
            intended: at,
        };
        let sent = Sent {
            batch,
            attempt: 0,
            released: at,
            first_byte: at,
        };
        account.sent(&sent).unwrap();
        let answered = Answered {
            batch,
            attempt: 0,
            answer: Answer::Acked,
            at: at + MS,
        };
        account.answered(&answered).unwrap();
        let path = "/probe".into();
        account
            .file(file, at + MS, &FileChange::Appeared { path })
            .unwrap();
        let read = Read {
            file,
            at: at + 5 * MS,
            previous: at,
            offset: 0,
            found: vec![batch],
            odd: Vec::new(),
        };
        account.read(&read).unwrap();
        account
            .file(file, at + 9 * MS, &FileChange::Published)
            .unwrap();
    }

    fn write_history(&self, path: &Path, missing: u64) {
        let phase = |name: &str| Entry::Phase { name: name.into() };
        let clock = || Entry::Wall {
            clock: "2026-01-01T00:00:00Z".into(),
        };
        let mut lines = vec![(-S, clock()), (-S, phase("prepare")), (0, phase("steady"))];
        let ended = |exit: &str| Entry::Ended {
            role: "agent".into(),
            pid: 10,
            exit: exit.into(),
            wanted: true,
        };
        if let Some((kill, up)) = self.kill {
            let fault = || "kill-1".to_owned();
            let injected = Entry::Injected {
                fault: fault(),
                index: 0,
                in_flight: 7,
            };
            lines.push((kill, injected));
            lines.push((kill + MS, ended("signal 9")));
            let witness = Entry::Witness {
                fault: fault(),
                saw: "signal 9 and a new pid".into(),
                evidence: "agent pid 10 ended by signal 9".into(),
            };
            lines.push((kill + 2 * MS, witness));
            lines.push((up, Entry::Healed { fault: fault() }));
        }
        for (at, name) in [(0, "load_end"), (1, "heal"), (2, "drain")] {
            lines.push((LOAD + at, phase(name)));
        }
        let drained = Entry::Drained {
            outcome: if missing == 0 {
                Drain::Complete
            } else {
                Drain::Quiet
            },
            missing,
            last_stored_us: Some(LOAD),
            took_us: (missing == 0).then_some(100 * MS),
        };
        lines.push((LOAD + 900 * MS, drained));
        lines.push((LOAD + S, phase("probe")));
        let probe = Entry::Probe {
            stored: true,
            took_us: Some(5 * MS),
            error: None,
        };
        lines.push((LOAD + S + 9 * MS, probe));
        lines.push((LOAD + S + 10 * MS, phase("stop")));
        lines.push((LOAD + S + 20 * MS, ended("exit code 0")));
        for number in [1, 2] {
            let scan = Entry::FinalScan {
                number,
                error: None,
            };
            lines.push((LOAD + S + 30 * MS + Micros::from(number), scan));
        }
        lines.push((LOAD + 2 * S, clock()));
        let mut text = String::new();
        for (at_us, entry) in lines {
            text.push_str(&serde_json::to_string(&Line { at_us, entry }).unwrap());
            text.push('\n');
        }
        std::fs::write(path, text).unwrap();
    }
}

fn scenario(is_killed: bool) -> Scenario {
    let whole = "seed = 1\n[sut]\ndriver = \"decoy\"\n[load]\ninto = \"netcat\"\nrate = \"800/s\"\n\
                connections = 4\n[store]\nkind = \"files\"\nin_use_suffix = \".tmp\"\n[phases]\nsteady = \"2s\"\n\
                [[fault]]\nkind = \"kill\"\ntarget = \"agent\"\nat = \"500ms\"\nfor = \"100ms\"\n";
    let text = match is_killed {
        true => whole,
        false => whole
            .split_once("[[fault]]")
            .map_or(whole, |(text, _)| text),
    };
    load_text(Path::new("synthetic.toml"), text)
        .unwrap_or_else(|problems| panic!("the scenario of the made-up runs: {problems:?}"))
}

/// Makes a world and judges what it left.
fn judged(seed: u64, fault: Option<Fault>) -> (World, RunRecord) {
    let mut world = World::new(seed);
    world.load();
    world.store(fault);
    let record = judge(&mut world);
    (world, record)
}

/// Writes what a world left, and judges it.
fn judge(world: &mut World) -> RunRecord {
    let root = tempfile::tempdir().unwrap();
    let missing = world
        .acked
        .iter()
        .filter(|id| !world.stored.contains_key(id));
    let missing = missing.count() as u64;
    world.write_journal(&root.path().join("journal.bin"));
    world.write_history(&root.path().join("history.jsonl"), missing);
    super::judge(root.path(), &scenario(world.kill.is_some())).unwrap()
}

fn worlds() -> u64 {
    std::env::var("FLUME_BENCH_HISTORIES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(200)
}

/// For all seeds, on two threads.
fn for_all(check: impl Fn(u64) + Sync) {
    let next = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if seed >= worlds() {
                        return;
                    }
                    check(seed);
                }
            });
        }
    });
}

fn verdict_of<'a>(record: &'a RunRecord, checker: &str) -> &'a Verdict {
    let found = record.checkers.iter().find(|one| one.name == checker);
    &found.unwrap().verdict
}

#[test]
fn clean_histories_pass_with_the_counts_of_their_world() {
    let (mut owed, mut copies) = (0, 0);
    let sums = std::sync::Mutex::new((&mut owed, &mut copies));
    for_all(|seed| {
        let (world, record) = judged(seed, None);
        assert_eq!(
            record.verdict,
            Verdict::Pass,
            "seed {seed}: {:?}",
            record.reasons
        );
        let extra: u64 = world.stored.values().map(|copies| copies - 1).sum();
        let counts = &record.counts;
        assert_eq!(
            (counts.issued, counts.owed, counts.stored, counts.lost),
            (
                world.issued,
                world.acked.len() as u64,
                world.stored.len() as u64,
                0
            ),
            "seed {seed}"
        );
        assert_eq!(
            (
                counts.published,
                counts.unpublished,
                counts.corrupted,
                counts.unexpected
            ),
            (world.seen.len() as u64, 0, 0, 0),
            "seed {seed}"
        );
        assert_eq!(
            counts.extra_copies + counts.extra_copies_by_resends,
            extra,
            "seed {seed}"
        );
        // Each extra copy is listed once, with the file that holds it.
        let listed = &record.duplicates;
        let copies: u64 = listed.items.iter().map(|one| one.extra_copies).sum();
        assert!(
            copies == counts.extra_copies || listed.not_listed > 0,
            "seed {seed}: {copies} of {} extra copies are listed",
            counts.extra_copies
        );
        let mut sums = sums.lock().unwrap();
        *sums.0 += counts.owed;
        *sums.1 += extra;
    });
    println!(
        "{} clean histories, {owed} events owed, {copies} extra copies: no false verdict",
        worlds()
    );
    assert!(
        copies > 0,
        "no world had an extra copy, so nothing was shown about them"
    );
}

#[test]
fn a_planted_fault_is_found_in_every_history_to_the_event() {
    for_all(|seed| {
        let events = 1 + (seed / 4 % 20) as usize;
        let (fault, checker) = match seed % 4 {
            0 | 1 => (Fault::Loss(events), "conservation"),
            2 => (Fault::Unpublished, "publication"),
            _ if seed % 8 == 3 => (Fault::Corrupted, "corruption"),
            _ => (Fault::Invented, "corruption"),
        };
        let (world, record) = judged(seed, Some(fault));
        let counts = &record.counts;
        let hidden = world.hidden.difference(&world.seen).count() as u64;
        // Where each event of the file is published in another one as well, nothing is unpublished.
        let is_harmless = fault == Fault::Unpublished && hidden == 0;
        let verdict = if is_harmless {
            Verdict::Pass
        } else {
            Verdict::Fail
        };
        assert_eq!(record.verdict, verdict, "seed {seed}, {fault:?}");
        assert_eq!(
            *verdict_of(&record, checker),
            verdict,
            "seed {seed}, {fault:?}"
        );
        let expected = match fault {
            Fault::Loss(events) => (events as u64, 0, 0, 0),
            Fault::Unpublished => (0, hidden, 0, 0),
            Fault::Corrupted => (1, 0, 1, 0),
            Fault::Invented => (0, 0, 0, 1),
        };
        assert_eq!(
            (
                counts.lost,
                counts.unpublished,
                counts.corrupted,
                counts.unexpected
            ),
            expected,
            "seed {seed}, {fault:?}"
        );
    });
}

/// A world of one producer and a kill from 500 to 600 ms, made by hand.
fn by_hand(owing: Owing) -> World {
    let mut world = World::new(0);
    world.producers = 1;
    world.owing = owing;
    world.kill = Some((500 * MS, 600 * MS));
    world
}

impl World {
    /// Ten events, due at `intended`, sent at once and acked 2 ms later where the source answers.
    fn ten(&mut self, first: u64, intended: Micros) -> Batch {
        let batch = Batch {
            producer: 0,
            first,
            count: 10,
            intended,
        };
        let sent = Sent {
            batch,
            attempt: 0,
            released: intended,
            first_byte: intended + 10,
        };
        self.report(intended, Report::Sent(sent));
        if self.owing == Owing::Acked {
            let at = intended + 2 * MS;
            let answered = Answered {
                batch,
                attempt: 0,
                answer: Answer::Acked,
                at,
            };
            self.report(at, Report::Answered(answered));
        }
        *self.planned.entry(0).or_default() += 10;
        batch
    }

    /// A file that is there from the start.
    fn begin(&mut self, file: FileId) {
        let path = format!("/out-{file}.tmp");
        self.report(0, Report::File(file, FileChange::Appeared { path }));
    }

    fn publish(&mut self, file: FileId) {
        let path = format!("/out-{file}");
        self.report(LOAD, Report::File(file, FileChange::Renamed { path }));
        self.report(LOAD + 1, Report::File(file, FileChange::Published));
    }
}

#[test]
fn an_extra_copy_is_listed_with_its_own_file_and_its_window() {
    let mut world = by_hand(Owing::Acked);
    let (early, caught, late) = (
        world.ten(0, 100 * MS),
        world.ten(10, 480 * MS),
        world.ten(20, 1_500 * MS),
    );
    (0..3).for_each(|file| world.begin(file));
    world.read(0, vec![early], 120 * MS, 0);
    // Written, not answered in time, and written again after the kill.
    world.read(0, vec![caught], 490 * MS, 4_810);
    world.read(1, vec![caught], 650 * MS, 0);
    // Twice more, in a file that was there before the one that has the first copy.
    world.read(2, vec![late], 1_520 * MS, 0);
    world.read(1, vec![late, late], 1_600 * MS, 4_810);
    (0..3).for_each(|file| world.publish(file));
    let record = judge(&mut world);
    assert_eq!(record.counts.extra_copies, 30);
    let listed: Vec<_> = record
        .duplicates
        .items
        .iter()
        .map(|one| {
            let fault = one.fault.as_deref();
            (one.file.as_str(), one.ids, one.extra_copies, fault)
        })
        .collect();
    assert_eq!(
        listed,
        [("/out-1", 10, 20, None), ("/out-1", 10, 10, Some("kill-1"))]
    );
}

#[test]
fn an_unpublished_file_is_listed_with_the_window_in_which_it_was_given_up() {
    let mut world = by_hand(Owing::Acked);
    let (early, caught, late) = (
        world.ten(0, 100 * MS),
        world.ten(10, 480 * MS),
        world.ten(20, 1_500 * MS),
    );
    let open = world.ten(30, 300 * MS);
    (0..4).for_each(|file| world.begin(file));
    world.read(0, vec![early], 120 * MS, 0);
    world.read(1, vec![early], 120 * MS, 0);
    // Written in full before the kill, which found the file open.
    world.read(3, vec![open], 310 * MS, 0);
    world.read(1, vec![caught], 500 * MS, 4_810);
    world.read(2, vec![late], 1_520 * MS, 0);
    world.publish(0);
    let record = judge(&mut world);
    let listed: Vec<_> = record
        .unpublished
        .items
        .iter()
        .map(|one| (one.file.as_str(), one.events, one.fault.as_deref()))
        .collect();
    assert_eq!(
        listed,
        [
            ("/out-1.tmp", 10, Some("kill-1")),
            ("/out-2.tmp", 10, None),
            ("/out-3.tmp", 10, Some("kill-1")),
        ]
    );
}

#[test]
fn a_loss_is_inside_the_agent_only_where_its_source_had_answered() {
    let lost = |owing| {
        let mut world = by_hand(owing);
        let stored = world.ten(0, 100 * MS);
        world.ten(10, 480 * MS);
        world.begin(0);
        world.read(0, vec![stored], 120 * MS, 0);
        world.publish(0);
        judge(&mut world)
    };
    let explanation = |record: &RunRecord| {
        let range = record.losses.items.first().unwrap();
        assert_eq!(range.fault.as_deref(), Some("kill-1"));
        range.explanation.clone().unwrap()
    };
    let answering = lost(Owing::Acked);
    assert!(explanation(&answering).contains("the agent had it"));
    let silent = lost(Owing::Issued);
    let said = explanation(&silent);
    assert!(said.contains("kill-1 ended the agent"), "{said}");
    assert!(!said.contains("inside"), "{said}");
    assert!(said.contains("nobody knows"), "{said}");
    // What it never said is not known either.
    let counts = silent.counts;
    assert_eq!((counts.owed, counts.lost), (20, 10));
    for count in [
        counts.acked,
        counts.refused,
        counts.unknown,
        counts.recovered,
    ] {
        assert_eq!(count.reason(), Some("the source gives no answers"));
    }
    assert_eq!(answering.counts.acked.value(), Some(&20));
}
