//! Bad input: one clear message for each mistake, with its place and what to do about it, exit code
//! 2, and nothing started.
//!
//! The files in `bad-input/` say themselves what is wrong with them:
//!
//! | comment | the error it asks for |
//! |---|---|
//! | `# wrong: text` | at the next line that is no such comment |
//! | `# wrong in file: text` | about the file as a whole |
//! | `# wrong in NAME: text`, `# wrong at NAME:LINE: text` | about another file, or a line in it |
//! | `# wrong here: text` | about the machine |
//! | `# and: text` | also contained in the same error |
//!
//! The errors must come in this order, and there must be no other. A `.conf` is refused twice: by a
//! run that names it and by `agent --strict`; where only a run can know (`only-in-a-run-…`), once.

#![expect(clippy::unwrap_used, clippy::panic, reason = "it is a test")]

#[path = "common/refusal.rs"]
mod refusal;

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use refusal::{Desk, Refusal};

/// The scenario that the configurations are named by.
const SCENARIO: &str = "seed = 1\n[sut]\ndriver = \"engine\"\nconfig = \"CONF\"\n\
    [load]\ninto = \"avro\"\nrate = \"1000/s\"\n[store]\nkind = \"files\"\n[phases]\nsteady = \"2s\"\n";

/// What an agent alone is given in place of what a run makes up.
const PLACES: &[(&str, &str)] = &[
    ("FB_SOURCE_PORT", "41414"),
    ("FB_STORE", "store"),
    ("FB_DATA", "data"),
    ("FB_LOG", "input.log"),
];

/// An error that a file asks for: how it begins, and what it contains.
#[derive(Debug)]
struct Expected {
    place: String,
    parts: Vec<String>,
}

/// What a file says is wrong with it.
fn expected(name: &str, text: &str) -> Vec<Expected> {
    let mut all: Vec<Expected> = Vec::new();
    let mut open = 0;
    for (number, line) in text.lines().enumerate() {
        if let Some(part) = line.strip_prefix("# and: ") {
            all.last_mut().unwrap().parts.push(part.to_owned());
        } else if let Some(wrong) = line.strip_prefix("# wrong") {
            let (place, part) = wrong.split_once(": ").unwrap();
            let place = match place.split_once(' ') {
                None => String::new(),
                Some(("", "in file")) => format!("{name}: "),
                Some(("", "here")) => "\n".to_owned(),
                Some(("", other)) => format!("{}: ", other.split_once(' ').unwrap().1),
                Some(_) => panic!("{name}: {line}"),
            };
            all.push(Expected {
                place,
                parts: vec![part.to_owned()],
            });
        } else {
            for expected in &mut all[open..] {
                if expected.place.is_empty() {
                    expected.place = format!("{name}:{}: ", number + 1);
                }
            }
            open = all.len();
        }
    }
    all
}

/// Compares what was said with what the file asks for; the differences.
fn differences(what: &str, refusal: &Refusal, expected: &[Expected]) -> Option<String> {
    let fits = |(error, expected): (&String, &Expected)| {
        let error = error.strip_prefix("./").unwrap_or(error);
        let here = expected.place == "\n";
        (here || error.starts_with(&expected.place))
            && expected.parts.iter().all(|part| error.contains(part))
    };
    let same = refusal.errors.len() == expected.len();
    (!same || !refusal.errors.iter().zip(expected).all(fits))
        .then(|| format!("{what}: said\n{}instead of\n{expected:#?}\n", refusal.text))
}

/// All files of `bad-input/`, copied onto a desk.
fn desk_with_all() -> (Desk, Vec<(String, String)>) {
    let desk = Desk::new();
    let mut files = Vec::new();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad-input");
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let text = fs::read_to_string(entry.path()).unwrap();
        desk.write(&name, &text);
        files.push((name, text));
    }
    files.sort();
    files.retain(|(_, text)| text.contains("# wrong"));
    (desk, files)
}

fn assert_none(differences: Vec<String>) {
    let count = differences.len();
    assert!(count == 0, "{count} of them:\n{}", differences.join("\n"));
}

#[test]
fn every_bad_scenario_is_refused_with_place_and_remedy() {
    let (desk, files) = desk_with_all();
    let mut wrong = Vec::new();
    let mut count = 0;
    for (name, text) in files.iter().filter(|(name, _)| name.ends_with(".toml")) {
        let expected = expected(name, text);
        for command in ["check", "run"] {
            let refusal = desk.refuse(&[command, name], &[]);
            wrong.extend(differences(
                &format!("{command} {name}"),
                &refusal,
                &expected,
            ));
        }
        count += 1;
    }
    assert_none(wrong);
    assert!(count >= 30, "{count}");
}

#[test]
fn every_bad_configuration_is_refused_by_a_run_and_by_the_agent() {
    let (desk, files) = desk_with_all();
    let mut wrong = Vec::new();
    let mut count = 0;
    for (name, text) in files.iter().filter(|(name, _)| name.ends_with(".conf")) {
        let expected = expected(name, text);
        desk.write("scenario.toml", SCENARIO.replace("CONF", name));
        let refusal = desk.refuse(&["run", "scenario.toml"], &[]);
        wrong.extend(differences(&format!("run {name}"), &refusal, &expected));
        if !name.starts_with("only-in-a-run") {
            let words = ["agent", "--strict", "-n", "a1", "-c", ".", "-f", name];
            let refusal = desk.refuse(&words, PLACES);
            wrong.extend(differences(&format!("agent {name}"), &refusal, &expected));
        }
        count += 1;
    }
    assert_none(wrong);
    assert!(count >= 15, "{count}");
}

/// Writes the good configuration and a scenario that is right, but for what the caller changes.
fn good(desk: &Desk, replace: &str, by: &str) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad-input");
    for name in ["good.conf", "good-hdfs.conf"] {
        desk.write(name, fs::read_to_string(from.join(name)).unwrap());
    }
    let scenario = SCENARIO.replace("CONF", "good.conf");
    assert!(scenario.contains(replace), "{replace}");
    desk.write("scenario.toml", scenario.replace(replace, by));
}

fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

/// The cases above mean nothing if what they start from is wrong, too.
#[test]
fn what_the_bad_files_start_from_is_right() {
    let desk = Desk::new();
    good(&desk, "", "");
    let files = [
        ("good.conf", "files", "avro"),
        ("good-hdfs.conf", "hdfs", "avro"),
        ("good-tail.conf", "files", "tail"),
    ];
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad-input");
    for (name, store, into) in files {
        desk.write(name, fs::read_to_string(from.join(name)).unwrap());
        let scenario = SCENARIO.replace("CONF", name);
        let scenario = scenario.replace("\"files\"", &format!("\"{store}\""));
        desk.write(
            "scenario.toml",
            scenario.replace("\"avro\"", &format!("\"{into}\"")),
        );
        let call = desk.call(&["check", "scenario.toml"], &[]);
        assert_eq!(call.code, 0, "{name}: {}", call.text);
    }
}

/// A campaign is looked at before it takes its hour.
#[test]
fn a_check_shows_the_menu_of_a_campaign_and_starts_nothing() {
    let desk = Desk::new();
    let menu = "[campaign]\nwarm_up = \"100ms\"\nsteady = \"1500ms\"\ndrain_deadline = \"50s\"\nmax_overlap = 2\n\
        [[campaign.menu]]\nkind = \"kill\"\ntargets = [\"agent\"]\nat = [\"200ms\", \"1s\"]\nfor = \"100ms\"\n\
        [[campaign.menu]]\nkind = \"slow_link\"\nlinks = [\"generator->agent\"]\n\
        latency = [\"5ms\", \"20ms\"]\nat = \"500ms\"\nfor = [\"200ms\", \"300ms\"]\n";
    good(&desk, "[phases]", &format!("{menu}[phases]"));
    let before = desk.listing();
    let call = desk.call(&["check", "scenario.toml"], &[]);
    assert_eq!(call.code, 0, "{}", call.text);
    let lines = [
        "campaign   a trial: 100ms of warm_up, 1.5s of steady, drain at most 50s; at most 4 faults, 2 at a time\n",
        "menu       kill agent, at 200ms to 1s for 100ms\n",
        "menu       slow_link generator->agent (latency 5ms or 20ms), at 500ms for 200ms to 300ms\n",
    ];
    contains(&call.out, &lines);
    assert!(!call.had_children && desk.listing() == before);
    let call = desk.call(
        &["check", "scenario.toml", "--set", "load.rate=2000/s"],
        &[],
    );
    assert!(call.out.contains("menu"), "{}", call.text);
    good(&desk, "", "");
    let call = desk.call(&["check", "scenario.toml"], &[]);
    assert!(call.code == 0 && !call.out.contains("menu"), "{}", call.out);
}

#[test]
fn what_is_no_scenario_has_an_answer() {
    let desk = Desk::new();
    fs::create_dir(desk.path().join("directory")).unwrap();
    desk.write("nul.toml", "seed = 1\n\0\n");
    desk.write("latin1.toml", b"seed = 1\n# caf\xe9\n");
    desk.write("huge.toml", "# much\n".repeat(200_000));
    desk.write("empty.toml", "");
    let utf8 = "a scenario is a TOML file in UTF-8";
    let cases: &[(&str, &[&str])] = &[
        (
            "directory",
            &[
                "directory: the scenario cannot be read",
                "flume-bench list scenarios",
            ],
        ),
        ("nul.toml", &["nul.toml:2: a NUL byte", utf8]),
        (
            "latin1.toml",
            &["latin1.toml:2: a byte that is no UTF-8", utf8],
        ),
        (
            "huge.toml",
            &["huge.toml: longer than 1024 KiB", "is this the right one?"],
        ),
        ("/dev/zero", &["/dev/zero:1: a NUL byte"]),
        (
            "no-such.toml",
            &[
                "no-such.toml: the scenario cannot be read",
                "flume-bench list scenarios",
            ],
        ),
        (
            "quikstart",
            &[
                "quikstart: the scenario cannot be read",
                "did you mean `quickstart`?",
            ],
        ),
    ];
    for (name, parts) in cases {
        for command in ["check", "run", "doctor"] {
            contains(desk.refuse(&[command, name], &[]).only(), parts);
        }
    }
    let refusal = desk.refuse(&["run", "empty.toml"], &[]);
    let sections = [
        "[load]",
        "[phases]",
        "[store]",
        "[sut]",
        "the top of the file",
    ];
    for section in sections {
        contains(&refusal.text, &[&format!("empty.toml: {section} lacks")]);
    }
}

#[test]
fn a_mistake_on_the_command_line_is_named_by_its_words() {
    let desk = Desk::new();
    good(&desk, "", "");
    let cases: &[(&[&str], &[&str])] = &[
        (
            &["--set", "load.rat=5/s"],
            &["--set load.rat=5/s: [load] has no key `rat`; did you mean `rate`?"],
        ),
        (
            &["--set", "load.rate=5000"],
            &[
                "--set load.rate=5000: load.rate has no unit",
                "write --set load.rate=5000/s",
            ],
        ),
        (
            &["--set", "load.rate"],
            &[
                "--set load.rate is not understood",
                "--set load.rate=5000/s",
            ],
        ),
        (
            &["--set", "fault.0.at=1s"],
            &["--set fault.0.at=1s: the scenario has no [[fault]]"],
        ),
        (
            &["--set", "seed.x=1"],
            &["--set seed.x=1: seed.x is not inside a table"],
        ),
        (
            &["--sut", "engin"],
            &["--sut engin: sut.driver", "did you mean \"engine\"?"],
        ),
        (
            &["--provider", "embeded"],
            &["--provider embeded:", "did you mean \"embedded\"?"],
        ),
    ];
    for (words, parts) in cases {
        for command in ["check", "run", "doctor"] {
            let all = [&[command, "scenario.toml"], *words].concat();
            contains(desk.refuse(&all, &[]).only(), parts);
        }
    }
    for id in ["xyz", "+1", "12345678901234567", ""] {
        let refusal = desk.refuse(&["run", "scenario.toml", "--run-id", id], &[]);
        contains(
            refusal.only(),
            &["--run-id", "write up to 16 hexadecimal digits"],
        );
    }
    for words in [
        &["rum"][..],
        &["run"],
        &["run", "scenario.toml", "--sed", "1"],
        &["list", "kind"],
    ] {
        let text = desk.refuse(words, &[]).text;
        contains(&text, &["--help"]);
    }
}

#[test]
fn a_misspelt_link_on_the_command_line_is_answered_with_the_nearest() {
    let desk = Desk::new();
    good(
        &desk,
        "kind = \"files\"\n",
        "kind = \"hdfs\"\n[[fault]]\nkind = \"cut_link\"\nlink = \"agent->namenode\"\n\
         at = \"500ms\"\nfor = \"1s\"\n",
    );
    let words = "fault.0.link=agent->namenod";
    let config = "sut.config=good-hdfs.conf";
    let refusal = desk.refuse(
        &["check", "scenario.toml", "--set", config, "--set", words],
        &[],
    );
    let parts = [
        "--set fault.0.link=agent->namenod: link",
        "did you mean \"agent->namenode\"?",
    ];
    contains(refusal.only(), &parts);
}

/// An override that adds lines does not move the problems of the file.
#[test]
fn lines_stay_those_of_the_file_under_overrides() {
    let desk = Desk::new();
    good(&desk, "steady = \"2s\"", "steady = \"2s\"\nwarmup = \"1s\"");
    let set = ["--set", "load.deflate=true", "--set", "load.batch=0"];
    let refusal = desk.refuse(&[&["run", "scenario.toml"][..], &set].concat(), &[]);
    assert_eq!(refusal.errors.len(), 2, "{}", refusal.text);
    contains(
        &refusal.errors[0],
        &["--set load.batch=0: load.batch must be a whole number from 1"],
    );
    contains(
        &refusal.errors[1],
        &["scenario.toml:12: [phases] has no key `warmup`"],
    );
}

#[test]
fn what_the_machine_lacks_is_found_before_the_start() {
    let desk = Desk::new();
    let nothing = desk.path().join("nothing");
    fs::create_dir(&nothing).unwrap();
    let nothing = nothing.to_str().unwrap();
    let bare = [("PATH", nothing), ("FLUME_BENCH_LIBS", nothing)];
    let java = ["no `java` on the PATH", "apt-get install"];
    good(
        &desk,
        "kind = \"files\"",
        "kind = \"hdfs\"\nprovider = \"local\"",
    );
    let refusal = desk.refuse(
        &["run", "scenario.toml", "--set", "sut.config=good-hdfs.conf"],
        &bare,
    );
    assert_eq!(refusal.errors.len(), 2, "{}", refusal.text);
    contains(&refusal.errors[0], &java);
    contains(
        &refusal.errors[1],
        &["Hadoop 3.3.6", nothing, "ci/setup hdfs"],
    );
    good(&desk, "", "");
    let refusal = desk.refuse(&["run", "scenario.toml", "--sut", "flume"], &bare);
    assert_eq!(refusal.errors.len(), 2, "{}", refusal.text);
    contains(&refusal.errors[0], &java);
    contains(
        &refusal.errors[1],
        &["Apache Flume is not here", nothing, "ci/setup flume"],
    );
    for runs in ["scenario.toml", "scenario.toml/runs", "/proc/version/runs"] {
        let refusal = desk.refuse(&["run", "scenario.toml", "--runs", runs], &[]);
        let parts = [
            "the runs cannot be kept under",
            "is not a directory",
            "--runs",
        ];
        contains(refusal.only(), &parts);
    }
}

#[test]
fn a_port_in_use_is_found_before_the_start() {
    let desk = Desk::new();
    good(&desk, "", "");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let second = format!(
        "a1.sources.r2.type = netcat\na1.sources.r2.bind = 127.0.0.1\na1.sources.r2.port = {port}\n\
         a1.sources.r2.channels = c1\n"
    );
    let conf = fs::read_to_string(desk.path().join("good.conf")).unwrap();
    let conf = conf.replace(
        "a1.sources = r1\n",
        &format!("a1.sources = r1 r2\n{second}"),
    );
    desk.write("good.conf", &conf);
    for command in ["check", "run"] {
        let refusal = desk.refuse(&[command, "scenario.toml"], &[]);
        let place = "good.conf:5: a1.sources.r2.port: nobody can listen on port";
        contains(
            refusal.only(),
            &[place, &port, "ss -ltnp", "${env:FB_SOURCE_PORT}"],
        );
    }
    desk.write(
        "agent.conf",
        conf.replace("${env:FB_SOURCE_PORT}", "0")
            .replace("${env:FB_STORE}", "."),
    );
    let words = [
        "agent",
        "--strict",
        "-n",
        "a1",
        "-c",
        ".",
        "-f",
        "agent.conf",
    ];
    let refusal = desk.refuse(&words, &[]);
    contains(refusal.only(), &["r2", &port]);
}

#[test]
fn an_agent_refuses_its_command_line() {
    let desk = Desk::new();
    good(&desk, "", "");
    let cases: &[(&[&str], &[&str])] = &[
        (&["--strict", "-f", "good.conf"], &["--name"]),
        (&["--strict", "-n", "a1"], &["--conf-file"]),
        (
            &["--strict", "-n", "a1", "-f", "godo.conf"],
            &["godo.conf", "No such file", "--conf-file"],
        ),
        (
            &["--strict", "-n", "a1", "-f", "."],
            &["Is a directory", "--conf-file"],
        ),
        (
            &["--strict", "-n", "a2", "-f", "good.conf"],
            &["good.conf: there is no agent a2 in it; there is: a1"],
        ),
        (&["--stict", "-n", "a1", "-f", "good.conf"], &["--stict"]),
    ];
    for (words, parts) in cases {
        let all = [&["agent"], *words].concat();
        contains(desk.refuse(&all, PLACES).only(), parts);
    }
}

#[test]
fn a_report_on_what_is_no_run_is_refused() {
    let desk = Desk::new();
    let refused = |words: &[&str], parts: &[&str]| {
        let all = [&["report"], words].concat();
        contains(desk.refuse(&all, &[]).only(), parts);
    };
    refused(&[], &["there are no runs here", "name a run's directory"]);
    refused(
        &["no-such"],
        &["no-such", "is this the directory of a run?"],
    );
    refused(&["."], &["record.json", "is this the directory of a run?"]);
    refused(&[".", "--judge"], &["is this the directory of a run?"]);
    refused(
        &["compare", "no-such", "."],
        &["no-such", "is this the directory of a run?"],
    );
    refused(
        &["trend", "no-such"],
        &["failed to look for runs in no-such"],
    );
    refused(
        &["trend", "."],
        &["holds no run with a record", "name the directory"],
    );
    refused(
        &[".", "--format", "htm"],
        &["there is no format htm", "did you mean `html`?"],
    );
    // A word for the format `terminal`: it is the run that is not there.
    refused(
        &[".", "--format", "text"],
        &["record.json", "is this the directory of a run?"],
    );
    desk.write("campaign.json", "{}");
    refused(
        &["campaign.json", "--format", "termnal"],
        &[
            "a campaign has no format termnal",
            "did you mean `terminal`?",
        ],
    );
    desk.write(
        "cut.json",
        "{\n  \"schema_version\": 1,\n  \"verdict\": \"pa",
    );
    refused(
        &["cut.json"],
        &["cut.json: ", "cut off at line 3", "--judge"],
    );
    desk.write("newer.json", "{\"schema_version\": 999}");
    refused(
        &["newer.json"],
        &[
            "newer.json: ",
            "schema_version is 999",
            "use a newer flume-bench",
        ],
    );
    desk.write(
        "edited.json",
        "{\"schema_version\": 1, \"content_sha256\": \"00\"}",
    );
    refused(
        &["edited.json"],
        &["edited.json: ", "it was edited or damaged", "--judge"],
    );
    desk.write("other.json", "[1, 2]");
    refused(&["other.json"], &["other.json: ", "it is no JSON object"]);
}

/// What a run leaves behind, so that looking for it in vain means something; and what becomes of its
/// record when somebody has edited it.
#[test]
fn a_run_leaves_traces_and_its_edited_record_is_refused() {
    let desk = Desk::new();
    desk.write(
        "run.toml",
        "seed = 1\n[sut]\ndriver = \"decoy\"\n[load]\ninto = \"netcat\"\nrate = \"4000/s\"\n\
         [store]\nkind = \"files\"\n[phases]\nsteady = \"500ms\"\n",
    );
    let before = desk.listing();
    let call = desk.call(&["run", "run.toml", "--quiet"], &[]);
    assert_eq!(call.code, 0, "{}", call.text);
    assert!(call.had_children);
    assert_ne!(desk.listing(), before);
    let runs = fs::read_dir(desk.path().join("runs")).unwrap();
    let name = runs.last().unwrap().unwrap().file_name();
    let run = format!("runs/{}", name.to_str().unwrap());
    let file = format!("{run}/record.json");
    let record = fs::read_to_string(desk.path().join(&file)).unwrap();
    let edited = record.replace("\"verdict\": \"pass\"", "\"verdict\": \"fail\"");
    assert_ne!(edited, record);
    for broken in [&edited, &record[..record.len() / 2]] {
        desk.write(&file, broken);
        let refusal = desk.refuse(&["report", &run], &[]);
        let again = format!("flume-bench report {run} --judge");
        contains(refusal.only(), &[&file, &again]);
        let call = desk.call(&["report", &run, "--judge", "--format", "json"], &[]);
        assert_eq!(call.code, 0, "{}", call.text);
        contains(&call.text, &["judged again, because", &file]);
    }
    let call = desk.call(&["report", &run, "--format", "terminal"], &[]);
    assert_eq!(call.code, 2, "{}", call.text);
    // A broken record is named, not half-read; a whole one alone is too few.
    let refusal = desk.refuse(&["report", "trend", "runs"], &[]);
    contains(
        refusal.only(),
        &["holds no run with a record", name.to_str().unwrap()],
    );
    desk.write(&file, &record);
    let shown = ["terminal", "text"].map(|name| {
        let call = desk.call(&["report", &run, "--format", name], &[]);
        assert_eq!(call.code, 0, "{}", call.text);
        call.out
    });
    assert_eq!(shown[0], shown[1]);
    let call = desk.call(&["report", "trend", "runs"], &[]);
    assert_eq!(call.code, 0, "{}", call.text);
    contains(&call.out, &["unknown: too few runs, it takes 10"]);
    let call = desk.call(&["report", "compare", &run, &run], &[]);
    assert_eq!(call.code, 0, "{}", call.text);
    let call = desk.call(&["report", &run, "--judge"], &[]);
    assert_eq!(call.code, 0, "{}", call.text);
    contains(
        &call.text,
        &["judged again: the same counts, latencies and verdict"],
    );
}
