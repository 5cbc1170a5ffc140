//! Operations 81 and 86: a block is read, or copied to another DataNode; and the reader's side of 81.

use std::io::{self, BufReader, BufWriter, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use flume_bench_hadoop::common::{ChecksumType, DatanodeInfo, ExtendedBlock};
use flume_bench_hadoop::frame::{
    MAX_TRANSFER_MESSAGE, OpCode, operation, put_delimited, put_packet, read_delimited, read_packet,
};
use flume_bench_hadoop::transfer::{
    BaseHeader, BlockConstructionStage, BlockOpResponse, Checksum, ClientOperationHeader,
    ClientReadStatus, OpReadBlock, OpTransferBlock, OpWriteBlock, PacketHeader, ReadOpChecksumInfo,
    Status,
};
use tracing::debug;

use super::replica::Readable;
use super::{DataNode, address};
use crate::ipc::client::Network;
use crate::link::ReplicaState;

/// Bytes covered by one checksum.
const CHUNK: u64 = 512;

/// Bytes in one packet.
const PACKET: u64 = 126 * CHUNK;

const LIMIT: Duration = Duration::from_secs(10);

fn checksum() -> Checksum {
    Checksum {
        r#type: ChecksumType::ChecksumCrc32c as i32,
        bytes_per_checksum: CHUNK as u32,
    }
}

fn respond(out: &mut impl Write, response: &BlockOpResponse) -> io::Result<()> {
    let mut bytes = Vec::new();
    put_delimited(&mut bytes, response);
    out.write_all(&bytes)?;
    out.flush()
}

fn refuse(mut stream: &TcpStream, why: &str) -> io::Result<()> {
    debug!(why, "an operation is refused");
    respond(
        &mut stream,
        &BlockOpResponse {
            status: Status::Error as i32,
            message: Some(why.to_owned()),
            ..BlockOpResponse::default()
        },
    )
}

/// A replica that may be read from `offset` for `length` bytes.
fn readable(node: &DataNode, block: &ExtendedBlock, end: u64) -> Result<Readable, String> {
    let replica = node
        .replicas
        .read(block.block_id)
        .map_err(|error| format!("ReplicaNotFoundException: {error}"))?;
    if replica.state == ReplicaState::Rwr {
        return Err(format!(
            "blk_{} waits for its recovery and is not readable",
            block.block_id
        ));
    }
    if replica.stamp < block.generation_stamp {
        return Err(format!(
            "blk_{} has stamp {}, and {} is asked for",
            block.block_id, replica.stamp, block.generation_stamp
        ));
    }
    if end > replica.visible {
        return Err(format!(
            "the range to {end} does not match blk_{} with {} bytes",
            block.block_id, replica.visible
        ));
    }
    Ok(replica)
}

/// Serves a read. The connection may be used again if the reader says that all was well.
pub(super) fn read_block(
    node: &DataNode,
    stream: &TcpStream,
    reader: &mut BufReader<TcpStream>,
    request: &OpReadBlock,
) -> io::Result<()> {
    let block = &request.header.base_header.block;
    let replica = match readable(node, block, request.offset.saturating_add(request.len)) {
        Ok(replica) => replica,
        Err(why) => return refuse(stream, &why),
    };
    let start = request.offset / CHUNK * CHUNK;
    let end = (request.offset + request.len)
        .next_multiple_of(CHUNK)
        .min(replica.visible);
    let mut out = BufWriter::with_capacity(128 << 10, stream);
    let info = ReadOpChecksumInfo {
        checksum: checksum(),
        chunk_offset: start,
    };
    respond(
        &mut out,
        &BlockOpResponse {
            status: Status::Success as i32,
            first_bad_link: Some(String::new()),
            read_op_checksum_info: Some(info),
            ..BlockOpResponse::default()
        },
    )?;
    send_range(&mut out, &replica, start, end)?;
    let status: ClientReadStatus =
        read_delimited(reader, MAX_TRANSFER_MESSAGE, "a reader's status")
            .map_err(io::Error::other)?;
    debug!(status = ?status.status(), "a block was read");
    Ok(())
}

/// Sends packets, the empty last one included.
fn send_range(out: &mut impl Write, replica: &Readable, start: u64, end: u64) -> io::Result<()> {
    let (mut at, mut seqno) = (start, 0);
    let mut data = Vec::new();
    let mut packet = Vec::new();
    while at < end {
        data.resize(PACKET.min(end - at) as usize, 0);
        replica.file.read_exact_at(&mut data, at)?;
        let header = PacketHeader {
            offset_in_block: at as i64,
            seqno,
            last_packet_in_block: false,
            data_len: data.len() as i32,
            sync_block: None,
        };
        packet.clear();
        put_packet(&mut packet, &header, &data, CHUNK as usize);
        out.write_all(&packet)?;
        at += data.len() as u64;
        seqno += 1;
    }
    let last = PacketHeader {
        offset_in_block: at as i64,
        seqno,
        last_packet_in_block: true,
        data_len: 0,
        sync_block: None,
    };
    packet.clear();
    put_packet(&mut packet, &last, &[], CHUNK as usize);
    out.write_all(&packet)?;
    out.flush()
}

/// Copies a replica to other DataNodes, so that a pipeline that lost one can have another.
pub(super) fn transfer_block(
    node: &DataNode,
    mut stream: &TcpStream,
    request: &OpTransferBlock,
) -> io::Result<()> {
    match copy(node, request) {
        Ok(()) => respond(
            &mut stream,
            &BlockOpResponse {
                status: Status::Success as i32,
                ..BlockOpResponse::default()
            },
        ),
        Err(error) => refuse(stream, &error.to_string()),
    }
}

fn copy(node: &DataNode, request: &OpTransferBlock) -> io::Result<()> {
    let block = &request.header.base_header.block;
    let replica = readable(node, block, 0).map_err(io::Error::other)?;
    let finalized = replica.state == ReplicaState::Finalized;
    for target in &request.targets {
        let stream = node.network.connect(&address(target), LIMIT)?;
        let block = ExtendedBlock {
            generation_stamp: replica.stamp,
            num_bytes: Some(replica.visible),
            ..block.clone()
        };
        let stage = if finalized {
            BlockConstructionStage::TransferFinalized
        } else {
            BlockConstructionStage::TransferRbw
        };
        let order = OpWriteBlock {
            header: ClientOperationHeader {
                base_header: BaseHeader { block, token: None },
                client_name: request.header.client_name.clone(),
            },
            source: Some(DatanodeInfo {
                id: node.id.clone(),
                ..DatanodeInfo::default()
            }),
            stage: stage as i32,
            requested_checksum: checksum(),
            ..OpWriteBlock::default()
        };
        let mut out = BufWriter::with_capacity(128 << 10, &stream);
        out.write_all(&operation(OpCode::WriteBlock, &order))?;
        send_range(&mut out, &replica, 0, replica.visible)?;
        let answer: BlockOpResponse =
            read_delimited(&mut &stream, MAX_TRANSFER_MESSAGE, "the answer to a copy")
                .map_err(io::Error::other)?;
        if answer.status() != Status::Success {
            return Err(io::Error::other(format!(
                "{} refused the copy: {}",
                address(target),
                answer.message()
            )));
        }
    }
    Ok(())
}

/// A block that is being read from another DataNode.
#[derive(Debug)]
pub(super) struct Remote {
    reader: BufReader<TcpStream>,
    /// Where the next packet belongs.
    wanted: std::ops::Range<u64>,
}

impl Remote {
    /// Asks a DataNode for a range of a block.
    pub(super) fn open(
        network: &dyn Network,
        node: &DatanodeInfo,
        block: &ExtendedBlock,
        range: std::ops::Range<u64>,
    ) -> io::Result<Self> {
        let stream = network.connect(&address(node), LIMIT)?;
        let request = OpReadBlock {
            header: ClientOperationHeader {
                base_header: BaseHeader {
                    block: block.clone(),
                    token: None,
                },
                client_name: "flume-bench".to_owned(),
            },
            offset: range.start,
            len: range.end - range.start,
            send_checksums: Some(true),
            caching_strategy: None,
        };
        (&stream).write_all(&operation(OpCode::ReadBlock, &request))?;
        let mut reader = BufReader::with_capacity(128 << 10, stream);
        let answer: BlockOpResponse =
            read_delimited(&mut reader, MAX_TRANSFER_MESSAGE, "the answer to a read")
                .map_err(io::Error::other)?;
        if answer.status() != Status::Success {
            return Err(io::Error::other(answer.message().to_owned()));
        }
        Ok(Self {
            reader,
            wanted: range,
        })
    }

    /// Copies the range to `out`.
    pub(super) fn copy_to(mut self, out: &mut dyn Write) -> io::Result<()> {
        loop {
            let packet = read_packet(&mut self.reader).map_err(io::Error::other)?;
            if packet.header.last_packet_in_block {
                break;
            }
            if !flume_bench_hadoop::frame::checksums_match(
                packet.checksums(),
                packet.data(),
                CHUNK as usize,
            ) {
                return Err(io::Error::other("a wrong checksum from another DataNode"));
            }
            let at = packet.header.offset_in_block as u64;
            let data = packet.data();
            let from = self.wanted.start.saturating_sub(at).min(data.len() as u64);
            let to = self.wanted.end.saturating_sub(at).min(data.len() as u64);
            out.write_all(&data[from as usize..to.max(from) as usize])?;
        }
        let mut status = Vec::new();
        put_delimited(
            &mut status,
            &ClientReadStatus {
                status: Status::ChecksumOk as i32,
            },
        );
        self.reader.get_ref().write_all(&status)
    }
}
