//! Entry points for fuzzing: one function for each part of the embedded HDFS, which reads what
//! clients, and the other parts, may have made up.
//!
//! Not an interface for anybody else. Each function takes any bytes whatever, and panics if the
//! store does what it must not. An input is a sequence of connections, served one after the other:
//! a byte that says to whom, the length (u16, big-endian; what is missing is not there), the bytes.
//! Beyond "it does not panic", each target holds a property:
//!
//! | target | connections, by the lowest bits of their first byte | property |
//! |---|---|---|
//! | [`datanode`] | 0 data transfer, 1 RPC, 2 HTTP, 3 what the next server it connects to says | no byte is made up; after a restart there is what was there before |
//! | [`namenode`] | 0 RPC, 1 HTTP | answers are well formed; the namespace is sound, and the same after a restart |
//!
//! The functions are called by the fuzz targets in `fuzz/` and, for the recorded corpora and
//! mutations of them, by an ordinary test.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use flume_bench_hadoop::frame::{read_frame, take_delimited};
use flume_bench_hadoop::rpc::RpcResponseHeader;

use crate::http::{self, Reply, Request};

pub use crate::datanode::fuzzing::datanode;
pub use crate::namenode::fuzzing::namenode;

/// A target: bytes in, panic if something is wrong.
pub type Target = fn(&[u8]);

/// All targets, by name.
pub static TARGETS: &[(&str, Target)] = &[("datanode", datanode), ("namenode", namenode)];

/// The connections of an input.
pub(crate) fn connections(mut input: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let [to, high, low, rest @ ..] = input else {
            return None;
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (bytes, behind) = rest.split_at(length.min(rest.len()));
        input = behind;
        Some((*to, bytes))
    })
}

/// A directory that goes away again; in memory where the system has that, so that no disk is waited
/// for.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() {
            memory.to_owned()
        } else {
            std::env::temp_dir()
        };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("flume-bench-fuzz-{}-{number}", std::process::id()));
        // One that was killed, and had the same number, may have left its own.
        let _ = fs::remove_dir_all(&path);
        let made = fs::create_dir(&path);
        assert!(made.is_ok(), "{}: {made:?}", path.display());
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Takes the answers of an RPC server, each of which must be a frame that begins with a header.
pub(crate) struct Frames;

impl Write for Frames {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut rest = bytes;
        let frame = read_frame(&mut rest, usize::MAX).unwrap_or_default();
        let header = take_delimited::<RpcResponseHeader>(&mut frame.as_slice(), "the header");
        assert!(header.is_ok() && rest.is_empty(), "{bytes:02x?}");
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Has an HTTP request answered. Returns the head and the body of the answer, if there is one.
pub(crate) fn ask(
    request: &[u8],
    answer: impl FnOnce(&Request) -> Reply,
) -> Option<(String, Vec<u8>)> {
    let mut out = Vec::new();
    http::converse(request, &mut out, answer).ok()?;
    let end = out.windows(4).position(|four| four == b"\r\n\r\n");
    assert!(end.is_some(), "an answer without an end of its head");
    let body = out.split_off(end? + 4);
    let head = String::from_utf8_lossy(&out).into_owned();
    let fields = || head.trim_end().split("\r\n").skip(1);
    assert!(
        head.starts_with("HTTP/1.1 ") && fields().all(|field| field.contains(": ")),
        "{head}"
    );
    // Each kind of answer has three; one more would have got in with somebody's name.
    assert_eq!(fields().count(), 3, "{head}");
    Some((head, body))
}
