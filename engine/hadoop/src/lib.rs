//! Hadoop's RPC and data transfer messages.
