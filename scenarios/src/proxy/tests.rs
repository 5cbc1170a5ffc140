//! Real sockets through a real proxy. Waiting is always for a condition, with a deadline.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use super::ports::reserve;
use super::*;
use crate::process::{Registry, Spawn};

const LONG: Duration = Duration::from_secs(20);

/// A server on a thread per connection that sends back what it gets and keeps half-close.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut piece = [0; 16 * 1024];
                while let Ok(bytes @ 1..) = (&stream).read(&mut piece) {
                    if (&stream).write_all(&piece[..bytes]).is_err() {
                        return;
                    }
                }
                drop(stream.shutdown(Shutdown::Write));
            });
        }
    });
    address
}

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn spec(upstream: SocketAddr) -> ProxySpec {
    ProxySpec {
        name: "agent->store".to_owned(),
        listen: vec![loopback()],
        upstream,
        attribute: false,
    }
}

/// An echo server, a proxy in front of it, and the link between.
fn rig() -> (Proxies, Proxy, Link) {
    let proxies = Proxies::start(7, None).unwrap();
    let proxy = proxies.open(&spec(echo())).unwrap();
    let link = proxies.link("agent->store", std::slice::from_ref(&proxy), None);
    (proxies, proxy, link)
}

fn connect(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.address()).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.set_write_timeout(Some(LONG)).unwrap();
    stream
}

fn asks(mut stream: &TcpStream, text: &str) -> io::Result<()> {
    stream.write_all(text.as_bytes())?;
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer)?;
    assert_eq!(answer, text.as_bytes());
    Ok(())
}

fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LONG;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {LONG:?}: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Waits for a note of that fate, which must name the rule.
fn noted(link: &Link, from: Instant, rule: RuleId, fate: impl Fn(&Fate) -> bool) -> Attempt {
    until("a note", || {
        let attempts = link.attempts(from, Instant::now());
        attempts
            .into_iter()
            .find(|a| fate(&a.fate) && a.rules.contains(&rule))
    })
}

fn both(condition: Condition) -> Conditions {
    Conditions::towards(Directions::Both, condition)
}

fn cut(cut: Cut) -> Condition {
    Condition {
        cut,
        ..Condition::default()
    }
}

#[test]
fn bytes_pass_half_close_survives_and_everything_is_counted() {
    let (_proxies, proxy, link) = rig();
    let from = Instant::now();
    let mut client = connect(&proxy);
    let address = client.local_addr().unwrap();
    asks(&client, "hello").unwrap();
    client.write_all(b"last words").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut rest = String::new();
    client.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "last words");
    drop(client);
    assert_eq!(proxy.forwarded(address), Some(15));
    assert_eq!(proxy.forwarded("127.0.0.1:1".parse().unwrap()), None);
    let expected = Traffic {
        accepted: 1,
        connected: 1,
        up_bytes: 15,
        down_bytes: 15,
    };
    assert_eq!(proxy.traffic(), expected);
    assert_eq!(link.traffic(), expected);
    let attempts = link.attempts(from, Instant::now());
    assert_eq!(attempts[0].fate, Fate::Connected);
    assert_eq!(attempts[0].client, address);
    assert!(link.attempts(from, from).is_empty(), "the window counts");
}

#[test]
fn a_server_that_refuses_is_a_reset_and_nothing_was_taken() {
    let proxies = Proxies::start(7, None).unwrap();
    let reservation = reserve(&[loopback().ip()]).unwrap();
    let upstream = SocketAddr::new(loopback().ip(), reservation.port());
    let proxy = proxies.open(&spec(upstream)).unwrap();
    let from = Instant::now();
    let mut client = connect(&proxy);
    drop(client.write_all(b"anyone there?"));
    let error = client.read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(proxy.forwarded(client.local_addr().unwrap()), Some(0));
    let fates: Vec<Fate> = proxy
        .attempts(from, Instant::now())
        .into_iter()
        .map(|attempt| attempt.fate)
        .collect();
    assert!(
        matches!(&fates[..], [Fate::Unreachable { .. }]),
        "{fates:?}"
    );
    // The server comes back: so does the link.
    proxy.set_upstream(echo());
    asks(&connect(&proxy), "hello again").unwrap();
}

#[test]
fn a_dropped_link_holds_bytes_back_and_delivers_them_after_healing() {
    let (_proxies, proxy, link) = rig();
    let client = connect(&proxy);
    asks(&client, "before").unwrap();
    let from = Instant::now();
    let rule = link.impose(both(cut(Cut::Drop)));
    (&client).write_all(b"during").unwrap();
    let held = |fate: &Fate| {
        matches!(
            fate,
            Fate::Held {
                direction: Direction::Up,
                bytes: 6
            }
        )
    };
    let attempt = noted(&link, from, rule, held);
    assert!(
        attempt
            .describe()
            .contains("6 bytes held back on the way up"),
        "{attempt:?}"
    );
    let held_back = proxy.forwarded(client.local_addr().unwrap());
    assert_eq!(held_back, None, "they may still be passed on");
    link.lift(rule);
    link.lift(rule);
    let mut answer = [0; 6];
    (&client).read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"during");
    asks(&client, "after").unwrap();
}

/// Waits until the proxy knows.
fn in_the_end_forwarded(proxy: &Proxy, client: SocketAddr) -> u64 {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match proxy.forwarded(client) {
            Some(bytes) => return bytes,
            None => assert!(Instant::now() < deadline, "it never knows"),
        }
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn of_what_is_held_back_nobody_says_that_it_never_arrived() {
    let (_proxies, proxy, link) = rig();
    let client = connect(&proxy);
    asks(&client, "before").unwrap();
    let address = client.local_addr().unwrap();
    let from = Instant::now();
    let rule = link.impose(both(cut(Cut::Drop)));
    (&client).write_all(b"during").unwrap();
    noted(&link, from, rule, |fate| {
        matches!(fate, Fate::Held { bytes: 6, .. })
    });
    // The client gives up and asks. What it sent is on its way all the same.
    drop(client);
    thread::sleep(Duration::from_millis(50));
    assert_eq!(proxy.forwarded(address), None);
    link.lift(rule);
    assert_eq!(in_the_end_forwarded(&proxy, address), 12);
}

#[test]
fn what_a_reset_link_took_is_known_at_once() {
    let (_proxies, proxy, link) = rig();
    let client = connect(&proxy);
    asks(&client, "before").unwrap();
    link.impose(both(cut(Cut::Reset)));
    assert!((&client).read(&mut [0; 8]).is_err());
    assert_eq!(proxy.forwarded(client.local_addr().unwrap()), Some(6));
}

#[test]
fn a_new_connection_over_a_dropped_link_hangs_until_it_heals() {
    let (_proxies, proxy, link) = rig();
    let from = Instant::now();
    let rule = link.impose(both(cut(Cut::Drop)));
    let mut patient = connect(&proxy);
    patient.write_all(b"patient").unwrap();
    let impatient = connect(&proxy);
    (&impatient).write_all(b"impatient").unwrap();
    let gave_up = impatient.local_addr().unwrap();
    noted(&link, from, rule, |fate| {
        matches!(fate, Fate::Hung { bytes: 7 })
    });
    noted(&link, from, rule, |fate| {
        matches!(fate, Fate::Hung { bytes: 9 })
    });
    assert_eq!(proxy.traffic().connected, 0);
    drop(impatient);
    link.lift(rule);
    let mut answer = [0; 7];
    patient.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"patient");
    assert_eq!(
        in_the_end_forwarded(&proxy, gave_up),
        0,
        "as if its SYN had been lost"
    );
    assert_eq!(proxy.traffic().connected, 1);
}

#[test]
fn what_is_held_is_bounded_and_complete() {
    let (_proxies, proxy, link) = rig();
    let client = connect(&proxy);
    asks(&client, "before").unwrap();
    let from = Instant::now();
    let rule = link.impose(both(cut(Cut::Drop)));
    let mut writer = client.try_clone().unwrap();
    let sent: Vec<u8> = (0..32_u32 << 20)
        .map(|n| (n >> 3).to_le_bytes()[0] ^ 0x5a)
        .collect();
    let copy = sent.clone();
    let writing = thread::spawn(move || {
        writer.write_all(&copy).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let full = HELD_BYTES as u64;
    let attempt = noted(
        &link,
        from,
        rule,
        |fate| matches!(fate, Fate::Held { bytes, .. } if *bytes == full),
    );
    assert!(
        !writing.is_finished(),
        "the sender feels back-pressure: {attempt:?}"
    );
    link.lift(rule);
    let mut received = Vec::new();
    (&client).read_to_end(&mut received).unwrap();
    writing.join().unwrap();
    assert!(
        received == sent,
        "{} of {} bytes",
        received.len(),
        sent.len()
    );
}

#[test]
fn a_reset_hits_the_living_and_the_new_until_it_is_lifted() {
    for kind in [Cut::Reset, Cut::Refuse] {
        let (_proxies, proxy, link) = rig();
        let living = connect(&proxy);
        asks(&living, "before").unwrap();
        let from = Instant::now();
        let rule = link.impose(both(cut(kind)));
        let error = (&living).read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let wanted = if kind == Cut::Reset {
            Fate::Reset
        } else {
            Fate::Refused
        };
        noted(&link, from, rule, |fate| *fate == wanted);
        let fresh = connect(&proxy);
        let error = (&fresh).read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let address = fresh.local_addr().unwrap();
        let attempt = noted(&link, from, rule, |fate| *fate == Fate::Refused);
        assert!(attempt.at >= from);
        assert_eq!(proxy.forwarded(address), Some(0));
        link.lift(rule);
        asks(&connect(&proxy), "after").unwrap();
    }
}

#[test]
fn one_direction_is_cut_alone() {
    let (_proxies, proxy, link) = rig();
    let client = connect(&proxy);
    asks(&client, "before").unwrap();
    let from = Instant::now();
    let rule = link.impose(Conditions::towards(Directions::Down, cut(Cut::Drop)));
    (&client).write_all(b"during").unwrap();
    noted(&link, from, rule, |fate| {
        matches!(
            fate,
            Fate::Held {
                direction: Direction::Down,
                bytes: 6
            }
        )
    });
    assert_eq!(link.traffic().up_bytes, 12, "the way up was free");
    link.lift(rule);
    let mut answer = [0; 6];
    (&client).read_exact(&mut answer).unwrap();

    // A reset towards the server leaves the client without an answer until it is lifted.
    let rule = link.impose(Conditions::towards(Directions::Up, cut(Cut::Reset)));
    noted(&link, from, rule, |fate| *fate == Fate::Reset);
    client.set_nonblocking(true).unwrap();
    let error = (&client).read(&mut answer).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    client.set_nonblocking(false).unwrap();
    link.lift(rule);
    let error = (&client).read(&mut answer).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn a_slow_link_delays_and_says_by_how_much() {
    let (_proxies, proxy, link) = rig();
    let client = connect(&proxy);
    asks(&client, "before").unwrap();
    let from = Instant::now();
    let latency = Duration::from_millis(80);
    let slow = Condition {
        latency,
        jitter: latency / 2,
        ..Condition::default()
    };
    let rule = link.impose(Conditions::towards(Directions::Up, slow));
    let begun = Instant::now();
    asks(&client, "during").unwrap();
    // A lower bound: load on the machine can only make it longer.
    assert!(begun.elapsed() >= latency / 2);
    noted(&link, from, rule, |fate| {
        matches!(fate, Fate::Slowed { direction: Direction::Up, bytes: 6, longest }
            if *longest >= latency / 2)
    });
    // What is on its way when the latency is lifted arrives at once and stays in order.
    let slow = Condition {
        latency: LONG * 10,
        ..Condition::default()
    };
    let second = link.impose(Conditions::towards(Directions::Up, slow));
    (&client).write_all(b"first ").unwrap();
    link.lift(rule);
    link.lift(second);
    asks(&client, "").unwrap();
    (&client).write_all(b"second").unwrap();
    let mut answer = [0; 12];
    (&client).read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"first second");
    assert_eq!(link.traffic().up_bytes, 24);
}

#[test]
fn the_bandwidth_of_a_link_is_shared_by_its_connections() {
    let (_proxies, proxy, link) = rig();
    let from = Instant::now();
    let slow = Condition {
        bandwidth: Some(200_000),
        ..Condition::default()
    };
    let rule = link.impose(Conditions::towards(Directions::Up, slow));
    let begun = Instant::now();
    let clients: Vec<_> = (0..2)
        .map(|_| {
            let client = connect(&proxy);
            thread::spawn(move || asks(&client, &"x".repeat(20_000)).unwrap())
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    // 40,000 bytes at 200,000 a second; a limit for each alone would let them through in half of it.
    assert!(
        begun.elapsed() >= Duration::from_millis(190),
        "{:?}",
        begun.elapsed()
    );
    noted(
        &link,
        from,
        rule,
        |fate| matches!(fate, Fate::Slowed { longest, .. } if !longest.is_zero()),
    );
}

#[test]
fn conditions_add_up_and_are_removed_one_by_one() {
    let (_proxies, proxy, link) = rig();
    let client = connect(&proxy);
    asks(&client, "before").unwrap();
    let from = Instant::now();
    let slow = Condition {
        latency: Duration::from_millis(10),
        ..Condition::default()
    };
    let (slow, dropped) = (link.impose(both(slow)), link.impose(both(cut(Cut::Drop))));
    (&client).write_all(b"during").unwrap();
    noted(&link, from, dropped, |fate| {
        matches!(fate, Fate::Held { .. })
    });
    link.lift(dropped);
    let mut answer = [0; 6];
    (&client).read_exact(&mut answer).unwrap();
    noted(&link, from, slow, |fate| {
        matches!(fate, Fate::Slowed { .. })
    });
    link.lift(slow);
    asks(&client, "after").unwrap();
}

#[test]
fn nothing_is_lost_or_invented_while_conditions_come_and_go() {
    let (_proxies, proxy, link) = rig();
    let client = connect(&proxy);
    let mut writer = client.try_clone().unwrap();
    let sent: Vec<u8> = (0..4_u32 << 20)
        .map(|n| ((n * 31) >> 5).to_le_bytes()[0])
        .collect();
    let copy = sent.clone();
    let writing = thread::spawn(move || {
        for piece in copy.chunks(10_007) {
            writer.write_all(piece).unwrap();
        }
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let reading = thread::spawn(move || {
        let mut received = Vec::new();
        (&client).read_to_end(&mut received).unwrap();
        received
    });
    let ms = Duration::from_millis;
    let menu = [
        both(cut(Cut::Drop)),
        both(Condition {
            latency: ms(3),
            jitter: ms(3),
            ..Condition::default()
        }),
        Conditions::towards(Directions::Down, cut(Cut::Drop)),
        both(Condition {
            bandwidth: Some(20 << 20),
            ..Condition::default()
        }),
    ];
    let mut lasting: Option<RuleId> = None;
    for round in 0..60 {
        let next = link.impose(menu[round % menu.len()]);
        thread::sleep(ms(2));
        // Two conditions overlap most of the time.
        if let Some(old) = lasting.replace(next) {
            link.lift(old);
        }
    }
    link.lift(lasting.unwrap());
    writing.join().unwrap();
    assert!(reading.join().unwrap() == sent);
}

#[test]
fn two_addresses_share_a_port_and_a_name() {
    let proxies = Proxies::start(7, None).unwrap();
    let far: SocketAddr = "127.0.0.103:0".parse().unwrap();
    let spec = ProxySpec {
        listen: vec![loopback(), far],
        ..spec(echo())
    };
    let proxy = proxies.open(&spec).unwrap();
    let [near, far] = proxy.addresses() else {
        panic!("{proxy:?}")
    };
    assert_eq!(near.port(), far.port());
    for address in [near, far] {
        let client = TcpStream::connect(address).unwrap();
        client.set_read_timeout(Some(LONG)).unwrap();
        asks(&client, "hello").unwrap();
    }
    assert_eq!(proxy.traffic().connected, 2);
    let none = ProxySpec {
        listen: Vec::new(),
        ..spec
    };
    assert!(matches!(
        proxies.open(&none),
        Err(ProxyError::NoAddress { .. })
    ));
    let taken = ProxySpec {
        listen: vec![*near],
        ..none
    };
    assert!(matches!(
        proxies.open(&taken),
        Err(ProxyError::Listen { .. })
    ));
}

#[test]
fn a_silent_server_and_one_that_hangs_up_are_noted() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxies = Proxies::start(7, None).unwrap();
    let proxy = proxies.open(&spec(listener.local_addr().unwrap())).unwrap();
    let from = Instant::now();
    let client = connect(&proxy);
    let (mut server, _) = listener.accept().unwrap();
    (&client).write_all(b"well?").unwrap();
    server.read_exact(&mut [0; 5]).unwrap();
    until("a lasting silence", || {
        let attempts = proxy.attempts(from, Instant::now());
        attempts.into_iter().find(|a| {
            a.fate
                == Fate::Unanswered {
                    silence: Silence::Lasts,
                }
        })
    });
    server.write_all(b"yes").unwrap();
    (&client).read_exact(&mut [0; 3]).unwrap();
    let attempts = proxy.attempts(from, Instant::now());
    let silence = attempts
        .iter()
        .find(|a| {
            a.fate
                == Fate::Unanswered {
                    silence: Silence::Answered,
                }
        })
        .unwrap();
    assert!(silence.last.duration_since(silence.at) >= Duration::from_millis(20));
    assert!(!attempts.iter().any(|a| a.fate
        == Fate::Unanswered {
            silence: Silence::Lasts
        }));
    drop(server);
    assert_eq!((&client).read(&mut [0; 3]).unwrap(), 0);
    let attempts = proxy.attempts(from, Instant::now());
    assert!(
        attempts
            .iter()
            .any(|a| a.fate == Fate::Ended { reset: false }),
        "{attempts:?}"
    );
}

/// The child's side of the test below; does nothing when run by itself.
#[test]
fn child_asks_through_the_proxy() {
    let Ok(address) = std::env::var("FLUME_BENCH_TEST_ASK") else {
        return;
    };
    let client = TcpStream::connect(address).unwrap();
    loop {
        if asks(&client, "child").is_err() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn links_that_share_a_listener_are_told_apart_by_who_connects() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Registry::create(directory.path()).unwrap();
    let owners = Arc::new(RunOwners::new(registry.clone(), "generator"));
    let proxies = Proxies::start(7, Some(owners)).unwrap();
    let proxy = proxies
        .open(&ProxySpec {
            attribute: true,
            ..spec(echo())
        })
        .unwrap();
    let ours = proxies.link(
        "generator->store",
        std::slice::from_ref(&proxy),
        Some("generator"),
    );
    let theirs = proxies.link(
        "datanode1->store",
        std::slice::from_ref(&proxy),
        Some("datanode1"),
    );
    let from = Instant::now();
    let this = std::env::current_exe().unwrap();
    let test = "proxy::tests::child_asks_through_the_proxy";
    let argv = [this.to_str().unwrap(), "--exact", test, "--nocapture"];
    let spec = Spawn::new("datanode1", argv, directory.path().join("child.log"))
        .env("FLUME_BENCH_TEST_ASK", proxy.address().to_string());
    let child = registry.spawn(&spec).unwrap();
    until("the child's connection", || {
        theirs
            .attempts(from, Instant::now())
            .into_iter()
            .find(|a| a.fate == Fate::Connected)
    });
    let client = connect(&proxy);
    asks(&client, "before").unwrap();
    let rule = theirs.impose(both(cut(Cut::Drop)));
    let held = noted(&theirs, from, rule, |fate| {
        matches!(fate, Fate::Held { .. })
    });
    assert_eq!(held.owner.unwrap().pid, child.pid());
    asks(&client, "our link is whole").unwrap();
    asks(&connect(&proxy), "and new connections too").unwrap();
    assert!(
        !ours
            .attempts(from, Instant::now())
            .iter()
            .any(|a| a.rules.contains(&rule))
    );
    let traffic = ours.traffic();
    assert_eq!(traffic.up_bytes, 6 + 17 + 23);
    theirs.lift(rule);
    let before = theirs.traffic().down_bytes;
    until("the child goes on", || {
        (theirs.traffic().down_bytes > before).then_some(())
    });
}
