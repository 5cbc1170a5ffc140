//! Defects planted to test the power-cut suite: each must make it fail.
//!
//! Outside tests there is nothing to choose: the type has one value and all answers are constant.

#[cfg(not(test))]
#[derive(Debug, Clone, Copy)]
pub(super) struct Mutant;

#[cfg(not(test))]
impl Mutant {
    /// No defect.
    pub(super) const NONE: Mutant = Mutant;

    pub(super) const fn skips_sync(self) -> bool {
        false
    }

    pub(super) const fn omits_epoch(self) -> bool {
        false
    }
}

/// One planted defect, or none.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mutant {
    None,
    /// Commits return without fdatasync.
    NoSync,
    /// A checkpoint becomes durable before the records it covers.
    CheckpointBeforeData,
    /// The CRC does not tell a segment's present use from earlier ones.
    NoEpochInCrc,
    /// A take is logged ahead of the put whose events it took.
    TakeBeforePut,
}

#[cfg(test)]
impl Mutant {
    pub(super) const NONE: Mutant = Mutant::None;

    pub(super) fn skips_sync(self) -> bool {
        self == Mutant::NoSync
    }

    pub(super) fn omits_epoch(self) -> bool {
        self == Mutant::NoEpochInCrc
    }

    pub(super) fn checkpoints_before_data(self) -> bool {
        self == Mutant::CheckpointBeforeData
    }

    pub(super) fn logs_takes_first(self) -> bool {
        self == Mutant::TakeBeforePut
    }
}
