//! Calls about names: listing, renaming, attributes, sums, the state of the cluster.

use prost::{Enumeration, Message};

use crate::common::{
    ContentSummary, DatanodeInfo, DirectoryListing, FsPermission, HdfsFileStatus, QuotaUsage,
};

/// Which DataNodes to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum DatanodeReportType {
    /// All.
    All = 1,
    /// Those that send heartbeats.
    Live = 2,
    /// Those that do not.
    Dead = 3,
    /// Those being emptied.
    Decommissioning = 4,
    /// Those about to pause.
    EnteringMaintenance = 5,
    /// Those that pause.
    InMaintenance = 6,
}

/// What to do about safe mode, in which nothing is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum SafeModeAction {
    /// Leave it.
    SafemodeLeave = 1,
    /// Enter it.
    SafemodeEnter = 2,
    /// Ask.
    SafemodeGet = 3,
    /// Leave it, whatever is lost.
    SafemodeForceExit = 4,
}

/// What a caller wants to do to a path; three bits as in POSIX.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum FsAction {
    /// Nothing.
    None = 0,
    /// Pass through.
    Execute = 1,
    /// Write.
    Write = 2,
    /// Write and pass.
    WriteExecute = 3,
    /// Read.
    Read = 4,
    /// Read and pass.
    ReadExecute = 5,
    /// Read and write.
    ReadWrite = 6,
    /// Everything.
    PermAll = 7,
}

/// Request of `setReplication`: how many copies.
#[derive(Clone, PartialEq, Message)]
pub struct SetReplicationRequest {
    /// Absolute path of the file or directory.
    #[prost(string, required, tag = "1")]
    pub src: String,
    /// Copies of each block.
    #[prost(uint32, required, tag = "2")]
    pub replication: u32,
}

/// Answer of `setReplication`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct SetReplicationResponse {
    /// Whether it is done.
    #[prost(bool, required, tag = "1")]
    pub result: bool,
}

/// Request of `setPermission`: mode bits.
#[derive(Clone, PartialEq, Message)]
pub struct SetPermissionRequest {
    /// Absolute path of the file or directory.
    #[prost(string, required, tag = "1")]
    pub src: String,
    /// Mode bits.
    #[prost(message, required, tag = "2")]
    pub permission: FsPermission,
}

/// Request of `setOwner`: owner and group.
#[derive(Clone, PartialEq, Message)]
pub struct SetOwnerRequest {
    /// Absolute path of the file or directory.
    #[prost(string, required, tag = "1")]
    pub src: String,
    /// New owner.
    #[prost(string, optional, tag = "2")]
    pub username: Option<String>,
    /// New group.
    #[prost(string, optional, tag = "3")]
    pub groupname: Option<String>,
}

/// Request of `concat`: several files become one.
#[derive(Clone, PartialEq, Message)]
pub struct ConcatRequest {
    /// File that receives the others.
    #[prost(string, required, tag = "1")]
    pub trg: String,
    /// Files that are moved into the first.
    #[prost(string, repeated, tag = "2")]
    pub srcs: Vec<String>,
}

/// Request of `rename`: new name; false where it cannot be.
#[derive(Clone, PartialEq, Message)]
pub struct RenameRequest {
    /// Absolute path of the file or directory.
    #[prost(string, required, tag = "1")]
    pub src: String,
    /// New path.
    #[prost(string, required, tag = "2")]
    pub dst: String,
}

/// Answer of `rename`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct RenameResponse {
    /// Whether it is done.
    #[prost(bool, required, tag = "1")]
    pub result: bool,
}

/// Request of `rename2`: new name; an exception where it cannot be.
#[derive(Clone, PartialEq, Message)]
pub struct Rename2Request {
    /// Absolute path of the file or directory.
    #[prost(string, required, tag = "1")]
    pub src: String,
    /// New path.
    #[prost(string, required, tag = "2")]
    pub dst: String,
    /// Replace what is there.
    #[prost(bool, required, tag = "3")]
    pub overwrite_dest: bool,
    /// The rename is a delete into the trash.
    #[prost(bool, optional, tag = "4")]
    pub move_to_trash: Option<bool>,
}

/// Request of `delete`: a path is removed; false where there was none.
#[derive(Clone, PartialEq, Message)]
pub struct DeleteRequest {
    /// Absolute path of the file or directory.
    #[prost(string, required, tag = "1")]
    pub src: String,
    /// With everything below.
    #[prost(bool, required, tag = "2")]
    pub recursive: bool,
}

/// Answer of `delete`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct DeleteResponse {
    /// Whether it is done.
    #[prost(bool, required, tag = "1")]
    pub result: bool,
}

/// Request of `mkdirs`: a directory with its parents.
#[derive(Clone, PartialEq, Message)]
pub struct MkdirsRequest {
    /// Absolute path of the file or directory.
    #[prost(string, required, tag = "1")]
    pub src: String,
    /// Mode bits after the umask.
    #[prost(message, required, tag = "2")]
    pub masked: FsPermission,
    /// Make missing parent directories.
    #[prost(bool, required, tag = "3")]
    pub create_parent: bool,
    /// Mode bits before the umask.
    #[prost(message, optional, tag = "4")]
    pub unmasked: Option<FsPermission>,
}

/// Answer of `mkdirs`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct MkdirsResponse {
    /// Whether it is done.
    #[prost(bool, required, tag = "1")]
    pub result: bool,
}

/// Request of `getListing`: entries of a directory.
#[derive(Clone, PartialEq, Message)]
pub struct GetListingRequest {
    /// Absolute path of the file or directory.
    #[prost(string, required, tag = "1")]
    pub src: String,
    /// Name (not path) after which the listing goes on; empty at first.
    #[prost(bytes = "vec", required, tag = "2")]
    pub start_after: Vec<u8>,
    /// With the blocks of each file.
    #[prost(bool, required, tag = "3")]
    pub need_location: bool,
}

/// Answer of `getListing`.
#[derive(Clone, PartialEq, Message)]
pub struct GetListingResponse {
    /// The entries; absent where the path does not exist.
    #[prost(message, optional, tag = "1")]
    pub dir_list: Option<DirectoryListing>,
}

/// Request of `getFsStats`: sums over the file system.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct GetFsStatusRequest {}

/// Answer of `getFsStats`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct GetFsStatsResponse {
    /// Bytes in all.
    #[prost(uint64, required, tag = "1")]
    pub capacity: u64,
    /// Bytes used.
    #[prost(uint64, required, tag = "2")]
    pub used: u64,
    /// Bytes left, or entries left where a listing goes on.
    #[prost(uint64, required, tag = "3")]
    pub remaining: u64,
    /// Blocks with too few copies.
    #[prost(uint64, required, tag = "4")]
    pub under_replicated: u64,
    /// Blocks of which each copy is damaged.
    #[prost(uint64, required, tag = "5")]
    pub corrupt_blocks: u64,
    /// Blocks without a copy.
    #[prost(uint64, required, tag = "6")]
    pub missing_blocks: u64,
    /// Blocks without a copy, of files with one copy.
    #[prost(uint64, optional, tag = "7")]
    pub missing_repl_one_blocks: Option<u64>,
    /// Blocks newer than the NameNode knows.
    #[prost(uint64, optional, tag = "8")]
    pub blocks_in_future: Option<u64>,
    /// Blocks about to be deleted.
    #[prost(uint64, optional, tag = "9")]
    pub pending_deletion_blocks: Option<u64>,
}

/// Request of `getDatanodeReport`: the DataNodes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct GetDatanodeReportRequest {
    /// Which kind.
    #[prost(enumeration = "DatanodeReportType", required, tag = "1")]
    pub r#type: i32,
}

/// Answer of `getDatanodeReport`.
#[derive(Clone, PartialEq, Message)]
pub struct GetDatanodeReportResponse {
    /// The DataNodes.
    #[prost(message, repeated, tag = "1")]
    pub di: Vec<DatanodeInfo>,
}

/// Request of `setSafeMode`: enter, leave or ask for safe mode.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct SetSafeModeRequest {
    /// What to do.
    #[prost(enumeration = "SafeModeAction", required, tag = "1")]
    pub action: i32,
    /// Refuse unless the NameNode is the active one.
    #[prost(bool, optional, tag = "2", default = "false")]
    pub checked: Option<bool>,
}

/// Answer of `setSafeMode`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct SetSafeModeResponse {
    /// Whether it is done.
    #[prost(bool, required, tag = "1")]
    pub result: bool,
}

/// Request of `getFileInfo`: what a path names.
#[derive(Clone, PartialEq, Message)]
pub struct GetFileInfoRequest {
    /// Absolute path of the file or directory.
    #[prost(string, required, tag = "1")]
    pub src: String,
}

/// Answer of `getFileInfo`.
#[derive(Clone, PartialEq, Message)]
pub struct GetFileInfoResponse {
    /// State of the file; absent where there is none.
    #[prost(message, optional, tag = "1")]
    pub fs: Option<HdfsFileStatus>,
}

/// Request of `getFileLinkInfo`: what a path names, links not followed.
#[derive(Clone, PartialEq, Message)]
pub struct GetFileLinkInfoRequest {
    /// Absolute path of the file or directory.
    #[prost(string, required, tag = "1")]
    pub src: String,
}

/// Answer of `getFileLinkInfo`.
#[derive(Clone, PartialEq, Message)]
pub struct GetFileLinkInfoResponse {
    /// State of the file; absent where there is none.
    #[prost(message, optional, tag = "1")]
    pub fs: Option<HdfsFileStatus>,
}

/// Request of `getContentSummary`: sums over a tree.
#[derive(Clone, PartialEq, Message)]
pub struct GetContentSummaryRequest {
    /// Absolute path.
    #[prost(string, required, tag = "1")]
    pub path: String,
}

/// Answer of `getContentSummary`.
#[derive(Clone, PartialEq, Message)]
pub struct GetContentSummaryResponse {
    /// The sums.
    #[prost(message, required, tag = "1")]
    pub summary: ContentSummary,
}

/// Request of `getQuotaUsage`: use of the quotas of a directory.
#[derive(Clone, PartialEq, Message)]
pub struct GetQuotaUsageRequest {
    /// Absolute path.
    #[prost(string, required, tag = "1")]
    pub path: String,
}

/// Answer of `getQuotaUsage`.
#[derive(Clone, PartialEq, Message)]
pub struct GetQuotaUsageResponse {
    /// The use.
    #[prost(message, required, tag = "1")]
    pub usage: QuotaUsage,
}

/// Request of `setTimes`: times of a path.
#[derive(Clone, PartialEq, Message)]
pub struct SetTimesRequest {
    /// Absolute path of the file or directory.
    #[prost(string, required, tag = "1")]
    pub src: String,
    /// Time of modification, ms since the epoch.
    #[prost(uint64, required, tag = "2")]
    pub mtime: u64,
    /// Time of access, ms since the epoch.
    #[prost(uint64, required, tag = "3")]
    pub atime: u64,
}

/// Request of `getLinkTarget`: where a link leads.
#[derive(Clone, PartialEq, Message)]
pub struct GetLinkTargetRequest {
    /// Absolute path.
    #[prost(string, required, tag = "1")]
    pub path: String,
}

/// Answer of `getLinkTarget`.
#[derive(Clone, PartialEq, Message)]
pub struct GetLinkTargetResponse {
    /// Where the link leads.
    #[prost(string, optional, tag = "1")]
    pub target_path: Option<String>,
}

/// Request of `checkAccess`: whether the caller may.
#[derive(Clone, PartialEq, Message)]
pub struct CheckAccessRequest {
    /// Absolute path.
    #[prost(string, required, tag = "1")]
    pub path: String,
    /// What the caller wants to do.
    #[prost(enumeration = "FsAction", required, tag = "2")]
    pub mode: i32,
}

/// Request of `msync`: how far the NameNode is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct MsyncRequest {}
