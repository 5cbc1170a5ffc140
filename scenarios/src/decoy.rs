//! An agent with a planted defect: the test of the judge.
//!
//! It takes lines over TCP as Flume's netcat source does (each answered with `OK`), writes them to
//! files, misbehaves exactly as told, and keeps a tally of its own misdeeds. It shares no code with
//! the judge: it finds an identity by the four characters every one begins with, and where it must
//! forge one it does so by its own encoder. What it must come to can be computed beforehand, so the
//! tally, the closed form and the report can be compared to the event.
//!
//! Some misbehave only after a fault that they feel themselves (module `felt`): a campaign has to
//! strike them to find out.
//!
//! The tally is on disk before an event is answered, so that it survives a kill.

mod defects;
mod felt;
mod forge;

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use defects::What;
pub use defects::{DEFECTS, Defect};
use felt::Felt;

/// How a decoy is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// One of [`DEFECTS`].
    pub defect: String,
    /// The n of the defect, at least 1; with `throttle`, events a second.
    pub every: u64,
    /// Port on 127.0.0.1 for the lines.
    pub port: u16,
    /// Directory of its output files.
    pub out: PathBuf,
    /// Where the tally is kept.
    pub tally: PathBuf,
}

/// What the decoy says it has done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Events received.
    pub received: u64,
    /// Events answered with `OK`.
    pub acked: u64,
    /// Events answered with a refusal.
    pub refused: u64,
    /// Events not answered.
    pub unanswered: u64,
    /// Different events written whole and right at least once.
    pub stored: u64,
    /// Acked events that were not.
    pub lost: u64,
    /// Copies beyond the first.
    pub extra_copies: u64,
    /// Records with a wrong checksum.
    pub corrupted: u64,
    /// Records merged, split or cut off.
    pub malformed: u64,
    /// Events written after their successor.
    pub reordered: u64,
    /// Events written that nobody sent.
    pub unexpected: u64,
    /// Events in a file that kept its in-use name.
    pub unpublished: u64,
}

/// Runs a decoy until SIGTERM or SIGINT.
pub fn run(options: &Options) -> io::Result<()> {
    let defect = DEFECTS
        .iter()
        .find(|defect| defect.name == options.defect)
        .ok_or_else(|| {
            let names: Vec<&str> = DEFECTS.iter().map(|defect| defect.name).collect();
            io::Error::other(format!(
                "there is no defect {} (there are: {})",
                options.defect,
                names.join(", ")
            ))
        })?;
    let listener = TcpListener::bind(("127.0.0.1", options.port))?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let agent = Arc::new(Mutex::new(Agent::new(defect, options)?));
    let serving = Arc::clone(&agent);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let agent = Arc::clone(&serving);
            std::thread::spawn(move || serve(&client, &agent));
        }
    });
    while !stop.load(Ordering::Relaxed) {
        let before = Instant::now();
        std::thread::sleep(Duration::from_millis(5));
        let slept = before.elapsed();
        if slept > felt::STOOD_STILL {
            let mut agent = agent.lock().unwrap_or_else(PoisonError::into_inner);
            agent.felt.stood_still(slept);
        }
    }
    agent
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .finish()
}

/// Serves one connection; its end, for whatever reason, is no business of the others.
fn serve(client: &TcpStream, agent: &Mutex<Agent>) {
    let _ = client.set_nodelay(true);
    let mut reader = BufReader::with_capacity(1 << 16, client);
    let mut writer = client;
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.read_until(b'\n', &mut line) {
            Ok(n) if n > 0 && line.ends_with(b"\n") => line.pop(),
            Ok(0) if line.is_empty() => return,
            _ => return broke(agent),
        };
        let reply = agent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .event(&line);
        let sent = match reply {
            Ok(Reply::Ok) => writer.write_all(b"OK\n"),
            Ok(Reply::Refused) => writer.write_all(b"FAILED: refused on purpose\n"),
            Ok(Reply::Nothing) => Ok(()),
            Err(_) => return,
        };
        if sent.is_err() {
            return broke(agent);
        }
    }
}

/// Notes that a connection ended in the middle of something.
fn broke(agent: &Mutex<Agent>) {
    let mut agent = agent.lock().unwrap_or_else(PoisonError::into_inner);
    agent.felt.broke();
}

enum Reply {
    Ok,
    Refused,
    Nothing,
}

struct Agent {
    what: What,
    felt: Felt,
    every: u64,
    directory: PathBuf,
    file: File,
    in_use: PathBuf,
    number: u32,
    in_file: u64,
    tally: Tally,
    tally_file: File,
    held: VecDeque<Vec<u8>>,
    first: Vec<Vec<u8>>,
    previous: Vec<u8>,
    /// When the next event may be taken, with `throttle`.
    next: Instant,
    leaked_memory: Vec<Vec<u8>>,
    leaked_files: Vec<File>,
}

/// How far behind its own rate a throttled decoy may catch up at once: 20 ms, its bucket. A sleep
/// ends late by less, so the rate over a second is exact.
const BUCKET: Duration = Duration::from_millis(20);

impl Agent {
    fn new(defect: &Defect, options: &Options) -> io::Result<Self> {
        std::fs::create_dir_all(&options.out)?;
        let every = options.every.max(1);
        let number = 1 + std::fs::read_dir(&options.out)?.count() as u32;
        let (file, in_use) = open(&options.out, number)?;
        // After a kill the tally goes on where it stood.
        let tally: Tally = std::fs::read(&options.tally)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default();
        let felt = Felt::new(defect.when, every, &options.tally, &tally, number);
        let tally_file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .open(&options.tally)?;
        Ok(Self {
            what: defect.what,
            felt,
            every,
            directory: options.out.clone(),
            file,
            in_use,
            number,
            in_file: 0,
            tally,
            tally_file,
            held: VecDeque::new(),
            first: Vec::new(),
            previous: Vec::new(),
            next: Instant::now(),
            leaked_memory: Vec::new(),
            leaked_files: Vec::new(),
        })
    }

    /// A token bucket: waits until the next event may be taken. All connections share it.
    fn throttle(&mut self) {
        let now = Instant::now();
        self.next = self.next.max(now.checked_sub(BUCKET).unwrap_or(now));
        if let Some(wait) = self.next.checked_duration_since(now) {
            std::thread::sleep(wait);
        }
        self.next += Duration::from_secs_f64(1.0 / self.every as f64);
    }

    fn event(&mut self, body: &[u8]) -> io::Result<Reply> {
        if self.what == What::Throttle {
            self.throttle();
        }
        self.tally.received += 1;
        let struck = self.felt.strikes(self.tally.received);
        let reply = match (self.what, struck) {
            (What::NeverAnswer, true) => Reply::Nothing,
            (What::Refuse, true) => Reply::Refused,
            _ => Reply::Ok,
        };
        self.store(body, struck)?;
        match reply {
            Reply::Ok => self.tally.acked += 1,
            Reply::Refused => self.tally.refused += 1,
            Reply::Nothing => self.tally.unanswered += 1,
        }
        self.write_tally()?;
        Ok(reply)
    }

    fn store(&mut self, body: &[u8], struck: bool) -> io::Result<()> {
        match self.what {
            What::AnswerEarly => return self.hold(body),
            What::LoseTail => {
                self.held.push_back(body.to_vec());
                if self.held.len() as u64 > self.every {
                    let oldest = self.held.pop_front().unwrap_or_default();
                    self.right(&oldest)?;
                }
                return Ok(());
            }
            What::Reorder if struck => {
                self.held.push_back(body.to_vec());
                return Ok(());
            }
            What::Replay if (self.first.len() as u64) < self.every => {
                self.first.push(body.to_vec())
            }
            What::Burn => burn(Duration::from_nanos(self.every)),
            What::LeakDescriptors if struck => self.leaked_files.push(File::open("/dev/null")?),
            // Written to, so that the kernel has to give it.
            What::LeakMemory => self.leaked_memory.push(vec![1; self.every as usize]),
            What::Stall if self.tally.received == self.every => {
                std::thread::sleep(Duration::from_millis(700))
            }
            _ => {}
        }
        if struck {
            self.strike(body)?
        } else {
            self.right(body)?
        }
        if self.what == What::Reorder
            && let Some(late) = self.held.pop_front()
        {
            self.right(&late)?;
            self.tally.reordered += 1;
        }
        self.previous = body.to_vec();
        Ok(())
    }

    /// Answers before storing: nothing is written before n events are there.
    fn hold(&mut self, body: &[u8]) -> io::Result<()> {
        self.held.push_back(body.to_vec());
        if self.held.len() as u64 >= self.every {
            for body in std::mem::take(&mut self.held) {
                self.right(&body)?;
            }
        }
        Ok(())
    }

    /// What happens to every n-th event.
    fn strike(&mut self, body: &[u8]) -> io::Result<()> {
        let identity = body
            .windows(4)
            .position(|word| word == b"fb1u")
            .unwrap_or(0);
        let mut wrong = body.to_vec();
        match self.what {
            What::Lose => self.tally.lost += 1,
            What::Hide => {
                let previous = std::mem::take(&mut self.previous);
                self.write(&[&previous, b"\n"])?;
                self.tally.extra_copies += 1;
                self.tally.lost += 1;
            }
            What::CorruptIdentity => {
                // A character of the sequence number.
                let at = identity + 20;
                wrong[at] = if wrong[at] == b'7' { b'8' } else { b'7' };
                self.write(&[&wrong, b"\n"])?;
                self.tally.corrupted += 1;
                self.tally.lost += 1;
            }
            What::CorruptPayload => {
                let at = if identity > 0 { 0 } else { wrong.len() - 1 };
                wrong[at] = if wrong[at] == b'#' { b'%' } else { b'#' };
                self.write(&[&wrong, b"\n"])?;
                self.tally.corrupted += 1;
                self.tally.lost += 1;
            }
            What::Truncate => {
                self.write(&[&body[..identity + 30], b"\n"])?;
                self.tally.malformed += 1;
                self.tally.lost += 1;
            }
            What::Split => {
                let (one, other) = body.split_at(identity + 30);
                self.write(&[one, b"\n", other, b"\n"])?;
                self.tally.malformed += 2;
                self.tally.lost += 1;
            }
            What::Merge => {
                // This event and the next one end up in one record, and neither is whole.
                self.write(&[body])?;
                self.tally.malformed += 1;
                self.tally.lost += 2;
                self.tally.stored = self.tally.stored.saturating_sub(1);
            }
            What::Repeat => {
                self.right(body)?;
                self.write(&[body, b"\n"])?;
                self.tally.extra_copies += 1;
            }
            What::Invent => {
                self.right(body)?;
                let forged = forge::successor(body, identity);
                self.write(&[&forged, b"\n"])?;
                self.tally.unexpected += 1;
            }
            What::LeaveInUse => {
                self.right(body)?;
                self.roll()?;
            }
            _ => self.right(body)?,
        }
        Ok(())
    }

    fn right(&mut self, body: &[u8]) -> io::Result<()> {
        self.write(&[body, b"\n"])?;
        self.tally.stored += 1;
        self.in_file += 1;
        Ok(())
    }

    /// One write a record: a kill leaves whole records or none.
    fn write(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        self.file.write_all(&parts.concat())
    }

    fn roll(&mut self) -> io::Result<()> {
        publish(&self.in_use)?;
        self.number += 1;
        (self.file, self.in_use) = open(&self.directory, self.number)?;
        self.in_file = 0;
        Ok(())
    }

    fn write_tally(&mut self) -> io::Result<()> {
        let mut text = serde_json::to_vec(&self.tally)?;
        // Padded, so that a shorter text covers a longer one.
        text.resize(400, b' ');
        self.tally_file.write_all_at(&text, 0)
    }

    fn finish(&mut self) -> io::Result<()> {
        match self.what {
            What::LoseTail => self.tally.lost += self.held.len() as u64,
            What::Replay => {
                for body in std::mem::take(&mut self.first) {
                    self.write(&[&body, b"\n"])?;
                    self.tally.extra_copies += 1;
                }
            }
            _ => {
                for body in std::mem::take(&mut self.held) {
                    self.right(&body)?;
                }
            }
        }
        if self.what == What::LeaveInUse {
            self.tally.unpublished += self.in_file;
        } else {
            publish(&self.in_use)?;
        }
        self.write_tally()
    }
}

fn open(directory: &Path, number: u32) -> io::Result<(File, PathBuf)> {
    let path = directory.join(format!("out-{number}.log.tmp"));
    Ok((
        OpenOptions::new().create(true).append(true).open(&path)?,
        path,
    ))
}

fn publish(in_use: &Path) -> io::Result<()> {
    std::fs::rename(in_use, in_use.with_extension(""))
}

/// Uses so much CPU time of this thread, however long that takes on a busy machine.
fn burn(time: Duration) {
    use nix::time::{ClockId, clock_gettime};
    let used = || clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from);
    let Ok(begin) = used() else { return };
    while used().is_ok_and(|now| now.saturating_sub(begin) < time) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(defect: &str, every: u64, events: u64) -> (Tally, Vec<String>) {
        let directory = tempfile::tempdir().unwrap();
        let options = Options {
            defect: defect.into(),
            every,
            port: 0,
            out: directory.path().join("out"),
            tally: directory.path().join("tally"),
        };
        let defect = DEFECTS.iter().find(|known| known.name == defect).unwrap();
        let mut agent = Agent::new(defect, &options).unwrap();
        for k in 0..events {
            agent
                .event(format!("before {k:06} fb1u{k:060} after").as_bytes())
                .unwrap();
        }
        agent.finish().unwrap();
        let mut names: Vec<_> = std::fs::read_dir(&options.out)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        names.sort();
        let lines = names
            .iter()
            .flat_map(|name| {
                std::fs::read_to_string(name)
                    .unwrap()
                    .lines()
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            })
            .collect();
        (
            serde_json::from_slice(
                std::fs::read_to_string(&options.tally)
                    .unwrap()
                    .trim()
                    .as_bytes(),
            )
            .unwrap(),
            lines,
        )
    }

    #[test]
    fn each_defect_does_what_its_tally_says() {
        for (defect, lines, lost) in [
            ("honest", 100, 0),
            ("burn", 100, 0),
            ("lose_every", 86, 14),
            ("hide_loss", 100, 14),
            ("repeat", 114, 0),
            ("merge", 86, 28),
            ("split", 114, 14),
            ("truncate", 100, 14),
            ("lose_tail", 93, 7),
            ("reorder", 100, 0),
            ("replay_old", 107, 0),
            ("answer_early", 100, 0),
            ("leave_in_use", 100, 0),
        ] {
            let (tally, written) = fed(defect, 7, 100);
            assert_eq!(
                (written.len(), tally.lost),
                (lines, lost),
                "{defect}: {tally:?}"
            );
            assert_eq!(tally.received, 100, "{defect}");
            assert_eq!(tally.stored + tally.lost, 100, "{defect}: {tally:?}");
        }
    }

    #[test]
    fn a_throttled_decoy_takes_no_more_than_it_may() {
        let began = Instant::now();
        let (tally, lines) = fed("throttle", 2_000, 400);
        let took = began.elapsed();
        assert_eq!((tally.stored, tally.lost, lines.len()), (400, 0, 400));
        // 400 events at 2,000/s, less what the bucket holds at the begin.
        assert!(took >= Duration::from_millis(175), "{took:?}");
    }
}
