//! What a process and its descendants have used, to the nanosecond where the kernel says so.
//!
//! | figure | from |
//! |---|---|
//! | CPU time | the CPU clock of the process (clock_getcpuclockid(3)), with its ended children's ticks of `/proc/PID/stat` |
//! | CPU time in user and in kernel mode, to the tick | `/proc/PID/stat` |
//! | bytes read and written, calls | `/proc/PID/io` |
//! | most resident memory | `VmHWM` of `/proc/PID/status` |
//! | context switches | the sum over `/proc/PID/task/*/status` |
//! | page faults without and with reading from a disk | `/proc/PID/stat` |
//!
//! Reading all of it takes about a millisecond, so it is done at the ends of phases only.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::procfs;

/// What a process tree has used since its root was started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Costs {
    /// CPU time, user and system, ns.
    pub cpu_ns: Option<u64>,
    /// Bytes sent towards a disk.
    pub written_bytes: Option<u64>,
    /// The most memory that was resident, all processes added up.
    pub peak_rss_bytes: Option<u64>,
    /// Other counters by name.
    pub counters: BTreeMap<String, u64>,
}

impl Costs {
    /// Of a process and its living descendants; `None` when it is gone.
    pub fn of_tree(pid: i32) -> Option<Self> {
        let mut all = Self::of(pid)?;
        for stat in procfs::descendants(pid) {
            if let Some(below) = Self::of(stat.pid) {
                all.add(below);
            }
        }
        Some(all)
    }

    fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let mut counters = BTreeMap::new();
        for (name, line) in [
            ("read_calls", "syscr:"),
            ("write_calls", "syscw:"),
            ("read_chars", "rchar:"),
            ("written_chars", "wchar:"),
        ] {
            if let Some(value) = number_after(&io, line) {
                counters.insert(name.to_owned(), value);
            }
        }
        let tick = 1_000_000_000 / procfs::ticks_per_second().max(1);
        for (name, number, unit) in [
            ("minor_faults", 10, 1),
            ("major_faults", 12, 1),
            ("user_cpu_ns", 14, tick),
            ("kernel_cpu_ns", 15, tick),
        ] {
            if let Some(value) = field(&stat, number) {
                counters.insert(name.to_owned(), value * unit);
            }
        }
        for (name, value) in switches(pid) {
            counters.insert(name.to_owned(), value);
        }
        Some(Self {
            cpu_ns: cpu(pid, &stat),
            written_bytes: number_after(&io, "write_bytes:"),
            peak_rss_bytes: number_after(&status, "VmHWM:").map(|kib| kib * 1024),
            counters,
        })
    }

    fn add(&mut self, other: Self) {
        let plus = |a: Option<u64>, b: Option<u64>| a.zip(b).map(|(a, b)| a + b);
        self.cpu_ns = plus(self.cpu_ns, other.cpu_ns);
        self.written_bytes = plus(self.written_bytes, other.written_bytes);
        self.peak_rss_bytes = plus(self.peak_rss_bytes, other.peak_rss_bytes);
        for (name, value) in other.counters {
            *self.counters.entry(name).or_default() += value;
        }
    }
}

/// The CPU clock of the process, and the ticks of its children that have ended.
fn cpu(pid: i32, stat: &str) -> Option<u64> {
    let clock = clock_getcpuclockid(Pid::from_raw(pid)).ok()?;
    let own = Duration::from(clock_gettime(clock).ok()?);
    let ticks = field(stat, 16)? + field(stat, 17)?;
    let of_children = ticks.saturating_mul(1_000_000_000) / procfs::ticks_per_second();
    Some(u64::try_from(own.as_nanos()).ok()? + of_children)
}

/// Context switches of all threads: those it asked for, and those it was forced to.
fn switches(pid: i32) -> Vec<(&'static str, u64)> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let (mut voluntary, mut involuntary) = (0, 0);
    for task in tasks.flatten() {
        let text = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        voluntary += number_after(&text, "voluntary_ctxt_switches:").unwrap_or(0);
        involuntary += number_after(&text, "nonvoluntary_ctxt_switches:").unwrap_or(0);
    }
    vec![
        ("involuntary_switches", involuntary),
        ("voluntary_switches", voluntary),
    ]
}

/// Field of `/proc/PID/stat`, counted as proc(5) does; the name in field 2 may hold anything.
fn field(stat: &str, number: usize) -> Option<u64> {
    let rest = stat.get(stat.rfind(')')? + 2..)?;
    rest.split_ascii_whitespace().nth(number - 3)?.parse().ok()
}

/// The number behind a name at the beginning of a line.
fn number_after(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_shows_in_the_cpu_clock_and_a_write_in_its_counter() {
        let own = i32::try_from(std::process::id()).unwrap();
        let before = Costs::of_tree(own).unwrap();
        let file = tempfile::tempfile().unwrap();
        let mut sum = 0_u64;
        let mut after = before.clone();
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while after.cpu_ns < before.cpu_ns.map(|ns| ns + 20_000_000) {
            assert!(std::time::Instant::now() < deadline, "{after:?}");
            sum = (0..200_000_u64).fold(sum, |sum, i| sum.wrapping_mul(31).wrapping_add(i));
            std::io::Write::write_all(&mut &file, &sum.to_le_bytes()).unwrap();
            after = Costs::of_tree(own).unwrap();
        }
        assert!(after.counters["write_calls"] > before.counters["write_calls"]);
        assert!(after.counters.contains_key("voluntary_switches"));
        assert!(after.counters["user_cpu_ns"] + after.counters["kernel_cpu_ns"] > 0);
        assert!(after.peak_rss_bytes >= before.peak_rss_bytes && after.peak_rss_bytes > Some(0));
        assert!(Costs::of_tree(i32::MAX).is_none());
    }

    #[test]
    fn fields_are_counted_from_the_last_parenthesis() {
        let stat = "77 (a) b) (c) T 5 6 7 0 -1 0 11 2 3 4 150 50 16 17 20 0 9 0 4242 1000 3";
        assert_eq!((field(stat, 10), field(stat, 12)), (Some(11), Some(3)));
        assert_eq!((field(stat, 14), field(stat, 16)), (Some(150), Some(16)));
        assert_eq!(number_after("a: 1\nVmHWM:\t  12 kB\n", "VmHWM:"), Some(12));
    }
}
