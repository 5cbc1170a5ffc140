//! `memory`: a queue in memory. Fast; what is in it is lost with the process.
//!
//! | key | default | meaning |
//! |---|---|---|
//! | `capacity` | 100 | events it holds |
//! | `transactionCapacity` | 100 | events per transaction, at most `capacity` |
//! | `keep-alive` | 3 s | how long a put waits for room before it is refused |
//! | `byteCapacity` | 80 % of the machine's memory | bytes of bodies it holds, headers set aside as below; 0 for no limit |
//! | `byteCapacityBufferPercentage` | 20 | the part of `byteCapacity` set aside for headers |
//!
//! Guarantees: first in, first out by the commits of the puts; events taken and rolled back return
//! to where they were; a put is in the channel wholly or not at all; waiting puts are served in
//! turn, so a large one is not starved by small ones.
//!
//! Room: a put counts in full against `capacity` and `byteCapacity` until its *last* event is taken
//! and committed, because until then its one buffer stays in memory. A full channel refuses after
//! keep-alive ([`ChannelError::Full`]); a put that could never fit is refused at once.
//!
//! Differences from Flume's: a take waits only for its first event, not keep-alive for each; bytes
//! are counted exactly, not in slots of 100.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{ArcChannel, Channel, ChannelError, Fill, Put, Take};
use crate::context::{ConfigError, Context};
use crate::defect::Defect;
use crate::event::Slice;
use crate::kind::{Form, Key, Kind};
use crate::metrics::ChannelCounters;

/// The kind `memory`.
pub static KIND: Kind<ArcChannel> = Kind {
    name: "memory",
    classes: &["org.apache.flume.channel.MemoryChannel"],
    summary: "A queue in memory; fast, lost with the process.",
    keys: &[
        Key::or("capacity", Form::POSITIVE, "100", "Events it holds."),
        Key::or(
            "transactionCapacity",
            Form::POSITIVE,
            "100",
            "Events per transaction.",
        ),
        Key::or(
            "keep-alive",
            Form::COUNT,
            "3",
            "Seconds a put waits for room.",
        ),
        Key::optional(
            "byteCapacity",
            Form::COUNT,
            "Bytes it holds; 80 % of the memory if not given, 0 for no limit.",
        ),
        Key::or(
            "byteCapacityBufferPercentage",
            Form::Number(0, 100),
            "20",
            "Percentage of byteCapacity for headers.",
        ),
    ],
    batch_key: None,
    example: "type = memory",
    build,
};

/// Looks at the queue so many times before a thread goes to sleep. A few microseconds: waking a
/// sleeping thread costs more than that, and more would steal the core the other side needs.
const SPINS: u32 = 64;

fn build(ctx: &Context) -> Result<ArcChannel, ConfigError> {
    let capacity = ctx.number("capacity", 100usize)?;
    let transaction_capacity = ctx.number("transactionCapacity", 100usize)?;
    if transaction_capacity > capacity {
        let message = format!(
            "transactionCapacity {transaction_capacity} is more than the capacity {capacity}; lower it or raise capacity"
        );
        return Err(ctx.error("transactionCapacity", message));
    }
    let byte_capacity = match ctx.optional_number::<u64>("byteCapacity")? {
        Some(0) => u64::MAX,
        Some(bytes) => bytes,
        None => memory_bytes().map_or(u64::MAX, |bytes| bytes / 100 * 80),
    };
    let headers = ctx
        .number::<u64>("byteCapacityBufferPercentage", 20)?
        .min(100);
    let limits = Limits {
        capacity,
        transaction_capacity,
        body_bytes: if byte_capacity == u64::MAX {
            u64::MAX
        } else {
            byte_capacity / 100 * (100 - headers) + byte_capacity % 100 * (100 - headers) / 100
        },
        keep_alive: ctx.seconds("keep-alive", 3)?,
    };
    Ok(Arc::new(MemoryChannel::new(ctx.name(), limits)))
}

/// The size of the machine's memory, where the system tells it.
fn memory_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// How much a memory channel holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Events in the channel.
    pub capacity: usize,
    /// Events per transaction.
    pub transaction_capacity: usize,
    /// Bytes of bodies in the channel.
    pub body_bytes: u64,
    /// How long a put waits for room.
    pub keep_alive: Duration,
}

/// The memory channel.
#[derive(Debug)]
pub struct MemoryChannel {
    name: String,
    limits: Limits,
    state: Mutex<State>,
    /// Events that can be taken, to look at without the lock.
    queued: AtomicUsize,
    /// Told when an empty queue is empty no more, and when one taker has left something to another.
    filled: Condvar,
    /// Told when a put's room is free again.
    freed: Condvar,
    counters: ChannelCounters,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Entry>,
    /// For each put that still has room reserved: what is left of it. The first has number `oldest`.
    held: VecDeque<Held>,
    oldest: u64,
    /// Events in the queue.
    queued: usize,
    /// Events in the queue or taken and not yet committed.
    stored: usize,
    /// Room reserved, in events and in bytes of bodies.
    used: usize,
    used_bytes: u64,
    takers: usize,
    /// Puts that wait for room, in the order in which they came.
    line: VecDeque<u64>,
    next_ticket: u64,
    /// Takes wait for nothing.
    draining: bool,
    closed: bool,
}

/// Events of one put that wait to be taken.
#[derive(Debug, Clone)]
struct Entry {
    put: u64,
    slice: Slice,
}

/// The room that a put occupies.
#[derive(Debug)]
struct Held {
    events: usize,
    bytes: u64,
    /// Events not yet taken for good.
    left: usize,
}

impl MemoryChannel {
    /// An empty channel.
    #[must_use]
    pub fn new(name: &str, limits: Limits) -> Self {
        Self {
            name: name.to_owned(),
            limits,
            state: Mutex::default(),
            queued: AtomicUsize::new(0),
            filled: Condvar::new(),
            freed: Condvar::new(),
            counters: ChannelCounters::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn closed(&self) -> ChannelError {
        ChannelError::Closed {
            channel: self.name.clone(),
        }
    }

    fn has_room(&self, state: &State, events: usize, bytes: u64) -> bool {
        state.used + events <= self.limits.capacity
            && bytes <= self.limits.body_bytes.saturating_sub(state.used_bytes)
    }

    /// Waits in line until there is room for the put; the lock is held on return.
    fn wait_for_room(
        &self,
        events: usize,
        bytes: u64,
    ) -> Result<MutexGuard<'_, State>, ChannelError> {
        let mut state = self.lock();
        if state.line.is_empty() && self.has_room(&state, events, bytes) {
            return Ok(state);
        }
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.line.push_back(ticket);
        let deadline = Instant::now() + self.limits.keep_alive;
        loop {
            let first = state.line.front() == Some(&ticket);
            let room = first && self.has_room(&state, events, bytes);
            let left = deadline.saturating_duration_since(Instant::now());
            if room || state.closed || left.is_zero() {
                state.line.retain(|waiting| *waiting != ticket);
                // Whoever is next in line may fit, or has become the first by this.
                self.freed.notify_all();
                if room {
                    return Ok(state);
                }
                if state.closed {
                    return Err(self.closed());
                }
                let waited = self.limits.keep_alive;
                return Err(ChannelError::Full {
                    channel: self.name.clone(),
                    events,
                    waited,
                });
            }
            state = self
                .freed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Waits until there is something to take, or `wait` is over; the lock is held on return.
    fn wait_for_events(&self, wait: Duration) -> MutexGuard<'_, State> {
        let mut spins = 0;
        while self.queued.load(Relaxed) == 0 && spins < SPINS && !wait.is_zero() {
            std::hint::spin_loop();
            spins += 1;
        }
        let mut state = self.lock();
        if state.queued > 0 || wait.is_zero() {
            return state;
        }
        let deadline = Instant::now() + wait;
        state.takers += 1;
        while state.queued == 0 && !state.draining && !state.closed {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self
                .filled
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        state.takers -= 1;
        state
    }

    fn set_queued(&self, state: &mut State, queued: usize) {
        let was_empty = state.queued == 0;
        state.queued = queued;
        self.queued.store(queued, Relaxed);
        if was_empty && queued > 0 && state.takers > 0 {
            self.filled.notify_one();
        }
    }

    fn commit_take(&self, puts: &[u64], slices: &[Slice]) {
        let mut state = self.lock();
        for (put, slice) in puts.iter().zip(slices) {
            let position = (put - state.oldest) as usize;
            let events = slice.len();
            state.stored -= events;
            let held = &mut state.held[position];
            held.left -= events;
            if held.left == 0 {
                let (events, bytes) = (held.events, held.bytes);
                state.used -= events;
                state.used_bytes -= bytes;
            }
        }
        while state.held.front().is_some_and(|held| held.left == 0) {
            state.held.pop_front();
            state.oldest += 1;
        }
        if !state.line.is_empty() {
            self.freed.notify_all();
        }
    }

    /// Puts events back where they were: behind all older ones, before all younger ones.
    fn roll_back(&self, puts: &[u64], slices: Vec<Slice>) {
        let mut state = self.lock();
        let mut queued = state.queued;
        for (put, slice) in puts.iter().zip(slices).rev() {
            let entry = Entry { put: *put, slice };
            queued += entry.slice.len();
            let age = |entry: &Entry| (entry.put, entry.slice.range().start);
            let position = state
                .queue
                .iter()
                .take_while(|other| age(other) < age(&entry))
                .count();
            let apart = match state.queue.get_mut(position) {
                Some(next) if next.put == entry.put => next.slice.join_front(entry.slice),
                _ => Some(entry.slice),
            };
            if let Some(slice) = apart {
                state.queue.insert(
                    position,
                    Entry {
                        put: entry.put,
                        slice,
                    },
                );
            }
        }
        self.set_queued(&mut state, queued);
    }
}

impl Channel for MemoryChannel {
    fn name(&self) -> &str {
        &self.name
    }

    fn open(&self) -> Result<(), ChannelError> {
        Ok(())
    }

    fn put(&self) -> Result<Box<dyn Put + '_>, ChannelError> {
        Ok(Box::new(MemoryPut {
            channel: self,
            slices: Vec::new(),
            events: 0,
        }))
    }

    fn take(&self, max: usize, wait: Duration) -> Result<Box<dyn Take + '_>, ChannelError> {
        let limit = self.limits.transaction_capacity;
        if max > limit {
            let channel = self.name.clone();
            return Err(ChannelError::TooLarge {
                channel,
                events: max,
                limit,
                key: "transactionCapacity",
            });
        }
        self.counters.event_take_attempt.fetch_add(1, Relaxed);
        let mut take = MemoryTake {
            channel: self,
            puts: Vec::new(),
            slices: Vec::new(),
        };
        let mut state = self.wait_for_events(wait);
        if state.closed {
            return Err(self.closed());
        }
        let mut wanted = max;
        while wanted > 0
            && let Some(entry) = state.queue.front_mut()
        {
            let slice = entry.slice.split_front(wanted);
            wanted -= slice.len();
            take.puts.push(entry.put);
            take.slices.push(slice);
            if entry.slice.is_empty() {
                state.queue.pop_front();
            }
        }
        state.queued -= max - wanted;
        self.queued.store(state.queued, Relaxed);
        if state.queued > 0 && state.takers > 0 {
            self.filled.notify_one();
        }
        drop(state);
        Ok(Box::new(take))
    }

    fn fill(&self) -> Fill {
        Fill {
            events: self.lock().stored as u64,
            capacity: self.limits.capacity as u64,
        }
    }

    fn transaction_capacity(&self) -> usize {
        self.limits.transaction_capacity
    }

    fn counters(&self) -> &ChannelCounters {
        &self.counters
    }

    fn stop_waiting(&self) {
        self.lock().draining = true;
        self.filled.notify_all();
    }

    fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
        self.freed.notify_all();
    }
}

struct MemoryPut<'c> {
    channel: &'c MemoryChannel,
    slices: Vec<Slice>,
    events: usize,
}

impl Put for MemoryPut<'_> {
    fn add(&mut self, events: Slice) -> Result<(), ChannelError> {
        let limit = self.channel.limits.transaction_capacity;
        if self.events + events.len() > limit {
            let channel = self.channel.name.clone();
            let events = self.events + events.len();
            return Err(ChannelError::TooLarge {
                channel,
                events,
                limit,
                key: "transactionCapacity",
            });
        }
        self.events += events.len();
        if !events.is_empty() {
            self.slices.push(events);
        }
        Ok(())
    }

    fn commit(self: Box<Self>) -> Result<(), ChannelError> {
        let channel = self.channel;
        channel
            .counters
            .event_put_attempt
            .fetch_add(self.events as u64, Relaxed);
        if self.events == 0 {
            return Ok(());
        }
        let bytes = self
            .slices
            .iter()
            .map(|slice| slice.body_bytes() as u64)
            .sum();
        if bytes > channel.limits.body_bytes {
            return Err(ChannelError::TooLarge {
                channel: channel.name.clone(),
                events: usize::try_from(bytes).unwrap_or(usize::MAX),
                limit: usize::try_from(channel.limits.body_bytes).unwrap_or(usize::MAX),
                key: "byteCapacity",
            });
        }
        let waited = channel.wait_for_room(self.events, bytes);
        if Defect::MemoryThrowsAway.is_planted() && matches!(waited, Err(ChannelError::Full { .. }))
        {
            return Ok(());
        }
        let mut state = waited?;
        if state.closed {
            return Err(channel.closed());
        }
        for slice in self.slices {
            let put = state.oldest + state.held.len() as u64;
            let events = slice.len();
            state.held.push_back(Held {
                events,
                bytes: slice.body_bytes() as u64,
                left: events,
            });
            state.queue.push_back(Entry { put, slice });
        }
        state.used += self.events;
        state.stored += self.events;
        state.used_bytes += bytes;
        let queued = state.queued + self.events;
        channel.set_queued(&mut state, queued);
        drop(state);
        channel
            .counters
            .event_put_success
            .fetch_add(self.events as u64, Relaxed);
        Ok(())
    }
}

struct MemoryTake<'c> {
    channel: &'c MemoryChannel,
    /// The put that each slice is from; empty once the take was committed.
    puts: Vec<u64>,
    slices: Vec<Slice>,
}

impl Take for MemoryTake<'_> {
    fn slices(&self) -> &[Slice] {
        &self.slices
    }

    fn commit(mut self: Box<Self>) -> Result<(), ChannelError> {
        let puts = std::mem::take(&mut self.puts);
        if !puts.is_empty() {
            self.channel.commit_take(&puts, &self.slices);
            let events = self.len() as u64;
            self.channel
                .counters
                .event_take_success
                .fetch_add(events, Relaxed);
        }
        Ok(())
    }
}

impl Drop for MemoryTake<'_> {
    fn drop(&mut self) {
        if Defect::MemoryRollbackForgets.is_planted() {
            self.channel.commit_take(&self.puts, &self.slices);
        } else if !self.puts.is_empty() {
            self.channel
                .roll_back(&self.puts, std::mem::take(&mut self.slices));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::conformance;
    use crate::event::{Batch, BatchBuilder};

    fn channel(capacity: usize, transaction_capacity: usize, body_bytes: u64) -> MemoryChannel {
        let keep_alive = Duration::from_millis(5);
        MemoryChannel::new(
            "c1",
            Limits {
                capacity,
                transaction_capacity,
                body_bytes,
                keep_alive,
            },
        )
    }

    fn batch(events: usize, size: usize) -> Batch {
        let mut builder = BatchBuilder::new();
        for _ in 0..events {
            builder.push([], &vec![b'x'; size]).unwrap();
        }
        builder.finish()
    }

    fn put(channel: &MemoryChannel, batch: &Batch) -> Result<(), ChannelError> {
        let mut put = channel.put()?;
        put.add(batch.all())?;
        put.commit()
    }

    #[test]
    fn conforms() {
        conformance::all(&|limits| {
            let channel = MemoryChannel::new(
                "c1",
                Limits {
                    capacity: limits.capacity,
                    transaction_capacity: limits.transaction_capacity,
                    body_bytes: u64::MAX,
                    keep_alive: limits.keep_alive,
                },
            );
            (Arc::new(channel), Box::new(()))
        });
    }

    #[test]
    fn a_batch_counts_in_full_until_its_last_event_is_committed() {
        let channel = channel(10, 10, u64::MAX);
        put(&channel, &batch(10, 1)).unwrap();
        channel.take(9, Duration::ZERO).unwrap().commit().unwrap();
        assert!(
            put(&channel, &batch(1, 1)).is_err(),
            "its buffer is still in memory"
        );
        channel.take(1, Duration::ZERO).unwrap().commit().unwrap();
        put(&channel, &batch(10, 1)).unwrap();
    }

    #[test]
    fn commits_out_of_order_free_their_room() {
        let channel = channel(20, 10, u64::MAX);
        put(&channel, &batch(10, 1)).unwrap();
        put(&channel, &batch(10, 1)).unwrap();
        let first = channel.take(10, Duration::ZERO).unwrap();
        channel.take(10, Duration::ZERO).unwrap().commit().unwrap();
        put(&channel, &batch(10, 1)).unwrap();
        first.commit().unwrap();
        put(&channel, &batch(10, 1)).unwrap();
        assert_eq!(channel.fill().events, 20);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let channel = channel(100, 100, 1000);
        put(&channel, &batch(3, 300)).unwrap();
        assert!(put(&channel, &batch(1, 101)).is_err_and(|error| error.is_retryable()));
        put(&channel, &batch(1, 100)).unwrap();
        let error = put(&channel, &batch(1, 1001)).unwrap_err();
        assert!(
            matches!(
                error,
                ChannelError::TooLarge {
                    key: "byteCapacity",
                    ..
                }
            ),
            "waiting would not help: {error}"
        );
        channel.take(4, Duration::ZERO).unwrap().commit().unwrap();
        put(&channel, &batch(1, 1000)).unwrap();
    }

    #[test]
    fn buffers_go_home_when_their_events_are_gone() {
        let channel = channel(10, 10, u64::MAX);
        let mut builder = BatchBuilder::new();
        builder.push([], &[b'x'; 5000]).unwrap();
        let first = builder.finish();
        let address = first.as_bytes().as_ptr();
        put(&channel, &first).unwrap();
        drop(first);
        channel.take(1, Duration::ZERO).unwrap().commit().unwrap();
        builder.push([], &[b'x'; 5000]).unwrap();
        drop(builder.finish());
        builder.push([], &[b'x'; 5000]).unwrap();
        assert_eq!(builder.finish().as_bytes().as_ptr(), address);
    }

    #[test]
    fn its_settings_are_checked() {
        let build = |lines| (KIND.build)(&Context::from_example("c1", lines));
        assert_eq!(
            build("type = memory").unwrap().fill(),
            Fill {
                events: 0,
                capacity: 100
            }
        );
        let error = build("transactionCapacity = 200").unwrap_err();
        assert_eq!(error.key, "transactionCapacity");
        assert!(error.message.contains("capacity 100"), "{error}");
        assert_eq!(build("capacity = many").unwrap_err().key, "capacity");
    }
}
