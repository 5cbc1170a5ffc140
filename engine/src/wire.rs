//! The bytes that sources and sinks exchange with other programs, apart from any socket.
//!
//! Every decoder in here works on a stranger's bytes. It therefore takes bounded memory, answers
//! malformed input with an error and never panics, whatever arrives.

pub mod avro_rpc;
pub mod tcp;
