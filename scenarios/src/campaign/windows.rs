//! The fault windows of a trial and the way back from each, from journal and record.
//!
//! Faults that hold at the same time are one window, from the first injection to the last heal. The
//! way back has four parts: to the first sign of trouble (from the injection), to the first event
//! stored, to the drained backlog, to latency back in its band (from the last heal). What the next
//! fault or the end of the trial cuts off is censored; what never came because the system was dead
//! for good is never.
//!
//! *Usual* is what was seen before the trial's first fault: in `steady` where that leaves half a
//! second, otherwise since the load began. A **sign of trouble** is a refusal, a missing answer, a
//! second attempt, or an event that takes longer than any took in the usual time. The **band** is
//! 1.1 times the median, over whole seconds of the usual time, of the p99 of `stored_response`; by
//! the instant at which events were stored. One second in the band proves nothing where latency is
//! noisy (false in 99 % of cases at 1.3 times the usual latency); five in a row are wrong in 0.2 %.
//!
//! The **backlog** is everything owed that was due by the heal. What of it is lost never drained: the
//! window is censored then, or never where the system was dead at the end.

use std::collections::BTreeMap;
use std::path::Path;

use flume_bench_loadgen::account::{self, Stored, Visitor};
use flume_bench_loadgen::observe::{Answer, Answered, Micros, Sent};
use flume_bench_reports::campaign::{Recovery, Span};
use flume_bench_reports::record::{Fault, RunRecord};
use flume_bench_reports::verdict::Verdict;

/// One second, µs.
const SECOND: Micros = 1_000_000;
/// So many seconds in a row must be in the band.
const IN_A_ROW: usize = 5;
/// The band is so many tenths of the usual p99.
const BAND_TENTHS: i64 = 11;

/// What a trial's journal shows of its windows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The windows in order.
    pub windows: Vec<Recovery>,
    /// The names of the faults after whose injection, until their heal, a sign of trouble was seen.
    pub disturbed: Vec<String>,
}

/// Reads a run's journal once more, for its windows.
///
/// # Errors
/// When the journal cannot be read.
pub fn look(root: &Path, record: &RunRecord) -> Result<Seen, String> {
    let mut journal = Journal {
        probe: record.load.connections as u16,
        ..Journal::default()
    };
    account::replay(&root.join("journal.bin"), &mut journal).map_err(|error| error.to_string())?;
    Ok(journal.seen(record))
}

/// First copies, and signs of trouble, as the journal has them.
#[derive(Debug, Default)]
struct Journal {
    /// The producer of the probe, which enters nothing.
    probe: u16,
    /// Intended, stored, how many.
    arrivals: Vec<(Micros, Micros, u32)>,
    /// Refusals, missing answers, second attempts.
    signs: Vec<Micros>,
}

impl Visitor for Journal {
    fn sent(&mut self, sent: &Sent) {
        if sent.attempt > 0 && sent.batch.producer != self.probe {
            self.signs.push(sent.first_byte);
        }
    }

    fn answered(&mut self, answered: &Answered, _first_byte: Option<Micros>) {
        if answered.answer != Answer::Acked && answered.batch.producer != self.probe {
            self.signs.push(answered.at);
        }
    }

    fn stored(&mut self, stored: &Stored) {
        if stored.batch.producer == self.probe {
            return;
        }
        let new = (stored.batch.intended, stored.at, stored.batch.count);
        match self.arrivals.last_mut() {
            Some(last) if (last.0, last.1) == (new.0, new.1) => last.2 += new.2,
            _ => self.arrivals.push(new),
        }
    }
}

/// A merged window.
struct Window {
    names: Vec<String>,
    from: Micros,
    to: Micros,
}

/// What the parts of a way back are measured against.
struct Frame {
    /// The longest that any event took in the usual time.
    longest: Option<Micros>,
    /// The band of the p99, µs.
    band: Option<Micros>,
    load_end: Micros,
    end: Micros,
    dead: bool,
    /// When the first of the lost events was due; the start where that is not known.
    first_lost: Option<Micros>,
}

impl Journal {
    fn seen(mut self, record: &RunRecord) -> Seen {
        self.arrivals.sort_unstable_by_key(|arrival| arrival.1);
        let windows = merge(&record.faults);
        let phase = |name: &str| record.phases.iter().find(|phase| phase.name == name);
        let steady = phase("steady").map_or(0, |phase| phase.start_us as Micros);
        let first = windows.first().map_or(0, |window| window.from);
        let frame = Frame {
            longest: self.longest(steady, first),
            band: self.band(steady, first),
            load_end: phase("steady").map_or(0, |phase| phase.end_us as Micros),
            end: phase("drain").map_or(record.end_us(), |phase| phase.end_us) as Micros,
            dead: record
                .checkers
                .iter()
                .any(|checker| checker.name == "liveness" && checker.verdict == Verdict::Fail),
            first_lost: first_lost(record),
        };
        let late = self.late(&frame, record);
        let recoveries = windows.iter().enumerate().map(|(i, window)| {
            let next = windows.get(i + 1).map(|next| next.from);
            self.recovery(&frame, &late, window, next)
        });
        let disturbed = record.faults.iter().filter(|fault| {
            let from = fault.injected_us.value().map(|us| *us as Micros);
            let to = fault.healed_us.value().map(|us| *us as Micros);
            from.zip(to).is_some_and(|(from, to)| {
                let to = to + frame.longest.unwrap_or(0);
                self.sign(&late, from, to).is_some()
            })
        });
        Seen {
            windows: recoveries.collect(),
            disturbed: disturbed.map(|fault| fault.name.clone()).collect(),
        }
    }

    /// The longest that any event took before the first fault.
    fn longest(&self, steady: Micros, first: Micros) -> Option<Micros> {
        let from = if first - steady >= SECOND / 2 {
            steady
        } else {
            0
        };
        self.arrivals
            .iter()
            .filter(|(intended, at, _)| *intended >= from && *at < first)
            .map(|(intended, at, _)| at - intended)
            .max()
    }

    /// 1.1 times the median p99 of the whole seconds before the first fault.
    fn band(&self, steady: Micros, first: Micros) -> Option<Micros> {
        let from = if first - steady >= SECOND { steady } else { 0 };
        let seconds = (first - from) / SECOND;
        let p99s = self.p99s(from, from + seconds * SECOND);
        let mut known: Vec<Micros> = p99s.into_iter().flatten().collect();
        known.sort_unstable();
        let median = *known.get(known.len().checked_sub(1)? / 2)?;
        Some(median * BAND_TENTHS / 10)
    }

    /// The p99 of each whole second from `from` on, by the instant stored.
    fn p99s(&self, from: Micros, to: Micros) -> Vec<Option<Micros>> {
        let seconds = ((to - from) / SECOND).max(0) as usize;
        let mut latencies: Vec<Vec<(Micros, u32)>> = vec![Vec::new(); seconds];
        for (intended, at, count) in &self.arrivals {
            let second = (at - from).div_euclid(SECOND);
            if let Ok(second) = usize::try_from(second)
                && let Some(latencies) = latencies.get_mut(second)
            {
                latencies.push((at - intended, *count));
            }
        }
        latencies.into_iter().map(p99).collect()
    }

    /// The instants at which an event began to take longer than any had, sorted.
    fn late(&self, frame: &Frame, record: &RunRecord) -> Vec<Micros> {
        let Some(longest) = frame.longest else {
            return Vec::new();
        };
        let arrived = self
            .arrivals
            .iter()
            .filter(|(intended, at, _)| at - intended > longest)
            .map(|(intended, ..)| intended + longest);
        let lost = record.losses.items.iter().filter_map(|range| {
            let from = range.intended_from_us.value()?;
            Some(*from as Micros + longest)
        });
        let mut late: Vec<Micros> = arrived.chain(lost).collect();
        late.sort_unstable();
        late
    }

    /// The first sign of trouble between two instants.
    fn sign(&self, late: &[Micros], from: Micros, to: Micros) -> Option<Micros> {
        let within = |at: &&Micros| (from..=to).contains(*at);
        let said = self.signs.iter().filter(within).min();
        let late = late.iter().find(within);
        said.into_iter().chain(late).min().copied()
    }

    fn recovery(
        &self,
        frame: &Frame,
        late: &[Micros],
        window: &Window,
        next: Option<Micros>,
    ) -> Recovery {
        let cut = next.unwrap_or(frame.end).max(window.to);
        let noticed_by = next
            .unwrap_or(frame.end)
            .min(window.to + frame.longest.unwrap_or(0));
        let noticed = match (frame.longest, self.sign(late, window.from, noticed_by)) {
            (None, _) => Span::Unknown {
                reason: "nothing was stored before the trial's first fault".into(),
            },
            (Some(_), Some(at)) => observed(at - window.from),
            (Some(_), None) => Span::Censored {
                us: (noticed_by - window.from).max(0) as u64,
            },
        };
        let after = |dead: bool| {
            if dead && next.is_none() {
                Span::Never
            } else {
                Span::Censored {
                    us: (cut - window.to) as u64,
                }
            }
        };
        let stored = self
            .arrivals
            .iter()
            .map(|arrival| arrival.1)
            .find(|at| *at >= window.to);
        let first_stored = match stored {
            Some(at) if at <= cut => observed(at - window.to),
            stored => after(frame.dead && stored.is_none()),
        };
        let backlog = self
            .arrivals
            .iter()
            .filter(|(intended, at, _)| *intended <= window.to && *at >= window.to)
            .map(|arrival| arrival.1)
            .max();
        let undrained = frame.first_lost.is_some_and(|due| due <= window.to);
        let drained = match backlog {
            _ if undrained => after(frame.dead),
            Some(at) if at <= cut => observed(at - window.to),
            None if stored.is_some_and(|at| at <= cut) => observed(0),
            backlog => after(frame.dead && backlog.is_none()),
        };
        let in_band = match self.in_band(frame, window.to, cut.min(frame.load_end), &first_stored) {
            Span::Censored { .. } if undrained && frame.dead && next.is_none() => Span::Never,
            seen => seen,
        };
        Recovery {
            faults: window.names.clone(),
            injected_us: window.from.max(0) as u64,
            healed_us: window.to.max(0) as u64,
            noticed,
            in_band,
            first_stored,
            drained,
        }
    }

    fn in_band(&self, frame: &Frame, healed: Micros, until: Micros, first: &Span) -> Span {
        let Some(band) = frame.band else {
            return Span::Unknown {
                reason: "no whole second with stored events before the trial's first fault".into(),
            };
        };
        if *first == Span::Never {
            return Span::Never;
        }
        let seconds = self.p99s(healed, until);
        let inside = |p99: &Option<Micros>| p99.is_some_and(|p99| p99 <= band);
        let found = seconds
            .windows(IN_A_ROW)
            .position(|five| five.iter().all(inside));
        match found {
            Some(second) => observed(second as Micros * SECOND),
            // What is in the band when it is cut off may have come back for good there.
            None => {
                let good = seconds.iter().rev().take_while(|p99| inside(p99)).count();
                let bad = seconds.len() - good;
                Span::Censored {
                    us: bad as u64 * SECOND as u64,
                }
            }
        }
    }
}

/// When the first of the lost events was due. Where the record does not list all of them, or not
/// when they were due, nothing is known to be drained: 0.
fn first_lost(record: &RunRecord) -> Option<Micros> {
    let losses = &record.losses;
    let due = |us: &u64| *us as Micros;
    let listed = losses
        .items
        .iter()
        .map(|range| range.intended_from_us.value().map_or(0, due))
        .min();
    let more = losses.not_listed > 0 || losses.items.is_empty() && record.counts.lost > 0;
    if more { Some(0) } else { listed }
}

fn observed(us: Micros) -> Span {
    Span::Observed {
        us: us.max(0) as u64,
    }
}

/// The 99th percentile of weighted values: the smallest that at least 99 % do not exceed.
fn p99(mut values: Vec<(Micros, u32)>) -> Option<Micros> {
    values.sort_unstable();
    let total: u64 = values.iter().map(|(_, count)| u64::from(*count)).sum();
    let mut below = 0;
    values
        .into_iter()
        .find(|(_, count)| {
            below += u64::from(*count);
            below * 100 >= total * 99
        })
        .map(|(value, _)| value)
}

/// Faults that struck, as windows: overlapping ones are one.
fn merge(faults: &[Fault]) -> Vec<Window> {
    let mut struck: Vec<(Micros, Micros, &str)> = faults
        .iter()
        .filter_map(|fault| {
            let from = *fault.injected_us.value()? as Micros;
            let to = fault.healed_us.value().map_or(from, |us| *us as Micros);
            Some((from, to.max(from), fault.name.as_str()))
        })
        .collect();
    struck.sort_unstable();
    let mut merged: BTreeMap<usize, Window> = BTreeMap::new();
    for (from, to, name) in struck {
        match merged.last_entry() {
            Some(mut last) if from <= last.get().to => {
                let last = last.get_mut();
                last.to = last.to.max(to);
                last.names.push(name.to_owned());
            }
            _ => {
                let names = vec![name.to_owned()];
                merged.insert(merged.len(), Window { names, from, to });
            }
        }
    }
    merged.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use flume_bench_reports::record::{Known, Window as Phase};

    fn fault(name: &str, from: u64, to: u64) -> Fault {
        Fault {
            name: name.into(),
            injected_us: Known::Value(from * 1000),
            healed_us: Known::Value(to * 1000),
            ..Fault::default()
        }
    }

    fn record(faults: Vec<Fault>) -> RunRecord {
        RunRecord {
            faults,
            phases: vec![
                Phase::new("warm_up", 0, 1_000_000),
                Phase::new("steady", 1_000_000, 16_000_000),
                Phase::new("drain", 16_000_000, 18_000_000),
            ],
            ..RunRecord::default()
        }
    }

    /// An event every 10 ms, each stored after `latency` (ms) at its instant (ms); `None`: never.
    fn journal(latency: impl Fn(i64) -> Option<i64>) -> Journal {
        let arrivals = (0..1600).filter_map(|i| {
            let at = i * 10;
            Some((at * 1000, (at + latency(at)?) * 1000, 1))
        });
        Journal {
            probe: 1,
            arrivals: arrivals.collect(),
            signs: Vec::new(),
        }
    }

    fn us(ms: u64) -> Span {
        Span::Observed { us: ms * 1000 }
    }

    #[test]
    fn an_outage_is_noticed_survived_drained_and_forgotten() {
        // Nothing is stored from 5 s to 7 s; then the oldest first, all of it by 7.5 s.
        let journal = journal(|at| {
            Some(match at {
                4950..=6999 => 7000 + (at - 4950) / 4 - at,
                7000..=7499 => 7600 - at,
                _ => 50,
            })
        });
        let seen = journal.seen(&record(vec![fault("outage-1", 5000, 7000)]));
        let window = &seen.windows[0];
        // The event that was due just before is late 50 ms after it was due.
        assert_eq!(window.noticed, us(0));
        assert_eq!(window.first_stored, us(0));
        assert_eq!(window.drained, us(600));
        assert_eq!(window.in_band, us(1000));
        assert_eq!(seen.disturbed, ["outage-1"]);
    }

    #[test]
    fn a_fault_that_nobody_feels_disturbs_nothing() {
        let seen = journal(|_| Some(50)).seen(&record(vec![fault("cut_link-1", 5000, 7000)]));
        assert!(seen.disturbed.is_empty());
        assert_eq!(seen.windows[0].noticed, Span::Censored { us: 2_050_000 });
        let mut refused = journal(|_| Some(50));
        refused.signs.push(5_100_000);
        let seen = refused.seen(&record(vec![fault("cut_link-1", 5000, 7000)]));
        assert_eq!(seen.windows[0].noticed, us(100));
    }

    #[test]
    fn overlapping_faults_are_one_window_and_the_next_one_cuts_it_off() {
        let faults = vec![
            fault("kill-1", 4000, 6000),
            fault("cut_link-2", 5000, 7000),
            fault("pause-3", 9000, 10_000),
        ];
        // After the second window latency stays twice as high.
        let seen = journal(|at| Some(if at < 4000 { 50 } else { 100 })).seen(&record(faults));
        assert_eq!(seen.windows.len(), 2);
        assert_eq!(seen.windows[0].faults, ["kill-1", "cut_link-2"]);
        assert_eq!(seen.windows[0].healed_us, 7_000_000);
        assert_eq!(seen.windows[0].in_band, Span::Censored { us: 2_000_000 });
        assert_eq!(seen.windows[1].in_band, Span::Censored { us: 6_000_000 });
    }

    #[test]
    fn a_system_that_is_dead_for_good_never_recovers() {
        let mut record = record(vec![fault("kill-1", 5000, 6000)]);
        let journal_of = || journal(|at| (at < 4950).then_some(50));
        let seen = journal_of().seen(&record);
        assert_eq!(
            seen.windows[0].first_stored,
            Span::Censored { us: 12_000_000 }
        );
        record.checkers.push(flume_bench_reports::record::Checker {
            name: "liveness".into(),
            verdict: Verdict::Fail,
            ..Default::default()
        });
        let seen = journal_of().seen(&record);
        assert_eq!(seen.windows[0].first_stored, Span::Never);
        assert_eq!(seen.windows[0].drained, Span::Never);
        assert_eq!(seen.windows[0].in_band, Span::Never);
    }

    fn lost(from_ms: u64, events: u64) -> flume_bench_reports::record::LossRange {
        flume_bench_reports::record::LossRange {
            events,
            intended_from_us: Known::Value(from_ms * 1000),
            ..Default::default()
        }
    }

    #[test]
    fn a_system_that_dies_in_mid_drain_never_drained() {
        // Down from 5 s to 7 s; of what piled up the older half is stored until 7.5 s, then it dies.
        let journal = || {
            journal(|at| match at {
                ..4950 => Some(50),
                4950..6000 => Some(7000 + (at - 4950) / 2 - at),
                _ => None,
            })
        };
        let mut record = record(vec![fault("outage-1", 5000, 7000)]);
        record.counts.lost = 1000;
        record.losses.items = vec![lost(6000, 1000)];
        let seen = journal().seen(&record);
        assert_eq!(seen.windows[0].first_stored, us(0));
        assert_eq!(
            seen.windows[0].drained,
            Span::Censored { us: 11_000_000 },
            "alive at the end: it might have come yet"
        );
        record.checkers.push(flume_bench_reports::record::Checker {
            name: "liveness".into(),
            verdict: Verdict::Fail,
            ..Default::default()
        });
        let seen = journal().seen(&record);
        assert_eq!(seen.windows[0].drained, Span::Never);
        assert_eq!(seen.windows[0].in_band, Span::Never);
    }

    #[test]
    fn only_what_was_due_by_the_heal_is_backlog_and_what_is_not_listed_may_be() {
        let mut record = record(vec![fault("outage-1", 5000, 7000)]);
        record.counts.lost = 1;
        record.losses.items = vec![lost(9000, 1)];
        let drained = |record: &RunRecord| journal(|_| Some(50)).seen(record).windows[0].clone();
        assert!(matches!(drained(&record).drained, Span::Observed { .. }));
        record.losses.not_listed = 1;
        assert!(matches!(drained(&record).drained, Span::Censored { .. }));
        record.losses = flume_bench_reports::record::Listed::default();
        assert!(matches!(drained(&record).drained, Span::Censored { .. }));
    }

    #[test]
    fn a_cut_in_good_seconds_is_censored_where_they_began() {
        // Slow for two seconds after the heal, good for three, then the next fault.
        let journal = journal(|at| Some(if (4000..6000).contains(&at) { 300 } else { 50 }));
        let faults = vec![fault("pause-1", 3900, 4000), fault("pause-2", 9500, 9600)];
        let seen = journal.seen(&record(faults));
        let window = &seen.windows[0];
        // 4.05 s to 6.3 s are slow: the seconds from 7 s to 9 s are good, and two are not five.
        assert_eq!(window.in_band, Span::Censored { us: 3_000_000 });
    }

    #[test]
    fn four_good_seconds_are_not_five() {
        let long = |bad: i64| {
            journal(move |at| {
                Some(if (bad..bad + 20).contains(&at) {
                    300
                } else {
                    50
                })
            })
        };
        let faults = || vec![fault("pause-1", 3000, 4000)];
        // One slow moment in the fifth second after the heal: the five begin behind it.
        let seen = long(8500).seen(&record(faults()));
        assert_eq!(seen.windows[0].in_band, us(5000));
        let seen = long(1).seen(&record(faults()));
        assert_eq!(seen.windows[0].in_band, us(0));
    }
}
