//! The headers around every call: who is there, which method, how it went.
//!
//! Source: `RpcHeader.proto`, `ProtobufRpcEngine2.proto`, `IpcConnectionContext.proto` and
//! `Security.proto` of Hadoop 3.3.6; the field numbers were taken from the descriptors in its jars.
//! Trace and caller context are left out; a decoder skips them.

use prost::{Enumeration, Message};

/// How a request is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum RpcKind {
    /// Calls of Hadoop's own tests.
    RpcBuiltin = 0,
    /// Hadoop's old encoding.
    RpcWritable = 1,
    /// Protocol buffers: the only one in use.
    RpcProtocolBuffer = 2,
}

/// What a frame from the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum RpcOperation {
    /// A whole call.
    RpcFinalPacket = 0,
    /// Reserved.
    RpcContinuationPacket = 1,
    /// The client ends the connection.
    RpcCloseConnection = 2,
}

/// First message of every frame from the client.
#[derive(Clone, PartialEq, Message)]
pub struct RpcRequestHeader {
    /// Encoding of the request.
    #[prost(enumeration = "RpcKind", optional, tag = "1")]
    pub rpc_kind: Option<i32>,
    /// What the frame is.
    #[prost(enumeration = "RpcOperation", optional, tag = "2")]
    pub rpc_op: Option<i32>,
    /// Number of the call; the answer repeats it.
    #[prost(sint32, required, tag = "3")]
    pub call_id: i32,
    /// Sixteen bytes that name the client; with the number they make a call unique.
    #[prost(bytes = "vec", required, tag = "4")]
    pub client_id: Vec<u8>,
    /// How often the call has been sent before; -1 where it does not count.
    #[prost(sint32, optional, tag = "5", default = "-1")]
    pub retry_count: Option<i32>,
    /// Last state of the NameNode the sender has seen.
    #[prost(int64, optional, tag = "8")]
    pub state_id: Option<i64>,
}

/// Whether a call succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum RpcStatus {
    /// It did; the result follows.
    Success = 0,
    /// It did not; the connection stays.
    Error = 1,
    /// It did not, and the connection ends.
    Fatal = 2,
}

/// Why a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum RpcErrorCode {
    /// The method threw an exception.
    ErrorApplication = 1,
    /// Unknown method.
    ErrorNoSuchMethod = 2,
    /// Unknown protocol.
    ErrorNoSuchProtocol = 3,
    /// The server failed.
    ErrorRpcServer = 4,
    /// The result could not be encoded.
    ErrorSerializingResponse = 5,
    /// Version of the protocol is not served.
    ErrorRpcVersionMismatch = 6,
    /// Unknown.
    FatalUnknown = 10,
    /// Encoding of the frame is not served.
    FatalUnsupportedSerialization = 11,
    /// A header with wrong fields.
    FatalInvalidRpcHeader = 12,
    /// The request could not be decoded.
    FatalDeserializingRequest = 13,
    /// Version of the RPC is not served.
    FatalVersionMismatch = 14,
    /// The caller is not who it says.
    FatalUnauthorized = 15,
}

/// First message of every frame from the server. Where the status is a success, the result
/// follows it, delimited; otherwise nothing does.
#[derive(Clone, PartialEq, Message)]
pub struct RpcResponseHeader {
    /// Number of the call; the answer repeats it.
    #[prost(uint32, required, tag = "1")]
    pub call_id: u32,
    /// How it went.
    #[prost(enumeration = "RpcStatus", required, tag = "2")]
    pub status: i32,
    /// Version of the RPC, 9.
    #[prost(uint32, optional, tag = "3")]
    pub server_ipc_version_num: Option<u32>,
    /// Java class of the exception.
    #[prost(string, optional, tag = "4")]
    pub exception_class_name: Option<String>,
    /// Message, often with a stack trace.
    #[prost(string, optional, tag = "5")]
    pub error_msg: Option<String>,
    /// Which kind of failure.
    #[prost(enumeration = "RpcErrorCode", optional, tag = "6")]
    pub error_detail: Option<i32>,
    /// Sixteen bytes that name the client; with the number they make a call unique.
    #[prost(bytes = "vec", optional, tag = "7")]
    pub client_id: Option<Vec<u8>>,
    /// How often the call has been sent before; -1 where it does not count.
    #[prost(sint32, optional, tag = "8", default = "-1")]
    pub retry_count: Option<i32>,
    /// Last state of the NameNode the sender has seen.
    #[prost(int64, optional, tag = "9")]
    pub state_id: Option<i64>,
}

/// Step of a SASL exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum SaslState {
    /// Finished.
    Success = 0,
    /// What is there to choose from.
    Negotiate = 1,
    /// The client has chosen.
    Initiate = 2,
    /// The server asks.
    Challenge = 3,
    /// The client answers.
    Response = 4,
    /// A protected frame.
    Wrap = 5,
}

/// One way to authenticate that a server offers.
#[derive(Clone, PartialEq, Message)]
pub struct SaslAuth {
    /// Name of the authentication, such as `SIMPLE`.
    #[prost(string, required, tag = "1")]
    pub method: String,
    /// SASL mechanism.
    #[prost(string, required, tag = "2")]
    pub mechanism: String,
    /// Protocol part of the service name.
    #[prost(string, optional, tag = "3")]
    pub protocol: Option<String>,
    /// Host part of the service name.
    #[prost(string, optional, tag = "4")]
    pub server_id: Option<String>,
    /// First challenge.
    #[prost(bytes = "vec", optional, tag = "5")]
    pub challenge: Option<Vec<u8>>,
}

/// A step of the SASL exchange. A client of simple authentication sees it only when a server
/// insists on more.
#[derive(Clone, PartialEq, Message)]
pub struct RpcSasl {
    /// Version of the exchange.
    #[prost(uint32, optional, tag = "1")]
    pub version: Option<u32>,
    /// Step of the exchange.
    #[prost(enumeration = "SaslState", required, tag = "2")]
    pub state: i32,
    /// Bytes of the mechanism.
    #[prost(bytes = "vec", optional, tag = "3")]
    pub token: Option<Vec<u8>>,
    /// What the server offers.
    #[prost(message, repeated, tag = "4")]
    pub auths: Vec<SaslAuth>,
}

/// Second message of a call: the method. The request follows, delimited.
#[derive(Clone, PartialEq, Message)]
pub struct RequestHeader {
    /// Name of the method.
    #[prost(string, required, tag = "1")]
    pub method_name: String,
    /// Java interface that declares it.
    #[prost(string, required, tag = "2")]
    pub declaring_class_protocol_name: String,
    /// Version of that interface, 1.
    #[prost(uint64, required, tag = "3")]
    pub client_protocol_version: u64,
}

/// The user on whose behalf calls are made.
#[derive(Clone, PartialEq, Message)]
pub struct UserInformation {
    /// Who acts.
    #[prost(string, optional, tag = "1")]
    pub effective_user: Option<String>,
    /// On whose authentication, where another acts.
    #[prost(string, optional, tag = "2")]
    pub real_user: Option<String>,
}

/// Sent once a connection, as a call numbered -3 and without an answer.
#[derive(Clone, PartialEq, Message)]
pub struct IpcConnectionContext {
    /// Who calls.
    #[prost(message, optional, tag = "2")]
    pub user_info: Option<UserInformation>,
    /// Protocol part of the service name.
    #[prost(string, optional, tag = "3")]
    pub protocol: Option<String>,
}

/// A security token; empty in all its fields without security.
#[derive(Clone, PartialEq, Message)]
pub struct Token {
    /// What the token says.
    #[prost(bytes = "vec", required, tag = "1")]
    pub identifier: Vec<u8>,
    /// Proof of it.
    #[prost(bytes = "vec", required, tag = "2")]
    pub password: Vec<u8>,
    /// Kind of token.
    #[prost(string, required, tag = "3")]
    pub kind: String,
    /// Where it is valid.
    #[prost(string, required, tag = "4")]
    pub service: String,
}
