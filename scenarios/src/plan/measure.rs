//! What a probe's directory says beyond its record: when events arrived, and how full the channel
//! was.
//!
//! Arrivals come from the journal, to the 50 ms of a look at the store: `series.csv` has a row every
//! 250 ms, too few for a probe of seconds. The backlog counts from what was *due*, so an event that
//! waits in the generator because the agent takes no more is in it, too.

use std::path::Path;

use flume_bench_loadgen::account::{self, Stored, Visitor};
use flume_bench_reports::series::Table;

/// Time between two samples, µs: one look at the store.
pub const STEP_US: i64 = 50_000;

/// How many events had arrived at the end of each step since t0.
#[derive(Debug, Clone, Default)]
pub struct Arrivals {
    steps: Vec<u64>,
}

impl Visitor for Arrivals {
    fn stored(&mut self, stored: &Stored) {
        let step = (stored.at.max(0) / STEP_US) as usize;
        // A day has fewer steps; a damaged instant must not cost memory.
        if step < 2_000_000 {
            if self.steps.len() <= step {
                self.steps.resize(step + 1, 0);
            }
            self.steps[step] += u64::from(stored.batch.count);
        }
    }
}

impl Arrivals {
    /// Reads the journal of a run.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of(run: &Path) -> Result<Self, String> {
        let mut arrivals = Self::default();
        account::replay(&run.join("journal.bin"), &mut arrivals).map_err(|error| {
            format!(
                "the arrivals of the probe {} cannot be read: {error}",
                run.display()
            )
        })?;
        let mut sum = 0;
        for step in &mut arrivals.steps {
            sum += *step;
            *step = sum;
        }
        Ok(arrivals)
    }

    /// Events stored until this step began.
    fn until(&self, step: usize) -> u64 {
        let last = step.min(self.steps.len());
        last.checked_sub(1).map_or(0, |at| self.steps[at])
    }

    /// Events stored per second between two instants, µs since t0.
    pub fn rate(&self, from_us: i64, to_us: i64) -> f64 {
        let (from, to) = ((from_us / STEP_US) as usize, (to_us / STEP_US) as usize);
        let seconds = (to.saturating_sub(from)).max(1) as f64 * STEP_US as f64 / 1e6;
        (self.until(to) - self.until(from)) as f64 / seconds
    }

    /// What was due and not stored, at each step between two instants, at a constant rate from t0.
    pub fn backlog(&self, rate: f64, from_us: i64, to_us: i64) -> Vec<f64> {
        (from_us / STEP_US..to_us / STEP_US)
            .map(|step| {
                let due = rate * (step * STEP_US) as f64 / 1e6;
                due - self.until(step as usize) as f64
            })
            .collect()
    }
}

/// The fill of the fullest channel, (seconds since t0, share of the capacity); empty where the agent
/// does not say.
pub fn fill(run: &Path) -> Vec<(f64, f64)> {
    Table::read(&run.join("series.csv"))
        .ok()
        .and_then(|table| table.points("channel_fill_ppm"))
        .unwrap_or_default()
        .into_iter()
        .filter_map(|(at, ppm)| Some((at as f64 / 1e6, ppm? as f64 / 1e6)))
        .collect()
}

/// Bytes that the agent's directory held, (seconds since t0, bytes).
pub fn disk(run: &Path) -> Vec<(f64, u64)> {
    Table::read(&run.join("series.csv"))
        .ok()
        .and_then(|table| table.points("disk_bytes"))
        .unwrap_or_default()
        .into_iter()
        .filter_map(|(at, bytes)| Some((at as f64 / 1e6, bytes?)))
        .collect()
}

/// Removes what only takes room once a probe is judged: the store's files and the agent's own.
pub fn forget_bulk(run: &Path) {
    for part in ["store", "sut/data", "input"] {
        // What cannot be removed takes room, and nothing else.
        let _ = std::fs::remove_dir_all(run.join(part));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_backlog_come_from_arrivals() {
        // 1,000/s: 50 events a step, none in the first two steps.
        let steps = (0..40_u64)
            .map(|step| 50 * step.saturating_sub(1))
            .collect();
        let arrivals = Arrivals { steps };
        assert!((arrivals.rate(500_000, 1_500_000) - 1_000.0).abs() < 1e-9);
        let backlog = arrivals.backlog(1_000.0, 500_000, 1_000_000);
        assert_eq!(backlog.len(), 10);
        assert!(
            backlog.iter().all(|events| (events - 100.0).abs() < 1e-9),
            "{backlog:?}"
        );
        let over = arrivals.backlog(1_100.0, 0, 2_000_000);
        assert!(over[39] - over[19] > 99.0, "{over:?}");
    }
}
