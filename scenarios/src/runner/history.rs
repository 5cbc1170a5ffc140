//! The history: everything the run did and saw besides events, in order, one JSON object a line.
//!
//! With the journal it is all that the judge looks at, so a stored run can be judged again. Each
//! line is `{"at_us": …, "what": "…", …}`; the instant is µs since t0, negative before the load
//! began. Lines from before t0 are kept in memory until t0 is known, or until the run ends.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::process::Costs;

/// One line of the history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// µs since t0.
    pub at_us: i64,
    /// What happened.
    #[serde(flatten)]
    pub entry: Entry,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Entry {
    /// The wall clock, at the start and at the end of the run (RFC 3339).
    Wall {
        /// The reading.
        clock: String,
    },
    /// A phase begins; the one before it ends.
    Phase {
        /// `prepare`, `warm_up`, `steady`, `load_end`, `heal`, `drain`, `probe`, `stop`, `final_scan`, …
        name: String,
    },
    /// A process was started.
    Started {
        /// `agent`, `namenode`, …
        role: String,
        /// Its process id.
        pid: i32,
        /// Program and arguments.
        argv: Vec<String>,
    },
    /// A process showed that it was ready.
    Ready {
        /// Its role.
        role: String,
        /// Time from its start, µs.
        took_us: i64,
    },
    /// A process ended.
    Ended {
        /// Its role.
        role: String,
        /// Its process id.
        pid: i32,
        /// `exit code 0`, `signal 9`, …
        exit: String,
        /// Whether the run had asked for it (stop, or a fault).
        wanted: bool,
    },
    /// A process did not end within its limit after it was asked to, and was killed.
    HadToBeKilled {
        /// Its role.
        role: String,
        /// The limit, µs.
        limit_us: i64,
    },
    /// What the agent has used since it was started, at the begin or the end of a window.
    Used {
        /// `steady`, `load_end` or `drained`: what begins or ended here.
        at: String,
        /// The agent's process id: another one is another life, and the two are not subtracted.
        pid: i32,
        /// Events issued so far.
        issued: u64,
        /// Events acked so far, where the source answers.
        acked: Option<u64>,
        /// Events seen in the store so far.
        stored: u64,
        /// Syncs, as the agent counts them, where it does.
        syncs: Option<u64>,
        /// What the kernel says.
        #[serde(flatten)]
        costs: Costs,
    },
    /// The store said what it is.
    Store {
        /// Version of the server.
        version: Option<String>,
    },
    /// A fault was injected.
    Injected {
        /// Name of this strike, unique in the run: `kill-2`, or `kill-2.1` when repeated.
        fault: String,
        /// Number of the `[[fault]]` in the scenario.
        index: usize,
        /// Events issued and not stored at this instant.
        in_flight: u64,
    },
    /// What somebody other than the injector saw of it.
    Witness {
        /// The strike.
        fault: String,
        /// The kind of evidence.
        saw: String,
        /// The evidence.
        evidence: String,
    },
    /// A fault was healed.
    Healed {
        /// The strike.
        fault: String,
    },
    /// A fault could not be injected or healed.
    FaultFailed {
        /// The strike.
        fault: String,
        /// Why.
        error: String,
    },
    /// A fault never struck: its condition was never seen, or the run ended before.
    NotStruck {
        /// Number of the `[[fault]]` in the scenario.
        index: usize,
        /// Why.
        why: String,
    },
    /// The drain ended.
    Drained {
        /// How.
        outcome: Drain,
        /// Owed and not stored at this instant.
        missing: u64,
        /// The last instant at which anything was stored, µs since t0.
        last_stored_us: Option<i64>,
        /// From the last heal (or the end of the load) to the end of the backlog, if it ended.
        took_us: Option<i64>,
    },
    /// What became of the probe.
    Probe {
        /// Whether it was seen in the store.
        stored: bool,
        /// How long that took, µs.
        took_us: Option<i64>,
        /// Why it could not be sent, if so.
        error: Option<String>,
    },
    /// A lease was recovered, or could not be.
    Lease {
        /// The file.
        path: String,
        /// Whether the file is closed now.
        recovered: bool,
        /// Why not.
        error: Option<String>,
    },
    /// A scan after the agent's end; in a round of a soak that goes on, the last look of the round.
    FinalScan {
        /// 1 before lease recovery, 2 after it.
        number: u32,
        /// Why it is not complete, if it is not.
        error: Option<String>,
    },
    /// Events that the agent's channels still held after its end; `None`: nobody can read them.
    Stranded {
        /// How many of this run.
        events: Option<u64>,
        /// Why nobody can.
        reason: Option<String>,
    },
    /// Bytes that left the agent while it drained what a fault at the end of the load had held up.
    Flow {
        /// The links from the agent.
        links: Vec<String>,
        /// Instants, µs since t0, and the bytes towards the servers by then, since the run's begin.
        points: Vec<(i64, u64)>,
    },
    /// Bytes through a proxy, at its end.
    Proxy {
        /// The link.
        link: String,
        /// Bytes towards the server.
        forward: u64,
        /// Bytes back.
        backward: u64,
        /// Connections.
        connections: u64,
    },
    /// The run was interrupted.
    Interrupted {
        /// By what.
        by: String,
    },
    /// The harness itself failed.
    HarnessFailed {
        /// At what, and how.
        error: String,
    },
    /// An objective was beyond recovery, so the load was ended.
    GaveUp {
        /// Which.
        why: String,
    },
    /// Anything else worth keeping.
    Note {
        /// A sentence.
        text: String,
    },
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Drain {
    /// All that was owed is stored.
    Complete,
    /// Nothing was stored for the driver's quiet time, with the system alive.
    Quiet,
    /// The system had died.
    Dead,
    /// The deadline came, and nothing was moving any more.
    Deadline,
    /// The deadline came while events were still being stored.
    StillMoving,
    /// The run was interrupted.
    Interrupted,
}

#[derive(Debug)]
struct State {
    file: File,
    /// Why a line could not be written, the first time.
    failed: Option<String>,
    t0: Option<Instant>,
    early: Vec<(Instant, Entry)>,
}

/// Writes the history; clones write to the same one.
#[derive(Debug, Clone)]
pub struct History(Arc<Mutex<State>>);

impl History {
    /// Opens the file. Nothing is written before t0 is set or the history is closed.
    pub fn create(path: &Path) -> io::Result<Self> {
        Ok(Self(Arc::new(Mutex::new(State {
            file: File::create(path)?,
            failed: None,
            t0: None,
            early: Vec::new(),
        }))))
    }

    /// Notes what happens now. Where a line cannot be written, the run goes on, and [`close`] says so:
    /// what happened then may be what the verdict hangs on.
    ///
    /// [`close`]: Self::close
    pub fn note(&self, entry: Entry) {
        self.note_at(Instant::now(), entry);
    }

    /// Notes what happened at an instant.
    pub fn note_at(&self, at: Instant, entry: Entry) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match state.t0 {
            None => state.early.push((at, entry)),
            Some(t0) => state.write(t0, at, entry),
        }
    }

    /// Sets t0 and writes what was noted before.
    pub fn set_t0(&self, t0: Instant) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.t0.is_none() {
            state.t0 = Some(t0);
            for (at, entry) in std::mem::take(&mut state.early) {
                state.write(t0, at, entry);
            }
        }
    }

    /// Goes on in another file, with a t0 of its own that is not known yet: the next round of a soak.
    /// Clones follow. The present file is to be closed before.
    pub fn turn(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = State {
            file: File::create(path)?,
            failed: None,
            t0: None,
            early: Vec::new(),
        };
        Ok(())
    }

    /// Notes the wall clock, which is the mark of the end, and writes everything to the disk; a run
    /// that never came to t0 takes this instant for it.
    ///
    /// # Errors
    /// The first line that could not be written in the whole run, or the sync. The history itself
    /// says so too, if it can be written by now.
    pub fn close(&self) -> io::Result<()> {
        self.set_t0(Instant::now());
        self.note(Entry::Wall {
            clock: jiff::Timestamp::now().to_string(),
        });
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = state.failed.clone() {
            let t0 = state.t0.unwrap_or_else(Instant::now);
            let failed = Entry::HarnessFailed {
                error: format!("a line of the history could not be written: {error}"),
            };
            state.write(t0, Instant::now(), failed);
            let _ = state.file.sync_all();
            return Err(io::Error::other(error));
        }
        state.file.sync_all()
    }
}

impl State {
    fn write(&mut self, t0: Instant, at: Instant, entry: Entry) {
        if let Err(error) = write(&mut self.file, t0, at, entry) {
            self.failed.get_or_insert_with(|| error.to_string());
        }
    }
}

fn write(file: &mut File, t0: Instant, at: Instant, entry: Entry) -> io::Result<()> {
    let at_us = match at.checked_duration_since(t0) {
        Some(after) => after.as_micros() as i64,
        None => -(t0.duration_since(at).as_micros() as i64),
    };
    let mut text = serde_json::to_vec(&Line { at_us, entry })?;
    text.push(b'\n');
    file.write_all(&text)
}

/// Reads a history back, and whether it was cut off: a last line that was is left out, and without
/// its second reading of the wall clock, which is the mark of the end, lines may be missing.
pub fn read(path: &Path) -> io::Result<(Vec<Line>, bool)> {
    let text = std::fs::read_to_string(path)?;
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate() {
        match serde_json::from_str(line) {
            Ok(line) => lines.push(line),
            Err(_) if !text.ends_with('\n') && number + 1 == text.lines().count() => {
                return Ok((lines, true));
            }
            Err(error) => {
                return Err(io::Error::other(format!(
                    "{}:{}: not a line of a history: {error}",
                    path.display(),
                    number + 1
                )));
            }
        }
    }
    let clocks = lines
        .iter()
        .filter(|line: &&Line| matches!(line.entry, Entry::Wall { .. }));
    let ended = clocks.count() >= 2;
    Ok((lines, !ended))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn lines_from_before_t0_are_kept_and_negative() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history.jsonl");
        let history = History::create(&path).unwrap();
        history.note(Entry::Wall {
            clock: String::new(),
        });
        let early = Instant::now();
        history.note_at(
            early,
            Entry::Phase {
                name: "prepare".into(),
            },
        );
        history.set_t0(early + Duration::from_millis(5));
        history.note_at(
            early + Duration::from_millis(7),
            Entry::Note { text: "x".into() },
        );
        history.close().unwrap();
        let (lines, torn) = read(&path).unwrap();
        assert_eq!((lines[1].at_us, lines[2].at_us, torn), (-5000, 2000, false));
        // Cut off between two lines, it misses its end all the same.
        let whole = std::fs::read_to_string(&path).unwrap();
        let cut: Vec<&str> = whole.lines().take(3).collect();
        std::fs::write(&path, cut.join("\n") + "\n").unwrap();
        assert!(read(&path).unwrap().1);
        std::fs::write(&path, whole).unwrap();
        std::fs::write(
            &path,
            std::fs::read_to_string(&path)
                .unwrap()
                .trim_end()
                .trim_end_matches('}'),
        )
        .unwrap();
        assert!(read(&path).unwrap().1);
    }

    #[test]
    fn a_history_goes_on_in_another_file_with_a_t0_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let paths = ["one.jsonl", "next.jsonl"].map(|name| directory.path().join(name));
        let history = History::create(&paths[0]).unwrap();
        let begin = || {
            history.note(Entry::Wall {
                clock: String::new(),
            });
        };
        begin();
        let follows = history.clone();
        history.close().unwrap();
        history.turn(&paths[1]).unwrap();
        begin();
        follows.note(Entry::Note { text: "y".into() });
        history.close().unwrap();
        for (path, lines_there) in paths.iter().zip([2, 3]) {
            let (lines, torn) = read(path).unwrap();
            assert_eq!((lines.len(), torn), (lines_there, false), "{lines:?}");
            // The end is t0 where no load has begun, and its mark comes a moment later.
            assert!(lines[0].at_us <= 0, "{lines:?}");
        }
    }

    /// `/dev/full` takes nothing.
    #[test]
    fn a_line_that_cannot_be_written_is_told_at_the_end() {
        let history = History::create(Path::new("/dev/full")).unwrap();
        history.set_t0(Instant::now());
        history.note(Entry::NotStruck {
            index: 0,
            why: "x".into(),
        });
        assert!(history.close().is_err());
    }
}
