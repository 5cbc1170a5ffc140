//! A peer that takes everything and keeps nothing: what a generator can do when nothing holds it up.
//!
//! It listens on a free loopback port, reads each connection to its end and counts the bytes. It
//! never answers, so it suits `netcat` with `ack_every_event = false`. Dropping it ends it.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How much is read at once, in bytes.
const CHUNK: usize = 256 << 10;

/// How long a reader waits before it looks whether it is over.
const SLICE: Duration = Duration::from_millis(50);

/// The peer.
#[derive(Debug)]
pub struct Discard {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    bytes: AtomicU64,
    over: AtomicBool,
}

impl Discard {
    /// Starts to listen.
    ///
    /// # Errors
    /// No port or thread is to be had.
    pub fn start() -> io::Result<Discard> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let mine = shared.clone();
        let thread = thread::Builder::new()
            .name("discard".to_owned())
            .spawn(move || accept(&listener, &mine))?;
        Ok(Discard {
            address,
            shared,
            listener: Some(thread),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many bytes it has read.
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Discard {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        // A connection of our own wakes the thread up that waits for one.
        let woken = TcpStream::connect_timeout(&self.address, Duration::from_secs(1)).is_ok();
        if let Some(listener) = self.listener.take().filter(|_| woken) {
            // Nothing in that thread panics, and nobody would be left to tell.
            let _ = listener.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut readers = Vec::new();
    for stream in listener.incoming() {
        if shared.over.load(Ordering::Relaxed) {
            break;
        }
        let Ok(stream) = stream else {
            continue;
        };
        let mine = shared.clone();
        let reader = thread::Builder::new().name("discard-one".to_owned());
        readers.extend(reader.spawn(move || read(stream, &mine)));
    }
    for reader in readers {
        let _ = reader.join();
    }
}

fn read(mut stream: TcpStream, shared: &Shared) {
    let mut buffer = vec![0; CHUNK];
    if stream.set_read_timeout(Some(SLICE)).is_err() {
        return;
    }
    while !shared.over.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => {
                shared.bytes.fetch_add(count as u64, Ordering::Relaxed);
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock
                        | io::ErrorKind::TimedOut
                        | io::ErrorKind::Interrupted
                ) => {}
            Err(_) => return,
        }
    }
}
