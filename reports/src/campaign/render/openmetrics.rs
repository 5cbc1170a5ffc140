//! A campaign for a time-series database: trials, the upper bound, guarantees by kind of fault, the ways
//! back.

use crate::campaign::analysis::Analysis;
use crate::campaign::conclude::claim_ppm;
use crate::openmetrics::Exposition;

pub(super) fn render(analysis: &Analysis<'_>) -> String {
    let record = analysis.record;
    let mut all = Exposition::default();
    all.info(
        "campaign",
        "Which campaign.",
        &[
            ("campaign", &record.identity.campaign),
            ("scenario", &record.identity.scenario),
            ("driver", &record.identity.driver),
            ("store", &record.identity.store),
            ("provider", &record.identity.provider),
            ("seed", &record.identity.seed.to_string()),
            ("started", &record.identity.started),
        ],
    );
    all.verdict("campaign", record.verdict, record.exit_code);
    let tally = analysis.tally;
    let mut trials = all.gauge("campaign_trials", "", "Trials by what they came to.");
    for (outcome, count) in [
        ("passed", tally.passing),
        ("failed", tally.failing),
        ("void", tally.void),
    ] {
        trials.whole(&[("outcome", outcome)], count.into());
    }
    let help =
        "The share of failing trials is below this at 95 %, for schedules drawn from this menu.";
    all.gauge("campaign_failing_upper_bound", "ratio", help)
        .ppm(&[], &claim_ppm(&record.plan, tally));
    let mut events = all.counter(
        "campaign",
        "events",
        "Events of all trials, by what became of them.",
    );
    for (class, count) in [
        ("issued", analysis.issued),
        ("owed", analysis.owed),
        ("lost", analysis.lost),
    ] {
        events.whole(&[("class", class)], count);
    }
    let help = "Valid trials in which a kind of fault was witnessed.";
    let mut witnessed = all.gauge("campaign_fault_trials", "", help);
    for row in &analysis.rows {
        witnessed.whole(&[("fault", &row.kind)], row.trials.into());
    }
    let help = "Of those, trials in which a guarantee was contradicted.";
    let mut contradicted = all.gauge("campaign_contradicted_trials", "", help);
    for row in &analysis.rows {
        for cell in &row.cells {
            let labels = [
                ("fault", row.kind.as_str()),
                ("guarantee", cell.guarantee.as_str()),
            ];
            contradicted.whole(&labels, cell.failing.into());
        }
    }
    recovery(analysis, &mut all);
    all.finish()
}

fn recovery(analysis: &Analysis<'_>, all: &mut Exposition) {
    let mut windows = all.gauge(
        "campaign_recovery_windows",
        "",
        "Windows by part of the way back.",
    );
    for part in &analysis.parts {
        for (end, count) in [
            ("observed", part.observed),
            ("censored", part.censored),
            ("never", part.never),
            ("unknown", part.unknown),
        ] {
            windows.whole(&[("part", part.key), ("end", end)], count as u64);
        }
    }
    let help = "Kaplan and Meier's median of each part of the way back.";
    let mut medians = all.gauge("campaign_recovery_median", "seconds", help);
    for part in &analysis.parts {
        if let Ok(median) = &part.median
            && let Some(seconds) = median.estimate
        {
            medians.number(&[("part", part.key)], seconds);
        }
    }
}
