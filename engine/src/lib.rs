//! An agent compatible with Apache Flume: sources, channels, sinks.
