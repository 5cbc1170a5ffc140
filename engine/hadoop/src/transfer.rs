//! Messages between a client and a DataNode, and between DataNodes.
//!
//! Source: `datatransfer.proto` of Hadoop 3.3.6; the field numbers were taken from the descriptors in
//! its jars. Encryption and short-circuit reads are left out. How the messages lie on the wire is in
//! [`crate::frame`].

use prost::{Enumeration, Message};

use crate::common::{ChecksumType, DatanodeInfo, ExtendedBlock, StorageType};
use crate::rpc::Token;

/// The block an operation is about.
#[derive(Clone, PartialEq, Message)]
pub struct BaseHeader {
    /// The block.
    #[prost(message, required, tag = "1")]
    pub block: ExtendedBlock,
    /// Bytes of the mechanism.
    #[prost(message, optional, tag = "2")]
    pub token: Option<Token>,
}

/// The block, and who asks.
#[derive(Clone, PartialEq, Message)]
pub struct ClientOperationHeader {
    /// Block and token.
    #[prost(message, required, tag = "1")]
    pub base_header: BaseHeader,
    /// Name of the client, which is the holder of the lease.
    #[prost(string, required, tag = "2")]
    pub client_name: String,
}

/// What to do with the page cache.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct CachingStrategy {
    /// Forget pages after use.
    #[prost(bool, optional, tag = "1")]
    pub drop_behind: Option<bool>,
    /// Bytes to read ahead.
    #[prost(int64, optional, tag = "2")]
    pub readahead: Option<i64>,
}

/// How a stream is checksummed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct Checksum {
    /// Which kind.
    #[prost(enumeration = "ChecksumType", required, tag = "1")]
    pub r#type: i32,
    /// Bytes covered by one checksum.
    #[prost(uint32, required, tag = "2")]
    pub bytes_per_checksum: u32,
}

/// Operation 81: read a part of a block.
#[derive(Clone, PartialEq, Message)]
pub struct OpReadBlock {
    /// Block, token and client.
    #[prost(message, required, tag = "1")]
    pub header: ClientOperationHeader,
    /// First byte asked for, counted from the start.
    #[prost(uint64, required, tag = "2")]
    pub offset: u64,
    /// How many bytes.
    #[prost(uint64, required, tag = "3")]
    pub len: u64,
    /// Send the checksums along.
    #[prost(bool, optional, tag = "4", default = "true")]
    pub send_checksums: Option<bool>,
    /// What to do with the page cache.
    #[prost(message, optional, tag = "5")]
    pub caching_strategy: Option<CachingStrategy>,
}

/// State of a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum BlockConstructionStage {
    /// Set up to append.
    PipelineSetupAppend = 0,
    /// Set up again, to append.
    PipelineSetupAppendRecovery = 1,
    /// Data flows.
    DataStreaming = 2,
    /// Set up again after a failure.
    PipelineSetupStreamingRecovery = 3,
    /// The block ends.
    PipelineClose = 4,
    /// Set up again to end the block.
    PipelineCloseRecovery = 5,
    /// Set up for a new block.
    PipelineSetupCreate = 6,
    /// A copy of an unfinished block.
    TransferRbw = 7,
    /// A copy of a finished block.
    TransferFinalized = 8,
}

/// Operation 80: write a block.
#[derive(Clone, PartialEq, Message)]
pub struct OpWriteBlock {
    /// Block, token and client.
    #[prost(message, required, tag = "1")]
    pub header: ClientOperationHeader,
    /// DataNodes that follow in the pipeline.
    #[prost(message, repeated, tag = "2")]
    pub targets: Vec<DatanodeInfo>,
    /// DataNode that comes before; absent for a client.
    #[prost(message, optional, tag = "3")]
    pub source: Option<DatanodeInfo>,
    /// State of the pipeline.
    #[prost(enumeration = "BlockConstructionStage", required, tag = "4")]
    pub stage: i32,
    /// DataNodes of the pipeline; for the first one, all of them.
    #[prost(uint32, required, tag = "5")]
    pub pipeline_size: u32,
    /// Least length of the block in the pipeline.
    #[prost(uint64, required, tag = "6")]
    pub min_bytes_rcvd: u64,
    /// Greatest length of the block in the pipeline.
    #[prost(uint64, required, tag = "7")]
    pub max_bytes_rcvd: u64,
    /// Generation stamp after a recovery; 0 at first.
    #[prost(uint64, required, tag = "8")]
    pub latest_generation_stamp: u64,
    /// Checksums of the stream.
    #[prost(message, required, tag = "9")]
    pub requested_checksum: Checksum,
    /// What to do with the page cache.
    #[prost(message, optional, tag = "10")]
    pub caching_strategy: Option<CachingStrategy>,
    /// Kind of storage.
    #[prost(enumeration = "StorageType", optional, tag = "11", default = "Disk")]
    pub storage_type: Option<i32>,
    /// Kind of storage of each that follows.
    #[prost(enumeration = "StorageType", repeated, tag = "12", packed = "false")]
    pub target_storage_types: Vec<i32>,
    /// May be kept in memory at first.
    #[prost(bool, optional, tag = "13", default = "false")]
    pub allow_lazy_persist: Option<bool>,
    /// Not to be moved by the balancer.
    #[prost(bool, optional, tag = "14", default = "false")]
    pub pinning: Option<bool>,
    /// The same for each that follows.
    #[prost(bool, repeated, tag = "15", packed = "false")]
    pub target_pinnings: Vec<bool>,
    /// Identifier of the storage.
    #[prost(string, optional, tag = "16")]
    pub storage_id: Option<String>,
    /// Identifier of the storage of each that follows.
    #[prost(string, repeated, tag = "17")]
    pub target_storage_ids: Vec<String>,
}

/// Operation 86: copy a block to other DataNodes.
#[derive(Clone, PartialEq, Message)]
pub struct OpTransferBlock {
    /// Block, token and client.
    #[prost(message, required, tag = "1")]
    pub header: ClientOperationHeader,
    /// DataNodes that follow in the pipeline.
    #[prost(message, repeated, tag = "2")]
    pub targets: Vec<DatanodeInfo>,
    /// Kind of storage of each that follows.
    #[prost(enumeration = "StorageType", repeated, tag = "3", packed = "false")]
    pub target_storage_types: Vec<i32>,
    /// Identifier of the storage of each that follows.
    #[prost(string, repeated, tag = "4")]
    pub target_storage_ids: Vec<String>,
}

/// How the checksums of a block are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum BlockChecksumType {
    /// MD5 of them.
    Md5crc = 1,
    /// As one checksum of all bytes.
    CompositeCrc = 2,
}

/// How to combine the checksums of a block.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct BlockChecksumOptions {
    /// How the checksums are combined.
    #[prost(
        enumeration = "BlockChecksumType",
        optional,
        tag = "1",
        default = "Md5crc"
    )]
    pub block_checksum_type: Option<i32>,
    /// Bytes of a stripe.
    #[prost(uint64, optional, tag = "2")]
    pub stripe_length: Option<u64>,
}

/// Operation 85: checksum of a block.
#[derive(Clone, PartialEq, Message)]
pub struct OpBlockChecksum {
    /// Block, token and client.
    #[prost(message, required, tag = "1")]
    pub header: BaseHeader,
    /// How to combine.
    #[prost(message, optional, tag = "2")]
    pub block_checksum_options: Option<BlockChecksumOptions>,
}

/// Result of a checksum of a block.
#[derive(Clone, PartialEq, Message)]
pub struct OpBlockChecksumResponse {
    /// Bytes covered by one checksum.
    #[prost(uint32, required, tag = "1")]
    pub bytes_per_crc: u32,
    /// Checksums of a block.
    #[prost(uint64, required, tag = "2")]
    pub crc_per_block: u64,
    /// Digest of all checksums of the block.
    #[prost(bytes = "vec", required, tag = "3")]
    pub block_checksum: Vec<u8>,
    /// Kind of checksum.
    #[prost(enumeration = "ChecksumType", optional, tag = "4")]
    pub crc_type: Option<i32>,
    /// How to combine.
    #[prost(message, optional, tag = "5")]
    pub block_checksum_options: Option<BlockChecksumOptions>,
}

/// Header of a packet. All fields have a fixed width, so it always takes as many bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct PacketHeader {
    /// Position of the first byte within the block.
    #[prost(sfixed64, required, tag = "1")]
    pub offset_in_block: i64,
    /// Number of the packet, dense from 0; -1 in a heartbeat.
    #[prost(sfixed64, required, tag = "2")]
    pub seqno: i64,
    /// The empty packet that ends a block.
    #[prost(bool, required, tag = "3")]
    pub last_packet_in_block: bool,
    /// Bytes of data; checksums do not count.
    #[prost(sfixed32, required, tag = "4")]
    pub data_len: i32,
    /// Force it to disk as well.
    #[prost(bool, optional, tag = "5", default = "false")]
    pub sync_block: Option<bool>,
}

/// Outcome, as DataNodes say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum Status {
    /// Well.
    Success = 0,
    /// Not well.
    Error = 1,
    /// A checksum was wrong.
    ErrorChecksum = 2,
    /// A request was wrong.
    ErrorInvalid = 3,
    /// The block is there already.
    ErrorExists = 4,
    /// The token was wrong.
    ErrorAccessToken = 5,
    /// The reader found all checksums right.
    ChecksumOk = 6,
    /// Not served.
    ErrorUnsupported = 7,
    /// The DataNode is about to restart.
    OobRestart = 8,
    /// Reserved.
    OobReserved1 = 9,
    /// Reserved.
    OobReserved2 = 10,
    /// Reserved.
    OobReserved3 = 11,
    /// Still at it.
    InProgress = 12,
    /// The block must not move.
    ErrorBlockPinned = 13,
}

/// Answer to a packet, from the whole pipeline.
#[derive(Clone, PartialEq, Message)]
pub struct PipelineAck {
    /// Number of the packet, dense from 0; -1 in a heartbeat.
    #[prost(sint64, required, tag = "1")]
    pub seqno: i64,
    /// Status of each DataNode, the first of the pipeline first.
    #[prost(enumeration = "Status", repeated, tag = "2", packed = "false")]
    pub reply: Vec<i32>,
    /// Time the rest of the pipeline took, ns.
    #[prost(uint64, optional, tag = "3", default = "0")]
    pub downstream_ack_time_nanos: Option<u64>,
    /// One for each reply: its status in the low four bits, then congestion bits.
    #[prost(uint32, repeated, tag = "4", packed = "true")]
    pub flag: Vec<u32>,
}

/// Checksums of the packets that follow.
#[derive(Clone, PartialEq, Message)]
pub struct ReadOpChecksumInfo {
    /// Kind of checksum.
    #[prost(message, required, tag = "1")]
    pub checksum: Checksum,
    /// Position in the block of the first byte sent, a multiple of a chunk.
    #[prost(uint64, required, tag = "2")]
    pub chunk_offset: u64,
}

/// Answer to an operation.
#[derive(Clone, PartialEq, Message)]
pub struct BlockOpResponse {
    /// How it went.
    #[prost(enumeration = "Status", required, tag = "1")]
    pub status: i32,
    /// The DataNode (`host:port`) that could not be reached; empty for none.
    #[prost(string, optional, tag = "2")]
    pub first_bad_link: Option<String>,
    /// Result of a checksum.
    #[prost(message, optional, tag = "3")]
    pub checksum_response: Option<OpBlockChecksumResponse>,
    /// Checksums of the bytes that follow.
    #[prost(message, optional, tag = "4")]
    pub read_op_checksum_info: Option<ReadOpChecksumInfo>,
    /// Explanation.
    #[prost(string, optional, tag = "5")]
    pub message: Option<String>,
    /// Version of short-circuit reads.
    #[prost(uint32, optional, tag = "6")]
    pub short_circuit_access_version: Option<u32>,
}

/// What a reader says after the last packet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct ClientReadStatus {
    /// How it went.
    #[prost(enumeration = "Status", required, tag = "1")]
    pub status: i32,
}
