//! A model of the ledger that keeps every single copy, and random histories for both.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

type Id = (u16, u64);

#[derive(Debug, Clone)]
enum Step {
    Send {
        producer: u16,
        first: u64,
        count: u32,
    },
    /// Sends again what some earlier step sent.
    Again(Index),
    /// Answers some attempt that has no answer yet.
    Answer(Index, Answer),
    Read {
        file: FileId,
        found: Vec<(u16, u64, u32)>,
    },
    Change(FileId, FileChange),
}

fn any_step() -> impl Strategy<Value = Step> {
    let change = prop_oneof![
        Just(FileChange::Appeared {
            path: "/in-use".into()
        }),
        Just(FileChange::Renamed {
            path: "/final".into()
        }),
        Just(FileChange::Published),
        Just(FileChange::Published),
        Just(FileChange::Withdrawn),
        Just(FileChange::Vanished),
    ];
    let answer = prop_oneof![
        Just(Answer::Refused),
        Just(Answer::Unknown),
        Just(Answer::Acked)
    ];
    prop_oneof![
        4 => (0u16..3, 0u64..60, 1u32..20)
            .prop_map(|(producer, first, count)| Step::Send { producer, first, count }),
        1 => any::<Index>().prop_map(Step::Again),
        4 => (any::<Index>(), answer).prop_map(|(index, answer)| Step::Answer(index, answer)),
        4 => (0u32..4, prop::collection::vec((0u16..4, 0u64..70, 1u32..15), 1..4))
            .prop_map(|(file, found)| Step::Read { file, found }),
        3 => (0u32..4, change).prop_map(|(file, change)| Step::Change(file, change)),
    ]
}

#[derive(Debug, Default)]
struct Model {
    sends: BTreeMap<Id, u64>,
    refusals: BTreeMap<Id, u64>,
    acked: BTreeSet<Id>,
    files: BTreeMap<FileId, ModelFile>,
}

#[derive(Debug, Default)]
struct ModelFile {
    gone: bool,
    published: bool,
    /// Every record, and whether a publication has covered it.
    records: Vec<(Id, bool)>,
    first_copies: Vec<Id>,
    reordered: u64,
}

impl Model {
    fn copies(&self, id: Id) -> usize {
        let there = self.files.values().filter(|file| !file.gone);
        there
            .flat_map(|file| &file.records)
            .filter(|(record, _)| *record == id)
            .count()
    }

    fn read(&mut self, file: FileId, id: Id) {
        self.files.entry(file).or_default().gone = false;
        let is_first = self.copies(id) == 0;
        let is_issued = self.sends.contains_key(&id);
        let file = self.files.entry(file).or_default();
        file.records.push((id, false));
        if is_first && is_issued {
            let later = |other: &&Id| other.0 == id.0 && other.1 > id.1;
            file.reordered += u64::from(file.first_copies.iter().any(|other| later(&other)));
            file.first_copies.push(id);
        }
    }

    fn change(&mut self, file: FileId, change: &FileChange) {
        let file = self.files.entry(file).or_default();
        file.gone = *change == FileChange::Vanished;
        match change {
            FileChange::Published => {
                file.published = true;
                file.records.iter_mut().for_each(|record| record.1 = true);
            }
            FileChange::Withdrawn => file.published = false,
            _ => {}
        }
    }

    fn is_published(&self, id: Id) -> bool {
        let there = self
            .files
            .values()
            .filter(|file| !file.gone && file.published);
        there
            .flat_map(|file| &file.records)
            .any(|record| *record == (id, true))
    }

    fn totals(&self, owing: Owing) -> Totals {
        let mut totals = Totals::default();
        let mut answers = [0u64; 4];
        let probe = 3;
        let stored: BTreeSet<Id> = self
            .files
            .values()
            .filter(|file| !file.gone)
            .flat_map(|file| file.records.iter().map(|record| record.0))
            .collect();
        totals.unexpected = stored
            .iter()
            .filter(|id| !self.sends.contains_key(id))
            .count() as u64;
        for (id, sends) in self.sends.iter().filter(|(id, _)| id.0 != probe) {
            let (copies, resent) = (self.copies(*id) as u64, *sends > 1);
            let (is_stored, acked) = (copies > 0, self.acked.contains(id));
            let refused = !acked && self.refusals.get(id) == Some(sends);
            let owed = acked || owing == Owing::Issued;
            totals.issued += 1;
            totals.resent += u64::from(resent);
            totals.resends += sends - 1;
            answers[0] += u64::from(acked);
            answers[1] += u64::from(refused);
            answers[2] += u64::from(!acked && !refused);
            answers[3] += u64::from(is_stored && !acked);
            totals.owed += u64::from(owed);
            totals.stored += u64::from(is_stored);
            totals.published += u64::from(self.is_published(*id));
            totals.unpublished += u64::from(is_stored && !self.is_published(*id));
            totals.lost += u64::from(owed && !is_stored);
            if copies > 1 && resent {
                totals.duplicated_resent += 1;
                totals.extra_copies_resent += copies - 1;
            } else if copies > 1 {
                totals.duplicated += 1;
                totals.extra_copies += copies - 1;
            }
        }
        totals.reordered = self
            .files
            .values()
            .filter(|file| !file.gone)
            .map(|file| file.reordered)
            .sum();
        if owing == Owing::Acked {
            [
                totals.acked,
                totals.refused,
                totals.unknown,
                totals.recovered,
            ] = answers.map(Some);
        }
        totals
    }

    /// What the ledger's report should say about files, event by event.
    fn in_files(&self, wanted: impl Fn(Id, u64) -> bool) -> BTreeSet<(FileId, Id)> {
        let mut found = BTreeSet::new();
        for (number, file) in self.files.iter().filter(|(_, file)| !file.gone) {
            for (id, _) in file.records.iter().filter(|(id, _)| id.0 != 3) {
                if self.sends.get(id).is_some_and(|sends| wanted(*id, *sends)) {
                    found.insert((*number, *id));
                }
            }
        }
        found
    }
}

fn events(found: &[InFile]) -> BTreeSet<(FileId, Id)> {
    let each = found.iter().flat_map(|found| {
        let ids = found.range.first..found.range.first + found.range.count;
        ids.map(|id| (found.file, (found.range.producer, id)))
    });
    each.collect()
}

fn play(steps: &[Step], ledger: &mut Ledger, model: &mut Model) {
    let mut sent = Vec::<Batch>::new();
    let mut open = Vec::<(Batch, u32)>::new();
    for step in steps {
        match step {
            Step::Send { .. } | Step::Again(_) => {
                let batch = match step {
                    Step::Send {
                        producer,
                        first,
                        count,
                    } => batch(*producer, *first..*first + u64::from(*count)),
                    Step::Again(index) if !sent.is_empty() => *index.get(&sent),
                    _ => continue,
                };
                let attempt = sent.iter().filter(|earlier| **earlier == batch).count() as u32;
                ledger.sent(&Sent {
                    batch,
                    attempt,
                    released: 0,
                    first_byte: 0,
                });
                span(&batch)
                    .for_each(|id| *model.sends.entry((batch.producer, id)).or_default() += 1);
                sent.push(batch);
                open.push((batch, attempt));
            }
            Step::Answer(index, answer) => {
                if open.is_empty() {
                    continue;
                }
                let (batch, attempt) = open.swap_remove(index.index(open.len()));
                ledger.answered(&Answered {
                    batch,
                    attempt,
                    answer: *answer,
                    at: 0,
                });
                for id in span(&batch).map(|id| (batch.producer, id)) {
                    match answer {
                        Answer::Acked => drop(model.acked.insert(id)),
                        Answer::Refused => *model.refusals.entry(id).or_default() += 1,
                        Answer::Unknown => {}
                    }
                }
            }
            Step::Read { file, found } => {
                let found: Vec<_> = found
                    .iter()
                    .map(|(producer, first, count)| {
                        batch(*producer, *first..*first + u64::from(*count))
                    })
                    .collect();
                for batch in &found {
                    span(batch).for_each(|id| model.read(*file, (batch.producer, id)));
                }
                ledger.read(
                    &Read {
                        file: *file,
                        found,
                        ..Read::default()
                    },
                    |_| {},
                );
            }
            Step::Change(file, change) => {
                ledger.file(*file, change, |_| {});
                model.change(*file, change);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_ledger_agrees_with_the_model(
        steps in prop::collection::vec(any_step(), 1..50), answers in any::<bool>(),
    ) {
        let owing = if answers { Owing::Acked } else { Owing::Issued };
        let (mut ledger, mut model) = (Ledger::new(owing, 3), Model::default());
        play(&steps, &mut ledger, &mut model);
        let totals = ledger.totals();
        prop_assert_eq!(totals, model.totals(owing));
        prop_assert_eq!(totals.lost, ledger.owed_not_stored());
        prop_assert_eq!(totals.lost, expand(ledger.lost()).len() as u64);
        prop_assert_eq!(totals.unexpected, expand(ledger.unexpected()).len() as u64);
        prop_assert_eq!(
            events(&ledger.unpublished_by_file()), model.in_files(|id, _| !model.is_published(id))
        );
        for resent in [false, true] {
            prop_assert_eq!(
                events(&ledger.duplicates_by_file(resent)),
                model.in_files(|id, sends| model.copies(id) > 1 && (sends > 1) == resent)
            );
        }
        for producer in 0..3 {
            let lost = ledger.lost().into_iter().filter(|range| range.producer == producer);
            let lost = expand(lost);
            for from in [0, 7, 30] {
                let first = lost.iter().copied().find(|id| *id >= from);
                prop_assert_eq!(ledger.first_missing(producer, from), first);
            }
        }
    }
}

#[test]
fn the_model_notices_broken_rules() {
    // The histories are drawn from a fixed seed, and so is what they notice.
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let histories: Vec<_> = (0..60)
        .map(|_| {
            let steps = prop::collection::vec(any_step(), 20..50);
            steps.new_tree(&mut runner).unwrap().current()
        })
        .collect();
    for (rule, _) in CHECKS
        .iter()
        .filter(|(rule, _)| *rule != Rule::CorruptedIsNotStored)
    {
        let noticed = histories.iter().any(|steps| {
            let (mut ledger, mut model) = (
                Ledger::new(Owing::Acked, 3).breaking(*rule),
                Model::default(),
            );
            play(steps, &mut ledger, &mut model);
            ledger.totals() != model.totals(Owing::Acked)
        });
        assert!(noticed, "{rule:?}");
    }
}
