//! The planted defects: which scenario must find each, and as what.

/// A defect, and how it is looked for.
#[derive(Debug)]
pub(crate) struct Planted {
    /// Its name, in the decoy's table or the engine's.
    pub(crate) name: &'static str,
    /// The n of a decoy's defect; `None`: a defect of the engine.
    pub(crate) n: Option<u32>,
    /// The scenario, a file in this directory.
    pub(crate) scenario: &'static str,
    /// The class that a trial must fail with, and others that the defect brings along.
    pub(crate) classes: &'static [&'static str],
}

const fn engine(
    name: &'static str,
    scenario: &'static str,
    classes: &'static [&'static str],
) -> Planted {
    Planted {
        name,
        n: None,
        scenario,
        classes,
    }
}

const fn decoy(
    name: &'static str,
    n: u32,
    scenario: &'static str,
    classes: &'static [&'static str],
) -> Planted {
    Planted {
        name,
        n: Some(n),
        scenario,
        classes,
    }
}

const LOST: &[&str] = &["lost"];
/// The probe, a single event after the others, is lost as well.
const LOST_LAST: &[&str] = &["lost", "liveness"];
/// What is there twice, lest a loss be seen.
const LOST_AND_HIDDEN: &[&str] = &["lost", "duplicated"];
/// What is damaged is not there, and the probe may be damaged too.
const CORRUPTED: &[&str] = &["corrupted", "lost", "liveness"];
const MALFORMED: &[&str] = &["malformed", "lost", "liveness"];
const DUPLICATED: &[&str] = &["duplicated"];
const UNPUBLISHED: &[&str] = &["unpublished"];

/// All of them, by name.
pub(crate) static PLANTED: &[Planted] = &[
    decoy("after_break_lose", 20, "decoy", LOST),
    decoy("after_break_repeat", 200, "decoy", DUPLICATED),
    decoy("after_break_split", 20, "decoy", MALFORMED),
    decoy("after_gap_corrupt", 250, "decoy", CORRUPTED),
    decoy("after_gap_lose", 600, "decoy", LOST),
    decoy("after_kill_hide", 50, "decoy", LOST_AND_HIDDEN),
    decoy("after_kill_lose", 50, "decoy", LOST),
    decoy("after_kill_merge", 50, "decoy", MALFORMED),
    decoy("after_kill_repeat", 10, "decoy", DUPLICATED),
    decoy("after_pause_invent", 300, "decoy", &["unexpected"]),
    decoy("after_pause_lose", 300, "decoy", LOST),
    decoy("after_pause_truncate", 300, "decoy", MALFORMED),
    decoy("after_two_kills_lose", 50, "decoy-kills", LOST),
    engine("avro-ack-before-commit", "files", LOST),
    engine("avro-ack-though-refused", "hdfs-memory", LOST),
    decoy("backlog_lose", 100, "decoy", LOST),
    engine("encoder-cuts-at-border", "hdfs", MALFORMED),
    engine("encoder-wrong-byte", "hdfs", CORRUPTED),
    engine("exec-drops-last-batch", "exec", LOST_LAST),
    engine("file-checkpoint-too-early", "hdfs-two", LOST),
    engine("file-commit-buffered", "files", LOST),
    engine("file-replay-forgets-takes", "files", DUPLICATED),
    engine("file-replay-skips-last", "files", LOST),
    engine("file-rollback-forgets", "hdfs", LOST),
    engine("gives-up-when-full", "tail-memory", LOST),
    engine("hdfs-commit-before-flush", "hdfs", LOST),
    engine("hdfs-failed-close-taken", "hdfs-count", LOST),
    engine("hdfs-failed-flush-taken", "hdfs", LOST),
    engine("hdfs-forgets-journal", "hdfs", UNPUBLISHED),
    engine("hdfs-leaves-idle-file", "hdfs-idle", UNPUBLISHED),
    engine("hdfs-never-recovers", "hdfs", UNPUBLISHED),
    engine("hdfs-rename-before-close", "hdfs-rolls", UNPUBLISHED),
    engine("hdfs-retry-writes-twice", "hdfs", DUPLICATED),
    decoy("kill_in_gap_lose", 500, "decoy-gap", LOST),
    decoy("late_kill_lose", 1000, "decoy", LOST),
    engine("lose-one-in-100000", "many", LOST),
    engine("memory-rollback-forgets", "hdfs-memory", LOST),
    engine("memory-throws-away", "hdfs-memory", LOST),
    decoy("pause_after_kill_lose", 2000, "decoy-restart", LOST),
    engine("taildir-forgets-renamed", "tail", LOST),
    engine("taildir-position-ahead", "tail", LOST),
    engine("taildir-starts-at-end", "tail", LOST),
    engine("taildir-truncation-unseen", "tail-truncated", LOST_LAST),
];

/// The few that every test run looks for. The first loses, so that its trial waits for the agent's
/// quiet time; the others are looked for meanwhile.
pub(crate) static FEW: &[&str] = &[
    "taildir-starts-at-end",
    "after_gap_corrupt",
    "after_kill_lose",
    "after_kill_repeat",
    "after_pause_invent",
    "hdfs-forgets-journal",
    "hdfs-leaves-idle-file",
    "hdfs-rename-before-close",
];
