//! The requests to WebHDFS, and what the answers mean.

use std::collections::BTreeSet;
use std::io::Read;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use ureq::Agent;

use super::super::ReceiverError;
use super::Config;

/// How much one read returns at most, in bytes.
pub(super) const CHUNK: u64 = 4 << 20;

/// How large a listing may be, in bytes: some hundred thousand files.
const MAX_ANSWER: u64 = 64 << 20;

/// A DataNode's address of a file.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// host:port, to remember which one is down.
    host: String,
    /// The address without offset and length.
    url: String,
}

/// A file as it is listed.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    pub(super) id: u64,
    pub(super) path: String,
    pub(super) length: u64,
    pub(super) modified: u64,
}

/// Why one file could not be brought up to date.
pub(super) enum Trouble {
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

/// Makes the requests.
#[derive(Debug)]
pub(super) struct Http {
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
pub(super) struct Blocks {
    pub(super) file_length: u64,
    pub(super) is_under_construction: bool,
}

impl Http {
    /// Asks the NameNode that the settings name.
    pub(super) fn new(config: &Config) -> Http {
        let agent = Agent::config_builder()
            .timeout_global(Some(Duration::from_millis(config.timeout_ms)))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_idle_connections(0)
            .proxy(None)
            .build();
        Http {
            agent: Agent::new_with_config(agent),
            namenode: config.namenode.clone(),
            user: escape(&config.user),
            rewrite: config.rewrite_host.clone(),
        }
    }

    /// All files at or below a directory; none if it does not exist.
    pub(super) fn list(&self, root: &str) -> Result<Vec<Listed>, ReceiverError> {
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
    pub(super) fn blocks(&self, path: &str) -> Result<Blocks, Trouble> {
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

    /// At most [`CHUNK`] bytes of a file from `offset`; fewer only at its present end. `source` is
    /// the DataNode's address that served before, and then the one that did; `down` names the
    /// DataNodes that did not answer in this look.
    pub(super) fn read(
        &self,
        path: &str,
        offset: u64,
        source: &mut Option<(String, Source)>,
        down: &mut BTreeSet<String>,
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
        if down.contains(&from.host) {
            let why = "the DataNode did not answer a moment ago".to_owned();
            return Err(Trouble::Down(store("read", &from.url, why)));
        }
        let reply = match self.get(
            &format!("{}&offset={offset}&length={CHUNK}", from.url),
            CHUNK,
        ) {
            Ok(reply) => reply,
            // The NameNode may know a better one by now.
            Err(_) if !fresh => return self.read(path, offset, &mut None, down),
            Err(error) => {
                down.insert(from.host);
                return Err(Trouble::Down(error));
            }
        };
        if reply.status == 200 {
            *source = Some((path.to_owned(), from));
            return Ok(reply.body);
        }
        if !fresh {
            return self.read(path, offset, &mut None, down);
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
