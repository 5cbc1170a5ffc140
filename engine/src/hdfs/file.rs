//! A file that is written: blocks of packets of chunks.
//!
//! Bytes gather in `tail` until they fill a packet (126 chunks, as Java packs them) or a flush wants
//! them gone. A flush may end in the middle of a chunk; its bytes then stay in `tail` and are sent
//! once more with what follows, so that every packet starts at a chunk boundary and the DataNode
//! never has to compute a checksum over a part it no longer has in memory.
//!
//! The first flush of each block tells the NameNode the block's length. Without that a NameNode which
//! restarts takes the block for one that was never written, and a lease recovery that comes before
//! the DataNodes have reported would drop it with everything in it. Later flushes call nobody, so
//! commits go on while the NameNode is away.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flume_bench_hadoop::client_protocol::{
    AbandonBlockRequest, AddBlockRequest, AddBlockResponse, CompleteRequest, CompleteResponse,
    Empty, FsyncRequest,
};
use flume_bench_hadoop::common::{ExtendedBlock, LocatedBlock};

use super::native::Shared;
use super::pipeline::{CHUNK, Pipeline, PipelineError};
use super::{Deadline, HdfsError, HdfsFile};

/// Most bytes of data in a packet: what fits into 64 KiB with checksums and the longest header.
const PACKET: usize = (64 * 1024 - 33) / (CHUNK + 4) * CHUNK;

/// How long one DataNode may take to set up a pipeline before another one is asked for.
const SET_UP_LIMIT: Duration = Duration::from_secs(4);

/// How long a DataNode may take that follows one which was down, and how often it may run into that.
/// A DataNode that has just come back accepts a set-up, holds it until it has registered with the
/// NameNode, and looks whether it has once a second only: asking anew is sooner.
const SET_UP_AGAIN: (Duration, u32) = (Duration::from_millis(300), 6);

/// Waits between attempts to get a block, and to end a file; the last one repeats.
const BLOCK_PAUSES: [u64; 5] = [0, 20, 50, 100, 150];
const COMPLETE_PAUSES: [u64; 9] = [1, 1, 2, 3, 5, 10, 20, 50, 100];

fn pause(pauses: &[u64], attempt: usize) -> Duration {
    Duration::from_millis(pauses[attempt.min(pauses.len() - 1)])
}

/// The attempts to set up a pipeline for one block.
#[derive(Debug, Default)]
struct SetUps {
    /// One ended before its limit: its DataNode was down.
    refused: bool,
    /// How many of those after it ran into theirs.
    slow: u32,
}

impl SetUps {
    /// What the next one may take: short for a while after a DataNode was down, then longer and longer,
    /// because the way there may be slow as well.
    fn limit(&self) -> Duration {
        let (soon, times) = SET_UP_AGAIN;
        if self.refused {
            let doublings = self.slow.saturating_sub(times).min(8);
            (soon * (1 << doublings)).min(SET_UP_LIMIT)
        } else {
            SET_UP_LIMIT
        }
    }

    /// Notes that one has failed, and whether it had run into its limit.
    fn failed(&mut self, was_slow: bool) {
        if !was_slow {
            self.refused = true;
        } else if self.refused {
            self.slow += 1;
        }
    }
}

/// A file, and the lease on it.
#[derive(Debug)]
pub(super) struct NativeFile {
    shared: Arc<Shared>,
    path: String,
    file_id: u64,
    block_size: u64,
    /// The block before the present one, with its length.
    previous: Option<ExtendedBlock>,
    pipeline: Option<Arc<Mutex<Pipeline>>>,
    /// Bytes from `tail_start`, a multiple of a chunk, that are not all sent.
    tail: Vec<u8>,
    tail_start: u64,
    /// How many bytes of `tail` have been sent.
    sent: usize,
    /// Whether the NameNode knows the length of the present block.
    persisted: bool,
    broken: bool,
}

impl NativeFile {
    pub(super) fn new(shared: Arc<Shared>, path: String, file_id: u64, block_size: u64) -> Self {
        shared.file_opened();
        Self {
            shared,
            path,
            file_id,
            block_size,
            previous: None,
            pipeline: None,
            tail: Vec::new(),
            tail_start: 0,
            sent: 0,
            persisted: false,
            broken: false,
        }
    }

    /// Runs a step unless an earlier one has failed, and remembers if this one does.
    fn guard<T>(
        &mut self,
        step: impl FnOnce(&mut Self) -> Result<T, HdfsError>,
    ) -> Result<T, HdfsError> {
        if self.broken {
            return Err(HdfsError::Broken {
                path: self.path.clone(),
            });
        }
        let done = step(self);
        self.broken = done.is_err();
        done
    }

    fn pipeline_error(&self, error: PipelineError) -> HdfsError {
        HdfsError::Pipeline {
            path: self.path.clone(),
            datanode: error.datanode,
            reason: error.reason,
        }
    }

    /// Runs a step on the pipeline of the present block, opening one if there is none.
    fn on_pipeline(
        &mut self,
        deadline: Deadline,
        step: impl FnOnce(&mut Pipeline, u64, &[u8]) -> Result<(), PipelineError>,
    ) -> Result<(), HdfsError> {
        let pipeline = match &self.pipeline {
            Some(pipeline) => Arc::clone(pipeline),
            None => {
                let opened = Arc::new(Mutex::new(self.next_block(deadline)?));
                self.shared.watch(&opened);
                self.persisted = false;
                Arc::clone(self.pipeline.insert(opened))
            }
        };
        let mut locked = pipeline.lock().unwrap_or_else(PoisonError::into_inner);
        step(&mut locked, self.tail_start, &self.tail).map_err(|error| self.pipeline_error(error))
    }

    /// Asks the NameNode for a block and sets up its pipeline. DataNodes that do not answer are left
    /// out of the next request; when that leaves none, all are tried again until the deadline.
    fn next_block(&self, deadline: Deadline) -> Result<Pipeline, HdfsError> {
        let mut attempt = 0;
        let mut set_ups = SetUps::default();
        loop {
            let error = match self.add_block(deadline) {
                Ok(located) => match self.open_pipeline(&located, deadline, &mut set_ups) {
                    Ok(pipeline) => return Ok(pipeline),
                    Err(error) => {
                        if let Some(node) = located.locs.get(error.index) {
                            self.shared.exclude(node);
                        }
                        self.abandon(&located, deadline)?;
                        self.pipeline_error(error)
                    }
                },
                // No DataNode is left, or the last block is not reported yet: both pass.
                Err(error)
                    if is_placement(&error) || error.is_class("NotReplicatedYetException") =>
                {
                    // The way to a node that was left out may be open again: that is seen at once,
                    // for the pause was made when it was left out.
                    if is_placement(&error) && self.shared.forget_excluded() {
                        continue;
                    }
                    error
                }
                Err(error) => return Err(error),
            };
            attempt += 1;
            let wait = pause(&BLOCK_PAUSES, attempt - 1);
            if deadline.left() <= wait {
                return Err(error);
            }
            deadline.sleep(wait);
        }
    }

    fn add_block(&self, deadline: Deadline) -> Result<LocatedBlock, HdfsError> {
        let request = AddBlockRequest {
            src: self.path.clone(),
            client_name: self.shared.client_name.clone(),
            previous: self.previous.clone(),
            exclude_nodes: self.shared.excluded(),
            file_id: Some(self.file_id),
            favored_nodes: Vec::new(),
            flags: Vec::new(),
        };
        let answer: AddBlockResponse = self
            .shared
            .rpc
            .call("addBlock", &self.path, &request, deadline)?;
        Ok(answer.block)
    }

    fn open_pipeline(
        &self,
        located: &LocatedBlock,
        deadline: Deadline,
        set_ups: &mut SetUps,
    ) -> Result<Pipeline, PipelineError> {
        let limit = deadline.at_most(set_ups.limit());
        Pipeline::open(
            located,
            &self.shared.client_name,
            self.block_size,
            self.shared.conf.use_hostname,
            limit,
        )
        .inspect_err(|_| set_ups.failed(limit.passed()))
    }

    fn abandon(&self, located: &LocatedBlock, deadline: Deadline) -> Result<(), HdfsError> {
        let request = AbandonBlockRequest {
            b: located.b.clone(),
            src: self.path.clone(),
            holder: self.shared.client_name.clone(),
            file_id: Some(self.file_id),
        };
        self.shared
            .rpc
            .call::<Empty>("abandonBlock", &self.path, &request, deadline)
            .map(drop)
    }

    /// Sends `tail`, and forgets the whole chunks of it.
    fn send_tail(&mut self, deadline: Deadline) -> Result<(), HdfsError> {
        if self.tail.len() > self.sent {
            self.on_pipeline(deadline, |pipe, start, tail| {
                pipe.send(start, tail, deadline)
            })?;
        }
        let whole = self.tail.len() / CHUNK * CHUNK;
        self.tail.drain(..whole);
        self.tail_start += whole as u64;
        self.sent = self.tail.len();
        Ok(())
    }

    /// Ends the present block, if there is one.
    fn end_block(&mut self, deadline: Deadline) -> Result<(), HdfsError> {
        if self.pipeline.is_none() && self.tail.is_empty() {
            return Ok(());
        }
        let unsent = self.tail.len() > self.sent;
        self.on_pipeline(deadline, |pipe, start, tail| {
            if unsent {
                pipe.finish(start, tail, deadline)
            } else {
                pipe.finish(start + tail.len() as u64, &[], deadline)
            }
        })?;
        if let Some(pipeline) = self.pipeline.take() {
            let locked = pipeline.lock().unwrap_or_else(PoisonError::into_inner);
            self.previous = Some(locked.block().clone());
        }
        self.tail.clear();
        self.tail_start = 0;
        self.sent = 0;
        Ok(())
    }

    fn add(&mut self, mut data: &[u8], deadline: Deadline) -> Result<(), HdfsError> {
        while !data.is_empty() {
            let in_block = self.block_size - self.tail_start - self.tail.len() as u64;
            let room = (PACKET - self.tail.len())
                .min(in_block as usize)
                .min(data.len());
            let (now, later) = data.split_at(room);
            self.tail.extend_from_slice(now);
            data = later;
            if self.tail_start + self.tail.len() as u64 == self.block_size {
                self.end_block(deadline)?;
            } else if self.tail.len() == PACKET {
                self.send_tail(deadline)?;
            }
        }
        Ok(())
    }

    fn flush(&mut self, deadline: Deadline) -> Result<(), HdfsError> {
        self.send_tail(deadline)?;
        if self.pipeline.is_none() {
            return Ok(());
        }
        self.on_pipeline(deadline, |pipe, _, _| pipe.wait(deadline))?;
        if !self.persisted {
            let request = FsyncRequest {
                src: self.path.clone(),
                client: self.shared.client_name.clone(),
                last_block_length: Some((self.tail_start + self.tail.len() as u64) as i64),
                file_id: Some(self.file_id),
            };
            self.shared
                .rpc
                .call::<Empty>("fsync", &self.path, &request, deadline)?;
            self.persisted = true;
        }
        Ok(())
    }

    /// Ends the last block and the file. The NameNode says no until a DataNode has reported the
    /// block, which takes a few milliseconds, so it is asked again soon.
    fn complete(&mut self, deadline: Deadline) -> Result<(), HdfsError> {
        self.end_block(deadline)?;
        let request = CompleteRequest {
            src: self.path.clone(),
            client_name: self.shared.client_name.clone(),
            last: self.previous.clone(),
            file_id: Some(self.file_id),
        };
        for attempt in 0.. {
            let answer: CompleteResponse = self
                .shared
                .rpc
                .call("complete", &self.path, &request, deadline)?;
            if answer.result {
                return Ok(());
            }
            let wait = pause(&COMPLETE_PAUSES, attempt);
            if deadline.left() <= wait {
                break;
            }
            deadline.sleep(wait);
        }
        Err(HdfsError::Timeout {
            what: "complete".to_owned(),
            path: self.path.clone(),
            last: "no DataNode has reported the last block".to_owned(),
        })
    }
}

/// Whether the NameNode found no DataNode for a block.
fn is_placement(error: &HdfsError) -> bool {
    matches!(error, HdfsError::Remote { message, .. }
        if message.contains("could only be") && message.contains("DataNode")
            || message.contains("could only be replicated to"))
        || matches!(error, HdfsError::Remote { message, .. } if message.contains("datanode(s) running"))
}

impl HdfsFile for NativeFile {
    fn write(&mut self, data: &[u8], deadline: Deadline) -> Result<(), HdfsError> {
        self.guard(|file| file.add(data, deadline))
    }

    fn hflush(&mut self, deadline: Deadline) -> Result<(), HdfsError> {
        self.guard(|file| file.flush(deadline))
    }

    fn close(mut self: Box<Self>, deadline: Deadline) -> Result<(), HdfsError> {
        self.guard(|file| file.complete(deadline))
    }
}

impl Drop for NativeFile {
    fn drop(&mut self) {
        self.shared.file_gone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_ups_are_short_for_a_while_after_a_datanode_was_down() {
        let mut set_ups = SetUps::default();
        let mut next = |was_slow: bool| {
            set_ups.failed(was_slow);
            set_ups.limit().as_millis()
        };
        // A way that is only slow gets all the time there is.
        assert_eq!([next(true), next(true)], [4_000, 4_000]);
        // However long it was down: only those that waited count.
        assert_eq!([next(false), next(false), next(false)], [300; 3]);
        let waited: Vec<_> = (0..11).map(|_| next(true)).collect();
        let longer = [600, 1_200, 2_400, 4_000, 4_000];
        assert_eq!(waited, [[300; 6].as_slice(), &longer].concat());
    }
}
