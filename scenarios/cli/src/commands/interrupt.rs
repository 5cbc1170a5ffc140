//! The signals of `run`, `gate` and `campaign`: SIGINT, SIGTERM and SIGHUP.
//!
//! The first one ends the run in good order: it heals, drains no longer, ends what it started,
//! and keeps and judges what it recorded. A second one ends what the run started with SIGKILL and
//! leaves at once; the journal is torn then, and `report` judges it as it stands. A third one does
//! not even wait for that. What a run leaves in the worst case is ended by the next one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use flume_bench_reports::verdict::ExitCode as Code;
use flume_bench_scenarios::process;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::{flag, low_level};

use super::say;

const SIGNALS: [i32; 3] = [SIGHUP, SIGINT, SIGTERM];

/// Listens from now on. The answer is set by the first signal.
pub(crate) fn listen(runs: &Path) -> Arc<AtomicBool> {
    let interrupted = Arc::new(AtomicBool::new(false));
    if let Err(error) = start(runs.to_owned(), &interrupted) {
        say(&format!(
            "signals cannot be caught ({error}): Ctrl-C will kill the run instead of ending it"
        ));
    }
    interrupted
}

fn start(runs: PathBuf, interrupted: &Arc<AtomicBool>) -> io::Result<()> {
    let leaving = Arc::new(AtomicBool::new(false));
    for signal in SIGNALS {
        // Both are done by the handler itself, whatever the threads are doing, and before the
        // thread below is woken: actions run in the order they are registered, and a second signal
        // that found `leaving` set by its own wake-up would leave before anything was killed.
        flag::register_conditional_shutdown(
            signal,
            Code::Inconclusive.code().into(),
            Arc::clone(&leaving),
        )?;
        flag::register(signal, Arc::clone(interrupted))?;
    }
    let mut signals = Signals::new(SIGNALS)?;
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            let mut received = signals.forever();
            let Some(first) = received.next() else { return };
            say(&format!(
                "{}: healing, ending what was started, keeping what was recorded; once more ends at once",
                name(first)
            ));
            let Some(second) = received.next() else { return };
            leaving.store(true, Ordering::Relaxed);
            leave(&runs, second);
        })
        .map(drop)
}

/// Ends what the run started, and this process. No destructor runs: one of them might wait for
/// the very thing that made somebody ask twice.
fn leave(runs: &Path, signal: i32) {
    let ended = process::end_own(runs);
    say(&format!(
        "{} again: what the run started was killed",
        name(signal)
    ));
    for run in ended {
        say(&format!(
            "what it recorded is in {0}; `flume-bench report {0}` judges it",
            run.display()
        ));
    }
    low_level::exit(Code::Inconclusive.code().into());
}

fn name(signal: i32) -> &'static str {
    low_level::signal_name(signal).unwrap_or("a signal")
}
