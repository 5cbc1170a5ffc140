//! Three runs as they could have been, for tests and for looking at: one passes, one fails, one is
//! inconclusive.
//!
//! The numbers come from a small model of an agent with a channel, stepped every 100 ms, so that
//! counts, histograms and series of a sample agree with each other. Nothing here is a measurement.

use std::collections::BTreeMap;

use flume_bench_reports::record::*;
use flume_bench_reports::series::{Sample, Table, Writer};
use flume_bench_reports::show;
use flume_bench_reports::verdict::{ExitCode, Verdict};
use hdrhistogram::Histogram;

const STEP_US: u64 = 100_000;
const WARM_UP_US: u64 = 5_000_000;

/// A run: its record and its series.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) record: RunRecord,
    pub(crate) series: Table,
}

/// What the model is told.
#[derive(Debug, Clone)]
struct Plan {
    load_until_us: u64,
    end_us: u64,
    rate: u64,
    capacity: u64,
    /// What the sink can store in a second while nothing is broken.
    drain_rate: u64,
    /// Channel fill lost at this instant, if any.
    loses_at_us: Option<u64>,
    faults: Vec<(u64, u64, Effect)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Effect {
    /// Nothing is stored.
    StoreGone,
    /// Half as much is stored.
    StoreSlow,
    /// Nothing is stored and nothing acked.
    AgentGone,
}

/// Samples of one latency: steady, and in each fault window.
struct Words {
    steady: Histogram<u64>,
    faults: Vec<Histogram<u64>>,
}

impl Words {
    fn new(faults: usize) -> Self {
        Self {
            steady: empty(),
            faults: vec![empty(); faults],
        }
    }

    fn add(&mut self, us: u64, n: u64, fault: Option<usize>) {
        let histogram = fault.map_or(&mut self.steady, |i| &mut self.faults[i]);
        histogram.record_n(us, n).unwrap();
    }

    fn latency(&self, names: &[&str], resolution: Option<(u64, u64)>) -> Latency {
        let set = |histogram| LatencySet::from_histogram(histogram, 0).unwrap();
        let faults = names.iter().zip(&self.faults);
        Latency {
            steady: set(&self.steady),
            phases: vec![NamedSet {
                name: "steady".into(),
                set: set(&self.steady),
            }],
            faults: faults
                .map(|(name, histogram)| NamedSet {
                    name: (*name).into(),
                    set: set(histogram),
                })
                .collect(),
            resolution: match resolution {
                Some((us_p50, us_p99)) => Known::Value(Resolution { us_p50, us_p99 }),
                None => Known::unknown("not taken by looking"),
            },
        }
    }
}

fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000, 3).unwrap()
}

/// What the model found.
struct Outcome {
    table: Table,
    columns: Vec<String>,
    issued: u64,
    stored: u64,
    lost: u64,
    last_stored_us: u64,
    cpu_us: u64,
    peak_rss: u64,
    peak_fill_ppm: u64,
    drained_us: Vec<u64>,
    in_flight: Vec<u64>,
    slip: Words,
    service: Words,
    response: Words,
    stored_response: Words,
    published: Words,
}

/// A small generator of noise; any would do as long as it is always the same.
struct Noise(u64);

impl Noise {
    /// A number from 0 to 1.
    fn next(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as f64 / f64::from(1_u32 << 31)
    }

    /// A number with a long tail around 1.
    fn tail(&mut self) -> f64 {
        0.55 + 0.3 * -(1.0 - self.next()).ln() + 0.02 * (1.0 / (1.001 - self.next())).min(60.0)
    }
}

fn step_through(plan: &Plan) -> Outcome {
    let mut noise = Noise(7);
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes, &[]).unwrap();
    let n = plan.faults.len();
    let [
        mut slip,
        mut service,
        mut response,
        mut stored_response,
        mut published,
    ] = [(); 5].map(|()| Words::new(n));
    // Batches that are owed: intended instant and events. Unsent ones wait before them.
    let mut queue: std::collections::VecDeque<(u64, u64)> = std::collections::VecDeque::new();
    let mut waiting: std::collections::VecDeque<(u64, u64)> = std::collections::VecDeque::new();
    let (mut issued, mut stored, mut lost, mut cpu_us) = (0, 0, 0, 0);
    let (mut peak_rss, mut peak_fill_ppm, mut last_stored_us) = (0, 0, 0);
    let mut drained_us = vec![0; n];
    let mut in_flight = vec![0; n];
    let per_step = |rate: u64| rate * STEP_US / 1_000_000;
    let mut t = 0;
    while t < plan.end_us {
        t += STEP_US;
        let active = plan
            .faults
            .iter()
            .position(|(from, to, _)| (*from..*to).contains(&(t - 1)));
        let effect = active.map(|i| plan.faults[i].2);
        if t <= plan.load_until_us {
            for part in 0..10 {
                waiting.push_back((t - STEP_US + part * STEP_US / 10, per_step(plan.rate) / 10));
            }
            issued += per_step(plan.rate);
        }
        let window = |intended: u64| {
            plan.faults
                .iter()
                .enumerate()
                .rev()
                .find_map(|(i, (from, _, _))| {
                    (intended >= *from && (intended < *from + 12_000_000)).then_some(i)
                })
        };
        let held: u64 = queue.iter().map(|(_, events)| events).sum();
        let mut acked = 0;
        if effect != Some(Effect::AgentGone) {
            while let Some(&(intended, events)) = waiting.front() {
                if held + acked + events > plan.capacity || acked > per_step(6 * plan.rate) {
                    break;
                }
                waiting.pop_front();
                queue.push_back((intended, events));
                acked += events;
                let took = (700.0 * noise.tail()) as u64;
                let late = (t - STEP_US).saturating_sub(intended);
                service.add(took, events, window(intended));
                response.add(took + late, events, window(intended));
                slip.add((9.0 * noise.tail()) as u64, events, window(intended));
            }
        }
        if plan
            .loses_at_us
            .is_some_and(|at| (t - STEP_US..t).contains(&at))
        {
            lost = queue.drain(..).map(|(_, events)| events).sum();
        }
        let possible = match effect {
            Some(Effect::StoreGone | Effect::AgentGone) => 0,
            Some(Effect::StoreSlow) => per_step(plan.drain_rate) / 4,
            None => (per_step(plan.drain_rate) as f64 * (0.9 + 0.2 * noise.next())) as u64,
        };
        let mut now_stored = 0;
        let mut arrivals = empty();
        while let Some(&(intended, events)) = queue.front() {
            if now_stored + events > possible {
                break;
            }
            queue.pop_front();
            now_stored += events;
            let late = (t - STEP_US).saturating_sub(intended);
            let us = late + (38_000.0 * noise.tail()) as u64;
            arrivals.record_n(us, events).unwrap();
            stored_response.add(us, events, window(intended));
            published.add(
                us + 1_000_000 + (2_000_000.0 * noise.next()) as u64,
                events,
                window(intended),
            );
        }
        stored += now_stored;
        if now_stored > 0 {
            last_stored_us = t;
        }
        let held: u64 = queue.iter().map(|(_, events)| events).sum();
        for (i, (from, to, _)) in plan.faults.iter().enumerate() {
            if (*from..*from + STEP_US).contains(&t) {
                in_flight[i] = held + per_step(plan.rate) / 3;
            }
            if t > *to && drained_us[i] == 0 && held < per_step(plan.rate) && waiting.len() < 20 {
                drained_us[i] = t - to;
            }
        }
        let gone = effect == Some(Effect::AgentGone);
        let used = 4_000 + (acked * 5 + now_stored * 9) + (600.0 * noise.next()) as u64;
        let rss = (48 << 20) + held * 120 + ((1 << 20) as f64 * noise.next()) as u64;
        let fill = held * 1_000_000 / plan.capacity;
        if !gone {
            cpu_us += used;
            peak_rss = peak_rss.max(rss);
            peak_fill_ppm = peak_fill_ppm.max(fill);
        }
        let up = |value: u64| (!gone).then_some(value);
        let seen = |q: f64| (!arrivals.is_empty()).then(|| arrivals.value_at_quantile(q));
        let rate = |events: u64| Some(events * 1_000_000 / STEP_US);
        let sample = Sample {
            t_us: t,
            offered_per_s: rate(if t <= plan.load_until_us {
                per_step(plan.rate)
            } else {
                0
            }),
            acked_per_s: rate(acked),
            stored_per_s: rate(now_stored),
            published_per_s: rate(now_stored),
            in_flight: Some(held + waiting.iter().map(|(_, events)| events).sum::<u64>()),
            oldest_us: queue.front().map(|(intended, _)| t - intended),
            ack_response_us_p99: (acked > 0).then(|| (1_900.0 * noise.tail()) as u64),
            stored_response_us_p50: seen(0.5),
            stored_response_us_p99: seen(0.99),
            stored_response_us_max: seen(1.0),
            channel_fill_ppm: up(fill),
            cpu_us: up(used),
            rss_bytes: up(rss),
            disk_bytes: Some((64 << 20) + held * 520),
        };
        writer.push(&sample, &[]).unwrap();
    }
    let (columns, _) = writer.finish().unwrap();
    let table = Table::parse(std::str::from_utf8(&bytes).unwrap()).unwrap();
    Outcome {
        table,
        columns,
        issued,
        stored,
        lost,
        last_stored_us,
        cpu_us,
        peak_rss,
        peak_fill_ppm,
        drained_us,
        in_flight,
        slip,
        service,
        response,
        stored_response,
        published,
    }
}

fn text(value: &str) -> Known<String> {
    Known::Value(value.to_owned())
}

fn file(role: &str, path: &str, fill: char) -> FileUsed {
    let sha256 = text(&std::iter::repeat_n(fill, 64).collect::<String>());
    FileUsed {
        role: role.into(),
        path: path.into(),
        sha256,
    }
}

/// What the three samples have in common.
fn base(scenario: &str, plan: &Plan, outcome: &Outcome, names: &[&str]) -> RunRecord {
    let counts = Counts {
        issued: outcome.issued,
        resent: if outcome.lost > 0 { 0 } else { 2_400 },
        acked: Known::Value(outcome.stored + outcome.lost),
        refused: Known::Value(0),
        unknown: Known::Value(0),
        recovered: Known::Value(0),
        owed: outcome.stored + outcome.lost,
        stored: outcome.stored,
        published: outcome.stored,
        lost: outcome.lost,
        stranded: Known::Value(0),
        ..Counts::default()
    };
    let bytes = Bytes {
        issued_bytes: Known::Value(outcome.issued * 480),
        acked_bytes: Known::Value(counts.owed * 480),
        stored_bytes: Known::Value(outcome.stored * 480),
    };
    let load = SystemLoad {
        cpu_us: Known::Value(outcome.cpu_us),
        cpu_us_per_event: Known::Value(Ratio::new(outcome.cpu_us, outcome.stored)),
        peak_rss_bytes: Known::Value(outcome.peak_rss),
        peak_disk_bytes: Known::Value(700 << 20),
        written_disk_bytes: Known::unknown("/proc/<pid>/io was not readable"),
        peak_channel_fill_ppm: Known::Value(outcome.peak_fill_ppm),
        proxies: vec![
            proxy("generator->agent", 598 << 20, 3 << 20, 5),
            proxy("agent->namenode", 310 << 10, 620 << 10, 9),
            proxy("agent->datanode1", 561 << 20, 2 << 20, 74),
        ],
    };
    let wall = Known::Value(outcome.last_stored_us);
    RunRecord {
        repeat: format!(
            "flume-bench run {scenario}.toml --seed 7 --sut engine --provider embedded \
             --set load.rate={}/s",
            plan.rate
        ),
        identity: identity(scenario),
        host: host(),
        sut: Sut {
            driver: "engine".into(),
            name: "flume-bench agent".into(),
            version: text("0.1.0"),
            config: Known::Value(file("agent_config", "scenarios/hdfs.conf", 'b')),
            quiet_us: 35_000_000,
        },
        store: Store {
            kind: "hdfs".into(),
            provider: "embedded".into(),
            server_version: text("3.4.1"),
        },
        load: Load {
            into: "avro".into(),
            rate: format!("{}/s", plan.rate),
            schedule: "constant".into(),
            batch: 100,
            connections: 4,
            payload: "access_log".into(),
            body_bytes: Known::Value(480),
            retry_for_us: 30_000_000,
            planned: outcome.issued,
            owed_rule: OwedRule::Acked,
            owed_reason: "The source answers every batch.".into(),
            settings: BTreeMap::new(),
        },
        phases: vec![
            Window::new("warm_up", 0, WARM_UP_US),
            Window::new("steady", WARM_UP_US, plan.load_until_us),
            Window::new("drain", plan.load_until_us, plan.end_us),
        ],
        indicators: Indicators::from_counts(&counts, &bytes, &wall, load),
        counts,
        bytes,
        latencies: Latencies {
            slip: outcome.slip.latency(names, None),
            ack_service: outcome.service.latency(names, None),
            ack_response: outcome.response.latency(names, None),
            stored_response: outcome.stored_response.latency(names, Some((4_100, 9_800))),
            published_response: outcome.published.latency(names, Some((50_300, 61_000))),
        },
        series: SeriesFile {
            path: "series.csv".into(),
            columns: outcome.columns.clone(),
            rows: outcome.table.len() as u64,
        },
        artefacts: [
            ("record", "record.json"),
            ("history", "history.jsonl"),
            ("journal", "journal.bin"),
            ("sut_log", "sut/agent.log"),
        ]
        .map(|(what, path)| Artefact {
            what: what.into(),
            path: path.into(),
        })
        .to_vec(),
        ..RunRecord::default()
    }
}

fn identity(scenario: &str) -> Identity {
    Identity {
        run: Text64(15_021_077_214_404_915_083),
        scenario: scenario.into(),
        description: "Access-log lines into an agent with a file channel and an HDFS sink.".into(),
        files: vec![
            file("scenario", "scenarios/hdfs.toml", 'a'),
            file("agent_config", "scenarios/hdfs.conf", 'b'),
        ],
        seed: Text64(7),
        command_line: vec![
            "flume-bench".into(),
            "run".into(),
            format!("{scenario}.toml"),
        ],
        commit: text("76042839d0c1"),
        versions: vec![
            VersionOf {
                name: "flume-bench".into(),
                version: text("0.1.0"),
            },
            VersionOf {
                name: "rustc".into(),
                version: text("1.95.0"),
            },
        ],
        started: "2026-11-22T18:02:11Z".into(),
        ended: text("2026-11-22T18:03:19Z"),
    }
}

fn host() -> Host {
    Host {
        kernel: text("Linux 6.8.0"),
        cpu_model: text("AMD EPYC 7B13"),
        cores: Known::Value(2),
        memory_bytes: Known::Value(16 << 30),
        nice: vec![
            Nice {
                process: "sut".into(),
                nice: 5,
            },
            Nice {
                process: "stores".into(),
                nice: 5,
            },
        ],
    }
}

fn proxy(link: &str, forward_bytes: u64, backward_bytes: u64, connections: u64) -> ProxyBytes {
    ProxyBytes {
        link: link.into(),
        forward_bytes,
        backward_bytes,
        connections,
    }
}

/// The words of a fault; its times come from the model.
struct Words3<'a> {
    name: &'a str,
    kind: &'a str,
    target: &'a str,
    parameters: &'a [(&'a str, &'a str)],
    witness: Known<(&'a str, &'a str)>,
}

fn fault(words: &Words3<'_>, plan: &Plan, outcome: &Outcome, i: usize) -> Fault {
    let (from, to, _) = plan.faults[i];
    Fault {
        name: words.name.into(),
        kind: words.kind.into(),
        target: words.target.into(),
        parameters: words
            .parameters
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect(),
        planned: Planned {
            at_us: Some(from - WARM_UP_US),
            for_us: Some(to - from),
            when: None,
        },
        injected_us: Known::Value(from + 2_140),
        healed_us: Known::Value(to + 1_870),
        witness: words.witness.map(|(what, evidence)| Witness {
            what: (*what).into(),
            evidence: (*evidence).into(),
            at_us: from + 212_000,
        }),
        void: words
            .witness
            .reason()
            .map(|_| "no attempt was made in the window".to_owned()),
        in_flight: Known::Value(outcome.in_flight[i]),
        recovery: Recovery {
            first_stored_us: Known::Value(412_000),
            drained_us: Known::Value(outcome.drained_us[i]),
        },
    }
}

fn cut() -> Words3<'static> {
    Words3 {
        name: "cut_namenode",
        kind: "cut_link",
        target: "agent->namenode",
        parameters: &[("direction", "both"), ("how", "drop")],
        witness: Known::Value((
            "bytes_held_back",
            "2 connections of the agent (pid 41207) held 1,312 bytes for 7.9 s; its call addBlock \
             timed out",
        )),
    }
}

fn outage() -> Words3<'static> {
    Words3 {
        name: "outage_datanode1",
        kind: "outage",
        target: "datanode1",
        parameters: &[],
        witness: Known::Value((
            "connection_refused",
            "14 connects of the agent to 127.0.0.101 were refused; pipeline of blk_1073741893 broke",
        )),
    }
}

fn kill() -> Words3<'static> {
    Words3 {
        name: "kill_agent",
        kind: "kill",
        target: "agent",
        parameters: &[("restart_after", "1200ms")],
        witness: Known::Value(("wait_status", "pid 41207 ended by signal 9; new pid 41388")),
    }
}

fn checker(name: &str, verdict: Verdict, reason: &str, expected: &str, seen: &str) -> Checker {
    Checker {
        name: name.into(),
        verdict,
        reason: reason.into(),
        expected: expected.into(),
        seen: seen.into(),
    }
}

fn objective(metric: &str, limit: Quantity, seen: Known<Quantity>, verdict: Verdict) -> Objective {
    let scope = Scope::Steady;
    Objective {
        metric: metric.into(),
        scope,
        limit,
        seen,
        verdict,
        reason: None,
    }
}

fn events(value: u64) -> Quantity {
    Quantity::new(value, "events")
}

/// Three faults, nothing lost.
pub(crate) fn passing() -> Run {
    let plan = Plan {
        load_until_us: 60_000_000,
        end_us: 66_000_000,
        rate: 20_000,
        capacity: 1_000_000,
        drain_rate: 52_000,
        loses_at_us: None,
        faults: vec![
            (15_000_000, 23_000_000, Effect::StoreGone),
            (33_000_000, 38_000_000, Effect::StoreSlow),
            (49_000_000, 50_200_000, Effect::AgentGone),
        ],
    };
    let outcome = step_through(&plan);
    let names = ["cut_namenode", "outage_datanode1", "kill_agent"];
    let mut record = base("hdfs", &plan, &outcome, &names);
    let owed = record.counts.owed;
    assert_eq!(record.counts.stored, owed, "the model has to drain");
    record.verdict = Verdict::Pass;
    record.exit_code = ExitCode::Pass;
    record.counts.duplicated = 1_300;
    record.counts.extra_copies = 1_300;
    record.counts.recovered = Known::Value(200);
    record.counts.resent = 2_400;
    record.reasons = vec![format!(
        "Nothing was lost in three faults: all {} owed events are stored and published.",
        show::count(owed)
    )];
    record.faults = [cut(), outage(), kill()]
        .iter()
        .enumerate()
        .map(|(i, words)| fault(words, &plan, &outcome, i))
        .collect();
    record.duplicates = vec![Duplicates {
        file: "/flume_data/26-11-22/events.1795370531204.log".into(),
        ids: 1_300,
        extra_copies: 1_300,
        fault: Some("kill_agent".into()),
    }]
    .into();
    let p99 = record.latencies.stored_response.steady.us_p99.clone();
    let us = |value: u64| Quantity::new(value, "us");
    record.objectives = vec![
        objective("lost", events(0), Known::Value(events(0)), Verdict::Pass),
        objective(
            "unpublished",
            events(0),
            Known::Value(events(0)),
            Verdict::Pass,
        ),
        objective(
            "stored_response_p99",
            us(2_000_000),
            p99.map(|v| us(*v)),
            Verdict::Pass,
        ),
        objective(
            "drained_within",
            us(15_000_000),
            Known::Value(us(outcome.drained_us[0])),
            Verdict::Pass,
        ),
    ];
    record.checkers = vec![
        checker(
            "conservation",
            Verdict::Pass,
            "Everything owed is stored.",
            "",
            "",
        ),
        checker(
            "publication",
            Verdict::Pass,
            "Everything stored is published.",
            "",
            "",
        ),
        checker(
            "duplicates",
            Verdict::Pass,
            "1,300 copies, which at least once allows.",
            "",
            "",
        ),
        checker(
            "corruption",
            Verdict::Pass,
            "Every checksum is right.",
            "",
            "",
        ),
        checker(
            "liveness",
            Verdict::Pass,
            "Events were stored again after every heal.",
            "",
            "",
        ),
        checker(
            "enough_evidence",
            Verdict::Pass,
            "Every fault has its witness and events in flight.",
            "",
            "",
        ),
    ];
    record.warnings = vec![Warning {
        code: "drain_deadline_raised".into(),
        message: "The drain deadline of 20 s was raised to 40 s, quiet time and 5 s more.".into(),
        remedy: "Write drain_deadline = \"40s\" to make it plain.".into(),
    }];
    Run {
        record,
        series: outcome.table,
    }
}

/// A memory channel that is killed while the store is away: what it held is lost.
pub(crate) fn failing() -> Run {
    let plan = Plan {
        load_until_us: 30_000_000,
        end_us: 38_000_000,
        rate: 20_000,
        capacity: 100_000,
        drain_rate: 52_000,
        loses_at_us: Some(19_000_000),
        faults: vec![
            (12_000_000, 22_000_000, Effect::StoreGone),
            (19_000_000, 20_200_000, Effect::AgentGone),
        ],
    };
    let outcome = step_through(&plan);
    let names = ["outage_namenode", "kill_agent"];
    let mut record = base("hdfs-memory", &plan, &outcome, &names);
    let lost = record.counts.lost;
    record.verdict = Verdict::Fail;
    record.exit_code = ExitCode::Missed;
    record.counts.published -= 1_840;
    record.counts.unpublished = 1_840;
    record.counts.torn = 1;
    record.counts.unpublished_by_cause = vec![UnpublishedCount {
        cause: "in_use_name".into(),
        events: 1_840,
    }];
    record.counts.stranded = Known::unknown("a memory channel leaves nothing to read");
    record.indicators.transfer_success_published =
        Ratio::new(record.counts.published, record.counts.issued);
    record.reasons = vec![
        format!(
            "{} acked events are lost: the memory channel held them when the agent was killed.",
            show::count(lost)
        ),
        "1,840 stored events are not published: their file still has its in-use name.".into(),
    ];
    let away = Words3 {
        name: "outage_namenode",
        target: "namenode",
        ..outage()
    };
    record.faults = [away, kill()]
        .iter()
        .enumerate()
        .map(|(i, words)| fault(words, &plan, &outcome, i))
        .collect();
    let third = lost / 4;
    record.losses = Listed {
        items: (0..4)
            .map(|producer| LossRange {
                producer,
                first: 61_400,
                last: 61_400 + third - 1,
                events: third,
                intended_from_us: Known::Value(12_010_000),
                intended_to_us: Known::Value(16_990_000),
                phase: Some("steady".into()),
                fault: Some("kill_agent".into()),
                file: text("/flume_data/26-11-22/events.1795370531204.log"),
                hop: text("acked by the source, in channel c1"),
                explanation: Some(
                    "The channel was full, and memory does not survive a kill.".into(),
                ),
            })
            .collect(),
        not_listed: 3,
    };
    record.unpublished = vec![Unpublished {
        file: "/flume_data/26-11-22/events.1795370531204.log.tmp".into(),
        events: 1_840,
        cause: "in_use_name".into(),
        fault: Some("kill_agent".into()),
    }]
    .into();
    record.anomalies = vec![Anomaly {
        class: "torn".into(),
        file: "/flume_data/26-11-22/events.1795370531204.log.tmp".into(),
        first_offset_bytes: Known::Value(883_040),
        records: 1,
        detail: "212 bytes without an end of line".into(),
    }]
    .into();
    record.objectives = vec![
        objective("lost", events(0), Known::Value(events(lost)), Verdict::Fail),
        objective(
            "unpublished",
            events(0),
            Known::Value(events(1_840)),
            Verdict::Fail,
        ),
    ];
    let count = lost.to_string();
    record.checkers = vec![
        checker(
            "conservation",
            Verdict::Fail,
            "Owed events are missing from the store.",
            "0 lost",
            &format!("{count} lost"),
        ),
        checker(
            "publication",
            Verdict::Fail,
            "One file still has its in-use name.",
            "0 unpublished",
            "1840 unpublished",
        ),
        checker(
            "corruption",
            Verdict::Pass,
            "Every checksum is right.",
            "",
            "",
        ),
        checker(
            "enough_evidence",
            Verdict::Pass,
            "Every fault has its witness and events in flight.",
            "",
            "",
        ),
    ];
    Run {
        record,
        series: outcome.table,
    }
}

/// A fault that nobody noticed: nothing went wrong, and nothing is proven.
pub(crate) fn inconclusive() -> Run {
    let plan = Plan {
        load_until_us: 20_000_000,
        end_us: 22_000_000,
        rate: 1_000,
        capacity: 10_000,
        drain_rate: 4_000,
        loses_at_us: None,
        faults: vec![(9_000_000, 10_000_000, Effect::StoreSlow)],
    };
    let outcome = step_through(&plan);
    let mut record = base("kinds/cut_link", &plan, &outcome, &["cut_datanode2"]);
    record.verdict = Verdict::Inconclusive;
    record.exit_code = ExitCode::Inconclusive;
    record.reasons = vec![
        "The fault cut_datanode2 is void: the agent made no attempt on that link while it was cut."
            .into(),
    ];
    let void = Words3 {
        name: "cut_datanode2",
        target: "agent->datanode2",
        witness: Known::unknown("no attempt on the link in the window"),
        ..cut()
    };
    record.faults = vec![fault(&void, &plan, &outcome, 0)];
    record.faults[0].recovery.drained_us = Known::unknown("the fault is void");
    record.objectives = vec![objective(
        "lost",
        events(0),
        Known::Value(events(0)),
        Verdict::Pass,
    )];
    record.checkers = vec![
        checker(
            "conservation",
            Verdict::Pass,
            "Everything owed is stored.",
            "",
            "",
        ),
        checker(
            "enough_evidence",
            Verdict::Inconclusive,
            "One fault has no witness.",
            "an attempt of the agent on agent->datanode2",
            "none",
        ),
    ];
    record.blind_windows = vec![Window::new("/flume_data", 14_200_000, 14_900_000)];
    Run {
        record,
        series: outcome.table,
    }
}

/// Ten minutes with twelve outages, sampled every 100 ms.
pub(crate) fn long() -> Run {
    let at = |i: u64| 20_000_000 + i * 48_000_000;
    let plan = Plan {
        load_until_us: 600_000_000,
        end_us: 606_000_000,
        rate: 20_000,
        capacity: 1_000_000,
        drain_rate: 52_000,
        loses_at_us: None,
        faults: (0..12)
            .map(|i| (at(i), at(i) + 6_000_000, Effect::StoreGone))
            .collect(),
    };
    let outcome = step_through(&plan);
    let names: Vec<String> = (1..=12).map(|i| format!("outage_{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut record = base("long", &plan, &outcome, &names);
    record.verdict = Verdict::Pass;
    record.exit_code = ExitCode::Pass;
    record.reasons = vec!["Nothing was lost in twelve outages.".into()];
    for (i, name) in names.iter().enumerate() {
        let words = Words3 { name, ..outage() };
        record.faults.push(fault(&words, &plan, &outcome, i));
    }
    Run {
        record,
        series: outcome.table,
    }
}

/// The worked example: 1000 events read, 950 delivered, 2 hours.
pub(crate) fn worked_example() -> RunRecord {
    let counts = Counts {
        issued: 1_000,
        acked: Known::Value(1_000),
        owed: 1_000,
        stored: 950,
        published: 950,
        lost: 50,
        ..Counts::default()
    };
    let bytes = Bytes {
        stored_bytes: Known::Value(950 * 480),
        ..Bytes::default()
    };
    let wall = Known::Value(2 * 3_600 * 1_000_000);
    let indicators = Indicators::from_counts(&counts, &bytes, &wall, SystemLoad::default());
    RunRecord {
        counts,
        bytes,
        indicators,
        ..RunRecord::default()
    }
}
