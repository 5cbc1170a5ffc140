//! `flume-bench-planted`: the same program, built with an engine that can have a defect on purpose.
//! A program of its own name, so that it is never taken for the other one.

use std::process::ExitCode;

mod args;
mod commands;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    commands::dispatch(std::env::args_os().collect())
}
