//! Whole conversations of Hadoop 3.3.6's shell with a NameNode and a DataNode, recorded between them:
//! `fs -put` and `fs -cat` of a file of thirty lines. Every byte must be accounted for, and what is
//! encoded again must be what was recorded.

#![expect(clippy::unwrap_used, clippy::panic, reason = "it is a test")]

use flume_bench_hadoop::client_protocol::*;
use flume_bench_hadoop::common::FileType;
use flume_bench_hadoop::frame::*;
use flume_bench_hadoop::rpc::*;
use flume_bench_hadoop::transfer::*;
use prost::Message;

/// What was put: 750 bytes, so that there is a whole chunk and a part of one.
fn content() -> Vec<u8> {
    "line of text, number one\n".repeat(30).into_bytes()
}

/// Takes a message off the front, which must encode to the very bytes it was made of.
fn take<M: Message + Default>(rest: &mut &[u8], what: &'static str) -> M {
    let before = *rest;
    let message: M = take_delimited(rest, what).unwrap();
    let mut again = Vec::new();
    put_delimited(&mut again, &message);
    assert_eq!(again, before[..before.len() - rest.len()], "{what}");
    message
}

/// Checks the frames of both directions of a connection; answers the methods that were called.
fn conversation(mut client: &[u8], mut server: &[u8]) -> Vec<String> {
    assert_eq!(client[..7], RPC_PREAMBLE);
    client = &client[7..];
    let frame = read_frame(&mut client, MAX_RPC_FRAME).unwrap();
    let mut rest = frame.as_slice();
    let header: RpcRequestHeader = take_delimited(&mut rest, "header").unwrap();
    assert_eq!(header.call_id, CONTEXT_CALL_ID);
    let context: IpcConnectionContext = take(&mut rest, "context");
    assert_eq!(context.protocol(), CLIENT_PROTOCOL);
    assert_eq!(context.user_info.unwrap().effective_user(), "tester");
    assert!(rest.is_empty());
    let mut methods = Vec::new();
    while !client.is_empty() {
        let frame = read_frame(&mut client, MAX_RPC_FRAME).unwrap();
        let answer = read_frame(&mut server, MAX_RPC_FRAME).unwrap();
        let (mut rest, mut answer) = (frame.as_slice(), answer.as_slice());
        // Caller context is left out of our header, so it is decoded only.
        let header: RpcRequestHeader = take_delimited(&mut rest, "header").unwrap();
        assert_eq!(header.client_id.len(), 16);
        let method: RequestHeader = take(&mut rest, "method");
        let status: RpcResponseHeader = take(&mut answer, "the header of an answer");
        assert_eq!(status.call_id, header.call_id as u32);
        assert_eq!(status.status(), RpcStatus::Success);
        call(&method.method_name, &mut rest, &mut answer);
        assert!(
            rest.is_empty() && answer.is_empty(),
            "{}",
            method.method_name
        );
        methods.push(method.method_name);
    }
    assert!(server.is_empty());
    methods
}

/// Decodes a request and its answer.
fn call(method: &str, request: &mut &[u8], answer: &mut &[u8]) {
    match method {
        "getFileInfo" => {
            let path = take::<GetFileInfoRequest>(request, "request").src;
            let status = take_delimited::<GetFileInfoResponse>(answer, "answer")
                .unwrap()
                .fs;
            if let Some(status) = status {
                let directory = path.ends_with("/cap");
                assert_eq!(status.file_type() == FileType::IsDir, directory, "{path}");
                assert_eq!(status.owner, "tester");
            }
        }
        "getServerDefaults" => {
            take::<GetServerDefaultsRequest>(request, "request");
            let defaults = take_delimited::<GetServerDefaultsResponse>(answer, "answer").unwrap();
            assert_eq!(defaults.server_defaults.bytes_per_checksum, 512);
        }
        "create" => {
            // Names the versions of encryption the client knows, which are left out here.
            let create: CreateRequest = take_delimited(request, "request").unwrap();
            assert_eq!(
                create.create_flag,
                CreateFlag::Create as u32 | CreateFlag::Overwrite as u32
            );
            assert_eq!(
                take_delimited::<CreateResponse>(answer, "answer")
                    .unwrap()
                    .fs
                    .unwrap()
                    .length,
                0
            );
        }
        "addBlock" => {
            take::<AddBlockRequest>(request, "request");
            let block = take_delimited::<AddBlockResponse>(answer, "answer")
                .unwrap()
                .block;
            assert_eq!((block.locs.len(), block.storage_ids.len()), (1, 1));
        }
        "complete" => {
            let last = take::<CompleteRequest>(request, "request").last.unwrap();
            assert_eq!(last.num_bytes(), 750);
            take::<CompleteResponse>(answer, "answer");
        }
        "rename" => {
            let rename = take::<RenameRequest>(request, "request");
            assert_eq!(rename.src, format!("{}._COPYING_", rename.dst));
            assert!(take::<RenameResponse>(answer, "answer").result);
        }
        "delete" => {
            take::<DeleteRequest>(request, "request");
            take::<DeleteResponse>(answer, "answer");
        }
        "getBlockLocations" => {
            take::<GetBlockLocationsRequest>(request, "request");
            let found = take_delimited::<GetBlockLocationsResponse>(answer, "answer").unwrap();
            assert_eq!(found.locations.unwrap().file_length, 750);
        }
        other => panic!("{other} was not expected"),
    }
}

#[test]
fn the_namenode_is_spoken_to_as_java_does() {
    let put = conversation(
        include_bytes!("java/put.namenode.client"),
        include_bytes!("java/put.namenode.server"),
    );
    for method in ["create", "addBlock", "complete", "rename"] {
        assert!(put.iter().any(|called| called == method), "{put:?}");
    }
    let cat = conversation(
        include_bytes!("java/cat.namenode.client"),
        include_bytes!("java/cat.namenode.server"),
    );
    assert!(
        cat.iter().any(|called| called == "getBlockLocations"),
        "{cat:?}"
    );
}

/// Takes version and code of an operation off the front.
fn operation_code(stream: &mut &[u8]) -> Option<OpCode> {
    assert_eq!(stream[..2], TRANSFER_VERSION.to_be_bytes());
    let code = OpCode::from_byte(stream[2]);
    *stream = &stream[3..];
    code
}

#[test]
fn a_block_is_written_as_java_does() {
    let mut client: &[u8] = include_bytes!("java/put.datanode.client");
    assert_eq!(operation_code(&mut client), Some(OpCode::WriteBlock));
    let set_up: OpWriteBlock = take_delimited(&mut client, "set-up").unwrap();
    assert_eq!(set_up.stage(), BlockConstructionStage::PipelineSetupCreate);
    assert_eq!(
        (
            set_up.pipeline_size,
            set_up.requested_checksum.bytes_per_checksum
        ),
        (1, 512)
    );
    assert_eq!(
        (set_up.min_bytes_rcvd, set_up.latest_generation_stamp),
        (0, 0)
    );

    // The same packets, byte for byte.
    let mut ours = Vec::new();
    let data = content();
    let data_packet = PacketHeader {
        data_len: 750,
        ..PacketHeader::default()
    };
    let last_packet = PacketHeader {
        offset_in_block: 750,
        seqno: 1,
        last_packet_in_block: true,
        ..PacketHeader::default()
    };
    put_packet(&mut ours, &data_packet, &data, 512);
    put_packet(&mut ours, &last_packet, &[], 512);
    assert_eq!(ours, client);

    let mut server: &[u8] = include_bytes!("java/put.datanode.server");
    let answer: BlockOpResponse = take(&mut server, "the answer to a set-up");
    assert_eq!(
        (answer.status(), answer.first_bad_link()),
        (Status::Success, "")
    );
    for seqno in 0..2 {
        let ack: PipelineAck = take(&mut server, "an acknowledgement");
        assert_eq!(ack.seqno, seqno);
        assert!(ack.reply().eq([Status::Success]));
    }
    assert!(server.is_empty());
}

#[test]
fn a_block_is_read_as_java_does() {
    let mut client: &[u8] = include_bytes!("java/cat.datanode.client");
    assert_eq!(operation_code(&mut client), Some(OpCode::ReadBlock));
    let read: OpReadBlock = take_delimited(&mut client, "operation").unwrap();
    assert_eq!((read.offset, read.len), (0, 750));

    let mut server: &[u8] = include_bytes!("java/cat.datanode.server");
    let answer: BlockOpResponse = take(&mut server, "the answer");
    assert_eq!(answer.status(), Status::Success);
    assert_eq!(answer.read_op_checksum_info.unwrap().chunk_offset, 0);
    let mut text = Vec::new();
    while !server.is_empty() {
        let packet = read_packet(&mut server).unwrap();
        assert!(checksums_match(packet.checksums(), packet.data(), 512));
        text.extend_from_slice(packet.data());
        assert_eq!(packet.header.last_packet_in_block, server.is_empty());
    }
    assert_eq!(text, content());

    let done: ClientReadStatus = take(&mut client, "the reader's last word");
    assert_eq!(done.status(), Status::ChecksumOk);
    assert!(client.is_empty());
}
