//! A campaign without runs: what is refused, and what is fixed before the first trial.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::tools::Tools;

const TEXT: &str = r#"seed = 7
[sut]
driver = "decoy"
[load]
into = "netcat"
rate = "1000/s"
[store]
kind = "files"
[phases]
steady = "10s"
[objectives]
lost = 0
[campaign]
warm_up = "1s"
steady = "4s"
[[campaign.menu]]
kind = "kill"
targets = ["agent"]
at = ["1s", "3s"]
for = ["100ms", "1s"]
"#;

fn scenario(text: &str) -> Scenario {
    load_text(Path::new("x.toml"), text).unwrap()
}

fn options(runs: &Path) -> Options {
    Options {
        runs: runs.to_owned(),
        run_id: None,
        keep_going: false,
        quiet: true,
        command_line: vec!["flume-bench".into(), "campaign".into(), "x.toml".into()],
        tools: Tools {
            program: "flume-bench".into(),
            agent_program: None,
            check_agent: |_, _, _| Vec::new(),
        },
        interrupted: Arc::default(),
    }
}

fn request(wanted: Wanted) -> Request {
    Request {
        wanted,
        allow_failures: 0,
        jobs: 1,
        resume: None,
        shrink_budget: Duration::ZERO,
    }
}

#[test]
fn what_cannot_be_done_is_refused_all_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(directory.path());
    let without = TEXT.split("[campaign]").next().unwrap();
    let wrong = Request {
        jobs: 9,
        ..request(Wanted::Trials(0))
    };
    let said: Vec<String> = check(&scenario(without), &wrong, &options)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said[0].contains("--trials 0") && said[1].contains("--jobs 9"));
    assert!(said[2].contains("has no [campaign]"), "{said:?}");
    for wanted in [Wanted::UntilUpper(5.0), Wanted::Budget(Duration::ZERO)] {
        assert_eq!(check(&scenario(TEXT), &request(wanted), &options).len(), 1);
    }
    assert!(
        check(
            &scenario(TEXT),
            &request(Wanted::UntilUpper(0.05)),
            &options
        )
        .is_empty()
    );
}

#[test]
fn n_is_fixed_and_the_record_written_before_the_first_trial() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(directory.path());
    let scenario = scenario(TEXT);
    let campaign = scenario.campaign.as_ref().unwrap();
    let until = Request {
        allow_failures: 2,
        ..request(Wanted::UntilUpper(0.05))
    };
    let (dir, record) = begin(&scenario, campaign, &until, &options, &|_| {}).unwrap();
    assert_eq!(
        record.plan.size,
        Size::UntilUpper {
            upper_ppm: 50_000,
            boundaries: vec![72, 109, 141]
        }
    );
    assert!(record.interrupted);
    assert_eq!(record.plan.menu[0].at_us, [1_000_000, 3_000_000]);
    assert_eq!(
        record.plan.guarantees,
        [
            "at_least_once",
            "intact",
            "nothing_invented",
            "published",
            "taken",
            "comes_back"
        ]
    );
    assert_eq!(take_up(&dir, &scenario, &options.tools).unwrap(), record);
}

#[test]
fn another_campaign_is_not_taken_up() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(directory.path());
    let first = scenario(TEXT);
    let campaign = first.campaign.as_ref().unwrap();
    let (dir, _) = begin(
        &first,
        campaign,
        &request(Wanted::Trials(3)),
        &options,
        &|_| {},
    )
    .unwrap();
    let refused =
        |text: &str| take_up(&dir, &scenario(text), &options.tools).unwrap_err()[0].to_string();
    assert!(refused(&TEXT.replace("seed = 7", "seed = 8")).contains("the seed is another one"));
    assert!(
        refused(&TEXT.replace("1000/s", "900/s")).contains("scenario, with overrides has changed")
    );
    let record = std::fs::read_to_string(dir.join(RECORD)).unwrap();
    std::fs::write(dir.join(RECORD), &record[..record.len() / 2]).unwrap();
    assert!(refused(TEXT).contains("cut off"));
    std::fs::remove_file(dir.join(RECORD)).unwrap();
    assert!(refused(TEXT).contains("--resume wants a campaign's directory"));
}

#[test]
fn another_build_does_not_go_on_with_a_campaign() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = options(directory.path());
    options.tools.program = directory.path().join("program");
    std::fs::write(&options.tools.program, "one build").unwrap();
    let scenario = scenario(TEXT);
    let campaign = scenario.campaign.as_ref().unwrap();
    let wanted = request(Wanted::Trials(3));
    let (dir, _) = begin(&scenario, campaign, &wanted, &options, &|_| {}).unwrap();
    take_up(&dir, &scenario, &options.tools).unwrap();
    std::fs::write(&options.tools.program, "another build").unwrap();
    let refused = take_up(&dir, &scenario, &options.tools).unwrap_err();
    assert!(refused[0].to_string().contains("the program has changed"));
}

/// A campaign of three trials at work in a directory, none of them done.
fn work<'a>(scenario: &'a Scenario, options: Options, record: CampaignRecord) -> Work<'a> {
    Work {
        scenario,
        campaign: scenario.campaign.as_ref().unwrap(),
        dir: options.runs.clone(),
        options,
        state: Mutex::new(State {
            record,
            under_way: 0,
            problems: Vec::new(),
            unwritten: None,
        }),
        say: &|_| {},
    }
}

#[test]
fn a_record_that_cannot_be_written_ends_the_campaign_with_four() {
    let directory = tempfile::tempdir().unwrap();
    let scenario = scenario(TEXT);
    let campaign = scenario.campaign.as_ref().unwrap();
    let wanted = request(Wanted::Trials(3));
    let first = options(directory.path());
    let (dir, record) = begin(&scenario, campaign, &wanted, &first, &|_| {}).unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    let work = work(&scenario, options(&dir), record);
    let number = work.next().unwrap();
    let passed = Trial {
        number,
        outcome: Outcome::Passed,
        ..Trial::default()
    };
    work.note(passed, true);
    assert_eq!(work.state().under_way, 0);
    assert_eq!(work.next(), None);
    let done = work.end(&wanted).unwrap();
    assert_eq!(done.record.exit_code, ExitCode::HarnessFailed);
    assert!(done.record.reasons[0].contains("could not be written"));
}

#[test]
fn a_campaign_for_which_no_number_was_fixed_is_inconclusive() {
    let directory = tempfile::tempdir().unwrap();
    let scenario = scenario(TEXT);
    let mut record = CampaignRecord::default();
    record.plan.size = Size::Budget {
        budget_us: 1,
        pilot_us: 0,
        trials: 0,
    };
    let work = work(&scenario, options(directory.path()), record);
    assert_eq!(work.next(), None);
    let done = work.end(&request(Wanted::Trials(1))).unwrap();
    assert_eq!(done.record.exit_code, ExitCode::Inconclusive);
    assert!(done.record.reasons[0].contains("The pilot told nothing"));
}
