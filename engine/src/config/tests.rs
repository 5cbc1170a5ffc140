//! The rules of configurations: every defect with its place and what is offered instead.

use super::*;

const GOOD: &str = "\
a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = seq
a1.sources.r1.channels = c1
a1.channels.c1.type = memory
a1.sinks.k1.type = null
a1.sinks.k1.channel = c1
";

fn checked(text: &str) -> Report {
    let texts = [Text {
        file: "flume.conf".into(),
        bytes: text.as_bytes().to_vec(),
    }];
    let env = |name: &str| (name == "TYPE").then(|| "null".to_owned());
    check(&texts, "a1", &Surroundings::default(), &env)
}

/// The problems as text.
fn problems(text: &str) -> Vec<String> {
    checked(text)
        .problems
        .iter()
        .map(ToString::to_string)
        .collect()
}

/// `GOOD` with a line replaced or, if `old` is empty, added.
fn with(old: &str, new: &str) -> String {
    if old.is_empty() {
        return format!("{GOOD}{new}\n");
    }
    assert!(GOOD.contains(old), "{old}");
    GOOD.replace(old, new)
}

/// Names of the sources and sinks of the plan.
fn parts(report: &Report) -> (Vec<&str>, Vec<&str>) {
    let Some(plan) = &report.plan else {
        return Default::default();
    };
    let sources = plan.sources.iter().map(|part| part.name.as_str()).collect();
    (
        sources,
        plan.sinks.iter().map(|part| part.name.as_str()).collect(),
    )
}

#[test]
fn a_good_configuration_has_nothing_to_be_said_about_it() {
    let report = checked(GOOD);
    assert_eq!((report.problems, report.notices), (vec![], vec![]));
    let plan = report.plan.unwrap();
    assert_eq!((plan.sources[0].kind, plan.sinks[0].kind), ("seq", "null"));
    assert!(Arc::ptr_eq(
        &plan.channels[0].channel,
        &plan.sinks[0].channel
    ));
}

/// One defect each: what is said, where, and what still runs (sources, sinks).
#[test]
fn each_defect_is_said_with_its_place() {
    let all: &[(&str, &str, &str, usize, usize)] = &[
        (
            "",
            "a1.sinks.k1.batchSiz = 5",
            "flume.conf:9: a1.sinks.k1.batchSiz: unknown key of sink type null; ignored; did you mean batchSize?",
            1,
            1,
        ),
        (
            "sinks.k1.type = null",
            "sinks.k1.type = nul",
            "flume.conf:7: a1.sinks.k1.type: there is no sink type nul; left out",
            1,
            0,
        ),
        (
            "sinks.k1.type = null",
            "sinks.k1.type = hbase2",
            "hbase2 of Flume is not offered here",
            1,
            0,
        ),
        (
            "a1.sinks.k1.type = null\n",
            "",
            "flume.conf:7: a1.sinks.k1.type: the sink has no type",
            1,
            0,
        ),
        (
            "sinks.k1.channel = c1",
            "sinks.k1.channel = c2",
            "flume.conf:8: a1.sinks.k1.channel: c2 is not a valid channel of this agent; the sink is left out; did you mean c1?",
            1,
            0,
        ),
        (
            "a1.sinks.k1.channel = c1\n",
            "",
            "a1.sinks.k1.channel: the sink has no channel",
            1,
            0,
        ),
        (
            "sinks.k1.channel =",
            "sinks.k1.channels =",
            "unknown key of sink type null; ignored; did you mean channel?",
            1,
            0,
        ),
        (
            "a1.sources.r1.channels = c1\n",
            "",
            "flume.conf:4: a1.sources.r1.channels: the source has no channels",
            0,
            1,
        ),
        (
            "sources.r1.channels = c1",
            "sources.r1.channels = c1 c3",
            "c3 is not a valid channel of this agent; the source goes without it; did you mean c1?",
            1,
            1,
        ),
        (
            "",
            "a1.channels.c1.transactionCapacity = 200",
            "flume.conf:9: a1.channels.c1.transactionCapacity: transactionCapacity 200 is more than the capacity 100",
            0,
            0,
        ),
        (
            "",
            "a1.sinks.k1.batchSize = 101",
            "flume.conf:9: a1.sinks.k1.batchSize: 101 is more than transactionCapacity 100 of channel c1",
            1,
            0,
        ),
        (
            "",
            "a1.channels.c1.transactionCapacity = 50",
            "100 (the default) is more than transactionCapacity 50 of channel c1",
            1,
            0,
        ),
        (
            "",
            "a1.sinks.k1.batchSize = ten",
            "flume.conf:9: a1.sinks.k1.batchSize: \"ten\" is not a whole number; a1.sinks.k1 is left out",
            1,
            0,
        ),
        (
            "",
            "a1.sinks.k1.batchSize = 0",
            "flume.conf:9: a1.sinks.k1.batchSize: 0 is less than 1, so the default 100 holds",
            1,
            1,
        ),
        (
            "a1.sources = r1",
            "a1.sources = r2",
            "flume.conf:1: a1.sources: r2 is listed, but nothing is configured under a1.sources.r2; did you mean r1?",
            0,
            1,
        ),
        (
            "a1.sources = r1",
            "a1.sources = r2",
            "flume.conf:4: a1.sources.r1: configured, but not in the list a1.sources",
            0,
            1,
        ),
        (
            "a1.sources = r1\n",
            "",
            "flume.conf:3: a1.sources.r1: left out, because there is no list a1.sources",
            0,
            1,
        ),
        (
            "",
            "a1.sink.k2.type = null",
            "flume.conf:9: a1.sink.k2.type: sink is no part of an agent; ignored",
            1,
            1,
        ),
        (
            "",
            "lonely = 1",
            "flume.conf:9: lonely: the agent's name is missing",
            1,
            1,
        ),
        (
            "",
            "a1.sinks.k1.batchSize =",
            "flume.conf:9: a1.sinks.k1.batchSize: has no value; ignored",
            1,
            1,
        ),
        (
            "",
            "a1.sinks.k1.type = logger\na1.sinks.k1.type = null",
            "flume.conf:10: a1.sinks.k1.type: replaces line 9, which says \"logger\"",
            1,
            1,
        ),
        (
            "",
            "a1.sinks.k1.logEveryNEvents = ${env:NONE}",
            "flume.conf:9: a1.sinks.k1.logEveryNEvents: the environment has no NONE",
            1,
            0,
        ),
        (
            "",
            "a1.sinks.k1.logEveryNEvents = \\u12",
            "flume.conf:9: \\u needs four hexadecimal digits",
            1,
            1,
        ),
        (
            "",
            "a1.channels = c1 c2\na1.channels.c2.type = memory",
            "flume.conf:10: a1.channels.c2: no source and no sink uses it; left out",
            1,
            1,
        ),
        (
            "",
            "a1.sources.r1.interceptors = i1 i2\na1.sources.r1.interceptors.i1.type = static",
            "a1.sources.r1.interceptors.i2.type: the interceptor has no type",
            0,
            1,
        ),
        (
            "",
            "a1.sources.r1.interceptors = i1\na1.sources.r1.interceptors.i1.type = timestmp",
            "did you mean timestamp?",
            0,
            1,
        ),
        (
            "",
            "a1.sources.r1.interceptors = i1\na1.sources.r1.interceptors.i1.type = host\na1.sources.r1.interceptors.i1.useIp = no",
            "flume.conf:11: a1.sources.r1.interceptors.i1.useIp: unknown key of interceptor type host; ignored; did you mean useIP?",
            1,
            1,
        ),
        (
            "",
            "a1.sources.r1.interceptors.i1.type = host",
            "interceptor i1 is not in the list a1.sources.r1.interceptors; ignored",
            1,
            1,
        ),
        (
            "",
            "a1.sources.r1.selector.type = multiplexing",
            "selector type multiplexing of Flume is not offered here",
            0,
            1,
        ),
        (
            "",
            "a1.sources.r1.selector.optional = c9",
            "flume.conf:9: a1.sources.r1.selector.optional: optional channel c9 is none of the source's channels",
            0,
            1,
        ),
        (
            "",
            "a1.sinkgroups = g\na1.sinkgroups.g.sinks = k1 k2\na1.sinkgroups.g.processor.type = failover",
            "sink processor type failover of Flume is not offered here",
            1,
            1,
        ),
        (
            "",
            "a1.configfilters = f\na1.configfilters.f.type = env",
            "flume.conf:10: a1.configfilters.f: config filters are not offered",
            1,
            1,
        ),
        (
            "channels.c1.type = memory",
            "channels.c1.type = memry",
            "no valid channel; nothing can be started",
            0,
            0,
        ),
        (
            "r1.type = seq",
            "r1.type = netcat\na1.sources.r1.bind = 127.0.0.1\na1.sources.r1.port = 70000",
            "flume.conf:6: a1.sources.r1.port: 70000 is more than 65535; a1.sources.r1 is left out",
            0,
            1,
        ),
        (
            "r1.type = seq",
            "r1.type = netcat\na1.sources.r1.bind = 127.0.0.1",
            "flume.conf:4: a1.sources.r1.port: required by source type netcat",
            0,
            1,
        ),
    ];
    let mut failures = Vec::new();
    for (old, new, expected, sources, sinks) in all {
        let report = checked(&with(old, new));
        let said: Vec<_> = report.problems.iter().map(ToString::to_string).collect();
        let (has_sources, has_sinks) = parts(&report);
        let is_said = said.iter().any(|text| text.contains(expected));
        if !is_said || (has_sources.len(), has_sinks.len()) != (*sources, *sinks) {
            failures.push((new, expected, said, has_sources.len(), has_sinks.len()));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn every_problem_comes_in_one_go() {
    let text = with("sinks.k1.type = null", "sinks.k1.type = nul")
        + "a1.sources.r1.batchSise = 1\na1.channels.c1.capacty = 5\nx\n";
    assert_eq!(problems(&text).len(), 4, "{:#?}", problems(&text));
}

#[test]
fn an_agent_that_is_not_there() {
    let texts = [Text {
        file: "f".into(),
        bytes: GOOD.replace("a1.", "agent.").into_bytes(),
    }];
    let report = check(&texts, "agnet", &Surroundings::default(), &|_| None);
    assert!(report.plan.is_none());
    let said = report.problems[0].to_string();
    assert_eq!(
        said,
        "f: there is no agent agnet in it; there is: agent; did you mean agent?"
    );
    assert!(
        check(&[], "a1", &Surroundings::default(), &|_| None)
            .plan
            .is_none()
    );
}

#[test]
fn other_agents_in_the_file_do_not_matter() {
    let report = checked(&with("", "b2.sources = nonsense\nb2.sinks.k.type = nul"));
    assert_eq!(report.problems, []);
}

/// The first configuration of the appendix of the requirements, on kinds that are always here.
#[test]
fn components_without_any_list_are_taken_with_a_notice() {
    let text =
        GOOD.lines().skip(3).collect::<Vec<_>>().join("\n") + "\na1.sources.r1.channels = c1\n";
    let report = checked(&text);
    assert_eq!(report.problems, []);
    let notices: Vec<_> = report.notices.iter().map(ToString::to_string).collect();
    assert_eq!(notices.len(), 2, "{notices:#?}");
    assert!(notices[0].contains(
        "flume.conf:1: a1: none of the lists sources, channels, sinks is there; the 3 components"
    ));
    assert_eq!(
        notices[1],
        "flume.conf:6: a1.sources.r1.channels: repeats line 2"
    );
    assert_eq!(parts(&report), (vec!["r1"], vec!["k1"]));
}

#[test]
fn types_have_aliases_and_classes() {
    for name in ["NULL", "org.apache.flume.sink.NullSink", "${env:TYPE}"] {
        let report = checked(&with(
            "sinks.k1.type = null",
            &format!("sinks.k1.type = {name}"),
        ));
        assert_eq!(report.problems, [], "{name}");
    }
}

#[test]
fn later_files_replace_keys_of_earlier_ones() {
    let text = |name: &str, text: &str| Text {
        file: name.into(),
        bytes: text.as_bytes().to_vec(),
    };
    let texts = [
        text("one", GOOD),
        text(
            "two",
            "a1.channels.c1.capacity = 7000\na1.sinks.k1.type = nul",
        ),
    ];
    let report = check(&texts, "a1", &Surroundings::default(), &|_| None);
    assert_eq!(
        report.plan.unwrap().channels[0].channel.fill().capacity,
        7000
    );
    assert_eq!(report.problems.len(), 1);
    assert!(
        report.problems[0]
            .to_string()
            .starts_with("two:2: a1.sinks.k1.type")
    );
}

/// Every kind's table is in order, and its example is a component that can be built.
#[test]
fn every_example_builds() {
    fn walk<B>(table: &[&crate::kind::Kind<B>]) {
        let names: Vec<_> = table.iter().map(|kind| kind.name.to_lowercase()).collect();
        assert!(
            names.is_sorted_by(|one, two| one < two),
            "sorted and unique: {names:?}"
        );
        for kind in table {
            let ctx = crate::context::Context::from_example("x1", kind.example);
            let built = (kind.build)(&ctx);
            assert!(built.is_ok(), "{}: {:?}", kind.name, built.err());
            assert!(
                !kind.summary.is_empty() && kind.keys.iter().all(|key| !key.doc.is_empty()),
                "{}",
                kind.name
            );
            for (key, setting) in ctx
                .settings()
                .filter(|(key, _)| !["type", "channel", "channels"].contains(key))
            {
                let known = kind.key(key);
                assert!(
                    known.is_some(),
                    "{}: {key} is not among its keys",
                    kind.name
                );
                assert_eq!(
                    known.and_then(|known| known.form.objection(&setting.value)),
                    None
                );
            }
            for key in kind.keys {
                let default = key
                    .default
                    .filter(|_| key.support == crate::kind::Support::Full);
                assert_eq!(
                    default.and_then(|text| key.form.objection(text)),
                    None,
                    "{}: {}",
                    kind.name,
                    key.name
                );
            }
            if let Some(batch) = kind.batch_key {
                assert!(kind.key(batch).is_some(), "{}: {batch}", kind.name);
            }
        }
    }
    walk(crate::source::KINDS);
    walk(crate::channel::KINDS);
    walk(crate::sink::KINDS);
    walk(crate::interceptor::KINDS);
    walk(crate::selector::KINDS);
    walk(crate::sink_processor::KINDS);
}

/// The two configurations of the requirements' appendix: no problem, and everything is taken.
#[test]
fn the_configurations_of_the_appendix_run_as_they_stand() {
    let text = "\
a1.sources.r1.type = exec
a1.sources.r1.command = tail -F /path/to/logfile.log
a1.sources.r1.channels = c1
a1.channels.c1.type = memory
a1.channels.c1.capacity = 1000
a1.channels.c1.transactionCapacity = 100
a1.sinks.s1.type = hdfs
a1.sinks.s1.hdfs.path = hdfs://namenode:9000/flume_data/%y-%m-%d/
a1.sinks.s1.hdfs.fileType = DataStream
a1.sinks.s1.hdfs.rollSize = 10485760
a1.sinks.s1.hdfs.rollCount = 10
a1.sinks.s1.hdfs.writeFormat = Text
a1.sinks.s1.hdfs.fileSuffix = .log
a1.sources.r1.channels = c1
a1.sinks.s1.channel = c1
";
    let file = text.replace("type = exec", "type = file").replace(
        "command = tail -F /path/to/logfile.log",
        "filepath = /path/to/logfile.log",
    );
    for text in [text.to_owned(), file] {
        let report = checked(&text);
        assert_eq!(report.problems, []);
        assert_eq!(parts(&report), (vec!["r1"], vec!["s1"]));
        let notices: Vec<_> = report.notices.iter().map(ToString::to_string).collect();
        for said in [
            "the 3 components configured are taken",
            "channels: repeats line 3",
        ] {
            assert!(
                notices.iter().any(|notice| notice.contains(said)),
                "{notices:#?}"
            );
        }
    }
}

/// Where nothing is started, only what is to be mended is said.
#[test]
fn what_follows_from_another_problem_is_no_cause() {
    let cases = [
        ("", "", vec![]),
        (
            "channels.c1.type = memory",
            "channels.c1.type = memry",
            vec!["there is no channel type memry"],
        ),
        (
            "sinks.k1.channel = c1",
            "sinks.k1.channel = c2",
            vec!["c2 is not a valid channel of this agent; the sink is left out; did you mean c1?"],
        ),
        (
            "r1.type = seq\na1.sources.r1.channels = c1\na1.channels.c1.type = memory\na1.sinks.k1.type = null",
            "r1.type = sek\na1.sources.r1.channels = c1\na1.channels.c1.type = memory\na1.sinks.k1.type = nul",
            vec!["there is no source type sek", "there is no sink type nul"],
        ),
        (
            GOOD,
            "a1.channels = c1\na1.channels.c1.type = memory\n",
            vec!["no valid source and no valid sink"],
        ),
    ];
    for (old, new, expected) in cases {
        let report = checked(&with(old, new));
        let causes: Vec<String> = report.causes().map(ToString::to_string).collect();
        assert_eq!(causes.len(), expected.len(), "{causes:#?}");
        for (cause, expected) in causes.iter().zip(expected) {
            assert!(cause.contains(expected), "{cause}");
        }
    }
}
