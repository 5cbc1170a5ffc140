//! The renderings of a campaign: terminal, Markdown, CSV, JUnit, and the reliability report as a
//! page. Each reads the record and nothing else.

mod csv;
mod html;
mod junit;
mod markdown;
mod openmetrics;
#[cfg(test)]
pub(in crate::campaign) mod samples;
mod terminal;
mod words;

use super::CampaignRecord;
use super::analysis::analyse;
use crate::format::{Error, Rendered};

/// The names of the formats.
pub const FORMATS: [&str; 7] = [
    "csv",
    "html",
    "json",
    "junit",
    "markdown",
    "openmetrics",
    "terminal",
];

/// Renders a record; `None` where there is no format of that name. Text is for `width` columns.
///
/// # Errors
/// Only by a defect of ours.
pub fn render(
    record: &CampaignRecord,
    format: &str,
    width: usize,
    colour: bool,
) -> Option<Result<Vec<Rendered>, Error>> {
    let analysis = analyse(record);
    let one = |file_name: &'static str, text: String| vec![Rendered { file_name, text }];
    Some(match format {
        "csv" => csv::render(&analysis),
        "html" => html::render(&analysis).map(|text| one("reliability.html", text)),
        "json" => super::to_text(record)
            .map(|text| one("campaign.json", text))
            .map_err(|error| Error::Page {
                reason: error.to_string(),
            }),
        "junit" => Ok(one("junit.xml", junit::render(&analysis))),
        "markdown" => Ok(one("reliability.md", markdown::render(&analysis))),
        "openmetrics" => Ok(one("campaign.om", openmetrics::render(&analysis))),
        "terminal" => Ok(one(
            "reliability.txt",
            terminal::render(&analysis, width, colour),
        )),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(record: &CampaignRecord, format: &str) -> String {
        let all = render(record, format, 100, false).unwrap().unwrap();
        all.into_iter().map(|one| one.text).collect()
    }

    #[test]
    fn every_format_shows_every_record_and_the_same_twice() {
        for record in [
            CampaignRecord::default(),
            samples::clean(59),
            samples::losing(),
        ] {
            for format in FORMATS {
                let shown = text(&record, format);
                assert!(!shown.is_empty(), "{format}");
                assert_eq!(shown, text(&record, format), "{format}");
            }
        }
        assert!(render(&CampaignRecord::default(), "pdf", 80, false).is_none());
    }

    #[test]
    fn open_metrics_keep_to_their_rules_and_leave_out_what_nobody_knows() {
        let shown = |record: &CampaignRecord| {
            let shown = text(record, "openmetrics");
            assert_eq!(
                crate::openmetrics::checker::problems(&shown),
                [""; 0],
                "{shown}"
            );
            shown
        };
        shown(&CampaignRecord::default());
        let clean = shown(&samples::clean(59));
        assert!(
            clean.contains("flume_bench_campaign_failing_upper_bound_ratio 0.049"),
            "{clean}"
        );
        assert!(
            clean.contains("campaign_trials{outcome=\"passed\"} 59"),
            "{clean}"
        );
        let losing = shown(&samples::losing());
        assert!(
            losing.contains("campaign_events_total{class=\"lost\"} 40"),
            "{losing}"
        );
    }

    #[test]
    fn all_say_how_many_failed_and_how_sure_that_is() {
        let clean = samples::clean(59);
        for format in ["html", "markdown", "terminal"] {
            let shown = text(&clean, format);
            assert!(shown.contains("4.96 %"), "{format}: {shown}");
        }
        let losing = samples::losing();
        for format in ["html", "markdown", "terminal", "junit"] {
            let shown = text(&losing, format)
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ");
            assert!(shown.contains("smallest-1.toml"), "{format}: {shown}");
            assert!(shown.contains("9 of 10"), "{format}: {shown}");
        }
    }

    #[test]
    fn the_page_says_when_as_that_of_a_run_does() {
        let page = text(&samples::clean(3), "html");
        assert!(page.contains("<span>1 January 2026, 12:30 UTC</span>"));
        assert!(page.contains("1 January 2026, 13:00 UTC"));
        assert!(!page.contains("2026-01-01T"), "{page}");
    }

    #[test]
    fn an_inconclusive_campaign_does_not_look_green() {
        let mut record = samples::clean(20);
        for trial in record.trials.iter_mut().take(4) {
            trial.outcome = crate::campaign::Outcome::Void;
        }
        crate::campaign::conclude::conclude(&mut record);
        assert_eq!(record.verdict, crate::verdict::Verdict::Inconclusive);
        let junit = text(&record, "junit");
        let guarantees = junit.split("</testsuite>").next().unwrap();
        assert_eq!(guarantees.matches("<testcase").count(), 2);
        assert_eq!(guarantees.matches("<skipped").count(), 2, "{guarantees}");
        for format in ["html", "markdown", "terminal"] {
            let shown = text(&record, format)
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ");
            assert!(!shown.contains("No promise was broken"), "{format}");
            assert!(shown.contains("no upper bound"), "{format}: {shown}");
            assert!(!shown.contains("upper bound 1"), "{format}");
        }
        for trial in &mut record.trials {
            trial.outcome = crate::campaign::Outcome::Void;
        }
        crate::campaign::conclude::conclude(&mut record);
        let shown = text(&record, "markdown");
        assert!(
            shown.contains("None of these runs shows anything"),
            "{shown}"
        );
    }

    #[test]
    fn a_failure_that_is_allowed_is_not_red() {
        let mut record = samples::losing();
        record
            .trials
            .retain(|trial| trial.outcome != crate::campaign::Outcome::Void);
        record.plan.allow_failures = 1;
        record.plan.size = crate::campaign::Size::Trials { trials: 11 };
        crate::campaign::conclude::conclude(&mut record);
        assert_eq!(
            record.verdict,
            crate::verdict::Verdict::Pass,
            "{:?}",
            record.reasons
        );
        let junit = text(&record, "junit");
        assert!(!junit.contains("<failure"), "{junit}");
        assert!(junit.contains("failed, as it may: 40 of 990"), "{junit}");
        record.plan.allow_failures = 0;
        crate::campaign::conclude::conclude(&mut record);
        assert_eq!(text(&record, "junit").matches("<failure").count(), 2);
    }

    /// What a short budget leaves is a scenario that fails, and not the smallest one.
    #[test]
    fn what_was_not_shrunk_is_not_called_the_smallest() {
        let mut record = samples::losing();
        let third = record.trials.iter().find(|trial| trial.number == 3);
        let schedule = third.unwrap().schedule.clone();
        record.shrunk[0] = crate::campaign::Shrunk {
            replays: [3, 3],
            wanted: None,
            complete: false,
            schedule,
            rate_after: record.shrunk[0].rate_before.clone(),
            confirmed: None,
            file: "failing-1.toml".into(),
            sentence: "fails 3 of 3, not shrunk: the budget ended".into(),
            ..record.shrunk[0].clone()
        };
        let of = |record: &CampaignRecord, format: &str| {
            let shown = text(record, format);
            shown.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        for format in ["html", "markdown", "terminal", "junit"] {
            let shown = of(&record, format);
            assert!(
                shown.contains("Failing scenario, not shrunk"),
                "{format}: {shown}"
            );
            assert!(!shown.contains("Smallest scenario"), "{format}: {shown}");
            assert!(!shown.contains("he smallest way"), "{format}: {shown}");
        }
        record.shrunk[0].schedule.truncate(1);
        for format in ["html", "markdown", "terminal", "junit"] {
            let shown = of(&record, format);
            assert!(
                shown.contains("Smallest scenario so far"),
                "{format}: {shown}"
            );
        }
        // A shorter fault is a smaller one, too.
        let third = record.trials.iter().find(|trial| trial.number == 3);
        record.shrunk[0].schedule = third.unwrap().schedule.clone();
        record.shrunk[0].schedule[0].for_us /= 2;
        assert!(of(&record, "terminal").contains("Smallest scenario so far"));
    }

    #[test]
    fn what_no_fresh_run_bears_out_is_not_announced() {
        let mut record = samples::losing();
        assert!(text(&record, "markdown").contains("The smallest way found"));
        record.shrunk[0].confirmed = Some([0, 10]);
        assert!(!text(&record, "markdown").contains("The smallest way found"));
    }

    #[test]
    fn text_fits_its_width_and_markup_is_escaped() {
        let mut record = samples::losing();
        record.identity.scenario = "<script>alert(1)</script>".into();
        record.trials[0].failures[0].sentence = "a & b < \"c\" | d".into();
        for line in text(&record, "terminal").lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
        for format in ["html", "junit"] {
            assert!(!text(&record, format).contains("<script>"), "{format}");
        }
        assert!(text(&record, "junit").contains("a &amp; b &lt; &quot;c&quot;"));
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        let page = text(&samples::losing(), "html");
        for outside in ["<script", "http://", "https://", "<img", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(
            page.contains(".pairs > div {"),
            "the style is no style any more"
        );
        for heading in [
            "In short",
            "What was claimed",
            "What was tried",
            "What was seen",
            "How it came back",
            "How sure that is",
            "What was not tried",
        ] {
            assert!(page.contains(heading), "{heading}");
        }
    }
}
