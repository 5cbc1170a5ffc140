//! Tells the program which commit it was built from, where that can be known.

use std::process::Command;

fn main() {
    let output = Command::new("git").args(["rev-parse", "HEAD"]).output();
    if let Ok(output) = output
        && output.status.success()
    {
        println!(
            "cargo::rustc-env=FLUME_BENCH_COMMIT={}",
            String::from_utf8_lossy(&output.stdout).trim()
        );
    }
    println!("cargo::rerun-if-changed=../.git/logs/HEAD");
}
