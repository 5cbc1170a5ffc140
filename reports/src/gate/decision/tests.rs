//! The rule, case by case. How often it is right is in `simulation.rs`.

use super::*;

fn metric(percent: f64) -> Metric {
    Metric {
        name: "cpu".into(),
        margin: (1.0 + percent / 100.0).ln(),
        calibrated_cv: None,
    }
}

/// Log-ratios around `shift` that look like noise of about `sd` and are the same every time.
fn pairs(n: usize, shift: f64, sd: f64) -> Vec<f64> {
    let wave = [
        0.3, -1.2, 0.9, -0.4, 1.4, -0.9, 0.1, -0.2, 1.1, -1.3, 0.6, -0.5,
    ];
    (0..n)
        .map(|i| shift + sd * (wave[i % 12] + 0.001 * i as f64))
        .collect()
}

fn screen(metrics: Vec<Metric>) -> Screen {
    Screen::new(Plan::default(), metrics, false).unwrap()
}

#[test]
fn an_unchanged_build_is_fine_after_eight_pairs() {
    let mut screen = screen(vec![metric(5.0)]);
    assert_eq!(screen.next(), Next::Look { pairs: 8 });
    screen.look(&[&pairs(8, 0.0, 0.01)]);
    assert_eq!(screen.metrics()[0].state, State::Fine);
    assert_eq!(screen.next(), Next::Done);
}

#[test]
fn a_slower_build_is_alarmed_at_the_last_look_only_and_then_confirmed() {
    let mut screen = screen(vec![metric(5.0)]);
    let slower = pairs(12, 0.08, 0.01);
    screen.look(&[&slower]);
    assert_eq!(screen.metrics()[0].state, State::NeedMore { pairs: 12 });
    screen.look(&[&slower]);
    assert_eq!(
        screen.next(),
        Next::Confirm {
            pairs: 8,
            metrics: vec![0]
        }
    );
    let mut by_chance = screen.clone();
    screen.confirm(&[&pairs(8, 0.08, 0.01)]);
    assert_eq!(screen.metrics()[0].state, State::Regression);
    assert_eq!(screen.next(), Next::Done);
    // The same alarm, and fresh pairs without any change.
    by_chance.confirm(&[&pairs(8, 0.0, 0.01)]);
    assert_eq!(by_chance.metrics()[0].state, State::Fine);
}

#[test]
fn a_faster_build_is_improved() {
    let mut screen = screen(vec![metric(5.0)]);
    screen.look(&[&pairs(8, -0.1, 0.01)]);
    assert_eq!(screen.metrics()[0].state, State::Improved);
}

#[test]
fn a_small_slow_down_that_is_certain_is_no_regression() {
    // 1 % slower without any doubt, M is 5 %.
    let mut screen = screen(vec![metric(5.0)]);
    screen.look(&[&pairs(8, 0.01, 0.002)]);
    let state = &screen.metrics()[0];
    assert_eq!(state.state, State::Fine);
    assert!(state.screen.unwrap().p_worse < 0.01);
}

#[test]
fn what_the_host_cannot_resolve_is_demoted_and_strictly_inconclusive() {
    for (strict, state) in [(false, State::Demoted), (true, State::Inconclusive)] {
        let mut screen = Screen::new(Plan::default(), vec![metric(5.0)], strict).unwrap();
        let noisy = pairs(12, 0.0, 0.2);
        screen.look(&[&noisy]);
        screen.look(&[&noisy]);
        assert_eq!(screen.metrics()[0].state, state);
        assert!(screen.metrics()[0].resolution.unwrap() > 0.05);
        assert_eq!(screen.next(), Next::Done);
    }
}

#[test]
fn a_calibration_replaces_the_own_estimate_and_hides_no_large_change() {
    let noisy_host = Metric {
        calibrated_cv: Some(0.09),
        ..metric(5.0)
    };
    assert_eq!(noisy_host.too_noisy_by_calibration(), Some(true));
    // Pairs that leave 5 % open: demoted by a noisy host, inconclusive on a quiet one.
    let open = pairs(12, 0.02, 0.08);
    let quiet_host = Metric {
        calibrated_cv: Some(0.01),
        ..metric(5.0)
    };
    let mut both = screen(vec![noisy_host.clone(), quiet_host]);
    both.look(&[&open, &open]);
    both.look(&[&open, &open]);
    let states: Vec<State> = both.metrics().iter().map(|m| m.state).collect();
    assert_eq!(states, [State::Demoted, State::Inconclusive]);
    // 30 % slower shows through 9 % of noise.
    let mut screen = screen(vec![noisy_host]);
    let slower = pairs(12, 0.26, 0.12);
    screen.look(&[&slower]);
    screen.look(&[&slower]);
    screen.confirm(&[&slower]);
    assert_eq!(screen.metrics()[0].state, State::Regression);
}

#[test]
fn many_metrics_share_one_budget() {
    // p = 0.04 alone: rejected at 10 %, and not as one of five.
    let mut ratios = pairs(12, 0.03, 0.045);
    ratios.sort_by(|a, b| b.total_cmp(a));
    let p = signed_rank::p_greater(&ratios).unwrap();
    assert!((0.02..0.1).contains(&p), "{p}");
    let quiet = pairs(12, 0.0, 0.01);
    let mut alone = screen(vec![metric(5.0)]);
    alone.look(&[&ratios]);
    alone.look(&[&ratios]);
    assert_eq!(
        alone.metrics()[0].state,
        State::NeedsConfirmation { pairs: 8 }
    );
    let mut many = screen(vec![metric(5.0); 5]);
    let all: [&[f64]; 5] = [&ratios, &quiet, &quiet, &quiet, &quiet];
    many.look(&all);
    many.look(&all);
    assert_eq!(many.metrics()[0].state, State::Demoted);
    assert_eq!(many.metrics()[4].state, State::Fine);
}

#[test]
fn values_that_are_missing_decide_nothing() {
    let mut screen = screen(vec![metric(5.0), metric(5.0), metric(5.0)]);
    let good = pairs(12, 0.0, 0.01);
    let mut broken = good.clone();
    broken[3] = f64::NAN;
    let all: [&[f64]; 2] = [&good, &broken];
    screen.look(&all);
    screen.look(&all);
    let states: Vec<State> = screen.metrics().iter().map(|m| m.state).collect();
    assert_eq!(
        states,
        [State::Fine, State::Inconclusive, State::Inconclusive]
    );
    // A look too many changes nothing.
    let before = screen.clone();
    screen.look(&all);
    assert_eq!(before, screen);
}

#[test]
fn a_screen_that_cannot_decide_is_refused_with_what_it_needs() {
    let plan = Plan::of_pairs(5);
    let error = Screen::new(plan, vec![metric(5.0); 5], false).unwrap_err();
    assert_eq!(
        error,
        Error::TooFewPairs {
            have: 5,
            need: 6,
            metrics: 5
        }
    );
    assert!(error.to_string().contains("at least 6 pairs"), "{error}");
    for enough in [6, 8, 11, 12, 20] {
        let plan = Plan::of_pairs(enough);
        assert_eq!(plan.screen_pairs(), enough);
        assert!(Screen::new(plan, vec![metric(5.0); 5], false).is_ok());
    }
    // A hundred metrics share the budget too: 2⁻¹⁰ ≤ 0.1 ÷ 100, and 8 fresh pairs are too few.
    assert_eq!(Plan::default().least_pairs(100), 10);
    assert!(Screen::new(Plan::default(), vec![metric(5.0); 100], false).is_err());
    assert!(Screen::new(Plan::default(), vec![metric(0.0)], false).is_err());
    let none = Plan {
        looks: Vec::new(),
        ..Plan::default()
    };
    assert_eq!(Screen::new(none, Vec::new(), false), Err(Error::Looks));
}
