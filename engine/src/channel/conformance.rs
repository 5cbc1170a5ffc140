//! What every kind of channel must do, as one suite of tests.
//!
//! A kind's own tests call [`all`] with a function that makes an empty, open channel of that kind.
//! Nothing here knows how a channel works inside. Bodies are numbers in decimal, so that a failure
//! reads well.

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use super::{ArcChannel, Channel, ChannelError, Fill};
use crate::event::{Batch, BatchBuilder};

/// What a case asks of the channel it is given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) capacity: usize,
    pub(crate) transaction_capacity: usize,
    pub(crate) keep_alive: Duration,
}

/// Makes an empty, open channel called `c1`; the second part is kept as long as the channel is used
/// (a temporary directory, say).
pub(crate) type Make<'m> = &'m dyn Fn(Limits) -> (ArcChannel, Box<dyn Any>);

type Case = (&'static str, fn(Make<'_>));

static CASES: &[Case] = &[
    (
        "events come out as they went in",
        events_come_out_as_they_went_in,
    ),
    (
        "several batches of one put are seen together",
        several_batches_of_one_put,
    ),
    (
        "a put that is dropped is never seen",
        a_dropped_put_is_never_seen,
    ),
    (
        "a take that is dropped gives its events back in order",
        a_dropped_take_gives_back,
    ),
    (
        "takes dropped in any order give their events back in order",
        takes_dropped_in_any_order,
    ),
    (
        "a full channel refuses, and takes again after a commit",
        a_full_channel_refuses,
    ),
    ("transactions have a limit", transactions_have_a_limit),
    ("a put waits for room", a_put_waits_for_room),
    ("a take waits for events", a_take_waits_for_events),
    (
        "one consumer sees each producer's order",
        one_consumer_sees_each_producers_order,
    ),
    (
        "many threads lose and invent nothing",
        many_threads_lose_and_invent_nothing,
    ),
    (
        "takes stop waiting when the agent drains",
        a_draining_take_waits_for_nothing,
    ),
    (
        "closing ends waits and refuses transactions",
        closing_ends_waits,
    ),
    ("gauges and counters tell the truth", gauges_and_counters),
];

/// Runs every case.
pub(crate) fn all(make: Make<'_>) {
    for (name, case) in CASES {
        // Shown by the test harness when a case fails.
        println!("conformance: {name}");
        case(make);
    }
}

/// Longest wait for something that must happen.
const LONG: Duration = Duration::from_secs(20);

const LIMITS: Limits = Limits {
    capacity: 1000,
    transaction_capacity: 100,
    keep_alive: Duration::from_secs(20),
};

/// A batch whose bodies are `numbers`.
pub(crate) fn batch(numbers: impl IntoIterator<Item = usize>) -> Batch {
    let mut builder = BatchBuilder::new();
    for number in numbers {
        let text = number.to_string();
        builder
            .push([("n", text.as_str())], text.as_bytes())
            .unwrap();
    }
    builder.common_header("origin", "conformance").unwrap();
    builder.finish()
}

fn put(channel: &dyn Channel, batches: &[Batch]) -> Result<(), ChannelError> {
    let mut put = channel.put()?;
    for batch in batches {
        put.add(batch.all())?;
    }
    put.commit()
}

fn numbers(take: &dyn super::Take) -> Vec<usize> {
    let number = |event: crate::event::Event<'_>| {
        let body = std::str::from_utf8(event.body()).unwrap();
        assert_eq!(
            event.header("n"),
            Some(body),
            "a header belongs to its body"
        );
        assert_eq!(
            event.header("origin"),
            Some("conformance"),
            "common headers come along"
        );
        body.parse::<usize>().unwrap()
    };
    take.slices()
        .iter()
        .flat_map(|slice| slice.iter().map(number))
        .collect()
}

/// Takes and commits everything there is.
fn drain(channel: &dyn Channel) -> Vec<usize> {
    let mut all = Vec::new();
    loop {
        let take = channel
            .take(channel.transaction_capacity(), Duration::ZERO)
            .unwrap();
        if take.is_empty() {
            return all;
        }
        all.extend(numbers(take.as_ref()));
        take.commit().unwrap();
    }
}

fn events_come_out_as_they_went_in(make: Make<'_>) {
    let (channel, _guard) = make(LIMITS);
    for start in (0..300).step_by(30) {
        put(channel.as_ref(), &[batch(start..start + 30)]).unwrap();
    }
    let mut seen = Vec::new();
    for size in [1, 7, 100, 29, 31, 2, 100, 100] {
        let take = channel.take(size, Duration::ZERO).unwrap();
        assert!(take.len() <= size);
        seen.extend(numbers(take.as_ref()));
        take.commit().unwrap();
    }
    assert_eq!(seen, (0..300).collect::<Vec<_>>());
    assert!(
        channel
            .take(1, Duration::from_millis(1))
            .unwrap()
            .is_empty()
    );
}

fn several_batches_of_one_put(make: Make<'_>) {
    let (channel, _guard) = make(LIMITS);
    let mut open = channel.put().unwrap();
    open.add(batch(0..3).all()).unwrap();
    open.add(batch(90..100).slice(2..5)).unwrap();
    open.add(Batch::empty().all()).unwrap();
    assert!(
        drain(channel.as_ref()).is_empty(),
        "nothing is seen before the commit"
    );
    open.commit().unwrap();
    assert_eq!(drain(channel.as_ref()), [0, 1, 2, 92, 93, 94]);
    channel.put().unwrap().commit().unwrap();
    assert!(
        drain(channel.as_ref()).is_empty(),
        "a put without events puts nothing"
    );
}

fn a_dropped_put_is_never_seen(make: Make<'_>) {
    let (channel, _guard) = make(Limits {
        capacity: 10,
        ..LIMITS
    });
    for _ in 0..5 {
        let mut open = channel.put().unwrap();
        open.add(batch(0..10).all()).unwrap();
        drop(open);
    }
    put(channel.as_ref(), &[batch(10..20)]).unwrap();
    assert_eq!(drain(channel.as_ref()), (10..20).collect::<Vec<_>>());
}

fn a_dropped_take_gives_back(make: Make<'_>) {
    let (channel, _guard) = make(LIMITS);
    put(channel.as_ref(), &[batch(0..10)]).unwrap();
    put(channel.as_ref(), &[batch(10..20)]).unwrap();
    let first = channel.take(15, Duration::ZERO).unwrap();
    assert_eq!(numbers(first.as_ref()), (0..15).collect::<Vec<_>>());
    drop(first);
    put(channel.as_ref(), &[batch(20..25)]).unwrap();
    let again = channel.take(3, Duration::ZERO).unwrap();
    assert_eq!(numbers(again.as_ref()), [0, 1, 2]);
    again.commit().unwrap();
    assert_eq!(drain(channel.as_ref()), (3..25).collect::<Vec<_>>());
}

fn takes_dropped_in_any_order(make: Make<'_>) {
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        let (channel, _guard) = make(LIMITS);
        for start in [0, 4, 8] {
            put(channel.as_ref(), &[batch(start..start + 4)]).unwrap();
        }
        let mut takes: Vec<_> = [5, 2, 4]
            .iter()
            .map(|n| channel.take(*n, Duration::ZERO).ok())
            .collect();
        for position in order {
            takes[position] = None;
        }
        assert_eq!(
            drain(channel.as_ref()),
            (0..12).collect::<Vec<_>>(),
            "dropped {order:?}"
        );
    }
}

fn a_full_channel_refuses(make: Make<'_>) {
    let keep_alive = Duration::from_millis(30);
    let (channel, _guard) = make(Limits {
        capacity: 20,
        transaction_capacity: 10,
        keep_alive,
    });
    put(channel.as_ref(), &[batch(0..10)]).unwrap();
    put(channel.as_ref(), &[batch(10..20)]).unwrap();
    let full = put(channel.as_ref(), &[batch(20..30)]).unwrap_err();
    assert!(
        matches!(full, ChannelError::Full { .. }) && full.is_retryable(),
        "{full}"
    );
    let take = channel.take(10, Duration::ZERO).unwrap();
    let full = put(channel.as_ref(), &[batch(20..30)]).unwrap_err();
    assert!(
        full.is_retryable(),
        "taken but not committed is not room: {full}"
    );
    drop(take);
    assert!(
        put(channel.as_ref(), &[batch(20..30)]).is_err(),
        "given back is not room"
    );
    channel.take(10, Duration::ZERO).unwrap().commit().unwrap();
    put(channel.as_ref(), &[batch(20..30)]).unwrap();
    assert_eq!(drain(channel.as_ref()), (10..30).collect::<Vec<_>>());
}

fn transactions_have_a_limit(make: Make<'_>) {
    let (channel, _guard) = make(Limits {
        transaction_capacity: 10,
        ..LIMITS
    });
    assert_eq!(channel.transaction_capacity(), 10);
    let mut open = channel.put().unwrap();
    let error = open.add(batch(0..11).all()).unwrap_err();
    assert!(
        matches!(error, ChannelError::TooLarge { limit: 10, .. }),
        "{error}"
    );
    assert!(!error.is_retryable());
    open.add(batch(0..9).all()).unwrap();
    assert!(open.add(batch(0..2).all()).is_err(), "the sum counts");
    open.add(batch(9..10).all()).unwrap();
    open.commit().unwrap();
    let error = channel
        .take(11, Duration::ZERO)
        .err()
        .expect("a take has the same limit");
    assert!(
        matches!(error, ChannelError::TooLarge { limit: 10, .. }),
        "{error}"
    );
    assert_eq!(drain(channel.as_ref()), (0..10).collect::<Vec<_>>());
}

fn a_put_waits_for_room(make: Make<'_>) {
    let (channel, _guard) = make(Limits {
        capacity: 10,
        transaction_capacity: 10,
        ..LIMITS
    });
    put(channel.as_ref(), &[batch(0..10)]).unwrap();
    let (send, done) = mpsc::channel();
    let other = Arc::clone(&channel);
    let putter = thread::spawn(move || {
        send.send(put(other.as_ref(), &[batch(10..15)])).unwrap();
    });
    assert!(
        done.recv_timeout(Duration::from_millis(30)).is_err(),
        "there is no room yet"
    );
    channel.take(10, Duration::ZERO).unwrap().commit().unwrap();
    done.recv_timeout(LONG).expect("the put goes on").unwrap();
    putter.join().unwrap();
    assert_eq!(drain(channel.as_ref()), (10..15).collect::<Vec<_>>());
}

fn a_take_waits_for_events(make: Make<'_>) {
    let (channel, _guard) = make(LIMITS);
    let (send, taken) = mpsc::channel();
    let takers: Vec<_> = (0..2)
        .map(|_| {
            let (send, channel) = (send.clone(), Arc::clone(&channel));
            thread::spawn(move || {
                let take = channel.take(5, LONG).unwrap();
                send.send(numbers(take.as_ref())).unwrap();
                take.commit().unwrap();
            })
        })
        .collect();
    assert!(
        taken.recv_timeout(Duration::from_millis(30)).is_err(),
        "there is nothing yet"
    );
    // One put wakes both: what the first leaves must not wait for another put.
    put(channel.as_ref(), &[batch(0..10)]).unwrap();
    let mut seen = taken.recv_timeout(LONG).expect("the first taker");
    seen.extend(taken.recv_timeout(LONG).expect("the second taker"));
    seen.sort_unstable();
    assert_eq!(seen, (0..10).collect::<Vec<_>>());
    takers.into_iter().for_each(|taker| taker.join().unwrap());
}

/// Puts `each` events from each of `producers` threads; event n of producer p is `p * each + n`.
fn produce(channel: &ArcChannel, producers: usize, each: usize) -> Vec<thread::JoinHandle<()>> {
    let produce = |producer: usize| {
        let channel = Arc::clone(channel);
        thread::spawn(move || {
            let mut next = producer * each;
            let end = next + each;
            let mut size = 1 + producer;
            while next < end {
                let events = batch(next..(next + size).min(end));
                // Every third put is thought better of first.
                if next.is_multiple_of(3) {
                    let mut open = channel.put().unwrap();
                    open.add(events.all()).unwrap();
                }
                put(channel.as_ref(), std::slice::from_ref(&events)).unwrap();
                next += events.len();
                size = size % 17 + 1;
            }
        })
    };
    (0..producers).map(produce).collect()
}

fn one_consumer_sees_each_producers_order(make: Make<'_>) {
    const EACH: usize = 300;
    let (channel, _guard) = make(Limits {
        capacity: 50,
        transaction_capacity: 20,
        ..LIMITS
    });
    let producers = produce(&channel, 3, EACH);
    let mut next = [0, EACH, 2 * EACH];
    let (mut taken, mut round) = (0, 0);
    while taken < 3 * EACH {
        let take = channel.take(1 + round % 20, LONG).unwrap();
        assert!(!take.is_empty(), "events stopped coming at {taken}");
        round += 1;
        if round.is_multiple_of(4) {
            continue;
        }
        for number in numbers(take.as_ref()) {
            let expected = &mut next[number / EACH];
            assert_eq!(number, *expected, "producer {} out of order", number / EACH);
            *expected += 1;
        }
        taken += take.len();
        take.commit().unwrap();
    }
    producers
        .into_iter()
        .for_each(|producer| producer.join().unwrap());
    assert!(drain(channel.as_ref()).is_empty());
}

fn many_threads_lose_and_invent_nothing(make: Make<'_>) {
    const EACH: usize = 400;
    let (channel, _guard) = make(Limits {
        capacity: 64,
        transaction_capacity: 20,
        ..LIMITS
    });
    let producers = produce(&channel, 3, EACH);
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let taken = Arc::new(AtomicUsize::new(0));
    let consume = |consumer: usize| {
        let (channel, seen, taken) = (Arc::clone(&channel), Arc::clone(&seen), Arc::clone(&taken));
        thread::spawn(move || {
            let mut round = consumer;
            while taken.load(Ordering::SeqCst) < 3 * EACH {
                let take = channel
                    .take(1 + round % 20, Duration::from_millis(20))
                    .unwrap();
                round += 1;
                if round.is_multiple_of(3) {
                    continue;
                }
                let events = numbers(take.as_ref());
                take.commit().unwrap();
                let mut seen = seen.lock().unwrap();
                for number in &events {
                    assert!(seen.insert(*number), "{number} came twice");
                }
                taken.fetch_add(events.len(), Ordering::SeqCst);
            }
        })
    };
    let consumers: Vec<_> = (0..3).map(consume).collect();
    producers
        .into_iter()
        .for_each(|producer| producer.join().unwrap());
    consumers
        .into_iter()
        .for_each(|consumer| consumer.join().unwrap());
    assert!(seen.lock().unwrap().iter().copied().eq(0..3 * EACH));
    assert_eq!(channel.fill().events, 0);
}

fn a_draining_take_waits_for_nothing(make: Make<'_>) {
    let (channel, _guard) = make(LIMITS);
    let (send, taken) = mpsc::channel();
    let waiting = Arc::clone(&channel);
    let taker = thread::spawn(move || {
        for _ in 0..2 {
            let take = waiting.take(5, LONG).unwrap();
            send.send(numbers(take.as_ref())).unwrap();
        }
    });
    assert!(
        taken.recv_timeout(Duration::from_millis(30)).is_err(),
        "there is nothing yet"
    );
    channel.stop_waiting();
    for _ in 0..2 {
        let seen = taken.recv_timeout(LONG / 2).expect("the wait ends");
        assert_eq!(seen, [] as [usize; 0]);
    }
    taker.join().unwrap();
    // What is there is handed out all the same.
    put(channel.as_ref(), &[batch(0..3)]).unwrap();
    assert_eq!(drain(channel.as_ref()), [0, 1, 2]);
}

fn closing_ends_waits(make: Make<'_>) {
    let limits = Limits {
        capacity: 5,
        transaction_capacity: 5,
        keep_alive: LONG,
    };
    let (full, _guard) = make(limits);
    let (empty, _other_guard) = make(limits);
    put(full.as_ref(), &[batch(0..5)]).unwrap();
    let (send, ended) = mpsc::channel();
    let (channel, sender) = (Arc::clone(&full), send.clone());
    let putter =
        thread::spawn(move || sender.send(put(channel.as_ref(), &[batch(5..10)])).unwrap());
    let channel = Arc::clone(&empty);
    let taker = thread::spawn(move || send.send(channel.take(5, LONG).map(drop)).unwrap());
    assert!(
        ended.recv_timeout(Duration::from_millis(30)).is_err(),
        "both wait"
    );
    full.close();
    empty.close();
    for _ in 0..2 {
        let answer = ended.recv_timeout(LONG / 2).expect("closing ends the wait");
        assert_eq!(
            answer,
            Err(ChannelError::Closed {
                channel: "c1".to_owned()
            })
        );
    }
    putter.join().unwrap();
    taker.join().unwrap();
    assert!(matches!(
        empty.take(1, Duration::ZERO).map(drop),
        Err(ChannelError::Closed { .. })
    ));
    assert!(matches!(
        put(empty.as_ref(), &[batch(0..1)]),
        Err(ChannelError::Closed { .. })
    ));
}

fn gauges_and_counters(make: Make<'_>) {
    let keep_alive = Duration::from_millis(1);
    let (channel, _guard) = make(Limits {
        capacity: 10,
        transaction_capacity: 10,
        keep_alive,
    });
    assert_eq!(channel.name(), "c1");
    assert_eq!(
        channel.fill(),
        Fill {
            events: 0,
            capacity: 10
        }
    );
    put(channel.as_ref(), &[batch(0..8)]).unwrap();
    assert!(put(channel.as_ref(), &[batch(0..8)]).is_err());
    let take = channel.take(5, Duration::ZERO).unwrap();
    assert_eq!(
        channel.fill().events,
        8,
        "what is taken and not committed is still there"
    );
    take.commit().unwrap();
    assert_eq!(channel.fill().events, 3);
    drop(channel.take(3, Duration::ZERO).unwrap());
    assert_eq!(channel.fill().events, 3);
    let entries = channel.counters().entries();
    let counter = |name| {
        entries
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| *value)
    };
    assert_eq!(counter("EventPutAttemptCount"), Some(16));
    assert_eq!(counter("EventPutSuccessCount"), Some(8));
    assert_eq!(counter("EventTakeAttemptCount"), Some(2));
    assert_eq!(counter("EventTakeSuccessCount"), Some(5));
}
