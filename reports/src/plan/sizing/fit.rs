//! Fits the model to the channel's level in an outage that was measured.

use super::Model;
use crate::statistics::{Unable, spread, theil_sen::Slopes};

/// What follows the injection so closely is left out: the sink notices only with its next call.
const NOTICED_S: f64 = 0.5;

/// Fits the model.
///
/// `level`: (seconds, events in the channel), forward in time; `injected_s` and `healed_s` on the
/// same clock; `load_end_s`: when the load ended, after which nothing arrives; `rate`: offered,
/// events/s.
///
/// # Errors
///
/// Too few samples before, in or after the outage.
pub fn fit(
    level: &[(f64, f64)],
    injected_s: f64,
    healed_s: f64,
    load_end_s: f64,
    rate: f64,
) -> Result<Model, Unable> {
    let between = |from: f64, to: f64| -> Vec<(f64, f64)> {
        level
            .iter()
            .copied()
            .filter(|(t, _)| (from..=to).contains(t))
            .collect()
    };
    let before: Vec<f64> = between(0.0, injected_s).iter().map(|p| p.1).collect();
    let rest = spread::median(&before)?;
    let filling = Slopes::of(&between(injected_s + NOTICED_S, healed_s))?.estimate();
    let after = between(healed_s, f64::INFINITY);
    let (highest_at, highest) = after
        .iter()
        .copied()
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .ok_or(Unable::TooFew { have: 0, need: 1 })?;
    // From the first tenth of the way down to the last, under load, so that neither the sink's
    // start nor the tail is in it.
    let drop = highest - rest;
    let draining: Vec<(f64, f64)> = after
        .iter()
        .copied()
        .filter(|(t, events)| {
            *t >= highest_at && *events <= highest - 0.1 * drop && *events >= rest + 0.1 * drop
        })
        .collect();
    let under_load: Vec<(f64, f64)> = draining
        .iter()
        .copied()
        .filter(|(t, _)| *t <= load_end_s)
        .collect();
    let (points, arriving) = if under_load.len() >= 4 {
        (&under_load, rate)
    } else {
        (&draining, 0.0)
    };
    let falling = -Slopes::of(points)?.estimate();
    Ok(Model {
        fill_ppm: (filling / rate * 1e6).max(0.0).round() as u64,
        resume_us: ((highest_at - healed_s).max(0.0) * 1e6).round() as u64,
        catch_up_per_s: (arriving + falling).max(0.0).round() as u64,
        rest_events: rest.max(0.0).round() as u64,
    })
}

/// When the level first reached `events` at or after `from_s`, between two samples linearly; `None`
/// where it never did.
#[must_use]
pub fn crossing(level: &[(f64, f64)], from_s: f64, events: f64) -> Option<f64> {
    let mut before: Option<(f64, f64)> = None;
    for &(t, here) in level.iter().filter(|(t, _)| *t >= from_s) {
        if here >= events {
            let Some((t0, below)) = before else {
                return Some(t);
            };
            return Some(t0 + (t - t0) * (events - below) / (here - below).max(1e-9));
        }
        before = Some((t, here));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 20,000/s; outage from 5 s to 15 s; the sink works again 1 s later at 50,000/s.
    fn outage() -> Vec<(f64, f64)> {
        let mut level = 500.0_f64;
        (0..200)
            .map(|i| {
                let t = f64::from(i) * 0.25;
                let flow = match t {
                    _ if t < 5.0 => 0.0,
                    _ if t < 16.0 => 20_000.0,
                    _ => -30_000.0,
                };
                let here = (t, level);
                level = (level + 0.25 * flow).max(500.0);
                here
            })
            .collect()
    }

    #[test]
    fn what_was_put_in_comes_out() {
        let model = fit(&outage(), 5.0, 15.0, 60.0, 20_000.0).unwrap();
        assert!(model.fill_ppm.abs_diff(1_000_000) < 1_000, "{model:?}");
        assert!(model.resume_us.abs_diff(1_000_000) <= 250_000, "{model:?}");
        assert!(model.catch_up_per_s.abs_diff(50_000) < 100, "{model:?}");
        assert_eq!(model.rest_events, 500);
    }

    #[test]
    fn after_the_load_nothing_arrives() {
        let model = fit(&outage(), 5.0, 15.0, 16.0, 20_000.0).unwrap();
        assert!(model.catch_up_per_s.abs_diff(30_000) < 100, "{model:?}");
    }

    #[test]
    fn an_outage_without_samples_is_refused() {
        assert!(fit(&outage()[..20], 5.0, 15.0, 60.0, 20_000.0).is_err());
        assert!(fit(&[], 5.0, 15.0, 60.0, 20_000.0).is_err());
    }

    #[test]
    fn a_level_is_reached_between_two_samples() {
        let level = [(0.0, 0.0), (1.0, 100.0), (2.0, 300.0)];
        assert_eq!(crossing(&level, 0.0, 200.0), Some(1.5));
        assert_eq!(crossing(&level, 0.0, 301.0), None);
        assert_eq!(crossing(&level, 0.5, 50.0), Some(1.0));
    }
}
