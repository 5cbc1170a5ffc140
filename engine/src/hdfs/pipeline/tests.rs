//! A pipeline to a DataNode that does what a test wants.

use std::net::TcpListener;
use std::thread::JoinHandle;

use flume_bench_hadoop::common::DatanodeId;
use flume_bench_hadoop::frame::{TRANSFER_VERSION, checksums_match, put_delimited, read_packet};

use super::*;

/// Refuses the set-up, or takes packets and answers each with a status; stops at the last one.
enum Behaviour {
    RefuseSetUp {
        bad_link: String,
    },
    /// Acknowledges each packet; the one with this number badly, by the second DataNode.
    Serve {
        bad_packet: Option<i64>,
    },
    /// Takes the set-up and says nothing more.
    Silent,
}

/// What a DataNode stored, as (offset, data).
type Stored = Vec<(i64, Vec<u8>)>;

fn datanode(behaviour: Behaviour) -> (LocatedBlock, JoinHandle<Stored>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = u32::from(listener.local_addr().unwrap().port());
    let node = |host: &str, port| DatanodeInfo {
        id: DatanodeId {
            ip_addr: host.to_owned(),
            host_name: "localhost".to_owned(),
            xfer_port: port,
            ..DatanodeId::default()
        },
        ..DatanodeInfo::default()
    };
    let located = LocatedBlock {
        locs: vec![node("127.0.0.1", port), node("127.0.0.1", 1)],
        ..LocatedBlock::default()
    };
    let thread = std::thread::spawn(move || serve(&listener, &behaviour));
    (located, thread)
}

fn serve(listener: &TcpListener, behaviour: &Behaviour) -> Stored {
    let mut stream = listener.accept().unwrap().0;
    let mut front = [0; 3];
    stream.read_exact(&mut front).unwrap();
    assert_eq!(u16::from_be_bytes([front[0], front[1]]), TRANSFER_VERSION);
    assert_eq!(OpCode::from_byte(front[2]), Some(OpCode::WriteBlock));
    let request: OpWriteBlock = read_delimited(&mut stream, 1 << 20, "").unwrap();
    assert_eq!(request.stage(), BlockConstructionStage::PipelineSetupCreate);
    assert_eq!((request.pipeline_size, request.targets.len()), (2, 1));
    let mut answer = BlockOpResponse::default();
    if let Behaviour::RefuseSetUp { bad_link } = behaviour {
        answer.set_status(Status::Error);
        answer.first_bad_link = Some(bad_link.clone());
    }
    let mut bytes = Vec::new();
    put_delimited(&mut bytes, &answer);
    stream.write_all(&bytes).unwrap();
    let mut stored = Vec::new();
    let Behaviour::Serve { bad_packet } = behaviour else {
        // Until the client goes.
        let _ = stream.read_to_end(&mut Vec::new());
        return stored;
    };
    while let Ok(packet) = read_packet(&mut stream) {
        assert!(checksums_match(packet.checksums(), packet.data(), CHUNK));
        let second = match *bad_packet == Some(packet.header.seqno) {
            true => Status::ErrorChecksum,
            false => Status::Success,
        };
        let ack = PipelineAck {
            seqno: packet.header.seqno,
            reply: vec![Status::Success as i32, second as i32],
            ..PipelineAck::default()
        };
        let mut bytes = Vec::new();
        put_delimited(&mut bytes, &ack);
        stream.write_all(&bytes).unwrap();
        stored.push((packet.header.offset_in_block, packet.data().to_vec()));
        if packet.header.last_packet_in_block {
            break;
        }
    }
    stored
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

fn open(located: &LocatedBlock) -> Result<Pipeline, PipelineError> {
    Pipeline::open(located, "client", 1 << 20, false, soon())
}

#[test]
fn packets_are_acknowledged_in_order_and_the_block_ends_with_an_empty_one() {
    let (located, datanode) = datanode(Behaviour::Serve { bad_packet: None });
    let mut pipeline = open(&located).unwrap();
    // More than may be on their way at once.
    for n in 0..200 {
        pipeline.send(n * 512, &[n as u8; 512], soon()).unwrap();
    }
    pipeline.wait(soon()).unwrap();
    assert!(pipeline.outstanding.is_empty());
    pipeline.last_sent -= HEARTBEAT_AFTER;
    pipeline.keep_alive();
    pipeline.finish(200 * 512, b"tail", soon()).unwrap();
    assert_eq!(pipeline.block().num_bytes, Some(200 * 512 + 4));
    let stored = datanode.join().unwrap();
    // The heartbeat is between the data and the tail.
    assert_eq!(stored.len(), 203);
    assert_eq!(stored[200], (0, Vec::new()));
    assert_eq!(stored[201], (200 * 512, b"tail".to_vec()));
    assert_eq!(stored[202], (200 * 512 + 4, Vec::new()));
}

#[test]
fn a_bad_acknowledgement_names_the_datanode_and_breaks_the_pipeline() {
    let (located, datanode) = datanode(Behaviour::Serve {
        bad_packet: Some(1),
    });
    let mut pipeline = open(&located).unwrap();
    pipeline.send(0, b"a", soon()).unwrap();
    pipeline.wait(soon()).unwrap();
    pipeline.send(0, b"ab", soon()).unwrap();
    let error = pipeline.wait(soon()).unwrap_err();
    assert_eq!((error.index, error.datanode.as_str()), (1, "127.0.0.1:1"));
    assert!(error.reason.contains("ErrorChecksum"), "{}", error.reason);
    assert!(pipeline.send(0, b"abc", soon()).is_err());
    drop(pipeline);
    assert_eq!(datanode.join().unwrap().len(), 2);
}

#[test]
fn a_refused_set_up_names_the_datanode_that_was_not_reached() {
    for (bad_link, index) in [("", 0), ("127.0.0.1:1", 1), ("localhost:1", 1)] {
        let (located, datanode) = datanode(Behaviour::RefuseSetUp {
            bad_link: bad_link.to_owned(),
        });
        let error = open(&located).unwrap_err();
        assert_eq!(error.index, index, "{bad_link}: {}", error.reason);
        datanode.join().unwrap();
    }
}

#[test]
fn a_silent_datanode_costs_no_more_than_the_deadline() {
    let (located, datanode) = datanode(Behaviour::Silent);
    let mut pipeline = open(&located).unwrap();
    let limit = Deadline::after(Duration::from_millis(200));
    pipeline.send(0, b"a", limit).unwrap();
    let error = pipeline.wait(limit).unwrap_err();
    assert!(error.reason.contains("time"), "{}", error.reason);
    // Nor does one that takes no more bytes: more than the buffers between hold.
    let packet = vec![0; 1 << 20];
    pipeline.broken = None;
    pipeline.outstanding.clear();
    drop(pipeline);
    datanode.join().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = connect(&listener.local_addr().unwrap().to_string(), soon()).unwrap();
    let mut timed = Timed {
        stream: &stream,
        deadline: Deadline::after(Duration::from_millis(200)),
    };
    let error = (0..100)
        .find_map(|_| timed.write_all(&packet).err())
        .unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
}
