//! A whole agent in one process: start, drain, stop, and parts that fail.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use super::*;
use crate::channel::ArcChannel;
use crate::channel::memory::{Limits, MemoryChannel};
use crate::clock::FixedClock;
use crate::config::{SinkPart, SourcePart};
use crate::event::BatchBuilder;
use crate::processor::ChannelProcessor;
use crate::sink::{BoxError, Feed, Sink, Status, TAKE_WAIT};
use crate::source::Source;
use crate::stop::Stop;

const LONG: Duration = Duration::from_secs(20);

/// Delivers `events` events in batches of 10, then is done.
#[derive(Debug)]
struct Count {
    events: usize,
    failures: usize,
}

impl Source for Count {
    fn open(&mut self) -> Result<(), BoxError> {
        if self.failures > 0 {
            self.failures -= 1;
            return Err("its port is in use".into());
        }
        Ok(())
    }

    fn run(&mut self, out: &ChannelProcessor, stop: &Stop) -> Result<(), BoxError> {
        let mut builder = BatchBuilder::new();
        for start in (0..self.events).step_by(10) {
            for number in start..(start + 10).min(self.events) {
                builder.push([], number.to_string().as_bytes())?;
            }
            out.deliver(builder.finish(), stop)?;
        }
        Ok(())
    }
}

/// Keeps the bodies it takes. Fails every third time after the take; stands still while `shut`.
#[derive(Debug, Clone, Default)]
struct Keep {
    bodies: Arc<Mutex<Vec<usize>>>,
    shut: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
    closed: Arc<AtomicBool>,
}

impl Sink for Keep {
    fn open(&mut self) -> Result<(), BoxError> {
        Ok(())
    }

    fn process(&mut self, feed: &Feed<'_>) -> Result<Status, BoxError> {
        if self.shut.load(SeqCst) {
            feed.stop.wait(Duration::from_millis(5));
            return Ok(Status::Ready);
        }
        let take = feed.channel.take(7, TAKE_WAIT)?;
        if self.calls.fetch_add(1, SeqCst) % 3 == 2 && !take.is_empty() {
            // Dropping the take rolls it back; answering Ready skips the wait.
            return Ok(Status::Ready);
        }
        let number = |event: crate::event::Event<'_>| String::from_utf8_lossy(event.body()).parse();
        let numbers: Result<Vec<usize>, _> = take
            .slices()
            .iter()
            .flat_map(|slice| slice.iter().map(number))
            .collect();
        let empty = take.is_empty();
        take.commit()?;
        self.bodies.lock().unwrap().extend(numbers?);
        Ok(if empty {
            Status::Backoff
        } else {
            Status::Ready
        })
    }

    fn close(&mut self) -> Result<(), BoxError> {
        self.closed.store(true, SeqCst);
        Ok(())
    }
}

fn channel(capacity: usize) -> ArcChannel {
    let keep_alive = Duration::from_millis(5);
    let limits = Limits {
        capacity,
        transaction_capacity: 10,
        body_bytes: u64::MAX,
        keep_alive,
    };
    Arc::new(MemoryChannel::new("c1", limits))
}

fn start(channel: &ArcChannel, source: Count, sink: impl Sink + 'static) -> Agent {
    let processor = ChannelProcessor::replicating("r1", vec![Arc::clone(channel)]);
    let counters = Arc::clone(processor.counters());
    let plan = Plan {
        agent: "a1".to_owned(),
        channels: vec![ChannelPart {
            name: "c1".to_owned(),
            kind: "memory",
            channel: Arc::clone(channel),
        }],
        sources: vec![SourcePart {
            name: "r1".to_owned(),
            kind: "count",
            source: Box::new(source),
            processor,
            counters,
        }],
        sinks: vec![SinkPart {
            name: "k1".to_owned(),
            kind: "keep",
            sink: Box::new(sink),
            channel: Arc::clone(channel),
            counters: Arc::default(),
        }],
    };
    Agent::start(plan, Arc::new(FixedClock::at(42))).unwrap()
}

/// Waits until `done`, or fails.
fn until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + LONG;
    while !done() {
        assert!(Instant::now() < deadline, "waited too long for: {what}");
        thread::yield_now();
    }
}

#[test]
fn all_events_arrive_in_order_through_a_channel_that_is_too_small() {
    let (channel, sink) = (channel(20), Keep::default());
    let mut agent = start(
        &channel,
        Count {
            events: 1000,
            failures: 0,
        },
        sink.clone(),
    );
    assert!(agent.wait_until_ready(LONG));
    until("all events", || sink.bodies.lock().unwrap().len() >= 1000);
    let json: serde_json::Value = serde_json::from_str(&agent.registry().json()).unwrap();
    assert_eq!(json["SOURCE.r1"]["EventReceivedCount"], "1000");
    assert_eq!(json["CHANNEL.c1"]["EventPutSuccessCount"], "1000");
    assert_eq!(json["CHANNEL.c1"]["StartTime"], "42");
    let registry = Arc::clone(agent.registry());
    assert_eq!(
        agent.stop(LONG),
        Ended {
            left: vec![],
            stuck: vec![]
        }
    );
    assert!(sink.closed.load(SeqCst));
    assert_eq!(*sink.bodies.lock().unwrap(), (0..1000).collect::<Vec<_>>());
    assert!(registry.json().contains("\"StopTime\":\"42\""));
}

#[test]
fn stopping_drains_the_channel() {
    let (channel, sink) = (channel(1000), Keep::default());
    sink.shut.store(true, SeqCst);
    let agent = start(
        &channel,
        Count {
            events: 500,
            failures: 0,
        },
        sink.clone(),
    );
    until("500 events in the channel", || channel.fill().events == 500);
    sink.shut.store(false, SeqCst);
    assert_eq!(
        agent.stop(LONG),
        Ended {
            left: vec![],
            stuck: vec![]
        }
    );
    assert_eq!(*sink.bodies.lock().unwrap(), (0..500).collect::<Vec<_>>());
    assert!(
        channel.take(1, Duration::ZERO).is_err(),
        "the channel is closed"
    );
}

/// On a busy machine the stop may come before a sink's thread had its first turn.
#[test]
fn a_sink_that_comes_late_drains_as_well() {
    let (channel, sink) = (channel(1000), Keep::default());
    let processor = ChannelProcessor::replicating("r1", vec![Arc::clone(&channel)]);
    let mut source = Count {
        events: 500,
        failures: 0,
    };
    source.run(&processor, &Stop::default()).unwrap();
    let (reports, _heard) = mpsc::channel();
    let stops = Stops::default();
    stops.sources.set();
    stops.drain.set();
    let counters = Arc::default();
    let around = Surround {
        stops,
        reports,
        member: Arc::new(Member::new("k1", Group::Sink(Arc::clone(&counters)))),
        clock: Arc::new(FixedClock::at(42)),
    };
    let part = SinkPart {
        name: "k1".to_owned(),
        kind: "keep",
        sink: Box::new(sink.clone()),
        channel: Arc::clone(&channel),
        counters,
    };
    runner::run_sink(part, &around);
    assert_eq!(*sink.bodies.lock().unwrap(), (0..500).collect::<Vec<_>>());
    assert!(sink.closed.load(SeqCst));
}

#[test]
fn draining_has_a_limit_and_what_is_left_is_told() {
    let (channel, sink) = (channel(1000), Keep::default());
    sink.shut.store(true, SeqCst);
    let agent = start(
        &channel,
        Count {
            events: 500,
            failures: 0,
        },
        sink,
    );
    until("500 events in the channel", || channel.fill().events == 500);
    let ended = agent.stop(Duration::from_millis(50));
    assert_eq!(
        ended,
        Ended {
            left: vec![("c1".to_owned(), 500)],
            stuck: vec![]
        }
    );
}

#[test]
fn a_source_that_waits_for_room_ends_when_the_agent_stops() {
    let (channel, sink) = (channel(20), Keep::default());
    sink.shut.store(true, SeqCst);
    let agent = start(
        &channel,
        Count {
            events: 500,
            failures: 0,
        },
        sink,
    );
    until("a full channel", || channel.fill().events == 20);
    assert_eq!(
        agent.stop(Duration::from_millis(50)).stuck,
        Vec::<String>::new()
    );
}

#[test]
fn a_source_that_cannot_open_is_reported_and_ends_when_the_agent_stops() {
    let (channel, sink) = (channel(20), Keep::default());
    let mut agent = start(
        &channel,
        Count {
            events: 10,
            failures: 1000,
        },
        sink,
    );
    let mut reports = std::iter::from_fn(|| agent.next_report(LONG));
    let report = reports.find(|report| matches!(report, Report::NotOpened { .. }));
    let expected = Report::NotOpened {
        component: "source r1".to_owned(),
        error: "its port is in use".to_owned(),
    };
    assert_eq!(report, Some(expected));
    assert!(!agent.is_ready());
    assert_eq!(
        agent.stop(LONG),
        Ended {
            left: vec![],
            stuck: vec![]
        }
    );
}

#[test]
fn a_defect_of_a_sink_ends_that_sink_and_keeps_its_events() {
    #[derive(Debug)]
    struct Defective;
    impl Sink for Defective {
        fn open(&mut self) -> Result<(), BoxError> {
            Ok(())
        }
        fn process(&mut self, feed: &Feed<'_>) -> Result<Status, BoxError> {
            let take = feed.channel.take(7, TAKE_WAIT)?;
            assert!(take.is_empty(), "this panic is part of the test");
            Ok(Status::Backoff)
        }
        fn close(&mut self) -> Result<(), BoxError> {
            Ok(())
        }
    }
    let channel = channel(100);
    let mut agent = start(
        &channel,
        Count {
            events: 50,
            failures: 0,
        },
        Defective,
    );
    let ended = Report::Ended("sink k1".to_owned());
    assert!(std::iter::from_fn(|| agent.next_report(LONG)).any(|report| report == ended));
    until("50 events in the channel", || channel.fill().events == 50);
    let expected = Ended {
        left: vec![("c1".to_owned(), 50)],
        stuck: vec![],
    };
    assert_eq!(agent.stop(LONG), expected, "there is nobody to wait for");
}
