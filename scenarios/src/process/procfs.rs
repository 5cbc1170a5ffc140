//! What the kernel says about processes, read from `/proc` by hand.
//!
//! Only the few fields a run needs are read (proc(5) describes them): who a process is, in which
//! state it is, and what it has used. Everything here answers `None` for a process that is gone,
//! because a process may end between any two reads; that is an answer, not an error.

use std::fs;
use std::time::Duration;

/// Who a process is. A pid alone is not enough: the kernel hands numbers out again. With the
/// start time, in clock ticks since the machine booted, it is unique for as long as the machine is
/// up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Identity {
    /// Process id.
    pub pid: i32,
    /// Start time in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub start: u64,
}

impl Identity {
    /// The identity of the process that has this pid now.
    pub fn of(pid: i32) -> Option<Self> {
        Stat::read(pid).map(|stat| stat.identity())
    }

    /// The identity of this very process.
    pub fn own() -> Option<Self> {
        Self::of(i32::try_from(std::process::id()).ok()?)
    }

    /// Whether the process still exists and has not merely left its number to another one. A
    /// zombie, which only waits to be reaped, has ended.
    pub fn alive(self) -> bool {
        Stat::read(self.pid).is_some_and(|stat| stat.start == self.start && !stat.state.has_ended())
    }
}

/// The state letter of `/proc/PID/stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// `R`: on a CPU or ready to be.
    Running,
    /// `S`, `I`: waits, and can be woken.
    Sleeping,
    /// `D`: waits, usually for a disk, and no signal wakes it.
    Uninterruptible,
    /// `T`: stopped by a signal.
    Stopped,
    /// `t`: stopped by a tracer.
    Traced,
    /// `Z`: has ended, its parent has not asked how.
    Zombie,
    /// `X` and letters this code does not know.
    Other,
}

impl State {
    fn from_letter(letter: &str) -> Self {
        match letter {
            "R" => Self::Running,
            "S" | "I" => Self::Sleeping,
            "D" => Self::Uninterruptible,
            "T" => Self::Stopped,
            "t" => Self::Traced,
            "Z" => Self::Zombie,
            _ => Self::Other,
        }
    }

    /// Whether nothing of the process will ever run again.
    pub fn has_ended(self) -> bool {
        matches!(self, Self::Zombie | Self::Other)
    }
}

/// The fields of `/proc/PID/stat` that are used here.
#[derive(Debug, Clone, Copy)]
pub struct Stat {
    /// Process id.
    pub pid: i32,
    /// What it is doing.
    pub state: State,
    /// Process id of the parent.
    pub parent: i32,
    /// Process group.
    pub group: i32,
    /// CPU time of the process and of the children it has waited for.
    pub cpu: Duration,
    /// The same in clock ticks, as the kernel counts.
    pub ticks: u64,
    /// Threads.
    pub threads: u64,
    /// Start time in clock ticks since boot.
    pub start: u64,
    /// Resident memory in bytes.
    pub rss_bytes: u64,
}

impl Stat {
    /// Reads the entry of one process.
    pub fn read(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The identity of the process this entry is about.
    pub fn identity(&self) -> Identity {
        Identity {
            pid: self.pid,
            start: self.start,
        }
    }

    /// The command name, field 2, stands in parentheses and may itself contain parentheses and
    /// blanks; therefore fields are counted from the last `)` on.
    fn parse(text: &str) -> Option<Self> {
        let pid = text.split(' ').next()?.parse().ok()?;
        let fields: Vec<&str> = text
            .get(text.rfind(')')? + 2..)?
            .split_ascii_whitespace()
            .collect();
        // `fields[0]` is field 3 of proc(5).
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        let id = |field: usize| fields.get(field - 3)?.parse::<i32>().ok();
        let ticks = number(14)? + number(15)? + number(16)? + number(17)?;
        Some(Self {
            pid,
            state: State::from_letter(fields.first()?),
            parent: id(4)?,
            group: id(5)?,
            cpu: Duration::from_micros(ticks.saturating_mul(1_000_000) / ticks_per_second()),
            ticks,
            threads: number(20)?,
            start: number(22)?,
            rss_bytes: number(24)?.saturating_mul(page_bytes()),
        })
    }
}

/// What a process has used since it started, and holds now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// CPU time, user and system, with that of children it has waited for. Resolution: one clock
    /// tick, 10 ms on most machines.
    pub cpu: Duration,
    /// Resident memory in bytes.
    pub rss_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// Bytes fetched from a disk; `None` where the kernel does not tell us.
    pub read_bytes: Option<u64>,
    /// Bytes sent to a disk; `None` where the kernel does not tell us.
    pub written_bytes: Option<u64>,
}

impl Usage {
    /// Samples one process.
    pub fn of(pid: i32) -> Option<Self> {
        let stat = Stat::read(pid)?;
        let (read_bytes, written_bytes) = disk_bytes(pid).unzip();
        Some(Self {
            cpu: stat.cpu,
            rss_bytes: stat.rss_bytes,
            threads: stat.threads,
            read_bytes,
            written_bytes,
        })
    }

    /// The sum of two samples; an unknown part makes the sum of that part unknown.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let add = |a: Option<u64>, b: Option<u64>| a.zip(b).map(|(a, b)| a + b);
        Self {
            cpu: self.cpu + other.cpu,
            rss_bytes: self.rss_bytes + other.rss_bytes,
            threads: self.threads + other.threads,
            read_bytes: add(self.read_bytes, other.read_bytes),
            written_bytes: add(self.written_bytes, other.written_bytes),
        }
    }
}

/// `read_bytes` and `write_bytes` of `/proc/PID/io`.
fn disk_bytes(pid: i32) -> Option<(u64, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    let field = |name: &str| -> Option<u64> {
        text.lines()
            .find_map(|line| line.strip_prefix(name))?
            .trim()
            .parse()
            .ok()
    };
    Some((field("read_bytes:")?, field("write_bytes:")?))
}

/// Every process there is.
pub fn all() -> Vec<Stat> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(Stat::read)
        .collect()
}

/// The members of a process group that have not ended.
pub fn members(group: i32) -> Vec<Stat> {
    all()
        .into_iter()
        .filter(|stat| stat.group == group && !stat.state.has_ended())
        .collect()
}

/// The children of a process, their children, and so on; without the process itself.
pub fn descendants(pid: i32) -> Vec<Stat> {
    let everyone = all();
    let mut found: Vec<Stat> = Vec::new();
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        for stat in everyone.iter().filter(|stat| stat.parent == parent) {
            // Each process has one parent, so nobody is visited twice; the bound guards against a
            // tree that changed while it was being read.
            if found.len() < everyone.len() {
                found.push(*stat);
                parents.push(stat.pid);
            }
        }
    }
    found
}

/// Whether a process was started with this variable (`NAME=value`) in its environment. `false`
/// also where its environment may not be read, so that nothing foreign is ever taken for ours.
pub fn started_with(pid: i32, variable: &str) -> bool {
    fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environ| {
        environ
            .split(|byte| *byte == 0)
            .any(|v| v == variable.as_bytes())
    })
}

/// A text that differs from one boot of the machine to the next. Start times mean nothing across
/// boots.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_or_else(|_| String::new(), |text| text.trim().to_owned())
}

pub(super) fn ticks_per_second() -> u64 {
    sysconf(nix::unistd::SysconfVar::CLK_TCK, 100)
}

fn page_bytes() -> u64 {
    sysconf(nix::unistd::SysconfVar::PAGE_SIZE, 4096)
}

fn sysconf(variable: nix::unistd::SysconfVar, fallback: u64) -> u64 {
    let value = nix::unistd::sysconf(variable).ok().flatten();
    value
        .and_then(|value| u64::try_from(value).ok())
        .filter(|v| *v > 0)
        .unwrap_or(fallback)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_blanks_and_parentheses_does_not_shift_the_fields() {
        let line = "77 (a) b) (c) T 5 6 7 0 -1 0 1 2 3 4 150 50 10 5 20 0 9 0 4242 1000 3 0 0 0";
        let stat = Stat::parse(line).unwrap();
        assert_eq!(
            (stat.pid, stat.state, stat.parent, stat.group),
            (77, State::Stopped, 5, 6)
        );
        assert_eq!((stat.threads, stat.start), (9, 4242));
        assert_eq!(stat.rss_bytes, 3 * page_bytes());
        assert_eq!(
            stat.cpu,
            Duration::from_micros(215 * 1_000_000 / ticks_per_second())
        );
    }

    #[test]
    fn garbage_is_no_process() {
        for line in ["", "1", "1 (x)", "1 (x) R 2", "x (y) R 1 1 1"] {
            assert!(Stat::parse(line).is_none(), "{line}");
        }
    }

    #[test]
    fn this_process_is_seen_and_its_number_alone_is_not_it() {
        let own = Identity::own().unwrap();
        assert!(own.alive());
        assert!(
            !Identity {
                start: own.start + 1,
                ..own
            }
            .alive()
        );
        let usage = Usage::of(own.pid).unwrap();
        assert!(usage.rss_bytes > 0 && usage.threads > 0);
        assert!(all().iter().any(|stat| stat.identity() == own));
    }
}
