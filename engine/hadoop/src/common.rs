//! What is spoken of on both wires: blocks, DataNodes, files.
//!
//! Source: `hdfs.proto` of Hadoop 3.3.6; the field numbers were taken from the descriptors in its
//! jars. Encryption and erasure coding are left out; a decoder skips them.

use prost::{Enumeration, Message};

use crate::rpc::Token;

/// A block, its version and its length.
#[derive(Clone, PartialEq, Message)]
pub struct ExtendedBlock {
    /// Identifier of the block pool, one for each file system.
    #[prost(string, required, tag = "1")]
    pub pool_id: String,
    /// Number of the block within its pool.
    #[prost(uint64, required, tag = "2")]
    pub block_id: u64,
    /// Version of the block; each recovery raises it.
    #[prost(uint64, required, tag = "3")]
    pub generation_stamp: u64,
    /// Length in bytes as far as the sender knows.
    #[prost(uint64, optional, tag = "4", default = "0")]
    pub num_bytes: Option<u64>,
}

/// How a DataNode is reached.
#[derive(Clone, PartialEq, Message)]
pub struct DatanodeId {
    /// Address in text.
    #[prost(string, required, tag = "1")]
    pub ip_addr: String,
    /// Announced name.
    #[prost(string, required, tag = "2")]
    pub host_name: String,
    /// Identifier that survives restarts.
    #[prost(string, required, tag = "3")]
    pub datanode_uuid: String,
    /// Port of the data transfer.
    #[prost(uint32, required, tag = "4")]
    pub xfer_port: u32,
    /// Port of HTTP.
    #[prost(uint32, required, tag = "5")]
    pub info_port: u32,
    /// Port of RPC.
    #[prost(uint32, required, tag = "6")]
    pub ipc_port: u32,
    /// Port of HTTPS; 0 for none.
    #[prost(uint32, optional, tag = "7", default = "0")]
    pub info_secure_port: Option<u32>,
}

/// Whether a DataNode is to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum AdminState {
    /// It is.
    Normal = 0,
    /// It is being emptied.
    DecommissionInprogress = 1,
    /// It is not.
    Decommissioned = 2,
    /// It soon is not, for a while.
    EnteringMaintenance = 3,
    /// It is not, for a while.
    InMaintenance = 4,
}

/// A DataNode and how it is.
#[derive(Clone, PartialEq, Message)]
pub struct DatanodeInfo {
    /// Who it is.
    #[prost(message, required, tag = "1")]
    pub id: DatanodeId,
    /// Bytes in all.
    #[prost(uint64, optional, tag = "2", default = "0")]
    pub capacity: Option<u64>,
    /// Bytes used by HDFS.
    #[prost(uint64, optional, tag = "3", default = "0")]
    pub dfs_used: Option<u64>,
    /// Bytes left.
    #[prost(uint64, optional, tag = "4", default = "0")]
    pub remaining: Option<u64>,
    /// Bytes used by this pool.
    #[prost(uint64, optional, tag = "5", default = "0")]
    pub block_pool_used: Option<u64>,
    /// Last heartbeat, ms since the epoch.
    #[prost(uint64, optional, tag = "6", default = "0")]
    pub last_update: Option<u64>,
    /// Transfers under way.
    #[prost(uint32, optional, tag = "7", default = "0")]
    pub xceiver_count: Option<u32>,
    /// Place in the topology, such as `/default-rack`.
    #[prost(string, optional, tag = "8")]
    pub location: Option<String>,
    /// Bytes used by others.
    #[prost(uint64, optional, tag = "9")]
    pub non_dfs_used: Option<u64>,
    /// Whether it serves.
    #[prost(enumeration = "AdminState", optional, tag = "10", default = "Normal")]
    pub admin_state: Option<i32>,
    /// Bytes of cache.
    #[prost(uint64, optional, tag = "11", default = "0")]
    pub cache_capacity: Option<u64>,
    /// Bytes of cache in use.
    #[prost(uint64, optional, tag = "12", default = "0")]
    pub cache_used: Option<u64>,
    /// Last heartbeat by a clock that never steps, ms.
    #[prost(uint64, optional, tag = "13", default = "0")]
    pub last_update_monotonic: Option<u64>,
    /// Group that is upgraded together.
    #[prost(string, optional, tag = "14")]
    pub upgrade_domain: Option<String>,
    /// Blocks it holds.
    #[prost(uint32, optional, tag = "17", default = "0")]
    pub num_blocks: Option<u32>,
}

/// Several DataNodes.
#[derive(Clone, PartialEq, Message)]
pub struct DatanodeInfos {
    /// The DataNodes.
    #[prost(message, repeated, tag = "1")]
    pub datanodes: Vec<DatanodeInfo>,
}

/// Mode bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct FsPermission {
    /// Nine mode bits and the sticky bit, as in POSIX.
    #[prost(uint32, required, tag = "1")]
    pub perm: u32,
}

/// Kind of a storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum StorageType {
    /// Disk.
    Disk = 1,
    /// Flash.
    Ssd = 2,
    /// Slow and large.
    Archive = 3,
    /// Memory.
    RamDisk = 4,
    /// Outside of the cluster.
    Provided = 5,
}

/// A block and where it is.
#[derive(Clone, PartialEq, Message)]
pub struct LocatedBlock {
    /// The block.
    #[prost(message, required, tag = "1")]
    pub b: ExtendedBlock,
    /// Position of its first byte in the file.
    #[prost(uint64, required, tag = "2")]
    pub offset: u64,
    /// DataNodes, the nearest first.
    #[prost(message, repeated, tag = "3")]
    pub locs: Vec<DatanodeInfo>,
    /// Whether each copy is damaged.
    #[prost(bool, required, tag = "4")]
    pub corrupt: bool,
    /// Token that opens the block; empty without security.
    #[prost(message, required, tag = "5")]
    pub block_token: Token,
    /// Whether each copy is cached.
    #[prost(bool, repeated, tag = "6", packed = "true")]
    pub is_cached: Vec<bool>,
    /// Kind of each storage.
    #[prost(enumeration = "StorageType", repeated, tag = "7", packed = "false")]
    pub storage_types: Vec<i32>,
    /// Identifiers of the storages, in the order of the DataNodes.
    #[prost(string, repeated, tag = "8")]
    pub storage_ids: Vec<String>,
}

/// The blocks of a file.
#[derive(Clone, PartialEq, Message)]
pub struct LocatedBlocks {
    /// Length in bytes, without a block under construction.
    #[prost(uint64, required, tag = "1")]
    pub file_length: u64,
    /// Blocks in the order of the file.
    #[prost(message, repeated, tag = "2")]
    pub blocks: Vec<LocatedBlock>,
    /// Whether the file is still being written.
    #[prost(bool, required, tag = "3")]
    pub under_construction: bool,
    /// The last block, where it is under construction.
    #[prost(message, optional, tag = "4")]
    pub last_block: Option<LocatedBlock>,
    /// Whether the last block is finished.
    #[prost(bool, required, tag = "5")]
    pub is_last_block_complete: bool,
}

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum FileType {
    /// A directory.
    IsDir = 1,
    /// A file.
    IsFile = 2,
    /// A symbolic link.
    IsSymlink = 3,
}

/// What the NameNode knows of a path.
#[derive(Clone, PartialEq, Message)]
pub struct HdfsFileStatus {
    /// Directory, file or link.
    #[prost(enumeration = "FileType", required, tag = "1")]
    pub file_type: i32,
    /// Name within its directory, UTF-8; empty where the status itself was asked for.
    #[prost(bytes = "vec", required, tag = "2")]
    pub path: Vec<u8>,
    /// Length in bytes.
    #[prost(uint64, required, tag = "3")]
    pub length: u64,
    /// Mode bits.
    #[prost(message, required, tag = "4")]
    pub permission: FsPermission,
    /// Owner.
    #[prost(string, required, tag = "5")]
    pub owner: String,
    /// Group.
    #[prost(string, required, tag = "6")]
    pub group: String,
    /// Time of modification, ms since the epoch.
    #[prost(uint64, required, tag = "7")]
    pub modification_time: u64,
    /// Time of access, ms since the epoch.
    #[prost(uint64, required, tag = "8")]
    pub access_time: u64,
    /// Where a link leads, UTF-8.
    #[prost(bytes = "vec", optional, tag = "9")]
    pub symlink: Option<Vec<u8>>,
    /// Copies of each block.
    #[prost(uint32, optional, tag = "10", default = "0")]
    pub block_replication: Option<u32>,
    /// Bytes of a full block.
    #[prost(uint64, optional, tag = "11", default = "0")]
    pub blocksize: Option<u64>,
    /// Where the blocks are.
    #[prost(message, optional, tag = "12")]
    pub locations: Option<LocatedBlocks>,
    /// Inode number; 0 where it is not known.
    #[prost(uint64, optional, tag = "13", default = "0")]
    pub file_id: Option<u64>,
    /// Entries of a directory; -1 where it is not known.
    #[prost(int32, optional, tag = "14", default = "-1")]
    pub children_num: Option<i32>,
    /// Storage policy; 0 for the default.
    #[prost(uint32, optional, tag = "16", default = "0")]
    pub storage_policy: Option<u32>,
    /// Bits: 1 has an ACL, 2 encrypted, 4 erasure coded, 8 snapshots.
    #[prost(uint32, optional, tag = "18", default = "0")]
    pub flags: Option<u32>,
}

/// Kind of a checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum ChecksumType {
    /// None.
    ChecksumNull = 0,
    /// CRC of zlib.
    ChecksumCrc32 = 1,
    /// CRC of Castagnoli: the default.
    ChecksumCrc32c = 2,
}

/// What a writer uses unless it says otherwise.
#[derive(Clone, PartialEq, Message)]
pub struct FsServerDefaults {
    /// Bytes of a full block.
    #[prost(uint64, required, tag = "1")]
    pub block_size: u64,
    /// Bytes covered by one checksum.
    #[prost(uint32, required, tag = "2")]
    pub bytes_per_checksum: u32,
    /// Bytes of a packet, header included.
    #[prost(uint32, required, tag = "3")]
    pub write_packet_size: u32,
    /// Copies of each block.
    #[prost(uint32, required, tag = "4")]
    pub replication: u32,
    /// Bytes of a stream buffer.
    #[prost(uint32, required, tag = "5")]
    pub file_buffer_size: u32,
    /// Whether transfers are encrypted.
    #[prost(bool, optional, tag = "6", default = "false")]
    pub encrypt_data_transfer: Option<bool>,
    /// Minutes after which trash is emptied; 0 for no trash.
    #[prost(uint64, optional, tag = "7", default = "0")]
    pub trash_interval: Option<u64>,
    /// Kind of checksum.
    #[prost(
        enumeration = "ChecksumType",
        optional,
        tag = "8",
        default = "ChecksumCrc32"
    )]
    pub checksum_type: Option<i32>,
    /// Where encryption keys are; empty for nowhere.
    #[prost(string, optional, tag = "9")]
    pub key_provider_uri: Option<String>,
    /// Default storage policy.
    #[prost(uint32, optional, tag = "10", default = "0")]
    pub policy_id: Option<u32>,
}

/// A part of a directory.
#[derive(Clone, PartialEq, Message)]
pub struct DirectoryListing {
    /// Entries, in the order of their names.
    #[prost(message, repeated, tag = "1")]
    pub partial_listing: Vec<HdfsFileStatus>,
    /// How many follow after these.
    #[prost(uint32, required, tag = "2")]
    pub remaining_entries: u32,
}

/// Sums over a tree.
#[derive(Clone, PartialEq, Message)]
pub struct ContentSummary {
    /// Length in bytes.
    #[prost(uint64, required, tag = "1")]
    pub length: u64,
    /// Files.
    #[prost(uint64, required, tag = "2")]
    pub file_count: u64,
    /// Directories.
    #[prost(uint64, required, tag = "3")]
    pub directory_count: u64,
    /// Limit of names; all ones for none.
    #[prost(uint64, required, tag = "4")]
    pub quota: u64,
    /// Bytes with all copies.
    #[prost(uint64, required, tag = "5")]
    pub space_consumed: u64,
    /// Limit of bytes; all ones for none.
    #[prost(uint64, required, tag = "6")]
    pub space_quota: u64,
    /// Bytes in snapshots only.
    #[prost(uint64, optional, tag = "8")]
    pub snapshot_length: Option<u64>,
    /// Files in snapshots only.
    #[prost(uint64, optional, tag = "9")]
    pub snapshot_file_count: Option<u64>,
    /// Directories in snapshots only.
    #[prost(uint64, optional, tag = "10")]
    pub snapshot_directory_count: Option<u64>,
    /// Bytes with all copies in snapshots only.
    #[prost(uint64, optional, tag = "11")]
    pub snapshot_space_consumed: Option<u64>,
    /// Erasure coding policy.
    #[prost(string, optional, tag = "12")]
    pub erasure_coding_policy: Option<String>,
}

/// Use of the quotas of a directory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct QuotaUsage {
    /// Files and directories.
    #[prost(uint64, required, tag = "1")]
    pub file_and_directory_count: u64,
    /// Limit of names; all ones for none.
    #[prost(uint64, required, tag = "2")]
    pub quota: u64,
    /// Bytes with all copies.
    #[prost(uint64, required, tag = "3")]
    pub space_consumed: u64,
    /// Limit of bytes; all ones for none.
    #[prost(uint64, required, tag = "4")]
    pub space_quota: u64,
}
