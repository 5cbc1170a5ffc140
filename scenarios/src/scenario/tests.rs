//! Whole scenarios: what is read from them, and what is said of them.

use std::fs;

use super::*;

const GOOD: &str = r#"seed = 7
[sut]
driver = "decoy"
[load]
into = "netcat"
rate = "1000/s"
[store]
kind = "files"
[phases]
warm_up = "1s"
steady = "10s"
drain_deadline = "1s"
[[fault]]
kind = "slow_link"
link = "generator->agent"
latency = "5ms"
at = "2s"
for = "3s"
every = "5s"
[[fault]]
kind = "kill"
target = "agent"
at = "9s"
for = "1s"
[objectives]
duplicated = 3
stored_response_p99 = "2s"
[objectives.during]
ack_service_p50 = "1s"
"#;

/// A text after `changes`, as a file, read with overrides.
fn load_text(changes: &[(&str, &str)], overrides: &Overrides) -> (Option<Scenario>, Vec<String>) {
    let mut text = GOOD.to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.toml");
    fs::write(&path, text).unwrap();
    let (scenario, problems) = inspect(&path, overrides);
    let prefix = format!("{}/", directory.path().display());
    let show = |problem: &Problem| problem.to_string().replace(&prefix, "");
    (scenario, problems.iter().map(show).collect())
}

fn problems(changes: &[(&str, &str)]) -> Vec<String> {
    load_text(changes, &Overrides::default()).1
}

#[test]
fn a_good_scenario_is_read_with_its_defaults() {
    let (scenario, problems) = load_text(&[], &Overrides::default());
    assert_eq!(problems, Vec::<String>::new());
    let scenario = scenario.unwrap();
    assert_eq!((scenario.name.as_str(), scenario.seed), ("x", 7));
    assert_eq!((scenario.load.batch, scenario.load.connections), (1, 1));
    assert_eq!(scenario.load.body, 480);
    // Quiet is 0.5 s for decoys, and 5 s more than that is the least.
    assert_eq!(scenario.phases.drain_deadline, Duration::from_millis(5500));
    assert!(scenario.phases.drain_raised);
    let faults = &scenario.faults;
    assert_eq!((faults.len(), faults[0].index, faults[1].index), (2, 0, 1));
    assert_eq!(faults[0].every, Some(Duration::from_secs(5)));
    assert_eq!(faults[1].when, When::At(Duration::from_secs(9)));
    assert_eq!(faults[1].kind, "kill");
    assert_eq!(scenario.objectives.limit("lost"), Some(0));
    assert_eq!(scenario.objectives.limit("duplicated"), Some(3));
    assert_eq!(scenario.objectives.latencies.len(), 1);
    assert_eq!(scenario.objectives.during.len(), 1);
}

/// Where none is asked for, there is none to be raised: nobody is told to write a longer one.
#[test]
fn a_drain_deadline_that_was_not_written_is_not_raised() {
    let (scenario, _) = load_text(&[("drain_deadline = \"1s\"\n", "")], &Overrides::default());
    let phases = scenario.unwrap().phases;
    assert_eq!(phases.drain_deadline, Duration::from_secs(20));
    assert!(!phases.drain_raised);
    let slow = "driver = \"command\"\ncommand = [\"true\"]\nquiet = \"40s\"";
    let changes = [
        ("drain_deadline = \"1s\"\n", ""),
        ("driver = \"decoy\"", slow),
    ];
    let (scenario, _) = load_text(&changes, &Overrides::default());
    let phases = scenario.unwrap().phases;
    assert_eq!(phases.drain_deadline, Duration::from_secs(45));
    assert!(!phases.drain_raised);
}

#[test]
fn problems_of_all_sections_come_in_the_order_of_lines() {
    let said = problems(&[
        ("steady = \"10s\"", "steady = 10"),
        ("seed = 7", "seed = -7"),
        ("ack_service_p50", "ack_service_p51"),
        ("target = \"agent\"", "target = \"store\""),
        ("into = \"netcat\"", "into = \"avro\""),
        ("kind = \"slow_link\"", "kind = \"slow\""),
    ]);
    let places: Vec<&str> = said
        .iter()
        .map(|said| said.split(": ").next().unwrap())
        .collect();
    let expected = [
        "x.toml:1",
        "x.toml:5",
        "x.toml:11",
        "x.toml:14",
        "x.toml:22",
        "x.toml:29",
    ];
    assert_eq!(places, expected, "{said:#?}");
}

/// What a fault says about its time is said even when its kind is wrong, and the other way round.
#[test]
fn one_mistake_does_not_hide_another_in_the_same_fault() {
    let said = problems(&[
        ("kind = \"kill\"", "kind = \"kil\""),
        (
            "at = \"9s\"\nfor = \"1s\"",
            "at = \"9s\"\nfor = \"2s\"\nevery = \"1s\"",
        ),
        ("latency = \"5ms\"", "latency = \"5\"\nlag = 1"),
        ("for = \"3s\"", "for = \"0s\""),
    ]);
    let expected = [
        "x.toml:16: latency: \"5\" is not a duration",
        "x.toml:17: a fault of kind slow_link has no key `lag`",
        "x.toml:19: a fault must last longer than 0",
        "x.toml:22: fault.kind = \"kil\" is not known; did you mean \"kill\"?",
        "x.toml:25: the fault would end 11s after the start of steady, which lasts 10s",
        "x.toml:26: a fault must have ended before it is repeated",
    ];
    assert_eq!(said.len(), expected.len(), "{said:#?}");
    for (said, expected) in said.iter().zip(expected) {
        assert!(said.starts_with(expected), "{said} instead of {expected}");
    }
}

#[test]
fn what_can_be_understood_is_understood_in_spite_of_problems() {
    let wrong_rate = ("rate = \"1000/s\"", "rate = 1000");
    let (scenario, said) = load_text(&[wrong_rate], &Overrides::default());
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(scenario.unwrap().sut.driver.name(), "decoy");
    let (scenario, said) = load_text(
        &[("driver = \"decoy\"", "driver = \"decay\"")],
        &Overrides::default(),
    );
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(scenario.is_none());
}

#[test]
fn overrides_are_read_and_their_mistakes_are_theirs() {
    let set = |words: &[&str]| Overrides {
        set: words.iter().map(|&words| words.to_owned()).collect(),
        ..Overrides::default()
    };
    let words = ["load.body=512", "fault.0.at=1s", "load.timeout=1s"];
    let (scenario, said) = load_text(&[], &set(&words));
    // A size is text; what is no text in TOML stays what it is.
    assert_eq!(
        said,
        ["--set load.body=512: load.body has no unit\n    write --set load.body=512B"]
    );
    let scenario = scenario.unwrap();
    assert_eq!(scenario.faults[0].when, When::At(Duration::from_secs(1)));
    assert_eq!(scenario.load.timeout, Duration::from_secs(1));
    let wrong_line = ("duplicated = 3", "duplicates = 3");
    let (_, said) = load_text(&[wrong_line], &set(&["load.timeout=0s"]));
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].starts_with("--set load.timeout=0s: timeout must be longer than 0"));
    assert!(said[1].starts_with("x.toml:26: there is no objective `duplicates`"));
}

/// A stored run is read without the files that it was made from.
#[test]
fn a_stored_scenario_needs_no_other_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.toml");
    let text = GOOD
        .replace(
            "driver = \"decoy\"",
            "driver = \"engine\"\nconfig = \"gone.conf\"",
        )
        .replace(
            "rate =",
            "payload = \"replay\"\nreplay = \"gone.log\"\nrate =",
        );
    fs::write(&path, text).unwrap();
    assert_eq!(inspect(&path, &Overrides::default()).1.len(), 2);
    assert_eq!(load_stored(&path).unwrap().load.payload, "replay");
}

/// What the list shown to people names: a section and its key, or a section alone. The top is "".
fn shown() -> Vec<(&'static str, &'static str)> {
    let mut all = Vec::new();
    let mut section = "";
    for line in DEFAULTS.lines().skip(1) {
        let line = line.trim_start_matches(['#', ' ']);
        if line.starts_with('[') {
            section = line.split_whitespace().next().unwrap();
            all.push((section, ""));
        } else if let Some((keys, _)) = line.split_once(" = ").or(line.split_once("  ")) {
            all.extend(keys.split(", ").map(|key| (section, key)));
        }
    }
    all
}

/// The list shown to people names no key that would be refused.
#[test]
fn the_defaults_that_are_shown_are_keys_that_are_read() {
    let mut text = String::new();
    for (section, key) in shown() {
        match key {
            "" => {
                text.push_str(&format!("{section}\n"));
                // So that the keys of the driver, the store and the fault are asked for at all.
                text.push_str(match section {
                    "[sut]" => "driver = \"decoy\"\n",
                    "[store]" => "kind = \"files\"\n",
                    "[[fault]]" | "[[campaign.menu]]" => "kind = \"kill\"\n",
                    _ => "",
                });
            }
            "driver" | "kind" => {}
            key => text.push_str(&format!("{key} = []\n")),
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.toml");
    fs::write(&path, &text).unwrap();
    let (_, problems) = inspect(&path, &Overrides::default());
    assert!(problems.len() > 40, "{problems:#?}\n{text}");
    for problem in problems {
        let unknown = ["has no key", "there is no objective"];
        let unknown = unknown.iter().any(|words| problem.message.contains(words));
        assert!(!unknown, "{problem}\n{text}");
    }
}

/// The keys of each section that a text is read with: a key that nobody knows is answered by them all.
fn keys_read(driver: &str, store: &str, provider: &str, fault: &str) -> Vec<(String, String)> {
    let text = format!(
        "zzz = 1\n[sut]\ndriver = \"{driver}\"\nconfig = \"x.toml\"\ncommand = [\"true\"]\nzzz = 1\n\
         [load]\ninto = \"avro\"\nzzz = 1\n[store]\nkind = \"{store}\"\nprovider = \"{provider}\"\nzzz = 1\n\
         [phases]\nsteady = \"9s\"\nzzz = 1\n[gate]\nzzz = 1\n[[fault]]\nkind = \"{fault}\"\nzzz = 1\n\
         [campaign]\nzzz = 1\n[[campaign.menu]]\nkind = \"{fault}\"\nzzz = 1\n"
    );
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.toml");
    fs::write(&path, &text).unwrap();
    let (_, problems) = inspect(&path, &Overrides::default());
    let mut keys = Vec::new();
    for problem in &problems {
        let Some((place, rest)) = problem.message.split_once(" has no key `zzz`") else {
            continue;
        };
        let section = match place {
            "the top of the file" => "",
            place if place.starts_with("a fault of kind") => "[[fault]]",
            place if place.starts_with("a menu of kind") => "[[campaign.menu]]",
            place => place,
        };
        let (_, allowed) = rest.split_once("(allowed: ").unwrap();
        for key in allowed.trim_end_matches(')').split(", ") {
            keys.push((section.to_owned(), key.to_owned()));
        }
    }
    let sections: std::collections::BTreeSet<_> = keys.iter().map(|(section, _)| section).collect();
    assert_eq!(sections.len(), 9, "{problems:#?}");
    keys
}

/// A key that is read and not shown is known to nobody. Those of one kind of driver, store or fault are
/// in its own table, which `list kinds` shows.
#[test]
fn every_key_that_is_read_is_shown() {
    let shown = shown();
    let is_shown = |section: &str, key: &str| {
        let name = match section.trim_matches(['[', ']']) {
            "" => key.to_owned(),
            section => format!("{section}.{key}"),
        };
        let sections = [format!("[{name}]"), format!("[[{name}]]")];
        shown.contains(&(section, key)) || sections.iter().any(|it| shown.contains(&(it, "")))
    };
    let stores = store::KINDS.iter().flat_map(|kind| {
        let providers = kind.providers.iter();
        providers.map(|provider| (*kind, *provider))
    });
    let mut missing = std::collections::BTreeSet::new();
    for (store, provider) in stores {
        for driver in sut::KINDS {
            for fault in crate::fault::KINDS {
                let own = [
                    ("[sut]", driver.settings),
                    ("[store]", store.settings),
                    ("[[fault]]", fault.settings),
                    ("[[campaign.menu]]", fault.settings),
                ];
                for (section, key) in keys_read(driver.name, store.name, provider, fault.name) {
                    let mut own = own.iter().filter(|(place, _)| *place == section);
                    let own = own.any(|(_, keys)| keys.iter().any(|(name, _)| *name == key));
                    if !own && !is_shown(&section, &key) {
                        missing.insert(format!("{section} {key}"));
                    }
                }
            }
        }
    }
    for (key, _) in objectives::COUNTS {
        if !is_shown("[objectives]", key) {
            missing.insert(format!("[objectives] {key}"));
        }
    }
    let others = objectives::OTHERS
        .iter()
        .filter(|key| !is_shown("[objectives]", key));
    missing.extend(others.map(|key| format!("[objectives] {key}")));
    let words = objectives::LATENCIES
        .iter()
        .filter(|word| !DEFAULTS.contains(**word));
    missing.extend(words.map(|word| format!("[objectives] {word}")));
    assert!(missing.is_empty(), "{missing:#?}");
}

/// What is raised is said on every run: what is shipped gives the time it takes to every driver that it
/// promises something of.
#[test]
fn no_shipped_scenario_has_its_drain_raised() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for (name, _) in shipped::summaries() {
        let path = root.join(format!("{name}.toml"));
        let text = fs::read_to_string(&path).unwrap();
        let expected = text
            .lines()
            .filter_map(|line| line.strip_prefix("# expect "));
        for driver in expected.filter_map(|line| line.split(':').next()) {
            let overrides = Overrides {
                sut: Some(driver.to_owned()),
                ..Overrides::default()
            };
            let scenario = inspect(&path, &overrides).0.unwrap();
            let trials = scenario.campaign.map(|campaign| campaign.phases);
            for phases in [Some(scenario.phases), trials].into_iter().flatten() {
                assert!(!phases.drain_raised, "{name} with {driver}: {phases:?}");
            }
            count += 1;
        }
    }
    assert!(count > 30, "{count}");
}
