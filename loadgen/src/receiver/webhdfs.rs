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
use std::io::Read;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use ureq::Agent;

use crate::clock::Clock;
use crate::observe::{Micros, Observer};

use super::track::{InUse, Tracks};
use super::{Kind, Looked, Receiver, ReceiverError, settings};

/// The kind.
pub(super) const KIND: Kind = Kind {
    name: "webhdfs",
    summary: "A directory of HDFS through WebHDFS, open files included.",
    example: r#"{"namenode": "127.0.0.1:9870", "path": "/flume_data"}"#,
    build: |value, run| Ok(Box::new(WebHdfs::new(settings("webhdfs", value)?, run))),
};

/// How much one read returns at most, in bytes.
const CHUNK: u64 = 4 << 20;

/// How large a listing may be, in bytes: some hundred thousand files.
const MAX_ANSWER: u64 = 64 << 20;

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

/// A DataNode's address of a file.
#[derive(Debug, Clone)]
struct Source {
    /// host:port, to remember which one is down.
    host: String,
    /// The address without offset and length.
    url: String,
}

/// A file as it is listed.
#[derive(Debug, Clone)]
struct Listed {
    id: u64,
    path: String,
    length: u64,
    modified: u64,
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
        let agent = Agent::config_builder()
            .timeout_global(Some(Duration::from_millis(config.timeout_ms)))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_idle_connections(0)
            .proxy(None)
            .build();
        let http = Http {
            agent: Agent::new_with_config(agent),
            namenode: config.namenode,
            user: escape(&config.user),
            rewrite: config.rewrite_host,
        };
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
        for gone in self.tracks.sweep(at, look.observer)? {
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
                let offset = track.offset;
                let bytes = self
                    .http
                    .read(&file.path, offset, &mut state.source, look)?;
                let now = look.clock.now();
                track.take(&bytes, now, look.observer, &mut look.looked)?;
                if (bytes.len() as u64) < CHUNK {
                    track.caught_up(now);
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
}

/// Why one file could not be brought up to date.
enum Trouble {
    /// The NameNode is away, or nothing can be recorded: the look is over.
    Fatal(ReceiverError),
    /// A DataNode is away.
    Down(ReceiverError),
    /// The file is no longer under its name.
    Gone,
    /// The store refuses this file.
    Unreadable(String),
}

impl From<ReceiverError> for Trouble {
    fn from(error: ReceiverError) -> Trouble {
        Trouble::Fatal(error)
    }
}

/// The requests.
#[derive(Debug)]
struct Http {
    agent: Agent,
    namenode: String,
    user: String,
    rewrite: Option<String>,
}

/// An answer of any status.
struct Reply {
    status: u16,
    location: Option<String>,
    body: Vec<u8>,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    #[serde(rename = "RemoteException")]
    exception: Exception,
}

#[derive(Debug, Deserialize)]
struct Exception {
    exception: String,
    #[serde(default)]
    message: String,
}

#[derive(Debug, Deserialize)]
struct Listing {
    #[serde(rename = "FileStatuses")]
    statuses: Statuses,
}

#[derive(Debug, Deserialize)]
struct Statuses {
    #[serde(rename = "FileStatus")]
    status: Vec<FileStatus>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileStatus {
    file_id: u64,
    length: u64,
    modification_time: u64,
    path_suffix: String,
    r#type: String,
}

#[derive(Debug, Deserialize)]
struct Located {
    #[serde(rename = "LocatedBlocks")]
    blocks: Blocks,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Blocks {
    file_length: u64,
    is_under_construction: bool,
}

impl Http {
    /// All files at or below a directory; none if it does not exist.
    fn list(&self, root: &str) -> Result<Vec<Listed>, ReceiverError> {
        let mut files = Vec::new();
        let mut directories = vec![root.to_owned()];
        while let Some(directory) = directories.pop() {
            let reply = self.get(&self.ask(&directory, "LISTSTATUS"), MAX_ANSWER)?;
            let listing: Listing = match json(&reply) {
                Ok(listing) => listing,
                Err(Some(refused)) if refused.exception == "FileNotFoundException" => continue,
                Err(refused) => return Err(failed("list", &directory, &reply, refused)),
            };
            for status in listing.statuses.status {
                let path = if status.path_suffix.is_empty() {
                    directory.clone()
                } else {
                    format!("{directory}/{}", status.path_suffix)
                };
                if status.r#type == "DIRECTORY" {
                    directories.push(path);
                } else {
                    let (length, modified) = (status.length, status.modification_time);
                    files.push(Listed {
                        id: status.file_id,
                        path,
                        length,
                        modified,
                    });
                }
            }
        }
        files.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(files)
    }

    /// Whether a file is open. The last block says it; the others need not be described.
    fn blocks(&self, path: &str) -> Result<Blocks, Trouble> {
        let url = format!(
            "{}&offset=0&length=1",
            self.ask(path, "GET_BLOCK_LOCATIONS")
        );
        let reply = self.get(&url, MAX_ANSWER)?;
        match json::<Located>(&reply) {
            Ok(located) => Ok(located.blocks),
            Err(refused) => Err(self.refused("locate the blocks of", path, &reply, refused)),
        }
    }

    /// At most [`CHUNK`] bytes of a file from `offset`; fewer only at its present end.
    fn read(
        &self,
        path: &str,
        offset: u64,
        source: &mut Option<(String, Source)>,
        look: &mut Look<'_>,
    ) -> Result<Vec<u8>, Trouble> {
        let known = source
            .take()
            .filter(|(name, _)| name == path)
            .map(|(_, source)| source);
        let fresh = known.is_none();
        let from = match known {
            Some(from) => from,
            None => self.redirect(path)?,
        };
        if look.down.contains(&from.host) {
            let why = "the DataNode did not answer a moment ago".to_owned();
            return Err(Trouble::Down(store("read", &from.url, why)));
        }
        let reply = match self.get(
            &format!("{}&offset={offset}&length={CHUNK}", from.url),
            CHUNK,
        ) {
            Ok(reply) => reply,
            // The NameNode may know a better one by now.
            Err(_) if !fresh => return self.read(path, offset, &mut None, look),
            Err(error) => {
                look.down.insert(from.host);
                return Err(Trouble::Down(error));
            }
        };
        if reply.status == 200 {
            *source = Some((path.to_owned(), from));
            return Ok(reply.body);
        }
        if !fresh {
            return self.read(path, offset, &mut None, look);
        }
        let refused = json::<serde_json::Value>(&reply).err().flatten();
        Err(self.refused("read", path, &reply, refused))
    }

    /// Asks the NameNode which DataNode gives a file out.
    fn redirect(&self, path: &str) -> Result<Source, Trouble> {
        let reply = self.get(&format!("{}&offset=0", self.ask(path, "OPEN")), MAX_ANSWER)?;
        let Some(location) = &reply.location else {
            let refused = json::<serde_json::Value>(&reply).err().flatten();
            return Err(self.refused("open", path, &reply, refused));
        };
        source(location, self.rewrite.as_deref()).ok_or_else(|| {
            let why = format!("the NameNode sent us to {location:?}, which is no HTTP address");
            Trouble::Fatal(store("open", path, why))
        })
    }

    /// What a refusal means for a file.
    fn refused(
        &self,
        what: &'static str,
        path: &str,
        reply: &Reply,
        refused: Option<Exception>,
    ) -> Trouble {
        let Some(exception) = refused else {
            return Trouble::Fatal(failed(what, path, reply, None));
        };
        // What servers say that are there, but cannot serve at all for now …
        const AWAY: [&str; 4] = [
            "StandbyException",
            "RetriableException",
            "SafeModeException",
            "ConnectException",
        ];
        // … and what they say when every DataNode that has a block is away.
        const NO_DATANODE: [&str; 3] = [
            "Could not obtain block",
            "Failed to find datanode",
            "No active nodes",
        ];
        if exception.exception == "FileNotFoundException" {
            return Trouble::Gone;
        }
        if AWAY.contains(&exception.exception.as_str()) {
            return Trouble::Fatal(failed(what, path, reply, Some(exception)));
        }
        if exception.exception == "BlockMissingException"
            || NO_DATANODE
                .iter()
                .any(|text| exception.message.contains(text))
        {
            return Trouble::Down(failed(what, path, reply, Some(exception)));
        }
        Trouble::Unreadable(format!("{}: {}", exception.exception, exception.message))
    }

    fn ask(&self, path: &str, operation: &str) -> String {
        let path = if path.is_empty() { "/" } else { path };
        let (namenode, user) = (&self.namenode, &self.user);
        format!(
            "http://{namenode}/webhdfs/v1{}?op={operation}&user.name={user}",
            escape(path)
        )
    }

    fn get(&self, url: &str, limit: u64) -> Result<Reply, ReceiverError> {
        let error = |error: &dyn std::fmt::Display| store("ask", url, error.to_string());
        let mut response = self.agent.get(url).call().map_err(|e| error(&e))?;
        let location = response.headers().get("location");
        let location = location
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let mut body = Vec::new();
        // An answer that ends early is an error, which leaves nothing half read.
        let reader = response.body_mut().as_reader();
        reader
            .take(limit + 1)
            .read_to_end(&mut body)
            .map_err(|e| error(&e))?;
        if body.len() as u64 > limit {
            return Err(error(&format!("the answer has more than {limit} bytes")));
        }
        Ok(Reply {
            status: response.status().as_u16(),
            location,
            body,
        })
    }
}

/// The answer as JSON; or what it says instead, if it is a refusal.
fn json<T: DeserializeOwned>(reply: &Reply) -> Result<T, Option<Exception>> {
    if reply.status == 200
        && let Ok(value) = serde_json::from_slice(&reply.body)
    {
        return Ok(value);
    }
    Err(serde_json::from_slice::<Refusal>(&reply.body)
        .ok()
        .map(|refusal| refusal.exception))
}

fn store(what: &'static str, on: &str, why: String) -> ReceiverError {
    ReceiverError::Store {
        what,
        on: on.to_owned(),
        why,
    }
}

fn failed(what: &'static str, on: &str, reply: &Reply, why: Option<Exception>) -> ReceiverError {
    let why = match why {
        Some(exception) => format!("{}: {}", exception.exception, exception.message),
        None => {
            let text = String::from_utf8_lossy(reply.body.get(..200).unwrap_or(&reply.body));
            format!(
                "status {} and an answer that is not WebHDFS's: {text:?}",
                reply.status
            )
        }
    };
    store(what, on, why)
}

/// A DataNode's address of a file, from the redirect: without offset and length, and with the
/// address it is bound to where it announces that of a proxy.
fn source(location: &str, rewrite: Option<&str>) -> Option<Source> {
    let rest = location.strip_prefix("http://")?;
    let (authority, target) = rest.split_at(rest.find('/')?);
    let (path, query) = target.split_once('?')?;
    let (host, port) = authority.rsplit_once(':')?;
    let host = rewrite.filter(|_| host.starts_with("127.")).unwrap_or(host);
    let ours = |part: &&str| part.starts_with("offset=") || part.starts_with("length=");
    let query: Vec<_> = query.split('&').filter(|part| !ours(part)).collect();
    let host = format!("{host}:{port}");
    Some(Source {
        url: format!("http://{host}{path}?{}", query.join("&")),
        host,
    })
}

/// Percent-encodes all but RFC 3986's unreserved characters and the slash.
fn escape(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
