//! The messages against bytes written by the Java classes of Hadoop 3.3.6, and the framing against
//! itself and against rubbish.

use proptest::prelude::*;

use super::*;
use crate::client_protocol::*;
use crate::common::*;
use crate::rpc::*;
use crate::transfer::*;

/// Bytes of a string of hexadecimal digits.
fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
        .collect()
}

/// Our encoding is Java's, and Java's decodes to what we encoded.
fn same<M: Message + Default + PartialEq + std::fmt::Debug>(message: M, java: &str) {
    assert_eq!(message.encode_to_vec(), hex(java));
    assert_eq!(M::decode(hex(java).as_slice()).unwrap(), message);
}

fn block() -> ExtendedBlock {
    ExtendedBlock {
        pool_id: "BP-1".into(),
        block_id: 1_073_741_825,
        generation_stamp: 1001,
        num_bytes: Some(5),
    }
}

fn datanode() -> DatanodeInfo {
    DatanodeInfo {
        id: DatanodeId {
            ip_addr: "127.0.0.1".into(),
            host_name: "127.0.0.101".into(),
            datanode_uuid: "u1".into(),
            xfer_port: 9901,
            info_port: 9961,
            ipc_port: 9931,
            info_secure_port: None,
        },
        capacity: Some(7),
        non_dfs_used: Some(3),
        admin_state: Some(AdminState::Normal as i32),
        ..DatanodeInfo::default()
    }
}

/// The message that stands for "no token".
fn no_token() -> Token {
    Token::default()
}

#[test]
fn requests_to_the_namenode_are_those_of_java() {
    same(
        AddBlockRequest {
            src: "/a".into(),
            client_name: "c".into(),
            previous: Some(block()),
            exclude_nodes: vec![datanode()],
            file_id: Some(16386),
            favored_nodes: vec!["x:1".into()],
            flags: vec![
                AddBlockFlag::NoLocalWrite as i32,
                AddBlockFlag::IgnoreClientLocality as i32,
            ],
        },
        concat!(
            "0a022f611201631a110a0442502d3110818080800418e9072005222d0a250a093132372e302e302e",
            "31120b3132372e302e302e3130311a02753120ad4d28e94d30cb4d10074803500028828001320378",
            "3a3138013802"
        ),
    );
    same(
        FsyncRequest {
            src: "/a".into(),
            client: "c".into(),
            last_block_length: Some(5),
            file_id: Some(16386),
        },
        "0a022f61120163180a20828001",
    );
}

#[test]
fn answers_of_the_namenode_are_those_of_java() {
    same(
        LocatedBlock {
            b: block(),
            offset: 9,
            locs: vec![datanode()],
            corrupt: false,
            block_token: no_token(),
            is_cached: vec![false, true],
            storage_types: vec![StorageType::Disk as i32, StorageType::Ssd as i32],
            storage_ids: vec!["DS-1".into()],
        },
        concat!(
            "0a110a0442502d3110818080800418e907200510091a2d0a250a093132372e302e302e31120b3132",
            "372e302e302e3130311a02753120ad4d28e94d30cb4d10074803500020002a080a0012001a002200",
            "3202000138013802420444532d31"
        ),
    );
    same(
        FsServerDefaults {
            block_size: 134_217_728,
            bytes_per_checksum: 512,
            write_packet_size: 65536,
            replication: 3,
            file_buffer_size: 4096,
            checksum_type: Some(ChecksumType::ChecksumCrc32c as i32),
            ..FsServerDefaults::default()
        },
        "08808080401080041880800420032880204002",
    );
    same(
        HdfsFileStatus {
            file_type: FileType::IsFile as i32,
            path: b"f".to_vec(),
            length: 4,
            permission: FsPermission { perm: 420 },
            owner: "o".into(),
            group: "g".into(),
            modification_time: 1,
            access_time: 2,
            block_replication: Some(1),
            blocksize: Some(134_217_728),
            file_id: Some(16386),
            children_num: Some(-1),
            storage_policy: Some(0),
            ..HdfsFileStatus::default()
        },
        concat!(
            "08021201661804220308a4032a016f32016738014002500158808080406882800170ffffffffffff",
            "ffffff01800100"
        ),
    );
    same(
        RpcResponseHeader {
            call_id: SASL_CALL_ID as u32,
            status: RpcStatus::Error as i32,
            server_ipc_version_num: Some(9),
            exception_class_name: Some("e".into()),
            error_msg: Some("m".into()),
            error_detail: Some(RpcErrorCode::ErrorApplication as i32),
            client_id: Some(b"0123456789abcdef".to_vec()),
            retry_count: Some(-1),
            state_id: None,
        },
        "08dfffffff0f100118092201652a016d30013a10303132333435363738396162636465664001",
    );
}

#[test]
fn transfer_messages_are_those_of_java() {
    let header = ClientOperationHeader {
        base_header: BaseHeader {
            block: block(),
            token: Some(no_token()),
        },
        client_name: "c".into(),
    };
    same(
        OpWriteBlock {
            header,
            targets: vec![datanode()],
            stage: BlockConstructionStage::PipelineSetupCreate as i32,
            pipeline_size: 2,
            requested_checksum: Checksum {
                r#type: ChecksumType::ChecksumCrc32c as i32,
                bytes_per_checksum: 512,
            },
            storage_type: Some(StorageType::Disk as i32),
            target_storage_types: vec![StorageType::Disk as i32],
            pinning: Some(false),
            target_pinnings: vec![false],
            storage_id: Some("DS-1".into()),
            target_storage_ids: vec!["DS-2".into()],
            ..OpWriteBlock::default()
        },
        concat!(
            "0a220a1d0a110a0442502d3110818080800418e907200512080a0012001a002200120163122d0a25",
            "0a093132372e302e302e31120b3132372e302e302e3130311a02753120ad4d28e94d30cb4d100748",
            "035000200628023000380040004a050802108004580160017000780082010444532d318a01044453",
            "2d32"
        ),
    );
    same(
        PipelineAck {
            seqno: HEARTBEAT_SEQNO,
            reply: vec![Status::Success as i32, Status::ErrorChecksum as i32],
            downstream_ack_time_nanos: Some(3),
            flag: vec![0, 40],
        },
        "080110001002180322020028",
    );
}

#[test]
fn packets_are_those_of_java() {
    let mut ours = Vec::new();
    let header = PacketHeader {
        offset_in_block: 512,
        seqno: 7,
        last_packet_in_block: false,
        data_len: 5,
        sync_block: None,
    };
    put_packet(&mut ours, &header, b"hello", 512);
    let java = "0000000d001909000200000000000011070000000000000018002505000000";
    assert_eq!(ours[..31], hex(java));
    assert_eq!(ours[31..35], crc32c::crc32c(b"hello").to_be_bytes());
    assert_eq!(&ours[35..], b"hello");

    let mut last = Vec::new();
    let header = PacketHeader {
        offset_in_block: 1024,
        seqno: 8,
        last_packet_in_block: true,
        data_len: 0,
        sync_block: Some(true),
    };
    put_packet(&mut last, &header, b"", 512);
    assert_eq!(
        last,
        hex("00000004001b090004000000000000110800000000000000180125000000002801")
    );
}

#[test]
fn a_call_goes_there_and_back() {
    let request = RenewLeaseRequest {
        client_name: "c".into(),
    };
    let header = request_header(3, b"0123456789abcdef", 0);
    let frame = call_frame(&header, CLIENT_PROTOCOL, "renewLease", &request);
    let body = read_frame(&mut frame.as_slice(), 1024).unwrap();
    let mut rest = body.as_slice();
    assert_eq!(
        take_delimited::<RpcRequestHeader>(&mut rest, "header").unwrap(),
        header
    );
    let method = take_delimited::<RequestHeader>(&mut rest, "method").unwrap();
    assert_eq!(
        (method.method_name.as_str(), method.client_protocol_version),
        ("renewLease", 1)
    );
    assert_eq!(
        take_delimited::<RenewLeaseRequest>(&mut rest, "request").unwrap(),
        request
    );
    assert!(rest.is_empty());
}

#[test]
fn lengths_beyond_the_limit_are_refused_before_memory_is_taken() {
    let huge = 0x7fff_ffff_u32.to_be_bytes();
    assert!(matches!(
        read_frame(&mut huge.as_slice(), MAX_RPC_FRAME),
        Err(FrameError::TooLong { .. })
    ));
    assert!(matches!(
        packet_lengths([0x7f, 0xff, 0xff, 0xff, 0, 25]),
        Err(FrameError::TooLong { .. })
    ));
    assert!(matches!(
        packet_lengths([0, 0, 0, 3, 0, 25]),
        Err(FrameError::Malformed { .. })
    ));
    let long = [0xff, 0xff, 0xff, 0xff, 0x07];
    assert!(matches!(
        read_delimited::<PipelineAck>(&mut long.as_slice(), MAX_TRANSFER_MESSAGE, "an ack"),
        Err(FrameError::TooLong { .. })
    ));
}

/// Hands out its bytes, and notes for how many it was asked at most.
struct Trickle<'a> {
    left: &'a [u8],
    asked: usize,
}

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.asked = self.asked.max(buffer.len());
        self.left.read(buffer)
    }
}

#[test]
fn what_was_sent_bounds_the_memory_and_not_what_was_announced() {
    let frame = |announced: usize, sent: usize| {
        let mut bytes = (announced as u32).to_be_bytes().to_vec();
        bytes.extend((0..sent).map(|at| (at % 251) as u8));
        let mut from = Trickle {
            left: &bytes,
            asked: 0,
        };
        let read = read_frame(&mut from, MAX_RPC_FRAME).ok();
        assert!(read.as_ref().is_none_or(|read| read[..] == bytes[4..]));
        (read.map(|read| read.len()), from.asked)
    };
    assert_eq!(frame(MAX_RPC_FRAME, 10), (None, ON_TRUST));
    assert_eq!(frame(MAX_RPC_FRAME, ON_TRUST), (None, ON_TRUST));
    for whole in [0, 1, ON_TRUST, ON_TRUST + 1, 3 * ON_TRUST + 1] {
        let (read, asked) = frame(whole, whole);
        assert_eq!(read, Some(whole));
        assert!(asked <= whole.max(4), "{asked} of {whole}");
    }
}

proptest! {
    #[test]
    fn packets_go_there_and_back(data in prop::collection::vec(any::<u8>(), 0..3000), seqno in any::<i64>()) {
        let header = PacketHeader {
            offset_in_block: 512,
            seqno,
            last_packet_in_block: data.is_empty(),
            data_len: data.len() as i32,
            sync_block: None,
        };
        let mut bytes = Vec::new();
        put_packet(&mut bytes, &header, &data, 512);
        let packet = read_packet(&mut bytes.as_slice()).unwrap();
        prop_assert_eq!(&packet.header, &header);
        prop_assert_eq!(packet.data(), &data[..]);
        prop_assert!(checksums_match(packet.checksums(), packet.data(), 512));
        if !data.is_empty() {
            let mut spoilt = data.clone();
            spoilt[0] ^= 1;
            prop_assert!(!checksums_match(packet.checksums(), &spoilt, 512));
        }
    }

    #[test]
    fn rubbish_is_an_error_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read_frame(&mut bytes.as_slice(), 100);
        if let Ok(packet) = read_packet(&mut bytes.as_slice()) {
            prop_assert_eq!(packet.data().len(), packet.header.data_len as usize);
        }
        let _ = read_delimited::<BlockOpResponse>(&mut bytes.as_slice(), 100, "an answer");
        let _ = take_delimited::<OpWriteBlock>(&mut bytes.as_slice(), "an operation");
        let _ = take_delimited::<GetListingResponse>(&mut bytes.as_slice(), "a listing");
    }
}
