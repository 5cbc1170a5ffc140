//! Real Java programs for tests: where their jars are, how a small JVM is started.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The directory of jars that `ci/setup` made, if `jar` is in it.
pub(crate) fn jars(directory: &str, jar: &str) -> Option<PathBuf> {
    let libs = match std::env::var_os("FLUME_BENCH_LIBS") {
        Some(libs) => PathBuf::from(libs),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".cache/flume-bench"),
    };
    let jars = libs.join(directory);
    jars.join(jar).exists().then_some(jars)
}

/// A JVM that starts fast and stays small; class path and class are the caller's.
pub(crate) fn java() -> Command {
    let mut command = Command::new("java");
    command
        .args([
            "--add-opens=java.base/java.lang=ALL-UNNAMED",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-Xmx256m",
            "-Djava.net.preferIPv4Stack=true",
            // Whatever the locale of the machine.
            "-Dfile.encoding=UTF-8",
        ])
        .stdin(Stdio::null());
    command
}

/// Waits until `condition` holds; panics with `what` after `limit`.
pub(crate) fn wait_for(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < limit, "waited {limit:?} for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
