//! What a run, a checker or an objective says, and the exit code that follows from it.
//!
//! A verdict has three values, because "we cannot tell" is neither good news nor bad news. It is
//! never rounded to a pass: one missed objective makes a run fail, and one thing that could not be
//! judged keeps a run from passing.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The answer of a checker, of an objective, or of a whole run.
///
/// The order is that of the merge: the greater one wins.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything that was asked holds.
    Pass,
    /// The run does not show whether it holds. Also what a record says until somebody judged it.
    #[default]
    Inconclusive,
    /// Something that was asked does not hold.
    Fail,
}

impl Verdict {
    /// Both verdicts in one: fail beats inconclusive, inconclusive beats pass.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        self.max(other)
    }

    /// The merge of many. Of none at all it is inconclusive: nobody judged, so nothing passed.
    pub fn merge_all(verdicts: impl IntoIterator<Item = Self>) -> Self {
        verdicts
            .into_iter()
            .reduce(Self::merge)
            .unwrap_or(Self::Inconclusive)
    }

    /// The exit code of a run that ended in order with this verdict.
    #[must_use]
    pub fn exit_code(self) -> ExitCode {
        match self {
            Self::Pass => ExitCode::Pass,
            Self::Inconclusive => ExitCode::Inconclusive,
            Self::Fail => ExitCode::Missed,
        }
    }

    /// The word as records and reports spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Inconclusive => "inconclusive",
            Self::Fail => "fail",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How the program ends. The numbers are part of the interface: scripts branch on them.
///
/// In records it is the number itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(try_from = "u8", into = "u8")]
#[cfg_attr(test, schemars(with = "u8"))]
pub enum ExitCode {
    /// 0: everything that was asked holds.
    Pass,
    /// 1: an objective was missed: loss, latency, recovery, … A loss stays a loss in a void trial.
    Missed,
    /// 2: the scenario or the command line is wrong, or something needed is not there. Found
    /// before the first child is spawned.
    Unusable,
    /// 3: a void fault, no steady state, too few samples; also an interrupted run.
    #[default]
    Inconclusive,
    /// 4: the harness or a store failed, later than code 2 can.
    HarnessFailed,
    /// 5: a regression against the baseline.
    Regression,
}

impl ExitCode {
    /// All codes in the order in which they win where several hold: 2, 4, 1, 5, 3, 0.
    pub const PRECEDENCE: [Self; 6] = [
        Self::Unusable,
        Self::HarnessFailed,
        Self::Missed,
        Self::Regression,
        Self::Inconclusive,
        Self::Pass,
    ];

    /// The number given to the operating system.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Missed => 1,
            Self::Unusable => 2,
            Self::Inconclusive => 3,
            Self::HarnessFailed => 4,
            Self::Regression => 5,
        }
    }

    /// One sentence fragment for help texts and reports.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Missed => "an objective was missed",
            Self::Unusable => "the scenario or the command line cannot be used",
            Self::Inconclusive => "inconclusive",
            Self::HarnessFailed => "the harness or a store failed",
            Self::Regression => "regression against the baseline",
        }
    }

    /// The code that wins where several hold. Of none it is inconclusive.
    pub fn decide(holding: impl IntoIterator<Item = Self>) -> Self {
        let rank = |code: &Self| Self::PRECEDENCE.iter().position(|one| one == code);
        holding
            .into_iter()
            .min_by_key(rank)
            .unwrap_or(Self::Inconclusive)
    }

    /// What an interruption makes of a code: 3, unless a missed objective is already certain.
    #[must_use]
    pub fn interrupted(self) -> Self {
        if self == Self::Missed {
            Self::Missed
        } else {
            Self::Inconclusive
        }
    }
}

/// A number that is no exit code of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("failed to read {0} as an exit code; the codes are 0 to 5")]
pub struct NoExitCode(u8);

impl TryFrom<u8> for ExitCode {
    type Error = NoExitCode;

    fn try_from(code: u8) -> Result<Self, NoExitCode> {
        Self::PRECEDENCE
            .into_iter()
            .find(|one| one.code() == code)
            .ok_or(NoExitCode(code))
    }
}

impl From<ExitCode> for u8 {
    fn from(code: ExitCode) -> Self {
        code.code()
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Verdict; 3] = [Verdict::Pass, Verdict::Inconclusive, Verdict::Fail];

    #[test]
    fn fail_beats_inconclusive_beats_pass() {
        for a in ALL {
            for b in ALL {
                let expected = if a == Verdict::Fail || b == Verdict::Fail {
                    Verdict::Fail
                } else if a == Verdict::Inconclusive || b == Verdict::Inconclusive {
                    Verdict::Inconclusive
                } else {
                    Verdict::Pass
                };
                assert_eq!(a.merge(b), expected, "{a} and {b}");
            }
        }
    }

    #[test]
    fn nobody_judged_is_not_a_pass() {
        assert_eq!(Verdict::merge_all([]), Verdict::Inconclusive);
        assert_eq!(Verdict::merge_all([Verdict::Pass]), Verdict::Pass);
    }

    #[test]
    fn codes_are_those_of_the_interface() {
        let codes: Vec<u8> = ExitCode::PRECEDENCE
            .iter()
            .map(|code| code.code())
            .collect();
        assert_eq!(codes, [2, 4, 1, 5, 3, 0]);
        for code in ExitCode::PRECEDENCE {
            assert_eq!(ExitCode::try_from(code.code()), Ok(code));
        }
        assert_eq!(ExitCode::try_from(6), Err(NoExitCode(6)));
    }

    #[test]
    fn the_earlier_in_the_precedence_wins_in_either_order() {
        for (i, strong) in ExitCode::PRECEDENCE.into_iter().enumerate() {
            for weak in ExitCode::PRECEDENCE.into_iter().skip(i) {
                assert_eq!(ExitCode::decide([strong, weak]), strong);
                assert_eq!(ExitCode::decide([weak, strong]), strong);
            }
        }
        assert_eq!(ExitCode::decide([]), ExitCode::Inconclusive);
    }

    #[test]
    fn an_interruption_hides_a_pass_but_not_a_loss() {
        assert_eq!(ExitCode::Pass.interrupted(), ExitCode::Inconclusive);
        assert_eq!(ExitCode::Missed.interrupted(), ExitCode::Missed);
    }

    #[test]
    fn the_verdict_gives_the_code() {
        assert_eq!(ALL.map(|verdict| verdict.exit_code().code()), [0, 3, 1]);
    }
}
