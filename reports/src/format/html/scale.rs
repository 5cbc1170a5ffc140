//! Fewer points than samples, and round numbers on axes.

/// Points of a line without a gap.
pub(crate) type Segment = Vec<(f64, f64)>;

/// Reduces a series to what `buckets` columns of pixels can show: of each column the first, the
/// least, the greatest and the last sample, in their order. No peak disappears, however narrow. A
/// missing value ends a segment.
pub(crate) fn reduce(
    points: &[(u64, Option<u64>)],
    from: u64,
    to: u64,
    buckets: usize,
) -> Vec<Segment> {
    let span = to.saturating_sub(from).max(1);
    let bucket = |at: u64| {
        let offset = u128::from(at.saturating_sub(from)) * buckets as u128;
        (offset / u128::from(span)) as usize
    };
    let mut segments: Vec<Segment> = Vec::new();
    let mut column: Vec<(u64, u64)> = Vec::new();
    let mut open = false;
    for &(at, value) in points.iter().filter(|(at, _)| (from..=to).contains(at)) {
        let Some(value) = value else {
            flush(&mut column, &mut segments);
            open = false;
            continue;
        };
        if !open {
            segments.push(Vec::new());
            open = true;
        }
        if column
            .first()
            .is_some_and(|&(first, _)| bucket(first) != bucket(at))
        {
            flush(&mut column, &mut segments);
        }
        column.push((at, value));
    }
    flush(&mut column, &mut segments);
    segments
}

/// Moves what a column has to show to the last segment.
fn flush(column: &mut Vec<(u64, u64)>, segments: &mut [Segment]) {
    let Some(segment) = segments.last_mut() else {
        return;
    };
    let by_value = |i: &usize| column[*i].1;
    let all = 0..column.len();
    let mut shown: Vec<usize> = [
        all.clone().next(),
        all.clone().min_by_key(by_value),
        all.clone().max_by_key(by_value),
        all.last(),
    ]
    .into_iter()
    .flatten()
    .collect();
    shown.sort_unstable();
    shown.dedup();
    segment.extend(
        shown
            .into_iter()
            .map(|i| (column[i].0 as f64, column[i].1 as f64)),
    );
    column.clear();
}

/// Round numbers within a range, about as many as wanted: steps of 1, 2 or 5 times a power of ten.
pub(crate) fn linear_ticks(from: f64, to: f64, wanted: usize) -> Vec<f64> {
    let span = to - from;
    if span.is_nan() || span <= 0.0 || wanted == 0 {
        return vec![from];
    }
    let rough = span / wanted as f64;
    let power = 10_f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|f| f * power >= rough * 0.999);
    let step = factor.unwrap_or(10.0) * power;
    let first = (from / step - 1e-9).ceil() as i64;
    let last = (to / step + 1e-9).floor() as i64;
    (first..=last).map(|i| i as f64 * step).collect()
}

/// The same from 0 to `end` bytes: round in the unit that `end` is shown in.
pub(crate) fn byte_ticks(end: f64, wanted: usize) -> Vec<f64> {
    let mut unit = 1.0;
    while end / unit >= 1024.0 {
        unit *= 1024.0;
    }
    let ticks = linear_ticks(0.0, end / unit, wanted).into_iter();
    ticks.map(|tick| tick * unit).collect()
}

/// Round instants from 0 to `end` µs with their text. All are in the unit of the step, so that an
/// axis does not change from seconds to minutes half way.
pub(crate) fn time_ticks(end: f64, wanted: usize) -> Vec<(f64, String)> {
    const SECOND: f64 = 1e6;
    const STEPS: [f64; 14] = [
        1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_200.0, 1_800.0, 3_600.0,
        7_200.0,
    ];
    let rough = end / wanted.max(1) as f64 / SECOND;
    let step = STEPS.into_iter().find(|step| *step >= rough * 0.999);
    let Some(step) = step.filter(|step| *step > 1.0 || rough > 0.5) else {
        // Shorter or longer than the list: decimal seconds.
        let text = |at: f64| crate::show::decimal(at / SECOND) + " s";
        return linear_ticks(0.0, end, wanted)
            .into_iter()
            .map(|at| (at, text(at)))
            .collect();
    };
    let (unit, name) = match step {
        3_600.0.. => (3_600.0, "h"),
        60.0.. => (60.0, "min"),
        _ => (1.0, "s"),
    };
    let last = (end / SECOND / step + 1e-9).floor() as u32;
    let tick = |i: u32| {
        let seconds = f64::from(i) * step;
        (
            seconds * SECOND,
            format!("{} {name}", crate::show::decimal(seconds / unit)),
        )
    };
    (0..=last).map(tick).collect()
}

/// Powers of ten within a range, thinned out where there are more than about twice those wanted.
pub(crate) fn log_ticks(from: f64, to: f64, wanted: usize) -> Vec<f64> {
    let (first, last) = (from.log10().ceil() as i32, to.log10().floor() as i32);
    let step = ((last - first + 1).max(1) as usize).div_ceil(wanted.max(1) + 2);
    (first..=last)
        .step_by(step.max(1))
        .map(|power| 10_f64.powi(power))
        .collect()
}

/// The power of ten at or below a value above 0.
pub(crate) fn floor_power(value: f64) -> f64 {
    10_f64.powf(value.log10().floor())
}

/// The power of ten at or above a value above 0.
pub(crate) fn ceil_power(value: f64) -> f64 {
    10_f64.powf(value.log10().ceil())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(
            linear_ticks(0.0, 60_000.0, 4),
            [0.0, 20_000.0, 40_000.0, 60_000.0]
        );
        assert_eq!(linear_ticks(0.0, 1.0, 4), [0.0, 0.5, 1.0]);
        assert_eq!(log_ticks(10.0, 100_000.0, 4), [1e1, 1e2, 1e3, 1e4, 1e5]);
        assert_eq!(linear_ticks(3.0, 3.0, 4), [3.0]);
        let mib = 1_048_576.0;
        assert_eq!(
            byte_ticks(60.0 * mib, 4),
            [0.0, 20.0 * mib, 40.0 * mib, 60.0 * mib]
        );
        assert_eq!(byte_ticks(900.0, 4), [0.0, 500.0]);
    }

    #[test]
    fn instants_keep_one_unit() {
        let texts = |end: f64, wanted| -> Vec<String> {
            time_ticks(end * 1e6, wanted)
                .into_iter()
                .map(|(_, text)| text)
                .collect()
        };
        assert_eq!(texts(66.0, 4), ["0 s", "20 s", "40 s", "60 s"]);
        assert_eq!(
            texts(610.0, 6),
            ["0 min", "2 min", "4 min", "6 min", "8 min", "10 min"]
        );
        assert_eq!(texts(1.0, 2), ["0 s", "0.5 s", "1 s"]);
        assert_eq!(
            texts(36_000.0, 5),
            ["0 h", "2 h", "4 h", "6 h", "8 h", "10 h"]
        );
    }

    #[test]
    fn a_gap_ends_a_segment_and_a_lone_sample_stays() {
        let points = [
            (0, Some(1)),
            (1, None),
            (2, Some(5)),
            (3, None),
            (4, None),
            (5, Some(2)),
        ];
        let segments = reduce(&points, 0, 10, 100);
        assert_eq!(
            segments,
            [vec![(0.0, 1.0)], vec![(2.0, 5.0)], vec![(5.0, 2.0)]]
        );
    }

    #[test]
    fn a_gap_inside_one_column_of_pixels_does_not_join_its_sides() {
        let points = [(0, Some(1)), (1, Some(9)), (2, None), (3, Some(4))];
        let segments = reduce(&points, 0, 1_000, 1);
        assert_eq!(segments, [vec![(0.0, 1.0), (1.0, 9.0)], vec![(3.0, 4.0)]]);
    }

    proptest! {
        #[test]
        fn peaks_survive_and_the_size_is_bounded(
            values in proptest::collection::vec(proptest::option::weighted(0.95, 0_u64..1_000_000), 1..2_000),
            buckets in 1_usize..200,
        ) {
            let points: Vec<(u64, Option<u64>)> = (0_u64..).zip(values.iter().copied()).collect();
            let segments = reduce(&points, 0, points.len() as u64, buckets);
            let all: Vec<f64> = segments.iter().flatten().map(|point| point.1).collect();
            let known = || values.iter().flatten().map(|&value| value as f64);
            prop_assert_eq!(all.iter().copied().reduce(f64::max), known().reduce(f64::max));
            prop_assert_eq!(all.iter().copied().reduce(f64::min), known().reduce(f64::min));
            let gaps = values.iter().filter(|value| value.is_none()).count();
            prop_assert!(all.len() <= 4 * (buckets + 1 + gaps));
            let times: Vec<f64> = segments.iter().flatten().map(|point| point.0).collect();
            prop_assert!(times.is_sorted_by(|a, b| a < b));
        }
    }
}
