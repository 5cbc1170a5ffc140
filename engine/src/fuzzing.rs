//! Entry points for fuzzing: one function for each place where the engine reads what a stranger, or
//! a broken disk, may have made up.
//!
//! Not an interface for anybody else. Each function takes any bytes whatever, and panics if the
//! engine does what it must not. Beyond "it does not panic", each holds a property:
//!
//! | target | input | property |
//! |---|---|---|
//! | [`avro_server`] | mode, then a connection's bytes; mode: bit 0 compressed, the rest the length of pieces − 1 | cuts make no difference; memory is bounded |
//! | [`netcat_lines`] | limit and length of pieces − 1 (4 bits each), most events per batch − 1, then a connection's bytes | as the plain definition says |
//! | [`channel_log`] | an image of a file channel's directories; see there | a log that opens keeps its events over a restart |
//! | [`hdfs_answers`] | who answers, then the bytes; even: a NameNode, odd: a DataNode | what is understood means the same once written again |
//! | [`metrics`] | length of pieces − 1, then what a client of the metrics sends | one whole answer or none; cuts make no difference |
//! | [`configuration`] | a configuration of agent `a1` | findings name lines that exist |
//!
//! The functions are called by the fuzz targets in `fuzz/` and, for the recorded corpora and
//! mutations of them, by an ordinary test.

use std::fmt::Debug;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

use flume_bench_hadoop::client_protocol::{
    AddBlockResponse, CreateResponse, GetFileInfoResponse, GetListingResponse,
};
use flume_bench_hadoop::frame::{put_delimited, read_delimited, read_frame, take_delimited};
use flume_bench_hadoop::rpc::RpcResponseHeader;
use flume_bench_hadoop::transfer::{BlockOpResponse, PipelineAck};
use prost::Message;

use crate::config::{self, Text};
use crate::context::Surroundings;
use crate::event::BatchBuilder;
use crate::metrics::{Group, Member, Registry, http};
use crate::wire::avro_rpc::Status;
use crate::wire::avro_rpc::server::{Reply, ServerConnection};

pub use crate::channel::file::fuzzing::channel_log;
pub use crate::source::netcat::fuzzing::netcat_lines;

/// A target: bytes in, panic if something is wrong.
pub type Target = fn(&[u8]);

/// All targets, by name.
pub static TARGETS: &[(&str, Target)] = &[
    ("avro_server", avro_server),
    ("channel_log", channel_log),
    ("configuration", configuration),
    ("hdfs_answers", hdfs_answers),
    ("metrics", metrics),
    ("netcat_lines", netcat_lines),
];

/// Largest request of [`avro_server`]; small, so that the limit is met.
const FRAME_LIMIT: usize = 256 << 10;

/// The avro source's end of a connection.
pub fn avro_server(input: &[u8]) {
    let Some((&mode, bytes)) = input.split_first() else {
        return;
    };
    let compressed = mode & 1 == 1;
    let whole = converse(bytes, bytes.len(), compressed);
    let pieces = converse(bytes, 1 + usize::from(mode >> 1), compressed);
    assert_eq!(
        whole.failed, pieces.failed,
        "cuts decide whether bytes are malformed"
    );
    // A damaged zlib stream gives up to a different number of bytes before the damage, depending
    // on where it was cut.
    if !(compressed && whole.failed) {
        assert_eq!(whole, pieces, "cuts decide what the bytes mean");
    }
}

/// What became of a connection: checksums, because its answers may be large.
#[derive(Debug, Default, PartialEq, Eq)]
struct Conversation {
    calls: u32,
    events: u32,
    bodies_crc: u32,
    answers_crc: u32,
    failed: bool,
}

fn converse(bytes: &[u8], piece: usize, compressed: bool) -> Conversation {
    let mut connection = ServerConnection::new(FRAME_LIMIT, compressed);
    let mut seen = Conversation::default();
    let mut builder = BatchBuilder::new();
    let mut answers = Vec::new();
    for piece in bytes.chunks(piece.max(1)) {
        let outcome = connection.receive(piece, &mut answers, &mut |mut events| {
            builder.clear();
            while let Some(event) = events.next_event()? {
                if builder.push(event.headers(), event.body()).is_err() {
                    return Ok(Reply::Status(Status::Failed));
                }
            }
            seen.calls += 1;
            for event in builder.finish().iter() {
                seen.events += 1;
                for (key, value) in event.headers() {
                    seen.bodies_crc = crc32c::crc32c_append(seen.bodies_crc, key.as_bytes());
                    seen.bodies_crc = crc32c::crc32c_append(seen.bodies_crc, value.as_bytes());
                }
                seen.bodies_crc = crc32c::crc32c_append(seen.bodies_crc, event.body());
            }
            Ok(Reply::Status(Status::Ok))
        });
        seen.answers_crc = crc32c::crc32c_append(seen.answers_crc, &answers);
        answers.clear();
        // A vector that grows may be twice as large as what is in it.
        assert!(connection.held() <= 2 * FRAME_LIMIT, "held over the limit");
        if outcome.is_err() {
            seen.failed = true;
            break;
        }
    }
    seen
}

/// The configuration of an agent, from the bytes of its file to components that are built.
pub fn configuration(input: &[u8]) {
    let lines = 1 + input
        .iter()
        .filter(|byte| matches!(byte, b'\n' | b'\r'))
        .count();
    let text = Text {
        file: PathBuf::from("fuzz.conf"),
        bytes: input.to_vec(),
    };
    let surroundings = Surroundings {
        home: PathBuf::from("/nonexistent"),
        ..Surroundings::default()
    };
    let env = |name: &str| (name.len() < 4).then(|| format!("{name}{name}"));
    let report = config::check(&[text], "a1", &surroundings, &env);
    for finding in report.problems.iter().chain(&report.notices) {
        assert!(finding.line <= lines, "{finding} of {lines} lines");
    }
    if let Some(plan) = report.plan {
        assert!(
            !plan.channels.is_empty(),
            "a plan without a channel moves nothing"
        );
    }
}

/// What a NameNode answers to calls, or a DataNode to an operation and to packets.
pub fn hdfs_answers(input: &[u8]) {
    let Some((&who, mut bytes)) = input.split_first() else {
        return;
    };
    if who & 1 == 1 {
        let answer = read_delimited::<BlockOpResponse>(&mut bytes, FRAME_LIMIT, "an answer");
        if returns(answer) {
            while returns(read_delimited::<PipelineAck>(
                &mut bytes,
                FRAME_LIMIT,
                "an acknowledgement",
            )) {}
        }
        return;
    }
    while let Ok(frame) = read_frame(&mut bytes, FRAME_LIMIT) {
        let mut rest = frame.as_slice();
        if !returns(take_delimited::<RpcResponseHeader>(&mut rest, "a header")) {
            continue;
        }
        // A result does not say what it is; the call does. So it is read as any of them.
        returns(take_delimited::<GetFileInfoResponse>(&mut &*rest, "it"));
        returns(take_delimited::<GetListingResponse>(&mut &*rest, "it"));
        returns(take_delimited::<AddBlockResponse>(&mut &*rest, "it"));
        returns(take_delimited::<CreateResponse>(&mut &*rest, "it"));
    }
}

/// What a client sends to the server of the metrics.
pub fn metrics(input: &[u8]) {
    let Some((&piece, bytes)) = input.split_first() else {
        return;
    };
    let sources = Group::Source(Arc::default());
    let sinks = Group::Sink(Arc::default());
    let members = [("r 1\"\\", sources), ("k1", sinks)];
    let members = members.map(|(name, group)| Arc::new(Member::new(name, group)));
    let registry = Registry::new(members.into());
    let answer = |piece: usize| {
        let mut out = Vec::new();
        let pieces = Pieces { left: bytes, piece };
        let outcome = http::converse(pieces, &mut out, &registry);
        assert!(
            outcome.is_ok(),
            "a connection that does not break: {outcome:?}"
        );
        out
    };
    let whole = answer(bytes.len());
    let cut = answer(1 + usize::from(piece));
    assert_eq!(whole, cut, "cuts decide what is asked for");
    let text = String::from_utf8_lossy(&whole);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        assert_eq!(text, "", "an answer without an end of its head");
        return;
    };
    let length = format!("\r\nContent-Length: {}\r\n", body.len());
    assert!(head.contains(&length), "{text}");
    if head.contains("application/json") {
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
    }
}

/// Bytes that arrive piece by piece.
struct Pieces<'a> {
    left: &'a [u8],
    piece: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let piece = buffer.len().min(self.piece);
        self.left.read(&mut buffer[..piece])
    }
}

/// Whether a message was understood. If so, it is what comes back when it is written and read.
fn returns<M: Message + Default + PartialEq + Debug, E>(message: Result<M, E>) -> bool {
    let Ok(message) = message else {
        return false;
    };
    let mut bytes = Vec::new();
    put_delimited(&mut bytes, &message);
    let mut rest = bytes.as_slice();
    let again = take_delimited::<M>(&mut rest, "what was written");
    let again = again
        .ok()
        .filter(|again| *again == message && rest.is_empty());
    assert!(again.is_some(), "{message:?} does not return");
    true
}
