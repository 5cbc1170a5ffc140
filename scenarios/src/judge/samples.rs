//! Goes through a journal and puts every sample where it belongs: steady or inside a fault window,
//! its phase, its strike, its moment in the series.

use std::collections::BTreeMap;

use flume_bench_loadgen::account::{Published, Stored, Visitor};
use flume_bench_loadgen::latency::{Latency, Measure};
use flume_bench_loadgen::observe::{Answered, FileChange, FileId, Micros, Odd, Sent};
use flume_bench_reports::record::{Known, Resolution, Window};
use flume_bench_reports::series::Table;

use crate::checker::{Histograms, Strike};

/// Finds, for each strike, the first event stored after its heal, its backlog and the end of it.
pub(super) struct Recovery<'a> {
    strikes: &'a mut [Strike],
}

impl<'a> Recovery<'a> {
    pub(super) fn new(strikes: &'a mut [Strike]) -> Self {
        Self { strikes }
    }
}

impl Visitor for Recovery<'_> {
    /// What is sent while the fault holds is in flight with what was there when it struck. A batch
    /// that is sent again most likely was, unless nothing was: a generator that rests between two
    /// attempts has nothing in flight at that moment.
    fn sent(&mut self, sent: &Sent) {
        for strike in self.strikes.iter_mut() {
            if (sent.attempt == 0 || strike.in_flight == 0)
                && (strike.injected..=strike.healed.unwrap_or(i64::MAX)).contains(&sent.first_byte)
            {
                strike.in_flight += u64::from(sent.batch.count);
            }
        }
    }

    fn stored(&mut self, stored: &Stored) {
        for strike in self.strikes.iter_mut() {
            let Some(healed) = strike.healed else {
                continue;
            };
            if stored.at < healed {
                continue;
            }
            strike.first_stored = Some(
                strike
                    .first_stored
                    .map_or(stored.at, |first| first.min(stored.at)),
            );
            if stored.batch.intended <= healed {
                strike.drained = strike.drained.max(Some(stored.at));
                strike.backlog += u64::from(stored.batch.count);
            }
        }
    }
}

/// The windows that samples are sorted by, in µs since t0, by the event's intended instant.
#[derive(Debug)]
pub(super) struct Windows {
    phases: Vec<Window>,
    steady: Option<(i64, i64)>,
    strikes: Vec<(String, i64, i64)>,
}

impl Windows {
    pub(super) fn new(phases: &[Window], strikes: &[Strike], drained_limit: i64) -> Self {
        let end = phases
            .iter()
            .map(|phase| phase.end_us as i64)
            .max()
            .unwrap_or(0);
        let steady = phases
            .iter()
            .find(|phase| phase.name == "steady")
            .map(|phase| (phase.start_us as i64, phase.end_us as i64));
        let windows = strikes.iter().map(|strike| {
            let (from, to) = strike.window(end, drained_limit);
            (strike.name.clone(), from, to)
        });
        Self {
            phases: phases.to_vec(),
            steady,
            strikes: windows.collect(),
        }
    }
}

/// One interval of the series.
type Bucket = BTreeMap<i64, u64>;

/// Histograms and other figures of a whole journal.
#[derive(Debug)]
pub(super) struct Samples {
    windows: Windows,
    producers: u16,
    pub(super) steady: Histograms,
    pub(super) during: Histograms,
    pub(super) by_phase: Vec<(String, Histograms)>,
    pub(super) by_strike: Vec<(String, Histograms)>,
    pub(super) blind: Vec<(i64, i64, String)>,
    pub(super) first_sent: Option<Micros>,
    pub(super) last_stored: Option<Micros>,
    pub(super) paths: BTreeMap<FileId, String>,
    /// Files that were seen published at some time, and files that were renamed.
    pub(super) renamed: BTreeMap<FileId, Micros>,
    pub(super) odd: Vec<(FileId, Odd)>,
    pub(super) odd_left_out: u64,
    width: Latency,
    stored_at: BTreeMap<i64, Bucket>,
    answered_at: BTreeMap<i64, Bucket>,
}

/// Odd records kept for the report; the counts hold all of them.
const ODD_KEPT: usize = 10_000;
/// Samples of the series are gathered by tenths of a second.
const TENTH: i64 = 100_000;

impl Samples {
    pub(super) fn new(windows: Windows, producers: u16) -> Self {
        let by_phase = windows
            .phases
            .iter()
            .map(|phase| (phase.name.clone(), Histograms::default()))
            .collect();
        let by_strike = windows
            .strikes
            .iter()
            .map(|(name, ..)| (name.clone(), Histograms::default()))
            .collect();
        Self {
            windows,
            producers,
            steady: Histograms::default(),
            during: Histograms::default(),
            by_phase,
            by_strike,
            blind: Vec::new(),
            first_sent: None,
            last_stored: None,
            paths: BTreeMap::new(),
            renamed: BTreeMap::new(),
            odd: Vec::new(),
            odd_left_out: 0,
            width: Latency::new(),
            stored_at: BTreeMap::new(),
            answered_at: BTreeMap::new(),
        }
    }

    fn record(&mut self, measure: Measure, intended: Micros, micros: Micros, count: u64) {
        let mut inside = false;
        for (i, (_, from, to)) in self.windows.strikes.iter().enumerate() {
            if (*from..=*to).contains(&intended) {
                inside = true;
                self.by_strike[i].1.0[measure as usize].record(micros, count);
            }
        }
        let in_steady = self
            .windows
            .steady
            .is_some_and(|(from, to)| (from..to).contains(&intended));
        if inside {
            self.during.0[measure as usize].record(micros, count);
        } else if in_steady {
            self.steady.0[measure as usize].record(micros, count);
        }
        if let Some(i) = self
            .windows
            .phases
            .iter()
            .position(|phase| phase.contains(intended.max(0) as u64))
        {
            self.by_phase[i].1.0[measure as usize].record(micros, count);
        }
    }

    /// The probe's event enters no indicator.
    fn counts(&self, producer: u16) -> bool {
        producer < self.producers
    }

    /// How wide the interval is in which an event became stored.
    pub(super) fn resolution(&self) -> Known<Resolution> {
        match (
            self.width.quantile_unchecked(0.5),
            self.width.quantile_unchecked(0.99),
        ) {
            (Some(us_p50), Some(us_p99)) if !self.width.is_empty() => {
                Known::Value(Resolution { us_p50, us_p99 })
            }
            _ => Known::unknown("nothing was stored"),
        }
    }

    /// The series with its latency columns filled.
    pub(super) fn fill_series(&self, table: &Table) -> String {
        let times: Vec<u64> = table
            .points("t_us")
            .unwrap_or_default()
            .into_iter()
            .map(|(at, _)| at)
            .collect();
        let columns = table.columns();
        let mut lines = table
            .to_csv()
            .lines()
            .map(str::to_owned)
            .collect::<Vec<_>>()
            .into_iter();
        let mut text = lines.next().unwrap_or_default() + "\n";
        let mut before = i64::MIN;
        for (at, line) in times.into_iter().zip(lines) {
            let at = at as i64;
            let stored = between(&self.stored_at, before, at);
            let answered = between(&self.answered_at, before, at);
            before = at;
            let cells: Vec<String> = line
                .split(',')
                .zip(columns)
                .map(|(cell, column)| {
                    let value = match column.as_str() {
                        "ack_response_us_p99" => quantile(&answered, 0.99),
                        "stored_response_us_p50" => quantile(&stored, 0.5),
                        "stored_response_us_p99" => quantile(&stored, 0.99),
                        "stored_response_us_max" => {
                            stored.keys().next_back().map(|micros| (*micros).max(0))
                        }
                        _ => return cell.to_owned(),
                    };
                    value.map(|value| value.to_string()).unwrap_or_default()
                })
                .collect();
            text.push_str(&cells.join(","));
            text.push('\n');
        }
        text
    }
}

/// All samples of the tenths that end in an interval.
fn between(all: &BTreeMap<i64, Bucket>, after: i64, until: i64) -> Bucket {
    let mut sum = Bucket::new();
    let range = after.div_euclid(TENTH)..until.div_euclid(TENTH).max(after.div_euclid(TENTH));
    for bucket in all.range(range).map(|(_, bucket)| bucket) {
        for (micros, count) in bucket {
            *sum.entry(*micros).or_default() += count;
        }
    }
    sum
}

fn quantile(bucket: &Bucket, q: f64) -> Option<i64> {
    let total: u64 = bucket.values().sum();
    let wanted = (total as f64 * q).ceil() as u64;
    let mut seen = 0;
    bucket
        .iter()
        .find(|(_, count)| {
            seen += **count;
            seen >= wanted && total > 0
        })
        .map(|(micros, _)| (*micros).max(0))
}

/// A latency to three digits, so that a bucket stays small.
fn rounded(micros: i64) -> i64 {
    let magnitude = micros.unsigned_abs().max(1).ilog10().saturating_sub(2);
    let step = 10_i64.pow(magnitude);
    micros / step * step
}

impl Visitor for Samples {
    fn sent(&mut self, sent: &Sent) {
        if sent.attempt == 0 && self.counts(sent.batch.producer) {
            self.first_sent = Some(
                self.first_sent
                    .map_or(sent.first_byte, |first| first.min(sent.first_byte)),
            );
            self.record(
                Measure::Slip,
                sent.batch.intended,
                sent.released - sent.batch.intended,
                sent.batch.count.into(),
            );
        }
    }

    fn answered(&mut self, answered: &Answered, first_byte: Option<Micros>) {
        let batch = answered.batch;
        if answered.answer != flume_bench_loadgen::observe::Answer::Acked
            || !self.counts(batch.producer)
        {
            return;
        }
        let response = answered.at - batch.intended;
        self.record(
            Measure::AckResponse,
            batch.intended,
            response,
            batch.count.into(),
        );
        if let Some(first_byte) = first_byte {
            self.record(
                Measure::AckService,
                batch.intended,
                answered.at - first_byte,
                batch.count.into(),
            );
        }
        *self
            .answered_at
            .entry(answered.at.div_euclid(TENTH))
            .or_default()
            .entry(rounded(response))
            .or_default() += u64::from(batch.count);
    }

    fn stored(&mut self, stored: &Stored) {
        let batch = stored.batch;
        if !self.counts(batch.producer) {
            return;
        }
        let response = stored.at - batch.intended;
        self.last_stored = self.last_stored.max(Some(stored.at));
        self.record(
            Measure::StoredResponse,
            batch.intended,
            response,
            batch.count.into(),
        );
        self.width
            .record(stored.at - stored.previous, batch.count.into());
        *self
            .stored_at
            .entry(stored.at.div_euclid(TENTH))
            .or_default()
            .entry(rounded(response))
            .or_default() += u64::from(batch.count);
    }

    fn published(&mut self, published: &Published) {
        let batch = published.batch;
        if self.counts(batch.producer) {
            self.record(
                Measure::PublishedResponse,
                batch.intended,
                published.at - batch.intended,
                batch.count.into(),
            );
        }
    }

    fn odd(&mut self, file: FileId, _at: Micros, odd: &Odd) {
        if self.odd.len() < ODD_KEPT {
            self.odd.push((file, odd.clone()));
        } else {
            self.odd_left_out += 1;
        }
    }

    fn file(&mut self, file: FileId, at: Micros, change: &FileChange) {
        match change {
            FileChange::Appeared { path } => {
                self.paths.insert(file, path.clone());
            }
            FileChange::Renamed { path } => {
                self.paths.insert(file, path.clone());
                self.renamed.insert(file, at);
            }
            _ => {}
        }
    }

    fn blind(&mut self, from: Micros, to: Micros, why: &str) {
        match self.blind.last_mut() {
            // One stretch of blindness is told in pieces, look by look.
            Some(last) if from - last.1 < 1_000_000 => last.1 = to,
            _ => self.blind.push((from, to, why.to_owned())),
        }
    }
}
