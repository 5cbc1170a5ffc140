//! What the trials say together: which number comes next, how many count, the verdict and its exit
//! code.

use super::{CampaignRecord, Outcome, Plan, Size, Trial};
use crate::record::Known;
use crate::show::plural;
use crate::statistics::clopper_pearson;
use crate::verdict::{ExitCode, Verdict};

/// The share of void trials above which nothing is concluded: one in so many.
const VOID_ONE_IN: u32 = 10;
/// What every bound leaves to chance.
pub const LEVEL: f64 = 0.05;

/// How many trials count as what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Begun.
    pub tried: u32,
    /// Passing and valid.
    pub passing: u32,
    /// Failing, void or not.
    pub failing: u32,
    /// Void, and not failing.
    pub void: u32,
}

impl Tally {
    /// Counts.
    #[must_use]
    pub fn of(trials: &[Trial]) -> Self {
        let count = |outcome| {
            trials
                .iter()
                .filter(|trial| trial.outcome == outcome)
                .count() as u32
        };
        Self {
            tried: trials.len() as u32,
            passing: count(Outcome::Passed),
            failing: count(Outcome::Failed),
            void: count(Outcome::Void),
        }
    }

    /// n: passing trials and failing ones.
    #[must_use]
    pub fn valid(self) -> u32 {
        self.passing + self.failing
    }

    /// Whether more than a tenth of those tried are void.
    #[must_use]
    pub fn too_many_void(self) -> bool {
        self.void * VOID_ONE_IN > self.tried
    }
}

impl Plan {
    /// How many valid trials are wanted, as far as that is known with so many failing; `None` when
    /// more have failed than are allowed, which ends a claim.
    #[must_use]
    pub fn wanted(&self, failing: u32) -> Option<u32> {
        match &self.size {
            Size::Trials { trials } | Size::Budget { trials, .. } => Some(*trials),
            Size::UntilUpper { boundaries, .. } => boundaries.get(failing as usize).copied(),
        }
    }

    /// The number of the next trial; `None` when no more is to be tried. Trials that are under way
    /// are among `trials`, as void ones.
    #[must_use]
    pub fn next(&self, trials: &[Trial], under_way: u32) -> Option<u32> {
        let tally = Tally::of(trials);
        let next = tally.tried + 1;
        let wanted = self.wanted(tally.failing)?;
        match self.size {
            Size::Trials { .. } | Size::Budget { .. } => (next <= wanted).then_some(next),
            Size::UntilUpper { .. } => {
                let void = tally.void.saturating_sub(under_way);
                // So many void ones are more than a tenth, however many valid ones follow.
                let hopeless = void * (VOID_ONE_IN - 1) > wanted;
                (!hopeless && tally.valid() + under_way < wanted).then_some(next)
            }
        }
    }
}

/// The upper bound on the share of failing trials, in millionths, rounded up.
#[must_use]
pub fn upper_ppm(failing: u32, valid: u32) -> Known<u64> {
    match clopper_pearson::upper(u64::from(failing), u64::from(valid), LEVEL) {
        Ok(upper) => Known::Value((upper * 1e6).ceil() as u64),
        Err(_) => Known::unknown("no valid trial"),
    }
}

/// What may be claimed of the share of failing schedules: the upper bound at 95 %, in millionths; or
/// why nothing may be.
///
/// With several boundaries ([`Size::UntilUpper`] with allowed failures) the number of trials depends
/// on what they came to. The boundaries are corrected for that, and the claim is the bound they were
/// made for; the exact bound of k and n is not, and would be too low.
#[must_use]
pub fn claim_ppm(plan: &Plan, tally: Tally) -> Known<u64> {
    if tally.too_many_void() {
        return Known::unknown("more than one trial in ten is void");
    }
    match &plan.size {
        Size::UntilUpper {
            upper_ppm,
            boundaries,
        } if boundaries.len() > 1 => match boundaries.get(tally.failing as usize) {
            Some(wanted) if tally.valid() >= *wanted => Known::Value(u64::from(*upper_ppm)),
            Some(wanted) => Known::unknown(format!(
                "{} of the {wanted} valid trials that the rule asks for",
                tally.valid()
            )),
            None => Known::unknown("more failed than the rule allows"),
        },
        _ => upper_ppm(tally.failing, tally.valid()),
    }
}

/// The lower bound, in millionths, rounded down.
#[must_use]
pub fn lower_ppm(failing: u32, valid: u32) -> Known<u64> {
    match clopper_pearson::lower(u64::from(failing), u64::from(valid), LEVEL) {
        Ok(lower) => Known::Value((lower * 1e6).floor() as u64),
        Err(_) => Known::unknown("no valid trial"),
    }
}

/// Millionths as a percentage that never looks better than it is: `4.96 %`.
#[must_use]
pub fn percent_up(ppm: u64) -> String {
    // Hundredths of a percent, rounded up.
    let hundredths = ppm.div_ceil(100);
    let text = format!("{}.{:02}", hundredths / 100, hundredths % 100);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Fills in verdict, exit code and reasons.
pub fn conclude(record: &mut CampaignRecord) {
    let tally = Tally::of(&record.trials);
    let short = short_of(record, tally);
    let mut reasons = Vec::new();
    let mut codes = Vec::new();
    if tally.failing > record.plan.allow_failures {
        codes.push(ExitCode::Missed);
        reasons.push(missed(record, tally));
    }
    if tally.too_many_void() {
        codes.push(ExitCode::Inconclusive);
        reasons.push(format!(
            "{} of {} trials are void, more than one in ten: nothing is concluded from the others.",
            tally.void, tally.tried
        ));
    }
    if let Some(short) = short {
        codes.push(ExitCode::Inconclusive);
        reasons.push(short);
    } else if record.interrupted {
        codes.push(ExitCode::Inconclusive);
        reasons.push("It was interrupted after its last trial; --resume ends it.".into());
    }
    if codes.is_empty() {
        codes.push(ExitCode::Pass);
        reasons.push(held(record, tally));
    }
    record.exit_code = ExitCode::decide(codes);
    record.verdict = match record.exit_code {
        ExitCode::Pass => Verdict::Pass,
        ExitCode::Missed => Verdict::Fail,
        _ => Verdict::Inconclusive,
    };
    record.reasons = reasons;
}

/// Why n is short of what was planned, if it is.
fn short_of(record: &CampaignRecord, tally: Tally) -> Option<String> {
    let wanted = record.plan.wanted(tally.failing)?;
    let (there, what) = match record.plan.size {
        Size::UntilUpper { .. } => (tally.valid(), "valid trials"),
        Size::Trials { .. } | Size::Budget { .. } => (tally.tried, "trials"),
    };
    if matches!(record.plan.size, Size::Budget { trials: 0, .. }) {
        return Some("The pilot told nothing, so no number of trials was fixed.".into());
    }
    if tally.valid() == 0 && record.interrupted {
        return Some("It was interrupted before any trial was valid; --resume goes on.".into());
    }
    if tally.valid() == 0 {
        return Some("No trial is valid: there is nothing to conclude from.".into());
    }
    (there < wanted).then(|| {
        let why = if record.interrupted {
            "it was interrupted, and --resume goes on"
        } else {
            "it ended before"
        };
        format!("Only {there} of {wanted} {what} were done: {why}.")
    })
}

fn missed(record: &CampaignRecord, tally: Tally) -> String {
    let allowed = match record.plan.allow_failures {
        0 => String::new(),
        n => format!(", and {n} may"),
    };
    let lower = lower_ppm(tally.failing, tally.valid());
    let lower = lower.value().map_or_else(String::new, |ppm| {
        format!(
            " At 95 %, more than {} of the schedules drawn from this menu fail.",
            percent_down(*ppm)
        )
    });
    let mut classes: Vec<&str> = record
        .trials
        .iter()
        .flat_map(|trial| &trial.failures)
        .map(|failure| failure.class.as_str())
        .collect();
    classes.sort_unstable();
    classes.dedup();
    format!(
        "{} of {} valid {} failed{allowed} ({}).{lower}",
        tally.failing,
        tally.valid(),
        if tally.valid() == 1 {
            "trial"
        } else {
            "trials"
        },
        classes.join(", ")
    )
}

/// Millionths as a percentage, rounded down.
#[must_use]
pub fn percent_down(ppm: u64) -> String {
    percent_up(ppm / 100 * 100)
}

fn held(record: &CampaignRecord, tally: Tally) -> String {
    let lost: u64 = record.trials.iter().map(|trial| trial.counts.lost).sum();
    let failed = match tally.failing {
        0 => "None".to_owned(),
        n => format!("{n}"),
    };
    let upper = claim_ppm(&record.plan, tally);
    let bound = upper.value().map_or_else(String::new, |ppm| {
        format!(
            ": with 95 % confidence fewer than {} of the schedules drawn from this menu fail",
            percent_up(*ppm)
        )
    });
    let lost = if lost == 0 {
        String::new()
    } else {
        format!("; {} lost in all", plural(lost, "event"))
    };
    format!(
        "{failed} of {} valid trials failed{bound}{lost}.",
        tally.valid()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trials(outcomes: &str) -> Vec<Trial> {
        outcomes
            .chars()
            .zip(1..)
            .map(|(c, number)| Trial {
                number,
                outcome: match c {
                    'p' => Outcome::Passed,
                    'f' => Outcome::Failed,
                    _ => Outcome::Void,
                },
                ..Trial::default()
            })
            .collect()
    }

    fn concluded(size: Size, allow: u32, outcomes: &str) -> CampaignRecord {
        let mut record = CampaignRecord {
            plan: Plan {
                size,
                allow_failures: allow,
                ..Plan::default()
            },
            trials: trials(outcomes),
            ..CampaignRecord::default()
        };
        conclude(&mut record);
        record
    }

    fn fixed(trials: u32) -> Size {
        Size::Trials { trials }
    }

    #[test]
    fn fifty_nine_without_a_failure_are_below_five_percent() {
        let record = concluded(fixed(59), 0, &"p".repeat(59));
        assert_eq!(record.exit_code, ExitCode::Pass);
        assert!(
            record.reasons[0].contains("fewer than 4.96 %"),
            "{:?}",
            record.reasons
        );
        assert_eq!(
            upper_ppm(0, 31)
                .value()
                .map(|ppm| percent_up(*ppm))
                .unwrap(),
            "9.22 %"
        );
        assert_eq!(percent_up(50_000), "5 %");
        assert_eq!(percent_up(49_501), "4.96 %");
    }

    #[test]
    fn void_withdraws_a_pass_and_never_a_failure() {
        let record = concluded(fixed(10), 0, "ppppfpppvp");
        assert_eq!(record.exit_code, ExitCode::Missed);
        assert!(
            record.reasons[0].starts_with("1 of 9 valid trials failed"),
            "{:?}",
            record.reasons
        );
        // Two of ten void are too many; a failure still beats that.
        assert_eq!(
            concluded(fixed(10), 0, "ppppppppvv").exit_code,
            ExitCode::Inconclusive
        );
        assert_eq!(
            concluded(fixed(10), 0, "pppppppfvv").exit_code,
            ExitCode::Missed
        );
        assert_eq!(
            concluded(fixed(10), 0, "pppppppppv").exit_code,
            ExitCode::Pass
        );
        assert_eq!(
            concluded(fixed(1), 0, "v").exit_code,
            ExitCode::Inconclusive
        );
    }

    #[test]
    fn allowed_failures_are_allowed_and_a_short_campaign_is_inconclusive() {
        assert_eq!(
            concluded(fixed(10), 1, "ppppppppfp").exit_code,
            ExitCode::Pass
        );
        assert_eq!(
            concluded(fixed(10), 1, "ppppppffpp").exit_code,
            ExitCode::Missed
        );
        let short = concluded(fixed(10), 0, "ppp");
        assert_eq!(short.exit_code, ExitCode::Inconclusive);
        assert!(
            short.reasons[0].starts_with("Only 3 of 10"),
            "{:?}",
            short.reasons
        );
        assert_eq!(concluded(fixed(10), 0, "pfp").exit_code, ExitCode::Missed);
    }

    #[test]
    fn a_claim_ends_with_the_first_failure_that_is_not_allowed() {
        let plan = |boundaries: &[u32]| Plan {
            size: Size::UntilUpper {
                upper_ppm: 50_000,
                boundaries: boundaries.to_vec(),
            },
            ..Plan::default()
        };
        let strict = plan(&[5]);
        assert_eq!(strict.next(&trials("pppp"), 0), Some(5));
        assert_eq!(strict.next(&trials("ppppp"), 0), None);
        assert_eq!(strict.next(&trials("pf"), 0), None);
        // A void one is replaced by the next seed, up to a tenth.
        let fifteen = format!("{}v", "p".repeat(14));
        assert_eq!(plan(&[15]).next(&trials(&fifteen), 0), Some(16));
        assert_eq!(strict.next(&trials("ppppv"), 0), None);
        assert_eq!(plan(&[59]).next(&trials(&"v".repeat(7)), 0), None);
        // One that is under way may pass yet.
        assert_eq!(plan(&[15]).next(&trials(&fifteen), 1), None);
        let lenient = plan(&[3, 6]);
        assert_eq!(lenient.next(&trials("ppf"), 0), Some(4));
        assert_eq!(lenient.next(&trials("ppfppp"), 0), None);
        assert_eq!(lenient.next(&trials("pff"), 0), None);
        assert_eq!(lenient.next(&trials("ppp"), 0), None);
    }

    #[test]
    fn what_was_stopped_by_its_results_claims_what_it_was_corrected_for() {
        let until = |boundaries: &[u32]| Size::UntilUpper {
            upper_ppm: 50_000,
            boundaries: boundaries.to_vec(),
        };
        let passing = |n: usize| "p".repeat(n);
        let several = concluded(until(&[72, 109, 141]), 2, &passing(72));
        assert_eq!(several.exit_code, ExitCode::Pass);
        assert!(
            several.reasons[0].contains("fewer than 5 %"),
            "{:?}",
            several.reasons
        );
        let one = concluded(until(&[72, 109, 141]), 2, &(passing(108) + "f"));
        assert!(
            one.reasons[0].contains("fewer than 5 %"),
            "{:?}",
            one.reasons
        );
        let single = concluded(until(&[59]), 0, &passing(59));
        assert!(single.reasons[0].contains("fewer than 4.96 %"));
        // Short of its boundary, or past the last one, it claims nothing.
        let claim = |outcomes: &str| {
            let record = concluded(until(&[72, 109, 141]), 2, outcomes);
            claim_ppm(&record.plan, Tally::of(&record.trials))
        };
        assert!(claim(&passing(71)).value().is_none());
        assert!(claim(&(passing(140) + "fff")).value().is_none());
    }

    #[test]
    fn too_many_void_trials_claim_nothing() {
        let record = concluded(fixed(10), 0, "ppppppppvv");
        let claim = claim_ppm(&record.plan, Tally::of(&record.trials));
        assert!(claim.reason().unwrap().contains("void"));
    }

    #[test]
    fn what_is_interrupted_passes_nothing() {
        let interrupted = |allow: u32, outcomes: &str| {
            let mut record = concluded(fixed(10), allow, outcomes);
            record.interrupted = true;
            conclude(&mut record);
            (record.exit_code, record.reasons)
        };
        // All trials done, one of them failing as it may: the shrinker was interrupted.
        let (code, reasons) = interrupted(1, "pppppppppf");
        assert_eq!(code, ExitCode::Inconclusive);
        assert!(reasons[0].contains("interrupted"), "{reasons:?}");
        assert_eq!(interrupted(0, "ppp").0, ExitCode::Inconclusive);
        let (code, reasons) = interrupted(0, "");
        assert_eq!(code, ExitCode::Inconclusive);
        assert!(reasons[0].contains("before any trial"), "{reasons:?}");
        assert_eq!(interrupted(0, "pppppppppf").0, ExitCode::Missed);
    }

    #[test]
    fn a_fixed_number_is_tried_whatever_comes() {
        let plan = Plan {
            size: fixed(4),
            ..Plan::default()
        };
        assert_eq!(plan.next(&trials("ffv"), 1), Some(4));
        assert_eq!(plan.next(&trials("ffvp"), 0), None);
    }
}
