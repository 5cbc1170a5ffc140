//! The guard: how much of the machine others used while a pair ran.
//!
//! `/proc/stat` says what all CPUs did; what this process and its descendants used (both arms, the
//! store, the harness) and what the kernel's own threads used is taken off, and the rest was
//! somebody else. It is read before anybody looks at the results of the pair, so that no result can
//! decide which pairs count. The kernel counts in ticks of 10 ms.
//!
//! Kernel threads are left out because writing back and journalling are the arms' own doing.

use std::fs;

use crate::process::procfs;

/// The part of all CPUs that the hypervisor may withhold, ppm.
const MAX_STEAL_PPM: u64 = 50_000;

/// What the CPUs have done since the machine was started, in ticks, all CPUs together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// All time there was.
    total: u64,
    /// Time in which something ran.
    busy: u64,
    /// Time in which something wanted to run and the hypervisor did not let it.
    steal: u64,
    /// What of `busy` was ours, or the kernel's.
    known: u64,
}

/// What others did between two readings, ppm of all CPUs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Foreign {
    /// CPU time used by others.
    pub used_ppm: u64,
    /// CPU time withheld by the hypervisor.
    pub steal_ppm: u64,
}

impl Reading {
    /// A reading of so many ticks, of which others used so many.
    #[cfg(test)]
    pub fn of(total: u64, foreign: u64) -> Self {
        Self {
            total,
            busy: foreign,
            ..Self::default()
        }
    }

    /// A reading of now; `None` where `/proc` cannot be read, and then nothing can be judged.
    pub fn now() -> Option<Self> {
        let mut reading = parse(&fs::read_to_string("/proc/stat").ok()?)?;
        reading.known = known_ticks();
        Some(reading)
    }

    /// What others did from an earlier reading to this one.
    pub fn since(&self, before: &Self) -> Foreign {
        let total = self.total.saturating_sub(before.total).max(1);
        let busy = self.busy.saturating_sub(before.busy);
        let known = self.known.saturating_sub(before.known);
        Foreign {
            used_ppm: busy.saturating_sub(known) * 1_000_000 / total,
            steal_ppm: self.steal.saturating_sub(before.steal) * 1_000_000 / total,
        }
    }
}

impl Foreign {
    /// Why a pair during which this was seen does not count.
    pub fn spoils(&self, limit_ppm: u64) -> Option<String> {
        let percent = |ppm: u64| format!("{:.1} %", ppm as f64 / 1e4);
        if self.used_ppm > limit_ppm {
            Some(format!(
                "others used {} of the CPUs, and {} are allowed",
                percent(self.used_ppm),
                percent(limit_ppm)
            ))
        } else if self.steal_ppm > MAX_STEAL_PPM {
            Some(format!(
                "the hypervisor withheld {} of the CPUs",
                percent(self.steal_ppm)
            ))
        } else {
            None
        }
    }
}

/// The first line of `/proc/stat`: user nice system idle iowait irq softirq steal …
fn parse(text: &str) -> Option<Reading> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let times: Vec<u64> = line
        .split_whitespace()
        .take(8)
        .map_while(|field| field.parse().ok())
        .collect();
    let [user, nice, system, idle, iowait, irq, softirq, steal] = times.try_into().ok()?;
    // Interrupts come with whoever is served by them, mostly us.
    let busy = user + nice + system;
    Some(Reading {
        total: busy + irq + softirq + idle + iowait + steal,
        busy,
        steal,
        known: 0,
    })
}

/// Ticks of this process, of its descendants, of their children that have ended, and of the
/// kernel's threads.
fn known_ticks() -> u64 {
    let everyone = procfs::all();
    let mut parents = vec![2, i32::try_from(std::process::id()).unwrap_or(0)];
    let mut ticks: u64 = everyone
        .iter()
        .filter(|stat| parents.contains(&stat.pid))
        .map(|stat| stat.ticks)
        .sum();
    let mut seen = 0;
    while let Some(parent) = parents.pop() {
        for stat in everyone.iter().filter(|stat| stat.parent == parent) {
            seen += 1;
            // Each process has one parent; the bound is against a tree that changes while it is read.
            if seen <= everyone.len() {
                ticks += stat.ticks;
                parents.push(stat.pid);
            }
        }
    }
    ticks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ours_is_nobody_elses() {
        let before = Reading::default();
        let after = Reading {
            total: 1_000,
            busy: 700,
            steal: 20,
            known: 600,
        };
        let foreign = after.since(&before);
        assert_eq!((foreign.used_ppm, foreign.steal_ppm), (100_000, 20_000));
        assert_eq!(foreign.spoils(100_000), None);
        assert!(foreign.spoils(99_999).unwrap().contains("10.0 %"));
        let stolen = Foreign {
            steal_ppm: 60_000,
            ..Foreign::default()
        };
        assert!(stolen.spoils(100_000).unwrap().contains("hypervisor"));
    }

    #[test]
    fn the_line_of_all_cpus_is_read() {
        let text = "cpu  100 20 30 400 50 6 4 10 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n";
        let reading = parse(text).unwrap();
        assert_eq!((reading.total, reading.busy, reading.steal), (620, 150, 10));
        assert_eq!(parse("cpu  1 2\n"), None);
    }

    #[test]
    fn this_process_and_its_children_are_known() {
        let before = Reading::now().unwrap();
        let status = std::process::Command::new("sh")
            .args(["-c", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done"])
            .status()
            .unwrap();
        assert!(status.success());
        let after = Reading::now().unwrap();
        assert!(after.known > before.known && after.total > before.total);
    }
}
