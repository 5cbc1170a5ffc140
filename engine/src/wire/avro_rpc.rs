//! Flume's Avro RPC: the wire of the `avro` source, of the `avro` sink and of the default client of
//! Flume's SDK.
//!
//! The protocol is `AvroSourceProtocol` of `org.apache.flume.source.avro`: `append` carries one
//! `AvroFlumeEvent`, `appendBatch` an array of them, both answer with a `Status`. The layers, from
//! the socket upwards:
//!
//! | layer | module | what it does |
//! |---|---|---|
//! | zlib stream, optional | [`compression`] | one continuous stream per direction, flushed after every write |
//! | frames | [`frame`] | serial number, then a list of buffers whose cuts mean nothing |
//! | handshake | [`handshake`] | who speaks which protocol, by MD5 |
//! | Avro binary | [`datum`] | zig-zag numbers, strings, maps, arrays, and the events in them |
//! | calls | [`server`], [`client`] | the two ends of a connection |
//!
//! Sources of the format: the Avro 1.11 specification ("Protocol Wire Format", "Binary Encoding")
//! and bytes recorded between the Java clients of Flume 1.11 and its Avro source, which the tests
//! hold this module to.
//!
//! Two MD5s are in use for the same protocol. Flume's own build keeps a licence comment as
//! documentation inside the protocol's text, which gives [`FLUME_MD5`]; the bare text,
//! [`PROTOCOL`], gives [`PROTOCOL_MD5`]. Both are known here.

pub mod client;
pub mod compression;
pub mod datum;
pub mod frame;
pub mod handshake;
pub mod server;

/// The MD5 under which Flume 1.x knows its own protocol.
pub const FLUME_MD5: [u8; 16] = [
    0x86, 0xaa, 0xda, 0xe2, 0xc4, 0x54, 0x74, 0xc0, 0xfe, 0x93, 0xff, 0xd0, 0xf2, 0x35, 0x0a, 0x65,
];

/// The MD5 of [`PROTOCOL`].
pub const PROTOCOL_MD5: [u8; 16] = [
    0x30, 0xda, 0x54, 0x05, 0x9d, 0xf7, 0x2d, 0x95, 0x84, 0xb8, 0x67, 0xd5, 0x20, 0x2e, 0x20, 0x69,
];

/// The protocol as compact JSON, sent to a peer that does not know either MD5.
pub const PROTOCOL: &str = concat!(
    r#"{"protocol":"AvroSourceProtocol","namespace":"org.apache.flume.source.avro","types":["#,
    r#"{"type":"enum","name":"Status","symbols":["OK","FAILED","UNKNOWN"]},"#,
    r#"{"type":"record","name":"AvroFlumeEvent","fields":["#,
    r#"{"name":"headers","type":{"type":"map","values":"string"}},{"name":"body","type":"bytes"}]}],"#,
    r#""messages":{"append":{"request":[{"name":"event","type":"AvroFlumeEvent"}],"response":"Status"},"#,
    r#""appendBatch":{"request":[{"name":"events","type":{"type":"array","items":"AvroFlumeEvent"}}],"#,
    r#""response":"Status"}}}"#
);

/// Largest frame accepted unless told otherwise, in bytes after inflation: 100 MB.
///
/// A batch of 1,000 events of 100 KB just fits. The memory is taken as the bytes arrive, not when a
/// length is announced, so a peer that only *claims* a large frame costs nothing.
pub const DEFAULT_FRAME_LIMIT: usize = 100_000_000;

/// What a source answers to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The events are committed to the source's channels.
    Ok,
    /// They are not; the client may try again.
    Failed,
    /// The source does not know.
    Unknown,
}

impl Status {
    /// Position in the protocol's enumeration.
    fn index(self) -> i64 {
        match self {
            Status::Ok => 0,
            Status::Failed => 1,
            Status::Unknown => 2,
        }
    }

    fn from_index(index: i64) -> Result<Self, Malformed> {
        match index {
            0 => Ok(Status::Ok),
            1 => Ok(Status::Failed),
            2 => Ok(Status::Unknown),
            other => Err(Malformed::Union {
                what: "status",
                index: other,
            }),
        }
    }
}

/// Bytes that are not what the protocol allows at their place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The bytes end inside a value.
    #[error("the message ends inside {what}")]
    Truncated {
        /// The value that was being read.
        what: &'static str,
    },
    /// A variable-length number has more than ten bytes or does not fit 64 bits.
    #[error("a number is longer than 64 bits")]
    Number,
    /// A length or count is negative, or larger than the bytes that are left.
    #[error("{what} claims {claimed} where {left} bytes are left")]
    Length {
        /// The value whose length it is.
        what: &'static str,
        /// The number read.
        claimed: i64,
        /// Bytes that remain in the message.
        left: usize,
    },
    /// An enumeration or union has no such branch.
    #[error("{what} has no branch {index}")]
    Union {
        /// The union or enumeration.
        what: &'static str,
        /// The branch asked for.
        index: i64,
    },
    /// A boolean is neither 0 nor 1.
    #[error("a boolean is {0}")]
    Boolean(u8),
    /// A string is not UTF-8.
    #[error("{what} is not UTF-8")]
    Utf8 {
        /// The string.
        what: &'static str,
    },
    /// Bytes follow the last parameter: the message was read under the wrong schema.
    #[error("{0} bytes follow the end of the message")]
    Trailing(usize),
    /// A frame announces a negative count or length, or more buffers than any real peer sends.
    #[error("a frame announces {announced} {what}")]
    Frame {
        /// Buffers or bytes.
        what: &'static str,
        /// The number announced.
        announced: i64,
    },
    /// A frame is larger than the limit.
    #[error("a frame of at least {size} bytes is over the limit of {limit}")]
    TooLarge {
        /// Bytes announced so far.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The compressed stream is damaged, or the peer does not compress.
    #[error("the bytes are no zlib stream; compression-type must be the same on both ends")]
    Compression,
    /// A call arrived before any handshake.
    #[error("the handshake is missing or was refused")]
    Handshake,
}
