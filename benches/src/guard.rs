//! The guard: how much of the machine others used while an arm ran.
//!
//! `/proc/stat` says what all CPUs did; what this process and its descendants used is taken off,
//! and the rest was somebody else. A pair during which others used more than [`MAX_OTHERS`] of the
//! CPUs, or the hypervisor withheld more than [`MAX_STEAL`], is *dirty*: it is run again.
//!
//! The kernel counts in ticks of 10 ms, so a look over less than some 100 ms says little. Work
//! that the kernel does for us in threads of its own (writing back, the journal of a file system)
//! looks like somebody else's; on a quiet machine it stays far below the limit.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::unistd::{SysconfVar, sysconf};
use serde::Serialize;

/// The part of all CPUs that others may use.
pub const MAX_OTHERS: f64 = 0.12;
/// The part of all CPUs that the hypervisor may withhold.
pub const MAX_STEAL: f64 = 0.05;

/// How long a look at the machine takes that waits for it to be quiet.
const LOOK: Duration = Duration::from_millis(200);

/// What the CPUs have done since the machine was started, in seconds, all CPUs together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Reading {
    /// All time there was: the number of CPUs times the time that went by.
    pub total: f64,
    /// Time in which something ran.
    pub busy: f64,
    /// Time in which something wanted to run and the hypervisor did not let it.
    pub steal: f64,
    /// What of `busy` was this process and its descendants.
    pub own: f64,
}

/// What others did between two readings, as parts of all CPUs (0 to 1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Disturbance {
    /// CPU time used by others.
    pub others: f64,
    /// CPU time withheld by the hypervisor.
    pub steal: f64,
}

impl Disturbance {
    /// Between two readings, the earlier one first.
    #[must_use]
    pub fn between(before: &Reading, after: &Reading) -> Disturbance {
        let total = after.total - before.total;
        if total <= 0.0 {
            return Disturbance::default();
        }
        let busy = after.busy - before.busy;
        let own = after.own - before.own;
        Disturbance {
            others: ((busy - own) / total).max(0.0),
            steal: ((after.steal - before.steal) / total).max(0.0),
        }
    }

    /// Whether what was measured meanwhile is of no use.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.others > MAX_OTHERS || self.steal > MAX_STEAL
    }

    /// The worse of two, each part for itself.
    #[must_use]
    pub fn or(self, other: Disturbance) -> Disturbance {
        Disturbance {
            others: self.others.max(other.others),
            steal: self.steal.max(other.steal),
        }
    }
}

/// Where readings come from: the machine, or a test.
pub trait Meter {
    /// A reading of now.
    fn read(&mut self) -> Reading;

    /// Waits until the machine is quiet, but no longer than `patience`. Whether it is.
    fn wait_for_quiet(&mut self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            let before = self.read();
            thread::sleep(LOOK);
            if !Disturbance::between(&before, &self.read()).is_dirty() {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
        }
    }
}

/// This machine. Where `/proc` is not there, every reading is zero and no pair is ever dirty; the
/// rows need Linux anyway.
#[derive(Debug)]
pub struct Machine {
    ticks: f64,
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

impl Machine {
    /// A meter of this machine.
    #[must_use]
    pub fn new() -> Machine {
        let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
        Machine {
            ticks: ticks as f64,
        }
    }
}

impl Meter for Machine {
    fn read(&mut self) -> Reading {
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let mut reading = parse_stat(&stat, self.ticks).unwrap_or_default();
        reading.own = own_cpu().as_secs_f64() + self.descendants();
        reading
    }
}

impl Machine {
    /// CPU seconds of the living descendants, and of their children that have ended. What has ended
    /// and was waited for is in this process's own account.
    fn descendants(&self) -> f64 {
        let stats: Vec<Stat> = processes().collect();
        let mut ours = vec![std::process::id()];
        let mut next = 0;
        let mut seconds = 0.0;
        while let Some(parent) = ours.get(next).copied() {
            for stat in stats.iter().filter(|stat| stat.parent == parent) {
                ours.push(stat.pid);
                seconds += stat.ticks as f64 / self.ticks;
            }
            next += 1;
        }
        seconds
    }
}

/// The first line of `/proc/stat`: user nice system idle iowait irq softirq steal …, in ticks.
fn parse_stat(text: &str, ticks: f64) -> Option<Reading> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let times: Vec<f64> = line
        .split_whitespace()
        .take(8)
        .map_while(|field| field.parse().ok())
        .collect();
    let [user, nice, system, idle, iowait, irq, softirq, steal] = times.try_into().ok()?;
    let busy = user + nice + system + irq + softirq;
    Some(Reading {
        total: (busy + idle + iowait + steal) / ticks,
        busy: busy / ticks,
        steal: steal / ticks,
        own: 0.0,
    })
}

/// What `/proc/PID/stat` says about one process.
#[derive(Debug, PartialEq)]
struct Stat {
    pid: u32,
    parent: u32,
    /// Its own time, and that of its children that have ended.
    ticks: u64,
}

fn processes() -> impl Iterator<Item = Stat> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let name = entry.file_name();
        name.to_str()?.parse::<u32>().ok()?;
        read_stat(&entry.path())
    })
}

fn read_stat(directory: &Path) -> Option<Stat> {
    parse_process(&std::fs::read_to_string(directory.join("stat")).ok()?)
}

fn parse_process(text: &str) -> Option<Stat> {
    // The name is in parentheses, and may have blanks and parentheses of its own.
    let (head, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Stat {
        pid: head.split_whitespace().next()?.parse().ok()?,
        parent: u32::try_from(number(1)?).ok()?,
        ticks: (11..15).filter_map(number).sum(),
    })
}

/// CPU time of this process and of its children that have ended, user and system.
#[must_use]
pub fn own_cpu() -> Duration {
    let of = |who| {
        getrusage(who).map_or(0, |usage| {
            usage.user_time().num_microseconds() + usage.system_time().num_microseconds()
        })
    };
    let micros = of(UsageWho::RUSAGE_SELF) + of(UsageWho::RUSAGE_CHILDREN);
    Duration::from_micros(micros.try_into().unwrap_or(0))
}

/// Bytes of a process that are in memory now, and the most there ever were. `pid` may be `self`.
#[must_use]
pub fn resident(pid: &str) -> Option<(u64, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let bytes = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        let number = line.trim().strip_suffix("kB")?.trim();
        Some(number.parse::<u64>().ok()? * 1024)
    };
    Some((bytes("VmRSS:")?, bytes("VmHWM:")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_all_cpus_is_read() {
        let text = "cpu  100 20 30 400 50 6 4 10 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n";
        let reading = parse_stat(text, 10.0).unwrap();
        assert_eq!(
            reading,
            Reading {
                total: 62.0,
                busy: 16.0,
                steal: 1.0,
                own: 0.0
            }
        );
        assert_eq!(parse_stat("cpu  1 2 3\n", 100.0), None);
        assert_eq!(parse_stat("", 100.0), None);
    }

    #[test]
    fn a_process_with_a_strange_name_is_read() {
        let text = "42 (a (b) c) S 7 1 1 0 -1 0 0 0 0 0 5 6 70 800 20 0 1 0 99";
        let stat = parse_process(text).unwrap();
        assert_eq!((stat.pid, stat.parent, stat.ticks), (42, 7, 881));
    }

    #[test]
    fn what_we_used_ourselves_is_nobody_elses() {
        let before = Reading::default();
        let after = Reading {
            total: 2.0,
            busy: 1.5,
            steal: 0.02,
            own: 1.4,
        };
        let seen = Disturbance::between(&before, &after);
        assert!((seen.others - 0.05).abs() < 1e-9 && (seen.steal - 0.01).abs() < 1e-9);
        assert!(!seen.is_dirty());
    }

    #[test]
    fn this_machine_moves_and_a_child_is_ours() {
        let mut machine = Machine::new();
        let before = machine.read();
        assert!(before.total > 0.0 && before.busy > 0.0 && before.own >= 0.0);
        let status = std::process::Command::new("sh")
            .args(["-c", "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done"])
            .status()
            .unwrap();
        assert!(status.success());
        let after = machine.read();
        assert!(after.total > before.total);
        assert!(after.own > before.own, "{before:?} {after:?}");
        let (now, peak) = resident("self").unwrap();
        assert!(now > 0 && peak >= now);
    }
}
