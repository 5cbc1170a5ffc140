//! Receivers: reading back from the store itself what came out of the system under test.
//!
//! A receiver looks at the store again and again. Each look lists what is there, reads what is new,
//! and reports it: files that appeared, moved, were published or vanished, and the records in them
//! ([`scanner`]). It never asks the system under test, shares no code with it, and goes through no
//! fault proxy.
//!
//! Two instants matter. A record is *stored* when the read that first returned the whole of it was
//! complete; the last read (or listing) of the file that came without it is reported beside it, by
//! its beginning, so that every sample is an interval that holds the true instant. It is *published* at the first look that shows its file under
//! its final name and closed. Within a look a file's contents are reported before its publication.
//!
//! A look that fails leaves the receiver as it was, but for what it has read; the [`Watch`] reports
//! the time as blind and looks again.
//!
//! A kind is one file in `receiver/` and one line in [`KINDS`].

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use thiserror::Error;

use crate::clock::Clock;
use crate::observe::{Micros, Observer};

pub mod files;
mod gunzip;
pub mod scanner;
mod track;
pub mod webhdfs;

/// A kind of receiver.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    /// One sentence for lists.
    pub summary: &'static str,
    /// The smallest settings that work, as JSON.
    pub example: &'static str,
    /// Makes one for a run from its settings; an unknown key is an error. Touches nothing outside.
    pub build: fn(serde_json::Value, u64) -> Result<Box<dyn Receiver>, ReceiverError>,
}

/// All kinds, by name.
pub static KINDS: &[Kind] = &[files::KIND, webhdfs::KIND];

/// The kind of that name.
pub fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

/// One store, as it is read back.
pub trait Receiver: fmt::Debug + Send {
    /// One pass: lists, reads what is new, reports. A store that is not there yet is empty.
    ///
    /// # Errors
    /// The store could not be listed or read, wholly or in part; what could be read is reported.
    fn look(&mut self, observer: &dyn Observer, clock: &Clock) -> Result<Looked, ReceiverError>;

    /// The final scan, when every writer is dead: a look, and then the tails that will never be
    /// whole, and the files that are no longer there. May be called again, after lease recovery;
    /// nothing is reported twice.
    ///
    /// # Errors
    /// As [`Receiver::look`].
    fn finish(&mut self, observer: &dyn Observer, clock: &Clock) -> Result<Looked, ReceiverError>;

    /// From now on it reads for another run, with another observer and another clock: the next round of
    /// a soak. The next look reports every file that is there as new to them, and of its contents what
    /// has not been read yet; a token of an earlier run is foreign then.
    fn turn(&mut self, run: u64);
}

/// What a pass came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Looked {
    /// When it began.
    pub from: Micros,
    /// When it ended.
    pub to: Micros,
    /// Files there are.
    pub files: u64,
    /// Bytes read, as they are in the store.
    pub bytes: u64,
    /// Events found in them.
    pub events: u64,
    /// Paths of the files that are there and not published: under an in-use name, or not closed. At
    /// the end these are what lease recovery is for.
    pub unpublished: Vec<String>,
    /// Files that the store lists but will not let anybody read, with its reason: a file whose
    /// last block was never completed, for one. This is a state of the store and no blindness.
    pub unreadable: Vec<(String, String)>,
}

/// Why a receiver cannot be made, or a look failed.
#[derive(Debug, Error)]
pub enum ReceiverError {
    /// The settings do not fit the kind.
    #[error("failed to read the settings of receiver {kind}: {source}")]
    Settings {
        /// The kind.
        kind: &'static str,
        /// What is wrong, and with which key.
        source: serde_json::Error,
    },
    /// The store could not be read: the receiver is blind for now.
    #[error("failed to {what} {on}: {why}")]
    Store {
        /// What was attempted.
        what: &'static str,
        /// On what.
        on: String,
        /// What happened.
        why: String,
    },
    /// What was seen could not be recorded, so that the run is over.
    #[error("failed to record what the receiver saw: {0}")]
    Observer(#[source] io::Error),
    /// The thread that watches could not be started, or panicked (a defect of this program).
    #[error("failed to watch the store: {0}")]
    Thread(String),
}

/// Does the final scan and reports it as a pass.
///
/// # Errors
/// As [`Receiver::finish`]; a store that could not be read has been reported as blind.
pub fn final_scan(
    receiver: &mut dyn Receiver,
    observer: &dyn Observer,
    clock: &Clock,
) -> Result<Looked, ReceiverError> {
    let from = clock.now();
    let result = receiver.finish(observer, clock);
    told(&result, from, observer, clock)?;
    result
}

/// Does one look outside of a [`Watch`] and reports it as a pass.
///
/// # Errors
/// As [`Receiver::look`]; a store that could not be read has been reported as blind.
pub fn single_look(
    receiver: &mut dyn Receiver,
    observer: &dyn Observer,
    clock: &Clock,
) -> Result<Looked, ReceiverError> {
    let from = clock.now();
    let result = receiver.look(observer, clock);
    told(&result, from, observer, clock)?;
    result
}

/// What the watching thread leaves behind.
type Ended = (Box<dyn Receiver>, Result<(), ReceiverError>);

/// A thread that looks at an interval and reports each pass, until it is told to stop.
#[derive(Debug)]
pub struct Watch {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<Ended>>,
}

impl Watch {
    /// Starts to look, at once and then `interval` after the end of each pass.
    ///
    /// # Errors
    /// The thread could not be started.
    pub fn start(
        receiver: Box<dyn Receiver>,
        interval: Duration,
        observer: Arc<dyn Observer>,
        clock: Arc<Clock>,
    ) -> Result<Watch, ReceiverError> {
        let (stop, stopped) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || {
                let mut receiver = receiver;
                let mut blind_since = None;
                loop {
                    let from = clock.now();
                    let result = receiver.look(&*observer, &clock);
                    // Between two failed passes there was nothing to be seen either.
                    let since = blind_since.unwrap_or(from);
                    blind_since = result.is_err().then(|| clock.now());
                    if let Err(error) = told(&result, since, &*observer, &clock) {
                        return (receiver, Err(error));
                    }
                    match stopped.recv_timeout(interval) {
                        Err(RecvTimeoutError::Timeout) => {}
                        Ok(()) | Err(RecvTimeoutError::Disconnected) => return (receiver, Ok(())),
                    }
                }
            })
            .map_err(|error| ReceiverError::Thread(error.to_string()))?;
        Ok(Watch {
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Whether the thread has ended by itself, which it does only when nothing can be recorded.
    pub fn has_failed(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Ends the pass under way and gives the receiver back, for the final scan.
    ///
    /// # Errors
    /// What was seen could not be recorded.
    pub fn stop(mut self) -> Result<Box<dyn Receiver>, ReceiverError> {
        self.stop = None;
        let ended = self.thread.take().map(JoinHandle::join);
        let Some(Ok((receiver, result))) = ended else {
            return Err(ReceiverError::Thread(
                "its thread panicked; this is a defect".to_owned(),
            ));
        };
        result.map(|()| receiver)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed; there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

/// Reports a pass as looked or blind. An error is one that ends the run.
fn told(
    result: &Result<Looked, ReceiverError>,
    since: Micros,
    observer: &dyn Observer,
    clock: &Clock,
) -> Result<(), ReceiverError> {
    match result {
        Ok(looked) => observer
            .looked(looked.from, looked.to)
            .map_err(ReceiverError::Observer),
        Err(ReceiverError::Observer(error)) => {
            let again = io::Error::new(error.kind(), error.to_string());
            Err(ReceiverError::Observer(again))
        }
        Err(error) => observer
            .blind(since, clock.now(), &error.to_string())
            .map_err(ReceiverError::Observer),
    }
}

/// Reads the settings of a kind.
fn settings<T: serde::de::DeserializeOwned>(
    kind: &'static str,
    value: serde_json::Value,
) -> Result<T, ReceiverError> {
    serde_json::from_value(value).map_err(|source| ReceiverError::Settings { kind, source })
}

#[cfg(test)]
mod tests;
