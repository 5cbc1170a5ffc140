//! The band below the indicators: phases and faults on one time line.

use minijinja::{Value, context};

use super::scale;
use crate::record::{Known, RunRecord};
use crate::show;

/// The time line of phases and faults, in per cent of the run.
pub(super) fn context(record: &RunRecord) -> Value {
    let end = record.end_us().max(1);
    let share = |us: u64| format!("{:.3}", us.min(end) as f64 * 100.0 / end as f64);
    let width = |from: u64, to: u64| share(to.min(end).saturating_sub(from.min(end)));
    let mut phases = Vec::new();
    for phase in &record.phases {
        let (from, to) = (phase.start_us, phase.end_us);
        phases.push(context! {
            name => show::words(&phase.name),
            left => share(from),
            width => width(from, to),
            hint => format!("{} to {}", show::instant(from), show::instant(to)),
        });
    }
    let mut lanes = Vec::new();
    for (i, fault) in record.faults.iter().enumerate() {
        let bar = fault.window_us().map(|(from, drained)| {
            let healed = fault.healed_us.value().copied().unwrap_or(drained);
            context! {
                left => share(from),
                width => width(from, healed),
                tail_left => share(healed),
                tail_width => width(healed, drained),
            }
        });
        let note = match (&fault.void, &fault.recovery.drained_us) {
            (Some(_), _) => "void".to_owned(),
            (None, Known::Value(us)) => format!("caught up {} after the heal", show::duration(*us)),
            (None, Known::Unknown(reason)) => format!("recovery unknown: {reason}"),
        };
        lanes.push(context! {
            letter => show::letter(i),
            kind => show::words(&fault.kind),
            target => fault.target.clone(),
            void => fault.void.is_some(),
            bar,
            note,
        });
    }
    let ticks: Vec<Value> = scale::time_ticks(end as f64, 8)
        .into_iter()
        // A label at the very end would stick out.
        .filter(|(us, _)| us / (end as f64) < 0.97)
        .map(|(us, text)| context! { left => share(us as u64), text })
        .collect();
    let void = record.faults.iter().any(|fault| fault.void.is_some());
    context! { phases, lanes, ticks, void }
}
