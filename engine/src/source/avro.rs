//! `avro`: listens for Flume's Avro RPC: the SDK's clients, and avro sinks of other agents.
//!
//! | key | default | meaning |
//! |---|---|---|
//! | `bind` | required | host name or address to listen on |
//! | `port` | required | port; 0 takes a free one |
//! | `compression-type` | none | `none` or `deflate`; has to be the same on both ends |
//! | `ipFilter` | false | whether `ipFilterRules` decide who may connect |
//! | `ipFilterRules` | – | comma list of `allow` or `deny`, `:ip:`, pattern with `*`; the first match decides |
//! | `maxFrameLength` | 100000000 | largest request in bytes, inflated; ours |
//!
//! Guarantees: a call is answered `OK` after all required channels committed its events, and
//! `FAILED` if one refused; nothing of a call that was not understood reaches a channel. A client
//! that got no answer does not know; if it sends again, events may be doubled.
//!
//! Each connection has a thread of its own (up to 1,024), so one that is half open or slow keeps
//! nobody waiting. `threads` is ignored, as Flume has ignored it since 1.10. Malformed bytes, and
//! requests beyond the limit, are counted as `EventReadFail` and end that connection alone; so do
//! large requests while those of all connections together hold over 512 MiB. Decoding goes from the
//! frame into the batch, without an allocation per event.
//!
//! Fails: a port that cannot be had is tried again every 3 s. TLS is not offered, and a source that
//! asks for it is refused rather than opened without.

use std::io::Read;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tracing::{debug, warn};

use super::{BoxError, BoxSource, Source};
use crate::context::{ConfigError, Context};
use crate::defect::{self, Defect};
use crate::event::{Batch, BatchBuilder, TooLong};
use crate::kind::{Form, Key, Kind};
use crate::processor::ChannelProcessor;
use crate::stop::Stop;
use crate::wire::avro_rpc::server::{Events, Method, Reply, ServerConnection};
use crate::wire::avro_rpc::{DEFAULT_FRAME_LIMIT, Malformed, Status};
use crate::wire::tcp;

/// The kind `avro`.
pub static KIND: Kind<BoxSource> = Kind {
    name: "avro",
    classes: &["org.apache.flume.source.AvroSource"],
    summary: "Listen for Flume's Avro RPC.",
    keys: &[
        Key::required("bind", Form::Text, "Host name or address to listen on."),
        Key::required("port", Form::Port, "Port to listen on."),
        Key::or(
            "compression-type",
            Form::Choice(&["none", "deflate"]),
            "none",
            "Compression of both directions.",
        ),
        Key::or(
            "ipFilter",
            Form::Flag,
            "false",
            "Whether ipFilterRules decide who may connect.",
        ),
        Key::optional(
            "ipFilterRules",
            Form::Text,
            "Comma list of allow or deny, :ip:, and a pattern with *.",
        ),
        Key::or(
            "maxFrameLength",
            Form::POSITIVE,
            "100000000",
            "Largest request in bytes, inflated.",
        ),
        Key::ignored("threads", "Each connection has a thread of its own."),
        Key::missing("ssl", Some("false"), "TLS is not offered."),
        Key::ignored("keystore", "TLS is not offered."),
        Key::ignored("keystore-password", "TLS is not offered."),
        Key::ignored("keystore-type", "TLS is not offered."),
        Key::ignored("exclude-protocols", "TLS is not offered."),
        Key::ignored("include-protocols", "TLS is not offered."),
        Key::ignored("exclude-cipher-suites", "TLS is not offered."),
        Key::ignored("include-cipher-suites", "TLS is not offered."),
    ],
    batch_key: None,
    example: "type = avro\nbind = 127.0.0.1\nport = 41414",
    build,
};

/// Memory that requests still arriving may take, all connections together. Beyond it, the
/// connections whose own request is large are closed; small ones go on.
const HELD_LIMIT: usize = 512 << 20;
/// What a request may take whatever the others do.
const HELD_FREE: usize = 1 << 20;
/// Bytes read at a time.
const CHUNK: usize = 64 << 10;
/// A client that does not read its answers is waited for this long; it then gets no more of them.
const ANSWER_PATIENCE: Duration = Duration::from_secs(60);

fn build(ctx: &Context) -> Result<BoxSource, ConfigError> {
    if ctx.flag("ssl", false) {
        return Err(ctx.error(
            "ssl",
            "TLS is not offered; remove ssl, or let a TLS proxy stand before the source",
        ));
    }
    let compressed = match ctx.text_or("compression-type", "none") {
        text if text.eq_ignore_ascii_case("none") => false,
        text if text.eq_ignore_ascii_case("deflate") => true,
        other => {
            return Err(ctx.error(
                "compression-type",
                format!("{other:?} is neither none nor deflate"),
            ));
        }
    };
    let rules = if ctx.flag("ipFilter", false) {
        Rules::parse(ctx.text("ipFilterRules")?)
            .map_err(|message| ctx.error("ipFilterRules", message))?
    } else {
        Rules::default()
    };
    Ok(Box::new(Avro {
        bind: ctx.text("bind")?.to_owned(),
        port: ctx.port("port")?,
        compressed,
        frame_limit: ctx.number("maxFrameLength", DEFAULT_FRAME_LIMIT)?,
        rules,
        listener: None,
        held: AtomicUsize::new(0),
    }))
}

#[derive(Debug)]
struct Avro {
    bind: String,
    port: u16,
    compressed: bool,
    frame_limit: usize,
    rules: Rules,
    listener: Option<TcpListener>,
    /// Bytes of requests held by all connections together.
    held: AtomicUsize,
}

impl Source for Avro {
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
        tcp::serve(
            listener,
            tcp::MAX_CONNECTIONS,
            &|| stop.is_set(),
            &|stream, peer| {
                if !self.rules.allow(peer.ip()) {
                    out.counters().generic_processing_fail.fetch_add(1, Relaxed);
                    warn!(%peer, "refused by ipFilterRules");
                    return;
                }
                out.counters().open_connections.fetch_add(1, Relaxed);
                self.serve(stream, peer, out, stop);
                if Defect::AvroAckBeforeCommit.is_planted()
                    && let Some(last) = defect::hold_back(None)
                {
                    let _ = out.process(last);
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

impl Avro {
    /// Serves one client until it leaves, errs, or the agent stops. A request that is complete when
    /// the agent stops is still put and answered.
    fn serve(&self, mut stream: TcpStream, peer: SocketAddr, out: &ChannelProcessor, stop: &Stop) {
        let mut connection = ServerConnection::new(self.frame_limit, self.compressed);
        let mut intake = Intake {
            out,
            builder: BatchBuilder::new(),
        };
        let mut holding = Holding {
            total: &self.held,
            own: 0,
        };
        let mut input = vec![0; CHUNK];
        let mut answers = Vec::new();
        while !stop.is_set() {
            let got = match stream.read(&mut input) {
                Ok(0) => {
                    if !connection.is_idle() {
                        debug!(%peer, "the client left in the middle of a request");
                    }
                    return;
                }
                Ok(got) => got,
                Err(error) if tcp::is_pause(&error) => continue,
                Err(error) => {
                    debug!(%peer, %error, "the connection broke");
                    return;
                }
            };
            answers.clear();
            let outcome = connection.receive(&input[..got], &mut answers, &mut |events| {
                intake.take(events)
            });
            if !holding.update(connection.held()) {
                out.counters().event_read_fail.fetch_add(1, Relaxed);
                warn!(%peer, limit = HELD_LIMIT, "too many large requests at once; closed");
                return;
            }
            if let Err(error) = &outcome {
                out.counters().event_read_fail.fetch_add(1, Relaxed);
                warn!(%peer, %error, "malformed request; the connection is closed");
            }
            // Whether it was the stop or the client that ended the connection: calls that were
            // executed are answered.
            let deadline = Instant::now() + ANSWER_PATIENCE;
            let sent = tcp::write_all(&mut stream, &answers, deadline, &|| stop.is_set());
            if let Err(error) = sent {
                debug!(%peer, %error, "an answer could not be sent");
                return;
            }
            if outcome.is_err() {
                return;
            }
        }
    }
}

/// One connection's share of the memory held for requests; given back when dropped.
#[derive(Debug)]
struct Holding<'a> {
    total: &'a AtomicUsize,
    own: usize,
}

impl Holding<'_> {
    /// Notes what the connection holds now; false if that is more than there is for it.
    fn update(&mut self, now: usize) -> bool {
        if now == self.own {
            return true;
        }
        self.total.fetch_add(now, Relaxed);
        self.total.fetch_sub(self.own, Relaxed);
        self.own = now;
        now <= HELD_FREE || self.total.load(Relaxed) <= HELD_LIMIT
    }
}

impl Drop for Holding<'_> {
    fn drop(&mut self) {
        self.total.fetch_sub(self.own, Relaxed);
    }
}

/// Turns calls into batches and hands them on.
#[derive(Debug)]
struct Intake<'a> {
    out: &'a ChannelProcessor,
    builder: BatchBuilder,
}

impl Intake<'_> {
    fn take(&mut self, mut events: Events<'_>) -> Result<Reply, Malformed> {
        let counters = self.out.counters();
        let (received, accepted) = match events.method() {
            Method::Append => (&counters.append_received, &counters.append_accepted),
            Method::AppendBatch => (
                &counters.append_batch_received,
                &counters.append_batch_accepted,
            ),
        };
        received.fetch_add(1, Relaxed);
        self.builder.clear();
        let mut too_long = None;
        // The call is decoded to its end even when its events do not fit: only then is it known to
        // be well-formed, and the connection usable for the next one.
        while let Some(event) = events.next_event()? {
            if too_long.is_none() {
                too_long = self.builder.push(event.headers(), event.body()).err();
            }
        }
        if let Some(TooLong) = too_long {
            return Ok(Reply::Error(TooLong.to_string()));
        }
        if self.builder.is_empty() {
            accepted.fetch_add(1, Relaxed);
            return Ok(Reply::Status(Status::Ok));
        }
        let mut batch = self.builder.finish();
        if Defect::AvroAckBeforeCommit.is_planted() {
            batch = defect::hold_back(Some(batch)).unwrap_or_else(Batch::empty);
        }
        match self.out.process(batch) {
            Ok(()) => {
                accepted.fetch_add(1, Relaxed);
                Ok(Reply::Status(Status::Ok))
            }
            Err(error) => {
                debug!(%error, "a call was refused");
                if Defect::AvroAckThoughRefused.is_planted() {
                    return Ok(Reply::Status(Status::Ok));
                }
                Ok(Reply::Status(Status::Failed))
            }
        }
    }
}

/// Who may connect. Without rules, everybody; where none matches, likewise, as in Flume.
#[derive(Debug, Default)]
struct Rules(Vec<(bool, String)>);

impl Rules {
    fn parse(text: &str) -> Result<Self, String> {
        text.split(',')
            .map(|rule| Self::parse_one(rule.trim()))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    fn parse_one(rule: &str) -> Result<(bool, String), String> {
        let mut parts = rule.splitn(3, ':');
        let (policy, subject, pattern) = (parts.next(), parts.next(), parts.next());
        let allow = match policy {
            Some("allow") => true,
            Some("deny") => false,
            _ => {
                return Err(format!(
                    "the rule {rule:?} begins with neither allow nor deny"
                ));
            }
        };
        match (subject, pattern) {
            (Some("ip"), Some(pattern)) if !pattern.is_empty() => Ok((allow, pattern.to_owned())),
            (Some("name"), Some("localhost")) => Ok((allow, "localhost".to_owned())),
            (Some("name"), Some(_)) => Err(format!(
                "the rule {rule:?} asks for a name, of which only localhost is offered; use ip"
            )),
            _ => Err(format!(
                "the rule {rule:?} is not of the form allow:ip:pattern"
            )),
        }
    }

    fn allow(&self, ip: IpAddr) -> bool {
        let text = ip.to_canonical().to_string();
        let rule = self.0.iter().find(|(_, pattern)| match pattern.as_str() {
            "localhost" => ip.to_canonical().is_loopback(),
            pattern => matches_pattern(pattern.as_bytes(), text.as_bytes()),
        });
        rule.is_none_or(|(allow, _)| *allow)
    }
}

/// Whether `text` is `pattern`, where `*` stands for anything.
fn matches_pattern(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on when the last star has to stand for one byte more.
    let mut retry = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, t));
                p += 1;
            }
            Some(byte) if *byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((after_star, covered)) = retry else {
                    return false;
                };
                retry = Some((after_star, covered + 1));
                p = after_star;
                t = covered + 1;
            }
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests;
