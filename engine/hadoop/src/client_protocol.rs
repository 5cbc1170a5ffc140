//! Requests and answers of the NameNode's `ClientProtocol`, and the one call of
//! `ClientDatanodeProtocol` that readers of open files make.
//!
//! Source: `ClientNamenodeProtocol.proto` and `ClientDatanodeProtocol.proto` of Hadoop 3.3.6; the
//! field numbers were taken from the descriptors in its jars. The methods are those that the Java
//! shell, Flume's sink and this workspace use. An answer without fields is [`Empty`].

use prost::Message;

mod files;
mod names;

pub use files::*;
pub use names::*;

/// Name of the NameNode's interface in [`RequestHeader`](crate::rpc::RequestHeader).
pub const CLIENT_PROTOCOL: &str = "org.apache.hadoop.hdfs.protocol.ClientProtocol";

/// Name of the DataNode's interface in [`RequestHeader`](crate::rpc::RequestHeader).
pub const CLIENT_DATANODE_PROTOCOL: &str = "org.apache.hadoop.hdfs.protocol.ClientDatanodeProtocol";

/// The answer of every method that has no result.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct Empty {}
