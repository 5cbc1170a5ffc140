//! `flume-bench`: parses, calls, exits.

use std::process::ExitCode;

mod args;
mod commands;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    commands::dispatch(std::env::args_os().collect())
}
