//! No allocation per event on the way from a source through the memory channel to a sink: what is
//! allocated is allocated per batch.

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use flume_bench_engine::agent::Agent;
use flume_bench_engine::clock::SystemClock;
use flume_bench_engine::config::{self, Text};
use flume_bench_engine::context::Surroundings;
use flume_bench_engine::metrics::SinkCounters;

/// Events before the count begins: buffers have their size by then.
const WARM_UP: u64 = 200_000;
/// Events whose allocations are counted.
const COUNTED: u64 = 1_000_000;
/// Allocations per event that are too many. Batches are of 1,000 events.
const LIMIT: f64 = 0.05;

const CONFIGURATION: &str = "\
a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = seq
a1.sources.r1.batchSize = 1000
a1.sources.r1.channels = c1
a1.channels.c1.type = memory
a1.channels.c1.capacity = 10000
a1.channels.c1.transactionCapacity = 1000
a1.sinks.k1.type = null
a1.sinks.k1.batchSize = 1000
a1.sinks.k1.logEveryNEvents = 0
a1.sinks.k1.channel = c1
";

/// The system's allocator; counts how often all threads together ask it for memory.
struct Counting;

static CALLS: AtomicU64 = AtomicU64::new(0);

#[expect(unsafe_code, reason = "an allocator cannot be written without")]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Relaxed);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        CALLS.fetch_add(1, Relaxed);
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Waits until the sink has stored `events`; answers how many it has stored, and
/// how often memory was asked for until then.
fn stored(counters: &SinkCounters, events: u64) -> (u64, u64) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let stored = counters.event_drain_success.load(Relaxed);
        if stored >= events {
            return (stored, CALLS.load(Relaxed));
        }
        assert!(Instant::now() < deadline, "{stored} of {events} events");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_batch_is_allocated_and_an_event_is_not() {
    let text = Text {
        file: PathBuf::from("flume.conf"),
        bytes: CONFIGURATION.into(),
    };
    let report = config::check(&[text], "a1", &Surroundings::default(), &|_| None);
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    let plan = report.plan.unwrap();
    let counters = Arc::clone(&plan.sinks[0].counters);
    let agent = Agent::start(plan, Arc::new(SystemClock)).unwrap();
    let (first, before) = stored(&counters, WARM_UP);
    let (last, after) = stored(&counters, first + COUNTED);
    agent.stop(Duration::ZERO);
    let calls = after - before;
    let per_event = calls as f64 / (last - first) as f64;
    println!("{calls} allocations for {} events", last - first);
    // A counter that counts nothing would pass as well.
    assert!(calls > 0, "batches are allocated");
    assert!(per_event < LIMIT, "{per_event} allocations per event");
}
