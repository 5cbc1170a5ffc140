//! The Avro source under good clients, bad ones, and a full channel.

use std::io::{ErrorKind, Write};

use proptest::prelude::*;

use super::super::testing::{Bench, DEADLINE, Running, bodies, wait_for};
use super::*;
use crate::wire::avro_rpc::client::{Client, ClientError, ClientOptions};
use crate::wire::avro_rpc::datum::put_event;
use crate::wire::avro_rpc::frame::put_frame;

fn start(bench: &Bench, settings: &str) -> Running {
    let settings = format!("bind = 127.0.0.1\nport = 0\n{settings}");
    bench.run(build(&Context::from_example("r1", &settings)).unwrap())
}

fn client(source: &Running, compression_level: Option<u32>) -> Client {
    let options = ClientOptions {
        host: "127.0.0.1".to_owned(),
        port: source.port(),
        connect_timeout: DEADLINE,
        request_timeout: DEADLINE,
        compression_level,
    };
    Client::connect(options, &|| false).unwrap()
}

fn send(client: &mut Client, bodies: &[&str]) -> Result<Status, ClientError> {
    let encode = |out: &mut Vec<u8>| {
        for body in bodies {
            put_event(out, || [("k", "v")].into_iter(), body.as_bytes());
        }
    };
    client.append_batch(bodies.len(), encode, &|| false)
}

/// Whether the server has closed the connection.
fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 100]) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn batches_arrive_whole_plain_and_compressed() {
    for level in [None, Some(0), Some(6), Some(9)] {
        let bench = Bench::new();
        let settings = if level.is_some() {
            "compression-type = deflate"
        } else {
            ""
        };
        let source = start(&bench, settings);
        let mut client = client(&source, level);
        assert_eq!(send(&mut client, &["a", "b"]).unwrap(), Status::Ok);
        assert_eq!(send(&mut client, &[]).unwrap(), Status::Ok);
        assert_eq!(send(&mut client, &["c"]).unwrap(), Status::Ok);
        let got = bench.take(3);
        assert_eq!(bodies(&got), ["a", "b", "c"]);
        assert_eq!(got[0].headers, [("k".to_owned(), "v".to_owned())]);
        let counters = bench.out.counters();
        assert_eq!(counters.append_batch_accepted.load(Relaxed), 3);
        assert_eq!(counters.open_connections.load(Relaxed), 1);
        source.stop().unwrap();
    }
}

#[test]
fn a_full_channel_is_answered_failed_and_the_connection_goes_on() {
    let bench = Bench::with_capacity(2);
    let source = start(&bench, "");
    let mut client = client(&source, None);
    assert_eq!(send(&mut client, &["a", "b"]).unwrap(), Status::Ok);
    assert_eq!(send(&mut client, &["c"]).unwrap(), Status::Failed);
    assert_eq!(bodies(&bench.take(2)), ["a", "b"]);
    assert_eq!(send(&mut client, &["c"]).unwrap(), Status::Ok);
    assert_eq!(
        send(&mut client, &["d", "e", "f"]).unwrap(),
        Status::Failed,
        "more than a transaction"
    );
    assert_eq!(bodies(&bench.take(1)), ["c"]);
    source.stop().unwrap();
}

#[test]
fn a_compressing_client_and_a_plain_source_do_not_hang_each_other() {
    for (settings, level) in [("", Some(6)), ("compression-type = deflate", None)] {
        let bench = Bench::new();
        let source = start(&bench, settings);
        let mut client = client(&source, level);
        assert!(send(&mut client, &["a"]).is_err());
        source.stop().unwrap();
        bench.assert_empty();
    }
}

#[test]
fn garbage_ends_its_own_connection_and_is_counted() {
    let bench = Bench::new();
    let source = start(&bench, "maxFrameLength = 1000");
    let mut good = client(&source, None);
    assert_eq!(send(&mut good, &["a"]).unwrap(), Status::Ok);
    let mut oversized = Vec::new();
    put_frame(&mut oversized, 1, |out| out.resize(out.len() + 1001, 0));
    let attempts: [&[u8]; 3] = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        &[0xff; 64],
        &oversized,
    ];
    for (index, bytes) in attempts.into_iter().enumerate() {
        let mut bad = source.connect();
        bad.write_all(bytes).unwrap();
        assert!(is_closed(&mut bad), "attempt {index}");
        wait_for("the count", || {
            bench.out.counters().event_read_fail.load(Relaxed) == index as u64 + 1
        });
        assert_eq!(send(&mut good, &["b"]).unwrap(), Status::Ok);
    }
    assert_eq!(bodies(&bench.take(4)), ["a", "b", "b", "b"]);
    source.stop().unwrap();
}

#[test]
fn nothing_of_a_call_with_a_broken_event_is_put() {
    let bench = Bench::new();
    let source = start(&bench, "");
    let mut client = client(&source, None);
    let broken = |out: &mut Vec<u8>| {
        put_event(out, || [("k", "v")].into_iter(), b"good");
        // A header count without headers.
        out.extend_from_slice(&[0x7e]);
    };
    assert!(client.append_batch(2, broken, &|| false).is_err());
    source.stop().unwrap();
    bench.assert_empty();
}

#[test]
fn half_open_connections_keep_nobody_waiting() {
    let bench = Bench::new();
    let source = start(&bench, "");
    let mut half: Vec<_> = (0..5).map(|_| source.connect()).collect();
    for (index, stream) in half.iter_mut().enumerate() {
        stream
            .write_all(&[0, 0, 0, 1, 0, 0, 0][..index + 2])
            .unwrap();
    }
    assert_eq!(
        send(&mut client(&source, None), &["a"]).unwrap(),
        Status::Ok
    );
    source.stop().unwrap();
    assert_eq!(bodies(&bench.take(1)), ["a"]);
}

#[test]
fn large_requests_share_a_limit_and_small_ones_go_on() {
    let total = AtomicUsize::new(0);
    let mut first = Holding {
        total: &total,
        own: 0,
    };
    assert!(first.update(HELD_LIMIT));
    let mut second = Holding {
        total: &total,
        own: 0,
    };
    assert!(second.update(HELD_FREE), "a small request");
    assert!(!second.update(HELD_FREE + 1));
    drop(first);
    assert!(second.update(HELD_LIMIT));
    drop(second);
    assert_eq!(total.load(Relaxed), 0);
}

#[test]
fn address_rules_decide_in_their_order() {
    let rules = Rules::parse("allow:ip:127.*, deny:ip:10.*.1,allow:ip:10.*,deny:ip:*").unwrap();
    for (ip, allowed) in [
        ("127.0.0.1", true),
        ("10.2.3.1", false),
        ("10.2.3.4", true),
        ("8.8.8.8", false),
    ] {
        assert_eq!(rules.allow(ip.parse().unwrap()), allowed, "{ip}");
    }
    assert!(
        Rules::parse("allow:name:localhost")
            .unwrap()
            .allow("::1".parse().unwrap())
    );
    assert!(Rules::default().allow("8.8.8.8".parse().unwrap()));
    for bad in [
        "",
        "permit:ip:*",
        "allow:ip",
        "allow:ip:",
        "deny:name:*.example.org",
    ] {
        assert!(Rules::parse(bad).is_err(), "{bad}");
    }

    let bench = Bench::new();
    let source = start(&bench, "ipFilter = true\nipFilterRules = deny:ip:127.*");
    assert!(is_closed(&mut source.connect()));
    source.stop().unwrap();
}

#[test]
fn tls_and_unknown_compression_are_refused() {
    let error = |settings: &str| {
        build(&Context::from_example(
            "r1",
            &format!("bind = 127.0.0.1\nport = 0\n{settings}"),
        ))
        .unwrap_err()
        .key
    };
    assert_eq!(error("ssl = true"), "ssl");
    assert_eq!(error("compression-type = gzip"), "compression-type");
    assert_eq!(error("ipFilter = true"), "ipFilterRules");
}

#[test]
fn a_port_in_use_is_named() {
    let bench = Bench::new();
    let source = start(&bench, "");
    let settings = format!("bind = 127.0.0.1\nport = {}", source.port());
    let error = build(&Context::from_example("r2", &settings))
        .unwrap()
        .open()
        .unwrap_err();
    assert!(
        error.to_string().contains(&source.port().to_string()),
        "{error}"
    );
}

proptest! {
    #[test]
    fn patterns_match_as_the_plain_definition_says(pattern in "[ab*]{0,6}", text in "[ab]{0,6}") {
        fn plain(pattern: &[u8], text: &[u8]) -> bool {
            match pattern.split_first() {
                None => text.is_empty(),
                Some((b'*', rest)) => (0..=text.len()).any(|cut| plain(rest, &text[cut..])),
                Some((byte, rest)) => text.split_first().is_some_and(|(t, tail)| t == byte && plain(rest, tail)),
            }
        }
        prop_assert_eq!(
            matches_pattern(pattern.as_bytes(), text.as_bytes()),
            plain(pattern.as_bytes(), text.as_bytes())
        );
    }
}
