//! Hadoop's client configuration: `core-site.xml` and `hdfs-site.xml` of the directory given by `-c`.
//!
//! | property | default | meaning |
//! |---|---|---|
//! | `fs.defaultFS` | – | the file system of a path without one |
//! | `dfs.replication` | what the NameNode says | copies of each block |
//! | `dfs.blocksize` | what the NameNode says | bytes of a block; suffixes `k`, `m`, `g` |
//! | `dfs.client.use.datanode.hostname` | false | go to a DataNode by its announced name, not its address |
//! | `dfs.nameservices`, `dfs.ha.namenodes.*`, `dfs.namenode.rpc-address.*` | – | NameNodes of a name service |
//! | `hadoop.security.authentication` | simple | anything else is refused: Kerberos is not offered |
//!
//! The user is `HADOOP_USER_NAME`, else the user of the process. Both files may be missing. `${name}`
//! in a value stands for another property. Of a repeated property the last one counts, unless an
//! earlier one is `final`. XInclude is not followed.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use super::HdfsError;

/// Port of a NameNode whose address names none.
const DEFAULT_PORT: u16 = 8020;

/// Hadoop properties.
#[derive(Debug, Clone, Default)]
pub struct Conf {
    values: HashMap<String, String>,
    finals: Vec<String>,
}

/// What a client needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClientConf {
    /// NameNodes, `host:port`; all but one are on standby.
    pub(super) namenodes: Vec<String>,
    pub(super) user: String,
    pub(super) replication: Option<u32>,
    pub(super) block_size: Option<u64>,
    pub(super) use_hostname: bool,
}

impl Conf {
    /// Reads both files of a directory, where they exist.
    ///
    /// # Errors
    /// When one exists and cannot be read or is no such file.
    pub fn read(dir: Option<&Path>) -> Result<Self, HdfsError> {
        let mut conf = Self::default();
        for name in ["core-site.xml", "hdfs-site.xml"] {
            let Some(path) = dir.map(|dir| dir.join(name)) else {
                continue;
            };
            match std::fs::read_to_string(&path) {
                Ok(text) => conf.add(&text).map_err(|what| {
                    HdfsError::Config(format!("{}: {what}; correct the file", path.display()))
                })?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(HdfsError::Config(format!(
                        "reading {}: {error}",
                        path.display()
                    )));
                }
            }
        }
        Ok(conf)
    }

    /// Sets a property.
    pub fn set(&mut self, name: &str, value: &str) {
        self.values.insert(name.to_owned(), value.to_owned());
    }

    /// The value of a property, with its variables replaced.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        let mut value = self.values.get(name)?.trim().to_owned();
        // Twenty replacements are Hadoop's own limit against values that refer to themselves.
        for _ in 0..20 {
            let Some((before, rest)) = value.split_once("${") else {
                break;
            };
            let Some((variable, after)) = rest.split_once('}') else {
                break;
            };
            let Some(replacement) = self.values.get(variable) else {
                break;
            };
            value = format!("{before}{replacement}{after}");
        }
        Some(value)
    }

    /// Adds the properties of a file.
    fn add(&mut self, text: &str) -> Result<(), String> {
        let text = without_comments(text);
        if !text.contains("<configuration") {
            return Err("there is no <configuration>".to_owned());
        }
        for part in text.split("<property>").skip(1) {
            let (property, _) = part
                .split_once("</property>")
                .ok_or("a <property> is not closed")?;
            let name = element(property, "name").ok_or("a <property> has no <name>")?;
            let Some(value) = element(property, "value") else {
                continue;
            };
            if self.finals.contains(&name) {
                continue;
            }
            if element(property, "final").is_some_and(|word| word == "true") {
                self.finals.push(name.clone());
            }
            self.values.insert(name, value);
        }
        Ok(())
    }

    fn number(&self, name: &str) -> Result<Option<u64>, HdfsError> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let lower = text.to_ascii_lowercase();
        let (digits, shift) = match lower.strip_suffix(['k', 'm', 'g', 't']) {
            Some(digits) => (
                digits,
                10 * (1 + "kmgt".find(&lower[digits.len()..]).unwrap_or(0) as u32),
            ),
            None => (lower.as_str(), 0),
        };
        let number = digits
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(1 << shift));
        number.map(Some).ok_or_else(|| {
            HdfsError::Config(format!(
                "{name} = {text:?} is not a number; correct hdfs-site.xml"
            ))
        })
    }

    /// What a client of the file system at `authority` needs to know.
    pub(super) fn client(&self, authority: Option<&str>) -> Result<ClientConf, HdfsError> {
        if let Some(kind) = self.get("hadoop.security.authentication")
            && !kind.eq_ignore_ascii_case("simple")
        {
            return Err(HdfsError::Config(format!(
                "hadoop.security.authentication is {kind}: only simple authentication is offered"
            )));
        }
        let default = self
            .get("fs.defaultFS")
            .or_else(|| self.get("fs.default.name"));
        let authority = match authority {
            Some(authority) => authority.to_owned(),
            None => default
                .as_deref()
                .and_then(|url| url.strip_prefix("hdfs://"))
                .map(|rest| rest.trim_end_matches('/').to_owned())
                .ok_or_else(|| {
                    HdfsError::Config(
                        "hdfs.path names no NameNode and fs.defaultFS is no hdfs:// address; write \
                         hdfs://host:port/… or give -c a directory with core-site.xml"
                            .to_owned(),
                    )
                })?,
        };
        let user = std::env::var("HADOOP_USER_NAME")
            .ok()
            .filter(|user| !user.is_empty());
        Ok(ClientConf {
            namenodes: self.namenodes(&authority)?,
            user: user.unwrap_or_else(os_user),
            replication: self.number("dfs.replication")?.map(|n| n as u32),
            block_size: self.number("dfs.blocksize")?,
            use_hostname: self
                .get("dfs.client.use.datanode.hostname")
                .is_some_and(|word| word.eq_ignore_ascii_case("true")),
        })
    }

    /// The NameNodes of a name service, or the one at an address.
    fn namenodes(&self, authority: &str) -> Result<Vec<String>, HdfsError> {
        let services = self.get("dfs.nameservices").unwrap_or_default();
        if !services
            .split(',')
            .any(|service| service.trim() == authority)
        {
            return Ok(vec![with_port(authority)?]);
        }
        let ids = self
            .get(&format!("dfs.ha.namenodes.{authority}"))
            .unwrap_or_default();
        let mut found = Vec::new();
        for id in ids.split(',').map(str::trim).filter(|id| !id.is_empty()) {
            let key = format!("dfs.namenode.rpc-address.{authority}.{id}");
            let address = self.get(&key).ok_or_else(|| {
                HdfsError::Config(format!("{key} is missing; add it to hdfs-site.xml"))
            })?;
            found.push(with_port(&address)?);
        }
        if found.is_empty()
            && let Some(address) = self.get(&format!("dfs.namenode.rpc-address.{authority}"))
        {
            found.push(with_port(&address)?);
        }
        if found.is_empty() {
            return Err(HdfsError::Config(format!(
                "name service {authority} has no NameNodes; add dfs.ha.namenodes.{authority} to hdfs-site.xml"
            )));
        }
        Ok(found)
    }
}

/// An address with the default port, where it names none.
fn with_port(authority: &str) -> Result<String, HdfsError> {
    let bad = || {
        HdfsError::Config(format!(
            "{authority:?} is no host:port; correct the address"
        ))
    };
    match authority.rsplit_once(':') {
        Some((host, port))
            if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) =>
        {
            Ok(authority.to_owned())
        }
        Some(_) => Err(bad()),
        None if authority.is_empty() => Err(bad()),
        None => Ok(format!("{authority}:{DEFAULT_PORT}")),
    }
}

fn os_user() -> String {
    nix::unistd::User::from_uid(nix::unistd::geteuid())
        .ok()
        .flatten()
        .map_or_else(|| "flume".to_owned(), |user| user.name)
}

/// The text without `<!-- … -->`.
fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("<!--") {
        out.push_str(before);
        rest = after.split_once("-->").map_or("", |(_, after)| after);
    }
    out.push_str(rest);
    out
}

/// The text of the element `name` within `text`.
fn element(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (value, _) = rest.split_once(&format!("</{name}>"))?;
    let value = value.trim();
    Some(
        value
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&quot;", "\"")
            .replace("&apos;", "'")
            .replace("&amp;", "&"),
    )
}

/// Where `hdfs.path` leads: its authority, if it names one, and the path on that file system.
///
/// # Errors
/// When it is the address of another kind of file system, or no absolute path.
pub fn split_url(url: &str) -> Result<(Option<&str>, &str), HdfsError> {
    if let Some((scheme, rest)) = url.split_once("://") {
        if scheme != "hdfs" {
            return Err(HdfsError::Config(format!(
                "{url}: only hdfs:// is offered, not {scheme}://; correct hdfs.path"
            )));
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let path = if path.is_empty() { "/" } else { path };
        return Ok(((!authority.is_empty()).then_some(authority), path));
    }
    // `hdfs:/path` is the default file system, as in Java.
    let path = url.strip_prefix("hdfs:").unwrap_or(url);
    if !path.starts_with('/') {
        return Err(HdfsError::Config(format!(
            "{url:?} is no absolute path; write hdfs://host:port/… or /…"
        )));
    }
    Ok((None, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: &str = "<?xml version=\"1.0\"?>\n<configuration>\n <!-- <property><name>no</name><value>x</value></property> -->
      <property><name>fs.defaultFS</name><value>hdfs://${nn.host}:9000/</value></property>
      <property><name>nn.host</name><value> 127.0.0.1 </value></property>
      <property>\n<name>dfs.blocksize</name>\n<value>1m</value><final>true</final></property>
      <property><name>dfs.blocksize</name><value>2m</value></property>
      <property><name>dfs.client.use.datanode.hostname</name><value>true</value></property>
      <property><name>a</name><value>&lt;&amp;lt;</value></property></configuration>";

    #[test]
    fn a_site_file_is_read() {
        let mut conf = Conf::default();
        conf.add(SITE).unwrap();
        assert_eq!(conf.get("no"), None);
        assert_eq!(conf.get("a").as_deref(), Some("<&lt;"));
        let client = conf.client(None).unwrap();
        assert_eq!(client.namenodes, ["127.0.0.1:9000"]);
        assert_eq!(client.block_size, Some(1 << 20));
        assert_eq!(client.replication, None);
        assert!(client.use_hostname);
        assert!(conf.add("<html>").is_err());
        assert!(conf.add("<configuration><property><name>a</name>").is_err());
    }

    #[test]
    fn files_that_are_not_there_are_no_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Conf::read(None).is_ok());
        assert!(Conf::read(Some(dir.path())).is_ok());
        std::fs::write(dir.path().join("hdfs-site.xml"), "not xml").unwrap();
        let error = Conf::read(Some(dir.path())).unwrap_err();
        assert!(error.to_string().contains("hdfs-site.xml"), "{error}");
    }

    #[test]
    fn a_name_service_has_several_namenodes() {
        let mut conf = Conf::default();
        conf.set("dfs.nameservices", "c1, c2");
        conf.set("dfs.ha.namenodes.c1", "a,b");
        conf.set("dfs.namenode.rpc-address.c1.a", "h1:9000");
        assert!(conf.client(Some("c1")).is_err());
        conf.set("dfs.namenode.rpc-address.c1.b", "h2");
        assert_eq!(
            conf.client(Some("c1")).unwrap().namenodes,
            ["h1:9000", "h2:8020"]
        );
        assert!(conf.client(Some("c2")).is_err());
        assert_eq!(
            conf.client(Some("other")).unwrap().namenodes,
            ["other:8020"]
        );
    }

    #[test]
    fn kerberos_and_nonsense_are_refused() {
        let mut conf = Conf::default();
        assert!(conf.client(None).is_err());
        for bad in ["h:x", "h:0", ":9000", ""] {
            assert!(conf.client(Some(bad)).is_err(), "{bad}");
        }
        conf.set("dfs.replication", "two");
        assert!(conf.client(Some("h:1")).is_err());
        conf.set("dfs.replication", "2");
        conf.set("hadoop.security.authentication", "kerberos");
        assert!(conf.client(Some("h:1")).is_err());
    }

    #[test]
    fn an_address_is_split() {
        assert_eq!(
            split_url("hdfs://n:9000/a/%y").unwrap(),
            (Some("n:9000"), "/a/%y")
        );
        assert_eq!(split_url("hdfs://n").unwrap(), (Some("n"), "/"));
        assert_eq!(split_url("hdfs:///a").unwrap(), (None, "/a"));
        assert_eq!(split_url("/a").unwrap(), (None, "/a"));
        assert!(split_url("s3a://b/a").is_err());
        assert!(split_url("a/b").is_err());
    }
}
