//! One connection to the DataNodes of a block: set up, packets out, acknowledgements in.
//!
//! The client speaks to the first DataNode, which passes everything on to the second, and so on. An
//! acknowledgement comes back through all of them, in the order of the packets, and says how each
//! fared. There is no thread: acknowledgements are read when somebody waits for them, and before
//! more than [`MAX_OUTSTANDING`] packets are on their way.
//!
//! A DataNode closes a pipeline on which nothing comes for a minute, so an idle one is sent a
//! heartbeat: an empty packet numbered -1. An error ends the pipeline for good.

use std::collections::VecDeque;
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use flume_bench_hadoop::common::{
    ChecksumType, DatanodeInfo, ExtendedBlock, LocatedBlock, StorageType,
};
use flume_bench_hadoop::frame::{
    self, HEARTBEAT_SEQNO, MAX_TRANSFER_MESSAGE, OpCode, put_packet, read_delimited,
};
use flume_bench_hadoop::transfer::{
    BaseHeader, BlockConstructionStage, BlockOpResponse, CachingStrategy, Checksum,
    ClientOperationHeader, OpWriteBlock, PacketHeader, PipelineAck, Status,
};

use super::Deadline;
use super::rpc::{Timed, connect};

/// Bytes covered by one checksum.
pub(super) const CHUNK: usize = 512;

/// Packets that may be on their way. Java's limit is 80.
const MAX_OUTSTANDING: usize = 64;

/// How long a pipeline may be idle before it is sent a heartbeat. DataNodes wait 60 s.
const HEARTBEAT_AFTER: Duration = Duration::from_secs(20);

/// A pipeline.
#[derive(Debug)]
pub(super) struct Pipeline {
    reader: BufReader<TcpStream>,
    /// Whom the connection leads to, for messages.
    names: Vec<String>,
    block: ExtendedBlock,
    next_seqno: i64,
    outstanding: VecDeque<i64>,
    last_sent: Instant,
    packet: Vec<u8>,
    broken: Option<PipelineError>,
}

/// What went wrong, and with which DataNode of the block.
#[derive(Debug, Clone)]
pub(super) struct PipelineError {
    /// Place of the DataNode in the pipeline, counted from 0.
    pub(super) index: usize,
    pub(super) datanode: String,
    pub(super) reason: String,
}

/// What went wrong in a step, and at which place of the pipeline.
struct Fault {
    index: usize,
    reason: String,
}

impl Fault {
    /// At the DataNode the connection leads to.
    fn first(reason: String) -> Self {
        Self { index: 0, reason }
    }
}

/// Address of a DataNode.
pub(super) fn address(node: &DatanodeInfo, use_hostname: bool) -> String {
    let host = if use_hostname {
        &node.id.host_name
    } else {
        &node.id.ip_addr
    };
    format!("{host}:{}", node.id.xfer_port)
}

impl Pipeline {
    /// Connects to the first DataNode of a new block, which connects to the others.
    pub(super) fn open(
        located: &LocatedBlock,
        client_name: &str,
        block_size: u64,
        use_hostname: bool,
        deadline: Deadline,
    ) -> Result<Self, PipelineError> {
        let names: Vec<_> = located
            .locs
            .iter()
            .map(|node| address(node, use_hostname))
            .collect();
        let error = |index: usize, reason: String| PipelineError {
            index,
            datanode: names.get(index).cloned().unwrap_or_default(),
            reason,
        };
        let first = names
            .first()
            .ok_or_else(|| error(0, "the block has no DataNode".into()))?;
        let stream =
            connect(first, deadline).map_err(|source| error(0, format!("connecting: {source}")))?;
        let request = set_up_request(located, client_name, block_size);
        Timed {
            stream: &stream,
            deadline,
        }
        .write_all(&frame::operation(OpCode::WriteBlock, &request))
        .map_err(|source| error(0, format!("setting up: {source}")))?;
        let answer: BlockOpResponse = read_delimited(
            &mut Timed {
                stream: &stream,
                deadline,
            },
            MAX_TRANSFER_MESSAGE,
            "the answer to a set-up",
        )
        .map_err(|source| error(0, source.to_string()))?;
        // The bad link is named by its transfer address, in whichever form the DataNode uses.
        let bad = answer.first_bad_link().to_owned();
        if answer.status() != Status::Success || !bad.is_empty() {
            let index = located
                .locs
                .iter()
                .position(|node| address(node, false) == bad || address(node, true) == bad)
                .unwrap_or(0);
            let message = answer.message().to_owned();
            return Err(error(
                index,
                format!("set-up refused: {:?} {message}", answer.status()),
            ));
        }
        Ok(Self {
            reader: BufReader::with_capacity(4096, stream),
            names,
            block: located.b.clone(),
            next_seqno: 0,
            outstanding: VecDeque::new(),
            last_sent: Instant::now(),
            packet: Vec::new(),
            broken: None,
        })
    }

    /// The block, with the length that has been sent so far.
    pub(super) fn block(&self) -> &ExtendedBlock {
        &self.block
    }

    /// Sends `data`, which starts at `offset` in the block, and waits only where too many packets
    /// are on their way. `offset` is a multiple of [`CHUNK`]: after a flush in the middle of a chunk
    /// the next packet begins with that chunk once more, as the DataNode expects.
    pub(super) fn send(
        &mut self,
        offset: u64,
        data: &[u8],
        deadline: Deadline,
    ) -> Result<(), PipelineError> {
        self.guard(|pipe| {
            while pipe.outstanding.len() >= MAX_OUTSTANDING {
                pipe.read_ack(deadline)?;
            }
            pipe.put(offset, data, false);
            pipe.write(deadline)?;
            pipe.block.num_bytes = Some(offset + data.len() as u64);
            Ok(())
        })
    }

    /// Sends what is left and the empty packet that ends the block, and waits for everything.
    pub(super) fn finish(
        &mut self,
        offset: u64,
        data: &[u8],
        deadline: Deadline,
    ) -> Result<(), PipelineError> {
        self.guard(|pipe| {
            let end = offset + data.len() as u64;
            if !data.is_empty() {
                pipe.put(offset, data, false);
            }
            pipe.put(end, &[], true);
            pipe.write(deadline)?;
            pipe.block.num_bytes = Some(end);
            while !pipe.outstanding.is_empty() {
                pipe.read_ack(deadline)?;
            }
            Ok(())
        })
    }

    /// Waits until every packet is acknowledged.
    pub(super) fn wait(&mut self, deadline: Deadline) -> Result<(), PipelineError> {
        self.guard(|pipe| {
            while !pipe.outstanding.is_empty() {
                pipe.read_ack(deadline)?;
            }
            Ok(())
        })
    }

    /// Sends a heartbeat if nothing was sent for long.
    pub(super) fn keep_alive(&mut self) {
        if self.last_sent.elapsed() < HEARTBEAT_AFTER || self.broken.is_some() {
            return;
        }
        let _ = self.guard(|pipe| {
            let header = PacketHeader {
                seqno: HEARTBEAT_SEQNO,
                ..PacketHeader::default()
            };
            put_packet(&mut pipe.packet, &header, &[], CHUNK);
            pipe.write(Deadline::after(Duration::from_secs(1)))
        });
    }

    /// Runs a step unless an earlier one has failed, and remembers if this one does.
    fn guard(
        &mut self,
        step: impl FnOnce(&mut Self) -> Result<(), Fault>,
    ) -> Result<(), PipelineError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        step(self).map_err(|Fault { index, reason }| {
            let datanode = self.names.get(index).cloned().unwrap_or_default();
            let error = PipelineError {
                index,
                datanode,
                reason,
            };
            self.broken = Some(error.clone());
            error
        })
    }

    fn put(&mut self, offset: u64, data: &[u8], last: bool) {
        let header = PacketHeader {
            offset_in_block: offset as i64,
            seqno: self.next_seqno,
            last_packet_in_block: last,
            data_len: data.len() as i32,
            sync_block: None,
        };
        put_packet(&mut self.packet, &header, data, CHUNK);
        self.outstanding.push_back(self.next_seqno);
        self.next_seqno += 1;
    }

    fn write(&mut self, deadline: Deadline) -> Result<(), Fault> {
        let written = Timed {
            stream: self.reader.get_ref(),
            deadline,
        }
        .write_all(&self.packet);
        self.packet.clear();
        self.last_sent = Instant::now();
        written.map_err(|source| Fault::first(format!("sending: {source}")))
    }

    fn read_ack(&mut self, deadline: Deadline) -> Result<(), Fault> {
        let ack: PipelineAck = read_delimited(
            &mut TimedReader {
                reader: &mut self.reader,
                deadline,
            },
            MAX_TRANSFER_MESSAGE,
            "an acknowledgement",
        )
        .map_err(|source| Fault::first(source.to_string()))?;
        if let Some(index) = ack.reply().position(|status| status != Status::Success) {
            let status = ack.reply().nth(index).unwrap_or(Status::Error);
            return Err(Fault {
                index,
                reason: format!("acknowledged with {status:?}"),
            });
        }
        if ack.seqno == HEARTBEAT_SEQNO {
            return Ok(());
        }
        match self.outstanding.pop_front() {
            Some(expected) if expected == ack.seqno => Ok(()),
            expected => Err(Fault::first(format!(
                "packet {} acknowledged, not {expected:?}",
                ack.seqno
            ))),
        }
    }
}

/// Reads through the buffer, and from the connection only until the deadline.
struct TimedReader<'a> {
    reader: &'a mut BufReader<TcpStream>,
    deadline: Deadline,
}

impl Read for TimedReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.reader.buffer().is_empty() {
            let left = self.deadline.left();
            if left.is_zero() {
                return Err(std::io::ErrorKind::TimedOut.into());
            }
            self.reader.get_ref().set_read_timeout(Some(left))?;
        }
        self.reader
            .read(buffer)
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::WouldBlock => {
                    std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time")
                }
                _ => error,
            })
    }
}

fn set_up_request(located: &LocatedBlock, client_name: &str, block_size: u64) -> OpWriteBlock {
    // The length in a set-up is the room the DataNode reserves, not what is there.
    let block = ExtendedBlock {
        num_bytes: Some(block_size),
        ..located.b.clone()
    };
    let kinds = &located.storage_types;
    OpWriteBlock {
        header: ClientOperationHeader {
            base_header: BaseHeader {
                block,
                token: Some(located.block_token.clone()),
            },
            client_name: client_name.to_owned(),
        },
        targets: located.locs.iter().skip(1).cloned().collect(),
        source: None,
        stage: BlockConstructionStage::PipelineSetupCreate as i32,
        pipeline_size: located.locs.len() as u32,
        min_bytes_rcvd: 0,
        max_bytes_rcvd: 0,
        latest_generation_stamp: 0,
        requested_checksum: Checksum {
            r#type: ChecksumType::ChecksumCrc32c as i32,
            bytes_per_checksum: CHUNK as u32,
        },
        caching_strategy: Some(CachingStrategy::default()),
        storage_type: Some(kinds.first().copied().unwrap_or(StorageType::Disk as i32)),
        target_storage_types: kinds.iter().skip(1).copied().collect(),
        allow_lazy_persist: Some(false),
        pinning: Some(false),
        target_pinnings: vec![false; located.locs.len().saturating_sub(1)],
        storage_id: located.storage_ids.first().cloned(),
        target_storage_ids: located.storage_ids.iter().skip(1).cloned().collect(),
    }
}

#[cfg(test)]
mod tests;
