//! Calls about the content of files: create, blocks, leases, pipelines.

use prost::{Enumeration, Message};

use crate::common::{
    DatanodeId, DatanodeInfo, ExtendedBlock, FsPermission, FsServerDefaults, HdfsFileStatus,
    LocatedBlock, LocatedBlocks,
};

/// What `create` and `append` may do; bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum CreateFlag {
    /// Make a file.
    Create = 1,
    /// Replace one.
    Overwrite = 2,
    /// Go on with one.
    Append = 4,
    /// May be kept in memory at first.
    LazyPersist = 16,
    /// Go on in a block of its own.
    NewBlock = 32,
    /// Copies, whatever the directory's erasure coding says.
    ShouldReplicate = 128,
}

/// Wishes about where a block goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum AddBlockFlag {
    /// Not to the DataNode on the same host.
    NoLocalWrite = 1,
    /// Anywhere.
    IgnoreClientLocality = 2,
}

/// Request of `getBlockLocations`: where the bytes of a file are.
#[derive(Clone, PartialEq, Message)]
pub struct GetBlockLocationsRequest {
    /// Absolute path of the file or directory.
    #[prost(string, required, tag = "1")]
    pub src: String,
    /// First byte asked for, counted from the start.
    #[prost(uint64, required, tag = "2")]
    pub offset: u64,
    /// Length in bytes.
    #[prost(uint64, required, tag = "3")]
    pub length: u64,
}

/// Answer of `getBlockLocations`.
#[derive(Clone, PartialEq, Message)]
pub struct GetBlockLocationsResponse {
    /// Where the blocks are.
    #[prost(message, optional, tag = "1")]
    pub locations: Option<LocatedBlocks>,
}

/// Request of `getServerDefaults`: what a writer uses unless it says otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct GetServerDefaultsRequest {}

/// Answer of `getServerDefaults`.
#[derive(Clone, PartialEq, Message)]
pub struct GetServerDefaultsResponse {
    /// What a writer uses unless it says otherwise.
    #[prost(message, required, tag = "1")]
    pub server_defaults: FsServerDefaults,
}

/// Request of `create`: a new file, and the lease on it.
#[derive(Clone, PartialEq, Message)]
pub struct CreateRequest {
    /// Absolute path of the file or directory.
    #[prost(string, required, tag = "1")]
    pub src: String,
    /// Mode bits after the umask.
    #[prost(message, required, tag = "2")]
    pub masked: FsPermission,
    /// Name of the client, which is the holder of the lease.
    #[prost(string, required, tag = "3")]
    pub client_name: String,
    /// Bits of [`CreateFlag`].
    #[prost(uint32, required, tag = "4")]
    pub create_flag: u32,
    /// Make missing parent directories.
    #[prost(bool, required, tag = "5")]
    pub create_parent: bool,
    /// Copies of each block.
    #[prost(uint32, required, tag = "6")]
    pub replication: u32,
    /// Bytes of a full block.
    #[prost(uint64, required, tag = "7")]
    pub block_size: u64,
    /// Mode bits before the umask.
    #[prost(message, optional, tag = "9")]
    pub unmasked: Option<FsPermission>,
    /// Erasure coding policy, if one is wished.
    #[prost(string, optional, tag = "10")]
    pub ec_policy_name: Option<String>,
    /// Storage policy.
    #[prost(string, optional, tag = "11")]
    pub storage_policy: Option<String>,
}

/// Answer of `create`.
#[derive(Clone, PartialEq, Message)]
pub struct CreateResponse {
    /// State of the file; absent where there is none.
    #[prost(message, optional, tag = "1")]
    pub fs: Option<HdfsFileStatus>,
}

/// Request of `append`: go on at the end of a file.
#[derive(Clone, PartialEq, Message)]
pub struct AppendRequest {
    /// Absolute path of the file or directory.
    #[prost(string, required, tag = "1")]
    pub src: String,
    /// Name of the client, which is the holder of the lease.
    #[prost(string, required, tag = "2")]
    pub client_name: String,
    /// Flag bits.
    #[prost(uint32, optional, tag = "3")]
    pub flag: Option<u32>,
}

/// Answer of `append`.
#[derive(Clone, PartialEq, Message)]
pub struct AppendResponse {
    /// The block.
    #[prost(message, optional, tag = "1")]
    pub block: Option<LocatedBlock>,
    /// State of the file.
    #[prost(message, optional, tag = "2")]
    pub stat: Option<HdfsFileStatus>,
}

/// Request of `abandonBlock`: a block that could not be written.
#[derive(Clone, PartialEq, Message)]
pub struct AbandonBlockRequest {
    /// The block.
    #[prost(message, required, tag = "1")]
    pub b: ExtendedBlock,
    /// Absolute path of the file or directory.
    #[prost(string, required, tag = "2")]
    pub src: String,
    /// Name of the client that holds the lease.
    #[prost(string, required, tag = "3")]
    pub holder: String,
    /// Inode number; 0 where it is not known.
    #[prost(uint64, optional, tag = "4", default = "0")]
    pub file_id: Option<u64>,
}

/// Request of `addBlock`: the next block of a file, and where to write it.
#[derive(Clone, PartialEq, Message)]
pub struct AddBlockRequest {
    /// Absolute path of the file or directory.
    #[prost(string, required, tag = "1")]
    pub src: String,
    /// Name of the client, which is the holder of the lease.
    #[prost(string, required, tag = "2")]
    pub client_name: String,
    /// Last block of the file so far, with its length.
    #[prost(message, optional, tag = "3")]
    pub previous: Option<ExtendedBlock>,
    /// DataNodes not to be used.
    #[prost(message, repeated, tag = "4")]
    pub exclude_nodes: Vec<DatanodeInfo>,
    /// Inode number; 0 where it is not known.
    #[prost(uint64, optional, tag = "5", default = "0")]
    pub file_id: Option<u64>,
    /// DataNodes (`host:port`) to be used if possible.
    #[prost(string, repeated, tag = "6")]
    pub favored_nodes: Vec<String>,
    /// Values of [`AddBlockFlag`].
    #[prost(enumeration = "AddBlockFlag", repeated, tag = "7", packed = "false")]
    pub flags: Vec<i32>,
}

/// Answer of `addBlock`.
#[derive(Clone, PartialEq, Message)]
pub struct AddBlockResponse {
    /// The block.
    #[prost(message, required, tag = "1")]
    pub block: LocatedBlock,
}

/// Request of `getAdditionalDatanode`: another DataNode for a broken pipeline.
#[derive(Clone, PartialEq, Message)]
pub struct GetAdditionalDatanodeRequest {
    /// Absolute path of the file or directory.
    #[prost(string, required, tag = "1")]
    pub src: String,
    /// The block.
    #[prost(message, required, tag = "2")]
    pub blk: ExtendedBlock,
    /// DataNodes of the pipeline.
    #[prost(message, repeated, tag = "3")]
    pub existings: Vec<DatanodeInfo>,
    /// DataNodes not to be used.
    #[prost(message, repeated, tag = "4")]
    pub excludes: Vec<DatanodeInfo>,
    /// How many more are wished.
    #[prost(uint32, required, tag = "5")]
    pub num_additional_nodes: u32,
    /// Name of the client, which is the holder of the lease.
    #[prost(string, required, tag = "6")]
    pub client_name: String,
    /// Storages of the pipeline.
    #[prost(string, repeated, tag = "7")]
    pub existing_storage_uuids: Vec<String>,
    /// Inode number; 0 where it is not known.
    #[prost(uint64, optional, tag = "8", default = "0")]
    pub file_id: Option<u64>,
}

/// Answer of `getAdditionalDatanode`.
#[derive(Clone, PartialEq, Message)]
pub struct GetAdditionalDatanodeResponse {
    /// The block.
    #[prost(message, required, tag = "1")]
    pub block: LocatedBlock,
}

/// Request of `complete`: the end of a file; false while too few copies of its last block are reported.
#[derive(Clone, PartialEq, Message)]
pub struct CompleteRequest {
    /// Absolute path of the file or directory.
    #[prost(string, required, tag = "1")]
    pub src: String,
    /// Name of the client, which is the holder of the lease.
    #[prost(string, required, tag = "2")]
    pub client_name: String,
    /// Last block, with its length.
    #[prost(message, optional, tag = "3")]
    pub last: Option<ExtendedBlock>,
    /// Inode number; 0 where it is not known.
    #[prost(uint64, optional, tag = "4", default = "0")]
    pub file_id: Option<u64>,
}

/// Answer of `complete`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct CompleteResponse {
    /// Whether it is done.
    #[prost(bool, required, tag = "1")]
    pub result: bool,
}

/// Request of `reportBadBlocks`: blocks found damaged.
#[derive(Clone, PartialEq, Message)]
pub struct ReportBadBlocksRequest {
    /// The blocks.
    #[prost(message, repeated, tag = "1")]
    pub blocks: Vec<LocatedBlock>,
}

/// Request of `truncate`: cut a file.
#[derive(Clone, PartialEq, Message)]
pub struct TruncateRequest {
    /// Absolute path of the file or directory.
    #[prost(string, required, tag = "1")]
    pub src: String,
    /// Length to cut to, in bytes.
    #[prost(uint64, required, tag = "2")]
    pub new_length: u64,
    /// Name of the client, which is the holder of the lease.
    #[prost(string, required, tag = "3")]
    pub client_name: String,
}

/// Answer of `truncate`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct TruncateResponse {
    /// Whether it is done.
    #[prost(bool, required, tag = "1")]
    pub result: bool,
}

/// Request of `renewLease`: the client still lives.
#[derive(Clone, PartialEq, Message)]
pub struct RenewLeaseRequest {
    /// Name of the client, which is the holder of the lease.
    #[prost(string, required, tag = "1")]
    pub client_name: String,
}

/// Request of `recoverLease`: close the file of a dead client; true once it is closed.
#[derive(Clone, PartialEq, Message)]
pub struct RecoverLeaseRequest {
    /// Absolute path of the file or directory.
    #[prost(string, required, tag = "1")]
    pub src: String,
    /// Name of the client, which is the holder of the lease.
    #[prost(string, required, tag = "2")]
    pub client_name: String,
}

/// Answer of `recoverLease`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct RecoverLeaseResponse {
    /// Whether it is done.
    #[prost(bool, required, tag = "1")]
    pub result: bool,
}

/// Request of `getPreferredBlockSize`: bytes of a full block of a file.
#[derive(Clone, PartialEq, Message)]
pub struct GetPreferredBlockSizeRequest {
    /// Absolute path of the file.
    #[prost(string, required, tag = "1")]
    pub filename: String,
}

/// Answer of `getPreferredBlockSize`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct GetPreferredBlockSizeResponse {
    /// Bytes of a full block.
    #[prost(uint64, required, tag = "1")]
    pub bsize: u64,
}

/// Request of `getLocatedFileInfo`: what a path names, with its blocks.
#[derive(Clone, PartialEq, Message)]
pub struct GetLocatedFileInfoRequest {
    /// Absolute path of the file or directory.
    #[prost(string, optional, tag = "1")]
    pub src: Option<String>,
    /// With block tokens.
    #[prost(bool, optional, tag = "2", default = "false")]
    pub need_block_token: Option<bool>,
}

/// Answer of `getLocatedFileInfo`.
#[derive(Clone, PartialEq, Message)]
pub struct GetLocatedFileInfoResponse {
    /// State of the file; absent where there is none.
    #[prost(message, optional, tag = "1")]
    pub fs: Option<HdfsFileStatus>,
}

/// Request of `isFileClosed`: whether nobody writes a file.
#[derive(Clone, PartialEq, Message)]
pub struct IsFileClosedRequest {
    /// Absolute path of the file or directory.
    #[prost(string, required, tag = "1")]
    pub src: String,
}

/// Answer of `isFileClosed`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct IsFileClosedResponse {
    /// Whether it is done.
    #[prost(bool, required, tag = "1")]
    pub result: bool,
}

/// Request of `fsync`: make a block, and perhaps its length, known.
#[derive(Clone, PartialEq, Message)]
pub struct FsyncRequest {
    /// Absolute path of the file or directory.
    #[prost(string, required, tag = "1")]
    pub src: String,
    /// Name of the client that holds the lease.
    #[prost(string, required, tag = "2")]
    pub client: String,
    /// Length of the last block in bytes; -1 leaves it as it is known.
    #[prost(sint64, optional, tag = "3", default = "-1")]
    pub last_block_length: Option<i64>,
    /// Inode number; 0 where it is not known.
    #[prost(uint64, optional, tag = "4", default = "0")]
    pub file_id: Option<u64>,
}

/// Request of `updateBlockForPipeline`: a new generation stamp for a pipeline about to be rebuilt.
#[derive(Clone, PartialEq, Message)]
pub struct UpdateBlockForPipelineRequest {
    /// The block.
    #[prost(message, required, tag = "1")]
    pub block: ExtendedBlock,
    /// Name of the client, which is the holder of the lease.
    #[prost(string, required, tag = "2")]
    pub client_name: String,
}

/// Answer of `updateBlockForPipeline`.
#[derive(Clone, PartialEq, Message)]
pub struct UpdateBlockForPipelineResponse {
    /// The block.
    #[prost(message, required, tag = "1")]
    pub block: LocatedBlock,
}

/// Request of `updatePipeline`: the pipeline has been rebuilt.
#[derive(Clone, PartialEq, Message)]
pub struct UpdatePipelineRequest {
    /// Name of the client, which is the holder of the lease.
    #[prost(string, required, tag = "1")]
    pub client_name: String,
    /// The block as it was.
    #[prost(message, required, tag = "2")]
    pub old_block: ExtendedBlock,
    /// The block as it is now.
    #[prost(message, required, tag = "3")]
    pub new_block: ExtendedBlock,
    /// DataNodes of the pipeline.
    #[prost(message, repeated, tag = "4")]
    pub new_nodes: Vec<DatanodeId>,
    /// Identifiers of the storages, in the order of the DataNodes.
    #[prost(string, repeated, tag = "5")]
    pub storage_ids: Vec<String>,
}

/// Request of `getDataEncryptionKey`: key of encrypted transfers; the answer is empty where they are not encrypted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct GetDataEncryptionKeyRequest {}

/// Request of `getReplicaVisibleLength`, asked of a DataNode: how much of a block that is being
/// written may be read.
#[derive(Clone, PartialEq, Message)]
pub struct GetReplicaVisibleLengthRequest {
    /// The block.
    #[prost(message, required, tag = "1")]
    pub block: ExtendedBlock,
}

/// Answer of `getReplicaVisibleLength`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct GetReplicaVisibleLengthResponse {
    /// Bytes a reader may see.
    #[prost(uint64, required, tag = "1")]
    pub length: u64,
}
