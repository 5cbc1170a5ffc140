//! The search for the knee: three saturation probes, then bisection by the posterior, at most
//! twelve probes in all, repeats included.
//!
//! It knows probes only through [`Prober`], so the tests run it in virtual time through the same
//! interface as real runs.

use flume_bench_reports::capacity::{self, MOST_PROBES};
use flume_bench_reports::plan::{Conclusion, Knee, Outcome, Probe};
use flume_bench_reports::record::Known;
use flume_bench_reports::show;

/// Saturation probes.
pub const SATURATIONS: u32 = 3;
/// How much of the posterior the printed interval holds.
const HELD: f64 = 0.9;
/// After a probe that told nothing the next one is at an end of the interval that holds so much, …
const BESIDE: f64 = 0.3;
/// … or by this share away, whichever is farther: growth of 1 % is not told from none right beside
/// it, and each such probe costs a longer one as well.
const APART: f64 = 0.025;

/// Why a probe could not be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopped {
    /// Somebody asked for the end.
    Interrupted,
    /// The harness or a store failed.
    Failed(String),
}

/// Does probes.
pub trait Prober {
    /// Offers far more than can be carried and measures the transfer rate (`stored_per_s`).
    ///
    /// # Errors
    /// [`Stopped`]
    fn saturate(&mut self, number: u32) -> Result<Probe, Stopped>;

    /// Offers `rate` events/s, and says whether everything holds. `longer`: a second try, twice as
    /// long, of what the first one did not show.
    ///
    /// # Errors
    /// [`Stopped`]
    fn probe(&mut self, number: u32, rate: f64, longer: bool) -> Result<Probe, Stopped>;
}

/// What a search came to.
#[derive(Debug, Clone)]
pub struct Found {
    /// All probes in order.
    pub probes: Vec<Probe>,
    /// How it ended.
    pub conclusion: Conclusion,
    /// The knee, or why there is none.
    pub knee: Known<Knee>,
    /// What stopped it, if something did.
    pub stopped: Option<Stopped>,
}

/// Searches, with at most `most` probes (no more than [`MOST_PROBES`]).
pub fn search(prober: &mut dyn Prober, most: u32) -> Found {
    let mut search = Search {
        probes: Vec::new(),
        posterior: None,
        most: most.min(MOST_PROBES as u32),
    };
    let stopped = search.go(prober).err();
    search.conclude(stopped)
}

struct Search {
    probes: Vec<Probe>,
    posterior: Option<capacity::Search>,
    most: u32,
}

impl Search {
    fn number(&self) -> u32 {
        self.probes.len() as u32 + 1
    }

    fn go(&mut self, prober: &mut dyn Prober) -> Result<(), Stopped> {
        let mut rates = Vec::new();
        for _ in 0..SATURATIONS.min(self.most) {
            let probe = prober.saturate(self.number())?;
            rates.extend(probe.stored_per_s.value().map(|rate| *rate as f64));
            self.probes.push(probe);
        }
        rates.retain(|rate| *rate > 0.0);
        let posterior = capacity::Search::new(&rates).map_err(|_| {
            Stopped::Failed("the rate at saturation is not known: either no event was stored, or all that was offered was carried".to_owned())
        })?;
        self.posterior = Some(posterior);
        // By turns below and above the median after a probe that told nothing: there the same rate
        // would tell nothing again.
        let mut below = true;
        let mut told = true;
        while self.number() <= self.most {
            let Some(known) = &self.posterior else { break };
            let Some(median) = known.next_rate() else {
                break;
            };
            let beside = known.knee(BESIDE);
            let rate = match (told, below) {
                (true, _) => median,
                (false, true) => beside.low.min(median * (1.0 - APART)),
                (false, false) => beside.high.max(median * (1.0 + APART)),
            };
            let mut outcome = self.one(prober, rate, false)?;
            if outcome == Outcome::Unknown && self.number() <= self.most {
                outcome = self.one(prober, rate, true)?;
            }
            below = if told { true } else { !below };
            told = outcome != Outcome::Unknown;
        }
        Ok(())
    }

    /// One bisection probe, taken into the posterior.
    fn one(
        &mut self,
        prober: &mut dyn Prober,
        rate: f64,
        longer: bool,
    ) -> Result<Outcome, Stopped> {
        let probe = prober.probe(self.number(), rate, longer)?;
        let outcome = probe.outcome;
        self.probes.push(probe);
        let told = match outcome {
            Outcome::Holds => capacity::Outcome::Held,
            // What the harness could not offer is no rate for a knee either: go down.
            Outcome::Fails | Outcome::HarnessLimited => capacity::Outcome::Missed,
            Outcome::Unknown | Outcome::Measured => capacity::Outcome::Unknown,
        };
        if let Some(posterior) = &mut self.posterior {
            posterior.probed(rate, told);
        }
        Ok(outcome)
    }

    fn rates(&self, outcome: Outcome) -> impl Iterator<Item = u64> {
        self.probes
            .iter()
            .filter(move |probe| probe.outcome == outcome)
            .map(|probe| probe.offered_per_s)
    }

    fn conclude(self, stopped: Option<Stopped>) -> Found {
        let (conclusion, knee) = match (&stopped, &self.posterior) {
            (Some(Stopped::Interrupted), _) => (
                Conclusion::Unknown,
                Known::unknown(format!("interrupted after {} probes", self.probes.len())),
            ),
            (Some(Stopped::Failed(why)), _) => (Conclusion::Unknown, Known::unknown(why.clone())),
            (None, Some(posterior)) => self.knee(&posterior.knee(HELD)),
            (None, None) => (Conclusion::Unknown, Known::unknown("there was no probe")),
        };
        Found {
            probes: self.probes,
            conclusion,
            knee,
            stopped,
        }
    }

    fn knee(&self, found: &capacity::Knee) -> (Conclusion, Known<Knee>) {
        let held = self.rates(Outcome::Holds).max();
        let failed = self.rates(Outcome::Fails).min();
        let limited = self.rates(Outcome::HarnessLimited).min();
        let none = |conclusion, why: String| (conclusion, Known::Unknown(why));
        match (held, failed, limited) {
            // Where the harness gave way at a rate at which the system had not yet, the limit that
            // was found is the harness's.
            (held, failed, Some(limited)) if failed.is_none_or(|failed| failed > limited) => none(
                Conclusion::HarnessLimited,
                format!(
                    "harness-limited: at {} events/s the harness was at its own limit before the system was shown to be at its; the highest rate that held is {}",
                    show::count(limited),
                    held.map_or("none".to_owned(), |rate| show::count(rate) + " events/s")
                ),
            ),
            (None, Some(failed), _) => none(
                Conclusion::BelowLowest,
                format!(
                    "the objectives do not even hold at the lowest rate that was probed, {} events/s",
                    show::count(failed)
                ),
            ),
            (Some(held), None, _) => none(
                Conclusion::Unknown,
                format!(
                    "every probe that told something held, up to {} events/s: the knee is above",
                    show::count(held)
                ),
            ),
            (None, None, _) => none(
                Conclusion::Unknown,
                "no probe told whether it holds".to_owned(),
            ),
            (Some(held), Some(failed), _) => (
                Conclusion::Found,
                Known::Value(Knee {
                    per_s: found.rate.round() as u64,
                    low_per_s: found.low.round() as u64,
                    high_per_s: found.high.round() as u64,
                    spread_ppm: (found.spread * 1e6).round() as u64,
                    highest_held_per_s: Known::Value(held),
                    lowest_failed_per_s: Known::Value(failed),
                }),
            ),
        }
    }
}

#[cfg(test)]
mod tests;
