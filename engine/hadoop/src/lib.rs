//! Hadoop's RPC and data transfer messages, and how they lie on the wire.
//!
//! Both ends use this crate: the sink's HDFS client and the embedded NameNode and DataNode. It holds
//! no connection and no state. The messages are written by hand as `prost` structs, so that no
//! protobuf compiler is needed; their field numbers were taken from the descriptors in the jars of
//! Hadoop 3.3.6, and the tests hold them to bytes that Java wrote.
//!
//! | module | what |
//! |---|---|
//! | [`rpc`] | headers around every call |
//! | [`common`] | blocks, DataNodes, file status |
//! | [`client_protocol`] | requests and answers of the NameNode |
//! | [`transfer`] | operations, packets and acknowledgements of DataNodes |
//! | [`frame`] | lengths, preambles, packets: the bytes between the messages |

pub mod client_protocol;
pub mod common;
pub mod frame;
pub mod rpc;
pub mod transfer;
