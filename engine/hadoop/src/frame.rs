//! The bytes between the messages: preambles, lengths, packets, checksums.
//!
//! ```text
//! NameNode, client sends   "hrpc" 09 00 00, then frames
//!   frame                  u32 length | RpcRequestHeader | …      (all messages delimited)
//!   first frame            … IpcConnectionContext                 (call id -3, never answered)
//!   further frames         … RequestHeader | request
//! NameNode answers         u32 length | RpcResponseHeader | result (the result only on success)
//! DataNode, operation      u16 28 | u8 code | message             (delimited)
//! DataNode, answer         BlockOpResponse                        (delimited)
//! packet                   u32 4 + checksums + data | u16 header length | PacketHeader
//!                          | checksums, u32 each | data
//! ack                      PipelineAck                            (delimited)
//! ```
//!
//! Numbers are big-endian; *delimited* means that a message is preceded by its length as a varint.
//! Every length that comes from the other side is checked against a limit before memory is taken
//! for it, and memory beyond 128 KiB is taken only as the bytes arrive. Source: the Hadoop 3.3.6
//! classes `ipc.Client`, `ipc.Server`, `datatransfer.Op`, `datatransfer.PacketHeader` and
//! `datatransfer.PacketReceiver`.

use std::io::{self, Read};

use prost::Message;
use thiserror::Error;

use crate::rpc::{
    IpcConnectionContext, RequestHeader, RpcKind, RpcOperation, RpcRequestHeader, RpcResponseHeader,
};
use crate::transfer::PacketHeader;

/// What a client sends first: magic, version 9, service class 0, no SASL.
pub const RPC_PREAMBLE: [u8; 7] = *b"hrpc\x09\x00\x00";

/// Call id of the frame that carries the connection context.
pub const CONTEXT_CALL_ID: i32 = -3;

/// Call id of a ping: a frame with a header alone, never answered.
pub const PING_CALL_ID: i32 = -4;

/// Call id of SASL steps. A server that insists on SASL answers the context with it.
pub const SASL_CALL_ID: i32 = -33;

/// Version of the data transfer, before every operation.
pub const TRANSFER_VERSION: u16 = 28;

/// Greatest RPC frame that is accepted, bytes. Hadoop's default.
pub const MAX_RPC_FRAME: usize = 128 << 20;

/// Greatest delimited message of a data transfer that is accepted, bytes.
pub const MAX_TRANSFER_MESSAGE: usize = 4 << 20;

/// Greatest packet that is accepted, bytes. Hadoop's default.
pub const MAX_PACKET: usize = 16 << 20;

/// Bytes for which memory is taken before the first of them has come: more than a packet of the usual
/// size.
const ON_TRUST: usize = 128 << 10;

/// Sequence number of a heartbeat packet, which carries no data and is acknowledged like any other.
pub const HEARTBEAT_SEQNO: i64 = -1;

/// Bytes of one CRC32C.
pub const CHECKSUM_LEN: usize = 4;

/// Code of an operation, the byte after the version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum OpCode {
    /// [`OpWriteBlock`](crate::transfer::OpWriteBlock) follows.
    WriteBlock = 80,
    /// [`OpReadBlock`](crate::transfer::OpReadBlock) follows.
    ReadBlock = 81,
    /// [`OpBlockChecksum`](crate::transfer::OpBlockChecksum) follows.
    BlockChecksum = 85,
    /// [`OpTransferBlock`](crate::transfer::OpTransferBlock) follows.
    TransferBlock = 86,
}

impl OpCode {
    /// The operation with this code, if it is one that is served here.
    pub fn from_byte(code: u8) -> Option<Self> {
        [
            Self::WriteBlock,
            Self::ReadBlock,
            Self::BlockChecksum,
            Self::TransferBlock,
        ]
        .into_iter()
        .find(|op| *op as u8 == code)
    }
}

/// Why bytes could not be taken for a message.
#[derive(Debug, Error)]
pub enum FrameError {
    /// The connection failed or ended.
    #[error("reading {what}: {source}")]
    Io {
        /// What was being read.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A length from the other side is beyond the limit.
    #[error(
        "{what} of {len} bytes, the limit is {limit}: the other side does not speak this protocol"
    )]
    TooLong {
        /// What was being read.
        what: &'static str,
        /// The length that was announced, bytes.
        len: u64,
        /// The limit, bytes.
        limit: usize,
    },
    /// The bytes are no such message.
    #[error("decoding {what}: {reason}")]
    Malformed {
        /// What was being decoded.
        what: &'static str,
        /// Where it went wrong.
        reason: String,
    },
}

fn malformed(what: &'static str, reason: impl ToString) -> FrameError {
    FrameError::Malformed {
        what,
        reason: reason.to_string(),
    }
}

/// Appends a message with its length before it.
pub fn put_delimited(out: &mut Vec<u8>, message: &impl Message) {
    // A Vec grows without end, so the encoder has nothing to complain of.
    prost::encoding::encode_varint(message.encoded_len() as u64, out);
    message.encode_raw(out);
}

/// Takes a message with its length from the front of `bytes`.
///
/// # Errors
/// When the bytes are cut short or are no such message.
pub fn take_delimited<M: Message + Default>(
    bytes: &mut &[u8],
    what: &'static str,
) -> Result<M, FrameError> {
    M::decode_length_delimited(bytes).map_err(|error| malformed(what, error))
}

/// Reads a message with its length from a stream, byte by byte up to the end of the length.
///
/// # Errors
/// When the stream ends or fails, the length is beyond `limit`, or the bytes are no such message.
pub fn read_delimited<M: Message + Default>(
    from: &mut impl Read,
    limit: usize,
    what: &'static str,
) -> Result<M, FrameError> {
    let len = read_varint(from, what)?;
    if len > limit as u64 {
        return Err(FrameError::TooLong { what, len, limit });
    }
    let bytes = read_vec(from, len as usize, what)?;
    M::decode(bytes.as_slice()).map_err(|error| malformed(what, error))
}

fn read_varint(from: &mut impl Read, what: &'static str) -> Result<u64, FrameError> {
    let mut value = 0_u64;
    for shift in (0..35).step_by(7) {
        let mut byte = [0_u8];
        from.read_exact(&mut byte)
            .map_err(|source| FrameError::Io { what, source })?;
        value |= u64::from(byte[0] & 0x7f) << shift;
        if byte[0] & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(malformed(what, "a length of more than five bytes"))
}

/// Reads so many bytes. What was sent bounds the memory that is taken, not what was announced.
fn read_vec(from: &mut impl Read, len: usize, what: &'static str) -> Result<Vec<u8>, FrameError> {
    let mut bytes = Vec::new();
    while bytes.len() < len {
        let read = bytes.len();
        bytes.resize(len.min((2 * read).max(ON_TRUST)), 0);
        from.read_exact(&mut bytes[read..])
            .map_err(|source| FrameError::Io { what, source })?;
    }
    Ok(bytes)
}

/// Reads one RPC frame, without its length.
///
/// # Errors
/// When the stream ends or fails, or the length is beyond `limit`.
pub fn read_frame(from: &mut impl Read, limit: usize) -> Result<Vec<u8>, FrameError> {
    const WHAT: &str = "an RPC frame";
    let mut len = [0; 4];
    from.read_exact(&mut len)
        .map_err(|source| FrameError::Io { what: WHAT, source })?;
    let len = u32::from_be_bytes(len);
    if len as usize > limit {
        return Err(FrameError::TooLong {
            what: WHAT,
            len: u64::from(len),
            limit,
        });
    }
    read_vec(from, len as usize, WHAT)
}

/// The header of a frame from the client.
pub fn request_header(call_id: i32, client_id: &[u8], retry: i32) -> RpcRequestHeader {
    RpcRequestHeader {
        rpc_kind: Some(RpcKind::RpcProtocolBuffer as i32),
        rpc_op: Some(RpcOperation::RpcFinalPacket as i32),
        call_id,
        client_id: client_id.to_vec(),
        retry_count: Some(retry),
        state_id: None,
    }
}

/// The frame that opens a connection: who calls, and which interface.
pub fn context_frame(client_id: &[u8], context: &IpcConnectionContext) -> Vec<u8> {
    framed(|out| {
        put_delimited(out, &request_header(CONTEXT_CALL_ID, client_id, -1));
        put_delimited(out, context);
    })
}

/// The frame of one call.
pub fn call_frame(
    header: &RpcRequestHeader,
    protocol: &str,
    method: &str,
    request: &impl Message,
) -> Vec<u8> {
    let method = RequestHeader {
        method_name: method.to_owned(),
        declaring_class_protocol_name: protocol.to_owned(),
        client_protocol_version: 1,
    };
    framed(|out| {
        put_delimited(out, header);
        put_delimited(out, &method);
        put_delimited(out, request);
    })
}

/// The frame of an answer with a result.
pub fn result_frame(header: &RpcResponseHeader, result: &impl Message) -> Vec<u8> {
    framed(|out| {
        put_delimited(out, header);
        put_delimited(out, result);
    })
}

/// The frame of an answer without one: an exception.
pub fn error_frame(header: &RpcResponseHeader) -> Vec<u8> {
    framed(|out| put_delimited(out, header))
}

/// Fills a buffer and puts its length before it.
fn framed(fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = vec![0; 4];
    fill(&mut out);
    let len = (out.len() - 4) as u32;
    out[..4].copy_from_slice(&len.to_be_bytes());
    out
}

/// The bytes of an operation: version, code, message.
pub fn operation(code: OpCode, message: &impl Message) -> Vec<u8> {
    let mut out = TRANSFER_VERSION.to_be_bytes().to_vec();
    out.push(code as u8);
    put_delimited(&mut out, message);
    out
}

/// Appends a packet: lengths, header, checksums of each chunk, data.
///
/// `header.data_len` must be the length of `data`; the caller cuts the data so that a packet starts
/// at a chunk boundary of the block, unless it completes a chunk that an earlier one left partial.
pub fn put_packet(out: &mut Vec<u8>, header: &PacketHeader, data: &[u8], chunk: usize) {
    let checksums = data.len().div_ceil(chunk) * CHECKSUM_LEN;
    out.extend_from_slice(&((CHECKSUM_LEN + checksums + data.len()) as u32).to_be_bytes());
    out.extend_from_slice(&(header.encoded_len() as u16).to_be_bytes());
    header.encode_raw(out);
    put_checksums(out, data, chunk);
    out.extend_from_slice(data);
}

/// Appends the CRC32C of each chunk of `data`; the last one may be short.
pub fn put_checksums(out: &mut Vec<u8>, data: &[u8], chunk: usize) {
    for part in data.chunks(chunk) {
        out.extend_from_slice(&crc32c::crc32c(part).to_be_bytes());
    }
}

/// Whether the checksums are those of the chunks of `data`.
pub fn checksums_match(checksums: &[u8], data: &[u8], chunk: usize) -> bool {
    checksums.len() == data.len().div_ceil(chunk) * CHECKSUM_LEN
        && data
            .chunks(chunk)
            .zip(checksums.chunks_exact(CHECKSUM_LEN))
            .all(|(part, sum)| crc32c::crc32c(part).to_be_bytes().as_slice() == sum)
}

/// A packet as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Packet {
    /// Its header.
    pub header: PacketHeader,
    /// Checksums, then data.
    pub body: Vec<u8>,
}

impl Packet {
    /// The checksums; not looked at yet.
    pub fn checksums(&self) -> &[u8] {
        &self.body[..self.body.len() - self.header.data_len as usize]
    }

    /// The data.
    pub fn data(&self) -> &[u8] {
        &self.body[self.body.len() - self.header.data_len as usize..]
    }
}

/// The lengths at the front of a packet: what they say of the bytes that follow.
///
/// Returns the length of the header and of checksums plus data.
///
/// # Errors
/// When the packet is beyond [`MAX_PACKET`] or shorter than a packet can be.
pub fn packet_lengths(front: [u8; 6]) -> Result<(usize, usize), FrameError> {
    const WHAT: &str = "a packet";
    let [a, b, c, d, e, f] = front;
    let payload = u32::from_be_bytes([a, b, c, d]);
    let header = usize::from(u16::from_be_bytes([e, f]));
    if payload as usize > MAX_PACKET {
        return Err(FrameError::TooLong {
            what: WHAT,
            len: u64::from(payload),
            limit: MAX_PACKET,
        });
    }
    let body = (payload as usize)
        .checked_sub(CHECKSUM_LEN)
        .ok_or_else(|| malformed(WHAT, "a payload shorter than its own length field"))?;
    Ok((header, body))
}

/// Reads one packet.
///
/// # Errors
/// When the stream ends or fails, a length is beyond its limit, or the header is none.
pub fn read_packet(from: &mut impl Read) -> Result<Packet, FrameError> {
    const WHAT: &str = "a packet";
    let mut front = [0; 6];
    from.read_exact(&mut front)
        .map_err(|source| FrameError::Io { what: WHAT, source })?;
    let (header, body) = packet_lengths(front)?;
    let header = read_vec(from, header, "the header of a packet")?;
    let header = PacketHeader::decode(header.as_slice())
        .map_err(|error| malformed("the header of a packet", error))?;
    if usize::try_from(header.data_len).map_or(true, |data| data > body) {
        return Err(malformed(
            WHAT,
            format!("{} bytes of data in {body}", header.data_len),
        ));
    }
    Ok(Packet {
        header,
        body: read_vec(from, body, "the body of a packet")?,
    })
}

#[cfg(test)]
mod tests;
