//! The ways to show a soak: text for a terminal, JSON, OpenMetrics, and a page with figures. Each reads the record
//! and nothing else; the same record gives the same bytes.

mod html;
mod openmetrics;
mod terminal;

use super::growth::Growth;
use super::{Round, SoakRecord};
use crate::format::{Error, Rendered};
use crate::show;
use crate::verdict::Verdict;

/// The names of the formats.
pub const FORMATS: [&str; 4] = ["html", "json", "openmetrics", "terminal"];

/// Rows of the table of rounds at most; those that did not pass come first.
const ROUNDS: usize = 40;

/// Renders a record; `None` where there is no format of that name. Text is for `width` columns.
///
/// # Errors
/// Only by a defect of ours.
pub fn render(
    record: &SoakRecord,
    format: &str,
    width: usize,
    colour: bool,
) -> Option<Result<Vec<Rendered>, Error>> {
    let one = |file_name: &'static str, text: String| vec![Rendered { file_name, text }];
    Some(match format {
        "html" => html::html(record).map(|text| one("soak.html", text)),
        "json" => super::to_text(record)
            .map(|text| one("soak.json", text))
            .map_err(Error::Record),
        "openmetrics" => Ok(one("soak.om", openmetrics::openmetrics(record))),
        "terminal" => Ok(one("soak.txt", terminal::terminal(record, width, colour))),
        _ => return None,
    })
}

/// A table: its heading, and its rows.
struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

/// Pairs of words about the soak as a whole.
fn facts(record: &SoakRecord) -> Vec<(&'static str, String)> {
    let sum = |of: fn(&Round) -> u64| show::count(record.sum(of));
    let spread = |of: &dyn Fn(&Round) -> Option<u64>| {
        let mut all: Vec<u64> = record.rounds.iter().filter_map(of).collect();
        all.sort_unstable();
        match (all.first(), all.get(all.len() / 2), all.last()) {
            (Some(least), Some(middle), Some(most)) => format!(
                "{} to {}, {} in the middle round",
                show::duration(*least),
                show::duration(*most),
                show::duration(*middle)
            ),
            _ => "unknown".to_owned(),
        }
    };
    vec![
        ("system", format!("{} into {}", record.sut, record.store)),
        (
            "time",
            format!(
                "{} of {} asked for, in {} rounds of {} of load",
                show::duration(record.lasted_us),
                show::duration(record.asked_us),
                record.rounds.len(),
                show::duration(record.round_us)
            ),
        ),
        (
            "rounds",
            format!(
                "{} passed, {} failed, {} inconclusive",
                record.with(Verdict::Pass),
                record.with(Verdict::Fail),
                record.with(Verdict::Inconclusive)
            ),
        ),
        (
            "events",
            format!(
                "{} issued, {} owed, {} stored, {} lost, {} unpublished, {} duplicated, {} copies rounds later",
                sum(|round| round.issued),
                sum(|round| round.owed),
                sum(|round| round.stored),
                sum(|round| round.lost),
                sum(|round| round.unpublished),
                sum(|round| round.duplicated),
                sum(|round| round.late)
            ),
        ),
        ("faults", sum(|round| round.faults)),
        (
            "stored, p99",
            spread(&|round| round.stored_response_us_p99.value().copied()),
        ),
        (
            "drained within",
            spread(&|round| round.drained_us.value().copied()),
        ),
        (
            "taken out",
            format!(
                "{} files of the store ({}), each after its round was judged",
                show::count(record.removed_files),
                show::bytes(record.removed_bytes)
            ),
        ),
    ]
}

/// One row a metric.
fn growth(record: &SoakRecord) -> Table {
    let row = |growth: &Growth| {
        let slope = |of: &dyn Fn(&super::growth::Slope) -> i64| {
            show::known(&growth.slope_per_h, |slope| {
                growth.metric.show_slope(of(slope))
            })
        };
        vec![
            format!(
                "{} of the {}",
                growth.metric.as_str(),
                growth.holder.as_str()
            ),
            growth.outcome.as_str().to_owned(),
            show::known(&growth.most, |most| growth.metric.show(*most)),
            slope(&|slope| slope.estimate),
            slope(&|slope| slope.low),
            slope(&|slope| slope.high),
        ]
    };
    Table {
        head: vec!["what", "outcome", "highest", "slope", "at least", "at most"],
        rows: record.growth.iter().map(row).collect(),
    }
}

/// What the slopes are made from, or why there are none; a sentence for all that are alike.
fn bases(record: &SoakRecord) -> Vec<String> {
    let mut all: Vec<(String, Vec<String>)> = Vec::new();
    for growth in &record.growth {
        let name = format!(
            "{} of the {}",
            growth.metric.as_str(),
            growth.holder.as_str()
        );
        let basis = match growth.slope_per_h.reason() {
            Some(why) => format!("unknown, because {why}"),
            None => format!(
                "{} values, the {}, over {}",
                growth.points,
                growth.basis,
                show::duration(growth.judged_us)
            ),
        };
        match all.iter_mut().find(|(known, _)| *known == basis) {
            Some((_, names)) => names.push(name),
            None => all.push((basis, vec![name])),
        }
    }
    let several = all.len() > 1;
    all.into_iter()
        .map(|(basis, names)| match several {
            true => format!("{}: {basis}.", names.join(", ")),
            false => format!("Each: {basis}."),
        })
        .collect()
}

/// The rounds that did not pass, then the others, as many as are read.
fn rounds(record: &SoakRecord) -> (Table, usize) {
    let mut all: Vec<&Round> = record.rounds.iter().collect();
    all.sort_by_key(|round| (std::cmp::Reverse(round.verdict), round.number));
    let left = all.len().saturating_sub(ROUNDS);
    all.truncate(ROUNDS);
    all.sort_by_key(|round| round.number);
    let row = |round: &&Round| {
        vec![
            round.number.to_string(),
            round.verdict.as_str().to_owned(),
            show::instant(round.start_us),
            show::count(round.owed),
            show::count(round.lost),
            show::count(round.unpublished),
            show::count(round.faults),
            show::known(&round.stored_response_us_p99, |us| show::duration(*us)),
            show::known(&round.drained_us, |us| show::duration(*us)),
        ]
    };
    let table = Table {
        head: vec![
            "round",
            "verdict",
            "at",
            "owed",
            "lost",
            "unpublished",
            "faults",
            "p99",
            "drained",
        ],
        rows: all.iter().map(row).collect(),
    };
    (table, left)
}

/// Where something of a round is kept, those that did not pass only.
fn kept(record: &SoakRecord) -> Vec<String> {
    record
        .rounds
        .iter()
        .filter(|round| round.verdict != Verdict::Pass)
        .filter_map(|round| Some((round, round.kept.as_ref()?)))
        .take(ROUNDS)
        .map(|(round, kept)| format!("round {}: {} ({kept})", round.number, round.reason))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;

    fn text(record: &SoakRecord, format: &str) -> String {
        let all = render(record, format, 100, false).unwrap().unwrap();
        all.into_iter().map(|one| one.text).collect()
    }

    #[test]
    fn every_format_shows_every_record_and_the_same_twice() {
        for record in [SoakRecord::default(), sample(0), sample(1 << 20)] {
            for format in FORMATS {
                let shown = text(&record, format);
                assert!(!shown.is_empty(), "{format}");
                assert_eq!(shown, text(&record, format), "{format}");
            }
        }
        assert!(render(&SoakRecord::default(), "pdf", 80, false).is_none());
    }

    #[test]
    fn open_metrics_keep_to_their_rules() {
        for record in [SoakRecord::default(), sample(0), sample(1 << 20)] {
            let shown = text(&record, "openmetrics");
            assert_eq!(
                crate::openmetrics::checker::problems(&shown),
                [""; 0],
                "{shown}"
            );
        }
        let shown = text(&sample(0), "openmetrics");
        assert!(
            shown.contains("soak_memory_most_bytes{holder=\"agent\"} "),
            "{shown}"
        );
        assert!(
            shown.contains("soak_rounds{verdict=\"pass\"} 12"),
            "{shown}"
        );
    }

    #[test]
    fn people_read_the_slopes_with_their_bounds() {
        let record = sample(1 << 20);
        for format in ["html", "terminal"] {
            let shown = text(&record, format)
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
                .replace("&#x2f;", "/");
            for words in [
                "The memory of the agent grows",
                "GiB/h",
                "descriptors of the agent",
                "memory of the harness",
                "12 passed, 0 failed",
                "10 values, the lowest value of each round",
            ] {
                assert!(shown.contains(words), "{format}: {words} is not in {shown}");
            }
        }
    }

    #[test]
    fn what_is_not_published_is_shown_in_each_format() {
        let mut record = sample(0);
        record.rounds[4].unpublished = 4_321;
        let plain = |format: &str| {
            let shown = text(&record, format);
            shown.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        for format in ["html", "terminal"] {
            let shown = plain(format);
            assert!(shown.contains("4,321 unpublished"), "{format}: {shown}");
            assert_eq!(shown.matches("4,321").count(), 2, "{format}: {shown}");
        }
        let shown = plain("openmetrics");
        assert!(shown.contains("{class=\"unpublished\"} 4321"), "{shown}");
    }

    #[test]
    fn the_page_has_its_figures_is_escaped_and_needs_nothing_from_elsewhere() {
        let page = text(&sample(0), "html");
        assert!(page.matches("<figure").count() >= 3, "figures are missing");
        assert!(page.contains("&lt;b&gt;") && !page.contains("<b>"));
        for outside in ["<script", "http://", "https://", "<img", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn the_page_says_when_as_that_of_a_run_does() {
        let page = text(&sample(0), "html");
        assert!(page.contains("<span>1 January 2026, 12:30 UTC</span>"));
        assert!(!page.contains("2026-01-01T"), "{page}");
    }

    #[test]
    fn of_many_rounds_those_that_did_not_pass_are_shown() {
        let mut record = sample(0);
        let pattern = record.rounds[0].clone();
        record.rounds = (1..=500)
            .map(|number| Round {
                number,
                verdict: if number == 333 {
                    Verdict::Fail
                } else {
                    Verdict::Pass
                },
                ..pattern.clone()
            })
            .collect();
        let (table, left) = rounds(&record);
        assert_eq!((table.rows.len(), left), (ROUNDS, 460));
        assert!(
            table
                .rows
                .iter()
                .any(|row| row[0] == "333" && row[1] == "fail")
        );
    }
}
