//! The client against a NameNode that does what a test wants.

use std::net::TcpListener;
use std::thread::JoinHandle;
use std::time::Instant;

use flume_bench_hadoop::client_protocol::{GetFileInfoRequest, GetFileInfoResponse};
use flume_bench_hadoop::frame::{CONTEXT_CALL_ID, error_frame, result_frame};
use flume_bench_hadoop::rpc::{RequestHeader, RpcRequestHeader};

use super::*;

/// What the server does with a call.
enum Reply {
    Answer,
    Exception(&'static str),
    HangUp,
    Silence,
    Bytes(Vec<u8>),
    Sasl,
}

/// A call as the server saw it.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    connection: usize,
    user: String,
    method: String,
    call: i32,
    retry: i32,
}

/// Serves one reply after the other and then ends; answers what it saw.
fn server(replies: Vec<Reply>) -> (String, JoinHandle<Vec<Seen>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let thread = std::thread::spawn(move || {
        let mut seen = Vec::new();
        let mut open = Vec::new();
        let mut stream: Option<(TcpStream, String)> = None;
        let mut connections = 0;
        for reply in replies {
            // A client may have dropped its connection and come back on a new one.
            let (frame, user) = loop {
                if let Some((open, user)) = &mut stream
                    && let Ok(frame) = read_frame(open, MAX_RPC_FRAME)
                {
                    break (frame, user.clone());
                }
                let (mut new, _) = listener.accept().unwrap();
                connections += 1;
                let mut preamble = [0; 7];
                new.read_exact(&mut preamble).unwrap();
                assert_eq!(preamble, RPC_PREAMBLE);
                let frame = read_frame(&mut new, MAX_RPC_FRAME).unwrap();
                let mut rest = frame.as_slice();
                let header: RpcRequestHeader = take_delimited(&mut rest, "").unwrap();
                assert_eq!(header.call_id, CONTEXT_CALL_ID);
                let context: IpcConnectionContext = take_delimited(&mut rest, "").unwrap();
                let user = context.user_info.unwrap().effective_user.unwrap();
                stream = Some((new, user));
            };
            let mut rest = frame.as_slice();
            let header: RpcRequestHeader = take_delimited(&mut rest, "").unwrap();
            let method: RequestHeader = take_delimited(&mut rest, "").unwrap();
            seen.push(Seen {
                connection: connections,
                user,
                method: method.method_name,
                call: header.call_id,
                retry: header.retry_count(),
            });
            let (open_stream, _) = stream.as_mut().unwrap();
            let mut answer = RpcResponseHeader {
                call_id: header.call_id as u32,
                status: RpcStatus::Success as i32,
                ..RpcResponseHeader::default()
            };
            match reply {
                Reply::Answer => open_stream
                    .write_all(&result_frame(&answer, &GetFileInfoResponse::default()))
                    .unwrap(),
                Reply::Exception(class) => {
                    answer.set_status(RpcStatus::Error);
                    answer.exception_class_name = Some(class.to_owned());
                    answer.error_msg = Some("because\n\tat some.Line".to_owned());
                    open_stream.write_all(&error_frame(&answer)).unwrap();
                }
                Reply::Sasl => {
                    answer.call_id = SASL_CALL_ID as u32;
                    open_stream.write_all(&error_frame(&answer)).unwrap();
                }
                Reply::Bytes(bytes) => open_stream.write_all(&bytes).unwrap(),
                Reply::HangUp => stream = None,
                Reply::Silence => open.push(stream.take()),
            }
        }
        seen
    });
    (address, thread)
}

fn rpc(addresses: Vec<String>) -> Rpc {
    Rpc::new(addresses, "somebody".to_owned(), *b"0123456789abcdef")
}

fn ask(rpc: &Rpc, limit: Duration) -> Result<GetFileInfoResponse, HdfsError> {
    let request = GetFileInfoRequest {
        src: "/a".to_owned(),
    };
    rpc.call("getFileInfo", "/a", &request, Deadline::after(limit))
}

const LONG: Duration = Duration::from_secs(20);

#[test]
fn calls_share_a_connection() {
    let (address, server) = server(vec![Reply::Answer, Reply::Answer]);
    let rpc = rpc(vec![address]);
    ask(&rpc, LONG).unwrap();
    ask(&rpc, LONG).unwrap();
    let seen = server.join().unwrap();
    let expected = |call| Seen {
        connection: 1,
        user: "somebody".to_owned(),
        method: "getFileInfo".to_owned(),
        call,
        retry: 0,
    };
    assert_eq!(seen, [expected(0), expected(1)]);
}

#[test]
fn a_lost_connection_repeats_the_call_under_its_id() {
    let (address, server) = server(vec![
        Reply::Answer,
        Reply::HangUp,
        Reply::HangUp,
        Reply::Answer,
    ]);
    let rpc = rpc(vec![address]);
    ask(&rpc, LONG).unwrap();
    ask(&rpc, LONG).unwrap();
    let seen: Vec<_> = server
        .join()
        .unwrap()
        .iter()
        .map(|s| (s.connection, s.call, s.retry))
        .collect();
    assert_eq!(seen, [(1, 0, 0), (1, 1, 0), (2, 1, 1), (3, 1, 2)]);
}

#[test]
fn a_stalled_connection_is_left_for_another() {
    let (address, server) = server(vec![Reply::Silence, Reply::Answer]);
    ask(&rpc(vec![address]), LONG).unwrap();
    let seen: Vec<_> = server
        .join()
        .unwrap()
        .iter()
        .map(|s| (s.connection, s.retry))
        .collect();
    assert_eq!(seen, [(1, 0), (2, 1)]);
}

#[test]
fn an_exception_is_the_answer_unless_it_passes() {
    let (address, server) = server(vec![
        Reply::Exception("org.apache.hadoop.ipc.RetriableException"),
        Reply::Exception("org.apache.hadoop.hdfs.server.namenode.SafeModeException"),
        Reply::Exception("java.io.FileNotFoundException"),
    ]);
    let error = ask(&rpc(vec![address]), LONG).unwrap_err();
    assert!(error.is_not_found() && !error.is_taken(), "{error}");
    assert!(error.to_string().ends_with("because"), "{error}");
    assert_eq!(server.join().unwrap().len(), 3);
}

#[test]
fn a_namenode_on_standby_sends_us_to_the_other() {
    let standby = Reply::Exception("org.apache.hadoop.ipc.StandbyException");
    let (one, first) = server(vec![standby]);
    let (two, second) = server(vec![Reply::Answer, Reply::Answer]);
    let rpc = rpc(vec![one, two]);
    ask(&rpc, LONG).unwrap();
    ask(&rpc, LONG).unwrap();
    assert_eq!(
        (first.join().unwrap().len(), second.join().unwrap().len()),
        (1, 2)
    );
}

#[test]
fn nothing_outlives_its_deadline() {
    let limit = Duration::from_millis(300);
    // Nobody listens there.
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    // Somebody listens, and never accepts.
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    for address in [gone, deaf.local_addr().unwrap().to_string()] {
        let started = Instant::now();
        let error = ask(&rpc(vec![address]), limit).unwrap_err();
        assert!(matches!(error, HdfsError::Timeout { .. }), "{error}");
        assert!(started.elapsed() < Duration::from_secs(10));
    }
}

#[test]
fn nonsense_is_refused() {
    let huge = 0x7fff_ffff_u32.to_be_bytes().to_vec();
    let (address, server_thread) = server(vec![Reply::Bytes(huge)]);
    let error = ask(&rpc(vec![address]), LONG).unwrap_err();
    assert!(error.to_string().contains("limit"), "{error}");
    server_thread.join().unwrap();

    let (address, server_thread) = server(vec![Reply::Bytes(vec![0, 0, 0, 2, 0xff, 0xff])]);
    let error = ask(&rpc(vec![address]), LONG).unwrap_err();
    assert!(matches!(error, HdfsError::Frame { .. }), "{error}");
    server_thread.join().unwrap();

    let (address, server_thread) = server(vec![Reply::Sasl]);
    let error = ask(&rpc(vec![address]), LONG).unwrap_err();
    assert!(
        error.to_string().contains("simple authentication"),
        "{error}"
    );
    server_thread.join().unwrap();
}
