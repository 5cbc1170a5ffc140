//! What the tests of sources share: a source running into a memory channel, and what comes out.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{BoxError, BoxSource};
use crate::channel::{ArcChannel, memory};
use crate::context::Context;
use crate::processor::ChannelProcessor;
use crate::stop::Stop;

/// Longest wait for anything that has to happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// An event taken from the channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// A memory channel behind a processor.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) channel: ArcChannel,
    pub(crate) out: Arc<ChannelProcessor>,
    pub(crate) stop: Stop,
}

impl Bench {
    /// A roomy channel.
    pub(crate) fn new() -> Self {
        Self::with_capacity(100_000)
    }

    /// A channel for `capacity` events that refuses at once when it is full.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        let settings =
            format!("capacity = {capacity}\ntransactionCapacity = {capacity}\nkeep-alive = 0");
        let channel = (memory::KIND.build)(&Context::from_example("c1", &settings)).unwrap();
        channel.open().unwrap();
        let out = Arc::new(ChannelProcessor::replicating(
            "r1",
            vec![Arc::clone(&channel)],
        ));
        Self {
            channel,
            out,
            stop: Stop::new(),
        }
    }

    /// Opens the source and runs it on a thread of its own.
    pub(crate) fn run(&self, mut source: BoxSource) -> Running {
        source.open().unwrap();
        let address = source.local_address();
        let (out, stop) = (Arc::clone(&self.out), self.stop.clone());
        let thread = std::thread::spawn(move || source.run(&out, &stop));
        Running {
            address,
            stop: self.stop.clone(),
            thread: Some(thread),
        }
    }

    /// Takes exactly `count` events; fails if they do not come.
    pub(crate) fn take(&self, count: usize) -> Vec<Got> {
        let deadline = Instant::now() + DEADLINE;
        let mut got = Vec::new();
        while got.len() < count {
            assert!(
                Instant::now() < deadline,
                "{} of {count} events came",
                got.len()
            );
            let max = (count - got.len()).min(self.channel.transaction_capacity());
            let take = self.channel.take(max, Duration::from_millis(100)).unwrap();
            for event in take.slices().iter().flatten() {
                got.push(Got {
                    headers: event
                        .headers()
                        .map(|(k, v)| (k.to_owned(), v.to_owned()))
                        .collect(),
                    body: event.body().to_vec(),
                });
            }
            take.commit().unwrap();
        }
        got
    }

    /// Asserts that nothing is in the channel.
    pub(crate) fn assert_empty(&self) {
        assert_eq!(self.channel.fill().events, 0, "more events than expected");
    }
}

/// A running source. Dropping it stops the source.
#[derive(Debug)]
pub(crate) struct Running {
    address: Option<SocketAddr>,
    stop: Stop,
    thread: Option<JoinHandle<Result<(), BoxError>>>,
}

impl Running {
    /// Connects to the source.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address.unwrap()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// The port it listens on.
    pub(crate) fn port(&self) -> u16 {
        self.address.unwrap().port()
    }

    /// Waits until the source ends by itself.
    pub(crate) fn join_finished(mut self) {
        let thread = self.thread.take().unwrap();
        wait_for("the source to end", || thread.is_finished());
        thread.join().unwrap().unwrap();
    }

    /// Stops the source; it has to end soon.
    pub(crate) fn stop(mut self) -> Result<(), BoxError> {
        self.stop.set();
        let thread = self.thread.take().unwrap();
        wait_for("the source to stop", || thread.is_finished());
        thread.join().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.set();
    }
}

/// The bodies as text.
pub(crate) fn bodies(got: &[Got]) -> Vec<String> {
    got.iter()
        .map(|event| String::from_utf8_lossy(&event.body).into_owned())
        .collect()
}

/// Waits for a condition.
pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
