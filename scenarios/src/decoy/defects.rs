//! The table of a decoy's defects: what each does wrong, and when.

/// A defect: its name, what it does to an event, and to which events it does that.
#[derive(Debug)]
pub struct Defect {
    /// Name, as in `[sut] defect = "…"`.
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    pub(super) what: What,
    pub(super) when: When,
}

/// What is done to an event that is struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    AnswerEarly,
    Burn,
    CorruptIdentity,
    CorruptPayload,
    Hide,
    Honest,
    Invent,
    LeakDescriptors,
    LeakMemory,
    LeaveInUse,
    Lose,
    LoseTail,
    Merge,
    NeverAnswer,
    Refuse,
    Reorder,
    Repeat,
    Replay,
    Split,
    Stall,
    Throttle,
    Truncate,
}

/// Which events are struck. All but the first are felt only when a fault strikes the decoy: see
/// [`Felt`](super::felt::Felt).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// Every n-th.
    Nth,
    /// Those that come fast upon a gap, from the n-th on.
    Backlog,
    /// The n after a connection broke off.
    Broken,
    /// The 20 after over n ms without any.
    Gap,
    /// Every n-th of a life after a kill.
    Killed,
    /// Every tenth of a life that began over n ms after the last event of the one before.
    KilledInGap,
    /// Every tenth of a life after a kill, when n had been received before.
    KilledLate,
    /// Every n-th of a life after two kills.
    KilledTwice,
    /// The 20 after it stood still for over n ms.
    Paused,
    /// The 20 after it stood still for a while within n ms of a kill.
    PausedAfterKill,
}

/// Every defect, by name.
pub static DEFECTS: &[Defect] = &[
    Defect {
        name: "after_break_lose",
        summary: "loses the n events after a connection broke off",
        what: What::Lose,
        when: When::Broken,
    },
    Defect {
        name: "after_break_repeat",
        summary: "stores the n events after a connection broke off twice",
        what: What::Repeat,
        when: When::Broken,
    },
    Defect {
        name: "after_break_split",
        summary: "puts a newline into the identities of the n events after a connection broke off",
        what: What::Split,
        when: When::Broken,
    },
    Defect {
        name: "after_gap_corrupt",
        summary: "changes one byte of the 20 events after over n ms without any",
        what: What::CorruptPayload,
        when: When::Gap,
    },
    Defect {
        name: "after_gap_lose",
        summary: "loses the 20 events after over n ms without any: an outage that was too long",
        what: What::Lose,
        when: When::Gap,
    },
    Defect {
        name: "after_kill_hide",
        summary: "loses every n-th event once it was killed and writes its predecessor twice",
        what: What::Hide,
        when: When::Killed,
    },
    Defect {
        name: "after_kill_lose",
        summary: "loses every n-th event once it was killed",
        what: What::Lose,
        when: When::Killed,
    },
    Defect {
        name: "after_kill_merge",
        summary: "leaves out the newline after every n-th event once it was killed",
        what: What::Merge,
        when: When::Killed,
    },
    Defect {
        name: "after_kill_repeat",
        summary: "stores every n-th event twice once it was killed",
        what: What::Repeat,
        when: When::Killed,
    },
    Defect {
        name: "after_pause_invent",
        summary: "adds 20 events that were never sent when it had stood still for over n ms",
        what: What::Invent,
        when: When::Paused,
    },
    Defect {
        name: "after_pause_lose",
        summary: "loses 20 events when it had stood still for over n ms",
        what: What::Lose,
        when: When::Paused,
    },
    Defect {
        name: "after_pause_truncate",
        summary: "cuts 20 events off in their identities when it had stood still for over n ms",
        what: What::Truncate,
        when: When::Paused,
    },
    Defect {
        name: "after_two_kills_lose",
        summary: "loses every n-th event once it was killed twice",
        what: What::Lose,
        when: When::KilledTwice,
    },
    Defect {
        name: "answer_early",
        summary: "answers at once and stores each n events together: a kill loses what it holds",
        what: What::AnswerEarly,
        when: When::Nth,
    },
    Defect {
        name: "backlog_lose",
        summary: "loses what comes after the n-th event of a burst that ends a gap: a backlog too large",
        what: What::Lose,
        when: When::Backlog,
    },
    Defect {
        name: "burn",
        summary: "spends n ns of CPU time on each event, and is right: the slow build of a gate's tests",
        what: What::Burn,
        when: When::Nth,
    },
    Defect {
        name: "corrupt_identity",
        summary: "changes one character of the identity of every n-th event",
        what: What::CorruptIdentity,
        when: When::Nth,
    },
    Defect {
        name: "corrupt_payload",
        summary: "changes one byte beside the identity of every n-th event",
        what: What::CorruptPayload,
        when: When::Nth,
    },
    Defect {
        name: "hide_loss",
        summary: "loses every n-th event and writes its predecessor twice, so that the number of lines is right",
        what: What::Hide,
        when: When::Nth,
    },
    Defect {
        name: "honest",
        summary: "none: it must pass",
        what: What::Honest,
        when: When::Nth,
    },
    Defect {
        name: "invent",
        summary: "adds, after every n-th event, one that was never sent",
        what: What::Invent,
        when: When::Nth,
    },
    Defect {
        name: "kill_in_gap_lose",
        summary: "loses every tenth event once it was killed while for over n ms nothing came: two faults",
        what: What::Lose,
        when: When::KilledInGap,
    },
    Defect {
        name: "late_kill_lose",
        summary: "loses every tenth event once it was killed after n events",
        what: What::Lose,
        when: When::KilledLate,
    },
    Defect {
        name: "leak_descriptors",
        summary: "opens a file at every n-th event and never closes it, and is right otherwise",
        what: What::LeakDescriptors,
        when: When::Nth,
    },
    Defect {
        name: "leak_memory",
        summary: "keeps n bytes of memory for each event, and is right otherwise",
        what: What::LeakMemory,
        when: When::Nth,
    },
    Defect {
        name: "leave_in_use",
        summary: "rolls after every n events and never gives the last file its final name",
        what: What::LeaveInUse,
        when: When::Nth,
    },
    Defect {
        name: "lose_every",
        summary: "answers every n-th event and does not store it",
        what: What::Lose,
        when: When::Nth,
    },
    Defect {
        name: "lose_tail",
        summary: "never stores the last n events",
        what: What::LoseTail,
        when: When::Nth,
    },
    Defect {
        name: "merge",
        summary: "leaves out the newline after every n-th event",
        what: What::Merge,
        when: When::Nth,
    },
    Defect {
        name: "never_answer",
        summary: "stores every n-th event and does not answer it",
        what: What::NeverAnswer,
        when: When::Nth,
    },
    Defect {
        name: "pause_after_kill_lose",
        summary: "loses 20 events when it stood still within n ms after a kill: two faults",
        what: What::Lose,
        when: When::PausedAfterKill,
    },
    Defect {
        name: "refuse_but_store",
        summary: "stores every n-th event and says that it refused it",
        what: What::Refuse,
        when: When::Nth,
    },
    Defect {
        name: "reorder",
        summary: "stores every n-th event after its successor",
        what: What::Reorder,
        when: When::Nth,
    },
    Defect {
        name: "repeat",
        summary: "stores every n-th event twice",
        what: What::Repeat,
        when: When::Nth,
    },
    Defect {
        name: "replay_old",
        summary: "stores its first n events once more when it stops",
        what: What::Replay,
        when: When::Nth,
    },
    Defect {
        name: "split",
        summary: "puts a newline into the identity of every n-th event",
        what: What::Split,
        when: When::Nth,
    },
    Defect {
        name: "stall",
        summary: "stands still for 700 ms at the n-th event",
        what: What::Stall,
        when: When::Nth,
    },
    Defect {
        name: "throttle",
        summary: "takes n events a second in all and no more: an agent of known capacity",
        what: What::Throttle,
        when: When::Nth,
    },
    Defect {
        name: "truncate",
        summary: "cuts every n-th event off in its identity",
        what: What::Truncate,
        when: When::Nth,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defects_are_sorted_and_each_has_its_own_name() {
        assert!(DEFECTS.windows(2).all(|pair| pair[0].name < pair[1].name));
    }
}
