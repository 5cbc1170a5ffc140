//! Goes through a journal and puts every sample where it belongs: steady or inside a fault window,
//! its phase, its strike, its moment in the series.

use std::collections::BTreeMap;

use flume_bench_loadgen::account::{Published, Stored, Visitor};
use flume_bench_loadgen::latency::{Latency, Measure};
use flume_bench_loadgen::observe::{Answer, Answered, FileChange, FileId, Micros, Odd, Sent};
use flume_bench_loadgen::schedule::Schedule;
use flume_bench_reports::record::{Known, Resolution, Window};
use flume_bench_reports::series::Table;

use crate::checker::{Due, Histograms, Strike};

/// One value for each measure.
pub(super) type PerMeasure<T> = [T; Measure::ALL.len()];

/// Finds, for each strike, the first event stored after its heal, its backlog and the end of it, and
/// since when events were due that it caught on their way.
///
/// An event that is on its way when a fault strikes feels all of it: it is late by the length of the
/// outage, however well the system did until then. Some hundred such events at each strike are more
/// than one in a hundred of a short `steady`, and its p99 would be the length of the fault. So a
/// fault's window begins, for each latency, where the oldest of them was due. Everything due from
/// then on is inside, whatever became of it: to leave out only what was late would favour the system.
/// An event that had already missed its limit when the fault struck did so without it, and stays
/// outside.
pub(super) struct Recovery<'a> {
    strikes: &'a mut [Strike],
    /// How long ago an event may have been due that a strike caught on its way, µs.
    limits: PerMeasure<Micros>,
    since: Vec<PerMeasure<Micros>>,
}

impl<'a> Recovery<'a> {
    pub(super) fn new(strikes: &'a mut [Strike], limits: PerMeasure<Micros>) -> Self {
        let since = strikes
            .iter()
            .map(|strike| [strike.injected; Measure::ALL.len()])
            .collect();
        Self {
            strikes,
            limits,
            since,
        }
    }

    /// For each strike and measure, when the window begins.
    pub(super) fn since(self) -> Vec<PerMeasure<Micros>> {
        self.since
    }

    /// An event's way, as far as a measure goes, ended at `at`.
    fn ended(&mut self, measure: Measure, intended: Micros, at: Micros) {
        let limit = self.limits[measure as usize];
        for (strike, since) in self.strikes.iter().zip(&mut self.since) {
            let caught = intended < strike.injected && at > strike.injected;
            if caught && strike.injected - intended <= limit {
                let since = &mut since[measure as usize];
                *since = (*since).min(intended);
            }
        }
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

    fn answered(&mut self, answered: &Answered, _first_byte: Option<Micros>) {
        if answered.answer == Answer::Acked {
            let intended = answered.batch.intended;
            self.ended(Measure::AckService, intended, answered.at);
            self.ended(Measure::AckResponse, intended, answered.at);
        }
    }

    fn published(&mut self, published: &Published) {
        let intended = published.batch.intended;
        self.ended(Measure::PublishedResponse, intended, published.at);
    }

    fn stored(&mut self, stored: &Stored) {
        self.ended(Measure::StoredResponse, stored.batch.intended, stored.at);
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
                strike.not_drained = strike.not_drained.max(Some(stored.previous));
            }
        }
    }
}

/// The windows that samples are sorted by, in µs since t0, by the event's intended instant.
#[derive(Debug)]
pub(super) struct Windows {
    phases: Vec<Window>,
    steady: Option<(i64, i64)>,
    strikes: Vec<FaultWindow>,
}

/// One fault's window.
#[derive(Debug)]
struct FaultWindow {
    name: String,
    since: PerMeasure<Micros>,
    until: Micros,
}

impl FaultWindow {
    fn contains(&self, measure: Measure, intended: Micros) -> bool {
        (self.since[measure as usize]..=self.until).contains(&intended)
    }
}

impl Windows {
    /// `since`: what [`Recovery`] found.
    pub(super) fn new(
        phases: &[Window],
        strikes: &[Strike],
        since: Vec<PerMeasure<Micros>>,
        drained_limit: i64,
    ) -> Self {
        let end = phases
            .iter()
            .map(|phase| phase.end_us as i64)
            .max()
            .unwrap_or(0);
        let steady = phases
            .iter()
            .find(|phase| phase.name == "steady")
            .map(|phase| (phase.start_us as i64, phase.end_us as i64));
        let windows = strikes
            .iter()
            .zip(since)
            .map(|(strike, since)| FaultWindow {
                name: strike.name.clone(),
                since,
                until: strike.window_end(end, drained_limit),
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
    pub(super) due_steady: Due,
    pub(super) due_during: Due,
    /// When the last look began that has ended.
    looked: Micros,
    /// Behind the last event that each producer sent.
    next: BTreeMap<u16, u64>,
    /// What the drain waited for was seen by then, and the last look before it was.
    drained: Micros,
    pub(super) not_drained: Option<Micros>,
    /// Slip of everything issued.
    pub(super) slip: Latency,
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
    /// `drained`: when the last event was seen that the drain waited for.
    pub(super) fn new(windows: Windows, producers: u16, drained: Micros) -> Self {
        let by_phase = windows
            .phases
            .iter()
            .map(|phase| (phase.name.clone(), Histograms::default()))
            .collect();
        let by_strike = windows
            .strikes
            .iter()
            .map(|window| (window.name.clone(), Histograms::default()))
            .collect();
        Self {
            windows,
            producers,
            steady: Histograms::default(),
            during: Histograms::default(),
            due_steady: Due::default(),
            due_during: Due::default(),
            looked: 0,
            next: BTreeMap::new(),
            drained,
            not_drained: None,
            slip: Latency::new(),
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
        for (i, window) in self.windows.strikes.iter().enumerate() {
            if window.contains(measure, intended) {
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

    /// What is due in the scope that an intended instant belongs to, if any. As with the samples, the
    /// windows are those of the measure.
    fn due(&mut self, measure: Measure, intended: Micros) -> Option<&mut Due> {
        let windows = &self.windows;
        if windows
            .strikes
            .iter()
            .any(|window| window.contains(measure, intended))
        {
            return Some(&mut self.due_during);
        }
        let (from, to) = windows.steady?;
        (from..to)
            .contains(&intended)
            .then_some(&mut self.due_steady)
    }

    /// Puts the events that were due and never sent into the scope that they were due in. A producer
    /// sends in order, so they are those behind its last one.
    pub(super) fn unsent(&mut self, schedule: &Schedule) {
        for batch in schedule.iter() {
            let next = self.next.get(&batch.producer).copied().unwrap_or(0);
            let end = batch.first + u64::from(batch.count);
            let count = end.saturating_sub(next.max(batch.first));
            if count == 0 {
                continue;
            }
            for measure in Measure::ALL {
                if let Some(due) = self.due(measure, batch.intended) {
                    due.unsent[measure as usize] += count;
                }
            }
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
            let next = self.next.entry(sent.batch.producer).or_default();
            *next = (*next).max(sent.batch.first + u64::from(sent.batch.count));
            for measure in Measure::ALL {
                if let Some(due) = self.due(measure, sent.batch.intended) {
                    due.issued[measure as usize] += u64::from(sent.batch.count);
                }
            }
            self.slip
                .record(sent.released - sent.batch.intended, sent.batch.count.into());
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
        if answered.answer != Answer::Acked || !self.counts(batch.producer) {
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
        if let Some(due) = self.due(Measure::StoredResponse, batch.intended) {
            due.stored_at_least.record(
                (stored.previous - batch.intended).max(0),
                batch.count.into(),
            );
        }
        if stored.at <= self.drained {
            self.not_drained = self.not_drained.max(Some(stored.previous));
        }
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
            // Published between the last look that did not show it, and this one.
            let least = (self.looked - batch.intended).max(0);
            if let Some(due) = self.due(Measure::PublishedResponse, batch.intended) {
                due.published_at_least.record(least, batch.count.into());
            }
        }
    }

    fn looked(&mut self, from: Micros, _to: Micros) {
        self.looked = from;
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

#[cfg(test)]
mod tests {
    use super::*;
    use flume_bench_loadgen::observe::Batch;

    const LIMIT: Micros = 2_000_000;

    fn strike(injected: Micros, healed: Micros) -> Strike {
        Strike {
            name: "outage-1".into(),
            index: 0,
            injected,
            healed: Some(healed),
            witness: None,
            in_flight: 0,
            failed: None,
            first_stored: None,
            drained: None,
            backlog: 0,
            not_drained: None,
        }
    }

    fn batch(intended: Micros) -> Batch {
        Batch {
            producer: 0,
            first: intended as u64,
            count: 1,
            intended,
        }
    }

    /// One event of each pair, due and stored then, judged with one strike from 10 s to 13 s.
    fn judged(events: &[(Micros, Micros)]) -> Samples {
        let mut strikes = [strike(10_000_000, 13_000_000)];
        let stored = events.iter().map(|(intended, at)| Stored {
            batch: batch(*intended),
            file: 0,
            previous: at - 1,
            at: *at,
        });
        let mut recovery = Recovery::new(&mut strikes, [LIMIT; Measure::ALL.len()]);
        stored.clone().for_each(|stored| recovery.stored(&stored));
        let since = recovery.since();
        let phases = [Window::new("steady", 1_000_000, 20_000_000)];
        let windows = Windows::new(&phases, &strikes, since, 15_000_000);
        let mut samples = Samples::new(windows, 1, 15_000_000);
        stored.for_each(|stored| samples.stored(&stored));
        samples
    }

    fn count(histograms: &Histograms) -> u64 {
        histograms.of(Measure::StoredResponse).len()
    }

    #[test]
    fn what_a_strike_catches_on_its_way_is_inside_its_window() {
        // Due 40 ms before the strike, seen in the store 100 ms after its heal.
        let caught = (9_960_000, 13_100_000);
        let samples = judged(&[caught, (9_900_000, 9_950_000), (11_000_000, 13_100_000)]);
        assert_eq!((count(&samples.steady), count(&samples.during)), (1, 2));
        let longest = samples.steady.of(Measure::StoredResponse).max();
        assert!(longest.is_some_and(|max| max < 51_000), "{longest:?}");
        assert_eq!(count(&samples.by_strike[0].1), 2);
    }

    #[test]
    fn what_was_due_after_the_caught_one_is_inside_also_where_it_was_quick() {
        let caught = (9_960_000, 13_100_000);
        let quick = (9_980_000, 9_990_000);
        let samples = judged(&[caught, quick]);
        assert_eq!((count(&samples.steady), count(&samples.during)), (0, 2));
        let samples = judged(&[quick]);
        assert_eq!((count(&samples.steady), count(&samples.during)), (1, 0));
    }

    #[test]
    fn what_had_missed_its_limit_before_the_strike_stays_outside() {
        let missed = (10_000_000 - LIMIT - 1, 13_100_000);
        let on_time = (9_000_000, 9_050_000);
        let samples = judged(&[missed, on_time]);
        assert_eq!((count(&samples.steady), count(&samples.during)), (2, 0));
        let just = (10_000_000 - LIMIT, 13_100_000);
        let samples = judged(&[just, on_time]);
        assert_eq!((count(&samples.steady), count(&samples.during)), (0, 2));
    }

    #[test]
    fn the_last_look_of_the_drain_is_no_later_one() {
        let samples = judged(&[
            (9_000_000, 9_050_000),
            (14_000_000, 15_000_000),
            (14_000_000, 15_000_001),
        ]);
        assert_eq!(samples.not_drained, Some(14_999_999));
    }

    #[test]
    fn what_was_never_sent_belongs_where_it_was_due() {
        use flume_bench_loadgen::schedule::{Settings, Shape};
        // Two producers, a batch of ten each second in turn, the last one short; a strike from 10 s to
        // the end.
        let schedule = Schedule::new(Settings {
            shape: Shape::Constant { rate: 10.0 },
            duration: std::time::Duration::from_millis(19_500),
            batch: 10,
            connections: 2,
            seed: 1,
        })
        .unwrap();
        let strikes = [strike(10_000_000, 20_000_000)];
        let since = vec![[10_000_000; Measure::ALL.len()]];
        let phases = [
            Window::new("warm_up", 0, 1_000_000),
            Window::new("steady", 1_000_000, 20_000_000),
        ];
        let windows = Windows::new(&phases, &strikes, since, 15_000_000);
        let mut samples = Samples::new(windows, 2, 0);
        // The first sent half of its batch of 8 s and the second nothing after 11 s.
        for batch in schedule.iter() {
            let count = match (batch.producer, batch.intended / 1_000_000) {
                (0, 8) => 5,
                (0, ..8) | (1, ..12) => batch.count,
                _ => continue,
            };
            let at = batch.intended;
            samples.sent(&Sent {
                batch: Batch { count, ..batch },
                attempt: 0,
                released: at,
                first_byte: at,
            });
        }
        samples.unsent(&schedule);
        // 5 of 8 s; then 10, 12, 14, 16, 18 s of the first, 13, 15, 17 and the short one of 19 s of the
        // second.
        assert_eq!(samples.due_steady.unsent, [5; Measure::ALL.len()]);
        assert_eq!(samples.due_during.unsent, [50 + 35; Measure::ALL.len()]);
    }

    #[test]
    fn each_latency_has_its_own_beginning_of_a_window() {
        let mut strikes = [strike(10_000_000, 13_000_000)];
        let mut recovery = Recovery::new(&mut strikes, [LIMIT; Measure::ALL.len()]);
        let answered = |answer, intended, at| Answered {
            batch: batch(intended),
            attempt: 0,
            answer,
            at,
        };
        recovery.answered(&answered(Answer::Acked, 9_999_000, 10_001_000), None);
        recovery.answered(&answered(Answer::Refused, 9_000_000, 10_001_000), None);
        recovery.published(&Published {
            batch: batch(8_500_000),
            file: 0,
            at: 14_000_000,
        });
        let since = recovery.since()[0];
        assert_eq!(since[Measure::Slip as usize], 10_000_000);
        assert_eq!(since[Measure::AckResponse as usize], 9_999_000);
        assert_eq!(since[Measure::AckService as usize], 9_999_000);
        assert_eq!(since[Measure::StoredResponse as usize], 10_000_000);
        assert_eq!(since[Measure::PublishedResponse as usize], 8_500_000);
    }
}
