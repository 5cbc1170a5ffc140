//! A campaign without runs: what is refused, and what is fixed before the first trial.

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
            "comes_back"
        ]
    );
    assert_eq!(take_up(&dir, &scenario).unwrap(), record);
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
    let refused = |text: &str| take_up(&dir, &scenario(text)).unwrap_err()[0].to_string();
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
