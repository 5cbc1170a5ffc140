//! The data transfer protocol, byte by byte, and the life of replicas.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use flume_bench_hadoop::common::{ChecksumType, DatanodeId, DatanodeInfo, ExtendedBlock};
use flume_bench_hadoop::frame::{
    HEARTBEAT_SEQNO, MAX_TRANSFER_MESSAGE, OpCode, operation, put_packet, read_delimited,
};
use flume_bench_hadoop::transfer::{
    BaseHeader, BlockConstructionStage as Stage, BlockOpResponse, Checksum, ClientOperationHeader,
    OpWriteBlock, PacketHeader, PipelineAck, Status,
};
use proptest::prelude::*;

use super::replica::Replicas;
use super::send::Remote;
use super::{DataNode, visible_length};
use crate::ipc::client::Tcp;
use crate::link::ReplicaState;
use crate::orders::Orders;

/// A DataNode with a data port and nothing else.
struct Bench {
    dir: tempfile::TempDir,
    node: Arc<DataNode>,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let replicas = Arc::new(Replicas::open(dir.path()).unwrap());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let id = DatanodeId {
            ip_addr: "127.0.0.1".into(),
            host_name: "127.0.0.1".into(),
            datanode_uuid: replicas.uuid.clone(),
            xfer_port: listener.local_addr().unwrap().port().into(),
            ..DatanodeId::default()
        };
        let node = Arc::new(DataNode {
            id,
            replicas,
            orders: Arc::new(Orders::default()),
            namenode: String::new(),
            network: Arc::new(Tcp),
            clients: Default::default(),
        });
        let served = Arc::clone(&node);
        crate::serve(listener, "test", move |stream| served.transfer(&stream)).unwrap();
        Self { dir, node }
    }

    fn info(&self) -> DatanodeInfo {
        DatanodeInfo {
            id: self.node.id.clone(),
            ..DatanodeInfo::default()
        }
    }

    fn begin(&self, request: &OpWriteBlock) -> (TcpStream, BlockOpResponse) {
        let stream = TcpStream::connect(("127.0.0.1", self.node.id.xfer_port as u16)).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        (&stream)
            .write_all(&operation(OpCode::WriteBlock, request))
            .unwrap();
        let answer = read_delimited(&mut &stream, MAX_TRANSFER_MESSAGE, "").unwrap();
        (stream, answer)
    }

    /// A pipeline of a new block, which is set up.
    fn write(&self, id: u64) -> TcpStream {
        let (stream, answer) = self.begin(&set_up(id, 1, Stage::PipelineSetupCreate));
        assert_eq!(answer.status(), Status::Success, "{answer:?}");
        stream
    }

    fn read(&self, id: u64, range: std::ops::Range<u64>) -> std::io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Remote::open(&Tcp, &self.info(), &block(id, 1), range)?.copy_to(&mut out)?;
        Ok(out)
    }
}

fn block(id: u64, stamp: u64) -> ExtendedBlock {
    ExtendedBlock {
        pool_id: "BP".into(),
        block_id: id,
        generation_stamp: stamp,
        num_bytes: Some(0),
    }
}

fn set_up(id: u64, stamp: u64, stage: Stage) -> OpWriteBlock {
    OpWriteBlock {
        header: ClientOperationHeader {
            base_header: BaseHeader {
                block: block(id, stamp),
                token: None,
            },
            client_name: "c".into(),
        },
        stage: stage as i32,
        pipeline_size: 1,
        max_bytes_rcvd: 1 << 30,
        requested_checksum: Checksum {
            r#type: ChecksumType::ChecksumCrc32c as i32,
            bytes_per_checksum: 512,
        },
        ..OpWriteBlock::default()
    }
}

fn packet(seqno: i64, offset: i64, data: &[u8], last: bool) -> Vec<u8> {
    let header = PacketHeader {
        offset_in_block: offset,
        seqno,
        last_packet_in_block: last,
        data_len: data.len() as i32,
        sync_block: None,
    };
    let mut out = Vec::new();
    put_packet(&mut out, &header, data, 512);
    out
}

fn ack(stream: &TcpStream) -> (i64, Vec<Status>) {
    let ack: PipelineAck = read_delimited(&mut &*stream, MAX_TRANSFER_MESSAGE, "").unwrap();
    (ack.seqno, ack.reply().collect())
}

fn send(mut stream: &TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
}

fn ends(mut stream: &TcpStream) -> bool {
    let until = Instant::now() + Duration::from_secs(20);
    let mut byte = [0];
    // What had been acknowledged before may still be on its way.
    while Instant::now() < until {
        match stream.read(&mut byte) {
            Ok(0) => return true,
            Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
            Ok(_) => {}
        }
    }
    false
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 7 + i / 512) as u8).collect()
}

#[test]
fn readers_see_what_was_acknowledged_until_the_end() {
    let bench = Bench::new();
    let data = pattern(5000);
    let stream = bench.write(1);
    send(&stream, &packet(0, 0, &data[..700], false));
    assert_eq!(ack(&stream), (0, vec![Status::Success]));
    assert_eq!(visible_length(&bench.node.replicas, &block(1, 1)), Ok(700));
    // The chunk that was left partial comes again with what follows; heartbeats change nothing.
    send(
        &stream,
        &[
            packet(1, 512, &data[512..3000], false),
            packet(HEARTBEAT_SEQNO, 0, &[], false),
        ]
        .concat(),
    );
    assert_eq!(ack(&stream), (1, vec![Status::Success]));
    assert_eq!(ack(&stream), (HEARTBEAT_SEQNO, vec![Status::Success]));
    assert_eq!(bench.read(1, 0..3000).unwrap(), data[..3000]);
    assert!(bench.read(1, 0..3001).is_err());
    send(
        &stream,
        &[
            packet(2, 2560, &data[2560..], false),
            packet(3, 5000, &[], true),
        ]
        .concat(),
    );
    assert_eq!(
        (ack(&stream), ack(&stream)),
        ((2, vec![Status::Success]), (3, vec![Status::Success]))
    );
    assert!(ends(&stream));
    assert_eq!(bench.read(1, 511..4999).unwrap(), data[511..4999]);
    let report = bench.node.replicas.report();
    assert_eq!(
        (report.len(), report[0].length, report[0].state()),
        (1, 5000, ReplicaState::Finalized)
    );
}

#[test]
fn wrong_packets_are_refused_and_leave_what_was_there() {
    let bench = Bench::new();
    let mut wrong = packet(1, 512, &[7; 100], false);
    let end = wrong.len() - 1;
    wrong[end] ^= 1;
    for (id, bad, status) in [
        (1, wrong, Status::ErrorChecksum),
        (2, packet(1, 1024, &[7; 100], false), Status::Error),
    ] {
        let stream = bench.write(id);
        send(&stream, &packet(0, 0, &[1; 512], false));
        assert_eq!(ack(&stream), (0, vec![Status::Success]));
        send(&stream, &bad);
        assert_eq!(ack(&stream), (1, vec![status]));
        assert!(ends(&stream));
        assert_eq!(bench.read(id, 0..512).unwrap(), [1; 512]);
        assert_eq!(visible_length(&bench.node.replicas, &block(id, 1)), Ok(512));
    }
    // Not a packet at all: the connection ends, the others go on.
    let stream = bench.write(3);
    send(&stream, &[0xff; 64]);
    assert!(ends(&stream));
    assert_eq!(
        bench
            .begin(&set_up(3, 1, Stage::PipelineSetupCreate))
            .1
            .status(),
        Status::Error,
        "the block exists"
    );
    assert_eq!(
        bench
            .begin(&set_up(4, 1, Stage::PipelineSetupAppend))
            .1
            .status(),
        Status::Error,
        "append"
    );
    assert!(bench.read(9, 0..1).is_err());
}

#[test]
fn the_checksum_of_old_clients() {
    let bench = Bench::new();
    let mut request = set_up(1, 1, Stage::PipelineSetupCreate);
    request.requested_checksum.r#type = ChecksumType::ChecksumCrc32 as i32;
    let data = [b'x'; 600];
    let mut right = packet(0, 0, &data, false);
    let sums = right.len() - data.len() - 8;
    right[sums..sums + 4].copy_from_slice(&crc32fast::hash(&data[..512]).to_be_bytes());
    right[sums + 4..sums + 8].copy_from_slice(&crc32fast::hash(&data[512..]).to_be_bytes());
    let (stream, _) = bench.begin(&request);
    send(&stream, &right);
    assert_eq!(ack(&stream), (0, vec![Status::Success]));
    send(&stream, &packet(1, 512, &data[512..], false));
    assert_eq!(
        ack(&stream),
        (1, vec![Status::ErrorChecksum]),
        "CRC32C where CRC32 was announced"
    );
    assert_eq!(bench.read(1, 0..600).unwrap(), data);
}

#[test]
fn a_pipeline_goes_through_all_and_names_the_one_that_fails() {
    let (first, second) = (Bench::new(), Bench::new());
    let mut request = set_up(1, 1, Stage::PipelineSetupCreate);
    request.targets = vec![second.info()];
    request.pipeline_size = 2;
    let (stream, answer) = first.begin(&request);
    assert_eq!(
        (answer.status(), answer.first_bad_link()),
        (Status::Success, "")
    );
    send(&stream, &packet(0, 0, b"both", false));
    assert_eq!(ack(&stream), (0, vec![Status::Success; 2]));
    assert_eq!(
        (first.read(1, 0..4).unwrap(), second.read(1, 0..4).unwrap()),
        (b"both".to_vec(), b"both".to_vec())
    );
    // The second is cut off, as it would be by its death.
    second.node.replicas.freeze(1, 99);
    send(&stream, &packet(1, 0, b"both again", false));
    assert_eq!(ack(&stream), (1, vec![Status::Success, Status::Error]));
    assert_eq!(
        visible_length(&first.node.replicas, &block(1, 1)),
        Ok(4),
        "not acknowledged, not shown"
    );
    // Nobody listens where a third should be.
    let mut gone = second.info();
    gone.id.xfer_port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
        .into();
    let link = format!("127.0.0.1:{}", gone.id.xfer_port);
    for (targets, id) in [(vec![gone.clone()], 2), (vec![second.info(), gone], 3)] {
        let (_, answer) = first.begin(&OpWriteBlock {
            targets,
            ..set_up(id, 1, Stage::PipelineSetupCreate)
        });
        assert_eq!(
            (answer.status(), answer.first_bad_link()),
            (Status::Error, link.as_str())
        );
        assert!(
            first.node.replicas.read(id).is_err(),
            "nothing is left of it"
        );
    }
}

#[test]
fn a_pipeline_is_set_up_again_under_a_new_stamp() {
    let bench = Bench::new();
    let old = bench.write(1);
    send(&old, &packet(0, 0, &[1; 300], false));
    assert_eq!(ack(&old), (0, vec![Status::Success]));
    let mut request = set_up(1, 1, Stage::PipelineSetupStreamingRecovery);
    (request.latest_generation_stamp, request.min_bytes_rcvd) = (5, 300);
    let too_much = OpWriteBlock {
        min_bytes_rcvd: 301,
        ..request.clone()
    };
    assert_eq!(bench.begin(&too_much).1.status(), Status::Error);
    let (new, answer) = bench.begin(&request);
    assert_eq!(answer.status(), Status::Success, "{answer:?}");
    assert!(ends(&old), "the old writer is cut off");
    send(
        &new,
        &[packet(0, 0, &[2; 400], false), packet(1, 400, &[], true)].concat(),
    );
    assert_eq!(
        (ack(&new), ack(&new)),
        ((0, vec![Status::Success]), (1, vec![Status::Success]))
    );
    assert_eq!(bench.read(1, 0..400).unwrap(), [2; 400]);
    // Closed again, because the client did not get the last acknowledgement.
    let mut request = set_up(1, 5, Stage::PipelineCloseRecovery);
    (request.latest_generation_stamp, request.min_bytes_rcvd) = (6, 400);
    assert_eq!(bench.begin(&request).1.status(), Status::Success);
    assert_eq!(bench.node.replicas.report()[0].stamp, 6);
}

#[test]
fn a_restart_leaves_replicas_that_wait_for_their_recovery() {
    let bench = Bench::new();
    let stream = bench.write(1);
    send(&stream, &packet(0, 0, &[3; 900], false));
    assert_eq!(ack(&stream), (0, vec![Status::Success]));
    let ended = bench.write(2);
    send(&ended, &packet(0, 0, &[], true));
    assert_eq!(ack(&ended), (0, vec![Status::Success]));
    // What a SIGKILL leaves is what lies in the directory.
    let again = Arc::new(Replicas::open(bench.dir.path()).unwrap());
    assert_eq!(again.uuid, bench.node.replicas.uuid);
    let mut states: Vec<_> = again
        .report()
        .iter()
        .map(|replica| (replica.block, replica.length, replica.state()))
        .collect();
    states.sort_by_key(|state| state.0);
    assert_eq!(
        states,
        [(1, 900, ReplicaState::Rwr), (2, 0, ReplicaState::Finalized)]
    );
    assert_eq!(
        visible_length(&again, &block(1, 1)),
        Ok(u64::MAX),
        "-1, as Java reads it"
    );
    assert!(
        visible_length(&again, &block(7, 1))
            .unwrap_err()
            .class
            .ends_with("ReplicaNotFoundException")
    );
    assert_eq!(again.freeze(1, 9), (ReplicaState::Rwr, 900));
    assert!(again.seal(1, 8, 900).is_err(), "an older recovery");
    assert!(again.seal(1, 9, 901).is_err(), "more than there is");
    again.seal(1, 9, 800).unwrap();
    assert_eq!(visible_length(&again, &block(1, 9)), Ok(800));
    again.delete(1, 8).unwrap();
    assert!(again.read(1).is_ok(), "a newer stamp stays");
    again.delete(1, 9).unwrap();
    assert!(again.read(1).is_err());
    assert_eq!(
        std::fs::read_dir(bench.dir.path().join("finalized"))
            .unwrap()
            .count(),
        1
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// However a block is cut into flushed parts, each prefix reads back, and any range of it.
    #[test]
    fn parts_of_all_lengths(parts in proptest::collection::vec(1_usize..3000, 1..8), from in 0_usize..4000, length in 1_usize..4000) {
        let bench = Bench::new();
        let data = pattern(parts.iter().sum());
        let stream = bench.write(1);
        let mut end = 0;
        for (seqno, part) in parts.iter().enumerate() {
            let start = end / 512 * 512;
            end += part;
            send(&stream, &packet(seqno as i64, start as i64, &data[start..end], false));
            prop_assert_eq!(ack(&stream), (seqno as i64, vec![Status::Success]));
            prop_assert_eq!(visible_length(&bench.node.replicas, &block(1, 1)), Ok(end as u64));
        }
        let from = from.min(end - 1);
        let to = (from + length).min(end);
        prop_assert_eq!(bench.read(1, from as u64..to as u64).unwrap(), &data[from..to]);
    }
}
