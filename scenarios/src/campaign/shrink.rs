//! The shrinker: from a schedule that fails sometimes to the smallest one that still does. Pure: runs
//! are somebody else's ([`Replay`]).
//!
//! The failing schedule is replayed [`RUNS`] times; k fail. Below [`LEAST`] it is not shrunk: what
//! cannot be seen again cannot be told from what is gone. Otherwise a smaller schedule *fails* when
//! at least r = max(3, ⌈k/2⌉) of 10 runs do, and each question ends as soon as its answer is certain
//! either way. With a smaller r unrelated failures lead astray, with a larger one a culprit is
//! thrown out by chance. Simulated with 8 faults, 1,000 schedules a case, it ends exactly at the
//! culprits in 98 % (failure rate 0.5) to 100 % (from 0.7 on) of the cases; the tests repeat that.
//!
//! First no fault at all: what fails then is the doing of none. Then the faults, by delta debugging (Zeller and Hildebrandt, "Simplifying and isolating
//! failure-inducing input", 2002), its complements only: leave out a half, a quarter, … one, and
//! one once more, because an answer may have been wrong by chance. Asking about the parts alone as well doubles the runs (181
//! instead of about 90 at a failure rate of 0.5) and finds nothing more. Then the lengths, to a quarter
//! or a half; then the rate, likewise.

use std::time::Duration;

use super::schedule::Drawn;

/// Runs behind each answer.
pub const RUNS: u32 = flume_bench_reports::campaign::FRESH_RUNS;
/// The fewest failures of [`RUNS`] that are shrunk, and the least r.
pub const LEAST: u32 = 3;
/// No fault is made shorter than this.
const SHORTEST: Duration = Duration::from_millis(100);
/// No rate is made lower than this, events/s.
const SLOWEST: f64 = 200.0;

/// A schedule and the rate of the load.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The faults, by their instants.
    pub faults: Vec<Drawn>,
    /// Events a second.
    pub rate: f64,
}

/// Runs schedules.
pub trait Replay {
    /// Runs one: whether it failed in the same way. `None`: the budget is used up.
    fn replay(&mut self, candidate: &Candidate) -> Option<bool>;

    /// A smaller schedule that fails, the best so far.
    fn improved(&mut self, candidate: &Candidate);

    /// From now on the budget must leave room for so many runs after each.
    fn reserve(&mut self, runs: u32);
}

/// What it came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Shrunk {
    /// The smallest schedule that fails.
    pub smallest: Candidate,
    /// Whether nothing smaller was left to try; otherwise the budget ended it.
    pub complete: bool,
    /// The failing schedule as it was, and each that was the best for a time, the smallest last.
    pub bests: Vec<Candidate>,
}

/// How a search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The budget ended before the schedule had been replayed [`RUNS`] times.
    NotReplayed,
    /// It fails too seldom to tell a culprit.
    TooSeldom,
    /// Nothing smaller fails, and the fresh runs bear the smallest out.
    Complete,
    /// The fresh runs bear out the best so far; the budget ended the search.
    BestSoFar,
    /// The budget ended before [`RUNS`] fresh runs.
    NotConfirmed,
    /// The smallest found failed in too few fresh runs: so many. An earlier one is handed back, which
    /// was borne out, or the schedule as it was, which was not tried afresh.
    NotReproduced(u32),
}

/// What a whole search came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Searched {
    /// The smallest schedule that was borne out, or else the best there is.
    pub smallest: Candidate,
    /// How many of the replays of the schedule as it was failed.
    pub k: u32,
    /// How many replays of it there were.
    pub replayed: u32,
    /// Failures of [`RUNS`] that a smaller one had to show, where it was shrunk at all.
    pub wanted: Option<u32>,
    /// Fresh runs of `smallest`: how many failed, how many there were.
    pub confirmed: Option<[u32; 2]>,
    /// How it ended.
    pub ended: Ended,
}

/// Runs a schedule [`RUNS`] times: how many runs failed, and how many there were in the budget.
pub fn count(replay: &mut impl Replay, candidate: &Candidate) -> [u32; 2] {
    let mut failing = 0;
    for done in 0..RUNS {
        match replay.replay(candidate) {
            Some(fails) => failing += u32::from(fails),
            None => return [failing, done],
        }
    }
    [failing, RUNS]
}

/// Replays, shrinks, and bears out what is left in fresh runs. The last [`RUNS`] runs are kept back
/// from the first replay on. Where the smallest is not borne out, the one before it is tried, and so
/// on, as long as the budget lasts.
pub fn search(replay: &mut impl Replay, failing: &Candidate) -> Searched {
    replay.reserve(RUNS);
    let [k, replayed] = count(replay, failing);
    let unshrunk = |ended| Searched {
        smallest: failing.clone(),
        k,
        replayed,
        wanted: None,
        confirmed: None,
        ended,
    };
    if replayed < RUNS {
        return unshrunk(Ended::NotReplayed);
    }
    if k < LEAST {
        return unshrunk(Ended::TooSeldom);
    }
    let wanted = wanted(k);
    let shrunk = shrink(replay, failing, wanted);
    replay.reserve(0);
    let mut first = None;
    for candidate in shrunk.bests.iter().rev() {
        let [failed, fresh] = count(replay, candidate);
        let searched = |ended| Searched {
            smallest: candidate.clone(),
            wanted: Some(wanted),
            confirmed: (fresh > 0).then_some([failed, fresh]),
            ..unshrunk(ended)
        };
        let borne_out = fresh == RUNS && failed >= wanted;
        match first {
            None if borne_out && shrunk.complete => return searched(Ended::Complete),
            None if borne_out => return searched(Ended::BestSoFar),
            None if fresh < RUNS => return searched(Ended::NotConfirmed),
            None => first = Some(failed),
            Some(first) if borne_out => return searched(Ended::NotReproduced(first)),
            Some(_) if fresh < RUNS => break,
            Some(_) => {}
        }
    }
    Searched {
        wanted: Some(wanted),
        ..unshrunk(Ended::NotReproduced(first.unwrap_or(0)))
    }
}

/// r for a schedule of which k of [`RUNS`] runs fail.
#[must_use]
pub fn wanted(k: u32) -> u32 {
    LEAST.max(k.div_ceil(2))
}

/// Shrinks a schedule of which `wanted` of ten runs can be expected to fail.
pub fn shrink(replay: &mut impl Replay, failing: &Candidate, wanted: u32) -> Shrunk {
    let mut search = Search {
        replay,
        wanted,
        best: failing.clone(),
        bests: vec![failing.clone()],
    };
    let complete = search.all().is_some();
    Shrunk {
        smallest: search.best,
        complete,
        bests: search.bests,
    }
}

struct Search<'a, R> {
    replay: &'a mut R,
    wanted: u32,
    best: Candidate,
    bests: Vec<Candidate>,
}

impl<R: Replay> Search<'_, R> {
    fn all(&mut self) -> Option<()> {
        self.faults()?;
        self.lengths()?;
        self.rate()
    }

    /// Whether a schedule fails; if so it is the best so far.
    fn fails(&mut self, candidate: &Candidate) -> Option<bool> {
        let mut failing = 0;
        for done in 0..RUNS {
            if failing >= self.wanted || failing + (RUNS - done) < self.wanted {
                break;
            }
            failing += u32::from(self.replay.replay(candidate)?);
        }
        let fails = failing >= self.wanted;
        if fails {
            self.best = candidate.clone();
            self.bests.push(candidate.clone());
            self.replay.improved(candidate);
        }
        Some(fails)
    }

    fn faults(&mut self) -> Option<()> {
        // What fails without any fault is nobody's doing.
        let none = Candidate {
            faults: Vec::new(),
            ..self.best.clone()
        };
        if self.fails(&none)? {
            return Some(());
        }
        let mut size = self.best.faults.len().div_ceil(2);
        while size > 1 {
            self.leave_out(size)?;
            size = size.div_ceil(2);
        }
        self.leave_out(1)?;
        // An answer may have been wrong by chance: whoever is left is asked about once more.
        self.leave_out(1)
    }

    /// Leaves out so many neighbours at a time wherever the rest still fails.
    fn leave_out(&mut self, size: usize) -> Option<()> {
        let mut from = 0;
        while from < self.best.faults.len() && self.best.faults.len() > 1 {
            let to = (from + size).min(self.best.faults.len());
            let mut candidate = self.best.clone();
            candidate.faults.drain(from..to);
            if candidate.faults.is_empty() || !self.fails(&candidate)? {
                from = to;
            }
        }
        Some(())
    }

    fn lengths(&mut self) -> Option<()> {
        for i in 0..self.best.faults.len() {
            for divisor in [4, 2] {
                let shorter = (self.best.faults[i].lasts / divisor).max(SHORTEST);
                let shorter = Duration::from_millis(shorter.as_millis() as u64);
                if shorter >= self.best.faults[i].lasts {
                    continue;
                }
                let mut candidate = self.best.clone();
                candidate.faults[i].lasts = shorter;
                if self.fails(&candidate)? {
                    break;
                }
            }
        }
        Some(())
    }

    fn rate(&mut self) -> Option<()> {
        for divisor in [8.0, 2.0] {
            let slower = (self.best.rate / divisor).round().max(SLOWEST);
            if slower >= self.best.rate {
                continue;
            }
            let candidate = Candidate {
                rate: slower,
                ..self.best.clone()
            };
            if self.fails(&candidate)? {
                break;
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// Fails with probability q when all culprits are there, and with b whatever is there.
    struct Simulated {
        rng: ChaCha8Rng,
        culprits: Vec<String>,
        q: f64,
        b: f64,
        /// The least length and rate at which it fails.
        least: (Duration, f64),
        runs: u32,
        budget: u32,
        reserved: u32,
        /// From this run on nothing fails any more.
        heals: u32,
        improved: Vec<Candidate>,
    }

    impl Replay for Simulated {
        fn replay(&mut self, candidate: &Candidate) -> Option<bool> {
            if self.runs + self.reserved >= self.budget {
                return None;
            }
            self.runs += 1;
            if self.runs > self.heals {
                return Some(false);
            }
            let there = |name: &String| {
                candidate
                    .faults
                    .iter()
                    .any(|fault| &fault.target == name && fault.lasts >= self.least.0)
            };
            let all = self.culprits.iter().all(there) && candidate.rate >= self.least.1;
            let chance = if all { self.q } else { 0.0 };
            Some(self.rng.random_bool(chance) || self.rng.random_bool(self.b))
        }

        fn improved(&mut self, candidate: &Candidate) {
            self.improved.push(candidate.clone());
        }

        fn reserve(&mut self, runs: u32) {
            self.reserved = runs;
        }
    }

    fn schedule(faults: usize) -> Candidate {
        Candidate {
            faults: (0..faults)
                .map(|i| Drawn {
                    kind: "kill".into(),
                    acts_on: "target".into(),
                    target: format!("n{i}"),
                    settings: Vec::new(),
                    at: Duration::from_secs(i as u64),
                    lasts: Duration::from_millis(SHORTEST.as_millis() as u64),
                })
                .collect(),
            rate: SLOWEST,
        }
    }

    fn simulated(seed: u64, culprits: usize, q: f64, b: f64) -> Simulated {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut names: Vec<usize> = Vec::new();
        while names.len() < culprits {
            let name = rng.random_range(0..8);
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Simulated {
            rng,
            culprits: names.iter().map(|name| format!("n{name}")).collect(),
            q,
            b,
            least: (Duration::ZERO, 0.0),
            runs: 0,
            budget: u32::MAX,
            reserved: 0,
            heals: u32::MAX,
            improved: Vec::new(),
        }
    }

    /// The share of searches that end exactly at the culprits, of those that are shrunk at all, and
    /// the mean number of runs.
    fn exact(culprits: usize, q: f64, b: f64) -> (f64, f64) {
        let (mut shrunk, mut right, mut runs) = (0, 0, 0);
        for seed in 0..1000 {
            let mut world = simulated(seed, culprits, q, b);
            let failing = schedule(8);
            let [k, _] = count(&mut world, &failing);
            if k < LEAST {
                continue;
            }
            shrunk += 1;
            let ended = shrink(&mut world, &failing, wanted(k));
            assert!(ended.complete);
            let mut left: Vec<String> = ended
                .smallest
                .faults
                .iter()
                .map(|fault| fault.target.clone())
                .collect();
            left.sort();
            world.culprits.sort();
            right += u32::from(left == world.culprits);
            runs += world.runs;
        }
        (
            f64::from(right) / f64::from(shrunk),
            f64::from(runs) / f64::from(shrunk),
        )
    }

    #[test]
    fn it_ends_exactly_at_the_planted_faults() {
        for culprits in [1, 2] {
            for q in [0.5, 0.7, 0.9, 1.0] {
                let (share, runs) = exact(culprits, q, 0.0);
                assert!(share >= 0.9, "{culprits} culprits, q {q}: {share:.3}");
                assert!(runs < 120.0, "{culprits} culprits, q {q}: {runs:.0} runs");
            }
        }
    }

    #[test]
    fn unrelated_failures_seldom_lead_astray() {
        for (q, b) in [(0.5, 0.01), (0.9, 0.01), (0.9, 0.05)] {
            let (share, _) = exact(2, q, b);
            assert!(share >= 0.85, "q {q}, b {b}: {share:.3}");
        }
    }

    #[test]
    fn lengths_and_rate_shrink_as_long_as_it_fails() {
        let mut world = simulated(1, 1, 1.0, 0.0);
        world.least = (Duration::from_millis(400), 1000.0);
        let mut failing = schedule(8);
        failing.rate = 8000.0;
        for fault in &mut failing.faults {
            fault.lasts = Duration::from_millis(2000);
        }
        let ended = shrink(&mut world, &failing, wanted(10));
        assert_eq!(ended.smallest.faults.len(), 1);
        assert_eq!(ended.smallest.faults[0].lasts, Duration::from_millis(500));
        assert_eq!(ended.smallest.rate, 1000.0);
        assert_eq!(world.improved.last(), Some(&ended.smallest));
    }

    #[test]
    fn what_fails_without_any_fault_has_no_culprit() {
        let mut world = simulated(4, 0, 1.0, 0.0);
        let ended = shrink(&mut world, &schedule(8), wanted(10));
        assert!(ended.complete && ended.smallest.faults.is_empty());
    }

    #[test]
    fn a_budget_that_ends_leaves_the_best_so_far() {
        let mut world = simulated(2, 1, 1.0, 0.0);
        world.budget = 25;
        let ended = shrink(&mut world, &schedule(8), 5);
        assert!(!ended.complete);
        assert!(ended.smallest.faults.len() < 8, "{ended:?}");
        assert_eq!(world.improved.last(), Some(&ended.smallest));
    }

    #[test]
    fn the_last_ten_runs_are_kept_back_from_the_first_replay_on() {
        let mut world = simulated(2, 1, 1.0, 0.0);
        world.budget = 15;
        let searched = search(&mut world, &schedule(8));
        assert_eq!(searched.ended, Ended::NotReplayed);
        assert_eq!((searched.k, searched.replayed), (5, 5));
        for budget in 20..120 {
            let mut world = simulated(2, 1, 1.0, 0.0);
            world.budget = budget;
            let searched = search(&mut world, &schedule(8));
            assert_eq!(searched.confirmed, Some([10, 10]), "{budget}");
            let complete = searched.ended == Ended::Complete;
            assert!(complete || searched.ended == Ended::BestSoFar);
            assert!(!complete || searched.smallest.faults.len() == 1);
        }
    }

    #[test]
    fn what_fresh_runs_do_not_bear_out_is_not_handed_back() {
        let mut whole = simulated(2, 1, 1.0, 0.0);
        let searched = search(&mut whole, &schedule(8));
        assert_eq!(searched.ended, Ended::Complete);
        // The same world, in which nothing fails any more once the fresh runs begin.
        let mut world = simulated(2, 1, 1.0, 0.0);
        world.heals = whole.runs - RUNS;
        let failing = schedule(8);
        let searched = search(&mut world, &failing);
        assert_eq!(searched.ended, Ended::NotReproduced(0));
        assert_eq!(searched.smallest, failing);
        assert_eq!(searched.confirmed, None);
        // Two fresh runs fail and no more: fewer than r, so the one before is tried.
        let mut world = simulated(2, 1, 1.0, 0.0);
        world.heals = whole.runs - RUNS + 2;
        assert_eq!(search(&mut world, &failing).ended, Ended::NotReproduced(2));
    }

    #[test]
    fn questions_end_as_soon_as_they_are_answered() {
        let mut world = simulated(3, 1, 1.0, 0.0);
        let one = Candidate {
            faults: schedule(8)
                .faults
                .into_iter()
                .filter(|fault| world.culprits.contains(&fault.target))
                .collect(),
            ..schedule(1)
        };
        let mut search = Search {
            wanted: 5,
            best: one.clone(),
            bests: Vec::new(),
            replay: &mut world,
        };
        assert_eq!(search.fails(&one), Some(true));
        assert_eq!(search.replay.runs, 5);
        let none = Candidate {
            faults: Vec::new(),
            ..one
        };
        assert_eq!(search.fails(&none), Some(false));
        assert_eq!(search.replay.runs, 5 + 6);
    }
}
