//! The progress line: phase, rate, in flight, oldest not stored, lost so far, current fault. On a
//! terminal one line that is drawn again; elsewhere a plain line every five seconds and at every
//! event worth one.
//!
//! What is lost is known at the end alone. "Lost so far" is what has been owed for longer than the
//! driver's quiet time without being stored: it may still come.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use flume_bench_loadgen::account::Live;
use flume_bench_loadgen::observe::Micros;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Says on standard error how the run goes.
#[derive(Debug)]
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    quiet: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: String,
    faults: Vec<String>,
    said: Instant,
}

/// What the line says.
#[derive(Debug)]
pub(super) struct Shown {
    /// The ledger's figures.
    pub(super) live: Live,
    /// µs since t0.
    pub(super) now: Micros,
    /// Events stored a second.
    pub(super) rate: u64,
    /// Events owed for longer than the driver's quiet time and not stored.
    pub(super) lost: u64,
}

/// Time between two plain lines.
const EVERY: Duration = Duration::from_secs(5);

impl Progress {
    /// Lines on standard error; none at all when `quiet`.
    pub(super) fn new(quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.set_style(
                ProgressStyle::with_template("{spinner} {wide_msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_spinner()),
            );
            bar
        });
        Self {
            bar,
            quiet,
            state: Mutex::new(State {
                phase: "prepare".into(),
                faults: Vec::new(),
                said: Instant::now(),
            }),
        }
    }

    /// A line that stays.
    pub(super) fn say(&self, text: &str) {
        if self.quiet {
            return;
        }
        match &self.bar {
            Some(bar) => bar.suspend(|| print(text)),
            None => print(text),
        }
    }

    /// Another phase begins.
    pub(super) fn phase(&self, name: &str) {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .phase = name.to_owned();
        if self.bar.is_none() {
            self.say(&format!("phase {name}"));
        }
    }

    /// A fault began or ended.
    pub(super) fn fault(&self, name: &str, began: bool, text: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if began {
            state.faults.push(name.to_owned());
        } else {
            state.faults.retain(|known| known != name);
        }
        drop(state);
        self.say(text);
    }

    /// Whether [`Progress::show`] would draw the line now.
    pub(super) fn is_due(&self) -> bool {
        let said = self
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .said;
        !self.quiet && (self.bar.is_some() || said.elapsed() >= EVERY)
    }

    /// Draws the line, when it is time.
    pub(super) fn show(&self, shown: &Shown) {
        if !self.is_due() {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let faults = if state.faults.is_empty() {
            String::new()
        } else {
            format!("  fault {}", state.faults.join(", "))
        };
        let Shown {
            live,
            now,
            rate,
            lost,
        } = shown;
        let oldest = live
            .oldest_not_stored
            .map_or(0, |intended| (now - intended).max(0)) as f64
            / 1e6;
        let line = format!(
            "{:>6.1} s  {:<10} {rate:>7}/s stored  {:>8} in flight  oldest {oldest:>5.1} s  stored {}  lost so far {lost}{faults}",
            *now as f64 / 1e6,
            state.phase,
            live.owed_not_stored,
            live.totals.stored
        );
        match &self.bar {
            Some(bar) => {
                bar.set_message(line);
                bar.tick();
            }
            None => {
                state.said = Instant::now();
                print(&line);
            }
        }
    }

    /// Takes the line away.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn print(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
