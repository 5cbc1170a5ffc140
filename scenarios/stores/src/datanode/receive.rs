//! Operation 80: a block is written, through a pipeline of DataNodes.
//!
//! A packet is checked, passed on to the next DataNode and put into the file; a second thread waits for
//! the acknowledgement of those behind, puts its own before it, and sends it on, in the order of the
//! packets. Only then may readers see the bytes.
//!
//! Fails: a DataNode behind that cannot be reached is named in the answer (`first_bad_link`); one that breaks
//! later is acknowledged with an error in its place; a wrong checksum with `ErrorChecksum`. A connection
//! that ends leaves the replica as far as it was written.

use std::io::{self, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use flume_bench_hadoop::common::{ChecksumType, DatanodeInfo};
use flume_bench_hadoop::frame::{
    CHECKSUM_LEN, MAX_TRANSFER_MESSAGE, OpCode, Packet, operation, put_delimited, read_delimited,
    read_packet,
};
use flume_bench_hadoop::transfer::{
    BlockConstructionStage, BlockOpResponse, Checksum, OpWriteBlock, PipelineAck, Status,
};
use prost::Message;
use tracing::{debug, info, warn};

use super::replica::Writing;
use super::{DataNode, address};

/// How long the next DataNode may take to answer a set-up.
const SET_UP_LIMIT: Duration = Duration::from_secs(10);

/// How long a pipeline may say nothing: Hadoop's time-out for reads, and some for those behind.
const SILENCE: Duration = Duration::from_secs(75);

/// A packet on its way to being acknowledged.
struct Stored {
    seqno: i64,
    status: Status,
    /// Byte after the packet's last one, in the block.
    end: u64,
    last: bool,
}

/// The connection to the next DataNode.
struct Mirror {
    stream: TcpStream,
    broken: bool,
}

fn reply(mut stream: &TcpStream, status: Status, bad_link: &str, message: &str) -> io::Result<()> {
    let response = BlockOpResponse {
        status: status as i32,
        first_bad_link: Some(bad_link.to_owned()),
        message: (!message.is_empty()).then(|| message.to_owned()),
        ..BlockOpResponse::default()
    };
    let mut bytes = Vec::new();
    put_delimited(&mut bytes, &response);
    stream.write_all(&bytes)
}

/// Serves the operation. The connection is not used again.
pub(super) fn write_block(
    node: &Arc<DataNode>,
    stream: &TcpStream,
    reader: &mut BufReader<TcpStream>,
    request: &OpWriteBlock,
) -> io::Result<()> {
    let block = &request.header.base_header.block;
    if node.orders.refuse_set_up.load(Ordering::Acquire) {
        return reply(stream, Status::Error, "", "set-up refused, on order");
    }
    let stage = request.stage();
    let is_copy = matches!(
        stage,
        BlockConstructionStage::TransferRbw | BlockConstructionStage::TransferFinalized
    );
    let writing = match begin(node, stream, request) {
        Ok(writing) => writing,
        Err(error) => {
            info!(%error, block = block.block_id, ?stage, "a pipeline is not set up");
            return reply(stream, Status::Error, "", &error.to_string());
        }
    };
    let mirror = match request.targets.split_first() {
        None => None,
        Some((next, rest)) => match set_up(node, request, next, rest) {
            Ok(mirror) => Some(mirror),
            Err((bad_link, why)) => {
                info!(
                    why,
                    bad_link,
                    block = block.block_id,
                    "a pipeline is not set up"
                );
                if let Some(writing) = &writing {
                    writing.discard();
                }
                return reply(stream, Status::Error, &bad_link, &why);
            }
        },
    };
    if !is_copy {
        reply(stream, Status::Success, "", "")?;
    }
    // Without a writer it was only to be closed, which is done.
    let Some(writing) = writing else {
        return Ok(());
    };
    reader.get_ref().set_read_timeout(Some(SILENCE))?;
    if is_copy {
        return take_copy(stream, reader, &writing, request);
    }
    receive(node, stream, reader, request, Arc::new(writing), mirror)
}

/// Makes or takes over the replica; none if it only had to be closed.
fn begin(
    node: &Arc<DataNode>,
    stream: &TcpStream,
    request: &OpWriteBlock,
) -> io::Result<Option<Writing>> {
    use BlockConstructionStage as Stage;
    let block = &request.header.base_header.block;
    let (id, stamp) = (block.block_id, request.latest_generation_stamp);
    let (least, most) = (request.min_bytes_rcvd, request.max_bytes_rcvd);
    match request.stage() {
        Stage::PipelineSetupCreate | Stage::TransferRbw | Stage::TransferFinalized => node
            .replicas
            .create(id, block.generation_stamp, stream)
            .map(Some),
        Stage::PipelineSetupStreamingRecovery | Stage::PipelineSetupAppendRecovery => node
            .replicas
            .take_over(id, stamp, least, most, stream)
            .map(Some),
        Stage::PipelineCloseRecovery => node
            .replicas
            .take_over_closed(id, stamp, least)
            .map(|()| None),
        stage => Err(io::Error::other(format!("{stage:?} is not served"))),
    }
}

/// Connects to the next DataNode; or says which one is to blame.
fn set_up(
    node: &DataNode,
    request: &OpWriteBlock,
    next: &DatanodeInfo,
    rest: &[DatanodeInfo],
) -> Result<Mirror, (String, String)> {
    let to = address(next);
    let blame = |why: String| (to.clone(), format!("{to}: {why}"));
    let connected = node.network.connect(&to, SET_UP_LIMIT);
    let stream = connected.map_err(|error| blame(error.to_string()))?;
    let tail = |list: &[String]| list.get(1..).unwrap_or_default().to_vec();
    let onward = OpWriteBlock {
        targets: rest.to_vec(),
        source: Some(DatanodeInfo {
            id: node.id.clone(),
            ..DatanodeInfo::default()
        }),
        storage_type: request.target_storage_types.first().copied(),
        target_storage_types: request
            .target_storage_types
            .get(1..)
            .unwrap_or_default()
            .to_vec(),
        target_pinnings: request
            .target_pinnings
            .get(1..)
            .unwrap_or_default()
            .to_vec(),
        storage_id: request.target_storage_ids.first().cloned(),
        target_storage_ids: tail(&request.target_storage_ids),
        ..request.clone()
    };
    (&stream)
        .write_all(&operation(OpCode::WriteBlock, &onward))
        .map_err(|error| blame(error.to_string()))?;
    let answer: BlockOpResponse =
        read_delimited(&mut &stream, MAX_TRANSFER_MESSAGE, "the answer to a set-up")
            .map_err(|error| blame(error.to_string()))?;
    if answer.status() != Status::Success {
        let bad = Some(answer.first_bad_link())
            .filter(|bad| !bad.is_empty())
            .unwrap_or(&to)
            .to_owned();
        return Err((bad, format!("{to} refused: {}", answer.message())));
    }
    let ready = stream
        .set_read_timeout(Some(SILENCE))
        .and_then(|()| stream.set_write_timeout(Some(SILENCE)));
    ready.map_err(|error| blame(error.to_string()))?;
    Ok(Mirror {
        stream,
        broken: false,
    })
}

/// Receives packets until the last one or the end.
fn receive(
    node: &Arc<DataNode>,
    stream: &TcpStream,
    reader: &mut BufReader<TcpStream>,
    request: &OpWriteBlock,
    writing: Arc<Writing>,
    mut mirror: Option<Mirror>,
) -> io::Result<()> {
    let (send, stored) = channel();
    let mut responder = Responder {
        node: Arc::clone(node),
        upstream: stream.try_clone()?,
        downstream: mirror
            .as_ref()
            .map(|mirror| mirror.stream.try_clone().map(BufReader::new))
            .transpose()?,
        behind: request.targets.len(),
        writing: Arc::clone(&writing),
    };
    let thread = std::thread::Builder::new()
        .name("acks".to_owned())
        .stack_size(256 << 10)
        .spawn(move || {
            if let Err(error) = responder.run(&stored) {
                debug!(%error, "a pipeline ends");
            }
            // Whoever sends or receives on either side is to notice.
            let _ = responder.upstream.shutdown(Shutdown::Both);
            if let Some(downstream) = &responder.downstream {
                let _ = downstream.get_ref().shutdown(Shutdown::Both);
            }
        })?;
    let outcome = packets(node, reader, request, &writing, mirror.as_mut(), &send);
    drop(send);
    if let (Err(_), Some(mirror)) = (&outcome, &mirror) {
        let _ = mirror.stream.shutdown(Shutdown::Both);
    }
    let _ = thread.join();
    outcome
}

fn packets(
    node: &DataNode,
    reader: &mut BufReader<TcpStream>,
    request: &OpWriteBlock,
    writing: &Writing,
    mut mirror: Option<&mut Mirror>,
    send: &Sender<Stored>,
) -> io::Result<()> {
    loop {
        let packet = read_packet(reader).map_err(io::Error::other)?;
        if node.orders.reset_packets.load(Ordering::Acquire) {
            return Err(io::Error::other("connection ended, on order"));
        }
        if let Some(mirror) = mirror.as_deref_mut().filter(|mirror| !mirror.broken)
            && let Err(error) = pass_on(&mirror.stream, &packet)
        {
            // The thread that waits for its acknowledgement will say so.
            debug!(%error, "the next DataNode does not take packets");
            mirror.broken = true;
            let _ = mirror.stream.shutdown(Shutdown::Both);
        }
        let stored = store(&packet, &request.requested_checksum, writing);
        let ends = stored.last || stored.status != Status::Success;
        let gone = send.send(stored).is_err();
        if ends || gone {
            return Ok(());
        }
    }
}

fn pass_on(mut mirror: &TcpStream, packet: &Packet) -> io::Result<()> {
    let header = packet.header.encode_to_vec();
    let mut bytes = Vec::with_capacity(6 + header.len() + packet.body.len());
    bytes.extend_from_slice(&((CHECKSUM_LEN + packet.body.len()) as u32).to_be_bytes());
    bytes.extend_from_slice(&(header.len() as u16).to_be_bytes());
    bytes.extend_from_slice(&header);
    bytes.extend_from_slice(&packet.body);
    mirror.write_all(&bytes)
}

/// Checks a packet and puts it into the file.
fn store(packet: &Packet, checksum: &Checksum, writing: &Writing) -> Stored {
    let header = &packet.header;
    let data = packet.data();
    let offset = header.offset_in_block.max(0) as u64;
    let status = if !sums_match(packet.checksums(), data, checksum) {
        Status::ErrorChecksum
    } else if data.is_empty() {
        Status::Success
    } else {
        match writing.write(offset, data, header.sync_block()) {
            Ok(()) => Status::Success,
            Err(error) => {
                warn!(%error, "a packet is refused");
                Status::Error
            }
        }
    };
    Stored {
        seqno: header.seqno,
        status,
        end: offset + data.len() as u64,
        last: header.last_packet_in_block,
    }
}

/// Whether each chunk has its checksum.
fn sums_match(sums: &[u8], data: &[u8], checksum: &Checksum) -> bool {
    let chunk = checksum.bytes_per_checksum.max(1) as usize;
    let sum: fn(&[u8]) -> u32 = match checksum.r#type() {
        ChecksumType::ChecksumNull => return true,
        ChecksumType::ChecksumCrc32 => crc32fast::hash,
        ChecksumType::ChecksumCrc32c => crc32c::crc32c,
    };
    sums.len() == data.len().div_ceil(chunk) * CHECKSUM_LEN
        && data
            .chunks(chunk)
            .zip(sums.chunks_exact(CHECKSUM_LEN))
            .all(|(part, told)| sum(part).to_be_bytes().as_slice() == told)
}

/// Sends acknowledgements.
struct Responder {
    node: Arc<DataNode>,
    upstream: TcpStream,
    downstream: Option<BufReader<TcpStream>>,
    /// How many DataNodes come after this one.
    behind: usize,
    writing: Arc<Writing>,
}

impl Responder {
    fn run(&mut self, stored: &Receiver<Stored>) -> io::Result<()> {
        for packet in stored {
            let behind = self.statuses_behind(packet.seqno);
            let mut status = packet.status;
            let well = behind
                .iter()
                .all(|status| *status == Status::Success as i32);
            while self.node.orders.stall_acks.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(20));
            }
            if status == Status::Success
                && well
                && let Err(error) = self.settle(&packet)
            {
                warn!(%error, "a packet is not acknowledged");
                status = Status::Error;
            }
            self.acknowledge(packet.seqno, status, &behind)?;
            if status != Status::Success || !well {
                return Err(io::Error::other("an error was acknowledged"));
            }
            if packet.last {
                return Ok(());
            }
        }
        Ok(())
    }

    /// What those behind say to a packet.
    fn statuses_behind(&mut self, seqno: i64) -> Vec<i32> {
        let Some(downstream) = &mut self.downstream else {
            return Vec::new();
        };
        match read_delimited::<PipelineAck>(downstream, MAX_TRANSFER_MESSAGE, "an acknowledgement")
        {
            Ok(ack) if ack.seqno == seqno => ack.reply,
            Ok(ack) => {
                warn!(
                    seqno,
                    other = ack.seqno,
                    "the next DataNode acknowledges another packet"
                );
                vec![Status::Error as i32; self.behind]
            }
            Err(error) => {
                info!(%error, "the next DataNode is gone");
                // It is the next one that failed; of those after it nothing is known.
                let mut statuses = vec![Status::Success as i32; self.behind];
                statuses[0] = Status::Error as i32;
                statuses
            }
        }
    }

    /// Makes what is about to be acknowledged true.
    fn settle(&self, packet: &Stored) -> io::Result<()> {
        self.writing.show(packet.end)?;
        if packet.last {
            self.writing.finalize()
        } else {
            Ok(())
        }
    }

    fn acknowledge(&mut self, seqno: i64, status: Status, behind: &[i32]) -> io::Result<()> {
        let reply: Vec<i32> = std::iter::once(status as i32)
            .chain(behind.iter().copied())
            .collect();
        let ack = PipelineAck {
            seqno,
            flag: reply.iter().map(|status| *status as u32).collect(),
            reply,
            downstream_ack_time_nanos: Some(0),
        };
        let mut bytes = Vec::new();
        put_delimited(&mut bytes, &ack);
        self.upstream.write_all(&bytes)
    }
}

/// Receives a copy from another DataNode: no acknowledgements, one answer at the end.
fn take_copy(
    stream: &TcpStream,
    reader: &mut BufReader<TcpStream>,
    writing: &Writing,
    request: &OpWriteBlock,
) -> io::Result<()> {
    loop {
        let packet = read_packet(reader).map_err(io::Error::other)?;
        let stored = store(&packet, &request.requested_checksum, writing);
        if stored.status != Status::Success {
            return reply(stream, stored.status, "", "the copy is wrong");
        }
        if stored.last {
            writing.show(writing.length())?;
            if request.stage() == BlockConstructionStage::TransferFinalized {
                writing.finalize()?;
            }
            return reply(stream, Status::Success, "", "");
        }
    }
}
