//! Defects planted on purpose: the test of those who judge the engine.
//!
//! A build with the feature `planted-defects` looks at the environment variable
//! `FLUME_BENCH_DEFECT` when the agent starts, and has the defect named there, one or none. A name
//! that is not in the table ends the agent with code 2. A build without the feature has none of it:
//! [`Defect::is_planted`] is a constant there, so the compiler leaves the branches out, and a test
//! looks for the variable's name in the finished program.
//!
//! Each defect is one mistake at one place, of a kind that has been made in the field; the table says
//! which. They show in what is stored after a SIGKILL, an outage of the store, a rotation, or without
//! any fault. What only a power cut shows (a sync left out, a checkpoint or a take on the disk before
//! the put it speaks of, an old record believed after a torn one) is planted in the suite of power
//! cuts of the file channel instead, where the disk is simulated.

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::event::{Batch, Slice};
use crate::fs::File;

/// The table: variant, name, what is wrong, and what it stands for.
macro_rules! table {
    ($($variant:ident, $name:literal, $summary:literal, $stands_for:literal;)*) => {
        /// A defect of the engine.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Defect {
            $(#[doc = $summary] $variant,)*
        }

        /// Every defect with its name, what is wrong, and what it stands for; by name.
        #[cfg(feature = "planted-defects")]
        static TABLE: &[(&str, Defect, &str, &str)] =
            &[$(($name, Defect::$variant, $summary, $stands_for),)*];
    };
}

table! {
    AvroAckBeforeCommit, "avro-ack-before-commit",
        "The avro source answers a call and puts its events when the next one comes.",
        "an acknowledgement before the data is safe: beats#2041, Apache Flume's memory channel";
    AvroAckThoughRefused, "avro-ack-though-refused",
        "The avro source answers OK although the channel refused the events.",
        "an error path that swallows: fluentd#1698";
    Burn30, "burn-30", "The agent uses 30 % more CPU time than it needs.", "a slower build";
    Burn5, "burn-5", "The agent uses 5 % more CPU time than it needs.", "a slower build";
    EncoderCutsAtBorder, "encoder-cuts-at-border",
        "The event that fills the HDFS sink's buffer loses its last nine bytes.",
        "an off-by-one at a buffer's border, as at Apache Flume's netcat source (512 bytes)";
    EncoderWrongByte, "encoder-wrong-byte",
        "One event in 2,000 has one wrong byte in HDFS.",
        "a record that fails its check: fluent-bit#10952";
    ExecDropsLastBatch, "exec-drops-last-batch",
        "The exec source drops a batch that its timeout or the command's end cuts short.",
        "events in memory at a stop: logstash#3461";
    FileCheckpointTooEarly, "file-checkpoint-too-early",
        "A checkpoint counts events as taken whose take is not committed.",
        "ledger and data disagree after a crash: vector#16463";
    FileCommitBuffered, "file-commit-buffered",
        "The file channel keeps up to 256 KiB of committed records in the memory of its process.",
        "an acknowledgement before the data is safe: logstash#12040";
    FileReplayForgetsTakes, "file-replay-forgets-takes",
        "Replay does not read the records of takes: everything since the checkpoint comes again.",
        "everything sent again after a kill: beats#19634";
    FileReplaySkipsLast, "file-replay-skips-last",
        "Replay takes the last put for torn.",
        "the page begun last is dropped: logstash#12040";
    FileRollbackForgets, "file-rollback-forgets",
        "The file channel does not give back what a failed transaction had taken.",
        "a backlog that is not read until a restart: fluent-bit#8718";
    GivesUpWhenFull, "gives-up-when-full",
        "A source that has nobody to refuse to drops what a full channel does not take.",
        "receives and throws away: fluentd#1698";
    HdfsCommitBeforeFlush, "hdfs-commit-before-flush",
        "The HDFS sink commits before its files are flushed.",
        "a skipped flush: FLUME-3085";
    HdfsFailedCloseTaken, "hdfs-failed-close-taken",
        "The HDFS sink takes a failed close for a good one.",
        "FLUME-3392: the HDFS sink loses data when close fails";
    HdfsFailedFlushTaken, "hdfs-failed-flush-taken",
        "The HDFS sink takes a failed flush for a good one.",
        "an error path that swallows: vector#26198";
    HdfsForgetsJournal, "hdfs-forgets-journal",
        "What a dead agent left open is not recovered at the start.",
        "in-use files left behind after a kill of Apache Flume";
    HdfsLeavesIdleFile, "hdfs-leaves-idle-file",
        "A file that is due while no event comes is forgotten without being closed.",
        "FLUME-3080: leases that are never recovered";
    HdfsNeverRecovers, "hdfs-never-recovers",
        "A file whose write failed is not given to recovery.",
        "FLUME-3223: a close that is not tried again";
    HdfsRenameBeforeClose, "hdfs-rename-before-close",
        "A file gets its final name, and is closed after that.",
        "readers meet an open file under a final name";
    HdfsRetryWritesTwice, "hdfs-retry-writes-twice",
        "After the first failure each batch is written twice.",
        "whole files sent again: beats#36541";
    LoseOneIn100000, "lose-one-in-100000",
        "One event in 100,000, by its checksum, is answered and dropped.",
        "a rare loss that no average shows";
    MemoryRollbackForgets, "memory-rollback-forgets",
        "The memory channel does not give back what a failed transaction had taken.",
        "an error path that swallows: vector#26198";
    MemoryThrowsAway, "memory-throws-away",
        "A put that finds no room in the memory channel is called a success.",
        "receives and throws away: fluentd#1698";
    TaildirForgetsRenamed, "taildir-forgets-renamed",
        "What is left in a file that is renamed is not read.",
        "fluent-bit#10414, vector#22954: the end of a rotated file is lost";
    TaildirPositionAhead, "taildir-position-ahead",
        "The position file is written 50 ms before the lines are delivered.",
        "fluent-bit#4225: an offset past data that was only in memory";
    TaildirStartsAtEnd, "taildir-starts-at-end",
        "After a restart a file is read from its end on.",
        "a position that is gone: vector#20753, FLUME-3348";
    TaildirTruncationUnseen, "taildir-truncation-unseen",
        "A file that became shorter is not read until it is as long as before.",
        "vector#23076: not read until it grows past the stale offset";
}

#[cfg(not(feature = "planted-defects"))]
impl Defect {
    /// Whether the agent has this defect: never.
    pub(crate) const fn is_planted(self) -> bool {
        false
    }
}

/// The defect that the environment asks for: there is none to ask for.
#[cfg(not(feature = "planted-defects"))]
pub(crate) const fn choose() -> Result<Option<&'static str>, String> {
    Ok(None)
}

#[cfg(feature = "planted-defects")]
static CHOSEN: std::sync::OnceLock<Defect> = std::sync::OnceLock::new();

#[cfg(feature = "planted-defects")]
impl Defect {
    /// Whether the agent has this defect.
    pub(crate) fn is_planted(self) -> bool {
        CHOSEN.get() == Some(&self)
    }
}

/// Plants the defect that the environment asks for; answers what is wrong from now on.
///
/// # Errors
/// If there is no such defect, with the names of those there are.
#[cfg(feature = "planted-defects")]
pub(crate) fn choose() -> Result<Option<&'static str>, String> {
    let Some(wanted) = std::env::var_os("FLUME_BENCH_DEFECT") else {
        return Ok(None);
    };
    let entry = TABLE.iter().find(|(name, ..)| wanted == *name);
    let Some((_, defect, summary, _)) = entry else {
        let names: Vec<&str> = TABLE.iter().map(|(name, ..)| *name).collect();
        return Err(format!(
            "FLUME_BENCH_DEFECT={} names no defect; give one of {}, or unset it",
            wanted.to_string_lossy(),
            names.join(", ")
        ));
    };
    // The first choice stays: a process has one agent.
    let _ = CHOSEN.set(*defect);
    Ok(Some(summary))
}

/// `avro-ack-before-commit`: takes a batch, and answers the one that this thread brought before.
pub(crate) fn hold_back(batch: Option<Batch>) -> Option<Batch> {
    thread_local! {
        static HELD: Cell<Option<Batch>> = const { Cell::new(None) };
    }
    HELD.replace(batch)
}

/// `file-commit-buffered`: writes that a process keeps to itself until they are 256 KiB.
static LATE: Mutex<(Vec<LateWrite>, usize)> = Mutex::new((Vec::new(), 0));

type LateWrite = (Arc<dyn File>, Vec<u8>, u64);

/// Keeps a write to itself until there are 256 KiB of them.
///
/// # Errors
/// Those of the writes that become due.
pub(crate) fn write_late(file: &Arc<dyn File>, bytes: &[u8], offset: u64) -> io::Result<()> {
    let mut late = LATE.lock().unwrap_or_else(PoisonError::into_inner);
    late.0.push((Arc::clone(file), bytes.to_vec(), offset));
    late.1 += bytes.len();
    let due = late.1 >= 256 << 10;
    drop(late);
    if due { write_now() } else { Ok(()) }
}

/// Does the writes that were kept.
///
/// # Errors
/// That of the first that fails.
pub(crate) fn write_now() -> io::Result<()> {
    let mut late = LATE.lock().unwrap_or_else(PoisonError::into_inner);
    late.1 = 0;
    for (file, bytes, offset) in std::mem::take(&mut late.0) {
        file.write_at(&bytes, offset)?;
    }
    Ok(())
}

/// `burn-5` and `burn-30`: uses so many per cent of the CPU time that the process has used for its
/// work since the last call. Of a batch, so, the same share whatever it costs.
pub(crate) fn burn(percent: u32) {
    static BURNT: AtomicU64 = AtomicU64::new(0);
    let used = |clock| clock_gettime(clock).map(Duration::from);
    let (Ok(all), Ok(begin)) = (
        used(ClockId::CLOCK_PROCESS_CPUTIME_ID),
        used(ClockId::CLOCK_THREAD_CPUTIME_ID),
    ) else {
        return;
    };
    let burnt = BURNT.load(Relaxed);
    let worked = (all.as_nanos() as u64).saturating_sub(burnt);
    let owed = (worked / 100 * u64::from(percent)).saturating_sub(burnt);
    // Before it is burnt: other threads must not burn the same.
    BURNT.fetch_add(owed, Relaxed);
    while used(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .is_ok_and(|now| now.saturating_sub(begin) < Duration::from_nanos(owed))
    {}
}

/// Whether an event is the one in `many`, by its checksum: another one in each run, since each run
/// marks its events anew.
pub(crate) fn is_the_one(body: &[u8], many: u32) -> bool {
    crc32c::crc32c(body).is_multiple_of(many)
}

/// `lose-one-in-100000`: the parts of a slice between the events that are lost, one in `many`.
pub(crate) fn without_the_lost(events: &Slice, many: u32) -> Vec<Slice> {
    let mut rest = events.clone();
    let mut parts = Vec::new();
    let mut before = 0;
    for event in events {
        if is_the_one(event.body(), many) {
            parts.push(rest.split_front(before));
            rest.split_front(1);
            before = 0;
        } else {
            before += 1;
        }
    }
    parts.push(rest);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::BatchBuilder;

    #[cfg(feature = "planted-defects")]
    #[test]
    fn defects_are_sorted_and_each_says_what_is_wrong_and_what_it_stands_for() {
        assert!(TABLE.windows(2).all(|pair| pair[0].0 < pair[1].0));
        for (name, _, summary, stands_for) in TABLE {
            assert!(summary.ends_with('.') && !stands_for.is_empty(), "{name}");
        }
    }

    #[cfg(not(feature = "planted-defects"))]
    #[test]
    fn without_the_feature_there_is_nothing_to_choose() {
        const { assert!(!Defect::LoseOneIn100000.is_planted()) };
        assert_eq!(choose(), Ok(None));
    }

    #[test]
    fn one_event_in_many_is_left_out_and_the_others_stay_in_order() {
        let text = |number: u32| format!("event {number}").into_bytes();
        let mut builder = BatchBuilder::new();
        for number in 0..30_000 {
            builder.push([], &text(number)).unwrap();
        }
        let left: Vec<Vec<u8>> = without_the_lost(&builder.finish().all(), 100)
            .iter()
            .flatten()
            .map(|event| event.body().to_vec())
            .collect();
        let expected: Vec<Vec<u8>> = (0..30_000)
            .map(text)
            .filter(|body| !is_the_one(body, 100))
            .collect();
        // 300 are expected; the bodies are the same in each run of this test.
        assert!((29_600..29_800).contains(&left.len()), "{}", left.len());
        assert_eq!(left, expected);
    }

    #[test]
    fn what_is_held_back_comes_out_with_the_next() {
        let batch = |text: &str| {
            let mut builder = BatchBuilder::new();
            builder.push([], text.as_bytes()).unwrap();
            Some(builder.finish())
        };
        assert_eq!(hold_back(batch("one")), None);
        assert_eq!(hold_back(batch("two")), batch("one"));
        assert_eq!(hold_back(None), batch("two"));
    }

    #[test]
    fn burning_takes_its_share_of_what_was_used() {
        let used = || Duration::from(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap());
        burn(30);
        let before = used();
        let mut sum = 0u64;
        while used() - before < Duration::from_millis(40) {
            sum = sum.wrapping_mul(31).wrapping_add(1);
        }
        std::hint::black_box(sum);
        let worked = used();
        burn(30);
        // Other tests of this process work meanwhile, which only adds to what is owed.
        assert!(used() - worked >= Duration::from_millis(11));
    }
}
