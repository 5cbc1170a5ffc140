//! `netcat`: listens on a TCP port and makes an event of each line.
//!
//! | key | default | meaning |
//! |---|---|---|
//! | `bind` | required | host name or address to listen on |
//! | `port` | required | port; 0 takes a free one |
//! | `max-line-length` | 512 | longest line in characters, its line feed included |
//! | `ack-every-event` | true | whether each event is answered with `OK` and a line feed |
//!
//! A line ends with a line feed; a carriage return before it stays part of the body, as in Flume.
//! Lines that arrive together are put as one batch. A line that is too long is answered with
//! `FAILED: Event exceeds the maximum length (N chars, including newline)` and the connection is
//! closed; the lines before it count. What follows the last line feed of a connection is dropped.
//!
//! Guarantees: an event is answered `OK` after the channels committed it. If they refuse, it is
//! answered `FAILED: …` and dropped, and the client may send it again. Without answers there is
//! nobody to tell, so the source waits for room instead, and TCP holds the client back; Flume drops
//! the event there. One client never waits for another.
//!
//! Fails: a port that cannot be had is tried again every 3 s. Bodies are the bytes received, in
//! whatever encoding; Flume would replace those that are not of its `encoding`.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::{BoxError, BoxSource, Source};
use crate::context::{ConfigError, Context};
use crate::event::{BatchBuilder, TooLong};
use crate::kind::{Form, Key, Kind};
use crate::processor::ChannelProcessor;
use crate::stop::Stop;
use crate::wire::tcp;

pub(crate) mod fuzzing;

/// The kind `netcat`.
pub static KIND: Kind<BoxSource> = Kind {
    name: "netcat",
    classes: &["org.apache.flume.source.NetcatSource"],
    summary: "Listen on a TCP port; each line is an event.",
    keys: &[
        Key::required("bind", Form::Text, "Host name or address to listen on."),
        Key::required("port", Form::Port, "Port to listen on."),
        Key::or(
            "max-line-length",
            Form::POSITIVE,
            "512",
            "Longest line in characters, its line feed included.",
        ),
        Key::or(
            "ack-every-event",
            Form::Flag,
            "true",
            "Whether each event is answered with OK.",
        ),
        Key::missing(
            "encoding",
            Some("utf-8"),
            "Bodies are the bytes received; nothing is converted.",
        ),
    ],
    batch_key: None,
    example: "type = netcat\nbind = 127.0.0.1\nport = 44444",
    build,
};

/// Bytes read at a time.
const CHUNK: usize = 64 << 10;
/// A client that does not read its answers is waited for this long.
const ANSWER_PATIENCE: Duration = Duration::from_secs(3600);

fn build(ctx: &Context) -> Result<BoxSource, ConfigError> {
    Ok(Box::new(Netcat {
        bind: ctx.text("bind")?.to_owned(),
        port: ctx.port("port")?,
        lines: Lines {
            max_chars: ctx.number("max-line-length", 512_usize)?.max(1),
            acks: ctx.flag("ack-every-event", true),
        },
        listener: None,
    }))
}

#[derive(Debug)]
struct Netcat {
    bind: String,
    port: u16,
    lines: Lines,
    listener: Option<TcpListener>,
}

#[derive(Debug, Clone, Copy)]
struct Lines {
    max_chars: usize,
    acks: bool,
}

impl Source for Netcat {
    fn open(&mut self) -> Result<(), BoxError> {
        if self.listener.is_none() {
            self.listener = Some(tcp::listen(&self.bind, self.port)?);
        }
        Ok(())
    }

    fn run(&mut self, out: &ChannelProcessor, stop: &Stop) -> Result<(), BoxError> {
        let Some(listener) = &self.listener else {
            return Err("the source was not opened".into());
        };
        let lines = self.lines;
        tcp::serve(
            listener,
            tcp::MAX_CONNECTIONS,
            &|| stop.is_set(),
            &|stream, peer| {
                out.counters().open_connections.fetch_add(1, Relaxed);
                if let Err(error) = lines.serve(stream, peer, out, stop) {
                    info!(%peer, %error, "a connection ended");
                }
                out.counters().open_connections.fetch_sub(1, Relaxed);
            },
        );
        self.listener = None;
        Ok(())
    }

    fn local_address(&self) -> Option<SocketAddr> {
        self.listener
            .as_ref()
            .and_then(|listener| listener.local_addr().ok())
    }
}

/// How far a run of complete lines reached.
enum Split {
    /// All of them were within the limit.
    Whole,
    /// Behind these, a line is longer than allowed.
    TooLong,
}

impl Lines {
    /// Serves one client until it leaves, errs, or the agent stops.
    fn serve(
        self,
        mut stream: TcpStream,
        peer: SocketAddr,
        out: &ChannelProcessor,
        stop: &Stop,
    ) -> Result<(), BoxError> {
        let mut builder = BatchBuilder::new();
        let mut answers = Vec::new();
        let mut buffer = vec![0; CHUNK];
        let mut held = 0;
        while !stop.is_set() {
            // No line longer than the limit is ever held, so there is room unless the limit is
            // huge.
            if buffer.len() - held < CHUNK / 2 {
                buffer.resize(buffer.len() * 2, 0);
            }
            let got = match stream.read(&mut buffer[held..]) {
                Ok(0) => break,
                Ok(got) => got,
                Err(error) if tcp::is_pause(&error) => continue,
                Err(error) => return Err(error.into()),
            };
            let end = held + got;
            let mut used = 0;
            // Some channels take only small transactions; the lines of one read may be many.
            let split = loop {
                let (consumed, split) =
                    self.split(&buffer[used..end], &mut builder, out.max_batch())?;
                used += consumed;
                if builder.is_empty() {
                    break split;
                }
                self.put(&mut builder, &mut answers, out, stop)?;
            };
            if matches!(split, Split::TooLong) {
                out.counters().event_read_fail.fetch_add(1, Relaxed);
                warn!(%peer, limit = self.max_chars, "a line is too long; the connection is closed");
                let text = format!(
                    "FAILED: Event exceeds the maximum length ({} chars, including newline)\n",
                    self.max_chars
                );
                answers.extend_from_slice(text.as_bytes());
            }
            let deadline = Instant::now() + ANSWER_PATIENCE;
            tcp::write_all(&mut stream, &answers, deadline, &|| stop.is_set())?;
            answers.clear();
            if matches!(split, Split::TooLong) {
                linger(&mut stream, &mut buffer, stop);
                return Ok(());
            }
            buffer.copy_within(used..end, 0);
            held = end - used;
        }
        if held > 0 {
            out.counters().event_read_fail.fetch_add(1, Relaxed);
            warn!(%peer, bytes = held, "the connection ended within a line, which is dropped");
        }
        Ok(())
    }

    /// Puts the complete lines of `bytes`, at most `max` of them, into the batch; answers the bytes
    /// used up.
    fn split(
        self,
        bytes: &[u8],
        builder: &mut BatchBuilder,
        max: usize,
    ) -> Result<(usize, Split), TooLong> {
        let mut used = 0;
        for end in memchr::memchr_iter(b'\n', bytes) {
            if self.exceeds(&bytes[used..end]) {
                return Ok((used, Split::TooLong));
            }
            builder.push([], &bytes[used..end])?;
            used = end + 1;
            if builder.len() >= max {
                return Ok((used, Split::Whole));
            }
        }
        let split = if self.exceeds(&bytes[used..]) {
            Split::TooLong
        } else {
            Split::Whole
        };
        Ok((used, split))
    }

    /// Whether a line, without its line feed, is too long. Counted are UTF-8 characters, and only
    /// where there are more bytes than the limit.
    fn exceeds(self, line: &[u8]) -> bool {
        line.len() >= self.max_chars
            && line.iter().filter(|&&byte| byte & 0xc0 != 0x80).count() >= self.max_chars
    }

    /// Puts a batch into the channels and notes the answers.
    fn put(
        self,
        builder: &mut BatchBuilder,
        answers: &mut Vec<u8>,
        out: &ChannelProcessor,
        stop: &Stop,
    ) -> Result<(), BoxError> {
        let events = builder.len();
        let batch = builder.finish();
        if !self.acks {
            return Ok(out.deliver(batch, stop)?);
        }
        match out.process(batch) {
            Ok(()) => answers.extend(b"OK\n".iter().cycle().take(3 * events)),
            Err(error) => {
                let answer = format!("FAILED: {error}\n");
                answers.extend(answer.as_bytes().iter().cycle().take(answer.len() * events));
            }
        }
        Ok(())
    }
}

/// Lets the last answer reach a client that is still sending.
///
/// Closing a socket with unread bytes in it sends a reset, which can overtake the answer and
/// destroy it on the other side. So the sending half is closed, and what still comes is thrown away
/// for a short while.
fn linger(stream: &mut TcpStream, buffer: &mut [u8], stop: &Stop) {
    let deadline = Instant::now() + Duration::from_secs(1);
    if stream.shutdown(std::net::Shutdown::Write).is_err() {
        return;
    }
    while !stop.is_set() && Instant::now() < deadline {
        match stream.read(buffer) {
            Ok(0) => return,
            Err(error) if !tcp::is_pause(&error) => return,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};

    use super::super::testing::{Bench, Running, bodies, wait_for};
    use super::*;

    fn start(bench: &Bench, settings: &str) -> Running {
        let settings = format!("bind = 127.0.0.1\nport = 0\n{settings}");
        bench.run(build(&Context::from_example("r1", &settings)).unwrap())
    }

    fn answers(stream: &TcpStream, count: usize) -> Vec<String> {
        BufReader::new(stream)
            .lines()
            .take(count)
            .map(Result::unwrap)
            .collect()
    }

    #[test]
    fn lines_become_events_however_they_are_cut_and_each_is_answered() {
        let bench = Bench::new();
        let source = start(&bench, "");
        let mut client = source.connect();
        for piece in ["one\ntw", "o\r\n\nfo", "ur\nunfinished"] {
            client.write_all(piece.as_bytes()).unwrap();
        }
        assert_eq!(answers(&client, 4), ["OK"; 4]);
        assert_eq!(bodies(&bench.take(4)), ["one", "two\r", "", "four"]);
        drop(client);
        wait_for("the torn line to be counted", || {
            bench.out.counters().event_read_fail.load(Relaxed) == 1
        });
        wait_for("the connection to end", || {
            bench.out.counters().open_connections.load(Relaxed) == 0
        });
        source.stop().unwrap();
        bench.assert_empty();
    }

    #[test]
    fn a_line_that_is_too_long_is_refused_as_flume_refuses_it() {
        // Four characters and the line feed fit, in UTF-8 too.
        for (acks, line) in [(true, "12345"), (false, "12345"), (true, "12345678\nx\n")] {
            let bench = Bench::new();
            let source = start(
                &bench,
                &format!("max-line-length = 5\nack-every-event = {acks}"),
            );
            let mut client = source.connect();
            client
                .write_all(format!("1234\näöüß\n{line}").as_bytes())
                .unwrap();
            let mut expected = vec!["OK"; if acks { 2 } else { 0 }];
            expected.push("FAILED: Event exceeds the maximum length (5 chars, including newline)");
            assert_eq!(answers(&client, 9), expected);
            assert_eq!(bodies(&bench.take(2)), ["1234", "äöüß"]);
            source.stop().unwrap();
            bench.assert_empty();
        }
    }

    #[test]
    fn a_full_channel_refuses_answered_lines_and_holds_back_the_others() {
        let bench = Bench::with_capacity(2);
        let source = start(&bench, "");
        let mut client = source.connect();
        client.write_all(b"a\nb\n").unwrap();
        assert_eq!(answers(&client, 2), ["OK"; 2]);
        client.write_all(b"c\n").unwrap();
        assert!(answers(&client, 1)[0].starts_with("FAILED: "));
        assert_eq!(bodies(&bench.take(2)), ["a", "b"]);
        source.stop().unwrap();

        let bench = Bench::with_capacity(3);
        let source = start(&bench, "ack-every-event = false");
        let mut client = source.connect();
        let lines: Vec<String> = (0..500).map(|n| n.to_string()).collect();
        client
            .write_all(format!("{}\n", lines.join("\n")).as_bytes())
            .unwrap();
        assert_eq!(bodies(&bench.take(500)), lines);
        source.stop().unwrap();
    }

    #[test]
    fn a_silent_client_keeps_nobody_waiting_not_even_the_stop() {
        let bench = Bench::new();
        let source = start(&bench, "");
        let mut silent = source.connect();
        silent.write_all(b"half a li").unwrap();
        let mut client = source.connect();
        client.write_all(b"whole\n").unwrap();
        assert_eq!(answers(&client, 1), ["OK"]);
        source.stop().unwrap();
    }

    proptest::proptest! {
        #[test]
        fn splitting_is_that_of_the_plain_definition(text in "[aä\r\n]{0,40}", max_chars in 1_usize..8, max in 1_usize..4) {
            let lines = Lines { max_chars, acks: true };
            let (mut got, mut builder, mut used) = (Vec::new(), BatchBuilder::new(), 0);
            let too_long = loop {
                let (consumed, split) = lines.split(&text.as_bytes()[used..], &mut builder, max).unwrap();
                used += consumed;
                if builder.is_empty() {
                    break matches!(split, Split::TooLong);
                }
                proptest::prop_assert!(builder.len() <= max);
                got.extend(builder.finish().iter().map(|event| String::from_utf8(event.body().to_vec()).unwrap()));
            };
            let mut expected = Vec::new();
            let mut expected_too_long = false;
            for line in text.split_inclusive('\n') {
                if line.trim_end_matches('\n').chars().count() >= max_chars {
                    expected_too_long = true;
                    break;
                }
                expected.extend(line.strip_suffix('\n').map(str::to_owned));
            }
            proptest::prop_assert_eq!(got, expected);
            proptest::prop_assert_eq!(too_long, expected_too_long);
        }
    }
}
