//! The sentences that more than one rendering needs. Plain words: the reader may not know what a
//! channel is.

use crate::campaign::analysis::Analysis;
use crate::campaign::conclude::{claim_ppm, lower_ppm, percent_down, percent_up};
use crate::campaign::{Outcome, Plan, Size, Trial};
use crate::record::Known;
use crate::show::{count, duration, plural};
use crate::verdict::Verdict;

/// The summary for a reader who decides: a few sentences.
pub(super) fn summary(analysis: &Analysis<'_>) -> Vec<String> {
    let record = analysis.record;
    let tally = analysis.tally;
    let mut sentences = vec![format!(
        "The system was run {}, each time from scratch and under load, and each time something was broken on purpose: {}. Afterwards everything was put right again, and every record it had promised to deliver was looked for at its destination.",
        times(tally.tried),
        kinds(analysis)
    )];
    let owed = count(analysis.owed);
    sentences.push(match (tally.failing, analysis.lost) {
        (0, _) if tally.valid() == 0 => "None of these runs shows anything: each was interrupted, or could not be judged, or nothing was seen to break in it.".into(),
        (0, _) if record.verdict == Verdict::Inconclusive => format!(
            "In {} that can be judged no promise was seen broken, which does not show that none is.",
            runs(tally.valid())
        ),
        (0, _) => format!("No promise was broken: of {owed} records that it had promised to deliver, {} lost.", none(analysis.lost)),
        (failing, 0) => format!("None of {owed} promised records is lost, but in {failing} of {} something else was missed.", runs(tally.valid())),
        (failing, lost) => format!(
            "In {failing} of {} promises were broken: {} of {owed} promised records {} lost.",
            runs(tally.valid()),
            count(lost),
            if lost == 1 { "is" } else { "are" }
        ),
    });
    if record.verdict == Verdict::Inconclusive {
        sentences.push(format!(
            "This does not settle the question: {}",
            record
                .reasons
                .first()
                .map_or("the campaign has not ended.", String::as_str)
        ));
    } else if record.verdict == Verdict::Fail {
        if let Some(ppm) = lower_ppm(tally.failing, tally.valid()).value() {
            sentences.push(format!(
                "With 95 % confidence, more than {} of all runs drawn in the same way would fail.",
                percent_down(*ppm)
            ));
        }
    } else if let Some(ppm) = claim_ppm(&record.plan, tally).value() {
        sentences.push(format!(
            "With 95 % confidence, fewer than {} of all runs drawn in the same way would fail. That is said of these faults, this load and this machine, and of nothing else.",
            percent_up(*ppm)
        ));
    }
    if let Some(shrunk) = record.shrunk.iter().find(|shrunk| shrunk.reproduced()) {
        let way = match shrunk.complete || record.is_smaller(shrunk) {
            true => "The smallest way found",
            false => "A way",
        };
        sentences.push(format!(
            "{way} to make it fail: {}. It is kept as {}.",
            shrunk.sentence, shrunk.file
        ));
    }
    sentences
}

fn times(n: u32) -> String {
    match n {
        1 => "once".into(),
        n => format!("{n} times"),
    }
}

fn runs(n: u32) -> String {
    plural(u64::from(n), "valid run")
}

fn none(lost: u64) -> String {
    match lost {
        0 => "none is".into(),
        1 => "1 is".into(),
        n => format!("{} are", count(n)),
    }
}

/// What was broken, in plain words.
fn kinds(analysis: &Analysis<'_>) -> String {
    let mut words: Vec<String> = analysis
        .record
        .plan
        .menu
        .iter()
        .map(|entry| {
            let what = match entry.kind.as_str() {
                "kill" => "a process killed and started again",
                "pause" => "a process stopped and let go on",
                "outage" => "a part of the store taken away",
                "cut_link" => "a network link cut",
                "slow_link" => "a network link made slow",
                other => return format!("{other} ({})", entry.targets.join(", ")),
            };
            format!("{what} ({})", entry.targets.join(", "))
        })
        .collect();
    words.dedup();
    if words.is_empty() {
        "nothing".into()
    } else {
        words.join("; ")
    }
}

/// How n was fixed.
pub(super) fn size(analysis: &Analysis<'_>) -> String {
    let plan = &analysis.record.plan;
    let allowed = match plan.allow_failures {
        0 => "none may fail".to_owned(),
        n => format!("{n} may fail"),
    };
    match &plan.size {
        Size::Trials { trials } => format!("{trials} trials, fixed before the first; {allowed}"),
        Size::Budget {
            budget_us,
            pilot_us,
            trials,
        } => format!(
            "{trials} trials, as many as fit into {} after a pilot of {}; {allowed}",
            duration(*budget_us),
            duration(*pilot_us)
        ),
        Size::UntilUpper {
            upper_ppm,
            boundaries,
        } => {
            let all: Vec<String> = boundaries.iter().map(u32::to_string).collect();
            format!(
                "until fewer than {} can be failing: {} valid trials with 0{} failing; {allowed}",
                percent_up(u64::from(*upper_ppm)),
                all.join(" / "),
                (1..boundaries.len())
                    .map(|k| format!(" / {k}"))
                    .collect::<String>()
            )
        }
    }
}

/// k of n, in one line.
pub(super) fn k_of_n(analysis: &Analysis<'_>) -> String {
    let tally = analysis.tally;
    let plan = &analysis.record.plan;
    let bound = match claim_ppm(plan, tally) {
        Known::Value(ppm) => format!("; upper bound {} ({})", percent_up(ppm), rule(plan)),
        Known::Unknown(why) => format!("; no upper bound: {why}"),
    };
    format!(
        "{} failing of {} valid, {} void of {} tried{bound}",
        tally.failing,
        tally.valid(),
        tally.void,
        tally.tried
    )
}

/// Where an upper bound comes from.
pub(super) fn rule(plan: &Plan) -> &'static str {
    match &plan.size {
        Size::UntilUpper { boundaries, .. } if boundaries.len() > 1 => {
            "one-sided, 95 %, by boundaries corrected for stopping at a result"
        }
        _ => "one-sided, 95 %, exact Clopper–Pearson",
    }
}

/// What a trial came to, in one cell.
pub(super) fn result(trial: &Trial) -> String {
    match trial.outcome {
        Outcome::Passed => String::new(),
        Outcome::Failed => trial
            .failures
            .iter()
            .map(|failure| failure.sentence.clone())
            .collect::<Vec<_>>()
            .join(" "),
        Outcome::Void => trial.void.join("; "),
    }
}

/// The faults of a trial in one line.
pub(super) fn schedule(trial: &Trial) -> String {
    trial
        .schedule
        .iter()
        .map(|strike| strike.describe())
        .collect::<Vec<_>>()
        .join("; ")
}

/// What this campaign says nothing about.
pub(super) fn not_tried(analysis: &Analysis<'_>) -> Vec<String> {
    let record = analysis.record;
    let plan = &record.plan;
    let mut all = Vec::new();
    if !plan.left_out.is_empty() {
        all.push(format!(
            "Kinds of faults that are not on the menu: {}.",
            plan.left_out.join(", ")
        ));
    }
    for row in analysis.rows.iter().filter(|row| row.trials == 0) {
        all.push(format!(
            "{} is on the menu, and was witnessed in no valid trial.",
            row.kind
        ));
    }
    let longest = plan.menu.iter().map(|entry| entry.for_us[1]).max();
    if let Some(longest) = longest {
        all.push(format!(
            "Faults longer than {}, more than {} in a trial, more than {} at a time.",
            duration(longest),
            plan.max_faults,
            plan.max_overlap
        ));
    }
    all.push(format!(
        "Any other load than {}, for {} a trial; what only shows after hours or days.",
        plan.load,
        duration(plan.warm_up_us + plan.steady_us)
    ));
    if record.identity.provider == "embedded" && record.identity.store != "files" {
        all.push(format!(
            "The real {0} server: the store was flume-bench's own {0}, which speaks the same protocol.",
            record.identity.store
        ));
    }
    all.push("Power cuts, failing disks and other machines than this one.".into());
    all
}
