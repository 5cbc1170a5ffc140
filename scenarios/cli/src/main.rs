//! `flume-bench`: parses, calls, exits.

fn main() {}
