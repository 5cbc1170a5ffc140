//! What agent and harness hold, sampled for as long as a soak lasts: memory, descriptors, threads, and
//! the files in their own directories.
//!
//! A sample is taken each [`period`]; all go to `soak.csv` as they come, so an interrupted soak has
//! them too, and stay in memory up to [`MOST`]: then every second one is forgotten, and the period
//! doubles. The agent's own directory is `sut/data`; that of the harness is the soak's, without `sut`,
//! `store` and `input`.
//!
//! Fails: where a row cannot be written, the sampler ends. So then does the soak, with its round, and
//! nothing is said about growth that was not seen to the end.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use flume_bench_reports::soak::growth::{Metric, Sample, Usage};

use crate::process::procfs;
use crate::runner::world::World;

/// Samples of a soak that lasts as long as it was asked to, up to a day.
const SAMPLES: u32 = 2_880;
/// The most that stay in memory. It is odd, so that the last one stays when every second one goes.
const MOST: usize = 2 * SAMPLES as usize + 1;
/// The shortest and the longest time between two of them.
const SHORTEST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// Time between two samples of a soak of this length.
pub(super) fn period(asked: Duration) -> Duration {
    (asked / SAMPLES).clamp(SHORTEST, LONGEST)
}

/// Samples in equal distances, of a bounded number.
#[derive(Debug)]
struct Samples {
    kept: Vec<Sample>,
    /// Time from one to the next.
    every: Duration,
}

impl Samples {
    fn keep(&mut self, sample: Sample) {
        self.kept.push(sample);
        if self.kept.len() >= MOST {
            let mut number = 0_usize;
            self.kept.retain(|_| {
                number += 1;
                number % 2 == 1
            });
            self.every *= 2;
        }
    }
}

/// Samples in a thread of its own until it is stopped or dropped.
#[derive(Debug)]
pub(super) struct Sampler {
    stop: Arc<AtomicBool>,
    round: Arc<AtomicU32>,
    samples: Arc<Mutex<Samples>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Sampler {
    /// Starts it; `began` is the soak's instant 0.
    pub(super) fn start(world: Arc<World>, began: Instant, every: Duration) -> io::Result<Self> {
        let root = world.dir().root.clone();
        let mut file = io::BufWriter::new(File::create(root.join("soak.csv"))?);
        writeln!(file, "{}", heading())?;
        let stop = Arc::new(AtomicBool::new(false));
        let round = Arc::new(AtomicU32::new(1));
        let samples = Arc::new(Mutex::new(Samples {
            kept: Vec::new(),
            every,
        }));
        let (stopped, now, kept) = (Arc::clone(&stop), Arc::clone(&round), Arc::clone(&samples));
        let thread = std::thread::Builder::new()
            .name("soak".into())
            .spawn(move || {
                let kept = || kept.lock().unwrap_or_else(PoisonError::into_inner);
                let mut due = began;
                while !stopped.load(Ordering::Relaxed) {
                    due += kept().every;
                    while Instant::now() < due && !stopped.load(Ordering::Relaxed) {
                        let left = due.saturating_duration_since(Instant::now());
                        std::thread::sleep(left.min(Duration::from_millis(50)));
                    }
                    let sample = look(&world, &root, began, now.load(Ordering::Relaxed));
                    writeln!(file, "{}", row(&sample))?;
                    file.flush()?;
                    kept().keep(sample);
                }
                Ok(())
            })?;
        Ok(Self {
            stop,
            round,
            samples,
            thread: Some(thread),
        })
    }

    /// Samples from now on belong to this round.
    pub(super) fn round(&self, number: u32) {
        self.round.store(number, Ordering::Relaxed);
    }

    /// Whether it has ended by itself, which it does only when a row cannot be written.
    pub(super) fn failed(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Stops it: all samples, and why the file is not whole, if it is not.
    pub(super) fn finish(mut self) -> (Vec<Sample>, Option<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let error = match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Ok(()))) => None,
            Some(Ok(Err(error))) => Some(error.to_string()),
            _ => Some("its thread panicked; this is a defect".to_owned()),
        };
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        (samples.kept.clone(), error)
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn look(world: &World, root: &Path, began: Instant, round: u32) -> Sample {
    let agent = world.process("agent").filter(|process| process.alive());
    let pid = agent.map(|process| process.pid());
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let outside = ["sut", "store", "input"].map(|part| root.join(part));
    Sample {
        at_us: began.elapsed().as_micros() as u64,
        round,
        pid,
        agent: pid.map_or_else(Usage::default, |pid| {
            let mut tree = vec![pid];
            tree.extend(procfs::descendants(pid).iter().map(|stat| stat.pid));
            of(&tree, &root.join("sut/data"), &[])
        }),
        harness: of(&[own], root, &outside),
    }
}

/// What processes hold together, and a directory.
fn of(pids: &[i32], directory: &Path, outside: &[PathBuf]) -> Usage {
    let mut usage = Usage::default();
    let plus = |a: Option<u64>, b: u64| Some(a.unwrap_or(0) + b);
    for pid in pids {
        if let Some(one) = crate::process::Usage::of(*pid) {
            usage.memory_bytes = plus(usage.memory_bytes, one.rss_bytes);
            usage.threads = plus(usage.threads, one.threads);
        }
        if let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) {
            usage.descriptors = plus(usage.descriptors, entries.count() as u64);
        }
    }
    let (files, bytes) = tree(directory, outside);
    usage.files = Some(files);
    usage.disk_bytes = Some(bytes);
    usage
}

/// Files below a directory, and their bytes, some directories left out.
pub(super) fn tree(directory: &Path, outside: &[PathBuf]) -> (u64, u64) {
    let (mut files, mut bytes) = (0, 0);
    let mut directories = vec![directory.to_path_buf()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() && !outside.contains(&entry.path()) => {
                    directories.push(entry.path());
                }
                Ok(metadata) if metadata.is_file() => {
                    files += 1;
                    bytes += metadata.len();
                }
                _ => {}
            }
        }
    }
    (files, bytes)
}

fn heading() -> String {
    let mut columns = vec!["t_us".to_owned(), "round".to_owned(), "pid".to_owned()];
    for holder in ["agent", "harness"] {
        columns.extend(Metric::ALL.map(|metric| {
            let unit = match metric {
                Metric::Memory | Metric::Disk => "_bytes",
                _ => "",
            };
            format!("{holder}_{}{unit}", metric.as_str())
        }));
    }
    columns.join(",")
}

/// An empty cell is what could not be known.
fn row(sample: &Sample) -> String {
    let cell = |value: Option<u64>| value.map_or_else(String::new, |value| value.to_string());
    let mut cells = vec![
        sample.at_us.to_string(),
        sample.round.to_string(),
        sample.pid.map_or_else(String::new, |pid| pid.to_string()),
    ];
    for usage in [&sample.agent, &sample.harness] {
        cells.extend(Metric::ALL.map(|metric| cell(metric.of(usage))));
    }
    cells.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::history::History;
    use crate::runner::place::RunDir;

    #[test]
    fn samples_come_as_often_as_the_soak_needs() {
        assert_eq!(period(Duration::from_secs(180)), SHORTEST);
        assert_eq!(
            period(Duration::from_secs(8 * 3600)),
            Duration::from_secs(10)
        );
        assert_eq!(period(Duration::from_secs(30 * 86_400)), LONGEST);
    }

    #[test]
    fn a_month_of_samples_is_bounded_and_evenly_spaced() {
        let mut samples = Samples {
            kept: Vec::new(),
            every: LONGEST,
        };
        let (mut at, month) = (Duration::ZERO, Duration::from_secs(30 * 86_400));
        while at < month {
            at += samples.every;
            samples.keep(Sample {
                at_us: at.as_micros() as u64,
                ..Sample::default()
            });
            assert!(samples.kept.len() < MOST);
        }
        assert!(samples.kept.len() >= MOST / 2, "{}", samples.kept.len());
        let step = samples.every.as_micros() as u64;
        let even = |pair: &[Sample]| pair[1].at_us - pair[0].at_us == step;
        assert!(samples.kept.windows(2).all(even));
        assert_eq!(samples.kept[0].at_us, LONGEST.as_micros() as u64);
    }

    #[test]
    fn a_sampler_that_cannot_write_has_failed_and_says_so() {
        let root = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/full", root.path().join("soak.csv")).unwrap();
        let dir = RunDir {
            root: root.path().to_owned(),
            run: 1,
        };
        let history = History::create(&dir.path("history.jsonl")).unwrap();
        let world = World::new(dir, history, 1, Arc::default()).unwrap();
        let every = Duration::from_millis(1);
        let sampler = Sampler::start(Arc::new(world), Instant::now(), every).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while !sampler.failed() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(sampler.failed());
        let (samples, error) = sampler.finish();
        assert!(samples.is_empty() && error.is_some(), "{error:?}");
    }

    #[test]
    fn this_process_holds_what_it_opens_and_a_row_has_a_cell_for_each_column() {
        let directory = tempfile::tempdir().unwrap();
        let own = [i32::try_from(std::process::id()).unwrap()];
        let within = |least: u64| {
            // Other tests of this process open and close files as they like.
            let deadline = Instant::now() + Duration::from_secs(20);
            loop {
                let usage = of(&own, directory.path(), &[]);
                if usage.descriptors >= Some(least) || Instant::now() > deadline {
                    return usage;
                }
            }
        };
        let files: Vec<File> = (0..64)
            .map(|n| File::create(directory.path().join(n.to_string())).unwrap())
            .collect();
        fs::create_dir(directory.path().join("store")).unwrap();
        fs::write(directory.path().join("store/big"), "0123456789").unwrap();
        let usage = within(64);
        assert!(
            usage.descriptors >= Some(64) && usage.threads > Some(0),
            "{usage:?}"
        );
        assert!(usage.memory_bytes > Some(1 << 20));
        assert_eq!((usage.files, usage.disk_bytes), (Some(65), Some(10)));
        let outside = [directory.path().join("store")];
        assert_eq!(of(&own, directory.path(), &outside).files, Some(64));
        drop(files);
        let sample = Sample {
            agent: usage,
            ..Sample::default()
        };
        let cells = |line: &str| line.split(',').count();
        assert_eq!(cells(&row(&sample)), cells(&heading()));
    }
}
