//! One suite over every kind of fault, with real processes and real sockets:
//!
//! - it takes effect, has a witness, heals, and what it struck works again;
//! - injected twice and healed twice is as good as once, and it can strike again;
//! - its do-nothing double, the same code with hands that do nothing, ends without witness;
//! - where nobody runs into it, there is no witness either;
//! - healing works at once after injecting, and after an injection that failed.
//!
//! A store (an echo server in a process of its own) stands behind a proxy; an agent (a process that
//! sleeps) is there to be struck; a client thread uses the link all the time and counts.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::*;
use crate::process::{Registry, Spawn, State};
use crate::proxy::ports::{Reservation, reserve};
use crate::proxy::{Fate, Proxies, ProxySpec};

const LONG: Duration = Duration::from_secs(20);

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {LONG:?}: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// The store's process; does nothing when run by itself.
#[test]
fn child_echoes() {
    let Ok(address) = std::env::var("FLUME_BENCH_TEST_ECHO") else {
        return;
    };
    let listener = TcpListener::bind(address).unwrap();
    for mut stream in listener.incoming().flatten() {
        thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(bytes @ 1..) = stream.read(&mut piece) {
                if stream.write_all(&piece[..bytes]).is_err() {
                    return;
                }
            }
        });
    }
}

/// Asks over the link again and again, with a connection that it keeps as long as it works.
struct Client {
    answers: Arc<AtomicU64>,
    quiet: Arc<AtomicBool>,
    resting: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Client {
    fn start(address: SocketAddr) -> Self {
        let answers = Arc::new(AtomicU64::new(0));
        let flag = || Arc::new(AtomicBool::new(false));
        let (quiet, resting, stop) = (flag(), flag(), flag());
        let (counts, silent, rests, ends) = (
            Arc::clone(&answers),
            Arc::clone(&quiet),
            Arc::clone(&resting),
            Arc::clone(&stop),
        );
        let thread = thread::spawn(move || {
            let mut kept: Option<TcpStream> = None;
            while !ends.load(Ordering::Relaxed) {
                if silent.load(Ordering::Relaxed) {
                    kept = None;
                    rests.store(true, Ordering::Relaxed);
                } else {
                    rests.store(false, Ordering::Relaxed);
                    let stream = kept.take().map_or_else(|| TcpStream::connect(address), Ok);
                    kept = stream.ok().filter(|stream| ask(stream).is_ok());
                    counts.fetch_add(u64::from(kept.is_some()), Ordering::Relaxed);
                }
                thread::sleep(Duration::from_millis(2));
            }
        });
        Self {
            answers,
            quiet,
            resting,
            stop,
            thread: Some(thread),
        }
    }

    fn works(&self, what: &str) {
        let before = self.answers.load(Ordering::Relaxed);
        until(what, || self.answers.load(Ordering::Relaxed) >= before + 3);
    }

    fn rest(&self) {
        self.quiet.store(true, Ordering::Relaxed);
        until("the client rests", || self.resting.load(Ordering::Relaxed));
    }

    fn go_on(&self) {
        self.quiet.store(false, Ordering::Relaxed);
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn ask(mut stream: &TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_millis(300)))?;
    stream.write_all(b"well?")?;
    stream.read_exact(&mut [0; 5])
}

struct Rig {
    client: Client,
    sham: AtomicBool,
    link: Link,
    watcher: Watcher,
    specs: BTreeMap<&'static str, Spawn>,
    restarts: Mutex<Vec<String>>,
    store: SocketAddr,
    _proxies: Proxies,
    _reservation: Reservation,
    registry: Registry,
    _directory: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let registry = Registry::create(directory.path()).unwrap();
        let reservation = reserve(&[Ipv4Addr::LOCALHOST.into()]).unwrap();
        let store = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), reservation.port());
        let this = std::env::current_exe().unwrap();
        let argv = [
            this.to_str().unwrap(),
            "--exact",
            "fault::conformance::child_echoes",
            "--nocapture",
        ];
        let echo = Spawn::new("store", argv, directory.path().join("store.log"))
            .env("FLUME_BENCH_TEST_ECHO", store.to_string());
        let sleep = Spawn::new(
            "agent",
            ["sleep", "1000"],
            directory.path().join("agent.log"),
        );
        let specs = BTreeMap::from([("agent", sleep), ("store", echo)]);
        for spec in specs.values() {
            registry.spawn(spec).unwrap();
        }
        let proxies = Proxies::start(7, None).unwrap();
        let listen = vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0)];
        let name = "agent->store".to_owned();
        let spec = ProxySpec {
            name,
            listen,
            upstream: store,
            attribute: false,
        };
        let proxy = proxies.open(&spec).unwrap();
        let rig = Self {
            client: Client::start(proxy.address()),
            sham: AtomicBool::new(false),
            link: proxies.link("agent->store", &[proxy], None),
            watcher: Watcher::start(&registry).unwrap(),
            specs,
            restarts: Mutex::default(),
            store,
            _proxies: proxies,
            _reservation: reservation,
            registry,
            _directory: directory,
        };
        rig.client.works("the rig");
        rig
    }

    fn pid(&self, role: &str) -> i32 {
        self.process(role).unwrap().pid()
    }
}

impl World for Rig {
    fn link(&self, name: &str) -> Option<Link> {
        (name == self.link.name()).then(|| self.link.clone())
    }

    fn links_to(&self, role: &str) -> Vec<Link> {
        if role == "store" {
            vec![self.link.clone()]
        } else {
            Vec::new()
        }
    }

    fn roles(&self, target: &str) -> Vec<String> {
        self.specs
            .keys()
            .filter(|role| **role == target)
            .map(|role| (*role).to_owned())
            .collect()
    }

    fn process(&self, role: &str) -> Option<Process> {
        self.registry.latest(role)
    }

    fn watcher(&self) -> &Watcher {
        &self.watcher
    }

    fn expect_end(&self, _role: &str) {}

    fn restart(&self, role: &str) -> Result<(), String> {
        let spec = self.specs.get(role).ok_or("unknown role")?;
        self.registry
            .spawn(spec)
            .map_err(|error| error.to_string())?;
        self.restarts.lock().unwrap().push(role.to_owned());
        until("the store is back", || {
            role != "store" || TcpStream::connect(self.store).is_ok()
        });
        Ok(())
    }

    fn impose(&self, link: &Link, conditions: Conditions) -> RuleId {
        if self.sham.load(Ordering::Relaxed) {
            return link.impose(Conditions::default());
        }
        link.impose(conditions)
    }

    fn signal(&self, process: &Process, to: Reach, signal: Signal) -> Result<bool, ProcessError> {
        match to {
            _ if self.sham.load(Ordering::Relaxed) => Ok(true),
            Reach::Process => process.signal(signal),
            Reach::Group => process.signal_group(signal),
        }
    }
}

/// One way to use a kind.
struct Case {
    kind: &'static str,
    settings: &'static str,
    /// A word of the evidence.
    evidence: &'static str,
    /// What shows that the time to heal has come, where the witness needs the recovery as well.
    ripe: Option<fn(&Rig, Instant) -> bool>,
    /// Whether it is the link that must be used for there to be a witness.
    needs_use: bool,
}

fn agent_gone(rig: &Rig, _from: Instant) -> bool {
    !rig.process("agent").unwrap().alive()
}

fn store_missed(rig: &Rig, from: Instant) -> bool {
    rig.link
        .attempts(from, Instant::now())
        .iter()
        .any(|attempt| {
            attempt.at >= from
                && matches!(attempt.fate, Fate::Unreachable { .. } | Fate::Ended { .. })
        })
}

const CASES: &[Case] = &[
    Case {
        kind: "cut_link",
        settings: "link = 'agent->store'",
        evidence: "held back",
        ripe: None,
        needs_use: true,
    },
    Case {
        kind: "cut_link",
        settings: "link = 'agent->store'\nhow = 'reset'",
        evidence: "had its connection reset",
        ripe: None,
        needs_use: true,
    },
    Case {
        kind: "cut_link",
        settings: "link = 'agent->store'\ndirection = 'down'",
        evidence: "held back on the way down",
        ripe: None,
        needs_use: true,
    },
    Case {
        kind: "kill",
        settings: "target = 'agent'",
        evidence: "signal 9",
        ripe: Some(agent_gone),
        needs_use: false,
    },
    Case {
        kind: "kill",
        settings: "target = 'store'",
        evidence: "signal 9",
        ripe: Some(store_missed),
        needs_use: true,
    },
    Case {
        kind: "outage",
        settings: "target = 'store'",
        evidence: "signal 9",
        ripe: Some(store_missed),
        needs_use: true,
    },
    Case {
        kind: "outage",
        settings: "target = 'store'\nhow = 'pause'",
        evidence: "got no answer",
        ripe: None,
        needs_use: true,
    },
    Case {
        kind: "outage",
        settings: "target = 'store'\nhow = 'refuse'",
        evidence: "refused a connection",
        ripe: None,
        needs_use: true,
    },
    Case {
        kind: "pause",
        settings: "target = 'agent'",
        evidence: "state T",
        ripe: None,
        needs_use: false,
    },
    Case {
        kind: "slow_link",
        settings: "link = 'agent->store'\nlatency = '30ms'\njitter = '10ms'\nbandwidth = '1 MB/s'",
        evidence: "delayed by up to",
        ripe: None,
        needs_use: true,
    },
];

impl Case {
    fn build(&self) -> Box<dyn Fault> {
        let kind = KINDS.iter().find(|kind| kind.name == self.kind).unwrap();
        (kind.build)(toml::from_str(self.settings).unwrap()).unwrap()
    }

    fn name(&self) -> String {
        format!("{} ({})", self.kind, self.settings.replace('\n', ", "))
    }

    /// Waits until the fault has done its work.
    fn ripens(&self, rig: &Rig, fault: &dyn Fault, from: Instant) {
        until(&self.name(), || match self.ripe {
            Some(ripe) => ripe(rig, from),
            None => fault.witness(rig).is_some(),
        });
    }
}

#[test]
fn every_kind_is_in_the_suite() {
    for kind in KINDS {
        assert!(
            CASES.iter().any(|case| case.kind == kind.name),
            "{}",
            kind.name
        );
    }
}

#[test]
fn every_kind_takes_effect_has_a_witness_heals_and_can_strike_again() {
    let rig = Rig::new();
    for case in CASES {
        let mut fault = case.build();
        assert!(fault.witness(&rig).is_none(), "before the strike");
        fault.heal(&rig).unwrap();
        for _ in 0..2 {
            let from = Instant::now();
            fault.inject(&rig).unwrap();
            fault.inject(&rig).unwrap();
            case.ripens(&rig, &*fault, from);
            fault.heal(&rig).unwrap();
            let restarts = rig.restarts.lock().unwrap().len();
            fault.heal(&rig).unwrap();
            assert_eq!(rig.restarts.lock().unwrap().len(), restarts, "healed twice");
            rig.client.works(&case.name());
            let witness = fault
                .witness(&rig)
                .unwrap_or_else(|| panic!("{}", case.name()));
            assert!(
                witness.evidence.contains(case.evidence),
                "{}: {witness:?}",
                case.name()
            );
            assert!(witness.at >= from && witness.at <= Instant::now());
            until("the agent runs", || {
                rig.process("agent").unwrap().state() == Some(State::Sleeping)
            });
        }
    }
}

/// The same code with hands that do nothing: whatever it believes, nobody saw anything.
#[test]
fn a_double_that_does_nothing_ends_without_witness() {
    let rig = Rig::new();
    rig.sham.store(true, Ordering::Relaxed);
    // All at the same time: they do nothing, so they cannot be in each other's way.
    thread::scope(|scope| {
        for case in CASES {
            let rig = &rig;
            scope.spawn(move || {
                let (agent, store) = (rig.pid("agent"), rig.pid("store"));
                let mut fault = case.build();
                fault.inject(rig).unwrap();
                rig.client.works(&case.name());
                let looked = Instant::now() + Watcher::PERIOD * 5;
                until("the observer has looked", || Instant::now() > looked);
                fault.heal(rig).unwrap();
                rig.client.works(&case.name());
                let witness = fault.witness(rig);
                assert!(witness.is_none(), "{}: {witness:?}", case.name());
                assert_eq!((rig.pid("agent"), rig.pid("store")), (agent, store));
            });
        }
    });
}

#[test]
fn a_fault_that_nobody_runs_into_has_no_witness() {
    let rig = Rig::new();
    for case in CASES.iter().filter(|case| case.needs_use) {
        rig.client.rest();
        // What the client left behind when it stopped has reached the proxy.
        let settled = Instant::now() + Duration::from_millis(50);
        until("quiet", || Instant::now() > settled);
        let mut fault = case.build();
        fault.inject(&rig).unwrap();
        let held = Instant::now() + Watcher::PERIOD * 5;
        until("held for a while", || Instant::now() > held);
        fault.heal(&rig).unwrap();
        rig.client.go_on();
        rig.client.works(&case.name());
        let witness = fault.witness(&rig);
        assert!(witness.is_none(), "{}: {witness:?}", case.name());
    }
}

#[test]
fn healing_works_at_once_and_after_an_injection_that_failed() {
    let rig = Rig::new();
    for case in CASES {
        let mut fault = case.build();
        fault.inject(&rig).unwrap();
        fault.heal(&rig).unwrap();
        rig.client.works(&case.name());
        until("the agent runs", || {
            rig.process("agent").unwrap().state() == Some(State::Sleeping)
        });
    }
    for kind in KINDS {
        let example = kind
            .example
            .replace("namenode", "nobody")
            .replace("'agent'", "'nobody'");
        let example = example.replace("'store'", "'nobody'");
        let mut fault = (kind.build)(toml::from_str(&example).unwrap()).unwrap();
        let error = fault.inject(&rig).unwrap_err().to_string();
        assert!(
            error.contains("nobody") && error.contains(kind.name),
            "{error}"
        );
        fault.heal(&rig).unwrap();
        assert!(fault.witness(&rig).is_none());
    }
}

/// A process that ended by itself cannot be struck, and a kill does not claim its death.
#[test]
fn what_has_ended_by_itself_is_not_struck() {
    let rig = Rig::new();
    rig.process("agent")
        .unwrap()
        .signal(Signal::SIGKILL)
        .unwrap();
    until("gone", || !rig.process("agent").unwrap().alive());
    for (kind, settings) in [("kill", "target = 'agent'"), ("pause", "target = 'agent'")] {
        let kind = KINDS.iter().find(|known| known.name == kind).unwrap();
        let mut fault = (kind.build)(toml::from_str(settings).unwrap()).unwrap();
        let error = fault.inject(&rig).unwrap_err();
        assert!(matches!(error, FaultError::NotRunning { .. }), "{error}");
        fault.heal(&rig).unwrap();
        assert!(fault.witness(&rig).is_none());
    }
    assert!(
        rig.restarts.lock().unwrap().is_empty(),
        "healing starts only what was struck"
    );
}

/// Kill and pause of the same process overlap: both heal, in either order.
#[test]
fn overlapping_faults_heal_in_either_order() {
    let rig = Rig::new();
    let case = |kind: &str| CASES.iter().find(|case| case.kind == kind).unwrap().build();
    for pause_first in [true, false] {
        let (mut pause, mut kill) = (case("pause"), case("kill"));
        pause.inject(&rig).unwrap();
        until("paused", || pause.witness(&rig).is_some());
        let from = Instant::now();
        kill.inject(&rig).unwrap();
        until("killed although stopped", || agent_gone(&rig, from));
        if pause_first {
            pause.heal(&rig).unwrap();
            kill.heal(&rig).unwrap();
        } else {
            kill.heal(&rig).unwrap();
            pause.heal(&rig).unwrap();
        }
        assert!(kill.witness(&rig).is_some() && pause.witness(&rig).is_some());
        until("the agent runs", || {
            rig.process("agent").unwrap().state() == Some(State::Sleeping)
        });
    }
}
