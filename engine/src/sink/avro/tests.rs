//! The Avro sink against a scripted source: answers, refusals, silence, reconnects.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::thread::JoinHandle;

use super::super::testing::{Bench, DEADLINE};
use super::*;
use crate::wire::avro_rpc::server::{Reply, ServerConnection};
use crate::wire::avro_rpc::{DEFAULT_FRAME_LIMIT, Malformed};
use crate::wire::tcp;

/// What a peer does with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Take,
    Refuse,
    Throw,
    HangUp,
    SayNothing,
}

/// A source whose manner with each call in turn is given; afterwards it takes everything.
struct Peer {
    port: u16,
    done: Arc<AtomicBool>,
    connections: Arc<AtomicUsize>,
    thread: Option<JoinHandle<Vec<String>>>,
}

impl Peer {
    fn start(manners: &[Manner], compressed: bool) -> Self {
        Self::on(tcp::listen("127.0.0.1", 0).unwrap(), manners, compressed)
    }

    fn on(listener: TcpListener, manners: &[Manner], compressed: bool) -> Self {
        let port = listener.local_addr().unwrap().port();
        let (done, connections) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let (manners, over, counter) = (
            manners.to_vec(),
            Arc::clone(&done),
            Arc::clone(&connections),
        );
        let thread = std::thread::spawn(move || {
            let (mut manners, mut taken) = (manners.into_iter(), Vec::new());
            while !over.load(Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        counter.fetch_add(1, Relaxed);
                        tcp::set_ticks(&stream).unwrap();
                        converse(stream, compressed, &mut manners, &mut taken, &over);
                    }
                    Err(error) => assert!(tcp::is_pause(&error), "{error}"),
                }
            }
            taken
        });
        Self {
            port,
            done,
            connections,
            thread: Some(thread),
        }
    }

    /// The bodies it took, in order.
    fn taken(mut self) -> Vec<String> {
        self.done.store(true, Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.done.store(true, Relaxed);
    }
}

fn converse(
    mut stream: TcpStream,
    compressed: bool,
    manners: &mut impl Iterator<Item = Manner>,
    taken: &mut Vec<String>,
    over: &AtomicBool,
) {
    let mut connection = ServerConnection::new(DEFAULT_FRAME_LIMIT, compressed);
    let (mut input, mut answers) = ([0; 4096], Vec::new());
    while !over.load(Relaxed) {
        let got = match stream.read(&mut input) {
            Ok(0) => return,
            Ok(got) => got,
            Err(error) if tcp::is_pause(&error) => continue,
            Err(_) => return,
        };
        let mut hang_up = false;
        let outcome = connection.receive(&input[..got], &mut answers, &mut |mut events| {
            let mut bodies = Vec::new();
            while let Some(event) = events.next_event()? {
                assert_eq!(event.headers().collect::<Vec<_>>(), [("k", "v")]);
                bodies.push(String::from_utf8_lossy(event.body()).into_owned());
            }
            match manners.next().unwrap_or(Manner::Take) {
                Manner::Take => {
                    taken.extend(bodies);
                    Ok(Reply::Status(avro_rpc::Status::Ok))
                }
                Manner::Refuse => Ok(Reply::Status(avro_rpc::Status::Failed)),
                Manner::Throw => Ok(Reply::Error("out of order".to_owned())),
                Manner::HangUp => Err(Malformed::Handshake),
                Manner::SayNothing => {
                    hang_up = true;
                    Ok(Reply::Status(avro_rpc::Status::Ok))
                }
            }
        });
        if outcome.is_err() {
            return;
        }
        if !hang_up {
            stream.write_all(&answers).unwrap();
        }
        answers.clear();
    }
}

fn sink(port: u16, settings: &str) -> BoxSink {
    let settings = format!("hostname = 127.0.0.1\nport = {port}\n{settings}");
    let mut sink = build(&Context::from_example("k1", &settings)).unwrap();
    sink.open().unwrap();
    sink
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|n| n.to_string()).collect()
}

#[test]
fn everything_arrives_in_order_plain_and_compressed() {
    for compressed in [false, true] {
        let peer = Peer::start(&[], compressed);
        let bench = Bench::new();
        bench.put(numbers(1050));
        let settings = if compressed {
            "compression-type = deflate\ncompression-level = 9"
        } else {
            ""
        };
        let mut sink = sink(peer.port, settings);
        bench.drain(&mut sink);
        assert_eq!(bench.counters.event_drain_success.load(Relaxed), 1050);
        assert_eq!(bench.counters.connection_created.load(Relaxed), 1);
        assert_eq!(peer.taken(), numbers(1050));
    }
}

#[test]
fn whatever_is_not_ok_is_sent_again_over_a_new_connection() {
    let peer = Peer::start(
        &[Manner::Take, Manner::Refuse, Manner::Throw, Manner::HangUp],
        false,
    );
    let bench = Bench::new();
    bench.put(numbers(25));
    let mut sink = sink(peer.port, "batch-size = 10");
    bench.drain(&mut sink);
    assert_eq!(bench.counters.event_write_fail.load(Relaxed), 3);
    assert_eq!(peer.connections.load(Relaxed), 4);
    assert_eq!(peer.taken(), numbers(25));
}

#[test]
fn no_answer_within_the_limit_is_a_failure() {
    let peer = Peer::start(&[Manner::SayNothing], false);
    let bench = Bench::new();
    bench.put(["a"]);
    let mut sink = sink(peer.port, "request-timeout = 1000");
    bench.process(&mut sink).unwrap();
    assert_eq!(bench.counters.event_write_fail.load(Relaxed), 1);
    bench.drain(&mut sink);
    assert_eq!(peer.taken(), ["a"]);
}

#[test]
fn a_source_that_comes_up_late_gets_everything() {
    let listener = tcp::listen("127.0.0.1", 0).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let bench = Bench::new();
    bench.put(numbers(10));
    let mut sink = sink(port, "");
    bench.process(&mut sink).unwrap();
    bench.process(&mut sink).unwrap();
    assert_eq!(bench.counters.connection_failed.load(Relaxed), 2);
    assert_eq!(bench.channel.fill().events, 10);
    let peer = Peer::on(tcp::listen("127.0.0.1", port).unwrap(), &[], false);
    bench.drain(&mut sink);
    assert_eq!(peer.taken(), numbers(10));
}

#[test]
fn a_stop_ends_a_call_that_gets_no_answer() {
    let peer = Peer::start(&[Manner::SayNothing], false);
    let bench = Bench::new();
    bench.put(["a"]);
    let mut sink = sink(peer.port, "");
    let stop = bench.stop.clone();
    let setter = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        stop.set();
    });
    let started = Instant::now();
    bench.process(&mut sink).unwrap();
    setter.join().unwrap();
    assert!(
        started.elapsed() < DEADLINE,
        "only the request timeout ended it"
    );
    assert_eq!(bench.channel.fill().events, 1);
}

#[test]
fn the_connection_is_renewed_when_it_is_old() {
    let peer = Peer::start(&[], false);
    let bench = Bench::new();
    let mut sink = sink(peer.port, "reset-connection-interval = 1");
    let started = Instant::now();
    while peer.connections.load(Relaxed) < 2 {
        assert!(started.elapsed() < DEADLINE);
        bench.put(["x"]);
        bench.drain(&mut sink);
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn times_below_a_second_count_as_the_default_and_tls_is_refused() {
    let context = Context::from_example("k1", "connect-timeout = 999\nrequest-timeout = 1000");
    assert_eq!(
        timeout(&context, "connect-timeout"),
        Ok(Duration::from_secs(20))
    );
    assert_eq!(
        timeout(&context, "request-timeout"),
        Ok(Duration::from_secs(1))
    );
    let error = |settings: &str| {
        let settings = format!("hostname = h\nport = 1\n{settings}");
        build(&Context::from_example("k1", &settings))
            .unwrap_err()
            .key
    };
    assert_eq!(error("ssl = true"), "ssl");
    assert_eq!(error("compression-level = 10"), "compression-level");
    assert_eq!(error("compression-type = snappy"), "compression-type");
}
