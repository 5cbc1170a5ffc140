//! The work that several rows share: events of 512 bytes with two headers, transactions of 100.
//!
//! | module | what it holds |
//! |---|---|
//! | [`binary`] | the program `flume-bench`, and children in general |
//! | [`channel`] | events put into and taken out of a channel of the engine |
//! | [`disk`] | what the disk is worth, and the bare loop of writes and syncs |
//! | [`java`] | Apache Flume's channels in a JVM |
//! | [`load`] | the generator alone, watched |
//! | [`naive`] | the arm that `mem-100` is compared with: a map and a vector for each event |
//! | [`runs`] | whole runs of scenarios, and their records |

pub mod binary;
pub mod channel;
pub mod disk;
pub mod java;
pub mod load;
pub mod naive;
pub mod runs;

/// Bytes of a body.
pub const BODY: usize = 512;
/// Events of a transaction.
pub const TRANSACTION: usize = 100;
/// The headers of every event, as the interceptors `host` and `timestamp` would set them.
pub const HEADERS: [(&str, &str); 2] = [("host", "10.20.30.40"), ("timestamp", "1767225600000")];
/// Events that a memory channel holds, and the naive queue too.
pub const CAPACITY: usize = 10_000;
/// What a sink waits for events before it looks whether it is over.
pub const WAIT: std::time::Duration = std::time::Duration::from_millis(100);

/// A body with something in it.
#[must_use]
pub fn body() -> [u8; BODY] {
    let mut body = [0; BODY];
    for (position, byte) in body.iter_mut().enumerate() {
        *byte = b'a' + (position % 26) as u8;
    }
    body
}
