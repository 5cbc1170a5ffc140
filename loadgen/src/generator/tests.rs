//! What every generator must do, against peers inside the test.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::AtomicU32;
use std::thread;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use serde_json::json;

use super::*;
use crate::observe::{Answered, FileChange, FileId, Read as StoreRead, Sent};
use crate::payload;
use crate::schedule::{Settings, Shape};
use crate::token::{Examined, examine};

const RUN: u64 = 0xfeed;

/// Everything that was reported, in its order.
#[derive(Debug, Default)]
struct Recorder(Mutex<Vec<Said>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Sent(Sent),
    Answered(Answered),
}

impl Observer for Recorder {
    fn sent(&self, sent: &Sent) -> io::Result<()> {
        self.0.lock().unwrap().push(Said::Sent(*sent));
        Ok(())
    }
    fn answered(&self, answered: &Answered) -> io::Result<()> {
        self.0.lock().unwrap().push(Said::Answered(*answered));
        Ok(())
    }
    fn read(&self, _: &StoreRead) -> io::Result<()> {
        unreachable!("a generator reads no store")
    }
    fn file(&self, _: FileId, _: Micros, _: &FileChange) -> io::Result<()> {
        unreachable!("a generator sees no file")
    }
    fn looked(&self, _: Micros, _: Micros) -> io::Result<()> {
        unreachable!("a generator does not look")
    }
    fn blind(&self, _: Micros, _: Micros, _: &str) -> io::Result<()> {
        unreachable!("a generator is never blind")
    }
}

impl Recorder {
    fn sent(&self) -> Vec<Sent> {
        let said = self.0.lock().unwrap();
        said.iter()
            .filter_map(|said| {
                if let Said::Sent(sent) = said {
                    Some(*sent)
                } else {
                    None
                }
            })
            .collect()
    }

    fn answered(&self) -> Vec<Answered> {
        let said = self.0.lock().unwrap();
        said.iter()
            .filter_map(|said| {
                if let Said::Answered(answered) = said {
                    Some(*answered)
                } else {
                    None
                }
            })
            .collect()
    }

    /// (attempt, first, count, answer) of every answer.
    fn short(&self) -> Vec<(u32, u64, u32, Answer)> {
        let answered = self.answered();
        answered
            .iter()
            .map(|a| (a.attempt, a.batch.first, a.batch.count, a.answer))
            .collect()
    }

    /// Every answer stands after the report of its attempt, and no attempt is reported twice.
    fn assert_in_order(&self) {
        let mut open = BTreeMap::new();
        for said in self.0.lock().unwrap().iter() {
            match said {
                Said::Sent(sent) => {
                    let key = (sent.batch.producer, sent.batch.first, sent.attempt);
                    assert!(
                        open.insert(key, sent.batch.count).is_none(),
                        "twice: {sent:?}"
                    );
                    assert!(sent.released >= sent.batch.intended, "{sent:?}");
                    assert!(sent.first_byte >= sent.released, "{sent:?}");
                }
                Said::Answered(a) => {
                    // A part of an attempt is answered within the batch that was sent.
                    let (key, count) = open
                        .range(..=(a.batch.producer, a.batch.first, a.attempt))
                        .rfind(|((producer, first, attempt), count)| {
                            *producer == a.batch.producer
                                && *attempt == a.attempt
                                && first + u64::from(**count) > a.batch.first
                        })
                        .expect("answered before it was sent");
                    assert!(a.batch.first + u64::from(a.batch.count) <= key.1 + u64::from(*count));
                }
            }
        }
    }
}

/// A load of `batches` batches of `batch` events for each of `connections`, due within 20 ms.
fn load(batches: u32, batch: u32, connections: u16) -> (Load, Arc<Recorder>) {
    let total = f64::from(batches) * f64::from(batch) * f64::from(connections);
    let schedule = Schedule::new(Settings {
        shape: Shape::Constant { rate: total / 0.02 },
        duration: Duration::from_millis(20),
        batch,
        connections,
        seed: 1,
    });
    let settings = payload::Settings {
        size: 480,
        pool: 64 << 10,
        path: None,
    };
    let pool = Pool::new("access_log", &settings, 1).unwrap();
    let clock = Clock::start();
    clock.set_t0(clock.raw());
    let recorder = Arc::new(Recorder::default());
    let load = Load {
        schedule: Arc::new(schedule.unwrap()),
        bodies: Bodies {
            run: RUN,
            pool: Arc::new(pool),
        },
        clock: Arc::new(clock),
        observer: recorder.clone(),
        forwarded: Arc::new(|_| None),
        retry_for: Duration::from_secs(20),
        call_timeout: Duration::from_secs(10),
    };
    (load, recorder)
}

fn run(generator: &dyn Generator, load: &Load) -> Finished {
    let finished = start(generator, load)
        .unwrap()
        .finish(Duration::from_secs(30));
    assert!(finished.failure.is_none(), "{finished:?}");
    finished
}

/// The ids (producer, sequence) of bodies, each of which must be whole.
fn ids<'a>(bodies: impl IntoIterator<Item = &'a [u8]>) -> Vec<(u16, u64)> {
    bodies
        .into_iter()
        .map(|body| match examine(body, RUN) {
            Examined::One {
                token,
                payload_ok: true,
            } => (token.producer, token.sequence),
            other => panic!("{other:?}"),
        })
        .collect()
}

fn all_ids(load: &Load) -> Vec<(u16, u64)> {
    let mut all: Vec<_> = load
        .schedule
        .iter()
        .flat_map(|b| (b.first..b.first + u64::from(b.count)).map(move |id| (b.producer, id)))
        .collect();
    all.sort_unstable();
    all
}

/// What a peer does with the call or connection it is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Do {
    Ok,
    Fail,
    /// Reads the whole call, then closes.
    Close,
    /// Reads the whole call and never answers.
    Silence,
    /// Does not know the protocol unless its text is sent.
    AskForText,
}

/// A peer on loopback; its threads end with the connections, which the generators close.
struct Peer {
    address: SocketAddr,
    bodies: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Peer {
    fn start(serve: impl Fn(TcpStream, &Mutex<Vec<Vec<u8>>>) + Send + Sync + 'static) -> Peer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let (serve, kept) = (Arc::new(serve), bodies.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (serve, kept) = (serve.clone(), kept.clone());
                let stream = stream.unwrap();
                thread::spawn(move || serve(stream, &kept));
            }
        });
        Peer { address, bodies }
    }

    /// An Avro source; `script` says what to do with the n-th call of all.
    fn avro(deflate: bool, script: impl Fn(u32) -> Do + Send + Sync + 'static) -> Peer {
        let calls = AtomicU32::new(0);
        Peer::start(move |stream, kept| {
            let mut wire = AvroServer::new(stream, deflate);
            let mut first = true;
            while let Some((serial, body)) = wire.request() {
                let does = script(calls.fetch_add(1, Ordering::SeqCst));
                let has_text = body.windows(18).any(|part| part == b"AvroSourceProtocol");
                if does == Do::AskForText && !has_text {
                    wire.reply(serial, &[4, 0, 0, 0]);
                    continue;
                }
                match does {
                    Do::Close => return,
                    Do::Silence => drop(wire.request()),
                    Do::Ok | Do::AskForText => kept.lock().unwrap().extend(events(&body)),
                    Do::Fail => {}
                }
                let mut reply = if first { vec![0, 0, 0, 0] } else { Vec::new() };
                reply.extend_from_slice(&[0, 0, if does == Do::Fail { 2 } else { 0 }]);
                wire.reply(serial, &reply);
                first = false;
            }
        })
    }
}

/// The server's side of the wire, written apart from the client's.
struct AvroServer {
    stream: TcpStream,
    plain: Vec<u8>,
    zip: Option<(Decompress, Compress)>,
}

impl AvroServer {
    fn new(stream: TcpStream, deflate: bool) -> AvroServer {
        let zip = deflate.then(|| {
            (
                Decompress::new(true),
                Compress::new(Compression::fast(), true),
            )
        });
        AvroServer {
            stream,
            plain: Vec::new(),
            zip,
        }
    }

    fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.plain.len() < count {
            let mut buffer = [0; 8192];
            let got = self.stream.read(&mut buffer).ok().filter(|got| *got > 0)?;
            match &mut self.zip {
                None => self.plain.extend_from_slice(&buffer[..got]),
                Some((unzip, _)) => {
                    self.plain.reserve(8 << 20);
                    unzip
                        .decompress_vec(&buffer[..got], &mut self.plain, FlushDecompress::Sync)
                        .unwrap();
                }
            }
        }
        Some(self.plain.drain(..count).collect())
    }

    fn word(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().unwrap()))
    }

    fn request(&mut self) -> Option<(u32, Vec<u8>)> {
        let (serial, count) = (self.word()?, self.word()?);
        let mut body = Vec::new();
        for _ in 0..count {
            let length = self.word()?;
            body.extend(self.take(length as usize)?);
        }
        Some((serial, body))
    }

    fn reply(&mut self, serial: u32, body: &[u8]) {
        let mut frame = [
            serial.to_be_bytes(),
            1u32.to_be_bytes(),
            (body.len() as u32).to_be_bytes(),
        ]
        .concat();
        frame.extend_from_slice(body);
        if let Some((_, zip)) = &mut self.zip {
            let mut wire = Vec::with_capacity(200);
            zip.compress_vec(&frame, &mut wire, FlushCompress::Sync)
                .unwrap();
            frame = wire;
        }
        let _ = self.stream.write_all(&frame);
    }
}

/// The bodies in an `appendBatch` request.
fn events(request: &[u8]) -> Vec<Vec<u8>> {
    let name = b"\x16appendBatch";
    let at = request
        .windows(name.len())
        .position(|part| part == name)
        .unwrap()
        + name.len();
    let mut rest = &request[at..];
    let long = |rest: &mut &[u8]| {
        let (mut value, mut shift) = (0u64, 0);
        loop {
            let byte = rest[0];
            *rest = &rest[1..];
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return (value >> 1) as usize;
            }
        }
    };
    let count = long(&mut rest);
    let mut bodies = Vec::new();
    for _ in 0..count {
        assert_eq!(long(&mut rest), 0, "no headers");
        let length = long(&mut rest);
        bodies.push(rest[..length].to_vec());
        rest = &rest[length..];
    }
    assert_eq!(rest, [0], "the end of the array, and of the request");
    bodies
}

fn avro_to(peer: &Peer, deflate: bool) -> avro::Avro {
    avro::Avro::new(avro::Config {
        address: peer.address,
        deflate,
    })
}

fn sorted_ids(peer: &Peer) -> Vec<(u16, u64)> {
    let bodies = peer.bodies.lock().unwrap();
    let mut found = ids(bodies.iter().map(Vec::as_slice));
    found.sort_unstable();
    found
}

#[test]
fn kinds_are_sorted_and_their_examples_build() {
    assert!(KINDS.is_sorted_by(|a, b| a.name < b.name));
    for kind in KINDS {
        let example: serde_json::Value = serde_json::from_str(kind.example).unwrap();
        assert!((kind.build)(example.clone()).is_ok(), "{}", kind.name);
        let mut wrong = example;
        wrong["adress"] = json!(1);
        let error = (kind.build)(wrong).unwrap_err().to_string();
        assert!(
            error.contains("adress") && error.contains(kind.name),
            "{error}"
        );
        assert!(super::kind(kind.name).is_some());
    }
    let unfit = json!({"path": "x", "how": "copy_truncate", "rotate_every_bytes": 9});
    let error = (tail::KIND.build)(unfit).unwrap_err().to_string();
    assert!(error.contains("position_file"), "{error}");
}

#[test]
fn avro_delivers_every_batch_and_each_is_acked() {
    for deflate in [false, true] {
        let peer = Peer::avro(deflate, |_| Do::Ok);
        let (load, recorder) = load(20, 50, 3);
        assert_eq!(run(&avro_to(&peer, deflate), &load).left, 0);
        assert_eq!(sorted_ids(&peer), all_ids(&load));
        recorder.assert_in_order();
        let answered = recorder.answered();
        assert_eq!(answered.len(), 60);
        assert!(
            answered
                .iter()
                .all(|a| a.answer == Answer::Acked && a.attempt == 0)
        );
    }
}

#[test]
fn a_source_that_does_not_know_the_protocol_is_sent_its_text_within_the_attempt() {
    let peer = Peer::avro(false, |call| if call < 2 { Do::AskForText } else { Do::Ok });
    let (load, recorder) = load(3, 2, 1);
    run(&avro_to(&peer, false), &load);
    assert_eq!(sorted_ids(&peer), all_ids(&load));
    assert_eq!(recorder.sent().len(), 3);
}

#[test]
fn a_refused_batch_is_tried_again_with_its_ids() {
    let peer = Peer::avro(false, |call| if call == 1 { Do::Fail } else { Do::Ok });
    let (load, recorder) = load(3, 10, 1);
    run(&avro_to(&peer, false), &load);
    recorder.assert_in_order();
    let (ok, no) = (Answer::Acked, Answer::Refused);
    assert_eq!(
        recorder.short(),
        [
            (0, 0, 10, ok),
            (0, 10, 10, no),
            (1, 10, 10, ok),
            (0, 20, 10, ok)
        ]
    );
    assert_eq!(sorted_ids(&peer), all_ids(&load));
    let sent = recorder.sent();
    assert_eq!(sent[1].batch, sent[2].batch);
    assert_eq!(sent[1].released, sent[2].released);
}

#[test]
fn a_connection_that_ends_after_bytes_were_written_leaves_the_batch_unknown() {
    let peer = Peer::avro(false, |call| if call == 0 { Do::Close } else { Do::Ok });
    let (load, recorder) = load(1, 10, 1);
    run(&avro_to(&peer, false), &load);
    assert_eq!(
        recorder.short(),
        [(0, 0, 10, Answer::Unknown), (1, 0, 10, Answer::Acked)]
    );
}

#[test]
fn a_proxy_that_forwarded_nothing_of_the_attempt_makes_it_refused() {
    // Each call has some 5,000 bytes, the first one went through, the second got no answer.
    for (passed, answer) in [(4_000, Answer::Refused), (6_000, Answer::Unknown)] {
        let peer = Peer::avro(false, |call| if call == 1 { Do::Close } else { Do::Ok });
        let (mut load, recorder) = load(2, 10, 1);
        load.retry_for = Duration::ZERO;
        let asked = Arc::new(AtomicU32::new(0));
        let count = asked.clone();
        load.forwarded = Arc::new(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            Some(passed)
        });
        run(&avro_to(&peer, false), &load);
        assert_eq!(
            recorder.short(),
            [(0, 0, 10, Answer::Acked), (0, 10, 10, answer)]
        );
        assert_eq!(
            asked.load(Ordering::SeqCst),
            1,
            "asked after a failed attempt only"
        );
    }
}

#[test]
fn nobody_listening_is_a_refusal() {
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for generator in [
        Box::new(avro::Avro::new(avro::Config {
            address,
            deflate: false,
        })) as Box<dyn Generator>,
        Box::new(netcat::Netcat::new(netcat::Config {
            address,
            ack_every_event: true,
        })),
    ] {
        let (mut load, recorder) = load(1, 10, 1);
        load.retry_for = Duration::from_millis(250);
        assert_eq!(run(&*generator, &load).left, 0);
        recorder.assert_in_order();
        let short = recorder.short();
        assert!(short.len() >= 2, "{short:?}");
        assert!(short.iter().all(|(_, first, count, answer)| {
            (*first, *count, *answer) == (0, 10, Answer::Refused)
        }));
    }
}

#[test]
fn a_call_without_an_answer_times_out_as_unknown() {
    let peer = Peer::avro(false, |_| Do::Silence);
    let (mut load, recorder) = load(1, 10, 1);
    load.call_timeout = Duration::from_millis(120);
    load.retry_for = Duration::ZERO;
    run(&avro_to(&peer, false), &load);
    assert_eq!(recorder.short(), [(0, 0, 10, Answer::Unknown)]);
}

#[test]
fn an_abort_leaves_the_rest_unsent_and_so_does_the_end_of_the_grace() {
    for grace in [false, true] {
        let peer = Peer::avro(false, |_| Do::Silence);
        let (load, recorder) = load(10, 10, 1);
        let running = start(&avro_to(&peer, false), &load).unwrap();
        let deadline = load.clock.raw() + Duration::from_secs(20);
        while recorder.sent().is_empty() && load.clock.raw() < deadline {
            thread::yield_now();
        }
        if !grace {
            running.stop();
        }
        let finished = running.finish(if grace {
            Duration::ZERO
        } else {
            Duration::from_secs(60)
        });
        assert!(finished.failure.is_none());
        assert_eq!(recorder.sent().len(), 1);
        assert_eq!(recorder.short(), [(0, 0, 10, Answer::Unknown)]);
        assert_eq!(
            finished.left == 9,
            grace,
            "what was released and not sent: {finished:?}"
        );
    }
}

#[test]
fn a_probe_has_a_connection_and_a_producer_of_its_own() {
    let peer = Peer::avro(false, |call| if call == 0 { Do::Fail } else { Do::Ok });
    let (load, recorder) = load(1, 1, 1);
    let batch = Batch {
        producer: 7,
        first: 0,
        count: 1,
        intended: load.clock.now(),
    };
    assert_eq!(
        probe(&avro_to(&peer, false), &load, batch).unwrap(),
        Some(Answer::Acked)
    );
    assert_eq!(sorted_ids(&peer), [(7, 0)]);
    assert_eq!(recorder.sent().len(), 2);
}

#[test]
fn a_connection_that_ended_while_idle_is_not_written_to() {
    let (said, told) = std::sync::mpsc::channel();
    let said = Mutex::new(said);
    let peer = Peer::start(move |stream, _| {
        let mut wire = AvroServer::new(stream, false);
        let Some((serial, _)) = wire.request() else {
            return;
        };
        wire.reply(serial, &[0; 7]);
        drop(wire);
        said.lock().unwrap().send(()).unwrap();
    });
    let (load, _) = load(2, 10, 1);
    let mut link = avro_to(&peer, false).link();
    let stop = AtomicBool::new(false);
    for number in 0..2 {
        let deadline = load.clock.raw() + Duration::from_secs(20);
        let patience = Patience {
            clock: &load.clock,
            deadline,
            stop: &stop,
        };
        let mut parts = Vec::new();
        link.open(&patience).unwrap();
        link.build(&load.schedule.batch(number).unwrap(), &load.bodies)
            .unwrap();
        link.exchange(&patience, &mut parts).unwrap();
        assert_eq!((parts.len(), parts[0].answer), (1, Answer::Acked));
        told.recv_timeout(Duration::from_secs(20)).unwrap();
    }
}

#[test]
fn a_discarding_peer_takes_what_is_sent() {
    let peer = discard::Discard::start().unwrap();
    let (load, recorder) = load(5, 20, 2);
    let config = netcat::Config {
        address: peer.address(),
        ack_every_event: false,
    };
    run(&netcat::Netcat::new(config), &load);
    assert_eq!(recorder.sent().len(), 10);
    let mut lines = Vec::new();
    load.schedule
        .iter()
        .for_each(|batch| load.bodies.write_lines(&batch, &mut lines));
    let deadline = load.clock.raw() + Duration::from_secs(20);
    while peer.bytes() < lines.len() as u64 && load.clock.raw() < deadline {
        thread::yield_now();
    }
    assert_eq!(peer.bytes(), lines.len() as u64);
}

/// A netcat source that answers line n of all with `script(n)`: a line, or nothing and the end.
fn netcat_peer(script: impl Fn(u32) -> Option<&'static str> + Send + Sync + 'static) -> Peer {
    let lines = AtomicU32::new(0);
    Peer::start(move |stream, kept| {
        let mut back = stream.try_clone().unwrap();
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let Some(answer) = script(lines.fetch_add(1, Ordering::SeqCst)) else {
                let _ = back.shutdown(std::net::Shutdown::Both);
                return;
            };
            if !answer.starts_with("FAILED") {
                kept.lock().unwrap().push(line);
            }
            let _ = back.write_all(answer.as_bytes());
        }
    })
}

#[test]
fn netcat_lines_are_acked_one_by_one() {
    let peer = netcat_peer(|_| Some("OK\n"));
    let (load, recorder) = load(10, 50, 2);
    run(
        &netcat::Netcat::new(netcat::Config {
            address: peer.address,
            ack_every_event: true,
        }),
        &load,
    );
    assert_eq!(sorted_ids(&peer), all_ids(&load));
    recorder.assert_in_order();
    let answered = recorder.answered();
    assert!(answered.iter().all(|a| a.answer == Answer::Acked));
    assert_eq!(
        answered
            .iter()
            .map(|a| u64::from(a.batch.count))
            .sum::<u64>(),
        1_000
    );
}

#[test]
fn netcat_retries_only_what_was_not_acked() {
    // Ten lines: two are taken, one is refused, two are taken, and the connection ends at the sixth.
    let peer = netcat_peer(|line| match line {
        2 => Some("FAILED: the channel is full\n"),
        5 => None,
        _ => Some("OK\n"),
    });
    let (load, recorder) = load(1, 10, 1);
    run(
        &netcat::Netcat::new(netcat::Config {
            address: peer.address,
            ack_every_event: true,
        }),
        &load,
    );
    assert_eq!(
        sorted_ids(&peer),
        all_ids(&load),
        "each exactly once: the peer kept what it acked"
    );
    recorder.assert_in_order();
    let mut last = BTreeMap::new();
    for (attempt, first, count, answer) in recorder.short() {
        for id in first..first + u64::from(count) {
            last.entry(id)
                .or_insert_with(Vec::new)
                .push((attempt, answer));
        }
    }
    assert_eq!(last[&1], [(0, Answer::Acked)]);
    assert_eq!(last[&2], [(0, Answer::Refused), (1, Answer::Acked)]);
    assert_eq!(last[&4], [(0, Answer::Acked)]);
    assert_eq!(last[&9], [(0, Answer::Unknown), (1, Answer::Acked)]);
}

#[test]
fn netcat_without_answers_reports_none() {
    let peer = netcat_peer(|_| Some(""));
    let (load, recorder) = load(5, 20, 1);
    let generator = netcat::Netcat::new(netcat::Config {
        address: peer.address,
        ack_every_event: false,
    });
    assert!(!generator.answers());
    run(&generator, &load);
    assert!(recorder.answered().is_empty());
    assert_eq!(recorder.sent().len(), 5);
    let deadline = load.clock.raw() + Duration::from_secs(20);
    while peer.bodies.lock().unwrap().len() < 100 && load.clock.raw() < deadline {
        thread::yield_now();
    }
    assert_eq!(sorted_ids(&peer), all_ids(&load));
}

/// The ids of all lines of the files in a directory, the number of files, and the largest size.
fn lines_of(directory: &std::path::Path) -> (Vec<(u16, u64)>, usize, u64) {
    let (mut found, mut files, mut largest) = (Vec::new(), 0, 0);
    for entry in std::fs::read_dir(directory).unwrap() {
        let text = std::fs::read(entry.unwrap().path()).unwrap();
        largest = largest.max(text.len() as u64);
        files += 1;
        let lines = text.strip_suffix(b"\n").unwrap_or(&text);
        if !lines.is_empty() {
            found.extend(ids(lines.split(|byte| *byte == b'\n')));
        }
    }
    found.sort_unstable();
    (found, files, largest)
}

#[test]
fn tail_and_exec_append_whole_lines_and_rotate_by_renaming() {
    for kind in ["exec", "tail"] {
        let directory = tempfile::tempdir().unwrap();
        let settings =
            json!({"path": directory.path().join("app.log"), "rotate_every_bytes": 20_000});
        let generator = (super::kind(kind).unwrap().build)(settings).unwrap();
        assert!(!generator.answers());
        generator.prepare().unwrap();
        assert_eq!(
            lines_of(directory.path()).1,
            1,
            "the file is there before the load"
        );
        let (load, recorder) = load(10, 10, 2);
        run(&*generator, &load);
        let (found, files, largest) = lines_of(directory.path());
        assert_eq!(found, all_ids(&load));
        assert!(files >= 4, "{files}");
        assert!(largest <= 20_000, "{largest}");
        assert!(recorder.answered().is_empty());
    }
}

#[test]
fn copy_truncate_takes_the_copy_only_when_the_follower_has_read_it_all() {
    use std::os::unix::fs::MetadataExt;
    let directory = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let (path, positions) = (
        directory.path().join("app.log"),
        elsewhere.path().join("positions.json"),
    );
    let settings = json!({"path": path, "rotate_every_bytes": 20_000, "how": "copy_truncate", "position_file": positions});
    let generator = (tail::KIND.build)(settings).unwrap();
    generator.prepare().unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let follower = {
        let (path, positions, over) = (path.clone(), positions.clone(), over.clone());
        thread::spawn(move || {
            // Reads on from its position, as TAILDIR does, and goes back to 0 when the file shrinks.
            let (mut at, mut read) = (0usize, Vec::new());
            loop {
                let last = over.load(Ordering::SeqCst);
                let text = std::fs::read(&path).unwrap();
                at = if text.len() < at { 0 } else { at };
                read.extend_from_slice(&text[at..]);
                at = text.len();
                let inode = std::fs::metadata(&path).unwrap().ino();
                let list = json!([{"inode": inode, "pos": at, "file": path}]);
                std::fs::write(&positions, list.to_string()).unwrap();
                if last {
                    return read;
                }
                thread::sleep(Duration::from_millis(1));
            }
        })
    };
    let (load, _) = load(10, 10, 2);
    run(&*generator, &load);
    over.store(true, Ordering::SeqCst);
    let read = follower.join().unwrap();
    let mut followed = ids(read
        .strip_suffix(b"\n")
        .unwrap()
        .split(|byte| *byte == b'\n'));
    followed.sort_unstable();
    assert_eq!(
        followed,
        all_ids(&load),
        "the follower missed nothing and read nothing twice"
    );
    let (found, files, _) = lines_of(directory.path());
    assert_eq!(
        found,
        all_ids(&load),
        "the copies and the file hold each line once"
    );
    assert!(files >= 4, "{files}");
}

#[test]
fn a_follower_that_does_not_come_along_puts_the_rotation_off() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.log");
    let settings = json!({"path": path, "rotate_every_bytes": 10_000, "how": "copy_truncate", "position_file": "/nowhere", "cover_within_ms": 1});
    let generator = (tail::KIND.build)(settings).unwrap();
    let (load, _) = load(5, 10, 1);
    run(&*generator, &load);
    assert_eq!(
        lines_of(directory.path()),
        (all_ids(&load), 1, std::fs::metadata(path).unwrap().len())
    );
}

#[test]
fn a_file_that_cannot_be_written_ends_the_load_with_the_reason() {
    let settings = json!({"path": "/nowhere/at/all.log"});
    let generator = (exec::KIND.build)(settings).unwrap();
    assert!(generator.prepare().is_err());
    let (load, _) = load(1, 10, 2);
    let finished = start(&*generator, &load)
        .unwrap()
        .finish(Duration::from_secs(30));
    let failure = finished.failure.unwrap().to_string();
    assert!(failure.contains("/nowhere/at/all.log"), "{failure}");
}
