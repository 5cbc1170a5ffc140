//! A small HTTP server: GET, one request a connection, a thread each.
//!
//! Fails: a request line or headers beyond 16 KiB, or a body, end the connection with status 400.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use tracing::debug;

use crate::ipc::Exception;

const MAX_HEAD: u64 = 16 << 10;
const PATIENCE: Duration = Duration::from_secs(30);

/// A request.
#[derive(Debug)]
pub(crate) struct Request {
    /// Decoded.
    pub(crate) path: String,
    /// Decoded; keys in lower case, as WebHDFS does not heed their case.
    pub(crate) query: HashMap<String, String>,
}

impl Request {
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.query.get(key).map(String::as_str)
    }
}

/// An answer.
pub(crate) enum Reply {
    Json(u16, Value),
    Redirect(String),
    /// So many bytes, which the function writes.
    Stream(u64, Body),
}

/// Writes what an answer holds.
pub(crate) type Body = Box<dyn FnOnce(&mut dyn Write) -> io::Result<()>>;

impl Reply {
    /// An exception as WebHDFS says it, with its status.
    pub(crate) fn refusal(exception: &Exception) -> Self {
        let name = exception
            .class
            .rsplit(['.', '$'])
            .next()
            .unwrap_or_default();
        let status = match name {
            "FileNotFoundException" => 404,
            "IllegalArgumentException" | "UnsupportedOperationException" => 400,
            name if name.contains("Runtime") => 500,
            _ => 403,
        };
        Self::Json(
            status,
            json!({"RemoteException": {"exception": name, "javaClassName": exception.class, "message": exception.message}}),
        )
    }
}

/// Serves one connection.
pub(crate) fn serve(stream: &TcpStream, answer: impl FnOnce(&Request) -> Reply) {
    if let Err(error) = try_serve(stream, answer) {
        debug!(%error, "an HTTP connection ended");
    }
}

fn try_serve(mut stream: &TcpStream, answer: impl FnOnce(&Request) -> Reply) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    converse(stream, &mut stream, answer)
}

/// Answers the request that comes from a client.
pub(crate) fn converse(
    from: impl Read,
    to: &mut impl Write,
    answer: impl FnOnce(&Request) -> Reply,
) -> io::Result<()> {
    let reply = match read(from)? {
        Some(request) => answer(&request),
        None => Reply::refusal(&Exception::new(
            "java.lang.IllegalArgumentException",
            "only GET is served, with at most 16 KiB of headers",
        )),
    };
    match reply {
        Reply::Json(status, value) => {
            let body = value.to_string();
            let head = head(
                status,
                &format!(
                    "Content-Type: application/json\r\nContent-Length: {}\r\n",
                    body.len()
                ),
            );
            to.write_all(&[head.as_bytes(), body.as_bytes()].concat())
        }
        Reply::Redirect(place) => to.write_all(
            head(307, &format!("Location: {place}\r\nContent-Length: 0\r\n")).as_bytes(),
        ),
        Reply::Stream(length, write) => {
            to.write_all(
                head(
                    200,
                    &format!(
                        "Content-Type: application/octet-stream\r\nContent-Length: {length}\r\n"
                    ),
                )
                .as_bytes(),
            )?;
            write(to)
        }
    }
}

fn head(status: u16, fields: &str) -> String {
    let reason = match status {
        200 => "OK",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        _ => "Internal Server Error",
    };
    format!("HTTP/1.1 {status} {reason}\r\n{fields}Connection: close\r\n\r\n")
}

/// Reads a request; none if it is not one that is served.
fn read(from: impl Read) -> io::Result<Option<Request>> {
    let mut reader = BufReader::new(from.take(MAX_HEAD));
    let mut first = String::new();
    reader.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if line == "\r\n" || line == "\n" {
            break;
        }
    }
    Ok(parse(&first))
}

fn parse(line: &str) -> Option<Request> {
    let mut words = line.split_ascii_whitespace();
    if words.next()? != "GET" {
        return None;
    }
    let target = words.next()?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let pairs = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (
                unescape(&key.to_ascii_lowercase()),
                unescape(&value.replace('+', " ")),
            )
        });
    Some(Request {
        path: unescape(path),
        query: pairs.collect(),
    })
}

/// Undoes percent-encoding.
fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = bytes
            .get(at + 1..at + 3)
            .and_then(|two| std::str::from_utf8(two).ok())
            .and_then(|two| u8::from_str_radix(two, 16).ok());
        match code.filter(|_| bytes[at] == b'%') {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Percent-encodes all but the slash and what never needs it.
pub(crate) fn escape(text: &str) -> String {
    use std::fmt::Write;
    text.bytes()
        .fold(String::with_capacity(text.len()), |mut out, byte| {
            if byte.is_ascii_alphanumeric() || b"-._~/:".contains(&byte) {
                out.push(char::from(byte));
            } else {
                // Writing to a string cannot fail.
                let _ = write!(out, "%{byte:02X}");
            }
            out
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests() {
        let request =
            parse("GET /webhdfs/v1/a%20b/%C3%A4?op=OPEN&user.name=x+y&Offset=5&z HTTP/1.1")
                .unwrap();
        assert_eq!(request.path, "/webhdfs/v1/a b/ä");
        assert_eq!(
            (
                request.get("op"),
                request.get("user.name"),
                request.get("offset"),
                request.get("z")
            ),
            (Some("OPEN"), Some("x y"), Some("5"), Some(""))
        );
        assert!(parse("PUT / HTTP/1.1").is_none());
        assert!(parse("").is_none());
        assert_eq!(unescape("%zz%4"), "%zz%4");
    }

    #[test]
    fn escapes_come_back() {
        for text in ["/a b/ä+&?%41", "", "/plain-._~:name"] {
            assert_eq!(unescape(&escape(text)), text);
        }
    }

    #[test]
    fn refusals_have_their_status() {
        let status = |class: &str| match Reply::refusal(&Exception::new(class, "x")) {
            Reply::Json(status, body) => (
                status,
                body["RemoteException"]["exception"]
                    .as_str()
                    .unwrap()
                    .to_owned(),
            ),
            _ => panic!("not JSON"),
        };
        assert_eq!(
            status("java.io.FileNotFoundException"),
            (404, "FileNotFoundException".into())
        );
        assert_eq!(status("java.io.IOException"), (403, "IOException".into()));
        assert_eq!(
            status("java.lang.IllegalArgumentException"),
            (400, "IllegalArgumentException".into())
        );
        assert_eq!(
            status("org.apache.hadoop.hdfs.server.namenode.SafeModeException"),
            (403, "SafeModeException".into())
        );
    }
}
