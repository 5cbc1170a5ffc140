//! Looks at the agent every 250 ms: CPU, memory, disk, fill of its channels; and at the account,
//! for rates. What it sees goes to `series.csv`, to the progress line, and to faults that wait for
//! a condition.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use flume_bench_loadgen::account::{Account, Live};
use flume_bench_loadgen::clock::Clock;
use flume_bench_reports::series::{Sample, Writer};

use super::world::World;

/// Time between two samples.
pub const PERIOD: Duration = Duration::from_millis(250);
/// The directories are measured at every so many samples.
const DISK_EVERY: u64 = 8;

/// The newest sample, for others to read.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Number of samples so far.
    pub samples: u64,
    /// Fill of each channel at this sample, 0 to 1.
    pub fill: BTreeMap<String, f64>,
    /// Fill of each channel at the sample before.
    pub fill_before: BTreeMap<String, f64>,
    /// CPU time of the agent so far, all its processes.
    pub cpu: Duration,
    /// Most memory it had.
    pub peak_rss: u64,
    /// Bytes that its directories held when they were measured last.
    pub disk: u64,
    /// Bytes it wrote to storage, all its processes; `None` if the system does not say.
    pub written: Option<u64>,
    /// Stored events a second at this sample.
    pub stored_per_s: u64,
}

impl Observed {
    /// Measures the agent's directories at every so many samples.
    fn measure(&mut self, data: &Path) {
        if self.samples.is_multiple_of(DISK_EVERY) {
            self.disk = disk(data);
        }
    }
}

/// The columns that were written, and how many rows.
pub type Written = (Vec<String>, u64);

/// Runs the sampler in a thread until it is dropped or finished.
#[derive(Debug)]
pub struct Sampler {
    stop: Arc<AtomicBool>,
    observed: Arc<Mutex<Observed>>,
    thread: Option<JoinHandle<io::Result<Written>>>,
}

/// What the sampler looks at.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The run's account.
    pub account: Arc<Account>,
    /// The run's clock.
    pub clock: Arc<Clock>,
    /// Where the agent's counters are, if it serves them.
    pub metrics_port: Option<u16>,
    /// The agent's own directory.
    pub data: PathBuf,
}

struct State {
    subject: Subject,
    world: Arc<World>,
    agent: ureq::Agent,
    before: Live,
    before_us: i64,
    /// CPU and bytes of processes that have ended, and the pid and figures of the living one.
    ended: (Duration, u64),
    living: (i32, Duration, u64),
}

impl Sampler {
    /// Starts it; the file is opened before.
    pub fn start(path: &Path, subject: Subject, world: Arc<World>) -> io::Result<Self> {
        let mut writer = Writer::new(io::BufWriter::new(File::create(path)?), &[])?;
        let stop = Arc::new(AtomicBool::new(false));
        let observed = Arc::new(Mutex::new(Observed::default()));
        let (stopped, seen) = (Arc::clone(&stop), Arc::clone(&observed));
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_millis(200)))
            .build()
            .into();
        let before = subject.account.live();
        let mut state = State {
            before_us: subject.clock.now(),
            subject,
            world,
            agent,
            before,
            ended: Default::default(),
            living: Default::default(),
        };
        let thread = std::thread::Builder::new()
            .name("sampler".into())
            .spawn(move || {
                let mut due = state.before_us;
                while !stopped.load(Ordering::Relaxed) {
                    due += PERIOD.as_micros() as i64;
                    state.subject.clock.sleep_until(due);
                    let sample = state.look(&seen);
                    writer.push(&sample, &[])?;
                }
                writer.finish()
            })?;
        Ok(Self {
            stop,
            observed,
            thread: Some(thread),
        })
    }

    /// The newest sample.
    pub fn observed(&self) -> Observed {
        self.observed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A handle to the newest sample, for a thread of its own.
    pub fn handle(&self) -> Arc<Mutex<Observed>> {
        Arc::clone(&self.observed)
    }

    /// Stops it: the columns and the number of rows.
    pub fn finish(mut self) -> io::Result<Written> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            _ => Err(io::Error::other("the sampler's thread panicked")),
        }
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl State {
    fn look(&mut self, seen: &Mutex<Observed>) -> Sample {
        let live = self.subject.account.live();
        let now = self.subject.clock.now();
        let passed = (now - self.before_us).max(1) as u64;
        let rate = |now: u64, before: u64| Some(now.saturating_sub(before) * 1_000_000 / passed);
        let fill = self.fills();
        let mut observed = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let cpu_before = observed.cpu;
        let rss = self.usage(&mut observed);
        observed.measure(&self.subject.data);
        observed.samples += 1;
        observed.fill_before = std::mem::replace(&mut observed.fill, fill);
        observed.stored_per_s =
            live.totals.stored.saturating_sub(self.before.totals.stored) * 1_000_000 / passed;
        let fullest = observed.fill.values().copied().reduce(f64::max);
        let sample = Sample {
            t_us: now.max(0) as u64,
            offered_per_s: rate(live.totals.issued, self.before.totals.issued),
            acked_per_s: live
                .totals
                .acked
                .zip(self.before.totals.acked)
                .and_then(|(now, before)| rate(now, before)),
            stored_per_s: rate(live.totals.stored, self.before.totals.stored),
            published_per_s: rate(live.totals.published, self.before.totals.published),
            in_flight: Some(live.owed_not_stored),
            oldest_us: live
                .oldest_not_stored
                .map(|intended| (now - intended).max(0) as u64),
            channel_fill_ppm: fullest.map(|fill| (fill * 1e6) as u64),
            cpu_us: rss.map(|_| (observed.cpu.saturating_sub(cpu_before)).as_micros() as u64),
            rss_bytes: rss,
            disk_bytes: Some(observed.disk),
            ..Sample::default()
        };
        drop(observed);
        (self.before, self.before_us) = (live, now);
        sample
    }

    /// Adds what the agent has used; its resident memory now, if it runs.
    fn usage(&mut self, observed: &mut Observed) -> Option<u64> {
        let process = self.world.process("agent")?;
        if self.living.0 != process.pid() {
            self.ended.0 += self.living.1;
            self.ended.1 += self.living.2;
            self.living = (process.pid(), Duration::ZERO, 0);
        }
        let usage = process.usage_tree();
        if let Some(usage) = &usage {
            self.living.1 = usage.cpu;
            self.living.2 = usage.written_bytes.unwrap_or(0);
            observed.peak_rss = observed.peak_rss.max(usage.rss_bytes);
            observed.written = usage.written_bytes.map(|written| self.ended.1 + written);
        }
        observed.cpu = self.ended.0 + self.living.1;
        usage.map(|usage| usage.rss_bytes)
    }

    /// Fill of each channel, from the agent's own counters: for pictures and conditions only,
    /// never for a verdict.
    fn fills(&self) -> BTreeMap<String, f64> {
        let fetch = || -> Option<serde_json::Value> {
            let url = format!("http://127.0.0.1:{}/metrics", self.subject.metrics_port?);
            let text = self
                .agent
                .get(&url)
                .call()
                .ok()?
                .body_mut()
                .read_to_string()
                .ok()?;
            serde_json::from_str(&text).ok()
        };
        let Some(serde_json::Value::Object(components)) = fetch() else {
            return BTreeMap::new();
        };
        components
            .iter()
            .filter_map(|(name, counters)| {
                let name = name.strip_prefix("CHANNEL.")?;
                let number = |key: &str| {
                    counters.get(key).and_then(|value| {
                        value
                            .as_str()
                            .and_then(|text| text.parse::<f64>().ok())
                            .or_else(|| value.as_f64())
                    })
                };
                let (size, capacity) = (number("ChannelSize")?, number("ChannelCapacity")?);
                (capacity > 0.0).then(|| (name.to_owned(), size / capacity))
            })
            .collect()
    }
}

/// Bytes of all files under a directory.
fn disk(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => disk(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_on_disk_is_that_of_the_last_look_and_no_peak() {
        let data = tempfile::tempdir().unwrap();
        let segment = data.path().join("segment-1");
        std::fs::write(&segment, [0; 1_000]).unwrap();
        let mut observed = Observed::default();
        let mut sizes = Vec::new();
        for samples in 0..=DISK_EVERY {
            observed.samples = samples;
            observed.measure(data.path());
            sizes.push(observed.disk);
            std::fs::write(&segment, [0; 10]).unwrap();
        }
        assert_eq!((sizes[0], sizes[1]), (1_000, 1_000));
        assert_eq!(sizes.last(), Some(&10));
    }
}
