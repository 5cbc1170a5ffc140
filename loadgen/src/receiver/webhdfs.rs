//! `webhdfs`: a directory of HDFS, read through the NameNode's and DataNodes' HTTP servers.
//!
//! Settings: `namenode` (host:port of its HTTP server, needed), `path` (needed; need not exist yet),
//! `user` (default `flume-bench`), `in_use_suffix` (default `.tmp`, as Flume's sink), `in_use_prefix`
//! (default none), `rewrite_host` (default none: where a DataNode announces a loopback address,
//! that of the fault proxy before it, the address it really listens on), `timeout_ms` (for each
//! request, default 5,000), `owned` (default true).
//! Identity:  HDFS's `fileId`, which a rename keeps.
//! Published: first look under a final name at a file that is not under construction.
//! Fails:     a NameNode or DataNode that does not answer makes the receiver blind. A file that the
//!            store itself will not let anybody read, such as one renamed although it was never
//!            closed, does not: it is listed in [`Looked::unreadable`].
//!
//! What HDFS does, and what follows from it:
//!
//! - A listing shows an open file with the length it had when its block began or was first flushed,
//!   and the NameNode refuses to open a file beyond that. A DataNode does not: so the DataNode's
//!   address is taken from the redirect for offset 0, and the offset in it is set by hand. An
//!   offset at the end gives an empty answer.
//! - Whether a file is open is said by `GET_BLOCK_LOCATIONS` (`isUnderConstruction`). It is asked
//!   for files under a final name, once each until they are closed, and again if they change.
//! - A DataNode's address in a redirect is valid for a name; a renamed file needs a new one.
//!
//! Connections are not kept: a connection that outlived its server would look like an outage.
//!
//! ```json
//! {"namenode": "127.0.0.1:9870", "path": "/flume_data", "rewrite_host": "127.0.0.1"}
//! ```
//!
//! Source: Hadoop 3.3's WebHDFS documentation, and the answers of a real cluster kept in the tests.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::clock::Clock;
use crate::observe::{Micros, Observer};

use super::track::{InUse, Tracks};
use super::{Kind, Looked, Receiver, ReceiverError, settings};
use http::{CHUNK, Http, Listed, Source, Trouble};

mod http;

/// The kind.
pub(super) const KIND: Kind = Kind {
    name: "webhdfs",
    summary: "A directory of HDFS through WebHDFS, open files included.",
    example: r#"{"namenode": "127.0.0.1:9870", "path": "/flume_data"}"#,
    build: |value, run| Ok(Box::new(WebHdfs::new(settings("webhdfs", value)?, run))),
};

/// How many reads one file gets in one look, so that a fast writer does not hold up the others.
const READS: u32 = 64;

/// The settings of `webhdfs`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The NameNode's HTTP server, host:port.
    pub namenode: String,
    /// The directory that is read, with all below it.
    pub path: String,
    /// The user that the requests name.
    #[serde(default = "user")]
    pub user: String,
    /// What the names of files end with while they are being written.
    #[serde(default = "in_use_suffix")]
    pub in_use_suffix: Option<String>,
    /// What they begin with.
    pub in_use_prefix: Option<String>,
    /// Stands in for a loopback address that a DataNode announces.
    pub rewrite_host: Option<String>,
    /// How long a request may take, in milliseconds.
    #[serde(default = "timeout_ms")]
    pub timeout_ms: u64,
    /// Whether only the run writes there.
    #[serde(default = "yes")]
    pub owned: bool,
}

fn user() -> String {
    "flume-bench".to_owned()
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "the setting it is the default of may be null"
)]
fn in_use_suffix() -> Option<String> {
    Some(".tmp".to_owned())
}

fn timeout_ms() -> u64 {
    5_000
}

fn yes() -> bool {
    true
}

/// The receiver.
#[derive(Debug)]
pub struct WebHdfs {
    http: Http,
    root: String,
    in_use: InUse,
    tracks: Tracks<u64>,
    states: BTreeMap<u64, State>,
}

/// What is known of a file beyond its contents.
#[derive(Debug, Default)]
struct State {
    /// Its listing when it was found closed.
    closed: Option<(u64, u64)>,
    /// Where a DataNode gives it out, for the name it was asked under.
    source: Option<(String, Source)>,
}

/// What one look carries along.
struct Look<'a> {
    observer: &'a dyn Observer,
    clock: &'a Clock,
    looked: Looked,
    /// DataNodes that did not answer; each costs one time-out a look.
    down: BTreeSet<String>,
    failed: Option<ReceiverError>,
}

impl WebHdfs {
    /// A receiver of what `run` brings forth.
    pub fn new(config: Config, run: u64) -> WebHdfs {
        let http = Http::new(&config);
        let root = format!("/{}", config.path.trim_matches('/'));
        WebHdfs {
            http,
            root: if root == "/" { String::new() } else { root },
            in_use: InUse {
                prefix: config.in_use_prefix,
                suffix: config.in_use_suffix,
            },
            tracks: Tracks::new(run, config.owned),
            states: BTreeMap::new(),
        }
    }

    /// Lists, then brings every file up to date.
    fn pass(&mut self, look: &mut Look<'_>) -> Result<(), ReceiverError> {
        let from = look.clock.now();
        let listed = self.http.list(&self.root)?;
        let at = look.clock.now();
        look.looked.files = listed.len() as u64;
        look.looked.unreadable.clear();
        for file in &listed {
            match self.file(file, at, look) {
                Ok(()) => {}
                Err(Trouble::Fatal(error)) => return Err(error),
                // Renamed or deleted since the listing: the next one shows which.
                Err(Trouble::Gone) => {}
                Err(Trouble::Unreadable(why)) => {
                    look.looked.unreadable.push((file.path.clone(), why));
                }
                Err(Trouble::Down(error)) => look.failed = look.failed.take().or(Some(error)),
            }
        }
        for gone in self.tracks.sweep(from, at, look.observer)? {
            self.states.remove(&gone);
        }
        look.failed.take().map_or(Ok(()), Err)
    }

    /// Brings one file up to date.
    fn file(&mut self, file: &Listed, at: Micros, look: &mut Look<'_>) -> Result<(), Trouble> {
        let state = self.states.entry(file.id).or_default();
        let shown = (file.length, file.modified);
        if state.closed.is_some_and(|closed| closed != shown) {
            state.closed = None;
        }
        let final_name = !self.in_use.covers(&file.path);
        let read = self.tracks.get(&file.id).map_or(0, |track| track.offset);
        if final_name && state.closed.is_none() {
            // Asked before the contents are read, so that a closed file is read to its end.
            let blocks = self.http.blocks(&file.path)?;
            if !blocks.is_under_construction && blocks.file_length == file.length {
                state.closed = Some(shown);
            }
        }
        // The listed length of an open file lags behind what was read of it.
        let length = if state.closed.is_some() {
            file.length
        } else {
            file.length.max(read)
        };
        let track = self
            .tracks
            .meet(&file.id, &file.path, length, at, look.observer)?;
        let closed = state.closed.is_some();
        if !(closed && track.offset >= file.length) {
            for _ in 0..READS {
                let (offset, since) = (track.offset, look.clock.now());
                let bytes =
                    self.http
                        .read(&file.path, offset, &mut state.source, &mut look.down)?;
                let now = look.clock.now();
                track.take(&bytes, now, look.observer, &mut look.looked)?;
                if (bytes.len() as u64) < CHUNK {
                    track.caught_up(since);
                    break;
                }
            }
        }
        let whole = track.offset >= file.length;
        if closed && whole {
            // Nothing more will be read: thousands of addresses would only take room.
            state.source = None;
        }
        Ok(track.publish(final_name && closed && whole, at, look.observer)?)
    }

    fn looks(
        &mut self,
        times: u32,
        observer: &dyn Observer,
        clock: &Clock,
    ) -> Result<Looked, ReceiverError> {
        let looked = Looked {
            from: clock.now(),
            ..Looked::default()
        };
        let mut look = Look {
            observer,
            clock,
            looked,
            down: BTreeSet::new(),
            failed: None,
        };
        for _ in 0..times {
            self.pass(&mut look)?;
        }
        look.looked.unpublished = self.tracks.unpublished();
        look.looked.to = clock.now();
        Ok(look.looked)
    }
}

impl Receiver for WebHdfs {
    fn look(&mut self, observer: &dyn Observer, clock: &Clock) -> Result<Looked, ReceiverError> {
        self.looks(1, observer, clock)
    }

    fn finish(&mut self, observer: &dyn Observer, clock: &Clock) -> Result<Looked, ReceiverError> {
        let looked = self.looks(2, observer, clock)?;
        for track in self.tracks.iter_mut() {
            // Of a file that nobody can read, the rest may still come: after lease recovery.
            if !looked
                .unreadable
                .iter()
                .any(|(path, _)| *path == track.path)
            {
                track.end(clock.now(), observer)?;
            }
        }
        Ok(looked)
    }

    fn turn(&mut self, run: u64) {
        self.tracks.turn(run);
    }
}
