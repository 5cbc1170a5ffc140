//! What the history says of when things happened: phases, strikes, the end of the drain.

use flume_bench_reports::record::Window;

use crate::checker::Strike;
use crate::runner::history::{Entry, Line};

/// The phases from t0 on.
pub(super) fn phases(lines: &[Line]) -> Vec<Window> {
    let begins: Vec<(&str, i64)> = lines
        .iter()
        .filter_map(|line| match &line.entry {
            Entry::Phase { name } => Some((name.as_str(), line.at_us)),
            _ => None,
        })
        .collect();
    let end = lines.iter().map(|line| line.at_us).max().unwrap_or(0);
    begins
        .iter()
        .enumerate()
        .map(|(i, (name, from))| {
            (
                name,
                *from,
                begins.get(i + 1).map_or(end, |(_, next)| *next),
            )
        })
        .filter(|(_, _, to)| *to > 0)
        .map(|(name, from, to)| Window::new(*name, from.max(0) as u64, to as u64))
        .collect()
}

/// The strikes in order.
pub(super) fn strikes(lines: &[Line]) -> Vec<Strike> {
    let mut strikes: Vec<Strike> = Vec::new();
    for line in lines {
        let known = |strikes: &mut Vec<Strike>, name: &str| {
            strikes.iter().position(|strike| strike.name == name)
        };
        match &line.entry {
            Entry::Injected {
                fault,
                index,
                in_flight,
            } => strikes.push(Strike {
                name: fault.clone(),
                index: *index,
                injected: line.at_us,
                healed: None,
                witness: None,
                in_flight: *in_flight,
                failed: None,
                first_stored: None,
                drained: None,
                backlog: 0,
                not_drained: None,
            }),
            Entry::Healed { fault } => {
                if let Some(i) = known(&mut strikes, fault) {
                    strikes[i].healed = Some(line.at_us);
                }
            }
            Entry::Witness {
                fault,
                saw,
                evidence,
            } => {
                if let Some(i) = known(&mut strikes, fault) {
                    strikes[i].witness = Some((saw.clone(), evidence.clone(), line.at_us));
                }
            }
            Entry::FaultFailed { fault, error } => {
                if let Some(i) = known(&mut strikes, fault) {
                    strikes[i].failed.get_or_insert_with(|| error.clone());
                }
            }
            _ => {}
        }
    }
    strikes
}

/// When the last event was seen that the drain waited for.
pub(super) fn drained(lines: &[Line]) -> i64 {
    let drained = lines.iter().find_map(|line| match line.entry {
        Entry::Drained { last_stored_us, .. } => last_stored_us,
        _ => None,
    });
    drained.unwrap_or(i64::MIN)
}
