//! What our DataNodes and our NameNode say to each other: one method, `beat`, called every half second
//! and whenever there is something to tell.
//!
//! Only our own DataNodes join, so this need not be Hadoop's `DatanodeProtocol`; it goes over the same
//! RPC. The NameNode never calls: what it wants done is in the answer. What a DataNode tells is told again
//! until an answer came, and telling it twice does no harm.
//!
//! A lease recovery takes two rounds. First the DataNodes are told to *freeze* the block: the writer, if
//! there still is one, is cut off, and the length on disk is told. Then they are told to *seal* it: cut to
//! the length that all have, under the new generation stamp.

use flume_bench_hadoop::common::DatanodeId;
use prost::{Enumeration, Message};

/// Name of the protocol.
pub(crate) const PROTOCOL: &str = "flume-bench.DataNode";

/// Its method.
pub(crate) const BEAT: &str = "beat";

/// State of a replica, as Hadoop has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub(crate) enum ReplicaState {
    /// Not there.
    Absent = 0,
    /// Ended.
    Finalized = 1,
    /// Being written.
    Rbw = 2,
    /// Was being written when the DataNode died: waits for its recovery, and cannot be read.
    Rwr = 3,
}

/// A replica.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub(crate) struct Replica {
    #[prost(uint64, tag = "1")]
    pub(crate) block: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) stamp: u64,
    /// Bytes on disk.
    #[prost(uint64, tag = "3")]
    pub(crate) length: u64,
    #[prost(enumeration = "ReplicaState", tag = "4")]
    pub(crate) state: i32,
}

/// An order to freeze a block, or to seal it; or the answer to the first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub(crate) struct Recovery {
    #[prost(uint64, tag = "1")]
    pub(crate) block: u64,
    /// The new generation stamp.
    #[prost(uint64, tag = "2")]
    pub(crate) stamp: u64,
    /// To seal: the length it is cut to, bytes. Answer: the length that was found.
    #[prost(uint64, tag = "3")]
    pub(crate) length: u64,
    /// Answer: the state that was found.
    #[prost(enumeration = "ReplicaState", tag = "4")]
    pub(crate) state: i32,
}

/// What a DataNode tells.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Beat {
    #[prost(message, required, tag = "1")]
    pub(crate) node: DatanodeId,
    /// Whether `replicas` are all it has; otherwise they are the news.
    #[prost(bool, tag = "2")]
    pub(crate) full: bool,
    #[prost(message, repeated, tag = "3")]
    pub(crate) replicas: Vec<Replica>,
    /// What was found when blocks were frozen.
    #[prost(message, repeated, tag = "4")]
    pub(crate) frozen: Vec<Recovery>,
    /// The block pool it has blocks of; empty if it has none yet.
    #[prost(string, tag = "5")]
    pub(crate) pool: String,
    /// Bytes that its blocks take.
    #[prost(uint64, tag = "6")]
    pub(crate) used: u64,
}

/// What the NameNode wants done.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Orders {
    #[prost(string, tag = "1")]
    pub(crate) pool: String,
    /// It does not know this DataNode, and wants a full report.
    #[prost(bool, tag = "2")]
    pub(crate) tell_all: bool,
    /// Blocks to delete, up to this generation stamp.
    #[prost(message, repeated, tag = "3")]
    pub(crate) delete: Vec<Recovery>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) freeze: Vec<Recovery>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) seal: Vec<Recovery>,
}
